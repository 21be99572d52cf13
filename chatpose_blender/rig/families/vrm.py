"""VRM avatars: the names of the VRM humanoid specification, and VRoid Studio's ``J_Bip_`` bones."""

from .base import Family, fingers

_FINGERS = {"index": "Index", "middle": "Middle", "pinky": "Little", "ring": "Ring"}

VRM = Family(
    key="vrm",
    title="VRM",
    middle={"pelvis": ("hips",), "head": ("head",)},
    sided={
        "hip": ("{side}UpperLeg",),
        "knee": ("{side}LowerLeg",),
        "ankle": ("{side}Foot",),
        "foot": ("{side}Toes", "{side}ToeBase"),
        "collar": ("{side}Shoulder",),
        "shoulder": ("{side}UpperArm",),
        "elbow": ("{side}LowerArm",),
        "wrist": ("{side}Hand",),
        **fingers("{side}{finger}{n}", _FINGERS, ("Proximal", "Intermediate", "Distal")),
        "thumb1": ("{side}ThumbMetacarpal",),  # VRM 1.0; in 0.x the three are Proximal, Intermediate, Distal
        "thumb2": ("{side}ThumbProximal",),
        "thumb3": ("{side}ThumbDistal",),
    },
    spine=("spine", "chest", "upperChest"),
    neck=("neck",),
    marks=("leftUpperLeg", "leftLowerArm"),
)

VROID = Family(
    key="vroid",
    title="VRoid",
    middle={"pelvis": ("J_Bip_C_Hips",), "head": ("J_Bip_C_Head",)},
    sided={
        "hip": ("J_Bip_{S}_UpperLeg",),
        "knee": ("J_Bip_{S}_LowerLeg",),
        "ankle": ("J_Bip_{S}_Foot",),
        "foot": ("J_Bip_{S}_ToeBase",),
        "collar": ("J_Bip_{S}_Shoulder",),
        "shoulder": ("J_Bip_{S}_UpperArm",),
        "elbow": ("J_Bip_{S}_LowerArm",),
        "wrist": ("J_Bip_{S}_Hand",),
        **fingers("J_Bip_{S}_{finger}{n}", {**_FINGERS, "thumb": "Thumb"}),
    },
    spine=("J_Bip_C_Spine", "J_Bip_C_Chest", "J_Bip_C_UpperChest"),
    neck=("J_Bip_C_Neck",),
    marks=("J_Bip_C_Hips",),
)
