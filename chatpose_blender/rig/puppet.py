"""A rig as a solver of joint places sees it: its own proportions, where its joints are, and the way back to its bones.

    puppet = measure(armature)
    puppet.rest                                  # joint -> place at SMPL-X's rest, metres: the solver's skeleton
    pose, transl = puppet.pose(armature)         # where the solver starts
    puppet.put(context, armature, pose, transl)  # what it found
    puppet.drift(armature, pose, transl)         # by how much the rig's joints miss the solver's, to aim off by it

Every rig is taken as the SMPL-X body that it is nearest to, scaled so that its hips are as high as SMPL-X's. Where it
has another spine, or machinery of its own, its joints end a little beside the solver's; who asks again with ``drift``
taken off meets the goal all the same. Writes pose channels only; knows no network and no operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from . import apply, posing, retarget, smplx
from . import armature as rigs
from . import rotations as rot
from .rest_pose import REST
from .rotations import Array

if TYPE_CHECKING:
    import bpy

_NEXT: Final[dict[str, str]] = {
    "spine1": "spine2", "spine2": "spine3", "spine3": "neck", "neck": "head", "left_collar": "left_shoulder",
    "right_collar": "right_shoulder",
}  # fmt: skip
"""Where a joint without a bone is put: at the next one, so that what the solver turns there moves nothing falsely."""


@dataclass(frozen=True)
class Puppet:
    """``rest``: joint -> (3,) of all 22 body joints, metres, SMPL-X's frame. ``bones``: joint -> its first bone.

    ``held``: bone -> local quaternion of the rig's bones as they were when it was measured.
    """

    fit: retarget.Fit
    rest: Mapping[str, Array]
    bones: Mapping[str, str]
    held: Mapping[str, apply.Quat]
    has_machinery: bool

    # -- between the world and the solver --------------------------------------------------------------------------
    def to_solver(self, armature: bpy.types.Object, point: object) -> tuple[float, float, float]:
        """A place in the world, in the solver's frame."""
        x, y, z = (self.fit.basis.T @ np.array(armature.matrix_world.inverted_safe() @ point)) / self.fit.scale  # type: ignore[operator]
        return (float(x), float(y), float(z))

    def place(self, armature: bpy.types.Object, joint: str) -> object:
        """Where a joint of the posed rig is in the world."""
        return armature.matrix_world @ armature.pose.bones[self.bones[joint]].head

    def places(self, armature: bpy.types.Object) -> dict[str, Array]:
        """Where the posed rig's joints are, in the solver's frame."""
        bones = armature.pose.bones
        heads = np.array([bones[name].head for name in self.bones.values()])
        return dict(zip(self.bones, heads @ self.fit.basis / self.fit.scale, strict=True))

    # -- poses -----------------------------------------------------------------------------------------------------
    def pose(self, armature: bpy.types.Object) -> tuple[dict[str, apply.Quat], tuple[float, float, float]]:
        """The body's pose, and how far its pelvis is from its place at rest."""
        joints = posing.read(armature)
        body = {name: joints.get(name, rot.IDENTITY) for name in smplx.BODY_JOINTS}
        x, y, z = (self.places(armature)["pelvis"] - self.rest["pelvis"]).tolist()
        return {name: tuple(float(c) for c in quat) for name, quat in body.items()}, (x, y, z)

    def put(
        self, context: bpy.types.Context, armature: bpy.types.Object, joints: apply.Quats, transl: tuple[float, ...]
    ) -> None:
        """Turns the rig's bones and moves its body. The scene is evaluated by the next redraw, or by the caller."""
        body = {name: joints[name] for name in smplx.BODY_JOINTS if name in joints}
        if apply.is_smplx(armature):
            apply.write_pose(armature, body)
        elif self.has_machinery:
            whole = {**dict.fromkeys(smplx.JOINTS, rot.IDENTITY), **posing.read(armature), **body}
            rigs.write_pose(context, armature, whole, body, self.fit, passes=1)  # the next answer brings the next pass
        else:
            for name, quat in retarget.retarget(self.fit, body, self.held).items():
                apply.set_quat(armature.pose.bones[name], quat.tolist())
        self._carry(context, armature, transl)

    def _carry(self, context: bpy.types.Context, armature: bpy.types.Object, transl: tuple[float, ...]) -> None:
        """Moves the bone that carries the body until the pelvis is where the solver has it."""
        mover = armature.pose.bones[self.fit.mover]
        if mover.bone.use_connect:
            return
        goal = self.fit.basis @ (self.rest["pelvis"] + np.array(transl)) * self.fit.scale
        if mover.name == self.bones["pelvis"] and not self.has_machinery:
            frame = np.array(mover.bone.matrix_local)
            if mover.parent is not None:
                above = np.array(mover.parent.bone.matrix_local)
                frame = np.array(mover.parent.matrix) @ np.linalg.solve(above, frame)
            local = np.linalg.solve(frame[:3, :3], goal - frame[:3, 3])
            for axis in range(3):
                if not mover.lock_location[axis]:
                    mover.location[axis] = local[axis]
            return
        context.view_layer.update()
        actual = np.array(armature.pose.bones[self.bones["pelvis"]].head)
        turn = np.array(armature.matrix_world.to_3x3())
        apply.move_bone(armature, mover.name, tuple((turn @ (goal - actual)).tolist()))

    def drift(self, armature: bpy.types.Object, joints: apply.Quats, transl: tuple[float, ...]) -> dict[str, Array]:
        """Joint -> (3,): where the evaluated rig has it, less where the solver had it in the pose that was put."""
        meant = positions(self.rest, joints, transl)
        return {name: at - meant[name] for name, at in self.places(armature).items()}


