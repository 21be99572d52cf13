"""Pictures and movies that the server cannot read, made readable by a second Blender without a window.

A worker thread waits for it; Blender's own image functions would hold up the whole window for as long as they read.
Knows no bpy: what starts a Blender is handed in.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .picture import PictureError

LIMIT_SECONDS: Final = 300.0  # for one picture; a Blender starts in one to four, in a minute on a busy machine
STILL_SECONDS: Final = 300.0  # with no word from a movie: a hang
MOVIE_SIDE: Final = 1280  # pixels: a person in a film still is found at this size
SMALL_SIDE: Final = 256  # pixels of a thumbnail
MOVIES: Final = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"})
_REASONS: Final = 500  # characters of its output, for Copy Details


@dataclass(frozen=True)
class Converter:
    """``command``: what runs image_reader.py in a new Blender, its arguments to follow. ``folder``: for the copies."""

    command: tuple[str, ...]
    folder: Path
    stopped: threading.Event

    def picture(self, file: Path, turn: int) -> Path:
        """An upright JPEG of a picture; ``turn`` is its EXIF orientation. Raises PictureError."""
        copy = self.folder / f"{file.stem[:60]}-{zlib.crc32(str(file).encode()):08x}.jpg"
        copy.unlink(missing_ok=True)
        self._run(["picture", str(file), str(copy), str(turn)], lambda line: None, LIMIT_SECONDS)
        if not copy.exists():
            raise PictureError(f"'{file.name}' is damaged or not a picture; save it again as PNG or JPEG.")
        return copy

    def small(self, file: Path, turn: int) -> NDArray[np.uint8]:
        """(H, W, 3), the bottom row first: a picture as a thumbnail, upright. Raises PictureError."""
        copy = self.folder / f"small-{threading.get_ident()}-{zlib.crc32(str(file).encode()):08x}.npy"
        copy.unlink(missing_ok=True)
        self._run(["small", str(file), str(copy), str(turn), str(SMALL_SIDE)], lambda line: None, LIMIT_SECONDS)
        values = _load(copy, file)
        copy.unlink(missing_ok=True)
        return values

    def still(self, movie: Path, frame: int) -> tuple[Path, NDArray[np.uint8]]:
        """One frame of a movie (counted from 1): a JPEG, and its thumbnail as ``small``. Read once for both and kept.

        Raises PictureError.
        """
        try:
            told = movie.stat()
        except OSError as error:
            raise PictureError(f"'{movie.name}' cannot be read: {error.strerror or error}.") from error
        version = zlib.crc32(f"{movie} {told.st_mtime_ns} {told.st_size}".encode())
        folder = self.folder / f"still-{version:08x}"
        folder.mkdir(exist_ok=True)
        copy, thumbnail = folder / f"{frame}.jpg", folder / f"{frame}.npy"
        if not thumbnail.exists():
            numbers = [str(frame), str(MOVIE_SIDE), str(thumbnail), str(SMALL_SIDE)]
            self._run(["still", str(movie), str(copy), *numbers], lambda line: None, STILL_SECONDS)
        if not thumbnail.exists():
            raise PictureError(f"'{movie.name}' has no frame {frame}, or it cannot be read.")
        return copy, _load(thumbnail, movie)

    def movie(self, file: Path, frames: range, report: Callable[[int], None]) -> list[Path]:
        """A movie's frames (counted from 1) as JPEGs; ``report(count)`` as they come. Raises PictureError.

        For a sequence of pictures, ``file`` is one of them and the frames are the numbers in their names.
        """
        kind = "movie" if file.suffix.lower() in MOVIES else "sequence"
        arguments = [kind, str(file), str(self.folder), str(frames.start), str(len(frames)), str(frames.step)]
        made: list[Path] = []

        def take(line: str) -> None:
            if line.startswith("FRAME "):
                made.append(Path(line.removeprefix("FRAME ").strip()))
                report(len(made))

        self._run([*arguments, str(MOVIE_SIDE)], take, STILL_SECONDS)
        if not made:
            raise PictureError(f"No frame of '{file.name}' can be read; check the file and the first frame.")
        return made

    def _run(self, arguments: list[str], take: Callable[[str], None], still: float) -> None:
        """Runs to its end, its output line by line; ends it when asked to stop or when nothing comes for ``still``."""
        quiet = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {}
        tail = ""
        try:
            process = subprocess.Popen(
                [*self.command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                **quiet,
            )
        except OSError as error:
            raise PictureError("A second Blender to read the picture cannot be started.", str(error)) from error
        watch = _Watch(process, self.stopped, still)
        with process, watch:
            assert process.stdout is not None
            for line in process.stdout:
                watch.alive()
                tail = (tail + line)[-_REASONS:]
                take(line)
        if self.stopped.is_set():
            raise PictureError("Cancelled; nothing was changed.")
        if watch.hung:
            raise PictureError("Reading the picture took too long; save it as PNG or JPEG first.", tail)
        if process.returncode:
            raise PictureError("Blender cannot read this picture; save it again as PNG or JPEG.", tail)


def _load(thumbnail: Path, of: Path) -> NDArray[np.uint8]:
    try:
        return np.load(thumbnail, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise PictureError(f"'{of.name}' is damaged or not a picture; save it again as PNG or JPEG.") from error


class _Watch(contextlib.AbstractContextManager["_Watch"]):
    """Ends a process that is no longer wanted or says nothing any more."""

    def __init__(self, process: subprocess.Popen[str], stopped: threading.Event, still: float) -> None:
        self._process, self._stopped, self._still = process, stopped, still
        self._heard, self._over = threading.Event(), threading.Event()
        self.hung = False
        self._thread = threading.Thread(target=self._look, name="chatpose", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.wait()
        self._over.set()
        self._thread.join()

    def alive(self) -> None:
        """Something was heard."""
        self._heard.set()

    def _look(self) -> None:
        silent = 0.0
        while not self._over.wait(0.1):
            silent = 0.0 if self._heard.is_set() else silent + 0.1
            self._heard.clear()
            self.hung = silent > self._still
            if self.hung or self._stopped.is_set():
                self._process.kill()
                return
