"""Trains what lifts landmarks: ``chatpose-server train vision_lifter --data FOLDER --observed FILE --out FOLDER``.

Poses of the training trials, with one limb exchanged or slightly turned, on bodies of other proportions, before cameras
by chance; what BlazePose would see of them is the true landmarks with errors it really made. The errors come limb by
limb from pictures whose truth is known (``--observed``, made by ``benchmarks/pictures/observed.py`` from rendered
development pictures) in which that limb lay much alike, so that what it cannot see (depth, hidden limbs, backs) goes
wrong in the way it goes wrong there. In a third of the views some landmarks are put right, as an artist does.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from .. import rotations as rot
from ..skeleton import INDEX
from ..vision import fit
from ..vision.blazepose import AT, MIRROR, NAMES
from ..vision.camera import DEFAULT_FOCAL
from ..vision.lift import INPUTS, SIX, Lifter, View, features, numbers
from .priors_data import DataError, PoseSet, add_noise, fill_unknown, mirror, read_ours, recombine, split_of
from .priors_run import DATA_NOTICES, command_line, revision, write_card

_BODY: Final = len(NAMES)
_PARTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("left_shoulder", ("left_elbow", "left_wrist", "left_pinky", "left_index", "left_thumb")),
    ("right_shoulder", ("right_elbow", "right_wrist", "right_pinky", "right_index", "right_thumb")),
    ("left_hip", ("left_knee", "left_ankle", "left_heel", "left_foot_index")),
    ("right_hip", ("right_knee", "right_ankle", "right_heel", "right_foot_index")),
)
"""What errs together: limbs, by the landmark they hang on. All other landmarks are the trunk's part."""
_TRUNK: Final = tuple(n for n in NAMES if not any(n in members for _, members in _PARTS))
_DRAGGABLE: Final = ("nose", *(f"{s}_{n}" for n in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
                               for s in ("left", "right")))  # fmt: skip
_AT_ONCE: Final = 2000
_FINE: Final = 0.005  # metres: errors below all count as about this
_RAYLEIGH, _NORMAL = 0.058, -0.635  # means of the logarithms of errors whose sigma is 1, in a plane and along a line
_FLIP: Final = torch.tensor([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Settings:
    """What a training run is made of; all of it goes into the card."""

    views: int = 60_000
    waves: int = 2000
    length: float = 0.9  # of a wave's direction: how fast it turns across the inputs
    ridge: float = 1e-3
    alike: int = 20  # an error is that of one of so many observed limbs that lay most alike
    dragged: float = 0.35  # share of views in which landmarks were put right
    thrown: float = 0.12  # share of bodies that lie or tumble any way
    heavy: float = 0.25  # share of views from far above or below
    seed: int = 0


# -- what was observed -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Observed:
    """Errors of N pictures and their mirror images, in the axes of a camera that looks at the hips, metres.

    ``true`` (N, 33, 3) around the hips; ``flat`` (N, 33, 2) error across; ``space`` (N, 33, 3) error of the landmarks
    in space beside ``scale`` (N,) times the true ones; ``trust`` (N, 33).
    """

    true: Tensor
    flat: Tensor
    space: Tensor
    scale: Tensor
    trust: Tensor


def view_axes(hips: Tensor, focal: Tensor) -> Tensor:
    """(B, 3, 3): columns are the axes of a camera that looks at pixels ``hips`` (B, 2) from the middle, y down."""
    forward = torch.stack([hips[:, 0] / focal, -hips[:, 1] / focal, -torch.ones_like(focal)], 1)
    back = -forward / forward.norm(dim=1, keepdim=True)
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]).expand_as(back), back)
    right = right / right.norm(dim=1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(back, right), back], 2)


def tangents(pixels: Tensor, focal: Tensor, axes: Tensor) -> Tensor:
    """(B, K, 2) pixels from the middle, y down -> tangents of angles right and up in those axes."""
    ray = torch.cat([pixels * torch.tensor([1.0, -1.0]) / focal[:, None, None], -torch.ones(*pixels.shape[:2], 1)], 2)
    turned = ray @ axes
    return turned[..., :2] / -turned[..., 2:].clamp(max=-0.1)


