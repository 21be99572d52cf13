"""Bodies in the SMPL-X file format: loading, forward kinematics, linear blend skinning. Knows nothing of poses'
origins.

Method: Loper et al., SMPL (2015); Pavlakos et al., SMPL-X (2019). The licensed file and our stand-in share one code
path; ``body_model == 'standin'`` in the file tells them apart, because betas do not mean the same in the two.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from ..npz import NpzError, read_npz
from ..skeleton import JOINTS, PARENTS, levels

STANDIN_PATH: Final = Path(__file__).parent / "assets" / "SMPLX_STANDIN.npz"
_NEEDED: Final = ("v_template", "f", "shapedirs", "J_regressor", "weights", "kintree_table")
_MORE: Final = ("posedirs", "body_model", "license")
_MAX_BYTES: Final = 1_000_000_000  # the licensed files are 340 MB when unpacked


class BodyFileError(ValueError):
    """A body file that cannot be used. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class BodyState:
    """Forward kinematics of a batch: ``joints`` (B, J, 3) metres, ``matrot`` (B, J, 3, 3) in the body's frame."""

    joints: Tensor
    matrot: Tensor


@dataclass(frozen=True)
class BodyModel:
    """One SMPL-X-format body. All tensors float32 on the CPU; metres, y up, rest pose faces +z."""

    name: str
    v_template: Tensor  # (V, 3)
    faces: Tensor  # (F, 3) int64
    shapedirs: Tensor  # (V, 3, S)
    posedirs: Tensor | None  # (V, 3, 486) or None where the file's are all zero
    joint_regressor: Tensor  # (55, V)
    weight_index: Tensor  # (V, K) int64: the joints that move a vertex
    weight: Tensor  # (V, K)
    num_betas: int
    licence: str

    @functools.cached_property
    def neutral_joints(self) -> Tensor:
        """(55, 3) joint positions of the mean shape at rest."""
        return self.joint_regressor @ self.v_template

    def rest(self, betas: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Shaped vertices (V, 3) and joints (55, 3) of the rest pose; betas (n,) with n <= num_betas, None = mean."""
        if betas is None or betas.numel() == 0:
            return self.v_template, self.neutral_joints
        if betas.numel() > self.num_betas:
            raise BodyFileError(f"This body has {self.num_betas} shape values; {betas.numel()} were given.")
        v = self.v_template + self.shapedirs[..., : betas.numel()] @ betas
        return v, self.joint_regressor @ v

    def forward_kinematics(
        self,
        local_matrot: Tensor,  # (B, J, 3, 3), the first J of the 55 joints, local to the parent
        transl: Tensor | None = None,  # (B, 3)
        rest_joints: Tensor | None = None,  # (>=J, 3), default: the mean shape's
    ) -> BodyState:
        """Joint positions and global rotations. ``transl`` moves the body after posing, as in SMPL-X."""
        count = local_matrot.shape[1]
        rest = (self.neutral_joints if rest_joints is None else rest_joints)[:count].to(local_matrot)
        offset = rest - rest[list(PARENTS[:count])].index_fill(0, torch.tensor([0], device=rest.device), 0.0)
        glob: list[Tensor] = [local_matrot[:, :1]]
        pos: list[Tensor] = [rest[None, :1].expand(local_matrot.shape[0], 1, 3)]
        order: list[int] = [0]
        for parents_at, joints in _level_plan(count):
            parent_rot, parent_pos = glob[-1][:, parents_at], pos[-1][:, parents_at]
            glob.append(parent_rot @ local_matrot[:, joints])
            pos.append(parent_pos + (parent_rot @ offset[joints][None, ..., None]).squeeze(-1))
            order += joints
        back = torch.tensor(_inverse(order), device=local_matrot.device)
        joints_out = torch.cat(pos, 1)[:, back]
        if transl is not None:
            joints_out = joints_out + transl[:, None]
        return BodyState(joints_out, torch.cat(glob, 1)[:, back])

    def skin(
        self,
        local_matrot: Tensor,  # (B, J, 3, 3)
        betas: Tensor | None = None,
        transl: Tensor | None = None,  # (B, 3)
        vertices: Tensor | None = None,  # (n,) only these vertices
    ) -> Tensor:
        """Posed vertices (B, V or n, 3) by linear blend skinning, pose correctives included where the file has them."""
        full = _full_matrot(local_matrot)
        v, rest_joints = self.rest(betas)
        state = self.forward_kinematics(full, None, rest_joints)
        pick = slice(None) if vertices is None else vertices
        v = v[pick]
        shifted = state.joints - (state.matrot @ rest_joints[None, ..., None]).squeeze(-1)  # (B, 55, 3)
        if self.posedirs is not None:
            feature = (full[:, 1:] - torch.eye(3)).flatten(1)  # (B, 486)
            v = v + torch.einsum("vcp,bp->bvc", self.posedirs[pick], feature)
        index, weight = self.weight_index[pick], self.weight[pick]
        m = (state.matrot[:, index] * weight[None, ..., None, None]).sum(2)  # (B, V, 3, 3)
        t = (shifted[:, index] * weight[None, ..., None]).sum(2)
        out = (m @ (v if v.dim() == 3 else v[None])[..., None]).squeeze(-1) + t
        return out if transl is None else out + transl[:, None]

    def ground_transl(self, local_matrot: Tensor, betas: Tensor | None = None) -> Tensor:
        """(B, 3): the translation that puts the lowest vertex on y = 0 and the pelvis above the origin."""
        _, rest_joints = self.rest(betas)
        low = self.skin(local_matrot, betas)[..., 1].amin(1)
        return torch.stack([-rest_joints[0, 0].expand_as(low), -low, -rest_joints[0, 2].expand_as(low)], -1)


def load_body(path: str | os.PathLike[str]) -> BodyModel:
    """Reads a SMPL-X npz (ours or the licensed one). Never unpickles: only plain arrays are touched.

    Raises BodyFileError with what is wrong and what to do.
    """
    name = Path(path).name
    try:
        arrays = read_npz(path, (*_NEEDED, *_MORE), _MAX_BYTES)
    except (NpzError, OSError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise BodyFileError(f"'{name}' cannot be read ({why}); a SMPL-X .npz file is needed.") from error
    missing = [k for k in _NEEDED if k not in arrays]
    if missing:
        raise BodyFileError(f"'{name}' is not a SMPL-X file: it lacks {', '.join(missing)}. Choose SMPLX_*.npz.")
    try:
        return _assembled(arrays, name)
    except (IndexError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, BodyFileError):
            raise
        raise BodyFileError(f"'{name}' is damaged: its arrays do not fit together. Download it again.") from error


def _assembled(arrays: Mapping[str, np.ndarray[Any, Any]], name: str) -> BodyModel:
    """The body that these arrays describe. Raises what numpy and torch raise where they describe none."""
    posedirs = arrays.get("posedirs")
    kind = str(arrays["body_model"]) if "body_model" in arrays else "smplx"
    licence = str(arrays["license"]) if "license" in arrays else "SMPL-X model licence (non-commercial)"
    parents = arrays["kintree_table"][0].astype(np.int64)[1:].tolist()
    if arrays["weights"].shape[1] != len(JOINTS) or parents != list(PARENTS[1:]):
        raise BodyFileError(
            f"'{name}' has {arrays['weights'].shape[1]} joints in another order; SMPL-X has {len(JOINTS)}."
            " SMPL and SMPL-H files do not fit here."
        )
    count = len(arrays["v_template"])
    shapes = {"v_template": (count, 3), "weights": (count, -1), "shapedirs": (count, 3, -1), "f": (-1, 3)}
    shapes |= {} if posedirs is None else {"posedirs": (count, 3, -1)}
    for key, shape in shapes.items():
        found = arrays[key].shape
        if len(found) != len(shape) or any(want not in (-1, have) for want, have in zip(shape, found, strict=True)):
            raise ValueError(key)
    if not 0 <= arrays["f"].min() <= arrays["f"].max() < count:
        raise ValueError("f")
    if arrays["J_regressor"].shape != (len(JOINTS), count):
        raise ValueError("J_regressor")
    weights = torch.from_numpy(arrays["weights"].astype(np.float32))
    k = int((weights > 0).sum(1).max())
    top = weights.topk(k, dim=1)
    columns = arrays["shapedirs"].shape[2]
    return BodyModel(
        name=kind,
        v_template=torch.from_numpy(arrays["v_template"].astype(np.float32)),
        faces=torch.from_numpy(arrays["f"].astype(np.int64)),
        shapedirs=torch.from_numpy(arrays["shapedirs"].astype(np.float32)),
        posedirs=None if posedirs is None or not posedirs.any() else torch.from_numpy(posedirs.astype(np.float32)),
        joint_regressor=torch.from_numpy(arrays["J_regressor"].astype(np.float32)),
        weight_index=top.indices,
        weight=top.values,
        num_betas=300 if columns >= 400 else 10,
        licence=licence,
    )


@functools.cache
def default_body() -> BodyModel:
    """Our own CC0 body, which ships with the package."""
    return load_body(STANDIN_PATH)


def _full_matrot(local_matrot: Tensor) -> Tensor:
    """(B, J, 3, 3) -> (B, 55, 3, 3): the joints that are not given stay at rest."""
    b, j = local_matrot.shape[:2]
    if j == len(JOINTS):
        return local_matrot
    return torch.cat([local_matrot, torch.eye(3).to(local_matrot).expand(b, len(JOINTS) - j, 3, 3)], 1)


@functools.cache
def _level_plan(count: int) -> tuple[tuple[list[int], list[int]], ...]:
    """For each depth: where its parents stand in the depth above, and its joints."""
    depths = levels(count)
    plan: list[tuple[list[int], list[int]]] = []
    for above, here in itertools.pairwise(depths):
        plan.append(([above.index(PARENTS[j]) for j in here], list(here)))
    return tuple(plan)


def _inverse(order: list[int]) -> list[int]:
    back = [0] * len(order)
    for at, joint in enumerate(order):
        back[joint] = at
    return back
