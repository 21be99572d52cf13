"""The reference picture: from a file, a camera's background, the clipboard, the render or the viewport.

Only chooses it; ``image_pose`` takes poses from it, and ``image_drop`` does both.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import bpy
import numpy as np
from bpy.props import StringProperty

from .. import image_sources, people_pictures, session
from ..client import clipboard, converter
from ..client import picture as pictures
from .polls import Explains, refuse

FILES = "*.png;*.jpg;*.jpeg;*.webp;" + ";".join(f"*{suffix}" for suffix in sorted(pictures.CONVERTED))
MOVIES = ";".join(f"*{suffix}" for suffix in sorted(converter.MOVIES))
BUSY = "Another answer is on its way: wait for it or cancel it."
"""Said when it is pressed: a button that its own work made grey stays grey for as long as the pointer is on it."""
_VIEW_SIDE = 1280  # pixels of the viewport's picture: as many as are looked at, so that reading them back is quick


def settings_of(context: bpy.types.Context) -> bpy.types.PropertyGroup:
    """The scene's reference picture."""
    return context.scene.chatpose.picture


def use(context: bpy.types.Context, image: bpy.types.Image, frame: int | None = None) -> None:
    """Makes an image the reference picture, at a frame if it moves. Whoever calls it makes the undo step."""
    settings = settings_of(context)
    if settings.image != image:
        settings.image, settings.person = image, 0
        settings.first_frame = image_sources.frame_number(image)
    if frame is not None:
        settings.first_frame = frame
    people_pictures.retry()
    session.current.answer = ""  # it was about another picture
    session.redraw()


class CHATPOSE_OT_picture_open(bpy.types.Operator):
    bl_idname = "chatpose.picture_open"
    bl_label = "Open Picture"
    bl_description = "Choose a photo, drawing or movie to take poses from"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", description="The picture's file", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        name="Filter", description="Which files are shown", default=f"{FILES};{MOVIES}", options={"HIDDEN"}
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        image = load(self, self.filepath)
        if image is None:
            return {"CANCELLED"}
        use(context, image)
        return {"FINISHED"}


class CHATPOSE_OT_picture_from_camera(Explains, bpy.types.Operator):
    bl_idname = "chatpose.picture_from_camera"
    bl_label = "Picture from Camera Background"
    bl_description = "Take poses from the background image of the scene's camera, of a movie from the frame shown now"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if context.scene.camera is None:
            return "The scene has no camera"
        return "" if _background(context.scene.camera) else "The scene's camera has no background image"

    def execute(self, context: bpy.types.Context) -> set[str]:
        background = _background(context.scene.camera)
        moves = background.image.source in image_sources.MOVES
        now = image_sources.frame_behind(background, context.scene.frame_current) if moves else None
        use(context, background.image, now)
        return {"FINISHED"}


def _background(camera: bpy.types.Object) -> bpy.types.CameraBackgroundImage | None:
    backgrounds = getattr(camera.data, "background_images", ())
    shown = (each for each in backgrounds if each.source == "IMAGE" and each.show_background_image)
    return next((each for each in shown if each.image is not None), None)


class CHATPOSE_OT_picture_from_clipboard(bpy.types.Operator):
    bl_idname = "chatpose.picture_from_clipboard"
    bl_label = "Picture from Clipboard"
    bl_description = "Take poses from the picture, or from the picture file, that was copied last"
    bl_options = {"REGISTER"}  # the undo step is made when the picture is there

    def execute(self, context: bpy.types.Context) -> set[str]:
        if session.current.work:
            return refuse(self, BUSY)
        path = file_in(_copied_text(context))
        image = _pasted(context) if path is None else load(self, path)
        if image is not None:
            use(context, image)
            bpy.ops.ed.undo_push(message="Picture from Clipboard")
            return {"FINISHED"}
        if path is not None:
            return {"CANCELLED"}  # and it was said why
        if not clipboard.is_x11(os.environ):
            return refuse(self, clipboard.NOTHING)
        program = clipboard.command()
        session.run(
            "Reading the Clipboard", lambda report, stopped: clipboard.read(program, stopped), None, _pack_copied
        )
        return {"FINISHED"}


