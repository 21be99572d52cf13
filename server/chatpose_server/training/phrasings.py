"""More ways to say a posecode than the vocabulary itself needs: what people do ("raising an arm"), nouns, slang.

For training only: ``posecodes.say`` writes one good sentence, people write a hundred. Knows posecodes, no poses.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..posecodes.vocabulary import POSECODES, mirror_words


@dataclass(frozen=True)
class Phrasings:
    """``predicates``: after "the <subject> is"; ``commands``: whole imperatives; ``doing``: after "a person (is)"."""

    predicates: tuple[str, ...]
    commands: tuple[str, ...]
    doing: tuple[str, ...]


@functools.cache
def phrasings(code: str) -> Phrasings:
    """All of the vocabulary's own and of this file's."""
    own = POSECODES[code]
    predicates, commands, doing = list(own.predicates), list(own.commands), []
    side = re.search("left|right", code)
    right = side is not None and side[0] == "right"  # the tables speak of the left
    plain = mirror_words(code) if right else code
    listed = {"is": predicates, "do": commands, "ing": doing}
    for pattern, table in _TABLES:
        m = re.fullmatch(pattern, plain)
        for kind, text in table(*m.groups()) if m else ():
            listed[kind].append(_other_side(text) if right else text)
    return Phrasings(tuple(dict.fromkeys(predicates)), tuple(dict.fromkeys(commands)), tuple(dict.fromkeys(doing)))


def _other_side(text: str) -> str:
    return re.sub(r"\b(left|right)\b(?! angle)", lambda m: "right" if m[0] == "left" else "left", text)


_Line = tuple[str, str]
_DOUBLED: Final = ("put", "set", "let", "get", "sit", "grip", "drop", "tip", "grab", "hug", "prop", "rub", "squat")


def _ing(verb: str) -> str:
    """The participle of a phrase's first word: "hold the ball" -> "holding the ball"."""
    first, _, rest = verb.partition(" ")
    if first in _DOUBLED:
        made = first + first[-1] + "ing"
    elif first in ("lie", "tie"):
        made = first[:-2] + "ying"
    elif first.endswith("e") and not first.endswith("ee"):
        made = first[:-1] + "ing"
    else:
        made = first + "ing"
    return f"{made} {rest}".strip()


def _verbs(*phrases: str) -> Iterator[_Line]:
    """An imperative and its participle for each."""
    for phrase in phrases:
        yield "do", phrase
        yield "ing", _ing(phrase)


def _are(*phrases: str) -> Iterator[_Line]:
    for phrase in phrases:
        yield "is", phrase


def _elbow(how: str) -> Iterator[_Line]:
    arm = "the left arm"
    match how:
        case "straight":
            yield from _are("locked out", "fully extended", "completely straight", "not bent", "stretched", "unbent")
            yield from _verbs("straighten the left elbow", f"keep {arm} straight", f"extend {arm}", f"stretch {arm}",
                              f"lock {arm}", f"hold {arm} straight")  # fmt: skip
        case "right_angle":
            yield from _are("bent square", "flexed to 90°", "at 90", "bent 90 degrees", "half folded", "squared")
            yield from _verbs(f"bend {arm} 90 degrees", f"bend {arm} at a right angle", "square the left elbow")
        case "slightly_bent":
            yield from _are("a little bent", "soft", "relaxed and slightly bent", "nearly straight", "barely bent")
            yield from _verbs(f"bend {arm} a little", "soften the left elbow", f"keep a slight bend in {arm}")
        case "partially_bent":
            yield from _are("bent", "half bent", "somewhat bent", "bent about halfway", "flexed")
            yield from _verbs(f"bend {arm}", "bend the left elbow", "flex the left elbow")
        case _:
            yield from _are("folded up", "sharply bent", "bent tight", "bent as far as it goes", "doubled up", "curled")
            yield from _verbs(f"fold {arm} up", f"bend {arm} tightly", "fold the left elbow", f"curl {arm} up",
                              "bring the left forearm up to the upper arm")  # fmt: skip


