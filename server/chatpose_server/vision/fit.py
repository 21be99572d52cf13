"""Landmarks of one person -> a pose of our skeleton and a camera. Knows no pictures and no networks.

SMPLify's idea (Bogo et al. 2016), with BlazePose's landmarks in space beside those in the picture: local rotations,
the body's place before the camera and a few bone lengths are moved until the skeleton's own landmarks fall on those
that were seen, inside the joints' ranges and near what a prior finds natural (VPoser: Pavlakos et al. 2019; Pose-NDF:
Tiwari et al. 2022). Where landmarks are in space is not taken at BlazePose's word but at that of a small network which
knows how it errs (``lift``). What was not seen is left to the priors. Batched Levenberg-Marquardt with the analytic
Jacobian of forward kinematics, three starts at once.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..body.model import default_body
from ..posecodes import limits
from ..priors.base import Prior
from ..skeleton import BODY_JOINTS, INDEX, PARENTS, mirror_name
from .blazepose import AT, NAMES
from .camera import DEFAULT_FOCAL, view_axes
from .lift import Lifted

_COUNT: Final = len(BODY_JOINTS)
_ITERATIONS: Final = 30

# Where BlazePose's landmarks sit: joint that carries them, and their place beside it at rest (metres, left side).
# Means over renders of our body with known poses: what the network marks, not what anatomy names.
_SITES: Final[dict[str, tuple[str, tuple[float, float, float]]]] = {
    "nose": ("head", (0.0, -0.032, 0.112)),
    "left_eye_inner": ("head", (0.014, 0.0, 0.090)),
    "left_eye": ("head", (0.022, 0.0, 0.088)),
    "left_eye_outer": ("head", (0.030, 0.0, 0.084)),
    "left_ear": ("head", (0.060, -0.022, 0.025)),
    "mouth_left": ("head", (0.016, -0.060, 0.090)),
    "left_shoulder": ("left_shoulder", (-0.017, -0.012, 0.0)),
    "left_elbow": ("left_elbow", (0.022, 0.003, 0.018)),
    "left_wrist": ("left_wrist", (0.010, -0.010, -0.003)),
    "left_pinky": ("left_wrist", (0.070, -0.012, -0.016)),
    "left_index": ("left_wrist", (0.080, -0.010, 0.026)),
    "left_thumb": ("left_wrist", (0.055, -0.012, 0.022)),
    "left_hip": ("left_hip", (-0.010, -0.003, 0.025)),
    "left_knee": ("left_knee", (0.0, -0.013, -0.018)),
    "left_ankle": ("left_ankle", (0.005, 0.002, 0.006)),
    "left_heel": ("left_ankle", (0.006, -0.060, -0.032)),
    "left_foot_index": ("left_foot", (-0.020, -0.020, 0.025)),
    # knuckles as the hands' own network marks them
    "left_knuckle_index": ("left_wrist", (0.102, -0.010, 0.026)),
    "left_knuckle_middle": ("left_wrist", (0.102, -0.005, 0.0)),
    "left_knuckle_pinky": ("left_wrist", (0.086, -0.009, -0.038)),
}

MARKS: Final = (*NAMES, *(f"{s}_knuckle_{f}" for s in ("left", "right") for f in ("index", "middle", "pinky")))
"""Everything that can be seen of a person: BlazePose's 33 landmarks, then three knuckles of each hand."""

FOLLOWERS: Final = {"wrist": ("index", "pinky", "thumb"), "ankle": ("heel", "foot_index")}
"""What goes along when a landmark is dragged: the network saw them together."""


@functools.cache
def sites() -> tuple[list[int], Tensor]:
    """For each of the 39 marks: its joint, and its place in that joint's frame (39, 3)."""
    joints: list[int] = []
    places: list[tuple[float, float, float]] = []
    for name in MARKS:
        twin = name.replace("right", "left")
        joint, (x, y, z) = _SITES[twin]
        joints.append(INDEX[mirror_name(joint) if twin != name else joint])
        places.append((-x if twin != name else x, y, z))
    return joints, torch.tensor(places)


