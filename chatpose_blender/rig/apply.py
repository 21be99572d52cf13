"""Puts a pose on an armature with SMPL-X's joints, and reads one off it. Writes pose channels only.

What a bone's rest axes are does not matter: with M the bone's rest and B SMPL-X's axes in the armature's space, a
joint's rotation R is the bone rotation q = M^-1 B R B^-1 M. Knows nothing of networks, operators or other rig
families.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from . import frames, smplx
from . import rotations as rot
from .rotations import Array

if TYPE_CHECKING:
    import bpy

Quat: TypeAlias = tuple[float, float, float, float]
Quats: TypeAlias = Mapping[str, Quat]

MIN_JOINTS: Final = 20  # of the 22 body joints; an armature with fewer is another family's
_CHANNELS: Final = ("location", "rotation_quaternion", "rotation_axis_angle", "rotation_euler", "scale")
_FLOOR_TOLERANCE: Final = 0.05  # of the body's height: rest soles so near to the object's origin stand on it
_UPRIGHT: Final = 1e-6  # of an axis may point aside while its box still says how low the mesh is


class RigError(ValueError):
    """An armature that cannot be posed. The text is one sentence for the artist."""


@dataclass(frozen=True)
class Options:
    """How a pose is put on a rig.

    ``joints``: only these, None for all. ``strength`` 0..1: the way from the rig's pose to the new one. ``mirror``:
    left and right swapped. ``facing``: ``KEEP`` the rig's heading or take the ``MODEL``'s. ``turn``: radians to the
    left on top. ``height``: put the lowest point on the ``GROUND`` or ``KEEP`` the pelvis where it is. ``hands``:
    ``KEEP`` what the pose and the rig say, or make them ``RELAXED`` or ``FLAT``. ``to_forward``: limbs that IK moves
    are switched to FK, so that the pose shows there.
    """

    joints: frozenset[str] | None = None
    strength: float = 1.0
    mirror: bool = False
    facing: str = "KEEP"
    turn: float = 0.0
    height: str = "GROUND"
    hands: str = "KEEP"
    to_forward: bool = False


@dataclass(frozen=True)
class Binding:
    """An armature's bones by SMPL-X joint, with what turns the one's rotations into the other's.

    ``names``: J joints, ``bones``: J bone names, ``turn`` (J, 4): M^-1 B of each bone as a quaternion, ``basis``
    (3, 3): SMPL-X's axes in armature space.
    """

    names: tuple[str, ...]
    bones: tuple[str, ...]
    turn: Array
    basis: Array

    @property
    def pelvis(self) -> str:
        """The pelvis' bone."""
        return self.bones[self.names.index("pelvis")]


def joint_bones(armature: bpy.types.Object) -> dict[str, str]:
    """SMPL-X joint -> bone name, for bones that carry the joints' own names."""
    bones = armature.data.bones
    found = {name: name for name in smplx.JOINTS if name in bones}
    for joint, other in smplx.SMPLH_EYES.items():
        if joint not in found and other in bones:
            found[joint] = other
    return found


def is_smplx(armature: bpy.types.Object | None) -> bool:
    """Whether ``bind`` will take this object."""
    if armature is None or armature.type != "ARMATURE":
        return False
    bones = armature.data.bones
    return sum(name in bones for name in smplx.BODY_JOINTS) >= MIN_JOINTS and "pelvis" in bones


def bind(armature: bpy.types.Object) -> Binding:
    """Measures an armature with SMPL-X's bone names. Raises RigError for any other."""
    if not is_smplx(armature):
        raise RigError(f"'{armature.name}' has no SMPL-X bones; add the SMPL-X body or choose another armature.")
    by_joint = joint_bones(armature)
    bones = armature.data.bones
    basis = frames.measure({name: bones[bone].head_local for name, bone in by_joint.items()})
    rests = np.array([[row[:3] for row in bones[bone].matrix_local[:3]] for bone in by_joint.values()])
    turn = rot.from_matrot(np.swapaxes(rests, -1, -2) @ basis)
    return Binding(tuple(by_joint), tuple(by_joint.values()), turn, basis)


