"""The ChatPose tab: connection, prompt, progress, answer, problem, and how poses are put on the rig."""

import textwrap

import bpy

from .. import icons, session
from ..client.connection import State
from ..operators import targets

_STATE_ICONS = {
    State.UNKNOWN: "QUESTION",
    State.CHECKING: "SORTTIME",
    State.STARTING: "SORTTIME",
    State.LOADING: "SORTTIME",
    State.READY: "CHECKMARK",
    State.BUSY: "SORTTIME",
    State.OFF: "UNLINKED",
    State.LOST: "UNLINKED",
    State.WRONG_SERVER: "ERROR",
    State.WRONG_VERSION: "ERROR",
    State.WRONG_TOKEN: "LOCKED",
    State.ERROR: "ERROR",
}
_PIXELS_PER_CHARACTER = 7.2  # of the interface font at scale 1, on average
_MAX_LINES = 12


class _SidebarPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "ChatPose"


class CHATPOSE_PT_main(_SidebarPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_main"
    bl_label = "ChatPose"

    def draw_header(self, context: bpy.types.Context) -> None:
        self.layout.label(text="", icon_value=icons.value("chatpose"))

    def draw(self, context: bpy.types.Context) -> None:
        current = session.current
        self._draw_connection(context, current)
        armature = targets.target(context)
        if targets.refusal(armature):
            _text(context, self.layout, f"{targets.refusal(armature)}.", "INFO")
        else:
            self.layout.label(text=armature.name, icon="ARMATURE_DATA", translate=False)
        column = self.layout.column(align=True)
        column.prop(context.scene.chatpose, "prompt", text="", placeholder="A person kneeling, arms raised")
        if current.work is None:
            row = column.row(align=True)
            row.scale_y = 1.4
            row.operator("chatpose.pose", icon_value=icons.value("pose"))
        else:
            self._draw_work(context, column, current.work)
        if current.problem is not None:
            box = self.layout.box()
            _text(context, box, current.problem.sentence, "ERROR")
            box.operator("chatpose.copy_details", icon="COPYDOWN")
        answer = current.work.text if current.work is not None else current.answer
        if answer:
            _text(context, self.layout.box(), answer, "NONE")
        self.layout.operator("chatpose.add_body", icon_value=icons.value("body"))

    def _draw_connection(self, context: bpy.types.Context, current: session.Session) -> None:
        connection = current.connection
        row = self.layout.row(align=True)
        row.label(text=connection.title, icon=_STATE_ICONS[connection.state])
        row.operator("chatpose.check_connection", text="", icon="FILE_REFRESH")
        if connection.is_waiting:
            self.layout.progress(text=connection.text, factor=connection.fraction)
        elif connection.state not in {State.READY, State.CHECKING}:
            _text(context, self.layout, connection.text, "NONE")

    def _draw_work(self, context: bpy.types.Context, column: bpy.types.UILayout, work: session.Work) -> None:
        column.progress(text=f"{work.stage}, {work.seconds:.0f} s", factor=work.fraction)
        column.operator("chatpose.cancel", icon="CANCEL")


class CHATPOSE_PT_apply(_SidebarPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_apply"
    bl_parent_id = "CHATPOSE_PT_main"
    bl_label = "Applying"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        settings = context.scene.chatpose
        for name in ("part", "strength", "facing", "height", "hands", "insert_key"):
            layout.prop(settings, name)
        layout.operator("chatpose.key_pose", icon="KEY_HLT")


def _text(context: bpy.types.Context, layout: bpy.types.UILayout, text: str, icon: str) -> None:
    """A sentence in as many lines as the sidebar's width needs."""
    scale = context.preferences.system.ui_scale
    width = context.region.width if context.region is not None else 300
    characters = max(12, int(width / scale / _PIXELS_PER_CHARACTER) - 6)
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, characters)]
    column = layout.column(align=True)
    column.scale_y = 0.8
    for i, line in enumerate(lines[:_MAX_LINES]):
        column.label(text=line, icon=icon if i == 0 else ("NONE" if icon == "NONE" else "BLANK1"), translate=False)


CLASSES = (CHATPOSE_PT_main, CHATPOSE_PT_apply)
