"""Add SMPL-X Body: a T-posed armature with a skinned mesh, ready to be posed. Shape Body: another figure."""

import threading
from collections.abc import Callable, Iterator

import bpy
from bpy.app.translations import pgettext_iface
from bpy.props import FloatVectorProperty

from .. import preferences, session
from ..client.http import ClientError
from ..rig import apply, body
from . import targets
from .polls import Explains
from .ticks import OverTicks

LIMIT = 3.0  # betas are in standard deviations; beyond three lie few people


def reading(context: bpy.types.Context, then: Callable[[], object]) -> bool:
    """Lets a thread read the body file if nobody has yet, and calls ``then`` afterwards; whether it does.

    Scripts, and artists who wait for an answer, get the file at once.
    """
    path = preferences.body_file(context)
    if bpy.app.background or body.is_loaded(path) or session.current.work is not None:
        return False

    def read(report: Callable[[str, float], None], stop: threading.Event) -> body.BodyFile:
        try:
            return body.load_body(path)
        except body.BodyFileError as error:
            raise ClientError(str(error)) from error

    def go_on(work: session.Work, _: body.BodyFile) -> None:
        with session.in_window():
            then()

    session.run("Reading the body", read, None, go_on)
    return True


class CHATPOSE_OT_add_body(OverTicks, Explains, bpy.types.Operator):
    bl_idname = "chatpose.add_body"
    bl_label = "Add SMPL-X Body"
    bl_description = "Add a character with SMPL-X's skeleton at the 3D cursor"
    bl_options = {"REGISTER", "UNDO"}
    errors = (body.BodyFileError,)

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if context.mode == "OBJECT" else "Go back to Object Mode first"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if reading(context, lambda: bpy.ops.chatpose.add_body("INVOKE_DEFAULT", True)):
            return {"CANCELLED"}  # it comes back when the file has been read, and makes its undo step then
        return super().invoke(context, event)

    def status(self) -> str:
        return pgettext_iface("Adding the body    Esc: Cancel")

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        yield from body.making(context, body.load_body(preferences.body_file(context)))


class CHATPOSE_OT_shape_body(Explains, bpy.types.Operator):
    bl_idname = "chatpose.shape_body"
    bl_label = "Shape Body"
    bl_description = "Make the character taller, heavier or older, with the body file's own shapes"
    bl_options = {"REGISTER", "UNDO"}

    betas: FloatVectorProperty(
        name="Shape",
        description="How far from the average body, in standard deviations",
        size=body.MAX_SHAPES,
        min=-LIMIT,
        max=LIMIT,
        options={"SKIP_SAVE"},
    )

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        armature = targets.target(context)
        if armature is not None and apply.is_smplx(armature) and context.mode in {"OBJECT", "POSE"}:
            return ""
        return "Select a body that ChatPose added, in Object or Pose Mode"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if reading(context, lambda: bpy.ops.chatpose.shape_body("INVOKE_DEFAULT")):
            return {"CANCELLED"}
        self.betas = targets.target(context).chatpose.betas
        return context.window_manager.invoke_props_dialog(self)

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        try:
            body.shape_body(context, armature, body.load_body(preferences.body_file(context)), self.betas)
        except body.BodyFileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        armature.chatpose.betas = self.betas
        apply.apply_pose(context, armature, apply.read_pose(armature), apply.Options(facing="MODEL"))
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """A slider for each shape, under the file's own name for it."""
        column = self.layout.column()
        for i, name in enumerate(body.load_body(preferences.body_file(context)).shape_names):
            column.prop(self, "betas", index=i, text=name.replace("_", " ").title(), slider=True, translate=False)


CLASSES = (CHATPOSE_OT_add_body, CHATPOSE_OT_shape_body)
