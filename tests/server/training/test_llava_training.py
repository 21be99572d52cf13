"""The LLaVA recipe on a tiny model: learns its pairs, merges, exports, reloads to the same answers. And its data."""

import json

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.published import load_published
from chatpose_server.pose import Pose
from chatpose_server.training import llava_data
from chatpose_server.training.llava_data import LlavaData, read_pose
from chatpose_server.training.llava_poselm import LlavaSettings, LlavaTrainer
from chatpose_server.training.pose_data import TrainingDataError
from PIL import Image

from ..language import tiny_published as tiny

WORDS = ("kneeling", "raised", "arms", "person", "image", "predict", "behavior", "Give")
TEXTS, PICTURES = 32, 8


def pose_of(seeds):
    """Every word adds its own bend, as words do: (22, 3) axis-angle each, 0.2 radians a number."""
    bends = [torch.randn(22, 3, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return Pose.from_matrot(rot.rotvec_to_matrot(0.2 * torch.stack(bends).sum(0))).to_json()


def write_data(folder):
    lines = []
    for i in range(TEXTS):
        numbers = (i % 8, i // 8, (i * 5 + i // 8) % 8)
        said = " ".join(WORDS[n] for n in numbers)
        lines.append({"text": said, "pose": pose_of(numbers), "question": f"{said} pose?", "answer": "[SEG]."})
    for i in range(PICTURES):
        noise = np.random.default_rng(i).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 48)).save(folder / f"{i}.png")
        line = {"image": f"{i}.png", "pose": pose_of([100 + i]), "question": "pose?", "answer": "It is [SEG]."}
        lines.append({**line, "box": [8, 0, 48, 48]})
    talk = [{"from": "human", "value": "<image>\nkneeling?"}, {"from": "gpt", "value": "person"}]
    lines.append({"image": "0.png", "conversations": talk})
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def degrees(model, examples):
    """Of each pair, the mean over its joints."""
    off = []
    for example in examples:
        request = LanguageRequest(
            example.exchanges[-1].question, image=example.picture(), want="auto", max_new_tokens=8
        )
        answer = model.answer(request)
        assert answer.text == example.exchanges[-1].answer.replace("[SEG]", "[POSE]")
        off.append(float(rot.geodesic_angle(answer.poses[0].matrot(), example.matrot).mean().rad2deg()))
    return np.array(off)


@pytest.mark.slow
def test_overfits_merges_exports_and_reloads(tmp_path):
    torch.set_num_threads(1)
    made = tiny.make(tmp_path / "llava", vocabulary="plain")
    data = LlavaData([write_data(tmp_path)], rates=(3.0, 1.0, 0.2))
    assert data.counts == {"text": TEXTS, "image": PICTURES, "talk": 1}
    settings = LlavaSettings(
        steps=560, batch=20, accumulate=1, rate=3e-3, head_rate=4e-3, rank=8, alpha=16.0, dropout=0.0, warmup=10,
    )  # fmt: skip
    trainer = LlavaTrainer(made.folder, data, tmp_path / "run", settings, device="cpu")
    trainer.run()
    trainer.export(tmp_path / "merged")
    model = load_published(str(tmp_path / "merged"), device="cpu", dtype="float32")
    off = degrees(model, data.every())
    assert off[:TEXTS].mean() < 3.0 and off[TEXTS:].mean() < 3.0, off.round(1)
    untrained = [rot.geodesic_angle(e.matrot, torch.eye(3)).mean().rad2deg() for e in data.every()]
    assert np.mean(untrained) > 20.0  # so that 3 is not what doing nothing gives
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["step"] == 560

    again = LlavaTrainer(made.folder, data, tmp_path / "again", settings, device="cpu")
    again.resume(tmp_path / "run" / "resume.pt")
    assert again.step == 560
    examples = data.every()[:4]
    with torch.no_grad():
        a, b = trainer.loss(examples)[0], again.loss(examples)[0]
    assert float(a) == pytest.approx(float(b), abs=1e-6)


# -- data --------------------------------------------------------------------------------------------------------------
def test_amass_faces_the_front_and_smpl_stands_up(tmp_path):
    upright = rot.rotvec_to_matrot(torch.tensor([torch.pi / 2, 0.0, 0.0]))  # AMASS: z up, so an upright body is turned
    for yaw in (0.0, 1.0, -2.5):
        root = rot.rotvec_to_matrot(torch.tensor([0.0, 0.0, yaw])) @ upright
        poses = np.zeros((3, 156), np.float32)
        poses[1, :3] = rot.matrot_to_rotvec(root).numpy()
        poses[1, 3:6] = (0.3, 0.0, 0.0)
        np.savez(tmp_path / "a.npz", poses=poses)
        matrot = read_pose({"amass": "a.npz", "frame": 1}, tmp_path)
        assert torch.allclose(matrot[0], torch.eye(3), atol=1e-5)
        assert torch.allclose(matrot[1], rot.rotvec_to_matrot(torch.tensor([0.3, 0.0, 0.0])), atol=1e-5)
    smpl = {"smpl": {"global_orient": [torch.pi, 0.0, 0.0], "body_pose": [0.0] * 69}}  # upright in a camera's frame
    assert torch.allclose(read_pose(smpl, tmp_path), torch.eye(3).expand(22, 3, 3), atol=1e-5)


def test_rates_and_seeds_decide_what_is_drawn(tmp_path):
    data = LlavaData([write_data(tmp_path)], rates=(1.0, 0.0, 1.0))
    drawn = data.sample(200, torch.Generator().manual_seed(1))
    assert not any(e.image is not None and e.matrot is not None for e in drawn)
    assert 60 < sum(e.matrot is None for e in drawn) < 140
    again = data.sample(200, torch.Generator().manual_seed(1))
    assert [e.exchanges for e in drawn] == [e.exchanges for e in again]


def test_trained_wordings_are_drawn_where_a_line_has_none(tmp_path):
    line = {"text": "kneeling", "pose": {"joints": {}}}
    (tmp_path / "d.jsonl").write_text(json.dumps(line) + "\n" + json.dumps({**line, "split": "test"}))
    data = LlavaData([tmp_path / "d.jsonl"])
    assert data.counts["text"] == 1
    drawn = data.sample(100, torch.Generator().manual_seed(0))
    assert len({e.exchanges[0].question for e in drawn}) == len(llava_data.talk.TEXT_QUESTIONS)
    assert {e.exchanges[0].answer for e in drawn} == set(llava_data.talk.ANSWERS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "no known form"),
        ('{"pose": {"joints": {}}}', "neither a text nor a picture"),
        ('{"image": "gone.png", "pose": {"joints": {}}}', "no picture 'gone.png'"),
        ('{"text": "a", "pose": {"joints": {"nose": [1, 0, 0, 0]}}}', "'nose' is not a SMPL-X joint"),
        ('{"text": "a", "answer": "Sure.", "pose": {"joints": {}}}', r"must hold \[SEG\] once"),
        ('{"text": "a", "pose": {"amass": "gone.npz", "frame": 0}}', "no AMASS file"),
        ("", "nothing to train on"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, words):
    (tmp_path / "d.jsonl").write_text(line)
    with pytest.raises(TrainingDataError, match=words):
        LlavaData([tmp_path / "d.jsonl"])
