# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates in Blender's real window: Pose, arrow keys, Esc, Enter, Ctrl-Z. Run by test_desk_window.py.

Writes OUT/desk.json and pictures; raises where a step has no effect at all.
"""

import json
import os
import sys

import bpy

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"


def rig():
    """The body's armature, found anew each time: undo replaces objects."""
    return next((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), None)


def arm():
    """The raised arm's rotation, exactly."""
    return list(rig().pose.bones["left_shoulder"].rotation_quaternion)


def said():
    """How many messages the character's conversation has."""
    return len(rig().chatpose.messages)


def test():
    """The artist's way, step by step."""
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address, settings.token = os.environ["CHATPOSE_ADDRESS"], ""
    yield from gui.ready()
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    session = sys.modules[f"{MODULE}.session"]
    region = yield from gui.open_sidebar("ChatPose")
    area = gui.viewport()[0]
    over_view = (area.x + area.width // 4, area.y + area.height // 2)
    yield from gui.click(*(yield from gui.find_button(region, "chatpose.add_body(")))
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    bpy.context.scene.chatpose.prompt = "raise the left arm"
    bpy.context.scene.chatpose.candidates = 3
    bpy.ops.ed.undo_push(message="Three candidates")
    seen = {"before": arm()}

    def ask():
        yield from gui.click(*(yield from gui.find_button(region, "chatpose.pose(")))
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
    (gui.OUT / "desk.json").write_text(json.dumps(seen), encoding="utf-8")


gui.run(test)
