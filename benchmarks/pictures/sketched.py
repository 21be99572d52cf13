"""Pictures of bodies without a renderer, a twentieth of a second each: what ``train vision_lifter`` learns from. Never
used to judge.

Poses are of motion capture (the training trials), recombined and varied, and of entries of the lexicon that no judged
set holds; bodies, clothes, cameras, props and who is cut off are drawn by chance as in scenes.py. A sun with shadows, a
sky, patterned cloth, a floor and a wall; some as drawings. BlazePose looks at the square around the true body, a little
off, as its detector would have it.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from chatpose_server import rotations as rot
from chatpose_server.posecodes.lexicon import Entry, entries
from chatpose_server.posecodes.refine import solve
from chatpose_server.priors import limits
from chatpose_server.skeleton import INDEX
from chatpose_server.training.pose_data import density_weights
from chatpose_server.training.priors_data import (
    DataError,
    add_noise,
    fill_unknown,
    mirror,
    read_ours,
    recombine,
    split_of,
)
from chatpose_server.vision.blazepose import Landmarks, look
from chatpose_server.vision.crops import Pyramid, Square
from PIL import Image, ImageFilter
from torch import Tensor

from . import scenes
from .camera import Camera
from .looks import MATERIALS, normals
from .raster import Drawn, rasterise

_NAMED = 0.3  # share of bodies whose pose is of the lexicon
_TUMBLED = 0.06  # share of motion capture turned any way
_LINES = 0.14  # share of pictures that are drawings
_SHADOW = 160  # pixels of the sun's own view
_BIAS = 0.035  # metres


# -- poses -----------------------------------------------------------------------------------------------------------
def read_poses(folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Of our npz files' training trials: ``quat`` (N, 21, 4), pelvis (N, 4), and how often each is drawn (N,), so that
    every kind of pose comes as often, however many frames of it there are.
    """
    generator = torch.Generator().manual_seed(0)
    body: list[Tensor] = []
    root: list[Tensor] = []
    weight: list[Tensor] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as data:
            if "local_rotvec" not in data:
                continue
            ok = data["ok"] if "ok" in data else np.ones(len(data["local_rotvec"]), bool)
            pelvis = rot.rotvec_to_quat(torch.from_numpy(data["local_rotvec"][ok][:, 0].astype(np.float32)))
        poses = read_ours(path)
        keep = torch.tensor([i for i, g in enumerate(poses.group) if split_of(g) == "train"], dtype=torch.long)
        if len(keep):
            some = poses.take(keep)
            body.append(fill_unknown(some, generator))
            root.append(pelvis[keep])
            weight.append(some.weight)
    if not body:
        raise DataError(f"'{folder.name}' holds no npz files with 'local_rotvec'.")
    quat, pelvis = torch.cat(body), torch.cat(root)
    spread = density_weights(rot.quat_to_matrot(torch.cat([pelvis[:, None], quat], 1)), 1200, 0)
    return quat, pelvis, spread * torch.cat(weight)


def mocap(data: Path, count: int, seed: int) -> list[Tensor]:
    """(22, 3, 3) each: every kind of pose alike, half of them with limbs exchanged or turned."""
    quat, root, weight = read_poses(data)
    g = torch.Generator().manual_seed(seed)
    drawn = 2 * count + 10  # some limbs will lie inside others
    pick = torch.multinomial(weight, drawn, replacement=True, generator=g)
    body, pelvis = quat[pick], root[pick]
    changed = torch.rand(drawn, generator=g) < 0.45
    body = torch.where(changed[:, None, None], recombine(body, g), body)
    body = add_noise(body, torch.rand(drawn, 1, 1, generator=g) * 0.2, g)
    flip = torch.rand(drawn, generator=g) < 0.5
    body = torch.where(flip[:, None, None], mirror(body), body)
    pelvis = torch.where(flip[:, None], rot.mirror_quat(pelvis), pelvis)
    any_way = torch.nn.functional.normalize(torch.randn(drawn, 4, generator=g), dim=1)
    pelvis = torch.where((torch.rand(drawn, generator=g) < _TUMBLED)[:, None], any_way, pelvis)
    matrot = rot.quat_to_matrot(torch.cat([pelvis[:, None], limits.clamp(body)], 1))
    return list(matrot[scenes.apart(matrot)][:count])


