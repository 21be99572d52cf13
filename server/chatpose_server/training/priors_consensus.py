"""Fits what joins our two priors: ``python -m chatpose_server.training.priors_consensus --data FOLDER --out FOLDER``.

Everything is fitted to the training trials: a mixture of Gaussians to natural poses, the noise's level and the weights
of the opinions to the same poses with known noise, by least squares made robust (mean angle, not mean square). Two
minutes on one core. Needs the two networks as they ship, which are frozen here.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .. import rotations as rot
from ..priors import PoseNDF, VPoser, embedded_prior
from ..priors.base import PRIOR_JOINTS
from ..priors.consensus import LEVELS_DEG, NUMBERS, OPINIONS, Consensus, Tables, blend, rotvecs
from .priors_data import DataError, PoseSet, add_noise, fill_unknown, geodesic_deg, mirror, read_sources
from .priors_run import DATA_NOTICES, command_line, revision, write_card

_SIGNS = 26
_STEPS = 4000  # poses that the networks see at once
_ROUNDS = 4  # of reweighting
_FLOOR = 0.0175  # radians: errors below this all count as one degree's
_RIDGE = 1e-6
_WIDER = 3e-3  # radians squared added to each Gaussian while it is fitted


@dataclass(frozen=True)
class Settings:
    """What a fit is made of; all of it goes into the card."""

    parts: int = 8  # Gaussians of the mixture
    rounds: int = 25  # of expectation and maximisation
    shrink: float = 0.05  # of each Gaussian towards the shape of all poses
    mixture_poses: int = 30_000
    noisy_poses: int = 9_000
    largest_deg: float = 30.0
    clean: float = 0.2  # share of poses that bear no noise
    few: float = 0.15  # share of which only one to five joints do, twice as much
    seed: int = 0


def natural_poses(poses: PoseSet, seed: int) -> Tensor:
    """(N, 21, 4): the set as it is and with unknown joints lent, each with its mirror image."""
    both = torch.cat([poses.quat, fill_unknown(poses, torch.Generator().manual_seed(seed))])
    return torch.cat([both, mirror(both)])


def mixture(numbers: Tensor, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Means (K, 63), covariances (K, 63, 63) and shares (K,) of Gaussians, by expectation and maximisation."""
    count = settings.parts
    whole = torch.cov(numbers.T)
    means = numbers[torch.randperm(len(numbers), generator=generator)[:count]].clone()
    spreads, shares = (0.3 * whole).repeat(count, 1, 1), torch.full((count,), 1 / count)
    wider = _WIDER * torch.eye(NUMBERS)
    for _ in range(settings.rounds):
        root = torch.linalg.cholesky(spreads + wider)
        away = (numbers[None] - means[:, None]).mT  # (K, 63, N)
        square = torch.linalg.solve_triangular(root, away, upper=False).square().sum(1)  # (K, N)
        size = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        belongs = (shares.log()[:, None] - size[:, None] - 0.5 * square).softmax(0)
        total = belongs.sum(1)
        means = (belongs @ numbers) / total[:, None]
        away = numbers[None] - means[:, None]  # (K, N, 63)
        spreads = (away * belongs[..., None]).mT @ away / total[:, None, None]
        spreads = (1 - settings.shrink) * spreads + settings.shrink * whole
        shares = (total / len(numbers)).clamp(min=0.01)
        shares = shares / shares.sum()
    return means, spreads, shares


