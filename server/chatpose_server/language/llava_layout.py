"""The published layout on disk, read into transformers' own LLaVA names. Reads tensors only, never runs a file.

A checkpoint is a folder: ``config.json``, weights in one or several ``.safetensors`` or ``.bin`` files with an index,
the vocabulary. Its CLIP is not in it: that is a second folder (or hub name), given by ``mm_vision_tower``.
The same names written once as safetensors, CLIP and pose head included, are our own layout (``write_converted``).
"""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..progress import Progress, no_progress
from .llama_tokens import TOKENIZER_FILES

POSE_NUMBERS: Final = 144  # 24 joints, 6 numbers each
JOINTS: Final = 24
CONVERTED_FILE: Final = "chatpose.json"  # only our own layout has it; written last
CONVERTED_FORMAT: Final = "chatpose-llava-1"
GENERATION_FILE: Final = "generation_config.json"
CLIP_DIR: Final = "clip"  # inside a converted folder: CLIP's config and preprocessing, its weights are with the others
PUBLISHED_ID: Final = "YaoFeng/CHATPOSE-V0"
CLIP_ID: Final = "openai/clip-vit-large-patch14-336"
_SHARD_BYTES: Final = 4_000_000_000  # small enough to be copied with one shard's memory, large enough to be few
_DISK_MARGIN: Final = 200_000_000
_HEAD: Final = "head."
_SKIPPED: Final = re.compile(r"rotary_emb\.inv_freq$|^model\.smplx\.|^smplx\.")
_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
_LFS_MARK: Final = b"version https://git-lfs"


class CheckpointFilesError(ValueError):
    """A checkpoint that cannot be used. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class Layout:
    """A checkpoint that was found whole: its settings and where each tensor lies. No weights are read yet."""

    folder: Path
    config: Mapping[str, Any]  # config.json as it is
    files: tuple[Path, ...]
    converted: bool  # our own layout: names as in the model, CLIP inside


# -- finding ---------------------------------------------------------------------------------------------------------
def open_layout(folder: Path) -> Layout:
    """Checks that every part is there. Raises CheckpointFilesError with the first thing that is missing."""
    config = read_json(folder / "config.json", f"'{folder.name}' is not a ChatPose checkpoint: it has no config.json.")
    return Layout(folder, config, weight_files(folder), (folder / CONVERTED_FILE).is_file())


def stop_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end an answer, as the checkpoint has it: generation_config.json first, then config.json, as the
    released program's library reads them. Empty where neither says. Raises CheckpointFilesError for a damaged file.
    """
    for name in (GENERATION_FILE, "config.json"):
        if not (folder / name).is_file():
            continue
        ends = read_json(folder / name, "").get("eos_token_id")
        several = ends if isinstance(ends, list) else [ends]
        if ids := tuple(one for one in several if isinstance(one, int)):
            return ids
    return ()


def weight_files(folder: Path) -> tuple[Path, ...]:
    """A folder's weight files, safetensors before .bin. Raises CheckpointFilesError when one is missing or empty."""
    for index_name, pattern in (
        ("model.safetensors.index.json", "*.safetensors"),
        ("pytorch_model.bin.index.json", "pytorch_model*.bin"),
    ):
        index = folder / index_name
        if index.is_file():
            data = read_json(index, "")
            names = sorted({str(name) for name in data.get("weight_map", {}).values()})
            if any(Path(name).name != name for name in names):
                raise CheckpointFilesError(f"The list '{index_name}' names files outside its folder; it is not used.")
            missing = [name for name in names if not (folder / name).is_file()]
            if missing:
                raise CheckpointFilesError(
                    f"'{missing[0]}' is missing in '{folder.name}' ({len(missing)} of {len(names)} parts are): "
                    "download it into the same folder."
                )
            files = [folder / name for name in names]
        else:
            files = sorted(folder.glob(pattern))
        if files:
            for file in files:
                _check_not_placeholder(file)
            return tuple(files)
    raise CheckpointFilesError(
        f"'{folder.name}' holds no weights (.safetensors or pytorch_model.bin): the download is not complete."
    )


