"""Quaternions in numpy: (w, x, y, z), any leading shape. Knows nothing of bodies, bones or bpy.

``quat`` is a unit quaternion, ``matrot`` a 3x3 matrix that acts on column vectors, ``rotvec`` axis-angle in radians.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

IDENTITY = (1.0, 0.0, 0.0, 0.0)
_SMALL_ANGLE = 1e-8  # radians; below it sin(x)/x is 1 to double precision
_NEAR = 0.9995  # cosine above which slerp and lerp differ by less than 1e-7


def unit(quat: ArrayLike) -> Array:
    """Scaled to length 1; a zero quaternion becomes the identity."""
    q = np.asarray(quat, np.float64)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(length > 1e-12, q / np.maximum(length, 1e-12), np.asarray(IDENTITY))


def multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """Hamilton product: rotate by b, then by a."""
    aw, ax, ay, az = np.moveaxis(np.asarray(a, np.float64), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b, np.float64), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


def conjugate(quat: ArrayLike) -> Array:
    """The inverse of a unit quaternion."""
    return np.asarray(quat, np.float64) * np.array([1.0, -1.0, -1.0, -1.0])


def rotate(quat: ArrayLike, vector: ArrayLike) -> Array:
    """``vector`` (..., 3) turned by ``quat``."""
    return np.einsum("...ij,...j->...i", to_matrot(quat), np.asarray(vector, np.float64))


def to_matrot(quat: ArrayLike) -> Array:
    """(..., 4) -> (..., 3, 3)."""
    w, x, y, z = np.moveaxis(unit(quat), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def from_matrot(matrot: ArrayLike) -> Array:
    """(..., 3, 3) -> (..., 4), w >= 0. Divides by the largest component, so no rotation is singular (Shepperd)."""
    m = np.asarray(matrot, np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    four_squares = np.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], -1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    p, q, r = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    w2, x2, y2, z2 = np.moveaxis(four_squares, -1, 0)
    table = np.stack(
        [
            np.stack([w2, a, b, c], -1),
            np.stack([a, x2, p, q], -1),
            np.stack([b, p, y2, r], -1),
            np.stack([c, q, r, z2], -1),
        ],
        -2,
    )
    best = four_squares.argmax(-1)
    quat = unit(np.take_along_axis(table, best[..., None, None], -2)[..., 0, :])
    return np.where(quat[..., :1] < 0, -quat, quat)


def from_rotvec(rotvec: ArrayLike) -> Array:
    """(..., 3) radians -> (..., 4)."""
    v = np.asarray(rotvec, np.float64)
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    k = np.where(angle < _SMALL_ANGLE, 0.5, np.sin(angle / 2) / np.maximum(angle, _SMALL_ANGLE))
    return np.concatenate([np.cos(angle / 2), v * k], -1)


def to_rotvec(quat: ArrayLike) -> Array:
    """(..., 4) -> (..., 3) with the angle in 0..pi."""
    q = unit(quat)
    q = np.where(q[..., :1] < 0, -q, q)
    n = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    k = np.where(n < _SMALL_ANGLE, 2.0, 2 * np.arctan2(n, q[..., :1]) / np.maximum(n, _SMALL_ANGLE))
    return q[..., 1:] * k


def angle_between(a: ArrayLike, b: ArrayLike) -> Array:
    """Angle in radians, 0..pi, between two rotations."""
    d = multiply(conjugate(a), b)
    return 2 * np.arctan2(np.linalg.norm(d[..., 1:], axis=-1), np.abs(d[..., 0]))


def slerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> Array:
    """The shortest way from a (t = 0) to b (t = 1), (..., 4)."""
    a, b = unit(a), unit(b)
    t = np.asarray(t, np.float64)[..., None]
    dot = (a * b).sum(-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    dot = np.minimum(np.abs(dot), 1.0)
    theta = np.arccos(np.where(dot > _NEAR, 0.0, dot))
    sine = np.where(dot > _NEAR, 1.0, np.sin(theta))
    weight_a = np.where(dot > _NEAR, 1 - t, np.sin((1 - t) * theta) / sine)
    weight_b = np.where(dot > _NEAR, t, np.sin(t * theta) / sine)
    return unit(weight_a * a + weight_b * b)


def same_side(quat: ArrayLike, before: ArrayLike) -> Array:
    """The one of q and -q that is nearer to ``before``, so that interpolation takes the short way."""
    q, p = np.asarray(quat, np.float64), np.asarray(before, np.float64)
    return np.where((q * p).sum(-1, keepdims=True) < 0, -q, q)


def mirror(quat: ArrayLike) -> Array:
    """Reflection of a local rotation in the body's x = 0 plane. Left and right joints must be swapped as well."""
    return np.asarray(quat, np.float64) * np.array([1.0, 1.0, -1.0, -1.0])


def twist(quat: ArrayLike, axis: int) -> Array:
    """The part of a rotation that turns about one coordinate axis (0, 1, 2), such that rest = q * conj(twist) does not.

    Swing-twist: a rotation by exactly half a turn about another axis has no twist, and the identity is given.
    """
    q = unit(quat)
    part = np.zeros_like(q)
    part[..., 0], part[..., 1 + axis] = q[..., 0], q[..., 1 + axis]
    return unit(part)
