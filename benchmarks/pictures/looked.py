"""What the networks saw of each picture, kept, so that fits are tried again without running networks. Knows no truth.

One line of JSON a picture in ``looked-CODE.jsonl``, where CODE changes with the code that looks. Numbers are written in
full, so that a fit of what was kept is the fit of what was seen.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from chatpose_server import vision
from chatpose_server.vision import Landmarks, Pyramid, find_people
from chatpose_server.vision.blazepose import Reading
from chatpose_server.vision.crops import Square
from chatpose_server.vision.hands import Hand, find_hands
from chatpose_server.vision.networks import SHA256
from PIL import Image

_CODE = ("blazepose.py", "crops.py", "hands.py", "networks.py")


@dataclass
class Looked:
    """Everybody in a picture, and each one's hands. ``seconds``: on the clock, by stage."""

    width: int
    height: int
    people: list[Landmarks]
    hands: list[tuple[Hand, ...]]
    seconds: dict[str, float]


class Looker:
    """The pictures of a folder, looked at once."""

    def __init__(self, folder: Path) -> None:
        code = hashlib.sha256()
        for name in _CODE:
            code.update(Path(vision.__file__).with_name(name).read_bytes())
        code.update(repr(sorted(SHA256.items())).encode())
        self.folder = folder
        self.file = folder / f"looked-{code.hexdigest()[:12]}.jsonl"
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
        self.known: dict[int, Looked] = {d["index"]: _read(d) for d in map(json.loads, lines)}

    def look(self, index: int) -> Looked:
        """What is seen in picture ``index``."""
        if index not in self.known:
            self.known[index] = looked = _look(self.folder / f"{index:04d}.jpg")
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_written(index, looked)) + "\n")
        return self.known[index]


def _look(file: Path) -> Looked:
    began = time.perf_counter()
    picture = Pyramid(Image.open(file).convert("RGB"))
    read = time.perf_counter()
    people = find_people(picture)
    found = time.perf_counter()
    hands = [find_hands(picture, person) for person in people]
    seconds = {"read": read - began, "find": found - read, "hands": time.perf_counter() - found}
    return Looked(picture.width, picture.height, people, hands, seconds)


def _written(index: int, looked: Looked) -> dict[str, Any]:
    return json.loads(json.dumps({"index": index, **asdict(looked)}, default=lambda a: a.tolist()))


def _read(data: dict[str, Any]) -> Looked:
    people = [_person(p) for p in data["people"]]
    hands = [
        tuple(Hand(h["side"], np.array(h["pixels"]), np.array(h["world"]), h["score"]) for h in one)
        for one in data["hands"]
    ]
    return Looked(data["width"], data["height"], people, hands, data["seconds"])


def _person(data: dict[str, Any]) -> Landmarks:
    one, other = (
        Reading(*(np.array(r[k], np.float32) for k in ("points", "world", "deep", "deeper")), r["score"])
        for r in data["readings"]
    )
    pixels, visibility, world = (np.array(data[k]) for k in ("pixels", "visibility", "world"))
    return Landmarks(pixels, visibility, world, data["score"], Square(**data["square"]), (one, other))
