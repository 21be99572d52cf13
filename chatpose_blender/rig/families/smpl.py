"""SMPL-X, SMPL-H and SMPL armatures: ours, the SMPL-X Blender add-on's (with a ``root`` bone), and the older FBX files."""

from .base import Family, fingers, PLAIN_FINGERS

SMPLX = Family(
    key="smplx",
    title="SMPL-X",
    middle={"pelvis": ("pelvis",), "head": ("head",), "jaw": ("jaw",)},
    sided={
        "hip": ("{side}_hip",),
        "knee": ("{side}_knee",),
        "ankle": ("{side}_ankle",),
        "foot": ("{side}_foot",),
        "collar": ("{side}_collar",),
        "shoulder": ("{side}_shoulder",),
        "elbow": ("{side}_elbow",),
        "wrist": ("{side}_wrist",),
        "eye_smplhf": ("{side}_eye_smplhf", "{side}_eye"),
        **fingers("{side}_{finger}{n}", PLAIN_FINGERS),
    },
    spine=("spine1", "spine2", "spine3"),
    neck=("neck",),
    marks=("left_hip",),
    same_rest=True,
)

# m_avg_L_Hip, f_avg_Pelvis: the prefix is cut off by the recognition
SMPL = Family(
    key="smpl",
    title="SMPL or SMPL-H",
    middle={"pelvis": ("Pelvis",), "head": ("Head",)},
    sided={
        "hip": ("{S}_Hip",),
        "knee": ("{S}_Knee",),
        "ankle": ("{S}_Ankle",),
        "foot": ("{S}_Foot", "{S}_Toe"),
        "collar": ("{S}_Collar", "{S}_Thorax"),
        "shoulder": ("{S}_Shoulder",),
        "elbow": ("{S}_Elbow",),
        "wrist": ("{S}_Wrist",),
        **fingers("{side}_{finger}{n}", PLAIN_FINGERS),
    },
    spine=("Spine1", "Spine2", "Spine3"),
    neck=("Neck",),
    marks=("L_Hip",),
    same_rest=True,
)
