"""What is keyed and what is not: Blender's keying settings, keys taken back exactly, motions that keep their place."""

from __future__ import annotations

import itertools

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import blender_versions
from bl_ext.dev.chatpose.operators import apply_pose, key_motion
from bl_ext.dev.chatpose.operators import motion as motion_operators
from bl_ext.dev.chatpose.rig import apply, keyframes, keying, motions, pose_files, smplx
from bl_ext.dev.chatpose.rig import rotations as rot

RNG = np.random.default_rng(4)


@pytest.fixture
def rig(addon):
    bpy.ops.chatpose.add_body()
    return bpy.context.object


def _keys(ob) -> dict:
    return {
        (curve.data_path, curve.array_index): [
            (tuple(p.co), tuple(p.handle_left), tuple(p.handle_right), p.interpolation, p.handle_left_type, p.type)
            for p in curve.keyframe_points
        ]
        for curve in keyframes.curves_of(ob)
    }


def _channels(ob) -> set[tuple[str, str]]:
    """(bone, property) of everything that is keyed."""
    return {(path.split('"')[1], path.rpartition(".")[2]) for path, _ in _keys(ob)}


def _motion(count, place=None) -> pose_files.Motion:
    quats = {n: rot.from_rotvec(np.cumsum(RNG.normal(size=(count, 3)) * 0.08, 0)) for n in smplx.BODY_JOINTS}
    return pose_files.Motion(quats, place)


# -- taking back -------------------------------------------------------------------------------------------------------


def _work(frames) -> key_motion.Keying:
    return key_motion.Keying(_motion(len(frames)), frames, apply.Options(facing="MODEL"))


@pytest.mark.parametrize("steps", [1, 4, 30, 10_000], ids=lambda n: f"after {n} steps")
@pytest.mark.parametrize("before", ["nothing", "data", "action", "keys"])
def test_keys_that_are_not_wanted_after_all_leave_no_trace(rig, before, steps):
    if before != "nothing":
        rig.animation_data_create()
    if before == "action":
        rig.animation_data.action = bpy.data.actions.new("Mine")
    if before == "keys":
        key_motion.key_motion(bpy.context, rig, _motion(4), (3, 9, 10, 30), bpy.context.scene.chatpose)
        curve = keyframes.curves_of(rig)[7]
        curve.keyframe_points[1].interpolation = "CONSTANT"
        curve.keyframe_points[2].handle_left_type = "FREE"
        curve.keyframe_points[2].handle_left = (9.2, 0.3)
    keys, pose, actions = _keys(rig), apply.snapshot(rig), set(bpy.data.actions.keys())
    slot = blender_versions.slot_handle(rig)
    kept = keyframes.remember(rig)
    work = key_motion.keying_steps(bpy.context, rig, _work(range(5, 15)))
    for _ in zip(range(steps), work, strict=False):
        assert steps > 5000 or apply.snapshot(rig) == pose, "between the steps the rig shows what it showed"
    work.close()
    keyframes.put_back(rig, kept)
    assert _keys(rig) == keys and set(bpy.data.actions.keys()) == actions
    assert (rig.animation_data is not None) == (before != "nothing")
    assert blender_versions.slot_handle(rig) == slot
    for holder in filter(None, [blender_versions.curve_holder(rig)]):
        assert {group.name for group in holder.groups} == {curve.group.name for curve in holder.fcurves}


def test_keys_in_steps_are_the_keys_at_once(rig):
    work = _work(range(1, 13))
    for _ in key_motion.keying_steps(bpy.context, rig, work):
        pass
    in_steps = _keys(rig)
    rig.animation_data_clear()
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
    tracks = motions.plan(rig, work.motion, work.options)
    count = keyframes.write(rig, work.frames, tracks.rotations, {tracks.mover: tracks.location})
    at_once = _keys(rig)
    assert count == len(at_once) and in_steps.keys() == at_once.keys()
    turned = [key for key in at_once if not key[0].endswith("location")]
    assert all(in_steps[key] == at_once[key] for key in turned)


# -- keying sets and auto-key ------------------------------------------------------------------------------------------

POSE = {"left_shoulder": (0.9, 0.1, 0.2, 0.3), "head": (0.9, 0.3, 0.1, 0.2), "pelvis": (1.0, 0.0, 0.0, 0.0)}
BONES = ("pelvis", "left_shoulder", "head")
ROTATIONS = {(bone, "rotation_quaternion") for bone in BONES}
PLACE = {("pelvis", "location")}


def _own_set(rig) -> None:
    made = bpy.context.scene.keying_sets.new(name="Mine")
    made.paths.add(rig, 'pose.bones["head"].rotation_quaternion')
    made.paths.add(rig, 'pose.bones["left_shoulder"].rotation_quaternion', index=1)
    bpy.context.scene.keying_sets.active = made


def _built_in(name):
    def choose(rig) -> None:
        every = bpy.context.scene.keying_sets_all
        every.active = next(one for one in every if one.bl_idname == name)

    return choose


def _available(rig) -> None:
    keyframes.write_present(rig, 1, ["head"])
    _built_in("Available")(rig)


def _selected(rig) -> None:
    for bone in rig.pose.bones:
        blender_versions.select(bone, bone.name == "head")
    _built_in("WholeCharacterSelected")(rig)


