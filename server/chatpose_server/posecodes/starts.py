"""Where a search for a pose begins: standing, sitting, kneeling, lying... and where its arms are. Data only.

Written by hand in degrees: ``joint: (x, y, z)`` is a rotation vector, except that shoulders (x) and hips (y) take the
twist about the bone first and then the swing by the other two. Left sides only where a pose is symmetric; ``m``
makes the mirror image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from ..rotations import quat_multiply, rotvec_to_quat
from ..skeleton import BODY_JOINTS, INDEX, mirror_name

Degrees = tuple[float, float, float]
Table = Mapping[str, Degrees]


def _m(table: Table) -> dict[str, Degrees]:
    """The mirror image."""
    return {mirror_name(n): (x, -y, -z) for n, (x, y, z) in table.items()}


def _both(table: Table) -> dict[str, Degrees]:
    """Left side given, right side alike."""
    return {**table, **_m({n: v for n, v in table.items() if n.startswith("left_")})}


_RELAXED_HANDS: Final = _both({"left_collar": (0, 0, -3), "left_shoulder": (8, -8, -68), "left_elbow": (0, -18, 0),
                               "left_wrist": (0, 0, -3)})  # fmt: skip

# Arms: the left one.
ARMS: Final[Mapping[str, Table]] = {
    "down": {"left_collar": (0, 0, -3), "left_shoulder": (8, -8, -68), "left_elbow": (0, -18, 0)},
    "forward": {"left_collar": (0, -8, 0), "left_shoulder": (0, -80, 4), "left_elbow": (0, -8, 0)},
    "out": {"left_shoulder": (0, -4, 8), "left_elbow": (0, -6, 0)},
    "up": {"left_collar": (0, 0, 22), "left_shoulder": (-45, -12, 68), "left_elbow": (-40, -10, 0)},
    "up_out": {"left_collar": (0, 0, 14), "left_shoulder": (-30, -8, 42), "left_elbow": (-20, -10, 0)},
    "back": {"left_collar": (0, 8, 0), "left_shoulder": (10, 42, -55), "left_elbow": (0, -10, 0)},
    "hip": {"left_collar": (0, 0, 0), "left_shoulder": (60, 22, -40), "left_elbow": (10, -95, 0),
            "left_wrist": (0, 0, -20)},
    "chest": {"left_shoulder": (18, -30, -58), "left_elbow": (0, -115, 0)},
    "desk": {"left_shoulder": (5, -12, -68), "left_elbow": (0, -85, 0)},
    "face": {"left_collar": (0, -6, 4), "left_shoulder": (-45, -62, -42), "left_elbow": (-15, -135, 0)},
    "other_shoulder": {"left_collar": (0, -12, 0), "left_shoulder": (-10, -85, -24), "left_elbow": (0, -118, 0)},
    "crossed": {"left_collar": (0, -8, 0), "left_shoulder": (20, -42, -55), "left_elbow": (10, -105, 0)},
    "behind_head": {"left_collar": (0, 4, 16), "left_shoulder": (-72, 4, 28), "left_elbow": (-10, -138, 0)},
    "goal": {"left_shoulder": (-80, 0, 2), "left_elbow": (0, -88, 0)},
    "behind_back": {"left_collar": (0, 8, 0), "left_shoulder": (72, 34, -58), "left_elbow": (20, -68, 0)},
    "knees": {"left_collar": (0, -6, 0), "left_shoulder": (5, -40, -50), "left_elbow": (0, -30, 0)},
    "across": {"left_collar": (0, -12, 0), "left_shoulder": (0, -95, -45), "left_elbow": (0, -20, 0)},
    "prayer": {"left_collar": (0, -6, 0), "left_shoulder": (6, -30, -58), "left_elbow": (25, -122, 0),
               "left_wrist": (0, 0, 55)},
    "wave": {"left_shoulder": (-75, -10, -12), "left_elbow": (-10, -105, 0)},
}  # fmt: skip

_STANDING: Final = _both({"left_hip": (0, 2, 1)})
_STEP: Final[Table] = {
    "left_hip": (-24, 0, 0), "left_knee": (10, 0, 0), "left_ankle": (12, 0, 0), "right_hip": (16, 0, 0),
    "right_knee": (14, 0, 0), "right_ankle": (-4, 0, 0), "right_foot": (-20, 0, 0), "pelvis": (3, 0, 0),
}  # fmt: skip
_LUNGE: Final[Table] = {
    "pelvis": (3, 0, 0), "left_hip": (-79, 0, 3), "left_knee": (85, 0, 0), "left_ankle": (-6, 0, 0),
    "right_hip": (28, 0, -2), "right_knee": (41, 0, 0), "right_ankle": (-16, 0, 0), "right_foot": (-47, 0, 0),
}  # fmt: skip
_HALF_KNEEL: Final[Table] = {  # the left knee on the ground
    "left_hip": (2, 0, 2), "left_knee": (92, 0, 0), "left_ankle": (28, 0, 0), "right_hip": (-88, 0, -4),
    "right_knee": (90, 0, 0), "right_ankle": (-3, 0, 0),
}  # fmt: skip
_ONE_LEG: Final[Table] = {  # on the left one
    "pelvis": (0, 0, 1), "left_hip": (0, 0, -12), "left_ankle": (0, 0, 12), "right_hip": (-66, 0, -3),
    "right_knee": (70, 0, 0), "right_ankle": (15, 0, 0),
}  # fmt: skip
_SIDE_LUNGE: Final[Table] = {
    "pelvis": (27, 0, 1), "left_hip": (-88, 37, 34), "left_knee": (92, 0, 0), "left_ankle": (-25, 0, 0),
    "right_hip": (-15, 0, -50), "right_ankle": (-6, 0, 18),
}  # fmt: skip
_SIDE: Final[Table] = {  # on the left side
    "pelvis": (0, 0, -88), "left_hip": (-37, 3, -2), "left_knee": (51, 0, 0), "right_hip": (-43, -3, 1),
    "right_knee": (60, 0, 0), "spine1": (8, 0, 0), "neck": (0, 0, -6), "head": (0, 0, -14),
    "left_collar": (0, -9, 7), "left_shoulder": (-52, -59, -44), "left_elbow": (-15, -120, 0),
}  # fmt: skip
_FIGURE_FOUR: Final[Table] = {
    "left_hip": (-102, 93, 42), "left_knee": (95, 0, 0), "right_hip": (-78, 0, 21), "right_knee": (78, 0, 0),
}  # fmt: skip
_LEG_OVER: Final[Table] = {
    "left_hip": (-101, -15, -25), "left_knee": (71, 0, 0), "left_ankle": (15, 0, 0), "right_hip": (-81, 0, 12),
    "right_knee": (84, 0, 0),
}  # fmt: skip
_WARRIOR3: Final[Table] = {  # on the left leg, trunk and right leg level
    "pelvis": (75, 0, 0), "left_hip": (-76, 0, -2), "right_hip": (8, 0, 0), "right_ankle": (20, 0, 0),
    "head": (-35, 0, 0),
}  # fmt: skip
_PIGEON: Final[Table] = {
    "pelvis": (37, 0, 0), "spine1": (-9, 0, 0), "spine2": (-16, 0, 0), "left_hip": (-103, 60, -17),
    "left_knee": (126, 0, 0), "left_ankle": (20, 0, 0), "right_hip": (29, 0, 0), "right_knee": (24, 0, 0),
    "right_ankle": (45, 0, 0),
}  # fmt: skip
_KICK: Final[Table] = {  # the right leg kicks forward
    "pelvis": (-8, 0, 4), "left_hip": (6, 0, -3), "left_knee": (10, 0, 0), "right_hip": (-80, 0, 0),
    "right_knee": (12, 0, 0), "right_ankle": (25, 0, 0),
}  # fmt: skip

_TREE: Final[Table] = {  # stands on the left, the right sole against the left thigh
    "left_hip": (0, 0, -9), "left_ankle": (0, 0, 8), "right_hip": (-58, -52, -25), "right_knee": (150, 0, 0),
    "right_ankle": (25, 0, 0),
}  # fmt: skip
_HEEL_BACK: Final[Table] = {  # stands on the left, the right heel at the seat
    "left_hip": (0, 0, -3), "right_hip": (8, 0, 0), "right_knee": (138, 0, 0), "right_ankle": (35, 0, 0),
    "pelvis": (4, 0, 3),
}  # fmt: skip
_RUN: Final[Table] = {  # on the left toes, the right knee drives
    "pelvis": (10, 0, 0), "left_hip": (14, 0, 0), "left_knee": (22, 0, 0), "left_ankle": (25, 0, 0),
    "left_foot": (-25, 0, 0), "right_hip": (-70, 0, 0), "right_knee": (88, 0, 0), "right_ankle": (5, 0, 0),
}  # fmt: skip

# Bodies: orientation, spine and legs; the posture that each is good for is found by measuring, not by name.
BODIES: Final[Mapping[str, Table]] = {
    "stand": _STANDING,
    "stand_wide": _both({"left_hip": (0, 4, 22), "left_ankle": (0, 0, -20)}),
    "step_left": _STEP,
    "step_right": _m(_STEP),
    "lunge_left": _LUNGE,
    "lunge_right": _m(_LUNGE),
    "side_lunge_left": _SIDE_LUNGE,
    "side_lunge_right": _m(_SIDE_LUNGE),
    "one_leg_left": _ONE_LEG,
    "one_leg_right": _m(_ONE_LEG),
    "kick_right": _KICK,
    "kick_left": _m(_KICK),
    "tree_left": _TREE,
    "tree_right": _m(_TREE),
    "heel_back_left": _HEEL_BACK,
    "heel_back_right": _m(_HEEL_BACK),
    "run_left": _RUN,
    "run_right": _m(_RUN),
    "warrior3_left": _WARRIOR3,
    "warrior3_right": _m(_WARRIOR3),
    "half_squat": {"pelvis": (22, 0, 0),
                   **_both({"left_hip": (-62, 12, 10), "left_knee": (66, 0, 0), "left_ankle": (-24, 0, -6)})},
    "squat": {"pelvis": (28, 0, 0), "spine1": (12, 0, 0), "head": (-12, 0, 0),
              **_both({"left_hip": (-118, 22, 18), "left_knee": (125, 0, 0), "left_ankle": (-34, 0, 0)})},
    "bow": {"pelvis": (48, 0, 0), "spine1": (18, 0, 0), "spine2": (8, 0, 0), "spine3": (6, 0, 0),
            **_both({"left_hip": (-50, 0, 0)})},
    "fold": {"pelvis": (85, 0, 0), "spine1": (30, 0, 0), "spine2": (14, 0, 0), "spine3": (10, 0, 0), "head": (15, 0, 0),
             **_both({"left_hip": (-92, 0, 0), "left_knee": (5, 0, 0)})},
    "lean_back": {"pelvis": (-12, 0, 0), "spine1": (-14, 0, 0), "spine2": (-8, 0, 0),
                  **_both({"left_hip": (4, 0, 0), "left_knee": (10, 0, 0)})},
    "sit": _both({"left_hip": (-86, 4, 6), "left_knee": (86, 0, 0)}),
    "sit_lean_forward": {"pelvis": (20, 0, 0), "spine1": (20, 0, 0), "spine2": (8, 0, 0),
                         **_both({"left_hip": (-104, 6, 10), "left_knee": (86, 0, 0)})},
    "sit_leg_over_left": _LEG_OVER,
    "sit_leg_over_right": _m(_LEG_OVER),
    "sit_figure_four_left": _FIGURE_FOUR,
    "sit_figure_four_right": _m(_FIGURE_FOUR),
    "floor_legs_out": {"pelvis": (-10, 0, 0), "spine1": (3, 0, 0),
                       **_both({"left_hip": (-82, 2, 5), "left_knee": (6, 0, 0)})},
    "floor_knees_up": {"pelvis": (-23, 0, 0), "spine1": (4, 0, 0), "spine2": (10, 0, 0),
                       **_both({"left_hip": (-120, 2, 3), "left_knee": (111, 0, 0), "left_ankle": (19, 0, 0)})},
    "floor_crossed": {"pelvis": (-7, 0, 0), "spine1": (2, 0, 0), "left_hip": (-86, 102, 46), "left_knee": (115, 0, 0),
                      "left_ankle": (20, 0, 0), "right_hip": (-88, -105, -47), "right_knee": (139, 0, 0),
                      "right_ankle": (20, 0, 0)},
    "floor_straddle": _both({"left_hip": (-78, 18, 48), "left_knee": (4, 0, 0)}),
    "kneel": _both({"left_hip": (0, 0, 3), "left_knee": (90, 0, 0), "left_ankle": (48, 0, 0)}),
    "heels": _both({"left_hip": (-63, 0, 4), "left_knee": (151, 0, 0), "left_ankle": (50, 0, 0)}),
    "half_kneel_left": _HALF_KNEEL,
    "half_kneel_right": _m(_HALF_KNEEL),
    "child": {"pelvis": (72, 0, 0), "spine1": (28, 0, 0), "spine2": (14, 0, 0), "spine3": (8, 0, 0),
              **_both({"left_hip": (-122, 4, 8), "left_knee": (146, 0, 0), "left_ankle": (48, 0, 0)})},
    "all_fours": {"pelvis": (69, 0, 0), "head": (-20, 0, 0), "neck": (-10, 0, 0),
                  **_both({"left_hip": (-75, 0, 2), "left_knee": (94, 0, 0), "left_ankle": (45, 0, 0)})},
    "plank": {"pelvis": (67, 0, 0), "head": (-20, 0, 0),
              **_both({"left_hip": (2, 0, 0), "left_ankle": (-18, 0, 0), "left_foot": (-52, 0, 0)})},
    "dog": {"pelvis": (128, 0, 0), **_both({"left_hip": (-88, 0, 2), "left_ankle": (-28, 0, 0)})},
    "side_plank_left": {"pelvis": (0, 0, -66), "right_ankle": (0, 0, -12)},
    "side_plank_right": _m({"pelvis": (0, 0, -66), "right_ankle": (0, 0, -12)}),
    "crab": {"pelvis": (-70, 0, 0),
             **_both({"left_hip": (-35, 0, 4), "left_knee": (98, 0, 0), "left_ankle": (-8, 0, 0)})},
    "bridge": {"pelvis": (-112, 0, 0), "spine1": (-20, 0, 0), "spine2": (-16, 0, 0), "spine3": (-12, 0, 0),
               "head": (-35, 0, 0),
               **_both({"left_hip": (22, 0, 4), "left_knee": (95, 0, 0), "left_ankle": (-5, 0, 0)})},
    "glute_bridge": {"pelvis": (-116, 0, 0), "neck": (30, 0, 0), "head": (12, 0, 0),
                     **_both({"left_hip": (6, 0, 3), "left_knee": (100, 0, 0)})},
    "back": {"pelvis": (-90, 0, 0), **_both({"left_hip": (-2, 4, 6), "left_ankle": (25, 0, 0)})},
    "back_knees_up": {"pelvis": (-90, 0, 0),
                      **_both({"left_hip": (-52, 0, 4), "left_knee": (100, 0, 0), "left_ankle": (20, 0, 0)})},
    "back_legs_up": {"pelvis": (-90, 0, 0), **_both({"left_hip": (-90, 0, 2), "left_knee": (8, 0, 0)})},
    "front": {"pelvis": (90, 0, 0), "head": (-6, 30, 0), **_both({"left_hip": (2, 4, 6), "left_ankle": (48, 0, 0)})},
    "cobra": {"pelvis": (76, 0, 0), "spine1": (-22, 0, 0), "spine2": (-16, 0, 0), "spine3": (-14, 0, 0),
              "head": (-28, 0, 0),
              **_both({"left_hip": (12, 0, 3), "left_ankle": (48, 0, 0)})},
    "side_left": _SIDE,
    "side_right": _m(_SIDE),
    "pigeon_left": _PIGEON,
    "pigeon_right": _m(_PIGEON),
    "handstand": {"pelvis": (178, 0, 0), "neck": (-15, 0, 0), "head": (-20, 0, 0),
                  **_both({"left_hip": (0, 0, 2), "left_ankle": (35, 0, 0)})},
    "shoulder_stand": {"pelvis": (-160, 0, 0), "spine1": (14, 0, 0), "spine2": (10, 0, 0), "spine3": (15, 0, 0),
                       "neck": (30, 0, 0), "head": (38, 0, 0),
                       **_both({"left_hip": (-10, 0, 2), "left_ankle": (30, 0, 0)})},
    "tuck_jump": {"pelvis": (12, 0, 0), "spine1": (15, 0, 0),
                  **_both({"left_hip": (-100, 4, 8), "left_knee": (110, 0, 0), "left_ankle": (35, 0, 0)})},
    "star_jump": _both({"left_hip": (0, 6, 35), "left_ankle": (32, 0, 0)}),
    "leap": {"left_hip": (-72, 0, 0), "left_knee": (8, 0, 0), "left_ankle": (38, 0, 0), "right_hip": (26, 0, 0),
             "right_knee": (20, 0, 0), "right_ankle": (42, 0, 0), "pelvis": (10, 0, 0)},
}  # fmt: skip


def _quats(table: Table) -> Tensor:
    """(22, 4)."""
    k = math.pi / 180.0
    q = torch.zeros(len(BODY_JOINTS), 4)
    q[:, 0] = 1.0
    for name, (x, y, z) in table.items():
        twist, swing = (0.0, 0.0, 0.0), (x, y, z)
        if name.endswith("shoulder"):
            twist, swing = (x, 0.0, 0.0), (0.0, y, z)
        elif name.endswith("_hip"):
            twist, swing = (0.0, y, 0.0), (x, 0.0, z)
        q[INDEX[name]] = quat_multiply(rotvec_to_quat(torch.tensor(swing) * k), rotvec_to_quat(torch.tensor(twist) * k))
    return q


@functools.cache
def body_quats() -> Tensor:
    """(len(BODIES), 22, 4) with relaxed arms."""
    return torch.stack([_quats({**_RELAXED_HANDS, **t}) for t in BODIES.values()])


@functools.cache
def arm_quats() -> Tensor:
    """(2, len(ARMS), 4, 4): left and right; collar, shoulder, elbow, wrist."""
    rows: list[Tensor] = []
    for side in ("left", "right"):
        for table in ARMS.values():
            q = _quats(table if side == "left" else _m(table))
            rows.append(q[[INDEX[f"{side}_{j}"] for j in ("collar", "shoulder", "elbow", "wrist")]])
    return torch.stack(rows).unflatten(0, (2, len(ARMS)))


_ODD: Final = {
    "tree_left": 0.5, "tree_right": 0.5, "heel_back_left": 0.5, "heel_back_right": 0.5, "run_left": 0.3,
    "run_right": 0.3,
    "warrior3_left": 0.8, "warrior3_right": 0.8, "fold": 0.5, "bow": 0.3, "lean_back": 0.4, "dog": 0.6, "crab": 0.6,
    "bridge": 0.8, "glute_bridge": 0.6, "side_plank_left": 0.7, "side_plank_right": 0.7, "pigeon_left": 0.8,
    "pigeon_right": 0.8, "handstand": 0.6, "shoulder_stand": 0.8, "tuck_jump": 0.6, "star_jump": 0.5, "leap": 0.6,
    "child": 0.5, "cobra": 0.5, "back_legs_up": 0.6, "back_knees_up": 0.3, "kick_left": 0.5, "kick_right": 0.5,
    "side_lunge_left": 0.4, "side_lunge_right": 0.4, "sit_lean_forward": 0.3, "sit_leg_over_left": 0.4,
    "sit_leg_over_right": 0.4, "sit_figure_four_left": 0.4, "sit_figure_four_right": 0.4, "floor_straddle": 0.2,
}  # fmt: skip


@functools.cache
def body_plainness() -> Tensor:
    """(len(BODIES),) 0 for the plainest posture, up to 1 for one that nobody is in unless told to."""
    order = [0.0 if n == "stand" else 0.15 + 0.002 * i for i, n in enumerate(BODIES)]
    return torch.tensor([base + _ODD.get(n, 0.0) for base, n in zip(order, BODIES, strict=True)])


@functools.cache
def arm_plainness() -> Tensor:
    """(len(ARMS),) 0 for hanging arms, more for any other."""
    return torch.tensor([0.0 if n == "down" else 0.45 + 0.01 * i for i, n in enumerate(ARMS)])
