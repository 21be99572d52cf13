"""A scriptable ChatPose server in a thread, for the add-on's tests. Standard library only.

with FakeServer() as server:
    server.answer = {"text": "Done.", "poses": [pose]}     # what the next jobs give
    server.hold = threading.Event()                        # jobs stay "running" until it is set
    server.health = {...}                                  # what /health says
    server.stream = ["The", "The arm"]                     # the text as it grows, as events; None: no such route
server.faults["POST /v1/jobs"] = Answer(429, {...})    # one route answers otherwise
    ... server.requests: [(method, path, body, headers)]
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

READY = {"service": "chatpose", "status": "ready", "api": 1, "version": "0.1.0"}
LOADING = {**READY, "status": "loading", "stage": "Reading the weights", "fraction": 0.4}
CAPABILITIES = {"tasks": ["pose"], "model": {"name": "fake"}, "limits": {"prompt_chars": 8000}}
RAISED_ARM = {
    "format": "smplx-quat-wxyz",
    "joints": {"pelvis": [1, 0, 0, 0], "left_shoulder": [0.8, 0, 0, 0.6], "right_knee": [0.8, 0.6, 0, 0]},
    "transl": [0, 0, 0],
    "betas": None,
    "score": 0.9,
}


@dataclass
class Answer:
    """One HTTP answer. ``cut_at``: bytes of the body that are sent before the connection is closed. ``events``: sent
    instead of the body, one after the other, as server-sent events are.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut_at: int | None = None
    events: Iterator[bytes] | None = None


class FakeServer:
    """See the module's text."""

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.health: dict[str, Any] = dict(READY)
        self.capabilities: dict[str, Any] = dict(CAPABILITIES)
        self.answer: dict[str, Any] = {"text": "Here you are.", "poses": [RAISED_ARM], "model": "fake", "seed": 1}
        self.answers: list[dict[str, Any]] = []  # one for each job, before ``answer``
        self.failure: dict[str, Any] | None = None
        self.running: dict[str, Any] = {"state": "running", "stage": "Thinking", "fraction": 0.5, "text": "Here"}
        self.stream: list[str] | None = None
        self.hold: threading.Event | None = None
        self.faults: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, Any, dict[str, str]]] = []
        self.cancelled: set[str] = set()
        self._keys: dict[str, str] = {}
        self._results: dict[str, dict[str, Any]] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                fake.requests.append((self.command, self.path, body, dict(self.headers)))
                self._send(fake.respond(self.command, self.path, body, self.headers))

            do_GET = do_POST = do_DELETE = _handle

            def _send(self, answer: Answer) -> None:
                if answer.events is not None:
                    self._send_events(answer.events)
                    return
                raw = answer.raw if answer.raw is not None else json.dumps(answer.body).encode()
                try:
                    self.send_response(answer.status)
                    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw if answer.cut_at is None else raw[: answer.cut_at])
                    if answer.cut_at is not None:
                        self.close_connection = True
                except OSError:
                    self.close_connection = True  # the client went away, which some tests want

            def _send_events(self, events: Iterator[bytes]) -> None:
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for event in events:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    self.close_connection = True

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on nothing listens; requests that are under way are cut off."""
        if self.hold is not None:
            self.faults["GET /v1/jobs"] = Answer(body={}, cut_at=0)
            self.hold.set()
        self._http.shutdown()
        self._http.server_close()

    def count(self, method: str, path: str) -> int:
        """How many requests of this kind have come."""
        return sum(m == method and p.startswith(path) for m, p, _, _ in self.requests)

    def respond(self, method: str, path: str, body: Any, headers: Any) -> Answer:
        """What a request is answered with."""
        parts = urlsplit(path)
        route = f"{method} /v1/jobs" if parts.path.startswith("/v1/jobs") else f"{method} {parts.path}"
        if route in self.faults:
            return self.faults[route]
        if parts.path == "/health":
            return Answer(200 if self.health.get("status") == "ready" else 503, self.health)
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return Answer(401, _error("unauthorized", "The token is missing or wrong."))
        if parts.path == "/v1/capabilities":
            return Answer(200, self.capabilities)
        if route == "POST /v1/jobs":
            return self._submit(body, headers.get("Idempotency-Key", ""))
        job = parts.path.removeprefix("/v1/jobs/")
        if self.stream is not None and job.endswith("/events"):
            return Answer(events=self._events(job.removesuffix("/events"), self.stream))
        if job not in self._results:
            return Answer(404, _error("job_not_found", "There is no such job."))
        if method == "DELETE":
            self.cancelled.add(job)
            return Answer(200, {"id": job, "state": "cancelled"})
        return self._look(job, float(parse_qs(parts.query).get("wait", ["0"])[0]))

    def _submit(self, body: Any, key: str) -> Answer:
        if not key or key not in self._keys:
            job = f"job{len(self._results)}"
            self._keys[key] = job
            self._results[job] = self.answers.pop(0) if self.answers else self.answer
        return Answer(202, {"id": self._keys[key], "state": "queued", "position": 1})

    def _events(self, job: str, stream: list[str]) -> Iterator[bytes]:
        for text in stream:
            yield b": keep-alive\n\n" + _event({"id": job, "state": "running", "stage": "Thinking", "text": text})
        while self.hold is not None and not self.hold.is_set() and job not in self.cancelled:
            time.sleep(0.005)
        if "GET /v1/jobs" not in self.faults:
            last = _event(self._look(job, 0.0).body)
            yield last[:20]  # an event may come in pieces
            yield last[20:]

    def _look(self, job: str, wait: float) -> Answer:
        if self.hold is not None:
            end = time.monotonic() + wait
            while not self.hold.is_set() and job not in self.cancelled and time.monotonic() < end:
                time.sleep(0.005)
            if "GET /v1/jobs" in self.faults:
                return self.faults["GET /v1/jobs"]
            if job not in self.cancelled and not self.hold.is_set():
                return Answer(200, {"id": job, **self.running})
        if job in self.cancelled:
            return Answer(200, {"id": job, "state": "cancelled"})
        if self.failure is not None:
            return Answer(200, {"id": job, "state": "failed", "error": self.failure})
        return Answer(200, {"id": job, "state": "done", "fraction": 1.0, "result": self._results[job]})


def _event(data: dict[str, Any]) -> bytes:
    return b"event: job\nid: 1\ndata: " + json.dumps(data).encode() + b"\n\n"


def _error(code: str, message: str, hint: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "hint": hint, "param": None}}
