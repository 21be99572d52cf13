"""Which channels Blender's own settings let a key be set on: keying sets, and the preferences of auto-key. Reads only.

As in Blender: a key that the artist asks for goes into the active keying set where there is one; auto-key asks for that
only with *Only Active Keying Set*, and may be told to replace keys only, or to key only what has curves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import blender_versions
from .keyframes import Wanted

if TYPE_CHECKING:
    import bpy

_ROTATIONS = ("rotation_quaternion", "rotation_euler", "rotation_axis_angle")
_ALL = ("location", *_ROTATIONS, "scale")
_WORDS = {"Loc": ("location",), "Rot": _ROTATIONS, "Scal": ("scale",), "WholeCharacter": _ALL}
_OTHERS = ("Delta", "BendyBones")  # channels that a pose never has


def wanted(context: bpy.types.Context, armature: bpy.types.Object, *, automatic: bool = False) -> Wanted | None:
    """What may be keyed now; None for everything. ``automatic``: nobody pressed a button for it, auto-key did."""
    rules = [_in_keying_set(context, armature, automatic)]
    if automatic:
        replaces = context.scene.tool_settings.auto_keying_mode == "REPLACE_KEYS"
        available = getattr(context.preferences.edit, "use_keyframe_insert_available", False)
        if replaces or available:
            rules.append(lambda _path, _index, has_curve: has_curve)
    rules = [rule for rule in rules if rule is not None]
    return (lambda *channel: all(rule(*channel) for rule in rules)) if rules else None


def _in_keying_set(context: bpy.types.Context, armature: bpy.types.Object, automatic: bool) -> Wanted | None:
    scene = context.scene
    active = scene.keying_sets_all.active
    if active is None or (automatic and not scene.tool_settings.use_keyframe_insert_keyingset):
        return None
    if active.is_path_absolute:
        paths = [(p.data_path, None if p.use_entire_array else p.array_index) for p in active.paths if p.id == armature]
        return lambda path, index, _: (path, None) in paths or (path, index) in paths
    identity = active.bl_idname
    if identity == "Available":
        return lambda _path, _index, has_curve: has_curve
    words = () if any(other in identity for other in _OTHERS) else _WORDS.items()
    properties = {name for word, names in words for name in names if word in identity}
    chosen = _selected(armature) if identity == "WholeCharacterSelected" else None

    def allows(path: str, _index: int, _has_curve: bool) -> bool:
        owner, _, name = path.rpartition(".")
        return name in properties and (chosen is None or owner in chosen)

    return allows


def _selected(armature: bpy.types.Object) -> frozenset[str]:
    bones: Iterable[bpy.types.PoseBone] = armature.pose.bones
    return frozenset(bone.path_from_id() for bone in bones if blender_versions.is_selected(bone))
