"""One more look at the words before the heads: phrases of the last turn, found by convolutions over its words' states
at chosen depths of the language model (Kim 2014, on pretrained states). Float32; knows no language model.

A small backbone has little room to carry every word of a prompt to its last position. What each phrase asks for is
near its own words, and a phrase means the same wherever it stands: so few pairs teach it, and with the embeddings
alone (depth 0) pairs cost no forward of the language model. ChatPose's published layout has no such part, and loads
without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class ReaderShape:
    """``depths``: after which layers of the language model words are read (0: the embeddings). ``windows``: how many
    words each kind of phrase has, and how far apart they stand. ``width``: features of a word, and of each kind.
    """

    depths: tuple[int, ...] = (0,)
    width: int = 320
    windows: tuple[tuple[int, int], ...] = ((1, 1), (3, 1), (5, 1), (3, 4))

    @staticmethod
    def from_lists(data: dict[str, Any]) -> ReaderShape:
        """From JSON, which knows no tuples. Raises TypeError or ValueError for anything else."""
        windows = tuple((int(size), int(apart)) for size, apart in data["windows"])
        return ReaderShape(tuple(data["depths"]), int(data["width"]), windows)


class Reader(nn.Module):
    """State (B, H) and the words' states (B, T, D, H) at D depths -> state (B, H), whitened, with what the words say.

    Whitened, because a few features of a language model are hundreds of times larger than the rest; see ``calibrate``.
    """

    mean: Tensor
    spread: Tensor
    word_mean: Tensor
    word_spread: Tensor

    def __init__(self, hidden: int, shape: ReaderShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("spread", torch.ones(hidden))
        self.register_buffer("word_mean", torch.zeros(len(shape.depths), hidden))
        self.register_buffer("word_spread", torch.ones(len(shape.depths), hidden))
        self.enter = nn.Linear(len(shape.depths) * hidden, shape.width)
        self.phrases = nn.ModuleList(
            nn.Conv1d(shape.width, shape.width, size, padding=size // 2 * apart, dilation=apart)
            for size, apart in shape.windows
        )
        self.leave = nn.Linear(len(shape.windows) * shape.width, hidden)

    def calibrate(self, states: Tensor, words: Tensor) -> None:
        """Takes mean and spread from states (N, H) that predict the pose token and from words (M, D, H)."""
        for value, mean, spread in ((states, self.mean, self.spread), (words, self.word_mean, self.word_spread)):
            mean.copy_(value.float().mean(0))
            spread.copy_(value.float().std(0) + 1e-3)

    def whiten(self, state: Tensor) -> Tensor:
        """(B, H) -> (B, H) float32 with mean 0 and spread 1."""
        return (state.float() - self.mean) / self.spread

    def forward(self, state: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """``there`` (B, T): which of the words are there and not padding; one at least in each row."""
        return self.join(self.whiten(state), words, there)

    def join(self, state: Tensor, words: Tensor, there: Tensor) -> Tensor:
        """As ``forward``, from a state that is whitened already; zeros stand for one that was never computed."""
        seen = (words.float() - self.word_mean) / self.word_spread
        at = F.gelu(self.enter(seen.flatten(2))) * there[..., None]
        rows = at.transpose(1, 2)  # (B, width, T)
        found = [F.relu(phrase(rows).masked_fill(~there[:, None], -1e4).amax(2)) for phrase in self.phrases]
        return state + self.leave(torch.cat(found, 1))


def pad_words(words: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Words (T_i, D, H) of several turns -> (B, T, D, H), padded with zeros, and ``there`` (B, T)."""
    padded = pad_sequence(list(words), batch_first=True)
    return padded, torch.arange(padded.shape[1]) < torch.tensor([len(one) for one in words])[:, None]
