"""The engine with a fake language model and the real rooms: every task by what it promises, measured on the body."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise

import pytest
import torch
from chatpose_server import rooms
from chatpose_server.body.model import default_body
from chatpose_server.engine import Engine, on_ground, plain_words
from chatpose_server.faults import ChatPoseError
from chatpose_server.model_host import ModelHost, load_from_catalogue
from chatpose_server.pose import Pose
from chatpose_server.progress import Cancelled
from chatpose_server.rotations import geodesic_angle
from chatpose_server.skeleton import BODY_JOINTS, JOINTS
from chatpose_server.tasks import (
    CompleteRequest,
    DenoiseRequest,
    DescribeRequest,
    IkRequest,
    InterpolateRequest,
    PoseRequest,
    ProjectRequest,
    SampleRequest,
)

from .fakes import FakeModel

REST = Pose(dict.fromkeys(BODY_JOINTS, (1.0, 0.0, 0.0, 0.0)))
BENT = Pose({**REST.joints, "left_knee": (0.7071068, 0.7071068, 0.0, 0.0)})


def angles(a, b):
    """Degrees between two poses, joint by joint."""
    return torch.rad2deg(geodesic_angle(a.matrot(), b.matrot()))


def lowest(pose):
    return float(default_body().skin(pose.matrot(JOINTS)[None], transl=torch.tensor([pose.transl]))[..., 1].min())


def joint_at(pose, name):
    state = default_body().forward_kinematics(pose.matrot(JOINTS)[None], torch.tensor([pose.transl or (0.0, 0.0, 0.0)]))
    return state.joints[0, JOINTS.index(name)]


@pytest.fixture
def made():
    model = FakeModel()
    return Engine(ModelHost(lambda name, quantize, progress: model, "fake")), model


class TestPose:
    def test_a_request_loads_the_model_and_the_pose_stands_on_the_ground(self, made):
        engine, _ = made
        result = engine.pose(PoseRequest("kneel", candidates=3))
        assert len(result.poses) == 3 and result.model == "fake"
        assert [abs(lowest(pose)) < 1e-4 for pose in result.poses] == [True] * 3
        assert result.timings["total"] >= result.timings["ground"] > 0

    @pytest.mark.parametrize("refine", [False, True])
    def test_pure(self, made, refine):
        engine, _ = made
        request = PoseRequest("sit down", seed=4, refine=refine)
        assert engine.pose(request).poses == engine.pose(request).poses

    def test_as_many_as_asked_for_though_the_model_gives_one(self, made, monkeypatch):
        engine, model = made
        answer = model.answer
        monkeypatch.setattr(model, "answer", lambda r, *a: answer(type(r)(r.prompt), *a))
        poses = engine.pose(PoseRequest("kneel", candidates=5, refine=False)).poses
        assert len(poses) == 5 and len({str(p.to_json()) for p in poses}) == 5

    def test_cancel_in_the_middle_leaves_the_model_usable(self, made):
        engine, model = made

        def stop(stage, fraction):
            if fraction > 0.05:
                raise Cancelled

        with pytest.raises(Cancelled):
            engine.pose(PoseRequest("SLOW"), stop)
        assert model.running == 0
        assert engine.pose(PoseRequest("kneel")).poses

    def test_out_of_memory_halves_the_batch(self, made):
        engine, model = made
        assert len(engine.pose(PoseRequest("OOM", candidates=4, refine=False)).poses) == 4
        assert [r.candidates for r in model.seen] == [4, 2, 1, 1, 1, 1]

    def test_a_broken_room_does_not_keep_a_pose_from_being_made(self, made, monkeypatch):
        engine, _ = made
        monkeypatch.setattr(rooms, "room", _no_room)
        assert engine.pose(PoseRequest("kneel")).poses
        with pytest.raises(ChatPoseError) as raised:
            engine.sample(SampleRequest())
        assert raised.value.fault.code == "not_available"

    def test_a_room_that_cannot_be_imported_is_not_available(self):
        with pytest.raises(ChatPoseError) as raised:
            rooms.room("nothing.of.the.kind")
        assert raised.value.fault.code == "not_available" and raised.value.fault.hint


def _no_room(name):
    raise ChatPoseError("not_available", "The part is not installed.")


class TestOtherTasks:
    def test_sample(self, made):
        poses = made[0].sample(SampleRequest(4, seed=1)).poses
        assert poses == made[0].sample(SampleRequest(4, seed=1)).poses
        assert all(abs(lowest(p)) < 1e-4 for p in poses)
        assert angles(poses[0], poses[1]).mean() > 3

    def test_sample_near(self, made):
        near = BENT.with_transl((0.0, 1.0, 0.0))
        poses = made[0].sample(SampleRequest(4, near=near, spread=0.2)).poses
        assert all(0.1 < angles(p, near).mean() < 20 for p in poses)

    def test_project(self, made):
        broken = Pose({**REST.joints, "left_knee": (0.0, 0.0, 1.0, 0.0)})  # a knee turned half round its own axis
        result = made[0].project(ProjectRequest((broken,)))
        assert result.distances is not None and result.distances[1][0] < result.distances[0][0]
        assert set(result.to_json()["distances"]) == {"before", "after"}

    def test_interpolate_meets_its_keys(self, made):
        result = made[0].interpolate(InterpolateRequest(((1, REST), (11, BENT))))
        assert len(result.poses) == 11
        assert angles(result.poses[0], REST).max() < 0.1 and angles(result.poses[-1], BENT).max() < 0.1
        assert (
            made[0].interpolate(InterpolateRequest(((1, REST), (11, BENT)), (1.0, 11.0))).poses[1] == result.poses[-1]
        )

    def test_interpolate_over_a_million_frames_is_refused(self, made):
        with pytest.raises(ChatPoseError) as raised:
            made[0].interpolate(InterpolateRequest(((0, REST), (1e6, BENT))))
        assert raised.value.fault.code == "invalid_request"

    def test_denoise(self, made):
        noise = torch.randn(30, generator=torch.Generator().manual_seed(0)) * 0.1
        clip = tuple(Pose({**REST.joints, "left_knee": (1.0, float(n), 0.0, 0.0)}) for n in noise)
        clip = tuple(Pose.from_json(p.to_json()) for p in clip)
        result = made[0].denoise(DenoiseRequest(clip, 30.0, 1.0))

        def tremble(poses):
            return sum(float(angles(a, b).mean()) for a, b in pairwise(poses))

        assert len(result.poses) == 30 and tremble(result.poses) < 0.5 * tremble(clip)

    def test_complete_keeps_what_it_should(self, made):
        result = made[0].complete(CompleteRequest(BENT, ("left_knee", "left_hip"), count=2))
        assert len(result.poses) == 2
        for pose in result.poses:
            assert pose.joints["left_knee"] == BENT.joints["left_knee"]

    def test_ik_reaches(self, made):
        (start,) = on_ground([REST])
        target = joint_at(start, "left_wrist") + torch.tensor([-0.2, 0.1, 0.2])
        result = made[0].ik(IkRequest(start, {"left_wrist": tuple(target.tolist())}))
        assert (joint_at(result.poses[0], "left_wrist") - target).norm() < 0.01
        assert result.to_json()["residual"] < 0.01 and set(result.to_json()["residuals"]) == {"left_wrist"}

    def test_describe(self, made):
        said = made[0].describe(DescribeRequest(BENT))
        assert said.text.startswith("The person is standing") and said.text.endswith(".")
        assert "left_knee=right_angle" in said.posecodes


class TestModelHost:
    def make(self, steps=0, error=None):
        loaded = []

        def load(name, quantize, progress):
            for i in range(steps):
                progress("Loading weights", i / steps)
                time.sleep(0.01)
            if error is not None:
                raise error
            loaded.append(FakeModel(name=name))
            return loaded[-1]

        return ModelHost(load, "a"), loaded

    def until(self, host, state):
        end = time.monotonic() + 10
        while host.status.state != state:
            assert time.monotonic() < end, host.status
            host.changed(0.02)

    def test_loading_is_in_the_background_and_says_how_far(self):
        host, _ = self.make(steps=20)
        host.load()
        seen = set()
        while host.status.state == "loading":
            seen.add(round(host.status.fraction, 2))
            host.changed(0.02)
        assert host.status.state == "ready" and len(seen) > 2

    def test_the_same_model_is_loaded_once(self):
        host, loaded = self.make(steps=3)
        for _ in range(5):
            host.load("a")
        self.until(host, "ready")
        host.load("a")
        assert len(loaded) == 1

    def test_another_model_takes_the_place_and_the_first_is_dropped(self):
        host, loaded = self.make()
        host.load("a")
        self.until(host, "ready")
        host.load("b")
        self.until(host, "ready")
        assert [m.name for m in loaded] == ["a", "b"] and loaded[0].unloaded and host.model is loaded[1]

    def test_a_load_that_is_no_longer_wanted_is_given_up(self):
        host, loaded = self.make(steps=200)
        host.load("a")
        host.load("b")
        assert host.status.name == "b"
        host.unload()
        assert host.status.state == "empty"
        time.sleep(0.1)
        assert loaded == [] and host.status.state == "empty"

    def test_a_model_in_use_is_not_pulled_away(self):
        host, loaded = self.make()
        with host.use() as model:
            thread = threading.Thread(target=host.unload)
            thread.start()
            time.sleep(0.05)
            assert not model.unloaded
        thread.join(5)
        assert loaded[0].unloaded

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (MemoryError(), "out_of_memory"),
            (ChatPoseError("not_available", "No."), "not_available"),
            (OSError("x"), "internal"),
        ],
    )
    def test_a_load_that_fails_says_why_and_can_be_tried_again(self, error, code):
        host, _ = self.make(error=error)
        host.load()
        self.until(host, "error")
        assert host.status.fault.code == code
        with pytest.raises(ChatPoseError), host.use():
            pass

    def test_waiting_for_a_model_can_be_cancelled(self):
        host, _ = self.make(steps=500)
        calls = []

        def progress(stage, fraction):
            calls.append(stage)
            if len(calls) > 2:
                raise Cancelled

        with pytest.raises(Cancelled), host.use(progress):
            pass
        assert calls[-1] in ("Loading weights", "Starting")
        host.unload()


class TestCachedWeights:
    """What stands between a cache on disk and a model: its hashes. The fetching itself is tested with the store."""

    @pytest.fixture
    def cache(self, monkeypatch, tmp_path):
        from chatpose_server import language
        from chatpose_server.models import store

        monkeypatch.setenv("CHATPOSE_CACHE", str(tmp_path))
        folder = store.model_dir("chatpose-small")
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        stamp = {
            "source": store.entry("chatpose-small").source.member_sha256,
            "converter": store._CONVERTER_VERSION,
            "files": {"model.safetensors": store.sha256(folder / "model.safetensors")},
        }
        (folder / "complete.json").write_text(json.dumps(stamp))
        monkeypatch.setattr(language, "load_language_model", lambda name, **options: folder.exists())
        return folder

    def load(self):
        return load_from_catalogue("chatpose-small", "none", lambda stage, fraction: None)

    def test_whole_ones_are_used(self, cache):
        assert self.load() is True

    @pytest.mark.parametrize("damaged", [b"", b"weight", b"Weights", b"weightsweights"])
    def test_damaged_ones_are_thrown_away_and_fetched_anew(self, cache, damaged):
        (cache / "model.safetensors").write_bytes(damaged)
        assert self.load() is False  # the loader finds nothing and fetches


@pytest.mark.parametrize(
    ("text", "same"),
    [("a < b and b > c", True), ("<3", True), ("arms [up]", True), ("<POSE>", False), ("</s>", False), ("[SEG]", False),
     ("<|im_end|>", False), ("<image>", False)],
)  # fmt: skip
def test_plain_words(text, same):
    assert (plain_words(text) == text) is same
    assert len(plain_words(text)) == len(text)
