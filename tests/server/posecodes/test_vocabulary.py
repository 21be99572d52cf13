"""The table of statements: it is whole, mirrors itself, and its notation reads as written."""

import math

import pytest
from chatpose_server.posecodes import vocabulary as v


def test_every_quantity_has_a_mirror_that_mirrors_back():
    for name, q in v.QUANTITIES.items():
        m = v.QUANTITIES[q.mirror]
        assert (m.mirror, m.mirror_sign, m.unit, m.family) == (name, q.mirror_sign, q.unit, q.family)


def test_every_posecode_has_a_mirror_with_mirrored_constraints():
    for name in v.POSECODES:
        other = v.mirror_code(name)
        assert v.mirror_code(other) == name
        mirrored = {(c.quantity, c.lo, c.hi) for c in v.read(name).mirrored().constraints}
        assert mirrored == {(c.quantity, c.lo, c.hi) for c in v.read(other).constraints}, name


def test_every_posecode_has_words_and_terms():
    for code in v.POSECODES.values():
        assert code.predicates, code.name
        assert code.flag or code.terms, code.name
        assert all(t.quantity in v.QUANTITIES and t.lo < t.hi for t in code.terms), code.name


@pytest.mark.parametrize(
    ("text", "constraints"),
    [
        ("left_knee=right_angle", [("left_knee", 75, 105)]),
        ("left_knee=80..100", [("left_knee", 80, 100)]),
        ("left_knee=~90", [("left_knee", 82, 98)]),
        ("trunk.pitch=20..", [("trunk.pitch", 20, math.inf)]),
        ("knees=straight", [("left_knee", 160, 181), ("right_knee", 160, 181)]),
        ("both_knees=straight", [("left_knee", 160, 181), ("right_knee", 160, 181)]),
        ("left_hand@hip", [("left_hand@left_hip", -math.inf, 0.05)]),
        ("left_hand@other_knee", [("left_hand@right_knee", -math.inf, 0.05)]),
        ("hands@hips", [("left_hand@left_hip", -math.inf, 0.05), ("right_hand@right_hip", -math.inf, 0.05)]),
        ("right_hand:left_hand=above", [("left_hand:right_hand.up", -math.inf, -0.15)]),
        ("!left_foot@ground", [("left_foot@ground", 0.095, math.inf)]),
        ("kneeling; trunk=bent_over", None),
    ],
)
def test_notation(text, constraints):
    request = v.read(text)
    if constraints is not None:
        got = [(c.quantity, pytest.approx(c.lo), pytest.approx(c.hi)) for c in request.constraints]
        assert got == constraints
    else:  # what a posture only implies gives way to what is said
        assert not any(c.quantity == "trunk.up" and c.lo <= 0 for c in request.constraints)


def test_wishes_are_not_asked_and_flags_are_flags():
    request = v.read("?left_hand@ground; airborne; head=up")
    assert [c.asked for c in request.constraints] == [False, True]
    assert request.flags == {"airborne"}
    assert request.codes == ("airborne", "head=up")


@pytest.mark.parametrize(
    "text",
    ["left_knee=purple", "left_hand@moon", "knee", "left_knee=100..80", "!left_knee=right_angle", "=", "standing up"],
)
def test_what_is_not_in_the_vocabulary_is_refused_with_a_sentence(text):
    with pytest.raises(v.PosecodeError) as error:
        v.read(text)
    assert len(str(error.value)) > 20


def test_the_later_of_two_requests_wins():
    both = v.read("left_knee=straight; head=up") + v.read("left_knee=right_angle")
    assert {c.quantity: c.lo for c in both.constraints} == {"head.pitch": 15, "left_knee": 75}
