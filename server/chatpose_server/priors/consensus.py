"""Our Pose-NDF and our VPoser together: better at cleaning a pose than either alone. Knows no tasks.

First it is estimated how much noise a pose bears (``level``): noise shows where natural poses hardly vary, in the
directions of least variance, while an unusual pose is unusual in directions that vary much. Then each joint is turned
by a weighted sum of five opinions: Pose-NDF after one and after three steps, VPoser after those, the mean of the
natural poses around (a mixture of Gaussians, whose posterior mean is a Wiener filter in each part: Zoran and Weiss,
From Learning Models of Natural Image Patches to Whole Image Restoration, 2011), and VPoser after that. The weights
depend on joint and level and were fitted to poses of the training trials with known noise
(``training/priors_consensus.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from .base import Pull
from .posendf import PoseNDF
from .vposer import VPoser

NUMBERS: Final = 63  # of 21 rotation vectors
OPINIONS: Final = 5
LEVELS_DEG: Final = (0.0, 1.5, 3.0, 5.0, 8.0, 12.0, 20.0, 35.0)  # between these the weights are blended
_BANDS: Final = 9  # of directions, by their variance among natural poses; the five of least variance show noise
_QUIET_BANDS: Final = 5
_LEAST_NOISE: Final = 1e-4  # radians squared: a Gaussian's part is never taken at its word entirely
_NDF_STEPS: Final = 3


@dataclass(frozen=True)
class Tables:
    """What was learnt. Numbers are rotation vectors of 21 joints, radians, in one row.

    ``mean`` (63,), ``axes`` (63, 63) columns by rising variance: of all natural poses. ``means`` (K, 63), ``turns``
    (K, 63, 63), ``variances`` (K, 63), ``shares`` (K,): a mixture of K Gaussians. ``level`` (26,): from signs of noise
    to its size. ``weights`` (21, 8, 5): of the opinions, by joint and level.
    """

    mean: Tensor
    axes: Tensor
    means: Tensor
    turns: Tensor
    variances: Tensor
    shares: Tensor
    level: Tensor
    weights: Tensor

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Tables:
        """From a file's tensors. KeyError where one is missing."""
        return cls(**{f.name: state[f.name] for f in fields(cls)})


@dataclass(frozen=True)
class Consensus:
    """A prior made of our two."""

    posendf: PoseNDF
    vposer: VPoser
    tables: Tables
    family: str = "chatpose-both"

    @torch.no_grad()
    def pull(self, quat: Tensor) -> Pull:
        """Towards what both make of (B, 21, 4); ``distance`` is the noise that the pose seems to bear, radians."""
        level = self.level(quat)
        turns = torch.einsum("bjcf,bl,jlf->bjc", self.opinions(quat, level), blend(level), self.tables.weights)
        return Pull(rot.quat_canonical(rot.quat_multiply(quat, rot.rotvec_to_quat(turns))), level)

    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """``steps`` pulls, one by default: (B, 21, 4) -> (B, 21, 4)."""
        for _ in range(1 if steps is None else steps):
            quat = self.pull(quat).natural
        return quat

    @torch.no_grad()
    def level(self, quat: Tensor) -> Tensor:
        """(B,): root mean square angle by which the joints of poses are probably off, radians."""
        return (self.signs(quat) @ self.tables.level).clamp(0, 1)

    @torch.no_grad()
    def signs(self, quat: Tensor) -> Tensor:
        """(B, 26): what tells noise from a rare pose, with squares and products; the level is linear in these."""
        along = (rotvecs(quat) - self.tables.mean) @ self.tables.axes
        quiet = along.split(NUMBERS // _BANDS, 1)[:_QUIET_BANDS]
        distance = self.posendf.distance(quat)
        rebuilt = _turn(quat, self.vposer.pull(quat).natural).norm(dim=-1).mean(1)
        spread = [band.square().mean(1).sqrt() for band in quiet]
        middle = [band.abs().median(1).values for band in quiet]
        plain = torch.stack([distance, *spread, *middle, rebuilt], 1)  # (B, 12)
        with_distance = distance[:, None] * plain[:, :1]
        return torch.cat([torch.ones(len(quat), 1), plain, plain.clamp(max=0.5).square(), with_distance], 1)

    @torch.no_grad()
    def opinions(self, quat: Tensor, level: Tensor) -> Tensor:
        """(B, 21, 3, 5): the turn of every joint that each opinion asks for, in the joint's own frame."""
        once = self.posendf.project(quat, 1)
        thrice = self.posendf.project(once, _NDF_STEPS - 1)
        around = self.around(quat, level)
        views = (once, thrice, self.vposer.pull(thrice).natural, around, self.vposer.pull(around).natural)
        return torch.stack([_turn(quat, view) for view in views], -1)

    def around(self, quat: Tensor, level: Tensor) -> Tensor:
        """(B, 21, 4): the mean of natural poses near poses that bear noise of this level."""
        tables = self.tables
        noise = (level.square() / 3).clamp(min=_LEAST_NOISE)[:, None, None]  # of one of a turn's three numbers
        along = torch.einsum("bki,kij->bkj", rotvecs(quat)[:, None] - tables.means, tables.turns)  # (B, K, 63)
        whole = tables.variances + noise
        fit = tables.shares.log() - 0.5 * (along.square() / whole + whole.log()).sum(-1)
        means = torch.einsum("bkj,kij->bki", along * tables.variances / whole, tables.turns) + tables.means
        found = (means * fit.softmax(1)[..., None]).sum(1)
        return rot.rotvec_to_quat(found.unflatten(1, (-1, 3)))


def blend(level: Tensor) -> Tensor:
    """(B, 8): how much each of ``LEVELS_DEG`` counts at a level (B,) in radians: two neighbours, together 1."""
    marks = torch.tensor(LEVELS_DEG)
    at = torch.rad2deg(level).clamp(max=marks[-1].item() - 1e-3)
    low = torch.searchsorted(marks, at, right=True) - 1
    share = (at - marks[low]) / (marks[low + 1] - marks[low])
    out = torch.zeros(len(level), len(marks))
    rows = torch.arange(len(level))
    out[rows, low], out[rows, low + 1] = 1 - share, share
    return out


def rotvecs(quat: Tensor) -> Tensor:
    """(B, 63): the rotation vectors of (B, 21, 4), each the shorter way."""
    return rot.quat_to_rotvec(rot.quat_canonical(quat)).flatten(1)


def _turn(start: Tensor, end: Tensor) -> Tensor:
    return rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(start), end))
