"""Full-body inverse kinematics: joints to targets, the rest of the body following as a prior likes. No files, no Pose.

Damped Gauss-Newton on all 22 local rotations and the pelvis' place, with the analytic Jacobian of forward kinematics
(Buss, Introduction to Inverse Kinematics, 2004). The prior works in the freedom that the targets leave: every few
steps it says where the body would rather be, and the step that meets the targets leans there, less and less. A target
out of reach counts like one a little away, so that it is pointed at instead of tearing the body along.
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
from ..skeleton import BODY_JOINTS, PARENTS
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

_SOFT_REACH: Final = 0.08  # metres: a target further off pulls no harder than one this far
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
def _stiffness() -> Tensor:
    """(69,): 22 joints' three numbers, then the place's."""
    joints = torch.tensor([_STIFFNESS.get(name, 1.0) for name in BODY_JOINTS])
    return torch.cat([joints.repeat_interleave(3), torch.full((3,), _PLACE_STIFFNESS)])


def positions(quat: Tensor, transl: Tensor) -> Tensor:
    """Joint positions (B, 22, 3) of local rotations (B, 22, 4)."""
    return default_body().forward_kinematics(rot.quat_to_matrot(quat), transl).joints


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
    tolerance: float = 5e-4,  # metres: good enough to stop
    on_step: Callable[[float], None] | None = None,
) -> Solution:
    """Turns joints and moves the pelvis until ``effectors`` are at ``targets``, as far as they reach."""
    body = default_body()
    b, start = quat.shape[0], quat
    reach = _ancestors()[effectors].to(quat)  # (E, 22)
    stiff = _stiffness().to(quat).clone()
    locked = torch.zeros(_COUNT * 3 + 3, dtype=torch.bool)
    if free is not None:
        locked[: _COUNT * 3] = ~free.repeat_interleave(3)
    locked[_COUNT * 3 :] = not move_place
    usable = (~locked).to(quat)
    counts = torch.ones(b, len(effectors)).to(quat) if weight is None else weight
    wish = torch.zeros(b, _COUNT * 3 + 3).to(quat)
    lean = naturalness if prior is not None else 0.0
    identity = torch.eye(_COUNT * 3 + 3).to(quat)
    for step in range(steps):
        state = body.forward_kinematics(rot.quat_to_matrot(quat), transl)
        at = state.joints[:, effectors]  # (B, E, 3)
        error = targets - at
        far = error.norm(dim=-1)
        if bool(((far < tolerance) | (counts == 0)).all()) and (lean < 1e-4 or step >= steps // 3):
            break
        if prior is not None and step % _PRIOR_EVERY == 0:
            wish = _wish(prior, quat, usable)
        # a column of the Jacobian is axis x lever; the axes are the columns of the joint's global rotation
        lever = at[:, :, None] - state.joints[:, None]  # (B, E, 22, 3)
        axes = state.matrot[:, None].transpose(-1, -2)  # (B, 1, 22, 3 axes, 3)
        turn = torch.linalg.cross(axes.expand(-1, len(effectors), -1, -1, -1), lever[..., None, :].expand(-1, -1, -1, 3, -1))
        turn = turn * reach[None, :, :, None, None]
        jacobian = torch.cat(
            [turn.permute(0, 1, 4, 2, 3).flatten(3), torch.eye(3).to(quat).expand(b, len(effectors), 3, 3)], -1
        )  # (B, E, 3, 69)
        jacobian = (jacobian * usable).flatten(1, 2)  # (B, 3E, 69)
        soft = counts * (_SOFT_REACH / far.clamp(min=_SOFT_REACH)).square().clamp(min=1e-3)
        rows = soft.repeat_interleave(3, 1)  # (B, 3E)
        weighted = jacobian * rows[..., None]
        regular = (damping + lean) * stiff
        normal = weighted.transpose(1, 2) @ jacobian + identity * regular
        right = (weighted.transpose(1, 2) @ error.flatten(1)[..., None]).squeeze(-1) + lean * stiff * wish
        delta = torch.linalg.solve(normal, right) * usable
        delta_turn = delta[:, : _COUNT * 3].unflatten(1, (_COUNT, 3))
        size = delta_turn.norm(dim=-1, keepdim=True)
        delta_turn = delta_turn * (_MAX_TURN / size.clamp(min=_MAX_TURN))
        quat = rot.quat_multiply(quat, rot.rotvec_to_quat(delta_turn))
        quat = torch.cat([quat[:, :1], limits.clamp(quat[:, 1:], start[:, 1:])], 1)
        transl = transl + delta[:, _COUNT * 3 :]
        wish = wish - torch.cat([delta_turn.flatten(1), torch.zeros(b, 3).to(quat)], 1)
        lean *= _PRIOR_FADE
        if on_step is not None:
            on_step((step + 1) / steps)
    residual = (targets - positions(quat, transl)[:, effectors]).norm(dim=-1)
    return Solution(rot.quat_canonical(quat), transl, residual)


def _wish(prior: Prior, quat: Tensor, usable: Tensor) -> Tensor:
    """(B, 69): the turn of every joint to where the prior would like it; nothing for the pelvis."""
    natural = prior.pull(quat[:, 1:]).natural
    turn = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(quat[:, 1:]), natural)).flatten(1)
    zeros = torch.zeros(len(quat), 3).to(quat)
    return torch.cat([zeros, turn, zeros], 1) * usable
