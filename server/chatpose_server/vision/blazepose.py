"""People in a picture: where they are, and 33 landmarks of each, flat and in space. Knows no skeleton of ours.

BlazePose (Bazarevsky et al. 2020; GHUM landmarks: Grishchenko et al. 2022) from Google's two TFLite files. The
detector finds heads and guesses hip and reach of each person; the landmark network looks at an upright square around
that and at its mirror image (a second look at a square around what was seen gains nothing, measured).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .crops import Points, Pyramid, Square
from .networks import Floats, load

Box = tuple[float, float, float, float]
NAMES: Final[tuple[str, ...]] = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
AT: Final = {name: i for i, name in enumerate(NAMES)}


def _mirror(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(part, part) for part in name.split("_"))


MIRROR: Final = tuple(AT[_mirror(name)] for name in NAMES)

_DETECTOR_SIDE: Final = 224
_LANDMARK_SIDE: Final = 256
_DETECTED: Final = 0.3  # clear pictures of one person score 0.38 at times
_PRESENT: Final = 0.5  # the landmark network's own threshold for "there is a person in this square"
_CORE: Final = ("nose", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
_CORE_APART: Final = 0.03  # of the square's side; people have 0.01
_DISAGREE: Final = 0.06  # of the square's side: the two readings of a landmark show that neither knows
_PART: Final = 0.67
_SMALL_PART: Final = 0.4
_SAME_HEAD: Final = 0.3  # overlap of two detections of one head
_SURE: Final = 0.3  # see _averaged: people have 0.6 to 0.95, sleeves, flags and cups 0 to 0.15
_LIKELY: Final = 0.03
_SEEN: Final = 0.33  # mean visibility; a head and shoulders have 0.4
_WIDE: Final = 1.4  # of the picture's longer side: a second try sees people smaller
_ANYHOW: Final = 1.1
_WELL_SEEN: Final = 0.65  # score of people who are seen the right way round
_BETTER: Final = 0.1
_PLAIN: Final = 0.9
_PLAIN_INSIDE: Final = 0.6
_INSIDE: Final = 0.6
_HEAD_DOWN: Final = -0.3  # cosine of the turn: over 107 degrees
_TURNED_SURE: Final = 0.5
_SAME_PLACE: Final = 0.4
_BELL: Final = np.array([0.06, 0.24, 0.40, 0.24, 0.06])
_NEAR: Final = 0.12  # of the side, between the centres of two squares around one person
_SAME_PERSON: Final = 0.12  # mean distance of two skeletons, as a share of their size, below which they are one
_ROOM: Final = 1.25  # the square is this much larger than the person's reach
MAX_PEOPLE: Final = 12


@dataclass(frozen=True)
class Reading:
    """What one run of the landmark network said of a square, or of its mirror image, in that image's own frame.

    ``points`` (33, 5): places in 0..1 of the square, depth on the same scale, visible and in the picture, both 0..1;
    ``world`` (33, 3) metres, x right, y down, z away; ``deep`` (1152,) what it knew before it said so, and ``deeper``
    (16 * 288,) before that, of each of 4 x 4 parts of the square.
    """

    points: Floats
    world: Floats
    deep: Floats
    deeper: Floats
    score: float


@dataclass(frozen=True)
class Landmarks:
    """What was seen of one person. ``pixels`` (33, 2); ``visibility`` (33,) 0..1; ``world`` (33, 3) metres around the
    middle of the hips: x right and y up in the picture, z towards the viewer. ``score``: how surely this is a person.
    ``square``: where the network looked.
    """

    pixels: Points
    visibility: Points
    world: Points
    score: float
    square: Square
    readings: tuple[Reading, Reading]

    @property
    def box(self) -> Box:
        """Left, top, right, bottom around what is seen, with room for flesh."""
        seen = self.pixels[self.visibility > 0.3] if (self.visibility > 0.3).sum() >= 4 else self.pixels
        low, high = seen.min(0), seen.max(0)
        head = abs(self.pixels[AT["left_ear"]] - self.pixels[AT["right_ear"]]).max() + 0.02 * self.square.side
        return float(low[0] - head / 2), float(low[1] - head), float(high[0] + head / 2), float(high[1] + head / 2)


def find_people(picture: Pyramid) -> list[Landmarks]:
    """Everybody in the picture, the most prominent first."""
    people = _look_at_all(picture, _detect(picture, _PART))
    if not people:  # small ones in a wide view
        people = _look_at_all(picture, _detect(picture, _SMALL_PART))
    if not people:  # drawings, and heads that cannot be made out
        people = _look_at_all(picture, _detect_in(picture, _whole(picture, _WIDE), blurred=True))
    if max((p.score for p in people), default=0.0) < _WELL_SEEN:
        people = _or_turned(picture, people)
    return sorted(_without_ghosts(people), key=lambda p: -p.score * _extent(p, picture))[:MAX_PEOPLE]


def _without_ghosts(people: list[Landmarks]) -> list[Landmarks]:
    """Without those who are faintly seen inside somebody who is seen better: a knee or a sleeve taken for a head. Of 58
    who were not there on development pictures of one person 32 go so; a child in somebody's arms is plainly seen.
    """
    return [
        p for p in people
        if p.score > _PLAIN_INSIDE
        or not any(q.score > p.score + _BETTER and _covered(p.box, q.box) > _INSIDE for q in people)
    ]  # fmt: skip


def _look_at_all(picture: Pyramid, squares: Iterable[Square]) -> list[Landmarks]:
    """Everybody in these squares who is surely there; where nobody is, the likeliest one."""
    people: list[Landmarks] = []
    looked: list[Square] = []
    for square in squares:
        if len(looked) >= 2 * MAX_PEOPLE:
            break
        if any(_near(square, other) for other in looked):
            continue
        looked.append(square)
        seen = _look_either_way(picture, square)
        if seen is not None and not any(_same(seen, other) for other in people):
            people.append(seen)
    sure = [person for person in people if person.score > _SURE]
    likely = [person for person in people if person.score > _LIKELY and person.visibility.mean() > _SEEN]
    return sure or sorted(likely, key=lambda p: -p.score)[:1]


def _look_either_way(picture: Pyramid, square: Square) -> Landmarks | None:
    """Where the detector puts somebody on her head and she is not plainly seen so, the other way up is tried too: of
    ten that were seen better like that on development pictures, all ten were.
    """
    seen = look(picture, square)
    if seen is None or seen.score > _PLAIN or math.cos(square.turn) > _HEAD_DOWN:
        return seen
    other = look(picture, replace(square, turn=square.turn + math.pi))
    return other if other is not None and other.score > seen.score + _BETTER else seen


def _or_turned(picture: Pyramid, people: list[Landmarks]) -> list[Landmarks]:
    """Takes the picture for one of a person who stands, lies on either side or is upside down, without any detection:
    the detector knows heads above shoulders, and puts a body that is not so the wrong way round. Whoever is seen much
    better so replaces those who were taken for her.
    """
    best: Landmarks | None = None
    for quarter in range(4):
        first = look(picture, replace(_whole(picture, _ANYHOW), turn=quarter * math.pi / 2))
        again = None if first is None else look(picture, _upright(first))
        best = max(filter(None, (best, first, again)), key=lambda p: p.score, default=None)
    least = max([_TURNED_SURE, *(p.score + _BETTER for p in people)])
    if best is None or best.score < least:
        return people
    return [best, *(p for p in people if _covered(p.box, best.box) < _SAME_PLACE)]


def _covered(box: Box, by: Box) -> float:
    """The share of a box (left, top, right, bottom) that another covers."""
    wide = max(0.0, min(box[2], by[2]) - max(box[0], by[0]))
    high = max(0.0, min(box[3], by[3]) - max(box[1], by[1]))
    return wide * high / max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)


def _whole(picture: Pyramid, room: float) -> Square:
    return Square(picture.width / 2, picture.height / 2, room * max(picture.width, picture.height))


def _upright(person: Landmarks) -> Square:
    """The square around a person who was seen, turned so that the trunk stands up in it."""
    seen = person.pixels[person.visibility > 0.3] if (person.visibility > 0.3).sum() > 8 else person.pixels
    hips, shoulders = (
        person.pixels[[AT[f"{s}_{part}"] for s in ("left", "right")]].mean(0) for part in ("hip", "shoulder")
    )
    across, up = shoulders - hips
    turn = math.atan2(across, -up)
    own = Square(0, 0, 1, turn).axes.T @ seen.T
    low, high = own.min(1), own.max(1)
    centre = Square(0, 0, 1, turn).axes @ ((low + high) / 2)
    return Square(float(centre[0]), float(centre[1]), _ROOM * float((high - low).max()), turn)


def _extent(person: Landmarks, picture: Pyramid) -> float:
    """Prominence: the person's size in the picture, less if far from the middle."""
    x0, y0, x1, y1 = person.box
    off = math.hypot((x0 + x1) / 2 / picture.width - 0.5, (y0 + y1) / 2 / picture.height - 0.5)
    inside = max(0.0, min(x1, picture.width) - max(x0, 0)) * max(0.0, min(y1, picture.height) - max(y0, 0))
    return math.sqrt(inside) * (1.2 - 0.5 * off)


