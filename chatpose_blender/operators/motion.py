"""Poses over time: keying a motion, the storyboard, and what the prior does to motions (in-betweens, smoothing)."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np
from bpy.app.translations import pgettext_iface
from bpy.props import IntProperty, StringProperty

from .. import preferences, session
from ..answers import found
from ..applying import options_of
from ..client.contract import DenoiseRequest, InterpolateRequest, Pose, PoseRequest, Result
from ..properties import ApplySettings
from ..rig import apply, keyframes, keying, motions, pose_files, posing, puppet, smplx
from . import targets
from .pose import can_ask
from .prior import ByPrior, prior_of
from .ticks import OverTicks

EXACT_FRAMES = 32  # up to here every frame is put on the ground by its skin; above, by the skeleton, a centimetre off
MAX_BEATS = 64
MAX_SPAN = 500  # frames that in-betweens or smoothing are asked for at once
_ERRORS = (keyframes.KeyframeError, pose_files.PoseFileError, *posing.RigError)


@dataclass(frozen=True)
class Keying:
    """A motion to be keyed, one pose for each frame number.

    ``placed``: it was read off this rig (``read_frames``), so it goes where it says. ``tracks``: made by a thread.
    """

    motion: pose_files.Motion
    frames: Sequence[int]
    options: apply.Options
    placed: bool = False
    tracks: motions.Tracks | None = None


_waiting: dict[str, Keying] = {}
"""What operators are to key, by the number that they are given: thousands of frames are no operator's property."""


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
    for _ in keying_steps(context, armature, Keying(motion, frames, options_of_motion(armature, settings, **changes))):
        pass


def options_of_motion(armature: bpy.types.Object, settings: ApplySettings, **changes: object) -> apply.Options:
    """How the scene's settings put a motion on a rig: whole, whatever the strength for single poses is."""
    return replace(options_of(armature, settings), strength=1.0, **changes)


def keying_steps(context: bpy.types.Context, armature: bpy.types.Object, work: Keying) -> Iterator[None]:
    """``key_motion`` in steps of a few milliseconds. Between them the rig shows what it showed before."""
    tracks = work.tracks or motions.tracks(motions.stand(armature), work.motion, work.options, placed=work.placed)
    yield
    knows_place = work.placed or work.motion.transl is not None
    if tracks.location is not None and len(work.motion) <= EXACT_FRAMES and not knows_place:
        places: list[tuple[float, ...]] = []
        floor = posing.floor(context, armature)
        for i in range(len(work.motion)):
            places.append(_grounded(context, armature, tracks, i, floor))
            yield
        tracks = replace(tracks, location=np.array(places))
    location = {} if tracks.location is None else {tracks.mover: tracks.location}
    allowed = keying.wanted(context, armature)
    for _ in keyframes.writing(armature, work.frames, tracks.rotations, location, allowed):
        yield
    context.scene.frame_set(context.scene.frame_current)


def _grounded(
    context: bpy.types.Context, armature: bpy.types.Object, tracks: motions.Tracks, index: int, floor: float
) -> tuple[float, ...]:
    """The mover's location that puts one of the poses on the ground by its skin; the rig is as before afterwards."""
    before = apply.snapshot(armature)
    for name, quats in tracks.rotations.items():
        apply.set_quat(armature.pose.bones[name], quats[index].tolist())
    mover = armature.pose.bones[tracks.mover]
    mover.location = tracks.location[index]
    up = floor - posing.height(context, armature)  # evaluates the scene
    apply.move_bone(armature, tracks.mover, (0.0, 0.0, up))
    place = tuple(mover.location)
    apply.restore(armature, before)
    return place


def motion_of(poses: Sequence[Pose]) -> pose_files.Motion:
    """The wire's poses as a motion: the joints that all of them speak for."""
    names = [name for name in poses[0].joints if all(name in pose.joints for pose in poses)]
    return pose_files.Motion({name: np.array([pose.joints[name] for pose in poses]) for name in names})


