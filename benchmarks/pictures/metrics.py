"""How far a pose and a camera are from the true ones. Joints are those of one neutral skeleton, so that only rotations
count, never how long somebody's legs are. Knows no pictures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import default_body
from chatpose_server.skeleton import INDEX, MIRROR

FOURTEEN = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
            "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head")  # fmt: skip
"""The joints that papers on photographs count (LSP's, with our neck and head)."""

FLIP_SHARE = 0.75  # with left and right exchanged the error is less than this share of what it was...
FLIP_MM = 30.0  # ...and less by at least this much: then it was a flip, not an arm that hangs like the other


@dataclass(frozen=True)
class Error:
    """Of one picture. Millimetres and degrees. ``pa_seen``: of the joints in the picture that no prop hides, by
    themselves (NaN where fewer than five are). ``geodesic_deg`` (21,): local rotations, the pelvis apart.
    ``facing_deg``: about the vertical, as seen from the camera. ``tilt_deg``: of the camera's idea of up.
    """

    pa_mpjpe: float
    pa_mpjpe_14: float
    pa_seen: float
    mpjpe: float
    geodesic_deg: np.ndarray
    facing_deg: float
    tilt_deg: float
    flipped: bool


def joints_in_camera(matrot: np.ndarray, camera_rotation: np.ndarray) -> np.ndarray:
    """(22, 3) millimetres around the pelvis in the camera's axes, from local rotations (22, 3, 3)."""
    with torch.no_grad():
        joints = default_body().forward_kinematics(torch.as_tensor(matrot, dtype=torch.float32)[None]).joints[0].numpy()
    return 1000 * (joints - joints[0]) @ camera_rotation


def aligned(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """``points`` (N, 3) turned, scaled and moved to lie nearest ``to``: Procrustes (Umeyama 1991), no mirror image."""
    a, b = points - points.mean(0), to - to.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    turn = u @ np.diag(sign) @ vt
    return a @ turn * ((s * sign).sum() / max((a * a).sum(), 1e-12)) + to.mean(0)


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


def flipped(found: np.ndarray, true: np.ndarray) -> bool:
    """Left and right exchanged explain the found joints (22, 3) clearly better."""
    straight, crossed = mean_distance(found, true), mean_distance(found[list(MIRROR[:22])], true)
    return crossed < FLIP_SHARE * straight and straight - crossed > FLIP_MM


def facing_error(found: np.ndarray, true: np.ndarray) -> float:
    """Degrees about the vertical between two pelvis rotations (3, 3) of worlds in which the camera has one heading.

    Told by the body's left where that lies level in the true pose, else (on a side) by where the head points.
    """
    axis = 0 if np.linalg.norm(true[[0, 2], 0]) > math.sin(math.radians(35)) else 1
    a, b = (math.atan2(m[0, axis], m[2, axis]) for m in (found, true))
    return abs(math.degrees((a - b + math.pi) % (2 * math.pi) - math.pi))


def about_y(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def heading(camera_rotation: np.ndarray) -> float:
    """Where a camera (3, 3, to the world) stands around the vertical, radians: 0 when it looks along -z."""
    return math.atan2(camera_rotation[0, 2], camera_rotation[2, 2])


def compare(
    found: np.ndarray,  # (22, 3, 3) local rotations
    found_camera: np.ndarray,  # (3, 3) camera to world
    true: np.ndarray,
    true_camera: np.ndarray,
    seen: Sequence[int] = range(22),
) -> Error:
    a, b = joints_in_camera(found, found_camera), joints_in_camera(true, true_camera)
    some, seen = [INDEX[n] for n in FOURTEEN], list(seen)
    pa_seen = mean_distance(aligned(a[seen], b[seen]), b[seen]) if len(seen) >= 5 else float("nan")
    turn = rot.geodesic_angle(torch.as_tensor(found[1:]).double(), torch.as_tensor(true[1:]).double())
    own, real = about_y(-heading(found_camera)), about_y(-heading(true_camera))
    up = found_camera[1] @ true_camera[1]  # the world's up in each camera's axes
    return Error(
        mean_distance(aligned(a, b), b), mean_distance(aligned(a[some], b[some]), b[some]), pa_seen,
        mean_distance(a, b),
        np.degrees(turn.numpy()), facing_error(own @ found[0], real @ true[0]),
        math.degrees(math.acos(float(np.clip(up, -1, 1)))), flipped(a, b),
    )  # fmt: skip