def read_pose(armature: bpy.types.Object, binding: Binding | None = None) -> dict[str, Quat]:
    """The rig's pose as local joint rotations in SMPL-X's frame, by joint name."""
    binding = binding or bind(armature)
    pose_bones = armature.pose.bones
    local = np.array([get_quat(pose_bones[bone]) for bone in binding.bones])
    quats = rot.unit(rot.multiply(rot.multiply(rot.conjugate(binding.turn), local), binding.turn))
    return {name: tuple(q) for name, q in zip(binding.names, quats.tolist(), strict=True)}


def mirrored(joints: Quats) -> dict[str, Quat]:
    """The pose in a mirror."""
    return {smplx.mirror_name(name): (w, x, -y, -z) for name, (w, x, y, z) in joints.items()}


def mixed(now: Quats, joints: Quats, options: Options) -> dict[str, Quat]:
    """The joint rotations to write: the new pose as the options want it, over the rig's pose ``now``.

    Joints that the pose does not speak for, or that are not asked for, are left out.
    """
    wanted = mirrored(joints) if options.mirror else dict(joints)
    if "pelvis" in wanted:
        wanted["pelvis"] = tuple(_faced(now.get("pelvis", rot.IDENTITY), wanted["pelvis"], options).tolist())
    wanted |= hands(options.hands)
    keep = options.joints
    names = [name for name in wanted if name in now and (keep is None or name in keep)]
    if not names:
        return {}
    before = np.array([now[name] for name in names])
    after = np.array([wanted[name] for name in names])
    quats = rot.slerp(before, after, np.full(len(names), options.strength))
    return {name: tuple(q) for name, q in zip(names, quats.tolist(), strict=True)}


def write_pose(armature: bpy.types.Object, joints: Quats, binding: Binding | None = None) -> tuple[str, ...]:
    """Writes joint rotations into the bones, each in its own rotation mode; -> the bones written."""
    binding = binding or bind(armature)
    index = {name: i for i, name in enumerate(binding.names)}
    names = [name for name in joints if name in index]
    if not names:
        return ()
    turn = binding.turn[[index[name] for name in names]]
    local = rot.multiply(rot.multiply(turn, np.array([joints[name] for name in names])), rot.conjugate(turn))
    bones = tuple(binding.bones[index[name]] for name in names)
    for bone, quat in zip(bones, local.tolist(), strict=True):
        set_quat(armature.pose.bones[bone], quat)
    return bones


def apply_pose(
    context: bpy.types.Context, armature: bpy.types.Object, joints: Quats, options: Options
) -> tuple[str, ...]:
    """Poses an armature; -> the bones written. Does not push an undo step."""
    binding = bind(armature)
    wanted = mixed(read_pose(armature, binding), joints, options)
    if not wanted:
        return ()
    moves_legs = options.joints is None or bool(options.joints & smplx.PARTS["LOWER"])
    grounds = options.height == "GROUND" and moves_legs  # a change of the arms alone must not lift the feet
    before = lowest(context, armature) if grounds and options.strength < 1 else 0.0
    bones = write_pose(armature, wanted, binding)
    if grounds:
        _ground(context, armature, binding, before, options.strength)
    return bones


@dataclass(frozen=True)
class Snapshot:
    """Every pose channel of an armature, exactly: bone name -> location, quaternion, axis-angle, euler, scale."""

    channels: Mapping[str, tuple[tuple[float, ...], ...]]


def snapshot(armature: bpy.types.Object) -> Snapshot:
    """What ``restore`` puts back bit by bit."""
    return Snapshot(
        {bone.name: tuple(tuple(getattr(bone, name)) for name in _CHANNELS) for bone in armature.pose.bones}
    )


