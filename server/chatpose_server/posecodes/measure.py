"""Measures poses: every quantity of the vocabulary, for a batch at once, differentiable. Knows no words.

Quantities are computed family by family from one forward kinematics, and only the families that are asked for.
All of it runs on whatever device and dtype the rotations have. Angles come from atan2, whose gradients stay finite.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from ..body import BodyState, default_body
from ..pose import Pose, stack_matrot
from ..rotations import geodesic_angle
from ..skeleton import BODY_JOINTS, INDEX, MIRROR
from . import landmarks as lm
from . import limits
from .vocabulary import (
    ARM_SEGMENTS,
    CONTACTS,
    DIRECTION_AXES,
    FAMILIES,
    GAZE_TARGETS,
    GROUND_PARTS,
    HEIGHT_PARTS,
    JOINT_ANGLES,
    PAIRS,
    POSECODES,
    QUANTITIES,
    SEGMENTS,
    SIDES,
    Constraint,
)  # fmt: skip

_BODY: Final = len(BODY_JOINTS)
_EPS: Final = 1e-9
_DEG: Final = 180.0 / math.pi
_SUPPORT_HEIGHT: Final = 0.045  # metres over the lowest point within which a part of the body carries weight
_HULL_DIRECTIONS: Final = 16


def measure(local_matrot: Tensor, names: Sequence[str] | None = None) -> Tensor:
    """Quantities of poses.

    ``local_matrot``: (B, J >= 22, 3, 3) local rotations in SMPL-X order, joint 0 the global orientation.
    ``names``: which quantities, default all in the vocabulary's order. Returns (B, len(names)).
    """
    wanted = list(QUANTITIES) if names is None else list(names)
    families = dict.fromkeys(QUANTITIES[n].family for n in wanted)
    view = BodyView(local_matrot)
    return measure_view(view, wanted, tuple(families))


def measure_view(view: BodyView, names: Sequence[str], families: tuple[str, ...] | None = None) -> Tensor:
    """``measure`` for bodies whose kinematics are already known."""
    families = families or tuple(dict.fromkeys(QUANTITIES[n].family for n in names))
    parts: list[Tensor] = []
    picked: list[str] = []
    for f in families:
        if f == "contact":  # by far the dearest family: only what is asked for
            mine = tuple(n for n in names if QUANTITIES[n].family == f)
            picked += mine
            parts.append(_contacts(view, mine))
        else:
            picked += FAMILIES[f]
            parts.append(FAMILY_ROUTINES[f](view))
    at = {n: i for i, n in enumerate(picked)}
    return torch.cat(parts, -1)[:, [at[n] for n in names]]


def measure_poses(poses: Iterable[Pose], names: Sequence[str] | None = None) -> Tensor:
    """(N, len(names)) for Pose values; joints they do not speak of are at rest."""
    with torch.no_grad():
        return measure(stack_matrot(poses), names)


def holds(values: Mapping[str, float], constraint: Constraint, slack: float = 1.0) -> bool:
    """Does one pose's value satisfy the constraint? ``slack`` times the quantity's tolerance is forgiven."""
    tolerance = QUANTITIES[constraint.quantity].tolerance * slack
    return constraint.lo - tolerance <= values[constraint.quantity] <= constraint.hi + tolerance


def posecodes_hold(values: Tensor, slack: float = 1.0) -> Tensor:
    """(B, all quantities) -> (B, all posecodes) bool: which statements are true; flags are never true."""
    columns, lo, hi, tolerance, owner, has = _code_table()
    v = values[:, columns]
    bad = ((v < lo - slack * tolerance) | (v > hi + slack * tolerance)).to(values.dtype)  # (B, T)
    count = torch.zeros(values.shape[0], len(POSECODES), dtype=values.dtype, device=values.device)
    count.index_add_(1, owner, bad)
    return (count == 0) & has


def excess(values: Tensor, constraints: Sequence[Constraint], names: Sequence[str]) -> Tensor:
    """(B, len(constraints)): how far each value lies outside its interval, in the quantity's unit; 0 inside."""
    at = {n: i for i, n in enumerate(names)}
    v = values[:, [at[c.quantity] for c in constraints]]
    lo = v.new_tensor([c.lo for c in constraints])
    hi = v.new_tensor([c.hi for c in constraints])
    return torch.relu(lo - v) + torch.relu(v - hi)


