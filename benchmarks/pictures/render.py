"""Renders the plan's pictures with Blender's Cycles on the processor; those that are there already are left alone.

    BLENDER_PYTHON benchmarks/pictures/render.py FOLDER [--limit N] [--part 0/2]

FOLDER holds what scenes.py writes. Runs in the Python of Blender as a module; knows no poses
and no server. Line art is drawn from two renders at twice the size, of colours and of depth and normals: no Freestyle,
which takes seconds a picture.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pictures.camera import Z_UP, Camera
from pictures.looks import MATERIALS

SAMPLES = 4  # and the denoiser: 0.4 s a picture, and what is left of the noise is a photograph's
JPEG_QUALITY = 90
_FAR_M = 30.0


def settings(camera: Camera, samples: int, scale: int) -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x, scene.render.resolution_y = camera.width * scale, camera.height * scale
    scene.render.resolution_percentage = 100
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.use_adaptive_sampling = "CPU", samples, False
    cycles.max_bounces = cycles.diffuse_bounces = 1
    cycles.glossy_bounces = cycles.transmission_bounces = 0
    cycles.use_light_tree = False
    cycles.use_denoising = samples > 1
    if samples > 1:
        cycles.denoiser, cycles.denoising_prefilter, cycles.denoising_quality = "OPENIMAGEDENOISE", "FAST", "FAST"
    return scene


def link(data: Any, name: str) -> bpy.types.Object:
    made = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(made)
    return made


def place_camera(camera: Camera) -> bpy.types.Object:
    lens = bpy.data.cameras.new("camera")
    lens.sensor_fit, lens.sensor_width, lens.lens = "HORIZONTAL", 36.0, camera.lens_mm()
    lens.clip_start, lens.clip_end = 0.01, 200.0
    made = link(lens, "camera")
    made.matrix_world = Matrix(camera.blender_matrix().tolist())
    bpy.context.scene.camera = made
    return made


# -- materials -------------------------------------------------------------------------------------------------------
def linear(colour: str | list[float]) -> np.ndarray:
    """(3,) linear from six hex digits of sRGB or from numbers of sRGB."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] if isinstance(colour, str) else colour)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


class Paint:
    """A material's nodes: a pattern of two colours, shiny or not, or flat (``flat``: its colour alone, no light)."""

    def __init__(self, name: str, *, flat: bool) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        self.flat = flat

    def node(self, kind: str, **inputs: Any) -> Any:
        made = self.tree.nodes.new(kind)
        for name, value in inputs.items():
            made.inputs[name.replace("_", " ")].default_value = value
        return made

    def done(self, colour: Any, roughness: float = 0.8, bump: Any = None) -> bpy.types.Material:
        """``colour``: a socket, or (3,) linear."""
        if self.flat:
            shader, into = self.node("ShaderNodeEmission"), "Color"
        else:
            shader, into = self.node("ShaderNodeBsdfPrincipled", Roughness=roughness), "Base Color"
            if bump is not None:
                self.tree.links.new(bump, shader.inputs["Normal"])
        if isinstance(colour, np.ndarray):
            shader.inputs[into].default_value = (*colour, 1)
        else:
            self.tree.links.new(colour, shader.inputs[into])
        out = self.node("ShaderNodeOutputMaterial")
        self.tree.links.new(shader.outputs[0], out.inputs["Surface"])
        return self.material

    def pattern(self, kind: str, a: np.ndarray, b: np.ndarray, scale: float, where: Any) -> Any:
        """A colour socket, or ``a`` itself when plain."""
        if kind == "plain":
            return a
        first, second = (*a, 1), (*b, 1)
        if kind == "bricks":
            made = self.node("ShaderNodeTexBrick", Color1=first, Color2=(*(0.8 * a), 1), Mortar=second, Scale=scale * 2)
        elif kind == "checks":
            made = self.node("ShaderNodeTexChecker", Color1=first, Color2=second, Scale=scale * 4)
        else:
            kinds = {"stripes": "ShaderNodeTexWave", "noise": "ShaderNodeTexNoise"}
            made = self.node(kinds.get(kind, "ShaderNodeTexVoronoi"), Scale=scale * 3)
            if kind == "stripes":
                made.bands_direction = "Z"
            ramp = self.node("ShaderNodeValToRGB")
            edge = 0.35 if kind == "spots" else 0.5
            ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = edge - 0.08, edge + 0.08
            ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = first, second
            self.tree.links.new(made.outputs[0], ramp.inputs[0])
            self.tree.links.new(where, made.inputs["Vector"])
            return ramp.outputs[0]
        self.tree.links.new(where, made.inputs["Vector"])
        return made.outputs[0]

    def on_object(self) -> Any:
        return self.node("ShaderNodeTexCoord").outputs["Object"]

    def at_rest(self) -> Any:
        made = self.node("ShaderNodeAttribute")
        made.attribute_name = "rest"
        return made.outputs["Vector"]


