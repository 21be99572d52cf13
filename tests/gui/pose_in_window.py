# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist does, in Blender's real window: tab, body, prompt, Pose, Ctrl-Z. Run by test_window.py.

Writes OUT/seen.json and pictures; raises where a step has no effect at all.
"""

import json
import math
import os
import sys
import time

import bpy
from mathutils import Euler

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
FRONT = Euler((math.radians(78), 0, math.radians(28)))  # the view: the body's front, a little from its left and above
ANSWER_LIMIT = 120  # seconds; a quiet machine takes one
MOVED = 0.05  # of a quaternion's component: about 6 degrees


def rig():
    """The body's armature, found anew each time: undo replaces objects."""
    return next((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), None)


def rotations():
    """Bone name -> its rotation, in whatever mode the bone is."""
    return {bone.name: tuple(bone.matrix_basis.to_quaternion()) for bone in rig().pose.bones}


def apart(a, b):
    """Number of bones that differ between two results of rotations(). A quaternion and its negative are the same."""
    return sum(1 for name in a if 1 - abs(sum(x * y for x, y in zip(a[name], b[name], strict=True))) > MOVED**2 / 2)


def tidy_viewport():
    """The startup scene without its cube, and the view on where the body will stand."""
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    _, space, _ = gui.viewport()
    space.shading.show_cavity = True
    space.shading.show_shadows = True
    space.overlay.show_cursor = False
    space.region_3d.view_location = (0.0, 0.0, 0.85)
    space.region_3d.view_rotation = FRONT.to_quaternion()
    space.region_3d.view_distance = 3.6
    bpy.ops.ed.undo_push(message="Tidy")


def test():
    """The artist's way, step by step."""
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address, settings.token = os.environ["CHATPOSE_ADDRESS"], os.environ["CHATPOSE_TOKEN"]
    yield from gui.ready()
    tidy_viewport()
    region = yield from gui.open_sidebar("ChatPose")
    area = gui.viewport()[0]
    over_view = (area.x + area.width // 4, area.y + area.height // 2)

    yield from gui.click(*(yield from gui.find_button(region, "chatpose.check_connection(")))
    yield from gui.click(*(yield from gui.find_button(region, "chatpose.add_body(")))
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    field = yield from gui.find_button(region, "chatpose.prompt")
    yield from gui.click(*field)
    yield from gui.type_text(os.environ["CHATPOSE_PROMPT"], *field)
    gui.shot("typing.png")
    yield from gui.key("RET", *field)
    assert bpy.context.scene.chatpose.prompt == os.environ["CHATPOSE_PROMPT"], bpy.context.scene.chatpose.prompt
    before = rotations()
    start = time.monotonic()
    gui.redraw()
    one_redraw = time.monotonic() - start

    session = sys.modules[f"{MODULE}.session"]
    yield from gui.click(*(yield from gui.find_button(region, "chatpose.pose(")))
    assert session.current.work or apart(before, rotations()), "the Pose button began nothing"
    end = time.monotonic() + ANSWER_LIMIT
    last, longest = time.monotonic(), 0.0
    while session.current.work is not None:
        assert time.monotonic() < end, f"no answer in {ANSWER_LIMIT} s; the panel says {session.current.work.stage!r}"
        yield from gui.move(*over_view)
        yield 0.02
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert session.current.problem is None, session.current.problem.sentence
    yield 0.3
    after = rotations()
    yield from gui.move(*over_view)
    gui.shot("posed.png")

    yield from gui.key("Z", *over_view, ctrl=True)
    undone = rig() is not None and apart(before, rotations()) == 0
    gui.shot("undone.png")
    yield from gui.key("Z", *over_view, ctrl=True, shift=True)
    redone = rig() is not None and apart(after, rotations()) == 0
    seen = {
        "moved_joints": apart(before, after),
        "undone": undone,
        "redone": redone,
        "answer": session.current.answer,
        "longest_pause": longest,
        "one_redraw": one_redraw,
    }
    (gui.OUT / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


gui.run(test)
