"""Words for training: posecodes -> the many ways in which artists write them. Knows posecodes, no poses and no model.

Not ``posecodes.say``: that one writes well; this one writes as people type (keywords, commands, fragments, typos).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..posecodes.vocabulary import POSECODES, mirror_code
from .phrasings import phrasings

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

_DULL: Final = re.compile(  # true of nearly every pose, or said by nobody
    r":|_thigh=along_body|=vertical$|_shin=|_foot=(up|down|forward|out|across|back|hor|over|along|ahead|behind)"
    r"|_hand=(up|down|forward|out|across|back|hor|over|along|ahead|behind)|@ground|=raised$|_hip=|_ankle=neutral"
    r"|balanced|symmetric|_wrist=straight|head=straight|head=level|spine=straight|pelvis=level|trunk=upright"
    r"|weight=centred|_foot=facing|looking_ahead|feet=apart|_elbow=(above|below|ch|wa|hip|sh|kn|he)|_knee=bent$|_elbow=bent$"
)
_SAID_OFTEN: Final = (  # how much more, or less, people speak of some things than of others
    (re.compile(r"@"), 2.0),
    (re.compile(r"^(hands|arms|legs|feet|knees|looking|head|weight|lunge|tiptoe)"), 2.5),
    (re.compile(r"_(elbow|knee)="), 2.0),
    (re.compile(r"^(left|right)_(arm|leg|hand)="), 2.0),
    (re.compile(r"^trunk|^spine"), 1.5),
    (re.compile(r"_(thigh|forearm|upper_arm)="), 0.7),
    (re.compile(r"_palm=|shoulder=|pelvis=|turned|_foot="), 0.4),
)
_PART_OF: Final = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (r"^left_(elbow|wrist|upper_arm|forearm|arm|hand|palm|shoulder)", "left_arm"),
        (r"^right_(elbow|wrist|upper_arm|forearm|arm|hand|palm|shoulder)", "right_arm"),
        (r"^(left_(knee|hip|ankle|thigh|shin|leg|foot|toes|heel))", "left_leg"),
        (r"^(right_(knee|hip|ankle|thigh|shin|leg|foot|toes|heel))", "right_leg"),
        (r"^(trunk|spine)", "trunk"),
        (r"^(head|gaze|looking)", "head"),
        (r"^(hands|elbows|arms|wrists)", "arms"),
        (r"^(feet|knees|legs|weight|stand|kneel|sit|squat|half|lunge|side_lunge|tiptoe|cross)", "legs"),
    )
)


def is_said(code: str) -> bool:
    """Whether people ever say this posecode of a pose."""
    return bool(POSECODES[code].terms) and not _DULL.search(code)


def said_often(code: str) -> float:
    """How much more (over 1) or less people speak of this than of other things."""
    return next((weight for pattern, weight in _SAID_OFTEN if pattern.search(code)), 1.0)


def part_of(code: str) -> str:
    """The part of the body that a posecode speaks of: a key of PARTS, ``arms``, ``legs`` or ``body``."""
    return next((part for pattern, part in _PART_OF if pattern.search(code)), "body")


def caption(codes: Sequence[str], rng: random.Random) -> str:
    """One caption for these posecodes, in a style drawn by ``rng``. All of them are mentioned."""
    order = list(codes)
    rng.shuffle(order)
    order.sort(key=lambda c: POSECODES[c].group != "posture")  # what the body stands on comes first, as people say it
    pieces = _join_sides(order, rng)
    style = rng.random()
    if style < 0.28:
        text = _sentences(pieces, rng)
    elif style < 0.42:
        text = _with_list(pieces, rng)
    elif style < 0.62:
        text = _commands(pieces, rng)
    elif style < 0.84:
        text = _doing(pieces, rng)
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


@dataclass(frozen=True)
class _Piece:
    """One statement in words: "the <subject> is <predicate>", an imperative, and what a person is doing."""

    subject: str
    predicate: str
    command: str
    doing: str
    plural: bool


_LIMB: Final = re.compile(r"\b(the |your )?left ((?:upper |outer |inner )?(\w+))")
_PLURALS: Final = {"foot": "feet", "calf": "calves", "upper body": "upper body"}


def _of_both(text: str, limb: str) -> str:
    """A statement of the left side as one of both: "the left hand on the left hip" -> "both hands on the hips"."""

    def many(m: re.Match[str]) -> str:
        noun = _PLURALS.get(m[2], m[2] + ("" if m[2].endswith("s") else "s"))
        return f"both {noun}" if m[2] == limb else f"{m[1] or ''}{noun}"

    return _LIMB.sub(many, text)


def _join_sides(codes: Sequence[str], rng: random.Random) -> list[_Piece]:
    """Codes -> pieces; the same statement of both sides becomes one about both."""
    left = list(codes)
    pieces: list[_Piece] = []
    while left:
        name = left.pop(0)
        twin = mirror_code(name)
        if twin != name and twin in left and name.startswith(("left_", "right_")):
            left.remove(twin)
            name = name if name.startswith("left_") else twin
            if "right" not in name:
                pieces.append(_piece(name, rng, both=True))
                continue
            pieces.append(_piece(name, rng, both=False))
            name = mirror_code(name)
        pieces.append(_piece(name, rng, both=False))
    return pieces


def _piece(name: str, rng: random.Random, *, both: bool) -> _Piece:
    subject = POSECODES[name].subject
    said = phrasings(name)
    predicate = rng.choice(said.predicates)
    command = rng.choice(said.commands) if said.commands else ""
    doing = rng.choice(said.doing) if said.doing else ""
    if not both:
        return _Piece(subject, predicate, command, doing, subject.endswith("s"))
    limb = subject.removeprefix("left ")
    many = _PLURALS.get(limb, limb + "s")
    return _Piece(
        rng.choice((f"both {many}", many)), _of_both(predicate, limb), _of_both(command, limb),
        _of_both(doing, limb), plural=True,
    )  # fmt: skip


def _owned(text: str, owner: str, rng: random.Random) -> str:
    """Now and then "the left arm" is his, hers or yours."""
    return re.sub(r"\bthe (left|right)\b", rf"{owner} \1", text) if rng.random() < 0.5 else text


def _sentences(pieces: Sequence[_Piece], rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    of = _POSSESSIVE.get(who, rng.choice(["their", "the"]))
    is_ = "are" if who == "they" else "is"
    parts: list[str] = []
    for p in pieces:
        if p.subject == "person" or (p.doing and rng.random() < 0.3):
            said = p.predicate if p.subject == "person" and (not p.doing or rng.random() < 0.5) else p.doing
            parts.append(_owned(f"{who} {is_} {said}" if not parts else said, of, rng))
        else:
            article = "" if p.subject.startswith("both") else f"{of if rng.random() < 0.6 else 'the'} "
            parts.append(f"{article}{p.subject} {'are' if p.plural else 'is'} {p.predicate}")
    if rng.random() < 0.5:
        return ". ".join(p[:1].upper() + p[1:] for p in parts) + "."
    return _chain(parts, rng) + "."


def _with_list(pieces: Sequence[_Piece], rng: random.Random) -> str:
    who = rng.choice(PEOPLE)
    posture = [p.predicate for p in pieces if p.subject == "person"]
    rest = [p for p in pieces if p.subject != "person"]
    opening = who + (" " + " and ".join(posture) if posture else "")
    if not rest:
        return opening
    of = _POSSESSIVE.get(who, "the") if rng.random() < 0.5 else ""
    parts = [f"{'' if p.subject.startswith('both') or not of else of + ' '}{p.subject} {p.predicate}" for p in rest]
    return f"{opening} with {_chain(parts, rng)}"


def _doing(pieces: Sequence[_Piece], rng: random.Random) -> str:
    """ "a woman standing, raising her left arm"; what has no such form is said with "with"."""
    who = rng.choice((*PEOPLE, "", "", "", ""))
    of = _POSSESSIVE.get(who, rng.choice(("the", "their")))
    is_ = {"she": "is ", "he": "is ", "they": "are "}.get(who, rng.choice(("", "is ")) if who else "")
    parts: list[str] = []
    for p in pieces:
        if p.doing:
            parts.append(_owned(p.doing, of, rng))
        elif p.subject == "person":
            parts.append(p.predicate)
        else:
            parts.append(f"with {'' if p.subject.startswith('both') else of + ' '}{p.subject} {p.predicate}")
    return f"{who} {is_}{_chain(parts, rng)}".strip()


def _commands(pieces: Sequence[_Piece], rng: random.Random) -> str:
    parts: list[str] = []
    for p in pieces:
        plain = (
            p.predicate if p.subject == "person" else f"{rng.choice(['keep', 'hold'])} the {p.subject} {p.predicate}"
        )
        parts.append((p.command or plain).replace("the both", "both"))
    owner = rng.choice(("the", "your", "your", "her", "his"))
    return _chain([_owned(p, owner, rng) for p in parts], rng)


def _keyword(piece: _Piece, rng: random.Random) -> str:
    if piece.subject == "person":
        return piece.predicate
    return piece.doing if piece.doing and rng.random() < 0.3 else f"{piece.subject} {piece.predicate}"


def _chain(parts: Sequence[str], rng: random.Random) -> str:
    if len(parts) == 1:
        return parts[0]
    glue = rng.choice([", ", ", ", "; ", " and "])
    return glue.join(parts[:-1]) + rng.choice([" and ", ", and ", ", "]) + parts[-1]
