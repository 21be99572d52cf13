"""Where on the skin a hand, a chin or a heel is: points and capsules bound to joints of the rest body. Data only.

Coordinates are those of our own CC0 body at rest (metres, y up, facing +z, T-pose, palms down), read off its mesh
with a ruler. Another body's proportions differ by little; what is measured is always the pose on this one body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..skeleton import mirror_name

Vec = tuple[float, float, float]


@dataclass(frozen=True)
class Ball:
    """A sphere carried by ``joint``; radius 0 is a point."""

    joint: str
    centre: Vec
    radius: float = 0.0


@dataclass(frozen=True)
class Capsule:
    """A segment with a radius; its ends may be carried by different joints."""

    joint: str
    start: Vec
    end: Vec
    radius: float = 0.0
    end_joint: str = ""


def _flip(v: Vec) -> Vec:
    return (-v[0], v[1], v[2])


def _both_balls(left: Mapping[str, tuple[Ball, ...]]) -> dict[str, tuple[Ball, ...]]:
    """The given left-side and midline entries, and the right-side twins."""
    out: dict[str, tuple[Ball, ...]] = {}
    for name, balls in left.items():
        out[name] = balls
        if name.startswith("left_"):
            out[mirror_name(name)] = tuple(Ball(mirror_name(b.joint), _flip(b.centre), b.radius) for b in balls)
    return out


def _both_capsules(left: Mapping[str, Capsule]) -> dict[str, Capsule]:
    out: dict[str, Capsule] = {}
    for name, c in left.items():
        out[name] = c
        if name.startswith("left_"):
            end = mirror_name(c.end_joint) if c.end_joint else ""
            out[mirror_name(name)] = Capsule(mirror_name(c.joint), _flip(c.start), _flip(c.end), c.radius, end)
    return out


# Named points: what positions, heights and looks are measured from.
POINTS: Final[Mapping[str, tuple[Ball, ...]]] = _both_balls({
    "left_hand": (Ball("left_wrist", (0.725, 0.020, 0.0)),),
    "left_knuckle": (Ball("left_wrist", (0.749, 0.023, 0.0)),),
    "left_mid_foot": (Ball("left_ankle", (0.130, -1.262, 0.050)),),
    "crown": (Ball("head", (0.0, 0.367, 0.060)),),
    "eyes": (Ball("head", (0.0, 0.261, 0.126)),),
    "chest_front": (Ball("spine3", (0.0, 0.000, 0.120)),),
    "waist": (Ball("spine1", (0.0, -0.215, 0.050)),),
    "belly": (Ball("pelvis", (0.0, -0.260, 0.143)),),
})  # fmt: skip

# What touches. The nearest of the balls counts.
TOUCHERS: Final[Mapping[str, tuple[Ball, ...]]] = _both_balls({
    "left_hand": (Ball("left_wrist", (0.712, -0.004, -0.002)), Ball("left_wrist", (0.785, 0.003, 0.003))),
    "left_hand_any": (Ball("left_wrist", (0.712, -0.004, -0.002)), Ball("left_wrist", (0.785, 0.003, 0.003)),
                      Ball("left_wrist", (0.712, 0.046, -0.002))),
    "left_elbow": (Ball("left_elbow", (0.411, 0.022, 0.006), 0.036),),
    "left_knee": (Ball("left_knee", (0.120, -0.812, 0.020), 0.055),),
    "left_foot": (Ball("left_ankle", (0.114, -1.245, -0.010), 0.042), Ball("left_ankle", (0.130, -1.265, 0.060), 0.030),
                  Ball("left_foot", (0.144, -1.275, 0.120), 0.020)),
    "left_ankle": (Ball("left_ankle", (0.111, -1.205, -0.014), 0.045),
                   Ball("left_knee", (0.112, -1.150, -0.016), 0.044)),
    "left_thigh": tuple(Ball("left_hip", (0.106 + 0.014 * t, -0.47 - 0.33 * t, 0.022), 0.085 - 0.022 * t)
                        for t in (0.35, 0.6, 0.85)),
    "left_sole": (Ball("left_ankle", (0.130, -1.290, 0.020)), Ball("left_ankle", (0.135, -1.292, 0.090))),
})  # fmt: skip
DORSAL_TARGETS: Final = frozenset(
    {"lower_back", "upper_back", "left_hip", "right_hip", "left_buttock", "right_buttock"}
)
"""Targets on which the back of the hand counts as well as the palm."""

# What is touched.
TARGETS: Final[Mapping[str, Capsule]] = _both_capsules({
    "left_hip": Capsule("pelvis", (0.128, -0.325, 0.045), (0.128, -0.355, 0.010), 0.020),
    "left_waist": Capsule("spine1", (0.108, -0.205, 0.060), (0.108, -0.235, 0.040), 0.020),
    "left_shoulder": Capsule("left_collar", (0.135, 0.075, 0.025), (0.185, 0.068, 0.025), 0.035),
    "left_upper_arm": Capsule("left_shoulder", (0.230, 0.052, 0.020), (0.370, 0.030, 0.010), 0.045),
    "left_elbow": Capsule("left_elbow", (0.400, 0.022, 0.006), (0.425, 0.022, 0.006), 0.038),
    "left_forearm": Capsule("left_elbow", (0.450, 0.024, 0.004), (0.590, 0.027, 0.0), 0.034),
    "left_wrist": Capsule("left_elbow", (0.610, 0.028, -0.001), (0.650, 0.028, -0.001), 0.027),
    "left_armpit": Capsule("spine3", (0.150, 0.010, 0.030), (0.160, -0.010, 0.030), 0.010),
    "left_thigh": Capsule("left_hip", (0.112, -0.560, 0.040), (0.118, -0.720, 0.030), 0.078),
    "left_outer_thigh": Capsule("left_hip", (0.165, -0.560, 0.025), (0.162, -0.720, 0.020), 0.020),
    "left_inner_thigh": Capsule("left_hip", (0.045, -0.580, 0.030), (0.070, -0.720, 0.025), 0.020),
    "left_knee": Capsule("left_knee", (0.120, -0.800, 0.030), (0.120, -0.830, 0.030), 0.045),
    "left_shin": Capsule("left_knee", (0.118, -0.900, 0.000), (0.113, -1.120, -0.012), 0.045),
    "left_calf": Capsule("left_knee", (0.120, -0.920, -0.035), (0.115, -1.060, -0.030), 0.040),
    "left_ankle": Capsule("left_ankle", (0.111, -1.180, -0.014), (0.111, -1.230, -0.014), 0.042),
    "left_foot": Capsule("left_ankle", (0.118, -1.250, 0.020), (0.144, -1.270, 0.110), 0.030),
    "left_sole": Capsule("left_ankle", (0.130, -1.290, 0.020), (0.135, -1.292, 0.090), 0.0),
    "left_heel": Capsule("left_ankle", (0.114, -1.250, -0.035), (0.114, -1.265, -0.030), 0.028),
    "left_cheek": Capsule("head", (0.055, 0.225, 0.115), (0.055, 0.235, 0.105), 0.012),
    "left_ear": Capsule("head", (0.074, 0.255, 0.050), (0.074, 0.240, 0.045), 0.010),
    "left_eye": Capsule("head", (0.030, 0.265, 0.135), (0.034, 0.265, 0.133), 0.008),
    "left_temple": Capsule("head", (0.068, 0.285, 0.090), (0.066, 0.285, 0.105), 0.008),
    "left_buttock": Capsule("pelvis", (0.080, -0.430, -0.060), (0.080, -0.460, -0.055), 0.025),
    "belly": Capsule("spine1", (-0.030, -0.220, 0.130), (0.030, -0.220, 0.130), 0.016),
    "chest": Capsule("spine3", (-0.050, 0.010, 0.112), (0.050, 0.010, 0.112), 0.014),
    "chin": Capsule("head", (-0.010, 0.165, 0.135), (0.010, 0.165, 0.135), 0.016),
    "mouth": Capsule("head", (-0.010, 0.200, 0.150), (0.010, 0.200, 0.150), 0.012),
    "nose": Capsule("head", (0.0, 0.230, 0.160), (0.0, 0.235, 0.160), 0.008),
    "forehead": Capsule("head", (-0.030, 0.305, 0.135), (0.030, 0.305, 0.135), 0.012),
    "top_of_head": Capsule("head", (0.0, 0.350, 0.040), (0.0, 0.350, 0.080), 0.015),
    "back_of_head": Capsule("head", (-0.030, 0.275, -0.030), (0.030, 0.275, -0.030), 0.012),
    "neck": Capsule("neck", (-0.025, 0.150, -0.005), (0.025, 0.150, -0.005), 0.014),
    "throat": Capsule("neck", (-0.010, 0.130, 0.075), (0.010, 0.130, 0.075), 0.014),
    "lower_back": Capsule("spine1", (-0.070, -0.240, -0.020), (0.070, -0.240, -0.020), 0.016),
    "upper_back": Capsule("spine3", (-0.060, 0.020, -0.050), (0.060, 0.020, -0.050), 0.014),
    "groin": Capsule("pelvis", (-0.020, -0.450, 0.110), (0.020, -0.450, 0.110), 0.015),
})  # fmt: skip

# What can stand on the ground. The lowest point of all of these is the ground.
GROUND_BALLS: Final[Mapping[str, tuple[Ball, ...]]] = _both_balls({
    "left_hand": (Ball("left_wrist", (0.690, 0.020, 0.0), 0.022), Ball("left_wrist", (0.748, 0.018, 0.022), 0.017),
                  Ball("left_wrist", (0.740, 0.018, -0.030), 0.017), Ball("left_wrist", (0.818, 0.012, 0.0), 0.012)),
    "left_forearm": (Ball("left_elbow", (0.480, 0.024, 0.004), 0.034), Ball("left_elbow", (0.600, 0.027, 0.0), 0.028)),
    "left_elbow": (Ball("left_elbow", (0.411, 0.022, 0.006), 0.036),),
    "left_heel": (Ball("left_ankle", (0.114, -1.262, -0.030), 0.032),),
    "left_toes": (Ball("left_foot", (0.118, -1.274, 0.105), 0.020), Ball("left_foot", (0.160, -1.276, 0.105), 0.018),
                  Ball("left_foot", (0.140, -1.279, 0.152), 0.015)),
    "left_knee": (Ball("left_knee", (0.120, -0.815, 0.012), 0.062),),
    "left_shin": (Ball("left_knee", (0.118, -0.950, -0.018), 0.055), Ball("left_knee", (0.114, -1.090, -0.020), 0.042)),
    "left_thigh": (Ball("left_hip", (0.110, -0.560, 0.035), 0.082), Ball("left_hip", (0.116, -0.700, 0.025), 0.070)),
    "left_hip": (Ball("pelvis", (0.085, -0.400, 0.015), 0.082),),
    "left_shoulder": (Ball("left_shoulder", (0.170, 0.060, 0.028), 0.050),),
    "seat": (Ball("pelvis", (0.080, -0.430, 0.0), 0.085), Ball("pelvis", (-0.080, -0.430, 0.0), 0.085)),
    "lower_back": (Ball("spine1", (0.060, -0.230, 0.015), 0.050), Ball("spine1", (-0.060, -0.230, 0.015), 0.050)),
    "upper_back": (Ball("spine3", (0.075, 0.030, 0.0), 0.060), Ball("spine3", (-0.075, 0.030, 0.0), 0.060)),
    "belly": (Ball("spine1", (0.0, -0.200, 0.090), 0.055), Ball("pelvis", (0.0, -0.330, 0.090), 0.053)),
    "chest": (Ball("spine3", (0.065, -0.030, 0.100), 0.050), Ball("spine3", (-0.065, -0.030, 0.100), 0.050)),
    "back_of_head": (Ball("head", (0.0, 0.265, 0.030), 0.070),),
    "forehead": (Ball("head", (0.0, 0.300, 0.100), 0.052),),
    "top_of_head": (Ball("head", (0.0, 0.315, 0.060), 0.052),),
    "chin": (Ball("head", (0.0, 0.185, 0.125), 0.030),),
})  # fmt: skip
GROUND_UNIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "left_foot": ("left_heel", "left_toes"), "right_foot": ("right_heel", "right_toes"),
    "head": ("back_of_head", "forehead", "top_of_head", "chin"),
    "left_leg": ("left_thigh", "left_knee", "left_shin", "left_heel", "left_toes"),
    "right_leg": ("right_thigh", "right_knee", "right_shin", "right_heel", "right_toes"),
    "feet": ("left_heel", "left_toes", "right_heel", "right_toes"),
    "lowest_hand": ("left_hand", "right_hand"),
}  # fmt: skip

# What must not go through each other. The trunk is wide: several capsules side by side.
BODY_CAPSULES: Final[Mapping[str, Capsule]] = _both_capsules({
    "left_upper_arm": Capsule("left_shoulder", (0.230, 0.052, 0.020), (0.400, 0.024, 0.008), 0.040),
    "left_forearm": Capsule("left_elbow", (0.430, 0.022, 0.004), (0.640, 0.028, 0.0), 0.030),
    "left_hand": Capsule("left_wrist", (0.670, 0.022, 0.0), (0.790, 0.014, 0.0), 0.022),
    "left_thigh": Capsule("left_hip", (0.108, -0.520, 0.030), (0.120, -0.790, 0.018), 0.070),
    "left_shin": Capsule("left_knee", (0.120, -0.850, 0.0), (0.112, -1.190, -0.018), 0.045),
    "left_foot": Capsule("left_ankle", (0.116, -1.255, -0.015), (0.142, -1.272, 0.120), 0.026),
    "left_flank": Capsule("spine1", (0.075, -0.200, 0.050), (0.085, -0.330, 0.045), 0.060),
    "left_ribs": Capsule("spine3", (0.085, 0.020, 0.035), (0.080, -0.090, 0.050), 0.070),
    "pelvis": Capsule("pelvis", (-0.070, -0.390, 0.030), (0.070, -0.390, 0.030), 0.085),
    "middle": Capsule("spine1", (0.0, -0.130, 0.050), (0.0, -0.280, 0.055), 0.080),
    "thorax": Capsule("spine3", (0.0, 0.040, 0.035), (0.0, -0.080, 0.045), 0.082),
    "neck": Capsule("neck", (0.0, 0.120, 0.025), (0.0, 0.180, 0.040), 0.050),
    "head": Capsule("head", (0.0, 0.215, 0.075), (0.0, 0.295, 0.060), 0.072),
})  # fmt: skip
_TRUNK: Final = ("left_flank", "right_flank", "left_ribs", "right_ribs", "pelvis", "middle", "thorax")


def _collisions() -> tuple[tuple[str, str], ...]:
    """Pairs of capsules that are no neighbours on the body."""
    pairs: list[tuple[str, str]] = []
    for s, o in (("left", "right"), ("right", "left")):
        arm = (f"{s}_upper_arm", f"{s}_forearm", f"{s}_hand")
        pairs += [(a, t) for a in arm[1:] for t in (*_TRUNK, "neck", "head")]
        pairs += [(arm[0], t) for t in ("pelvis", "middle", f"{s}_flank", f"{o}_ribs", f"{o}_flank", "head")]
        pairs += [(a, f"{x}_{leg}") for a in arm for x in (s, o) for leg in ("thigh", "shin", "foot")]
        pairs += [(f"{s}_shin", t) for t in _TRUNK] + [(f"{s}_foot", t) for t in (*_TRUNK, "head")]
        pairs += [(f"{s}_thigh", t) for t in ("thorax", f"{s}_ribs", f"{o}_ribs", f"{o}_flank", "head")]
        pairs += [(f"{s}_shin", "head"), (f"{s}_thigh", f"{o}_shin"), (f"{s}_thigh", f"{o}_foot")]
        pairs += [(f"{s}_thigh", f"{s}_foot"), (f"{s}_shin", f"{o}_foot"), (f"{s}_hand", f"{s}_upper_arm")]
        pairs += [(f"{s}_hand", f"{o}_upper_arm"), (f"{s}_hand", f"{o}_forearm"), (f"{s}_forearm", f"{o}_upper_arm")]
    pairs += [(f"left_{p}", f"right_{p}") for p in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")]
    return tuple(dict.fromkeys(pairs))


COLLISIONS: Final[tuple[tuple[str, str], ...]] = _collisions()

# Share of the body's mass and the joints or points between whose ends it hangs, and where along them (de Leva 1996).
MASSES: Final[tuple[tuple[str, str, float, float], ...]] = (
    ("head", "crown", 0.069, 0.35), ("spine3", "neck", 0.160, 0.35), ("spine1", "spine3", 0.163, 0.45),
    ("pelvis", "spine1", 0.112, 0.20),
    *((f"{s}_{a}", f"{s}_{b}", m, t) for s in ("left", "right") for a, b, m, t in (
        ("shoulder", "elbow", 0.027, 0.55), ("elbow", "wrist", 0.016, 0.45), ("wrist", "knuckle", 0.006, 0.7),
        ("hip", "knee", 0.142, 0.41), ("knee", "ankle", 0.043, 0.44), ("ankle", "foot", 0.014, 0.4))),
)  # fmt: skip
