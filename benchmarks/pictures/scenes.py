"""Scenes made by chance from a seed: natural poses from the repository alone, bodies, cameras, backgrounds, props.

A pose comes from the lexicon (solved from its statements), from the embedded VPoser (sampled) or from the hand-made
starting postures (recombined, varied, pulled to natural ones). None was used to make anything that reads pictures.
Writes ``plan.json``, ``bodies.json`` and ``bodies.npz`` for the renderer; they are the truth afterwards.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatpose_server import rotations as rot
from chatpose_server.body import default_body
from chatpose_server.body.model import STANDIN_PATH
from chatpose_server.posecodes.lexicon import entries
from chatpose_server.posecodes.refine import solve
from chatpose_server.posecodes.starts import arm_quats, body_quats
from chatpose_server.priors import embedded_prior, ik, limits, tasks
from chatpose_server.skeleton import INDEX, JOINTS
from torch import Tensor

from . import looks
from .camera import Camera, framed, turned

Entry = dict[str, Any]

CAMERAS = 4
STRATA = {"clean": 280, "truncated": 160, "occluded": 160, "two people": 100, "line art": 100}  # of the benchmark
SHARES = {"lexicon": 110, "VPoser": 45, "recombined": 45}  # poses of the benchmark by where they are from
POSES = sum(SHARES.values())
SEED = 20
PIXELS = 104_000  # of a picture: about 320 x 320, so that the whole set costs minutes
_ACTION = {"athletics", "ball_sports", "martial_arts", "gymnastics_dance", "combat_stealth", "winter_water_sports",
           "fantasy_heroes_games", "fitness", "yoga", "children_play"}  # fmt: skip
_BATCH = 20
_HEAD_AND_ARMS = ("head", "neck", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
                  "right_wrist", "spine2")  # fmt: skip
_HIDEABLE = (  # what one prop is put before
    ("left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot", "right_foot"),
    ("left_ankle", "right_ankle", "left_foot", "right_foot"), ("left_elbow", "left_wrist"),
    ("right_elbow", "right_wrist"), ("left_hip", "right_hip", "left_knee", "right_knee", "pelvis"),
    ("left_shoulder", "left_elbow", "left_hip", "left_knee"),
    ("right_shoulder", "right_elbow", "right_hip", "right_knee"), ("spine1", "spine2", "spine3", "pelvis"),
)  # fmt: skip
KEYPOINT_VERTICES = {
    "nose": 9120, "left_ear": 6, "right_ear": 616, "left_heel": 8846, "right_heel": 8635, "left_foot_index": 5770,
    "right_foot_index": 8463,
}  # fmt: skip
"""Points of the skin by SMPL-X's published vertex numbers, which our body keeps."""


@dataclass(frozen=True)
class Split:
    """A set of pictures. ``share``: its size against the benchmark's. No two splits have a pose or a seed in common:
    ``without`` names a split whose poses of the lexicon are left out.
    """

    seed: int
    share: float = 1.0
    without: Split | None = None

    @property
    def poses(self) -> int:
        return sum(self.of_source(source) for source in SHARES)

    def of_source(self, source: str) -> int:
        return round(SHARES[source] * self.share)


BENCHMARK = Split(SEED)
DEVELOPMENT = Split(71, 0.5, without=BENCHMARK)
"""What the fit may be tuned on, looked at and learnt from."""


# -- poses -----------------------------------------------------------------------------------------------------------
def _picked(split: Split, g: np.random.Generator) -> list[Any]:
    """Entries of the lexicon, each topic in turn."""
    taken: set[str] = set()
    if split.without is not None:
        taken = names_of(split.without)
    by_topic: dict[str, list[Any]] = {}
    for entry in entries():
        if entry.name not in taken:
            by_topic.setdefault(entry.topic, []).append(entry)
    topics = sorted(by_topic)
    chosen = [by_topic[topics[i % len(topics)]] for i in range(split.of_source("lexicon"))]
    return [listed.pop(int(g.integers(len(listed)))) for listed in chosen]


def names_of(split: Split) -> set[str]:
    """The entries of the lexicon that a split's poses are of."""
    return {e.name for e in _picked(split, np.random.default_rng(split.seed))}


def _lexicon(split: Split, g: np.random.Generator) -> list[tuple[Tensor, str]]:
    picked = _picked(split, g)
    versions = [e.versions[int(g.integers(len(e.versions)))] for e in picked]
    made: list[tuple[Tensor, str]] = []
    for at in range(0, len(picked), _BATCH):
        solved = solve(versions[at : at + _BATCH], tries=2, seed=split.seed + at)
        made += [(m, e.name) for m, e in zip(solved.matrot, picked[at:], strict=False)]
    return made


