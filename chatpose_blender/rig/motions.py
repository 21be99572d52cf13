"""Many frames at once: SMPL-X motions as tracks for a rig's bones. Writes nothing; ``keyframes`` does.

``plan`` is ``posing.put`` over time: same options, same rigs, but one calculation for all frames and no evaluation of
the scene, so that a thousand frames take a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import apply, posing, retarget, smplx
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


def plan(armature: bpy.types.Object, motion: Motion, options: Options) -> Tracks:
    """Tracks for every bone that the motion speaks for and the options ask for. Raises posing.RigError."""
    rig = posing.fit(armature)
    now = {**dict.fromkeys(smplx.JOINTS, rot.IDENTITY), **posing.read(armature)}
    quats, transl = _wanted(motion, now, options)
    count = len(motion)
    whole = {joint: np.broadcast_to(np.asarray(quat), (count, 4)) for joint, quat in now.items()} | quats
    bones = set(retarget.bones_of(rig, quats))
    held = {bone.name: apply.get_quat(bone) for bone in armature.pose.bones if bone.name in rig.order}
    locals_ = retarget.retarget(rig, whole, held)
    rotations = {name: continuous(np.broadcast_to(quat, (count, 4))) for name, quat in locals_.items() if name in bones}
    location = None
    if options.height == "GROUND" and smplx.PARTS["LOWER"] & quats.keys():
        location = _location(armature, rig, locals_, transl)
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


def _location(
    armature: bpy.types.Object, rig: retarget.Fit, locals_: Mapping[str, Array], transl: Array | None
) -> Array:
    """(N, 3): where the mover goes. A motion that knows its place keeps path and jumps, from where the rig stands."""
    bone = armature.pose.bones[rig.mover]
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
    present = np.array(bone.location)
    flat = np.array(local)
    if transl is None:  # poses change the height; where the character stands is the artist's
        up_local = rest.T @ rig.basis[:, 1]
        flat = present + ((local - present) @ up_local)[:, None] * up_local
    return flat
