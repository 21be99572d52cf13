"""A real process on a real socket: opening, closing, being killed, being left alone."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time

import httpx
import pytest
from chatpose_server.__main__ import main
from chatpose_server.api.serve import bind
from chatpose_server.api.service import Clients
from chatpose_server.faults import ChatPoseError

from .conftest import TOKEN
from .live import live_server, process
from .test_openai import wait_for


def test_serve_opens_the_port_then_loads_then_answers_and_sigterm_answers_everybody(tmp_path):
    with process(tmp_path, "--port", "0", load_steps=20) as server:
        with server.client() as http:
            health = http.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "loading")
            assert {"stage", "fraction"} <= set(health.json())
            assert http.post("/v1/poses", json={"prompt": "kneel"}).status_code == 200  # waits for the model
            assert http.get("/health").json()["status"] == "ready"
            assert http.get("/health", headers={"Host": "evil.example"}).status_code == 421
            log = server.errors.read_text()
            assert "kneel" not in log and server.token not in log
            assert all(json.loads(line)["event"] for line in log.splitlines())
        if sys.platform == "win32":
            return
        answers = []

        def post(prompt):
            with server.client() as http:
                answers.append(http.post("/v1/poses", json={"prompt": prompt}))

        threads = [threading.Thread(target=post, args=(f"SLOW {i}",)) for i in range(3)]
        for t in threads:
            t.start()
        with server.client() as http:
            wait_for(lambda: "chatpose_jobs_waiting 2" in http.get("/metrics").text)
        server.popen.send_signal(signal.SIGTERM)
        for t in threads:
            t.join(60)
        assert server.end() == 0
        codes = [a.json()["error"]["code"] if a.status_code != 200 else "ok" for a in answers]
        assert codes == ["shutting_down"] * 3


def test_killed_and_started_again_then_left_alone(tmp_path):
    with process(tmp_path, "--port", "0") as server:
        server.wait_ready()
        server.popen.kill()
        assert server.end() != 0
        with process(tmp_path, "--port", str(server.port), "--exit-when-alone", "6") as again:
            assert again.port == server.port and again.token == server.token
            with again.client() as http:
                for name in ("a", "b"):
                    http.post("/v1/clients/heartbeat", json={"client": name})
                http.post("/v1/clients/heartbeat", json={"client": "a", "leaving": True})
                time.sleep(0.5)
                assert again.popen.poll() is None  # b is still there
                left = http.post("/v1/clients/heartbeat", json={"client": "b", "leaving": True})
                assert left.json() == {"clients": 0, "alone_s": 6}
            assert again.end() == 0


def test_a_client_is_alive_for_half_a_minute_and_the_server_for_as_long_as_it_was_told(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("chatpose_server.api.service.time.monotonic", lambda: now[0])
    clients = Clients(alone_s=5, last=0.0)
    for at, alone in ((4, False), (6, True)):  # nobody ever comes
        now[0] = at
        assert clients.alone() is alone
    clients.beat("a", leaving=False)
    for at, alone in ((20, False), (35.9, False), (36.1, True)):  # its Blender has crashed
        now[0] = at
        assert clients.alone() is alone
    assert not Clients(alone_s=None, last=-1e9).alone()


def test_a_taken_port_is_left():
    with bind("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with bind("127.0.0.1", taken) as second:
            assert taken < second.getsockname()[1] <= taken + 20


def test_an_address_that_is_not_this_machines():
    with pytest.raises(ChatPoseError, match="cannot listen"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--host", "0.0.0.0", "--allow-remote"], "--tls-cert"),
        (["--port", "70000"], "not a port"),
        (["--exit-when-alone", "soon"], "not a number of seconds"),
        (["--host", "192.0.2.1", "--allow-remote", "--tls-cert", "a", "--tls-key", "b"], "cannot be used"),
    ],
)
def test_a_wrong_wish_is_one_line_and_status_two(monkeypatch, tmp_path, capsys, arguments, said):
    monkeypatch.setenv("CHATPOSE_TOKEN_FILE", str(tmp_path / "token"))
    try:
        status = main(["serve", *arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


# -- disconnects, in this process, so that the model can be watched ----------------------------------------------------
@pytest.fixture(scope="module")
def live():
    with live_server() as server:
        yield server


def request_bytes(port, body, path="/v1/poses"):
    data = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    ).encode() + data


def test_a_client_that_vanishes_cancels_its_pose(live):
    before = live.jobs.stats().finished.get(("pose", "cancelled"), 0)
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(request_bytes(port, {"prompt": "SLOW"}))
        wait_for(lambda: live.jobs.stats().running == 1)
    wait_for(lambda: live.jobs.stats().finished.get(("pose", "cancelled"), 0) == before + 1)


def test_a_client_that_vanishes_leaves_its_job_alone(live):
    """A job, unlike a pose, is asked for to be fetched later."""
    with live.client() as http:
        job = http.post("/v1/jobs", json={"task": "pose", "prompt": "SLOW"}).json()
        with pytest.raises(httpx.ReadTimeout):
            http.get(f"/v1/jobs/{job['id']}", params={"wait": 30}, timeout=httpx.Timeout(60, read=0.2))
        assert http.get(f"/v1/jobs/{job['id']}").json()["state"] == "running"
        http.delete(f"/v1/jobs/{job['id']}")
        assert http.get(f"/v1/jobs/{job['id']}", params={"wait": 60}).json()["state"] == "cancelled"


@pytest.mark.parametrize("cut", [10, 120, -3])
def test_half_a_request_does_nothing(live, cut):
    before = live.jobs.stats().submitted
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(request_bytes(port, {"prompt": "kneel"})[:cut])
    with live.client() as http:
        assert http.get("/health").status_code == 200
    assert live.jobs.stats().submitted == before


def everything_sent(sock: socket.socket) -> bytes:
    """All bytes until the server closes: one `recv` may hold the head of an answer without its body."""
    return b"".join(iter(lambda: sock.recv(4096), b""))


def test_rubbish_instead_of_http(live):
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        assert b"400" in everything_sent(sock)
    with live.client() as http:
        assert http.get("/health").status_code == 200


def test_a_body_that_never_ends_is_answered(live, monkeypatch):
    from chatpose_server.api import guard

    monkeypatch.setattr(guard, "_BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(guard, "_DRAIN_S", 0.1)
    port = int(live.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(request_bytes(port, {"prompt": "kneel"})[:-5])
        sock.settimeout(5)
        assert b"body_timeout" in everything_sent(sock)


def test_a_body_that_is_too_large_is_answered_not_reset(live):
    with live.client() as http:
        answer = http.post("/v1/poses", content=b"x" * 20_000_000, headers={"Content-Type": "application/json"})
    assert answer.json()["error"]["code"] == "body_too_large"


def test_two_clients_share_one_model(live):
    with live.client() as http:
        jobs = [http.post("/v1/jobs", json={"task": "pose", "prompt": f"p{i}"}).json()["id"] for i in range(6)]
        states = [http.get(f"/v1/jobs/{i}", params={"wait": 60}).json()["state"] for i in jobs]
    assert states == ["done"] * 6  # the fake model itself asserts that nobody calls it twice at once