# How far off a landmark is when it is plainly seen: in the picture as a share of the person's size, in space in metres.
_PIXEL_SIGMA: Final = 0.015
_SPACE_SIGMA: Final = 0.05
_SPACE_SIGMA_DEPTH: Final = 0.08
_LOOSE: Final = {
    "knuckle": 0.7, "pinky": 0.5, "index": 0.5, "thumb": 0.4, "heel": 0.7, "foot": 0.7, "eye": 0.5, "mouth": 0.6,
    "ear": 0.7,
}  # fmt: skip
"""Trust in what is small or many, against 1 for a limb's joint."""

UNSEEN: Final = 0.06  # what BlazePose guesses of hidden limbs counts this much: it knows how people stand
_ROBUST: Final = 3.0  # sigmas beyond which a landmark is taken for a mistake
_LIMIT_SIGMA: Final = 4.0  # degrees beyond a joint's range
_LIFT_LEAST: Final = 0.02  # metres
_PIXEL_LEAST: Final = 0.25
_LIFT_SIGMA: Final = 0.5  # radians from the rotations that the lifter says
_PRIOR_SIGMA: Final = 0.45  # radians from what the prior finds natural
_PRIOR_EVERY: Final = 3
GROUPS: Final = ("legs", "arms", "trunk", "breadth")
_LENGTH_SIGMA: Final = 0.08  # of the logarithm of a group's bone lengths
_FOCAL_SIGMA: Final = 0.12  # of the logarithm of the focal length


@dataclass(frozen=True)
class Seen:
    """What is known of one person. ``pixels`` (39, 2), ``trust`` (39,) 0..1, ``space`` (39, 3) metres (x right, y up,
    z towards the viewer), ``space_trust`` (39,), ``width`` and ``height`` of the picture, ``centre`` (2,) pixels where
    the camera that ``space`` and ``lifted`` speak of looks, ``focal_px`` if known.
    """

    pixels: Tensor
    trust: Tensor
    space: Tensor
    space_trust: Tensor
    width: int
    height: int
    centre: Tensor
    lifted: Lifted | None = None
    focal_px: float | None = None

    @property
    def focal(self) -> float:
        """What is known of the lens, or thought."""
        return self.focal_px or DEFAULT_FOCAL * max(self.width, self.height)


@dataclass(frozen=True)
class Fitted:
    """In the camera's own frame: ``quat`` (22, 4) local rotations, ``place`` (3,) of the pelvis, ``focal_px``.
    ``cost``: mean squared error in sigmas of what was seen. ``lengths`` by group, 1 = our body's.
    """

    quat: Tensor
    place: Tensor
    focal_px: float
    cost: float
    lengths: dict[str, float]


# -- the skeleton, with bone lengths -----------------------------------------------------------------------------------
@functools.cache
def _bones() -> tuple[Tensor, Tensor]:
    """Rest offsets from the parent (22, 3), and which group scales them (22, G)."""
    rest = default_body().neutral_joints[:_COUNT]
    offset = rest - rest[[max(0, p) for p in PARENTS[:_COUNT]]]
    group = torch.zeros(_COUNT, len(GROUPS))
    for i, name in enumerate(BODY_JOINTS[1:], 1):
        part = name.split("_")[-1]
        if part in ("knee", "ankle", "foot"):
            group[i, 0] = 1
        elif part in ("elbow", "wrist"):
            group[i, 1] = 1
        elif part in ("hip", "shoulder", "collar"):
            group[i, 3] = 1
        elif part != "head":
            group[i, 2] = 1
    return offset, group


@functools.cache
def _carried() -> Tensor:
    """(39, 22) 1 where a landmark moves when a joint turns."""
    joints, _ = sites()
    table = torch.zeros(len(joints), _COUNT)
    for k, carrier in enumerate(joints):
        joint = carrier
        while joint >= 0:
            table[k, joint] = 1
            joint = PARENTS[joint]
    return table


