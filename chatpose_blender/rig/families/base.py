"""What a rig family is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SIDES = (
    ("left", {"s": "l", "S": "L", "side": "left", "Side": "Left"}),
    ("right", {"s": "r", "S": "R", "side": "right", "Side": "Right"}),
)


@dataclass(frozen=True)
class Switch:
    """A custom property that decides who moves a limb.

    ``bone`` may hold ``{S}``; ``forward`` is the value at which forward kinematics (the bones that we turn) moves it.
    """

    joint: str  # "shoulder" or "hip": the limb that it switches
    bone: str
    prop: str
    forward: float


@dataclass(frozen=True)
class Family:
    """The bone names of one kind of rig.

    ``middle``: SMPL-X joint -> names to try. ``sided``: SMPL-X joint without its side -> names to try, with side marks.
    ``spine`` and ``neck``: bottom to top; those that exist are used where the hierarchy itself does not tell (a
    control rig). ``mover``: the bone that carries the whole body, where that is not the pelvis. ``marks``: names that
    must all exist for the family to be meant. ``same_rest``: the rest pose is SMPL-X's own, so rotations are taken
    over as they are.

    Bones that split a limb in line (Daz's Bend and Twist) and twist bones beside it are found by ``recognise``.
    """

    key: str
    title: str
    middle: Mapping[str, tuple[str, ...]]
    sided: Mapping[str, tuple[str, ...]]
    spine: tuple[str, ...]
    neck: tuple[str, ...] = ()
    mover: tuple[str, ...] = ()
    switches: tuple[Switch, ...] = ()
    marks: tuple[str, ...] = ()
    same_rest: bool = False

    def joints(self) -> dict[str, tuple[str, ...]]:
        """SMPL-X joint -> names to try, both sides written out."""
        return {**self.middle, **both_sides(self.sided)}


def both_sides(sided: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """``{"hip": ("{Side}UpLeg",)}`` -> ``{"left_hip": ("LeftUpLeg",), "right_hip": ("RightUpLeg",)}``."""
    return {
        f"{side}_{joint}": tuple(name.format(**marks) for name in names)
        for side, marks in _SIDES
        for joint, names in sided.items()
    }


def fingers(
    pattern: str, names: Mapping[str, str], numbers: tuple[str, str, str] = ("1", "2", "3")
) -> dict[str, tuple[str, ...]]:
    """The fifteen joints of a hand from one pattern with ``{finger}`` and ``{n}`` and its side mark left in place.

    ``names``: SMPL-X's finger -> the family's word for it.
    """
    return {
        f"{finger}{i}": (pattern.replace("{finger}", word).replace("{n}", n),)
        for finger, word in names.items()
        for i, n in enumerate(numbers, 1)
    }


PLAIN_FINGERS = {"index": "index", "middle": "middle", "pinky": "pinky", "ring": "ring", "thumb": "thumb"}
CAPITAL_FINGERS = {finger: finger.capitalize() for finger in PLAIN_FINGERS}