def restore(armature: bpy.types.Object, before: Snapshot) -> None:
    """Puts every channel back; bones that are gone are skipped."""
    for name, values in before.channels.items():
        bone = armature.pose.bones.get(name)
        if bone is not None:
            for channel, value in zip(_CHANNELS, values, strict=True):
                setattr(bone, channel, value)


# -- a bone's own rotation mode --------------------------------------------------------------------------------------


def get_quat(bone: bpy.types.PoseBone) -> Quat:
    """A pose bone's rotation, whatever its mode."""
    if bone.rotation_mode == "QUATERNION":
        q = bone.rotation_quaternion.normalized()
    elif bone.rotation_mode == "AXIS_ANGLE":
        from mathutils import Quaternion

        angle, *axis = bone.rotation_axis_angle
        q = Quaternion(axis, angle)
    else:
        q = bone.rotation_euler.to_quaternion()
    return (q.w, q.x, q.y, q.z)


def set_quat(bone: bpy.types.PoseBone, quat: Quat | list[float]) -> None:
    """Sets a pose bone's rotation in its own mode, on the side nearest to what it was, and never changes the mode."""
    from mathutils import Quaternion

    q = Quaternion(quat)
    if bone.rotation_mode == "QUATERNION":
        if q.dot(bone.rotation_quaternion) < 0:
            q.negate()
        bone.rotation_quaternion = q
    elif bone.rotation_mode == "AXIS_ANGLE":
        axis, angle = q.to_axis_angle()
        bone.rotation_axis_angle = (angle, *axis)
    else:
        bone.rotation_euler = q.to_euler(bone.rotation_mode, bone.rotation_euler)


def rotation_path(bone: bpy.types.PoseBone) -> str:
    """The property that holds the rotation in the bone's own mode."""
    modes = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}
    return modes.get(bone.rotation_mode, "rotation_euler")


# -- facing, hands ---------------------------------------------------------------------------------------------------


def _faced(now: tuple[float, ...], wanted: tuple[float, ...], options: Options) -> Array:
    """The pelvis' rotation with the heading that the options want. Heading is the twist about SMPL-X's y."""
    quat = np.asarray(wanted)
    if options.facing == "KEEP":
        quat = rot.multiply(rot.multiply(rot.twist(now, 1), rot.conjugate(rot.twist(quat, 1))), quat)
    return rot.multiply(rot.from_rotvec((0.0, options.turn, 0.0)), quat)


_RELAXED_CURL: Final = {1: 0.35, 2: 0.45, 3: 0.3}  # radians by finger joint: a hand that hangs, by eye
_RELAXED_BY_FINGER: Final = {"index": 0.75, "middle": 0.95, "ring": 1.1, "pinky": 1.2, "thumb": 0.35}


def hands(kind: str) -> dict[str, Quat]:
    """Finger rotations for ``FLAT`` and ``RELAXED``; nothing for ``KEEP``."""
    if kind == "FLAT":
        return dict.fromkeys(smplx.HAND_JOINTS, rot.IDENTITY)
    if kind != "RELAXED":
        return {}
    quats: dict[str, Quat] = {}
    for side, sign in (("left", -1.0), ("right", 1.0)):
        for finger in smplx.FINGERS:
            for i in (1, 2, 3):
                angle = _RELAXED_CURL[i] * _RELAXED_BY_FINGER[finger]
                axis = (0.0, sign * 0.7, 0.0) if finger == "thumb" else (0.0, 0.0, sign)
                quats[f"{side}_{finger}{i}"] = tuple(rot.from_rotvec(np.multiply(axis, angle)).tolist())
    return quats


# -- height ----------------------------------------------------------------------------------------------------------


def _ground(
    context: bpy.types.Context, armature: bpy.types.Object, binding: Binding, before: float, strength: float
) -> None:
    """Moves the pelvis straight up or down until the lowest point of the body is on the floor.

    At less than full strength the lowest point goes that part of the way from where it was ``before``.
    """
    low, rest = _lowest(context, armature)
    floor = _floor(armature, rest)
    goal = floor if strength >= 1 else before + (floor - before) * strength
    move_bone(armature, binding.pelvis, (0.0, 0.0, goal - low))  # evaluated with the next redraw, not in this tick


