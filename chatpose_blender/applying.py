"""How the artist wants poses put on rigs: the settings of a scene, an operator or a picture, as ``rig`` takes them.

Applies nothing.
"""

from dataclasses import replace

import bpy

from . import blender_versions
from .client.contract import Pose
from .properties import APPLY_NAMES, ApplySettings
from .rig import apply, posing, smplx


def settings_of(owner: ApplySettings) -> dict[str, object]:
    """The apply settings of a scene or an operator, by name."""
    return {name: getattr(owner, name) for name in APPLY_NAMES}


def options_of(armature: bpy.types.Object, owner: ApplySettings) -> apply.Options:
    """The settings as the rig's options: parts become joints."""
    return apply.Options(
        joints=_joints(armature, owner.part),
        strength=owner.strength,
        mirror=owner.mirror,
        facing=owner.facing,
        turn=owner.turn,
        height=owner.height,
        hands=owner.hands,
        to_forward=owner.to_forward,
    )


def from_picture(context: bpy.types.Context, pose: Pose) -> tuple[Pose, dict[str, object]]:
    """A picture's pose and how it is put on rigs, as the picture's settings want facing and hands."""
    settings = context.scene.chatpose.picture
    if settings.hands == "KEEP":
        pose = replace(pose, joints={n: q for n, q in pose.joints.items() if n not in smplx.HAND_JOINTS})
    hands = "RELAXED" if settings.hands == "RELAXED" else "KEEP"
    return pose, settings_of(context.scene.chatpose) | {"facing": settings.facing, "hands": hands}


def _joints(armature: bpy.types.Object, part: str) -> frozenset[str] | None:
    if part == "ALL":
        return None
    if part == "SELECTED":
        chosen = [bone.name for bone in armature.pose.bones if blender_versions.is_selected(bone)]
        return posing.joints_of(armature, chosen)
    return smplx.PARTS[part]
