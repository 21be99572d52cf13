"""One data module per rig family: which of its bones plays which SMPL-X joint. Data only; knows no Blender.

Names are written as the family's own tools write them; ``recognise`` compares them without regard to case, separators,
namespaces and leading zeros. In a name, ``{s}`` ``{S}`` ``{side}`` ``{Side}`` stand for l, L, left, Left and r, R,
right, Right.
"""

from .base import Family, Switch
from .blender import BLENDER
from .character_creator import CHARACTER_CREATOR
from .daz import DAZ_GENESIS_3_8, DAZ_GENESIS_9
from .makehuman import MAKEHUMAN
from .mixamo import MIXAMO, MIXAMO_CONTROL_RIG
from .rigify import RIGIFY, RIGIFY_METARIG
from .smpl import SMPLX
from .unreal import UNREAL
from .vrm import VRM, VROID

FAMILIES = (
    SMPLX,
    RIGIFY,
    RIGIFY_METARIG,
    MIXAMO_CONTROL_RIG,
    MIXAMO,
    UNREAL,
    VRM,
    VROID,
    DAZ_GENESIS_3_8,
    DAZ_GENESIS_9,
    CHARACTER_CREATOR,
    MAKEHUMAN,
    BLENDER,
)
"""In order of preference where two fit equally well: the more special first."""

BY_KEY = {family.key: family for family in FAMILIES}

__all__ = ["BY_KEY", "FAMILIES", "Family", "Switch"]
