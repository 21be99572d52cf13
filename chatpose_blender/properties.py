"""What a scene remembers: the prompt and how poses are put on rigs."""

import math

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty

PARTS = (
    ("ALL", "Whole Body", "Every joint that the pose speaks for"),
    ("SELECTED", "Selected Bones", "Only the bones that are selected in Pose Mode"),
    ("UPPER", "Upper Body", "Spine, head, arms and hands"),
    ("LOWER", "Lower Body", "Hips and legs"),
    ("ARMS", "Arms", "Both arms from the collar bones on, without fingers"),
    ("LEFT_ARM", "Left Arm", "The character's left arm without fingers"),
    ("RIGHT_ARM", "Right Arm", "The character's right arm without fingers"),
    ("LEGS", "Legs", "Both legs"),
    ("LEFT_LEG", "Left Leg", "The character's left leg"),
    ("RIGHT_LEG", "Right Leg", "The character's right leg"),
    ("HEAD", "Head", "Neck and head"),
    ("HANDS", "Fingers", "The fingers of both hands"),
)
FACINGS = (
    ("KEEP", "Keep", "The character goes on facing where it faces now"),
    ("MODEL", "From Answer", "The character faces where the answer has it face"),
)
HEIGHTS = (
    ("GROUND", "Ground", "The lowest point of the body is put on the ground"),
    ("KEEP", "Keep", "The pelvis stays at its height"),
)
HANDS = (
    ("KEEP", "Keep", "Fingers change only if the answer speaks of them"),
    ("RELAXED", "Relaxed", "Fingers hang half curled"),
    ("FLAT", "Flat", "Fingers are stretched out"),
)


class ApplySettings:
    """How a pose is put on a rig: the same for the scene's settings and for the operator's redo panel."""

    part: EnumProperty(name="Part", description="Which part of the body takes the pose", items=PARTS)
    strength: FloatProperty(
        name="Strength",
        description="How far the rig goes from its pose to the new one",
        default=1.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    mirror: BoolProperty(name="Mirror", description="Swap left and right")
    facing: EnumProperty(name="Facing", description="Where the character faces afterwards", items=FACINGS)
    turn: FloatProperty(
        name="Turn",
        description="Turn the character to its left by this angle",
        subtype="ANGLE",
        soft_min=-math.pi,
        soft_max=math.pi,
    )
    height: EnumProperty(name="Height", description="How high the body is placed", items=HEIGHTS)
    hands: EnumProperty(name="Hands", description="What the fingers do", items=HANDS)
    insert_key: BoolProperty(
        name="Key at Current Frame", description="Insert keyframes for the bones that the pose changes"
    )


APPLY_NAMES = ("part", "strength", "mirror", "facing", "turn", "height", "hands", "insert_key")


class ChatPoseSceneSettings(ApplySettings, bpy.types.PropertyGroup):
    """``scene.chatpose``."""

    prompt: StringProperty(name="Prompt", description="What the character should do, in your own words")


CLASSES = (ChatPoseSceneSettings,)


def attach() -> None:
    """Hangs the settings on Blender's types."""
    bpy.types.Scene.chatpose = PointerProperty(type=ChatPoseSceneSettings)


def detach() -> None:
    """Takes them off again."""
    del bpy.types.Scene.chatpose
