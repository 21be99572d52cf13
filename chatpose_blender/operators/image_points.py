"""Correct Points: the points that were seen, drawn over the picture and dragged with the mouse.

In an Image Editor where one is open, over the camera view where it shows the picture, else over the left of the
viewport. Every point that is let go of is asked about at once; the character follows.
"""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import Final

import blf
import bpy
import gpu
from bpy.app.translations import pgettext_iface
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector

from .. import blender_versions, image_sources, preferences, seen, session
from ..correcting import BONES, Correction
from ..titles import title
from . import targets
from .image import settings_of
from .image_pose import TakesPicture, words_of
from .polls import EndsTool

_TICK_SECONDS: Final = 0.1
_REACH: Final = 14.0  # pixels within which the pointer is on a point, at scale 1
_RADIUS: Final = 5.0
_SEEN: Final = 0.5  # visibility from which a point is drawn as seen and not as guessed
_LEFT, _RIGHT, _MIDDLE = (0.25, 0.7, 1.0), (1.0, 0.55, 0.2), (1.0, 1.0, 1.0)
_PLACED: Final = (0.4, 1.0, 0.4)
_RIM: Final = (0.05, 0.05, 0.05, 0.9)
_MARGIN: Final = 12.0
_INSET: Final = 0.4  # of the viewport's width: the body, in its middle, stays in sight
_SHOWN_BY: Final = {
    "UI": "show_region_ui", "TOOLS": "show_region_toolbar", "HEADER": "show_region_header",
    "TOOL_HEADER": "show_region_tool_header", "ASSET_SHELF": "show_region_asset_shelf",
}  # fmt: skip
"""What of a space shows a region that lies over the window's; hidden ones keep their size."""
_NAVIGATION: Final = frozenset(
    {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "WHEELINMOUSE", "WHEELOUTMOUSE", "TRACKPADPAN", "TRACKPADZOOM",
     "MOUSEROTATE", "MOUSESMARTZOOM", "NDOF_MOTION", "HOME", "N"}
)  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """Where the picture lies in a region: its lower left corner and its size, in the region's pixels."""

    x: float
    y: float
    width: float
    height: float

    def to_region(self, point: tuple[float, float], size: tuple[int, int]) -> Vector:
        """A place in the picture (pixels, down) in the region (pixels, up)."""
        return Vector((self.x + point[0] / size[0] * self.width, self.y + (1 - point[1] / size[1]) * self.height))

    def to_picture(self, at: Vector, size: tuple[int, int]) -> tuple[float, float]:
        """The way back."""
        return ((at.x - self.x) / self.width * size[0], (1 - (at.y - self.y) / self.height) * size[1])


def fitted(inside: Sheet, size: tuple[int, int]) -> Sheet:
    """The largest sheet of the picture's shape in the middle of another."""
    scale = min(inside.width / size[0], inside.height / size[1])
    width, height = size[0] * scale, size[1] * scale
    return Sheet(inside.x + (inside.width - width) / 2, inside.y + (inside.height - height) / 2, width, height)


@dataclass(frozen=True)
class Canvas:
    """The area that the picture is corrected in, of a ``kind`` of editor. ``inset``: we draw the picture ourselves."""

    area: bpy.types.Area
    region: bpy.types.Region
    kind: str
    inset: bool = False

    def sheet(self, size: tuple[int, int]) -> Sheet | None:
        """Where the picture is now; None where it is out of sight."""
        if self.kind == "IMAGE_EDITOR":
            low = self.region.view2d.view_to_region(0, 0, clip=False)
            high = self.region.view2d.view_to_region(1, 1, clip=False)
            return Sheet(low[0], low[1], high[0] - low[0], high[1] - low[1])
        if self.inset:
            scale = bpy.context.preferences.system.ui_scale
            air = _MARGIN * scale
            return fitted(Sheet(air, air, self.region.width * _INSET - 2 * air, self.region.height - 6 * air), size)
        return _camera_sheet(self.area.spaces.active, self.region, size)


def _camera_sheet(space: bpy.types.SpaceView3D, region: bpy.types.Region, size: tuple[int, int]) -> Sheet | None:
    """The picture in the camera's frame, where Match Camera has put it."""
    camera = _camera_of(space)
    if camera is None or space.region_3d.view_perspective != "CAMERA":
        return None
    corners = [camera.matrix_world @ corner for corner in camera.data.view_frame(scene=bpy.context.scene)]
    places = [view3d_utils.location_3d_to_region_2d(region, space.region_3d, corner) for corner in corners]
    if None in places:
        return None
    xs, ys = [place.x for place in places], [place.y for place in places]
    return fitted(Sheet(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)), size)