@functools.cache
def _hung() -> Tensor:
    """(39, 22) 1 where a bone (by its lower joint) lies between the pelvis and a landmark."""
    table = _carried().clone()
    table[:, 0] = 0
    return table


@dataclass(frozen=True)
class State:
    """Forward kinematics around the pelvis: ``joints`` (B, 22, 3), ``matrot`` (B, 22, 3, 3), ``points`` (B, 39, 3),
    ``bones`` (B, 22, 3): each bone in the camera's axes.
    """

    joints: Tensor
    matrot: Tensor
    points: Tensor
    bones: Tensor


def kinematics(quat: Tensor, lengths: Tensor, places: Tensor | None = None) -> State:
    """``quat`` (B, 22, 4), ``lengths`` (B, G): logarithms of the groups' scales. ``places`` (39, 3): of the marks
    beside their joints, if not the usual ones.
    """
    return kinematics_of(rot.quat_to_matrot(quat), lengths, places)


def kinematics_of(local: Tensor, lengths: Tensor, places: Tensor | None = None) -> State:
    """The same of local rotation matrices (B, 22, 3, 3)."""
    offset, group = _bones()
    scaled = offset * torch.exp(lengths @ group.T)[..., None]  # (B, 22, 3)
    matrot: list[Tensor] = [local[:, 0]]
    joints: list[Tensor] = [torch.zeros_like(scaled[:, 0])]
    bones: list[Tensor] = [torch.zeros_like(scaled[:, 0])]
    for j in range(1, _COUNT):
        p = PARENTS[j]
        bone = (matrot[p] @ scaled[:, j, :, None]).squeeze(-1)
        bones.append(bone)
        joints.append(joints[p] + bone)
        matrot.append(matrot[p] @ local[:, j])
    joint, turn = torch.stack(joints, 1), torch.stack(matrot, 1)
    carriers, usual = sites()
    places = usual if places is None else places
    points = joint[:, carriers] + (turn[:, carriers] @ places[..., None]).squeeze(-1)
    return State(joint, turn, points, torch.stack(bones, 1))


# -- what a body does when nobody looks --------------------------------------------------------------------------------
_EASE_DEG: Final[dict[str, tuple[float, float, float]]] = {
    # how far joints stray from how people hold them, about x, y, z of the rest body; 180: as far as they like
    "spine1": (22, 14, 14), "spine2": (14, 12, 10), "spine3": (14, 12, 10), "neck": (16, 20, 12), "head": (20, 25, 14),
    "left_hip": (180, 40, 60), "left_knee": (180, 8, 6), "left_ankle": (25, 12, 10), "left_foot": (12, 4, 4),
    "left_collar": (8, 14, 14), "left_shoulder": (70, 180, 180), "left_elbow": (45, 180, 10),
    "left_wrist": (25, 15, 25),
}  # fmt: skip
_HELD_DEG: Final[dict[str, tuple[float, float, float]]] = {
    "left_shoulder": (0, 0, -60), "left_elbow": (0, -20, 0), "left_knee": (8, 0, 0), "left_hip": (-6, 0, 2),
    "spine1": (4, 0, 0), "left_foot": (0, 0, 0),
}  # fmt: skip
"""How people hold joints when nothing asks otherwise; others as at rest."""


def both_sides(table: dict[str, tuple[float, float, float]], mirrored: bool, missing: float) -> Tensor:
    """Degrees by joint of the left side and the middle -> (22, 3) radians, ``missing`` for others. ``mirrored``: turns
    about y and z change their sign on the right.
    """
    out = torch.full((_COUNT, 3), math.radians(missing))
    for i, name in enumerate(BODY_JOINTS):
        twin = name.replace("right_", "left_")
        if twin in table:
            x, y, z = table[twin]
            flip = -1.0 if mirrored and twin != name else 1.0
            out[i] = torch.tensor([x, flip * y, flip * z]).deg2rad()
    return out


