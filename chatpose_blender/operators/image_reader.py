"""Run in a second Blender without a window, never imported: makes upright JPEGs of pictures and of a movie's frames.

    picture FILE COPY ORIENTATION
    small FILE COPY ORIENTATION SIDE            a numpy file for a thumbnail: (H, W, 3) bytes, the bottom row first
    movie FILE FOLDER FIRST COUNT STEP SIDE     prints "FRAME path" for each
    sequence FILE FOLDER FIRST COUNT STEP SIDE  the same for numbered pictures, FILE being one of them
    still FILE COPY FRAME SIDE SMALL SIDE       one frame of a movie, and the same as "small" makes it

Uses bpy and numpy alone, so that it runs in a Blender without any add-on.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np

SIDE = 2048  # pixels: what the server makes of larger ones
QUALITY = 92


def picture(file: str, copy: str, turn: int, side: int = SIDE) -> None:
    """One picture, whatever Blender reads, on white and upright."""
    colours = read(file, turn, side)[::-1]
    height, width = colours.shape[:2]
    made = bpy.data.images.new("Upright", width, height)
    made.pixels.foreach_set(np.concatenate([colours, np.ones_like(colours[..., :1])], -1).astype(np.float32).ravel())
    made.file_format = "JPEG"
    made.save(filepath=copy, quality=QUALITY)
    bpy.data.images.remove(made)


def small(file: str, copy: str, turn: int, side: int) -> None:
    """The same for a thumbnail. Whoever sees the file finds it whole."""
    values = np.rint(read(file, turn, side)[::-1] * 255).astype(np.uint8)
    part = Path(copy).with_suffix(f".{os.getpid()}")
    with part.open("wb") as to:
        np.save(to, values)
    part.replace(copy)


def read(file: str, turn: int, side: int) -> np.ndarray:
    """(H, W, 3) display values, the top row first, on white and upright (EXIF 2.3, tag 0x0112)."""
    image = bpy.data.images.load(file)
    width, height = image.size
    if not width or not height:
        sys.exit(2)
    if max(width, height) > side:
        scale = side / max(width, height)
        image.scale(max(1, round(width * scale)), max(1, round(height * scale)))
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(height, width, 4)[::-1]  # the top row first
    colours, alpha = np.nan_to_num(np.clip(values[..., :3], 0, 1)), np.clip(values[..., 3:], 0, 1)
    if image.is_float:
        colours = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
    bpy.data.images.remove(image)
    return upright(colours * alpha + (1 - alpha), turn)


def upright(values: np.ndarray, turn: int) -> np.ndarray:
    """(H, W, C), the top row first, as the camera held it -> as the picture is meant."""
    if turn >= 5:
        values = values.swapaxes(0, 1)
    if turn in {3, 4, 7, 8}:
        values = values[::-1]
    if turn in {2, 3, 6, 7}:
        values = values[:, ::-1]
    return values


def movie(file: str, folder: str, first: int, count: int, step: int, side: int) -> None:
    """A movie's frames through the sequencer, which needs no graphics card."""
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences  # 4.4 renamed them
    strip = strips.new_movie("Movie", file, channel=1, frame_start=1)
    element = strip.elements[0]
    width, height = element.orig_width or 0, element.orig_height or 0
    if not width or not height:
        sys.exit(2)
    settings = scene.render
    settings.resolution_x, settings.resolution_y = width, height
    settings.resolution_percentage = max(1, min(100, 100 * side // max(width, height)))
    if hasattr(settings.image_settings, "media_type"):  # from 5.0 on
        settings.image_settings.media_type = "IMAGE"
    settings.image_settings.file_format = "JPEG"
    settings.image_settings.quality = QUALITY
    settings.use_sequencer, settings.use_file_extension = True, True
    scene.view_settings.view_transform = "Standard"
    length = strip.frame_final_duration
    for frame in range(first, first + count * step, step):
        if not 1 <= frame <= length:
            break
        scene.frame_set(frame)
        settings.filepath = str(Path(folder, f"frame{frame:06d}.jpg"))
        bpy.ops.render.render(write_still=True)
        print(f"FRAME {settings.filepath}", flush=True)  # noqa: T201 - read by the Blender that asked


def still(file: str, copy: str, frame: int, side: int, thumbnail: str, thumbnail_side: int) -> None:
    """One frame of a movie, large and small. Another Blender may be making the same."""
    with tempfile.TemporaryDirectory(dir=Path(copy).parent) as folder:
        movie(file, folder, frame, 1, 1, side)
        made = Path(folder, f"frame{frame:06d}.jpg")
        if made.exists() and not Path(thumbnail).exists():
            made.replace(copy)
            small(copy, thumbnail, 1, thumbnail_side)


def sequence(file: str, folder: str, first: int, count: int, step: int, side: int) -> None:
    """Numbered pictures, to the first that is missing."""
    number = re.search(r"(\d+)(?=\.[^.]+$)", Path(file).name)
    for frame in range(first, first + count * step, step):
        name = Path(file).name
        if number:
            name = f"{name[: number.start()]}{frame:0{len(number[1])}d}{name[number.end() :]}"
        one, copy = Path(file).with_name(name), Path(folder, f"frame{frame:06d}.jpg")
        if not one.exists():
            break
        picture(str(one), str(copy), 1, side)
        print(f"FRAME {copy}", flush=True)  # noqa: T201 - read by the Blender that asked


def main(arguments: list[str]) -> None:
    """The arguments behind "--", or the script's own."""
    task, file, place, *numbers = arguments
    if task == "still":
        frame, side, thumbnail, thumbnail_side = numbers
        still(file, place, int(frame), int(side), thumbnail, int(thumbnail_side))
    elif task in {"picture", "small"}:
        {"picture": picture, "small": small}[task](file, place, *map(int, numbers))
    elif task == "sequence":
        sequence(file, place, *map(int, numbers))
    else:
        movie(file, place, *map(int, numbers))


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :])
    sys.stdout.flush()
