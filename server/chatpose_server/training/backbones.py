"""What a language model looks like to the trainer: LoRA on its attention, its added tokens' rows trained whole, the
rest standing still, and both put together again for the file. Knows no data files and no training loop.
"""

from __future__ import annotations

import abc
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..language import lora
from ..language.devices import Device
from ..language.head import PoseHead
from ..progress import Progress, no_progress
from .examples import Example
from .pose_data import TrainingDataError

IGNORED: Final = -100
TARGETS: Final = ("q_proj", "v_proj")  # ChatPose's


@dataclass(frozen=True)
class Adapting:
    """What is trained of the language model. ``targets``: last parts of the names of the layers that get LoRA."""

    rank: int = 128
    alpha: float = 256.0
    dropout: float = 0.05
    targets: tuple[str, ...] = TARGETS


@dataclass(frozen=True)
class Encoded:
    """A conversation in tokens. ``ids`` (N); ``labels`` (N): the same where it is an answer, else IGNORED. ``seen``:
    what else the model takes, picture or token kinds, by its own argument names; empty for words alone.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    seen: Mapping[str, Tensor]

    @property
    def answer(self) -> list[int]:
        """The tokens to be predicted."""
        return [label for label in self.labels[1:] if label != IGNORED]


class Backbone(abc.ABC):
    """A model on its way. ``head``: the pose head that came with it, or None. One process each."""

    kind: str

    def __init__(self, model: Any, place: Device, added: Sequence[int], how: Adapting) -> None:
        """``added``: ids of the tokens whose rows are trained whole, the pose token first."""
        self.model, self.at, self.pose_id = model, place.torch_name, added[0]
        self.hidden: int = model.config.get_text_config().hidden_size
        model.requires_grad_(False)
        self.decoder: Any = model.get_decoder()
        found = lora.inject(self.decoder, how.targets, how.rank, how.alpha, how.dropout)
        if not found:
            linear = {n.rpartition(".")[2] for n, m in self.decoder.named_modules() if isinstance(m, nn.Linear)}
            raise TrainingDataError(
                f"This model has no layers called {' or '.join(how.targets)}; choose --targets from: "
                f"{', '.join(sorted(linear)) or 'none, it has no linear layers'}."
            )
        self.decoder.to(self.at)
        self.adapters = [p for p in model.parameters() if p.requires_grad]
        self.rows = AddedRows(model, torch.tensor(list(added), device=self.at))

    def save_memory(self) -> None:
        """Computes activations twice instead of keeping them: layers read their checkpointing only while training."""
        self.decoder.gradient_checkpointing_enable({"use_reentrant": False})
        self.decoder.train()

    @abc.abstractmethod
    def encode(self, example: Example) -> Encoded:
        """An example in tokens. Raises TrainingDataError."""

    @abc.abstractmethod
    def states(self, batch: Sequence[Encoded]) -> list[Tensor]:
        """The states (N, H) after the final norm of each conversation."""

    def answer_states(self, batch: Sequence[Encoded]) -> Tensor:
        """The states (K, H) that predict the answers' tokens, one conversation after the other."""
        picked: list[Tensor] = []
        for states, encoded in zip(self.states(batch), batch, strict=True):
            said = [i for i, label in enumerate(encoded.labels[1:]) if label != IGNORED]
            picked.append(states[said])
        return torch.cat(picked)

    def logits(self, states: Tensor) -> Tensor:
        """(K, H) -> (K, V) float32."""
        return self.rows.logits(self.model.get_output_embeddings(), states)

    @abc.abstractmethod
    def export(self, out: Path, head: PoseHead, recipe: str, progress: Progress = no_progress) -> None:
        """Writes the whole model, merged, with its head, as a folder that ``serve --model`` takes."""


class AddedRows(nn.Module):
    """The vocabulary's rows of added tokens, in float32, in place of those of the frozen matrices."""

    def __init__(self, model: Any, ids: Tensor) -> None:
        super().__init__()
        embed, out = model.get_input_embeddings(), model.get_output_embeddings()
        self.ids, self._embed, self._out = ids, [embed], [out]  # in lists: not parts of this module
        self.into = nn.Parameter(embed.weight[ids].float())
        tied = out.weight is embed.weight
        self.out = self.into if tied else nn.Parameter(out.weight[ids].float())
        embed.register_forward_hook(self._put_in)

    def _put_in(self, module: nn.Module, given: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        new = given[0][..., None] == self.ids  # (..., added)
        rows = (new.to(self.into.dtype) @ self.into).to(embedded.dtype)
        return torch.where(new.any(-1, keepdim=True), rows, embedded)

    def logits(self, lm_head: Any, states: Tensor) -> Tensor:
        """(K, H) -> (K, V), the added tokens' columns from here."""
        logits = lm_head(states).float()
        own = states.float() @ self.out.T
        return logits.index_copy(1, self.ids, own if lm_head.bias is None else own + lm_head.bias[self.ids].float())

    @contextmanager
    def in_place(self) -> Generator[None]:
        """Puts the rows into the model's matrices, and takes them out again."""
        matrices = [(self._embed[0].weight, self.into), (self._out[0].weight, self.out)]
        before = [matrix[self.ids].clone() for matrix, _ in matrices]
        with torch.no_grad():
            for matrix, rows in matrices:
                matrix[self.ids] = rows.to(matrix.dtype)
            try:
                yield
            finally:
                for (matrix, _), old in zip(matrices, before, strict=True):
                    matrix[self.ids] = old


@contextmanager
def merged(backbone: Backbone) -> Generator[Any]:
    """The model as a plain one, for writing: adapters added in float32, new tokens' rows put in. Merged layers lie in
    the computer's memory, not the card's; afterwards everything is as it was.
    """
    model = backbone.model
    adapted = [(name, m) for name, m in model.named_modules() if isinstance(m, lora.LoraLinear)]
    try:
        for name, layer in adapted:
            _replace(model, name, _merge(layer))
        with backbone.rows.in_place():
            yield model
    finally:
        for name, layer in adapted:
            _replace(model, name, layer)


@torch.no_grad()
def _merge(layer: lora.LoraLinear) -> nn.Linear:
    old: Any = layer.linear
    weight = old.weight.float() + layer.scale * layer.up.float() @ layer.down.float()
    plain = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.to("cpu", old.weight.dtype), requires_grad=False)
    if old.bias is not None:
        plain.bias = nn.Parameter(old.bias.detach().cpu(), requires_grad=False)
    return plain


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def right_padded(rows: Sequence[Tensor], length: int) -> Tensor:
    """(N_i, ...) each -> (B, length, ...), zeros behind."""
    padded = rows[0].new_zeros(len(rows), length, *rows[0].shape[1:])
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded
