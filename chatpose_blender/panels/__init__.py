"""Drawing only: no I/O, no decisions. What is drawn is in ``session.current`` and in the scene."""

from . import conversation, desk, image, library, main, preferences, server

CLASSES = (
    *preferences.CLASSES,
    *main.CLASSES,
    *image.CLASSES,
    *conversation.CLASSES,
    *library.CLASSES,
    *desk.CLASSES,
    *server.CLASSES,
)
