"""What a scene remembers (prompt, how poses are put on rigs, storyboard) and what a character does (conversation)."""

import math

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .client.contract import MAX_CANDIDATES
from .picture_properties import ChatPosePicture
from .rig.body import MAX_SHAPES

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
PRIORS = (
    ("BEST", "Best", "The one that measures best at the task"),
    ("VPOSER", "VPoser", "A code of natural poses: bold, rounds a pose off"),
    ("POSENDF", "Pose-NDF", "A distance from natural poses: careful, leaves natural poses alone"),
    ("BOTH", "Both", "Both together"),
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
    to_forward: BoolProperty(
        name="Switch to FK",
        description="Where IK moves an arm or a leg of the rig, switch it to FK, so that the pose shows there",
    )
    insert_key: BoolProperty(name="Key on Apply", description="Insert keyframes for the bones that the pose changes")


APPLY_NAMES = ("part", "strength", "mirror", "facing", "turn", "height", "hands", "to_forward", "insert_key")


class ChatPoseMessage(bpy.types.PropertyGroup):
    """One message of a conversation. ``pose`` is the wire's JSON, empty for words alone."""

    role: EnumProperty(
        name="Role",
        description="Who said it",
        items=(("user", "You", "What you wrote"), ("assistant", "Model", "What the model answered")),
    )
    text: StringProperty(name="Text", description="What was said")
    pose: StringProperty(name="Pose", description="The pose that came with the answer, as JSON")
    prompt: StringProperty(name="Prompt", description="What the answer is an answer to")
    seed: IntProperty(name="Seed", description="The number that makes this answer come out the same again")
    model: StringProperty(name="Model", description="Which model answered")
    before: StringProperty(name="Pose Before", description="The pose that the words changed, as JSON")
    starred: BoolProperty(name="Star", description="Mark this pose as a good one")


def _bone_names(self: bpy.types.PropertyGroup, context: bpy.types.Context, text: str) -> list[str]:
    """Suggestions for a bone's name; a chain's last name is the one that is being typed."""
    written, _, typed = text.rpartition(",")
    start = f"{written}, " if written else ""
    return [start + bone.name for bone in self.id_data.data.bones if typed.strip().lower() in bone.name.lower()]


class ChatPoseJointBones(bpy.types.PropertyGroup):
    """One line of the bone mapping: ``name`` is the SMPL-X joint, or ``spine`` or ``neck`` for their chains."""

    bones: StringProperty(
        name="Bone",
        description="Bone that plays this part. Several, from root to tip, with commas between",
        search=_bone_names,
        search_options={"SUGGESTION"},
    )


class ChatPoseCharacter(bpy.types.PropertyGroup):
    """``armature.chatpose``: what a character remembers, kept in the .blend file."""

    messages: CollectionProperty(
        type=ChatPoseMessage, name="Conversation", description="What was said about this character"
    )
    active_message: IntProperty(name="Active Message", description="The message that is shown", min=0)
    betas: FloatVectorProperty(
        name="Body Shape", description="The body's shape, in the body file's own numbers", size=MAX_SHAPES
    )
    mapping: CollectionProperty(
        type=ChatPoseJointBones, name="Bone Mapping", description="Which bone plays which part, while it is edited"
    )
    active_joint: IntProperty(name="Active Joint", description="The mapping's selected line", min=0)
    rigmap: StringProperty(
        name="Bone Mapping", description="Which bone plays which joint, as JSON. Empty means: recognise the rig"
    )


class ChatPoseBeat(bpy.types.PropertyGroup):
    """One line of the storyboard."""

    frame: IntProperty(name="Frame", description="When the character does it", default=1, min=0)
    text: StringProperty(name="Action", description="What the character does at this frame")


class ChatPoseSceneSettings(ApplySettings, bpy.types.PropertyGroup):
    """``scene.chatpose``."""

    prompt: StringProperty(name="Prompt", description="What the character should do, in your own words")
    candidates: IntProperty(
        name="Candidates",
        description="How many poses to ask for. With more than one you step through them in the viewport",
        default=1,
        min=1,
        max=MAX_CANDIDATES,
    )
    beats: CollectionProperty(
        type=ChatPoseBeat, name="Storyboard", description="What the character does, and at which frame"
    )
    active_beat: IntProperty(name="Active Line", description="The storyboard's selected line", min=0)
    fill_between: BoolProperty(
        name="Natural In-Betweens",
        description="Also key what a body naturally does between the storyboard's frames",
    )
    prior: EnumProperty(name="Prior", description="Whose idea of a natural pose counts", items=PRIORS)
    picture: PointerProperty(
        type=ChatPosePicture, name="Picture", description="The reference picture that poses are taken from"
    )


def _first_page(self: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    self.page = 0


class ChatPoseLibraryView(bpy.types.PropertyGroup):
    """``window_manager.chatpose``: what the library's panel shows; no part of any file or undo step."""

    search: StringProperty(
        name="Search",
        description="Words that the poses' prompts, answers or models have",
        options={"TEXTEDIT_UPDATE"},
        update=_first_page,
    )
    only_starred: BoolProperty(name="Only Starred", description="Show only poses with a star", update=_first_page)
    page: IntProperty(name="Page", description="Which page is shown", min=0)
    entry: StringProperty(name="Pose", description="Which remembered pose was used last")


CLASSES = (
    ChatPoseMessage,
    ChatPoseJointBones,
    ChatPoseCharacter,
    ChatPoseBeat,
    ChatPosePicture,
    ChatPoseSceneSettings,
    ChatPoseLibraryView,
)


def attach() -> None:
    """Hangs the settings on Blender's types."""
    bpy.types.Scene.chatpose = PointerProperty(type=ChatPoseSceneSettings)
    bpy.types.Object.chatpose = PointerProperty(type=ChatPoseCharacter)
    bpy.types.WindowManager.chatpose = PointerProperty(type=ChatPoseLibraryView)


def detach() -> None:
    """Takes them off again."""
    del bpy.types.WindowManager.chatpose
    del bpy.types.Object.chatpose
    del bpy.types.Scene.chatpose
