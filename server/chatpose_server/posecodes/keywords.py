"""Second reader for clauses that the phrase table does not know: which part of the body, and what is done with it.

Order and filler words do not matter ("his right arm, it reaches straight out behind him"). Less sure than ``parse``,
surer than a model's guess. Knows words and statement names only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .vocabulary import PosecodeError, expand, read

_W: Final = r"\b(?:{})\b"


def _any(words: str) -> re.Pattern[str]:
    return re.compile(_W.format(words))


_LOOK: Final = _any(r"look\w*|glanc\w*|peek\w*|peer\w*|gaz\w*|star(?:e|es|ing)|watch\w*|faces|facing|eyes?|gaze|view")
_HEAD: Final = _any(r"head|face|chin|nose")
_TRUNK: Final = _any(r"torso|trunk|upper body|chest|shoulders|body|back|spine|waist")
_LEAN: Final = _any(r"lean\w*|inclin\w*|bow\w*|slant\w*")
_TWIST: Final = _any(r"twist\w*|rotat\w*|turn\w*|swivel\w*|pivot\w*")
_TILT: Final = _any(r"tilt\w*|tip\w*|cock\w*|slop\w*|incline\w*")
_SIDE: Final = _any(r"left|right")
_UP: Final = _any(r"up|upward|rais\w*|lift\w*|high|higher|ceiling|sky|heaven|air|aloft|overhead|above (?:h\w+ )?head")
_DOWN: Final = _any(r"down|downward|lower\w*|hang\w*|dangl\w*|drop\w*|floor|ground|low|limp|relaxed|bowed")
_FORWARD: Final = _any(r"forward|front|ahead|before")
_BACK: Final = _any(r"behind|back|backward|rear|rearward")
_OUT: Final = _any(r"out to side|sideways?|side|sides|outward|outwards|out|laterally|lateral|spread\w*|wide")
_ACROSS: Final = _any(r"across|crosses|crossing")
_STRAIGHT: Final = _any(r"straight\w*|extend\w*|lock\w*|stretch\w*|unbent|stiff|rigid")
_BENT: Final = _any(r"bend\w*|bent|flex\w*|fold\w*|crook\w*|curl\w*")
_TIGHT: Final = _any(r"tight\w*|full\w*|complete\w*|sharp\w*|deep\w*|all way|right back|double\w*|strong\w*|far|hard")
_SLIGHT: Final = _any(r"slight\w*|bit|little|gentl\w*|soft\w*|barely|loosely|somewhat|touch")
_SQUARE: Final = _any(r"right angle|90|ninety|l shape|l|square|perpendicular")
_LINES: Final = "head|eye|shoulder|chest|breast|waist|belly|hip|knee"
_LEVEL: Final = re.compile(
    rf"\b({_LINES})s?(?: |-)?(?:height|level)\b"
    rf"|\b(?:level with|height of|as high as|level of|by|near|beside|next to|close to) (?:\w+ )?({_LINES})s?\b"
)
_BEHIND: Final = re.compile(r"\bbehind (head|neck|back)\b")
GRADED: Final = re.compile(f"{_SLIGHT.pattern}|{_TIGHT.pattern}|{_SQUARE.pattern}")  # words that say how much
_BANDS: Final = {
    "head": "head_height", "eye": "head_height", "shoulder": "shoulder_height", "chest": "chest_height",
    "breast": "chest_height", "waist": "waist_height", "belly": "waist_height", "hip": "hip_height",
    "knee": "knee_height",
}  # fmt: skip
_TOUCH: Final = _any(
    r"on|onto|at|to|against|touch\w*|hold\w*|grip\w*|grab\w*|rub\w*|scratch\w*|cover\w*|press\w*|rest\w*|lay\w*"
    r"|plac\w*|put\w*|reach\w*|clutch\w*|cup\w*|pat\w*|tap\w*|under|over|beneath"
)
_TARGETS: Final = (  # longest first
    ("top of head", "top_of_head"), ("crown", "top_of_head"), ("back of head", "back_of_head"),
    ("lower back", "lower_back"),
    ("upper back", "upper_back"), ("small of back", "lower_back"), ("forehead", "forehead"), ("heart", "chest"),
    ("chest", "chest"), ("breast", "chest"), ("belly", "belly"), ("chin", "chin"), ("mouth", "mouth"), ("nose", "nose"),
    ("neck", "neck"), ("nape", "neck"), ("throat", "throat"), ("groin", "groin"), ("head", "top_of_head"),
)  # fmt: skip
_SIDED: Final = (
    ("upper arm", "upper_arm"), ("forearm", "forearm"), ("biceps", "upper_arm"), ("shoulder", "shoulder"),
    ("elbow", "elbow"),
    ("wrist", "wrist"), ("hip", "hip"), ("waist", "waist"), ("thigh", "thigh"), ("lap", "thigh"), ("knee", "knee"),
    ("shin", "shin"), ("calf", "calf"), ("ankle", "ankle"), ("heel", "heel"), ("foot", "foot"), ("toes", "foot"),
    ("cheek", "cheek"), ("ear", "ear"), ("eye", "eye"), ("temple", "temple"), ("buttock", "buttock"),
    ("armpit", "armpit"),
)  # fmt: skip
_PARTS: Final = re.compile(
    r"\b(?:(left|right|both|two|either) )?(?:outer |inner )?"
    r"(upper arm|forearm|arm|hand|palm|fist|finger|elbow|knee|thigh|leg|shin|foot|feet|toe)(s?)\b"
)
_NUMBER_DEG: Final = re.compile(r"\b(\d{1,3}) ?(?:degrees?|deg|°)")


def read_clause(clause: str) -> tuple[str, ...]:
    """Statements for one clause in ``parse``'s normal form, or none. All of them are in the vocabulary."""
    found: list[str] = []
    for statement in _statements(clause):
        try:
            read(statement)
        except PosecodeError:
            continue
        found.append(statement)
    return tuple(dict.fromkeys(found))


