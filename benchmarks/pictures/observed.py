"""What BlazePose saw of bodies beside the truth, as one npz: what ``train vision_lifter`` learns its errors from.

    .venv/bin/python -m pictures.observed OUT.npz --sketched 100 --data FOLDER     (in benchmarks/) of motion capture
    .venv/bin/python -m pictures.observed OUT.npz                                  of rendered development pictures

Never of the benchmark's pictures or poses.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatpose_server.body import default_body
from chatpose_server.models.store import cache_dir
from chatpose_server.vision import Landmarks

from . import scenes, sketched
from .camera import Camera
from .looked import Looker
from .truth import FAR, Truth, off

FOLDER = cache_dir() / "benchmarks" / "image_to_pose_development"
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


def drawn(folder: Path, plan: list[dict[str, Any]], truth: Truth) -> Iterator[Case]:
    """Sketches, and what is seen of the person in each."""
    with np.load(folder / "bodies.npz") as data:
        bodies = {k: data[k] for k in ("vertices", "faces", "material")}
    for entry in plan:
        g = np.random.default_rng([sketched.SEED, entry["index"]])
        image = sketched.sketch(entry, bodies, g)
        person = sketched.seen(entry, image, truth.joints[entry["body"]], g)
        if person is not None and off(person, truth.landmarks(entry), Camera.from_json(entry["camera"])) <= FAR:
            yield entry, person


def observed(cases: Iterator[Case], truth: Truth) -> dict[str, np.ndarray]:
    """Arrays by name, a row a picture. ``joints`` (N, 22, 3) of the true body and ``turn`` (N, 22, 3, 3) of its bones,
    both in the camera's axes; ``focal``, ``size`` (N, 2); ``pixels`` (N, 33, 2), ``visibility`` (N, 33), ``world``
    (N, 33, 3) as seen.
    """
    out: dict[str, list[np.ndarray]] = {}
    for entry, person in cases:
        camera = Camera.from_json(entry["camera"])
        matrot = torch.from_numpy(truth.matrot[entry["body"]])[None].float()
        with torch.no_grad():
            turn = default_body().forward_kinematics(matrot).matrot[0, :22].numpy()
        row = {
            "index": entry["index"], "body": entry["body"], "joints": camera.seen(truth.joints[entry["body"]][:22]),
            "turn": camera.rotation.T @ turn, "focal": camera.focal_px, "size": (camera.width, camera.height),
            "pixels": person.pixels, "visibility": person.visibility, "world": person.world,
        }  # fmt: skip
        for name, value in row.items():
            out.setdefault(name, []).append(np.asarray(value))
    return {name: np.stack(values) for name, values in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sketched", type=int, default=0, help="so many bodies of motion capture, four pictures each")
    parser.add_argument("--data", type=Path, help="folder of poses, for --sketched")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.sketched:
        folder = args.out.with_suffix("")
        plan = sketched.make(args.data, folder, args.sketched)
        truth = Truth(folder)
        found = observed(drawn(folder, plan, truth), truth)
    else:
        truth = Truth(FOLDER)
        found = observed(rendered(FOLDER, truth), truth)
    np.savez(args.out, **found)


if __name__ == "__main__":
    main()
