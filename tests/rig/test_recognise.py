"""Which bone is which, for every family's published names and for none."""

from __future__ import annotations

import numpy as np
import pytest

from chatpose_blender.rig import recognise
from chatpose_blender.rig.families import BY_KEY, FAMILIES
from chatpose_blender.rig.rigmap import CORE_JOINTS, RigMap, RigMapError
from chatpose_blender.rig.smplx import FINGERS, HAND_JOINTS, JOINTS
from tests import figures
from tests.rig.tables import table

WITHOUT_FINGERS = {"smpl", "blender", "biped", "one_spine_bone"}


@pytest.mark.parametrize(
    ("name", "side", "word"),
    [
        ("mixamorig:LeftUpLeg", "l", "upleg"),
        ("Soldier|mixamorig7:RightArm", "r", "arm"),
        ("UpLeg.L", "l", "upleg"),
        ("spine_01", "", "spine1"),
        ("spine.001", "", "spine1"),
        ("lShldrBend", "l", "shldrbend"),
        ("CC_Base_R_Upperarm", "r", "ccbaseupperarm"),
        ("J_Bip_L_UpperLeg", "l", "jbipupperleg"),
        ("Bip001 R UpperArm", "r", "bip1upperarm"),
        ("f_index.01.L", "l", "findex1"),
        ("LUpLeg", "l", "upleg"),
        ("\uff28\uff25\uff21\uff24", "", "head"),  # full-width letters
        ("calf_l", "l", "calf"),
        ("clavicle", "", "clavicle"),  # an l inside a word is no side
    ],
)
def test_canonical_names(name, side, word):
    assert recognise.canonical(name) == (side, word)


@pytest.mark.parametrize("name", figures.ROWS)
@pytest.mark.parametrize(("rest", "axes"), [("T", "Z"), ("A", "Z"), ("A", "Y")])
def test_every_family_by_its_names(name, rest, axes):
    rigmap = recognise.plan(table(figures.figure(name, rest=rest, axes=axes, rolls=1)))
    assert rigmap.family == figures.FAMILY_OF.get(name, name)
    assert rigmap.by == "names"
    assert rigmap.missing == ()
    assert rigmap.confidence == 1.0
    assert sum(joint in rigmap.bones for joint in HAND_JOINTS) == (0 if name in WITHOUT_FINGERS else 30)
    names = list(rigmap.names())
    assert len(names) == len(set(names)), "one bone plays one part"


TRUNKS = [
    ("mixamo", ["mixamorig:Spine", "mixamorig:Spine1", "mixamorig:Spine2"], ["mixamorig:Neck"], "mixamorig:Hips"),
    ("unreal_5", [f"spine_0{i}" for i in range(1, 6)], ["neck_01", "neck_02"], "pelvis"),
    (
        "daz_genesis_3_8",
        ["abdomenLower", "abdomenUpper", "chestLower", "chestUpper"],
        ["neckLower", "neckUpper"],
        "hip",
    ),
    ("makehuman", [f"spine0{i}" for i in range(5, 0, -1)], ["neck01", "neck02", "neck03"], "root"),
    ("rigify_metarig", ["spine.001", "spine.002", "spine.003"], ["spine.004", "spine.005"], "spine"),
    ("biped", ["Bip001 Spine", "Bip001 Spine1"], ["Bip001 Neck"], "Bip001 Pelvis"),
    ("one_spine_bone", ["spine"], [], "hips"),
]


@pytest.mark.parametrize(("name", "spine", "neck", "pelvis"), TRUNKS)
def test_trunks(name, spine, neck, pelvis):
    rigmap = recognise.plan(table(figures.figure(name)))
    assert (list(rigmap.spine), list(rigmap.neck), rigmap.bones["pelvis"]) == (spine, neck, (pelvis,))


@pytest.mark.parametrize(
    ("name", "joint", "chain", "twists"),
    [
        ("daz_genesis_3_8", "left_shoulder", ("lShldrBend", "lShldrTwist"), ()),
        ("daz_genesis_3_8", "right_knee", ("rShin",), ()),
        ("makehuman", "left_collar", ("clavicle.L", "shoulder01.L"), ()),
        ("makehuman", "right_elbow", ("lowerarm01.R", "lowerarm02.R"), ()),
        ("unreal_4", "left_elbow", ("lowerarm_l",), ("lowerarm_twist_01_l", "lowerarm_twist_02_l")),
        ("character_creator", "left_hip", ("CC_Base_L_Thigh",), ("CC_Base_L_ThighTwist01", "CC_Base_L_ThighTwist02")),
    ],
)
def test_split_limbs_and_twist_bones(name, joint, chain, twists):
    rigmap = recognise.plan(table(figures.figure(name)))
    assert rigmap.bones[joint] == chain
    assert rigmap.twists.get(joint, ()) == twists