def with_noise(quat: Tensor, settings: Settings, generator: torch.Generator) -> Tensor:
    """Poses with noise of every size, some with none, some in a few joints only."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    size = torch.deg2rad(settings.largest_deg * rand(len(quat), 1, 1)) * (rand(len(quat), 1, 1) >= settings.clean)
    chosen = rand(len(quat), 21).argsort(1).argsort(1) < torch.randint(1, 6, (len(quat), 1), generator=generator)
    few = rand(len(quat), 1, 1) < settings.few
    return add_noise(quat, torch.where(few, 2 * size * chosen[..., None], size), generator)


def fit(poses: PoseSet, settings: Settings) -> Consensus:
    """The consensus of our own two networks, fitted to the training trials of ``poses``."""
    generator = torch.Generator().manual_seed(settings.seed)
    natural = natural_poses(poses.split("train"), settings.seed)
    order = torch.randperm(len(natural), generator=generator)
    numbers = rotvecs(natural[order[: settings.mixture_poses]])
    _, axes = torch.linalg.eigh(torch.cov(numbers.T))
    means, spreads, shares = mixture(numbers, settings, generator)
    variances, turns = torch.linalg.eigh(spreads)
    tables = Tables(
        mean=numbers.mean(0), axes=axes, means=means, turns=turns, variances=variances.clamp(min=1e-6), shares=shares,
        level=torch.zeros(_SIGNS), weights=torch.zeros(len(PRIOR_JOINTS), len(LEVELS_DEG), OPINIONS),
    )  # fmt: skip
    ndf, vposer = embedded_prior("posendf"), embedded_prior("vposer")
    assert isinstance(ndf, PoseNDF) and isinstance(vposer, VPoser)
    join = Consensus(ndf, vposer, tables)
    clean = natural[order[: settings.noisy_poses]].repeat(2, 1, 1)
    noisy = with_noise(clean, settings, generator)
    off = rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(noisy), clean))  # (N, 21, 3)
    signs = torch.cat([join.signs(part) for part in noisy.split(_STEPS)])
    size = off.square().sum(-1).mean(1).sqrt()
    join = replace(join, tables=replace(tables, level=_solve(signs, size, 1 / (size + 1.5 * _FLOOR))))
    level = torch.cat([join.level(part) for part in noisy.split(_STEPS)])
    opinions = torch.cat([join.opinions(q, n) for q, n in zip(noisy.split(_STEPS), level.split(_STEPS), strict=True)])
    share = blend(level)
    weights = [_joint_weights(opinions[:, j], share, off[:, j]) for j in range(len(PRIOR_JOINTS))]
    return replace(join, tables=replace(join.tables, weights=torch.stack(weights)))


def _joint_weights(opinions: Tensor, share: Tensor, off: Tensor) -> Tensor:
    """(8, 5) weights of opinions (N, 3, 5) by the share (N, 8) of each level, that leave least of ``off`` (N, 3)."""
    terms = (opinions[:, :, None] * share[:, None, :, None]).flatten(2)  # (N, 3, 40)
    counts = torch.ones(len(off))
    weights = torch.zeros(terms.shape[2])
    for _ in range(_ROUNDS):
        weights = _solve(terms.flatten(0, 1), off.flatten(), counts.repeat_interleave(3))
        left = (terms @ weights - off).norm(dim=-1)
        counts = 1 / (left + _FLOOR)
    return weights.view(share.shape[1], opinions.shape[2])


def _solve(rows: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Least squares with a count for each row, in double precision."""
    a, b, w = rows.double(), wanted.double(), counts.double()
    normal = (a * w[:, None]).T @ a + _RIDGE * len(a) * torch.eye(a.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, (a * w[:, None]).T @ b).float()


def measure(join: Consensus, quat: Tensor) -> dict[str, float]:
    """What is left of noise of 10 and 20 degrees, as a share taken away, and how far clean poses are moved."""
    out = {"clean_moves_deg": round(geodesic_deg(join.project(quat), quat).mean().item(), 3)}
    for deg in (10, 20):
        noisy = add_noise(quat, float(torch.deg2rad(torch.tensor(float(deg)))), torch.Generator().manual_seed(deg))
        before, after = (geodesic_deg(q, quat).mean().item() for q in (noisy, join.project(noisy)))
        out[f"less_noise_{deg}"] = round(1 - after / before, 3)
    return out


def main(argv: list[str] | None = None) -> int:
    """The command. Exit status 2 with one line on standard error for a mistake in the data."""
    parser = argparse.ArgumentParser(
        prog="chatpose-server train priors_consensus", description="Fit what joins VPoser and Pose-NDF."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder in AMASS's layout or ours")
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights and their card")
    parser.add_argument("--parts", type=int, default=Settings.parts, help="Gaussians of the mixture")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    settings = Settings(parts=args.parts, seed=args.seed)
    try:
        poses = read_sources(args.data, args.seed)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    started = time.process_time()
    join = fit(poses, settings)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "consensus.safetensors"
    save_file({k: v.contiguous() for k, v in vars(join.tables).items()}, path, {"family": join.family})
    card = {
        "name": join.family, "command": command_line("priors_consensus", args), "settings": settings.__dict__,
        "revision": revision(), "cpu_seconds": round(time.process_time() - started),
        "poses": {w: len(poses.split(w)) for w in ("train", "valid", "test", "unseen")},
        "measured": {w: measure(join, natural_poses(poses.split(w), 1)) for w in ("valid", "unseen")},
        "data": list(DATA_NOTICES),
    }  # fmt: skip
    write_card(path.with_suffix(".json"), card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
