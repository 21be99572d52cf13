"""Keys, many at once: the curves that ``keyframe_insert`` would write, written by whole arrays. Knows no poses.

    write(armature, frames, {"LeftArm": quats}, {"Hips": locations})

The object's own action and slot are used, keys at other frames stay, each bone is keyed in its own rotation mode, and
its curves go into a group of its name. Which curves hold the keys is ``blender_versions``' business.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .. import blender_versions
from . import apply
from .rotations import Array

if TYPE_CHECKING:
    import bpy

_SAME_FRAME: Final = 0.01  # frames nearer than this are one key (Blender's BEZT_BINARYSEARCH_THRESH)
_EASING: Final = {"back": 1.70158, "amplitude": 0.8, "period": 4.1}  # what Blender gives a key inserted by hand
_HANDLES: Final = {"handle_left": -1.0, "handle_right": 1.0}  # frames from its key, where Blender puts a new one


_T = TypeVar("_T")


def finish(steps: Generator[None, None, _T]) -> _T:
    """Runs work that is done in steps to its end; -> what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


Wanted: TypeAlias = Callable[[str, int, bool], bool]
"""Whether a channel may be keyed: its data path, its index, and whether it has a curve already."""


class KeyframeError(ValueError):
    """Keys that cannot be set. The text is for the artist."""


def curves_of(ob: bpy.types.Object) -> list[bpy.types.FCurve]:
    """The F-curves that move this object and its bones."""
    holder = blender_versions.curve_holder(ob)
    return list(holder.fcurves) if holder is not None else []


def write(
    armature: bpy.types.Object,
    frames: Sequence[float],
    rotations: Mapping[str, ArrayLike],
    locations: Mapping[str, ArrayLike] | None = None,
    wanted: Wanted | None = None,
) -> int:
    """Keys bones at ``frames`` (N, rising); -> how many curves were written.

    ``rotations``: bone -> (N, 4) local quaternions; signs are chosen so that no key turns the long way, starting from
    the key before. ``locations``: bone -> (N, 3) in the bone's own rest axes. ``wanted`` says which channels may be
    keyed, all by default. Locked curves are left as they are.
    """
    count = 0
    for count in writing(armature, frames, rotations, locations, wanted):  # noqa: B007 - the last one is the answer
        pass
    return count


def writing(
    armature: bpy.types.Object,
    frames: Sequence[float],
    rotations: Mapping[str, ArrayLike],
    locations: Mapping[str, ArrayLike] | None = None,
    wanted: Wanted | None = None,
) -> Iterator[int]:
    """``write`` in small steps, a bone's property each, so that Blender stays alive between; yields curves so far."""
    at = np.asarray(frames, np.float64)
    if not len(at) or not (rotations or locations):
        return
    if np.any(np.diff(at) < _SAME_FRAME):
        raise KeyframeError("Two poses are to be keyed at one frame. Give each its own frame, in rising order.")
    action = armature.animation_data.action if armature.animation_data else None
    if action is not None and not action.is_editable:
        raise KeyframeError(
            f"The action '{action.name}' is linked from another file. Make it local to key poses into it."
        )
    holder = blender_versions.ensure_curve_holder(armature)
    writer = _Writer(holder, at, wanted)
    for name, quats in rotations.items():
        bone = armature.pose.bones[name]
        path = bone.path_from_id(apply.rotation_path(bone))
        before = writer.before(path)
        before = np.array(getattr(bone, apply.rotation_path(bone))) if before is None else before
        values = _in_mode(bone.rotation_mode, np.asarray(quats, np.float64), before)
        writer.put(path, values, name, "AUTO_YRGB" if bone.rotation_mode == "QUATERNION" else "AUTO_RGB")
        yield writer.count
    for name, values in (locations or {}).items():
        path = armature.pose.bones[name].path_from_id("location")
        writer.put(path, np.asarray(values, np.float64), name, "AUTO_RGB")
        yield writer.count
    armature.update_tag(refresh={"TIME"})


