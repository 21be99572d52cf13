"""A picture as CLIP was trained to see it: shortest side scaled (bicubic), centre square, normalised. Knows no model.

The scaling is Pillow's on purpose: other bicubic filters differ by a grey level here and there, and that moves joints
by up to a fifth of a degree. Nothing is padded or stretched, so who should be seen must stand in the middle.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image


def clip_processor(clip_folder: Path, image_size: int) -> Any:
    """transformers' Pillow-based CLIP processor by the folder's settings, else CLIP's usual ones at ``image_size``."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    settings: dict[str, Any] = {}
    path = clip_folder / "preprocessor_config.json"
    if path.is_file():
        known = (
            "size", "crop_size", "resample", "do_resize", "do_center_crop", "do_rescale", "do_normalize",
            "do_convert_rgb", "rescale_factor", "image_mean", "image_std",
        )  # fmt: skip
        raw = json.loads(path.read_text(encoding="utf-8"))
        settings = {key: raw[key] for key in known if raw.get(key) is not None}
        if isinstance(settings.get("size"), int):  # old files write the shortest edge as a bare number
            settings["size"] = {"shortest_edge": settings["size"]}
        if isinstance(settings.get("crop_size"), int):
            settings["crop_size"] = {"height": settings["crop_size"], "width": settings["crop_size"]}
    settings.setdefault("size", {"shortest_edge": image_size})
    settings.setdefault("crop_size", {"height": image_size, "width": image_size})
    return CLIPImageProcessorPil(**settings)


def pixels(processor: Any, image: Image) -> Tensor:
    """(1, 3, S, S) float32."""
    return processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]


def image_hash(image: Image) -> str:
    """The same for the same pixels, wherever they came from."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.size}".encode() + rgb.tobytes()).hexdigest()
