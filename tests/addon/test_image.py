"""A picture becomes a pose: from the button to the rig against a scriptable server, and what can go wrong."""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose import image_sources, seen, session
from bl_ext.dev.chatpose.client import picture as pictures
from bl_ext.dev.chatpose.client.contract import Person
from bl_ext.dev.chatpose.operators import image as image_operators
from bl_ext.dev.chatpose.operators import image_drop, image_motion, image_points, image_pose, targets
from bl_ext.dev.chatpose.rig import apply, cameras, frames, keyframes, posing
from bl_ext.dev.chatpose.rig import rotations as rot
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector

from tests.addon import effort

SIZE = (600, 800)  # of the pictures: upright, in a landscape render
TASKS = ["pose", "describe", "people", "denoise"]
BOXES = [[10, 10, 200, 700], [300, 10, 590, 700]]


def _arm(angle: float, **more) -> dict:
    fingers = {"left_index1": [math.cos(0.3), 0, 0, math.sin(0.3)]} if more.get("fingers") else {}
    turn = more.get("turn", 0.0) / 2
    return {
        "joints": {
            "pelvis": [math.cos(turn), 0, math.sin(turn), 0],
            "left_shoulder": [math.cos(angle / 2), 0, 0, math.sin(angle / 2)],
            **fingers,
        }
    }


def _answer(angle=0.5, person=0, boxes=BOXES, keypoints=None, camera=None, **more) -> dict:
    return {
        "text": "",
        "poses": [_arm(angle, **more)],
        "model": "fake",
        "seed": 1,
        "picture": {"width": SIZE[0], "height": SIZE[1]},
        "people": [{"box": box, "score": 0.9 - 0.1 * i} for i, box in enumerate(boxes)],
        "person": person,
        "keypoints": keypoints or {"left_wrist": [100.0, 200.0, 0.9], "right_wrist": [400, 200, 0.2]},
        "camera": camera,
    }


def _angle(rig=None) -> float:
    w, *_, z = apply.read_pose(rig or _rig())["left_shoulder"]
    return round(2 * math.atan2(z, w), 3)


def _rig():
    return bpy.data.objects["ChatPose Body"]


def _sent(server) -> list[dict]:
    return [body for method, _, body, _ in server.requests if method == "POST"]


def _png(value=128, size=(6, 8)) -> bytes:
    return pictures.png(np.full((size[1], size[0], 3), value, np.uint8))


@pytest.fixture
def photo(tmp_path):
    """A picture's file, opened as the reference picture."""
    path = tmp_path / "photo.png"
    path.write_bytes(_png())
    assert bpy.ops.chatpose.picture_open(filepath=str(path)) == {"FINISHED"}
    return path


@pytest.fixture
def desk(server, body, settle):
    """A server that looks at pictures, known to do so."""
    server.capabilities["tasks"] = TASKS
    server.answer = _answer()
    bpy.ops.chatpose.check_connection()
    settle()
    seen.forget()
    return server


def _settings():
    return bpy.context.scene.chatpose.picture


# -- a picture to a pose ---------------------------------------------------------------------------------------------


def test_picture_to_pose_is_one_undo_step(desk, photo, settle):
    bpy.ops.ed.undo_push(message="Start")
    bpy.context.scene.chatpose.prompt = "same but arms lower"
    before = apply.snapshot(_rig())
    assert bpy.ops.chatpose.pose_from_picture() == {"FINISHED"}
    settle()
    assert session.current.problem is None
    (sent,) = _sent(desk)
    assert sent["task"] == "pose" and sent["prompt"] == "same but arms lower" and "person" not in sent
    assert base64.b64decode(sent["image"].partition(",")[2]) == photo.read_bytes(), "the file goes as it is"
    assert _angle() == 0.5
    assert seen.of(_settings().image).sight.people[1] == Person((300, 10, 590, 700), 0.8)
    assert _rig().chatpose.messages[0].text == "photo.png: same but arms lower"
    bpy.ops.ed.undo()
    assert apply.snapshot(_rig()) == before
    bpy.ops.ed.redo()
    assert _angle() == 0.5


def test_the_prompt_stays_out_when_it_is_not_wanted(desk, photo, settle):
    bpy.context.scene.chatpose.prompt = "same but arms lower"
    _settings().use_prompt = False
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert _sent(desk)[0]["prompt"] == ""


def test_ticks_are_short(desk, photo, settle):
    bpy.ops.chatpose.pose_from_picture()  # once unmeasured: the first of everything loads something
    settle()
    bpy.ops.chatpose.pose_from_picture()
    while session.current.work is not None or session.current.jobs.waiting:
        tick = effort.spent(session.pump)
        assert effort.is_short(tick), tick
        time.sleep(0.005)
    assert _angle() == 0.5


FINGERS = ("left_index1", "left_pinky1")  # the pictures here show the first, not the second
HEADING, BENT = 0.5, (0.2, 0.3)  # the character before: turned, its two fingers bent
FACINGS = [("KEEP", HEADING), ("MODEL", 1.0)]
RELAXED = tuple(2 * math.acos(apply.hands("RELAXED")[name][0]) for name in FINGERS)
HANDS = [("KEEP", *BENT), ("TAKE", 0.6, BENT[1]), ("RELAXED", *RELAXED)]


