"""Candidates: several poses for one prompt, shown on the rig one after the other without keys or undo steps.

Enter keeps the one that is shown, as one undo step; Esc puts every channel back exactly.
"""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import bpy
import numpy as np
from bpy.props import IntProperty

from .. import session
from ..answers import put
from ..applying import options_of, settings_of
from ..client.contract import Result
from ..rig import apply, posing, thumbnail
from ..rig.armature import joint_places
from ..rig.target import Target
from .polls import Explains

_NEXT = {"RIGHT_ARROW", "PAGE_DOWN"}
_PREVIOUS = {"LEFT_ARROW", "PAGE_UP"}
_KEEP = {"RET", "NUMPAD_ENTER"}


def begin(armature: bpy.types.Object, result: Result, prompt: str, changes: str = "") -> None:
    """Shows the first candidate and takes the keys until one is kept or all are discarded.

    ``changes``: the pose that the words changed, as JSON; "" for new poses.
    """
    keys = tuple(uuid.uuid4().hex for _ in result.poses)
    before = apply.snapshot(armature)
    session.current.browser = session.Browser(Target.of(armature), result.poses, before, keys, prompt, result, changes)
    _show(bpy.context, 0)
    if not bpy.app.background:
        with session.in_window():
            bpy.ops.chatpose.browse_candidates("INVOKE_DEFAULT")


def places(key: str) -> Mapping[str, np.ndarray]:
    """Where the rig's joints are in a candidate, for its picture: posed and put back within one tick, unseen.

    Where the rig cannot be posed at the moment, where the SMPL-X body's joints are.
    """
    browser = session.current.browser
    if browser is None or key not in browser.figures:
        return {}
    pose, armature = browser.poses[browser.figures.index(key)], browser.target.find()
    if armature is None or armature.mode not in {"OBJECT", "POSE"}:
        return thumbnail.places_of(pose.joints)
    shown = apply.snapshot(armature)
    try:
        apply.restore(armature, browser.before)
        options = replace(_options(armature, browser), height="KEEP")  # does not show in a picture, and takes long
        posing.put(bpy.context, armature, pose.joints, options)
        bpy.context.view_layer.update()
        return joint_places(armature, posing.fit(armature))
    finally:
        apply.restore(armature, shown)


def _settings(browser: session.Browser) -> dict[str, object]:
    """The scene's settings; in a change of a pose the model was shown where the character faces, and may turn it."""
    settings = settings_of(bpy.context.scene.chatpose)
    return settings | {"facing": "MODEL"} if browser.changes else settings


def _options(armature: bpy.types.Object, browser: session.Browser) -> apply.Options:
    return options_of(armature, SimpleNamespace(**_settings(browser)))


def _show(context: bpy.types.Context, index: int) -> None:
    browser = session.current.browser
    armature = browser.target.find()
    if armature is None:
        session.current.browser = None
        session.fail(f"'{browser.target.name}' is no longer in the scene; the candidates are gone with it.")
        return
    index %= len(browser.poses)
    session.current.browser = replace(browser, index=index)
    apply.restore(armature, browser.before)
    posing.put(context, armature, browser.poses[index].joints, _options(armature, browser))
    context.view_layer.update()
    session.redraw()


def _end(keep: bool) -> str:
    """Puts the old pose back, then applies the chosen one if there is one; -> what to tell the artist."""
    browser = session.current.browser
    session.current.browser = None
    armature = browser.target.find()
    if armature is None:
        return f"'{browser.target.name}' is no longer in the scene"
    apply.restore(armature, browser.before)
    bpy.context.view_layer.update()
    session.redraw()
    if not keep:
        return "The old pose is back"
    pose = browser.poses[browser.index]
    put(
        armature,
        pose,
        prompt=browser.prompt,
        result=browser.result,
        before=browser.changes,
        **_settings(browser),
    )
    return f"Kept candidate {browser.index + 1} of {len(browser.poses)}"


class _WhileBrowsing(Explains):
    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if session.current.browser is not None else "There are no candidates to choose from"


class CHATPOSE_OT_candidate_step(_WhileBrowsing, bpy.types.Operator):
    bl_idname = "chatpose.candidate_step"
    bl_label = "Next Candidate"
    bl_description = "Show another candidate on the character"
    bl_options = {"INTERNAL"}

    step: IntProperty(name="Step", description="How many candidates to go on, or back", default=1)

    def execute(self, context: bpy.types.Context) -> set[str]:
        _show(context, session.current.browser.index + self.step)
        return {"FINISHED"}


class CHATPOSE_OT_candidate_keep(_WhileBrowsing, bpy.types.Operator):
    bl_idname = "chatpose.candidate_keep"
    bl_label = "Keep"
    bl_description = "Keep the candidate that is shown and let go of the others"
    bl_options = {"INTERNAL"}  # the pose is applied by an operator of its own, which makes the undo step

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.report({"INFO"}, _end(keep=True))
        return {"FINISHED"}


class CHATPOSE_OT_candidate_discard(_WhileBrowsing, bpy.types.Operator):
    bl_idname = "chatpose.candidate_discard"
    bl_label = "Discard"
    bl_description = "Let go of all candidates and bring the old pose back exactly"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.report({"INFO"}, _end(keep=False))
        return {"FINISHED"}


class CHATPOSE_OT_browse_candidates(_WhileBrowsing, bpy.types.Operator):
    bl_idname = "chatpose.browse_candidates"
    bl_label = "Browse Candidates"
    bl_description = "Step through the candidates with the arrow keys. Enter keeps one, Esc brings back the old pose"
    bl_options = {"INTERNAL"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set("Left, Right: Other Candidate    Enter: Keep    Esc: Old Pose")
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        browser = session.current.browser
        if browser is None:  # ended by a button, by undo, or by another file
            return self._finish(context)
        if event.value != "PRESS" or event.ctrl or event.alt or event.oskey:
            return {"PASS_THROUGH"}
        if event.type in _NEXT:
            _show(context, browser.index + 1)
        elif event.type in _PREVIOUS:
            _show(context, browser.index - 1)
        elif event.type in _KEEP:
            self._finish(context)
            _end(keep=True)
            return {"FINISHED"}
        elif event.type == "ESC":
            _end(keep=False)
            return self._finish(context)
        else:
            return {"PASS_THROUGH"}
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator itself, for example when the window closes."""
        context.workspace.status_text_set(None)
        if session.current.browser is not None:
            _end(keep=False)

    def _finish(self, context: bpy.types.Context) -> set[str]:
        context.workspace.status_text_set(None)
        return {"CANCELLED"}


CLASSES = (
    CHATPOSE_OT_candidate_step,
    CHATPOSE_OT_candidate_keep,
    CHATPOSE_OT_candidate_discard,
    CHATPOSE_OT_browse_candidates,
)
