"""Draws what was seen and what was fitted over the picture, for eyes. Knows nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..body.model import default_body
from ..pose import Pose
from ..skeleton import JOINTS
from .blazepose import AT, Landmarks
from .camera import Camera

_LINES: Final[tuple[tuple[str, str], ...]] = (
    ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("left_heel", "left_foot_index"), ("right_heel", "right_foot_index"), ("left_wrist", "left_index"),
    ("left_wrist", "left_pinky"), ("right_wrist", "right_index"), ("right_wrist", "right_pinky"),
)  # fmt: skip
_LEFT, _RIGHT, _MIDDLE = (235, 130, 70), (80, 140, 235), (90, 200, 120)


def draw_landmarks(image: Image.Image, people: Sequence[Landmarks]) -> Image.Image:
    """The landmarks of people as lines (left orange, right blue; thin where unsure) and their boxes with numbers."""
    out = image.convert("RGB")
    pen = ImageDraw.Draw(out)
    wide = max(2, round(max(out.size) / 250))
    for number, person in enumerate(people):
        pen.rectangle(person.box, outline=(250, 220, 60), width=max(1, wide // 2))
        pen.text((person.box[0] + 3, person.box[1] + 2), f"{number} {person.score:.2f}", fill=(250, 220, 60))
        for a, b in _LINES:
            i, j = AT[a], AT[b]
            sure = min(person.visibility[i], person.visibility[j]) > 0.5
            colour = _LEFT if a[0] == b[0] == "l" else _RIGHT if a[0] == b[0] == "r" else _MIDDLE
            ends = (*person.pixels[i], *person.pixels[j])
            pen.line(tuple(float(v) for v in ends), fill=colour, width=wide if sure else 1)
    return out


def draw_body(image: Image.Image, pose: Pose, camera: Camera, strength: float = 0.75) -> Image.Image:
    """Our body in this pose over the picture, as the camera sees it. A z-buffer of points, no renderer."""
    body = default_body()
    v = body.skin(pose.matrot(JOINTS)[None], transl=torch.tensor([pose.transl or (0.0, 0.0, 0.0)]))[0]
    faces = body.faces
    flat = camera.project(v) * (image.width / camera.width)
    location = torch.tensor(camera.location)
    tri, tri_flat = v[faces], flat[faces]
    normal = torch.linalg.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-12)
    toward = location - tri.mean(1)
    distance = toward.norm(dim=1)
    front = ((normal * toward).sum(1) > 0) & (distance > 0.05)
    extent = float((tri_flat.amax(1) - tri_flat.amin(1))[front].max()) if bool(front.any()) else 1.0
    n = min(40, max(2, int(extent) + 1))
    u = torch.tensor([[(i + 1 / 3) / n, (j + 1 / 3) / n] for i in range(n) for j in range(n - i)])
    w = torch.cat([u, 1 - u.sum(1, keepdim=True)], 1)
    side = (body.v_template[faces[front]].mean(1)[:, :1] / 0.06).clamp(-1, 1)
    grey, left, right = (torch.tensor(c, dtype=torch.float32) for c in ((205, 205, 205), _LEFT, _RIGHT))
    colour = torch.where(side > 0, grey + side * (left - grey), grey - side * (right - grey))
    light = (normal[front] * torch.nn.functional.normalize(toward[front], dim=1)).sum(1).clamp(0, 1)
    colour = colour * (0.35 + 0.65 * light[:, None])
    points = torch.einsum("sk,fkc->fsc", w, tri_flat[front])
    return _splat(image, points, distance[front], colour, strength)


def _splat(image: Image.Image, points: Tensor, distance: Tensor, colour: Tensor, strength: float) -> Image.Image:
    """``points`` (F, S, 2) pixels of faces ``distance`` (F,) away: the nearest face of a pixel colours it."""
    out = np.asarray(image.convert("RGB"), np.float32).copy()
    high, wide = out.shape[:2]
    x, y = points[..., 0].floor().long(), points[..., 1].floor().long()
    inside = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
    order = torch.argsort(-distance)  # later writes win: the nearest face last
    at = torch.full((high * wide,), -1, dtype=torch.long)
    face = torch.arange(len(points))[:, None].expand_as(x)
    for f in order.split(2000):
        keep = inside[f]
        index = (y[f] * wide + x[f])[keep]
        at[index] = face[f][keep]  # within a block the order of writes is by face as well
    hit = (at >= 0).numpy()
    mixed = out.reshape(-1, 3)
    mixed[hit] = (1 - strength) * mixed[hit] + strength * colour[at[at >= 0]].numpy()
    return Image.fromarray(mixed.reshape(out.shape).clip(0, 255).astype(np.uint8))
