"""Which way is up: from a body before a camera to a body on the ground and a camera in the world. Knows no pictures.

One picture does not show the horizon. What tells how the camera was tilted is the body itself: both feet stand on one
level, soles lie flat on it, the mass is over them; and people mostly hold cameras level and look a little down.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..body.model import default_body
from ..pose import Pose
from ..skeleton import BODY_JOINTS, INDEX, mirror_name
from .blazepose import AT
from .camera import Camera
from .fit import Fitted, Seen, both_sides

_PITCH_MEAN: Final = -8.0  # degrees; cameras look down a little
_PITCH_SIGMA: Final = 16.0
_ROLL_SIGMA: Final = 4.0
_HEIGHT_SIGMA: Final = 0.05  # metres: points of one foot, and of two feet that both carry
_HEIGHT_CAP: Final = 2.5  # sigmas: beyond, a foot is in the air and tells nothing
_BALANCE_SIGMA: Final = 0.12  # metres from over the middle of what carries
_BALANCE_CAP: Final = 2.5
_LEAN_SIGMA: Final = 45.0  # degrees of the trunk, where no feet are seen: people mostly are upright

# What may stand on the ground: joint, place beside it at rest (left side), and the landmark that shows it was seen.
_BEARERS: Final[tuple[tuple[str, tuple[float, float, float], int], ...]] = (
    ("left_ankle", (0.005, -0.067, -0.045), 29), ("right_ankle", (-0.005, -0.067, -0.045), 30),
    ("left_foot", (-0.010, -0.022, 0.010), 31), ("right_foot", (0.010, -0.022, 0.010), 32),
)  # fmt: skip
_MASS: Final = {
    "pelvis": 0.14, "spine1": 0.14, "spine3": 0.2, "head": 0.08, "left_hip": 0.05, "right_hip": 0.05,
    "left_knee": 0.08, "right_knee": 0.08, "left_ankle": 0.03, "right_ankle": 0.03, "left_shoulder": 0.02,
    "right_shoulder": 0.02, "left_elbow": 0.025, "right_elbow": 0.025, "left_wrist": 0.015, "right_wrist": 0.015,
}  # fmt: skip
"""Share of the body's mass at joints (Winter, Biomechanics, 2009)."""


@functools.cache
def _tilts() -> tuple[Tensor, Tensor]:
    """(n, 3, 3) camera to world for every pitch and roll tried, and their cost by habit (n,)."""
    pitch = torch.arange(-80.0, 61.0, 2.0)
    roll = torch.arange(-12.0, 13.0, 2.0)
    p, r = (g.flatten() for g in torch.meshgrid(pitch, roll, indexing="ij"))
    cost = ((p - _PITCH_MEAN) / _PITCH_SIGMA) ** 2 + (r / _ROLL_SIGMA) ** 2
    p, r = p.deg2rad(), r.deg2rad()
    zero = torch.zeros_like(p)
    turn = rot.rotvec_to_matrot(torch.stack([p, zero, zero], 1)) @ rot.rotvec_to_matrot(torch.stack([zero, zero, r], 1))
    return turn, cost


@torch.no_grad()
def tilt(fitted: Fitted, seen: Seen) -> Tensor:
    """(3, 3): from the camera's axes to those of the world, the camera's heading kept as the world's -z."""
    turns, cost = _tilts()
    state = default_body().forward_kinematics(rot.quat_to_matrot(fitted.quat)[None])
    joints, matrot = state.joints[0, : len(BODY_JOINTS)], state.matrot[0]
    bearers = torch.stack([joints[INDEX[j]] + matrot[INDEX[j]] @ torch.tensor(place) for j, place, _ in _BEARERS])
    trust = torch.stack([seen.trust[k] for _, _, k in _BEARERS])
    mass = torch.tensor([_MASS.get(name, 0.0) for name in BODY_JOINTS])
    centre = (joints * (mass / mass.sum())[:, None]).sum(0)
    up = turns[:, 1]  # (n, 3): the world's up in the camera's axes
    height = up @ bearers.T  # (n, 4)
    above = height - (up @ joints.T).amin(1, keepdim=True).minimum(height.amin(1, keepdim=True))
    capped = torch.clamp(above / _HEIGHT_SIGMA, max=_HEIGHT_CAP)
    cost = cost + (capped**2 * trust).sum(1)
    carries = torch.exp(-((above / (2 * _HEIGHT_SIGMA)) ** 2)) * trust + 1e-3  # (n, 4)
    support = (carries[..., None] * bearers).sum(1) / carries.sum(1, keepdim=True)  # (n, 3)
    off = centre - support
    sideways = (off - (off * up).sum(1, keepdim=True) * up).norm(dim=1)
    cost = cost + torch.clamp(sideways / _BALANCE_SIGMA, max=_BALANCE_CAP) ** 2 * trust.max()
    trunk = joints[INDEX["neck"]] - joints[INDEX["pelvis"]]
    lean = torch.acos((up @ (trunk / trunk.norm())).clamp(-1, 1)).rad2deg()
    cost = cost + (lean / _LEAN_SIGMA) ** 2 * (1 - 0.7 * trust.max())
    weight = torch.softmax(-0.5 * (cost - cost.min()), 0)
    mean = (turns * weight[:, None, None]).sum(0)  # the mean of what is likely is off less than the likeliest
    return rot.project_to_so3(mean)


