# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip in a real Blender: accepted by Blender's own validator, installed, and worked with mouse and keyboard."""

from __future__ import annotations

import json

from conftest import Blender

from scripts.blender import chroots
from scripts.server_process import RunningServer

PROMPT = "a person kneeling with both arms raised"


def test_blender_accepts_the_zip(blender: Blender) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    done = chroots.run(blender.chroot, blender.out, "blender", "--command", "extension", "validate", archive)
    assert done.returncode == 0, done.stdout + done.stderr


def test_words_to_pose_and_back(blender: Blender, server: RunningServer) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    done = chroots.run(blender.chroot, blender.out, *install)
    assert done.returncode == 0, done.stdout + done.stderr

    settings = {"CHATPOSE_ADDRESS": server.address, "CHATPOSE_TOKEN": server.token, "CHATPOSE_PROMPT": PROMPT}
    window = chroots.run_window(blender.chroot, blender.out, "tests/gui/pose_in_window.py", settings)
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {blender.out}\n{window.log}"

    seen = json.loads((blender.out / "seen.json").read_text(encoding="utf-8"))
    assert seen["moved_joints"] >= 4, "the body hardly moved"
    assert seen["undone"], "Ctrl-Z did not bring the old pose back"
    assert seen["redone"], "Shift-Ctrl-Z did not bring the new pose back"
    assert seen["answer"].strip(), "the panel had no answer to show"
    # Blender went on drawing and handling events while the server thought: it stood still for a few redraws at most,
    # each of which takes long with software OpenGL on a busy machine. The add-on's own ticks are held to 10 ms by the
    # tests without a window.
    limit = max(2.0, 0.5 + 4 * seen["one_redraw"])
    assert seen["longest_pause"] < limit, f"Blender stood still for {seen['longest_pause']:.1f} s of {limit:.1f}"
    assert (blender.out / "posed.png").stat().st_size > 50_000, "the picture of the window is empty"