def _vposer(split: Split) -> list[tuple[Tensor, str]]:
    count = split.of_source("VPoser")
    poses = tasks.sample(count=3 * count, seed=split.seed, prior="vposer")
    matrot = torch.stack([p.matrot() for p in poses])
    return [(m, "sample") for m in matrot[apart(matrot)][:count]]


def _recombined(split: Split, g: np.random.Generator) -> list[tuple[Tensor, str]]:
    count = split.of_source("recombined")
    quat, arms = body_quats().clone(), arm_quats()
    rows = torch.as_tensor(g.integers(len(quat), size=3 * count))
    out = quat[rows]
    for side, name in enumerate(("left", "right")):
        index = [INDEX[f"{name}_{j}"] for j in ("collar", "shoulder", "elbow", "wrist")]
        out[:, index] = arms[side, torch.as_tensor(g.integers(arms.shape[1], size=3 * count))]
    jitter = torch.as_tensor(g.normal(0, math.radians(9), (3 * count, 22, 3)), dtype=torch.float32)
    out = rot.quat_multiply(out, rot.rotvec_to_quat(jitter))
    with torch.no_grad():
        natural = embedded_prior("posendf").pull(out[:, 1:]).natural
    out = torch.cat([out[:, :1], limits.clamp(natural)], 1)
    matrot = rot.quat_to_matrot(out)
    return [(m, "posture") for m in matrot[apart(matrot)][:count]]


_CAPSULES = {
    "trunk": ("pelvis", "neck", 0.09), "left forearm": ("left_elbow", "left_wrist", 0.035),
    "right forearm": ("right_elbow", "right_wrist", 0.035), "left thigh": ("left_hip", "left_knee", 0.06),
    "right thigh": ("right_hip", "right_knee", 0.06), "left shin": ("left_knee", "left_ankle", 0.045),
    "right shin": ("right_knee", "right_ankle", 0.045), "head": ("neck", "head", 0.08),
}  # fmt: skip
_TOUCHING = {("trunk", "left thigh"), ("trunk", "right thigh"), ("trunk", "head"), ("left thigh", "right thigh"),
             ("left thigh", "left shin"), ("right thigh", "right shin")}  # fmt: skip


def apart(matrot: Tensor) -> Tensor:
    """(N,) bool: no limb is more than 3 cm inside another part."""
    quat = rot.matrot_to_quat(matrot)
    joints = ik.positions(quat, torch.zeros(len(quat), 3))
    t = torch.linspace(0.15, 1, 9)[None, :, None]
    ends = {k: (joints[:, INDEX[a], None], joints[:, INDEX[b], None]) for k, (a, b, _) in _CAPSULES.items()}
    line = {k: a * (1 - t) + b * t for k, (a, b) in ends.items()}
    free = torch.ones(len(quat), dtype=torch.bool)
    for a, b in itertools.combinations(_CAPSULES, 2):
        if (a, b) not in _TOUCHING:
            free &= torch.cdist(line[a], line[b]).amin((1, 2)) > _CAPSULES[a][2] + _CAPSULES[b][2] - 0.03
    return free


def posture(joints: np.ndarray, topic: str) -> str:
    """standing, low (sitting, kneeling, squatting), lying or upside down by where joints are (55, 3), feet on y = 0."""
    at = lambda name: joints[INDEX[name]]  # noqa: E731
    trunk = at("neck") - at("pelvis")
    rise = trunk[1] / np.linalg.norm(trunk)
    leg = np.linalg.norm(at("left_hip") - at("left_knee")) + np.linalg.norm(at("left_knee") - at("left_ankle"))
    if rise < math.cos(math.radians(60)):
        return "lying or bent"
    if at("pelvis")[1] < 0.72 * leg + 0.08:
        return "low"
    return "action" if topic in _ACTION else "standing"


# -- bodies ----------------------------------------------------------------------------------------------------------
def _fingers(g: np.random.Generator) -> Tensor:
    """(55, 3) rotation vectors: fingers curled by a common amount, some hands nearly fists."""
    out = np.zeros((len(JOINTS), 3), np.float32)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        curl = abs(g.normal(0.0, 0.35)) + 0.12
        for finger in ("index", "middle", "ring", "pinky"):
            for k in (1, 2, 3):
                out[INDEX[f"{side}_{finger}{k}"], 2] = sign * min(1.3, curl * (0.8 + 0.2 * k))
    return torch.from_numpy(out)


