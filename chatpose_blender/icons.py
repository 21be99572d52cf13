"""The add-on's own icons, made from icons/*.svg. Does not draw."""

from pathlib import Path

import bpy.utils.previews

NAMES = ("chatpose", "body", "pose")
_FOLDER = Path(__file__).parent / "icons"
_previews: bpy.utils.previews.ImagePreviewCollection | None = None


def load() -> None:
    """Called once when the add-on is enabled."""
    global _previews  # noqa: PLW0603 - a preview collection lives from register to unregister
    _previews = bpy.utils.previews.new()
    for name in NAMES:
        _previews.load(name, str(_FOLDER / f"{name}.png"), "IMAGE")


def unload() -> None:
    """Called once when the add-on is disabled; Blender warns about collections that are left behind."""
    global _previews  # noqa: PLW0603
    if _previews is not None:
        bpy.utils.previews.remove(_previews)
        _previews = None


def value(name: str) -> int:
    """For ``icon_value=``; 0, which is no icon, when the add-on is not loaded."""
    return _previews[name].icon_id if _previews is not None and name in _previews else 0
