"""The wire's JSON objects, as pydantic models: what is read, what is answered, and how large it may be.

Knows the tasks' requests (it makes them) and no HTTP.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from .. import tasks
from ..faults import CODES, ChatPoseError
from ..language.base import ChatTurn
from ..picture import Picture
from ..pose import FORMAT, Pose, PoseError, Vec3
from ..skeleton import INDEX
from ..tasks import MAX_CANDIDATES, MAX_CLIP, MAX_PROMPT_CHARS, MAX_SAMPLES, PicturePrior, PoseRequest

MAX_SEED: Final = 2**31 - 1
MAX_MESSAGES: Final = 64
MAX_ID_CHARS: Final = 64
_MAX_IMAGE_CHARS: Final = 11_500_000  # base64 of what fits under the body cap

JsonObject: TypeAlias = dict[str, Any]


def _is_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair: JSON can say it, no tokenizer can read it
        raise ValueError("holds half a character (a lone surrogate)") from error
    return value


Text: TypeAlias = Annotated[str, AfterValidator(_is_text)]
Seed: TypeAlias = Annotated[int, Field(ge=0, le=MAX_SEED)]
Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False, ge=-1e4, le=1e4)]


class Wire(BaseModel):
    """Requests: nothing is guessed or converted, and an unknown field is an error, so that a slip is seen."""

    model_config = ConfigDict(strict=True, extra="forbid")


class PoseJson(BaseModel):
    """A pose: local joint rotations as unit quaternions (w, x, y, z) by SMPL-X joint name."""

    model_config = ConfigDict(strict=True, extra="ignore")

    format: Literal["smplx-quat-wxyz"] = FORMAT
    joints: dict[str, Annotated[list[Finite], Field(min_length=4, max_length=4)]] = Field(max_length=55)
    transl: Annotated[list[Finite], Field(min_length=3, max_length=3)] | None = None
    betas: Annotated[list[Finite], Field(max_length=400)] | None = None
    score: float | None = Field(default=None, ge=0, le=1)

    def read(self, param: str) -> Pose:
        """The value the rest of the server works with. Raises ChatPoseError invalid_pose."""
        try:
            return Pose.from_json(self.model_dump())
        except PoseError as error:
            raise ChatPoseError("invalid_pose", str(error), param=param) from error


class Message(Wire):
    """One earlier turn. ``poses``: those the assistant gave in it."""

    role: Literal["user", "assistant", "system"]
    content: Text
    poses: list[PoseJson] = Field(default=[], max_length=MAX_CANDIDATES)

    def read(self, param: str) -> ChatTurn:
        """The engine's turn."""
        return ChatTurn(self.role, self.content, tuple(p.read(f"{param}.poses") for p in self.poses))


# A prompt's length is checked by the engine, whose sentence is clearer than a validator's; the schema only says it.
Prompt: TypeAlias = Annotated[Text, WithJsonSchema({"type": "string", "maxLength": MAX_PROMPT_CHARS})]
ImageField: TypeAlias = Annotated[
    str, Field(max_length=_MAX_IMAGE_CHARS, description="PNG, JPEG or WebP: base64, or a data: URL. Never an address.")
]


KeypointName: TypeAlias = Annotated[str, Field(max_length=32)]
Pixel: TypeAlias = Annotated[float, Field(allow_inf_nan=False, ge=-1e5, le=1e5)]


class PoseFields(Wire):
    """What the task ``pose`` takes."""

    prompt: Prompt = ""
    messages: list[Message] = Field(default=[], max_length=MAX_MESSAGES)
    image: ImageField | None = None
    current: PoseJson | None = None
    candidates: int = Field(default=1, ge=1, le=MAX_CANDIDATES)
    seed: Seed = 0
    refine: bool = True
    person: int = Field(default=0, ge=0, le=63)
    keypoints: dict[KeypointName, Annotated[list[Pixel], Field(min_length=2, max_length=2)]] = Field(
        default={},
        max_length=33,
        description="Corrections of the picture's keypoints: BlazePose's name -> x, y in pixels of `picture`'s size.",
    )
    prior: PicturePrior | None = Field(
        default=None,
        description="Which prior says what is natural where a person in the picture is fitted; `vposer` by default. "
        "Words alone, and models that look at pictures themselves, do not ask it.",
    )

    def read(self) -> PoseRequest:
        """The engine's request. Raises ChatPoseError."""
        return PoseRequest(
            prompt=self.prompt,
            messages=tuple(m.read(f"messages.{i}") for i, m in enumerate(self.messages)),
            image=None if self.image is None else read_image(self.image),
            current=None if self.current is None else self.current.read("current"),
            candidates=self.candidates,
            seed=self.seed,
            refine=self.refine,
            person=self.person,
            keypoints={name: (x, y) for name, (x, y) in self.keypoints.items()},
            prior=self.prior,
        )


class PoseTask(PoseFields):
    """Words (and perhaps a picture) -> poses."""

    task: Literal["pose"]


