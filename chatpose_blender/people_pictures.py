"""The reference picture as a thumbnail with the people in it boxed and numbered.

Blender makes the small picture of an image itself, in a thread of its own, once a panel shows it; a timer looks whether
it is there and draws the boxes into a copy. Where Blender makes none (4.2 and 4.3 while the scene is rendered with
Workbench) it is made of the image's pixels, once.
"""

import bpy
import bpy.utils.previews
import numpy as np

from . import image_sources, seen, session
from .client import picture as pictures
from .client.contract import Sight

TICK_SECONDS = 0.2
MAX_LOOKS = 150  # half a minute; an image that cannot be read never gets a small picture
PATIENCE = 15  # looks, three seconds, after which Blender will not make one any more
SIDE = 256  # pixels of a small picture of our own
MAX_PICTURES = 24
_CHOSEN, _OTHER, _INK = (0.25, 0.8, 1.0), (0.95, 0.95, 0.95), (0.05, 0.05, 0.05)
_GLYPHS = {
    "0": ("111", "101", "101", "101", "111"), "1": ("010", "110", "010", "010", "111"),
    "2": ("111", "001", "111", "100", "111"), "3": ("111", "001", "111", "001", "111"),
    "4": ("101", "101", "111", "001", "001"), "5": ("111", "100", "111", "001", "111"),
    "6": ("111", "100", "111", "101", "111"), "7": ("111", "001", "001", "010", "010"),
    "8": ("111", "101", "111", "101", "111"), "9": ("111", "101", "111", "001", "111"),
}  # fmt: skip

_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_wanted: tuple[str, int, Sight, int] | None = None  # the image's name and uid, what was seen, who is chosen
_looks = 0
_made: set[int] = set()  # the images, by uid, of which Blender has made a small picture


def load() -> None:
    """Called once when the add-on is enabled."""
    global _previews  # noqa: PLW0603 - a preview collection lives from register to unregister
    _previews = bpy.utils.previews.new()


def unload() -> None:
    """Called once when the add-on is disabled."""
    global _previews, _wanted  # noqa: PLW0603
    if bpy.app.timers.is_registered(draw_wanted):
        bpy.app.timers.unregister(draw_wanted)
    _wanted = None
    _made.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def icon(image: bpy.types.Image, chosen: int) -> int:
    """The picture for ``icon_value=``: with boxes once they are drawn, else Blender's own; 0 until there is one.

    ``chosen``: the index of the person to mark. For drawing: only asks, the timer works.
    """
    global _wanted, _looks
    known = seen.of(image)
    shown = seen.shown_now(image)
    if _previews is None or bpy.app.background:
        return 0
    plain = shown.preview.icon_id if shown.preview is not None else 0
    sight = known.sight if known is not None else Sight(1, 1)
    key = _key(shown, sight, chosen)
    if key in _previews:
        return _previews[key].icon_id
    if not sight.people and shown.session_uid in _made:
        return plain
    wanted = (shown.name, shown.session_uid, sight, chosen)
    if wanted != _wanted:
        _wanted, _looks = wanted, 0
    if _looks < MAX_LOOKS and not bpy.app.timers.is_registered(draw_wanted):
        bpy.app.timers.register(draw_wanted, first_interval=0.01, persistent=True)
    return plain


def draw_wanted() -> float | None:
    """One tick: draws the boxes if Blender's small picture is there; None when there is nothing more to do."""
    global _looks  # noqa: PLW0603
    if _wanted is None or _previews is None:
        return None
    name, uid, sight, chosen = _wanted
    image = next((each for each in bpy.data.images if each.session_uid == uid), None) or bpy.data.images.get(name)
    _looks += 1
    if image is None or _looks > MAX_LOOKS:
        return None
    small = _blenders(image)
    if small is None and _looks < PATIENCE:
        session.redraw()  # the panel must show the plain one for Blender to make it
        return TICK_SECONDS
    if small is not None:
        _made.add(uid)
        if not sight.people:
            session.redraw()
            return None
    else:
        small = ours(image)
        if small is None:
            return None
    if len(_previews) >= MAX_PICTURES:
        _previews.clear()
    picture = _previews.new(_key(image, sight, chosen))
    drawn = boxed(small, sight, chosen)
    picture.image_size = picture.icon_size = (drawn.shape[1], drawn.shape[0])
    for pixels in (picture.image_pixels_float, picture.icon_pixels_float):
        pixels.foreach_set(drawn.ravel())
    session.redraw()
    return None


