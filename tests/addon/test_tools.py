"""Storyboard, motions, the prior's tools, files, body shape."""

from __future__ import annotations

import json
import math

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import blender_versions, pictures, session
from bl_ext.dev.chatpose.operators import key_motion, storyboard
from bl_ext.dev.chatpose.operators import motion as motion_operators
from bl_ext.dev.chatpose.rig import apply, motions, pose_files, smplx
from bl_ext.dev.chatpose.rig import body as body_files
from bl_ext.dev.chatpose.rig import rotations as rot
from mathutils import Vector

from tests.addon import effort

ALL_TASKS = ["pose", "describe", "sample", "project", "interpolate", "denoise", "complete"]
RNG = np.random.default_rng(2)


def _arm(angle: float) -> dict:
    return {"joints": {"pelvis": [1, 0, 0, 0], "left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}}


def _angle(rig) -> float:
    w, *_, z = apply.read_pose(rig)["left_shoulder"]
    return round(2 * math.atan2(z, w), 3)


def _at(rig, frame) -> float:
    bpy.context.scene.frame_set(frame)
    return _angle(rig)


def _sent(server) -> list[dict]:
    return [body for method, _, body, _ in server.requests if method == "POST"]


@pytest.fixture
def tools(server, body, settle):
    """A server that can do everything, known to be so."""
    server.capabilities["tasks"] = ALL_TASKS
    bpy.ops.chatpose.check_connection()
    settle()
    return server


def _board(*beats) -> None:
    settings = bpy.context.scene.chatpose
    for frame, text in beats:
        beat = settings.beats.add()
        beat.frame, beat.text = frame, text


# -- storyboard --------------------------------------------------------------------------------------------------------

LINES = [
    ("1: standing, 20: crouches, 32: leaps", [(1, "standing"), (20, "crouches"), (32, "leaps")]),
    ("frame 5: sits; Frame 9 = waves, smiling", [(5, "sits"), (9, "waves, smiling")]),
    ("a person with 2 arms", []),
    ("", []),
    ("1: , 2: b", [(2, "b")]),
    ("1: a\n2: b", [(1, "a"), (2, "b")]),
]


@pytest.mark.parametrize(("text", "beats"), LINES)
def test_lines_are_read_from_words(text, beats):
    assert storyboard.parse_beats(text) == beats


def test_adding_lines(tools):
    bpy.context.scene.chatpose.prompt = "1: standing, 20: crouches"
    bpy.ops.chatpose.beat_add()
    bpy.context.scene.frame_set(40)
    bpy.context.scene.chatpose.prompt = "leaps"
    bpy.ops.chatpose.beat_add()
    beats = bpy.context.scene.chatpose.beats
    assert [(b.frame, b.text) for b in beats] == [(1, "standing"), (20, "crouches"), (40, "leaps")]
    bpy.ops.chatpose.beat_remove()
    assert len(beats) == 2


def test_a_storyboard_is_posed_in_one_go_and_one_undo_step(tools, body, settle):
    bpy.ops.ed.undo_push(message="Start")
    _board((20, "crouches"), (1, "standing"), (32, "leaps"))  # in any order
    bpy.ops.ed.undo_push(message="Lines")
    tools.answers = [{"text": "", "poses": [_arm(a)]} for a in (0.2, 0.6, 1.0)]
    bpy.ops.chatpose.storyboard()
    settle()
    assert session.current.problem is None
    assert [request["prompt"] for request in _sent(tools)] == ["standing", "crouches", "leaps"]
    rig = bpy.data.objects["ChatPose Body"]
    assert [_at(rig, frame) for frame in (1, 20, 32)] == [0.2, 0.6, 1.0]
    assert motion_operators.key_frames(rig) == [1, 20, 32]
    bpy.ops.ed.undo()
    rig = bpy.data.objects["ChatPose Body"]
    assert rig.animation_data is None or rig.animation_data.action is None


def test_in_betweens_come_from_the_prior(tools, body, settle):
    _board((1, "standing"), (5, "leaps"))
    bpy.context.scene.chatpose.fill_between = True
    angles = (0.0, 0.3, 0.5, 0.6, 1.0)
    tools.answers = [
        {"text": "", "poses": [_arm(0.0)]},
        {"text": "", "poses": [_arm(1.0)]},
        {"poses": [_arm(a) for a in angles]},
    ]
    bpy.ops.chatpose.storyboard()
    settle()
    last = _sent(tools)[-1]
    assert last["task"] == "interpolate" and last["frames"] == [1, 2, 3, 4, 5]
    assert [key["frame"] for key in last["keys"]] == [1, 5]
    assert [_at(body, frame) for frame in range(1, 6)] == list(angles)


BAD_BOARDS = [
    ([(1, "a"), (1, "b")], [], "same frame"),
    ([(1, "a"), (2, "b")], [{"text": "x", "poses": [_arm(0.1)]}, {"text": "x", "poses": []}], "no pose for 'b'"),
]


@pytest.mark.parametrize(("beats", "answers", "says"), BAD_BOARDS)
def test_a_storyboard_that_fails_changes_nothing(tools, body, settle, beats, answers, says):
    _board(*beats)
    tools.answers = answers
    bpy.ops.chatpose.storyboard()
    settle()
    assert says in session.current.problem.sentence
    assert body.animation_data is None and _angle(body) == 0.0


# -- motions -----------------------------------------------------------------------------------------------------------


def _motion(count: int, place=None) -> pose_files.Motion:
    quats = {n: rot.from_rotvec(np.cumsum(RNG.normal(size=(count, 3)) * 0.05, 0)) for n in smplx.BODY_JOINTS}
    return pose_files.Motion(quats, place)


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ"])
def test_a_keyed_motion_is_the_poses_one_by_one(body, mode):
    for bone in body.pose.bones:
        bone.rotation_mode = mode
    motion = _motion(6)
    settings = bpy.context.scene.chatpose
    key_motion.key_motion(bpy.context, body, motion, range(10, 16), settings, facing="MODEL")
    for i in range(6):
        bpy.context.scene.frame_set(10 + i)
        read = apply.read_pose(body)
        assert max(rot.angle_between(read[n], motion.quats[n][i]) for n in motion.quats) < 1e-3
        bpy.context.view_layer.update()
        assert apply.lowest(bpy.context, body) == pytest.approx(0.0, abs=0.002)
    assert {bone.rotation_mode for bone in body.pose.bones} == {mode}


def test_a_motion_that_knows_its_place_keeps_path_and_jump(body):
    t = np.linspace(0, 1, 41)
    place = np.stack([np.zeros(41), 0.95 + 0.4 * np.sin(np.pi * t), 2.0 * t], -1)  # a leap two metres ahead
    still = {name: np.tile(rot.IDENTITY, (41, 1)) for name in smplx.BODY_JOINTS}
    tracks = motions.plan(body, pose_files.Motion(still, place), apply.Options())
    axes = np.array(body.data.bones["pelvis"].matrix_local)[:3, :3]
    way = tracks.location @ axes.T
    assert way[-1] - way[0] == pytest.approx((0, -2.0, 0), abs=0.02), "ahead is -y in Blender"
    assert way[20, 2] - way[0, 2] == pytest.approx(0.4, abs=0.02)
    assert way[0] == pytest.approx((0, 0, 0), abs=0.03), "it begins where the character stands"


def test_a_motion_begins_where_the_character_faces(body):
    def heading(degrees):
        return rot.from_rotvec((0, math.radians(degrees), 0))

    apply.write_pose(body, {"pelvis": tuple(heading(90).tolist())})
    turning = np.stack([heading(a) for a in (10, 20, 30)])
    tracks = motions.plan(body, pose_files.Motion({"pelvis": turning}), apply.Options())
    bones = apply.bind(body)
    turn = bones.turn[bones.names.index("pelvis")]
    local = rot.multiply(rot.multiply(rot.conjugate(turn), tracks.rotations["pelvis"]), turn)
    assert [math.degrees(2 * math.atan2(q[2], q[0])) for q in local] == pytest.approx([90, 100, 110], abs=0.1)


def test_signs_are_continuous():
    quats = rot.from_rotvec(np.stack([np.zeros(80), np.zeros(80), np.linspace(0, 4 * np.pi, 80)], -1))
    flipped = quats * np.where(RNG.random(80) < 0.5, -1, 1)[:, None]
    done = motions.continuous(flipped)
    assert ((done[1:] * done[:-1]).sum(-1) > 0).all()


# -- the prior's tools -------------------------------------------------------------------------------------------------


def test_natural_pose(tools, body, settle):
    tools.answer = {"poses": [_arm(0.4)], "distances": {"before": [1.0], "after": [0.1]}}
    bpy.ops.chatpose.natural_pose(strength=0.7)
    settle()
    (request,) = _sent(tools)
    assert request["task"] == "project" and request["strength"] == pytest.approx(0.7)
    assert _angle(body) == 0.4 and session.current.problem is None


def test_variations_are_candidates(tools, body, settle):
    tools.answer = {"poses": [_arm(a) for a in (0.1, 0.2, 0.3, 0.4)]}
    bpy.ops.chatpose.variations(count=4, spread=0.5)
    settle()
    (request,) = _sent(tools)
    assert (request["task"], request["count"], request["spread"]) == ("sample", 4, 0.5)
    assert len(request["near"]["joints"]) == 55 and len(session.current.browser.poses) == 4
    bpy.ops.chatpose.candidate_discard()


def test_completing_keeps_the_selected_bones(tools, body, settle):
    assert not bpy.ops.chatpose.complete_pose.poll(), "needs Pose Mode"
    bpy.ops.object.mode_set(mode="POSE")
    for bone in body.pose.bones:
        blender_versions.select(bone, bone.name in {"left_wrist", "left_elbow"})
    tools.answer = {"poses": [_arm(0.4)]}
    bpy.ops.chatpose.complete_pose()
    settle()
    (request,) = _sent(tools)
    assert request["task"] == "complete" and request["keep"] == ["left_elbow", "left_wrist"]
    for bone in body.pose.bones:
        blender_versions.select(bone, False)
    assert bpy.ops.chatpose.complete_pose() == {"CANCELLED"}
    bpy.ops.object.mode_set(mode="OBJECT")


def test_in_between_fills_the_gap_around_the_current_frame(tools, body, settle):
    assert not bpy.ops.chatpose.in_between.poll(), "nothing is keyed yet"
    key_motion.put_keys(body, [(1, _pose(0.0)), (5, _pose(1.0)), (9, _pose(0.0))])
    bpy.context.scene.frame_set(3)
    tools.answer = {"poses": [_arm(a) for a in (0.1, 0.2, 0.3)]}
    bpy.ops.chatpose.in_between()
    settle()
    (request,) = _sent(tools)
    assert [key["frame"] for key in request["keys"]] == [1, 5] and request["frames"] == [2, 3, 4]
    assert [_at(body, f) for f in (1, 2, 3, 4, 5, 9)] == [0.0, 0.1, 0.2, 0.3, 1.0, 0.0]
    bpy.context.scene.frame_set(20)
    assert bpy.ops.chatpose.in_between() == {"CANCELLED"}
    assert "not between two keys" in session.current.problem.sentence


def _pose(angle):
    from bl_ext.dev.chatpose.client.contract import Pose

    return Pose.from_json(_arm(angle))


def test_smoothing_sends_every_frame_and_keys_every_frame(tools, body, settle):
    key_motion.put_keys(body, [(1, _pose(0.0)), (5, _pose(1.0))])
    tools.answer = {"poses": [_arm(0.25 * i) for i in range(5)]}
    bpy.ops.chatpose.smooth_motion(strength=30)
    settle()
    (request,) = _sent(tools)
    assert (request["task"], request["fps"], request["strength"], len(request["poses"])) == ("denoise", 24, 0.3, 5)
    assert motion_operators.key_frames(body) == [1, 2, 3, 4, 5]


def test_another_number_of_frames_is_refused(tools, body, settle):
    key_motion.put_keys(body, [(1, _pose(0.0)), (5, _pose(1.0))])
    tools.answer = {"poses": [_arm(0.1)]}
    bpy.ops.chatpose.smooth_motion()
    settle()
    assert "another number of frames" in session.current.problem.sentence
    assert motion_operators.key_frames(body) == [1, 5]


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_a_saved_pose_is_loaded(body, tmp_path, ending):
    path = str(tmp_path / f"pose.{ending}")
    apply.write_pose(body, {"left_shoulder": (0.8, 0, 0, 0.6)})
    assert bpy.ops.chatpose.save_pose(filepath=path) == {"FINISHED"}
    apply.write_pose(body, {"left_shoulder": (1, 0, 0, 0)})
    assert bpy.ops.chatpose.load_pose(filepath=path) == {"FINISHED"}
    assert apply.read_pose(body)["left_shoulder"] == pytest.approx((0.8, 0, 0, 0.6), abs=1e-5)


def test_a_motion_is_keyed_at_the_scenes_rate(body, tmp_path):
    path = tmp_path / "walk.npz"
    poses = np.zeros((61, 156))
    poses[:, 0] = math.pi / 2  # upright in a world that is z up
    poses[:, 16 * 3 + 2] = np.linspace(0, 1, 61)
    np.savez(path, poses=poses, trans=np.zeros((61, 3)), mocap_framerate=60.0)
    bpy.ops.chatpose.load_pose(filepath=str(path), first_frame=11)
    assert motion_operators.key_frames(body) == list(range(11, 36)), "one second at 24 frames a second"
    assert _at(body, 35) == pytest.approx(1.0, abs=1e-3)


def test_a_pickle_is_refused_with_the_reason(body, tmp_path):
    (tmp_path / "pose.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(RuntimeError, match="is a pickle, which can run programs"):
        bpy.ops.chatpose.load_pose(filepath=str(tmp_path / "pose.pkl"))
    assert _angle(body) == 0.0


def test_clipboard_text_is_read(body):
    motion = pose_files.from_json_text(json.dumps(_arm(0.5)))
    assert len(motion) == 1
    with pytest.raises(pose_files.PoseFileError, match="clipboard"):
        pose_files.from_json_text("hello")


# -- pictures and assets -----------------------------------------------------------------------------------------------


def test_pictures_are_drawn_by_the_timer_one_a_tick(addon):
    pictures.unload()
    pictures.load()
    texts = [json.dumps(_arm(a)) for a in (0.0, 1.5)] + ["damaged"]
    assert [pictures.icon(text) for text in texts] == [0, 0, 0] and bpy.app.timers.is_registered(pictures.draw_next)
    tick = effort.spent(pictures.draw_next)
    assert effort.is_short(tick), tick
    assert len(pictures._previews) == 1
    while pictures.draw_next() is not None:
        pass
    drawn = [np.array(picture.image_pixels_float) for picture in pictures._previews.values()]
    assert len(drawn) == 3 and (drawn[0] > 0).sum() > 1000 and not np.array_equal(drawn[0], drawn[1])
    assert not drawn[2].any(), "a damaged pose has an empty picture"
    pictures.icon(texts[0])
    assert not pictures._wanted, "what is drawn is not wanted again"


def test_pictures_do_not_grow_for_ever(addon, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PICTURES", 6)
    pictures.unload()
    pictures.load()
    for i in range(15):
        pictures.icon(json.dumps(_arm(0.1 * i)))
    while pictures.draw_next() is not None:
        pass
    assert 3 <= len(pictures._previews) <= 6


def test_a_pose_asset_knows_the_words_that_made_it(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    assert bpy.ops.chatpose.save_asset(tags="arms, greeting") == {"FINISHED"}
    (action,) = [action for action in bpy.data.actions if action.asset_data]
    assert action.name == "raise an arm" and action.asset_data.description == "raise an arm"
    assert {tag.name for tag in action.asset_data.tags} >= {"ChatPose", "fake", "arms", "greeting"}
    assert body.animation_data is None or body.animation_data.action is None


# -- the body's shape --------------------------------------------------------------------------------------------------


def _height(rig) -> float:
    mesh = rig.children[0]
    return max(vertex.co.z for vertex in mesh.data.vertices) - min(vertex.co.z for vertex in mesh.data.vertices)


def test_shaping_moves_skin_and_joints_and_keeps_pose_and_ground(body):
    before = _height(body), body.data.bones["head"].head_local.z
    bpy.ops.chatpose.apply_pose(pose=json.dumps(_arm(0.5)))
    bpy.ops.chatpose.shape_body(betas=(2.0, *[0.0] * 9))
    assert _height(body) > before[0] + 0.1 and body.data.bones["head"].head_local.z > before[1] + 0.08
    assert _angle(body) == pytest.approx(0.5, abs=1e-3)
    assert apply.lowest(bpy.context, body) == pytest.approx(0.0, abs=1e-3)
    file = load_file()
    joints = file.joints + 2.0 * file.joint_shapes[0]
    offset = Vector(body.data.bones["left_knee"].head_local - body.data.bones["left_hip"].head_local)
    knee, hip = smplx.JOINTS.index("left_knee"), smplx.JOINTS.index("left_hip")
    assert offset.length == pytest.approx(float(np.linalg.norm(joints[knee] - joints[hip])), abs=1e-4)
    bpy.ops.chatpose.shape_body(betas=[0.0] * 10)
    assert _height(body) == pytest.approx(before[0], abs=1e-5)


def load_file():
    return body_files.load_body(str(body_files.STANDIN_FILE))


def test_shaping_is_undone_in_one_step(body):
    bpy.ops.ed.undo_push(message="Start")
    before = _height(body)
    bpy.ops.chatpose.shape_body("EXEC_DEFAULT", True, betas=(3.0, *[0.0] * 9))
    assert bpy.data.objects["ChatPose Body"].chatpose.betas[0] == 3.0
    bpy.ops.ed.undo()
    rig = bpy.data.objects["ChatPose Body"]
    assert _height(rig) == pytest.approx(before) and rig.chatpose.betas[0] == 0.0


def test_another_skin_is_refused(body):
    bpy.data.objects.remove(body.children[0])
    with pytest.raises(RuntimeError, match="does not have the skin"):
        bpy.ops.chatpose.shape_body(betas=[1.0] * 10)
    assert body.mode == "OBJECT"