def cloth(material: str, look: dict[str, Any], flat: bool) -> bpy.types.Material:
    paint = Paint(material, flat=flat)
    colour = linear(look["colours"][material])
    if material not in ("shirt", "trousers"):
        rough = {"skin": 0.55, "hair": 0.5, "eye": 0.15, "iris": 0.1, "shoes": 0.4}.get(material, 0.7)
        return paint.done(colour, rough)
    where = paint.at_rest()
    other = linear(look["colours"]["belt"])
    kind = look["pattern"].get(material, "plain")
    drawn = paint.pattern(kind, colour, other, {"stripes": 3.0, "checks": 4.0, "spots": 8.0}.get(kind, 1.0), where)
    folds = paint.node("ShaderNodeTexNoise", Scale=14.0, Detail=2.0)
    paint.tree.links.new(where, folds.inputs["Vector"])
    bump = paint.node("ShaderNodeBump", Strength=0.5, Distance=0.03)
    paint.tree.links.new(folds.outputs[0], bump.inputs["Height"])
    return paint.done(drawn, 0.85, bump.outputs[0])


# -- things ----------------------------------------------------------------------------------------------------------
def body_mesh(
    vertices: np.ndarray, faces: np.ndarray, material: np.ndarray, rest: np.ndarray, look: dict[str, Any], flat: bool
) -> bpy.types.Object:
    """``vertices`` (V, 3) in SMPL-X's world."""
    mesh = bpy.data.meshes.new("body")
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", (vertices @ Z_UP.T).astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.polygons.foreach_set("material_index", material.astype(np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()
    mesh.attributes.new("rest", "FLOAT_VECTOR", "POINT").data.foreach_set("vector", (rest @ Z_UP.T).ravel())
    for name in MATERIALS:
        mesh.materials.append(cloth(name, look, flat))
    return link(mesh, "body")


def thing(kind: str, at: np.ndarray, size: list[float], turn: float, material: bpy.types.Material) -> None:
    """A box, cylinder or ball whose middle is ``at`` (SMPL-X's world), turned about the vertical."""
    add = {
        "box": bpy.ops.mesh.primitive_cube_add, "cylinder": bpy.ops.mesh.primitive_cylinder_add,
        "ball": bpy.ops.mesh.primitive_uv_sphere_add, "plane": bpy.ops.mesh.primitive_plane_add,
    }[kind]  # fmt: skip
    add(location=(Z_UP @ at).tolist(), rotation=(0, 0, turn))
    made = bpy.context.object
    made.scale = (size[0] / 2, size[2] / 2, size[1] / 2)
    made.data.materials.append(material)


def two_colours(name: str, kind: str, a: list[float], b: list[float], scale: float) -> bpy.types.Material:
    paint = Paint(name, flat=False)
    return paint.done(paint.pattern(kind, linear(a), linear(b), scale, paint.on_object()))


def backdrop(drop: dict[str, Any], camera: Camera, body_depth: float) -> None:
    if not drop["busy"]:
        shade = [c * drop["floor_shade"] for c in drop["floor"]]
        thing("plane", np.zeros(3), [60, 60, 60], 0.0, two_colours("floor", "plain", shade, shade, 1))
        world(drop["wall"], 1.0, drop["wall"])
        return
    floor = two_colours("floor", drop["floor_pattern"], drop["floor"], drop["floor2"], 20 * drop["scale"])
    thing("plane", np.zeros(3), [40, 40, 40], 0.3, floor)
    ahead = -camera.rotation[:, 2] * [1, 0, 1]
    ahead /= np.linalg.norm(ahead) + 1e-9
    side = np.array([-ahead[2], 0, ahead[0]])
    stand = camera.location * [1, 0, 1]
    wall = two_colours("wall", drop["wall_pattern"], drop["wall"], drop["wall2"], 5 * drop["scale"])
    turn = math.atan2(ahead[0], ahead[2])
    thing("box", stand + ahead * (body_depth + 1.2 + drop["wall_behind"]) + [0, 4, 0], [24, 8, 0.1], turn, wall)
    half = camera.width / 2 / camera.focal_px
    for item in drop["things"]:
        away = body_depth + 0.4 + item["behind"]
        size = item["size"]
        at = stand + ahead * away + side * item["across"] * (half * away + 0.2) + [0, size[1] / 2, 0]
        paint = two_colours("thing", item["pattern"], item["colour"], drop["wall2"], 1.5)
        thing(item["kind"], at, size, item["turn"], paint)


