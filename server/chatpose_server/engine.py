"""Every task, request -> result: the only file that knows all rooms. Knows no HTTP and no jobs.

A task is pure: the same request, seed and model give the same answer. Rooms are imported when they are first needed;
one that is missing answers with ``not_available`` instead of keeping the server from starting.
"""

from __future__ import annotations

import gc
import importlib
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from .faults import ChatPoseError, Fault, explain, is_out_of_memory
from .language.base import ChatTurn, LanguageAnswer, LanguageModel, LanguageRequest
from .picture import Picture
from .pose import Pose, Vec3, stack_matrot
from .progress import Cancelled, Progress, no_progress
from .skeleton import JOINTS

if TYPE_CHECKING:
    from PIL.Image import Image

    from .vision.tasks import Posed, Scene

_log = logging.getLogger("chatpose.engine")

MAX_PROMPT_CHARS: Final = 8000
MAX_CANDIDATES: Final = 16

OnText: TypeAlias = Callable[[str], None]


# -- models ------------------------------------------------------------------------------------------------------------
class Loader(Protocol):
    """Makes a language model ready; slow. Raises errors written for people, and Cancelled through ``progress``."""

    def __call__(self, name: str, quantize: str, progress: Progress) -> LanguageModel:
        """Loads ``name`` (of the catalogue, or a path)."""
        ...


@dataclass(frozen=True)
class ModelStatus:
    """What the host is doing. ``name``: the model that is, or is being, loaded, or was asked for last."""

    state: Literal["empty", "loading", "ready", "error"]
    name: str | None = None
    stage: str = ""
    fraction: float = 0.0
    fault: Fault | None = None


class ModelHost:
    """Holds the one loaded language model. Loads in the background; a model in use is never pulled away."""

    def __init__(self, loader: Loader, default: str | None = None, quantize: str = "none") -> None:
        self._loader = loader
        self._in_use = threading.Lock()  # held while a model answers, is loaded or is dropped
        self._state = threading.Condition()
        self._status = ModelStatus("empty", default)
        self._quantize = quantize
        self._model: LanguageModel | None = None
        self._ticket = 0  # counts load and unload requests; only the newest may finish

    @property
    def status(self) -> ModelStatus:
        """What the host is doing now."""
        with self._state:
            return self._status

    @property
    def model(self) -> LanguageModel | None:
        """The loaded model, for reading its name and device only."""
        with self._state:
            return self._model

    def load(self, name: str | None = None, quantize: str | None = None) -> None:
        """Starts to load ``name`` (default: the model asked for last) and returns at once. A load in progress of
        another model is given up; one of the same model goes on.
        """
        with self._state:
            wanted = name or self._status.name
            if wanted is None:
                raise ChatPoseError(
                    "no_model", "No model was chosen.", hint="Start the server with --model, or load one."
                )
            how = self._quantize if quantize is None else quantize
            if self._status.state in ("loading", "ready") and (wanted, how) == (self._status.name, self._quantize):
                return
            self._quantize = how
            self._ticket += 1
            ticket = self._ticket
            self._set(ModelStatus("loading", wanted, "Starting", 0.0))
        threading.Thread(target=self._load, args=(wanted, how, ticket), name="chatpose-load", daemon=True).start()

    def unload(self) -> None:
        """Drops the model, after the answer it may be giving, or gives up a load. A later request loads it again."""
        with self._state:
            self._ticket += 1
            self._set(replace(self._status, state="empty", stage="", fraction=0.0, fault=None))
            if self._model is None:
                return
        with self._in_use:
            self._drop()

    @contextmanager
    def use(self, progress: Progress = no_progress) -> Generator[LanguageModel]:
        """The loaded model, for one caller at a time; loads it first if need be, and waits for that.

        Raises ChatPoseError no_model or the error that loading ended with.
        """
        if self.status.state in ("empty", "error"):
            self.load()
        model = self._wait(progress)
        try:
            yield model
        finally:
            self._in_use.release()

    def changed(self, timeout: float) -> ModelStatus:
        """Waits up to ``timeout`` seconds for the status to change, and returns it."""
        with self._state:
            self._state.wait(timeout)
            return self._status

    def _wait(self, progress: Progress) -> LanguageModel:
        """Comes back with the model, and with ``_in_use`` held."""
        while True:
            status = self.status
            if status.state == "loading":
                progress(status.stage or "Loading the model", 0.0)
                self.changed(0.2)
                continue
            if status.state == "error" and status.fault is not None:
                raise ChatPoseError(status.fault.code, status.fault.message, hint=status.fault.hint)
            if self._in_use.acquire(timeout=0.2):
                if self._model is not None:
                    return self._model
                self._in_use.release()
                if self.status.state == "empty":  # unloaded while this request waited
                    self.load()
            progress("Waiting for the model", 0.0)

    def _load(self, name: str, quantize: str, ticket: int) -> None:
        def progress(stage: str, fraction: float) -> None:
            with self._state:
                if ticket != self._ticket:
                    raise Cancelled
                self._set(ModelStatus("loading", name, stage, fraction))

        with self._in_use:
            try:
                progress("Starting", 0.0)
                self._drop()
                model = self._loader(name, quantize, progress)
            except Cancelled:
                return
            except BaseException as error:  # noqa: BLE001 - a model that cannot be loaded must not stop the server
                fault = explain(error)
                if fault.code not in ("out_of_memory", "not_available", "internal"):
                    fault = replace(fault, code="model_failed")
                _log.error("model", extra={"model": name, "code": fault.code, "why": fault.message})
                with self._state:
                    if ticket == self._ticket:
                        self._set(ModelStatus("error", name, "", 0.0, fault))
                return
            with self._state:
                if ticket == self._ticket:
                    self._model = model
                    self._set(ModelStatus("ready", name, "Ready", 1.0))
                    return
            model.unload()

    def _drop(self) -> None:
        with self._state:
            model, self._model = self._model, None
        if model is not None:
            model.unload()
        free_memory()

    def _set(self, status: ModelStatus) -> None:
        self._status = status
        self._state.notify_all()