@functools.cache
def _code_table() -> tuple[list[int], Tensor, Tensor, Tensor, Tensor, Tensor]:
    at = {n: i for i, n in enumerate(QUANTITIES)}
    terms = [(i, t) for i, c in enumerate(POSECODES.values()) for t in c.terms]
    return (
        [at[t.quantity] for _, t in terms],
        torch.tensor([t.lo for _, t in terms]),
        torch.tensor([t.hi for _, t in terms]),
        torch.tensor([QUANTITIES[t.quantity].tolerance for _, t in terms]),
        torch.tensor([i for i, _ in terms]),
        torch.tensor([bool(c.terms) for c in POSECODES.values()]),
    )


def _angle_of_cos(cos: Tensor) -> Tensor:
    """Degrees from a cosine, with finite gradients at both ends."""
    cos = cos.clamp(-1.0, 1.0)
    return torch.atan2(torch.sqrt((1 - cos * cos).clamp(min=0) + 1e-6), cos) * _DEG


def _arcsin(sin: Tensor) -> Tensor:
    return 90.0 - _angle_of_cos(sin)


def _unit(v: Tensor) -> Tensor:
    return v / torch.sqrt((v * v).sum(-1, keepdim=True) + _EPS)


def _length(v: Tensor) -> Tensor:
    return torch.sqrt((v * v).sum(-1) + _EPS)


class _Rest:
    """Rest offsets of a set of balls from their joints, ready to be carried along."""

    def __init__(self, joints: Sequence[str], points: Sequence[lm.Vec]) -> None:
        self.joint = [INDEX[j] for j in joints]
        self.offset = torch.tensor(points) - default_body().neutral_joints[self.joint]

    def carry(self, state: BodyState) -> Tensor:
        """(B, n, 3)."""
        turned = (state.matrot[:, self.joint] @ self.offset.to(state.joints)[None, ..., None]).squeeze(-1)
        return state.joints[:, self.joint] + turned


@functools.cache
def _points() -> _Rest:
    balls = [b[0] for b in lm.POINTS.values()]
    return _Rest([b.joint for b in balls], [b.centre for b in balls])


_POINT_AT: Final = {n: i for i, n in enumerate(lm.POINTS)}


@functools.cache
def _ground() -> tuple[_Rest, Tensor, list[list[int]]]:
    """Ground balls, their radii, and for each ground quantity its balls' indices padded to one length."""
    flat = [(name, b) for name, balls in lm.GROUND_BALLS.items() for b in balls]
    of = {name: [i for i, (n, _) in enumerate(flat) if n == name] for name in lm.GROUND_BALLS}
    of |= {name: [i for p in parts for i in of[p]] for name, parts in lm.GROUND_UNIONS.items()}
    groups = [of[p] for p in (*GROUND_PARTS, "feet", "lowest_hand")]
    longest = max(map(len, groups))
    padded = [g + [g[0]] * (longest - len(g)) for g in groups]
    rest = _Rest([b.joint for _, b in flat], [b.centre for _, b in flat])
    return rest, torch.tensor([b.radius for _, b in flat]), padded


class BodyView:
    """One batch of posed bodies, seen in the frames the vocabulary speaks of. All is computed once, on demand."""

    def __init__(self, local_matrot: Tensor) -> None:
        self.local = local_matrot[:, :_BODY]  # (B, 22, 3, 3)
        self.state = default_body().forward_kinematics(self.local)

    @functools.cached_property
    def points(self) -> Tensor:
        """(B, len(POINTS), 3)."""
        return _points().carry(self.state)

    def position(self, name: str) -> Tensor:
        """(B, 3) of a named point or joint."""
        if name in _POINT_AT:
            return self.points[:, _POINT_AT[name]]
        return self.state.joints[:, INDEX[name]]

    @functools.cached_property
    def chest_facing(self) -> tuple[Tensor, Tensor]:
        """Horizontal forward and left of the chest, each (B, 3)."""
        return _facing(self.state.matrot[:, INDEX["spine3"]])

    @functools.cached_property
    def pelvis_facing(self) -> tuple[Tensor, Tensor]:
        """Horizontal forward and left of the pelvis, each (B, 3)."""
        return _facing(self.state.matrot[:, 0])

    @functools.cached_property
    def ground_points(self) -> Tensor:
        """(B, n, 3) centres of the balls that can touch the ground."""
        return _ground()[0].carry(self.state)

    @functools.cached_property
    def ground_heights(self) -> Tensor:
        """(B, n): underside of each ball over the lowest one."""
        low = self.ground_points[..., 1] - _ground()[1].to(self.ground_points)
        return low - low.amin(-1, keepdim=True)

    @functools.cached_property
    def ground_level(self) -> Tensor:
        """(B,) world height of the lowest point."""
        return (self.ground_points[..., 1] - _ground()[1].to(self.ground_points)).amin(-1)

    @functools.cached_property
    def centre_of_mass(self) -> Tensor:
        """(B, 3)."""
        parts = [(self.position(a) * (1 - t) + self.position(b) * t) * m for a, b, m, t in lm.MASSES]
        return torch.stack(parts).sum(0) / sum(m for _, _, m, _ in lm.MASSES)


