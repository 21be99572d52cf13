"""A pinhole camera: how points in front of it fall on the picture. Knows no people.

A camera's own frame is Blender's and OpenGL's: x right, y up in the picture, looking along -z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from .. import rotations as rot

DEFAULT_FOCAL: Final = 1.2
"""Times the picture's longer side, where nothing tells: 45 degrees across, between a phone's lens and a portrait's."""

_FILM_MM: Final = 36.0  # width of the film that EXIF's 35 mm equivalents speak of


@dataclass(frozen=True)
class Camera:
    """``location`` metres and ``rotation`` (w, x, y, z) to the world: SMPL-X's frame, y up, the ground at 0."""

    width: int
    height: int
    focal_px: float
    location: tuple[float, float, float]
    rotation: tuple[float, float, float, float]

    def project(self, points: Tensor) -> Tensor:
        """World points (..., 3) -> pixels (..., 2)."""
        matrot = rot.quat_to_matrot(torch.tensor(self.rotation).to(points))
        seen = (points - torch.tensor(self.location).to(points)) @ matrot
        return project(seen, torch.tensor(self.focal_px).to(points), self.width, self.height)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire."""
        return {
            "width": self.width,
            "height": self.height,
            "focal_px": round(self.focal_px, 2),
            "location": [round(c, 5) for c in self.location],
            "rotation": [round(c, 6) for c in self.rotation],
        }


def project(points_camera: Tensor, focal_px: Tensor, width: int, height: int) -> Tensor:
    """Points in the camera's own frame (..., 3) -> pixels (..., 2), y down. ``focal_px`` broadcasts against (...)."""
    depth = (-points_camera[..., 2]).clamp(min=1e-3)
    x = width / 2 + focal_px * points_camera[..., 0] / depth
    y = height / 2 - focal_px * points_camera[..., 1] / depth
    return torch.stack([x, y], -1)


def view_axes(at: Tensor, focal: Tensor) -> Tensor:
    """(B, 3, 3): columns are the axes of a camera that looks at pixels ``at`` (B, 2) from the middle, y down."""
    forward = torch.stack([at[:, 0] / focal, -at[:, 1] / focal, -torch.ones_like(focal)], 1)
    back = -forward / forward.norm(dim=1, keepdim=True)
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).expand_as(back), back)
    right = right / right.norm(dim=1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(back, right), back], 2)


def focal_from_exif(film_mm: float | None, width: int, height: int) -> float | None:
    """EXIF's focal length in 35 mm terms -> pixels; None where it says nothing that can be true."""
    if film_mm is None or not math.isfinite(film_mm) or not 5 < film_mm < 2000:
        return None
    return film_mm / _FILM_MM * max(width, height)
