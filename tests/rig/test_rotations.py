"""Quaternions tested by geometry."""

from __future__ import annotations

import numpy as np
import pytest

from chatpose_blender.rig import rotations as rot

RNG = np.random.default_rng(3)
RANDOM = rot.unit(RNG.normal(size=(200, 4)))


def test_matrices_and_back():
    back = rot.from_matrot(rot.to_matrot(RANDOM))
    assert rot.angle_between(back, RANDOM).max() < 1e-7


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, np.pi - 1e-7, np.pi])
def test_rotvec_and_back(axis, angle):
    rotvec = np.eye(3)[axis] * angle
    quat = rot.from_rotvec(rotvec)
    assert np.allclose(rot.to_rotvec(quat), rotvec, atol=1e-7)
    assert rot.angle_between(rot.from_matrot(rot.to_matrot(quat)), quat) < 1e-6


def test_product_is_first_b_then_a():
    a, b, v = RANDOM[:50], RANDOM[50:100], RNG.normal(size=(50, 3))
    assert np.allclose(rot.rotate(rot.multiply(a, b), v), rot.rotate(a, rot.rotate(b, v)))
    assert np.allclose(rot.multiply(a, rot.conjugate(a)), rot.IDENTITY)


def test_slerp_goes_the_short_way_at_even_speed():
    a, b = RANDOM[:50], RANDOM[50:100]
    whole = rot.angle_between(a, b)
    for t in (0.0, 0.25, 1.0):
        part = rot.slerp(a, b, np.full(50, t))
        assert np.allclose(rot.angle_between(a, part), whole * t, atol=1e-6)
    half = np.full(50, 0.5)
    assert np.allclose(rot.angle_between(rot.slerp(a, -b, half), rot.slerp(a, b, half)), 0, atol=1e-6)


def test_mirror_reflects():
    v, flip = RNG.normal(size=(200, 3)), np.array([-1.0, 1.0, 1.0])
    assert np.allclose(rot.rotate(rot.mirror(RANDOM), v * flip), rot.rotate(RANDOM, v) * flip)


@pytest.mark.parametrize("axis", range(3))
def test_twist_is_about_its_axis_and_what_is_left_is_not(axis):
    twist = rot.twist(RANDOM, axis)
    assert np.allclose(np.delete(twist, (0, axis + 1), -1), 0)
    swing = rot.multiply(RANDOM, rot.conjugate(twist))
    assert np.allclose(swing[:, axis + 1], 0, atol=1e-9)


def test_zero_is_the_identity():
    assert np.allclose(rot.unit([0, 0, 0, 0]), rot.IDENTITY)
    assert np.allclose(rot.twist([0, 1, 0, 0], 1), rot.IDENTITY)  # half a turn about x: no heading can be told
