"""Pose: the one value that travels through everything. Named local joint rotations of a SMPL-X body.

Frame: SMPL-X's own. Metres, y up, the rest pose faces +z, the body's left is +x. Knows nothing of models or HTTP.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .npz import NpzError, read_npz
from .skeleton import BODY_JOINTS, INDEX, JOINTS, MIRROR, mirror_name

if TYPE_CHECKING:  # torch takes 2 s and 180 MB: the process that answers HTTP reads poses without it
    from torch import Tensor

FORMAT: Final = "smplx-quat-wxyz"
MAX_BETAS: Final = 400  # SMPL-X files carry up to 300 shape and 100 expression columns
_UNIT_TOLERANCE: Final = 0.05  # how far from length 1 a quaternion may be and still be plainly meant as a rotation
_MAX_NPZ_BYTES: Final = 256_000_000  # a hundred thousand poses
_MAX_TRANSL: Final = 1e4  # metres; a bigger number is a mistake and would break float32 scenes

Quat = tuple[float, float, float, float]
Vec3 = tuple[float, float, float]


class PoseError(ValueError):
    """A pose that cannot be read. The text is for the person who sent it."""


@dataclass(frozen=True)
class Pose:
    """Local joint rotations by SMPL-X joint name.

    ``joints``: name -> unit quaternion (w, x, y, z), local to the parent; ``pelvis`` is the global orientation.
    A joint that is absent is not spoken for. ``transl``: pelvis translation in metres or None. ``betas``: shape
    coefficients or None. ``score``: the engine's own confidence in 0..1 or None.
    """

    joints: Mapping[str, Quat]
    transl: Vec3 | None = None
    betas: tuple[float, ...] | None = None
    score: float | None = None

    # -- tensors -------------------------------------------------------------------------------------------------
    @staticmethod
    def from_matrot(
        matrot: Tensor,  # (J, 3, 3)
        names: Sequence[str] = BODY_JOINTS,
        *,
        transl: Sequence[float] | None = None,
        score: float | None = None,
    ) -> Pose:
        """From rotation matrices in the order of ``names``."""
        import torch

        from . import rotations as rot

        quats = rot.matrot_to_quat(matrot.detach().to(device="cpu", dtype=torch.float64)).tolist()
        joints = {name: (q[0], q[1], q[2], q[3]) for name, q in zip(names, quats, strict=True)}
        return Pose(joints, None if transl is None else _vec3(transl, "transl"), None, score)

    def quats(self, names: Sequence[str] = BODY_JOINTS) -> Tensor:
        """(J, 4) float32 in the order of ``names``; joints that are not spoken for are the identity."""
        import torch

        return torch.tensor([self.joints.get(name, (1.0, 0.0, 0.0, 0.0)) for name in names], dtype=torch.float32)

    def matrot(self, names: Sequence[str] = BODY_JOINTS) -> Tensor:
        """(J, 3, 3) float32 in the order of ``names``."""
        from . import rotations as rot

        return rot.quat_to_matrot(self.quats(names))

    # -- small changes -------------------------------------------------------------------------------------------
    def with_transl(self, transl: Sequence[float] | None) -> Pose:
        """The same rotations with another pelvis translation."""
        return replace(self, transl=None if transl is None else _vec3(transl, "transl"))

    def mirrored(self) -> Pose:
        """The pose in a mirror: left and right swapped, reflected in the body's x = 0 plane."""
        joints = {mirror_name(name): (w, x, -y, -z) for name, (w, x, y, z) in self.joints.items()}
        transl = None if self.transl is None else (-self.transl[0], self.transl[1], self.transl[2])
        return replace(self, joints=joints, transl=transl)

    # -- the wire ------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire (``format``, ``joints``, ``transl``, ``betas``, ``score``)."""
        return {
            "format": FORMAT,
            "joints": {name: [round(c, 7) for c in q] for name, q in self.joints.items()},
            "transl": None if self.transl is None else [round(c, 6) for c in self.transl],
            "betas": None if self.betas is None else list(self.betas),
            "score": None if self.score is None else round(self.score, 4),
        }

    @staticmethod
    def from_json(data: object) -> Pose:
        """Reads the JSON object of the wire. Raises PoseError with a sentence that names what is wrong."""
        if not isinstance(data, Mapping):
            raise PoseError("A pose must be a JSON object with 'format' and 'joints'.")
        if data.get("format", FORMAT) != FORMAT:
            raise PoseError(f"This pose has the format {str(data.get('format'))[:40]!r}; only '{FORMAT}' is read.")
        raw = data.get("joints")
        if not isinstance(raw, Mapping):
            raise PoseError("A pose must have 'joints': joint name -> [w, x, y, z].")
        joints: dict[str, Quat] = {}
        for name, value in raw.items():
            if name not in INDEX:
                raise PoseError(f"'{str(name)[:40]}' is not a SMPL-X joint.")
            q = _numbers(value, 4, f"joints.{name}")
            length = math.sqrt(sum(c * c for c in q))
            if abs(length - 1.0) > _UNIT_TOLERANCE:
                raise PoseError(f"The rotation of '{name}' has length {length:.3g}; a unit quaternion is needed.")
            joints[name] = (q[0] / length, q[1] / length, q[2] / length, q[3] / length)
        transl = data.get("transl")
        betas = data.get("betas")
        score = data.get("score")
        return Pose(
            joints,
            None if transl is None else _vec3(transl, "transl"),
            None if betas is None else tuple(_numbers(betas, None, "betas")),
            None if score is None else min(1.0, max(0.0, _numbers([score], 1, "score")[0])),
        )

    # -- files ---------------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes ``.json`` (the wire's object) or ``.npz`` (see ``save_npz``), by the file's ending."""
        if os.fspath(path).lower().endswith(".json"):
            with open(path, "w", encoding="utf-8") as f:
                json.dump(self.to_json(), f, indent=1)
        else:
            save_npz(path, [self])


