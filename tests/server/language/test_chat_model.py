"""Backbones other than the published one, against transformers' own forward: no cache, no draft, the whole sequence."""

import json
import shutil

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.importer import ImportFileError, import_file
from chatpose_server.language import chat_layout
from chatpose_server.language.answering import Options
from chatpose_server.language.base import ChatTurn, LanguageRequest
from chatpose_server.language.chat_layout import ChatHeader, write_head
from chatpose_server.language.chat_model import KEPT_WHOLE, ChatModel, load_chat_model
from chatpose_server.language.devices import pick_device
from chatpose_server.language.head import PoseHead
from chatpose_server.language.llava_layout import CheckpointFilesError
from chatpose_server.language.loading import load_language_model
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

SPECIALS = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>",
            "<row_1_col_1>", "<row_1_col_2>", "<end_of_utterance>"]  # fmt: skip
TALKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SEEING = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ ' ' + c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
KNEEL, AGAIN = "There is a person: kneeling. Give the SMPL pose.", "And the arms, SMPL pose?"
SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": None,
}  # fmt: skip
LIMIT = 14


def picture(seed=0, size=(70, 50)):
    noise = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def tokenizer(template, eos):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(
        ["kneeling with arms raised It is Sure. user assistant User: Assistant: SMPL pose"], trainer
    )
    words = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos, pad_token="<pad>", chat_template=template)
    words.add_tokens(["[SEG]"])
    return words


def llama():
    words = tokenizer(TALKING, "<|im_end|>")
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(words), tie_word_embeddings=False, **SMALL)), words


def qwen3():
    words = tokenizer(TALKING, "<|im_end|>")
    config = Qwen3Config(vocab_size=len(words), head_dim=8, tie_word_embeddings=False, **SMALL)
    return Qwen3ForCausalLM(config), words


def idefics3():
    """The family of SmolVLM: the picture in two tiles and as a whole, 4 places each."""
    words = tokenizer(SEEING, "<end_of_utterance>")
    image = Idefics3ImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    writer = Idefics3Processor(image, words, image_seq_len=4, chat_template=SEEING)
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 7,
    }  # fmt: skip
    config = Idefics3Config(
        vision_config=vision, text_config={"model_type": "llama", "vocab_size": len(words), **SMALL},
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False,
        pad_token_id=0,
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config), writer


MADE = {"llama": llama, "qwen3": qwen3, "idefics3": idefics3}


def make(folder, family):
    torch.manual_seed(3)
    model, writer = MADE[family]()
    words = getattr(writer, "tokenizer", writer)
    with torch.no_grad():  # the usual start is so small that every answer is a near tie
        for name, p in model.named_parameters():
            if p.dim() > 1 and "position" not in name:
                p.normal_(std=p[0].numel() ** -0.5 * 1.6)
    model.eval()
    model.generation_config.eos_token_id = words.eos_token_id
    seg = words.convert_tokens_to_ids("[SEG]")
    seen = picture() if family == "idefics3" else None
    with torch.no_grad():
        model.lm_head.weight[: len(SPECIALS)] = 0  # transformers itself cannot read on where a model says <image>
        model.lm_head.weight[words.eos_token_id].normal_(std=0.1)
    with torch.no_grad():  # greedy decoding says [SEG] third; where else is left to chance
        states = reference(model, writer, [(KNEEL, None)], seen, 3)[1]
        best = float((model.lm_head.weight @ states[2]).max())
        model.lm_head.weight[seg] = states[2] * (best + 3) / states[2].norm() ** 2
    model.save_pretrained(folder)
    writer.save_pretrained(folder)
    g = torch.Generator().manual_seed(5)
    head = {
        "layers.0.weight": torch.randn(24, 32, generator=g) / 5, "layers.0.bias": torch.randn(24, generator=g),
        "layers.2.weight": torch.randn(144, 24, generator=g), "layers.2.bias": torch.randn(144, generator=g),
    }  # fmt: skip
    write_head(folder, head, ChatHeader(32, 24, sees=seen is not None))
    return head


def reference(model, writer, turns, image, limit):
    """(tokens, the states that predict them): turn texts encoded one by one, every token by the whole forward."""
    words = getattr(writer, "tokenizer", writer)

    def content(text, with_image=False):
        if writer is words:
            return text
        return [*([{"type": "image"}] if with_image else []), {"type": "text", "text": text}]

    messages, before, pieces = [], "", []
    for i, (question, answer) in enumerate(turns):
        messages.append({"role": "user", "content": content(question, image is not None and i == 0)})
        text = writer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        pieces.append(text[len(before) :])
        before = text
        if answer is not None:
            messages.append({"role": "assistant", "content": content(answer)})
            text = writer.apply_chat_template(messages, tokenize=False)
            pieces.append(text[len(before) :])
            before = text
    if image is None:
        ids, given = [], {}
    else:
        taken = writer(text=[pieces.pop(0)], images=[[image]], add_special_tokens=False, return_tensors="pt")
        ids = taken["input_ids"][0].tolist()
        given = {k: v for k, v in taken.items() if k in ("pixel_values", "pixel_attention_mask")}
    for piece in pieces:
        ids += words(piece, add_special_tokens=False)["input_ids"]
    said, states = [], []
    with torch.no_grad():
        while len(said) < limit and (not said or said[-1] != words.eos_token_id):
            out = model(input_ids=torch.tensor([ids + said]), use_cache=False, output_hidden_states=True, **given)
            states.append(out.hidden_states[-1][0, -1])
            said.append(int(out.logits[0, -1].argmax()))
    return said, states


