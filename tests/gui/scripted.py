# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripted servers of the windows answer: script by script, in the order in which they are played.

What is said of the picture is true of a body that is drawn with a known camera, so that overlapping can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from chatpose_server import rotations
from chatpose_server.body.model import default_body
from chatpose_server.skeleton import JOINTS, PARENTS
from PIL import Image, ImageDraw

from tests.fake_server import FakeServer

SIZE = (480, 640)
FOCAL = 700.0
CAMERA_TURN, CAMERA_AT = 0.5, (1.7, 1.1, 3.1)  # in SMPL-X's frame: to the body's left, in front of it, looking at it
POINTS = [f"{side}_{p}" for p in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")]


def seen_answer(raised: float) -> dict[str, object]:
    """A body whose left arm is raised by an angle, as a camera sees it."""
    arm = [math.cos(raised / 2), 0.0, 0.0, math.sin(raised / 2)]
    quats = torch.zeros(1, len(JOINTS), 4)
    quats[..., 0] = 1.0
    quats[0, JOINTS.index("left_shoulder")] = torch.tensor(arm)
    matrot = rotations.quat_to_matrot(quats)
    body = default_body()
    joints = body.forward_kinematics(matrot, body.ground_transl(matrot)).joints[0].numpy()
    cos, sin = math.cos(CAMERA_TURN), math.sin(CAMERA_TURN)
    seen = (joints - CAMERA_AT) @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])  # world to camera
    pixels = FOCAL * seen[:, :2] / -seen[:, 2:] * (1, -1) + np.divide(SIZE, 2)
    keypoints = {name: [*pixels[JOINTS.index(name)].tolist(), 0.95] for name in POINTS}
    low, high = pixels.min(0), pixels.max(0)
    return {
        "text": "",
        "poses": [{"joints": {"pelvis": [1, 0, 0, 0], "left_shoulder": arm}}],
        "model": "fake",
        "seed": 0,
        "picture": {"width": SIZE[0], "height": SIZE[1]},
        "people": [{"box": [*low.tolist(), *high.tolist()], "score": 0.9}, {"box": [5, 5, 90, 200], "score": 0.4}],
        "person": 0,
        "keypoints": keypoints,
        "camera": {
            "width": SIZE[0], "height": SIZE[1], "focal_px": FOCAL, "location": list(CAMERA_AT),
            "rotation": [math.cos(CAMERA_TURN / 2), 0, math.sin(CAMERA_TURN / 2), 0],
        },
        "pixels": pixels.tolist(),
    }  # fmt: skip


def draw(answer: dict[str, object], file: Path) -> None:
    """The body as a manikin of thick lines."""
    picture = Image.new("RGB", SIZE, (236, 228, 214))
    pen = ImageDraw.Draw(picture)
    pixels = [tuple(xy) for xy in answer["pixels"]]  # type: ignore[union-attr]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            pen.line([pixels[parent], pixels[joint]], fill=(120, 70, 60), width=18 if joint < 22 else 4)
    picture.save(file)


def _arm(angle: float) -> dict[str, object]:
    return {"joints": {"left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)]}}


def _answer(text: str, *angles: float) -> dict[str, object]:
    return {"text": text, "poses": [_arm(angle) for angle in angles], "model": "fake", "seed": 7}


def _candidates(server: FakeServer, out: Path) -> None:
    server.answer = _answer("Three ways.", 0.4, 0.8, 1.2)


def _chat(server: FakeServer, out: Path) -> None:
    server.capabilities["tasks"] = ["pose", "describe"]
    server.stream = ["Her", "Her left", "Her left arm"]
    server.answers = [
        _answer("Her left arm is up.", 0.8),
        _answer("She raises her left arm to the side."),
        _answer("Her left arm is up, the rest hangs."),
        _answer("Higher it is.", 1.2),
    ]


def _image(server: FakeServer, out: Path) -> None:
    server.capabilities["tasks"] = ["pose", "people", "describe", "denoise"]
    first = seen_answer(0.9)
    draw(first, out / "photo.png")
    server.answers, server.answer = [first], seen_answer(0.2)


def _tools(server: FakeServer, out: Path) -> None:
    server.answers = [
        _answer("Her left arm is up.", 0.8),
        _answer("Higher it is.", 1.2),
        _answer("She stands.", 0.1),
        _answer("The arm goes up.", 0.9),
    ]
    server.answer = _answer("Up it goes.", 1.0)


SCRIPTS: dict[str, Callable[[FakeServer, Path], None]] = {
    "candidates": _candidates,
    "chat": _chat,
    "image": _image,
    "tools": _tools,
}
