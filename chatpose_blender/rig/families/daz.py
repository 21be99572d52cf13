"""Daz Studio figures: Genesis 3, 8 and 8.1 (limbs split in line into Bend and Twist) and Genesis 9 (twist bones beside
the limb).

The pelvis joint is ``hip``, which carries both the legs and the abdomen; Daz's own ``pelvis`` carries the legs only
and stays at rest.
"""

from .base import Family, fingers

_FINGERS = {"index": "Index", "middle": "Mid", "pinky": "Pinky", "ring": "Ring", "thumb": "Thumb"}

DAZ_GENESIS_3_8 = Family(
    key="daz_genesis_3_8",
    title="Daz Genesis 3 or 8",
    middle={"pelvis": ("hip",), "head": ("head",)},
    sided={
        "hip": ("{s}ThighBend",),
        "knee": ("{s}Shin",),
        "ankle": ("{s}Foot",),
        "foot": ("{s}Toe",),
        "collar": ("{s}Collar",),
        "shoulder": ("{s}ShldrBend",),
        "elbow": ("{s}ForearmBend",),
        "wrist": ("{s}Hand",),
        **fingers("{s}{finger}{n}", _FINGERS),
    },
    spine=("abdomenLower", "abdomenUpper", "chestLower", "chestUpper"),
    neck=("neckLower", "neckUpper"),
    marks=("lShldrBend", "lThighBend"),
)

DAZ_GENESIS_9 = Family(
    key="daz_genesis_9",
    title="Daz Genesis 9",
    middle={"pelvis": ("hip",), "head": ("head",)},
    sided={
        "hip": ("{s}_thigh",),
        "knee": ("{s}_shin",),
        "ankle": ("{s}_foot",),
        "foot": ("{s}_toes", "{s}_metatarsal"),
        "collar": ("{s}_shoulder",),
        "shoulder": ("{s}_upperarm",),
        "elbow": ("{s}_forearm",),
        "wrist": ("{s}_hand",),
        **fingers("{s}_{finger}{n}", {finger: word.lower() for finger, word in _FINGERS.items()}),
    },
    spine=("spine1", "spine2", "spine3", "spine4"),
    neck=("neck1", "neck2"),
    marks=("l_shin", "l_upperarm", "l_forearm"),
)
