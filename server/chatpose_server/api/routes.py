"""The routes of ``design/api.md``: each reads its request, hands the work to the queue, and answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Final

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from .. import __version__
from ..faults import ChatPoseError
from ..jobs import Control, JobView, Work
from ..model_host import ModelStatus
from ..picture import MAX_IMAGE_PIXELS
from ..pose import FORMAT
from ..skeleton import JOINTS, PARENTS
from ..tasks import MAX_CANDIDATES, MAX_PROMPT_CHARS, PICTURE_PRIORS, PoseRequest, check_prompt
from . import errors, guard, metrics, schemas
from .errors import Json, documented
from .service import Service

MAX_WAIT_S: Final = 60.0
KEEP_ALIVE_S: Final = 10.0  # proxies and clients give up on a silent stream after 15 s and more

_log = logging.getLogger("chatpose.requests")
router = APIRouter()
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=schemas.MAX_ID_CHARS)]


def service(request: Request) -> Service:
    """What the routes share."""
    return request.app.state.service


# -- what the server is ------------------------------------------------------------------------------------------------
@router.get(
    "/health",
    responses=documented() | {200: {"model": schemas.Health}, 503: {"model": schemas.Health, "description": "Loading"}},
)
async def health(request: Request) -> Response:
    """Whether this is ChatPose, and whether it is ready. Needs no token and tells nothing else."""
    status = service(request).engine.models.status
    body: dict[str, Any] = {"service": "chatpose", "status": "ready", "api": 1, "version": __version__}
    if status.state == "loading":
        body |= {"status": "loading", "stage": status.stage, "fraction": round(status.fraction, 3)}
    elif status.state == "error":
        body |= {"status": "error"}
    return Json(body, 503 if status.state in ("loading", "error") else 200)


@router.get("/v1/capabilities", responses=documented())
async def capabilities(request: Request) -> dict[str, Any]:
    """Tasks, models, skeleton, limits, licences of what is loaded."""
    return await run_sync(_capabilities, service(request))


def _capabilities(shared: Service) -> dict[str, Any]:
    model, status = shared.engine.models.model, shared.engine.models.status
    limits = shared.jobs.limits
    return {
        "api": 1,
        "version": __version__,
        "pose_format": FORMAT,
        "tasks": shared.engine.tasks(),
        "model_status": {
            "state": status.state,
            "name": status.name,
            "stage": status.stage,
            "fraction": round(status.fraction, 3),
            "error": None if status.fault is None else status.fault.to_json(),
        },
        "model": None
        if model is None
        else {
            "name": model.name,
            "device": model.device,
            "dtype": model.dtype,
            "licence": model.licence,
            "accepts_images": model.accepts_images,
        },
        "priors": shared.engine.priors(),
        "picture_priors": list(PICTURE_PRIORS),
        "skeleton": {"joints": list(JOINTS), "parents": list(PARENTS)},
        "limits": {
            "prompt_chars": MAX_PROMPT_CHARS,
            "candidates": MAX_CANDIDATES,
            "image_pixels": MAX_IMAGE_PIXELS,
            "body_bytes": guard.MAX_BODY_BYTES,
            "json_depth": guard.MAX_JSON_DEPTH,
            "waiting": limits.waiting,
            "per_client": limits.per_client,
            "run_s": limits.run_s,
            "wait_s": MAX_WAIT_S,
            "kept": limits.kept,
            "kept_s": limits.kept_s,
        },
    }


@router.get("/metrics", response_model=None, responses=documented() | {200: {"content": {"text/plain": {}}}})
async def get_metrics(request: Request) -> PlainTextResponse:
    """Counts in Prometheus' text format."""
    shared = service(request)
    text = metrics.render(
        shared.jobs.stats(), shared.counts, shared.engine.models.status, shared.engine.vitals(), shared.clients.count()
    )
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


# -- models ------------------------------------------------------------------------------------------------------------
@router.get("/v1/models", response_model=schemas.ModelList, responses=documented())
async def list_models(request: Request) -> Response:
    """Every model this server knows by name, in OpenAI's list shape."""
    data = await run_sync(service(request).engine.list_models)
    return Json({"object": "list", "data": data})


@router.post(
    "/v1/models/load",
    response_class=StreamingResponse,
    responses=documented(*errors.POST, "model_not_found") | {200: {"content": {"text/event-stream": {}}}},
)
async def load_model(request: Request, body: schemas.LoadRequest) -> Response:
    """Loads a model of the catalogue; server-sent events ``loading``, then ``ready`` or ``error``. Going away stops
    the events, not the loading.
    """
    host = service(request).engine.models
    await run_sync(service(request).engine.check_model_name, body.model)
    await run_sync(host.load, body.model, body.quantize)
    return StreamingResponse(_load_events(host.changed, lambda: host.status), media_type="text/event-stream")


