"""A language model for tests: quick, deterministic, scriptable. The real ones are tested in their own room."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from chatpose_server import rooms
from chatpose_server.language.base import LanguageAnswer, LanguageRequest
from chatpose_server.pose import Pose
from chatpose_server.progress import no_progress

TEXT = "The pose is <POSE> ."


def unrefined():
    """Keeps the refiner and the search for people out of tests of the server: the fake sees the whole picture, and its
    words are the last.
    """
    real = rooms.offers
    kept_out = {("posecodes.compose", "compose"), ("vision.tasks", "cut_out")}
    rooms.offers = lambda name, function: (name, function) not in kept_out and real(name, function)
    return lambda: setattr(rooms, "offers", real)


@dataclass
class FakeModel:
    """Answers with a bent knee whose angle depends on the prompt and the seed.

    Words in the prompt steer it: SLOW takes many small steps until it is cancelled, UNTIL (a path) as many as
    it takes until a file is there, STUCK never looks at the progress,
    CRASH raises, OOM runs out of memory for more than one candidate, OOMALWAYS for any, CHAT gives no pose.
    ``stands``: its poses have a place already. ``mortal``: in a process of its own, which SEGFAULT and KILLED end and
    DEAF keeps busy for ever.
    """

    name: str = "fake"
    device: str = "cpu"
    dtype: str = "float32"
    licence: str = "GPL-3.0-or-later"
    accepts_images: bool = True
    wants_one_person: bool = True
    step_s: float = 0.005
    seen: list[LanguageRequest] = field(default_factory=list)
    keep: bool = True
    unloaded: bool = False
    running: int = 0
    stands: bool = False
    mortal: bool = False
    release: threading.Event = field(default_factory=threading.Event)

    def load(self, name="fake", quantize="none", progress=no_progress):
        """A Loader that gives this model."""
        self.unloaded = False
        return self

    def answer(self, request, progress=no_progress, on_text=None):
        self.running += 1
        try:
            return self._answer(request, progress, on_text)
        finally:
            self.running -= 1

    def _answer(self, request, progress, on_text):
        assert self.running == 1, "two threads at once in one model"
        assert not self.unloaded
        if self.keep:
            self.seen.append(request)
        progress("Reading the words", 0.1)
        words = request.prompt
        if "CRASH" in words:
            raise ZeroDivisionError("secret details")
        if "EXIT" in words:
            raise SystemExit(3)
        if "OOMALWAYS" in words or ("OOM" in words and request.candidates > 1):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if "STUCK" in words:
            self.release.wait(10)
        if self.mortal:
            _die(words)
        steps = 20_000 if "SLOW" in words or "UNTIL" in words else 3
        for i in range(steps):
            if "UNTIL" in words and Path(words.partition("UNTIL ")[2]).exists():
                break
            time.sleep(self.step_s if steps > 3 else 0)
            progress("Thinking", 0.1 + 0.9 * i / steps)
            if on_text is not None and i < 20:
                on_text(TEXT[: min(len(TEXT), 2 * i)])
        if "CHAT" in words and request.want == "auto":
            return LanguageAnswer("Hello.", debug={"prompt_tokens": 7, "completion_tokens": 2})
        poses = []
        for i in range(request.candidates):
            angle = (len(words) * 31 + request.seed * 7 + i * 3) % 100 / 100
            knee = (math.cos(angle / 2), math.sin(angle / 2), 0.0, 0.0)
            joints = {"pelvis": (1.0, 0.0, 0.0, 0.0), "left_knee": knee}
            poses.append(Pose(joints, (0.0, 1.3, 0.0) if self.stands else None, score=0.5))
        return LanguageAnswer(TEXT, tuple(poses), timings={"forward": 0.001}, debug={"prompt_tokens": 7})

    def unload(self):
        self.unloaded = True


def _die(words):
    if "SEGFAULT" in words:
        ctypes.string_at(0)
    if "KILLED" in words:  # as the kernel does when memory has run out
        os.kill(os.getpid(), signal.SIGKILL)
    while "DEAF" in words:
        time.sleep(60)
