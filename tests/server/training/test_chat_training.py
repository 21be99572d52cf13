"""The recipe on tiny models: learns its pairs, merges, exports, reloads to the same answers; and whatever else decides
what is learnt: cut-off runs, several processes, bfloat16, other devices.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.language import conversation as talk
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.chat_layout import read_head
from chatpose_server.language.devices import Device, DeviceError
from chatpose_server.language.loading import load_language_model
from chatpose_server.pose import Pose
from chatpose_server.training import backbone_chat, chat_poselm
from chatpose_server.training.backbones import Adapting, merged
from chatpose_server.training.chat_poselm import ChatSettings, ChatTrainer, open_backbone, place_for, read_examples
from chatpose_server.training.examples import Example
from chatpose_server.training.pose_data import TrainingDataError
from PIL import Image
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, masking_utils

from ..language import test_chat_model as family
from ..language import tiny_published
from . import tiny_chat

WORDS = ("kneeling", "raised", "arms", "person", "image", "predict", "behavior", "Give")
TEXTS, PICTURES = 32, 8
SERVER = Path(chat_poselm.__file__).parents[2]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other
    yield
    torch.set_num_threads(before)


def pose_of(seeds):
    """Every word adds its own bend, as words do: (22, 3) axis-angle each, 0.17 radians a number."""
    bends = [torch.randn(22, 3, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return Pose.from_matrot(rot.rotvec_to_matrot(0.17 * torch.stack(bends).sum(0))).to_json()


def write_data(folder, *, pictures=True):
    folder.mkdir(exist_ok=True)
    lines = []
    for i in range(TEXTS):
        a, b = i % 8, i // 8
        numbers = (a, b, a ^ b, a ^ (2 * b))  # any two texts differ in three words at least
        said = " ".join(WORDS[n] for n in numbers)
        lines.append({"text": said, "pose": pose_of(numbers), "question": f"{said} pose?", "answer": "[SEG]."})
    for i in range(PICTURES if pictures else 0):
        noise = np.random.default_rng(i).integers(0, 255, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 48)).save(folder / f"{i}.png")
        seeds = (100 + i, 200 + i, 300 + i)
        line = {"image": f"{i}.png", "pose": pose_of(seeds), "question": "pose?", "answer": "It is [SEG]."}
        lines.append({**line, "box": [12, 4, 40, 40]})
    turns = [{"from": "human", "value": "kneeling?"}, {"from": "gpt", "value": "person"}]
    lines.append({"image": "0.png", "conversations": turns} if pictures else {"conversations": turns})
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def base_of(kind, folder):
    makers = {
        "llava": lambda: tiny_published.make(folder / "llava", vocabulary="plain").folder,
        "chatpose": lambda: tiny_published.make(folder / "chatpose", files="safetensors", projector="linear").folder,
        "seeing": lambda: tiny_chat.seeing_model(folder / "seeing"),
        "words": lambda: tiny_chat.language_model(folder / "words"),
        "untied": lambda: tiny_chat.language_model(folder / "untied", tied=False),
    }
    return makers[kind]()


def trainer(kind, folder, settings, data, run="run", dtype="float32"):
    base = folder / kind if (folder / kind).is_dir() else base_of(kind, folder)
    torch.manual_seed(settings.seed)
    backbone = open_backbone(base, folder / run, place_for("cpu", dtype), settings.adapting)
    return ChatTrainer(backbone, data, folder / run, settings, recipe="test")


def quick(**more):
    adapting = Adapting(rank=4, alpha=8.0, dropout=0.0)
    return ChatSettings(**{"steps": 6, "batch": 4, "accumulate": 2, "warmup": 1, "rate": 3e-3, "head_rate": 3e-3,
                           "adapting": adapting, **more})  # fmt: skip


@torch.no_grad()
def own_pose(made, example):
    """What the model under training gives, (22, 3, 3), y up."""
    encoded = made.backbone.encode(example)
    state = made.backbone.answer_states([encoded])[encoded.answer.index(made.backbone.pose_id)][None]
    matrot = made.head(state).matrot[0, 0, :22]
    return torch.cat([(torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ matrot[0])[None], matrot[1:]])


def answers(model, examples):
    """The text and the pose (22, 3, 3) of each answer."""
    found = []
    for example in examples:
        request = LanguageRequest(
            example.exchanges[-1].question, image=example.picture(), want="auto", max_new_tokens=8
        )
        answer = model.answer(request)
        found.append((answer.text, answer.poses[0].matrot() if answer.poses else None))
    return found


def degrees(a, b):
    return float(rot.geodesic_angle(a, b).mean().rad2deg())


# -- the bar -----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps"), [("llava", 420), ("seeing", 420), ("untied", 300)])
def test_learns_every_pair_and_reloads_to_the_same_answers(tmp_path, monkeypatch, record_property, kind, steps):
    monkeypatch.setitem(talk.SYSTEM_PROMPTS, "llava_v1", "A chat.")  # the long one is most of the tiny model's work
    pictures = kind != "untied"
    data = read_examples([write_data(tmp_path / "data", pictures=pictures)], rates=(4.0, 1.0, 0.1))
    assert data.counts == {"text": TEXTS, "image": PICTURES * pictures, "talk": 1}
    settings = ChatSettings(
        steps=steps, batch=40, accumulate=1, rate=1e-3, head_rate=6e-3, warmup=5, adapting=Adapting(8, 16.0, 0.0),
    )  # fmt: skip
    made = trainer(kind, tmp_path, settings, data)
    made.run()
    made.export(tmp_path / "merged")
    model = load_language_model(str(tmp_path / "merged"), device="cpu")
    examples = data.every()
    got = answers(model, examples)
    assert [text for text, _ in got] == [talk.readable(e.exchanges[-1].answer) for e in examples]
    off = np.array([degrees(pose, e.matrot) for (_, pose), e in zip(got, examples, strict=True)])
    record_property("degrees, worst pair and median", (round(off.max(), 2), round(float(np.median(off)), 2)))
    assert off.max() < 3.0, off.round(1)
    untrained = [degrees(e.matrot, torch.eye(3).expand(22, 3, 3)) for e in examples]
    assert min(untrained) > 15.0  # so that 3 is not what doing nothing gives
    same = [degrees(pose, own_pose(made, e)) for (_, pose), e in zip(got, examples, strict=True)]
    assert max(same) < 0.05  # merging changed nothing
    assert "step" in json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("kind", ["words", "seeing", "chatpose"])
def test_what_was_exported_answers_alike_and_can_be_taught_on(tmp_path, kind):
    data = read_examples([write_data(tmp_path / "data", pictures=kind != "words")])
    made = trainer(kind, tmp_path, quick(adapting=Adapting(4, 32.0, 0.05, ("q_proj", "v_proj", "o_proj"))), data)
    made.run()
    before = {name: p.clone() for name, p in made.backbone.model.named_parameters()}
    made.export(tmp_path / "merged")
    after = dict(made.backbone.model.named_parameters())
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    model = load_language_model(str(tmp_path / "merged"), device="cpu")
    made.backbone.model.eval()
    again = trainer("merged", tmp_path, quick(), data, "again")
    for example in [data.every()[0], data.every()[-1]]:
        request = LanguageRequest(example.exchanges[-1].question, image=example.picture(), want="pose")
        assert len(model.answer(request).poses) == 1
        assert degrees(own_pose(again, example), own_pose(made, example)) < 0.05
    if kind != "chatpose":
        header, _ = read_head(tmp_path / "merged")
        assert header.recipe == "test, step 6" and header.sees == (kind == "seeing")


# -- what decides the weights ------------------------------------------------------------------------------------------
def test_a_cut_off_run_goes_on_exactly(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    settings = quick(adapting=Adapting(4, 8.0, 0.3))
    whole = trainer("words", tmp_path, settings, data, "whole")
    whole.run()
    first = trainer("words", tmp_path, settings, data, "cut")
    first.run(steps=3)
    again = trainer("words", tmp_path, settings, data, "again")
    again.resume(tmp_path / "cut" / "resume.pt")
    assert again.step == 3
    again.run()
    for a, b, start in zip(whole._trained, again._trained, first._trained, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert not torch.equal(a, start)
    other = trainer("words", tmp_path, quick(adapting=Adapting(8, 8.0)), data, "other")
    with pytest.raises(TrainingDataError, match="of another base"):
        other.resume(tmp_path / "cut" / "resume.pt")


def test_a_seed_decides_the_start(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    one, same, other = (trainer("words", tmp_path, quick(seed=seed), data, "x") for seed in (1, 1, 2))
    assert torch.equal(one._trained[0], same._trained[0])
    assert not torch.equal(one._trained[0], other._trained[0])


def test_rows_of_a_forward_do_not_change_what_is_learnt(tmp_path):
    data = read_examples([write_data(tmp_path / "data")])
    examples = data.sample(12, torch.Generator().manual_seed(3))
    found = []
    for batch in (12, 5):
        made = trainer("seeing", tmp_path, quick(batch=batch), data, "x")
        parts = made.backward(examples)
        found.append((parts, [p.grad.clone() for p in made._trained if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tmp_path):
    """The command itself, twice over gloo with half the rows each, against one run of all the rows."""
    data, base = write_data(tmp_path / "data"), base_of("seeing", tmp_path)
    told = f"--base {base} --data {data} --steps 4 --rank 4 --dropout 0 --warmup 1 --rate 3e-3 --device cpu".split()

    def options(out, batch):
        return [*told, "--out", str(tmp_path / out), "--batch", str(batch), "--accumulate", "2"]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = []
    for rank in ("0", "1"):
        team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-m", "chatpose_server", "train", "poselm", *options("two", 3)]
        environment = {**os.environ, **team, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SERVER)}
        running.append(subprocess.Popen(command, env=environment, cwd=tmp_path))
    chat_poselm.main(options("one", 6))
    assert [process.wait(timeout=500) for process in running] == [0, 0]
    one, two = (torch.load(tmp_path / out / "resume.pt", weights_only=True) for out in ("one", "two"))
    fresh = trainer("seeing", tmp_path, quick(adapting=Adapting(4, 256.0, 0.0)), read_examples([data]), "fresh")
    start = {name: p.detach() for name, p in fresh.head.named_parameters()}
    moved = False
    for part in ("lora", "head", "rows"):
        for name, weight in one[part].items():
            torch.testing.assert_close(weight, two[part][name], rtol=1e-3, atol=2e-5)
            moved |= part == "head" and not torch.allclose(weight, start[name], atol=1e-3)
    assert moved
    assert (tmp_path / "two" / "merged" / "chatpose_head.safetensors").is_file()


# -- devices and precision ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["words", "llava"])
def test_no_tensor_is_left_on_another_device(tmp_path, monkeypatch, kind):
    """On a device that computes nothing: a tensor that was made in the computer's memory would be refused there."""
    for question in ("find_packed_sequence_indices", "_ignore_causal_mask_sdpa"):  # these look at the numbers
        monkeypatch.setattr(masking_utils, question, lambda *_, **__: None)
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    made = trainer(kind, tmp_path, quick(), data)
    encoded = [made.backbone.encode(e) for e in data.every()[:3]]
    poses = [chat_poselm._target(e) for e in data.every()[:3]]
    for part in (made.backbone.model, made.backbone.rows, made.head):
        part.to("meta")
    made.backbone.rows.ids = made.backbone.rows.ids.to("meta")
    made.backbone.at = "meta"
    token_sum, pose_sum, _ = made.sums(encoded, poses)
    (token_sum + pose_sum).backward()
    assert token_sum.device.type == pose_sum.device.type == "meta"
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in made.backbone.model.parameters()
               if p.requires_grad)  # fmt: skip


