"""Poses that are remembered across .blend files, newest first, with search and stars. Draws nothing.

A file of JSON lines in Blender's user folder: one line for a pose, one for each later change of its star or its end.
The main thread only looks at what is in memory; one worker thread reads and writes the file, in order. A line that is
damaged costs its pose, never the library. Several Blenders may append to one file.
"""

import json
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import bpy

from . import __package__ as base_package
from . import preferences, session

FILE_NAME = "library.jsonl"
MAX_ENTRIES = 2000  # 3 kB each; the oldest that has no star goes first
MAX_BYTES = 16 * 1024 * 1024  # of the file; of a larger one only the end is read
MAX_POSE = 32 * 1024  # characters of one pose; 55 joints take 4,000
MAX_WORDS = 2000  # characters of a prompt or an answer
LOOK_SECONDS = 0.1  # between looks whether the file was read


@dataclass(frozen=True)
class Entry:
    """One remembered pose. ``pose``: the wire's JSON. ``made``: seconds since 1970."""

    id: str
    made: float
    prompt: str
    text: str
    seed: int
    model: str
    pose: str
    starred: bool = False

    @property
    def words(self) -> str:
        """What a search looks through."""
        return f"{self.prompt}\n{self.text}\n{self.model}".casefold()


class History:
    """The remembered poses of one file; without a file they are remembered until Blender ends."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.problem = ""
        self.version = 0  # grows with every change
        self._entries: dict[str, Entry] = {}  # oldest first
        self._found: tuple[tuple[object, ...], list[Entry]] = ((), [])
        self._worker = ThreadPoolExecutor(1, "chatpose-library") if path is not None else None
        self._reading: Future[dict[str, Entry]] | None = None
        self._writing: list[Future[None]] = []
        if self._worker is not None and path is not None:
            self._reading = self._worker.submit(read, path)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_reading(self) -> bool:
        """Whether the file is still on its way."""
        return self._reading is not None

    def get(self, entry_id: str) -> Entry | None:
        """The pose with this id."""
        return self._entries.get(entry_id)

    def add(self, entry: Entry) -> None:
        """Remembers a pose."""
        self._entries[entry.id] = entry
        for old in _too_many(self._entries):
            del self._entries[old]
        self._write(json.dumps(asdict(entry)))

    def star(self, entry_id: str, starred: bool) -> None:
        """Marks a pose as a good one, or no longer; a pose that is gone is left alone."""
        entry = self._entries.get(entry_id)
        if entry is not None:
            self._entries[entry_id] = replace(entry, starred=starred)
            self._write(json.dumps({"id": entry_id, "starred": starred}))

    def remove(self, entry_ids: Iterable[str]) -> int:
        """Forgets poses; -> how many there were."""
        gone = [entry_id for entry_id in entry_ids if self._entries.pop(entry_id, None) is not None]
        if gone:
            self._write("\n".join(json.dumps({"id": entry_id, "removed": True}) for entry_id in gone))
        return len(gone)

    def matching(self, search: str = "", only_starred: bool = False) -> list[Entry]:
        """The poses that have all words of a search, newest first. Remembered until something changes."""
        asked = (self.version, search, only_starred)
        if self._found[0] != asked:
            words = search.casefold().split()
            found = [
                entry
                for entry in reversed(self._entries.values())
                if (entry.starred or not only_starred) and all(word in entry.words for word in words)
            ]
            self._found = (asked, found)
        return self._found[1]

    def take(self) -> bool:
        """Takes what the worker has done; -> whether it is still at work. Never waits."""
        if self._reading is not None and self._reading.done():
            try:
                self._entries = {**self._reading.result(), **self._entries}
            except OSError as error:
                self.problem = f"The library cannot be read ({error.strerror}); poses are kept until Blender ends"
            self._reading = None
            self.version += 1
        for done in [future for future in self._writing if future.done()]:
            self._writing.remove(done)
            error = done.exception()
            if error is not None:
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                self.problem = f"The library cannot be written ({reason}); poses are kept until Blender ends"
        return self._reading is not None or bool(self._writing)

    def close(self) -> None:
        """Ends the worker when it has written what it was given."""
        if self._worker is not None:
            self._worker.shutdown(wait=True)

    def _write(self, line: str) -> None:
        self.version += 1
        if self._worker is not None and self.path is not None:
            self._writing.append(self._worker.submit(_append, self.path, line))


# -- the file: worker thread only ------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Entry]:
    """The file's poses by id, oldest first; none where there is no file. Raises OSError.

    What is damaged is left out. A file with many dead lines is written anew, and a damaged one kept beside it.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - MAX_BYTES))
            lines = file.read(MAX_BYTES).splitlines()
    except FileNotFoundError:
        return {}
    entries: dict[str, Entry] = {}
    damaged = 0
    for line in lines:
        if line.strip():
            damaged += not _take_line(line, entries)
    for old in _too_many(entries):
        del entries[old]
    if damaged or size > MAX_BYTES or len(lines) > 2 * len(entries) + 100:
        _rewrite(path, entries, keep_old=bool(damaged))
    return entries


