"""The names that artists give by Blender's own convention (.L and .R), and other words in common use.

The last resort by names: every word here is one that some rig in the wild uses for exactly that bone.
"""

from .base import Family

_FINGERS = {
    "index": ("index", "f_index", "finger_index", "indexfinger"),
    "middle": ("middle", "mid", "f_middle", "finger_middle", "middlefinger"),
    "pinky": ("pinky", "little", "f_pinky", "finger_pinky", "pinkyfinger"),
    "ring": ("ring", "f_ring", "finger_ring", "ringfinger"),
    "thumb": ("thumb", "finger_thumb"),
}

BLENDER = Family(
    key="blender",
    title="Blender",
    middle={"pelvis": ("hips", "pelvis", "hip", "torso", "root"), "head": ("head",)},
    sided={
        "hip": ("thigh.{S}", "upper_leg.{S}", "up_leg.{S}", "leg_upper.{S}", "upleg.{S}", "femur.{S}", "leg1.{S}"),
        "knee": (
            "shin.{S}",
            "calf.{S}",
            "lower_leg.{S}",
            "low_leg.{S}",
            "leg_lower.{S}",
            "knee.{S}",
            "leg2.{S}",
            "leg.{S}",
        ),
        "ankle": ("foot.{S}", "ankle.{S}"),
        "foot": ("toe.{S}", "toes.{S}", "ball.{S}", "toe_base.{S}", "toe0.{S}"),
        "collar": ("shoulder.{S}", "clavicle.{S}", "collar.{S}", "collarbone.{S}"),
        "shoulder": ("upper_arm.{S}", "up_arm.{S}", "arm_upper.{S}", "uparm.{S}", "humerus.{S}", "arm1.{S}", "arm.{S}"),
        "elbow": (
            "forearm.{S}",
            "fore_arm.{S}",
            "lower_arm.{S}",
            "low_arm.{S}",
            "arm_lower.{S}",
            "elbow.{S}",
            "arm2.{S}",
        ),
        "wrist": ("hand.{S}", "wrist.{S}"),
        **{
            f"{finger}{i}": tuple(f"{word}.0{i}.{{S}}" for word in words)
            for finger, words in _FINGERS.items()
            for i in (1, 2, 3)
        },
    },
    spine=("spine", "abdomen", "waist", "spine.001", "spine.002", "spine.003", "belly", "chest", "upper_chest"),
    neck=("neck", "neck.001", "neck.002"),
)
