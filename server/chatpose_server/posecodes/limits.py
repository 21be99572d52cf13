"""How far joints turn: a table of ranges per joint and the excess over them. Knows one joint at a time, no bodies.

Each local rotation is split into a twist about the bone (x for arms, y for legs, spine and head) and a swing across
it, as a rotation vector. Ranges are anatomical (AAOS), widened where 20,000 real poses in SMPL's joints reach further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from ..rotations import matrot_to_quat, quat_canonical
from ..skeleton import BODY_JOINTS, mirror_name

_DEG: Final = 180.0 / math.pi
Range = tuple[float, float]

RANGES: Final[Mapping[str, tuple[Range, Range, Range]]] = {
    # degrees about x, y, z of the rest body; left side and middle, the right side is its mirror image
    "left_hip": ((-128, 28), (-45, 60), (-28, 80)),  # - flexes, + turns out, + spreads
    "left_knee": ((-4, 152), (-25, 25), (-12, 12)),  # + flexes
    "left_ankle": ((-38, 52), (-28, 32), (-26, 22)),  # + points the toes
    "left_foot": ((-60, 40), (-12, 12), (-8, 8)),
    "spine1": ((-25, 48), (-26, 26), (-25, 25)),
    "spine2": ((-18, 28), (-18, 18), (-14, 14)),
    "spine3": ((-20, 28), (-18, 18), (-15, 15)),
    "neck": ((-35, 35), (-42, 42), (-26, 26)),
    "head": ((-50, 48), (-45, 45), (-38, 38)),
    "left_collar": ((-22, 22), (-32, 26), (-22, 44)),  # + shrugs about z, - brings the shoulder forward about y
    "left_shoulder": ((-105, 95), (-118, 62), (-102, 88)),  # twist, - forward, + up
    "left_elbow": ((-88, 88), (-152, 4), (-32, 70)),  # - flexes about y
    "left_wrist": ((-75, 75), (-42, 42), (-75, 75)),  # about z: bends the palm up and down
}
TWIST_AXIS: Final[Mapping[str, int]] = {
    n: 0 if n.split("_")[-1] in ("collar", "shoulder", "elbow", "wrist") else 1 for n in BODY_JOINTS[1:]
}


def _range(name: str) -> tuple[Range, Range, Range]:
    if name in RANGES:
        return RANGES[name]
    x, y, z = RANGES[mirror_name(name)]
    return x, (-y[1], -y[0]), (-z[1], -z[0])


_ORDER: Final = [[(TWIST_AXIS[n] + k) % 3 for k in range(3)] for n in BODY_JOINTS[1:]]  # twist axis first, cyclic
_LO: Final = torch.tensor([[_range(n)[a][0] for a in _ORDER[i]] for i, n in enumerate(BODY_JOINTS[1:])])
_HI: Final = torch.tensor([[_range(n)[a][1] for a in _ORDER[i]] for i, n in enumerate(BODY_JOINTS[1:])])
_PICK: Final = torch.tensor(_ORDER)


# A thigh that is first raised forward and then spread is turned about itself on the way, without any turning in the
# joint (Codman's paradox): for this the range of its twist is wider. Else nobody could sit cross-legged.
_HIPS: Final = [BODY_JOINTS[1:].index(n) for n in ("left_hip", "right_hip")]


def twist_swing(local_quat: Tensor) -> Tensor:
    """(B, 21, 4) local rotations of all joints but the pelvis -> (B, 21, 3) degrees: twist, then the two swings.

    The swings stand in cyclic order after the twist axis: (x, y, z) for arms, (y, z, x) for the others.
    """
    q = quat_canonical(local_quat)
    w = q[..., 0]
    p, a, b = q[..., 1:].gather(-1, _PICK.to(q.device).expand(*q.shape[:-1], 3)).unbind(-1)
    n = torch.sqrt(w * w + p * p + 1e-12)
    twist = 2 * torch.atan2(p, w.clamp(min=1e-6))
    y, z = (a * w - b * p) / n, (b * w + a * p) / n
    sin = torch.sqrt(y * y + z * z + 1e-12)
    k = 2 * torch.atan2(sin, n) / sin
    return torch.stack([twist, y * k, z * k], -1) * _DEG


def excess_quat(local_quat: Tensor) -> Tensor:
    """(B, 22, 4) -> (B, 21, 3) degrees outside the joint's range, signed (+ over, - under), 0 within."""
    angles = twist_swing(local_quat[:, 1:])
    over = torch.relu(angles - _HI.to(angles)) - torch.relu(_LO.to(angles) - angles)
    hips = angles[:, _HIPS]  # (B, 2, 3): twist, spread, flexion
    carried = -2 * torch.atan(torch.tan(hips[..., 1] / (2 * _DEG)) * torch.tan(hips[..., 2] / (2 * _DEG))) * _DEG
    turn, hi, lo = hips[..., 0], _HI[_HIPS, 0].to(angles), _LO[_HIPS, 0].to(angles)
    turned = torch.relu(turn - hi - torch.relu(carried)) - torch.relu(lo - torch.relu(-carried) - turn)
    first = torch.zeros_like(over)
    first[:, _HIPS, 0] = turned - over[:, _HIPS, 0]
    return over + first


def excess(local_matrot: Tensor) -> Tensor:
    """(B, 22, 3, 3) -> (B, 21, 3) degrees outside the joint's range, never negative."""
    return excess_quat(matrot_to_quat(local_matrot)).abs()
