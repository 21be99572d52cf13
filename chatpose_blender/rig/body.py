"""Makes an armature and a skinned mesh from a SMPL-X-format body file. Knows nothing of poses.

``load_body`` touches the disk and no bpy, ``make_body`` the other way round, so that a thread may do the first.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import blender_versions
from . import correctives, frames, keyframes, smplx

if TYPE_CHECKING:
    import bpy

OBJECT_NAME: Final = "ChatPose Body"
STANDIN_FILE: Final = Path(__file__).parent.parent / "body" / "SMPLX_STANDIN.npz"
MAX_SHAPES: Final = 10  # a SMPL-X file has up to 300; the first ten are what a person can steer
_NEEDED: Final = ("v_template", "f", "J_regressor", "weights")
_MIN_WEIGHT: Final = 1e-3  # a thousandth of a joint's motion is under a millimetre
_LEAF_LENGTH: Final = 0.35  # a bone without a child is this much of its parent's length
_MIN_LENGTH: Final = 0.008  # metres; Blender removes bones of no length
_EYE_LENGTH: Final = 0.03
MAIN_CHILD: Final[dict[str, str]] = {
    "pelvis": "spine1", "spine1": "spine2", "spine2": "spine3", "spine3": "neck", "neck": "head",
    **{f"{side}_{a}": f"{side}_{b}" for side in ("left", "right") for a, b in (
        ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("collar", "shoulder"), ("shoulder", "elbow"),
        ("elbow", "wrist"), ("wrist", "middle1"),
        *((f"{finger}{i}", f"{finger}{i + 1}") for finger in smplx.FINGERS for i in (1, 2)))},
}  # fmt: skip
"""The child that a bone points at."""

_COLLECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Body": smplx.BODY_JOINTS,
    "Hands": smplx.HAND_JOINTS,
    "Face": smplx.FACE_JOINTS,
}


class BodyFileError(ValueError):
    """A body file that cannot be used. The text is one sentence for the artist."""


@dataclass(frozen=True)
class BodyFile:
    """What is read of a body file: metres, SMPL-X's frame.

    ``vertices`` (V, 3), ``faces`` (F, 3), ``joints`` (55, 3), ``weights`` (V, 55), ``shapes`` (S, V, 3) with
    ``shape_names`` S names and ``joint_shapes`` (S, 55, 3): what each shape does to the joints. ``uv`` (3F, 2) or None.
    ``eyes`` (F,) bool or None: the faces of the eyes. ``posedirs`` (V, 3, 486) or None: pose correctives.
    """

    name: str
    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    joints: NDArray[np.float32]
    weights: NDArray[np.float32]
    shapes: NDArray[np.float32]
    shape_names: tuple[str, ...]
    joint_shapes: NDArray[np.float32]
    uv: NDArray[np.float32] | None
    eyes: NDArray[np.bool_] | None
    posedirs: NDArray[np.float32] | None = None


_loaded: dict[str, BodyFile] = {}
_REMEMBERED: Final = 2  # bodies; a licensed one is 100 MB


def is_loaded(path: str) -> bool:
    """Whether ``load_body`` will answer without touching the disk."""
    return path in _loaded


def load_body(path: str) -> BodyFile:
    """Reads a SMPL-X npz, ours or the licensed one, once. Never unpickles. Raises BodyFileError."""
    if path not in _loaded:
        body = _read_body(path)
        while len(_loaded) >= _REMEMBERED:
            _loaded.pop(next(iter(_loaded)), None)
        _loaded[path] = body
    return _loaded[path]


def _read_body(path: str) -> BodyFile:
    name = os.path.basename(path)  # noqa: PTH119 - plain string in, plain string out
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [key for key in _NEEDED if key not in data]
            if missing:
                raise BodyFileError(f"'{name}' is not a SMPL-X body: it lacks {', '.join(missing)}.")
            vertices = data["v_template"].astype(np.float32)
            faces = data["f"].astype(np.int32)
            regressor = data["J_regressor"].astype(np.float32)
            weights = data["weights"].astype(np.float32)
            shapedirs = data["shapedirs"] if "shapedirs" in data else np.zeros((*vertices.shape, 0), np.float32)
            named = [str(n) for n in data["beta_names"]] if "beta_names" in data else []
            uv = data["vt"][data["ft"].astype(np.int64).ravel()].astype(np.float32) if "vt" in data else None
            parts = [str(n) for n in data["part_names"]] if "part_names" in data else []
            part = data["face_part"] if parts else None
            posedirs = _posedirs(path, data) if "posedirs" in data else None
    except OSError as error:
        raise BodyFileError(f"The body file '{name}' cannot be read; install the add-on again.") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, BodyFileError):
            raise
        raise BodyFileError(f"'{name}' is damaged or is a pickle; a SMPL-X .npz file is needed.") from error
    count = len(smplx.JOINTS)
    if regressor.shape != (count, len(vertices)) or weights.shape != (len(vertices), count):
        raise BodyFileError(f"'{name}' is not a SMPL-X body: it does not have the {count} joints of SMPL-X.")
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.isin(faces, np.arange(len(vertices))).all():
        raise BodyFileError(f"'{name}' is damaged: its triangles name vertices that it does not have.")
    whole = (faces != np.roll(faces, 1, axis=1)).all(1)  # a triangle that is a line makes a mesh invalid
    faces, part = faces[whole], None if part is None else part[whole]
    uv = None if uv is None else uv.reshape(-1, 3, 2)[whole].reshape(-1, 2)
    if posedirs is not None and posedirs.shape != (*vertices.shape, 9 * (count - 1)):
        posedirs = None  # of another layout: the skin follows its bones all the same
    shapes = np.ascontiguousarray(np.moveaxis(shapedirs[..., :MAX_SHAPES], -1, 0), np.float32)
    eyes = None if part is None else np.isin(part, [i for i, n in enumerate(parts) if n.endswith("_eye")])
    return BodyFile(
        name=name,
        vertices=vertices,
        faces=faces,
        joints=regressor @ vertices,
        weights=weights,
        shapes=shapes,
        shape_names=tuple(named[i] if i < len(named) else f"beta{i:02d}" for i in range(len(shapes))),
        joint_shapes=np.einsum("jv,svc->sjc", regressor, shapes),
        uv=uv,
        eyes=eyes,
        posedirs=posedirs,
    )


_BLANK: Final = 0.01  # packed to less than this part of itself, an array holds nothing but zeros


def _posedirs(path: str, data: Mapping[str, NDArray[Any]]) -> NDArray[np.float32] | None:
    """A file's pose correctives; None where they are all zero, which is seen without unpacking 80 MB of zeros."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("posedirs.npy")
    if member.compress_size < _BLANK * member.file_size:
        return None
    return data["posedirs"].astype(np.float32)


