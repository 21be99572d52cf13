"""From a catalogue name or a folder to a loaded language model. Knows every family; knows nothing of HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..models import store
from ..models.catalogue import CATALOGUE, DEFAULT_LANGUAGE_MODEL
from ..progress import Progress, no_progress
from .base import LanguageModel

TRAINED_DIR: Final = Path(__file__).parent / "weights"


def load_language_model(
    name_or_path: str = DEFAULT_LANGUAGE_MODEL,
    *,
    device: str = "auto",
    quantize: str = "none",
    progress: Progress = no_progress,
) -> LanguageModel:
    """Fetches where needed, loads, and gives a model ready to answer.

    ``name_or_path``: a catalogue name, an import's, or the folder of a published ChatPose or of any chat model that was
    taught poses (``chat_layout``). ``device``: auto, cpu, cuda, mps.
    ``quantize``: none, 8bit, 4bit. Raises StoreError, ModelFileError (both with what to do) and Cancelled.
    """
    if name_or_path in CATALOGUE:
        return _load_small(name_or_path, device, progress)
    from .chat_layout import is_taught
    from .llava_layout import CONVERTED_FILE, fetch
    from .published import load_published

    folder = store.cache_dir() / "models" / name_or_path
    if not (folder / CONVERTED_FILE).is_file() and not is_taught(folder):
        folder = fetch(name_or_path, progress)
    if is_taught(folder):
        from .chat_model import load_chat_model

        return load_chat_model(folder, device=device, quantize=quantize, progress=progress)
    return load_published(name_or_path, device=device, quantize=quantize, progress=progress)


def load_backbone(name: str, dtype: Any, progress: Progress = no_progress) -> tuple[Any, Any]:
    """The converted backbone of a catalogue entry: transformers' model and a ``tokenizers.Tokenizer``."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = store.ensure(name, progress)
    progress("Loading weights", 0.1)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    import torch

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    state = {k: v.to(dtype) for k, v in load_file(folder / "model.safetensors").items()}
    progress("Loading weights", 0.6)
    _materialise(model, state)
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def _materialise(model: Any, state: dict[str, Any]) -> None:
    """Puts weights into a model that was made without memory; computes what no file holds (rotary frequencies)."""
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    for module in model.modules():
        if hasattr(module, "inv_freq"):
            module.__init__(config=model.config)  # on the real device now
    left = [n for n, p in model.named_parameters() if p.is_meta] + [n for n, b in model.named_buffers() if b.is_meta]
    if left:
        raise store.StoreError(
            f"The cached weights lack {left[0]}. Run 'chatpose-server models fetch' to get them anew."
        )


def _load_small(name: str, device: str, progress: Progress) -> LanguageModel:
    from .devices import pick_device
    from .poselm import build, read_trained

    place = pick_device(device)
    config, state = read_trained(TRAINED_DIR / f"{name}.safetensors")
    model, tokenizer = load_backbone(config.base, place.dtype, progress)
    progress("Loading weights", 0.8)
    built = build(name, model.to(place.torch_name), tokenizer, config, state, CATALOGUE[name].licence)
    progress("Loading weights", 1.0)
    return built
