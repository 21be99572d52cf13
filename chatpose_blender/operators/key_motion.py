"""Keying a motion: poses at their frames become keys in one undo step, in a window over several ticks."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import bpy
import numpy as np
from bpy.app.translations import pgettext_iface
from bpy.props import StringProperty

from .. import session
from ..answers import found
from ..applying import options_of
from ..client.contract import Pose, Result
from ..properties import ApplySettings
from ..rig import apply, keyframes, keying, motions, pose_files, posing
from ..rig.target import Target
from . import targets
from .ticks import OverTicks

EXACT_FRAMES = 32  # up to here every frame is put on the ground by its skin; above, by the skeleton, a centimetre off
MAX_SPAN = 500  # frames that the server is asked for at once
ERRORS = (keyframes.KeyframeError, pose_files.PoseFileError, *posing.RigError)


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

    errors = ERRORS
    cancelled = "Cancelled; nothing was keyed."

    def status(self) -> str:
        return pgettext_iface("Keying    Esc: Cancel")

    def work(self, context: bpy.types.Context) -> Iterator[None]:
        armature = context.scene.objects.get(self.target)
        reason = targets.refusal(armature)
        if reason:
            raise posing.NotPosableError(f"{reason}.")
        self.rig, self.kept = Target.of(armature), None
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

    session.run("Keying", prepare, Target.of(armature), take)


def _key(armature: bpy.types.Object, work: Keying, how: str) -> None:
    number = uuid.uuid4().hex
    _waiting.clear()  # what an operator never took belongs to a job that was dropped
    _waiting[number] = work
    with session.in_window():
        bpy.ops.chatpose.key_poses(how, True, target=armature.name, waiting=number)


def rig_for(work: session.Work, result: Result, count: int) -> bpy.types.Object | None:
    """The rig that an answer of ``count`` poses was for, or None with the reason in the panel."""
    armature = found(work)
    if armature is not None and len(result.poses) != count:
        session.fail("The server sent another number of frames than were asked for; nothing was keyed.")
        return None
    return armature


CLASSES = (CHATPOSE_OT_key_poses,)
