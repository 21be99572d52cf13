"""Which rig is meant: found from what is active and selected. Changes nothing."""

import bpy

from ..rig import apply, posing


def armature_of(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """The object if it is an armature, or the armature that moves it or that it hangs on."""
    if ob is None or ob.type == "ARMATURE":
        return ob
    if ob.type == "MESH":
        for modifier in ob.modifiers:
            if modifier.type == "ARMATURE" and modifier.object is not None:
                return modifier.object
    return ob.parent if ob.parent is not None and ob.parent.type == "ARMATURE" else None


def target(context: bpy.types.Context) -> bpy.types.Object | None:
    """The character that the artist means: the active rig, its mesh's rig, or else the scene's only rig."""
    active = armature_of(context.active_object)
    if active is not None:
        return active
    rigs = [ob for ob in context.scene.objects if apply.is_smplx(ob)]
    return rigs[0] if len(rigs) == 1 else None


def refusal(armature: bpy.types.Object | None) -> str:
    """Why this rig cannot be posed, for a grey button's tooltip; "" when it can."""
    if armature is None:
        return "Select a character's armature, or press Add SMPL-X Body"
    reason = posing.refusal(armature)
    if reason:
        return reason
    if armature.library is not None and armature.override_library is None:
        return f"{armature.name} is linked from another file: make a library override first"
    return ""
