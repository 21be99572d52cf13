"""One person of a picture -> a pose in the world and the camera that saw it. Joins what sees, fits and stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from ..body.model import default_body
from ..pose import Pose
from ..priors import embedded_prior
from .blazepose import AT, NAMES, Landmarks
from .camera import Camera
from .fit import FOLLOWERS, GROUPS, MARKS, UNSEEN, Fitted, Seen, fit, kinematics
from .hands import Hand, finger_quats
from .lift import Lifter, embedded_lifter, lift
from .upright import stand, unseen_legs

PriorName = Literal["vposer", "posendf"]

_SURE: Final = 12.0  # a landmark that the artist put where it is counts as so many that were seen
_MOVED: Final = 0.12  # metres: moved this far, what the network thought of its depth is mostly forgotten
_KNOWN: Final = 0.15
_STILL: Final = 0.01  # pixels
_GOOD_COST: Final = 0.35  # mean squared sigmas of a fit that is right


@dataclass(frozen=True)
class Found:
    """``keypoints``: name -> (x, y, visibility), pixels of the picture; corrected ones as the artist put them."""

    pose: Pose
    camera: Camera
    keypoints: Mapping[str, tuple[float, float, float]]
    fitted: Fitted


def solve(
    person: Landmarks,
    width: int,
    height: int,
    *,
    focal_px: float | None = None,
    corrections: Mapping[str, tuple[float, float]] | None = None,
    hands: Sequence[Hand] = (),
    prior: PriorName = "vposer",
    lifter: Callable[[], Lifter | None] = embedded_lifter,
) -> Found:
    """The pose of a person found in a picture of this size. ``corrections``: where landmarks really are, in pixels; of
    a limb's joint its middle. ``hands``: those of this person that could be read; only their fingers are spoken for.
    ``prior``: which of our priors says what is natural. ``lifter``: what knows how BlazePose errs, or None.
    """
    put = corrections or {}
    inside = _inside(person.pixels, width, height)
    seen = seen_of(person, inside, width, height, focal_px, put, hands)
    with _one_thread():
        model = lifter()
        if model is not None:
            by_hand = {AT[name]: xy for name, xy in put.items()}
            moved = (seen.pixels[: len(NAMES)] - torch.from_numpy(person.pixels)).norm(dim=1) > _STILL
            along = {k: (float(seen.pixels[k, 0]), float(seen.pixels[k, 1])) for k in moved.nonzero()[:, 0].tolist()}
            seen = replace(seen, lifted=lift(model, person, torch.from_numpy(inside), seen.focal, by_hand, along))
        fitted = fit(seen, embedded_prior(prior))
    score = float(seen.trust[: len(NAMES)].clamp(max=1).mean()) * math.exp(-max(0.0, fitted.cost - _GOOD_COST))
    pose, camera = stand(fitted, seen, score)
    fingers = {name: quat for hand in hands for name, quat in finger_quats(hand).items()}
    pose = replace(pose, joints={**pose.joints, **fingers})
    pixels = _with_legs(seen, fitted, pose, camera)
    points = {
        name: (float(pixels[i, 0]), float(pixels[i, 1]), min(1.0, float(person.visibility[i])))
        for i, name in enumerate(NAMES)
    }
    for name in corrections or {}:
        points[name] = (*points[name][:2], 1.0)
    return Found(pose, camera, points, fitted)


_LEG_MARKS: Final = tuple(
    i for i, n in enumerate(NAMES) if n.partition("_")[2] in ("knee", "ankle", *FOLLOWERS["ankle"])
)


def _with_legs(seen: Seen, fitted: Fitted, pose: Pose, camera: Camera) -> Tensor:
    """(39, 2): landmarks in the picture; those of legs that nobody saw are where the body now has them."""
    share = unseen_legs(seen)
    if share == 0:
        return seen.pixels
    lengths = torch.tensor([[math.log(fitted.lengths[name]) for name in GROUPS]])
    pelvis = default_body().neutral_joints[0] + torch.tensor(pose.transl)
    now = camera.project(kinematics(pose.quats()[None], lengths).points[0] + pelvis)
    pixels = seen.pixels.clone()
    at = list(_LEG_MARKS)
    pixels[at] += share * (now[at] - pixels[at])
    return pixels


@contextmanager
def _one_thread() -> Generator[None]:
    """Thousands of small steps: several threads would only wait for each other, on a busy machine for half a minute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seen_of(
    person: Landmarks,
    inside: np.ndarray,
    width: int,
    height: int,
    focal_px: float | None,
    corrections: Mapping[str, tuple[float, float]],
    hands: Sequence[Hand] = (),
) -> Seen:
    """What is known of a person, as the fit takes it. ``inside`` (33,): see ``_inside``."""
    body, rest = len(NAMES), len(MARKS) - len(NAMES)
    pixels = torch.cat([torch.from_numpy(person.pixels).float(), torch.zeros(rest, 2)])
    space = torch.cat([torch.from_numpy(person.world).float(), torch.zeros(rest, 3)])
    trust, space_trust = torch.zeros(len(MARKS)), torch.zeros(len(MARKS))
    trust[:body] = torch.from_numpy(person.visibility * inside).float().clamp(min=UNSEEN)
    space_trust[:body] = torch.from_numpy(person.visibility).float().clamp(min=UNSEEN)
    for hand in hands:
        for finger, i in (("index", 5), ("middle", 9), ("pinky", 17)):
            k = MARKS.index(f"{hand.side}_knuckle_{finger}")
            pixels[k] = torch.from_numpy(hand.pixels[i]).float()
            space[k] = space[AT[f"{hand.side}_wrist"]] + torch.from_numpy(hand.world[i] - hand.world[0]).float()
            trust[k] = space_trust[k] = hand.score
        for finger in ("index", "pinky", "thumb"):  # what the body's network thinks of fingers is coarser
            k = AT[f"{hand.side}_{finger}"]
            trust[k] = space_trust[k] = UNSEEN
    _correct(person, corrections, pixels, space, trust, space_trust)
    centre = torch.tensor([person.square.x, person.square.y])
    return Seen(pixels, trust, space, space_trust, width, height, centre, focal_px=focal_px)