def make_body(context: bpy.types.Context, body: BodyFile) -> bpy.types.Object:
    """A T-posed armature named ``ChatPose Body`` with its mesh, feet on the ground at the 3D cursor; -> the armature.

    Must be called in Object Mode. Leaves the armature selected and active. Does not push an undo step.
    """
    return keyframes.finish(making(context, body))


def making(context: bpy.types.Context, body: BodyFile) -> Generator[None, None, bpy.types.Object]:
    """``make_body`` in steps of a few milliseconds. Closed half way, it takes back what it has made."""
    import bpy

    vertices, heads = _standing(body, np.zeros(len(body.shapes)))
    before = (context.view_layer.objects.active, list(context.selected_objects))
    mesh = bpy.data.objects.new(f"{OBJECT_NAME} Mesh", bpy.data.meshes.new(f"{OBJECT_NAME} Mesh"))
    armature = None
    try:
        yield from _fill_mesh(mesh.data, body, vertices)
        yield from _add_weights(mesh, body.weights)
        armature = _make_armature(context, heads)
        if body.posedirs is not None:
            yield
            yield from correctives.adding(armature, mesh, body.posedirs)
    except BaseException:
        _unmake(context, mesh, armature, *before)
        raise
    context.collection.objects.link(mesh)
    mesh.parent = armature
    mesh.modifiers.new("Armature", "ARMATURE").object = armature
    armature.location = context.scene.cursor.location
    return armature


