"""One ordered list of everything that Blender is told about; taken back in exact reverse."""

import bpy

from . import (
    history,
    icons,
    image_sources,
    keymaps,
    people_pictures,
    pictures,
    properties,
    seen,
    session,
    translations,
)
from .operators import CLASSES as OPERATORS
from .panels import CLASSES as PANELS

CLASSES = (*properties.CLASSES, *OPERATORS, *PANELS)


def register() -> None:
    """Classes first, then what needs them."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    properties.attach()
    icons.load()
    pictures.load()
    people_pictures.load()
    session.start()
    history.start()
    keymaps.load()
    translations.load()


def unregister() -> None:
    """The other way round; work that is under way is cancelled first."""
    translations.unload()
    keymaps.unload()
    history.stop()
    session.stop()
    people_pictures.unload()
    pictures.unload()
    icons.unload()
    seen.forget()
    image_sources.clean()
    properties.detach()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
