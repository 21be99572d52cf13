"""What people bring: converted once, or refused in one sentence with nothing left behind."""

import base64
import json
import pickle
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from chatpose_server.importer import ImportFileError, import_file
from chatpose_server.language import llava_layout as layout
from chatpose_server.language.answering import Options, options_from_environment
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.devices import DeviceError
from chatpose_server.language.llama_tokens import LlamaTokens, TokenizerError
from chatpose_server.language.published import KEPT_WHOLE, load_published, memory_of_shape
from chatpose_server.progress import Cancelled

from . import tiny_published as tiny

ERRORS = (layout.CheckpointFilesError, ImportFileError, TokenizerError)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("weights") / "chatpose")


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made.folder.parent, tmp_path / "given")
    return tmp_path / "given" / "chatpose"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHATPOSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def joints(model):
    answer = model.answer(LanguageRequest("kneeling", max_new_tokens=8))
    return torch.tensor([list(p.joints.values()) for p in answer.poses]), answer.debug["answer_ids"]


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("files", ["bin", "safetensors"])
def test_import_converts_once_and_answers_alike(tmp_path, cache, files, as_zip):
    made = tiny.make(tmp_path / "given" / "chatpose", files=files, full_clip=files == "bin")
    direct = joints(load_published(str(made.folder), device="cpu"))
    given = made.folder
    if as_zip:  # with CLIP inside, as somebody might pack it
        shutil.move(tmp_path / "given" / "clip-tiny", made.folder / "clip-tiny")
        given = tmp_path / "chatpose.zip"
        shutil.make_archive(str(given.with_suffix("")), "zip", made.folder.parent)
    imported = import_file(given)
    assert imported.kind == "language" and imported.name == "chatpose"
    assert [p.name for p in (cache / "models").iterdir()] == ["chatpose"]  # and nothing half-made
    assert not list(imported.path.glob("*.bin"))
    shutil.rmtree(tmp_path / "given")
    again = joints(load_published("chatpose", device="cpu"))
    assert again[1] == direct[1] and torch.allclose(again[0], direct[0], atol=1e-6)


def without(name):
    def spoil(folder):
        (folder / name).unlink()

    return spoil


def truncated(name):
    def spoil(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) * 2 // 3])

    return spoil