def _turn_and_bend() -> None:
    """The character as no answer leaves it, so that what is kept can be told from what is made."""
    joints = {"pelvis": [math.cos(HEADING / 2), 0, math.sin(HEADING / 2), 0]}
    joints |= {name: [math.cos(a / 2), 0, 0, math.sin(a / 2)] for name, a in zip(FINGERS, BENT, strict=True)}
    bpy.ops.chatpose.apply_pose(target=_rig().name, pose=json.dumps({"joints": joints}), facing="MODEL", hands="KEEP")
    assert _heading() == pytest.approx(HEADING, abs=1e-3) and _bent() == pytest.approx(BENT, abs=1e-3)


def _heading() -> float:
    return 2 * math.asin(rot.twist(apply.read_pose(_rig())["pelvis"], 1)[2])


def _bent() -> list[float]:
    pose = apply.read_pose(_rig())
    return [2 * math.acos(min(1, abs(pose[name][0]))) for name in FINGERS]


def _one_person(settle) -> None:
    bpy.ops.chatpose.pose_from_picture()
    settle()


def _each_person(settle) -> None:
    bpy.ops.chatpose.find_people()
    settle()
    _rig().select_set(True)
    bpy.ops.chatpose.pose_people(choices=[{"name": _rig().name, "person": 2}])
    settle()


@pytest.mark.parametrize("way", [_one_person, _each_person])
@pytest.mark.parametrize(("facing", "turned"), FACINGS)
def test_facing(desk, photo, settle, way, facing, turned):
    _turn_and_bend()
    desk.answer = _answer(turn=1.0)
    _settings().facing = facing
    way(settle)
    assert _angle() == 0.5 and _heading() == pytest.approx(turned, abs=1e-3)


@pytest.mark.parametrize("way", [_one_person, _each_person])
@pytest.mark.parametrize(("hands", "index", "pinky"), HANDS)
def test_hands(desk, photo, settle, way, hands, index, pinky):
    _turn_and_bend()
    desk.answer = _answer(fingers=True)
    _settings().hands = hands
    way(settle)
    assert _angle() == 0.5 and _bent() == pytest.approx([index, pinky], abs=1e-3)


# -- people ----------------------------------------------------------------------------------------------------------


def test_people_are_found_and_one_is_chosen(desk, photo, settle):
    people = {key: value for key, value in _answer().items() if key in {"picture", "people"}}
    desk.answers = [people, _answer(0.7, person=1), _answer(0.4)]
    assert not bpy.ops.chatpose.choose_person.poll() and not bpy.ops.chatpose.pose_people.poll()
    bpy.ops.chatpose.find_people()
    settle()
    assert session.current.answer == "2 people were found." and _angle() == 0
    bpy.ops.chatpose.choose_person(person=2)
    settle()
    assert _settings().person == 2 and _sent(desk)[-1]["person"] == 1 and _angle() == 0.7
    assert image_pose.chosen_person(seen.of(_settings().image).sight, 0) == 1
    bpy.ops.chatpose.choose_person(person=0)
    settle()
    assert _settings().person == 0 and "person" not in _sent(desk)[-1] and _angle() == 0.4


@pytest.mark.parametrize(("count", "begins"), [(0, "Nobody was found"), (1, "One person was"), (3, "3 people were")])
def test_how_many_were_found_is_a_sentence(count, begins):
    said = image_pose.told(count)
    assert said.startswith(begins) and said.endswith(".")


def test_another_picture_chooses_nobody(desk, photo, tmp_path):
    _settings().person = 2
    (tmp_path / "other.png").write_bytes(_png())
    bpy.ops.chatpose.picture_open(filepath=str(tmp_path / "other.png"))
    assert _settings().person == 0


def test_several_people_onto_several_armatures_in_one_undo_step(desk, photo, settle):
    _rig().name = "First"
    bpy.ops.chatpose.add_body()
    second = bpy.context.object
    second.name, second.location.x = "Second", -2.0  # to the left of the first one
    bpy.ops.ed.undo_push(message="Two")
    desk.answers = [_answer(), _answer(0.3, person=0), _answer(0.9, person=1)]
    bpy.ops.chatpose.find_people()
    settle()
    for name in ("First", "Second"):
        bpy.data.objects[name].select_set(True)
    bpy.context.view_layer.update()
    assert bpy.ops.chatpose.pose_people() == {"FINISHED"}
    settle()
    assert session.current.problem is None and session.current.answer == "2 characters were posed."
    assert [request["person"] for request in _sent(desk)[1:]] == [0, 1]
    assert (_angle(bpy.data.objects["Second"]), _angle(bpy.data.objects["First"])) == (0.3, 0.9), "left to left"
    bpy.ops.ed.undo()
    assert (_angle(bpy.data.objects["Second"]), _angle(bpy.data.objects["First"])) == (0, 0)


@pytest.mark.parametrize(("turn", "order"), [(0.0, ["Left", "Right"]), (math.pi, ["Right", "Left"])])
def test_characters_are_counted_from_the_left_of_the_view(desk, turn, order):
    """The button is in the sidebar, whose own region sees nothing."""
    _rig().name = "Right"
    bpy.ops.chatpose.add_body()
    bpy.context.object.name, bpy.context.object.location.x = "Left", -2.0
    bpy.context.view_layer.update()
    seen_from = Matrix.Rotation(turn, 4, "Z")
    space = SimpleNamespace(region_3d=SimpleNamespace(view_matrix=seen_from.inverted()))
    context = SimpleNamespace(selected_objects=list(bpy.data.objects), space_data=space, region_data=None)
    assert [rig.name for rig in image_pose._characters(context)] == order


