"""What an artist does with priors: sample, project, interpolate, denoise, complete, ik. Poses in, poses out; no HTTP.

Every task is pure (the same arguments give the same answer), works on whole clips at once, and reports to a
``Progress``, which may stop it between steps. ``prior`` is ``"vposer"``, ``"posendf"`` or ``"both"`` (our own
weights), a prior that ``load_prior`` gave, or None for the one that measures best at the task
(benchmarks/RESULTS.md). Priors speak of 21 body joints; the pelvis, its place, fingers and face are carried along, or
blended where there is something to blend.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import rotations as rot
from ..body.model import default_body
from ..pose import Pose, Quat, Vec3
from ..progress import Progress, no_progress
from ..skeleton import BODY_JOINTS, INDEX, JOINTS
from . import ik as solver
from . import limits
from .base import PRIOR_JOINTS, Prior
from .checkpoints import embedded_prior, embedded_tables
from .consensus import Consensus, Tables
from .posendf import PoseNDF
from .vposer import VPoser

PriorChoice: TypeAlias = str | Prior | None
_DEFAULT: Final[Mapping[str, str]] = {
    "sample": "vposer", "project": "both", "interpolate": "posendf", "denoise": "both", "complete": "vposer",
    "ik": "posendf",
}  # fmt: skip
MAX_SAMPLES: Final = 1024
MAX_FRAMES: Final = 20_000
IK_JOINTS: Final[tuple[str, ...]] = BODY_JOINTS
_CHUNK: Final = 512  # poses a network sees at once: progress is told, and work can stop, in between


class PriorTaskError(ValueError):
    """A request that a task cannot do. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class Key:
    """A pose at a frame."""

    frame: float
    pose: Pose


@dataclass(frozen=True)
class Projected:
    """``poses``, and how far from natural each was ``before`` and is ``after``, in the prior's unit."""

    poses: list[Pose]
    before: list[float]
    after: list[float]


@dataclass(frozen=True)
class Solved:
    """``poses`` (one for each given), and for each the distance in metres of every target's joint to its target."""

    poses: list[Pose]
    residuals: list[dict[str, float]]

    @property
    def residual(self) -> float:
        """The largest distance in metres."""
        return max((v for r in self.residuals for v in r.values()), default=0.0)


def prior_named(choice: PriorChoice, task: str) -> Prior:
    """The prior to use for ``task``. Raises PriorTaskError for a name that is none."""
    name = choice if choice is not None else _DEFAULT[task]
    if not isinstance(name, str):
        return name
    if name == "vposer":
        return _own_vposer()
    if name == "posendf":
        return _own_posendf()
    if name == "both":
        return _own_consensus()
    raise PriorTaskError(f"There is no prior called '{name[:40]}'. Choose 'vposer', 'posendf' or 'both'.")


# -- sample ----------------------------------------------------------------------------------------------------------
def sample(
    *,
    count: int,
    seed: int = 0,
    near: Pose | None = None,
    spread: float = 0.5,
    prior: PriorChoice = None,
    progress: Progress = no_progress,
) -> list[Pose]:
    """``count`` natural poses: anything, or variations of ``near``.

    ``spread`` 0..1 (more is allowed): how far from ``near``; 0 gives ``near`` itself. Variations stand as high as
    ``near`` does, and joints that the prior does not speak of are its own. Without ``near``, poses face +z and have no
    place: ``ground`` gives them one.
    """
    if not 1 <= count <= MAX_SAMPLES:
        raise PriorTaskError(f"Between 1 and {MAX_SAMPLES} poses can be made at once, not {count}.")
    if not math.isfinite(spread) or spread < 0:
        raise PriorTaskError("The spread of variations must be 0 or more.")
    chosen = prior_named(prior, "sample")
    progress("Imagining poses", 0.0)
    coder = chosen if isinstance(chosen, VPoser) else _own_vposer()
    with torch.no_grad():
        code = coder.sample_code(count, seed)
        if near is None:
            quat = rot.matrot_to_quat(coder.decode_matrot(code))
        else:
            quat = _varied(coder, _body_quats([near])[:, 1:], code, spread)
    progress("Making them natural", 0.5)
    if near is None or spread > 0:
        # codes far from any pose decode to something slightly off: one pull back, and no joint past its limit
        settler = chosen if isinstance(chosen, PoseNDF) else _own_posendf()
        pulled = settler.pull(quat).natural
        strength = 1.0 if near is None else min(1.0, spread)
        held = None if near is None else _body_quats([near])[:, 1:]
        quat = limits.clamp(rot.quat_slerp(quat, pulled, strength), held)
    score = _scores(chosen, quat)
    base = near or Pose({"pelvis": (1.0, 0.0, 0.0, 0.0)})
    made = [replace(_with_joints(base, q), score=s) for q, s in zip(quat, score, strict=True)]
    progress("Making them natural", 1.0)
    return made if near is None or near.transl is None or spread == 0 else _as_low_as(near, made)


