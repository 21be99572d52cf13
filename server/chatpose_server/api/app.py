"""The HTTP application: puts the guard before the routes, and starts and ends what they share."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI

from .. import __version__
from ..jobs import JobQueue
from ..worker.answers import Answerer
from . import errors, openai, routes
from .guard import Access, Guard
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


def make_app(service: Service) -> FastAPI:
    """The application. It loads no model by itself; ending it ends the jobs and drops the model."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await run_sync(service.jobs.close, service.stop_grace_s)

    app = FastAPI(
        title="ChatPose",
        version=__version__,
        description="Words and pictures in, SMPL-X poses out. Every route but /health needs the token.",
        docs_url=None,  # its pages would load scripts from the internet
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.service = service
    plain = app.openapi
    app.openapi = lambda: _with_token(plain())
    routers = (routes.router, openai.router)
    errors.install(app, routers)
    for router in routers:
        app.include_router(router)
    app.add_middleware(Guard, access=service.access)
    app.add_middleware(service.counts.middleware)
    return app


def _with_token(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document, saying that all but /health needs the token: the guard asks for it, no route does."""
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer"}
    document["security"] = [{"token": []}]
    document["paths"]["/health"]["get"]["security"] = []
    return document
