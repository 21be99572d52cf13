"""What the routes of one server share, and which Blenders use it. Knows no HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ..jobs import JobQueue
from ..worker.answers import Answerer
from .guard import Access
from .metrics import RequestCounts

CLIENT_ALIVE_S = 30.0  # a client that said nothing for so long has gone; the add-on speaks every 10 s


@dataclass
class Clients:
    """The Blenders that use this server, by their last heartbeat (monotonic seconds)."""

    alone_s: float | None = None
    seen: dict[str, float] = field(default_factory=dict[str, float])
    last: float = field(default_factory=time.monotonic)

    def beat(self, client: str, leaving: bool) -> int:
        """Notes a sign of life, or a farewell; returns how many clients are alive."""
        self.last = time.monotonic()
        if leaving:
            self.seen.pop(client, None)
        elif client in self.seen or len(self.seen) < 1000:
            self.seen[client] = self.last
        return self.count()

    def count(self) -> int:
        """Clients that are alive."""
        now = time.monotonic()
        self.seen = {c: t for c, t in self.seen.items() if now - t < CLIENT_ALIVE_S}
        return len(self.seen)

    def alone(self) -> bool:
        """Whether nobody has been here for ``alone_s`` seconds."""
        return self.alone_s is not None and self.count() == 0 and time.monotonic() - self.last > self.alone_s


@dataclass
class Service:
    """What the routes share."""

    engine: Answerer
    jobs: JobQueue
    access: Access
    clients: Clients = field(default_factory=Clients)
    counts: RequestCounts = field(default_factory=RequestCounts)
    stop_grace_s: float = 5.0
    log_prompts: bool = False