def fetch(name_or_path: str, progress: Progress = no_progress, *, near: Path | None = None) -> Path:
    """A folder for a path or a hub name; a hub name is looked for on this computer first, then downloaded.

    ``near``: a folder beside or in which a relative path may lie. Raises CheckpointFilesError.
    """
    last = name_or_path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    places = [Path(name_or_path).expanduser()]
    if near is not None:
        places += [near / name_or_path, near / last, near.parent / last]
    for place in places:
        if place.is_dir():
            return place
    if not _HUB_NAME.fullmatch(name_or_path):
        raise CheckpointFilesError(f"There is no folder '{name_or_path}', and that is no hub name either.")
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt"]
    try:
        return Path(snapshot_download(name_or_path, allow_patterns=wanted, local_files_only=True))
    except (OSError, ValueError):
        progress(f"Downloading {name_or_path}", 0.0)
    try:
        return Path(snapshot_download(name_or_path, allow_patterns=wanted))
    except Exception as error:  # the hub client raises dozens of kinds, and each means the same to an artist
        raise CheckpointFilesError(
            f"'{name_or_path}' could not be downloaded ({type(error).__name__}). Check the connection and the name, or "
            "download its files by hand: CLIP's folder may lie beside the checkpoint's."
        ) from error


# -- reading ---------------------------------------------------------------------------------------------------------
def tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of one weight file, mapped from disk where that is possible. Raises CheckpointFilesError."""
    damaged = f"'{file.name}' is damaged or was not downloaded to its end: download it again."
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
            raise CheckpointFilesError(damaged) from error
    import pickle

    try:
        state = _torch_load(file)
    except pickle.UnpicklingError as error:
        raise CheckpointFilesError(
            f"'{file.name}' holds more than numbers, or is damaged; it is not opened, because it could run code."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError,
            ArithmeticError, MemoryError, struct.error) as error:  # fmt: skip
        raise CheckpointFilesError(damaged) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointFilesError(f"'{file.name}' is no list of weights.")
    return state


def _torch_load(file: Path) -> Any:
    with file.open("rb") as f:
        is_zip = f.read(4) == b"PK\x03\x04"
    return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)


def key_map(layout: Layout, names: frozenset[str]) -> Callable[[str], str | None]:
    """Published name -> name in the model (or ``head.layers...``), None for what is not needed.

    ``names``: the model's own parameter names.
    """
    if layout.converted:
        return lambda key: key
    projector = projector_names(str(layout.config.get("mm_projector_type", "linear")))
    vision = vision_prefix(names)

    def new_name(key: str) -> str | None:
        if _SKIPPED.search(key):
            return None
        if match := re.fullmatch(r"model\.text_hidden_fcs\.0\.(0|2)\.(weight|bias)", key):
            return f"{_HEAD}layers.{match[1]}.{match[2]}"
        if match := re.fullmatch(r"model\.mm_projector(\.\d+)?\.(weight|bias)", key):
            inside = projector.get(match[1] or "")
            return None if inside is None else f"model.multi_modal_projector.{inside}.{match[2]}"
        if match := re.fullmatch(r"model\.vision_tower\.(?:vision_tower\.)?vision_model\.(.+)", key):
            return vision + match[1]
        if match := re.fullmatch(r"model\.((?:embed_tokens|layers|norm)\..+)", key):
            return f"model.language_model.{match[1]}"
        return key if key == "lm_head.weight" else None

    return new_name


def vision_prefix(names: frozenset[str]) -> str:
    """Where CLIP's vision model sits; transformers' releases differ by one level."""
    deep = "model.vision_tower.vision_model."
    return deep if any(name.startswith(deep) for name in names) else "model.vision_tower."


def clip_name(key: str, names: frozenset[str]) -> str | None:
    """A key of CLIP's own file -> name in the model; None for the text tower and its projections."""
    key = key.removeprefix("vision_model.")
    if not key.startswith(("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")):
        return None
    return None if key.endswith("position_ids") else vision_prefix(names) + key


