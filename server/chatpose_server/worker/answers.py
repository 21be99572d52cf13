"""What the HTTP side needs of the tasks, wherever they are done; and doing them in this very process.

Knows no HTTP and no pipe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..engine import Engine, OnText
from ..model_host import ModelHost, ModelStatus
from ..progress import Progress, no_progress
from ..tasks import PoseRequest, TaskRequest


@dataclass(frozen=True)
class Answer:
    """``body``: the JSON object of the wire, encoded where it was made. ``usage``: tokens, where the model counts."""

    body: bytes
    usage: Mapping[str, int] = field(default_factory=dict[str, int])


class LoadedModel(Protocol):
    """What can be said of a loaded model."""

    @property
    def name(self) -> str: ...  # noqa: D102 - says itself
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def dtype(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def accepts_images(self) -> bool: ...  # noqa: D102


class Models(Protocol):
    """The host of the one loaded model; see ``engine.ModelHost``, whose promises these are."""

    @property
    def status(self) -> ModelStatus:
        """What the host is doing now."""
        ...

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model, for reading."""
        ...

    def load(self, name: str | None = None, quantize: str | None = None) -> None:
        """Starts to load and returns at once."""
        ...

    def unload(self) -> None:
        """Drops the model after the answer it may be giving."""
        ...

    def changed(self, timeout: float) -> ModelStatus:
        """Waits up to ``timeout`` seconds for the status to change, and returns it."""
        ...


@dataclass(frozen=True)
class Vitals:
    """Of the process that runs the models. ``pid``: None where it is this one, or not running."""

    pid: int | None = None
    crashes: int = 0


class Answerer(Protocol):
    """All tasks."""

    @property
    def models(self) -> Models:
        """The model's host."""
        ...

    def answer(
        self, request: PoseRequest | TaskRequest, progress: Progress = no_progress, on_text: OnText | None = None
    ) -> Answer:
        """Does one task. Raises ChatPoseError, the rooms' own errors, and Cancelled through ``progress``."""
        ...

    def tasks(self) -> dict[str, bool]:
        """Every task, and whether this installation can do it."""
        ...

    def priors(self) -> list[str]:
        """The priors that are installed, the default first."""
        ...

    def list_models(self) -> list[dict[str, Any]]:
        """The known models, in OpenAI's list shape."""
        ...

    def check_model_name(self, name: str) -> None:
        """Raises ChatPoseError model_not_found."""
        ...

    def vitals(self) -> Vitals:
        """For /metrics."""
        ...

    def close(self) -> None:
        """Ends what runs and frees the model."""
        ...


class InProcess:
    """The tasks done here: for the command line, for tests, and inside the worker itself."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tasks = engine.tasks
        self.priors = engine.priors
        self.list_models = engine.list_models
        self.check_model_name = engine.check_model_name

    @property
    def models(self) -> ModelHost:
        """The engine's own host."""
        return self._engine.models

    def answer(
        self, request: PoseRequest | TaskRequest, progress: Progress = no_progress, on_text: OnText | None = None
    ) -> Answer:
        """See Answerer."""
        if isinstance(request, PoseRequest):
            posed = self._engine.pose(request, progress, on_text)
            return Answer(_encoded(posed.to_json()), posed.usage)
        return Answer(_encoded(self._engine.run(request, progress).to_json()))

    def vitals(self) -> Vitals:
        """See Answerer."""
        return Vitals()

    def close(self) -> None:
        """The model goes with the process."""


def _encoded(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode()
