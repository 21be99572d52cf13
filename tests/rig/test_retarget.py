"""Every family points where SMPL-X points: tested by the server's forward kinematics, not by stored numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from chatpose_server.body.model import default_body

from chatpose_blender.rig import recognise, retarget
from chatpose_blender.rig import rotations as rot
from chatpose_blender.rig.rest_pose import REST, SOLE
from chatpose_blender.rig.rigmap import RigMap, RigMapError
from chatpose_blender.rig.smplx import BODY_JOINTS, HAND_JOINTS, JOINTS, PARENT
from tests import figures
from tests.rig.tables import table

SPREAD = {
    "pelvis": 1.0,
    "hip": 0.7,
    "knee": 0.7,
    "shoulder": 0.7,
    "elbow": 0.7,
    "wrist": 0.4,
    "ankle": 0.3,
    "collar": 0.2,
}
COUNT = 12


def _random_poses(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    spread = {joint: SPREAD.get(joint.split("_")[-1], 0.25) for joint in (*BODY_JOINTS, *HAND_JOINTS)}
    return {joint: rot.from_rotvec(rng.normal(size=(COUNT, 3)) * s) for joint, s in spread.items()}


POSES = _random_poses()


@pytest.fixture(scope="module")
def body():
    """Joint positions (COUNT, 55, 3) and global rotations of the posed SMPL-X body, by the server."""
    quats = np.stack([POSES.get(j, np.broadcast_to([1.0, 0, 0, 0], (COUNT, 4))) for j in JOINTS], 1)
    state = default_body().forward_kinematics(torch.tensor(rot.to_matrot(quats)))
    positions, turned = state.joints.numpy(), state.matrot.numpy()
    return {j: positions[:, i] for i, j in enumerate(JOINTS)}, {j: turned[:, i] for i, j in enumerate(JOINTS)}


def _angle(a, b):
    """Degrees between directions."""
    a, b = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in np.broadcast_arrays(a, b))
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def _rig(name, **options):
    bones = table(figures.figure(name, **options))
    return retarget.fit(recognise.plan(bones), bones)


def _posed(rig, quats=POSES):
    posed = retarget.posed_matrices(rig, retarget.retarget(rig, quats))
    return {name: np.broadcast_to(m, (COUNT, 4, 4)) for name, m in posed.items()}


def _head(rig, posed, joint):
    """Posed place of a joint in SMPL-X's axes."""
    return posed[rig.rigmap.bones[joint][0]][:, :3, 3] @ rig.basis


SETTINGS = [
    {"rest": "T"},
    {"rest": "A", "rolls": 3},
    {"rest": "A", "rolls": 5, "axes": "Y", "scale": 100.0},
    {"rest": "T", "rolls": 7, "axes": "Z+Y", "scale": 0.3},
    {"rest": "A", "rolls": 9, "tails": False},
]
IDS = ["T", "A, rolled", "A, y up, centimetres", "T, facing back, small", "A, tails anywhere"]


@pytest.mark.parametrize("options", SETTINGS, ids=IDS)
@pytest.mark.parametrize("name", [n for n in figures.ROWS if not n.startswith(("smpl", "mixamo_"))])
def test_limbs_point_the_way_of_the_body(name, options, body):
    positions, _ = body
    rig = _rig(name, **options)
    posed = _posed(rig)
    for joint, tip in retarget.LIMB_TIP.items():
        if joint in rig.rigmap.bones and tip in rig.rigmap.bones and not joint.endswith("ankle"):
            mine = _head(rig, posed, tip) - _head(rig, posed, joint)
            assert _angle(mine, positions[tip] - positions[joint]).max() < 0.01, joint


@pytest.mark.parametrize("axes", ["Z", "Y", "Z+Y"])
@pytest.mark.parametrize("rest", ["SMPLX", "T"])
def test_a_rig_with_smplx_rest_takes_rotations_as_they_are(axes, rest):
    rig = _rig("smplx", rest=rest, axes=axes, rolls=3)
    locals_ = retarget.retarget(rig, POSES)
    for joint in POSES:
        if joint in ("spine1", "spine2", "spine3", "neck"):
            bone = joint
        else:
            bone = rig.rigmap.bones[joint][0]
        m = rot.from_matrot(rig.bones[bone].matrix[:3, :3].T @ rig.basis)
        expected = rot.multiply(rot.multiply(m, POSES[joint]), rot.conjugate(m))  # M^-1 B R B^-1 M
        assert rot.angle_between(locals_[bone], expected).max() < 3e-6, joint


