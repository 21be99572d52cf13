# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture is dropped, posed from, matched by a camera, corrected with the mouse. See test_scripted_window.py.

Raises where a step has no effect at all.
"""

import math
import subprocess

import bpy
import gui_lib as gui
import numpy as np
from bpy_extras import view3d_utils
from stage import add_body, begin, channels, module, press, rig

SIZE = (480, 640)


def raised():
    """By what angle the left arm is raised."""
    q = rig().pose.bones["left_shoulder"].matrix_basis.to_quaternion()
    return 2 * math.acos(min(1.0, abs(q.w)))


def drop(area, x, y):
    """What Blender calls when a file is let go of over the viewport. It asks which of the possible drops is meant."""
    yield from gui.move(x, y)
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=gui.window(), area=area, region=region):
        bpy.ops.wm.drop_import_file("INVOKE_DEFAULT", directory=str(gui.OUT), files=[{"name": "photo.png"}])
    yield 0.5
    gui.shot("picture_dropped.png")
    yield from gui.key("P", x, y)  # the menu's Pose from Picture


def pixels_of(image):
    """(N, 3)."""
    return np.array(image.pixels[:]).reshape(-1, 4)[:, :3]


def copied(region, file=None, kind="image/png", text=""):
    """Another program copies a picture, or a text, then the add-on's paste button is pressed. Where events are
    simulated Blender keeps copied text to itself: what another program copied it would not see.
    """
    place = yield from gui.find_button(region, "chatpose.picture_from_clipboard(", beside="chatpose.find_people(")
    bpy.context.window_manager.clipboard = text  # looking for the button has copied its own
    if file is not None:
        copy = ["xclip", "-selection", "clipboard", "-t", kind, "-i", str(file)]
        subprocess.run(copy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    yield 0.2
    yield from gui.click(*place)


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
    region, over_view = yield from begin("image", "CHATPOSE_PT_picture")
    session, points, pictures = module("session"), module("operators.image_points"), module("people_pictures")
    area, space, _ = gui.viewport()
    space.region_3d.view_location = (0.0, 0.0, 0.9)
    space.region_3d.view_distance = 4.0
    yield from add_body(region)
    seen = {"canvas": []}

    yield from drop(area, *over_view)
    yield from gui.wait_for(lambda: raised() > 0.5, "the pose of the dropped picture", limit=180)
    seen["dropped"] = raised()
    yield from gui.wait_for(lambda: len(pictures._previews) > 0, "the thumbnail with its boxes", limit=180)
    seen["thumbnail"] = len(pictures._previews) > 0
    yield 0.3
    gui.shot("picture_posed.png")

    yield from press(region, "chatpose.match_camera(")
    yield from gui.wait_for(lambda: bpy.context.scene.camera, "the matched camera")
    seen["objects_after_match"] = sorted(ob.type for ob in bpy.context.scene.objects)
    yield 1.0
    gui.shot("picture_matched.png")

    known = module("seen").of(bpy.context.scene.chatpose.picture.image)
    yield from press(region, "chatpose.correct_points(")
    yield from gui.wait_for(lambda: session.current.tool, "the points")
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
    yield from gui.wait_for(lambda: session.current.tool is None, "the end of correcting")
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
        yield from press(region, "chatpose.correct_points(")
        yield from gui.wait_for(lambda: session.current.tool, "the points again")
        canvas = points.find_canvas(bpy.context, bpy.context.scene.chatpose.picture.image)
        seen["canvas"].append("inset" if canvas.inset else canvas.kind)
        sheet = canvas.sheet(SIZE)
        yield 0.5
        seen["before_esc"] = channels()
        x, y, _ = session.current.tool.points()["left_wrist"]
        yield from drag(on_screen((x, y)), on_screen((x, y + 40)))
        yield from gui.wait_for(lambda: session.current.tool.shown, "an answer", limit=180)
        yield 0.3
        gui.shot(name)
        middle = (canvas.region.x + canvas.region.width // 3, canvas.region.y + canvas.region.height // 3)
        yield from gui.key("ESC", *middle)
        yield from gui.wait_for(lambda: session.current.tool is None, "the end after Esc")
        seen["after_esc"] = channels()
        other.ui_type = kind
        space.region_3d.view_perspective = "PERSP"
        yield 0.3

    yield from press(region, "chatpose.picture_from_viewport(", beside="chatpose.find_people(")
    yield from gui.wait_for(
        lambda: bpy.context.scene.chatpose.picture.image.name == "Viewport", "the viewport's picture"
    )
    image = bpy.context.scene.chatpose.picture.image
    seen["view_size"], seen["view_spread"] = list(image.size), float(pixels_of(image).std())
    image.filepath_raw, image.file_format = str(gui.OUT / "viewport.png"), "PNG"
    image.save()
    yield 0.5
    gui.shot("picture_of_viewport.png")

    settings, scene = bpy.context.scene.chatpose.picture, bpy.context.scene
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.resolution_x, scene.render.resolution_y = 240, 320
    bpy.ops.render.render()
    yield from press(region, "chatpose.picture_from_render(", beside="chatpose.find_people(")
    yield from gui.wait_for(lambda: settings.image.name == "Render", "the render's picture")
    seen["render"] = [*settings.image.size, float(pixels_of(settings.image).std())]

    yield from copied(region, file=gui.OUT / "photo.png")
    yield from gui.wait_for(lambda: settings.image.name == "Clipboard", "the copied picture")
    seen["bitmap"] = [*settings.image.size, settings.image.packed_file is not None]
    yield 0.5
    gui.shot("picture_pasted.png")
    yield from press(region, "chatpose.pose_from_picture(")
    yield from gui.wait_for(lambda: session.current.work is None and raised() < 0.5, "the pose of the copied picture")

    words = gui.OUT / "words.txt"
    words.write_text("no picture", encoding="utf-8")
    yield from copied(region, file=words, kind="UTF8_STRING", text="no picture")
    yield from gui.wait_for(lambda: session.current.problem, "the reason why nothing was pasted")
    seen["refused"], seen["kept_image"] = session.current.problem.sentence, settings.image.name
    gui.shot("nothing_pasted.png")
    yield from copied(region, text=str(gui.OUT / "photo.png"))
    yield from gui.wait_for(lambda: settings.image.name != "Clipboard", "the copied file")
    seen["pasted"] = settings.image.name
    yield 0.3
    yield from press(region, "chatpose.pose_from_picture(")
    of_image = lambda: module("seen").of(settings.image)  # noqa: E731
    yield from gui.wait_for(lambda: session.current.work is None and of_image(), "the people of the copied file")
    yield from press(region, "chatpose.choose_person(person=2")
    yield from gui.wait_for(
        lambda: session.current.work is None and settings.person == 2, "the other person's pose", limit=180
    )
    seen["chosen"], seen["person"] = raised(), bpy.context.scene.chatpose.picture.person
    gui.shot("picture_chosen.png")
    return seen
