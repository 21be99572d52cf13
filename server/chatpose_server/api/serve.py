"""A running server: the socket, the process's life and death. Knows uvicorn; the application comes from ``app``."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from .. import __version__
from ..faults import ChatPoseError
from ..jobs import JobQueue
from ..worker.answers import Answerer
from .app import make_app
from .guard import LOOPBACK_NAMES, Access
from .service import Clients, Service

DEFAULT_PORT: Final = 7673
_PORTS_TRIED: Final = 20
_STOP_GRACE_S: Final = 3.0  # what runs may finish in this time after SIGTERM; then it is cancelled

_log = logging.getLogger("chatpose.serve")


@dataclass(frozen=True)
class ServeOptions:
    """``port`` 0: any free one. ``exit_when_alone``: seconds without a client after which the server ends, or None.
    A host other than loopback needs ``allow_remote``, the TLS files and (in ``names``) how clients call this machine.
    """

    token: str
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    exit_when_alone: float | None = None
    allow_remote: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    names: tuple[str, ...] = ()
    log_prompts: bool = False


def check(options: ServeOptions) -> None:
    """Raises ChatPoseError invalid_request where the options would put the server in the open."""
    if options.host in LOOPBACK_NAMES:
        return
    if not options.allow_remote:
        raise ChatPoseError(
            "invalid_request",
            f"{options.host} can be reached from other machines; that needs --allow-remote, --tls-cert and --tls-key.",
        )
    if options.tls_cert is None or options.tls_key is None:
        raise ChatPoseError(
            "invalid_request", "A server for other machines must be encrypted: give --tls-cert and --tls-key."
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:  # now, in a sentence, and not in the middle of the start
        why = error.strerror or error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ChatPoseError(
            "invalid_request",
            f"The certificate {options.tls_cert} with the key {options.tls_key} cannot be used ({why}).",
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """A listening-to-be socket on ``port``, or on the next free one after it. Raises ChatPoseError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last: OSError | None = None
    for candidate in [port] if port == 0 else range(port, min(port + _PORTS_TRIED, 65536)):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":
                # SO_REUSEADDR there would let a second program take the port over
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, candidate))
            sock.listen(128)  # now, so that two servers started at once cannot both believe they have the port
        except OSError as error:
            sock.close()
            last = error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                break
            continue
        return sock
    raise ChatPoseError(
        "invalid_request", f"The server cannot listen on {host}:{port} ({last}). Choose another --port."
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which lets waiting requests end at once when it is told to stop."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM, SIGINT: no new work from now on. The signal is not raised again: this is an orderly end."""
        self.should_exit = True
        # in a thread, because the queue's lock may be held by the very code that the signal interrupted
        threading.Thread(target=self._on_stop, daemon=True).start()


def serve(options: ServeOptions, engine: Answerer) -> None:
    """Runs until SIGTERM, SIGINT or loneliness, and closes ``engine``. Prints one line of JSON with the URL when the
    port is open; the model is loaded after that. Raises ChatPoseError.
    """
    check(options)
    sock = bind(options.host, options.port)
    port: int = sock.getsockname()[1]
    scheme = "http" if options.tls_cert is None else "https"
    access = Access(options.token)
    access.allow((*LOOPBACK_NAMES, options.host, *options.names), port, scheme)
    jobs = JobQueue()
    service = Service(
        engine,
        jobs,
        access,
        Clients(options.exit_when_alone),
        stop_grace_s=_STOP_GRACE_S,
        log_prompts=options.log_prompts,
    )
    server = _Server(_config(options, service), functools.partial(jobs.close, _STOP_GRACE_S))
    _announce(options, scheme, port)
    if engine.models.status.name is not None:
        engine.models.load()
    if options.exit_when_alone is not None:
        threading.Thread(target=_end_when_alone, args=(service, server), daemon=True).start()
    try:
        server.run(sockets=[sock])
    finally:
        engine.close()
    _log.info("stopped")
    sys.stderr.flush()


def _config(options: ServeOptions, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        ssl_certfile=None if options.tls_cert is None else str(options.tls_cert),
        ssl_keyfile=None if options.tls_key is None else str(options.tls_key),
        timeout_graceful_shutdown=int(2 * _STOP_GRACE_S) + 2,
    )


def _announce(options: ServeOptions, scheme: str, port: int) -> None:
    name = f"[{options.host}]" if ":" in options.host else options.host
    line = {"event": "listening", "url": f"{scheme}://{name}:{port}", "port": port, "pid": os.getpid()}
    print(json.dumps(line | {"version": __version__}), flush=True)  # noqa: T201 - read by whoever started us
    if options.port not in (0, port):
        _log.warning("port taken", extra={"wanted": options.port, "port": port})


def _end_when_alone(service: Service, server: _Server) -> None:
    while not service.clients.alone():
        time.sleep(0.25)
    _log.info("alone", extra={"after_s": service.clients.alone_s})
    server.should_exit = True
