"""Bone tables for the pure parts of rig/."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chatpose_blender.rig.rigmap import RestBone
from tests.figures import Bone


def table(figure: Mapping[str, Bone]) -> dict[str, RestBone]:
    """What ``armature.rest_bones`` would read from Blender."""
    return {n: RestBone(b.parent, b.matrix(), float(np.linalg.norm(b.tail - b.head))) for n, b in figure.items()}
