"""Finds named poses in what somebody wrote: word for word (``find``), and by rare words in common (``near``)."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Final

from . import FEELINGS_FILE, Entry, entries, mirrored

_LEAD: Final = re.compile(  # what people write before the name, and what wordings leave out
    r"^(?:(?:please|pose|make|show|give|me|her|him|them|i|need|want|a pose of|in the|in a|in|doing|does|"
    r"do|like|as|the|a|an|"
    r"person|man|woman|girl|boy|someone|somebody|he|she|they|is|are|his|character)\s+)+"
)
_KIND: Final = frozenset({"pose", "position", "posture", "exercise", "stance"})  # "plank exercise" is a plank
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
            others = [w for w in _LEAD.sub("", " ".join(rest) + " ").split() if w not in _KIND]
            if length == 1 and (len(key) < _SINGLE or others):
                continue
            return Found(names[key], key, " ".join(rest))
    return None


_VERBAL: Final = re.compile(r"(?<=[a-z]{2})(?:ing|ed|ers?)$")
_ENDINGS: Final = re.compile(r"(?:es|(?<![siu])s|e|(?<=....)y)$")
_DOUBLED: Final = re.compile(r"([bdgmnprt])\1$")  # "digging", "swimmer"; "throwing a ball" keeps its l
_IRREGULAR: Final = {
    form: verb
    for verb, forms in {
        "bend": "bent", "break": "broke broken", "catch": "caught", "creep": "crept", "die": "dying", "dig": "dug",
        "draw": "drew drawn", "drink": "drank drunken", "drive": "drove driven", "eat": "ate eaten",
        "fall": "fell fallen", "fight": "fought", "foot": "feet", "hang": "hung", "hold": "held", "kneel": "knelt",
        "lean": "leant", "leap": "leapt", "lie": "lying lies", "ride": "rode ridden", "run": "ran",
        "shake": "shook shaken", "shoot": "shot", "sit": "sat", "sleep": "slept", "spin": "spun",
        "stand": "stood", "sweep": "swept", "swim": "swam", "swing": "swung", "take": "took taken",
        "throw": "threw thrown", "tie": "tying tied ties", "tooth": "teeth", "wake": "woke woken", "weep": "wept",
        "write": "wrote written",
    }.items()
    for form in forms.split()
}  # fmt: skip
_COMMON: Final = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "with",
        "and",
        "or",
        "is",
        "are",
        "was",
        "has",
        "have",
        "his",
        "her",
        "their",
        "he",
        "she",
        "they",
        "it",
        "its",
        "as",
        "for",
        "from",
        "by",
        "up",
        "down",
        "someone",
        "somebody",
        "person",
        "man",
        "woman",
        "girl",
        "boy",
        "who",
        "that",
        "this",
        "like",
        "be",
        "being",
        "been",
        "after",
        "before",
        "give",
        "gives",
        "giving",
        "gave",
    ]
)


def _stem(word: str) -> str:
    """A word without the endings that English puts on it: "digs", "dug" and "digging" are one."""
    word = word.strip("'").removesuffix("'s")
    word = _IRREGULAR.get(word, word)
    if len(word) > _SINGLE:
        word = re.sub(r"ie[sd]$", "y", word)
        bare = _VERBAL.sub("", word)
        if bare != word and re.search(r"[aeiouy]", bare):
            word = _DOUBLED.sub(r"\1", bare)
    return _ENDINGS.sub("", word) if len(word) >= _SINGLE else word


def _stems(text: str) -> frozenset[str]:
    words = [w.strip("'").removesuffix("'s") for w in normal(text).split()]
    return frozenset(_stem(w) for w in words if w and w not in _COMMON)


@lru_cache(maxsize=1)
def _index() -> tuple[list[tuple[str, frozenset[str], frozenset[str]]], dict[str, float]]:
    """Each wording's entry, stems and own words; how rare each stem is."""
    wordings = [
        (entry.name, _stems(w), frozenset(normal(w).split()) - _COMMON) for entry in entries() for w in entry.wordings
    ]
    counts = Counter(stem for _, stems, _ in wordings for stem in stems)
    rarity = {stem: math.log(len(wordings) / n) for stem, n in counts.items()}
    return wordings, rarity


