"""Every difference between the Blender releases that the add-on runs on (4.2 to 5.2), and nothing else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import bpy


def use_nodes(material: "bpy.types.Material") -> None:
    """Gives a material its node tree: new ones have it from 5.0 on, where asking for it is deprecated."""
    if material.node_tree is None:
        material.use_nodes = True


def is_selected(pose_bone: "bpy.types.PoseBone") -> bool:
    """Whether a pose bone is selected: on the pose bone from 5.0 on, on the bone before."""
    if hasattr(pose_bone, "select"):
        return pose_bone.select
    return pose_bone.bone.select


def select(pose_bone: "bpy.types.PoseBone", state: bool) -> None:
    """Selects a pose bone or takes it out of the selection."""
    if hasattr(pose_bone, "select"):
        pose_bone.select = state
    else:
        pose_bone.bone.select = state


def image_shader() -> str:
    """The built-in shader that draws an image with the colours it has: from 5.0 on, textures are in scene linear."""
    import bpy

    return "IMAGE_SCENE_LINEAR_TO_REC709_SRGB" if bpy.app.version >= (5, 0) else "IMAGE"


def draws_thumbnails(scene: "bpy.types.Scene") -> bool:
    """Whether Blender makes small pictures of images: 4.2 and 4.3 make none for a scene rendered with Workbench."""
    import bpy

    return bpy.app.version >= (4, 4) or scene.render.engine != "BLENDER_WORKBENCH"


# -- animation: three generations ------------------------------------------------------------------------------------
# 4.2, 4.3: Action.fcurves. 4.4, 4.5: slots, layers and channelbags, with Action.fcurves as an old view. From 5.0 on:
# channelbags only.


def has_slots() -> bool:
    """Whether actions have slots (4.4)."""
    import bpy

    return "slots" in bpy.types.Action.bl_rna.properties


def curve_holder(ob: "bpy.types.Object") -> "bpy.types.Action | bpy.types.ActionChannelbag | None":
    """What holds the F-curves and groups that move an object: its action, or its slot's channelbag; None without."""
    data = ob.animation_data
    action = data.action if data is not None else None
    if action is None or not has_slots():
        return action
    if data.action_slot is None:
        return None
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(data.action_slot)
            if bag is not None:
                return bag
    return None


def ensure_curve_holder(ob: "bpy.types.Object") -> "bpy.types.Action | bpy.types.ActionChannelbag":
    """The same, made where it is missing, as inserting a key by hand would."""
    import bpy

    data = ob.animation_data or ob.animation_data_create()
    if data.action is None:
        data.action = bpy.data.actions.new(f"{ob.name}Action")
    action = data.action
    if not has_slots():
        return action
    if data.action_slot is None:
        fitting = [slot for slot in action.slots if slot.target_id_type in ("OBJECT", "UNSPECIFIED")]
        own = [slot for slot in fitting if slot.name_display == ob.name]
        free = [slot for slot in fitting if not slot.users()]
        data.action_slot = next(iter([*own, *free]), None) or action.slots.new(id_type="OBJECT", name=ob.name)
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(data.action_slot, ensure=True)


def slot_handle(ob: "bpy.types.Object") -> int | None:
    """The number of the slot that an object uses; None without one, and before 4.4."""
    data = ob.animation_data
    slot = data.action_slot if data is not None and has_slots() else None
    return None if slot is None else slot.handle


def drop_slot(ob: "bpy.types.Object") -> None:
    """Takes away the slot that an object uses; nothing before 4.4."""
    data = ob.animation_data
    if data is None or not has_slots() or data.action_slot is None:
        return
    slot, action = data.action_slot, data.action
    data.action_slot = None
    if not slot.users():
        action.slots.remove(slot)


def new_curve(
    holder: "bpy.types.Action | bpy.types.ActionChannelbag", path: str, index: int, group: str
) -> "bpy.types.FCurve":
    """A new F-curve in a group."""
    parameters = holder.fcurves.bl_rna.functions["new"].parameters
    for word in ("group_name", "action_group"):  # from 5.0 on; 4.2 and 4.3
        if word in parameters:
            return holder.fcurves.new(path, index=index, **{word: group})
    curve = holder.fcurves.new(path, index=index)  # 4.4 and 4.5: a channelbag's curves take no group
    curve.group = holder.groups.get(group) or holder.groups.new(group)
    return curve


def pose_holder(action: "bpy.types.Action", ob: "bpy.types.Object") -> "bpy.types.Action | bpy.types.ActionChannelbag":
    """What holds a new pose asset's curves: one slot for objects, in one layer; the action itself before 4.4."""
    if not has_slots():
        action.id_root = "OBJECT"
        return action
    slot = action.slots.new(id_type="OBJECT", name=ob.name)
    strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def is_online_access_fixed() -> bool:
    """Whether the command line, and not the preferences, decides on online access. Its name was misspelt at first."""
    from bpy import app

    return bool(getattr(app, "online_access_override", getattr(app, "online_access_overriden", False)))
