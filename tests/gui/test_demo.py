# SPDX-License-Identifier: GPL-3.0-or-later
"""`dev.py demo "prompt"`, whole: environments, weights, server, add-on, picture."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
from PIL import Image

from scripts import demo
from scripts.environments import ROOT

PROMPT = "a person doing a deep squat with both arms stretched forward"
LIMIT = 600  # seconds; half a minute on a quiet machine where everything was made before


def test_one_prompt_leaves_a_scene_and_a_picture() -> None:
    began = time.time()
    command = [sys.executable, "dev.py", "demo", PROMPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    scene = ROOT / "demo" / f"{demo.slug(PROMPT)}.blend"
    picture = scene.with_suffix(".png")
    assert str(scene) in done.stdout and str(picture) in done.stdout
    assert min(scene.stat().st_mtime, picture.stat().st_mtime) >= began - 1, "these are an older run's files"
    pixels = np.asarray(Image.open(picture).convert("RGB"), dtype=float)
    # The body is blue-grey before warm paper: enough of the picture is bluer than red, and not all of it.
    blue = (pixels[..., 2] - pixels[..., 0] > 20).mean()
    assert 0.03 < blue < 0.6, f"{blue:.0%} of the picture looks like a body"


def test_an_empty_prompt_is_refused_in_words() -> None:
    done = subprocess.run(
        [sys.executable, "dev.py", "demo", "  "], cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT
    )
    assert done.returncode == 2
    assert done.stderr.strip().startswith("The prompt is empty.")
