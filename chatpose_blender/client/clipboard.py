"""The picture on the clipboard where Blender cannot paste it: under X11, read by a Python of its own.

Worker threads only: the program that owns the clipboard may take its time. Knows no bpy.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import x_selection
from .picture import PictureError

LIMIT_SECONDS: Final = 15.0  # a large picture takes its owner a second to encode; one that hangs never answers
_LOOK_SECONDS: Final = 0.1
_SAVE: Final = "save it as a file and open that."
NOTHING: Final = f"The clipboard holds no picture that can be read; copy one, or {_SAVE}"
NO_WAY: Final = f"Blender cannot paste a picture on this system; {_SAVE}"
SILENT: Final = f"The program that holds the copied picture does not give it; {_SAVE}"


def is_x11(environment: Mapping[str, str]) -> bool:
    """Whether an X11 clipboard can be asked; under Wayland it is XWayland's copy of the desktop's."""
    return sys.platform.startswith(("linux", "freebsd")) and bool(environment.get("DISPLAY"))


def command() -> tuple[str, ...]:
    """What runs x_selection.py."""
    return (sys.executable, "-I", str(Path(x_selection.__file__)))


def read(program: tuple[str, ...], stopped: threading.Event, limit: float = LIMIT_SECONDS) -> bytes:
    """The bytes of the picture's file, as its owner encodes it. Raises PictureError."""
    try:
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise PictureError(NO_WAY, str(error)) from error
    end = time.monotonic() + limit
    with process:
        while True:
            try:
                data, said = process.communicate(timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired as error:
                if stopped.is_set() or time.monotonic() > end:
                    process.kill()
                    process.communicate()
                    raise PictureError("Cancelled; nothing was changed." if stopped.is_set() else SILENT) from error
    if process.returncode == 0 and data:
        return data
    if process.returncode == x_selection.NO_PICTURE:
        raise PictureError(NOTHING)
    raise PictureError(NO_WAY, said.decode("utf-8", "replace")[-500:])
