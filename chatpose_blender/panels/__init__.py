"""Drawing only: no I/O, no decisions. What is drawn is in ``session.current`` and in the scene."""

from . import conversation, desk, main

CLASSES = (*main.CLASSES, *conversation.CLASSES, *desk.CLASSES)
