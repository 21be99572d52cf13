"""Puts the pose server on this computer: a Python environment of its own, from the lists and the wheel in our zip.

Worker threads only. Knows pip and the disk; knows no running server and no bpy. An environment is whole when its marker
says so, and the marker is written last: what was cut off is taken up again, package by package. One install at a time:
the system frees the lock of one that died.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from . import processes

MARKER: Final = "complete.json"
LOG: Final = "install.log"
NOTE: Final = "install.json"  # how far an install has come, for the next start of Blender
PYTHONS: Final = ((3, 13), (3, 12), (3, 11))  # newest first; those that every package of the lists is built for
OLDEST_CUDA_DRIVER: Final = 580  # the first NVIDIA driver for CUDA 13, which the pinned PyTorch is built for
PYTHON_VARIABLE: Final = "CHATPOSE_PYTHON"
WHEELS_VARIABLE: Final = "CHATPOSE_WHEELS"
MODEL_MB: Final = 93  # the default language model, and 270 on disk
MODEL_DISK_MB: Final = 370
LOG_LINES: Final = 6
_LOOK_SECONDS: Final = 0.25
_END_SECONDS: Final = 3.0
_RESERVE_MB: Final = 300  # a disk that is full to the last byte breaks more than an install

# What a list brings, in MB: over the network, and on disk. Measured for the
# processor, estimated for NVIDIA; only for the bar and for what is said beforehand.
_LISTS: Final = {
    "server.txt": (75, 390),
    "torch-cpu.txt": (195, 720),
    "torch-cuda.txt": (2900, 6500),
}
_BUILD_NAMES: Final = {
    "cpu": "PyTorch for the processor",
    "cuda": "PyTorch for NVIDIA graphics cards",
    "mps": "PyTorch for Apple graphics",
}

Report = Callable[[str, float], None]
"""``report(stage, fraction)``: a present participle for the artist, and 0..1."""


class InstallError(Exception):
    """The server could not be installed. ``str()`` is one sentence for the artist; ``details`` is for diagnostics."""

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class DiskFullError(InstallError):
    """There is no room."""


class InstallBusyError(InstallError):
    """Another Blender installs at this moment."""


class InstallCancelledError(InstallError):
    """The artist, or the end of Blender, stopped it."""


class NotSupportedError(InstallError):
    """The server's packages do not exist for this computer."""


# -- what there is -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bundle:
    """The server as it came inside the add-on's zip: its wheel, and lists of everything else with hashes."""

    folder: Path
    version: str

    @staticmethod
    def find(folder: Path) -> Bundle | None:
        """None in a build of the add-on that carries no server."""
        try:
            text = (folder / "server-wheel.txt").read_text(encoding="utf-8")
        except OSError:
            return None
        found = re.search(r"^chatpose-server==(\S+)", text, re.MULTILINE)
        return Bundle(folder, found.group(1)) if found else None

    def lists(self, build: str) -> tuple[Path, ...]:
        """The lists of a build, in the order in which they are installed."""
        torch = "torch-cuda.txt" if build == "cuda" else "torch-cpu.txt"
        return (self.folder / "server.txt", self.folder / torch)

    def fingerprint(self, build: str, python: tuple[int, int]) -> str:
        """Changes with everything that would make another environment."""
        digest = hashlib.sha256(f"{build} {python}".encode())
        for file in (*self.lists(build), self.folder / "server-wheel.txt"):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:8]


