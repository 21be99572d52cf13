# ruff: noqa: E501 (tables of poses)
"""How well every kind of rig shows a SMPL-X pose, measured in Blender.

    .venv-blender/4.5/bin/python benchmarks/retarget.py [--only NAME] [--out results.md]

Armatures are built from the families' published bone names on a character that has nobody's proportions
(tests/figures.py): T and A rest, odd bone rolls, in a scaled and turned object; and two humans by Blender's own
Rigify. Each takes the same poses: written by hand, and random ones within joint limits. Every pose goes on through the add-on's own code and is
evaluated by Blender; what it is compared with is forward kinematics of the SMPL-X body in mathutils.

Limbs: degrees between a limb on the rig and on the body, in the world. Trunk (spine, neck, collars): the same beyond
what the two rest poses differ by; a rig's own posture is meant to stay. Feet: heading and flatness of the sole; and
height of the lowest sole in poses that stand on it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy  # first: it brings addon_utils and mathutils with it

import addon_utils  # isort: skip
import numpy as np
from mathutils import Matrix, Quaternion, Vector

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatpose_blender.rig import apply, retarget, smplx
from chatpose_blender.rig import armature as rigs
from chatpose_blender.rig.rest_pose import REST
from tests import figures
from tests.addon.rigs import build

RANDOM_POSES = 50
# degrees: (about x, about y, about z), the widest that a random pose goes to; the left side, the right is mirrored
LIMITS = {
    "pelvis": ((-60, 60), (-180, 180), (-40, 40)), "spine1": ((-15, 35), (-15, 15), (-15, 15)),
    "spine2": ((-10, 20), (-15, 15), (-10, 10)), "spine3": ((-10, 20), (-15, 15), (-10, 10)),
    "neck": ((-25, 30), (-30, 30), (-15, 15)), "head": ((-25, 25), (-35, 35), (-15, 15)),
    "hip": ((-110, 25), (-35, 35), (-15, 45)), "knee": ((0, 130), (-5, 5), (-3, 3)),
    "ankle": ((-20, 35), (-10, 10), (-10, 10)), "foot": ((-30, 10), (-3, 3), (-3, 3)),
    "collar": ((-5, 5), (-15, 15), (-10, 25)), "shoulder": ((-60, 40), (-90, 40), (-85, 80)),
    "elbow": ((-60, 30), (-130, 0), (-5, 5)), "wrist": ((-60, 60), (-25, 25), (-55, 55)),
    "finger": ((-5, 5), (-5, 5), (-70, 5)),
}  # fmt: skip
STANDING = {
    "standing, arms down": {"left_shoulder": (0, 0, -75), "right_shoulder": (0, 0, 75)},
    "arms raised": {"left_shoulder": (0, 0, 75), "right_shoulder": (0, 0, -75)},
    "T": {},
    "bow": {"spine1": (35, 0, 0), "spine2": (20, 0, 0), "spine3": (15, 0, 0), "pelvis": (0, 0, 0)},
    "side bend": {"spine1": (0, 0, 15), "spine2": (0, 0, 12), "spine3": (0, 0, 12), "left_shoulder": (0, 0, 60)},
    "looking back": {"spine1": (0, 15, 0), "spine2": (0, 15, 0), "spine3": (0, 20, 0), "neck": (0, 25, 0), "head": (0, 30, 0)},
    "squat": {"pelvis": (20, 0, 0), "left_hip": (-110, 0, 15), "right_hip": (-110, 0, -15), "left_knee": (115, 0, 0),
              "right_knee": (115, 0, 0), "left_ankle": (-25, 0, 0), "right_ankle": (-25, 0, 0)},
    "tree": {"left_hip": (-50, 0, 60), "left_knee": (110, 0, 0), "left_shoulder": (0, 0, 70), "right_shoulder": (0, 0, -70)},
}  # fmt: skip
LYING = {
    "on the back": {"pelvis": (-90, 0, 0), "left_shoulder": (0, 0, -60), "right_shoulder": (0, 0, 60)},
    "on one knee": {"left_hip": (-90, 0, 0), "left_knee": (90, 0, 0), "right_knee": (90, 0, 0), "right_ankle": (40, 0, 0)},
    "sitting": {"left_hip": (-90, 0, 5), "right_hip": (-90, 0, -5), "left_knee": (85, 0, 0), "right_knee": (85, 0, 0)},
    "crawling": {"pelvis": (80, 0, 0), "left_hip": (-80, 0, 0), "right_hip": (-80, 0, 0), "left_knee": (85, 0, 0),
                 "right_knee": (85, 0, 0), "left_shoulder": (0, -90, -80), "right_shoulder": (0, 90, 80)},
}  # fmt: skip

Pose = dict[str, tuple[float, ...]]


def poses() -> Iterator[tuple[str, Pose]]:
    """(name, joint -> wxyz)."""
    for name, angles in (*STANDING.items(), *LYING.items()):
        yield name, {joint: tuple(_euler(angles.get(joint, (0, 0, 0)))) for joint in smplx.BODY_JOINTS}
    rng = np.random.default_rng(2024)
    for i in range(RANDOM_POSES):
        pose: Pose = {}
        for joint in (*smplx.BODY_JOINTS, *smplx.HAND_JOINTS):
            side, _, part = joint.rpartition("_")
            limits = LIMITS["finger" if joint in smplx.HAND_JOINTS else part]
            angles = [rng.uniform(low, high) for low, high in limits]
            if side == "right":
                angles = [angles[0], -angles[1], -angles[2]]
            pose[joint] = tuple(_euler(angles))
        yield f"random {i + 1}", pose


def _euler(degrees: tuple[float, ...] | list[float]) -> Quaternion:
    from mathutils import Euler

    return Euler([math.radians(d) for d in degrees]).to_quaternion()


def body(pose: Pose) -> tuple[dict[str, Quaternion], dict[str, Vector]]:
    """Forward kinematics of the SMPL-X body: joint -> global rotation, joint -> place."""
    turned: dict[str, Quaternion] = {}
    places: dict[str, Vector] = {}
    for joint in smplx.JOINTS:
        local = Quaternion(pose.get(joint, (1, 0, 0, 0)))
        above = smplx.PARENT.get(joint)
        turned[joint] = local if above is None else turned[above] @ local
        places[joint] = (
            Vector(REST[joint]) if above is None else places[above] + turned[above] @ Vector(REST[joint] - REST[above])
        )
    return turned, places


class Meter:
    """Angles between a posed rig and the posed body."""

    def __init__(self, ob: bpy.types.Object, rig: retarget.Fit, shown: Callable[[str], str]) -> None:
        self.ob, self.rig, self.shown = ob, rig, shown
        self.limbs: list[float] = []
        self.trunk: list[float] = []
        self.feet: list[float] = []
        self.soles: list[float] = []

    def head(self, bone: str, *, rest: bool = False) -> Vector:
        """Where a bone begins, in SMPL-X's axes and without the object's scale."""
        name = self.shown(bone)
        point = self.ob.data.bones[name].head_local if rest else self.ob.pose.bones[name].head
        return Matrix(self.rig.basis.T.tolist()) @ point

    def take(self, pose: Pose, stands: bool) -> None:
        turned, places = body(pose)
        bones = self.rig.rigmap.bones
        world = self.ob.matrix_world.to_3x3() @ Matrix(self.rig.basis.tolist())
        for joint, tip in retarget.LIMB_TIP.items():
            if joint not in bones or tip not in bones or joint not in pose:
                continue
            if joint.endswith("ankle"):
                self.feet.append(self._sole_angle(joint, turned[joint]))
                continue
            mine = world @ (self.head(bones[tip][0]) - self.head(bones[joint][0]))
            self.limbs.append(math.degrees(mine.angle(world @ (places[tip] - places[joint]))))
        self.trunk += list(self._trunk(places))
        if stands:
            self.soles.append(abs(self._lowest_sole()))

    def _sole_angle(self, joint: str, turned: Quaternion) -> float:
        """Degrees by which a sole's heading and flatness miss the body's."""
        name = self.shown(self.rig.rigmap.bones[joint][0])
        basis = Matrix(self.rig.basis.tolist())
        rest = self.ob.data.bones[name].matrix_local.to_3x3()
        delta = basis.transposed() @ self.ob.pose.bones[name].matrix.to_3x3().normalized() @ rest.transposed() @ basis
        side = joint.partition("_")[0]
        ahead = self.head(self.rig.rigmap.bones[f"{side}_foot"][0], rest=True) - self.head(
            self.rig.rigmap.bones[joint][0], rest=True
        )
        own = Vector((ahead.x, 0, ahead.z))
        theirs = Vector(REST[f"{side}_foot"] - REST[joint])
        theirs.y = 0
        heading = math.degrees((delta @ own).angle(turned @ theirs))
        return max(heading, math.degrees((delta @ Vector((0, 1, 0))).angle(turned @ Vector((0, 1, 0)))))

    def _trunk(self, places: dict[str, Vector]) -> Iterator[float]:
        rigmap = self.rig.rigmap
        for side in ("left", "right"):
            collar, shoulder = f"{side}_collar", f"{side}_shoulder"
            if collar in rigmap.bones:
                ends = rigmap.bones[collar][0], rigmap.bones[shoulder][0]
                yield self._beyond(ends, (REST[collar], REST[shoulder]), (places[collar], places[shoulder]))
        top = rigmap.neck[0] if rigmap.neck else rigmap.bones["head"][0]
        chain = [*rigmap.spine, top]
        joints = ["spine1", "spine2", "spine3", "neck"]
        if rigmap.family == "rigify" and self.shown("neck") == "neck":
            chain, joints = chain[1:], joints[1:]  # this control hangs down from the middle of the back
        if len(rigmap.spine) == 3:
            for ends, (a, b) in zip(itertools.pairwise(chain), itertools.pairwise(joints), strict=True):
                yield self._beyond(ends, (REST[a], REST[b]), (places[a], places[b]))
            return
        for ends in itertools.pairwise(chain):  # another count: the same stretch of the body's trunk
            at = [self._height(bone) for bone in ends]
            yield self._beyond(ends, [self._along(REST, t) for t in at], [self._along(places, t) for t in at])

    def _beyond(self, ends: tuple[str, str], rest: tuple, posed: tuple) -> float:
        """Degrees between a piece of the rig's trunk and of the body's, less what they differ by at rest."""
        mine = self.head(ends[1]) - self.head(ends[0])
        mine_rest = self.head(ends[1], rest=True) - self.head(ends[0], rest=True)
        apart = mine_rest.angle(Vector(rest[1]) - Vector(rest[0]))
        return max(0.0, math.degrees(mine.angle(Vector(posed[1]) - Vector(posed[0])) - apart))

    def _height(self, bone: str) -> float:
        """Where a bone begins between the hips (0) and the neck (1) at rest."""
        bones = self.rig.rigmap.bones
        hips = (self.head(bones["left_hip"][0], rest=True).y + self.head(bones["right_hip"][0], rest=True).y) / 2
        top = self.rig.rigmap.neck[0] if self.rig.rigmap.neck else bones["head"][0]
        return (self.head(bone, rest=True).y - hips) / (self.head(top, rest=True).y - hips)

    def _along(self, places: dict, t: float) -> Vector:
        """The point of the body's trunk that is at height t at rest."""
        top = "neck" if self.rig.rigmap.neck else "head"
        curve = ["pelvis", "spine1", "spine2", "spine3", "neck", "head"]
        curve = curve[: curve.index(top) + 1]
        hips = REST["left_hip"][1]
        heights = [(REST[j][1] - hips) / (REST[top][1] - hips) for j in curve]
        for (a, low), (b, high) in itertools.pairwise(zip(curve, heights, strict=True)):
            if t <= high or b == top:
                return Vector(places[a]).lerp(Vector(places[b]), (t - low) / (high - low))
        raise AssertionError

    def _lowest_sole(self) -> float:
        """Millimetres between the lowest of four points under the feet and the ground, in the world."""
        bones = self.rig.rigmap.bones
        lowest = math.inf
        for side in ("left", "right"):
            for joint, carrier in (("ankle", "ankle"), ("foot", "ankle"), ("foot", "foot")):
                name = self.shown(bones[f"{side}_{carrier}"][0])
                at = self.head(bones[f"{side}_{joint}"][0], rest=True)
                at.y = self.rig.ground
                local = self.ob.data.bones[name].matrix_local.inverted() @ (Matrix(self.rig.basis.tolist()) @ at)
                lowest = min(lowest, (self.ob.matrix_world @ self.ob.pose.bones[name].matrix @ local).z)
        return 1000 * (lowest - self.ob.matrix_world.translation.z)


