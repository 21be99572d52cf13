"""Reallusion's Character Creator 3 and 4, iClone and AccuRig: ``CC_Base_`` bones.

``CC_Base_Hip`` carries both ``CC_Base_Pelvis`` (the legs) and ``CC_Base_Waist`` (the trunk); the neck's bones are
*called* twists.
"""

from .base import Family, fingers

_FINGERS = {"index": "Index", "middle": "Mid", "pinky": "Pinky", "ring": "Ring", "thumb": "Thumb"}

CHARACTER_CREATOR = Family(
    key="character_creator",
    title="Character Creator or AccuRig",
    middle={"pelvis": ("CC_Base_Hip",), "head": ("CC_Base_Head",)},
    sided={
        "hip": ("CC_Base_{S}_Thigh",),
        "knee": ("CC_Base_{S}_Calf",),
        "ankle": ("CC_Base_{S}_Foot",),
        "foot": ("CC_Base_{S}_ToeBase",),
        "collar": ("CC_Base_{S}_Clavicle",),
        "shoulder": ("CC_Base_{S}_Upperarm",),
        "elbow": ("CC_Base_{S}_Forearm",),
        "wrist": ("CC_Base_{S}_Hand",),
        **fingers("CC_Base_{S}_{finger}{n}", _FINGERS),
    },
    spine=("CC_Base_Waist", "CC_Base_Spine01", "CC_Base_Spine02"),
    neck=("CC_Base_NeckTwist01", "CC_Base_NeckTwist02"),
    marks=("CC_Base_Hip",),
)
