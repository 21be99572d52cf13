"""Every error this server can answer with, in one table, and the one reading of an exception. Knows no HTTP library.

The texts are shown in Blender's status bar, so each is one clear sentence: what is wrong, and in ``hint`` what to do.
"""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_log = logging.getLogger("chatpose.faults")
_PACKAGE: Final = __package__ or "chatpose_server"


@dataclass(frozen=True)
class Code:
    """One kind of error: the HTTP status it is answered with, and what it means."""

    status: int
    meaning: str


CODES: Final[Mapping[str, Code]] = {
    # -- the request cannot be read, or may not be made
    "invalid_json": Code(400, "The body is not JSON, or is nested too deeply."),
    "unauthorized": Code(401, "The token is missing or wrong."),
    "origin_refused": Code(403, "The request comes from a web page; no page may talk to this server."),
    "not_found": Code(404, "There is nothing at this address."),
    "method_not_allowed": Code(405, "This address does not take this HTTP method."),
    "body_timeout": Code(408, "The body of the request did not arrive in time."),
    "body_too_large": Code(413, "The request is larger than the server reads."),
    "unsupported_media_type": Code(415, "A body must be sent as application/json."),
    "wrong_host": Code(421, "The request was sent to another host's name (DNS rebinding)."),
    # -- the request is read, and something in it is wrong
    "invalid_request": Code(422, "A field is missing, unknown, or of the wrong kind; 'param' names it."),
    "prompt_empty": Code(422, "There are no words and no picture to work from."),
    "prompt_too_long": Code(422, "There are more words than the server reads."),
    "invalid_pose": Code(422, "A pose in the request cannot be used."),
    "invalid_image": Code(422, "The picture is damaged, or not a PNG, JPEG or WebP."),
    "image_too_large": Code(422, "The picture has too many pixels."),
    "image_not_supported": Code(422, "Nothing that is loaded can look at pictures."),
    "no_person": Code(422, "No person was found in the picture."),
    "person_not_found": Code(422, "Not that many persons were found in the picture."),
    "model_not_found": Code(404, "There is no model of this name."),
    "job_not_found": Code(404, "There is no such job, or it was finished too long ago."),
    "idempotency_conflict": Code(409, "This Idempotency-Key was used before with another request."),
    "cancelled": Code(409, "The work was cancelled before it was done."),
    "queue_full": Code(429, "Too much work is waiting; try again after Retry-After seconds."),
    "client_queue_full": Code(429, "This client has too much work waiting; try again after Retry-After seconds."),
    # -- the server cannot do it (now)
    "internal": Code(500, "A mistake in the server; the log has the details under the id in the message."),
    "not_available": Code(501, "This part of the server is not installed or cannot be loaded."),
    "no_model": Code(503, "No model is loaded, and none was chosen."),
    "model_failed": Code(503, "The model could not be loaded, or could not be used."),
    "out_of_memory": Code(503, "There was not enough memory for this request; the model stays usable."),
    "disk_full": Code(507, "Something could not be written because the disk is full."),
    "worker_crashed": Code(503, "The process that runs the model died on this request; another one takes its place."),
    "shutting_down": Code(503, "The server is stopping."),
    "timeout": Code(504, "The work took longer than its time limit."),
}  # fmt: skip
"""The documented table of error codes."""


@dataclass(frozen=True)
class Fault:
    """What went wrong, ready to be shown. ``param``: the field of the request that is to blame, or None."""

    code: str
    message: str
    hint: str | None = None
    param: str | None = None
    retry_after: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status of this code."""
        return CODES[self.code].status

    def to_json(self) -> dict[str, Any]:
        """The ``error`` object of the wire."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "param": self.param}


class ChatPoseError(Exception):
    """An error with a code from the table. Raise it where the sentence for the artist can be written best."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.fault = Fault(code, message, hint, param, retry_after)


def is_out_of_memory(error: BaseException) -> bool:
    """True for Python's, torch's and the C++ allocator's ways to say that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def explain(error: BaseException) -> Fault:
    """Turns any exception into what the artist reads. What is nobody's plan is logged, with an id, as ``internal``."""
    if isinstance(error, ChatPoseError):
        return error.fault
    if is_out_of_memory(error):
        return Fault(
            "out_of_memory",
            "There was not enough memory for this request.",
            "Ask for fewer candidates, close other programs that use the GPU, or load the model in 8 or 4 bit.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault(
            "disk_full",
            f"The disk is full{f', so {error.filename} could not be written' if error.filename else ''}.",
            "Free some space and try again.",
        )
    kind = type(error)
    # The rooms' own errors are written for people (house rule), so their text is passed on as it is.
    if kind.__module__.partition(".")[0] == _PACKAGE.partition(".")[0] and kind.__name__.endswith("Error"):
        code = getattr(error, "code", None)
        if code not in CODES:
            code = _CODE_BY_NAME.get(kind.__name__) or (
                "invalid_request" if isinstance(error, ValueError) else "model_failed"
            )
        return Fault(code, str(error))
    log_id = secrets.token_hex(4)
    _log.error("internal", exc_info=error, extra={"log_id": log_id})
    return Fault(
        "internal",
        f"Something went wrong inside the server (log id {log_id}); the scene is unchanged.",
        "Try again. If it happens again, report the lines with this id from the server's log.",
    )


_CODE_BY_NAME: Final[Mapping[str, str]] = {"PoseError": "invalid_pose", "ImageError": "invalid_image"}
