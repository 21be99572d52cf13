# SPDX-License-Identifier: GPL-3.0-or-later
"""The virtual environments this project works in: found, made, resumed, checked.

Standard library only, Python 3.8 or newer, because it runs before anything is installed. Knows nothing of what is run
in the environments. An environment is whole when its stamp says so, and the stamp is written last: a run that was cut
off leaves no stamp, and the next one takes up what is there, package by package.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
STAMP = "chatpose-stamp"
PYTHON = (3, 11)  # the bpy wheels exist for exactly this one
BLENDERS = ("4.5", "4.2", "5.0")  # the first is the one the demo uses and the tests begin with


class DevError(Exception):
    """Something the person at the keyboard can mend. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment and the lock file that says what is in it."""

    name: str
    folder: Path
    lock: Path
    download: str  # about how much comes over the network the first time, for the announcement
    editable: Path | None = None  # a package of our own that is installed as a link
    probe: str = "pass"  # Python that must run in a whole environment

    @property
    def python(self) -> Path:
        """The environment's own interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def fingerprint(self) -> str:
        """What the stamp must say: changes with the lock, with our package's metadata and with the interpreter."""
        digest = hashlib.sha256(self.lock.read_bytes())
        if self.editable:
            digest.update((self.editable / "pyproject.toml").read_bytes())
        return f"python {PYTHON[0]}.{PYTHON[1]} lock {digest.hexdigest()}\n"

    @property
    def is_whole(self) -> bool:
        """True when everything in the lock was installed, with nothing cut off on the way."""
        try:
            return (self.folder / STAMP).read_text(encoding="utf-8") == self.fingerprint and self.python.exists()
        except OSError:
            return False


def server() -> Environment:
    """The environment of the server and of every tool that checks this project."""
    return Environment("server", ROOT / ".venv", REQUIREMENTS / "server.lock", "about 400 MB", editable=ROOT / "server")


def blender(version: str) -> Environment:
    """Blender `version` as a Python module, to run the add-on without a window."""
    # os._exit: bpy 4.5.15 can hang for ever in its static destructors on the ordinary way out.
    probe = "import os, bpy; os._exit(0)"
    folder, lock = ROOT / ".venv-blender" / version, REQUIREMENTS / f"blender-{version}.lock"
    return Environment(f"Blender {version}", folder, lock, "about 350 MB", probe=probe)


def ensure(environment: Environment) -> Path:
    """Make `environment` whole and return its interpreter. Quick when it already is.

    Raises DevError, in words for a person, when Python 3.11 is missing or the packages could not be fetched.
    """
    if environment.is_whole:
        return environment.python
    with only_one(ROOT / ".cache" / f"making-{environment.folder.name.lstrip('.')}"):
        if environment.is_whole:  # another run finished it while this one waited
            return environment.python
        return _make(environment)


def _make(environment: Environment) -> Path:
    if environment.python.exists():
        _say(f"Bringing the {environment.name} environment up to date")
    else:
        _say(f"Making the {environment.name} environment ({environment.download} to download the first time)")
    (environment.folder / STAMP).unlink(missing_ok=True)
    if not _runs(environment.python, "import pip"):
        _create(environment.folder)
    if _missing(environment):
        # Compiling every module takes longer than everything else; Python compiles the few that are used.
        _pip(environment, "install", "--no-compile", "-r", environment.lock)
    still = _missing(environment)
    if still:
        names = ", ".join(still)
        raise DevError(f"The {environment.name} environment is not whole ({names}). Run the same command again.")
    if environment.editable:
        # setuptools is in the lock, so that this step needs no network.
        _pip(environment, "install", "--no-deps", "--no-build-isolation", "-e", environment.editable)
    _probe(environment)
    (environment.folder / STAMP).write_text(environment.fingerprint, encoding="utf-8")
    return environment.python