def bodies(folder: Path, split: Split) -> list[Entry]:
    """Writes ``bodies.npz``; returns what is said of each body in the plan."""
    g = np.random.default_rng(split.seed)
    found = {"lexicon": _lexicon(split, g), "VPoser": _vposer(split), "recombined": _recombined(split, g)}
    made = [(m, source, name) for source, listed in found.items() for m, name in listed]
    return write_bodies(folder, [made[i] for i in g.permutation(len(made))], g)


def write_bodies(folder: Path, made: Sequence[tuple[Tensor, str, str]], g: np.random.Generator) -> list[Entry]:
    """Bodies of chance in these poses, each with its source and name, into ``bodies.npz``."""
    topics = {e.name: e.topic for e in entries()}
    body = default_body()
    with np.load(STANDIN_PATH, allow_pickle=False) as file:
        part, marks = file["face_part"].astype(int), (file["lmk_faces_idx"], file["lmk_bary_coords"])
    owner = np.array(JOINTS)[body.weight_index[torch.arange(len(body.weight)), body.weight.argmax(1)].numpy()]
    faces = body.faces.numpy()
    keep: dict[str, list[np.ndarray]] = {k: [] for k in ("vertices", "material", "joints", "points", "matrot")}
    said: list[Entry] = []
    for matrot, source, name in made:
        betas = torch.from_numpy(_shape(g))
        look = looks.draw(g)
        rest_v, rest_j = body.rest(betas)
        v = rest_v.numpy()
        rest = looks.Rest(
            v, faces, dict(zip(JOINTS, rest_j.numpy(), strict=True)), owner, part,
            (v[faces[marks[0]]] * marks[1][..., None]).sum(1),
        )  # fmt: skip
        material, dressed = looks.dress(rest, look)
        full = rot.rotvec_to_matrot(_fingers(g))
        full[:22] = matrot
        with torch.no_grad():
            joints = body.forward_kinematics(full[None], None, rest_j).joints[0].numpy()
            skin = body.skin(full[None], betas)[0].numpy()
            # Cloth is carried by the same weights: skinning what it adds at rest keeps it on the posed body.
            cloth = _skinned(body, full, rest_j, torch.from_numpy(dressed.astype(np.float32)))
        lift = np.array([-joints[0, 0], -cloth[:, 1].min(), -joints[0, 2]], np.float32)
        keep["vertices"].append((cloth + lift).astype(np.float32))
        keep["material"].append(material)
        keep["joints"].append((joints + lift).astype(np.float32))
        keep["points"].append((skin[list(KEYPOINT_VERTICES.values())] + lift).astype(np.float32))
        keep["matrot"].append(matrot.numpy())
        kind = posture(joints + lift, topics.get(name, ""))
        said.append({"source": source, "name": name, "posture": kind, "look": look.to_json()})
    np.savez(
        folder / "bodies.npz", faces=faces, uv_rest=body.v_template.numpy(), **{k: np.stack(v) for k, v in keep.items()}
    )
    return said


def _shape(g: np.random.Generator) -> np.ndarray:
    """(10,) height, weight, gender, age, muscle, proportions, residuals: adults of every build."""
    return (g.normal(0, 1, 10) * [1.0, 1.0, 1.6, 0.4, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5]).clip(-2.2, 2.2).astype(np.float32)


def _skinned(body: Any, full: Tensor, rest_joints: Tensor, vertices: Tensor) -> np.ndarray:
    state = body.forward_kinematics(full[None], None, rest_joints)
    shift = state.joints[0] - (state.matrot[0] @ rest_joints[..., None]).squeeze(-1)
    m = (state.matrot[0][body.weight_index] * body.weight[..., None, None]).sum(1)
    t = (shift[body.weight_index] * body.weight[..., None]).sum(1)
    return ((m @ vertices[..., None]).squeeze(-1) + t).numpy()


# -- pictures --------------------------------------------------------------------------------------------------------
def _view(camera: int, g: np.random.Generator) -> float:
    """Azimuth in degrees: in front, three-quarter, from the side, from behind."""
    low, high = ((0, 30), (30, 75), (75, 115), (115, 180))[camera]
    return float(g.uniform(low, high) * g.choice([-1, 1]))


def view_named(azimuth_deg: float) -> str:
    a = abs(azimuth_deg)
    return "front" if a <= 30 else "three-quarter" if a <= 75 else "side" if a <= 115 else "back"


def _size(g: np.random.Generator) -> tuple[int, int]:
    ratio = float(g.choice([0.67, 0.75, 1.0, 1.0, 1.33]))
    width = math.sqrt(PIXELS * ratio)
    return 2 * round(width / 2), 2 * round(width / ratio / 2)


