"""``models import``: takes in weights that people bring, once. Recognises a file, folder or zip by the keys in it.

ChatPose checkpoints are converted to safetensors (CLIP included), priors likewise, bodies are copied after they were
read whole. Everything is made under a temporary name; what fails leaves nothing behind. No pickle is run.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from .models.store import cache_dir
from .progress import Progress, no_progress

Kind = Literal["language", "prior", "body"]

_ZIPPED: Final = (
    ".json",
    ".model",
    ".jinja",
    ".txt",
    ".bin",
    ".safetensors",
    ".npz",
    ".pt",
    ".ckpt",
    ".tar",
    ".pth",
    ".yaml",
    ".yml",
)
_CHAT_FILES: Final = (".json", ".safetensors", ".jinja", ".txt", ".model")
_DISK_MARGIN: Final = 200_000_000
_PRIOR_FILES: Final = (".ckpt", ".pt", ".pth", ".tar")
_WHERE: Final = {
    "chatpose": "the hub repository 'YaoFeng/CHATPOSE-V0'",
    "priors": "the downloads of the SMPL-X site (VPoser) or Pose-NDF's page",
}
_KNOWN: Final = (
    "ChatPose (the folder with config.json and its weights), what 'train poselm --base' exports, VPoser, Pose-NDF and "
    "SMPL-X .npz files can be imported."
)


class ImportFileError(ValueError):
    """What was given cannot be taken in. The text says what it is, what is missing and where to get it."""


@dataclass(frozen=True)
class Imported:
    """What came of it. ``name``: what to give to ``serve --model`` (language) or to choose (prior, body)."""

    kind: Kind
    name: str
    path: Path

    def __str__(self) -> str:
        what = {"language": "Load it with: chatpose-server serve --model", "prior": "Prior", "body": "Body"}[self.kind]
        return f"Imported into '{self.path}'. {what} {self.name}"


def import_file(path: Path, progress: Progress = no_progress, *, clip: str | None = None) -> Imported:
    """Takes in a folder, file or zip. ``clip``: where ChatPose's CLIP lies, if not beside it or on the hub.

    Raises ImportFileError, or the error of the room that reads such files (each with what to do), and Cancelled.
    """
    if not path.exists():
        raise ImportFileError(f"There is nothing at '{path}'. Check the path.")
    progress("Looking at the files", 0.0)
    if path.is_dir():
        return _import_folder(path, path.name, progress, clip)
    if zipfile.is_zipfile(path) and path.suffix.lower() not in (*_PRIOR_FILES, ".npz", ".bin"):
        return _import_zip(path, progress, clip)
    return _import_one(path)


# -- zips --------------------------------------------------------------------------------------------------------------
def _import_zip(path: Path, progress: Progress, clip: str | None) -> Imported:
    base = cache_dir()
    base.mkdir(parents=True, exist_ok=True)
    with (
        zipfile.ZipFile(path) as archive,
        tempfile.TemporaryDirectory(prefix="import-", dir=base, ignore_cleanup_errors=True) as work,
    ):
        wanted = [
            info
            for info in archive.infolist()
            if info.filename.lower().endswith(_ZIPPED) and "__MACOSX" not in info.filename and not info.is_dir()
        ]
        if not wanted:
            raise ImportFileError(f"'{path.name}' is a zip without any weights. {_KNOWN}")
        _check_disk(base, sum(info.file_size for info in wanted), path.name)
        try:
            for done, info in enumerate(wanted):
                progress("Unpacking", done / len(wanted))
                archive.extract(info, work)  # the module takes drive letters, '..' and leading slashes out of names
        except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise ImportFileError(f"'{path.name}' is damaged, or has a password: download it again.") from error
        return _import_folder(_only_folder(Path(work)), path.stem, progress, clip)


def _only_folder(folder: Path) -> Path:
    """Goes down while there is nothing but one folder, as in most zips."""
    while True:
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return folder
        folder = inside[0]


# -- folders -----------------------------------------------------------------------------------------------------------
def _import_folder(folder: Path, title: str, progress: Progress, clip: str | None) -> Imported:
    from .language.chat_layout import is_taught

    if is_taught(folder):
        return _import_chat_model(folder, title, progress)
    if _looks_like_checkpoint(folder):
        return _import_chatpose(folder, title, progress, clip)
    bodies = sorted(folder.rglob("SMPLX_*.npz"))
    if bodies:
        neutral = [p for p in bodies if "NEUTRAL" in p.name.upper()]
        return _import_body((neutral or bodies)[0])
    if any(p.suffix.lower() in (*_PRIOR_FILES, ".safetensors") for p in folder.rglob("*") if p.is_file()):
        return _import_prior(folder, title)
    if any(folder.glob("global_step*")) or any(folder.glob("**/*optim_states.pt")):
        raise ImportFileError(f"'{title}' is a training state of DeepSpeed: merge it to a checkpoint first.")
    raise ImportFileError(f"'{title}' holds nothing that is known here. {_KNOWN}")


def _looks_like_checkpoint(folder: Path) -> bool:
    parts = (*folder.glob("pytorch_model*"), *folder.glob("model*.safetensors*"))
    return (folder / "config.json").is_file() or bool(parts)


def _import_chatpose(folder: Path, title: str, progress: Progress, clip: str | None) -> Imported:
    from .language import llava_layout as layout
    from .language.llama_tokens import MODEL_FILE, LlamaTokens

    missing = [name for name in ("config.json", MODEL_FILE) if not (folder / name).is_file()]
    config: dict[str, Any] = {}
    if "config.json" not in missing:
        config = layout.read_json(folder / "config.json", "")
        if str(config.get("model_type", "")).startswith("clip"):
            raise ImportFileError(
                f"'{title}' is CLIP, with which ChatPose sees, not ChatPose: leave it where it is, and import the "
                "ChatPose folder that lies beside it."
            )
    if "config.json" not in missing and _untaught(config):
        raise ImportFileError(
            f"'{title}' is a chat model ({config['model_type']}) that was never taught poses: teach it with "
            "'chatpose-server train poselm --base', and import what that exports."
        )
    if missing:
        raise ImportFileError(
            f"'{title}' is not a whole checkpoint: {' and '.join(missing)} missing. Get what is missing from "
            f"{_WHERE['chatpose']}."
        )
    sources = layout.find_sources(layout.open_layout(folder), clip, progress)
    layout.check_head(sources)
    LlamaTokens(folder)  # before 26 GB are written
    name = _safe_name(title)
    out = cache_dir() / "models" / name
    if out.resolve() == folder.resolve():
        return Imported("language", name, out)
    layout.write_converted(sources, out, progress, source=title)
    return Imported("language", name, out)


def _import_chat_model(folder: Path, title: str, progress: Progress) -> Imported:
    """A folder as our own training exports it: checked whole, then copied as it is."""
    from .language.chat_model import check_folder

    check_folder(folder)
    out = cache_dir() / "models" / _safe_name(title)
    if out.resolve() == folder.resolve():
        return Imported("language", out.name, out)
    wanted = [p for p in folder.iterdir() if p.is_file() and p.suffix in _CHAT_FILES]
    _check_disk(out.parent, sum(p.stat().st_size for p in wanted), title)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        for done, path in enumerate(wanted):
            progress("Copying", done / len(wanted))
            shutil.copyfile(path, part / path.name)
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Imported("language", out.name, out)


def _untaught(config: Mapping[str, Any]) -> bool:
    """Whether transformers knows this kind of model, and LLaVA's published layout is not what it is in."""
    from transformers import CONFIG_MAPPING

    llava = any(key.startswith("mm_") for key in config)
    return not llava and config.get("model_type") in CONFIG_MAPPING and config["model_type"] != "llava"