def _statements(text: str) -> Iterator[str]:
    part = _PARTS.search(text)
    side = _SIDE.search(text)
    if "weight" in text.split():
        if side:
            yield f"weight={side[0]}"
        return
    if _LOOK.search(text) and not (part and part.start() < (_LOOK.search(text) or part).start()):
        yield from _gaze(text)
        return
    if part:
        yield from _limb(text, part)
        return
    if _HEAD.search(text):
        yield from _head(text)
        return
    if _TRUNK.search(text) or _LEAN.search(text) or _TWIST.search(text) or _TILT.search(text):
        yield from _trunk(text)


def _gaze(text: str) -> Iterator[str]:
    side = _SIDE.search(text)
    if side and re.search(r"\b(?:over|behind|past)\b.*\bshoulder|shoulder\b.*\b(?:over|back)", text):
        yield f"looking_over_{side[0]}_shoulder"
    elif side:
        yield f"head={side[0]}"
    if _UP.search(text):
        yield "looking_up"
    elif _DOWN.search(text):
        yield "looking_down"
    elif not side and _FORWARD.search(text):
        yield "looking_ahead"


def _head(text: str) -> Iterator[str]:
    side = _SIDE.search(text)
    if side and _TILT.search(text):
        yield f"head=tilted_{side[0]}"
    elif side:
        yield f"head={side[0]}"
    elif _UP.search(text) or (_BACK.search(text) and not _FORWARD.search(text)):
        yield "head=up"
    elif _DOWN.search(text) or _FORWARD.search(text):
        yield "head=down"


def _trunk(text: str) -> Iterator[str]:
    side = _SIDE.search(text)
    if side and _TWIST.search(text):
        yield f"trunk=twisted_{side[0]}"
    elif side:
        yield f"trunk={side[0]}"
    elif _FORWARD.search(text) or (_LEAN.search(text) and _DOWN.search(text)):
        yield "trunk=slightly_forward" if _SLIGHT.search(text) else "trunk=forward"
    elif re.search(r"\b(?:backward|back)\b", text) and (_LEAN.search(text) or _TILT.search(text)):
        yield "trunk=back"
    elif re.search(r"\b(?:hunch\w*|round\w*|slouch\w*|curl\w*|slump\w*)\b", text):
        yield "spine=curled"
    elif re.search(r"\barch(?:e[ds]|ing)?\b", text):
        yield "spine=arched"


def _limb(text: str, part: re.Match[str]) -> Iterator[str]:
    word = {"fist": "hand", "finger": "hand", "feet": "foot", "toe": "foot"}.get(part[2], part[2]).replace(" ", "_")
    many = part[3] == "s" or part[2] == "feet" or part[1] in ("both", "two", "either")
    if part[1] in ("left", "right"):
        sides: tuple[str, ...] = (part[1],)
    elif many:
        sides = ("left", "right")
    else:
        return  # "an arm": which one is anybody's choice, so the model's
    rest = text[: part.start()] + " " + text[part.end() :]
    touched = _touched(text[part.end() :])
    behind = _BEHIND.search(rest)
    if word in ("hand", "palm") and behind:
        for s in sides:
            yield f"{s}_hand@{'lower_back' if behind[1] == 'back' else 'back_of_head'}"
        return
    if word in ("hand", "palm") and touched and _TOUCH.search(rest):
        for s in sides:
            yield f"{s}_hand@{touched}"
        return
    if word in ("elbow", "knee", "foot") and touched and _TOUCH.search(rest) and _valid(f"{sides[0]}_{word}@{touched}"):
        for s in sides:
            yield f"{s}_{word}@{touched}"
        return
    if many and word in ("leg", "foot", "hand", "knee", "elbow"):
        plural = {"leg": "feet", "foot": "feet"}.get(word, word + "s")
        if re.search(r"\b(?:apart|wide|spread|astride|open)\b", rest):
            yield f"{plural}=spread" if word != "hand" else "hands=apart"
            return
        if re.search(r"\b(?:together|close|closed|joined)\b", rest):
            yield f"{plural}=close"
            return
    for s in sides:
        yield from _one_limb(rest, s, word)


