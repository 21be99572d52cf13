"""The reference picture: where it comes from, who is in it, what is taken from it."""

import bpy

from .. import image_sources, people_pictures, seen, session
from ..correcting import Correction
from ..operators.image_pose import chosen_person
from .sidebar import ChildPanel, draw_text

_PICTURE_SCALE = 9.0
_MAX_BUTTONS = 12


class CHATPOSE_PT_picture(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_picture"
    bl_label = "Picture"

    def draw(self, context: bpy.types.Context) -> None:
        layout, settings = self.layout, context.scene.chatpose.picture
        layout.use_property_decorate = False  # what is taken from a picture is nothing to animate
        layout.template_ID(settings, "image", open="chatpose.picture_open", unlink="chatpose.picture_clear")
        image = settings.image
        if image is not None and image_sources.may_be_numbered(image):
            layout.prop(image, "source", text="")  # numbered files may be an Image Sequence
        row = layout.row(align=True)
        row.operator("chatpose.picture_from_camera", text="", icon="CAMERA_DATA")
        row.operator("chatpose.picture_from_clipboard", text="", icon="PASTEDOWN")
        row.operator("chatpose.picture_from_render", text="", icon="RENDER_RESULT")
        row.operator("chatpose.picture_from_viewport", text="", icon="VIEW3D")
        row.operator("chatpose.find_people", icon="VIEWZOOM")
        moves = image is not None and image.source in image_sources.MOVES
        if image is not None:
            self._draw_people(context, image, settings, moves=moves)
        column = layout.column()
        column.use_property_split = True
        row = column.row()
        row.active = bool(context.scene.chatpose.prompt.strip())
        row.prop(settings, "use_prompt")
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
        if moves:
            self._draw_motion(layout, settings)

    def _draw_people(
        self, context: bpy.types.Context, image: bpy.types.Image, settings: bpy.types.PropertyGroup, *, moves: bool
    ) -> None:
        layout, known = self.layout, seen.of(image)
        chosen = chosen_person(known.sight, settings.person) if known is not None else -1
        picture = people_pictures.icon(image, settings.first_frame, chosen)
        reason = people_pictures.reason(image, settings.first_frame)
        if reason:
            draw_text(context, layout, reason, "INFO")
        elif picture:
            layout.template_icon(icon_value=picture, scale=_PICTURE_SCALE)
        if moves:
            layout.prop(settings, "first_frame")
        if known is None or len(known.sight.people) < 2:
            return
        row = layout.row(align=True)
        row.operator("chatpose.choose_person", text="Auto", depress=settings.person == 0).person = 0
        for i in range(min(len(known.sight.people), _MAX_BUTTONS)):
            button = row.operator(
                "chatpose.choose_person", text=str(i + 1), depress=settings.person == i + 1, translate=False
            )
            button.person = i + 1
        if len(known.sight.people) > _MAX_BUTTONS:
            layout.prop(settings, "person")

    def _draw_motion(self, layout: bpy.types.UILayout, settings: bpy.types.PropertyGroup) -> None:
        column = layout.column(align=True)
        column.use_property_split = True
        for name in ("frames", "step", "smooth"):
            column.prop(settings, name)
        column.operator("chatpose.motion_from_picture", icon="SEQUENCE")


CLASSES = (CHATPOSE_PT_picture,)
