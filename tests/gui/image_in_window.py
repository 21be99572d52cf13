# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture is dropped, posed from, matched by a camera, corrected with the mouse. Run by test_image_window.py.

Writes OUT/image.json and pictures; raises where a step has no effect at all.
"""

import json
import math
import os
import sys

import bpy
import numpy as np
from bpy_extras import view3d_utils

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
SIZE = (480, 640)


def rig():
    """The body's armature, found anew each time: undo replaces objects."""
    return next((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), None)


def raised():
    """By what angle the left arm is raised."""
    q = rig().pose.bones["left_shoulder"].matrix_basis.to_quaternion()
    return 2 * math.acos(min(1.0, abs(q.w)))


def channels():
    """Every bone's place, exactly."""
    return [[*bone.rotation_quaternion, *bone.location] for bone in rig().pose.bones]


def part(name):
    """A module of the add-on."""
    return sys.modules[f"{MODULE}.{name}"]


def open_panel():
    """The tab with the picture's panel alone, and open: the window is lower than all panels together."""
    panel = bpy.types.CHATPOSE_PT_picture
    for name in dir(bpy.types):
        if name.startswith("CHATPOSE_PT_") and getattr(getattr(bpy.types, name), "bl_parent_id", ""):
            bpy.utils.unregister_class(getattr(bpy.types, name))
    panel.bl_options = set()
    bpy.utils.register_class(panel)


def drop(area, x, y):
    """What Blender calls when a file is let go of over the viewport. It asks which of the possible drops is meant."""
    yield from gui.move(x, y)
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=gui.window(), area=area, region=region):
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=str(gui.OUT), files=[{"name": "photo.png"}])
    yield 0.5
    gui.shot("picture_dropped.png")
    yield from gui.key("P", x, y)  # the menu's Pose from Picture


def press(operator):
    """As its button would, without the search for the button, which redraws the window a hundred times."""
    area = gui.viewport()[0]
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=gui.window(), area=area, region=region):
        operator("INVOKE_DEFAULT", True)


def drag(start, end):
    """The left button from one place in the window to another."""
    yield from gui.move(*start)
    yield 0.1
    gui.window().event_simulate(type="LEFTMOUSE", value="PRESS", x=int(start[0]), y=int(start[1]))
    yield 0.1
    for i in range(1, 6):
        yield from gui.move(*(a + (b - a) * i / 5 for a, b in zip(start, end, strict=True)))
    yield 0.1
    gui.window().event_simulate(type="LEFTMOUSE", value="RELEASE", x=int(end[0]), y=int(end[1]))
    yield 0.1