def _as_low_as(near: Pose, made: list[Pose]) -> list[Pose]:
    """``made`` raised or lowered until their lowest joint is as high as ``near``'s: who stood, still stands."""
    place = torch.tensor([near.transl or (0.0, 0.0, 0.0)])
    low = solver.positions(_body_quats([near, *made]), place.expand(len(made) + 1, -1))[..., 1].amin(1)
    x, y, z = place[0].tolist()
    return [p.with_transl((x, y + d, z)) for p, d in zip(made, (low[0] - low[1:]).tolist(), strict=True)]


def _varied(coder: VPoser, near: Tensor, code: Tensor, spread: float) -> Tensor:
    """Variations (N, 21, 4) of ``near`` (1, 21, 4): what a step in the code changes is applied to the pose itself, so
    that what the network cannot express of it is kept.
    """
    mean = coder.encode_rotvec(rot.quat_to_rotvec(near)).mean
    here = rot.matrot_to_quat(coder.decode_matrot(mean))
    there = rot.matrot_to_quat(coder.decode_matrot(mean + spread * code))
    return rot.quat_multiply(near, rot.quat_multiply(rot.quat_conjugate(here), there))


# -- project ---------------------------------------------------------------------------------------------------------
def project(
    *,
    poses: Sequence[Pose],
    strength: float = 1.0,
    prior: PriorChoice = None,
    progress: Progress = no_progress,
) -> Projected:
    """Each pose moved towards the natural ones. ``strength`` 0..1: 0 leaves it, 1 goes all the way."""
    _check_clip(poses)
    _check_share(strength, "strength")
    chosen = prior_named(prior, "project")
    quat = _body_quats(poses)[:, 1:]
    parts: list[Tensor] = []
    for part in quat.split(_CHUNK):
        progress("Finding natural poses", len(parts) * _CHUNK / len(quat))
        parts.append(F.normalize(chosen.project(part), dim=-1))
    out = rot.quat_slerp(quat, torch.cat(parts), strength)
    before, after = (_distances(chosen, q) for q in (quat, out))
    progress("Finding natural poses", 1.0)
    return Projected([_with_joints(p, q) for p, q in zip(poses, out, strict=True)], before, after)


# -- interpolate -----------------------------------------------------------------------------------------------------
_PATH_STEPS: Final = 48  # along one gap: fine enough that the speed can be made even
_PATH_LEAN: Final = 0.5  # how far the middle of a path leans to the prior


