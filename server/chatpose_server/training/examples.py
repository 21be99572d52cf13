"""What a chat model with a pose head is taught: text-pose, image-pose and plain talk, mixed by rates. Knows no model
and no files; ``example_files`` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import torch
from torch import Tensor

from ..language import conversation as talk
from .pairs import Batch
from .pose_data import TrainingDataError

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Final = ("text", "image", "talk")
RATES: Final = (1.0, 2.0, 1.0)  # of the kinds, as ChatPose mixed PoseScript, 4D-Humans' crops and LLaVA's questions
_MARGIN: Final = 1.3  # of a person's box, as pictures are cut when such a model is asked


@dataclass(frozen=True)
class Example:
    """One thing to learn. ``exchanges``: what is asked and answered, the pose as ``[SEG]`` in the last answer.
    ``matrot`` (22, 3, 3) local, y up, or None for plain talk. ``image``: path, and ``box`` in it (left, top, width,
    height; pixels), or None.
    """

    exchanges: tuple[talk.Exchange, ...]
    matrot: Tensor | None
    image: Path | None = None
    box: tuple[float, float, float, float] | None = None

    def picture(self) -> Image | None:
        """The picture, or the square around its box, black where that leaves the picture. Raises TrainingDataError."""
        if self.image is None:
            return None
        from PIL import Image, ImageOps

        try:
            with Image.open(self.image) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError) as error:
            raise TrainingDataError(f"The picture '{self.image}' cannot be read.") from error
        if self.box is None:
            return image
        left, top, width, height = self.box
        x, y, half = left + width / 2, top + height / 2, _MARGIN * max(width, height) / 2
        return image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


@dataclass(frozen=True)
class Line:
    """One thing to learn as a file has it. ``question`` and ``answer``: its own wording, else a trained one is drawn.
    ``exchanges``: of plain talk.
    """

    text: str = ""
    question: str | None = None
    answer: str | None = None
    exchanges: tuple[talk.Exchange, ...] = ()
    matrot: Tensor | None = None
    image: Path | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return "talk" if self.matrot is None else "text" if self.image is None else "image"

    def example(self, question: int = 0, answer: int = 0) -> Example:
        """In its own wording, or in the trained one of these numbers."""
        if self.matrot is None:
            return Example(self.exchanges, None, self.image, self.box)
        asked = self.question or talk.wrap_question(self.text, has_image=self.image is not None, variant=question)
        said = self.answer or talk.ANSWERS[answer % len(talk.ANSWERS)]
        return Example((talk.Exchange(asked, said),), self.matrot, self.image, self.box)


class Captioned(Protocol):
    """Gives text-pose pairs on the fly (``pairs.PairSource`` does)."""

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """``count`` pairs; the same generator state gives the same pairs."""
        ...


class Examples:
    """Lines, and pairs that are made on the fly, drawn by kind. ``rates``: how often each of KINDS comes."""

    def __init__(
        self, lines: Sequence[Line], rates: tuple[float, float, float] = RATES, captioned: Captioned | None = None
    ) -> None:
        self._lines = {kind: [line for line in lines if line.kind == kind] for kind in KINDS}
        self._captioned = captioned
        there = {kind: bool(found) or (kind == "text" and captioned is not None) for kind, found in self._lines.items()}
        weights = [rate if there[kind] else 0.0 for kind, rate in zip(KINDS, rates, strict=True)]
        if min(rates) < 0 or not sum(weights):
            raise TrainingDataError("There is nothing to train on in the data files at these rates.")
        self._weights = torch.tensor(weights)

    @property
    def counts(self) -> Mapping[str, int]:
        """Lines of each kind."""
        return {kind: len(lines) for kind, lines in self._lines.items()}

    def sample(self, count: int, generator: torch.Generator) -> list[Example]:
        """``count`` examples, kinds by their rates; the same generator state gives the same examples. No line of a kind
        comes twice before all have come.
        """
        kinds = torch.multinomial(self._weights, count, replacement=True, generator=generator).tolist()
        waiting: dict[str, list[int]] = {}
        return [self._draw(KINDS[kind], waiting, generator) for kind in kinds]

    def every(self) -> list[Example]:
        """Every line with a pose once, in its own or the usual wording."""
        return [line.example() for kind in ("text", "image") for line in self._lines[kind]]

    def some_poses(self, count: int) -> list[Tensor]:
        """Up to ``count`` poses (22, 3, 3): what a new head begins from."""
        known = [example.matrot for example in self.every()[:count] if example.matrot is not None]
        if not known and self._captioned is not None:
            known = list(self._captioned.sample(count, torch.Generator().manual_seed(0)).matrot)
        return known

    def _draw(self, kind: str, waiting: dict[str, list[int]], generator: torch.Generator) -> Example:
        """``waiting``: numbers of the lines of each kind that did not come yet."""
        lines = self._lines[kind]
        question, answer, made = torch.randint(1 << 30, (3,), generator=generator).tolist()
        if kind == "text" and self._captioned is not None and (not lines or made % 2):
            batch = self._captioned.sample(1, generator)
            if batch.replies[0] is not None:
                return Example((talk.Exchange(batch.texts[0], batch.replies[0]),), None)
            return Line(batch.texts[0], matrot=batch.matrot[0]).example(question, answer)
        if not waiting.get(kind):
            waiting[kind] = torch.randperm(len(lines), generator=generator).tolist()
        return lines[waiting[kind].pop()].example(question, answer)
