"""Dragging a body by its joints, without a window: what the solver is asked, what the rig does, what Esc leaves."""

from __future__ import annotations

import json
import math
import threading
import time

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import preferences, session, titles
from bl_ext.dev.chatpose.dragging import MAIN_HANDLES, Drag
from bl_ext.dev.chatpose.rig import apply, posing, puppet, smplx
from bl_ext.dev.chatpose.rig import rotations as rot
from mathutils import Vector
from rigs import build

from tests import figures

RNG = np.random.default_rng(8)
FAMILIES = [
    ("mixamo", "A"),
    ("unreal_5", "T"),
    ("daz_genesis_9", "A"),
    ("vrm", "T"),
    ("one_spine_bone", "T"),
    ("makehuman", "A"),
]


def _arm(angle: float, place=(0.0, 0.0, 0.0)) -> dict:
    joints = {name: [1, 0, 0, 0] for name in smplx.BODY_JOINTS}
    return {"joints": joints | {"left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}, "transl": place}


def _sent(server) -> list[dict]:
    return [body for method, _, body, _ in server.requests if method == "POST"]


def _until(condition, limit=20.0):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.005)
    return found


@pytest.fixture
def drag(server, body):
    server.answer = {"poses": [_arm(0.5)]}
    begun = Drag(body, preferences.endpoint(bpy.context))
    _until(lambda: begun.live.answers)  # the one that only wakes the server
    yield begun
    begun.end()


def _settle(drag) -> None:
    _until(lambda: (drag.tick(bpy.context), drag.settled)[1])
    bpy.context.view_layer.update()


# -- a rig as the solver sees it ---------------------------------------------------------------------------------------


def _whole_pose(size=0.35) -> dict:
    return {name: tuple(rot.from_rotvec(RNG.normal(size=3) * size).tolist()) for name in smplx.BODY_JOINTS}


def _worst(rig, shape, pose, place) -> float:
    bpy.context.view_layer.update()
    there = shape.places(rig)
    return max(
        float(np.linalg.norm(there[n] - at))
        for n, at in puppet.positions(shape.rest, pose, place).items()
        if n in there
    )


def test_our_body_is_the_solvers_body(body):
    body.location, body.rotation_euler[2] = (1.0, 2.0, 0.0), 0.7
    bpy.ops.chatpose.shape_body(betas=(1.5, -1.0, *[0.0] * 8))
    shape = puppet.measure(body)
    for _ in range(4):
        pose, place = _whole_pose(), tuple(RNG.normal(size=3).tolist())
        shape.put(bpy.context, body, pose, place)
        assert _worst(body, shape, pose, place) < 1e-4
        read, at = shape.pose(body)
        assert at == pytest.approx(place, abs=1e-4)
        assert max(rot.angle_between(read[n], pose[n]) for n in pose) < 1e-3
    hand = shape.place(body, "left_wrist")
    assert shape.to_solver(body, hand) == pytest.approx(shape.places(body)["left_wrist"], abs=1e-4)


@pytest.mark.parametrize(("family", "rest"), FAMILIES)
def test_other_rigs_are_taken_by_their_own_proportions(addon, family, rest):
    rig = build(figures.figure(family, rest=rest, rolls=3))
    rig.scale = (2.0, 2.0, 2.0)
    shape = puppet.measure(rig)
    assert set(shape.rest) == set(smplx.BODY_JOINTS)
    pose, place = _whole_pose(0.25), (0.1, 0.2, -0.1)
    shape.put(bpy.context, rig, pose, place)
    assert _worst(rig, shape, pose, place) < 0.06, "another spine is a little beside the solver's"
    bpy.context.view_layer.update()
    drift = shape.drift(rig, pose, place)
    assert float(np.linalg.norm(drift["pelvis"])) < 1e-3
    hand = puppet.positions(shape.rest, pose, place)["left_wrist"] + drift["left_wrist"]
    assert shape.to_solver(rig, shape.place(rig, "left_wrist")) == pytest.approx(hand, abs=1e-4)


def test_limbs_that_ik_moves_are_said_before_they_are_dragged(addon):
    rig = build(figures.figure("mixamo"))
    assert posing.obstacles(rig) == ()
    constraint = rig.pose.bones["mixamorig:LeftForeArm"].constraints.new("IK")
    constraint.target, constraint.chain_count = bpy.data.objects.new("Goal", None), 2
    (sentence,) = posing.obstacles(rig)
    assert sentence == (
        "'mixamorig:LeftArm' is held by the constraint 'IK' on 'mixamorig:LeftForeArm'. Mute it to see the pose there."
    )
    constraint.mute = True
    assert posing.obstacles(rig) == ()


# -- dragging ----------------------------------------------------------------------------------------------------------


def test_the_hand_is_asked_for_and_the_feet_stand(server, body, drag):
    assert set(drag.handles) >= MAIN_HANDLES and apply.snapshot(body) == drag.before, "waking the server moves nothing"
    start = drag.puppet.place(body, "left_wrist").copy()
    drag.grab("left_wrist")
    drag.move("left_wrist", start + Vector((0, 0, 0.2)))
    _until(lambda: drag.tick(bpy.context))
    request = _sent(server)[-1]
    assert request["task"] == "ik" and set(request["rest"]) == set(smplx.BODY_JOINTS)
    feet = ["left_ankle", "left_foot", "right_ankle", "right_foot"]
    assert sorted(request["pins"]) == feet and set(request["targets"]) == {"left_wrist", *feet}
    here = drag.puppet.to_solver(body, start)
    assert np.array(request["targets"]["left_wrist"]) - here == pytest.approx((0, 0.2, 0), abs=1e-4), "up is y"
    assert request["home"]["joints"]["left_shoulder"] == [1, 0, 0, 0]
    assert apply.read_pose(body)["left_shoulder"][3] == pytest.approx(math.sin(0.25), abs=1e-5)


def test_what_the_mouse_overtook_is_not_asked(server, body, drag):
    server.hold = threading.Event()
    drag.grab("head")
    sent = len(_sent(server))
    drag.move("head", Vector((0, 0, 1)))
    _until(lambda: len(_sent(server)) > sent)
    for k in range(30):
        drag.move("head", Vector((0, 0, 1 + 0.01 * k)))
        drag.tick(bpy.context)
    server.hold.set()
    _until(lambda: len(_sent(server)) == sent + 2)
    heights = [request["targets"]["head"][1] for request in _sent(server)[-2:]]
    assert heights[1] - heights[0] == pytest.approx(0.29, abs=1e-3)
    drag.release()
    _settle(drag)
    assert _sent(server)[-1]["steps"] > _sent(server)[sent]["steps"], "exact once the mouse has let go"


def test_moves_are_taken_back_one_by_one_and_esc_is_exact(server, body, drag):
    body.pose.bones["left_elbow"].rotation_mode = "XYZ"
    drag.grab("left_wrist")
    drag.move("left_wrist", Vector((0, 0, 1)))
    drag.release()
    _settle(drag)
    after_first = apply.snapshot(body)
    server.answer = {"poses": [_arm(1.2, (0.1, 0.2, 0.0))]}
    drag.grab("right_wrist")
    drag.move("right_wrist", Vector((0, 0, 1)))
    drag.release()
    _settle(drag)
    assert apply.snapshot(body) != after_first and drag.moves == 2
    assert drag.undo(bpy.context) and apply.snapshot(body) == after_first
    assert drag.handles["right_wrist"].place is None and drag.handles["left_wrist"].place is not None
    assert drag.undo(bpy.context) and not drag.undo(bpy.context)
    drag.restore()
    assert apply.snapshot(body) == drag.before
    assert body.animation_data is None and {ob.type for ob in bpy.data.objects} == {"ARMATURE", "MESH"}


def test_pins_are_the_artists(server, body, drag):
    drag.pin(body, "pelvis")
    drag.let_go("left_ankle")
    goal = drag.goal(4)
    assert set(goal.pins) == {"pelvis", "right_ankle", "right_foot"} and "left_ankle" not in goal.targets
    assert drag.place(body, "left_ankle") == drag.puppet.place(body, "left_ankle")


def test_a_dragged_foot_keeps_the_angle_of_its_sole(server, body, drag):
    drag.grab("left_ankle")
    ankle = drag.place(body, "left_ankle")
    before = drag.goal(4).targets
    drag.move("left_ankle", ankle + Vector((0.0, 0.0, 0.3)))
    after = drag.goal(4).targets
    for joint in ("left_ankle", "left_foot"):
        assert np.subtract(after[joint], before[joint]) == pytest.approx((0, 0.3, 0), abs=1e-4)


def test_a_server_that_is_gone_is_told_and_the_body_stays(server, body, drag):
    server.failure = {"code": "internal", "message": "Something broke", "hint": "Try again"}
    drag.grab("head")
    now = apply.snapshot(body)
    drag.move("head", Vector((0, 0, 1)))
    assert _until(lambda: drag.problem) == "Something broke. Try again."
    drag.tick(bpy.context)
    assert apply.snapshot(body) == now


def test_another_file_or_undo_ends_it(server, body, drag):
    session.current.tool = drag
    assert not bpy.ops.chatpose.natural_pose.poll(), "one thing at a time"
    session._on_undo()
    assert session.current.tool is None
    drag.live._thread.join(5)
    assert not drag.live._thread.is_alive()


def test_without_a_viewport_there_is_nothing_to_drag(body):
    assert bpy.ops.chatpose.drag() == {"CANCELLED"}
    assert not bpy.ops.chatpose.drag_end.poll() and session.current.tool is None


def test_handles_have_names_for_people():
    assert [titles.title(name) for name in ("left_wrist", "right_ankle", "spine3", "head")] == [
        "Left Hand", "Right Foot", "Chest", "Head",
    ]  # fmt: skip


def test_what_is_kept_is_keyed_when_auto_key_is_on(server, body, drag):
    drag.grab("left_wrist")
    bones = drag.changed_bones()
    assert "pelvis" in bones and "left_wrist" in bones and "left_index1" not in bones
    json.dumps(bones)
