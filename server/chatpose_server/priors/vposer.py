"""VPoser: a variational autoencoder of body poses. One class for V1, V2 and our own weights. Knows no files.

Source: Pavlakos et al., Expressive Body Capture (2019) for V1; the human_body_prior package's V02_05 for V2. Both are
the same network but for two things: V2 has a third linear layer in the encoder, straight after the second, and the
slope of the leaky ReLUs. A pose is 21 joints (SMPL's 1..21, without the pelvis); the decoder's 126 numbers are 21
times a 6D rotation in rows (``rot6d_rows``). ``logvar`` is a misleading name of the original: its softplus is the
standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from .. import rotations as rot
from .base import PRIOR_JOINTS, Pull

JOINT_COUNT: Final = len(PRIOR_JOINTS)
_ROTVEC_INPUTS: Final = JOINT_COUNT * 3

V2_KEYS: Final[Mapping[str, str]] = {
    "enc_norm1": "encoder_net.1", "enc_fc1": "encoder_net.2", "enc_norm2": "encoder_net.4",
    "enc_fc2": "encoder_net.6", "enc_fc3": "encoder_net.7", "enc_mu": "encoder_net.8.mu",
    "enc_logvar": "encoder_net.8.logvar", "dec_fc1": "decoder_net.0", "dec_fc2": "decoder_net.3",
    "dec_out": "decoder_net.5",
}  # fmt: skip
"""Our module -> the key of V2's state dict after ``vp_model.``; our own weights are written in this layout too."""

V1_KEYS: Final[Mapping[str, str]] = {
    "enc_norm1": "bodyprior_enc_bn1", "enc_fc1": "bodyprior_enc_fc1", "enc_norm2": "bodyprior_enc_bn2",
    "enc_fc2": "bodyprior_enc_fc2", "enc_mu": "bodyprior_enc_mu", "enc_logvar": "bodyprior_enc_logvar",
    "dec_fc1": "bodyprior_dec_fc1", "dec_fc2": "bodyprior_dec_fc2", "dec_out": "bodyprior_dec_out",
}  # fmt: skip
"""Our module -> the key of V1's state dict (``TR00_E096.pt``)."""


@dataclass(frozen=True)
class Decoded:
    """Decoded poses: ``rotvec`` (B, 21, 3) axis-angle, ``matrot`` (B, 21, 3, 3)."""

    rotvec: Tensor
    matrot: Tensor


@dataclass(frozen=True)
class Score:
    """How natural poses look to VPoser, smaller is more so. ``latent_sq`` (B,): squared length of the mean code, the
    energy that body fitting adds to its loss. ``reconstruction`` (B,): mean geodesic error of decode(encode), radians.
    """

    latent_sq: Tensor
    reconstruction: Tensor


