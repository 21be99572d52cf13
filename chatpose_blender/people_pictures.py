"""The reference picture as a thumbnail with the people in it boxed and numbered.

Blender makes the small picture of an image itself, in a thread of its own, once a panel shows it; a timer looks whether
it is there and draws the boxes into a copy. Of a frame of a movie or sequence Blender makes none, nor of any image in
4.2 and 4.3 while the scene is rendered with Workbench: those a second Blender makes of the file; a thread waits for it.
"""

import threading
from dataclasses import dataclass, field

import bpy
import bpy.utils.previews
import numpy as np
from numpy.typing import NDArray

from . import blender_versions, image_sources, seen, session
from .client.contract import Sight
from .client.http import ClientError

TICK_SECONDS = 0.2
PATIENCE = 15  # looks, three seconds, after which Blender will not make one any more
SETTLED = 2  # looks at the same frame before it is read: a number is being dragged until then
WAITING_SHAPE = (144, 256)  # of what is shown while a small picture is made: most films are as wide
MAX_PICTURES = 24
UNSAVED = "An unsaved picture is shown here once it was looked at: press Find People"
_CHOSEN, _OTHER, _INK = (0.25, 0.8, 1.0), (0.95, 0.95, 0.95), (0.05, 0.05, 0.05)
_PLATE, _DOTS = (0.17, 0.17, 0.17, 1.0), (0.6, 0.6, 0.6, 1.0)
_GLYPHS = {
    "0": ("111", "101", "101", "101", "111"), "1": ("010", "110", "010", "010", "111"),
    "2": ("111", "001", "111", "100", "111"), "3": ("111", "001", "111", "001", "111"),
    "4": ("101", "101", "111", "001", "001"), "5": ("111", "100", "111", "001", "111"),
    "6": ("111", "100", "111", "101", "111"), "7": ("111", "001", "001", "010", "010"),
    "8": ("111", "101", "111", "101", "111"), "9": ("111", "101", "111", "001", "111"),
}  # fmt: skip

Pixels = NDArray[np.float32]
"""(H, W, 4), the bottom row first."""


@dataclass(frozen=True)
class Wanted:
    """What the panel would show. ``of``: what the small picture is made from; ``sight``: None before a look."""

    image: tuple[str, int]
    of: str
    frame: int
    sight: Sight | None
    chosen: int

    @property
    def key(self) -> str:
        """Of the picture with its boxes."""
        people = () if self.sight is None else (self.sight.width, self.sight.height, self.sight.people)
        return f"{self.of} {hash(people)} {self.chosen}"


@dataclass
class Reading:
    """A small picture that a thread waits for. ``made`` and ``reason`` are its answer."""

    of: str
    stopped: threading.Event = field(default_factory=threading.Event)
    made: Pixels | None = None
    reason: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, shrink: image_sources.Shrink) -> None:
        """In the thread."""
        try:
            self.made = _opaque(shrink(self.stopped))
        except ClientError as error:
            self.reason = str(error)
        except (OSError, ValueError, MemoryError) as error:
            self.reason = f"The thumbnail cannot be made: {error}."
        finally:
            self.over.set()


_previews: bpy.utils.previews.ImagePreviewCollection | None = None
_wanted: Wanted | None = None
_looks = 0
_reading: Reading | None = None
_made: set[int] = set()  # the images, by uid, of which Blender has made a small picture
_small: dict[str, Pixels] = {}  # those that Blender did not make
_reasons: dict[str, str] = {}  # why there is none


def load() -> None:
    """Called once when the add-on is enabled."""
    global _previews  # noqa: PLW0603 - a preview collection lives from register to unregister
    _previews = bpy.utils.previews.new()


def unload() -> None:
    """Called once when the add-on is disabled."""
    global _previews, _wanted  # noqa: PLW0603
    if bpy.app.timers.is_registered(draw_wanted):
        bpy.app.timers.unregister(draw_wanted)
    _stop_reading()
    _wanted = None
    for known in (_made, _small, _reasons):
        known.clear()
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def icon(image: bpy.types.Image, frame: int, chosen: int) -> int:
    """The picture for ``icon_value=``: with boxes once they are drawn, else Blender's own; 0 until there is one.

    ``frame``: of an image that moves; ``chosen``: the index of the person to mark. For drawing: only asks, the timer
    works.
    """
    global _wanted, _looks
    if _previews is None or bpy.app.background:
        return 0
    wanted = _wanted_of(image, frame, chosen)
    if wanted.key in _previews:
        return _previews[wanted.key].icon_id
    shown = seen.shown_now(image)
    moves = image.source in image_sources.MOVES
    plain = shown.preview.icon_id if not moves and shown.preview is not None else 0
    if wanted.of in _reasons or (wanted.sight is None and wanted.image[1] in _made):
        return plain
    if wanted != _wanted:
        _wanted, _looks = wanted, 0
    if not bpy.app.timers.is_registered(draw_wanted):
        bpy.app.timers.register(draw_wanted, first_interval=0.01, persistent=True)
    own = moves or not blender_versions.draws_thumbnails(bpy.context.scene)
    return _waiting() if own else plain


def retry() -> None:
    """A picture was chosen anew: what could not be read may be there now."""
    _reasons.clear()


def reason(image: bpy.types.Image, frame: int) -> str:
    """Why there is no thumbnail, as a sentence; "" where there is one or where it is still made."""
    return _reasons.get(_wanted_of(image, frame, -1).of, "")


