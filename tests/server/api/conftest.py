"""A whole server in this process, with a fake model behind it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from chatpose_server.api.app import make_app
from chatpose_server.api.guard import Access
from chatpose_server.api.service import Clients, Service
from chatpose_server.engine import Engine
from chatpose_server.jobs import JobQueue, Limits
from chatpose_server.model_host import ModelHost
from chatpose_server.worker.answers import InProcess
from fastapi import FastAPI
from starlette.testclient import TestClient

from ..fakes import FakeModel, unrefined

TOKEN = "t" * 43
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class Served:
    """The client, and what is behind it."""

    http: TestClient
    model: FakeModel
    host: ModelHost
    jobs: JobQueue
    app: FastAPI
    service: Service

    def job(self, **body):
        answer = self.http.post("/v1/jobs", json={"task": "pose", "prompt": "kneel"} | body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def over(self, job_id, wait=60):
        return self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait}).json()


@contextmanager
def serving(limits=None, model=None, alone_s=None, load=True, engine=None):
    """``engine``: an Answerer to be served instead of the fake model in this process."""
    model = model or FakeModel()
    engine = engine or InProcess(Engine(ModelHost(model.load, "fake")))
    host = engine.models
    jobs = JobQueue(limits or Limits())
    access = Access(TOKEN)
    access.allow(("127.0.0.1", "localhost", "::1"), 7673)
    service = Service(engine, jobs, access, Clients(alone_s), stop_grace_s=0.2)
    app = make_app(service)
    with TestClient(app, base_url="http://127.0.0.1:7673", headers=HEADERS, raise_server_exceptions=False) as http:
        if load:
            host.load()
            while host.status.state == "loading":
                host.changed(0.05)
        yield Served(http, model, host, jobs, app, service)


@pytest.fixture(scope="package", autouse=True)
def _unrefined():
    again = unrefined()
    yield
    again()


@pytest.fixture
def served():
    with serving() as s:
        yield s


@pytest.fixture(scope="module")
def shared():
    """One server for tables of requests that leave nothing behind."""
    with serving() as s:
        yield s