@functools.cache
def _ease() -> tuple[Tensor, Tensor]:
    """(22, 4) how joints are held, and (22, 3) one over how far they stray."""
    stray = both_sides(_EASE_DEG, mirrored=False, missing=1e6)
    return rot.rotvec_to_quat(both_sides(_HELD_DEG, mirrored=True, missing=0.0)), 1 / stray


# -- the problem -------------------------------------------------------------------------------------------------------
_PLACE, _SCALE, _FOCAL = 3 * _COUNT, 3 * _COUNT + 3, 3 * _COUNT + 4
_LENGTHS: Final = slice(3 * _COUNT + 5, 3 * _COUNT + 5 + len(GROUPS))
_VARIABLES: Final = 3 * _COUNT + 5 + len(GROUPS)
_SCALE_SIGMA: Final = 0.15  # of the logarithm of a person's size against ours


@dataclass(frozen=True)
class _Guess:
    """A batch of answers: ``quat`` (B, 22, 4), ``rest`` (B, 5 + G): place, log scale, log focal, log lengths."""

    quat: Tensor
    rest: Tensor

    def moved(self, step: Tensor) -> _Guess:
        turn = rot.rotvec_to_quat(step[:, :_PLACE].unflatten(1, (_COUNT, 3)))
        return _Guess(rot.quat_multiply(self.quat, turn), self.rest + step[:, _PLACE:])

    def where(self, better: Tensor, other: _Guess) -> _Guess:
        return _Guess(
            torch.where(better[:, None, None], other.quat, self.quat),
            torch.where(better[:, None], other.rest, self.rest),
        )


@dataclass(frozen=True)
class _Problem:
    """``size``: the person's, in pixels. ``focal``: the first guess. ``ray`` (3, 3): from the axes of a camera that
    looks at the person, in which BlazePose speaks, to those of the real one.
    """

    seen: Seen
    size: float
    focal: float
    focal_sigma: float
    ray: Tensor
    pixels: Tensor  # (39, 2)
    pixel_weight: Tensor  # (39,)
    space: Tensor  # (39, 3) where marks are thought to be, as ``Seen.space``
    space_weight: Tensor  # (39, 3)
    places: Tensor  # (39, 3) of the marks beside their joints
    lifted: Tensor | None  # (22, 4) the lifter's own answer


def _loose() -> Tensor:
    return torch.tensor([next((w for k, w in _LOOSE.items() if k in name), 1.0) for name in MARKS])


_OWN_JOINTS: Final = tuple(AT[f"{s}_{n}"] for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
                           for s in ("left", "right"))  # fmt: skip
"""Landmarks that are called as a joint of ours. BlazePose marks them a little beside; who drags one means the joint."""


def _problem(seen: Seen) -> _Problem:
    sure = seen.pixels[seen.trust > 0.5] if int((seen.trust > 0.5).sum()) > 4 else seen.pixels
    # Shorter people in the picture (crouched, seen from above) are not better seen: size comes from space too.
    body = slice(0, len(NAMES))
    flat = (seen.space[body] - seen.space[body].mean(0))[:, :2].norm(dim=1).mean()
    spread = (seen.pixels[body] - seen.pixels[body].mean(0)).norm(dim=1).mean()
    size = float(1.7 * spread / flat.clamp(min=0.05))
    size = min(size, 4.0 * float((sure.amax(0) - sure.amin(0)).max()))
    middle = torch.tensor([seen.width / 2, seen.height / 2])
    ray = view_axes((seen.centre - middle)[None], torch.tensor([seen.focal]))[0]
    loose = _loose()
    pixel = torch.sqrt((seen.trust * loose).clamp(min=1e-6)) / (_PIXEL_SIGMA * size)
    sigma = torch.tensor([_SPACE_SIGMA, _SPACE_SIGMA, _SPACE_SIGMA_DEPTH])
    weight = torch.sqrt((seen.space_trust * loose).clamp(min=1e-6))[:, None] / sigma
    _, places = sites()
    places = places.clone()
    for k in _OWN_JOINTS:
        if seen.trust[k] > 1:
            places[k] = 0
    focal_sigma = 1e-3 if seen.focal_px else _FOCAL_SIGMA
    plain = _Problem(
        seen, size, seen.focal, focal_sigma, ray, seen.pixels, pixel, seen.space, weight, places, lifted=None
    )
    return plain if seen.lifted is None else _lifted(plain, seen.lifted, loose)


