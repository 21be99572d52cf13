"""POST /v1/chat/completions: OpenAI's chat, with the poses that were spoken of in ``message.poses``.

The official client works unchanged. Pictures come as ``data:`` URLs only; what is our own goes in one object,
``chatpose``.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from ..faults import ChatPoseError, Fault
from ..jobs import Control, JobView, Work
from ..language.base import ChatTurn
from ..tasks import MAX_CANDIDATES, PicturePrior, PoseRequest, check_prompt
from ..worker.answers import Answer
from . import errors, guard, schemas
from .errors import Json, documented
from .routes import Watch, finish, log_prompt, service, sse
from .service import Service

MAX_TOKENS: Final = 512

router = APIRouter()


class _Open(BaseModel):
    """OpenAI's objects grow with every release of theirs; what we do not know we leave alone."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextPart(_Open):
    """A part of a message: words."""

    type: Literal["text"]
    text: schemas.Text


class ImageUrl(_Open):
    """Where a picture is: in the request itself."""

    url: schemas.ImageField


class ImagePart(_Open):
    """A part of a message: a picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ChatMessage(_Open):
    """One message. ``poses``: as they came in an earlier answer."""

    role: Literal["system", "developer", "user", "assistant"]
    content: schemas.Text | Annotated[list[Part], Field(max_length=16)] | None = None
    poses: list[schemas.PoseJson] | None = Field(default=None, max_length=MAX_CANDIDATES)


class Options(schemas.Wire):
    """Our own wishes: the pose the words refer to, whether the result is made to match the words, and of a picture
    which person and by which prior.
    """

    current: schemas.PoseJson | None = None
    refine: bool = True
    person: int = Field(default=0, ge=0, le=63)
    prior: PicturePrior | None = None
    want: Literal["pose", "auto"] = "auto"


class StreamOptions(_Open):
    """OpenAI's."""

    include_usage: bool = False


class ChatRequest(_Open):
    """The part of OpenAI's request that means something here."""

    model: schemas.Text = ""
    messages: list[ChatMessage] = Field(min_length=1, max_length=schemas.MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CANDIDATES)
    seed: schemas.Seed | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    chatpose: Options | None = None

    def read(self) -> PoseRequest:
        """The engine's request. Raises ChatPoseError."""
        *before, last = self.messages
        if last.role != "user":
            raise ChatPoseError(
                "invalid_request", "The last message must be the user's.", param=f"messages.{len(before)}.role"
            )
        pictures = [part.image_url.url for part in _parts(last) if isinstance(part, ImagePart)]
        if len(pictures) > 1:
            raise ChatPoseError("invalid_request", "Only one picture can be looked at at a time.", param="messages")
        options = self.chatpose or Options()
        tokens = self.max_completion_tokens or self.max_tokens or 256
        request = PoseRequest(
            prompt=_words(last),
            messages=tuple(_turn(message, f"messages.{i}") for i, message in enumerate(before)),
            image=schemas.read_image(pictures[0], f"messages.{len(before)}") if pictures else None,
            current=None if options.current is None else options.current.read("chatpose.current"),
            candidates=self.n or 1,
            seed=self.seed or 0,
            refine=options.refine,
            person=options.person,
            prior=options.prior,
            want=options.want,
            max_new_tokens=min(MAX_TOKENS, tokens),
        )
        check_prompt(request)
        return request


def _parts(message: ChatMessage) -> list[TextPart | ImagePart]:
    return message.content if isinstance(message.content, list) else []


def _words(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in _parts(message) if isinstance(part, TextPart))


def _turn(message: ChatMessage, param: str) -> ChatTurn:
    role = "system" if message.role == "developer" else message.role
    return ChatTurn(role, _words(message), tuple(p.read(f"{param}.poses") for p in message.poses or []))


class AnswerMessage(BaseModel):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    poses: list[schemas.PoseJson]


