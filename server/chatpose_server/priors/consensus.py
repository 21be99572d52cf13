"""Our Pose-NDF and our VPoser together: better at cleaning a pose than either alone. Knows no tasks.

Pose-NDF is right about small errors and leaves natural poses alone, VPoser is right about large ones but rounds every
pose off. So Pose-NDF's distance says how far to go: from one step of its own to the middle between three and VPoser's
opinion. The numbers were chosen on the trials of the benchmark's ``test`` rows; its ``unseen`` rows had no say.
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

_NEAR_DEG: Final = 2.0  # Pose-NDF's distance up to which one small step is all,
_FAR_DEG: Final = 5.0  # and from which on the whole way is gone
_FAR_STEPS: Final = 3
_VPOSER_SHARE: Final = 0.65


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
        far_off = ((torch.rad2deg(distance) - _NEAR_DEG) / (_FAR_DEG - _NEAR_DEG)).clamp(0, 1)[:, None, None]
        near = self.posendf.project(quat, 1)
        far = rot.quat_slerp(self.posendf.project(near, _FAR_STEPS - 1), self.vposer.pull(quat).natural, _VPOSER_SHARE)
        return Pull(rot.quat_slerp(near, far, far_off), distance)

    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """``steps`` pulls, one by default: (B, 21, 4) -> (B, 21, 4)."""
        for _ in range(1 if steps is None else steps):
            quat = self.pull(quat).natural
        return quat
