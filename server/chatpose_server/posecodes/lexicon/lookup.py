"""Finds named poses in what somebody wrote, word for word. Knows the lexicon's wordings; guesses nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from . import Entry, entries, mirrored

_LEAD: Final = re.compile(  # what people write before the name, and what wordings leave out
    r"^(?:(?:please|pose|make|show|give|me|her|him|them|i|need|want|a pose of|in the|in a|in|doing|does|"
    r"do|like|as|the|a|an|"
    r"person|man|woman|girl|boy|someone|somebody|he|she|they|is|are|his|character)\s+)+"
)
_WORD: Final = re.compile(r"[a-z0-9']+")
_SINGLE: Final = 4  # letters: a one-word name shorter than this is only found when it is all there is


@dataclass(frozen=True)
class Found:
    """``entry`` (already mirrored if the words named the other side); ``wording``: the words that name it; ``rest``:
    the others.
    """

    entry: Entry
    wording: str
    rest: str


def normal(text: str) -> str:
    """Lower case words with single blanks."""
    return " ".join(_WORD.findall(text.lower().replace("-", " ").replace("\u2019", "'")))


@lru_cache(maxsize=1)
def _names() -> dict[str, Entry]:
    names: dict[str, Entry] = {}
    for entry in entries():
        other = mirrored(entry)
        for wording, turned in zip(entry.wordings, other.wordings, strict=True):
            for key in {normal(wording), _LEAD.sub("", normal(wording))}:
                if key:
                    names.setdefault(key, entry)
            if turned != wording:
                for key in {normal(turned), _LEAD.sub("", normal(turned))}:
                    if key:
                        names.setdefault(key, other)
    return names


def find(text: str) -> Found | None:
    """The longest named pose that the words hold as a whole, or None.

    A single word counts only where it is nearly all that was written: "king" in "a king kneels" names no pose.
    """
    words = normal(text).split()
    names = _names()
    bare = _LEAD.sub("", " ".join(words))
    if bare in names:
        return Found(names[bare], bare, "")
    for length in range(len(words), 0, -1):
        for at in range(len(words) - length + 1):
            key = " ".join(words[at : at + length])
            if key not in names:
                continue
            rest = words[:at] + words[at + length :]
            if length == 1 and (len(key) < _SINGLE or len(_LEAD.sub("", " ".join(rest) + " ").split()) > 0):
                continue
            return Found(names[key], key, " ".join(rest))
    return None