def _near(a: Square, b: Square) -> bool:
    """Whether two squares would show the same person."""
    return math.hypot(a.x - b.x, a.y - b.y) < _NEAR * min(a.side, b.side) and 0.6 < a.side / b.side < 1.6


def _same(a: Landmarks, b: Landmarks) -> bool:
    weight = np.minimum(a.visibility, b.visibility) + 1e-3
    apart = np.linalg.norm(a.pixels - b.pixels, axis=1)
    return float((apart * weight).sum() / weight.sum()) < _SAME_PERSON * min(a.square.side, b.square.side)


# -- the detector ------------------------------------------------------------------------------------------------------
@functools.cache
def _anchors() -> Floats:
    """(2254, 2) centres in 0..1: two at each cell of strides 8 and 16, six at each of stride 32."""
    rows: list[Floats] = []
    for stride, count in ((8, 2), (16, 2), (32, 6)):
        cells = _DETECTOR_SIDE // stride
        y, x = np.mgrid[:cells, :cells]
        rows.append(((np.stack([x, y], -1).reshape(-1, 2) + 0.5) / cells).repeat(count, 0).astype(np.float32))
    return np.concatenate(rows)


def _detect(picture: Pyramid, share: float) -> list[Square]:
    """A square for each head the detector sees in the whole picture and then in overlapping parts of it, because it
    was made for one person who fills the picture. The same person may come several times.
    """
    return [square for part in _parts(picture.width, picture.height, share) for square in _detect_in(picture, part)]


