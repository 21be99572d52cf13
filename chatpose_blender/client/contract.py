"""The wire's values as frozen dataclasses: the only place that knows JSON keys. Knows no HTTP and no Blender."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

API_VERSION: Final = 1
SERVICE: Final = "chatpose"
POSE_FORMAT: Final = "smplx-quat-wxyz"
MAX_PROMPT: Final = 8000  # characters; the server refuses more, so it is said before anything is sent
MAX_CANDIDATES: Final = 16
PRIORS: Final = ("vposer", "posendf", "both")  # by name; None is the one that the server finds best for the task
_UNIT_TOLERANCE: Final = 0.05  # a quaternion this far from length 1 is a mistake, not rounding
_MAX_METRES: Final = 1e4  # a bigger translation is a mistake and would break a scene

Quat: TypeAlias = tuple[float, float, float, float]
Vec3: TypeAlias = tuple[float, float, float]


class ContractError(ValueError):
    """An answer that does not keep the contract. The text says which part of it."""


# -- poses ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pose:
    """Local joint rotations by SMPL-X joint name, in SMPL-X's frame (metres, y up, rest faces +z).

    ``joints``: name -> unit quaternion (w, x, y, z); a joint that is absent is not spoken for. ``transl``: pelvis
    translation or None. ``betas``: shape or None. ``score``: the engine's confidence in 0..1 or None.
    """

    joints: Mapping[str, Quat]
    transl: Vec3 | None = None
    betas: tuple[float, ...] | None = None
    score: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The wire's object."""
        return {
            "format": POSE_FORMAT,
            "joints": {name: [round(float(c), 7) for c in q] for name, q in self.joints.items()},
            "transl": None if self.transl is None else [round(float(c), 6) for c in self.transl],
            "betas": None if self.betas is None else [float(b) for b in self.betas],
            "score": self.score,
        }

    @staticmethod
    def from_json(data: object) -> Pose:
        """Reads the wire's object. Raises ContractError that names the part that is wrong."""
        pose = _mapping(data, "pose")
        if pose.get("format", POSE_FORMAT) != POSE_FORMAT:
            raise ContractError(f"the pose has the unknown format '{str(pose.get('format'))[:40]}'")
        joints: dict[str, Quat] = {}
        for name, value in _mapping(pose.get("joints"), "joints").items():
            joints[str(name)] = _unit(value, f"joints.{name}")
        transl, betas, score = pose.get("transl"), pose.get("betas"), pose.get("score")
        vector = None if transl is None else _numbers(transl, 3, "transl")
        if vector is not None and max(map(abs, vector)) > _MAX_METRES:
            raise ContractError("'transl' is farther away than any scene reaches")
        return Pose(
            joints,
            None if vector is None else (vector[0], vector[1], vector[2]),
            None if betas is None else tuple(_numbers(betas, None, "betas")),
            None if score is None else _number(score, "score"),
        )


