"""The table of measurable statements on a pose. Pure data: knows no tensors and no geometry (``measure`` does).

A *quantity* is a differentiable number per pose, computed from forward kinematics (degrees, metres or a ratio).
A *posecode* is a named statement: one or more quantities, each with an interval that must hold; it also carries the
English for it. A *constraint* is one quantity with an interval and a weight; posecodes and numbers both become
constraints. Idea and angle/distance thresholds: PoseScript (Delmas et al., ECCV 2022), widened.

Notation (``read``): statements separated by ``;``. Every one of these is a statement::

    left_knee=right_angle          a named value            knees=straight           both sides (plural = both)
    left_knee=80..100              numbers (deg, m)         trunk.pitch=20..         open end; ``~90`` is 90 +- 8
    left_upper_arm=forward         direction of a limb      left_hand=above_head     height of a hand
    left_hand@hip                  contact, own side        left_hand@right_knee, left_hand@other_knee
    left_hand:right_hand=above     relative position        hands=close              distance
    kneeling; on_back; airborne    postures and flags       left_foot@ground         on the ground
    ?left_hand@hip                 a wish: half weight, not counted as asked         !left_foot@ground  must not hold

Frames. ``up``/``down``: the world's vertical. ``forward``/``back``/``left``/``right``/``out``/``across``: the way the
body faces (chest for arms, pelvis for legs), as if it were stood upright; so for a body on its back, forward is toward
its feet. ``overhead``/``along_body``/``ahead``/``behind``: the chest's own axes, for bodies that lie or bend.
Signs: pitch + forward (trunk) or up (head); lean, twist, yaw, roll + to the body's left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Unit = Literal["deg", "m", "ratio"]
INF: Final = math.inf
SIDES: Final = ("left", "right")

_TOLERANCE: Final[Mapping[str, float]] = {"deg": 5.0, "m": 0.03, "ratio": 0.1}  # PoseScript's 5 degrees; half its 5 cm


class PosecodeError(ValueError):
    """A statement that is not in the vocabulary. The text names the statement and what would be right."""


@dataclass(frozen=True)
class Quantity:
    """One number per pose. ``family``: the routine in ``measure`` that computes it with its siblings in one go.

    ``mirror``: the quantity that has this one's value in the mirrored pose, times ``mirror_sign``.
    ``tolerance``: how far outside an interval still counts as inside.
    """

    name: str
    unit: Unit
    family: str
    text: str
    mirror: str
    mirror_sign: int = 1
    tolerance: float = 5.0


@dataclass(frozen=True)
class Term:
    """``lo <= quantity <= hi``; either end may be infinite."""

    quantity: str
    lo: float
    hi: float


@dataclass(frozen=True)
class Posecode:
    """A named statement. ``subject`` and ``predicates`` make English: "the {subject} is {predicate}", "{subject}
    {predicate}". ``commands``: whole imperatives. ``group``: statements of a group about a subject exclude each other.
    ``flag``: no terms; switches behaviour of the refiner (``airborne``).
    """

    name: str
    terms: tuple[Term, ...]
    subject: str
    predicates: tuple[str, ...]
    commands: tuple[str, ...] = ()
    group: str = ""
    flag: bool = False


@dataclass(frozen=True)
class Constraint:
    """What must be true: ``lo <= quantity <= hi``. ``source``: the statement it came from, for honest answers.

    ``asked``: False for wishes (naturalness, style), which may be given up silently.
    """

    quantity: str
    lo: float
    hi: float
    weight: float = 1.0
    source: str = ""
    asked: bool = True


@dataclass(frozen=True)
class Request:
    """What a line of statements asks for. ``flags``: airborne, symmetric... ``codes``: the names of its posecodes."""

    constraints: tuple[Constraint, ...] = ()
    flags: frozenset[str] = field(default_factory=frozenset[str])
    codes: tuple[str, ...] = ()

    def __add__(self, other: Request) -> Request:
        """Both; where both speak of the same quantity, ``other`` wins."""
        spoken = {c.quantity for c in other.constraints}
        kept = tuple(c for c in self.constraints if c.quantity not in spoken)
        codes = tuple(dict.fromkeys(self.codes + other.codes))
        return Request(kept + other.constraints, self.flags | other.flags, codes)

    def mirrored(self) -> Request:
        """The same request for the pose in the mirror."""
        return Request(
            tuple(mirror_constraint(c) for c in self.constraints),
            frozenset(mirror_words(f) for f in self.flags),
            tuple(mirror_code(c) for c in self.codes),
        )


def mirror_words(name: str) -> str:
    """Left and right swapped in an identifier."""
    return re.sub(r"(?<![a-z])(?:left|right(?!_angle))(?![a-z])", lambda m: "right" if m[0] == "left" else "left", name)


# -- quantities --------------------------------------------------------------------------------------------------------
_QUANTITIES: dict[str, Quantity] = {}


def _quantity(
    family: str, name: str, unit: Unit, text: str, *, mirror: str | None = None, sign: int = 1, tolerance: float = -1
) -> None:
    tol = tolerance if tolerance >= 0 else _TOLERANCE[unit]
    _QUANTITIES[name] = Quantity(name, unit, family, text, mirror or mirror_words(name), sign, tol)


ARM_SEGMENTS: Final = ("upper_arm", "forearm", "arm", "hand")  # arm = shoulder to wrist, hand = wrist to knuckles
LEG_SEGMENTS: Final = ("thigh", "shin", "leg", "foot")  # leg = hip to ankle, foot = ankle to toes
SEGMENTS: Final = ARM_SEGMENTS + LEG_SEGMENTS
DIRECTION_AXES: Final = ("up", "vertical", "forward", "out", "overhead", "ahead")

# Joint angles: the angle between the two bones, 180 = straight.
JOINT_ANGLES: Final = ("elbow", "knee", "hip", "ankle", "wrist")
for _s in SIDES:
    for _j in JOINT_ANGLES:
        _quantity("angle", f"{_s}_{_j}", "deg", f"angle between the bones at the {_s} {_j}; 180 is straight")

# Directions of limbs: the angle to an axis, 0 = along it, 180 = against it; ``vertical`` folds up and down together.
for _s in SIDES:
    for _j in (*SEGMENTS, "palm"):
        for _a in DIRECTION_AXES:
            _quantity("direction", f"{_s}_{_j}.{_a}", "deg", f"angle of the {_s} {_j} to {_a}")

# Heights of a hand relative to the body's own landmarks, in metres along the world's vertical.
HEIGHT_LEVELS: Final = ("head", "eyes", "shoulder", "chest", "waist", "hip", "knee")
HEIGHT_PARTS: Final = ("hand", "elbow", "foot", "knee")
for _s in SIDES:
    for _j in HEIGHT_PARTS:
        for _a in HEIGHT_LEVELS:
            _quantity("height", f"{_s}_{_j}.above_{_a}", "m", f"height of the {_s} {_j} over the {_a} line")

# Distances and relative positions of two parts (joint centres of hand, elbow, shoulder, hip, knee, foot, head, neck).
PAIR_COMPONENTS: Final = ("distance", "up", "forward", "side")  # side: + is to the left
LEFT_RIGHT_PAIRS: Final = ("hand", "elbow", "knee", "foot")
_OWN_SIDE: Final = (
    ("hand", "shoulder"), ("hand", "elbow"), ("hand", "hip"), ("hand", "knee"), ("hand", "foot"), ("elbow", "shoulder"),
    ("elbow", "hip"), ("elbow", "knee"), ("knee", "hip"), ("knee", "shoulder"), ("foot", "hip"), ("foot", "knee"),
)  # fmt: skip
_OTHER_SIDE: Final = (
    ("hand", "shoulder"), ("hand", "elbow"), ("hand", "hip"), ("hand", "knee"), ("hand", "foot"), ("elbow", "knee"),
    ("foot", "knee"), ("foot", "hip"),
)  # fmt: skip
_MIDLINE: Final = (("hand", "head"), ("hand", "neck"), ("hand", "pelvis"), ("elbow", "head"), ("elbow", "neck"),
                   ("foot", "head"), ("foot", "pelvis"), ("knee", "pelvis"), ("knee", "neck"))  # fmt: skip
PAIRS: Final[tuple[tuple[str, str], ...]] = (
    *((f"left_{p}", f"right_{p}") for p in LEFT_RIGHT_PAIRS),
    *((f"{s}_{a}", f"{s}_{b}") for s in SIDES for a, b in _OWN_SIDE),
    *((f"{s}_{a}", f"{o}_{b}") for s, o in (SIDES, SIDES[::-1]) for a, b in _OTHER_SIDE),
    *((f"{s}_{a}", b) for s in SIDES for a, b in _MIDLINE),
)
for _p, _q in PAIRS:
    for _a in PAIR_COMPONENTS:
        _swap = mirror_words(_p) == _q  # left:right is its own mirror, seen from the other end
        _m = f"{_p}:{_q}.{_a}" if _swap else None
        _sg = 1 if _a == "distance" else (1 if _a == "side" else -1) if _swap else (-1 if _a == "side" else 1)
        _quantity("pair", f"{_p}:{_q}.{_a}", "m", f"{_p} relative to {_q}: {_a}", mirror=_m, sign=_sg, tolerance=0.05)

# Contacts: metres from the part's touching point to a region of the skin (negative: pressed in).
SIDED_TARGETS: Final = (
    "hip", "waist", "shoulder", "upper_arm", "elbow", "forearm", "wrist", "thigh", "outer_thigh", "inner_thigh", "knee",
    "shin", "calf", "ankle", "foot", "heel", "cheek", "ear", "eye", "temple", "buttock", "armpit",
)  # fmt: skip
MIDLINE_TARGETS: Final = (
    "belly", "chest", "chin", "mouth", "nose", "forehead", "top_of_head", "back_of_head", "neck", "throat",
    "lower_back", "upper_back", "groin",
)  # fmt: skip
_OWN_ARM: Final = ("upper_arm", "elbow", "forearm", "wrist", "armpit")


def _contact_pairs() -> Iterator[tuple[str, str]]:
    for s, o in (SIDES, SIDES[::-1]):
        for t in SIDED_TARGETS:
            if t not in _OWN_ARM:
                yield f"{s}_hand", f"{s}_{t}"
            yield f"{s}_hand", f"{o}_{t}"
        for t in MIDLINE_TARGETS:
            yield f"{s}_hand", t
        for x in (s, o):
            for t in ("knee", "thigh"):
                yield f"{s}_elbow", f"{x}_{t}"
        for t in ("hip", "waist"):
            yield f"{s}_elbow", f"{s}_{t}"
        for t in ("chest", "chin", "forehead"):
            yield f"{s}_knee", t
        for t in ("knee", "thigh", "inner_thigh", "shin", "calf", "ankle", "foot"):
            yield f"{s}_foot", f"{o}_{t}"
        for t in ("buttock",):
            yield f"{s}_foot", f"{s}_{t}"
        yield f"{s}_ankle", f"{o}_thigh"
        yield f"{s}_ankle", f"{o}_knee"
    yield "left_hand", "right_hand"
    yield "left_knee", "right_knee"
    yield "left_thigh", "right_thigh"
    yield "left_sole", "right_sole"


CONTACTS: Final[tuple[tuple[str, str], ...]] = tuple(_contact_pairs())
for _p, _q in CONTACTS:
    _own = mirror_words(_p) == _q and (_q, _p) not in CONTACTS  # listed once, for both
    _quantity("contact", f"{_p}@{_q}", "m", f"gap between {_p} and {_q}", mirror=f"{_p}@{_q}" if _own else None)

# Heights over the body's lowest point.
GROUND_PARTS: Final = (
    "left_hand", "right_hand", "left_forearm", "right_forearm", "left_elbow", "right_elbow", "left_foot", "right_foot",
    "left_toes", "right_toes", "left_heel", "right_heel", "left_knee", "right_knee", "left_shin", "right_shin", "seat",
    "lower_back", "upper_back", "left_shoulder", "right_shoulder", "belly", "chest", "head", "forehead",
    "top_of_head", "left_hip", "right_hip", "left_leg", "right_leg",
)  # fmt: skip
for _p in GROUND_PARTS:
    _quantity("ground", f"{_p}@ground", "m", f"lowest point of the {_p} over the ground", tolerance=0.03)
_quantity("ground", "feet@ground", "m", "lower of the two feet over the ground")
_quantity("ground", "lowest_hand@ground", "m", "lower of the two hands over the ground")
_quantity("ground", "pelvis.height", "m", "pelvis joint over the ground (standing straight: 0.94)")

# The trunk, the pelvis, the head.
for _n, _t, _sg in (
    ("trunk.up", "angle of the line pelvis-neck to the vertical: 0 upright, 90 lying, 180 upside down", 1),
    ("trunk.pitch", "trunk leans forward (+) or back (-) of the vertical, toward where the pelvis faces", 1),
    ("trunk.lean", "trunk leans to its left (+) or right (-) of the vertical", -1),
    ("trunk.twist", "chest turned against the pelvis, to the left +", -1),
    ("spine.bend", "spine curled forward (+) or arched back (-): chest against pelvis", 1),
    ("spine.side", "spine bent to the left (+) or right (-): chest against pelvis", -1),
    ("pelvis.pitch", "pelvis tilted forward (+) or back (-) of the vertical", 1),
    ("pelvis.roll", "pelvis tilted: + the right side is higher", -1),
    ("pelvis.up", "angle of the pelvis's own up to the vertical", 1),
    ("pelvis.face_up", "angle of the pelvis's front to the world's up: 0 on the back, 180 face down", 1),
    ("chest.face_up", "angle of the chest's front to the world's up: 0 on the back, 180 face down", 1),
    ("chest.left_up", "angle of the chest's left to the world's up: 180 lying on the left side", 1),
    ("body.heading", "where the pelvis faces, from +z toward +x (its own left)", -1),
    ("head.yaw", "head turned to the left (+) against the chest", -1),
    ("head.pitch", "head raised (+) or lowered (-) against the chest", 1),
    ("head.roll", "head tilted to the left shoulder (+)", -1),
    ("gaze.up", "where the face points, over the horizon (+) or under it (-)", 1),
    ("gaze.yaw", "where the face points against the pelvis, to the left +", -1),
):
    _quantity("trunk", _n, "deg", _t, sign=_sg, mirror=mirror_words(_n))
_quantity("trunk", "chest.right_up", "deg", "angle of the chest's right to the up: 180 lying on the right side")
GAZE_TARGETS: Final = ("left_hand", "right_hand", "left_foot", "right_foot", "left_knee", "right_knee", "belly")
for _t in GAZE_TARGETS:
    _quantity("gaze", f"gaze@{_t}", "deg", f"angle between where the face points and the {_t}")
for _s in SIDES:
    _quantity("collar", f"{_s}_shoulder.raise", "m", f"{_s} shoulder raised over its rest height in the chest's frame",
              tolerance=0.01)  # fmt: skip
    _quantity("collar", f"{_s}_shoulder.forward", "m", f"{_s} shoulder before its rest place in the chest's frame",
              tolerance=0.01)  # fmt: skip

# Stance and balance.
_quantity("stance", "feet.width", "m", "left ankle to the left of the right one, as the pelvis faces; < 0 is crossed",
          tolerance=0.05)  # fmt: skip
_quantity("stance", "feet.stride", "m", "left ankle ahead of the right one, as the pelvis faces", sign=-1,
          tolerance=0.05)  # fmt: skip
_quantity("stance", "knees.width", "m", "left knee to the left of the right one, as the pelvis faces", tolerance=0.05)
_quantity("stance", "wrists.width", "m", "left wrist to the left of the right one, as the chest faces", tolerance=0.05)
for _s in SIDES:
    _quantity("stance", f"{_s}_foot.turnout", "deg", f"{_s} toes turned out (+) or in (-) of where the pelvis faces")
_quantity("stance", "weight.side", "ratio", "centre of mass between the feet: -1 over the right, +1 over the left",
          sign=-1)  # fmt: skip
_quantity("stance", "balance.offset", "m", "centre of mass outside what supports it, along the ground; 0 is balanced")
for _n in ("arms", "legs", "body"):
    _quantity("symmetry", f"symmetry.{_n}", "deg", f"largest difference of the {_n} to their mirror image",
              tolerance=10.0)  # fmt: skip

# Naturalness.
_quantity("natural", "limits.violation", "deg", "largest excess over a joint's range")
_quantity("natural", "penetration.depth", "m", "deepest overlap of two limbs or a limb and the trunk, by capsules")

QUANTITIES: Final[Mapping[str, Quantity]] = _QUANTITIES
"""Every quantity by name, in a fixed order."""
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    f: tuple(q.name for q in _QUANTITIES.values() if q.family == f)
    for f in dict.fromkeys(q.family for q in _QUANTITIES.values())
}
"""Quantity names by family, in the order in which ``measure`` returns them."""

SIGNED: Final = frozenset(
    q.name for q in _QUANTITIES.values()
    if q.unit == "deg" and (q.mirror_sign < 0 or q.name.endswith((".pitch", ".bend", "gaze.up", ".turnout")))
)  # fmt: skip
"""Angles that go both ways from 0; all others lie in 0..180 and have no room beyond."""

# -- posecodes ---------------------------------------------------------------------------------------------------------
_POSECODES: dict[str, Posecode] = {}
_Range = tuple[str, float, float]


def _code(
    name: str, terms: Iterable[_Range], subject: str, predicates: Iterable[str], commands: Iterable[str] = (),
    group: str = "", *, flag: bool = False,
) -> None:  # fmt: skip
    checked = tuple(Term(q, lo, hi) for q, lo, hi in terms)
    for t in checked:
        if t.quantity not in _QUANTITIES or not t.lo < t.hi:
            raise PosecodeError(f"'{name}' speaks of '{t.quantity}' wrongly.")
    _POSECODES[name] = Posecode(name, checked, subject, tuple(predicates), tuple(commands), group or name, flag)


def _human(name: str) -> str:
    return name.replace("_", " ")


# Elbows and knees: PoseScript's bands.
_BENDS: Final = (
    ("completely_bent", 0.0, 45.0, ("bent completely", "fully bent", "bent all the way"), "bend the {} completely"),
    ("almost_completely_bent", 45.0, 75.0, ("sharply bent", "bent sharply"), "bend the {} sharply"),
    ("right_angle", 75.0, 105.0, ("bent at a right angle", "at a right angle", "bent at 90 degrees"),
     "bend the {} to a right angle"),
    ("partially_bent", 105.0, 135.0, ("partially bent", "half bent"), "bend the {} partially"),
    ("slightly_bent", 135.0, 160.0, ("slightly bent", "bent a little"), "bend the {} slightly"),
    ("straight", 160.0, 181.0, ("straight", "extended", "straightened"), "straighten the {}"),
)  # fmt: skip
for _s in SIDES:
    for _j in ("elbow", "knee"):
        _bone = "leg" if _j == "knee" else "arm"
        for _v, _lo, _hi, _pred, _cmd in _BENDS:
            _sub = f"{_s} {_bone}" if _v == "straight" else f"{_s} {_j}"
            _code(f"{_s}_{_j}={_v}", [(f"{_s}_{_j}", _lo, _hi)], _sub, _pred, [_cmd.format(_sub)])
        _code(f"{_s}_{_j}=bent", [(f"{_s}_{_j}", 20.0, 130.0)], f"{_s} {_j}", ["bent"], [f"bend the {_s} {_j}"])
    for _v, _lo, _hi, _pred in (
        ("folded", 0.0, 60.0, "folded tightly"), ("right_angle", 70.0, 110.0, "bent at a right angle"),
        ("half_bent", 110.0, 145.0, "half bent"), ("straight", 155.0, 181.0, "straight"),
    ):  # fmt: skip
        _code(f"{_s}_hip={_v}", [(f"{_s}_hip", _lo, _hi)], f"{_s} hip", [_pred])
    for _v, _lo, _hi, _pred, _cmd in (
        ("pointed", 132.0, 181.0, "pointed", "point the {} toes"), ("flexed", 0.0, 95.0, "flexed", "flex the {} foot"),
        ("neutral", 98.0, 125.0, "relaxed", "relax the {} foot"),
    ):  # fmt: skip
        _code(f"{_s}_ankle={_v}", [(f"{_s}_ankle", _lo, _hi)], f"{_s} foot", [_pred], [_cmd.format(_s)])
    _code(f"{_s}_wrist=straight", [(f"{_s}_wrist", 160.0, 181.0)], f"{_s} wrist", ["straight"])
    _code(f"{_s}_wrist=bent", [(f"{_s}_wrist", 90.0, 140.0)], f"{_s} wrist", ["bent"])

# Directions. A cone of 35 degrees about an axis; diagonals by two angles.
_CONE: Final = 35.0
_DIRECTIONS: Final[Mapping[str, tuple[tuple[str, float, float], ...]]] = {
    "up": (("up", 0, _CONE),),
    "down": (("up", 180 - _CONE, 181),),
    "forward": (("forward", 0, _CONE),),
    "back": (("forward", 180 - _CONE, 181),),
    "out": (("out", 0, _CONE),),
    "across": (("out", 125, 181),),
    "horizontal": (("vertical", 80, 91),),
    "vertical": (("vertical", -1, 10),),
    "forward_up": (("up", 25, 65), ("forward", 25, 65)),
    "forward_down": (("up", 115, 155), ("forward", 25, 65)),
    "out_up": (("up", 25, 65), ("out", 25, 65)),
    "out_down": (("up", 115, 155), ("out", 25, 65)),
    "back_up": (("up", 25, 70), ("forward", 115, 155)),
    "back_down": (("up", 110, 160), ("forward", 110, 160)),
    "forward_out": (("forward", 20, 65), ("out", 25, 70), ("vertical", 60, 91)),
    "forward_across": (("forward", 10, 65), ("out", 105, 160)),
    "across_up": (("up", 25, 75), ("out", 105, 160)),
    "across_down": (("up", 105, 155), ("out", 105, 160)),
    "overhead": (("overhead", 0, _CONE),),
    "along_body": (("overhead", 180 - _CONE, 181),),
    "ahead": (("ahead", 0, _CONE),),
    "behind": (("ahead", 115, 181),),
}
_DIRECTION_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "up": ("pointing up", "straight up", "raised up high", "pointing to the sky"),
    "down": ("pointing down", "hanging down", "lowered"),
    "forward": ("pointing forward", "straight out in front", "stretched forward", "reaching forward"),
    "back": ("pointing back", "stretched backward", "reaching behind"),
    "out": ("out to the side", "stretched out sideways", "pointing sideways"),
    "across": ("across the body", "crossing the body"),
    "horizontal": ("horizontal", "parallel to the ground", "level"),
    "vertical": ("vertical", "upright"),
    "forward_up": ("raised diagonally up in front", "pointing forward and up", "reaching up and forward"),
    "forward_down": ("pointing forward and down", "slightly in front", "diagonally down in front"),
    "out_up": ("raised diagonally up to the side", "pointing out and up", "reaching up and out"),
    "out_down": ("pointing out and down", "a little away from the body", "diagonally down to the side"),
    "back_up": ("pointing back and up", "raised behind"),
    "back_down": ("pointing back and down", "slightly behind", "drawn back"),
    "forward_out": ("pointing forward and out to the side", "diagonally in front"),
    "forward_across": ("pointing forward across the body", "reaching across in front"),
    "across_up": ("pointing up across the body", "raised across the body"),
    "across_down": ("pointing down across the body",),
    "overhead": ("in line with the body above the head", "stretched overhead"),
    "along_body": ("along the body", "down by the side", "at the side"),
    "ahead": ("straight ahead of the chest", "perpendicular to the trunk"),
    "behind": ("behind the back", "behind the body"),
}
_DIRECTION_COMMANDS: Final[Mapping[str, str]] = {
    "up": "raise the {} straight up", "down": "lower the {}", "forward": "stretch the {} forward",
    "back": "stretch the {} back", "out": "stretch the {} out to the side", "across": "bring the {} across the body",
    "horizontal": "hold the {} level", "vertical": "hold the {} vertical", "forward_up": "raise the {} up and forward",
    "forward_down": "bring the {} a little forward", "out_up": "raise the {} up and out",
    "out_down": "move the {} a little out to the side", "back_up": "raise the {} behind you",
    "back_down": "draw the {} back a little", "forward_out": "reach the {} forward and out",
    "forward_across": "reach the {} across in front", "across_up": "raise the {} across the body",
    "across_down": "lower the {} across the body", "overhead": "stretch the {} overhead",
    "along_body": "keep the {} along the body", "ahead": "hold the {} straight ahead",
    "behind": "bring the {} behind the back",
}  # fmt: skip
_WIDER: Final[Mapping[tuple[str, str], tuple[tuple[str, float, float], ...]]] = {
    ("upper_arm", "back"): (("forward", 115, 181),),  # a shoulder extends 60 degrees, a hip 25
    ("arm", "back"): (("forward", 115, 181),),
    ("thigh", "back"): (("forward", 103, 181),),
    ("leg", "back"): (("forward", 103, 181),),
    ("upper_arm", "across"): (("out", 105, 181),),
    ("arm", "across"): (("out", 110, 181),),
    ("thigh", "across"): (("out", 97, 181),),
    ("leg", "across"): (("out", 97, 181),),
}
for _s in SIDES:
    for _j in SEGMENTS:
        for _v, _terms in _DIRECTIONS.items():
            _sub = f"{_s} {_human(_j)}"
            _use = _WIDER.get((_j, _v), _terms)
            _code(f"{_s}_{_j}={_v}", [(f"{_s}_{_j}.{a}", lo, hi) for a, lo, hi in _use], _sub, _DIRECTION_WORDS[_v],
                  [_DIRECTION_COMMANDS[_v].format(_sub)])  # fmt: skip
    for _v, _terms in (
        ("up", (("up", 0, 45),)), ("down", (("up", 135, 181),)), ("forward", (("forward", 0, 45),)),
        ("back", (("forward", 135, 181),)), ("out", (("out", 0, 45),)), ("in", (("out", 135, 181),)),
    ):  # fmt: skip
        _word = {"in": "inward", "out": "outward", "back": "backward"}.get(_v, _v)
        _code(f"{_s}_palm={_v}", [(f"{_s}_palm.{a}", lo, hi) for a, lo, hi in _terms], f"{_s} palm",
              [f"facing {_word}", f"turned {_word}"], [f"turn the {_s} palm {_word}"])  # fmt: skip

# Heights of hands (and of elbows, knees, feet where people say so).
_BANDS: Final[tuple[tuple[str, tuple[_Range, ...], tuple[str, ...]], ...]] = (
    ("above_head", (("above_head", 0.02, INF),), ("above the head", "overhead")),
    ("head_height", (("above_eyes", -0.12, 0.15),), ("at head height", "at the level of the head")),
    ("above_shoulder", (("above_shoulder", 0.08, INF),), ("above the shoulder", "higher than the shoulder")),
    ("shoulder_height", (("above_shoulder", -0.10, 0.10),), ("at shoulder height", "level with the shoulder")),
    ("chest_height", (("above_chest", -0.11, 0.11),), ("at chest height", "in front of the chest, level with it")),
    ("waist_height", (("above_waist", -0.09, 0.09),), ("at waist height", "level with the waist")),
    ("hip_height", (("above_hip", -0.11, 0.09),), ("at hip height", "level with the hips")),
    ("below_hip", (("above_hip", -INF, -0.08),), ("below the hip", "lower than the hip")),
    ("below_shoulder", (("above_shoulder", -INF, -0.10),), ("below the shoulder", "lower than the shoulder")),
    ("knee_height", (("above_knee", -0.13, 0.13),), ("at knee height", "level with the knee")),
    ("below_knee", (("above_knee", -INF, -0.08),), ("below the knee", "lower than the knee")),
)  # fmt: skip
for _s in SIDES:
    for _j in HEIGHT_PARTS:
        for _v, _terms, _pred in _BANDS:
            if _j in _v:
                continue
            _code(f"{_s}_{_j}={_v}", [(f"{_s}_{_j}.{a}", lo, hi) for a, lo, hi in _terms], f"{_s} {_j}", _pred,
                  [f"{'raise' if 'above' in _v else 'bring'} the {_s} {_j} {_pred[0]}"])  # fmt: skip

# Relative positions and distances. The 0.15 m and the distance bands are PoseScript's.
_RELATIONS: Final = (
    ("above", "up", 0.15, INF, "above"), ("below", "up", -INF, -0.15, "below"),
    ("in_front", "forward", 0.15, INF, "in front of"), ("behind", "forward", -INF, -0.15, "behind"),
    ("left", "side", 0.15, INF, "to the left of"), ("right", "side", -INF, -0.15, "to the right of"),
    ("level", "up", -0.05, 0.05, "at the same height as"), ("in_line", "forward", -0.05, 0.05, "in line with"),
    ("over", "side", -0.05, 0.05, "vertically in line with"),
)  # fmt: skip
_NEAR: Final = (
    ("close", -1.0, 0.20, "close to"), ("shoulder_width", 0.20, 0.40, "shoulder width apart from"),
    ("spread", 0.40, 0.80, "well apart from"), ("wide", 0.80, INF, "far apart from"),
)  # fmt: skip
for _p, _q in PAIRS:
    for _v, _a, _lo, _hi, _w in _RELATIONS:
        _code(f"{_p}:{_q}={_v}", [(f"{_p}:{_q}.{_a}", _lo, _hi)], _human(_p), [f"{_w} the {_human(_q)}"],
              [f"put the {_human(_p)} {_w} the {_human(_q)}"], f"{_p}:{_q}.{_a}")  # fmt: skip
    for _v, _lo, _hi, _w in _NEAR:
        _code(f"{_p}:{_q}={_v}", [(f"{_p}:{_q}.distance", _lo, _hi)], _human(_p), [f"{_w} the {_human(_q)}"], (),
              f"{_p}:{_q}.distance")  # fmt: skip
for _j, _plural in (("hand", "hands"), ("elbow", "elbows"), ("knee", "knees"), ("foot", "feet")):
    for _v, _lo, _hi, _preds in (
        ("close", -1.0, 0.20, ("close together", "together")),
        ("shoulder_width", 0.20, 0.40, ("shoulder width apart",)),
        ("spread", 0.40, 0.80, ("spread apart", "wide apart")), ("wide", 0.80, INF, ("spread very wide",)),
        ("apart", 0.35, INF, ("apart",)),
    ):  # fmt: skip
        _code(f"{_plural}={_v}", [(f"left_{_j}:right_{_j}.distance", _lo, _hi)], _plural, _preds,
              [f"{'bring' if _v == 'close' else 'move'} the {_plural} {_preds[0]}"])  # fmt: skip

# Contacts.
_TOUCH: Final = 0.05
_TARGET_WORDS: Final[Mapping[str, str]] = {
    "top_of_head": "top of the head", "back_of_head": "back of the head", "neck": "back of the neck",
    "outer_thigh": "outside of the {} thigh", "inner_thigh": "inside of the {} thigh", "waist": "{} side of the waist",
    "lower_back": "lower back", "upper_back": "upper back",
}  # fmt: skip


def target_words(target: str) -> str:
    """English for a contact target, without the article: "left hip", "back of the head"."""
    side, _, part = target.partition("_")
    if target in _TARGET_WORDS:
        return _TARGET_WORDS[target]
    if side in SIDES and part in _TARGET_WORDS:
        return _TARGET_WORDS[part].format(side)
    return _human(target)


for _p, _q in CONTACTS:
    _w = target_words(_q)
    _verb = "on" if _p.endswith("hand") else "against"
    _code(f"{_p}@{_q}", [(f"{_p}@{_q}", -INF, _TOUCH)], _human(_p),
          [f"{_verb} the {_w}", f"touching the {_w}", f"resting on the {_w}"],
          [f"put the {_human(_p)} {_verb} the {_w}", f"touch the {_w} with the {_human(_p)}"])  # fmt: skip
for _p in GROUND_PARTS:
    _code(f"{_p}@ground", [(f"{_p}@ground", -INF, 0.035)], _human(_p), ["on the ground", "on the floor"],
          [f"put the {_human(_p)} on the ground"], f"{_p}@ground")  # fmt: skip
    _code(f"{_p}=raised", [(f"{_p}@ground", 0.10, INF)], _human(_p), ["off the ground", "lifted off the floor"],
          [f"lift the {_human(_p)} off the ground"], f"{_p}@ground")  # fmt: skip

# The trunk.
for _v, _terms, _pred, _cmd in (
    ("upright", (("trunk.up", 0, 15),), ("upright", "held straight up"), "stand tall"),
    ("forward", (("trunk.pitch", 20, 50), ("trunk.up", 15, 60)), ("leaning forward", "bent forward"), "lean forward"),
    ("slightly_forward", (("trunk.pitch", 8, 25), ("trunk.up", 5, 30)), ("leaning slightly forward",),
     "lean forward a little"),
    ("bent_over", (("trunk.pitch", 55, 180), ("trunk.up", 50, 180)), ("bent over", "bent far forward"),
     "bend over forward"),
    ("back", (("trunk.pitch", -60, -15), ("trunk.up", 12, 65)), ("leaning back", "leaning backward"), "lean back"),
    ("left", (("trunk.lean", 12, 60),), ("leaning to the left", "leaning left"), "lean to the left"),
    ("right", (("trunk.lean", -60, -12),), ("leaning to the right", "leaning right"), "lean to the right"),
    ("horizontal", (("trunk.up", 70, 110),), ("horizontal", "parallel to the ground"), "bring the trunk level"),
    ("twisted_left", (("trunk.twist", 20, 70),), ("twisted to the left", "turned left"),
     "twist the upper body to the left"),
    ("twisted_right", (("trunk.twist", -70, -20),), ("twisted to the right", "turned right"),
     "twist the upper body to the right"),
):  # fmt: skip
    _code(f"trunk={_v}", _terms, "upper body" if _v not in ("upright", "horizontal") else "trunk", _pred, [_cmd],
          f"trunk.{_terms[0][0].split('.')[1]}")  # fmt: skip
for _v, _q, _lo, _hi, _pred, _cmd in (
    ("curled", "spine.bend", 25, 110, ("curled forward", "rounded"), "round the back"),
    ("arched", "spine.bend", -90, -18, ("arched back", "arched"), "arch the back"),
    ("straight", "spine.bend", -12, 15, ("straight",), "keep the back straight"),
    ("side_left", "spine.side", 15, 60, ("bent to the left side",), "bend to the left side"),
    ("side_right", "spine.side", -60, -15, ("bent to the right side",), "bend to the right side"),
):  # fmt: skip
    _code(f"spine={_v}", [(_q, _lo, _hi)], "back", _pred, [_cmd], _q)
for _v, _q, _lo, _hi, _pred in (
    ("tilted_forward", "pelvis.pitch", 15, 80, "tilted forward"), ("tucked", "pelvis.pitch", -60, -12, "tucked under"),
    ("left_hip_up", "pelvis.roll", -45, -8, "tilted with the left hip up"),
    ("right_hip_up", "pelvis.roll", 8, 45, "tilted with the right hip up"), ("level", "pelvis.roll", -4, 4, "level"),
):  # fmt: skip
    _code(f"pelvis={_v}", [(_q, _lo, _hi)], "pelvis", [_pred], (), _q)

# The head.
for _v, _q, _lo, _hi, _pred, _cmd in (
    ("left", "head.yaw", 20, 80, ("turned to the left", "turned left"), "turn the head to the left"),
    ("right", "head.yaw", -80, -20, ("turned to the right", "turned right"), "turn the head to the right"),
    ("slightly_left", "head.yaw", 10, 30, ("turned slightly to the left",), "turn the head a little to the left"),
    ("slightly_right", "head.yaw", -30, -10, ("turned slightly to the right",), "turn the head a little to the right"),
    ("straight", "head.yaw", -10, 10, ("facing forward", "straight ahead"), "look straight ahead"),
    ("up", "head.pitch", 15, 60, ("raised", "tilted back", "tipped up"), "raise the head"),
    ("down", "head.pitch", -70, -18, ("lowered", "bowed", "tilted down"), "lower the head"),
    ("level", "head.pitch", -12, 12, ("level",), "hold the head level"),
    ("tilted_left", "head.roll", 12, 45, ("tilted to the left", "cocked to the left"), "tilt the head to the left"),
    ("tilted_right", "head.roll", -45, -12, ("tilted to the right", "cocked to the right"),
     "tilt the head to the right"),
):  # fmt: skip
    _code(f"head={_v}", [(_q, _lo, _hi)], "head", _pred, [_cmd], _q)
_code("looking_up", [("gaze.up", 20, 91)], "person", ["looking up", "gazing up"], ["look up"], "gaze.up")
_code("looking_down", [("gaze.up", -91, -20)], "person", ["looking down", "gazing at the ground"], ["look down"],
      "gaze.up")  # fmt: skip
_code("looking_ahead", [("gaze.up", -15, 15), ("gaze.yaw", -20, 20)], "person", ["looking straight ahead"],
      ["look straight ahead"], "gaze.up")  # fmt: skip
for _s, _sg in (("left", 1), ("right", -1)):
    _lo, _hi = sorted((_sg * 75, _sg * 150))
    _yl, _yh = sorted((_sg * 25, _sg * 80))
    _code(f"looking_over_{_s}_shoulder", [("gaze.yaw", _lo, _hi), ("head.yaw", _yl, _yh)], "person",
          [f"looking over the {_s} shoulder", f"looking back over the {_s} shoulder"],
          [f"look over your {_s} shoulder"], "gaze.yaw")  # fmt: skip
    _lo, _hi = sorted((_sg * 25, _sg * 100))
    _code(f"looking_{_s}", [("gaze.yaw", _lo, _hi)], "person", [f"looking to the {_s}"], [f"look to the {_s}"],
          "gaze.yaw")  # fmt: skip
for _t in GAZE_TARGETS:
    _code(f"gaze@{_t}", [(f"gaze@{_t}", -1, 25)], "person", [f"looking at the {_human(_t)}"],
          [f"look at the {_human(_t)}"], "gaze@")  # fmt: skip

# Shoulders.
for _s in SIDES:
    for _v, _q, _lo, _hi, _pred, _cmd in (
        ("shrugged", "raise", 0.025, 0.12, ("shrugged", "raised"), "shrug the {} shoulder"),
        ("dropped", "raise", -0.08, -0.012, ("dropped", "lowered"), "drop the {} shoulder"),
        ("rolled_forward", "forward", 0.025, 0.12, ("rolled forward",), "roll the {} shoulder forward"),
        ("pulled_back", "forward", -0.12, -0.025, ("pulled back",), "pull the {} shoulder back"),
    ):  # fmt: skip
        _code(f"{_s}_shoulder={_v}", [(f"{_s}_shoulder.{_q}", _lo, _hi)], f"{_s} shoulder", _pred, [_cmd.format(_s)],
              f"{_s}_shoulder.{_q}")  # fmt: skip

# Stance.
_code("weight=left", [("weight.side", 0.45, 1.6)], "weight", ["on the left leg", "on the left foot"],
      ["put your weight on the left leg"], "weight")  # fmt: skip
_code("weight=right", [("weight.side", -1.6, -0.45)], "weight", ["on the right leg", "on the right foot"],
      ["put your weight on the right leg"], "weight")  # fmt: skip
_code("weight=centred", [("weight.side", -0.25, 0.25)], "weight", ["on both legs", "evenly on both feet"],
      ["spread your weight evenly"], "weight")  # fmt: skip
_code("left_foot=ahead", [("feet.stride", 0.15, INF)], "left foot", ["in front", "one step ahead of the right"],
      ["step forward with the left foot"], "stride")  # fmt: skip
_code("right_foot=ahead", [("feet.stride", -INF, -0.15)], "right foot", ["in front", "one step ahead of the left"],
      ["step forward with the right foot"], "stride")  # fmt: skip
_code("feet=side_by_side", [("feet.stride", -0.08, 0.08)], "feet", ["side by side"], ["put your feet side by side"],
      "stride")  # fmt: skip
for _s in SIDES:
    for _v, _lo, _hi, _pred in (
        ("turned_out", 18, 80, ("turned out", "pointing outward")),
        ("turned_in", -60, -8, ("turned in", "pigeon-toed")),
        ("facing_forward", -12, 18, ("pointing straight ahead",)),
    ):  # fmt: skip
        _code(f"{_s}_foot={_v}", [(f"{_s}_foot.turnout", _lo, _hi)], f"{_s} foot", _pred, (), f"{_s}_foot.turnout")
_code("feet=crossed", [("feet.width", -0.5, -0.03)], "ankles", ["crossed"], ["cross your ankles"], "feet.width")
_code("knees=crossed", [("knees.width", -0.4, 0.0)], "knees", ["crossed"], ["cross your knees"], "knees.width")
_code("wrists=crossed", [("wrists.width", -0.6, -0.04)], "wrists", ["crossed"], ["cross your wrists"], "wrists.width")
for _s, _o in (SIDES, SIDES[::-1]):
    _code(f"legs=crossed_{_s}_over",
          [("left_thigh@right_thigh", -INF, 0.06), ("knees.width", -0.3, 0.10), (f"{_s}_knee:{_o}_knee.up"
            if _s == "left" else f"{_o}_knee:{_s}_knee.up", *((0.03, 0.3) if _s == "left" else (-0.3, -0.03)))],
          f"{_s} leg", [f"crossed over the {_o} leg", f"crossed over the {_o} knee"],
          [f"cross the {_s} leg over the {_o}"], "legs=crossed")  # fmt: skip
    _code(f"legs=figure_four_{_s}",
          [(f"{_s}_ankle@{_o}_thigh", -INF, 0.07), (f"{_s}_thigh.out", 0, 70),
           (f"{_s}_foot:{_o}_knee.up", -0.02, 0.4)], f"{_s} ankle",
          [f"resting on the {_o} knee", f"on the {_o} thigh"], [f"rest the {_s} ankle on the {_o} knee"],
          "legs=crossed")  # fmt: skip
_code("arms=crossed",
      [("left_hand@right_upper_arm", -INF, 0.09), ("right_hand@left_upper_arm", -INF, 0.09),
       ("wrists.width", -0.5, -0.05), ("left_hand.above_chest", -0.22, 0.14), ("right_hand.above_chest", -0.22, 0.14),
       ("left_elbow", 25, 115), ("right_elbow", 25, 115)],
      "arms", ["crossed over the chest", "folded across the chest", "crossed"], ["cross your arms"])  # fmt: skip
_code("hands=clasped", [("left_hand@right_hand", -INF, 0.05)], "hands", ["clasped together", "together", "joined"],
      ["clasp your hands"])  # fmt: skip
_code("hands=prayer",
      [("left_hand@right_hand", -INF, 0.04), ("left_palm.out", 130, 181), ("right_palm.out", 130, 181),
       ("left_hand.up", 0, 45), ("right_hand.up", 0, 45), ("left_hand.above_chest", -0.2, 0.25),
       ("right_hand.above_chest", -0.2, 0.25)],
      "palms", ["pressed together in front of the chest", "pressed together in prayer"],
      ["press your palms together in front of your chest"])  # fmt: skip
_code("hands=behind_head", [("left_hand@back_of_head", -INF, 0.08), ("right_hand@back_of_head", -INF, 0.08)], "hands",
      ["behind the head"], ["put your hands behind your head"])  # fmt: skip
_code("hands=behind_back",
      [("left_hand@lower_back", -INF, 0.10), ("right_hand@lower_back", -INF, 0.10)], "hands",
      ["behind the back"], ["put your hands behind your back"])  # fmt: skip
_code("hands=over_face", [("left_hand@left_cheek", -INF, 0.06), ("right_hand@right_cheek", -INF, 0.06)], "hands",
      ["over the face", "covering the face"], ["cover your face with your hands"])  # fmt: skip

# Postures: what the body stands, sits or lies on.
_FEET: Final[_Range] = ("feet@ground", -INF, 0.035)


def _posture(name: str, terms: Iterable[_Range], predicates: Iterable[str], commands: Iterable[str]) -> None:
    _code(name, terms, "person", predicates, commands, "posture")


_posture("standing", [("pelvis.height", 0.74, 1.1), _FEET], ["standing", "on their feet"], ["stand up"])
_posture("standing_straight",
         [("pelvis.height", 0.86, 1.1), ("left_foot@ground", -INF, 0.035), ("right_foot@ground", -INF, 0.035),
          ("trunk.up", 0, 12), ("left_knee", 160, 181), ("right_knee", 160, 181)],
         ["standing straight", "standing upright"], ["stand straight"])  # fmt: skip
for _s, _o, _sg in (("left", "right", 1), ("right", "left", -1)):
    _lo, _hi = sorted((_sg * 0.6, _sg * 1.6))
    _posture(f"standing_on_{_s}",
             [(f"{_s}_foot@ground", -INF, 0.035), (f"{_o}_foot@ground", 0.08, INF), ("pelvis.height", 0.7, 1.15),
              ("weight.side", _lo, _hi)],
             [f"standing on the {_s} leg", f"balancing on the {_s} foot"],
             [f"stand on your {_s} leg", f"balance on the {_s} foot"])  # fmt: skip
    _slo, _shi = sorted((_sg * 0.45, _sg * 1.4))
    _posture(f"lunge_{_s}",
             [("feet.stride", _slo, _shi), (f"{_s}_knee", 70, 130), (f"{_s}_foot@ground", -INF, 0.035),
              (f"{_o}_toes@ground", -INF, 0.035), (f"{_o}_knee", 120, 181), (f"{_s}_shin.vertical", -1, 35)],
             [f"lunging with the {_s} leg forward", f"in a lunge, {_s} leg in front"],
             [f"lunge forward with the {_s} leg"])  # fmt: skip
    _posture(f"side_lunge_{_s}",
             [("feet.width", 0.6, 1.6), (f"{_s}_knee", 60, 130), (f"{_o}_knee", 155, 181),
              (f"{_s}_foot@ground", -INF, 0.035), (f"{_o}_foot@ground", -INF, 0.035),
              ("weight.side", min(_sg * 0.3, _sg * 1.5),
                                                       max(_sg * 0.3, _sg * 1.5))],
             [f"lunging sideways over the {_s} leg", f"in a side lunge to the {_s}"],
             [f"lunge to the {_s} side"])  # fmt: skip
    _posture(f"kneeling_on_{_s}",
             [(f"{_s}_knee@ground", -INF, 0.04), (f"{_o}_foot@ground", -INF, 0.035), (f"{_o}_knee@ground", 0.25, INF),
              (f"{_s}_knee", 45, 130), (f"{_o}_knee", 55, 125), (f"{_o}_shin.vertical", -1, 35)],
             [f"kneeling on the {_s} knee", f"down on one knee, the {_s} one on the ground"],
             [f"kneel on your {_s} knee", f"go down on the {_s} knee"])  # fmt: skip
_posture("kneeling",
         [("left_knee@ground", -INF, 0.04), ("right_knee@ground", -INF, 0.04), ("left_knee", 15, 135),
          ("right_knee", 15, 135), ("left_foot@ground", -INF, 0.06), ("right_foot@ground", -INF, 0.06),
          ("trunk.up", 0, 55), ("left_shin.vertical", 60, 91), ("right_shin.vertical", 60, 91)],
         ["kneeling", "kneeling on both knees", "on both knees"], ["kneel down", "get on your knees"])  # fmt: skip
_posture("kneeling_upright",
         [("left_knee@ground", -INF, 0.04), ("right_knee@ground", -INF, 0.04), ("left_knee", 70, 120),
          ("right_knee", 70, 120), ("trunk.up", 0, 25), ("left_thigh.up", 150, 181), ("right_thigh.up", 150, 181),
          ("left_foot@ground", -INF, 0.06), ("right_foot@ground", -INF, 0.06)],
         ["kneeling upright", "kneeling tall"], ["kneel upright"])  # fmt: skip
_posture("sitting_on_heels",
         [("left_knee@ground", -INF, 0.04), ("right_knee@ground", -INF, 0.04), ("left_knee", 10, 50),
          ("right_knee", 10, 50), ("trunk.up", 0, 40), ("left_shin.vertical", 65, 91), ("right_shin.vertical", 65, 91),
          ("left_foot@left_buttock", -INF, 0.10), ("right_foot@right_buttock", -INF, 0.10)],
         ["sitting on the heels", "kneeling, sitting back on the heels"], ["sit back on your heels"])  # fmt: skip
_posture("sitting",
         [("left_thigh.up", 68, 118), ("right_thigh.up", 68, 118), ("left_knee", 60, 125), ("right_knee", 60, 125),
          ("pelvis.height", 0.36, 0.66), _FEET, ("trunk.up", 0, 40), ("seat@ground", 0.2, 0.7)],
         ["sitting on a chair", "sitting", "seated"], ["sit down", "sit on a chair"])  # fmt: skip
_posture("sitting_on_ground", [("seat@ground", -INF, 0.035), ("trunk.up", 0, 55)],
         ["sitting on the ground", "sitting on the floor"], ["sit on the ground", "sit on the floor"])  # fmt: skip
_posture("sitting_legs_out",
         [("seat@ground", -INF, 0.035), ("trunk.up", 0, 50), ("left_knee", 155, 181), ("right_knee", 155, 181),
          ("left_leg.vertical", 72, 91), ("right_leg.vertical", 72, 91), ("left_leg.forward", 0, 60),
          ("right_leg.forward", 0, 60)],
         ["sitting on the ground with the legs stretched out in front", "sitting with straight legs"],
         ["sit on the ground with your legs straight out"])  # fmt: skip
_posture("cross_legged",
         [("seat@ground", -INF, 0.035), ("trunk.up", 0, 40), ("left_knee", 15, 80), ("right_knee", 15, 80),
          ("left_thigh.out", 20, 72), ("right_thigh.out", 20, 72), ("feet.width", -0.5, 0.12),
          ("left_knee@ground", -INF, 0.20), ("right_knee@ground", -INF, 0.20), ("left_foot@ground", -INF, 0.12),
          ("right_foot@ground", -INF, 0.12)],
         ["sitting cross-legged", "sitting with crossed legs on the floor"], ["sit cross-legged"])  # fmt: skip
_posture("squatting",
         [("pelvis.height", 0.15, 0.66), ("left_knee", 20, 100), ("right_knee", 20, 100),
          ("left_foot@ground", -INF, 0.035), ("right_foot@ground", -INF, 0.035), ("seat@ground", 0.05, 0.6),
          ("left_knee@ground", 0.15, 0.7), ("right_knee@ground", 0.15, 0.7), ("trunk.up", 0, 65),
          ("feet.stride", -0.3, 0.3),
          ("balance.offset", -1, 0.04)],
         ["squatting", "crouching down", "in a deep squat"], ["squat down", "crouch"])  # fmt: skip
_posture("half_squat",
         [("left_knee", 85, 145), ("right_knee", 85, 145), ("left_foot@ground", -INF, 0.035),
          ("right_foot@ground", -INF, 0.035), ("pelvis.height", 0.5, 0.88), ("trunk.up", 0, 60),
          ("left_knee@ground", 0.25, 0.7), ("right_knee@ground", 0.25, 0.7), ("feet.stride", -0.3, 0.3),
          ("balance.offset", -1, 0.04)],
         ["standing with bent knees", "half squatting", "in a half squat"],
         ["bend your knees", "half squat"])  # fmt: skip
_posture("tiptoe",
         [("left_heel@ground", 0.05, 0.3), ("right_heel@ground", 0.05, 0.3), ("left_toes@ground", -INF, 0.03),
          ("right_toes@ground", -INF, 0.03), ("pelvis.height", 0.74, 1.2)],
         ["standing on tiptoe", "on tiptoe"], ["stand on tiptoe", "rise onto your toes"])  # fmt: skip
_posture("on_all_fours",
         [("left_hand@ground", -INF, 0.04), ("right_hand@ground", -INF, 0.04), ("left_knee@ground", -INF, 0.04),
          ("right_knee@ground", -INF, 0.04), ("trunk.up", 55, 120), ("chest.face_up", 125, 181),
          ("left_shin.vertical", 60, 91), ("right_shin.vertical", 60, 91), ("left_thigh.vertical", -1, 40),
          ("right_thigh.vertical", -1, 40)],
         ["on all fours", "on hands and knees"], ["get on all fours", "get on your hands and knees"])  # fmt: skip
_posture("plank",
         [("left_hand@ground", -INF, 0.04), ("right_hand@ground", -INF, 0.04), ("left_toes@ground", -INF, 0.03),
          ("right_toes@ground", -INF, 0.03), ("left_hip", 155, 181), ("right_hip", 155, 181), ("left_knee", 160, 181),
          ("right_knee", 160, 181), ("trunk.up", 55, 100), ("chest.face_up", 125, 181),
          ("left_knee@ground", 0.08, 0.5), ("right_knee@ground", 0.08, 0.5)],
         ["in a plank, on hands and toes", "in a push-up position"], ["get into a push-up position"])  # fmt: skip
_posture("on_back",
         [("trunk.up", 65, 115), ("pelvis.face_up", 0, 40), ("chest.face_up", 0, 40), ("seat@ground", -INF, 0.05),
          ("upper_back@ground", -INF, 0.05)],
         ["lying on the back", "lying face up"], ["lie on your back"])  # fmt: skip
_posture("on_front",
         [("trunk.up", 65, 115), ("pelvis.face_up", 140, 181), ("chest.face_up", 125, 181),
          ("belly@ground", -INF, 0.06)],
         ["lying face down", "lying on the stomach", "lying on the front"],
         ["lie face down", "lie on your stomach"])  # fmt: skip
for _s in SIDES:
    _posture(f"on_{_s}_side",
             [("trunk.up", 62, 118), (f"chest.{_s}_up", 140, 181), (f"{_s}_hip@ground", -INF, 0.05),
              (f"{_s}_shoulder@ground", -INF, 0.12)],
             [f"lying on the {_s} side"], [f"lie on your {_s} side"])  # fmt: skip
_posture("upside_down", [("trunk.up", 140, 181)], ["upside down"], ["turn upside down"])
_code("symmetric", [("symmetry.body", -1, 15)], "pose", ["symmetric", "the same on both sides"], ["be symmetric"])
_code("symmetric_arms", [("symmetry.arms", -1, 15)], "arms", ["held symmetrically"], ())
_code("symmetric_legs", [("symmetry.legs", -1, 15)], "legs", ["held symmetrically"], ())
_code("airborne", [], "person", ["in the air", "off the ground", "jumping"], ["jump"], flag=True)
_code("balanced", [("balance.offset", -1, 0.03)], "person", ["in balance"], ())

POSECODES: Final[Mapping[str, Posecode]] = _POSECODES
"""Every posecode by name, in a fixed order: the classes of a model's posecode head."""
POSTURES: Final = frozenset(c.name for c in _POSECODES.values() if c.group == "posture")
FLAGS: Final = frozenset(c.name for c in _POSECODES.values() if c.flag)

