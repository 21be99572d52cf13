"""Candidates: several poses for one prompt, shown on the rig one after the other without keys or undo steps.

Enter keeps the one that is shown, as one undo step; Esc puts every channel back exactly.
"""

import json
from dataclasses import replace

import bpy
from bpy.props import IntProperty

from .. import session
from ..client.contract import Result
from ..rig import apply, posing
from .apply_pose import options_of, settings_of

_NEXT = {"RIGHT_ARROW", "PAGE_DOWN"}
_PREVIOUS = {"LEFT_ARROW", "PAGE_UP"}
_KEEP = {"RET", "NUMPAD_ENTER"}


def begin(armature: bpy.types.Object, result: Result, prompt: str) -> None:
    """Shows the first candidate and takes the keys until one is kept or all are discarded."""
    before = apply.snapshot(armature)
    target = session.Target.of(armature)
    pictures = tuple(json.dumps(pose.to_json()) for pose in result.poses)
    session.current.browser = session.Browser(target, result.poses, before, pictures, prompt, result)
    _show(bpy.context, 0)
    if not bpy.app.background:
        with session.in_window():
            bpy.ops.chatpose.browse_candidates("INVOKE_DEFAULT")


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
    posing.put(context, armature, browser.poses[index].joints, options_of(armature, context.scene.chatpose))
    context.view_layer.update()
    session.redraw()


def _end(keep: bool) -> str:
    """Puts the old pose back, then applies the chosen one if there is one; -> what to tell the artist."""
    from .pose import put

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
    settings = settings_of(bpy.context.scene.chatpose)
    put(armature, browser.poses[browser.index], prompt=browser.prompt, result=browser.result, **settings)
    return f"Kept candidate {browser.index + 1} of {len(browser.poses)}"


class _WhileBrowsing:
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.current.browser is None:
            cls.poll_message_set("There are no candidates to choose from")
            return False
        return True


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