# -- requests ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """One earlier message: ``role`` is ``user`` or ``assistant``; ``poses`` those that an answer gave."""

    role: str
    content: str
    poses: tuple[Pose, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The wire's object."""
        data: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.poses:
            data["poses"] = [pose.to_json() for pose in self.poses]
        return data


@dataclass(frozen=True)
class PoseRequest:
    """Words (and perhaps a picture, a ``data:`` URL) -> poses. ``current`` is the pose that the words refer to.

    ``person``: which of the picture's people, None leaves the choice to the words. ``keypoints``: where the artist says
    that body points are, name -> (x, y) in pixels of the upright picture.
    """

    prompt: str
    messages: tuple[Turn, ...] = ()
    image: str | None = None
    current: Pose | None = None
    candidates: int = 1
    seed: int = 0
    person: int | None = None
    keypoints: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        data: dict[str, Any] = {"task": "pose", "prompt": self.prompt, "candidates": self.candidates, "seed": self.seed}
        if self.messages:
            data["messages"] = [turn.to_json() for turn in self.messages]
        if self.image is not None:
            data["image"] = self.image
        if self.current is not None:
            data["current"] = self.current.to_json()
        if self.person is not None:
            data["person"] = self.person
        if self.keypoints:
            data["keypoints"] = {name: [round(x, 2), round(y, 2)] for name, (x, y) in self.keypoints.items()}
        return data


@dataclass(frozen=True)
class PeopleRequest:
    """A picture (``data:`` URL) -> the people in it."""

    image: str

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        return {"task": "people", "image": self.image}


@dataclass(frozen=True)
class DescribeRequest:
    """A pose -> words."""

    pose: Pose

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        return {"task": "describe", "pose": self.pose.to_json()}


@dataclass(frozen=True)
class SampleRequest:
    """Natural poses from the prior; ``near`` with ``spread`` in 0..1 asks for variations of a pose."""

    count: int
    seed: int = 0
    near: Pose | None = None
    spread: float = 0.3
    prior: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        data: dict[str, Any] = {"task": "sample", "count": self.count, "seed": self.seed, **_prior(self.prior)}
        if self.near is not None:
            data |= {"near": self.near.to_json(), "spread": self.spread}
        return data


@dataclass(frozen=True)
class ProjectRequest:
    """Poses -> the nearest natural poses; ``strength`` 0..1 is how far they are moved there."""

    poses: tuple[Pose, ...]
    strength: float = 1.0
    prior: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        poses = [pose.to_json() for pose in self.poses]
        return {"task": "project", "poses": poses, "strength": self.strength, **_prior(self.prior)}


@dataclass(frozen=True)
class InterpolateRequest:
    """Keys (frame, pose) -> one pose for each of ``frames``."""

    keys: tuple[tuple[int, Pose], ...]
    frames: tuple[int, ...]
    prior: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        keys = [{"frame": frame, "pose": pose.to_json()} for frame, pose in self.keys]
        return {"task": "interpolate", "keys": keys, "frames": list(self.frames), **_prior(self.prior)}


@dataclass(frozen=True)
class DenoiseRequest:
    """A motion, one pose a frame -> the same motion, smooth and natural."""

    poses: tuple[Pose, ...]
    fps: float
    strength: float = 0.5
    prior: str | None = None
    rest: Mapping[str, Vec3] | None = None  # where the character's own 22 body joints are at rest

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        poses = [pose.to_json() for pose in self.poses]
        data = {"task": "denoise", "poses": poses, "fps": self.fps, "strength": self.strength, **_prior(self.prior)}
        return data if self.rest is None else data | {"rest": _places(self.rest)}


@dataclass(frozen=True)
class CompleteRequest:
    """A pose of which only the joints named in ``keep`` stay; the prior fills in the others."""

    pose: Pose
    keep: tuple[str, ...]
    count: int = 1
    seed: int = 0
    prior: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        return {
            "task": "complete",
            "pose": self.pose.to_json(),
            "keep": list(self.keep),
            "count": self.count,
            "seed": self.seed,
            **_prior(self.prior),
        }


@dataclass(frozen=True)
class IkRequest:
    """Joints to ``targets`` (metres, SMPL-X's frame), the rest of the body following; those in ``pins`` hold theirs.

    ``steps``: fewer answer sooner. ``rest``: where the character's own 22 body joints are at rest. ``home``: where
    joints that the targets leave free go back to.
    """

    pose: Pose
    targets: Mapping[str, Vec3]
    pins: tuple[str, ...] = ()
    steps: int = 16
    rest: Mapping[str, Vec3] | None = None
    home: Pose | None = None
    prior: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The body of ``POST /v1/jobs``."""
        data: dict[str, Any] = {
            "task": "ik",
            "pose": self.pose.to_json(),
            "targets": _places(self.targets),
            "pins": list(self.pins),
            "steps": self.steps,
            **_prior(self.prior),
        }
        if self.rest is not None:
            data["rest"] = _places(self.rest)
        if self.home is not None:
            data["home"] = self.home.to_json()
        return data


def _prior(name: str | None) -> dict[str, str]:
    return {} if name is None else {"prior": name}


def _places(places: Mapping[str, Vec3]) -> dict[str, list[float]]:
    return {name: [round(float(c), 6) for c in place] for name, place in places.items()}


Request: TypeAlias = (
    PoseRequest
    | PeopleRequest
    | DescribeRequest
    | SampleRequest
    | ProjectRequest
    | InterpolateRequest
    | DenoiseRequest
    | CompleteRequest
    | IkRequest
)


# -- answers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    """What ``GET /health`` says: ``status`` is ``ready``, ``loading`` (with ``stage``, ``fraction``) or ``error``."""

    status: str
    api: int
    version: str
    stage: str = ""
    fraction: float = 0.0
    message: str = ""

    @staticmethod
    def from_json(data: object) -> Health:
        """Raises ContractError for anything that is not a ChatPose server's answer."""
        health = _mapping(data, "health")
        if health.get("service") != SERVICE:
            raise ContractError("the answer does not name the service 'chatpose'")
        api = health.get("api")
        error = health.get("error")
        message = error.get("message") if isinstance(error, Mapping) else health.get("message")
        return Health(
            status=_text(health.get("status")),
            api=api if isinstance(api, int) and not isinstance(api, bool) else 0,
            version=_text(health.get("version")),
            stage=_text(health.get("stage")),
            fraction=_fraction(health.get("fraction")),
            message=_text(message),
        )


@dataclass(frozen=True)
class Capabilities:
    """The part of ``GET /v1/capabilities`` that the panel shows and decides by."""

    tasks: frozenset[str] = frozenset()
    model: str = ""
    max_prompt: int = MAX_PROMPT

    @staticmethod
    def from_json(data: object) -> Capabilities:
        """Lenient: what is missing is unknown, not an error, so that an older server still poses."""
        caps = _mapping(data, "capabilities")
        tasks = caps.get("tasks")
        if isinstance(tasks, Mapping):  # task -> whether this installation can do it
            tasks = [task for task, can in tasks.items() if can]
        names = frozenset(str(task) for task in tasks) if isinstance(tasks, Sequence) else frozenset()
        model = caps.get("model")
        name = _text(model.get("name")) if isinstance(model, Mapping) else ""
        limits = caps.get("limits")
        limit = limits.get("prompt_chars") if isinstance(limits, Mapping) else None
        return Capabilities(names, name, limit if isinstance(limit, int) and limit > 0 else MAX_PROMPT)


@dataclass(frozen=True)
class Failure:
    """The wire's error object."""

    code: str
    message: str
    hint: str = ""

    @staticmethod
    def from_json(data: object) -> Failure | None:
        """None where there is no error object to read."""
        if not isinstance(data, Mapping) or not isinstance(data.get("message"), str):
            return None
        return Failure(_text(data.get("code")) or "unknown", _text(data["message"]), _text(data.get("hint")))


Keypoints: TypeAlias = Mapping[str, tuple[float, float, float]]
"""Body point -> x, y in pixels of the upright picture, visibility 0..1; left is the person's own left."""


@dataclass(frozen=True)
class Person:
    """Somebody in a picture: ``box`` (x0, y0, x1, y1) in pixels of the upright picture, ``score`` 0..1."""

    box: tuple[float, float, float, float]
    score: float = 0.0

    @staticmethod
    def from_json(data: object) -> Person:
        """Raises ContractError that names the part that is wrong."""
        person = _mapping(data, "person")
        x0, y0, x1, y1 = _numbers(person.get("box"), 4, "box")
        return Person((x0, y0, x1, y1), _fraction(person.get("score")))


@dataclass(frozen=True)
class Camera:
    """The camera that took a picture, as estimated. Looks along its own -z with +y up in the picture.

    ``width``, ``height``, ``focal_px`` in pixels; ``location`` in metres and ``rotation`` (w, x, y, z) take camera
    coordinates into SMPL-X's frame (y up), in which the pose of the same answer is.
    """

    width: float
    height: float
    focal_px: float
    location: Vec3
    rotation: Quat

    @staticmethod
    def from_json(data: object) -> Camera:
        """Raises ContractError that names the part that is wrong."""
        camera = _mapping(data, "camera")
        width, height, focal = (_number(camera.get(name), name) for name in ("width", "height", "focal_px"))
        if min(width, height, focal) <= 0:
            raise ContractError("the camera has no size")
        x, y, z = _numbers(camera.get("location"), 3, "camera.location")
        return Camera(width, height, focal, (x, y, z), _unit(camera.get("rotation"), "camera.rotation"))


@dataclass(frozen=True)
class Sight:
    """What was seen in a picture: its upright ``width`` and ``height`` in pixels, ``people`` best first.

    ``person``: whose pose the answer is; ``keypoints`` and ``camera`` are that person's.
    """

    width: int
    height: int
    people: tuple[Person, ...] = ()
    person: int = 0
    keypoints: Keypoints = field(default_factory=dict[str, tuple[float, float, float]])
    camera: Camera | None = None

    @staticmethod
    def from_json(result: Mapping[str, Any]) -> Sight | None:
        """None for an answer that is about no picture. Raises ContractError when a part cannot be read."""
        picture = result.get("picture")
        if picture is None:
            return None
        size = _mapping(picture, "picture")
        width, height = (int(_number(size.get(name), f"picture.{name}")) for name in ("width", "height"))
        if min(width, height) < 1:
            raise ContractError("the picture has no size")
        people = result.get("people") or []
        if not isinstance(people, Sequence) or isinstance(people, str):
            raise ContractError("'people' is not a list")
        person, camera = result.get("person"), result.get("camera")
        points = {
            str(name): _point(value, f"keypoints.{name}")
            for name, value in _mapping(result.get("keypoints") or {}, "keypoints").items()
        }
        return Sight(
            width,
            height,
            tuple(Person.from_json(each) for each in people),
            person if isinstance(person, int) and 0 <= person < len(people) else 0,
            points,
            None if camera is None else Camera.from_json(camera),
        )


@dataclass(frozen=True)
class Result:
    """What a finished job gives: ``text``, ``poses`` best first; the rest where the task has it."""

    text: str = ""
    poses: tuple[Pose, ...] = ()
    model: str = ""
    seed: int = 0
    distances: tuple[tuple[float, float], ...] = ()
    sight: Sight | None = None

    @staticmethod
    def from_json(data: object) -> Result:
        """Raises ContractError when a part that is there cannot be read."""
        result = _mapping(data, "result")
        poses = result.get("poses", [])
        if not isinstance(poses, Sequence) or isinstance(poses, str):
            raise ContractError("'poses' is not a list")
        seed = result.get("seed")
        distances = result.get("distances")
        before, after = (
            (distances.get("before"), distances.get("after")) if isinstance(distances, Mapping) else (None, None)
        )
        pairs: tuple[tuple[float, float], ...] = ()
        if isinstance(before, Sequence) and isinstance(after, Sequence):
            pairs = tuple(zip(_numbers(before, None, "before"), _numbers(after, None, "after"), strict=False))
        return Result(
            text=_text(result.get("text"), limit=None),
            poses=tuple(Pose.from_json(pose) for pose in poses),
            model=_text(result.get("model")),
            seed=seed if isinstance(seed, int) else 0,
            distances=pairs,
            sight=Sight.from_json(result),
        )


@dataclass(frozen=True)
class JobStatus:
    """One look at a job. ``state``: queued, running, done, failed or cancelled."""

    id: str
    state: str
    stage: str = ""
    fraction: float = 0.0
    position: int = 0
    text: str = ""
    result: Result | None = None
    failure: Failure | None = None

    FINISHED = frozenset({"done", "failed", "cancelled"})

    @property
    def finished(self) -> bool:
        """Nothing more will come."""
        return self.state in self.FINISHED

    @staticmethod
    def from_json(data: object) -> JobStatus:
        """Raises ContractError when the answer has no id or state, or is done without a result."""
        job = _mapping(data, "job")
        state, identity = job.get("state"), job.get("id")
        if not isinstance(identity, str) or not identity:
            raise ContractError("the job has no 'id'")
        if state not in {"queued", "running"} | JobStatus.FINISHED:
            raise ContractError(f"the job has the unknown state '{str(state)[:40]}'")
        position = job.get("position")
        return JobStatus(
            id=identity,
            state=state,
            stage=_text(job.get("stage")),
            fraction=_fraction(job.get("fraction")),
            position=position if isinstance(position, int) else 0,
            text=_text(job.get("text"), limit=None),
            result=Result.from_json(job.get("result")) if state == "done" else None,
            failure=Failure.from_json(job.get("error")),
        )


@dataclass(frozen=True)
class ErrorAnswer:
    """The error body of any route, read as far as it can be."""

    failure: Failure | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @staticmethod
    def from_json(data: object) -> ErrorAnswer:
        """Never raises: an unreadable error is an error without words."""
        if not isinstance(data, Mapping):
            return ErrorAnswer()
        return ErrorAnswer(Failure.from_json(data.get("error")), data)


# -- small readers -------------------------------------------------------------------------------------------------


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ContractError(f"'{what}' is not an object")
    return value


def _text(value: object, limit: int | None = 400) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ContractError(f"'{where}' is not a finite number")
    return float(value)


def _numbers(value: object, count: int | None, where: str) -> list[float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or (count is not None and len(value) != count):
        raise ContractError(f"'{where}' is not a list of {count or ''} numbers".replace("  ", " "))
    return [_number(v, where) for v in value]


def _unit(value: object, where: str) -> Quat:
    w, x, y, z = _numbers(value, 4, where)
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if abs(length - 1) > _UNIT_TOLERANCE:
        raise ContractError(f"the rotation of '{where.rpartition('.')[2][:40]}' is not a unit quaternion")
    return (w / length, x / length, y / length, z / length)


def _point(value: object, where: str) -> tuple[float, float, float]:
    x, y, visibility = _numbers(value, 3, where)
    return (x, y, min(1.0, max(0.0, visibility)))


def _fraction(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0.0
    return min(1.0, max(0.0, float(value)))