def test_a_person_that_is_not_there_is_refused(desk, photo, settle):
    bpy.ops.chatpose.find_people()
    settle()
    _rig().select_set(True)
    assert bpy.ops.chatpose.pose_people(choices=[{"name": _rig().name, "person": 5}]) == {"CANCELLED"}
    assert session.current.problem.sentence == "There are only 2 people in the picture."


# -- what can go wrong -----------------------------------------------------------------------------------------------


def _no_person(server, path):
    server.failure = {"code": "no_person", "message": "There is nobody in the picture.", "hint": "Try another one."}


def _not_supported(server, path):
    server.failure = {"code": "image_not_supported", "message": "Nothing that is loaded can look at pictures."}


def _gone(server, path):
    path.unlink()


def _not_a_picture(server, path):
    path.write_bytes(b"hello")


def _huge(server, path):
    path.write_bytes(_png()[:16] + (40_000).to_bytes(4, "big") * 2 + _png()[24:])


def _no_pose(server, path):
    server.answer = _answer() | {"poses": []}


def _broken_sight(server, path):
    server.answer = _answer() | {"people": [{"box": [1]}]}


TROUBLES = [
    (_no_person, "There is nobody in the picture. Try another one."),
    (_not_supported, "Nothing that is loaded can look at pictures."),
    (_gone, "'photo.png' cannot be read: No such file or directory."),
    (_not_a_picture, "'photo.png' is damaged or not a picture; save it again as PNG or JPEG."),
    (_huge, "'photo.png' has 40,000 x 40,000 pixels; make it smaller than 100 million."),
    (_no_pose, "The server answered without a pose; try another picture."),
    (_broken_sight, "cannot be read ('box' is not a list of 4 numbers)"),
]


@pytest.mark.parametrize(("trouble", "says"), TROUBLES, ids=[trouble[0].__name__ for trouble in TROUBLES])
def test_what_goes_wrong_is_one_sentence_and_changes_nothing(desk, photo, settle, trouble, says):
    before, connection = apply.snapshot(_rig()), session.current.connection
    trouble(desk, photo)
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert says in session.current.problem.sentence
    assert apply.snapshot(_rig()) == before and len(_rig().chatpose.messages) == 0
    if trouble is not _broken_sight:
        assert session.current.connection.state == connection.state, "the server is well"


def test_cancel_and_late_answers_change_nothing(desk, photo, settle):
    desk.hold = threading.Event()
    bpy.ops.chatpose.pose_from_picture()
    settle(lambda: session.current.work is not None and session.current.work.stage == "Thinking")
    assert not bpy.ops.chatpose.pose_from_picture.poll(), "one at a time"
    bpy.ops.chatpose.cancel()
    desk.hold.set()
    settle()
    assert _angle() == 0 and session.current.problem.sentence == "Cancelled; nothing was changed."


def test_a_picture_is_needed(desk):
    assert not bpy.ops.chatpose.pose_from_picture.poll() and not bpy.ops.chatpose.picture_clear.poll()


# -- where pictures come from ----------------------------------------------------------------------------------------


def test_a_drop_onto_the_viewport_poses_at_once(desk, tmp_path, settle):
    (tmp_path / "a.png").write_bytes(_png())
    assert bpy.ops.chatpose.picture_drop(filepath=str(tmp_path / "a.png")) == {"FINISHED"}
    settle()
    assert _settings().image.name == "a.png" and _angle() == 0.5


def test_a_drop_that_cannot_be_posed_yet_says_why(desk, photo, settle):
    desk.hold = threading.Event()
    bpy.ops.chatpose.pose_from_picture()
    settle(lambda: session.current.work is not None and session.current.work.stage == "Thinking")
    assert bpy.ops.chatpose.picture_drop(filepath=str(photo)) == {"FINISHED"}
    assert session.current.problem.sentence == "Another answer is on its way: wait for it or cancel it."
    desk.hold.set()
    settle()


def test_what_the_file_handler_takes():
    handler = image_drop.CHATPOSE_FH_picture
    endings = handler.bl_file_extensions.split(";")
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".mp4"} <= set(endings)
    assert all(ending.startswith(".") and ending.isalnum() is False for ending in endings)
    assert not handler.poll_drop(bpy.context), "there is no viewport here"


@pytest.mark.parametrize(("name", "says"), [("a.gif", "a GIF"), ("a.svg", "lines"), ("none.png", "not there")])
def test_a_file_that_is_no_picture_is_refused_at_once(desk, tmp_path, name, says):
    assert bpy.ops.chatpose.picture_open(filepath=str(tmp_path / name)) == {"CANCELLED"}
    assert says in session.current.problem.sentence and _settings().image is None


def test_a_cameras_background(desk):
    assert not bpy.ops.chatpose.picture_from_camera.poll()
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    assert not bpy.ops.chatpose.picture_from_camera.poll()
    image = bpy.data.images.new("Plate", 4, 4)
    camera.data.background_images.new().image = image
    assert bpy.ops.chatpose.picture_from_camera() == {"FINISHED"} and _settings().image == image


