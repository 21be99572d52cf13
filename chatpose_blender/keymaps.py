"""Keys for what one does all day. All are off until the artist switches one on in the preferences. Draws them there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import bpy

_KEYMAP, _SPACE = "3D View", "VIEW_3D"


@dataclass(frozen=True)
class Key:
    """A suggestion: Ctrl-Alt and a letter, which Blender itself leaves free in the 3D viewport."""

    operator: str
    letter: str
    settings: Mapping[str, object] = field(default_factory=dict)
    label: str = ""  # where the operator's own does not say what the settings do


KEYS = (
    Key("chatpose.pose_dialog", "P"),
    Key("chatpose.pose_dialog", "R", {"refine": True}, "Refine from Words"),
    Key("chatpose.describe", "D"),
    Key("chatpose.message_regenerate", "G"),
    Key("chatpose.variations", "V"),
    Key("chatpose.key_pose", "K"),
    Key("chatpose.cancel", "C"),
)

_made: list[tuple[bpy.types.KeyMap, bpy.types.KeyMapItem]] = []


def load() -> None:
    """Called when the add-on is enabled. Without a window there are no key configurations."""
    config = bpy.context.window_manager.keyconfigs.addon
    if config is None:
        return
    keymap = config.keymaps.new(name=_KEYMAP, space_type=_SPACE)
    for key in KEYS:
        item = keymap.keymap_items.new(key.operator, key.letter, "PRESS", ctrl=True, alt=True)
        for name, value in key.settings.items():
            setattr(item.properties, name, value)
        item.active = False
        _made.append((keymap, item))


def unload() -> None:
    """Called when the add-on is disabled."""
    for keymap, item in _made:
        keymap.keymap_items.remove(item)
    _made.clear()


def draw(layout: bpy.types.UILayout) -> None:
    """One line for each key: its switch, what it does, and the key itself, which can be changed."""
    layout.label(text="Keys in the 3D Viewport", icon="EVENT_K")
    for key, item in _of_user():
        row = layout.row()
        row.prop(item, "active", text="")
        split = row.split(factor=0.6)
        split.label(text=key.label or item.name)
        split.prop(item, "type", text="", full_event=True)


def _of_user() -> Iterator[tuple[Key, bpy.types.KeyMapItem]]:
    """The keys as the artist has them, who may have changed or removed some."""
    keymap = bpy.context.window_manager.keyconfigs.user.keymaps.get(_KEYMAP)
    items = [] if keymap is None else list(keymap.keymap_items)
    for key in KEYS:
        for item in items:
            if item.idname == key.operator and all(getattr(item.properties, k) == v for k, v in _settings(key, item)):
                yield key, item
                break


def _settings(key: Key, item: bpy.types.KeyMapItem) -> list[tuple[str, object]]:
    """All settings that any of our keys for this operator has: a key without one means its default."""
    names = {name for other in KEYS if other.operator == key.operator for name in other.settings}
    return [(name, key.settings.get(name, False)) for name in sorted(names)]
