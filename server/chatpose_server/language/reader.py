"""One more look at the words before the heads: attention from the state that predicts the pose token to all states of
the last turn. Float32; knows no language model.

A small backbone has little room to carry every word of a prompt to its last position; what it understood of each word
stands in that word's own state. ChatPose's published layout has no such part, and loads without it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Reader(nn.Module):
    """State (B, H) and states of the words (B, T, H) -> state (B, H), whitened, with what the words add to it."""

    mean: Tensor
    spread: Tensor

    def __init__(self, hidden: int, heads: int, width: int, looks: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("spread", torch.ones(hidden))
        self.looks = nn.ModuleList(_Look(hidden, heads, width) for _ in range(looks))

    def calibrate(self, states: Tensor) -> None:
        """Takes mean and spread from states (N, H): a few features of a language model are hundreds of times larger
        than the rest.
        """
        self.mean.copy_(states.float().mean(0))
        self.spread.copy_(states.float().std(0) + 1e-3)

    def whiten(self, states: Tensor) -> Tensor:
        """(..., H) -> (..., H) float32 with mean 0 and spread 1."""
        return (states.float() - self.mean) / self.spread

    def forward(self, state: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """``there`` (B, T): which of the words are there and not padding; one at least in each row."""
        at, seen = self.whiten(state), self.whiten(words)
        for look in self.looks:
            at = at + look(at, seen, there)
        return at


class _Look(nn.Module):
    def __init__(self, hidden: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, heads * width)
        self.key = nn.Linear(hidden, heads * width, bias=False)
        self.value = nn.Linear(hidden, heads * width, bias=False)
        self.out = nn.Linear(heads * width, hidden)
        nn.init.zeros_(self.out.weight)  # begins by adding nothing
        nn.init.zeros_(self.out.bias)

    def forward(self, at: Tensor, seen: Tensor, there: Tensor) -> Tensor:
        query = self.query(F.layer_norm(at, at.shape[-1:])).unflatten(1, (self.heads, 1, -1))  # (B, heads, 1, width)
        key = self.key(seen).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, width)
        value = self.value(seen).unflatten(2, (self.heads, -1)).transpose(1, 2)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=there[:, None, None])
        return self.out(found.transpose(1, 2).flatten(1))
