"""Match Camera: the picture as a camera's background, the camera where the picture was taken from."""

import bpy
from mathutils import Matrix, Quaternion

from .. import image_sources, seen
from ..rig import cameras, posing
from . import targets
from .image import settings_of
from .polls import Explains, refuse

_ALPHA = 1.0
_ENDLESS = 1_000_000  # frames: asking the movie for its length would read it here and now


class CHATPOSE_OT_match_camera(Explains, bpy.types.Operator):
    bl_idname = "chatpose.match_camera"
    bl_label = "Match Camera"
    bl_description = (
        "Put a camera where the picture was taken from, with the picture as its background, so that the character "
        "covers the person. Makes one camera and moves it when pressed again; other cameras and the character stay"
    )
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        reason = targets.refusal(targets.target(context))
        known = seen.of(settings_of(context).image)
        if not reason and (known is None or known.pose is None):
            return "Press Pose from Picture first"
        return reason or ("" if known.sight.camera else "The server did not say where the picture was taken from")

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings, armature = settings_of(context), targets.target(context)
        known = seen.of(settings.image)
        sight = known.sight
        points = dict(sight.keypoints) | {name: (x, y, 1.0) for name, (x, y) in known.corrections.items()}
        pelvis = known.pose.joints.get("pelvis", (1.0, 0.0, 0.0, 0.0))
        scale = sight.width / sight.camera.width  # the camera may speak of another size of the same picture
        try:
            placed = cameras.place(
                armature,
                pelvis,
                sight.camera.rotation,
                (sight.width, sight.height),
                sight.camera.focal_px * scale,
                points,
            )
        except (cameras.CameraError, *posing.RigError) as error:
            return refuse(self, str(error))
        image, moves = settings.image, settings.image.source in image_sources.MOVES
        image = image if moves else seen.shown(image)
        made = settings.camera is None or settings.camera.name not in context.scene.objects
        camera = _new_camera(context) if made else settings.camera
        settings.camera = camera
        camera.matrix_world = Matrix.LocRotScale(placed.location, Quaternion(placed.rotation), None)
        _set_lens(context.scene.render, camera.data, sight.camera.focal_px * scale, (sight.width, sight.height))
        far = max((camera.location - armature.matrix_world.translation).length * 4, camera.data.clip_end)
        camera.data.clip_end = far
        background = _put_behind(camera.data, image)
        if moves:
            _play_from(background.image_user, settings.first_frame, context.scene.frame_current)
        if context.scene.camera is None:
            context.scene.camera = camera
        _look_through(context, camera)
        share = placed.error_px / max(sight.width, sight.height)
        verb = "Made" if made else "Moved"
        self.report({"INFO"}, f"{verb} '{camera.name}': the joints are {share:.1%} of the picture off, on average")
        return {"FINISHED"}


def _new_camera(context: bpy.types.Context) -> bpy.types.Object:
    camera = bpy.data.objects.new("Picture Camera", bpy.data.cameras.new("Picture Camera"))
    context.scene.collection.objects.link(camera)
    return camera


def _set_lens(
    render: bpy.types.RenderSettings, camera: bpy.types.Camera, focal_px: float, size: tuple[float, float]
) -> None:
    """The picture's lens, whatever shape the render has: the picture is fitted into it."""
    frame = (render.resolution_x * render.pixel_aspect_x, render.resolution_y * render.pixel_aspect_y)
    camera.type = "PERSP"
    camera.shift_x = camera.shift_y = 0.0
    _, fit = cameras.lens(focal_px, size, frame, 1.0)
    camera.sensor_fit, camera.lens_unit = fit, "MILLIMETERS"
    sensor = camera.sensor_width if fit == "HORIZONTAL" else camera.sensor_height
    camera.lens, _ = cameras.lens(focal_px, size, frame, sensor)


def _put_behind(camera: bpy.types.Camera, image: bpy.types.Image) -> bpy.types.CameraBackgroundImage:
    """The picture as the camera's background image, fitted and centred."""
    backgrounds = camera.background_images
    background = next((each for each in backgrounds if each.image == image), None) or backgrounds.new()
    for each in backgrounds:
        each.show_background_image = each == background
    background.image, background.source = image, "IMAGE"
    background.frame_method, background.display_depth = "FIT", "BACK"
    background.alpha, background.scale, background.rotation = _ALPHA, 1.0, 0.0
    background.offset = (0.0, 0.0)
    camera.show_background_images = True
    return background


def _play_from(user: bpy.types.ImageUser, frame: int, now: int) -> None:
    """The movie behind shows a frame at this frame of the scene and plays on from there, as a motion's keys do."""
    user.frame_start, user.frame_offset = now, frame - 1
    user.frame_duration = _ENDLESS
    user.use_cyclic, user.use_auto_refresh = False, True


def _look_through(context: bpy.types.Context, camera: bpy.types.Object) -> None:
    """The button's viewport looks through the camera; the scene's own camera stays what it was."""
    area = context.area
    if area is None or area.type != "VIEW_3D":
        return
    space = area.spaces.active
    if context.scene.camera != camera:
        space.use_local_camera, space.camera = True, camera
    space.region_3d.view_perspective = "CAMERA"


CLASSES = (CHATPOSE_OT_match_camera,)
