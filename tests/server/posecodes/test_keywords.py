"""Clauses that no phrase table holds, read by their key words."""

from __future__ import annotations

import pytest
from chatpose_server.posecodes.keywords import read_clause
from chatpose_server.posecodes.parse import normal
from chatpose_server.posecodes.vocabulary import mirror_words, read

TABLE = [
    ("his left hand clutches the right elbow", {"left_hand@right_elbow"}),
    ("right forearm swings up across the chest", {"right_forearm=across"}),
    ("the arms dangle", {"left_arm=down", "right_arm=down"}),
    ("both knees bent softly", {"left_knee=slightly_bent", "right_knee=slightly_bent"}),
    ("he stares at the sky", {"looking_up"}),
    ("torso slants to the left", {"trunk=left"}),
    ("left foot placed ahead", {"left_foot=ahead"}),
    ("legs astride", {"feet=spread"}),
    ("left thigh lifted", {"left_thigh=forward"}),
    ("she glances behind over her left shoulder", {"looking_over_left_shoulder"}),
    ("elbows high", {"left_elbow=shoulder_height", "right_elbow=shoulder_height"}),
    ("weight mostly on the left", {"weight=left"}),
    ("hunching the back", {"spine=curled"}),
    ("rotates the chest to the right", {"trunk=twisted_right"}),
    ("chin lifted", {"head=up"}),
    ("the right fist at hip level", {"right_hand=hip_height"}),
    ("the left fist hidden behind his back", {"left_hand@lower_back"}),
    ("fingers laced behind her neck", {"left_hand@back_of_head", "right_hand@back_of_head"}),
    ("right hand near the knee", {"right_hand=knee_height"}),
    ("an arm raised", set()),  # which one is not said
    ("a tired nurse", set()),
    ("an archer draws", set()),  # no arched back
    ("", set()),
]


@pytest.mark.parametrize(("words", "wanted"), TABLE)
def test_key_words(words, wanted):
    assert set(read_clause(normal(words))) == wanted


@pytest.mark.parametrize(("words", "wanted"), [r for r in TABLE if "left" in r[0] or "right" in r[0]])
def test_the_other_side(words, wanted):
    turned = words.replace("left", "\0").replace("right", "left").replace("\0", "right")
    assert set(read_clause(normal(turned))) == {mirror_words(w) for w in wanted}


@pytest.mark.parametrize(
    "words", ["left hand on the moon", "right elbow against time", "left knee on the piano", "right hand 500 degrees"]
)
def test_only_what_the_vocabulary_knows_comes_out(words):
    for statement in read_clause(normal(words)):
        read(statement)
