# SPDX-License-Identifier: GPL-3.0-or-later
"""A day at the desk in Blender's real window, button by button: chat, question, refine, F9, asset, library, storyboard,
a Rigify character. Run by test_day_window.py, against a scripted server. Writes OUT/day.json and pictures.
"""

import json
import math
import os
import sys

import bpy
from mathutils import Euler

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
FRONT = Euler((math.radians(78), 0, math.radians(28)))
SWEEP = 6  # pixels; a field of the redo panel is 20 high


def rig():
    """The active character, found anew each time: undo replaces objects."""
    return bpy.context.view_layer.objects.active


def arm(side="left"):
    """How far the arm is raised, in radians."""
    w, *_, z = rig().pose.bones[f"{side}_shoulder"].rotation_quaternion
    return round(2 * math.atan2(abs(z), w), 3)


def said():
    """The conversation's words."""
    return [message.text for message in rig().chatpose.messages]


def only(*names):
    """Of the tab's child panels draws these alone, open, so that all fits the window."""
    module = sys.modules[f"{MODULE}.registration"]
    for cls in module.PANELS:
        if getattr(cls, "bl_parent_id", ""):
            if hasattr(bpy.types, cls.__name__):
                bpy.utils.unregister_class(cls)
            if cls.__name__ in names:
                cls.bl_options = set()
                bpy.utils.register_class(cls)
    gui.redraw()


def test():
    """The artist's way, step by step."""
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
    session = sys.modules[f"{MODULE}.session"]
    history = sys.modules[f"{MODULE}.history"]
    region = yield from gui.open_sidebar("ChatPose")
    over_view = (area.x + area.width // 4, area.y + area.height // 2)
    seen = {}

    def press(operator):
        yield from gui.click(*(yield from gui.find_button(region, operator)))

    def idle():
        yield from gui.wait_for(lambda: session.current.work is None, "the answer")
        assert session.current.problem is None, session.current.problem.sentence
        yield 0.2

    def ask(words, operator="chatpose.pose("):
        bpy.context.scene.chatpose.prompt = words
        yield from press(operator)
        yield from idle()

    # chat, question, refine
    only("CHATPOSE_PT_conversation")
    yield from press("chatpose.add_body(")
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    yield from ask("raise the left arm to greet")
    seen["posed"] = arm()
    yield from ask("what is she doing?")
    seen["after_question"] = arm()

    # a key of one's own: off at first, switched on as the preferences' switch does it
    keymaps = sys.modules[f"{MODULE}.keymaps"]

    class DAY_PT_keys(bpy.types.Panel):
        bl_space_type, bl_region_type, bl_category, bl_label = "VIEW_3D", "UI", "ChatPose", "Keys"

        def draw(self, context):
            keymaps.draw(self.layout)

    only()
    bpy.utils.register_class(DAY_PT_keys)
    gui.shot("keys.png")
    bpy.utils.unregister_class(DAY_PT_keys)
    only("CHATPOSE_PT_conversation")
    keys = list(keymaps._of_user())
    seen["keys_on"] = [key.operator for key, item in keys if item.active]
    seen["keys_listed"] = len(keys) == len(keymaps.KEYS)
    yield from gui.key("D", *over_view, ctrl=True, alt=True)
    seen["off"] = session.current.work is None
    next(item for key, item in keys if key.operator == "chatpose.describe").active = True
    yield from gui.key("D", *over_view, ctrl=True, alt=True)
    yield from gui.wait_for(lambda: len(said()) == 6, "the answer to the key")
    yield from idle()
    yield from ask("higher", "refine=True")
    seen["refined"], seen["said"] = arm(), said()
    gui.shot("chat.png")

    # the redo panel: strength by Ctrl-V over its field, mirror by a click on its box
    manager = bpy.context.window_manager
    yield from gui.move(*over_view)
    yield from gui.key("F9", *over_view)
    yield 0.5
    gui.shot("redo_panel.png")
    place = None
    for x in (over_view[0] + 200, over_view[0] + 120, over_view[0] + 40):  # the panel opens to the right, below
        for y in range(over_view[1] - 10, over_view[1] - 180, -SWEEP):
            manager.clipboard = ""
            yield from gui.move(x, y)
            yield from gui.key("C", x, y, ctrl=True)
            if manager.clipboard.startswith("1.0"):
                place = (x, y - SWEEP)
                break
        if place:
            break
    assert place, "the redo panel has no field for the strength"
    manager.clipboard = "0.5"
    yield from gui.move(*place)
    yield from gui.key("V", *place, ctrl=True)
    yield 0.3
    seen["half"] = arm()
    for below in (20, 26, 14):
        yield from gui.click(place[0], place[1] - below)
        if manager.operators[-1].properties.mirror:
            break
    seen["mirrored"] = [arm("left"), arm("right")]
    gui.shot("redo_mirror.png")
    yield from gui.move(area.x + 30, area.y + 60)
    yield 0.3

    # Save as Pose Asset, and the pose again from the library
    yield from press("chatpose.save_asset(")
    asset = next(action for action in bpy.data.actions if action.asset_data)
    seen["asset"] = [asset.name, asset.asset_data.description, [tag.name for tag in asset.asset_data.tags]]
    seen["preview"] = list(asset.preview.image_size)
    only("CHATPOSE_PT_library")
    bpy.context.window_manager.chatpose.search = "greet left"
    (entry,) = history.current.matching("greet left")
    yield from press("chatpose.library_apply(")
    yield 0.3
    seen["from_library"] = arm()
    yield from press("chatpose.library_star(")
    yield 0.3
    seen["starred"] = history.current.get(entry.id).starred
    gui.shot("library.png")

    # storyboard
    only("CHATPOSE_PT_storyboard")
    bpy.context.scene.chatpose.prompt = "1: stands, 20: raises the arm"
    yield from press("chatpose.beat_add(")
    yield from press("chatpose.storyboard(")
    yield from idle()

    def action():
        data = rig().animation_data
        return data.action if data is not None else None

    yield from gui.wait_for(lambda: action() and action().frame_range[1] >= 20, "the storyboard's keys")
    seen["keys"] = [round(frame) for frame in action().frame_range]
    gui.shot("storyboard.png")

    # a Rigify character, generated by Blender's own Rigify
    bpy.ops.preferences.addon_enable(module="rigify")
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    canvas = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=gui.window(), area=area, region=canvas):
        bpy.ops.object.armature_basic_human_metarig_add()
        bpy.ops.pose.rigify_generate()
    character = next(ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE" and "torso" in ob.pose.bones)
    for ob in list(bpy.context.scene.objects):
        if ob.type == "ARMATURE" and ob != character:
            bpy.data.objects.remove(ob)
    bpy.context.view_layer.objects.active = character
    bpy.ops.ed.undo_push(message="Character")
    only("CHATPOSE_PT_conversation")
    yield 0.5
    before = rig().pose.bones["upper_arm_fk.L"].matrix.to_quaternion()
    yield from ask("raise the left arm")
    after = rig().pose.bones["upper_arm_fk.L"].matrix.to_quaternion()
    seen["rigify"] = round(math.degrees(before.rotation_difference(after).angle), 1)
    seen["rigify_said"] = said()
    gui.shot("rigify.png")

    # the same in German
    view = bpy.context.preferences.view
    view.language, view.use_translate_interface = "de_DE", True
    seen["german"] = bpy.app.translations.pgettext("Describe Pose", "Operator")
    gui.shot("german.png")
    (gui.OUT / "day.json").write_text(json.dumps(seen), encoding="utf-8")


gui.run(test)