# -- the notation ------------------------------------------------------------------------------------------------------
_PLURALS: Final[Mapping[str, str]] = {
    "hands": "hand", "elbows": "elbow", "knees": "knee", "feet": "foot", "arms": "arm", "legs": "leg", "hips": "hip",
    "thighs": "thigh", "shins": "shin", "forearms": "forearm", "upper_arms": "upper_arm", "palms": "palm",
    "ankles": "ankle", "wrists": "wrist", "shoulders": "shoulder", "toes": "toes", "heels": "heel",
    "ears": "ear", "eyes": "eye", "cheeks": "cheek", "temples": "temple", "buttocks": "buttock",
}  # fmt: skip
_TURNED_ROUND: Final[Mapping[str, str]] = {  # what the one is to the other, said of the other
    "above": "below", "below": "above", "in_front": "behind", "behind": "in_front", "left": "right", "right": "left",
}  # fmt: skip
_NUMBER: Final = r"-?\d+(?:\.\d+)?"
_RANGE: Final = re.compile(rf"(?:~(?P<near>{_NUMBER})|(?P<lo>{_NUMBER})?\.\.(?P<hi>{_NUMBER})?)$")
_NEARLY: Final[Mapping[str, float]] = {"deg": 8.0, "m": 0.05, "ratio": 0.15}
_WISH_WEIGHT: Final = 0.5


