"""Poses out and in: as files (npz, JSON, AMASS) and through the clipboard."""

import json
import threading
from collections.abc import Callable

import bpy
from bpy.props import IntProperty, StringProperty

from .. import session
from ..answers import found
from ..applying import settings_of
from ..client.http import ClientError
from ..rig import pose_files, posing
from ..rig.target import Target
from . import targets
from .key_motion import ERRORS, Keying, options_of_motion, put_motion
from .polls import OnCharacter


class _OnCharacter(OnCharacter):
    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        mode = "" if context.mode in {"OBJECT", "POSE"} else "Go back to Object or Pose Mode first"
        return super().refusal(context) or mode


class CHATPOSE_OT_save_pose(_OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.save_pose"
    bl_label = "Save Pose"
    bl_description = "Save the character's present pose as a file that ChatPose, the server and SMPL-X tools read"
    bl_options = {"REGISTER"}

    filepath: StringProperty(name="File", description="Where to save it", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        name="Filter", description="Files to show", default="*.npz;*.json", options={"HIDDEN", "SKIP_SAVE"}
    )
    check_existing = True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.filepath = self.filepath or f"{bpy.path.clean_name(targets.target(context).name)}.npz"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = bpy.path.abspath(self.filepath)
        if not path.lower().endswith((".npz", ".json")):
            path += ".npz"
        try:
            pose_files.save(path, posing.read(targets.target(context)))
        except ERRORS as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, f"Saved {bpy.path.basename(path)}")
        return {"FINISHED"}


class CHATPOSE_OT_load_pose(_OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.load_pose"
    bl_label = "Load Pose or Motion"
    bl_description = "Load a pose, or a motion as keyframes, from ChatPose, AMASS or SMPL-X files (npz, JSON)"
    bl_options = {"REGISTER"}  # the pose's or the motion's own operator makes the undo step

    filepath: StringProperty(name="File", description="What to load", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        name="Filter", description="Files to show", default="*.npz;*.json;*.pkl", options={"HIDDEN", "SKIP_SAVE"}
    )
    first_frame: IntProperty(
        name="First Frame", description="Where in the scene's time a motion begins", default=1, min=0
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.first_frame = context.scene.frame_current
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature, path, first = targets.target(context), bpy.path.abspath(self.filepath), self.first_frame
        fps = context.scene.render.fps / context.scene.render.fps_base
        if bpy.app.background or session.current.work is not None:  # scripts, and who waits for an answer, at once
            try:
                return put(context, armature, pose_files.load(path).resampled(fps), first)
            except ERRORS as error:
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}

        def read(report: Callable[[str, float], None], stop: threading.Event) -> pose_files.Motion:
            try:
                return pose_files.load(path).resampled(fps)
            except pose_files.PoseFileError as error:
                raise ClientError(str(error)) from error

        def take(work: session.Work, motion: pose_files.Motion) -> None:
            there = found(work)
            if there is not None:
                put(bpy.context, there, motion, first)

        session.run("Reading the file", read, Target.of(armature), take)
        return {"FINISHED"}


class CHATPOSE_OT_copy_pose(_OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.copy_pose"
    bl_label = "Copy Pose"
    bl_description = "Copy the character's present pose as JSON"
    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            pose = pose_files.to_json(posing.read(targets.target(context)))
        except posing.RigError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        context.window_manager.clipboard = json.dumps(pose)
        self.report({"INFO"}, "Pose copied as JSON")
        return {"FINISHED"}


class CHATPOSE_OT_paste_pose(_OnCharacter, bpy.types.Operator):
    bl_idname = "chatpose.paste_pose"
    bl_label = "Paste Pose"
    bl_description = "Put the pose that was copied as JSON on the character"
    bl_options = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        fps = context.scene.render.fps / context.scene.render.fps_base
        try:
            motion = pose_files.from_json_text(context.window_manager.clipboard).resampled(fps)
            return put(context, armature, motion, context.scene.frame_current)
        except ERRORS as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}


def put(context: bpy.types.Context, armature: bpy.types.Object, motion: pose_files.Motion, first: int) -> set[str]:
    """One undo step: a pose put on the rig, or a motion keyed from a frame on. Raises what motions and files raise."""
    settings = context.scene.chatpose
    if len(motion) > 1:
        frames = range(first, first + len(motion))
        options = options_of_motion(armature, settings)
        put_motion(armature, lambda: Keying(motion, frames, options))
        return {"FINISHED"}
    pose = json.dumps(pose_files.to_json(motion.frame(0)))
    with session.in_window():
        return bpy.ops.chatpose.apply_pose(
            "EXEC_DEFAULT", True, pose=pose, target=armature.name, **settings_of(settings)
        )


CLASSES = (CHATPOSE_OT_save_pose, CHATPOSE_OT_load_pose, CHATPOSE_OT_copy_pose, CHATPOSE_OT_paste_pose)