def interpolate(
    *,
    keys: Sequence[Key],
    frames: Sequence[float] | None = None,
    prior: PriorChoice = None,
    progress: Progress = no_progress,
) -> list[Pose]:
    """Poses at ``frames`` (every whole frame from first to last key by default) along natural ways between keys.

    A key's frame gives the key's pose itself. The speed between two keys is even. The pelvis and joints outside the
    prior are blended straight; joints that only one of two keys speaks of are held.
    """
    ordered = sorted(keys, key=lambda k: k.frame)
    if len(ordered) < 2 or any(a.frame == b.frame for a, b in itertools.pairwise(ordered)):
        raise PriorTaskError("In-betweens need two or more keys, each at a frame of its own.")
    first, last = ordered[0].frame, ordered[-1].frame
    wanted = list(range(math.ceil(first), math.floor(last) + 1)) if frames is None else list(frames)
    if len(wanted) > MAX_FRAMES:
        raise PriorTaskError(f"At most {MAX_FRAMES} frames are filled at once, not {len(wanted)}.")
    if any(not first <= f <= last for f in wanted):
        raise PriorTaskError(f"Frames must lie between the first key ({first:g}) and the last ({last:g}).")
    chosen = prior_named(prior, "interpolate")
    key_quats = _body_quats([k.pose for k in ordered])
    out: dict[float, Pose] = {}
    gaps = list(zip(range(len(ordered) - 1), ordered, ordered[1:], strict=False))
    for i, a, b in gaps:
        progress("Finding the way", i / len(gaps))
        inside = [f for f in wanted if a.frame < f < b.frame]
        if inside:
            share = torch.tensor([(f - a.frame) / (b.frame - a.frame) for f in inside], dtype=torch.float32)
            path = natural_path(chosen, key_quats[i, 1:], key_quats[i + 1, 1:])
            quats = at_even_speed(path, share)
            for f, t, q in zip(inside, share.tolist(), quats, strict=True):
                out[f] = _with_joints(_blend(a.pose, b.pose, t), q)
    exact = {k.frame: k.pose for k in ordered}
    progress("Finding the way", 1.0)
    return [exact[f] if f in exact else out[f] for f in wanted]


def natural_path(prior: Prior, start: Tensor, end: Tensor) -> Tensor:
    """(``_PATH_STEPS`` + 1, 21, 4) from ``start`` to ``end`` (21, 4), both exact: the straight way (a slerp a joint),
    bent towards the prior, most in the middle. VPoser's bend is the line between the two codes.
    """
    t = torch.linspace(0, 1, _PATH_STEPS + 1)[:, None, None]
    straight = rot.quat_slerp(start.expand(_PATH_STEPS + 1, -1, -1), end.expand(_PATH_STEPS + 1, -1, -1), t)
    if isinstance(prior, VPoser):
        with torch.no_grad():
            codes = prior.encode_rotvec(rot.quat_to_rotvec(torch.stack([start, end]))).mean
            line = rot.matrot_to_quat(prior.decode_matrot(codes[0] + t[:, :, 0] * (codes[1] - codes[0])))
        first, last = (rot.quat_multiply(rot.quat_conjugate(line[i]), q) for i, q in ((0, start), (-1, end)))
        rest = rot.quat_slerp(first.expand_as(line), last.expand_as(line), t)
        bent = rot.quat_multiply(line, rest)
    else:
        bent = prior.pull(straight).natural
    path = rot.quat_slerp(straight, bent, _PATH_LEAN * 4 * t * (1 - t))
    smooth = _smooth(path, 2.0)  # pulls of neighbouring poses differ a little: no tremble
    hold = (4 * t * (1 - t)).clamp(max=1)
    return torch.cat([start[None], rot.quat_slerp(path, smooth, hold)[1:-1], end[None]])


def at_even_speed(path: Tensor, share: Tensor) -> Tensor:
    """(N, 21, 4): points of a path (M, 21, 4) at these shares (N,) of its length, an angle summed over joints."""
    step = _angles(path[1:], path[:-1]).sum(-1) + 1e-9
    along = torch.cat([torch.zeros(1), step.cumsum(0)])
    at = share * along[-1]
    i = torch.searchsorted(along, at, right=True).clamp(1, len(path) - 1)
    t = ((at - along[i - 1]) / step[i - 1])[:, None, None]
    return rot.quat_slerp(path[i - 1], path[i], t)


