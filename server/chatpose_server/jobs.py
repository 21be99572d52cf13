"""Who works when: bounded lanes of jobs, their progress, cancelling, time limits, and what is kept of them afterwards.

Knows nothing of HTTP, of poses, or of what a job does. Every public method may be called from any thread.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from .faults import ChatPoseError, Fault, explain
from .progress import Cancelled

_log = logging.getLogger("chatpose.jobs")

State: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
OVER: Final[frozenset[State]] = frozenset({"done", "failed", "cancelled"})

_STOP_GRACE_S: Final = 5.0  # beyond its limit a job may need this long to reach a step where it can stop


@dataclass(frozen=True)
class Limits:
    """How much is taken on and how long it is kept; ``*_s`` in seconds."""

    waiting: int = 64
    per_client: int = 8  # waiting or running
    waiting_bytes: int = 128_000_000  # of requests, pictures above all
    run_s: float = 300.0
    kept: int = 512  # finished jobs
    kept_s: float = 900.0
    kept_bytes: int = 64_000_000  # of their results


@dataclass(frozen=True)
class JobView:
    """A job at one moment. ``result``: the JSON text of the answer, encoded once by the worker. ``version`` grows with
    every change. ``position``: 1 for the next to be run, None when not queued.
    """

    id: str
    task: str
    state: State
    stage: str
    fraction: float
    position: int | None
    text: str
    result: bytes | None
    fault: Fault | None
    version: int

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in OVER


class Control:
    """What a running job holds: it reports through ``progress`` and ``on_text``, and is stopped by them."""

    def __init__(self, queue: JobQueue, job: _Job) -> None:
        self._queue = queue
        self._job = job

    def progress(self, stage: str, fraction: float) -> None:
        """See ``chatpose_server.progress``. Raises Cancelled."""
        self._queue._report(self._job, stage=stage, fraction=fraction)  # pyright: ignore[reportPrivateUsage]

    def on_text(self, text: str) -> None:
        """The answer's words so far. Raises Cancelled."""
        self._queue._report(self._job, text=text)  # pyright: ignore[reportPrivateUsage]


Work: TypeAlias = Callable[[Control], Mapping[str, Any] | bytes]
"""What a job does: returns the JSON object of its answer, or that object's JSON text, or raises."""


@dataclass(eq=False)
class _Job:
    """A job's inside; touched only under the queue's lock."""

    id: str
    task: str
    client: str
    lane: str
    work: Work | None
    weight: int
    key: tuple[str, str] | None
    fingerprint: str
    state: State = "queued"
    stage: str = "Waiting in the queue"
    fraction: float = 0.0
    text: str = ""
    result: bytes | None = None
    fault: Fault | None = None
    version: int = 1
    cancel_asked: bool = False
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    watchers: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


@dataclass
class _Lane:
    waiting: deque[_Job] = field(default_factory=deque[_Job])
    running: _Job | None = None
    worker: threading.Thread | None = None


@dataclass(frozen=True)
class QueueStats:
    """Counts for /metrics. ``finished``: (task, state) -> how many; ``seconds``: task -> total run time."""

    waiting: int
    running: int
    kept: int
    kept_bytes: int
    submitted: int
    refused: int
    finished: Mapping[tuple[str, str], int]
    seconds: Mapping[str, float]


