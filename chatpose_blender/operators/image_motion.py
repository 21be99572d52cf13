"""A movie or a sequence of pictures becomes keyframes: read in a thread, asked frame by frame, smoothed, keyed once.

Nothing is changed before the last answer is there; Cancel stops at any moment.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import bpy
import numpy as np
from bpy.app.translations import pgettext_iface

from .. import image_sources, preferences, session
from ..applying import from_picture
from ..client.contract import DenoiseRequest, Person, Pose, Result
from ..client.http import Endpoint
from ..client.jobs import Failed
from ..client.picture import FileRequest
from ..rig import rotations as rot
from ..rig.target import Target
from . import targets
from .image import settings_of
from .image_pose import TakesPicture, part_of
from .key_motion import MAX_SPAN, Keying, motion_of, options_of_motion, put_motion
from .polls import refuse

_SAME_PERSON = 0.15  # by how much more another box overlaps the last one before it is taken to be the person
_NOBODY = "no_person"  # the server's code
_MIN_SMOOTH = 3  # frames; fewer are no motion
_LOOK_SECONDS = 0.25  # between looks whether all is over


@dataclass
class _Shoot:
    """What is under way. ``files``: the pictures; ``poses``: index -> pose, without the frames where nobody is seen."""

    target: Target
    endpoint: Endpoint
    words: str
    first: int  # the scene's frame of the first key
    step: int
    smooth: float
    rate: float
    person: int | None
    files: list[Path] = field(default_factory=list[Path])
    poses: dict[int, Pose] = field(default_factory=dict[int, Pose])
    box: tuple[float, float, float, float] | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def frames(self) -> range:
        """The scene's frames that get keys."""
        return range(self.first, self.first + (len(self.files) - 1) * self.step + 1)


