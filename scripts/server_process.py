# SPDX-License-Identifier: GPL-3.0-or-later
"""The real server as a child process, for the demo and for tests: its weights, its start, its end.

Standard library only. Knows nothing of Blender. The child has its own port, token and state folder, so it meets neither
a server that the person already runs nor another of its kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from scripts.environments import ROOT, DevError

START_LIMIT = 180.0  # seconds; loading the default takes about 5 on a quiet machine


@dataclass(frozen=True)
class RunningServer:
    """Where a started server listens, what it wants to see, and its log."""

    address: str
    token: str
    token_file: Path
    log: Path
    pid: int


def fetch_weights(python: Path) -> None:
    """Fetch the default model's weights once, into the user's cache. Raises DevError with the server's own words."""
    done = subprocess.run([str(python), "-m", "chatpose_server", "models", "fetch"], cwd=str(ROOT), check=False)
    if done.returncode:
        raise DevError("The model's weights could not be fetched: see above. Run the same command again; it goes on.")


@contextlib.contextmanager
def running(python: Path, *options: str) -> Iterator[RunningServer]:
    """Start the server of the environment `python` with the default model, wait until it is ready, end it at last."""
    with tempfile.TemporaryDirectory(prefix="chatpose-server-") as folder:
        state = Path(folder)
        token_file = state / "token"
        token = secrets.token_urlsafe(32)
        token_file.touch(mode=0o600)
        token_file.write_text(token, encoding="utf-8")
        port = _free_port()
        log = ROOT / ".cache" / "logs" / f"server-{port}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(python), "-m", "chatpose_server", "serve", "--port", str(port)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "CHATPOSE_TOKEN_FILE": str(token_file)}
        with log.open("wb") as output, subprocess.Popen(
            [*command, *options], cwd=str(ROOT), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process:  # fmt: skip
            try:
                server = RunningServer(f"http://127.0.0.1:{port}", token, token_file, log, process.pid)
                _wait_until_ready(server, process)
                yield server
            finally:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(server: RunningServer, process: subprocess.Popen) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            lines = server.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise DevError(f"The server ended while starting: {lines[-1] if lines else 'no reason was given'}")
        with contextlib.suppress(OSError), direct.open(f"{server.address}/health", timeout=5) as answer:
            if json.load(answer).get("status") == "ready":
                return
        time.sleep(0.1)
    raise DevError(f"The server was not ready after {START_LIMIT:.0f} s. What it said: {server.log}")