def _copied_text(context: bpy.types.Context) -> str:
    try:
        return context.window_manager.clipboard
    except UnicodeDecodeError:  # X11: some programs give the picture's bytes to whoever asks for text
        return ""


def _pack_copied(work: session.Work, data: bytes) -> None:
    _pack("Clipboard", data, "Picture from Clipboard")


_FILE_NAME = re.compile(r"\.(" + "|".join(re.findall(r"\w+", f"{FILES};{MOVIES}")) + r")$", re.IGNORECASE)


def file_in(text: str) -> str | None:
    """The picture's path in copied text, as file managers put it: a path, perhaps quoted, or a file: address."""
    line = next((line.strip().strip('"') for line in text.splitlines() if line.strip() not in {"", "copy", "cut"}), "")
    if line.startswith("file:"):
        line = unquote(urlsplit(line).path)
        line = line[1:] if re.match(r"/[A-Za-z]:", line) else line  # file:///C:/...
    return line if _FILE_NAME.search(line) else None


def _pasted(context: bpy.types.Context) -> bpy.types.Image | None:
    """The clipboard's picture. Blender pastes it in an Image Editor alone, so an area is one for a moment.

    Windows, macOS, and Wayland where this release can; under X11 none can, so that nothing is tried.
    """
    window = context.window
    if bpy.app.background or window is None or (sys.platform == "linux" and "WAYLAND_DISPLAY" not in os.environ):
        return None
    area = context.area or window.screen.areas[0]
    before, kind = set(bpy.data.images), area.ui_type
    try:
        area.ui_type = "IMAGE_EDITOR"
        region = next(region for region in area.regions if region.type == "WINDOW")
        with context.temp_override(window=window, area=area, region=region):
            if bpy.ops.image.clipboard_paste.poll():
                bpy.ops.image.clipboard_paste()
    except RuntimeError:
        pass  # there was none; Blender's own words for that are of operators
    finally:
        area.ui_type = kind
    return next((image for image in bpy.data.images if image not in before), None)


class CHATPOSE_OT_picture_from_render(Explains, bpy.types.Operator):
    bl_idname = "chatpose.picture_from_render"
    bl_label = "Picture from Render"
    bl_description = "Take poses from the last render as it is now"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if bpy.app.is_job_running("RENDER"):
            return "Wait for the end of the render"
        return "" if "Render Result" in bpy.data.images else "Nothing was rendered yet"

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = image_sources.folder() / "render.jpg"
        path.unlink(missing_ok=True)
        # Blender gives a render's pixels to nobody but to its own writer, and that one works on the main thread: some
        # 50 ms for a full HD picture.
        with _jpeg(context.scene.render.image_settings), contextlib.suppress(RuntimeError):
            bpy.data.images["Render Result"].save_render(str(path), scene=context.scene)
        if not path.exists():
            return refuse(self, "There is no render to take; press F12 first.")
        image = bpy.data.images.load(str(path))
        image.name = "Render"
        image.pack()
        use(context, image)
        return {"FINISHED"}


@contextlib.contextmanager
def _jpeg(settings: bpy.types.ImageFormatSettings) -> Iterator[None]:
    """The scene's image format is JPEG for a moment."""
    wanted = {"media_type": "IMAGE", "file_format": "JPEG", "color_mode": "RGB", "quality": 92}  # the first from 5.0 on
    before = {name: getattr(settings, name) for name in wanted if hasattr(settings, name)}
    try:
        for name in before:
            setattr(settings, name, wanted[name])
        yield
    finally:
        for name, value in before.items():
            setattr(settings, name, value)


class CHATPOSE_OT_picture_from_viewport(Explains, bpy.types.Operator):
    bl_idname = "chatpose.picture_from_viewport"
    bl_label = "Picture from Viewport"
    bl_description = "Take poses from what the 3D viewport shows now, without its overlays"
    bl_options = {"REGISTER"}  # the undo step is made when the picture is there

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        if bpy.app.background or _view(context) is None:
            return "There is no 3D viewport to look at"
        return ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        if session.current.work:
            return refuse(self, BUSY)
        pixels = pictures.Pixels(draw_view(context, *_view(context)))
        session.run("Taking the Picture", lambda report, stopped: pictures.png_of(pixels), None, _pack_view)
        return {"FINISHED"}