SETS = [
    (lambda rig: None, ROTATIONS | PLACE),
    (_built_in("Rotation"), ROTATIONS),
    (_built_in("Location"), PLACE),
    (_built_in("BUILTIN_KSI_LocRot"), ROTATIONS | PLACE),
    (_built_in("WholeCharacter"), ROTATIONS | PLACE),
    (_built_in("Scaling"), set()),
    (_built_in("BUILTIN_KSI_DeltaRotation"), set()),
    (_available, {("head", "rotation_quaternion")}),
    (_selected, {("head", "rotation_quaternion")}),
    (_own_set, {("head", "rotation_quaternion"), ("left_shoulder", "rotation_quaternion")}),
]


@pytest.mark.parametrize(("choose", "keyed"), SETS)
def test_the_active_keying_set_says_what_is_keyed(rig, choose, keyed):
    choose(rig)
    apply.write_pose(rig, POSE)
    apply_pose.insert_keys(bpy.context, rig, BONES)
    assert _channels(rig) == keyed
    if choose is _own_set:
        assert [i for path, i in _keys(rig) if "left_shoulder" in path] == [1]


def test_motions_obey_it_too(rig):
    _built_in("Rotation")(rig)
    key_motion.key_motion(bpy.context, rig, _motion(3), (1, 2, 3), bpy.context.scene.chatpose)
    assert ("pelvis", "location") not in _channels(rig) and ("pelvis", "rotation_quaternion") in _channels(rig)


@pytest.mark.parametrize(("only_active", "mode", "keyed"), [
    (False, "ADD_REPLACE_KEYS", ROTATIONS | PLACE),
    (True, "ADD_REPLACE_KEYS", ROTATIONS),
    (False, "REPLACE_KEYS", set()),
])  # fmt: skip
def test_auto_key_has_its_own_rules(rig, only_active, mode, keyed):
    settings = bpy.context.scene.tool_settings
    settings.use_keyframe_insert_keyingset, settings.auto_keying_mode = only_active, mode
    _built_in("Rotation")(rig)
    apply_pose.insert_keys(bpy.context, rig, BONES, automatic=True)
    assert _channels(rig) == keyed


def test_an_unknown_set_keeps_nothing_back(rig, monkeypatch):
    assert keying.wanted(bpy.context, rig) is None


# -- continuity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "AXIS_ANGLE"])
def test_keys_one_by_one_never_turn_the_long_way(rig, mode):
    """A shoulder goes round twice, keyed pose by pose: between the keys it goes on in the same sense."""
    bone = rig.pose.bones["left_shoulder"]
    bone.rotation_mode = mode
    turns = [rot.from_rotvec((0.0, 0.0, angle)) for angle in np.arange(0, 4 * np.pi, 0.7)]
    for i, quat in enumerate(turns):
        apply.write_pose(rig, {"left_shoulder": tuple((quat * (-1) ** i).tolist())})
        keyframes.write_present(rig, 1 + 4 * i, ["left_shoulder"])
    for curve in keyframes.curves_of(rig):
        for point in curve.keyframe_points:
            point.interpolation = "LINEAR"
    read = []
    for frame in range(1, 4 * len(turns) - 3):
        bpy.context.scene.frame_set(frame)
        read.append(apply.read_pose(rig)["left_shoulder"])
    steps = [rot.angle_between(a, b) for a, b in itertools.pairwise(read)]
    assert max(steps) < 0.7 / 4 * 2.5


# -- motions that were read off the rig ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["QUATERNION", "ZXY", "AXIS_ANGLE"])
def test_a_motion_is_read_from_its_keys_as_blender_shows_it(rig, mode):
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    place = np.cumsum(RNG.normal(size=(4, 3)) * 0.2, 0)
    settings = bpy.context.scene.chatpose
    key_motion.key_motion(bpy.context, rig, _motion(4, place), (1, 5, 8, 20), settings, facing="MODEL")
    frames = range(1, 21)
    quick = motions.sample(rig, frames)
    slow = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        slow.append(apply.read_pose(rig))
    for i, pose in enumerate(slow):
        assert max(rot.angle_between(quick.quats[n][i], pose[n]) for n in smplx.BODY_JOINTS) < 2e-3
    rig.pose.bones["head"].constraints.new("LIMIT_ROTATION")
    assert motions.sample(rig, frames) is None, "constraints are Blender's to evaluate"


def test_what_was_read_off_a_rig_goes_back_to_its_place(rig):
    place = np.cumsum(RNG.normal(size=(6, 3)) * 0.3, 0)
    settings = bpy.context.scene.chatpose
    frames = range(1, 7)
    key_motion.key_motion(bpy.context, rig, _motion(6, place), frames, settings, facing="MODEL")
    poses = motion_operators.read_frames(bpy.context, rig, frames)

    def heads():
        found = []
        for frame in frames:
            bpy.context.scene.frame_set(frame)
            found.append([tuple(bone.head) for bone in rig.pose.bones])
        return np.array(found)

    before = heads()
    rig.animation_data_clear()
    bpy.context.scene.frame_set(1)
    back = key_motion.motion_of(poses)
    back = pose_files.Motion(back.quats, np.array([pose.transl for pose in poses]))
    work = key_motion.Keying(back, frames, apply.Options(facing="MODEL"), placed=True)
    key_motion.put_motion(rig, lambda: work)
    assert np.abs(heads() - before).max() < 1e-3
