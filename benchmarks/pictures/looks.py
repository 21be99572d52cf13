"""Clothes, skin and hair for our body: which of its faces are cloth, how far cloth stands off the skin, and colours.

Numpy only. A look is drawn by chance and the same for the same generator.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MATERIALS = ("skin", "shirt", "trousers", "shoes", "hair", "eye", "iris", "lips", "brows", "belt")
SKINS = ("f6d3bd", "eec1a2", "e0ac85", "c98f66", "a9714b", "85543a", "613c2a", "452a1e")
HAIRS = ("15100d", "2b1c12", "4a2f1b", "7a5230", "b08a52", "d9c38c", "8c8c8c", "7c2d18")
CLOTHS = (
    "f2f2ee", "1c1c22", "26365e", "7c1f26", "2f5a3a", "c9a227", "8a8f98", "4f79b7", "d3732f", "6a4a86", "e3c9a8",
    "3b3f46", "b9d1e0", "b04a6b", "5b6b3c",
)  # fmt: skip
BRONZE_AND_CLAY = ("b8b8b8", "d8c7ab", "8fa3b5", "c98a62")


@dataclass(frozen=True)
class Look:
    """``kind``: clothed, mannequin (one material) or sporty (little cloth). Colours are six hex digits of sRGB."""

    kind: str
    colours: dict[str, str]
    pattern: dict[str, str]  # material -> plain, stripes, checks, spots
    sleeve: float  # share of the arm that is covered, 0..1
    leg: float  # share of the leg
    shoes: bool
    hair: str  # none, short, long
    loose: float  # metres that cloth stands off

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def draw(g: np.random.Generator) -> Look:
    kind = str(g.choice(["clothed", "clothed", "clothed", "clothed", "sporty", "mannequin"]))
    skin = str(g.choice(SKINS))
    shirt, trousers, shoes, belt = (str(c) for c in g.choice(CLOTHS, 4, replace=False))
    colours = {
        "skin": skin, "shirt": shirt, "trousers": trousers, "shoes": shoes, "belt": belt, "hair": str(g.choice(HAIRS)),
        "eye": "f4f2ee", "iris": str(g.choice(["3a2415", "4a6b86", "40512f"])), "lips": _mixed(skin, "b04050", 0.45),
        "brows": "2b1c12",
    }  # fmt: skip
    if kind == "mannequin":
        colours = dict.fromkeys(MATERIALS, str(g.choice(BRONZE_AND_CLAY)))
    patterns = ["plain", "plain", "stripes", "checks", "spots"]
    return Look(
        kind,
        colours,
        {"shirt": str(g.choice(patterns)), "trousers": str(g.choice(["plain", "plain", "plain", "checks"]))},
        sleeve={"clothed": float(g.choice([0.22, 0.3, 1.0, 1.0])), "sporty": 0.0, "mannequin": 0.0}[kind],
        leg={"clothed": float(g.choice([0.4, 1.0, 1.0, 1.0])), "sporty": 0.15, "mannequin": 0.0}[kind],
        shoes=kind == "clothed" and bool(g.random() < 0.85),
        hair="none" if kind == "mannequin" else str(g.choice(["short", "short", "long", "long", "none"])),
        loose=0.0 if kind == "mannequin" else float(g.uniform(0.004, 0.022)),
    )


def _mixed(a: str, b: str, t: float) -> str:
    both = [[int(c[i : i + 2], 16) for i in (0, 2, 4)] for c in (a, b)]
    return "".join(f"{round(x + t * (y - x)):02x}" for x, y in zip(*both, strict=True))


@dataclass(frozen=True)
class Rest:
    """Our body at rest in some shape: what regions are found by. ``owner`` (V,): the joint that moves a vertex most."""

    vertices: np.ndarray  # (V, 3)
    faces: np.ndarray  # (F, 3)
    joints: dict[str, np.ndarray]
    owner: np.ndarray  # (V,) joint names
    part: np.ndarray  # (F,) 0 skin, 1 and 2 eyes, 3 and 4 teeth, 5 tongue
    marks: np.ndarray  # (51, 3) the face's landmarks: brows 0..9, eyes 19..30, mouth 31..50


def dress(rest: Rest, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Material of each face (F,) uint8, by its place in MATERIALS, and the dressed vertices (V, 3)."""
    v, j = rest.vertices, rest.joints
    x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
    shoulder, wrist = j["left_shoulder"][0], j["left_wrist"][0]
    hip, ankle = j["left_hip"][1], j["left_ankle"][1]
    trunk = np.isin(rest.owner, ["spine1", "spine2", "spine3", "left_collar", "right_collar", "neck", "pelvis"])
    arm = np.isin(rest.owner, [f"{s}_{n}" for s in ("left", "right") for n in ("shoulder", "elbow", "wrist", "collar")])
    leg = np.isin(rest.owner, [f"{s}_{n}" for s in ("left", "right") for n in ("hip", "knee", "ankle", "foot")])
    head = np.isin(rest.owner, ["head", "jaw", "left_eye_smplhf", "right_eye_smplhf"])
    waist = hip + 0.10
    region = np.zeros(len(v), int)  # by vertex, as indices into MATERIALS
    if look.kind == "clothed":
        sleeve_end = shoulder + look.sleeve * (wrist - 0.01 - shoulder)
        shirt = (trunk | arm) & (y > waist) & (y < j["neck"][1] + 0.015) & (x < sleeve_end)
        region[shirt] = MATERIALS.index("shirt")
    if look.kind != "mannequin":
        leg_end = hip - look.leg * (hip - ankle - 0.03)
        region[(trunk | leg) & (y <= waist) & (y > leg_end)] = MATERIALS.index("trousers")
        if look.kind == "sporty":
            band = trunk & (np.abs(y - j["spine3"][1] - 0.03) < 0.09) & (x < shoulder + 0.02)
            region[band & (y < j["left_shoulder"][1] - 0.02)] = MATERIALS.index("shirt")
    if look.shoes:
        region[leg & (y < ankle + 0.01)] = MATERIALS.index("shoes")
    hair = _hair(rest, look, head, y, z)
    region[hair] = MATERIALS.index("hair")
    # A face is what most of its corners are.
    corners = region[rest.faces]
    material = np.where(corners[:, 1] == corners[:, 2], corners[:, 1], corners[:, 0]).astype(np.uint8)
    _paint_face(rest, material, look.kind == "mannequin")
    off = np.zeros(len(v))
    off[np.isin(region, [MATERIALS.index("shirt"), MATERIALS.index("trousers")])] = look.loose
    off[region == MATERIALS.index("shoes")] = 0.008
    off[hair] = {"none": 0.0, "short": 0.018, "long": 0.028}[look.hair]
    return material, v + _softened(off, rest.faces)[:, None] * normals(v, rest.faces)


