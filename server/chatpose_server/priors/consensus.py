"""Our Pose-NDF and our VPoser together: better at cleaning a pose than either alone. Knows no tasks.

Pose-NDF is right about small errors and leaves natural poses alone, VPoser is right about large ones but rounds every
pose off. So Pose-NDF's distance says how much VPoser is asked. The numbers were chosen on held-out trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from .base import Pull
from .posendf import PoseNDF
from .vposer import VPoser

_TRUST_FROM_DEG: Final = 1.5  # Pose-NDF's distance below which VPoser is not asked,
_TRUST_TO_DEG: Final = 6.0  # and from which on it is asked as much as ever
_TRUST: Final = 0.7
_STEPS: Final = 2  # of Pose-NDF


@dataclass(frozen=True)
class Consensus:
    """A prior made of our two."""

    posendf: PoseNDF
    vposer: VPoser
    family: str = "chatpose-both"

    def pull(self, quat: Tensor) -> Pull:
        """Towards both priors' opinion of (B, 21, 4); ``distance`` is Pose-NDF's, radians per joint."""
        with torch.no_grad():
            distance = self.posendf.distance(quat)
        off = torch.rad2deg(distance)
        trust = _TRUST * ((off - _TRUST_FROM_DEG) / (_TRUST_TO_DEG - _TRUST_FROM_DEG)).clamp(0, 1)
        near = self.posendf.project(quat, _STEPS)
        far = self.vposer.pull(quat).natural
        return Pull(rot.quat_slerp(near, far, trust[:, None, None]), distance)

    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """``steps`` pulls, one by default: (B, 21, 4) -> (B, 21, 4)."""
        for _ in range(1 if steps is None else steps):
            quat = self.pull(quat).natural
        return quat
