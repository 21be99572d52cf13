"""Pictures before they are sent: headers, sizes, PNGs, and what of an answer is about a picture."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chatpose_blender.client import contract, picture
from chatpose_blender.client.converter import Converter
from chatpose_blender.client.picture import Header, PictureError, Pixels


def _bytes(kind: str, size=(7, 5), **options) -> bytes:
    out = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), size, "red" if kind != "PNG16" else 0).save(out, kind, **options)
    return out.getvalue()


def _turned(kind: str, turn: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = turn
    return _bytes(kind, exif=exif)


HEADERS = [
    (_bytes("PNG"), Header("png", 7, 5)),
    (_bytes("JPEG"), Header("jpeg", 7, 5)),
    (_bytes("JPEG", progressive=True), Header("jpeg", 7, 5)),
    (_bytes("WEBP"), Header("webp", 7, 5)),
    (_bytes("WEBP", lossless=True), Header("webp", 7, 5)),
    (_bytes("WEBP", lossless=True, mode="RGBA"), Header("webp", 7, 5)),
    *((_turned("JPEG", turn), Header("jpeg", 7, 5, turn)) for turn in range(1, 9)),
    (_turned("WEBP", 6), Header("webp", 7, 5, 6)),
    (_bytes("GIF"), None),
    (_bytes("TIFF"), None),
    (b"", None),
    (b"\xff\xd8\xff", None),
    (b"\x89PNG\r\n\x1a\n", None),
    (b"RIFF1234WEBP", None),
    (_bytes("JPEG")[:20], None),
]


@pytest.mark.parametrize(("data", "header"), HEADERS)
def test_headers(data, header):
    assert picture.read_header(data) == header


def test_every_cut_of_a_header_is_survived():
    for whole in (_turned("JPEG", 6), _turned("WEBP", 6), _bytes("PNG")):
        for end in range(len(whole)):
            picture.read_header(whole[:end])
            picture.read_header(whole[:end] + b"\xff" * 9)


def _never(path: Path, turn: int) -> Path:
    raise AssertionError("not to be converted")


def test_a_plain_file_is_sent_as_it_is(tmp_path):
    (tmp_path / "a.jpg").write_bytes(_bytes("JPEG"))
    made = picture.from_file(tmp_path / "a.jpg", _never)
    assert made.url == f"data:image/jpeg;base64,{base64.b64encode(_bytes('JPEG')).decode()}" and made.upright is None


@pytest.mark.parametrize("name", ["turned.jpg", "large.png", "a.tif"])
def test_what_the_server_does_not_read_well_is_converted(tmp_path, monkeypatch, name):
    monkeypatch.setattr(picture, "MAX_SENT_PIXELS", 100)
    whole = {"turned.jpg": _turned("JPEG", 8), "large.png": _bytes("PNG", (20, 20)), "a.tif": _bytes("TIFF")}[name]
    (tmp_path / name).write_bytes(whole)
    asked = []

    def convert(path: Path, turn: int) -> Path:
        asked.append((path.name, turn))
        (tmp_path / "copy.jpg").write_bytes(_bytes("JPEG"))
        return tmp_path / "copy.jpg"

    made = picture.from_file(tmp_path / name, convert)
    assert asked == [(name, 8 if name == "turned.jpg" else 1)] and made.url.startswith("data:image/jpeg")
    assert (made.upright is not None) == (name == "turned.jpg"), "only what lies on its side is shown from the copy"


PACKED = [("upright", 1, 10_000, None), ("turned", 6, 10_000, 6), ("large", 1, 30, 1)]


@pytest.mark.parametrize(("name", "turn", "limit", "converted"), PACKED)
def test_packed_pictures(tmp_path, monkeypatch, name, turn, limit, converted):
    monkeypatch.setattr(picture, "MAX_SENT_PIXELS", limit)
    asked = []

    def convert(path: Path, turn: int) -> Path:
        assert path.read_bytes() == data
        asked.append((path.name, turn))
        (tmp_path / "copy.jpg").write_bytes(_bytes("JPEG"))
        return tmp_path / "copy.jpg"

    data = _turned("JPEG", turn)
    made = picture.from_bytes(data, tmp_path / name, convert)
    assert asked == ([] if converted is None else [(f"{name}.jpeg", converted)])
    assert base64.b64decode(made.url.partition(",")[2]) == (data if converted is None else _bytes("JPEG"))
    assert (made.upright is not None) == (turn != 1)


def _huge() -> bytes:
    return _bytes("PNG")[:16] + (40_000).to_bytes(4, "big") * 2 + _bytes("PNG")[24:]


REFUSED = [
    ("a.png", _huge(), "40,000 x 40,000 pixels; make it smaller"),
    ("a.gif", _bytes("GIF"), "is a GIF"),
    ("a.png", _bytes("GIF"), "is a GIF"),
    ("a.svg", b"<svg xmlns='x'/>", "SVG"),
    ("a.heic", b"\0\0\0\x18ftypheic", "HEIC"),
    ("a.jpg", b"\xff\xd8\xff", "is damaged or not a picture"),
    ("a.txt", b"hello", "is damaged or not a picture"),
    ("a.png", b"", "is damaged or not a picture"),
]


@pytest.mark.parametrize(("name", "data", "says"), REFUSED)
def test_what_cannot_be_used_is_one_sentence(tmp_path, name, data, says):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PictureError, match=says) as error:
        picture.from_file(tmp_path / name, _never)
    sentence = str(error.value)
    assert sentence.endswith(".") and sentence.count(". ") == 0 and str(tmp_path) not in sentence


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(PictureError, match=r"'none\.png' cannot be read: No such file"):
        picture.from_file(tmp_path / "none.png", _never)


# -- pixels ----------------------------------------------------------------------------------------------------------


def _decoded(made: picture.Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(made.url.partition(",")[2]))))


def test_pixels_become_a_png_the_right_way_up():
    values = np.zeros((3, 4, 4), np.float32)
    values[0, 0] = (1, 0, 0, 1)  # Blender's first pixel is the lower left one
    values[2, 3] = (0, 0.5, 0, 1)
    drawn = _decoded(picture.from_pixels(Pixels(values)))
    assert drawn.shape == (3, 4, 3)
    assert tuple(drawn[2, 0]) == (255, 0, 0) and tuple(drawn[0, 3]) == (0, 128, 0)
    assert tuple(drawn[1, 1]) == (255, 255, 255), "what is transparent is white, as on the server"


@pytest.mark.parametrize(("channels", "colour"), [(1, (128, 128, 128)), (2, (192, 192, 192)), (3, (128, 0, 255))])
def test_grey_and_alpha(channels, colour):
    values = np.array([0.5, 0.5, 0.5, 0.5][:channels], np.float32)
    if channels == 3:
        values = np.array([0.5, -1, 9], np.float32)
    drawn = picture.to_display(np.broadcast_to(values, (2, 2, channels)), linear=False)
    assert tuple(drawn[0, 0]) == pytest.approx(colour, abs=1)


def test_light_becomes_display_values_and_nothing_stays_not_a_number():
    values = np.array([[[0.5, np.nan, np.inf]]], np.float32)
    assert tuple(picture.to_display(values, linear=True)[0, 0]) == (188, 0, 255)


@pytest.mark.parametrize(
    ("shape", "side", "small"),
    [((10, 20), 20, (10, 20)), ((10, 21), 20, (5, 10)), ((100, 40), 10, (10, 4)), ((1, 50), 10, (1, 10))],
)
def test_shrinking(shape, side, small):
    done = picture.shrink(np.ones((*shape, 3), np.float32), side)
    assert done.shape[:2] == small and (done == 1).all()


def test_the_noisiest_picture_still_may_be_sent():
    side = picture.SIDE
    assert side * (1 + 3 * side) * 1.001 < picture.MAX_SENT_BYTES


# -- the other Blender -----------------------------------------------------------------------------------------------


def _converter(tmp_path, code: str, stopped: threading.Event | None = None) -> Converter:
    import sys

    script = tmp_path / "helper.py"
    script.write_text(code)
    return Converter((sys.executable, str(script)), tmp_path, stopped or threading.Event())


def test_frames_come_one_by_one(tmp_path):
    converter = _converter(
        tmp_path, "import sys\nprint(sys.argv)\nfor i in range(3): print(f'FRAME {sys.argv[3]}/f{i}.jpg', flush=True)"
    )
    counts = []
    frames = converter.movie(tmp_path / "a.mp4", range(5, 11, 2), counts.append)
    assert [file.name for file in frames] == ["f0.jpg", "f1.jpg", "f2.jpg"] and counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("code", "says"), [("raise SystemExit(3)", "cannot read this picture"), ("pass", "is damaged or not a picture")]
)
def test_a_picture_that_the_other_blender_cannot_read(tmp_path, code, says):
    with pytest.raises(PictureError, match=says):
        _converter(tmp_path, code).picture(tmp_path / "a.tif", 1)


def test_no_other_blender(tmp_path):
    with pytest.raises(PictureError, match="second Blender"):
        Converter((str(tmp_path / "none"),), tmp_path, threading.Event()).picture(tmp_path / "a.tif", 1)


def test_cancelling_ends_the_other_blender(tmp_path):
    stopped = threading.Event()
    converter = _converter(tmp_path, "import time\nprint('FRAME x', flush=True)\ntime.sleep(600)", stopped)
    with pytest.raises(PictureError, match="Cancelled"):
        converter.movie(tmp_path / "a.mp4", range(1, 9), lambda count: stopped.set())


# -- the wire --------------------------------------------------------------------------------------------------------

RESULT = {
    "poses": [],
    "picture": {"width": 640, "height": 480},
    "people": [{"box": [1, 2, 30, 40], "score": 0.9}, {"box": [50, 2, 80, 40], "score": 0.5}],
    "person": 1,
    "keypoints": {"nose": [10.5, 20.25, 1.0]},
    "camera": {"width": 640, "height": 480, "focal_px": 700, "location": [0, 1, 3], "rotation": [1, 0, 0, 0]},
}


def test_what_was_seen_is_read():
    sight = contract.Result.from_json(RESULT).sight
    assert sight is not None and (sight.width, sight.height, sight.person) == (640, 480, 1)
    assert sight.people[0] == contract.Person((1, 2, 30, 40), 0.9) and sight.keypoints["nose"] == (10.5, 20.25, 1.0)
    assert sight.camera is not None and sight.camera.location == (0, 1, 3)


def test_an_answer_about_no_picture_has_no_sight():
    assert contract.Result.from_json({"poses": []}).sight is None


BROKEN = [
    ({"picture": {"width": 0, "height": 4}}, "no size"),
    ({"picture": {"width": "a", "height": 4}}, "picture.width"),
    ({"people": "many"}, "people"),
    ({"people": [{"box": [1, 2, 3]}]}, "box"),
    ({"keypoints": {"nose": [1, 2]}}, "keypoints.nose"),
    ({"keypoints": {"nose": [1, float("nan"), 1]}}, "keypoints.nose"),
    ({"camera": RESULT["camera"] | {"focal_px": 0}}, "no size"),
    ({"camera": RESULT["camera"] | {"rotation": [0, 0, 0, 0]}}, "unit quaternion"),
]


@pytest.mark.parametrize(("change", "says"), BROKEN)
def test_a_broken_sight_is_named(change, says):
    with pytest.raises(contract.ContractError, match=says):
        contract.Result.from_json(RESULT | change)


def test_the_question_about_a_picture():
    request = contract.PoseRequest("arms lower", image="data:x", person=1, keypoints={"nose": (1.234, 5)})
    sent = request.to_json()
    assert (sent["image"], sent["person"], sent["keypoints"]) == ("data:x", 1, {"nose": [1.23, 5]})
    plain = contract.PoseRequest("sit").to_json()
    assert not {"image", "person", "keypoints"} & plain.keys()
    assert contract.PeopleRequest("data:x").to_json() == {"task": "people", "image": "data:x"}


def test_a_frames_picture_is_read_when_it_is_sent(tmp_path):
    (tmp_path / "f.jpg").write_bytes(_bytes("JPEG"))
    request = picture.FileRequest("", person=2, file=tmp_path / "f.jpg")
    assert request.to_json()["image"].startswith("data:image/jpeg;base64,") and request.to_json()["person"] == 2