def _camera_of(space: bpy.types.SpaceView3D) -> bpy.types.Object | None:
    return space.camera if space.use_local_camera else bpy.context.scene.camera


def find_canvas(context: bpy.types.Context, image: bpy.types.Image) -> Canvas | None:
    """Where to work: an Image Editor, a camera view with the picture behind, or a 3D viewport's left half."""
    areas = sorted(context.window.screen.areas, key=lambda area: area.width * area.height, reverse=True)
    views = [area for area in areas if area.type == "VIEW_3D"]
    for area in (area for area in areas if area.type == "IMAGE_EDITOR"):
        _show_in(context, area, image)
        return Canvas(area, _window_of(area), area.type)
    for area in views:
        camera = _camera_of(area.spaces.active)
        through = area.spaces.active.region_3d.view_perspective == "CAMERA" and camera is not None
        backgrounds = camera.data.background_images if through and camera.type == "CAMERA" else ()
        if any(each.show_background_image and _shows(context, each, image) for each in backgrounds):
            return Canvas(area, _window_of(area), area.type)
    return Canvas(views[0], _window_of(views[0]), "VIEW_3D", inset=True) if views else None


def _shows(context: bpy.types.Context, background: bpy.types.CameraBackgroundImage, image: bpy.types.Image) -> bool:
    """Whether a camera has the picture behind it; a movie, at the frame that stands still in ``image``."""
    settings = settings_of(context)
    if background.image != settings.image or settings.image.source not in image_sources.MOVES:
        return background.image == image
    return image_sources.frame_behind(background, context.scene.frame_current) == settings.first_frame


def _show_in(context: bpy.types.Context, area: bpy.types.Area, image: bpy.types.Image) -> None:
    """The picture in an Image Editor, whole if it was not there before."""
    if area.spaces.active.image != image:
        area.spaces.active.image = image
        with context.temp_override(area=area, region=_window_of(area)):
            bpy.ops.image.view_all(fit_view=True)


def _window_of(area: bpy.types.Area) -> bpy.types.Region:
    return next(region for region in area.regions if region.type == "WINDOW")


