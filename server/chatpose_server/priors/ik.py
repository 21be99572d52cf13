"""Full-body inverse kinematics: joints to targets, the rest of the body following as a prior likes. No files, no Pose.

Damped Gauss-Newton on all 22 local rotations and the pelvis' place, with the analytic Jacobian of forward kinematics
(Buss, Introduction to Inverse Kinematics, 2004). The prior works in the freedom that the targets leave: every few
steps it says where the body would rather be, and the step that meets the targets leans there, less and less. A target
out of reach counts like one a little away, so that it is pointed at instead of tearing the body along. Who stands
bends with the mass over the feet instead of tipping over; that, too, fades before the end.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..body.model import default_body
from ..skeleton import BODY_JOINTS, INDEX, PARENTS
from . import limits
from .base import Prior

_COUNT: Final = len(BODY_JOINTS)
_PLACE_STIFFNESS: Final = 2.0  # of the pelvis' place, per metre, against joints' per radian
_STIFFNESS: Final[dict[str, float]] = {
    "pelvis": 3.0, "spine1": 2.0, "spine2": 2.5, "spine3": 2.5, "neck": 1.5, "head": 1.5, "left_collar": 3.0,
    "right_collar": 3.0, "left_foot": 3.0, "right_foot": 3.0, "left_ankle": 1.5, "right_ankle": 1.5,
    "left_wrist": 1.5, "right_wrist": 1.5,
}  # fmt: skip
"""How dear a radian of a joint is, others 1: a reach is made by limbs first, then by the trunk."""

_DRAGGED_PLACE: Final = 60.0
_DRAGGED: Final[dict[str, float]] = {
    **_STIFFNESS, "pelvis": 30.0, "spine1": 20.0, "spine2": 24.0, "spine3": 24.0, "left_hip": 6.0, "right_hip": 6.0,
    "left_knee": 6.0, "right_knee": 6.0,
}  # fmt: skip
"""The same while a body is dragged from its home: what an arm can reach alone, an arm does."""

_SOFT_REACH: Final = 0.15  # metres: a target further off pulls no harder than one this far
_LONGEST_STEP: Final = 0.3  # metres an effector is asked to go in one step: further, the Jacobian means little
_MASS: Final[dict[str, float]] = {
    "pelvis": 0.14, "spine1": 0.14, "spine3": 0.2, "head": 0.08, "left_hip": 0.05, "right_hip": 0.05,
    "left_knee": 0.08, "right_knee": 0.08, "left_ankle": 0.03, "right_ankle": 0.03, "left_shoulder": 0.02,
    "right_shoulder": 0.02, "left_elbow": 0.025, "right_elbow": 0.025, "left_wrist": 0.015, "right_wrist": 0.015,
}  # fmt: skip
"""Share of the body's mass at joints, segments halved to their ends (Winter, Biomechanics, 2009)."""

