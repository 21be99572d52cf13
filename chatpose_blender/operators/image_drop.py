"""A picture's file that is dropped onto a 3D viewport: the reference picture from then on, and a pose at once."""

import bpy
from bpy.props import StringProperty

from . import targets
from .image import FILES, MOVIES, load, use
from .image_pose import CHATPOSE_OT_pose_from_picture
from .polls import refuse


class CHATPOSE_OT_picture_drop(bpy.types.Operator):
    bl_idname = "chatpose.picture_drop"
    bl_label = "Pose from Picture"
    bl_description = "Make the file the reference picture and pose the character as the person in it"
    bl_options = {"INTERNAL", "UNDO"}

    filepath: StringProperty(name="File", description="The picture's file", subtype="FILE_PATH", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        image = load(self, self.filepath)
        if image is None:
            return {"CANCELLED"}
        use(context, image)
        if image.source != "MOVIE":
            reason = CHATPOSE_OT_pose_from_picture.refusal(context)
            if reason:  # the picture is there all the same
                refuse(self, f"{reason}.")
            else:
                bpy.ops.chatpose.pose_from_picture()
        return {"FINISHED"}


class CHATPOSE_FH_picture(bpy.types.FileHandler):
    """Pictures dropped onto a 3D viewport. Blender asks which is meant when its own image drop is possible as well."""

    bl_idname = "CHATPOSE_FH_picture"
    bl_label = "Pose from Picture"
    bl_import_operator = "chatpose.picture_drop"
    bl_file_extensions = f"{FILES};{MOVIES}".replace("*", "")

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        is_view = context.area is not None and context.area.type == "VIEW_3D"
        return is_view and not targets.refusal(targets.armature_of(context.active_object))


CLASSES = (CHATPOSE_OT_picture_drop, CHATPOSE_FH_picture)
