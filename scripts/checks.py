# SPDX-License-Identifier: GPL-3.0-or-later
"""Every check of the project, in the order in which they fail fastest, with one plain summary at the end.

Standard library only. A part that could not be run is never silent: it counts as failed, or, where the machine
cannot run it at all (no root for a real Blender window), as skipped, with the reason in the summary.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable
from xml.etree import ElementTree

from scripts import environments, server_process
from scripts.environments import ROOT

# Hard limits in seconds: several times what each part takes on two quiet cores, so only a hang meets them.
LINT_LIMIT = 600
SERVER_LIMIT = 2400
ADDON_LIMIT = 1200
GUI_LIMIT = 2700


@dataclass(frozen=True)
class Outcome:
    """How one check ended. `skips` are the reasons of the skipped ones."""

    name: str
    passed: int = 0
    failed: int = 0
    skips: tuple[str, ...] = ()
    note: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        state = "FAILED" if self.failed else "ok"
        counts = f"{self.passed} passed, {self.failed} failed, {len(self.skips)} skipped"
        return f"{state:7}{self.name:28}{counts:36}{self.seconds:6.0f} s  {self.note}".rstrip()


def run(parts: list[str]) -> int:
    """Run the parts called `parts`, or all; print the summary; return 0 when nothing failed."""
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise environments.DevError(f"There is no part called {unknown[0]}. There are: {', '.join(PARTS)}")
    outcomes: list[Outcome] = []
    for part in parts or PARTS:
        for name, check in PARTS[part]():
            print(f"\n== {name} ==", flush=True)
            start = time.monotonic()
            try:
                outcome = check(name)
            except environments.DevError as error:
                outcome = Outcome(name, failed=1, note=str(error))
            outcomes.append(replace(outcome, seconds=time.monotonic() - start))
            print(outcomes[-1], flush=True)
    print("\n== summary ==")
    for outcome in outcomes:
        print(outcome)
        for reason in outcome.skips:
            print(f"       NOT TESTED: {reason}")
    failed = sum(outcome.failed for outcome in outcomes)
    skipped = sum(len(outcome.skips) for outcome in outcomes)
    print(f"{sum(outcome.passed for outcome in outcomes)} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


Check = Callable[[str], Outcome]


def _lint() -> list[tuple[str, Check]]:
    return [
        ("ruff", lambda name: _tool(name, "ruff", "check", ".")),
        ("pyright", lambda name: _tool(name, "pyright")),
    ]


def _server() -> list[tuple[str, Check]]:
    def check(name: str) -> Outcome:
        python = environments.ensure(environments.server())
        server_process.fetch_weights(python)
        return _pytest(name, python, SERVER_LIMIT, "tests", "--ignore=tests/addon", "--ignore=tests/gui")

    return [("server, client, rig", check)]


def _addon() -> list[tuple[str, Check]]:
    def check(version: str) -> Check:
        def in_blender(name: str) -> Outcome:
            return _pytest(name, environments.ensure(environments.blender(version)), ADDON_LIMIT, "tests/addon")

        return in_blender

    return [(f"add-on in Blender {version}", check(version)) for version in environments.BLENDERS]


def _gui() -> list[tuple[str, Check]]:
    def check(name: str) -> Outcome:
        python = environments.ensure(environments.server())
        server_process.fetch_weights(python)
        return _pytest(name, python, GUI_LIMIT, "tests/gui")

    return [("demo, real Blender windows", check)]


PARTS: dict[str, Callable[[], list[tuple[str, Check]]]] = {
    "lint": _lint,
    "server": _server,
    "addon": _addon,
    "gui": _gui,
}


def _tool(name: str, *command: str) -> Outcome:
    python = environments.ensure(environments.server())
    status = _call([str(python), "-m", *command], LINT_LIMIT)
    return Outcome(name, passed=int(status == 0), failed=int(status != 0))


def _pytest(name: str, python: Path, limit: float, *arguments: str) -> Outcome:
    """Run pytest and count from its report. A run that left no report, or ran nothing, has failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        status = _call(command, limit)
        if not report.exists():
            return Outcome(name, failed=1, note=f"ended without a report (status {status})")
        cases = list(ElementTree.parse(report).iter("testcase"))
    skips = tuple(skip.get("message", "") for case in cases for skip in case.findall("skipped"))
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    if not cases:
        return Outcome(name, failed=1, note="ran no test")
    if status and not failed:
        return Outcome(name, len(cases) - len(skips), 1, skips, f"every test passed, but pytest ended with {status}")
    return Outcome(name, len(cases) - failed - len(skips), failed, skips)


def _call(command: list[str], limit: float) -> int:
    """Run `command` from the project's root; its whole process group ends with it. 124 when it ran past `limit`."""
    own_group = {"start_new_session": True} if os.name == "posix" else {}
    with subprocess.Popen(command, cwd=str(ROOT), stdin=subprocess.DEVNULL, **own_group) as process:
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            print(f"ran past its limit of {limit:.0f} s: ended", flush=True)
            return 124
        finally:
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
