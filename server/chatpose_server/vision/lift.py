"""What BlazePose saw of one person -> a first whole pose of our skeleton. Knows no pictures and no cameras.

BlazePose says where 33 landmarks are; what it knew of the picture before it said so tells more: how limbs are turned,
which is in front, where hidden ones probably are. This network takes both, of the square and of its mirror image, and
answers with all 22 rotations, where landmarks really are in space and in the square, and how far off that probably is.
Where a landmark was put by hand it is told so. Made by ``training/vision_lifter.py`` from pictures of our own body.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from .. import rotations as rot
from ..pose import mirrored_matrot
from ..skeleton import BODY_JOINTS
from .blazepose import MIRROR, NAMES, Landmarks, Reading
from .networks import WEIGHTS

FILE: Final = WEIGHTS / "lifter.safetensors"
JOINTS: Final = len(BODY_JOINTS)
MARKS: Final = len(NAMES)
DEEP: Final = 1152
DEEPER: Final = (16, 288)
PLAIN: Final = MARKS * 10 + 1
"""Numbers that are not BlazePose's features: see ``Glimpses.plain``."""
OUTPUTS: Final = JOINTS * 6 + MARKS * 8
_LEAST, _MOST = 0.008, 0.8  # metres


@dataclass(frozen=True)
class Glimpses:
    """B readings, each in its own image's frame. ``points`` (B, 33, 5) as ``Reading.points``, landmarks put by hand
    where they were put; ``world`` (B, 33, 3); ``deep`` (B, 1152); ``deeper`` (B, 16, 288); ``inside`` (B, 33) 1 where a
    landmark lies in the picture; ``firm`` (B, 33) 1 where it was put by hand; ``lens`` (B,) logarithm of the square's
    side in focal lengths.
    """

    points: Tensor
    world: Tensor
    deep: Tensor
    deeper: Tensor
    inside: Tensor
    firm: Tensor
    lens: Tensor

    def plain(self) -> Tensor:
        """(B, PLAIN)."""
        flat = torch.cat([(self.points[..., :2] - 0.5).clamp(-1.5, 1.5) * 2, self.points[..., 2:3].clamp(-2, 2)], 2)
        beside = torch.stack([self.inside, self.firm], 2)
        return torch.cat(
            [torch.cat([flat, self.points[..., 3:], self.world, beside], 2).flatten(1), self.lens[:, None]], 1
        )


@dataclass(frozen=True)
class Said:
    """The network's answer for B readings, x right, y up, z towards the viewer. ``matrot`` (B, 22, 3, 3) local
    rotations; ``places`` (B, 33, 3) landmarks around the hips of a body of our size, metres; ``unit`` (B, 33, 2) in the
    square, y down; ``log_sigma`` (B, 33, 3) of places across and in depth (metres) and of ``unit``.
    """

    matrot: Tensor
    places: Tensor
    unit: Tensor
    log_sigma: Tensor


@dataclass(frozen=True)
class LifterShape:
    """``near``: channels that each of the 16 places of the deeper features is read through."""

    hidden: int = 1024
    blocks: int = 2
    near: int = 64


def trunk(places: Tensor) -> Tensor:
    """Landmarks (B, 33, 3) -> the pelvis (B, 3, 3) of a body whose hips and shoulders lie so."""
    up = places[:, 11:13].mean(1) - places[:, 23:25].mean(1)
    side = places[:, 23] - places[:, 24] + 0.5 * (places[:, 11] - places[:, 12])
    y = nn.functional.normalize(up, dim=-1)
    x = nn.functional.normalize(side - y * (side * y).sum(-1, keepdim=True), dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


class Lifter(nn.Module):
    """Features and landmarks of a reading -> what it shows: where that differs from BlazePose's own word."""

    def __init__(self, shape: LifterShape) -> None:
        super().__init__()
        self.shape = shape
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(PLAIN))
        self.register_buffer("spread", torch.ones(PLAIN))
        self.near = nn.Linear(DEEPER[1], shape.near)
        self.begin = nn.Linear(DEEP + DEEPER[0] * shape.near + PLAIN, shape.hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, shape.hidden), nn.GELU())
            for _ in range(shape.blocks)
        )
        self.end = nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, OUTPUTS))

    def forward(self, seen: Glimpses, forget: float = 0.0) -> Said:
        """``forget``: share of the features left out, in training."""
        plain = ((seen.plain() - self.mean) / self.spread).clamp(-5, 5)
        near = nn.functional.gelu(self.near(seen.deeper / 2)).flatten(1)
        h = torch.cat([seen.deep / 2, near], 1)
        if forget:
            h = nn.functional.dropout(h, forget)
        h = nn.functional.gelu(self.begin(torch.cat([h, plain], 1)))
        for block in self.blocks:
            h = h + nn.functional.dropout(block(h), forget)
        turns, places, unit, sigma = self.end(h).split([JOINTS * 6, MARKS * 3, MARKS * 2, MARKS * 3], 1)
        world = seen.world * torch.tensor([1.0, -1.0, -1.0])
        world = world - world[:, 23:25].mean(1, keepdim=True)
        usual = torch.tensor([1.0, 0, 0, 1, 0, 0]).expand(len(h), JOINTS - 1, 6)
        own = torch.cat([rot.matrot_to_rot6d_rows(trunk(world))[:, None], usual], 1)
        matrot = rot.rot6d_rows_to_matrot(turns.unflatten(1, (JOINTS, 6)) + own)
        flat = (seen.points[..., :2] - 0.5).clamp(-1.5, 1.5)
        return Said(
            matrot, places.unflatten(1, (MARKS, 3)) + world, unit.unflatten(1, (MARKS, 2)) + flat + 0.5,
            sigma.unflatten(1, (MARKS, 3)) - 3,
        )  # fmt: skip


