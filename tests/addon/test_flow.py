"""From the Pose button to the posed rig, against a scriptable server; and everything that can go wrong on the way."""

from __future__ import annotations

import json
import socket
import threading
import time

import bpy
import pytest
from bl_ext.dev.chatpose import preferences, session
from bl_ext.dev.chatpose.client import jobs as jobs_module
from bl_ext.dev.chatpose.client.connection import State
from bl_ext.dev.chatpose.operators import connection as connection_operators
from bl_ext.dev.chatpose.rig import apply
from bl_ext.dev.chatpose.rig.target import Target

from tests.addon import effort
from tests.fake_server import LOADING, RAISED_ARM, READY


def _ask(prompt="raise an arm"):
    bpy.context.scene.chatpose.prompt = prompt
    return bpy.ops.chatpose.pose()


def _snapshot(rig) -> list:
    return [tuple(bone.rotation_quaternion) + tuple(bone.location) for bone in rig.pose.bones]


def _rig():
    return bpy.data.objects["ChatPose Body"]


def test_prompt_to_pose_is_one_undo_step(server, body, settle):
    bpy.ops.ed.undo_push(message="Start")
    before = _snapshot(body)
    assert _ask() == {"FINISHED"}
    settle()
    assert session.current.problem is None
    sent = next(body for method, _, body, _ in server.requests if method == "POST")
    assert (sent["task"], sent["prompt"]) == ("pose", "raise an arm")
    posed = _snapshot(_rig())
    assert apply.read_pose(_rig())["left_shoulder"] == pytest.approx((0.8, 0, 0, 0.6), abs=1e-5)
    assert session.current.answer == "Here you are."
    bpy.ops.ed.undo()
    assert _snapshot(_rig()) == before
    bpy.ops.ed.redo()
    assert _snapshot(_rig()) == posed


def test_ticks_are_short(server, body, settle):
    bpy.ops.ed.undo_push(message="Start")
    _ask()  # once unmeasured: the first of everything loads something
    settle()
    posed = _snapshot(_rig())
    bpy.ops.ed.undo()
    assert _snapshot(_rig()) != posed
    _ask()
    while session.current.work is not None or session.current.jobs.waiting:
        tick = effort.spent(session.pump)
        assert effort.is_short(tick), tick
        time.sleep(0.005)
    assert _snapshot(_rig()) == posed


def test_the_timer_ends_with_the_work(server, body, settle):
    _ask()
    assert bpy.app.timers.is_registered(session.pump)
    settle()
    assert session.pump() is None
    count = len(server.requests)
    time.sleep(0.2)
    assert len(server.requests) == count, "nothing is asked while nothing is wanted"


def test_a_flood_of_messages_does_not_hold_up_a_tick(server, body, settle):
    server.hold = threading.Event()
    _ask()
    settle(lambda: session.current.work and session.current.work.text)
    handle = session.current.work.handle
    status = jobs_module.JobStatus(id="job0", state="running", text="x" * 1000)
    for _ in range(100_000):
        session.current.jobs._inbox.put(jobs_module.Progressed(handle, status))
    session.pump()
    assert session.current.jobs._inbox.qsize() > 50_000  # all of them would take a second
    bpy.ops.chatpose.cancel()


# -- what can go wrong: one clear sentence, the scene untouched --------------------------------------------------------


def _nobody(server):
    server.stop()


def _another_program(server):
    server.health = {"status": "ok"}


def _wrong_token(server):
    server.token = "secret"


def _no_pose(server):
    server.answer = {"text": "", "poses": []}


def _broken_pose(server):
    server.answer = {"text": "x", "poses": [{"joints": {"head": [9, 9, 9, 9]}}]}


def _unknown_joints(server):
    server.answer = {"text": "x", "poses": [{"joints": {"tail": [1, 0, 0, 0]}}]}


def _failing(server):
    server.failure = {"code": "out_of_memory", "message": "The model ran out of memory.", "hint": "Unload it"}


TROUBLE = [
    (_nobody, "is not running at http://127.0.0.1", State.OFF),
    (_another_program, "is not a ChatPose server", State.WRONG_SERVER),
    (_wrong_token, "does not accept the token", State.WRONG_TOKEN),
    (_no_pose, "answered without a pose", State.READY),
    (_broken_pose, "cannot be read", State.ERROR),
    (_unknown_joints, "says nothing of this character's joints", State.READY),
    (_failing, "ran out of memory. Unload it.", State.READY),
]


@pytest.mark.parametrize(("trouble", "says", "state"), TROUBLE, ids=[case[0].__name__ for case in TROUBLE])
def test_trouble(server, body, settle, trouble, says, state):
    trouble(server)
    before = _snapshot(body)
    _ask()
    settle()
    assert says in session.current.problem.sentence
    assert session.current.problem.sentence.count("\n") == 0
    assert session.current.connection.state is state
    assert _snapshot(_rig()) == before


