"""The conversation of the active character, as a list, and the message that is selected."""

import bpy

from .. import conversation, pictures, session
from ..operators import targets
from .sidebar import ChildPanel, draw_words

_PICTURE_SCALE = 6.0


class CHATPOSE_UL_messages(bpy.types.UIList):
    bl_idname = "CHATPOSE_UL_messages"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property) -> None:
        """One line: who, the words' beginning, and the star."""
        is_answer = item.role == "assistant"
        picture = pictures.icon(item.pose)
        if picture:
            layout.label(text=item.text, icon_value=picture, translate=False)
        else:
            layout.label(text=item.text, icon="TEXT" if is_answer else "USER", translate=False)
        if is_answer:
            layout.prop(item, "starred", text="", icon="SOLO_ON" if item.starred else "SOLO_OFF", emboss=False)


def shows(work: session.Work | None, armature: bpy.types.Object | None) -> bool:
    """Whether a job's words belong into this character's conversation."""
    if work is None or armature is None or work.target is None:
        return False
    return bool(work.words) and work.target.is_for(armature)


class CHATPOSE_PT_conversation(ChildPanel, bpy.types.Panel):
    bl_idname = "CHATPOSE_PT_conversation"
    bl_label = "Conversation"
    bl_options = set()  # open: it is what one works in

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return targets.target(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        armature = targets.target(context)
        character = armature.chatpose
        row = layout.row()
        row.template_list("CHATPOSE_UL_messages", "", character, "messages", character, "active_message", rows=4)
        column = row.column(align=True)
        column.operator("chatpose.message_apply", text="", icon="PLAY")
        column.operator("chatpose.message_regenerate", text="", icon="FILE_REFRESH")
        column.operator("chatpose.message_copy", text="", icon="COPYDOWN")
        column.operator("chatpose.message_delete", text="", icon="REMOVE")
        column.operator("chatpose.conversation_clear", text="", icon="TRASH")
        message = conversation.active(armature)
        work = session.current.work
        if shows(work, armature):
            self._draw_answering(context, work)
        elif message is not None:
            box = layout.box()
            if message.pose:
                box.template_icon(icon_value=pictures.icon(message.pose), scale=_PICTURE_SCALE)
            else:
                self._draw_who(box, message.role == "assistant")
            draw_words(context, box, message.text)
        layout.operator("chatpose.describe", icon="OUTLINER_OB_FONT")
        layout.operator("chatpose.save_asset", icon="ASSET_MANAGER")

    def _draw_answering(self, context: bpy.types.Context, work: session.Work) -> None:
        """The question and as much of the answer as is written; both join the list when it is whole."""
        box = self.layout.box()
        self._draw_who(box, False)
        draw_words(context, box, work.words)
        self._draw_who(box, True)
        draw_words(context, box, f"{work.text} …" if work.text else f"{work.stage} …")

    def _draw_who(self, layout: bpy.types.UILayout, is_answer: bool) -> None:
        layout.label(text="Model" if is_answer else "You", icon="TEXT" if is_answer else "USER")


CLASSES = (CHATPOSE_UL_messages, CHATPOSE_PT_conversation)
