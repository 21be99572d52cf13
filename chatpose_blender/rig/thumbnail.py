"""A small picture of a pose, drawn from its joints as a mannequin of capsules. Numpy only; needs no window and no GPU.

    pixels = draw(places_of(quats))            # a SMPL-X pose
    pixels = draw(armature.joint_places(...))  # a rig as it stands

10 ms for 256 pixels. Left limbs are warm, right ones cool, so that a swap shows at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from .rest_pose import REST
from .retarget import Quats, forward
from .rotations import Array
from .smplx import JOINTS, PARENT

_LEFT, _RIGHT, _MIDDLE = (0.92, 0.60, 0.42), (0.45, 0.62, 0.90), (0.78, 0.78, 0.80)
_LAMP: Final = np.array([-0.35, 0.55, 0.76])
_AMBIENT = 0.42
_MARGIN = 0.08  # of the picture, around the figure

_CAPSULES: Final = (
    *(
        (f"{side}_{a}", f"{side}_{b}", radius)
        for side in ("left", "right")
        for a, b, radius in (
            ("hip", "knee", 0.08), ("knee", "ankle", 0.055), ("ankle", "foot", 0.04), ("shoulder", "elbow", 0.045),
            ("elbow", "wrist", 0.037), ("wrist", "middle1", 0.032), ("collar", "shoulder", 0.06),
        )
    ),
    ("left_hip", "right_hip", 0.105), ("pelvis", "spine1", 0.115), ("spine1", "spine2", 0.115),
    ("spine2", "spine3", 0.125), ("spine3", "neck", 0.1), ("neck", "head", 0.05),
    ("left_collar", "right_collar", 0.09),
)  # fmt: skip
_HEAD_RADIUS, _HEAD_RISE = 0.095, 0.08  # metres: the skull's ball above the head joint


def places_of(quats: Quats) -> dict[str, Array]:
    """Joint -> (3,) place of a posed SMPL-X body, in its own axes."""
    turned = forward(quats)
    places: dict[str, Array] = {}
    for joint in JOINTS:
        above = PARENT.get(joint)
        places[joint] = REST[joint] if above is None else places[above] + turned[above] @ (REST[joint] - REST[above])
    places["crown"] = places["head"] + turned["head"] @ np.array([0.0, _HEAD_RISE, 0.02])
    return places


def draw(places: Mapping[str, ArrayLike], *, size: int = 128, yaw_deg: float = 25.0, pitch_deg: float = 8.0) -> Array:
    """(size, size, 4) float32 RGBA, bottom row first as Blender keeps pictures; transparent where nothing is.

    ``places``: joint -> (3,), y up, facing +z, any unit; joints that are missing are not drawn.
    """
    yaw, pitch = np.radians([-yaw_deg, pitch_deg])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    at = {joint: tilt @ turn @ np.asarray(place, np.float64) for joint, place in places.items()}
    unit = _unit_of(places)
    parts = [(at[a], at[b], r * unit, _colour(a, b)) for a, b, r in _CAPSULES if a in at and b in at]
    if "head" in at:
        crown = at.get("crown", at["head"])
        parts.append((crown, crown, _HEAD_RADIUS * unit, _MIDDLE))
    picture = np.zeros((size, size, 4), np.float32)
    if not parts:
        return picture
    ends = np.array([[a, b] for a, b, _, _ in parts])
    reach = np.array([r for _, _, r, _ in parts])[:, None, None]
    low, high = (ends - reach).min((0, 1))[:2], (ends + reach).max((0, 1))[:2]
    scale = size * (1 - 2 * _MARGIN) / float((high - low).max())
    middle = (low + high) / 2
    depth = np.full((size, size), -np.inf)
    grid = (np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) + 0.5 - size / 2) / scale + middle
    for start, end, radius, colour in parts:
        pair = np.stack([start, end])[:, :2]
        left, bottom = ((pair.min(0) - radius - middle) * scale + size / 2).astype(int).clip(0, size)
        right, top = ((pair.max(0) + radius - middle) * scale + size / 2 + 1).astype(int).clip(0, size)
        box = np.s_[bottom:top, left:right]
        _capsule(picture[box], depth[box], grid[box], start, end, radius, colour)
    return picture


def _capsule(
    picture: Array, depth: Array, grid: Array, start: Array, end: Array, radius: float, colour: tuple[float, ...]
) -> None:
    """Draws one lit capsule where it is nearer than what was drawn before."""
    line = (end - start)[:2]
    length = float(line @ line)
    along = np.clip(((grid - start[:2]) @ line) / length, 0, 1) if length > 0 else np.zeros(grid.shape[:2])
    away = grid - start[:2] - along[..., None] * line
    left = radius * radius - (away * away).sum(-1)
    bulge = np.sqrt(np.maximum(left, 0))
    z = start[2] + along * (end[2] - start[2]) + bulge
    inside = (left > 0) & (z > depth)
    normal = np.concatenate([away, bulge[..., None]], -1)[inside] / radius
    light = _AMBIENT + (1 - _AMBIENT) * np.clip(normal @ _LAMP, 0, 1)
    picture[inside, :3] = light[:, None] * np.array(colour)
    picture[inside, 3] = 1.0
    depth[inside] = z[inside]


def _colour(a: str, b: str) -> tuple[float, ...]:
    sides = {joint.partition("_")[0] for joint in (a, b)}
    if sides == {"left"}:
        return _LEFT
    return _RIGHT if sides == {"right"} else _MIDDLE


def _unit_of(places: Mapping[str, ArrayLike]) -> float:
    """How long a metre of the SMPL-X body is in these places: by thighs and shins, which no pose makes shorter."""
    pairs = [(a, b) for a, b, _ in _CAPSULES if a in places and b in places and a.endswith(("hip", "knee")) and a != b]
    pairs = [(a, b) for a, b in pairs if a[:4] == b[:4]]
    if not pairs:
        return 1.0
    mine = sum(float(np.linalg.norm(np.subtract(places[a], places[b]))) for a, b in pairs)
    return mine / sum(float(np.linalg.norm(REST[a] - REST[b])) for a, b in pairs)
