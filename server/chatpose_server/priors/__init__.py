"""Priors of natural poses: VPoser and Pose-NDF, and what an artist does with them. Knows no HTTP and no words.

    prior = load_prior(path)                     # published VPoser V1, V2, Pose-NDF; or our safetensors
    prior = embedded_prior("vposer" | "posendf")  # our own weights

    tasks.sample(count, seed=0, near=None, spread=0.5, prior=None, progress=...)      -> list[Pose]
    tasks.project(poses, strength=1.0, prior=None, progress=...)                      -> Projected(poses, before, after)
    tasks.interpolate(keys=[tasks.Key(frame, pose)], frames=None, prior=None, ...)    -> list[Pose]
    tasks.denoise(poses, fps=30.0, strength=0.5, prior=None, progress=...)            -> list[Pose]
    tasks.complete(pose, keep, count=1, seed=0, prior=None, progress=...)             -> list[Pose]
    tasks.ik(pose, targets={joint: (x, y, z)}, pins=(), prior=None, progress=...)     -> Solved(poses, residuals)

All arguments are keywords. ``prior``: "vposer", "posendf", "both", a loaded prior, or None: the task's best. Errors:
``CheckpointError`` (files) and ``tasks.PriorTaskError`` (requests), both ValueErrors written for the artist.
"""

from . import tasks
from .base import PRIOR_JOINTS, Prior, Pull
from .checkpoints import EMBEDDED, convert_prior, embedded_prior, load_prior
from .posendf import PoseNDF
from .torchfile import CheckpointError
from .vposer import VPoser

__all__ = [
    "EMBEDDED", "PRIOR_JOINTS", "CheckpointError", "PoseNDF", "Prior", "Pull", "VPoser", "convert_prior",
    "embedded_prior", "load_prior", "tasks",
]  # fmt: skip
