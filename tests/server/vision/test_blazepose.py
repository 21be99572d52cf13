"""Who is found in a picture, which way up, and what the landmark network is asked for besides its own outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chatpose_server.vision import blazepose, networks
from chatpose_server.vision.blazepose import AT, Landmarks, Pyramid, Reading, find_people
from chatpose_server.vision.crops import Square

from .drawn import camera_at, draw, pose_of


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_body_is_found_whichever_way_up(turn):
    """``turn``: degrees counter-clockwise."""
    upright, camera = pose_of("left arm up"), camera_at()
    (straight, *_), picture = (
        find_people(Pyramid(draw(upright, camera))),
        draw(upright, camera).rotate(turn, expand=True),
    )
    (found, *others) = find_people(Pyramid(picture))
    assert not others
    x, y = straight.pixels.T
    w, h = camera.width, camera.height
    where = {0: (x, y), 90: (y, w - x), 180: (w - x, h - y), 270: (h - y, x)}[turn]
    limbs = [AT[f"{s}_{n}"] for s in ("left", "right") for n in ("shoulder", "wrist", "hip", "knee", "ankle")]
    off = np.linalg.norm(found.pixels - np.stack(where, 1), axis=1)[limbs]
    assert off.mean() < 0.05 * h


def person(score, low, high):
    """Somebody whose landmarks fill a box."""
    reading = Reading(np.zeros((33, 5), np.float32), *(np.zeros((33, 3), np.float32) for _ in range(3)), 1.0)
    pixels = np.linspace(low, high, 33)
    return Landmarks(pixels, np.ones(33), np.zeros((33, 3)), score, Square(*pixels.mean(0), 100.0), (reading, reading))


def test_a_faint_person_inside_a_plain_one_is_no_person():
    plain = person(0.9, (100, 100), (200, 400))
    knee, child, beside = person(0.45, (120, 300), (180, 390)), person(0.75, (120, 200), (190, 330)), (300, 100)
    other = person(0.45, beside, (380, 400))
    assert blazepose._without_ghosts([plain, knee, child, other]) == [plain, child, other]
    assert blazepose._without_ghosts([replace(plain, score=0.5), knee]) == [replace(plain, score=0.5), knee]


def test_asking_for_more_changes_nothing_of_what_is_said(monkeypatch):
    picture = np.random.default_rng(0).random((256, 256, 3)).astype(np.float32)
    path = networks.WEIGHTS / "pose_landmark_heavy.tflite"
    asked = networks.Network(path)(picture)
    monkeypatch.setattr(networks, "_TAPPED", {})
    own = networks.Network(path)(picture)
    assert [a.shape for a in asked] == [(195,), (1,), (2, 2, 288), (4, 4, 288), (117,)]
    for k in (0, 1, 4):
        assert np.abs(asked[k] - own[k]).max() <= 1e-3 * np.abs(own[k]).max()
    assert asked[2].std() > 0.1
    assert asked[3].std() > 0.1
