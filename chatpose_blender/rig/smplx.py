"""The SMPL-X skeleton: joint names, order, parents, sides, parts. Knows nothing of rotations, bpy or files.

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
HAND_JOINTS: Final[tuple[str, ...]] = LEFT_HAND_JOINTS + RIGHT_HAND_JOINTS
JOINTS: Final[tuple[str, ...]] = BODY_JOINTS + FACE_JOINTS + HAND_JOINTS

_BODY_PARENTS: Final[dict[str, str]] = {
    name: BODY_JOINTS[parent]
    for name, parent in zip(
        BODY_JOINTS[1:], (0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19), strict=True
    )
}


def _hand_parents() -> dict[str, str]:
    parents: dict[str, str] = {}
    for side in ("left", "right"):
        for finger in FINGERS:
            parents[f"{side}_{finger}1"] = f"{side}_wrist"
            parents[f"{side}_{finger}2"] = f"{side}_{finger}1"
            parents[f"{side}_{finger}3"] = f"{side}_{finger}2"
    return parents


PARENT: Final[dict[str, str]] = {**_BODY_PARENTS, **dict.fromkeys(FACE_JOINTS, "head"), **_hand_parents()}
"""Parent of every joint but the pelvis. In JOINTS parents always come before their children."""

PARTS: Final[dict[str, frozenset[str]]] = {
    "UPPER": frozenset(
        {"spine1", "spine2", "spine3", "neck", "head", "left_collar", "right_collar", "left_shoulder", "right_shoulder",
         "left_elbow", "right_elbow", "left_wrist", "right_wrist", *FACE_JOINTS, *HAND_JOINTS}
    ),
    "LOWER": frozenset(
        {"pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_foot",
         "right_foot"}
    ),
    "ARMS": frozenset(
        f"{side}_{joint}" for side in ("left", "right") for joint in ("collar", "shoulder", "elbow", "wrist")
    ),
    "LEFT_ARM": frozenset(f"left_{joint}" for joint in ("collar", "shoulder", "elbow", "wrist")),
    "RIGHT_ARM": frozenset(f"right_{joint}" for joint in ("collar", "shoulder", "elbow", "wrist")),
    "LEGS": frozenset(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot")),
    "LEFT_LEG": frozenset(f"left_{joint}" for joint in ("hip", "knee", "ankle", "foot")),
    "RIGHT_LEG": frozenset(f"right_{joint}" for joint in ("hip", "knee", "ankle", "foot")),
    "HEAD": frozenset({"neck", "head"}),
    "HANDS": frozenset(HAND_JOINTS),
    "FACE": frozenset(FACE_JOINTS),
}  # fmt: skip
"""Part of the body -> its joints. ``ALL`` and ``SELECTED`` depend on the rig, so the caller answers those."""

SMPLH_EYES: Final[dict[str, str]] = {"left_eye_smplhf": "left_eye", "right_eye_smplhf": "right_eye"}


def mirror_name(name: str) -> str:
    """The joint on the other side of the body; a joint on the midline is its own mirror."""
    if name.startswith("left_"):
        return "right_" + name[5:]
    if name.startswith("right_"):
        return "left_" + name[6:]
    return name
