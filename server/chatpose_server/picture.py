"""Pictures on their way in: what is read, how much of it, and how it becomes upright RGB. Knows no people, no HTTP.

A file that is small may ask for a lot: of pixels (memory), of passes over them or of pieces (minutes of work). All
three are counted in the file's own headers before anything is decoded.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .faults import ChatPoseError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_PIXELS: Final = 40_000_000
MAX_IMAGE_BYTES: Final = 100_000_000  # of a file; a request's body is held to far less before this is asked

_SIDE: Final = 2048  # pixels; no model here sees more, and a queue of full photographs would fill the memory
_STRIP_PIXELS: Final = 2_000_000  # converted at a time: at 40 million, whole copies in other modes took 0.6 GB
_MAX_PIECES: Final = 20_000  # chunks or segments; Pillow takes 5 to 10 us for each, and the largest PNGs have 12,000
_MAX_PASSES: Final = 100  # of a progressive JPEG, real ones have about 10; at 40 million pixels one takes 0.08 s

_EXIF_IFD: Final = 0x8769
_EXIF_FILM_MM: Final = 0xA405
_EXIF_ORIENTATION: Final = 0x0112

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_JPEG_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_PASS, _END = 0xDA, 0xD9  # SOS, EOI
_IMAGE_OF: Final[tuple[tuple[re.Pattern[bytes], str], ...]] = tuple(
    (re.compile(start, re.DOTALL | re.IGNORECASE), what)
    for start, what in (
        (rb"GIF8", "a GIF"),
        (rb".{4}ftyp(?:avi[fs]|.{0,40}avif)", "an AVIF"),
        (rb".{4}ftyp(?:hei|hev|mif1|msf1)", "a HEIC, as iPhones take them"),
        (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |\x00\x00\x01\xba", "a movie"),
        (rb"%PDF", "a PDF"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing"),
        (rb"II[*+]\x00|MM\x00[*+]", "a TIFF or a camera's raw file"),
        (rb"BM.{4}\x00\x00\x00\x00", "a BMP"),
        (rb"8BPS", "a Photoshop file"),
        (rb"v/1\x01", "an OpenEXR"),
        (rb"#\?RADIANCE|#\?RGBE", "a Radiance HDR"),
        (rb"\x00\x00\x01\x00", "an icon"),
        (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000"),
        (rb"\x00\x00\x00\x0cJXL |\xff\x0a", "a JPEG XL"),
        (rb"BLENDER", "a .blend file"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype )?html", "a web page"),
        (rb"(?:\xef\xbb\xbf)?\s*<(?:svg|[?!].{0,4000}<svg)", "an SVG"),
        (rb"PK\x03\x04", "an archive"),
    )
)


@dataclass(frozen=True)
class Picture:
    """An encoded picture whose header was checked; decoded only where the work is done."""

    data: bytes
    width: int
    height: int

    @staticmethod
    def check(data: bytes) -> Picture:
        """Reads the headers alone. Raises ChatPoseError invalid_image or image_too_large."""
        if len(data) > MAX_IMAGE_BYTES:
            raise _too_large(f"is a file of over {MAX_IMAGE_BYTES // 1_000_000} MB, which is too much")
        return Picture(data, *_open(data).size)

    def film_mm(self) -> float | None:
        """The focal length in 35 mm terms that the camera wrote into the file, if it did."""
        image = _open(self.data)
        if image.format == "PNG" and "exif" not in image.info:
            return None  # Pillow would decode it all to look behind the pixels too
        try:
            value = image.getexif().get_ifd(_EXIF_IFD).get(_EXIF_FILM_MM)
            return None if not value else float(value)
        except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse a picture
            return None

    def decode(self) -> Image:
        """RGB, upright, its longer side at most 2048 pixels. An animation's first picture. Raises ChatPoseError
        invalid_image.
        """
        from PIL.Image import Transpose

        turns = {
            2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM,
            5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
        }  # fmt: skip
        image = _open(self.data)
        try:
            image.draft("RGB", (_SIDE, _SIDE))  # lets JPEG decode at a fraction of its size
            image.load()
            small = _reduced(image)
            turn = turns.get(_orientation(image))
            return small if turn is None else small.transpose(turn)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds for damaged files
            raise _damaged() from error


# -- the file ----------------------------------------------------------------------------------------------------------
def _open(data: bytes) -> Image:
    """The picture, its pixels not yet decoded. By its first bytes, whatever its name was: PNG, JPEG or WebP."""
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin

    # not PIL.Image.open: it has a limit of its own, which names no numbers and prints a warning beside the answer
    try:
        if data.startswith(_PNG):
            _count(_chunks(data))
            return _not_huge(PngImagePlugin.PngImageFile(io.BytesIO(data)))
        if data.startswith(_JPEG):
            _count(_segments(data))
            return _not_huge(JpegImagePlugin.JpegImageFile(io.BytesIO(data)))
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            _check_size(*_webp_size(data))  # first: its decoder makes room for all pixels at once
            return WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    except (MemoryError, ChatPoseError):
        raise
    except Exception as error:  # Pillow's readers raise many kinds for damaged headers
        raise _damaged() from error
    raise _unknown(data)


def _not_huge(image: Image) -> Image:
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    """Raises ChatPoseError image_too_large."""
    if width * height > MAX_IMAGE_PIXELS:
        most = MAX_IMAGE_PIXELS // 1_000_000
        raise _too_large(f"has {width} x {height} pixels; at most {most} million are read")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height as the first chunk of a WebP says them (RFC 9649); (0, 0) for one that is none."""

    def number(start: int, end: int) -> int:
        return int.from_bytes(data[start:end], "little")

    match data[12:16]:
        case b"VP8X":
            return 1 + number(24, 27), 1 + number(27, 30)
        case b"VP8L":
            return 1 + (number(21, 25) & 0x3FFF), 1 + (number(21, 25) >> 14 & 0x3FFF)
        case b"VP8 ":
            return number(26, 28) & 0x3FFF, number(28, 30) & 0x3FFF
        case _:
            return 0, 0


