"""What training reads: a batch of texts with what they should give, and where batches come from. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """``texts`` (B); ``replies`` (B): None for a pose, else the words of a plain answer; ``matrot`` (B, 22, 3, 3), any
    value where the reply is words; ``codes`` (B, N) 0, 1 or NaN (not known); ``names`` (B): the named pose that the
    words mean, counted from 1, 0 for none of them, -1 for not known.
    """

    texts: list[str]
    replies: list[str | None]
    matrot: Tensor
    codes: Tensor
    names: Tensor


class PairSource(Protocol):
    """Makes training pairs on the fly."""

    code_names: tuple[str, ...]
    pose_names: tuple[str, ...]

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """``count`` pairs; the same generator state gives the same pairs."""
        ...

    def every_name(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All wordings of named poses, once each."""
        ...