COPIED = [
    ("/a/b.png", "/a/b.png"),
    ('"C:\\a b\\c.JPG"', "C:\\a b\\c.JPG"),
    ("file:///a/b%20c.png", "/a/b c.png"),
    ("file:///C:/a/b.png", "C:/a/b.png"),
    ("copy\nfile:///a/b.webp\nfile:///a/c.webp", "/a/b.webp"),
    ("hello", None),
    ("", None),
    ("see https://example.org", None),
]


@pytest.mark.parametrize(("text", "path"), COPIED)
def test_copied_files(text, path):
    assert image_operators.file_in(text) == path


def test_a_copied_bitmap_is_kept_in_the_file(desk, settle, monkeypatch):
    """X11's clipboard, which Blender does not paste; the real one is tested in the window."""
    data = _png(size=(9, 7))
    program = (sys.executable, "-c", f"import sys; sys.stdout.buffer.write({data!r})")
    monkeypatch.setattr(image_operators.clipboard, "is_x11", lambda environment: True)
    monkeypatch.setattr(image_operators.clipboard, "command", lambda: program)
    bpy.ops.ed.undo_push(message="Start")
    assert bpy.ops.chatpose.picture_from_clipboard() == {"FINISHED"}
    assert bpy.ops.chatpose.picture_from_clipboard() == {"CANCELLED"}, "one is being read"
    settle()
    image = _settings().image
    assert image.name == "Clipboard" and tuple(image.size) == (9, 7) and bytes(image.packed_file.data) == data
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert base64.b64decode(_sent(desk)[0]["image"].partition(",")[2]) == data and _angle() == 0.5
    bpy.ops.ed.undo()
    assert _settings().image.name == "Clipboard" and _angle() == 0
    bpy.ops.ed.undo()
    assert _settings().image is None, "the picture is one step"


def test_an_empty_clipboard_is_one_sentence(desk, monkeypatch):
    monkeypatch.setattr(image_operators.clipboard, "is_x11", lambda environment: False)
    assert bpy.ops.chatpose.picture_from_clipboard() == {"CANCELLED"}
    assert session.current.problem.sentence == image_operators.clipboard.NOTHING and _settings().image is None


def test_the_render_as_it_is_now(desk, settle):
    scene = bpy.context.scene
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x = scene.render.resolution_y = 32
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.render.render()
    before = (scene.render.image_settings.file_format, scene.render.image_settings.color_mode)
    assert bpy.ops.chatpose.picture_from_render() == {"FINISHED"}
    assert (scene.render.image_settings.file_format, scene.render.image_settings.color_mode) == before
    image = _settings().image
    assert tuple(image.size) == (32, 32) and image.packed_file is not None
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert _sent(desk)[0]["image"].startswith("data:image/jpeg") and _angle() == 0.5


def _painted(dirty=True) -> bpy.types.Image:
    image = bpy.data.images.new("Painted", 5, 4)
    image.pixels.foreach_set(np.tile(np.array([1, 0.5, 0, 1], np.float32), 20))
    return image


def test_painted_pixels_are_sent_as_they_are_seen(desk, settle):
    _settings().image = _painted()
    bpy.ops.chatpose.pose_from_picture()
    settle()
    data = base64.b64decode(_sent(desk)[0]["image"].partition(",")[2])
    assert pictures.read_header(data) == pictures.Header("png", 5, 4)


def test_the_viewports_picture_is_kept_in_the_file(desk):
    image_operators._pack_view(None, _png(size=(9, 7)))
    image = _settings().image
    assert tuple(image.size) == (9, 7) and bytes(image.packed_file.data) == _png(size=(9, 7))
    assert not bpy.ops.chatpose.picture_from_viewport.poll(), "there is no window to look at"


def test_a_photo_on_its_side_is_shown_upright(desk, settle, tmp_path, monkeypatch):
    upright = image_sources.folder() / "upright.png"
    upright.write_bytes(_png(size=(6, 8)))
    (tmp_path / "phone.jpg").write_bytes(_png(size=(8, 6)))
    bpy.ops.chatpose.picture_open(filepath=str(tmp_path / "phone.jpg"))
    sent = pictures.Picture(pictures.data_url(upright.read_bytes(), "png"), upright)
    monkeypatch.setattr(pictures, "from_file", lambda path, convert: sent)
    bpy.ops.ed.undo_push(message="Start")
    bpy.ops.chatpose.pose_from_picture()
    settle()
    shown = seen.shown_now(_settings().image)
    assert shown != _settings().image and tuple(shown.size) == (6, 8) and shown.packed_file is not None
    bpy.ops.ed.undo()
    assert _angle() == 0 and seen.shown_now(_settings().image) == _settings().image, "copy and pose are one step"
    assert tuple(seen.shown(_settings().image).size) == (6, 8), "and the copy comes back when it is needed"


SEQUENCES = [("shot_0001.png", 12, "shot_0012.png"), ("shot7.jpg", 10, "shot10.jpg"), ("photo.png", 3, "photo.png")]


@pytest.mark.parametrize(("name", "frame", "found"), SEQUENCES)
def test_a_sequences_files(tmp_path, name, frame, found):
    assert image_sources.frame_file(tmp_path / name, frame) == tmp_path / found