def _parts(width: int, height: int, share: float) -> list[Square]:
    """The whole as a square, then squares of a share of the longer side, half a square apart or less."""
    longer = max(width, height)
    side = longer * share
    parts = [Square(width / 2, height / 2, longer)]
    columns, rows = (max(1, math.ceil(2 * length / side) - 1) for length in (width, height))
    for row in range(rows):
        for column in range(columns):
            x, y = ((k + 1) * length / (n + 1) for k, n, length in ((column, columns, width), (row, rows, height)))
            parts.append(Square(x, y, side))
    return parts


def _detect_in(picture: Pyramid, whole: Square, blurred: bool = False) -> list[Square]:
    """A square for each person the detector sees in a part of the picture, surest first. ``blurred``: ink lines and
    toon shading, which it does not know, look more like skin then.
    """
    cut = picture.cut(whole, _DETECTOR_SIDE)
    if blurred:
        cut = _softened(cut)
    raw, scores = load("pose_detection.tflite")(cut * 2 - 1)
    sure = 1 / (1 + np.exp(-np.clip(scores[:, 0].astype(np.float64), -100, 100)))
    keep = np.flatnonzero(sure > _DETECTED)
    keep = keep[np.argsort(-sure[keep])]
    anchors = _anchors()[keep]
    boxes = raw[keep].astype(np.float64) / _DETECTOR_SIDE
    boxes[:, 4:] = (boxes[:, 4:].reshape(-1, 4, 2) + anchors[:, None]).reshape(-1, 8)
    boxes[:, :2] += anchors
    squares: list[Square] = []
    left = np.ones(len(keep), bool)
    for i in range(len(keep)):
        if not left[i]:
            continue
        one = left & (_overlap(boxes[i], boxes) > _SAME_HEAD)
        left &= ~one
        left[i] = False
        weight = sure[keep][one]
        merged = (boxes[one] * weight[:, None]).sum(0) / weight.sum()
        hips, reach = whole.to_picture(merged[4:8].reshape(2, 2))
        squares.append(_around(hips, reach))
    return squares


