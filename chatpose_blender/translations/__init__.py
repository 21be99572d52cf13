"""The interface in other languages: one file for each, English text -> its own. What is missing there stays English.

Words that artists write and models answer are never translated.
"""

import json
from pathlib import Path

import bpy

from .. import __package__ as base_package

LOCALES = {
    "de": ("de_DE",),
    "es": ("es", "es_ES"),
    "fr": ("fr_FR",),
    "ja": ("ja_JP",),
    "zh": ("zh_HANS", "zh_CN"),  # since 4.0; before, and in some builds
}
CONTEXTS = ("*", "Operator")  # Blender looks operators' labels up in a context of their own
_FOLDER = Path(__file__).parent


def read(language: str) -> dict[str, str]:
    """One language's table."""
    return json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def load() -> None:
    """Called when the add-on is enabled."""
    table = {}
    for language, locales in LOCALES.items():
        texts = {(context, english): text for english, text in read(language).items() for context in CONTEXTS}
        table |= dict.fromkeys(locales, texts)
    bpy.app.translations.register(base_package, table)


def unload() -> None:
    """Called when the add-on is disabled."""
    bpy.app.translations.unregister(base_package)
