"""Poses and motions in files: ours (npz, JSON), AMASS motions and SMPL-X parameters (npz). Numpy only, no bpy.

Never unpickles. Everything is converted to SMPL-X's own frame: metres, y up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from . import frames, smplx
from . import rotations as rot
from .rotations import Array

Joints: TypeAlias = Mapping[str, tuple[float, ...]]
Vec3: TypeAlias = tuple[float, float, float]

FORMAT: Final = "smplx-quat-wxyz"
MAX_FRAMES: Final = 20_000  # eleven minutes at 30 a second; more is a mistake or needs cutting first
MAX_BYTES: Final = 512 * 1024 * 1024
_UNIT_TOLERANCE: Final = 0.05
_PICKLES: Final = {".pkl", ".pickle", ".p", ".pt", ".pth"}

_SMPLH: Final = (*smplx.BODY_JOINTS, *smplx.HAND_JOINTS)
_LAYOUTS: Final[dict[int, tuple[str, ...]]] = {
    63: smplx.BODY_JOINTS[1:],  # body_pose alone
    66: smplx.BODY_JOINTS,
    72: smplx.BODY_JOINTS,  # SMPL: its two hand joints have no bone in SMPL-X
    156: _SMPLH,  # SMPL-H, which most AMASS files are
    165: smplx.JOINTS,
}
"""Numbers in one frame of axis-angles -> the joints that they turn, in order; what is left over is dropped."""

_PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    "global_orient": ("pelvis",), "root_orient": ("pelvis",),
    "body_pose": smplx.BODY_JOINTS[1:], "pose_body": smplx.BODY_JOINTS[1:],
    "jaw_pose": ("jaw",), "leye_pose": ("left_eye_smplhf",), "reye_pose": ("right_eye_smplhf",),
    "left_hand_pose": smplx.LEFT_HAND_JOINTS, "right_hand_pose": smplx.RIGHT_HAND_JOINTS,
    "pose_hand": smplx.HAND_JOINTS,
}  # fmt: skip
"""Arrays of SMPL-X parameter files, by the names that smplx and AMASS use -> their joints."""


class PoseFileError(ValueError):
    """A file that holds no pose for us. The text is one sentence for the artist."""


@dataclass(frozen=True)
class Motion:
    """N frames: ``quats`` joint -> (N, 4) local rotations, ``transl`` (N, 3) metres or None, ``fps`` or None."""

    quats: Mapping[str, Array]
    transl: Array | None = None
    fps: float | None = None

    def __len__(self) -> int:
        return len(next(iter(self.quats.values()), ()))

    def frame(self, index: int) -> dict[str, tuple[float, ...]]:
        """One frame's rotations by joint."""
        return {name: tuple(quat[index].tolist()) for name, quat in self.quats.items()}

    def resampled(self, fps: float) -> Motion:
        """The same motion at another frame rate; unchanged where its own is not known."""
        if not self.fps or len(self) < 2 or abs(self.fps - fps) < 1e-3:
            return self
        count = max(2, round((len(self) - 1) / self.fps * fps) + 1)
        at = np.linspace(0, len(self) - 1, count)
        low = np.minimum(at.astype(int), len(self) - 2)
        part = at - low
        quats = {name: rot.slerp(quat[low], quat[low + 1], part) for name, quat in self.quats.items()}
        transl = self.transl
        if transl is not None:
            transl = transl[low] + (transl[low + 1] - transl[low]) * part[:, None]
        return Motion(quats, transl, fps)


def load(path: str) -> Motion:
    """Reads any file that this module knows. Raises PoseFileError."""
    file = Path(path)
    if file.suffix.lower() in _PICKLES:
        raise PoseFileError(
            f"'{file.name}' is a pickle, which can run programs when it is opened; save it as .npz or .json instead."
        )
    try:
        if file.stat().st_size > MAX_BYTES:
            raise PoseFileError(f"'{file.name}' is larger than {MAX_BYTES // 2**20} MB; cut the motion first.")
        motion = _from_json(file) if file.suffix.lower() == ".json" else _from_npz(file)
    except OSError as error:
        raise PoseFileError(f"'{file.name}' cannot be read; check that it exists and is yours.") from error
    except PoseFileError:
        raise
    except (ValueError, KeyError, EOFError, TypeError) as error:
        raise PoseFileError(f"'{file.name}' is damaged or holds no pose that ChatPose knows.") from error
    _check(file.name, motion)
    return motion