def _box_hit(camera: Camera, points: np.ndarray, prop: Entry) -> np.ndarray:
    """(N,) bool: the box stands between the camera and the point."""
    c, s = math.cos(prop["turn"]), math.sin(prop["turn"])
    own = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    a = own @ (camera.location - prop["at"])
    b = (points - prop["at"]) @ own.T
    ray = b - a
    ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
    half = np.array(prop["size"]) / 2
    t1, t2 = (-half - a) / ray, (half - a) / ray
    enter, leave = np.minimum(t1, t2).max(-1), np.maximum(t1, t2).min(-1)
    return (enter < leave) & (leave > 0) & (enter < 1)


def _prop_before(camera: Camera, joints: np.ndarray, g: np.random.Generator) -> tuple[Entry, np.ndarray] | None:
    """A box before some joints (55, 3), and which of the 22 it hides. None where none fits."""
    body = joints[:22]
    head = joints[[INDEX["head"], INDEX["neck"]]]
    for _ in range(60):
        group = joints[[INDEX[n] for n in _HIDEABLE[int(g.integers(len(_HIDEABLE)))]]]
        near = float(g.uniform(0.62, 0.86))
        at = camera.location + near * (group.mean(0) - camera.location)
        spread = np.linalg.norm(group - group.mean(0), axis=1).max() * near
        size = (g.uniform(0.7, 1.5, 3) * (spread + 0.07)).clip(0.1, 0.9) * [1.6, 1.6, 0.5]
        prop = {"at": at.tolist(), "size": size.tolist(), "turn": float(g.uniform(-0.5, 0.5)) + camera.heading()}
        hidden = _box_hit(camera, body, prop)
        clearance = np.abs(camera.seen(body)[:, 2]).min() - np.abs(camera.seen(at)[2])
        if 2 <= hidden.sum() <= 11 and not _box_hit(camera, head, prop).any() and clearance > -0.3 + spread / 2:
            return prop, hidden
    return None


def _backdrop(busy: bool, g: np.random.Generator) -> Entry:
    """Colours and patterns of wall, floor and sky; things that stand about behind the body, seen from the camera."""

    def colour(low: float, high: float) -> list[float]:  # rooms are paler than chance
        made = g.uniform(low, high, 3)
        return (made.mean() + (made - made.mean()) * g.uniform(0.1, 0.9)).tolist()

    if not busy:
        grey = float(g.uniform(0.08, 0.85))
        tint = (grey + g.normal(0, 0.06, 3)).clip(0.03, 0.95).tolist()
        return {"busy": False, "wall": tint, "floor": tint, "floor_shade": float(g.uniform(0.7, 1.0))}
    things = [
        {
            "kind": str(g.choice(["box", "box", "cylinder", "ball"])), "behind": float(g.uniform(0.9, 3.6)),
            "across": float(g.uniform(-1.0, 1.0)), "size": g.uniform(0.15, 1.3, 3).tolist(),
            "colour": colour(0.02, 0.9), "pattern": str(g.choice(["plain", "noise", "checks", "stripes"])),
            "turn": float(g.uniform(0, 3)),
        }
        for _ in range(int(g.integers(5, 14)))
    ]  # fmt: skip
    return {
        "busy": True, "wall": colour(0.1, 0.9), "wall2": colour(0.02, 0.7), "floor": colour(0.05, 0.7),
        "floor2": colour(0.03, 0.6), "wall_pattern": str(g.choice(["bricks", "noise", "stripes", "checks", "cells"])),
        "floor_pattern": str(g.choice(["noise", "checks", "bricks", "cells"])), "wall_behind": float(g.uniform(1.6, 6)),
        "scale": float(g.uniform(0.6, 2.5)), "things": things,
    }  # fmt: skip


def _light(g: np.random.Generator) -> Entry:
    return {
        "around": float(g.uniform(-1.3, 1.3)), "height": float(g.uniform(0.35, 1.25)),
        "sun": float(g.uniform(1.2, 4.5)),
        "soft": float(g.uniform(0.02, 0.6)), "sky": (g.uniform(0.55, 1.0) * g.uniform(0.85, 1.0, 3)).tolist(),
    }  # fmt: skip


