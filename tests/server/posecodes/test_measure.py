"""Measures, checked by geometry on poses whose numbers are known without measuring."""

import math

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import default_body
from chatpose_server.pose import mirrored_matrot
from chatpose_server.posecodes import measure as m
from chatpose_server.posecodes import starts
from chatpose_server.posecodes.vocabulary import POSECODES, QUANTITIES
from chatpose_server.skeleton import INDEX

NAMES = list(QUANTITIES)


def posed(**degrees):
    """(1, 22, 3, 3): joint -> rotation vector in degrees."""
    rotvec = torch.zeros(1, 22, 3)
    for name, xyz in degrees.items():
        rotvec[0, INDEX[name]] = torch.tensor(xyz, dtype=torch.float32) * (math.pi / 180)
    return rot.rotvec_to_matrot(rotvec)


def value(matrot, name):
    return float(m.measure(matrot, [name])[0, 0])


def some_poses(count=48, scale=0.5, seed=3):
    generator = torch.Generator().manual_seed(seed)
    base = starts.body_quats()[torch.randint(0, len(starts.BODIES), (count,), generator=generator)]
    noise = rot.rotvec_to_quat(torch.randn(count, 22, 3, generator=generator) * scale * 0.4)
    return rot.quat_to_matrot(rot.quat_multiply(base, noise))


@pytest.mark.parametrize(
    ("pose", "quantity", "expected", "within"),
    [
        ({}, "left_knee", 175, 6),
        ({"left_knee": (90, 0, 0)}, "left_knee", 85, 8),
        ({"left_elbow": (0, -90, 0)}, "left_elbow", 90, 8),
        ({}, "left_arm.out", 5, 5),
        ({}, "left_palm.up", 180, 2),
        ({"left_hip": (-90, 0, 0)}, "left_thigh.forward", 0, 4),
        ({"left_hip": (-90, 0, 0)}, "left_hip", 90, 5),
        ({"pelvis": (30, 0, 0)}, "trunk.pitch", 30, 2),
        ({"pelvis": (0, 0, -20)}, "trunk.lean", 20, 2),
        ({"pelvis": (0, 60, 0)}, "body.heading", 60, 1),
        ({"pelvis": (0, 60, 0)}, "trunk.twist", 0, 1),
        ({"spine1": (0, 25, 0)}, "trunk.twist", 25, 1),
        ({"spine1": (30, 0, 0)}, "spine.bend", 30, 1),
        ({"head": (0, 40, 0)}, "head.yaw", 40, 1),
        ({"head": (-25, 0, 0)}, "head.pitch", 25, 1),
        ({"head": (0, 0, -20)}, "head.roll", 20, 1),
        ({"pelvis": (-90, 0, 0)}, "pelvis.face_up", 0, 1),
        ({"pelvis": (90, 0, 0)}, "pelvis.face_up", 180, 1),
        ({"pelvis": (0, 0, -90)}, "chest.left_up", 180, 1),
        ({"pelvis": (0, 0, 180)}, "trunk.up", 180, 2),
        ({}, "pelvis.height", 0.944, 0.01),
        ({}, "feet@ground", 0, 0.001),
        ({}, "weight.side", 0, 0.05),
        ({}, "symmetry.body", 0, 0.5),
        ({"left_elbow": (0, -50, 0)}, "symmetry.arms", 50, 1),
        ({"left_knee": (-40, 0, 0)}, "limits.violation", 36, 1),
        ({}, "penetration.depth", 0, 1e-6),
        ({"left_shoulder": (0, 0, -125)}, "penetration.depth", 0.06, 0.05),
    ],
)
def test_numbers_known_without_measuring(pose, quantity, expected, within):
    assert value(posed(**pose), quantity) == pytest.approx(expected, abs=within)


