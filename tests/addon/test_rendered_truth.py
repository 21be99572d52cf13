# SPDX-License-Identifier: GPL-3.0-or-later
"""Where benchmarks/pictures/camera.py says a point falls, Blender draws it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own: it empties Blender's scene and its add-ons.
SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import bpy, numpy as np
from pictures import render
from pictures.camera import Camera, framed, turned

answers = []
for size, fov, angles in [((96, 128), 0.5, (0.4, 0.3, 0.1)), ((128, 90), 1.3, (-2.0, -0.4, -0.05))]:
    corners = np.array([[0.3, 0.2, 0.1], [-0.4, 1.7, 0.0], [0.2, 1.1, -0.5]])
    camera = framed(corners, turned(*angles), size, fov, 0.7)
    for point in corners:
        scene = render.settings(camera, 1, 1)
        scene.render.film_transparent = True
        render.place_camera(camera)
        distance = float(np.linalg.norm(camera.location - point))
        width = 9.0 * distance / camera.focal_px  # nine pixels
        white = render.Paint("white", flat=True).done(np.ones(3))
        render.thing("ball", point, [width] * 3, 0.0, white)
        file = Path(sys.argv[2], "dot.png")
        scene.render.image_settings.color_mode = "RGBA"
        scene.render.filepath = str(file)
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(file))
        drawn = np.array(image.pixels[:]).reshape(size[1], size[0], 4)[::-1, :, 3]
        rows, columns = np.indices(drawn.shape)
        middle = [float((k * drawn).sum() / drawn.sum()) + 0.5 for k in (columns, rows)]
        answers.append([camera.project(point).tolist(), middle])
print("ANSWERS" + json.dumps(answers))
"""


def test_projections_agree_with_blenders_camera(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "benchmarks"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    line = next((row for row in done.stdout.splitlines() if row.startswith("ANSWERS")), None)
    assert line, done.stdout[-500:] + done.stderr[-2000:]
    for said, drawn in json.loads(line.removeprefix("ANSWERS")):
        assert abs(said[0] - drawn[0]) < 0.6
        assert abs(said[1] - drawn[1]) < 0.6