@pytest.mark.parametrize("name", figures.ROWS)
@pytest.mark.parametrize("axes", ["Z", "Y", "Z+Y"])
def test_bodies_without_names_are_read_from_their_build(name, axes):
    figure = figures.figure(name, rest="A", axes=axes, rolls=2)
    nameless = figures.shuffled_names(figure, seed=5)
    real_name = dict(zip(nameless, figure, strict=True))
    named, built = recognise.plan(table(figure)), recognise.plan(table(nameless))
    assert built.by == "structure"
    assert built.confidence < named.confidence
    for joint in (*CORE_JOINTS, "left_collar", "right_collar", "left_foot", "right_foot"):
        if joint == "head" and name in ("rigify_metarig", "unreal_5", "makehuman", "daz_genesis_3_8"):
            continue  # of several small bones in a row nobody can tell the last neck from the head
        assert real_name[built.bones[joint][0]] == named.bones[joint][0], joint


def test_no_toes_and_no_names_still_faces_forward_by_its_feet():
    figure = {n: b for n, b in figures.figure("blender", rest="A").items() if not n.startswith("toe")}
    nameless = figures.shuffled_names(figure)
    real_name = dict(zip(nameless, figure, strict=True))
    built = recognise.plan(table(nameless))
    assert real_name[built.bones["left_shoulder"][0]] == "upper_arm.L"
    assert "left_foot" not in built.bones


def _spider():
    legs = {}
    for i in range(8):
        a = np.array([np.cos(i * np.pi / 4), np.sin(i * np.pi / 4), 0.0])
        legs[f"leg{i}a"] = figures.Bone("body", np.zeros(3), a)
        legs[f"leg{i}b"] = figures.Bone(f"leg{i}a", a, a * 2 - np.array([0, 0, 1.0]))
    return {"body": figures.Bone(None, np.zeros(3), np.array([0, 0, 0.3])), **legs}


def test_what_is_no_person_says_so():
    with pytest.raises(RigMapError, match="not recognised as a person"):
        recognise.plan(table(_spider()))
    with pytest.raises(RigMapError, match="no bones"):
        recognise.plan({})


def test_names_that_lie_are_doubted():
    figure = figures.figure("mixamo")
    other = {"mixamorig:LeftArm": "mixamorig:LeftHandIndex1", "mixamorig:LeftHandIndex1": "mixamorig:LeftArm"}
    lying = {other.get(n, n): figures.replace(b, parent=other.get(b.parent, b.parent)) for n, b in figure.items()}
    assert recognise.plan(table(lying)).by == "structure"


def test_a_preset_survives_the_file():
    rigmap = recognise.plan(table(figures.figure("unreal_5")))
    again = RigMap.from_json(rigmap.to_json())
    assert (again.bones, again.spine, again.neck, again.twists) == (
        rigmap.bones,
        rigmap.spine,
        rigmap.neck,
        rigmap.twists,
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "not a ChatPose bone mapping"),
        ({"format": "chatpose-rigmap", "version": 99}, "newer ChatPose"),
        ({"format": "chatpose-rigmap", "version": 1, "bones": 3}, "'bones' is not a table"),
        ({"format": "chatpose-rigmap", "version": 1, "bones": {"head": "Head"}}, "'bones.head' is not a list"),
        ({"format": "chatpose-rigmap", "version": 1, "bones": {}, "spine": [1]}, "'spine' is not a list"),
    ],
)
def test_broken_presets(data, words):
    with pytest.raises(RigMapError, match=words):
        RigMap.from_json(data)


def test_family_tables_name_joints_that_exist():
    assert len(BY_KEY) == len(FAMILIES)
    for family in FAMILIES:
        joints = family.joints()
        assert set(joints) <= set(JOINTS), family.key
        assert set(CORE_JOINTS) <= set(joints), family.key
        assert all(f"{side}_{finger}3" in joints for side in ("left", "right") for finger in FINGERS), family.key
        assert not [n for names in joints.values() for n in names if "{" in n], family.key


@pytest.mark.parametrize("seed", range(40))
def test_any_armature_is_read_or_refused_in_words(seed):
    """Bones anywhere, hung up anyhow, some on top of each other, some named like a person's."""
    rng = np.random.default_rng(seed)
    words = list(figures.figure("mixamo")) + [f"Bone.{i:03d}" for i in range(60)]
    names = list(rng.permutation(words)[: rng.integers(1, 60)])
    places = rng.normal(size=(len(names), 3)).round(rng.integers(0, 3))
    bones = {
        name: figures.Bone(names[rng.integers(0, i)] if i and rng.random() < 0.8 else None, at, np.add(at, (0, 0, 0.1)))
        for i, (name, at) in enumerate(zip(names, places, strict=True))
    }
    try:
        rigmap = recognise.plan(table(bones))
    except RigMapError as error:
        assert str(error).endswith(".")
    else:
        assert set(rigmap.names()) <= set(names)
        assert 0 <= rigmap.confidence <= 1
