"""Words before a picture: who is meant, and what is to be changed."""

from __future__ import annotations

import pytest
from chatpose_server.vision.choose import NobodyThereError, read

# best first: 0 in the middle and largest, 1 on the right, 2 on the left and smallest
PEOPLE = [(40.0, 0.0, 60.0, 100.0), (80.0, 20.0, 95.0, 90.0), (5.0, 40.0, 15.0, 80.0)]


@pytest.mark.parametrize(
    ("words", "person", "change"),
    [
        ("", None, ""),
        ("the woman on the left", 2, ""),
        ("the man on the far right", 1, ""),
        ("the person in the middle", 0, ""),
        ("the second person from the right", 0, ""),
        ("third from the left", 1, ""),
        ("the last one from the left", 1, ""),
        ("the leftmost dancer", 2, ""),
        ("the right person", 1, ""),
        ("the one in front", 0, ""),
        ("the child in the background", 2, ""),
        ("the tallest man", 0, ""),
        ("person 2", 1, ""),
        ("#3", 2, ""),
        ("the woman on the left but with her arms raised", 2, "her arms raised"),
        ("same but arms lower", None, "arms lower"),
        ("same pose, now look up", None, "look up"),
        ("copy the pose of the person on the right, only with the left knee bent", 1, "the left knee bent"),
        ("raise the left arm", None, "raise the left arm"),
        ("put the right hand on the left knee", None, "right hand on the left knee"),
        ("left hand on the left hip", None, "left hand on the left hip"),
        ("a woman dancing", None, ""),
        ("a person sitting on a chair", None, ""),
        ("like this", None, ""),
    ],
)
def test_words(words, person, change):
    wish = read(words, PEOPLE)
    assert (wish.person, wish.change) == (person, change)


@pytest.mark.parametrize("words", ["the fourth person from the left", "person 4", "the fifth from the right"])
def test_people_who_are_not_there(words):
    with pytest.raises(NobodyThereError, match="3 people were found"):
        read(words, PEOPLE)


@pytest.mark.parametrize(
    ("words", "count", "said"),
    [("the woman", 3, True), ("the man", 1, False), ("the woman on the left", 3, False), ("the person", 3, False)],
)
def test_who_is_a_woman_is_not_seen_and_said(words, count, said):
    assert read(words, PEOPLE[:count]).gendered is said