def write_present(
    armature: bpy.types.Object,
    frame: float,
    bones: Iterable[str],
    moved: Iterable[str] = (),
    wanted: Wanted | None = None,
) -> int:
    """Keys the pose that the bones have now at one frame; ``moved``: bones whose location is keyed too."""
    pose_bones = armature.pose.bones
    rotations = {name: [apply.get_quat(pose_bones[name])] for name in bones}
    return write(armature, [frame], rotations, {name: [tuple(pose_bones[name].location)] for name in moved}, wanted)


# -- taking keys back --------------------------------------------------------------------------------------------------

_KEY: Final = {
    "co": (2, np.float32), "handle_left": (2, np.float32), "handle_right": (2, np.float32),
    "interpolation": (1, np.int32), "easing": (1, np.int32), "back": (1, np.float32), "amplitude": (1, np.float32),
    "period": (1, np.float32), "handle_left_type": (1, np.int32), "handle_right_type": (1, np.int32),
    "type": (1, np.int32), "select_control_point": (1, bool), "select_left_handle": (1, bool),
    "select_right_handle": (1, bool),
}  # fmt: skip
"""Everything that a key is: how many numbers, and of what kind."""


@dataclass(frozen=True)
class Kept:
    """An object's keys as they were: the action's name or None, its slot, and every curve's keys, exactly."""

    has_data: bool
    action: str | None
    slot: int | None
    groups: frozenset[str]
    curves: Mapping[tuple[str, int], Mapping[str, Array]]


def frames_of(curve: bpy.types.FCurve) -> Array:
    """(N,) the frames of a curve's keys."""
    return _read(curve.keyframe_points, "co", len(curve.keyframe_points), 2, np.float32)[:, 0]


def remember(ob: bpy.types.Object) -> Kept:
    """All keys of an object, for ``put_back``."""
    return finish(remembering(ob))


def remembering(ob: bpy.types.Object) -> Generator[None, None, Kept]:
    """``remember`` curve by curve."""
    data = ob.animation_data
    action = data.action if data is not None else None
    holder = blender_versions.curve_holder(ob)
    curves: dict[tuple[str, int], dict[str, Array]] = {}
    for curve in holder.fcurves if holder is not None else ():
        points = curve.keyframe_points
        curves[curve.data_path, curve.array_index] = {
            name: _read(points, name, len(points), width, kind) for name, (width, kind) in _KEY.items()
        }
        yield
    groups = frozenset(group.name for group in holder.groups) if holder is not None else frozenset()
    name = action.name if action is not None else None
    return Kept(data is not None, name, blender_versions.slot_handle(ob), groups, curves)


def put_back(ob: bpy.types.Object, kept: Kept) -> None:
    """Takes back whatever ``writing`` did since ``remember``, whole or in part: keys, curves, groups, slot, action."""
    finish(putting_back(ob, kept))


def putting_back(ob: bpy.types.Object, kept: Kept) -> Generator[None, None, None]:
    """``put_back`` curve by curve."""
    import bpy

    data = ob.animation_data
    made = data.action if data is not None else None
    holder = blender_versions.curve_holder(ob)
    for curve in list(holder.fcurves) if holder is not None else ():
        keys = kept.curves.get((curve.data_path, curve.array_index))
        if keys is None:
            holder.fcurves.remove(curve)
            continue
        curve.keyframe_points.clear()
        curve.keyframe_points.add(len(keys["co"]))
        for name, table in keys.items():
            curve.keyframe_points.foreach_set(name, table.ravel())
        yield
    for group in list(holder.groups) if holder is not None else ():
        if group.name not in kept.groups:
            holder.groups.remove(group)
    if kept.slot is None:
        blender_versions.drop_slot(ob)
    if kept.action is None and made is not None:
        data.action = None
        if not made.users:
            bpy.data.actions.remove(made)
    if not kept.has_data:
        ob.animation_data_clear()
    ob.update_tag(refresh={"TIME"})