def _unmake(
    context: bpy.types.Context,
    mesh: bpy.types.Object,
    armature: bpy.types.Object | None,
    active: bpy.types.Object | None,
    selected: list[bpy.types.Object],
) -> None:
    """Takes a body back that is not finished; what was active and selected is so again."""
    import bpy

    materials = list(mesh.data.materials)
    bpy.data.meshes.remove(mesh.data)
    if armature is not None:
        bpy.data.armatures.remove(armature.data)
        context.view_layer.objects.active = active
        for ob in selected:
            ob.select_set(True)
    for material in materials:
        if not material.users:
            bpy.data.materials.remove(material)


def shape_body(context: bpy.types.Context, armature: bpy.types.Object, body: BodyFile, betas: ArrayLike) -> None:
    """Gives a body that ``make_body`` made another shape: skin and rest bones. Its pose stays. Raises BodyFileError.

    ``betas``: one number for each of the file's shapes, the first ones if there are fewer. Must be called in Object or
    Pose Mode. Does not push an undo step.
    """
    import bpy

    mesh = body_mesh(armature, body)
    if mesh is None:
        raise BodyFileError(f"'{armature.name}' does not have the skin of this body file; add a new body instead.")
    keys = mesh.data.shape_keys
    if keys is not None and not correctives.are_all(keys):
        raise BodyFileError("This body's skin has shape keys of its own; apply or remove them first.")
    full = np.zeros(len(body.shapes))
    given = np.asarray(betas, np.float64)[: len(full)]
    full[: len(given)] = given
    vertices, heads = _standing(body, full)
    if keys is not None:
        before = np.empty(vertices.size, np.float32)
        keys.reference_key.data.foreach_get("co", before)
        correctives.shift(keys, vertices - before.reshape(vertices.shape))
    mesh.data.vertices.foreach_set("co", vertices.ravel())
    mesh.data.update()
    active, mode = context.view_layer.objects.active, armature.mode
    context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        _lay_bones(armature.data, heads)
    finally:
        bpy.ops.object.mode_set(mode=mode)
        context.view_layer.objects.active = active
    if keys is not None:
        correctives.refit(armature, keys)


def body_mesh(armature: bpy.types.Object, body: BodyFile) -> bpy.types.Object | None:
    """The skin that ``make_body`` gave this armature, if it still has all of its vertices."""
    for child in armature.children:
        if child.type == "MESH" and len(child.data.vertices) == len(body.vertices):
            return child
    return None


def _standing(body: BodyFile, betas: NDArray[np.float64]) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
    """Vertices and joints of a shape in Blender's frame, the pelvis above the origin and the soles on the ground."""
    vertices = frames.to_blender(body.vertices + np.tensordot(betas, body.shapes, 1))
    joints = frames.to_blender(body.joints + np.tensordot(betas, body.joint_shapes, 1))
    stand = np.array([joints[0, 0], joints[0, 1], vertices[:, 2].min()])
    return (vertices - stand).astype(np.float32), dict(zip(smplx.JOINTS, joints - stand, strict=True))


