"""How much the main thread does in a tick, without a clock: machines differ, and one that is busy must not fail a test.

What the same ticks take in milliseconds is measured by benchmarks/desk.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TICK_CALLS = 8000
"""Calls, Python's and C's, that a tick may make: about 5 ms of Python on a common computer. The rest of its 10 ms is
for what Blender does in one of them; work of every vertex or frame in one go is far beyond it."""

_FORBIDDEN = ("open", "os.listdir", "os.scandir", "socket.", "subprocess.Popen", "urllib.Request", "http.client.")
_seen: list[str] | None = None
_thread = 0
_hooked = False


@dataclass
class Effort:
    """What this thread did: ``calls`` it made, and ``waits``: what it asked of the disk, the network or other
    processes, by Python's audit events.
    """

    calls: int = 0
    waits: list[str] = field(default_factory=list)


def spent(work: Callable[..., Any], *args: Any) -> Effort:
    """The effort of a call. What it raises goes through."""
    global _seen, _thread, _hooked
    if not _hooked:  # once: a hook cannot be taken out again
        sys.addaudithook(_on_audit)
        _hooked = True
    effort = Effort()

    def on_event(frame: object, event: str, arg: object) -> None:
        effort.calls += event in ("call", "c_call")

    before = sys.getprofile()
    _seen, _thread = effort.waits, threading.get_ident()
    sys.setprofile(on_event)
    try:
        work(*args)
    finally:
        sys.setprofile(before)
        _seen = None
    return effort


def is_short(effort: Effort) -> bool:
    """Whether a tick may do as much."""
    return effort.calls <= TICK_CALLS and not effort.waits


def _on_audit(event: str, args: tuple[Any, ...]) -> None:
    if _seen is not None and event.startswith(_FORBIDDEN) and threading.get_ident() == _thread:
        _seen.append(f"{event} {args[:1]}")
