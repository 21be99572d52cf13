"""The fit, from landmarks whose pose is known: no network, only geometry."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body.model import default_body
from chatpose_server.posecodes import limits
from chatpose_server.priors import embedded_prior
from chatpose_server.skeleton import BODY_JOINTS, INDEX
from chatpose_server.vision import Pyramid, find_people, solve
from chatpose_server.vision import fit as fitting
from chatpose_server.vision.blazepose import AT, NAMES
from chatpose_server.vision.camera import project
from chatpose_server.vision.fit import MARKS, UNSEEN, Seen, fit
from chatpose_server.vision.lift import Lifted
from chatpose_server.vision.upright import at_ease, pitch_deg, stand, unseen_legs

from .drawn import BENDS, camera_at, draw, pose_of

FOCAL, WIDE, HIGH = 900.0, 600, 800


def seen_of(name, facing_deg=0.0, lengths=(0.0, 0.0, 0.0, 0.0), pitch_deg=0.0):
    """What a perfect network would see of a pose from a camera 4 m away, and the pose in that camera's axes."""
    quat = pose_of(name, facing_deg).quats()
    half = -math.radians(pitch_deg) / 2
    tilt = torch.tensor([math.cos(half), math.sin(half), 0.0, 0.0])
    quat[0] = rot.quat_multiply(tilt, quat[0])
    points = fitting.kinematics(quat[None], torch.tensor([lengths])).points[0]
    pixels = project(points + torch.tensor([0.2, 0.1, -4.0]), torch.tensor(FOCAL), WIDE, HIGH)
    hips = points[[AT["left_hip"], AT["right_hip"]]].mean(0)
    trust = torch.tensor([1.0 if name in NAMES else 0.0 for name in MARKS])
    return Seen(pixels, trust, points - hips, trust.clone(), WIDE, HIGH, pixels[23:25].mean(0), focal_px=FOCAL), quat


def off_mm(found, true):
    """Mean distance of the 22 joints after the best similarity, on our own skeleton."""
    a, b = (default_body().forward_kinematics(rot.quat_to_matrot(q)[None]).joints[0, :22] for q in (found, true))
    a, b = a - a.mean(0), b - b.mean(0)
    u, s, vt = torch.linalg.svd(a.T @ b)
    sign = torch.diag(torch.tensor([1.0, 1.0, float(torch.det(u @ vt))]))
    scale = (s * sign.diagonal()).sum() / (a * a).sum()
    return float((scale * a @ u @ sign @ vt - b).norm(dim=1).mean()) * 1000


@pytest.mark.parametrize("name", BENDS)
@pytest.mark.parametrize("facing", [0, 110, 180])
def test_a_pose_that_is_plainly_seen_is_found(name, facing):
    seen, true = seen_of(name, facing)
    found = fit(seen, embedded_prior("vposer"))
    assert off_mm(found.quat, true) < 25
    turned = rot.geodesic_angle(rot.quat_to_matrot(found.quat[0]), rot.quat_to_matrot(true[0]))
    assert math.degrees(float(turned)) < 12
    assert float(limits.excess_quat(found.quat[None]).abs().max()) < 8


def test_other_proportions_do_not_bend_the_joints():
    seen, true = seen_of("step", 30, lengths=(-0.12, 0.1, 0.0, 0.08))
    assert off_mm(fit(seen, embedded_prior("vposer")).quat, true) < 30


def test_what_is_not_seen_is_left_to_the_prior():
    seen, true = seen_of("standing")
    arm = [i for i, name in enumerate(MARKS) if name.startswith("left_") and name.split("_")[1] in (
        "elbow", "wrist", "index", "pinky", "thumb")]  # fmt: skip
    trust, space = seen.trust.clone(), seen.space.clone()
    trust[arm] = UNSEEN
    space[arm] += torch.tensor([0.3, 0.6, -0.5])  # the network's guess is nonsense
    found = fit(
        replace(seen, trust=trust, space_trust=trust, space=space, pixels=seen.pixels), embedded_prior("vposer")
    )
    assert float(limits.excess_quat(found.quat[None]).abs().max()) < 10
    legs = [INDEX[name] for name in BODY_JOINTS if "knee" in name or "hip" in name]
    away = rot.geodesic_angle(rot.quat_to_matrot(found.quat[legs]), rot.quat_to_matrot(true[legs]))
    assert float(away.max()) < math.radians(15)


@pytest.mark.parametrize("pitch", [-30, 0, 20])
def test_the_camera_is_tilted_back_by_the_feet(pitch):
    seen, _ = seen_of("standing", pitch_deg=pitch)
    pose, camera = stand(fit(seen, embedded_prior("vposer")), seen, 0.5)
    assert abs(pitch_deg(camera) - pitch) < 10
    low = default_body().skin(pose.matrot()[None], transl=torch.tensor([pose.transl]))[0, :, 1].min()
    assert abs(float(low)) < 1e-3
    pixels = camera.project(
        default_body().forward_kinematics(pose.matrot()[None], torch.tensor([pose.transl])).joints[0]
    )
    ankles = pixels[[INDEX["left_ankle"], INDEX["right_ankle"]]]
    marks = seen.pixels[[AT["left_ankle"], AT["right_ankle"]]]
    assert float((ankles - marks).norm(dim=1).max()) < 15  # of some 360 pixels that the body is high


