# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in Blender's window: the scripts named in CHATPOSE_SCRIPTS, one after the other. See conftest.py.

Each begins with an empty stage and writes OUT/<name>.json and pictures. Starting a window, and finding Blender ready,
takes longer than most of them.
"""

import importlib
import json
import os
import sys
import time

sys.path[:0] = ["/mnt/project/tests/gui", "/mnt/project/scripts/blender"]
import gui_lib as gui  # noqa: E402 - found by the line above


def test():
    """All of them; -> what each saw, and the seconds that it took."""
    seconds = {}
    for name in os.environ["CHATPOSE_SCRIPTS"].split():
        start = time.monotonic()
        seen = yield from importlib.import_module(f"{name}_in_window").test()
        seconds[name] = round(time.monotonic() - start, 1)
        (gui.OUT / f"{name}.json").write_text(json.dumps(seen), encoding="utf-8")
        (gui.OUT / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


gui.run(test)
