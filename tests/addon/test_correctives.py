"""Pose correctives as driven shape keys, on a small body of SMPL-X's layout: the skin is where the formula has it."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from bl_ext.dev.chatpose.rig import apply, body, correctives, frames, smplx
from bl_ext.dev.chatpose.rig import rotations as rot

RNG = np.random.default_rng(11)
MODES = ("QUATERNION", "XYZ", "AXIS_ANGLE")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> body.BodyFile:
    """A vertex at each joint and one beside it; every vertex hangs on its joint alone."""
    joints = body.load_body(str(body.STANDIN_FILE)).joints
    count = len(smplx.JOINTS)
    vertices = np.concatenate([joints, joints + np.array([0.03, 0.02, 0.01])]).astype(np.float32)
    regressor = np.concatenate([np.eye(count), np.zeros((count, count))], 1)
    weights = np.concatenate([np.eye(count)] * 2)
    faces = np.stack([np.arange(count), np.arange(count) + count, (np.arange(count) + 1) % count], 1)
    shapes = 0.01 * RNG.normal(size=(*vertices.shape, 2))
    shapes[:, :, 1] = 0
    posedirs = np.zeros((*vertices.shape, 486), np.float32)
    some = RNG.permutation(486)[:150]
    posedirs[:, :, some] = 0.02 * RNG.normal(size=(*vertices.shape, len(some)))
    path = tmp_path_factory.mktemp("bodies") / "small.npz"
    np.savez(
        path, v_template=vertices, f=faces, J_regressor=regressor, weights=weights, shapedirs=shapes, posedirs=posedirs
    )
    return body.load_body(str(path))


def _pose() -> dict:
    return {
        name: tuple(rot.from_rotvec(RNG.normal(size=3) * 0.7).tolist())
        for name in smplx.JOINTS
        if not name.endswith("_eye_smplhf")
    }


def _skin(small: body.BodyFile, pose: dict, betas: np.ndarray) -> np.ndarray:
    """(V, 3): SMPL-X's own formula, in its own frame, the pelvis where it is at rest."""
    local = np.array([rot.to_matrot(pose.get(name, rot.IDENTITY)) for name in smplx.JOINTS])
    joints = small.joints + np.tensordot(betas, small.joint_shapes, 1)
    moved = small.vertices + np.tensordot(betas, small.shapes, 1) + small.posedirs @ (local[1:] - np.eye(3)).ravel()
    turned, at = [local[0]], [joints[0]]
    for name in smplx.JOINTS[1:]:
        above = smplx.JOINTS.index(smplx.PARENT[name])
        at.append(at[above] + turned[above] @ (joints[len(at)] - joints[above]))
        turned.append(turned[above] @ local[len(turned)])
    of = small.weights.argmax(1)
    return np.array([turned[j] @ (v - joints[j]) + at[j] for v, j in zip(moved, of, strict=True)])


def _evaluated(rig: bpy.types.Object) -> np.ndarray:
    bpy.context.view_layer.update()
    mesh = rig.children[0].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    co = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", co)
    return co.reshape(-1, 3)


@pytest.mark.parametrize("mode", MODES)
def test_the_skin_is_where_the_formula_has_it(addon, small, mode):
    rig = body.make_body(bpy.context, small)
    keys = rig.children[0].data.shape_keys
    assert len(keys.key_blocks) == 151 and all(d.driver.is_valid for d in keys.animation_data.drivers)
    assert all(d.driver.is_simple_expression for d in keys.animation_data.drivers), "evaluated without Python"
    for bone in rig.pose.bones:
        bone.rotation_mode = mode
    for betas in ((0.0, 0.0), (1.5, 0.0)):
        body.shape_body(bpy.context, rig, small, betas)
        pose = _pose()
        apply.write_pose(rig, pose)
        wanted = frames.to_blender(_skin(small, pose, np.array(betas)))
        found = _evaluated(rig)
        pelvis = smplx.JOINTS.index("pelvis")
        off = (found - found[pelvis]) - (wanted - wanted[pelvis])
        assert np.abs(off).max() < 2e-4


def test_at_rest_nothing_moves_and_keys_of_others_are_respected(addon, small):
    rig = body.make_body(bpy.context, small)
    bpy.context.view_layer.update()
    assert np.abs([key.value for key in rig.children[0].data.shape_keys.key_blocks[1:]]).max() < 1e-6
    rig.children[0].shape_key_add(name="Smile")
    with pytest.raises(body.BodyFileError, match="shape keys of its own"):
        body.shape_body(bpy.context, rig, small, (1.0, 0.0))


def test_the_free_body_has_none(addon):
    rig = body.make_body(bpy.context, body.load_body(str(body.STANDIN_FILE)))
    assert rig.children[0].data.shape_keys is None


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("column", range(3))
def test_the_arithmetic_is_the_rotation(row, column):
    for _ in range(20):
        turn, q = rot.unit(RNG.normal(size=(2, 4)))
        wanted = rot.to_matrot(rot.multiply(rot.multiply(rot.conjugate(turn), q), turn)) - np.eye(3)
        names = dict(zip("wxyz", q, strict=True))
        found = eval(correctives.expression(turn, row, column), {"__builtins__": {}}, names)
        assert found == pytest.approx(wanted[row, column], abs=1e-4)
