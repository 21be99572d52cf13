"""Keys written by whole arrays are the keys that Blender's own keyframe_insert writes, many times faster."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import blender_versions
from bl_ext.dev.chatpose.rig import apply, keyframes
from bl_ext.dev.chatpose.rig import rotations as rot

from tests import figures
from tests.addon import effort
from tests.addon.rigs import build

MODES = ["QUATERNION", "QUATERNION", "XYZ", "AXIS_ANGLE", "ZYX"]
VECTORS = ("co", "handle_left", "handle_right")
NUMBERS = ("interpolation", "easing", "handle_left_type", "handle_right_type", "type", "back", "amplitude", "period")


def _smooth(names, count, seed=0):
    """Bone -> (count, 4): rotations that wander, never far from the frame before."""
    rng = np.random.default_rng(seed)
    return {n: rot.unit(np.cumsum(rng.normal(size=(count, 4)) * 0.05, 0) + rng.normal(size=4)) for n in names}


def _insert(armature, frames, rotations, locations):
    """The slow way: what the fast one must equal."""
    for i, frame in enumerate(frames):
        for name, quats in rotations.items():
            bone = armature.pose.bones[name]
            apply.set_quat(bone, quats[i].tolist())
            bone.keyframe_insert(apply.rotation_path(bone), frame=frame, group=name)
        for name, values in locations.items():
            armature.pose.bones[name].location = values[i]
            armature.pose.bones[name].keyframe_insert("location", frame=frame, group=name)


def _content(armature):
    """Everything that a curve is, by path and index."""
    content = {}
    for curve in keyframes.curves_of(armature):
        count = len(curve.keyframe_points)
        keys = {}
        for name in (*VECTORS, *NUMBERS):
            table = np.empty(count * (2 if name in VECTORS else 1), np.float32)
            curve.keyframe_points.foreach_get(name, table)
            keys[name] = table
        flags = (curve.group.name, curve.color_mode, curve.extrapolation, curve.auto_smoothing, curve.mute, curve.lock)
        content[curve.data_path, curve.array_index] = (flags, keys)
    return content


def _assert_same(one, other, tolerance=2e-4):
    a, b = _content(one), _content(other)
    assert a.keys() == b.keys()
    for key, (flags, keys) in a.items():
        assert flags == b[key][0], key
        for name, table in keys.items():
            assert table.shape == b[key][1][name].shape, (key, name)
            assert np.abs(table - b[key][1][name]).max() < tolerance, (key, name)


@pytest.fixture
def pair(addon):
    """Two equal rigs, with bones of every kind of rotation mode."""
    rigs = [build(figures.figure("mixamo"), name) for name in ("Slow", "Fast")]
    for rig in rigs:
        for i, bone in enumerate(rig.pose.bones):
            bone.rotation_mode = MODES[i % len(MODES)] if MODES[i % len(MODES)] != "AXIS_ANGLE" else "QUATERNION"
    return rigs


def _data(rig, count, seed=0):
    names = [bone.name for bone in rig.pose.bones]
    rng = np.random.default_rng(seed)
    return _smooth(names, count, seed), {names[0]: rng.normal(size=(count, 3))}


def _near_rest(rig, count, seed=0):
    """Poses so near to each other that every rotation mode has one nearest way to say them."""
    rng = np.random.default_rng(seed)
    names = [bone.name for bone in rig.pose.bones]
    return {n: rot.from_rotvec(rng.normal(size=(count, 3)) * 0.1) for n in names}, {
        names[0]: rng.normal(size=(count, 3))
    }


def test_the_same_curves(pair):
    slow, fast = pair
    rotations, locations = _data(slow, 24)
    frames = list(range(3, 27))
    _insert(slow, frames, rotations, locations)
    assert keyframes.write(fast, frames, rotations, locations) == len(_content(slow))
    _assert_same(slow, fast)


def test_the_same_curves_over_keys_that_were_there(pair):
    """Frames before, between, at and after existing keys; what stood elsewhere stays."""
    slow, fast = pair
    first, places = _near_rest(slow, 6)
    for rig in pair:
        _insert(rig, [1, 10, 20, 30, 40, 50], first, places)
        for curve in keyframes.curves_of(rig):
            curve.keyframe_points[2].interpolation = "CONSTANT"
            curve.keyframe_points[4].interpolation = "ELASTIC"
            curve.keyframe_points[4].amplitude = 2.5
    second, places = _near_rest(slow, 5, seed=1)
    frames = [5, 10, 20, 45, 60]
    _insert(slow, frames, second, places)
    keyframes.write(fast, frames, second, places)
    _assert_same(slow, fast)
    keys = {round(point.co[0]) for curve in keyframes.curves_of(fast) for point in curve.keyframe_points}
    assert keys == {1, 5, 10, 20, 30, 40, 45, 50, 60}


@pytest.mark.parametrize(("handle", "interpolation"), [("VECTOR", "LINEAR"), ("AUTO", "BEZIER"), ("FREE", "SINE")])
def test_new_keys_are_as_the_artist_s_preferences_say(pair, handle, interpolation):
    """As with the I key: Python's keyframe_insert does not look at these preferences."""
    edit = bpy.context.preferences.edit
    before = edit.keyframe_new_handle_type, edit.keyframe_new_interpolation_type
    edit.keyframe_new_handle_type, edit.keyframe_new_interpolation_type = handle, interpolation
    bpy.context.scene.tool_settings.keyframe_type = "BREAKDOWN"
    try:
        keyframes.write(pair[1], [1, 5, 9, 30], *_data(pair[1], 4))
        points = [point for curve in keyframes.curves_of(pair[1]) for point in curve.keyframe_points]
        kinds = {(p.handle_left_type, p.handle_right_type, p.interpolation, p.type) for p in points}
        assert kinds == {(handle, handle, interpolation, "BREAKDOWN")}
        assert all(p.handle_left[0] <= p.co[0] <= p.handle_right[0] for p in points)
    finally:
        edit.keyframe_new_handle_type, edit.keyframe_new_interpolation_type = before


