"""What the add-on's longer work costs Blender's main thread, step by step: bodies, pose correctives, motions.

    .venv-blender/4.5/bin/python benchmarks/desk.py [--picture FILE.png]

The main thread's own time. The correctives have a licensed file's layout, all 486 of them, on our body; they are made
up, because the licensed file cannot be had here. With --picture the body is also rendered, bent, without and with them.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatpose_blender.rig import apply, body, keyframes, motions, smplx
from chatpose_blender.rig import rotations as rot

BODY = Path(__file__).resolve().parent.parent / "server" / "chatpose_server" / "body" / "assets" / "SMPLX_STANDIN.npz"
FRAMES = 500
REACH = 0.09  # metres about a joint in which our made-up correctives move the skin
_T = TypeVar("_T")


class Character(bpy.types.PropertyGroup):
    """As much of the add-on's own property group as reading a rig looks at."""

    rigmap: bpy.props.StringProperty()


def stepped(name: str, steps: Generator[None, None, _T]) -> _T:
    """Runs work step by step and prints a row of the table; -> what it returns."""
    times: list[float] = []
    while True:
        start = time.thread_time()
        try:
            next(steps)
        except StopIteration as end:
            times.append(time.thread_time() - start)
            print(f"| {name} | {1000 * sum(times):.0f} ms | {len(times)} | {1000 * max(times):.1f} ms |", flush=True)
            return end.value
        times.append(time.thread_time() - start)


def with_correctives(file: body.BodyFile) -> body.BodyFile:
    """The body with a full table of correctives: about each joint the skin swells as the joint turns."""
    joints = file.joints
    posedirs = np.zeros((len(file.vertices), 3, 9 * (len(smplx.JOINTS) - 1)), np.float32)
    signs = np.random.default_rng(3).normal(size=posedirs.shape[2])
    for number, sign in enumerate(signs):
        away = file.vertices - joints[1 + number // 9]
        distance = np.linalg.norm(away, axis=1, keepdims=True)
        swell = 0.02 * sign * np.exp(-((distance / REACH) ** 2)) * away / np.maximum(distance, 1e-6)
        posedirs[:, :, number] = np.where(np.abs(swell) > 1e-5, swell, 0)
    return dataclasses.replace(file, posedirs=posedirs)


def bend(rig: bpy.types.Object) -> None:
    """Knees, elbows and waist."""
    turns = {"left_knee": (1.9, 0, 0), "right_knee": (1.2, 0, 0), "left_hip": (-1.4, 0, 0), "left_elbow": (0, -1.8, 0),
             "right_elbow": (0, 2.0, 0), "spine2": (0.4, 0.3, 0), "neck": (0.3, 0, 0)}  # fmt: skip
    apply.write_pose(rig, {name: tuple(rot.from_rotvec(turn).tolist()) for name, turn in turns.items()})


def frame_cost(rig: bpy.types.Object) -> float:
    """Seconds to pose the body and evaluate the scene, the best of ten."""
    best = np.inf
    for i in range(10):
        start = time.process_time()
        apply.write_pose(rig, {"left_elbow": tuple(rot.from_rotvec((0, -0.1 * i, 0)).tolist())})
        bpy.context.view_layer.update()
        best = min(best, time.process_time() - start)
    return float(best)


def put_pose(rig: bpy.types.Object) -> None:
    """Prints a row: a pose is put on the body and stood on the ground, as the tick of an answer does; the median."""
    times: list[float] = []
    for i in range(41):
        turns = {n: tuple(rot.from_rotvec((0.02 * i, 0, 0)).tolist()) for n in smplx.BODY_JOINTS}
        start = time.thread_time()
        apply.apply_pose(bpy.context, rig, turns, apply.Options())
        times.append(time.thread_time() - start)
    print(
        f"| put a pose on the body | {1000 * sorted(times)[20]:.1f} ms | 1 | {1000 * max(times[1:]):.1f} ms |",
        flush=True,
    )


def picture(file: str, rigs: list[bpy.types.Object]) -> None:
    """All bodies beside each other."""
    scene = bpy.context.scene
    for i, rig in enumerate(rigs):
        rig.location.x = 1.3 * i
        bend(rig)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(camera)
    camera.location, camera.rotation_euler = (0.65 * (len(rigs) - 1), -5.2, 1.1), (1.52, 0, 0)
    camera.data.lens = 50
    scene.camera = camera
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.display.shading.show_cavity = True
    scene.render.resolution_x, scene.render.resolution_y = 1000, 800
    scene.render.filepath = file
    bpy.ops.render.render(write_still=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture")
    asked = parser.parse_args()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.utils.register_class(Character)
    bpy.types.Object.chatpose = bpy.props.PointerProperty(type=Character)
    print(f"Blender {bpy.app.version_string}\n| work | in all | steps | longest step |\n|---|---|---|---|")
    file = body.load_body(str(BODY))
    plain = body.make_body(bpy.context, file)  # once unmeasured: the first loads something
    rig = stepped("Add SMPL-X Body", body.making(bpy.context, file))
    put_pose(rig)
    rng = np.random.default_rng(0)
    turns = {j: rot.unit(np.add(np.cumsum(rng.normal(size=(FRAMES, 4)) * 0.03, 0), (2, 0, 0, 0))) for j in smplx.JOINTS}
    frames = range(1, FRAMES + 1)
    kept = stepped("remember keys where there are none", keyframes.remembering(rig))
    stepped(f"key {FRAMES} frames of 55 bones", keyframes.writing(rig, list(frames), turns))
    stepped(f"remember {FRAMES} frames of keys, for Esc", keyframes.remembering(rig))
    stepped(f"read {FRAMES} frames for Smooth Motion", motions.sampling(rig, frames))
    stepped(f"Esc: take {FRAMES} frames back", keyframes.putting_back(rig, kept))
    full = with_correctives(file)
    corrected = stepped("Add SMPL-X Body with 486 correctives", body.making(bpy.context, full))
    keys = corrected.children[0].data.shape_keys
    drivers = keys.animation_data.drivers
    assert len(keys.key_blocks) == 487 and all(d.driver.is_simple_expression for d in drivers)
    for name, one in (("none", plain), ("486", corrected)):
        for other in (plain, rig, corrected):
            other.hide_set(other != one)
            other.children[0].hide_set(other != one)
            other.children[0].hide_viewport = other.hide_viewport = other != one
        print(f"a pose evaluated with correctives: {name}: {1000 * frame_cost(one):.1f} ms", flush=True)
    if asked.picture:
        for other in (plain, rig, corrected):
            other.children[0].hide_viewport = other.hide_viewport = False
        rig.children[0].hide_render = True
        rig.location.y = 50
        picture(asked.picture, [plain, corrected])


main()
sys.stdout.flush()
os._exit(0)  # bpy 4.5 can hang in its own destructors
