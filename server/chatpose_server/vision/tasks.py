"""What an artist does with a picture: see who is in it, take a person's pose, in words too. Knows no HTTP.

A picture comes as the bytes it was sent as and a way to decode them; who was found in it is remembered, so that a
corrected keypoint or another person of the same picture is answered without looking again.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..pose import Pose
from ..progress import Progress, no_progress
from . import choose
from .blazepose import AT, NAMES, Landmarks, find_people
from .camera import Camera, focal_from_exif
from .crops import Pyramid
from .hands import Hand, find_hands
from .networks import VisionError
from .solve import PriorName, solve

if TYPE_CHECKING:
    from PIL.Image import Image

NAME: Final = "blazepose"
"""What answers in place of a language model."""

_MARGIN: Final = 1.3  # of the person's box, cut out for a model that looks itself
_REMEMBERED: Final = 16  # pictures; a few kilobytes each
_UNSURE: Final = 0.3  # visibility below which a limb is said to be a guess


class NoPersonError(ValueError):
    """A picture without people."""

    code = "no_person"


class PersonNotFoundError(ValueError):
    """There are fewer people than were counted."""

    code = "person_not_found"


class KeypointError(ValueError):
    """A correction of something that is no keypoint."""

    code = "invalid_request"


@dataclass(frozen=True)
class Source:
    """A picture. ``decode`` gives it upright as RGB; ``film_mm``: EXIF's focal length in 35 mm terms, if any."""

    data: bytes
    decode: Callable[[], Image]
    film_mm: float | None = None


@dataclass(frozen=True)
class Scene:
    """Who was found, the most prominent first. Pixels are those of a picture of ``width`` x ``height``."""

    width: int
    height: int
    people: tuple[Landmarks, ...]

    def to_json(self, with_keypoints: bool) -> dict[str, Any]:
        """``picture`` and ``people`` of the wire."""
        people: list[dict[str, Any]] = []
        for person in self.people:
            entry: dict[str, Any] = {"box": [round(v, 1) for v in person.box], "score": round(person.score, 3)}
            if with_keypoints:
                entry["keypoints"] = keypoints_json(keypoints_of(person))
            people.append(entry)
        return {"picture": {"width": self.width, "height": self.height}, "people": people}


@dataclass(frozen=True)
class Posed:
    """The pose of one person, what is to be said of it, and where it was seen."""

    pose: Pose
    text: str
    scene: Scene
    person: int
    keypoints: Mapping[str, tuple[float, float, float]]
    camera: Camera
    timings: Mapping[str, float] = field(default_factory=dict[str, float])

    def to_json(self) -> dict[str, Any]:
        """What the answer of a pose has besides when it came from a picture."""
        return self.scene.to_json(with_keypoints=False) | {
            "person": self.person,
            "keypoints": keypoints_json(self.keypoints),
            "camera": self.camera.to_json(),
        }


def keypoints_of(person: Landmarks) -> dict[str, tuple[float, float, float]]:
    """Name -> (x, y, visibility)."""
    return {
        name: (float(person.pixels[i, 0]), float(person.pixels[i, 1]), min(1.0, float(person.visibility[i])))
        for i, name in enumerate(NAMES)
    }


def keypoints_json(keypoints: Mapping[str, tuple[float, float, float]]) -> dict[str, list[float]]:
    """As the wire has them."""
    return {name: [round(x, 2), round(y, 2), round(v, 3)] for name, (x, y, v) in keypoints.items()}


# -- who is there ------------------------------------------------------------------------------------------------------
_scenes: OrderedDict[str, Scene] = OrderedDict()
_hands: OrderedDict[tuple[str, int], tuple[Hand, ...]] = OrderedDict()
_lock = threading.Lock()


@dataclass
class _Looked:
    """A picture that is opened when somebody looks at it, once."""

    source: Source

    @functools.cached_property
    def key(self) -> str:
        return hashlib.sha256(self.source.data).hexdigest()

    @functools.cached_property
    def picture(self) -> Pyramid:
        return Pyramid(self.source.decode())


_K = TypeVar("_K")
_V = TypeVar("_V")


def _remembered(store: OrderedDict[_K, _V], key: _K, make: Callable[[], _V]) -> _V:
    with _lock:
        if key in store:
            store.move_to_end(key)
            return store[key]
    made = make()
    with _lock:
        store[key] = made
        while len(store) > _REMEMBERED:
            store.popitem(last=False)
    return made


def people(source: Source, progress: Progress = no_progress) -> Scene:
    """Everybody in a picture; nobody is no error here."""
    return _people(_Looked(source), progress)


def _people(looked: _Looked, progress: Progress) -> Scene:
    def look() -> Scene:
        progress("Opening the picture", 0.05)
        picture = looked.picture
        progress("Looking for people", 0.2)
        return Scene(picture.width, picture.height, tuple(find_people(picture)))

    return _remembered(_scenes, looked.key, look)


