"""Exceptions become responses here and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from ..faults import CODES, ChatPoseError, Fault, explain
from .schemas import ErrorBody


class Json(Response):
    """JSON with every character beyond ASCII escaped, so that no text whatever can break it."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encodes; never NaN or Infinity."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def response(fault: Fault, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape of every error."""
    headers = dict(headers or {})
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if fault.code == "unauthorized":
        headers["WWW-Authenticate"] = "Bearer"
    return Json({"error": fault.to_json()}, fault.status, headers)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` for a route that may answer with these codes, and with those that any route may."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys((*_ANY_ROUTE, *codes)):
        by_status.setdefault(CODES[code].status, []).append(f"`{code}`: {CODES[code].meaning}")
    return {
        status: {"model": ErrorBody, "description": "\n\n".join(lines)} for status, lines in sorted(by_status.items())
    }


_ANY_ROUTE: Final = ("unauthorized", "origin_refused", "wrong_host", "internal", "method_not_allowed")
POST: Final = ("invalid_json", "unsupported_media_type", "body_too_large", "body_timeout", "invalid_request")
READING: Final = ("invalid_pose", "invalid_image", "image_too_large", "prompt_empty", "prompt_too_long")
POSING: Final = (
    "image_not_supported", "no_person", "person_not_found", "cancelled", "not_available", "no_model", "model_failed",
    "out_of_memory", "timeout", "worker_crashed",
)  # fmt: skip
JOB: Final = ("idempotency_conflict", "queue_full", "client_queue_full", "shutting_down")


def install(app: FastAPI, routers: Sequence[APIRouter]) -> None:
    """Makes every exception of this app, whose routes are those of ``routers``, one of ours."""

    async def handle(request: Request, error: Exception) -> Response:
        fault = read(error)
        return response(
            fault, {"Allow": _allowed(routers, request.scope)} if fault.code == "method_not_allowed" else None
        )

    for kind in (ChatPoseError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)


def _allowed(routers: Sequence[APIRouter], scope: Scope) -> str:
    """The methods of every route at this address (the framework itself names only the first route's)."""
    routes = [route for router in routers for route in router.routes if isinstance(route, Route)]
    here = [route for route in routes if route.matches(scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for route in here for method in route.methods or ()}))


def read(error: Exception) -> Fault:
    """Any exception, the web framework's own included, as a Fault."""
    if isinstance(error, RequestValidationError):
        return _validation(error.errors())
    if isinstance(error, HTTPException):
        return _BY_STATUS.get(error.status_code) or explain(error)
    return explain(error)


_BY_STATUS: Final = {
    400: Fault("invalid_json", "The request's body cannot be read as JSON."),
    404: Fault("not_found", "There is nothing at this address.", "See /openapi.json for what there is."),
    405: Fault("method_not_allowed", "This address does not take this HTTP method."),
}


def _validation(errors: Sequence[Any]) -> Fault:
    """The first complaint of the validator, as a sentence that names the field."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return Fault("invalid_json", "The request's body is not valid JSON.")
    # loc starts with where the field was ("body", "query"), which says nothing to the reader
    # ... and a task's name follows it where there is a choice of tasks
    path = [str(part) for part in first["loc"][1:]]
    where = ".".join(path[1:] if path and path[0] in _TASKS and len(first["loc"]) > 2 else path)
    if first["type"] in ("union_tag_invalid", "union_tag_not_found") and not where:
        where = "task"
    what = _SAYING.get(first["type"], "{msg}").format(msg=str(first["msg"]).removeprefix("Value error, "))
    # What was sent is never repeated: it may be huge, or not even text.
    subject = f"The field '{where[:200]}'" if where else "The body"
    return Fault("invalid_request", f"{subject} is wrong: {what[:1].lower()}{what[1:300]}.", None, where[:200] or None)


_TASKS: Final = ("pose", "people", "describe", "sample", "project", "interpolate", "denoise", "complete", "ik")
_SAYING: Final = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field",
}