def _picture(index: int, stratum: str, joints: np.ndarray, points: np.ndarray, g: np.random.Generator) -> Entry:
    poses = len(joints)
    body = index % poses
    which = (body + index // poses) % CAMERAS  # so that any first part of the set has every view
    azimuth = _view(which, g)
    size = _size(g)
    fov = math.radians(float(np.exp(g.uniform(math.log(20), math.log(85)))))
    pitch = float(g.uniform(-30, 30))
    roll = float(g.normal(0, 2.5))
    cut = float(g.random())
    target, fill, middle = points[body], float(g.uniform(0.66, 0.92)), (0.5, 0.5)
    other = None
    if stratum == "truncated":
        own = joints[body]
        if cut < 0.45:  # head and arms
            target, fill = own[[INDEX[n] for n in _HEAD_AND_ARMS]], 0.86
        elif cut < 0.7:  # down to the knees
            target, fill = own[own[:, 1] > own[4:6, 1].mean() - 0.02], 0.86
        else:  # a side is cut off
            middle = (float(g.choice([0.16, 0.84])), 0.5)
    if stratum == "two people":
        other = {"body": int((body + g.integers(1, poses)) % poses), "turn": float(g.uniform(-math.pi, math.pi))}
        away = math.radians(azimuth)
        across = float(g.choice([-1, 1]) * g.uniform(0.55, 1.05))
        depth = float(g.uniform(-0.7, 0.35))
        other["at"] = [across * math.cos(away) + depth * math.sin(away), 0.0,
                       -across * math.sin(away) + depth * math.cos(away)]  # fmt: skip
        target = np.concatenate([target, placed(points[other["body"]], other)])
    for _ in range(12):
        camera = framed(target, turned(math.radians(azimuth), math.radians(pitch), math.radians(roll)), size, fov, fill,
                        middle)  # fmt: skip
        if camera.location[1] > 0.2:
            break
        pitch += 6.0
    entry: Entry = {
        "index": index, "body": body, "stratum": stratum, "view": view_named(azimuth), "azimuth_deg": azimuth,
        "pitch_deg": pitch, "fov_deg": math.degrees(fov), "camera": camera.to_json(), "light": _light(g),
        "look": str(g.choice(["Standard", "AgX"])), "other": other, "prop": None, "hidden": [],
    }  # fmt: skip
    if stratum == "occluded":
        found = _prop_before(camera, joints[body], g)
        if found is None:
            return _picture(index, stratum, joints, points, g)
        colour, pattern = g.uniform(0.03, 0.9, 3).tolist(), str(g.choice(["plain", "noise", "checks", "stripes"]))
        entry["prop"] = found[0] | {"colour": colour, "pattern": pattern}
        entry["hidden"] = np.flatnonzero(found[1]).tolist()
    if stratum == "line art":
        entry["style"] = str(g.choice(["ink", "ink", "toon", "pencil"]))
        entry["backdrop"] = None
    else:
        entry["backdrop"] = _backdrop(bool(g.random() < 0.5), g)
    inside = camera.inside(joints[body][:22])
    entry["outside"] = np.flatnonzero(~inside).tolist()
    return entry


def placed(points: np.ndarray, other: Entry) -> np.ndarray:
    """(..., 3) of the second person, turned about the vertical and moved to her place."""
    c, s = math.cos(other["turn"]), math.sin(other["turn"])
    return points @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + other["at"]


def plan(folder: Path, split: Split = BENCHMARK) -> list[Entry]:
    """The whole set's plan, made once into ``folder`` and read afterwards: one entry a picture, in the order of making.

    Any first part of it holds every stratum in its share.
    """
    file = folder / "plan.json"
    if not file.exists():
        torch.set_num_threads(1)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "bodies.json").exists():
            said = bodies(folder, split)
            write(folder / "bodies.json", said)
        with np.load(folder / "bodies.npz") as data:
            joints, vertices = data["joints"], data["vertices"][:, ::23]
        write(file, pictures(joints, vertices, split.seed))
    return json.loads(file.read_text(encoding="utf-8"))


def pictures(joints: np.ndarray, points: np.ndarray, seed: int) -> list[Entry]:
    """CAMERAS pictures of each body, by its joints (N, 55, 3) and some points of its skin (N, P, 3)."""
    strata = _strata(np.random.default_rng([seed, 1]))[: len(joints) * CAMERAS]
    dice = (np.random.default_rng([seed, i]) for i in range(len(strata)))
    return [_picture(i, s, joints, points, next(dice)) for i, s in enumerate(strata)]


def write(file: Path, data: object) -> None:
    half = file.with_suffix(".part")
    half.write_text(json.dumps(data), encoding="utf-8")
    half.replace(file)


def _strata(g: np.random.Generator) -> Sequence[str]:
    """A stratum for each picture, dealt in rounds of 40 so that every round has all in their shares."""
    one = [s for s, n in STRATA.items() for _ in range(n // 20)]
    return [one[i] for _ in range(POSES * CAMERAS // len(one)) for i in g.permutation(len(one))]
