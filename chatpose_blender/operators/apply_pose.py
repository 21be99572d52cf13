"""Puts a pose on a rig as one undo step; its properties are the redo panel. Key at Current Frame."""

import json

import bpy
from bpy.props import StringProperty

from .. import blender_versions
from ..client.contract import ContractError, Pose
from ..properties import APPLY_NAMES, ApplySettings
from ..rig import apply, smplx
from . import targets


def settings_of(owner: ApplySettings) -> dict[str, object]:
    """The apply settings of a scene or an operator, by name."""
    return {name: getattr(owner, name) for name in APPLY_NAMES}


def options_of(armature: bpy.types.Object, owner: ApplySettings) -> apply.Options:
    """The settings as the rig's options: parts become joints."""
    return apply.Options(
        joints=_joints(armature, owner.part),
        strength=owner.strength,
        mirror=owner.mirror,
        facing=owner.facing,
        turn=owner.turn,
        height=owner.height,
        hands=owner.hands,
    )


class CHATPOSE_OT_apply_pose(ApplySettings, bpy.types.Operator):
    bl_idname = "chatpose.apply_pose"
    bl_label = "Apply Pose"
    bl_description = "Put a pose on the character"
    bl_options = {"REGISTER", "UNDO"}

    pose: StringProperty(name="Pose", description="The pose as JSON", options={"HIDDEN", "SKIP_SAVE"})
    target: StringProperty(
        name="Character", description="Armature that takes the pose", options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if context.mode in {"OBJECT", "POSE"}:
            return True
        cls.poll_message_set("Go back to Object or Pose Mode first")
        return False

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = context.scene.objects.get(self.target) if self.target else targets.target(context)
        reason = targets.refusal(armature)
        if reason:
            self.report({"ERROR"}, f"{reason}.")
            return {"CANCELLED"}
        try:
            pose = Pose.from_json(json.loads(self.pose))
        except (ValueError, ContractError) as error:
            self.report({"ERROR"}, f"This pose cannot be read: {error}.")
            return {"CANCELLED"}
        try:
            bones = apply.apply_pose(context, armature, pose.joints, options_of(armature, self))
        except apply.RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not bones and not pose.joints.keys() & apply.joint_bones(armature).keys():
            self.report({"ERROR"}, "The pose says nothing of this character's joints.")
            return {"CANCELLED"}
        if not bones:
            self.report({"WARNING"}, "No bone changed: the pose says nothing of this part")
        elif self.insert_key:
            insert_keys(armature, bones)
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """The redo panel."""
        layout = self.layout
        layout.use_property_split = True
        for name in APPLY_NAMES:
            layout.prop(self, name)


class CHATPOSE_OT_key_pose(bpy.types.Operator):
    bl_idname = "chatpose.key_pose"
    bl_label = "Key at Current Frame"
    bl_description = "Insert keyframes for the character's whole pose at the current frame"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = targets.refusal(targets.target(context))
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        bones = apply.bind(armature).bones
        insert_keys(armature, bones)
        self.report({"INFO"}, f"Keyed {len(bones)} bones at frame {context.scene.frame_current}")
        return {"FINISHED"}


def insert_keys(armature: bpy.types.Object, bones: tuple[str, ...]) -> None:
    """Keys the rotation of bones in their own mode, and the pelvis' location with it, at the current frame."""
    pelvis = apply.bind(armature).pelvis
    for name in bones:
        bone = armature.pose.bones[name]
        bone.keyframe_insert(apply.rotation_path(bone), group=name)
        if name == pelvis:
            bone.keyframe_insert("location", group=name)


def _joints(armature: bpy.types.Object, part: str) -> frozenset[str] | None:
    if part == "ALL":
        return None
    if part == "SELECTED":
        bones = armature.pose.bones
        by_joint = apply.joint_bones(armature)
        return frozenset(joint for joint, bone in by_joint.items() if blender_versions.is_selected(bones[bone]))
    return smplx.PARTS[part]


CLASSES = (CHATPOSE_OT_apply_pose, CHATPOSE_OT_key_pose)
