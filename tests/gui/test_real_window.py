# SPDX-License-Identifier: GPL-3.0-or-later
"""The zip in a real Blender: accepted by Blender's own validator, installed, and worked with mouse and keyboard against
the real server.
"""

from __future__ import annotations

from itertools import pairwise

import filmed
from conftest import Blender, Played

from scripts.blender import chroots

FRAMES = len(filmed.RAISED_DEG)


def test_blender_accepts_the_zip(blender: Blender) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    done = chroots.run(blender.chroot, blender.out, "blender", "--command", "extension", "validate", archive)
    assert done.returncode == 0, done.stdout + done.stderr


def test_words_to_pose_and_back(with_server: Played) -> None:
    seen = with_server.seen("pose")
    assert seen["moved_joints"] >= 4, "the body hardly moved"
    assert seen["undone"], "Ctrl-Z did not bring the old pose back"
    assert seen["redone"], "Shift-Ctrl-Z did not bring the new pose back"
    assert seen["answer"].strip(), "the panel had no answer to show"
    # Blender went on drawing and handling events while the server thought: it stood still for a few redraws at most,
    # each of which takes long with software OpenGL on a busy machine. The add-on's own ticks are held to 10 ms by the
    # tests without a window.
    limit = max(2.0, 0.5 + 4 * seen["one_redraw"])
    assert seen["longest_pause"] < limit, f"Blender stood still for {seen['longest_pause']:.1f} s of {limit:.1f}"
    assert (with_server.window.out / "posed.png").stat().st_size > 50_000, "the picture of the window is empty"


def test_a_hand_is_dragged_and_the_body_follows(with_server: Played) -> None:
    """Esc is exact, Enter is one undo step."""
    seen = with_server.seen("drag")
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


def test_numbered_pictures_become_smooth_keys(with_server: Played) -> None:
    """Esc on the way leaves everything as it was; all keys are one undo step."""
    seen = with_server.seen("film")["film"]
    assert seen["first_picture"] == filmed.FIRST, "the first picture is the file's own number"
    height, width, _, spread = seen["thumbnail"]
    assert max(height, width) == 256 and spread > 0.02, "the first picture's thumbnail is empty"
    done, count, keys = seen["on_the_way"]
    assert 1 <= done < FRAMES and count == FRAMES + 1 and keys == 0, "Esc came when nothing was under way"
    assert seen["after_esc"] == [0, True, "Cancelled; nothing was changed."]
    assert seen["keys"] == FRAMES and seen["said"] == f"Keyed {FRAMES} frames."
    left, right = zip(*seen["raised"], strict=True)
    assert all(b > a + 0.03 for a, b in pairwise(left)), f"the left arm does not rise from frame to frame: {left}"
    assert left[0] < -0.25 and left[-1] > 0.15, left
    assert max(right) < -0.25, f"the right arm does not hang: {right}"
    assert seen["undone"], "the keys are not one undo step"


def test_two_people_onto_two_characters(with_server: Played) -> None:
    seen = with_server.seen("film")["people"]
    assert seen["people"] == 2
    (first, second) = seen["posed"]
    assert first[0] > 0.15 and first[1] < -0.25, f"the left character is not the left person: {first}"
    assert second[0] < -0.25 and second[1] > 0.15, f"the right character is not the right person: {second}"
    assert seen["undone"] == seen["before"], "both poses are not one undo step"
    assert with_server.window.status == 0, with_server.window.log
