"""Pictures of bodies without a renderer, a tenth of a second each: what ``train vision_lifter`` learns BlazePose's
errors from. Never used to judge.

Poses are of motion capture (the training trials); bodies, clothes, cameras, props and who is cut off as scenes.py draws
them. Faces are drawn far to near in flat shades before a smooth or blotchy wall. BlazePose looks at the square around
the true body, a little off, as its detector would have it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatpose_server import rotations as rot
from chatpose_server.skeleton import INDEX
from chatpose_server.training import vision_lifter
from chatpose_server.vision.blazepose import Landmarks, look
from chatpose_server.vision.crops import Pyramid, Square
from PIL import Image, ImageDraw, ImageFilter

from . import scenes
from .camera import Camera
from .looks import MATERIALS

SEED = 305
_LIGHT = 0.45  # of a face that looks away from the sun


def make(data: Path, folder: Path, bodies: int) -> list[dict[str, Any]]:
    """Bodies in poses of ``data``'s training trials, into ``folder``; the plan of their pictures."""
    quat, root, weight = vision_lifter.weighted(data, "train", SEED)
    generator = torch.Generator().manual_seed(SEED)
    pick = torch.multinomial(weight, bodies, replacement=False, generator=generator)
    matrot = rot.quat_to_matrot(torch.cat([root[pick][:, None], quat[pick]], 1))
    folder.mkdir(parents=True, exist_ok=True)
    said = scenes.write_bodies(folder, [(m, "mocap", "") for m in matrot], np.random.default_rng(SEED))
    scenes.write(folder / "bodies.json", said)
    with np.load(folder / "bodies.npz") as made:
        plan = scenes.pictures(made["joints"], made["vertices"][:, ::23], SEED)
    return [entry | {"look": said[entry["body"]]["look"]} for entry in plan if entry["stratum"] != "line art"]


def _rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)], float)


def _wall(camera: Camera, g: np.random.Generator) -> Image.Image:
    small = g.uniform(0, 255, (6, 6, 3)) * g.uniform(0, 1) + g.uniform(20, 200, 3) * g.uniform(0.5, 1)
    size = (camera.width, camera.height)
    return Image.fromarray(small.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)


def sketch(entry: dict[str, Any], bodies: dict[str, np.ndarray], g: np.random.Generator) -> Image.Image:
    """The picture: who is seen and what stands before her."""
    camera = Camera.from_json(entry["camera"])
    image = _wall(camera, g)
    shown = [entry["body"]] if not entry["other"] else [entry["other"]["body"], entry["body"]]
    for body in shown:
        v = bodies["vertices"][body].astype(float)
        if entry["other"] and body != entry["body"]:
            v = scenes.placed(v, entry["other"])
        _fill(image, camera, v, bodies["faces"], bodies["material"][body], entry["look"]["colours"], entry["light"])
    if entry["prop"]:
        p = entry["prop"]
        c, s = math.cos(p["turn"]), math.sin(p["turn"])
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(p["size"]) / 2
        at = corners @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + p["at"]
        pen = ImageDraw.Draw(image)
        for side in ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5)):
            shade = tuple(int(255 * v * g.uniform(0.7, 1)) for v in p["colour"])
            pen.polygon([tuple(q) for q in camera.project(at[list(side)])], fill=shade)
    noise = g.normal(0, g.uniform(1, 6), (*image.size[::-1], 3))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.7)), float) + noise
    return Image.fromarray(soft.clip(0, 255).astype(np.uint8))


def _fill(
    image: Image.Image, camera: Camera, v: np.ndarray, faces: np.ndarray, material: np.ndarray, colours: dict[str, str],
    light: dict[str, Any],
) -> None:  # fmt: skip
    """Paints a body's faces over the picture, the nearest last."""
    tri = v[faces]
    normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    away = tri.mean(1) - camera.location
    front = (normal * away).sum(1) < 0
    around = camera.heading() + light["around"]
    sun = np.array([math.sin(around), math.tan(light["height"]), math.cos(around)])
    sun /= np.linalg.norm(sun)
    shade = _LIGHT + (1 - _LIGHT) * (normal @ sun).clip(0, 1) + 0.1 * normal[:, 1]
    paint = np.stack([_rgb(colours[m]) for m in MATERIALS])[material] * shade[:, None]
    flat = camera.project(v)[faces]
    order = np.flatnonzero(front)[np.argsort(-np.linalg.norm(away[front], axis=1))]
    pen = ImageDraw.Draw(image)
    for i in order:
        a, b, c = flat[i].tolist()
        pen.polygon((*a, *b, *c), fill=tuple(paint[i].clip(0, 255).astype(int).tolist()))


def seen(entry: dict[str, Any], image: Image.Image, joints: np.ndarray, g: np.random.Generator) -> Landmarks | None:
    """What BlazePose sees of the person in a square like its detector's."""
    camera = Camera.from_json(entry["camera"])
    at = camera.project(joints[:22])
    hips = at[[INDEX["left_hip"], INDEX["right_hip"]]].mean(0)
    up = at[INDEX["neck"]] - hips
    reach = np.linalg.norm(at - hips, axis=1).max() * g.uniform(1.0, 1.3)
    off = g.normal(0, 0.06, 2) * reach
    turn = math.atan2(up[0], -up[1]) + g.normal(0, 0.12)
    return look(Pyramid(image), Square(float(hips[0] + off[0]), float(hips[1] + off[1]), 2.5 * reach, turn))
