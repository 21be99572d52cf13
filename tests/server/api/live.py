"""A server on a real socket: in a thread of this process, or in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from chatpose_server.api.app import make_app
from chatpose_server.api.guard import LOOPBACK_NAMES, Access
from chatpose_server.api.serve import bind
from chatpose_server.api.service import Service
from chatpose_server.engine import Engine
from chatpose_server.jobs import JobQueue, Limits
from chatpose_server.model_host import ModelHost
from chatpose_server.worker.answers import InProcess

from ..fakes import FakeModel
from .conftest import HEADERS, TOKEN

ROOT = Path(__file__).parents[3]


@dataclass
class Live:
    url: str
    model: FakeModel
    jobs: JobQueue
    service: Service

    def client(self, **options):
        return httpx.Client(base_url=self.url, headers=HEADERS, timeout=120, **options)


@contextmanager
def live_server(limits=None, model=None, port=0):
    """In a thread: what is behind it can be looked at."""
    model = model or FakeModel()
    host = ModelHost(model.load, "fake")
    jobs, access = JobQueue(limits or Limits()), Access(TOKEN)
    service = Service(InProcess(Engine(host)), jobs, access, stop_grace_s=0.2)
    sock = bind("127.0.0.1", port)
    port = sock.getsockname()[1]
    access.allow(LOOPBACK_NAMES, port)
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_config=None, access_log=False, http="h11"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    host.load()
    try:
        yield Live(f"http://127.0.0.1:{port}", model, jobs, service)
    finally:
        jobs.begin_closing()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


SCRIPT = """
    import sys
    sys.path[:0] = [{root!r}, {root!r} + "/server"]
    from tests.server.fakes import FakeModel, unrefined
    import time

    def load(name, quantize, progress):
        for i in range({load_steps}):
            progress("Loading weights", i / {load_steps})
            time.sleep(0.05)
        return FakeModel(step_s={step_s}, keep=False, stands=True, mortal=True)

    if sys.argv[1] == "worker":
        from chatpose_server.worker.__main__ import main
        unrefined()
        main(load)
    from chatpose_server.__main__ import main
    from chatpose_server.worker import remote
    remote.COMMAND = (sys.executable, __file__, "worker")
    sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Process:
    popen: subprocess.Popen
    url: str
    port: int
    token: str
    errors: Path

    def client(self, **options):
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, **options)

    def wait_ready(self, seconds=240):
        with self.client() as http:
            end = time.monotonic() + seconds
            while http.get("/health").json()["status"] != "ready":
                assert time.monotonic() < end
                time.sleep(0.05)

    def end(self, seconds=30):
        return self.popen.wait(seconds)


def command(folder, *arguments, load_steps=0, step_s=0.005):
    script = Path(folder) / "serve_fake.py"
    script.write_text(
        textwrap.dedent(SCRIPT.format(root=str(ROOT), load_steps=load_steps, step_s=step_s)),
        encoding="utf-8",
    )
    environment = os.environ | {"CHATPOSE_TOKEN_FILE": str(Path(folder) / "token"), "OMP_NUM_THREADS": "1"}
    return [sys.executable, str(script), *arguments], environment


@contextmanager
def process(folder, *arguments, **options):
    """The command ``serve`` in a process of its own, its worker in another one with the fake model."""
    line, environment = command(folder, "serve", *arguments, **options)
    errors = Path(folder) / "stderr.txt"
    with errors.open("wb") as err:
        popen = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=err, text=True)
    try:
        first = popen.stdout.readline()
        assert first, errors.read_text()
        said = json.loads(first)
        token = (Path(folder) / "token").read_text().strip()
        yield Process(popen, said["url"], said["port"], token, errors)
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        popen.stdout.close()
