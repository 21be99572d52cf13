"""The add-on's box in Blender's preferences."""

import bpy

from .. import __package__ as base_package
from .. import keymaps, local, preferences
from . import server


class ChatPosePreferences(preferences.Settings, bpy.types.AddonPreferences):
    bl_idname = base_package

    def draw(self, context: bpy.types.Context) -> None:
        """The preferences' box."""
        column = self.layout.column()
        column.use_property_split = True
        column.row().prop(self, "server", expand=True)
        if self.server == "LOCAL":
            self._draw_local(context, column)
        else:
            column.prop(self, "address")
            column.prop(self, "token")
            column.prop(self, "token_file")
        column.prop(self, "check_at_start")
        column.prop(self, "body_file")
        column.prop(self, "remember_poses")
        column.operator("chatpose.check_connection")
        keymaps.draw(self.layout.box())

    def _draw_local(self, context: bpy.types.Context, column: bpy.types.UILayout) -> None:
        server.draw(context, column.box(), local.status())
        server.draw_tools(column, local.status())
        column.prop(self, "start_server")
        for name in ("compute", "server_python", "wheels_folder"):
            column.prop(self, name)


CLASSES = (ChatPosePreferences,)
