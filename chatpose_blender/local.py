"""This Blender's hold on the pose server of this computer: settings in, buttons' orders through, news out.

Main thread only; the work is done by client/local_server.py in threads. The timer looks into an inbox, asks nobody
anything, and runs only while something is under way or a running server might be lost.
"""

import atexit
import sys
from collections.abc import Callable
from pathlib import Path

import bpy

from . import __package__ as base_package
from . import blender_versions
from .client.http import DEFAULT_ADDRESS
from .client.local_install import Bundle, Settings
from .client.local_server import Diagnosed, LocalServer, Places, Status

TICK_SECONDS = 0.1
IDLE_TICK_SECONDS = 1.0  # while nothing is expected but bad news
_BUNDLE_FOLDER = Path(__file__).parent / "wheels-server"

_server: LocalServer | None = None
_changed: Callable[[], None] | None = None


def server() -> LocalServer:
    """The one object; made on first use, because the folder of an extension is known only once it is enabled."""
    global _server  # noqa: PLW0603 - lives from register to unregister
    if _server is None:
        root = Path(bpy.utils.extension_path_user(base_package, path="server", create=False))
        _server = LocalServer(Places.of(root), Bundle.find(_BUNDLE_FOLDER), sys.executable)
        atexit.register(_server.close)  # should Blender end without disabling its add-ons
    return _server


def status() -> Status:
    """What is known of the server now; free of any look at the disk."""
    return Status() if _server is None else _server.status


def address() -> str:
    """Where it listens, or where one that somebody started by hand would."""
    return status().address or DEFAULT_ADDRESS


def settings_of(preferences: bpy.types.AddonPreferences) -> Settings:
    """The artist's choices for an install."""

    def path(text: str) -> str:
        return bpy.path.abspath(text) if text else ""

    return Settings(preferences.compute, path(preferences.server_python), path(preferences.wheels_folder))


def refusal(preferences: bpy.types.AddonPreferences | None) -> str:
    """Why nothing may be installed now, for a tooltip; "" when it may."""
    if bpy.app.online_access or (preferences is not None and settings_of(preferences).wheels_folder):
        return ""
    if blender_versions.is_online_access_fixed():
        return "Blender was started offline: start it without --offline-mode, or choose a folder of wheels"
    return "Installing needs the network: allow online access in Preferences, System, Network"


def wake() -> None:
    """Something was begun: look for its news."""
    if not bpy.app.timers.is_registered(pump):
        bpy.app.timers.register(pump, first_interval=TICK_SECONDS, persistent=True)
    if _changed is not None:
        _changed()


def pump() -> float | None:
    """One tick; -> seconds until the next, or None when there is nothing to look for."""
    if _server is None:
        return None
    busy = _server.waiting
    for message in _server.drain():
        if isinstance(message, Diagnosed):
            _copy(message.text)
        elif _changed is not None:
            _changed()
    if busy:
        return TICK_SECONDS
    return IDLE_TICK_SECONDS if _server.keeping else None


def _copy(text: str) -> None:
    bpy.context.window_manager.clipboard = text


def start(changed: Callable[[], None]) -> None:
    """Called when the add-on is enabled. ``changed``: called when something new is known."""
    global _changed  # noqa: PLW0603 - as above
    _changed = changed


def stop() -> None:
    """Called when the add-on is disabled or Blender ends: says farewell to the server."""
    global _server, _changed  # noqa: PLW0603 - as above
    if bpy.app.timers.is_registered(pump):
        bpy.app.timers.unregister(pump)
    if _server is not None:
        atexit.unregister(_server.close)
        _server.close()
    _server = _changed = None
