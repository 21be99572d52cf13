# SPDX-License-Identifier: GPL-3.0-or-later
"""What the desk's scripts share: the raised arm, the conversation, asking."""

import math

import bpy
import gui_lib as gui
from stage import module, press


def character():
    """The active character, found anew each time: undo replaces objects."""
    return bpy.context.view_layer.objects.active


def arm(side="left"):
    """How far the arm is turned from its rest, in radians."""
    w, *axis = character().pose.bones[f"{side}_shoulder"].rotation_quaternion
    return round(2 * math.atan2(math.hypot(*axis), abs(w)), 3)


def said():
    """The conversation's words."""
    return [message.text for message in character().chatpose.messages]


def idle():
    """Waits until the answer is there and has been applied."""
    session = module("session")
    yield from gui.wait_for(lambda: session.current.work is None, "the answer", limit=60.0)
    assert session.current.problem is None, session.current.problem.sentence
    yield 0.1


def ask(region, words, operator="chatpose.pose("):
    """Writes the prompt, presses the button and waits for the answer."""
    bpy.context.scene.chatpose.prompt = words
    yield from press(region, operator)
    yield from idle()
