"""Where SMPL-X's axes are in Blender: the one place that knows y-up from z-up. Numpy only, no bpy.

SMPL-X: metres, y up, the rest pose faces +z, the body's left is +x.
Blender: z up, a character faces -y, its left is +x. So (x, y, z) becomes (x, -z, y): a quarter turn about x.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from .rotations import Array

Z_UP: Array = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""The rotation that takes SMPL-X's axes to Blender's."""

_NOTHING = 1e-9  # shorter than this is no direction
_SNAP_COSINE = 0.9  # a measured axis within 26 degrees of a coordinate axis is meant to be that axis


def to_blender(position: ArrayLike) -> Array:
    """(..., 3) metres, SMPL-X's frame -> Blender's: (x, y, z) -> (x, -z, y)."""
    return np.asarray(position, np.float64) @ Z_UP.T


def from_blender(position: ArrayLike) -> Array:
    """(..., 3) metres, Blender's frame -> SMPL-X's: (x, y, z) -> (x, z, -y)."""
    return np.asarray(position, np.float64) @ Z_UP


def measure(heads: Mapping[str, ArrayLike]) -> Array:
    """(3, 3): SMPL-X's axes in an armature's own space, from where its rest joints are.

    ``heads``: joint name -> position. An armature may hold its bones z-up (ours), y-up under a turned object
    (imported files), or facing anywhere. Axes near coordinate axes are snapped to them, so that the slight lean of a
    real body's spine does not tilt every pose. Falls back to Z_UP where the joints do not span a frame.
    """
    p = {name: np.asarray(value, np.float64) for name, value in heads.items()}
    lefts = [
        p[f"left_{joint}"] - p[f"right_{joint}"]
        for joint in ("hip", "shoulder")
        if f"left_{joint}" in p and f"right_{joint}" in p
    ]
    top = next((p[name] for name in ("head", "neck", "spine3") if name in p), None)
    if not lefts or top is None or "pelvis" not in p:
        return Z_UP
    up = _snapped(top - p["pelvis"])
    across = np.sum(lefts, 0)
    across = across - up * (across @ up)
    if np.linalg.norm(up) < _NOTHING or np.linalg.norm(across) < _NOTHING:
        return Z_UP
    left = _snapped(across)
    left = left - up * (left @ up)  # where only one of the two was snapped
    left /= np.linalg.norm(left)
    forward = np.cross(left, up)
    return np.stack([left, up, forward], -1)


def _snapped(vector: Array) -> Array:
    length = float(np.linalg.norm(vector))
    if length < _NOTHING:
        return vector
    axis = vector / length
    main = int(np.argmax(np.abs(axis)))
    if abs(axis[main]) < _SNAP_COSINE:
        return axis
    snapped = np.zeros(3)
    snapped[main] = np.sign(axis[main])
    return snapped
