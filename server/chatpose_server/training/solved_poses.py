"""Poses solved from a few posecodes each, once, so that training only reads them. Knows no words and no language model.

Real poses rarely do one thing alone; people ask for one thing alone all the time ("left hand on the hip"), and mean an
otherwise ordinary standing body. Each posecode that people say is solved by itself, and then in small company.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..posecodes.measure import measure, posecodes_hold
from ..posecodes.refine import solve
from ..posecodes.vocabulary import POSECODES, mirror_code
from . import captions

_MOST: Final = 4  # posecodes asked of one pose
_BATCH: Final = 64
_CHUNK: Final = 512  # solved and written at a time
_COMPANY: Final = (2, 2, 2, 3, 3, 4)  # how many at once
_STANDING: Final = "?pelvis.height=0.78..1.2; ?feet@ground=..0.035; ?trunk.up=0..70; ?pelvis.up=0..50"


@dataclass(frozen=True)
class SolvedPoses:
    """``matrot`` (N, 22, 3, 3); ``asked`` (N, 4): positions in the vocabulary, -1 where fewer were asked."""

    matrot: Tensor
    asked: Tensor


def write_solved(path: Path, poses: SolvedPoses) -> None:
    """One safetensors file; the posecodes' names go into its header."""
    header = {"codes": json.dumps(list(POSECODES))}
    save_file({"matrot": poses.matrot.half().contiguous(), "asked": poses.asked.contiguous()}, path, metadata=header)


def read_solved(path: Path) -> SolvedPoses:
    """Reads ``write_solved``'s file; a pose that asks for what the vocabulary no longer holds is left out."""
    at = {name: i for i, name in enumerate(POSECODES)}
    with safe_open(path, framework="pt") as f:
        listed = json.loads(f.metadata()["codes"])
        matrot, asked = f.get_tensor("matrot").float(), f.get_tensor("asked")
    moved = torch.tensor([*(at.get(name, -2) for name in listed), -1])[asked]  # -1 picks the last: nothing asked
    known = (moved != -2).all(1)
    return SolvedPoses(matrot[known], moved[known])


def draw(count: int, rng: random.Random) -> list[list[str]]:
    """Every posecode that people say by itself, and of both sides; then company of different parts, ``count`` times.

    By itself of the left or of no side only: training mirrors what it reads.
    """
    said = [n for n in POSECODES if captions.is_said(n)]
    weights = [captions.said_often(n) for n in said]
    postures = [n for n in said if POSECODES[n].group == "posture"]
    wanted = [[n] for n in said if not n.startswith("right_")]
    wanted += [[n, mirror_code(n)] for n in said if n.startswith("left_") and mirror_code(n) in said]
    for _ in range(count):
        chosen: list[str] = [rng.choice(postures)] if rng.random() < 0.35 else []
        many = rng.choice(_COMPANY)
        for name in rng.choices(said, weights, k=40):
            parts = {captions.part_of(c) for c in chosen}
            twin = mirror_code(name)
            pair = [name, twin] if twin != name and twin in said and rng.random() < 0.25 else [name]
            fits = len(chosen) + len(pair) <= many and not parts & {captions.part_of(c) for c in pair}
            if fits and POSECODES[name].group != "posture":
                chosen += pair
        wanted.append(chosen)
    return wanted


def solve_all(wanted: Sequence[Sequence[str]], tries: int = 1) -> SolvedPoses:
    """Solves each set; those that cannot be met in one body are left out."""
    at = {name: i for i, name in enumerate(POSECODES)}
    matrot: list[Tensor] = []
    asked: list[list[int]] = []
    for first in range(0, len(wanted), _BATCH):
        part = wanted[first : first + _BATCH]
        posture = [any(POSECODES[c].group == "posture" for c in codes) for codes in part]
        requests = ["; ".join([*c] if p else [*c, _STANDING]) for c, p in zip(part, posture, strict=True)]
        # Every other batch as the words would be answered, the rest varied.
        made = solve(requests, tries=tries, seed=first if first // _BATCH % 2 else None)
        true = posecodes_hold(measure(made.matrot), 0.0)
        for codes, pose, holds in zip(part, made.matrot, true, strict=True):
            index = [at[c] for c in codes]
            if bool(holds[index].all()):
                matrot.append(pose)
                asked.append(index + [-1] * (_MOST - len(index)))
    return SolvedPoses(torch.stack(matrot), torch.tensor(asked))


def main(argv: Sequence[str] | None = None) -> int:
    """``chatpose-server train solved_poses``: writes the file for ``train poselm --solved``."""
    parser = argparse.ArgumentParser(prog="chatpose-server train solved_poses", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--count", type=int, default=10000, help="poses of several posecodes, besides single ones")
    parser.add_argument("--tries", type=int, default=1, help="starts of each, of which the best is kept")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    wanted = draw(args.count, random.Random(args.seed))
    done: list[SolvedPoses] = []
    for first in range(0, len(wanted), _CHUNK):
        done.append(solve_all(wanted[first : first + _CHUNK], args.tries))
        write_solved(args.out, SolvedPoses(torch.cat([d.matrot for d in done]), torch.cat([d.asked for d in done])))
    return 0
