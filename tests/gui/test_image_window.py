# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture in a real window: dropped, posed, matched by a camera, its points dragged. A scripted server answers.

What it answers is true of a body that is drawn with a known camera, so that overlapping can be measured.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from chatpose_server import rotations
from chatpose_server.body.model import default_body
from chatpose_server.skeleton import JOINTS, PARENTS
from conftest import Blender
from PIL import Image, ImageDraw

from scripts.blender import chroots
from tests.fake_server import FakeServer

SIZE = (480, 640)
LIMIT = 900  # seconds; half a minute on a quiet machine, but every redraw may take one on a busy one
FOCAL = 700.0
CAMERA_TURN, CAMERA_AT = 0.5, (1.7, 1.1, 3.1)  # in SMPL-X's frame: to the body's left, in front of it, looking at it
POINTS = [f"{side}_{p}" for p in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")]


def _answer(raised: float) -> dict[str, object]:
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


def _draw(answer: dict[str, object], file: Path) -> None:
    """The body as a manikin of thick lines."""
    picture = Image.new("RGB", SIZE, (236, 228, 214))
    pen = ImageDraw.Draw(picture)
    pixels = [tuple(xy) for xy in answer["pixels"]]  # type: ignore[union-attr]
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            pen.line([pixels[parent], pixels[joint]], fill=(120, 70, 60), width=18 if joint < 22 else 4)
    picture.save(file)


def test_a_dropped_picture_is_posed_matched_and_corrected(blender: Blender) -> None:
    archive = f"/mnt/out/{blender.zip.name}"
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e", archive)
    done = chroots.run(blender.chroot, blender.out, *install)
    assert done.returncode == 0, done.stdout + done.stderr
    first, corrected = _answer(0.9), _answer(0.2)
    _draw(first, blender.out / "photo.png")
    with FakeServer() as server:
        server.capabilities["tasks"] = ["pose", "people", "describe", "denoise"]
        server.answers, server.answer = [first], corrected
        settings = {"CHATPOSE_ADDRESS": server.address}
        window = chroots.run_window(blender.chroot, blender.out, "tests/gui/image_in_window.py", settings, LIMIT)
        sent = [body for method, _, body, _ in server.requests if method == "POST"]
    assert window.status == 0, f"Blender ended with {window.status}; pictures are in {blender.out}\n{window.log}"

    seen = json.loads((blender.out / "image.json").read_text(encoding="utf-8"))
    assert abs(seen["dropped"] - 0.9) < 0.01, "the drop did not pose the body"
    assert seen["thumbnail"], "the boxed thumbnail was never drawn"
    assert seen["objects_after_match"] == ["ARMATURE", "CAMERA", "MESH"]
    assert seen["overlap"] < 2.0, f"body and picture are {seen['overlap']:.1f} pixels apart"
    assert seen["canvas"] == ["VIEW_3D", "IMAGE_EDITOR", "inset"], "points are corrected in all three places"
    assert abs(seen["shown"] - 0.2) < 0.01, "the dragged point was not solved at once"
    moved = sent[1]["keypoints"]["left_wrist"]
    assert sent[1]["keypoints"].keys() == {"left_wrist"} and sent[1]["person"] == 0
    assert abs(moved[0] - seen["goal"][0]) < 4 and abs(moved[1] - seen["goal"][1]) < 4, f"{moved}, {seen['goal']}"
    assert abs(seen["kept"] - 0.2) < 0.01 and abs(seen["undone"] - 0.9) < 0.01, "Enter and Ctrl-Z are not one step"
    assert seen["after_esc"] == seen["before_esc"], "Esc did not restore exactly"
    assert seen["view_size"][0] > 200 and seen["view_spread"] > 0.02, "the viewport's picture is empty"
    assert seen["pasted"].startswith("photo.png"), "a copied file's path was not opened"
