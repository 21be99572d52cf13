"""Reads what people have to train on into ``examples.Line``. Knows no model.

``read_data`` takes, in any mixture:

- ``*.jsonl``: JSON lines, paths relative to the file, each of one of these forms::

    {"text": "a person kneeling", "pose": POSE}
    {"image": "photo.jpg", "pose": POSE}                       optional "box": [left, top, width, height], in pixels
    {"image": "photo.jpg", "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "..."}]}

  ``conversations`` is LLaVA's own format and may lack the picture. A line with a pose may bring its own wording as
  "question" and "answer" (with [SEG]); otherwise the trained forms are drawn by chance. "split": "test" keeps a line
  out. POSE is one of::

    {"format": "smplx-quat-wxyz", "joints": {...}}             the wire's pose, y up
    {"amass": "KIT/3/walk_poses.npz", "frame": 120}            AMASS, z up
    {"smpl": {"global_orient": [3], "body_pose": [63 or 69]}}  axis-angle in the camera's frame, as 4D-Humans gives it

- ``*.json``: LLaVA's list of such conversations (llava_v1_5_mix665k.json), or PoseScript's captions by pose id,
  ``{"12": ["The person ..."]}``, which need ``posescript_ids`` (``{"12": [..., "KIT/3/walk_poses.npz", 120]}``) and the
  ``amass`` folder those paths lie in.
- a folder of pictures, each with its SMPL parameters beside it under the same name (``a.jpg`` and ``a.npz`` or
  ``a.json``: ``global_orient`` and ``body_pose``, axis-angle or 3x3 matrices, the camera's frame; ``box`` if there are
  others in the picture).
- ``*.npz`` with ``imgname`` (N) and ``pose`` (N, 72), and where there are ``center`` (N, 2), ``scale`` (N) (a person's
  size in units of 200 pixels) and ``has_smpl`` (N): the annotation files of SPIN, EFT and 4D-Humans; pictures lie
  relative to the file.
- a folder of motion (``.npz``, AMASS or ours) without pictures: see ``pose_folders``; its poses are described by
  measuring them, so that no words are needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from .. import rotations as rot
from ..language import conversation as talk
from ..pose import Pose, PoseError
from ..skeleton import BODY_JOINTS
from .examples import Line
from .pose_data import TrainingDataError

_JOINTS: Final = len(BODY_JOINTS)
_HALF_TURN: Final = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))  # the camera's frame to y up
_Z_UP_TO_Y_UP: Final = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")
_SCALE_PIXELS: Final = 200.0 / 1.2  # of one unit of SPIN's ``scale``, which is a fifth wider than the person's box
_AMASS_ENDINGS: Final = ("", ".npz", "_poses.npz", "_stageii.npz")
_NOT_USABLE: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError)


def read_data(paths: Sequence[Path], amass: Path | None = None, posescript_ids: Path | None = None) -> list[Line]:
    """Every line of the files and picture folders, in order. Raises TrainingDataError: what is wrong, and where."""
    ids = _posescript_ids(posescript_ids) if posescript_ids else None
    lines: list[Line] = []
    for path in paths:
        if path.is_dir():
            lines += _picture_folder(path)
        elif path.suffix == ".npz":
            lines += _annotations(path)
        elif path.suffix == ".json":
            lines += _json(path, amass, ids)
        else:
            lines += _json_lines(path)
    return lines


def pose_folders(paths: Sequence[Path]) -> list[Path]:
    """Those of the paths that are folders of motion: .npz files below them, and no pictures."""
    folders = [path for path in paths if path.is_dir()]
    return [folder for folder in folders if not _pictures(folder) and next(folder.rglob("*.npz"), None) is not None]


# -- one file ---------------------------------------------------------------------------------------------------------
def _json_lines(file: Path) -> Iterator[Line]:
    for number, row in enumerate(_text(file).splitlines(), 1):
        if row.strip():
            yield from _usable(partial(_json_line, row, file.parent), f"Line {number} of '{file.name}'")


def _json(file: Path, amass: Path | None, ids: Mapping[str, tuple[list[str], int]] | None) -> Iterator[Line]:
    try:
        data = json.loads(_text(file))
    except ValueError as error:
        raise TrainingDataError(f"The data file '{file.name}' is not JSON.") from error
    if isinstance(data, list):
        for number, row in enumerate(data, 1):
            yield from _usable(partial(_line, row, file.parent), f"Entry {number} of '{file.name}'")
        return
    if amass is None or ids is None:
        raise TrainingDataError(
            f"'{file.name}' holds captions by pose id: give PoseScript's list of ids with --posescript-ids and the "
            "folder of AMASS with --amass."
        )
    for pose_id, texts in data.items():
        what = f"Pose {pose_id} of '{file.name}'"
        for text in [texts] if isinstance(texts, str) else texts:
            yield from _usable(partial(_posescript, str(text), str(pose_id), ids, amass), what)


def _picture_folder(folder: Path) -> Iterator[Line]:
    for picture in _pictures(folder):
        files = [picture.with_suffix(ending) for ending in (".json", ".npz")]
        for file in [f for f in files if f.is_file()][:1]:
            yield from _usable(partial(_with_params, picture, file), f"'{file.name}'")


def _annotations(file: Path) -> Iterator[Line]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            data = {key: arrays[key] for key in arrays.files if key in
                    ("imgname", "pose", "center", "scale", "has_smpl")}  # fmt: skip
        names, poses = data["imgname"], np.asarray(data["pose"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingDataError(f"'{file.name}' has no 'imgname' and 'pose': it lists no pictures.") from error
    fitted = data.get("has_smpl", np.ones(len(names)))

    def line(row: int) -> Line:
        box = None
        if "center" in data and "scale" in data:
            side = float(data["scale"][row]) * _SCALE_PIXELS
            x, y = map(float, data["center"][row])
            box = (x - side / 2, y - side / 2, side, side)
        pose = {"global_orient": poses[row, :3], "body_pose": poses[row, 3:72]}
        return Line(matrot=_from_smpl(pose), image=_picture(str(names[row]), file.parent), box=box)

    for row in range(len(names)):
        if fitted[row]:
            yield from _usable(partial(line, row), f"Row {row} of '{file.name}'")


def _usable(read: Callable[[], Line | None], what: str) -> Iterator[Line]:
    try:
        line = read()
    except _NOT_USABLE as error:
        known = isinstance(error, TrainingDataError | PoseError)
        reason = str(error).rstrip(".") if known else "it is of no known form"
        raise TrainingDataError(f"{what} cannot be used: {reason}.") from error
    if line is not None:
        yield line


# -- one line ---------------------------------------------------------------------------------------------------------
def _json_line(row: str, folder: Path) -> Line | None:
    return _line(json.loads(row), folder)


def _line(data: Mapping[str, Any], folder: Path) -> Line | None:
    if data.get("split", "train") != "train":
        return None
    image = _picture(str(data["image"]), folder) if data.get("image") else None
    if "conversations" in data:
        turns = [(str(t["from"]), str(t["value"]).replace(talk.IMAGE, "").strip()) for t in data["conversations"]]
        pairs = zip(turns[::2], turns[1::2], strict=True)
        return Line(exchanges=tuple(talk.Exchange(q, a) for (_, q), (_, a) in pairs), image=image)
    text = str(data.get("text", ""))
    if image is None and not text:
        raise TrainingDataError("it has neither a text nor a picture")
    answer = data.get("answer")
    if answer is not None and str(answer).count(talk.POSE_TOKEN) != 1:
        raise TrainingDataError(f"its answer must hold {talk.POSE_TOKEN} once")
    matrot = read_pose(data["pose"], folder)
    return Line(text, data.get("question"), answer, (), matrot, image, _box(data.get("box")))


def _posescript(text: str, pose_id: str, ids: Mapping[str, tuple[list[str], int]], amass: Path) -> Line:
    names, frame = ids[pose_id]
    candidates = [amass.joinpath(*names[i:]) for i in range(len(names))]
    files = [c.with_name(c.name + ending) for c in candidates for ending in _AMASS_ENDINGS]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise TrainingDataError(f"there is no '{'/'.join(names)}' below '{amass}'")
    return Line(text, matrot=_from_amass(found, frame))


def _with_params(picture: Path, file: Path) -> Line:
    if file.suffix == ".json":
        data: dict[str, Any] = json.loads(_text(file))
    else:
        with np.load(file, allow_pickle=False) as arrays:
            data = {key: arrays[key] for key in ("global_orient", "body_pose", "box") if key in arrays}
    return Line(matrot=_from_smpl(data), image=picture, box=_box(data.get("box")))


def read_pose(data: Mapping[str, Any], folder: Path) -> Tensor:
    """(22, 3, 3) local rotations, y up, from any of the documented forms. Raises TrainingDataError or PoseError."""
    if "joints" in data:
        return Pose.from_json(data).matrot()
    if "smpl" in data:
        return _from_smpl(data["smpl"])
    return _from_amass(folder / str(data["amass"]), int(data["frame"]))


def _from_smpl(data: Mapping[str, Any]) -> Tensor:
    """smplx's two parameters, axis-angle or matrices, the camera's frame -> (22, 3, 3), y up."""
    numbers = [np.asarray(data[key], np.float32).ravel() for key in ("global_orient", "body_pose")]
    if numbers[0].size == 9:
        matrot = torch.from_numpy(np.concatenate(numbers)[: _JOINTS * 9]).view(_JOINTS, 3, 3)
    else:
        matrot = rot.rotvec_to_matrot(torch.from_numpy(np.concatenate(numbers)[: _JOINTS * 3]).view(_JOINTS, 3))
    if not torch.isfinite(matrot).all():
        raise TrainingDataError("its SMPL parameters are not all numbers")
    return _with_root(matrot, torch.tensor(_HALF_TURN) @ matrot[0])


def _from_amass(path: Path, frame: int) -> Tensor:
    poses = _amass_poses(path)
    if not 0 <= frame < len(poses):
        raise TrainingDataError(f"'{path.name}' has {len(poses)} frames, and frame {frame} is asked for")
    matrot = rot.rotvec_to_matrot(torch.from_numpy(poses[frame, : _JOINTS * 3]).view(_JOINTS, 3))
    return _with_root(matrot, torch.tensor(_Z_UP_TO_Y_UP) @ without_heading(matrot[0]))


@lru_cache(maxsize=16)
def _amass_poses(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays["poses"], np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingDataError(f"'{path.name}' is no AMASS file") from error


def without_heading(root: Tensor) -> Tensor:
    """ChatPose's way with words: of root = Rz Ry Rx (z up) the turn about z is dropped, (3, 3) -> (3, 3)."""
    heading = torch.atan2(root[1, 0], root[0, 0])
    c, s, zero, one = torch.cos(heading), torch.sin(heading), torch.zeros(()), torch.ones(())
    back = torch.stack([torch.stack([c, s, zero]), torch.stack([-s, c, zero]), torch.stack([zero, zero, one])])
    return back @ root


