"""Trains VPoser: ``python -m chatpose_server.training.priors_vposer --data FOLDER --out FOLDER``.

Losses are V02_05's: 0.005 KL (sum over the code, mean over the batch), 4 times L1 on the body's vertices, and while the
network is young 2 times the geodesic angle and 2 times L1 on joints. The ``chatpose`` recipe (the default) differs so:
the rotation losses stay, KL weighs less, some inputs are noisy and must come back clean, joints that a source cannot
know count little, and at the end the code is whitened: the mean and covariance of all codes are folded into the last
encoder and first decoder layers, so that a standard normal code is a likely pose.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from .. import rotations as rot
from ..body.model import BodyModel, default_body
from ..priors.checkpoints import vposer_state
from ..priors.vposer import VPoser
from .priors_data import PoseSet, add_noise, fill_unknown, geodesic_deg, mirrored, recombine
from .priors_run import Run, options, run_command

_VERTEX_WEIGHT: Final = 4.0
_ROTATION_WEIGHT: Final = 2.0
_JOINT_WEIGHT: Final = 2.0
_LENT_WEIGHT: Final = 0.2  # of a joint that the source could not know


@dataclass(frozen=True)
class Settings:
    """What a run is made of; all of it goes into the card."""

    recipe: str = "chatpose"
    steps: int = 9000
    batch: int = 192
    lr: float = 1.5e-3
    weight_decay: float = 1e-5
    seed: int = 0
    hidden: int = 256
    latent: int = 32
    kl: float = 0.0015  # V02_05: 0.005
    vertices: int = 160  # of the body, drawn once; all of them say little more and cost much more
    noisy: float = 0.35  # share of inputs with noise; V02_05: none
    rotation_steps: int | None = None  # the rotation losses end here; V02_05: after 15 epochs


def losses(
    model: VPoser,
    given: Tensor,  # (B, 21, 4), noisy or not
    wanted: Tensor,  # (B, 21, 4)
    known: Tensor,  # (B, 21): 1 where the source could know the joint, else 0
    *,
    body: BodyModel,
    vertices: Tensor,  # (n,) of the body
    settings: Settings,
    with_rotations: bool,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts in units one can read."""
    code = model.encode(rot.quat_to_rotvec(given).flatten(1))
    out = model.decode_matrot(code.rsample())
    target = rot.quat_to_matrot(wanted)
    kl = kl_divergence(code, Normal(torch.zeros_like(code.loc), torch.ones_like(code.scale))).sum(-1).mean()
    eye = torch.eye(3).expand(len(out), 1, 3, 3)
    made, meant = torch.cat([eye, out], 1), torch.cat([eye, target], 1)
    vertex = (body.skin(made, vertices=vertices) - body.skin(meant, vertices=vertices)).abs().mean()
    loss = settings.kl * kl + _VERTEX_WEIGHT * vertex
    weight = known + _LENT_WEIGHT * (1 - known)
    angle = (rot.geodesic_angle(out, target) * weight).sum() / weight.sum()
    if with_rotations:
        joints = (body.forward_kinematics(made).joints - body.forward_kinematics(meant).joints).abs().mean()
        loss = loss + _ROTATION_WEIGHT * angle + _JOINT_WEIGHT * joints
    return loss, {"kl": kl.item(), "vertex_mm": vertex.item() * 1000, "angle_deg": torch.rad2deg(angle).item()}


@torch.no_grad()
def whiten(model: VPoser, quat: Tensor) -> None:
    """Folds mean and covariance of the codes of ``quat`` (N, 21, 4), spread included, into the weights.

    Afterwards the codes of these poses have zero mean and unit covariance: z' = L^-1 (z - m), with the decoder's first
    layer taking L z' + m. The standard deviations are scaled per number, the nearest a diagonal can come.
    """
    code = model.encode(rot.quat_to_rotvec(quat).flatten(1))
    mean = code.mean.mean(0)
    covariance = torch.cov(code.mean.T) + torch.diag((code.stddev**2).mean(0))
    # the symmetric root turns the axes least, so a diagonal spread stays nearly diagonal
    value, vector = torch.linalg.eigh(covariance)
    root = vector @ torch.diag(value.sqrt()) @ vector.T
    inverse = vector @ torch.diag(value.rsqrt()) @ vector.T
    model.enc_mu.weight.copy_(inverse @ model.enc_mu.weight)
    model.enc_mu.bias.copy_(inverse @ (model.enc_mu.bias - mean))
    model.dec_fc1.bias.copy_(model.dec_fc1.bias + model.dec_fc1.weight @ mean)
    model.dec_fc1.weight.copy_(model.dec_fc1.weight @ root)


