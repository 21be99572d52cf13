"""Where a model runs, in which precision, and how much memory that takes. Knows no particular model.

The choice: CUDA in bfloat16 (float16 on cards older than Ampere), Apple's GPU in float16, a CPU in float32, where
bfloat16 is slower unless the processor has the instructions for it.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import nn

Quantization: TypeAlias = Literal["none", "8bit", "4bit"]
QUANTIZATIONS: Final[tuple[Quantization, ...]] = ("none", "8bit", "4bit")

GIB: Final = 1024**3
_RUNTIME_BYTES: Final = {"cuda": int(0.9 * GIB), "mps": int(0.5 * GIB), "cpu": int(0.4 * GIB)}
"""What a process needs beside weights and cache: the CUDA context, work buffers, Python and torch themselves."""
_BYTES_8BIT: Final = 1.01  # int8 and one float scale a row
_BYTES_4BIT: Final = 0.5625  # nf4: half a byte, and a float32 scale for 64 weights
_AMPERE: Final = 8  # the first CUDA generation with bfloat16 units


class DeviceError(RuntimeError):
    """The wanted device, precision or memory is not to be had. The text says what to do."""


@dataclass(frozen=True)
class Device:
    """``torch_name`` such as ``cuda:0``; ``label`` for people; ``dtype`` for the weights; bytes in all and free."""

    torch_name: str
    kind: Literal["cuda", "mps", "cpu"]
    label: str
    dtype: torch.dtype
    total_bytes: int
    free_bytes: int


def pick_device(wanted: str = "auto", dtype: str = "auto") -> Device:
    """``wanted``: auto, cpu, mps, cuda or cuda:N. ``dtype``: auto, float32, float16 or bfloat16.

    Raises DeviceError when what was asked for by name is not there.
    """
    kind, _, index = wanted.lower().partition(":")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if kind == "cuda":
        return _cuda(int(index) if index.isdigit() else 0, dtype)
    if kind == "mps":
        if not torch.backends.mps.is_available():
            raise DeviceError("There is no Apple GPU here that PyTorch can use; choose the device 'auto' or 'cpu'.")
        import psutil

        memory = psutil.virtual_memory()
        return Device("mps", "mps", "Apple GPU", _dtype(dtype, torch.float16), memory.total, memory.available)
    if kind == "cpu":
        import psutil

        memory = psutil.virtual_memory()
        native = _cpu_has_bfloat16()
        chosen = _dtype(dtype, torch.float32)
        label = f"CPU, {os.cpu_count()} threads" + (", bfloat16" if native else "")
        return Device("cpu", "cpu", label, chosen, memory.total, memory.available)
    raise DeviceError(f"The device '{wanted[:40]}' is not known; choose 'auto', 'cpu', 'cuda' or 'mps'.")


def pick_device_and_bits(wanted: str, dtype: str, quantize: str) -> tuple[Device, Quantization]:
    """Where a model is put and in how many bits. Raises DeviceError, with what to do, where that cannot be."""
    bits = _known_quantization(quantize)
    device = pick_device(wanted, dtype)
    check_quantization(bits, device)
    return device, bits


def _known_quantization(wanted: str) -> Quantization:
    for one in QUANTIZATIONS:
        if one == wanted:
            return one
    raise DeviceError(f"The quantisation '{wanted[:20]}' is not known; choose {', '.join(QUANTIZATIONS)}.")


def check_quantization(quantization: Quantization, device: Device) -> None:
    """Raises DeviceError, with what to do, unless this machine can hold weights in that many bits."""
    if quantization == "none":
        return
    if device.kind != "cuda":
        raise DeviceError(
            f"{quantization} weights need an NVIDIA graphics card; on {device.label} choose the quantisation 'none'."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise DeviceError(
            f"{quantization} weights need the package bitsandbytes: pip install chatpose-server[quantize]"
        )


def quantization_config(quantization: Quantization, dtype: torch.dtype, keep: list[str]) -> Any:
    """What ``from_pretrained`` takes as ``quantization_config``; None for none. ``keep``: modules left in ``dtype``."""
    if quantization == "none":
        return None
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=keep)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=keep
    )


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes a loaded model takes: its weights, the key-value cache of one conversation, and the runtime around it."""

    weights: int
    cache: int
    runtime: int

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.runtime