async def _load_events(changed: Callable[[float], ModelStatus], now: Callable[[], ModelStatus]) -> AsyncIterator[bytes]:
    before: ModelStatus | None = None
    while True:
        status = now()
        if status != before:
            before = status
            event = "error" if status.state == "empty" else status.state  # empty: unloaded while it was loading
            data: dict[str, Any] = {
                "model": status.name,
                "status": event,
                "stage": status.stage,
                "fraction": round(status.fraction, 3),
            }
            if status.fault is not None:
                data["error"] = status.fault.to_json()
            yield sse(data, event)
        if status.state != "loading":
            return
        await run_sync(changed, 0.25)


@router.post("/v1/models/unload", responses=documented(*errors.POST))
async def unload_model(request: Request, body: schemas.Empty) -> dict[str, Any]:
    """Drops the model after the answer it may be giving; the next request that needs it loads it again."""
    host = service(request).engine.models
    await run_sync(host.unload)
    return {"model": host.status.name, "status": "unloaded"}


# -- jobs --------------------------------------------------------------------------------------------------------------
@router.post("/v1/jobs", status_code=202, responses=documented(*errors.POST, *errors.JOB, *errors.READING)
             | {202: {"model": schemas.JobJson}})  # fmt: skip
async def post_job(request: Request, body: schemas.JobRequest, key: Key = None) -> Response:
    """Puts a task in the queue. ``Idempotency-Key``: sending the same request again gives the same job."""
    work, lane = await run_sync(_work, service(request), body)
    view = _submit(request, work, task=body.task, lane=lane, key=key, body=await request.body())
    return Json(job_json(view), 202, {"Location": f"/v1/jobs/{view.id}"})


@router.get(
    "/v1/jobs/{job_id}", response_model=schemas.JobJson, responses=documented("job_not_found", "invalid_request")
)
async def get_job(
    request: Request, job_id: str, wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, allow_inf_nan=False)] = 0.0
) -> Response:
    """The job now, or (``wait``) when it is over, or after so many seconds."""
    shared = service(request)
    view = shared.jobs.get(job_id)
    if wait > 0 and not view.over:
        async with Watch(shared, job_id) as watch:
            view = await watch.until_over(wait, request)
    return Response(job_bytes(view), media_type="application/json")


@router.get(
    "/v1/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=documented("job_not_found") | {200: {"content": {"text/event-stream": {}}}},
)
async def job_events(request: Request, job_id: str) -> Response:
    """The same as server-sent events, one for every change; the last one has the final state."""
    shared = service(request)
    shared.jobs.get(job_id)
    return StreamingResponse(_job_events(shared, job_id), media_type="text/event-stream")


async def _job_events(shared: Service, job_id: str) -> AsyncIterator[bytes]:
    async with Watch(shared, job_id) as watch:
        async for view in watch.changes():
            yield b": keep-alive\n\n" if view is None else sse_bytes(job_bytes(view), view.state, view.version)


@router.delete("/v1/jobs/{job_id}", response_model=schemas.JobJson, responses=documented("job_not_found"))
async def cancel_job(request: Request, job_id: str) -> Response:
    """Cancels: a waiting job at once, a running one at its next step. One that is over stays as it is."""
    return Response(job_bytes(service(request).jobs.cancel(job_id)), media_type="application/json")


@router.post(
    "/v1/poses",
    response_model=schemas.PoseAnswer,
    responses=documented(*errors.POST, *errors.JOB, *errors.READING, *errors.POSING),
)
async def post_pose(request: Request, body: schemas.PoseFields, key: Key = None) -> Response:
    """A ``pose`` job, answered when it is done. Going away cancels it."""
    shared = service(request)
    pose = await run_sync(_read_pose, body)
    work = pose_work(shared, pose)
    view = _submit(request, work, task="pose", lane="language", key=key, body=await request.body())
    result = await finish(request, view)
    return Response(result, media_type="application/json")


@router.post("/v1/clients/heartbeat", response_model=schemas.HeartbeatAnswer, responses=documented(*errors.POST))
async def heartbeat(request: Request, body: schemas.Heartbeat) -> Response:
    """A Blender says that it needs this server (at least every 30 s), or that it no longer does."""
    clients = service(request).clients
    return Json({"clients": clients.beat(body.client, body.leaving), "alone_s": clients.alone_s})


# -- requests to work --------------------------------------------------------------------------------------------------
def _work(shared: Service, body: schemas.JobRequest) -> tuple[Work, str]:
    """The job's work and its lane."""
    if isinstance(body, schemas.PoseTask):
        pose = _read_pose(body)
        return pose_work(shared, pose), "language"
    request = body.read()

    def work(control: Control) -> bytes:
        return shared.engine.answer(request, control.progress).body

    return work, "light"


