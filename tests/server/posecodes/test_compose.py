"""Words, guesses and names become poses that do what is asked; lookup finds names and nothing else."""

from __future__ import annotations

import pytest
import torch
from chatpose_server.posecodes.compose import _meaning, _seat, compose, parts_of
from chatpose_server.posecodes.lexicon.lookup import find
from chatpose_server.posecodes.measure import measure
from chatpose_server.posecodes.parse import understand
from chatpose_server.posecodes.refine import solve
from chatpose_server.posecodes.vocabulary import QUANTITIES, read
from chatpose_server.rotations import geodesic_angle
from chatpose_server.skeleton import BODY_JOINTS

NAMES = tuple(QUANTITIES)


@pytest.fixture(scope="module")
def hypotheses() -> torch.Tensor:
    return solve(["standing; left_arm=down; right_arm=down", "standing; left_arm=out; right_arm=down"]).matrot


def fits(matrot: torch.Tensor, line: str) -> list[str]:
    """The statements that do not hold, with twice the vocabulary's tolerance."""
    values = dict(zip(NAMES, measure(matrot[None])[0].tolist(), strict=True))
    slack = {n: 2 * q.tolerance for n, q in QUANTITIES.items()}
    return [
        f"{c.source}: {values[c.quantity]:.2f}"
        for c in read(line).constraints
        if not c.lo - slack[c.quantity] <= values[c.quantity] <= c.hi + slack[c.quantity]
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("kneeling on both knees, right arm up", "kneeling; right_arm=up"),
        ("left hand on the left hip, looking to the right", "left_hand@hip; head=right; pelvis.height=0.7..1.2"),
        ("sitting on the ground with straight legs", "seat@ground; left_knee=150..181; right_knee=150..181"),
        ("a T-pose", "left_arm=out; right_arm=out"),
    ],
)
def test_what_is_plainly_said_is_done(hypotheses, words, line):
    made = compose(words, hypotheses)
    assert fits(made.matrot[0], line) == []
    assert made.text


def test_model_codes_fill_in_what_the_parser_cannot_read(hypotheses):
    made = compose("zxqv the blorb", hypotheses, asked={"left_arm=up": 0.9, "right_arm=up": 0.2})
    assert fits(made.matrot[0], "left_arm=up") == []
    assert fits(made.matrot[0], "right_arm=up") != []


def test_plain_words_win_over_the_models_guess(hypotheses):
    made = compose("left arm down, xyzzy, plugh and frobnicate", hypotheses, asked={"left_arm=up": 0.99})
    assert fits(made.matrot[0], "left_arm=down") == []


def test_a_name_that_the_model_means_is_used(hypotheses):
    made = compose("zxqv the blorb", hypotheses, named={"t-pose": 0.8, "facepalm": 0.1})
    assert made.named == "t-pose"
    assert fits(made.matrot[0], "left_arm=out; right_arm=out") == []


def test_of_words_that_were_all_read_nothing_is_guessed(hypotheses):
    made = compose("chin down, eyes on the floor", hypotheses, asked={"on_front": 0.99}, named={"cobra": 0.99})
    assert made.named == ""
    assert fits(made.matrot[0], "looking_down; pelvis.height=0.78..1.2") == []


def test_candidates_differ_and_all_do_it(hypotheses):
    made = compose("kneeling with the right arm up", hypotheses, count=4, seed=3)
    assert len(made.matrot) == 4
    for matrot in made.matrot:
        assert fits(matrot, "left_knee@ground=..0.08; right_knee@ground=..0.08; right_hand.above_shoulder=0..") == []
    assert torch.rad2deg(geodesic_angle(made.matrot[0], made.matrot[1])).mean() > 3


def test_candidates_of_a_change_move_nothing_else(hypotheses):
    now = solve("standing; left_arm=down; right_arm=forward").matrot[0]
    made = compose("raise the left arm", hypotheses, current=now, count=3, seed=1)
    assert len(made.matrot) == 3
    for matrot in made.matrot:
        moved = torch.rad2deg(geodesic_angle(matrot, now))
        assert max(float(moved[i]) for i, n in enumerate(BODY_JOINTS) if not n.startswith("left_")) < 1
        assert fits(matrot, "left_hand.above_shoulder=0..") == []
    assert torch.rad2deg(geodesic_angle(made.matrot[0], made.matrot[1])).max() > 10


def test_where_few_poses_do_it_what_is_free_varies(hypotheses):
    made = compose("left hand on the hip", hypotheses, count=6, seed=1)
    assert len(made.matrot) == 6
    for matrot in made.matrot:
        assert fits(matrot, "left_hand@left_hip") == []


def test_earlier_words_reach_the_edit(hypotheses):
    now = solve("standing; left_arm=down").matrot[0]
    first = compose("raise the left arm", hypotheses, current=now).matrot[0]
    made = compose("even higher", hypotheses, current=first, before=[first], said=["raise the left arm"])
    up = measure(torch.stack([first, made.matrot[0]]), ("left_arm.up",))[:, 0]
    assert up[1] < up[0] - 5


def test_the_same_seed_gives_the_same_poses(hypotheses):
    a, b = (compose("arms crossed", hypotheses, count=3, seed=5).matrot for _ in range(2))
    assert torch.equal(a, b)


