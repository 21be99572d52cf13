"""A body that is dragged by its joints: which handles there are, what the solver is asked, what the rig is given.

    drag = Drag(armature, endpoint)
    drag.grab("left_wrist")
    drag.move("left_wrist", place)      # in the world, as often as the mouse moves
    drag.tick(context)                  # takes the newest answer, asks for the next; never waits
    drag.keep(context) or drag.restore()

Sets no keys and pushes no undo step. The rig is remembered by name and session uid, as everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import bpy
import numpy as np
from mathutils import Vector

from .client.contract import Pose
from .client.http import Endpoint
from .client.live import Goal, Live
from .rig import apply, puppet, smplx
from .rig.target import Target

HANDLES: Final = (
    "head", "left_wrist", "right_wrist", "left_ankle", "right_ankle", "pelvis", "left_elbow", "right_elbow",
    "left_knee", "right_knee", "left_hip", "right_hip", "left_shoulder", "right_shoulder", "spine3",
)  # fmt: skip
"""The joints that can be dragged, those that one drags most first."""

MAIN_HANDLES: Final = frozenset(HANDLES[:6])
_PLANTED: Final = ("left_ankle", "right_ankle")
_TOES: Final = {"left_ankle": "left_foot", "right_ankle": "right_foot"}  # go along, so that the sole keeps its angle
_LIVELY_STEPS: Final = 4  # while the mouse moves: 25 answers a second and more
_EXACT_STEPS: Final = 12
_SETTLE: Final = 6  # more answers after the last move: what is still missing is made up in a quarter of a second


@dataclass(frozen=True)
class Handle:
    """``place``: where in the world the joint is to be; None while it only follows. ``pinned``: above all others."""

    place: Vector | None = None
    pinned: bool = False


@dataclass(frozen=True)
class _Step:
    """What a move is taken back to."""

    handles: Mapping[str, Handle]
    channels: apply.Snapshot


class Drag:
    """One character's dragging, from the button to Enter or Esc. Raises posing.RigError for a rig that is none."""

    def __init__(self, armature: bpy.types.Object, endpoint: Endpoint, prior: str | None = None) -> None:
        self.target = Target.of(armature)
        self.before = apply.snapshot(armature)
        self.puppet = puppet.measure(armature)
        self.exact = apply.is_smplx(armature)  # the solver's joints are the rig's
        joints, transl = self.puppet.pose(armature)
        self._shown: tuple[apply.Quats, tuple[float, ...]] = (joints, transl)
        self.handles = {name: Handle() for name in HANDLES if name in self.puppet.bones}
        self._soles: dict[str, np.ndarray] = {}
        for name in _PLANTED:
            if name in self.handles:
                self.pin(armature, name)
        self._steps: list[_Step] = []
        self._settle = 0
        self._drift: dict[str, np.ndarray] = {}
        self.ending: bool | None = None  # set by a button: True keeps, False discards
        rest = {name: tuple(place.tolist()) for name, place in self.puppet.rest.items()}
        self.live = Live(endpoint, Pose(joints, transl), rest, prior)
        self._ask(1)  # only to wake the server: its first answer takes seconds, and what it says is dropped

    @property
    def problem(self) -> str:
        """Why the body does not follow; "" while it does."""
        return self.live.problem

    @property
    def moves(self) -> int:
        """How many moves can be taken back."""
        return len(self._steps)

    # -- what the artist does ------------------------------------------------------------------------------------------
    def place(self, armature: bpy.types.Object, name: str) -> Vector:
        """Where a handle is to be drawn: where it was put, else where the body has it."""
        place = self.handles[name].place
        return self.puppet.place(armature, name) if place is None else place

    def grab(self, name: str) -> None:
        """Begins a move, which ``undo`` takes back."""
        armature = self._armature()
        if not self._steps:
            self.live.restart(Pose(*self._shown))
        self._steps.append(_Step(dict(self.handles), apply.snapshot(armature)))
        self._note_sole(armature, name)

    def move(self, name: str, place: Vector) -> None:
        """The handle is to be there."""
        self.handles[name] = replace(self.handles[name], place=place.copy())
        self._ask(_LIVELY_STEPS)

    def release(self) -> None:
        """The mouse has let go: what is missing is made up."""
        self._settle = _SETTLE
        self._ask(_EXACT_STEPS)

    def pin(self, armature: bpy.types.Object, name: str) -> None:
        """A joint stays where it is, whatever is dragged."""
        self._note_sole(armature, name)
        self.handles[name] = Handle(self.place(armature, name).copy(), pinned=True)

    def let_go(self, name: str) -> None:
        """A joint that was pinned or put somewhere follows the body again."""
        self.handles[name] = Handle()

    def undo(self, context: bpy.types.Context) -> bool:
        """Takes the last move back; False when there is none."""
        if not self._steps:
            return False
        step = self._steps.pop()
        armature = self._armature()
        self.handles = dict(step.handles)
        apply.restore(armature, step.channels)
        context.view_layer.update()
        self._shown = self.puppet.pose(armature)
        self._settle = 0
        self.live.restart(Pose(*self._shown))
        return True

    # -- the loop ------------------------------------------------------------------------------------------------------
    def tick(self, context: bpy.types.Context) -> bool:
        """Puts the newest answer on the rig and asks for the next; whether the rig has changed."""
        answer = self.live.take() if self._steps else None
        if answer is not None:
            armature = self._armature()
            self._shown = (answer.pose.joints, answer.pose.transl or (0.0, 0.0, 0.0))
            self.puppet.put(context, armature, *self._shown)
            if not self.exact:
                context.view_layer.update()
                self._drift = self.puppet.drift(armature, *self._shown)
        if self._settle and self.live.idle:
            self._settle -= 1
            self._ask(_EXACT_STEPS)
        return answer is not None

    @property
    def settled(self) -> bool:
        """Whether the body is where it was asked to be and nothing more is to come."""
        return not self._settle and self.live.idle

    def goal(self, steps: int) -> Goal:
        """What the solver is asked: every handle that was put somewhere, the soles of the feet with them."""
        armature = self._armature()
        targets: dict[str, np.ndarray] = {}
        pins: list[str] = []
        for name, handle in self.handles.items():
            if handle.place is None:
                continue
            targets[name] = np.array(self.puppet.to_solver(armature, handle.place))
            pins += [name] * handle.pinned
            toe = _TOES.get(name)
            if toe is not None and name in self._soles:
                targets[toe] = targets[name] + self._soles[name]
                pins += [toe] * handle.pinned
        aimed = {name: tuple((at - self._drift.get(name, 0.0)).tolist()) for name, at in targets.items()}
        return Goal(aimed, tuple(pins), steps)

    def end(self) -> None:
        """Stops the solver; the rig stays as it is."""
        self.live.close()

    def restore(self) -> None:
        """Stops the solver and puts every channel back exactly; a rig that is gone is no matter."""
        self.end()
        armature = self.target.find()
        if armature is not None:
            apply.restore(armature, self.before)

    def changed_bones(self) -> tuple[str, ...]:
        """The bones of the body, in the rig's order; for keying."""
        fit = self.puppet.fit
        own = {bone for name in smplx.BODY_JOINTS for bone in fit.rigmap.bones.get(name, ())}
        own |= {*fit.rigmap.spine, *fit.rigmap.neck, fit.mover}
        return tuple(name for name in fit.order if name in own)

    def _ask(self, steps: int) -> None:
        if any(handle.place is not None for handle in self.handles.values()):
            self.live.ask(self.goal(steps))

    def _note_sole(self, armature: bpy.types.Object, name: str) -> None:
        toe = _TOES.get(name)
        if toe is not None and toe in self.puppet.bones:
            places = self.puppet.places(armature)
            self._soles[name] = places[toe] - places[name]

    def _armature(self) -> bpy.types.Object:
        armature = self.target.find()
        if armature is None:
            raise LookupError(f"'{self.target.name}' is no longer in the scene")
        return armature