def _facing(matrot: Tensor) -> tuple[Tensor, Tensor]:
    """The way a part faces if it were stood upright by the shortest rotation: forward and left, horizontal, (B, 3)."""
    up, forward = matrot[..., 1], matrot[..., 2]
    k = forward[..., 1] / (1 + up[..., 1]).clamp(min=0.15)  # upside down, the front itself is horizontal enough
    fx = forward[..., 0] - k * up[..., 0]
    fz = forward[..., 2] - k * up[..., 2]
    n = torch.sqrt(fx * fx + fz * fz + 1e-6)
    fx, fz = fx / n, fz / n
    zero = torch.zeros_like(fx)
    return torch.stack([fx, zero, fz], -1), torch.stack([fz, zero, -fx], -1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


# -- families ----------------------------------------------------------------------------------------------------------
_BONES: Final[Mapping[str, tuple[str, str]]] = {
    "upper_arm": ("shoulder", "elbow"), "forearm": ("elbow", "wrist"), "arm": ("shoulder", "wrist"),
    "hand": ("wrist", "knuckle"), "thigh": ("hip", "knee"), "shin": ("knee", "ankle"), "leg": ("hip", "ankle"),
    "foot": ("ankle", "foot"),
}  # fmt: skip
_ANGLE_ENDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "elbow": ("shoulder", "elbow", "wrist"), "knee": ("hip", "knee", "ankle"), "ankle": ("knee", "ankle", "foot"),
    "wrist": ("elbow", "wrist", "knuckle"),
}  # fmt: skip


def _angles(view: BodyView) -> Tensor:
    firsts: list[Tensor] = []
    seconds: list[Tensor] = []
    for s in SIDES:
        for j in JOINT_ANGLES:
            if j == "hip":
                firsts.append(view.position("neck") - view.position("pelvis"))
                seconds.append(view.position(f"{s}_knee") - view.position(f"{s}_hip"))
                continue
            a, b, c = (view.position(f"{s}_{e}") for e in _ANGLE_ENDS[j])
            firsts.append(a - b)
            seconds.append(c - b)
    return _angle_of_cos(_dot(_unit(torch.stack(firsts, 1)), _unit(torch.stack(seconds, 1))))


def _directions(view: BodyView) -> Tensor:
    chest, pelvis = view.state.matrot[:, INDEX["spine3"]], view.state.matrot[:, 0]
    d: list[Tensor] = []
    axes: list[Tensor] = []
    for s in SIDES:
        for seg in (*SEGMENTS, "palm"):
            arm = seg in ARM_SEGMENTS or seg == "palm"
            if seg == "palm":
                d.append(-view.state.matrot[:, INDEX[f"{s}_wrist"], :, 1])
            else:
                a, b = _BONES[seg]
                d.append(_unit(view.position(f"{s}_{b}") - view.position(f"{s}_{a}")))
            forward, left = view.chest_facing if arm else view.pelvis_facing
            frame = chest if arm else pelvis
            axes.append(torch.stack([forward, left if s == "left" else -left, frame[..., 1], frame[..., 2]], 1))
    direction = torch.stack(d, 1)  # (B, 18, 3)
    cos = torch.einsum("bnc,bnac->bna", direction, torch.stack(axes, 1))  # forward, out, overhead, ahead
    up = direction[..., 1:2]
    assert DIRECTION_AXES == ("up", "vertical", "forward", "out", "overhead", "ahead")
    return _angle_of_cos(torch.cat([up, up.abs(), cos], -1)).flatten(1)