def _correct(
    person: Landmarks,
    corrections: Mapping[str, tuple[float, float]],
    pixels: Tensor,
    space: Tensor,
    trust: Tensor,
    space_trust: Tensor,
) -> None:
    """Moves landmarks to where the artist put them: in the picture exactly, in space sideways as far; how deep they
    are is less known the further they were moved.
    """
    flat = np.linalg.norm(person.world[:, :2] - person.world[:, :2].mean(0), axis=1).mean()
    metre = float(np.linalg.norm(person.pixels - person.pixels.mean(0), axis=1).mean() / max(flat, 0.05))
    for name, (x, y) in corrections.items():
        k = AT[name]
        by = torch.tensor([x, y]) - pixels[k]
        side, _, part = name.partition("_")
        along = [f"{side}_{follower}" for follower in FOLLOWERS.get(part, ())]
        if part == "wrist":
            along += [mark for mark in MARKS if mark.startswith(f"{side}_knuckle")]
        for i in (k, *(MARKS.index(mark) for mark in along if mark not in corrections)):
            pixels[i] += by
            space[i, :2] += by * torch.tensor([1.0, -1.0]) / metre
            space_trust[i] *= math.exp(-((float(by.norm()) / metre / _MOVED) ** 2)) * (1 - _KNOWN) + _KNOWN
        trust[k] = _SURE


def _inside(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """(33,) 1 within the picture, falling to 0 over a hundredth of its size beyond the edges."""
    edge = 0.01 * max(width, height)
    beyond = np.maximum(np.maximum(-pixels, pixels - (width, height)), 0).max(1)
    return np.clip(1 - beyond / edge, 0, 1)
