"""Jobs' lives from submitting to draining, against a real loopback server."""

from __future__ import annotations

import threading
import time

import pytest

from chatpose_blender.client import connection as conn
from chatpose_blender.client import jobs as jobs_module
from chatpose_blender.client.contract import PoseRequest
from chatpose_blender.client.http import Endpoint
from chatpose_blender.client.jobs import Connected, Failed, Finished, Jobs, Progressed
from tests.fake_server import LOADING, READY, Answer, FakeServer


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.setattr(jobs_module, "LONG_POLL_SECONDS", 0.05)
    monkeypatch.setattr(jobs_module, "LOADING_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(jobs_module, "RETRY_PAUSES", (0.01,))
    all_jobs = Jobs()
    yield all_jobs
    all_jobs.close()


def _drain(jobs: Jobs, until=None, limit: float = 5.0) -> list:
    """All messages until nothing is under way, or until one is of a type."""
    messages: list = []
    end = time.monotonic() + limit
    while jobs.waiting and not (until and any(isinstance(m, until) for m in messages)):
        assert time.monotonic() < end, f"still waiting after {messages}"
        messages += jobs.drain(0.01)
        time.sleep(0.002)
    return messages


def test_a_job_comes_back(server, jobs):
    handle = jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    messages = _drain(jobs)
    assert [type(m) for m in messages] == [Connected, Progressed, Finished]
    assert messages[0].connection.state is conn.State.READY
    assert messages[-1].handle == handle and messages[-1].result.text == "Here you are."
    assert not jobs.is_alive(handle)


def test_nothing_is_asked_when_idle(server, jobs):
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    _drain(jobs)
    count = len(server.requests)
    time.sleep(0.15)
    assert len(server.requests) == count and not jobs.waiting


def test_progress_is_told_while_it_runs(server, jobs):
    server.hold = threading.Event()
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    got = []
    while not any(m.status.state == "running" for m in got if isinstance(m, Progressed)):
        got = _drain(jobs, Progressed)
    assert got[-1].status.stage == "Thinking" and got[-1].status.text == "Here"
    server.hold.set()
    assert isinstance(_drain(jobs)[-1], Finished)


def test_text_streams_as_it_is_written(server, jobs):
    server.stream, server.hold = ["The", "The left arm"], threading.Event()
    jobs.submit(Endpoint(server.address), PoseRequest("what is she doing?"))
    told = []
    end = time.monotonic() + 5
    while told[-1:] != ["The left arm"]:
        assert time.monotonic() < end, told
        told += [m.status.text for m in jobs.drain(0.01) if isinstance(m, Progressed)]
    server.hold.set()
    assert isinstance(_drain(jobs)[-1], Finished)
    assert [path for _, path, _, _ in server.requests if "/v1/jobs/" in path] == ["/v1/jobs/job0/events"], "no polling"


def test_a_stream_that_breaks_off_is_followed_by_looks(server, jobs):
    server.stream, server.hold = ["The"], threading.Event()
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    _drain(jobs, Progressed)
    server.faults["GET /v1/jobs"] = Answer(body={}, cut_at=0)  # ends the stream without a last event
    server.hold.set()
    end = time.monotonic() + 5
    while server.count("GET", "/v1/jobs/job0?wait") == 0:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert isinstance(_drain(jobs)[-1], Failed)


def test_cancelling_while_it_streams(server, jobs):
    server.stream, server.hold = ["The"], threading.Event()
    handle = jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    _drain(jobs, Progressed)
    assert jobs.cancel(handle)
    end = time.monotonic() + 3
    while not server.cancelled:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert not any(isinstance(m, Finished) for m in _drain(jobs))


def test_cancelling_tells_the_server_and_drops_the_answer(server, jobs):
    server.hold = threading.Event()
    handle = jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    _drain(jobs, Progressed)
    assert jobs.cancel(handle) and not jobs.cancel(handle)
    end = time.monotonic() + 3
    while not server.cancelled and time.monotonic() < end:
        time.sleep(0.01)
    assert server.cancelled == {"job0"}
    server.hold.set()
    time.sleep(0.1)
    assert [m for m in jobs.drain(0.1) if not isinstance(m, Connected)] == []


def test_cancelled_while_it_was_being_sent(server, jobs):
    gate = threading.Event()
    respond = server.respond

    def slow(method, path, body, headers):
        if method == "POST":
            gate.wait(3)
        return respond(method, path, body, headers)

    server.respond = slow
    handle = jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    end = time.monotonic() + 3
    while not server.count("POST", "/v1/jobs") and time.monotonic() < end:
        time.sleep(0.005)
    jobs.cancel(handle)
    gate.set()
    end = time.monotonic() + 3
    while not server.cancelled and time.monotonic() < end:
        time.sleep(0.005)
    assert server.cancelled, "the server goes on with work that nobody wants"


def test_two_jobs_keep_apart(server, jobs):
    server.answers = [{"text": "one", "poses": []}, {"text": "two", "poses": []}]
    first = jobs.submit(Endpoint(server.address), PoseRequest("one"))
    texts = {m.handle: m.result.text for m in _drain(jobs) if isinstance(m, Finished)}
    second = jobs.submit(Endpoint(server.address), PoseRequest("two"))
    texts |= {m.handle: m.result.text for m in _drain(jobs) if isinstance(m, Finished)}
    assert texts == {first: "one", second: "two"}


def test_a_lost_submit_is_repeated_once_and_is_one_job(server, jobs):
    respond, lost = server.respond, []

    def lose_first(method, path, body, headers):
        answer = respond(method, path, body, headers)
        if method == "POST" and not lost:
            lost.append(1)
            return Answer(202, answer.body, cut_at=3)
        return answer

    server.respond = lose_first
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    assert isinstance(_drain(jobs)[-1], Finished)
    keys = {headers["Idempotency-Key"] for method, _, _, headers in server.requests if method == "POST"}
    assert server.count("POST", "/v1/jobs") == 2 and len(keys) == 1


def test_the_server_dies_in_mid_answer(server, jobs):
    server.hold = threading.Event()
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    _drain(jobs, Progressed)
    server.stop()
    messages = _drain(jobs)
    assert isinstance(messages[-1], Failed)
    assert messages[-1].sentence == "The server stopped in the middle of this job; start it again and repeat."
    states = [m.connection.state for m in messages if isinstance(m, Connected)]
    assert states[-1] is conn.State.LOST


FAILURES = [
    # what the server does, what the panel says, the connection afterwards
    ({"failure": {"code": "out_of_memory", "message": "No memory.", "hint": "Unload."}}, "No memory. Unload.", "READY"),
    ({"failure": None, "answer": {"poses": [{"joints": {"head": [0, 0, 0, 0]}}]}}, "cannot be read", "ERROR"),
    ({"health": {**READY, "service": "other"}}, "not a ChatPose server", "WRONG_SERVER"),
    ({"health": {**READY, "api": 9}}, "newer than this add-on", "TOO_NEW"),
    ({"health": {**READY, "status": "error"}}, "reports an error", "ERROR"),
    ({"token": "secret"}, "does not accept the token", "WRONG_TOKEN"),
    ({"faults": {"POST /v1/jobs": Answer(429, {"error": {"code": "queue_full", "message": "Full."}})}}, "busy", "BUSY"),
]


@pytest.mark.parametrize(("does", "sentence", "state"), FAILURES)
def test_failures(server, jobs, does, sentence, state):
    for name, value in does.items():
        setattr(server, name, value)
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    messages = _drain(jobs)
    assert isinstance(messages[-1], Failed) and sentence in messages[-1].sentence
    assert [m.connection.state.name for m in messages if isinstance(m, Connected)][-1] == state


def test_a_job_waits_for_a_server_that_loads(server, jobs):
    server.health = LOADING
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    first = _drain(jobs, Connected)[0].connection
    assert (first.state, first.fraction, first.text) == (conn.State.LOADING, 0.4, "Reading the weights (40%).")
    server.health = READY
    assert isinstance(_drain(jobs)[-1], Finished)


def test_a_check_ends_when_the_server_is_ready(server, jobs):
    server.health = LOADING
    jobs.check(Endpoint(server.address))
    _drain(jobs, Connected)
    server.health = READY
    assert _drain(jobs)[-1].connection.text == "Ready with fake."


def test_a_new_check_replaces_the_old_one(server, jobs):
    server.health = LOADING
    for _ in range(3):
        jobs.check(Endpoint(server.address))
    server.health = READY
    _drain(jobs)
    assert not jobs.waiting


def test_a_bad_address_is_a_failure_like_any_other(jobs):
    jobs.submit(Endpoint("ftp://nowhere"), PoseRequest("sit"))
    messages = _drain(jobs)
    assert isinstance(messages[-1], Failed) and "not a server address" in messages[-1].sentence


def test_closing_with_work_under_way_is_quick(server):
    server.hold = threading.Event()
    jobs = Jobs()
    jobs.submit(Endpoint(server.address), PoseRequest("sit"))
    time.sleep(0.05)
    start = time.monotonic()
    jobs.close()
    assert time.monotonic() - start < 1.0 and not jobs.waiting