def read_observed(path: Path) -> Observed:
    """From ``benchmarks/pictures/observed.py``'s npz. Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            d = {k: torch.from_numpy(data[k]).float() for k in data.files}
    except (OSError, ValueError) as error:
        raise DataError(
            f"'{path.name}' is no file of observed landmarks: make one with pictures/observed.py."
        ) from error
    joints, places = fit.sites()
    marks = d["joints"][:, joints] + (d["turn"][:, joints] @ places[..., None]).squeeze(-1)
    marks = marks[:, :_BODY]
    depth = -marks[..., 2:].clamp(max=-0.1)
    pixels = marks[..., :2] * torch.tensor([1.0, -1.0]) / depth * d["focal"][:, None, None]
    seen = d["pixels"] - d["size"][:, None] / 2
    axes = view_axes(pixels[:, 23:25].mean(1), d["focal"])
    hips = marks[:, 23:25].mean(1, keepdim=True)
    true = (marks - hips) @ axes
    far = (hips * axes[:, None, :, 2]).sum(-1, keepdim=True).abs()
    flat = (tangents(seen, d["focal"], axes) - tangents(pixels, d["focal"], axes)) * (far - true[..., 2:])
    scale = (d["world"] * true).sum((1, 2)) / (true * true).sum((1, 2))
    scale = scale.clamp(0.6, 1.5)
    inside = ((seen.abs() - d["size"][:, None] / 2) / (0.01 * d["size"].amax(1))[:, None, None]).amax(-1)
    trust = (d["visibility"] * (1 - inside.clamp(0, 1))).clamp(min=fit.UNSEEN)
    one = Observed(true, flat, d["world"] - scale[:, None, None] * true, scale, trust)
    at = list(MIRROR)
    return Observed(
        torch.cat([true, true[:, at] * _FLIP]), torch.cat([flat, flat[:, at] * _FLIP[:2]]),
        torch.cat([one.space, one.space[:, at] * _FLIP]), scale.repeat(2), torch.cat([trust, trust[:, at]]),
    )  # fmt: skip


# -- views by chance ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Views:
    """``x`` (N, inputs) what the network takes; the truth in the axes of the view: ``matrot`` (N, 22, 3, 3) and
    ``places`` (N, 33, 3), around the hips, of a body of our size if not of our proportions.
    """

    x: Tensor
    matrot: Tensor
    places: Tensor

    def __getitem__(self, rows: Tensor) -> Views:
        return Views(self.x[rows], self.matrot[rows], self.places[rows])


def read_poses(folder: Path, which: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of our npz files' poses of a split: ``quat`` (N, 21, 4), pelvis (N, 4) and how often each should be drawn."""
    generator = torch.Generator().manual_seed(seed)
    body: list[Tensor] = []
    root: list[Tensor] = []
    weight: list[Tensor] = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as data:
            if "local_rotvec" not in data:
                continue
            ok = data["ok"] if "ok" in data else np.ones(len(data["local_rotvec"]), bool)
            pelvis = rot.rotvec_to_quat(torch.from_numpy(data["local_rotvec"][ok][:, 0].astype(np.float32)))
        poses: PoseSet = read_ours(path)
        keep = torch.tensor([i for i, g in enumerate(poses.group) if split_of(g) == which], dtype=torch.long)
        if not len(keep):
            continue
        some = poses.take(keep)
        body.append(fill_unknown(some, generator))
        root.append(pelvis[keep])
        weight.append(some.weight)
    if not body:
        raise DataError(f"'{folder.name}' holds no npz files with 'local_rotvec'.")
    return torch.cat(body), torch.cat(root), torch.cat(weight)


def spread_out(quat: Tensor, root: Tensor, seed: int, clusters: int = 1200) -> Tensor:
    """(N,) weights by which every kind of pose is drawn as often, however many frames of it there are."""
    from .pose_data import density_weights

    return density_weights(rot.quat_to_matrot(torch.cat([root[:, None], quat], 1)), clusters, seed)


def _uniform(count: int, low: float, high: float, g: torch.Generator) -> Tensor:
    return torch.rand(count, generator=g) * (high - low) + low


def _about(axis: int, angle: Tensor) -> Tensor:
    vec = torch.zeros(len(angle), 3)
    vec[:, axis] = angle
    return rot.rotvec_to_quat(vec)