# -- small things -----------------------------------------------------------------------------------------------------
def _with_root(matrot: Tensor, root: Tensor) -> Tensor:
    return torch.cat([root[None], matrot[1:]])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise TrainingDataError(f"The data file '{file}' cannot be read.") from error


def _posescript_ids(file: Path) -> dict[str, tuple[list[str], int]]:
    """Pose id -> the parts of its sequence's path (a data set's name may stand first), and the frame."""
    try:
        rows: dict[str, list[Any]] = json.loads(_text(file))
        paths = {i: "/".join(map(str, row[:-1])).replace("\\", "/").split("/") for i, row in rows.items()}
        return {str(i): ([part for part in paths[i] if part], int(row[-1])) for i, row in rows.items()}
    except _NOT_USABLE as error:
        if isinstance(error, TrainingDataError):
            raise
        raise TrainingDataError(f"'{file.name}' is no list of pose ids, sequences and frames.") from error


def _picture(name: str, folder: Path) -> Path:
    path = folder / name
    if not path.is_file():
        raise TrainingDataError(f"there is no picture '{name}'")
    return path


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES)


def _box(data: Any) -> tuple[float, float, float, float] | None:
    if data is None:
        return None
    left, top, width, height = (float(n) for n in data)
    if min(width, height) <= 0:
        raise TrainingDataError("its box is empty")
    return left, top, width, height