def free_entries() -> list[Entry]:
    """Entries of the lexicon that neither the benchmark nor the development pictures hold."""
    judged = scenes.names_of(scenes.BENCHMARK) | scenes.names_of(scenes.DEVELOPMENT)
    return [e for e in entries() if e.name not in judged]


def named(count: int, seed: int) -> list[Tensor]:
    """(22, 3, 3) each: of the lexicon's free entries."""
    free = free_entries()
    g = np.random.default_rng(seed)
    picked = [free[int(i)] for i in g.permutation(len(free))[:count]]
    made: list[Tensor] = []
    for at in range(0, len(picked), 20):
        some = [e.versions[int(g.integers(len(e.versions)))] for e in picked[at : at + 20]]
        made += list(solve(some, tries=1, seed=seed + at).matrot)
    return made


def make(data: Path, folder: Path, bodies: int, seed: int) -> list[dict[str, Any]]:
    """Bodies into ``folder``; the plan of their pictures, four of each."""
    some = named(round(_NAMED * bodies), seed)
    made = [(m, "named", "") for m in some] + [(m, "mocap", "") for m in mocap(data, bodies - len(some), seed)]
    folder.mkdir(parents=True, exist_ok=True)
    g = np.random.default_rng(seed)
    made = [made[int(i)] for i in g.permutation(len(made))]
    said = scenes.write_bodies(folder, made, g)
    scenes.write(folder / "bodies.json", said)
    with np.load(folder / "bodies.npz") as written:
        plan = scenes.pictures(written["joints"], written["vertices"][:, ::23], seed)
    for entry in plan:
        entry["looks"] = [said[at]["look"] for at in (entry["body"], (entry["other"] or entry)["body"])]
    return plan


# -- a picture -------------------------------------------------------------------------------------------------------
def _linear(colour: str) -> np.ndarray:
    return (np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255) ** 2.2


def _noise(points: np.ndarray, g: np.random.Generator, fine: float) -> np.ndarray:
    """(...,) about -1..1: a few waves through space."""
    waves = g.normal(0, fine, (3, 6))
    return np.sin(points @ waves + g.uniform(0, 6, 6)).mean(-1) * 1.7


def _pattern(kind: str, points: np.ndarray, scale: float, g: np.random.Generator) -> np.ndarray:
    """(N,) 0 or 1 (or between) at points (N, 3)."""
    if kind == "stripes":
        return (np.sin(points[:, 1] * 40 * scale) > 0).astype(float)
    if kind in ("checks", "bricks"):
        return (np.floor(points * 8 * scale).sum(1) % 2 > 0).astype(float)
    if kind in ("spots", "cells"):
        return (np.linalg.norm(points * 10 * scale % 1 - 0.5, axis=1) < 0.36).astype(float)
    if kind == "noise":
        return (_noise(points, g, 6 * scale) * 0.8 + 0.5).clip(0, 1)
    return np.zeros(len(points))


