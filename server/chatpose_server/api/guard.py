"""Who may talk to this server, and how much: token, Host, Origin, content type, sizes. Plain ASGI, knows no route.

Why a server on loopback needs all of it: any web page can send requests there, a page of a rebound DNS name can read
the answers (Ollama's CVE-2024-28224), and other users of the machine can reach the port.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import numpy as np
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..faults import Fault
from .errors import response

MAX_BODY_BYTES: Final = 12_000_000
MAX_JSON_DEPTH: Final = 32
_BODY_TIMEOUT_S: Final = 30.0  # for the whole body; on loopback it takes milliseconds
_DRAIN_BYTES: Final = 64_000_000
_DRAIN_S: Final = 2.0
_TOKEN_CHARS: Final = 43  # 32 random bytes in URL-safe base64
_OPEN_PATHS: Final = frozenset({"/health"})


@dataclass
class Access:
    """Who is let in. ``hosts``: the exact Host headers; filled in once the port is known."""

    token: str
    hosts: set[str] = field(default_factory=set[str])

    def allow(self, names: Iterable[str], port: int, scheme: str = "http") -> None:
        """Lets requests in that were sent to one of these host names at this port."""
        default_port = {"http": 80, "https": 443}[scheme]
        for name in names:
            bracketed = f"[{name}]" if ":" in name else name
            self.hosts.add(f"{bracketed}:{port}")
            if port == default_port:
                self.hosts.add(bracketed)


LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")


class Guard:
    """ASGI middleware: everything that is refused is refused here, before a route or a parser sees it."""

    def __init__(self, app: ASGIApp, access: Access, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._access = access
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or reads the body whole and passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, incoming = _Headers(scope), _Incoming(receive)
        fault = self._refuse(scope, headers)
        # no route takes another method's body, or does anything without one
        if fault is None and scope["method"] == "POST" and headers.has_body():
            body = await self._read_body(headers, incoming)
            if isinstance(body, bytes):
                receive = _replay(body, receive)
            else:
                fault = body
        if fault is not None:
            await incoming.drain(headers)
            answer = response(fault)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope, headers: _Headers) -> Fault | None:
        if headers.only("host") not in self._access.hosts:
            return Fault(
                "wrong_host",
                "This request was sent to another host's name than the server's own.",
                "Use http://127.0.0.1 with the server's port.",
            )
        if headers.all("origin") or headers.only("sec-fetch-site", "none") not in ("none", "same-origin"):
            return Fault("origin_refused", "Web pages may not talk to this server.", "Use Blender or a script.")
        if scope["path"] not in _OPEN_PATHS:
            scheme, _, token = headers.only("authorization").partition(" ")
            right = hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._access.token.encode())
            if scheme.lower() != "bearer" or not right:
                return Fault(
                    "unauthorized",
                    "The token is missing or wrong." if token else "This request has no token.",
                    "Use the token that 'chatpose-server doctor' shows the place of.",
                )
        return None

    async def _read_body(self, headers: _Headers, incoming: _Incoming) -> bytes | Fault:
        if headers.only("content-type").partition(";")[0].strip().lower() != "application/json":
            return Fault("unsupported_media_type", "The body must be sent as application/json.")
        too_large = Fault(
            "body_too_large",
            f"The request is too large; at most {self._max_body_bytes // 1_000_000} MB are read.",
            "Send a smaller picture.",
        )
        length = headers.only("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._max_body_bytes:
            return too_large
        body = bytearray()
        try:
            with anyio.fail_after(_BODY_TIMEOUT_S):
                while not incoming.whole:
                    body += await incoming.part()
                    if len(body) > self._max_body_bytes:
                        return too_large
                if incoming.gone:
                    return Fault("body_timeout", "The connection was closed before the whole request had come.")
        except TimeoutError:
            return Fault("body_timeout", f"The request did not arrive whole within {_BODY_TIMEOUT_S:g} s.")
        if json_depth(body) > MAX_JSON_DEPTH:
            return Fault("invalid_json", f"The JSON is nested more than {MAX_JSON_DEPTH} levels deep.")
        return bytes(body)


class _Headers:
    """The request's headers; one that is there twice counts as wrong wherever only one can be meant."""

    def __init__(self, scope: Scope) -> None:
        self._raw: list[tuple[bytes, bytes]] = list(scope["headers"])

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for key, value in self._raw if key == name.encode()]

    def only(self, name: str, default: str = "") -> str:
        values = self.all(name)
        return default if not values else values[0] if len(values) == 1 else "\0twice"

    def has_body(self) -> bool:
        return self.only("content-length", "0") != "0" or bool(self.all("transfer-encoding"))