def test():
    """The artist's way, step by step."""
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address, settings.token = os.environ["CHATPOSE_ADDRESS"], ""
    yield from gui.ready()
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    session, points, pictures = part("session"), part("operators.image_points"), part("people_pictures")
    open_panel()
    region = yield from gui.open_sidebar("ChatPose")
    area, space, _ = gui.viewport()
    over_view = (area.x + area.width // 4, area.y + area.height // 2)
    space.region_3d.view_location = (0.0, 0.0, 0.9)
    space.region_3d.view_distance = 4.0
    press(bpy.ops.chatpose.add_body)
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    seen = {"canvas": []}

    yield from drop(area, *over_view)
    yield from gui.wait_for(lambda: raised() > 0.5, "the pose of the dropped picture", limit=180)
    seen["dropped"] = raised()
    yield from gui.wait_for(lambda: len(pictures._previews) > 0, "the thumbnail with its boxes", limit=180)
    seen["thumbnail"] = len(pictures._previews) > 0
    yield 0.3
    gui.shot("picture_posed.png")

    yield from gui.click(*(yield from gui.find_button(region, "chatpose.match_camera(")))
    yield from gui.wait_for(lambda: bpy.context.scene.camera, "the matched camera")
    seen["objects_after_match"] = sorted(ob.type for ob in bpy.context.scene.objects)
    yield 1.0
    gui.shot("picture_matched.png")

    known = part("seen").of(bpy.context.scene.chatpose.picture.image)
    press(bpy.ops.chatpose.correct_points)
    yield from gui.wait_for(lambda: session.current.correction, "the points")
    image = bpy.context.scene.chatpose.picture.image
    canvas = points.find_canvas(bpy.context, image)
    seen["canvas"].append("inset" if canvas.inset else canvas.kind)
    sheet = canvas.sheet(SIZE)

    def on_screen(point):
        at = sheet.to_region(point, SIZE)
        return (at.x + canvas.region.x, at.y + canvas.region.y)

    away = []
    for name in ("left_shoulder", "left_elbow", "left_wrist", "right_hip", "right_ankle", "left_knee"):
        place = rig().matrix_world @ rig().pose.bones[name].head
        at = view3d_utils.location_3d_to_region_2d(canvas.region, space.region_3d, place)
        x, y, _ = known.sight.keypoints[name]
        away.append((at - sheet.to_region((x, y), SIZE)).length)
    seen["overlap"] = float(np.mean(away))
    gui.shot("points_in_camera.png")
    x, y, _ = known.sight.keypoints["left_wrist"]
    seen["goal"] = [x - 20, y + 90]
    yield from drag(on_screen((x, y)), on_screen(seen["goal"]))
    yield from gui.wait_for(lambda: raised() < 0.5, "the corrected pose", limit=180)
    seen["shown"] = raised()
    yield 0.3
    gui.shot("points_dragged.png")
    yield from gui.key("RET", *over_view)
    yield from gui.wait_for(lambda: session.current.correction is None, "the end of correcting")
    yield 0.3
    seen["kept"] = raised()
    yield from gui.key("Z", *over_view, ctrl=True)
    yield 0.3
    seen["undone"] = raised()

    other = min((a for a in gui.window().screen.areas if a.type != "VIEW_3D"), key=lambda a: -a.width * a.height)
    kind = other.ui_type
    other.ui_type = "IMAGE_EDITOR"
    yield 0.5
    for name in ("points_in_editor.png", "points_over_view.png"):
        press(bpy.ops.chatpose.correct_points)
        yield from gui.wait_for(lambda: session.current.correction, "the points again")
        canvas = points.find_canvas(bpy.context, bpy.context.scene.chatpose.picture.image)
        seen["canvas"].append("inset" if canvas.inset else canvas.kind)
        sheet = canvas.sheet(SIZE)
        yield 0.5
        seen["before_esc"] = channels()
        x, y, _ = session.current.correction.points()["left_wrist"]
        yield from drag(on_screen((x, y)), on_screen((x, y + 40)))
        yield from gui.wait_for(lambda: session.current.correction.shown, "an answer", limit=180)
        yield 0.3
        gui.shot(name)
        middle = (canvas.region.x + canvas.region.width // 3, canvas.region.y + canvas.region.height // 3)
        yield from gui.key("ESC", *middle)
        yield from gui.wait_for(lambda: session.current.correction is None, "the end after Esc")
        seen["after_esc"] = channels()
        other.ui_type = kind
        space.region_3d.view_perspective = "PERSP"
        yield 0.3

    press(bpy.ops.chatpose.picture_from_viewport)
    yield from gui.wait_for(
        lambda: bpy.context.scene.chatpose.picture.image.name == "Viewport", "the viewport's picture"
    )
    image = bpy.context.scene.chatpose.picture.image
    pixels = np.array(image.pixels[:]).reshape(-1, 4)[:, :3]
    seen["view_size"], seen["view_spread"] = list(image.size), float(pixels.std())
    image.filepath_raw, image.file_format = str(gui.OUT / "viewport.png"), "PNG"
    image.save()
    yield 0.5
    gui.shot("picture_of_viewport.png")
    bpy.context.window_manager.clipboard = str(gui.OUT / "photo.png")
    press(bpy.ops.chatpose.picture_from_clipboard)
    seen["pasted"] = bpy.context.scene.chatpose.picture.image.name
    (gui.OUT / "image.json").write_text(json.dumps(seen), encoding="utf-8")


gui.run(test)
