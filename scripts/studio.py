# SPDX-License-Identifier: GPL-3.0-or-later
"""A small photo studio in Blender: paper backdrop, light, matte clay, a camera that finds the body. Needs bpy only.

Cycles on the processor with few samples and Blender's denoiser: soft shadows that show what stands on the ground and
what is in the air, in a few seconds without a graphics card.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import bpy
from mathutils import Euler, Vector

CLAY = (0.11, 0.24, 0.32, 1.0)  # a sculptor's blue-grey: a mannequin, not skin
PAPER = (0.62, 0.60, 0.57, 1.0)
SKY = (0.93, 0.95, 1.0, 1.0)
SIZE = (560, 700)  # pixels: people are tall
SAMPLES = 8  # with the denoiser, more is not seen
VIEW = Euler((math.radians(78), 0, math.radians(32)))  # three-quarter view from slightly above; the body faces -y
LENS = 70.0  # mm: no wide-angle noses
AIR = 1.12  # the space around the body, as a factor of the camera's distance


def set_up(scene: bpy.types.Scene, body: bpy.types.Object) -> None:
    """Put backdrop, lights, camera and material around the evaluated mesh of `body` (metres, z up)."""
    points = _world_points(body)
    low = min(point.z for point in points)
    centre = sum(points, Vector()) / len(points)
    _clay(body)
    ground = Vector((centre.x, centre.y, low))
    _backdrop(scene, ground)
    _lights(scene, ground)
    _camera(scene, points)
    world = bpy.data.worlds.new("Studio")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = SKY
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.35
    scene.world = world


def render(scene: bpy.types.Scene, file: Path) -> None:
    """Render the scene's camera to the PNG `file`."""
    settings = scene.render
    settings.engine = "CYCLES"
    settings.resolution_x, settings.resolution_y = SIZE
    settings.resolution_percentage = 100
    settings.image_settings.file_format = "PNG"
    settings.filepath = str(file)
    cycles = scene.cycles
    cycles.samples = SAMPLES
    cycles.use_denoising = True
    # Measured on two cores: 4 s so, 14 s with the denoiser's best quality and 16 samples, and no difference to see.
    cycles.denoising_quality = "FAST"
    cycles.denoising_prefilter = "NONE"
    cycles.max_bounces = 2
    cycles.use_light_tree = False
    scene.view_settings.view_transform = "AgX"
    scene.view_settings.look = "AgX - Medium High Contrast"
    with _silence():
        bpy.ops.render.render(write_still=True, scene=scene.name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Cycles prints a line for every step, from C, past Python's own output."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(nowhere)
        os.close(kept)


def _world_points(body: bpy.types.Object) -> list[Vector]:
    evaluated = body.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    points = [evaluated.matrix_world @ vertex.co for vertex in mesh.vertices]
    evaluated.to_mesh_clear()
    return points


def _material(name: str, colour: tuple[float, ...], roughness: float) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    surface = material.node_tree.nodes["Principled BSDF"]
    surface.inputs["Base Color"].default_value = colour
    surface.inputs["Roughness"].default_value = roughness
    material.diffuse_color = colour  # what the solid viewport shows
    return material


def _clay(body: bpy.types.Object) -> None:
    body.data.materials.clear()
    body.data.materials.append(_material("Clay", CLAY, 0.75))
    body.data.polygons.foreach_set("use_smooth", [True] * len(body.data.polygons))


def _backdrop(scene: bpy.types.Scene, ground: Vector) -> None:
    """A roll of paper: floor, a wide bend, wall. There is no horizon to distract."""
    width, depth, bend, height, steps = 30.0, 4.5, 2.5, 20.0, 12
    profile = [(-20.0, 0.0)]
    for step in range(steps + 1):
        angle = math.pi / 2 * step / steps
        profile.append((depth + bend * math.sin(angle), bend * (1 - math.cos(angle))))
    profile.append((depth + bend, height))
    points = [(x, y, z) for y, z in profile for x in (-width / 2, width / 2)]
    faces = [(i, i + 1, i + 3, i + 2) for i in range(0, len(points) - 2, 2)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(points, [], faces)
    mesh.materials.append(_material("Paper", PAPER, 0.9))
    mesh.polygons.foreach_set("use_smooth", [True] * len(faces))
    backdrop = bpy.data.objects.new("Backdrop", mesh)
    backdrop.location = ground
    backdrop.rotation_euler.z = VIEW.z  # the wall faces the camera
    scene.collection.objects.link(backdrop)


def _lights(scene: bpy.types.Scene, ground: Vector) -> None:
    # name, place relative to the body's ground point, size (m), power (W), colour
    for name, place, size, power, colour in (
        ("Key", (-2.2, -3.2, 3.6), 1.2, 260, (1.0, 0.94, 0.87)),
        ("Fill", (3.6, -2.0, 2.0), 3.0, 40, (0.84, 0.91, 1.0)),
        ("Rim", (1.6, 3.2, 3.0), 1.5, 160, (1.0, 1.0, 1.0)),
    ):
        lamp = bpy.data.lights.new(name, "AREA")
        lamp.size, lamp.energy, lamp.color = size, power, colour
        light = bpy.data.objects.new(name, lamp)
        light.location = ground + Vector(place)
        light.rotation_euler = (ground + Vector((0, 0, 0.8)) - light.location).to_track_quat("-Z", "Y").to_euler()
        scene.collection.objects.link(light)


def _camera(scene: bpy.types.Scene, points: list[Vector]) -> None:
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = LENS
    camera.rotation_euler = VIEW
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    bpy.context.view_layer.update()
    flat = [value for point in points for value in point]
    fitted, _ = camera.camera_fit_coords(bpy.context.evaluated_depsgraph_get(), flat)
    centre = sum(points, Vector()) / len(points)
    camera.location = centre + (fitted - centre) * AIR