def _softened(cut: Floats) -> Floats:
    """(h, w, 3) through a small bell."""
    for axis in (0, 1):
        padded = np.pad(cut, [(2, 2) if a == axis else (0, 0) for a in range(3)], mode="edge")
        shifted = np.stack([padded.take(range(k, k + cut.shape[axis]), axis) for k in range(len(_BELL))])
        cut = np.tensordot(_BELL, shifted, 1).astype(np.float32)
    return cut


def _around(centre: Points, top: Points) -> Square:
    """The upright square around a person: ``top`` is as far from ``centre`` as the person reaches, above the head."""
    across, up = top - centre
    return Square(float(centre[0]), float(centre[1]), 2 * _ROOM * math.hypot(across, up), math.atan2(across, -up))


def _overlap(box: Points, boxes: Points) -> Points:
    """Intersection over union of (x, y, w, h ...) with each of (n, x, y, w, h ...)."""
    low = np.maximum(box[:2] - box[2:4] / 2, boxes[:, :2] - boxes[:, 2:4] / 2)
    high = np.minimum(box[:2] + box[2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2)
    both = np.clip(high - low, 0, None).prod(1)
    return both / np.maximum(box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - both, 1e-12)


# -- the landmarks -----------------------------------------------------------------------------------------------------
def look(picture: Pyramid, square: Square) -> Landmarks | None:
    """The person in this square, or None where there is nobody."""
    one = _read(picture, square, mirrored=False)
    if one.score < _PRESENT:  # most squares without a person are told by one run
        return None
    other = _read(picture, square, mirrored=True)
    if other.score < _PRESENT:
        return None
    return _averaged(square, one, other)


def _read(picture: Pyramid, square: Square, mirrored: bool) -> Reading:
    """One run of the network. ``mirrored``: it looks at the mirror image."""
    flat, score, deep, deeper, world = load("pose_landmark_heavy.tflite")(picture.cut(square, _LANDMARK_SIDE, mirrored))
    points = flat.reshape(39, 5)[:33]  # the last six are for following people in films
    seen = 1 / (1 + np.exp(-np.clip(points[:, 3:5], -60, 60)))  # visible, and in the picture
    points = np.concatenate([points[:, :3] / _LANDMARK_SIDE, seen], 1).astype(np.float32)
    return Reading(points, world.reshape(39, 3)[:33], deep.reshape(-1), deeper.reshape(-1), float(score[0]))


def _placed(reading: Reading, square: Square, mirrored: bool) -> tuple[Points, Points, Points]:
    """What was read, in the picture: pixels, visibility and world as ``Landmarks``. ``mirrored``: left and right are
    swapped back.
    """
    points, space = reading.points.astype(np.float64), reading.world.astype(np.float64)
    unit, seen = points[:, :2], points[:, 3:]
    if mirrored:
        unit = np.stack([1 - unit[:, 0], unit[:, 1]], 1)[list(MIRROR)]
        space = (space * (-1, 1, 1))[list(MIRROR)]
        seen = seen[list(MIRROR)]
    space[:, :2] = space[:, :2] @ square.axes.T
    return square.to_picture(unit), seen.prod(1), space * (1, -1, -1)


def _averaged(square: Square, one: Reading, other: Reading) -> Landmarks:
    """Of a picture and its mirror image: 10 % nearer to the truth than either, and what they disagree on is unsure.

    Where there is no person, the two readings still put one there, but not the same one: ``score`` falls with the
    distance of their noses, shoulders and hips.
    """
    pixels, visibility, world = _placed(one, square, mirrored=False)
    other_pixels, other_visibility, other_world = _placed(other, square, mirrored=True)
    apart = np.linalg.norm(pixels - other_pixels, axis=1) / square.side
    core = apart[[AT[name] for name in _CORE]].mean()
    return Landmarks(
        (pixels + other_pixels) / 2,
        (visibility + other_visibility) / 2 * np.exp(-((apart / _DISAGREE) ** 2)),
        (world + other_world) / 2,
        min(one.score, other.score) * math.exp(-((core / _CORE_APART) ** 2)),
        square,
        (one, other),
    )
