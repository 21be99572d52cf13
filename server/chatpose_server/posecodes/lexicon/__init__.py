"""Named poses, actions and situations, each written as posecode statements in the text files beside this one.

A topic is one file. An entry in it (a line that starts with ``#`` is a comment)::

    warrior two                                            the entry's name, at the start of a line
      say: virabhadrasana two; the second warrior pose     other wordings
      is: $lunge_left; arms=horizontal; head.yaw=60..80    statements (``vocabulary.read``) and ``$blocks``
      or: ...                                              another full version of the same pose
      free: right_arm                                      parts that may do anything natural

``_blocks.txt`` names groups of statements that many poses share, one ``name = statements`` a line. What an entry says
after a block wins over the block. A block written for the left is there for the right too, and ``$arms_x`` stands for
``$left_arm_x; $right_arm_x``. Knows how poses are written, nothing of how they are solved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Final

from ..vocabulary import POSECODES, PosecodeError, Request, mirror_words, read

FREE_PARTS: Final = ("left_arm", "right_arm", "left_leg", "right_leg", "trunk", "head")
_BLOCKS_FILE: Final = "_blocks"
FEELINGS_FILE: Final = "_feelings.txt"  # read by ``lookup``
_KEYS: Final = ("say", "is", "or", "free")


class LexiconError(ValueError):
    """A line of a lexicon file that cannot be used. The text names the file, the line and what to write instead."""


@dataclass(frozen=True)
class Entry:
    """A named pose.

    ``wordings``: what people type for it, its name first. ``versions``: alternatives, each complete, the usual one
    first. ``free``: body parts (of ``FREE_PARTS``) that the name says nothing about. ``topic``: the file's name.
    """

    name: str
    wordings: tuple[str, ...]
    versions: tuple[Request, ...]
    free: frozenset[str]
    topic: str


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Every entry, topic by topic. Raises LexiconError for the first line that cannot be used."""
    listed = [p for p in resources.files(__name__).iterdir() if p.name.endswith(".txt") and p.name != FEELINGS_FILE]
    files = {p.name.removesuffix(".txt"): p for p in listed}
    blocks = read_blocks(files.pop(_BLOCKS_FILE).read_text(encoding="utf-8"))
    return tuple(
        entry
        for topic in sorted(files)
        for entry in read_topic(topic, files[topic].read_text(encoding="utf-8"), blocks)
    )


def mirrored(entry: Entry) -> Entry:
    """The entry for the pose in the mirror: left and right swapped in its words, its statements and its free parts."""
    return replace(
        entry,
        name=mirror_wording(entry.name),
        wordings=tuple(mirror_wording(w) for w in entry.wordings),
        versions=tuple(v.mirrored() for v in entry.versions),
        free=frozenset(mirror_words(p) for p in entry.free),
    )


def mirror_wording(wording: str) -> str:
    """Left and right swapped in English; "right angle", "right now" and their like are no sides."""
    return re.sub(
        r"(?<!all )\b(?:left|right(?! angle| now| away| after| before| there))\b",
        lambda m: "right" if m[0] == "left" else "left",
        wording,
    )


def read_blocks(text: str) -> Mapping[str, Request]:
    """The shared groups of statements by name. Raises LexiconError."""
    blocks: dict[str, Request] = {}
    for number, line in _lines(text):
        name, equals, statements = (part.strip() for part in line.partition(" = "))
        if not equals or name in blocks:
            raise LexiconError(f"{_BLOCKS_FILE}.txt, line {number}: write a new name, ' = ' and its statements.")
        blocks[name] = _request(statements, blocks, f"{_BLOCKS_FILE}.txt, line {number}")
    return blocks


def read_topic(topic: str, text: str, blocks: Mapping[str, Request]) -> Iterator[Entry]:
    """The entries of one file's text. Raises LexiconError."""
    entry: Entry | None = None
    for number, line in _lines(text):
        where = f"{topic}.txt, line {number}"
        if not line[0].isspace():
            if entry is not None:
                yield _complete(entry, where)
            entry = Entry(line.strip(), (line.strip(),), (), frozenset(), topic)
            continue
        key, _, value = (part.strip() for part in line.partition(":"))
        if entry is None or key not in _KEYS:
            raise LexiconError(f"{where}: a line under an entry's name starts with one of: {', '.join(_KEYS)}.")
        if key == "say":
            entry = replace(entry, wordings=entry.wordings + tuple(w.strip() for w in value.split(";") if w.strip()))
        elif key == "free":
            parts = frozenset(value.split())
            if not parts <= set(FREE_PARTS):
                raise LexiconError(f"{where}: free parts are {', '.join(FREE_PARTS)}.")
            entry = replace(entry, free=parts)
        else:
            entry = replace(entry, versions=(*entry.versions, _request(value, blocks, where)))
    if entry is not None:
        yield _complete(entry, f"{topic}.txt, last line")


def _complete(entry: Entry, where: str) -> Entry:
    if not entry.versions or len(entry.wordings) == 1:
        raise LexiconError(f"{where}: '{entry.name}' before it needs a 'say:' and an 'is:' line.")
    return entry


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.rstrip()


def _request(text: str, blocks: Mapping[str, Request], where: str) -> Request:
    """Statements and blocks in the order written; a later one wins where two speak of the same quantity."""
    total = Request()
    try:
        for block, statements in re.findall(r"\$(\w+)|([^;$][^$]*)", text):
            total += _block(block, blocks) if block else read(statements)
    except PosecodeError as error:
        raise LexiconError(f"{where}: {error}") from error
    return replace(total, codes=tuple(c for c in total.codes if _still_holds(c, total)))


def _block(name: str, blocks: Mapping[str, Request]) -> Request:
    if name in blocks:
        return blocks[name]
    if mirror_words(name) in blocks:
        return blocks[mirror_words(name)].mirrored()
    if name.startswith("arms_"):
        rest = name.removeprefix("arms_")
        return _block(f"left_arm_{rest}", blocks) + _block(f"right_arm_{rest}", blocks)
    raise PosecodeError(f"there is no block '${name}' in {_BLOCKS_FILE}.txt.")


def _still_holds(code: str, request: Request) -> bool:
    """False for a posture of a block that a later statement took back (``$stand`` and then a bent trunk)."""
    return all(
        max(t.lo, c.lo) < min(t.hi, c.hi)
        for t in POSECODES[code].terms
        for c in request.constraints
        if c.quantity == t.quantity
    )