def test_bfloat16_with_autocast_learns_in_float32(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    exact = trainer("words", tmp_path, quick(), data, "x")
    half = trainer("words", tmp_path, quick(), data, "y", dtype="bfloat16")
    assert half.backbone.model.dtype == torch.bfloat16 and all(p.dtype == torch.float32 for p in half._trained)
    examples = data.sample(8, torch.Generator().manual_seed(0))
    a, b = exact.backward(examples), half.backward(examples)
    assert a["token"] == pytest.approx(b["token"], rel=0.05) and a["pose"] == pytest.approx(b["pose"], rel=0.05)
    for p, q in zip(exact._trained, half._trained, strict=True):
        if p.grad is not None and float(p.grad.norm()) > 1e-3:
            assert float(torch.cosine_similarity(p.grad.flatten(), q.grad.flatten(), 0)) > 0.98


def test_activations_computed_twice_give_the_same_gradients(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    examples = data.sample(4, torch.Generator().manual_seed(0))
    found, runs = [], []
    for saving in (False, True):
        made = trainer("words", tmp_path, quick(), data, "x")
        if saving:
            made.backbone.save_memory()
        ran = []
        made.backbone.decoder.layers[0].self_attn.register_forward_hook(lambda *_, ran=ran: ran.append(1))
        made.backward(examples)
        found.append([p.grad for p in made._trained if p.grad is not None])
        runs.append(len(ran))
    assert runs[1] == 2 * runs[0]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_on_cards_without_bfloat16_is_float32(monkeypatch):
    old = Device("cuda:0", "cuda", "an old card", torch.float16, 1, 1)
    monkeypatch.setattr(
        chat_poselm, "pick_device", lambda device, dtype: old if dtype == "auto" else Device(
            "cuda:0", "cuda", "an old card", getattr(torch, dtype), 1, 1)
    )  # fmt: skip
    assert place_for("auto", "auto").dtype == torch.float32


# -- families ----------------------------------------------------------------------------------------------------------
class QwenWriter(family.QwenWriter):
    """The real one tells words from patches, too."""

    def __call__(self, **told):
        taken = super().__call__(**told)
        places = taken["input_ids"] == self.tokenizer.convert_tokens_to_ids("<image>")
        return {**taken, "mm_token_type_ids": places.int()}

    def save_pretrained(self, folder):
        self.tokenizer.save_pretrained(folder)


def test_qwens_patches_of_several_pictures_stand_where_they_do_when_it_answers(tmp_path, monkeypatch):
    writer = QwenWriter()
    torch.manual_seed(1)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(writer.tokenizer), **family.SMALL,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "depth": 2, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56,
        },
        image_token_id=writer.tokenizer.convert_tokens_to_ids("<image>"), vision_start_token_id=1,
        vision_end_token_id=2, tie_word_embeddings=False,
    )).eval()  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=p[0].numel() ** -0.5 * 1.5) if p.dim() > 1 else p
    monkeypatch.setattr(backbone_chat, "open_folder", lambda base, place: (model, writer, True))
    made = backbone_chat.ChatBackbone(tmp_path, place_for("cpu", "float32"), Adapting(4, 8.0, 0.0))
    examples = []
    for i, size in enumerate([(90, 60), (56, 120)]):
        family.picture(i, size).save(tmp_path / f"{i}.png")
        words = "kneeling with arms raised" if i else "kneeling"
        examples.append(Example((talk.Exchange(words, "It is [SEG]."),), torch.eye(3).expand(22, 3, 3),
                                tmp_path / f"{i}.png"))  # fmt: skip
    examples.append(Example((talk.Exchange("arms", "Sure, [SEG]."),), torch.eye(3).expand(22, 3, 3)))
    encoded = [made.encode(e) for e in examples]
    assert len({len(e.ids) for e in encoded}) == 3
    with torch.no_grad():
        together = made.states(encoded)
        for one, states in zip(encoded, together, strict=True):
            ids = torch.tensor([one.ids])
            seen = {k: v for k, v in one.seen.items() if k != "mm_token_type_ids"}
            kinds = (ids == model.config.image_token_id).int()
            places = model.base_model.get_rope_index(
                ids, mm_token_type_ids=kinds, image_grid_thw=seen.get("image_grid_thw")
            )[0] if seen else None  # fmt: skip
            alone = model.base_model(input_ids=ids, position_ids=places, use_cache=False, **seen).last_hidden_state[0]
            torch.testing.assert_close(states, alone, rtol=1e-3, atol=1e-4)