def save_npz(path: str | os.PathLike[str], poses: Sequence[Pose]) -> None:
    """Writes poses as one npz without pickles: ``format``, ``joint_names`` (J), ``quat`` (N, J, 4), ``spoken`` (N, J)
    bool, ``transl`` (N, 3) with NaN where unknown, and the AMASS-style twins ``poses`` (N, 165) axis-angle and
    ``trans``.
    """
    import torch

    from . import rotations as rot

    if not poses:
        raise PoseError("There is no pose to save.")
    names = [j for j in JOINTS if any(j in p.joints for p in poses)]
    quat = torch.stack([p.quats(names) for p in poses])
    full = rot.quat_to_rotvec(torch.stack([p.quats(JOINTS) for p in poses]))
    transl = np.array([p.transl or (np.nan,) * 3 for p in poses], np.float32)
    spoken = np.array([[j in p.joints for j in names] for p in poses])
    with open(path, "wb") as f:  # a file object, so that numpy does not add an ending of its own
        np.savez_compressed(
            f, format=np.array(FORMAT), joint_names=np.array(names), quat=quat.numpy(), spoken=spoken,
            transl=transl, poses=full.flatten(1).numpy(), trans=np.nan_to_num(transl),
        )  # fmt: skip


def load_npz(path: str | os.PathLike[str]) -> list[Pose]:
    """Reads what ``save_npz`` wrote. Raises PoseError for anything else; never unpickles."""
    name = Path(path).name
    try:
        data = read_npz(path, ("quat", "joint_names", "transl", "spoken"), _MAX_NPZ_BYTES)
    except (NpzError, OSError) as error:
        raise PoseError(f"'{name}' cannot be read as an npz file of poses.") from error
    if "quat" not in data or "joint_names" not in data:
        raise PoseError(f"'{name}' holds no ChatPose poses.")
    names = [str(n) for n in data["joint_names"].ravel()]
    quat = data["quat"]
    transl, spoken = data.get("transl"), data.get("spoken", np.ones(quat.shape[:2], bool))
    whole = quat.dtype.kind == "f" and quat.shape[1:] == (len(names), 4) and spoken.shape == quat.shape[:2]
    if not whole or transl is None or transl.dtype.kind != "f" or transl.shape != (len(quat), 3):
        raise PoseError(f"'{name}' is damaged: its numbers do not fit together.")
    poses: list[Pose] = []
    for q, t, s in zip(quat, transl, spoken, strict=True):
        joints = {n: [float(c) for c in v] for n, v, use in zip(names, q, s, strict=True) if use}
        poses.append(Pose.from_json({"joints": joints, "transl": None if np.isnan(t).any() else t.tolist()}))
    return poses


def stack_matrot(poses: Iterable[Pose], names: Sequence[str] = BODY_JOINTS) -> Tensor:
    """(N, J, 3, 3) float32."""
    import torch

    from . import rotations as rot

    return rot.quat_to_matrot(torch.stack([p.quats(names) for p in poses]))


def mirrored_matrot(matrot: Tensor) -> Tensor:
    """``Pose.mirrored`` for local rotations (B, J, 3, 3) of the skeleton's first J joints: 22 or 55."""
    flip = matrot.new_tensor([-1.0, 1.0, 1.0])
    return matrot[:, list(MIRROR[: matrot.shape[1]])] * (flip[:, None] * flip)


def _numbers(value: object, count: int | None, where: str) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise PoseError(f"'{where}' must be a list of numbers.")
    if count is not None and len(value) != count:
        raise PoseError(f"'{where}' must have {count} numbers, not {len(value)}.")
    if len(value) > MAX_BETAS:
        raise PoseError(f"'{where}' has {len(value)} numbers; at most {MAX_BETAS} are read.")
    numbers: list[float] = []
    for v in value:
        if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v) or abs(v) > _MAX_TRANSL:
            raise PoseError(f"'{where}' must hold finite numbers of a sensible size.")
        numbers.append(float(v))
    return numbers


def _vec3(value: object, where: str) -> Vec3:
    x, y, z = _numbers(list(value) if isinstance(value, tuple) else value, 3, where)
    return (x, y, z)