def views(quat: Tensor, root: Tensor, weight: Tensor, seen: Observed, settings: Settings, g: torch.Generator) -> Views:
    """A batch of poses drawn by ``weight``, each before a camera by chance."""
    count = _AT_ONCE
    pick = torch.multinomial(weight, count, replacement=True, generator=g)
    body, pelvis = quat[pick], root[pick]
    changed = torch.rand(count, generator=g) < 0.4
    body = torch.where(changed[:, None, None], recombine(body, g), body)
    body = add_noise(body, torch.rand(count, 1, 1, generator=g) * 0.12, g)
    flip = torch.rand(count, generator=g) < 0.5
    body = torch.where(flip[:, None, None], mirror(body), body)
    pelvis = torch.where(flip[:, None], rot.mirror_quat(pelvis), pelvis)
    thrown = torch.nn.functional.normalize(torch.randn(count, 4, generator=g), dim=1)
    pelvis = torch.where((torch.rand(count, generator=g) < settings.thrown)[:, None], thrown, pelvis)
    steep = torch.rand(count, generator=g) < settings.heavy
    pitch = torch.where(steep, _uniform(count, -65, 50, g), _uniform(count, -32, 32, g)).deg2rad()
    around = rot.quat_multiply(_about(0, pitch), _about(1, _uniform(count, -math.pi, math.pi, g)))
    turn = rot.quat_multiply(_about(2, (torch.randn(count, generator=g) * 4).deg2rad()), around)
    full = torch.cat([rot.quat_multiply(turn, pelvis)[:, None], body], 1)
    lengths = torch.randn(count, 4, generator=g) * 0.07
    state = fit.kinematics(full, lengths)
    size = torch.exp(torch.randn(count, 1, 1, generator=g) * 0.08)
    marks, joints = state.points[:, :_BODY] * size, state.joints * size
    # the camera: a lens, a distance at which the body fills the picture, and where in the picture it stands
    half = torch.exp(_uniform(count, math.log(math.tan(math.radians(10))), math.log(math.tan(math.radians(43))), g))
    reach = (marks.amax(1) - marks.amin(1))[:, :2].amax(1) / 2
    far = reach / (half * _uniform(count, 0.6, 1.0, g)) + marks[..., 2].amax(1)
    off = torch.stack([_uniform(count, -0.4, 0.4, g), _uniform(count, -0.4, 0.4, g)], 1) * (half * far)[:, None]
    middle = (marks.amax(1) + marks.amin(1))[:, :2] / 2
    place = torch.cat([0.6 * off - middle, -far[:, None]], 1)[:, None]
    focal = 0.5 / half  # of a picture whose longer side is 1
    own = marks + place
    pixels = own[..., :2] * torch.tensor([1.0, -1.0]) / -own[..., 2:].clamp(max=-0.1) * focal[:, None, None]
    axes = view_axes(pixels[:, 23:25].mean(1), focal)
    true = (marks - marks[:, 23:25].mean(1, keepdim=True)) @ axes
    flat, space, trust = _erring(true, seen, settings, g)
    depth = -(own[..., 2:]).clamp(max=-0.1)
    error = torch.cat([flat, torch.zeros(count, _BODY, 1)], 2) @ axes.transpose(1, 2)
    seen_px = pixels + error[..., :2] * torch.tensor([1.0, -1.0]) / depth * focal[:, None, None]
    centres = joints + place
    firm, seen_px, space = _dragged(seen_px, pixels, centres, focal, flat, space, settings, g)
    trust = torch.where(firm > 0, torch.ones_like(trust), trust)
    # the lens is known at times, else guessed; the fit does the same
    guessed = torch.where(torch.rand(count, generator=g) < 0.2, focal, torch.full_like(focal, DEFAULT_FOCAL))
    axes = view_axes(seen_px[:, 23:25].mean(1), guessed)
    x = numbers(View(tangents(seen_px, guessed, axes), space, trust, firm))
    matrot = rot.quat_to_matrot(full)
    matrot[:, 0] = axes.transpose(1, 2) @ matrot[:, 0]
    return Views(x, matrot, ((marks - marks[:, 23:25].mean(1, keepdim=True)) / size) @ axes)


