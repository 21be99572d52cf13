# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: words in, a posed and rendered body out, by the real server and the real add-on in Blender.

Standard library only. Starts the server and Blender as children; what happens inside Blender is in demo_in_blender.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from scripts import environments, server_process
from scripts.environments import ROOT, DevError

PROMPTS = (
    "a person kneeling with both arms raised",
    "a person sitting with crossed legs",
    "a person standing on one leg with arms spread wide",
    "a person doing a deep squat",
    "a person bowing forward",
    "a person waving with the right hand",
)
BLENDER_LIMIT = 900  # seconds for everything that Blender does


def run(prompt: str | None) -> int:
    """Pose and render `prompt`, or the six of PROMPTS with a contact sheet. Prints paths and times; returns 0."""
    if prompt is not None and not prompt.strip():
        raise DevError('The prompt is empty. Say what the body shall do: python3 dev.py demo "a person kneeling"')
    clock = Clock()
    server_python = environments.ensure(environments.server())
    blender_python = environments.ensure(environments.blender(environments.BLENDERS[0]))
    clock.lap("environments")
    server_process.fetch_weights(server_python)
    clock.lap("weights")
    prompts = [prompt.strip()] if prompt else list(PROMPTS)
    folder = ROOT / "demo"
    folder.mkdir(exist_ok=True)
    with server_process.running(server_python) as server:
        clock.lap("server start")
        order = {
            "address": server.address,
            "token": server.token,
            "shots": [{"prompt": text, "blend": str(folder / f"{slug(text)}.blend")} for text in prompts],
        }
        pictures = _in_blender(blender_python, order)
    clock.lap("Blender")
    if not prompt:
        sheet = folder / "contact_sheet.png"
        command = [str(server_python), str(ROOT / "scripts" / "contact_sheet.py"), str(sheet)]
        for text, picture in zip(prompts, pictures):
            command += [text, picture]
        subprocess.run(command, check=True)
        print(sheet)
    clock.lap("all")
    return 0


def slug(prompt: str) -> str:
    """A file name out of a prompt: short, and safe on every system."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60].strip("-") or "pose"


class Clock:
    """Says how long each part took."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()

    def lap(self, name: str) -> None:
        """Print the seconds since the last lap under `name`."""
        now = time.monotonic()
        since = self.start if name == "all" else self.last
        print(f"[{now - since:6.1f} s] {name}", flush=True)
        self.last = now


def _in_blender(python: Path, order: dict) -> list[str]:
    """Run the order in Blender; return the paths of the pictures."""
    with tempfile.TemporaryDirectory(prefix="chatpose-demo-") as user:
        file = Path(user, "order.json")
        file.write_text(json.dumps(order), encoding="utf-8")
        environment = {**os.environ, "BLENDER_USER_RESOURCES": user, "PYTHONPATH": str(ROOT)}
        script = ROOT / "scripts" / "demo_in_blender.py"
        try:
            done = subprocess.run(
                [str(python), str(script), str(file)],
                env=environment,
                stdin=subprocess.DEVNULL,
                check=False,
                timeout=BLENDER_LIMIT,
            )
        except subprocess.TimeoutExpired:
            raise DevError(f"Blender was not done after {BLENDER_LIMIT} s and was ended.") from None
    if done.returncode:
        raise DevError("The demo failed inside Blender: the reason is in the lines above.")
    return [str(Path(shot["blend"]).with_suffix(".png")) for shot in order["shots"]]
