"""What BlazePose saw of bodies beside the truth, as npz files: what ``train vision_lifter`` learns from.

    .venv/bin/python -m pictures.observed FOLDER --data POSES --bodies 4000 [--part 0/2]      (in benchmarks/) sketches
    .venv/bin/python -m pictures.observed FOLDER --development                     rendered development pictures

Never of the benchmark's pictures or poses. A sketch takes a fifth of a second; files hold 800 and are made in turn, so
that a run that was broken off goes on, and several parts can run side by side.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatpose_server.models.store import cache_dir
from chatpose_server.vision import Landmarks

from . import scenes, sketched
from .camera import Camera
from .looked import Looker
from .truth import FAR, Truth, off

DEVELOPMENT = cache_dir() / "benchmarks" / "image_to_pose_development"
SEED = 3050
_BODIES = 200  # of a file
Case = tuple[dict[str, Any], Landmarks]


def rendered(folder: Path, truth: Truth) -> Iterator[Case]:
    """Development pictures that are there, and the person in each."""
    looker = Looker(folder)
    for entry in scenes.plan(folder, scenes.DEVELOPMENT):
        if not (folder / f"{entry['index']:04d}.jpg").exists():
            continue
        camera, true = Camera.from_json(entry["camera"]), truth.landmarks(entry)
        person = min(looker.look(entry["index"]).people, key=lambda p: off(p, true, camera), default=None)
        if person is not None and off(person, true, camera) <= FAR:
            yield entry, person


def drawn(folder: Path, plan: list[dict[str, Any]], truth: Truth, seed: int) -> Iterator[Case]:
    """Sketches, and what is seen of the person in each."""
    with np.load(folder / "bodies.npz") as data:
        bodies = {k: data[k] for k in ("vertices", "faces", "material", "uv_rest")}
    for entry in plan:
        g = np.random.default_rng([seed, entry["index"]])
        image = sketched.sketch(entry, bodies, g)
        person = sketched.seen(entry, image, truth.joints[entry["body"]], g)
        if person is not None and off(person, truth.landmarks(entry), Camera.from_json(entry["camera"])) <= FAR:
            yield entry, person


def observed(cases: Iterator[Case], truth: Truth) -> dict[str, np.ndarray]:
    """Arrays by name, a row a picture. ``joints`` (N, 22, 3) of the true body around its camera and ``matrot``
    (N, 22, 3, 3) its local rotations, the pelvis' to the camera's axes; ``focal``, ``size`` (N, 2); ``square`` (N, 4)
    and of both readings in it ``points`` (N, 2, 33, 5), ``world`` (N, 2, 33, 3), ``deep``, ``deeper`` (N, 2, ...);
    ``hidden`` (N, 22) by a prop or out of the picture.
    """
    out: dict[str, list[np.ndarray]] = {}
    for entry, person in cases:
        camera = Camera.from_json(entry["camera"])
        matrot = truth.matrot[entry["body"]].astype(np.float32).copy()
        matrot[0] = camera.rotation.T @ matrot[0]
        hidden = np.zeros(22, bool)
        hidden[[*entry["hidden"], *entry["outside"]]] = True
        square = person.square
        row = {
            "index": entry["index"], "body": entry["body"], "stratum": list(scenes.STRATA).index(entry["stratum"]),
            "joints": camera.seen(truth.joints[entry["body"]][:22]).astype(np.float32), "matrot": matrot,
            "focal": camera.focal_px, "size": (camera.width, camera.height), "hidden": hidden,
            "square": (square.x, square.y, square.side, square.turn),
        }  # fmt: skip
        for name in ("points", "world"):
            row[name] = np.stack([getattr(r, name) for r in person.readings])
        for name in ("deep", "deeper"):
            row[name] = np.stack([getattr(r, name) for r in person.readings]).astype(np.float16)
        for name, value in row.items():
            out.setdefault(name, []).append(np.asarray(value))
    return {name: np.stack(values) for name, values in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="folder of poses, for sketches")
    parser.add_argument("--bodies", type=int, default=4000, help="four sketches of each")
    parser.add_argument("--part", default="0/1", help="the first (0) or another of so many that run side by side")
    parser.add_argument("--development", action="store_true", help="of rendered development pictures instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.development:
        truth = Truth(DEVELOPMENT)
        np.savez(args.folder / "development.npz", **observed(rendered(DEVELOPMENT, truth), truth))
        return
    part, parts = (int(n) for n in args.part.split("/"))
    for k in range(part, args.bodies // _BODIES, parts):
        out = args.folder / f"sketches-{k:03d}.npz"
        if out.exists():
            continue
        work = out.with_suffix("")
        plan = sketched.make(args.data, work, _BODIES, SEED + k)
        truth = Truth(work)
        half = out.with_suffix(".part.npz")
        np.savez(half, **observed(drawn(work, plan, truth, SEED + k), truth))
        half.replace(out)
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