def world(colour: list[float], strength: float, seen: list[float] | None = None) -> None:
    """``colour`` lights the scene; ``seen`` is what the camera sees of it where that differs."""
    made = bpy.data.worlds.new("world")
    bpy.context.scene.world = made
    made.use_nodes = True
    tree = made.node_tree
    lit = tree.nodes["Background"]
    lit.inputs[0].default_value, lit.inputs[1].default_value = (*linear(colour), 1), strength
    if seen is None:
        return
    shown, mix, path = (tree.nodes.new(f"ShaderNode{k}") for k in ("Background", "MixShader", "LightPath"))
    shown.inputs[0].default_value = (*linear(seen), 1)
    tree.links.new(path.outputs["Is Camera Ray"], mix.inputs[0])
    tree.links.new(lit.outputs[0], mix.inputs[1])
    tree.links.new(shown.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], tree.nodes["World Output"].inputs[0])


def sun(light: dict[str, Any], camera: Camera) -> None:
    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy, lamp.angle = light["sun"], light["soft"]
    made = link(lamp, "sun")
    made.rotation_euler = (math.pi / 2 - light["height"], 0, camera.heading() + light["around"])


# -- pictures --------------------------------------------------------------------------------------------------------
class Painter:
    def __init__(self, folder: Path) -> None:
        self.pictures = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.bodies = json.loads((folder / "bodies.json").read_text(encoding="utf-8"))
        with np.load(folder / "bodies.npz") as data:
            self.vertices, self.material, self.joints = data["vertices"], data["material"], data["joints"]
            self.faces, self.rest = data["faces"], data["uv_rest"]

    def people(self, entry: dict[str, Any], flat: bool) -> None:
        shown = [(entry["body"], None)]
        if entry["other"]:
            shown.append((entry["other"]["body"], entry["other"]))
        for body, other in shown:
            v = self.vertices[body]
            if other:
                c, s = math.cos(other["turn"]), math.sin(other["turn"])
                v = v @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) + other["at"]
            body_mesh(v, self.faces, self.material[body], self.rest, self.bodies[body]["look"], flat)

    def photo(self, entry: dict[str, Any], file: Path) -> None:
        camera = Camera.from_json(entry["camera"])
        scene = settings(camera, SAMPLES, 1)
        scene.view_settings.view_transform = entry["look"]
        place_camera(camera)
        depth = float(-camera.seen(self.joints[entry["body"]][0])[2])
        flat_depth = depth * float(np.linalg.norm(camera.rotation[[0, 2], 2]))
        world(entry["light"]["sky"], 1.0)
        backdrop(entry["backdrop"], camera, flat_depth)
        if not entry["backdrop"]["busy"]:
            world(entry["light"]["sky"], 1.0, entry["backdrop"]["wall"])
        sun(entry["light"], camera)
        self.people(entry, flat=False)
        if entry["prop"]:
            p = entry["prop"]
            thing("box", np.array(p["at"]), p["size"], p["turn"],
                  two_colours("prop", p["pattern"], p["colour"], [0.9, 0.9, 0.85], 1.0))  # fmt: skip
        scene.render.image_settings.file_format, scene.render.image_settings.quality = "JPEG", JPEG_QUALITY
        scene.render.filepath = str(file)
        bpy.ops.render.render(write_still=True)

    def drawing(self, entry: dict[str, Any], file: Path) -> None:
        colour, geometry = self._layer(entry, False), self._layer(entry, True)
        save(drawn(colour, geometry, entry["style"]), file)

    def _layer(self, entry: dict[str, Any], geometry: bool) -> np.ndarray:
        """(2 h, 2 w, 4) linear colours, or x and y of the normal, and depth; top row first."""
        camera = Camera.from_json(entry["camera"])
        scene = settings(camera, 1, 2)
        scene.render.film_transparent = True
        scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BOX", 1.0
        place_camera(camera)
        self.people(entry, flat=True)
        if geometry:
            bpy.context.view_layer.material_override = depth_and_normal()
        scene.render.image_settings.file_format, scene.render.image_settings.color_depth = "OPEN_EXR", "32"
        with tempfile.TemporaryDirectory() as folder:
            scene.render.filepath = str(Path(folder, "layer.exr"))
            bpy.ops.render.render(write_still=True)
            image = bpy.data.images.load(scene.render.filepath)
            image.colorspace_settings.name = "Non-Color"
            pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
            image.pixels.foreach_get(pixels)
        return pixels.reshape(camera.height * 2, camera.width * 2, 4)[::-1]


