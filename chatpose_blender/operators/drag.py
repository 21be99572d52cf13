"""Drag: handles on the character's joints; the whole body follows the one that is moved, live.

Handles are drawn and moved by this one operator instead of being empties of their own: so there is one undo step,
nothing is left in the scene whatever happens, and Esc is exact. They move as with Blender's G: in the view's plane,
along X, Y or Z, Shift for precision. Enter keeps the pose, Esc restores it.
"""

from collections.abc import Iterator
from typing import Final

import blf
import bpy
import gpu
from bpy.app.translations import pgettext_iface
from bpy_extras import view3d_utils
from gpu_extras.batch import batch_for_shader
from mathutils import Vector
from mathutils.geometry import intersect_line_line

from .. import preferences, session
from ..dragging import MAIN_HANDLES, Drag
from ..rig import keyframes, posing
from ..titles import title
from . import targets
from .apply_pose import insert_keys
from .polls import AsksServer, EndsTool
from .prior import prior_of

_TICK_SECONDS: Final = 0.02
_REACH: Final = 14.0  # pixels within which the pointer is on a handle, before the display's scale
_RADIUS: Final = {True: 7.0, False: 4.5}  # pixels: main handles, the others
_AXES: Final = {"X": Vector((1, 0, 0)), "Y": Vector((0, 1, 0)), "Z": Vector((0, 0, 1))}
_AXIS_COLOURS: Final = {"X": (1.0, 0.25, 0.3, 0.9), "Y": (0.5, 0.8, 0.1, 0.9), "Z": (0.2, 0.55, 1.0, 0.9)}
_FREE, _PLACED, _PINNED = (1.0, 1.0, 1.0, 0.75), (1.0, 0.6, 0.1, 0.95), (0.25, 0.7, 1.0, 0.95)
_RIM: Final = (0.05, 0.05, 0.05, 0.9)
_PRECISION: Final = 0.1  # of the mouse's way while Shift is held
_LOOKING: Final = frozenset(
    {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "WHEELINMOUSE", "WHEELOUTMOUSE", "TRACKPADPAN", "TRACKPADZOOM",
     "MOUSEROTATE", "MOUSESMARTZOOM", "NDOF_MOTION", "HOME", "ACCENT_GRAVE", "N",
     *(f"NUMPAD_{n}" for n in (*range(10), "PERIOD", "PLUS", "MINUS"))}
)  # fmt: skip
"""What only turns the view or opens the sidebar: Blender's own, while a body is dragged."""


