"""Edits a pose by words: "raise the left arm higher", "other leg", "now sit down", "mirror it", "undo".

A change is relative (from what is measured now) or absolute (what ``parse`` reads); only the joints it is about may
move. Knows no model; words it cannot read come back in ``Edited.rest``. Task: PoseFix (Delmas et al., ICCV 2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from torch import Tensor

from .. import rotations as rot
from ..pose import mirrored_matrot
from ..skeleton import BODY_JOINTS, INDEX
from . import starts
from .chains import ARM, BALANCE, HEAD, LEG, SPINE, joints_of, limb
from .measure import measure
from .parse import normal, parse
from .refine import choose_body, refine
from .vocabulary import POSTURES, QUANTITIES, SIDES, Constraint, Request, mirror_words

Kind = Literal["change", "posture", "mirror", "swap", "copy", "turn", "undo", "nothing"]


@dataclass(frozen=True)
class Edited:
    """``matrot`` (22, 3, 3). ``kind``: what sort of change it was; ``nothing`` when no word was understood and the
    pose is as it was. ``touched``: joints that were allowed to change. ``statements``: what was asked, in words or
    notation; ``request``: the same, read; ``unmet``: of these, what could not be done. ``rest``: words not
    understood."""

    matrot: Tensor
    kind: Kind
    touched: frozenset[str] = field(default_factory=frozenset[str])
    statements: tuple[str, ...] = ()
    request: Request = field(default_factory=Request)
    unmet: tuple[str, ...] = ()
    rest: str = ""


# -- relative changes --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Step:
    """``quantity`` (``{s}`` = side) goes by ``amount``; ``limit`` is as far as it can go."""

    quantity: str
    amount: float
    limit: float


def _s(quantity: str, amount: float, limit: float) -> _Step:
    return _Step(quantity, amount, limit)


_L: Final = r"(?:(left|right|both) )?"
_UPWARD: Final = r"(?:raise|lift|bring up|move up|put up|higher)"
_DOWNWARD: Final = r"(?:lower|drop|bring down|move down|put down)"
_MOVE: Final = r"(?:move|bring|push|pull|swing|stretch|reach|extend|put|shift|take)"
_RULES: Final[tuple[tuple[str, tuple[_Step, ...]], ...]] = (
    # arms and hands
    (rf"{_UPWARD} {_L}(?:upper )?arms?|{_L}arms? (?:raise |up )?(?:up|higher)", (_s("{s}_arm.up", -32, 4),)),
    (rf"{_DOWNWARD} {_L}(?:upper )?arms?|{_L}arms? (?:lower|down)", (_s("{s}_arm.up", 32, 172),)),
    (rf"{_UPWARD} {_L}elbows?|{_L}elbows? (?:up|higher)", (_s("{s}_upper_arm.up", -28, 8),)),
    (rf"{_DOWNWARD} {_L}elbows?|{_L}elbows? (?:lower|down)", (_s("{s}_upper_arm.up", 28, 170),)),
    (rf"{_UPWARD} {_L}hands?|{_L}hands? (?:up|higher)", (_s("{s}_hand.above_shoulder", 0.20, 0.62),)),
    (rf"{_DOWNWARD} {_L}hands?|{_L}hands? (?:lower|down)", (_s("{s}_hand.above_shoulder", -0.20, -0.62),)),
    (rf"{_MOVE} {_L}arms? (?:more |further |farther )?(?:forward|in front)|{_L}arms? (?:more |further "
     rf"|farther )forward",
     (_s("{s}_arm.forward", -30, 5),)),
    (rf"{_MOVE} {_L}arms? (?:more |further |farther )?(?:back|backward|behind)|{_L}arms? (?:more |further "
     rf"|farther )back",
     (_s("{s}_arm.forward", 25, 150),)),
    (rf"(?:{_MOVE}|spread|open) {_L}arms? (?:more |further |farther )?(?:out|outward|apart|wider|out to side|away)"
     rf"|spread arms|{_L}arms? wider",
     (_s("{s}_arm.out", -28, 5),)),
    (rf"{_MOVE} {_L}arms? (?:more |further )?(?:in|inward|closer|across|closer to body)", (_s("{s}_arm.out",
     25, 150),)),
    (rf"{_MOVE} {_L}hands? (?:more |further |farther )?forward", (_s("{s}_hand:{s}_shoulder.forward", 0.16, 0.5),)),
    (rf"{_MOVE} {_L}hands? (?:more |further |farther )?(?:back|backward)",
     (_s("{s}_hand:{s}_shoulder.forward", -0.16, -0.4),)),
    (rf"{_MOVE} {_L}hands? (?:more |further )?(?:out|outward|away|apart|further apart)|hands (?:further|wider) apart",
     (_s("{s}_hand:{s}_shoulder.side", 0.16, 0.5),)),
    (rf"{_MOVE} {_L}hands? (?:more )?(?:in|inward|together|closer|closer together)", (_s("{s}_hand:{s}_shoulder.side",
     -0.14, -0.4),)),
    # bends
    (rf"(?:un ?bend|straighten|extend|stretch) (?:out )?{_L}(?:arms?|elbows?)|{_L}(?:arms?|elbows?) straighter",
     (_s("{s}_elbow", 35, 176),)),
    (rf"(?:bend|bent|flex|curl) {_L}(?:arms?|elbows?)|{_L}(?:arms?|elbows?) (?:more )?bent", (_s("{s}_elbow",
     -32, 40),)),
    (rf"(?:un ?bend|straighten|extend|stretch) (?:out )?{_L}(?:legs?|knees?)|{_L}(?:legs?|knees?) straighter",
     (_s("{s}_knee", 35, 177),)),
    (rf"(?:bend|bent|flex) {_L}(?:legs?|knees?)|{_L}(?:legs?|knees?) (?:more )?bent", (_s("{s}_knee", -32, 35),)),
    # legs
    (rf"{_UPWARD} {_L}(?:legs?|knees?|thighs?)|{_L}(?:legs?|knees?) (?:up|higher)", (_s("{s}_thigh.up", -28, 45),)),
    (rf"{_DOWNWARD} {_L}(?:legs?|knees?|thighs?)|{_L}(?:legs?|knees?) (?:lower|down)", (_s("{s}_thigh.up", 28, 177),)),
    (rf"{_UPWARD} {_L}(?:foot|feet)|{_L}foot (?:up|higher)", (_s("{s}_foot@ground", 0.15, 0.9),)),
    (rf"{_MOVE} {_L}legs? (?:more |further |farther )?(?:forward|in front)", (_s("{s}_leg.forward", -26, 10),)),
    (rf"{_MOVE} {_L}legs? (?:more |further |farther )?(?:back|backward)", (_s("{s}_leg.forward", 20, 120),)),
    (rf"{_MOVE} {_L}legs? (?:more |further |farther )?(?:out|outward|out to side|away)", (_s("{s}_leg.out", -22, 25),)),
    (r"(?:spread|open|widen) (?:legs|feet|stance)|(?:legs|feet) (?:further|farther|wider|more) ?(?:apart)?|wider stance"
     r"|(?:move|put|bring) (?:feet|legs) (?:further |farther |wider |more )?apart",
     (_s("left_foot:right_foot.distance", 0.22, 1.1),)),
    (r"(?:close|narrow) (?:legs|feet|stance)|(?:bring|move|put) (?:legs|feet) (?:closer )?(?:together|closer)"
     r"|(?:legs|feet) closer(?: together)?|narrower stance", (_s("left_foot:right_foot.distance", -0.2, 0.12),)),
    (r"(?:squat|crouch|go|sink|get) (?:down )?(?:lower|deeper|down more)|bend knees more", (_s("pelvis.height",
     -0.14, 0.3), _s("left_knee", -35, 35), _s("right_knee", -35, 35))),
    (r"(?:stand|get|rise) (?:up )?(?:taller|higher|straighter)", (_s("pelvis.height", 0.12, 0.93), _s("left_knee",
     35, 178), _s("right_knee", 35, 178))),
    # head
    (r"(?:turn|rotate|twist|move) (?:head|face) (?:more |further )?(?:to )?left|(?:look|head|face) (?:more "
     r"|further )?(?:to )?left",
     (_s("head.yaw", 26, 75),)),
    (r"(?:turn|rotate|twist|move) (?:head|face) (?:more |further )?(?:to )?right|(?:look|head|face) (?:more "
     r"|further )?(?:to )?right",
     (_s("head.yaw", -26, -75),)),
    (r"tilt(?:ed)? head (?:more |further )?(?:to )?left|head tilted (?:more )?(?:to )?left", (_s("head.roll",
     16, 40),)),
    (r"tilt(?:ed)? head (?:more |further )?(?:to )?right|head tilted (?:more )?(?:to )?right", (_s("head.roll",
     -16, -40),)),
    (r"(?:raise|lift) (?:head|chin|face)|(?:look|head|chin) (?:more |further )?(?:up|higher)"
     r"|tilt(?:ed)? head (?:more |further )?(?:back|up)",
     (_s("head.pitch", 22, 55),)),
    (r"(?:lower|drop|bow) (?:head|chin|face)|(?:look|head|chin) (?:more |further )?(?:down|lower)"
     r"|tilt(?:ed)? head (?:more |further )?(?:down|forward)",
     (_s("head.pitch", -22, -60),)),
    # trunk
    (r"(?:lean|leaning|bend|bent|tilt|tip)(?: upper body| body| trunk| over| down)? (?:more |further "
     r"|farther )?(?:forward|over|down)|upper body (?:more |further )?forward",
     (_s("trunk.pitch", 18, 110),)),
    (r"(?:lean|leaning|bend|tilt|tip)(?: upper body| body| trunk)? (?:more |further )?(?:back|backward)",
     (_s("trunk.pitch", -16, -50),)),
    (r"(?:lean|leaning|bend|tilt|tip)(?: upper body| body| trunk)? (?:more |further )?(?:to )?left", (_s("trunk.lean",
     14, 50),)),
    (r"(?:lean|leaning|bend|tilt|tip)(?: upper body| body| trunk)? (?:more |further )?(?:to )?right",
     (_s("trunk.lean", -14, -50),)),
    (r"(?:twist|turn|rotate)(?: upper body| shoulders| chest| trunk)? (?:more |further )?(?:to )?left",
     (_s("trunk.twist", 22, 55),)),
    (r"(?:twist|turn|rotate)(?: upper body| shoulders| chest| trunk)? (?:more |further )?(?:to )?right",
     (_s("trunk.twist", -22, -55),)),
    (r"arch(?: back)?", (_s("spine.bend", -18, -45),)),
    (r"(?:round|curl|hunch)(?: back| spine| over)?", (_s("spine.bend", 20, 60),)),
    (r"(?:shrug|raise) (?:(left|right|both) )?shoulders?", (_s("{s}_shoulder.raise", 0.035, 0.09),)),
    (r"(?:drop|lower|relax) (?:(left|right|both) )?shoulders?", (_s("{s}_shoulder.raise", -0.03, -0.04),)),
    (r"step forward left(?: foot| leg)?|(?:step|move|put) left foot (?:more |further )?forward", (_s("feet.stride",
     0.25, 0.8),)),
    (r"step forward right(?: foot| leg)?|(?:step|move|put) right foot (?:more |further )?forward", (_s("feet.stride",
     -0.25, -0.8),)),
)  # fmt: skip
_COMPILED: Final = tuple((re.compile(rf"\b(?:{p})\b"), steps) for p, steps in _RULES)
_COMPARATIVE: Final = re.compile(
    r"\b(?:more|higher|lower|further|farther|less|wider|closer|straighter|deeper|taller|slightly|bit|little|lot"
    r"|much|again"
    r"|by|degrees?|even|narrower|tiny|touch)\b"
)
_SMALL: Final = re.compile(r"\b(?:slightly|a bit|a little|a touch|a tad|somewhat|just a|a tiny)\b")
_LARGE: Final = re.compile(r"\b(?:a lot|much|far|way|greatly|considerably|significantly)\b")
_UTMOST: Final = re.compile(r"as \w+ as possible|all the way|completely|fully|to the maximum|\bmax\b|as far as")
_DEGREES: Final = re.compile(r"(\d{1,3}) ?(?:°|degrees?|deg)\b")
_LESS: Final = re.compile(r"\bless\b")
_UNDO: Final = re.compile(
    r"^(?:please )?(?:undo|revert|go back|take (?:that|it) back|never ?mind|cancel (?:that|it))\b"
)
_MIRROR: Final = re.compile(
    r"\b(?:mirror|flip|reverse)(?: (?:it|this|that|pose|left and right|sides|horizontally))?$|switch sides"
    r"|swap sides|swap left and right|other way (?:a)?round"
)
_SWAP: Final = re.compile(
    r"\b(?:switch|swap) (arms|legs|hands|feet)\b|^(?:no )?(?:now )?(?:with |use |on )?(?:the )?other (arm|leg|hand"
    r"|foot|knee)(?: instead| please| now)?$"
)
_COPY: Final = re.compile(
    r"\b(?:other|both) (arm|leg|hand|foot|knee)s?\b.*\b(?:too|as well|also|same)\b|\b(?:same"
    r"|also)\b.*\b(?:other) (arm|leg|hand|foot|knee)\b"
)
_TURN: Final = re.compile(
    r"^(?:turn|rotate|face|spin)(?: (?:body|whole body|around|whole pose|pose))? ?(?:to )?(left|right|around|back"
    r"|backward)?(?: by)?(?: \d+ ?(?:degrees?|°|deg))?$"
)
_WHOLE: Final = re.compile(r"\b(?:body|whole|around|entire|pose)\b")


def edit(text: str, history: Sequence[Tensor], said: Sequence[str] = ()) -> Edited:
    """Changes the last pose of ``history`` ((22, 3, 3) each, oldest first) as the words say.

    ``said``: the words that led to each pose of ``history``, "" where there were none; with them "again", "even
    higher", "a bit less" and "the other way" are about what was asked before, and "undo" takes back one turn more each
    time it is said.
    """
    now = history[-1][: len(BODY_JOINTS)]
    words = _too_much(text.lower().strip().rstrip(".!?"))
    if _FIRST.search(words):
        return Edited(history[0][: len(BODY_JOINTS)], "undo", frozenset(BODY_JOINTS))
    if _UNDO.search(words) or _REDO.search(words):
        return Edited(_taken_back(words, history, said), "undo", frozenset(BODY_JOINTS))
    turned_round = _OTHER_WAY.match(words) and len(history) > 1  # not back to the middle: from where it began
    done = _read(_in_full(words, said), history[-2][: len(BODY_JOINTS)] if turned_round else now)
    return done if done.kind != "nothing" else _read(words, now)


def _read(words: str, now: Tensor) -> Edited:
    """One change that needs nothing of what was said before."""
    if _MIRROR.search(words):
        return Edited(mirrored_matrot(now[None])[0], "mirror", frozenset(BODY_JOINTS))
    for kind, pattern, change in (("copy", _COPY, _copy), ("swap", _SWAP, _swap)):
        if m := pattern.search(words):
            part = next(g for g in m.groups() if g)
            joints = ARM if part.startswith(("arm", "hand")) else LEG
            touched = limb("left", joints) | limb("right", joints)
            return Edited(change(now, joints), "copy" if kind == "copy" else "swap", touched)
    turn = _TURN.match(re.sub(r"\b(?:the|your|his|her|their) ", "", words))
    if turn and (_WHOLE.search(words) or "face" in words):
        return _turned(now, words, turn[1] or "around")
    return _changed(words, now)


# -- what was said before ----------------------------------------------------------------------------------------------
_FIRST: Final = re.compile(
    r"\b(?:start over|(?:back|return|reset) to (?:the )?(?:first|start|beginning|original)|from scratch)\b"
)
_REDO: Final = re.compile(r"^(?:please )?(?:redo|undo (?:the|that|your|last) undo)\b")
_TIMES: Final = re.compile(r"\b(?:(twice|two|both)|(three|thrice)|(\d))\b")
_TOO: Final = re.compile(
    r"\b(?:is |are |'s )?(?:a bit |a little |much |way |far )?too (?:far )?"
    r"(high|low|wide|narrow|bent|straight|forward|back|left|right|deep|upright)\b"
)
_LESS_OF: Final = {
    "high": "lower", "low": "higher", "wide": "closer together", "narrow": "further apart", "bent": "straighter",
    "straight": "more bent", "forward": "more back", "back": "more forward", "left": "more to right",
    "right": "more to left", "deep": "higher", "upright": "more forward",
}  # fmt: skip
_AGAIN: Final = re.compile(
    r"^(?:and |now |please |yes,? |ok(?:ay)?,? )*(?:do (?:it|that) )?"
    r"(?:again|once more|one more time|(?:even |a bit |a little |a lot |much |still |some )?more|(?:even "
    r"|a bit )?further"
    r"|keep going|go on|more of that|the same again)(?: please)?$"
)
_NOT_SO: Final = re.compile(
    r"^(?:but |and |now |no,? |hm+,? )*(?:(?:a (?:bit|little|touch|lot) |slightly |much )?less|not (?:so|that"
    r"|quite so) (?:much|far)"
    r"|(?:that's |that is |it's )?too (?:much|far)|back (?:a bit|a little|off))(?: please)?$"
)
_SMALLER: Final = re.compile(r"\b(?:bit|little|touch|slightly|quite)\b")
_OTHER_WAY: Final = re.compile(
    r"^(?:no,? |now |and |in |to )*(?:the )?(?:other|opposite) (?:way|side|direction|one)(?: please| now| instead)?$"
)
_COMPARED: Final = re.compile(
    r"^(?:but |and |now |no,? |ok(?:ay)?,? )*(?:even |a bit |a little |a lot |much |slightly |still |way "
    r"|make (?:it|that) )*"
    r"((?:higher|lower|straighter|wider|closer|deeper|further|farther|more|less)\b.*)$"
)
_PART: Final = re.compile(
    r"\b(?:(?:left|right|both) )?(?:upper arm|forearm|arm|hand|elbow|knee|thigh|leg|foot|feet|shoulder|head|chin"
    r"|upper body"
    r"|torso|back|hips?)s?\b"
)


def _too_much(words: str) -> str:
    """ "the left arm is too high" -> "the left arm lower"."""
    return _TOO.sub(lambda m: _LESS_OF[m[1]], words) if not _NOT_SO.match(words) else words


def _in_full(words: str, said: Sequence[str]) -> str:
    """The words with what they leave out, which was said before: "even higher" -> "left arm even higher"."""
    before = ""
    for earlier in (*said, words):
        plain = earlier.lower().strip().rstrip(".!?")
        if not plain or _UNDO.search(plain) or _REDO.search(plain):
            full = ""
        elif not before or plain == before:
            full = plain
        elif _AGAIN.match(plain):
            full = f"{_bare(before)} {'a bit ' if _SMALLER.search(plain) else ''}more"
        elif _NOT_SO.match(plain):
            full = f"{_bare(before)} {'a bit ' if _SMALLER.search(plain) else ''}less"
        elif _OTHER_WAY.match(plain):
            full = mirror_words(before)
        elif (m := _COMPARED.match(plain)) and not _PART.search(plain):
            part = _PART.search(normal(before))
            full = f"{part[0] if part else _bare(before)} {plain[: m.start(1)].strip()} {m[1]}"
        else:
            full = plain
        if earlier is words:
            return full
        before = full or before
    return words


def _bare(words: str) -> str:
    """An instruction without its "more", "less" and "a bit", which the next turn says anew."""
    return re.sub(r" ?\b(?:a bit|a little|a lot|slightly|much|even|more|less|again|further)\b", "", words).strip()


def _taken_back(words: str, history: Sequence[Tensor], said: Sequence[str]) -> Tensor:
    """The pose before the last change that still stands; each "undo" among what was said took one back already."""
    stands: list[Tensor] = []
    undone: list[Tensor] = []
    for i, pose in enumerate(history):
        earlier = said[i].lower() if i < len(said) else ""
        if _UNDO.search(earlier) and len(stands) > 1:
            undone.append(stands.pop())
        elif _REDO.search(earlier) and undone:
            stands.append(undone.pop())
        else:
            stands.append(pose)
            undone = []
    if _REDO.search(words):
        return undone[-1] if undone else history[-1]
    m = _TIMES.search(words)
    steps = 1 if m is None else 2 if m[1] else 3 if m[2] else int(m[3])
    return stands[max(0, len(stands) - 1 - steps)]


def _changed(words: str, now: Tensor) -> Edited:
    asked, rest = Request(), []
    posture = False
    names: list[str] = []
    for clause in re.split(r"[.;,]|\band\b|\bthen\b|\bbut\b", words):
        if not clause.strip():
            continue
        relative = _relative(clause, now)
        parsed = parse(clause)
        absolute = parsed.request
        wants_more = _COMPARATIVE.search(clause) is not None
        already = not _unmet(now, absolute) if absolute.constraints else False
        if relative is not None and (wants_more or not absolute.constraints or already):
            asked += relative
            names += [c.source for c in relative.constraints]
        elif absolute.constraints or absolute.flags:
            asked += absolute
            names += list(parsed.statements)
            posture = posture or any(c in POSTURES for c in absolute.codes)
        else:
            rest.append(normal(clause))
    if not asked.constraints:
        return Edited(now, "nothing", rest="; ".join(r for r in rest if r))
    if posture:
        return _posture(now, asked, tuple(names), "; ".join(rest))
    touched = frozenset[str]().union(*(joints_of(c.quantity) for c in asked.constraints))
    whole = bool(touched & (BALANCE | SPINE))
    wanted = asked + _staying(now, asked) if whole else asked
    done = refine(now[None], wanted, nearness=0.6, free=touched, keep_ground=whole)
    return Edited(
        done.matrot[0], "change", touched, tuple(dict.fromkeys(names)), wanted, done.unmet[0], "; ".join(rest)
    )


_STAY: Final = ("trunk.pitch", "trunk.lean", "trunk.twist", "feet.width", "feet.stride", "left_foot.turnout",
                "right_foot.turnout", "gaze.up")  # fmt: skip


def _staying(now: Tensor, asked: Request) -> Request:
    """Wishes that the trunk and the feet stay where nothing is said of them: legs could else bend by leaning."""
    said = {c.quantity for c in asked.constraints}
    moving = any("leg" in q or "foot" in q or "thigh" in q or q.startswith("feet") or "@ground" in q for q in said)
    names = [n for n in _STAY if n not in said and not (moving and n.startswith(("feet", "left_", "right_")))]
    if said & {"trunk.pitch", "spine.bend"} or "trunk.up" in said:
        names = [n for n in names if n not in ("trunk.pitch", "gaze.up")]
    if "pelvis.height" in said:
        names = [n for n in names if n != "trunk.pitch"]  # who squats leans forward to keep the balance
    values = measure(now[None], names)[0].tolist() if names else []
    made: list[Constraint] = []
    for n, v in zip(names, values, strict=True):
        half = 4.0 if QUANTITIES[n].unit == "deg" else 0.03
        made.append(Constraint(n, v - half, v + half, 0.7, "", False))
    return Request(tuple(made))


def _relative(clause: str, now: Tensor) -> Request | None:
    """The constraints of a comparative clause, from what is measured now."""
    plain = normal(
        re.sub(r"\b(?:a bit|a little|a lot|slightly|somewhat|even|again|by \d+ ?(?:degrees?|°|deg))\b", "", clause)
    )
    plain = re.sub(r"\b(?:much|bit|little|lot|further more|way)\b ?", "", plain).strip()
    for pattern, steps in _COMPILED:
        m = pattern.search(plain)
        if m is None:
            continue
        side = next((g for g in m.groups() if g), "both")
        sides = SIDES if side == "both" else (side,)
        made: list[Constraint] = []
        for step in steps:
            for s in sides if "{s}" in step.quantity else ("",):
                made.append(_stepped(step, s, clause, now))
        return Request(tuple(made))
    return None


def _stepped(step: _Step, side: str, clause: str, now: Tensor) -> Constraint:
    quantity = step.quantity.format(s=side)
    amount, limit = step.amount, step.limit
    if side == "right" and quantity.endswith(".side"):
        amount, limit = -amount, -limit
    value = float(measure(now[None], [quantity])[0, 0])
    if _LESS.search(clause):
        amount, limit = -amount * 0.8, value - 4 * amount
    degrees = _DEGREES.search(clause)
    if _UTMOST.search(clause):
        goal = limit
    elif degrees and QUANTITIES[quantity].unit == "deg":
        goal = value + (float(degrees[1]) if amount > 0 else -float(degrees[1]))
    else:
        goal = value + amount * (0.5 if _SMALL.search(clause) else 1.9 if _LARGE.search(clause) else 1.0)
    goal = min(goal, max(limit, value)) if amount > 0 else max(goal, min(limit, value))
    half = 3.0 if QUANTITIES[quantity].unit == "deg" else 0.02
    return Constraint(quantity, goal - half, goal + half, 1.5, f"{quantity} {'+' if amount > 0 else '-'}")


def _unmet(now: Tensor, request: Request) -> bool:
    names = [c.quantity for c in request.constraints]
    values = measure(now[None], names)[0].tolist()
    return any(not c.lo - 1e-3 <= v <= c.hi + 1e-3 for c, v in zip(request.constraints, values, strict=True))


def _posture(now: Tensor, asked: Request, names: tuple[str, ...], rest: str) -> Edited:
    """Another posture: legs, pelvis and spine begin anew from the starting pose that fits; arms and head stay."""
    body = choose_body(asked)
    quat = rot.matrot_to_quat(now)
    keep = [i for i, n in enumerate(BODY_JOINTS) if n in HEAD or n.split("_")[-1] in ARM]
    body[keep] = quat[keep]
    heading = measure(now[None], ["body.heading"])[0, 0] * (torch.pi / 180)
    turn = rot.rotvec_to_quat(torch.stack([torch.zeros(()), heading, torch.zeros(())]))
    body[0] = rot.quat_multiply(turn, body[0])
    said = frozenset[str]().union(*(joints_of(c.quantity) for c in asked.constraints if c.source not in POSTURES))
    free = BALANCE | SPINE | said
    done = refine(rot.quat_to_matrot(body)[None], asked, free=free)
    return Edited(done.matrot[0], "posture", free, names, asked, done.unmet[0], rest)


def _turned(now: Tensor, words: str, way: str) -> Edited:
    degrees = _DEGREES.search(words)
    angle = float(degrees[1]) if degrees else (180.0 if way in ("around", "back", "backward") else 90.0)
    if _SMALL.search(words):
        angle = 20.0
    angle *= -1.0 if way == "right" else 1.0
    turn = rot.rotvec_to_matrot(torch.tensor([0.0, angle * torch.pi / 180, 0.0]))
    out = now.clone()
    out[0] = turn @ out[0]
    return Edited(out, "turn", frozenset({"pelvis"}), (f"body.heading {angle:+.0f}",))


def _swap(now: Tensor, joints: Iterable[str]) -> Tensor:
    """Left and right exchanged for one pair of limbs."""
    other = mirrored_matrot(now[None])[0]
    at = [INDEX[f"{s}_{j}"] for s in SIDES for j in joints]
    out = now.clone()
    out[at] = other[at]
    return out


def _copy(now: Tensor, joints: Iterable[str]) -> Tensor:
    """The limb that is further from hanging straight is done on the other side as well."""
    joints = tuple(joints)
    rest = rot.quat_to_matrot(starts.body_quats()[0])
    odd = {s: rot.geodesic_angle(now[(at := [INDEX[f"{s}_{j}"] for j in joints])], rest[at]).sum() for s in SIDES}
    to = "right" if odd["left"] >= odd["right"] else "left"
    at = [INDEX[f"{to}_{j}"] for j in joints]
    out = now.clone()
    out[at] = mirrored_matrot(now[None])[0][at]
    return out
