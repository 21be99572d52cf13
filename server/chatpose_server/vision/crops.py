"""Square cut-outs of a picture at any place, size and turn, and the way back to its pixels. Knows no people."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .networks import Floats

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Square:
    """A square in a picture, in its pixels: centre, side, and how far it is turned clockwise (radians)."""

    x: float
    y: float
    side: float
    turn: float = 0.0

    @functools.cached_property
    def axes(self) -> Points:
        """(2, 2): columns are the square's own x and y directions in the picture."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return np.array([[c, -s], [s, c]])

    def to_picture(self, unit: Points) -> Points:
        """(..., 2) in 0..1 of the square -> pixels of the picture."""
        return (unit - 0.5) * self.side @ self.axes.T + (self.x, self.y)

    def to_unit(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the picture -> 0..1 of the square."""
        u, v = (np.array([x, y]) - (self.x, self.y)) @ self.axes / self.side + 0.5
        return float(u), float(v)


class Pyramid:
    """A picture and its halves, so that a cut-out is never sampled much more coarsely than it was reduced."""

    def __init__(self, image: PIL.Image.Image) -> None:
        self.image = image
        self.width, self.height = image.size
        self._levels = [image]

    def cut(self, square: Square, side: int, mirrored: bool = False) -> Floats:
        """(side, side, 3) in 0..1; black beyond the picture's edges. ``mirrored``: left and right swapped."""
        level = max(0, math.floor(math.log2(max(1.0, square.side / side))))
        while len(self._levels) <= level and min(self._levels[-1].size) >= 2:
            self._levels.append(self._levels[-1].reduce(2))
        source = self._levels[min(level, len(self._levels) - 1)]
        shrink_x, shrink_y = source.width / self.width, source.height / self.height
        step = square.axes * (square.side / side)
        if mirrored:
            step = step * (-1.0, 1.0)
        start = np.array([square.x, square.y]) - step @ (side / 2, side / 2)
        a, b, c = (*step[0], start[0])
        d, e, f = (*step[1], start[1])
        data = (a * shrink_x, b * shrink_x, c * shrink_x, d * shrink_y, e * shrink_y, f * shrink_y)
        cut = source.transform((side, side), PIL.Image.Transform.AFFINE, data, resample=PIL.Image.Resampling.BILINEAR)
        return np.asarray(cut, np.float32) / 255.0
