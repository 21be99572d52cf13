"""Measures poses: every quantity of the vocabulary, for a batch at once, differentiable. Knows no words.

Quantities are computed family by family from one forward kinematics, and only the families that are asked for.
All of it runs on whatever device and dtype the rotations have. Angles come from atan2, whose gradients stay finite.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from ..body import BodyState, default_body
from ..pose import Pose, mirrored_matrot, stack_matrot
from ..rotations import geodesic_angle
from ..skeleton import BODY_JOINTS, INDEX, PARENTS, levels
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
    columns = _columns(tuple(picked), tuple(names))
    return torch.cat(parts, -1).index_select(-1, columns.to(view.local.device))


@functools.lru_cache(maxsize=1024)
def _columns(picked: tuple[str, ...], names: tuple[str, ...]) -> Tensor:
    at = {n: i for i, n in enumerate(picked)}
    return torch.tensor([at[n] for n in names], dtype=torch.long)


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


def _unit(v: Tensor) -> Tensor:
    return v / torch.sqrt((v * v).sum(-1, keepdim=True) + _EPS)


def _length(v: Tensor) -> Tensor:
    return torch.sqrt((v * v).sum(-1) + _EPS)


class _Rest:
    """Points at rest, ready to be carried along: a linear map of the joints' places and rotations.

    One product with a matrix that is mostly zeros costs less than gathering and turning each point.
    """

    def __init__(self, joints: Sequence[str], points: Sequence[lm.Vec]) -> None:
        at = torch.tensor([INDEX[j] for j in joints])
        offset = torch.tensor(points) - default_body().neutral_joints[at]  # (n, 3)
        n, axis = torch.arange(len(at)), torch.eye(3)
        self.map = torch.zeros(_BODY, 4, 3, len(at), 3)  # joint, (rotation's column or place), axis, point, axis
        for k in range(3):
            self.map[at, k, :, n] = offset[:, k, None, None] * axis
        self.map[at, 3, :, n] = axis
        self.map = self.map.flatten(0, 2).flatten(1)

    def carry(self, frames: Tensor) -> Tensor:
        """``BodyView.frames`` (B, 22 * 12) -> (B, n, 3)."""
        return (frames @ self.map.to(frames)).unflatten(-1, (-1, 3))


@functools.cache
def _points() -> _Rest:
    balls = [b[0] for b in lm.POINTS.values()]
    return _Rest([b.joint for b in balls], [b.centre for b in balls])


_PLACE_AT: Final = {n: i for i, n in enumerate((*BODY_JOINTS, *lm.POINTS))}


@functools.cache
def _places(names: tuple[str, ...]) -> Tensor:
    return torch.tensor([_PLACE_AT[n] for n in names])


@functools.cache
def _ground() -> tuple[_Rest, Tensor, Tensor]:
    """Ground balls, their radii, and for each ground quantity its balls' indices padded to one length."""
    flat = [(name, b) for name, balls in lm.GROUND_BALLS.items() for b in balls]
    of = {name: [i for i, (n, _) in enumerate(flat) if n == name] for name in lm.GROUND_BALLS}
    of |= {name: [i for p in parts for i in of[p]] for name, parts in lm.GROUND_UNIONS.items()}
    groups = [of[p] for p in (*GROUND_PARTS, "feet", "lowest_hand")]
    longest = max(map(len, groups))
    padded = torch.tensor([g + [g[0]] * (longest - len(g)) for g in groups])
    rest = _Rest([b.joint for _, b in flat], [b.centre for _, b in flat])
    return rest, torch.tensor([b.radius for _, b in flat]), padded