# -- denoise ---------------------------------------------------------------------------------------------------------
_CONTACT_HEIGHT: Final = 0.06  # metres above the lowest the foot gets: may be standing on it
_CONTACT_SPEED: Final = 0.25  # metres a second: does not slide
_CONTACT_CALM: Final = 0.06  # seconds over which a foot's path is smoothed before it is judged
_FEET: Final = tuple(INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot"))


def denoise(
    *,
    poses: Sequence[Pose],
    fps: float = 30.0,
    strength: float = 0.5,
    prior: PriorChoice = None,
    rest: Mapping[str, Vec3] | None = None,
    progress: Progress = no_progress,
) -> list[Pose]:
    """A clip without its tremble: each frame pulled to natural, all frames smoothed, standing feet kept standing.

    ``strength`` 0..1: 0 changes nothing; at 0.5 what is quicker than about six times a second goes, at 1 about two.
    A single pose is only pulled. Feet are kept where poses have a place (``transl``); ``rest``: as in ``ik``.
    """
    _check_clip(poses)
    rest_joints = _rest_joints(rest)
    _check_share(strength, "strength")
    if not math.isfinite(fps) or fps <= 0:
        raise PriorTaskError("The frame rate must be above 0.")
    if strength == 0:
        return list(poses)
    chosen = prior_named(prior, "denoise")
    quat = _continuous(_body_quats(poses))
    pulled: list[Tensor] = []
    for part in quat[:, 1:].split(_CHUNK):
        progress("Finding natural poses", 0.5 * len(pulled) * _CHUNK / len(quat))
        pulled.append(chosen.pull(part).natural)
    pull = torch.cat([quat[:, :1], rot.quat_slerp(quat[:, 1:], torch.cat(pulled), min(1.0, 2 * strength))], 1)
    if len(poses) < 4:
        return [_with_joints(p, q[1:]) for p, q in zip(poses, pull, strict=True)]
    progress("Smoothing", 0.6)
    cutoff = 6.0 * (2.0 / 6.0) ** (2 * strength - 1)  # cycles a second: 18 at 0, 6 at a half, 2 at 1
    width = fps / (2 * math.pi * cutoff)
    smooth = _smooth(_continuous(pull), width)
    place = _places(poses)
    if place is not None:
        place = _whittaker(place, width)
        progress("Keeping the feet", 0.8)
        smooth, place = _keep_feet(smooth, place, fps, rest_joints)
    progress("Keeping the feet", 1.0)
    out: list[Pose] = []
    for i, pose in enumerate(poses):
        done = _with_joints(pose, smooth[i, 1:])
        if "pelvis" in pose.joints:
            done = replace(done, joints={**done.joints, "pelvis": _quat_tuple(smooth[i, 0])})
        out.append(done if place is None else done.with_transl(place[i].tolist()))
    return out


def _keep_feet(quat: Tensor, place: Tensor, fps: float, rest_joints: Tensor | None) -> tuple[Tensor, Tensor]:
    """Feet that stand in the smoothed clip are held where they stand, by bending the legs."""
    feet = solver.positions(quat, place, rest_joints)[:, list(_FEET)]  # (T, 4, 3)
    calm = _whittaker(feet.flatten(1), fps * _CONTACT_CALM).view_as(feet)  # what is left of the tremble is no step
    speed = torch.zeros(len(feet), len(_FEET))
    speed[1:-1] = (calm[2:] - calm[:-2]).norm(dim=-1) * fps / 2
    speed[0], speed[-1] = speed[1], speed[-2]
    stands = (calm[..., 1] < calm[..., 1].amin(0) + _CONTACT_HEIGHT) & (speed < _CONTACT_SPEED)
    held, ease = feet.clone(), torch.zeros(len(feet), len(_FEET))
    for k in range(len(_FEET)):
        for first, end in _runs(stands[:, k].tolist(), shortest=max(3, round(fps / 10))):
            held[first:end, k] = calm[first:end, k].mean(0)
            into = torch.arange(end - first) + 1.0 if first > 0 else torch.full((end - first,), fps)
            out_of = torch.arange(end - first, 0, -1.0) if end < len(feet) else torch.full((end - first,), fps)
            ease[first:end, k] = (torch.minimum(into, out_of) / max(2.0, fps / 15)).clamp(max=1.0)
    rows = (ease > 0).any(1).nonzero().squeeze(1)
    if not len(rows):
        return quat, place
    targets = feet + (held - feet) * ease[..., None]
    legs = torch.tensor([any(part in n for part in ("hip", "knee", "ankle", "foot")) for n in BODY_JOINTS])
    out = quat.clone()
    for part in rows.split(_CHUNK):
        solved = solver.solve(
            quat[part], place[part], list(_FEET), targets[part], free=legs, move_place=False, steps=8, damping=1e-4,
            rest_joints=rest_joints,
        )  # fmt: skip
        out[part] = _nearest_sign(solved.quat, quat[part])
    return out, place


def _runs(flags: Sequence[bool], shortest: int) -> list[tuple[int, int]]:
    """Stretches of True at least ``shortest`` long, as (first, end)."""
    runs, first = [], None
    for i, flag in enumerate([*flags, False]):
        if flag and first is None:
            first = i
        elif not flag and first is not None:
            if i - first >= shortest:
                runs.append((first, i))
            first = None
    return runs


# -- complete --------------------------------------------------------------------------------------------------------
_COMPLETE_STEPS: Final = 60
_COMPLETE_PRIOR: Final = 2e-3  # of a squared code against squared radians of the kept joints


def complete(
    *,
    pose: Pose,
    keep: Sequence[str],
    count: int = 1,
    seed: int = 0,
    prior: PriorChoice = None,
    progress: Progress = no_progress,
) -> list[Pose]:
    """``count`` natural bodies around the joints that are kept as they are; the first is the likeliest.

    ``keep``: names of joints. The pelvis, fingers and face are always kept.
    """
    unknown = [name for name in keep if name not in INDEX]
    if unknown:
        raise PriorTaskError(f"'{unknown[0][:40]}' is not a SMPL-X joint.")
    if not 1 <= count <= MAX_SAMPLES:
        raise PriorTaskError(f"Between 1 and {MAX_SAMPLES} poses can be made at once, not {count}.")
    chosen = prior_named(prior, "complete")
    kept = torch.tensor([name in keep and name in pose.joints for name in PRIOR_JOINTS])
    quat = _body_quats([pose])[:, 1:].expand(count, -1, -1)
    coder = chosen if isinstance(chosen, VPoser) else _own_vposer()
    code = 0.8 * coder.sample_code(count, seed)
    code[0] = 0  # from the middle of all poses: the likeliest
    code = _fit_code(coder, code, quat, kept, progress)
    with torch.no_grad():
        found = rot.matrot_to_quat(coder.decode_matrot(code))
    settler = chosen if isinstance(chosen, PoseNDF) else _own_posendf()
    free = ~kept[None, :, None]
    quat = torch.where(free, found, quat)
    for _ in range(3):  # the kept joints are part of what the distance sees, so the others settle around them
        quat = torch.where(free, rot.quat_slerp(quat, settler.pull(quat).natural, 0.5), quat)
    quat = torch.where(free, limits.clamp(quat), quat)
    progress("Completing", 1.0)
    whole = Pose({**dict.fromkeys(PRIOR_JOINTS, (1.0, 0.0, 0.0, 0.0)), **pose.joints}, pose.transl, pose.betas)
    score = _scores(chosen, quat)
    out = [_with_joints(whole, q) for q in quat]
    exact = {n: pose.joints[n] for n, k in zip(PRIOR_JOINTS, kept.tolist(), strict=True) if k}
    return [replace(p, joints={**p.joints, **exact}, score=s) for p, s in zip(out, score, strict=True)]


def _fit_code(coder: VPoser, code: Tensor, quat: Tensor, kept: Tensor, progress: Progress) -> Tensor:
    """Codes (N, 32) whose poses have the kept joints of ``quat`` (N, 21, 4), near where they start and near zero."""
    goal, weight = rot.quat_to_matrot(quat), kept.to(quat)[None]
    start = code.clone()
    code = code.clone().requires_grad_()
    adam = torch.optim.Adam([code], lr=0.1)
    for step in range(_COMPLETE_STEPS):
        progress("Completing", step / _COMPLETE_STEPS)
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / _COMPLETE_STEPS)
        miss = (coder.decode_matrot(code) - goal).square().sum((-1, -2)) / 2  # squared angle, for small ones
        loss = (miss * weight).sum(-1) + _COMPLETE_PRIOR * (code.square() + (code - start).square()).sum(-1)
        (code.grad,) = torch.autograd.grad(loss.sum(), code)
        adam.step()
    return code.detach()


