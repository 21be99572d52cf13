"""Rotation representations: they agree, round-trip, keep their conventions, and have finite gradients everywhere."""

from __future__ import annotations

import math

import pytest
import torch
from chatpose_server import rotations as rot

CASES = {
    "identity": [0.0, 0.0, 0.0],
    "tiny": [1e-9, -1e-9, 1e-9],
    "small": [1e-4, 0.0, -1e-4],
    "quarter": [0.0, math.pi / 2, 0.0],
    "nearly half": [math.pi - 1e-4, 0.0, 0.0],
    "half": [0.0, 0.0, math.pi],
    "oblique": [0.7, -1.1, 0.4],
}


@pytest.mark.parametrize("name", CASES)
def test_round_trips(name):
    vec = torch.tensor(CASES[name], dtype=torch.float64)
    m = rot.rotvec_to_matrot(vec)
    torch.testing.assert_close(m, torch.linalg.matrix_exp(skew(vec)), rtol=0, atol=1e-9)
    torch.testing.assert_close(rot.rotvec_to_matrot(rot.matrot_to_rotvec(m)), m, rtol=0, atol=1e-7)
    torch.testing.assert_close(rot.quat_to_matrot(rot.matrot_to_quat(m)), m, rtol=0, atol=1e-9)
    torch.testing.assert_close(rot.rot6d_columns_to_matrot(rot.matrot_to_rot6d_columns(m)), m, rtol=0, atol=1e-9)
    torch.testing.assert_close(rot.rot6d_rows_to_matrot(rot.matrot_to_rot6d_rows(m)), m, rtol=0, atol=1e-9)


def skew(v: torch.Tensor) -> torch.Tensor:
    x, y, z = v.tolist()
    return torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=v.dtype)


def test_the_two_six_number_orders():
    m = rot.rotvec_to_matrot(torch.tensor([0.3, -0.2, 0.9]))
    columns, rows = rot.matrot_to_rot6d_columns(m), rot.matrot_to_rot6d_rows(m)
    assert torch.equal(columns, torch.cat([m[:, 0], m[:, 1]]))
    assert torch.equal(rows, m[:, :2].flatten())
    assert not torch.allclose(rot.rot6d_rows_to_matrot(columns), m, atol=0.1)  # mixing them up shows


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("to", ["quat", "matrot", "back"])
def test_gradients_are_finite(name, to):
    vec = torch.tensor(CASES[name], dtype=torch.float64, requires_grad=True)
    ways = {
        "quat": rot.rotvec_to_quat,
        "matrot": rot.rotvec_to_matrot,
        "back": lambda v: rot.matrot_to_rotvec(rot.rotvec_to_matrot(v)),
    }
    ways[to](vec).sum().backward()
    assert torch.isfinite(vec.grad).all()


def test_angles_are_exact_at_both_ends():
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    for angle in (0.0, 1e-5, 0.5, math.pi - 1e-5, math.pi):
        m = rot.rotvec_to_matrot(axis * angle)
        eye = torch.eye(3, dtype=torch.float64)
        assert float(rot.geodesic_angle(eye, m)) == pytest.approx(angle, abs=2e-6)


def test_products_and_slerp():
    a, b = (rot.rotvec_to_quat(torch.randn(20, 3, generator=torch.Generator().manual_seed(s))) for s in (1, 2))
    together = rot.quat_to_matrot(rot.quat_multiply(a, b))
    torch.testing.assert_close(together, rot.quat_to_matrot(a) @ rot.quat_to_matrot(b), rtol=0, atol=1e-5)
    for t in (0.0, 0.25, 1.0):
        at = rot.quat_to_matrot(rot.quat_slerp(a, b, t))
        whole = rot.geodesic_angle(rot.quat_to_matrot(a), rot.quat_to_matrot(b))
        torch.testing.assert_close(rot.geodesic_angle(rot.quat_to_matrot(a), at), t * whole, rtol=0, atol=2e-3)
    same = rot.quat_slerp(a, -a, 0.5)
    torch.testing.assert_close(rot.quat_to_matrot(same), rot.quat_to_matrot(a), rtol=0, atol=1e-5)
