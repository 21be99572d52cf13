"""Correcting what was seen in a picture: points that are moved, asked about at once, and shown on the rig.

Draws nothing and hears no mouse; ``operators.image_points`` does. While it lasts the rig shows the answers without keys
or undo steps; ``keep`` makes one undo step of the last, ``restore`` brings every channel back exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import bpy

from . import seen, session
from .answers import put
from .applying import from_picture, options_of
from .client.contract import Pose, PoseRequest, Result
from .client.http import Endpoint
from .rig import apply, posing
from .rig.target import Target

BONES = (
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    *(
        (f"{side}_{a}", f"{side}_{b}")
        for side in ("left", "right")
        for a, b in (
            ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("wrist", "pinky"), ("wrist", "thumb"),
            ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"), ("ankle", "heel"), ("ankle", "foot_index"),
            ("heel", "foot_index"),
        )
    ),
    ("nose", "left_ear"),
    ("nose", "right_ear"),
)  # fmt: skip
"""Lines between points, as the skeleton that is drawn over the picture."""

POINTS = tuple(dict.fromkeys(name for line in BONES for name in line))
"""The points that can be moved: of BlazePose's 33 all but eyes and mouth, which say little of a pose."""


@dataclass(frozen=True)
class Shown:
    """The last answer and how it is put on the rig."""

    pose: Pose
    result: Result


class Correction:
    """One go at a picture's points. Main thread only."""

    def __init__(self, armature: bpy.types.Object, known: seen.Seen, endpoint: Endpoint, words: str) -> None:
        """``known``: a picture with keypoints; ``words``: what the artist says along with it."""
        self.target = Target.of(armature)
        self.before = apply.snapshot(armature)
        self.endpoint, self.words = endpoint, words
        self.known = known
        self.shown: Shown | None = None
        self.ending: bool | None = None  # True: keep, False: restore; the operator does it
        self.dragged: dict[str, tuple[float, float]] = {}  # while the mouse is down
        self._past: list[Mapping[str, tuple[float, float]]] = []

    @property
    def corrections(self) -> Mapping[str, tuple[float, float]]:
        """The points that the artist has placed, in the picture's pixels."""
        return {**self.known.corrections, **self.dragged}

    @property
    def waiting(self) -> bool:
        """Whether an answer is on its way."""
        work = session.current.work
        return work is not None and work.live

    def points(self) -> dict[str, tuple[float, float, float]]:
        """Every point to draw: x, y in the picture's pixels and how surely it is seen; placed ones are sure."""
        seen_points = self.known.sight.keypoints
        placed = {name: (x, y, 1.0) for name, (x, y) in self.corrections.items()}
        return {name: seen_points[name] for name in POINTS if name in seen_points} | placed

    def move(self, name: str, x: float, y: float) -> None:
        """The mouse has a point; it is kept inside the picture."""
        sight = self.known.sight
        self.dragged = {name: (min(max(x, 0.0), float(sight.width)), min(max(y, 0.0), float(sight.height)))}

    def drop(self) -> None:
        """The mouse is up: what was moved is asked about."""
        if self.dragged:
            self._ask(self.corrections)

    def let_go(self, name: str) -> None:
        """A placed point is the server's again."""
        if name in self.known.corrections:
            self._ask({other: xy for other, xy in self.known.corrections.items() if other != name})

    def undo(self) -> None:
        """One point back."""
        if self._past:
            self._ask(self._past.pop(), remember=False)

    def _ask(self, corrections: Mapping[str, tuple[float, float]], *, remember: bool = True) -> None:
        if remember:
            self._past.append(self.known.corrections)
        self.dragged = {}
        self.known = replace(self.known, corrections=dict(corrections))
        sight = self.known.sight
        if self.waiting:
            session.current.jobs.cancel(session.current.work.handle)
        request = PoseRequest(
            self.words, image=self.known.picture.url, person=sight.person, keypoints=self.known.corrections
        )
        session.begin(self.endpoint, "Correcting", request, self.target, self._show)
        session.current.work = replace(session.current.work, live=True)

    def _show(self, work: session.Work, result: Result) -> None:
        armature = self.target.find()
        if session.current.tool is not self or armature is None:
            return
        if not result.poses:
            session.fail("The server answered without a pose; move the point elsewhere.")
            return
        if result.sight is not None:
            self.known = replace(self.known, sight=result.sight, pose=result.poses[0])
        self.shown = Shown(result.poses[0], result)
        apply.restore(armature, self.before)
        joints, options = self._fitting(armature, result.poses[0])
        posing.put(bpy.context, armature, joints, options)
        bpy.context.view_layer.update()
        session.redraw()

    def _fitting(self, armature: bpy.types.Object, pose: Pose) -> tuple[apply.Quats, apply.Options]:
        taken, settings = from_picture(bpy.context, pose)
        options = options_of(armature, bpy.context.scene.chatpose)
        return taken.joints, replace(options, facing=settings["facing"], hands=settings["hands"])

    def restore(self) -> None:
        """Every channel, and what was known of the picture, as before."""
        self.end()
        armature = self.target.find()
        if armature is not None:
            apply.restore(armature, self.before)
            bpy.context.view_layer.update()

    def keep(self) -> bool:
        """The last answer as one undo step; False when there was none."""
        self.restore()
        armature = self.target.find()
        if self.shown is None or armature is None:
            return False
        seen.remember(self.known)
        pose, settings = from_picture(bpy.context, self.shown.pose)
        count = len(self.known.corrections)
        prompt = f"{self.known.image[0]}: {count} points corrected" if count != 1 else f"{self.known.image[0]}: 1 point"
        put(armature, pose, prompt=prompt, result=self.shown.result, **settings)
        return True

    def end(self) -> None:
        """Asks for nothing more; the rig stays as it is."""
        if self.waiting:
            session.current.jobs.cancel(session.current.work.handle)
            session.current.work = session.current.held = None
        if session.current.tool is self:
            session.current.tool = None
