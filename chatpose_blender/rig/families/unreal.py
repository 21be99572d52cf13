"""Unreal Engine's mannequins (UE4's and UE5's Manny and Quinn, MetaHuman bodies) and MPFB's game-engine rig, which
uses the same names.
"""

from .base import PLAIN_FINGERS, Family, fingers

UNREAL = Family(
    key="unreal",
    title="Unreal Engine",
    middle={"pelvis": ("pelvis",), "head": ("head",)},
    sided={
        "hip": ("thigh_{s}",),
        "knee": ("calf_{s}",),
        "ankle": ("foot_{s}",),
        "foot": ("ball_{s}",),
        "collar": ("clavicle_{s}",),
        "shoulder": ("upperarm_{s}",),
        "elbow": ("lowerarm_{s}",),
        "wrist": ("hand_{s}",),
        **fingers("{finger}_{n}_{s}", PLAIN_FINGERS, ("01", "02", "03")),
    },
    spine=("spine_01", "spine_02", "spine_03", "spine_04", "spine_05"),
    neck=("neck_01", "neck_02"),
    marks=("calf_l", "upperarm_l", "lowerarm_l"),
)
