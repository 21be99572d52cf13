"""Storyboard, the prior's tools, files, and the bone mapping of other rigs."""

import bpy

from ..operators import targets
from ..rig import apply
from ..titles import title
from .sidebar import ChildPanel


class CHATPOSE_UL_beats(bpy.types.UIList):
    bl_idname = "CHATPOSE_UL_beats"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property) -> None:
        """One line: frame and what happens."""
        row = layout.row(align=True)
        split = row.split(factor=0.28, align=True)
        split.prop(item, "frame", text="", emboss=False)
        split.prop(item, "text", text="", emboss=False)


class CHATPOSE_PT_storyboard(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_storyboard"
    bl_label = "Storyboard"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.chatpose
        row = layout.row()
        row.template_list("CHATPOSE_UL_beats", "", settings, "beats", settings, "active_beat", rows=3)
        column = row.column(align=True)
        column.operator("chatpose.beat_add", text="", icon="ADD")
        column.operator("chatpose.beat_remove", text="", icon="REMOVE")
        layout.prop(settings, "fill_between")
        layout.operator("chatpose.storyboard", icon="SEQUENCE")


class CHATPOSE_PT_tools(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_tools"
    bl_label = "Pose Tools"

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        column.operator("chatpose.natural_pose", icon="OUTLINER_OB_ARMATURE")
        column.operator("chatpose.variations", icon="DUPLICATE")
        column.operator("chatpose.complete_pose", icon="POSE_HLT")
        column = self.layout.column(align=True)
        column.operator("chatpose.in_between", icon="IPO_EASE_IN_OUT")
        column.operator("chatpose.smooth_motion", icon="SMOOTHCURVE")
        self.layout.prop(context.scene.chatpose, "prior")
        column = self.layout.column(align=True)
        column.operator("chatpose.shape_body", icon="MOD_ARMATURE")


class CHATPOSE_PT_exchange(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_exchange"
    bl_label = "Files"

    def draw(self, context: bpy.types.Context) -> None:
        row = self.layout.row(align=True)
        row.operator("chatpose.load_pose", text="Load", icon="IMPORT")
        row.operator("chatpose.save_pose", text="Save", icon="EXPORT")
        row = self.layout.row(align=True)
        row.operator("chatpose.copy_pose", text="Copy", icon="COPYDOWN")
        row.operator("chatpose.paste_pose", text="Paste", icon="PASTEDOWN")


class CHATPOSE_UL_mapping(bpy.types.UIList):
    bl_idname = "CHATPOSE_UL_mapping"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property) -> None:
        """One line: the part of the body and its bones."""
        split = layout.split(factor=0.4, align=True)
        split.label(text=title(item.name), translate=False)
        split.prop(item, "bones", text="")


class CHATPOSE_PT_mapping(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_mapping"
    bl_label = "Bone Mapping"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        armature = targets.target(context)
        return armature is not None and not apply.is_smplx(armature)

    def draw(self, context: bpy.types.Context) -> None:
        layout, character = self.layout, targets.target(context).chatpose
        layout.operator("chatpose.mapping_edit", icon="BONE_DATA")
        if character.mapping:
            layout.template_list("CHATPOSE_UL_mapping", "", character, "mapping", character, "active_joint", rows=8)
            layout.operator("chatpose.mapping_apply", icon="CHECKMARK")
        row = layout.row(align=True)
        row.operator("chatpose.mapping_load", text="Load", icon="IMPORT")
        row.operator("chatpose.mapping_save", text="Save", icon="EXPORT")
        layout.operator("chatpose.mapping_reset", icon="FILE_REFRESH")


CLASSES = (
    CHATPOSE_UL_beats,
    CHATPOSE_PT_storyboard,
    CHATPOSE_PT_tools,
    CHATPOSE_PT_exchange,
    CHATPOSE_UL_mapping,
    CHATPOSE_PT_mapping,
)