# -- ik --------------------------------------------------------------------------------------------------------------
_PIN_WEIGHT: Final = 4.0
_STAND_WEIGHT: Final = 1.0
_BALANCE: Final = 0.5
_DAMPING: Final = 2e-3
_DRAG_DAMPING: Final = 1e-3  # a dragged body is stiffer, and starts near its goal


def ik(
    *,
    pose: Pose,
    targets: Mapping[str, Vec3],
    pins: Sequence[str] = (),
    prior: PriorChoice = None,
    steps: int = 16,
    rest: Mapping[str, Vec3] | None = None,
    home: Pose | None = None,
    progress: Progress = no_progress,
) -> Solved:
    """The pose with joints brought to ``targets`` (metres, SMPL-X's frame), the rest following naturally.

    ``pins``: joints that stay where they are, or at their target if they have one, harder than any target pulls.
    ``pose`` is where the search starts: while dragging, give the last answer. A target out of reach is pointed at. With
    no target or pin below the waist the feet stay put, softly. ``steps``: fewer for a livelier drag, more for an exact
    end. ``rest``: where the character's own 22 joints are in SMPL-X's rest pose, for a body of other proportions.
    ``home``: where what the targets leave free goes back to; while dragging, the pose before, so that the way does not
    matter that the hand took.
    """
    return ik_batch(
        poses=[pose], targets=[targets], pins=pins, prior=prior, steps=steps, rest=rest, home=home, progress=progress
    )