def lowest(context: bpy.types.Context, armature: bpy.types.Object) -> float:
    """World z of the lowest point of the meshes that the armature moves, or of its bones."""
    return _lowest(context, armature)[0]


def floor_height(context: bpy.types.Context, armature: bpy.types.Object) -> float:
    """World z of the floor: where the body stands at rest if that is near the object's origin, else 0."""
    return _floor(armature, _lowest(context, armature)[1])


def _floor(armature: bpy.types.Object, rest_lowest: float) -> float:
    origin = armature.matrix_world.translation.z
    heights = [(armature.matrix_world @ bone.head_local).z for bone in armature.data.bones]
    stands_on_origin = abs(rest_lowest - origin) <= _FLOOR_TOLERANCE * (max(heights) - min(heights))
    return rest_lowest if stands_on_origin else 0.0


def _lowest(context: bpy.types.Context, armature: bpy.types.Object) -> tuple[float, float]:
    """World z of the lowest point now and at rest, of the meshes that the armature moves, or of its bones."""
    context.view_layer.update()
    depsgraph = context.evaluated_depsgraph_get()
    now: list[float] = []
    rest: list[float] = []
    for mesh in bound_meshes(context, armature):
        count = len(mesh.data.vertices)
        evaluated = mesh.evaluated_get(depsgraph)
        if count == 0 or len(evaluated.data.vertices) == 0:
            continue
        now.append(_lowest_now(evaluated))
        rest.append(_lowest_vertex(mesh.data, mesh.matrix_world))
    if now:
        return min(now), min(rest)
    world = armature.matrix_world
    posed = [(world @ point).z for bone in armature.pose.bones for point in (bone.head, bone.tail)]
    resting = [(world @ point).z for bone in armature.data.bones for point in (bone.head_local, bone.tail_local)]
    return min(posed), min(resting)


def bound_meshes(context: bpy.types.Context, armature: bpy.types.Object) -> list[bpy.types.Object]:
    """Visible meshes with an armature modifier for this armature."""
    return [
        ob
        for ob in context.view_layer.objects
        if ob.type == "MESH"
        and ob.visible_get()
        and any(m.type == "ARMATURE" and m.object == armature and m.show_viewport for m in ob.modifiers)
    ]


def _lowest_now(evaluated: bpy.types.Object) -> float:
    """From Blender's own bounding box, which is exact where one axis of the mesh points up: 1 ms less than by skin."""
    row = evaluated.matrix_world[2]
    if np.count_nonzero(np.abs(row[:3]) > _UPRIGHT * max(map(abs, row[:3]))) > 1:
        return _lowest_vertex(evaluated.data, evaluated.matrix_world)
    return min(sum(a * b for a, b in zip(row, (*corner, 1.0), strict=True)) for corner in evaluated.bound_box)


def _lowest_vertex(mesh: bpy.types.Mesh, world: object) -> float:
    co = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", co)
    row = np.array(world[2])  # type: ignore[index]
    return float((co.reshape(-1, 3) @ row[:3].astype(np.float32)).min() + row[3])


def move_bone(armature: bpy.types.Object, bone_name: str, offset: tuple[float, float, float]) -> None:
    """Moves a bone by ``offset`` in world space through its own location; locked axes stay as they are."""
    bone = armature.pose.bones[bone_name]
    frame = bone.bone.matrix_local
    if bone.parent is not None:
        frame = bone.parent.matrix @ bone.parent.bone.matrix_local.inverted_safe() @ frame
    local = (armature.matrix_world @ frame).to_3x3().inverted_safe() @ _vector(offset)
    for axis in range(3):
        if not bone.lock_location[axis]:
            bone.location[axis] += local[axis]


def _vector(value: object) -> object:
    from mathutils import Vector

    return Vector(value)  # type: ignore[arg-type]
