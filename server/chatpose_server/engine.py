"""Every task, request -> result: the only file that knows all rooms. Knows no HTTP and no jobs.

A task is pure: the same request, seed and model give the same answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from . import rooms
from .faults import ChatPoseError, is_out_of_memory
from .language.base import ChatTurn, LanguageAnswer, LanguageModel, LanguageRequest
from .model_host import ModelHost, free_memory
from .picture import Picture
from .pose import Pose, stack_matrot
from .progress import Progress, no_progress
from .skeleton import JOINTS
from .tasks import (
    MAX_CLIP,
    PICTURE_PRIORS,
    PRIORS,
    CompleteRequest,
    DenoiseRequest,
    DescribeRequest,
    DescribeResult,
    IkRequest,
    InterpolateRequest,
    PeopleRequest,
    PeopleResult,
    PoseRequest,
    PoseResult,
    PosesResult,
    ProjectRequest,
    SampleRequest,
    TaskRequest,
    check_prompt,
)

if TYPE_CHECKING:
    from PIL.Image import Image

OnText: TypeAlias = Callable[[str], None]


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
        if poses and request.refine and request.image is None and rooms.offers("posecodes.compose", "compose"):
            with _timed(timings, "refine"):
                progress("Making it do what the words say", 0.8)
                text, poses = _compose(request, answer)
        if poses and len(poses) < request.candidates and rooms.offers("priors.tasks", "sample"):
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
        return PeopleResult(rooms.room("vision.tasks").people(_source(request.image), progress))

    def describe(self, request: DescribeRequest, progress: Progress = no_progress) -> DescribeResult:
        """A pose -> words."""
        progress("Looking at the pose", 0.0)
        say = rooms.room("posecodes.say")
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
            ("sample", "project", "interpolate", "denoise", "complete", "ik"), rooms.offers("priors.tasks", "sample")
        )
        people, describe = rooms.offers("vision.tasks", "people"), rooms.offers("posecodes.say", "describe")
        return {"pose": True, "people": people, "describe": describe, **with_prior}

    def priors(self) -> list[str]:
        """The priors that are installed, the default first."""
        return list(PRIORS) if rooms.offers("priors.tasks", "sample") else []

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
    return rooms.room("vision.tasks").Source(picture.data, picture.decode, picture.film_mm())


def _taken(picture: Picture, request: PoseRequest, started: float, progress: Progress) -> PoseResult:
    """The pose of a person in a picture, as the vision room sees it; variations of it where several are wanted."""
    vision = rooms.room("vision.tasks")
    seen = vision.pose(
        _source(picture), words=request.prompt, person=request.person, corrections=request.keypoints,
        prior=request.prior or PICTURE_PRIORS[0], progress=progress,
    )  # fmt: skip
    timings, poses = dict(seen.timings), (seen.pose,)
    if request.candidates > 1 and rooms.offers("priors.tasks", "sample"):
        with _timed(timings, "variations"):
            poses = _enough(poses, request, progress)
    poses = on_ground(poses)
    timings["total"] = time.perf_counter() - started
    return PoseResult(seen.text, poses, vision.NAME, request.seed, timings, seen=seen)


def _seen_by(model: LanguageModel, picture: Picture, request: PoseRequest, progress: Progress) -> Image:
    """The picture for a model that looks itself: cut around the one person who is meant, if it likes it so."""
    if not model.wants_one_person or not rooms.offers("vision.tasks", "cut_out"):
        return picture.decode()
    return rooms.room("vision.tasks").cut_out(_source(picture), request.prompt, request.person, progress)


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
    return rooms.room("priors.tasks")


_SAID_NOTHING: Final = "Here is the pose."
_VARIATION: Final = 0.35  # spread of the prior's variations: plainly the same pose, plainly not the same picture


def _compose(request: PoseRequest, answer: LanguageAnswer) -> tuple[str, tuple[Pose, ...]]:
    """The model's poses made to do what the words say, best first, and one sentence about them."""
    history = _history(request.messages)
    composed = rooms.room("posecodes.compose").compose(
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
