"""Every way in which a request can go wrong is one clear sentence."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from chatpose_blender.client import http
from chatpose_blender.client.contract import Health, PoseRequest
from tests.fake_server import LOADING, READY, Answer, FakeServer


@pytest.fixture
def server():
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def client(server):
    session = http.Client(http.Endpoint(server.address))
    yield session
    session.close()


def _one_sentence(error: http.ClientError) -> None:
    text = str(error)
    assert text[0].isupper() or text[0] == "'"
    assert text.endswith(".") and "\n" not in text and len(text) < 200
    assert ". " not in text, "more than one sentence"


def test_health_and_capabilities(client):
    assert client.health() == Health("ready", 1, "0.1.0")
    capabilities = client.capabilities()
    assert (capabilities.model, capabilities.max_prompt, capabilities.tasks) == ("fake", 8000, {"pose"})


def test_a_loading_server_is_no_error(server, client):
    server.health = LOADING
    assert client.health().fraction == 0.4


REFUSALS = [
    # route, answer, error
    ("GET /health", Answer(200, {"hello": "world"}), http.NotChatPoseError),
    ("GET /health", Answer(200, raw=b"<html>It works!</html>"), http.NotChatPoseError),
    ("GET /health", Answer(404, {"detail": "Not Found"}), http.NotChatPoseError),
    ("GET /health", Answer(301, raw=b"", headers={"Location": "http://example.com"}), http.NotChatPoseError),
    ("GET /health", Answer(200, {**READY, "api": 0}), http.ServerTooOldError),
    ("GET /health", Answer(200, {**READY, "api": 2}), http.ServerTooNewError),
    ("GET /health", Answer(200, {**READY, "api": "1"}), http.ServerTooOldError),
    ("POST /v1/jobs", Answer(401, {"error": {"code": "unauthorized", "message": "No."}}), http.WrongTokenError),
    ("POST /v1/jobs", Answer(429, {"error": {"code": "queue_full", "message": "Full."}}), http.ServerBusyError),
    ("POST /v1/jobs", Answer(413, {"error": {"code": "body_too_large", "message": "Big."}}), http.ServerFaultError),
    ("POST /v1/jobs", Answer(500, raw=b"oops"), http.NotChatPoseError),
    ("POST /v1/jobs", Answer(202, {"id": "x", "state": "odd"}), http.AnswerUnreadableError),
    ("POST /v1/jobs", Answer(202, {"state": "queued"}), http.AnswerUnreadableError),
    ("POST /v1/jobs", Answer(202, [1, 2]), http.AnswerUnreadableError),
    ("POST /v1/jobs", Answer(202, {"id": "x", "state": "queued"}, cut_at=9), http.AnswerCutOffError),
    ("POST /v1/jobs", Answer(202, raw=b"[" * 100_000), http.NotChatPoseError),
]


@pytest.mark.parametrize(("route", "answer", "error"), REFUSALS)
def test_refusals(server, client, route, answer, error):
    server.faults[route] = answer
    with pytest.raises(error) as caught:
        client.health() if "health" in route else client.submit(PoseRequest("sit"), "key")
    assert type(caught.value) is error
    _one_sentence(caught.value)


def test_the_servers_own_words_are_shown(server, client):
    fault = {"error": {"code": "out_of_memory", "message": "The model ran out of memory.", "hint": "Unload it."}}
    server.faults["POST /v1/jobs"] = Answer(507, fault)
    with pytest.raises(http.ServerFaultError, match=r"^The model ran out of memory\. Unload it\.$"):
        client.submit(PoseRequest("sit"), "key")


def test_busy_says_how_long(server, client):
    body = {"error": {"code": "queue_full", "message": "Full."}}
    server.faults["POST /v1/jobs"] = Answer(429, body, {"Retry-After": "12"})
    with pytest.raises(http.ServerBusyError, match="in 12 seconds") as caught:
        client.submit(PoseRequest("sit"), "key")
    assert caught.value.retry_after == 12


def test_a_job_that_the_server_forgot(client):
    with pytest.raises(http.JobForgottenError) as caught:
        client.look("job99", 0)
    _one_sentence(caught.value)
    client.cancel("job99")  # nothing left to cancel is no error


def test_nothing_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(http.ServerOffError) as caught:
        http.Client(http.Endpoint(f"http://127.0.0.1:{port}")).health()
    _one_sentence(caught.value)


@pytest.mark.parametrize(
    ("says", "error"),
    [(b"SSH-2.0-OpenSSH_9.2\r\n", http.NotChatPoseError), (b"", http.AnswerCutOffError)],
    ids=["another protocol", "hangs up"],
)
def test_a_program_that_does_not_speak_http(says, error):
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)  # only to wait for the request: what it holds does not matter
            connection.sendall(says)

    threading.Thread(target=talk, daemon=True).start()
    with pytest.raises(error) as caught:
        http.Client(http.Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}")).health()
    _one_sentence(caught.value)
    listener.close()


def test_a_server_that_never_answers(monkeypatch):
    monkeypatch.setattr(http, "READ_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = http.Client(http.Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        with pytest.raises(http.ServerSilentError) as caught:
            client.look("x", 0.0)
        _one_sentence(caught.value)


@pytest.mark.parametrize("announced", [True, False])
def test_an_answer_without_end(server, client, monkeypatch, announced):
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1000)
    headers = {} if announced else {"Transfer-Encoding": "identity"}
    server.faults["GET /v1/capabilities"] = Answer(200, {"x": "y" * 2000}, headers)
    with pytest.raises(http.AnswerTooLargeError):
        client.capabilities()


ADDRESSES = [
    # text, base, loopback
    ("http://127.0.0.1:7673", "http://127.0.0.1:7673", True),
    (" 127.0.0.1:7673/ ", "http://127.0.0.1:7673", True),
    ("localhost:1", "http://localhost:1", True),
    ("http://[::1]:7673", "http://[::1]:7673", True),
    ("https://poses.example.com", "https://poses.example.com", False),
    ("192.168.1.5:7673", "http://192.168.1.5:7673", False),
    ("127.0.0.1.example.com", "http://127.0.0.1.example.com", False),
]


@pytest.mark.parametrize(("text", "base", "loopback"), ADDRESSES)
def test_addresses(text, base, loopback):
    endpoint = http.Endpoint(text)
    assert (endpoint.base, endpoint.is_loopback) == (base, loopback)


BAD = [
    "",
    "ftp://x",
    "http://",
    "http://a b",
    "http://u:p@h",
    "http://h/path",
    "http://h?x",
    "http://h:99999",
    "file:///x",
]


@pytest.mark.parametrize("text", BAD)
def test_addresses_that_are_none(text):
    with pytest.raises(http.BadAddressError) as caught:
        _ = http.Endpoint(text).base
    _one_sentence(caught.value)


def test_token_comes_from_the_file_unless_typed(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    local, far = "http://127.0.0.1:1", "http://192.168.1.5:1"
    table = [
        (http.Endpoint(local, "", str(file)), "secret"),
        (http.Endpoint(local, "typed", str(file)), "typed"),
        (http.Endpoint(local, "", str(tmp_path / "none")), ""),
        (http.Endpoint(far, "", str(file)), ""),  # this computer's token is nobody else's business
        (http.Endpoint(far, "typed", str(file)), "typed"),
    ]
    assert [http.read_token(endpoint) for endpoint, _ in table] == [token for _, token in table]


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/c"}, "/c/chatpose/token"),
        ("linux", {"HOME": "/h"}, "/h/.config/chatpose/token"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/chatpose/token"),
        ("win32", {"APPDATA": "/r"}, "/r/chatpose/token"),
        ("linux", {"CHATPOSE_TOKEN_FILE": "/t", "XDG_CONFIG_HOME": "/c"}, "/t"),
    ],
)
def test_the_token_files_place(monkeypatch, platform, variables, place):
    for name in ("XDG_CONFIG_HOME", "APPDATA", "CHATPOSE_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(http.sys, "platform", platform)
    assert http.default_token_file() == Path(place)


def test_token_and_key_are_sent(tmp_path):
    with FakeServer(token="secret") as server:
        client = http.Client(http.Endpoint(server.address, "secret"))
        client.submit(PoseRequest("sit"), "key")
        client.health()
    (_, _, _, posting), (_, _, _, health) = server.requests
    assert posting["Authorization"] == "Bearer secret" and posting["Idempotency-Key"] == "key"
    assert "Authorization" not in health  # whoever listens there has not said yet that it is ChatPose


def test_wrong_token():
    with FakeServer(token="secret") as server, pytest.raises(http.WrongTokenError) as caught:
        http.Client(http.Endpoint(server.address, "other")).capabilities()
    _one_sentence(caught.value)


def test_proxies_are_not_asked_for_loopback(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert http.Client(http.Endpoint(server.address)).health().status == "ready"