def test_the_server_is_killed_in_mid_answer(server, body, settle):
    server.hold = threading.Event()
    before = _snapshot(body)
    _ask()
    settle(lambda: session.current.work and session.current.work.text)
    server.stop()
    settle()
    sentence = "The server stopped in the middle of this job; start it again and repeat."
    assert session.current.problem.sentence == sentence
    assert session.current.connection.state is State.LOST
    assert _snapshot(_rig()) == before


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("", "The prompt is empty; write what the character should do."),
        ("  \n ", "The prompt is empty; write what the character should do."),
        ("x" * 100_000, "The prompt has 100,000 characters; shorten it to 8,000 or fewer."),
    ],
)
def test_prompts_that_are_none(server, body, prompt, says):
    before = _snapshot(body)
    assert _ask(prompt) == {"CANCELLED"}
    assert session.current.problem.sentence == says
    assert server.requests == [] and _snapshot(_rig()) == before


def test_cancel_changes_nothing_and_tells_the_server(server, body, settle):
    server.hold = threading.Event()
    before = _snapshot(body)
    _ask()
    settle(lambda: session.current.work and session.current.work.text)
    assert bpy.ops.chatpose.cancel() == {"FINISHED"}
    server.hold.set()
    time.sleep(0.2)
    assert session.pump() is None
    assert session.current.problem.sentence == "Cancelled; nothing was changed."
    assert server.cancelled == {"job0"} and _snapshot(_rig()) == before
    assert not bpy.ops.chatpose.cancel.poll()


def test_the_rig_is_found_again_under_another_name(server, body, settle):
    server.hold = threading.Event()
    _ask()
    body.name = "Hero"
    server.hold.set()
    settle()
    assert apply.read_pose(bpy.data.objects["Hero"])["left_shoulder"][0] == pytest.approx(0.8, abs=1e-5)


def test_the_rig_was_deleted_meanwhile(server, body, settle):
    server.hold = threading.Event()
    _ask()
    bpy.data.objects.remove(body)
    server.hold.set()
    settle()
    assert session.current.problem.sentence == "'ChatPose Body' is no longer in the scene; the pose was not applied."


def test_undo_while_the_answer_is_on_its_way(server, settle):
    bpy.ops.ed.undo_push(message="Start")
    bpy.ops.chatpose.add_body("EXEC_DEFAULT", True)
    bpy.ops.ed.undo_push(message="Something else")
    server.hold = threading.Event()
    _ask()
    bpy.ops.ed.undo()  # replaces every object; pointers to the old ones would crash
    server.hold.set()
    settle()
    assert apply.read_pose(_rig())["left_shoulder"][0] == pytest.approx(0.8, abs=1e-5)


def test_another_file_is_opened_meanwhile(server, body, settle):
    server.hold = threading.Event()
    _ask()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    server.hold.set()
    settle()
    assert session.current.work is None and session.current.problem is None


def test_an_answer_waits_for_the_end_of_edit_mode(server, body, settle):
    server.hold = threading.Event()
    _ask()
    bpy.ops.object.mode_set(mode="EDIT")
    server.hold.set()
    settle(lambda: session.current.work and "Object or Pose Mode" in session.current.work.stage)
    bpy.ops.object.mode_set(mode="POSE")
    settle()
    assert apply.read_pose(_rig())["left_shoulder"][0] == pytest.approx(0.8, abs=1e-5)


def test_an_answer_waits_for_the_end_of_a_render(server, body, settle, monkeypatch):
    rendering = [True]
    monkeypatch.setattr(session, "_is_rendering", lambda: rendering[0])
    before = _snapshot(body)
    _ask()
    settle(lambda: session.current.work and "render" in session.current.work.stage)
    assert _snapshot(body) == before
    rendering.clear()
    rendering.append(False)
    settle()
    assert apply.read_pose(body)["left_shoulder"][0] == pytest.approx(0.8, abs=1e-5)


# -- what it is applied to ---------------------------------------------------------------------------------------------


def test_the_mesh_stands_for_its_rig(server, body, settle):
    bpy.context.view_layer.objects.active = bpy.data.objects["ChatPose Body Mesh"]
    assert _ask() == {"FINISHED"}
    settle()
    assert session.current.problem is None and _snapshot(_rig()) != [(1, 0, 0, 0, 0, 0, 0)] * 55


def test_two_characters_keep_their_poses_apart(server, body, settle):
    bpy.ops.chatpose.add_body()
    second = bpy.context.object
    _ask()
    bpy.context.view_layer.objects.active = body  # looks away while it waits
    settle()
    assert apply.read_pose(second)["left_shoulder"][0] == pytest.approx(0.8, abs=1e-5)
    assert apply.read_pose(body)["left_shoulder"][0] == pytest.approx(1.0)