def read(text: str) -> Request:
    """Reads a line of statements (see the module's notation). Raises PosecodeError for one that does not exist."""
    constraints: list[Constraint] = []
    flags: set[str] = set()
    codes: list[str] = []
    for raw in text.split(";"):
        statement = re.sub(r"\s+", "", raw)
        if not statement:
            continue
        wish, negated = "?" in statement[:2], "!" in statement[:2]
        for name in expand(statement.lstrip("?!")):
            if name in FLAGS:
                flags.add(name)
                codes.append(name)
                continue
            made = list(_constraints(name))
            if negated:
                made = [_negation(name, made)]
            elif name in _POSECODES and not wish:
                codes.append(name)
            if wish:
                made = [replace(c, weight=c.weight * _WISH_WEIGHT, asked=False) for c in made]
            constraints += made
    return Request(_settled(constraints), frozenset(flags), tuple(dict.fromkeys(codes)))


_TRUNK_DIRECTION: Final = frozenset({"trunk.up", "trunk.pitch", "trunk.lean"})
_LEAN_ROOM: Final = 15.0  # degrees that a posture's own limit must leave a lean that is said


def _settled(constraints: list[Constraint]) -> tuple[Constraint, ...]:
    """What a posture only implies gives way to what is said outright: "kneeling, bent over" is no contradiction."""
    said = [c for c in constraints if c.source not in POSTURES]
    trunk_said = any(c.quantity in _TRUNK_DIRECTION for c in said)
    kept: list[Constraint] = []
    for c in constraints:
        if c.source in POSTURES:
            if any(o.quantity == c.quantity and (o.lo >= c.hi or o.hi <= c.lo) for o in said):
                continue
            if c.quantity == "trunk.up" and trunk_said and c.lo <= 0:
                if any(o.quantity in _TRUNK_DIRECTION and o.lo >= c.hi - _LEAN_ROOM for o in said):
                    continue
                kept.append(replace(c, asked=False))  # leaning as said, but not until the posture is another one
                continue
        kept.append(c)
    return tuple(kept)


