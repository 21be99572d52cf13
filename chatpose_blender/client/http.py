"""One session to one server: timeouts, token, size cap, and every failure as one clear sentence.

Knows the routes and status codes; knows nothing of jobs' lives, connection states or Blender. Calls block: worker
threads only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from .contract import API_VERSION, Capabilities, ContractError, ErrorAnswer, Health, JobStatus, Request

DEFAULT_ADDRESS: Final = "http://127.0.0.1:7673"
CONNECT_SECONDS: Final = 3.0  # loopback connects in a millisecond; a local network well within this
READ_SECONDS: Final = 15.0  # quick routes; long-polls add their own wait
HEARTBEAT_SECONDS: Final = 5.0
UNLOAD_SECONDS: Final = 120.0  # it waits for the answer that is being made
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024  # 16 poses are 60 kB, a 1,000-frame motion about 4 MB
_CHUNK: Final = 64 * 1024
TOKEN_FILE_VARIABLE: Final = "CHATPOSE_TOKEN_FILE"  # noqa: S105 - the name of a variable, not a secret


# -- errors --------------------------------------------------------------------------------------------------------


class ClientError(Exception):
    """Something went wrong between Blender and the server. ``str()`` is one sentence for the artist's panel.

    ``details`` is for Copy Details, never for the panel. ``code`` is stable, for tests and states.
    """

    code = "client_error"

    def __init__(self, sentence: str, details: str = "") -> None:
        super().__init__(sentence)
        self.details = details


class BadAddressError(ClientError):
    code = "bad_address"


class ServerOffError(ClientError):
    code = "server_off"


class ServerSilentError(ClientError):
    code = "server_silent"


class NotChatPoseError(ClientError):
    code = "wrong_server"


class WrongTokenError(ClientError):
    code = "wrong_token"


class ServerTooOldError(ClientError):
    code = "server_too_old"


class ServerTooNewError(ClientError):
    code = "server_too_new"


class ServerBusyError(ClientError):
    code = "server_busy"

    def __init__(self, sentence: str, retry_after: float, details: str = "") -> None:
        super().__init__(sentence, details)
        self.retry_after = retry_after


class ServerLoadingError(ClientError):
    code = "server_loading"


class ServerFaultError(ClientError):
    """The server said what is wrong in its own words."""

    code = "server_fault"

    def __init__(self, sentence: str, server_code: str, details: str = "") -> None:
        super().__init__(sentence, details)
        self.server_code = server_code


class JobForgottenError(ClientError):
    code = "job_forgotten"


class AnswerCutOffError(ClientError):
    code = "answer_cut_off"


class AnswerTooLargeError(ClientError):
    code = "answer_too_large"


class AnswerUnreadableError(ClientError):
    code = "answer_unreadable"


# -- where and who -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Endpoint:
    """Where the server is and how to prove who asks. ``token`` empty means: read the token file (loopback only)."""

    address: str = DEFAULT_ADDRESS
    token: str = ""
    token_file: str = ""

    @property
    def base(self) -> str:
        """The address, checked and without a trailing slash. Raises BadAddressError."""
        return parse_address(self.address)[0]

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this computer. Raises BadAddressError."""
        return is_loopback_host(parse_address(self.address)[1])


def parse_address(address: str) -> tuple[str, str]:
    """-> (base URL, host). Raises BadAddressError with an example of a right one."""
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadAddressError(f"'{text[:60]}' is not a server address; use one like {DEFAULT_ADDRESS}.") from error
    plain = not (parts.username or parts.password or parts.query or parts.fragment) and parts.path in {"", "/"}
    if parts.scheme not in {"http", "https"} or not host or not plain or any(c.isspace() for c in host):
        raise BadAddressError(f"'{text[:60]}' is not a server address; use one like {DEFAULT_ADDRESS}.")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else ""), host