class VPoser(nn.Module):
    """VPoser V1, V2 or our own. In evaluation mode from the start: the original's outputs are of that mode."""

    def __init__(
        self,
        *,
        family: str = "vposer-v2",
        hidden: int = 512,
        latent: int = 32,
        inputs: int = _ROTVEC_INPUTS,  # 63 axis-angle; some V1 files take 189, rotation matrices
        slope: float = 0.01,  # V1: 0.2
        third_layer: bool = True,  # V1: False
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.family = family
        self.slope, self.latent, self.inputs = slope, latent, inputs
        self.dropout, self.third_layer = dropout, third_layer
        self.enc_norm1 = nn.BatchNorm1d(inputs)
        self.enc_fc1 = nn.Linear(inputs, hidden)
        self.enc_norm2 = nn.BatchNorm1d(hidden)
        self.enc_fc2 = nn.Linear(hidden, hidden)
        if third_layer:
            self.enc_fc3 = nn.Linear(hidden, hidden)
        self.enc_mu = nn.Linear(hidden, latent)
        self.enc_logvar = nn.Linear(hidden, latent)
        self.dec_fc1 = nn.Linear(latent, hidden)
        self.dec_fc2 = nn.Linear(hidden, hidden)
        self.dec_out = nn.Linear(hidden, JOINT_COUNT * 6)
        self.eval()

    # -- the network, exactly as published -----------------------------------------------------------------------
    def encode(self, pose: Tensor) -> Normal:
        """Codes of poses: a Normal over (B, latent) with the original's mean and standard deviation.

        ``pose``: axis-angle (B, 63) or (B, 21, 3) with angles up to pi, taken as given: the network has seen no
        others. A V1 file that was trained on matrices takes (B, 189) or (B, 21, 3, 3).
        """
        x = self.enc_norm1(pose.reshape(pose.shape[0], self.inputs))
        x = F.leaky_relu(self.enc_fc1(x), self.slope)
        x = F.dropout(self.enc_norm2(x), self.dropout, self.training)
        if self.third_layer:
            x = self.enc_fc3(self.enc_fc2(x))  # no activation between or after: as the original
        else:
            x = F.leaky_relu(self.enc_fc2(x), self.slope)
        return Normal(self.enc_mu(x), F.softplus(self.enc_logvar(x)))

    def decode_rot6d(self, code: Tensor) -> Tensor:
        """The decoder's own numbers: codes (B, latent) -> ``rot6d_rows`` (B, 21, 6), not yet orthonormal."""
        x = F.leaky_relu(self.dec_fc1(code), self.slope)
        x = F.dropout(x, self.dropout, self.training)
        x = F.leaky_relu(self.dec_fc2(x), self.slope)
        return self.dec_out(x).unflatten(-1, (JOINT_COUNT, 6))

    def decode_matrot(self, code: Tensor) -> Tensor:
        """Codes (B, latent) -> rotation matrices (B, 21, 3, 3)."""
        return rot.rot6d_rows_to_matrot(self.decode_rot6d(code))

    def decode(self, code: Tensor) -> Decoded:
        """Codes (B, latent) -> poses, as V2's ``decode`` (whose matrices are flattened to nine numbers)."""
        matrot = self.decode_matrot(code)
        return Decoded(rot.matrot_to_rotvec(matrot), matrot)

    def decode_v1(self, code: Tensor, output_type: Literal["matrot", "aa"] = "matrot") -> Tensor:
        """As V1's ``decode``: matrices (B, 1, 21, 9) unless ``'aa'`` (B, 1, 21, 3) is asked for."""
        decoded = self.decode(code)
        return decoded.matrot.flatten(-2)[:, None] if output_type == "matrot" else decoded.rotvec[:, None]

    def sample_v1(self, count: int, seed: int | None = None, output_type: Literal["matrot", "aa"] = "aa") -> Tensor:
        """As V1's ``sample_poses``, which unlike its ``decode`` gives axis-angle (B, 1, 21, 3) by default."""
        with torch.no_grad():
            return self.decode_v1(self.sample_code(count, seed), output_type)

    # -- what one does with it -----------------------------------------------------------------------------------
    def sample_code(self, count: int, seed: int | None = None) -> Tensor:
        """(count, latent) standard normal codes, the same for a seed as the original's: numpy's legacy generator,
        drawn in float64, then cast.
        """
        drawn = np.random.RandomState(seed).normal(size=(count, self.latent))
        return torch.from_numpy(drawn).to(self.dec_fc1.weight.dtype)

    @torch.no_grad()
    def sample(self, count: int, seed: int | None = None) -> Decoded:
        """``count`` random poses."""
        return self.decode(self.sample_code(count, seed))

    @torch.no_grad()
    def interpolate(self, start: Tensor, end: Tensor, steps: int) -> Decoded:
        """Poses along the straight line between the codes of two poses (63 or (21, 3) axis-angle), ends included.

        The ends are the network's reconstructions; ``tasks.interpolate`` is the one that meets its keys exactly.
        """
        a, b = self.encode_rotvec(torch.stack([start.reshape(JOINT_COUNT, 3), end.reshape(JOINT_COUNT, 3)])).mean
        t = torch.linspace(0, 1, steps, dtype=a.dtype)[:, None]
        return self.decode(a + t * (b - a))

    def encode_rotvec(self, rotvec: Tensor) -> Normal:
        """``encode`` from axis-angle (B, 21, 3) whatever the file was trained on."""
        return self.encode(rotvec if self.inputs == _ROTVEC_INPUTS else rot.rotvec_to_matrot(rotvec))

    def reconstruct(self, rotvec: Tensor) -> Tensor:
        """decode(encode(pose).mean): (B, 21, 3) -> matrices (B, 21, 3, 3)."""
        return self.decode_matrot(self.encode_rotvec(rotvec).mean)

    @torch.no_grad()
    def score(self, rotvec: Tensor) -> Score:
        """How natural poses (B, 21, 3) are, axis-angle."""
        mean = self.encode_rotvec(rotvec).mean
        error = rot.geodesic_angle(self.decode_matrot(mean), rot.rotvec_to_matrot(rotvec)).mean(-1)
        return Score((mean * mean).sum(-1), error)

    @torch.no_grad()
    def pull(self, quat: Tensor) -> Pull:
        """Towards the network's reconstruction. ``distance``: its mean geodesic error, radians per joint."""
        natural = rot.matrot_to_quat(self.reconstruct(rot.quat_to_rotvec(quat)))
        cos = (natural * quat).sum(-1).abs().clamp(max=1.0)
        return Pull(natural, (2 * torch.acos(cos)).mean(-1))

    @torch.no_grad()
    def project(self, quat: Tensor, steps: int | None = None) -> Tensor:
        """Encoding and decoding ``steps`` times (1 by default): (B, 21, 4) -> (B, 21, 4)."""
        for _ in range(1 if steps is None else steps):
            quat = self.pull(quat).natural
        return quat
