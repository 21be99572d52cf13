"""Poses on armatures: any rest axes, scale, up axis and rotation mode, tested against forward kinematics."""

from __future__ import annotations

import math

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose.rig import apply, body, frames, smplx
from bl_ext.dev.chatpose.rig import rotations as rot
from mathutils import Matrix, Vector

RNG = np.random.default_rng(11)
POSE = {
    name: tuple(rot.from_rotvec(RNG.normal(size=3) * 0.4).tolist()) for name in (*smplx.BODY_JOINTS, *smplx.HAND_JOINTS)
}


@pytest.fixture(scope="module")
def file():
    return body.load_body(str(body.STANDIN_FILE))


@pytest.fixture
def ours(addon, file):
    return body.make_body(bpy.context, file)


def _smplx_addon_rig(file, *, y_up: bool):
    """The SMPL-X add-on's layout: a root bone, bones that all point one way, centimetres in an object of scale 0.01.

    ``y_up``: the armature's own space is SMPL-X's and the object is turned upright; else it is upright itself.
    """
    data = bpy.data.armatures.new("SMPLX-female")
    rig = bpy.data.objects.new("SMPLX-female", data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    basis = np.eye(3) if y_up else frames.Z_UP
    root = data.edit_bones.new("root")
    root.head, root.tail = (0, 0, 0), Vector(basis @ [0, 10, 0])
    for name, joint in zip(smplx.JOINTS, file.joints, strict=True):
        bone = data.edit_bones.new(name)
        bone.head = Vector(basis @ (joint * 100.0))
        bone.tail = bone.head + Vector(basis @ [0, 10, 0])
        bone.align_roll(Vector(basis @ [0, 0, 1]))
        bone.parent = data.edit_bones[smplx.PARENT.get(name, "root")]
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.scale = (0.01, 0.01, 0.01)
    if y_up:
        rig.rotation_euler = (math.pi / 2, 0, 0)
    return rig


def _twisted(rig):
    """Every bone rolled by its own odd angle."""
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for i, bone in enumerate(rig.data.edit_bones):
        bone.roll += 0.7 + i
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig


def _expected(file, joints) -> np.ndarray:
    """(55, 3) SMPL-X forward kinematics by definition, pelvis at the origin, in Blender's frame."""
    at, turned = {}, {}
    for i, name in enumerate(smplx.JOINTS):
        local = rot.to_matrot(joints.get(name, rot.IDENTITY))
        if name == "pelvis":
            at[name], turned[name] = np.zeros(3), local
        else:
            parent = smplx.PARENT[name]
            offset = file.joints[i] - file.joints[smplx.JOINTS.index(parent)]
            at[name], turned[name] = at[parent] + turned[parent] @ offset, turned[parent] @ local
    return frames.to_blender(np.array([at[name] for name in smplx.JOINTS]))


def _actual(rig) -> np.ndarray:
    """(55, 3) where the bones are in the world, relative to the pelvis."""
    bpy.context.view_layer.update()
    heads = np.array([rig.matrix_world @ rig.pose.bones[name].head for name in smplx.JOINTS])
    return heads - heads[0]


RIGS = {
    "ours": lambda file: body.make_body(bpy.context, file),
    "ours, odd rolls": lambda file: _twisted(body.make_body(bpy.context, file)),
    "SMPL-X add-on, z up": lambda file: _smplx_addon_rig(file, y_up=False),
    "SMPL-X add-on, y up": lambda file: _smplx_addon_rig(file, y_up=True),
    "SMPL-X add-on, odd rolls": lambda file: _twisted(_smplx_addon_rig(file, y_up=True)),
}


@pytest.mark.parametrize("rig", RIGS)
def test_bones_go_where_forward_kinematics_says(file, rig):
    armature = RIGS[rig](file)
    apply.apply_pose(bpy.context, armature, POSE, apply.Options(facing="MODEL"))
    assert np.abs(_actual(armature) - _expected(file, POSE)).max() < 2e-5


@pytest.mark.parametrize("rig", RIGS)
def test_what_was_written_is_read(file, rig):
    armature = RIGS[rig](file)
    apply.apply_pose(bpy.context, armature, POSE, apply.Options(facing="MODEL"))
    read = apply.read_pose(armature)
    assert max(rot.angle_between(read[name], POSE[name]) for name in POSE) < 1e-3


@pytest.mark.parametrize("rig", RIGS)
def test_the_rest_pose_is_the_identity(file, rig):
    armature = RIGS[rig](file)
    assert max(rot.angle_between(q, rot.IDENTITY) for q in apply.read_pose(armature).values()) < 1e-6


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "ZXY", "AXIS_ANGLE"])
def test_every_rotation_mode_and_none_is_changed(ours, file, mode):
    for bone in ours.pose.bones:
        bone.rotation_mode = mode
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(facing="MODEL"))
    assert {bone.rotation_mode for bone in ours.pose.bones} == {mode}
    assert np.abs(_actual(ours) - _expected(file, POSE)).max() < 2e-5


