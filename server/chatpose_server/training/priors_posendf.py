"""Trains Pose-NDF: ``python -m chatpose_server.training.priors_posendf --data FOLDER --out FOLDER``.

Two recipes. ``published`` is Pose-NDF's: noise of five sizes, labels by k nearest neighbours in the quaternion
distance, L1 on distances, on clean poses, and an eikonal term. ``chatpose`` (the default) trains our own family: the
label is the root mean square joint angle to the nearest natural pose, and besides the distance the *step* is trained,
``-21 d grad d`` must lead to that pose: the eikonal term with a direction. Neighbours are found with faiss.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import rotations as rot
from ..faults import ChatPoseError
from ..priors.posendf import JOINT_COUNT, PoseNDF, rotation_gradient
from .priors_data import (
    J,
    PoseSet,
    add_noise,
    fill_unknown,
    geodesic_deg,
    mirror,
    mirrored,
    recombine,
)  # fmt: skip
from .priors_run import Run, options, run_command

try:
    import faiss
except ModuleNotFoundError as error:
    raise ChatPoseError(
        "not_available",
        "Training Pose-NDF needs the package faiss, which finds the nearest real poses.",
        hint="Install it with: pip install 'chatpose-server[train]'.",
    ) from error

PUBLISHED_NOISE: Final = (0.01, 0.05, 0.1, 0.25, 0.5)
PUBLISHED_CANDIDATES: Final = 500
PUBLISHED_NEIGHBOURS: Final = 5
_OWN_CANDIDATES: Final = 48  # candidates by chord, of which the nearest by angle is taken
_STEP_RAMP: Final = 800  # steps until the direction counts in full: before, pointing nowhere would be cheapest
_BONE_GAIN: Final = 3.0
_RELATIVE_FLOOR: Final = 0.06  # radians: errors are judged relative to the distance, but not below this


# -- data ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Labelled:
    """``quat`` (N, 21, 4) queries, ``target`` (N, 21, 4) their nearest natural poses, ``distance`` (N,)."""

    quat: Tensor
    target: Tensor
    distance: Tensor


def rms_angle(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square over joints of the angle between (..., 21, 4) unit quaternions, radians."""
    cos = (a * b).sum(-1).abs().clamp(max=1.0)
    return (2 * torch.acos(cos)).square().mean(-1).sqrt()


def quaternion_distance(a: Tensor, b: Tensor) -> Tensor:
    """The published programs' metric: mean over joints of 1 - |<q, q'>|."""
    return (1 - (a * b).sum(-1).abs()).mean(-1)


def published_pairs(natural: Tensor, count: int, generator: torch.Generator) -> Labelled:
    """Pose-NDF's own training pairs: positive uniform noise of five sizes, mean distance of the 5 nearest of 500."""
    origin = natural[torch.randint(len(natural), (count,), generator=generator)]
    size = torch.tensor(PUBLISHED_NOISE)[torch.randint(5, (count, 1, 1), generator=generator)]
    quat = rot.quat_canonical(F.normalize(origin + size * torch.rand(count, 21, 4, generator=generator), dim=-1))
    near = _neighbours(natural, quat, min(PUBLISHED_CANDIDATES, len(natural)))
    out, targets = [], []
    for part in torch.arange(count).split(512):
        d = quaternion_distance(quat[part, None], natural[near[part]])
        best = d.topk(min(PUBLISHED_NEIGHBOURS, d.shape[1]), largest=False)
        out.append(best.values.mean(1))
        targets.append(natural[near[part].gather(1, best.indices[:, :1]).squeeze(1)])
    return Labelled(quat, torch.cat(targets), torch.cat(out))


