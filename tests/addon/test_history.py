"""The library across files: remembered, found, starred, put on again; its file bounded, shared and damaged."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict

import bpy
import pytest
from bl_ext.dev.chatpose import history, preferences
from bl_ext.dev.chatpose.operators.library import PAGE
from bl_ext.dev.chatpose.rig import apply

from tests.fake_server import RAISED_ARM

POSE = json.dumps(RAISED_ARM)


def _entry(number: int, **changes) -> history.Entry:
    values = {"prompt": f"pose {number}", "text": "Done.", "seed": number, "model": "fake", "pose": POSE}
    return history.Entry(id=f"id{number}", made=float(number), **{**values, **changes})


@pytest.fixture
def library(addon, tmp_path, pump):
    """An empty library in a folder of its own, with its worker."""
    history.open_in(tmp_path)
    pump(lambda: not history.current.is_reading, history.pump)
    yield history.current
    history.stop()


def _open_again(tmp_path, pump) -> history.History:
    history.open_in(tmp_path)  # waits until everything is written
    pump(lambda: not history.current.is_reading, history.pump)
    return history.current


def test_an_answer_is_remembered_in_every_file(server, library, body, settle, tmp_path, pump):
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    (entry,) = _open_again(tmp_path, pump).matching()
    assert (entry.prompt, entry.text, entry.seed, entry.model) == ("raise an arm", "Here you are.", 1, "fake")
    bpy.ops.chatpose.add_body()
    assert bpy.ops.chatpose.library_apply(entry=entry.id) == {"FINISHED"}
    rig = bpy.context.object
    assert apply.read_pose(rig)["left_shoulder"] == pytest.approx((0.8, 0, 0, 0.6), abs=1e-5)
    assert [message.text for message in rig.chatpose.messages] == ["raise an arm", "Here you are."]
    assert len(history.current) == 1, "what comes out of the library does not go in again"


def test_undo_takes_the_pose_back_and_not_the_memory(server, library, body, settle):
    bpy.ops.ed.undo_push(message="Start")
    bpy.ops.chatpose.pose(prompt="raise an arm")
    settle()
    bpy.ops.ed.undo()
    assert len(history.current) == 1


def test_who_does_not_want_it_is_not_remembered(library, tmp_path):
    preferences.get(bpy.context).remember_poses = False
    history.remember(prompt="raise an arm", text="", seed=1, model="fake", pose=POSE)
    preferences.get(bpy.context).remember_poses = True
    assert len(history.current) == 0 and list(tmp_path.iterdir()) == []


SEARCHES = [
    ("", False, ["b kneels", "a waves"]),
    ("WAVES a", False, ["a waves"]),
    ("kneels waves", False, []),
    ("", True, ["a waves"]),
]


@pytest.mark.parametrize(("words", "only_starred", "found"), SEARCHES)
def test_search_and_star(library, words, only_starred, found):
    library.add(_entry(1, prompt="a waves", starred=True))
    library.add(_entry(2, prompt="b kneels"))
    assert [entry.prompt for entry in library.matching(words, only_starred)] == found


def test_stars_and_endings_are_kept(library, tmp_path, pump):
    for i in range(3):
        library.add(_entry(i))
    bpy.ops.chatpose.library_star(entry="id1")
    bpy.ops.chatpose.library_remove(entry="id0")
    again = _open_again(tmp_path, pump)
    assert [(e.id, e.starred) for e in again.matching()] == [("id2", False), ("id1", True)]
    bpy.ops.chatpose.library_star(entry="id1")
    bpy.ops.chatpose.library_clear()
    assert len(_open_again(tmp_path, pump)) == 0
    assert not bpy.ops.chatpose.library_clear.poll()


def test_two_blenders_share_a_file(library, tmp_path, pump):
    other = history.History(library.path)
    library.add(_entry(1))
    other.add(_entry(2))
    other.close()
    assert {e.id for e in _open_again(tmp_path, pump).matching()} == {"id1", "id2"}


def test_the_main_thread_touches_no_file(addon, tmp_path, pump, monkeypatch):
    main, used = threading.main_thread(), []
    for name in ("read", "_append"):
        real = getattr(history, name)
        monkeypatch.setattr(
            history, name, lambda *args, real=real: (used.append(threading.current_thread() is main), real(*args))[1]
        )
    try:
        library = _open_again(tmp_path, pump)
        library.add(_entry(1))
        library.star("id1", True)
        library.remove(["id1"])
        pump(lambda: history.pump() is None, history.pump)
        assert len(used) == 4 and not any(used)
    finally:
        history.stop()


DAMAGE = [
    b"not json at all",
    b'{"id": "x"',
    b"[]",
    b"null",
    b'{"id": "x", "pose": 3}',
    b'{"id": ["x"], "pose": "{}", "prompt": "", "text": "", "model": "", "seed": 1, "made": 1}',
    b'{"id": "x", "pose": "{}", "prompt": "", "text": "", "model": "", "seed": 1e999, "made": 1}',
    b"\xff\xfe\x00\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_line_costs_its_pose_only(addon, tmp_path, pump, damage):
    path = tmp_path / history.FILE_NAME
    whole = [json.dumps(asdict(_entry(i))).encode() for i in (1, 2)]
    path.write_bytes(b"\n".join([whole[0], damage, whole[1]]) + b"\n")
    try:
        assert [e.id for e in _open_again(tmp_path, pump).matching()] == ["id2", "id1"]
        assert damage in path.with_suffix(".damaged").read_bytes(), "the damaged file is kept beside the new one"
        assert len(path.read_bytes().splitlines()) == 2
    finally:
        history.stop()


def test_the_file_does_not_grow_for_ever(addon, tmp_path, pump, monkeypatch):
    monkeypatch.setattr(history, "MAX_ENTRIES", 5)
    try:
        library = _open_again(tmp_path, pump)
        library.add(_entry(0, starred=True))
        for i in range(1, 200):
            library.add(_entry(i))
        assert [e.id for e in library.matching()] == ["id199", "id198", "id197", "id196", "id0"]
        assert [e.id for e in _open_again(tmp_path, pump).matching()] == ["id199", "id198", "id197", "id196", "id0"]
        assert len((tmp_path / history.FILE_NAME).read_bytes().splitlines()) == 5
    finally:
        history.stop()


def test_a_folder_that_cannot_be_written_is_told_and_poses_are_kept(addon, tmp_path, pump):
    (tmp_path / "file").write_text("no folder")
    history.open_in(tmp_path / "file")
    try:
        pump(lambda: not history.current.is_reading, history.pump)
        history.current.add(_entry(1))
        pump(lambda: history.current.problem, history.pump)
        assert "poses are kept until Blender ends" in history.current.problem and len(history.current) == 1
    finally:
        history.stop()


def test_pages(library):
    for i in range(2 * PAGE + 1):
        library.add(_entry(i))
    view = bpy.context.window_manager.chatpose
    view.page = 0
    pages = []
    for step in (1, 1, 1, -1):
        bpy.ops.chatpose.library_page(step=step)
        pages.append(view.page)
    assert pages == [1, 2, 2, 1]
    view.search = "pose 3"
    assert view.page == 0, "a search begins at its first page"
    view.search = ""


def test_a_pose_that_is_gone(library, server, body):
    with pytest.raises(RuntimeError, match="no longer in the library"):
        bpy.ops.chatpose.library_apply(entry="nobody")