# -- legs that nobody sees ---------------------------------------------------------------------------------------------
CROUCH = {"hip": (-0.9, 0.0, 0.2), "knee": (1.2, 0.0, 0.0), "ankle": (-0.3, 0.0, 0.0)}


def eased(turned=(0.0, 0.0, 0.0), **trust):
    """A crouch that was guessed, in the world, after ``at_ease``; ``trust`` in landmarks, of none by default."""
    seen, _ = seen_of("standing")
    some = torch.zeros(len(MARKS))
    for name, value in trust.items():
        some[MARKS.index(name)] = value
    guessed = torch.eye(3).repeat(22, 1, 1)
    guessed[0] = rot.rotvec_to_matrot(torch.tensor(turned))
    for name, turn in CROUCH.items():
        for side in ("left", "right"):
            guessed[INDEX[f"{side}_{name}"]] = rot.rotvec_to_matrot(torch.tensor(turn))
    return guessed, at_ease(guessed, replace(seen, trust=some))


def thighs(matrot):
    """Angles of both thighs with the vertical, and of the knees, degrees."""
    joints = default_body().forward_kinematics(matrot[None]).joints[0]
    out = []
    for side in ("left", "right"):
        hip, knee, ankle = (joints[INDEX[f"{side}_{n}"]] for n in ("hip", "knee", "ankle"))
        thigh, shin = knee - hip, ankle - knee
        bent = torch.acos((thigh @ shin / thigh.norm() / shin.norm()).clamp(-1, 1))
        out.append((math.degrees(math.acos(float(-thigh[1] / thigh.norm()))), math.degrees(float(bent))))
    return out


@pytest.mark.parametrize("turned", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (0.0, 2.5, 0.0)])
def test_legs_that_nobody_sees_stand_under_an_upright_body(turned):
    before, after = eased(turned)
    for (was, bent), (now, left) in zip(thighs(before), thighs(after), strict=True):
        assert now < 0.5 * was and now < 25
        assert left < 0.5 * bent
    assert torch.equal(after[9:], before[9:]) and torch.equal(after[0], before[0]), "above the legs nothing changes"


def test_legs_that_nobody_sees_lie_along_a_body_that_lies():
    before, after = eased((-math.pi / 2, 0.0, 0.0))
    hips = after[[INDEX["left_hip"], INDEX["right_hip"]]]
    assert float(rot.matrot_to_rotvec(hips).norm(dim=1).max()) < 0.5
    assert all(left < 0.5 * bent for (_, bent), (_, left) in zip(thighs(before), thighs(after), strict=True))


def test_legs_that_the_lifter_knows_of_stay():
    seen, quat = seen_of("standing")
    unseen = replace(seen, trust=torch.zeros(len(MARKS)))
    matrot = rot.quat_to_matrot(quat)
    shares = []
    for sigma in (0.04, 0.08, 0.2):
        said = Lifted(quat, seen.space[:33], seen.pixels[:33], torch.full((33, 2), sigma), torch.ones(33))
        shares.append(unseen_legs(replace(unseen, lifted=said)))
        assert torch.equal(at_ease(matrot, replace(unseen, lifted=said)), matrot) is (sigma == 0.04)
    assert shares[0] == 0 < shares[1] < shares[2] == 1


@pytest.mark.parametrize("name", ["left_knee", "right_ankle"])
def test_legs_of_which_something_was_seen_or_put_stay(name):
    for trust in (0.5, 1.0, 12.0):
        before, after = eased(**{name: trust})
        assert torch.equal(before, after)


def test_points_of_legs_out_of_the_picture_lie_on_the_body():
    picture = draw(pose_of("left arm up"), camera_at())
    hips = find_people(Pyramid(picture))[0].pixels[AT["left_hip"], 1]
    portrait = picture.crop((0, 0, picture.width, int(hips) + 18))
    found = solve(find_people(Pyramid(portrait))[0], *portrait.size)
    thigh, knee = thighs(found.pose.matrot())[0]
    assert thigh < 15 and knee < 20, "she stands"
    joints = default_body().forward_kinematics(found.pose.matrot()[None], torch.tensor([found.pose.transl])).joints[0]
    for name in ("left_knee", "right_knee", "left_ankle", "right_ankle"):
        x, y, visibility = found.keypoints[name]
        assert visibility < 0.2 and y > portrait.height
        assert math.dist(found.camera.project(joints[INDEX[name]]).tolist(), (x, y)) < 15
