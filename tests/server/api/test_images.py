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


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(kind):
    with pytest.raises(ChatPoseError) as raised:
        Picture.check(encode(picture(), kind))
    assert raised.value.fault.code == "invalid_image"


def test_a_picture_reaches_the_model_upright_and_rgb(shared):
    answer = shared.http.post("/v1/poses", json={"image": png()})
    assert answer.status_code == 200
    seen = shared.model.seen[-1].image
    assert (seen.mode, seen.size) == ("RGB", (8, 6))


def mutated(seed):
    """One of every format, damaged: bytes changed, cut out, doubled, cut off, or two files spliced."""
    rng = random.Random(seed)
    kinds = ["PNG", "JPEG", "WEBP"]
    kind = kinds[seed % 3]
    mode = rng.choice(["RGB", "L", "RGBA", "P"]) if kind == "PNG" else "RGB"
    data = bytearray(encode(picture(rng.randrange(1, 40), rng.randrange(1, 40), mode), kind))
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
                data[at:] = encode(picture(5, 5), rng.choice(kinds))[at:]
    return bytes(data)


def test_fuzz_five_hundred_damaged_pictures():
    tracemalloc.start()
    read = refused = 0
    for seed in range(500):
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
