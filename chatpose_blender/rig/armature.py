"""Any rig in Blender: reads its bones, puts a SMPL-X pose on it, says what stands in the way. Writes pose channels
only.

    rig = bind(armature)                                      # or bind(armature, RigMap.from_json(preset))
    done = apply_to_armature(context, armature, joints, options, rig)
    done.bones, done.notes                                    # what was written; sentences for the artist
    read_pose(armature, rig)                                  # SMPL-X joint -> local quaternion, for refining and
    describing

``joints`` and ``options`` are those of ``apply.apply_pose``; the maths is ``retarget``'s. Never touches rest poses,
drivers, constraints or rotation modes. IK switches are left as they are and reported, unless ``to_forward`` asks to
set them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from . import apply, recognise, retarget, smplx
from . import rotations as rot
from .apply import Options, Quats
from .families import BY_KEY, Switch
from .retarget import Fit
from .rigmap import RestBone, RigMap
from .rotations import Array

if TYPE_CHECKING:
    import bpy

_PASSES: Final = 6  # a rig's machinery (Rigify's followers) answers a change after one evaluation; six levels is deep
_SETTLED: Final = np.radians(0.01)
_HELD: Final = np.radians(1.0)  # a bone further than this from where it was sent is held by something
_TURNING: Final = frozenset(
    {"IK", "SPLINE_IK", "COPY_ROTATION", "COPY_TRANSFORMS", "DAMPED_TRACK", "TRACK_TO", "LOCKED_TRACK", "STRETCH_TO",
     "CHILD_OF", "ARMATURE", "TRANSFORM", "TRANSFORM_CACHE", "ACTION", "LIMIT_ROTATION", "FOLLOW_PATH", "PIVOT"}
)  # fmt: skip
"""Constraints that turn a bone."""


@dataclass(frozen=True)
class Applied:
    """What was done: the bones written, the one that was moved too, and sentences about what stood in the way.

    ``switched``: (bone, custom property) of the limbs that were switched to FK.
    """

    bones: tuple[str, ...]
    notes: tuple[str, ...] = ()
    switched: tuple[tuple[str, str], ...] = ()


def rest_bones(armature: bpy.types.Object) -> dict[str, RestBone]:
    """The armature's bones at rest, by name."""
    return {
        bone.name: RestBone(
            parent=bone.parent.name if bone.parent else None,
            matrix=np.array(bone.matrix_local),
            length=bone.length,
            inherit_rotation=bone.use_inherit_rotation,
            connected=bone.use_connect,
            deform=bone.use_deform,
        )
        for bone in armature.data.bones
    }


def bind(armature: bpy.types.Object, rigmap: RigMap | None = None) -> Fit:
    """Measures an armature, recognising it when no map is given. Raises RigMapError with what to do."""
    bones = rest_bones(armature)
    return retarget.fit(rigmap or recognise.plan(bones), bones)


def read_pose(armature: bpy.types.Object, rig: Fit) -> dict[str, apply.Quat]:
    """The pose that the rig shows, constraints and all: SMPL-X joint -> local quaternion."""
    quats = retarget.read(rig, _posed(armature, rig))
    return {joint: tuple(quat.tolist()) for joint, quat in quats.items()}