def bone_tails(heads: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Where each joint's bone ends: at its main child, or onward in its parent's direction; Blender's frame."""
    tails: dict[str, NDArray[np.float64]] = {}
    for name in smplx.JOINTS:
        head = heads[name]
        child = MAIN_CHILD.get(name)
        if child is not None:
            tail = heads[child]
        elif name in smplx.FACE_JOINTS:
            tail = head + np.array([0.0, -_EYE_LENGTH, 0.0])  # eyes look ahead and the jaw points at the chin
        elif name == "head":
            tail = head + np.array([0.0, 0.0, np.linalg.norm(head - heads["neck"]) * 0.9])
        elif name.endswith("_foot"):
            tail = head + np.array([0.0, -np.linalg.norm(head - heads[smplx.PARENT[name]]) * _LEAF_LENGTH, 0.0])
        else:
            parent = heads[smplx.PARENT[name]]
            tail = head + (head - parent) * 0.8
        if np.linalg.norm(tail - head) < _MIN_LENGTH:
            tail = head + np.array([0.0, 0.0, _MIN_LENGTH])
        tails[name] = np.asarray(tail)
    return tails


def _make_armature(context: bpy.types.Context, heads: dict[str, NDArray[np.float64]]) -> bpy.types.Object:
    import bpy

    data = bpy.data.armatures.new(OBJECT_NAME)
    data.display_type = "STICK"
    armature = bpy.data.objects.new(OBJECT_NAME, data)
    armature.show_in_front = True
    context.collection.objects.link(armature)
    for other in context.selected_objects:
        other.select_set(False)
    armature.select_set(True)
    context.view_layer.objects.active = armature
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        for name in smplx.JOINTS:
            bone = data.edit_bones.new(name)
            if name in smplx.PARENT:
                bone.parent = data.edit_bones[smplx.PARENT[name]]
        _lay_bones(data, heads)
        for title, names in _COLLECTIONS.items():
            collection = data.collections.new(title)
            for name in names:
                collection.assign(data.edit_bones[name])
            collection.is_visible = title == "Body"
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    for bone in armature.pose.bones:
        bone.rotation_mode = "QUATERNION"
    return armature


def _lay_bones(data: bpy.types.Armature, heads: dict[str, NDArray[np.float64]]) -> None:
    """Puts the edit bones where the joints are; a bone's z looks ahead, or up where the bone lies level."""
    tails = bone_tails(heads)
    for name in smplx.JOINTS:
        bone = data.edit_bones.get(name)
        if bone is None:
            continue
        bone.head, bone.tail = heads[name], tails[name]
        along = tails[name] - heads[name]
        upright = abs(along[2]) > 0.8 * np.linalg.norm(along)
        bone.align_roll((0.0, -1.0, 0.0) if upright else (0.0, 0.0, 1.0))


def _fill_mesh(data: bpy.types.Mesh, body: BodyFile, vertices: NDArray[np.float32]) -> Iterator[None]:
    """Skin, materials and texture coordinates, by whole arrays."""
    count = len(body.faces)
    data.vertices.add(len(vertices))
    data.loops.add(3 * count)
    data.polygons.add(count)
    data.vertices.foreach_set("co", vertices.ravel())
    yield
    # By the attribute's own name: the corners' property of the same numbers takes five times as long.
    data.attributes[".corner_vert"].data.foreach_set("value", body.faces.ravel())
    data.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    data.shade_smooth()
    yield
    data.materials.append(_material("ChatPose Clay", (0.62, 0.52, 0.45)))
    if body.eyes is not None:
        data.materials.append(_material("ChatPose Eyes", (0.9, 0.9, 0.88)))
        index = data.attributes.new("material_index", "INT", "FACE")
        index.data.foreach_set("value", body.eyes.astype(np.int32))
    yield
    if body.uv is not None:
        data.uv_layers.new(name="UVMap").uv.foreach_set("vector", body.uv.ravel())
        yield
    data.update(calc_edges=True)
    yield


def _add_weights(mesh: bpy.types.Object, weights: NDArray[np.float32]) -> Iterator[None]:
    """Vertex groups by joint. Vertices of one weight are added together: whole rigid regions in one call."""
    for j, name in enumerate(smplx.JOINTS):
        group = mesh.vertex_groups.new(name=name)
        column = np.round(weights[:, j], 3)
        used = np.flatnonzero(column >= _MIN_WEIGHT)
        order = used[np.argsort(column[used], kind="stable")]
        values, starts = np.unique(column[order], return_index=True)
        for value, indices in zip(values, np.split(order, starts[1:]), strict=True):
            group.add(indices.tolist(), float(value), "REPLACE")
        yield


def _material(name: str, colour: tuple[float, float, float]) -> bpy.types.Material:
    """A plain matte material, shared by all bodies of a file."""
    import bpy

    material = bpy.data.materials.get(name)
    if material is None:
        material = bpy.data.materials.new(name)
        material.diffuse_color = (*colour, 1.0)
        material.roughness = 0.9
        blender_versions.use_nodes(material)
        shader = material.node_tree.nodes.get("Principled BSDF")
        if shader is not None:
            shader.inputs["Base Color"].default_value = (*colour, 1.0)
            shader.inputs["Roughness"].default_value = 0.9
    return material