def test_the_other_blender_turns_and_reads(desk, tmp_path):
    """For real: a second Blender makes an upright JPEG of a TIFF."""
    source = bpy.data.images.new("Source", 8, 4)
    values = np.zeros((4, 8, 4), np.float32)
    values[..., 3] = 1
    values[:, :4, 0] = 1  # red on the left
    source.pixels.foreach_set(values.ravel())
    source.file_format = "TIFF"
    source.save(filepath=str(tmp_path / "scan.tif"))
    converter = image_sources.converting()(threading.Event())
    copy = bpy.data.images.load(str(converter.picture(tmp_path / "scan.tif", 6)))
    assert tuple(copy.size) == (4, 8), "turned to the right by a quarter"
    pixels = np.array(copy.pixels[:]).reshape(8, 4, 4)
    assert pixels[6, 1, 0] > 0.8 and pixels[1, 1, 0] < 0.2, "left has become the top"


def test_the_other_blender_reads_movies_and_sequences(desk, tmp_path):
    """For real: a movie of a dark and a bright frame is made, taken apart, and the same from numbered pictures."""
    for number, value in ((7, 20), (8, 220)):
        (tmp_path / f"shot_{number:04d}.png").write_bytes(_png(value, (64, 48)))
    _film(tmp_path / "shot_0007.png", "shot_0008.png", tmp_path / "film.mp4")
    for file, wanted in (("film.mp4", range(1, 9)), ("shot_0008.png", range(7, 12))):
        counts: list[int] = []
        converter = image_sources.converting()(threading.Event())
        frames_read = converter.movie(tmp_path / file, wanted, counts.append)
        assert counts == [1, 2], "both end where nothing is left"
        for path, value in zip(frames_read, (20, 220), strict=True):
            picture = bpy.data.images.load(str(path))
            picture.reload()
            assert tuple(picture.size) == (64, 48) and picture.pixels[0] * 255 == pytest.approx(value, abs=12)
            bpy.data.images.remove(picture)
    copy, small = converter.still(tmp_path / "film.mp4", 2)
    assert pictures.read_header(copy.read_bytes()) == pictures.Header("jpeg", 64, 48)
    assert small.shape == (48, 64, 3) and small.mean() == pytest.approx(220, abs=12)
    no_more = replace(converter, command=("nothing",))
    assert no_more.still(tmp_path / "film.mp4", 2)[0] == copy, "a frame is read once"


def _film(first, second: str, file) -> None:
    scene = bpy.data.scenes.new("Film")
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_image("Shots", str(first), channel=1, frame_start=1)
    strip.elements.append(second)
    strip.frame_final_duration = 2
    render = scene.render
    scene.frame_start, scene.frame_end = 1, 2
    render.resolution_x, render.resolution_y, render.resolution_percentage = 64, 48, 100
    scene.view_settings.view_transform = "Standard"
    if hasattr(render.image_settings, "media_type"):
        render.image_settings.media_type = "VIDEO"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
    render.filepath, render.use_file_extension = str(file), False
    bpy.ops.render.render(animation=True, scene=scene.name)
    assert file.exists()


def test_a_sequence_begins_with_its_files_number(desk, tmp_path):
    for name, number in (("shot_1001.png", 1001), ("photo.png", 1)):
        (tmp_path / name).write_bytes(_png())
        bpy.ops.chatpose.picture_open(filepath=str(tmp_path / name))
        assert _settings().first_frame == number


# -- the camera ------------------------------------------------------------------------------------------------------

FOCAL = 900.0


def _pictured(rig, rotation, location, size=SIZE) -> dict[str, list[float]]:
    """Where a camera in Blender's world sees the rig's joints, in the picture's pixels."""
    bones = posing.bones_by_joint(rig)
    world = [rig.matrix_world @ rig.pose.bones[bones[name][0]].head for name in cameras.POINTS]
    flat = cameras.project(np.array(rotation), np.array(location), np.array(world)) * FOCAL + np.divide(size, 2)
    return {name: [*xy, 1.0] for name, xy in zip(cameras.POINTS, flat.tolist(), strict=True)}


def _looking(turn: float, tilt: float) -> np.ndarray:
    """A camera in SMPL-X's frame, turned about y and tilted about its own x."""
    return rot.multiply(rot.from_rotvec((0, turn, 0)), rot.from_rotvec((tilt, 0, 0)))


@pytest.mark.parametrize("facing", ["KEEP", "MODEL"])
@pytest.mark.parametrize("resolution", [(1920, 1080), (600, 800), (400, 1000)])
def test_the_matched_camera_sees_the_body_where_the_picture_has_it(desk, photo, settle, facing, resolution):
    rig = _rig()
    rig.location, rig.rotation_euler.z = (2.0, -1.0, 0.0), 0.7
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = resolution
    _settings().facing = facing
    turn, answered = 0.6, _looking(0.3, -0.1)
    desk.answer = _answer(0.8, turn=turn)
    bpy.ops.chatpose.pose_from_picture()
    settle()
    bpy.context.view_layer.update()
    # The truth: the same camera in Blender's world, beside the body as it stands there now.
    heading = rot.from_rotvec((0, turn if facing == "MODEL" else 0.0, 0))
    shift = rot.multiply(heading, rot.conjugate(rot.from_rotvec((0, turn, 0))))
    world = rot.multiply(rot.from_rotvec((0, 0, 0.7)), rot.from_matrot(frames.Z_UP))
    rotation = rot.multiply(rot.multiply(world, shift), answered)
    location = np.array((2.0, -1.0, 0.9)) + rot.rotate(rotation, (0.1, 0.1, 3.5))
    desk.answer = _answer(
        0.8,
        turn=turn,
        keypoints=_pictured(rig, rotation, location),
        camera={
            "width": SIZE[0], "height": SIZE[1], "focal_px": FOCAL, "location": [0, 1, 3], "rotation": answered.tolist()
        },
    )  # fmt: skip
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert bpy.ops.chatpose.match_camera() == {"FINISHED"}
    camera = _settings().camera
    assert scene.camera == camera and np.allclose(camera.location, location, atol=0.01)
    background = camera.data.background_images[0]
    assert background.image == _settings().image and background.frame_method == "FIT"
    # Blender's own projection, and the picture as it is fitted into the frame: they must overlap.
    bpy.context.view_layer.update()
    scale = min(resolution[0] / SIZE[0], resolution[1] / SIZE[1])
    for name, (x, y, _) in _pictured(rig, rotation, location).items():
        bone = posing.bones_by_joint(rig)[name][0]
        at = world_to_camera_view(scene, camera, rig.matrix_world @ rig.pose.bones[bone].head)
        frame = Vector((at.x * resolution[0], at.y * resolution[1]))
        wanted = Vector((resolution[0] / 2 + (x - SIZE[0] / 2) * scale, resolution[1] / 2 - (y - SIZE[1] / 2) * scale))
        assert (frame - wanted).length < 1.5, name


