"""A transformers folder that was taught to give poses: what lies in it, and how its conversations are written.

The folder is what ``save_pretrained`` writes of any causal language model, or of any that sees pictures, with its
tokenizer (and processor), and one more file, ``chatpose_head.safetensors``: ChatPose's head under the names
``layers.0`` and ``layers.2`` (24 joints, columns, the camera's frame, as in the published weights), and in its metadata
a ChatHeader. The pose token is an added token of the vocabulary. Training writes such folders, loading reads them, and
both write a conversation with ``chat_text``, so that a model is asked the way it was taught. Knows no decoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from . import conversation as talk
from .llava_layout import JOINTS, CheckpointFilesError

HEAD_FILE: Final = "chatpose_head.safetensors"
CHAT_FORMAT: Final = "chatpose-transformers-1"
_METADATA_KEY: Final = "chatpose"


@dataclass(frozen=True)
class ChatHeader:
    """What the head needs to be read, and how it came to be."""

    hidden: int  # of the language model: the head's input
    inner: int  # of the head
    joints: int = JOINTS
    pose_token: str = talk.POSE_TOKEN
    sees: bool = False  # it was taught with pictures
    recipe: str = ""  # the command, data and seed that made it
    format: str = CHAT_FORMAT


def is_taught(folder: Path) -> bool:
    """Whether this is such a folder."""
    return (folder / HEAD_FILE).is_file()


def write_head(folder: Path, state: Mapping[str, Tensor], header: ChatHeader) -> None:
    """Puts the head into a transformers folder, last of all: a folder without it is not whole."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().float().cpu().contiguous() for name, tensor in state.items()}
    part = folder / f"{HEAD_FILE}.part"
    save_file(whole, part, metadata={_METADATA_KEY: json.dumps(asdict(header))})
    part.replace(folder / HEAD_FILE)


def read_head(folder: Path) -> tuple[ChatHeader, dict[str, Tensor]]:
    """The header and the head's tensors. Raises CheckpointFilesError."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    path = folder / HEAD_FILE
    try:
        with safe_open(path, framework="pt") as f:
            data: dict[str, Any] = json.loads((f.metadata() or {})[_METADATA_KEY])
        unknown = set(data) - {field.name for field in fields(ChatHeader)}
        if unknown or data["format"] != CHAT_FORMAT:
            raise CheckpointFilesError(f"'{folder.name}' was made by a newer ChatPose: install a newer server.")
        return ChatHeader(**data), load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        if isinstance(error, CheckpointFilesError):
            raise
        raise CheckpointFilesError(f"'{HEAD_FILE}' in '{folder.name}' is damaged: copy or export it again.") from error


def chat_text(writer: Any, exchanges: Sequence[talk.Exchange], *, with_image: bool = False) -> str:
    """The whole conversation as the model's own chat template writes it; LLaVA's way where it has none.

    ``writer``: its processor, or the tokenizer of a model without pictures. The last exchange's answer is None and left
    open, or given and closed. Special tokens of the template are in the text: encode it without adding any.
    """
    in_parts = hasattr(writer, "image_processor")
    messages: list[dict[str, Any]] = []
    for i, exchange in enumerate(exchanges):
        picture = [{"type": "image"}] if with_image and i == 0 else []
        for role, words, shown in (("user", exchange.question, picture), ("assistant", exchange.answer, [])):
            if words is not None:
                content = [*shown, {"type": "text", "text": words}] if in_parts else words
                messages.append({"role": role, "content": content})
    opened = exchanges[-1].answer is None
    if getattr(writer, "chat_template", None):
        quiet = {} if in_parts else {"enable_thinking": False}  # Qwen's: no thoughts before the answer
        return writer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened, **quiet)
    if in_parts:
        raise CheckpointFilesError(
            "This model has no chat template, so there is no telling how it is asked: use its '-Instruct' folder."
        )
    text = talk.prompt_text(talk.SYSTEM_PROMPTS["llava_v1"], exchanges)
    return f"{writer.bos_token or ''}{text}".replace(talk.END_OF_TURN, writer.eos_token or talk.END_OF_TURN)