def config(**changes):
    def spoil(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return spoil


def no_head(folder):
    for file in folder.glob("*.bin"):
        torch.save({k: v for k, v in torch.load(file).items() if "hidden_fcs" not in k}, file)


def evil(folder):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(pickle.dumps({"a": Evil()}))


def placeholder(folder):
    (folder / "pytorch_model-00001-of-00002.bin").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")


def no_clip(folder):
    shutil.rmtree(folder.parent / "clip-tiny")


def outside(folder):
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.bin"}}))


FAULTS = {
    "missing shard": (without("pytorch_model-00002-of-00002.bin"), "pytorch_model-00002-of-00002.bin' is missing"),
    "truncated shard": (truncated("pytorch_model-00001-of-00002.bin"), "damaged or was not downloaded to its end"),
    "wrong hidden size": (config(hidden_size=32), "config.json says"),
    "wrong layer width": (config(intermediate_size=96), "128x64 and config.json says 96x64"),
    "no pose head": (no_head, "without ChatPose's pose head"),
    "no vocabulary": (without("tokenizer.model"), "tokenizer.model"),
    "broken vocabulary": (truncated("tokenizer.model"), "damaged"),
    "broken config": (truncated("config.json"), "damaged"),
    "unknown projector": (config(mm_projector_type="resampler"), "projector 'resampler'"),
    "pickle that runs code": (evil, "could run code"),
    "placeholder of git lfs": (placeholder, "git lfs pull"),
    "no CLIP": (no_clip, "no folder 'clip-tiny'"),
    "names outside the folder": (outside, "outside its folder"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("act", ["load", "import"])
def test_faults_are_one_sentence_and_leave_nothing(folder, cache, fault, act, capsys):
    spoil, words = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ERRORS, match=words) as caught:
        load_published(str(folder), device="cpu") if act == "load" else import_file(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 320
    assert capsys.readouterr().out == ""
    assert not cache.exists() or not [p for p in cache.rglob("*") if p.is_file()]


def test_full_disk_and_cancel_leave_nothing(folder, cache, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(layout.CheckpointFilesError, match="Not enough disk space"):
        import_file(folder)
    monkeypatch.undo()
    monkeypatch.setenv("CHATPOSE_CACHE", str(cache))

    def stop(stage, fraction):
        if stage == "Converting weights" and fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        import_file(folder, stop)
    assert not [p for p in cache.rglob("*") if p.is_file()]


def test_little_memory_is_said_before_loading(folder, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: namedtuple("m", "total available")(2**30, 2**20))
    with pytest.raises(DeviceError, match=r"needs 0\.4 GB of memory and 0\.0 GB are free"):
        load_published(str(folder), device="cpu")


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantisation_needs_a_card_and_says_so(folder, quantize):
    with pytest.raises(DeviceError, match="NVIDIA graphics card"):
        load_published(str(folder), device="cpu", quantize=quantize)


def test_only_the_language_models_layers_lose_bits(made):
    """transformers compares names from their start: a short one is silently ignored and CLIP loses its bits too."""
    from transformers.quantizers.quantizers_utils import should_convert_module

    model = layout.find_sources(layout.open_layout(made.folder)).empty_model()
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    less = [name for name in linear if should_convert_module(name, [*KEPT_WHOLE])]
    assert less == [name for name in linear if name.startswith("model.language_model.layers.")]


def zip_of(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}" if name.endswith(".json") else b"nothing")
    return path


@pytest.mark.parametrize(
    ("name", "inside", "words"),
    [
        ("holiday.zip", ["beach.jpg"], "zip without any weights"),
        ("other.zip", ["a/readme.json"], "nothing that is known here"),
        ("half.zip", ["x/config.json"], "tokenizer.model missing"),
    ],
)
def test_zip_of_something_else(tmp_path, cache, name, inside, words):
    with pytest.raises(ERRORS, match=words):
        import_file(zip_of(tmp_path / name, inside))
    assert not [p for p in cache.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SMPLX_NEUTRAL.pkl", "pickle"),
        ("pytorch_model-00001-of-00003.bin", "one part of a checkpoint"),
        ("notes.txt", "nothing that is known here"),
        ("missing", "nothing at"),
    ],
)
def test_single_files(tmp_path, cache, name, words):
    if name != "missing":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImportFileError, match=words):
        import_file(tmp_path / name)


def test_clip_by_itself_is_known(made, cache):
    with pytest.raises(ImportFileError, match="is CLIP"):
        import_file(made.folder.parent / "clip-tiny")


def test_bodies_and_priors_go_to_their_loaders(tmp_path, cache):
    from chatpose_server.body.model import STANDIN_PATH
    from chatpose_server.priors.checkpoints import EMBEDDED

    body = tmp_path / "SMPLX_NEUTRAL.npz"
    shutil.copyfile(STANDIN_PATH, body)
    assert import_file(body).path == cache / "bodies" / "SMPLX_NEUTRAL.npz"
    prior = import_file(EMBEDDED["vposer"])
    assert prior.kind == "prior" and prior.path.parent == cache / "priors" and prior.path.is_file()


@pytest.mark.parametrize(
    ("size", "quantize", "low", "high"),
    [("13b", "none", 26, 29), ("13b", "8bit", 14, 16.5), ("13b", "4bit", 8, 10.5), ("7b", "4bit", 5, 6.5)],
)
def test_memory_of_the_published_shapes(size, quantize, low, high):
    assert low < memory_of_shape(size, torch.bfloat16, quantize).total / 1e9 < high


def test_options_come_from_the_environment(monkeypatch):
    assert options_from_environment() == Options()
    for name, value in {"SYSTEM": "vicuna_v1", "HISTORY": "text", "WRAP": "no", "CROP": "no"}.items():
        monkeypatch.setenv(f"CHATPOSE_{name}", value)
    assert options_from_environment() == Options(system="vicuna_v1", history="text", wrap=False, crop=False)
    monkeypatch.setenv("CHATPOSE_WRAP", "perhaps")
    with pytest.raises(layout.CheckpointFilesError, match="choose one of: yes, no"):
        options_from_environment()


# -- the old tokeniser ------------------------------------------------------------------------------------------------


OLD = json.loads((Path(__file__).parent / "old_tokens.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", OLD["ids"])
def test_tokens_are_those_of_the_library_that_the_weights_were_trained_with(tmp_path, kind):
    """66 texts of odd blanks, tokens and letters as transformers 4.31's slow tokeniser reads them (old_tokens.json)."""
    vocabulary, legacy = kind.split("_")
    added = tiny.VOCABULARIES[f"{vocabulary} im_start"]
    tiny.write_tokenizer(tmp_path, added, {"True": True, "False": False, "None": None}[legacy])
    (tmp_path / "tokenizer.model").write_bytes(base64.b64decode(OLD["vocabulary"]))
    tokens = LlamaTokens(tmp_path)
    for text, ids in zip(OLD["prompts"], OLD["ids"][kind], strict=True):
        assert tokens.encode(text) == ids, text


@pytest.mark.parametrize(
    ("settings", "ends"),
    [({}, (2,)), ({"generation_config.json": 7}, (7,)), ({"generation_config.json": [2, 9], "config.json": 5}, (2, 9)),
     ({"config.json": 5}, (5,))],
)  # fmt: skip
def test_an_answer_ends_where_the_checkpoint_says(folder, cache, settings, ends):
    for name, value in settings.items():
        path = folder / name
        data = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**data, "eos_token_id": value}))
    for place in (folder, import_file(folder).path):
        assert load_published(str(place), device="cpu")._stop_ids == frozenset(ends)


