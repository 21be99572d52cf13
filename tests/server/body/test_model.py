"""Bodies: the stand-in as shipped, forward kinematics and skinning against a straight-line reference, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import BodyFileError, default_body, load_body
from chatpose_server.body.model import STANDIN_PATH
from chatpose_server.body.preview import contact_sheet, draw_body
from chatpose_server.skeleton import INDEX, PARENTS


def random_pose(joints: int, seed: int = 0, scale: float = 0.4) -> torch.Tensor:
    return rot.rotvec_to_matrot(torch.randn(2, joints, 3, generator=torch.Generator().manual_seed(seed)) * scale)


def reference(local: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear blend skinning written out, joint by joint, in float64, from the file's own arrays."""
    with np.load(STANDIN_PATH, allow_pickle=False) as d:
        v = d["v_template"].astype(float) + d["shapedirs"][:, :, : len(betas)].astype(float) @ betas
        joints = d["J_regressor"].astype(float) @ v
        weights = d["weights"].astype(float)
    world = np.zeros((55, 4, 4))
    for j, parent in enumerate(PARENTS):
        step = np.eye(4)
        step[:3, :3] = local[j]
        step[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world[j] = step if parent < 0 else world[parent] @ step
    placed = world[:, :3, 3].copy()
    for j in range(55):
        world[j, :3, 3] -= world[j, :3, :3] @ joints[j]
    blended = np.einsum("vj,jab->vab", weights, world)
    return np.einsum("vab,vb->va", blended[:, :3, :3], v) + blended[:, :3, 3], placed


@pytest.mark.parametrize("betas", [[], [1.5, -2.0, 0.7]])
def test_skinning_is_what_the_file_says(betas):
    body, pose = default_body(), random_pose(55)
    given = torch.tensor(betas) if betas else None
    vertices = body.skin(pose, given)
    _, rest = body.rest(given)
    joints = body.forward_kinematics(pose, None, rest).joints
    for b in range(2):
        wanted, placed = reference(pose[b].double().numpy(), np.array(betas))
        assert np.abs(vertices[b].numpy() - wanted).max() < 1e-5
        assert np.abs(joints[b].numpy() - placed).max() < 1e-5


def test_twenty_two_joints_are_fifty_five_with_the_rest_at_rest():
    pose = random_pose(22)
    full = torch.cat([pose, torch.eye(3).expand(2, 33, 3, 3)], 1)
    torch.testing.assert_close(default_body().skin(pose), default_body().skin(full))
    some = torch.tensor([5, 900, 13000])
    torch.testing.assert_close(default_body().skin(pose, vertices=some), default_body().skin(pose)[:, some])


def test_on_the_ground_means_the_lowest_point_at_zero():
    pose = random_pose(22, 4)
    transl = default_body().ground_transl(pose)
    low = default_body().skin(pose, transl=transl)[..., 1].amin(1)
    torch.testing.assert_close(low, torch.zeros(2), rtol=0, atol=1e-5)


def test_the_rest_pose_stands_as_the_convention_says():
    joints = default_body().neutral_joints
    assert joints[INDEX["left_wrist"], 0] > 0.5  # the body's left is +x
    assert joints[INDEX["head"], 1] > joints[INDEX["pelvis"], 1]  # y is up
    assert joints[INDEX["left_foot"], 2] > joints[INDEX["left_ankle"], 2]  # it faces +z


def test_too_many_shape_values_are_refused():
    with pytest.raises(BodyFileError, match="has 10 shape values; 11 were given"):
        default_body().rest(torch.zeros(11))


def smaller(tmp_path, **changes):
    with np.load(STANDIN_PATH, allow_pickle=False) as d:
        arrays = {k: d[k] for k in ("v_template", "f", "shapedirs", "J_regressor", "weights", "kintree_table")}
    arrays.update(changes)
    np.savez(tmp_path / "body.npz", **{k: v for k, v in arrays.items() if v is not None})
    return tmp_path / "body.npz"


def test_a_licensed_files_layout_has_correctives_and_300_betas(tmp_path):
    with np.load(STANDIN_PATH, allow_pickle=False) as d:
        shapedirs = np.zeros((len(d["v_template"]), 3, 400), np.float32)
    posedirs = np.zeros((len(shapedirs), 3, 486), np.float32)
    posedirs[7, 1, 0] = 1.0
    body = load_body(smaller(tmp_path, shapedirs=shapedirs, posedirs=posedirs))
    assert body.num_betas == 300
    pose = torch.eye(3).expand(1, 55, 3, 3).clone()
    pose[0, 1] = rot.rotvec_to_matrot(torch.tensor([0.5, 0.0, 0.0]))
    with_correctives = body.skin(pose)
    plain = default_body().skin(pose)
    moved = (with_correctives - plain).abs().amax((0, 2))
    assert set(moved.nonzero()[:, 0].tolist()) <= {7}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": None}, "it lacks weights"),
        ({"weights": np.zeros((4, 24), np.float32)}, "has 24 joints in another order; SMPL-X has 55"),
    ],
)
def test_wrong_files_are_told_apart(tmp_path, changes, words):
    with pytest.raises(BodyFileError, match=words):
        load_body(smaller(tmp_path, **changes))


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95pickled", b"PK\x03\x04 cut off"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "SMPLX_X.npz").write_bytes(content)
    with pytest.raises(BodyFileError, match=r"SMPLX_X\.npz"):
        load_body(tmp_path / "SMPLX_X.npz")


def test_pictures_show_left_in_orange_on_the_viewers_right():
    picture = np.asarray(draw_body(default_body().v_template, size=200, yaw_deg=0.0, pitch_deg=0.0)).astype(int)
    warm = (picture[..., 0] - picture[..., 2]) > 20
    cold = (picture[..., 2] - picture[..., 0]) > 20
    assert np.nonzero(warm)[1].mean() > 100 > np.nonzero(cold)[1].mean()
    sheet = contact_sheet(random_pose(22), ["a", "b"], columns=2, cell=60)
    assert sheet.size == (120, 86)