def apply_to_armature(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    joints: Quats,
    options: Options | None = None,
    rig: Fit | None = None,
    *,
    to_forward: bool = False,
) -> Applied:
    """Poses any armature; -> what was done. Pushes no undo step and sets no keys.

    ``to_forward``: IK/FK switches of the limbs that are posed are set to FK.
    """
    options = options or Options()
    rig = rig or bind(armature)
    wanted, spoken = _wanted(armature, rig, joints, options)
    if not retarget.bones_of(rig, spoken):
        return Applied(())
    before = {name: apply.get_quat(armature.pose.bones[name]) for name in rig.order}
    lowest_before = height(context, armature, rig) if options.strength < 1 else 0.0
    switched = _set_forward(armature, rig, spoken) if to_forward else []
    bones, target = write_pose(context, armature, wanted, spoken, rig)
    held = _held(armature, rig, bones, target)
    if options.strength < 1:
        goals = [apply.get_quat(armature.pose.bones[name]) for name in bones]
        between = rot.slerp([before[name] for name in bones], goals, np.full(len(bones), options.strength))
        for name, quat in zip(bones, between.tolist(), strict=True):
            apply.set_quat(armature.pose.bones[name], quat)
        context.view_layer.update()
    moved: list[str] = []
    if options.height == "GROUND" and (spoken & _STANDING):
        goal = floor(context, armature, rig)
        if options.strength < 1:
            goal = lowest_before + (goal - lowest_before) * options.strength
        moved = _lift(context, armature, rig, goal - height(context, armature, rig))
    notes = [*switch_notes(armature, rig, spoken), *_held_notes(armature, held)]
    if options.height == "GROUND" and (spoken & _STANDING) and not moved:
        notes.append(f"'{rig.mover}' cannot be moved, so the body was not put on the ground. Unlock its location.")
    return Applied((*bones, *(b for b in moved if b not in bones)), tuple(notes), tuple(switched))