class JobQueue:
    """Lanes of jobs, one worker thread each: work in a lane is serial, lanes run side by side.

    The first final state of a job is the one that stays: what a worker brings late is dropped.
    """

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._jobs: OrderedDict[str, _Job] = OrderedDict()  # oldest first
        self._over: OrderedDict[str, _Job] = OrderedDict()  # in the order they ended
        self._keys: dict[tuple[str, str], str] = {}
        self._lanes: dict[str, _Lane] = {}
        self._closing = False
        self._submitted = 0
        self._refused = 0
        self._kept_bytes = 0
        self._finished: dict[tuple[str, str], int] = {}
        self._seconds: dict[str, float] = {}
        self._typical_s = 1.0  # moving average of run times, for Retry-After

    # -- from outside ----------------------------------------------------------------------------------------------
    def submit(
        self,
        work: Work,
        *,
        task: str,
        client: str = "",
        lane: str = "light",
        weight: int = 0,
        key: str | None = None,
        fingerprint: str = "",
    ) -> JobView:
        """Puts work in line. ``weight``: bytes that the request holds on to. ``key``: the client's Idempotency-Key;
        the same key with the same ``fingerprint`` gives the job made before, with another one an error.

        Raises ChatPoseError: queue_full, client_queue_full, idempotency_conflict, shutting_down.
        """
        with self._changed:
            self._tidy()
            whole_key = None if key is None else (client, key)
            if whole_key in self._keys:
                before = self._jobs[self._keys[whole_key]]
                if before.fingerprint != fingerprint:
                    raise ChatPoseError(
                        "idempotency_conflict",
                        "This Idempotency-Key was already used for another request.",
                        hint="Use a fresh key for every new request.",
                    )
                return self._view(before)
            if self._closing:
                raise ChatPoseError("shutting_down", "The server is stopping and takes no more work.")
            self._check_room(client, weight)
            job = _Job(
                secrets.token_hex(12), task, client, lane, work, weight, whole_key, fingerprint, created=self._clock()
            )
            self._jobs[job.id] = job
            if whole_key is not None:
                self._keys[whole_key] = job.id
            self._submitted += 1
            self._lane(lane).waiting.append(job)
            self._changed.notify_all()
            return self._view(job)

    def get(self, job_id: str) -> JobView:
        """The job now. Raises ChatPoseError job_not_found."""
        with self._changed:
            self._tidy()
            return self._view(self._find(job_id))

    def cancel(self, job_id: str) -> JobView:
        """A waiting job ends at once, a running one at its next step; one that is over stays as it is."""
        with self._changed:
            job = self._find(job_id)
            if job.state == "queued":
                self._lanes[job.lane].waiting.remove(job)
                self._end(job, "cancelled")
                self._touch_waiting(job.lane)
            elif job.state == "running" and not job.cancel_asked:
                job.cancel_asked = True
                job.stage = "Stopping"
                self._touch(job)
            return self._view(job)

    def watch(self, job_id: str, notify: Callable[[], None]) -> Callable[[], None]:
        """Calls ``notify`` (quick, from any thread) at every change; returns what ends that."""
        with self._changed:
            job = self._find(job_id)
            job.watchers.append(notify)

        def unwatch() -> None:
            with self._changed:
                if notify in job.watchers:
                    job.watchers.remove(notify)

        return unwatch

    def wait(self, job_id: str, timeout: float | None = None) -> JobView:
        """Blocks until the job is over or ``timeout`` seconds went by. For the command line and for tests."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                view = self.get(job_id)
                left = 0.5 if end is None else end - time.monotonic()
                if view.over or left <= 0:
                    return view
                self._changed.wait(min(left, 0.5))

    def stats(self) -> QueueStats:
        """Counts since the start, and of now."""
        with self._changed:
            self._tidy()
            return QueueStats(
                waiting=sum(len(lane.waiting) for lane in self._lanes.values()),
                running=sum(lane.running is not None for lane in self._lanes.values()),
                kept=len(self._over),
                kept_bytes=self._kept_bytes,
                submitted=self._submitted,
                refused=self._refused,
                finished=dict(self._finished),
                seconds=dict(self._seconds),
            )

    def begin_closing(self) -> None:
        """No new work; what waits is cancelled; what runs may go on. Safe in a signal handler's thread."""
        with self._changed:
            self._closing = True
            for lane in self._lanes.values():
                while lane.waiting:
                    self._end(lane.waiting.popleft(), "cancelled", _SHUTTING_DOWN)
            self._changed.notify_all()

    def close(self, grace_s: float = 5.0) -> bool:
        """Ends everything: running work has ``grace_s`` seconds, then is cancelled and has as long again to stop.

        Returns whether all workers came to their end.
        """
        self.begin_closing()
        workers = [lane.worker for lane in self._lanes.values() if lane.worker is not None]
        for cancel_first in (False, True):
            if cancel_first:
                with self._changed:
                    for lane in self._lanes.values():
                        if lane.running is not None:
                            lane.running.cancel_asked = True
            end = time.monotonic() + grace_s
            for worker in workers:
                worker.join(max(0.0, end - time.monotonic()))
            if not any(worker.is_alive() for worker in workers):
                return True
        return False

    # -- under the lock --------------------------------------------------------------------------------------------
    def _check_room(self, client: str, weight: int) -> None:
        waiting = [job for lane in self._lanes.values() for job in lane.waiting]
        running = [lane.running for lane in self._lanes.values() if lane.running is not None]
        retry = max(1, min(60, round(self._typical_s * (len(waiting) + 1))))
        if len(waiting) >= self.limits.waiting or sum(j.weight for j in waiting) + weight > self.limits.waiting_bytes:
            self._refused += 1
            raise ChatPoseError(
                "queue_full",
                f"The server has {len(waiting)} requests waiting and takes no more for the moment.",
                hint=f"Try again in about {retry} s.",
                retry_after=retry,
            )
        if sum(job.client == client for job in waiting + running) >= self.limits.per_client:
            self._refused += 1
            raise ChatPoseError(
                "client_queue_full",
                f"This client already has {self.limits.per_client} requests waiting or running.",
                hint="Wait for one of them, or cancel one.",
                retry_after=retry,
            )

    def _find(self, job_id: str) -> _Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise ChatPoseError(
                "job_not_found",
                "There is no such job; it may have been finished long ago, or the server was restarted.",
                hint="Send the request again.",
            )
        return job

    def _view(self, job: _Job) -> JobView:
        position = self._lanes[job.lane].waiting.index(job) + 1 if job.state == "queued" else None
        return JobView(
            job.id, job.task, job.state, job.stage, job.fraction, position, job.text, job.result, job.fault, job.version
        )

    def _touch(self, job: _Job) -> None:
        job.version += 1
        for notify in job.watchers:
            notify()
        self._changed.notify_all()

    def _touch_waiting(self, lane: str) -> None:
        """The positions in this lane have changed."""
        for job in self._lanes[lane].waiting:
            self._touch(job)

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.setdefault(name, _Lane())
        if lane.worker is None or not lane.worker.is_alive():  # the first job, or a worker that a fault has killed
            lane.worker = threading.Thread(target=self._run, args=(lane,), name=f"chatpose-{name}", daemon=True)
            lane.worker.start()
        return lane

    def _end(self, job: _Job, state: State, fault: Fault | None = None, result: bytes | None = None) -> None:
        if job.state in OVER:
            return
        now = self._clock()
        job.state, job.fault, job.result, job.finished = state, fault, result, now
        job.work = None  # lets go of the request's picture
        job.stage = {"done": "Done", "failed": "Failed", "cancelled": "Cancelled"}[state]
        if state == "done":
            job.fraction = 1.0
        self._over[job.id] = job
        self._kept_bytes += _size(job)
        self._finished[job.task, state] = self._finished.get((job.task, state), 0) + 1
        seconds = 0.0 if job.started is None else now - job.started
        self._seconds[job.task] = self._seconds.get(job.task, 0.0) + seconds
        if state == "done":
            self._typical_s += 0.2 * (seconds - self._typical_s)
        _log.info(
            "job",
            extra={
                "job": job.id, "task": job.task, "state": state, "code": None if fault is None else fault.code,
                "waited_s": round((now if job.started is None else job.started) - job.created, 4),
                "run_s": round(seconds, 4),
            },
        )  # fmt: skip
        self._touch(job)
        self._tidy()

    def _tidy(self) -> None:
        """Forgets what is too old or too much, and fails what is long past its limit. The clock is read at need, so an
        idle server does nothing.
        """
        now = self._clock()
        for name, lane in self._lanes.items():
            if lane.waiting and not self._closing:
                self._lane(name)  # has a living worker again
            job = lane.running
            if job is None or job.started is None or job.state in OVER:
                continue
            if now - job.started > self.limits.run_s + _STOP_GRACE_S:
                self._end(job, "failed", self._timeout())  # answered in time, though its thread is still busy
        while self._over:
            oldest = next(iter(self._over.values()))
            too_old = now - (oldest.finished or 0.0) > self.limits.kept_s
            too_much = len(self._over) > self.limits.kept or self._kept_bytes > self.limits.kept_bytes
            if not too_old and not (too_much and len(self._over) > 1):
                return
            del self._over[oldest.id], self._jobs[oldest.id]
            self._kept_bytes -= _size(oldest)
            if oldest.key is not None:
                del self._keys[oldest.key]

    def _timeout(self) -> Fault:
        return Fault(
            "timeout",
            f"The work was stopped because it took longer than {self.limits.run_s:g} s.",
            "Ask for less at once, or choose a smaller model.",
        )

    # -- the workers -----------------------------------------------------------------------------------------------
    def _report(
        self, job: _Job, *, stage: str | None = None, fraction: float | None = None, text: str | None = None
    ) -> None:
        with self._changed:
            late = job.started is not None and self._clock() - job.started > self.limits.run_s
            if job.cancel_asked or late or job.state in OVER:
                raise Cancelled
            before = (job.stage, job.fraction, job.text)
            job.stage = job.stage if stage is None else stage
            job.fraction = job.fraction if fraction is None else max(job.fraction, min(1.0, fraction))
            job.text = job.text if text is None else text
            if before != (job.stage, job.fraction, job.text):
                self._touch(job)

    def _run(self, lane: _Lane) -> None:
        while (job := self._next(lane)) is not None:
            try:
                self._execute(job)
            finally:
                with self._changed:
                    lane.running = None
                    if job.state not in OVER:  # only if the handling of a fault has itself failed
                        self._end(job, "failed", Fault("internal", "The worker stopped unexpectedly; try again."))

    def _next(self, lane: _Lane) -> _Job | None:
        """Waits for the lane's next job; None when the queue is closed."""
        with self._changed:
            while not lane.waiting:
                if self._closing:
                    return None
                self._changed.wait()
            job = lane.waiting.popleft()
            job.state, job.stage, job.started = "running", "Starting", self._clock()
            lane.running = job
            self._touch(job)
            self._touch_waiting(job.lane)
            return job

    def _execute(self, job: _Job) -> None:
        work = job.work
        assert work is not None  # given up only when a job ends
        try:
            answer = work(Control(self, job))
            result = answer if isinstance(answer, bytes) else json.dumps(answer, allow_nan=False).encode()
        except Cancelled:
            with self._changed:
                if job.cancel_asked:
                    self._end(job, "cancelled", _SHUTTING_DOWN if self._closing else None)
                else:
                    self._end(job, "failed", self._timeout())
        except BaseException as error:  # noqa: BLE001 - whatever a model does, the worker lives and only its job fails
            fault = explain(error)
            with self._changed:
                self._end(job, "failed", fault)
        else:
            with self._changed:
                if job.cancel_asked and not self._closing:  # it came to its end before its next step
                    self._end(job, "cancelled")
                else:
                    self._end(job, "done", None, result)


_SHUTTING_DOWN: Final = Fault("shutting_down", "The server was stopped before this was done.", "Send it again.")


def _size(job: _Job) -> int:
    return len(job.result or b"") + len(job.text) + 1000
