"""Poses to train priors on: reading, splitting, filling in what a source cannot know, widening. Knows no network.

Two layouts are read. *AMASS*: ``DATASET/SUBJECT/*.npz`` with ``poses`` (N, >= 66); as VPoser and Pose-NDF did, frames
in the middle 80 % of a sequence are kept, three in ten of them, at random. *Ours*: one npz a source with
``local_rotvec`` (N, 22, 3), ``joint_names``, ``clip``, ``ok``. Sets are split by subject and trial, never by frame:
neighbouring frames are nearly the same pose, and a frame-wise split measures memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from .. import rotations as rot
from ..priors.base import PRIOR_JOINTS
from ..skeleton import BODY_JOINTS, mirror_name

J: Final = {name: i for i, name in enumerate(PRIOR_JOINTS)}
_ZERO_RAD: Final = np.radians(0.1)  # a joint that never turns further than this was not measured
_ZERO_SHARE: Final = 0.2  # a joint that is exactly at rest in this share of a file's frames: its rest means nothing
_AMASS_MIDDLE: Final = (0.1, 0.9)
_AMASS_SHARE: Final = 0.3
TEST_PERCENT: Final = 15
VALID_PERCENT: Final = 7
UNSEEN_SUBJECTS: Final = frozenset({"14", "55", "135"})  # CMU subjects of whom nothing is trained on

Split = Literal["train", "valid", "test", "unseen"]


class DataError(ValueError):
    """Training data that cannot be used. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class PoseSet:
    """``quat`` (N, 21, 4) unit, w >= 0; ``known`` (N, 21): False where the source cannot know the joint; ``group``: the
    subject and trial (or source and clip) of each pose, ``weight`` (N,): how often it should be drawn.
    """

    quat: Tensor
    known: Tensor
    group: tuple[str, ...]
    weight: Tensor

    def __len__(self) -> int:
        return len(self.group)

    def take(self, index: Tensor) -> PoseSet:
        """The poses at ``index`` (n,)."""
        return PoseSet(
            self.quat[index], self.known[index], tuple(self.group[i] for i in index.tolist()), self.weight[index]
        )

    def split(self, which: Split) -> PoseSet:
        """The part of the set that ``split_of`` puts into ``which``."""
        return self.take(torch.tensor([i for i, g in enumerate(self.group) if split_of(g) == which], dtype=torch.long))


def split_of(group: str) -> Split:
    """Where a subject and trial belongs. By a checksum, so that it is the same everywhere and for ever."""
    subject = group.partition("_")[0]
    if subject in UNSEEN_SUBJECTS:
        return "unseen"
    percent = zlib.crc32(group.encode()) % 100
    return "test" if percent < TEST_PERCENT else "valid" if percent < TEST_PERCENT + VALID_PERCENT else "train"


# -- reading ---------------------------------------------------------------------------------------------------------
def read_sources(folder: str | Path, seed: int = 0) -> PoseSet:
    """All poses of a folder in our layout or AMASS's. Raises DataError where there is none."""
    folder = Path(folder)
    ours = sorted(p for p in folder.glob("*.npz") if _has_key(p, "local_rotvec"))
    sets = [read_ours(p) for p in ours] or list(read_amass(folder, seed=seed))
    if not sets:
        raise DataError(
            f"'{folder.name}' holds no poses: neither npz files with 'local_rotvec' nor AMASS's DATASET/SUBJECT/*.npz."
        )
    return concatenate(sets)


def concatenate(sets: Sequence[PoseSet]) -> PoseSet:
    """One set of several."""
    return PoseSet(
        torch.cat([s.quat for s in sets]), torch.cat([s.known for s in sets]),
        tuple(g for s in sets for g in s.group), torch.cat([s.weight for s in sets]),
    )  # fmt: skip


