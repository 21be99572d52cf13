"""Blender's Rigify: the generated rig (its forward-kinematics controls) and the metarigs it is generated from.

In a generated rig the torso control carries everything and turns about the middle of the back; from there
``spine_fk.001`` and ``spine_fk`` run DOWN to the hips, ``spine_fk.002`` on run up. The generated rig's deform,
mechanism and original bones (DEF-, MCH-, ORG-) follow the controls by constraints and are left alone.
"""

from .base import Family, Switch, fingers

_FINGERS = {"index": "f_index", "middle": "f_middle", "pinky": "f_pinky", "ring": "f_ring", "thumb": "thumb"}
_HAND = fingers("{finger}.{n}.{S}", _FINGERS, ("01", "02", "03"))

RIGIFY = Family(
    key="rigify",
    title="Rigify",
    middle={"pelvis": ("spine_fk",), "head": ("head",)},
    sided={
        "hip": ("thigh_fk.{S}",),
        "knee": ("shin_fk.{S}",),
        "ankle": ("foot_fk.{S}",),
        "foot": ("toe_fk.{S}", "toe.{S}"),
        "collar": ("shoulder.{S}",),
        "shoulder": ("upper_arm_fk.{S}",),
        "elbow": ("forearm_fk.{S}",),
        "wrist": ("hand_fk.{S}",),
        **_HAND,
    },
    spine=("spine_fk.001", "spine_fk.002", "spine_fk.003", "spine_fk.004"),
    neck=("neck",),
    mover=("torso",),
    switches=(
        Switch("shoulder", "upper_arm_parent.{S}", "IK_FK", 1.0),
        Switch("hip", "thigh_parent.{S}", "IK_FK", 1.0),
    ),
    marks=("torso", "spine_fk", "upper_arm_fk.L"),
)

RIGIFY_METARIG = Family(
    key="rigify_metarig",
    title="Rigify metarig",
    middle={"pelvis": ("spine",), "head": ("spine.006",)},
    sided={
        "hip": ("thigh.{S}",),
        "knee": ("shin.{S}",),
        "ankle": ("foot.{S}",),
        "foot": ("toe.{S}",),
        "collar": ("shoulder.{S}",),
        "shoulder": ("upper_arm.{S}",),
        "elbow": ("forearm.{S}",),
        "wrist": ("hand.{S}",),
        **_HAND,
    },
    spine=("spine.001", "spine.002", "spine.003"),
    neck=("spine.004", "spine.005"),
    marks=("spine.003", "upper_arm.L", "shin.L"),
)