class CHATPOSE_OT_key_poses(OverTicks, bpy.types.Operator):
    bl_idname = "chatpose.key_poses"
    bl_label = "Key Poses"
    bl_description = "Put poses on the character at their frames and key them"
    bl_options = {"INTERNAL", "UNDO"}

    target: StringProperty(name="Character", description="Armature that takes the poses", options={"SKIP_SAVE"})
    poses: StringProperty(name="Poses", description="Frames and poses as JSON", options={"SKIP_SAVE"})
    waiting: StringProperty(name="Motion", description="The number of a motion that waits", options={"SKIP_SAVE"})

    errors = _ERRORS
    cancelled = "Cancelled; nothing was keyed."

    def status(self) -> str:
        return pgettext_iface("Keying    Esc: Cancel")

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        armature = context.scene.objects.get(self.target)
        reason = targets.refusal(armature)
        if reason:
            raise posing.NotPosableError(f"{reason}.")
        self.rig, self.kept = session.Target.of(armature), None
        keying_work = _waiting.pop(self.waiting, None) or self._read(context, armature)
        if self.by_ticks:  # scripts cannot be interrupted
            self.kept = yield from keyframes.remembering(armature)
        yield from keying_steps(context, armature, keying_work)

    def taking_back(self) -> Iterator[None]:
        armature = self.rig.find()
        if armature is not None and self.kept is not None:
            yield from keyframes.putting_back(armature, self.kept)

    def _read(self, context: bpy.types.Context, armature: bpy.types.Object) -> Keying:
        try:
            keys = [(int(key["frame"]), Pose.from_json(key["pose"])) for key in json.loads(self.poses)]
            motion = motion_of([pose for _, pose in keys])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise pose_files.PoseFileError(f"These poses cannot be read: {error}.") from error
        return Keying(motion, [frame for frame, _ in keys], options_of_motion(armature, context.scene.chatpose))


def put_keys(armature: bpy.types.Object, keys: Sequence[tuple[int, Pose]]) -> None:
    """One undo step: poses keyed at their frames."""
    options, frames = options_of_motion(armature, bpy.context.scene.chatpose), [frame for frame, _ in keys]
    put_motion(armature, lambda: Keying(motion_of([pose for _, pose in keys]), frames, options))


def put_motion(armature: bpy.types.Object, make: Callable[[], Keying]) -> None:
    """One undo step: a motion keyed. In a window a thread makes it and its tracks, and the keys come over several
    ticks; so ``make`` touches nothing of Blender's.
    """
    if bpy.app.background:
        _key(armature, make(), "EXEC_DEFAULT")
        return
    at = motions.stand(armature)

    def prepare(report: Callable[[str, float], None], stop: threading.Event) -> Keying:
        work = make()
        return replace(work, tracks=motions.tracks(at, work.motion, work.options, placed=work.placed))

    def take(done: session.Work, work: Keying) -> None:
        there = found(done)
        if there is not None:
            _key(there, work, "INVOKE_DEFAULT")

    session.run("Keying", prepare, session.Target.of(armature), take)


def _key(armature: bpy.types.Object, work: Keying, how: str) -> None:
    number = uuid.uuid4().hex
    _waiting.clear()  # what an operator never took belongs to a job that was dropped
    _waiting[number] = work
    with session.in_window():
        bpy.ops.chatpose.key_poses(how, True, target=armature.name, waiting=number)


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
        request = InterpolateRequest(tuple(keys), tuple(span), prior_of(None, context))
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


class MotionError(ValueError):
    """A motion that cannot be worked on. The text is for the artist."""


class ReadsMotion(ByPrior, OverTicks):
    """Reads the rig's poses off its keys and asks the prior about them."""

    errors = (MotionError, *_ERRORS)

    def status(self) -> str:
        return pgettext_iface("Reading the motion    Esc: Cancel")

    def refuse(self, sentence: str) -> set[str]:
        return _refuse(self, sentence)


class CHATPOSE_OT_in_between(ReadsMotion, bpy.types.Operator):
    bl_idname = "chatpose.in_between"
    bl_label = "In-Between"
    bl_description = "Key what a body naturally does between the keys before and after the current frame"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return can_ask(cls, context, "interpolate", _no_motion(context))

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        armature = targets.target(context)
        gap = _gap(context, armature)
        if gap is None:
            raise MotionError("The current frame is not between two keys of the character; go to one that is.")
        first, last = gap
        if last - first > MAX_SPAN:
            raise MotionError(f"The keys are more than {MAX_SPAN:,} frames apart; key a pose between them first.")
        poses = yield from reading_frames(context, armature, (first, last))
        span = range(first + 1, last)
        keys = tuple(zip((first, last), poses, strict=True))
        request = InterpolateRequest(keys, tuple(span), prior_of(self, context))
        target = session.Target.of(armature)
        session.begin(preferences.endpoint(context), "In-Betweens", request, target, _key_read(span))