def _heights(view: BodyView) -> Tensor:
    rows: list[Tensor] = []
    y = {n: view.position(n)[:, 1] for n in ("crown", "eyes", "chest_front", "waist", "pelvis")}
    for s in SIDES:
        levels = torch.stack(
            [y["crown"], y["eyes"], view.position(f"{s}_shoulder")[:, 1], y["chest_front"], y["waist"],
             y["pelvis"] - 0.02, view.position(f"{s}_knee")[:, 1]], -1,
        )  # fmt: skip
        for part in HEIGHT_PARTS:
            rows.append(view.position(f"{s}_{'mid_foot' if part == 'foot' else part}")[:, 1:2] - levels)
    return torch.cat(rows, -1)


_PAIR_POINTS: Final[Mapping[str, str]] = {
    "left_foot": "left_mid_foot", "right_foot": "right_mid_foot", "head": "eyes",
}  # fmt: skip


def _pairs(view: BodyView) -> Tensor:
    first = torch.stack([view.position(_PAIR_POINTS.get(p, p)) for p, _ in PAIRS], 1)
    second = torch.stack([view.position(_PAIR_POINTS.get(q, q)) for _, q in PAIRS], 1)
    delta = first - second  # (B, n, 3)
    arm = torch.tensor(["hand" in p or "elbow" in p for p, _ in PAIRS], device=delta.device)[None, :, None]
    forward = torch.where(arm, view.chest_facing[0][:, None], view.pelvis_facing[0][:, None])
    left = torch.where(arm, view.chest_facing[1][:, None], view.pelvis_facing[1][:, None])
    return torch.stack([_length(delta), delta[..., 1], _dot(delta, forward), _dot(delta, left)], -1).flatten(1)


@functools.cache
def _contact_table() -> tuple[_Rest, Tensor, _Rest, _Rest, Tensor, Tensor, Tensor]:
    names = list(lm.TOUCHERS)
    widest = max(len(b) for b in lm.TOUCHERS.values())
    balls = [b for n in names for b in (lm.TOUCHERS[n] + lm.TOUCHERS[n][:1] * widest)[:widest]]
    capsules = list(lm.TARGETS.values())
    target_at = {n: i for i, n in enumerate(lm.TARGETS)}
    # Two hands meet palm on palm or finger on palm: the other hand is touched as a toucher's ball is.
    target_at["left_hand"] = len(capsules)
    target_at["right_hand"] = len(capsules) + 1
    capsules += [
        lm.Capsule(f"{s}_wrist", (x * 0.700, -0.004, 0.0), (x * 0.785, 0.003, 0.003), 0.0)
        for s, x in (("left", 1), ("right", -1))
    ]
    source = [names.index(f"{p}_any" if p.endswith("_hand") and q in lm.DORSAL_TARGETS else p) for p, q in CONTACTS]
    return (
        _Rest([b.joint for b in balls], [b.centre for b in balls]),
        torch.tensor([b.radius for b in balls]).unflatten(0, (-1, widest)),
        _Rest([c.joint for c in capsules], [c.start for c in capsules]),
        _Rest([c.end_joint or c.joint for c in capsules], [c.end for c in capsules]),
        torch.tensor([c.radius for c in capsules]),
        torch.tensor(source),
        torch.tensor([target_at[q] for _, q in CONTACTS]),
    )


@functools.cache
def _contact_rows(names: tuple[str, ...]) -> list[int]:
    at = {n: i for i, n in enumerate(FAMILIES["contact"])}
    return [at[n] for n in names]


def _contacts(view: BodyView, names: tuple[str, ...] = FAMILIES["contact"]) -> Tensor:
    balls, radius, starts, ends, thick, source, target = _contact_table()
    rows = _contact_rows(names)
    source, target = source[rows], target[rows]
    points = balls.carry(view.state).unflatten(1, radius.shape)[:, source]  # (B, n, k, 3)
    a = starts.carry(view.state)[:, target][:, :, None]
    b = ends.carry(view.state)[:, target][:, :, None]
    ab = b - a
    t = (_dot(points - a, ab) / (_dot(ab, ab) + _EPS)).clamp(0, 1)[..., None]
    gap = _length(points - a - t * ab) - radius.to(points)[source] - thick.to(points)[target][:, None]
    return gap.amin(-1)


def _ground_family(view: BodyView) -> Tensor:
    heights = view.ground_heights[:, _ground()[2]].amin(-1)
    pelvis = view.state.joints[:, 0, 1] - view.ground_level
    return torch.cat([heights, pelvis[:, None]], -1)