def test_a_loaded_model_has_read_the_system_prompt(folder):
    answer = load_published(str(folder), device="cpu").answer(LanguageRequest("Hello", want="auto", max_new_tokens=2))
    system = LlamaTokens(folder).encode(tiny.SYSTEM)
    assert answer.debug["reused"] >= len(system)


@pytest.mark.parametrize(
    ("legacy", "text", "tail"),
    [
        (True, "It is [SEG] .</s>USER:", ["\u2581is", "[SEG]", "\u2581", ".", "</s>", "\u2581USER", ":"]),
        (False, "It is [SEG] .</s> USER:", ["\u2581is", "[SEG]", ".", "</s>", "\u2581", "\u2581USER", ":"]),
        (None, "<im_end>\nWhat", ["<im_end>", "\u2581What"]),
        (True, "USER: <im_start>", ["\u2581USER", ":", "<im_start>"]),
    ],
)
def test_blanks_around_added_tokens(tmp_path, legacy, text, tail):
    tiny.write_tokenizer(tmp_path, tiny.VOCABULARIES["with im_start"], legacy)
    tokens = LlamaTokens(tmp_path)
    names = [tokens._names.get(i) or tokens._pieces.id_to_piece(i) for i in tokens.encode(text)]
    assert names[0] == "<s>" and names[-len(tail) :] == tail


def test_decoding_gives_the_words_back(tmp_path):
    tiny.write_tokenizer(tmp_path, tiny.VOCABULARIES["with im_start"], True)
    tokens = LlamaTokens(tmp_path)
    for text in ("kneeling with arms", "été 日本 😀", "a  b\nc"):
        assert tokens.decode(tokens.encode(text)[1:]) == text
