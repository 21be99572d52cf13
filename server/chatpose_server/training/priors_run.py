"""What a training run of a prior needs besides its losses: resuming, averaged weights, curves, a card. No network."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..priors import PoseNDF, VPoser
from .priors_data import DataError, PoseSet, Split, read_sources

Network = TypeVar("Network", PoseNDF, VPoser)
_NOTE_EVERY: Final = 100  # steps between points of a curve
_WARM_UP: Final = 200  # steps of rising learning rate: Adam's first estimates are wild

DATA_NOTICES: Final = (
    "The data used in this project was obtained from mocap.cs.cmu.edu. The database was created with funding from"
    " NSF EIA-0196217.",
    "Second Life(TM) Avatar Content Creation Aids, Copyright (C) 2005 Linden Research, Inc., CC BY 3.0"
    " (changed: retargeted to 22 joints, resampled).",
    "TalkingHead, Copyright (c) 2023-2024 Mika Suominen, MIT.",
    "OpenSimulator contributors (Mo Hax, Beq Janus, Miro Collas, Chaser Zaks), BSD-3-Clause.",
    "Decentraland, Apache-2.0.",
    "KayKit by Kay Lousberg, Mesh2Motion, MakeHuman: CC0.",
)
"""What must go with weights trained on the project's own pose data."""


class Run:
    """A training run that can be stopped at any step and go on as if it had not been.

    Holds the model, Adam, an exponential average of the weights (what is shipped), the random generator and the
    curves. ``state.safetensors`` in ``folder`` is all of it; no pickles.
    """

    def __init__(
        self, model: nn.Module, folder: Path, *, lr: float, weight_decay: float, steps: int, seed: int
    ) -> None:
        self.model, self.folder, self.lr, self.steps = model, folder, lr, steps
        self.parameters = list(model.parameters())
        self.adam = torch.optim.Adam(self.parameters, lr=lr, weight_decay=weight_decay)
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.generator = torch.Generator().manual_seed(seed)
        self.step = 0
        self.curves: dict[str, list[tuple[int, float]]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.safetensors").exists():
            self._load(folder / "state.safetensors")

    def update(self, loss: Tensor, half_life: int = 500) -> None:
        """One step of Adam on a cosine from ``lr`` to a hundredth of it, then of the average."""
        progress = self.step / self.steps
        for group in self.adam.param_groups:
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(progress * math.pi))
            group["lr"] = self.lr * cosine * min(1.0, (self.step + 1) / _WARM_UP)
        self.adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.step += 1
        keep = min(0.5 ** (1 / half_life), self.step / (self.step + 10))
        for key, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.average[key].mul_(keep).add_(value.detach(), alpha=1 - keep)
            else:
                self.average[key].copy_(value)

    def go(
        self,
        take: Callable[[], tuple[Tensor, Mapping[str, float]]],
        check: Callable[[], Mapping[str, float]],
        save_every: int,
    ) -> None:
        """All steps that are left: ``take`` gives a batch's loss and its parts, ``check`` what unseen poses say."""
        started = time.monotonic()
        while self.step < self.steps:
            loss, parts = take()
            self.update(loss)
            if self.step % _NOTE_EVERY == 0:
                self.note(**parts)
            if self.step % save_every == 0 or self.step == self.steps:
                self.note(**check())
                self.save()
                last = {k: round(v[-1][1], 3) for k, v in self.curves.items()}
                print(f"step {self.step} {time.monotonic() - started:.0f} s {last}", flush=True)  # noqa: T201

    def note(self, **values: float) -> None:
        """Adds points to the curves, at the current step."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append((self.step, float(value)))

    def save(self) -> None:
        """Writes the state, and the curves as JSON and PNG."""
        tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for i, p in enumerate(self.parameters):
            tensors |= {f"adam.{i}.{k}": torch.as_tensor(v) for k, v in self.adam.state[p].items()}
        tensors["generator"], tensors["torch"] = self.generator.get_state(), torch.get_rng_state()
        tensors = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        fresh = self.folder / "state.new.safetensors"
        save_file(tensors, fresh, {"step": str(self.step), "curves": json.dumps(self.curves)})
        fresh.replace(self.folder / "state.safetensors")  # never a half-written state
        (self.folder / "curves.json").write_text(json.dumps(self.curves), encoding="utf-8")
        draw_curves(self.curves).save(self.folder / "curves.png")

    def _load(self, path: Path) -> None:
        with safe_open(path, "pt") as f:
            meta = f.metadata()
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average.")}
        for i, p in enumerate(self.parameters):
            prefix = f"adam.{i}."
            state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if state:
                self.adam.state[p] = state
        self.generator.set_state(tensors["generator"])
        if "torch" in tensors:  # dropout and the code's noise draw from torch's own
            torch.set_rng_state(tensors["torch"])
        self.step = int(meta["step"])
        self.curves = {k: [(int(s), float(v)) for s, v in c] for k, c in json.loads(meta["curves"]).items()}


def draw_curves(curves: Mapping[str, Sequence[tuple[int, float]]], width: int = 420, height: int = 150) -> Image.Image:
    """Each curve in a row of its own, its lowest and last value beside its name."""
    sheet = Image.new("RGB", (width, height * max(1, len(curves))), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for row, (name, points) in enumerate(curves.items()):
        top, left, right, bottom = row * height + 22, 10, width - 10, (row + 1) * height - 10
        values = [v for _, v in points]
        low, high, last = min(values), max(values), max(s for s, _ in points)
        pen.text((left, row * height + 5), f"{name}: lowest {low:.4g}, last {values[-1]:.4g}", fill=(20, 20, 20))
        pen.rectangle((left, top, right, bottom), outline=(210, 210, 210))
        line = [
            (left + (right - left) * s / max(last, 1), bottom - (bottom - top) * (v - low) / max(high - low, 1e-12))
            for s, v in points
        ]
        if len(line) > 1:
            pen.line(line, fill=(200, 90, 30), width=2)
    return sheet


def write_card(path: Path, card: Mapping[str, Any]) -> None:
    """The JSON that goes with weights: what made them, what they measure, whose data they were trained on."""
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def command_line(name: str, args: argparse.Namespace) -> str:
    """The command that made the weights, without the names of somebody's folders."""
    said = " ".join(f"--{k} {'FOLDER' if isinstance(v, Path) else v}" for k, v in vars(args).items())
    return f"chatpose-server train {name} {said}"