def projector_names(kind: str) -> dict[str, str]:
    """``.0`` (the published index) -> module name in our projector, for LLaVA's projector types."""
    if kind == "linear":
        return {"": "linear"}
    if kind == "identity":
        return {}
    if match := re.fullmatch(r"mlp(\d+)x_gelu", kind):
        return {f".{2 * i}": f"linear_{i + 1}" for i in range(int(match[1]))}
    raise CheckpointFilesError(f"The projector '{kind[:40]}' of this checkpoint is not known to this version.")


# -- the model -------------------------------------------------------------------------------------------------------
class Projector(nn.Module):
    """LLaVA's projectors that transformers has no class for: linear, identity, and MLPs of other depths than two."""

    def __init__(self, kind: str, vision_width: int, width: int) -> None:
        super().__init__()
        self._order = list(projector_names(kind).values())
        for i, name in enumerate(self._order):
            self.add_module(name, nn.Linear(width if i else vision_width, width))

    def forward(self, features: Tensor) -> Tensor:
        """(..., vision width) -> (..., width)."""
        for i, name in enumerate(self._order):
            features = self.get_submodule(name)(nn.functional.gelu(features) if i else features)
        return features


def llava_config(config: Mapping[str, Any], clip: Mapping[str, Any], vocabulary: int) -> Any:
    """transformers' LlavaConfig from the published one and CLIP's. ``vocabulary``: rows of the embedding."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    known = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "hidden_act", "max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling", "tie_word_embeddings",
        "bos_token_id", "eos_token_id", "initializer_range", "attention_bias",
    )  # fmt: skip
    try:
        text = LlamaConfig(vocab_size=vocabulary, **{k: config[k] for k in known if config.get(k) is not None})
        vision_settings = clip.get("vision_config", clip)
        fields = (
            "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
            "num_channels", "hidden_act", "layer_norm_eps", "projection_dim",
        )  # fmt: skip
        vision = CLIPVisionConfig(**{k: vision_settings[k] for k in fields if vision_settings.get(k) is not None})
        sizes: dict[str, Any] = vision.to_dict()
        patches = (sizes["image_size"] // sizes["patch_size"]) ** 2
        full = str(config.get("mm_vision_select_feature", "patch")) == "cls_patch"
        return LlavaConfig(
            text_config=text, vision_config=vision, image_token_index=vocabulary,
            image_seq_length=patches + int(full),
            vision_feature_layer=int(config.get("mm_vision_select_layer", -2)),
            vision_feature_select_strategy="full" if full else "default",
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointFilesError(f"The config.json of this checkpoint does not fit together: {error}") from error


def llava_model(config: Any, projector: str) -> Any:
    """transformers' LLaVA on the meta device: the shapes, without memory. Buffers are real."""
    from accelerate import init_empty_weights
    from transformers import LlavaForConditionalGeneration

    with init_empty_weights(include_buffers=False):
        model = LlavaForConditionalGeneration(config)
        if projector != "mlp2x_gelu":
            widths = config.vision_config.hidden_size, config.text_config.hidden_size
            model.model.add_module("multi_modal_projector", Projector(projector, *widths))
    return model.eval()


@dataclass(frozen=True)
class Sources:
    """A checkpoint and its CLIP, with the shapes of the model they make. ``clip_files`` is empty where the weights are
    in the checkpoint itself.
    """

    layout: Layout
    model_config: Any
    projector: str
    clip_folder: Path
    clip_files: tuple[Path, ...]
    head_shapes: Mapping[str, tuple[int, ...]]
    ignored: tuple[str, ...]

    def stream(self) -> Iterator[tuple[str, Tensor]]:
        """(name in the model, tensor) of everything needed, a file at a time."""
        names = self._names()
        new_name = key_map(self.layout, names)
        for file in self.layout.files:
            for key, tensor in tensors(file).items():
                name = new_name(key)
                if name is not None and (name in names or name.startswith(_HEAD)):
                    yield name, tensor
        for file in self.clip_files:
            for key, tensor in tensors(file).items():
                name = clip_name(key, names)
                if name is not None and name in names:
                    yield name, tensor

    def empty_model(self) -> Any:
        """The model's shapes, on the meta device."""
        return llava_model(self.model_config, self.projector)

    def _names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self.empty_model().named_parameters())


