"""What crosses the pipes comes out as it went in; what is none of ours is refused."""

from __future__ import annotations

import dataclasses
import io
import struct

import pytest
from chatpose_server import tasks
from chatpose_server.faults import Fault
from chatpose_server.language.base import ChatTurn
from chatpose_server.model_host import ModelStatus
from chatpose_server.picture import Picture
from chatpose_server.pose import Pose
from chatpose_server.tasks import PoseRequest
from chatpose_server.worker import frames
from chatpose_server.worker.frames import FrameError

POSE = Pose({"pelvis": (1.0, 0.0, 0.0, 0.0), "neck": (0.8, 0.6, 0.0, 0.0)}, (0.0, 1.0, 2.0), (0.5,), 0.25)
BARE = Pose({})
TURNS = (ChatTurn("user", "sit"), ChatTurn("assistant", "<POSE> \u2028 \0 \U0001f600", (POSE, BARE)))
PICTURE = Picture(bytes(range(256)) * 300, 640, 480)

# a value for every field that has no default
NEEDED = {
    "prompt": '"$": {"$": "bytes", "v": 0}', "pose": POSE, "poses": (POSE, BARE), "keys": ((1.0, POSE), (2.5, BARE)),
    "keep": ("neck", "jaw"), "targets": {"$": (1.0, 2.0, 3.0), "neck": (0.1, 1e-9, -3.0)}, "image": PICTURE,
}  # fmt: skip
REQUESTS = [kind for name, kind in vars(tasks).items() if name.endswith("Request") and dataclasses.is_dataclass(kind)]


def made(kind):
    fields = [f for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    return kind(**{f.name: NEEDED[f.name] for f in fields})


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_request_of_the_engine(kind):
    assert frames.copied(made(kind)) == made(kind)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1.5e300, "", "\ud7ff\x00", b"", b"\x00" * 100_000, (), (1, (2, (3,))), {}, {"$": {"$": 1}},
        PoseRequest("a", TURNS, PICTURE, POSE, 16, 2**31 - 1, False, 3, "auto", max_new_tokens=7), POSE,
        Fault("timeout", "A.", None, "b", 3), ModelStatus("error", "m", "s", 0.5, Fault("internal", "No.")),
        (PICTURE, PICTURE),
    ],
)  # fmt: skip
def test_other_values(value):
    copy = frames.copied({"value": value})["value"]
    assert copy == value and type(copy) is type(value)


def test_messages_follow_each_other_and_the_end_is_none():
    pipe = io.BytesIO(b"".join(frames.packed({"op": "x", "id": i, "body": b"y" * i}) for i in range(5)))
    assert [frames.read(pipe)["body"] for _ in range(5)] == [b"y" * i for i in range(5)]
    assert frames.read(pipe) is None


@pytest.mark.parametrize("value", [object(), lambda: 0, {1, 2}, io.BytesIO(), OSError("x"), Fault])
def test_what_is_not_ours_is_not_sent(value):
    with pytest.raises(TypeError):
        frames.packed({"value": value})


def frame(text, *raw):
    sizes = b"".join(struct.pack(">I", len(part)) for part in raw)
    return struct.pack(">II", len(text), len(raw)) + sizes + text + b"".join(raw)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00", b"Traceback (most recent call last)", struct.pack(">II", 2**32 - 1, 0), struct.pack(">II", 1, 2**31),
        frame(b"[]"), frame(b"{"), frame(b"\xff"), frame(b'{"a":{"$":"os.system","v":[["x",1]]}}'),
        frame(b'{"a":{"$":"Popen","v":[]}}'), frame(b'{"a":{"$":"bytes","v":3}}'),
        frame(b'{"a":{"$":"Fault","v":[["x",1]]}}'),
        frame(b'{"a":{"$":"Pose","v":1}}'), frame(b'{"a":1}')[:-1], frame(b'{"a":{"$":"bytes","v":0}}', b"xyz")[:-2],
        frame(b'{"a":{"$":[],"v":0}}'),
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_nothing_large_is_allocated(data):
    with pytest.raises(FrameError):
        frames.read(io.BytesIO(data))
