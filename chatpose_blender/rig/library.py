"""Poses in Blender's asset library: the rig as it stands becomes a pose asset that says which words made it.

    action = save_pose(armature, "Kneeling", rig=rig, origin=Origin(prompt="...", seed=7, model="..."))
    origin_of(action)                       # read back, for the history

Changes nothing of the rig, its action or the selection. The asset is an action with one slot and one key per channel,
as Blender's own pose library makes them, so every tool for poses takes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from .. import blender_versions
from . import apply, thumbnail
from .armature import joint_places
from .retarget import Fit

if TYPE_CHECKING:
    import bpy

_ORIGIN: Final = "chatpose_origin"
"""Custom property of the action: JSON of an Origin."""
_TAG: Final = "ChatPose"
_PREVIEW_SIZE: Final = 256
_FRAME: Final = 1.0


class LibraryError(ValueError):
    """A pose that cannot be saved. The text is for the artist."""


@dataclass(frozen=True)
class Origin:
    """Where a pose came from. ``pose``: SMPL-X joint -> [w, x, y, z], so that it can be put on any other rig too."""

    prompt: str = ""
    seed: int | None = None
    model: str = ""
    pose: dict[str, list[float]] | None = None


def save_pose(
    armature: bpy.types.Object,
    name: str,
    *,
    bones: Iterable[str] | None = None,
    origin: Origin | None = None,
    tags: Sequence[str] = (),
    catalog: str = "",
    rig: Fit | None = None,
) -> bpy.types.Action:
    """Makes a pose asset of the rig as it stands; -> its action.

    ``bones``: only these; None for all. ``catalog``: a catalogue's UUID. ``rig``: draws the preview; without it Blender
    is asked for one, which needs a window. Raises LibraryError when there is nothing to save.
    """
    import bpy

    chosen = [bone.name for bone in armature.pose.bones] if bones is None else sorted(set(bones))
    if not chosen:
        raise LibraryError("No bones are chosen. Select the bones whose pose is to be saved, or save the whole pose.")
    action = bpy.data.actions.new(name.strip() or "Pose")
    try:
        holder = blender_versions.pose_holder(action, armature)
        for bone_name in chosen:
            _store(holder, armature.pose.bones[bone_name])
        action.user_clear()  # actions.new() counts a user, and so does the asset mark
        action.asset_mark()
        _describe(action, origin or Origin(), tags, catalog)
        _preview(action, armature, rig)
    except Exception:
        bpy.data.actions.remove(action)
        raise
    return action


def origin_of(action: bpy.types.Action) -> Origin | None:
    """Where a saved pose came from; None for a pose that is not ours."""
    try:
        data = json.loads(action[_ORIGIN])
        return Origin(str(data["prompt"]), data["seed"], str(data["model"]), data["pose"])
    except (KeyError, TypeError, ValueError):
        return None


def saved_poses() -> list[bpy.types.Action]:
    """The pose assets in this file that ChatPose made."""
    import bpy

    return [action for action in bpy.data.actions if action.asset_data is not None and origin_of(action) is not None]


def _store(holder: bpy.types.Action | bpy.types.ActionChannelbag, bone: bpy.types.PoseBone) -> None:
    """One key for each number of a bone's place, rotation and scale."""
    for prop in ("location", apply.rotation_path(bone), "scale"):
        path = bone.path_from_id(prop)
        for index, value in enumerate(getattr(bone, prop)):
            curve = blender_versions.new_curve(holder, path, index, bone.name)
            curve.keyframe_points.insert(_FRAME, value)
            curve.update()


def _describe(action: bpy.types.Action, origin: Origin, tags: Sequence[str], catalog: str) -> None:
    asset = action.asset_data
    asset.description = origin.prompt
    for tag in dict.fromkeys((_TAG, *([origin.model] if origin.model else []), *tags)):
        if tag.strip():
            asset.tags.new(tag.strip()[:63], skip_if_exists=True)  # 63: what a tag's name holds
    if catalog:
        asset.catalog_id = catalog
    action[_ORIGIN] = json.dumps(asdict(replace(origin, pose=_rounded(origin.pose))))


def _rounded(pose: dict[str, list[float]] | None) -> dict[str, list[float]] | None:
    return None if pose is None else {joint: [round(float(c), 7) for c in quat] for joint, quat in pose.items()}


def _preview(action: bpy.types.Action, armature: bpy.types.Object, rig: Fit | None) -> None:
    import bpy

    if rig is None:
        if not bpy.app.background:
            action.asset_generate_preview()
        return
    pixels = thumbnail.draw(joint_places(armature, rig), size=_PREVIEW_SIZE)
    preview = action.preview_ensure()
    preview.image_size = (_PREVIEW_SIZE, _PREVIEW_SIZE)
    preview.image_pixels_float.foreach_set(pixels.ravel())
