"""What crosses the pipes between the server and its worker: one JSON object with raw bytes beside it. No pickle.

Requests travel as the tasks' own frozen dataclasses, named in the JSON; a name that is not one of ours is refused.
Knows no process and no task.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, TypeAlias

from .. import faults, model_host, picture, pose, tasks
from ..language import base
from ..pose import Pose

MAX_FRAME_BYTES: Final = 512_000_000  # far above any request or answer: a larger number means that the pipe is broken
_HEAD: Final = struct.Struct(">II")  # bytes of JSON, number of raw parts
_SIZE: Final = struct.Struct(">I")
_TAG: Final = "$"

Message: TypeAlias = dict[str, Any]


class FrameError(RuntimeError):
    """What came through the pipe is not one of our messages."""


def packed(message: Message) -> bytes:
    """One message, ready to be written. Raises TypeError for what may not cross."""
    raw: list[bytes] = []
    text = json.dumps({key: _plain(value, raw) for key, value in message.items()}, separators=(",", ":")).encode()
    head = _HEAD.pack(len(text), len(raw)) + b"".join(_SIZE.pack(len(part)) for part in raw)
    return b"".join((head, text, *raw))


def read(stream: BinaryIO) -> Message | None:
    """The next message; None when the other side has closed the pipe. Raises FrameError."""
    head = stream.read(_HEAD.size)
    if not head:
        return None
    text_bytes, parts = _HEAD.unpack(_whole(head, _HEAD.size))
    if parts > 1000:
        raise FrameError("A message with impossibly many parts came through the pipe.")
    sizes = [_SIZE.unpack(_whole(stream.read(_SIZE.size), _SIZE.size))[0] for _ in range(parts)]
    if text_bytes + sum(sizes) > MAX_FRAME_BYTES:
        raise FrameError("An impossibly large message came through the pipe.")
    text = _whole(stream.read(text_bytes), text_bytes)
    raw = [_whole(stream.read(size), size) for size in sizes]
    try:
        message = json.loads(text, object_hook=functools.partial(_made, raw))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FrameError("A message that cannot be read came through the pipe.") from error
    if not isinstance(message, dict):
        raise FrameError("A message that is no object came through the pipe.")
    return message


def copied(value: Any) -> Any:
    """The value as it arrives on the other side."""
    return (read(io.BytesIO(packed({"value": value}))) or {})["value"]


def _whole(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise FrameError("The pipe was closed in the middle of a message.")
    return data


def _plain(value: Any, raw: list[bytes]) -> Any:
    """JSON for ``value``; its bytes go to ``raw``. Every JSON object that this makes has the tag, so that no key of a
    request can be taken for one.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            raw.append(value)
            return {_TAG: "bytes", "v": len(raw) - 1}
        case Pose():  # by far the most of all that crosses, so without looking at each number
            joints = [list(value.joints), list(value.joints.values())]
            return {_TAG: "Pose", "v": [joints, value.transl, value.betas, value.score]}
        case list() | tuple():
            return [_plain(item, raw) for item in value]
        case Mapping():
            return {_TAG: "map", "v": [[_plain(k, raw), _plain(v, raw)] for k, v in value.items()]}
        case _ if _ours().get(type(value).__name__) is type(value):
            fields = [[f.name, _plain(getattr(value, f.name), raw)] for f in dataclasses.fields(value)]
            return {_TAG: type(value).__name__, "v": fields}
        case _:
            raise TypeError(f"{type(value).__name__} cannot be sent to the worker")


def _made(raw: list[bytes], data: Message) -> Any:
    """json's object_hook: innermost objects come first."""
    if _TAG not in data:
        return data  # the message itself
    name, value = data[_TAG], data["v"]
    if name == "bytes":
        return raw[value]
    if name == "map":
        return {_tuples(k): _tuples(v) for k, v in value}
    if name == "Pose":
        (names, quats), transl, betas, score = value
        return Pose(dict(zip(names, map(tuple, quats), strict=True)), _tuples(transl), _tuples(betas), score)
    return _ours()[name](**{field: _tuples(v) for field, v in value})


def _tuples(value: Any) -> Any:
    """Sequences in frozen dataclasses are tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


@functools.cache
def _ours() -> Mapping[str, type]:
    """The dataclasses that may cross, by name: all those of the rooms that requests are made of."""
    return {
        thing.__name__: thing
        for module in (tasks, model_host, faults, picture, pose, base)
        for thing in vars(module).values()
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and thing.__module__ == module.__name__
    }
