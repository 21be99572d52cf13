# SPDX-License-Identifier: GPL-3.0-or-later
"""What all scripts of a window share: the empty stage on which each begins, the character, panels, pressing buttons."""

import math
import os
import sys

import bpy
from mathutils import Euler

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
FRONT = Euler((math.radians(78), 0, math.radians(28)))  # the view: the body's front, a little from its left and above


def module(name):
    """One of the add-on's modules, as it runs in this Blender."""
    return sys.modules[f"{MODULE}.{name}"]


def rig():
    """The character, found anew each time: undo replaces objects."""
    return next((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), None)


def channels():
    """Every pose channel of the rig, exactly."""
    return [
        [list(b.location), list(b.rotation_quaternion), list(b.rotation_euler), list(b.scale)] for b in rig().pose.bones
    ]


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


def begin(name, *panels):
    """An empty scene seen from the front, the tab open with some of its panels, the server of this script, whose
    abilities are not known yet; -> the sidebar's region and a place over the view.
    """
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address = os.environ[f"CHATPOSE_ADDRESS_{name.upper()}"]
    settings.token = os.environ.get(f"CHATPOSE_TOKEN_{name.upper()}", "")
    yield from gui.ready()
    current = module("session").current
    current.connection = type(current.connection)()
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    bpy.context.scene.chatpose.prompt = ""
    area, space, _ = gui.viewport()
    space.overlay.show_cursor = False
    space.region_3d.view_perspective = "PERSP"
    space.region_3d.view_location = (0.0, 0.0, 0.85)
    space.region_3d.view_rotation = FRONT.to_quaternion()
    space.region_3d.view_distance = 3.6
    bpy.ops.ed.undo_push(message="Stage")
    only(*panels)  # before the tab is drawn once: Blender remembers which panels were closed
    region = yield from gui.open_sidebar("ChatPose")
    return region, (area.x + area.width // 4, area.y + area.height // 2)


def press(region, operator, beside=""):
    """Clicks the button of an operator; ``beside``: another one in its row. Buttons move when an answer comes
    meanwhile: just before the click the pointer must still be on the one that was found.
    """
    for _ in range(4):
        x, y = yield from gui.find_button(region, operator, beside)
        if (yield from gui.rests_on(region, operator, x, y)):
            yield from gui.click(x, y)
            return
        gui.forget_places()
    raise AssertionError(f"the button for {operator!r} does not stay where it is")


def add_body(region):
    """Presses Add SMPL-X Body and waits for the body, which comes over several ticks."""
    yield from press(region, "chatpose.add_body(")
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body", limit=60.0)
    yield from gui.wait_for(lambda: not gui.window().modal_operators, "the end of adding")