def test_quaternions_stay_on_their_side(ours):
    ours.pose.bones["head"].rotation_quaternion = (-1, 0, 0, 0)
    apply.write_pose(ours, {"head": tuple(rot.from_rotvec((0.2, 0, 0)).tolist())})
    assert ours.pose.bones["head"].rotation_quaternion.w < 0


def test_the_rest_pose_and_everything_else_is_left_alone(ours):
    before = {bone.name: bone.matrix_local.copy() for bone in ours.data.bones}
    scale = [bone.scale.copy() for bone in ours.pose.bones]
    place = ours.matrix_world.copy()
    apply.apply_pose(bpy.context, ours, POSE, apply.Options())
    assert {bone.name: bone.matrix_local for bone in ours.data.bones} == before
    assert [bone.scale for bone in ours.pose.bones] == scale and ours.matrix_world == place


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", smplx.PARTS)
def test_parts_touch_nothing_else(ours, part):
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(joints=smplx.PARTS[part], height="KEEP"))
    changed = {name for name, q in apply.read_pose(ours).items() if rot.angle_between(q, rot.IDENTITY) > 1e-6}
    assert changed == smplx.PARTS[part] & set(POSE)


@pytest.mark.parametrize(("strength", "share"), [(0.0, 0.0), (0.25, 0.25), (1.0, 1.0)])
def test_strength_is_the_share_of_the_way(ours, strength, share):
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(strength=strength, facing="MODEL", height="KEEP"))
    read = apply.read_pose(ours)
    for name, quat in POSE.items():
        assert math.isclose(
            rot.angle_between(read[name], rot.IDENTITY), share * rot.angle_between(quat, rot.IDENTITY), abs_tol=1e-3
        )


def test_no_strength_is_no_change_at_all(ours):
    ours.pose.bones["pelvis"].location = (0.1, 0.5, 0.2)
    before = np.array([bone.matrix_basis for bone in ours.pose.bones])
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(strength=0.0))
    assert np.abs(np.array([bone.matrix_basis for bone in ours.pose.bones]) - before).max() < 1e-5


def test_mirror_is_the_pose_seen_in_a_mirror(ours, file):
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(mirror=True, facing="MODEL"))
    order = [smplx.JOINTS.index(smplx.mirror_name(name)) for name in smplx.JOINTS]
    reflected = _expected(file, POSE)[order] * [-1, 1, 1]
    assert np.abs(_actual(ours) - reflected).max() < 0.04  # the stand-in itself is not quite symmetric


def _heading(rig) -> float:
    """Degrees that the character is turned to its left, by where its hips are."""
    bpy.context.view_layer.update()
    bones = rig.pose.bones
    across = rig.matrix_world.to_3x3() @ (bones["left_hip"].head - bones["right_hip"].head)
    return math.degrees(math.atan2(across.y, across.x))


