"""The add-on's skeleton is the server's."""

from __future__ import annotations

import pytest
from chatpose_server import skeleton

from chatpose_blender.rig import smplx


def test_the_same_joints_in_the_same_order():
    assert smplx.JOINTS == skeleton.JOINTS


def test_the_same_parents():
    names = [skeleton.JOINTS[parent] for parent in skeleton.PARENTS[1:]]
    assert dict(zip(skeleton.JOINTS[1:], names, strict=True)) == smplx.PARENT


@pytest.mark.parametrize("name", smplx.JOINTS)
def test_mirrors(name):
    assert smplx.mirror_name(name) in smplx.JOINTS
    assert smplx.mirror_name(smplx.mirror_name(name)) == name


@pytest.mark.parametrize("part", smplx.PARTS)
def test_parts_are_joints(part):
    assert smplx.PARTS[part] and smplx.PARTS[part] <= set(smplx.JOINTS)


def test_upper_and_lower_are_the_whole():
    assert smplx.PARTS["UPPER"] | smplx.PARTS["LOWER"] == set(smplx.JOINTS)
    assert not smplx.PARTS["UPPER"] & smplx.PARTS["LOWER"]