class BodyView:
    """One batch of posed bodies, seen in the frames the vocabulary speaks of. All is computed once, on demand."""

    def __init__(self, local_matrot: Tensor) -> None:
        self.local = local_matrot[:, :_BODY]  # (B, 22, 3, 3)
        glob = [self.local[:, :1]]
        for above, here in _levels():
            glob.append(glob[-1].index_select(1, above.to(glob[-1].device)) @ self.local[:, here])
        matrot = torch.cat(glob, 1)[:, _joint_order()]
        root, stretch = _skeleton()
        joints = root.to(matrot) + (matrot.flatten(1) @ stretch.to(matrot)).unflatten(-1, (-1, 3))
        self.state = BodyState(joints, matrot)

    @functools.cached_property
    def frames(self) -> Tensor:
        """(B, 22 * 12): each joint's rotation by columns and its place, in a row; what ``_Rest`` maps."""
        rotation, place = self.state.matrot.transpose(-1, -2), self.state.joints[..., None, :]
        return torch.cat([rotation, place], -2).flatten(1)

    @functools.cached_property
    def points(self) -> Tensor:
        """(B, 22 + len(POINTS), 3): the joints, then the named points."""
        return torch.cat([self.state.joints, _points().carry(self.frames)], 1)

    def position(self, name: str) -> Tensor:
        """(B, 3) of a named point or joint."""
        return self.points[:, _PLACE_AT[name]]

    def positions(self, names: tuple[str, ...]) -> Tensor:
        """(B, len(names), 3)."""
        return self.points.index_select(1, _places(names).to(self.points.device))

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
        return _ground()[0].carry(self.frames)

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
        return torch.einsum("n,bnc->bc", _mass_shares().to(self.points), self.points)


@functools.cache
def _mass_shares() -> Tensor:
    """(22 + len(POINTS),) what each joint and point counts in the centre of mass."""
    share = torch.zeros(len(_PLACE_AT))
    for a, b, mass, t in lm.MASSES:
        share[_PLACE_AT[a]] += mass * (1 - t)
        share[_PLACE_AT[b]] += mass * t
    return share / share.sum()


@functools.cache
def _levels() -> tuple[tuple[Tensor, Tensor], ...]:
    """For each depth below the pelvis: where its parents stand in the depth above, and its joints."""
    plan = itertools.pairwise(levels(_BODY))
    return tuple((torch.tensor([up.index(PARENTS[j]) for j in here]), torch.tensor(here)) for up, here in plan)


@functools.cache
def _joint_order() -> Tensor:
    """Where each joint stands when they are listed depth by depth."""
    return torch.tensor([j for depth in levels(_BODY) for j in depth]).argsort()


@functools.cache
def _skeleton() -> tuple[Tensor, Tensor]:
    """The pelvis at rest, and the linear map (22 * 9, 22 * 3) from global rotations to the joints' way from it.

    The same forward kinematics as the body's: each bone is turned by its parent, so places are sums of columns.
    """
    rest = default_body().neutral_joints[:_BODY]
    stretch = torch.zeros(_BODY, 3, 3, _BODY, 3)  # joint, its rotation's row and column; joint, axis
    for j in range(1, _BODY):
        parent = PARENTS[j]
        stretch[..., j, :] = stretch[..., parent, :]
        for axis in range(3):
            stretch[parent, axis, :, j, axis] += rest[j] - rest[parent]
    return rest[0], stretch.flatten(0, 2).flatten(1)


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


def _angle_bones() -> tuple[tuple[str, ...], ...]:
    """Where the first bones begin and end, and the second ones."""
    rows: list[tuple[str, str, str, str]] = []
    for s in SIDES:
        for j in JOINT_ANGLES:
            if j == "hip":
                rows.append(("pelvis", "neck", f"{s}_hip", f"{s}_knee"))
            else:
                a, b, c = (f"{s}_{e}" for e in _ANGLE_ENDS[j])
                rows.append((b, a, b, c))
    return tuple(zip(*rows, strict=True))


_ANGLE_BONES: Final = _angle_bones()


def _angles(view: BodyView) -> Tensor:
    a, b, c, d = (view.positions(names) for names in _ANGLE_BONES)
    return _angle_of_cos(_dot(_unit(b - a), _unit(d - c)))


_LIMBS: Final = tuple((s, seg) for s in SIDES for seg in SEGMENTS)
_LIMB_STARTS: Final = tuple(f"{s}_{_BONES[seg][0]}" for s, seg in _LIMBS)
_LIMB_ENDS: Final = tuple(f"{s}_{_BONES[seg][1]}" for s, seg in _LIMBS)


@functools.cache
def _direction_signs() -> tuple[Tensor, Tensor, Tensor]:
    """For the 18 directions in the vocabulary's order: their row among limbs and palms, which follow the chest
    (1, 18, 1), and the sign of each axis (18, 4)."""
    names = [(s, seg) for s in SIDES for seg in (*SEGMENTS, "palm")]
    rows = [_LIMBS.index(n) if n in _LIMBS else len(_LIMBS) + SIDES.index(n[0]) for n in names]
    chest = [seg in ARM_SEGMENTS or seg == "palm" for _, seg in names]
    sign = [[1.0, 1.0 if s == "left" else -1.0, 1.0, 1.0] for s, _ in names]
    return torch.tensor(rows), torch.tensor(chest)[None, :, None], torch.tensor(sign)