_FEET: Final = tuple(INDEX[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot"))
_MAX_TURN: Final = 0.6  # radians a joint may turn in one step
_PRIOR_EVERY: Final = 3
_PRIOR_FADE: Final = 0.75  # of its weight, a step


@dataclass(frozen=True)
class Solution:
    """``quat`` (B, 22, 4), ``transl`` (B, 3), ``residual`` (B, E) metres from each target."""

    quat: Tensor
    transl: Tensor
    residual: Tensor


@functools.cache
def _ancestors() -> Tensor:
    """(22, 22) bool: [e, j] is True where joint e moves when joint j turns, itself left out."""
    table = torch.zeros(_COUNT, _COUNT, dtype=torch.bool)
    for e in range(_COUNT):
        j = PARENTS[e]
        while j >= 0:
            table[e, j] = True
            j = PARENTS[j]
    return table


@functools.cache
def _stiffness(dragged: bool) -> Tensor:
    """(69,): 22 joints' three numbers, then the place's."""
    table, place = (_DRAGGED, _DRAGGED_PLACE) if dragged else (_STIFFNESS, _PLACE_STIFFNESS)
    joints = torch.tensor([table.get(name, 1.0) for name in BODY_JOINTS])
    return torch.cat([joints.repeat_interleave(3), torch.full((3,), place)])


@functools.cache
def _balance_row() -> Tensor:
    """(22,): times joint positions, the centre of mass less the middle of the feet."""
    row = torch.tensor([_MASS.get(name, 0.0) for name in BODY_JOINTS])
    row = row / row.sum()
    row[list(_FEET)] -= 1 / len(_FEET)
    return row


def positions(quat: Tensor, transl: Tensor, rest_joints: Tensor | None = None) -> Tensor:
    """Joint positions (B, 22, 3) of local rotations (B, 22, 4); ``rest_joints`` (22, 3), the mean body's by default."""
    return default_body().forward_kinematics(rot.quat_to_matrot(quat), transl, rest_joints).joints


def solve(
    quat: Tensor,  # (B, 22, 4) where to start: the pose on screen, or the last answer of a drag
    transl: Tensor,  # (B, 3)
    effectors: list[int],  # E joints
    targets: Tensor,  # (B, E, 3) metres
    *,
    weight: Tensor | None = None,  # (B, E), how much each target counts; 1 by default
    prior: Prior | None = None,
    naturalness: float = 0.02,  # how much a step leans towards the prior at first
    steps: int = 16,
    damping: float = 2e-3,
    free: Tensor | None = None,  # (22,) bool: joints that may turn; all by default
    move_place: bool = True,
    balance: float = 0.0,  # how much, at first, the mass should stay over the feet as it was
    tolerance: float = 5e-4,  # metres: good enough to stop
    rest_joints: Tensor | None = None,  # (22, 3) of this body at rest; the mean body's by default
    home: tuple[Tensor, Tensor] | None = None,  # (B, 22, 4), (B, 3): what targets leave free goes back there
    on_step: Callable[[float], None] | None = None,
) -> Solution:
    """Turns joints and moves the pelvis until ``effectors`` are at ``targets``, as far as they reach."""
    body = default_body()
    b, start = quat.shape[0], quat
    stiff = _stiffness(home is not None).to(quat)
    locked = torch.zeros(_COUNT * 3 + 3, dtype=torch.bool)
    if free is not None:
        locked[: _COUNT * 3] = ~free.repeat_interleave(3)
    locked[_COUNT * 3 :] = not move_place
    usable = (~locked).to(quat)
    counts = torch.ones(b, len(effectors)).to(quat) if weight is None else weight
    wish = torch.zeros(b, _COUNT * 3 + 3).to(quat)
    lean = naturalness if prior is not None else 0.0
    homesick = 1.0 if home is not None else 0.0
    first = positions(quat, transl, rest_joints)
    balanced = torch.einsum("j,bjc->bc", _balance_row().to(quat), first)[:, ::2]  # (B, x and z)
    identity = torch.eye(_COUNT * 3 + 3).to(quat)
    for step in range(steps):
        state = body.forward_kinematics(rot.quat_to_matrot(quat), transl, rest_joints)
        error = targets - state.joints[:, effectors]  # (B, E, 3)
        far = error.norm(dim=-1)
        if bool(((far < tolerance) | (counts == 0)).all()) and (lean < 1e-4 or step >= steps // 3):
            break
        if prior is not None and step % _PRIOR_EVERY == 0:
            wish = _wish(prior, quat, usable)
        every = _jacobian(state.joints, state.matrot) * usable  # (B, 22, 3, 69)
        jacobian = every[:, effectors].flatten(1, 2)  # (B, 3E, 69)
        soft = counts * (_SOFT_REACH / far.clamp(min=_SOFT_REACH))
        asked = error * (_LONGEST_STEP / far.clamp(min=_LONGEST_STEP))[..., None]
        sway = torch.einsum("j,bjcd->bcd", _balance_row().to(quat), every)[:, ::2]  # (B, 2, 69)
        swayed = balanced - torch.einsum("j,bjc->bc", _balance_row().to(quat), state.joints)[:, ::2]
        jacobian = torch.cat([jacobian, sway], 1)
        rows = torch.cat([soft.repeat_interleave(3, 1), torch.full((b, 2), balance).to(quat)], 1)  # (B, 3E + 2)
        weighted = jacobian * rows[..., None]
        normal = weighted.transpose(1, 2) @ jacobian + identity * ((damping + lean) * stiff)
        right = (weighted.transpose(1, 2) @ torch.cat([asked.flatten(1), swayed], 1)[..., None]).squeeze(-1)
        right = right + lean * stiff * wish
        if home is not None:
            right = right + homesick * damping * stiff * _way_home(home, quat, transl)
        delta = torch.linalg.solve(normal, right) * usable
        delta_turn = delta[:, : _COUNT * 3].unflatten(1, (_COUNT, 3))
        size = delta_turn.norm(dim=-1, keepdim=True)
        delta_turn = delta_turn * (_MAX_TURN / size.clamp(min=_MAX_TURN))
        quat = rot.quat_multiply(quat, rot.rotvec_to_quat(delta_turn))
        quat = torch.cat([quat[:, :1], limits.clamp(quat[:, 1:], start[:, 1:])], 1)
        transl = transl + delta[:, _COUNT * 3 :]
        wish = wish - torch.cat([delta_turn.flatten(1), torch.zeros(b, 3).to(quat)], 1)
        lean, balance, homesick = lean * _PRIOR_FADE, balance * _PRIOR_FADE, homesick * _PRIOR_FADE
        if on_step is not None:
            on_step((step + 1) / steps)
    residual = (targets - positions(quat, transl, rest_joints)[:, effectors]).norm(dim=-1)
    return Solution(rot.quat_canonical(quat), transl, residual)


def _jacobian(joints: Tensor, matrot: Tensor) -> Tensor:
    """(B, 22, 3, 69): how each joint's place changes with every local rotation vector and with the pelvis' place.

    A column is axis x lever; the axes are the columns of the turning joint's global rotation.
    """
    b = len(joints)
    lever = joints[:, :, None] - joints[:, None]  # (B, moved, turning, 3)
    axes = matrot.transpose(-1, -2)[:, None].expand(-1, _COUNT, -1, -1, -1)  # (B, moved, turning, 3 axes, 3)
    turn = torch.linalg.cross(axes, lever[..., None, :].expand(-1, -1, -1, 3, -1))
    turn = (turn * _ancestors().to(joints)[None, :, :, None, None]).permute(0, 1, 4, 2, 3).flatten(3)
    return torch.cat([turn, torch.eye(3).to(joints).expand(b, _COUNT, 3, 3)], -1)


def _way_home(home: tuple[Tensor, Tensor], quat: Tensor, transl: Tensor) -> Tensor:
    """(B, 69): the turn of every joint, and the pelvis' way, back to where they were."""
    turn = rot.quat_to_rotvec(rot.quat_canonical(rot.quat_multiply(rot.quat_conjugate(quat), home[0])))
    return torch.cat([turn.flatten(1), home[1] - transl], 1)


def _wish(prior: Prior, quat: Tensor, usable: Tensor) -> Tensor:
    """(B, 69): the turn of every joint to where the prior would like it; nothing for the pelvis."""
    natural = prior.pull(quat[:, 1:]).natural
    turn = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(quat[:, 1:]), natural)).flatten(1)
    zeros = torch.zeros(len(quat), 3).to(quat)
    return torch.cat([zeros, turn, zeros], 1) * usable