def _blenders(image: bpy.types.Image) -> np.ndarray | None:
    """(H, W, 4), the bottom row first: what Blender has made; None until then."""
    preview = image.preview_ensure()
    width, height = preview.image_size
    values = np.empty(width * height * 4, np.float32)
    if values.size:
        preview.image_pixels_float.foreach_get(values)
    return values.reshape(height, width, 4) if values.any() else None


def ours(image: bpy.types.Image) -> np.ndarray | None:
    """The same of the image's pixels; None for an image without any. Takes as long as Blender needs to decode it."""
    pixels = image_sources.read_pixels(image)
    if pixels.values.size == 0:
        return None
    colours = pictures.to_display(pictures.shrink(pixels.values, SIDE), linear=pixels.linear)
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], -1).astype(np.float32) / 255


def _key(image: bpy.types.Image, sight: Sight, chosen: int) -> str:
    return f"{image.session_uid} {hash((sight.width, sight.height, sight.people))} {chosen}"


def boxed(small: np.ndarray, sight: Sight, chosen: int) -> np.ndarray:
    """(H, W, 4), the bottom row first: a small picture, perhaps with empty edges, with boxes and numbers."""
    drawn = small.copy()
    height, width = drawn.shape[:2]
    scale = min(width / sight.width, height / sight.height)
    left, low = (width - sight.width * scale) / 2, (height - sight.height * scale) / 2
    size = max(2, round(max(width, height) / 100))
    order = [i for i in range(len(sight.people)) if i != chosen] + [chosen]
    for i in order:
        if not 0 <= i < len(sight.people):
            continue
        colour = (*(_CHOSEN if i == chosen else _OTHER), 1.0)
        x0, y0, x1, y1 = sight.people[i].box
        xs = [int(np.clip(left + x * scale, 0, width - 1)) for x in (x0, x1)]
        ys = [int(np.clip(low + (sight.height - y) * scale, 0, height - 1)) for y in (y1, y0)]
        thick = size if i == chosen else max(1, size // 2)
        for part in (
            np.s_[ys[0] : ys[0] + thick, xs[0] : xs[1]],
            np.s_[max(ys[1] - thick, 0) : ys[1], xs[0] : xs[1]],
            np.s_[ys[0] : ys[1], xs[0] : xs[0] + thick],
            np.s_[ys[0] : ys[1], max(xs[1] - thick, 0) : xs[1]],
        ):
            drawn[part] = colour
        _number(drawn, str(i + 1), xs[0], ys[1], size, colour)
    return drawn


def _number(drawn: np.ndarray, text: str, x: int, top: int, size: int, colour: tuple[float, ...]) -> None:
    """A number on a plate of its own, in the upper left corner of a box."""
    glyphs = [np.array([[int(c) for c in row] for row in _GLYPHS[digit]][::-1]) for digit in text]
    marks = np.concatenate([np.pad(glyph, ((1, 1), (1, 0))) for glyph in glyphs] + [np.zeros((7, 1), int)], 1)
    plate = np.kron(marks, np.ones((size, size), int))
    low = max(0, top - plate.shape[0])
    part = drawn[low : low + plate.shape[0], x : x + plate.shape[1]]
    cut = plate[: part.shape[0], : part.shape[1], None] > 0
    part[:] = np.where(cut, np.array((*_INK, 1.0)), np.array(colour))
