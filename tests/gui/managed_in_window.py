# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to a pose in Blender's real window: Install Server, body, prompt, Pose, quit. Run by test_managed.py.

Writes OUT/managed.json and pictures; raises where a step has no effect at all. Ends Blender as a person does.
"""

import itertools
import json
import os
import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, "/mnt/project/scripts/blender")
import gui_lib as gui

MODULE = "bl_ext.user_default.chatpose"
LIMIT = 900  # seconds for what takes half a minute on a quiet machine


def part(name):
    """A module of the installed add-on."""
    return sys.modules[f"{MODULE}.{name}"]


def state():
    """The connection's state, as the panel shows it."""
    return part("session").current.connection.state.name


def rig():
    """The body's armature, found anew each time: undo replaces objects."""
    return next((ob for ob in bpy.context.scene.objects if ob.type == "ARMATURE"), None)


def arm():
    """The raised arm's rotation."""
    return list(rig().pose.bones["left_shoulder"].rotation_quaternion)


def test():
    """The artist's way, step by step."""
    local = part("local")
    assert bpy.context.preferences.addons[MODULE].preferences.server == "LOCAL", "a new user has no address to give"
    yield from gui.ready()
    for ob in list(bpy.context.scene.objects):
        bpy.data.objects.remove(ob)
    region = yield from gui.open_sidebar("ChatPose")
    yield from gui.wait_for(lambda: local.status().plan, "the offer to install", limit=300)
    yield from gui.wait_for(lambda: state() == "NOT_INSTALLED", "the panel to say so", limit=60)
    gui.redraw()
    gui.shot("offer.png")
    button = yield from gui.find_button(region, "chatpose.server_install(")
    stages, states, fractions = [], [state()], []
    yield from gui.click(*button)
    began, longest, last, pictured = time.monotonic(), 0.0, time.monotonic(), False
    while state() != "READY":
        status = local.status()
        assert time.monotonic() - began < LIMIT, f"not ready in {LIMIT} s: {status}"
        assert not status.problem, f"{status.problem}\n{status.log}"
        for seen, now in ((stages, status.stage), (states, state())):
            if now not in seen:
                seen.append(now)
        fractions.append(status.fraction)
        if not pictured and status.fraction > 0.3 and status.log:
            pictured = True
            gui.shot("installing.png")
            last = time.monotonic()
        yield 0.02
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    seconds = time.monotonic() - began
    gui.shot("ready.png")

    yield from gui.click(*(yield from gui.find_button(region, "chatpose.add_body(")))
    yield from gui.wait_for(rig, "the body after Add SMPL-X Body")
    before = arm()
    bpy.context.scene.chatpose.prompt = "raise the left arm"
    yield from gui.click(*(yield from gui.find_button(region, "chatpose.pose(")))
    session = part("session")
    yield from gui.wait_for(lambda: session.current.work is None, "the answer", limit=300)
    assert session.current.problem is None, session.current.problem.sentence
    yield 0.3
    gui.shot("managed.png")
    record = json.loads(Path(os.environ["HOME"], ".config", "chatpose", "server.json").read_text(encoding="utf-8"))
    seen = {
        "stages": stages,
        "states": states,
        "fractions_rise": all(a <= b + 1e-6 for a, b in itertools.pairwise(fractions) if b > 0),
        "seconds": seconds,
        "longest_pause": longest,
        "arm_before": before,
        "arm_after": arm(),
        "pid": record["pid"],
        "alive": Path(f"/proc/{record['pid']}").exists(),
        "folder": str(local.status().installed.folder),
    }
    (gui.OUT / "managed.json").write_text(json.dumps(seen), encoding="utf-8")
    bpy.ops.wm.quit_blender("EXEC_DEFAULT")
    yield 60


gui.run(test)