class CHATPOSE_OT_correct_points(TakesPicture, bpy.types.Operator):
    bl_idname = "chatpose.correct_points"
    bl_label = "Correct Points"
    bl_description = (
        "Drag the points that were seen in the picture to where they belong; the character follows at once. "
        "Works in an Image Editor, over the camera view, or over the viewport"
    )
    bl_options = {"INTERNAL"}  # the pose is applied by an operator of its own, which makes the undo step

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        known = seen.of(settings_of(context).image)
        reason = super().refusal(context)
        if not reason and (known is None or known.pose is None):
            return "Press Pose from Picture first"
        return reason or ("" if known.sight.keypoints else "The server did not say where it saw the body's points")

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.report({"WARNING"}, "Correcting points needs a window and a mouse")
        return {"CANCELLED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if context.window is None:
            return self.execute(context)
        image = seen.shown(settings_of(context).image)
        self.canvas = find_canvas(context, image)
        if self.canvas is None:
            self.report({"WARNING"}, "Open a 3D viewport or an Image Editor to correct points in")
            return {"CANCELLED"}
        session.current.tool = begin(context)
        self.hovered = self.held = self.told = ""
        self.image = (image.name, image.session_uid)
        self.timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        self.space = bpy.types.SpaceImageEditor if self.canvas.kind == "IMAGE_EDITOR" else bpy.types.SpaceView3D
        self.drawing = self.space.draw_handler_add(_draw, (self,), "WINDOW", "POST_PIXEL")
        context.window_manager.modal_handler_add(self)
        self._tell(context)
        self.canvas.area.tag_redraw()
        session.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        correction = session.running(Correction)
        if correction is None or correction.target.find() is None or not _is_open(context, self.canvas):
            return self._finish(context, keep=False)
        if event.type == "TIMER":
            self._tell(context)
            if correction.ending is not None and not (correction.ending and correction.waiting):
                return self._finish(context, keep=correction.ending)
            return {"PASS_THROUGH"}
        at = Vector((event.mouse_x - self.canvas.region.x, event.mouse_y - self.canvas.region.y))
        if event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"}:
            return self._on_move(correction, at)
        if self.held:
            return self._on_event_while_held(correction, event)
        if not _is_over(self.canvas, event) or event.type in _NAVIGATION:
            return {"PASS_THROUGH"}  # panels stay alive, and the view may be turned
        if event.value not in {"PRESS", "DOUBLE_CLICK"}:
            return {"RUNNING_MODAL"}
        return self._on_key(context, correction, event, at)

    def _on_move(self, correction: Correction, at: Vector) -> set[str]:
        sheet = self.canvas.sheet(_size(correction))
        if sheet is None:
            return {"PASS_THROUGH"}
        if self.held:
            correction.move(self.held, *sheet.to_picture(at, _size(correction)))
            self.canvas.area.tag_redraw()
            return {"RUNNING_MODAL"}
        hovered = point_at(correction, sheet, at, _scale())
        if hovered != self.hovered:
            self.hovered = hovered
            self.canvas.area.tag_redraw()
        return {"PASS_THROUGH"}

    def _on_event_while_held(self, correction: Correction, event: bpy.types.Event) -> set[str]:
        if event.type == "LEFTMOUSE" and event.value == "RELEASE":
            self.held = ""
            correction.drop()
        elif event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self.held, correction.dragged = "", {}
        self.canvas.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def _on_key(
        self, context: bpy.types.Context, correction: Correction, event: bpy.types.Event, at: Vector
    ) -> set[str]:
        sheet = self.canvas.sheet(_size(correction))
        self.hovered = "" if sheet is None else point_at(correction, sheet, at, _scale())
        if event.type == "ESC":
            return self._finish(context, keep=False)
        if event.type in {"RET", "NUMPAD_ENTER"}:
            correction.ending = True  # the timer ends it, when the last answer is there
        elif event.type == "Z" and (event.ctrl or event.oskey):
            correction.undo()
        elif event.type == "LEFTMOUSE" and self.hovered:
            self.held = self.hovered
        elif event.type in {"RIGHTMOUSE", "X"} and self.hovered:
            correction.let_go(self.hovered)
        self._tell(context)
        self.canvas.area.tag_redraw()
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator itself, for example when the window closes."""
        self._finish(context, keep=False)

    def _finish(self, context: bpy.types.Context, *, keep: bool) -> set[str]:
        correction = session.running(Correction)
        context.window_manager.event_timer_remove(self.timer)
        self.space.draw_handler_remove(self.drawing, "WINDOW")
        context.workspace.status_text_set(None)
        if _is_open(context, self.canvas):
            self.canvas.area.tag_redraw()
        if correction is None:  # undone, or another file
            return {"CANCELLED"}
        if keep:
            correction.keep()
        else:
            correction.restore()
        session.redraw()
        return {"FINISHED"} if keep else {"CANCELLED"}

    def _tell(self, context: bpy.types.Context) -> None:
        correction, problem = session.running(Correction), session.current.problem
        if correction.ending and correction.waiting:
            text = pgettext_iface("Waiting for the last point")
        elif problem is not None:
            text = problem.sentence
        else:
            text = pgettext_iface(
                "Drag: Move a Point    X: Let It Go    Ctrl Z: Back    Enter: Keep the Pose    Esc: Old Pose"
            )
        if text != self.told:  # every setting draws the status bar anew
            self.told = text
            context.workspace.status_text_set(text)


def begin(context: bpy.types.Context) -> Correction:
    """A go at the points of what was seen in the scene's picture."""
    known = seen.of(settings_of(context).image)
    return Correction(targets.target(context), known, preferences.endpoint(context), words_of(context))


class CHATPOSE_OT_correct_end(EndsTool, bpy.types.Operator):
    bl_idname = "chatpose.correct_end"
    bl_description = "End correcting: keep the pose, or bring the old one back exactly"

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if session.running(Correction) is not None else "No points are being corrected"


def _scale() -> float:
    return bpy.context.preferences.system.ui_scale


def _size(correction: Correction) -> tuple[int, int]:
    return correction.known.sight.width, correction.known.sight.height


def point_at(correction: Correction, sheet: Sheet, at: Vector, scale: float) -> str:
    """The point under the pointer: the nearest within reach, "" where there is none. ``scale``: the interface's."""
    reach = _REACH * scale
    size = _size(correction)
    away = [((sheet.to_region((x, y), size) - at).length, name) for name, (x, y, _) in correction.points().items()]
    near = min(away, default=(reach, ""))
    return near[1] if near[0] < reach else ""


def _is_over(canvas: Canvas, event: bpy.types.Event) -> bool:
    """Whether the pointer is on the canvas, with no panel or header in between."""

    def inside(region: bpy.types.Region) -> bool:
        return 0 <= event.mouse_x - region.x < region.width and 0 <= event.mouse_y - region.y < region.height

    space = canvas.area.spaces.active
    over = [each for each in canvas.area.regions if getattr(space, _SHOWN_BY.get(each.type, ""), False)]
    return inside(canvas.region) and not any(inside(region) for region in over)


def _is_open(context: bpy.types.Context, canvas: Canvas) -> bool:
    """Whether the area is still there, with its region: until that is known, only addresses may be compared."""
    areas = [area for window in context.window_manager.windows for area in window.screen.areas]
    return any(
        area == canvas.area and any(region == canvas.region for region in area.regions)
        for area in areas
        if area.type == canvas.kind
    )


# -- drawing ---------------------------------------------------------------------------------------------------------


def _draw(operator: CHATPOSE_OT_correct_points) -> None:
    correction = session.running(Correction)
    context = bpy.context
    try:
        canvas, hovered, held = operator.canvas, operator.hovered, operator.held
    except ReferenceError:  # the operator has ended and Blender draws once more
        return
    if correction is None or context.region != canvas.region:
        return
    size = _size(correction)
    sheet = canvas.sheet(size)
    if sheet is None:
        return
    scale = context.preferences.system.ui_scale
    gpu.state.blend_set("ALPHA")
    try:
        if canvas.inset:
            _picture(bpy.data.images.get(operator.image[0]), sheet)
        points = correction.points()
        places = {name: sheet.to_region((x, y), size) for name, (x, y, _) in points.items()}
        for a, b in BONES:
            if a in places and b in places:
                sure = min(points[a][2], points[b][2]) >= _SEEN
                _line(places[a], places[b], (*_colour(a, b), 0.9 if sure else 0.35), 2.0 * scale)
        for name, at in places.items():
            lit = name in (held, hovered)
            colour = _PLACED if name in correction.corrections else _colour(name, name)
            alpha = 1.0 if lit or points[name][2] >= _SEEN else 0.4
            radius = _RADIUS * scale * (1.5 if lit else 1.0)
            _disc(at, radius + 1.5 * scale, (*_RIM[:3], _RIM[3] * alpha))
            _disc(at, radius, (*colour, alpha))
            if lit:
                _label(at + Vector((radius + 5 * scale, -4 * scale)), title(name), scale)
    finally:
        gpu.state.blend_set("NONE")


def _colour(a: str, b: str) -> tuple[float, float, float]:
    if a.startswith("left") and b.startswith("left"):
        return _LEFT
    return _RIGHT if a.startswith("right") and b.startswith("right") else _MIDDLE


def _picture(image: bpy.types.Image | None, sheet: Sheet) -> None:
    """The picture itself, where the viewport does not show it."""
    if image is None:
        return
    left, low, right, high = sheet.x, sheet.y, sheet.x + sheet.width, sheet.y + sheet.height
    shader = gpu.shader.from_builtin(blender_versions.image_shader())
    corners = {
        "pos": ((left, low), (right, low), (right, high), (left, high)),
        "texCoord": ((0, 0), (1, 0), (1, 1), (0, 1)),
    }
    batch = batch_for_shader(shader, "TRI_FAN", corners)
    shader.bind()
    shader.uniform_sampler("image", gpu.texture.from_image(image))
    batch.draw(shader)


def _line(a: Vector, b: Vector, colour: tuple[float, ...], width: float) -> None:
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    shader.bind()
    shader.uniform_float("viewportSize", gpu.state.viewport_get()[2:])
    shader.uniform_float("lineWidth", width)
    shader.uniform_float("color", colour)
    batch_for_shader(shader, "LINES", {"pos": [(*a, 0.0), (*b, 0.0)]}).draw(shader)


def _disc(at: Vector, radius: float, colour: tuple[float, ...], corners: int = 20) -> None:
    rim = [
        (at.x + radius * cos(2 * pi * i / corners), at.y + radius * sin(2 * pi * i / corners)) for i in range(corners)
    ]
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    shader.bind()
    shader.uniform_float("color", colour)
    batch_for_shader(shader, "TRIS", {"pos": rim}, indices=[(0, i, i + 1) for i in range(1, corners - 1)]).draw(shader)


def _label(at: Vector, text: str, scale: float) -> None:
    """White with a dark rim: it may lie on anything."""
    blf.size(0, 12 * scale)
    for dx, dy in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 0)):
        blf.color(0, *(_MIDDLE if dx == 0 else _RIM[:3]), 1.0)
        blf.position(0, at.x + dx * scale, at.y + dy * scale, 0)
        blf.draw(0, text)


CLASSES = (CHATPOSE_OT_correct_points, CHATPOSE_OT_correct_end)
