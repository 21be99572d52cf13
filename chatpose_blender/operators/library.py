"""The library: poses remembered across files, put on again, starred, forgotten; and Save as Pose Asset."""

import bpy
from bpy.app.translations import pgettext_tip
from bpy.props import BoolProperty, IntProperty, StringProperty

from .. import blender_versions, conversation, history, session
from ..applying import settings_of
from ..rig import library, posing
from . import targets
from .polls import Explains, OnCharacter, busy

PAGE = 12  # poses on one page of the panel
_MAX_NAME = 60  # Blender's names hold 63 bytes


class CHATPOSE_OT_save_asset(OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.save_asset"
    bl_label = "Save as Pose Asset"
    bl_description = "Save the character's present pose in this file's asset library, with its prompt and a picture"
    bl_options = {"REGISTER", "UNDO"}

    asset_name: StringProperty(
        name="Name", description="What the asset is called. Empty takes the prompt", options={"SKIP_SAVE"}
    )
    tags: StringProperty(name="Tags", description="More words to find it by, with commas between")
    only_selected: BoolProperty(
        name="Selected Bones Only", description="Save only the bones that are selected in Pose Mode"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        message = conversation.active(armature)
        told = message if message is not None and message.pose else None
        origin = library.Origin(
            prompt=told.prompt if told else "",
            seed=told.seed if told else None,
            model=told.model if told else "",
            pose={joint: list(quat) for joint, quat in posing.read(armature).items()},
        )
        chosen = None
        if self.only_selected:
            chosen = [bone.name for bone in armature.pose.bones if blender_versions.is_selected(bone)]
        name = (self.asset_name.strip() or origin.prompt or f"{armature.name} Pose")[:_MAX_NAME]
        try:
            action = library.save_pose(
                armature, name, bones=chosen, origin=origin, tags=self.tags.split(","), rig=posing.fit(armature)
            )
        except (library.LibraryError, *posing.RigError) as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved the pose asset '{action.name}'; save the file to keep it")
        return {"FINISHED"}


class _OnEntry:
    """Is about one remembered pose."""

    entry: StringProperty(name="Pose", description="Which remembered pose", options={"HIDDEN", "SKIP_SAVE"})

    def found(self) -> history.Entry | None:
        """The pose, or None with the reason told."""
        entry = history.current.get(self.entry)
        if entry is None:
            self.report({"ERROR"}, "This pose is no longer in the library.")
        return entry


class CHATPOSE_OT_library_apply(_OnEntry, OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.library_apply"
    bl_label = "Apply from Library"
    bl_description = "Put this remembered pose on the character"
    bl_options = {"INTERNAL"}  # the pose is applied by an operator of its own, which makes the undo step

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return super().refusal(context) or busy()

    @classmethod
    def description(cls, context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        entry = history.current.get(properties.entry)
        tip = pgettext_tip(cls.bl_description)
        if entry is None:
            return tip
        return f"{tip}:\n{entry.prompt}\n({entry.model}, {pgettext_tip('Seed')} {entry.seed})"

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = self.found()
        if entry is None:
            return {"CANCELLED"}
        context.window_manager.chatpose.entry = entry.id
        bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT",
            True,
            pose=entry.pose,
            target=targets.target(context).name,
            prompt=entry.prompt,
            text=entry.text,
            seed=entry.seed,
            model=entry.model,
            **settings_of(context.scene.chatpose),
        )
        return {"FINISHED"}


class CHATPOSE_OT_library_star(_OnEntry, bpy.types.Operator):
    bl_idname = "chatpose.library_star"
    bl_label = "Star"
    bl_description = "Mark this remembered pose as a good one, or take the mark away"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = self.found()
        if entry is None:
            return {"CANCELLED"}
        history.current.star(entry.id, not entry.starred)
        _changed()
        return {"FINISHED"}


class CHATPOSE_OT_library_remove(_OnEntry, bpy.types.Operator):
    bl_idname = "chatpose.library_remove"
    bl_label = "Forget Pose"
    bl_description = "Take this pose out of the library. This cannot be undone"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        history.current.remove([self.entry])
        _changed()
        return {"FINISHED"}


class CHATPOSE_OT_library_words(_OnEntry, bpy.types.Operator):
    bl_idname = "chatpose.library_words"
    bl_label = "Use Prompt"
    bl_description = "Write this pose's words into the prompt"
    bl_options = {"INTERNAL", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        entry = self.found()
        if entry is None:
            return {"CANCELLED"}
        context.scene.chatpose.prompt = entry.prompt
        return {"FINISHED"}


class CHATPOSE_OT_library_page(bpy.types.Operator):
    bl_idname = "chatpose.library_page"
    bl_label = "Other Page"
    bl_description = "Show older or newer poses"
    bl_options = {"INTERNAL"}

    step: IntProperty(name="Step", description="How many pages to go on, or back", default=1)

    def execute(self, context: bpy.types.Context) -> set[str]:
        view = context.window_manager.chatpose
        last = max(0, len(history.current.matching(view.search, view.only_starred)) - 1) // PAGE
        view.page = max(0, min(view.page + self.step, last))
        session.redraw()
        return {"FINISHED"}


class CHATPOSE_OT_library_clear(Explains, bpy.types.Operator):
    bl_idname = "chatpose.library_clear"
    bl_label = "Forget All"
    bl_description = "Take all poses but the starred ones out of the library. This cannot be undone"
    bl_options = {"REGISTER"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if len(history.current) else "The library is empty"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        gone = [entry.id for entry in history.current.matching() if not entry.starred]
        self.report({"INFO"}, f"{history.current.remove(gone)} poses forgotten")
        _changed()
        return {"FINISHED"}


def _changed() -> None:
    history.wake()
    session.redraw()


CLASSES = (
    CHATPOSE_OT_save_asset,
    CHATPOSE_OT_library_apply,
    CHATPOSE_OT_library_star,
    CHATPOSE_OT_library_remove,
    CHATPOSE_OT_library_words,
    CHATPOSE_OT_library_page,
    CHATPOSE_OT_library_clear,
)
