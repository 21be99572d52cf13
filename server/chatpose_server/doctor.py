"""What is installed, what is missing, what to do about it. Looks, and changes nothing."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

from . import __version__
from .faults import ChatPoseError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``needed``: whether the server cannot work without it."""

    what: str
    found: str
    ok: bool
    needed: bool = False
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """For ``doctor --json``."""
        return asdict(self)


_NEEDED: Final = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pillow", "fastapi", "uvicorn")
_OPTIONAL: Final = {
    "bitsandbytes": "for --quantize on NVIDIA GPUs: install chatpose-server[quantize]",
    "ai-edge-litert": "for poses from pictures",
    "smplx": "for the licensed SMPL-X body: install chatpose-server[smplx]",
}
_ROOMS: Final = ("language", "models", "body", "posecodes", "priors", "vision", "training")


def examine() -> list[Finding]:
    """Everything, in the order in which a person would look."""
    findings = [
        Finding("chatpose-server", __version__, ok=True),
        Finding("Python", f"{platform.python_version()} ({sys.platform}, {platform.machine()})", ok=True),
    ]
    findings += [_package(name, needed=True) for name in _NEEDED]
    findings += [_package(name, needed=False, advice=advice) for name, advice in _OPTIONAL.items()]
    return [*findings, _device(), *_published(), *_rooms(), *_weights(), _disk(), _token(), _port()]


def _package(name: str, needed: bool, advice: str = "") -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name), ok=True)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", False, needed, advice or "Install chatpose-server again.")


def _device() -> Finding:
    try:
        import torch
    except Exception as error:  # noqa: BLE001 - a broken torch raises many kinds
        return Finding("device", f"torch cannot be loaded ({error})", False, True, "Install torch again.")
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        found = f"{torch.cuda.get_device_name()}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        return Finding("device", found, ok=True)
    if torch.backends.mps.is_available():
        return Finding("device", "Apple GPU (MPS)", ok=True)
    return Finding("device", f"CPU, {torch.get_num_threads()} threads", ok=True)


def _published() -> list[Finding]:
    """Whether the published ChatPose would run here, before anybody downloads 26 GB."""
    try:
        from .language.devices import QUANTIZATIONS, DeviceError, check_quantization, fit_sentence, pick_device
        from .language.published import memory_of_shape

        place = pick_device()
    except Exception:  # noqa: BLE001 - what is broken is named by the other findings
        return []
    findings: list[Finding] = []
    for quantize in QUANTIZATIONS if place.kind == "cuda" else QUANTIZATIONS[:1]:
        what = f"published ChatPose 13B, {'whole' if quantize == 'none' else quantize}"
        need = memory_of_shape("13b", place.dtype, quantize, kind=place.kind)
        try:
            check_quantization(quantize, place)
            findings.append(Finding(what, fit_sentence(need, place), need.total <= place.free_bytes))
        except DeviceError as error:
            findings.append(Finding(what, fit_sentence(need, place), False, advice=str(error)))
    return findings


def _rooms() -> list[Finding]:
    from . import rooms

    findings: list[Finding] = []
    for name in _ROOMS:
        try:
            rooms.room(name)
            findings.append(Finding(f"part '{name}'", "loads", ok=True))
        except ChatPoseError as error:
            needed = name in ("language", "models", "body")
            findings.append(Finding(f"part '{name}'", "missing", False, needed, str(error.__cause__ or error)))
    return findings


def _weights() -> list[Finding]:
    from .models import store
    from .models.catalogue import CATALOGUE

    findings: list[Finding] = []
    for entry in CATALOGUE.values():
        here = store.is_ready(entry.name)
        advice = "" if here else f"'chatpose-server models fetch {entry.name}', or wait: serve fetches it."
        findings.append(Finding(f"weights {entry.name}", "here" if here else "not fetched", here, advice=advice))
    return findings


def _disk() -> Finding:
    from .models import store

    folder = store.cache_dir()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    enough = free > 2e9
    return Finding(
        "disk", f"{free / 1e9:.0f} GB free in {store.cache_dir()}", enough, advice="" if enough else "Free some."
    )


def _token() -> Finding:
    from .api.guard import token_path

    path = token_path()
    found = str(path) if path.is_file() else f"{path} (made by the first 'serve')"
    return Finding("token", found, ok=True)


def _port() -> Finding:
    from .api.serve import DEFAULT_PORT

    with socket.socket() as probe:
        probe.settimeout(1.0)
        taken = probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0
    if taken:
        advice = "A ChatPose server may be running already; else 'serve' takes the next free port and says so."
        return Finding("port", f"{DEFAULT_PORT} is in use", ok=True, advice=advice)
    return Finding("port", f"{DEFAULT_PORT} is free", ok=True)