class CHATPOSE_OT_drag(AsksServer, bpy.types.Operator):
    bl_idname = "chatpose.drag"
    bl_label = "Drag"
    bl_description = "Drag hands, feet, head or hips by their handles and let the whole body follow naturally"
    bl_options = {"UNDO"}
    task = "ik"

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if context.mode not in {"OBJECT", "POSE"}:
            return "Go back to Object or Pose Mode first"
        return super().refusal(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        self.report({"WARNING"}, "Dragging needs a 3D viewport and a mouse")
        return {"CANCELLED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if context.window is None:
            return self.execute(context)
        armature = targets.target(context)
        try:
            drag = Drag(armature, preferences.endpoint(context), prior_of(None, context))
        except posing.RigError as error:
            session.fail(str(error))
            self.report({"WARNING"}, str(error))
            return {"CANCELLED"}
        for sentence in posing.obstacles(armature):
            self.report({"WARNING"}, sentence)
        session.current.tool = drag
        self.hovered = self.held = self.axis = ""
        self.by_key = False
        self.pointer = Vector((event.mouse_x, event.mouse_y))
        self.timer = context.window_manager.event_timer_add(_TICK_SECONDS, window=context.window)
        self.drawing = bpy.types.SpaceView3D.draw_handler_add(_draw, (self,), "WINDOW", "POST_PIXEL")
        context.window_manager.modal_handler_add(self)
        self._tell(context)
        _redraw(context)
        session.redraw()
        return {"RUNNING_MODAL"}

    # -- events --------------------------------------------------------------------------------------------------------
    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        drag = session.running(Drag)
        if drag is None or drag.target.find() is None:  # undone, another file, or the rig was deleted
            return self._finish(context, keep=False, restore=False)
        if context.mode not in {"OBJECT", "POSE"}:  # by a button of another editor: bones are no longer to be posed
            return self._finish(context, keep=False)
        if event.type == "TIMER":
            return self._on_timer(context, drag)
        view = _view_under(context, event)
        if event.type in {"MOUSEMOVE", "INBETWEEN_MOUSEMOVE"}:
            self._on_move(context, drag, event, view)
            return {"RUNNING_MODAL"} if self.held else {"PASS_THROUGH"}
        if self.held:
            return self._on_key_while_held(context, drag, event)
        if view is None:
            return {"PASS_THROUGH"}  # panels and other editors stay alive
        return self._on_key(context, drag, event, view)

    def _on_timer(self, context: bpy.types.Context, drag: Drag) -> set[str]:
        if drag.ending is not None:
            return self._finish(context, keep=drag.ending)
        if drag.tick(context) or drag.problem != self.told:
            self._tell(context)
            _redraw(context)
        return {"PASS_THROUGH"}

    def _on_move(self, context: bpy.types.Context, drag: Drag, event: bpy.types.Event, view: "_View | None") -> None:
        now = Vector((event.mouse_x, event.mouse_y))
        if self.held:
            self.at += (now - self.pointer) * (_PRECISION if event.shift else 1.0)
            drag.move(self.held, self._goal())
            _redraw(context)
        else:
            hovered = "" if view is None else _handle_at(view, drag, now)
            if hovered != self.hovered:
                self.hovered = hovered
                _redraw(context)
        self.pointer = now

    def _on_key(self, context: bpy.types.Context, drag: Drag, event: bpy.types.Event, view: "_View") -> set[str]:
        if event.type in _LOOKING:
            return {"PASS_THROUGH"}
        if event.value not in {"PRESS", "DOUBLE_CLICK"}:
            return {"RUNNING_MODAL"}
        if event.type == "ESC":
            return self._finish(context, keep=False)
        if event.type in {"RET", "NUMPAD_ENTER"}:
            return self._finish(context, keep=True)
        if event.type == "Z" and (event.ctrl or event.oskey):
            drag.undo(context)
        elif event.type in {"LEFTMOUSE", "G"}:
            self.hovered = _handle_at(view, drag, Vector((event.mouse_x, event.mouse_y)))
            if self.hovered:
                self._grab(drag, view, event)
        elif event.type in {"P", "RIGHTMOUSE"} and self.hovered:
            armature = drag.target.find()
            if drag.handles[self.hovered].place is None:
                drag.pin(armature, self.hovered)
            elif drag.handles[self.hovered].pinned:
                drag.let_go(self.hovered)
            else:
                drag.pin(armature, self.hovered)
        self._tell(context)
        _redraw(context)
        return {"RUNNING_MODAL"}

    def _grab(self, drag: Drag, view: "_View", event: bpy.types.Event) -> None:
        self.held, self.axis, self.by_key = self.hovered, "", event.type == "G"
        drag.grab(self.held)
        self.view = view
        self.start = drag.place(drag.target.find(), self.held).copy()
        self.at = Vector((event.mouse_x, event.mouse_y))
        self.offset = _on_screen(view, self.start) - self.at  # a handle is seldom hit in its middle
        self.pointer = self.at.copy()

    def _on_key_while_held(self, context: bpy.types.Context, drag: Drag, event: bpy.types.Event) -> set[str]:
        if event.type in _AXES and event.value == "PRESS":
            self.axis = "" if self.axis == event.type else event.type
            drag.move(self.held, self._goal())
        elif self._ends(event):
            self._let_go(drag)
        elif event.type in {"ESC", "RIGHTMOUSE"} and event.value == "PRESS":
            self.held = ""
            drag.undo(context)
        self._tell(context)
        _redraw(context)
        return {"RUNNING_MODAL"}

    def _ends(self, event: bpy.types.Event) -> bool:
        """Whether this event puts the held handle down."""
        if event.type == "LEFTMOUSE":
            return event.value == ("PRESS" if self.by_key else "RELEASE")
        return event.type in {"RET", "NUMPAD_ENTER"} and event.value == "PRESS"

    def _let_go(self, drag: Drag) -> None:
        self.held = ""
        drag.release()

    def _goal(self) -> Vector:
        """Where the held handle is to be: under the pointer in the view's plane, or on the axis nearest to it."""
        region, data = self.view.region, self.view.data
        at = self.at + self.offset - Vector((region.x, region.y))
        place = view3d_utils.region_2d_to_location_3d(region, data, at, self.start)
        if not self.axis:
            return place
        origin = view3d_utils.region_2d_to_origin_3d(region, data, at)
        along = view3d_utils.region_2d_to_vector_3d(region, data, at)
        hit = intersect_line_line(self.start, self.start + _AXES[self.axis], origin, origin + along)
        return self.start if hit is None else hit[0]

    # -- the end -------------------------------------------------------------------------------------------------------
    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the operator itself, for example when the window closes."""
        self._finish(context, keep=False)

    def _finish(self, context: bpy.types.Context, *, keep: bool, restore: bool = True) -> set[str]:
        drag = session.running(Drag)
        context.window_manager.event_timer_remove(self.timer)
        bpy.types.SpaceView3D.draw_handler_remove(self.drawing, "WINDOW")
        context.workspace.status_text_set(None)
        _redraw(context)
        session.redraw()
        if drag is None:  # undone, or another file
            return {"CANCELLED"}
        session.current.tool = None
        if keep and drag.moves:
            drag.end()
            self._key(context, drag)
            return {"FINISHED"}
        if restore:
            drag.restore()
        else:
            drag.end()
        return {"CANCELLED"}

    def _key(self, context: bpy.types.Context, drag: Drag) -> None:
        asked = context.scene.chatpose.insert_key
        armature = drag.target.find()
        if armature is None or not (asked or context.scene.tool_settings.use_keyframe_insert_auto):
            return
        try:
            insert_keys(context, armature, drag.changed_bones(), automatic=not asked)
        except keyframes.KeyframeError as error:  # the pose is there all the same
            self.report({"WARNING"}, str(error))

    def _tell(self, context: bpy.types.Context) -> None:
        drag = session.running(Drag)
        self.told = drag.problem
        if drag.problem:
            text = drag.problem
        elif self.held:
            text = pgettext_iface("X, Y, Z: Along an Axis    Shift: Precise    Esc: Back")
        else:
            text = pgettext_iface("Drag or G: Move    P: Pin    Ctrl Z: Back    Enter: Keep    Esc: Old Pose")
        context.workspace.status_text_set(text)


class CHATPOSE_OT_drag_end(EndsTool, bpy.types.Operator):
    bl_idname = "chatpose.drag_end"
    bl_description = "End dragging: keep the pose, or bring the old one back exactly"

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if session.running(Drag) is not None else "Nothing is being dragged"


# -- the view ----------------------------------------------------------------------------------------------------------


class _View:
    """A 3D viewport's window region and how it looks at the scene."""

    def __init__(self, region: bpy.types.Region, data: bpy.types.RegionView3D) -> None:
        self.region, self.data = region, data


def _views(context: bpy.types.Context) -> Iterator[tuple[bpy.types.Area, _View]]:
    for area in context.window.screen.areas:
        if area.type == "VIEW_3D":
            for region in area.regions:
                if region.type == "WINDOW":
                    yield area, _View(region, region.data if hasattr(region, "data") else area.spaces.active.region_3d)


def _view_under(context: bpy.types.Context, event: bpy.types.Event) -> _View | None:
    """The viewport under the pointer, where no panel, header or gizmo bar lies over it."""
    for area, view in _views(context):
        over = [r for r in area.regions if r.type != "WINDOW" and r.width > 1 and r.height > 1]
        if _inside(view.region, event) and not any(_inside(region, event) for region in over):
            return view
    return None


def _inside(region: bpy.types.Region, event: bpy.types.Event) -> bool:
    x, y = event.mouse_x - region.x, event.mouse_y - region.y
    return 0 <= x < region.width and 0 <= y < region.height


def _on_screen(view: _View, place: Vector) -> Vector | None:
    """Window coordinates of a place, None behind the viewer."""
    at = view3d_utils.location_3d_to_region_2d(view.region, view.data, place)
    return None if at is None else at + Vector((view.region.x, view.region.y))


def _handle_at(view: _View, drag: Drag, pointer: Vector) -> str:
    """The handle under the pointer: the nearest, main ones first where two lie together."""
    armature = drag.target.find()
    reach = _REACH * bpy.context.preferences.system.ui_scale
    found: list[tuple[float, str]] = []
    for name in drag.handles:
        at = _on_screen(view, drag.place(armature, name))
        if at is not None and (at - pointer).length < reach:
            found.append(((at - pointer).length * (1.0 if name in MAIN_HANDLES else 1.5), name))
    return min(found)[1] if found else ""


def _redraw(context: bpy.types.Context) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


# -- drawing -----------------------------------------------------------------------------------------------------------


def _draw(operator: CHATPOSE_OT_drag) -> None:
    """The handles in one viewport. Blender calls it for each, every redraw."""
    drag = session.running(Drag)
    armature = None if drag is None else drag.target.find()
    context = bpy.context
    if armature is None or context.region_data is None:
        return
    try:
        held, hovered, axis = operator.held, operator.hovered, operator.axis
    except ReferenceError:  # the operator has ended and Blender draws once more
        return
    view = _View(context.region, context.region_data)
    scale = context.preferences.system.ui_scale
    origin = Vector((view.region.x, view.region.y))
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    try:
        if held and axis:
            _draw_axis(shader, view, operator.start, axis)
        for name in reversed(tuple(drag.handles)):  # the main ones on top
            at = _on_screen(view, drag.place(armature, name))
            if at is None:
                continue
            at = at - origin
            handle = drag.handles[name]
            colour = _PINNED if handle.pinned else _FREE if handle.place is None else _PLACED
            lit = name in (held, hovered)
            radius = _RADIUS[name in MAIN_HANDLES] * scale * (1.35 if lit else 1.0)
            corners = 4 if handle.pinned else 20
            _disc(shader, at, radius + 1.5 * scale, corners, _RIM)
            _disc(shader, at, radius, corners, (*colour[:3], 1.0) if lit else colour)
            if lit:
                _label(at + Vector((radius + 5 * scale, -4 * scale)), title(name), scale)
    finally:
        gpu.state.blend_set("NONE")


def _disc(shader: gpu.types.GPUShader, at: Vector, radius: float, corners: int, colour: tuple[float, ...]) -> None:
    """A filled disc; with four corners a diamond."""
    from math import cos, pi, sin

    rim = [
        (at.x + radius * cos(2 * pi * i / corners), at.y + radius * sin(2 * pi * i / corners)) for i in range(corners)
    ]
    triangles = [(0, i, i + 1) for i in range(1, corners - 1)]
    shader.bind()
    shader.uniform_float("color", colour)
    batch_for_shader(shader, "TRIS", {"pos": rim}, indices=triangles).draw(shader)


def _draw_axis(shader: gpu.types.GPUShader, view: _View, start: Vector, axis: str) -> None:
    ends = [view3d_utils.location_3d_to_region_2d(view.region, view.data, start + s * _AXES[axis]) for s in (-3, 3)]
    if None not in ends:
        shader.bind()
        shader.uniform_float("color", _AXIS_COLOURS[axis])
        batch_for_shader(shader, "LINES", {"pos": [tuple(end) for end in ends]}).draw(shader)


def _label(at: Vector, text: str, scale: float) -> None:
    blf.size(0, 12 * scale)
    blf.color(0, 1, 1, 1, 1)
    blf.enable(0, blf.SHADOW)
    blf.shadow(0, 3, 0, 0, 0, 1)
    blf.position(0, at.x, at.y, 0)
    blf.draw(0, text)
    blf.disable(0, blf.SHADOW)


CLASSES = (CHATPOSE_OT_drag, CHATPOSE_OT_drag_end)