def read_ours(path: Path) -> PoseSet:
    """One npz of our layout."""
    with np.load(path, allow_pickle=False) as data:
        names = [str(n) for n in data["joint_names"]]
        if names != list(BODY_JOINTS):
            raise DataError(f"'{path.name}' has other joints than SMPL's 22.")
        ok = data["ok"] if "ok" in data else np.ones(len(data["local_rotvec"]), bool)
        rotvec = data["local_rotvec"][ok][:, 1:].astype(np.float32)
        clip = [str(c) for c in data["clip"][ok]]
    return _make(rotvec, [_group(path.stem, c) for c in clip], 0.3 if "kaykit" in path.stem else 1.0)


def read_amass(folder: Path, datasets: Sequence[str] | None = None, seed: int = 0) -> Iterable[PoseSet]:
    """Every sequence of an AMASS-layout folder, thinned as the published programs thin it."""
    rng = np.random.default_rng(seed)
    for path in sorted(folder.glob("*/*/*.npz")):
        if datasets is not None and path.parts[-3] not in datasets:
            continue
        with np.load(path, allow_pickle=False) as data:
            if "poses" not in data:  # shape.npz and the like
                continue
            poses = data["poses"]
        first, last = (int(len(poses) * share) for share in _AMASS_MIDDLE)
        keep = first + np.sort(rng.permutation(last - first)[: int((last - first) * _AMASS_SHARE)])
        rotvec = poses[keep, 3:66].astype(np.float32).reshape(-1, 21, 3)
        if len(rotvec):
            quat = rot.quat_canonical(rot.rotvec_to_quat(torch.from_numpy(rotvec)))
            group = f"{path.parts[-2]}_{path.stem}"
            known = torch.ones(quat.shape[:2], dtype=torch.bool)  # AMASS is solved on the whole SMPL body
            yield PoseSet(quat, known, (group,) * len(quat), torch.ones(len(quat)))


def _make(rotvec: np.ndarray, group: list[str], weight: float) -> PoseSet:
    angle = np.linalg.norm(rotvec, axis=-1)
    zero = angle < _ZERO_RAD
    known = ~(zero & (zero.mean(0) >= _ZERO_SHARE))
    known &= rotvec.std(0).max(-1) > _ZERO_RAD  # a constant says as little as a zero
    quat = rot.quat_canonical(rot.rotvec_to_quat(torch.from_numpy(rotvec)))
    return PoseSet(quat, torch.from_numpy(known), tuple(group), torch.full((len(quat),), weight))


def _group(stem: str, clip: str) -> str:
    """CMU's subject_trial where the clip is named so (several files hold the same trials), else source and clip."""
    if re.fullmatch(r"\d\d+_\d\d+", clip):
        return clip
    return f"{stem}/{clip.removesuffix(' RM')}"


def _has_key(path: Path, key: str) -> bool:
    with np.load(path, allow_pickle=False) as data:
        return key in data


# -- widening --------------------------------------------------------------------------------------------------------
_MIRROR: Final = [J[mirror_name(n)] for n in PRIOR_JOINTS]


def mirror(quat: Tensor) -> Tensor:
    """Poses (..., 21, 4) in a mirror."""
    return rot.mirror_quat(quat)[..., _MIRROR, :]


def mirrored(poses: PoseSet) -> PoseSet:
    """The set and its mirror image."""
    twin = PoseSet(mirror(poses.quat), poses.known[:, _MIRROR], poses.group, poses.weight)
    return concatenate([poses, twin])


