"""What training reads: a batch of texts with what they should give, and where batches come from. Knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """``texts`` (B); ``replies`` (B): None for a pose, else the words of a plain answer; ``matrot`` (B, 22, 3, 3): any
    value where the reply is words, NaN where no pose is known that does what the words ask; ``codes`` (B, N): 0, 1 or
    NaN (not known); ``names`` (B): the named pose that the words mean, counted from 1, 0 for none of them, -1 for not
    known.
    """

    texts: list[str]
    replies: list[str | None]
    matrot: Tensor
    codes: Tensor
    names: Tensor

    def rows(self, index: Sequence[int]) -> Batch:
        """These rows alone."""
        at = list(index)
        return Batch(
            [self.texts[i] for i in at], [self.replies[i] for i in at], self.matrot[at], self.codes[at], self.names[at]
        )

    def joined(self, other: Batch) -> Batch:
        """These rows and then ``other``'s."""
        return Batch(
            self.texts + other.texts, self.replies + other.replies, torch.cat([self.matrot, other.matrot]),
            torch.cat([self.codes, other.codes]), torch.cat([self.names, other.names]),
        )  # fmt: skip


class PairSource(Protocol):
    """Makes training pairs on the fly."""

    code_names: tuple[str, ...]
    pose_names: tuple[str, ...]

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """``count`` pairs; the same generator state gives the same pairs."""
        ...