def from_json_text(text: str) -> Motion:
    """The wire's pose, or a list of them, as text (the clipboard's). Raises PoseFileError."""
    try:
        motion = _from_poses(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PoseFileError("The clipboard holds no ChatPose pose; copy one as JSON first.") from error
    _check("clipboard", motion)
    return motion


def save(path: str, joints: Joints, transl: Vec3 | None = None) -> None:
    """Writes one pose as .json or .npz, whole or not at all. Raises PoseFileError."""
    file = Path(path)
    half = file.with_name(file.name + ".part")
    try:
        if file.suffix.lower() == ".json":
            half.write_text(json.dumps(to_json(joints, transl), indent=1), encoding="utf-8")
        else:
            with half.open("wb") as out:
                np.savez_compressed(out, **_arrays(joints, transl))
        half.replace(file)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise PoseFileError(f"'{file.name}' cannot be written; choose a folder that is yours.") from error


def to_json(joints: Joints, transl: Vec3 | None = None) -> dict[str, Any]:
    """The wire's pose object."""
    return {
        "format": FORMAT,
        "joints": {name: [round(float(c), 7) for c in quat] for name, quat in joints.items()},
        "transl": None if transl is None else [round(float(c), 6) for c in transl],
        "betas": None,
        "score": None,
    }


def _arrays(joints: Joints, transl: Vec3 | None) -> dict[str, Any]:
    names = [name for name in smplx.JOINTS if name in joints]
    everything = np.array([joints.get(name, rot.IDENTITY) for name in smplx.JOINTS])
    place = np.full((1, 3), np.nan, np.float32) if transl is None else np.array([transl], np.float32)
    return {
        "format": np.array(FORMAT),
        "joint_names": np.array(names),
        "quat": np.array([[joints[name] for name in names]], np.float32),
        "spoken": np.ones((1, len(names)), bool),
        "transl": place,
        "poses": rot.to_rotvec(everything).reshape(1, -1).astype(np.float32),
        "trans": np.nan_to_num(place),
    }


# -- reading -----------------------------------------------------------------------------------------------------------


def _from_json(file: Path) -> Motion:
    return _from_poses(json.loads(file.read_text(encoding="utf-8")))


def _from_poses(data: object) -> Motion:
    if isinstance(data, dict) and isinstance(data.get("poses"), list):
        data = data["poses"]  # a whole answer of the server's
    poses = data if isinstance(data, list) else [data]
    if not poses or not all(isinstance(pose, dict) and pose.get("format", FORMAT) == FORMAT for pose in poses):
        raise PoseFileError("This JSON holds no pose in ChatPose's format.")
    names = [name for name in smplx.JOINTS if all(name in pose["joints"] for pose in poses)]
    quats = {name: np.array([pose["joints"][name] for pose in poses], np.float64) for name in names}
    places = [pose.get("transl") for pose in poses]
    return Motion(quats, None if any(place is None for place in places) else np.array(places, np.float64))


def _from_npz(file: Path) -> Motion:
    with np.load(file, allow_pickle=False) as data:
        if "quat" in data and "joint_names" in data:
            return _from_ours(data)
        fps = next((float(data[key]) for key in ("mocap_frame_rate", "mocap_framerate", "fps") if key in data), None)
        transl = next((data[key] for key in ("trans", "transl") if key in data), None)
        transl = None if transl is None else np.asarray(transl, np.float64).reshape(-1, 3)
        if "poses" in data:
            quats = _from_rotvecs(np.asarray(data["poses"], np.float64))
            is_amass = "mocap_frame_rate" in data or "mocap_framerate" in data
            return _from_z_up(quats, transl, fps) if is_amass else Motion(quats, transl, fps)
        quats: dict[str, Array] = {}
        for key, joints in _PARAMETERS.items():
            if key in data:
                rotvecs = np.asarray(data[key], np.float64)
                if rotvecs.size % (3 * len(joints)) == 0 and rotvecs.size:  # else it is in PCA components
                    rotvecs = rotvecs.reshape(-1, len(joints), 3)
                    quats |= {name: rot.from_rotvec(rotvecs[:, i]) for i, name in enumerate(joints)}
        if not quats:
            raise PoseFileError(f"'{file.name}' holds no pose: no array that AMASS, SMPL-X or ChatPose write.")
        return Motion(quats, transl, fps)


def _from_ours(data: Mapping[str, Any]) -> Motion:
    names, quat = [str(name) for name in data["joint_names"]], np.asarray(data["quat"], np.float64)
    spoken = np.asarray(data["spoken"], bool) if "spoken" in data else np.ones(quat.shape[:2], bool)
    quats = {name: quat[:, i] for i, name in enumerate(names) if name in smplx.JOINTS and spoken[:, i].all()}
    transl = np.asarray(data["transl"], np.float64) if "transl" in data else None
    return Motion(quats, None if transl is None or np.isnan(transl).any() else transl)


def _from_rotvecs(poses: Array) -> dict[str, Array]:
    poses = np.atleast_2d(poses)
    joints = _LAYOUTS.get(poses.shape[-1])
    if poses.ndim != 2 or joints is None:
        count = poses.shape[-1]
        raise PoseFileError(f"A frame of this file has {count} numbers, which is no SMPL, SMPL-H or SMPL-X pose.")
    return {name: rot.from_rotvec(poses[:, 3 * i : 3 * i + 3]) for i, name in enumerate(joints)}


def _from_z_up(quats: dict[str, Array], transl: Array | None, fps: float | None) -> Motion:
    """AMASS keeps the world z up: the pelvis' rotation and place are turned, all else is local and stays."""
    turn = rot.from_matrot(frames.Z_UP.T)
    if "pelvis" in quats:
        quats["pelvis"] = rot.multiply(turn, quats["pelvis"])
    return Motion(quats, None if transl is None else frames.from_blender(transl), fps)


def _check(name: str, motion: Motion) -> None:
    if len(motion) == 0:
        raise PoseFileError(f"'{name}' holds no pose.")
    if len(motion) > MAX_FRAMES:
        raise PoseFileError(f"'{name}' has {len(motion):,} frames; cut it to {MAX_FRAMES:,} or fewer.")
    for joint, quat in motion.quats.items():
        if quat.shape != (len(motion), 4) or not np.isfinite(quat).all():
            raise PoseFileError(f"The rotation of '{joint}' in '{name}' cannot be read.")
        if np.abs(np.linalg.norm(quat, axis=-1) - 1).max() > _UNIT_TOLERANCE:
            raise PoseFileError(f"The rotation of '{joint}' in '{name}' is not a unit quaternion.")
    if motion.transl is not None and (motion.transl.shape != (len(motion), 3) or not np.isfinite(motion.transl).all()):
        raise PoseFileError(f"The place of the body in '{name}' cannot be read.")
