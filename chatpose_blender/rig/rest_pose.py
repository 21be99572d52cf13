"""Where SMPL-X's joints are at rest: what retargeting compares other rigs' rest poses with. Numbers only.

Measured on the add-on's own CC0 body (the server's SMPLX_STANDIN.npz, zero betas); metres, y up, facing +z, the body's
left is +x. Left side and middle are written down, the right side is their mirror image.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .smplx import mirror_name

_LEFT_AND_MIDDLE: Final = {
    "pelvis": (0.0, -0.35, 0.01),
    "left_hip": (0.1019, -0.4253, 0.0121),
    "spine1": (0.0, -0.2286, -0.0027),
    "left_knee": (0.1195, -0.817, 0.0121),
    "spine2": (0.0, -0.1164, -0.0076),
    "left_ankle": (0.1114, -1.2247, -0.0143),
    "spine3": (0.0, -0.0594, -0.0114),
    "left_foot": (0.1444, -1.2685, 0.1091),
    "neck": (0.0, 0.1223, 0.0143),
    "left_collar": (0.0227, 0.0507, 0.0305),
    "head": (0.0, 0.2589, 0.0507),
    "left_shoulder": (0.1747, 0.0639, 0.0277),
    "left_elbow": (0.4106, 0.0223, 0.0062),
    "left_wrist": (0.6473, 0.0276, -0.0012),
    "jaw": (0.0, 0.2289, 0.0645),
    "left_eye_smplhf": (0.0289, 0.2609, 0.1263),
    "left_index1": (0.7494, 0.0179, 0.0246),
    "left_index2": (0.7748, 0.0152, 0.0269),
    "left_index3": (0.7974, 0.0116, 0.029),
    "left_middle1": (0.7488, 0.0225, -0.0012),
    "left_middle2": (0.7821, 0.019, -0.0041),
    "left_middle3": (0.8091, 0.0147, -0.0064),
    "left_pinky1": (0.7335, 0.0187, -0.0387),
    "left_pinky2": (0.7537, 0.0165, -0.0445),
    "left_pinky3": (0.7684, 0.014, -0.0487),
    "left_ring1": (0.7431, 0.0231, -0.0205),
    "left_ring2": (0.7719, 0.02, -0.0262),
    "left_ring3": (0.7958, 0.0161, -0.0309),
    "left_thumb1": (0.684, 0.0223, 0.0229),
    "left_thumb2": (0.6959, 0.0091, 0.0479),
    "left_thumb3": (0.7209, 0.0011, 0.0725),
}

REST: Final[dict[str, np.ndarray]] = {name: np.array(point) for name, point in _LEFT_AND_MIDDLE.items()}
"""Joint -> (3,) metres."""
for _name, (_x, _y, _z) in _LEFT_AND_MIDDLE.items():
    REST.setdefault(mirror_name(_name), np.array((-_x, _y, _z)))

SOLE: Final = -1.294
"""Height of the ground under the body's soles."""

RADIUS: Final[dict[str, float]] = {
    "pelvis": 0.10, "left_hip": 0.09, "right_hip": 0.09, "spine2": 0.10, "spine3": 0.10, "left_knee": 0.05,
    "right_knee": 0.05, "neck": 0.05, "head": 0.09, "left_shoulder": 0.05, "right_shoulder": 0.05, "left_elbow": 0.035,
    "right_elbow": 0.035, "left_wrist": 0.025, "right_wrist": 0.025, "left_middle3": 0.01, "right_middle3": 0.01,
}  # fmt: skip
"""Joint -> metres of flesh around it, so that a body that kneels, sits or lies is put on the ground by its skin."""
