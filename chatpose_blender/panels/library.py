"""The library: what was posed in any file, as pictures, with search and stars."""

import bpy

from .. import history, pictures
from ..operators.library import PAGE
from .sidebar import ChildPanel, columns, draw_text, draw_words

_CELL = 68  # pixels at scale 1
_PICTURE_SCALE = 3.0
_NAME = 12  # characters of a prompt that fit under a picture


class CHATPOSE_PT_library(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_library"
    bl_label = "Library"

    def draw(self, context: bpy.types.Context) -> None:
        layout, view, known = self.layout, context.window_manager.chatpose, history.current
        row = layout.row(align=True)
        row.prop(view, "search", text="", icon="VIEWZOOM")
        row.prop(view, "only_starred", text="", icon="SOLO_ON")
        if known.problem:
            draw_text(context, layout, f"{known.problem}.", "ERROR")
        found = known.matching(view.search, view.only_starred)
        if not found:
            self._draw_nothing(context, view)
            return
        pages = (len(found) - 1) // PAGE + 1
        page = min(view.page, pages - 1)
        grid = layout.grid_flow(row_major=True, columns=columns(context, _CELL), even_columns=True, align=True)
        for entry in found[page * PAGE : (page + 1) * PAGE]:
            cell = grid.column(align=True)
            cell.template_icon(icon_value=pictures.icon(entry.pose), scale=_PICTURE_SCALE)
            name = entry.prompt if len(entry.prompt) <= _NAME else f"{entry.prompt[: _NAME - 1]}…"
            icon, chosen = ("SOLO_ON" if entry.starred else "NONE"), entry.id == view.entry
            button = cell.operator("chatpose.library_apply", text=name, icon=icon, depress=chosen, translate=False)
            button.entry = entry.id
        if pages > 1:
            row = layout.row(align=True)
            row.operator("chatpose.library_page", text="", icon="TRIA_LEFT").step = -1
            row.label(text=f"{page + 1} / {pages}", translate=False)
            row.operator("chatpose.library_page", text="", icon="TRIA_RIGHT").step = 1
        self._draw_chosen(context, known.get(view.entry))
        layout.operator("chatpose.save_asset", icon="ASSET_MANAGER")
        layout.operator("chatpose.library_clear", icon="TRASH")

    def _draw_nothing(self, context: bpy.types.Context, view: bpy.types.PropertyGroup) -> None:
        if history.current.is_reading:
            draw_text(context, self.layout, "Reading the library", "INFO")
        elif len(history.current) and (view.search or view.only_starred):
            draw_text(context, self.layout, "No pose has all of these words", "INFO")
        else:
            draw_text(context, self.layout, "Every pose that is made appears here, in every file", "INFO")

    def _draw_chosen(self, context: bpy.types.Context, entry: history.Entry | None) -> None:
        if entry is None:
            return
        box = self.layout.box()
        draw_words(context, box, entry.prompt)
        row = box.row(align=True)
        row.operator("chatpose.library_star", icon="SOLO_ON" if entry.starred else "SOLO_OFF").entry = entry.id
        row.operator("chatpose.library_words", icon="COPYDOWN").entry = entry.id
        row.operator("chatpose.library_remove", text="", icon="X").entry = entry.id


CLASSES = (CHATPOSE_PT_library,)
