"""Our OpenAPI document against our answers: schemathesis makes requests, right and wrong, and checks each answer.

About 200 requests here; ``benchmarks/server_schema.py`` makes thousands over a real socket.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import hypothesis
import pytest
import schemathesis
from chatpose_server.api import openai
from chatpose_server.api import routes as routes_module
from chatpose_server.tasks import PosesResult
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from .conftest import HEADERS
from .live import live_server

EVERY = list(hypothesis.HealthCheck)
CONFIG = tomllib.loads((Path(__file__).parent / "schema.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def schema():
    with live_server() as live:
        # the priors' work is not what is tested here, and some requests would keep it busy for minutes
        live.service.engine.run = lambda request, progress: PosesResult(())
        yield schemathesis.openapi.from_url(
            f"{live.url}/openapi.json", headers=HEADERS, config=SchemathesisConfig.from_dict(CONFIG)
        )


def operations():
    """The operations' names, known before there is a server."""
    routes = [route for router in (routes_module.router, openai.router) for route in router.routes]
    return sorted(f"{method} {route.path}" for route in routes for method in route.methods)


@pytest.mark.parametrize("name", operations())
def test_every_answer_is_documented(schema, name):
    method, path = name.split()
    operation = schema[path][method]

    @hypothesis.settings(max_examples=14, deadline=None, derandomize=True, database=None, suppress_health_check=EVERY)
    @hypothesis.given(case=operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def check(case):
        case.call_and_validate(headers=HEADERS)

    check()
