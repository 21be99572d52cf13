"""A pinhole camera in SMPL-X's world (metres, y up), and where to put it so that a body fills the picture. Numpy only.

The camera looks along its own -z with +y up in the picture, as Blender's and OpenGL's do; the principal point is the
middle of the picture; pixels count from the top left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""SMPL-X's world -> Blender's (z up, the body faces -y)."""


@dataclass(frozen=True)
class Camera:
    """``rotation`` (3, 3) and ``location`` (3,): camera to world. ``focal_px``: focal length in pixels."""

    width: int
    height: int
    focal_px: float
    location: np.ndarray
    rotation: np.ndarray

    def to_json(self) -> dict[str, object]:
        return {
            "width": self.width, "height": self.height, "focal_px": self.focal_px,
            "location": self.location.tolist(), "rotation": self.rotation.tolist(),
        }  # fmt: skip

    @staticmethod
    def from_json(data: dict) -> Camera:
        return Camera(
            data["width"], data["height"], data["focal_px"], np.array(data["location"]), np.array(data["rotation"])
        )

    def seen(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world -> (..., 3) in the camera's own axes."""
        return (points - self.location) @ self.rotation

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) world -> (..., 2) pixels. Points behind the camera are far outside."""
        p = self.seen(points)
        depth = np.maximum(-p[..., 2:], 1e-3)
        return p[..., :2] * [1, -1] * self.focal_px / depth + [self.width / 2, self.height / 2]

    def inside(self, points: np.ndarray) -> np.ndarray:
        """(...,) bool: the point falls into the picture."""
        xy = self.project(points)
        return ((xy >= 0) & (xy < [self.width, self.height])).all(-1) & (self.seen(points)[..., 2] < 0)

    def heading(self) -> float:
        """Where the camera stands around the vertical, radians: 0 when it looks along -z, at a body that faces it."""
        back = self.rotation[:, 2]
        return math.atan2(back[0], back[2])

    def blender_matrix(self) -> np.ndarray:
        """(4, 4) for an object's ``matrix_world`` in Blender."""
        m = np.eye(4)
        m[:3, :3], m[:3, 3] = Z_UP @ self.rotation, Z_UP @ self.location
        return m

    def lens_mm(self, sensor_mm: float = 36.0) -> float:
        """The focal length for Blender, where ``sensor_fit`` is HORIZONTAL and the sensor this wide."""
        return self.focal_px / self.width * sensor_mm


def turned(azimuth: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) camera to world, radians: around the body (0 = in front of it), looking down by ``pitch``, rolled."""
    ca, sa, cp, sp, cr, sr = (f(a) for a in (azimuth, pitch, roll) for f in (math.cos, math.sin))
    around = np.array([[ca, 0, sa], [0, 1, 0], [-sa, 0, ca]])
    down = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    rolled = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return around @ down @ rolled


def framed(
    points: np.ndarray,  # (N, 3) what should be in the picture
    rotation: np.ndarray,
    size: tuple[int, int],
    fov: float,  # radians, over the longer side
    fill: float,  # the share of the width or of the height that the points take up, whichever is reached first
    middle: tuple[float, float] = (0.5, 0.5),  # where their box's middle falls, shares of the picture
) -> Camera:
    """The camera of this direction and lens from which the points fill the picture."""
    width, height = size
    focal = max(size) / 2 / math.tan(fov / 2)
    own = points @ rotation
    place = own.mean(0)
    place[2] += 3.0
    for _ in range(30):
        p = own - place
        nearest = float((-p[:, 2]).min())
        if nearest < 0.3:
            place[2] += 0.5 - nearest
            continue
        xy = p[:, :2] / -p[:, 2:] * focal
        low, high = xy.min(0), xy.max(0)
        depth = -p[:, 2].mean()
        place[:2] += ((low + high) / 2 + [(0.5 - middle[0]) * width, (middle[1] - 0.5) * height]) * depth / focal
        place[2] += depth * (max((high - low) / size) / fill - 1)
    return Camera(width, height, focal, rotation @ place, rotation)
