"""SMPL-X, SMPL-H and SMPL armatures: ours, the SMPL-X Blender add-on's (with a ``root`` bone), and the older FBX files.

The FBX files' prefixes (``m_avg_L_Hip``) are cut off by the recognition.
"""

from .base import PLAIN_FINGERS, Family, fingers

SMPLX = Family(
    key="smplx",
    title="SMPL-X, SMPL-H or SMPL",
    middle={"pelvis": ("pelvis",), "head": ("head",), "jaw": ("jaw",)},
    sided={
        "hip": ("{side}_hip",),
        "knee": ("{side}_knee",),
        "ankle": ("{side}_ankle",),
        "foot": ("{side}_foot", "{side}_toe"),
        "collar": ("{side}_collar", "{side}_thorax"),
        "shoulder": ("{side}_shoulder",),
        "elbow": ("{side}_elbow",),
        "wrist": ("{side}_wrist",),
        "eye_smplhf": ("{side}_eye_smplhf", "{side}_eye"),
        **fingers("{side}_{finger}{n}", PLAIN_FINGERS),
    },
    spine=("spine1", "spine2", "spine3"),
    neck=("neck",),
    marks=("left_hip", "left_knee", "left_shoulder"),
    same_rest=True,
)
