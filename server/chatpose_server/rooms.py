"""The server's rooms, brought in when they are first needed: one that is missing answers with ``not_available`` instead
of keeping the server from starting.
"""

from __future__ import annotations

import importlib
import logging
from types import ModuleType
from typing import Final

from .faults import ChatPoseError

_log = logging.getLogger("chatpose.rooms")

DOCTOR: Final = "Run 'chatpose-server doctor' to see what is missing."


def room(name: str) -> ModuleType:
    """A room's package. Raises ChatPoseError not_available where it does not exist or cannot be loaded."""
    try:
        return importlib.import_module(f".{name}", __package__)
    except ChatPoseError:
        raise
    except Exception as error:  # a broken optional room must not take the others with it
        _log.warning("room", extra={"room": name, "why": f"{type(error).__name__}: {error}"})
        raise ChatPoseError(
            "not_available", f"The part '{name}' of the server is not installed or cannot be loaded.", hint=DOCTOR
        ) from error


def offers(name: str, function: str) -> bool:
    """Whether a room is there and has this function."""
    try:
        return callable(getattr(room(name), function, None))
    except ChatPoseError:
        return False