def pose(
    source: Source,
    *,
    words: str = "",
    person: int = 0,
    corrections: Mapping[str, tuple[float, float]] | None = None,
    prior: PriorName = "vposer",
    progress: Progress = no_progress,
) -> Posed:
    """The pose of a person in a picture. ``words`` may name the person by place and ask for a change of the pose.
    ``prior``: "vposer" or "posendf", which of our priors the fit takes for what is natural.

    Raises NoPersonError, PersonNotFoundError, choose.NobodyThereError, KeypointError and networks.VisionError.
    """
    unknown = [name for name in corrections or {} if name not in AT]
    if unknown:
        raise KeypointError(f"There is no keypoint '{unknown[0][:32]}'. Known: {', '.join(NAMES)}.")
    started = time.perf_counter()
    looked = _Looked(source)
    scene = _people(looked, progress)
    found_people = time.perf_counter()
    if not scene.people:
        raise NoPersonError("No person was found in the picture. Use one that shows a person larger or more clearly.")
    wish = choose.read(words, [p.box for p in scene.people])
    at = person if wish.person is None else wish.person
    chosen = _at(scene, at)
    progress("Looking at the hands", 0.5)
    hands = _remembered(_hands, (looked.key, at), lambda: find_hands(looked.picture, chosen))
    saw_hands = time.perf_counter()
    progress("Fitting the body", 0.6)
    focal = focal_from_exif(source.film_mm, scene.width, scene.height)
    found = solve(chosen, scene.width, scene.height, focal_px=focal, corrections=corrections, hands=hands, prior=prior)
    fitted = time.perf_counter()
    made, changed = found.pose, ""
    if wish.change:
        progress("Making it do what the words say", 0.8)
        made, changed = _change(found.pose, wish.change)
    timings = {
        "people": found_people - started, "hands": saw_hands - found_people, "fit": fitted - saw_hands,
        "words": time.perf_counter() - fitted,
    }  # fmt: skip
    text = " ".join(filter(None, (_which(scene, at, wish), _guesses(chosen), changed)))
    return Posed(made, text, scene, at, found.keypoints, found.camera, timings)


def _change(pose: Pose, words: str) -> tuple[Pose, str]:
    """The pose with what the words change, and a sentence about it."""
    from ..posecodes.edit import edit

    edited = edit(words, [pose.matrot()])
    if edited.kind == "nothing":
        return pose, f"'{words[:60]}' is no change that is known here, so the pose is the picture's."
    body = Pose.from_matrot(edited.matrot, score=pose.score)
    unmet = f" Could not be done: {'; '.join(edited.unmet)}." if edited.unmet else ""
    return replace(pose, joints={**pose.joints, **body.joints}, transl=None), f"Changed: {words[:60]}.{unmet}"


def cut_out(source: Source, words: str, person: int, progress: Progress = no_progress) -> Image:
    """A square around the person who is meant, for models that look themselves and saw people in the middle when they
    learned. The whole picture where nobody is found and the request counts nobody either.

    Raises PersonNotFoundError, choose.NobodyThereError and networks.VisionError.
    """
    image = source.decode()
    counted = person > 0 or choose.names_a_place(words)
    try:
        scene = people(source, progress)
    except VisionError:
        if counted:
            raise
        return image
    if not scene.people and not counted:
        return image
    wish = choose.read(words, [p.box for p in scene.people])
    at = person if wish.person is None else wish.person
    x0, y0, x1, y1 = _at(scene, at).box
    half = _MARGIN * max(x1 - x0, y1 - y0) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def _at(scene: Scene, at: int) -> Landmarks:
    if at < len(scene.people):
        return scene.people[at]
    count = "1 person was" if len(scene.people) == 1 else f"{len(scene.people)} people were"
    raise PersonNotFoundError(f"Person {at + 1} was asked for, but {count} found in the picture. Choose another.")


# -- what is said ------------------------------------------------------------------------------------------------------
def _which(scene: Scene, at: int, wish: choose.Wish) -> str:
    if len(scene.people) == 1:
        return "The pose of the person in the picture."
    middles = [p.box[0] + p.box[2] for p in scene.people]
    place = 1 + sum(m < middles[at] for m in middles)
    text = f"The pose of person {place} of {len(scene.people)} from the left."
    if wish.gendered:
        text += " Women and men cannot be told apart here: say where the person is, for example 'on the left'."
    return text


_LIMBS: Final = {
    "left arm": ("left_elbow", "left_wrist"), "right arm": ("right_elbow", "right_wrist"),
    "left leg": ("left_knee", "left_ankle"), "right leg": ("right_knee", "right_ankle"),
}  # fmt: skip


def _guesses(person: Landmarks) -> str:
    """Says which limbs were not seen."""
    hidden = [name for name, marks in _LIMBS.items() if max(person.visibility[AT[m]] for m in marks) < _UNSURE]
    for pair, both in ((("left arm", "right arm"), "both arms"), (("left leg", "right leg"), "both legs")):
        if all(name in hidden for name in pair):
            hidden = [both, *(name for name in hidden if name not in pair)]
    if not hidden:
        return ""
    return f"Not seen, so guessed: {', '.join(hidden)}."