def _wanted_of(image: bpy.types.Image, frame: int, chosen: int) -> Wanted:
    known, moves = seen.of(image), image.source in image_sources.MOVES
    shown = image if moves else seen.shown_now(image)
    sight = known.sight if known is not None and known.sight.people else None
    of = f"{shown.session_uid} {shown.source} {hash(shown.filepath_raw)} {frame if moves else 0}"
    if known is not None and not image_sources.is_stored(shown):  # what was looked at is shown
        of += f" {len(known.picture.url)}"
    return Wanted((shown.name, shown.session_uid), of, frame, sight, chosen if sight is not None else -1)


def draw_wanted() -> float | None:
    """One tick: draws the boxes if the small picture is there; None when there is nothing more to do."""
    global _looks  # noqa: PLW0603
    if _wanted is None or _previews is None:
        return None
    name, uid = _wanted.image
    image = next((each for each in bpy.data.images if each.session_uid == uid), None) or bpy.data.images.get(name)
    if image is None:
        _stop_reading()
        return None
    _looks += 1
    if image.source in image_sources.MOVES:
        return _draw_own(image, _wanted, patience=SETTLED)
    small = _blenders(image)
    if small is None:
        may_come = blender_versions.draws_thumbnails(bpy.context.scene)
        return _draw_own(image, _wanted, patience=PATIENCE if may_come else SETTLED)
    _made.add(uid)
    if _wanted.sight is not None:
        _draw(_wanted, small)
    session.redraw()
    return None


def _draw_own(image: bpy.types.Image, wanted: Wanted, patience: int) -> float | None:
    """The same where Blender makes none: begins to read, and waits; after so many looks."""
    global _reading  # noqa: PLW0603
    if wanted.of in _small:
        _draw(wanted, _small[wanted.of])
        session.redraw()
        return None
    if wanted.of in _reasons:
        return None
    if _reading is not None and _reading.of != wanted.of:
        _stop_reading()
    if _reading is None:
        if _looks < patience:
            session.redraw()  # the panel must show the plain one for Blender to make it
            return TICK_SECONDS
        known = seen.of(image)
        shrink = image_sources.shrinking(image, wanted.frame)
        if shrink is None and known is not None:
            shrink = image_sources.shrinking_sent(known.picture)
        if shrink is None:
            _reasons[wanted.of] = UNSAVED
            session.redraw()
            return None
        _reading = Reading(wanted.of)
        threading.Thread(target=_reading.run, args=(shrink,), name="chatpose", daemon=True).start()
    if not _reading.over.is_set():
        return TICK_SECONDS
    over, _reading = _reading, None
    if over.made is None:
        _reasons[over.of] = over.reason
    else:
        if len(_small) >= MAX_PICTURES:
            _small.clear()
        _small[over.of] = over.made
    session.redraw()
    return 0.0  # drawing gets a tick of its own


def _stop_reading() -> None:
    global _reading  # noqa: PLW0603
    if _reading is not None:
        _reading.stopped.set()
        _reading = None


def _draw(wanted: Wanted, small: Pixels) -> None:
    assert _previews is not None
    if wanted.key in _previews:
        return
    if len(_previews) >= MAX_PICTURES:
        _previews.clear()
    _put(wanted.key, small if wanted.sight is None else boxed(small, wanted.sight, wanted.chosen))


def _put(key: str, drawn: Pixels) -> int:
    """Gives Blender the pixels; -> the icon's number."""
    assert _previews is not None
    picture = _previews.new(key)
    picture.image_size = picture.icon_size = (drawn.shape[1], drawn.shape[0])
    for pixels in (picture.image_pixels_float, picture.icon_pixels_float):
        pixels.foreach_set(drawn.ravel())
    return picture.icon_id


def _waiting() -> int:
    """A plate with three dots, so that the panel does not jump when the picture comes."""
    assert _previews is not None
    if "waiting" in _previews:
        return _previews["waiting"].icon_id
    height, width = WAITING_SHAPE
    drawn = np.empty((height, width, 4), np.float32)
    drawn[:] = _PLATE
    for i in (-1, 0, 1):
        drawn[height // 2 - 4 : height // 2 + 4, width // 2 + 24 * i - 4 : width // 2 + 24 * i + 4] = _DOTS
    return _put("waiting", drawn)


def _blenders(image: bpy.types.Image) -> Pixels | None:
    """What Blender has made; None until then."""
    preview = image.preview_ensure()
    width, height = preview.image_size
    values = np.empty(width * height * 4, np.float32)
    if values.size:
        preview.image_pixels_float.foreach_get(values)
    return values.reshape(height, width, 4) if values.any() else None


def _opaque(colours: NDArray[np.uint8]) -> Pixels:
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], -1).astype(np.float32) / np.float32(255)


def boxed(small: Pixels, sight: Sight, chosen: int) -> Pixels:
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
        if len(sight.people) > 1:
            _number(drawn, str(i + 1), xs[0], ys[1], size, colour)
    return drawn


def _number(drawn: np.ndarray, text: str, x: int, top: int, size: int, colour: tuple[float, ...]) -> None:
    """A number on a plate of its own, on a box's upper left corner; inside, over the head, only where it must be."""
    glyphs = [np.array([[int(c) for c in row] for row in _GLYPHS[digit]][::-1]) for digit in text]
    marks = np.concatenate([np.pad(glyph, ((1, 1), (1, 0))) for glyph in glyphs] + [np.zeros((7, 1), int)], 1)
    plate = np.kron(marks, np.ones((size, size), int))
    low = top if top + plate.shape[0] <= drawn.shape[0] else max(0, top - plate.shape[0])
    x = min(x, max(0, drawn.shape[1] - plate.shape[1]))
    part = drawn[low : low + plate.shape[0], x : x + plate.shape[1]]
    cut = plate[: part.shape[0], : part.shape[1], None] > 0
    part[:] = np.where(cut, np.array((*_INK, 1.0)), np.array(colour))