# -- legs that nobody sees ---------------------------------------------------------------------------------------------
_LEGS_SEEN: Final = (0.2, 0.5)  # trust in the best seen knee or ankle, from which legs are what was seen of them
_LEGS_KNOWN: Final = (0.06, 0.10)  # metres that the lifter thinks hidden knees are off: below, it knows from the rest
_UPRIGHT: Final = (20.0, 45.0)  # degrees of lean up to which such legs stand under the body, and beyond which they lie
_AT_EASE: Final = 0.7  # of the way: the rest is what the fit guessed
_LEG_DEG: Final = {
    "left_hip": (-5.0, 0.0, 2.0), "left_knee": (8.0, 0.0, 0.0), "left_ankle": (-3.0, 0.0, 0.0),
    "left_foot": (0.0, 0.0, 0.0),
}  # fmt: skip


def at_ease(matrot: Tensor, seen: Seen) -> Tensor:
    """(22, 3, 3), the pelvis' to the world -> the same with legs of which nothing was seen put at ease: under a body
    that is upright, along one that lies. A fit guesses the mean of all that legs might do, which is a crouch.
    """
    share = _AT_EASE * unseen_legs(seen)
    if share == 0:
        return matrot
    up = torch.tensor([0.0, 1.0, 0.0])
    pelvis = matrot[0]
    lean = math.degrees(math.acos(max(-1.0, min(1.0, float(pelvis[1, 1])))))
    ahead = torch.nn.functional.normalize(pelvis[:, 2] * torch.tensor([1.0, 0.0, 1.0]), dim=0)
    level = torch.stack([torch.linalg.cross(up, ahead), up, ahead], 1)
    under = rot.matrot_to_quat((pelvis.T @ level)[None])
    hang = rot.quat_slerp(under, torch.tensor([[1.0, 0.0, 0.0, 0.0]]), _rise(lean, *_UPRIGHT))
    goal = rot.rotvec_to_quat(both_sides(_LEG_DEG, mirrored=True, missing=0.0))
    hips = [INDEX["left_hip"], INDEX["right_hip"]]
    goal[hips] = rot.quat_multiply(hang, goal[hips])
    legs = [INDEX[name] for left in _LEG_DEG for name in (left, mirror_name(left))]
    eased = matrot.clone()
    eased[legs] = rot.quat_to_matrot(rot.quat_slerp(rot.matrot_to_quat(matrot[legs]), goal[legs], share))
    return eased


def unseen_legs(seen: Seen) -> float:
    """1 where nothing was seen of both legs and nothing tells where they are, 0 where a knee or an ankle was."""
    best = float(seen.trust[[AT[f"{s}_{n}"] for s in ("left", "right") for n in ("knee", "ankle")]].max())
    unseen = 1 - _rise(best, *_LEGS_SEEN)
    if seen.lifted is None:
        return unseen
    off = float(seen.lifted.sigma[[AT["left_knee"], AT["right_knee"]]].mean())
    return unseen * _rise(off, *_LEGS_KNOWN)


def _rise(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high``, smooth between."""
    x = min(1.0, max(0.0, (value - low) / (high - low)))
    return x * x * (3 - 2 * x)


@torch.no_grad()
def stand(fitted: Fitted, seen: Seen, score: float) -> tuple[Pose, Camera]:
    """The pose in the world, its lowest point on y = 0 and the pelvis above the origin, and the camera that sees it."""
    turn = tilt(fitted, seen)
    matrot = rot.quat_to_matrot(fitted.quat)
    matrot[0] = turn @ matrot[0]
    matrot = at_ease(matrot, seen)
    body = default_body()
    transl = body.ground_transl(matrot[None])[0]
    pelvis = body.neutral_joints[0] + transl
    location = pelvis - turn @ fitted.place
    pose = Pose.from_matrot(matrot, transl=transl.tolist(), score=min(1.0, max(0.0, score)))
    x, y, z = location.tolist()
    w, i, j, k = rot.matrot_to_quat(turn).tolist()
    return pose, Camera(seen.width, seen.height, fitted.focal_px, (x, y, z), (w, i, j, k))


def pitch_deg(camera: Camera) -> float:
    """How far the camera looks up."""
    w, x, y, z = camera.rotation
    return math.degrees(math.asin(max(-1.0, min(1.0, 2 * (w * x - y * z)))))