def _knee(how: str) -> Iterator[_Line]:
    leg = "the left leg"
    match how:
        case "straight":
            yield from _are("locked", "not bent", "stretched out", "fully straight", "held straight")
            yield from _verbs("lock the left knee", f"keep {leg} straight", f"extend {leg}", "straighten the left knee")
        case "right_angle":
            yield from _are("bent square", "bent to 90 degrees", "at 90°", "bent in a right angle")
            yield from _verbs("bend the left knee to 90 degrees", f"bend {leg} at a right angle")
        case "slightly_bent":
            yield from _are("soft", "a touch bent", "a little bent", "relaxed", "slightly flexed")
            yield from _verbs("bend the left knee a bit", "soften the left knee", "keep the left knee soft")
        case "partially_bent":
            yield from _are("bent", "half bent", "flexed", "bent halfway")
            yield from _verbs("bend the left knee", f"bend {leg}", "flex the left knee")
        case _:
            yield from _are("folded", "fully folded", "bent as far as possible", "sharply bent", "tucked tight")
            yield from _verbs(f"fold {leg}", "fold the left knee tightly", f"tuck {leg} in",
                              "bring the left heel to the buttock")  # fmt: skip


_WAYS: Final[dict[str, tuple[str, ...]]] = {
    "up": ("straight up", "up", "upwards", "up in the air", "to the ceiling", "vertically up", "high"),
    "down": ("down", "straight down", "downwards", "toward the floor", "hanging down"),
    "forward": ("forward", "to the front", "in front", "straight ahead", "out in front of the body", "forwards"),
    "back": ("back", "backwards", "behind", "to the rear", "behind the body"),
    "out": ("to the side", "sideways", "out to the left", "out sideways", "straight out to the side", "laterally"),
    "across": ("across the body", "to the other side", "across in front", "over to the right side"),
    "horizontal": ("horizontal", "level with the floor", "parallel to the ground"),
    "forward_up": ("forward and up", "up and forward", "diagonally up in front", "high in front"),
    "forward_down": ("forward and down", "down in front", "diagonally down in front", "low in front"),
    "out_up": ("up and out", "diagonally up to the side", "high to the side", "out and up"),
    "out_down": ("down and out", "low to the side", "diagonally down to the side", "slightly away from the body"),
    "back_up": ("back and up", "up behind", "high behind the body"),
    "back_down": ("back and down", "down behind", "low behind the body"),
    "forward_out": ("diagonally forward", "forward and out", "to the front left", "between front and side"),
    "forward_across": ("forward and across", "across in front of the body", "diagonally in front to the right"),
    "across_up": ("across and up", "up across the face", "up to the other side"),
    "across_down": ("across and down", "down across the body", "down to the other side"),
    "overhead": ("overhead", "over the head", "up beside the ear", "above the head"),
    "along_body": ("at the side", "along the body", "beside the body", "by the side"),
    "ahead": ("ahead", "in front of the chest", "straight from the shoulder"),
    "behind": ("behind the back", "behind the body"),
}  # fmt: skip


def _direction(limb: str, way: str) -> Iterator[_Line]:
    part = f"the left {limb.replace('_', ' ')}"
    verbs = {"arm": ("hold", "reach", "extend", "stretch", "swing", "point"),
             "leg": ("stretch", "extend", "swing", "hold", "reach"),
             "thigh": ("hold", "bring", "swing"), "upper_arm": ("hold", "bring", "move"),
             "forearm": ("hold", "point", "bring")}[limb]  # fmt: skip
    if way in ("up", "forward_up", "out_up", "overhead", "back_up", "across_up", "horizontal"):
        verbs = (*verbs, "raise", "lift")
    if limb == "leg" and way in ("forward", "forward_up", "out", "out_up", "back", "back_up"):
        verbs = (*verbs, "kick")
    if way in ("down", "forward_down", "out_down", "along_body"):
        verbs = (*verbs, "lower", "drop")
    for where in _WAYS[way]:
        yield from _are(where, f"held {where}", f"pointing {where}")
        for verb in verbs:
            yield from _verbs(f"{verb} {part} {where}")


_HEIGHTS: Final[dict[str, tuple[str, ...]]] = {
    "above_head": ("over the head", "above the head", "higher than the head", "high in the air", "up high"),
    "head_height": ("at head height", "level with the head", "as high as the face", "beside the head", "at eye level"),
    "above_shoulder": ("above the shoulder", "higher than the shoulder", "over shoulder height", "up"),
    "shoulder_height": ("at shoulder height", "level with the shoulder", "shoulder high", "at the shoulder's height"),
    "chest_height": ("at chest height", "chest high", "level with the chest", "at the level of the breastbone"),
    "waist_height": ("at waist height", "waist high", "at the level of the navel", "level with the waist"),
    "hip_height": ("at hip height", "hip high", "level with the hips", "beside the hip"),
    "below_hip": ("below the hip", "lower than the hip", "down low"),
    "below_shoulder": ("below the shoulder", "lower than the shoulder"),
    "knee_height": ("at knee height", "knee high", "level with the knee", "down at the knees"),
    "below_knee": ("below the knee", "lower than the knee", "near the floor", "down by the shin"),
}  # fmt: skip


