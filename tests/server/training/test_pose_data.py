"""Reading poses, facing them to the front, even sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import default_body
from chatpose_server.training.pose_data import (
    TrainingDataError,
    density_weights,
    face_front,
    heading,
    read_folder,
)  # fmt: skip


def about_y(degrees: float) -> torch.Tensor:
    return rot.rotvec_to_matrot(torch.tensor([0.0, math.radians(degrees), 0.0]))


def lying(axis: str) -> torch.Tensor:
    vec = {"back": [-math.pi / 2, 0, 0], "front": [math.pi / 2, 0, 0], "side": [0, 0, math.pi / 2]}[axis]
    return rot.rotvec_to_matrot(torch.tensor(vec, dtype=torch.float32))


@pytest.mark.parametrize("yaw", [-170, -90, -20, 0, 35, 90, 179])
@pytest.mark.parametrize("posture", ["upright", "back", "front", "side"])
def test_heading_is_taken_away_and_nothing_else(yaw, posture):
    base = torch.eye(3) if posture == "upright" else lying(posture)
    poses = rot.rotvec_to_matrot(torch.randn(1, 22, 3, generator=torch.Generator().manual_seed(1)) * 0.3)
    poses[0, 0] = about_y(yaw) @ base
    once = face_front(poses)
    assert abs(float(heading(once[:, 0]))) < 1e-3
    before = default_body().forward_kinematics(poses).joints[0]
    after = default_body().forward_kinematics(once).joints[0]
    torch.testing.assert_close(before[:, 1], after[:, 1], rtol=0, atol=1e-4)  # heights are what they were
    torch.testing.assert_close(torch.cdist(before, before), torch.cdist(after, after), rtol=0, atol=1e-4)


def test_both_layouts_are_read(tmp_path):
    ours = np.zeros((3, 22, 3), np.float32)
    np.savez(
        tmp_path / "a.npz",
        local_rotvec=ours,
        ok=np.array([True, False, True]),
        text=np.array(["x", "y", "z"]),
        clip=np.array(["1", "1", "2"]),
    )
    upright = np.zeros((40, 165), np.float32)
    upright[:, 0] = np.pi / 2  # AMASS is z up: an upright person is turned a quarter about x
    np.savez(tmp_path / "b.npz", poses=upright, mocap_framerate=np.array(24.0))
    got = read_folder(tmp_path)
    assert got.text[:2] == ("x", "z")
    assert len(got) == 2 + 10  # 24 a second thinned to 6
    torch.testing.assert_close(got.matrot[-1, 0], torch.eye(3), rtol=0, atol=1e-5)


def test_data_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(TrainingDataError, match=r"No \.npz files"):
        read_folder(tmp_path)
    np.savez(tmp_path / "c.npz", other=np.zeros(3))
    with pytest.raises(TrainingDataError, match=r"'c\.npz'"):
        read_folder(tmp_path)


def test_rare_poses_weigh_as_much_as_common_ones():
    common = torch.eye(3).expand(300, 22, 3, 3).clone()
    rare = rot.rotvec_to_matrot(torch.randn(10, 22, 3, generator=torch.Generator().manual_seed(3)))
    weights = density_weights(torch.cat([common, rare]), clusters=11)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(weights[300:].sum()) > 0.85