def is_loopback_host(host: str) -> bool:
    """Whether a host name or address can only be this computer."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_token_file() -> Path:
    """Where the server writes its token: ``<user config folder>/chatpose/token``, or what the environment says."""
    named = os.environ.get(TOKEN_FILE_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "chatpose" / "token"


def read_token(endpoint: Endpoint) -> str:
    """The typed token, else the token file's; "" where there is none. Touches the disk: worker threads only.

    The file belongs to this computer's own server, so it is never sent to another host.
    """
    if endpoint.token:
        return endpoint.token.strip()
    if not endpoint.is_loopback:
        return ""
    path = Path(endpoint.token_file) if endpoint.token_file else default_token_file()
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(4096).strip()
    except (OSError, UnicodeDecodeError):
        return ""  # a server without a token needs none; one with a token will say so


# -- the session ---------------------------------------------------------------------------------------------------


class Client:
    """A session to one endpoint. Any thread may use it; every method blocks and raises ClientError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.base = endpoint.base
        self._endpoint = endpoint
        self._session = requests.Session()
        if endpoint.is_loopback:
            self._session.trust_env = False  # a company proxy must never see or break loopback requests

    def close(self) -> None:
        """Ends the session; a request that is under way in another thread fails."""
        self._session.close()

    def health(self) -> Health:
        """Who listens and whether it is ready. A server that is loading answers too; the wrong program raises."""
        status, data = self._call("GET", "/health", ok=(200, 503), with_token=False)
        try:
            health = Health.from_json(data)
        except ContractError as error:
            raise self._not_chatpose(f"HTTP {status}: {error}") from error
        if health.api < API_VERSION:
            raise ServerTooOldError(
                f"The ChatPose server at {self.base} is too old for this add-on; update the server.",
                f"server {health.version}, api {health.api}, needed {API_VERSION}",
            )
        if health.api > API_VERSION:
            raise ServerTooNewError(
                f"The ChatPose server at {self.base} is newer than this add-on; update the add-on.",
                f"server {health.version}, api {health.api}, known {API_VERSION}",
            )
        return health

    def capabilities(self) -> Capabilities:
        """What the server can do; also the cheapest way to learn that the token is right."""
        return self._read(Capabilities.from_json, self._call("GET", "/v1/capabilities")[1])

    def submit(self, request: Request, idempotency_key: str) -> JobStatus:
        """Queues a job. The same key twice is one job, so this may be repeated after a lost answer."""
        headers = {"Idempotency-Key": idempotency_key}
        _, data = self._call("POST", "/v1/jobs", body=request.to_json(), ok=(200, 202), headers=headers)
        return self._read(JobStatus.from_json, data)

    def look(self, job_id: str, wait: float) -> JobStatus:
        """One look at a job; the server holds the answer back for up to ``wait`` seconds while nothing is final."""
        path = f"/v1/jobs/{requests.utils.quote(job_id, safe='')}"
        _, data = self._call("GET", path, params={"wait": f"{wait:g}"}, read_seconds=wait + READ_SECONDS)
        return self._read(JobStatus.from_json, data)

    def events(self, job_id: str) -> Iterator[JobStatus]:
        """The job at every change, with its text as it is written, until it is over or the server ends the stream.

        Server-sent events; the server writes a comment every ten seconds, so a silent stream is a dead one.
        """
        path = f"/v1/jobs/{requests.utils.quote(job_id, safe='')}/events"
        with self._request("GET", path, accept="text/event-stream") as response:
            if response.status_code != 200 or "text/event-stream" not in response.headers.get("Content-Type", ""):
                raise AnswerUnreadableError("The server sends no events.", f"HTTP {response.status_code}")
            for data in _events(response.iter_content(None)):  # None: each piece as soon as it has come
                yield self._read(JobStatus.from_json, self._parse(data, response.status_code))

    def cancel(self, job_id: str) -> None:
        """Asks the server to stop a job; one that is already over is no error."""
        path = f"/v1/jobs/{requests.utils.quote(job_id, safe='')}"
        self._call("DELETE", path, ok=(200, 202, 204, 404, 409))

    def heartbeat(self, client: str, *, leaving: bool = False) -> int:
        """Tells the server that this Blender needs it, or no longer does; -> how many clients it has now."""
        body = {"client": client, "leaving": leaving}
        _, data = self._call("POST", "/v1/clients/heartbeat", body=body, read_seconds=HEARTBEAT_SECONDS)
        count = data.get("clients") if isinstance(data, dict) else None
        return count if isinstance(count, int) else 1

    def unload(self) -> None:
        """Has the server drop its model; waits for the answer that it may be giving."""
        self._call("POST", "/v1/models/unload", body={}, read_seconds=UNLOAD_SECONDS)

    # -- one request -----------------------------------------------------------------------------------------------
    def _call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        ok: tuple[int, ...] = (200,),
        with_token: bool = True,
        read_seconds: float = READ_SECONDS,
    ) -> tuple[int, object]:
        with self._request(
            method, path, body=body, params=params, headers=headers, with_token=with_token, read_seconds=read_seconds
        ) as response:
            raw = self._body(response)
            status, retry_after = response.status_code, response.headers.get("Retry-After", "")
        data = self._parse(raw, status)
        if status in ok:
            return status, data
        raise self._refusal(status, data, retry_after)

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        path: str,
        *,
        accept: str = "application/json",
        body: dict[str, Any] | None = None,
        params: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        with_token: bool = True,
        read_seconds: float = READ_SECONDS,
    ) -> Iterator[requests.Response]:
        """Sends a request; whatever fails while the answer is read is a ClientError."""
        sent = {"Accept": accept, **(headers or {})}
        token = read_token(self._endpoint) if with_token else ""
        if token:
            if not token.isascii() or not token.isprintable():
                raise WrongTokenError("The server's token holds characters that no token has; copy it once more.")
            sent["Authorization"] = f"Bearer {token}"
        try:
            with self._session.request(
                method,
                self.base + path,
                json=body,
                params=params,
                headers=sent,
                timeout=(CONNECT_SECONDS, read_seconds),
                allow_redirects=False,  # a redirect would carry the token elsewhere
                stream=True,
            ) as response:
                yield response
        except requests.exceptions.ConnectTimeout as error:
            sentence = f"Nothing answers at {self.base}; check the address and the firewall."
            raise ServerSilentError(sentence, str(error)) from error
        except requests.exceptions.Timeout as error:
            raise ServerSilentError(
                f"The server at {self.base} takes too long to answer; try again or restart it.", str(error)
            ) from error
        except requests.exceptions.SSLError as error:
            sentence = f"The certificate of {self.base} is not trusted; check the address."
            raise BadAddressError(sentence, str(error)) from error
        except requests.exceptions.ConnectionError as error:
            raise self._connection_error(error) from error
        except requests.exceptions.RequestException as error:
            raise AnswerCutOffError(f"The answer from {self.base} was cut off; try again.", str(error)) from error

    def _body(self, response: requests.Response) -> bytes:
        announced = response.headers.get("Content-Length", "")
        if announced.isdigit() and int(announced) > MAX_ANSWER_BYTES:
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                raise self._too_large()
            parts.append(chunk)
        plain = "Content-Encoding" not in response.headers  # a compressed answer's length counts other bytes
        if plain and announced.isdigit() and size < int(announced) and response.request.method != "HEAD":
            sentence = f"The answer from {self.base} was cut off; try again."
            raise AnswerCutOffError(sentence, f"{size} of {announced} bytes")
        return b"".join(parts)

    def _parse(self, raw: bytes, status: int) -> object:
        if not raw.strip():
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            start = raw[:80].decode("utf-8", "replace")
            raise self._not_chatpose(f"HTTP {status}, not JSON: {start!r}") from error

    def _read(self, reader: Any, data: object) -> Any:
        try:
            return reader(data)
        except ContractError as error:
            raise AnswerUnreadableError(
                f"The server's answer cannot be read ({error}); update the server or the add-on."
            ) from error

    def _refusal(self, status: int, data: object, retry_after: str) -> ClientError:
        failure = ErrorAnswer.from_json(data).failure
        details = f"HTTP {status}" + (f", {failure.code}: {failure.message} {failure.hint}" if failure else "")
        if status in {401, 403} and (failure is None or "token" in failure.code or failure.code == "unauthorized"):
            return WrongTokenError(
                "The server does not accept the token; set it in the add-on's preferences or restart the server.",
                details,
            )
        if status == 429:
            seconds = float(retry_after) if retry_after.isdigit() else 5.0
            return ServerBusyError(
                f"The server is busy with other work; try again in {seconds:g} seconds.", seconds, details
            )
        if failure is None:
            return self._not_chatpose(details)
        if status == 404 and "job" in failure.code:
            sentence = "The server no longer knows this job, perhaps it was restarted; try again."
            return JobForgottenError(sentence, details)
        if status == 503 and failure.code in {"loading", "starting", "model_loading"}:
            return ServerLoadingError("The server is still loading its model; try again in a moment.", details)
        return ServerFaultError(failure_sentence(failure.message, failure.hint), failure.code, details)

    def _connection_error(self, error: requests.exceptions.ConnectionError) -> ClientError:
        text = str(error)
        if "NewConnectionError" in text or "refused" in text or "NameResolution" in text:
            return ServerOffError(
                f"The ChatPose server is not running at {self.base}; start it or check the address.", text
            )
        if "BadStatusLine" in text or "LineTooLong" in text:
            return self._not_chatpose(text)  # something listens that does not speak HTTP
        sentence = f"The connection to {self.base} broke off before the answer was whole; try again."
        return AnswerCutOffError(sentence, text)

    def _not_chatpose(self, details: str) -> NotChatPoseError:
        return NotChatPoseError(
            f"The program at {self.base} is not a ChatPose server; change the port in the add-on's preferences.",
            details,
        )

    def _too_large(self) -> AnswerTooLargeError:
        megabytes = MAX_ANSWER_BYTES // 2**20
        return AnswerTooLargeError(f"The answer from {self.base} is larger than {megabytes} MB and was dropped.")


def _events(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event. Comments and the other fields are left out."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in whole:
            data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
            if data:
                yield data
        if len(rest) > MAX_ANSWER_BYTES:
            raise AnswerTooLargeError(f"An answer is larger than {MAX_ANSWER_BYTES // 2**20} MB and was dropped.")


def failure_sentence(message: str, hint: str) -> str:
    """The server's message and hint as one line that ends in one full stop."""
    parts = [part.strip().rstrip(".") for part in (message, hint) if part.strip()]
    return (". ".join(parts) or "The server failed without saying why") + "."
