# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Blender windows under Xvfb, the real server outside, the add-on's zip between them.

A machine that cannot have such a window (no Linux, no root, no Debian archive) skips with the reason, and the summary
of `dev.py test` repeats it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import build_addon
from scripts import server_process
from scripts.blender import chroots
from scripts.environments import ROOT, DevError

KEPT = ROOT / ".cache" / "gui"  # pictures and logs of the last run, to be looked at


@dataclass(frozen=True)
class Blender:
    """One chroot's Blender with an empty user folder of its own, in which the zip was installed."""

    suite: str
    chroot: Path
    out: Path
    zip: Path


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
    return Blender(suite, chroot, out, build_addon.build(out))


@pytest.fixture(scope="session")
def server() -> Iterator[server_process.RunningServer]:
    """The real server with the real default weights, on loopback."""
    with server_process.running(Path(sys.executable)) as server:
        yield server