def test_matching_makes_one_camera_and_is_undone_in_one_step(desk, photo, settle):
    mine = bpy.data.objects.new("Mine", bpy.data.cameras.new("Mine"))
    bpy.context.scene.collection.objects.link(mine)
    bpy.context.scene.camera = mine
    rotation, location = rot.from_matrot(frames.Z_UP), np.array((0.0, -4.0, 1.0))
    points = _pictured(_rig(), rotation, location)
    camera = {"width": 600, "height": 800, "focal_px": FOCAL, "location": [0, 0, 0], "rotation": [1, 0, 0, 0]}
    desk.answer = _answer(0.0, keypoints=points, camera=camera)
    bpy.ops.chatpose.pose_from_picture()
    settle()
    bpy.ops.ed.undo_push(message="Start")
    for _ in range(2):
        assert bpy.ops.chatpose.match_camera("EXEC_DEFAULT", True) == {"FINISHED"}
    assert len(bpy.data.cameras) == 2 and bpy.context.scene.camera.name == "Mine", "the artist's camera stays"
    assert len(_settings().camera.data.background_images) == 1
    bpy.ops.ed.undo()
    bpy.ops.ed.undo()
    assert [camera.name for camera in bpy.data.cameras] == ["Mine"]


BLIND = [
    ({"left_wrist": [1, 2, 1]}, "Too little of the body"),
    ({name: [10, 10, 0.1] for name in cameras.POINTS}, "Too little of the body"),
]


@pytest.mark.parametrize(("points", "says"), BLIND)
def test_a_camera_that_cannot_be_found(desk, photo, settle, points, says):
    camera = {"width": 600, "height": 800, "focal_px": FOCAL, "location": [0, 0, 0], "rotation": [1, 0, 0, 0]}
    desk.answer = _answer(keypoints=points, camera=camera)
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert bpy.ops.chatpose.match_camera() == {"CANCELLED"}
    assert says in session.current.problem.sentence and not bpy.data.cameras


def test_no_camera_without_an_estimate(desk, photo, settle):
    assert not bpy.ops.chatpose.match_camera.poll()
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert not bpy.ops.chatpose.match_camera.poll(), "the server named no camera"


# -- points ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def correction(desk, photo, settle):
    bpy.ops.ed.undo_push(message="Start")
    bpy.ops.chatpose.pose_from_picture()
    settle()
    bpy.ops.ed.undo_push(message="Posed")
    session.current.tool = image_points.begin(bpy.context)
    yield session.current.tool
    session.current.tool = None


def test_a_dragged_point_is_solved_at_once_and_kept_as_one_undo_step(desk, correction, settle):
    desk.answers = [_answer(0.7), _answer(0.9)]
    correction.move("left_wrist", 150, 260)
    assert correction.points()["left_wrist"] == (150, 260, 1.0)
    correction.drop()
    settle()
    assert _sent(desk)[-1]["keypoints"] == {"left_wrist": [150, 260]} and _sent(desk)[-1]["person"] == 0
    assert _angle() == 0.7, "shown at once"
    correction.move("right_wrist", -50, 9999)
    correction.drop()
    settle()
    assert _sent(desk)[-1]["keypoints"] == {"left_wrist": [150, 260], "right_wrist": [0, 800]}, "inside the picture"
    assert correction.keep() and session.current.tool is None
    assert _angle() == 0.9 and seen.of(_settings().image).corrections.keys() == {"left_wrist", "right_wrist"}
    bpy.ops.ed.undo()
    assert _angle() == 0.5, "one step back to the pose before correcting"


def test_esc_brings_everything_back(desk, correction, settle):
    before, known = correction.before, seen.of(_settings().image)
    desk.answer = _answer(0.7)
    correction.move("left_wrist", 150, 260)
    correction.drop()
    settle()
    assert _angle() == 0.7
    correction.restore()
    assert apply.snapshot(_rig()) == before and seen.of(_settings().image) == known


