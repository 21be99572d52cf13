"""The lexicon of named poses: every line is in the vocabulary, no statement fights another, mirrors are true."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
import torch
from chatpose_server.posecodes import lexicon
from chatpose_server.posecodes.lexicon import (
    LexiconError,
    entries,
    lookup,
    mirror_wording,
    mirrored,
    read_blocks,
    read_topic,
)
from chatpose_server.posecodes.measure import measure
from chatpose_server.posecodes.refine import solve
from chatpose_server.posecodes.vocabulary import INF, QUANTITIES, Request, read

BLOCKS = read_blocks("stand = standing; knees=straight\nleft_arm_up = left_arm=up\nhigh = $stand; $left_arm_up\n")


def contradictions(request: Request) -> list[str]:
    room: dict[str, tuple[float, float]] = defaultdict(lambda: (-INF, INF))
    for c in request.constraints:
        lo, hi = room[c.quantity]
        room[c.quantity] = (max(lo, c.lo), min(hi, c.hi))
    return [q for q, (lo, hi) in room.items() if not lo < hi]


def test_enough_to_learn_from():
    topics = Counter(e.topic for e in entries())
    assert len(entries()) >= 800
    assert len(topics) >= 20
    assert min(topics.values()) >= 15


def test_every_entry_has_three_wordings():
    assert [e.name for e in entries() if len(e.wordings) < 3] == []


def test_a_wording_names_one_pose():
    seen = Counter(w.lower() for e in entries() for w in e.wordings)
    assert [w for w, n in seen.items() if n > 1] == []


def test_wordings_are_clean_text():
    odd = [w for e in entries() for w in e.wordings if w != " ".join(w.split()) or "=" in w or not w.isprintable()]
    assert odd == []


def test_no_entry_contradicts_itself():
    assert {e.name: c for e in entries() for v in e.versions if (c := contradictions(v))} == {}


def test_every_entry_says_enough():
    assert [e.name for e in entries() for v in e.versions if len(v.constraints) < 8] == []


def test_every_interval_is_inside_what_its_quantity_can_be():
    full = {"deg": (-181.0, 181.0), "m": (-2.5, 2.5), "ratio": (-2.0, 2.0)}
    for entry in entries():
        for version in entry.versions:
            for c in version.constraints:
                lo, hi = full[QUANTITIES[c.quantity].unit]
                assert max(c.lo, lo) < min(c.hi, hi), (entry.name, c)


def test_mirrored_twice_is_the_same():
    for entry in entries():
        assert mirrored(mirrored(entry)) == entry


def test_mirroring_swaps_sides_in_words_and_in_statements():
    (entry,) = read_topic("t", "left hand up\n  say: raise the left hand\n  is: left_arm=up\n  free: right_arm", BLOCKS)
    other = mirrored(entry)
    assert other.wordings == ("right hand up", "raise the right hand")
    assert other.versions == (read("right_arm=up"),)
    assert other.free == {"left_arm"}


@pytest.mark.parametrize(
    ("wording", "swapped"),
    [
        ("looking left", "looking right"),
        ("a right hook", "a left hook"),
        ("elbow at a right angle", "elbow at a right angle"),
        ("sit down right now", "sit down right now"),
        ("everything is all right", "everything is all right"),
        ("bright light", "bright light"),
    ],
)
def test_sides_in_english(wording: str, swapped: str):
    assert mirror_wording(wording) == swapped


@pytest.mark.parametrize(
    ("statements", "same_as"),
    [
        ("$stand", "standing; knees=straight"),
        ("$high", "standing; knees=straight; left_arm=up"),
        ("$right_arm_up", "right_arm=up"),
        ("$arms_up", "left_arm=up; right_arm=up"),
    ],
)
def test_blocks(statements: str, same_as: str):
    (entry,) = read_topic("t", f"a\n  say: b\n  is: {statements}", BLOCKS)
    assert entry.versions[0].constraints == read(same_as).constraints


def test_what_follows_a_block_wins_over_it():
    (entry,) = read_topic("t", "a\n  say: b\n  is: $stand; left_knee=60..80", BLOCKS)
    ranges = {c.quantity: (c.lo, c.hi) for c in entry.versions[0].constraints}
    assert ranges["left_knee"] == (60, 80)
    assert "left_knee=straight" not in entry.versions[0].codes
    assert "right_knee=straight" in entry.versions[0].codes


def test_alternatives_and_free_parts():
    (entry,) = read_topic("t", "a\n  say: b; c\n  is: sitting\n  or: kneeling\n  free: left_arm head", BLOCKS)
    assert entry.wordings == ("a", "b", "c")
    assert [v.codes for v in entry.versions] == [("sitting",), ("kneeling",)]
    assert entry.free == {"left_arm", "head"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n  say: b\n  is: left_knee=banana", "t.txt, line 3: 'left_knee=banana'"),
        ("a\n  say: b\n  is: $nothing", "no block '$nothing'"),
        ("a\n  say: b\n  is: left_knee=90..80", "line 3"),
        ("a\n  say: b\n  free: tail", "free parts are"),
        ("a\n  sya: b", "starts with one of"),
        ("  say: b", "starts with one of"),
        ("a\n  is: sitting\nb\n  say: c\n  is: sitting", "'a' before it needs"),
        ("a\n  say: b", "'a' before it needs"),
    ],
)
def test_errors_name_the_line(text: str, says: str):
    with pytest.raises(LexiconError, match=r"t\.txt") as caught:
        list(read_topic("t", text, BLOCKS))
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["stand: standing", "a = sitting\na = standing", "a = $b"])
def test_bad_blocks_are_refused(text: str):
    with pytest.raises(LexiconError, match="_blocks"):
        read_blocks(text)


def test_the_files_are_read_once():
    assert lexicon.entries() is lexicon.entries()


SOLVED = [  # entry, what an onlooker would measure, from, to
    ("warrior two", "left_arm.vertical", 75, 90),
    ("warrior two", "right_arm.vertical", 75, 90),
    ("warrior two", "left_knee", 80, 120),
    ("warrior two", "right_knee", 158, 181),
    ("superhero landing", "right_hand@ground", -0.1, 0.07),
    ("superhero landing", "pelvis.height", 0.2, 0.6),
    ("military salute", "right_hand:head.distance", 0.0, 0.25),
    ("military salute", "trunk.up", 0, 12),
    ("handstand", "trunk.up", 155, 181),
    ("handstand", "left_hand@ground", -0.1, 0.07),
    ("sitting cross-legged on the floor", "seat@ground", -0.1, 0.07),
    ("sitting cross-legged on the floor", "pelvis.height", 0.0, 0.3),
]


@pytest.fixture(scope="module")
def onlooker() -> dict[tuple[str, str], float]:
    """What each solved entry of the table measures, both names."""
    torch.set_num_threads(1)
    names = list(dict.fromkeys(row[0] for row in SOLVED))
    by_name = {e.name: e for e in entries()}
    quantities = list(dict.fromkeys(row[1] for row in SOLVED))
    values = measure(solve([by_name[n].versions[0] for n in names]).matrot, quantities)
    return {(n, q): float(values[i, j]) for i, n in enumerate(names) for j, q in enumerate(quantities)}


@pytest.mark.parametrize(("name", "quantity", "lo", "hi"), SOLVED)
def test_famous_poses_come_out(onlooker: dict[tuple[str, str], float], name: str, quantity: str, lo: float, hi: float):
    assert lo <= onlooker[name, quantity] <= hi


def test_every_feeling_is_an_entry_and_is_found_by_its_words():
    feelings = lookup._feelings()
    assert set(feelings.values()) <= {e.name for e in entries()}
    assert "tired" in lookup.feelings("the farmer is utterly knackered")
    assert lookup.feelings("a knight on a horse") == frozenset()


def test_one_word_in_common_is_no_likeness():
    assert lookup.near("a sailor comes home to his wife").get("axe hitting the log", 0.0) < 0.4  # "driving it home"


@pytest.mark.parametrize(
    "forms",
    [
        "dig digs dug digging digger", "swing swings swung swinging", "carry carries carried carrying",
        "wrestle wrestler wrestlers' wrestling", "ride rides rode rider", "tie ties tying tied", "glass glasses",
        "play plays playing player",
    ],
)  # fmt: skip
def test_forms_of_a_word_are_one_word(forms: str):
    assert len({lookup._stem(w) for w in forms.split()}) == 1


@pytest.mark.parametrize("words", ["string ring king", "bus bush", "sing swing", "hip hop", "tree tie"])
def test_different_words_stay_different(words: str):
    assert len({lookup._stem(w) for w in words.split()}) == len(words.split())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("somebody digs in her garden with a spade", "digging with a spade"),
        ("the ballerina's arabesque", "arabesque"),
        ("two children rowed a little boat", "rowing a boat"),
        ("he is dozing in his hammock", "lying in a hammock"),
    ],
)
def test_likest_name(text: str, name: str):
    likeness = lookup.near(text)
    assert max(likeness, key=lambda n: likeness[n]) == name


def test_likeness_to_all_of_an_entrys_wordings_tells_names_apart():
    words = "a knight holding his sword up to the sky"
    assert lookup.covered(words, "raising a sword") > lookup.covered(words, "knight with a sword")
    assert lookup.covered(words, "sitting on a swing") == 0
