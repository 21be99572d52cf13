"""The storyboard: lines of a frame and words become poses, each keyed at its frame, all in one undo step."""

import re
from collections.abc import Callable, Sequence

import bpy

from .. import preferences, session
from ..client.contract import InterpolateRequest, Pose, PoseRequest, Result
from ..rig.target import Target
from . import targets
from .key_motion import MAX_SPAN, put_keys, rig_for
from .polls import AsksServer, Explains, refuse
from .prior import prior_of

MAX_BEATS = 64
_BEAT = re.compile(r"(?:^|[,;\n])\s*(?:frame\s*)?(\d+)\s*[:=]\s*", re.IGNORECASE)


def parse_beats(text: str) -> list[tuple[int, str]]:
    """``1: standing, 20: crouches; 32: leaps`` -> [(1, "standing"), ...]; [] where no line begins with a frame."""
    marks = list(_BEAT.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    beats = [(int(mark[1]), text[mark.end() : end].strip(" ,;\n")) for mark, end in zip(marks, ends, strict=False)]
    return [(frame, words) for frame, words in beats if words]


class CHATPOSE_OT_beat_add(Explains, bpy.types.Operator):
    bl_idname = "chatpose.beat_add"
    bl_label = "Add Line"
    bl_description = "Add a line at the current frame. A prompt like 1: stands, 20: crouches becomes several lines"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        is_full = len(context.scene.chatpose.beats) >= MAX_BEATS
        return f"A storyboard has {MAX_BEATS} lines at most" if is_full else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.chatpose
        words = settings.prompt.strip()
        for frame, text in (parse_beats(words) or [(context.scene.frame_current, words)])[:MAX_BEATS]:
            beat = settings.beats.add()
            beat.frame, beat.text = frame, text
        settings.active_beat = len(settings.beats) - 1
        return {"FINISHED"}


class CHATPOSE_OT_beat_remove(Explains, bpy.types.Operator):
    bl_idname = "chatpose.beat_remove"
    bl_label = "Remove Line"
    bl_description = "Take the selected line out of the storyboard"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if context.scene.chatpose.beats else "The storyboard has no lines"

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.chatpose
        settings.beats.remove(settings.active_beat)
        settings.active_beat = max(0, min(settings.active_beat, len(settings.beats) - 1))
        return {"FINISHED"}


class CHATPOSE_OT_storyboard(AsksServer, bpy.types.Operator):
    bl_idname = "chatpose.storyboard"
    bl_label = "Pose Storyboard"
    bl_description = "Ask for a pose for every line and key each at its frame, all in one undo step"
    bl_options = {"REGISTER"}

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        return "" if _beats(context) else "The storyboard has no lines: add one first"

    def execute(self, context: bpy.types.Context) -> set[str]:
        beats = _beats(context)
        frames = [frame for frame, _ in beats]
        if len(set(frames)) < len(frames):
            return refuse(self, "Two lines of the storyboard have the same frame; give each its own.")
        _ask_beat(context, Target.of(targets.target(context)), beats, [])
        return {"FINISHED"}


def _beats(context: bpy.types.Context) -> list[tuple[int, str]]:
    beats = ((beat.frame, beat.text.strip()) for beat in context.scene.chatpose.beats)
    return sorted((frame, text) for frame, text in beats if text)


def _ask_beat(context: bpy.types.Context, target: Target, beats: list[tuple[int, str]], poses: list[Pose]) -> None:
    """Asks for the next line's pose; when all are there, for what lies between, or keys them."""
    if len(poses) == len(beats):
        _finish_storyboard(context, target, [(frame, pose) for (frame, _), pose in zip(beats, poses, strict=True)])
        return
    text = beats[len(poses)][1]

    def take(work: session.Work, result: Result) -> None:
        if not result.poses:
            session.fail(f"There came no pose for '{text[:40]}'; nothing was changed.")
            return
        _ask_beat(bpy.context, target, beats, [*poses, result.poses[0]])

    title = f"Line {len(poses) + 1} of {len(beats)}"
    session.begin(preferences.endpoint(context), title, PoseRequest(text), target, take)


def _finish_storyboard(context: bpy.types.Context, target: Target, keys: list[tuple[int, Pose]]) -> None:
    span = range(keys[0][0], keys[-1][0] + 1)
    if context.scene.chatpose.fill_between and 1 < len(keys) < len(span) <= MAX_SPAN:
        request = InterpolateRequest(tuple(keys), tuple(span), prior_of(None, context))
        session.begin(preferences.endpoint(context), "In-Betweens", request, target, _key_span(span))
        return
    armature = target.find()
    if armature is None:
        session.fail(f"'{target.name}' is no longer in the scene; nothing was keyed.")
        return
    put_keys(armature, keys)


def _key_span(span: Sequence[int]) -> Callable[[session.Work, Result], None]:
    """What to do with an answer that has one pose for each frame."""

    def take(work: session.Work, result: Result) -> None:
        armature = rig_for(work, result, len(span))
        if armature is not None:
            put_keys(armature, list(zip(span, result.poses, strict=True)))

    return take


CLASSES = (CHATPOSE_OT_beat_add, CHATPOSE_OT_beat_remove, CHATPOSE_OT_storyboard)
