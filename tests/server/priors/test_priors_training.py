"""Training priors: data prepared rightly, losses that train, runs that can be stopped and resumed."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.faults import ChatPoseError
from chatpose_server.priors import consensus, embedded_prior, ik, load_prior
from chatpose_server.skeleton import BODY_JOINTS
from chatpose_server.training import priors_consensus, priors_posendf, priors_run, priors_vposer
from chatpose_server.training import priors_data as data
from PIL import Image
from safetensors.torch import load_file


def rotvecs(count, seed=0, size=0.4):
    return np.random.default_rng(seed).normal(size=(count, 22, 3)).astype(np.float32) * size


def write_ours(folder: Path, name: str, rotvec, clips) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ok = np.ones(len(rotvec), bool)
    ok[0] = False
    np.savez(
        folder / f"{name}.npz", joint_names=np.array(BODY_JOINTS), local_rotvec=rotvec, clip=np.array(clips), ok=ok
    )


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    rotvec = rotvecs(600)
    rotvec[:, [13, 14]] = 0  # collars that the source could not know
    write_ours(
        tmp_path / "ours", "captured", rotvec, [f"{k:02d}_{k % 3 + 1:02d}" for k in range(60) for _ in range(10)]
    )
    write_ours(tmp_path / "ours", "drawn", rotvecs(300, 1), [f"clip{k}" for k in range(30) for _ in range(10)])
    return tmp_path / "ours"


@pytest.fixture
def amass(tmp_path: Path) -> Path:
    folder = tmp_path / "amass" / "CMU" / "07"
    folder.mkdir(parents=True)
    for k in range(3):
        poses = rotvecs(200, k).reshape(200, 66)
        poses[:, 3] = np.arange(200) / 1000  # the frame's number, to see which are kept
        np.savez(folder / f"07_0{k}_poses.npz", poses=np.pad(poses, ((0, 0), (0, 90))), mocap_framerate=120.0)
    np.savez(folder / "shape.npz", betas=np.zeros(10))
    return tmp_path / "amass"


# -- data ------------------------------------------------------------------------------------------------------------
def test_amass_is_thinned_as_the_published_programs_do(amass: Path) -> None:
    sets = list(data.read_amass(amass))
    assert [len(s) for s in sets] == [48, 48, 48]  # 30 % of the middle 80 %
    for s in sets:
        frame = rot.quat_to_rotvec(s.quat)[:, 0, 0] * 1000
        assert frame.min() >= 19.9 and frame.max() < 180 and len(set(frame.round().tolist())) == 48
        assert len(set(s.group)) == 1 and s.known.all()
    assert len(data.read_sources(amass)) == 144
    assert not list(data.read_amass(amass, datasets=["KIT"]))


def test_our_layout_drops_bad_frames_and_knows_what_it_cannot_know(ours: Path) -> None:
    poses = data.read_sources(ours)
    assert len(poses) == 600 + 300 - 2
    collars = [data.J["left_collar"], data.J["right_collar"]]
    assert not poses.known[:599, collars].any() and poses.known[599:].all()
    assert poses.known[:599, data.J["left_elbow"]].all()


def test_sets_are_split_by_trial_and_never_by_frame(ours: Path) -> None:
    poses = data.read_sources(ours)
    splits = {w: poses.split(w) for w in ("train", "valid", "test", "unseen")}
    assert sum(len(s) for s in splits.values()) == len(poses)
    groups = [set(s.group) for s in splits.values()]
    assert not any(a & b for i, a in enumerate(groups) for b in groups[i + 1 :])
    assert {g.partition("_")[0] for g in groups[3]} <= data.UNSEEN_SUBJECTS and "14_03" in groups[3]
    assert len(splits["train"]) > 5 * len(splits["valid"])


def test_lent_joints_leave_arms_and_chest_where_they_were(ours: Path) -> None:
    poses = data.read_sources(ours)
    filled = data.fill_unknown(poses, torch.Generator().manual_seed(0))
    turned = data.geodesic_deg(filled, poses.quat)
    assert torch.equal(turned[599:] < 0.1, torch.ones_like(turned[599:], dtype=torch.bool))
    collar, shoulder, elbow = (data.J[f"left_{n}"] for n in ("collar", "shoulder", "elbow"))
    assert (turned[:599, collar] > 1).float().mean() > 0.9
    before, after = (rot.quat_multiply(q[:599, collar], q[:599, shoulder]) for q in (poses.quat, filled))
    assert data.geodesic_deg(before, after).max() < 0.1 and turned[:, elbow].max() < 0.1


def test_mirror_and_recombination_are_bodies_too(ours: Path) -> None:
    quat = data.read_sources(ours).quat
    there = data.mirror(quat)
    assert torch.allclose(data.mirror(there), quat, atol=1e-6)
    pelvis = torch.tensor([1.0, 0, 0, 0]).expand(len(quat), 1, 4)
    left, right = (ik.positions(torch.cat([pelvis, q], 1), torch.zeros(len(quat), 3)) for q in (quat, there))
    index = BODY_JOINTS.index
    gap = left[:, index("left_wrist")] * torch.tensor([-1.0, 1, 1]) - right[:, index("right_wrist")]
    assert gap.norm(dim=-1).max() < 0.03  # the skeleton itself is not perfectly symmetric
    mixed = data.recombine(quat, torch.Generator().manual_seed(0))
    changed = data.geodesic_deg(mixed, quat) > 0.1
    assert changed.sum(1).max() <= 4 and all(
        set(row.nonzero().flatten().tolist()) <= set().union(*data.LIMBS) for row in changed
    )


def test_noise_has_the_size_it_says() -> None:
    quat = torch.zeros(4000, 21, 4)
    quat[..., 0] = 1
    angle = data.geodesic_deg(data.add_noise(quat, np.radians(10), torch.Generator().manual_seed(0)), quat)
    assert angle.square().mean().sqrt() == pytest.approx(10, rel=0.02)


def test_labels_are_the_published_ones_and_ours(ours: Path) -> None:
    g = torch.Generator().manual_seed(0)
    natural = data.read_sources(ours).quat
    pairs = priors_posendf.published_pairs(natural, 40, g)
    every = (1 - torch.einsum("ajc,bjc->abj", pairs.quat, natural).abs()).mean(-1)
    assert torch.allclose(pairs.distance, every.topk(5, largest=False).values.mean(1), atol=1e-6)
    hard = priors_posendf.hard_pairs(natural, 60, g)
    angle = 2 * torch.acos(torch.einsum("ajc,bjc->abj", hard.quat, natural).abs().clamp(max=1))
    rms = angle.square().mean(-1).sqrt()
    assert torch.allclose(priors_posendf.rms_angle(hard.quat, hard.target), hard.distance, atol=1e-4)
    assert (
        hard.distance <= rms.amin(1) * 1.1 + 1e-3
    ).all()  # found by chord, judged by angle: nearly always the nearest


def test_whitened_codes_are_standard_normal(ours: Path) -> None:
    torch.manual_seed(0)
    model = priors_vposer.VPoser(family="chatpose-vposer", hidden=48, latent=8)
    quat = data.read_sources(ours).quat
    before = model.reconstruct(rot.quat_to_rotvec(quat))
    priors_vposer.whiten(model, quat)
    after = model.encode(rot.quat_to_rotvec(quat).flatten(1))
    drawn = after.mean.detach()
    assert drawn.mean(0).abs().max() < 1e-3
    assert torch.allclose(model.reconstruct(rot.quat_to_rotvec(quat)), before, atol=1e-3)


# -- runs ------------------------------------------------------------------------------------------------------------
class Stopped(Exception):
    pass


SMALL_NDF = priors_posendf.Settings(steps=8, batch=24, hard=48, manifold=300, sizes=(16, 8))
SMALL_VPOSER = priors_vposer.Settings(steps=8, batch=16, hidden=24, latent=6, vertices=20)
RUNS = {
    "posendf": lambda p, f: priors_posendf.train(p, f, SMALL_NDF, save_every=4),
    "vposer": lambda p, f: priors_vposer.train(p, f, SMALL_VPOSER, save_every=4),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(ours: Path, tmp_path: Path, monkeypatch, name) -> None:
    poses = data.read_sources(ours)
    whole = RUNS[name](poses, tmp_path / "whole").state_dict()
    save = priors_run.Run.save

    def save_and_stop(self) -> None:
        save(self)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(priors_run.Run, "save", save_and_stop)
        with pytest.raises(Stopped):
            RUNS[name](poses, tmp_path / "halves")
    resumed = RUNS[name](poses, tmp_path / "halves").state_dict()
    for key, value in whole.items():
        assert torch.allclose(resumed[key].float(), value.float(), atol=1e-6), key
    assert {p.name for p in (tmp_path / "halves").iterdir()} >= {"state.safetensors", "curves.json", "curves.png"}
    assert Image.open(tmp_path / "halves" / "curves.png").size[1] >= 150


@pytest.mark.parametrize(
    ("module", "name", "family"),
    [(priors_posendf, "chatpose", "chatpose-posendf"), (priors_posendf, "published", "posendf-version2"),
     (priors_vposer, "chatpose", "chatpose-vposer"), (priors_vposer, "published", "vposer-v2")],
)  # fmt: skip
def test_the_command_trains_weights_that_load(ours, tmp_path, monkeypatch, module, name, family) -> None:
    small = {"hard": 48, "sizes": (16, 8)} if module is priors_posendf else {}
    monkeypatch.setattr(module.Settings, "__init__", _with_defaults(module.Settings.__init__, small))
    out = tmp_path / "out"
    assert module.main(["--data", str(ours), "--out", str(out), "--recipe", name, "--steps", "3", "--batch", "16"]) == 0
    weights = next(out.glob("[pv]*.safetensors"))
    assert load_prior(weights).family == family
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(card) and card["poses"]["train"] > 0 and "--steps 3" in card["command"]


def _with_defaults(init, extra):
    def __init__(self, *args, **kwargs):
        init(self, *args, **{**extra, **kwargs})

    return __init__


def test_the_priors_are_joined_by_what_training_trials_say(ours, tmp_path) -> None:
    out = tmp_path / "out"
    assert priors_consensus.main(["--data", str(ours), "--out", str(out), "--parts", "2"]) == 0
    found = consensus.Tables.of(load_file(out / "consensus.safetensors"))
    assert found.shares.sum() == pytest.approx(1, abs=1e-5) and found.means.shape == (2, 63)
    joined = consensus.Consensus(embedded_prior("posendf"), embedded_prior("vposer"), found)
    clean = priors_consensus.natural_poses(data.read_sources(ours).split("train"), 0)[:300]
    level = [joined.level(data.add_noise(clean, np.radians(d), torch.Generator().manual_seed(1))) for d in (2, 10, 20)]
    assert level[0].mean() < level[1].mean() < level[2].mean()
    noisy = data.add_noise(clean, np.radians(20), torch.Generator().manual_seed(2))
    before, after = (data.geodesic_deg(q, clean).mean() for q in (noisy, joined.project(noisy)))
    assert after < before, "even of poses that are themselves random"
    assert torch.allclose(consensus.blend(level[1]).sum(1), torch.ones(300))


def test_without_faiss_the_command_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delitem(sys.modules, priors_posendf.__name__)
    with pytest.raises(ChatPoseError, match="faiss"):
        importlib.import_module(priors_posendf.__name__)


@pytest.mark.parametrize("module", [priors_posendf, priors_vposer, priors_consensus])
def test_a_folder_without_poses_is_one_clear_line(module, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert module.main(["--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'empty' holds no poses" in error


def test_training_the_step_lowers_its_loss(ours: Path) -> None:
    """The gradient of the gradient is really there: a few steps of the own loss alone make the step better."""
    g = torch.Generator().manual_seed(0)
    natural = data.read_sources(ours).quat
    model = priors_posendf.PoseNDF("chatpose-posendf", sizes=(64, 32), beta=8.0)
    priors_posendf.initialise(model, g)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    clean = natural[torch.randint(len(natural), (48,), generator=g)]
    noisy = data.add_noise(clean, 0.4, g)
    label = priors_posendf.rms_angle(noisy, clean)
    seen = []
    for _ in range(60):
        dist, step = priors_posendf.own_loss(model, noisy, clean, label)
        adam.zero_grad()
        (dist + step).backward()
        adam.step()
        seen.append((dist.item(), step.item()))
    early, late = np.mean(seen[:5], axis=0), np.mean(seen[-5:], axis=0)
    assert late[1] < 0.8 * early[1] and late.sum() < 0.9 * early.sum(), (early, late)