# -- what people are told ----------------------------------------------------------------------------------------------
def test_a_model_of_words_is_not_shown_pictures(tmp_path):
    data = read_examples([write_data(tmp_path / "data")], rates=(0.0, 1.0, 0.0))
    with pytest.raises(TrainingDataError, match="does not see pictures"):
        trainer("words", tmp_path, quick(), data).run()


def test_a_model_that_does_not_fit_is_not_begun(tmp_path):
    full = Device("cpu", "cpu", "this computer", torch.float32, 1, 1)
    with pytest.raises(DeviceError, match=r"must lie on one device: it needs .* GB"):
        open_backbone(base_of("llava", tmp_path), tmp_path, full, Adapting())


def test_layers_of_other_names_are_listed(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    with pytest.raises(TrainingDataError, match=r"no layers called c_attn; choose --targets from: .*q_proj"):
        trainer("words", tmp_path, quick(adapting=Adapting(targets=("c_attn",))), data)


def test_a_merged_model_is_plain_and_the_trained_one_comes_back(tmp_path):
    data = read_examples([write_data(tmp_path / "data", pictures=False)])
    made = trainer("words", tmp_path, quick(), data)
    made.run(steps=2)
    names = [name for name, _ in made.backbone.model.named_parameters()]
    with merged(made.backbone) as model:
        assert not [name for name, _ in model.named_parameters() if "linear" in name or "down" in name.split(".")]
        embed = model.get_input_embeddings().weight[made.backbone.pose_id].clone()
    torch.testing.assert_close(embed, made.backbone.rows.into[0])
    assert names == [name for name, _ in made.backbone.model.named_parameters()]
    with pytest.raises(TrainingDataError, match="raise --longest"):
        chat_poselm._cut(made.backbone.encode(data.every()[0]), 3)
    assert isinstance(data.every()[0], Example)
