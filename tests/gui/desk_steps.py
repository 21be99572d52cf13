# SPDX-License-Identifier: GPL-3.0-or-later
"""What the desk's tests in a real window share: the character, its conversation, panels, pressing and asking."""

import math
import os
import sys

import bpy
from mathutils import Euler

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
FRONT = Euler((math.radians(78), 0, math.radians(28)))


def module(name):
    """One of the add-on's modules, as it runs in this Blender."""
    return sys.modules[f"{MODULE}.{name}"]


def rig():
    """The active character, found anew each time: undo replaces objects."""
    return bpy.context.view_layer.objects.active


def arm(side="left"):
    """How far the arm is turned from its rest, in radians."""
    w, *axis = rig().pose.bones[f"{side}_shoulder"].rotation_quaternion
    return round(2 * math.atan2(math.hypot(*axis), abs(w)), 3)


def said():
    """The conversation's words."""
    return [message.text for message in rig().chatpose.messages]


def only(*names):
    """Of the tab's child panels draws these alone, open, so that all fits the window."""
    for cls in module("registration").PANELS:
        if getattr(cls, "bl_parent_id", ""):
            if hasattr(bpy.types, cls.__name__):
                bpy.utils.unregister_class(cls)
            if cls.__name__ in names:
                cls.bl_options = set()
                bpy.utils.register_class(cls)
    gui.redraw()


def begin():
    """An empty scene seen from the front, the tab open, one body; -> the sidebar's region and a place over the view."""
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address, settings.token = os.environ["CHATPOSE_ADDRESS"], ""
    yield from gui.ready()
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    area, space, _ = gui.viewport()
    space.overlay.show_cursor = False
    space.region_3d.view_location = (0.0, 0.0, 0.85)
    space.region_3d.view_rotation = FRONT.to_quaternion()
    space.region_3d.view_distance = 3.6
    only("CHATPOSE_PT_conversation")  # before the tab is drawn once: Blender remembers which panels were closed
    region = yield from gui.open_sidebar("ChatPose")
    yield from press(region, "chatpose.add_body(")
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    return region, (area.x + area.width // 4, area.y + area.height // 2)


def press(region, operator):
    """Clicks the button of an operator."""
    yield from gui.click(*(yield from gui.find_button(region, operator)))


def idle():
    """Waits until the answer is there and has been applied."""
    session = module("session")
    yield from gui.wait_for(lambda: session.current.work is None, "the answer", limit=60.0)
    assert session.current.problem is None, session.current.problem.sentence
    yield 0.2


def ask(region, words, operator="chatpose.pose("):
    """Writes the prompt, presses the button and waits for the answer."""
    bpy.context.scene.chatpose.prompt = words
    yield from press(region, operator)
    yield from idle()
