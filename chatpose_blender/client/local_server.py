"""The pose server of this computer: looked for, installed, started, kept, stopped, removed. Knows no bpy.

Rules: the main thread only asks (``survey``, ``install``, ``start``, ...) and drains; one worker thread does one thing
at a time and puts what is known now into the inbox. There is one server for all Blenders of a user: who starts it holds
a lock and writes down where it listens; who comes later finds that, asks /health, and shares it. Every Blender says
every ten seconds that it needs the server; a server that hears nobody ends by itself, so none is ever left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from . import local_install, processes
from .http import Client, ClientError, Endpoint, ServerTooNewError, ServerTooOldError, default_token_file, read_token
from .local_install import Bundle, InstallCancelledError, Installed, InstallError, Plan, Settings, shown

PORT: Final = 7673  # the server takes the next free one where it is taken, and says which
ALONE_SECONDS: Final = 15.0  # long enough to open another Blender, short enough not to be met afterwards
BEAT_SECONDS: Final = 10.0  # the server forgets a client after 30
START_SECONDS: Final = 180.0  # until it listens: PyTorch from a cold disk under a virus scanner
STOP_SECONDS: Final = 8.0  # what it may take for an orderly end
CLOSE_SECONDS: Final = 1.5  # what the end of Blender waits at most: for the farewell, and for pip to be ended
MAX_MISSED: Final = 2  # heartbeats without an answer after which the server counts as lost
RECORD: Final = "server.json"
SERVER_LOG: Final = "server.log"
_LOOK_SECONDS: Final = 0.1
_REPORT_SECONDS: Final = 0.2  # between two messages of progress
_DIAGNOSTIC_LINES: Final = 40


class Phase(Enum):
    """What the server of this computer is doing."""

    UNKNOWN = "unknown"  # nobody has looked yet
    NOT_INSTALLED = "not installed"
    INSTALLING = "installing"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"  # it listens; whether it is loading or ready, /health tells
    STOPPING = "stopping"
    LOST = "lost"  # it ran, and is gone without having been asked to go
    REMOVING = "removing"


AT_WORK: Final = frozenset({Phase.INSTALLING, Phase.STARTING, Phase.STOPPING, Phase.REMOVING})


@dataclass(frozen=True)
class Status:
    """All that the panel shows of it. ``problem``: one sentence on what failed last; ``log``: its last lines."""

    phase: Phase = Phase.UNKNOWN
    stage: str = ""
    fraction: float = 0.0
    problem: str = ""
    log: tuple[str, ...] = ()
    address: str = ""
    version: str = ""  # of the server that runs
    clients: int = 0  # Blenders that use it, this one included
    installed: Installed | None = None
    plan: Plan | None = None
    can_install: bool = True  # false in a build of the add-on that carries no server

    @property
    def at_work(self) -> bool:
        """Whether it will change without anybody doing anything."""
        return self.phase in AT_WORK

    @property
    def update(self) -> bool:
        """Whether the add-on carries another server than the one that is installed."""
        return None not in (self.installed, self.plan) and self.installed.version != self.plan.bundle.version


@dataclass(frozen=True)
class Diagnosed:
    """What Copy Diagnostics copies."""

    text: str


Message = Status | Diagnosed


@dataclass(frozen=True)
class Places:
    """``root``: the environment and the logs. ``shared``: where all Blenders of this user find the running server."""

    root: Path
    shared: Path

    @staticmethod
    def of(root: Path) -> Places:
        """Beside the token, which all of them share as well."""
        return Places(root, default_token_file().parent)


@dataclass(frozen=True)
class Record:
    """The server that somebody of this user has started."""

    pid: int
    address: str
    version: str

    @staticmethod
    def read(folder: Path) -> Record | None:
        """None where there is none, or none that can be read."""
        try:
            data = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            return Record(int(data["pid"]), str(data["address"]), str(data["version"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, folder: Path) -> None:
        """Whole or not at all."""
        half = folder / f"{RECORD}.{os.getpid()}"
        half.write_text(json.dumps(self.__dict__), encoding="utf-8")
        half.replace(folder / RECORD)


class LocalServer:
    """This Blender's hold on the server of this computer. Main thread only, except where a method says otherwise."""

    def __init__(self, places: Places, bundle: Bundle | None, blenders_python: str) -> None:
        self.status = Status(can_install=bundle is not None)
        self._places, self._bundle, self._blenders_python = places, bundle, blenders_python
        self._client_id = uuid.uuid4().hex
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._known = self.status  # the threads' own copy
        self._telling = threading.Lock()
        self._stop_work = threading.Event()
        self._worker: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._stop_keeping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._told = 0.0

    # -- asking ----------------------------------------------------------------------------------------------------
    @property
    def busy(self) -> bool:
        """Whether a worker is at something."""
        return self._worker is not None and self._worker.is_alive()

    @property
    def waiting(self) -> bool:
        """Whether draining can bring anything."""
        return self.busy or not self._inbox.empty()

    @property
    def keeping(self) -> bool:
        """Whether we share a running server, and so might lose it."""
        return self._keeper is not None and self._keeper.is_alive()

    def survey(self, settings: Settings, then_start: bool = False, online: bool = True) -> None:
        """Looks at what is installed and running, and at what an install would do; ``then_start``: starts it if it is
        there and not running.
        """
        self._begin(self._survey, settings, then_start, online)

    def install(self, settings: Settings, online: bool = True) -> None:
        """Installs, or updates, or takes up an install that was cut off; then starts."""
        self._begin(self._install, settings, online)

    def start(self, online: bool = True) -> None:
        """Starts the server, or joins the one that runs."""
        self._begin(self._start, online)

    def stop(self) -> None:
        """Ends the server, for every Blender."""
        self._begin(self._stop)

    def restart(self, online: bool = True) -> None:
        """Ends the server and starts the one that is installed."""
        self._begin(self._restart, online)

    def unload(self) -> None:
        """Has the server give its model's memory back; the next pose loads it again."""
        self._begin(self._unload)

    def remove(self) -> None:
        """Ends the server and deletes what was installed."""
        self._begin(self._remove)

    def diagnose(self, more: list[str]) -> None:
        """Collects what a maintainer needs to know; ``more``: lines of Blender's own to put first."""
        self._begin(self._diagnose, more)

    def cancel(self) -> None:
        """Stops what is under way; an install can be taken up again."""
        self._stop_work.set()

    def drain(self) -> list[Message]:
        """What has become known since the last time. Never waits."""
        messages: list[Message] = []
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return messages
            if isinstance(message, Status):
                self.status = message
                messages = [m for m in messages if not isinstance(m, Status)]  # only how it is now matters
            messages.append(message)

    def close(self) -> None:
        """Blender ends, or the add-on is disabled: stops what is under way and says farewell to the server."""
        self._stop_work.set()
        self._stop_keeping.set()
        limit = time.monotonic() + CLOSE_SECONDS
        for thread in (self._worker, self._keeper):
            if thread is not None:
                thread.join(max(0.0, limit - time.monotonic()))

    # -- the worker ------------------------------------------------------------------------------------------------
    def _begin(self, work: Callable[..., None], *args: Any) -> None:
        if self.busy:  # the buttons are grey then; a second call is a slip and not an order
            return
        self._stop_work.clear()
        self._worker = threading.Thread(target=self._guarded, args=(work, *args), name="chatpose-local", daemon=True)
        self._worker.start()

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            work(*args)
        except (InstallError, ClientError) as error:
            log = () if isinstance(error, InstallCancelledError) else self._log_tail()
            self._rest(str(error), log)
        except Exception as error:  # noqa: BLE001 - a thread that dies silently is a panel that waits for ever
            self._rest(f"ChatPose itself failed ({type(error).__name__}); use Copy Diagnostics and report it.", ())

    def _tell(self, **changes: Any) -> None:
        with self._telling:  # the worker and the keeper both do
            self._known = replace(self._known, **changes)
            self._inbox.put(self._known)

    def _rest(self, problem: str = "", log: tuple[str, ...] = ()) -> None:
        """Nothing is under way any more: says what there is."""
        installed = local_install.find_installed(self._places.root)
        if self.keeping:
            phase = Phase.RUNNING
        else:
            phase = Phase.STOPPED if installed is not None else Phase.NOT_INSTALLED
        self._tell(phase=phase, installed=installed, stage="", fraction=0.0, problem=problem, log=log)

    def _survey(self, settings: Settings, then_start: bool, online: bool) -> None:
        installed = local_install.find_installed(self._places.root)
        self._tell(installed=installed)
        record = Record.read(self._places.shared)
        if record is not None and self._answers(record):
            self._join(record)
        elif installed is not None and then_start:
            self._start(online)
        try:
            self._replan(settings)
        except InstallError:
            if installed is None and not self.keeping:  # else there is a server, and nobody asked for another
                raise
        self._rest()

    def _replan(self, settings: Settings) -> Plan | None:
        if self._bundle is None:
            return None
        plan = local_install.make_plan(self._bundle, self._places.root, settings, self._blenders_python)
        self._tell(plan=plan)
        return plan

    def _install(self, settings: Settings, online: bool) -> None:
        self._tell(phase=Phase.INSTALLING, stage="Looking at this computer", fraction=0.0, problem="", log=())
        plan = self._replan(settings)
        if plan is None:
            raise InstallError("This build of the add-on came without the server; install the add-on's full zip.")
        installed = local_install.install(plan, self._report_install, self._stop_work, online)
        runs = Record.read(self._places.shared)
        if runs is not None and self._answers(runs):  # what runs is the one from before the update
            self._end_server()
        self._tell(installed=installed, plan=replace(plan, cut_off=""))
        self._start(online)
        local_install.tidy(self._places.root, installed)

    def _report_install(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage == self._known.stage and now - self._told < _REPORT_SECONDS:
            return
        self._told = now
        log = tuple(processes.tail(self._places.root / local_install.LOG, local_install.LOG_LINES))
        self._tell(stage=stage, fraction=max(self._known.fraction, fraction), log=log)  # a bar never goes back

    # -- starting and sharing --------------------------------------------------------------------------------------
    def _start(self, online: bool) -> None:
        installed = local_install.find_installed(self._places.root)
        if installed is None:
            raise InstallError("The server is not installed yet; press Install Server.")
        self._tell(phase=Phase.STARTING, stage="Starting the server", fraction=0.0, problem="", installed=installed)
        with processes.locked(self._places.shared / "server.lock", START_SECONDS) as lock:
            if lock is None:
                raise InstallError("Another Blender has been starting the server for minutes; restart Blender.")
            record = Record.read(self._places.shared)
            if record is None or not self._answers(record):
                record = self._launch(installed, online)
        self._join(record)
        self._rest()

    def _launch(self, installed: Installed, online: bool) -> Record:
        root = self._places.root
        announcement, log = root / "announcement.json", root / SERVER_LOG
        with contextlib.suppress(OSError):
            log.replace(root / f"{SERVER_LOG}.1")
        command = [str(installed.interpreter), "-I", "-m", "chatpose_server", "serve", "--port", str(PORT)]
        command += ["--exit-when-alone", f"{ALONE_SECONDS:g}"]
        try:
            with announcement.open("wb") as out, log.open("wb") as errors:
                child = processes.spawn(
                    command, cwd=root, stdout=out, stderr=errors, extra=local_install.offline_variables("", online)
                )
        except OSError as error:
            raise InstallError(
                f"The server could not be started ({error.strerror}); press Remove, then install it again.", repr(error)
            ) from error
        self._child = child
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            said = announcement.read_text(encoding="utf-8", errors="replace")
            if said.endswith("\n"):
                record = _announced(said, child.pid)
                record.write(self._places.shared)
                return record
            if child.poll() is not None:
                raise InstallError(f"The server ended while starting: {self._last_words()}")
            if self._stop_work.wait(_LOOK_SECONDS):
                processes.end(child.pid, STOP_SECONDS, child)
                raise InstallCancelledError("The start was stopped.")
        processes.end(child.pid, STOP_SECONDS, child)
        raise InstallError("The server did not start within three minutes; use Copy Diagnostics and report it.")

    def _last_words(self) -> str:
        lines = [line for line in processes.tail(self._places.root / SERVER_LOG, 5) if not line.startswith("{")]
        said = lines[-1].removeprefix("chatpose-server: ") if lines else "it gave no reason."
        return said if said.endswith(".") else f"{said}."

    def _answers(self, record: Record) -> bool:
        """Whether it is a ChatPose server of ours that listens there, and not whoever got the port afterwards."""
        try:
            with contextlib.closing(Client(Endpoint(record.address))) as client:
                client.health()
                client.heartbeat(self._client_id)
        except (ServerTooOldError, ServerTooNewError):
            return False  # another add-on's; ours takes the next port
        except ClientError:
            return False
        return True

    def _join(self, record: Record) -> None:
        """From now on the server hears of us."""
        self._stop_keeping.set()
        self._stop_keeping = threading.Event()
        self._tell(address=record.address, version=record.version)
        self._keeper = threading.Thread(
            target=self._keep, args=(record, self._stop_keeping), name="chatpose-keeper", daemon=True
        )
        self._keeper.start()

    def _keep(self, record: Record, stop: threading.Event) -> None:
        """The keeper's thread: heartbeats until it is stopped, then a farewell."""
        missed = 0
        with contextlib.closing(Client(Endpoint(record.address))) as client:
            while True:
                try:
                    clients = client.heartbeat(self._client_id)
                    missed = 0
                    if clients != self._known.clients and not stop.is_set():
                        self._tell(clients=clients)
                except ClientError:
                    missed += 1
                if missed >= MAX_MISSED or (missed and self._child_ended()):
                    if not stop.is_set():
                        self._lose()
                    return
                if stop.wait(BEAT_SECONDS if missed == 0 else 1.0):
                    break
            with contextlib.suppress(ClientError):
                client.heartbeat(self._client_id, leaving=True)

    def _child_ended(self) -> bool:
        return self._child is not None and self._child.poll() is not None

    def _lose(self) -> None:
        problem = "The server ended unexpectedly; press Start Server."
        if self._child_ended():
            problem = f"The server ended unexpectedly: {self._last_words()} Press Start Server."
        self._tell(phase=Phase.LOST, problem=problem, log=self._log_tail(), address="", version="", clients=0)

    # -- stopping --------------------------------------------------------------------------------------------------
    def _stop(self) -> None:
        self._tell(phase=Phase.STOPPING, stage="Stopping the server", fraction=0.0, problem="")
        self._end_server()
        self._rest()

    def _restart(self, online: bool) -> None:
        self._stop()
        self._start(online)

    def _end_server(self) -> None:
        """Ends the server that the record names. A process that only has its number is left alone."""
        with processes.locked(self._places.shared / "server.lock", STOP_SECONDS) as lock:
            record = Record.read(self._places.shared) if lock is not None else None
            if record is not None:
                own = self._child if self._child is not None and self._child.pid == record.pid else None
                is_ours = own is not None or self._answers(record) or _is_server(record.pid)
                self._leave()
                if is_ours and (own is None or own.poll() is None):
                    processes.end(record.pid, STOP_SECONDS, own)
                (self._places.shared / RECORD).unlink(missing_ok=True)
        self._leave()
        self._child = None
        self._tell(address="", version="", clients=0)

    def _leave(self) -> None:
        self._stop_keeping.set()
        if self._keeper is not None:
            self._keeper.join(STOP_SECONDS)
        self._keeper = None

    def _unload(self) -> None:
        with contextlib.closing(Client(Endpoint(self._known.address))) as client:
            client.unload()
        self._tell(problem="")

    def _remove(self) -> None:
        self._tell(phase=Phase.REMOVING, stage="Removing the server", fraction=0.0, problem="", log=())
        self._end_server()
        local_install.remove(self._places.root)
        for name in (SERVER_LOG, f"{SERVER_LOG}.1", "announcement.json"):
            (self._places.root / name).unlink(missing_ok=True)
        self._rest()

    # -- telling ---------------------------------------------------------------------------------------------------
    def _log_tail(self) -> tuple[str, ...]:
        newest = max(
            (self._places.root / local_install.LOG, self._places.root / SERVER_LOG),
            key=lambda path: path.stat().st_mtime if path.exists() else 0.0,
        )
        return tuple(processes.tail(newest, local_install.LOG_LINES))

    def _diagnose(self, more: list[str]) -> None:
        known, root = self._known, self._places.root
        gpu = local_install.find_gpu()
        installed = known.installed
        lines = [
            *more,
            f"System: {platform.platform()} {platform.machine()}, {os.cpu_count()} cores",
            f"GPU: {gpu.name}, driver {gpu.driver}" if gpu else "GPU: none with NVIDIA's driver",
            f"Local server: {known.phase.value}, {known.stage} {known.problem}".strip(),
            f"Installed: {installed.version}, {installed.build}, Python {installed.python}" if installed
            else "Installed: nothing",
            f"Running: {known.version} at {known.address}, {known.clients} Blenders" if known.address
            else "Running: nothing",
            f"Carried by the add-on: {self._bundle.version if self._bundle else 'nothing'}",
        ]  # fmt: skip
        for name in (local_install.LOG, SERVER_LOG):
            lines += [f"-- {name}", *processes.tail(root / name, _DIAGNOSTIC_LINES)]
        token = read_token(Endpoint(f"http://127.0.0.1:{PORT}"))
        self._inbox.put(Diagnosed(scrub("\n".join(lines), token)))


def _is_server(pid: int) -> bool:
    """Whether a process that does not answer is a server all the same, by what the system says of it."""
    return "chatpose_server" in processes.command_of(pid)


def _announced(said: str, pid: int) -> Record:
    """The server's first line of output. Raises InstallError."""
    try:
        line = json.loads(said.splitlines()[0])
        return Record(pid, str(line["url"]), str(line["version"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InstallError("The server started with words that are not its own; install it again.", said) from error


def scrub(text: str, token: str = "") -> str:
    """Text for a bug report: without the token, the home folder or the user's name in paths."""
    if token:
        text = text.replace(token, "<token>")
    home = str(Path.home())
    if len(home) > 3:  # not "/"
        text = text.replace(home, "~").replace(home.replace("\\", "\\\\"), "~").replace(Path.home().as_posix(), "~")
    # A name may hold spaces where a separator follows it; too much taken away is better than too little.
    text = re.sub(r"(?i)([\\/](?:home|users)[\\/]+)(?:[^\\/\"'\n]+(?=[\\/])|[^\\/\s\"']+)", r"\1<user>", text)
    return re.sub(r"(?i)(bearer\s+)\S+", r"\1<token>", text)


__all__ = ["Diagnosed", "LocalServer", "Message", "Phase", "Places", "Record", "Settings", "Status", "scrub", "shown"]
