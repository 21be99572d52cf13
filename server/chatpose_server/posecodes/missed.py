"""How far poses are from statements, in units that weigh alike, and which pose least misses what is probably asked.

For many poses at once and differentiable; ``refine`` makes statements true, this only measures. Knows no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from .measure import measure
from .vocabulary import POSECODES, QUANTITIES

UNIT: Final = {"deg": 10.0, "m": 0.04, "ratio": 0.15}  # a miss of one: seen at once, whatever is measured
_MOST: Final = 4.0  # units that no miss ever reaches: one hopeless statement must not outweigh the others


class Terms:
    """All terms of N posecodes in a row. A name that the vocabulary does not know has none.

    ``row`` (T,): which posecode a term belongs to; ``column`` (T,): which quantity of ``measure`` it speaks of;
    ``tolerance`` (T,): by how much it may be missed and still hold.
    """

    def __init__(self, code_names: Sequence[str], inside: float = 0.0) -> None:
        """``inside``: units inside its interval that a value must be to count as not missed at all."""
        position = {name: i for i, name in enumerate(QUANTITIES)}
        terms = [(row, t) for row, n in enumerate(code_names) for t in (POSECODES[n].terms if n in POSECODES else ())]
        quantities = [QUANTITIES[t.quantity] for _, t in terms]
        self.row = torch.tensor([row for row, _ in terms], dtype=torch.long)
        self.column = torch.tensor([position[t.quantity] for _, t in terms], dtype=torch.long)
        self.lo = torch.tensor([t.lo for _, t in terms])
        self.hi = torch.tensor([t.hi for _, t in terms])
        self.tolerance = torch.tensor([q.tolerance for q in quantities])
        self._scale = torch.tensor([UNIT[q.unit] for q in quantities])
        self._inside = torch.minimum(inside * self._scale, (self.hi - self.lo).clamp(max=1e4) / 2)

    def units(self, values: Tensor) -> Tensor:
        """Values (B, Q) of ``measure`` -> (B, T): by how much each term is missed; 0 where it holds."""
        own = values[:, self.column]
        outside = torch.relu(self.lo + self._inside - own) + torch.relu(own - self.hi + self._inside)
        return bounded(outside / self._scale)


def bounded(units: Tensor) -> Tensor:
    """Misses of any size -> below ``_MOST``, small ones as they are."""
    return units * _MOST / (_MOST + units)


class Judge:
    """Which of several poses does best what is probably asked."""

    def __init__(self, code_names: Sequence[str]) -> None:
        self._terms = Terms(code_names)

    def __call__(self, matrot: Tensor, chances: Tensor) -> Tensor:
        """(K, 22, 3, 3) poses and (N,) chances that each posecode is asked -> (K,) the expected miss, in units."""
        with torch.no_grad():
            return self._terms.units(measure(matrot)) @ chances[self._terms.row]
