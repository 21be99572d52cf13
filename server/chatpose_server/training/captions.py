"""Words for training: posecodes -> the many ways in which artists write them. Knows posecodes, no poses and no model.

Not ``posecodes.say``: that one writes well; this one writes as people type (keywords, commands, fragments, typos).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

from ..posecodes.vocabulary import POSECODES, mirror_code

PEOPLE: Final = (
    "a person", "a man", "a woman", "someone", "the person", "the character", "she", "he", "a figure", "they",
    "a dancer",    "a girl", "a boy", "the model", "a human",
)  # fmt: skip
_POSSESSIVE: Final = {"she": "her", "he": "his", "a man": "his", "a woman": "her", "a girl": "her", "a boy": "his"}
_QUESTIONS: Final = (
    "There is a person: {} Please output this person's SMPL pose.", "{} Give the SMPL pose.", "Give me the pose: {}",
    "What's the SMPL pose of this person? {}", "Use SMPL pose to describe this person's behavior. {}",
    "Human pose is described as words: {} The SMPL pose is?", "Pose: {}", "make the pose: {}", "Show me {}",
    "I need a pose. {}", "Can you pose the character? {}", "pose {}", "Generate a pose of {}", "How does it look: {}",
)  # fmt: skip
_SPELLINGS: Final = (("centre", "center"), ("grey", "gray"), ("forward", "forwards"), ("backward", "backwards"),
                     ("toward", "towards"), ("ground", "floor"), ("legs", "both legs"), ("trunk", "torso"),
                     ("upper body", "torso"), ("raise", "lift"), ("bent", "flexed"), ("90 degrees", "90°"))  # fmt: skip


def caption(codes: Sequence[str], rng: random.Random) -> str:
    """One caption for these posecodes, in a style drawn by ``rng``. All of them are mentioned."""
    order = list(codes)
    rng.shuffle(order)
    order.sort(key=lambda c: POSECODES[c].group != "posture")  # what the body stands on comes first, as people say it
    pieces = _join_sides(order, rng)
    style = rng.random()
    if style < 0.40:
        text = _sentences(pieces, rng)
    elif style < 0.60:
        text = _with_list(pieces, rng)
    elif style < 0.80:
        text = _commands(pieces, rng)
    else:
        text = ", ".join(_keyword(p, rng) for p in pieces)
    return roughen(text, rng)


def frame(text: str, rng: random.Random) -> str:
    """Now and then wraps words in a question of ChatPose's kind."""
    if rng.random() < 0.12:
        return rng.choice(_QUESTIONS).format(text)
    return text


def roughen(text: str, rng: random.Random) -> str:
    """Spelling variants, case, missing full stops, a rare typo."""
    for a, b in _SPELLINGS:
        if a in text and rng.random() < 0.25:
            text = text.replace(a, b)
    roll = rng.random()
    if roll < 0.35:
        text = text.lower()
    elif roll < 0.7:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.5:
        text = text.rstrip(".")
    if rng.random() < 0.06 and len(text) > 12:
        at = rng.randrange(4, len(text) - 2)
        text = (
            text[:at] + text[at + 1] + text[at] + text[at + 2 :] if rng.random() < 0.5 else text[:at] + text[at + 1 :]
        )
    return text


_Piece = tuple[str, str, str, bool]  # subject, predicate, command, plural


def _join_sides(codes: Sequence[str], rng: random.Random) -> list[_Piece]:
    """Codes -> pieces; the same statement of both sides becomes one about both."""
    left = list(codes)
    pieces: list[_Piece] = []
    while left:
        name = left.pop(0)
        code = POSECODES[name]
        twin = mirror_code(name)
        predicate = rng.choice(code.predicates)
        command = rng.choice(code.commands) if code.commands else ""
        if (
            twin != name
            and twin in left
            and re.match(r"(left|right)_", name)
            and not re.search("left|right", predicate)
        ):
            left.remove(twin)
            subject = re.sub(r"^(left|right) ", "", code.subject)
            many = {"foot": "feet"}.get(subject, subject + "s")
            both = rng.choice([f"both {many}", many, f"both {many}"])
            command = re.sub(rf"\b(left|right) {subject}\b", both, command) if command else ""
            command = command.replace("the both", "both")
            pieces.append((both, predicate, command, True))
        else:
            pieces.append(
                (code.subject, predicate, command, code.subject.endswith("s") or code.subject in ("hands", "feet"))
            )
    return pieces


def _sentences(pieces: Sequence[_Piece], rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    of = _POSSESSIVE.get(who, rng.choice(["their", "the"]))
    is_ = "are" if who == "they" else "is"
    parts: list[str] = []
    for subject, predicate, _, plural in pieces:
        if subject == "person":
            parts.append(f"{who} {is_} {predicate}" if not parts else predicate)
        else:
            article = "" if subject.startswith("both") else f"{of if rng.random() < 0.6 else 'the'} "
            parts.append(f"{article}{subject} {'are' if plural else 'is'} {predicate}")
    if rng.random() < 0.5:
        return ". ".join(p[:1].upper() + p[1:] for p in parts) + "."
    return _chain(parts, rng) + "."


def _with_list(pieces: Sequence[_Piece], rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    posture = [p for p in pieces if p[0] == "person"]
    rest = [p for p in pieces if p[0] != "person"]
    opening = who + (" " + " and ".join(p[1] for p in posture) if posture else "")
    if not rest:
        return opening
    of = _POSSESSIVE.get(who, "the") if rng.random() < 0.5 else ""
    parts = [f"{'' if s.startswith('both') or not of else of + ' '}{s} {p}" for s, p, _, _ in rest]
    return f"{opening} with {_chain(parts, rng)}"


def _commands(pieces: Sequence[_Piece], rng: random.Random) -> str:
    parts = [c or (p if s == "person" else f"{rng.choice(['keep', 'hold'])} the {s} {p}").replace("the both", "both")
             for s, p, c, _ in pieces]  # fmt: skip
    if rng.random() < 0.3:
        parts = [p.replace(" the ", " your ", 1) for p in parts]
    return _chain(parts, rng)


def _keyword(piece: _Piece, rng: random.Random) -> str:
    subject, predicate, _, _ = piece
    return predicate if subject == "person" else f"{subject} {predicate}"


def _chain(parts: Sequence[str], rng: random.Random) -> str:
    if len(parts) == 1:
        return parts[0]
    glue = rng.choice([", ", ", ", "; ", " and "])
    return glue.join(parts[:-1]) + rng.choice([" and ", ", and ", ", "]) + parts[-1]