def _lifted(p: _Problem, lifted: Lifted, loose: Tensor) -> _Problem:
    """The lifter's word in place of BlazePose's, but for what the artist put, for knuckles and for the pixels of what
    is plainly seen: photographs are what BlazePose was made for, and the lifter has seen none.
    """
    body = len(NAMES)
    seen, loose = p.seen, torch.sqrt(loose[:body])
    pixels, pixel_weight = p.pixels.clone(), p.pixel_weight.clone()
    own = torch.arange(len(MARKS)) < body
    own[:body] &= seen.trust[:body] <= 1
    guessed = (1 - seen.trust[:body, None]) * (lifted.pixels - seen.pixels[:body])
    pixels[own] += guessed[own[:body]]
    pixel_weight[own] = (loose / lifted.pixel_sigma.clamp(min=_PIXEL_LEAST))[own[:body]]
    space, weight = p.space.clone(), p.space_weight.clone()
    wrists = [AT[f"{name.split('_')[0]}_wrist"] for name in MARKS[body:]]
    space[body:] += lifted.places[wrists] - seen.space[wrists]
    space[:body] = lifted.places
    weight[:body] = loose[:, None] / lifted.sigma[:, [0, 0, 1]].clamp(min=_LIFT_LEAST)
    turned = lifted.quat.clone()
    turned[0] = rot.quat_multiply(rot.matrot_to_quat(p.ray), turned[0])
    return replace(p, pixels=pixels, pixel_weight=pixel_weight, space=space, space_weight=weight, lifted=turned)


