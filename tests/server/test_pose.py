"""Pose: the wire's JSON, files, mirroring, and what is refused with which words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import default_body
from chatpose_server.pose import FORMAT, Pose, PoseError, load_npz, mirrored_matrot, save_npz, stack_matrot
from chatpose_server.skeleton import BODY_JOINTS, JOINTS, MIRROR, PARENTS, mirror_name


def some(seed: int = 0) -> Pose:
    vec = torch.randn(22, 3, generator=torch.Generator().manual_seed(seed)) * 0.5
    return Pose.from_matrot(rot.rotvec_to_matrot(vec), transl=(0.1, 1.2, -0.3), score=0.5)


def test_the_skeleton_is_smplx():
    assert (len(JOINTS), len(BODY_JOINTS)) == (55, 22)
    assert all(p < j for j, p in enumerate(PARENTS))
    assert all(MIRROR[MIRROR[j]] == j for j in range(55))
    assert mirror_name("left_index1") == "right_index1"
    assert [JOINTS[PARENTS[JOINTS.index(j)]] for j in ("head", "left_index1", "jaw")] == ["neck", "left_wrist", "head"]


def test_json_round_trip():
    pose = some()
    data = json.loads(json.dumps(pose.to_json()))
    assert data["format"] == FORMAT
    again = Pose.from_json(data)
    assert rot.geodesic_angle(pose.matrot(), again.matrot()).max() < 1e-3
    assert again.transl == pytest.approx(pose.transl, abs=1e-5)
    assert again.score == pytest.approx(0.5)


def test_npz_round_trip_keeps_who_speaks(tmp_path):
    arm = Pose({"left_elbow": (math.cos(0.3), 0.0, math.sin(0.3), 0.0)})
    save_npz(tmp_path / "p.npz", [some(), arm])
    first, second = load_npz(tmp_path / "p.npz")
    assert rot.geodesic_angle(first.matrot(), some().matrot()).max() < 1e-3
    assert set(second.joints) == {"left_elbow"}
    assert second.transl is None
    with np.load(tmp_path / "p.npz", allow_pickle=False) as data:
        assert data["poses"].shape == (2, 165)  # AMASS's layout beside ours


def test_mirrored_limbs_point_the_mirrored_way():
    pose = some(3)
    a = default_body().forward_kinematics(pose.matrot()[None]).joints[0]
    b = default_body().forward_kinematics(pose.mirrored().matrot()[None]).joints[0]
    flip = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(a[list(MIRROR[:22])] * flip, b, rtol=0, atol=3e-3)


@pytest.mark.parametrize("names", [BODY_JOINTS, JOINTS])
def test_matrices_are_mirrored_as_poses_are(names):
    poses = [some(3), some(4)]
    expected = stack_matrot([pose.mirrored() for pose in poses], names)
    torch.testing.assert_close(mirrored_matrot(stack_matrot(poses, names)), expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "must be a JSON object"),
        ({"format": "bvh", "joints": {}}, "only 'smplx-quat-wxyz' is read"),
        ({}, "must have 'joints'"),
        ({"joints": {"tail": [1, 0, 0, 0]}}, "'tail' is not a SMPL-X joint"),
        ({"joints": {"head": [1, 0, 0]}}, "must have 4 numbers, not 3"),
        ({"joints": {"head": [2, 0, 0, 0]}}, "length 2; a unit quaternion"),
        ({"joints": {"head": [float("nan"), 0, 0, 1]}}, "finite numbers"),
        ({"joints": {"head": [True, 0, 0, 0]}}, "finite numbers"),
        ({"joints": {"head": "1000"}}, "must be a list"),
        ({"joints": {}, "transl": [0, 0, 1e9]}, "sensible size"),
        ({"joints": {}, "betas": [0.0] * 401}, "at most 400"),
    ],
)
def test_refusals_say_what_is_wrong(data, words):
    with pytest.raises(PoseError, match=words):
        Pose.from_json(data)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x80\x04pickle"])
def test_files_that_are_no_poses(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(PoseError, match=r"x\.npz"):
        load_npz(tmp_path / "x.npz")