@dataclass(frozen=True)
class Python:
    """An interpreter that can make virtual environments."""

    path: str
    version: tuple[int, int]
    is_blenders: bool = False


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA card, as its driver names it."""

    name: str
    driver: str

    @property
    def is_usable(self) -> bool:
        """Whether the driver is new enough for the pinned PyTorch."""
        major = self.driver.split(".")[0]
        return major.isdigit() and int(major) >= OLDEST_CUDA_DRIVER


@dataclass(frozen=True)
class Settings:
    """What the artist may choose. ``wheels``: a folder of wheels for a computer without network. ``build``: AUTO, CPU
    or CUDA."""

    build: str = "AUTO"
    python: str = ""
    wheels: str = ""

    @property
    def wheels_folder(self) -> str:
        """The chosen folder, or the one that the environment names."""
        return self.wheels or os.environ.get(WHEELS_VARIABLE, "")


@dataclass(frozen=True)
class Installed:
    """A whole environment."""

    folder: Path
    version: str
    build: str
    python: str
    fingerprint: str

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return processes.python_in(self.folder)


@dataclass(frozen=True)
class Plan:
    """What one press of the button would do."""

    bundle: Bundle
    root: Path
    build: str
    python: Python
    gpu: Gpu | None = None
    wheels: str = ""
    cut_off: str = ""  # the stage at which the last install ended, "" where none did

    @property
    def fingerprint(self) -> str:
        """Of the environment that it would make."""
        return self.bundle.fingerprint(self.build, self.python.version)

    @property
    def folder(self) -> Path:
        """Where the environment goes. Short: Windows stops at 260 characters, and torch's own paths take 150."""
        return self.root / f"env-{self.fingerprint}"

    @property
    def download_mb(self) -> int:
        """About how much comes over the network."""
        return MODEL_MB + sum(_LISTS[file.name][0] for file in self.bundle.lists(self.build))

    @property
    def disk_mb(self) -> int:
        """About how much is on disk afterwards."""
        return MODEL_DISK_MB + sum(_LISTS[file.name][1] for file in self.bundle.lists(self.build))

    @property
    def needed_mb(self) -> int:
        """How much has to be free: the downloads lie beside what is made of them for a while."""
        return self.download_mb + self.disk_mb + _RESERVE_MB

    def consent(self) -> tuple[str, ...]:
        """What is done, how large it is, where it goes: to be read before the button is pressed."""
        what = f"{_BUILD_NAMES[self.build]}, the pose server's packages and a small language model"
        if self.wheels:
            source = f"Takes {what} from the folder {shown(self.wheels)}; nothing is downloaded but the language model"
        else:
            source = f"Downloads about {_size(self.download_mb)}: {what}"
        version = ".".join(map(str, self.python.version))
        python = "Blender's own Python" if self.python.is_blenders else "this computer's Python"
        lines = [
            source,
            f"Puts about {_size(self.disk_mb)} into {shown(self.root)}; Remove deletes it",
            f"Uses {python} {version} for an environment of its own; Blender is not changed",
            "The server runs on this computer only; what you write stays here",
        ]
        if self.gpu is not None and self.build == "cpu":
            lines.insert(1, self._why_not_cuda())
        if self.cut_off:
            lines.insert(0, f"The last install was cut off ({self.cut_off.lower()}); this goes on from there")
        return tuple(lines)

    def _why_not_cuda(self) -> str:
        assert self.gpu is not None
        if not self.gpu.is_usable:
            return f"{self.gpu.name} needs driver {OLDEST_CUDA_DRIVER} or newer to be used; it has {self.gpu.driver}"
        if sys.platform == "win32" and self.python.version == (3, 11):
            return f"To use {self.gpu.name}, install Python 3.12 or 3.13 first: its build of PyTorch needs one"
        return f"{self.gpu.name} is not used, as chosen in the preferences"


def shown(path: str | Path) -> str:
    """A path for the panel, without the artist's name where it lies in the home folder."""
    text, home = str(path), str(Path.home())
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"


# -- looking -------------------------------------------------------------------------------------------------------


