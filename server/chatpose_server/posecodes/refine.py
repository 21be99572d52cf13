"""Makes statements true: moves poses as little as possible until their constraints hold, and stays natural doing so.

Batched Levenberg-Marquardt over 47 body-specific degrees of freedom (hinges hinge, the spine bends as one), with
one-sided residuals: constraints, joint ranges, bodies not passing through themselves, nearness to where it began.
The Jacobian is taken by moving every degree of freedom of every pose a little in one big forward pass, which on two
cores is faster than differentiating. Deterministic. Knows no words: statements come as ``vocabulary.Request``.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..skeleton import BODY_JOINTS, INDEX
from . import limits, starts
from .chains import BALANCE, joints_of
from .measure import BodyView, measure, measure_view, penetration
from .vocabulary import INF, QUANTITIES, SIDES, SIGNED, Constraint, Request, read

_STEP: Final = 2e-3  # radians a degree of freedom is moved for its derivative: float32 angles are good to 1e-4 degrees
_MAX_ITERATIONS: Final = 24
_SCALE: Final = {"deg": 8.0, "m": 0.04, "ratio": 0.15}  # an error of this size in any unit counts the same
_MARGIN: Final = {"deg": 5.0, "m": 0.015, "ratio": 0.1}  # how far inside its interval a value is aimed
_NEAR_WEIGHT: Final = 0.35  # times a joint's own stiffness, against an error of 1 in the scale above per radian
_OFF_CHAIN: Final = 5.0  # times, for joints that nothing asked is about: who raises a hand does not lean
_LIMIT_SCALE: Final = 6.0  # degrees
_PENETRATION_SCALE: Final = 0.02  # metres
_PENETRATION_SLOP: Final = 0.008  # metres of overlap that flesh gives way
_PATIENCE: Final = 2.5  # a wish that is further off than this is given up rather than fought for
_SMALL_GAIN: Final = 0.02  # of the cost: an error of one degree
_STALLS: Final = 2.5  # a pose is done after so many steps that gain next to nothing; a step taken back counts less
_FLOOR: Final = 0.5  # keeps directions that hardly matter from running away
_FACES_BELOW: Final = 45.0  # degrees of the pelvis off the vertical; beyond, facing says little
_SEED_MOVES: Final = 0.035  # radians, over a variable's stiffness: 12 degrees at a shoulder, 5 at the spine
_CAP: Final = 4.0  # in choosing where to begin, one error counts at most this much


@dataclass(frozen=True)
class Refined:
    """``matrot`` (B, 22, 3, 3). For each pose, ``met`` and ``unmet``: the asked statements (their sources) that hold
    and that could not be made to hold. ``moved`` (B,): largest change of a joint, in degrees."""

    matrot: Tensor
    met: tuple[tuple[str, ...], ...]
    unmet: tuple[tuple[str, ...], ...]
    moved: Tensor


def refine(
    local_matrot: Tensor,  # (B, J >= 22, 3, 3)
    requests: Request | Sequence[Request],
    *,
    nearness: float = 1.0,
    keep_ground: bool = True,
    free: Collection[str] | None = None,
    iterations: int = _MAX_ITERATIONS,
) -> Refined:
    """Moves poses until what is asked of them holds.

    ``requests``: one for all poses, or one each. ``nearness``: how dearly movement is paid for. ``keep_ground``: feet
    and hands that stand on the ground keep standing there unless the request says otherwise. ``free``: names of the
    joints that may move, default all.
    """
    quat = rot.matrot_to_quat(local_matrot[:, : len(BODY_JOINTS)].detach())
    asked = [requests] * len(quat) if isinstance(requests, Request) else list(requests)
    each = [r + _elbow_wishes(r) + _folded_wishes(r) for r in asked]
    wished = [r + w for r, w in zip(each, _ground_wishes(quat, each), strict=True)] if keep_ground else each
    allowed = None if free is None else _allowed(frozenset(free))
    begin, rows = _with_other_arms(quat, wished, free)
    many, hopes = [each[i] for i in rows], [wished[i] for i in rows]
    solved, cost = _solve_cost(begin, hopes, nearness, iterations, allowed)
    solved = _try_harder(solved, begin, many, hopes, allowed)
    if len(rows) > len(quat):
        _, unmet = _report_rows(rot.quat_to_matrot(solved), many)
        worth = [3.0 * len(u) + 0.5 * min(float(c), 20.0) + 0.3 * (k >= len(quat))
                 for k, (u, c) in enumerate(zip(unmet, cost, strict=True))]  # fmt: skip
        best = {i: k for k, i in sorted(enumerate(rows), key=lambda ki: -worth[ki[0]])}
        solved = solved[[best[i] for i in range(len(quat))]]
    return _report(quat, solved, each)


def solve(requests: Request | str | Sequence[Request | str], *, tries: int = 3, seed: int | None = None) -> Refined:
    """Makes poses from nothing but statements: chooses starting poses, then refines.

    Each request is begun from its ``tries`` most fitting starting poses and the best result is kept. With a ``seed``
    the starts and aims vary, so that different seeds give different poses that all satisfy the words.
    """
    listed = [requests] if isinstance(requests, Request | str) else list(requests)
    each = [read(r) if isinstance(r, str) else r for r in listed]
    each = [r + _posture_wishes(r) + _elbow_wishes(r) + _folded_wishes(r) for r in each]
    quat, solved, failures = _solve_from_starts(each, 0, tries, seed)
    failed = [i for i, n in enumerate(failures.tolist()) if n]
    if failed:
        q, s, n = _solve_from_starts([each[i] for i in failed], tries, 2 * tries, seed)
        for k, i in enumerate(failed):
            if n[k] < failures[i]:
                quat[i], solved[i] = q[k], s[k]
    return _report(quat, _facing_front(solved, each), each)


def _facing_front(quat: Tensor, requests: Sequence[Request]) -> Tensor:
    """Poses turned as a whole to face +z, where their pelvis stands upright enough to face anywhere.

    Which way a made pose faces is nobody's wish; the solver turns it a little whenever that shortens its way.
    """
    heading, up = measure(rot.quat_to_matrot(quat), ("body.heading", "pelvis.up")).unbind(-1)
    said = torch.tensor([any(c.quantity == "body.heading" and c.asked for c in r.constraints) for r in requests])
    heading = torch.where(said | (up > _FACES_BELOW), torch.zeros_like(heading), heading) * (math.pi / 180.0)
    turn = rot.rotvec_to_quat(torch.stack([torch.zeros_like(heading), -heading, torch.zeros_like(heading)], -1))
    out = quat.clone()
    out[:, 0] = rot.quat_multiply(turn, quat[:, 0])
    return out


def _solve_from_starts(
    each: Sequence[Request], first: int, tries: int, seed: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """From the starts ranked ``first`` to ``first + tries``: the start, the best result, how much asked is unmet."""
    quat, oddness = _choose_starts(each, first, tries, seed)  # (B * tries, 22, 4)
    many = [r for r in each for _ in range(tries)]
    aimed = many if seed is None else _vary(many, seed)
    wished = [r + w for r, w in zip(aimed, _ground_wishes(quat, aimed), strict=True)]
    solved, cost = _solve_cost(quat, wished, 1.0, _MAX_ITERATIONS)
    solved = _try_harder(solved, quat, many, wished)
    _, unmet = _report_rows(rot.quat_to_matrot(solved), many)
    failures = torch.tensor([float(len(u)) for u in unmet])
    travelled = (rot.geodesic_angle(rot.quat_to_matrot(quat), rot.quat_to_matrot(solved)) ** 2) @ _travel_weight()
    worth = cost.clamp(max=20) * 0.5 + travelled + oddness + failures * 3
    best = worth.unflatten(0, (-1, tries)).argmin(-1)
    pick = torch.arange(len(each)) * tries + best
    return quat[pick], solved[pick], failures[pick]


def unmet_sources(local_matrot: Tensor, request: Request) -> list[str]:
    """The asked statements of a request that do not hold for one pose (1, 22, 3, 3)."""
    return list(_report_rows(local_matrot, [request])[1][0])


# -- degrees of freedom ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Freedom:
    """Columns of the linear maps from the solver's variables to rotation vectors put before and after a joint's own
    rotation, and the stiffness of each variable."""

    before: Tensor  # (66, n)
    after: Tensor  # (66, n)
    stiffness: Tensor  # (n,)


@functools.cache
def _freedom() -> _Freedom:
    columns: list[tuple[list[tuple[str, str, int, float]], float]] = []  # [(where, joint, axis, share)], stiffness

    def add(where: str, joint: str, axes: str, stiffness: float) -> None:
        columns.extend(([(where, joint, "xyz".index(a), 1.0)], stiffness) for a in axes)

    add("before", "pelvis", "xz", 0.30)
    add("before", "pelvis", "y", 2.5)  # which way the body faces in the world is nobody's business but the user's
    for axis in range(3):
        columns.append(([("before", f"spine{i}", axis, w) for i, w in ((1, 0.4), (2, 0.3), (3, 0.3))], 0.40))
        columns.append(([("before", "neck", axis, 0.45), ("before", "head", axis, 0.55)], 0.30))
    for s in ("left", "right"):
        add("before", f"{s}_hip", "xz", 0.22)
        add("after", f"{s}_hip", "y", 0.28)
        add("before", f"{s}_knee", "x", 0.15)
        add("before", f"{s}_ankle", "xyz", 0.35)
        add("before", f"{s}_foot", "x", 0.40)
        add("before", f"{s}_collar", "yz", 0.70)
        add("before", f"{s}_shoulder", "yz", 0.16)
        add("after", f"{s}_shoulder", "x", 0.20)
        add("before", f"{s}_elbow", "y", 0.14)
        add("after", f"{s}_elbow", "x", 0.22)
        add("before", f"{s}_wrist", "xyz", 0.40)
    n = len(columns)
    before, after = torch.zeros(3 * len(BODY_JOINTS), n), torch.zeros(3 * len(BODY_JOINTS), n)
    for i, (entries, _) in enumerate(columns):
        for where, joint, axis, share in entries:
            (before if where == "before" else after)[3 * INDEX[joint] + axis, i] = share
    return _Freedom(before, after, torch.tensor([s for _, s in columns]))


@functools.cache
def _allowed(free: frozenset[str]) -> Tensor:
    """(n,) 1 for the variables that only turn joints in ``free``."""
    f = _freedom()
    turns = ((f.before != 0) | (f.after != 0)).unflatten(0, (-1, 3)).any(1)  # (22, n)
    barred = torch.tensor([n not in free for n in BODY_JOINTS])
    return (~turns[barred].any(0)).float()


@functools.cache
def _travel_weight() -> Tensor:
    """(22,) what a squared radian of each joint is worth in choosing between results: unforced bending looks odd."""
    by = {"pelvis": 0.25, "spine": 1.0, "neck": 0.3, "head": 0.3, "hip": 0.15, "knee": 0.1, "ankle": 0.2, "foot": 0.1,
          "collar": 0.6, "shoulder": 0.15, "elbow": 0.1, "wrist": 0.2}  # fmt: skip
    return torch.tensor([next(w for k, w in by.items() if k in n) for n in BODY_JOINTS])


def _moved(quat: Tensor, u: Tensor) -> Tensor:
    """(..., 22, 4) moved by the variables (..., n)."""
    f = _freedom()
    both = rot.rotvec_to_quat((u @ torch.cat([f.before, f.after]).T).unflatten(-1, (2, -1, 3)))
    before, after = both.unbind(-3)
    return rot.quat_multiply(rot.quat_multiply(before, quat), after)


# -- residuals ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Problem:
    """Constraints of a batch as arrays over the union of their quantities. ``lo``, ``hi``, ``weight``: (B, m).

    ``patience`` (B, m): the residual beyond which a wish stops pulling; huge for what was asked.
    """

    names: tuple[str, ...]
    lo: Tensor
    hi: Tensor
    weight: Tensor
    patience: Tensor
    stiffness: Tensor  # (B, n)

    def rows(self, pick: Tensor) -> _Problem:
        return _Problem(
            self.names, self.lo[pick], self.hi[pick], self.weight[pick], self.patience[pick], self.stiffness[pick]
        )


def _problem(requests: Sequence[Request], nearness: float, off_chain: float = _OFF_CHAIN) -> _Problem:
    names = tuple(dict.fromkeys(c.quantity for r in requests for c in r.constraints))
    at = {n: i for i, n in enumerate(names)}
    lo = torch.full((len(requests), len(names)), -1e6)
    hi = torch.full((len(requests), len(names)), 1e6)
    weight = torch.zeros(len(requests), len(names))
    patience = torch.full((len(requests), len(names)), _PATIENCE)
    for b, request in enumerate(requests):
        for c in request.constraints:
            i, (low, high) = at[c.quantity], _aim(c)
            lo[b, i], hi[b, i] = max(float(lo[b, i]), low), min(float(hi[b, i]), high)
            if lo[b, i] > hi[b, i]:  # two statements meet in less than their margins: aim between them
                lo[b, i] = hi[b, i] = (lo[b, i] + hi[b, i]) / 2
            weight[b, i] = max(float(weight[b, i]), c.weight / _SCALE[QUANTITIES[c.quantity].unit])
            if c.asked:
                patience[b, i] = 1e3
    asked = [frozenset(c.quantity for c in r.constraints if c.asked) for r in requests]
    stiffness = torch.stack([_stiffness(a, off_chain) for a in asked]) * (_NEAR_WEIGHT * nearness)
    return _Problem(names, lo, hi, weight, patience, stiffness)


@functools.lru_cache(maxsize=4096)
def _stiffness(asked: frozenset[str], off_chain: float) -> Tensor:
    """(n,) how dearly each variable moves when these quantities are asked; all alike when nothing is."""
    f = _freedom()
    if not asked:
        return f.stiffness
    on_chain = _allowed(frozenset[str]().union(*(joints_of(q) for q in asked)))
    return f.stiffness * (on_chain + off_chain * (1 - on_chain))


def _aim(c: Constraint) -> tuple[float, float]:
    """The part of the interval that is aimed at: a margin inside, so that a small miss still holds."""
    q = QUANTITIES[c.quantity]
    margin = _MARGIN[q.unit]
    lo, hi = c.lo, c.hi
    if q.family in ("contact", "ground"):
        margin = 0.025 if q.family == "contact" else 0.02
        if q.family == "contact" and lo == -INF:
            lo = -0.03 - margin  # touching, not pressed in
    if q.unit == "deg" and q.name not in SIGNED:
        lo, hi = (-INF if lo <= 0 else lo), (INF if hi >= 180 else hi)  # nothing lies beyond the ends
    if lo > -INF and hi < INF:
        margin = min(margin, 0.3 * (hi - lo))
    elif q.unit == "deg":
        margin *= 1.6  # an open end leaves room
    return (lo + margin if lo > -INF else -1e6), (hi - margin if hi < INF else 1e6)


def _residuals(p: _Problem, quat0: Tensor, u: Tensor) -> Tensor:
    """(B, k, r), everything that is squared and summed, at k points (B, k, n) for each pose (B, 22, 4)."""
    quat = _moved(quat0[:, None], u).flatten(0, 1)
    view = BodyView(rot.quat_to_matrot(quat))
    near = u * p.stiffness[:, None]
    over = limits.excess_quat(quat).flatten(1) / _LIMIT_SCALE
    deep = torch.relu(penetration(view) - _PENETRATION_SLOP) / _PENETRATION_SCALE
    parts = [near, over.unflatten(0, u.shape[:2]), deep.unflatten(0, u.shape[:2])]
    if p.names:
        v = measure_view(view, p.names).unflatten(0, u.shape[:2])
        miss = (torch.relu(v - p.hi[:, None]) - torch.relu(p.lo[:, None] - v)) * p.weight[:, None]
        parts.append(miss / torch.sqrt(1 + (miss / p.patience[:, None]) ** 2))
    return torch.cat(parts, -1)


def _try_harder(
    quat: Tensor,
    begin: Tensor,
    asked: Sequence[Request],
    wished: Sequence[Request],
    allowed: Tensor | None = None,
) -> Tensor:
    """Solves again, from where it stands and from where it began, the poses of which something asked does not hold.

    Movement is freer and the whole body may help: who cannot reach a foot by the arm alone bends down to it.
    """
    out = quat.clone()
    _, unmet = _report_rows(rot.quat_to_matrot(quat), asked)
    missing = [len(u) for u in unmet]
    for start, nearness, iterations in ((quat, 0.3, _MAX_ITERATIONS // 2), (begin, 0.6, _MAX_ITERATIONS)):
        rows = [i for i, n in enumerate(missing) if n]
        if not rows:
            break
        again, _ = _solve_cost(start[rows], [wished[i] for i in rows], nearness, iterations, allowed, 1.0)
        _, still = _report_rows(rot.quat_to_matrot(again), [asked[i] for i in rows])
        for i, q, left in zip(rows, again, still, strict=True):
            if len(left) < missing[i]:
                out[i], missing[i] = q, len(left)
    return out


@torch.no_grad()
def _solve_cost(
    quat0: Tensor,
    requests: Sequence[Request],
    nearness: float,
    iterations: int,
    allowed: Tensor | None = None,
    off_chain: float = _OFF_CHAIN,
) -> tuple[Tensor, Tensor]:
    """Levenberg-Marquardt. (B, 22, 4) -> solved (B, 22, 4), cost (B,)."""
    problem = _problem(requests, nearness, off_chain)
    batch, n = quat0.shape[0], _freedom().stiffness.numel()
    nudges = torch.cat([torch.zeros(1, n), torch.eye(n) * _STEP])  # (n + 1, n)
    u, best_cost = torch.zeros(batch, n), torch.full((batch,), INF)
    live = torch.arange(batch)
    trial, damping = u.clone(), torch.full((batch,), 0.05)
    normal, gradient = torch.zeros(batch, n, n), torch.zeros(batch, n)
    stalled = torch.zeros(batch)
    for _ in range(iterations):
        r = _residuals(problem.rows(live), quat0[live], trial[live][:, None] + nudges)
        cost = (r[:, 0] ** 2).sum(-1)
        better = cost < best_cost[live]
        jacobian = (r[:, 1:] - r[:, :1]) / _STEP  # (b, n, r)
        if allowed is not None:
            jacobian = jacobian * allowed[:, None]  # what has no derivative is never moved
        at = live[better]
        gain = best_cost[at] - cost[better]
        small = gain < (0.01 * cost[better]).clamp(min=_SMALL_GAIN)
        u[at], best_cost[at] = trial[at], cost[better]
        j = jacobian[better]
        normal[at] = j @ j.transpose(-1, -2)
        gradient[at] = (j @ r[better, 0][..., None]).squeeze(-1)
        damping[live] = torch.where(better, damping[live] * 0.3, damping[live] * 12.0).clamp(1e-5, 1e4)
        before = stalled[at]
        stalled[live] += 0.4  # a step that had to be taken back
        stalled[at] = torch.where(small, before + 1.0, 0.0)
        live = live[(stalled[live] < _STALLS) & (best_cost[live] > 1e-5)]
        if live.numel() == 0:
            break
        a = normal[live]
        a = a + torch.diag_embed(damping[live, None] * (a.diagonal(dim1=-2, dim2=-1) + _FLOOR))
        step = -torch.linalg.solve(a, gradient[live])
        longest = step.abs().amax(-1, keepdim=True)
        trial[live] = u[live] + step * (0.6 / longest.clamp(min=0.6))  # at most 34 degrees at a time
    return _moved(quat0, u), best_cost


# -- where to begin ----------------------------------------------------------------------------------------------------
_ARM_JOINTS: Final = [[INDEX[f"{s}_{j}"] for j in ("collar", "shoulder", "elbow", "wrist")] for s in ("left", "right")]


_ARM_WORDS: Final = ("hand", "elbow", "arm", "forearm", "palm", "wrist", "shoulder")


def _arm_of(quantity: str) -> int:
    """0 where only the left arm decides a quantity, 1 for the right, 2 for neither or both."""
    parts = re.split(r"[@:.]", quantity)
    arms = {p.split("_")[0] for p in parts if p.startswith(("left_", "right_")) and any(w in p for w in _ARM_WORDS)}
    if quantity.startswith(("wrists", "symmetry", "lowest_hand")):
        return 2
    return {frozenset({"left"}): 0, frozenset({"right"}): 1}.get(frozenset(arms), 2)


@torch.no_grad()
def _with_other_arms(
    quat: Tensor, requests: Sequence[Request], free: Collection[str] | None
) -> tuple[Tensor, list[int]]:
    """The poses, and after them those whose arms are far from what is asked again, begun from fitting arms.

    A hand that must go from the hip to the head gets there by a natural way only from an arm that is already raised.
    Returns (B + k, 22, 4) and for each its row.
    """
    rows = list(range(len(quat)))
    problem = _problem(requests, 1.0)
    of = [_arm_of(n) for n in problem.names]
    if free is not None:
        of = [a if a == 2 or f"{SIDES[a]}_elbow" in free else 2 for a in of]
    if not any(a < 2 for a in of):
        return quat, rows
    library, more = starts.arm_quats(), quat.clone()
    changed = torch.zeros(len(quat), dtype=torch.bool)
    for side in (0, 1):
        at = torch.tensor([a == side for a in of])
        if not at.any():
            continue
        options = torch.cat([more[:, None], more[:, None].repeat(1, library.shape[1], 1, 1)], 1)
        options[:, 1:, _ARM_JOINTS[side]] = library[side]
        names = [n for n, a in zip(problem.names, of, strict=True) if a == side]
        v = measure(rot.quat_to_matrot(options.flatten(0, 1)), names).unflatten(0, options.shape[:2])
        c = _misfit(v, problem.lo[:, None, at], problem.hi[:, None, at], problem.weight[:, None, at])
        c[:, 1:] += 0.7  # the arm as it is has the right of way
        best = c.argmin(-1)
        more = options[torch.arange(len(quat)), best]
        changed |= best > 0
    again = changed.nonzero().flatten().tolist()
    return torch.cat([quat, more[again]]), rows + again


def choose_body(request: Request) -> Tensor:
    """(22, 4): the starting pose whose body suits a request best, arms hanging."""
    problem = _problem([request], 1.0)
    bodies = starts.body_quats()
    if not problem.names:
        return bodies[0].clone()
    keep = torch.tensor([_arm_of(n) == 2 for n in problem.names])
    values = measure(rot.quat_to_matrot(bodies), problem.names)[:, keep]
    cost = _misfit(values, problem.lo[:, keep], problem.hi[:, keep], problem.weight[:, keep])
    return bodies[int((cost + starts.body_plainness()).argmin())].clone()


@torch.no_grad()
def _choose_starts(requests: Sequence[Request], first: int, tries: int, seed: int | None) -> tuple[Tensor, Tensor]:
    """The starting poses that fit each request best, arms included: (B * tries, 22, 4) and their plainness.

    A body is judged with the arms that suit the words best, so that raised arms do not speak for a handstand.
    """
    generator = torch.Generator().manual_seed(seed or 0)
    problem = _problem(requests, 1.0)
    bodies, arms = starts.body_quats(), starts.arm_quats()
    grid = bodies[:, None].repeat(1, arms.shape[1], 1, 1)  # (bodies, arms, 22, 4), both arms alike
    for side in (0, 1):
        grid[:, :, _ARM_JOINTS[side]] = arms[side][None]
    rows, shape = len(requests), grid.shape[:2]
    if problem.names:
        values = measure(rot.quat_to_matrot(grid.flatten(0, 1)), problem.names)
        which = torch.tensor([_arm_of(n) for n in problem.names])
        parts: list[Tensor] = []
        for k in (0, 1, 2):
            at = which == k
            lo, hi, weight = (t[:, None, at] for t in (problem.lo, problem.hi, problem.weight))
            c = _misfit(values[None, :, at], lo, hi, weight)
            parts.append(c.unflatten(1, shape))  # (B, bodies, arms)
        cost = torch.stack([c.amin(-1) for c in parts]).sum(0)
        alike = torch.stack(parts).sum(0) + starts.arm_plainness()
    else:
        cost, alike = torch.zeros(rows, shape[0]), starts.arm_plainness().expand(rows, *shape)
    cost = cost + starts.body_plainness()
    if seed is not None:
        cost = cost + torch.rand(cost.shape, generator=generator) * 0.5
    top = cost.topk(first + tries, largest=False, dim=-1).indices[:, first:].flatten()
    owner = torch.arange(rows).repeat_interleave(tries)
    quat = grid[top, alike[owner, top].argmin(-1)].clone()  # (B * tries, 22, 4)
    mine = problem.rows(owner)
    for _ in range(2):  # the second round sees where the other arm went
        for side in (0, 1):
            options = quat[:, None].repeat(1, arms.shape[1], 1, 1)  # (B * tries, arms, 22, 4)
            options[:, :, _ARM_JOINTS[side]] = arms[side]
            c = starts.arm_plainness().expand(len(options), -1)
            if problem.names:
                v = measure(rot.quat_to_matrot(options.flatten(0, 1)), problem.names).unflatten(0, options.shape[:2])
                c = c + _misfit(v, mine.lo[:, None], mine.hi[:, None], mine.weight[:, None])
            if seed is not None:
                c = c + torch.rand(c.shape, generator=generator) * 0.3
            quat = options[torch.arange(len(options)), c.argmin(-1)]
    if seed is not None:
        quat = _moved(quat, torch.randn(len(quat), len(_ease()), generator=generator) * _ease())
    return quat, starts.body_plainness()[top]


@functools.cache
def _ease() -> Tensor:
    """(n,) radians by which a seed moves each variable of a start: arms and head freely, legs and pelvis not at all."""
    return _SEED_MOVES / _freedom().stiffness * _allowed(frozenset(BODY_JOINTS) - BALANCE)


def _misfit(v: Tensor, lo: Tensor, hi: Tensor, weight: Tensor) -> Tensor:
    """How badly poses miss constraints: a sum over the last axis in which no single error says everything."""
    scaled = (torch.relu(v - hi) + torch.relu(lo - v)) * weight / 3
    return (scaled * _CAP / (scaled + _CAP)).sum(-1)


def _vary(requests: Sequence[Request], seed: int) -> list[Request]:
    """Narrows wide intervals to a random part of them, so that another seed gives another pose."""
    generator = torch.Generator().manual_seed(seed)
    out: list[Request] = []
    for r in requests:
        made: list[Constraint] = []
        for c in r.constraints:
            width = c.hi - c.lo
            if math.isfinite(width) and QUANTITIES[c.quantity].family not in ("contact", "ground"):
                t = float(torch.rand((), generator=generator)) * 0.5
                lo = c.lo + t * width
                made.append(Constraint(c.quantity, lo, lo + 0.5 * width, c.weight, c.source, c.asked))
            else:
                made.append(c)
        out.append(Request(tuple(made), r.flags, r.codes))
    return out


# -- wishes and the report ---------------------------------------------------------------------------------------------
_KEEPERS: Final = (
    "left_heel@ground", "right_heel@ground", "left_toes@ground", "right_toes@ground", "left_knee@ground",
    "right_knee@ground", "left_hand@ground", "right_hand@ground", "seat@ground", "upper_back@ground", "head@ground",
)  # fmt: skip
_STANDS_BELOW: Final = 0.03


def _ground_wishes(quat: Tensor, requests: Sequence[Request]) -> list[Request]:
    """What touches the ground now goes on touching it, and the body keeps its balance, unless the words disagree."""
    values = measure(rot.quat_to_matrot(quat), (*_KEEPERS, "balance.offset", "pelvis.height"))
    wishes: list[Request] = []
    for v, r in zip(values.tolist(), requests, strict=True):
        spoken = {c.quantity for c in r.constraints}
        if "airborne" in r.flags:
            wishes.append(Request())
            continue
        made: list[Constraint] = []
        for name, height in zip(_KEEPERS, v, strict=False):
            side, _, part = name.partition("_")
            foot = f"{side}_foot@ground" if part in ("heel@ground", "toes@ground") else name
            lifted = any(c.quantity == foot and c.lo > 0 for c in r.constraints)
            if height < _STANDS_BELOW and name not in spoken and not lifted:
                made.append(Constraint(name, -INF, 0.03, 0.5, "", False))
        seated = any(c.quantity == "seat@ground" and c.lo > 0 for c in r.constraints)  # on a chair nobody measures
        if "balance.offset" not in spoken and v[-2] < 0.06 and not seated:
            made.append(Constraint("balance.offset", -INF, 0.02, 0.4, "", False))
        wishes.append(Request(tuple(made)))
    return wishes


_UPRIGHT: Final = (
    "standing", "sitting", "kneeling", "lunge", "side_lunge", "squatting", "half_squat", "tiptoe", "cross",
)  # fmt: skip
_AHEAD: Final = frozenset({"trunk=forward", "trunk=slightly_forward", "trunk=back"})
_TRUNK_WORDS: Final = frozenset({"trunk.up", "trunk.pitch", "trunk.lean", "spine.bend", "spine.side"})
_LEVEL: Final = {  # what nobody twists or tilts without a reason; a word about any of the second says it is wanted
    "head.roll": ("head.roll",),
    "head.yaw": ("head.yaw", "gaze.yaw", "gaze@"),
    "trunk.twist": ("trunk.twist", "gaze.yaw"),
    "spine.side": ("spine.side", "trunk.lean", "trunk.up", "weight.side", "pelvis.roll"),
}


_LEG_WAY: Final = re.compile(  # quantities that say where a leg goes
    r"(?:left|right)_(?:hip$|thigh[.@]|leg[.@]|shin[.@]|foot[@:]|heel@|toes@)|feet\.stride|knees\.width"
    r"|(?:left|right)_hand@\w+_(?:foot|ankle|shin|heel|calf|toes)"
)


def _posture_wishes(request: Request) -> Request:
    """Who stands, sits or kneels, and of whose trunk nothing is said, holds it upright and looks ahead."""
    said = {c.quantity for c in request.constraints if not c.source.startswith(_UPRIGHT)}
    made = [
        Constraint(name, -10.0, 10.0, 0.3, "", False)
        for name, words in _LEVEL.items()
        if not any(q.startswith(words) for q in said)
    ]
    if "airborne" in request.flags and not any(_LEG_WAY.match(q) for q in said):  # who jumps does not kick
        made += [Constraint(f"{s}_hip", 150.0, INF, 0.4, "", False) for s in SIDES]
        made.append(Constraint("feet.stride", -0.18, 0.18, 0.4, "", False))
    if not said & {"trunk.lean", "spine.side"} and any(c.source in _AHEAD for c in request.constraints):
        made.append(Constraint("trunk.lean", -6.0, 6.0, 0.4, "", False))  # forward, and not to a side as well
        made.append(Constraint("spine.side", -10.0, 10.0, 0.3, "", False))
    if not any(c.startswith(_UPRIGHT) for c in request.codes):
        return Request(tuple(made))
    if not said & _TRUNK_WORDS:
        made.append(Constraint("trunk.pitch", -6.0, 12.0, 0.4, "", False))
        made.append(Constraint("trunk.lean", -6.0, 6.0, 0.4, "", False))
    if not any(q.startswith(("gaze", "head.")) for q in said):
        made.append(Constraint("gaze.up", -35.0, 25.0, 0.3, "", False))
    return Request(tuple(made))


_FACE: Final[Mapping[str, float]] = {
    "throat": 112.0, "chin": 112.0, "mouth": 108.0, "nose": 104.0, "cheek": 108.0, "eye": 98.0, "ear": 98.0,
    "temple": 94.0, "forehead": 86.0,
}  # fmt: skip
"""Part of the face that a hand touches -> least angle of the upper arm to the chest's up; 90 is shoulder height."""
_OTHER_ARM: Final[Mapping[str, float]] = {"shoulder": 112.0, "upper_arm": 124.0, "elbow": 124.0, "armpit": 112.0}
"""The same for parts of the other arm: crossed and folded arms lie on the chest."""
_ELBOW_AHEAD: Final = 70.0  # degrees of the upper arm to where the chest faces: before the body rather than beside it
_ELBOW_WEIGHT: Final = 0.5
_HAND_ASLANT: Final[Mapping[str, float]] = {"chin": 55.0, "throat": 55.0, "mouth": 40.0}
"""Least angle of the hand to the chest's up: an upright hand at the chin covers the eyes."""


