"""What one does with a message: apply its pose again, regenerate, copy, delete. All of it can be undone."""

import json

import bpy
from bpy.props import StringProperty

from .. import conversation, session
from ..applying import settings_of
from ..client.contract import PoseRequest
from . import targets
from .polls import AsksServer, Explains
from .pose import ask, ask_what


class _OnMessage(Explains):
    """Needs a message; with ``needs_pose`` one that came with a pose."""

    needs_pose = False

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        message = conversation.active(targets.target(context))
        if message is None:
            return "There is no message selected"
        if cls.needs_pose and not message.pose:
            return "This message came without a pose: select an answer with one"
        return ""


class CHATPOSE_OT_add_message(bpy.types.Operator):
    bl_idname = "chatpose.add_message"
    bl_label = "Add Answer"
    bl_description = "Add a question and its answer to a character's conversation"
    bl_options = {"INTERNAL", "UNDO"}

    target: StringProperty(name="Character", description="Whose conversation it is", options={"SKIP_SAVE"})
    prompt: StringProperty(name="Prompt", description="What was asked", options={"SKIP_SAVE"})
    text: StringProperty(name="Answer", description="What was answered", options={"SKIP_SAVE"})
    model: StringProperty(name="Model", description="Which model answered", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = context.scene.objects.get(self.target)
        if armature is None or armature.type != "ARMATURE":
            self.report({"ERROR"}, "This character is no longer in the scene.")
            return {"CANCELLED"}
        conversation.add_answer(armature, prompt=self.prompt, text=self.text, model=self.model)
        return {"FINISHED"}


class CHATPOSE_OT_message_apply(_OnMessage, bpy.types.Operator):
    bl_idname = "chatpose.message_apply"
    bl_label = "Apply Again"
    bl_description = "Put this answer's pose on the character once more"
    bl_options = {"INTERNAL"}  # the pose is applied by an operator of its own, which makes the undo step
    needs_pose = True

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        pose = conversation.pose_of(conversation.active(armature))
        if pose is None:
            self.report({"ERROR"}, "The pose of this message is damaged; ask for it again.")
            return {"CANCELLED"}
        bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT",
            True,
            pose=json.dumps(pose.to_json()),
            target=armature.name,
            **settings_of(context.scene.chatpose),
        )
        return {"FINISHED"}


class CHATPOSE_OT_message_regenerate(AsksServer, bpy.types.Operator):
    bl_idname = "chatpose.message_regenerate"
    bl_label = "Regenerate"
    bl_description = "Ask the same again and get another answer"
    bl_options = {"REGISTER"}

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        message = conversation.active(targets.target(context))
        return "" if message and _prompt(message) else "There is no message selected"

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        messages = armature.chatpose.messages
        asked = armature.chatpose.active_message
        prompt = _prompt(messages[asked])
        if messages[asked].role == "assistant" and asked > 0:
            asked -= 1
        answered = next((m for m in list(messages)[asked : asked + 2] if m.role == "assistant"), None)
        before = conversation.read_pose(answered.before) if answered else None
        if conversation.asks_about_pose(prompt) and session.can("describe"):
            ask_what(context, armature, prompt)
            return {"FINISHED"}
        tried = [m.seed for m in messages if m.role == "assistant" and m.prompt == prompt]
        request = PoseRequest(
            prompt,
            messages=conversation.turns(armature, before=asked) if before else (),
            current=before,
            candidates=context.scene.chatpose.candidates,
            seed=max(tried, default=0) + 1,
        )
        ask(context, "Posing Again", request, armature)
        return {"FINISHED"}


class CHATPOSE_OT_message_copy(_OnMessage, bpy.types.Operator):
    bl_idname = "chatpose.message_copy"
    bl_label = "Copy Text"
    bl_description = "Copy this message's words"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = conversation.active(targets.target(context)).text
        self.report({"INFO"}, "Message copied")
        return {"FINISHED"}


class CHATPOSE_OT_message_delete(_OnMessage, bpy.types.Operator):
    bl_idname = "chatpose.message_delete"
    bl_label = "Delete Message"
    bl_description = "Take this message out of the conversation"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        character = targets.target(context).chatpose
        character.messages.remove(character.active_message)
        character.active_message = max(0, min(character.active_message, len(character.messages) - 1))
        return {"FINISHED"}


class CHATPOSE_OT_conversation_clear(_OnMessage, bpy.types.Operator):
    bl_idname = "chatpose.conversation_clear"
    bl_label = "Clear Conversation"
    bl_description = "Take all messages but the starred ones out of the conversation"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        character = targets.target(context).chatpose
        for i in reversed(range(len(character.messages))):
            if not character.messages[i].starred:
                character.messages.remove(i)
        character.active_message = max(0, len(character.messages) - 1)
        session.redraw()
        return {"FINISHED"}


def _prompt(message: bpy.types.PropertyGroup) -> str:
    return message.text if message.role == "user" else message.prompt


CLASSES = (
    CHATPOSE_OT_add_message,
    CHATPOSE_OT_message_apply,
    CHATPOSE_OT_message_regenerate,
    CHATPOSE_OT_message_copy,
    CHATPOSE_OT_message_delete,
    CHATPOSE_OT_conversation_clear,
)
