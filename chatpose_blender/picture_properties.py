"""``scene.chatpose.picture``: the reference picture and what is taken from it."""

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty

FACINGS = (
    ("KEEP", "Keep", "The character goes on facing where it faces now"),
    ("MODEL", "From Picture", "The character faces as the person does, seen from the picture's camera"),
)
HANDS = (
    ("KEEP", "Keep", "The fingers stay as they are"),
    ("TAKE", "From Picture", "Fingers that the picture shows are taken from it; others stay"),
    ("RELAXED", "Relaxed", "Fingers hang half curled"),
)
MAX_PEOPLE = 64  # the server's limit


def _is_picture(self: bpy.types.PropertyGroup, image: bpy.types.Image) -> bool:
    return image.type not in {"RENDER_RESULT", "COMPOSITING", "UV_TEST"}


def _camera_only(self: bpy.types.PropertyGroup, ob: bpy.types.Object) -> bool:
    return ob.type == "CAMERA"


class ChatPosePicture(bpy.types.PropertyGroup):
    """The scene's reference picture."""

    image: PointerProperty(
        type=bpy.types.Image, name="Picture", description="Photo, drawing or movie to take poses from", poll=_is_picture
    )
    person: IntProperty(
        name="Person",
        description="Number of the person to take the pose from. 0 leaves the choice to the prompt, else the clearest",
        default=0,
        min=0,
        max=MAX_PEOPLE,
    )
    use_prompt: BoolProperty(
        name="With Prompt",
        description="Send the prompt along: who is meant (the woman on the left), or changes (same but arms lower)",
        default=True,
    )
    facing: EnumProperty(name="Facing", description="Where the character faces afterwards", items=FACINGS)
    hands: EnumProperty(name="Hands", description="What the fingers do", items=HANDS, default="TAKE")
    first_frame: IntProperty(
        name="Frame",
        description="Frame of the movie or sequence that is shown and posed from, and that a motion begins with",
        default=1,
        min=0,
    )
    frames: IntProperty(
        name="Frames",
        description="How many frames to take from the shown one on",
        default=48,
        min=1,
        max=500,
        soft_max=250,
    )
    step: IntProperty(
        name="Step", description="Take every frame, every second one, and so on; between them is filled in", default=1,
        min=1, max=24,
    )  # fmt: skip
    smooth: FloatProperty(
        name="Smoothing",
        description="How much the motion is smoothed afterwards",
        default=0.5,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    camera: PointerProperty(
        type=bpy.types.Object,
        name="Camera",
        description="Camera that Match Camera puts where the picture was taken from",
        poll=_camera_only,
    )
