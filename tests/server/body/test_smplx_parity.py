"""Our loader against the smplx package, for people who have installed it (its licence is not for everybody)."""

from __future__ import annotations

import shutil

import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import load_body
from chatpose_server.body.model import STANDIN_PATH


def test_the_same_vertices(tmp_path):
    smplx = pytest.importorskip("smplx", reason="the smplx package (non-commercial licence) is not installed")
    path = tmp_path / "SMPLX_NEUTRAL.npz"  # the package goes by the file's name
    shutil.copy(STANDIN_PATH, path)
    theirs = smplx.create(str(path), model_type="smplx", use_pca=False, flat_hand_mean=True, num_betas=10)
    pose = torch.randn(1, 165, generator=torch.Generator().manual_seed(0)) * 0.3
    betas = torch.randn(1, 10, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(
            global_orient=pose[:, :3], body_pose=pose[:, 3:66], jaw_pose=pose[:, 66:69], leye_pose=pose[:, 69:72],
            reye_pose=pose[:, 72:75], left_hand_pose=pose[:, 75:120], right_hand_pose=pose[:, 120:], betas=betas,
        )  # fmt: skip
    ours = load_body(path).skin(rot.rotvec_to_matrot(pose.view(1, 55, 3)), betas[0])
    assert (ours - wanted.vertices).abs().max() < 2e-6