def test_points_go_back_one_by_one(desk, correction, settle):
    for x in (10, 20):
        correction.move("left_wrist", x, 5)
        correction.drop()
        settle()
    correction.undo()
    settle()
    assert _sent(desk)[-1]["keypoints"] == {"left_wrist": [10, 5]}
    correction.let_go("left_wrist")
    settle()
    assert "keypoints" not in _sent(desk)[-1] and not correction.corrections


def test_a_newer_point_overtakes_the_one_that_is_asked_about(desk, correction, settle):
    desk.hold = threading.Event()
    desk.answers = [_answer(0.1), _answer(0.9)]
    correction.move("left_wrist", 10, 5)
    correction.drop()
    settle(lambda: len(_sent(desk)) == 2)
    correction.move("left_wrist", 20, 5)
    correction.drop()
    settle(lambda: len(_sent(desk)) == 3)
    desk.hold.set()
    settle()
    assert _angle() == 0.9


def test_a_failed_correction_keeps_the_last_pose(desk, correction, settle):
    desk.failure = {"code": "model_failed", "message": "The model failed."}
    correction.move("left_wrist", 10, 5)
    correction.drop()
    settle()
    assert _angle() == 0.5 and session.current.problem.sentence == "The model failed."
    assert not correction.keep(), "there is nothing to keep"
    assert _angle() == 0.5


def test_undo_ends_correcting(desk, correction, settle):
    bpy.ops.ed.undo()
    assert session.current.tool is None


def test_nothing_else_is_asked_while_points_are_corrected(desk, correction):
    assert not bpy.ops.chatpose.pose_from_picture.poll() and not bpy.ops.chatpose.correct_points.poll()


SHEETS = [((100, 50, 400, 300), (200, 100), (100, 100, 400, 200)), ((0, 0, 100, 100), (50, 100), (25, 0, 50, 100))]


@pytest.mark.parametrize(("inside", "size", "sheet"), SHEETS)
def test_a_picture_is_fitted_into_the_middle(inside, size, sheet):
    assert image_points.fitted(image_points.Sheet(*inside), size) == image_points.Sheet(*sheet)


def test_places_in_the_picture_and_on_the_screen():
    sheet = image_points.Sheet(100, 50, 300, 400)
    assert tuple(sheet.to_region((0, 0), SIZE)) == (100, 450), "the picture's first pixel is its upper left one"
    for point in ((0, 0), (600, 800), (12.5, 700)):
        assert sheet.to_picture(sheet.to_region(point, SIZE), SIZE) == pytest.approx(point, abs=1e-3)


def test_the_nearest_point_is_meant(correction):
    sheet = image_points.Sheet(0, 0, 600, 800)
    assert image_points.point_at(correction, sheet, Vector((104, 597)), 1.0) == "left_wrist"
    assert image_points.point_at(correction, sheet, Vector((250, 597)), 1.0) == ""


# -- movies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def reel(desk, tmp_path, monkeypatch):
    """A movie whose frames are there without a second Blender: what reads it is tested above and in the window."""
    image = bpy.data.images.new("reel.mp4", 4, 4)
    image.source = "MOVIE"
    image.filepath_raw = str(tmp_path / "reel.mp4")
    _settings().image = image
    asked = []

    def movie(converter, file, frames, report):
        asked.append((file.name, frames))
        files = []
        for i, frame in enumerate(frames):
            files.append(converter.folder / f"frame{frame}.png")
            files[-1].write_bytes(_png())
            report(i + 1)
        return files

    monkeypatch.setattr(image_motion.image_sources.Converter, "movie", movie)
    return asked


def _at(frame) -> float:
    bpy.context.scene.frame_set(frame)
    return _angle()


def test_a_movie_becomes_smooth_keys_in_one_undo_step(desk, reel, settle):
    bpy.ops.ed.undo_push(message="Start")
    settings = _settings()
    settings.first_frame, settings.frames, settings.smooth = 5, 4, 0.4
    bpy.context.scene.frame_set(10)
    desk.answers = [
        *(_answer(a, fingers=True) for a in (0.1, 0.5, 0.2, 0.4)),
        {"poses": [_arm(a) for a in (1, 2, 3, 4)]},
    ]
    told = []
    bpy.ops.chatpose.motion_from_picture()
    settle(lambda: told.append(session.current.work) if session.current.work else True)
    asking = [work for work in told if work.title != "Reading the Movie"]
    assert {work.stage for work in asking} >= {*(f"Frame {i} of 4" for i in range(1, 5)), "Smoothing"}
    shares = [work.fraction for work in asking]
    assert shares == sorted(shares) and not any("Looking for" in work.stage for work in asking)
    assert session.current.problem is None and reel == [("reel.mp4", range(5, 9))]
    *asked, last = _sent(desk)
    assert [request["task"] for request in asked] == ["pose"] * 4 and all(r["image"] for r in asked)
    assert last["task"] == "denoise" and last["strength"] == pytest.approx(0.4) and last["fps"] == 24
    assert [round(_at(frame), 2) for frame in (10, 11, 12)] == [1.0, 2.0, 3.0]
    bpy.ops.ed.undo()
    rig = _rig()
    assert rig.animation_data is None or rig.animation_data.action is None