class _Sketch:
    """A picture in the making: linear colours (h * w, 3), and what its pixels see."""

    def __init__(self, camera: Camera, entry: dict[str, Any], g: np.random.Generator) -> None:
        self.camera, self.entry, self.g = camera, entry, g
        light = entry["light"]
        around = camera.heading() + light["around"]
        self.sun = np.array([math.sin(around), math.tan(light["height"]), math.cos(around)])
        self.sun /= np.linalg.norm(self.sun)
        self.strength = 0.35 * light["sun"]
        self.sky = np.array(light["sky"]) * g.uniform(0.35, 0.9)
        self.shadow: tuple[np.ndarray, np.ndarray, np.ndarray, float] | None = None
        pixels = np.stack(np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5), -1)
        ray = np.concatenate([
            (pixels - [camera.width / 2, camera.height / 2]) * [1, -1] / camera.focal_px,
            -np.ones((*pixels.shape[:2], 1)),
        ], -1).reshape(-1, 3)  # fmt: skip
        self.ray = ray @ camera.rotation.T
        self.colour = np.zeros((len(ray), 3))
        self.depth = np.full(len(ray), 30.0)
        self.normal = np.zeros((len(ray), 3))

    def cast_shadow(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """The sun's own view of what stands there."""
        side = np.cross([0.0, 1.0, 0.0], self.sun)
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(self.sun, side), self.sun], 1)
        own = vertices @ axes
        low, high = own.min(0), own.max(0)
        scale = (_SHADOW - 4) / (high - low)[:2].max()
        flat = (own[:, :2] - low[:2]) * scale * [1, -1] + [2, _SHADOW - 2]
        drawn = rasterise(flat, high[2] - own[:, 2] + 1, faces, _SHADOW, _SHADOW)
        depth = np.full(_SHADOW * _SHADOW, -np.inf)
        depth[drawn.pixel] = high[2] + 1 - drawn.depth
        self.shadow = (depth, axes, low, float(scale))

    def lit(self, points: np.ndarray) -> np.ndarray:
        """(N,) 1 in the sun, 0 in the shade."""
        if self.shadow is None:
            return np.ones(len(points))
        depth, axes, low, scale = self.shadow
        own = points @ axes
        x, y = (own[:, 0] - low[0]) * scale + 2, _SHADOW - 2 - (own[:, 1] - low[1]) * scale
        inside = (x >= 0) & (x < _SHADOW) & (y >= 0) & (y < _SHADOW)
        at = y.clip(0, _SHADOW - 1).astype(int) * _SHADOW + x.clip(0, _SHADOW - 1).astype(int)
        return 1.0 - (inside & (depth[at] > own[:, 2] + _BIAS))

    def shaded(self, points: np.ndarray, normal: np.ndarray, paint: np.ndarray) -> np.ndarray:
        toward = (normal @ self.sun).clip(0, 1) * self.lit(points)
        return paint * (self.sky * (0.65 + 0.35 * normal[:, 1:2]) + self.strength * toward[:, None])

    def surroundings(self) -> None:
        """Floor, wall and sky."""
        drop, g, here = self.entry["backdrop"], self.g, self.camera.location
        if drop is None or drop["busy"] is False:
            grey = np.array(drop["wall"] if drop else [1.0, 1.0, 1.0]) ** 2.2
            self.colour[:] = grey * g.uniform(0.6, 1.1)
            shade = drop["floor_shade"] if drop else 1.0
            drop = {"floor": (grey**0.4545 * shade).tolist(), "floor2": [0, 0, 0], "floor_pattern": "plain", "scale": 1}
        else:
            ahead = -self.camera.rotation[:, 2] * [1, 0, 1]
            ahead /= np.linalg.norm(ahead) + 1e-9
            away = drop["wall_behind"] + float(-here @ ahead) + 1.2
            forward = self.ray @ ahead
            at = here + self.ray * (away / np.maximum(forward, 1e-3))[:, None]
            mix = _pattern(drop["wall_pattern"], at, 0.15 * drop["scale"], g)[:, None]
            wall = np.array(drop["wall"]) ** 2.2 * (1 - mix) + np.array(drop["wall2"]) ** 2.2 * mix
            wall = wall * (0.8 + 0.25 * _noise(at, g, 1.0))[:, None]
            self.colour[:] = wall.clip(0) * (self.sky + 0.3 * self.strength * abs(float(ahead @ self.sun)))
        down = self.ray[:, 1] < -1e-3
        t = -here[1] / np.minimum(self.ray[:, 1], -1e-3)
        floor = down & (t < (30 if not drop.get("things") else drop["wall_behind"] + 8))
        at = here + self.ray[floor] * t[floor, None]
        mix = _pattern(drop["floor_pattern"], at * [1, 0, 1], 0.4 * drop["scale"], g)[:, None]
        paint = np.array(drop["floor"]) ** 2.2 * (1 - mix) + np.array(drop["floor2"]) ** 2.2 * mix
        self.colour[floor] = self.shaded(at, np.tile([0.0, 1.0, 0.0], (len(at), 1)), paint)
        self._things(drop.get("things", []))

    def _things(self, things: list[dict[str, Any]]) -> None:
        """What stands about behind: rounded or square blots of colour."""
        w, h = self.camera.width, self.camera.height
        y, x = np.divmod(np.arange(w * h), w)
        for item in things:
            cx, size = (item["across"] + 1) / 2 * w, 0.25 * w * np.array(item["size"][:2]) / (1 + item["behind"] / 2)
            base = h * self.g.uniform(0.35, 0.95)
            dx, dy = (x - cx) / size[0], (y - base + size[1]) / size[1]
            hit = (dx**2 + dy**2 < 1) if item["kind"] == "ball" else (np.abs(dx) < 1) & (np.abs(dy) < 1)
            round_shade = np.sqrt((1 - dx[hit] ** 2).clip(0.1, 1)) if item["kind"] != "box" else 0.9
            self.colour[hit] = (np.array(item["colour"]) ** 2.2 * self.sky) * np.reshape(round_shade, (-1, 1)) * 1.4

    def body(self, v: np.ndarray, rest: np.ndarray, faces: np.ndarray, material: np.ndarray, look: dict) -> None:
        p = self.camera.seen(v)
        drawn = rasterise(self.camera.project(v), -p[:, 2], faces, self.camera.width, self.camera.height)
        if not len(drawn.pixel):
            return
        normal = drawn.of(normals(v, faces), faces)
        at, own = drawn.of(v, faces), drawn.of(rest, faces)
        kind = material[drawn.face]
        paint = np.stack([_linear(look["colours"][m]) for m in MATERIALS])[kind]
        for name in ("shirt", "trousers"):
            cloth = kind == MATERIALS.index(name)
            mix = _pattern(look["pattern"].get(name, "plain"), own[cloth], 1.3, self.g)[:, None]
            paint[cloth] = paint[cloth] * (1 - mix) + _linear(look["colours"]["belt"]) * mix
            fold = _noise(own[cloth], self.g, 22.0) * self.g.uniform(0, 0.35)
            normal[cloth] += fold[:, None] * self.g.normal(0, 1, 3)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        self._keep(drawn, self.shaded(at, normal, paint), normal)

    def box(self, prop: dict[str, Any]) -> None:
        c, s = math.cos(prop["turn"]), math.sin(prop["turn"])
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(prop["size"]) / 2
        v = corners @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + prop["at"]
        sides = np.array([(0, 1, 3, 2), (6, 7, 5, 4), (4, 5, 1, 0), (2, 3, 7, 6), (6, 4, 0, 2), (3, 1, 5, 7)])
        faces = np.concatenate([sides[:, [0, 1, 2]], sides[:, [0, 2, 3]]])
        own = self.camera.seen(v)
        drawn = rasterise(self.camera.project(v), -own[:, 2], faces, self.camera.width, self.camera.height)
        if not len(drawn.pixel):
            return
        a, b, c3 = (v[faces[:, k]] for k in range(3))
        normal = np.cross(b - a, c3 - a)
        normal = (normal / np.linalg.norm(normal, axis=1, keepdims=True))[drawn.face]
        at = drawn.of(v, faces)
        mix = _pattern(prop["pattern"], at, 0.6, self.g)[:, None]
        paint = np.array(prop["colour"]) ** 2.2 * (1 - mix) + 0.75 * mix
        self._keep(drawn, self.shaded(at, normal, paint), normal)

    def _keep(self, drawn: Drawn, colour: np.ndarray, normal: np.ndarray) -> None:
        near = drawn.depth < self.depth[drawn.pixel]
        at = drawn.pixel[near]
        self.depth[at], self.colour[at], self.normal[at] = drawn.depth[near], colour[near], normal[near]

    def image(self) -> Image.Image:
        shape = (self.camera.height, self.camera.width)
        colour = self.colour * self.g.uniform(0.7, 1.25) * self.g.normal(1, 0.04, 3)
        srgb = (colour.clip(0, 1) ** 0.4545).reshape(*shape, 3)
        if self.g.random() < _LINES or self.entry["stratum"] == "line art":
            srgb = self._drawing(srgb)
        image = Image.fromarray((255 * srgb).clip(0, 255).astype(np.uint8))
        image = image.filter(ImageFilter.GaussianBlur(float(self.g.uniform(0.2, 1.1))))
        grain = self.g.normal(0, self.g.uniform(0, 7), (*shape, 3))
        image = Image.fromarray((np.asarray(image, float) + grain).clip(0, 255).astype(np.uint8))
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=int(self.g.integers(55, 96)))
        return Image.open(packed).convert("RGB")

    def _drawing(self, srgb: np.ndarray) -> np.ndarray:
        """Lines where depth, normal or colour jump, on paper or over flat colours."""
        depth, normal = self.depth.reshape(srgb.shape[:2]), self.normal.reshape(srgb.shape)
        line = np.zeros(depth.shape, bool)
        for axis in (0, 1):
            step = np.abs(np.diff(depth, axis=axis, append=depth.take([-1], axis)))
            bend = np.abs(np.diff(normal, axis=axis, append=normal.take([-1], axis))).max(-1)
            jump = np.abs(np.diff(srgb, axis=axis, append=srgb.take([-1], axis))).max(-1)
            line |= (step > 0.05) | (bend > 0.45) | (jump > 0.16)
        there = (depth < 29.0)[..., None]
        paper = {0: np.ones_like(srgb), 1: np.where(there, srgb, 1.0), 2: np.full_like(srgb, 0.96)}
        kind = int(self.g.integers(3))
        return np.where(line[..., None], self.g.uniform(0.03, 0.35), paper[kind])


