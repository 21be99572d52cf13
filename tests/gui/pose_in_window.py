# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist does, in Blender's real window: tab, body, prompt, Pose, Ctrl-Z. See test_real_window.py.

Raises where a step has no effect at all.
"""

import time

import bpy
import gui_lib as gui
from stage import add_body, begin, module, press, rig

PROMPT = "a person kneeling with both arms raised"
ANSWER_LIMIT = 120  # seconds; a quiet machine takes one
MOVED = 0.05  # of a quaternion's component: about 6 degrees


def rotations():
    """Bone name -> its rotation, in whatever mode the bone is."""
    return {bone.name: tuple(bone.matrix_basis.to_quaternion()) for bone in rig().pose.bones}


def apart(a, b):
    """Number of bones that differ between two results of rotations(). A quaternion and its negative are the same."""
    return sum(1 for name in a if 1 - abs(sum(x * y for x, y in zip(a[name], b[name], strict=True))) > MOVED**2 / 2)


def test():
    """The artist's way, step by step."""
    region, over_view = yield from begin("pose")
    shading = gui.viewport()[1].shading
    shading.show_cavity = shading.show_shadows = True  # for the picture
    yield from press(region, "chatpose.check_connection(")
    state = lambda: module("session").current.connection.state.name  # noqa: E731
    yield from gui.wait_for(lambda: state() == "READY", "the server's answer", limit=60.0)  # which moves the buttons
    gui.redraw()
    yield from add_body(region)
    field = yield from gui.find_button(region, "chatpose.prompt")
    yield from gui.click(*field)
    yield from gui.type_text(PROMPT, *field)
    gui.shot("typing.png")
    yield from gui.key("RET", *field)
    assert bpy.context.scene.chatpose.prompt == PROMPT, bpy.context.scene.chatpose.prompt
    before = rotations()
    start = time.monotonic()
    gui.redraw()
    one_redraw = time.monotonic() - start

    session = module("session")
    yield from press(region, "chatpose.pose(")
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
    return seen