class _Incoming:
    """The body as it comes. ``whole``: nothing more will come: that was all, or the client is ``gone``."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.whole = self.gone = False

    async def part(self) -> bytes:
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        self.whole = self.gone or not message.get("more_body", False)
        return message.get("body", b"")

    async def drain(self, headers: _Headers) -> None:
        """Reads a refused body to its end, within reason: a client that is still sending would see the connection
        break instead of the answer.
        """
        if not headers.has_body():
            return
        left = _DRAIN_BYTES
        with anyio.move_on_after(_DRAIN_S):
            while left > 0 and not self.whole:
                left -= len(await self.part())


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body that was read, once; then whatever the server says next (that the client has gone)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def json_depth(body: bytes | bytearray) -> int:
    """How deep the brackets outside strings are nested. Linear, and cheap for a large picture in one string."""
    plain = bytes(body).replace(b"\\\\", b"").replace(b'\\"', b"")
    chars = np.frombuffer(plain, np.uint8)
    outside = np.cumsum(chars == ord('"'), dtype=np.uint8) % 2 == 0  # parity survives the overflow
    opens = (chars == ord("[")) | (chars == ord("{"))
    closes = (chars == ord("]")) | (chars == ord("}"))
    steps = (opens.astype(np.int8) - closes.astype(np.int8))[outside & (opens | closes)]
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


# -- the token ---------------------------------------------------------------------------------------------------------
def config_dir() -> Path:
    """Where this user's settings live: the place that the add-on looks in as well."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "chatpose"


def token_path() -> Path:
    """CHATPOSE_TOKEN_FILE, or ``token`` in the settings folder."""
    override = os.environ.get("CHATPOSE_TOKEN_FILE")
    return Path(override) if override else config_dir() / "token"


def read_or_make_token(path: Path | None = None) -> str:
    """The token of this user's installation; made on first use, readable by this user alone.

    Two programs that make it at once end with the same one: the file appears whole, and the first one stays.
    Raises OSError.
    """
    path = path or token_path()
    for _ in range(3):
        damaged = True
        try:
            token = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            token, damaged = "", False
        except UnicodeDecodeError:
            token = ""
        if len(token) >= _TOKEN_CHARS and token.isprintable():
            if os.name == "posix" and path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return token
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _place(path, secrets.token_urlsafe(32), replace=damaged)
    raise OSError(f"The token file {path} cannot be made. Delete it and try again.")


def _place(path: Path, token: str, replace: bool) -> None:
    """Writes beside, then moves; without ``replace`` a file that somebody else has made meanwhile is kept."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".token-")  # mkstemp makes it 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as f:
            f.write(token + "\n")
            f.flush()
            os.fsync(f.fileno())
        if replace:
            temporary.replace(path)
        elif os.name == "nt":
            temporary.rename(path)  # on Windows this fails where the target exists
        else:
            _link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        temporary.replace(path)


def client_of(scope: Scope) -> str:
    """Who sent this request, for the per-client share: the name it gives itself, else its address."""
    headers = _Headers(scope)
    name = headers.only("x-chatpose-client")[:64]
    if name:
        return f"client:{name}"
    client = scope.get("client")
    return f"address:{client[0]}" if client else "address:?"
