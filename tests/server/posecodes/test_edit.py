"""Edits: what is asked changes in the right direction, the rest stays."""

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.pose import mirrored_matrot
from chatpose_server.posecodes import measure as m
from chatpose_server.posecodes.edit import edit
from chatpose_server.posecodes.refine import solve
from chatpose_server.skeleton import BODY_JOINTS


@pytest.fixture(scope="module")
def base():
    return solve("standing; left_hand@hip; right_arm=forward; left_knee=150..165").matrot[0]


def change(before, after, quantity):
    a, b = m.measure(torch.stack([before, after]), [quantity])[:, 0].tolist()
    return b - a


@pytest.mark.parametrize(
    ("text", "quantity", "at_least"),
    [
        ("raise the right arm higher", "right_arm.up", -20),
        ("raise the right arm a bit", "right_arm.up", -8),
        ("lower your right arm", "right_arm.up", 20),
        ("move the right arm further out", "right_arm.out", -15),
        ("bend the left knee more", "left_knee", -20),
        ("straighten the left leg", "left_knee", 3),
        ("bend the right elbow by 60 degrees", "right_elbow", -50),
        ("turn the head left", "head.yaw", 15),
        ("turn her head more to the right", "head.yaw", -15),
        ("tilt the head to the left", "head.roll", 10),
        ("look down", "head.pitch", -12),
        ("look up a little", "head.pitch", 7),
        ("lean forward more", "trunk.pitch", 10),
        ("lean to the left", "trunk.lean", 8),
        ("twist to the right", "trunk.twist", -12),
        ("arch the back", "spine.bend", -8),
        ("spread the legs wider", "left_foot:right_foot.distance", 0.12),
        ("squat lower", "pelvis.height", -0.07),
        ("raise the left knee", "left_thigh.up", -20),
        ("step forward with the left foot", "feet.stride", 0.1),
        ("move the right hand out", "right_hand:right_shoulder.side", -0.08),
        ("put the right hand on the head", "right_hand@top_of_head", -0.2),
        ("raise both arms as high as possible", "left_arm.up", -60),
    ],
)
def test_what_is_asked_changes_and_the_rest_stays(base, text, quantity, at_least):
    done = edit(text, [base])
    delta = change(base, done.matrot, quantity)
    assert delta <= at_least if at_least < 0 else delta >= at_least
    moved = rot.geodesic_angle(base, done.matrot) * 57.3
    away = [n for i, n in enumerate(BODY_JOINTS) if n not in done.touched and float(moved[i]) > 1]
    assert away == []
    assert done.rest == ""


def test_small_words_make_small_changes(base):
    small, plain, large = (
        change(base, edit(t, [base]).matrot, "right_arm.up")
        for t in ("lower the right arm slightly", "lower the right arm more", "lower the right arm a lot")
    )
    assert 0 > -small > -plain > -large


def test_only_the_asked_side_moves(base):
    done = edit("bend the right elbow more", [base])
    moved = rot.geodesic_angle(base, done.matrot) * 57.3
    assert max(float(moved[i]) for i, n in enumerate(BODY_JOINTS) if not n.startswith("right_")) < 0.5


def test_mirror_undo_swap_copy_turn(base):
    flipped = edit("mirror it", [base])
    assert torch.allclose(mirrored_matrot(flipped.matrot[None])[0], base, atol=1e-5)
    assert edit("undo", [base, flipped.matrot]).matrot is base
    other = edit("other arm", [base])
    assert change(base, other.matrot, "right_hand@right_hip") < -0.1
    assert float((other.matrot[BODY_JOINTS.index("left_knee")] - base[BODY_JOINTS.index("left_knee")]).abs().max()) == 0
    same = edit("the other arm too", [base]).matrot
    assert float(m.measure(same[None], ["symmetry.arms"])[0, 0]) < 1
    assert change(base, edit("turn the body to the left", [base]).matrot, "body.heading") == pytest.approx(90, abs=1)


@pytest.mark.parametrize(
    ("text", "quantity", "low", "high"),
    [("now sit down", "pelvis.height", 0.3, 0.7), ("kneel on the left knee", "left_knee@ground", -0.01, 0.07),
     ("lie on your back", "trunk.up", 60, 120)],
)  # fmt: skip
def test_another_posture_keeps_arms_and_head(base, text, quantity, low, high):
    done = edit(text, [base])
    assert done.kind == "posture"
    assert done.unmet == ()
    assert low <= float(m.measure(done.matrot[None], [quantity])[0, 0]) <= high
    moved = rot.geodesic_angle(base, done.matrot) * 57.3
    for name in ("left_shoulder", "left_elbow", "right_shoulder", "right_elbow", "head"):
        assert float(moved[BODY_JOINTS.index(name)]) < 10


def test_words_that_are_no_edit_change_nothing(base):
    done = edit("make it purple", [base])
    assert done.kind == "nothing"
    assert torch.equal(done.matrot, base)
    assert done.rest == "purple"


def test_several_changes_in_one_sentence(base):
    done = edit("lower the right arm and turn the head left", [base])
    assert change(base, done.matrot, "right_arm.up") > 15
    assert change(base, done.matrot, "head.yaw") > 15


@pytest.mark.parametrize(
    ("said", "words", "quantity", "way"),
    [
        ("raise the left arm", "even higher", "left_arm.up", -1),
        ("raise the left arm", "a bit less", "left_arm.up", 1),
        ("raise the left arm", "too high", "left_arm.up", 1),
        ("bend the right knee", "again", "right_knee", -1),
        ("bend the right knee", "a bit more", "right_knee", -1),
        ("turn the head left", "not so much", "head.yaw", -1),
        ("lean forward", "and again", "trunk.pitch", 1),
        ("lean forward", "too much", "trunk.pitch", -1),
        ("left hand on the chest", "a bit higher", "left_hand.above_shoulder", 1),
    ],
)
def test_what_a_turn_leaves_out_was_said_before(base, said, words, quantity, way):
    first = edit(said, [base]).matrot
    then = edit(words, [base, first], ["", said])
    assert change(first, then.matrot, quantity) * way > (2 if m.QUANTITIES[quantity].unit == "deg" else 0.02)


def test_the_other_way_starts_from_before(base):
    left = edit("turn the head left", [base]).matrot
    right = edit("no, the other way", [base, left], ["", "turn the head left"]).matrot
    assert change(base, right, "head.yaw") < -10


@pytest.mark.parametrize(
    ("said", "words", "expected"),
    [
        (["", "one", "two"], "undo", 1),
        (["", "one", "two"], "undo the last two", 0),
        (["", "one", "two", "undo"], "undo that", 0),
        (["", "one", "two", "undo"], "redo", 2),
        (["", "one", "two", "undo", "undo"], "redo", 1),
        (["", "one", "two"], "back to the start", 0),
        (["", "one"], "undo", 0),
        ([""], "undo", 0),
    ],
)
def test_undo_goes_back_one_change_each_time(said, words, expected):
    poses = {name: torch.eye(3).repeat(22, 1, 1) * (i + 1) for i, name in enumerate(("", "one", "two"))}
    history: list[torch.Tensor] = []
    for i, word in enumerate(said):
        history.append(poses[word] if word in poses else edit(word, history, said[:i]).matrot)
    assert float(edit(words, history, said).matrot[0, 0, 0]) == expected + 1
