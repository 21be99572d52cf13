"""Pictures on their way to the server: what a file is, what may be sent as it is, how pixels become a PNG.

Knows no bpy and no network. Reading and encoding block: worker threads only.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .contract import PoseRequest
from .http import ClientError

MAX_SENT_BYTES: Final = 8_000_000  # of the file: base64 and the JSON around it stay under the server's 12 MB
MAX_SENT_PIXELS: Final = 40_000_000  # the server reads no more
MAX_READ_PIXELS: Final = 100_000_000  # 400 MB in memory; what is larger is not decoded to be made smaller
SIDE: Final = 1536  # pixels on the longer side of what we encode: a PNG of pure noise of this size still may be sent
_HEAD: Final = 1 << 20  # bytes in which a header is looked for; cameras put large previews before it

_SUFFIXES: Final = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
CONVERTED: Final = frozenset(
    {".bmp", ".cin", ".dds", ".dpx", ".exr", ".hdr", ".j2c", ".jp2", ".psd", ".rgb", ".sgi", ".tga", ".tif", ".tiff"}
)
"""What Blender reads and the server does not."""

Convert: TypeAlias = Callable[[Path, int], Path]
"""(file, EXIF orientation) -> a smaller upright copy that the server reads. Raises PictureError."""


class PictureError(ClientError):
    """A picture that cannot be used. ``str()`` is one sentence for the artist's panel."""

    code = "bad_picture"


@dataclass(frozen=True)
class Header:
    """What a file's first bytes say: ``kind`` png, jpeg or webp; size as stored; ``turn``: EXIF orientation 1 to 8."""

    kind: str
    width: int
    height: int
    turn: int = 1


@dataclass(frozen=True)
class Picture:
    """A picture that is ready to be sent.

    ``url``: the ``data:`` URL. ``upright``: the copy that stands upright where the artist's own file lies on its side,
    which Blender does not turn.
    """

    url: str
    upright: Path | None = None


@dataclass(frozen=True)
class Pixels:
    """An image as Blender holds it: (H, W, C) floats, the bottom row first; ``linear``: light, not display values."""

    values: NDArray[np.float32]
    linear: bool = False


# -- files -----------------------------------------------------------------------------------------------------------


def from_file(path: Path, convert: Convert) -> Picture:
    """Reads a file, or has it converted when it is turned, too large or of a kind that the server does not read.

    Raises PictureError.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            data = file.read(MAX_SENT_BYTES if size <= MAX_SENT_BYTES else _HEAD)
    except OSError as error:
        raise PictureError(f"'{path.name}' cannot be read: {error.strerror or error}.") from error
    header = read_header(data)
    if header is None:
        return _converted(path, data, convert)
    _refuse_large(path, header)
    pixels = header.width * header.height
    if header.turn != 1 or size > MAX_SENT_BYTES or pixels > MAX_SENT_PIXELS:
        return _read_copy(convert(path, header.turn), header.turn)
    return Picture(data_url(data, header.kind))


def turn_of(path: Path) -> int:
    """A file's EXIF orientation, 1 for most. Raises PictureError for one that is missing or too large to be decoded."""
    try:
        with path.open("rb") as file:
            header = read_header(file.read(_HEAD))
    except OSError as error:
        raise PictureError(f"'{path.name}' cannot be read: {error.strerror or error}.") from error
    _refuse_large(path, header)
    return header.turn if header is not None else 1


def from_bytes(data: bytes, file: Path, convert: Convert) -> Picture:
    """A packed PNG, JPEG or WebP; ``file``: where it is written when it has to be converted, its ending to be made.

    Raises PictureError.
    """
    header = read_header(data)
    fits = header is not None and len(data) <= MAX_SENT_BYTES and header.width * header.height <= MAX_SENT_PIXELS
    if header is not None and fits and header.turn == 1:
        return Picture(data_url(data, header.kind))
    file = file.with_suffix(f".{header.kind}") if header is not None else file
    try:
        file.write_bytes(data)
    except OSError as error:
        raise PictureError(f"The packed picture cannot be unpacked: {error.strerror or error}.") from error
    return from_file(file, convert)


def _refuse_large(path: Path, header: Header | None) -> None:
    if header is not None and header.width * header.height > MAX_READ_PIXELS:
        millions = MAX_READ_PIXELS // 1_000_000
        raise PictureError(
            f"'{path.name}' has {header.width:,} x {header.height:,} pixels; make it smaller than {millions} million."
        )


