"""Language models with a pose head."""

from typing import TYPE_CHECKING, Any

from .base import ChatTurn, LanguageAnswer, LanguageModel, LanguageRequest

if TYPE_CHECKING:
    from .loading import load_language_model

__all__ = ["ChatTurn", "LanguageAnswer", "LanguageModel", "LanguageRequest", "load_language_model"]


def __getattr__(name: str) -> Any:
    """The loader, when it is first asked for: it brings torch, which whoever only names these types can do without."""
    if name != "load_language_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .loading import load_language_model

    return load_language_model