def ik_batch(
    *,
    poses: Sequence[Pose],
    targets: Sequence[Mapping[str, Vec3]],
    pins: Sequence[str] = (),
    prior: PriorChoice = None,
    steps: int = 16,
    rest: Mapping[str, Vec3] | None = None,
    home: Pose | None = None,
    progress: Progress = no_progress,
) -> Solved:
    """``ik`` for many poses at once, each with its own targets for the same joints."""
    _check_clip(poses)
    rest_joints = _rest_joints(rest)
    names = list(targets[0])
    if len(targets) != len(poses) or any(list(t) != names for t in targets):
        raise PriorTaskError("Every pose needs targets, for the same joints.")
    for name in [*names, *pins]:
        if name not in IK_JOINTS:
            raise PriorTaskError(f"'{name[:40]}' cannot be dragged; only SMPL-X's 22 body joints can.")
    if not names:
        raise PriorTaskError("There is no target. Give at least one joint a place to go.")
    chosen = prior_named(prior, "ik")
    quat = _body_quats(poses)
    place = torch.tensor([p.transl or (0.0, 0.0, 0.0) for p in poses])
    at = solver.positions(quat, place, rest_joints)
    held = [p for p in pins if p not in names]
    lower = {"pelvis", "left_hip", "right_hip", *(BODY_JOINTS[j] for j in range(22) if _is_leg(BODY_JOINTS[j]))}
    standing = [] if lower & {*names, *held} else ["left_ankle", "right_ankle", "left_foot", "right_foot"]
    effectors = [INDEX[n] for n in (*names, *held, *standing)]
    goal = at[:, effectors].clone()
    goal[:, : len(names)] = torch.tensor([[t[n] for n in names] for t in targets])
    asked = [_PIN_WEIGHT if name in pins else 1.0 for name in names]
    weight = torch.tensor([*asked, *[_PIN_WEIGHT] * len(held), *[_STAND_WEIGHT] * len(standing)])
    stands = bool(standing) or {"left_ankle", "right_ankle"} <= set(pins)
    at_home = None
    if home is not None:
        at_home = (_body_quats([home]).expand_as(quat), torch.tensor([home.transl or (0.0, 0.0, 0.0)]).expand_as(place))
    solved = solver.solve(
        quat, place, effectors, goal, weight=weight.expand(len(poses), -1), prior=chosen, steps=steps,
        balance=_BALANCE if stands else 0.0, rest_joints=rest_joints, home=at_home,
        damping=_DAMPING if home is None else _DRAG_DAMPING,
        on_step=lambda fraction: progress("Solving", fraction),
    )  # fmt: skip
    out: list[Pose] = []
    residuals: list[dict[str, float]] = []
    for i, pose in enumerate(poses):
        joints = {**pose.joints, **{n: _quat_tuple(q) for n, q in zip(BODY_JOINTS, solved.quat[i], strict=True)}}
        out.append(replace(pose, joints=joints, score=None).with_transl(solved.transl[i].tolist()))
        residuals.append(dict(zip(names, solved.residual[i].tolist(), strict=False)))
    return Solved(out, residuals)