def measure(armature: bpy.types.Object) -> Puppet:
    """Measures a rig. Raises posing.RigError."""
    fit = posing.fit(armature)
    bones = joint_bones(fit)
    posed = {name: bone.matrix for name, bone in fit.bones.items()}
    if not apply.is_smplx(armature):  # whose rest is SMPL-X's by itself
        posed = retarget.posed_matrices(fit, retarget.retarget(fit, dict.fromkeys(smplx.JOINTS, rot.IDENTITY)))
    heads = {name: posed[bone][:3, 3] @ fit.basis / fit.scale for name, bone in bones.items()}
    held = {name: apply.get_quat(armature.pose.bones[name]) for name in fit.order}
    return Puppet(fit, whole_skeleton(heads), bones, held, rigs.has_machinery(armature, fit))


def joint_bones(fit: retarget.Fit) -> dict[str, str]:
    """Body joint -> the bone that begins at it. A spine of another number of bones has its joints at the nearest."""
    rigmap = fit.rigmap
    bones = {name: rigmap.bones[name][0] for name in smplx.BODY_JOINTS if name in rigmap.bones}
    if rigmap.spine:
        for name, at in zip(("spine1", "spine2", "spine3"), np.linspace(0, len(rigmap.spine) - 1, 3), strict=True):
            bones[name] = rigmap.spine[round(float(at))]
    if rigmap.neck:
        bones["neck"] = rigmap.neck[0]
    return bones


def whole_skeleton(heads: Mapping[str, Array]) -> dict[str, Array]:
    """All 22 body joints at rest: those that have no bone are put at the next one, or hang as SMPL-X's do."""
    places = dict(heads)
    for name in reversed(smplx.BODY_JOINTS):
        if name not in places and _NEXT.get(name) in places:
            places[name] = places[_NEXT[name]]
    for name in smplx.BODY_JOINTS:
        if name not in places:
            above = smplx.PARENT[name]
            places[name] = places[above] + REST[name] - REST[above]
    return {name: np.asarray(places[name], np.float64) for name in smplx.BODY_JOINTS}


def positions(rest: Mapping[str, Array], joints: apply.Quats, transl: tuple[float, ...]) -> dict[str, Array]:
    """Joint -> (3,) by forward kinematics, as the solver has it."""
    turned = retarget.forward({name: joints[name] for name in smplx.BODY_JOINTS if name in joints})
    found = {"pelvis": rest["pelvis"] + np.asarray(transl, np.float64)}
    for name in smplx.BODY_JOINTS[1:]:
        above = smplx.PARENT[name]
        found[name] = found[above] + turned[above] @ (rest[name] - rest[above])
    return found
