"""The processes of one training run, through accelerate: who takes which rows, sums over all, who writes the files.

One process is a team of one, and needs no accelerate. Gradients are summed once a step, in one piece, rather than by
hooks: some rows have no pose, so that now and then a whole process has no gradient for the head, and what is trained is
small beside the model. Sums divided by counts of the whole step make N processes equal one with N times the rows.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class Team:
    """This process among those of the run. Launchers (``accelerate launch``, ``torchrun``) say how many by WORLD_SIZE.

    ``device``: auto, cpu, cuda; in a team on cards each process takes its own.
    """

    def __init__(self, device: str = "auto") -> None:
        self._accelerator: Any = None
        self.rank, self.size, self.device = 0, int(os.environ.get("WORLD_SIZE", "1")), device
        if self.size > 1:
            from accelerate import Accelerator

            self._accelerator = Accelerator(cpu=device == "cpu" or not torch.cuda.is_available())
            self.rank, self.size = self._accelerator.process_index, self._accelerator.num_processes
            self.device = str(self._accelerator.device)

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def mine(self, rows: Sequence[T]) -> list[T]:
        """This process's share of a step's rows."""
        return list(rows[self.rank :: self.size])

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The same numbers, each summed over all processes."""
        if self._accelerator is None:
            return list(numbers)
        total: Tensor = torch.tensor(numbers, dtype=torch.float32, device=self._accelerator.device)
        return self._accelerator.reduce(total, "sum").tolist()

    @torch.no_grad()
    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every parameter's gradient becomes the sum over all processes; none counts as zero."""
        if self._accelerator is None:
            return
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        flat = torch.cat([p.grad.flatten().to(self.device) for p in parameters if p.grad is not None])
        flat = self._accelerator.reduce(flat, "sum")
        for p, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = piece.view_as(p).to(p.device, copy=True)

    @torch.no_grad()
    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Every parameter's gradient becomes the mean over all processes, for losses that are means themselves."""
        self.sum_gradients(parameters)
        if self.size > 1:
            for p in parameters:
                p.grad = None if p.grad is None else p.grad / self.size

    def is_over(self, seconds_left: float) -> bool:
        """Whether time is up, by the leader's clock: processes that disagreed would wait for each other for ever."""
        if self._accelerator is None or math.isinf(seconds_left):
            return seconds_left <= 0
        return self.sum([float(self.leads and seconds_left <= 0)])[0] > 0

    def wait(self) -> None:
        """Until everybody is here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
