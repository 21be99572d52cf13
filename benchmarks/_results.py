"""Writes a benchmark's section into RESULTS.md, in the place of its older one. Imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def write_section(title: str, body: str) -> None:
    """``body`` is Markdown without the heading; the other sections are others'."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    section = f"## {title}\n\n{body.strip()}\n"
    older = re.compile(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", re.S)
    made = older.sub(lambda _: section, text) if older.search(text) else f"{text.rstrip()}\n\n{section}"
    RESULTS.write_text(made.rstrip() + "\n", encoding="utf-8")
