"""The bone mapping: look at what was recognised, put right what was not, keep it as a preset."""

import json
from dataclasses import replace
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..rig import apply, posing, retarget, smplx
from ..rig import armature as rigs
from ..rig.rigmap import CORE_JOINTS, TRUNK, RigMap, RigMapError
from . import targets
from .polls import Explains

_FINGERS = frozenset(smplx.HAND_JOINTS)
LINES = (
    "pelvis", "spine", "neck", "head",
    *(joint for joint in smplx.JOINTS if joint not in TRUNK | {"pelvis", "head"} and joint not in _FINGERS),
    *smplx.HAND_JOINTS,
)  # fmt: skip
"""The mapping's lines in the order that an artist looks for them."""


class _OnOtherRig(Explains):
    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        armature = targets.target(context)
        if armature is None:
            return "Select a character's armature"
        if apply.is_smplx(armature):
            return "This character has SMPL-X's own bones: there is nothing to map"
        return ""


class CHATPOSE_OT_mapping_edit(_OnOtherRig, bpy.types.Operator):
    bl_idname = "chatpose.mapping_edit"
    bl_label = "Edit Bone Mapping"
    bl_description = "Show which bone was recognised as which part of the body, to put it right"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        rigmap = posing.rigmap(armature) or RigMap("custom", {})
        show(armature, rigmap)
        return {"FINISHED"}


class CHATPOSE_OT_mapping_apply(_OnOtherRig, bpy.types.Operator):
    bl_idname = "chatpose.mapping_apply"
    bl_label = "Use Mapping"
    bl_description = "Pose this character through the mapping as it is now"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        try:
            rigmap = written(armature)
            retarget.fit(rigmap, rigs.rest_bones(armature))
        except RigMapError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        armature.chatpose.rigmap = json.dumps(rigmap.to_json())
        if rigmap.missing:
            self.report({"WARNING"}, f"Parts without a bone are not posed: {', '.join(rigmap.missing[:6])}")
        return {"FINISHED"}


class CHATPOSE_OT_mapping_reset(_OnOtherRig, bpy.types.Operator):
    bl_idname = "chatpose.mapping_reset"
    bl_label = "Recognise Again"
    bl_description = "Forget the mapping that was made by hand and recognise the rig by itself"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        armature.chatpose.rigmap = ""
        armature.chatpose.mapping.clear()
        return {"FINISHED"}


class CHATPOSE_OT_mapping_save(_OnOtherRig, bpy.types.Operator):
    bl_idname = "chatpose.mapping_save"
    bl_label = "Save Mapping"
    bl_description = "Save this bone mapping as a preset for characters with the same bones"
    bl_options = {"REGISTER"}

    filepath: StringProperty(name="File", description="Where to save it", subtype="FILE_PATH", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = f"{bpy.path.clean_name(targets.target(context).name)}_bones.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        path = Path(bpy.path.abspath(self.filepath)).with_suffix(".json")
        rigmap = posing.rigmap(armature)
        if rigmap is None:
            self.report({"ERROR"}, f"{posing.refusal(armature)}.")
            return {"CANCELLED"}
        try:
            path.write_text(json.dumps(rigmap.to_json(), indent=1), encoding="utf-8")
        except OSError:
            self.report({"ERROR"}, f"'{path.name}' cannot be written; choose a folder that is yours.")
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved {path.name}")
        return {"FINISHED"}


class CHATPOSE_OT_mapping_load(_OnOtherRig, bpy.types.Operator):
    bl_idname = "chatpose.mapping_load"
    bl_label = "Load Mapping"
    bl_description = "Use a bone mapping that was saved as a preset"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", description="What to load", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        name="Filter", description="Files to show", default="*.json", options={"HIDDEN", "SKIP_SAVE"}
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature, path = targets.target(context), Path(bpy.path.abspath(self.filepath))
        try:
            rigmap = RigMap.from_json(json.loads(path.read_text(encoding="utf-8")))
            retarget.fit(rigmap, rigs.rest_bones(armature))
        except RigMapError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        except (OSError, ValueError):
            self.report({"ERROR"}, f"'{path.name}' cannot be read as a bone mapping; choose a file saved by ChatPose.")
            return {"CANCELLED"}
        armature.chatpose.rigmap = json.dumps(rigmap.to_json())
        show(armature, rigmap)
        return {"FINISHED"}


def show(armature: bpy.types.Object, rigmap: RigMap) -> None:
    """Fills the mapping's lines."""
    lines = armature.chatpose.mapping
    lines.clear()
    chains = {**rigmap.bones, "spine": rigmap.spine, "neck": rigmap.neck}
    for name in LINES:
        line = lines.add()
        line.name, line.bones = name, ", ".join(chains.get(name, ()))


def written(armature: bpy.types.Object) -> RigMap:
    """The mapping's lines as a map. Raises RigMapError where a name is no bone's or nothing would be posed."""
    chains = {line.name: _chain(armature, line) for line in armature.chatpose.mapping if line.bones.strip()}
    if "pelvis" not in chains or not set(chains) & set(CORE_JOINTS) - {"pelvis"}:
        raise RigMapError("The mapping needs the pelvis and at least one limb. Choose their bones.")
    spine, neck = chains.pop("spine", ()), chains.pop("neck", ())
    before = posing.rigmap(armature)
    if before is not None:  # what has no line stays: the family's switches, twist bones, the bone that carries all
        chains = {**{joint: chain for joint, chain in before.bones.items() if joint not in LINES}, **chains}
        return replace(before, bones=chains, spine=spine, neck=neck)
    return RigMap("custom", chains, spine, neck)


def _chain(armature: bpy.types.Object, line: bpy.types.PropertyGroup) -> tuple[str, ...]:
    names = tuple(name.strip() for name in line.bones.split(",") if name.strip())
    for name in names:
        if name not in armature.data.bones:
            raise RigMapError(f"'{armature.name}' has no bone '{name[:60]}'. Choose one for {line.name}.")
    return names


CLASSES = (
    CHATPOSE_OT_mapping_edit,
    CHATPOSE_OT_mapping_apply,
    CHATPOSE_OT_mapping_reset,
    CHATPOSE_OT_mapping_save,
    CHATPOSE_OT_mapping_load,
)
