"""Small pictures of poses for the panels. Drawn from the joints, one in each tick of a timer, never while drawing."""

import hashlib
import json
from collections.abc import Callable, Mapping

import bpy
import bpy.utils.previews
import numpy as np

from . import session
from .client.contract import ContractError, Pose
from .rig import thumbnail

Make = Callable[[], Mapping[str, np.ndarray]]
SIZE = 96  # pixels; a panel shows them at 60 to 120
MAX_PICTURES = 400  # 15 MB; then the oldest half goes
TICK_SECONDS = 0.01

_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_wanted: dict[str, "str | Make"] = {}  # key -> pose as JSON, or what finds a rig's joints; in the order of asking


def load() -> None:
    """Called once when the add-on is enabled."""
    global _previews  # noqa: PLW0603 - a preview collection lives from register to unregister
    _previews = bpy.utils.previews.new()


def unload() -> None:
    """Called once when the add-on is disabled."""
    global _previews  # noqa: PLW0603
    if bpy.app.timers.is_registered(draw_next):
        bpy.app.timers.unregister(draw_next)
    _wanted.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def icon(pose: str) -> int:
    """The picture of a pose (the wire's JSON) for ``icon_value=``; 0 until it is drawn, which is a moment later."""
    if not pose:
        return 0
    return _icon(hashlib.sha1(pose.encode(), usedforsecurity=False).hexdigest(), pose)


def figure(key: str, make: Make) -> int:
    """The picture of a rig, as ``icon``. ``make``: joint -> (3,), y up, facing +z; called once, when it is drawn."""
    return _icon(key, make)


def _icon(key: str, what: str | Make) -> int:
    if _previews is None:
        return 0
    if key in _previews:
        return _previews[key].icon_id
    _wanted.setdefault(key, what)
    if not bpy.app.timers.is_registered(draw_next):
        bpy.app.timers.register(draw_next, first_interval=TICK_SECONDS, persistent=True)
    return 0


def draw_next() -> float | None:
    """One tick: draws one picture that is wanted; None when there are no more."""
    if not _wanted or _previews is None:
        return None
    key = next(iter(_wanted))
    what = _wanted.pop(key)
    if len(_previews) >= MAX_PICTURES:
        for old in list(_previews)[: MAX_PICTURES // 2]:
            del _previews[old]
    picture = _previews.new(key)
    picture.image_size = picture.icon_size = (SIZE, SIZE)
    try:
        places = thumbnail.places_of(Pose.from_json(json.loads(what)).joints) if isinstance(what, str) else what()
        pixels = thumbnail.draw(places, size=SIZE)
        picture.image_pixels_float.foreach_set(pixels.ravel())
        picture.icon_pixels_float.foreach_set(pixels.ravel())
    except (ValueError, ContractError):
        pass  # a damaged pose has an empty picture; whoever applies it is told
    session.redraw()
    return TICK_SECONDS if _wanted else None