@pytest.mark.parametrize("options", SETTINGS, ids=IDS)
@pytest.mark.parametrize("name", ["mixamo", "unreal_5", "makehuman", "blender", "one_spine_bone", "daz_genesis_3_8"])
def test_the_trunk_leans_as_the_body_does(name, options, body):
    """From hips to neck, apart from what the two rest poses differ by."""
    positions, turned = body
    rig = _rig(name, **options)
    posed = _posed(rig)
    top = "neck" if rig.rigmap.neck else "head"

    def trunk(heads):
        neck = heads(rig.rigmap.neck[0] if rig.rigmap.neck else rig.rigmap.bones["head"][0])
        return neck - 0.5 * (heads(rig.rigmap.bones["left_hip"][0]) + heads(rig.rigmap.bones["right_hip"][0]))

    mine = trunk(lambda bone: posed[bone][:, :3, 3] @ rig.basis)
    rest = trunk(lambda bone: rig.bones[bone].head @ rig.basis)
    theirs = positions[top] - 0.5 * (positions["left_hip"] + positions["right_hip"])
    apart_at_rest = float(_angle(rest, REST[top] - 0.5 * (REST["left_hip"] + REST["right_hip"])))
    if len(rig.rigmap.spine) != 3:
        assert _angle(mine, theirs).max() < apart_at_rest + 1.0
    else:  # then every bone turns exactly as its SMPL-X bone
        for bone, joint in zip(rig.rigmap.spine, ("spine1", "spine2", "spine3"), strict=True):
            goal = rig.basis @ turned[joint] @ rig.basis.T @ rig.bones[bone].matrix[:3, :3]
            assert rot.angle_between(rot.from_matrot(posed[bone][:, :3, :3]), rot.from_matrot(goal)).max() < 1e-6


@pytest.mark.parametrize("name", ["mixamo", "unreal_4", "makehuman"])
@pytest.mark.parametrize("rest", ["T", "A"])
def test_soles_are_flat_where_the_body_stands(name, rest):
    """At SMPL-X's rest a rig stands on flat soles, however high its ankles and turned out its toes."""
    rig = _rig(name, rest=rest, rolls=3)
    locals_ = retarget.retarget(rig, dict.fromkeys(BODY_JOINTS, rot.IDENTITY))
    posed = retarget.posed_matrices(rig, locals_)
    for side in ("left", "right"):
        ankle = rig.rigmap.bones[f"{side}_ankle"][0]
        turn = rig.basis.T @ posed[ankle][:3, :3] @ rig.bones[ankle].matrix[:3, :3].T @ rig.basis
        assert _angle(turn @ [0, 1, 0], [0, 1, 0]) < 1e-4
        heading = (turn @ retarget._toward_toes(rig, side)) * (1, 0, 1)
        assert _angle(heading, retarget.smplx_direction(f"{side}_ankle")) < 1e-4


@pytest.mark.parametrize("rest", ["T", "A"])
def test_palms_face_as_the_body_s_do(rest, body):
    _, turned = body
    rig = _rig("mixamo", rest=rest, rolls=3)
    posed = _posed(rig)
    for side in ("left", "right"):
        axis = turned[f"{side}_wrist"] @ retarget.smplx_direction(f"{side}_wrist")
        mine = _head(rig, posed, f"{side}_index1") - _head(rig, posed, f"{side}_pinky1")
        theirs = turned[f"{side}_wrist"] @ (REST[f"{side}_index1"] - REST[f"{side}_pinky1"])
        flat = [v - axis * (v * axis).sum(-1, keepdims=True) for v in (mine, theirs)]
        assert _angle(*flat).max() < 0.1