def find_sources(layout: Layout, clip: str | None = None, progress: Progress = no_progress) -> Sources:
    """Finds CLIP and checks every shape before a byte of weights is loaded. ``clip``: a folder or hub name instead of
    the checkpoint's own ``mm_vision_tower``. A plain LLaVA without a pose head passes; see ``check_head``.
    Raises CheckpointFilesError.
    """
    shapes = _shapes(layout.files)
    config = layout.config
    if layout.converted:
        clip_folder = layout.folder / CLIP_DIR
    else:
        wanted = clip or config.get("mm_vision_tower") or config.get("vision_tower") or CLIP_ID
        clip_folder = fetch(str(wanted), progress, near=layout.folder)
    clip_config = read_json(
        clip_folder / "config.json", f"The CLIP folder '{clip_folder.name}' has no config.json: download it again."
    )
    embedding = shapes.get("model.embed_tokens.weight") or shapes.get("model.language_model.embed_tokens.weight")
    if embedding is None or len(embedding) != 2:
        raise CheckpointFilesError(f"'{layout.folder.name}' holds no language model (no embed_tokens).")
    projector = str(config.get("mm_projector_type", "linear"))
    model_config = llava_config(config, clip_config, embedding[0])
    model = llava_model(model_config, projector)
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if model_config.tie_word_embeddings:
        expected.pop("lm_head.weight", None)
    names = frozenset(expected)
    new_name = key_map(layout, names)
    renamed = {key: new_name(key) for key in shapes}
    found = {name: shapes[key] for key, name in renamed.items() if name is not None}
    has_vision = any(name.startswith("model.vision_tower.") for name in found)
    clip_files: tuple[Path, ...] = ()
    if not has_vision:
        clip_files = weight_files(clip_folder)
        clip_shapes = _shapes(clip_files)
        found |= {name: s for key, s in clip_shapes.items() if (name := clip_name(key, names)) is not None}
    head = {name: shape for name, shape in found.items() if name.startswith(_HEAD)}
    _check_shapes(expected, found)
    ignored = tuple(sorted(key for key, name in renamed.items() if name is None and not _SKIPPED.search(key)))
    return Sources(layout, model_config, projector, clip_folder, clip_files, head, ignored)


def check_head(sources: Sources) -> None:
    """Raises CheckpointFilesError unless the checkpoint has a pose head that fits it."""
    hidden = sources.model_config.text_config.hidden_size
    shapes = sources.head_shapes
    first, last = shapes.get("head.layers.0.weight"), shapes.get("head.layers.2.weight")
    if first is None or last is None or "head.layers.0.bias" not in shapes or "head.layers.2.bias" not in shapes:
        raise CheckpointFilesError(
            "This is a LLaVA checkpoint without ChatPose's pose head (text_hidden_fcs); it cannot give poses. "
            f"The published weights are '{PUBLISHED_ID}'."
        )
    if first[1] != hidden or last[1] != first[0]:
        raise CheckpointFilesError(
            f"The pose head is made for a model {first[1]} wide and this one is {hidden} wide: "
            "the files of two checkpoints are mixed. Download the checkpoint anew into an empty folder."
        )
    if last[0] != POSE_NUMBERS:
        raise CheckpointFilesError(
            f"The pose head gives {last[0]} numbers, not {POSE_NUMBERS} (24 joints): it is of another program."
        )


