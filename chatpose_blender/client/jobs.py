"""Worker threads and the inbox between them and Blender's main thread. Knows no bpy.

Rules: a worker only talks to the server and puts messages into the inbox. The main thread only submits, cancels and
drains; it never waits. A job is known by its handle from end to end; when it was cancelled or is over, whatever still
arrives for that handle is dropped. With no job and no check under way nothing runs and nothing is asked.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from . import connection as conn
from .contract import Capabilities, Health, JobStatus, Request
from .http import (
    AnswerCutOffError,
    Client,
    ClientError,
    Endpoint,
    JobForgottenError,
    ServerOffError,
    ServerSilentError,
    failure_sentence,
)

LONG_POLL_SECONDS: Final = 0.5  # the server answers at once when a job ends; this is how often progress is renewed
LOADING_LOOK_SECONDS: Final = 0.7  # between looks at a server that loads its model
LOADING_LIMIT_SECONDS: Final = 1800.0  # a first start downloads the model; half an hour is a slow line, more is a fault
RETRY_PAUSES: Final = (0.2, 0.6)  # a dropped keep-alive connection heals in one try; a dead server does not
CLOSE_SECONDS: Final = 0.3  # what disabling the add-on may wait for its threads


@dataclass(frozen=True)
class Connected:
    """What is known of the server has changed."""

    connection: conn.Connection


@dataclass(frozen=True)
class Progressed:
    """A job moved on: ``text`` is the answer so far."""

    handle: str
    status: JobStatus


@dataclass(frozen=True)
class Finished:
    """A job is done. ``result`` is the server's Result, or what an errand gave."""

    handle: str
    result: Any


@dataclass(frozen=True)
class Failed:
    """A job will give nothing. ``sentence`` says why; ``by_server``: the server is well and ended the job itself."""

    handle: str
    sentence: str
    code: str
    details: str = ""
    by_server: bool = False


Message: TypeAlias = Connected | Progressed | Finished | Failed


Errand: TypeAlias = Callable[[Callable[[str, float], None], threading.Event], Any]
"""Work that needs no server, as reading a picture: gets ``report(stage, fraction)`` and an event that asks it to stop.

Runs in a thread; what it returns comes as Finished. Raises ClientError for what the artist is to be told.
"""


@dataclass
class _Job:
    handle: str
    endpoint: Endpoint
    request: Request | None
    cancelled: threading.Event = field(default_factory=threading.Event)
    server_id: str = ""


