"""Check Connection, and what helps when it fails: Copy Details."""

import platform

import bpy

from .. import __package__ as base_package
from .. import preferences, session
from .polls import Explains


class CHATPOSE_OT_check_connection(Explains, bpy.types.Operator):
    bl_idname = "chatpose.check_connection"
    bl_label = "Check Connection"
    bl_description = "Look for the server and ask whether it is ready"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return preferences.refusal(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.look(context)
        return {"FINISHED"}


class CHATPOSE_OT_copy_details(Explains, bpy.types.Operator):
    bl_idname = "chatpose.copy_details"
    bl_label = "Copy Details"
    bl_description = "Copy what went wrong, with versions and without your prompts, for a bug report"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if session.current.problem is not None else "Nothing went wrong"

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = details()
        self.report({"INFO"}, "Details copied")
        return {"FINISHED"}


def details() -> str:
    """The last problem with what a maintainer needs to know. Holds no token, prompt or file name."""
    problem, connection = session.current.problem, session.current.connection
    return "\n".join(
        [
            problem.sentence if problem else "",
            problem.details if problem else "",
            f"Connection: {connection.title}, server {connection.version or 'unknown'}",
            f"Blender {bpy.app.version_string}, {platform.system()} {platform.machine()}, {base_package}",
        ]
    )


CLASSES = (CHATPOSE_OT_check_connection, CHATPOSE_OT_copy_details)
