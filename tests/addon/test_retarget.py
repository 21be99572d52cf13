"""Rigs of every family, as Blender evaluates them, point where the SMPL-X body points; the real Rigify included."""

from __future__ import annotations

import json
import math

import addon_utils
import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose.rig import apply, keyframes, recognise, retarget, rigmap, smplx
from bl_ext.dev.chatpose.rig import armature as rigs
from bl_ext.dev.chatpose.rig import rotations as rot
from bl_ext.dev.chatpose.rig.rest_pose import REST
from mathutils import Quaternion, Vector

from tests import figures
from tests.addon.rigs import build

MODEL = apply.Options(facing="MODEL")
SPREAD = {"pelvis": 0.9, "hip": 0.6, "knee": 0.6, "shoulder": 0.7, "elbow": 0.7, "ankle": 0.3, "collar": 0.2}


def _pose(seed):
    rng = np.random.default_rng(seed)
    joints = (*smplx.BODY_JOINTS, *smplx.HAND_JOINTS)
    return {j: tuple(rot.from_rotvec(rng.normal(size=3) * SPREAD.get(j.split("_")[-1], 0.25)).tolist()) for j in joints}


def _body(pose):
    """Joint -> posed place, by mathutils: nothing of the code under test."""
    turned, places = {}, {}
    for joint in smplx.JOINTS:
        local = Quaternion(pose.get(joint, (1, 0, 0, 0)))
        if joint in smplx.PARENT:
            parent = smplx.PARENT[joint]
            places[joint] = places[parent] + turned[parent] @ Vector(REST[joint] - REST[parent])
            turned[joint] = turned[parent] @ local
        else:
            places[joint], turned[joint] = Vector(REST[joint]), local
    return places


def _worst_angle(ob, rig, pose, bone_of=lambda name: name):
    """Degrees, in the world: armature object, its scale and rotation included."""
    places = _body(pose)
    world = ob.matrix_world.to_3x3() @ _matrix(rig.basis)
    worst = 0.0
    for joint, tip in retarget.LIMB_TIP.items():
        if joint in rig.rigmap.bones and tip in rig.rigmap.bones and not joint.endswith("ankle"):
            ends = [ob.pose.bones[bone_of(rig.rigmap.bones[j][0])].head for j in (joint, tip)]
            mine = ob.matrix_world @ ends[1] - ob.matrix_world @ ends[0]
            worst = max(worst, math.degrees(mine.angle(world @ (places[tip] - places[joint]))))
    return worst


def _matrix(array):
    from mathutils import Matrix

    return Matrix(array.tolist())


FIGURES = [
    ("mixamo", {"rest": "A", "rolls": 4}),
    ("mixamo", {"rest": "T", "rolls": 4, "axes": "Y", "scale": 100.0, "tails": False}),
    ("unreal_5", {"rest": "A", "rolls": 5}),
    ("vrm", {"rest": "T", "rolls": 6, "axes": "Z+Y"}),
    ("daz_genesis_3_8", {"rest": "A", "rolls": 7}),
    ("character_creator", {"rest": "A", "rolls": 8}),
    ("makehuman", {"rest": "A", "rolls": 9}),
    ("rigify_metarig", {"rest": "A", "rolls": 10}),
    ("smpl", {"rest": "A", "rolls": 11}),
    ("one_spine_bone", {"rest": "T", "rolls": 12}),
]


@pytest.mark.parametrize(("name", "options"), FIGURES, ids=[f"{n}-{o['rest']}" for n, o in FIGURES])
def test_limbs_point_the_way_of_the_body(addon, name, options):
    ob = build(figures.figure(name, **options))
    ob.scale = (0.7, 0.7, 0.7) if "scale" not in options else (0.01, 0.01, 0.01)
    ob.rotation_euler = (math.pi / 2, 0, 0) if options.get("axes") == "Y" else (0, 0, 1.1)
    for bone, mode in zip(ob.pose.bones, ["QUATERNION", "XYZ", "AXIS_ANGLE", "ZYX"] * 40, strict=False):
        bone.rotation_mode = mode
    before = _untouched(ob)
    rig = rigs.bind(ob)
    for seed in range(3):
        pose = _pose(seed)
        done = rigs.apply_to_armature(bpy.context, ob, pose, MODEL, rig)
        assert _worst_angle(ob, rig, pose) < 0.05
        assert done.notes == ()
        assert set(done.bones) <= set(rig.rigmap.names())
        height = rigs.height(bpy.context, ob, rig)
        assert height == pytest.approx(rigs.floor(bpy.context, ob, rig), abs=1e-4), "it stands on the ground"
    assert _untouched(ob) == before


def _untouched(ob):
    """What posing must not change: modes, rest bones, constraints, drivers, other bones."""
    rests = tuple(tuple(v for row in bone.matrix_local for v in row) for bone in ob.data.bones)
    kinds = tuple((b.name, b.rotation_mode, len(b.constraints), b.bone.use_inherit_rotation) for b in ob.pose.bones)
    return rests, kinds, len(ob.animation_data.drivers) if ob.animation_data else 0


