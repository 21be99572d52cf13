"""The refiner reaches what is asked, stays near, stays natural, and says what it could not do."""

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.posecodes import measure as m
from chatpose_server.posecodes import refine, starts
from chatpose_server.posecodes.vocabulary import read
from chatpose_server.skeleton import BODY_JOINTS

STAND = rot.quat_to_matrot(starts.body_quats()[:1])

SOLVED = [
    "standing; hands@hips",
    "standing; arms=crossed",
    "sitting; legs=crossed_left_over",
    "kneeling_on_left; trunk=upright; right_hand@chin",
    "cross_legged; hands@knees; trunk=upright",
    "standing_on_right; left_foot@right_thigh; hands=prayer",
    "on_back; knees=bent",
    "on_all_fours; head=up",
    "plank",
    "squatting; arms=forward",
    "lunge_right; arms=up; elbows=straight",
    "standing; looking_over_right_shoulder; weight=left",
    "upside_down; hands@ground; knees=straight; elbows=straight",
    "airborne; knees=bent; arms=up",
]


@pytest.fixture(scope="module")
def solved():
    return refine.solve(SOLVED)


@pytest.mark.parametrize("line", SOLVED)
def test_solving_makes_every_statement_true(solved, line):
    assert solved.unmet[SOLVED.index(line)] == ()


def test_solved_poses_are_within_joint_ranges_and_do_not_go_through_themselves(solved):
    limits, depth = m.measure(solved.matrot, ["limits.violation", "penetration.depth"]).unbind(-1)
    assert float(limits.max()) < 8
    assert float(depth.max()) < 0.03


def test_two_seeds_give_two_poses_that_both_hold():
    one, two = (refine.solve("standing; left_hand=above_head", seed=s) for s in (1, 2))
    assert one.unmet == two.unmet == ((),)
    assert float(rot.geodesic_angle(one.matrot, two.matrot).max()) > 0.1


def test_the_same_request_gives_the_same_pose():
    a, b = (refine.solve("sitting; right_hand@chin").matrot for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("text", "untouched"),
    [
        ("left_elbow=right_angle", [n for n in BODY_JOINTS if not n.startswith("left_")]),
        ("head=left", [n for n in BODY_JOINTS if n not in ("head", "neck")]),
        ("right_hand=above_head", [n for n in BODY_JOINTS if not n.startswith("right_")]),
        ("right_hand=above_head", ["right_hip", "right_knee", "right_ankle", "left_hip", "left_ankle"]),
        ("left_hand@chin; right_arm=forward", ["pelvis", "left_hip", "right_hip", "left_knee", "right_knee"]),
    ],
)
def test_refining_moves_no_more_than_it_must(text, untouched):
    done = refine.refine(STAND, read(text))
    assert done.unmet == ((),)
    moved = rot.geodesic_angle(STAND, done.matrot)[0] * 57.3
    assert max(float(moved[BODY_JOINTS.index(n)]) for n in untouched) < 10


def test_joints_that_are_not_free_do_not_move():
    done = refine.refine(STAND, read("left_hand@chin"), free={"left_shoulder", "left_elbow", "left_collar"})
    moved = rot.geodesic_angle(STAND, done.matrot)[0] * 57.3
    assert max(float(moved[i]) for i, n in enumerate(BODY_JOINTS) if not n.startswith("left_")) < 0.2


def test_a_pose_that_already_holds_stays():
    done = refine.refine(STAND, read("standing; left_knee=straight"))
    assert float(done.moved[0]) < 3


def test_what_cannot_be_done_is_said():
    done = refine.solve("standing_straight; left_hand@right_ankle; left_knee=straight; trunk=upright")
    assert done.unmet[0]
    assert set(done.met[0]) | set(done.unmet[0]) == {
        "standing_straight", "left_hand@right_ankle", "left_knee=straight", "trunk=upright"
    }  # fmt: skip


def test_broken_input_is_brought_back_into_range():
    wild = STAND.clone()
    wild[0, BODY_JOINTS.index("left_knee")] = rot.rotvec_to_matrot(torch.tensor([-0.9, 0.0, 0.0]))
    done = refine.refine(wild, read("left_hand=above_head"))
    assert float(m.measure(done.matrot, ["limits.violation"])[0, 0]) < 5


def test_one_request_each_in_a_batch():
    texts = ["left_elbow=right_angle", "head=right", "right_knee=bent; right_foot=raised"]
    done = refine.refine(STAND.expand(3, -1, -1, -1), [read(t) for t in texts])
    assert done.unmet == ((), (), ())
    alone = refine.refine(STAND, read(texts[1]))
    assert float(rot.geodesic_angle(alone.matrot[0], done.matrot[1]).max()) < 0.02


def test_one_pose_is_refined_in_few_steps(monkeypatch):
    steps = []
    true = refine._residuals

    def counted(problem, quat0, moved):
        steps.append(moved.shape)
        return true(problem, quat0, moved)

    monkeypatch.setattr(refine, "_residuals", counted)
    done = refine.refine(STAND, read("left_hand@chin; right_arm=forward; head=left"))
    assert done.unmet == ((),)
    assert 0 < len(steps) < 60, "every step is one batch of bodies"  # 18 of them, about 5 ms each


@pytest.mark.parametrize("part", ["chin", "mouth", "left_cheek", "left_ear"])
def test_a_hand_goes_to_the_face_from_below(part):
    made = refine.solve(f"standing; left_hand@{part}", tries=2)
    overhead, ahead = m.measure(made.matrot, ("left_upper_arm.overhead", "left_upper_arm.ahead"))[0].tolist()
    assert made.unmet == ((),)
    assert overhead > 95  # 90 is shoulder height
    assert ahead < 75


def test_an_elbow_that_words_raise_stays_up():
    made = refine.solve("standing; left_hand@chin; left_upper_arm.overhead=40..85", tries=2)
    assert made.unmet == ((),)