@functools.lru_cache(maxsize=4096)
def _elbow_wishes(request: Request) -> Request:
    """A hand goes to the face, and to the other arm, from below: the elbow before the body and under the shoulder,
    unless words place it.
    """
    made: list[Constraint] = []
    for s in SIDES:
        placed = (f"{s}_upper_arm.", f"{s}_arm.", f"{s}_elbow.", f"{s}_elbow:", f"{s}_elbow@")
        if any(c.quantity.startswith(placed) for c in request.constraints):
            continue
        touched = [c.quantity.removeprefix(f"{s}_hand@") for c in request.constraints if c.hi < INF]
        least = [_FACE[p] for t in touched if (p := re.sub("^(left|right)_", "", t)) in _FACE]
        other = "right" if s == "left" else "left"
        over = [_OTHER_ARM[p] for t in touched if t.startswith(other) and (p := t.partition("_")[2]) in _OTHER_ARM]
        if over:
            made.append(Constraint(f"{s}_upper_arm.overhead", max(over), INF, _ELBOW_WEIGHT, "", False))
        if least:
            low = Constraint(f"{s}_upper_arm.overhead", max(least), INF, _ELBOW_WEIGHT, "", False)
            front = Constraint(f"{s}_upper_arm.ahead", -INF, _ELBOW_AHEAD, _ELBOW_WEIGHT, "", False)
            made += [low, front]
            aslant = max((_HAND_ASLANT.get(t, 0.0) for t in touched), default=0.0)
            if aslant:
                made.append(Constraint(f"{s}_hand.overhead", aslant, INF, _ELBOW_WEIGHT, "", False))
    return Request(tuple(made))