def test_the_skin_stands_on_the_ground(addon):
    """With a mesh, its lowest vertex decides: 5 mm are allowed, it is far less."""
    ob = build(figures.figure("mixamo", rest="A"))
    mesh = bpy.data.meshes.new("Skin")
    bones = list(ob.data.bones)
    mesh.from_pydata([p for b in bones for p in (b.head_local, b.tail_local)], [], [])
    skin = bpy.data.objects.new("Skin", mesh)
    bpy.context.collection.objects.link(skin)
    for i, bone in enumerate(bones):
        skin.vertex_groups.new(name=bone.name).add([2 * i, 2 * i + 1], 1.0, "ADD")
    skin.modifiers.new("Armature", "ARMATURE").object = ob
    rest_low = min(v.co.z for v in mesh.vertices)
    for seed in range(3):
        rigs.apply_to_armature(bpy.context, ob, _pose(seed), MODEL)
        evaluated = skin.evaluated_get(bpy.context.evaluated_depsgraph_get())
        assert min((skin.matrix_world @ v.co).z for v in evaluated.data.vertices) == pytest.approx(rest_low, abs=1e-4)


def test_a_shadow_on_the_floor_does_not_hold_the_body_up(addon):
    """A mesh on the root bone stays on the ground whatever the pose: the soles decide then."""
    ob = build(figures.figure("unreal_4"))
    mesh = bpy.data.meshes.new("Shadow")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    shadow = bpy.data.objects.new("Shadow", mesh)
    bpy.context.collection.objects.link(shadow)
    shadow.vertex_groups.new(name="root").add([0, 1, 2], 1.0, "ADD")
    shadow.modifiers.new("Armature", "ARMATURE").object = ob
    rig = rigs.bind(ob)
    kneeling = {
        **dict.fromkeys(smplx.BODY_JOINTS, (1.0, 0.0, 0.0, 0.0)),
        **{f"{side}_knee": tuple(rot.from_rotvec((math.radians(90), 0, 0)).tolist()) for side in ("left", "right")},
    }
    rigs.apply_to_armature(bpy.context, ob, kneeling, MODEL, rig)
    posed = {name: np.array(ob.pose.bones[name].matrix) for name in rig.order}
    assert retarget.lowest(rig, posed) == pytest.approx(0.0, abs=1e-4)


def test_strength_mirror_and_parts(addon):
    ob = build(figures.figure("unreal_5", rest="A", rolls=3))  # its five spine bones cannot be read back exactly
    pose = _pose(1)
    before = [apply.get_quat(bone) for bone in ob.pose.bones]
    rigs.apply_to_armature(bpy.context, ob, pose, apply.Options(facing="MODEL", strength=0.0))
    assert np.abs(np.array([apply.get_quat(bone) for bone in ob.pose.bones]) - before).max() < 1e-5

    rigs.apply_to_armature(bpy.context, ob, pose, apply.Options(facing="MODEL", strength=0.5))
    half = {bone.name: apply.get_quat(bone) for bone in ob.pose.bones}
    for bone, quat in zip(ob.pose.bones, before, strict=True):
        apply.set_quat(bone, quat)
    rigs.apply_to_armature(bpy.context, ob, pose, MODEL)
    for bone, quat in zip(ob.pose.bones, before, strict=True):
        between = rot.slerp(quat, apply.get_quat(bone), 0.5)
        assert rot.angle_between(between, half[bone.name]) < 1e-4, bone.name

    only = frozenset({"left_shoulder", "left_elbow"})
    done = rigs.apply_to_armature(bpy.context, ob, _pose(2), apply.Options(joints=only))
    assert {n for n in done.bones if "twist" not in n} == {"upperarm_l", "lowerarm_l"}

    rig = rigs.bind(ob)
    rigs.apply_to_armature(bpy.context, ob, pose, apply.Options(facing="MODEL", mirror=True), rig)
    assert _worst_angle(ob, rig, apply.mirrored(pose)) < 0.05


def test_reading_the_pose_back(addon):
    ob = build(figures.figure("mixamo", rest="A", rolls=3))
    rig = rigs.bind(ob)
    pose = _pose(4)
    rigs.apply_to_armature(bpy.context, ob, pose, MODEL, rig)
    read = rigs.read_pose(ob, rig)
    assert max(rot.angle_between(read[joint], pose[joint]) for joint in pose) < 1e-4


def _ik(ob, bone, target, count):
    empty = bpy.data.objects.new(target, None)
    empty.location = (0.3, -0.5, 1.2)
    bpy.context.collection.objects.link(empty)
    constraint = ob.pose.bones[bone].constraints.new("IK")
    constraint.target, constraint.chain_count = empty, count
    return constraint


