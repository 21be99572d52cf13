"""Add SMPL-X Body: a T-posed armature with a skinned mesh, ready to be posed."""

import bpy

from ..rig import body


class CHATPOSE_OT_add_body(bpy.types.Operator):
    bl_idname = "chatpose.add_body"
    bl_label = "Add SMPL-X Body"
    bl_description = "Add a character with SMPL-X's skeleton at the 3D cursor"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode == "OBJECT":
            return True
        cls.poll_message_set("Go back to Object Mode first")
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            file = body.load_body(str(body.STANDIN_FILE))
        except body.BodyFileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        body.make_body(context, file)
        return {"FINISHED"}


CLASSES = (CHATPOSE_OT_add_body,)
