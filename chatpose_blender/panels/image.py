"""The reference picture: where it comes from, who is in it, what is taken from it."""

import bpy

from .. import people_pictures, seen, session
from ..correcting import Correction
from ..operators.image_pose import chosen_person
from .sidebar import ChildPanel, draw_text

_PICTURE_SCALE = 9.0
_MOVES = {"MOVIE", "SEQUENCE"}
_FILES = {"FILE", "SEQUENCE"}
_MAX_BUTTONS = 12


class CHATPOSE_PT_picture(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_picture"
    bl_label = "Picture"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.chatpose.picture
        layout.template_ID(settings, "image", open="chatpose.picture_open", unlink="chatpose.picture_clear")
        row = layout.row(align=True)
        row.operator("chatpose.picture_from_camera", text="", icon="CAMERA_DATA")
        row.operator("chatpose.picture_from_clipboard", text="", icon="PASTEDOWN")
        row.operator("chatpose.picture_from_render", text="", icon="RENDER_RESULT")
        row.operator("chatpose.picture_from_viewport", text="", icon="VIEW3D")
        row.operator("chatpose.find_people", icon="VIEWZOOM")
        image = settings.image
        known = seen.of(image)
        if image is not None:
            self._draw_people(layout, image, known, settings)
        column = layout.column()
        column.use_property_split = True
        column.prop(settings, "use_prompt")
        column.prop(settings, "facing")
        column.prop(settings, "hands")
        if session.running(Correction) is not None:
            row = layout.row(align=True)
            row.operator("chatpose.correct_end", icon="CHECKMARK").keep = True
            row.operator("chatpose.correct_end", text="Old Pose", icon="X").keep = False
            draw_text(context, layout, "Drag the points of the picture; the character follows", "INFO")
            return
        column = layout.column(align=True)
        row = column.row(align=True)
        row.scale_y = 1.4
        row.operator("chatpose.pose_from_picture", icon="IMAGE_DATA")
        row = column.row(align=True)
        row.operator("chatpose.correct_points", icon="EMPTY_AXIS")
        row.operator("chatpose.match_camera", icon="VIEW_CAMERA")
        column.operator("chatpose.pose_people", icon="COMMUNITY")
        if image is not None and image.source in _FILES:
            layout.prop(image, "source")  # numbered files may be an Image Sequence
        if image is not None and image.source in _MOVES:
            self._draw_motion(layout, settings)

    def _draw_people(
        self,
        layout: bpy.types.UILayout,
        image: bpy.types.Image,
        known: seen.Seen | None,
        settings: bpy.types.PropertyGroup,
    ) -> None:
        chosen = chosen_person(known.sight, settings.person) if known is not None else -1
        picture = people_pictures.icon(image, chosen)
        if picture:
            layout.template_icon(icon_value=picture, scale=_PICTURE_SCALE)
        if known is None or len(known.sight.people) < 2:
            return
        row = layout.row(align=True)
        for i in range(min(len(known.sight.people), _MAX_BUTTONS)):
            row.operator("chatpose.choose_person", text=str(i + 1), depress=i == chosen).person = i + 1
        layout.prop(settings, "person")

    def _draw_motion(self, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
        column = layout.column(align=True)
        column.use_property_split = True
        for name in ("first_frame", "frames", "step", "smooth"):
            column.prop(settings, name)
        column.operator("chatpose.motion_from_picture", icon="SEQUENCE")


CLASSES = (CHATPOSE_PT_picture,)
