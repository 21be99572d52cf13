"""Save as Pose Asset: the pose as it stands, with the words that made it, for Blender's asset library."""

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import blender_versions, conversation
from ..rig import library, posing
from . import targets

_MAX_NAME = 60  # Blender's names hold 63 bytes


class CHATPOSE_OT_save_asset(bpy.types.Operator):
    bl_idname = "chatpose.save_asset"
    bl_label = "Save as Pose Asset"
    bl_description = "Save the character's present pose in this file's asset library, with its prompt and a picture"
    bl_options = {"REGISTER", "UNDO"}

    asset_name: StringProperty(
        name="Name", description="What the asset is called. Empty takes the prompt", options={"SKIP_SAVE"}
    )
    tags: StringProperty(name="Tags", description="More words to find it by, with commas between")
    only_selected: BoolProperty(
        name="Selected Bones Only", description="Save only the bones that are selected in Pose Mode"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = targets.refusal(targets.target(context))
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        message = conversation.active(armature)
        told = message if message is not None and message.pose else None
        origin = library.Origin(
            prompt=told.prompt if told else "",
            seed=told.seed if told else None,
            model=told.model if told else "",
            pose={joint: list(quat) for joint, quat in posing.read(armature).items()},
        )
        chosen = None
        if self.only_selected:
            chosen = [bone.name for bone in armature.pose.bones if blender_versions.is_selected(bone)]
        name = (self.asset_name.strip() or origin.prompt or f"{armature.name} Pose")[:_MAX_NAME]
        try:
            action = library.save_pose(
                armature, name, bones=chosen, origin=origin, tags=self.tags.split(","), rig=posing.fit(armature)
            )
        except (library.LibraryError, *posing.RigError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved the pose asset '{action.name}'; save the file to keep it")
        return {"FINISHED"}


CLASSES = (CHATPOSE_OT_save_asset,)
