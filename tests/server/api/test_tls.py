"""A server for other machines, encrypted: a live run with a certificate of its own, over the machine's own address."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess

import httpx
import pytest

from .live import command, process


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("LOUDLY: no openssl here to make a certificate with; the encrypted server was not tried")
    folder = tmp_path_factory.mktemp("tls")
    names = "subjectAltName=DNS:posing.test,DNS:localhost,IP:127.0.0.1"
    done = subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"), "-subj", "/CN=posing.test",
         "-addext", names],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "cert.pem", folder / "key.pem"


def test_for_other_machines_encrypted_named_and_with_the_token(certificate, tmp_path):
    cert, key = certificate
    wish = ("--host", "0.0.0.0", "--port", "0", "--allow-remote", "--tls-cert", str(cert), "--tls-key", str(key))
    with process(tmp_path, *wish, "--name", "posing.test") as server:
        trust = ssl.create_default_context(cafile=cert)
        url = f"https://127.0.0.1:{server.port}"
        token = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=url, verify=trust, timeout=120) as http:
            answer = http.post("/v1/poses", json={"prompt": "kneel", "refine": False}, headers=token)
            assert answer.status_code == 200 and answer.json()["poses"]
            named = {"Host": f"posing.test:{server.port}"}
            assert http.get("/v1/models", headers=token | named).status_code == 200
            for headers, status in [
                ({}, 401),
                (token | {"Host": f"evil.example:{server.port}"}, 421),
                (token | {"Host": "posing.test"}, 421),
                (token | named | {"Origin": f"https://posing.test:{server.port}"}, 403),
            ]:
                assert http.get("/v1/models", headers=headers).status_code == status, headers
        with pytest.raises(httpx.ConnectError), httpx.Client(timeout=120) as stranger:
            stranger.get(f"{url}/health")  # nobody has vouched for this certificate
        with socket.create_connection(("127.0.0.1", server.port), 60) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"chatpose" not in b"".join(iter(lambda: plain.recv(4096), b""))


@pytest.mark.parametrize("broken", ["cert", "key", "both"])
def test_a_certificate_that_cannot_be_used_is_one_line(certificate, tmp_path, broken):
    cert, key = (path.read_bytes() for path in certificate)
    (tmp_path / "cert.pem").write_bytes(b"not a certificate" if broken in ("cert", "both") else cert)
    if broken != "both":
        (tmp_path / "key.pem").write_bytes(b"not a key" if broken == "key" else key)
    files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    line, environment = command(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0", "--allow-remote", *files)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "certificate" in done.stderr