def _hair(rest: Rest, look: Look, head: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    if look.hair == "none":
        return np.zeros(len(y), bool)
    brow, ear = rest.marks[:10].mean(0), rest.joints["head"]
    skin = np.zeros(len(y), bool)
    skin[rest.faces[rest.part == 0]] = True
    forehead = brow[1] + 0.045
    behind = z < ear[2] + 0.02
    low = brow[1] - 0.05 if look.hair == "short" else rest.joints["neck"][1] - 0.02
    nape = np.isin(rest.owner, ["neck"]) & (z < ear[2] - 0.03) if look.hair == "long" else False
    above_face = (y > forehead - 0.6 * np.clip(brow[2] - z, -0.05, 0.07)) & (z < brow[2] - 0.005)
    return skin & ((head & (above_face | (behind & (y > low)))) | (nape & (y > low)))


def _paint_face(rest: Rest, material: np.ndarray, plain: bool) -> None:
    centre = rest.vertices[rest.faces].mean(1)
    eyes = np.isin(rest.part, [1, 2])
    material[np.isin(rest.part, [3, 4])] = MATERIALS.index("eye")
    material[eyes] = MATERIALS.index("eye")
    for part in (1, 2):
        of_eye = rest.part == part
        front = centre[of_eye][centre[of_eye][:, 2].argmax()]
        material[of_eye & (np.linalg.norm(centre - front, axis=1) < 0.0075)] = MATERIALS.index("iris")
    skin = (rest.part == 0) & (centre[:, 2] > rest.marks[:, 2].min() - 0.03)
    mouth = rest.marks[31:51]
    lips = np.linalg.norm(centre[:, None] - mouth[None], axis=2).min(1) < 0.006
    brows = np.linalg.norm(centre[:, None] - rest.marks[None, :10], axis=2).min(1) < 0.0048
    if not plain:
        material[skin & lips] = MATERIALS.index("lips")
        material[skin & brows] = MATERIALS.index("brows")


def normals(v: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) unit vertex normals."""
    corner = v[faces]
    face = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    out = np.stack([np.bincount(faces.ravel(), np.repeat(face[:, k], 3), len(v)) for k in range(3)], -1)
    return out / (np.linalg.norm(out, axis=1, keepdims=True) + 1e-12)


def _softened(value: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Three rounds of averaging with neighbours, so that cloth ends in a slope."""
    for _ in range(2):
        mean = value[faces].mean(1)
        total = np.bincount(faces.ravel(), np.repeat(mean, 3), len(value))
        value = total / np.maximum(np.bincount(faces.ravel(), minlength=len(value)), 1)
    return value
