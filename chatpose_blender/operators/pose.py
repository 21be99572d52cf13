"""Prompt -> pose: sends the words and applies the answer when it comes. Refine, Describe, Cancel, a dialog for keys."""

import json

import bpy
from bpy.app.translations import pgettext_tip
from bpy.props import BoolProperty, StringProperty

from .. import conversation, preferences, session
from ..answers import found, note, put
from ..applying import settings_of
from ..client.contract import DescribeRequest, Pose, PoseRequest, Result
from ..rig import posing
from ..rig.target import Target
from . import candidates, targets
from .polls import AsksServer, Explains, refuse

_QUESTION_TO_DESCRIBE = "What is the character doing?"


class CHATPOSE_OT_pose(AsksServer, bpy.types.Operator):
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
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.refine:
            return pgettext_tip("Change the character's present pose as the prompt says, and keep the rest of it")
        return pgettext_tip(cls.bl_description)

    def execute(self, context: bpy.types.Context) -> set[str]:
        prompt = (self.prompt or context.scene.chatpose.prompt).strip()
        limit = session.current.connection.capabilities.max_prompt
        if not prompt:
            return refuse(self, "The prompt is empty; write what the character should do.")
        if len(prompt) > limit:
            return refuse(self, f"The prompt has {len(prompt):,} characters; shorten it to {limit:,} or fewer.")
        armature = targets.target(context)
        if conversation.asks_about_pose(prompt) and session.can("describe"):
            ask_what(context, armature, prompt)
        elif self.refine:
            ask(context, "Refining", refinement(context, armature, prompt), armature)
        else:
            ask(context, "Posing", PoseRequest(prompt, candidates=context.scene.chatpose.candidates), armature)
        return {"FINISHED"}


class CHATPOSE_OT_pose_dialog(AsksServer, bpy.types.Operator):
    bl_idname = "chatpose.pose_dialog"
    bl_label = "Pose from Words"
    bl_description = "Write at the pointer what the character should do; for a key of your own"
    bl_options = {"REGISTER"}

    prompt: StringProperty(name="Prompt", description="What the character should do, in your own words")
    refine: BoolProperty(name="Refine", description="Change the character's present pose instead of making a new one")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_props_dialog(self, width=400)

    def draw(self, context: bpy.types.Context) -> None:
        """The dialog; the words' field has the keyboard at once."""
        self.layout.activate_init = True
        self.layout.prop(self, "prompt", text="")
        self.layout.activate_init = False
        self.layout.prop(self, "refine")

    def execute(self, context: bpy.types.Context) -> set[str]:
        if not self.prompt.strip():
            return {"CANCELLED"}
        context.scene.chatpose.prompt = self.prompt
        return bpy.ops.chatpose.pose(refine=self.refine)


class CHATPOSE_OT_describe(AsksServer, bpy.types.Operator):
    bl_idname = "chatpose.describe"
    bl_label = "Describe Pose"
    bl_description = "Ask the server to put the character's present pose into words"
    bl_options = {"REGISTER"}
    task = "describe"

    def execute(self, context: bpy.types.Context) -> set[str]:
        ask_what(context, targets.target(context), _QUESTION_TO_DESCRIBE)
        return {"FINISHED"}


class CHATPOSE_OT_cancel(Explains, bpy.types.Operator):
    bl_idname = "chatpose.cancel"
    bl_label = "Cancel"
    bl_description = "Stop waiting for the answer. Nothing in the scene changes"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if session.current.work is not None else "Nothing is under way"

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.cancel()
        return {"FINISHED"}


def ask(context: bpy.types.Context, title: str, request: PoseRequest, armature: bpy.types.Object) -> None:
    """Sends a request for poses; the answer goes onto this rig and into its conversation."""
    session.begin(preferences.endpoint(context), title, request, Target.of(armature), apply_answer)


def refinement(context: bpy.types.Context, armature: bpy.types.Object, prompt: str) -> PoseRequest:
    """A change of the pose that the rig shows, with what was said before."""
    now = Pose(posing.read(armature))
    count = context.scene.chatpose.candidates
    return PoseRequest(prompt, messages=conversation.turns(armature), current=now, candidates=count)


def ask_what(context: bpy.types.Context, armature: bpy.types.Object, question: str) -> None:
    """A question about the pose that the rig shows, answered in its conversation; no bone changes."""

    def tell(work: session.Work, result: Result) -> None:
        meant = found(work)
        if meant is not None:
            note(meant, question, result)

    request = DescribeRequest(Pose(posing.read(armature)))
    session.begin(preferences.endpoint(context), "Describing", request, Target.of(armature), tell, question=question)


def apply_answer(work: session.Work, result: Result) -> None:
    """Puts the pose of an answer on the rig that was meant, as one undo step; several are stepped through first."""
    armature = found(work)
    if armature is None:
        return
    request = work.request
    prompt = request.prompt if isinstance(request, PoseRequest) else work.title
    if len(result.poses) > 1:
        candidates.begin(armature, result, prompt, before_of(request))
    elif result.poses:
        settings = settings_of(bpy.context.scene.chatpose)
        if isinstance(request, PoseRequest) and request.current is not None:
            settings["facing"] = "MODEL"  # the model was shown where the character faces, and may have turned it
        put(armature, result.poses[0], prompt=prompt, result=result, before=before_of(request), **settings)
    elif result.text:
        note(armature, prompt, result)
    else:
        session.fail("The server answered without a pose; say what the body should do.")


def before_of(request: object) -> str:
    """The pose that a request's words change, as JSON; "" where they make a new one."""
    current = request.current if isinstance(request, PoseRequest) else None
    return "" if current is None else json.dumps(current.to_json())


CLASSES = (CHATPOSE_OT_pose, CHATPOSE_OT_pose_dialog, CHATPOSE_OT_describe, CHATPOSE_OT_cancel)
