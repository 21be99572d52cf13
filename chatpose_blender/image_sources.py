"""What of an image has to be read where: the main thread says what there is, a worker reads and encodes it."""

import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .client import picture as pictures
from .client.converter import Converter
from .client.picture import Picture, PictureError, Pixels

_READER = Path(__file__).parent / "operators" / "image_reader.py"
_folder: Path | None = None

Read = Callable[[Callable[[str, float], None], threading.Event], Any]
"""An errand: ``(report, stopped)`` -> what was read."""


def folder() -> Path:
    """For copies that live as long as this Blender."""
    global _folder  # noqa: PLW0603 - made when it is first needed
    if _folder is None or not _folder.is_dir():
        _folder = Path(tempfile.mkdtemp(prefix="chatpose-", dir=bpy.app.tempdir or None))
    return _folder


def clean() -> None:
    """Called when the add-on is disabled."""
    global _folder  # noqa: PLW0603
    if _folder is not None:
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None


def reader_command() -> tuple[str, ...]:
    """What runs image_reader.py in another Blender: this one's program, or the Python that has Blender as a module."""
    if bpy.app.binary_path:
        quiet = ("--background", "--factory-startup", "-noaudio", "--python-exit-code", "3")
        return (bpy.app.binary_path, *quiet, "--python", str(_READER), "--")
    return (sys.executable, str(_READER), "--")


def file_of(image: bpy.types.Image) -> Path:
    """The file that an image names, as an absolute path."""
    return Path(bpy.path.abspath(image.filepath_raw, library=image.library))


def reading(image: bpy.types.Image, frame: int = 1) -> Read:
    """How an image becomes a Picture, at a frame if it moves. Main thread: nothing is read here but unsaved pixels."""
    name, source = image.name, image.source
    convert = converting()
    if source == "TILED":
        return _refusing(f"'{name}' is a set of tiles; choose a single picture.")
    if image.type == "RENDER_RESULT":
        return _refusing("Take the render with Picture from Render, so that it is kept.")
    if source == "MOVIE":
        movie = file_of(image)
        return lambda report, stopped: _still(convert(stopped), movie, frame)
    if source == "SEQUENCE":
        one = frame_file(file_of(image), frame)
        return lambda report, stopped: pictures.from_file(one, convert(stopped).picture)
    if image.packed_file is not None and not image.is_dirty:
        data = bytes(image.packed_file.data)
        if pictures.read_header(data[: 1 << 20]) is not None:
            file = folder() / f"packed-{image.session_uid}"
            return lambda report, stopped: pictures.from_bytes(data, file, convert(stopped).picture)
    elif source == "FILE" and not image.is_dirty:
        file = file_of(image)
        return lambda report, stopped: pictures.from_file(file, convert(stopped).picture)
    pixels = read_pixels(image)
    return lambda report, stopped: pictures.from_pixels(pixels)


def read_pixels(image: bpy.types.Image) -> Pixels:
    """An image's pixels as Blender holds them. Main thread: Blender gives them to no other."""
    width, height = image.size
    values = np.empty(width * height * image.channels, np.float32)
    if values.size:
        image.pixels.foreach_get(values)
    return Pixels(values.reshape(height, width, -1) if values.size else values, linear=image.is_float)


_NUMBER = re.compile(r"(\d+)(?=\.[^.]+$)")


def frame_number(image: bpy.types.Image) -> int:
    """With what frame taking a motion begins: the number in the file's name if it may be one of a sequence, else 1."""
    found = None if image.source == "MOVIE" else _NUMBER.search(Path(image.filepath).name)
    return int(found[1]) if found is not None and len(found[1]) < 7 else 1


def frame_file(first: Path, frame: int) -> Path:
    """The file of a sequence's frame: the last number in the name is the frame's."""
    found = _NUMBER.search(first.name)
    if found is None:
        return first
    return first.with_name(_NUMBER.sub(f"{frame:0{len(found[1])}d}", first.name))


def _refusing(sentence: str) -> Read:
    def read(report: Callable[[str, float], None], stopped: threading.Event) -> Picture:
        raise PictureError(sentence)

    return read


def converting() -> Callable[[threading.Event], Converter]:
    """What makes a Converter in a worker; what it needs of Blender is asked here, on the main thread."""
    command, copies = reader_command(), folder()
    return lambda stopped: Converter(command, copies, stopped)


def _still(converter: Converter, movie: Path, frame: int) -> Picture:
    (file,) = converter.movie(movie, range(frame, frame + 1), lambda count: None)
    return pictures.from_file(file, converter.picture)