def _one_limb(rest: str, s: str, word: str) -> Iterator[str]:
    level = _LEVEL.search(rest)
    joint = {"arm": "elbow", "elbow": "elbow", "forearm": "elbow", "leg": "knee", "knee": "knee"}.get(word, "")
    if level and word in ("hand", "elbow", "knee", "foot", "arm", "leg"):
        high = {"arm": "hand", "leg": "foot"}.get(word, word)
        yield f"{s}_{high}={_BANDS[level[1] or level[2]]}"
    elif joint and (_BENT.search(rest) or _SQUARE.search(rest)):
        degrees = _NUMBER_DEG.search(rest)
        if degrees:
            yield f"{s}_{joint}=~{min(180, int(degrees[1]))}"
        elif _SQUARE.search(rest):
            yield f"{s}_{joint}=right_angle"
        elif _TIGHT.search(rest):
            yield f"{s}_{joint}=0..60"
        else:
            yield f"{s}_{joint}=slightly_bent" if _SLIGHT.search(rest) else f"{s}_{joint}=bent"
    if word == "knee" and _UP.search(rest) and not level:
        yield f"{s}_thigh=forward"
        yield f"{s}_foot=raised"
    if word == "elbow" and not level:
        for pattern, band in ((_UP, "shoulder_height"), (_DOWN, "below_shoulder")):
            if pattern.search(rest):
                yield f"{s}_elbow={band}"
                break
    if word == "foot":
        if re.search(r"\b(?:forward|front|ahead|step\w*)\b", rest):
            yield f"{s}_foot=ahead"
        elif re.search(r"\b(?:back|behind)\b", rest):
            yield f"{'right' if s == 'left' else 'left'}_foot=ahead"
        elif _UP.search(rest) or re.search(r"\boff\b", rest):
            yield f"{s}_foot=raised"
    if word in ("arm", "upper_arm", "forearm", "leg", "thigh", "hand") and not level:
        yield from _direction(rest, s, word)
    if joint and _STRAIGHT.search(rest) and not _BENT.search(rest) and word in ("arm", "leg", "elbow", "knee"):
        yield f"{s}_{joint}=straight"


def _direction(rest: str, s: str, word: str) -> Iterator[str]:
    segment = "arm" if word == "hand" else word
    if word == "hand" and re.search(r"\b(?:overhead|above head|over head|air|high)\b", rest):
        yield f"{s}_hand=above_head"
    elif _ACROSS.search(rest):
        yield f"{s}_{segment}=across"
    elif _BACK.search(rest) and not re.search(r"\b(?:pull\w*|draw\w*) back\b", rest):
        yield f"{s}_{segment}=back"
    elif _FORWARD.search(rest):
        raised = _UP.search(rest) and "straight" not in rest
        yield f"{s}_{segment}={'forward_up' if raised else 'forward'}"
    elif _OUT.search(rest):
        if segment in ("leg", "thigh"):
            yield f"{s}_leg.out=20..65"
            yield f"{s}_foot=raised"
        else:
            yield f"{s}_{segment}=out"
    elif _UP.search(rest):
        if segment == "leg":
            yield f"{s}_foot=raised"
        yield f"{s}_{segment}={'forward' if segment in ('leg', 'thigh') else 'up'}"
    elif _DOWN.search(rest):
        yield f"{s}_{segment}=down"
    off_ground = re.search(r"\b(?:lift|rais|kick|swing)\w*", rest)
    if segment == "leg" and off_ground and (_FORWARD.search(rest) or _BACK.search(rest)):
        yield f"{s}_foot=raised"


def _touched(after: str) -> str:
    """The contact target named in the words after the part, in the vocabulary's name, or ""."""
    for words, name in _SIDED:
        m = re.search(rf"\b(?:(left|right|other) )?{words}s?\b(?! (?:height|level))", after)
        if m:
            return f"{m[1]}_{name}" if m[1] else name
    for words, name in _TARGETS:
        if re.search(rf"\b{words}\b(?! (?:height|level))", after) and not re.search(
            rf"\b(?:above|over) {words}\b", after
        ):
            return name
    return ""


def _valid(statement: str) -> bool:
    try:
        return bool(expand(statement))
    except PosecodeError:
        return False
