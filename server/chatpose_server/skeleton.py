"""The SMPL-X skeleton: joint names, order, parents, sides. Knows nothing of rotations, bodies or files.

Source: the published SMPL-X model (55 joints); the first 22 are SMPL's body joints.
"""

from __future__ import annotations

from typing import Final

BODY_JOINTS: Final[tuple[str, ...]] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
FACE_JOINTS: Final[tuple[str, ...]] = ("jaw", "left_eye_smplhf", "right_eye_smplhf")
FINGERS: Final[tuple[str, ...]] = ("index", "middle", "pinky", "ring", "thumb")
LEFT_HAND_JOINTS: Final[tuple[str, ...]] = tuple(f"left_{finger}{i}" for finger in FINGERS for i in (1, 2, 3))
RIGHT_HAND_JOINTS: Final[tuple[str, ...]] = tuple(f"right_{finger}{i}" for finger in FINGERS for i in (1, 2, 3))

JOINTS: Final[tuple[str, ...]] = BODY_JOINTS + FACE_JOINTS + LEFT_HAND_JOINTS + RIGHT_HAND_JOINTS
INDEX: Final[dict[str, int]] = {name: i for i, name in enumerate(JOINTS)}

_BODY_PARENTS: Final[tuple[int, ...]] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


def _parents() -> tuple[int, ...]:
    parents = list(_BODY_PARENTS) + [INDEX["head"]] * len(FACE_JOINTS)
    for side in ("left", "right"):
        for finger in FINGERS:
            parents += [INDEX[f"{side}_wrist"], INDEX[f"{side}_{finger}1"], INDEX[f"{side}_{finger}2"]]
    return tuple(parents)


PARENTS: Final[tuple[int, ...]] = _parents()
"""Parent index of each of the 55 joints; -1 for the pelvis. Parents always precede their children."""


def mirror_name(name: str) -> str:
    """The joint on the other side of the body; a joint on the midline is its own mirror."""
    if name.startswith("left_"):
        return "right_" + name[5:]
    if name.startswith("right_"):
        return "left_" + name[6:]
    return name


MIRROR: Final[tuple[int, ...]] = tuple(INDEX[mirror_name(name)] for name in JOINTS)
"""Index of each joint's mirror image."""


def levels(count: int) -> tuple[tuple[int, ...], ...]:
    """The first ``count`` joints grouped by depth below the pelvis, so that a whole depth can be computed at once."""
    depth = [0] * count
    for j in range(1, count):
        depth[j] = depth[PARENTS[j]] + 1
    return tuple(tuple(j for j in range(count) if depth[j] == d) for d in range(max(depth) + 1))