def test_keying_on_apply(server, body, settle):
    bpy.context.scene.chatpose.insert_key = True
    bpy.context.scene.frame_set(7)
    _ask()
    settle()
    frames = {p.co[0] for curve in _curves(_rig()) for p in curve.keyframe_points}
    paths = {curve.data_path for curve in _curves(_rig())}
    assert frames == {7.0}
    assert 'pose.bones["left_shoulder"].rotation_quaternion' in paths and 'pose.bones["pelvis"].location' in paths
    assert not any("head" in path for path in paths), "only bones that the pose speaks of are keyed"


def test_key_at_current_frame_keys_everything_once(server, body):
    bpy.context.scene.frame_set(3)
    bpy.ops.chatpose.key_pose()
    assert len(list(_curves(body))) == 55 * 4 + 3


def _curves(rig):
    action = rig.animation_data.action
    if not hasattr(action, "slots"):
        return list(action.fcurves)
    bags = (strip.channelbag(rig.animation_data.action_slot) for layer in action.layers for strip in layer.strips)
    return [curve for bag in bags for curve in bag.fcurves]


REDO = [
    ({"strength": 0.5}, lambda pose: 0.0 < pose["left_shoulder"][3] < 0.6),
    ({"mirror": True}, lambda pose: pose["right_shoulder"][3] == pytest.approx(-0.6, abs=1e-5)),
    ({"part": "LOWER"}, lambda pose: pose["left_shoulder"][0] == 1.0 and pose["right_knee"][1] > 0.5),
    ({"part": "SELECTED"}, lambda pose: pose["left_shoulder"][3] == pytest.approx(0.6, abs=1e-5)),
    ({"hands": "RELAXED"}, lambda pose: pose["left_index1"][0] < 0.999),
]


@pytest.mark.parametrize(("change", "holds"), REDO, ids=[str(case[0]) for case in REDO])
def test_redo_panel(server, body, change, holds):
    from bl_ext.dev.chatpose import blender_versions

    for bone in body.pose.bones:
        blender_versions.select(bone, bone.name == "left_shoulder")
    assert bpy.ops.chatpose.apply_pose(pose=json.dumps(RAISED_ARM), **change) == {"FINISHED"}
    assert holds(apply.read_pose(body))


@pytest.mark.parametrize("pose", ["", "{}", "[]", '{"joints": {"head": [1]}}', "nonsense"])
def test_apply_pose_refuses_what_is_no_pose(server, body, pose):
    before = _snapshot(body)
    with pytest.raises(RuntimeError, match="This pose cannot be read"):
        bpy.ops.chatpose.apply_pose(pose=pose)
    assert _snapshot(body) == before


# -- connection --------------------------------------------------------------------------------------------------------


def test_check_connection(server, settle):
    bpy.ops.chatpose.check_connection()
    assert session.current.connection.state is State.CHECKING
    settle()
    assert (session.current.connection.state, session.current.connection.text) == (State.READY, "Ready with fake.")


def test_check_follows_the_loading(server, settle):
    server.health = LOADING
    bpy.ops.chatpose.check_connection()
    settle(lambda: session.current.connection.state is State.LOADING)
    assert session.current.connection.fraction == pytest.approx(0.4)
    server.health = READY
    settle()
    assert session.current.connection.state is State.READY


def test_other_hosts_need_online_access_and_this_one_does_not(server, body):
    bpy.context.scene.chatpose.prompt = "sit"
    assert bpy.ops.chatpose.pose.poll()
    preferences.get(bpy.context).address = "https://poses.example.com"
    assert bpy.app.online_access or not bpy.ops.chatpose.pose.poll()
    assert bpy.app.online_access or "allow online access" in preferences.refusal(bpy.context)
    preferences.get(bpy.context).address = "nonsense://"
    assert "is not a server address" in preferences.refusal(bpy.context)


def test_details_hold_no_secret(server, body, settle):
    preferences.get(bpy.context).token = "very-secret"
    server.token = "other"
    _ask("a private wish")
    settle()
    preferences.get(bpy.context).token = ""
    text = connection_operators.details()
    assert "does not accept the token" in text and "Blender" in text
    assert "very-secret" not in text and "private" not in text


def test_a_fault_of_our_own_is_told_and_does_not_stop_the_next_job(server, body, settle, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr(Target, "find", broken)
        _ask()
        settle()
    assert session.current.problem.sentence == (
        "ChatPose itself failed (ZeroDivisionError); use Copy Details and report it."
    )
    assert "session.py" in session.current.problem.details and "/" not in session.current.problem.details
    _ask()
    settle()
    assert session.current.problem is None


def test_the_main_thread_never_opens_a_socket(server, body, settle, monkeypatch):
    main, used = threading.main_thread(), []
    real = socket.socket.connect

    def connect(self, address):
        used.append(threading.current_thread() is main)
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    _ask()
    settle()
    assert used and not any(used)
