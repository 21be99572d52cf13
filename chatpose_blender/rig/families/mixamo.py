"""Adobe Mixamo characters, whatever the namespace (``mixamorig:``, ``mixamorig7:``, none), and Adobe's Mixamo control
rig.

Many other tools took over these names (HumanIK): Rokoko, Ready Player Me, Xsens exports.
"""

from .base import CAPITAL_FINGERS, Family, Switch, fingers

MIXAMO = Family(
    key="mixamo",
    title="Mixamo",
    middle={"pelvis": ("Hips",), "head": ("Head",)},
    sided={
        "hip": ("{Side}UpLeg",),
        "knee": ("{Side}Leg",),
        "ankle": ("{Side}Foot",),
        "foot": ("{Side}ToeBase",),
        "collar": ("{Side}Shoulder",),
        "shoulder": ("{Side}Arm",),
        "elbow": ("{Side}ForeArm",),
        "wrist": ("{Side}Hand",),
        **fingers("{Side}Hand{finger}{n}", CAPITAL_FINGERS),
    },
    spine=("LowerBack", "Spine", "Spine1", "Spine2", "Spine3", "Spine4"),
    neck=("Neck", "Neck1", "Neck2"),
    marks=("LeftUpLeg",),
)

# Adobe's "Mixamo Control Rig" add-on: controllers beside the mixamorig bones, which follow them by constraints
MIXAMO_CONTROL_RIG = Family(
    key="mixamo_control_rig",
    title="Mixamo control rig",
    middle={"pelvis": ("Ctrl_Hips",), "head": ("Ctrl_Head",)},
    sided={
        "hip": ("Ctrl_UpLeg_FK_{Side}",),
        "knee": ("Ctrl_Leg_FK_{Side}",),
        "ankle": ("Ctrl_Foot_FK_{Side}",),
        "foot": ("Ctrl_Toe_FK_{Side}",),
        "collar": ("Ctrl_Shoulder_{Side}",),
        "shoulder": ("Ctrl_Arm_FK_{Side}",),
        "elbow": ("Ctrl_ForeArm_FK_{Side}",),
        "wrist": ("Ctrl_Hand_FK_{Side}",),
        **fingers("Ctrl_{finger}{n}_{Side}", CAPITAL_FINGERS),
    },
    spine=("Ctrl_Spine", "Ctrl_Spine1", "Ctrl_Spine2"),
    neck=("Ctrl_Neck",),
    switches=(
        Switch("shoulder", "Ctrl_Hand_IK_{Side}", "ik_fk_switch", 1.0),
        Switch("hip", "Ctrl_Foot_IK_{Side}", "ik_fk_switch", 1.0),
    ),
    marks=("Ctrl_Hips",),
)
