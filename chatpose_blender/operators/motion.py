"""Poses over time: keying a motion, the storyboard, and what the prior does to motions (in-betweens, smoothing)."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import bpy
import numpy as np
from bpy.props import IntProperty, StringProperty

from .. import preferences, session
from ..client.contract import DenoiseRequest, InterpolateRequest, Pose, PoseRequest, Result
from ..properties import ApplySettings
from ..rig import apply, keyframes, motions, pose_files, posing
from . import targets
from .apply_pose import options_of
from .pose import can_ask, found

EXACT_FRAMES = 32  # up to here every frame is put on the ground by its skin; above, by the skeleton, a centimetre off
MAX_BEATS = 64
MAX_SPAN = 500  # frames that in-betweens or smoothing are asked for at once


def key_motion(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    motion: pose_files.Motion,
    frames: Sequence[int],
    settings: ApplySettings,
    **changes: object,
) -> None:
    """Keys a motion on a rig, one pose for each frame number, and leaves the scene at its frame.

    Raises posing.RigError, and KeyframeError for frames or an action that cannot be keyed.
    """
    options = replace(options_of(armature, settings), strength=1.0, **changes)
    tracks = motions.plan(armature, motion, options)
    if tracks.location is not None and len(motion) <= EXACT_FRAMES and motion.transl is None:
        tracks = replace(tracks, location=_exact_location(context, armature, motion, options, tracks.mover))
    write_keys(armature, tracks, frames)
    context.scene.frame_set(context.scene.frame_current)


def write_keys(armature: bpy.types.Object, tracks: motions.Tracks, frames: Sequence[int]) -> None:
    """Keys tracks in each bone's own rotation mode."""
    location = {} if tracks.location is None else {tracks.mover: tracks.location}
    keyframes.write(armature, frames, tracks.rotations, location)


def _exact_location(
    context: bpy.types.Context,
    armature: bpy.types.Object,
    motion: pose_files.Motion,
    options: apply.Options,
    mover: str,
) -> np.ndarray:
    """(N, 3): the mover's location with every pose put on the ground as a single pose is."""
    before = apply.snapshot(armature)
    places: list[tuple[float, ...]] = []
    for i in range(len(motion)):
        posing.put(context, armature, motion.frame(i), options)
        places.append(tuple(armature.pose.bones[mover].location))
    apply.restore(armature, before)
    return np.array(places)


def motion_of(poses: Sequence[Pose]) -> pose_files.Motion:
    """The wire's poses as a motion: the joints that all of them speak for."""
    names = [name for name in poses[0].joints if all(name in pose.joints for pose in poses)]
    return pose_files.Motion({name: np.array([pose.joints[name] for pose in poses]) for name in names})


