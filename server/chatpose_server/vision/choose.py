"""Which person of a picture words mean, and what else they ask. By place and size only: who is a woman is not seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Box = tuple[float, float, float, float]

_WHO: Final = (
    "person|people|man|woman|men|women|girl|boy|guy|lady|gentleman|child|kid|baby|figure|one|dancer|player|athlete|"
    "character|somebody|someone|subject|actor|actress|model|human|adult|teenager|runner|fighter|soldier|singer"
)
_GENDERED: Final = re.compile(r"\b(?:man|woman|girl|boy|guy|lady|gentleman|actor|actress|male|female|he|she)\b")
_ORDINALS: Final = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "1st": 1, "2nd": 2, "3rd": 3, "4th": 4,
    "5th": 5, "6th": 6, "last": -1,
}  # fmt: skip
_NTH: Final = "|".join(_ORDINALS)
_AN: Final = rf"(?:(?:the|a|an|that|this)\s+)?(?:(?:{_WHO})\s+)?(?:who\s+(?:is|stands|sits)\s+|standing\s+|sitting\s+)?"
_STOP: Final = r"$|[,.;:!?]|but\b|with\b|and\b|except\b|only\b|now\b|in the p"
_END: Final = rf"(?:\s+(?:side|edge|end|hand side))?(?=\s*(?:{_STOP}))"

_NTH_FROM: Final = re.compile(
    rf"\b(?:the\s+)?({_NTH})\s+(?:(?:{_WHO})\s+)?(?:from|on|counting from)\s+(?:the\s+)?(left|right)\b"
)
_SIDE: Final = re.compile(rf"\b{_AN}(?:on|at|to|from)\s+the\s+(?:far\s+|very\s+)?(left|right){_END}")
_MOST: Final = re.compile(rf"\b(?:the\s+)?(left|right)[\s-]?most(?:\s+(?:{_WHO}))?\b")
_ADJECTIVE: Final = re.compile(rf"\b(?:the\s+)(left|right)(?:\s+hand)?\s+(?:{_WHO})\b")
_MIDDLE: Final = re.compile(
    rf"\b{_AN}in\s+the\s+(?:middle|cent(?:re|er)){_END}|\b(?:the\s+)(?:middle|cent(?:re|er|ral))\s+(?:{_WHO})\b"
)
_FRONT: Final = re.compile(
    rf"\b{_AN}(?:in\s+(?:the\s+)?(?:front|foreground)|nearest|closest){_END}"
    rf"|\b(?:the\s+)(?:nearest|closest|biggest|largest|front|tallest)\s+(?:{_WHO})\b"
)
_BACK: Final = re.compile(
    rf"\b{_AN}(?:in\s+the\s+(?:back|background|rear|distance)|behind){_END}"
    rf"|\b(?:the\s+)(?:farthest|furthest|smallest|rear|back)\s+(?:{_WHO})\b"
)
_NUMBER: Final = re.compile(rf"\b(?:{_WHO})\s+(?:number\s+|no\.?\s*|#)?(\d{{1,2}})\b|(?:^|\s)#(\d{{1,2}})\b")

_FILLER: Final = re.compile(
    rf"^(?:please|copy|use|take|match|recreate|imitate|do|give|make|show|put|pose|me|us|it|him|her|them|my|the|a|an|of|as|"
    rf"like|from|in|into|to|on|this|that|same|exact|exactly|posture|position|picture|photo|image|drawing|is|are|who|"
    rf"does|doing|just|{_WHO}|[\s,.;:!?'\"-])+(?=\s|$|[,.;:!?])",
    re.IGNORECASE,
)
_CHANGES: Final = re.compile(r"^(?:but|with|except(?:\s+that|\s+for)?|only|now|then|and|however|though)\b[\s,:]*", re.I)


@dataclass(frozen=True)
class Wish:
    """``person``: the index meant, or None where no place is named. ``change``: what the words ask beyond that, "" for
    nothing. ``gendered``: they tell people apart by something that is not seen.
    """

    person: int | None
    change: str
    gendered: bool


class NobodyThereError(ValueError):
    """There are fewer people than the words count."""

    code = "person_not_found"


def read(words: str, boxes: Sequence[Box]) -> Wish:
    """What words mean before a picture with people in ``boxes`` (best first). Raises NobodyThereError."""
    text = " ".join(words.lower().split())
    person, rest = _place(text, boxes)
    gendered = person is None and len(boxes) > 1 and bool(_GENDERED.search(text))
    return Wish(person, _change(rest), gendered)


def names_a_place(words: str) -> bool:
    """Whether words say which person is meant."""
    crowd = [(float(i), 0.0, i + 1.0, 1.0) for i in range(99)]
    return _place(" ".join(words.lower().split()), crowd)[0] is not None


def _place(text: str, boxes: Sequence[Box]) -> tuple[int | None, str]:
    """The person and the words without the phrase that names them."""
    by_left = sorted(range(len(boxes)), key=lambda i: boxes[i][0] + boxes[i][2])
    by_size = sorted(range(len(boxes)), key=lambda i: -(boxes[i][3] - boxes[i][1]))

    def without(found: re.Match[str]) -> str:
        return f"{text[: found.start()]} {text[found.end() :]}".strip()

    if found := _NTH_FROM.search(text):
        order = by_left if found[2] == "left" else by_left[::-1]
        return _nth(order, _ORDINALS[found[1]]), without(found)
    for pattern in (_MOST, _ADJECTIVE, _SIDE):
        if found := pattern.search(text):
            return _nth(by_left, 1 if found[1] == "left" else -1), without(found)
    if found := _MIDDLE.search(text):
        return by_left[len(by_left) // 2] if by_left else None, without(found)
    if found := _FRONT.search(text):
        return _nth(by_size, 1), without(found)
    if found := _BACK.search(text):
        return _nth(by_size, -1), without(found)
    if found := _NUMBER.search(text):
        return _nth(list(range(len(boxes))), int(found[1] or found[2])), without(found)
    return None, text


def _nth(order: Sequence[int], count: int) -> int:
    if count == 0 or abs(count) > len(order):
        people = "1 person was" if len(order) == 1 else f"{len(order)} people were"
        raise NobodyThereError(f"There is no such person in the picture: {people} found. Choose one by its box.")
    return order[count - 1 if count > 0 else count]


def _change(rest: str) -> str:
    """What is left to be changed. Words that only describe what is seen ("a woman dancing") are no change."""
    rest = rest.strip(" ,.;:!?")
    stripped = _FILLER.sub("", f"{rest} ").strip(" ,.;:!?")
    marked = bool(_CHANGES.match(stripped)) or bool(re.search(r"\b(?:but|except|instead|more|less)\b", rest))
    change = stripped
    while _CHANGES.match(change):
        change = _CHANGES.sub("", change, count=1)
    if not marked and re.match(r"^\w+ing\b", change):
        return ""
    return change
