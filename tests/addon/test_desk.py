"""The artist's desk: conversation, refining, describing, candidates, other rigs."""

from __future__ import annotations

import json
import math
import threading

import bpy
import pytest
from bl_ext.dev.chatpose import conversation, pictures, session
from bl_ext.dev.chatpose.operators import candidates
from bl_ext.dev.chatpose.rig import apply, posing
from mathutils import Vector

from tests.fake_server import RAISED_ARM


def _rig():
    return bpy.data.objects["ChatPose Body"]


def _exact(rig) -> dict:
    return dict(apply.snapshot(rig).channels)


def _talk(rig) -> list[tuple[str, str, bool]]:
    return [(message.role, message.text, bool(message.pose)) for message in rig.chatpose.messages]


def _arm(angle: float) -> dict:
    return {"joints": {"left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}}


# -- conversation ------------------------------------------------------------------------------------------------------


def test_words_and_pose_are_one_undo_step(server, body, settle):
    bpy.ops.ed.undo_push(message="Start")
    before = _exact(body)
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    assert _talk(_rig()) == [("user", "raise an arm", False), ("assistant", "Here you are.", True)]
    assert _rig().chatpose.messages[1].model == "fake" and _rig().chatpose.messages[1].seed == 1
    bpy.ops.ed.undo()
    assert _talk(_rig()) == [] and _exact(_rig()) == before
    bpy.ops.ed.redo()
    assert len(_talk(_rig())) == 2


def test_plain_chat_changes_no_bone(server, body, settle):
    server.answer = {"text": "She is waving.", "poses": []}
    before = _exact(body)
    bpy.ops.chatpose.pose(prompt="what is she doing?")
    settle()
    assert _talk(body) == [("user", "what is she doing?", False), ("assistant", "She is waving.", False)]
    assert _exact(body) == before and session.current.answer == "She is waving."


QUESTIONS = [
    ("what is she doing?", True),
    ("What's he doing", True),
    ("Is her left arm raised?", True),
    ("where are the hands?", True),
    ("describe the pose", True),
    ("Describe her current pose.", True),
    ("can she sit down?", False),
    ("how about a deep squat?", False),
    ("what if he kneels?", False),
    ("describe a circle with the arms", False),
    ("a man who is waving", False),
    ("is kneeling, arms raised", False),
    ("she looks around: where is it?", False),
    ("", False),
]


@pytest.mark.parametrize(("words", "asks"), QUESTIONS)
def test_questions_are_told_from_wishes(words, asks):
    assert conversation.asks_about_pose(words) is asks


def test_a_question_is_answered_from_the_rig(server, body, settle):
    server.capabilities["tasks"] = ["pose", "describe"]
    server.answer = {"text": "The left arm is raised.", "posecodes": []}
    apply.write_pose(body, {"left_shoulder": (0.8, 0, 0, 0.6)})
    before = _exact(body)
    for refine in (False, True):
        bpy.ops.chatpose.pose(prompt="what is she doing?", refine=refine)
        settle()
    requests = [body for method, _, body, _ in server.requests if method == "POST"]
    assert [request["task"] for request in requests] == ["describe", "describe"]
    assert requests[0]["pose"]["joints"]["left_shoulder"] == pytest.approx([0.8, 0, 0, 0.6], abs=1e-5)
    assert _exact(body) == before
    assert _talk(body)[:2] == [("user", "what is she doing?", False), ("assistant", "The left arm is raised.", False)]


def test_the_answer_streams_into_the_chat_of_its_character(server, body, settle):
    server.stream, server.hold = ["Her", "Her left", "Her left arm"], threading.Event()
    bpy.ops.chatpose.add_body()
    other = bpy.context.object
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle(lambda: session.current.work and session.current.work.text == "Her left arm")
    work = session.current.work
    assert work.words == "raise an arm" and work.target.is_for(other) and not work.target.is_for(body)
    assert _talk(other) == [], "the file holds whole answers only"
    server.hold.set()
    settle()
    assert [text for _, text, _ in _talk(other)] == ["raise an arm", "Here you are."]


def test_the_conversation_is_kept_in_the_file(server, body, settle, tmp_path):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert [text for _, text, _ in _talk(_rig())] == ["raise an arm", "Here you are."]
    assert conversation.pose_of(_rig().chatpose.messages[1]).joints["left_shoulder"] == pytest.approx((0.8, 0, 0, 0.6))


def test_refining_sends_the_present_pose_and_what_was_said(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.chatpose.pose(prompt="higher", refine=True)
    settle()
    request = [body for method, _, body, _ in server.requests if method == "POST"][-1]
    assert request["current"]["joints"]["left_shoulder"] == pytest.approx([0.8, 0, 0, 0.6], abs=1e-5)
    assert [(m["role"], m["content"]) for m in request["messages"]] == [
        ("user", "raise an arm"),
        ("assistant", "Here you are."),
    ]
    assert len(request["messages"][1]["poses"]) == 1


def test_a_new_pose_sends_neither(server, body, settle):
    for prompt in ("raise an arm", "sit"):
        bpy.ops.chatpose.pose(prompt=prompt)
        settle()
    request = [body for method, _, body, _ in server.requests if method == "POST"][-1]
    assert "current" not in request and "messages" not in request


def test_regenerate_asks_with_a_new_seed(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.chatpose.message_regenerate()
    settle()
    requests = [body for method, _, body, _ in server.requests if method == "POST"]
    assert requests[1]["prompt"] == "raise an arm" and requests[1]["seed"] == 2  # the answer's own was 1


def test_regenerate_of_a_change_starts_where_the_change_started(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    server.answer = {"text": "Higher.", "poses": [_arm(1.5)], "model": "fake", "seed": 4}
    bpy.ops.chatpose.pose(prompt="higher", refine=True)
    settle()
    for line in (3, 2):  # the answer, or the question above it
        body.chatpose.active_message = line
        bpy.ops.chatpose.message_regenerate()
        settle()
        request = [body for method, _, body, _ in server.requests if method == "POST"][-1]
        assert request["prompt"] == "higher" and request["seed"] == 5
        assert request["current"]["joints"]["left_shoulder"] == pytest.approx([0.8, 0, 0, 0.6], abs=1e-5)
        assert [m["content"] for m in request["messages"]] == ["raise an arm", "Here you are."]


def test_copying_takes_the_words(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    assert bpy.ops.chatpose.message_copy() == {"FINISHED"}


def test_describe_writes_the_pose_in_words(server, body, settle):
    server.capabilities["tasks"] = ["pose", "describe"]
    server.answer = {"text": "The left arm is raised.", "posecodes": []}
    apply.write_pose(body, {"left_shoulder": (0.8, 0, 0, 0.6)})
    bpy.ops.chatpose.describe()
    settle()
    request = [body for method, _, body, _ in server.requests if method == "POST"][-1]
    assert request["task"] == "describe"
    assert request["pose"]["joints"]["left_shoulder"] == pytest.approx([0.8, 0, 0, 0.6], abs=1e-5)
    assert _talk(body)[-1] == ("assistant", "The left arm is raised.", False)


def test_what_the_server_cannot_do_is_grey(server, body, settle):
    bpy.ops.chatpose.check_connection()
    settle()
    assert bpy.ops.chatpose.pose.poll() and not bpy.ops.chatpose.describe.poll()


def test_messages_are_applied_again_deleted_and_cleared(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    apply.write_pose(body, {"left_shoulder": (1, 0, 0, 0)})
    bpy.ops.chatpose.message_apply()
    assert apply.read_pose(body)["left_shoulder"] == pytest.approx((0.8, 0, 0, 0.6), abs=1e-5)
    assert len(_talk(body)) == 2, "applying again says nothing new"
    body.chatpose.messages[1].starred = True
    bpy.ops.chatpose.conversation_clear()
    assert _talk(body) == [("assistant", "Here you are.", True)]
    bpy.ops.chatpose.message_delete()
    assert _talk(body) == [] and not bpy.ops.chatpose.message_delete.poll()


def test_two_characters_have_their_own_conversations(server, body, settle):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.chatpose.add_body()
    other = bpy.context.object
    bpy.ops.chatpose.pose(prompt="sit")
    settle()
    assert [text for _, text, _ in _talk(body)] == ["raise an arm", "Here you are."]
    assert [text for _, text, _ in _talk(other)] == ["sit", "Here you are."]


def test_a_conversation_does_not_grow_for_ever(body):
    for i in range(conversation.MAX_MESSAGES):
        conversation.add_answer(body, prompt=f"p{i}", text="a")
        if i == 0:
            body.chatpose.messages[1].starred = True
    messages = body.chatpose.messages
    assert len(messages) == conversation.MAX_MESSAGES and messages[0].starred
    assert messages[len(messages) - 2].text == f"p{conversation.MAX_MESSAGES - 1}"
    assert len(conversation.turns(body)) == conversation.MAX_TURNS_SENT


# -- candidates --------------------------------------------------------------------------------------------------------


@pytest.fixture
def browsing(server, body, settle):
    """Three candidates on their way through the viewport, over a pose with every kind of channel."""
    body.pose.bones["spine1"].rotation_mode = "XYZ"
    body.pose.bones["spine1"].rotation_euler = (0.1, 0.2, 0.3)
    body.pose.bones["neck"].rotation_mode = "AXIS_ANGLE"
    body.pose.bones["pelvis"].location = (0.1, 0.2, 0.3)
    bpy.ops.ed.undo_push(message="Start")
    before = _exact(body)
    server.answer = {"text": "Three.", "poses": [_arm(0.5), _arm(1.0), _arm(1.5)], "model": "fake", "seed": 5}
    bpy.context.scene.chatpose.candidates = 3
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    yield before
    if session.current.browser is not None:
        bpy.ops.chatpose.candidate_discard()


def _angle() -> float:
    w, *_, z = apply.read_pose(_rig())["left_shoulder"]
    return round(2 * math.atan2(z, w), 3)


def test_candidates_are_asked_for_and_stepped_through(server, browsing):
    assert [body for method, _, body, _ in server.requests if method == "POST"][-1]["candidates"] == 3
    seen = [_angle()]
    for step in (1, 1, 1, -1):
        bpy.ops.chatpose.candidate_step(step=step)
        seen.append(_angle())
    assert seen == [0.5, 1.0, 1.5, 0.5, 1.5]
    assert _talk(_rig()) == [] and _rig().animation_data is None
    assert not bpy.ops.chatpose.pose.poll(), "first one candidate is chosen"


def test_discarding_restores_exactly(browsing):
    bpy.ops.chatpose.candidate_step()
    bpy.ops.chatpose.candidate_discard()
    assert _exact(_rig()) == browsing and session.current.browser is None
    assert not bpy.ops.chatpose.candidate_step.poll()


def test_keeping_is_one_undo_step(browsing):
    bpy.ops.chatpose.candidate_step(step=-1)
    bpy.ops.chatpose.candidate_keep("EXEC_DEFAULT", True)  # as a button calls it
    assert _angle() == 1.5 and len(_talk(_rig())) == 2
    bpy.ops.ed.undo()
    assert _exact(_rig()) == browsing and _talk(_rig()) == []


def test_the_pictures_are_drawn_from_the_rig_as_each_candidate_poses_it(browsing):
    keys = session.current.browser.figures
    shown = _exact(_rig())
    figures = [candidates.places(key) for key in keys]
    heights = [places["left_wrist"][1] - places["left_shoulder"][1] for places in figures]
    assert heights == sorted(heights) and heights[2] - heights[0] > 0.1, "the arm is higher in each"
    assert _exact(_rig()) == shown and _angle() == 0.5, "drawing them left the first candidate on the rig"
    assert pictures.figure(keys[1], lambda: candidates.places(keys[1])) == 0
    while pictures.draw_next() is not None:
        pass
    assert keys[1] in pictures._previews and _exact(_rig()) == shown
    bpy.ops.chatpose.candidate_discard()
    assert candidates.places(keys[0]) == {}, "a picture that comes too late is empty"


def test_pictures_while_the_rig_is_edited(browsing):
    bpy.ops.object.mode_set(mode="EDIT")
    assert candidates.places(session.current.browser.figures[0])["left_wrist"].shape == (3,)
    bpy.ops.object.mode_set(mode="OBJECT")


def test_candidates_of_a_change_face_as_the_model_says(server, body, settle):
    turned = {"joints": {**_arm(1.0)["joints"], "pelvis": [0.8, 0, 0.6, 0]}}
    server.answer = {"text": "Two.", "poses": [turned, turned], "model": "fake", "seed": 5}
    bpy.context.scene.chatpose.candidates = 2
    bpy.ops.chatpose.pose(prompt="turn left", refine=True)
    settle()
    shown = apply.read_pose(body)["pelvis"]
    bpy.ops.chatpose.candidate_keep()
    assert apply.read_pose(body)["pelvis"] == pytest.approx(shown, abs=1e-6)
    assert shown == pytest.approx((0.8, 0, 0.6, 0), abs=1e-5)


def test_undo_ends_the_browsing(browsing):
    bpy.ops.chatpose.candidate_step()
    bpy.ops.ed.undo_push(message="Something else")
    bpy.ops.ed.undo()
    assert session.current.browser is None


def test_the_character_is_deleted_while_browsing(browsing):
    bpy.data.objects.remove(_rig())
    bpy.ops.chatpose.candidate_step()
    assert session.current.browser is None and "no longer in the scene" in session.current.problem.sentence


# -- the redo panel: every setting alone -------------------------------------------------------------------------------

TURNED = {"joints": {"pelvis": [0.8, 0, 0.6, 0], "right_knee": [0.8, 0.6, 0, 0], "left_index1": [0.9, 0, 0, 0.436]}}


def _facing() -> float:
    w, _, y, _ = apply.read_pose(_rig())["pelvis"]
    return math.degrees(2 * math.atan2(y, w))


REDO = [
    ({"facing": "KEEP"}, lambda rig: abs(_facing()) < 0.01),
    ({"facing": "MODEL"}, lambda rig: _facing() == pytest.approx(73.74, abs=0.01)),
    ({"facing": "KEEP", "turn": math.radians(30)}, lambda rig: _facing() == pytest.approx(30, abs=0.01)),
    ({"facing": "MODEL", "turn": math.radians(30)}, lambda rig: _facing() == pytest.approx(103.74, abs=0.01)),
    ({"facing": "MODEL", "strength": 0.5}, lambda rig: _facing() == pytest.approx(73.74 / 2, abs=0.01)),
    ({"facing": "MODEL", "mirror": True}, lambda rig: _facing() == pytest.approx(-73.74, abs=0.01)),
    ({"height": "KEEP"}, lambda rig: tuple(rig.pose.bones["pelvis"].location) == pytest.approx((0, 0, 0.25))),
    ({"height": "GROUND"}, lambda rig: apply.lowest(bpy.context, rig) == pytest.approx(0, abs=0.002)),
    ({"hands": "KEEP"}, lambda rig: apply.read_pose(rig)["left_index1"][0] == pytest.approx(0.9, abs=1e-3)),
    ({"hands": "FLAT"}, lambda rig: apply.read_pose(rig)["left_index1"][0] == pytest.approx(1)),
    ({"hands": "RELAXED"}, lambda rig: apply.read_pose(rig)["right_pinky2"][0] < 0.98),
    ({"part": "HANDS"}, lambda rig: apply.read_pose(rig)["right_knee"][0] == pytest.approx(1)),
    ({"insert_key": True}, lambda rig: rig.animation_data.action is not None),
    ({"insert_key": False}, lambda rig: rig.animation_data is None),
]


@pytest.mark.parametrize(("change", "holds"), REDO, ids=[str(case[0]) for case in REDO])
def test_redo_panel(addon, skeleton, change, holds):
    skeleton.pose.bones["pelvis"].location = (0, 0, 0.25)
    assert bpy.ops.chatpose.apply_pose(pose=json.dumps(TURNED), **{"height": "KEEP", **change}) == {"FINISHED"}
    assert holds(_rig())


@pytest.fixture
def skeleton(addon):
    bpy.ops.chatpose.add_body()
    return bpy.context.object


# -- other rigs --------------------------------------------------------------------------------------------------------

MIXAMO = {
    # bone: (parent, head, tail) in centimetres, z up, facing -y, a Mixamo character's T-pose
    "Hips": (None, (0, 0, 100), (0, 0, 110)), "Spine": ("Hips", (0, 0, 110), (0, 0, 122)),
    "Spine1": ("Spine", (0, 0, 122), (0, 0, 135)), "Spine2": ("Spine1", (0, 0, 135), (0, 0, 150)),
    "Neck": ("Spine2", (0, 0, 150), (0, 0, 160)), "Head": ("Neck", (0, 0, 160), (0, 0, 178)),
    **{f"{side}{bone}": (parent and parent.format(side), (s * a[0], *a[1:]), (s * b[0], *b[1:]))
       for side, s in (("Left", 1), ("Right", -1)) for bone, parent, a, b in (
           ("Shoulder", "Spine2", (5, 0, 146), (16, 0, 146)), ("Arm", "{}Shoulder", (16, 0, 146), (44, 0, 146)),
           ("ForeArm", "{}Arm", (44, 0, 146), (70, 0, 146)), ("Hand", "{}ForeArm", (70, 0, 146), (80, 0, 146)),
           ("UpLeg", "Hips", (9, 0, 95), (9, 0, 52)), ("Leg", "{}UpLeg", (9, 0, 52), (9, 1, 9)),
           ("Foot", "{}Leg", (9, 1, 9), (9, -11, 2)), ("ToeBase", "{}Foot", (9, -11, 2), (9, -18, 2)))},
}  # fmt: skip


@pytest.fixture
def mixamo(addon):
    data = bpy.data.armatures.new("Hero")
    rig = bpy.data.objects.new("Hero", data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, (parent, head, tail) in MIXAMO.items():
        bone = data.edit_bones.new(f"hero7:{name}")
        bone.head, bone.tail = Vector(head), Vector(tail)
        bone.parent = data.edit_bones[f"hero7:{parent}"] if parent else None
    bpy.ops.object.mode_set(mode="OBJECT")
    rig.scale = (0.01, 0.01, 0.01)
    return rig


def test_another_rig_is_recognised_and_posed(server, mixamo, settle):
    assert posing.refusal(mixamo) == "" and "Mixamo" in posing.family(mixamo)
    server.answer = {"text": "Up.", "poses": [_arm(1.2)]}
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    assert session.current.problem is None
    bpy.ops.chatpose.add_body()
    bpy.ops.chatpose.apply_pose(pose=json.dumps(_arm(1.2)))
    bpy.context.view_layer.update()
    theirs, ours = mixamo.pose.bones, _rig().pose.bones
    direction = (theirs["hero7:LeftForeArm"].head - theirs["hero7:LeftArm"].head).normalized()
    expected = (ours["left_elbow"].head - ours["left_shoulder"].head).normalized()
    assert math.degrees(direction.angle(expected)) < 0.5
    assert [text for _, text, _ in _talk(mixamo)] == ["raise an arm", "Up."]


def test_a_redraw_does_not_recognise_again(mixamo, monkeypatch):
    posing.family(mixamo)
    monkeypatch.setattr(posing.recognise, "plan", lambda bones: pytest.fail("recognised once more"))
    assert posing.family(mixamo)


def test_what_is_no_person_is_grey_and_says_why(addon):
    bpy.ops.object.armature_add()
    assert not bpy.ops.chatpose.pose.poll()
    assert "not recognised as a person's" in posing.refusal(bpy.context.object)


def test_selected_bones_of_another_rig(mixamo):
    from bl_ext.dev.chatpose import blender_versions

    for bone in mixamo.pose.bones:
        blender_versions.select(bone, bone.name == "hero7:LeftForeArm")
    both = {"joints": {**_arm(1.0)["joints"], "left_elbow": [0.8, 0, 0, 0.6]}}
    bpy.ops.chatpose.apply_pose(pose=json.dumps(both), part="SELECTED")
    turned = {b.name for b in mixamo.pose.bones if abs(b.rotation_quaternion.angle) > 1e-4}
    assert turned == {"hero7:LeftForeArm"}


def test_keys_go_onto_another_rigs_own_bones(mixamo):
    bpy.ops.chatpose.apply_pose(pose=json.dumps(RAISED_ARM), insert_key=True)
    assert mixamo.animation_data.action is not None


# -- bone mapping ------------------------------------------------------------------------------------------------------


def _line(rig, name):
    return next(line for line in rig.chatpose.mapping if line.name == name)


def test_the_mapping_shows_what_was_recognised_and_can_be_put_right(mixamo):
    bpy.ops.chatpose.mapping_edit()
    assert _line(mixamo, "left_shoulder").bones == "hero7:LeftArm"
    assert _line(mixamo, "spine").bones == "hero7:Spine, hero7:Spine1, hero7:Spine2"
    _line(mixamo, "left_shoulder").bones = "hero7:RightArm"  # a mistake on purpose, to see that it is followed
    _line(mixamo, "right_shoulder").bones = "hero7:LeftArm"
    assert bpy.ops.chatpose.mapping_apply() == {"FINISHED"}
    assert posing.bones_by_joint(mixamo)["left_shoulder"][0] == "hero7:RightArm"
    bpy.ops.chatpose.mapping_reset()
    assert posing.bones_by_joint(mixamo)["left_shoulder"][0] == "hero7:LeftArm"


def test_a_rig_that_was_not_recognised_is_posed_through_a_mapping(mixamo):
    for i, bone in enumerate(list(mixamo.data.bones)):
        bone.name = f"b{i:02d}"
    names = {joint: mixamo.data.bones[i].name for i, joint in enumerate(MIXAMO)}
    assert bpy.ops.chatpose.mapping_edit() == {"FINISHED"}
    wanted = {"pelvis": "Hips", "head": "Head", "left_shoulder": "LeftArm", "left_elbow": "LeftForeArm"}
    for line, bone in wanted.items():
        _line(mixamo, line).bones = names[bone]
    _line(mixamo, "spine").bones = f"{names['Spine']}, {names['Spine1']},"
    assert bpy.ops.chatpose.mapping_apply() == {"FINISHED"} and posing.refusal(mixamo) == ""
    bpy.ops.chatpose.apply_pose(pose=json.dumps(_arm(1.0)))
    assert mixamo.pose.bones[names["LeftArm"]].rotation_quaternion.angle > 0.5


@pytest.mark.parametrize(
    ("line", "bones", "says"),
    [("pelvis", "", "needs the pelvis"), ("left_elbow", "nobody", "has no bone 'nobody'")],
)
def test_a_mapping_that_cannot_be(mixamo, line, bones, says):
    bpy.ops.chatpose.mapping_edit()
    _line(mixamo, line).bones = bones
    with pytest.raises(RuntimeError, match=says):
        bpy.ops.chatpose.mapping_apply()
    assert mixamo.chatpose.rigmap == ""


def test_a_mapping_is_saved_and_loaded(mixamo, tmp_path):
    path = str(tmp_path / "hero.json")
    bpy.ops.chatpose.mapping_save(filepath=path)
    before = posing.rigmap(mixamo).bones
    assert bpy.ops.chatpose.mapping_load(filepath=path) == {"FINISHED"}
    assert mixamo.chatpose.rigmap and posing.rigmap(mixamo).bones == before
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(RuntimeError, match="not a ChatPose bone mapping"):
        bpy.ops.chatpose.mapping_load(filepath=str(tmp_path / "other.json"))


def test_our_own_body_has_nothing_to_map(body):
    assert not bpy.ops.chatpose.mapping_edit.poll()