def _pack_view(work: session.Work, data: bytes) -> None:
    _pack("Viewport", data, "Picture from Viewport")


def _pack(name: str, data: bytes, step: str) -> None:
    """One undo step: a picture's file as the reference picture, kept in the .blend file."""
    image = bpy.data.images.new(name, 1, 1)
    image.source = "FILE"
    image.pack(data=data, data_len=len(data))
    use(bpy.context, image)
    bpy.ops.ed.undo_push(message=step)


def _view(context: bpy.types.Context) -> tuple[bpy.types.SpaceView3D, bpy.types.Region] | None:
    """The viewport of the button, else the largest."""
    area = context.area if context.area is not None and context.area.type == "VIEW_3D" else None
    if area is None and context.window is not None:
        areas = [each for each in context.window.screen.areas if each.type == "VIEW_3D"]
        area = max(areas, key=lambda each: each.width * each.height, default=None)
    if area is None:
        return None
    return area.spaces.active, next(region for region in area.regions if region.type == "WINDOW")


def draw_view(context: bpy.types.Context, space: bpy.types.SpaceView3D, region: bpy.types.Region) -> np.ndarray:
    """(H, W, 4) display values, the bottom row first: a viewport drawn once more, without overlays and gizmos."""
    import gpu

    scale = min(1.0, _VIEW_SIDE / max(region.width, region.height))
    width, height = max(1, int(region.width * scale)), max(1, int(region.height * scale))
    view, shown = space.region_3d, (space.overlay.show_overlays, space.show_gizmo)
    offscreen = gpu.types.GPUOffScreen(width, height)
    try:
        space.overlay.show_overlays = space.show_gizmo = False
        offscreen.draw_view3d(
            context.scene,
            context.view_layer,
            space,
            region,
            view.view_matrix,
            view.window_matrix,
            do_color_management=True,
        )
        with offscreen.bind():
            buffer = gpu.state.active_framebuffer_get().read_color(0, 0, width, height, 4, 0, "UBYTE")
        buffer.dimensions = width * height * 4
        values = np.frombuffer(buffer, np.uint8).reshape(height, width, 4)
    finally:
        space.overlay.show_overlays, space.show_gizmo = shown
        offscreen.free()
    opaque = values.astype(np.float32) / 255
    opaque[..., 3] = 1.0
    return opaque


class CHATPOSE_OT_picture_clear(Explains, bpy.types.Operator):
    bl_idname = "chatpose.picture_clear"
    bl_label = "Remove Picture"
    bl_description = "Let go of the reference picture. The image stays in the file"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def refusal(cls, context: bpy.types.Context) -> str:
        return "" if settings_of(context).image else "There is no picture"

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings_of(context).image = None
        return {"FINISHED"}


def load(operator: bpy.types.Operator, path: str) -> bpy.types.Image | None:
    """A file as an image; None with the reason reported. Decodes nothing: Blender does that when it draws it."""
    name = Path(path).name
    if not _FILE_NAME.search(name):
        reasons = {".gif": "a GIF", ".svg": "a drawing of lines (SVG)", ".heic": "a HEIC picture"}
        what = reasons.get(Path(path).suffix.lower(), "no picture that can be read")
        refuse(operator, f"'{name}' is {what}; save it as PNG or JPEG.")
        return None
    try:
        return bpy.data.images.load(path, check_existing=True)
    except RuntimeError:
        refuse(operator, f"'{name}' is not there or cannot be read.")
        return None


CLASSES = (
    CHATPOSE_OT_picture_open,
    CHATPOSE_OT_picture_from_camera,
    CHATPOSE_OT_picture_from_clipboard,
    CHATPOSE_OT_picture_from_render,
    CHATPOSE_OT_picture_from_viewport,
    CHATPOSE_OT_picture_clear,
)