def test_what_stands_in_the_way_is_said(addon):
    ob = build(figures.figure("mixamo", rest="T"))
    constraint = _ik(ob, "mixamorig:LeftForeArm", "Goal", 2)
    done = rigs.apply_to_armature(bpy.context, ob, _pose(1), MODEL)
    assert len(done.notes) == 1
    assert "'mixamorig:LeftArm' is held by the constraint 'IK' on 'mixamorig:LeftForeArm'. Mute it" in done.notes[0]
    constraint.mute = True
    assert rigs.apply_to_armature(bpy.context, ob, _pose(1), MODEL).notes == ()
    driver = ob.driver_add('pose.bones["mixamorig:Head"].rotation_quaternion', 1).driver
    driver.expression = "0.5"
    done = rigs.apply_to_armature(bpy.context, ob, _pose(1), MODEL)
    assert done.notes == ("'mixamorig:Head' is turned by a driver, so the pose does not show there.",)
    for axis in range(3):
        ob.pose.bones["mixamorig:Hips"].lock_location[axis] = True
    done = rigs.apply_to_armature(bpy.context, ob, _pose(1), MODEL)
    assert "'mixamorig:Hips' cannot be moved" in done.notes[-1]


def test_an_armature_that_is_no_person(addon):
    ob = build({"Lever": figures.Bone(None, np.zeros(3), np.array([0, 0, 1.0]))})
    with pytest.raises(rigmap.RigMapError, match="not recognised as a person"):
        rigs.bind(ob)


@pytest.fixture(scope="module")
def rigify_file(tmp_path_factory, addon):
    """A human generated by Blender's own Rigify, saved."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    if addon_utils.enable("rigify", default_set=True) is None:
        pytest.skip("this Blender comes without Rigify")
    try:
        bpy.ops.object.armature_basic_human_metarig_add()
        bpy.ops.pose.rigify_generate()
        path = str(tmp_path_factory.mktemp("rigify") / "rig.blend")
        bpy.ops.wm.save_as_mainfile(filepath=path)
    finally:
        addon_utils.disable("rigify", default_set=True)
    return path


@pytest.fixture
def rigify(rigify_file, empty_scene):
    bpy.ops.wm.open_mainfile(filepath=rigify_file, load_ui=False)
    return next(ob for ob in bpy.data.objects if ob.type == "ARMATURE" and "torso" in ob.pose.bones)


def test_the_real_rigify(rigify):
    rig = rigs.bind(rigify)
    assert rig.rigmap.family == "rigify"
    assert rig.mover == "torso"
    before = _untouched(rigify)
    for seed in range(3):
        pose = _pose(seed)
        done = rigs.apply_to_armature(bpy.context, rigify, pose, MODEL, rig, to_forward=True)
        assert done.notes == ()
        assert _worst_angle(rigify, rig, pose) < 0.05, "the controls"
        deform = _worst_angle(rigify, rig, pose, lambda bone: "DEF-" + bone.replace("_fk", ""))
        assert deform < 0.05, "and the bones that carry the skin"
    assert _untouched(rigify) == before


def test_rigify_in_ik_is_reported_and_left_so(rigify):
    done = rigs.apply_to_armature(bpy.context, rigify, _pose(0), MODEL)
    assert done.notes == (
        "The 4 limbs are moved by IK, so the pose does not show there. Set IK_FK on 'upper_arm_parent.L' to 1.",
    )
    assert rigify.pose.bones["upper_arm_parent.L"]["IK_FK"] == 0.0
    arm = {joint: quat for joint, quat in _pose(0).items() if joint == "left_elbow"}
    done = rigs.apply_to_armature(bpy.context, rigify, arm, MODEL, to_forward=True)
    assert done.notes == ()
    assert rigify.pose.bones["upper_arm_parent.L"]["IK_FK"] == 1.0
    assert rigify.pose.bones["upper_arm_parent.R"]["IK_FK"] == 0.0, "only the limb that was posed"


def test_switching_to_fk_is_in_the_redo_panel_and_is_keyed_with_the_pose(rigify):
    bpy.context.view_layer.objects.active = rigify
    pose = json.dumps({"joints": {joint: list(quat) for joint, quat in _pose(0).items()}})
    switch = rigify.pose.bones["upper_arm_parent.L"]
    bpy.ops.chatpose.apply_pose(pose=pose, target=rigify.name)
    assert switch["IK_FK"] == 0.0, "only when it is asked for"
    bpy.ops.chatpose.apply_pose(pose=pose, target=rigify.name, to_forward=True, insert_key=True)
    assert switch["IK_FK"] == 1.0
    keyed = [curve.data_path for curve in keyframes.curves_of(rigify) if "IK_FK" in curve.data_path]
    assert len(keyed) == 4, keyed
    bpy.context.scene.frame_set(bpy.context.scene.frame_current + 5)
    assert switch["IK_FK"] == 1.0


def test_names_are_read_through_blender(addon):
    for name in ("mixamo", "makehuman", "unreal_4"):
        ob = build(figures.figure(name))
        assert recognise.plan(rigs.rest_bones(ob)).missing == ()