class CHATPOSE_OT_motion_from_picture(TakesPicture, bpy.types.Operator):
    bl_idname = "chatpose.motion_from_picture"
    bl_label = "Motion from Movie"
    bl_description = (
        "Take a pose from each frame of the movie or image sequence, smooth them, and key them from this frame on"
    )
    bl_options = {"REGISTER"}  # the keys are one undo step, made when all is there

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        image = settings_of(context).image
        if image is not None and image.source not in image_sources.MOVES:
            return "The picture does not move: open a movie, or set the image's source to Image Sequence"
        return super().refusal(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, scene = settings_of(context), context.scene
        span = (settings.frames - 1) * settings.step + 1
        if span > MAX_SPAN:
            return refuse(self, f"{span:,} frames are more than the {MAX_SPAN:,} that are keyed at once; take fewer.")
        shoot = _Shoot(
            target=Target.of(targets.target(context)),
            endpoint=preferences.endpoint(context),
            words="",  # words that change a pose would change every frame by themselves
            first=scene.frame_current,
            step=settings.step,
            smooth=settings.smooth,
            rate=scene.render.fps / scene.render.fps_base,
            person=settings.person - 1 if settings.person else None,
        )
        file, convert = image_sources.file_of(settings.image), image_sources.converting()
        wanted = range(settings.first_frame, settings.first_frame + span, settings.step)

        def read(report: Callable[[str, float], None], stopped: threading.Event) -> list[Path]:
            converter = convert(stopped)
            folder = converter.folder / f"frames-{threading.get_ident()}-{time.monotonic_ns()}"
            folder.mkdir()
            return replace(converter, folder=folder).movie(
                file, wanted, lambda count: report(f"Reading frame {count} of {len(wanted)}", count / len(wanted))
            )

        def begin(work: session.Work, files: list[Path]) -> None:
            shoot.files = files
            _ask(shoot, 0)

        session.run("Reading the Movie", read, shoot.target, begin)
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """The button's: Blender goes on as ever meanwhile, but for Esc, as with a render."""
        begun = self.execute(context)
        if begun != {"FINISHED"} or context.window is None or bpy.app.background:
            return begun
        self.timer = context.window_manager.event_timer_add(_LOOK_SECONDS, window=context.window)
        context.window_manager.modal_handler_add(self)
        context.workspace.status_text_set(pgettext_iface("Taking the Motion    Esc: Cancel"))
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if session.current.work is None:  # keyed, failed, or cancelled by the button
            self._end(context)
            return {"FINISHED", "PASS_THROUGH"}
        if event.type == "ESC" and event.value == "PRESS":
            self.cancel(context)
            return {"CANCELLED"}
        return {"PASS_THROUGH"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Esc, or Blender ends the operator itself, for example when the window closes."""
        session.cancel()
        self._end(context)

    def _end(self, context: bpy.types.Context) -> None:
        context.window_manager.event_timer_remove(self.timer)
        context.workspace.status_text_set(None)


def _ask(shoot: _Shoot, index: int, person: int | None = None) -> None:
    """Asks for one frame's pose; behind the last, for the smooth motion."""
    count = len(shoot.files)
    if index == count:
        _smooth(shoot)
        return
    again = person is not None
    wanted = person if again or shoot.box is not None else shoot.person
    request = FileRequest(shoot.words, person=wanted, file=shoot.files[index])

    def take(work: session.Work, result: Result) -> None:
        sight = result.sight
        if sight is not None and sight.people:
            if not again and shoot.box is not None:
                other = followed(shoot.box, sight.people, sight.person)
                if other != sight.person:
                    _ask(shoot, index, other)
                    return
            shoot.box = sight.people[sight.person].box
        if result.poses:
            shoot.poses[index] = result.poses[0]
        _ask(shoot, index + 1)

    def skip(work: session.Work, failed: Failed) -> bool:
        if failed.code != _NOBODY:
            return False
        _ask(shoot, index + 1)  # the frames around it say what happens between them
        return True

    session.begin(shoot.endpoint, f"Frame {index + 1} of {count}", request, shoot.target, take)
    session.current.work = replace(part_of(session.current.work, index, count + 1), failed=skip, started=shoot.started)


def followed(box: Sequence[float], people: Sequence[Person], person: int) -> int:
    """Which of a frame's people is the one whose box the frame before had; ``person``, the server's own choice, unless
    another one's overlaps clearly more.
    """
    overlaps = [overlap(box, each.box) for each in people]
    best = int(np.argmax(overlaps))
    return best if overlaps[best] > overlaps[person] + _SAME_PERSON else person


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The shared part of two boxes (x0, y0, x1, y1), of all that they cover together."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def filled(poses: Mapping[int, Pose], count: int, step: int) -> list[Pose]:
    """One pose for each frame: what is missing is turned between its neighbours, and held at both ends."""
    known = sorted(poses)
    names = [name for name in poses[known[0]].joints if all(name in pose.joints for pose in poses.values())]
    at = np.array(known) * step
    quats = {name: np.array([poses[i].joints[name] for i in known]) for name in names}
    tracks: dict[str, np.ndarray] = {}
    frames = np.clip(np.arange((count - 1) * step + 1), at[0], at[-1])
    after = np.clip(np.searchsorted(at, frames), 1, max(1, len(at) - 1)) if len(at) > 1 else np.zeros(len(frames), int)
    before = np.maximum(after - 1, 0)
    gap = np.maximum(at[after] - at[before], 1)
    share = (frames - at[before]) / gap
    for name, track in quats.items():
        tracks[name] = rot.slerp(track[before], track[after], share)
    return [Pose({name: tuple(track[i].tolist()) for name, track in tracks.items()}) for i in range(len(frames))]


def _smooth(shoot: _Shoot) -> None:
    """All poses are there: fills the gaps, asks for the smooth motion, or keys at once where none is wanted."""
    if len(shoot.poses) < 2:
        session.fail("Nobody is seen in the movie's frames; choose others, or another movie.")
        return
    poses = filled(shoot.poses, len(shoot.files), shoot.step)
    if shoot.smooth <= 0 or len(poses) < _MIN_SMOOTH or not session.can("denoise"):
        _key(shoot, poses)
        return

    def take(work: session.Work, result: Result) -> None:
        if len(result.poses) != len(poses):
            session.fail("The server sent another number of frames than were asked for; nothing was keyed.")
            return
        _key(shoot, result.poses)

    request = DenoiseRequest(tuple(poses), shoot.rate, shoot.smooth)
    session.begin(shoot.endpoint, "Smoothing", request, shoot.target, take)
    count = len(shoot.files) + 1
    session.current.work = replace(part_of(session.current.work, count - 1, count), started=shoot.started)


def _key(shoot: _Shoot, poses: Sequence[Pose]) -> None:
    """One undo step."""
    armature = shoot.target.find()
    if armature is None:
        session.fail(f"'{shoot.target.name}' is no longer in the scene; nothing was keyed.")
        return
    taken = [from_picture(bpy.context, pose) for pose in poses]
    changes = {name: taken[0][1][name] for name in ("facing", "hands")}
    options = options_of_motion(armature, bpy.context.scene.chatpose, **changes)
    put_motion(armature, lambda: Keying(motion_of([pose for pose, _ in taken]), shoot.frames, options))
    missed = len(shoot.files) - len(shoot.poses)
    session.current.answer = f"Keyed {len(poses)} frames." + (
        f" In {missed} of the pictures nobody is seen; they are filled in." if missed else ""
    )


CLASSES = (CHATPOSE_OT_motion_from_picture,)