# -- single files ------------------------------------------------------------------------------------------------------
def _import_one(path: Path) -> Imported:
    ending = path.suffix.lower()
    if ending == ".npz":
        return _import_body(path)
    if ending == ".zip":
        raise ImportFileError(f"'{path.name}' is damaged or was not downloaded to its end: download it again.")
    if ending == ".pkl":
        raise ImportFileError(
            f"'{path.name}' is a pickle, which can run code; download the .npz of the same model instead."
        )
    if re.match(r"(pytorch_model|model)(-\d+-of-\d+)?\.(bin|safetensors)$", path.name):
        raise ImportFileError(f"'{path.name}' is one part of a checkpoint: give the folder that it lies in.")
    if ending in (*_PRIOR_FILES, ".safetensors"):
        return _import_prior(path, path.stem)
    raise ImportFileError(f"'{path.name}' is nothing that is known here. {_KNOWN}")


def _import_prior(path: Path, title: str) -> Imported:
    from .priors.checkpoints import convert_prior, load_prior

    family = str(load_prior(path).family)  # made whole once, so that damage is found now
    out = cache_dir() / "priors" / f"{_safe_name(title)}.safetensors"
    _check_disk(out.parent, sum(p.stat().st_size for p in _files(path)), title)
    part = out.with_suffix(".part")
    try:
        convert_prior(path, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return Imported("prior", f"{out.stem} ({family})", out)


def _import_body(path: Path) -> Imported:
    from .body.model import load_body

    body = load_body(path)
    out = cache_dir() / "bodies" / path.name
    _check_disk(out.parent, path.stat().st_size, path.name)
    part = out.with_suffix(".part")
    try:
        shutil.copyfile(path, part)
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return Imported("body", body.name, out)


# -- small things ------------------------------------------------------------------------------------------------------
def _files(path: Path) -> Iterable[Path]:
    return [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]


def _check_disk(folder: Path, needed: int, title: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed + _DISK_MARGIN:
        raise ImportFileError(
            f"Not enough disk space for '{title}': {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed in "
            f"'{folder}'. Free some, or set CHATPOSE_CACHE to another folder."
        )


def _safe_name(title: str) -> str:
    """A folder's name on every system."""
    return re.sub(r"[^\w.-]+", "-", title).strip("-.").lower() or "imported"