def train(poses: PoseSet, folder: Path, settings: Settings, save_every: int = 500) -> VPoser:
    """Trains or goes on training in ``folder``; returns the averaged weights' model, whitened in our recipe."""
    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)
    own = settings.recipe == "chatpose"
    model = VPoser(
        family="chatpose-vposer" if own else "vposer-v2", hidden=settings.hidden, latent=settings.latent,
        dropout=0.0 if own else 0.1,
    )  # fmt: skip
    body = default_body()
    vertices = torch.randperm(len(body.v_template), generator=generator)[: settings.vertices]
    both = mirrored(poses.split("train"))
    quat, known, weight = both.quat, both.known.float(), both.weight
    if own:
        lent = fill_unknown(both, generator)
        mixed = recombine(lent, generator)
        quat = torch.cat([quat, lent, mixed[: len(mixed) // 2]])
        known = torch.cat([known, known, known[: len(mixed) // 2]])
        weight = torch.cat([weight, weight, weight[: len(mixed) // 2]])
    valid = mirrored(poses.split("valid")).quat
    run = Run(
        model, folder, lr=settings.lr, weight_decay=settings.weight_decay, steps=settings.steps, seed=settings.seed
    )

    def take() -> tuple[Tensor, dict[str, float]]:
        model.train()
        pick = torch.multinomial(weight, settings.batch, replacement=True, generator=run.generator)
        wanted = quat[pick]
        sigma = torch.deg2rad(2 * (25 / 2) ** torch.rand(settings.batch, 1, 1, generator=run.generator))
        noisy = torch.rand(settings.batch, 1, 1, generator=run.generator) < (settings.noisy if own else 0.0)
        given = add_noise(wanted, sigma * noisy, run.generator)
        with_rotations = settings.rotation_steps is None or run.step < settings.rotation_steps
        return losses(
            model, given, wanted, known[pick], body=body, vertices=vertices, settings=settings,
            with_rotations=with_rotations,
        )  # fmt: skip

    run.go(take, lambda: {"valid_deg": _reconstruction_deg(model, run, valid)}, save_every)
    model.load_state_dict(run.average)
    model.eval()
    if own:
        whiten(model, quat)
    return model


def _reconstruction_deg(model: VPoser, run: Run, valid: Tensor) -> float:
    twin = VPoser(family=model.family, hidden=model.enc_fc1.out_features, latent=model.latent)
    twin.load_state_dict(run.average)
    return geodesic_deg(twin.project(valid), valid).mean().item()


def main(argv: list[str] | None = None) -> int:
    """The command. Exit status 2 with one line on standard error for a mistake in the data."""
    parser = options("vposer", "Train VPoser on your own poses.", steps=Settings.steps, batch=Settings.batch)
    args = parser.parse_args(argv)
    settings = Settings(steps=args.steps, batch=args.batch, seed=args.seed)
    if args.recipe == "published":
        settings = Settings(
            "published", args.steps, 128, 1e-3, seed=args.seed, hidden=512, kl=0.005, vertices=2000, noisy=0.0,
            rotation_steps=args.steps * 15 // 24,
        )  # fmt: skip
    return run_command(
        "vposer",
        args,
        vars(settings),
        lambda poses: train(poses, args.out, settings),
        lambda model, path: save_file(vposer_state(model), path, {"family": model.family}),
    )


if __name__ == "__main__":
    sys.exit(main())
