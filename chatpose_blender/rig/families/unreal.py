"""Unreal Engine's mannequins (UE4's and UE5's Manny and Quinn, MetaHuman bodies) and MPFB's game-engine rig, which uses the same names."""

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
    twists={
        "shoulder": ("upperarm_twist_01_{s}", "upperarm_twist_02_{s}"),
        "elbow": ("lowerarm_twist_01_{s}", "lowerarm_twist_02_{s}"),
        "hip": ("thigh_twist_01_{s}", "thigh_twist_02_{s}"),
        "knee": ("calf_twist_01_{s}", "calf_twist_02_{s}"),
    },
    marks=("calf_l", "lowerarm_l"),
)
