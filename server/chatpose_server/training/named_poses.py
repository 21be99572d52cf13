"""The lexicon's named poses, solved once into rotations, so that training only reads them. Knows no language model."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..posecodes.lexicon import Entry, entries, mirrored
from ..posecodes.lexicon.lookup import normal
from ..posecodes.measure import measure, posecodes_hold
from ..posecodes.refine import solve
from ..posecodes.vocabulary import POSECODES

_BATCH: Final = 64  # entries solved at a time
_NEAR_SHARE: Final = 0.55  # of the words in either; more than this is a near paraphrase


@dataclass(frozen=True)
class NamedPose:
    """A solved entry of the lexicon, by its ``name``. ``matrot`` (V, 22, 3, 3): versions; ``codes`` (N,): 1 asked,
    0 not, NaN true but not asked.
    """

    name: str
    wordings: tuple[str, ...]
    matrot: Tensor
    codes: Tensor


def write_named(path: Path, poses: Sequence[NamedPose], code_names: Sequence[str]) -> None:
    """One safetensors file; wordings and posecode names go into its header."""
    tensors = {f"{i}.matrot": p.matrot.contiguous() for i, p in enumerate(poses)}
    tensors |= {f"{i}.codes": p.codes.contiguous() for i, p in enumerate(poses)}
    words = json.dumps([[p.name, *p.wordings] for p in poses])
    save_file(tensors, path, metadata={"wordings": words, "codes": json.dumps(list(code_names))})


def read_named(path: Path, code_names: Sequence[str]) -> tuple[NamedPose, ...]:
    """Reads ``write_named``'s file; posecodes are matched by name, those it does not know are NaN."""
    with safe_open(path, framework="pt") as f:
        header = f.metadata()
        wordings = json.loads(header["wordings"])
        at = {name: i for i, name in enumerate(json.loads(header["codes"]))}
        known = torch.tensor([name in at for name in code_names])
        column = torch.tensor([at.get(name, 0) for name in code_names])
        nan = torch.tensor(torch.nan)
        return tuple(
            NamedPose(
                w[0],
                tuple(w[1:]),
                f.get_tensor(f"{i}.matrot"),
                torch.where(known, f.get_tensor(f"{i}.codes")[column], nan),
            )
            for i, w in enumerate(wordings)
        )


def all_entries() -> list[Entry]:
    """Every entry, and the mirror image of those whose words name a side."""
    listed: list[Entry] = []
    for entry in entries():
        listed.append(entry)
        other = mirrored(entry)
        if other.wordings != entry.wordings:
            sided = tuple(b for a, b in zip(entry.wordings, other.wordings, strict=True) if a != b)
            listed.append(Entry(f"{entry.name} (mirrored)", sided, other.versions, other.free, other.topic))
    return listed


def without(listed: Sequence[Entry], prompts: Sequence[str]) -> list[Entry]:
    """The entries less those wordings that share most of their words with a prompt that will be judged."""
    judged = [set(normal(p).split()) for p in prompts]
    kept: list[Entry] = []
    for entry in listed:
        wordings = tuple(w for w in entry.wordings if not near_any(set(normal(w).split()), judged))
        if wordings:
            kept.append(replace(entry, wordings=wordings))
    return kept


def judged_prompts(files: Sequence[Path]) -> list[str]:
    """What benchmark files ask: every column and turn of a line that is words and not statements or checks."""
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    pieces = [piece for line in lines if not line.startswith("#") for piece in re.split(r"\|+|=>", line)]
    return [piece.strip() for piece in pieces if piece.strip() and not re.search(r"[=@<>\[\]]", piece)]


def near_any(words: set[str], judged: Sequence[set[str]]) -> bool:
    """Whether these words are most of the words of a judged prompt."""
    return any(len(words & p) > _NEAR_SHARE * len(words | p) for p in judged)


def solve_entries(listed: Sequence[Entry], seeds: Sequence[int | None] = (None,), tries: int = 2) -> list[NamedPose]:
    """Each entry's versions, solved once for each seed; solutions that miss several statements are left out."""
    versions = [(i, version) for i, entry in enumerate(listed) for version in entry.versions]
    solved: dict[int, list[tuple[Tensor, int]]] = {}
    codes: dict[int, Tensor] = {}
    names = tuple(POSECODES)
    for seed in seeds:
        for at in range(0, len(versions), _BATCH):
            part = versions[at : at + _BATCH]
            made = solve([v for _, v in part], tries=tries, seed=seed)
            true = posecodes_hold(measure(made.matrot), 0.0)
            for (i, version), matrot, unmet, holds in zip(part, made.matrot, made.unmet, true, strict=True):
                solved.setdefault(i, []).append((matrot, len(unmet)))
                asked = torch.tensor([n in version.codes for n in names])
                mark = torch.where(asked, 1.0, torch.where(holds, torch.nan, 0.0))
                codes[i] = mark if i not in codes else torch.where(codes[i] == mark, mark, torch.nan)
    poses: list[NamedPose] = []
    for i, entry in enumerate(listed):
        best = min(missed for _, missed in solved[i])
        keep = [matrot for matrot, missed in solved[i] if missed <= best + 1]
        poses.append(NamedPose(entry.name, entry.wordings, torch.stack(keep), codes[i]))
    return poses


def main(argv: Sequence[str] | None = None) -> int:
    """``chatpose-server train named_poses``: solves the lexicon into one file for ``train poselm --named``."""
    parser = argparse.ArgumentParser(prog="chatpose-server train named_poses", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="files of prompts that no wording may come near"
    )
    parser.add_argument("--seeds", type=int, default=1, help="different solutions of each version")
    parser.add_argument("--tries", type=int, default=2, help="starts of each, of which the best is kept")
    args = parser.parse_args(argv)
    seeds: list[int | None] = [None, *range(1, args.seeds)]
    listed = without(all_entries(), judged_prompts(args.exclude))
    write_named(args.out, solve_entries(listed, seeds, args.tries), tuple(POSECODES))
    return 0