def straight_line_pose(head, state):
    numbers = head["layers.2.weight"] @ torch.relu(head["layers.0.weight"] @ state + head["layers.0.bias"])
    made = []
    for six in (numbers + head["layers.2.bias"]).double().view(24, 6)[:22]:
        x = six[:3] / six[:3].norm()
        y = six[3:] - (x @ six[3:]) * x
        y = y / y.norm()
        made.append(torch.stack([x, y, torch.linalg.cross(x, y)], 1))
    made[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]).double()) @ made[0]
    return torch.stack(made)


class QwenWriter:
    """What Qwen's processor does for one picture; the real one needs torchvision, for films."""

    chat_template = SEEING.replace("<image>", "<|im_start|><image><|im_end|>")

    def __init__(self):
        self.tokenizer = tokenizer(self.chat_template, "<end_of_utterance>")
        self.image_processor = Qwen2VLImageProcessorPil(
            size={"shortest_edge": 784, "longest_edge": 9000}, patch_size=14, temporal_patch_size=2, merge_size=2
        )

    def apply_chat_template(self, messages, **how):
        return self.tokenizer.apply_chat_template(messages, chat_template=self.chat_template, **how)

    def __call__(self, *, text, images, add_special_tokens, return_tensors):
        seen = self.image_processor(images=images[0], return_tensors=return_tensors)
        places = int(seen["image_grid_thw"].prod()) // 4
        ids = self.tokenizer(text[0].replace("<image>", "<image>" * places), add_special_tokens=add_special_tokens)
        return {"input_ids": torch.tensor([ids["input_ids"]]), **seen}


def test_patches_are_placed_in_time_height_and_width():
    writer = QwenWriter()
    torch.manual_seed(1)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(writer.tokenizer), **SMALL,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "depth": 2, "num_heads": 2, "out_hidden_size": 32,
            "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56,
        },
        image_token_id=writer.tokenizer.convert_tokens_to_ids("<image>"), vision_start_token_id=1,
        vision_end_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=p[0].numel() ** -0.5 * 1.5) if p.dim() > 1 else p
        model.lm_head.weight[: len(SPECIALS)] = 0
    model.generation_config.eos_token_id = writer.tokenizer.eos_token_id
    ours = ChatModel(
        "qwen", model, writer, PoseHead(32, 8, 24), "[SEG]", sees=True, place=pick_device("cpu"), quantize="none",
        options=Options(),
    )  # fmt: skip
    image = picture(2, (90, 60))
    first = ask(ours, KNEEL, image=image)
    again = ask(ours, AGAIN, image=image, messages=(ChatTurn("user", KNEEL), ChatTurn("assistant", "It is [POSE].")))
    assert again.debug["reused"] > 6  # not the picture again
    for answer, turns in ((first, [(KNEEL, None)]), (again, [(KNEEL, "It is [SEG]."), (AGAIN, None)])):
        text, before, ids = "", "", []
        messages = []
        for i, (question, told) in enumerate(turns):
            shown = [{"type": "image"}] if i == 0 else []
            messages.append({"role": "user", "content": [*shown, {"type": "text", "text": question}]})
            text = writer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            given = writer(text=[text[len(before) :]], images=[[image]], add_special_tokens=False, return_tensors="pt")
            ids += given["input_ids"][0].tolist()
            if told:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": told}]})
                closed = writer.apply_chat_template(messages, tokenize=False)
                ids += writer.tokenizer(closed[len(text) :], add_special_tokens=False)["input_ids"]
                before = closed
        whole = torch.tensor([ids])
        with torch.no_grad():
            made = model.generate(
                input_ids=whole, pixel_values=given["pixel_values"], image_grid_thw=given["image_grid_thw"],
                mm_token_type_ids=(whole == config.image_token_id).int(), attention_mask=torch.ones_like(whole),
                max_new_tokens=LIMIT, do_sample=False,
            )  # fmt: skip
        assert answer.debug["answer_ids"] == made[0, len(ids) :].tolist()