def test_a_change_keeps_the_rest(hypotheses):
    now = solve("kneeling; left_arm=out; right_arm=down").matrot[0]
    made = compose("raise the right arm", hypotheses, current=now)
    moved = torch.rad2deg(geodesic_angle(made.matrot[0], now))
    assert fits(made.matrot[0], "right_hand.above_shoulder=0..") == []
    assert moved[[1, 2, 4, 5, 16, 18]].max() < 10  # hips, knees, the left arm


def test_undo_takes_the_pose_before(hypotheses):
    first, second = hypotheses[0], hypotheses[1]
    made = compose("undo", hypotheses, current=second, before=[first, second])
    assert torch.equal(made.matrot[0], first)


def test_what_cannot_be_is_said(hypotheses):
    made = compose("standing straight, left hand on the right ankle, knees straight", hypotheses)
    assert made.unmet == ("left_hand@right_ankle",)
    assert made.text.endswith("The left hand cannot reach the right ankle while the person is standing straight.")


@pytest.mark.parametrize(
    ("words", "entry", "rest"),
    [
        ("Superhero landing!", "superhero landing", ""),
        ("she does a superhero landing, looking left", "superhero landing", "she does a looking left"),
        ("please make a T-pose", "t-pose", ""),
    ],
)
def test_names_are_found(words, entry, rest):
    found = find(words)
    assert found is not None
    assert (found.entry.name, found.rest) == (entry, rest)


@pytest.mark.parametrize("words", ["a king kneels before the throne of nobody", "left elbow at 40 degrees", ""])
def test_no_name_is_no_name(words):
    assert find(words) is None


@pytest.mark.parametrize(
    ("quantity", "parts"),
    [
        ("left_elbow", {"left_arm"}),
        ("left_hand:right_hand.distance", {"left_arm", "right_arm"}),
        ("left_hand@right_knee", {"left_arm"}),
        ("feet.width", {"legs"}),
        ("head.yaw", {"head"}),
        ("trunk.pitch", {"trunk"}),
        ("pelvis.height", {"legs"}),
    ],
)
def test_parts(quantity, parts):
    assert parts_of(quantity) == parts


def test_who_bows_stands_even_if_the_model_thought_of_somebody_on_her_knees():
    made = compose("a person bowing forward", solve(["kneeling_upright"]).matrot)
    assert fits(made.matrot[0], "pelvis.height=0.75..1.2; trunk.pitch=55..180; feet@ground") == []


def test_a_seated_name_that_crosses_the_legs_itself_keeps_them_crossed():
    made = compose("a person sitting with crossed legs", solve(["sitting"]).matrot)
    assert fits(made.matrot[0], "sitting; legs=crossed_left_over") == []


def test_a_belief_without_its_words_gives_way_to_the_words_of_another_name(hypotheses):
    made = compose("a ballerina in arabesque", hypotheses, named={"James Bond": 0.85, "arabesque": 0.01})
    assert made.named == "arabesque"
    made = compose("zxqv the blorb", hypotheses, named={"James Bond": 0.85})
    assert made.named == "James Bond"


def test_legs_crossed_on_a_bench_are_crossed_above_the_ground(hypotheses):
    made = compose("sitting on a park bench, legs crossed", hypotheses)
    assert fits(made.matrot[0], "seat@ground=0.2..0.7; legs=crossed_left_over") == []


def test_both_hands_mean_a_name_for_both():
    _, request, _ = _meaning("wizard casting a fireball with both hands", {}, {})
    sources = {c.source for c in request.constraints}
    assert {"left_arm.forward=0..18", "right_arm.forward=0..18"} <= sources


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("reading a newspaper on a park bench", "pelvis.height=0.3..0.7; knees=60..125; hands=chest_height"),
        ("a high front kick with the right leg, fists up", "right_foot@ground=0.8..; left_foot@ground; elbows=..85"),
        ("right elbow on the left knee", "right_elbow@left_knee; pelvis.height=0.2..0.7; left_foot@ground"),
        ("arms crossed over the chest", "arms=crossed; hands.above_chest=-0.25..0.02; upper_arms.overhead=115..181"),
        ("left hand on the right shoulder", "left_hand@right_shoulder; left_upper_arm.overhead=105..181"),
        (
            "sitting on the edge of a bed, head in both hands",
            "left_elbow@left_thigh=..0.25; right_elbow@right_thigh=..0.25; trunk.pitch=15..70",
        ),
        ("furious, fists clenched, leaning forward", "trunk.pitch=20..55; trunk.lean=-10..10"),
        ("a three-pointer", "hips=135..181; hands=above_head; feet.stride=-0.3..0.3"),
    ],
)
def test_what_words_leave_open_is_done_as_people_do_it(hypotheses, words, line):
    made = compose(words, hypotheses)
    assert fits(made.matrot[0], line) == []


@pytest.mark.parametrize(
    ("words", "seated"),
    [
        ("a tramp on a park bench", True),
        ("slumped on the sofa", True),
        ("one foot on the bench", False),
        ("standing on a chair", False),
        ("his hands on the back of the chair", False),
        ("asleep on the sofa", False),
    ],
)
def test_who_is_on_a_bench_sits(words, seated):
    assert bool(_seat(understand(words), words, None).constraints) == seated
