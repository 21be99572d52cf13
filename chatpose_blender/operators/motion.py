"""What the prior does to motions: the rig's poses are read off its keys, in-betweens and smoothing are asked for."""

from collections.abc import Callable, Generator, Iterator, Sequence

import bpy
import numpy as np
from bpy.app.translations import pgettext_iface
from bpy.props import IntProperty

from .. import preferences, session
from ..client.contract import DenoiseRequest, InterpolateRequest, Pose, Result
from ..rig import apply, keyframes, motions, pose_files, posing, puppet, smplx
from ..rig.target import Target
from . import targets
from .key_motion import ERRORS, MAX_SPAN, Keying, motion_of, put_motion, rig_for
from .polls import AsksServer, refuse
from .prior import ByPrior, prior_of
from .ticks import OverTicks


class MotionError(ValueError):
    """A motion that cannot be worked on. The text is for the artist."""


class ReadsMotion(AsksServer, ByPrior, OverTicks):
    """Reads the rig's poses off its keys and asks the prior about them."""

    errors = (MotionError, *ERRORS)

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        """Whether there are keys; looks at none, so it is cheap to draw."""
        armature = targets.target(context)
        data = armature.animation_data if armature is not None else None
        return "" if data is not None and data.action is not None else "The character has no keys: key a pose first"

    def status(self) -> str:
        return pgettext_iface("Reading the motion    Esc: Cancel")

    def refuse(self, sentence: str) -> set[str]:
        return refuse(self, sentence)


class CHATPOSE_OT_in_between(ReadsMotion, bpy.types.Operator):
    bl_idname = "chatpose.in_between"
    bl_label = "In-Between"
    bl_description = "Key what a body naturally does between the keys before and after the current frame"
    bl_options = {"REGISTER"}
    task = "interpolate"

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
        target = Target.of(armature)
        session.begin(preferences.endpoint(context), "In-Betweens", request, target, _key_read(span))


class CHATPOSE_OT_smooth_motion(ReadsMotion, bpy.types.Operator):
    bl_idname = "chatpose.smooth_motion"
    bl_label = "Smooth Motion"
    bl_description = "Make the character's motion in the scene's frame range smooth and natural, and key every frame"
    bl_options = {"REGISTER"}
    task = "denoise"

    strength: IntProperty(
        name="Strength",
        description="How much is smoothed, in percent",
        default=50,
        min=1,
        max=100,
        subtype="PERCENTAGE",
    )

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
        session.begin(preferences.endpoint(context), "Smoothing", request, Target.of(armature), _key_read(span))


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


def _key_read(span: Sequence[int]) -> Callable[[session.Work, Result], None]:
    """What to do with an answer to poses that were read off this rig: they go exactly where they say."""

    def take(work: session.Work, result: Result) -> None:
        armature = rig_for(work, result, len(span))
        if armature is None:
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


def _gap(context: bpy.types.Context, armature: bpy.types.Object) -> tuple[int, int] | None:
    """The keys on both sides of the current frame, if there is a frame between them."""
    present = context.scene.frame_current
    keys = key_frames(armature)
    before = max((key for key in keys if key <= present), default=None)
    after = min((key for key in keys if key > present), default=None)
    return (before, after) if before is not None and after is not None and after - before > 1 else None


CLASSES = (CHATPOSE_OT_in_between, CHATPOSE_OT_smooth_motion)
