# SPDX-License-Identifier: GPL-3.0-or-later
"""Drag in Blender's real window: a hand by its handle, Esc, again with Enter, Ctrl-Z. See test_real_window.py.

Raises where a step has no effect at all.
"""

import json
import math

import bpy
import gui_lib as gui
from mathutils import Euler, Vector
from stage import add_body, begin, channels, module, press, rig

FRONT = Euler((math.radians(80), 0, math.radians(25)))
WAY = Vector((-0.25, -0.3, 0.45))  # metres that the left hand is dragged, in front of the chest
STEPS = 12
FRAMES = 1500  # of a motion that is keyed over several ticks: over a second on any machine, time to press Esc


def place(bone):
    """Where a bone begins, in the world."""
    bpy.context.view_layer.update()
    return (rig().matrix_world @ rig().pose.bones[bone].head).copy()


def motion_file():
    """A walk on the spot of FRAMES frames, in the arrays that AMASS uses."""
    import numpy as np

    poses = np.zeros((FRAMES, 66), np.float32)
    poses[:, 3 * 16 + 2], poses[:, 3 * 17 + 2] = -1.2, 1.2
    swing = 0.4 * np.sin(np.linspace(0, 12, FRAMES))
    poses[:, 3], poses[:, 6] = swing, -swing
    path = str(gui.OUT / "walk.npz")
    np.savez(path, poses=poses, trans=np.zeros((FRAMES, 3)), fps=24)
    return path


def keyed_frames():
    """How many keys the head has."""
    data = rig().animation_data
    if data is None or data.action is None:
        return 0
    curves = module("rig.keyframes").curves_of(rig())
    return max((len(curve.keyframe_points) for curve in curves), default=0)


def keyed_over_ticks(session, over_view):
    """A motion from a file: Esc while it is keyed leaves nothing, the second time it is one undo step."""
    path = motion_file()
    before = channels()

    def load():
        with bpy.context.temp_override(window=gui.window(), area=gui.viewport()[0]):
            bpy.ops.chatpose.load_pose(filepath=path, first_frame=1)
        running = lambda: [op for op in gui.window().modal_operators if op.bl_idname == "CHATPOSE_OT_key_poses"]  # noqa: E731
        yield from gui.wait_for(lambda: running() or keyed_frames() == FRAMES, "the keys to be begun")
        return running

    running = yield from load()
    was_running = bool(running())
    yield from gui.key("ESC", *over_view)
    yield from gui.wait_for(lambda: not running(), "the end of keying")
    after_esc = keyed_frames()
    running = yield from load()
    yield from gui.wait_for(lambda: not running() and keyed_frames() == FRAMES, "all keys", limit=90)
    gui.shot("keyed.png")
    yield from gui.key("Z", *over_view, ctrl=True)
    yield 0.3
    return {"ran": was_running, "after_esc": after_esc, "undone": keyed_frames() == 0 and channels() == before}


def test():
    """The artist's way, step by step."""
    region, over_view = yield from begin("drag")
    session, tool = module("session"), module("operators.drag")
    area, space, _ = gui.viewport()
    yield from add_body(region)
    space.region_3d.view_location = (0.0, 0.0, 0.85)
    space.region_3d.view_rotation = FRONT.to_quaternion()
    space.region_3d.view_distance = 4.2
    arms = {"joints": {"left_shoulder": [0.825, 0, 0, -0.565], "right_shoulder": [0.825, 0, 0, 0.565]}}
    with bpy.context.temp_override(window=gui.window(), area=area):
        bpy.ops.chatpose.apply_pose("EXEC_DEFAULT", True, pose=json.dumps(arms), target=rig().name)
    gui.redraw()
    yield 0.2
    before, start = channels(), place("left_wrist")
    feet = [place(name) for name in ("left_ankle", "right_ankle")]

    def pixels(point):
        view = next(view for a, view in tool._views(bpy.context) if a == gui.viewport()[0])
        return tool._on_screen(view, point)

    def press_drag():
        yield from press(region, "chatpose.drag(")
        yield from gui.wait_for(lambda: session.current.tool, "the handles")
        gui.redraw()

    def drag_hand():
        here = place("left_wrist")
        yield from gui.move(*pixels(here))
        gui.shot("handles.png")
        window = gui.window()
        at = pixels(here)
        window.event_simulate(type="LEFTMOUSE", value="PRESS", x=int(at.x), y=int(at.y))
        yield 0.05
        for i in range(1, STEPS + 1):
            at = pixels(here + WAY * (i / STEPS))
            yield from gui.move(*at)
            yield 0.08
        gui.shot("dragging.png")
        window.event_simulate(type="LEFTMOUSE", value="RELEASE", x=int(at.x), y=int(at.y))
        drag = session.current.tool
        yield from gui.wait_for(lambda: drag.settled, "the body at its goal", limit=90)
        assert not drag.problem, drag.problem
        goal = drag.handles["left_wrist"].place.copy()
        gui.redraw()
        return {"goal": list(goal), "missed": (place("left_wrist") - goal).length, "answers": drag.live.answers}

    yield from press_drag()
    first = yield from drag_hand()
    moved = channels()
    gui.shot("dragged.png")
    yield from gui.key("ESC", *over_view)
    yield from gui.wait_for(lambda: session.current.tool is None, "the end after Esc")
    after_esc = channels()

    yield from press_drag()
    second = yield from drag_hand()
    slid = max((place(n) - at).length for n, at in zip(("left_ankle", "right_ankle"), feet, strict=True))
    yield from gui.key("RET", *over_view)
    yield from gui.wait_for(lambda: session.current.tool is None, "the end after Enter")
    kept = channels()
    gui.shot("drag_kept.png")
    yield from gui.key("Z", *over_view, ctrl=True)
    yield 0.3
    seen = {
        "way": (Vector(first["goal"]) - start).length,
        "first": first,
        "second": second,
        "slid": slid,
        "moved_bones": sum(a != b for a, b in zip(before, moved, strict=True)),
        "esc_is_exact": after_esc == before,
        "kept_moved": kept != before,
        "undone": channels() == before,
        "long": (yield from keyed_over_ticks(session, over_view)),
        "objects": sorted(ob.type for ob in bpy.context.scene.objects),
        "keyed": rig().animation_data is not None and rig().animation_data.action is not None,
    }
    return seen
