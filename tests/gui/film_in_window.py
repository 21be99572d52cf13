# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered pictures become keys, Esc on the way, Ctrl-Z; two people of one picture onto two characters. See
test_real_window.py.

Raises where a step has no effect at all.
"""

import bpy
import gui_lib as gui
from stage import add_body, begin, channels, module, press

LIMIT = 240  # seconds for some pictures; a quiet machine takes a second for each
FRAMES = 6
APART = 1.1  # metres between two characters
JOINTS = [f"{side}_{joint}" for side in ("left", "right") for joint in ("shoulder", "wrist")]


def rigs():
    """The characters, from the world's left to its right, found anew each time."""
    return sorted((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), key=lambda ob: ob.location.x)


def raised(rig):
    """How far each wrist is above its shoulder, in metres: left, right."""
    bpy.context.view_layer.update()
    place = {name: rig.matrix_world @ rig.pose.bones[name].head for name in JOINTS}
    return [round((place[f"{side}_wrist"] - place[f"{side}_shoulder"]).z, 3) for side in ("left", "right")]


def keys():
    """How many keys the curves of the rig have, at most."""
    data = rigs()[0].animation_data
    if data is None or data.action is None:
        return 0
    return max((len(curve.keyframe_points) for curve in module("rig.keyframes").curves_of(rigs()[0])), default=0)


def open_picture(name):
    """As the file browser does it."""
    with bpy.context.temp_override(window=gui.window(), area=gui.viewport()[0]):
        bpy.ops.chatpose.picture_open("EXEC_DEFAULT", True, filepath=str(gui.OUT / name))


def idle():
    """Nothing is asked, read or keyed."""
    return module("session").current.work is None and not gui.window().modal_operators


def take_film(region, over_view):
    """Esc on the way, then all of it, then Ctrl-Z."""
    session, scene = module("session"), bpy.context.scene
    open_picture("film_0011.jpg")
    scene.chatpose.picture.image.source = "SEQUENCE"
    scene.chatpose.picture.frames = FRAMES
    seen = {"first_picture": scene.chatpose.picture.first_frame}
    thumbnails = module("people_pictures")
    gui.redraw()
    yield from gui.wait_for(lambda: thumbnails._small, "the first picture's thumbnail", limit=LIMIT)
    (small,) = thumbnails._small.values()
    seen["thumbnail"] = [*small.shape, float(small[..., :3].std())]
    yield 0.3
    gui.shot("film_opened.png")
    scene.frame_set(1)
    bpy.ops.ed.undo_push(message="Film")
    before = channels()

    yield from press(region, "chatpose.motion_from_picture(")
    part = lambda: session.current.work is not None and session.current.work.part  # noqa: E731
    yield from gui.wait_for(lambda: part() and part()[0] >= 1, "the second picture", limit=LIMIT)
    seen["on_the_way"] = [*part(), keys()]
    yield from gui.move(*over_view)
    yield from gui.key("ESC", *over_view)
    yield from gui.wait_for(idle, "the end after Esc")
    yield 0.3
    gui.shot("film_esc.png")
    seen["after_esc"] = [keys(), channels() == before, session.current.problem.sentence]

    session.current.problem = None  # with it the panel is longer than the window is high
    yield from press(region, "chatpose.motion_from_picture(")
    yield from gui.wait_for(lambda: part() and part()[0] >= 2, "the third picture", limit=LIMIT)
    gui.shot("film_on_the_way.png")
    yield from gui.wait_for(lambda: idle() and keys(), "the keys", limit=LIMIT)
    seen["said"], seen["keys"] = session.current.answer, keys()
    seen["raised"] = []
    for frame in range(1, FRAMES + 1):
        scene.frame_set(frame)
        seen["raised"].append(raised(rigs()[0]))
        if frame in {1, 4, FRAMES}:
            yield 0.2
            gui.shot(f"film_frame{frame}.png")
    scene.frame_set(1)
    yield from gui.key("Z", *over_view, ctrl=True)
    yield 0.3
    seen["undone"] = keys() == 0 and channels() == before
    return seen


def pose_two(region, over_view):
    """The people are found, the dialog's proposal is taken with Enter, and Ctrl-Z brings both poses back."""
    yield from press(region, "chatpose.add_body(")
    yield from gui.wait_for(lambda: len(rigs()) == 2 and idle(), "the second body", limit=60)
    for rig, x in zip(rigs(), (-APART / 2, APART / 2), strict=True):
        rig.location.x = x
        rig.select_set(True)
    _, space, _ = gui.viewport()
    space.region_3d.view_distance = 5.0
    open_picture("two.jpg")
    known = module("seen")
    yield from press(region, "chatpose.find_people(")
    found = lambda: known.of(bpy.context.scene.chatpose.picture.image)  # noqa: E731
    yield from gui.wait_for(lambda: idle() and found(), "the people", limit=LIMIT)
    seen = {"people": len(found().sight.people), "before": [raised(rig) for rig in rigs()]}
    bpy.ops.ed.undo_push(message="Two")
    yield from press(region, "chatpose.pose_people(")
    yield 0.3
    gui.shot("people_dialog.png")
    yield from gui.key("RET", *over_view)
    moved = lambda: [raised(rig) for rig in rigs()] != seen["before"]  # noqa: E731
    yield from gui.wait_for(lambda: idle() and moved(), "the poses of both", limit=LIMIT)
    yield 0.3
    seen["posed"] = [raised(rig) for rig in rigs()]
    gui.shot("people_posed.png")
    yield from gui.key("Z", *over_view, ctrl=True)
    yield 0.3
    seen["undone"] = [raised(rig) for rig in rigs()]
    return seen


def test():
    """The artist's way, step by step."""
    region, over_view = yield from begin("film", "CHATPOSE_PT_picture")
    yield from add_body(region)
    film = yield from take_film(region, over_view)
    return {"film": film, "people": (yield from pose_two(region, over_view))}