class _Writer:
    """Writes values at the same frames into many curves of one holder."""

    def __init__(
        self, holder: bpy.types.Action | bpy.types.ActionChannelbag, frames: Array, wanted: Wanted | None
    ) -> None:
        import bpy

        self.holder = holder
        self.wanted = wanted
        self.frames = frames
        self.count = 0
        self.curves = {(curve.data_path, curve.array_index): curve for curve in holder.fcurves}
        edit = bpy.context.preferences.edit
        self.items = bpy.types.Keyframe.bl_rna.properties
        wanted = {
            "interpolation": edit.keyframe_new_interpolation_type,
            "easing": "AUTO",
            "handle_left_type": edit.keyframe_new_handle_type,
            "handle_right_type": edit.keyframe_new_handle_type,
            "type": bpy.context.scene.tool_settings.keyframe_type,
        }
        self.shape = {name: np.full(len(frames), self._number(name, word), np.int32) for name, word in wanted.items()}
        for name, value in _EASING.items():
            self.shape[name] = np.full(len(frames), value, np.float32)
        self.unlike: list[str] | None = None
        self.automatic = edit.keyframe_new_handle_type in ("AUTO", "AUTO_CLAMPED")
        self.co = np.empty((len(frames), 2), np.float32)
        self.co[:, 0] = frames

    def _number(self, name: str, value: str | float) -> float:
        """An attribute's value as foreach_set takes it."""
        return self.items[name].enum_items[value].value if isinstance(value, str) else value

    def before(self, path: str) -> Array | None:
        """A path's values at the last key before our frames, else at the first after; None without keys."""
        curves = []
        while (curve := self.curves.get((path, len(curves)))) is not None:
            curves.append(curve)
        keys = [frames_of(curve) for curve in curves]
        keys = np.concatenate(keys) if keys else np.empty(0)
        if not len(keys):
            return None
        earlier = keys[keys < self.frames[0] - _SAME_FRAME]
        at = float(earlier.max() if len(earlier) else keys.min())
        return np.array([curve.evaluate(at) for curve in curves])

    def put(self, path: str, values: Array, group: str, color_mode: str) -> None:
        """Keys a property: (N, k), one curve for each of its k numbers."""
        for index in range(values.shape[1]):
            curve = self.curves.get((path, index))
            if self.wanted is not None and not self.wanted(path, index, curve is not None):
                continue
            if curve is None:
                curve = blender_versions.new_curve(self.holder, path, index, group)
                curve.color_mode = color_mode
                self.curves[path, index] = curve
            elif curve.lock:
                continue
            if len(curve.keyframe_points):
                self._merge(curve, values[:, index])
            else:
                self._fill(curve, values[:, index])
            curve.update()  # sorts, and sets the automatic handles
            self.count += 1

    def _fill(self, curve: bpy.types.FCurve, values: Array) -> None:
        points = curve.keyframe_points
        points.add(len(values))
        if self.unlike is None:
            self.unlike = self._unlike(points[0])
        self.co[:, 1] = values
        flat = self.co.ravel()
        points.foreach_set("co", flat)
        for name in self.unlike:
            points.foreach_set(name, self.shape[name])
        if len(values) == 1 or not self.automatic:  # else update() places them
            for name, side in _HANDLES.items():
                points.foreach_set(name, np.add(self.co, (side, 0), dtype=np.float32).ravel())

    def _unlike(self, fresh: bpy.types.Keyframe) -> list[str]:
        """What a newly added key does not have as we want it: writing the rest as well would cost half the time."""
        return [name for name, wanted in self.shape.items() if self._number(name, getattr(fresh, name)) != wanted[0]]

    def _merge(self, curve: bpy.types.FCurve, values: Array) -> None:
        """Keys at our frames take the new value and keep their shape; the others stay; new ones are added."""
        points = curve.keyframe_points
        count = len(points)
        co, *handles = (_read(points, name, count, 2, np.float32) for name in ("co", *_HANDLES))
        kept = {name: _read(points, name, count, 1, wanted.dtype)[:, 0] for name, wanted in self.shape.items()}
        nearest = np.abs(co[:, :1] - self.frames).argmin(0)  # (N,) the key nearest to each of our frames
        there = np.abs(co[nearest, 0] - self.frames) < _SAME_FRAME
        change = (values[there] - co[nearest[there], 1]).astype(np.float32)
        for table in (co, *handles):
            table[nearest[there], 1] += change
        new = np.stack([self.frames, values], -1).astype(np.float32)[~there]
        order = np.argsort(np.concatenate([co[:, 0], new[:, 0]]), kind="stable")
        points.add(len(new))
        for name, table in (("co", co), *zip(_HANDLES, handles, strict=True)):
            added = np.add(new, (_HANDLES.get(name, 0.0), 0), dtype=np.float32)
            points.foreach_set(name, np.concatenate([table, added])[order].ravel())
        for name, old in kept.items() if len(new) else ():
            table = np.concatenate([old, self.shape[name][: len(new)]])[order]
            if name == "interpolation":
                _follow(table, order >= count)
            points.foreach_set(name, table)


