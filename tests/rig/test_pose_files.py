"""Files of poses: ours both ways with the server's, AMASS and SMPL-X parameters in, pickles refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from chatpose_server import pose as server_pose

from chatpose_blender.rig import frames, pose_files, smplx
from chatpose_blender.rig import rotations as rot

RNG = np.random.default_rng(7)
POSE = {name: tuple(rot.from_rotvec(RNG.normal(size=3) * 0.3).tolist()) for name in smplx.BODY_JOINTS}
PLACE = (0.1, 0.9, -0.2)


def _close(a, b) -> bool:
    return set(a) == set(b) and max(float(rot.angle_between(a[name], b[name])) for name in a) < 1e-3


@pytest.mark.parametrize("ending", [".npz", ".json"])
def test_round_trip(tmp_path, ending):
    path = str(tmp_path / f"pose{ending}")
    pose_files.save(path, POSE, PLACE)
    motion = pose_files.load(path)
    assert len(motion) == 1 and _close(motion.frame(0), POSE)
    assert motion.transl[0] == pytest.approx(PLACE, abs=1e-6)


def test_the_server_reads_ours_and_we_read_the_servers(tmp_path):
    ours, theirs = tmp_path / "ours.npz", tmp_path / "theirs.npz"
    pose_files.save(str(ours), POSE)
    (read,) = server_pose.load_npz(ours)
    assert _close(read.joints, POSE) and read.transl is None
    server_pose.save_npz(theirs, [server_pose.Pose(POSE, PLACE), server_pose.Pose(POSE, PLACE)])
    motion = pose_files.load(str(theirs))
    assert len(motion) == 2 and _close(motion.frame(1), POSE)
    assert server_pose.Pose.from_json(pose_files.to_json(POSE, PLACE)).transl == pytest.approx(PLACE)


def _rotvecs(joints) -> np.ndarray:
    return np.concatenate([rot.to_rotvec(POSE.get(name, rot.IDENTITY)) for name in joints])


LAYOUTS = [
    (156, (*smplx.BODY_JOINTS, *smplx.HAND_JOINTS)),
    (165, smplx.JOINTS),
    (72, smplx.BODY_JOINTS),
    (66, smplx.BODY_JOINTS),
]


@pytest.mark.parametrize(("numbers", "joints"), LAYOUTS)
def test_amass(tmp_path, numbers, joints):
    """AMASS is z up: a person who stands is turned by a quarter about x there."""
    up = rot.from_matrot(frames.Z_UP)
    row = _rotvecs(joints)
    row[:3] = rot.to_rotvec(rot.multiply(up, POSE["pelvis"]))
    poses = np.zeros((4, numbers))
    poses[:, : len(row)] = row
    path = tmp_path / "walk_poses.npz"
    trans = np.tile([1.0, 2.0, 0.9], (4, 1))
    np.savez(path, poses=poses, trans=trans, mocap_framerate=120.0, gender="male", betas=np.zeros(16))
    motion = pose_files.load(str(path))
    assert len(motion) == 4 and motion.fps == 120
    assert _close({name: motion.frame(0)[name] for name in POSE}, POSE)
    assert motion.transl[0] == pytest.approx((1.0, 0.9, -2.0))


def test_smplx_parameters(tmp_path):
    path = tmp_path / "fit.npz"
    body = _rotvecs(smplx.BODY_JOINTS[1:])[None]
    turn, pca = _rotvecs(["pelvis"])[None], np.zeros((1, 6))
    np.savez(path, global_orient=turn, body_pose=body, left_hand_pose=pca, transl=[PLACE])
    motion = pose_files.load(str(path))
    assert _close(motion.frame(0), POSE), "six hand numbers are PCA components, which are not ours to guess"


def test_resampling_keeps_ends_and_speed():
    turns = np.stack([rot.from_rotvec((0, 0, 0.1 * i)) for i in range(61)])
    half = pose_files.Motion({"head": turns}, np.linspace((0, 0, 0), (6, 0, 0), 61), 60.0).resampled(24.0)
    assert len(half) == 25 and half.fps == 24
    assert float(rot.angle_between(half.quats["head"][12], turns[30])) < 1e-6
    assert half.transl[-1] == pytest.approx((6, 0, 0))


def test_pickles_are_refused_with_the_reason_and_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    for name in ("pose.pkl", "POSE.PKL", "model.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(pose_files.PoseFileError, match=r"is a pickle, which can run programs.*\.npz or \.json"):
            pose_files.load(str(tmp_path / name))
    np.savez(tmp_path / "hidden.npz", poses=np.array([Bomb()], object))
    with pytest.raises(pose_files.PoseFileError):
        pose_files.load(str(tmp_path / "hidden.npz"))


BROKEN = [
    ("empty.npz", b""),
    ("text.npz", b"hello"),
    ("text.json", b"hello"),
    ("list.json", b"[]"),
    ("other.json", b'{"a": 1}'),
    ("no_joints.json", b'{"joints": {}}'),
    ("long.json", json.dumps({"joints": {"head": [9, 9, 9, 9]}}).encode()),
    ("short.json", json.dumps({"joints": {"head": [1, 0]}}).encode()),
    ("nan.json", b'{"joints": {"head": [NaN, 0, 0, 0]}}'),
]


@pytest.mark.parametrize(("name", "content"), BROKEN, ids=[name for name, _ in BROKEN])
def test_broken_files_are_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(pose_files.PoseFileError) as caught:
        pose_files.load(str(tmp_path / name))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_missing_file_and_a_foreign_folder(tmp_path):
    with pytest.raises(pose_files.PoseFileError, match="cannot be read"):
        pose_files.load(str(tmp_path / "none.npz"))
    with pytest.raises(pose_files.PoseFileError, match="cannot be written"):
        pose_files.save(str(tmp_path / "none" / "pose.npz"), POSE)
    assert list(tmp_path.iterdir()) == []


def test_odd_arrays(tmp_path):
    np.savez(tmp_path / "odd.npz", poses=np.zeros((3, 77)))
    with pytest.raises(pose_files.PoseFileError, match="77 numbers"):
        pose_files.load(str(tmp_path / "odd.npz"))
    np.savez(tmp_path / "else.npz", pictures=np.zeros(3))
    with pytest.raises(pose_files.PoseFileError, match="holds no pose"):
        pose_files.load(str(tmp_path / "else.npz"))
