"""The panel's thumbnail: of pictures, of a movie's frames, and where Blender makes none."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import image_sources, people_pictures, seen, session
from bl_ext.dev.chatpose.client import picture as pictures
from bl_ext.dev.chatpose.client.contract import Person, Sight
from bl_ext.dev.chatpose.client.converter import Converter
from bl_ext.dev.chatpose.operators import image_points

from tests.addon import effort

SIGHT = Sight(600, 800, (Person((60, 80, 300, 720)), Person((330, 80, 540, 720))))
LIMIT = 60  # seconds for a thread that has nothing to do


def _png(value=128, size=(6, 8)) -> bytes:
    return pictures.png(np.full((size[1], size[0], 3), value, np.uint8))


def _settings():
    return bpy.context.scene.chatpose.picture


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing is known of any picture, before and after."""
    seen.forget()
    people_pictures.unload()
    people_pictures.load()
    yield
    people_pictures.unload()
    people_pictures.load()


@pytest.fixture
def second(monkeypatch):
    """What the second Blender is asked, answered at once in its place; a frame's brightness is its number."""
    asked: list[tuple[object, ...]] = []

    def small(self, file, turn):
        asked.append((threading.current_thread() is threading.main_thread(), file.name, turn))
        return np.full((40, 30, 3), 50, np.uint8)

    def still(self, movie, frame):
        asked.append((threading.current_thread() is threading.main_thread(), movie.name, frame))
        (self.folder / "still.png").write_bytes(_png(frame))
        return self.folder / "still.png", np.full((40, 30, 3), frame, np.uint8)

    monkeypatch.setattr(Converter, "small", small)
    monkeypatch.setattr(Converter, "still", still)
    return asked


def _shown(image, frame=1, chosen=0) -> str:
    """Asks as the panel does, then lets the timer work to its end, which neither waits nor reads; -> the key of what is
    shown, or the reason.
    """
    wanted = people_pictures._wanted = people_pictures._wanted_of(image, frame, chosen)
    people_pictures._looks = 0
    end, pauses = time.monotonic() + LIMIT, [0.0]
    while pauses[-1] is not None:
        assert time.monotonic() < end
        tick = effort.spent(lambda: pauses.append(people_pictures.draw_wanted()))
        assert effort.is_short(tick), tick
        time.sleep(0.001)
    reason = people_pictures.reason(image, frame)
    assert bool(reason) != (wanted.key in people_pictures._previews)
    return reason or wanted.key


def _colour(key, at=(0, 0)) -> float:
    """The red of one pixel, the lower left one's."""
    drawn = people_pictures._previews[key]
    values = np.empty(np.prod(drawn.image_size) * 4, np.float32)
    drawn.image_pixels_float.foreach_get(values)
    return values.reshape(drawn.image_size[1], drawn.image_size[0], 4)[at][0] * 255


def _moving(tmp_path, name="reel.mp4", source="MOVIE"):
    image = bpy.data.images.new(name, 4, 4)
    image.source, image.filepath_raw = source, str(tmp_path / name)
    _settings().image = image
    return image


# -- boxes -----------------------------------------------------------------------------------------------------------


def test_boxes_and_numbers_are_drawn_over_the_small_picture():
    small = np.zeros((256, 256, 4), np.float32)
    drawn = people_pictures.boxed(small, SIGHT, 1)
    left, scale = (256 - 600 * 256 / 800) / 2, 256 / 800

    def colour(x, y):
        return drawn[int((800 - y) * scale), int(left + x * scale)][:3]

    assert colour(330, 400) == pytest.approx(people_pictures._CHOSEN)
    assert colour(61, 400) == pytest.approx(people_pictures._OTHER)
    assert colour(70, 60) == pytest.approx(people_pictures._OTHER), "the number is above the head"
    assert not drawn[:, : int(left)].any(), "nothing is drawn beside the picture"
    assert not small.any()


def test_one_person_has_no_number():
    drawn = people_pictures.boxed(np.zeros((256, 256, 4), np.float32), replace(SIGHT, people=SIGHT.people[:1]), 0)
    box = drawn[..., 3].any(1).nonzero()[0]
    assert box[-1] <= (800 - 80) * 256 / 800, "something is drawn above the box"


# -- stills ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path):
    """A picture's file, opened as the reference picture and looked at."""
    (tmp_path / "photo.png").write_bytes(_png())
    bpy.ops.chatpose.picture_open(filepath=str(tmp_path / "photo.png"))
    _look(_settings().image)
    return _settings().image


def _look(image, frame=1, data=b"") -> None:
    seen.looked(image, pictures.Picture(pictures.data_url(data or _png(), "png")), SIGHT, frame=frame)


