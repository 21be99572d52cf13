"""Captions are true, training learns, a cut-off run goes on as if nothing had been."""

from __future__ import annotations

import random

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.head import ClassHead
from chatpose_server.language.poselm import build, read_trained
from chatpose_server.posecodes.vocabulary import POSECODES
from chatpose_server.training import captions
from chatpose_server.training.caption_pairs import CaptionPairs, true_codes
from chatpose_server.training.named_poses import NamedPose, read_named, write_named
from chatpose_server.training.pose_data import PoseSet
from chatpose_server.training.poselm import Batch, Settings, Trainer

from ..language import tiny


@pytest.fixture(scope="module")
def pairs() -> CaptionPairs:
    generator = torch.Generator().manual_seed(0)
    vec = torch.randn(60, 22, 3, generator=generator) * 0.35
    poses = PoseSet(rot.rotvec_to_matrot(vec), ("dance",) * 60, ("c",) * 60, ("s",) * 60)
    named = NamedPose("victory", ("victory", "he has won"), rot.rotvec_to_matrot(vec[:2]), torch.zeros(len(POSECODES)))
    return CaptionPairs(poses, [named])


def test_what_a_caption_asks_for_is_true_of_its_pose(pairs):
    batch = pairs.sample(96, torch.Generator().manual_seed(1))
    true = true_codes(batch.matrot)
    asked = batch.codes == 1
    assert asked.any(1).sum() > 30
    assert (true | ~asked).all()


def test_the_same_seed_gives_the_same_pairs(pairs):
    a = pairs.sample(20, torch.Generator().manual_seed(5))
    b = pairs.sample(20, torch.Generator().manual_seed(5))
    assert a.texts == b.texts
    assert torch.equal(a.matrot, b.matrot)
    assert a.texts != pairs.sample(20, torch.Generator().manual_seed(6)).texts


@pytest.mark.parametrize("seed", range(30))
def test_every_statement_is_mentioned(seed):
    rng = random.Random(seed)
    text = captions.caption(
        ["left_elbow=right_angle", "right_knee=straight", "kneeling", "left_hand@chin"], rng
    ).lower()
    for words in (("elbow",), ("leg", "knee"), ("kneel", "knees"), ("chin",)):
        assert any(w in text or w[:-1] in text for w in words), text


def test_both_sides_are_said_once():
    texts = [
        captions.caption(["left_elbow=straight", "right_elbow=straight"], random.Random(i)).lower() for i in range(20)
    ]
    assert all("both" in t or "arms" in t for t in texts)
    assert not any("left" in t for t in texts)


def test_named_poses_survive_the_file(tmp_path, pairs):
    path = tmp_path / "named.safetensors"
    write_named(path, pairs._named, tuple(POSECODES))
    (got,) = read_named(path, ("kneeling", "not there"))
    assert got.name == "victory"
    assert got.wordings == ("victory", "he has won")
    assert got.codes[0] == 0
    assert got.codes[1].isnan()


class Few:
    """Four pairs, over and over."""

    code_names = ("a", "b")
    pose_names = ("x", "y", "z")

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        pick = torch.randint(4, (count,), generator=generator).tolist()
        vec = torch.randn(4, 22, 3, generator=torch.Generator().manual_seed(9)) * 0.5
        texts = ["she kneels", "arms raised", "a person", "hello"]
        return Batch(
            [texts[i] for i in pick], [None if i < 3 else "Sure" for i in pick], rot.rotvec_to_matrot(vec)[pick],
            torch.tensor([[i == 0, i == 1] for i in pick]).float(),
            torch.tensor([i + 1 if i < 3 else -1 for i in pick]),
        )  # fmt: skip

    def every_name(self, size: int, generator: torch.Generator):
        yield self.sample(size, generator)


def trainer(folder, steps=150) -> Trainer:
    settings = Settings(
        base="tiny", steps=steps, batch=12, rate=1e-2, head_rate=1e-2, rank=4, alpha=8, hypotheses=2, inner=32,
        warmup=5, bfloat16=False,
    )  # fmt: skip
    return Trainer(settings, Few(), folder, "test", (tiny.backbone(), tiny.tokenizer()))


def test_a_tiny_model_learns_poses_names_codes_and_when_to_talk(tmp_path):
    made = trainer(tmp_path)
    made.run(log_every=50, save_every=1000)
    header, state = read_trained(tmp_path / "trained.safetensors")
    model = build("tiny", tiny.backbone(), tiny.tokenizer(), header, state)
    wanted = Few().sample(40, torch.Generator().manual_seed(0))
    for text, name, code in (("she kneels", "x", "a"), ("arms raised", "y", "b")):
        answer = model.answer(LanguageRequest(text, want="auto"))
        target = wanted.matrot[wanted.texts.index(text)]
        assert torch.rad2deg(rot.geodesic_angle(answer.poses[0].matrot(), target)).mean() < 6
        assert max(answer.named, key=answer.named.get) == name
        assert answer.posecodes[code] > 0.8
    assert model.answer(LanguageRequest("hello", want="auto", max_new_tokens=8)).poses == ()


def test_heads_catch_up_with_the_states(tmp_path):
    made = trainer(tmp_path)
    made.run(steps=15, log_every=50)
    _, before = made.loss(Few().sample(40, torch.Generator().manual_seed(1)))
    made.refit_heads(128, 150)
    _, after = made.loss(Few().sample(40, torch.Generator().manual_seed(1)))
    assert after["token"] == before["token"]  # the language model stood still
    assert after["pose"] < 0.3 * before["pose"]
    assert after["degrees"] < 4
    header, state = read_trained(tmp_path / "trained.safetensors")  # saved, and read the states as they are
    model = build("tiny", tiny.backbone(), tiny.tokenizer(), header, state)
    named = model.answer(LanguageRequest("arms raised")).named
    assert max(named, key=named.get) == "y"


def test_a_cut_off_run_goes_on_exactly(tmp_path):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole = trainer(tmp_path / "whole", 12)
    whole.run()
    first = trainer(tmp_path / "cut", 12)
    first.run(steps=6)
    again = trainer(tmp_path / "cut", 12)
    again.resume(tmp_path / "cut" / "resume.pt")
    assert again.step == 6
    again.run()
    for a, b in zip(whole.head.parameters(), again.head.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_classes_are_taken_over_by_name():
    old, new = ClassHead(8, 4, 2), ClassHead(8, 4, 3)
    fresh = new.layers[-1].weight[0].clone()
    new.take_rows(old.state_dict(), ["a", "b"], ["c", "b", "a"])
    assert torch.equal(new.layers[-1].weight[1], old.layers[-1].weight[1])
    assert torch.equal(new.layers[-1].weight[2], old.layers[-1].weight[0])
    assert torch.equal(new.layers[-1].weight[0], fresh)
