"""Rotation representations, each with its convention in its name. Torch in, torch out; knows nothing of bodies.

``quat`` is (w, x, y, z); ``rotvec`` is axis-angle in radians; ``matrot`` is 3x3 acting on column vectors;
``rot6d_columns`` is the first column, then the second (ChatPose, HMR2); ``rot6d_rows`` is the same two columns
interleaved, row by row (VPoser). All functions take any leading shape and have finite gradients everywhere.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_EPS = 1e-12  # below this a squared angle is handled by its Taylor series


def rotvec_to_quat(rotvec: Tensor) -> Tensor:
    """(..., 3) -> (..., 4) unit quaternions, w >= 0 for angles up to pi."""
    sq = (rotvec * rotvec).sum(-1, keepdim=True)
    small = sq < _EPS
    angle = torch.sqrt(torch.where(small, torch.ones_like(sq), sq))
    w = torch.where(small, 1 - sq / 8, torch.cos(angle / 2))
    k = torch.where(small, 0.5 - sq / 48, torch.sin(angle / 2) / angle)
    return torch.cat([w, rotvec * k], -1)


def quat_to_rotvec(quat: Tensor) -> Tensor:
    """(..., 4) unit -> (..., 3) with angle in [0, pi]."""
    quat = quat_canonical(quat)
    w, v = quat[..., :1], quat[..., 1:]
    sq = (v * v).sum(-1, keepdim=True)
    small = sq < _EPS
    n = torch.sqrt(torch.where(small, torch.ones_like(sq), sq))
    k = torch.where(small, 2 / w.clamp(min=0.5), 2 * torch.atan2(n, w) / n)
    return v * k


def quat_to_matrot(quat: Tensor) -> Tensor:
    """(..., 4), any length but zero -> (..., 3, 3)."""
    w, x, y, z = F.normalize(quat, dim=-1).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        -1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def matrot_to_quat(matrot: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 4) unit, w >= 0. The largest of the four components is divided by, so no case is
    singular.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrot.flatten(-2).unbind(-1)
    four_sq = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    best = four_sq.argmax(-1)
    d = torch.sqrt(four_sq.gather(-1, best[..., None]).clamp(min=0.5))  # the largest is at least 1
    rows = torch.stack(
        [
            torch.stack([d[..., 0] * d[..., 0], m21 - m12, m02 - m20, m10 - m01], -1),
            torch.stack([m21 - m12, d[..., 0] * d[..., 0], m10 + m01, m02 + m20], -1),
            torch.stack([m02 - m20, m10 + m01, d[..., 0] * d[..., 0], m12 + m21], -1),
            torch.stack([m10 - m01, m02 + m20, m12 + m21, d[..., 0] * d[..., 0]], -1),
        ],
        -2,
    )
    picked = rows.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return quat_canonical(F.normalize(picked / (2 * d), dim=-1))


def rotvec_to_matrot(rotvec: Tensor) -> Tensor:
    """(..., 3) -> (..., 3, 3)."""
    return quat_to_matrot(rotvec_to_quat(rotvec))


def matrot_to_rotvec(matrot: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) with angle in [0, pi]."""
    return quat_to_rotvec(matrot_to_quat(matrot))


def _gram_schmidt(a: Tensor, b: Tensor) -> Tensor:
    x = F.normalize(a, dim=-1)
    y = F.normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def rot6d_columns_to_matrot(rot6d: Tensor) -> Tensor:
    """(..., 6) = column 0 then column 1 -> (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019, HMR2's order)."""
    return _gram_schmidt(rot6d[..., :3], rot6d[..., 3:])


def matrot_to_rot6d_columns(matrot: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 6): column 0 then column 1."""
    return torch.cat([matrot[..., 0], matrot[..., 1]], -1)


def rot6d_rows_to_matrot(rot6d: Tensor) -> Tensor:
    """(..., 6) = a (3, 2) matrix row by row -> (..., 3, 3) by Gram-Schmidt (VPoser's order)."""
    m = rot6d.unflatten(-1, (3, 2))
    return _gram_schmidt(m[..., 0], m[..., 1])


def matrot_to_rot6d_rows(matrot: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 6): the first two columns, interleaved row by row."""
    return matrot[..., :2].flatten(-2)


def project_to_so3(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> the nearest rotation (..., 3, 3): of a sum of rotations, their mean."""
    u, _, vt = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[..., 0])
    sign[..., 2] = torch.det(u @ vt)
    return u @ (sign[..., None] * vt)


def quat_canonical(quat: Tensor) -> Tensor:
    """The one of q and -q with w >= 0."""
    return torch.where(quat[..., :1] < 0, -quat, quat)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: rotate by b, then by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def quat_conjugate(quat: Tensor) -> Tensor:
    """The inverse of a unit quaternion."""
    return torch.cat([quat[..., :1], -quat[..., 1:]], -1)


def quat_slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Shortest-way spherical interpolation, (..., 4); t broadcasts against (..., 1)."""
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    dot = dot.abs().clamp(max=1.0)
    near = dot > 0.9995
    theta = torch.acos(torch.where(near, torch.zeros_like(dot), dot))
    s = torch.sin(theta)
    wa = torch.where(near, torch.as_tensor(1 - t, dtype=a.dtype), torch.sin((1 - t) * theta) / s)
    wb = torch.where(near, torch.as_tensor(t, dtype=a.dtype), torch.sin(t * theta) / s)
    return F.normalize(wa * a + wb * b, dim=-1)


def geodesic_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians, (...), between rotation matrices (..., 3, 3); exact near 0 and near pi."""
    r = a.transpose(-1, -2) @ b
    sin = torch.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], -1)
    cos = r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(torch.sqrt((sin * sin).sum(-1) + _EPS), cos)


_MIRROR_SIGN = (1.0, 1.0, -1.0, -1.0)


def mirror_quat(quat: Tensor) -> Tensor:
    """Reflection of a local rotation in the body's x = 0 plane, (..., 4). Swap left and right joints as well."""
    return quat * quat.new_tensor(_MIRROR_SIGN)