def test_boxes_are_drawn_once_blender_has_made_its_own(photo, second):
    wanted = people_pictures._wanted = people_pictures._wanted_of(photo, 1, 0)
    assert people_pictures.draw_wanted() == people_pictures.TICK_SECONDS, "Blender has not made it yet"
    preview = photo.preview_ensure()
    preview.image_size = (64, 64)
    preview.image_pixels_float.foreach_set(np.full(64 * 64 * 4, 0.5, np.float32))
    tick = effort.spent(people_pictures.draw_wanted)
    assert effort.is_short(tick), tick
    assert wanted.key in people_pictures._previews and not second


def test_where_blender_makes_none_a_file_is_reduced_in_a_thread(photo, second):
    assert _colour(_shown(photo)) == pytest.approx(50, abs=1)
    assert second == [(False, "photo.png", 1)]
    _shown(photo, chosen=1)
    assert len(second) == 1, "another person is no new picture"


@pytest.mark.parametrize("may_come", [True, False])
def test_how_long_blender_is_waited_for(photo, second, monkeypatch, may_come):
    monkeypatch.setattr(people_pictures.blender_versions, "draws_thumbnails", lambda scene: may_come)
    wanted = people_pictures._wanted = people_pictures._wanted_of(photo, 1, 0)
    people_pictures._looks = looks = 0
    while people_pictures._reading is None and wanted.of not in people_pictures._small:
        looks += 1
        assert people_pictures.draw_wanted() is not None
    assert looks == (people_pictures.PATIENCE if may_come else people_pictures.SETTLED)


def test_packed_bytes_are_reduced_in_a_thread(photo, second):
    photo.pack()
    assert _colour(_shown(photo)) == pytest.approx(50, abs=1)
    ((on_main, name, _),) = second
    assert not on_main and name.endswith(".png")


def test_a_few_unsaved_pixels_are_shown_as_they_are(second):
    image = bpy.data.images.new("Painted", 5, 4)
    image.pixels.foreach_set(np.tile(np.array([1, 0.5, 0, 1], np.float32), 20))
    assert _colour(_shown(image)) == pytest.approx(255, abs=1) and not second


def test_many_unsaved_pixels_are_shown_once_they_were_looked_at(second, monkeypatch):
    """Blender gives them all at once, and to the main thread alone."""
    monkeypatch.setattr(image_sources, "_READABLE_VALUES", 79)
    image = bpy.data.images.new("Painted", 5, 4)
    image.pixels.foreach_set(np.tile(np.array([1, 0.5, 0, 1], np.float32), 20))
    monkeypatch.setattr(image_sources, "read_pixels", None)
    assert _shown(image) == people_pictures.UNSAVED
    _look(image, data=_png(9, (5, 4)))
    assert _colour(_shown(image)) == pytest.approx(50, abs=1), "what was sent is at hand"
    ((on_main, _, turn),) = second
    assert not on_main and turn == 1


def _gone(path):
    path.unlink()


def _huge(path):
    path.write_bytes(_png()[:16] + (40_000).to_bytes(4, "big") * 2 + _png()[24:])


@pytest.mark.parametrize(("trouble", "says"), [(_gone, "cannot be read"), (_huge, "40,000 x 40,000 pixels")])
def test_why_there_is_none_is_one_sentence_until_it_is_chosen_anew(photo, second, tmp_path, trouble, says):
    trouble(tmp_path / "photo.png")
    assert says in _shown(photo) and not second, "it was not even tried"
    (tmp_path / "photo.png").write_bytes(_png())
    bpy.ops.chatpose.picture_open(filepath=str(tmp_path / "photo.png"))
    assert _colour(_shown(photo)) == pytest.approx(50, abs=1)


def test_reading_ends_with_the_add_on(photo, monkeypatch):
    ended = threading.Event()

    def small(self, file, turn):
        assert self.stopped.wait(LIMIT)
        ended.set()
        raise pictures.PictureError("Cancelled.")

    monkeypatch.setattr(Converter, "small", small)
    people_pictures._wanted = people_pictures._wanted_of(photo, 1, 0)
    people_pictures._looks = people_pictures.PATIENCE
    assert people_pictures.draw_wanted() == people_pictures.TICK_SECONDS
    people_pictures.unload()
    assert ended.wait(LIMIT)
    people_pictures.load()


# -- movies and sequences --------------------------------------------------------------------------------------------