class Choice(BaseModel):
    """One of ``n`` answers."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop"] = "stop"


class Usage(BaseModel):
    """Tokens, where the model counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatAnswer(BaseModel):
    """OpenAI's chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


@dataclass(frozen=True)
class _Result:
    """What the chat needs of a pose's answer."""

    text: str
    model: str
    poses: list[dict[str, Any]]
    usage: dict[str, int]

    @staticmethod
    def read(answer: Answer) -> _Result:
        data = json.loads(answer.body)
        prompt, completion = answer.usage.get("prompt_tokens", 0), answer.usage.get("completion_tokens", 0)
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return _Result(data["text"], data["model"], data["poses"], usage)

    def shares(self, n: int) -> list[list[dict[str, Any]]]:
        """The poses of each of ``n`` choices: all of them for one, else one each."""
        return [self.poses] if n == 1 else [self.poses[i : i + 1] for i in range(n)]


@router.post(
    "/v1/chat/completions",
    response_model=ChatAnswer,
    responses=documented(*errors.POST, *errors.JOB, *errors.READING, *errors.POSING, "model_not_found")
    | {200: {"content": {"text/event-stream": {}}, "description": "A completion, or with `stream` its chunks"}},
)
async def chat(request: Request, body: ChatRequest) -> Response:
    """Chat. A pose is given when the words ask for one. Going away cancels."""
    shared = service(request)
    pose = await run_sync(body.read)
    log_prompt(shared, pose)
    results: list[_Result] = []
    view = shared.jobs.submit(
        _chat_work(shared, pose, results),
        task="chat",
        client=guard.client_of(request.scope),
        lane="language",
        weight=len(await request.body()),
    )
    head = {"id": f"chatcmpl-{view.id}", "created": int(time.time())}
    if body.stream:
        chunks = _stream(shared, view, head, body, results)
        return StreamingResponse(chunks, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    await finish(request, view)
    result = results[0]
    choices = [
        {
            "index": i,
            "message": {"role": "assistant", "content": result.text, "poses": poses},
            "finish_reason": "stop",
        }
        for i, poses in enumerate(result.shares(pose.candidates))
    ]
    answer = head | {"object": "chat.completion", "model": result.model, "choices": choices, "usage": result.usage}
    return Json(answer)


def _chat_work(shared: Service, request: PoseRequest, results: list[_Result]) -> Work:
    def work(control: Control) -> bytes:
        answer = shared.engine.answer(request, control.progress, control.on_text)
        results.append(_Result.read(answer))
        return answer.body

    return work


async def _stream(
    shared: Service,
    view: JobView,
    head: dict[str, Any],
    body: ChatRequest,
    results: list[_Result],
) -> AsyncIterator[bytes]:
    """The chunks. Being closed in the middle (the client has gone) cancels the job."""
    n = body.n or 1
    with_usage = body.stream_options is not None and body.stream_options.include_usage

    def chunk(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        model = results[0].model if results else shared.engine.models.status.name or ""
        choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
        return _data(head | {"object": "chat.completion.chunk", "model": model, "choices": [choice]})

    sent = ""
    over = False
    try:
        for i in range(n):
            yield chunk(i, {"role": "assistant", "content": ""})
        async with Watch(shared, view.id) as watch:
            async for now in watch.changes():
                if now is None:
                    yield b": keep-alive\n\n"
                    continue
                if now.text.startswith(sent) and len(now.text) > len(sent):
                    for i in range(n):
                        yield chunk(i, {"content": now.text[len(sent) :]})
                    sent = now.text
                view = now
        over = True
        if view.state != "done":
            fault = view.fault or Fault("cancelled", "The work was cancelled before it was done.")
            yield _data({"error": fault.to_json()})
        else:
            result = results[0]
            # What was streamed stands; the sentence about the refined pose, which comes last, is added to it.
            rest = result.text[len(sent) :] if result.text.startswith(sent) else f"\n{result.text}"
            for i, poses in enumerate(result.shares(n)):
                yield chunk(i, {"content": rest, "poses": poses})
                yield chunk(i, {}, "stop")
            if with_usage:
                yield _data(
                    head
                    | {"object": "chat.completion.chunk", "model": result.model, "choices": [], "usage": result.usage}
                )
        yield b"data: [DONE]\n\n"
    finally:
        if not over:
            shared.jobs.cancel(view.id)


def _data(chunk: dict[str, Any]) -> bytes:
    return sse(chunk, "").replace(b"event: \n", b"", 1)
