# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's tests run in Blender as a Python module (bpy 4.2, 4.5, 5.0), without a window.

The extension under test is the staged working tree, enabled as users have it: from a repository, as
`bl_ext.<repo>.chatpose`. Blender's user folder is a fresh one, so no run sees another's settings.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

USER_FOLDER = Path(tempfile.mkdtemp(prefix="chatpose-test-"))
os.environ["BLENDER_USER_RESOURCES"] = str(USER_FOLDER / "blender")  # read once, by "import bpy"

import bpy  # noqa: E402

# isort: split
import addon_utils  # noqa: E402  # exists once bpy is imported

import build_addon  # noqa: E402

REPOSITORY = "dev"
MODULE = f"bl_ext.{REPOSITORY}.{build_addon.ADDON_ID}"

# Staged before collection, so that test modules may import parts of the add-on: from bl_ext.dev.chatpose.rig import ...
build_addon.stage(USER_FOLDER / REPOSITORY / build_addon.ADDON_ID)
bpy.context.preferences.extensions.repos.new(
    name="Dev", module=REPOSITORY, custom_directory=str(USER_FOLDER / REPOSITORY), source="USER"
)
_enabled = addon_utils.enable(MODULE, default_set=True)
_exit_status = 0


@pytest.fixture(scope="session")
def addon():
    """The enabled add-on's package."""
    assert _enabled is not None, "the add-on did not register: see the traceback above"
    return _enabled


@pytest.fixture(autouse=True)
def empty_scene(addon):
    """Every test starts in an empty scene. The preferences stay, and with them the enabled add-on."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)


@pytest.fixture
def pump():
    """Call a timer function by hand until a condition holds: Blender's timers do not fire without a window."""

    def until(condition: Callable[[], object], timer: Callable[[], object], limit: float = 30.0) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"nothing came within {limit} s"
            timer()
            time.sleep(0.01)

    return until


def pytest_sessionfinish(session, exitstatus):
    """Remember how the run ended, for the way out below."""
    global _exit_status
    _exit_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """Leave without Python's ordinary exit: bpy 4.5.15 can hang for ever in its static destructors."""
    shutil.rmtree(USER_FOLDER, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_exit_status)


from flow_fixtures import body, server, settle  # noqa: E402, F401 - fixtures; they need the staged add-on
