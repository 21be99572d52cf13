# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Blender windows under Xvfb, the real server outside, the add-on's zip between them.

A machine that cannot have such a window (no Linux, no root, no Debian archive) skips with the reason, and the summary
of `dev.py test` repeats it. Of each Blender two windows are opened, in which several scripts are played one after the
other: starting one takes longer than most of them. The tests judge what the scripts saw.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filmed
import pytest
from scripted import SCRIPTS

import build_addon
from scripts import server_process
from scripts.blender import chroots
from scripts.environments import ROOT, DevError
from tests.fake_server import FakeServer

KEPT = ROOT / ".cache" / "gui"  # pictures and logs of the last run, to be looked at
LIMIT = 1500  # seconds for one window; about 100 on a quiet machine


@dataclass(frozen=True)
class Blender:
    """One chroot's Blender with an empty user folder of its own, in which the zip is installed and switched on."""

    suite: str
    chroot: Path
    out: Path
    zip: Path


@dataclass(frozen=True)
class Played:
    """A window that has closed, and the POST requests that each script's server was sent."""

    window: chroots.WindowRun
    sent: Mapping[str, list[Any]]

    def seen(self, script: str) -> dict[str, Any]:
        """What a script saw. Fails with Blender's own words where it, or one before it, broke off."""
        file = self.window.out / f"{script}.json"
        ended = f"Blender ended with {self.window.status}; pictures are in {self.window.out}\n{self.window.log}"
        assert file.exists(), f"'{script}' was not played to its end. {ended}"
        return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="session", params=chroots.SUITES, ids=lambda suite: f"Blender {chroots.SUITES[suite]}")
def blender(request: pytest.FixtureRequest) -> Blender:
    """The Blender of each Debian release in turn."""
    suite: str = request.param
    try:
        chroot = chroots.ensure(suite)
    except DevError as error:
        pytest.skip(f"Blender {chroots.SUITES[suite]} with a window: {error}")
    out = KEPT / suite
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    archive = build_addon.build(out)
    install = ("blender", "--command", "extension", "install-file", "-r", "user_default", "-e")
    done = chroots.run(chroot, out, *install, f"/mnt/out/{archive.name}")
    assert done.returncode == 0, done.stdout + done.stderr
    return Blender(suite, chroot, out, archive)


@pytest.fixture(scope="session")
def server() -> Iterator[server_process.RunningServer]:
    """The real server with the real default weights, on loopback."""
    with server_process.running(Path(sys.executable)) as server:
        yield server


def _play(blender: Blender, settings: dict[str, str]) -> chroots.WindowRun:
    return chroots.run_window(blender.chroot, blender.out, "tests/gui/in_window.py", settings, LIMIT)


@pytest.fixture(scope="session")
def with_server(blender: Blender, server: server_process.RunningServer) -> Played:
    """The scripts that need the real server, played."""
    names = ("pose", "drag", "film")
    filmed.draw(blender.out)
    settings = {"CHATPOSE_SCRIPTS": " ".join(names)}
    for name in names:
        settings[f"CHATPOSE_ADDRESS_{name.upper()}"] = server.address
        settings[f"CHATPOSE_TOKEN_{name.upper()}"] = server.token
    return Played(_play(blender, settings), {})


@pytest.fixture(scope="session")
def scripted(blender: Blender) -> Iterator[Played]:
    """The scripts that show what buttons and keys do, played against scripted servers, one for each."""
    servers = {name: FakeServer() for name in SCRIPTS}
    for name, prepare in SCRIPTS.items():
        prepare(servers[name], blender.out)
        servers[name].__enter__()
    try:
        settings = {f"CHATPOSE_ADDRESS_{name.upper()}": server.address for name, server in servers.items()}
        window = _play(blender, {"CHATPOSE_SCRIPTS": " ".join(SCRIPTS), **settings})
    finally:
        for server in servers.values():
            server.__exit__(None, None, None)
    sent = {
        name: [body for method, _, body, _ in server.requests if method == "POST"] for name, server in servers.items()
    }
    yield Played(window, sent)