def fill_unknown(poses: PoseSet, generator: torch.Generator) -> Tensor:
    """(N, 21, 4): joints that a source cannot know are lent by poses that do know them and are alike around it.

    Collars and the middle of the spine share a turn with their neighbour (the shoulder; the other two thirds of the
    spine): there the neighbour gives back what the lent joint takes, so that arms and chest point where they did.
    """
    quat = poses.quat.clone()
    spine = ("spine1", "spine2", "spine3")
    todo = ~poses.known[:, J["spine2"]]
    if todo.any():
        total = rot.quat_multiply(rot.quat_multiply(quat[:, J["spine1"]], quat[:, J["spine2"]]), quat[:, J["spine3"]])
        turn = rot.quat_to_rotvec(total)
        share = torch.rand(len(quat), 2, generator=generator) * 0.25 + 0.2
        lower, middle = (rot.rotvec_to_quat(turn * share[:, k : k + 1]) for k in range(2))
        upper = rot.quat_multiply(rot.quat_conjugate(rot.quat_multiply(lower, middle)), total)
        for name, value in zip(spine, (lower, middle, upper), strict=True):
            quat[todo, J[name]] = value[todo]
    for side in ("left", "right"):
        collar, shoulder = J[f"{side}_collar"], J[f"{side}_shoulder"]
        total = rot.quat_multiply(quat[:, collar], quat[:, shoulder])
        lent = _lend(rot.quat_to_matrot(total).flatten(1), quat[:, collar], poses.known[:, collar], generator)
        todo = ~poses.known[:, collar]
        quat[todo, collar] = lent[todo]
        quat[todo, shoulder] = rot.quat_multiply(rot.quat_conjugate(lent), total)[todo]
        for joint, near in ((f"{side}_foot", ("hip", "knee", "ankle")), (f"{side}_wrist", ("shoulder", "elbow"))):
            feature = quat[:, [J[f"{side}_{n}"] for n in near]].flatten(1)
            todo = ~poses.known[:, J[joint]]
            quat[todo, J[joint]] = _lend(feature, quat[:, J[joint]], poses.known[:, J[joint]], generator)[todo]
    return rot.quat_canonical(quat)


def _lend(feature: Tensor, value: Tensor, known: Tensor, generator: torch.Generator) -> Tensor:
    """For every pose the joint of one of the eight most alike poses that know it, (N, 4); itself where none does."""
    donors = known.nonzero().squeeze(1)
    if len(donors) < 64:  # too few to lend from without teaching those few poses by heart
        return value
    donors = donors[torch.randperm(len(donors), generator=generator)[:2000]]
    out = torch.empty_like(value)
    for part in torch.arange(len(value)).split(4096):
        near = torch.cdist(feature[part], feature[donors]).topk(8, largest=False).indices
        pick = torch.randint(8, (len(part), 1), generator=generator)
        out[part] = value[donors[near.gather(1, pick).squeeze(1)]]
    return out


LIMBS: Final[tuple[tuple[int, ...], ...]] = tuple(
    tuple(J[f"{side}_{n}"] for n in names)
    for names in (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle", "foot"))
    for side in ("left", "right")
)


def recombine(quat: Tensor, generator: torch.Generator, among: int = 64) -> Tensor:
    """Poses (N, 21, 4) with one limb each taken from another pose whose trunk, neck and other limbs are alike.

    The lender is the most alike of ``among`` drawn at random: near enough to fit, different enough to be new.
    """
    count = len(quat)
    limb = torch.randint(len(LIMBS), (count,), generator=generator)
    drawn = torch.randint(count, (count, among), generator=generator)
    out = quat.clone()
    for k, joints in enumerate(LIMBS):
        rows = (limb == k).nonzero().squeeze(1)
        rest = [j for j in range(21) if j not in joints]
        alike = (quat[rows][:, None, rest] * quat[drawn[rows]][:, :, rest]).sum(-1).abs().sum(-1)
        lender = drawn[rows].gather(1, alike.argmax(1, keepdim=True)).squeeze(1)
        out[rows[:, None], torch.tensor(joints)[None]] = quat[lender][:, list(joints)]
    return out


# -- corrupting ------------------------------------------------------------------------------------------------------
def add_noise(quat: Tensor, angle_rad: Tensor | float, generator: torch.Generator) -> Tensor:
    """Every joint turned about a random axis by a normal angle of this deviation (broadcasts to (N, 21, 1))."""
    axis = torch.nn.functional.normalize(torch.randn(*quat.shape[:-1], 3, generator=generator), dim=-1)
    angle = torch.randn(*quat.shape[:-1], 1, generator=generator) * angle_rad
    return rot.quat_canonical(rot.quat_multiply(quat, rot.rotvec_to_quat(axis * angle)))


def geodesic_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angle between unit quaternions (..., 4), degrees (...)."""
    return torch.rad2deg(rot.quat_to_rotvec(rot.quat_multiply(rot.quat_conjugate(a), b)).norm(dim=-1))