def _robust(residual: Tensor, firm: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(..., n) one landmark's residuals -> the weight of each landmark and its cost, Cauchy's; plain where ``firm``:
    what the artist put there is no mistake.
    """
    sq = (residual * residual).sum(-1) / _ROBUST**2
    weight, cost = torch.rsqrt(1 + sq), _ROBUST**2 * torch.log1p(sq)
    if firm is None:
        return weight, cost
    return torch.where(firm, torch.ones_like(sq), weight), torch.where(firm, _ROBUST**2 * sq, cost)


@dataclass(frozen=True)
class _Linear:
    """``residual`` (B, r), ``jacobian`` (B, r, n), ``cost`` (B,), ``data`` (B,): the landmarks' share of it."""

    residual: Tensor
    jacobian: Tensor
    cost: Tensor
    data: Tensor

    def where(self, better: Tensor, other: _Linear) -> _Linear:
        return _Linear(
            torch.where(better[:, None], other.residual, self.residual),
            torch.where(better[:, None, None], other.jacobian, self.jacobian),
            torch.where(better, other.cost, self.cost),
            torch.where(better, other.data, self.data),
        )


def _linearise(p: _Problem, guess: _Guess, natural: Tensor | None) -> _Linear:
    b = len(guess.quat)
    place, scale, log_focal, lengths = (
        guess.rest[:, :3], guess.rest[:, 3], guess.rest[:, 4], guess.rest[:, 5:],
    )  # fmt: skip
    state = kinematics(guess.quat, lengths, p.places)
    moves = torch.zeros(b, len(MARKS), 3, _VARIABLES)
    lever = state.points[:, :, None] - state.joints[:, None]  # (B, 39, 22, 3)
    axes = state.matrot.transpose(-1, -2)[:, None]  # (B, 1, 22, 3 axes, 3)
    turn = torch.linalg.cross(axes.expand(-1, len(MARKS), -1, -1, -1), lever[..., None, :].expand(-1, -1, -1, 3, -1))
    turn = turn * _carried()[None, :, :, None, None]
    moves[..., :_PLACE] = turn.flatten(2, 3).transpose(-1, -2)
    _, group = _bones()
    moves[..., _LENGTHS] = torch.einsum("kj,bjc,jg->bkcg", _hung(), state.bones, group)
    # in the picture
    points = state.points + place[:, None]
    depth = (-points[..., 2]).clamp(min=0.05)
    focal = p.focal * torch.exp(log_focal)[:, None]
    flat = torch.stack([points[..., 0], -points[..., 1]], -1) * (focal / depth)[..., None]  # from the middle
    middle = torch.tensor([p.seen.width / 2, p.seen.height / 2])
    in_moves = moves.clone()
    in_moves[..., _PLACE : _PLACE + 3] += torch.eye(3)
    down = torch.stack([in_moves[..., 0, :], -in_moves[..., 1, :]], -2) * (focal / depth)[..., None, None]
    jac_pixel = down + flat[..., None] * (in_moves[..., 2, :] / depth[..., None])[..., None, :]
    jac_pixel[..., _FOCAL] += flat
    res_pixel = (flat + middle - p.pixels) * p.pixel_weight[:, None]
    # in space, around the hips, in the axes of a camera that looks at the person
    own = (state.points - state.points[:, 23:25].mean(1, keepdim=True)) @ p.ray
    wanted = torch.exp(scale)[:, None, None] * p.space
    res_space = (own - wanted) * p.space_weight
    around = moves - moves[:, 23:25].mean(1, keepdim=True)
    jac_space = torch.einsum("cd,bkcn->bkdn", p.ray, around)
    jac_space[..., _SCALE] -= wanted
    weight_pixel, cost_pixel = _robust(res_pixel, p.seen.trust > 1)
    weight_space, cost_space = _robust(res_space)
    data = cost_pixel.sum(1) + cost_space.sum(1)
    rows = [
        (res_pixel * weight_pixel[..., None]).flatten(1),
        (res_space * weight_space[..., None]).flatten(1),
    ]
    columns = [
        (jac_pixel * (p.pixel_weight * weight_pixel)[..., None, None]).flatten(1, 2),
        (jac_space * (p.space_weight * weight_space[..., None])[..., None]).flatten(1, 2),
    ]
    for residual, jacobian in (_ranges(guess.quat), _habits(p, guess, natural), _knowns(p, guess)):
        rows.append(residual)
        columns.append(jacobian)
    soft = sum((r * r).sum(1) for r in rows[2:])
    return _Linear(torch.cat(rows, 1), torch.cat(columns, 1), data + soft, data)


_NUDGE: Final = 1e-3


def _ranges(quat: Tensor) -> tuple[Tensor, Tensor]:
    """Joints outside their ranges: (B, 63) and (B, 63, n)."""
    b = len(quat)
    nudge = rot.rotvec_to_quat(torch.cat([torch.zeros(1, 3), torch.eye(3) * _NUDGE]))  # (4, 4)
    tried = rot.quat_multiply(quat[:, None].expand(-1, 4, -1, -1), nudge[None, :, None].expand(b, -1, _COUNT, -1))
    over = limits.excess_quat(tried.flatten(0, 1)).unflatten(0, (b, 4)) / _LIMIT_SIGMA  # (B, 4, 21, 3)
    slope = (over[:, 1:] - over[:, :1]) / _NUDGE  # (B, 3 turned, 21, 3)
    jacobian = torch.zeros(b, _COUNT - 1, 3, _COUNT, 3)
    at = torch.arange(_COUNT - 1)
    jacobian[:, at, :, at + 1] = slope.permute(2, 0, 3, 1)
    others = torch.zeros(b, 3 * (_COUNT - 1), _VARIABLES - _PLACE)
    return over[:, 0].flatten(1), torch.cat([jacobian.flatten(3).flatten(1, 2), others], -1)


def _habits(p: _Problem, guess: _Guess, natural: Tensor | None) -> tuple[Tensor, Tensor]:
    """How people hold their joints, what the prior finds natural and what the lifter says: (B, r) and (B, r, n)."""
    b = len(guess.quat)
    held, firm = _ease()
    rows = [rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(held), guess.quat)) * firm]
    slopes = [firm]
    if natural is not None:
        away = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(natural), guess.quat[:, 1:])) / _PRIOR_SIGMA
        rows.append(torch.cat([torch.zeros(b, 1, 3), away], 1))
        slopes.append(torch.cat([torch.zeros(1, 3), torch.full((_COUNT - 1, 3), 1 / _PRIOR_SIGMA)]))
    if p.lifted is not None:
        away = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(p.lifted), guess.quat))
        rows.append(away / _LIFT_SIGMA)
        slopes.append(torch.full((_COUNT, 3), 1 / _LIFT_SIGMA))
    eye = torch.cat([torch.diag(s.flatten()) for s in slopes])  # turning on the right changes these about one to one
    jacobian = torch.cat([eye, torch.zeros(len(eye), _VARIABLES - _PLACE)], 1)
    return torch.cat([r.flatten(1) for r in rows], 1), jacobian.expand(b, -1, -1)


