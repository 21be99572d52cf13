"""How long work reports itself and is stopped. Every room may call a Progress; only jobs.py makes real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, float], None]
"""``progress(stage, fraction)``: a short present participle for the artist ("Reading the words") and 0..1.

It raises Cancelled when the work should stop; call it at every step that is safe to stop at.
"""


class Cancelled(Exception):  # noqa: N818 - not an error: somebody asked for it
    """The artist cancelled, or the time limit ran out. Leave everything as it was."""


def no_progress(stage: str, fraction: float) -> None:
    """For callers that do not watch."""
