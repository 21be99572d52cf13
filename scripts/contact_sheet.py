# SPDX-License-Identifier: GPL-3.0-or-later
"""Put rendered pictures side by side, each over its prompt.

    python contact_sheet.py OUT.png PROMPT PICTURE [PROMPT PICTURE ...]

Needs Pillow, nothing of ours.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLUMNS = 3
MARGIN = 24
TEXT_SIZE = 26
TEXT_LINES = 2
TEXT_CHARACTERS = 40  # a line of this many fits under a picture of 560 pixels
LINE = round(TEXT_SIZE * 1.3)
PAPER = (250, 249, 247)
INK = (40, 44, 48)


def contact_sheet(shots: list[tuple[str, Image.Image]]) -> Image.Image:
    """The pictures of `shots` (prompt, picture; all of one size) in a grid, each with its prompt below."""
    width, height = shots[0][1].size
    rows = -(-len(shots) // COLUMNS)
    columns = min(COLUMNS, len(shots))
    cell_width, cell_height = width + MARGIN, height + TEXT_LINES * LINE + MARGIN
    sheet = Image.new("RGB", (columns * cell_width + MARGIN, rows * cell_height + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_SIZE)
    for index, (prompt, picture) in enumerate(shots):
        left = MARGIN + index % COLUMNS * cell_width
        top = MARGIN + index // COLUMNS * cell_height
        sheet.paste(picture.convert("RGB"), (left, top))
        lines = textwrap.wrap(prompt, TEXT_CHARACTERS, max_lines=TEXT_LINES, placeholder=" …")
        for number, line in enumerate(lines):
            at = (left + width / 2, top + height + 8 + number * LINE)
            pen.text(at, line, INK, font, anchor="ma")
    return sheet


def main(arguments: list[str]) -> None:
    """Write the sheet that the command line asks for."""
    out, rest = Path(arguments[0]), arguments[1:]
    shots = [(prompt, Image.open(picture)) for prompt, picture in zip(rest[::2], rest[1::2], strict=True)]
    contact_sheet(shots).save(out)


if __name__ == "__main__":
    main(sys.argv[1:])