def _erring(true: Tensor, seen: Observed, settings: Settings, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """What is seen of landmarks (B, 33, 3): error across (B, 33, 2), places in space (B, 33, 3), trust (B, 33)."""
    count = len(true)
    flat, space, trust = torch.zeros(count, _BODY, 2), torch.zeros(count, _BODY, 3), torch.zeros(count, _BODY)
    core = [AT[n] for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "nose")]
    parts: list[tuple[list[int], list[int]]] = [(core, [AT[n] for n in _TRUNK])]
    parts += [([AT[root], *(AT[n] for n in names[:2])], [AT[n] for n in names]) for root, names in _PARTS]
    frame = (true[:, core] / 0.5, seen.true[:, core] / 0.5)
    trunk = torch.zeros(count, dtype=torch.long)
    for k, (by, members) in enumerate(parts):
        here, there = (t[:, by[1:]] - t[:, by[:1]] for t in (true, seen.true))
        a = torch.cat([here.flatten(1), 0.35 * (k > 0) * frame[0].flatten(1)], 1)
        b = torch.cat([there.flatten(1), 0.35 * (k > 0) * frame[1].flatten(1)], 1)
        near = torch.cdist(a, b).topk(min(settings.alike, len(b)), largest=False).indices
        chosen = near.gather(1, torch.randint(near.shape[1], (count, 1), generator=g))[:, 0]
        if k == 0:
            trunk = chosen
        size = _uniform(count, 0.7, 1.25, g)[:, None, None]
        flat[:, members] = seen.flat[chosen][:, members] * size
        space[:, members] = seen.space[chosen][:, members] * size
        trust[:, members] = seen.trust[chosen][:, members]
    flat = flat + torch.randn(count, _BODY, 2, generator=g) * 0.006
    space = space + torch.randn(count, _BODY, 3, generator=g) * 0.012
    scale = seen.scale[trunk] * torch.exp(torch.randn(count, generator=g) * 0.03)
    return flat, scale[:, None, None] * true + space, trust