_ONE_WORD: Final = 0.65
_OTHER_FORMS: Final = 0.99  # "fingers on the temples" is nearly "a finger to the temple"
_RARE: Final = 6.6  # rarity from which one word tells an entry: six wordings or fewer hold it
_FEELING: Final = 0.42  # likeness of a feeling that one word speaks of: a guess that any better likeness beats


@lru_cache(maxsize=1)
def _feelings() -> dict[str, str]:
    """Stem of a word, or two words, for a state of mind or a turn of fortune -> the entry that shows it."""
    table: dict[str, str] = {}
    for line in (resources.files(__package__ or __name__) / FEELINGS_FILE).read_text(encoding="utf-8").splitlines():
        name, _, words = line.partition(":")
        if words and not line.startswith("#"):
            table |= {_phrase(w): name.strip() for w in (name, *words.split(","))}
    return table


def _phrase(text: str) -> str:
    return " ".join(_stem(w) for w in normal(text).split())


def near(text: str) -> dict[str, float]:
    """Entry name -> likeness in 0..1 of its nearest wording: the weight of the words in common, rare ones weighing
    more, against the weight of all. A word for a feeling, or for what causes one, is a little like its entry.
    """
    wordings, rarity = _index()
    plain = frozenset(normal(text).split()) - _COMMON
    unseen = max(rarity.values())
    words = _stems(text)
    mine = sum(rarity.get(w, unseen) for w in words)
    best: dict[str, float] = {}
    for name, stems, own in wordings:
        shared = sum(rarity[w] for w in words & stems)
        if shared:
            likeness = shared / math.sqrt(mine * sum(rarity[w] for w in stems))
            if len(words) > 1 and len(words & stems) == 1 < len(stems) and shared < _RARE:
                likeness *= _ONE_WORD  # "home" of "driving it home" is no word about axes
            if plain != own:
                likeness = min(likeness, _OTHER_FORMS)
            best[name] = max(best.get(name, 0.0), likeness)
    for name in feelings(text):
        best[name] = max(best.get(name, 0.0), _FEELING)
    return best


@lru_cache(maxsize=1)
def _vocabularies() -> dict[str, frozenset[str]]:
    """Entry name -> the stems of all its wordings."""
    out: dict[str, set[str]] = {}
    for name, stems, _ in _index()[0]:
        out.setdefault(name, set()).update(stems)
    return {name: frozenset(stems) for name, stems in out.items()}


def covered(text: str, name: str) -> float:
    """Share 0..1 of the words, rare ones weighing more, that any wording of an entry has."""
    rarity = _index()[1]
    words = _stems(text)
    unseen = max(rarity.values())
    known = _vocabularies().get(name, frozenset())
    total = sum(rarity.get(w, unseen) for w in words)
    return sum(rarity[w] for w in words & known) / total if total else 0.0


def feelings(text: str) -> frozenset[str]:
    """The entries for the states of mind and body that the words speak of, or for what would cause them."""
    said = f" {_phrase(text)} "
    return frozenset(name for phrase, name in _feelings().items() if f" {phrase} " in said)


_BODY_WORDS: Final = re.compile(
    r"left|right|both|hands?|arms?|elbows?|legs?|knees?|f(?:oo|ee)t|head|chin|hips?|shoulders?|thighs?|forearms?|up|down"
)


def beside_name(text: str, entry: Entry) -> str:
    """The words of ``text`` that are not in the entry's name or wordings; sides and parts of the body always stay."""
    named = frozenset[str]().union(*(_stems(w) for w in entry.wordings))
    kept = [w for w in re.findall(r"[\w'-]+|[,.;]", text) if _BODY_WORDS.fullmatch(w.lower()) or not _stems(w) & named]
    return " ".join(kept)