def _create(folder: Path) -> None:
    python = find_python()
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = [str(python), "-m", "venv", "--clear", str(folder)]
    done = subprocess.run(making, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevError(f"{python} could not make the environment {folder}: {_last_line(done.stdout + done.stderr)}")


def _missing(environment: Environment) -> list[str]:
    """Names in the lock that are absent, of another version, or were cut off while being installed."""
    check = ROOT / "chatpose_blender" / "client" / "env_check.py"  # the add-on asks the same of its managed server
    done = subprocess.run(
        [str(environment.python), "-I", str(check), str(environment.lock)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def _probe(environment: Environment) -> None:
    probing = [str(environment.python), "-c", environment.probe]
    done = subprocess.run(probing, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = _last_line(done.stderr)
        library = re.search(r"(lib[\w.+-]+\.so[\w.]*)", reason)
        if library:
            packages = " ".join(BPY_LIBRARIES)
            reason = f"The system library {library.group(1)} is missing. On Debian or Ubuntu: apt install {packages}"
        raise DevError(f"The {environment.name} environment does not start. {reason}")


# What the bpy wheel needs of the system to be imported and to draw without a screen; Debian's names.
BPY_LIBRARIES = (
    "libegl1", "libgl1", "libgl1-mesa-dri", "libice6", "libsm6", "libx11-6", "libxfixes3", "libxi6", "libxkbcommon0",
    "libxrender1", "libxxf86vm1",
)  # fmt: skip


# --- Python 3.11 ------------------------------------------------------------------------------------------------


def find_python() -> Path:
    """The Python 3.11 of this computer that can make virtual environments. Raises DevError with what to do."""
    for candidate in _candidates():
        if _runs(candidate, f"import sys, venv, ensurepip; assert sys.version_info[:2] == {PYTHON}"):
            return candidate
    how = {
        "win32": "Install it from python.org (or: winget install Python.Python.3.11)",
        "darwin": "Install it from python.org (or: brew install python@3.11)",
    }.get(sys.platform, "Install it (Debian: apt install python3.11 python3.11-venv; anywhere: pyenv install 3.11)")
    raise DevError(
        "Python 3.11 with its venv module was not found; Blender's Python packages exist for 3.11 only. "
        f"{how}, then run the same command again. If it is in an unusual place, name it: CHATPOSE_PYTHON=PATH"
    )


def _candidates() -> Iterator[Path]:
    named = os.environ.get("CHATPOSE_PYTHON")
    if named:
        yield Path(named)
        return
    # In a virtual environment sys.executable would tie ours to that one, so take what it was made from.
    yield Path(getattr(sys, "_base_executable", None) or sys.executable)
    for name in ("python3.11", "python3", "python"):
        found = shutil.which(name)
        if found:
            yield Path(found)
    if os.name == "nt":
        launcher = shutil.which("py")
        if launcher:
            asked = [launcher, "-3.11", "-c", "import sys; print(sys.executable)"]
            path = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
            if path:
                yield Path(path)
    home = Path.home()
    for pattern in (".pyenv/versions/3.11*/bin/python3.11", ".local/share/uv/python/cpython-3.11*/bin/python3.11"):
        yield from sorted(home.glob(pattern), reverse=True)
    for folder in ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin"):
        yield Path(folder, "python3.11")


def _runs(python: Path, code: str) -> bool:
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


# --- pip --------------------------------------------------------------------------------------------------------

# What pip's output means, first match wins: (what it says, what we say).
_TROUBLES = (
    (r"No space left on device|Errno 28", "The disk is full. Free some space"),
    (
        r"IncompleteRead|Connection broken|Read timed out|ReadTimeoutError|ConnectionResetError|Connection reset"
        r"|RemoteDisconnected|incomplete-download|DO NOT MATCH THE HASHES|BadZipFile|Wheel .* is invalid",
        "A download broke off half way. What came whole is kept",
    ),
    (
        r"NewConnectionError|Name or service not known|name resolution|getaddrinfo failed|Network is unreachable"
        r"|Failed to establish a new connection|ConnectTimeoutError|ProxyError|Connection refused|Could not fetch URL"
        r"|MaxRetryError|from versions: none",  # the last is all that pip says where it may not try twice
        "The package index cannot be reached. Check the network (and the proxy, if you are behind one)",
    ),
    (r"Permission denied|Errno 13", "A file may not be written. Check who owns this folder"),
)


def explain_pip(output: str) -> str:
    """One sentence for a person out of a failed pip's output, ending in what to do."""
    for pattern, words in _TROUBLES:
        if re.search(pattern, output):
            return f"{words}, then run the same command again."
    return f"pip failed: {_last_line(output)}"


def _pip(environment: Environment, *arguments: object) -> None:
    command = [str(environment.python), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command += [str(argument) for argument in arguments]
    log = ROOT / ".cache" / "logs" / f"pip-{environment.folder.name.lstrip('.')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as file, subprocess.Popen(
        command, cwd=str(ROOT), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout
        for line in process.stdout:
            file.write(line)
            lines.append(line)
            loading = re.match(r"\s*Downloading (?:\S*/)?(\S+?)(?:\.metadata)? (\(.*MB\))", line)
            if loading:
                _say(f"  {loading.group(1)} {loading.group(2)}")
    if process.returncode:
        raise DevError(f"{explain_pip(''.join(lines))} (Details: {log.relative_to(ROOT)})")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


def _say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold `path` as a lock, so that two runs at once do not write into one folder. The system frees it on a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
