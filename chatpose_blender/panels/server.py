"""The pose server of this computer, as the sidebar and the preferences show it: what it does, and its buttons."""

import bpy

from .. import local, preferences
from ..client.connection import State
from ..client.local_server import Phase, Status
from .sidebar import ChildPanel, draw_text

SHOWN = frozenset({State.NOT_INSTALLED, State.INSTALLING, State.STOPPED})
"""States of the connection of which ``draw_needed`` says all."""
_IDLE = frozenset({Phase.UNKNOWN, Phase.NOT_INSTALLED, Phase.STOPPED, Phase.LOST})


def draw_needed(context: bpy.types.Context, layout: bpy.types.UILayout) -> None:
    """What the artist has to do before there is a server, and nothing once there is one."""
    status = local.status()
    if preferences.is_local(context) and (status.phase in _IDLE or status.at_work) and status.phase != Phase.UNKNOWN:
        draw(context, layout.box(), status)


def draw(context: bpy.types.Context, layout: bpy.types.UILayout, status: Status) -> None:
    """Its state, what a press would do, and the buttons that make sense now."""
    if status.at_work:
        _draw_work(context, layout, status)
    elif status.installed is None and status.phase is not Phase.RUNNING:
        _draw_offer(context, layout, status)
    else:
        _draw_installed(context, layout, status)
    if status.problem:
        draw_text(context, layout, status.problem, "ERROR")
        for line in status.log:
            row = layout.row()
            row.active = False
            row.label(text=line, translate=False)


def _draw_work(context: bpy.types.Context, layout: bpy.types.UILayout, status: Status) -> None:
    layout.progress(text=status.stage, factor=status.fraction)
    column = layout.column(align=True)
    column.active = False
    column.scale_y = 0.7
    for line in status.log:
        column.label(text=line, translate=False)
    if status.phase in {Phase.INSTALLING, Phase.STARTING}:
        layout.operator("chatpose.server_cancel", text="Cancel", icon="CANCEL")


def _draw_offer(context: bpy.types.Context, layout: bpy.types.UILayout, status: Status) -> None:
    if status.plan is not None:
        for line in status.plan.consent():
            draw_text(context, layout, f"{line}.")
    row = layout.row()
    row.scale_y = 1.4
    row.operator("chatpose.server_install", icon="IMPORT")


def _draw_installed(context: bpy.types.Context, layout: bpy.types.UILayout, status: Status) -> None:
    installed = status.installed
    running = status.phase is Phase.RUNNING
    build = "" if installed is None else f" ({installed.build.upper()}, Python {installed.python})"
    text = f"Server {status.version or installed.version}{build}"
    layout.label(text=text, icon="CHECKMARK" if running else "PAUSE", translate=False)
    if running and status.clients > 1:
        layout.label(text=f"Shared by {status.clients} Blenders")
    row = layout.row(align=True)
    if running:
        row.operator("chatpose.server_stop", text="Stop", icon="PAUSE")
        row.operator("chatpose.server_restart", text="Restart", icon="FILE_REFRESH")
        row.operator("chatpose.server_unload", icon="EXPORT")
    else:
        row.scale_y = 1.4
        row.operator("chatpose.server_start", icon="PLAY")
    if status.update:
        layout.operator("chatpose.server_install", text="Update Server", icon="IMPORT")


def draw_tools(layout: bpy.types.UILayout, status: Status) -> None:
    """What helps when something is wrong."""
    row = layout.row(align=True)
    row.operator("chatpose.self_test", icon="CHECKBOX_HLT")
    row.operator("chatpose.copy_diagnostics", icon="COPYDOWN")
    if status.installed is not None:
        layout.operator("chatpose.server_remove", icon="TRASH")


class CHATPOSE_PT_server(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_server"
    bl_label = "Server"

    def draw(self, context: bpy.types.Context) -> None:
        status = local.status()
        if preferences.is_local(context):
            if status.phase is Phase.RUNNING:  # else the main panel shows it
                draw(context, self.layout, status)
        else:
            self.layout.label(text=preferences.endpoint(context).address, icon="URL", translate=False)
        draw_tools(self.layout, status)


CLASSES = (CHATPOSE_PT_server,)
