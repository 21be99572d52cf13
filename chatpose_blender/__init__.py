"""ChatPose: words in, a posed body out. This file only registers; it is importable without Blender."""


def register() -> None:
    """Called by Blender when the extension is enabled."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Called by Blender when the extension is disabled; undoes ``register`` in exact reverse."""
    from . import registration

    registration.unregister()