def find_gpu() -> Gpu | None:
    """The first NVIDIA card that its driver's own tool knows."""
    tool = shutil.which("nvidia-smi")
    if tool is None and processes.WINDOWS:
        tool = str(Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvidia-smi.exe"))
    if tool is None:
        return None
    told = processes.ask([tool, "--query-gpu=name,driver_version", "--format=csv,noheader"], 20.0)
    parts = [part.strip() for part in (told or "").strip().splitlines()[:1] for part in part.split(",")]
    return Gpu(parts[0], parts[1]) if len(parts) == 2 and parts[0] else None


_PROBE: Final = (
    "import sys, venv, ensurepip, ssl, struct, sysconfig;"
    "free = sysconfig.get_config_var('Py_GIL_DISABLED') or 0;"
    "print(sys.version_info[0], sys.version_info[1], struct.calcsize('P'), int(free),"
    " getattr(sys, '_base_executable', None) or sys.executable, sep='\\t')"
)


def probe_python(path: str, is_blenders: bool = False) -> Python | None:
    """This interpreter, if the server can be installed with it: version, 64 bits, able to make environments."""
    if "WindowsApps" in path:  # the shop's stand-in opens a window; its Python writes to places other programs miss
        return None
    told = processes.ask([path, "-I", "-c", _PROBE])
    fields = (told or "").rstrip("\r\n").split("\t")
    if len(fields) != 5:
        return None
    version = (int(fields[0]), int(fields[1]))
    right = version in PYTHONS and fields[2] == "8" and fields[3] == "0"
    return Python(fields[4], version, is_blenders) if right else None


def _candidates() -> Iterator[str]:
    names = [f"python{major}.{minor}" for major, minor in PYTHONS] + ["python3", "python"]
    for name in names:
        found = shutil.which(name)
        if found:
            yield found
    launcher = shutil.which("py") if processes.WINDOWS else None
    if launcher:
        for major, minor in PYTHONS:
            told = processes.ask([launcher, f"-{major}.{minor}", "-c", "import sys; print(sys.executable)"])
            if told:
                yield told.strip()
    home = Path.home()
    for major, minor in PYTHONS:
        name = f"python{major}.{minor}"
        for folder in ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin",
                       f"/Library/Frameworks/Python.framework/Versions/{major}.{minor}/bin"):  # fmt: skip
            yield str(Path(folder, name))
        patterns = (f".pyenv/versions/{major}.{minor}*/bin/{name}",
                    f".local/share/uv/python/cpython-{major}.{minor}*/bin/{name}")  # fmt: skip
        for pattern in patterns:
            yield from map(str, sorted(home.glob(pattern), reverse=True))


def find_python(chosen: str, blenders: str, wanted: Sequence[tuple[int, int]] = PYTHONS) -> Python:
    """The chosen interpreter, else one of this computer's, else Blender's own. Raises InstallError."""
    named = chosen or os.environ.get(PYTHON_VARIABLE, "")
    if named:
        python = probe_python(named)
        if python is None:
            raise InstallError(
                f"{shown(named)} is not a 64-bit Python 3.11, 3.12 or 3.13 with its venv module;"
                " choose another one in the add-on's preferences."
            )
        return python
    seen: set[str] = set()
    for path in _candidates():
        if path in seen or not Path(path).is_file():
            continue
        seen.add(path)
        python = probe_python(path)
        if python is not None and python.version in wanted:
            return python
    python = probe_python(blenders, is_blenders=True)
    if python is None:
        raise InstallError(
            "No Python was found that the server can be installed with; install Python 3.12 from python.org"
            " (on Debian and Ubuntu also the package python3-venv) and press the button again."
        )
    return python


def choose_build(choice: str, gpu: Gpu | None, python: tuple[int, int], system: str, machine: str) -> str:
    """``cpu``, ``cuda`` or ``mps``. ``system``: as sys.platform says it. Raises NotSupportedError."""
    machine = machine.lower()
    if system == "darwin":
        if machine != "arm64":
            raise NotSupportedError(
                "The pose server needs a Mac with Apple silicon; run it on another computer and enter its address."
            )
        return "mps"
    if machine not in {"x86_64", "amd64"} and not (system == "linux" and machine in {"aarch64", "arm64"}):
        raise NotSupportedError(
            f"The pose server's packages do not exist for {machine} processors;"
            " run it on another computer and enter its address."
        )
    asked = choice == "CUDA" or (choice == "AUTO" and gpu is not None and gpu.is_usable)
    if asked and system == "win32" and python == (3, 11):
        return "cpu"  # PyTorch's file for it has no hash in our list
    return "cuda" if asked else "cpu"


def make_plan(bundle: Bundle, root: Path, settings: Settings, blenders_python: str) -> Plan:
    """Looks at this computer. Raises InstallError where the server cannot be installed on it."""
    gpu = find_gpu()
    newer = sys.platform == "win32" and settings.build != "CPU" and gpu is not None
    python = find_python(settings.python, blenders_python, PYTHONS[:2] if newer else PYTHONS)
    build = choose_build(settings.build, gpu, python.version, sys.platform, platform.machine())
    return Plan(bundle, root, build, python, gpu, settings.wheels_folder, cut_off_at(root))


