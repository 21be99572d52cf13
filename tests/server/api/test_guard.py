"""Who is refused, and with what: every row is a request that must not reach a route, or one that must."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest
from chatpose_server.api import guard
from chatpose_server.api.guard import json_depth, read_or_make_token

from .conftest import HEADERS, TOKEN

JSON = {"Content-Type": "application/json"}
POSE = json.dumps({"prompt": "kneel"})


def error(answer):
    body = answer.json()["error"]
    assert set(body) == {"code", "message", "hint", "param"}
    assert body["message"].endswith(".")
    return answer.status_code, body["code"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": ""}, (401, "unauthorized")),
        ({"Authorization": "Bearer wrong"}, (401, "unauthorized")),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, (401, "unauthorized")),
        ({"Authorization": f"Basic {TOKEN}"}, (401, "unauthorized")),
        ({"Authorization": TOKEN}, (401, "unauthorized")),
        ({"Authorization": "Bearer \xff\xfe"}, (401, "unauthorized")),
        ({"Host": "evil.example"}, (421, "wrong_host")),
        ({"Host": "evil.example:7673"}, (421, "wrong_host")),
        ({"Host": "127.0.0.1"}, (421, "wrong_host")),
        ({"Host": "127.0.0.1:7674"}, (421, "wrong_host")),
        ({"Host": "127.0.0.1:7673.evil.example"}, (421, "wrong_host")),
        ({"Host": ""}, (421, "wrong_host")),
        ({"Origin": "http://evil.example"}, (403, "origin_refused")),
        ({"Origin": "http://127.0.0.1:7673"}, (403, "origin_refused")),
        ({"Origin": "null"}, (403, "origin_refused")),
        ({"Sec-Fetch-Site": "cross-site"}, (403, "origin_refused")),
        ({"Sec-Fetch-Site": "same-site"}, (403, "origin_refused")),
        ({"Content-Type": "text/plain"}, (415, "unsupported_media_type")),
        ({"Content-Type": "application/x-www-form-urlencoded"}, (415, "unsupported_media_type")),
        ({"Content-Type": "multipart/form-data; boundary=x"}, (415, "unsupported_media_type")),
        ({"Content-Type": ""}, (415, "unsupported_media_type")),
    ],
)
@pytest.mark.parametrize("path", ["/v1/poses", "/v1/jobs", "/v1/chat/completions", "/v1/models/unload"])
def test_refused(shared, path, headers, expected):
    answer = shared.http.post(path, content=POSE, headers={k: v.encode("latin-1") for k, v in (JSON | headers).items()})
    assert error(answer) == expected
    assert shared.jobs.stats().submitted == 0
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:7673"},
        {"Host": "localhost:7673"},
        {"Host": "[::1]:7673"},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "APPLICATION/JSON"},
        {"Authorization": f"bearer {TOKEN}"},
    ],
)
def test_let_in(shared, headers):
    assert shared.http.post("/v1/poses", content=POSE, headers=JSON | headers).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/capabilities", "/v1/models", "/metrics", "/openapi.json", "/v1/jobs/x", "/nothing"]
)
def test_every_other_route_needs_the_token(shared, path):
    assert error(shared.http.get(path, headers={"Authorization": ""})) == (401, "unauthorized")


def test_health_is_guarded_too(shared):
    assert error(shared.http.get("/health", headers={"Host": "evil.example"})) == (421, "wrong_host")
    assert error(shared.http.get("/health", headers={"Origin": "http://evil.example"})) == (403, "origin_refused")


def test_a_browsers_preflight_is_refused(shared):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert error(shared.http.options("/v1/poses", headers=headers)) == (403, "origin_refused")


@pytest.mark.parametrize(
    "path", ["/v1/poses", "/v1/jobs", "/v1/models/unload", "/v1/models/load", "/v1/clients/heartbeat"]
)
def test_a_post_without_a_body_does_nothing(shared, path):
    answer = shared.http.post(path)
    assert error(answer) == (422, "invalid_request")
    assert error(shared.http.post("/health")) == (405, "method_not_allowed")
    assert shared.model.unloaded is False


@pytest.mark.parametrize("twice", ["host", "authorization", "content-type"])
def test_a_header_that_is_there_twice_is_wrong(shared, twice):
    single = {"host": "127.0.0.1:7673", "authorization": HEADERS["Authorization"], "content-type": "application/json"}
    headers = [*single.items(), (twice, single[twice])]
    assert shared.http.post("/v1/poses", content=POSE, headers=headers).status_code in (401, 415, 421)


class TestSizes:
    def test_declared_length(self, shared):
        huge = {"Content-Length": "99999999999999999999999999"}
        assert error(shared.http.post("/v1/poses", content=POSE, headers=JSON | huge)) == (413, "body_too_large")

    def test_streamed_without_a_length(self, shared):
        def body():
            for _ in range(20):
                yield b"x" * 1_000_000

        assert error(shared.http.post("/v1/poses", content=body(), headers=JSON)) == (413, "body_too_large")

    def test_just_under_the_cap_is_read(self, shared):
        body = b'{"prompt": "kneel"}'.ljust(guard.MAX_BODY_BYTES)
        assert shared.http.post("/v1/poses", content=body, headers=JSON).status_code == 200
        assert error(shared.http.post("/v1/poses", content=body + b" ", headers=JSON)) == (413, "body_too_large")

    @pytest.mark.parametrize("opening", ["[", '{"a":', '["]",'])
    def test_nesting(self, shared, opening):
        answer = shared.http.post("/v1/poses", content=opening * 100_000, headers=JSON)
        assert error(answer) == (400, "invalid_json")

    @pytest.mark.parametrize("length", [8001, 100_000])
    def test_a_long_prompt_gets_a_clear_sentence(self, shared, length):
        answer = shared.http.post("/v1/poses", json={"prompt": "x" * length})
        assert error(answer) == (422, "prompt_too_long")
        assert f"{length:,} characters" in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == "prompt"

    def test_a_prompt_of_the_full_length_is_read(self, shared):
        assert shared.http.post("/v1/poses", json={"prompt": "x" * 8000}).status_code == 200


@pytest.mark.parametrize(
    ("text", "depth"),
    [
        ("", 0), ("1", 0), ("[]", 1), ("[[],[]]", 2), ('"[[[["', 0), ('["\\"[[["]', 1), ('{"a":{"b":[]}}', 3),
        ('["\\\\",[]]', 2), ("[" * 300, 300), ("]" * 300 + "[", 0), ('"' + "a" * 1000, 0), ("[1]" * 1000, 1),
    ],
)  # fmt: skip
def test_json_depth(text, depth):
    assert json_depth(text.encode()) == depth


@pytest.mark.parametrize(
    "body",
    ["", "{", "nope", '{"prompt": NaN}', b"\xff\xfe", b"\xff", '{"prompt": "a"} x', "1" * 10_000, "[]", "null", '"x"'],
)
def test_bodies_that_are_not_what_they_should_be(shared, body):
    answer = shared.http.post("/v1/poses", content=body, headers=JSON)
    assert error(answer)[0] in (400, 422), answer.text


class TestToken:
    def test_made_once_private_and_random(self, tmp_path):
        path = tmp_path / "new" / "token"
        token = read_or_make_token(path)
        assert len(token) >= 43 and token == read_or_make_token(path)
        assert token != read_or_make_token(tmp_path / "other")
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert [p.name for p in path.parent.iterdir()] == ["token"]

    @pytest.mark.skipif(os.name != "posix", reason="file modes")
    def test_a_token_others_could_read_is_closed(self, tmp_path):
        path = tmp_path / "token"
        token = read_or_make_token(path)
        path.chmod(0o644)
        assert read_or_make_token(path) == token
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("damaged", [b"", b"short", b"\xff" * 50, b"\n\n"])
    def test_a_damaged_file_is_made_anew(self, tmp_path, damaged):
        path = tmp_path / "token"
        path.write_bytes(damaged)
        assert len(read_or_make_token(path)) >= 43

    def test_many_at_once_agree(self, tmp_path):
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(read_or_make_token(tmp_path / "token"))) for _ in range(16)
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(found) == 16 and len(set(found)) == 1

    def test_place(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CHATPOSE_TOKEN_FILE", str(tmp_path / "t"))
        assert guard.token_path() == tmp_path / "t"
        monkeypatch.delenv("CHATPOSE_TOKEN_FILE")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        monkeypatch.setattr("sys.platform", "linux")
        assert guard.token_path() == tmp_path / "chatpose" / "token"
        monkeypatch.setattr("sys.platform", "win32")
        monkeypatch.setenv("APPDATA", str(tmp_path / "roaming"))
        assert guard.token_path() == tmp_path / "roaming" / "chatpose" / "token"