@pytest.mark.parametrize(
    ("start", "code"),
    [
        ("stand", "standing_straight"), ("sit", "sitting"), ("kneel", "kneeling"), ("heels", "sitting_on_heels"),
        ("half_kneel_left", "kneeling_on_left"), ("half_kneel_right", "kneeling_on_right"), ("squat", "squatting"),
        ("half_squat", "half_squat"), ("back", "on_back"), ("back_knees_up", "on_back"), ("front", "on_front"),
        ("handstand", "upside_down"), ("one_leg_left", "standing_on_left"), ("one_leg_right", "standing_on_right"),
        ("tree_left", "standing_on_left"), ("kick_right", "standing_on_left"), ("warrior3_left", "standing_on_left"),
        ("lunge_left", "lunge_left"), ("lunge_right", "lunge_right"), ("side_lunge_left", "side_lunge_left"),
        ("side_left", "on_left_side"), ("side_right", "on_right_side"), ("floor_crossed", "cross_legged"),
        ("floor_legs_out", "sitting_legs_out"), ("floor_knees_up", "sitting_on_ground"),
        ("sit_leg_over_left", "legs=crossed_left_over"), ("sit_figure_four_left", "legs=figure_four_left"),
    ],
)  # fmt: skip
def test_starting_poses_are_what_their_names_say(start, code):
    quat = starts.body_quats()[list(starts.BODIES).index(start)][None]
    held = m.posecodes_hold(m.measure(rot.quat_to_matrot(quat)))[0]
    assert held[list(POSECODES).index(code)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_side_lying_starts_lie_on_the_side_they_name(side):
    quat = starts.body_quats()[list(starts.BODIES).index(f"side_{side}")][None]
    assert value(rot.quat_to_matrot(quat), f"chest.{side}_up") > 165


def test_a_mirrored_pose_has_mirrored_measures():
    poses = some_poses()
    values, other = m.measure(poses), m.measure(mirrored_matrot(poses))
    expected = torch.stack([other[:, NAMES.index(QUANTITIES[n].mirror)] * QUANTITIES[n].mirror_sign for n in NAMES], 1)
    off = (values - expected).abs()
    wrap = torch.tensor([QUANTITIES[n].unit == "deg" for n in NAMES])
    off = torch.where(wrap, torch.minimum(off, 360 - off), off)  # 180 and -180 are one angle
    assert float(off.max()) < 0.1


def test_turning_the_whole_body_changes_only_the_heading():
    poses = some_poses()
    turn = rot.rotvec_to_matrot(torch.tensor([0.0, 1.1, 0.0]))
    turned = poses.clone()
    turned[:, 0] = turn @ turned[:, 0]
    off = (m.measure(turned) - m.measure(poses)).abs()
    for i, n in enumerate(NAMES):
        if n != "body.heading" and QUANTITIES[n].family != "symmetry":
            loose = 0.03 if QUANTITIES[n].unit == "m" else 0.05
            assert float(torch.minimum(off[:, i], (360 - off[:, i]).abs()).max()) < loose, n


def test_gradients_are_finite_everywhere():
    poses = torch.cat([some_poses(24), torch.eye(3).expand(1, 22, 3, 3), posed(pelvis=(180, 0, 0))]).requires_grad_()
    values = m.measure(poses)
    assert torch.isfinite(values).all()
    values.sum().backward()
    assert torch.isfinite(poses.grad).all()


def test_touching_points_lie_on_the_skin():
    body = default_body()
    for name, balls in m.lm.TOUCHERS.items():
        for b in balls:
            away = (body.v_template - torch.tensor(b.centre)).norm(dim=1).min()
            assert abs(float(away) - b.radius) < 0.035, name


def test_ground_balls_fit_into_the_skin():
    body = default_body()
    for name, balls in m.lm.GROUND_BALLS.items():
        for b in balls:
            away = (body.v_template - torch.tensor(b.centre)).norm(dim=1).min()
            assert float(away) > b.radius - 0.03, name


def test_holds_forgives_the_tolerance_and_no_more():
    code = POSECODES["left_knee=right_angle"].terms[0]
    from chatpose_server.posecodes.vocabulary import Constraint

    c = Constraint(code.quantity, code.lo, code.hi)
    assert [m.holds({"left_knee": x}, c) for x in (69, 71, 90, 109, 111)] == [False, True, True, True, False]
