"""What is known of the reference picture while Blender runs: what was sent and who was seen. Main thread only.

The picture itself is a datablock of the file; this is forgotten with the file and asked for anew. Images are remembered
by name and session uid, since undo replaces datablocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import bpy

from .client.contract import Pose, Sight
from .client.picture import Picture
from .image_sources import MOVES, folder


@dataclass(frozen=True)
class Seen:
    """``image``: the picture's name and uid; ``picture``: what was sent; ``corrections``: points the artist moved.

    ``upright``: name of the image that shows the picture upright and still, "" where the picture itself does.
    ``frame``: of a movie or sequence, the one that was looked at.
    """

    image: tuple[str, int]
    picture: Picture
    sight: Sight
    pose: Pose | None = None
    corrections: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    upright: str = ""
    frame: int = 1


_current: Seen | None = None


def of(image: bpy.types.Image | None) -> Seen | None:
    """What was seen in this picture, at the frame that the panel shows, if it is the one that was looked at last."""
    if image is None or _current is None:
        return None
    if image.source in MOVES and bpy.context.scene.chatpose.picture.first_frame != _current.frame:
        return None
    return _current if _is_of(_current, image) else None


def _is_of(seen: Seen, image: bpy.types.Image) -> bool:
    name, uid = seen.image
    return uid == image.session_uid or name == image.name


def remember(seen: Seen) -> None:
    """From now on this is what was seen."""
    global _current  # noqa: PLW0603 - one picture is looked at
    _current = seen


def forget() -> None:
    """Another file, or the add-on is disabled."""
    global _current  # noqa: PLW0603
    _current = None


def looked(image: bpy.types.Image, picture: Picture, sight: Sight, pose: Pose | None = None, *, frame: int = 1) -> Seen:
    """Remembers a new look at a picture; corrections hold for as long as the same person of it is meant."""
    before = _current
    same = before is not None and _is_of(before, image) and before.picture.url == picture.url
    if same and pose is None:  # only the people were looked for: what is known of one of them stays
        chosen = before.sight
        sight = replace(sight, person=chosen.person, keypoints=chosen.keypoints, camera=chosen.camera)
        pose = before.pose
    holds = same and before.sight.person == sight.person
    seen = Seen(
        (image.name, image.session_uid),
        picture,
        sight,
        pose,
        before.corrections if holds else {},
        before.upright if same else "",
        frame,
    )
    remember(seen)
    return seen


def shown(image: bpy.types.Image) -> bpy.types.Image:
    """The image to show: the picture, or its upright and still copy, which is loaded when it is first needed.

    Makes a datablock then: call it from an operator that makes an undo step.
    """
    seen = of(image)
    if seen is None or seen.picture.upright is None:
        return image
    there = bpy.data.images.get(seen.upright) if seen.upright else None
    if there is None:
        there = bpy.data.images.load(str(seen.picture.upright))
        there.name = f"{image.name} {seen.frame}" if image.source in MOVES else f"{image.name} Upright"
        if folder() in seen.picture.upright.parents:
            there.pack()  # that folder goes with this Blender
        remember(replace(seen, upright=there.name))
    return there


def shown_now(image: bpy.types.Image) -> bpy.types.Image:
    """The same without making anything, for drawing."""
    seen = of(image)
    there = bpy.data.images.get(seen.upright) if seen is not None and seen.upright else None
    return image if there is None else there