def hard_pairs(natural: Tensor, count: int, generator: torch.Generator) -> Labelled:
    """Poses that are wrong in ways small noise is not, each with its true nearest natural pose.

    A third is noise of 25-90 degrees on all joints, a third 20-120 degrees on one to five joints, a third broken
    anatomy: joints bent the wrong way, left and right limbs swapped, joints shuffled between poses.
    """
    origin = natural[torch.randint(len(natural), (count,), generator=generator)]
    other = natural[torch.randint(len(natural), (count,), generator=generator)]
    third = count // 3

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    big = add_noise(origin[:third], torch.deg2rad(25 + 65 * rand(third, 1, 1)), generator)
    few_joints = rand(third, 21).argsort(1).argsort(1) < torch.randint(1, 6, (third, 1), generator=generator)
    sigma = torch.deg2rad(20 + 100 * rand(third, 1, 1)) * few_joints[..., None]
    few = add_noise(origin[third : 2 * third], sigma, generator)
    broken = origin[2 * third :].clone()
    n = len(broken)
    for rows, joint in zip(torch.arange(n // 2).split(n // 8 + 1), ("elbow", "knee", "elbow", "knee"), strict=False):
        for side in ("left", "right"):
            j = J[f"{side}_{joint}"]
            hit = rows[rand(len(rows)) < 0.7]
            turn = rot.quat_to_rotvec(broken[hit, j])
            bend = F.normalize(turn + 1e-6, dim=-1) * torch.deg2rad(10 + 80 * rand(len(hit), 1))
            broken[hit, j] = rot.rotvec_to_quat(-bend)
    swap = torch.arange(n // 2, 3 * n // 4)
    broken[swap] = torch.where(rand(len(swap), 21, 1) < 0.5, mirror(broken[swap]), broken[swap])
    mix = torch.arange(3 * n // 4, n)
    chosen = other[2 * third :][mix]
    broken[mix] = torch.where(rand(len(mix), 21, 1) < 0.35, chosen, broken[mix])
    quat = rot.quat_canonical(torch.cat([big, few, broken]))
    near = _neighbours(natural, quat, _OWN_CANDIDATES)
    targets, distances = [], []
    for part in torch.arange(len(quat)).split(4096):
        with_origin = torch.cat([natural[near[part]], origin[part, None]], 1)
        d = rms_angle(quat[part, None], with_origin)
        best = d.argmin(1)
        targets.append(with_origin[torch.arange(len(part)), best])
        distances.append(d.amin(1))
    return Labelled(quat, torch.cat(targets), torch.cat(distances))


def _neighbours(natural: Tensor, quat: Tensor, count: int) -> Tensor:
    """(N, count) indices of the nearest natural poses by the chord of w >= 0 quaternions."""
    index = faiss.IndexFlatL2(JOINT_COUNT * 4)
    index.add(np.ascontiguousarray(natural.flatten(1).numpy()))
    found = [index.search(np.ascontiguousarray(p.flatten(1).numpy()), count)[1] for p in quat.split(8192)]
    return torch.from_numpy(np.concatenate(found))


def natural_poses(poses: PoseSet, generator: torch.Generator, recombined: float = 0.3) -> Tensor:
    """(N, 21, 4): what counts as natural. The data as it is, with unknown joints lent, mirrored, and recombined."""
    both = mirrored(poses)
    lent = fill_unknown(both, generator)
    whole = torch.cat([both.quat, lent])
    pick = torch.randperm(len(whole), generator=generator)[: int(len(whole) * recombined)]
    if not len(pick):
        return whole
    return torch.cat([whole, recombine(whole[pick], generator)])


def distinct(natural: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """At most ``size`` poses of coarsely distinct shape, chosen at random: walking is half of most data."""
    cells = (natural.flatten(1) * 6).round().to(torch.int8).numpy()
    _, first = np.unique(cells, axis=0, return_index=True)
    chosen = torch.from_numpy(first)[torch.randperm(len(first), generator=generator)]
    return natural[chosen[:size]]


# -- losses ----------------------------------------------------------------------------------------------------------
def own_loss(model: PoseNDF, quat: Tensor, target: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Relative errors of the distance and of the step, each averaged over the batch."""
    q = quat.clone().requires_grad_()
    d = model.distance(q)
    (gradient,) = torch.autograd.grad(d.sum(), q, create_graph=True)
    step = -JOINT_COUNT * d[:, None, None] * rotation_gradient(quat, gradient)
    wanted = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(quat), target))
    scale = distance + _RELATIVE_FLOOR
    step_error = (step - wanted).square().sum(-1).mean(-1) / scale.square()
    return ((d - distance).abs() / scale).mean(), step_error.mean()


def published_loss(
    model: PoseNDF, noisy: Labelled, clean: Tensor, weights: tuple[float, float, float]
) -> tuple[Tensor, dict[str, float]]:
    """w_d L1(d, label) + w_m mean |d(clean)| + w_e mean over joints of (|grad| - 1)^2."""
    q = noisy.quat.clone().requires_grad_()
    d = model.distance(q)
    dist = (d - noisy.distance).abs().mean()
    man = model.distance(clean).abs().mean()
    eik = d.new_zeros(())
    if weights[2]:
        (gradient,) = torch.autograd.grad(d.sum(), q, create_graph=True)
        eik = (gradient.norm(dim=-1) - 1).square().mean()
    loss = weights[0] * dist + weights[1] * man + weights[2] * eik
    return loss, {"dist": dist.item(), "man": man.item(), "eikonal": eik.item()}


def initialise(model: PoseNDF, generator: torch.Generator) -> None:
    """Uniform weights whose size keeps a signal's variance: quaternions near (1, 0, 0, 0) are a weak one."""
    with torch.no_grad():
        for p in (model.bone_weight1, model.bone_bias1, model.bone_weight2, model.bone_bias2):
            fan = p.shape[-1] if p.dim() == 3 else 10
            gain = _BONE_GAIN if p.dim() == 3 else 1.0
            p.copy_((torch.rand(p.shape, generator=generator) * 2 - 1) * gain / fan**0.5)
        for layer in model.layers:
            if isinstance(layer, nn.Linear):
                bound = (6.0 / layer.in_features) ** 0.5
                layer.weight.copy_((torch.rand(layer.weight.shape, generator=generator) * 2 - 1) * bound)
                layer.bias.zero_()
        model.layers[-1].bias.fill_(0.3)  # type: ignore[union-attr]  # begin as a middling distance: softplus dies at 0


# -- the loop --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Settings:
    """What a run is made of; all of it goes into the card."""

    recipe: str = "chatpose"
    steps: int = 7000
    batch: int = 300
    lr: float = 2e-3
    weight_decay: float = 0.0
    seed: int = 0
    sizes: tuple[int, ...] = (256, 256, 256, 64)
    beta: float = 8.0  # a bend soft enough that the gradient turns smoothly; the published 100 is nearly a corner
    hard: int = 36_000
    manifold: int = 60_000


def train(poses: PoseSet, folder: Path, settings: Settings, save_every: int = 500) -> PoseNDF:
    """Trains or goes on training in ``folder``; returns the averaged weights' model."""
    generator = torch.Generator().manual_seed(settings.seed)
    own = settings.recipe == "chatpose"
    model = PoseNDF(
        "chatpose-posendf" if own else "posendf-version2", sizes=settings.sizes, beta=settings.beta if own else 100.0
    )
    initialise(model, generator)
    natural = natural_poses(poses.split("train"), generator, 0.3 if own else 0.0)
    valid = mirrored(poses.split("valid")).quat
    run = Run(
        model, folder, lr=settings.lr, weight_decay=settings.weight_decay, steps=settings.steps, seed=settings.seed
    )
    manifold = distinct(natural, settings.manifold, generator)
    if own:
        hard = hard_pairs(manifold, settings.hard, generator)
        common = torch.cat([manifold, manifold, natural])  # distinct poses count for more than one more step of a walk
        _own_loop(run, model, common, hard, valid, settings=settings, save_every=save_every)
    else:
        pairs = published_pairs(natural, settings.hard, generator)

        def take() -> tuple[Tensor, dict[str, float]]:
            pick = torch.randint(len(pairs.quat), (settings.batch,), generator=run.generator)
            clean = natural[torch.randint(len(natural), (settings.batch,), generator=run.generator)]
            batch = Labelled(pairs.quat[pick], pairs.target[pick], pairs.distance[pick])
            return published_loss(model, batch, clean, (0.5, 0.1, 0.0))

        run.go(take, dict, save_every)
    model.load_state_dict(run.average)
    return model


def _own_loop(
    run: Run, model: PoseNDF, natural: Tensor, hard: Labelled, valid: Tensor, *, settings: Settings, save_every: int
) -> None:
    third = settings.batch // 3
    check = torch.Generator().manual_seed(1)
    checks = {deg: add_noise(valid, float(np.radians(deg)), check) for deg in (10, 20)}

    def take() -> tuple[Tensor, dict[str, float]]:
        g = run.generator
        clean = natural[torch.randint(len(natural), (settings.batch - third,), generator=g)]
        # a fifth stays clean; the others get noise of 1.5 to 40 degrees, evenly in its logarithm
        sigma = torch.deg2rad(1.5 * (40 / 1.5) ** torch.rand(len(clean), 1, 1, generator=g))
        uneven = 0.5 + torch.rand(len(clean), 21, 1, generator=g)
        sigma = sigma * uneven * (torch.rand(len(clean), 1, 1, generator=g) > 0.2)
        noisy = add_noise(clean, sigma, g)
        pick = torch.randint(len(hard.quat), (third,), generator=g)
        quat = torch.cat([noisy, hard.quat[pick]])
        target = torch.cat([clean, hard.target[pick]])
        label = torch.cat([rms_angle(noisy, clean), hard.distance[pick]])
        dist, step = own_loss(model, quat, target, label)
        return dist + step * min(1.0, run.step / _STEP_RAMP), {"distance": dist.item(), "step": step.item()}

    run.go(take, lambda: _validate(run, model, valid, checks), save_every)


def _validate(run: Run, model: PoseNDF, valid: Tensor, checks: dict[int, Tensor]) -> dict[str, float]:
    """Reduction of the geodesic error by one projection, and how far it moves clean poses, with averaged weights."""
    twin = PoseNDF(model.family, sizes=model.sizes, activation=model.activation, beta=model.beta)
    twin.load_state_dict(run.average)
    out: dict[str, float] = {"moved_clean_deg": geodesic_deg(twin.project(valid), valid).mean().item()}
    clean = twin.distance(valid).detach()
    for deg, noisy in checks.items():
        before, after = geodesic_deg(noisy, valid).mean(), geodesic_deg(twin.project(noisy), valid).mean()
        out[f"denoise_{deg}"] = (1 - after / before).item()
        out[f"auc_{deg}"] = auc(clean, twin.distance(noisy).detach())
    return out


def auc(natural: Tensor, wrong: Tensor) -> float:
    """How often a wrong pose scores higher than a natural one, (N,) and (M,) scores."""
    scores = torch.cat([natural, wrong])
    rank = scores.argsort().argsort().double() + 1
    n, m = len(natural), len(wrong)
    return ((rank[n:].sum() - m * (m + 1) / 2) / (n * m)).item()


def save_weights(model: PoseNDF, path: Path) -> None:
    """The published layout as safetensors, the settings in its header."""
    header = {
        "family": model.family, "activation": model.activation, "encoder_activation": model.encoder_activation,
        "beta": str(model.beta),
    }  # fmt: skip
    save_file(model.published_state(), path, header)


def main(argv: list[str] | None = None) -> int:
    """The command. Exit status 2 with one line on standard error for a mistake in the data."""
    parser = options("posendf", "Train Pose-NDF on your own poses.", steps=Settings.steps, batch=Settings.batch)
    args = parser.parse_args(argv)
    settings = Settings(recipe=args.recipe, steps=args.steps, batch=args.batch, seed=args.seed)
    return run_command("posendf", args, vars(settings), lambda poses: train(poses, args.out, settings), save_weights)


if __name__ == "__main__":
    sys.exit(main())
