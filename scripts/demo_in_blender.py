# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the demo that runs inside Blender as a Python module: the real add-on, asked like an artist would.

    python demo_in_blender.py ORDER.json      (written by demo.py)

Adds the body, writes the prompt, presses Pose, waits for the answer, photographs. BLENDER_USER_RESOURCES names a folder
that is thrown away afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

import bpy

# isort: split
import addon_utils  # exists once bpy is imported

import build_addon
from scripts import studio

REPOSITORY = "demo"
MODULE = f"bl_ext.{REPOSITORY}.{build_addon.ADDON_ID}"
ANSWER_LIMIT = 120.0  # seconds from the button to the posed body


class DemoError(Exception):
    """The add-on said no. The text is what it said to the artist."""


def enable_addon(address: str, token: str) -> ModuleType:
    """Install the staged add-on into Blender's user folder, enable it, and tell it where the server is."""
    folder = Path(os.environ["BLENDER_USER_RESOURCES"], REPOSITORY)
    build_addon.stage(folder / build_addon.ADDON_ID)
    bpy.context.preferences.extensions.repos.new(
        name="Demo", module=REPOSITORY, custom_directory=str(folder), source="USER"
    )
    addon = addon_utils.enable(MODULE, default_set=True)
    if addon is None:
        raise DemoError("The add-on did not register: see the lines above.")
    settings = bpy.context.preferences.addons[MODULE].preferences
    settings.address, settings.token = address, token
    return addon


def pose_body(session: ModuleType, prompt: str) -> bpy.types.Object:
    """Add a body to an empty scene, pose it by `prompt`, return its mesh. DemoError has the add-on's own words."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.chatpose.add_body()
    bpy.context.scene.chatpose.prompt = prompt
    bpy.ops.chatpose.pose()
    end = time.monotonic() + ANSWER_LIMIT
    while session.current.work is not None:  # without a window Blender's timers do not fire: the pump is worked by hand
        if time.monotonic() > end:
            raise DemoError(f"No answer came within {ANSWER_LIMIT:.0f} s.")
        session.pump()
        time.sleep(0.01)
    if session.current.problem is not None:
        raise DemoError(session.current.problem.sentence)
    return next(ob for ob in bpy.context.scene.objects if ob.type == "MESH")


def shoot(session: ModuleType, prompt: str, blend: Path) -> None:
    """Pose a body by `prompt`, save the scene as `blend` and its picture beside it; print paths, answer and times."""
    start = time.monotonic()
    body = pose_body(session, prompt)
    posed = time.monotonic()
    studio.set_up(bpy.context.scene, body)
    studio.render(bpy.context.scene, blend.with_suffix(".png"))
    rendered = time.monotonic()
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True)
    print(f'"{prompt}": {session.current.answer}')
    print(f"  {blend}\n  {blend.with_suffix('.png')}")
    print(f"  [{posed - start:6.1f} s] words to posed body\n  [{rendered - posed:6.1f} s] picture", flush=True)


def main(order: dict) -> None:
    """Take every shot of the order."""
    addon = enable_addon(order["address"], order["token"])
    for shot in order["shots"]:
        shoot(addon.session, shot["prompt"], Path(shot["blend"]))


if __name__ == "__main__":
    status = 0
    try:
        main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except DemoError as error:
        print(error, file=sys.stderr)
        status = 1
    except Exception:  # noqa: BLE001  printed whole; what matters is that the process ends
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # bpy 4.5.15 can hang for ever on the ordinary way out
