"""What any rig is to the add-on: its bones at rest, and which bone plays which SMPL-X joint. Knows no bpy.

bones = armature.rest_bones(object)          # RestBone by name (needs bpy)
rigmap = recognise.plan(bones)               # or RigMap.from_json(preset)
fit = retarget.fit(rigmap, bones)            # rest poses compared, once per rig
retarget.retarget(fit, quats)                # bone name -> local quaternion
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from .families import BY_KEY

FORMAT: Final = "chatpose-rigmap"
VERSION: Final = 1

CORE_JOINTS: Final[tuple[str, ...]] = (
    "pelvis", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle",
)  # fmt: skip
"""The joints without which an armature is no person. Spine, neck, collars, toes and fingers are optional in rigs."""

TRUNK: Final[frozenset[str]] = frozenset({"spine1", "spine2", "spine3", "neck"})
"""SMPL-X joints that a rig may have any number of bones for: RigMap keeps them as the chains ``spine`` and ``neck``."""


class RigMapError(ValueError):
    """A mapping that cannot be used. The text is for the artist."""


@dataclass(frozen=True)
class RestBone:
    """One bone at rest, in armature space and the armature's own units.

    ``matrix``: (4, 4), Blender's ``Bone.matrix_local``: the bone points along its own y from its head.
    """

    parent: str | None
    matrix: np.ndarray
    length: float
    inherit_rotation: bool = True
    connected: bool = False
    deform: bool = True

    @property
    def head(self) -> np.ndarray:
        """(3,)"""
        return self.matrix[:3, 3]

    @property
    def tail(self) -> np.ndarray:
        """(3,)"""
        return self.matrix[:3, 3] + self.matrix[:3, 1] * self.length


@dataclass(frozen=True)
class RigMap:
    """Which bones of an armature play which part of a SMPL-X body.

    ``bones``: SMPL-X joint -> bones from root to tip; more than one where a limb is split in line (Daz's Bend and
    Twist). Holds no key of TRUNK. ``spine``: the bones between pelvis and neck, bottom to top, any number. ``neck``:
    those between spine and head. ``twists``: SMPL-X joint -> side bones that only roll with that limb (Unreal's twist
    bones). ``mover``: the bone that carries the whole body where that is not the pelvis (Rigify's torso).
    ``confidence``: 0..1, how sure the recognition is; ``by``: "names", "structure" or "hand".
    """

    family: str
    bones: Mapping[str, tuple[str, ...]]
    spine: tuple[str, ...] = ()
    neck: tuple[str, ...] = ()
    twists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mover: str | None = None
    confidence: float = 1.0
    by: str = "hand"

    def names(self) -> Iterator[str]:
        """Every bone that a pose may turn."""
        for chain in self.bones.values():
            yield from chain
        yield from self.spine
        yield from self.neck
        for chain in self.twists.values():
            yield from chain
        if self.mover:
            yield self.mover

    @property
    def title(self) -> str:
        """The family's name for people."""
        return BY_KEY[self.family].title if self.family in BY_KEY else self.family.capitalize()

    @property
    def missing(self) -> tuple[str, ...]:
        """The core joints that no bone plays."""
        return tuple(joint for joint in CORE_JOINTS if joint not in self.bones)

    def to_json(self) -> dict[str, Any]:
        """A preset for a file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "family": self.family,
            "bones": {joint: list(chain) for joint, chain in self.bones.items()},
            "spine": list(self.spine),
            "neck": list(self.neck),
            "twists": {joint: list(chain) for joint, chain in self.twists.items()},
            "mover": self.mover,
        }

    @staticmethod
    def from_json(data: object) -> RigMap:
        """Reads a preset. Raises RigMapError with what is wrong."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise RigMapError("This file is not a ChatPose bone mapping. Choose a file saved by the mapping editor.")
        if data.get("version") != VERSION:
            raise RigMapError("This bone mapping was saved by a newer ChatPose. Update the add-on to read it.")
        return RigMap(
            family=str(data.get("family", "custom")),
            bones=_chains(data.get("bones"), "bones"),
            spine=_chain(data.get("spine", []), "spine"),
            neck=_chain(data.get("neck", []), "neck"),
            twists=_chains(data.get("twists", {}), "twists"),
            mover=str(data["mover"]) if data.get("mover") else None,
        )


def _chain(data: object, what: str) -> tuple[str, ...]:
    if not isinstance(data, list) or not all(isinstance(name, str) and name for name in data):
        raise RigMapError(f"In this bone mapping, '{what}' is not a list of bone names.")
    return tuple(data)


def _chains(data: object, what: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(data, Mapping):
        raise RigMapError(f"In this bone mapping, '{what}' is not a table of joints and bones.")
    return {str(joint): _chain(chain, f"{what}.{joint}") for joint, chain in data.items()}
