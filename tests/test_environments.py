# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments are made whole or not at all, taken up where they were cut off, and say in words what is in the way.

Real virtual environments and the real pip, with small packages of our own from a package index on loopback.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import environments
from scripts.environments import DevError, Environment

CARGO = "cargo = " + repr("x" * 50_000) + "\n"


def wheel(name: str) -> bytes:
    """A valid wheel of one module, version 1.0."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": CARGO,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]) + "\n"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return data.getvalue()


@dataclass
class Index:
    """A package index on loopback. `break_off`: send only half of this package, then close."""

    address: str = ""
    break_off: str = ""
    served: list[str] = field(default_factory=list)


@pytest.fixture
def index() -> Iterator[Index]:
    state = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = self.path.strip("/").split("/")
            name = parts[1] if len(parts) > 1 else ""
            if parts[0] == "simple":
                body, kind = f'<a href="/file/{name}/{name}-1.0-py3-none-any.whl">x</a>'.encode(), "text/html"
            else:
                body, kind = wheel(name), "application/octet-stream"
                state.served.append(name)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if kind != "text/html" and name == state.break_off else body)

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{service.server_port}/simple"
    yield state
    service.shutdown()
    service.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One virtual environment for all tests of this file, because making one takes seconds."""
    return tmp_path_factory.mktemp("environment") / ".venv"


@pytest.fixture
def environment(folder: Path, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment of two packages that is not whole, and a pip that knows only `index`."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nretries = 0\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_INDEX_URL", index.address)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    lock = tmp_path / "test.lock"
    lock.write_text("# two\nfirst==1.0\nsecond==1.0\n", encoding="utf-8")
    made = Environment("test", folder, lock, "nothing", probe="import first, second")
    (folder / environments.STAMP).unlink(missing_ok=True)
    for path in (made.python.parent.parent / "lib").glob("python3.11/site-packages/*"):
        if path.name.startswith(("first", "second")):
            path.unlink() if path.is_file() else [file.unlink() for file in path.iterdir()] and path.rmdir()
    return made


def site_packages(environment: Environment) -> Path:
    return next(environment.folder.glob("**/site-packages"))


def test_made_once_then_left_alone(environment: Environment, index: Index) -> None:
    assert not environment.is_whole
    python = environments.ensure(environment)
    assert python.exists() and environment.is_whole
    assert sorted(index.served) == ["first", "second"]
    index.served.clear()
    environments.ensure(environment)
    assert index.served == []


def test_a_changed_lock_is_followed(environment: Environment) -> None:
    environments.ensure(environment)
    environment.lock.write_text("first==1.0\n", encoding="utf-8")
    assert not environment.is_whole


@pytest.mark.parametrize("lost", ["second.py", "second-1.0.dist-info/RECORD"])
def test_a_package_that_was_cut_off_is_laid_down_anew(environment: Environment, index: Index, lost: str) -> None:
    environments.ensure(environment)
    (environment.folder / environments.STAMP).unlink()  # as when the run ended before its last step
    (site_packages(environment) / lost).unlink()
    index.served.clear()
    environments.ensure(environment)
    assert index.served == ["second"], "the whole one is kept, the other comes again"
    assert (site_packages(environment) / "second.py").read_text(encoding="utf-8") == CARGO


def test_a_download_that_breaks_off(environment: Environment, index: Index) -> None:
    index.break_off = "second"
    with pytest.raises(DevError, match=r"broke off half way.*run the same command again"):
        environments.ensure(environment)
    assert not environment.is_whole
    index.break_off = ""
    environments.ensure(environment)
    assert environment.is_whole


def test_no_network(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # discard: nothing listens there
    with pytest.raises(DevError, match=r"index cannot be reached.*network.*run the same command again"):
        environments.ensure(environment)
    assert not environment.is_whole


def test_python_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHATPOSE_PYTHON", str(tmp_path / "python3.11"))
    with pytest.raises(DevError, match=r"Python 3\.11.*not found.*run the same command again"):
        environments.find_python()


@pytest.mark.parametrize(
    ("pip_says", "we_say"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: Could not install packages: [Errno 13] Permission denied: 'x'", "may not be written"),
        ("ProtocolError('Connection broken: IncompleteRead(1 bytes read, 2 more expected)'", "broke off"),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ERROR: something new", "pip failed: ERROR: something new"),
    ],
)
def test_pip_in_plain_words(pip_says: str, we_say: str) -> None:
    assert we_say in environments.explain_pip(f"Collecting x\n{pip_says}\n")
