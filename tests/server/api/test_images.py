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
from chatpose_server.faults import ChatPoseError
from chatpose_server.picture import MAX_IMAGE_PIXELS, Picture, _to_rgb
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
    "form",
    [
        lambda data, kind: as_url(data, kind),
        lambda data, kind: as_url(data, kind.upper()),
        lambda data, kind: as_url(data, "jpg"),  # what the file is counts, not what it is called
        lambda data, kind: base64.b64encode(data).decode(),
        lambda data, kind: base64.encodebytes(data).decode(),  # in lines
    ],
)
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_data_url_or_bare_base64(form, kind):
    """The base64 of a JPEG starts with a slash: it is no path."""
    assert read_image(form(encode(picture(), kind.upper()), kind)).width == 8


GREYS = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)


def raw_png(samples, kind, *before):
    """A PNG of 16 bits a sample, which Pillow does not write: ``kind`` 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    high, wide = samples.shape[:2]
    rows = samples.astype(">u2").reshape(high, -1)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    ihdr = struct.pack(">IIBBBBB", wide, high, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", ihdr), *before, (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


OPAQUE = np.full_like(GREYS, 65535)


@pytest.mark.parametrize(
    ("kind", "samples"),
    [
        (0, [GREYS]), (2, [GREYS] * 3), (4, [GREYS, OPAQUE]), (6, [GREYS] * 3 + [OPAQUE]),
    ],
)  # fmt: skip
def test_sixteen_bits_are_scaled_not_clipped(kind, samples):
    pixels = decoded(raw_png(np.stack(samples, 2), kind))
    assert pixels.shape == (6, 8, 3)
    assert abs(pixels.astype(int) - (GREYS >> 8)[..., None]).max() <= 1


def see_through(mode):
    """Black, and its left half is clear, in the way of each mode."""
    image = Image.new("RGBA", (8, 6), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 6))
    if mode == "P":
        return encode(image.quantize(4))
    if mode in ("L", "RGB"):  # one colour is the clear one
        flat = Image.new(mode, (8, 6))
        flat.paste("white" if mode == "L" else (9, 8, 7), (0, 0, 4, 6))
        return encode(flat, transparency=255 if mode == "L" else (9, 8, 7))
    if mode == "I;16":
        half = np.repeat(np.array([[7, 0]], np.uint16), 4, 1).repeat(6, 0)
        return raw_png(half[..., None], 0, (b"tRNS", struct.pack(">H", 7)))
    return encode(image.convert(mode))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB", "I;16"])
def test_transparency_becomes_white_and_nothing_else_does(mode):
    pixels = decoded(see_through(mode))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == 0).all()


TURNS = Image.Transpose
STORED = {
    1: (), 2: (TURNS.FLIP_LEFT_RIGHT,), 3: (TURNS.ROTATE_180,), 4: (TURNS.FLIP_TOP_BOTTOM,),
    5: (TURNS.FLIP_LEFT_RIGHT, TURNS.ROTATE_90), 6: (TURNS.ROTATE_90,), 7: (TURNS.FLIP_LEFT_RIGHT, TURNS.ROTATE_270),
    8: (TURNS.ROTATE_270,),
}  # fmt: skip
"""How a camera held this way stores an upright scene (EXIF 2.3, 4.6.4)."""


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_phones_picture_is_upright_however_it_was_held(orientation, kind):
    stored = picture()
    for turn in STORED[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    assert (decoded(encode(stored, kind, exif=exif.tobytes(), **lossless)) == np.asarray(picture())).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_broken_exif_block_is_no_reason_to_refuse_a_picture():
    whole = encode(picture(), "JPEG", exif=TURNED)
    for broken in (TURNED[:9], TURNED[:6] + b"XX" + TURNED[8:], TURNED.replace(b"\6", b"\x63")):
        image = Picture.check(whole.replace(TURNED, broken.ljust(len(TURNED), b"\0")))
        assert image.decode().size == (8, 6)
        assert image.film_mm() is None


def test_of_an_animation_the_first_picture_is_taken():
    for kind in ("PNG", "WEBP"):
        moving = encode(
            picture(), kind, save_all=True, append_images=[picture().rotate(180)], duration=20,
            **({"lossless": True} if kind == "WEBP" else {}),
        )  # fmt: skip
        assert (decoded(moving) == np.asarray(picture())).all()


def test_large_pictures_are_made_small():
    assert max(Picture.check(encode(Image.new("RGB", (5000, 100)))).decode().size) == 2048


def huge_png(width, height):
    """A PNG that says it is huge and has hardly a pixel: nothing may be allocated for it."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(bytes(1000)))


