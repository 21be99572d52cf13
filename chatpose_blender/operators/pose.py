"""Prompt -> pose: sends the words and applies the answer when it comes. Cancel."""

import json

import bpy
from bpy.props import StringProperty

from .. import preferences, session
from ..client.contract import PoseRequest, Result
from . import targets
from .apply_pose import settings_of


class CHATPOSE_OT_pose(bpy.types.Operator):
    bl_idname = "chatpose.pose"
    bl_label = "Pose"
    bl_description = "Ask the server for a pose that does what the prompt says, and put it on the character"
    bl_options = {"REGISTER"}  # the answer's own operator makes the undo step

    prompt: StringProperty(
        name="Prompt",
        description="What the character should do. Empty takes the prompt from the panel",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = targets.refusal(targets.target(context)) or preferences.refusal(context)
        if session.current.work is not None:
            reason = "Another pose is on its way: wait for it or cancel it"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        prompt = (self.prompt or context.scene.chatpose.prompt).strip()
        limit = session.current.connection.capabilities.max_prompt
        if not prompt:
            return self._refuse("The prompt is empty; write what the character should do.")
        if len(prompt) > limit:
            return self._refuse(f"The prompt has {len(prompt):,} characters; shorten it to {limit:,} or fewer.")
        armature = targets.target(context)
        session.begin(
            preferences.endpoint(context),
            "Posing",
            PoseRequest(prompt),
            session.Target.of(armature),
            apply_answer,
        )
        return {"FINISHED"}

    def _refuse(self, sentence: str) -> set[str]:
        session.fail(sentence)
        self.report({"WARNING"}, sentence)
        return {"CANCELLED"}


class CHATPOSE_OT_cancel(bpy.types.Operator):
    bl_idname = "chatpose.cancel"
    bl_label = "Cancel"
    bl_description = "Stop waiting for the answer. Nothing in the scene changes"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.current.work is None:
            cls.poll_message_set("Nothing is under way")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.cancel()
        return {"FINISHED"}


def apply_answer(work: session.Work, result: Result) -> None:
    """Puts the best pose of an answer on the rig that was meant, as one undo step."""
    if not result.poses:
        if not result.text:
            session.fail("The server answered without a pose; say what the body should do.")
        return
    armature = None if work.target is None else work.target.find()
    if armature is None:
        name = work.target.name if work.target else ""
        session.fail(f"'{name}' is no longer in the scene; the pose was not applied.")
        return
    context = bpy.context
    windows = context.window_manager.windows
    place = {"window": windows[0]} if windows and context.window is None else {}
    with context.temp_override(**place):
        bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT",
            True,
            pose=json.dumps(result.poses[0].to_json()),
            target=armature.name,
            **settings_of(context.scene.chatpose),
        )


CLASSES = (CHATPOSE_OT_pose, CHATPOSE_OT_cancel)
