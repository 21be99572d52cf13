"""Fixtures of the tests that talk to a server. Imported by conftest.py once the add-on is staged."""

from __future__ import annotations

import bpy
import pytest
from bl_ext.dev.chatpose import preferences, session
from bl_ext.dev.chatpose.client import jobs as jobs_module

from tests.fake_server import FakeServer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(jobs_module, "LONG_POLL_SECONDS", 0.05)
    monkeypatch.setattr(jobs_module, "LOADING_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(jobs_module, "RETRY_PAUSES", (0.01,))
    session.stop()
    session.start()
    with FakeServer() as fake:
        preferences.get(bpy.context).address = fake.address
        yield fake
    session.stop()
    session.start()


@pytest.fixture
def body(server):
    bpy.ops.chatpose.add_body()
    return bpy.context.object


@pytest.fixture
def settle(pump):
    """Ticks until nothing is under way."""

    def until_idle(until=lambda: session.current.work is None and not session.current.jobs.waiting):
        pump(until, session.pump, limit=30.0)

    return until_idle
