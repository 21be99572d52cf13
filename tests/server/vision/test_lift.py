"""What lifts landmarks, its training, and the fit that leans on it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.priors import embedded_prior
from chatpose_server.training import vision_lifter
from chatpose_server.vision import fit as fitting
from chatpose_server.vision.blazepose import AT, MIRROR, NAMES, Landmarks, Reading, look
from chatpose_server.vision.crops import Pyramid, Square
from chatpose_server.vision.fit import fit
from chatpose_server.vision.lift import (
    DEEP,
    DEEPER,
    Lifted,
    Lifter,
    LifterShape,
    embedded_lifter,
    glimpses,
    lift,
    read_lifter,
)
from PIL import ImageDraw

from .drawn import camera_at, draw, pose_of
from .test_fit import FOCAL, off_mm, seen_of

BODY = len(NAMES)
EVERYWHERE = torch.ones(BODY)


def reading(seed):
    g = np.random.default_rng(seed)
    points = g.random((BODY, 5)).astype(np.float32)
    return Reading(
        points, g.normal(0, 0.3, (BODY, 3)).astype(np.float32), g.random(DEEP).astype(np.float32),
        g.random(DEEPER[0] * DEEPER[1]).astype(np.float32), 1.0,
    )  # fmt: skip


def person(readings, square):
    return Landmarks(np.zeros((BODY, 2)), np.ones(BODY), np.zeros((BODY, 3)), 1.0, square, readings)


@pytest.fixture(scope="module")
def wild():
    """A lifter that has learnt nothing: what holds of it holds of every one."""
    torch.manual_seed(0)
    return Lifter(LifterShape(hidden=32, blocks=1, near=4)).eval()


def test_the_mirror_image_gives_the_mirror_pose(wild):
    one, other = reading(0), reading(1)
    square, twin = Square(120.0, 150.0, 200.0, 0.3), Square(280.0, 150.0, 200.0, -0.3)  # in a picture 400 wide
    a = lift(wild, person((one, other), square), EVERYWHERE, 500.0, {}, {})
    b = lift(wild, person((other, one), twin), EVERYWHERE, 500.0, {}, {})
    at, flip = list(MIRROR), torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(a.places, b.places[at] * flip, atol=1e-5)
    assert torch.allclose(a.pixels[:, 0], 400 - b.pixels[at, 0], atol=1e-3)
    assert torch.allclose(a.pixels[:, 1], b.pixels[at, 1], atol=1e-3)
    turned = rot.geodesic_angle(rot.quat_to_matrot(a.quat), rot.quat_to_matrot(mirrored(b.quat)))
    assert float(turned.max()) < 1e-2


def mirrored(quat):
    from chatpose_server.skeleton import MIRROR as JOINTS

    return rot.mirror_quat(quat[list(JOINTS[:22])])


def test_a_turned_square_turns_the_body_with_it(wild):
    both = (reading(0), reading(1))
    straight, turned = (lift(wild, person(both, Square(0, 0, 100.0, t)), EVERYWHERE, 500.0, {}, {}) for t in (0.0, 0.5))
    c, s = math.cos(0.5), math.sin(0.5)  # clockwise in the picture
    clockwise = torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    assert torch.allclose(turned.places, straight.places @ clockwise.T, atol=1e-5)
    pelvis = rot.quat_to_matrot(turned.quat[0])
    assert torch.allclose(pelvis, clockwise @ rot.quat_to_matrot(straight.quat[0]), atol=1e-5)
    assert torch.allclose(turned.quat[1:].abs(), straight.quat[1:].abs(), atol=1e-5)


def test_what_was_put_by_hand_is_told_in_both_frames(wild):
    k = AT["left_wrist"]
    told = glimpses((reading(0), reading(1)), EVERYWHERE, 0.0, {k: (0.3, 0.6)}, {AT["left_index"]: (0.35, 0.65)})
    assert told.points[0, k, :2].tolist() == pytest.approx([0.3, 0.6])
    assert told.points[1, AT["right_wrist"], :2].tolist() == pytest.approx([0.7, 0.6])
    assert told.points[1, AT["right_index"], :2].tolist() == pytest.approx([0.65, 0.65])
    assert told.firm.sum() == 2  # the finger went along
    square = Square(50.0, 80.0, 200.0, 0.4)
    seen = {}
    wild.register_forward_pre_hook(lambda _, args: seen.update(points=args[0].points))
    put = square.to_picture(np.array([0.3, 0.6]))
    lift(wild, person((reading(0), reading(1)), square), EVERYWHERE, 500.0, {k: tuple(put)}, {})
    assert seen["points"][0, k, :2].tolist() == pytest.approx([0.3, 0.6], abs=1e-5)


def test_a_hidden_arm_is_less_sure():
    pose, camera = pose_of("standing"), camera_at()
    plain = draw(pose, camera)
    square = Square(224.0, 256.0, 512.0)
    seen = look(Pyramid(plain), square)
    assert seen is not None
    (left, top), (_, low) = seen.pixels[AT["left_elbow"]], seen.pixels[AT["left_wrist"]]
    covered = plain.copy()
    ImageDraw.Draw(covered).rectangle((left - 22, top - 40, left + 50, low + 60), fill=(60, 90, 60))
    sure: list[torch.Tensor] = []
    for picture in (plain, covered):
        person = look(Pyramid(picture), square)
        assert person is not None
        sure.append(lift(embedded_lifter(), person, EVERYWHERE, camera.focal_px, {}, {}).sigma)
    left_arm, right_arm = ([AT[f"{s}_elbow"], AT[f"{s}_wrist"]] for s in ("left", "right"))
    assert float(sure[1][left_arm].mean()) > 1.2 * float(sure[0][left_arm].mean())
    assert float(sure[1][right_arm].mean()) < 1.15 * float(sure[0][right_arm].mean())


# -- the fit -----------------------------------------------------------------------------------------------------------
def lifted_of(seen, true, sigma=0.02):
    """What a perfect lifter would say."""
    axes = fitting._problem(seen).ray
    quat = true.clone()
    quat[0] = rot.quat_multiply(rot.matrot_to_quat(axes.T), true[0])
    points = fitting.kinematics(quat[None], torch.zeros(1, 4)).points[0, :BODY]
    return Lifted(
        quat, points - points[23:25].mean(0), seen.pixels[:BODY], torch.full((BODY, 2), sigma), torch.full((BODY,), 3.0)
    )


@pytest.mark.parametrize("prior", ["vposer", "posendf"])
@pytest.mark.parametrize("name", ["step", "left arm up"])
def test_depth_that_blazepose_got_wrong_is_put_right(name, prior):
    seen, true = seen_of(name, 40)
    flat = replace(seen, space=seen.space * torch.tensor([1.0, 1.0, 0.3]))
    told = replace(flat, lifted=lifted_of(seen, true))
    without, with_it = (off_mm(fit(s, embedded_prior(prior)).quat, true) for s in (flat, told))
    assert with_it < 25
    assert with_it < 0.7 * without


def test_a_dragged_joint_is_met_in_its_middle():
    seen, true = seen_of("standing", 20)
    joints = fitting.kinematics(true[None], torch.zeros(1, 4)).joints[0]
    k = AT["left_elbow"]
    place = joints[18] + torch.tensor([0.2, 0.1, -4.0])
    wanted = torch.tensor([seen.width / 2 - FOCAL * place[0] / place[2], seen.height / 2 + FOCAL * place[1] / place[2]])
    pixels, trust = seen.pixels.clone(), seen.trust.clone()
    pixels[k], trust[k] = wanted, 12.0
    dragged = replace(seen, pixels=pixels, trust=trust, lifted=lifted_of(seen, true))
    found = fit(dragged, embedded_prior("vposer"))
    state = fitting.kinematics(found.quat[None], torch.tensor([list(found.lengths.values())]).log())
    at = state.joints[0, 18] + found.place
    got = torch.tensor([seen.width / 2 - FOCAL * at[0] / at[2], seen.height / 2 + FOCAL * at[1] / at[2]])
    assert float((got - wanted).norm()) < 4


# -- training ----------------------------------------------------------------------------------------------------------
def observed_file(path, rows=60):
    """A file as pictures/observed.py writes it: BlazePose sees all as it is, but flat."""
    g = torch.Generator().manual_seed(0)
    quat = torch.nn.functional.normalize(torch.randn(rows, 22, 4, generator=g) * 0.15 + torch.eye(4)[0], dim=-1)
    quat[:, 0] = rot.rotvec_to_quat(torch.randn(rows, 3, generator=g))
    state = fitting.kinematics(quat, torch.zeros(rows, 4))
    place = torch.tensor([0.1, 0.2, -4.0])
    marks = (state.points[:, :BODY] + place).numpy()
    pixels = marks[..., :2] * [1, -1] / -marks[..., 2:] * 500 + [200.0, 250.0]
    turn = torch.rand(rows, generator=g).numpy() - 0.5
    square = np.stack([np.full(rows, 230.0), np.full(rows, 240.0), np.full(rows, 420.0), turn], 1)
    unit = np.stack([
        (pixels[i] - square[i, :2]) @ Square(0, 0, 1, float(turn[i])).axes / square[i, 2] + 0.5 for i in range(rows)
    ])  # fmt: skip
    at = list(MIRROR)
    both = np.stack([unit, np.stack([1 - unit[..., 0], unit[..., 1]], -1)[:, at]], 1)
    points = np.concatenate([both, np.zeros((rows, 2, BODY, 1)), np.full((rows, 2, BODY, 2), 0.9)], -1)
    flat = (marks - marks[:, 23:25].mean(1, keepdims=True)) * [1.0, -1.0, 0.0]
    world = np.stack([flat, flat[:, at] * [-1, 1, 1]], 1)
    np.savez(
        path, joints=(state.joints + place).numpy(), matrot=rot.quat_to_matrot(quat).numpy(),
        focal=np.full(rows, 500.0), size=np.full((rows, 2), (400, 500)), square=square,
        points=points.astype(np.float32), world=world.astype(np.float32),
        deep=np.zeros((rows, 2, DEEP), np.float16), deeper=np.zeros((rows, 2, DEEPER[0] * DEEPER[1]), np.float16),
    )  # fmt: skip
    return path


def test_the_truth_falls_where_a_perfect_network_saw_it(tmp_path):
    data = vision_lifter.read_observed(observed_file(tmp_path / "o.npz"))
    assert len(data.matrot) == 120  # with the mirror images
    assert torch.allclose(data.unit, data.seen.points[..., :2], atol=1e-4)
    # the truth in the square's axes lies right and up as it falls on the square
    _, marks = vision_lifter._places(data.matrot)
    low = data.unit - data.unit[:, 23:25].mean(1, keepdim=True)
    ratio = (marks[..., :2] * low * torch.tensor([1.0, -1.0])).sum((1, 2)) / (low * low).sum((1, 2))
    away = marks[..., :2] - ratio[:, None, None] * low * torch.tensor([1.0, -1.0])
    assert float(away.norm(dim=-1).mean()) < 0.05


def test_dragging_puts_landmarks_on_joints_and_fingers_along(tmp_path):
    data = vision_lifter.read_observed(observed_file(tmp_path / "o.npz"))
    moved = vision_lifter.drag(data, 1.0, torch.Generator().manual_seed(1))
    firm = moved.seen.firm > 0
    assert int(firm.sum(1).min()) >= 1
    assert int(firm.sum(1).max()) <= 4
    assert torch.allclose(moved.seen.points[..., :2][firm], data.centre[firm], atol=1e-6)
    wrist = firm[:, AT["left_wrist"]]
    by = (moved.seen.points - data.seen.points)[..., :2]
    assert torch.allclose(by[wrist, AT["left_index"]], by[wrist, AT["left_wrist"]], atol=1e-6)
    still = vision_lifter.drag(data, 0.0, torch.Generator().manual_seed(1))
    assert torch.equal(still.seen.points, data.seen.points)


def test_training_learns_what_it_is_shown(tmp_path):
    data = vision_lifter.read_observed(observed_file(tmp_path / "o.npz", rows=30))
    settings = vision_lifter.Settings(epochs=40, batch=20, rate=3e-3, forget=0.0, dragged=0.0)
    shape = LifterShape(hidden=96, blocks=1, near=4)
    learnt = vision_lifter.errors_of(vision_lifter.train(data, data, settings, shape), data)
    before = vision_lifter.errors_of(Lifter(shape), data)
    for name in ("pa_mpjpe_mm", "pelvis_deg", "depth_mm"):
        assert learnt[name] < 0.5 * before[name]


def test_the_command_writes_weights_and_their_card(tmp_path):
    out, seen = tmp_path / "out", tmp_path / "seen"
    seen.mkdir()
    observed_file(seen / "o.npz", rows=100)
    args = ["--observed", seen, "--out", out, "--epochs", 1, "--batch", 32, "--hidden", 96, "--blocks", 1]
    assert vision_lifter.main([str(a) for a in args]) == 0
    card = json.loads((out / "lifter.json").read_text(encoding="utf-8"))
    assert card["pictures"] == 100
    assert card["held_out"]["pelvis_deg"] > 0
    assert str(tmp_path) not in json.dumps(card)
    assert read_lifter(str(out / "lifter.safetensors")).shape.hidden == 96


def test_a_wrong_file_is_named_in_one_line(tmp_path, capsys):
    (tmp_path / "o.npz").write_bytes(b"no")
    assert vision_lifter.main(["--observed", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "o.npz" in capsys.readouterr().err