class CHATPOSE_OT_key_poses(bpy.types.Operator):
    bl_idname = "chatpose.key_poses"
    bl_label = "Key Poses"
    bl_description = "Put poses on the character at their frames and key them"
    bl_options = {"INTERNAL", "UNDO"}

    target: StringProperty(name="Character", description="Armature that takes the poses", options={"SKIP_SAVE"})
    poses: StringProperty(name="Poses", description="Frames and poses as JSON", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = context.scene.objects.get(self.target)
        reason = targets.refusal(armature)
        if reason:
            self.report({"ERROR"}, f"{reason}.")
            return {"CANCELLED"}
        try:
            keys = [(int(key["frame"]), Pose.from_json(key["pose"])) for key in json.loads(self.poses)]
            motion = motion_of([pose for _, pose in keys])
            key_motion(context, armature, motion, [frame for frame, _ in keys], context.scene.chatpose)
        except (keyframes.KeyframeError, *posing.RigError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            self.report({"ERROR"}, f"These poses cannot be read: {error}.")
            return {"CANCELLED"}
        return {"FINISHED"}


def put_keys(armature: bpy.types.Object, keys: Sequence[tuple[int, Pose]]) -> None:
    """One undo step: poses keyed at their frames."""
    text = json.dumps([{"frame": frame, "pose": pose.to_json()} for frame, pose in keys])
    with session.in_window():
        bpy.ops.chatpose.key_poses("EXEC_DEFAULT", True, target=armature.name, poses=text)


# -- storyboard --------------------------------------------------------------------------------------------------------

_BEAT = re.compile(r"(?:^|[,;\n])\s*(?:frame\s*)?(\d+)\s*[:=]\s*", re.IGNORECASE)


def parse_beats(text: str) -> list[tuple[int, str]]:
    """``1: standing, 20: crouches; 32: leaps`` -> [(1, "standing"), ...]; [] where no line begins with a frame."""
    marks = list(_BEAT.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    beats = [(int(mark[1]), text[mark.end() : end].strip(" ,;\n")) for mark, end in zip(marks, ends, strict=False)]
    return [(frame, words) for frame, words in beats if words]


class CHATPOSE_OT_beat_add(bpy.types.Operator):
    bl_idname = "chatpose.beat_add"
    bl_label = "Add Line"
    bl_description = "Add a line at the current frame. A prompt like 1: stands, 20: crouches becomes several lines"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if len(context.scene.chatpose.beats) >= MAX_BEATS:
            cls.poll_message_set(f"A storyboard has {MAX_BEATS} lines at most")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.chatpose
        words = settings.prompt.strip()
        for frame, text in (parse_beats(words) or [(context.scene.frame_current, words)])[:MAX_BEATS]:
            beat = settings.beats.add()
            beat.frame, beat.text = frame, text
        settings.active_beat = len(settings.beats) - 1
        return {"FINISHED"}


class CHATPOSE_OT_beat_remove(bpy.types.Operator):
    bl_idname = "chatpose.beat_remove"
    bl_label = "Remove Line"
    bl_description = "Take the selected line out of the storyboard"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not context.scene.chatpose.beats:
            cls.poll_message_set("The storyboard has no lines")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = context.scene.chatpose
        settings.beats.remove(settings.active_beat)
        settings.active_beat = max(0, min(settings.active_beat, len(settings.beats) - 1))
        return {"FINISHED"}


class CHATPOSE_OT_storyboard(bpy.types.Operator):
    bl_idname = "chatpose.storyboard"
    bl_label = "Pose Storyboard"
    bl_description = "Ask for a pose for every line and key each at its frame, all in one undo step"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context, more="" if _beats(context) else "The storyboard has no lines: add one first")

    def execute(self, context: bpy.types.Context) -> set[str]:
        beats = _beats(context)
        frames = [frame for frame, _ in beats]
        if len(set(frames)) < len(frames):
            return _refuse(self, "Two lines of the storyboard have the same frame; give each its own.")
        _ask_beat(context, session.Target.of(targets.target(context)), beats, [])
        return {"FINISHED"}


def _beats(context: bpy.types.Context) -> list[tuple[int, str]]:
    beats = ((beat.frame, beat.text.strip()) for beat in context.scene.chatpose.beats)
    return sorted((frame, text) for frame, text in beats if text)


def _ask_beat(
    context: bpy.types.Context, target: session.Target, beats: list[tuple[int, str]], poses: list[Pose]
) -> None:
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


def _finish_storyboard(context: bpy.types.Context, target: session.Target, keys: list[tuple[int, Pose]]) -> None:
    span = range(keys[0][0], keys[-1][0] + 1)
    if context.scene.chatpose.fill_between and 1 < len(keys) < len(span) <= MAX_SPAN:
        request = InterpolateRequest(tuple(keys), tuple(span))
        session.begin(preferences.endpoint(context), "In-Betweens", request, target, _key_span(span))
        return
    armature = target.find()
    if armature is None:
        session.fail(f"'{target.name}' is no longer in the scene; nothing was keyed.")
        return
    put_keys(armature, keys)


def _key_span(span: Sequence[int]) -> object:
    """What to do with an answer that has one pose for each frame."""

    def take(work: session.Work, result: Result) -> None:
        armature = found(work)
        if armature is None:
            return
        if len(result.poses) != len(span):
            session.fail("The server sent another number of frames than were asked for; nothing was keyed.")
            return
        put_keys(armature, list(zip(span, result.poses, strict=True)))

    return take


# -- what the prior does to motions ------------------------------------------------------------------------------------


class CHATPOSE_OT_in_between(bpy.types.Operator):
    bl_idname = "chatpose.in_between"
    bl_label = "In-Between"
    bl_description = "Key what a body naturally does between the keys before and after the current frame"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context, "interpolate", _no_motion(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        gap = _gap(context, armature)
        if gap is None:
            return _refuse(self, "The current frame is not between two keys of the character; go to one that is.")
        first, last = gap
        if last - first > MAX_SPAN:
            return _refuse(self, f"The keys are more than {MAX_SPAN:,} frames apart; key a pose between them first.")
        keys = tuple(zip((first, last), read_frames(context, armature, (first, last)), strict=True))
        span = range(first + 1, last)
        session.begin(
            preferences.endpoint(context),
            "In-Betweens",
            InterpolateRequest(keys, tuple(span)),
            session.Target.of(armature),
            _key_span(span),
        )
        return {"FINISHED"}


class CHATPOSE_OT_smooth_motion(bpy.types.Operator):
    bl_idname = "chatpose.smooth_motion"
    bl_label = "Smooth Motion"
    bl_description = "Make the character's motion in the scene's frame range smooth and natural, and key every frame"
    bl_options = {"REGISTER"}

    strength: IntProperty(
        name="Strength",
        description="How much is smoothed, in percent",
        default=50,
        min=1,
        max=100,
        subtype="PERCENTAGE",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context, "denoise", _no_motion(context))

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature, scene = targets.target(context), context.scene
        keys = key_frames(armature)
        span = range(max(scene.frame_start, min(keys)), min(scene.frame_end, max(keys)) + 1)
        if len(span) > MAX_SPAN:
            return _refuse(self, f"Smoothing takes {MAX_SPAN:,} frames at most; set a shorter frame range.")
        if len(span) < 3:
            return _refuse(self, "The scene's frame range holds fewer than three frames of motion; set a longer one.")
        poses = read_frames(context, armature, span)
        request = DenoiseRequest(tuple(poses), scene.render.fps / scene.render.fps_base, self.strength / 100)
        session.begin(
            preferences.endpoint(context), "Smoothing", request, session.Target.of(armature), _key_span(span)
        )
        return {"FINISHED"}


def key_frames(armature: bpy.types.Object) -> list[int]:
    """The frames at which the rig's bones have keys, in order."""
    curves = (curve for curve in keyframes.curves_of(armature) if curve.data_path.startswith("pose.bones"))
    return sorted({round(point.co[0]) for curve in curves for point in curve.keyframe_points})


def read_frames(context: bpy.types.Context, armature: bpy.types.Object, frames: Sequence[int]) -> list[Pose]:
    """The rig's pose at each frame; leaves the scene at the frame it was at."""
    present = context.scene.frame_current
    poses: list[Pose] = []
    for frame in frames:
        context.scene.frame_set(frame)
        poses.append(Pose(posing.read(armature)))
    context.scene.frame_set(present)
    return poses


def _no_motion(context: bpy.types.Context) -> str:
    """Why there is no motion to work on, for a tooltip; "" when there is. Looks at no key, so it is cheap to draw."""
    armature = targets.target(context)
    data = armature.animation_data if armature is not None else None
    return "" if data is not None and data.action is not None else "The character has no keys: key a pose first"


def _gap(context: bpy.types.Context, armature: bpy.types.Object) -> tuple[int, int] | None:
    """The keys on both sides of the current frame, if there is a frame between them."""
    present = context.scene.frame_current
    keys = key_frames(armature)
    before = max((key for key in keys if key <= present), default=None)
    after = min((key for key in keys if key > present), default=None)
    return (before, after) if before is not None and after is not None and after - before > 1 else None


def _refuse(operator: bpy.types.Operator, sentence: str) -> set[str]:
    session.fail(sentence)
    operator.report({"WARNING"}, sentence)
    return {"CANCELLED"}


CLASSES = (
    CHATPOSE_OT_key_poses,
    CHATPOSE_OT_beat_add,
    CHATPOSE_OT_beat_remove,
    CHATPOSE_OT_storyboard,
    CHATPOSE_OT_in_between,
    CHATPOSE_OT_smooth_motion,
)