TURNED = {"pelvis": tuple(rot.from_rotvec((0, math.radians(70), 0)).tolist())}
HEADINGS = [
    # before, facing, turn, after
    (0, "MODEL", 0, 70),
    (0, "KEEP", 0, 0),
    (30, "KEEP", 0, 30),
    (30, "MODEL", 0, 70),
    (30, "KEEP", 20, 50),
    (-120, "KEEP", 0, -120),
]


@pytest.mark.parametrize(("before", "facing", "turn", "after"), HEADINGS)
def test_facing(ours, before, facing, turn, after):
    apply.write_pose(ours, {"pelvis": tuple(rot.from_rotvec((0, math.radians(before), 0)).tolist())})
    apply.apply_pose(bpy.context, ours, TURNED, apply.Options(facing=facing, turn=math.radians(turn)))
    assert _heading(ours) == pytest.approx(after, abs=1.0)


@pytest.mark.parametrize("hands", ["FLAT", "RELAXED", "KEEP"])
def test_hands(ours, hands):
    fist = {name: tuple(rot.from_rotvec((0.3, 0.3, 0.3)).tolist()) for name in smplx.HAND_JOINTS}
    apply.write_pose(ours, fist)
    apply.apply_pose(bpy.context, ours, {"head": rot.IDENTITY}, apply.Options(hands=hands))
    read = apply.read_pose(ours)
    curl = {name: float(rot.angle_between(read[name], rot.IDENTITY)) for name in smplx.HAND_JOINTS}
    if hands == "FLAT":
        assert max(curl.values()) < 1e-6
    elif hands == "KEEP":
        assert max(rot.angle_between(read[name], fist[name]) for name in fist) < 1e-3
    else:
        fingertips = _actual(ours)[smplx.JOINTS.index("left_pinky3")]
        flat = _expected(body.load_body(str(body.STANDIN_FILE)), {})[smplx.JOINTS.index("left_pinky3")]
        assert fingertips[2] < flat[2] - 0.015, "relaxed fingers curl towards the palm, which faces down in a T-pose"


def _lowest(rig) -> float:
    bpy.context.view_layer.update()
    depsgraph = bpy.context.evaluated_depsgraph_get()
    mesh = next(ob for ob in bpy.data.objects if ob.type == "MESH").evaluated_get(depsgraph)
    return min((mesh.matrix_world @ vertex.co).z for vertex in mesh.data.vertices)


CROUCH = {
    f"{side}_{joint}": tuple(rot.from_rotvec((angle, 0, 0)).tolist())
    for side in ("left", "right")
    for joint, angle in (("hip", -1.6), ("knee", 2.2), ("ankle", -0.6))
}


@pytest.mark.parametrize(
    "place",
    [Matrix.Identity(4), Matrix.Translation((3, 2, 1.5)), Matrix.Scale(2.0, 4), Matrix.Rotation(1.0, 4, "Z")],
    ids=["origin", "on a roof", "twice as tall", "turned"],
)
def test_feet_are_on_the_ground(ours, place):
    ours.matrix_world = place
    apply.apply_pose(bpy.context, ours, CROUCH, apply.Options())
    assert _lowest(ours) == pytest.approx(place.translation.z, abs=0.001)


@pytest.mark.parametrize("turn", [(0, 0, 0), (0, 0, 1.0), (math.pi / 2, 0, 0.3), (0.4, 0.2, 1.0)])
def test_the_lowest_point_is_a_vertex_however_the_object_lies(ours, turn):
    """By Blender's bounding box where that is exact, by the skin where it is not."""
    ours.rotation_euler, ours.scale = turn, (1.5, 1.5, 1.5)
    apply.apply_pose(bpy.context, ours, CROUCH | POSE, apply.Options(height="KEEP"))
    assert apply.lowest(bpy.context, ours) == pytest.approx(_lowest(ours), abs=2e-6)


