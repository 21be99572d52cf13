"""The command, in this process: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json

import pytest
from chatpose_server import __main__ as cli
from chatpose_server import engine, model_host, rooms
from chatpose_server.pose import Pose, load_npz, save_npz
from PIL import Image

from .api.test_images import REFUSED, huge_png
from .fakes import TEXT, FakeModel

POSE = Pose({"pelvis": (1.0, 0.0, 0.0, 0.0), "left_knee": (0.7071068, 0.7071068, 0.0, 0.0)}, (0.0, 1.0, 0.0))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs a command line; returns status, standard output, standard error."""
    model = FakeModel()
    monkeypatch.setattr(model_host, "load_from_catalogue", lambda name, quantize, progress: model)
    monkeypatch.setattr(rooms, "offers", lambda *names: False)  # the words are the model's, not the refiner's
    monkeypatch.setenv("CHATPOSE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out, err

    call.model = model
    return call


def test_pose_in_words(run):
    status, out, err = run("pose", "a person kneeling")
    assert (status, err) == (0, "")
    assert out.startswith(TEXT) and "left_knee" in out


def test_json_is_one_object_and_nothing_else(run):
    status, out, _ = run("pose", "kneel", "--json", "--candidates", 3, "--seed", 7)
    answer = json.loads(out)
    assert status == 0 and out.count("\n") == 1
    assert len(answer["poses"]) == 3 and answer["seed"] == 7
    assert Pose.from_json(answer["poses"][0])


@pytest.mark.parametrize("name", ["pose.npz", "pose.json"])
def test_out_writes_what_describe_and_others_read(run, tmp_path, name):
    status, out, _ = run("pose", "kneel", "--candidates", 2, "--out", tmp_path / name)
    assert status == 0 and name in out
    poses = cli._load_poses(tmp_path / name)
    assert len(poses) == 2 and poses[0].joints["left_knee"]


def test_an_image_for_a_model_that_looks_at_it(run, tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    assert run("pose", "--model", "brought along", "--image", tmp_path / "a.png")[0] == 0
    assert run.model.seen[-1].image.size == (20, 10)


def test_an_image_without_anybody_in_it(run, tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    status, out, err = run("pose", "--image", tmp_path / "a.png")
    assert (status, out) == (2, "") and "No person was found" in err


def test_a_file_without_an_end_is_not_read_to_its_end(run, tmp_path, monkeypatch):
    monkeypatch.setattr("chatpose_server.picture.MAX_IMAGE_BYTES", 1000)
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    status, _, err = run("pose", "--image", tmp_path / "a.png")
    assert status == 2 and "which is too much" in err
    assert len(cli._read(tmp_path / "a.png", 10)) == 10


def test_the_prior_of_a_picture_reaches_the_engine(run, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(engine.Engine, "pose", lambda _, request, *__: asked.append(request.prior) or exit(7))
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    for words in ((), ("--prior", "posendf")):
        run("pose", "--image", tmp_path / "a.png", *words)
    assert asked == [None, "posendf"]


def test_batch_is_one_line_each_in_order_and_a_bad_one_stops_nothing(run, tmp_path):
    prompts = ["kneel", "CRASH", "", "sit"]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    status, out, _ = run("pose", "--batch", tmp_path / "prompts.txt")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [a["prompt"] for a in answers] == prompts
    assert [a.get("error", {}).get("code", "ok") for a in answers] == ["ok", "internal", "prompt_empty", "ok"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pose"], "prompt is empty"),
        (["pose", "x" * 9000], "9,000 characters"),
        (["pose", "kneel", "--candidates", 0], "from 1 to 16"),
        (["pose", "kneel", "--candidates", "many"], "invalid int"),
        (["pose", "kneel", "--out", "pose.fbx"], ".npz or .json"),
        (["pose", "kneel", "--json", "--out", "a.npz"], "not allowed with"),
        (["pose", "--image", "nothing.png"], "cannot be read"),
        (["pose", "--image", "token.txt"], "not a PNG, JPEG or WebP"),
        (["pose", "--image", "huge.png"], "has 40000 x 40000 pixels"),
        (["pose", "--image", "photo.heic"], "is a HEIC"),
        (["pose", "--image", "."], "cannot be read"),
        (["pose", "--image", "token.txt", "--prior", "smplify"], "invalid choice: 'smplify'"),
        (["pose", "--batch", "nothing.txt"], "cannot be read"),
        (["pose", "kneel", "--batch", "a.txt"], "leave the others out"),
        (["pose", "kneel", "--quantize", "3bit"], "invalid choice"),
        (["describe", "nothing.npz"], "There is no file"),
        (["describe", "token.txt"], "cannot be read as an npz"),
        (["describe", "bad.json"], "not a JSON file"),
        (["models", "fetch", "gpt"], "no model called"),
        (["models", "import", "nothing.safetensors"], ""),
        (["train", "dragons"], "no training called"),
        (["fly"], "invalid choice"),
        ([], "required"),
    ],
)
def test_a_users_mistake_is_one_line_on_standard_error_and_status_two(run, tmp_path, arguments, said):
    (tmp_path / "token.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "bad.json").write_text("{", encoding="utf-8")
    (tmp_path / "huge.png").write_bytes(huge_png(40_000, 40_000))
    (tmp_path / "photo.heic").write_bytes(REFUSED["HEIC"])
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1 and err.startswith("chatpose-server: ")
    assert "Traceback" not in err


def test_describe(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    save_npz(tmp_path / "two.npz", [POSE, POSE])
    status, out, _ = run("describe", tmp_path / "two.npz", "--json")
    poses = json.loads(out)["poses"]
    assert status == 0 and len(poses) == 2 and poses[0]["text"] and "left_knee=right_angle" in poses[0]["posecodes"]


def test_models_list(run):
    assert "chatpose-small" in run("models")[1]
    models = json.loads(run("models", "list", "--json")[1])["models"]
    assert {"id", "title", "licence", "fetched"} <= set(models[0])


def test_train_lists_its_commands_and_passes_options_on(run, monkeypatch):
    assert "poselm" in run("train")[1]
    from chatpose_server.training import poselm

    seen = []
    monkeypatch.setattr(poselm, "main", seen.append)
    assert run("train", "poselm", "--help-me", "--steps", 3)[0] == 0
    assert seen == [["--help-me", "--steps", "3"]]


def test_doctor(run):
    findings = {f["what"]: f for f in json.loads(run("doctor", "--json")[1])["findings"]}
    assert findings["torch"]["ok"] and findings["part 'language'"]["ok"]
    status, out, _ = run("doctor")
    assert status == 0 and "chatpose-server" in out


def test_version_and_help(run):
    assert run("--version")[0] == 0
    status, out, _ = run("--help")
    assert status == 0 and all(word in out for word in ("serve", "pose", "describe", "models", "train", "doctor"))


def test_npz_round_trip_is_what_load_npz_reads(tmp_path):
    save_npz(tmp_path / "a.npz", [POSE])
    (pose,) = load_npz(tmp_path / "a.npz")
    assert pose.joints.keys() == POSE.joints.keys() and pose.transl == pytest.approx(POSE.transl)
