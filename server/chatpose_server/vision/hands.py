"""Hands of a person that was found: 21 landmarks each, and from them how the fingers are bent. Knows no bodies.

MediaPipe Hands (Zhang et al. 2020), Google's landmark network alone: where the hand is, the body's landmarks say.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from .. import rotations as rot
from ..body.model import default_body
from ..skeleton import FINGERS, INDEX, JOINTS
from .blazepose import AT, Landmarks
from .crops import Points, Pyramid, Square
from .networks import load

Side = Literal["left", "right"]

_NETWORK_SIDE: Final = 224
_PRESENT: Final = 0.6
_SMALLEST: Final = 14.0  # pixels from wrist to knuckles: smaller hands are blobs
_WRIST_SEEN: Final = 0.4
_FIRST_ROOM: Final = 5.4  # times wrist to knuckles: the body's landmarks are rough
_ROOM: Final = 2.0  # times the reach of the landmarks, once they are known
_ASTRAY: Final = 0.8  # times wrist to knuckles: a hand found further from the body's wrist is another one

_FIRST: Final = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "pinky": 17}
"""The network's first landmark of each finger; the three after it follow along the finger."""

PALM: Final = (0, 5, 9, 13, 17)
_PALM_JOINTS: Final = ("wrist", "index1", "middle1", "ring1", "pinky1")


@dataclass(frozen=True)
class Hand:
    """``pixels`` (21, 2). ``world`` (21, 3) metres: x right, y up, z towards the viewer. ``score`` 0..1."""

    side: Side
    pixels: Points
    world: Points
    score: float


def find_hands(picture: Pyramid, person: Landmarks) -> tuple[Hand, ...]:
    """The hands of a person that are large and clear enough to be read."""
    found = (_find(picture, person, side) for side in ("left", "right"))
    return tuple(hand for hand in found if hand is not None)


def _find(picture: Pyramid, person: Landmarks, side: Side) -> Hand | None:
    wrist, index, pinky = (AT[f"{side}_{part}"] for part in ("wrist", "index", "pinky"))
    if person.visibility[wrist] < _WRIST_SEEN:
        return None
    start = person.pixels[wrist]
    knuckles = (2 * person.pixels[index] + person.pixels[pinky]) / 3
    size = max(float(np.linalg.norm(knuckles - start)), 0.035 * _height(person))
    if size < _SMALLEST:
        return None
    first = _read(picture, _square(knuckles, knuckles - start, _FIRST_ROOM * size), side)
    if first.score < _PRESENT / 2:
        return None
    low, high = first.pixels.min(0), first.pixels.max(0)
    along = first.pixels[9] - first.pixels[0]
    reach = max(float((high - low).max()), 1.0)
    hand = _read(picture, _square((low + high) / 2, along, _ROOM * reach), side)
    if hand.score < _PRESENT or np.linalg.norm(hand.pixels[0] - start) > _ASTRAY * 2 * size:
        return None
    return hand


def _height(person: Landmarks) -> float:
    """Of a standing person this near, in pixels."""
    flat = np.linalg.norm(person.world[:, :2] - person.world[:, :2].mean(0), axis=1).mean()
    return float(1.7 * np.linalg.norm(person.pixels - person.pixels.mean(0), axis=1).mean() / max(flat, 0.05))


def _square(centre: Points, along: Points, side: float) -> Square:
    return Square(float(centre[0]), float(centre[1]), side, math.atan2(float(along[0]), float(-along[1])))


def _read(picture: Pyramid, square: Square, side: Side) -> Hand:
    flat, score, _, world = load("hand_landmark_full.tflite")(picture.cut(square, _NETWORK_SIDE))
    pixels = square.to_picture(flat.reshape(21, 3)[:, :2].astype(np.float64) / _NETWORK_SIDE)
    space = world.reshape(21, 3).astype(np.float64)
    space[:, :2] = space[:, :2] @ square.axes.T
    return Hand(side, pixels, space * (1, -1, -1), float(score[0]))