def test_height_keep_leaves_the_pelvis(ours):
    apply.apply_pose(bpy.context, ours, CROUCH, apply.Options(height="KEEP"))
    assert tuple(ours.pose.bones["pelvis"].location) == (0, 0, 0)


def test_arms_alone_do_not_move_the_feet(ours):
    apply.apply_pose(bpy.context, ours, CROUCH, apply.Options())
    pelvis = ours.pose.bones["pelvis"].location.copy()
    apply.apply_pose(bpy.context, ours, POSE, apply.Options(joints=smplx.PARTS["ARMS"]))
    assert ours.pose.bones["pelvis"].location == pelvis


def test_locked_axes_stay(ours):
    ours.pose.bones["pelvis"].lock_location = (True, True, True)
    apply.apply_pose(bpy.context, ours, CROUCH, apply.Options())
    assert tuple(ours.pose.bones["pelvis"].location) == (0, 0, 0)


def test_a_rig_without_a_mesh_is_grounded_by_its_bones(file):
    rig = _smplx_addon_rig(file, y_up=True)
    apply.apply_pose(bpy.context, rig, CROUCH, apply.Options())
    bpy.context.view_layer.update()
    feet = min((rig.matrix_world @ rig.pose.bones[f"{side}_foot"].head).z for side in ("left", "right"))
    assert -1e-6 <= feet < 0.1


def test_another_armature_is_refused_in_one_sentence(addon):
    bpy.ops.object.armature_add()
    with pytest.raises(apply.RigError, match=r"has no SMPL-X bones; .*\.$"):
        apply.bind(bpy.context.object)


# -- the body ----------------------------------------------------------------------------------------------------------


def test_the_body_stands_on_the_cursor_and_faces_the_front_view(file):
    bpy.context.scene.cursor.location = (1, 2, 3)
    rig = body.make_body(bpy.context, file)
    assert rig.name == "ChatPose Body" and tuple(rig.location) == (1, 2, 3)
    assert _lowest(rig) == pytest.approx(3.0, abs=1e-5)
    bones = rig.data.bones
    assert bones["left_wrist"].head_local.x > 0.5 > -0.5 > bones["right_wrist"].head_local.x
    assert bones["left_foot"].tail_local.y < bones["left_ankle"].head_local.y, "toes point ahead, which is -y"
    assert sorted(bones.keys()) == sorted(smplx.JOINTS)


def test_bones_point_along_the_limbs(ours):
    bones = ours.data.bones
    for name, child in body.MAIN_CHILD.items():
        assert (bones[name].tail_local - bones[child].head_local).length < 1e-5


def test_skin_weights_are_the_files(ours, file):
    mesh = bpy.data.objects["ChatPose Body Mesh"]
    for v in range(0, len(file.vertices), 1999):
        groups = {mesh.vertex_groups[g.group].name: g.weight for g in mesh.data.vertices[v].groups}
        for j, name in enumerate(smplx.JOINTS):
            assert groups.get(name, 0.0) == pytest.approx(file.weights[v, j], abs=2e-3)


def test_the_mesh_is_sound(ours):
    mesh = bpy.data.objects["ChatPose Body Mesh"]
    assert not mesh.data.validate(verbose=False)
    assert mesh.data.uv_layers and all(polygon.use_smooth for polygon in mesh.data.polygons)


@pytest.mark.parametrize(
    ("content", "sentence"), [(b"", "cannot be read|damaged"), (b"PK\x05\x06" + b"\0" * 18, "lacks v_template")]
)
def test_body_files_that_are_none(tmp_path, content, sentence):
    path = tmp_path / "body.npz"
    path.write_bytes(content)
    with pytest.raises(body.BodyFileError, match=sentence):
        body.load_body(str(path))
    with pytest.raises(body.BodyFileError, match="cannot be read"):
        body.load_body(str(tmp_path / "none.npz"))
