"""Poses saved as assets, as Blender's own pose library would save them, with where they came from."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import blender_versions
from bl_ext.dev.chatpose.rig import apply, library
from bl_ext.dev.chatpose.rig import armature as rigs
from bl_ext.dev.chatpose.rig import rotations as rot

from tests import figures
from tests.addon.rigs import build

ORIGIN = library.Origin("kneeling, both arms raised", 7, "smol", {"left_knee": [0.6, 0.8, 0.0, 0.0]})


@pytest.fixture
def rig(addon):
    ob = build(figures.figure("mixamo", rest="A"))
    rng = np.random.default_rng(3)
    for bone, mode in zip(ob.pose.bones, ["QUATERNION", "XYZ", "AXIS_ANGLE"] * 30, strict=False):
        bone.rotation_mode = mode
        apply.set_quat(bone, rot.from_rotvec(rng.normal(size=3) * 0.5).tolist())
    ob.pose.bones["mixamorig:Hips"].location = (0.1, 0.2, 0.3)
    return ob


def _channels(ob):
    return {
        bone.name: np.concatenate([bone.location, getattr(bone, apply.rotation_path(bone)), bone.scale])
        for bone in ob.pose.bones
    }


def _curves(action, ob):
    probe = bpy.data.objects.new("Probe", ob.data)
    probe.animation_data_create().action = action
    if blender_versions.has_slots():
        probe.animation_data.action_slot = action.slots[0]
    holder = blender_versions.curve_holder(probe)
    return list(holder.fcurves)


def test_the_asset_says_which_words_made_it(rig):
    action = library.save_pose(rig, "Kneeling", origin=ORIGIN, tags=("ground", "ground", ""), rig=rigs.bind(rig))
    assert action.asset_data.description == "kneeling, both arms raised"
    assert [tag.name for tag in action.asset_data.tags] == ["ChatPose", "smol", "ground"]
    assert library.origin_of(action) == ORIGIN
    assert library.saved_poses() == [action]
    assert library.origin_of(bpy.data.actions.new("Walk")) is None


def test_one_slot_one_key_for_each_channel(rig):
    action = library.save_pose(rig, "All")
    if blender_versions.has_slots():
        assert [slot.target_id_type for slot in action.slots] == ["OBJECT"]
    curves = _curves(action, rig)
    expected = sum(9 if b.rotation_mode == "XYZ" else 10 for b in rig.pose.bones)
    assert len(curves) == expected
    assert {len(curve.keyframe_points) for curve in curves} == {1}
    assert all(curve.group.name in curve.data_path for curve in curves)


def test_blender_s_own_pose_library_applies_it(rig):
    saved = _channels(rig)
    action = library.save_pose(rig, "All", rig=rigs.bind(rig))
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
        apply.set_quat(bone, (1.0, 0.0, 0.0, 0.0))
        bone.location = (0, 0, 0)
    rig.pose.apply_pose_from_action(action)
    now = _channels(rig)
    assert max(np.abs(now[name] - saved[name]).max() for name in saved) < 1e-5


def test_chosen_bones_only(rig):
    action = library.save_pose(rig, "Head", bones=["mixamorig:Head"])
    assert {curve.group.name for curve in _curves(action, rig)} == {"mixamorig:Head"}
    with pytest.raises(library.LibraryError, match="No bones are chosen"):
        library.save_pose(rig, "None", bones=[])
    assert len(bpy.data.actions) == 1, "nothing is left behind"


def test_saving_changes_nothing_of_the_rig(rig):
    rig.animation_data_create()
    rig.pose.bones[0].keyframe_insert("location", frame=1)
    own = rig.animation_data.action
    before = _channels(rig)
    library.save_pose(rig, "All", rig=rigs.bind(rig))
    assert rig.animation_data.action == own
    assert all(np.array_equal(before[name], value) for name, value in _channels(rig).items())


def test_the_preview_shows_the_pose(rig):
    action = library.save_pose(rig, "All", rig=rigs.bind(rig))
    width, height = action.preview.image_size
    pixels = np.empty(width * height * 4, np.float32)
    action.preview.image_pixels_float.foreach_get(pixels)
    alpha = pixels.reshape(height, width, 4)[..., 3]
    assert 0.05 < (alpha > 0.5).mean() < 0.6
    assert (alpha > 0.5).any(1).sum() > 0.7 * height or (alpha > 0.5).any(0).sum() > 0.7 * width


def test_it_survives_the_file(rig, tmp_path):
    library.save_pose(rig, "Kneeling", origin=ORIGIN, tags=("ground",), rig=rigs.bind(rig))
    path = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=False)
    (action,) = library.saved_poses()
    assert action.name == "Kneeling"
    assert library.origin_of(action) == ORIGIN
    assert action.preview is not None