def expand(statement: str) -> list[str]:
    """One statement as written -> full names: plurals and ``both_`` become left and right, sides are filled in."""
    if statement in _POSECODES or _is_numeric(statement):
        return [statement]
    subject = re.match(r"[a-z_]+", statement)
    if subject is None:
        raise PosecodeError(f"'{statement}' is not a statement; write for example left_knee=right_angle.")
    head, rest = subject[0], statement[subject.end() :]
    part = head[5:] if head.startswith("both_") else _PLURALS.get(head)
    if part is not None:
        part = _PLURALS.get(part, part)
        if rest.startswith("@"):
            rest = "@" + _PLURALS.get(rest[1:], rest[1:])
        return [n for s in SIDES for n in expand(f"{s}_{part}{rest}")]
    if rest[:1] in ("@", ":") and head[:5] in ("left_", "right"):
        own = "left" if head.startswith("left_") else "right"
        other = "right" if own == "left" else "left"
        target, equals, value = rest[1:].partition("=")
        turned = _TURNED_ROUND.get(value, value)
        for filled in (target.replace("other_", f"{other}_"), target.replace("same_", f"{own}_"), f"{own}_{target}"):
            for name in (f"{head}{rest[0]}{filled}{equals}{value}", f"{filled}{rest[0]}{head}{equals}{turned}"):
                if name in _POSECODES or _is_numeric(name):
                    return [name]
    raise PosecodeError(_not_known(statement))