def _converted(path: Path, data: bytes, convert: Convert) -> Picture:
    suffix = path.suffix.lower()
    if data[:4] == b"GIF8" or suffix == ".gif":
        raise PictureError(f"'{path.name}' is a GIF, which may move; save the frame that you mean as PNG or JPEG.")
    if suffix == ".svg" or b"<svg" in data[:4096]:
        raise PictureError(f"'{path.name}' is a drawing of lines (SVG); export it as PNG first.")
    if data[4:12] in {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"}:
        raise PictureError(f"'{path.name}' is a HEIC or AVIF picture, which Blender cannot read; save it as JPEG.")
    if suffix not in CONVERTED:
        raise PictureError(f"'{path.name}' is damaged or not a picture; save it again as PNG or JPEG.")
    return _read_copy(convert(path, 1), 1)


def _read_copy(file: Path, turn: int) -> Picture:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PictureError(f"The smaller copy of the picture cannot be read: {error.strerror or error}.") from error
    header = read_header(data)
    if header is None or len(data) > MAX_SENT_BYTES:
        raise PictureError("The picture could not be made smaller; save it as JPEG with at most 2,000 pixels a side.")
    return Picture(data_url(data, header.kind), file if turn != 1 else None)


def data_url(data: bytes, kind: str) -> str:
    """A file's bytes as the wire wants them."""
    return f"data:{_SUFFIXES[kind]};base64,{base64.b64encode(data).decode('ascii')}"


def read_header(data: bytes) -> Header | None:
    """Kind, size and orientation from a file's first bytes; None for anything but PNG, JPEG and WebP."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
            width, height = struct.unpack(">II", data[16:24])
            return Header("png", width, height)
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
    except (struct.error, IndexError):
        return None
    return None


_SIZE_MARKERS: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame; the three are tables


def _jpeg(data: bytes) -> Header | None:
    at, turn = 2, 1
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        if marker in _SIZE_MARKERS:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return Header("jpeg", width, height, turn)
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            turn = _orientation(data[at + 10 : at + 2 + length])
        at += 2 + length
    return None


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":  # the extended header may come with EXIF, which stands after the picture
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        exif = data.find(b"EXIF", 30) if data[20] & 0x08 else -1
        return Header("webp", width, height, _orientation(data[exif + 8 :]) if exif > 0 else 1)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return Header("webp", width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", data[21:25])
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    return None


def _orientation(tiff: bytes) -> int:
    """The orientation tag of an EXIF block (a small TIFF); 1, upright, where there is none."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack(order + "I", tiff[4:8])
        (count,) = struct.unpack(order + "H", tiff[start : start + 2])
        for i in range(min(count, 200)):
            tag, _, _, value = struct.unpack(order + "HHIH", tiff[start + 2 + 12 * i : start + 12 + 12 * i])
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


@dataclass(frozen=True)
class FileRequest(PoseRequest):
    """A PoseRequest whose picture is read from ``file`` by the worker that sends it: one frame of many."""

    file: Path = Path()

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``. Raises PictureError."""
        return super().to_json() | {"image": _read_copy(self.file, 1).url}


# -- pixels ----------------------------------------------------------------------------------------------------------


def from_pixels(pixels: Pixels) -> Picture:
    """Blender's pixels, ready to be sent. Raises PictureError for an empty image."""
    return Picture(data_url(png_of(pixels), "png"))


def png_of(pixels: Pixels) -> bytes:
    """Blender's pixels, at most SIDE on a side, on white, as a PNG. Raises PictureError for an empty image."""
    if pixels.values.size == 0:
        raise PictureError("The picture is empty; render, load or paint it first.")
    colours = to_display(shrink(pixels.values, SIDE), linear=pixels.linear)
    return png(np.ascontiguousarray(colours[::-1]))


def shrink(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of whole squares of pixels until the longer side fits; what does not fill a square at the edge is cut."""
    step = -(-max(values.shape[:2]) // side)
    if step <= 1:
        return values
    height, width = (max(1, length // step) for length in values.shape[:2])
    if min(values.shape[:2]) < step:  # a strip thinner than a square
        return values[::step, ::step]
    cut = values[: height * step, : width * step]
    return cut.reshape(height, step, width, step, -1).mean((1, 3), dtype=np.float32)


def to_display(values: NDArray[np.float32], *, linear: bool) -> NDArray[np.uint8]:
    """(H, W, C) -> (H, W, 3): grey and alpha resolved, light made display values (IEC 61966-2-1, sRGB)."""
    count = values.shape[2]
    alpha = values[..., -1:] if count in {2, 4} else np.float32(1)
    colours = np.repeat(values[..., :1], 3, -1) if count < 3 else values[..., :3]
    colours = np.nan_to_num(np.clip(colours, 0, 1))
    if linear:
        colours = np.where(colours <= 0.0031308, 12.92 * colours, 1.055 * colours ** (1 / 2.4) - 0.055)
    colours = colours * alpha + (1 - alpha)
    return np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3), the top row first, as a PNG file (W3C PNG, 8 bits, no filter: we send it to ourselves)."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 1)),
        (b"IEND", b""),
    ]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
