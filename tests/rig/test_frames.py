"""The one place that knows y-up from z-up."""

from __future__ import annotations

import numpy as np
import pytest

from chatpose_blender.rig import frames
from chatpose_blender.rig import rotations as rot

DIRECTIONS = [
    # what, SMPL-X, Blender
    ("up", (0, 1, 0), (0, 0, 1)),
    ("ahead", (0, 0, 1), (0, -1, 0)),
    ("the body's left", (1, 0, 0), (1, 0, 0)),
]


@pytest.mark.parametrize(("what", "smplx", "blender"), DIRECTIONS)
def test_directions(what, smplx, blender):
    assert np.allclose(frames.to_blender(smplx), blender)
    assert np.allclose(frames.from_blender(blender), smplx)


T_POSE = {
    "pelvis": (0, 0.9, 0), "left_hip": (0.1, 0.85, 0), "right_hip": (-0.1, 0.85, 0.01), "head": (0.0, 1.5, -0.04),
    "left_shoulder": (0.17, 1.4, -0.03), "right_shoulder": (-0.17, 1.41, -0.03),
}  # fmt: skip


@pytest.mark.parametrize(
    "basis",
    [np.eye(3), frames.Z_UP, frames.Z_UP @ np.diag([-1.0, 1, -1]), np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])],
    ids=["y up", "z up", "z up, facing back", "z left"],
)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_frame_of_an_armature_is_measured(basis, scale):
    heads = {name: basis @ np.array(p) * scale + 3.0 for name, p in T_POSE.items()}
    assert np.allclose(frames.measure(heads), basis)


def test_a_frame_turned_by_an_odd_angle_is_kept():
    basis = frames.Z_UP @ rot.to_matrot(rot.from_rotvec((0, np.radians(40), 0)))
    measured = frames.measure({name: basis @ np.array(p) for name, p in T_POSE.items()})
    assert np.degrees(rot.angle_between(rot.from_matrot(measured), rot.from_matrot(basis))) < 5
    assert np.allclose(measured @ measured.T, np.eye(3))


@pytest.mark.parametrize("heads", [{}, {"pelvis": (0, 0, 0)}, dict.fromkeys(T_POSE, (1, 1, 1))])
def test_what_spans_no_frame_is_taken_as_blenders(heads):
    assert np.allclose(frames.measure(heads), frames.Z_UP)
