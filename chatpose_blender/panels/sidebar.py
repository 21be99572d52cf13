"""What every panel of the tab shares: where it is, and text in lines."""

import textwrap

import bpy

_PIXELS_PER_CHARACTER = 7.2  # of the interface font at scale 1, on average
_MARGIN_CHARACTERS = 6  # icons and the frame
_MAX_LINES = 12


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
    """A sentence in as many lines as the sidebar's width needs."""
    scale = context.preferences.system.ui_scale
    width = context.region.width if context.region is not None else 300
    characters = max(12, int(width / scale / _PIXELS_PER_CHARACTER) - _MARGIN_CHARACTERS)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, characters)]
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES - 1 :] = [lines[_MAX_LINES - 1][: characters - 1] + "…"]
    column = layout.column(align=True)
    column.scale_y = 0.8
    for i, line in enumerate(lines):
        column.label(text=line, icon=icon if i == 0 or icon == "NONE" else "BLANK1", translate=False)