def _count(pieces: Iterator[int]) -> None:
    """Raises ChatPoseError for a file whose reading would take minutes."""
    passes = 0
    for n, piece in enumerate(pieces):
        passes += piece == _PASS
        if n >= _MAX_PIECES or passes > _MAX_PASSES:
            raise ChatPoseError(
                "invalid_image",
                "The picture's file is in too many pieces to be read.",
                hint="Open it in an image editor and save it again as PNG or JPEG.",
                param="image",
            )


def _chunks(data: bytes) -> Iterator[int]:
    """A zero for each chunk of a PNG."""
    at = len(_PNG)
    while at + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        at += 12 + size
        yield 0


def _segments(data: bytes) -> Iterator[int]:
    """The marker of each segment of a JPEG, up to its end: a second picture or a movie may follow."""
    at = 2
    while (found := _JPEG_MARKER.search(data, at)) and data[found.end() - 1] != _END:
        marker, at = data[found.end() - 1], found.end()
        if at + 2 > len(data):
            return
        (size,) = struct.unpack_from(">H", data, at)
        at += max(size, 2)
        yield marker


def _orientation(image: Image) -> int:
    """EXIF's, 1 to 8; 1 where it is not said, or cannot be read."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - a broken EXIF block is no reason to refuse a picture
        return 1


# -- the pixels --------------------------------------------------------------------------------------------------------
def _reduced(image: Image) -> Image:
    """RGB, its longer side at most 2048 pixels; strip by strip, so that no second copy of a large picture is made."""
    import PIL.Image

    by = max(1, max(image.size) // _SIDE)
    high = max(1, _STRIP_PIXELS // (image.width * by)) * by
    small = PIL.Image.new("RGB", (-(-image.width // by), -(-image.height // by)))
    for top in range(0, image.height, high):
        strip = _to_rgb(image.crop((0, top, image.width, min(top + high, image.height))))
        small.paste(strip if by == 1 else strip.reduce(by), (0, top // by))
    small.thumbnail((_SIDE, _SIDE))
    return small


def _to_rgb(image: Image) -> Image:
    """Any mode to RGB: 16-bit grey is scaled (Pillow's own conversion would clip), transparency becomes white."""
    import PIL.Image

    if image.mode.startswith("I"):
        import numpy as np

        values = np.asarray(image)
        grey = (np.clip(values, 0, 65535) >> 8).astype(np.uint8)
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = 255
        return PIL.Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(ground, image)
    return image.convert("RGB")


# -- what is wrong -----------------------------------------------------------------------------------------------------
def _too_large(why: str) -> ChatPoseError:
    return ChatPoseError("image_too_large", f"The picture {why}.", hint="Make the picture smaller.", param="image")


def _damaged() -> ChatPoseError:
    return ChatPoseError(
        "invalid_image",
        "The picture is damaged or incomplete.",
        hint="Copy it again from where it came, or open it in an image editor and save it as PNG or JPEG.",
        param="image",
    )


def _unknown(data: bytes) -> ChatPoseError:
    """A file that is not one of ours; says what it is, where that is plain."""
    hint = "Save it as PNG or JPEG first."
    what = next((name for start, name in _IMAGE_OF if start.match(data[:8192])), None)
    if not data:
        message, hint = "The picture is an empty file.", "Choose another one."
    elif what is not None:
        message = f"The picture is {what}, but only PNG, JPEG and WebP are read."
    else:
        message = "The picture cannot be read: it is not a PNG, JPEG or WebP."
    return ChatPoseError("invalid_image", message, hint=hint, param="image")