def _is_numeric(statement: str) -> bool:
    name, equals, value = statement.partition("=")
    return bool(equals) and name in _QUANTITIES and _RANGE.match(value) is not None


def _constraints(name: str) -> Iterator[Constraint]:
    code = _POSECODES.get(name)
    if code is not None:
        for t in code.terms:
            yield Constraint(t.quantity, t.lo, t.hi, 1.0, name)
        return
    quantity, _, value = name.partition("=")
    m = _RANGE.match(value)
    assert m is not None
    if m["near"] is not None:
        centre, half = float(m["near"]), _NEARLY[_QUANTITIES[quantity].unit]
        yield Constraint(quantity, centre - half, centre + half, 1.0, name)
        return
    lo = -INF if m["lo"] is None else float(m["lo"])
    hi = INF if m["hi"] is None else float(m["hi"])
    if not lo < hi:
        raise PosecodeError(f"'{name}' has no room between its ends; write the smaller number first.")
    yield Constraint(quantity, lo, hi, 1.0, name)


def _negation(name: str, terms: list[Constraint]) -> Constraint:
    """The nearest way out of a statement; only intervals with one open end have a unique one."""
    if len(terms) == 1:
        c, step = terms[0], 2 * _QUANTITIES[terms[0].quantity].tolerance
        if c.lo <= -1 and c.hi < INF:
            return Constraint(c.quantity, c.hi + step, INF, c.weight, f"!{name}")
        if c.hi == INF:
            return Constraint(c.quantity, -INF, c.lo - step, c.weight, f"!{name}")
        unit = _QUANTITIES[c.quantity].unit
        if unit == "deg" and c.hi >= 180:
            return Constraint(c.quantity, -INF, c.lo - step, c.weight, f"!{name}")
        if unit == "deg" and c.lo <= 0:
            return Constraint(c.quantity, c.hi + step, INF, c.weight, f"!{name}")
    raise PosecodeError(f"'!{name}' can be true in more than one way; say what should hold instead.")