_FOLDED: Final = {
    "arms=crossed": tuple(
        (f"{s}_{q}", lo, hi)
        for s in SIDES
        for q, lo, hi in (("hand.above_chest", -0.22, -0.02), ("forearm.vertical", 62.0, INF))
    ),
    "hands=over_face": (
        *((f"{s}_hand@{s}_eye", -INF, 0.06) for s in SIDES),
        *((f"{s}_hand.up", -1.0, 40.0) for s in SIDES),
        ("head.pitch", -40.0, -14.0),
    ),
}
"""What a posecode of both arms looks like when people do it: quantity, from, to."""


def _folded_wishes(request: Request) -> Request:
    """Arms crossed are folded on the chest, forearms level, and a face is hidden in the hands by bowing it into them,
    unless words say more of them.
    """
    made: list[Constraint] = []
    for code, wishes in _FOLDED.items():
        if code in request.codes:
            said = {c.quantity for c in request.constraints if c.source != code}
            made += [Constraint(q, lo, hi, 0.5, "", False) for q, lo, hi in wishes if q not in said]
    return Request(tuple(made))


def _report_rows(
    matrot: Tensor, requests: Sequence[Request]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    names = tuple(dict.fromkeys(c.quantity for r in requests for c in r.constraints))
    if not names:
        return tuple(() for _ in requests), tuple(() for _ in requests)
    with torch.no_grad():
        values = measure(matrot, names).tolist()
    met: list[tuple[str, ...]] = []
    unmet: list[tuple[str, ...]] = []
    for row, r in zip(values, requests, strict=True):
        v = dict(zip(names, row, strict=True))
        state: dict[str, bool] = {}
        for c in r.constraints:
            if c.asked:
                tolerance = QUANTITIES[c.quantity].tolerance
                inside = c.lo - tolerance <= v[c.quantity] <= c.hi + tolerance
                state[c.source] = state.get(c.source, True) and inside
        met.append(tuple(s for s, ok in state.items() if ok))
        unmet.append(tuple(s for s, ok in state.items() if not ok))
    return tuple(met), tuple(unmet)


def _report(before: Tensor, after: Tensor, requests: Sequence[Request]) -> Refined:
    matrot = rot.quat_to_matrot(after)
    moved = rot.geodesic_angle(rot.quat_to_matrot(before), matrot).amax(-1) * (180.0 / math.pi)
    met, unmet = _report_rows(matrot, requests)
    return Refined(matrot, met, unmet, moved)
