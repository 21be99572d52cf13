"""Captions are true, training learns, a cut-off run goes on as if nothing had been."""

from __future__ import annotations

import random
import re

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.language import lora
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.head import ClassHead, HeadOutput
from chatpose_server.language.poselm import build, read_trained
from chatpose_server.language.reader import ReaderShape
from chatpose_server.posecodes.measure import measure, posecodes_hold
from chatpose_server.posecodes.vocabulary import POSECODES, mirror_code
from chatpose_server.skeleton import INDEX
from chatpose_server.training import captions
from chatpose_server.training.caption_pairs import CaptionPairs, true_codes
from chatpose_server.training.named_poses import NamedPose, judged_prompts, read_named, write_named
from chatpose_server.training.pairs import Batch
from chatpose_server.training.phrasings import phrasings
from chatpose_server.training.pose_data import PoseSet
from chatpose_server.training.poselm import AskedTerms, Settings, Trainer
from chatpose_server.training.solved_poses import read_solved, solve_all, write_solved
from chatpose_server.training.team import Team

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
    known = ~batch.matrot[:, 0, 0, 0].isnan()
    assert known.sum() > 40 and not known.all()
    assert (true | ~asked)[known].all()
    assert (asked[~known].any(1)).all()  # where no pose is shown, statements are all there is to learn from


def test_the_same_seed_gives_the_same_pairs(pairs):
    a = pairs.sample(20, torch.Generator().manual_seed(5))
    b = pairs.sample(20, torch.Generator().manual_seed(5))
    assert a.texts == b.texts
    assert torch.allclose(a.matrot, b.matrot, equal_nan=True)
    assert a.texts != pairs.sample(20, torch.Generator().manual_seed(6)).texts


@pytest.mark.parametrize("seed", range(30))
def test_every_statement_is_mentioned(seed):
    rng = random.Random(seed)
    text = captions.caption(
        ["left_elbow=right_angle", "right_knee=straight", "kneeling", "left_hand@chin"], rng
    ).lower()
    for words in (("elbow", "arm"), ("leg", "knee"), ("kneel", "knees"), ("chin",)):
        assert any(w in text or w[:-1] in text for w in words), text


def test_both_sides_are_said_once():
    texts = [
        captions.caption(["left_elbow=straight", "right_elbow=straight"], random.Random(i)).lower() for i in range(20)
    ]
    assert all(re.search("both|arms|elbows", t) for t in texts)
    assert not any("left" in t for t in texts)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("right_hand@left_hip", "placing the right hand on the left hip"),
        ("right_arm=out", "stretching the right arm out to the right"),
        ("looking_over_right_shoulder", "glancing over the right shoulder"),
        ("kneeling", "dropping to the knees"),
        ("left_foot@right_knee", "propping the left foot on the right knee"),
    ],
)
def test_people_are_doing_what_a_posecode_says(code, words):
    assert words in phrasings(code).doing


def test_no_phrasing_of_one_side_speaks_of_the_other():
    for name in POSECODES:
        other = mirror_code(name)
        if other != name and captions.is_said(name):
            swapped = [re.sub(r"(left|right)(?! angle)", lambda m: "right" if m[0] == "left" else "left", t)
                       for t in phrasings(name).commands]  # fmt: skip
            assert sorted(swapped) == sorted(phrasings(other).commands), name


def test_solved_poses_do_what_was_asked_and_survive_the_file(tmp_path):
    wanted = [["left_hand@left_hip"], ["kneeling", "head=down"], ["left_elbow=straight", "right_elbow=straight"]]
    solved = solve_all([*wanted, ["left_elbow=straight", "left_elbow=right_angle"]])  # no body can do the last
    assert len(solved.matrot) == len(solved.asked) == 3
    write_solved(tmp_path / "solved.safetensors", solved)
    got = read_solved(tmp_path / "solved.safetensors")
    names = list(POSECODES)
    assert [[names[i] for i in row if i >= 0] for row in got.asked.tolist()] == wanted
    holds = posecodes_hold(measure(got.matrot))
    assert all(holds[row, names.index(code)] for row, codes in enumerate(wanted) for code in codes)


def test_no_text_comes_near_a_judged_prompt(pairs, tmp_path):
    (tmp_path / "prompts.txt").write_text(
        "# of a victory | no\nhe has won | left_knee=0..3\nstand || so, kneel => a@b\n"
    )
    judged = judged_prompts([tmp_path / "prompts.txt"])
    assert judged == ["he has won", "stand", "so, kneel"]
    strict = CaptionPairs(pairs._poses, pairs._named, None, judged)
    seed = 3
    free = pairs.sample(200, torch.Generator().manual_seed(seed)).texts
    kept = strict.sample(200, torch.Generator().manual_seed(seed)).texts
    assert any("he has won" in t.lower() for t in free)
    assert not any("he has won" in t.lower() for t in kept)
    assert any("victory" in t.lower() for t in kept)


