"""Pictures of our own body in known poses, drawn without a renderer: what vision is tested on."""

from __future__ import annotations

import functools
import math

import torch
from chatpose_server import rotations as rot
from chatpose_server.body.model import default_body
from chatpose_server.pose import Pose
from chatpose_server.skeleton import BODY_JOINTS, INDEX
from chatpose_server.vision.camera import Camera
from chatpose_server.vision.overlay import draw_body
from PIL import Image, ImageFilter, ImageOps

SIZE = (448, 512)

BENDS = {
    # degrees about x, y, z of the rest body
    "standing": {"left_shoulder": (0, 0, -65), "right_shoulder": (0, 0, 65)},
    "left arm up": {"left_shoulder": (0, 0, 65), "right_shoulder": (0, 0, 65)},
    "right arm out, left forearm up": {
        "left_shoulder": (0, -20, -60), "left_elbow": (0, -100, 0), "right_shoulder": (0, 0, 5),
    },
    "step": {
        "left_shoulder": (0, 30, -60), "right_shoulder": (0, 30, 60), "left_hip": (-40, 0, 0),
        "left_knee": (35, 0, 0), "right_hip": (20, 0, 0),
    },
}  # fmt: skip


def pose_of(name, facing_deg=0.0):
    """A pose of BENDS, standing on the ground and turned by ``facing_deg`` to its own left."""
    rotvec = torch.zeros(len(BODY_JOINTS), 3)
    for joint, degrees in BENDS[name].items():
        rotvec[INDEX[joint]] = torch.tensor(degrees).deg2rad()
    rotvec[0] = torch.tensor([0.0, math.radians(facing_deg), 0.0])
    matrot = rot.rotvec_to_matrot(rotvec)
    return Pose.from_matrot(matrot, transl=default_body().ground_transl(matrot[None])[0].tolist())


def camera_at(distance=3.6, height=1.0, pitch_deg=-4.0, size=SIZE, focal=1.3):
    """Before the body, looking at it along -z."""
    half = math.radians(pitch_deg) / 2
    rotation = (math.cos(half), math.sin(half), 0.0, 0.0)
    return Camera(*size, focal * max(size), (0.0, height, distance), rotation)


def draw(pose, camera, ground=None):
    """The body like a clay figure before a wall."""
    blank = ground or Image.new("RGB", (camera.width, camera.height), (150, 160, 170))
    mask = draw_body(Image.new("RGB", blank.size, (0, 0, 0)), pose, camera, strength=1.0)
    grey = ImageOps.grayscale(mask)
    clay = ImageOps.colorize(grey, (20, 10, 8), (250, 205, 175), mid=(150, 95, 75))
    out = blank.copy()
    out.paste(clay, mask=grey.point(lambda v: 255 if v else 0).filter(ImageFilter.GaussianBlur(0.6)))
    return out


@functools.cache
def picture(name="standing", facing_deg=0.0):
    """(image, pose, camera)."""
    pose, camera = pose_of(name, facing_deg), camera_at()
    return draw(pose, camera), pose, camera


def side_by_side(*names):
    """Several people in one picture, from left to right."""
    images = [picture(name)[0] for name in names]
    out = Image.new("RGB", (sum(i.width for i in images), images[0].height))
    for n, image in enumerate(images):
        out.paste(image, (n * image.width, 0))
    return out