def _knowns(p: _Problem, guess: _Guess) -> tuple[Tensor, Tensor]:
    """Sizes: the person's, the lens', the bones'. (B, 2 + G) and (B, 2 + G, n)."""
    sigma = torch.tensor([_SCALE_SIGMA, p.focal_sigma] + [_LENGTH_SIGMA] * len(GROUPS))
    jacobian = torch.zeros(len(sigma), _VARIABLES)
    jacobian[:, _SCALE:] = torch.diag(1 / sigma)
    return guess.rest[:, 3:] / sigma, jacobian.expand(len(guess.rest), -1, -1)


# -- where to begin ----------------------------------------------------------------------------------------------------
def _arc(a: Tensor, b: Tensor) -> Tensor:
    """(3,), (3,) -> (4,) the shortest turn from one direction to the other."""
    a, b = a / a.norm(), b / b.norm().clamp(min=1e-9)
    w = 1 + torch.dot(a, b)
    if float(w) < 1e-4:  # opposite: any axis across will do
        across = torch.linalg.cross(a, torch.eye(3)[int(a.abs().argmin())])
        return torch.cat([torch.zeros(1), across / across.norm()])
    q = torch.cat([w[None], torch.linalg.cross(a, b)])
    return q / q.norm()


_LIMBS: Final = (
    ("left_shoulder", "left_elbow", "left_wrist", 0), ("right_shoulder", "right_elbow", "right_wrist", 0),
    ("left_hip", "left_knee", "left_ankle", 1), ("right_hip", "right_knee", "right_ankle", 1),
)  # fmt: skip


