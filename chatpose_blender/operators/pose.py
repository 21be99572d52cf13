"""Prompt -> pose: sends the words and applies the answer when it comes. Refine, Regenerate, Describe, Cancel."""

import json

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import conversation, preferences, session
from ..client.contract import DescribeRequest, Pose, PoseRequest, Result
from ..rig import posing
from . import candidates, targets
from .apply_pose import settings_of


def busy() -> str:
    """Why nothing new can be asked at this moment, for a tooltip; "" when it can."""
    if session.current.work is not None:
        return "Another answer is on its way: wait for it or cancel it"
    if session.current.browser is not None:
        return "Choose one of the candidates first: Enter keeps it, Esc brings back the old pose"
    return ""


def can_ask(cls: type[bpy.types.Operator], context: bpy.types.Context, task: str = "pose", more: str = "") -> bool:
    """The poll of everything that asks the server about the character."""
    reason = targets.refusal(targets.target(context)) or preferences.refusal(context) or busy() or more
    known = session.current.connection.capabilities.tasks
    if not reason and known and task not in known:
        reason = "The server that is running cannot do this: update it"
    if reason:
        cls.poll_message_set(reason)
    return not reason


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
    refine: BoolProperty(
        name="Refine",
        description="Change the character's present pose instead of making a new one",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context)

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.refine:
            return "Change the character's present pose as the prompt says, and keep the rest of it"
        return cls.bl_description

    def execute(self, context: bpy.types.Context) -> set[str]:
        prompt = (self.prompt or context.scene.chatpose.prompt).strip()
        limit = session.current.connection.capabilities.max_prompt
        if not prompt:
            return self._refuse("The prompt is empty; write what the character should do.")
        if len(prompt) > limit:
            return self._refuse(f"The prompt has {len(prompt):,} characters; shorten it to {limit:,} or fewer.")
        armature = targets.target(context)
        request = PoseRequest(
            prompt,
            messages=conversation.turns(armature) if self.refine else (),
            current=Pose(posing.read(armature)) if self.refine else None,
            candidates=context.scene.chatpose.candidates,
        )
        ask(context, "Refining" if self.refine else "Posing", request, armature)
        return {"FINISHED"}

    def _refuse(self, sentence: str) -> set[str]:
        session.fail(sentence)
        self.report({"WARNING"}, sentence)
        return {"CANCELLED"}


class CHATPOSE_OT_describe(bpy.types.Operator):
    bl_idname = "chatpose.describe"
    bl_label = "Describe Pose"
    bl_description = "Ask the server to put the character's present pose into words"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context, "describe")

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        request = DescribeRequest(Pose(posing.read(armature)))
        session.begin(
            preferences.endpoint(context), "Describing", request, session.Target.of(armature), _note_description
        )
        return {"FINISHED"}


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


def ask(context: bpy.types.Context, title: str, request: PoseRequest, armature: bpy.types.Object) -> None:
    """Sends a request for poses; the answer goes onto this rig and into its conversation."""
    session.begin(preferences.endpoint(context), title, request, session.Target.of(armature), apply_answer)


def apply_answer(work: session.Work, result: Result) -> None:
    """Puts the pose of an answer on the rig that was meant, as one undo step; several are stepped through first."""
    armature = found(work)
    if armature is None:
        return
    request = work.request
    prompt = request.prompt if isinstance(request, PoseRequest) else work.title
    if len(result.poses) > 1:
        candidates.begin(armature, result, prompt)
    elif result.poses:
        settings = settings_of(bpy.context.scene.chatpose)
        if isinstance(request, PoseRequest) and request.current is not None:
            settings["facing"] = "MODEL"  # the model was shown where the character faces, and may have turned it
        put(armature, result.poses[0], prompt=prompt, result=result, **settings)
    elif result.text:
        note(armature, prompt, result)
    else:
        session.fail("The server answered without a pose; say what the body should do.")


def found(work: session.Work) -> bpy.types.Object | None:
    """The rig that a job was for, or None with the reason in the panel."""
    armature = None if work.target is None else work.target.find()
    if armature is None:
        name = work.target.name if work.target else ""
        session.fail(f"'{name}' is no longer in the scene; the pose was not applied.")
    return armature


def put(armature: bpy.types.Object, pose: Pose, *, prompt: str, result: Result, **settings: object) -> None:
    """One undo step: a pose on a rig, and what was said in its conversation."""
    with session.in_window():
        bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT",
            True,
            pose=json.dumps(pose.to_json()),
            target=armature.name,
            prompt=prompt,
            text=result.text,
            seed=result.seed,
            model=result.model,
            **settings,
        )


def note(armature: bpy.types.Object, prompt: str, result: Result) -> None:
    """One undo step: words alone, in a character's conversation."""
    with session.in_window():
        bpy.ops.chatpose.add_message(
            "EXEC_DEFAULT", True, target=armature.name, prompt=prompt, text=result.text, model=result.model
        )


def _note_description(work: session.Work, result: Result) -> None:
    armature = found(work)
    if armature is not None:
        note(armature, "What is the character doing?", result)


CLASSES = (CHATPOSE_OT_pose, CHATPOSE_OT_describe, CHATPOSE_OT_cancel)