def _height(part: str, height: str) -> Iterator[_Line]:
    verbs = ("hold", "keep", "bring", "move") + (("raise", "lift") if "above" in height or "head" in height else ())
    for where in _HEIGHTS.get(height, ()):
        yield from _are(where, f"held {where}")
        for verb in verbs:
            yield from _verbs(f"{verb} the left {part} {where}")


_BETTER_NAMES: Final = {"top of head": ("top of the head", "crown of the head"), "belly": ("belly", "stomach", "tummy"),
                        "left buttock": ("left buttock", "left cheek"), "left waist": ("left side",),
                        "groin": ("groin", "crotch"), "lower back": ("lower back", "small of the back"),
                        "back of head": ("back of the head", "back of the neck")}  # fmt: skip


def _hand_on(target: str) -> Iterator[_Line]:
    other = "right hand" if target in ("right_wrist", "right_forearm") else ""
    for name in _BETTER_NAMES.get(target.replace("_", " "), (target.replace("_", " "),)):
        yield from _are(f"placed on the {name}", f"at the {name}", f"laid on the {name}", f"pressed to the {name}",
                        f"against the {name}", f"holding the {name}", f"covering the {name}")  # fmt: skip
        yield from _verbs(f"place the left hand on the {name}", f"rest the left hand on the {name}",
                          f"touch the {name} with the left hand", f"hold the {name} with the left hand",
                          f"keep the left hand on the {name}", f"lay the left hand on the {name}",
                          f"press the left hand to the {name}", f"bring the left hand to the {name}",
                          f"grab the {name} with the left hand", f"clutch the {name} with the left hand",
                          f"cover the {name} with the left hand", f"rub the {name} with the left hand",
                          f"scratch the {name} with the left hand")  # fmt: skip
        yield "ing", f"left hand on {name}"
        if other:
            yield from _verbs(f"hold the {name} of the {other} with the left hand")


def _touch(part: str, target: str) -> Iterator[_Line]:
    name = target.replace("_", " ")
    yield from _are(f"on the {name}", f"pressed to the {name}", f"resting against the {name}", f"propped on the {name}")
    yield from _verbs(f"rest the left {part} on the {name}", f"bring the left {part} to the {name}",
                      f"press the left {part} against the {name}", f"prop the left {part} on the {name}",
                      f"touch the {name} with the left {part}")  # fmt: skip


def _apart(part: str, how: str) -> Iterator[_Line]:
    text = {
        "close": ("together", "close together", "side by side", "next to each other", "nearly touching"),
        "shoulder_width": ("shoulder width apart", "hip width apart", "as wide as the shoulders"),
        "spread": ("apart", "spread", "wide apart", "well apart"),
        "wide": ("very wide apart", "spread very wide", "as far apart as possible", "far apart"),
        "apart": ("apart", "not touching", "away from each other"),
    }[how]
    for where in text:
        yield from _are(where)
        yield from _verbs(f"keep the {part} {where}", f"hold the {part} {where}", f"place the {part} {where}")
        if part == "feet":
            yield from _verbs(f"stand with the feet {where}")


def _lines(text: str) -> Iterator[_Line]:
    """``is: a / b; do: c / d; ing: e``; a ``do`` gives its participle too."""
    for piece in text.split(";"):
        kind, _, listed = piece.strip().partition(":")
        for phrase in listed.split("/"):
            said = phrase.strip()
            if kind == "do":
                yield from _verbs(said)
            else:
                yield kind, said


@functools.cache
def _singles() -> dict[str, str]:
    text = Path(__file__).with_name("phrasings.txt").read_text(encoding="utf-8")
    rows = [row.partition(" | ") for row in text.splitlines() if row and not row.startswith("#")]
    return {name: said for name, _, said in rows}


def _single(name: str) -> Iterator[_Line]:
    if name in _singles():
        yield from _lines(_singles()[name])


_TABLES: Final[Sequence[tuple[str, Callable[..., Iterator[_Line]]]]] = (
    (r"left_elbow=(\w+)", _elbow),
    (r"left_knee=(straight|right_angle|slightly_bent|partially_bent|completely_bent|almost_completely_bent)", _knee),
    (r"left_(arm|leg|thigh|upper_arm|forearm)=(\w+)", _direction),
    (r"left_(hand|foot|knee)=(\w+)", _height),
    (r"left_hand@(\w+)", _hand_on),
    (r"left_(elbow|knee|foot|ankle)@(\w+)", _touch),
    (r"(hands|elbows|knees|feet)=(close|shoulder_width|spread|wide|apart)", _apart),
    (r"(.*)", _single),
)
