"""What joints and points of the body are called in the interface. Knows nothing of drawing."""

import re

from bpy.app.translations import pgettext_iface

SIDES = ("Left", "Right")
PAIRS = {
    "ankle": "Foot", "collar": "Collar", "ear": "Ear", "elbow": "Elbow", "eye": "Eye", "eye_smplhf": "Eye",
    "foot": "Toes", "foot_index": "Toes", "heel": "Heel", "hip": "Hip", "index": "Index Finger", "knee": "Knee",
    "middle": "Middle Finger", "pinky": "Little Finger", "ring": "Ring Finger", "shoulder": "Shoulder",
    "thumb": "Thumb", "wrist": "Hand",
}  # fmt: skip
MIDDLE = {
    "head": "Head", "jaw": "Jaw", "neck": "Neck", "nose": "Nose", "pelvis": "Pelvis", "spine": "Spine",
    "spine3": "Chest",
}  # fmt: skip
TITLES = frozenset({*MIDDLE.values(), *(f"{side} {part}" for side in SIDES for part in PAIRS.values())})
"""Every title there is; the translations have each."""


def title(name: str) -> str:
    """A joint's name in the interface's language: ``left_wrist`` is the left hand, ``left_index2`` a finger's second
    joint.
    """
    whole = MIDDLE.get(name)
    if whole is not None:
        return pgettext_iface(whole)
    part, number = re.fullmatch(r"(.*?)(\d*)", name).groups()
    side, _, part = part.partition("_")
    english = f"{side.title()} {PAIRS[part]}" if part in PAIRS else MIDDLE.get(side, name.replace("_", " ").title())
    return f"{pgettext_iface(english)} {number}".rstrip()