def _trunk(view: BodyView) -> Tensor:
    pelvis, chest, head = (view.state.matrot[:, INDEX[j]] for j in ("pelvis", "spine3", "head"))
    forward, left = view.pelvis_facing
    t = _unit(view.position("neck") - view.position("pelvis"))
    bend = pelvis.transpose(-1, -2) @ chest
    nod = chest.transpose(-1, -2) @ head
    u = pelvis[..., 1]
    gaze = head[..., 2]
    return torch.stack(
        [
            _angle_of_cos(t[:, 1]),
            _signed(_dot(t, forward), t[:, 1]),
            _arcsin(_dot(t, left)),
            _signed(bend[:, 0, 2] - bend[:, 2, 0], bend[:, 0, 0] + bend[:, 2, 2]),
            _signed(bend[:, 2, 1], bend[:, 1, 1]),
            _arcsin(bend[:, 0, 1]),
            _signed(_dot(u, forward), u[:, 1]),
            _arcsin(_dot(u, left)) * -1.0,
            _angle_of_cos(u[:, 1]),
            _angle_of_cos(pelvis[:, 1, 2]),
            _angle_of_cos(chest[:, 1, 2]),
            _angle_of_cos(chest[:, 1, 0]),
            _signed(forward[:, 0], forward[:, 2]),
            _signed(nod[:, 0, 2] - nod[:, 2, 0], nod[:, 0, 0] + nod[:, 2, 2]),
            _arcsin(nod[:, 1, 2]),
            _arcsin(-nod[:, 1, 0]),
            _arcsin(gaze[:, 1]),
            _signed(_dot(gaze, left), _dot(gaze, forward)),
            _angle_of_cos(-chest[:, 1, 0]),
        ],
        -1,
    )


def _signed(sin: Tensor, cos: Tensor) -> Tensor:
    """Degrees in (-180, 180]; near the pole, where the angle is not defined, the gradient stays finite."""
    pole = (sin * sin + cos * cos) < 1e-8
    sin, cos = torch.where(pole, torch.zeros_like(sin), sin), torch.where(pole, torch.ones_like(cos), cos)
    return torch.atan2(sin, cos) * _DEG


def _gaze(view: BodyView) -> Tensor:
    eyes, forward = view.position("eyes"), view.state.matrot[:, INDEX["head"], :, 2]
    to = torch.stack([view.position(_PAIR_POINTS.get(n, n)) for n in GAZE_TARGETS], 1) - eyes[:, None]
    return _angle_of_cos(_dot(_unit(to), forward[:, None]))


def _collar(view: BodyView) -> Tensor:
    chest, origin = view.state.matrot[:, INDEX["spine3"]], view.state.joints[:, INDEX["spine3"]]
    rest = default_body().neutral_joints.to(origin)
    out: list[Tensor] = []
    for s in SIDES:
        at = INDEX[f"{s}_shoulder"]
        local = (chest.transpose(-1, -2) @ (view.state.joints[:, at] - origin)[..., None]).squeeze(-1)
        delta = local - (rest[at] - rest[INDEX["spine3"]])
        out += [delta[:, 1], delta[:, 2]]
    return torch.stack(out, -1)


def _stance(view: BodyView) -> Tensor:
    forward, left = view.pelvis_facing
    ankles = view.position("left_ankle") - view.position("right_ankle")
    knees = view.position("left_knee") - view.position("right_knee")
    wrists = view.position("left_wrist") - view.position("right_wrist")
    feet = [view.position(f"{s}_foot") - view.position(f"{s}_ankle") for s in SIDES]
    # At rest the toes already point 15 degrees outward (ankle to toe joint): that is the zero of turnout.
    rest = math.degrees(math.atan2(0.033, 0.123))
    turn = [_signed(_dot(f, left) * x, _dot(f, forward)) - rest for f, x in zip(feet, (1.0, -1.0), strict=True)]
    middle = (view.position("left_mid_foot") + view.position("right_mid_foot")) / 2
    apart = (view.position("left_mid_foot") - view.position("right_mid_foot"))[:, [0, 2]]
    com = view.centre_of_mass
    square = _dot(apart, apart).clamp(min=0.01)
    side = 2 * _dot((com - middle)[:, [0, 2]], apart) / square
    return torch.stack(
        [_dot(ankles, left), _dot(ankles, forward), _dot(knees, left), _dot(wrists, view.chest_facing[1]),
         turn[0], turn[1], side, _balance(view)], -1,
    )  # fmt: skip


