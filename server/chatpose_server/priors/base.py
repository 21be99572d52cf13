"""What every prior of natural poses can do, whatever its network. Knows no files and no tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from torch import Tensor

from ..skeleton import BODY_JOINTS

PRIOR_JOINTS: Final[tuple[str, ...]] = BODY_JOINTS[1:]
"""The 21 joints a prior speaks of: SMPL's body without the pelvis, whose rotation is where the person faces."""


@dataclass(frozen=True)
class Pull:
    """Where a prior would like poses to be. ``natural`` (B, 21, 4) unit quaternions; ``distance`` (B,) radians, an
    angle per joint: how far each pose is from natural by the prior's own measure (for published Pose-NDF weights
    its own unit).
    """

    natural: Tensor
    distance: Tensor


class Prior(Protocol):
    """A prior of natural poses: VPoser or PoseNDF, published or our own."""

    @property
    def family(self) -> str:
        """Which network this is, and whose weights: see ``checkpoints``."""
        ...

    def pull(self, quat: Tensor) -> Pull:
        """One step from poses (B, 21, 4), unit (w, x, y, z), towards natural ones. Not differentiable."""
        ...

    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """The natural poses (B, 21, 4) that the prior finds from ``quat``; ``steps`` None is its own number."""
        ...
