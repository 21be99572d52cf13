"""What scenes.py wrote down, and how far a person that was found is from it in the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from chatpose_server.skeleton import INDEX
from chatpose_server.vision import NAMES, Landmarks

from . import scenes
from .camera import Camera
from .metrics import mean_distance

LIMBS = tuple(f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in ("left", "right"))
FAR = 0.3  # of the person's size in the picture: landmarks this far off on average are of somebody or something else


class Truth:
    """The bodies of a folder."""

    def __init__(self, folder: Path) -> None:
        self.bodies: list[dict[str, Any]] = json.loads((folder / "bodies.json").read_text(encoding="utf-8"))
        with np.load(folder / "bodies.npz") as data:
            self.joints, self.points, self.matrot = data["joints"], data["points"], data["matrot"]

    def landmarks(self, entry: dict[str, Any]) -> dict[str, np.ndarray]:
        """True places in pixels of what an artist would drag: limbs' joints and the nose."""
        camera = Camera.from_json(entry["camera"])
        at = {n: self.joints[entry["body"]][INDEX[n]] for n in LIMBS}
        at["nose"] = self.points[entry["body"]][list(scenes.KEYPOINT_VERTICES).index("nose")]
        return {n: camera.project(p) for n, p in at.items()}


def off(person: Landmarks, true: dict[str, np.ndarray], camera: Camera) -> float:
    """Mean distance of a person's limbs to the true ones inside the picture, as a share of the true size."""
    inside = [n for n, p in true.items() if 0 <= p[0] < camera.width and 0 <= p[1] < camera.height]
    names = inside if len(inside) > 2 else list(true)
    size = max(np.ptp(np.stack(list(true.values())), axis=0).max(), 1.0)
    own = person.pixels[[NAMES.index(n) for n in names]]
    return mean_distance(own, np.stack([true[n] for n in names])) / size
