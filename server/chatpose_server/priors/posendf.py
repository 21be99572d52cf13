"""Pose-NDF: a learned distance from a pose to the natural ones. Published families and our own. Knows no files.

Source: Tiwari et al., Pose-NDF (2022), whose code and weights are CC BY 4.0; NRDF (2024) for the corrected parent map
and for steps that stay on the manifold of rotations. A pose is 21 unit quaternions (w, x, y, z), SMPL's joints 1..21.
Each joint's features are made from its quaternion and its parent's features, all features then give one distance.

Families differ in what happens around the network, and their weights only mean something with their own:

- ``posendf-version2``: the published weights. The caller makes each quaternion w >= 0 (strictly negative ones are
  flipped) and unit. Projection: 100 times q - d g, where g is the gradient divided by its length over all 84 numbers,
  then flip and unit again.
- ``posendf-main``: the older branch. The forward pass itself divides each quaternion component by its length *across
  joints* (a bug the weights were trained with; the rest pose is its singularity). Projection: 10 times q - d gradient,
  never made unit.
- ``chatpose-posendf``: ours. The distance is the root mean square over joints of rotation angles, radians; steps go
  along geodesics, so a whole step is ``21 d`` times the gradient per radian.

Both published families look up a joint's parent with SMPL's numbers, which are off by one here because the pelvis is
left out (the left knee is fed the right hip). Their weights need that map; ours uses the right one.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import rotations as rot
from ..skeleton import PARENTS
from .base import PRIOR_JOINTS, Pull

JOINT_COUNT: Final = len(PRIOR_JOINTS)
FEATURE: Final = 6
_BONE_HIDDEN: Final = 4 + FEATURE

PUBLISHED_PARENTS: Final = (-1, -1, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""SMPL's parent numbers used as positions among 21 joints: off by one, and what the published weights know."""

TRUE_PARENTS: Final = tuple(PARENTS[j + 1] - 1 for j in range(JOINT_COUNT))
"""Each joint's parent among the 21; -1 for the three that hang on the pelvis."""

Family = Literal["posendf-version2", "posendf-main", "chatpose-posendf"]
Activation = Literal["softplus", "lrelu", "relu"]

_OWN_STEP: Final = 1.0  # a whole step: our gradient was trained to point at the natural pose, not only towards it
_DEFAULT_STEPS: Final[Mapping[str, int]] = {"posendf-version2": 100, "posendf-main": 10, "chatpose-posendf": 2}


@dataclass(frozen=True)
class Distance:
    """``distance`` (B,) in the family's unit, ``gradient`` (B, 21, 4) by the quaternions that the network was given."""

    distance: Tensor
    gradient: Tensor


