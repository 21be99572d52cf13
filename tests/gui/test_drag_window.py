# SPDX-License-Identifier: GPL-3.0-or-later
"""Drag in a real window against the real server: the body follows the mouse, Esc is exact, Enter is one undo step."""

from __future__ import annotations

import json

from conftest import Blender

from scripts.blender import chroots
from scripts.server_process import RunningServer


def test_a_hand_is_dragged_and_the_body_follows(blender: Blender, server: RunningServer) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    done = chroots.run(blender.chroot, blender.out, *install)
    assert done.returncode == 0, done.stdout + done.stderr

    settings = {"CHATPOSE_ADDRESS": server.address, "CHATPOSE_TOKEN": server.token}
    window = chroots.run_window(blender.chroot, blender.out, "tests/gui/drag_in_window.py", settings)
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {blender.out}\n{window.log}"

    seen = json.loads((blender.out / "drag.json").read_text(encoding="utf-8"))
    assert seen["way"] > 0.3, "the handle did not follow the mouse"
    for turn in (seen["first"], seen["second"]):
        assert turn["missed"] < 0.01, f"the hand ended {turn['missed']:.3f} m beside its handle"
    assert seen["moved_bones"] > 6, "the body did not follow the hand"
    assert seen["slid"] < 0.01, "the planted feet slid"
    assert seen["esc_is_exact"], "Esc did not restore every channel exactly"
    assert seen["kept_moved"] and seen["undone"], "Enter and Ctrl-Z are not one undo step"
    assert seen["long"]["ran"] and seen["long"]["after_esc"] == 0, "Esc while a motion was keyed left keys"
    assert seen["long"]["undone"], "a motion from a file is not one undo step"
    assert seen["objects"] == ["ARMATURE", "MESH"] and not seen["keyed"], "something was left in the scene"