def load_from_catalogue(name: str, quantize: str, progress: Progress) -> LanguageModel:
    """The real Loader: a name of the catalogue, or (from the command line only) a folder or file.

    Cached weights are read through once and compared with their hashes; damaged ones are fetched anew.
    """
    language = room("language")
    if not hasattr(language, "load_language_model"):
        raise ChatPoseError("not_available", "This installation cannot load language models.", hint=_DOCTOR)
    from .models import store
    from .models.catalogue import CATALOGUE

    if name in CATALOGUE and CATALOGUE[name].source is not None and store.is_ready(name):
        progress("Checking the weights", 0.0)
        try:
            store.verify(name)
        except store.StoreError as error:
            _log.warning("weights damaged", extra={"model": name, "why": str(error)})
            store.forget(name)
    model = language.load_language_model(name, device="auto", quantize=quantize, progress=progress)
    from .language.poselm import PoseLM

    if isinstance(model, PoseLM) and offers("posecodes.missed", "Judge"):
        model.judge = room("posecodes.missed").Judge(model.config.codes)
    progress("Getting ready", 0.97)
    _warm_up()
    return model


def _warm_up() -> None:
    """Makes the refiner's tables (phrases, lexicon, skin landmarks) now: the first pose would wait seconds for them."""
    if not offers("posecodes.compose", "compose"):
        return
    import torch

    room("posecodes.compose").compose("standing, the left hand on the hip", torch.eye(3).expand(1, 22, 3, 3))


def free_memory() -> None:
    """Gives memory back to the system and to the GPU's other users (Cycles, above all)."""
    gc.collect()
    torch = sys.modules.get("torch")  # not brought in for this: a model that never came has nothing to free
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


# -- rooms -------------------------------------------------------------------------------------------------------------
_DOCTOR: Final = "Run 'chatpose-server doctor' to see what is missing."