def sketch(entry: dict[str, Any], bodies: dict[str, np.ndarray], g: np.random.Generator) -> Image.Image:
    """The picture: who is seen and what stands before her. ``entry["looks"]``: hers and the other's."""
    camera = Camera.from_json(entry["camera"])
    made = _Sketch(camera, entry, g)
    shown = [(bodies["vertices"][entry["body"]].astype(float), entry["body"])]
    if entry["other"]:
        other = entry["other"]["body"]
        shown.append((scenes.placed(bodies["vertices"][other].astype(float), entry["other"]), other))
    faces = bodies["faces"]
    together = np.concatenate([faces + k * len(shown[0][0]) for k in range(len(shown))])
    made.cast_shadow(np.concatenate([v for v, _ in shown]), together)
    made.surroundings()
    for (v, body), clothes in zip(shown, entry["looks"], strict=False):
        made.body(v, bodies["uv_rest"], faces, bodies["material"][body], clothes)
    if entry["prop"]:
        made.box(entry["prop"])
    return made.image()


def seen(entry: dict[str, Any], image: Image.Image, joints: np.ndarray, g: np.random.Generator) -> Landmarks | None:
    """What BlazePose sees of the person in a square like its detector's."""
    camera = Camera.from_json(entry["camera"])
    at = camera.project(joints[:22])
    hips = at[[INDEX["left_hip"], INDEX["right_hip"]]].mean(0)
    up = at[INDEX["neck"]] - hips
    reach = np.linalg.norm(at - hips, axis=1).max() * g.uniform(1.0, 1.3)
    off = g.normal(0, 0.06, 2) * reach
    turn = math.atan2(up[0], -up[1]) + g.normal(0, 0.12)
    return look(Pyramid(image), Square(float(hips[0] + off[0]), float(hips[1] + off[1]), 2.5 * reach, turn))