def _rest_joints(rest: Mapping[str, Vec3] | None) -> Tensor | None:
    """(22, 3), None for the mean body's. Raises PriorTaskError where joints are missing."""
    if rest is None:
        return None
    if set(rest) != set(BODY_JOINTS):
        raise PriorTaskError("The character's rest joints must be SMPL-X's 22 body joints, all of them.")
    return torch.tensor([rest[name] for name in BODY_JOINTS])


def _is_leg(name: str) -> bool:
    return any(part in name for part in ("hip", "knee", "ankle", "foot"))


# -- between Pose and tensors ----------------------------------------------------------------------------------------
def _body_quats(poses: Sequence[Pose]) -> Tensor:
    """(N, 22, 4), pelvis first."""
    return torch.stack([p.quats(BODY_JOINTS) for p in poses])


def _quat_tuple(quat: Tensor) -> Quat:
    w, x, y, z = F.normalize(quat.double(), dim=-1).tolist()
    return (w, x, y, z)


def _with_joints(pose: Pose, quat: Tensor) -> Pose:
    """``pose`` with the prior's joints (21, 4): those it speaks of, or all of them where it speaks of none."""
    speaks = [n for n in PRIOR_JOINTS if n in pose.joints] or PRIOR_JOINTS
    new = {n: _quat_tuple(quat[PRIOR_JOINTS.index(n)]) for n in speaks}
    return replace(pose, joints={**pose.joints, **new}, score=None)


def _blend(a: Pose, b: Pose, t: float) -> Pose:
    """Straight between two poses in everything: slerp of each joint, line of the place."""
    both = [n for n in JOINTS if n in a.joints and n in b.joints]
    mixed = rot.quat_slerp(a.quats(both), b.quats(both), t)
    joints = {**b.joints, **a.joints, **{n: _quat_tuple(q) for n, q in zip(both, mixed, strict=True)}}
    transl = a.transl or b.transl
    if a.transl is not None and b.transl is not None:
        transl = (*(x + t * (y - x) for x, y in zip(a.transl, b.transl, strict=True)),)
    return Pose(joints, transl, a.betas, None)  # type: ignore[arg-type]


def _places(poses: Sequence[Pose]) -> Tensor | None:
    """(N, 3), or None where some pose has no place."""
    places = [p.transl for p in poses if p.transl is not None]
    return torch.tensor(places) if len(places) == len(poses) else None


def _check_clip(poses: Sequence[Pose]) -> None:
    if not poses:
        raise PriorTaskError("There is no pose to work on.")
    if len(poses) > MAX_FRAMES:
        raise PriorTaskError(f"At most {MAX_FRAMES} poses are worked on at once, not {len(poses)}.")