def _balance(view: BodyView) -> Tensor:
    """How far the centre of mass lies outside the hull of what touches the ground; negative inside."""
    angles = torch.arange(_HULL_DIRECTIONS, device=view.local.device) * (2 * math.pi / _HULL_DIRECTIONS)
    forward, left = (v[:, None, [0, 2]] for v in view.pelvis_facing)  # the directions turn with the body
    d = torch.cos(angles).to(view.local)[:, None] * forward + torch.sin(angles).to(view.local)[:, None] * left
    d = d.transpose(-1, -2)  # (B, 2, 16)
    reach = view.ground_points[..., [0, 2]] @ d  # (B, n, 16)
    floats = torch.relu(view.ground_heights - _SUPPORT_HEIGHT)[..., None]
    hull = (reach - 20.0 * floats).amax(1)  # a part that floats by a centimetre supports 20 cm less
    return ((view.centre_of_mass[:, None, [0, 2]] @ d).squeeze(1) - hull).amax(-1)


_ARM_JOINTS: Final = tuple(INDEX[f"left_{j}"] for j in ("collar", "shoulder", "elbow", "wrist"))
_LEG_JOINTS: Final = tuple(INDEX[f"left_{j}"] for j in ("hip", "knee", "ankle"))
_MIDDLE_JOINTS: Final = tuple(INDEX[j] for j in ("spine1", "spine2", "spine3", "neck", "head"))


def mirrored(local_matrot: Tensor) -> Tensor:
    """(B, 22, 3, 3): the poses in a mirror."""
    sign = local_matrot.new_tensor([-1.0, 1.0, 1.0])
    return local_matrot[:, list(MIRROR[:_BODY])] * sign[:, None] * sign


def _symmetry(view: BodyView) -> Tensor:
    angle = geodesic_angle(view.local, mirrored(view.local)) * _DEG  # (B, 22)
    arms, legs = angle[:, _ARM_JOINTS].amax(-1), angle[:, _LEG_JOINTS].amax(-1)
    middle = angle[:, _MIDDLE_JOINTS].amax(-1) / 2  # a tilt of 10 degrees differs from its mirror image by 20
    return torch.stack([arms, legs, torch.stack([arms, legs, middle]).amax(0)], -1)


def _natural(view: BodyView) -> Tensor:
    return torch.stack([limits.excess(view.local).flatten(1).amax(-1), penetration(view).amax(-1)], -1)


@functools.cache
def _capsule_table() -> tuple[_Rest, _Rest, Tensor, list[int], list[int]]:
    capsules = list(lm.BODY_CAPSULES.values())
    at = {n: i for i, n in enumerate(lm.BODY_CAPSULES)}
    return (
        _Rest([c.joint for c in capsules], [c.start for c in capsules]),
        _Rest([c.end_joint or c.joint for c in capsules], [c.end for c in capsules]),
        torch.tensor([c.radius for c in capsules]),
        [at[a] for a, _ in lm.COLLISIONS],
        [at[b] for _, b in lm.COLLISIONS],
    )


def penetration(view: BodyView) -> Tensor:
    """(B, len(COLLISIONS)) metres: how deep two capsules of the body overlap; 0 when apart."""
    starts, ends, radius, first, second = _capsule_table()
    a, b = starts.carry(view.state), ends.carry(view.state)
    r = radius.to(a)
    gap = _segment_distance(a[:, first], b[:, first], a[:, second], b[:, second])
    return torch.relu(r[first] + r[second] - gap)


def _segment_distance(p: Tensor, p_end: Tensor, q: Tensor, q_end: Tensor) -> Tensor:
    """Distance of two segments, (..., 3) each (Ericson, Real-Time Collision Detection 5.1.9, without branches)."""
    d1, d2, r = p_end - p, q_end - q, p - q
    a, e, f = _dot(d1, d1) + _EPS, _dot(d2, d2) + _EPS, _dot(d2, r)
    b, c = _dot(d1, d2), _dot(d1, r)
    s = ((b * f - c * e) / (a * e - b * b).clamp(min=_EPS)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    s = ((b * t - c) / a).clamp(0, 1)
    return _length(r + s[..., None] * d1 - t[..., None] * d2)


FAMILY_ROUTINES: Final[Mapping[str, Callable[[BodyView], Tensor]]] = {
    "angle": _angles, "direction": _directions, "height": _heights, "pair": _pairs, "contact": _contacts,
    "ground": _ground_family, "trunk": _trunk, "gaze": _gaze, "collar": _collar, "stance": _stance,
    "symmetry": _symmetry, "natural": _natural,
}  # fmt: skip
