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