def options(name: str, description: str, *, steps: int, batch: int) -> argparse.ArgumentParser:
    """What both trainings are told."""
    parser = argparse.ArgumentParser(prog=f"chatpose-server train priors_{name}", description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder in AMASS's layout or ours")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; started again, it goes on")
    parser.add_argument("--recipe", choices=("chatpose", "published"), default="chatpose")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def run_command(
    name: str,
    args: argparse.Namespace,
    settings: Mapping[str, Any],
    train: Callable[[PoseSet], Network],
    save: Callable[[Network, Path], None],
) -> int:
    """The whole command: reads, trains, writes weights and their card. 2 for a mistake in the data, in one line."""
    try:
        poses = read_sources(args.data, args.seed)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    started = time.process_time()
    model = train(poses)
    path = args.out / f"{name}.safetensors"
    save(model, path)
    card = {
        "name": model.family, "command": command_line(f"priors_{name}", args), "settings": dict(settings),
        "revision": revision(),
        "poses": {w: len(poses.split(w)) for w in get_args(Split)},
        "cpu_seconds": round(time.process_time() - started), "parameters": sum(p.numel() for p in model.parameters()),
        "data": list(DATA_NOTICES),
    }  # fmt: skip
    write_card(path.with_suffix(".json"), card)
    return 0


def revision() -> str:
    """The commit that the code is at, or 'unknown' outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True,
            cwd=Path(__file__).parent,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
