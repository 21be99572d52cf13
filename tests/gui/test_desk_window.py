# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's desk in a real window, against a scripted server: what keys and mouse do is the add-on's alone."""

from __future__ import annotations

import json
import math

from conftest import Blender

from scripts.blender import chroots
from tests.fake_server import FakeServer


def _arm(angle: float) -> dict[str, object]:
    return {"joints": {"left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}}


def test_candidates_with_esc_and_enter(blender: Blender) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    done = chroots.run(blender.chroot, blender.out, *install)
    assert done.returncode == 0, done.stdout + done.stderr

    with FakeServer() as server:
        server.answer = {"text": "Three ways.", "poses": [_arm(0.4), _arm(0.8), _arm(1.2)], "model": "fake", "seed": 1}
        settings = {"CHATPOSE_ADDRESS": server.address}
        window = chroots.run_window(blender.chroot, blender.out, "tests/gui/desk_in_window.py", settings)
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {blender.out}\n{window.log}"

    seen = json.loads((blender.out / "desk.json").read_text(encoding="utf-8"))
    assert seen["first"] != seen["before"] and seen["second"] != seen["first"], "the arrow keys showed nothing new"
    assert seen["after_esc"] == seen["before"] and seen["said_after_esc"] == 0, "Esc did not restore exactly"
    assert seen["after_enter"] not in (seen["before"], seen["first"]) and seen["said_after_enter"] == 2
    assert seen["undone"] == seen["before"] and seen["said_undone"] == 0, "Ctrl-Z did not take the candidate back"
