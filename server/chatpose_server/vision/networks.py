"""Runs one TFLite file on the CPU. Knows tensors, no pictures and no people."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WEIGHTS: Final = Path(__file__).parent / "weights"
SHA256: Final = MappingProxyType(
    {
        "pose_detection.tflite": "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85",
        "pose_landmark_heavy.tflite": "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
        "hand_landmark_full.tflite": "8c026882c9ec059ce0f8e75266bee5a9a23c341a40e0000df755374d3d1b9b68",
    }
)
"""The files of Google's npm packages @mediapipe/pose 0.5.1675469404 and @mediapipe/hands 0.4.1675469240, unchanged."""

_TAPPED: Final = MappingProxyType(
    {
        "pose_landmark_heavy.tflite": ((696, 701, 565, 641, 698), (696, 701, 694, 669, 698)),
    }
)
"""Tensors that a file gives, and which of its tensors it is told to give instead: of the landmark network not the mask
and the heat maps, which nobody here reads, but what it knew before it said where landmarks are (1, 2, 2, 288), and
before that (1, 4, 4, 288)."""

_CORES: Final = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_THREADS: Final = min(4, _CORES)  # more gain nothing on networks of this size


class VisionError(RuntimeError):
    """Pictures cannot be looked at here. The text says why and what to do."""

    code = "image_not_supported"


class Network:
    """One loaded file. Its interpreter holds its tensors, so that one thread at a time may run it."""

    def __init__(self, path: Path) -> None:
        interpreter_class = _interpreter_class()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise VisionError(f"'{path.name}' is missing. Install chatpose-server again.") from error
        if hashlib.sha256(data).hexdigest() != SHA256[path.name]:
            raise VisionError(f"'{path.name}' is damaged. Install chatpose-server again.")
        with _said_to_nobody():
            self._interpreter = interpreter_class(model_content=_tapped(path.name, data), num_threads=_THREADS)
            self._interpreter.allocate_tensors()
        self._input: int = self._interpreter.get_input_details()[0]["index"]
        self._outputs: list[int] = [detail["index"] for detail in self._interpreter.get_output_details()]
        self._lock = threading.Lock()

    def __call__(self, picture: Floats) -> list[Floats]:
        """(side, side, 3) -> the file's outputs, in its own order and scale, without the leading axis of one."""
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(picture[None], np.float32))
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


def _tapped(name: str, data: bytes) -> bytes:
    """The file with other outputs: their list in it is so many little-endian integers, and nothing else changes."""
    if name not in _TAPPED:
        return data
    own, wanted = (np.array(indices, "<i4").tobytes() for indices in _TAPPED[name])
    at = data.index(own)
    return data[:at] + wanted + data[at + len(own) :]


@contextlib.contextmanager
def _said_to_nobody() -> Generator[None]:
    """The runtime tells the standard error of its delegates, at no level that can be set and below ``sys.stderr``.

    What others write there in these milliseconds is lost too.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # a program without a console
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@functools.cache
def load(name: str) -> Network:
    """A network of ``SHA256``, loaded once. Raises VisionError."""
    return Network(WEIGHTS / name)


def _interpreter_class() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]
    except Exception as error:  # a wheel for another system raises many kinds
        raise VisionError(
            "Pictures need the package 'ai-edge-litert', which is not installed or has no build for this computer "
            "(there is none for Intel Macs). Words work without it."
        ) from error
    return Interpreter