@pytest.mark.parametrize(("facing", "turned"), FACINGS)
@pytest.mark.parametrize(("hands", "index", "pinky"), HANDS)
def test_a_movies_facing_and_hands(desk, reel, settle, facing, turned, hands, index, pinky):
    """Kept is where the character faces at the first frame; from there on it turns as the person does."""
    _turn_and_bend()
    settings = _settings()
    settings.frames, settings.smooth, settings.facing, settings.hands = 2, 0.0, facing, hands
    desk.answers = [_answer(0.1, turn=1.0, fingers=True), _answer(0.4, turn=1.3, fingers=True)]
    bpy.ops.chatpose.motion_from_picture()
    settle()
    for frame, angle, heading in ((1, 0.1, turned), (2, 0.4, turned + 0.3)):
        assert _at(frame) == angle and _heading() == pytest.approx(heading, abs=2e-3)
        assert _bent() == pytest.approx([index, pinky], abs=1e-3)
    paths = " ".join(curve.data_path for curve in keyframes.curves_of(_rig()))
    assert ("left_index1" in paths, "left_pinky1" in paths) == (hands != "KEEP", hands == "RELAXED")


def test_frames_without_anybody_and_between_steps_are_filled_in(desk, reel, settle, monkeypatch):
    settings = _settings()
    settings.frames, settings.step, settings.smooth = 3, 2, 0.0
    desk.answers = [_answer(0.0), _answer(9.0), _answer(0.8)]
    take = desk._look

    def look(job, wait):
        answer = take(job, wait)
        if job == "job1":  # the second frame
            answer.body.update(state="failed", error={"code": "no_person", "message": "Nobody."})
        return answer

    monkeypatch.setattr(desk, "_look", look)
    bpy.ops.chatpose.motion_from_picture()
    settle()
    assert session.current.answer.startswith("Keyed 5 frames. In 1 of the pictures nobody")
    assert [_at(frame) for frame in range(1, 6)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8], abs=2e-3)


def test_the_same_person_is_followed(desk, reel, settle):
    settings = _settings()
    settings.frames, settings.smooth, settings.person = 2, 0.0, 2
    swapped = [BOXES[1], BOXES[0]]
    desk.answers = [
        _answer(0.1, person=1),
        _answer(0.9, person=1, boxes=swapped),
        _answer(0.3, person=0, boxes=swapped),
    ]
    bpy.ops.chatpose.motion_from_picture()
    settle()
    assert [request.get("person") for request in _sent(desk)] == [1, None, 0]
    assert (_at(1), _at(2)) == (0.1, 0.3)


def test_a_movie_is_cancelled_between_frames(desk, reel, settle):
    _settings().frames = 20
    bpy.ops.chatpose.motion_from_picture()
    settle(lambda: len(_sent(desk)) > 3)
    bpy.ops.chatpose.cancel()
    settle()
    assert len(_sent(desk)) < 20 and _rig().animation_data is None
    assert session.current.problem.sentence == "Cancelled; nothing was changed."


@pytest.mark.parametrize("reason", ["nobody", "lost"])
def test_a_movie_that_fails_changes_nothing(desk, reel, settle, reason):
    _settings().frames = 3
    code = "no_person" if reason == "nobody" else "model_failed"
    desk.failure = {"code": code, "message": "The model failed."}
    bpy.ops.chatpose.motion_from_picture()
    settle()
    says = "Nobody is seen" if reason == "nobody" else "The model failed."
    assert says in session.current.problem.sentence and _rig().animation_data is None


def test_a_still_has_no_motion(desk, photo):
    assert not bpy.ops.chatpose.motion_from_picture.poll()


def test_too_many_frames_are_refused(desk, reel):
    _settings().frames, _settings().step = 300, 2
    assert bpy.ops.chatpose.motion_from_picture() == {"CANCELLED"}
    assert "more than the 500" in session.current.problem.sentence


BOX = (0, 0, 10, 10)


@pytest.mark.parametrize(
    ("other", "share"), [(BOX, 1), ((5, 0, 15, 10), 1 / 3), ((20, 0, 30, 10), 0), ((0, 0, 5, 10), 0.5)]
)
def test_overlap_of_boxes(other, share):
    assert image_motion.overlap(BOX, other) == pytest.approx(share)


def test_esc_while_a_movie_is_taken(desk, reel, settle):
    """What the running operator does with events; in the window the keys are real."""
    operator, ended = image_motion.CHATPOSE_OT_motion_from_picture, []
    running = SimpleNamespace(_end=ended.append)
    running.cancel = lambda context: operator.cancel(running, context)
    _settings().frames = 20
    bpy.ops.chatpose.motion_from_picture()
    settle(lambda: len(_sent(desk)) > 2)
    for kind, value in (("MOUSEMOVE", "NOTHING"), ("ESC", "RELEASE"), ("TIMER", "NOTHING")):
        event = SimpleNamespace(type=kind, value=value)
        assert operator.modal(running, bpy.context, event) == {"PASS_THROUGH"} and not ended
    assert operator.modal(running, bpy.context, SimpleNamespace(type="ESC", value="PRESS")) == {"CANCELLED"}
    assert ended and session.current.work is None and _rig().animation_data is None
    assert session.current.problem.sentence == "Cancelled; nothing was changed."
    after = operator.modal(running, bpy.context, SimpleNamespace(type="ESC", value="PRESS"))
    assert after == {"FINISHED", "PASS_THROUGH"}, "a later Esc is not its own"


def test_what_is_seen_is_forgotten_with_the_file(desk, photo, settle):
    bpy.ops.chatpose.pose_from_picture()
    settle()
    assert seen.of(_settings().image) is not None
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert seen._current is None and targets.target(bpy.context) is None