def _not_known(statement: str) -> str:
    import difflib

    near = difflib.get_close_matches(statement, list(_POSECODES), 3, 0.5)
    return f"'{statement}' is not in the vocabulary" + (f"; near it: {', '.join(near)}." if near else ".")


def mirror_code(name: str) -> str:
    """The name of the statement that holds for the mirrored pose; for left:right pairs the relation is turned round."""
    swapped = mirror_words(name)
    p, joined, rest = re.match(r"(\w*)([@:]?)(.*)", name).groups()  # type: ignore[union-attr]
    q, _, v = rest.partition("=")
    if joined and mirror_words(p) == q and swapped not in _POSECODES and not _is_numeric(swapped):
        if joined == "@":
            return name
        return f"{p}:{q}={_TURNED_ROUND.get(v, v) if v not in SIDES else v}"
    return swapped


def mirror_constraint(c: Constraint) -> Constraint:
    """The constraint that holds for the mirrored pose."""
    q = _QUANTITIES[c.quantity]
    lo, hi = (c.lo, c.hi) if q.mirror_sign > 0 else (-c.hi, -c.lo)
    bang = "!" if c.source.startswith("!") else ""
    source = mirror_code(c.source[1:] if bang else c.source)
    return replace(c, quantity=q.mirror, lo=lo, hi=hi, source=bang + source)