def memory_needed(
    model: nn.Module,
    dtype: torch.dtype,
    quantization: Quantization = "none",
    *,
    kind: str = "cuda",
    keep: tuple[str, ...] = (),
    cache_bytes: int = 0,
) -> MemoryNeed:
    """For a model on any device, ``meta`` included (``with torch.device("meta"): ...`` costs no memory).

    ``keep``: parts of module names whose weights stay in ``dtype`` (the vocabulary matrix, a vision tower, a head).
    """
    per_weight = {"none": float(dtype.itemsize), "8bit": _BYTES_8BIT, "4bit": _BYTES_4BIT}[quantization]
    small = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not any(part in name for part in keep)
    }
    weights = sum(p.numel() * (per_weight if id(p) in small else dtype.itemsize) for p in model.parameters())
    return MemoryNeed(int(weights), cache_bytes, _RUNTIME_BYTES[kind])


def check_memory(need: MemoryNeed, device: Device) -> None:
    """Raises DeviceError, with what to do, unless the model fits; beside a card the computer's own memory counts."""
    free = device.free_bytes
    if device.kind == "cuda":
        import psutil

        free += psutil.virtual_memory().available
    if need.total <= free:
        return
    if device.kind == "cuda":
        raise DeviceError(
            f"The model needs {need.total / GIB:.1f} GB; the card and the computer together have {free / GIB:.1f} GB "
            "free. Choose 8bit or 4bit."
        )
    raise DeviceError(
        f"The model needs {need.total / GIB:.1f} GB of memory and {free / GIB:.1f} GB are free: close "
        "other programs, or use a computer with more memory or a graphics card."
    )


def cache_bytes(layers: int, kv_heads: int, head_size: int, positions: int, dtype: torch.dtype) -> int:
    """Bytes of the key-value cache of one conversation."""
    return 2 * layers * kv_heads * head_size * positions * dtype.itemsize


def fit_sentence(need: MemoryNeed, device: Device) -> str:
    """One sentence for the artist: does it fit."""
    needed, there = need.total / GIB, device.free_bytes / GIB
    if need.total <= device.free_bytes:
        return f"needs {needed:.1f} GB, fits {device.label} ({there:.1f} GB free)"
    return f"needs {needed:.1f} GB, and {device.label} has {there:.1f} GB free"


def device_of(part: nn.Module, device: Device) -> torch.device:
    """Where a part of a model computes. Weights that are lent to the computer's memory lie on no device in between;
    they are brought to the model's own for each use.
    """
    at = next(part.parameters()).device
    return torch.device(device.torch_name) if at.type == "meta" else at


def release_memory(device: Device) -> None:
    """Gives memory that nothing refers to any more back to the system."""
    import gc

    gc.collect()
    if device.kind == "cuda":
        torch.cuda.empty_cache()
    elif device.kind == "mps":
        torch.mps.empty_cache()


def _cuda(index: int, dtype: str) -> Device:
    if not torch.cuda.is_available():
        raise DeviceError(
            "PyTorch finds no NVIDIA graphics card: choose the device 'auto' or 'cpu', or install a PyTorch with CUDA."
        )
    if index >= torch.cuda.device_count():
        raise DeviceError(f"There is no graphics card number {index}; this computer has {torch.cuda.device_count()}.")
    free, total = torch.cuda.mem_get_info(index)
    modern = torch.cuda.get_device_capability(index)[0] >= _AMPERE
    chosen = _dtype(dtype, torch.bfloat16 if modern else torch.float16)
    return Device(f"cuda:{index}", "cuda", torch.cuda.get_device_name(index), chosen, total, free)


def _dtype(wanted: str, usual: torch.dtype) -> torch.dtype:
    table = {"auto": usual, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if wanted not in table:
        raise DeviceError(f"The precision '{wanted[:40]}' is not known; choose auto, float32, float16 or bfloat16.")
    return table[wanted]


def _cpu_has_bfloat16() -> bool:
    """Instructions for it, not emulation: emulated bfloat16 is slower than float32."""
    amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    avx = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(amx() or avx())