class CHATPOSE_OT_smooth_motion(ReadsMotion, bpy.types.Operator):
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

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        armature, scene = targets.target(context), context.scene
        keys = key_frames(armature)
        span = range(max(scene.frame_start, min(keys)), min(scene.frame_end, max(keys)) + 1) if keys else range(0)
        if len(span) > MAX_SPAN:
            raise MotionError(f"Smoothing takes {MAX_SPAN:,} frames at most; set a shorter frame range.")
        if len(span) < 3:
            raise MotionError("The scene's frame range holds fewer than three frames of motion; set a longer one.")
        poses = yield from reading_frames(context, armature, span)
        request = DenoiseRequest(
            tuple(poses),
            scene.render.fps / scene.render.fps_base,
            self.strength / 100,
            prior_of(self, context),
            _rest_of(armature),
        )
        session.begin(preferences.endpoint(context), "Smoothing", request, session.Target.of(armature), _key_read(span))


def key_frames(armature: bpy.types.Object) -> list[int]:
    """The frames at which the rig's bones have keys, in order."""
    curves = (curve for curve in keyframes.curves_of(armature) if curve.data_path.startswith("pose.bones"))
    found: set[int] = set()
    last = np.empty(0)
    for frames in map(keyframes.frames_of, curves):
        if not np.array_equal(frames, last):  # most curves have the frames of the one before
            found.update(np.rint(frames).astype(int).tolist())
            last = frames
    return sorted(found)


def read_frames(context: bpy.types.Context, armature: bpy.types.Object, frames: Sequence[int]) -> list[Pose]:
    """The rig's pose at each frame, with its pelvis' place; leaves the scene at the frame it was at."""
    return keyframes.finish(reading_frames(context, armature, frames))


def reading_frames(
    context: bpy.types.Context, armature: bpy.types.Object, frames: Sequence[int]
) -> Generator[None, None, list[Pose]]:
    """``read_frames`` in steps of a few milliseconds; closed half way, the scene is at its frame all the same."""
    motion = yield from motions.sampling(armature, frames)
    poses: list[Pose] = []
    if motion is not None:
        for i, place in enumerate(motion.transl.tolist()):
            poses.append(Pose(motion.frame(i), tuple(place)))
            yield
        return poses
    present = context.scene.frame_current
    shape = puppet.measure(armature)
    try:
        for frame in frames:
            context.scene.frame_set(frame)
            poses.append(Pose(posing.read(armature), shape.pose(armature)[1]))
            yield
    finally:
        context.scene.frame_set(present)
    return poses


def _rest_of(armature: bpy.types.Object) -> dict[str, tuple[float, ...]]:
    """The character's own skeleton, for the solver."""
    return {name: tuple(place.tolist()) for name, place in puppet.measure(armature).rest.items()}


def _key_read(span: Sequence[int]) -> object:
    """What to do with an answer to poses that were read off this rig: they go exactly where they say."""

    def take(work: session.Work, result: Result) -> None:
        armature = found(work)
        if armature is None:
            return
        if len(result.poses) != len(span):
            session.fail("The server sent another number of frames than were asked for; nothing was keyed.")
            return
        own = {curve.data_path for curve in keyframes.curves_of(armature)}
        keyed = {
            joint
            for joint, bones in posing.bones_by_joint(armature).items()
            if any(armature.pose.bones[bone].path_from_id(apply.rotation_path(armature.pose.bones[bone])) in own
                   for bone in bones)
        }  # fmt: skip

        def make() -> Keying:
            motion = motion_of(result.poses)
            names = [n for n in motion.quats if n in smplx.BODY_JOINTS or n in keyed]  # a face stays as it is
            places = [pose.transl for pose in result.poses]
            transl = None if None in places else np.array(places)
            motion = pose_files.Motion({name: motion.quats[name] for name in names}, transl)
            options = apply.Options(facing="MODEL", height="KEEP" if transl is None else "GROUND")
            return Keying(motion, span, options, placed=transl is not None)

        put_motion(armature, make)

    return take


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