def depth_and_normal() -> bpy.types.Material:
    paint = Paint("geometry", flat=True)
    place, view = paint.node("ShaderNodeNewGeometry"), paint.node("ShaderNodeCameraData")
    turn = paint.node("ShaderNodeVectorTransform")
    turn.vector_type, turn.convert_from, turn.convert_to = "NORMAL", "WORLD", "CAMERA"
    paint.tree.links.new(place.outputs["Normal"], turn.inputs[0])
    parts, joined = paint.node("ShaderNodeSeparateXYZ"), paint.node("ShaderNodeCombineXYZ")
    paint.tree.links.new(turn.outputs[0], parts.inputs[0])
    for k in (0, 1):
        shift = paint.node("ShaderNodeMath")
        shift.operation = "MULTIPLY_ADD"
        shift.inputs[1].default_value = shift.inputs[2].default_value = 0.5
        paint.tree.links.new(parts.outputs[k], shift.inputs[0])
        paint.tree.links.new(shift.outputs[0], joined.inputs[k])
    scale = paint.node("ShaderNodeMath")
    scale.operation = "DIVIDE"
    scale.inputs[1].default_value = _FAR_M
    paint.tree.links.new(view.outputs["View Z Depth"], scale.inputs[0])
    paint.tree.links.new(scale.outputs[0], joined.inputs[2])
    return paint.done(joined.outputs[0])


def drawn(colour: np.ndarray, geometry: np.ndarray, style: str) -> np.ndarray:
    """(h, w, 3) sRGB of a drawing: lines where depth, normal or colour jump."""
    depth = np.where(geometry[..., 3] > 0.5, geometry[..., 2] * _FAR_M, _FAR_M)
    rgb = np.where(colour[..., 3:] > 0.5, colour[..., :3], 1.0)
    srgb = np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * np.clip(rgb, 1e-6, 1) ** (1 / 2.4) - 0.055)
    line = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis, append=depth.take([-1], axis)))
        bend = np.abs(np.diff(geometry[..., :2], axis=axis, append=geometry[..., :2].take([-1], axis))).max(-1)
        jump = np.abs(np.diff(srgb, axis=axis, append=srgb.take([-1], axis))).max(-1)
        line |= (step > 0.045) | (bend > 0.22) | (jump > 0.12)
    thick = line.copy()
    thick[1:] |= line[:-1]
    thick[:, 1:] |= line[:, :-1]
    normal_z = np.sqrt(np.clip(1 - ((geometry[..., :2] * 2 - 1) ** 2).sum(-1), 0, 1))
    paper = np.ones_like(srgb)
    if style == "toon":
        paper = srgb * np.where(normal_z > 0.62, 1.0, 0.78)[..., None]
    elif style == "pencil":
        rows, columns = np.indices(depth.shape)
        hatch = ((rows + columns) % 7 < 2) & (normal_z < 0.72) & (geometry[..., 3] > 0.5)
        paper = np.where(hatch[..., None], 0.72, 0.96) * np.ones(3)
    paper = np.where(geometry[..., 3:] > 0.5, paper, 0.96 if style == "pencil" else 1.0)
    ink = {"ink": 0.05, "toon": 0.08, "pencil": 0.3}[style]
    full = np.where(thick[..., None], ink, paper)
    h, w = depth.shape[0] // 2, depth.shape[1] // 2
    return full.reshape(h, 2, w, 2, 3).mean((1, 3))


def save(srgb: np.ndarray, file: Path) -> None:
    h, w = srgb.shape[:2]
    image = bpy.data.images.new("drawing", w, h)
    pixels = np.ones((h, w, 4), np.float32)
    pixels[..., :3] = srgb[::-1]
    image.pixels.foreach_set(pixels.ravel())
    image.file_format = "JPEG"
    image.save(filepath=str(file), quality=JPEG_QUALITY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=10**9)
    parser.add_argument("--part", default="0/1", help="the first (0) or another of so many that run side by side")
    args = parser.parse_args()
    part, parts = (int(n) for n in args.part.split("/"))
    painter = Painter(args.folder)
    spent = []
    for entry in painter.pictures[part : args.limit : parts]:
        file = args.folder / f"{entry['index']:04d}.jpg"
        if file.exists():
            continue
        began = time.process_time()
        half = file.with_suffix(".part.jpg")
        (painter.drawing if entry["stratum"] == "line art" else painter.photo)(entry, half)
        half.replace(file)
        spent.append(time.process_time() - began)
        if len(spent) % 20 == 0:
            print(f"{file.stem}: {sum(spent) / len(spent):.2f} s a picture", flush=True)


if __name__ == "__main__":
    main()
