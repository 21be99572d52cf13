# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates in Blender's real window: Pose, arrow keys, Esc, Enter, Ctrl-Z. See test_scripted_window.py.

Raises where a step has no effect at all.
"""

import bpy
import gui_lib as gui
from stage import add_body, begin, module, press, rig


def arm():
    """The raised arm's rotation, exactly."""
    return list(rig().pose.bones["left_shoulder"].rotation_quaternion)


def said():
    """How many messages the character's conversation has."""
    return len(rig().chatpose.messages)


def test():
    """The artist's way, step by step."""
    region, over_view = yield from begin("candidates")
    session = module("session")
    yield from add_body(region)
    bpy.context.scene.chatpose.prompt = "raise the left arm"
    bpy.context.scene.chatpose.candidates = 3
    bpy.ops.ed.undo_push(message="Three candidates")
    seen = {"before": arm()}

    def ask():
        yield from press(region, "chatpose.pose(")
        yield from gui.wait_for(lambda: session.current.browser, "the candidates")
        yield 0.5  # their pictures

    yield from ask()
    seen["first"] = arm()
    yield from gui.key("RIGHT_ARROW", *over_view)
    seen["second"] = arm()
    gui.shot("candidates.png")
    yield from gui.key("ESC", *over_view)
    seen["after_esc"], seen["said_after_esc"] = arm(), said()

    yield from ask()
    yield from gui.key("LEFT_ARROW", *over_view)
    yield from gui.key("RET", *over_view)
    yield 0.3
    seen["after_enter"], seen["said_after_enter"] = arm(), said()
    gui.shot("kept.png")
    yield from gui.key("Z", *over_view, ctrl=True)
    seen["undone"], seen["said_undone"] = arm(), said()
    return seen