@pytest.mark.parametrize("name", ["daz_genesis_3_8", "makehuman"])
def test_split_limbs_spread_the_roll(name):
    """A roll of the upper arm grows along its bones; none of it at the shoulder, all of it at the elbow."""
    rig = _rig(name, rolls=3)
    along = retarget.smplx_direction("left_shoulder")
    locals_ = retarget.retarget(rig, {**_still(), "left_shoulder": rot.from_rotvec(along * 1.2)})
    first, last = (rot.to_rotvec(locals_[bone]) for bone in rig.rigmap.bones["left_shoulder"])
    rest = [rot.to_rotvec(retarget.retarget(rig, _still())[bone]) for bone in rig.rigmap.bones["left_shoulder"]]
    assert np.linalg.norm(first - rest[0]) < 1e-6
    assert np.linalg.norm(last) == pytest.approx(1.2, abs=1e-6)


def test_twist_bones_share_the_hand_s_roll():
    rig = _rig("unreal_4", rolls=3)
    along = retarget.smplx_direction("left_elbow")
    still, rolled = (
        retarget.retarget(rig, _still()),
        retarget.retarget(rig, {**_still(), "left_wrist": rot.from_rotvec(along * 1.0)}),
    )
    moved = {b: float(rot.angle_between(still[b], rolled[b])) for b in rig.rigmap.twists["left_elbow"]}
    assert moved["lowerarm_twist_01_l"] == pytest.approx(0.66, abs=0.02)  # near the wrist
    assert moved["lowerarm_twist_02_l"] == pytest.approx(0.33, abs=0.02)
    assert rot.angle_between(still["lowerarm_l"], rolled["lowerarm_l"]) < 1e-9


def _still():
    return dict.fromkeys(BODY_JOINTS, np.array(rot.IDENTITY))


def test_joints_not_spoken_for_are_left_alone_but_carry():
    rig = _rig("mixamo")
    arm = {j: q[0] for j, q in POSES.items() if j.startswith("left_") and j.split("_")[1] in ("shoulder", "elbow")}
    assert set(retarget.retarget(rig, arm)) == {"mixamorig:LeftArm", "mixamorig:LeftForeArm"}
    assert set(retarget.retarget(rig, {"spine2": rot.IDENTITY})) == set(rig.rigmap.spine)
    assert retarget.retarget(rig, {"jaw": rot.IDENTITY}) == {}


def test_a_turned_bone_between_is_taken_into_account():
    rig = _rig("daz_genesis_3_8")  # Daz's pelvis lies between hip and thighs and nobody poses it
    turned = {"pelvis": rot.from_rotvec([0.3, 0.1, 0.2])}
    one = {j: q[0] for j, q in POSES.items()}
    locals_ = retarget.retarget(rig, one, turned)
    posed = retarget.posed_matrices(rig, locals_, turned)
    straight = retarget.posed_matrices(rig, retarget.retarget(rig, one))
    for side in "lr":
        assert np.abs(posed[f"{side}Shin"][:3, :3] - straight[f"{side}Shin"][:3, :3]).max() < 1e-9


def test_bones_that_do_not_inherit_rotation():
    bones = table(figures.figure("mixamo"))
    free = "mixamorig:LeftForeArm"
    bones[free] = figures.replace(bones[free], inherit_rotation=False)
    rig = retarget.fit(recognise.plan(bones), bones)
    local = retarget.retarget(rig, POSES)[free]
    goal = retarget.posed_rotations(rig, POSES)[free]
    assert rot.angle_between(local, rot.from_matrot(bones[free].matrix[:3, :3].T @ goal)).max() < 1e-6


@pytest.mark.parametrize("name", figures.ROWS)
def test_reading_gives_back_what_was_put_on(name):
    rig = _rig(name, rest="A", rolls=3)
    read = retarget.read(rig, {b: m[:, :3, :3] for b, m in _posed(rig).items()})
    guessed = (
        () if len(rig.rigmap.spine) == 3 else ("spine1", "spine2", "spine3", "neck", "left_collar", "right_collar")
    )
    guessed = guessed if rig.rigmap.neck else (*guessed, "head")
    for joint in read:
        if joint not in guessed and joint in POSES:
            assert rot.angle_between(read[joint], POSES[joint]).max() < 1e-5, joint


