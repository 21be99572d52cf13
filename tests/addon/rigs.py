"""Armatures in Blender from bone tables."""

from __future__ import annotations

from collections.abc import Mapping

import bpy

from tests.figures import Bone


def build(figure: Mapping[str, Bone], name: str = "Rig") -> bpy.types.Object:
    """An armature object in the scene, active, in object mode."""
    data = bpy.data.armatures.new(name)
    rig = bpy.data.objects.new(name, data)
    bpy.context.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for bone_name, bone in figure.items():
        made = data.edit_bones.new(bone_name)
        made.head, made.tail, made.roll = bone.head, bone.tail, bone.roll
    for bone_name, bone in figure.items():
        if bone.parent:
            data.edit_bones[bone_name].parent = data.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    return rig
