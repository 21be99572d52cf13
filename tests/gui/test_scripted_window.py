# SPDX-License-Identifier: GPL-3.0-or-later
"""The desk in a real window, against scripted servers: what buttons, keys and mouse do is the add-on's alone."""

from __future__ import annotations

import base64

import pytest
from conftest import Played
from scripted import SIZE


def test_candidates_with_esc_and_enter(scripted: Played) -> None:
    seen = scripted.seen("candidates")
    assert seen["first"] != seen["before"] and seen["second"] != seen["first"], "the arrow keys showed nothing new"
    assert seen["after_esc"] == seen["before"] and seen["said_after_esc"] == 0, "Esc did not restore exactly"
    assert seen["after_enter"] not in (seen["before"], seen["first"]) and seen["said_after_enter"] == 2
    assert seen["undone"] == seen["before"] and seen["said_undone"] == 0, "Ctrl-Z did not take the candidate back"


def test_a_chat(scripted: Played) -> None:
    seen = scripted.seen("chat")
    tasks = [body["task"] for body in scripted.sent["chat"]]
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


def test_a_dropped_picture_is_posed_matched_and_corrected(scripted: Played) -> None:
    seen, sent = scripted.seen("image"), scripted.sent["image"]
    assert abs(seen["dropped"] - 0.9) < 0.01, "the drop did not pose the body"
    assert seen["thumbnail"], "the boxed thumbnail was never drawn"
    assert seen["objects_after_match"] == ["ARMATURE", "CAMERA", "MESH"]
    assert seen["overlap"] < 2.0, f"body and picture are {seen['overlap']:.1f} pixels apart"
    assert seen["canvas"] == ["VIEW_3D", "IMAGE_EDITOR", "inset"], "points are corrected in all three places"
    assert abs(seen["shown"] - 0.2) < 0.01, "the dragged point was not solved at once"
    moved = sent[1]["keypoints"]["left_wrist"]
    assert sent[1]["keypoints"].keys() == {"left_wrist"} and sent[1]["person"] == 0
    assert abs(moved[0] - seen["goal"][0]) < 4 and abs(moved[1] - seen["goal"][1]) < 4, f"{moved}, {seen['goal']}"
    assert abs(seen["kept"] - 0.2) < 0.01 and abs(seen["undone"] - 0.9) < 0.01, "Enter and Ctrl-Z are not one step"
    assert seen["after_esc"] == seen["before_esc"], "Esc did not restore exactly"
    assert seen["view_size"][0] > 200 and seen["view_spread"] > 0.02, "the viewport's picture is empty"
    assert seen["render"][:2] == [240, 320] and seen["render"][2] > 0.02, "the render's picture is empty"
    assert seen["bitmap"] == [*SIZE, True], "a copied bitmap is not the picture, kept in the file"
    photo = (scripted.window.out / "photo.png").read_bytes()
    assert base64.b64decode(sent[-3]["image"].partition(",")[2]) == photo, "the copied bitmap was not sent as it is"
    assert "holds no picture" in seen["refused"] and seen["kept_image"] == "Clipboard"
    assert seen["pasted"].startswith("photo.png"), "a copied file's path was not opened"
    assert seen["person"] == 2 and sent[-1]["person"] == 1, "the button of the second person asks for that one"
    assert abs(seen["chosen"] - 0.2) < 0.01


def test_the_other_tools(scripted: Played) -> None:
    seen = scripted.seen("tools")
    assert [body["task"] for body in scripted.sent["tools"]] == ["pose"] * 5
    assert seen["half"] == pytest.approx(1.0, abs=0.02), "half the way from 0.8 to 1.2"
    left, right = seen["mirrored"]
    assert right == pytest.approx(0.6, abs=0.02) and left == pytest.approx(0.8, abs=0.02)
    assert seen["asset"][:2] == ["higher", "higher"] and {"ChatPose", "fake"} <= set(seen["asset"][2])
    assert seen["preview"] == [256, 256]
    assert seen["from_library"] == pytest.approx(0.8, abs=0.01) and seen["starred"]
    assert seen["keys"] == [1, 20]
    assert seen["rigify"] > 20, "the Rigify character's arm did not move"
    assert seen["rigify_said"] == ["raise the left arm", "Up it goes."]
    assert scripted.window.status == 0, scripted.window.log
