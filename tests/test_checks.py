# SPDX-License-Identifier: GPL-3.0-or-later
"""The test run tells the truth about itself: what failed, what was left out, what never ran."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts import checks
from scripts.checks import Outcome
from scripts.environments import DevError


@pytest.mark.parametrize(
    ("source", "limit", "passed", "failed", "skipped"),
    [
        ("def test_a(): pass\ndef test_b(): pass", 60, 2, 0, 0),
        ("def test_a(): pass\ndef test_b(): raise ValueError", 60, 1, 1, 0),
        ("import pytest\ndef test_a(): pytest.skip('no root')\ndef test_b(): pass", 60, 1, 0, 1),
        ("import a_module_that_is_not_there", 60, 0, 1, 0),
        ("x = 1", 60, 0, 1, 0),  # ran no test
        ("import time\ndef test_a(): time.sleep(60)", 2, 0, 1, 0),  # hung
        ("import os\ndef test_a(): os._exit(0)", 60, 0, 1, 0),  # ended without a report, with a good status
    ],
)
def test_counts(tmp_path: Path, source: str, limit: float, passed: int, failed: int, skipped: int) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(source, encoding="utf-8")
    outcome = checks._pytest("it", Path(sys.executable), limit, str(file))
    assert (outcome.passed, outcome.failed, len(outcome.skips)) == (passed, failed, skipped), outcome


def refuse(name: str) -> Outcome:
    raise DevError("There is no network.")


@pytest.mark.parametrize(
    ("check", "status", "last_line", "said"),
    [
        (lambda name: Outcome(name, passed=3), 0, "3 passed, 0 failed, 0 skipped", "ok"),
        (lambda name: Outcome(name, passed=3, failed=1), 1, "3 passed, 1 failed, 0 skipped", "FAILED"),
        (lambda name: Outcome(name, 1, 0, ("no root",)), 0, "1 passed, 0 failed, 1 skipped", "NOT TESTED: no root"),
        (refuse, 1, "0 passed, 1 failed, 0 skipped", "There is no network."),
    ],
)
def test_summary(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], check, status: int, last_line: str, said: str
) -> None:
    monkeypatch.setattr(checks, "PARTS", {"part": lambda: [("it", check)]})
    assert checks.run([]) == status
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == last_line
    assert said in out


def test_unknown_part_is_refused() -> None:
    with pytest.raises(DevError, match="There is no part called sever"):
        checks.run(["sever"])