@pytest.mark.parametrize("options", SETTINGS, ids=IDS)
@pytest.mark.parametrize("name", ["mixamo", "unreal_5", "makehuman"])
def test_the_body_stands_on_the_ground(name, options):
    rig = _rig(name, **options)
    locals_ = retarget.retarget(rig, POSES)
    metre = options.get("scale", 1.0)
    lift = retarget.place(rig, locals_)
    posed = _posed(rig)
    moved = {b: m + np.pad(lift[:, :, None], ((0, 0), (0, 1), (3, 0))) for b, m in posed.items()}
    assert np.abs(retarget.lowest(rig, moved) - rig.ground).max() < 1e-6 * metre
    assert rig.ground == pytest.approx(0.0, abs=0.005 * metre)


def test_a_pelvis_height_is_scaled_by_leg_length():
    rig = _rig("mixamo", scale=100.0)
    standing = retarget.retarget(rig, _still())
    at_rest = retarget.place(rig, standing, transl=(0.0, -SOLE, 0.0), ground=False)
    ahead = retarget.place(rig, standing, transl=(0.0, -SOLE, 1.0), ground=False)
    assert np.linalg.norm(at_rest) < 3.0  # centimetres: SMPL-X standing is this rig standing
    assert np.linalg.norm(ahead - at_rest) == pytest.approx(rig.scale, rel=1e-6)
    assert (ahead - at_rest) @ rig.basis == pytest.approx([0, 0, rig.scale])


def test_one_call_for_many_frames_is_the_same_as_many_calls():
    rig = _rig("unreal_5", rest="A", rolls=3)
    whole = retarget.retarget(rig, POSES)
    for i in (0, 5):
        one = retarget.retarget(rig, {j: q[i] for j, q in POSES.items()})
        assert all(rot.angle_between(whole[bone][i], one[bone]) < 1e-7 for bone in one)


def _without(rigmap: RigMap, joint: str) -> RigMap:
    if joint in ("spine", "neck"):
        return replace(rigmap, **{joint: ()})
    return replace(rigmap, bones={name: chain for name, chain in rigmap.bones.items() if name != joint})


def test_a_map_that_does_not_fit_says_so():
    bones = table(figures.figure("mixamo"))
    rigmap = recognise.plan(bones)
    with pytest.raises(RigMapError, match="names 'gone', which this armature does not have"):
        retarget.fit(replace(rigmap, bones={**rigmap.bones, "head": ("gone",)}), bones)
    with pytest.raises(RigMapError, match="has no pelvis"):
        retarget.fit(_without(rigmap, "pelvis"), bones)


def test_the_rest_table_is_the_body_s():
    rest = default_body().neutral_joints.numpy()
    for i, joint in enumerate(JOINTS):
        assert np.abs(rest[i] - REST[joint]).max() < 3e-6, joint
    assert set(PARENT) | {"pelvis"} == set(REST)


@pytest.mark.parametrize("seed", range(12))
def test_any_part_of_a_map_can_be_missing(seed):
    """An artist may take bones out of the mapping: what is left is posed, and nothing falls over."""
    rng = np.random.default_rng(seed)
    bones = table(figures.figure(["unreal_5", "daz_genesis_3_8", "mixamo"][seed % 3], rest="A", rolls=seed))
    rigmap = recognise.plan(bones)
    for joint in [*rigmap.bones, "spine", "neck"]:
        if joint != "pelvis" and rng.random() < 0.5:
            rigmap = _without(rigmap, joint)
    rig = retarget.fit(rigmap, bones)
    locals_ = retarget.retarget(rig, POSES)
    assert set(locals_) <= set(rigmap.names())
    assert all(np.isfinite(quat).all() for quat in locals_.values())
    assert np.isfinite(retarget.place(rig, locals_)).all()
    posed = retarget.posed_matrices(rig, locals_)
    read = retarget.read(rig, {bone: matrix[..., :3, :3] for bone, matrix in posed.items()})
    assert all(np.isfinite(quat).all() for quat in read.values())
