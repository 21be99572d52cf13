"""The lexicon's named poses, solved once into rotations, so that training only reads them. Knows no language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class NamedPose:
    """A solved entry. ``matrot`` (V, 22, 3, 3): versions; ``codes`` (N,): 1 asked, 0 not, NaN true but not asked."""

    wordings: tuple[str, ...]
    matrot: Tensor
    codes: Tensor


def write_named(path: Path, poses: Sequence[NamedPose], code_names: Sequence[str]) -> None:
    """One safetensors file; wordings and posecode names go into its header."""
    tensors = {f"{i}.matrot": p.matrot.contiguous() for i, p in enumerate(poses)}
    tensors |= {f"{i}.codes": p.codes.contiguous() for i, p in enumerate(poses)}
    words = json.dumps([p.wordings for p in poses])
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
            NamedPose(tuple(w), f.get_tensor(f"{i}.matrot"), torch.where(known, f.get_tensor(f"{i}.codes")[column], nan))
            for i, w in enumerate(wordings)
        )
