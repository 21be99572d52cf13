"""Small pictures for requests."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def encode(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def as_url(data, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def picture(width=8, height=6, mode="RGB"):
    """Red on the left, blue on the right; the top row is white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (255, 0, 0)
    pixels[:, width // 2 :] = (0, 0, 255)
    pixels[0] = 255
    return Image.fromarray(pixels).convert(mode)


def png():
    return as_url(encode(picture()))
