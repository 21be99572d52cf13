"""What the pose prior does to a single pose: make it natural, vary it, complete it."""

import random

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty

from .. import blender_versions, preferences, session
from ..client.contract import CompleteRequest, Pose, ProjectRequest, SampleRequest
from ..properties import PRIORS
from ..rig import posing
from ..rig.target import Target
from . import targets
from .polls import AsksServer, refuse
from .pose import apply_answer


class ByPrior:
    """Which prior of natural poses is asked; the panel's choice where the operator is not told."""

    prior: EnumProperty(
        name="Prior", description="Whose idea of a natural pose counts", items=PRIORS, options={"SKIP_SAVE"}
    )


def prior_of(operator: bpy.types.Operator | None, context: bpy.types.Context) -> str | None:
    """The prior's name on the wire; None for the one that measures best at the task."""
    told = operator is not None and operator.properties.is_property_set("prior")
    choice = operator.prior if told else context.scene.chatpose.prior
    return None if choice == "BEST" else choice.lower()


class CHATPOSE_OT_natural_pose(AsksServer, ByPrior, bpy.types.Operator):
    bl_idname = "chatpose.natural_pose"
    bl_label = "Natural Pose"
    bl_description = "Move the character's pose to the nearest one that a human body naturally takes"
    bl_options = {"REGISTER"}
    task = "project"

    strength: FloatProperty(
        name="Strength", description="How far to go there", default=1.0, min=0.0, max=1.0, subtype="FACTOR"
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        _ask(
            context,
            "Natural Pose",
            ProjectRequest((_pose(armature),), self.strength, prior_of(self, context)),
            armature,
        )
        return {"FINISHED"}


class CHATPOSE_OT_variations(AsksServer, ByPrior, bpy.types.Operator):
    bl_idname = "chatpose.variations"
    bl_label = "Variations"
    bl_description = "Make natural variations of the character's pose and step through them"
    bl_options = {"REGISTER"}
    task = "sample"

    count: IntProperty(name="Count", description="How many variations to make", default=4, min=1, max=16)
    spread: FloatProperty(
        name="Spread",
        description="How different the variations are",
        default=0.3,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
    )
    seed: IntProperty(name="Seed", description="Another number gives other variations", min=0)

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        told = self.properties.is_property_set("seed")
        seed = self.seed if told else random.randrange(2**31)  # the button gives other variations each time
        request = SampleRequest(self.count, seed, _pose(armature), self.spread, prior_of(self, context))
        _ask(context, "Variations", request, armature)
        return {"FINISHED"}


class CHATPOSE_OT_complete_pose(AsksServer, ByPrior, bpy.types.Operator):
    bl_idname = "chatpose.complete_pose"
    bl_label = "Complete Pose"
    bl_description = "Keep the selected bones as they are and let the rest of the body follow naturally"
    bl_options = {"REGISTER"}
    task = "complete"

    count: IntProperty(name="Count", description="How many ways to complete it", default=1, min=1, max=16)
    seed: IntProperty(name="Seed", description="Another number gives other poses", min=0)

    @classmethod
    def own_refusal(cls, context: bpy.types.Context) -> str:
        return "" if context.mode == "POSE" else "Select the bones to keep in Pose Mode"

    def execute(self, context: bpy.types.Context) -> set[str]:
        armature = targets.target(context)
        chosen = [bone.name for bone in armature.pose.bones if blender_versions.is_selected(bone)]
        keep = posing.joints_of(armature, chosen)
        if not keep:
            return refuse(self, "No selected bone belongs to the body; select the bones to keep.")
        request = CompleteRequest(_pose(armature), tuple(sorted(keep)), self.count, self.seed, prior_of(self, context))
        _ask(context, "Complete Pose", request, armature)
        return {"FINISHED"}


def _pose(armature: bpy.types.Object) -> Pose:
    return Pose(posing.read(armature))


def _ask(context: bpy.types.Context, title: str, request: object, armature: bpy.types.Object) -> None:
    session.begin(preferences.endpoint(context), title, request, Target.of(armature), apply_answer)


CLASSES = (CHATPOSE_OT_natural_pose, CHATPOSE_OT_variations, CHATPOSE_OT_complete_pose)