def _read_pose(body: schemas.PoseFields) -> PoseRequest:
    request = body.read()
    check_prompt(request)
    return request


def pose_work(shared: Service, request: PoseRequest) -> Work:
    """The job of a pose."""
    log_prompt(shared, request)

    def work(control: Control) -> bytes:
        return shared.engine.answer(request, control.progress, control.on_text).body

    return work


def log_prompt(shared: Service, request: PoseRequest) -> None:
    """Only where whoever started the server asked for it: prompts are private."""
    if shared.log_prompts:
        _log.info("prompt", extra={"prompt": request.prompt, "seed": request.seed})


def _submit(request: Request, work: Work, *, task: str, lane: str, key: str | None, body: bytes) -> JobView:
    fingerprint = "" if key is None else hashlib.sha256(request.url.path.encode() + b"\0" + body).hexdigest()
    return service(request).jobs.submit(
        work,
        task=task,
        client=guard.client_of(request.scope),
        lane=lane,
        weight=len(body),
        key=key,
        fingerprint=fingerprint,
    )


async def finish(request: Request, view: JobView) -> bytes:
    """Waits for the end of a job that this request alone is waiting for; cancels it when the client goes away.

    Raises ChatPoseError with what the job failed with.
    """
    shared = service(request)
    over = False
    try:
        async with Watch(shared, view.id) as watch:
            view = await watch.until_over(None, request)
        over = view.over
    finally:
        if not over:
            shared.jobs.cancel(view.id)
    return result_of(view)


def result_of(view: JobView) -> bytes:
    """The job's answer. Raises ChatPoseError where it has none."""
    if view.fault is not None:
        raise ChatPoseError(view.fault.code, view.fault.message, hint=view.fault.hint, param=view.fault.param)
    if view.result is None:
        raise ChatPoseError("cancelled", "The work was cancelled before it was done.", hint="Send it again.")
    return view.result


# -- watching jobs -----------------------------------------------------------------------------------------------------
class Watch:
    """Waits for a job's changes on the event loop, without a thread and without polling."""

    def __init__(self, shared: Service, job_id: str) -> None:
        self._jobs = shared.jobs
        self._id = job_id
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Watch:
        self._unwatch = self._jobs.watch(self._id, self._notify)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._unwatch()

    def _notify(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def changes(self) -> AsyncIterator[JobView | None]:
        """The job now and at every change until it is over; None when nothing came for a while."""
        version = -1
        while True:
            self._event.clear()
            view = self._jobs.get(self._id)
            if view.version != version:
                version = view.version
                yield view
                if view.over:
                    return
            # not asyncio.wait_for: before Python 3.12 it swallows a cancel that comes together with the event
            with anyio.move_on_after(KEEP_ALIVE_S) as scope:
                await self._event.wait()
            if scope.cancelled_caught:
                yield None

    async def until_over(self, timeout: float | None, request: Request) -> JobView:
        """The job when it is over, when ``timeout`` seconds went by, or when the client has gone."""
        gone = asyncio.create_task(_gone(request))
        over = asyncio.create_task(self._over())
        try:
            await asyncio.wait({gone, over}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            over.cancel()
            await asyncio.gather(gone, over, return_exceptions=True)
        return self._jobs.get(self._id)

    async def _over(self) -> None:
        async for _ in self.changes():
            pass


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


# -- JSON --------------------------------------------------------------------------------------------------------------
def job_json(view: JobView) -> dict[str, Any]:
    """The job without its result."""
    return {
        "id": view.id,
        "task": view.task,
        "state": view.state,
        "stage": view.stage,
        "fraction": round(view.fraction, 3),
        "position": view.position,
        "text": view.text,
        "result": None,
        "error": None if view.fault is None else view.fault.to_json(),
    }


def job_bytes(view: JobView) -> bytes:
    """The job with its result, which was encoded once by the worker and is not parsed again."""
    body = json.dumps(job_json(view), separators=(",", ":")).encode()
    if view.result is None:
        return body
    head, _, tail = body.rpartition(b'"result":null')
    return head + b'"result":' + view.result + tail


def sse(data: Any, event: str) -> bytes:
    """One server-sent event."""
    return sse_bytes(json.dumps(data, allow_nan=False, separators=(",", ":")).encode(), event)


def sse_bytes(data: bytes, event: str, number: int | None = None) -> bytes:
    """One server-sent event from JSON text, which holds no line break."""
    number_line = b"" if number is None else b"id: %d\n" % number
    return number_line + b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"
