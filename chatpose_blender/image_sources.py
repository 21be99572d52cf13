"""What of an image has to be read where: the main thread says what there is, a worker reads and encodes it."""

import base64
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import bpy
import numpy as np
from numpy.typing import NDArray

from .client import picture as pictures
from .client.converter import SMALL_SIDE, Converter
from .client.picture import Picture, PictureError, Pixels

MOVES = frozenset({"MOVIE", "SEQUENCE"})  # sources of images that have frames
_READABLE_VALUES = 1_500_000  # of an image's pixels, which take Blender some 3 ms to give

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
    source, convert = image.source, converting()
    if source == "TILED":
        return _refusing(_tiles(image))
    if image.type == "RENDER_RESULT":
        return _refusing("Take the render with Picture from Render, so that it is kept.")
    if source == "MOVIE":
        movie = file_of(image)
        return lambda report, stopped: _still(convert(stopped), movie, frame)
    if source == "SEQUENCE":
        one = frame_file(file_of(image), frame)
        return lambda report, stopped: _shown_as(pictures.from_file(one, convert(stopped).picture), one)
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


Shrink = Callable[[threading.Event], NDArray[np.uint8]]
"""Makes a thumbnail in a worker, until it is asked to stop: (H, W, 3), the bottom row first. Raises ClientError."""


def is_stored(image: bpy.types.Image) -> bool:
    """Whether a file, or what is packed, holds the image as it is now."""
    return not image.is_dirty and (image.packed_file is not None or image.source in {"FILE", *MOVES})


def shrinking(image: bpy.types.Image, frame: int = 1) -> Shrink | None:
    """How an image becomes a thumbnail where Blender makes none. Main thread: reads nothing but a few unsaved pixels.

    None for many unsaved ones: Blender gives them all at once, and to the main thread alone.
    """
    source, convert = image.source, converting()
    if source == "TILED":
        sentence = _tiles(image)
        return lambda stopped: _refuse(sentence)
    if source == "MOVIE":
        movie = file_of(image)
        return lambda stopped: convert(stopped).still(movie, frame)[1]
    if source == "SEQUENCE":
        one = frame_file(file_of(image), frame)
        return lambda stopped: _small(convert(stopped), one)
    if is_stored(image) and image.packed_file is not None:
        data, ending = bytes(image.packed_file.data), Path(image.filepath).suffix
        return lambda stopped: _small_of(convert(stopped), data, ending)
    if is_stored(image):
        file = file_of(image)
        return lambda stopped: _small(convert(stopped), file)
    width, height = image.size
    if not 0 < width * height * image.channels <= _READABLE_VALUES:
        return None
    pixels = read_pixels(image)
    return lambda stopped: pictures.to_display(pictures.shrink(pixels.values, SMALL_SIDE), linear=pixels.linear)


def shrinking_sent(picture: Picture) -> Shrink:
    """The same of what was sent to the server."""
    convert = converting()

    def small(stopped: threading.Event) -> NDArray[np.uint8]:
        kind, _, data = picture.url.partition(";base64,")
        return _small_of(convert(stopped), base64.b64decode(data), f".{kind.rpartition('/')[2]}")

    return small


def _small_of(converter: Converter, data: bytes, ending: str) -> NDArray[np.uint8]:
    file = converter.folder / f"small-{threading.get_ident()}{ending}"
    try:
        file.write_bytes(data)
        return _small(converter, file)
    except OSError as error:
        raise PictureError(f"The packed picture cannot be unpacked: {error.strerror or error}.") from error
    finally:
        file.unlink(missing_ok=True)


def _small(converter: Converter, file: Path) -> NDArray[np.uint8]:
    return converter.small(file, pictures.turn_of(file))


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


def may_be_numbered(image: bpy.types.Image) -> bool:
    """Whether the image's file may be one of a sequence: there is a number at the end of its name."""
    return image.source in {"FILE", "SEQUENCE"} and _NUMBER.search(image.filepath) is not None


def frame_behind(background: bpy.types.CameraBackgroundImage, now: int) -> int:
    """Which frame of its movie or sequence a camera's background shows at a frame of the scene."""
    user = background.image_user
    at = now - user.frame_start + 1
    if user.use_cyclic and user.frame_duration:
        at = (at - 1) % user.frame_duration + 1
    return max(1, min(at, user.frame_duration)) + user.frame_offset


def frame_file(first: Path, frame: int) -> Path:
    """The file of a sequence's frame: the last number in the name is the frame's."""
    found = _NUMBER.search(first.name)
    if found is None:
        return first
    return first.with_name(_NUMBER.sub(f"{frame:0{len(found[1])}d}", first.name))


def _refusing(sentence: str) -> Read:
    return lambda report, stopped: _refuse(sentence)


def _tiles(image: bpy.types.Image) -> str:
    return f"'{image.name}' is a set of tiles; choose a single picture."


def _refuse(sentence: str) -> NoReturn:
    raise PictureError(sentence)


def converting() -> Callable[[threading.Event], Converter]:
    """What makes a Converter in a worker; what it needs of Blender is asked here, on the main thread."""
    command, copies = reader_command(), folder()
    return lambda stopped: Converter(command, copies, stopped)


def _still(converter: Converter, movie: Path, frame: int) -> Picture:
    file, _ = converter.still(movie, frame)
    return _shown_as(pictures.from_file(file, converter.picture), file)


def _shown_as(picture: Picture, still: Path) -> Picture:
    """What stands for one frame where pictures are shown that do not move."""
    return picture if picture.upright is not None else replace(picture, upright=still)
