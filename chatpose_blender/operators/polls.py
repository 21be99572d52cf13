"""Why a button is grey: one poll for all operators, each of which only says its reason. And why one that was pressed
did nothing.
"""

import bpy
from bpy.app.translations import pgettext_tip
from bpy.props import BoolProperty

from .. import preferences, session
from ..correcting import Correction
from ..dragging import Drag
from . import targets


class Explains:
    """A grey button says why: ``refusal`` is one sentence without a full stop, "" when the operator can run."""

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        """Why not, for the tooltip; overridden by every operator that cannot always run."""
        return ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        reason = cls.refusal(context)
        if reason:
            cls.poll_message_set(pgettext_tip(reason))
        return not reason


class OnCharacter(Explains):
    """Needs a rig that can be posed."""

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return targets.refusal(targets.target(context))


class EndsTool(Explains):
    """Ends the tool that runs in a viewport, its pose kept or not."""

    bl_label = "Keep"
    bl_options = {"INTERNAL"}

    keep: BoolProperty(name="Keep", description="Keep the pose instead of bringing the old one back", default=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        # The running operator sees it and ends itself, which makes the undo step.
        session.current.tool.ending = self.keep
        return {"FINISHED"}


class AsksServer(Explains):
    """Asks the server about the character; ``task`` is what the server must be able to do."""

    task = "pose"

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        reason = targets.refusal(targets.target(context)) or preferences.refusal(context) or busy()
        reason = reason or cls.own_refusal(context)
        return reason or ("" if session.can(cls.task) else "The server that is running cannot do this: update it")

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        """What keeps this operator from running besides; overridden by those that need more than a character."""
        return ""


def busy() -> str:
    """Why nothing new can be asked at this moment, for a tooltip; "" when it can."""
    if session.current.work is not None:
        return "Another answer is on its way: wait for it or cancel it"
    if session.current.browser is not None:
        return "Choose one of the candidates first: Enter keeps it, Esc brings back the old pose"
    if session.running(Correction) is not None:
        return "End correcting first: Enter keeps the pose, Esc brings back the old one"
    if session.running(Drag) is not None:
        return "End dragging first: Enter keeps the pose, Esc brings back the old one"
    return ""


def refuse(operator: bpy.types.Operator, sentence: str) -> set[str]:
    """What an operator that was pressed gives back when it can do nothing: the reason, in the panel as well."""
    session.fail(sentence)
    operator.report({"WARNING"}, sentence)
    return {"CANCELLED"}
