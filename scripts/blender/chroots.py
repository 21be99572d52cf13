# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian chroots that hold a real Blender, made once for all clones, and runs of Blender's window in them.

Standard library only. Linux and root only: making a chroot needs both. Everything a run started is gone when it ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.environments import ROOT, DevError, only_one

SCRIPTS = ROOT / "scripts" / "blender"
SUITES = {"trixie": "4.3", "sid": "5.2"}  # Debian release -> the Blender in it; sid moves
MAKE_LIMIT = 1200  # seconds; about 100 with a good line
DISPLAY_FAILED = 4  # run_gui.sh's status when Xvfb did not start


@dataclass(frozen=True)
class WindowRun:
    """How a run of Blender's window ended: its status, and the folder with its log and pictures."""

    status: int
    out: Path

    @property
    def log(self) -> str:
        """What Blender printed, and the traceback of the test script when it failed."""
        texts = [self.out / name for name in ("error.txt", "blender.log", "xvfb.log")]
        there = [path for path in texts if path.exists()]
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-6000:]}" for path in there)


def folder() -> Path:
    """Where the chroots live: outside the clone, because each takes 1.3 GB and 330 MB of downloads."""
    named = os.environ.get("CHATPOSE_CHROOTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else cache / "chatpose-dev" / "chroots"


def ensure(suite: str) -> Path:
    """The chroot of the Debian release `suite`, made if it is not there. Raises DevError saying why it cannot be."""
    if not sys.platform.startswith("linux"):
        raise DevError("a real Blender window is tested on Linux only")
    if os.geteuid() != 0:
        raise DevError("making a Debian chroot with Blender needs root")
    chroot = folder() / suite
    chroot.parent.mkdir(parents=True, exist_ok=True)
    with only_one(chroot.parent / f".{suite}-making"):
        _install_debootstrap()
        try:
            made = subprocess.run(
                ["bash", str(SCRIPTS / "make_chroot.sh"), suite, str(chroot)],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=MAKE_LIMIT, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DevError(f"the Debian chroot {suite} was not made within {MAKE_LIMIT} s") from None
    if made.returncode:
        raise DevError(f"the Debian chroot {suite} could not be made: {made.stderr.strip().splitlines()[-1]}")
    return chroot


def run(chroot: Path, out: Path, *command: str, limit: int = 120) -> subprocess.CompletedProcess[str]:
    """Run a command in the chroot, which sees the project at /mnt/project (read-only) and `out` at /mnt/out."""
    environment = {**os.environ, "TIMEOUT": str(limit)}
    return subprocess.run(
        ["bash", str(SCRIPTS / "in_chroot.sh"), str(chroot), str(ROOT), str(out), *command],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=limit + 30,
    )  # fmt: skip


def run_window(
    chroot: Path, out: Path, script: str, settings: dict[str, str], limit: int = 400,
    shown: dict[Path, str] | None = None, after: str = "",
) -> WindowRun:  # fmt: skip
    """Open Blender's window in the chroot and let `script` (a path in the project) drive it to its end.

    `settings` are environment variables that the script reads. A display that did not start is tried once more.
    `shown`: more of this computer's folders and where Blender sees them, read-only. `after`: a script of the project
    that the chroot's Python runs when Blender has ended.
    """
    limits = {"TIMEOUT": str(limit), "READY_AFTER": str(limit)}
    environment = {**os.environ, **settings, **limits, "PASS_ENV": " ".join(settings), "AFTER": after}
    environment["BIND"] = " ".join(f"{folder}:{place}" for folder, place in (shown or {}).items())
    command = ["bash", str(SCRIPTS / "run_gui.sh"), str(chroot), str(ROOT), str(out), script, "end.png"]
    command.append("--enable-event-simulate")
    for _ in range(2):
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, check=False, timeout=limit + 30
        )  # fmt: skip
        if done.returncode != DISPLAY_FAILED:
            break
    return WindowRun(done.returncode, out)


def _install_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        raise DevError("debootstrap is not installed, and there is no apt-get to install it with")
    for step in ("update", "install --no-install-recommends debootstrap"):
        done = subprocess.run(
            ["apt-get", "-q", "-y", *step.split()], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise DevError(f"debootstrap could not be installed: {lines[-1] if lines else 'no reason was given'}")
