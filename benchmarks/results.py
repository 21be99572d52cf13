"""Writes a benchmark's section into RESULTS.md, in the place of its older one. Imports nothing heavy."""

from __future__ import annotations

import re
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def write_section(title: str, body: str) -> None:
    """``body`` is Markdown without the heading; the other sections are others'."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    kept = re.sub(rf"## {re.escape(title)}\n.*?(?=\n## |\Z)", "", text, flags=re.S)
    kept = re.sub(r"\n{3,}", "\n\n", kept).rstrip()
    RESULTS.write_text(f"{kept}\n\n## {title}\n\n{body.strip()}\n", encoding="utf-8")
