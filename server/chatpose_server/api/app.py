"""The HTTP application: puts the guard before the routes, and starts and ends what they share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI

from .. import __version__
from . import errors, openai, routes
from .guard import Guard
from .service import Service


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
