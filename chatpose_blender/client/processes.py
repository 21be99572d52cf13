"""Every process call of the add-on, with what differs between Windows, macOS and Linux. Knows no server, no bpy.

Worker threads only: everything here waits for the system or touches the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

WINDOWS: Final = sys.platform == "win32"
PROBE_SECONDS: Final = 60.0  # a cold disk and a virus scanner make a Python's first start take half a minute
_LOOK_SECONDS: Final = 0.1
_STILL_ACTIVE: Final = 259  # Windows' exit code of a process that has none yet
_QUERY_LIMITED: Final = 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION

# What would make another Python take Blender's libraries for its own.
_BLENDERS_OWN: Final = frozenset(
    {"PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONEXECUTABLE", "PYTHONINSPECT",
     "PYTHONPLATLIBDIR", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
)  # fmt: skip


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment for a Python that is not Blender's."""
    kept = {name: value for name, value in os.environ.items() if name.upper() not in _BLENDERS_OWN}
    return {**kept, "PYTHONNOUSERSITE": "1", **(extra or {})}


def python_in(folder: Path) -> Path:
    """The interpreter of the virtual environment in ``folder``."""
    return folder / "Scripts" / "python.exe" if WINDOWS else folder / "bin" / "python"


def _apart() -> dict[str, Any]:
    """No console window that flashes up; Ctrl-C in the terminal that Blender was started from is not for the child."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def ask(command: Sequence[str], seconds: float = PROBE_SECONDS) -> str | None:
    """What a short command prints on standard output, or None where it is not there, fails or hangs."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False,
            text=True, encoding="utf-8", errors="replace", timeout=seconds, env=environment(), **_apart(),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout if done.returncode == 0 else None


def spawn(
    command: Sequence[str],
    *,
    cwd: Path,
    stdout: IO[bytes] | int,
    stderr: IO[bytes] | int,
    extra: Mapping[str, str] | None = None,
    holds: int | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process that outlives this call. Raises OSError.

    ``holds``: a file descriptor that it keeps open, and with it the lock on that file (not on Windows, which does not
    hand locks on).
    """
    handed = {} if WINDOWS or holds is None else {"pass_fds": (holds,)}
    return subprocess.Popen(
        list(command), cwd=cwd, env=environment(extra), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
        **handed, **_apart(),
    )  # fmt: skip


def is_alive(pid: int) -> bool:
    """Whether a process with this number runs. It may be another one than was meant: numbers are used again."""
    if pid <= 0:
        return False
    if sys.platform == "win32":  # os.kill(pid, 0) would send it Ctrl-C there
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(_QUERY_LIMITED, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        known = kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return bool(known) and code.value == _STILL_ACTIVE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def command_of(pid: int) -> str:
    """The command line of a process, or as much of it as the system tells; "" where there is none."""
    if WINDOWS:
        return ask(["tasklist", "/FI", f"PID eq {pid}", "/FO", "CSV", "/NH"], 10.0) or ""
    return (ask(["ps", "-ww", "-o", "command=", "-p", str(pid)], 10.0) or "").strip()


def end(pid: int, grace: float, child: subprocess.Popen[bytes] | None = None) -> None:
    """Ends a process that ``spawn`` started, and all that it started: politely, then after ``grace`` seconds not.

    Windows has no polite way for a process without a console that is shared with ours.
    """
    if WINDOWS:
        ask(["taskkill", "/PID", str(pid), "/T", "/F"], 20.0)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + grace
    while time.monotonic() < limit:
        if not (is_alive(pid) if child is None else child.poll() is None):
            break
        time.sleep(_LOOK_SECONDS)
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # it leads a group of its own: this takes what it left behind, too
    if child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(2.0)


class FileLock:
    """A lock that the system frees when its holder ends, however that happens. One thread uses one object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    @property
    def descriptor(self) -> int | None:
        """The open file, for a child that shall hold the lock as well."""
        return None if self._file is None else self._file.fileno()

    def take(self) -> bool:
        """Takes the lock, or says that somebody else has it. Raises OSError where the file cannot be made."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def free(self) -> None:
        """Gives the lock back; nothing where it is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[FileLock | None]:
    """Holds a lock, waiting for it at most so long; gives None where somebody else kept it."""
    lock = FileLock(path)
    limit = time.monotonic() + seconds
    taken = lock.take()
    while not taken and time.monotonic() < limit:
        time.sleep(_LOOK_SECONDS)
        taken = lock.take()
    try:
        yield lock if taken else None
    finally:
        lock.free()


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a text file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 300 * lines))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]
