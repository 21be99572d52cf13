# SPDX-License-Identifier: GPL-3.0-or-later
"""The real server as a child process, for the demo and for tests: its weights, its start, its end.

Standard library only. Knows nothing of Blender. The child has its own port and token, so it meets neither a server that
the person already runs nor another of its kind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from scripts.environments import ROOT, DevError

START_LIMIT = 300.0  # seconds until it is ready; about 5 on a quiet machine
STOP_LIMIT = 20.0  # seconds for an orderly end


@dataclass(frozen=True)
class RunningServer:
    """Where a started server listens, and the token that it wants to see."""

    address: str
    token: str


def fetch_weights(python: Path) -> None:
    """Fetch the default model's weights once, into the user's cache. Raises DevError; the server has said why."""
    done = subprocess.run([str(python), "-m", "chatpose_server", "models", "fetch"], cwd=str(ROOT), check=False)
    if done.returncode:
        raise DevError("The model's weights could not be fetched: see above. Run the same command again; it goes on.")


@contextlib.contextmanager
def running(python: Path, *options: str) -> Iterator[RunningServer]:
    """Start the server of the environment `python` with the default model, wait until it is ready, end it at last."""
    log = ROOT / ".cache" / "logs" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chatpose-server-") as folder:
        token_file, announcement = Path(folder, "token"), Path(folder, "announcement")
        token_file.touch(mode=0o600)
        token_file.write_text(secrets.token_urlsafe(32), encoding="utf-8")
        command = [str(python), "-m", "chatpose_server", "serve", "--port", "0", *options]
        environment = {**os.environ, "CHATPOSE_TOKEN_FILE": str(token_file)}
        with announcement.open("wb") as out, log.open("wb") as errors, subprocess.Popen(
            command, cwd=str(ROOT), env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
        ) as process:  # fmt: skip
            try:
                address = _wait_until_ready(process, announcement, log)
                yield RunningServer(address, token_file.read_text(encoding="utf-8"))
            finally:
                process.terminate()
                try:
                    process.wait(STOP_LIMIT)
                except subprocess.TimeoutExpired:
                    process.kill()


def _wait_until_ready(process: subprocess.Popen, announcement: Path, log: Path) -> str:
    """The address of the server once it can answer. Its first line of output is JSON with the address."""
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DevError(f"The server ended while starting: {_last_line(log)}")
        said = announcement.read_text(encoding="utf-8")
        if said.endswith("\n"):
            address = json.loads(said.splitlines()[0])["url"]
            status = _status(address)
            if status == "ready":
                return address
            if status == "error":
                raise DevError(f"The server could not load its model. Its log, {log}, ends: {_last_line(log)}")
        time.sleep(0.1)
    raise DevError(f"The server was not ready after {START_LIMIT:.0f} s. Its log: {log}")


def _status(address: str) -> str:
    """What the server's health route says, or "" while it does not answer."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with direct.open(f"{address}/health", timeout=5) as answer:
            return json.load(answer)["status"]
    except urllib.error.HTTPError as answer:  # 503 while it loads, and for good when loading failed
        return json.load(answer)["status"]
    except OSError:
        return ""


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it gave no reason."
