"""A character's conversation, kept on its armature in the .blend file. Knows no server and draws nothing.

Whatever changes it is called from an operator that makes an undo step, so undo takes words and pose back together.
"""

import json
import re

import bpy

from .client.contract import ContractError, Pose, Turn

MAX_MESSAGES = 200  # a long day's work; the oldest that is not starred goes first
MAX_TURNS_SENT = 8  # what the model is reminded of; small models lose the thread over more


def add_answer(
    armature: bpy.types.Object,
    *,
    prompt: str,
    text: str,
    pose: str = "",
    seed: int = 0,
    model: str = "",
    before: str = "",
) -> None:
    """Appends what was asked and what was answered, and shows the answer. ``before``: the pose that was changed."""
    character = armature.chatpose
    asked = character.messages.add()
    asked.role, asked.text = "user", prompt
    answered = character.messages.add()
    answered.role, answered.text, answered.prompt = "assistant", text, prompt
    answered.pose, answered.seed, answered.model, answered.before = pose, seed, model, before
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
    return read_pose(message.pose)


def read_pose(text: str) -> Pose | None:
    """A pose from the wire's JSON; None where there is none or it is damaged."""
    try:
        return Pose.from_json(json.loads(text)) if text else None
    except (ValueError, ContractError, RecursionError):
        return None


_ASKS = re.compile(
    r"(what|what's|whats|where|where's|which|who|how|is|are|does|do|has|have)\b(?! about\b| if\b)", re.IGNORECASE
)
_DESCRIBES = re.compile(
    r"(describe|tell me about)\s+((the|this|her|his|their|my|current|present)\s+)*(pose|her|him|them|it)[\s.!?]*$",
    re.IGNORECASE,
)
_DOING = re.compile(r"what('s| is| are)\s+(s?he|they|it|this|the\s+\w+)\s+doing[\s.!?]*$", re.IGNORECASE)


def asks_about_pose(prompt: str) -> bool:
    """Whether words ask about the pose instead of asking for one: "what is she doing?", "describe the pose".

    English, as the model is. A wish in the form of a question ("can she sit?", "how about a squat?") is a wish.
    """
    words = prompt.strip()
    if _DESCRIBES.match(words) or _DOING.match(words):
        return True
    return words.endswith("?") and _ASKS.match(words) is not None
