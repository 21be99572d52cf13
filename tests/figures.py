"""Armatures of every rig family as bone tables, built from the families' published bone names on an invented character.

The character's proportions are nobody's: longer legs, higher ankles and a straighter back than SMPL-X's. Used by the
tests and by benchmarks/retarget.py; knows no bpy. ``figure("mixamo", rest="A", rolls=7)`` -> bone name -> Bone.
"""

# ruff: noqa: E501 (tables of bones read better in one line)
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from chatpose_blender.rig.rest_pose import REST, SOLE

UP, AHEAD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])  # SMPL-X's axes; turned to Blender's at the end


@dataclass(frozen=True)
class Bone:
    parent: str | None
    head: np.ndarray  # (3,) Blender's axes, metres times scale
    tail: np.ndarray
    roll: float = 0.0

    def matrix(self) -> np.ndarray:
        """(4, 4) rest matrix: y along the bone, any right-handed frame about it turned by ``roll``."""
        y = (self.tail - self.head) / np.linalg.norm(self.tail - self.head)
        x = np.cross(y, np.eye(3)[np.argmin(np.abs(y))])
        x /= np.linalg.norm(x)
        z = np.cross(x, y)
        c, s = np.cos(self.roll), np.sin(self.roll)
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([c * x - s * z, y, s * x + c * z], -1)
        matrix[:3, 3] = self.head
        return matrix


