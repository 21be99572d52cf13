"""Keying 55 bones over 250 frames: Blender's keyframe_insert against the add-on's arrays, and that both are the same.

    .venv-blender/4.5/bin/python benchmarks/keyframes.py

Processor time; ``keyframe_insert`` alone, without setting the values it keys; the arrays best of five.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatpose_blender.rig import keyframes, smplx
from chatpose_blender.rig import rotations as rot
from tests.addon.rigs import build
from tests.figures import Bone

FRAMES = 250
VECTORS = ("co", "handle_left", "handle_right")


def _rig(name: str) -> bpy.types.Object:
    bones = {}
    for i, joint in enumerate(smplx.JOINTS):
        head = np.array([0.1 * i, 0, 0])
        bones[joint] = Bone(smplx.PARENT.get(joint), head, np.add(head, (0, 0.1, 0)))
    rig = build(bones, name)
    for bone in rig.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return rig


def main() -> None:
    """Prints one row of the table."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    slow, fast = _rig("Slow"), _rig("Fast")
    rng = np.random.default_rng(0)
    quats = {j: rot.unit(np.add(np.cumsum(rng.normal(size=(FRAMES, 4)) * 0.03, 0), (2, 0, 0, 0))) for j in smplx.JOINTS}
    frames = list(range(1, FRAMES + 1))
    insert = 0.0
    for i, frame in enumerate(frames):
        for joint, values in quats.items():
            bone = slow.pose.bones[joint]
            bone.rotation_quaternion = values[i]
            start = time.process_time()
            bone.keyframe_insert("rotation_quaternion", frame=frame, group=joint)
            insert += time.process_time() - start
    best = np.inf
    for _ in range(5):
        fast.animation_data_clear()
        start = time.process_time()
        count = keyframes.write(fast, frames, quats)
        best = min(best, time.process_time() - start)
    worst = 0.0
    theirs = {(c.data_path, c.array_index): c for c in keyframes.curves_of(slow)}
    for curve in keyframes.curves_of(fast):
        for name in VECTORS:
            pair = [np.empty(2 * FRAMES, np.float32) for _ in range(2)]
            for other, table in zip((curve, theirs[curve.data_path, curve.array_index]), pair, strict=True):
                other.keyframe_points.foreach_get(name, table)
            worst = max(worst, float(np.abs(pair[0] - pair[1]).max()))
    print(
        f"| {bpy.app.version_string} | {insert:.2f} s | {1000 * best:.1f} ms | {insert / best:.0f} x |"
        f" {count} curves, {worst:.0e} |"
    )


main()
sys.stdout.flush()
os._exit(0)  # bpy 4.5 can hang in its own destructors