Joint: TypeAlias = Annotated[str, Field(max_length=32)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Frame: TypeAlias = Annotated[float, Field(ge=-1e7, le=1e7, allow_inf_nan=False)]
Prior: TypeAlias = Literal["vposer", "posendf", "both"] | None
Clip: TypeAlias = Annotated[list[PoseJson], Field(min_length=1, max_length=MAX_CLIP)]


def _read_clip(poses: list[PoseJson]) -> tuple[Pose, ...]:
    return tuple(pose.read(f"poses.{i}") for i, pose in enumerate(poses))


class DescribeTask(Wire):
    """A pose -> words."""

    task: Literal["describe"]
    pose: PoseJson

    def read(self) -> tasks.DescribeRequest:
        """The engine's request. Raises ChatPoseError."""
        return tasks.DescribeRequest(self.pose.read("pose"))


class PeopleTask(Wire):
    """A picture -> who is in it."""

    task: Literal["people"]
    image: ImageField

    def read(self) -> tasks.PeopleRequest:
        """The engine's request. Raises ChatPoseError."""
        return tasks.PeopleRequest(read_image(self.image))


class SampleTask(Wire):
    """Natural poses, or variations of one."""

    task: Literal["sample"]
    count: int = Field(default=1, ge=1, le=MAX_SAMPLES)
    seed: Seed = 0
    near: PoseJson | None = None
    spread: Share = 0.5
    prior: Prior = None

    def read(self) -> tasks.SampleRequest:
        """The engine's request. Raises ChatPoseError."""
        near = None if self.near is None else self.near.read("near")
        return tasks.SampleRequest(self.count, self.seed, near, self.spread, self.prior)


class ProjectTask(Wire):
    """Poses -> the natural ones nearby."""

    task: Literal["project"]
    poses: Clip
    strength: Share = 1.0
    prior: Prior = None

    def read(self) -> tasks.ProjectRequest:
        """The engine's request. Raises ChatPoseError."""
        return tasks.ProjectRequest(_read_clip(self.poses), self.strength, self.prior)


class KeyJson(Wire):
    """A pose at a frame."""

    frame: Frame
    pose: PoseJson


class InterpolateTask(Wire):
    """Keys -> poses in between. ``frames``: those wanted, all whole ones by default."""

    task: Literal["interpolate"]
    keys: list[KeyJson] = Field(min_length=2, max_length=1000)
    frames: Annotated[list[Frame], Field(max_length=MAX_CLIP)] | None = None
    prior: Prior = None

    def read(self) -> tasks.InterpolateRequest:
        """The engine's request. Raises ChatPoseError."""
        keys = tuple((key.frame, key.pose.read(f"keys.{i}.pose")) for i, key in enumerate(self.keys))
        return tasks.InterpolateRequest(keys, None if self.frames is None else tuple(self.frames), self.prior)


Places: TypeAlias = dict[str, Annotated[list[Finite], Field(min_length=3, max_length=3)]]


class DenoiseTask(Wire):
    """A clip without its tremble. ``rest``: the character's own 22 body joints in SMPL-X's rest pose."""

    task: Literal["denoise"]
    poses: Clip
    fps: float = Field(default=30.0, gt=0, le=1000, allow_inf_nan=False)
    strength: Share = 0.5
    prior: Prior = None
    rest: Annotated[Places, Field(max_length=22)] | None = None

    def read(self) -> tasks.DenoiseRequest:
        """The engine's request. Raises ChatPoseError."""
        rest = None if self.rest is None else _places(self.rest, "rest")
        return tasks.DenoiseRequest(_read_clip(self.poses), self.fps, self.strength, self.prior, rest)


class CompleteTask(Wire):
    """The joints in ``keep`` stay, the others are found anew."""

    task: Literal["complete"]
    pose: PoseJson
    keep: list[Joint] = Field(max_length=55)
    count: int = Field(default=1, ge=1, le=MAX_SAMPLES)
    seed: Seed = 0
    prior: Prior = None

    def read(self) -> tasks.CompleteRequest:
        """The engine's request. Raises ChatPoseError."""
        return tasks.CompleteRequest(
            self.pose.read("pose"), tuple(_joints(self.keep, "keep")), self.count, self.seed, self.prior
        )


class IkTask(Wire):
    """Joints to targets, in metres. A joint in ``pins`` stays, or is held at its target. ``steps``: fewer answer
    sooner. ``rest``: the character's own 22 body joints in SMPL-X's rest pose, for bodies of other proportions.
    ``home``: where joints that the targets leave free go back to, for dragging.
    """

    task: Literal["ik"]
    pose: PoseJson
    targets: Places = Field(max_length=22)
    pins: list[Joint] = Field(default=[], max_length=22)
    prior: Prior = None
    steps: int = Field(default=16, ge=1, le=64)
    rest: Annotated[Places, Field(max_length=22)] | None = None
    home: PoseJson | None = None

    def read(self) -> tasks.IkRequest:
        """The engine's request. Raises ChatPoseError."""
        pins = tuple(_joints(self.pins, "pins"))
        rest = None if self.rest is None else _places(self.rest, "rest")
        return tasks.IkRequest(
            self.pose.read("pose"), _places(self.targets, "targets"), pins, self.prior, self.steps, rest,
            None if self.home is None else self.home.read("home"),
        )  # fmt: skip


def _places(places: Mapping[str, Sequence[float]], param: str) -> dict[str, Vec3]:
    _joints(places, param)
    return {name: (x, y, z) for name, (x, y, z) in places.items()}


def _joints(names: Iterable[str], param: str) -> list[str]:
    """Raises ChatPoseError for a name that is not a SMPL-X joint's."""
    listed = list(names)
    for name in listed:
        if name not in INDEX:
            shown = name[:32].encode(errors="replace").decode()
            raise ChatPoseError("invalid_request", f"There is no SMPL-X joint '{shown}'.", param=param)
    return listed


OtherTask: TypeAlias = (
    DescribeTask | PeopleTask | SampleTask | ProjectTask | InterpolateTask | DenoiseTask | CompleteTask | IkTask
)
JobRequest: TypeAlias = Annotated[PoseTask | OtherTask, Field(discriminator="task")]


_DATA_URL: Final = re.compile(r"data:image/[a-z0-9.+\-]{1,40};base64,", re.IGNORECASE)  # which kind, the file says
_ADDRESS: Final = re.compile(r"\s*(?:[a-z][a-z0-9+.\-]{1,20}:|(?!/9j/)[/\\.~])", re.IGNORECASE)  # /9j/: any JPEG


def read_image(text: str, param: str = "image") -> Picture:
    """A ``data:`` URL or bare base64, its headers checked. Raises ChatPoseError. No address or path is opened."""
    head = _DATA_URL.match(text)
    body = text[head.end() :] if head else text
    if not head and _ADDRESS.match(body):
        raise ChatPoseError(
            "invalid_image",
            "Pictures are read only from the request itself, never from an address or a file.",
            hint="Send the PNG, JPEG or WebP as base64 or as a data: URL.",
            param=param,
        )
    try:
        data = base64.b64decode("".join(body.split()), validate=True)  # in lines, as the command base64 writes it
    except (binascii.Error, ValueError) as error:
        raise ChatPoseError(
            "invalid_image", "The picture is not valid base64.", hint="Send it as base64 or a data: URL.", param=param
        ) from error
    return Picture.check(data)


# -- answers -----------------------------------------------------------------------------------------------------------
class ErrorJson(BaseModel):
    """What went wrong: ``code`` from the documented table, two sentences for people, the field to blame."""

    code: Literal[tuple(CODES)]  # pyright: ignore[reportInvalidTypeForm] - the table is the documentation
    message: str
    hint: str | None
    param: str | None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    error: ErrorJson


class Health(BaseModel):
    """GET /health."""

    service: Literal["chatpose"] = "chatpose"
    status: Literal["ready", "loading", "error"]
    api: Literal[1] = 1
    version: str
    stage: str | None = None
    fraction: float | None = None


class JobJson(BaseModel):
    """A job at one moment."""

    id: str
    task: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: str
    fraction: float
    position: int | None
    text: str
    result: JsonObject | None
    error: ErrorJson | None


class PictureSize(BaseModel):
    """The upright picture, whose pixels all numbers are in; it may be smaller than the file's."""

    width: int
    height: int


class PersonJson(BaseModel):
    """Somebody in a picture: left, top, right, bottom. ``keypoints``: x, y, visibility, in the task ``people`` only."""

    box: list[float]
    score: float
    keypoints: dict[str, list[float]] | None = None


class CameraJson(BaseModel):
    """The camera that saw the pose: to the world, metres, y up; it looks along its own -z, +y up in the picture."""

    width: int
    height: int
    focal_px: float
    location: list[float]
    rotation: list[float]


class PoseAnswer(BaseModel):
    """The answer of the task ``pose``. ``timings``: seconds by stage. The last five are there where the pose was taken
    from a picture; ``keypoints``: BlazePose's name -> x, y, visibility 0..1.
    """

    text: str
    poses: list[PoseJson]
    model: str
    seed: int
    timings: dict[str, float]
    posecodes: dict[str, float]
    picture: PictureSize | None = None
    people: list[PersonJson] | None = None
    person: int | None = None
    keypoints: dict[str, list[float]] | None = None
    camera: CameraJson | None = None


class ModelJson(BaseModel):
    """A model, in OpenAI's list shape plus what matters here."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "chatpose"
    title: str
    kind: str
    licence: str
    note: str
    loaded: bool
    fetched: bool
    device: str | None
    dtype: str | None


class ModelList(BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelJson]


class LoadRequest(Wire):
    """POST /v1/models/load: a name of the catalogue (never a path)."""

    model: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    quantize: Literal["none", "8bit", "4bit"] = "none"


class Heartbeat(Wire):
    """POST /v1/clients/heartbeat. ``leaving``: this client closes and no longer needs the server."""

    client: str = Field(min_length=1, max_length=MAX_ID_CHARS)
    leaving: bool = False


class HeartbeatAnswer(BaseModel):
    """``clients``: how many are alive. ``alone_s``: the server ends after so many seconds without any, or null."""

    clients: int
    alone_s: float | None


class Empty(Wire):
    """A POST without anything to say: ``{}``."""
