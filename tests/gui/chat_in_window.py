# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat in Blender's real window, button by button: ask, question, a key of one's own, refine. See
test_scripted_window.py.
"""

import bpy
import gui_lib as gui
from desk_steps import arm, ask, idle, said
from stage import add_body, begin, module, only


def test():
    """The artist's way, step by step."""
    region, over_view = yield from begin("chat", "CHATPOSE_PT_conversation")
    yield from add_body(region)
    seen = {}
    yield from ask(region, "raise the left arm")
    seen["posed"] = arm()
    yield from ask(region, "what is she doing?")
    seen["after_question"] = arm()

    # a key of one's own: off at first, switched on as the preferences' switch does it
    keymaps = module("keymaps")

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
    seen["off"] = module("session").current.work is None
    next(item for key, item in keys if key.operator == "chatpose.describe").active = True
    yield from gui.key("D", *over_view, ctrl=True, alt=True)
    yield from gui.wait_for(lambda: len(said()) == 6, "the answer to the key")
    yield from idle()
    yield from ask(region, "higher", "refine=True")
    seen["refined"], seen["said"] = arm(), said()
    gui.shot("chat.png")
    return seen