class Jobs:
    """All work that is under way for this Blender. Main thread only, except where a method says otherwise."""

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Message | _CheckOver] = queue.SimpleQueue()
        self._jobs: dict[str, _Job] = {}
        self._check: threading.Event | None = None  # set to stop the check that is under way
        self._threads: list[threading.Thread] = []

    @property
    def waiting(self) -> bool:
        """Whether anything is under way, that is whether draining can bring anything."""
        return bool(self._jobs) or self._check is not None or not self._inbox.empty()

    def is_alive(self, handle: str) -> bool:
        """Whether this job may still bring an answer."""
        return handle in self._jobs

    def submit(self, endpoint: Endpoint, request: Request) -> str:
        """Starts a job and gives its handle at once. Everything that goes wrong comes as a Failed message."""
        job = _Job(uuid.uuid4().hex, endpoint, request)
        self._jobs[job.handle] = job
        self._start(self._run_job, job)
        return job.handle

    def run(self, errand: Errand) -> str:
        """Starts work of our own in a thread and gives its handle at once."""
        job = _Job(uuid.uuid4().hex, Endpoint(), None)
        self._jobs[job.handle] = job
        self._start(self._run_errand, job, errand)
        return job.handle

    def cancel(self, handle: str) -> bool:
        """Forgets a job and tells the server; its answer, should one come, is dropped. False if it was over."""
        job = self._jobs.pop(handle, None)
        if job is None:
            return False
        job.cancelled.set()
        if job.server_id:
            self._start(_tell_server, job)
        return True

    def check(self, endpoint: Endpoint) -> None:
        """Looks for the server, and on until it has finished loading. A check that is under way is replaced."""
        if self._check is not None:
            self._check.set()
        self._check = threading.Event()
        self._start(self._run_check, endpoint, self._check)

    def drain(self, seconds: float) -> list[Message]:
        """Messages that have arrived, for at most ``seconds``, late ones dropped. Never waits."""
        end = time.perf_counter() + seconds
        messages: list[Message] = []
        while time.perf_counter() < end:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, _CheckOver):
                if message.stop is self._check:
                    self._check = None
            elif isinstance(message, Connected):
                messages.append(message)
            elif message.handle in self._jobs:
                if not isinstance(message, Progressed):
                    del self._jobs[message.handle]
                elif messages and isinstance(messages[-1], Progressed) and messages[-1].handle == message.handle:
                    messages.pop()  # only where the job is now matters, not where it was
                messages.append(message)
        return messages

    def close(self) -> None:
        """Cancels everything and lets the threads end; those that hang on a dead server end with Blender."""
        for handle in list(self._jobs):
            self.cancel(handle)
        if self._check is not None:
            self._check.set()
            self._check = None
        end = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        while not self._inbox.empty():
            self._inbox.get_nowait()

    # -- worker threads --------------------------------------------------------------------------------------------
    def _start(self, target: Callable[..., None], *args: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=args, name="chatpose", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run_check(self, endpoint: Endpoint, stop: threading.Event) -> None:
        try:
            client = Client(endpoint)
            try:
                self._await_ready(client, stop)
            finally:
                client.close()
        except ClientError as error:
            if not stop.is_set():
                self._inbox.put(Connected(conn.Connection().after_error(error)))
        except Exception as error:  # noqa: BLE001 - a thread that dies silently is a panel that waits for ever
            self._inbox.put(Connected(conn.Connection(conn.State.ERROR, _unforeseen(error))))
        finally:
            self._inbox.put(_CheckOver(stop))

    def _run_job(self, job: _Job) -> None:
        try:
            client = Client(job.endpoint)
            try:
                self._work(client, job)
            finally:
                client.close()
        except ClientError as error:
            self._fail(job, error)
        except Exception as error:  # noqa: BLE001 - as above
            self._inbox.put(Failed(job.handle, _unforeseen(error), "unforeseen", repr(error)))

    def _run_errand(self, job: _Job, errand: Errand) -> None:
        def report(stage: str, fraction: float) -> None:
            self._inbox.put(Progressed(job.handle, JobStatus(job.handle, "running", stage, fraction)))

        try:
            self._inbox.put(Finished(job.handle, errand(report, job.cancelled)))
        except ClientError as error:
            self._inbox.put(Failed(job.handle, str(error), error.code, error.details))
        except Exception as error:  # noqa: BLE001 - as above
            self._inbox.put(Failed(job.handle, _unforeseen(error), "unforeseen", repr(error)))

    def _work(self, client: Client, job: _Job) -> None:
        if not self._await_ready(client, job.cancelled):
            return
        status = _persist(lambda: client.submit(job.request, job.handle), job.cancelled)
        job.server_id = status.id
        looks = _looks(client, job)
        while not status.finished:
            if job.cancelled.is_set():  # cancelled while the job was being sent, when its id was not known yet
                client.cancel(job.server_id)
                return
            self._inbox.put(Progressed(job.handle, status))
            status = next(looks)
        if status.result is not None:
            self._inbox.put(Finished(job.handle, status.result))
        elif status.state == "cancelled":
            sentence = "The server cancelled this job; try again."
            self._inbox.put(Failed(job.handle, sentence, "cancelled", by_server=True))
        else:
            self._inbox.put(_failure(job.handle, status))

    def _await_ready(self, client: Client, stop: threading.Event) -> bool:
        """Waits while the server loads, telling the panel. False when stopped; ClientError when it is not usable."""
        end = time.monotonic() + LOADING_LIMIT_SECONDS
        while not stop.is_set():
            health = client.health()
            if health.status not in {"loading", "starting"}:
                connection = conn.from_health(health, _capabilities(client, health))
                if connection.state is conn.State.ERROR:
                    raise ClientError(connection.text)
                self._inbox.put(Connected(connection))
                return True
            self._inbox.put(Connected(conn.from_health(health)))
            if time.monotonic() > end:
                raise ClientError("The server has been loading for half an hour; look at its own window.")
            stop.wait(LOADING_LOOK_SECONDS)
        return False

    def _fail(self, job: _Job, error: ClientError) -> None:
        in_mid_job = bool(job.server_id)
        sentence = str(error)
        if in_mid_job and isinstance(error, ServerOffError | ServerSilentError | AnswerCutOffError | JobForgottenError):
            sentence = "The server stopped in the middle of this job; start it again and repeat."
        connection = conn.Connection().after_error(error, in_mid_job=in_mid_job)
        if connection.state is not conn.State.UNKNOWN and not job.cancelled.is_set():
            self._inbox.put(Connected(connection))
        self._inbox.put(Failed(job.handle, sentence, error.code, error.details))


@dataclass(frozen=True)
class _CheckOver:
    stop: threading.Event


def _capabilities(client: Client, health: Health) -> Capabilities | None:
    return client.capabilities() if health.status == "ready" else None


def _looks(client: Client, job: _Job) -> Iterator[JobStatus]:
    """The job at every change, its text as it is written; by long-polls where there are no events to be had.

    Whatever is wrong with the events, the next look finds out and says better.
    """
    with contextlib.suppress(ClientError):
        yield from client.events(job.server_id)
    while True:
        yield _persist(lambda: client.look(job.server_id, LONG_POLL_SECONDS), job.cancelled)


def _persist(ask: Callable[[], JobStatus], stop: threading.Event) -> JobStatus:
    """Repeats a request that may be repeated: submitting has an idempotency key and looking changes nothing."""
    for pause in RETRY_PAUSES:
        try:
            return ask()
        except (ServerOffError, AnswerCutOffError):
            if stop.wait(pause):
                break
    return ask()


def _failure(handle: str, status: JobStatus) -> Failed:
    if status.failure is None:
        sentence = "The server could not do this and did not say why; look at its own window."
        return Failed(handle, sentence, "failed", by_server=True)
    sentence = failure_sentence(status.failure.message, status.failure.hint)
    details = f"{status.failure.code}: {status.failure.message}"
    return Failed(handle, sentence, status.failure.code, details, by_server=True)


def _tell_server(job: _Job) -> None:
    """Sends the cancellation; nobody waits for it and nothing depends on it, the answer is dropped either way."""
    try:
        client = Client(job.endpoint)
        try:
            client.cancel(job.server_id)
        finally:
            client.close()
    except ClientError:
        return


def _unforeseen(error: Exception) -> str:
    return f"ChatPose itself failed ({type(error).__name__}); use Copy Details and report it."