def _dragged(
    pixels: Tensor, true: Tensor, centres: Tensor, focal: Tensor, flat: Tensor, space: Tensor, settings: Settings,
    g: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Some landmarks put on the middle of their joints, mostly those that were furthest off, and what hangs on them
    along: (B, 33) 1 where so, pixels, places in space.
    """
    count = len(pixels)
    at = torch.tensor([AT[n] for n in _DRAGGABLE])
    off = flat[:, at].norm(dim=2) * torch.exp(torch.randn(count, len(at), generator=g) * 0.5)
    rank = off.argsort(1, descending=True).argsort(1)
    many = torch.randint(1, 5, (count, 1), generator=g) * (torch.rand(count, 1, generator=g) < settings.dragged)
    firm = torch.zeros(count, _BODY)
    firm[:, at] = (rank < many).float()
    own = centres[..., :2] * torch.tensor([1.0, -1.0]) / -centres[..., 2:].clamp(max=-0.1) * focal[:, None, None]
    wanted = true.clone()
    for name in _DRAGGABLE[1:]:
        wanted[:, AT[name]] = own[:, INDEX[name]]
    by = (wanted - pixels) * firm[..., None]
    for name in _DRAGGABLE:
        side, _, part = name.partition("_")
        for follower in fit.FOLLOWERS.get(part, ()):
            by[:, AT[f"{side}_{follower}"]] += by[:, AT[name]]
    metre = (-centres[:, :1, 2:]).clamp(min=0.1) / focal[:, None, None]
    space = space.clone()
    space[..., :2] += by * torch.tensor([1.0, -1.0]) * metre
    return firm, pixels + by, space


# -- training ----------------------------------------------------------------------------------------------------------
def train(poses: tuple[Tensor, Tensor, Tensor], seen: Observed, settings: Settings) -> Lifter:
    """Least squares twice: for the answer, then for the logarithm of what the answer leaves."""
    g = torch.Generator().manual_seed(settings.seed)
    made = [views(*poses, seen, settings, g) for _ in range(settings.views // _AT_ONCE)]
    some = torch.cat([m.x for m in made[:10]])
    mean, spread = some.mean(0), some.std(0).clamp(min=1e-3)
    waves = torch.randn(INPUTS, settings.waves, generator=g) * settings.length / math.sqrt(INPUTS)
    phase = torch.rand(settings.waves, generator=g) * 2 * math.pi
    size = INPUTS + settings.waves + 1
    square, to_answer = torch.zeros(size, size), torch.zeros(size, SIX + 3 * _BODY)

    def of(batch: Views) -> Tensor:
        return features(((batch.x - mean) / spread).clamp(-5, 5), waves, phase)

    for batch in made:
        h = of(batch)
        square.addmm_(h.T, h)
        to_answer.addmm_(h.T, _wanted(batch))
    square.diagonal().add_(settings.ridge * settings.views)
    root = torch.linalg.cholesky(square)
    answer = torch.cholesky_solve(to_answer, root)
    to_error = torch.zeros(size, 2 * _BODY)
    for batch in made:
        h = of(batch)
        away = (h @ answer - _wanted(batch))[:, SIX:].unflatten(1, (_BODY, 3))
        across, deep = away[..., :2].norm(dim=-1), away[..., 2].abs()
        log = torch.stack([(across + _FINE).log() - _RAYLEIGH, (deep + _FINE).log() - _NORMAL], -1)
        to_error.addmm_(h.T, log.flatten(1))
    return Lifter(mean, spread, waves, phase, answer, torch.cholesky_solve(to_error, root))


def _wanted(views: Views) -> Tensor:
    """(B, OUTPUTS): rotations as ``rot6d_rows``, then places."""
    return torch.cat([rot.matrot_to_rot6d_rows(views.matrot).flatten(1), views.places.flatten(1)], 1)


def check(model: Lifter, poses: tuple[Tensor, Tensor, Tensor], seen: Observed, settings: Settings) -> dict[str, float]:
    """On views of poses and of errors that were not trained on: millimetres and degrees."""
    g = torch.Generator().manual_seed(settings.seed + 1)
    made = views(*poses, seen, settings, g)
    h = model.features(made.x)
    six, at = (h @ model.answer).split([SIX, 3 * _BODY], 1)
    sigma = (h @ model.error).exp().unflatten(1, (_BODY, 2))
    away = (at.unflatten(1, (_BODY, 3)) - made.places).abs()
    turns = rot.geodesic_angle(rot.rot6d_rows_to_matrot(six.unflatten(1, (-1, 6))), made.matrot).rad2deg()
    return {
        "places_mm": round(1000 * float(away.norm(dim=-1).mean()), 1),
        "depth_mm": round(1000 * float(away[..., 2].mean()), 1),
        "sigma_depth_mm": round(1000 * float(sigma[..., 1].mean()), 1),
        "pelvis_deg": round(float(turns[:, 0].mean()), 1), "joints_deg": round(float(turns[:, 1:].mean()), 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The command. 2 for a mistake in the data, in one line."""
    parser = argparse.ArgumentParser(
        prog="chatpose-server train vision_lifter", description="Train what lifts landmarks."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of poses in our layout")
    parser.add_argument("--observed", type=Path, required=True, help="npz made by benchmarks/pictures/observed.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=Settings.views)
    parser.add_argument("--waves", type=int, default=Settings.waves)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    settings = Settings(views=args.views, waves=args.waves, seed=args.seed)
    started = time.process_time()
    try:
        seen = read_observed(args.observed)
        train_poses, test_poses = (weighted(args.data, which, args.seed) for which in ("train", "test"))
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    model = train(train_poses, seen, settings)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "lifter.safetensors"
    save_file({f.name: getattr(model, f.name).half().contiguous() for f in fields(model)}, path)
    write_card(path.with_suffix(".json"), {
        "name": "chatpose-lifter", "command": f"{_command(args)} --observed FILE",
        "settings": asdict(settings), "revision": revision(), "cpu_seconds": round(time.process_time() - started),
        "parameters": sum(getattr(model, f.name).numel() for f in fields(model)),
        "poses": {"train": len(train_poses[0]), "test": len(test_poses[0])}, "pictures": len(seen.true) // 2,
        "test": check(model, test_poses, seen, settings), "data": list(DATA_NOTICES),
    })  # fmt: skip
    return 0


def _command(args: argparse.Namespace) -> str:
    shown = argparse.Namespace(**{k: v for k, v in vars(args).items() if k != "observed"})
    return command_line("vision_lifter", shown)


def weighted(folder: Path, which: str, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Poses of a split (``read_poses``) and how often each should be drawn, every kind of pose alike."""
    quat, root, weight = read_poses(folder, which, seed)
    spread = spread_out(quat, root, seed) * weight
    return quat, root, spread / spread.sum()


if __name__ == "__main__":
    raise SystemExit(main())
