"""Landmarks of one person -> a first whole pose. Knows no pictures, and no geometry but the skeleton's.

Learnt from poses and from how BlazePose errs: it sees the landmarks flat and in space with what they are trusted, and
says where they really are in space (the task of Martinez et al., A simple yet effective baseline for 3D human pose
estimation, 2017), how far off that probably is, and all 22 rotations. Where a landmark was put by hand it is told so.
Ridge regression on random features (Rahimi and Recht 2007), so that it is made in a minute and has one answer.
Made by ``training/vision_lifter.py``.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Final

import torch
from safetensors.torch import load_file
from torch import Tensor

from .. import rotations as rot
from ..skeleton import BODY_JOINTS
from .blazepose import NAMES
from .networks import WEIGHTS

FILE: Final = WEIGHTS / "lifter.safetensors"
_COUNT: Final = len(BODY_JOINTS)
_MARKS: Final = len(NAMES)
INPUTS: Final = _MARKS * 7 + 1
SIX: Final = _COUNT * 6
OUTPUTS: Final = SIX + _MARKS * 3
_LEAST, _MOST = 0.01, 0.6  # metres


@dataclass(frozen=True)
class View:
    """What was seen of B people, each by a camera that looks straight at the middle of her hips.

    ``flat`` (B, 33, 2): tangents of the angles to the right and up. ``space`` (B, 33, 3): metres around the hips, x
    right, y up, z towards the viewer. ``trust`` (B, 33) in 0..1. ``firm`` (B, 33) 1 where a landmark was put by hand.
    """

    flat: Tensor
    space: Tensor
    trust: Tensor
    firm: Tensor

    def __getitem__(self, index: Tensor) -> View:
        return View(self.flat[index], self.space[index], self.trust[index], self.firm[index])


@dataclass(frozen=True)
class Lifted:
    """In the view's axes. ``quat`` (B, 22, 4) local rotations; ``places`` (B, 33, 3) of the landmarks around the hips,
    of a body of our size; ``sigma`` (B, 33, 2) how far off they are, in metres, across and in depth.
    """

    quat: Tensor
    places: Tensor
    sigma: Tensor


def numbers(view: View) -> Tensor:
    """(B, INPUTS): what the network takes. Flat places are given in metres, by the scale at which they fit those in
    space best, and that scale beside them.
    """
    weight = (view.trust + 1e-2)[..., None]
    total = weight.sum(1, keepdim=True)
    middle, mean = ((v * weight).sum(1, keepdim=True) / total for v in (view.space[..., :2], view.flat))
    a, c = view.space[..., :2] - middle, view.flat - mean
    zoom = ((a * c * weight).sum((1, 2)) / (a * a * weight).sum((1, 2)).clamp(min=1e-6)).clamp(min=0.02)
    flat = (c / zoom[:, None, None] + middle).clamp(-3, 3)
    beside = view.space[..., :2] - flat
    parts = torch.cat([flat, view.space[..., 2:], beside, view.trust[..., None], view.firm[..., None]], 2)
    return torch.cat([parts.flatten(1), zoom.log()[:, None]], 1)


@dataclass(frozen=True)
class Lifter:
    """``mean``, ``spread`` (INPUTS,) of the inputs; ``waves`` (INPUTS, D), ``phase`` (D,): random features; ``answer``
    (INPUTS + D + 1, OUTPUTS): from features to 22 x 6 (``rot6d_rows``) and 33 x 3 metres; ``error`` (INPUTS + D + 1,
    66): to the logarithms of the sigmas.
    """

    mean: Tensor
    spread: Tensor
    waves: Tensor
    phase: Tensor
    answer: Tensor
    error: Tensor

    def features(self, x: Tensor) -> Tensor:
        """(B, INPUTS) -> (B, INPUTS + D + 1)."""
        return features(((x - self.mean) / self.spread).clamp(-5, 5), self.waves, self.phase)

    @torch.no_grad()
    def lift(self, view: View) -> Lifted:
        """The poses of B people."""
        seen = self.features(numbers(view))
        six, at = (seen @ self.answer).split([SIX, _MARKS * 3], 1)
        sigma = (seen @ self.error).exp().clamp(_LEAST, _MOST)
        matrot = rot.rot6d_rows_to_matrot(six.unflatten(1, (_COUNT, 6)))
        return Lifted(rot.matrot_to_quat(matrot), at.unflatten(1, (_MARKS, 3)), sigma.unflatten(1, (_MARKS, 2)))


def features(x: Tensor, waves: Tensor, phase: Tensor) -> Tensor:
    """(B, INPUTS), (INPUTS, D), (D,) -> (B, INPUTS + D + 1): the inputs themselves, waves across them, and 1."""
    return torch.cat([x, torch.cos(x @ waves + phase), torch.ones(len(x), 1)], 1)


@functools.cache
def embedded_lifter() -> Lifter:
    """Our own weights, loaded once."""
    state = load_file(FILE)
    return Lifter(**{f.name: state[f.name].float() for f in fields(Lifter)})
