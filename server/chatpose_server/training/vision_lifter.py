"""Trains what lifts landmarks: ``chatpose-server train vision_lifter --observed FOLDER --out FOLDER``.

Learns from what BlazePose saw of bodies whose truth is known: the npz files that ``benchmarks/pictures/observed.py``
makes of sketches. Every picture was read twice, itself and mirrored,
and is learnt from twice. In a third of the readings some landmarks are put right, as an artist does. L1 on rotations,
on joints through forward kinematics and on landmarks; then how far off they are, by likelihood.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import rotations as rot
from ..pose import mirrored_matrot
from ..skeleton import PARENTS
from ..vision import fit
from ..vision.blazepose import AT, MIRROR
from ..vision.camera import DEFAULT_FOCAL, view_axes
from ..vision.lift import DEEPER, JOINTS, MARKS, Glimpses, Lifter, LifterShape, Said, joined, mirror_unit, written
from .priors_data import DataError
from .priors_run import DATA_NOTICES, command_line, revision, write_card

_DRAGGABLE: Final = ("nose", *(f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
                               for s in ("left", "right")))  # fmt: skip
_LATE: Final = 0.002  # of the mean of weights is the last step's
_ROOM: Final = 0.01  # of the picture's longer side: landmarks so far beyond the edge still count as inside


@dataclass(frozen=True)
class Settings:
    """What a training run is made of; all of it goes into the card."""

    epochs: int = 14
    batch: int = 64
    rate: float = 7e-4
    decay: float = 0.05
    forget: float = 0.35  # share of the features that a step does not see
    dragged: float = 0.35  # share of readings in which landmarks were put right
    held_out: float = 0.02
    seed: int = 0


# -- readings ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Readings:
    """N readings in their own images' frames and the truth. ``matrot`` (N, 22, 3, 3), ``unit`` (N, 33, 2) where
    landmarks really fall in the square, ``centre`` (N, 33, 2) the middle of the joint that a landmark is named for.
    """

    seen: Glimpses
    matrot: Tensor
    unit: Tensor
    centre: Tensor

    def __getitem__(self, rows: Tensor) -> Readings:
        return Readings(
            Glimpses(**{f.name: getattr(self.seen, f.name)[rows] for f in fields(Glimpses)}),
            self.matrot[rows], self.unit[rows], self.centre[rows],
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[Readings]) -> Readings:
        """One after the other."""
        some = {f.name: torch.cat([getattr(p.seen, f.name) for p in parts]) for f in fields(Glimpses)}
        rest = (torch.cat([getattr(p, n) for p in parts]) for n in ("matrot", "unit", "centre"))
        return Readings(Glimpses(**some), *rest)


def read_observed(path: Path) -> Readings:
    """From a file of ``benchmarks/pictures/observed.py``: 2 N readings, the plain ones first. Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            d: dict[str, NDArray[np.float32]] = {k: data[k] for k in data.files}
        square, focal, size = (torch.from_numpy(d[k]).float() for k in ("square", "focal", "size"))
        joints, matrot = torch.from_numpy(d["joints"]).float(), torch.from_numpy(d["matrot"]).float()
        points, world = torch.from_numpy(d["points"]).float(), torch.from_numpy(d["world"]).float()
        deep, deeper = torch.from_numpy(d["deep"]), torch.from_numpy(d["deeper"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"'{path.name}' is no file of observed landmarks: make one with pictures/observed.py."
        ) from error
    middle = size / 2
    axes = view_axes(square[:, :2] - middle, focal)
    c, s = square[:, 3].cos(), square[:, 3].sin()
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    axes = axes @ torch.stack([c, s, zero, -s, c, zero, zero, zero, one], 1).view(-1, 3, 3)
    turns = [matrot[:, 0]]
    for j in range(1, JOINTS):
        turns.append(turns[PARENTS[j]] @ matrot[:, j])
    carriers, beside = fit.sites()
    marks = joints[:, carriers] + (torch.stack(turns, 1)[:, carriers] @ beside[..., None]).squeeze(-1)
    named = joints[:, carriers[:MARKS]]
    named[:, 0] = marks[:, 0]  # the nose is no joint

    def in_square(at: Tensor) -> Tensor:
        flat = at[..., :2] * torch.tensor([1.0, -1.0]) / -at[..., 2:].clamp(max=-0.1) * focal[:, None, None]
        off = flat + middle[:, None] - square[:, None, :2]
        u = off[..., 0] * c[:, None] + off[..., 1] * s[:, None]
        v = -off[..., 0] * s[:, None] + off[..., 1] * c[:, None]
        return torch.stack([u, v], -1) / square[:, 2, None, None] + 0.5

    unit, centre = in_square(marks[:, :MARKS]), in_square(named)
    matrot = matrot.clone()
    matrot[:, 0] = axes.transpose(1, 2) @ matrot[:, 0]
    # what the network is told of the picture's edges: where it saw landmarks itself
    at = list(MIRROR)
    own = points[:, 0, :, :2] - 0.5
    x = own[..., 0] * c[:, None] - own[..., 1] * s[:, None]
    y = own[..., 0] * s[:, None] + own[..., 1] * c[:, None]
    pixels = torch.stack([x, y], -1) * square[:, 2, None, None] + square[:, None, :2]
    beyond = torch.maximum(-pixels, pixels - size[:, None]).amax(-1) / (_ROOM * size.amax(1))[:, None]
    inside = 1 - beyond.clamp(0, 1)
    guess = torch.where(torch.arange(len(focal)) % 5 == 0, focal, DEFAULT_FOCAL * size.amax(1))
    lens = torch.log(square[:, 2] / guess)
    seen = Glimpses(
        torch.cat([points[:, 0], points[:, 1]]), torch.cat([world[:, 0], world[:, 1]]),
        torch.cat([deep[:, 0], deep[:, 1]]), torch.cat([deeper[:, 0], deeper[:, 1]]).view(-1, *DEEPER),
        torch.cat([inside, inside[:, at]]), torch.zeros(2 * len(focal), MARKS), torch.cat([lens, lens]),
    )  # fmt: skip
    return Readings(
        seen, torch.cat([matrot, mirrored_matrot(matrot)]), torch.cat([unit, mirror_unit(unit)]),
        torch.cat([centre, mirror_unit(centre)]),
    )  # fmt: skip


def drag(batch: Readings, share: float, g: torch.Generator) -> Readings:
    """In a share of the readings one to four landmarks are put on the middle of their joints, mostly those that were
    furthest off and lie in the picture, and what hangs on them goes along.
    """
    count = len(batch.matrot)
    at = torch.tensor([AT[n] for n in _DRAGGABLE])
    points = batch.seen.points.clone()
    off = (batch.centre - points[..., :2])[:, at].norm(dim=2) * torch.exp(torch.randn(count, len(at), generator=g) / 2)
    off = off * ((batch.centre[:, at] - 0.5).abs().amax(2) < 0.6)
    rank = off.argsort(1, descending=True).argsort(1)
    many = torch.randint(1, 5, (count, 1), generator=g) * (torch.rand(count, 1, generator=g) < share)
    chosen = (rank < many) & (off > 0)
    firm = torch.zeros(count, MARKS)
    firm[:, at] = chosen.float()
    by = (batch.centre - points[..., :2]) * firm[..., None]
    for name in _DRAGGABLE[1:]:
        side, part = name.split("_")
        for follower in fit.FOLLOWERS.get(part, ()):
            by[:, AT[f"{side}_{follower}"]] = by[:, AT[name]]
    points[..., :2] += by
    seen = Glimpses(
        points, batch.seen.world, batch.seen.deep, batch.seen.deeper, torch.maximum(batch.seen.inside, firm), firm,
        batch.seen.lens,
    )  # fmt: skip
    return Readings(seen, batch.matrot, batch.unit, batch.centre)


# -- training ----------------------------------------------------------------------------------------------------------
def _places(matrot: Tensor) -> tuple[Tensor, Tensor]:
    """Joints (B, 22, 3) and landmarks (B, 33, 3) of our body, both around the hips."""
    state = fit.kinematics_of(matrot, torch.zeros(len(matrot), 4))
    hips = state.points[:, 23:25].mean(1, keepdim=True)
    return state.joints - state.joints[:, :1], state.points[:, :MARKS] - hips


def loss_of(said: Said, batch: Readings) -> Tensor:
    """(B,) all that is learnt, of each reading."""
    with torch.no_grad():
        joints, marks = _places(batch.matrot)
    own, _ = _places(said.matrot)
    turned = (said.matrot - batch.matrot).abs().mean((2, 3))
    turns = turned.mean(1) + 0.5 * turned[:, 0]
    along = (own - joints).norm(dim=-1).mean(1)
    away = said.places - marks
    apart = said.unit - batch.unit
    near = ((batch.unit - 0.5).abs().amax(2) < 1.0).float()
    places, unit = away.norm(dim=-1).mean(1), (apart.norm(dim=-1) * near).mean(1)
    error = torch.stack([
        away[..., :2].norm(dim=-1) / math.sqrt(2), away[..., 2].abs(), apart.norm(dim=-1) / math.sqrt(2),
    ], -1).detach() + 0.004  # fmt: skip
    sure = said.log_sigma + error * torch.exp(-said.log_sigma)
    sure = (sure * torch.stack([torch.ones_like(near), torch.ones_like(near), near], -1)).mean((1, 2))
    return turns + 4 * along + 3 * places + 3 * unit + 0.05 * sure


def errors_of(model: Lifter, held: Readings) -> dict[str, float]:
    """Of pictures (plain readings, then mirrored ones), both readings joined as ``lift`` joins them."""
    with torch.no_grad():
        said = joined(model(_floats(held.seen)))
    half = len(held.matrot) // 2
    truth = held.matrot[:half]
    joints, marks = _places(truth)
    own, _ = _places(said.matrot)
    away = said.places - marks
    read = held.seen.points[:half, :, :2]
    turned = rot.geodesic_angle(said.matrot, truth).rad2deg()
    return {
        "pa_mpjpe_mm": round(1000 * float(_aligned(own, joints).mean()), 1),
        "mpjpe_mm": round(1000 * float((own - joints).norm(dim=-1).mean()), 1),
        "places_mm": round(1000 * float(away.norm(dim=-1).mean()), 1),
        "depth_mm": round(1000 * float(away[..., 2].abs().mean()), 1),
        "sigma_depth_mm": round(1000 * float(said.log_sigma[..., 1].exp().mean()), 1),
        "unit_percent": round(100 * float((said.unit - held.unit[:half]).norm(dim=-1).median()), 2),
        "read_percent": round(100 * float((read - held.unit[:half]).norm(dim=-1).median()), 2),
        "pelvis_deg": round(float(turned[:, 0].mean()), 1), "joints_deg": round(float(turned[:, 1:].mean()), 1),
    }  # fmt: skip


def _aligned(points: Tensor, to: Tensor) -> Tensor:
    """(N,) mean distance of points (N, K, 3) to others after Procrustes with scale."""
    a, b = points - points.mean(1, keepdim=True), to - to.mean(1, keepdim=True)
    both = a.transpose(1, 2) @ b
    turn = rot.project_to_so3(both)
    scale = (turn * both).sum((1, 2)) / (a * a).sum((1, 2))
    return (a @ turn * scale[:, None, None] - b).norm(dim=-1).mean(1)


def _floats(seen: Glimpses) -> Glimpses:
    return Glimpses(**{f.name: getattr(seen, f.name).float() for f in fields(Glimpses)})


def train(data: Readings, held: Readings, settings: Settings, shape: LifterShape) -> Lifter:
    """AdamW with one cycle of the rate; the mean of late weights is kept."""
    g = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    model = Lifter(shape)
    plain = data.seen.plain()
    model.mean.copy_(plain.mean(0))
    model.spread.copy_(plain.std(0).clamp(min=0.02))
    for last in model.end.parameters():
        last.data.mul_(0.1)
    steps = settings.epochs * (len(data.matrot) // settings.batch)
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps, pct_start=0.1)
    mean = copy.deepcopy(model).eval()
    total = 0.0
    for step in range(steps):
        rows = torch.randint(len(data.matrot), (settings.batch,), generator=g)
        batch = drag(data[rows], settings.dragged, g)
        model.train()
        loss = loss_of(model(_floats(batch.seen), settings.forget), batch).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            for kept, new in zip(mean.parameters(), model.parameters(), strict=True):
                kept.lerp_(new, max(_LATE, 10 / (step + 10)))
        total += loss.item()
        if step % 400 == 399:
            print(f"{step + 1}/{steps}: {total / 400:.4f} {errors_of(mean, held)}", flush=True)  # noqa: T201
            total = 0.0
    return mean


# -- the command -------------------------------------------------------------------------------------------------------
def read_folder(folder: Path, settings: Settings) -> tuple[Readings, Readings, int]:
    """What is learnt from and what is held out: whole files' last pictures, with both their readings."""
    parts: list[Readings] = []
    held: list[Readings] = []
    pictures = 0
    for path in sorted(folder.glob("*.npz")):
        one = read_observed(path)
        half = len(one.matrot) // 2
        pictures += half
        keep = half - round(settings.held_out * half)
        rows = torch.arange(2 * half)
        last = rows % half >= keep
        parts.append(one[rows[~last]])
        held.append(one[rows[last]])
    if not parts:
        raise DataError(f"'{folder.name}' holds no npz files: make some with pictures/observed.py.")
    plain = Readings.joined([h[torch.arange(len(h.matrot) // 2)] for h in held])
    twins = Readings.joined([h[torch.arange(len(h.matrot) // 2, len(h.matrot))] for h in held])
    return Readings.joined(parts), Readings.joined([plain, twins]), pictures


def main(argv: Sequence[str] | None = None) -> int:
    """The command. 2 for a mistake in the data, in one line."""
    parser = argparse.ArgumentParser(
        prog="chatpose-server train vision_lifter", description="Train what lifts landmarks."
    )
    parser.add_argument("--observed", type=Path, required=True, help="folder of benchmarks/pictures/observed.py's npz")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--hidden", type=int, default=LifterShape.hidden)
    parser.add_argument("--blocks", type=int, default=LifterShape.blocks)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    settings = Settings(epochs=args.epochs, batch=args.batch, seed=args.seed)
    shape = LifterShape(hidden=args.hidden, blocks=args.blocks)
    started = time.process_time()
    try:
        data, held, pictures = read_folder(args.observed, settings)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    model = train(data, held, settings, shape)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "lifter.safetensors"
    save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, path, metadata=written(shape))
    write_card(path.with_suffix(".json"), {
        "name": "chatpose-lifter", "command": command_line("vision_lifter", args),
        "settings": asdict(settings), "shape": asdict(shape), "revision": revision(),
        "cpu_seconds": round(time.process_time() - started),
        "parameters": sum(v.numel() for v in model.state_dict().values()), "pictures": pictures,
        "held_out": errors_of(model, held), "data": list(DATA_NOTICES),
    })  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
