"""What every panel of the tab shares: where it is, text in lines as wide as the panel, columns of pictures."""

import functools

import blf
import bpy
from bpy.app.translations import pgettext_iface

_FRAME = 38  # pixels at scale 1 that a line does not have: the panel's and the box's edges, and a scroll bar
_BOX = 14  # a box's own edges; without them Blender ends lines in dots
_ICON = 22
_TABS = 20  # the sidebar's own tabs, on its right
_MAX_LINES = 12
_FONT = 0  # the interface's own


class SidebarPanel:
    """In the 3D viewport's sidebar, in our tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "ChatPose"


class ChildPanel(SidebarPanel):
    """Below the main panel, closed until it is wanted."""

    bl_parent_id = "CHATPOSE_PT_main"
    bl_options = {"DEFAULT_CLOSED"}


def draw_text(context: bpy.types.Context, layout: bpy.types.UILayout, text: str, icon: str = "NONE") -> None:
    """A sentence of the interface's, in its language, in as many lines as the sidebar's width needs."""
    draw_words(context, layout, pgettext_iface(text), icon)


def draw_words(context: bpy.types.Context, layout: bpy.types.UILayout, words: str, icon: str = "NONE") -> None:
    """What the artist wrote or the model answered, as it is."""
    room = _width(context) - (_FRAME + _BOX + (_ICON if icon != "NONE" else 0)) * context.preferences.system.ui_scale
    column = layout.column(align=True)
    column.scale_y = 0.8
    for i, line in enumerate(lines_of(context, words, room)):
        column.label(text=line, icon=icon if i == 0 or icon == "NONE" else "BLANK1", translate=False)


def lines_of(context: bpy.types.Context, text: str, room: float) -> tuple[str, ...]:
    """A text in lines of at most ``room`` pixels, as the interface's font draws them."""
    style = context.preferences.ui_styles[0].widget if context.preferences.ui_styles else None
    points = style.points if style is not None else 11.0
    return _wrapped(text, max(40, int(room)), round(points * context.preferences.system.ui_scale, 2))


@functools.lru_cache(maxsize=256)  # panels are drawn many times a second, and say mostly the same
def _wrapped(text: str, room: int, size: float) -> tuple[str, ...]:
    blf.size(_FONT, size)
    lines: list[str] = []
    for part in text.splitlines():
        line = ""
        for word in part.split():
            longer = f"{line} {word}" if line else word
            if blf.dimensions(_FONT, longer)[0] <= room:
                line = longer
                continue
            if line:
                lines.append(line)
            *pieces, line = _broken(word, room)
            lines += pieces
        if line:
            lines.append(line)
    if len(lines) > _MAX_LINES:
        last = lines[_MAX_LINES - 1]
        while last and blf.dimensions(_FONT, f"{last}…")[0] > room:
            last = last[:-1]
        lines[_MAX_LINES - 1 :] = [f"{last}…"]
    return tuple(lines)


def _broken(word: str, room: int) -> list[str]:
    """A word in pieces that fit: few are so long, but Japanese and Chinese have no spaces."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and blf.dimensions(_FONT, pieces[-1] + letter)[0] > room:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def columns(context: bpy.types.Context, cell: float) -> int:
    """How many cells of so many pixels, at scale 1, stand beside each other."""
    scale = context.preferences.system.ui_scale
    return max(2, int((_width(context) - _FRAME * scale) / (cell * scale)))


def _width(context: bpy.types.Context) -> float:
    width = context.region.width if context.region is not None else 300
    return width - _TABS * context.preferences.system.ui_scale
