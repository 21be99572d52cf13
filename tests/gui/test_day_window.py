# SPDX-License-Identifier: GPL-3.0-or-later
"""The desk in a real window, against a scripted server: what buttons and keys do is the add-on's alone."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from conftest import Blender

from scripts.blender import chroots
from tests.fake_server import FakeServer


def _answer(text: str, angle: float | None = None) -> dict[str, object]:
    joints = None if angle is None else {"left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}
    return {"text": text, "poses": [] if joints is None else [{"joints": joints}], "model": "fake", "seed": 7}


def _run(blender: Blender, script: str, answers: list[dict[str, object]]) -> tuple[dict[str, Any], list[str]]:
    """What the script saw, and the tasks that were asked for."""
    archive = f"/mnt/out/{blender.zip.name}"
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    done = chroots.run(blender.chroot, blender.out, *install)
    assert done.returncode == 0, done.stdout + done.stderr
    with FakeServer() as server:
        server.capabilities["tasks"] = ["pose", "describe"]
        server.stream = ["Her", "Her left", "Her left arm"]
        server.answers, server.answer = answers, _answer("Up it goes.", 1.0)
        settings = {"CHATPOSE_ADDRESS": server.address}
        window = chroots.run_window(blender.chroot, blender.out, f"tests/gui/{script}_in_window.py", settings)
        tasks = [body["task"] for method, _, body, _ in server.requests if method == "POST"]
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {blender.out}\n{window.log}"
    return json.loads((blender.out / f"{script}.json").read_text(encoding="utf-8")), tasks


def test_a_chat(blender: Blender) -> None:
    seen, tasks = _run(
        blender,
        "day",
        [
            _answer("Her left arm is up.", 0.8),
            _answer("She raises her left arm to the side."),
            _answer("Her left arm is up, the rest hangs."),
            _answer("Higher it is.", 1.2),
        ],
    )
    assert tasks == ["pose", "describe", "describe", "pose"]
    assert seen["posed"] == pytest.approx(0.8, abs=0.01)
    assert seen["after_question"] == seen["posed"], "a question changes no bone"
    assert seen["keys_on"] == [] and seen["keys_listed"] and seen["off"], "keys are off until they are switched on"
    assert seen["refined"] == pytest.approx(1.2, abs=0.01)
    assert seen["said"] == [
        "raise the left arm",
        "Her left arm is up.",
        "what is she doing?",
        "She raises her left arm to the side.",
        "What is the character doing?",
        "Her left arm is up, the rest hangs.",
        "higher",
        "Higher it is.",
    ]


def test_the_other_tools(blender: Blender) -> None:
    seen, tasks = _run(
        blender,
        "tools",
        [
            _answer("Her left arm is up.", 0.8),
            _answer("Higher it is.", 1.2),
            _answer("She stands.", 0.1),
            _answer("The arm goes up.", 0.9),
        ],
    )
    assert tasks == ["pose"] * 5
    assert seen["half"] == pytest.approx(1.0, abs=0.02), "half the way from 0.8 to 1.2"
    left, right = seen["mirrored"]
    assert right == pytest.approx(0.6, abs=0.02) and left == pytest.approx(0.8, abs=0.02)
    assert seen["asset"][:2] == ["higher", "higher"] and {"ChatPose", "fake"} <= set(seen["asset"][2])
    assert seen["preview"] == [256, 256]
    assert seen["from_library"] == pytest.approx(0.8, abs=0.01) and seen["starred"]
    assert seen["keys"] == [1, 20]
    assert seen["rigify"] > 20, "the Rigify character's arm did not move"
    assert seen["rigify_said"] == ["raise the left arm", "Up it goes."]