def _turn(axis: int, degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    m = np.eye(3)
    m[i, i] = m[j, j] = np.cos(a)
    m[i, j], m[j, i] = -np.sin(a), np.sin(a)
    return m


def points(rest: str = "T") -> dict[str, np.ndarray]:
    """The left side's and the middle's joints in metres above the ground, y up, facing +z."""
    p = {
        "root": (0, 0, 0), "pelvis": (0, 1.02, 0.0), "hip": (0.10, 0.97, 0.0), "knee": (0.10, 0.53, 0.025),
        "ankle": (0.10, 0.10, -0.03), "toe": (0.115, 0.025, 0.11), "toe_end": (0.12, 0.02, 0.18),
        "neck": (0, 1.55, -0.02), "head": (0, 1.64, 0.01), "head_end": (0, 1.85, 0.02),
        "collar": (0.025, 1.48, 0.02), "shoulder": (0.17, 1.49, -0.02), "elbow": (0.45, 1.485, -0.03),
        "wrist": (0.71, 1.485, -0.01), "hand_end": (0.80, 1.48, 0.0),
    }  # fmt: skip
    for finger, z, length in (
        ("index", 0.025, 0.075),
        ("middle", 0.0, 0.08),
        ("ring", -0.02, 0.075),
        ("pinky", -0.04, 0.06),
    ):
        for i in range(4):
            p[f"{finger}{i + 1}"] = (0.80 + length * i / 3, 1.485 - 0.004 * i * i, z)
    for i, at in enumerate([(0.735, 1.47, 0.025), (0.755, 1.455, 0.05), (0.775, 1.44, 0.07), (0.79, 1.43, 0.085)]):
        p[f"thumb{i + 1}"] = at
    q = {name: np.array(at, float) for name, at in p.items()}
    if rest == "A":  # arms 50 degrees down and a little ahead, elbows soft, legs apart, toes out
        arm = _turn(1, -8) @ _turn(2, -50)
        fore = _turn(1, -14)
        for name, at in q.items():
            if name in ("elbow", "wrist", "hand_end") or name[:-1] in ("index", "middle", "ring", "pinky", "thumb"):
                if name != "elbow":
                    at = _at(p, "elbow") + fore @ (at - _at(p, "elbow"))
                q[name] = _at(p, "shoulder") + arm @ (at - _at(p, "shoulder"))
        for name in ("knee", "ankle", "toe", "toe_end"):
            q[name] = _at(p, "hip") + _turn(2, 5) @ (q[name] - _at(p, "hip"))
        for name in ("toe", "toe_end"):
            q[name] = q["ankle"] + _turn(1, 12) @ (q[name] - q["ankle"])
        q["toe"][1], q["toe_end"][1] = 0.025, 0.02
    return q


def smplx_points() -> dict[str, np.ndarray]:
    """The same joints where SMPL-X's own body has them at rest."""
    q = {name.removeprefix("left_"): at - (0, SOLE, 0) for name, at in REST.items() if not name.startswith("right_")}
    q["toe"], q["root"], q["hand_end"] = q.pop("foot"), np.zeros(3), q["middle1"]
    q["toe_end"], q["head_end"] = q["toe"] + 0.06 * AHEAD, q["head"] + 0.2 * UP
    for finger in FINGERS:
        q[f"{finger}4"] = 2 * q[f"{finger}3"] - q[f"{finger}2"]
    return q


def _at(p: dict[str, tuple[float, float, float]], name: str) -> np.ndarray:
    return np.array(p[name], float)


def _between(a: str, b: str, t: float):
    return lambda q: q[a] + t * (q[b] - q[a])


def _spine(t: float):
    return _between("pelvis", "neck", t)


FINGERS = ("thumb", "index", "middle", "ring", "pinky")

# A row: bone, parent, where its head is, where its tail is. "@" marks a side: written once, made twice.
Row = tuple[str, str | None, object, object]


def _limbs(
    names: dict[str, str], chest: str, pelvis: str, finger: str = "", words: dict[str, str] | None = None
) -> list[Row]:
    """The rows of both legs and arms from one table of names with side marks."""
    n = names
    rows: list[Row] = [
        (n["hip"], pelvis, "hip", "knee"), (n["knee"], n["hip"], "knee", "ankle"), (n["ankle"], n["knee"], "ankle", "toe"),
        (n["foot"], n["ankle"], "toe", "toe_end"), (n["collar"], chest, "collar", "shoulder"),
        (n["shoulder"], n["collar"], "shoulder", "elbow"), (n["elbow"], n["shoulder"], "elbow", "wrist"),
        (n["wrist"], n["elbow"], "wrist", "hand_end"),
    ]  # fmt: skip
    for f in FINGERS if finger else ():
        above = n["wrist"]
        for i in (1, 2, 3):
            word = (words or {}).get(f, f)
            bone = finger.format(f=word, i=i) if "{i" in finger else finger
            rows.append((bone, above, f"{f}{i}", f"{f}{i + 1}"))
            above = bone
    return rows


def _trunk(pelvis: str, spine: list[str], neck: list[str], head: str, parent: str | None = None) -> list[Row]:
    rows: list[Row] = [(pelvis, parent, "pelvis", _spine(0.15))]
    above = pelvis
    for i, bone in enumerate(spine):
        a, b = (0.15 + 0.85 * k / len(spine) for k in (i, i + 1))
        rows.append((bone, above, _spine(a), _spine(b)))
        above = bone
    for i, bone in enumerate(neck):
        a, b = i / len(neck), (i + 1) / len(neck)
        rows.append((bone, above, _between("neck", "head", a), _between("neck", "head", b)))
        above = bone
    return [*rows, (head, above, "head", "head_end")]


CAPITAL = {f: f.capitalize() for f in FINGERS}
_MIXAMO = {"hip": "@UpLeg", "knee": "@Leg", "ankle": "@Foot", "foot": "@ToeBase", "collar": "@Shoulder", "shoulder": "@Arm",
           "elbow": "@ForeArm", "wrist": "@Hand"}  # fmt: skip
_UNREAL = {"hip": "thigh_@", "knee": "calf_@", "ankle": "foot_@", "foot": "ball_@", "collar": "clavicle_@",
           "shoulder": "upperarm_@", "elbow": "lowerarm_@", "wrist": "hand_@"}  # fmt: skip
_SMPLX = {"hip": "@_hip", "knee": "@_knee", "ankle": "@_ankle", "foot": "@_foot", "collar": "@_collar",
          "shoulder": "@_shoulder", "elbow": "@_elbow", "wrist": "@_wrist"}  # fmt: skip
_VRM = {"hip": "@UpperLeg", "knee": "@LowerLeg", "ankle": "@Foot", "foot": "@Toes", "collar": "@Shoulder",
        "shoulder": "@UpperArm", "elbow": "@LowerArm", "wrist": "@Hand"}  # fmt: skip
_VROID = {k: "J_Bip_@_" + v[1:] for k, v in {**_VRM, "foot": "@ToeBase"}.items()}
_DAZ9 = {"hip": "@_thigh", "knee": "@_shin", "ankle": "@_foot", "foot": "@_toes", "collar": "@_shoulder",
         "shoulder": "@_upperarm", "elbow": "@_forearm", "wrist": "@_hand"}  # fmt: skip
_CC = {"hip": "CC_Base_@_Thigh", "knee": "CC_Base_@_Calf", "ankle": "CC_Base_@_Foot", "foot": "CC_Base_@_ToeBase",
       "collar": "CC_Base_@_Clavicle", "shoulder": "CC_Base_@_Upperarm", "elbow": "CC_Base_@_Forearm",
       "wrist": "CC_Base_@_Hand"}  # fmt: skip
_BLENDER = {"hip": "thigh.@", "knee": "shin.@", "ankle": "foot.@", "foot": "toe.@", "collar": "shoulder.@",
            "shoulder": "upper_arm.@", "elbow": "forearm.@", "wrist": "hand.@"}  # fmt: skip
_BIPED = {"hip": "Bip001 @ Thigh", "knee": "Bip001 @ Calf", "ankle": "Bip001 @ Foot", "foot": "Bip001 @ Toe0",
          "collar": "Bip001 @ Clavicle", "shoulder": "Bip001 @ UpperArm", "elbow": "Bip001 @ Forearm",
          "wrist": "Bip001 @ Hand"}  # fmt: skip


def _split(rows: list[Row], first: str, second: str, start: str, end: str) -> list[Row]:
    """Inserts ``second`` in line half way along ``first``; what hung on ``first`` hangs on ``second``."""
    mid = _between(start, end, 0.5)
    out: list[Row] = []
    for bone, parent, head, tail in rows:
        if bone == first:
            out += [(first, parent, head, mid), (second, first, mid, tail)]
        else:
            out.append((bone, second if parent == first and head == end else parent, head, tail))
    return out


def _mixamo() -> list[Row]:
    return [*_trunk("Hips", ["Spine", "Spine1", "Spine2"], ["Neck"], "Head"),
            *_limbs(_MIXAMO, "Spine2", "Hips", "@Hand{f}{i}", CAPITAL)]  # fmt: skip


def _prefixed(prefix: str, rows: list[Row]) -> list[Row]:
    return [(prefix + b, prefix + p if p else None, h, t) for b, p, h, t in rows]


def _unreal(spines: int, necks: int) -> list[Row]:
    spine = [f"spine_0{i + 1}" for i in range(spines)]
    rows = [("root", None, "root", _between("root", "pelvis", 0.1)),
            *_trunk("pelvis", spine, [f"neck_0{i + 1}" for i in range(necks)], "head", "root"),
            *_limbs(_UNREAL, spine[-1], "pelvis", "{f}_0{i}_@")]  # fmt: skip
    for limb, start, end in (
        ("upperarm", "shoulder", "elbow"),
        ("lowerarm", "elbow", "wrist"),
        ("thigh", "hip", "knee"),
        ("calf", "knee", "ankle"),
    ):
        for i, t in ((1, 0.66), (2, 0.33)):
            rows.append((f"{limb}_twist_0{i}_@", f"{limb}_@", _between(start, end, t), _between(start, end, t + 0.2)))
    return rows


def _daz() -> list[Row]:
    names = {"hip": "@ThighBend", "knee": "@Shin", "ankle": "@Foot", "foot": "@Toe", "collar": "@Collar",
             "shoulder": "@ShldrBend", "elbow": "@ForearmBend", "wrist": "@Hand"}  # fmt: skip
    rows = [*_trunk("hip", ["abdomenLower", "abdomenUpper", "chestLower", "chestUpper"], ["neckLower", "neckUpper"], "head"),
            ("pelvis", "hip", _spine(0.05), "pelvis"),
            *_limbs(names, "chestUpper", "pelvis", "@{f}{i}", {**CAPITAL, "middle": "Mid"})]  # fmt: skip
    for first, second, a, b in (("@ThighBend", "@ThighTwist", "hip", "knee"), ("@ShldrBend", "@ShldrTwist", "shoulder", "elbow"),
                                ("@ForearmBend", "@ForearmTwist", "elbow", "wrist")):  # fmt: skip
        rows = _split(rows, first, second, a, b)
    return rows


def _makehuman() -> list[Row]:
    names = {"hip": "upperleg01.@", "knee": "lowerleg01.@", "ankle": "foot.@", "foot": "toe2-1.@", "collar": "clavicle.@",
             "shoulder": "upperarm01.@", "elbow": "lowerarm01.@", "wrist": "wrist.@"}  # fmt: skip
    rows = [*_trunk("root", [f"spine0{i}" for i in (5, 4, 3, 2, 1)], ["neck01", "neck02", "neck03"], "head"),
            ("pelvis.@", "root", "pelvis", "hip"), *_limbs(names, "spine01", "pelvis.@", "finger{f}-{i}.@", dict(zip(FINGERS, "12345", strict=True)))]  # fmt: skip
    for limb, a, b in (
        ("upperleg", "hip", "knee"),
        ("lowerleg", "knee", "ankle"),
        ("upperarm", "shoulder", "elbow"),
        ("lowerarm", "elbow", "wrist"),
    ):
        rows = _split(rows, f"{limb}01.@", f"{limb}02.@", a, b)
    return _split(rows, "clavicle.@", "shoulder01.@", "collar", "shoulder")


def _character_creator() -> list[Row]:
    c = "CC_Base_"
    rows = [(c + "BoneRoot", None, "root", _between("root", "pelvis", 0.1)),
            *_trunk(c + "Hip", [c + "Waist", c + "Spine01", c + "Spine02"], [c + "NeckTwist01", c + "NeckTwist02"], c + "Head", c + "BoneRoot"),
            (c + "Pelvis", c + "Hip", _spine(0.02), "pelvis"),
            *_limbs(_CC, c + "Spine02", c + "Pelvis", c + "@_{f}{i}", {**CAPITAL, "middle": "Mid"})]  # fmt: skip
    for limb, a, b in (
        ("Upperarm", "shoulder", "elbow"),
        ("Forearm", "elbow", "wrist"),
        ("Thigh", "hip", "knee"),
        ("Calf", "knee", "ankle"),
    ):
        for i, t in ((1, 0.25), (2, 0.6)):
            rows.append((f"{c}@_{limb}Twist0{i}", f"{c}@_{limb}", _between(a, b, t), _between(a, b, t + 0.2)))
    return rows


def _vrm() -> list[Row]:
    rows = [*_trunk("hips", ["spine", "chest", "upperChest"], ["neck"], "head"), *_limbs(_VRM, "upperChest", "hips")]
    for f in FINGERS:
        above, word = "@Hand", {"pinky": "Little"}.get(f, f.capitalize())
        parts = ("Metacarpal", "Proximal", "Distal") if f == "thumb" else ("Proximal", "Intermediate", "Distal")
        for i, part in enumerate(parts, 1):
            rows.append((f"@{word}{part}", above, f"{f}{i}", f"{f}{i + 1}"))
            above = f"@{word}{part}"
    return rows


def _metarig() -> list[Row]:
    rows = [*_trunk("spine", ["spine.001", "spine.002", "spine.003"], ["spine.004", "spine.005"], "spine.006")]
    for f in FINGERS:
        word = "thumb" if f == "thumb" else f"f_{f}"
        above = "hand.@"
        for i in (1, 2, 3):
            rows.append((f"{word}.0{i}.@", above, f"{f}{i}", f"{f}{i + 1}"))
            above = f"{word}.0{i}.@"
    return [*rows, *_limbs(_BLENDER, "spine.003", "spine")]


def _biped() -> list[Row]:
    b = "Bip001 "
    rows = [
        *_trunk(b + "Pelvis", [b + "Spine", b + "Spine1"], [b + "Neck"], b + "Head", None),
        *_limbs(_BIPED, b + "Neck", b + "Pelvis"),
    ]
    return rows


ROWS = {
    "smplx": lambda: [*_trunk("pelvis", ["spine1", "spine2", "spine3"], ["neck"], "head"), *_limbs(_SMPLX, "spine3", "pelvis", "@_{f}{i}")],
    "smplx_addon": lambda: [("root", None, "root", _between("root", "pelvis", 0.1)),
        *_trunk("pelvis", ["spine1", "spine2", "spine3"], ["neck"], "head", "root"), *_limbs(_SMPLX, "spine3", "pelvis", "@_{f}{i}")],
    "smpl": lambda: [*_trunk("m_avg_Pelvis", ["m_avg_Spine1", "m_avg_Spine2", "m_avg_Spine3"], ["m_avg_Neck"], "m_avg_Head"),
        *_limbs({k: "m_avg_@_" + k.capitalize() for k in _SMPLX}, "m_avg_Spine3", "m_avg_Pelvis")],
    "mixamo": lambda: _prefixed("mixamorig:", _mixamo()),
    "mixamo_bare": _mixamo,
    "mixamo_namespace": lambda: _prefixed("Soldier01|mixamorig7:", _mixamo()),
    "rigify_metarig": _metarig,
    "unreal_4": lambda: _unreal(3, 1),
    "unreal_5": lambda: _unreal(5, 2),
    "vrm": _vrm,
    "vroid": lambda: [*_trunk("J_Bip_C_Hips", ["J_Bip_C_Spine", "J_Bip_C_Chest", "J_Bip_C_UpperChest"], ["J_Bip_C_Neck"], "J_Bip_C_Head"),
        *_limbs(_VROID, "J_Bip_C_UpperChest", "J_Bip_C_Hips", "J_Bip_@_{f}{i}", {**CAPITAL, "pinky": "Little"})],
    "daz_genesis_3_8": _daz,
    "daz_genesis_9": lambda: [*_trunk("hip", ["spine1", "spine2", "spine3", "spine4"], ["neck1", "neck2"], "head"),
        *_limbs(_DAZ9, "spine4", "hip", "@_{f}{i}", {"middle": "mid"})],
    "character_creator": _character_creator,
    "makehuman": _makehuman,
    "blender": lambda: [*_trunk("hips", ["spine", "chest"], ["neck"], "head"), *_limbs(_BLENDER, "chest", "hips")],
    "biped": _biped,
    "one_spine_bone": lambda: [*_trunk("hips", ["spine"], [], "head"), *_limbs(_BLENDER, "spine", "hips")],
}  # fmt: skip

_SIDE_WORD = {"mixamo": "Left Right", "mixamo_bare": "Left Right", "mixamo_namespace": "Left Right", "vrm": "left right",
              "smplx": "left right", "smplx_addon": "left right", "unreal_4": "l r", "unreal_5": "l r",
              "daz_genesis_3_8": "l r", "daz_genesis_9": "l r"}  # fmt: skip

FAMILY_OF = {"smplx_addon": "smplx", "smpl": "smplx", "mixamo_bare": "mixamo", "mixamo_namespace": "mixamo", "unreal_4": "unreal",
             "unreal_5": "unreal", "biped": "blender", "one_spine_bone": "blender"}  # fmt: skip
"""Which family each figure is to be recognised as, where that is not its own name."""


def figure(
    name: str, *, rest: str = "T", rolls: int | None = None, scale: float = 1.0, axes: str = "Z", tails: bool = True
) -> dict[str, Bone]:
    """One armature: ``rest`` T, A or SMPLX (that body's own joints), odd bone rolls from a seed, in units of 1/``scale`` metres, z or y up.

    ``tails`` False: bones point anywhere, as after an import from a format that knows joints only.
    """
    rng = np.random.default_rng(rolls)
    where = smplx_points() if rest == "SMPLX" else points(rest)
    basis = {
        "Z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
        "Y": np.eye(3),
        "Z+Y": np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
    }[axes]
    left, right = _SIDE_WORD.get(name, "L R").split()
    bones: dict[str, Bone] = {}
    for bone, parent, head, tail in ROWS[name]():
        ends = [where[at] if isinstance(at, str) else at(where) for at in (head, tail)]
        if np.linalg.norm(ends[1] - ends[0]) < 1e-6:
            ends[1] = ends[0] + 0.05 * UP
        for word, sign in ((left, 1.0), (right, -1.0)) if "@" in bone else ((left, 1.0),):
            a, b = (basis @ (end * (sign, 1, 1)) * scale for end in ends)
            if not tails:
                away = rng.normal(size=3)
                b = a + away / np.linalg.norm(away) * 0.05 * scale
            roll = float(rng.uniform(-np.pi, np.pi)) if rolls is not None else 0.0
            bones[bone.replace("@", word)] = Bone(parent.replace("@", word) if parent else None, a, b, roll)
    return bones


def shuffled_names(bones: dict[str, Bone], seed: int = 0) -> dict[str, Bone]:
    """The same armature with names that say nothing."""
    order = np.random.default_rng(seed).permutation(len(bones))
    name = {bone: f"Bone.{order[i]:03d}" for i, bone in enumerate(bones)}
    return {name[b]: replace(bone, parent=name[bone.parent] if bone.parent else None) for b, bone in bones.items()}
