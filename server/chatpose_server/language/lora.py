"""Low-rank adaptation of linear layers (Hu et al. 2021): put in for training, merged for inference.

Our own few lines rather than a library, because the frozen weight stays in bfloat16 while the adapter trains in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LoraLinear(nn.Module):
    """``linear`` (frozen) plus ``scale * up @ down``. ``down`` (r, in) and ``up`` (out, r) are float32."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, linear.in_features))
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in x's dtype."""
        low = F.linear(self.dropout(x), self.down.to(x.dtype))
        return self.linear(x) + F.linear(low, (self.up * self.scale).to(x.dtype))


def inject(model: nn.Module, targets: tuple[str, ...], rank: int, alpha: float, dropout: float = 0.0) -> list[str]:
    """Replaces every Linear whose last name part is in ``targets``; returns their full names."""
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.rsplit(".", 1)[-1] in targets]
    for name in names:
        parent = model.get_submodule(name.rpartition(".")[0])
        child = name.rpartition(".")[2]
        setattr(parent, child, LoraLinear(getattr(parent, child), rank, alpha, dropout))
    return names


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """``<layer>.down`` and ``<layer>.up`` (scaled, so that merging needs no settings) of every injected layer."""
    state: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            state[f"{name}.down"] = module.down.detach()
            state[f"{name}.up"] = module.up.detach() * module.scale
    return state


def load_adapter(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fills injected layers from ``adapter_state`` (to go on training)."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LoraLinear):
                module.down.copy_(state[f"{name}.down"])
                module.up.copy_(state[f"{name}.up"] / module.scale)


def merge(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Adds ``up @ down`` to the plain Linear weights of ``model``, in place and in the weights' dtype.

    Raises KeyError or RuntimeError when the adapter does not belong to this backbone.
    """
    with torch.no_grad():
        for key in [k for k in state if k.endswith(".down")]:
            name = key[: -len(".down")]
            weight = model.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            delta = state[f"{name}.up"].float() @ state[key].float()
            weight.add_(delta.to(device=weight.device, dtype=weight.dtype))
