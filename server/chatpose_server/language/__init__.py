"""Language models with a pose head."""

from .base import ChatTurn, LanguageAnswer, LanguageModel, LanguageRequest
from .loading import load_language_model

__all__ = ["ChatTurn", "LanguageAnswer", "LanguageModel", "LanguageRequest", "load_language_model"]
