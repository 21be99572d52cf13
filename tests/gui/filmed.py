# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures that the real server looks at in the windows: our own body, drawn."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from chatpose_server import rotations
from chatpose_server.body.model import default_body
from chatpose_server.pose import Pose
from chatpose_server.skeleton import BODY_JOINTS, INDEX
from PIL import Image

from tests.server.vision import drawn

FIRST = 11  # the number of the film's first picture
RAISED_DEG = (-65, -35, -5, 20, 45, 65)  # of the left upper arm, one for each picture: from hanging to high


def _arms(left_deg: float, right_deg: float) -> Pose:
    """Standing; how far each upper arm is above the horizontal."""
    rotvec = torch.zeros(len(BODY_JOINTS), 3)
    rotvec[INDEX["left_shoulder"], 2] = math.radians(left_deg)
    rotvec[INDEX["right_shoulder"], 2] = math.radians(-right_deg)
    matrot = rotations.rotvec_to_matrot(rotvec)
    return Pose.from_matrot(matrot, transl=default_body().ground_transl(matrot[None])[0].tolist())


def draw(folder: Path) -> None:
    """``film_0011.jpg`` and on: the left arm goes up. ``two.jpg``: the left one of two people has her left arm up, the
    right one her right arm.
    """
    camera = drawn.camera_at()
    for i, raised in enumerate(RAISED_DEG):
        drawn.draw(_arms(raised, -65), camera).save(folder / f"film_{FIRST + i:04d}.jpg", quality=90)
    people = [drawn.draw(_arms(*arms), camera) for arms in ((65, -65), (-65, 65))]
    both = Image.new("RGB", (2 * camera.width, camera.height))
    for i, one in enumerate(people):
        both.paste(one, (i * camera.width, 0))
    both.save(folder / "two.jpg", quality=90)
