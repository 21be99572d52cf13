"""The picture on X11's clipboard: what is said when there is none. The real clipboard is tested in Blender's window."""

from __future__ import annotations

import sys
import threading

import pytest

from chatpose_blender.client import clipboard, x_selection
from chatpose_blender.client.picture import PictureError

GIVES = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 2000)"  # more than a pipe holds


def _program(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def test_the_bytes_come_as_they_are():
    assert clipboard.read(_program(GIVES), threading.Event()) == bytes(range(256)) * 2000


HANGS = "import time; time.sleep(600)"
REASONS = [
    (f"import sys; sys.exit({x_selection.NO_PICTURE})", clipboard.NOTHING),
    (f"import sys; sys.exit({x_selection.NO_DISPLAY})", clipboard.NO_WAY),
    ("1 / 0", clipboard.NO_WAY),
    ("", clipboard.NO_WAY),
    (HANGS, clipboard.SILENT),
]


@pytest.mark.parametrize(("text", "says"), REASONS)
def test_why_there_is_none(text, says):
    with pytest.raises(PictureError) as error:
        clipboard.read(_program(text), threading.Event(), limit=0.0 if text == HANGS else 60.0)
    assert str(error.value) == says and says.endswith(".") and says.count(". ") == 0


def test_no_program_and_cancel():
    with pytest.raises(PictureError, match="cannot paste"):
        clipboard.read(("/none/python",), threading.Event())
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(PictureError, match="Cancelled"):
        clipboard.read(_program(HANGS), stopped)


def test_the_reader_says_that_there_is_no_display(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(PictureError, match="cannot paste") as error:
        clipboard.read(clipboard.command(), threading.Event(), limit=60.0)
    assert "X11" in error.value.details


def test_only_where_there_is_x11(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert clipboard.is_x11({"DISPLAY": ":0"}) and not clipboard.is_x11({"WAYLAND_DISPLAY": "wayland-0"})
    for platform in ("win32", "darwin"):  # a Mac may have XQuartz's
        monkeypatch.setattr(sys, "platform", platform)
        assert not clipboard.is_x11({"DISPLAY": ":0"})