def _take_line(line: bytes, entries: dict[str, Entry]) -> bool:
    """Adds or changes what a line says; False where it says nothing that can be understood."""
    try:
        data = json.loads(line)
        entry_id = data["id"]
        if data.get("removed"):
            entries.pop(entry_id, None)
        elif "pose" not in data:
            if entry_id in entries:
                entries[entry_id] = replace(entries[entry_id], starred=bool(data["starred"]))
        else:
            pose = data["pose"]
            if not isinstance(pose, str) or not isinstance(entry_id, str) or len(pose) > MAX_POSE:
                return False
            words = {name: str(data[name])[:MAX_WORDS] for name in ("prompt", "text", "model")}
            seed, made, starred = int(data["seed"]), float(data["made"]), bool(data.get("starred"))
            entries[entry_id] = Entry(id=entry_id, made=made, seed=seed, pose=pose, starred=starred, **words)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return True


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line.encode() + b"\n")


def _rewrite(path: Path, entries: dict[str, Entry], keep_old: bool) -> None:
    """The file with one line for each pose. What cannot be replaced, as while another Blender has it open, stays."""
    new = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        new.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in entries.values()), encoding="utf-8")
        if keep_old:
            path.replace(path.with_suffix(".damaged"))
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)


def _too_many(entries: dict[str, Entry]) -> list[str]:
    """The ids that go so that the others fit: the oldest without a star, then the oldest."""
    over = len(entries) - MAX_ENTRIES
    if over <= 0:
        return []
    return [*(e.id for e in entries.values() if not e.starred), *(e.id for e in entries.values() if e.starred)][:over]


# -- this Blender's library --------------------------------------------------------------------------------------------

current = History(None)


def start() -> None:
    """Called when the add-on is enabled: begins to read the file. Without a window nothing is read or written."""
    if not bpy.app.background:
        open_in(Path(bpy.utils.extension_path_user(base_package)))


def open_in(folder: Path) -> None:
    """Uses the library in a folder, which is made when something is remembered."""
    global current  # noqa: PLW0603 - a library lives from register to unregister
    current.close()
    current = History(folder / FILE_NAME)
    wake()


def stop() -> None:
    """Called when the add-on is disabled."""
    global current  # noqa: PLW0603
    if bpy.app.timers.is_registered(pump):
        bpy.app.timers.unregister(pump)
    current.close()
    current = History(None)


def remember(*, prompt: str, text: str, seed: int, model: str, pose: str) -> None:
    """Adds a pose that was put on a character, unless the artist does not want that."""
    settings = preferences.get(bpy.context)
    if (settings is not None and not settings.remember_poses) or len(pose) > MAX_POSE:
        return
    words = (prompt[:MAX_WORDS], text[:MAX_WORDS])
    current.add(Entry(uuid.uuid4().hex, time.time(), *words, seed, model, pose))
    wake()


def wake() -> None:
    """Looks after the worker until it is done."""
    if not bpy.app.timers.is_registered(pump):
        bpy.app.timers.register(pump, first_interval=LOOK_SECONDS, persistent=True)


def pump() -> float | None:
    """One tick; None when the worker has nothing to do."""
    before = current.version, current.problem
    busy = current.take()
    if (current.version, current.problem) != before:
        session.redraw()
    return LOOK_SECONDS if busy else None
