"""The worker: ``python -m chatpose_server.worker``, started by ``remote`` and by nobody else.

It reads requests from standard input, answers on standard output, logs on standard error, and ends when its input
does: a server that was killed leaves no worker behind. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, Final

from .. import log
from ..engine import Engine
from ..faults import explain
from ..model_host import Loader, ModelHost, ModelStatus, load_from_catalogue
from ..progress import Cancelled
from . import frames
from .answers import InProcess

_log = logging.getLogger("chatpose.worker")

_END_GRACE_S: Final = 4.0  # for work and downloads to stop and clean up once the server has gone
_FRACTION_STEP: Final = 0.002  # smaller progress is not worth a message


class _Host(ModelHost):
    """A host that tells the server of every change, and which of the server's requests it had heard of by then."""

    def __init__(self, loader: Loader, first: frames.Message, worker: Worker) -> None:
        self._worker = worker
        self.ticket: int = first["ticket"]
        super().__init__(loader, first["model"], first["quantize"])

    def _set(self, status: ModelStatus) -> None:
        super()._set(status)
        model = None
        if status.state == "ready" and self._model is not None:
            names = ("name", "device", "dtype", "licence", "accepts_images")
            model = {name: getattr(self._model, name) for name in names}
        self._worker.send(op="status", status=status, model=model, ticket=self.ticket)

    def settled(self, timeout: float) -> None:
        """Waits until nothing is loaded, dropped or answered any more."""
        if self._in_use.acquire(timeout=timeout):
            self._in_use.release()


class Worker:
    """Answers what comes through ``requests``; every call has a thread, and one thread writes."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, loader: Loader) -> None:
        self._requests = requests
        self._answers = answers
        self._loader = loader
        self._outgoing: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._cancelled: dict[int, threading.Event] = {}  # by the number of a call that runs

    def run(self) -> None:
        """Until the requests end."""
        writer = threading.Thread(target=self._write, name="chatpose-write", daemon=True)
        writer.start()
        first = frames.read(self._requests)
        if first is None:
            return
        host = _Host(self._loader, first, self)
        tasks = InProcess(Engine(host))
        while (message := frames.read(self._requests)) is not None:
            match message["op"]:
                case "answer":
                    cancelled = self._cancelled[message["id"]] = threading.Event()
                    work = (tasks, message["id"], message["request"], cancelled)
                    threading.Thread(target=self._answer, args=work, daemon=True).start()
                case "cancel":
                    if message["id"] in self._cancelled:
                        self._cancelled[message["id"]].set()
                case "introduce":
                    threading.Thread(target=self._introduce, args=(tasks,), daemon=True).start()
                case "load":
                    host.ticket = message["ticket"]
                    host.load(message["model"], message["quantize"])
                case unknown:
                    raise frames.FrameError(f"The server asked for '{unknown}', which this worker does not know.")
        self._end(host)

    def send(self, **message: Any) -> None:
        """Puts a message in line; never waits."""
        self._outgoing.put(frames.packed(message))

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the server has gone; so will we, when the input ends
            while True:
                self._answers.write(self._outgoing.get())
                self._answers.flush()

    def _introduce(self, tasks: InProcess) -> None:
        """What can be done here; imports every room, which takes seconds."""
        self.send(op="introduction", tasks=tasks.tasks(), priors=tasks.priors())

    def _answer(self, tasks: InProcess, number: int, request: Any, cancelled: threading.Event) -> None:
        before: tuple[str, float] = ("", -1.0)

        def progress(stage: str, fraction: float) -> None:
            nonlocal before
            if cancelled.is_set():
                raise Cancelled
            if stage != before[0] or abs(fraction - before[1]) >= _FRACTION_STEP:
                before = (stage, fraction)
                self.send(op="progress", id=number, stage=stage, fraction=float(fraction))

        def on_text(text: str) -> None:
            if cancelled.is_set():
                raise Cancelled
            self.send(op="text", id=number, text=text)

        try:
            answer = tasks.answer(request, progress, on_text)
            self.send(op="done", id=number, body=answer.body, usage=dict(answer.usage))
        except Cancelled:
            self.send(op="cancelled", id=number)
        except BaseException as error:  # noqa: BLE001 - whatever a model does, only its job fails
            self.send(op="failed", id=number, fault=explain(error))
        finally:
            self._cancelled.pop(number, None)

    def _end(self, host: _Host) -> None:
        """Stops everything at its next step, so that a download in progress cleans up behind itself."""
        for cancelled in list(self._cancelled.values()):
            cancelled.set()
        threading.Thread(target=host.unload, daemon=True).start()  # gives up a load in progress
        host.settled(_END_GRACE_S)


def main(loader: Loader = load_from_catalogue) -> None:
    """The process's whole life."""
    # whoever else writes to standard output (a library, a child) must not write between our messages
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the server says when it is time
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    log.start()
    _offer_to_the_oom_killer()
    status = 1
    try:
        Worker(requests, answers, loader).run()
        status = 0
    except frames.FrameError as error:
        _log.error("server talks nonsense", extra={"why": str(error)})
    finally:
        sys.stderr.flush()
        os._exit(status)  # a thread deep in a model must not hold the process


def _offer_to_the_oom_killer() -> None:
    """Linux: when memory runs out, this process is ended before the one that answers HTTP."""
    with contextlib.suppress(OSError):  # another system, or a sandbox that does not allow it: the kernel chooses
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


if __name__ == "__main__":
    main()
