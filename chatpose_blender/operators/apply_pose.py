"""Puts a pose on a rig as one undo step; its properties are the redo panel. Key at Current Frame."""

import json
from collections.abc import Iterable

import bpy
from bpy.props import IntProperty, StringProperty

from .. import conversation
from ..applying import options_of
from ..client.contract import ContractError, Pose
from ..properties import APPLY_NAMES, ApplySettings
from ..rig import keyframes, keying, posing
from . import targets
from .polls import Explains, OnCharacter


class CHATPOSE_OT_apply_pose(Explains, ApplySettings, bpy.types.Operator):
    bl_idname = "chatpose.apply_pose"
    bl_label = "Apply Pose"
    bl_description = "Put a pose on the character"
    bl_options = {"REGISTER", "UNDO"}

    pose: StringProperty(name="Pose", description="The pose as JSON", options={"HIDDEN", "SKIP_SAVE"})
    target: StringProperty(
        name="Character", description="Armature that takes the pose", options={"HIDDEN", "SKIP_SAVE"}
    )
    prompt: StringProperty(name="Prompt", description="What was asked for", options={"HIDDEN", "SKIP_SAVE"})
    text: StringProperty(name="Answer", description="What the model said", options={"HIDDEN", "SKIP_SAVE"})
    seed: IntProperty(name="Seed", description="The seed of the answer", options={"HIDDEN", "SKIP_SAVE"})
    model: StringProperty(name="Model", description="Which model answered", options={"HIDDEN", "SKIP_SAVE"})

    before: StringProperty(
        name="Pose Before", description="The pose that the words changed, as JSON", options={"HIDDEN", "SKIP_SAVE"}
    )

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if context.mode in {"OBJECT", "POSE"} else "Go back to Object or Pose Mode first"

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
            done = posing.put(context, armature, pose.joints, options_of(armature, self))
            spoken = pose.joints.keys() & posing.bones_by_joint(armature).keys() if not done.bones else ()
        except posing.RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not done.bones and not spoken:
            self.report({"ERROR"}, "The pose says nothing of this character's joints.")
            return {"CANCELLED"}
        for sentence in done.notes:
            self.report({"WARNING"}, sentence)
        if not done.bones:
            self.report({"WARNING"}, "No bone changed: the pose says nothing of this part")
        elif self.insert_key or context.scene.tool_settings.use_keyframe_insert_auto:
            try:
                insert_keys(context, armature, done.bones, automatic=not self.insert_key)
                key_switches(context, armature, done.switched)
            except keyframes.KeyframeError as error:  # the pose is there all the same
                self.report({"WARNING"}, str(error))
        if self.prompt:
            conversation.add_answer(
                armature,
                prompt=self.prompt,
                text=self.text,
                pose=self.pose,
                seed=self.seed,
                model=self.model,
                before=self.before,
            )
        return {"FINISHED"}

    def draw(self, context: bpy.types.Context) -> None:
        """The redo panel."""
        layout = self.layout
        layout.use_property_split = True
        for name in APPLY_NAMES:
            layout.prop(self, name)


class CHATPOSE_OT_key_pose(OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.key_pose"
    bl_label = "Key at Current Frame"
    bl_description = "Insert keyframes for the character's whole pose at the current frame"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        bones = tuple(dict.fromkeys(bone for owned in posing.bones_by_joint(armature).values() for bone in owned))
        try:
            count = insert_keys(context, armature, bones)
        except keyframes.KeyframeError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not count:
            self.report({"WARNING"}, "The active keying set holds nothing of this pose, so nothing was keyed")
            return {"CANCELLED"}
        self.report({"INFO"}, f"Keyed {len(bones)} bones at frame {context.scene.frame_current}")
        return {"FINISHED"}


def insert_keys(
    context: bpy.types.Context, armature: bpy.types.Object, bones: Iterable[str], *, automatic: bool = False
) -> int:
    """Keys bones at the current frame: rotation in their own mode, and location for the bone that carries the body; ->
    how many curves.

    Only what the active keying set holds, and ``automatic`` what auto-key is set to. Raises KeyframeError, as for an
    action that is linked from another file.
    """
    mover = posing.moving_bone(armature)
    names = tuple(bones)
    moved = [mover] if mover in names else []
    allowed = keying.wanted(context, armature, automatic=automatic)
    return keyframes.write_present(armature, context.scene.frame_current, names, moved, allowed)


def key_switches(context: bpy.types.Context, armature: bpy.types.Object, switched: Iterable[tuple[str, str]]) -> None:
    """Keys what was switched to FK with the pose: a switch that is animated would go back at the next frame."""
    for bone, name in switched:
        armature.pose.bones[bone].keyframe_insert(f'["{name}"]', frame=context.scene.frame_current, group=bone)


CLASSES = (CHATPOSE_OT_apply_pose, CHATPOSE_OT_key_pose)