def test_the_shown_frame_of_a_movie(tmp_path, second):
    image = _moving(tmp_path)
    keys = []
    for frame in (5, 90):
        _settings().first_frame = frame
        keys.append(_shown(image, frame))
        assert _colour(keys[-1]) == pytest.approx(frame, abs=1)
    assert second == [(False, "reel.mp4", 5), (False, "reel.mp4", 90)]
    _look(image, frame=90)
    assert _shown(image, 90) not in keys and len(second) == 2, "boxes are drawn into what is there"
    _settings().first_frame = 5
    assert seen.of(image) is None and _shown(image, 5) == keys[0], "other frames have no boxes"
    _settings().first_frame = 90
    assert seen.of(image).sight == SIGHT


def test_a_frame_that_is_dragged_past_is_not_read(tmp_path, second):
    image = _moving(tmp_path)
    for frame in (3, 4, 5):
        people_pictures._wanted = people_pictures._wanted_of(image, frame, 0)
        people_pictures._looks = 0
        assert people_pictures.draw_wanted() == people_pictures.TICK_SECONDS
    _shown(image, 5)
    assert [frame for _, _, frame in second] == [5]


def test_a_sequences_frame_is_its_file(tmp_path, second):
    for number in (7, 8):
        (tmp_path / f"shot_{number:04d}.png").write_bytes(_png())
    bpy.ops.chatpose.picture_open(filepath=str(tmp_path / "shot_0007.png"))
    image = _settings().image
    image.source = "SEQUENCE"
    assert _colour(_shown(image, 8)) == pytest.approx(50, abs=1)
    assert second == [(False, "shot_0008.png", 1)]
    assert "'shot_0009.png' cannot be read" in _shown(image, 9)


# -- the frame that is shown is the one that is posed from -------------------------------------------------------------


@pytest.fixture
def film(server, body, settle, tmp_path, second):
    """A movie at its frame 12, while the scene is at 40, and a server that sees somebody in it."""
    server.capabilities["tasks"] = ["pose", "people"]
    server.answer = {
        "text": "",
        "poses": [{"joints": {"left_shoulder": [math.cos(0.25), 0, 0, math.sin(0.25)]}}],
        "picture": {"width": 600, "height": 800},
        "people": [{"box": [10, 10, 200, 700], "score": 0.9}],
        "person": 0,
        "keypoints": {
            f"{side}_{name}": [300 + sign * x, y, 0.9]
            for side, sign in (("left", 1), ("right", -1))
            for name, x, y in (("shoulder", 60, 200), ("hip", 40, 400), ("knee", 40, 550), ("ankle", 40, 700))
        },
        "camera": {
            "rotation": [1, 0, 0, 0], "location": [0, 1, 4], "focal_px": 900, "width": 600, "height": 800,
        },
    }  # fmt: skip
    bpy.ops.chatpose.check_connection()
    settle()
    bpy.context.scene.frame_set(40)
    image = _moving(tmp_path)
    _settings().first_frame = 12
    return image


def test_the_shown_frame_is_posed_from_and_stands_still(film, second, settle):
    assert bpy.ops.chatpose.pose_from_picture() == {"FINISHED"}
    settle()
    assert session.current.problem is None and second == [(False, "reel.mp4", 12)]
    still = seen.shown(film)
    assert still != film and still.packed_file is not None and tuple(still.size) == (6, 8)
    _settings().first_frame = 13
    assert seen.shown(film) == film, "nothing is known of the next frame"


def test_a_matched_movie_shows_the_frame_now_and_plays_on(film, settle):
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert bpy.ops.chatpose.match_camera() == {"FINISHED"}
    (background,) = _settings().camera.data.background_images
    assert background.image == film
    shown = [image_sources.frame_behind(background, now) for now in (30, 40, 41, 52)]
    assert shown == [12, 12, 13, 24]
    assert image_points._shows(bpy.context, background, seen.shown(film)), "points are corrected over it"
    bpy.context.scene.frame_set(41)
    assert not image_points._shows(bpy.context, background, seen.shown(film)), "it shows another frame now"
    bpy.context.scene.camera = _settings().camera
    assert bpy.ops.chatpose.picture_from_camera() == {"FINISHED"} and _settings().first_frame == 13


@pytest.mark.parametrize(("now", "frame"), [(1, 5), (3, 5), (4, 6), (6, 8), (7, 5), (12, 6)])
def test_a_background_that_begins_anew(now, frame):
    """Three before it, then four frames over and over."""
    background = bpy.data.cameras.new("Camera").background_images.new()
    user = background.image_user
    user.frame_start, user.frame_duration, user.frame_offset, user.use_cyclic = 3, 4, 4, now > 6
    assert image_sources.frame_behind(background, now) == frame
