"""Says what a pose is, in varied English, from measured posecodes. Knows no model; never says what was not measured.

``select`` picks what is worth saying and true; ``say`` makes sentences of it; ``describe`` does both for one pose.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch

from ..pose import Pose
from .measure import measure_poses, posecodes_hold
from .vocabulary import POSECODES, QUANTITIES, SIDES, mirror_code

Length = Literal["short", "medium", "long"]
Style = Literal["plain", "command", "keywords", "first_person", "title"]
STYLES: Final[tuple[Style, ...]] = ("plain", "command", "keywords", "first_person", "title")
_BUDGET: Final = {"short": 3, "medium": 6, "long": 12}


@dataclass(frozen=True)
class Fact:
    """Posecodes said together (left and right alike), and how much they matter, 0..1."""

    codes: tuple[str, ...]
    weight: float

    @property
    def both(self) -> bool:
        """True for a statement on left and right alike."""
        return len(self.codes) == 2


# -- what is worth saying ----------------------------------------------------------------------------------------------
_POSTURES: Final = (  # the first true one is said
    "on_all_fours", "plank", "cross_legged", "sitting_on_heels", "sitting_legs_out", "kneeling_upright", "kneeling",
    "kneeling_on_left", "kneeling_on_right", "on_left_side", "on_right_side", "on_front", "on_back", "sitting",
    "squatting", "sitting_on_ground", "upside_down", "side_lunge_left", "side_lunge_right", "lunge_left", "lunge_right",
    "half_squat", "tiptoe", "standing_on_left", "standing_on_right", "standing_straight", "standing",
)  # fmt: skip
_GROUNDED: Final = frozenset(_POSTURES[:17]) - {"sitting"}  # postures in which feet, stance and weight say little
_TRUNK: Final = (
    ("trunk=bent_over", 0.9), ("trunk=horizontal", 0.7), ("trunk=forward", 0.75), ("trunk=back", 0.8),
    ("trunk=left", 0.7), ("trunk=right", 0.7), ("trunk=twisted_left", 0.7), ("trunk=twisted_right", 0.7),
    ("spine=curled", 0.45), ("spine=arched", 0.6), ("spine=side_left", 0.55), ("spine=side_right", 0.55),
)  # fmt: skip
_HEAD: Final = (
    ("looking_over_left_shoulder", 0.85), ("looking_over_right_shoulder", 0.85), ("head=left", 0.6),
    ("head=right", 0.6), ("head=down", 0.62), ("head=up", 0.62), ("head=tilted_left", 0.45),
    ("head=tilted_right", 0.45), ("looking_down", 0.5), ("looking_up", 0.55),
)  # fmt: skip
_STANCE: Final = (
    ("legs=crossed_left_over", 0.85), ("legs=crossed_right_over", 0.85), ("legs=figure_four_left", 0.85),
    ("legs=figure_four_right", 0.85), ("feet=crossed", 0.6), ("feet=wide", 0.65), ("feet=spread", 0.5),
    ("left_foot=ahead", 0.45), ("right_foot=ahead", 0.45), ("weight=left", 0.5), ("weight=right", 0.5),
    ("feet=close", 0.25), ("feet=shoulder_width", 0.2),
)  # fmt: skip
_HANDS_TOGETHER: Final = (
    ("hands=prayer", 0.95), ("hands=behind_head", 0.95), ("hands=over_face", 0.95), ("arms=crossed", 0.95),
    ("hands=behind_back", 0.95), ("hands=clasped", 0.9), ("wrists=crossed", 0.6),
)  # fmt: skip
_TOUCHED: Final = (  # on which a hand is worth mentioning, the most telling first
    "chin", "mouth", "forehead", "eye", "temple", "ear", "cheek", "top_of_head", "back_of_head", "neck", "throat",
    "chest", "belly", "shoulder", "upper_arm", "elbow", "knee", "shin", "ankle", "foot", "heel", "lower_back",
    "buttock", "hip", "waist", "wrist", "forearm", "thigh",
)  # fmt: skip
_LIMB_DIRECTIONS: Final = ("up", "down", "forward", "back", "out", "across", "forward_up", "out_up", "forward_down",
                           "out_down", "back_down", "forward_out", "forward_across")  # fmt: skip
_BENDS: Final = ("completely_bent", "almost_completely_bent", "right_angle", "partially_bent", "slightly_bent",
                 "straight")  # fmt: skip
_HEIGHTS: Final = ("above_head", "head_height", "shoulder_height", "chest_height", "waist_height")


def select(holds: Iterable[str]) -> list[Fact]:
    """From all posecodes that hold, those worth saying, most telling first."""
    true = set(holds)
    single: list[tuple[str, float]] = []
    posture = next((p for p in _POSTURES if p in true), None)
    if posture:
        single.append((posture, 1.0))
    single += [(c, w) for c, w in _TRUNK if c in true][:2]
    single += [(c, w) for c, w in _HEAD if c in true][:2]
    if posture not in _GROUNDED:
        single += [(c, w) for c, w in _STANCE if c in true]
    together = next(((c, w) for c, w in _HANDS_TOGETHER if c in true), None)
    if together:
        single.append(together)
    for s in SIDES:
        if together is None or together[0] == "wrists=crossed":
            single += _arm(s, true)
        single += _leg(s, true, posture)
    return _paired(single)


def _arm(s: str, true: set[str]) -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    o = "right" if s == "left" else "left"
    touch = next(
        (c for t in _TOUCHED for c in (f"{s}_hand@{s}_{t}", f"{s}_hand@{o}_{t}", f"{s}_hand@{t}") if c in true), None
    )
    if f"{s}_hand@ground" in true:
        out.append((f"{s}_hand@ground", 0.8))
    elif touch:
        out.append((touch, 0.9))
    bend = next((f"{s}_elbow={b}" for b in _BENDS if f"{s}_elbow={b}" in true), None)
    straight = bend is not None and bend.endswith(("straight", "slightly_bent"))
    limb = "arm" if straight else "upper_arm"
    way = next((f"{s}_{limb}={d}" for d in _LIMB_DIRECTIONS if f"{s}_{limb}={d}" in true), None)
    if way and not (touch and straight):
        out.append((way, 0.3 if way.endswith("=down") else 0.75))
    if bend:
        out.append((bend, 0.25 if bend.endswith("slightly_bent") else 0.4 if bend.endswith("straight") else 0.55))
    height = next((f"{s}_hand={h}" for h in _HEIGHTS if f"{s}_hand={h}" in true), None)
    if height and not touch:
        out.append((height, 0.7 if height.endswith("above_head") else 0.45))
    return out


def _leg(s: str, true: set[str], posture: str | None) -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    bend = next((f"{s}_knee={b}" for b in _BENDS if f"{s}_knee={b}" in true), None)
    if bend and posture not in ("squatting", "cross_legged", "sitting_on_heels", "standing_straight"):
        out.append((bend, 0.2 if bend.endswith(("slightly_bent", "straight")) else 0.5))
    limb = "leg" if f"{s}_knee=straight" in true else "thigh"
    way = next((f"{s}_{limb}={d}" for d in _LIMB_DIRECTIONS[2:] if f"{s}_{limb}={d}" in true), None)
    if way and posture not in ("sitting", "squatting", "sitting_legs_out"):
        out.append((way, 0.55))
    if f"{s}_foot=raised" in true and posture in ("standing_on_left", "standing_on_right", "on_back", "on_front"):
        out.append((f"{s}_foot=raised", 0.35))
    return out


def _paired(single: Sequence[tuple[str, float]]) -> list[Fact]:
    names = {c for c, _ in single}
    facts: list[Fact] = []
    done: set[str] = set()
    for code, weight in single:
        if code in done:
            continue
        twin = mirror_code(code)
        if code.startswith(SIDES) and twin in names and twin != code and _plural(code) is not None:
            facts.append(Fact((code, twin), min(1.0, weight + 0.1)))
            done |= {code, twin}
        else:
            facts.append(Fact((code,), weight))
            done.add(code)
    return sorted(facts, key=lambda f: -f.weight)


# -- words -------------------------------------------------------------------------------------------------------------
_PLURAL_NOUNS: Final = {"foot": "feet", "palm": "palms", "toes": "toes"}
PLURALS: Final = {
    n: _PLURAL_NOUNS.get(n, f"{n}s")
    for n in ("hand", "arm", "leg", "foot", "knee", "elbow", "thigh", "shin", "palm", "hip", "shoulder", "ankle",
              "wrist", "cheek", "ear", "eye", "temple", "buttock", "calf", "heel", "upper arm", "forearm", "waist")
}  # fmt: skip


def plural(noun: str) -> str:
    """ "left hand" or "hand" -> "hands"."""
    for s in SIDES:
        noun = noun.removeprefix(f"{s} ")
    return PLURALS.get(noun, noun + "s")


def _plural(code: str) -> str | None:
    """The predicate of a left/right pair of codes said of both, or None where that would be unclear."""
    c = POSECODES[code]
    side, other = ("left", "right") if code.startswith("left") else ("right", "left")
    if re.search(rf"\b{other}\b(?! angle)", " ".join(c.predicates)) or not c.subject.startswith((side, other)):
        return None
    first = c.predicates[0]
    if f"the {side} " not in first and re.search(rf"\b{side}\b(?! angle)", first):
        return None
    return first


def both_predicate(predicate: str, side: str) -> str:
    """ "on the left hip" -> "on the hips"."""
    before, found, noun = predicate.partition(f"the {side} ")
    return f"{before}the {plural(noun)}" if found else predicate


def phrase(fact: Fact, choose: random.Random | None = None) -> tuple[str, str]:
    """Subject and predicate without verb or article: ("left hand", "on the left hip"), ("hands", "on the hips")."""
    code = POSECODES[fact.codes[0]]
    predicate = code.predicates[0] if choose is None else choose.choice(code.predicates)
    if not fact.both:
        return code.subject, predicate
    side = "left" if fact.codes[0].startswith("left") else "right"
    return plural(code.subject), both_predicate(predicate, side)


_PEOPLE: Final = (
    ("The person", "is", "their"), ("The figure", "is", "their"), ("Someone", "is", "their"), ("A man", "is", "his"),
    ("A woman", "is", "her"), ("She", "is", "her"), ("He", "is", "his"), ("They", "are", "their"),
)  # fmt: skip


def say(facts: Sequence[Fact], *, length: Length = "medium", style: Style = "plain", seed: int | None = None) -> str:
    """Sentences for facts. Without a seed: always the same wording; with one: any of many."""
    choose = None if seed is None else random.Random(seed)
    budget = _BUDGET[length] + (choose.randint(-1, 1) if choose else 0)
    kept = list(facts[: max(1, budget)])
    posture = [f for f in kept if POSECODES[f.codes[0]].subject == "person"]
    rest = sorted((f for f in kept if f not in posture), key=lambda f: _order(f.codes[0]))
    if choose and choose.random() < 0.3:
        choose.shuffle(rest)
    if style == "command":
        return _command(posture + rest, choose)
    parts = [phrase(f, choose) for f in rest]
    stances = [POSECODES[f.codes[0]].predicates for f in posture]
    how = [p[0] if choose is None else choose.choice(p) for p in stances]
    if style in ("keywords", "title"):
        words = how + [f"{s} {p.replace('the ', '')}" for s, p in parts]
        return ", ".join(words) if style == "keywords" else _title(words, choose)
    if style == "first_person":
        who, verb, own = "I", "am", "my"
    else:
        who, verb, own = _PEOPLE[0] if choose is None else choose.choice(_PEOPLE)
    return _sentences(who, verb, own, how, parts)


def _order(code: str) -> int:
    """Reading order: trunk, arms, legs, head."""
    subject = POSECODES[code].subject
    for i, words in enumerate((("body", "trunk", "back", "weight"), ("hand", "arm", "elbow", "palm", "wrist"),
                               ("leg", "knee", "foot", "feet", "thigh", "ankle"))):  # fmt: skip
        if any(w in subject for w in words):
            return i
    return 3


def _sentences(who: str, verb: str, own: str, how: Sequence[str], parts: Sequence[tuple[str, str]]) -> str:
    out: list[str] = []
    if how:
        out.append(f"{who} {verb} {_and(how)}")
    clauses: list[str] = []
    last = ""
    for subject, predicate in parts:
        said = _own(predicate, own)
        if subject == last:
            clauses[-1] += f" and {said}"
        else:
            clauses.append(f"{own} {subject} {_be(subject)} {said}")
        last = subject
    if out and clauses and len(clauses) <= 2:
        first = clauses[0].replace(f" {_be(parts[0][0])} ", " ", 1)
        return _finish([f"{out[0]}, {first}", *clauses[1:]])
    grouped = [_and(clauses[i : i + 2]) for i in range(0, len(clauses), 2)]
    return _finish(out + grouped)


def _own(words: str, own: str) -> str:
    """ "on the left hip" -> "on her left hip", but "to the left" stays."""
    return re.sub(r"\bthe (?=(?:left|right) (?!and\b|side\b|or\b)[a-z])", f"{own} ", words)


def _be(subject: str) -> str:
    return "are" if subject.endswith("s") or subject == "feet" else "is"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def _finish(sentences: Sequence[str]) -> str:
    return " ".join(s[0].upper() + s[1:] + "." for s in sentences if s)


def _title(words: Sequence[str], choose: random.Random | None) -> str:
    lead = "A pose:" if choose is None else choose.choice(["A pose:", "Pose:", "Someone", "A person", "Character"])
    return f"{lead} {', '.join(words)}"


def _command(facts: Sequence[Fact], choose: random.Random | None) -> str:
    out: list[str] = []
    for f in facts:
        code = POSECODES[f.codes[0]]
        if code.commands and not f.both:
            words = code.commands[0] if choose is None else choose.choice(code.commands)
            out.append(_own(words, "your"))
        else:
            subject, predicate = phrase(f, choose)
            verb = "be" if subject == "person" else f"keep your {subject}"
            out.append(f"{verb} {predicate}")
    return _finish([_and(out[i : i + 2]) for i in range(0, len(out), 2)])


# -- one pose ----------------------------------------------------------------------------------------------------------
def facts_of(poses: Sequence[Pose]) -> list[list[Fact]]:
    """What is worth saying about each pose."""
    values = measure_poses(poses, list(QUANTITIES))
    return [select(names) for names in true_posecodes(values)]


def true_posecodes(values: torch.Tensor) -> list[list[str]]:
    """(B, all quantities) -> the names of the posecodes that hold for each pose, without forgiving anything."""
    names = list(POSECODES)
    return [[names[i] for i in row.nonzero().flatten().tolist()] for row in posecodes_hold(values, slack=0.0)]


def describe(pose: Pose, *, length: Length = "medium", style: Style = "plain", seed: int | None = None) -> str:
    """English for one pose."""
    return say(facts_of([pose])[0], length=length, style=style, seed=seed)
