"""Where a picture's camera stands in Blender, so that the character and the person in the picture overlap.

The answer's camera says how it is turned to the body and how long its lens is. Where it stands is solved from the rig
as it is posed now: characters have proportions of their own and stand where the artist put them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from . import apply, posing
from . import rotations as rot
from .rotations import Array

if TYPE_CHECKING:
    import bpy

POINTS: Final = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
"""Body points that a picture's keypoints and SMPL-X's joints have in common, by the same name."""

_MIN_VISIBILITY: Final = 0.3  # below, a point is a guess
_MIN_POINTS: Final = 4
_STEPS: Final = 10  # of the least squares; it has converged after four
_OPENGL: Final = np.array([1.0, -1.0, -1.0])  # pixels go down and the camera looks along -z


class CameraError(ValueError):
    """No camera can be found. The text is one sentence for the artist."""


@dataclass(frozen=True)
class Placed:
    """``rotation`` (w, x, y, z) and ``location`` (3,) take camera coordinates into Blender's world.

    ``error_px``: how far the character's joints are from the picture's points, on average, in the picture's pixels.
    """

    rotation: Array
    location: Array
    error_px: float


def place(
    armature: bpy.types.Object,
    pelvis: apply.Quat,
    rotation: apply.Quat,
    size: tuple[float, float],
    focal_px: float,
    keypoints: Mapping[str, tuple[float, float, float]],
) -> Placed:
    """The camera for a rig as it is posed now.

    ``pelvis`` and ``rotation``: the answer's pelvis and camera, in SMPL-X's frame. ``size`` and ``keypoints`` (x, y,
    visibility) in the picture's pixels. Raises CameraError and posing.RigError.
    """
    turned = rot.multiply(world_turn(armature, pelvis), rotation)
    bones = posing.bones_by_joint(armature)
    world = armature.matrix_world
    seen = [n for n in POINTS if n in bones and n in keypoints and keypoints[n][2] >= _MIN_VISIBILITY]
    if len(seen) < _MIN_POINTS:
        raise CameraError("Too little of the body is seen in the picture to find its camera.")
    joints = np.array([world @ armature.pose.bones[bones[name][0]].head for name in seen])
    pixels = np.array([keypoints[name][:2] for name in seen])
    weights = np.array([keypoints[name][2] for name in seen])
    location = solve_location(turned, joints, (pixels - np.divide(size, 2)) / focal_px, weights)
    away = project(turned, location, joints) * focal_px + np.divide(size, 2) - pixels
    return Placed(turned, location, float((np.linalg.norm(away, axis=-1) * weights).sum() / weights.sum()))


def world_turn(armature: bpy.types.Object, pelvis: apply.Quat) -> Array:
    """What takes the answer's frame to Blender's world: the rig's own axes, and how far it faces from the answer."""
    now = posing.read(armature).get("pelvis", (1.0, 0.0, 0.0, 0.0))
    heading = rot.multiply(rot.twist(now, 1), rot.conjugate(rot.twist(pelvis, 1)))
    world = np.array(armature.matrix_world.to_quaternion())
    return rot.unit(rot.multiply(rot.multiply(world, rot.from_matrot(posing.fit(armature).basis)), heading))


def project(rotation: Array, location: Array, points: Array) -> Array:
    """(N, 3) world -> (N, 2) tangents: right and down in the picture, of a camera that looks along its -z."""
    inside = rot.rotate(rot.conjugate(rotation), points - location) * _OPENGL
    return inside[:, :2] / inside[:, 2:]


def solve_location(rotation: Array, points: Array, tangents: Array, weights: Array) -> Array:
    """(3,): where a camera of known rotation sees ``points`` (N, 3) at ``tangents`` (N, 2), by least squares.

    First the point nearest to all rays, then Gauss-Newton on the distances in the picture. Raises CameraError.
    """
    rays = np.concatenate([tangents, np.ones((len(tangents), 1))], -1) * _OPENGL
    rays = rot.rotate(rotation, rays / np.linalg.norm(rays, axis=-1, keepdims=True))
    across = (np.eye(3) - rays[:, :, None] * rays[:, None, :]) * weights[:, None, None]
    try:
        location = np.linalg.solve(across.sum(0), np.einsum("nij,nj->i", across, points))
        for _ in range(_STEPS):
            inside = rot.rotate(rot.conjugate(rotation), points - location) * _OPENGL
            if inside[:, 2].min() <= 0:
                break
            miss = (inside[:, :2] / inside[:, 2:] - tangents) * weights[:, None]
            depth = inside[:, 2]
            slope = np.zeros((len(points), 2, 3))
            slope[:, 0, 0] = slope[:, 1, 1] = -weights / depth
            slope[:, :, 2] = inside[:, :2] / (depth**2)[:, None] * weights[:, None]
            step, *_ = np.linalg.lstsq(slope.reshape(-1, 3), -miss.reshape(-1), rcond=None)
            location = location + rot.rotate(rotation, step * _OPENGL)
    except np.linalg.LinAlgError as error:
        raise CameraError("The picture's camera cannot be found from these points; move the wrong ones.") from error
    inside = rot.rotate(rot.conjugate(rotation), points - location) * _OPENGL
    if not np.isfinite(location).all() or inside[:, 2].min() <= 0:
        raise CameraError("The picture's camera cannot be found from these points; move the wrong ones.")
    return location


def lens(focal_px: float, size: tuple[float, float], frame: tuple[float, float], sensor: float) -> tuple[float, str]:
    """(millimetres, sensor fit) so that a picture of ``size`` that is fitted into the render's ``frame`` is matched.

    ``sensor``: millimetres of the side that the fit names. The picture touches the frame's left and right
    (HORIZONTAL) or top and bottom (VERTICAL).
    """
    wide = frame[0] / size[0] <= frame[1] / size[1]
    return focal_px / (size[0] if wide else size[1]) * sensor, "HORIZONTAL" if wide else "VERTICAL"