def _directions(view: BodyView) -> Tensor:
    rows, arms, sign = _direction_signs()
    limbs = _unit(view.positions(_LIMB_ENDS) - view.positions(_LIMB_STARTS))
    palms = -view.state.matrot[:, _WRISTS, :, 1]
    direction = torch.cat([limbs, palms], 1).index_select(1, rows.to(limbs.device))  # (B, 18, 3)
    cos = torch.where(
        arms.to(limbs.device),
        direction @ _axes(view.chest_facing, view.state.matrot[:, INDEX["spine3"]]),
        direction @ _axes(view.pelvis_facing, view.state.matrot[:, 0]),
    ) * sign.to(limbs)  # (B, 18, 4): forward, out, overhead, ahead
    up = direction[..., 1:2]
    assert DIRECTION_AXES == ("up", "vertical", "forward", "out", "overhead", "ahead")
    return _angle_of_cos(torch.cat([up, up.abs(), cos], -1)).flatten(1)


_WRISTS: Final = [INDEX[f"{s}_wrist"] for s in SIDES]


def _axes(facing: tuple[Tensor, Tensor], frame: Tensor) -> Tensor:
    """(B, 3, 4): forward, left, and the part's own up and front, as columns."""
    return torch.stack([*facing, frame[..., 1], frame[..., 2]], -1)


_HEIGHT_PLACES: Final = tuple(f"{s}_{'mid_foot' if p == 'foot' else p}" for s in SIDES for p in HEIGHT_PARTS)
_LEVEL_PLACES: Final = tuple(
    place for s in SIDES for place in ("crown", "eyes", f"{s}_shoulder", "chest_front", "waist", "pelvis", f"{s}_knee")
)
_HIP_LINE: Final = 0.02  # metres of the hips' line under the pelvis joint


def _heights(view: BodyView) -> Tensor:
    part = view.positions(_HEIGHT_PLACES)[..., 1].unflatten(1, (2, -1))  # (B, 2, parts)
    level = view.positions(_LEVEL_PLACES)[..., 1].unflatten(1, (2, -1))  # (B, 2, levels)
    over = part[..., None] - level[:, :, None]
    over = torch.cat([over[..., :5], over[..., 5:6] + _HIP_LINE, over[..., 6:]], -1)
    return over.flatten(1)


_PAIR_POINTS: Final[Mapping[str, str]] = {
    "left_foot": "left_mid_foot", "right_foot": "right_mid_foot", "head": "eyes",
}  # fmt: skip


_PAIR_FIRST: Final = tuple(_PAIR_POINTS.get(p, p) for p, _ in PAIRS)
_PAIR_SECOND: Final = tuple(_PAIR_POINTS.get(q, q) for _, q in PAIRS)


@functools.cache
def _pair_arms() -> Tensor:
    return torch.tensor(["hand" in p or "elbow" in p for p, _ in PAIRS])[None, :, None]


def _pairs(view: BodyView) -> Tensor:
    delta = view.positions(_PAIR_FIRST) - view.positions(_PAIR_SECOND)  # (B, n, 3)
    arm = _pair_arms().to(delta.device)
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


