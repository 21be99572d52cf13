"""Photographs of people with a free licence, and the bodies that are found in them: a sheet to be looked at.

    pip download --no-deps -d WHEELS scikit-image matplotlib
    .venv/bin/python benchmarks/photographs.py --packages WHEELS [--picture FILE "who made it, licence"] [--write]

There is no truth to measure against: the sheet shows what was seen, the body laid over the photograph, and that body
from the side, where a wrong depth shows. ``--write`` puts the sheet into docs/ and a table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from _results import write_section
from chatpose_server.body.model import default_body
from chatpose_server.body.preview import draw_body as draw_from
from chatpose_server.picture import Picture
from chatpose_server.skeleton import JOINTS
from chatpose_server.vision import overlay, tasks
from PIL import Image, ImageDraw

SHEET: Final = Path(__file__).parents[1] / "docs" / "photographs.webp"
MOST_BYTES: Final = 400_000
CELL: Final = 360  # pixels high
MARGIN, CAPTION = 8, 22
SIDE_DEG: Final = 80.0  # seen from the person's side of the picture, not quite edge-on

LOOKED_AT: Final = """\
Looked at: the astronaut's head, shoulders and left arm lie right; her right arm, under the helmet, is a guess, and she
stands, as anybody whose legs are out of the picture. The cameraman's trunk, head and hands are right, and he stands on
legs that the coat and the tripod hide, as he really does. Grace Hopper's shoulders fit and her head is a little low and
narrow; arms and legs are guesses. Among the packages looked at none has photographs of whole bodies in action under a
free licence and no doubt: test pictures of pose estimators are COCO's, MPII's or nobody's; `--picture` takes others."""


@dataclass(frozen=True)
class Photograph:
    """``file``: where the package has it, from the folder that packages are in."""

    name: str
    package: str
    file: str
    credit: str


PHOTOGRAPHS: Final = (
    Photograph("astronaut", "scikit-image", "skimage/data/astronaut.png", "Eileen Collins; NASA, public domain"),
    Photograph("cameraman", "scikit-image", "skimage/data/camera.png", "Lav Varshney, CC0"),
    Photograph(
        "Grace Hopper", "matplotlib", "matplotlib/mpl-data/sample_data/grace_hopper.jpg",
        "Grace Hopper; James S. Davis, US Navy, public domain",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Looked:
    """A photograph, its people as they were seen, and the poses of as many."""

    name: str
    credit: str
    image: Image.Image
    posed: Sequence[tasks.Posed]
    said: str


def find(photograph: Photograph, folders: Sequence[Path]) -> bytes:
    """The file out of a folder of packages, a wheel in it, or an installed package. Nothing is imported."""
    for folder in folders:
        if (folder / photograph.file).is_file():
            return (folder / photograph.file).read_bytes()
        for wheel in sorted(folder.glob(f"{photograph.package.replace('-', '_')}-*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                if photograph.file in archive.namelist():
                    return archive.read(photograph.file)
    spec = importlib.util.find_spec(photograph.file.split("/")[0])
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parents[1] / photograph.file
        if file.is_file():
            return file.read_bytes()
    sys.exit(
        f"The photograph '{photograph.name}' is in the package {photograph.package}, which is not here: "
        f"pip download --no-deps -d WHEELS {photograph.package}, then --packages WHEELS."
    )


def look(name: str, credit: str, data: bytes) -> Looked:
    """Everybody in a photograph, posed."""
    picture = Picture.check(data)
    source = tasks.Source(data, picture.decode, picture.film_mm())
    people = tasks.people(source).people
    posed = [tasks.pose(source, person=i) for i in range(len(people))]
    return Looked(name, credit, picture.decode(), posed, posed[0].text if posed else "Nobody was found.")


def row(looked: Looked) -> Image.Image:
    """What was seen, the bodies over it, and the first of them from the side; who made the photograph underneath."""
    image = looked.image
    small = image.resize((round(image.width * CELL / image.height), CELL))
    seen, over, beside = small, small.copy(), Image.new("RGB", (CELL, CELL), (244, 244, 244))
    if looked.posed:
        people = looked.posed[0].scene.people
        seen = overlay.draw_landmarks(image, people).resize(small.size)
        over = image
        for posed in reversed(looked.posed):  # the most prominent last, before the others
            over = overlay.draw_body(over, posed.pose, posed.camera)
        over = over.resize(small.size)
        with torch.no_grad():
            vertices = default_body().skin(looked.posed[0].pose.matrot(JOINTS)[None])[0]
        beside = draw_from(vertices, size=CELL, yaw_deg=SIDE_DEG, pitch_deg=5)
    cells = (small, seen, over, beside)
    made = Image.new("RGB", (sum(c.width + MARGIN for c in cells) - MARGIN, CELL + CAPTION), (255, 255, 255))
    left = 0
    for cell in cells:
        made.paste(cell, (left, 0))
        left += cell.width + MARGIN
    ImageDraw.Draw(made).text((2, CELL + 3), f"{looked.name}: {looked.credit}", fill=(30, 30, 30), font_size=14)
    return made


def sheet(rows: Sequence[Image.Image]) -> Image.Image:
    """The rows, one under the other."""
    made = Image.new("RGB", (max(r.width for r in rows), sum(r.height + MARGIN for r in rows)), (255, 255, 255))
    top = 0
    for one in rows:
        made.paste(one, (0, top))
        top += one.height + MARGIN
    return made


def encoded(image: Image.Image) -> bytes:
    """WebP, as good as fits."""
    for quality in (85, 75, 65, 50, 35):
        out = io.BytesIO()
        image.save(out, "WEBP", quality=quality, method=6)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


def section(all_looked: Sequence[Looked]) -> str:
    """The table of RESULTS.md."""
    lines = ["| photograph | people | score | what the answer says | by |", "|---|---|---|---|---|"]
    for one in all_looked:
        score = f"{one.posed[0].pose.score:.2f}" if one.posed and one.posed[0].pose.score is not None else ""
        lines.append(f"| {one.name} | {len(one.posed)} | {score} | {one.said} | {one.credit} |")
    return "\n".join(
        (
            "`.venv/bin/python benchmarks/photographs.py --packages WHEELS --write`\n",
            "Nothing to measure against, only to look at: what was seen, the body over it, the body from the side.\n",
            f"![Photographs and the bodies found in them](../docs/{SHEET.name})\n",
            *lines,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--packages", type=Path, action="append", default=[], help="a folder of packages or wheels")
    parser.add_argument("--picture", nargs=2, action="append", default=[], metavar=("FILE", "CREDIT"))
    parser.add_argument("--out", type=Path, default=Path("photographs.png"), help="where the sheet goes")
    parser.add_argument("--write", action="store_true", help="into docs/ and RESULTS.md instead")
    options = parser.parse_args()
    found = [(p.name, p.credit, find(p, options.packages)) for p in PHOTOGRAPHS]
    found += [(Path(file).stem, credit, Path(file).read_bytes()) for file, credit in options.picture]
    all_looked = [look(*one) for one in found]
    made = sheet([row(one) for one in all_looked])
    if options.write:
        SHEET.write_bytes(encoded(made))
        write_section("Photographs", f"{section(all_looked)}\n\n{LOOKED_AT}")
    else:
        made.save(options.out)
    for one in all_looked:
        print(f"{one.name}: {len(one.posed)} found. {one.said}")


if __name__ == "__main__":
    main()