# -- of a person -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Lifted:
    """One person, in the axes of a camera that looks at the middle of the square she was seen in and is not rolled.
    ``quat`` (22, 4) local rotations; ``places`` (33, 3) landmarks around the hips, metres of a body of our size;
    ``pixels`` (33, 2) in the picture; ``sigma`` (33, 2) metres that places are off across and in depth;
    ``pixel_sigma`` (33,) pixels.
    """

    quat: Tensor
    places: Tensor
    pixels: Tensor
    sigma: Tensor
    pixel_sigma: Tensor


def mirror_unit(unit: Tensor) -> Tensor:
    """Landmarks in a square (B, 33, 2) -> in its mirror image."""
    return torch.stack([1 - unit[..., 0], unit[..., 1]], -1)[:, list(MIRROR)]


def joined(said: Said) -> Said:
    """N readings, then N of their mirror images -> what the N pictures show: the mean of both."""
    n = len(said.matrot) // 2
    across = torch.tensor([-1.0, 1.0, 1.0])
    at = list(MIRROR)
    return Said(
        rot.project_to_so3(said.matrot[:n] + mirrored_matrot(said.matrot[n:])),
        (said.places[:n] + said.places[n:, at] * across) / 2,
        (said.unit[:n] + mirror_unit(said.unit[n:])) / 2,
        (said.log_sigma[:n] + said.log_sigma[n:, at]) / 2,
    )


def glimpses(
    readings: Sequence[Reading],
    inside: Tensor,
    lens: float,
    put: Mapping[int, tuple[float, float]],
    along: Mapping[int, tuple[float, float]],
) -> Glimpses:
    """A square's reading and its mirror image's. ``inside`` (33,); ``put``: landmark -> place in 0..1 of the square,
    and ``along``: of what went along with those.
    """
    points = torch.stack([torch.from_numpy(r.points) for r in readings]).float()
    firm, within = torch.zeros(2, MARKS), torch.stack([inside, inside[list(MIRROR)]]).float()
    for k, (u, v) in {**along, **put}.items():
        for row, at, x in ((0, k, u), (1, MIRROR[k], 1 - u)):
            points[row, at, 0], points[row, at, 1] = x, v
            if k in put:
                firm[row, at] = within[row, at] = 1
    world, deep, deeper = (
        torch.stack([torch.from_numpy(said) for said in both]).float()
        for both in zip(*((r.world, r.deep, r.deeper) for r in readings), strict=True)
    )
    return Glimpses(points, world, deep, deeper.view(2, *DEEPER), within, firm, torch.full((2,), lens))


@torch.no_grad()
def lift(
    model: Lifter,
    person: Landmarks,
    inside: Tensor,
    focal: float,
    put: Mapping[int, tuple[float, float]],
    along: Mapping[int, tuple[float, float]],
) -> Lifted:
    """``focal`` pixels; ``put``: landmark -> pixels where it really is, ``along``: what went along with those.
    ``inside`` (33,): see ``Glimpses``.
    """
    square = person.square
    moved, with_it = ({k: square.to_unit(*xy) for k, xy in some.items()} for some in (put, along))
    said = joined(model(glimpses(person.readings, inside, math.log(square.side / focal), moved, with_it)))
    matrot, places = said.matrot[0], said.places[0]
    c, s = math.cos(square.turn), math.sin(square.turn)
    roll = torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])  # the square's right and up, in upright axes
    matrot[0] = roll @ matrot[0]
    pixels = torch.from_numpy(square.to_picture(said.unit[0].double().numpy())).float()
    size = said.log_sigma[0].exp()
    return Lifted(
        rot.matrot_to_quat(matrot), places @ roll.T, pixels, size[:, :2].clamp(_LEAST, _MOST), size[:, 2] * square.side
    )


def read_lifter(path: str) -> Lifter:
    """A file that ``train vision_lifter`` wrote."""
    with safe_open(path, "pt") as file:
        model = Lifter(LifterShape(**json.loads((file.metadata() or {})["shape"])))
    model.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return model.eval()


def written(shape: LifterShape) -> dict[str, str]:
    """The metadata of such a file."""
    return {"shape": json.dumps(asdict(shape))}


@functools.cache
def embedded_lifter() -> Lifter:
    """Our own weights, loaded once."""
    return read_lifter(str(FILE))
