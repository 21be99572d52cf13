"""Pictures on their way in: what is read, how it is turned into upright RGB, and what is refused before decoding."""

from __future__ import annotations

import base64
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from chatpose_server.api.schemas import read_image
from chatpose_server.engine import MAX_IMAGE_PIXELS, Picture
from chatpose_server.faults import ChatPoseError
from PIL import Image

from .images import as_url, encode, picture, png


def decoded(data):
    return np.asarray(Picture.check(data).decode())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "CMYK", "1"])
def test_every_format_and_mode_becomes_rgb(kind, mode):
    try:
        data = encode(picture(mode=mode), kind)
    except OSError:
        pytest.skip(f"{kind} has no {mode}")
    image = Picture.check(data).decode()
    assert (image.mode, image.size) == ("RGB", (8, 6))


@pytest.mark.parametrize(
    "form", [lambda d: as_url(d), lambda d: as_url(d, "PNG"), lambda d: base64.b64encode(d).decode()]
)
def test_data_url_or_bare_base64(form):
    assert read_image(form(encode(picture()))).width == 8


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = Image.fromarray((np.linspace(0, 65535, 48).reshape(6, 8)).astype(np.uint16))
    pixels = decoded(encode(grey))
    assert pixels.shape == (6, 8, 3)
    assert abs(pixels[..., 0].astype(int) - np.linspace(0, 255, 48).reshape(6, 8)).max() <= 1


def test_transparency_becomes_white():
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (decoded(encode(clear)) == 255).all()


@pytest.mark.parametrize(("orientation", "size"), [(1, (8, 6)), (3, (8, 6)), (6, (6, 8)), (8, (6, 8))])
def test_exif_rotation(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Picture.check(encode(picture(), "JPEG", exif=exif, quality=95)).decode()
    assert image.size == size
    if orientation == 3:  # upside down: blue is on the left now
        r, _, b = image.getpixel((1, 1))
        assert b > r


def test_large_pictures_are_made_small():
    assert max(Picture.check(encode(Image.new("RGB", (5000, 100)))).decode().size) == 2048


def header_only_png(width, height):
    """A PNG that says it is huge and has no pixels: nothing may be allocated for it."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + ihdr
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return header + struct.pack(">I", 1000) + b"IDAT" + b"\0" * 1004


@pytest.mark.parametrize(("width", "height"), [(8000, 5001), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (40_000_001, 1)])
def test_pixel_bombs_are_refused_by_their_header(width, height):
    tracemalloc.start()
    with pytest.raises(ChatPoseError) as raised:
        Picture.check(header_only_png(width, height))
    assert raised.value.fault.code == "image_too_large"
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert width * height > MAX_IMAGE_PIXELS


def test_a_picture_reaches_the_model_upright_and_rgb(shared):
    answer = shared.http.post("/v1/poses", json={"image": png()})
    assert answer.status_code == 200
    seen = shared.model.seen[-1].image
    assert (seen.mode, seen.size) == ("RGB", (8, 6))


READ = {
    "PNG": lambda rng: encode(picture(rng.randrange(1, 40), rng.randrange(1, 40), rng.choice(MODES)), "PNG"),
    "PNG, animated": lambda rng: encode(
        picture(9, 7), "PNG", save_all=True, append_images=[picture(9, 7).rotate(180)], duration=20
    ),
    "JPEG": lambda rng: encode(picture(rng.randrange(1, 40), rng.randrange(1, 40)), "JPEG"),
    "JPEG, progressive": lambda rng: encode(picture(30, 30), "JPEG", progressive=True),
    "JPEG, for printing": lambda rng: encode(picture(20, 20, "CMYK"), "JPEG"),
    "JPEG, turned": lambda rng: encode(picture(20, 20), "JPEG", exif=TURNED),
    "WebP": lambda rng: encode(picture(rng.randrange(1, 40), rng.randrange(1, 40)), "WEBP"),
    "WebP, lossless": lambda rng: encode(picture(20, 20, "RGBA"), "WEBP", lossless=True),
    "WebP, animated": lambda rng: encode(
        picture(9, 7), "WEBP", save_all=True, append_images=[picture(9, 7).rotate(180)], duration=20
    ),
}  # fmt: skip
MODES = ("RGB", "L", "RGBA", "P", "1")
TURNED = b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"


def box(brand):
    """The first box of a HEIC or AVIF file, and the start of the next."""
    return struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1" + brand + b"\0\0\1\x8cmeta" + bytes(200)


REFUSED = {
    **{kind: encode(picture(), kind) for kind in ("GIF", "BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "DIB")},
    "PDF": encode(picture(), "PDF"), "EPS": encode(picture(), "EPS"), "HEIC": box(b"heic"), "AVIF": box(b"avif"),
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "HTML": b"<!doctype html><img src=x onerror=alert(1)>",
    "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PSD": b"8BPS\0\1" + bytes(60), "EXR": b"v/1\x01" + bytes(60), "ZIP": b"PK\3\4" + bytes(60),
    "FITS": b"SIMPLE  =                    T" + b" " * 2850, "ELF": b"\x7fELF" + bytes(60),
    "MP4": struct.pack(">I", 24) + b"ftypisom" + bytes(40),
}  # fmt: skip


def mutated(seed):
    """A file of every format, damaged: bytes changed, cut out, doubled, cut off, or two files spliced."""
    rng = random.Random(seed)
    kinds = [*READ, *REFUSED]
    kind = kinds[seed % len(kinds)] if seed % 2 else rng.choice(list(READ))

    def whole(kind):
        return READ[kind](rng) if kind in READ else REFUSED[kind]

    data = bytearray(whole(kind))
    for _ in range(rng.randrange(1, 12)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randrange(1, 20)]
            case 2:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 3:
                del data[at:]
            case 4:
                data[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF]))
            case 5:
                data[at:] = whole(rng.choice(kinds))[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", READ)
def test_what_is_read_is_read_before_it_is_damaged(kind):
    assert Picture.check(READ[kind](random.Random(0))).decode().mode == "RGB"


@pytest.mark.parametrize("kind", REFUSED)
def test_other_formats_are_refused_by_their_first_bytes(kind):
    with pytest.raises(ChatPoseError) as raised:
        Picture.check(REFUSED[kind])
    assert raised.value.fault.code == "invalid_image"


def test_fuzz_six_hundred_damaged_pictures():
    tracemalloc.start()
    read = refused = 0
    for seed in range(600):
        try:
            image = Picture.check(mutated(seed)).decode()
        except ChatPoseError as error:
            assert error.fault.code in ("invalid_image", "image_too_large")
            refused += 1
        else:
            assert image.mode == "RGB"
            read += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read > 20 and refused > 200  # the damage is neither always nor never fatal
    assert peak < 400_000_000


def test_damaged_pictures_over_the_wire(shared):
    for seed in range(0, 60):
        body = {"image": base64.b64encode(mutated(seed)).decode()}
        answer = shared.http.post("/v1/poses", json=body)
        assert answer.status_code == 200 or answer.json()["error"]["code"] in ("invalid_image", "image_too_large")
    assert shared.http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200  # the worker lives