def measure(name: str, ob: bpy.types.Object, shown: Callable[[str], str] = lambda bone: bone) -> str:
    """One line of the table."""
    rig = rigs.bind(ob)
    meter = Meter(ob, rig, shown)
    options = apply.Options(facing="MODEL")
    spent = 0.0
    notes: set[str] = set()
    for pose_name, pose in poses():
        start = time.process_time()
        notes |= set(rigs.apply_to_armature(bpy.context, ob, pose, options, rig, to_forward=True).notes)
        spent += time.process_time() - start
        meter.take(pose, pose_name in STANDING)
    count = len(STANDING) + len(LYING) + RANDOM_POSES
    spine = f"{len(rig.rigmap.spine)} + {len(rig.rigmap.neck)}"
    row = (
        f"| {name} | {spine} | {max(meter.limbs):.3f} | {max(meter.feet):.3f} | {max(meter.trunk):.2f} |"
        f" {max(meter.soles):.2f} | {1000 * spent / count:.1f} |"
    )
    print(row, *sorted(notes))
    return row


def rigify(rest: str) -> bpy.types.Object:
    """A human by Blender's own generator; ``T``: the metarig's arms are first turned level."""
    bpy.ops.object.armature_basic_human_metarig_add()
    meta = bpy.context.object
    if rest == "T":
        bpy.ops.object.mode_set(mode="EDIT")
        for side, sign in (("L", 1.0), ("R", -1.0)):
            bones = meta.data.edit_bones
            start = bones[f"upper_arm.{side}"].head.copy()
            arm = bones[f"hand.{side}"].head - start
            turn = arm.rotation_difference(Vector((sign, 0, 0))).to_matrix().to_4x4()
            around = Matrix.Translation(start) @ turn @ Matrix.Translation(-start)
            for word in ("upper_arm", "forearm", "hand"):
                bones[f"{word}.{side}"].transform(around)
        bpy.ops.object.mode_set(mode="OBJECT")
    bpy.ops.pose.rigify_generate()
    generated = bpy.context.object
    meta.hide_set(True)
    return generated