# -- fingers -----------------------------------------------------------------------------------------------------------
_BENDS_DEG: Final = ((-25.0, 95.0), (0.0, 112.0), (0.0, 80.0))  # knuckle, middle joint, last joint
_SPREAD_DEG: Final = 18.0
_THUMB_DEG: Final = 45.0


@functools.cache
def _rest(side: Side) -> tuple[Tensor, dict[str, Tensor]]:
    """At rest: the palm's points (5, 3), and each finger's three joints and tip (4, 3)."""
    body = default_body()
    joints = body.neutral_joints
    palm = torch.stack([joints[INDEX[f"{side}_{name}"]] for name in _PALM_JOINTS])
    mover = body.weight_index.gather(1, body.weight.argmax(1, keepdim=True))[:, 0]
    fingers: dict[str, Tensor] = {}
    for finger in FINGERS:
        chain = [joints[INDEX[f"{side}_{finger}{i}"]] for i in (1, 2, 3)]
        skin = body.v_template[mover == INDEX[f"{side}_{finger}3"]]
        tip = skin[(skin - chain[0]).norm(dim=1).argmax()]
        fingers[finger] = torch.stack([*chain, tip])
    return palm, fingers


def palm_turn(hand: Hand) -> Tensor:
    """(3, 3): how the hand is turned from the rest pose, in the camera's axes (Kabsch on the palm's points)."""
    palm, _ = _rest(hand.side)
    seen = torch.from_numpy(hand.world[list(PALM)]).float()
    return rot.project_to_so3((seen - seen.mean(0)).T @ (palm - palm.mean(0)))


def finger_quats(hand: Hand) -> dict[str, tuple[float, float, float, float]]:
    """Local rotations of the hand's 15 finger joints, by joint name."""
    _, fingers = _rest(hand.side)
    seen = torch.from_numpy(hand.world).float()
    turn = palm_turn(hand)
    out: dict[str, tuple[float, float, float, float]] = {}
    for finger, rest in fingers.items():
        first = _FIRST[finger]
        parent = turn
        for i in range(3):
            bone = rest[i + 1] - rest[i]
            wanted = parent.T @ (seen[first + i + 1] - seen[first + i])
            local = _thumb(bone, wanted) if finger == "thumb" else _bend(hand.side, i, bone, wanted)
            parent = parent @ rot.quat_to_matrot(local)
            w, x, y, z = local.tolist()
            out[f"{hand.side}_{finger}{i + 1}"] = (w, x, y, z)
    assert all(name in JOINTS for name in out)
    return out


def _bend(side: Side, joint: int, bone: Tensor, wanted: Tensor) -> Tensor:
    """(4,) A finger joint bends about z (towards the palm, which faces down at rest); a knuckle spreads about y too."""
    sign = -1.0 if side == "left" else 1.0
    bend = sign * (_angle(wanted, 0, 1) - _angle(bone, 0, 1))
    low, high = _BENDS_DEG[joint]
    bend = sign * math.radians(min(high, max(low, math.degrees(_wrapped(bend)))))
    turn = rot.rotvec_to_quat(torch.tensor([0.0, 0.0, bend]))
    if joint:
        return turn
    left = rot.quat_to_matrot(turn).T @ wanted
    spread = _wrapped(_angle(bone, 0, 2) - _angle(left, 0, 2))
    limit = math.radians(_SPREAD_DEG)
    return rot.quat_multiply(turn, rot.rotvec_to_quat(torch.tensor([0.0, min(limit, max(-limit, spread)), 0.0])))


def _thumb(bone: Tensor, wanted: Tensor) -> Tensor:
    """(4,) The shortest turn, as far as a thumb goes."""
    a, b = bone / bone.norm(), wanted / wanted.norm().clamp(min=1e-9)
    axis = torch.linalg.cross(a, b)
    angle = math.atan2(float(axis.norm()), float(a @ b))
    return rot.rotvec_to_quat(axis / axis.norm().clamp(min=1e-9) * min(angle, math.radians(_THUMB_DEG)))


def _angle(v: Tensor, across: int, up: int) -> float:
    return math.atan2(float(v[up]), float(v[across]))


def _wrapped(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
