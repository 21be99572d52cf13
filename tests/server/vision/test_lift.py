"""What lifts landmarks, its training, and the fit that leans on it. Geometry alone: no pictures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.priors import embedded_prior
from chatpose_server.training import vision_lifter
from chatpose_server.vision import fit as fitting
from chatpose_server.vision.blazepose import AT, MIRROR, NAMES
from chatpose_server.vision.fit import UNSEEN, fit
from chatpose_server.vision.lift import INPUTS, View, embedded_lifter, numbers

from .test_fit import FOCAL, off_mm, seen_of

BODY = len(NAMES)


def view_of(seen):
    return fitting.view_of(seen, FOCAL, fitting._problem(seen, None).ray)


def test_left_and_right_are_treated_alike():
    view = view_of(seen_of("step", 20)[0])
    at, flip = list(MIRROR), torch.tensor([-1.0, 1.0, 1.0])
    twin = View(view.flat[:, at] * flip[:2], view.space[:, at] * flip, view.trust[:, at], view.firm[:, at])
    one, other = (embedded_lifter().lift(v).places[0] for v in (view, twin))
    assert float((one - other[at] * flip).norm(dim=1).mean()) < 0.06


def test_what_was_not_seen_is_less_sure():
    seen, _ = seen_of("standing", 20)
    arm = [AT[f"left_{n}"] for n in ("elbow", "wrist", "index", "pinky", "thumb")]
    trust = seen.trust.clone()
    trust[arm] = UNSEEN
    both = (seen, replace(seen, trust=trust))
    plain, hidden = (embedded_lifter().lift(view_of(s)).sigma[0, arm].mean() for s in both)
    assert hidden > 1.2 * plain


def test_size_and_lens_do_not_change_what_is_seen():
    seen, _ = seen_of("step", 20)
    view = view_of(seen)
    larger = View(2 * view.flat + 0.1, view.space, view.trust, view.firm)
    a, b = numbers(view), numbers(larger)
    assert a.shape == (1, INPUTS)
    assert torch.allclose(a[:, :-1], b[:, :-1], atol=1e-4)
    assert float(b[0, -1] - a[0, -1]) == pytest.approx(np.log(2), abs=1e-4)


@pytest.mark.parametrize("prior", ["vposer", "posendf"])
@pytest.mark.parametrize("name", ["step", "left arm up"])
def test_what_is_plainly_seen_is_still_found_with_either_prior(name, prior):
    seen, true = seen_of(name, 40)
    assert off_mm(fit(seen, embedded_prior(prior), embedded_lifter()).quat, true) < 45


def test_a_dragged_joint_is_met_in_its_middle():
    seen, true = seen_of("standing", 20)
    joints = fitting.kinematics(true[None], torch.zeros(1, 4)).joints[0]
    k = AT["left_elbow"]
    place = joints[18] + torch.tensor([0.2, 0.1, -4.0])
    wanted = torch.tensor([seen.width / 2 - FOCAL * place[0] / place[2], seen.height / 2 + FOCAL * place[1] / place[2]])
    pixels, trust = seen.pixels.clone(), seen.trust.clone()
    pixels[k], trust[k] = wanted, 12.0
    found = fit(replace(seen, pixels=pixels, trust=trust), embedded_prior("vposer"), embedded_lifter())
    state = fitting.kinematics(found.quat[None], torch.tensor([list(found.lengths.values())]).log())
    at = state.joints[0, 18] + found.place
    got = torch.tensor([seen.width / 2 - FOCAL * at[0] / at[2], seen.height / 2 + FOCAL * at[1] / at[2]])
    assert float((got - wanted).norm()) < 4


# -- training --------------------------------------------------------------------------------------------------------
def observed_file(path, rows=12):
    """A file as pictures/observed.py writes it: BlazePose a little off, and flat."""
    g = torch.Generator().manual_seed(0)
    quat = torch.nn.functional.normalize(torch.randn(rows, 22, 4, generator=g) * 0.15 + torch.eye(4)[0], dim=-1)
    quat[:, 0] = rot.rotvec_to_quat(torch.randn(rows, 3, generator=g))
    state = fitting.kinematics(quat, torch.zeros(rows, 4))
    place = torch.tensor([0.1, 0.2, -4.0])
    marks = state.points[:, :BODY] + place
    pixels = marks[..., :2] * torch.tensor([1.0, -1.0]) / -marks[..., 2:] * 500 + torch.tensor([200.0, 250.0])
    world = (marks - marks[:, 23:25].mean(1, keepdim=True)) * torch.tensor([1.0, 1.0, 0.6])
    np.savez(
        path, joints=state.joints + place, turn=state.matrot, focal=np.full(rows, 500.0),
        size=np.full((rows, 2), (400, 500)), pixels=pixels + torch.randn(pixels.shape, generator=g), world=world,
        visibility=np.full((rows, BODY), 0.9),
    )  # fmt: skip
    return path


def poses_file(path, rows=80):
    vec = np.random.default_rng(0).normal(0, 0.25, (rows, 22, 3)).astype(np.float32)
    clips = [f"9{i % 40:02d}_01" for i in range(rows)]
    np.savez(path, joint_names=list(fitting.BODY_JOINTS), local_rotvec=vec, clip=clips, ok=np.ones(rows, bool))


def test_observed_errors_are_those_that_were_made(tmp_path):
    seen = vision_lifter.read_observed(observed_file(tmp_path / "o.npz"))
    assert seen.true.shape == (24, BODY, 3)  # with their mirror images
    assert float(seen.flat.norm(dim=-1).mean()) == pytest.approx(1.25 * 4.0 / 500, rel=0.2)  # a pixel, in metres there
    flat = 0.6 * seen.true[..., 2]
    found = seen.scale[:, None] * seen.true[..., 2] + seen.space[..., 2]
    assert float((found - flat).abs().mean()) < 0.03
    at, flip = list(MIRROR), torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(seen.true[12:], seen.true[:12, at] * flip)


def test_a_small_training_learns_and_writes_its_card(tmp_path):
    poses_file(tmp_path / "some.npz")
    out = tmp_path / "out"
    (tmp_path / "seen").mkdir()
    args = ["--data", tmp_path, "--observed", observed_file(tmp_path / "seen" / "o.npz"), "--out", out]
    args += ["--views", 4000, "--waves", 40]
    assert vision_lifter.main([str(a) for a in args]) == 0
    card = json.loads((out / "lifter.json").read_text(encoding="utf-8"))
    assert card["test"]["depth_mm"] < 120
    assert str(tmp_path) not in json.dumps(card)
    assert (out / "lifter.safetensors").stat().st_size > 10_000


def test_a_wrong_file_is_named_in_one_line(tmp_path, capsys):
    (tmp_path / "o.npz").write_bytes(b"no")
    args = ["--data", str(tmp_path), "--observed", str(tmp_path / "o.npz"), "--out", str(tmp_path)]
    assert vision_lifter.main(args) == 2
    assert "o.npz" in capsys.readouterr().err