def deform_bone(control: str) -> str:
    """The bone that carries the skin which a control of Rigify's moves."""
    return "DEF-" + {"neck": "spine.004", "head": "spine.006"}.get(control, control.replace("_fk", ""))


def main() -> None:
    """Runs all rigs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    rows = [
        "| rig | spine + neck bones | limbs, worst degrees | soles, worst degrees | trunk, worst degrees |"
        " lowest sole, worst mm | ms a pose |",
        "|---|---|---|---|---|---|---|",
    ]
    for i, (name, rest) in enumerate((n, r) for n in figures.ROWS for r in "TA"):
        if args.only in name:
            own = name.startswith("smpl") and rest == "T"  # these come with SMPL-X's own rest pose or a new one
            ob = build(figures.figure(name, rest="SMPLX" if own else rest, rolls=i))
            ob.scale = (0.6, 0.6, 0.6)
            ob.rotation_euler = (0, 0, 2.1)
            rows.append(measure(f"{name}, {rest}", ob))
            bpy.data.objects.remove(ob)
    if args.only in "rigify_generated":
        addon_utils.enable("rigify", default_set=True)
        for rest in "TA":
            ob = rigify(rest)
            rows.append(measure(f"Rigify's controls, {rest}", ob))
            rows.append(measure(f"Rigify's deform bones, {rest}", ob, deform_bone))
    print(f"\n{len(STANDING) + len(LYING)} poses by hand, {RANDOM_POSES} random, Blender {bpy.app.version_string}\n")
    print("\n".join(rows))
    if args.out:
        args.out.write_text("\n".join(rows) + "\n")


status = 1
try:
    main()
    status = 0
finally:
    if status:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)  # bpy 4.5 can hang in its own destructors