def _check_shapes(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if name not in found:
            part = "CLIP" if "vision_tower" in name else "The checkpoint"
            raise CheckpointFilesError(f"{part} lacks the weights '{name}': a part of the download is missing.")
        if found[name] != shape:
            raise CheckpointFilesError(
                f"The weights '{name}' have the shape {_by(found[name])} and config.json says {_by(shape)}: "
                "the files belong to different checkpoints. Download the checkpoint anew into an empty folder."
            )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _shapes(files: tuple[Path, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of every tensor, without reading the numbers."""
    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        found |= {name: tuple(tensor.shape) for name, tensor in tensors(file).items()}
    return found


# -- writing ---------------------------------------------------------------------------------------------------------
def write_converted(sources: Sources, out: Path, progress: Progress = no_progress, *, source: str = "") -> None:
    """Writes a checkpoint in our own layout: safetensors under the model's names, CLIP and head included."""
    needed = sum(file.stat().st_size for file in (*sources.layout.files, *sources.clip_files))
    folders = sources.layout.folder, sources.clip_folder
    write_layout(out, sources.stream(), sources.layout.config, *folders, needed, progress, source=source)


def write_layout(
    out: Path,
    weights: Iterable[tuple[str, Tensor]],
    config: Mapping[str, Any],
    tokenizer_folder: Path,
    clip_folder: Path,
    needed: int,
    progress: Progress = no_progress,
    *,
    source: str = "",
) -> None:
    """Writes our own layout into the new folder ``out``. ``needed``: about how many bytes the weights take.

    Made under a temporary name and renamed when whole; on any error, a cancel included, nothing is left behind.
    Raises CheckpointFilesError when the disk has not enough room.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < needed + _DISK_MARGIN:
        raise CheckpointFilesError(
            f"Not enough disk space for '{out.name}': {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed in "
            f"'{out.parent}'. Free some, or set CHATPOSE_CACHE to another folder."
        )
    work = out.with_name(f".{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / CLIP_DIR).mkdir(parents=True)
        _write_weights(weights, work, needed, progress)
        for name in (*TOKENIZER_FILES, GENERATION_FILE):
            if (tokenizer_folder / name).is_file():
                shutil.copyfile(tokenizer_folder / name, work / name)
        for name in ("config.json", "preprocessor_config.json"):
            if (clip_folder / name).is_file():
                shutil.copyfile(clip_folder / name, work / CLIP_DIR / name)
        kept = {k: v for k, v in config.items() if k not in ("use_cache", "auto_map", "architectures")}
        (work / "config.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
        mark = {"format": CONVERTED_FORMAT, "source": source}
        (work / CONVERTED_FILE).write_text(json.dumps(mark, indent=1), encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        work.replace(out)
    except OSError as error:
        raise CheckpointFilesError(f"'{out.name}' could not be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_weights(weights: Iterable[tuple[str, Tensor]], work: Path, needed: int, progress: Progress) -> None:
    from safetensors.torch import save_file

    shard: dict[str, Tensor] = {}
    size = done = number = 0
    where: dict[str, str] = {}

    def flush() -> None:
        nonlocal number, size
        number += 1
        name = f"model-{number:05d}.safetensors"
        save_file(shard, work / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, name))
        shard.clear()
        size = 0

    for name, tensor in weights:
        progress("Converting weights", min(1.0, done / max(1, needed)))
        whole = tensor.untyped_storage().nbytes() == tensor.nbytes
        shard[name] = tensor.contiguous() if whole else tensor.contiguous().clone()
        size += tensor.nbytes
        done += tensor.nbytes
        if size > _SHARD_BYTES:
            flush()
    if shard:
        flush()
    index = {"metadata": {"total_size": done}, "weight_map": where}
    (work / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    progress("Converting weights", 1.0)


# -- small things ----------------------------------------------------------------------------------------------------
def read_json(path: Path, missing: str) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointFilesError with ``missing`` where there is no file."""
    if not path.is_file():
        raise CheckpointFilesError(missing)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointFilesError(f"'{path.name}' in '{path.parent.name}' is damaged: download it again.") from error
    if not isinstance(data, dict):
        raise CheckpointFilesError(f"'{path.name}' in '{path.parent.name}' is damaged: download it again.")
    return data


def _check_not_placeholder(file: Path) -> None:
    with file.open("rb") as f:
        head = f.read(len(_LFS_MARK))
    if head == _LFS_MARK:
        raise CheckpointFilesError(
            f"'{file.name}' is only Git's placeholder for the weights: run 'git lfs pull' in '{file.parent.name}'."
        )
    if not head:
        raise CheckpointFilesError(f"'{file.name}' is empty: download it again.")
