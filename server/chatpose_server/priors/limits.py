"""How far each joint of a body turns: boxes on the axis-angle numbers of local rotations. Knows no networks.

The numbers are the 0.2 and 99.8 percentiles of some 18,000 captured and drawn poses (acrobatics included) and their
mirror images, joints that a source did not measure left out, rounded outwards to 5 degrees. Elbows and knees are held
to their hinge: a knee of SMPL bends about +x, the left elbow about -y.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from .base import PRIOR_JOINTS

_Box = tuple[tuple[float, float, float], tuple[float, float, float]]
LEFT_AND_MIDDLE_DEG: Final[Mapping[str, _Box]] = {
    "left_hip": ((-125, -40, -35), (30, 60, 55)),
    "spine1": ((-30, -30, -30), (55, 30, 30)),
    "left_knee": ((-5, -25, -25), (150, 45, 20)),
    "spine2": ((-25, -20, -15), (25, 20, 15)),
    "left_ankle": ((-60, -45, -30), (55, 50, 20)),
    "spine3": ((-30, -20, -20), (40, 20, 20)),
    "left_foot": ((-55, -20, -10), (65, 25, 15)),
    "neck": ((-40, -40, -30), (35, 40, 30)),
    "left_collar": ((-25, -40, -35), (25, 30, 40)),
    "head": ((-60, -50, -45), (65, 50, 45)),
    "left_shoulder": ((-100, -115, -100), (90, 60, 50)),
    "left_elbow": ((-75, -140, -70), (55, 10, 80)),
    "left_wrist": ((-100, -60, -55), (85, 55, 85)),
}
"""Joint -> (lowest, highest) of its rotation vector in degrees; right joints are the mirror image."""


@functools.cache
def bounds() -> tuple[Tensor, Tensor]:
    """Lowest and highest rotation vectors, (21, 3) radians each, in the order of ``PRIOR_JOINTS``."""
    low, high = torch.empty(21, 3), torch.empty(21, 3)
    for i, name in enumerate(PRIOR_JOINTS):
        a, b = (torch.tensor(v) for v in LEFT_AND_MIDDLE_DEG[name.replace("right_", "left_")])
        if name.startswith("right_"):  # a mirror in x = 0 keeps turns about x and reverses those about y and z
            low[i] = torch.stack([a[0], -b[1], -b[2]])
            high[i] = torch.stack([b[0], -a[1], -a[2]])
        else:
            low[i], high[i] = a, b
    return torch.deg2rad(low), torch.deg2rad(high)


def clamp(quat: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(..., 21, 4) -> the same with every joint inside its box, widened to hold the pose ``allowed`` (..., 21, 4)."""
    low, high = (bound.to(quat) for bound in bounds())
    if allowed is not None:  # what an artist has posed is never snapped back
        turn = rot.quat_to_rotvec(allowed)
        low, high = torch.minimum(low, turn), torch.maximum(high, turn)
    return rot.rotvec_to_quat(torch.clamp(rot.quat_to_rotvec(quat), low, high))


def beyond_deg(quat: Tensor) -> Tensor:
    """(..., 21): how many degrees each joint of (..., 21, 4) is outside its box, 0 inside."""
    low, high = bounds()
    turn = rot.quat_to_rotvec(quat)
    out = torch.maximum(low.to(turn) - turn, turn - high.to(turn)).clamp(min=0)
    return torch.rad2deg(out.norm(dim=-1))