class PoseNDF(nn.Module):
    """One network for the three families."""

    def __init__(
        self,
        family: Family = "posendf-version2",
        *,
        sizes: tuple[int, ...] = (256, 512, 1024, 512, 256, 64),  # of DFNet's hidden layers
        activation: Activation = "softplus",  # of DFNet
        encoder_activation: Activation | None = None,  # None: the same
        beta: float = 100.0,  # of softplus: how sharp its bend is
    ) -> None:
        super().__init__()
        self.family: Family = family
        self.activation: Activation = activation
        self.encoder_activation: Activation = encoder_activation or activation
        self.beta, self.sizes = beta, sizes
        self.parents = TRUE_PARENTS if family == "chatpose-posendf" else PUBLISHED_PARENTS
        # the 21 small networks side by side, so that a whole level of the tree is one product; those that hang on
        # the pelvis use the first four columns only
        self.bone_weight1 = nn.Parameter(torch.zeros(JOINT_COUNT, _BONE_HIDDEN, 4 + FEATURE))
        self.bone_bias1 = nn.Parameter(torch.zeros(JOINT_COUNT, _BONE_HIDDEN))
        self.bone_weight2 = nn.Parameter(torch.zeros(JOINT_COUNT, FEATURE, _BONE_HIDDEN))
        self.bone_bias2 = nn.Parameter(torch.zeros(JOINT_COUNT, FEATURE))
        widths = (JOINT_COUNT * FEATURE, *sizes, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.eval()

    # -- the published layout of the weights ---------------------------------------------------------------------
    def published_state(self) -> dict[str, Tensor]:
        """The weights under the published keys (``enc.net.{i}.net.{0,2}``, ``dfnet.lin{k}``)."""
        state: dict[str, Tensor] = {}
        for i, parent in enumerate(self.parents):
            columns = 4 if parent < 0 else 4 + FEATURE
            state[f"enc.net.{i}.net.0.weight"] = self.bone_weight1.detach()[i, :, :columns].clone()
            state[f"enc.net.{i}.net.0.bias"] = self.bone_bias1.detach()[i].clone()
            state[f"enc.net.{i}.net.2.weight"] = self.bone_weight2.detach()[i].clone()
            state[f"enc.net.{i}.net.2.bias"] = self.bone_bias2.detach()[i].clone()
        for k, layer in enumerate(self.layers):
            for name, value in layer.named_parameters():
                state[f"dfnet.lin{k}.{name}"] = value.detach().clone()
        return state

    @torch.no_grad()
    def load_published_state(self, state: Mapping[str, Tensor]) -> None:
        """The reverse of ``published_state``. KeyError or RuntimeError where keys or shapes are others."""
        for i, parent in enumerate(self.parents):
            columns = 4 if parent < 0 else 4 + FEATURE
            self.bone_weight1[i, :, :columns].copy_(state[f"enc.net.{i}.net.0.weight"])
            self.bone_bias1[i].copy_(state[f"enc.net.{i}.net.0.bias"])
            self.bone_weight2[i].copy_(state[f"enc.net.{i}.net.2.weight"])
            self.bone_bias2[i].copy_(state[f"enc.net.{i}.net.2.bias"])
        for k, layer in enumerate(self.layers):
            for name, value in layer.named_parameters():
                value.copy_(state[f"dfnet.lin{k}.{name}"])

    # -- the network ---------------------------------------------------------------------------------------------
    def forward(self, quat: Tensor) -> Tensor:
        """The published forward pass and nothing else: (B, 21, 4) -> (B,).

        ``version2`` neither flips nor normalises here; ``main`` normalises across joints.
        """
        if self.family == "posendf-main":
            quat = F.normalize(quat, dim=1)
        x = self._features(quat)
        for layer in self.layers[:-1]:
            x = _activate(layer(x), self.activation, self.beta)
        x = self.layers[-1](x)
        return (F.softplus(x, self.beta) if self.activation == "softplus" else F.relu(x)).squeeze(-1)

    def _features(self, quat: Tensor) -> Tensor:
        """(B, 21, 4) -> (B, 126)."""
        act = functools.partial(_activate, kind=self.encoder_activation, beta=self.beta)
        done: list[Tensor] = []
        plan = _level_plan(self.parents)
        for level, (joints, parents_at) in enumerate(plan.levels):
            x, w1 = quat[:, joints], self.bone_weight1[joints]
            if level == 0:
                w1 = w1[..., :4]
            else:
                x = torch.cat([x, done[-1][:, parents_at]], -1)
            x = act(torch.einsum("bji,jhi->bjh", x, w1) + self.bone_bias1[joints])
            done.append(act(torch.einsum("bjh,jfh->bjf", x, self.bone_weight2[joints]) + self.bone_bias2[joints]))
        return torch.cat(done, 1)[:, plan.order].flatten(1)

    def contract(self, quat: Tensor) -> Tensor:
        """What the family's caller does to poses before the network: nothing for ``main``; else w >= 0 and unit."""
        return quat if self.family == "posendf-main" else F.normalize(rot.quat_canonical(quat), dim=-1)

    def distance(self, quat: Tensor) -> Tensor:
        """Distance of poses (B, 21, 4) to the natural ones, (B,), the contract included. Differentiable."""
        return self(self.contract(quat))

    def gradient(self, quat: Tensor) -> Distance:
        """Distance and gradient at ``contract(quat)``, which is where the original takes it."""
        with torch.enable_grad():
            q = self.contract(quat.detach()).requires_grad_()
            d = self(q)
            (gradient,) = torch.autograd.grad(d.sum(), q)
        return Distance(d.detach(), gradient)

    # -- projection ----------------------------------------------------------------------------------------------
    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """The natural poses (B, 21, 4) found from ``quat`` by the family's own steps and their own number.

        ``main``'s poses come back as its loop leaves them, not unit.
        """
        quat = self.contract(quat.detach())
        for _ in range(_DEFAULT_STEPS[self.family] if steps is None else steps):
            quat = self._step(quat)[0]
        return quat

    def _step(self, quat: Tensor) -> tuple[Tensor, Tensor]:
        """One step from ``quat`` that obeys the contract already; also the distance before it, (B,)."""
        at = self.gradient(quat)
        d = at.distance[:, None, None]
        if self.family == "posendf-main":
            return quat - d * at.gradient, at.distance
        if self.family == "posendf-version2":
            unit = F.normalize(at.gradient.flatten(1), dim=-1).view_as(quat)
            return self.contract(quat - d * unit), at.distance
        turn = -JOINT_COUNT * d * rotation_gradient(quat, at.gradient)  # (B, 21, 3) radians, local frame
        return rot.quat_canonical(rot.quat_multiply(quat, rot.rotvec_to_quat(_OWN_STEP * turn))), at.distance

    def pull(self, quat: Tensor) -> Pull:
        """One step of the family's projection (``main``'s made unit)."""
        quat, distance = self._step(self.contract(quat))
        return Pull(F.normalize(quat, dim=-1), distance)


def rotation_gradient(quat: Tensor, gradient: Tensor) -> Tensor:
    """The gradient by a small rotation after which q becomes q exp(r/2): (B, J, 4) by the quaternion -> (B, J, 3)."""
    return 0.5 * rot.quat_multiply(rot.quat_conjugate(quat), gradient)[..., 1:]


def _activate(x: Tensor, kind: Activation, beta: float) -> Tensor:
    if kind == "softplus":
        return F.softplus(x, beta)
    return F.leaky_relu(x, 0.01) if kind == "lrelu" else F.relu(x)


@dataclass(frozen=True)
class _LevelPlan:
    levels: tuple[tuple[list[int], list[int]], ...]  # the level's joints; where their parents stand in the level above
    order: list[int]  # back from level order to joint order


@functools.cache
def _level_plan(parents: tuple[int, ...]) -> _LevelPlan:
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    groups = [[j for j, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
    levels: list[tuple[list[int], list[int]]] = [(groups[0], [])]
    for above, here in itertools.pairwise(groups):
        levels.append((here, [above.index(parents[j]) for j in here]))
    flat = [j for group in groups for j in group]
    return _LevelPlan(tuple(levels), [flat.index(j) for j in range(len(flat))])