def test_one_frame(pair):
    slow, fast = pair
    rotations, _ = _data(slow, 1)
    for rig in pair:
        for name, quats in rotations.items():
            apply.set_quat(rig.pose.bones[name], quats[0].tolist())
    _insert(slow, [7], rotations, {})
    keyframes.write_present(fast, 7, rotations)
    _assert_same(slow, fast)


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "YZX", "AXIS_ANGLE"])
def test_no_key_turns_the_long_way(addon, mode):
    """Keys 5 degrees apart over three turns, signs at random: between two keys nothing turns more than those 5."""
    rig = build(figures.figure("mixamo"))
    bone = rig.pose.bones["mixamorig:LeftArm"]
    bone.rotation_mode = mode
    count = 216
    axis = np.array([0.2, 0.9, 0.1]) / np.linalg.norm([0.2, 0.9, 0.1])
    quats = rot.from_rotvec(np.radians(5.0) * np.arange(count)[:, None] * axis)
    signs = np.random.default_rng(2).choice([-1.0, 1.0], size=(count, 1))
    keyframes.write(rig, list(range(1, count + 1)), {bone.name: quats * signs})
    seen = []
    for half in range(2, 2 * count):
        bpy.context.scene.frame_set(half // 2, subframe=0.5 * (half % 2))
        seen.append(apply.get_quat(bone))
    steps = np.degrees(rot.angle_between(seen[1:], seen[:-1]))
    assert steps.max() < 6.0, mode
    assert np.degrees(rot.angle_between(seen[::2], quats[: len(seen[::2])])).max() < 0.1


def test_signs_follow_the_key_before(addon):
    rig = build(figures.figure("mixamo"))
    bone = rig.pose.bones["mixamorig:LeftArm"]
    bone.rotation_mode = "QUATERNION"
    bone.rotation_quaternion = (-1, 0, 0, 0)
    bone.keyframe_insert("rotation_quaternion", frame=1)
    keyframes.write(rig, [10], {bone.name: [(0.99, 0.1, 0, 0)]})
    curve = next(c for c in keyframes.curves_of(rig) if c.array_index == 0)
    assert [point.co[1] < 0 for point in curve.keyframe_points] == [True, True]


def test_locked_curves_stay(pair):
    _, rig = pair
    rotations, _ = _data(rig, 2)
    keyframes.write(rig, [1, 2], rotations)
    for curve in keyframes.curves_of(rig):
        curve.lock = True
    before = _content(rig)
    assert keyframes.write(rig, [1, 5], rotations) == 0
    assert all(np.array_equal(keys["co"], before[key][1]["co"]) for key, (_, keys) in _content(rig).items())


def test_the_rig_s_own_action_and_slot(pair):
    slow, fast = pair
    action = bpy.data.actions.new("Walk")
    for rig in pair:
        rig.animation_data_create().action = action
        if blender_versions.has_slots() and rig.animation_data.action_slot is None:
            rig.animation_data.action_slot = action.slots.new(id_type="OBJECT", name=rig.name)
    rotations, _ = _data(slow, 2)
    keyframes.write(fast, [1, 2], rotations)
    assert fast.animation_data.action == action
    assert len(bpy.data.actions) == 1
    if blender_versions.has_slots():
        assert fast.animation_data.action_slot.identifier == "OBFast"
        assert keyframes.curves_of(slow) == [], "the other slot is another character's"
        assert len(action.slots) == 2


@pytest.mark.parametrize("slots", [0, 1])
def test_an_action_without_a_slot_for_us(addon, slots):
    if not blender_versions.has_slots():
        pytest.skip("actions have no slots before 4.4")
    rig = build(figures.figure("mixamo"))
    action = bpy.data.actions.new("Empty")
    for _ in range(slots):
        action.slots.new(id_type="OBJECT", name=rig.name)
    rig.animation_data_create().action = action
    rig.animation_data.action_slot = None
    keyframes.write(rig, [1], {"mixamorig:Hips": [(1, 0, 0, 0)]})
    assert rig.animation_data.action_slot is not None
    assert len(action.slots) == 1
    assert len(keyframes.curves_of(rig)) in (3, 4)


def test_two_poses_at_one_frame_are_refused(pair):
    with pytest.raises(keyframes.KeyframeError, match="at one frame"):
        keyframes.write(pair[0], [3, 3], {"mixamorig:Hips": np.tile([1.0, 0, 0, 0], (2, 1))})


def test_nothing_to_key_makes_no_action(pair):
    assert keyframes.write(pair[0], [], {}) == 0
    assert pair[0].animation_data is None


def test_keys_are_written_by_arrays(addon):
    """55 bones, 250 frames. Counted in calls; seconds are in the benchmark."""
    slow, fast = (build(figures.figure("smplx_addon"), name) for name in ("Slow", "Fast"))
    names = [bone.name for bone in slow.pose.bones]
    rotations = _smooth(names, 250)
    frames = list(range(1, 251))
    by_hand = effort.spent(_insert, slow, frames, rotations, {}).calls
    by_arrays = effort.spent(keyframes.write, fast, frames, rotations).calls
    _assert_same(slow, fast)
    assert by_hand > 15 * by_arrays, (by_hand, by_arrays)
    fast.animation_data_clear()
    few = effort.spent(keyframes.write, fast, frames[:50], {n: r[:50] for n, r in rotations.items()}).calls
    assert by_arrays < 1.1 * few, "calls are by curve, not by frame"
