"""The one door to posing whatever armature it is: SMPL-X's own bones exactly, every other rig by retargeting.

Operators use this and nothing else of rig/. Pushes no undo step, sets no keys, changes no rest pose.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import apply, recognise, retarget, smplx
from . import armature as rigs
from .rigmap import RigMap, RigMapError

if TYPE_CHECKING:
    import bpy

RigError = (apply.RigError, RigMapError)
"""What everything here raises for an armature that cannot be posed; ``str()`` is one sentence for the artist."""


@dataclass(frozen=True)
class _Known:
    """What is remembered of a rig between redraws: its map, or why it has none."""

    rigmap: RigMap | None = None
    reason: str = ""


def refusal(armature: bpy.types.Object) -> str:
    """Why this armature cannot be posed; "" when it can. Cheap enough for drawing."""
    return "" if apply.is_smplx(armature) else _known(armature).reason


def family(armature: bpy.types.Object) -> str:
    """The rig's family for the panel, "" when it is none."""
    if apply.is_smplx(armature):
        return "SMPL-X"
    rigmap = _known(armature).rigmap
    return rigmap.title if rigmap is not None else ""


def rigmap(armature: bpy.types.Object) -> RigMap | None:
    """Which bone plays which joint, as recognised or as the artist's own mapping says; None for no person's rig."""
    return _known(armature).rigmap


def read(armature: bpy.types.Object) -> dict[str, apply.Quat]:
    """The pose that a rig shows: SMPL-X joint -> local quaternion. Raises RigError."""
    if apply.is_smplx(armature):
        return apply.read_pose(armature)
    return rigs.read_pose(armature, _fit(armature))


def put(
    context: bpy.types.Context, armature: bpy.types.Object, joints: apply.Quats, options: apply.Options
) -> rigs.Applied:
    """Poses a rig; -> the bones that were written and sentences about what stood in the way. Raises RigError."""
    if apply.is_smplx(armature):
        return rigs.Applied(apply.apply_pose(context, armature, joints, options))
    return rigs.apply_to_armature(context, armature, joints, options, _fit(armature), to_forward=options.to_forward)


class NotPosableError(apply.RigError):
    """The rig that was meant is gone or cannot be posed."""


def height(context: bpy.types.Context, armature: bpy.types.Object) -> float:
    """World z of the posed body's lowest point; evaluates the scene. Raises RigError."""
    if apply.is_smplx(armature):
        return apply.lowest(context, armature)
    context.view_layer.update()
    return rigs.height(context, armature, _fit(armature))


def floor(context: bpy.types.Context, armature: bpy.types.Object) -> float:
    """World z of the ground that the rig stands on. Raises RigError."""
    if apply.is_smplx(armature):
        return apply.floor_height(context, armature)
    return rigs.floor(context, armature, _fit(armature))


def obstacles(armature: bpy.types.Object) -> tuple[str, ...]:
    """What keeps a pose from showing on this rig as it stands: limbs that IK moves. Sentences for the artist."""
    rig = _fit(armature)
    switches = [] if apply.is_smplx(armature) else rigs.switch_notes(armature, rig, smplx.JOINTS)
    return (*switches, *rigs.ik_notes(armature, rig))


def bones_by_joint(armature: bpy.types.Object) -> dict[str, tuple[str, ...]]:
    """SMPL-X joint -> the bones that it turns. Raises RigError."""
    if apply.is_smplx(armature):
        return {joint: (bone,) for joint, bone in apply.joint_bones(armature).items()}
    rig = _fit(armature)
    return {joint: bones for joint in retarget.JOINTS if (bones := retarget.bones_of(rig, (joint,)))}


def moving_bone(armature: bpy.types.Object) -> str:
    """The bone whose location carries the body. Raises RigError."""
    return apply.bind(armature).pelvis if apply.is_smplx(armature) else _fit(armature).mover


def joints_of(armature: bpy.types.Object, bones: Iterable[str]) -> frozenset[str]:
    """The SMPL-X joints that these bones play. Raises RigError."""
    chosen = set(bones)
    return frozenset(joint for joint, owned in bones_by_joint(armature).items() if chosen.intersection(owned))


def fit(armature: bpy.types.Object) -> retarget.Fit:
    """Any rig, SMPL-X's own included, measured for whole motions at once. Raises RigError."""
    return _fit(armature)


def _fit(armature: bpy.types.Object) -> retarget.Fit:
    known = _known(armature)
    if known.rigmap is None:
        raise RigMapError(known.reason)
    return rigs.bind(armature, known.rigmap)


def _known(armature: bpy.types.Object) -> _Known:
    """Recognises a rig once; again only when its bones or the artist's own mapping have changed."""
    bones = tuple(armature.data.bones.keys())
    return _recognised(armature.data.session_uid, bones, armature.chatpose.rigmap, _Rest(armature))


class _Rest:
    """Reads the bones only when they are needed; takes no part in the cache's key."""

    def __init__(self, armature: bpy.types.Object) -> None:
        self.armature = armature

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rest)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=32)
def _recognised(uid: int, names: tuple[str, ...], preset: str, rest: _Rest) -> _Known:
    armature, rest.armature = rest.armature, None  # the cache must not hold on to an object that undo may free
    try:
        if preset:
            return _Known(RigMap.from_json(json.loads(preset)))
        return _Known(recognise.plan(rigs.rest_bones(armature)))
    except (RigMapError, ValueError) as error:
        return _Known(reason=str(error).removesuffix("."))
