"""SMPL-X's pose correctives as driven shape keys: what the skin does besides following its bones. Knows no files.

A body file's ``posedirs`` has a displacement of every vertex for each number of R - 1, R being the rotation matrix of a
joint other than the pelvis: 54 joints times 9 numbers, row by row (Loper et al., SMPL, 2015). Each becomes a shape key
whose driver reads the bone's rotation: a number of R is a quadratic form in the bone's quaternion, plain arithmetic
that Blender evaluates without Python, in whatever rotation mode the bone is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from . import apply, frames, smplx
from . import rotations as rot
from .rotations import Array

if TYPE_CHECKING:
    import bpy

_NAME: Final = "Pose{:03d}"
_OURS: Final = re.compile(r"Basis|Pose\d{3}")
_LEAST: Final = 5e-5  # metres: a key that moves no vertex further is left out
_RANGE: Final = 2.0  # the numbers of R - 1 lie between -2 and 1
_QUATERNION: Final = "wxyz"
_PRODUCTS: Final = [(a, b) for i, a in enumerate(_QUATERNION) for b in _QUATERNION[i:]]


def add(armature: bpy.types.Object, mesh: bpy.types.Object, posedirs: Array) -> int:
    """Gives a skin its correctives; -> how many. ``posedirs``: (V, 3, P) metres in SMPL-X's frame."""
    count = 0
    for count in adding(armature, mesh, posedirs):  # noqa: B007 - the last one is the answer
        pass
    return count


def adding(armature: bpy.types.Object, mesh: bpy.types.Object, posedirs: Array) -> Iterator[int]:
    """``add`` key by key."""
    mesh.shape_key_add(name="Basis", from_mix=False)
    base = np.empty(3 * len(mesh.data.vertices), np.float32)
    mesh.data.vertices.foreach_get("co", base)
    binding = apply.bind(armature)
    made = 0
    for number in range(posedirs.shape[2]):
        name = smplx.JOINTS[1 + number // 9]
        moved = frames.to_blender(posedirs[:, :, number]).astype(np.float32).ravel()
        if np.abs(moved).max() < _LEAST or name not in binding.names:
            continue
        key = mesh.shape_key_add(name=_NAME.format(number), from_mix=False)
        key.slider_min, key.slider_max, key.value = -_RANGE, _RANGE, 0.0
        key.data.foreach_set("co", base + moved)
        index = binding.names.index(name)
        row, column = divmod(number % 9, 3)
        _drive(key, armature, binding.bones[index], expression(binding.turn[index], row, column))
        made += 1
        yield made


def expression(turn: Array, row: int, column: int) -> str:
    """The number of R - 1 in a row and column as arithmetic on a bone's local quaternion w, x, y, z.

    ``turn``: the bone's quaternion of ``apply.Binding``, by which R = turn^-1 q turn.
    """
    matrix = rot.to_matrot(turn)
    weights = np.outer(matrix[:, row], matrix[:, column])  # R = T' R(q) T, so its number is the sum of these times R(q)
    form = dict.fromkeys(_PRODUCTS, 0.0)
    for (a, b), entries in _ROTATION.items():
        form[a, b] = float(sum(sign * weights[i, j] for i, j, sign in entries))
    terms = [f"{value:+.5f}*{a}*{b}" for (a, b), value in form.items() if abs(value) > 5e-6]
    return ("".join(terms) or "0") + ("-1" if row == column else "")


_ROTATION: Final[dict[tuple[str, str], tuple[tuple[int, int, int], ...]]] = {
    ("w", "w"): ((0, 0, 1), (1, 1, 1), (2, 2, 1)), ("x", "x"): ((0, 0, 1), (1, 1, -1), (2, 2, -1)),
    ("y", "y"): ((0, 0, -1), (1, 1, 1), (2, 2, -1)), ("z", "z"): ((0, 0, -1), (1, 1, -1), (2, 2, 1)),
    ("x", "y"): ((0, 1, 2), (1, 0, 2)), ("x", "z"): ((0, 2, 2), (2, 0, 2)), ("y", "z"): ((1, 2, 2), (2, 1, 2)),
    ("w", "x"): ((2, 1, 2), (1, 2, -2)), ("w", "y"): ((0, 2, 2), (2, 0, -2)), ("w", "z"): ((1, 0, 2), (0, 1, -2)),
}  # fmt: skip
"""Where each product of two of a unit quaternion's numbers stands in its rotation matrix: row, column, factor."""


def _drive(key: bpy.types.ShapeKey, armature: bpy.types.Object, bone: str, arithmetic: str) -> None:
    driver = key.driver_add("value").driver
    driver.type = "SCRIPTED"
    for letter in _QUATERNION:
        variable = driver.variables.new()
        variable.name, variable.type = letter, "TRANSFORMS"
        target = variable.targets[0]
        target.id, target.bone_target = armature, bone
        target.transform_type = f"ROT_{letter.upper()}"
        target.rotation_mode, target.transform_space = "QUATERNION", "LOCAL_SPACE"
    driver.expression = arithmetic


def refit(armature: bpy.types.Object, keys: bpy.types.Key) -> None:
    """Puts the drivers right after the rest bones were laid anew: the numbers are theirs."""
    binding = apply.bind(armature)
    turns = dict(zip(binding.names, binding.turn, strict=True))
    drivers = {curve.data_path: curve.driver for curve in keys.animation_data.drivers}
    for block in keys.key_blocks[1:]:
        number = int(block.name.removeprefix("Pose"))
        name = smplx.JOINTS[1 + number // 9]
        driver = drivers.get(block.path_from_id("value"))
        if driver is not None and name in turns:
            driver.expression = expression(turns[name], *divmod(number % 9, 3))


def are_all(keys: bpy.types.Key) -> bool:
    """Whether a skin has no shape keys but ours."""
    return all(_OURS.fullmatch(block.name) for block in keys.key_blocks)


def shift(keys: bpy.types.Key, change: Array) -> None:
    """Moves every key by what another body shape changes of the skin: (V, 3) in the mesh's own axes."""
    co = np.empty(change.size, np.float32)
    for block in keys.key_blocks:
        block.data.foreach_get("co", co)
        block.data.foreach_set("co", co + change.ravel().astype(np.float32))