def huge_jpeg(width, height):
    data = encode(picture(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def huge_webp(width, height, lossless=False):
    data = bytearray(encode(picture(), "WEBP", lossless=lossless))
    if lossless:
        data[21:25] = (int.from_bytes(data[21:25], "little") >> 28 << 28 | height - 1 << 14 | width - 1).to_bytes(
            4, "little"
        )
    else:
        data[26:30] = struct.pack("<HH", width, height)
    return bytes(data)


def huge_animation(width, height):
    data = bytearray(encode(picture(), "WEBP", save_all=True, append_images=[picture().rotate(180)], duration=20))
    data[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "width", "height"),
    [
        (huge_png, 8000, 5001), (huge_png, 40_000, 40_000), (huge_png, 2**31 - 1, 2**31 - 1), (huge_png, 40_000_001, 1),
        (huge_png, 11_000, 11_000), (huge_jpeg, 60_000, 60_000), (huge_jpeg, 11_000, 11_000),
        (huge_webp, 16_383, 16_383), (lambda w, h: huge_webp(w, h, True), 16_383, 9_000),
        (huge_animation, 60_000, 60_000),
    ],
)  # fmt: skip
def test_pixel_bombs_are_refused_by_their_header(make, width, height, recwarn):
    data = make(width, height)
    tracemalloc.start()
    with pytest.raises(ChatPoseError) as raised:
        Picture.check(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fault = raised.value.fault
    assert fault.code == "image_too_large"
    assert fault.message == f"The picture has {width} x {height} pixels; at most 40 million are read."
    assert width * height > MAX_IMAGE_PIXELS
    assert peak < 20_000_000
    assert not recwarn.list  # Pillow's own warning would be a second line for who uses the command


def many_passes(count):
    """A progressive JPEG whose last pass is done again and again: at 40 million pixels each takes 80 ms."""
    data = encode(picture(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def many_segments(count):
    data = encode(picture(), "JPEG")
    return data[:2] + b"\xff\xe5\0\2" * count + data[2:]


def many_chunks(count):
    data = encode(picture())
    return data[:33] + chunk(b"prVt", b"") * count + data[33:]


@pytest.mark.parametrize(("make", "few", "many"), [
    (many_passes, 20, 200), (many_segments, 500, 200_000), (many_chunks, 500, 200_000),
])  # fmt: skip
def test_a_file_that_would_take_minutes_is_refused_by_counting(make, few, many, monkeypatch):
    assert Picture.check(make(few)).decode().mode == "RGB"
    for plugin in ("PngImagePlugin.PngImageFile", "JpegImagePlugin.JpegImageFile"):
        monkeypatch.setattr(f"PIL.{plugin}", lambda *_: pytest.fail("it was opened, piece by piece"))
    with pytest.raises(ChatPoseError, match="too many pieces") as raised:
        Picture.check(make(many))
    assert raised.value.fault.code == "invalid_image"


def test_what_follows_a_jpegs_end_is_not_counted():
    """Phones put a second picture, or a movie, behind the first."""
    data = encode(picture(), "JPEG")
    assert Picture.check(data + data * 300).decode().size == (8, 6)


def test_large_pictures_are_converted_strip_by_strip_without_a_seam(monkeypatch):
    """Whole copies in other modes took 0.6 GB at 40 million pixels."""
    rows, columns = np.mgrid[0:260, 0:4500]
    clear = np.stack([columns % 251, rows % 241, (rows + columns) % 239, 255 - columns % 200], 2).astype(np.uint8)
    image = Image.fromarray(clear)
    whole = _to_rgb(image).reduce(2)
    whole.thumbnail((2048, 2048))
    sizes = []
    monkeypatch.setattr("chatpose_server.picture._STRIP_PIXELS", 200_000)
    monkeypatch.setattr("chatpose_server.picture._to_rgb", lambda s: sizes.append(s.width * s.height) or _to_rgb(s))
    assert (decoded(encode(image, compress_level=1)) == np.asarray(whole)).all()
    assert len(sizes) > 5 and max(sizes) <= 200_000


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
    "MP4": struct.pack(">I", 24) + b"ftypisom" + bytes(40), "text": b"Dear sir, this is no picture.", "nothing": b"",
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
    assert raised.value.fault.message.startswith(f"The picture {SAID.get(kind, 'cannot be read: it is not a PNG')}")


SAID = {
    "GIF": "is a GIF, but only PNG, JPEG and WebP are read.", "BMP": "is a BMP", "TIFF": "is a TIFF",
    "ICO": "is an icon",
    "PDF": "is a PDF", "EPS": "is a PostScript drawing", "HEIC": "is a HEIC", "AVIF": "is an AVIF", "SVG": "is an SVG",
    "JPEG 2000": "is a JPEG 2000", "HTML": "is a web page", "PSD": "is a Photoshop file", "EXR": "is an OpenEXR",
    "ZIP": "is an archive", "MP4": "is a movie", "nothing": "is an empty file.",
}  # fmt: skip


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
