"""The tasks, done by a worker in a process of its own: starts it, talks with it, outlives it.

A worker that dies (a crash in native code, the kernel out of memory, somebody's kill) fails the job that it was doing
and nothing else: another one takes its place and loads the same model. Knows no HTTP and no model.
"""

from __future__ import annotations

import collections
import itertools
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ..engine import Engine, OnText
from ..faults import ChatPoseError, Fault
from ..log import pass_on
from ..model_host import ModelHost, ModelStatus
from ..progress import Cancelled, Progress, no_progress
from ..tasks import PoseRequest, TaskRequest
from . import frames
from .answers import Answer, Vitals

COMMAND: tuple[str, ...] = (sys.executable, "-m", "chatpose_server.worker")

_LOOK_S: Final = 0.25  # how often a call that hears nothing asks whether it is still wanted
_END_S: Final = 6.0  # a worker told to end needs up to 4 s to clean up; then it is killed
_INTRODUCTION_S: Final = 60.0  # importing everything, on a cold disk
_RESTARTS_IN_A_ROW: Final = 3  # crashes without one answer between them; after that a request must ask for a worker

_log = logging.getLogger("chatpose.worker")


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of the model in the worker."""

    name: str
    device: str
    dtype: str
    licence: str
    accepts_images: bool


class _WorkerGone(Exception):  # noqa: N818 - a turn of events between this module's own functions
    """The worker died under a call. ``alone``: nothing else was running, so this call is what it died of."""

    def __init__(self, fault: Fault, alone: bool) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.alone = alone


@dataclass(eq=False)
class _Call:
    inbox: queue.SimpleQueue[frames.Message] = field(default_factory=queue.SimpleQueue[frames.Message])


class _Process:
    """One worker from its start to its end. Three threads: what it says, what it logs, what it is told."""

    def __init__(self, command: Sequence[str], heard: Callable[[_Process, frames.Message], None]) -> None:
        self.calls: dict[int, _Call] = {}
        self.ending = False  # we want it to end
        self._heard = heard
        self._numbers = itertools.count()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.last_words: collections.deque[str] = collections.deque(maxlen=60)
        window = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **window
        )
        self._logging, *others = (
            threading.Thread(target=work, name=f"chatpose-worker{work.__name__}", daemon=True)
            for work in (self._log, self._read, self._write)
        )
        self._logging.start()
        for thread in others:
            thread.start()

    def send(self, **message: Any) -> None:
        """Puts a message in line; never waits, however busy or hung the worker is."""
        self._outgoing.put(frames.packed(message))

    def begin(self, request: PoseRequest | TaskRequest) -> tuple[int, _Call]:
        """Sends a request; its answers come into the call's inbox."""
        number, call = next(self._numbers), _Call()
        message = frames.packed({"op": "answer", "id": number, "request": request})
        self.calls[number] = call
        self._outgoing.put(message)
        return number, call

    def kill(self) -> None:
        """At once."""
        with suppress(OSError):
            self.popen.kill()

    def end(self) -> None:
        """Closes its input, which it takes as the order to end; kills it when it does not."""
        self.ending = True
        self._outgoing.put(None)
        try:
            self.popen.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self.popen.wait()

    def _write(self) -> None:
        assert self.popen.stdin is not None
        with suppress(OSError), self.popen.stdin as pipe:  # a worker that is dead: _read sees that too
            while (message := self._outgoing.get()) is not None:
                pipe.write(message)
                pipe.flush()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        try:
            while (message := frames.read(cast(Any, self.popen.stdout))) is not None:
                call = self.calls.get(message.get("id", -1))
                if call is not None:
                    call.inbox.put(message)
                elif "id" not in message:
                    self._heard(self, message)
        except (frames.FrameError, OSError, ValueError) as error:
            if not self.ending:
                _log.warning("worker talks nonsense", extra={"why": str(error)})
        self.kill()  # it has closed its output, or nothing more that it says can be understood
        self.popen.wait()
        self._logging.join(1.0)  # its last words; a child of its own may keep that pipe open
        self._outgoing.put(None)
        self._heard(self, {"op": "ended"})

    def _log(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            pass_on(line, self.last_words)


class RemoteModels:
    """The worker's host as it last told of itself. ``ticket`` counts our wishes: what the worker said before it had
    heard of the newest is out of date.
    """

    def __init__(self, remote: Remote, default: str | None, quantize: str) -> None:
        self._remote = remote
        self._wishing = threading.Lock()  # wishes reach the worker in the order in which they were counted
        self._changed = threading.Condition()
        self._status = ModelStatus("empty", default)
        self._model: ModelFacts | None = None
        self.quantize = quantize
        self.ticket = 0

    @property
    def status(self) -> ModelStatus:
        """What the host is doing, as far as is known here."""
        with self._changed:
            return self._status

    @property
    def model(self) -> ModelFacts | None:
        """The loaded model, for reading."""
        with self._changed:
            return self._model

    def changed(self, timeout: float) -> ModelStatus:
        """Waits up to ``timeout`` seconds for the status to change, and returns it."""
        with self._changed:
            self._changed.wait(timeout)
            return self._status

    def load(self, name: str | None = None, quantize: str | None = None) -> None:
        """Starts to load ``name`` (default: the model asked for last) and returns at once. A worker that cannot be
        started is the status's error. Raises ChatPoseError no_model.
        """
        with self._wishing:
            with self._changed:
                wanted, how = name or self._status.name, self.quantize if quantize is None else quantize
                if wanted is None:
                    raise ChatPoseError(
                        "no_model", "No model was chosen.", hint="Start the server with --model, or load one."
                    )
                if self._status.state in ("loading", "ready") and (wanted, how) == (self._status.name, self.quantize):
                    return
                self.quantize = how
                self.ticket += 1
                ticket = self.ticket
                self._set(ModelStatus("loading", wanted, "Starting", 0.0), None)
            try:
                self._remote.living().send(op="load", model=wanted, quantize=how, ticket=ticket)
            except ChatPoseError as error:
                with self._changed:
                    self._set(ModelStatus("error", wanted, fault=error.fault), None)

    def unload(self) -> None:
        """Ends the worker after what it is doing: that alone gives back all memory, the GPU's too. The next request
        starts another one.
        """
        self._remote.end_worker()

    # -- from Remote -----------------------------------------------------------------------------------------------
    def hear(self, message: frames.Message) -> None:
        """The worker told how its host is."""
        with self._changed:
            if message["ticket"] < self.ticket:
                return
            facts = message["model"]
            self._set(message["status"], None if facts is None else ModelFacts(**facts))

    def lost(self, fault: Fault | None) -> ModelStatus:
        """The worker is gone, with the model; returns what was. ``fault``: the load that it took with it failed by."""
        with self._changed:
            before = self._status
            self.ticket += 1
            if before.state == "loading" and fault is not None:
                self._set(ModelStatus("error", before.name, fault=fault), None)
            elif before.state != "error":
                self._set(ModelStatus("empty", before.name), None)
            return before

    def _set(self, status: ModelStatus, model: ModelFacts | None) -> None:
        self._status, self._model = status, model
        self._changed.notify_all()


class Remote:
    """The Answerer whose work is done elsewhere. Starts its worker at the first need.

    ``limit_s``: a call that is still running after so many seconds is deaf to being cancelled, and its worker is
    killed; the queue has answered for it long before.
    """

    def __init__(
        self, model: str | None = None, quantize: str = "none", *, limit_s: float = 320.0,
        command: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        self._command = COMMAND if command is None else tuple(command)
        self._limit_s = limit_s
        self._models = RemoteModels(self, model, quantize)
        self._names = Engine(cast(ModelHost, self._models))  # reads the catalogue and the status, runs no task
        self._lock = threading.Lock()  # of the worker's coming and going
        self._process: _Process | None = None
        self._closed = False
        self._crashes = 0
        self._in_a_row = 0
        self._turns = threading.Condition()
        self._running = 0
        self._one_alone = False
        self._introduced = threading.Event()
        self._tasks: dict[str, bool] = {}
        self._priors: list[str] = []

    @property
    def models(self) -> RemoteModels:
        """The worker's host, seen from here."""
        return self._models

    def answer(
        self, request: PoseRequest | TaskRequest, progress: Progress = no_progress, on_text: OnText | None = None
    ) -> Answer:
        """See Answerer. A call whose worker died while another call was running too may not be what it died of; it
        is tried once more, with nothing beside it: the tasks are pure, so nobody sees the difference.
        """
        alone = False
        while True:
            with self._turn(alone, progress):
                try:
                    answer = self._ask(self.living(), request, progress, on_text)
                except _WorkerGone as gone:
                    if alone or gone.alone:
                        raise _error(gone.fault) from gone
                    alone = True
                else:
                    self._in_a_row = 0
                    return answer

    def tasks(self) -> dict[str, bool]:
        """See Answerer. Asked of the first worker, remembered after that; nothing, where none can be had."""
        self._introduce()
        return dict(self._tasks)

    def priors(self) -> list[str]:
        """See Answerer."""
        self._introduce()
        return list(self._priors)

    def list_models(self) -> list[dict[str, Any]]:
        """See Answerer."""
        return self._names.list_models()

    def check_model_name(self, name: str) -> None:
        """See Answerer."""
        self._names.check_model_name(name)

    def vitals(self) -> Vitals:
        """See Answerer."""
        process = self._process
        return Vitals(None if process is None else process.popen.pid, self._crashes)

    def close(self) -> None:
        """Ends the worker: orderly if it can, else by force."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is not None:
            process.end()

    # -- the worker's coming and going -------------------------------------------------------------------------------
    def living(self) -> _Process:
        """The worker, started if there is none. Raises ChatPoseError worker_crashed or shutting_down."""
        with self._lock:
            if self._closed:
                raise ChatPoseError("shutting_down", "The server is stopping and takes no more work.")
            if self._process is None:
                try:
                    process = _Process(self._command, self._heard)
                except OSError as error:
                    _log.error("worker not started", extra={"why": str(error)})
                    raise ChatPoseError(
                        "worker_crashed",
                        f"The model's process could not be started ({error.strerror or error}).",
                        hint="Free some memory and try again; 'chatpose-server doctor' shows what is missing.",
                    ) from error
                models = self._models
                process.send(model=models.status.name, quantize=models.quantize, ticket=models.ticket)
                self._process = process
            return self._process

    def end_worker(self) -> None:
        """Ends the worker when it has done what it is doing. Another one is started at need."""
        with self._turn(True, no_progress):
            with self._lock:
                process, self._process = self._process, None
            self._models.lost(None)
            if process is not None:
                process.end()

    def _heard(self, process: _Process, message: frames.Message) -> None:
        """What concerns no single call; in the process's reading thread."""
        match message["op"]:
            case "status" if process is self._process:
                self._models.hear(message)
            case "introduction":
                self._tasks, self._priors = message["tasks"], message["priors"]
                self._introduced.set()
            case "ended":
                self._buried(process)
            case _:
                pass

    def _buried(self, process: _Process) -> None:
        fault = _ENDING if process.ending else _cause(process.popen.returncode)
        with self._lock:
            wanted = process is self._process and not process.ending
            if process is self._process:
                self._process = None
        calls = list(process.calls.values())
        if wanted:
            self._crashes += 1
            self._in_a_row += 1
            _log.error(
                "worker died",
                extra={
                    "status": process.popen.returncode, "jobs": len(calls), "why": fault.message,
                    "last_words": list(process.last_words),
                },
            )  # fmt: skip
            before = self._models.lost(fault)
            if before.state == "ready" and self._in_a_row <= _RESTARTS_IN_A_ROW:
                self._models.load()
        for call in calls:
            call.inbox.put({"op": "gone", "fault": fault, "alone": len(calls) == 1})

    def _introduce(self) -> None:
        if not self._introduced.is_set():
            with suppress(ChatPoseError):
                self.living().send(op="introduce")
                self._introduced.wait(_INTRODUCTION_S)

    # -- one call ----------------------------------------------------------------------------------------------------
    @contextmanager
    def _turn(self, alone: bool, progress: Progress) -> Generator[None]:
        """Lets any number of calls run, or one with nothing beside it. Raises Cancelled through ``progress``."""
        with self._turns:
            while self._one_alone:
                self._turns.wait(_LOOK_S)
                progress("Waiting for the model", 0.0)
            self._one_alone = alone
            try:
                while alone and self._running:
                    self._turns.wait(_LOOK_S)
                    progress("Waiting for the model", 0.0)
            except BaseException:
                self._one_alone = False
                self._turns.notify_all()
                raise
            self._running += 1
        try:
            yield
        finally:
            with self._turns:
                self._running -= 1
                self._one_alone = self._one_alone and not alone
                self._turns.notify_all()

    def _ask(
        self, process: _Process, request: PoseRequest | TaskRequest, progress: Progress, on_text: OnText | None
    ) -> Answer:
        number, call = process.begin(request)
        cancelled = killed = False
        stage, fraction, end = "Starting", 0.0, time.monotonic() + self._limit_s
        try:
            if process.popen.poll() is not None:  # it died between being looked at and being asked
                call.inbox.put({"op": "gone", "fault": _cause(process.popen.returncode), "alone": False})
            while True:
                message: frames.Message = {"op": "silence"}
                with suppress(queue.Empty):
                    message = call.inbox.get(timeout=_LOOK_S)
                if not killed and time.monotonic() > end:
                    killed = True
                    _log.error("worker stuck", extra={"after_s": self._limit_s})
                    process.kill()
                try:
                    match message["op"]:
                        case "done":
                            return Answer(message["body"], message["usage"])
                        case "cancelled" | "gone" if killed or cancelled:
                            raise Cancelled
                        case "cancelled":  # by the worker itself, which was told to end
                            raise _error(_ENDING)
                        case "failed":
                            raise _error(message["fault"])
                        case "gone":
                            raise _WorkerGone(message["fault"], message["alone"])
                        case "progress":
                            stage, fraction = message["stage"], message["fraction"]
                            progress(stage, fraction)
                        case "text" if on_text is not None:
                            on_text(message["text"])
                        case _ if not cancelled:
                            progress(stage, fraction)
                        case _:
                            pass
                except Cancelled:
                    if message["op"] in ("cancelled", "gone"):
                        raise
                    if not cancelled:
                        cancelled = True
                        process.send(op="cancel", id=number)
        finally:
            process.calls.pop(number, None)


_ENDING: Final = Fault("shutting_down", "The server was stopped before this was done.", "Send it again.")


def _error(fault: Fault) -> ChatPoseError:
    return ChatPoseError(fault.code, fault.message, hint=fault.hint, param=fault.param, retry_after=fault.retry_after)


_WINDOWS: Final = {0xC0000005: "access violation", 0xC0000017: "no memory", 0xC00000FD: "stack overflow"}


def _cause(status: int) -> Fault:
    """Why a process ended, for the artist. ``status``: as ``Popen.returncode`` has it."""
    again = "Send it again; the model is being loaded anew."
    if status in (-9, 137):
        return Fault(
            "worker_crashed",
            "The model's process was ended by the system, most likely because the computer ran out of memory.",
            f"Close other programs or ask for less at once. {again}",
        )
    why = _WINDOWS.get(status & 0xFFFFFFFF, f"status {status}")
    if status < 0:
        with suppress(ValueError):
            why = signal.Signals(-status).name
    return Fault("worker_crashed", f"The model's process crashed while it was working ({why}).", again)
