"""The heads on a language model's hidden state: pose (ChatPose's MLP), posecodes, named poses. Float32; knows no
language model.

ChatPose (CVPR 2024): Linear, ReLU, Linear on the post-norm hidden state at the position that predicts the pose token.
With ``hypotheses`` > 1 the same MLP gives several poses and a logit for each (multiple choice learning, Guzman-Rivera
2012): words rarely name one pose, and the mean of several is none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..rotations import rot6d_columns_to_matrot


@dataclass(frozen=True)
class HeadOutput:
    """``matrot`` (B, K, J, 3, 3) local rotations; ``logits`` (B, K), which hypothesis fits best."""

    matrot: Tensor
    logits: Tensor


class PoseHead(nn.Module):
    """(B, hidden) -> K poses of J joints. The published layout is K = 1, J = 24, without logits.

    ``told`` > 0: it reads so many more numbers, what another head has understood (the chance that each posecode is
    asked). What a statement means for a body can then be learnt from bodies alone, without any words.
    """

    def __init__(self, hidden: int, inner: int, joints: int, hypotheses: int = 1, told: int = 0) -> None:
        super().__init__()
        self.joints, self.hypotheses, self.told = joints, hypotheses, told
        out = hypotheses * joints * 6 + (hypotheses if hypotheses > 1 else 0)
        self.layers = nn.Sequential(nn.Linear(hidden + told, inner), nn.ReLU(), nn.Linear(inner, out))

    def forward(self, state: Tensor, told: Tensor | None = None) -> HeadOutput:
        """``state`` (B, hidden), ``told`` (B, told). Float32 whatever the model's dtype is: Gram-Schmidt in half
        precision costs degrees.
        """
        flat = self.layers(state.float() if told is None else torch.cat([state.float(), told.float()], 1))
        n = self.hypotheses * self.joints * 6
        rot6d = flat[:, :n].unflatten(1, (self.hypotheses, self.joints, 6))
        logits = flat[:, n:] if self.hypotheses > 1 else flat.new_zeros(flat.shape[0], 1)
        return HeadOutput(rot6d_columns_to_matrot(rot6d), logits)

    def start_at(self, rot6d: Tensor) -> None:
        """Sets the last bias so that training begins at these poses, (K, J, 6) columns."""
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()
            last.bias[: rot6d.numel()] = rot6d.flatten()


class ClassHead(nn.Module):
    """(B, hidden) -> (B, N) logits: of the posecodes that the words ask for, or of the named pose that they mean."""

    def __init__(self, hidden: int, inner: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(hidden, inner), nn.ReLU(), nn.Linear(inner, classes))

    def forward(self, state: Tensor) -> Tensor:
        """Logits, float32."""
        return self.layers(state.float())

    def take_rows(self, other: Mapping[str, Tensor], old: Sequence[str], new: Sequence[str]) -> None:
        """Fills this head from another's state, class by class by name; new classes keep their start."""
        at = {name: i for i, name in enumerate(old)}
        first, last = self.layers[0], self.layers[-1]
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        with torch.no_grad():
            first.weight.copy_(other["layers.0.weight"])
            first.bias.copy_(other["layers.0.bias"])
            for i, name in enumerate(new):
                if name in at:
                    last.weight[i] = other["layers.2.weight"][at[name]]
                    last.bias[i] = other["layers.2.bias"][at[name]]