@pytest.fixture(scope="module", params=MADE)
def taught(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / request.param
    head = make(folder, request.param)
    seeing = request.param == "idefics3"
    theirs = (AutoModelForImageTextToText if seeing else AutoModelForCausalLM).from_pretrained(folder).eval()
    ours = load_chat_model(folder, device="cpu", dtype="float32", options=Options())
    return folder, head, theirs, ours, picture() if seeing else None


def same(answer, head, reference, pose_id):
    said, states = reference
    assert answer.debug["answer_ids"] == said
    expected = [straight_line_pose(head, s) for s, t in zip(states, said, strict=True) if t == pose_id]
    assert len(answer.poses) == len(expected) and expected
    worst = max(
        float(rot.geodesic_angle(a.matrot().double(), b).max()) for a, b in zip(answer.poses, expected, strict=True)
    )
    assert worst < 1e-4


def ask(model, prompt, **more):
    return model.answer(LanguageRequest(prompt, **{"want": "auto", "max_new_tokens": LIMIT, **more}))


def test_words_picture_and_two_turns(taught):
    _, head, theirs, ours, image = taught
    writer = ours._writer
    first = ask(ours, KNEEL, image=image)
    same(first, head, reference(theirs, writer, [(KNEEL, None)], image, LIMIT), ours.pose_id)
    history = (ChatTurn("user", KNEEL), ChatTurn("assistant", "It is [POSE].", first.poses))
    turns = [(KNEEL, "It is [SEG]."), (AGAIN, None)]
    second = ask(ours, AGAIN, messages=history, image=image)
    expected = reference(theirs, writer, turns, image, LIMIT)
    assert second.debug["answer_ids"] == expected[0]
    assert second.debug["reused"] >= first.debug["prompt_tokens"]  # neither the picture nor the question read again
    if image is not None:
        words = ask(ours, KNEEL)
        assert words.debug["answer_ids"] == reference(theirs, writer, [(KNEEL, None)], None, LIMIT)[0]
        other = ask(ours, KNEEL, image=picture(1, (50, 70)))
        same(other, head, reference(theirs, writer, [(KNEEL, None)], picture(1, (50, 70)), LIMIT), ours.pose_id)


def test_a_pose_is_always_to_be_had_and_a_right_guess_is_one_forward(taught):
    from chatpose_server.language.decoding import TemplateDraft

    *_, ours, image = taught
    assert len(ask(ours, "kneeling", want="pose", candidates=7, image=image).poses) == 7
    answer = ask(ours, KNEEL, image=image)
    kept, ours._draft = ours._draft, TemplateDraft([answer.debug["answer_ids"]])
    try:
        quick = ask(ours, KNEEL, image=image)
    finally:
        ours._draft = kept
    assert quick.debug["forwards"] == 1 and quick.debug["answer_ids"] == answer.debug["answer_ids"]
    assert answer.debug["prompt"].startswith("<|im_start|>")


def test_only_the_language_models_layers_lose_bits(taught):
    from transformers.quantizers.quantizers_utils import should_convert_module

    theirs = taught[2]
    linear = [name for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)]
    less = [name for name in linear if should_convert_module(name, [*KEPT_WHOLE])]
    assert less == [name for name in linear if ".layers." in name and "vision" not in name and "connector" not in name]


def test_words_are_never_tokens(taught):
    *_, ours, _ = taught
    ids = ours._encode(ours._plain("a [SEG] b <image> <|im_end|> <end_of_utterance>"))
    assert not {ours.pose_id, ours._image_id, *ours._stop_ids} & set(ids)


def test_import_and_load_by_name(taught, tmp_path, monkeypatch):
    folder, _, _, ours, image = taught
    monkeypatch.setenv("CHATPOSE_CACHE", str(tmp_path / "cache"))
    shutil.make_archive(str(tmp_path / "mine"), "zip", folder.parent)
    imported = import_file(tmp_path / "mine.zip")
    assert imported.kind == "language" and imported.name == "mine"
    loaded = load_language_model("mine", device="cpu")
    assert loaded.accepts_images == (image is not None)
    a, b = (ask(m, KNEEL, image=image).debug["answer_ids"] for m in (loaded, ours))
    assert a == b


def spoiled(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


FAULTS = {
    "truncated weights": ("model.safetensors", lambda b: b[: len(b) // 2], "damaged or was not downloaded to its end"),
    "truncated head": (chat_layout.HEAD_FILE, lambda b: b[:40], "damaged"),
    "other width": ("config.json", lambda b: b.replace(b'"hidden_size": 32', b'"hidden_size": 64'), "32 wide"),
    "other layers": (
        "config.json", lambda b: b.replace(b'"num_hidden_layers": 2', b'"num_hidden_layers": 3'),
        "lacks the weights|contradicts itself",
    ),
    "unknown kind": (
        "config.json", lambda b: json.dumps({**json.loads(b), "model_type": "martian"}).encode(), "does not know",
    ),
    "no vocabulary": ("tokenizer.json", lambda b: b"{", "vocabulary|processor"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_sentence(taught, tmp_path, fault):
    folder = shutil.copytree(taught[0], tmp_path / "given")
    name, change, words = FAULTS[fault]
    spoiled(folder, name, change)
    with pytest.raises(CheckpointFilesError, match=words) as caught:
        load_chat_model(folder, device="cpu")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 320


def test_a_model_that_was_never_taught_says_so(taught, tmp_path, monkeypatch):
    monkeypatch.setenv("CHATPOSE_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(taught[0], tmp_path / "given")
    (folder / chat_layout.HEAD_FILE).unlink()
    with pytest.raises(ImportFileError, match="never taught poses"):
        import_file(folder)
    assert not (tmp_path / "cache" / "models").exists()
