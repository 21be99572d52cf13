"""What a LLaVA-type model is trained on: text-pose, image-pose and plain questions about pictures. Knows no model.

A data file is JSON lines, paths relative to the file. Every line has one of these forms:

    {"text": "a person kneeling", "pose": POSE}
    {"image": "photo.jpg", "pose": POSE}                       optional "box": [left, top, width, height], in pixels
    {"image": "photo.jpg", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "..."}]}

``conversations`` is LLaVA's own format and may lack the picture. POSE is one of

    {"format": "smplx-quat-wxyz", "joints": {...}}             the wire's pose, y up
    {"amass": "KIT/3/walk_poses.npz", "frame": 120}            AMASS, z up; PoseScript's pose ids name such frames
    {"smpl": {"global_orient": [3], "body_pose": [63 or 69]}}  axis-angle in the camera's frame, as 4D-Humans gives it

A line with a pose may bring its own wording as "question" and "answer" (with [SEG]); otherwise the trained forms are
drawn by chance. "split": "test" keeps a line out of training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from .. import rotations as rot
from ..language import conversation as talk
from ..pose import Pose, PoseError
from ..skeleton import BODY_JOINTS
from .pose_data import TrainingDataError

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS: Final = ("text", "image", "talk")
_JOINTS: Final = len(BODY_JOINTS)
_HALF_TURN: Final = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # the camera's frame to y up
_Z_UP_TO_Y_UP: Final = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))


@dataclass(frozen=True)
class Example:
    """One thing to learn. ``exchanges``: what is asked and answered, the pose as ``[SEG]`` in the last answer.
    ``matrot`` (22, 3, 3) local, y up, or None for plain talk. ``image``: path, and ``box`` in it, or None.
    """

    exchanges: tuple[talk.Exchange, ...]
    matrot: Tensor | None
    image: Path | None
    box: tuple[int, int, int, int] | None

    def picture(self) -> Image | None:
        """The picture, cropped to its box. Raises TrainingDataError."""
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
        return image.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class _Line:
    text: str
    question: str | None
    answer: str | None
    exchanges: tuple[talk.Exchange, ...]
    matrot: Tensor | None
    image: Path | None
    box: tuple[int, int, int, int] | None


class LlavaData:
    """The lines of some files, drawn by kind. ``rates``: how often text-pose, image-pose and plain talk come."""

    def __init__(self, files: list[Path], rates: tuple[float, float, float] = (1.0, 2.0, 1.0)) -> None:
        self._lines: dict[str, list[_Line]] = {kind: [] for kind in KINDS}
        for file in files:
            self._read(file)
        weights = [rate if self._lines[kind] else 0.0 for kind, rate in zip(KINDS, rates, strict=True)]
        if not sum(weights):
            raise TrainingDataError("There is nothing to train on in the data files.")
        self._weights = torch.tensor(weights)

    @property
    def counts(self) -> Mapping[str, int]:
        """Lines of each kind."""
        return {kind: len(lines) for kind, lines in self._lines.items()}

    def sample(self, count: int, generator: torch.Generator) -> list[Example]:
        """``count`` examples, kinds by their rates; the same generator state gives the same examples."""
        kinds = torch.multinomial(self._weights, count, replacement=True, generator=generator).tolist()
        return [self._draw(self._lines[KINDS[kind]], generator) for kind in kinds]

    def every(self) -> list[Example]:
        """Every line with a pose once, in its own or the usual wording."""
        lines = [line for kind in ("text", "image") for line in self._lines[kind]]
        return [_example(line, 0, 0) for line in lines]

    @staticmethod
    def _draw(lines: list[_Line], generator: torch.Generator) -> Example:
        a, b, c = torch.randint(1 << 30, (3,), generator=generator).tolist()
        return _example(lines[a % len(lines)], b, c)

    def _read(self, file: Path) -> None:
        try:
            rows = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise TrainingDataError(f"The data file '{file}' cannot be read.") from error
        for number, row in enumerate(rows, 1):
            if not row.strip():
                continue
            try:
                data = json.loads(row)
                if data.get("split", "train") == "train":
                    line = _line(data, file.parent)
                    kind = "talk" if line.matrot is None else "text" if line.image is None else "image"
                    self._lines[kind].append(line)
            except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError) as error:
                reason = str(error) if isinstance(error, TrainingDataError | PoseError) else "it is of no known form"
                raise TrainingDataError(f"Line {number} of '{file.name}' cannot be used: {reason}.") from error


def _line(data: Mapping[str, Any], folder: Path) -> _Line:
    image = folder / str(data["image"]) if data.get("image") else None
    if image is not None and not image.is_file():
        raise TrainingDataError(f"there is no picture '{data['image']}'")
    if "conversations" in data:
        turns = [(str(t["from"]), str(t["value"]).replace(talk.IMAGE, "").strip()) for t in data["conversations"]]
        pairs = zip(turns[::2], turns[1::2], strict=True)
        return _Line("", None, None, tuple(talk.Exchange(q, a) for (_, q), (_, a) in pairs), None, image, None)
    text = str(data.get("text", ""))
    if image is None and not text:
        raise TrainingDataError("it has neither a text nor a picture")
    answer = data.get("answer")
    if answer is not None and str(answer).count(talk.POSE_TOKEN) != 1:
        raise TrainingDataError(f"its answer must hold {talk.POSE_TOKEN} once")
    left, top, width, height = data.get("box") or (0, 0, 0, 0)
    box = (int(left), int(top), int(width), int(height)) if data.get("box") else None
    return _Line(text, data.get("question"), answer, (), read_pose(data["pose"], folder), image, box)


def _example(line: _Line, question: int, answer: int) -> Example:
    if line.matrot is None:
        return Example(line.exchanges, None, line.image, line.box)
    asked = line.question or talk.wrap_question(line.text, has_image=line.image is not None, variant=question)
    said = line.answer or talk.ANSWERS[answer % len(talk.ANSWERS)]
    return Example((talk.Exchange(asked, said),), line.matrot, line.image, line.box)


def read_pose(data: Mapping[str, Any], folder: Path) -> Tensor:
    """(22, 3, 3) local rotations, y up, from any of the documented forms. Raises TrainingDataError or PoseError."""
    if "joints" in data:
        return Pose.from_json(data).matrot()
    if "smpl" in data:
        smpl = data["smpl"]
        numbers = torch.tensor([*smpl["global_orient"], *smpl["body_pose"]], dtype=torch.float32)
        matrot = rot.rotvec_to_matrot(numbers[: _JOINTS * 3].view(_JOINTS, 3))
        return _with_root(matrot, torch.tensor(_HALF_TURN) @ matrot[0])
    path = folder / str(data["amass"])
    try:
        with np.load(path, allow_pickle=False) as arrays:
            poses = np.asarray(arrays["poses"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingDataError(f"'{data['amass']}' is no AMASS file") from error
    matrot = rot.rotvec_to_matrot(torch.from_numpy(poses[int(data["frame"]), : _JOINTS * 3]).view(_JOINTS, 3))
    return _with_root(matrot, torch.tensor(_Z_UP_TO_Y_UP) @ without_heading(matrot[0]))


def without_heading(root: Tensor) -> Tensor:
    """ChatPose's way with words: of root = Rz Ry Rx (z up) the turn about z is dropped, (3, 3) -> (3, 3)."""
    heading = torch.atan2(root[1, 0], root[0, 0])
    c, s, zero, one = torch.cos(heading), torch.sin(heading), torch.zeros(()), torch.ones(())
    back = torch.stack([torch.stack([c, s, zero]), torch.stack([-s, c, zero]), torch.stack([zero, zero, one])])
    return back @ root


def _with_root(matrot: Tensor, root: Tensor) -> Tensor:
    return torch.cat([root[None], matrot[1:]])