def _follow(interpolation: Array, added: Array) -> None:
    """As in Blender, a key set among others interpolates as the key before it, or as the next where it is the first."""
    if len(interpolation) > 2:
        for i in np.flatnonzero(added):
            interpolation[i] = interpolation[i - 1] if i else interpolation[~added][0]


def _read(points: object, name: str, count: int, width: int, kind: type) -> Array:
    table = np.empty(count * width, kind)
    points.foreach_get(name, table)  # type: ignore[attr-defined]
    return table.reshape(count, width)


def _in_mode(mode: str, quats: Array, before: Array) -> Array:
    """(N, 4) quaternions as (N, 3 or 4) values of a rotation mode, each as near as can be to the one before."""
    if mode == "QUATERNION":
        return _continuous(quats, before)
    if mode == "AXIS_ANGLE":
        return _axis_angles(_continuous(quats, quats[0]), before)
    from mathutils import Euler, Quaternion

    last = Euler(before, mode)
    eulers = np.empty((len(quats), 3))
    for i, quat in enumerate(quats.tolist()):
        last = Quaternion(quat).to_euler(mode, last)
        eulers[i] = last
    return eulers


def _continuous(quats: Array, before: Array) -> Array:
    """Signs flipped so that each quaternion is on the side of the one before."""
    chain = np.concatenate([before[None], quats])
    return quats * np.cumprod(np.where((chain[1:] * chain[:-1]).sum(-1) < 0, -1.0, 1.0))[:, None]


def _axis_angles(quats: Array, before: Array) -> Array:
    """(N, 4) angle and axis from quaternions continuous in sign: the angle runs on past half a turn, no axis flips.

    ``before``: the angle and axis of the key before, on whose side and in whose turn they begin.
    """
    length = np.linalg.norm(quats[:, 1:], axis=1)
    angle = np.unwrap(2 * np.arctan2(length, quats[:, 0]), period=4 * np.pi)
    turning = length > 1e-6
    axes = np.where(turning[:, None], quats[:, 1:] / np.maximum(length, 1e-6)[:, None], 0.0)
    for i in range(len(axes)):  # where nothing turns, the axis of the key before
        if not turning[i]:
            axes[i] = axes[i - 1] if i and axes[i - 1].any() else (0.0, 1.0, 0.0)
    flip = np.concatenate([[1.0], np.cumprod(np.where((axes[1:] * axes[:-1]).sum(-1) < 0, -1.0, 1.0))])
    angle, axes = angle * flip, axes * flip[:, None]
    if axes[0] @ before[1:] < 0:
        angle, axes = -angle, -axes
    angle = angle + 2 * np.pi * np.round((before[0] - angle[0]) / (2 * np.pi))
    return np.concatenate([angle[:, None], axes], -1)