@functools.lru_cache(maxsize=1024)
def _contact_rows(names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    at = {n: i for i, n in enumerate(FAMILIES["contact"])}
    rows = [at[n] for n in names]
    return _contact_table()[5][rows], _contact_table()[6][rows]


def _contacts(view: BodyView, names: tuple[str, ...] = FAMILIES["contact"]) -> Tensor:
    balls, radius, starts, ends, thick, _, _ = _contact_table()
    source, target = (t.to(view.frames.device) for t in _contact_rows(names))
    points = balls.carry(view.frames).unflatten(1, radius.shape).index_select(1, source)  # (B, n, k, 3)
    a = starts.carry(view.frames).index_select(1, target)[:, :, None]
    b = ends.carry(view.frames).index_select(1, target)[:, :, None]
    ab = b - a
    t = (_dot(points - a, ab) / (_dot(ab, ab) + _EPS)).clamp(0, 1)[..., None]
    gap = _length(points - a - t * ab) - radius.to(points)[source] - thick.to(points)[target][:, None]
    return gap.amin(-1)


def _ground_family(view: BodyView) -> Tensor:
    groups = _ground()[2].to(view.frames.device)
    heights = view.ground_heights.index_select(1, groups.flatten()).unflatten(1, groups.shape).amin(-1)
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
    # One arc cosine and one arc tangent for all: twenty small ones would take most of the time.
    up, lean, side, roll, pelvis_up, pelvis_face, chest_face, left_up, nod_up, nod_side, gaze_up, right_up = (
        _angle_of_cos(
            torch.stack(
                [t[:, 1], _dot(t, left), bend[:, 0, 1], _dot(u, left), u[:, 1], pelvis[:, 1, 2], chest[:, 1, 2],
                 chest[:, 1, 0], nod[:, 1, 2], -nod[:, 1, 0], gaze[:, 1], -chest[:, 1, 0]], -1,
            )
        ).unbind(-1)
    )  # fmt: skip
    pitch, twist, curl, pelvis_pitch, heading, yaw, gaze_yaw = _signed(
        torch.stack(
            [_dot(t, forward), bend[:, 0, 2] - bend[:, 2, 0], bend[:, 2, 1], _dot(u, forward), forward[:, 0],
             nod[:, 0, 2] - nod[:, 2, 0], _dot(gaze, left)], -1,
        ),
        torch.stack(
            [t[:, 1], bend[:, 0, 0] + bend[:, 2, 2], bend[:, 1, 1], u[:, 1], forward[:, 2],
             nod[:, 0, 0] + nod[:, 2, 2], _dot(gaze, forward)], -1,
        ),
    ).unbind(-1)  # fmt: skip
    return torch.stack(
        [up, pitch, 90 - lean, twist, curl, 90 - side, pelvis_pitch, roll - 90, pelvis_up, pelvis_face, chest_face,
         left_up, heading, yaw, 90 - nod_up, 90 - nod_side, 90 - gaze_up, gaze_yaw, right_up], -1,
    )  # fmt: skip


def _signed(sin: Tensor, cos: Tensor) -> Tensor:
    """Degrees in (-180, 180]; near the pole, where the angle is not defined, the gradient stays finite."""
    pole = (sin * sin + cos * cos) < 1e-8
    sin, cos = torch.where(pole, torch.zeros_like(sin), sin), torch.where(pole, torch.ones_like(cos), cos)
    return torch.atan2(sin, cos) * _DEG


_GAZE_PLACES: Final = tuple(_PAIR_POINTS.get(n, n) for n in GAZE_TARGETS)


def _gaze(view: BodyView) -> Tensor:
    eyes, forward = view.position("eyes"), view.state.matrot[:, INDEX["head"], :, 2]
    to = view.positions(_GAZE_PLACES) - eyes[:, None]
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


_STANCE_LEFT: Final = ("left_ankle", "left_knee", "left_wrist", "left_mid_foot", "left_foot", "right_foot")
_STANCE_RIGHT: Final = ("right_ankle", "right_knee", "right_wrist", "right_mid_foot", "left_ankle", "right_ankle")


def _stance(view: BodyView) -> Tensor:
    forward, left = view.pelvis_facing
    delta = view.positions(_STANCE_LEFT) - view.positions(_STANCE_RIGHT)
    sideways, ahead = (delta @ left[..., None]).squeeze(-1), (delta @ forward[..., None]).squeeze(-1)
    # At rest the toes already point 15 degrees outward (ankle to toe joint): that is the zero of turnout.
    rest = math.degrees(math.atan2(0.033, 0.123))
    out = torch.stack([sideways[:, 4], -sideways[:, 5]], -1)
    turn = _signed(out, ahead[:, 4:6]) - rest
    middle = view.positions(("left_mid_foot", "right_mid_foot")).mean(1)
    apart = delta[:, 3, ::2]
    square = _dot(apart, apart).clamp(min=0.01)
    side = 2 * _dot((view.centre_of_mass - middle)[:, ::2], apart) / square
    wrists = _dot(delta[:, 2], view.chest_facing[1])
    return torch.cat(
        [torch.stack([sideways[:, 0], ahead[:, 0], sideways[:, 1], wrists], -1), turn,
         torch.stack([side, _balance(view)], -1)], -1,
    )  # fmt: skip


@functools.cache
def _hull_directions() -> Tensor:
    """(2, 16) cosines and sines."""
    angles = torch.arange(_HULL_DIRECTIONS) * (2 * math.pi / _HULL_DIRECTIONS)
    return torch.stack([torch.cos(angles), torch.sin(angles)])


def _balance(view: BodyView) -> Tensor:
    """How far the centre of mass lies outside the hull of what touches the ground; negative inside."""
    facing = torch.stack([v[:, ::2] for v in view.pelvis_facing], -1)  # (B, 2, 2): the directions turn with the body
    d = facing @ _hull_directions().to(facing)  # (B, 2, 16)
    reach = view.ground_points[..., ::2] @ d  # (B, n, 16)
    floats = torch.relu(view.ground_heights - _SUPPORT_HEIGHT)[..., None]
    hull = (reach - 20.0 * floats).amax(1)  # a part that floats by a centimetre supports 20 cm less
    return ((view.centre_of_mass[:, None, ::2] @ d).squeeze(1) - hull).amax(-1)


_ARM_JOINTS: Final = tuple(INDEX[f"left_{j}"] for j in ("collar", "shoulder", "elbow", "wrist"))
_LEG_JOINTS: Final = tuple(INDEX[f"left_{j}"] for j in ("hip", "knee", "ankle"))
_MIDDLE_JOINTS: Final = tuple(INDEX[j] for j in ("spine1", "spine2", "spine3", "neck", "head"))


def _symmetry(view: BodyView) -> Tensor:
    angle = geodesic_angle(view.local, mirrored_matrot(view.local)) * _DEG  # (B, 22)
    arms, legs = angle[:, _ARM_JOINTS].amax(-1), angle[:, _LEG_JOINTS].amax(-1)
    middle = angle[:, _MIDDLE_JOINTS].amax(-1) / 2  # a tilt of 10 degrees differs from its mirror image by 20
    return torch.stack([arms, legs, torch.stack([arms, legs, middle]).amax(0)], -1)


def _natural(view: BodyView) -> Tensor:
    return torch.stack([limits.excess(view.local).flatten(1).amax(-1), penetration(view).amax(-1)], -1)


@functools.cache
def _capsule_table() -> tuple[_Rest, Tensor, Tensor, Tensor]:
    """Starts and ends of all capsules, the first and the second capsule of each pair, and the pairs' radii added."""
    capsules = list(lm.BODY_CAPSULES.values())
    at = {n: i for i, n in enumerate(lm.BODY_CAPSULES)}
    radius = torch.tensor([c.radius for c in capsules])
    first = torch.tensor([at[a] for a, _ in lm.COLLISIONS])
    second = torch.tensor([at[b] for _, b in lm.COLLISIONS])
    joints = [c.joint for c in capsules] + [c.end_joint or c.joint for c in capsules]
    ends = _Rest(joints, [c.start for c in capsules] + [c.end for c in capsules])
    return ends, first, second, radius[first] + radius[second]


def penetration(view: BodyView) -> Tensor:
    """(B, len(COLLISIONS)) metres: how deep two capsules of the body overlap; 0 when apart."""
    ends, first, second, radius = _capsule_table()
    start, end = ends.carry(view.frames).chunk(2, 1)
    line = end - start
    first, second = first.to(start.device), second.to(start.device)
    a, d1 = start.index_select(1, first), line.index_select(1, first)
    b, d2 = start.index_select(1, second), line.index_select(1, second)
    square = _dot(line, line) + _EPS
    gap = _segment_distance(a, d1, b, d2, square.index_select(1, first), square.index_select(1, second))
    return torch.relu(radius.to(start) - gap)


def _segment_distance(p: Tensor, d1: Tensor, q: Tensor, d2: Tensor, a: Tensor, e: Tensor) -> Tensor:
    """Distance of the segments p to p + d1 and q to q + d2, (..., 3) each; ``a`` and ``e``: the squares of their
    lengths (Ericson, Real-Time Collision Detection 5.1.9, without branches)."""
    r = p - q
    f, b, c = _dot(d2, r), _dot(d1, d2), _dot(d1, r)
    s = ((b * f - c * e) / (a * e - b * b).clamp(min=_EPS)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    s = ((b * t - c) / a).clamp(0, 1)
    return _length(r + s[..., None] * d1 - t[..., None] * d2)


FAMILY_ROUTINES: Final[Mapping[str, Callable[[BodyView], Tensor]]] = {
    "angle": _angles, "direction": _directions, "height": _heights, "pair": _pairs, "contact": _contacts,
    "ground": _ground_family, "trunk": _trunk, "gaze": _gaze, "collar": _collar, "stance": _stance,
    "symmetry": _symmetry, "natural": _natural,
}  # fmt: skip