def test_what_is_asked_is_missed_by_as_much_as_geometry_says():
    terms = AskedTerms(tuple(POSECODES))
    asked = torch.zeros(1, len(POSECODES), dtype=torch.bool)
    asked[0, list(POSECODES).index("left_elbow=right_angle")] = True

    def bent(degrees: float) -> HeadOutput:
        vec = torch.zeros(1, 1, 22, 3)
        vec[0, 0, INDEX["left_elbow"], 1] = -torch.deg2rad(torch.tensor(degrees))
        return HeadOutput(rot.rotvec_to_matrot(vec), torch.zeros(1, 1))

    assert terms.missed(bent(90.0), asked) == (torch.zeros(()), 1.0, torch.zeros(()))
    near, far = terms.missed(bent(60.0), asked), terms.missed(bent(0.0), asked)
    assert 0 < near[0] < far[0] < 4
    assert near[1] == far[1] == 0.0
    assert terms.missed(bent(-60.0), asked)[2] > 0.5  # an elbow bent backwards


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
        vec = torch.randn(4, 22, 3, generator=torch.Generator().manual_seed(9)) * 0.15
        texts = ["she kneels", "arms raised", "a person", "hello"]
        return Batch(
            [texts[i] for i in pick], [None if i < 3 else "Sure" for i in pick], rot.rotvec_to_matrot(vec)[pick],
            torch.tensor([[i == 0, i == 1] for i in pick]).float(),
            torch.tensor([i + 1 if i < 3 else -1 for i in pick]),
        )  # fmt: skip


def trainer(folder, steps=150, **more) -> Trainer:
    settings = Settings(
        base="tiny", steps=steps, batch=12, rate=1e-2, head_rate=1e-2, rank=4, alpha=8, hypotheses=2, inner=32,
        warmup=5, bfloat16=False, **more,
    )  # fmt: skip
    return Trainer(settings, Few(), folder, "test", (tiny.backbone(), tiny.tokenizer()))


def test_a_tiny_model_learns_poses_names_codes_and_when_to_talk(tmp_path):
    made = trainer(tmp_path, 260)
    made.run(log_every=50, save_every=1000)
    header, state = read_trained(tmp_path / "trained.safetensors")
    model = build("tiny", tiny.backbone(), tiny.tokenizer(), header, state)
    wanted = Few().sample(40, torch.Generator().manual_seed(0))
    for text, name, code in (("she kneels", "x", "a"), ("arms raised", "y", "b")):
        answer = model.answer(LanguageRequest(text, want="auto"))
        target = wanted.matrot[wanted.texts.index(text)]
        assert torch.rad2deg(rot.geodesic_angle(answer.poses[0].matrot(), target)).mean() < 9
        assert max(answer.named, key=answer.named.get) == name
        assert answer.posecodes[code] > 0.8
    assert model.answer(LanguageRequest("hello", want="auto", max_new_tokens=8)).poses == ()


@pytest.mark.parametrize("reader", [ReaderShape(width=24), ReaderShape((0, 1), 16), None])
def test_heads_catch_up_with_the_states(tmp_path, reader):
    made = trainer(tmp_path, reader=reader)
    made.run(steps=15, log_every=50)
    adapters = {k: v.clone() for k, v in lora.adapter_state(made.model).items()}
    made.train_heads(150, 64)
    for name, value in lora.adapter_state(made.model).items():  # the language model stood still
        assert torch.equal(value, adapters[name])
    header, state = read_trained(tmp_path / "trained.safetensors")  # saved, and read the states as they are
    assert header.reader == reader
    model = build("tiny", tiny.backbone(), tiny.tokenizer(), header, state)
    wanted = Few().sample(40, torch.Generator().manual_seed(0))
    for text, name in (("she kneels", "x"), ("arms raised", "y")):
        answer = model.answer(LanguageRequest(text))
        target = wanted.matrot[wanted.texts.index(text)]
        assert torch.rad2deg(rot.geodesic_angle(answer.poses[0].matrot(), target)).mean() < 9
        assert max(answer.named, key=answer.named.get) == name


def test_heads_alone_go_on_exactly_after_a_cut(tmp_path):
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole = trainer(tmp_path / "whole")
    whole.train_heads(24, 32)
    first = trainer(tmp_path / "cut")
    first.train_heads(24, 32, at_most=21)
    again = trainer(tmp_path / "cut")
    again.resume(tmp_path / "cut" / "resume.pt")
    assert again.heads_step == 21
    again.train_heads(24, 32)
    for a, b in zip(whole.head.parameters(), again.head.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


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


class TwoAlike(Team):
    """A second process that had twice the gradients of this one."""

    def sum_gradients(self, parameters):
        for p in parameters:
            p.grad = None if p.grad is None else p.grad + 2 * p.grad


def test_in_a_team_each_process_draws_its_own_rows_and_all_learn_the_mean(tmp_path):
    alone, second = trainer(tmp_path), trainer(tmp_path)
    second.team = TwoAlike()
    second.team.size, second.team.rank = 2, 1
    drawn = []
    for made in (alone, second):
        made.source = Spy(drawn)
        made.run(steps=1)
    assert drawn[0] != drawn[1]
    assert not second.team.leads
    given = [torch.ones(3, requires_grad=True)]
    given[0].grad = torch.full((3,), 4.0)
    second.team.average_gradients(given)
    assert given[0].grad.tolist() == [6.0, 6.0, 6.0]


class Spy(Few):
    def __init__(self, drawn):
        self.drawn = drawn

    def sample(self, count, generator):
        batch = super().sample(count, generator)
        self.drawn.append(batch.texts)
        return batch


def test_classes_are_taken_over_by_name():
    old, new = ClassHead(8, 4, 2), ClassHead(8, 4, 3)
    fresh = new.layers[-1].weight[0].clone()
    new.take_rows(old.state_dict(), ["a", "b"], ["c", "b", "a"])
    assert torch.equal(new.layers[-1].weight[1], old.layers[-1].weight[1])
    assert torch.equal(new.layers[-1].weight[2], old.layers[-1].weight[0])
    assert torch.equal(new.layers[-1].weight[0], fresh)
