"""Makes the PNGs from the SVGs: ``pip install cairosvg``, then run this file."""

from pathlib import Path

import cairosvg

for svg in Path(__file__).parent.glob("*.svg"):
    cairosvg.svg2png(url=str(svg), write_to=str(svg.with_suffix(".png")), output_width=64, output_height=64)
