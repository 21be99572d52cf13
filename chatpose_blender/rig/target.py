"""A rig that is remembered while an answer is on its way: undo and file loading replace objects, so it is looked up
anew. Knows no pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy


@dataclass(frozen=True)
class Target:
    """By name and session uid."""

    name: str
    uid: int

    @staticmethod
    def of(armature: bpy.types.Object) -> Target:
        """Remembers this rig."""
        return Target(armature.name, armature.session_uid)

    def is_for(self, armature: bpy.types.Object) -> bool:
        """Whether this is the rig that is remembered."""
        return armature.session_uid == self.uid or armature.name == self.name

    def find(self) -> bpy.types.Object | None:
        """The rig as it is now, in this scene: the same object if it is there, else the one that has its name."""
        for armature in bpy.context.scene.objects:
            if armature.session_uid == self.uid and armature.type == "ARMATURE":
                return armature
        armature = bpy.context.scene.objects.get(self.name)
        return armature if armature is not None and armature.type == "ARMATURE" else None