_STANDING: Final = frozenset(
    {"pelvis", *(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot"))}
)
"""Joints whose change may lift the body off the ground; moving an arm must not move the feet."""


def write_pose(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    wanted: Quats,
    spoken: Iterable[str],
    rig: Fit,
    passes: int = _PASSES,
) -> tuple[tuple[str, ...], dict[str, Array]]:
    """Turns the bones of the ``spoken`` joints so that the rig shows ``wanted``; -> the bones, and their goals.

    Where constraints move the bones between (a control rig's followers), the result is looked at and written again, at
    most ``passes`` times.
    """
    now = {name: apply.get_quat(armature.pose.bones[name]) for name in rig.order}
    goals = retarget.posed_rotations(rig, wanted, now)
    bones = tuple(retarget.bones_of(rig, spoken))
    for name, quat in retarget.local_rotations(rig, goals, bones).items():
        apply.set_quat(armature.pose.bones[name], quat.tolist())
    context.view_layer.update()
    for _ in range(passes if has_machinery(armature, rig) else 0):
        actual = _posed(armature, rig)
        if max(_off(actual, goals, bones).values()) < _SETTLED:
            break
        for name, quat in _again(rig, actual, goals, bones).items():
            apply.set_quat(armature.pose.bones[name], quat.tolist())
        context.view_layer.update()
    return bones, {name: goals[name] for name in bones}


def _wanted(
    armature: bpy.types.Object, rig: Fit, joints: Quats, options: Options
) -> tuple[dict[str, apply.Quat], frozenset[str]]:
    """The whole pose to show and the joints of it to write, as the options want them; strength is left for later."""
    now = {**dict.fromkeys(smplx.JOINTS, rot.IDENTITY), **read_pose(armature, rig)}  # what has no bone turns what has
    full = Options(**{**vars(options), "strength": 1.0})
    asked = apply.mixed(now, joints, full)
    return {**now, **asked}, frozenset(asked)


def _again(rig: Fit, actual: Mapping[str, Array], goals: Mapping[str, Array], bones: Iterable[str]) -> dict[str, Array]:
    """Local rotations that would have met the goals, had the bones between stood as they now do."""
    writes = set(bones)
    posed: dict[str, Array] = {}
    for name in rig.order:
        parent = rig.bones[name].parent
        if name in writes:
            posed[name] = goals[name]
        elif parent is None:
            posed[name] = actual[name]
        else:
            posed[name] = posed[parent] @ actual[parent].T @ actual[name]
    return retarget.local_rotations(rig, posed, tuple(writes))


def _posed(armature: bpy.types.Object, rig: Fit) -> dict[str, Array]:
    """Evaluated rotation (3, 3) in armature space of every bone that matters, scale taken out."""
    pose_bones = armature.pose.bones
    matrices = np.array([pose_bones[name].matrix for name in rig.order])[:, :3, :3]
    matrices /= np.maximum(np.linalg.norm(matrices, axis=1, keepdims=True), 1e-12)
    return dict(zip(rig.order, matrices, strict=True))


def _off(actual: Mapping[str, Array], goals: Mapping[str, Array], bones: Iterable[str]) -> dict[str, float]:
    """Radians by which each bone misses its goal."""
    names = list(bones)
    pair = (rot.from_matrot(np.stack([table[name] for name in names])) for table in (actual, goals))
    return dict(zip(names, rot.angle_between(*pair).tolist(), strict=True))


# -- what stands in the way ------------------------------------------------------------------------------------------


def has_machinery(armature: bpy.types.Object, rig: Fit) -> bool:
    """Whether anything but its parents may turn a bone that matters."""
    return any(armature.pose.bones[name].constraints for name in rig.order) or bool(_drivers(armature))


def _held(armature: bpy.types.Object, rig: Fit, bones: Iterable[str], goals: Mapping[str, Array]) -> list[str]:
    return [name for name, angle in _off(_posed(armature, rig), goals, bones).items() if angle > _HELD]


def ik_notes(armature: bpy.types.Object, rig: Fit) -> list[str]:
    """Sentences about bones of the body that an IK constraint moves, so that turning them shows nothing."""
    return _held_notes(armature, [name for name in rig.order if _ik_over(armature.pose.bones[name]) is not None])


def _held_notes(armature: bpy.types.Object, held: list[str]) -> list[str]:
    """One sentence for each cause; bones that are off because their parent is held are not named again."""
    notes: list[str] = []
    named: set[str] = set()
    for name in held:
        pose_bone = armature.pose.bones[name]
        if any(parent.name in named for parent in pose_bone.parent_recursive):
            continue
        named.add(name)
        if (cause := _holder(armature, name)) is not None:
            bone, constraint = cause
            notes.append(
                f"'{name}' is held by the constraint '{constraint}' on '{bone}'. Mute it to see the pose there."
            )
        elif any(f'["{name}"].rotation' in path for path in _drivers(armature)):
            notes.append(f"'{name}' is turned by a driver, so the pose does not show there.")
        else:
            notes.append(f"'{name}' is held by the rig's own machinery, so the pose does not show there.")
    return notes[:3] if len(notes) <= 3 else [*notes[:2], f"{len(notes) - 2} more bones are held in the same way."]


def _holder(armature: bpy.types.Object, name: str) -> tuple[str, str] | None:
    """(bone, constraint) that turns a bone: its own, or the IK of a bone further down whose chain reaches it."""
    pose_bone = armature.pose.bones[name]
    for constraint in pose_bone.constraints:
        if constraint.type in _TURNING and constraint.enabled and constraint.influence > 0:
            return name, constraint.name
    return _ik_over(pose_bone)


def _ik_over(pose_bone: bpy.types.PoseBone) -> tuple[str, str] | None:
    """(bone, constraint) of the IK whose chain holds this bone, if one does."""
    for child in (pose_bone, *pose_bone.children_recursive):
        for constraint in child.constraints:
            if constraint.type in ("IK", "SPLINE_IK") and constraint.enabled and constraint.influence > 0:
                chain = [child, *child.parent_recursive]
                reach = constraint.chain_count or len(chain)
                if pose_bone in chain[:reach]:
                    return child.name, constraint.name
    return None


def _drivers(armature: bpy.types.Object) -> list[str]:
    data = armature.animation_data
    return [curve.data_path for curve in data.drivers] if data else []


def _switches(armature: bpy.types.Object, rig: Fit, spoken: Iterable[str]) -> Iterable[tuple[str, Switch, str]]:
    """(limb for people, switch, bone) of every switch that does not stand on FK for a limb that is posed."""
    family = BY_KEY.get(rig.rigmap.family)
    limb = {"shoulder": ("arm", ("shoulder", "elbow", "wrist")), "hip": ("leg", ("hip", "knee", "ankle"))}
    posed = set(spoken)
    for switch in family.switches if family else ():
        word, joints = limb[switch.joint]
        for side, marks in (("left", {"S": "L", "Side": "Left"}), ("right", {"S": "R", "Side": "Right"})):
            bone = armature.pose.bones.get(switch.bone.format(**marks))
            if bone is None or switch.prop not in bone or not any(f"{side}_{j}" in posed for j in joints):
                continue
            if abs(bone[switch.prop] - switch.forward) > 1e-3:
                yield f"{side} {word}", switch, bone.name


def switch_notes(armature: bpy.types.Object, rig: Fit, spoken: Iterable[str]) -> list[str]:
    """One sentence about the limbs that IK moves, if there are any among these joints."""
    found = list(_switches(armature, rig, spoken))
    if not found:
        return []
    limbs = " and ".join(limb for limb, _, _ in found) if len(found) < 3 else f"{len(found)} limbs"
    switch, bone = found[0][1], found[0][2]
    return [
        f"The {limbs} {'is' if len(found) == 1 else 'are'} moved by IK, so the pose does not show there. "
        f"Set {switch.prop} on '{bone}' to {switch.forward:g}."
    ]


def _set_forward(armature: bpy.types.Object, rig: Fit, spoken: Iterable[str]) -> list[tuple[str, str]]:
    """Sets the switches of the posed limbs to FK; -> the bones that bear them, and their properties."""
    switched: list[tuple[str, str]] = []
    for _, switch, name in list(_switches(armature, rig, spoken)):
        armature.pose.bones[name][switch.prop] = switch.forward
        armature.pose.bones[name].id_data.update_tag()
        switched.append((name, switch.prop))
    return switched


# -- height ----------------------------------------------------------------------------------------------------------


_SKIN_DOUBT: Final = 0.15
"""Metres on a SMPL-X body: skin that reaches further from soles and flesh than this is a prop or a shadow plane."""


def height(context: bpy.types.Context, armature: bpy.types.Object, rig: Fit) -> float:
    """World height of the body's lowest point: of the skin where there is one, else of the rig's soles and flesh."""
    posed = {name: np.array(armature.pose.bones[name].matrix) for name in rig.order}
    flesh = _world_height(armature, rig, float(retarget.lowest(rig, posed)))
    if not apply.bound_meshes(context, armature):
        return flesh
    skin = apply.lowest(context, armature)
    return skin if abs(skin - flesh) < _SKIN_DOUBT * rig.scale * max(armature.matrix_world.to_scale()) else flesh


def floor(context: bpy.types.Context, armature: bpy.types.Object, rig: Fit) -> float:
    """World height of the ground that the rig stands on at rest."""
    if apply.bound_meshes(context, armature):
        return apply.floor_height(context, armature)
    return _world_height(armature, rig, rig.ground)


def _world_height(armature: bpy.types.Object, rig: Fit, height: float) -> float:
    from mathutils import Vector

    return (armature.matrix_world @ Vector(rig.basis[:, 1] * height)).z


def _lift(context: bpy.types.Context, armature: bpy.types.Object, rig: Fit, up: float) -> list[str]:
    """Moves the body straight up in the world; -> the bone that was moved, if it lets itself be moved."""
    bone = armature.pose.bones[rig.mover]
    if bone.bone.use_connect or all(bone.lock_location):
        return []
    apply.move_bone(armature, rig.mover, (0.0, 0.0, up))
    context.view_layer.update()
    return [rig.mover]


def joint_places(armature: bpy.types.Object, rig: Fit) -> dict[str, Array]:
    """Joint -> (3,) where the posed rig has it, in SMPL-X's axes and the rig's units; for drawing it."""
    bones = armature.pose.bones
    heads = {joint: bones[chain[0]].head for joint, chain in rig.rigmap.bones.items()}
    trunk = [bones[name].head for name in rig.rigmap.spine]
    for joint, at in zip(("spine1", "spine2", "spine3"), np.linspace(0, len(trunk) - 1, 3).round(), strict=True):
        if trunk:
            heads[joint] = trunk[int(at)]
    if rig.rigmap.neck:
        heads["neck"] = bones[rig.rigmap.neck[0]].head
    places = {joint: np.array(head) @ rig.basis for joint, head in heads.items()}
    if "head" in heads:
        name = rig.rigmap.bones["head"][0]
        turn = _posed(armature, rig)[name] @ rig.bones[name].matrix[:3, :3].T
        places["crown"] = places["head"] + (turn @ rig.basis @ (0.0, 0.08 * rig.scale, 0.02 * rig.scale)) @ rig.basis
    return places