def _check_share(value: float, name: str) -> None:
    if not math.isfinite(value) or not 0 <= value <= 1:
        raise PriorTaskError(f"The {name} must lie between 0 and 1.")


# -- numbers ---------------------------------------------------------------------------------------------------------
def _own_vposer() -> VPoser:
    own = embedded_prior("vposer")
    assert isinstance(own, VPoser)
    return own


@functools.cache
def _own_consensus() -> Consensus:
    return Consensus(_own_posendf(), _own_vposer(), Tables.of(embedded_tables()))


def _own_posendf() -> PoseNDF:
    own = embedded_prior("posendf")
    assert isinstance(own, PoseNDF)
    return own


def _distances(prior: Prior, quat: Tensor) -> list[float]:
    return [float(d) for part in quat.split(_CHUNK) for d in prior.pull(part).distance]


def _scores(prior: Prior, quat: Tensor) -> list[float]:
    """0..1 confidence: 1 for a pose at no distance, a half at five degrees a joint."""
    return [1 / (1 + math.degrees(d) / 5) for d in _distances(prior, quat)]


def _angles(a: Tensor, b: Tensor) -> Tensor:
    return 2 * torch.acos((a * b).sum(-1).abs().clamp(max=1.0))


def _nearest_sign(quat: Tensor, like: Tensor) -> Tensor:
    return torch.where((quat * like).sum(-1, keepdim=True) < 0, -quat, quat)


def _continuous(quat: Tensor) -> Tensor:
    """(T, J, 4) with signs such that neighbours are near: q and -q are one rotation, but not one number."""
    flips = (quat[1:] * quat[:-1]).sum(-1, keepdim=True) < 0
    sign = torch.cat([torch.ones_like(quat[:1, :, :1]), torch.where(flips, -1.0, 1.0)]).cumprod(0)
    return quat * sign


def _smooth(quat: Tensor, width: float) -> Tensor:
    """(T, J, 4) continuous quaternions smoothed over about ``width`` frames."""
    return F.normalize(_whittaker(quat.flatten(1), width).unflatten(1, quat.shape[1:]), dim=-1)


_WINDOW: Final = 600  # frames solved at once, and how many of them the next window repeats
_OVERLAP: Final = 100


def _whittaker(values: Tensor, width: float) -> Tensor:
    """(T, D) -> the curves that stay near ``values`` and bend least (Whittaker 1923): halves what swings in 2 pi
    ``width`` frames, keeps straight lines, and ends do not droop. Long clips in windows that overlap.
    """
    if len(values) <= _WINDOW:
        return _whittaker_window(values, width)
    out, total = torch.zeros_like(values), torch.zeros(len(values), 1)
    ramp = torch.linspace(0, 1, _OVERLAP + 2)[1:-1, None]
    for first in range(0, len(values) - _OVERLAP, _WINDOW - _OVERLAP):
        part = _whittaker_window(values[first : first + _WINDOW], width)
        weight = torch.ones(len(part), 1)
        if first > 0:
            weight[:_OVERLAP] = ramp
        if first + _WINDOW < len(values):
            weight[-_OVERLAP:] = ramp.flip(0)
        out[first : first + len(part)] += part * weight
        total[first : first + len(part)] += weight
    return out / total


def _whittaker_window(values: Tensor, width: float) -> Tensor:
    n = len(values)
    if n < 4:
        return values
    second = torch.zeros(n - 2, n, dtype=torch.float64)
    rows = torch.arange(n - 2)
    second[rows, rows], second[rows, rows + 1], second[rows, rows + 2] = 1.0, -2.0, 1.0
    matrix = torch.eye(n, dtype=torch.float64) + width**4 * second.T @ second
    return torch.linalg.solve(matrix, values.double()).to(values)


def ground(poses: Sequence[Pose]) -> list[Pose]:
    """The poses with the place that puts their lowest point on y = 0."""
    matrot = rot.quat_to_matrot(_body_quats(poses))
    places = default_body().ground_transl(matrot)
    return [p.with_transl(t.tolist()) for p, t in zip(poses, places, strict=True)]
