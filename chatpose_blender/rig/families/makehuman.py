"""MakeHuman's and MPFB's default rig: five spine bones counted from the top, limbs split in line, fingers by number.

MPFB's game-engine rig has Unreal's names and its Mixamo rig has Mixamo's: see there.
"""

from .base import Family

_NUMBERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}

MAKEHUMAN = Family(
    key="makehuman",
    title="MakeHuman or MPFB",
    middle={"pelvis": ("root",), "head": ("head",)},
    sided={
        "hip": ("upperleg01.{S}",),
        "knee": ("lowerleg01.{S}",),
        "ankle": ("foot.{S}",),
        "foot": ("toe2-1.{S}", "toe1-1.{S}"),
        "collar": ("clavicle.{S}",),
        "shoulder": ("upperarm01.{S}",),
        "elbow": ("lowerarm01.{S}",),
        "wrist": ("wrist.{S}",),
        **{f"{finger}{i}": (f"finger{n}-{i}.{{S}}",) for finger, n in _NUMBERS.items() for i in (1, 2, 3)},
    },
    spine=("spine05", "spine04", "spine03", "spine02", "spine01"),
    neck=("neck01", "neck02", "neck03"),
    marks=("upperleg01.L",),
)