def room(name: str) -> ModuleType:
    """A room's package. Raises ChatPoseError not_available where it does not exist or cannot be loaded."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ChatPoseError:
        raise
    except Exception as error:  # a broken optional room must not take the others with it
        _log.warning("room", extra={"room": name, "why": f"{type(error).__name__}: {error}"})
        raise ChatPoseError(
            "not_available", f"The part '{name}' of the server is not installed or cannot be loaded.", hint=_DOCTOR
        ) from error


def offers(name: str, function: str) -> bool:
    """Whether a room is there and has this function."""
    try:
        return callable(getattr(room(name), function, None))
    except ChatPoseError:
        return False


# -- the other tasks' requests and results -----------------------------------------------------------------------------
PRIORS: Final = ("vposer", "posendf", "both")
PICTURE_PRIORS: Final = ("vposer", "posendf")
MAX_SAMPLES: Final = 64
MAX_CLIP: Final = 5000  # poses; at 30 frames a second nearly three minutes

PriorName: TypeAlias = Literal["vposer", "posendf", "both"]
PicturePrior: TypeAlias = Literal["vposer", "posendf"]


@dataclass(frozen=True)
class DescribeRequest:
    """A pose to put into words."""

    pose: Pose


@dataclass(frozen=True)
class PeopleRequest:
    """A picture in which people are looked for."""

    image: Picture


@dataclass(frozen=True)
class SampleRequest:
    """``count`` natural poses, or variations of ``near``; ``spread`` 0..1 is how far from it they go."""

    count: int = 1
    seed: int = 0
    near: Pose | None = None
    spread: float = 0.5
    prior: PriorName | None = None


@dataclass(frozen=True)
class ProjectRequest:
    """Poses to be moved towards natural ones by ``strength`` 0..1."""

    poses: tuple[Pose, ...]
    strength: float = 1.0
    prior: PriorName | None = None


@dataclass(frozen=True)
class InterpolateRequest:
    """Keys (frame, pose), and the frames between the first and the last of them that poses are wanted for; None: all
    whole ones.
    """

    keys: tuple[tuple[float, Pose], ...]
    frames: tuple[float, ...] | None = None
    prior: PriorName | None = None


@dataclass(frozen=True)
class DenoiseRequest:
    """A clip, one pose a frame at ``fps``, to be rid of tremble by ``strength`` 0..1. ``rest``: as in IkRequest."""

    poses: tuple[Pose, ...]
    fps: float = 30.0
    strength: float = 0.5
    prior: PriorName | None = None
    rest: Mapping[str, Vec3] | None = None


@dataclass(frozen=True)
class CompleteRequest:
    """A pose of which the joints in ``keep`` stay and the others are found anew, in ``count`` ways."""

    pose: Pose
    keep: tuple[str, ...]
    count: int = 1
    seed: int = 0
    prior: PriorName | None = None


@dataclass(frozen=True)
class IkRequest:
    """Joints to be brought to ``targets`` (metres, SMPL-X's frame); those in ``pins`` stay where they are, or at their
    target if they have one. ``rest``: the character's own 22 joints at rest, None for the mean body's. ``home``: what
    the targets leave free goes back there.
    """

    pose: Pose
    targets: Mapping[str, Vec3]
    pins: tuple[str, ...] = ()
    prior: PriorName | None = None
    steps: int = 16
    rest: Mapping[str, Vec3] | None = None
    home: Pose | None = None


TaskRequest: TypeAlias = (
    DescribeRequest | PeopleRequest | SampleRequest | ProjectRequest | InterpolateRequest | DenoiseRequest
    | CompleteRequest | IkRequest
)  # fmt: skip


@dataclass(frozen=True)
class DescribeResult:
    """``posecodes``: the statements that hold of the pose, by name."""

    text: str
    posecodes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire."""
        return {"text": self.text, "posecodes": list(self.posecodes)}


@dataclass(frozen=True)
class PeopleResult:
    """Everybody in a picture."""

    scene: Scene

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire."""
        return self.scene.to_json(with_keypoints=True)


@dataclass(frozen=True)
class PosesResult:
    """``distances``: how far from natural each pose was before and is after, in the prior's unit. ``residual``: the
    largest distance in metres of a joint from its target, ``residuals`` that of each.
    """

    poses: tuple[Pose, ...]
    distances: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    residual: float | None = None
    residuals: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire."""
        data: dict[str, Any] = {"poses": [pose.to_json() for pose in self.poses]}
        if self.distances is not None:
            data["distances"] = {"before": list(self.distances[0]), "after": list(self.distances[1])}
        if self.residual is not None:
            data["residual"] = self.residual
            data["residuals"] = dict(self.residuals or {})
        return data


# -- pose --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class PoseRequest:
    """Words, and perhaps a picture or a pose to change. ``person``: which of the people in the picture, 0 = the most
    prominent. ``keypoints``: where the artist says that keypoints of that person are, in pixels of the upright picture
    as answers give its size. ``prior``: which one the fit to a picture asks for what is natural. ``want``: ``auto``
    lets the model answer in words alone.
    """

    prompt: str
    messages: tuple[ChatTurn, ...] = ()
    image: Picture | None = None
    current: Pose | None = None
    candidates: int = 1
    seed: int = 0
    refine: bool = True
    person: int = 0
    keypoints: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    prior: PicturePrior | None = None
    want: Literal["pose", "auto"] = "pose"
    max_new_tokens: int = 256


@dataclass(frozen=True)
class PoseResult:
    """``poses``: best first, standing on the ground. ``timings``: seconds by stage. ``posecodes``: as the model
    read the words: code name -> probability. ``seen``: what was seen in the picture, where the pose is taken from one.
    """

    text: str
    poses: tuple[Pose, ...]
    model: str
    seed: int
    timings: Mapping[str, float] = field(default_factory=dict[str, float])
    posecodes: Mapping[str, float] = field(default_factory=dict[str, float])
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    seen: Posed | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the wire."""
        return ({} if self.seen is None else self.seen.to_json()) | {
            "text": self.text,
            "poses": [pose.to_json() for pose in self.poses],
            "model": self.model,
            "seed": self.seed,
            "timings": {stage: round(seconds, 4) for stage, seconds in self.timings.items()},
            "posecodes": {name: round(float(p), 3) for name, p in self.posecodes.items() if p >= 0.5},
        }


class Engine:
    """All tasks over one ModelHost. One thread at a time may call the tasks that use the language model."""

    def __init__(self, models: ModelHost) -> None:
        self.models = models

    def pose(self, request: PoseRequest, progress: Progress = no_progress, on_text: OnText | None = None) -> PoseResult:
        """Words -> poses. Raises ChatPoseError, the rooms' own errors, and Cancelled through ``progress``."""
        started = time.perf_counter()
        check_prompt(request)
        if request.image is not None and not self._model_looks(progress):
            return _taken(request.image, request, started, progress)
        timings: dict[str, float] = {}
        with self.models.use(progress) as model:
            timings["waiting"] = time.perf_counter() - started
            answer = _answer_within_memory(
                model,
                LanguageRequest(
                    prompt=plain_words(request.prompt),
                    messages=tuple(_plain_turn(turn) for turn in request.messages),
                    image=None if request.image is None else _seen_by(model, request.image, request, progress),
                    current=request.current,
                    candidates=request.candidates,
                    seed=request.seed,
                    want=request.want,
                    max_new_tokens=request.max_new_tokens,
                ),
                progress,
                on_text,
            )
            name = model.name
        timings.update(answer.timings)
        text, poses = answer.text, answer.poses
        if poses and request.refine and request.image is None and offers("posecodes.compose", "compose"):
            with _timed(timings, "refine"):
                progress("Making it do what the words say", 0.8)
                text, poses = _compose(request, answer)
        if poses and len(poses) < request.candidates and offers("priors.tasks", "sample"):
            with _timed(timings, "variations"):
                poses = _enough(poses, request, progress)
        with _timed(timings, "ground"):
            poses = on_ground(poses)
        timings["total"] = time.perf_counter() - started
        usage = {key: int(answer.debug.get(key, 0)) for key in ("prompt_tokens", "completion_tokens")}
        return PoseResult(text or _SAID_NOTHING, poses, name, request.seed, timings, answer.posecodes, usage)

    def _model_looks(self, progress: Progress) -> bool:
        """Whether the language model itself looks at pictures; one of the catalogue, which does not, is not loaded."""
        from .models.catalogue import CATALOGUE

        model, name = self.models.model, self.models.status.name
        if model is not None or name is None or name in CATALOGUE:
            return model is not None and model.accepts_images
        with self.models.use(progress) as brought:
            return brought.accepts_images

    def people(self, request: PeopleRequest, progress: Progress = no_progress) -> PeopleResult:
        """A picture -> who is in it."""
        return PeopleResult(room("vision.tasks").people(_source(request.image), progress))

    def describe(self, request: DescribeRequest, progress: Progress = no_progress) -> DescribeResult:
        """A pose -> words."""
        progress("Looking at the pose", 0.0)
        say = room("posecodes.say")
        codes = [code for fact in say.facts_of([request.pose])[0] for code in fact.codes]
        return DescribeResult(say.describe(request.pose), tuple(codes))

    def sample(self, request: SampleRequest, progress: Progress = no_progress) -> PosesResult:
        """Natural poses. Those that are near nothing are put on the ground."""
        poses = _priors().sample(
            count=request.count, seed=request.seed, near=request.near, spread=request.spread, prior=request.prior,
            progress=progress,
        )  # fmt: skip
        return PosesResult(on_ground(poses) if request.near is None else tuple(poses))

    def project(self, request: ProjectRequest, progress: Progress = no_progress) -> PosesResult:
        """Poses -> natural ones, and how far they were and are from natural."""
        found = _priors().project(
            poses=request.poses, strength=request.strength, prior=request.prior, progress=progress
        )
        return PosesResult(tuple(found.poses), (tuple(found.before), tuple(found.after)))

    def interpolate(self, request: InterpolateRequest, progress: Progress = no_progress) -> PosesResult:
        """Keys -> a pose for every frame asked for; a key's frame gives the key itself."""
        tasks = _priors()
        first, last = (pick(frame for frame, _ in request.keys) for pick in (min, max))
        if request.frames is None and last - first > MAX_CLIP:
            raise ChatPoseError("invalid_request", f"At most {MAX_CLIP} frames are filled at once.", param="keys")
        keys = [tasks.Key(frame, pose) for frame, pose in request.keys]
        return PosesResult(
            tuple(tasks.interpolate(keys=keys, frames=request.frames, prior=request.prior, progress=progress))
        )

    def denoise(self, request: DenoiseRequest, progress: Progress = no_progress) -> PosesResult:
        """A clip without its tremble."""
        poses = _priors().denoise(
            poses=request.poses, fps=request.fps, strength=request.strength, prior=request.prior, rest=request.rest,
            progress=progress,
        )  # fmt: skip
        return PosesResult(tuple(poses))

    def complete(self, request: CompleteRequest, progress: Progress = no_progress) -> PosesResult:
        """Natural bodies around the joints that are kept."""
        poses = _priors().complete(
            pose=request.pose, keep=request.keep, count=request.count, seed=request.seed, prior=request.prior,
            progress=progress,
        )  # fmt: skip
        return PosesResult(tuple(poses))

    def ik(self, request: IkRequest, progress: Progress = no_progress) -> PosesResult:
        """Joints to their targets, the rest of the body following."""
        solved = _priors().ik(
            pose=request.pose, targets=request.targets, pins=request.pins, prior=request.prior, steps=request.steps,
            rest=request.rest, home=request.home, progress=progress,
        )  # fmt: skip
        return PosesResult(tuple(solved.poses), None, solved.residual, solved.residuals[0])

    def run(
        self, request: TaskRequest, progress: Progress = no_progress
    ) -> DescribeResult | PeopleResult | PosesResult:
        """Any of the tasks that need no language model."""
        match request:
            case PeopleRequest():
                return self.people(request, progress)
            case DescribeRequest():
                return self.describe(request, progress)
            case SampleRequest():
                return self.sample(request, progress)
            case ProjectRequest():
                return self.project(request, progress)
            case InterpolateRequest():
                return self.interpolate(request, progress)
            case DenoiseRequest():
                return self.denoise(request, progress)
            case CompleteRequest():
                return self.complete(request, progress)
            case IkRequest():
                return self.ik(request, progress)

    # -- what there is -----------------------------------------------------------------------------------------------
    def tasks(self) -> dict[str, bool]:
        """Every task, and whether this installation can do it."""
        with_prior = dict.fromkeys(
            ("sample", "project", "interpolate", "denoise", "complete", "ik"), offers("priors.tasks", "sample")
        )
        people, describe = offers("vision.tasks", "people"), offers("posecodes.say", "describe")
        return {"pose": True, "people": people, "describe": describe, **with_prior}

    def priors(self) -> list[str]:
        """The priors that are installed, the default first."""
        return list(PRIORS) if offers("priors.tasks", "sample") else []

    def list_models(self) -> list[dict[str, Any]]:
        """The catalogue's models, and one that was given as a path, in OpenAI's list shape."""
        from .models import store
        from .models.catalogue import CATALOGUE

        loaded, status = self.models.model, self.models.status
        models: list[dict[str, Any]] = []
        for entry in CATALOGUE.values():
            here = loaded is not None and status.name == entry.name
            models.append(
                {
                    "id": entry.name, "object": "model", "created": 0, "owned_by": "chatpose",
                    "title": entry.title, "kind": entry.kind, "licence": entry.licence, "note": entry.note,
                    "loaded": here, "fetched": here or store.is_ready(entry.name),
                    "device": loaded.device if here and loaded is not None else None,
                    "dtype": loaded.dtype if here and loaded is not None else None,
                }
            )  # fmt: skip
        if loaded is not None and not any(model["loaded"] for model in models):
            models.append(
                {
                    "id": loaded.name, "object": "model", "created": 0, "owned_by": "user",
                    "title": loaded.name, "kind": "language", "licence": loaded.licence, "note": "given as a path",
                    "loaded": True, "fetched": True, "device": loaded.device, "dtype": loaded.dtype,
                }
            )  # fmt: skip
        return models

    def check_model_name(self, name: str) -> None:
        """Raises ChatPoseError model_not_found for anything but a language model of the catalogue."""
        from .models.catalogue import CATALOGUE

        known = [entry.name for entry in CATALOGUE.values() if entry.kind == "language"]
        if name not in known:
            raise ChatPoseError(
                "model_not_found",
                "There is no language model of this name.",
                hint=f"Known: {', '.join(known)}.",
                param="model",
            )


def check_prompt(request: PoseRequest) -> None:
    """Raises ChatPoseError prompt_empty or prompt_too_long."""
    if not request.prompt.strip() and request.image is None:
        raise ChatPoseError(
            "prompt_empty",
            "There is nothing to pose from: the prompt is empty.",
            hint="Say what the body should do, for example 'a person kneeling with both arms raised'.",
            param="prompt",
        )
    length = len(request.prompt) + sum(len(turn.content) for turn in request.messages)
    if length > MAX_PROMPT_CHARS:
        raise ChatPoseError(
            "prompt_too_long",
            f"The text has {length:,} characters; at most {MAX_PROMPT_CHARS:,} are read.",
            hint="Shorten it, or start a new conversation.",
            param="prompt",
        )


_TAG: Final = re.compile(r"<(?=[|/]?\w+\|?>)|\[(?=/?(?:SEG|POSE|INST)\])", re.IGNORECASE)
_LOOKALIKE: Final = {"<": "\u2039", "[": "\u27e6"}


def plain_words(text: str) -> str:
    """Text in which nothing reads as a model's special token (``<image>``, ``<|im_end|>``, ``</s>``, ``[SEG]``)."""
    return _TAG.sub(lambda found: _LOOKALIKE[found[0]], text)


def _plain_turn(turn: ChatTurn) -> ChatTurn:
    """An earlier turn; in the assistant's own the place of the pose is left as it was."""
    if turn.role != "assistant":
        return replace(turn, content=plain_words(turn.content))
    parts = re.split(r"(<POSE>|\[POSE\])", turn.content)
    return replace(turn, content="".join(part if i % 2 else plain_words(part) for i, part in enumerate(parts)))


def on_ground(poses: Sequence[Pose]) -> tuple[Pose, ...]:
    """The poses, each with the translation that puts the body's lowest point on y = 0 where it has none of its own."""
    floating = [pose for pose in poses if pose.transl is None]
    if not floating:
        return tuple(poses)
    from .body.model import default_body

    transl = iter(default_body().ground_transl(stack_matrot(floating, JOINTS)).tolist())
    return tuple(pose if pose.transl is not None else pose.with_transl(next(transl)) for pose in poses)


def _source(picture: Picture) -> Any:
    return room("vision.tasks").Source(picture.data, picture.decode, picture.film_mm())


def _taken(picture: Picture, request: PoseRequest, started: float, progress: Progress) -> PoseResult:
    """The pose of a person in a picture, as the vision room sees it; variations of it where several are wanted."""
    vision = room("vision.tasks")
    seen = vision.pose(
        _source(picture), words=request.prompt, person=request.person, corrections=request.keypoints,
        prior=request.prior or PICTURE_PRIORS[0], progress=progress,
    )  # fmt: skip
    timings, poses = dict(seen.timings), (seen.pose,)
    if request.candidates > 1 and offers("priors.tasks", "sample"):
        with _timed(timings, "variations"):
            poses = _enough(poses, request, progress)
    poses = on_ground(poses)
    timings["total"] = time.perf_counter() - started
    return PoseResult(seen.text, poses, vision.NAME, request.seed, timings, seen=seen)


def _seen_by(model: LanguageModel, picture: Picture, request: PoseRequest, progress: Progress) -> Image:
    """The picture for a model that looks itself: cut around the one person who is meant, if it likes it so."""
    if not model.wants_one_person or not offers("vision.tasks", "cut_out"):
        return picture.decode()
    return room("vision.tasks").cut_out(_source(picture), request.prompt, request.person, progress)


def _answer_within_memory(
    model: LanguageModel, request: LanguageRequest, progress: Progress, on_text: OnText | None
) -> LanguageAnswer:
    """Asks for all candidates at once; when memory runs out, for half as many at a time."""
    size = request.candidates
    while True:
        try:
            return _answer_in_batches(model, request, size, progress, on_text)
        except Exception as error:
            if size == 1 or not is_out_of_memory(error):
                raise
        size = (size + 1) // 2  # outside the handler, so that the failed call's tensors are no longer referred to
        free_memory()


def _answer_in_batches(
    model: LanguageModel, request: LanguageRequest, size: int, progress: Progress, on_text: OnText | None
) -> LanguageAnswer:
    first = model.answer(replace(request, candidates=min(size, request.candidates)), progress, on_text)
    poses = list(first.poses)
    for start in range(size, request.candidates, size):
        part = replace(request, candidates=min(size, request.candidates - start), seed=request.seed + start)
        poses += model.answer(part, progress).poses
    return replace(first, poses=tuple(poses)) if size < request.candidates else first


def _priors() -> Any:
    return room("priors.tasks")


_SAID_NOTHING: Final = "Here is the pose."
_VARIATION: Final = 0.35  # spread of the prior's variations: plainly the same pose, plainly not the same picture


def _compose(request: PoseRequest, answer: LanguageAnswer) -> tuple[str, tuple[Pose, ...]]:
    """The model's poses made to do what the words say, best first, and one sentence about them."""
    history = _history(request.messages)
    composed = room("posecodes.compose").compose(
        request.prompt,
        stack_matrot(answer.poses),
        asked=answer.posecodes,
        named=answer.named,
        current=None if request.current is None else request.current.matrot(),
        before=[pose.matrot() for pose, _ in history],
        said=[words for _, words in history],
        count=request.candidates,
        seed=request.seed,
    )
    return composed.text or answer.text, tuple(Pose.from_matrot(matrot) for matrot in composed.matrot)


def _history(messages: Sequence[ChatTurn]) -> list[tuple[Pose, str]]:
    """Each pose of a conversation, oldest first, with the words that led to it."""
    words, history = "", list[tuple[Pose, str]]()
    for turn in messages:
        words = turn.content if turn.role == "user" else words
        history += [(pose, words) for pose in turn.poses[:1]]
    return history


def _enough(poses: Sequence[Pose], request: PoseRequest, progress: Progress) -> tuple[Pose, ...]:
    """As many poses as were asked for: variations of those there are, in turn, by the prior."""
    count = request.candidates - len(poses)
    each = -(-count // len(poses))
    more = [
        _priors().sample(count=each, seed=request.seed + i, near=pose, spread=_VARIATION, progress=progress)
        for i, pose in enumerate(poses)
    ]
    in_turn = [variation for at in zip(*more, strict=True) for variation in at]
    return (*poses, *(replace(pose, transl=None) for pose in in_turn[:count]))


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Generator[None]:
    started = time.perf_counter()
    yield
    timings[stage] = time.perf_counter() - started
