"""A character's conversation, kept on its armature in the .blend file. Knows no server and draws nothing.

Whatever changes it is called from an operator that makes an undo step, so undo takes words and pose back together.
"""

import json

import bpy

from .client.contract import ContractError, Pose, Turn

MAX_MESSAGES = 200  # a long day's work; the oldest that is not starred goes first
MAX_TURNS_SENT = 8  # what the model is reminded of; small models lose the thread over more


def add_answer(
    armature: bpy.types.Object, *, prompt: str, text: str, pose: str = "", seed: int = 0, model: str = ""
) -> None:
    """Appends what was asked and what was answered, and shows the answer."""
    character = armature.chatpose
    asked = character.messages.add()
    asked.role, asked.text = "user", prompt
    answered = character.messages.add()
    answered.role, answered.text, answered.prompt = "assistant", text, prompt
    answered.pose, answered.seed, answered.model = pose, seed, model
    while len(character.messages) > MAX_MESSAGES:
        oldest = next((i for i, message in enumerate(character.messages) if not message.starred), None)
        if oldest is None:
            break
        character.messages.remove(oldest)
    character.active_message = len(character.messages) - 1


def active(armature: bpy.types.Object | None) -> bpy.types.PropertyGroup | None:
    """The message that the list shows, if there is one."""
    if armature is None:
        return None
    character = armature.chatpose
    if 0 <= character.active_message < len(character.messages):
        return character.messages[character.active_message]
    return None


def turns(armature: bpy.types.Object, before: int | None = None) -> tuple[Turn, ...]:
    """The last messages as the wire's turns; ``before``: only those above this index. Only the last pose is sent."""
    messages = list(armature.chatpose.messages)[:before][-MAX_TURNS_SENT:]
    last = max((i for i, message in enumerate(messages) if message.pose), default=-1)
    return tuple(
        Turn(message.role, message.text, (pose,) if i == last and (pose := pose_of(message)) else ())
        for i, message in enumerate(messages)
        if message.text
    )


def pose_of(message: bpy.types.PropertyGroup) -> Pose | None:
    """The message's pose; None where there is none or a file's was damaged."""
    try:
        return Pose.from_json(json.loads(message.pose)) if message.pose else None
    except (ValueError, ContractError):
        return None
