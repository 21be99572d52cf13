"""Poses to train on: reading folders, facing every pose to the front, even sampling. Knows no words and no model.

Two layouts are read: our npz (``local_rotvec`` (N, 22, 3), ``clip``, ``text``, ``ok``) and AMASS (``poses`` (N, >=66)
axis-angle, z up, ``mocap_framerate`` or ``mocap_frame_rate``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from .. import rotations as rot
from ..body import default_body
from ..skeleton import BODY_JOINTS, INDEX

_BODY: Final = len(BODY_JOINTS)
_AMASS_FPS: Final = 6.0  # poses a second that are kept: neighbours closer in time are all but equal
_Z_UP_TO_Y_UP: Final = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))

PARTS: Final[dict[str, tuple[str, ...]]] = {
    "left_arm": ("left_collar", "left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_collar", "right_shoulder", "right_elbow", "right_wrist"),
    "left_leg": ("left_hip", "left_knee", "left_ankle", "left_foot"),
    "right_leg": ("right_hip", "right_knee", "right_ankle", "right_foot"),
    "trunk": ("spine1", "spine2", "spine3"),
    "head": ("neck", "head"),
}
PART_INDEX: Final[dict[str, list[int]]] = {part: [INDEX[j] for j in joints] for part, joints in PARTS.items()}


class TrainingDataError(ValueError):
    """Data that cannot be trained on. The text says which file and why."""


@dataclass(frozen=True)
class PoseSet:
    """``matrot`` (N, 22, 3, 3) local, facing +z; ``text`` a label for each (may be empty); ``clip`` its clip;
    ``source`` file.
    """

    matrot: Tensor
    text: tuple[str, ...]
    clip: tuple[str, ...]
    source: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.text)

    def take(self, index: Sequence[int]) -> PoseSet:
        """The poses at ``index``."""
        i = list(index)
        return PoseSet(
            self.matrot[i],
            tuple(self.text[k] for k in i),
            tuple(self.clip[k] for k in i),
            tuple(self.source[k] for k in i),
        )


def read_folder(folder: Path) -> PoseSet:
    """Every npz below ``folder``, sorted by name. Raises TrainingDataError."""
    files = sorted(folder.rglob("*.npz"))
    if not files:
        raise TrainingDataError(f"No .npz files below '{folder}'.")
    rotvec: list[np.ndarray] = []
    text: list[str] = []
    clip: list[str] = []
    source: list[str] = []
    for file in files:
        vec, words, clips = _read(file)
        rotvec.append(vec)
        text += words
        clip += clips
        source += [file.stem] * len(words)
    matrot = rot.rotvec_to_matrot(torch.from_numpy(np.concatenate(rotvec).astype(np.float32)))
    return PoseSet(face_front(matrot), tuple(text), tuple(clip), tuple(source))


def _read(file: Path) -> tuple[np.ndarray, list[str], list[str]]:
    with np.load(file, allow_pickle=False) as data:
        if "local_rotvec" in data:
            ok = data["ok"].astype(bool) if "ok" in data else np.ones(len(data["local_rotvec"]), bool)
            words = [str(t) for t in data["text"][ok]] if "text" in data else [""] * int(ok.sum())
            clips = [str(c) for c in data["clip"][ok]] if "clip" in data else [file.stem] * int(ok.sum())
            return data["local_rotvec"][ok][:, :_BODY], words, clips
        if "poses" in data and data["poses"].ndim == 2 and data["poses"].shape[1] >= 66:
            rates = [k for k in ("mocap_framerate", "mocap_frame_rate") if k in data]
            step = max(1, round(float(data[rates[0]]) / _AMASS_FPS)) if rates else 1
            vec = data["poses"][::step, :66].reshape(-1, _BODY, 3)
            turned = torch.tensor(_Z_UP_TO_Y_UP) @ rot.rotvec_to_matrot(torch.from_numpy(vec[:, 0].astype(np.float32)))
            vec[:, 0] = rot.matrot_to_rotvec(turned).numpy()
            return vec, [""] * len(vec), [file.stem] * len(vec)
    raise TrainingDataError(f"'{file.name}' has neither 'local_rotvec' (ours) nor 'poses' (AMASS).")


def heading(global_matrot: Tensor) -> Tensor:
    """(B,) yaw in radians of a pelvis rotation (B, 3, 3), 0 = facing +z.

    From the left-right axis where that lies level (standing, bent, on the back or front), else from the body's own up
    axis (on a side: the way the head points is then +x).
    """
    left, up = global_matrot[..., :, 0], global_matrot[..., :, 1]
    by_left = torch.atan2(-left[..., 2], left[..., 0])
    by_up = torch.atan2(-up[..., 2], up[..., 0])
    level = left[..., [0, 2]].norm(dim=-1) > math.sin(math.radians(35))
    return torch.where(level, by_left, by_up)


def face_front(matrot: Tensor) -> Tensor:
    """(B, J, 3, 3): the same poses turned about the vertical so that they face +z (ChatPose's text poses do)."""
    yaw = heading(matrot[:, 0])
    back = rot.rotvec_to_matrot(torch.stack([torch.zeros_like(yaw), -yaw, torch.zeros_like(yaw)], -1))
    return torch.cat([(back @ matrot[:, 0])[:, None], matrot[:, 1:]], 1)


def density_weights(matrot: Tensor, clusters: int = 1500, seed: int = 0) -> Tensor:
    """(N,) sampling weights that give every region of pose space the same share, however many frames it has.

    Clusters joint positions by farthest-point seeds; each pose's weight is one over its cluster's size.
    """
    with torch.no_grad():
        joints = default_body().forward_kinematics(matrot).joints.flatten(1)  # (N, 66)
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(len(joints), (1,), generator=generator))
    nearest = (joints - joints[first]).square().sum(1)
    owner = torch.zeros(len(joints), dtype=torch.long)
    for k in range(1, min(clusters, len(joints))):
        far = int(nearest.argmax())
        d = (joints - joints[far]).square().sum(1)
        closer = d < nearest
        owner[closer] = k
        nearest = torch.minimum(nearest, d)
    size = torch.bincount(owner, minlength=clusters).float()
    weight = 1 / size[owner]
    return weight / weight.sum()