def _begin(p: _Problem) -> _Guess:
    """Starts from the landmarks in space: limbs turned the shortest way, and so that elbows and knees hinge; and the
    lifter's own answer.
    """
    space = p.space @ p.ray.T
    at = {name: space[i] for i, name in enumerate(MARKS)}
    hips = (at["left_hip"] + at["right_hip"]) / 2
    up = (at["left_shoulder"] + at["right_shoulder"]) / 2 - hips
    side = at["left_hip"] - at["right_hip"]
    shoulders = at["left_shoulder"] - at["right_shoulder"]
    side = side / side.norm().clamp(min=1e-6) + 0.5 * shoulders / shoulders.norm().clamp(min=1e-6)
    y = up / up.norm().clamp(min=1e-6)
    x = side - y * torch.dot(side, y)
    x = x / x.norm().clamp(min=1e-6)
    trunk = torch.stack([x, y, torch.linalg.cross(x, y)], 1)
    offset, _ = _bones()
    starts: list[Tensor] = []
    for hinged in (False, True):
        quat = torch.zeros(_COUNT, 4)
        quat[:, 0] = 1
        quat[0] = rot.matrot_to_quat(trunk)
        for root, middle, end, leg in _LIMBS:
            first, second = trunk.T @ (at[middle] - at[root]), trunk.T @ (at[end] - at[middle])
            turn = _arc(offset[INDEX[middle]], first)
            bent = rot.quat_to_matrot(turn).T @ second
            if hinged:  # turn about the bone until the lower part swings the way the joint can
                off = torch.atan2(bent[0], -bent[2]) if leg else torch.atan2(-bent[1], bent[2])
                sideways = float((bent[[0, 2]] if leg else bent[[1, 2]]).norm() / bent.norm().clamp(min=1e-6))
                share = min(1.0, max(0.0, (sideways - 0.2) / 0.4))
                axis = torch.tensor([0.0, -1.0, 0.0] if leg else [1.0, 0.0, 0.0])
                turn = rot.quat_multiply(turn, rot.rotvec_to_quat(-axis * off * share))
                bent = rot.quat_to_matrot(turn).T @ second
            quat[INDEX[root]] = turn
            quat[INDEX[middle]] = _arc(offset[INDEX[end]], bent)
        starts.append(quat)
    if p.lifted is not None:
        starts.append(p.lifted)
    flat = torch.stack([space[:, 0], -space[:, 1]], 1)
    weight = (p.seen.trust + 1e-3)[:, None]
    mean_flat, mean_pixel = ((v * weight).sum(0) / weight.sum() for v in (flat, p.pixels))
    a, c = flat - mean_flat, p.pixels - mean_pixel
    zoom = ((a * c * weight).sum() / (a * a * weight).sum()).clamp(min=1.0)  # pixels a metre
    depth = p.focal / zoom
    middle = torch.tensor([p.seen.width / 2, p.seen.height / 2])
    off = (mean_pixel - middle) / zoom - mean_flat
    rest = torch.zeros(len(starts), _VARIABLES - _PLACE)
    rest[:, 0], rest[:, 1], rest[:, 2] = off[0], -off[1], -depth
    return _Guess(torch.stack(starts), rest)


@torch.no_grad()
def fit(seen: Seen, prior: Prior | None = None) -> Fitted:
    """The pose and place whose landmarks fall on those that were seen."""
    p = _problem(seen)
    guess = _begin(p)
    b = len(guess.quat)
    natural = None if prior is None else prior.pull(guess.quat[:, 1:]).natural
    best = _linearise(p, guess, natural)
    damping = torch.full((b,), 1e-2)
    for i in range(_ITERATIONS):
        normal = best.jacobian.transpose(1, 2) @ best.jacobian
        gradient = (best.jacobian.transpose(1, 2) @ best.residual[..., None]).squeeze(-1)
        diagonal = normal.diagonal(dim1=-2, dim2=-1)
        step = -torch.linalg.solve(normal + torch.diag_embed(damping[:, None] * (diagonal + 1.0)), gradient)
        longest = step[:, :_PLACE].abs().amax(-1, keepdim=True)
        step = step * (0.8 / longest.clamp(min=0.8))
        tried = guess.moved(step)
        got = _linearise(p, tried, natural)
        better = got.cost < best.cost
        gain = ((best.cost - got.cost) / best.cost).clamp(min=0)
        guess = guess.where(better, tried)
        best = best.where(better, got)
        damping = torch.where(better, damping * 0.3, damping * 8).clamp(1e-6, 1e5)
        if bool((better & (gain < 1e-3) | (damping > 1e3)).all()) and i > 6:
            break
        if prior is not None and i % _PRIOR_EVERY == _PRIOR_EVERY - 1:
            natural = prior.pull(guess.quat[:, 1:]).natural
            best = _linearise(p, guess, natural)
    k = int(best.cost.argmin())
    rest = guess.rest[k]
    lengths = {name: math.exp(float(v)) for name, v in zip(GROUPS, rest[5:], strict=True)}
    seen_weight = float((seen.trust.sum() * 2 + seen.space_trust.sum() * 3).clamp(min=1))
    return Fitted(
        rot.quat_canonical(guess.quat[k]), rest[:3], p.focal * math.exp(float(rest[4])),
        float(best.data[k]) / seen_weight, lengths,
    )  # fmt: skip
