"""What is done with an answer: onto the rig that was meant, into its conversation, into the library. Asks nothing."""

import json

import bpy

from . import history, session
from .client.contract import Pose, Result


def found(work: session.Work) -> bpy.types.Object | None:
    """The rig that a job was for, or None with the reason in the panel."""
    armature = None if work.target is None else work.target.find()
    if armature is None:
        name = work.target.name if work.target else ""
        session.fail(f"'{name}' is no longer in the scene; the pose was not applied.")
    return armature


def put(
    armature: bpy.types.Object, pose: Pose, *, prompt: str, result: Result, before: str = "", **settings: object
) -> None:
    """One undo step: a pose on a rig, and what was said in its conversation. The library remembers it as well.

    ``before``: the pose that the words changed, as JSON; "" for a new pose.
    """
    text = json.dumps(pose.to_json())
    with session.in_window():
        bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT",
            True,
            pose=text,
            target=armature.name,
            prompt=prompt,
            text=result.text,
            seed=result.seed,
            model=result.model,
            before=before,
            **settings,
        )
    history.remember(prompt=prompt, text=result.text, seed=result.seed, model=result.model, pose=text)


def note(armature: bpy.types.Object, prompt: str, result: Result) -> None:
    """One undo step: words alone, in a character's conversation."""
    with session.in_window():
        bpy.ops.chatpose.add_message(
            "EXEC_DEFAULT", True, target=armature.name, prompt=prompt, text=result.text, model=result.model
        )
