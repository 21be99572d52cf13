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
    "left_hip": (0.1019, -0.425274, 0.012149),
    "spine1": (0.0, -0.22857, -0.002675),
    "left_knee": (0.11953, -0.817047, 0.012149),
    "spine2": (0.0, -0.116446, -0.007604),
    "left_ankle": (0.111377, -1.224693, -0.014348),
    "spine3": (0.0, -0.059434, -0.011399),
    "left_foot": (0.144384, -1.268501, 0.109134),
    "neck": (0.0, 0.122312, 0.014261),
    "left_collar": (0.022741, 0.050738, 0.030534),
    "head": (0.0, 0.258944, 0.05072),
    "left_shoulder": (0.174724, 0.063911, 0.027712),
    "left_elbow": (0.410586, 0.022323, 0.006157),
    "left_wrist": (0.64734, 0.027614, -0.001241),
    "jaw": (0.0, 0.228925, 0.064493),
    "left_eye_smplhf": (0.028852, 0.260938, 0.126282),
    "left_index1": (0.749398, 0.01787, 0.024625),
    "left_index2": (0.774817, 0.015187, 0.026949),
    "left_index3": (0.797365, 0.011602, 0.02901),
    "left_middle1": (0.748782, 0.022534, -0.001241),
    "left_middle2": (0.782068, 0.019024, -0.004112),
    "left_middle3": (0.809069, 0.014733, -0.006441),
    "left_pinky1": (0.733459, 0.018668, -0.038737),
    "left_pinky2": (0.753706, 0.016456, -0.044477),
    "left_pinky3": (0.768438, 0.014032, -0.048655),
    "left_ring1": (0.743122, 0.023086, -0.020478),
    "left_ring2": (0.771925, 0.020001, -0.026183),
    "left_ring3": (0.795797, 0.016148, -0.03091),
    "left_thumb1": (0.684007, 0.022263, 0.022944),
    "left_thumb2": (0.695854, 0.009114, 0.047941),
    "left_thumb3": (0.720851, 0.00105, 0.072533),
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
