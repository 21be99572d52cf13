"""Which of the two trainers ``train poselm`` means, by what it is given. Loads neither.

Our own small model on folders of motion, with all its heads, is ``poselm``; every other base, and pairs that people
bring themselves, is ``chat_poselm``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..models.catalogue import CATALOGUE, DEFAULT_LANGUAGE_MODEL

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def training_for(arguments: Sequence[str]) -> str:
    """The name of the training room's module that these options of ``train poselm`` are for."""
    if "-h" in arguments or "--help" in arguments:
        return "chat_poselm" if "--base" in arguments else "poselm"
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--base", default=DEFAULT_LANGUAGE_MODEL)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    try:
        asked = parser.parse_known_args(list(arguments))[0]
    except argparse.ArgumentError:  # the trainer's own parser says what is wrong
        return "poselm"
    own = asked.base in CATALOGUE and not any(_brings_pairs(path) for path in asked.data)
    return "poselm" if own else "chat_poselm"


def _brings_pairs(path: Path) -> bool:
    """A file of pairs, or a folder of pictures; not a folder of motion."""
    if path.suffix.lower() in (".json", ".jsonl", ".npz"):
        return True
    return path.is_dir() and any(p.suffix.lower() in _PICTURES for p in path.rglob("*"))
