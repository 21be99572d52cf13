"""How artists say it: 350 phrasings over all quantities, each with what it asks for (``phrasings.txt``)."""

from __future__ import annotations

from pathlib import Path

import pytest
from chatpose_server.posecodes.compose import parts_of
from chatpose_server.posecodes.parse import parse, understand
from chatpose_server.posecodes.vocabulary import FLAGS, Constraint, Request, read

LINES = (Path(__file__).parent / "phrasings.txt").read_text(encoding="utf-8").splitlines()
TABLE = [tuple(part.strip() for part in line.rsplit("|", 1)) for line in LINES if "|" in line and line[0] != "#"]


def meets(wanted: Constraint, request: Request) -> bool:
    """Whether something is asked of the same quantity that can hold together with what is wanted."""
    return any(
        c.asked and c.quantity == wanted.quantity and max(c.lo, wanted.lo) < min(c.hi, wanted.hi)
        for c in request.constraints
    )


@pytest.mark.parametrize(("words", "line"), TABLE, ids=[w for w, _ in TABLE])
def test_a_phrasing_asks_for_what_it_says_and_for_nothing_of_other_parts(words, line):
    wanted, got = read(line.strip("=")), understand(words).request
    assert [c.source for c in wanted.constraints if not meets(c, got)] == []
    assert wanted.flags <= got.flags
    spoken = {p for c in wanted.constraints for p in parts_of(c.quantity)}
    if not got.flags & FLAGS:
        beside = {c.source for c in got.constraints if c.asked and not parts_of(c.quantity) & spoken}
        assert beside == set()


@pytest.mark.parametrize(
    ("words", "kept", "dropped"),
    [
        ("leaning forward, bent over", "trunk=bent_over", "trunk=forward"),
        ("left elbow straight, left elbow bent", "left_elbow=bent", "left_elbow=straight"),
        ("looking up, head down", "head=down", "head=up"),
        ("left arm up, no: left arm down", "left_arm=down", "left_arm.up=0..50"),
        ("feet together, legs wide apart", "left_foot:right_foot.distance=0.42..", "feet=close"),
    ],
)
def test_of_two_statements_that_exclude_each_other_the_later_one_stays(words, kept, dropped):
    statements = understand(words).statements
    assert kept in statements
    assert dropped not in statements


@pytest.mark.parametrize(
    ("words", "unread"),
    [
        ("light falls on the right wall", "light falls on right wall"),
        ("a high wait", "high wait"),
        ("the band", "band"),
    ],
)
def test_words_near_those_of_poses_are_not_taken_for_them(words, unread):
    assert parse(words).rest == unread
