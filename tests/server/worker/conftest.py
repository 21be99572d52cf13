"""Workers in processes of their own, with a fake model that can die."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path

import pytest
from chatpose_server.worker.remote import Remote

ROOT = Path(__file__).parents[3]
SCRIPT = """
    import sys, time
    sys.path[:0] = [{root!r}, {root!r} + "/server"]
    from pathlib import Path
    from chatpose_server.worker.__main__ import main
    from tests.server.fakes import FakeModel, unrefined

    def load(name, quantize, progress):
        if name == "dies while loading":
            import os
            os._exit(7)
        if name == "cannot be read":
            raise RuntimeError("torn file")
        while name.startswith("takes for ever"):
            progress("Loading weights", 0.5)
            time.sleep(0.01)
        return FakeModel(name=name, keep=False, stands=True, mortal=True)

    unrefined()
    main(load)
"""


@pytest.fixture(scope="session")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("worker") / "worker_fake.py"
    path.write_text(textwrap.dedent(SCRIPT.format(root=str(ROOT))), encoding="utf-8")
    return path


@pytest.fixture
def remote(script):
    made = Remote("fake", command=(sys.executable, str(script)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(script):
    """One worker for tests that leave it alive."""
    made = Remote("fake", command=(sys.executable, str(script)))
    yield made
    made.close()


def until(condition, seconds=120.0):
    """Waits for what must come; the limit is met by a hang only."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