def find_installed(root: Path) -> Installed | None:
    """The newest whole environment."""
    found: list[tuple[float, Installed]] = []
    for marker in root.glob(f"env-*/{MARKER}"):
        try:
            data = json.loads(marker.read_text(encoding="utf-8"))
            fields = {name: str(data[name]) for name in ("version", "build", "python", "fingerprint")}
            made = marker.stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue
        installed = Installed(marker.parent, **fields)
        if installed.interpreter.exists():  # its base may have been removed together with an old Blender
            found.append((made, installed))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def cut_off_at(root: Path) -> str:
    """The stage that an unfinished install had reached; "" where there is none."""
    try:
        return str(json.loads((root / NOTE).read_text(encoding="utf-8"))["stage"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


# -- installing ----------------------------------------------------------------------------------------------------


def install(plan: Plan, report: Report, stop: threading.Event, online: bool = True) -> Installed:
    """Makes the plan's environment whole; quick where it already is. Raises InstallError.

    ``online`` false: nothing is asked of the network, so that everything has to come from the folder of wheels.
    """
    lock = processes.FileLock(plan.root / "install.lock")
    try:
        if not lock.take():
            raise InstallBusyError("Another Blender is installing the server at this moment; wait until it is done.")
        return _Run(plan, report, stop, lock, online).make()
    except OSError as error:
        raise _of_the_system(error, plan.root) from error
    finally:
        lock.free()


def remove(root: Path) -> None:
    """Deletes every environment, the logs and what is half made. Raises InstallError."""
    lock = processes.FileLock(root / "install.lock")
    try:
        if not lock.take():
            raise InstallBusyError("Another Blender is installing the server at this moment; wait until it is done.")
        for folder in (*root.glob("env-*"), root / "tmp"):
            with contextlib.suppress(OSError):
                (folder / MARKER).unlink(missing_ok=True)  # first, so that half an environment is never taken for one
            if folder.exists():
                shutil.rmtree(folder)
        for name in (LOG, NOTE):
            (root / name).unlink(missing_ok=True)
    except OSError as error:
        raise InstallError(
            "The server's folder could not be deleted whole; close other Blender windows and try again.", repr(error)
        ) from error
    finally:
        lock.free()


def tidy(root: Path, keep: Installed) -> None:
    """Deletes the environments of other versions; one that is in use (on Windows) stays until the next time."""
    for folder in root.glob("env-*"):
        if folder != keep.folder:
            with contextlib.suppress(OSError):
                (folder / MARKER).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


class _Run:
    """One install."""

    def __init__(
        self, plan: Plan, report: Report, stop: threading.Event, lock: processes.FileLock, online: bool
    ) -> None:
        self._plan, self._report, self._stop, self._lock, self._online = plan, report, stop, lock, online
        self._folder, self._log, self._tmp = plan.folder, plan.root / LOG, plan.root / "tmp"
        self._python = processes.python_in(plan.folder)
        self._stage = ""

    def make(self) -> Installed:
        plan = self._plan
        there = find_installed(plan.root)
        if there is not None and there.fingerprint == plan.fingerprint and self._works(there.interpreter):
            return there
        self._log.write_bytes(b"")
        self._check_disk()
        shutil.rmtree(self._tmp, ignore_errors=True)
        self._tmp.mkdir(parents=True)
        (self._folder / MARKER).unlink(missing_ok=True)
        self._make_environment()
        lists = plan.bundle.lists(plan.build)
        total = sum(sum(_LISTS[file.name]) for file in lists)
        done = 0.0
        for file in lists:
            share = sum(_LISTS[file.name]) / total
            if self._missing(file):
                self._install_list(file, 0.04 + 0.76 * done, 0.76 * share)
            done += share
        left = self._missing(*lists)
        if left:
            names = ", ".join(left)
            raise InstallError(f"The environment is not whole ({names}); press the button again.", names)
        self._install_server()
        self._fetch_model()
        self._say("Trying it out", 0.96)
        self._call(
            [str(self._python), "-I", "-c", "import torch, transformers, chatpose_server.engine"], "Trying it out"
        )
        return self._finish()

    # -- steps -----------------------------------------------------------------------------------------------------
    def _check_disk(self) -> None:
        made = _megabytes_below(self._folder)
        free, needed = shutil.disk_usage(self._plan.root).free / 1e6, self._plan.needed_mb - made
        if free < needed:
            raise DiskFullError(
                f"The disk is too full: the server needs {_size(int(needed))} in {shown(self._plan.root)},"
                f" and {_size(int(free))} are free; free some space and press the button again."
            )

    def _make_environment(self) -> None:
        self._say("Making a Python environment", 0.01)
        if self._python.exists() and self._works(self._python, "import pip"):
            return
        python = self._plan.python
        try:
            self._call([python.path, "-I", "-m", "venv", "--clear", str(self._folder)], "Making a Python environment")
        except InstallError as error:
            if isinstance(error, InstallCancelledError | DiskFullError):
                raise
            raise InstallError(
                "Python could not make an environment; choose another Python in the add-on's preferences.",
                error.details,
            ) from error

    def _install_list(self, file: Path, start: float, share: float) -> None:
        pip = [*self._pip(), "--require-hashes", "-r", str(file)]
        download, disk = _LISTS[file.name]
        before = _megabytes_below(self._folder)

        def fraction() -> float:
            come = min(download, _megabytes_below(self._tmp))
            laid = min(disk, max(0.0, _megabytes_below(self._folder) - before))
            return start + share * (come + laid) / (download + disk)

        stage = "Fetching PyTorch" if file.name.startswith("torch") else "Fetching packages"
        try:
            self._call(pip, stage, fraction)
        except InstallError as error:
            # The ordinary index does not have PyTorch's own builds; uv knows where they are kept.
            elsewhere = file.name.startswith("torch") and not self._plan.wheels and self._online
            if not elsewhere or "No matching distribution found for torch" not in error.details:
                raise
            self._install_torch_with_uv(file, fraction)
        finally:
            shutil.rmtree(self._tmp, ignore_errors=True)
            self._tmp.mkdir(parents=True, exist_ok=True)

    def _install_torch_with_uv(self, file: Path, fraction: Callable[[], float]) -> None:
        self._call([*self._pip(), "--require-hashes", "-r", str(self._plan.bundle.folder / "uv.txt")], "Fetching uv")
        backend = "cu130" if self._plan.build == "cuda" else "cpu"
        command = [str(self._python), "-I", "-m", "uv", "pip", "install", "--python", str(self._python)]
        command += ["--torch-backend", backend, "--no-deps", "--require-hashes", "--no-build", "-r", str(file)]
        self._call(command, "Fetching PyTorch", fraction)

    def _install_server(self) -> None:
        bundle = self._plan.bundle
        command = [str(self._python), "-I", "-m", "pip", "install", "--no-deps", "--no-compile", "--force-reinstall"]
        command += ["--disable-pip-version-check", "--no-input", "--no-index", "--find-links", str(bundle.folder)]
        command += ["--require-hashes", "-r", str(bundle.folder / "server-wheel.txt")]
        self._say("Installing the server", 0.82)
        self._call(command, "Installing the server")

    def _fetch_model(self) -> None:
        self._say("Fetching the language model", 0.84)
        self._call([str(self._python), "-I", "-m", "chatpose_server", "models", "fetch"], "Fetching the language model")

    def _finish(self) -> Installed:
        plan = self._plan
        version = ".".join(map(str, plan.python.version))
        made = Installed(self._folder, plan.bundle.version, plan.build, version, plan.fingerprint)
        text = json.dumps({name: value for name, value in asdict(made).items() if name != "folder"}, indent=1)
        half = self._folder / f"{MARKER}.part"
        half.write_text(text, encoding="utf-8")
        half.replace(self._folder / MARKER)
        (plan.root / NOTE).unlink(missing_ok=True)
        shutil.rmtree(self._tmp, ignore_errors=True)
        return made

    # -- calling ---------------------------------------------------------------------------------------------------
    def _pip(self) -> list[str]:
        command = [str(self._python), "-I", "-m", "pip", "install", "--no-deps", "--only-binary", ":all:"]
        # Compiling every module takes longer than everything else; Python compiles the few that are used.
        command += ["--no-compile", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        return command + (["--no-index", "--find-links", self._plan.wheels] if self._plan.wheels else [])

    def _variables(self) -> dict[str, str]:
        tmp = str(self._tmp)  # not the system's, which is often small; and its growth is the progress
        variables = {"TMPDIR": tmp, "TEMP": tmp, "TMP": tmp, "UV_CACHE_DIR": str(self._tmp / "uv")}
        variables |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONIOENCODING": "utf-8"}
        variables |= offline_variables(self._plan.wheels, self._online)
        return variables

    def _works(self, python: Path, code: str = "import chatpose_server") -> bool:
        return processes.ask([str(python), "-I", "-c", code]) is not None

    def _missing(self, *lists: Path) -> list[str]:
        check = Path(__file__).with_name("env_check.py")
        told = processes.ask([str(self._python), "-I", str(check), *map(str, lists)], 300.0)
        if told is None:
            raise InstallError("The environment's Python does not start; press Remove, then install again.")
        return told.split()

    def _call(self, command: Sequence[str], stage: str, fraction: Callable[[], float] | None = None) -> None:
        """Runs one step; its output goes to the log. Raises InstallError."""
        self._say(stage)
        with self._log.open("ab") as log:
            start = log.tell()
            process = processes.spawn(
                command, cwd=self._plan.root, stdout=log, stderr=log, extra=self._variables(),
                holds=self._lock.descriptor,
            )  # fmt: skip
            try:
                while process.poll() is None:
                    if self._stop.wait(_LOOK_SECONDS):
                        raise InstallCancelledError(
                            "The install was stopped; press the button again and it goes on from there."
                        )
                    self._say(stage, fraction() if fraction else None)
            finally:
                if process.poll() is None:
                    processes.end(process.pid, _END_SECONDS, process)
        if process.returncode:
            with self._log.open("rb") as log:
                log.seek(start)
                said = log.read().decode("utf-8", "replace")
            raise _of_pip(said, self._plan.root)

    def _say(self, stage: str, fraction: float | None = None) -> None:
        if stage != self._stage:
            self._stage = stage
            note = {"stage": stage, "fingerprint": self._plan.fingerprint, "time": time.time()}
            (self._plan.root / NOTE).write_text(json.dumps(note), encoding="utf-8")
        self._report(stage, -1.0 if fraction is None else fraction)


def offline_variables(wheels: str, online: bool) -> dict[str, str]:
    """What tells every pip below us where it may look; the server uses pip itself for its model."""
    variables = {"PIP_FIND_LINKS": Path(wheels).as_uri()} if wheels else {}
    return variables if online else {**variables, "PIP_NO_INDEX": "1"}


def _megabytes_below(folder: Path) -> float:
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):  # pip moves files while we look
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - 20,000 of them, several times
    return total / 1e6


# What pip's output means, first match wins: (what it says, the error, what we say).
_DISK: Final = "The disk is full; free some space and press the button again."
_TROUBLES: Final[tuple[tuple[str, type[InstallError], str], ...]] = (
    (r"No space left on device|Errno 28|WinError 112|not enough space on the disk|not enough disk space",
     DiskFullError, _DISK),
    (r"DO NOT MATCH THE HASHES|Hash mismatch",
     InstallError, "A package is not the file that was expected, so it was not installed; press the button again, and"
                   " if it stays so, ask who looks after your network."),
    (r"IncompleteRead|Connection broken|Read timed out|ReadTimeoutError|Connection ?reset|RemoteDisconnected"
     r"|incomplete-download|BadZipFile|Wheel .* is invalid",
     InstallError, "A download broke off; press the button again and it goes on from there."),
    (r"No matching distribution found for (\S+)",
     InstallError, "The package {0} cannot be had for this computer and Python; check the network, or the folder of"
                   " wheels, and press the button again."),
    (r"NewConnectionError|Name or service not known|name resolution|getaddrinfo failed|Network is unreachable|dns error"
     r"|Failed to establish a new connection|ConnectTimeoutError|ProxyError|Connection refused|MaxRetryError",
     InstallError, "The package index cannot be reached; check the network and press the button again."),
    (r"WinError 206|filename or extension is too long|File name too long",
     InstallError, "A path is too long for Windows; switch on long paths in Windows and press the button again."),
    (r"Permission denied|Errno 13|WinError 5\b|WinError 32",
     InstallError, "A file may not be written, perhaps because a virus scanner holds it; press the button again."),
)  # fmt: skip


def _of_pip(said: str, root: Path) -> InstallError:
    for pattern, kind, sentence in _TROUBLES:
        found = re.search(pattern, said, re.IGNORECASE)
        if found:
            return kind(sentence.format(*found.groups()), said[-4000:])
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1][:160].rstrip(".") if lines else "no reason was given"
    return InstallError(f"The install failed ({last}); Copy Diagnostics has the whole story.", said[-4000:])


def _of_the_system(error: OSError, root: Path) -> InstallError:
    if error.errno == 28 or getattr(error, "winerror", 0) == 112:
        return DiskFullError(_DISK, repr(error))
    reason = error.strerror or type(error).__name__
    return InstallError(
        f"The folder {shown(root)} cannot be written ({reason}); check who owns it and press the button again.",
        repr(error),
    )
