"""The tab's first panel: connection, character, prompt, progress, answer, problem; and how poses are applied."""

import functools

import bpy
from bpy.app.translations import pgettext_iface

from .. import conversation as words
from .. import icons, pictures, session
from ..client.connection import State
from ..dragging import Drag
from ..operators import candidates, targets
from ..properties import APPLY_NAMES
from ..rig import posing
from . import conversation, server
from .sidebar import ChildPanel, SidebarPanel, columns, draw_text, draw_words

_STATE_ICONS = {
    State.UNKNOWN: "QUESTION",
    State.CHECKING: "SORTTIME",
    State.NOT_INSTALLED: "IMPORT",
    State.INSTALLING: "SORTTIME",
    State.STOPPED: "PAUSE",
    State.STARTING: "SORTTIME",
    State.LOADING: "SORTTIME",
    State.READY: "CHECKMARK",
    State.BUSY: "SORTTIME",
    State.OFF: "UNLINKED",
    State.LOST: "UNLINKED",
    State.WRONG_SERVER: "ERROR",
    State.TOO_OLD: "ERROR",
    State.TOO_NEW: "ERROR",
    State.WRONG_TOKEN: "LOCKED",
    State.ERROR: "ERROR",
}
_CELL = 84  # pixels of a candidate's picture at scale 1
_PICTURE_SCALE = 4.0


class CHATPOSE_PT_main(SidebarPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_main"
    bl_label = "ChatPose"

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.label(text="", icon_value=icons.value("chatpose"))

    def draw(self, context: bpy.types.Context) -> None:
        current = session.current
        self._draw_connection(context, current)
        armature = targets.target(context)
        refusal = targets.refusal(armature)
        if refusal:
            draw_text(context, self.layout, f"{refusal}.", "INFO")
        else:
            text = f"{armature.name} ({posing.family(armature)})"
            self.layout.label(text=text, icon="ARMATURE_DATA", translate=False)
        self._draw_prompt(context, current)
        if current.problem is not None:
            box = self.layout.box()
            draw_text(context, box, current.problem.sentence, "ERROR")
            box.operator("chatpose.copy_details", icon="COPYDOWN")
        self._draw_answer(context, current, armature)
        self.layout.operator("chatpose.add_body", icon_value=icons.value("body"))

    def _draw_answer(
        self, context: bpy.types.Context, current: session.Session, armature: bpy.types.Object | None
    ) -> None:
        """What was answered, unless this character's conversation below shows it."""
        told = words.active(armature)
        answer = current.work.text if current.work is not None else current.answer
        if answer and not conversation.shows(current.work, armature) and (told is None or told.text != answer):
            draw_words(context, self.layout.box(), answer)

    def _draw_connection(self, context: bpy.types.Context, current: session.Session) -> None:
        connection = current.connection
        row = self.layout.row(align=True)
        row.label(text=connection.title, icon=_STATE_ICONS[connection.state])
        row.operator("chatpose.check_connection", text="", icon="FILE_REFRESH")
        told = current.problem is not None and current.problem.sentence == connection.text
        server.draw_needed(context, self.layout)
        if connection.state in server.SHOWN:
            return
        if connection.is_waiting:
            self.layout.progress(text=connection.text, factor=connection.fraction)
        elif connection.state not in {State.READY, State.CHECKING} and not told:
            draw_text(context, self.layout, connection.text)

    def _draw_prompt(self, context: bpy.types.Context, current: session.Session) -> None:
        column = self.layout.column(align=True)
        column.prop(context.scene.chatpose, "prompt", text="", placeholder="A person kneeling, arms raised")
        if current.work is not None:
            column.progress(text=f"{current.work.stage}, {current.work.seconds:.0f} s", factor=current.work.fraction)
            column.operator("chatpose.cancel", icon="CANCEL")
        elif current.browser is not None:
            self._draw_candidates(context, column, current.browser)
        elif session.running(Drag) is not None:
            row = column.row(align=True)
            row.operator("chatpose.drag_end", icon="CHECKMARK").keep = True
            row.operator("chatpose.drag_end", text="Discard", icon="X").keep = False
        else:
            row = column.row(align=True)
            row.scale_y = 1.4
            row.operator("chatpose.pose", icon_value=icons.value("pose"))
            row = column.row(align=True)
            row.operator("chatpose.pose", text="Refine", icon="MODIFIER").refine = True
            row.prop(context.scene.chatpose, "candidates")
            column.operator("chatpose.drag", icon="CON_KINEMATIC")

    def _draw_candidates(
        self, context: bpy.types.Context, column: bpy.types.UILayout, browser: session.Browser
    ) -> None:
        row = column.row(align=True)
        row.operator("chatpose.candidate_step", text="", icon="TRIA_LEFT").step = -1
        place = {"number": browser.index + 1, "count": len(browser.poses)}
        row.label(text=pgettext_iface("Candidate {number} of {count}").format(**place), translate=False)
        row.operator("chatpose.candidate_step", text="", icon="TRIA_RIGHT").step = 1
        count = min(len(browser.figures), columns(context, _CELL))
        grid = column.grid_flow(row_major=True, columns=count, even_columns=True, align=True)
        for i, key in enumerate(browser.figures):
            cell = grid.column(align=True)
            make = functools.partial(candidates.places, key)
            cell.template_icon(icon_value=pictures.figure(key, make), scale=_PICTURE_SCALE)
            shown = i == browser.index
            button = cell.operator("chatpose.candidate_step", text=str(i + 1), depress=shown, translate=False)
            button.step = i - browser.index
        row = column.row(align=True)
        row.operator("chatpose.candidate_keep", icon="CHECKMARK")
        row.operator("chatpose.candidate_discard", icon="X")


class CHATPOSE_PT_apply(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_apply"
    bl_label = "Applying"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        for name in APPLY_NAMES:
            layout.prop(context.scene.chatpose, name)
        layout.operator("chatpose.key_pose", icon="KEY_HLT")


CLASSES = (CHATPOSE_PT_main, CHATPOSE_PT_apply)
