"""Many frames at once: SMPL-X motions as tracks for a rig's bones. Writes nothing; ``keyframes`` does.

``plan`` is ``posing.put`` over time: same options, same rigs, but one calculation for all frames and no evaluation of
the scene, so that a thousand frames take a moment.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import apply, keyframes, posing, puppet, retarget, smplx
from . import rotations as rot
from .apply import Options
from .pose_files import Motion
from .rotations import Array

if TYPE_CHECKING:
    import bpy


@dataclass(frozen=True)
class Tracks:
    """What to key: ``rotations`` bone -> (N, 4) local quaternions, continuous in sign; ``mover``'s ``location`` (N, 3)
    in the bone's own rest axes, None where height and place are not to change.
    """

    rotations: Mapping[str, Array]
    mover: str
    location: Array | None


@dataclass(frozen=True)
class Stand:
    """What is read of a rig before its tracks are made, so that a thread can make them.

    ``now``: the pose it shows. ``held``: its bones' local rotations. ``location``: the mover's. ``pelvis``: where the
    pelvis is at rest, metres (see ``puppet``). ``carry``: (4, 4) by which bones above the mover have moved it.
    """

    rig: retarget.Fit
    now: Mapping[str, apply.Quat]
    held: Mapping[str, apply.Quat]
    location: Array
    pelvis: Array
    carry: Array


def stand(armature: bpy.types.Object) -> Stand:
    """Reads a rig. Raises posing.RigError."""
    shape = puppet.measure(armature)
    mover = armature.pose.bones[shape.fit.mover]
    carry = np.eye(4)
    if mover.parent is not None:
        carry = np.array(mover.parent.matrix) @ np.linalg.inv(np.array(mover.parent.bone.matrix_local))
    now = {**dict.fromkeys(smplx.JOINTS, rot.IDENTITY), **posing.read(armature)}
    return Stand(shape.fit, now, shape.held, np.array(mover.location), shape.rest["pelvis"], carry)


def sample(armature: bpy.types.Object, frames: Sequence[int]) -> Motion | None:
    """``sampling`` at once."""
    return keyframes.finish(sampling(armature, frames))


def sampling(armature: bpy.types.Object, frames: Sequence[int]) -> Generator[None, None, Motion | None]:
    """The motion that a SMPL-X rig's own keys give at some frames, placed (see ``tracks``), without evaluating the
    scene; None for other rigs, and where something besides those keys moves this one. A step for each bone.
    """
    data = armature.animation_data
    plain = apply.is_smplx(armature) and data is not None and not data.nla_tracks and not data.drivers
    shape = puppet.measure(armature) if plain else None
    if shape is None or shape.has_machinery or shape.fit.mover != shape.bones["pelvis"]:
        return None
    yield
    binding = apply.bind(armature)
    curves: dict[str, dict[int, bpy.types.FCurve]] = {}
    for curve in keyframes.curves_of(armature):
        curves.setdefault(curve.data_path, {})[curve.array_index] = curve

    def values(bone: bpy.types.PoseBone, name: str) -> Array:
        """(N, k): a property at each frame, by its keys where it has any."""
        now = np.array(getattr(bone, name), np.float64)
        found = np.tile(now, (len(frames), 1))
        for index, curve in curves.get(bone.path_from_id(name), {}).items():
            if not curve.mute:
                found[:, index] = [curve.evaluate(frame) for frame in frames]
        return found

    bones = armature.pose.bones
    quats: dict[str, Array] = {}
    for name, bone, turn in zip(binding.names, binding.bones, binding.turn, strict=True):
        local = _as_quats(bones[bone].rotation_mode, values(bones[bone], apply.rotation_path(bones[bone])))
        quats[name] = rot.unit(rot.multiply(rot.multiply(rot.conjugate(turn), local), turn))
        yield
    mover = bones[shape.fit.mover]
    rest = np.array(mover.bone.matrix_local)
    at = (values(mover, "location") @ rest[:3, :3].T + rest[:3, 3]) @ shape.fit.basis / shape.fit.scale
    return Motion(quats, at - shape.rest["pelvis"])


def _as_quats(mode: str, values: Array) -> Array:
    """(N, 4) quaternions from a rotation property's values in a bone's own mode."""
    if mode == "QUATERNION":
        return rot.unit(values)
    from mathutils import Euler, Quaternion

    if mode == "AXIS_ANGLE":
        return np.array([Quaternion(axis, angle) for angle, *axis in values.tolist()])
    return np.array([Euler(value, mode).to_quaternion() for value in values.tolist()])


def plan(armature: bpy.types.Object, motion: Motion, options: Options) -> Tracks:
    """Tracks for every bone that the motion speaks for and the options ask for. Raises posing.RigError."""
    return tracks(stand(armature), motion, options)


def tracks(at: Stand, motion: Motion, options: Options, *, placed: bool = False) -> Tracks:
    """``plan`` without Blender. ``placed``: the motion was read off this very rig (``puppet``), so its pelvis goes
    where ``transl`` says and nowhere else.
    """
    rig, now = at.rig, at.now
    quats, transl = _wanted(motion, now, options)
    count = len(motion)
    whole = {joint: np.broadcast_to(np.asarray(quat), (count, 4)) for joint, quat in now.items()} | quats
    bones = set(retarget.bones_of(rig, quats))
    locals_ = retarget.retarget(rig, whole, at.held)
    rotations = {name: continuous(np.broadcast_to(quat, (count, 4))) for name, quat in locals_.items() if name in bones}
    location = None
    if placed and motion.transl is not None:
        location = _placed(at, locals_, motion.transl)
    elif options.height == "GROUND" and smplx.PARTS["LOWER"] & quats.keys():
        location = _location(at, locals_, transl)
    return Tracks(rotations, rig.mover, location)


def continuous(quats: Array) -> Array:
    """(N, 4): signs flipped so that each is on the side of the one before and no key interpolates the long way."""
    signs = np.where((quats[1:] * quats[:-1]).sum(-1) < 0, -1.0, 1.0)
    return np.concatenate([quats[:1], quats[1:] * np.cumprod(signs)[:, None]])


def _wanted(motion: Motion, now: apply.Quats, options: Options) -> tuple[dict[str, Array], Array | None]:
    """The motion as the options want it: mirrored, turned, only the joints asked for."""
    quats: dict[str, Array] = dict(motion.quats)
    transl = motion.transl
    if options.mirror:
        quats = {smplx.mirror_name(name): rot.mirror(quat) for name, quat in quats.items()}
        transl = None if transl is None else transl * (-1.0, 1.0, 1.0)
    if "pelvis" in quats:
        turn = rot.from_rotvec((0.0, options.turn, 0.0))
        if options.facing == "KEEP":  # the motion begins where the character faces now
            first = rot.conjugate(rot.twist(quats["pelvis"][0], 1))
            turn = rot.multiply(turn, rot.multiply(rot.twist(now["pelvis"], 1), first))
        quats["pelvis"] = rot.multiply(turn, quats["pelvis"])
        transl = None if transl is None else rot.rotate(turn, transl - transl[0]) + transl[0]
    fingers = {name: np.asarray(quat) for name, quat in apply.hands(options.hands).items()}
    quats |= {name: np.broadcast_to(quat, (len(motion), 4)) for name, quat in fingers.items()}
    if options.joints is not None:
        quats = {name: quat for name, quat in quats.items() if name in options.joints}
    return quats, transl


def _placed(at: Stand, locals_: Mapping[str, Array], transl: Array) -> Array:
    """(N, 3): where the mover goes for the pelvis to be ``transl`` from its place at rest."""
    rig = at.rig
    back = np.linalg.inv(at.carry)
    goal = (at.pelvis + transl) * rig.scale @ rig.basis.T
    head = retarget.posed_matrices(rig, locals_)[rig.rigmap.bones["pelvis"][0]][..., :3, 3]
    return (goal @ back[:3, :3].T + back[:3, 3] - head) @ rig.bones[rig.mover].matrix[:3, :3]


def _location(at: Stand, locals_: Mapping[str, Array], transl: Array | None) -> Array:
    """(N, 3): where the mover goes. A motion that knows its place keeps path and jumps, from where the rig stands."""
    rig = at.rig
    rest = rig.bones[rig.mover].matrix[:3, :3]
    if transl is None:
        offset = retarget.place(rig, locals_)
    else:
        offset = retarget.place(rig, locals_, transl=transl, ground=False)
        standing = retarget.place(rig, locals_)  # the same frames with their lowest points on the ground
        up = rig.basis[:, 1]
        lift = np.min((offset - standing) @ up)  # the frame that comes nearest to the ground touches it
        start = (offset[0] - standing[0]) - ((offset[0] - standing[0]) @ up) * up
        offset = offset - start - lift * up
    local = offset @ rest
    present = at.location
    flat = np.array(local)
    if transl is None:  # poses change the height; where the character stands is the artist's
        up_local = rest.T @ rig.basis[:, 1]
        flat = present + ((local - present) @ up_local)[:, None] * up_local
    return flat
