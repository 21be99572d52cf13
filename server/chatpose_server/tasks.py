"""What each task takes and gives: frozen dataclasses, as the engine, the worker's pipe and the API pass them on.

Knows no room, no model and no HTTP but for the JSON of results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from .faults import ChatPoseError
from .language.base import ChatTurn
from .picture import Picture
from .pose import Pose, Vec3

if TYPE_CHECKING:
    from .vision.tasks import Posed, Scene

MAX_PROMPT_CHARS: Final = 8000
MAX_CANDIDATES: Final = 16
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
