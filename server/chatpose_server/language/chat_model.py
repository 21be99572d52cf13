"""Any chat model of transformers that was taught poses: a causal language model, or one of a family that sees pictures.

Through their own classes, processors and chat templates, from a folder as ``chat_layout`` describes it; decoding,
prefix cache, drafts and forced poses are the published ChatPose's. Families that see are named here one by one: only of
these is it known that their pictures are nothing but embeddings in their place. Knows no HTTP.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from ..progress import Progress, no_progress
from . import conversation as talk
from .answering import ChatWithPoses, Conversation, Options, options_from_environment, turn_text
from .base import LanguageRequest
from .chat_layout import chat_text, read_head
from .decoding import Decoder, Prompt
from .devices import (
    Device,
    DeviceError,
    Quantization,
    cache_bytes,
    check_memory,
    device_of,
    memory_needed,
    pick_device_and_bits,
    quantization_config,
)
from .head import PoseHead
from .llava_layout import CheckpointFilesError, read_json, tensors, weight_files
from .vision_inputs import image_hash

if TYPE_CHECKING:
    from PIL.Image import Image

SEEING_FAMILIES: Final = ("idefics3", "smolvlm", "qwen2_vl", "qwen2_5_vl")
"""Values of config.json's ``model_type`` that may see pictures."""
_REWINDABLE: Final = {"full_attention", "sliding_attention", "chunked_attention"}
KEPT_WHOLE: Final = ("lm_head", "model.vision_model", "model.connector", "model.visual")  # never quantised
_POSITIONS: Final = 2048  # of the key-value cache, for the memory estimate
_APART: Final = "\u200b"  # between a special token's letters where a user spells one out
_LICENCE: Final = "As the folder's own model card says; SMPL-X poses: non-commercial research."


def load_chat_model(
    folder: Path,
    *,
    device: str = "auto",
    quantize: str = "none",
    dtype: str = "auto",
    options: Options | None = None,
    progress: Progress = no_progress,
) -> ChatModel:
    """Loads a folder of ``chat_layout``. Raises CheckpointFilesError, DeviceError (each with what to do), Cancelled."""
    options = options or options_from_environment()
    place, bits = pick_device_and_bits(device, dtype, quantize)
    progress("Looking at the files", 0.0)
    config, sees = check_folder(folder)
    header, state = read_head(folder)
    writer = _writer(folder, sees)
    progress("Loading weights", 0.1)
    model = _load_weights(folder, config, sees, place, bits)
    head = PoseHead(header.hidden, header.inner, header.joints)
    head.load_state_dict(state)
    progress("Loading weights", 0.95)
    built = ChatModel(
        folder.name, model, writer, head, header.pose_token, sees=sees, place=place, quantize=bits, options=options
    )
    built.warm()
    progress("Loading weights", 1.0)
    return built


def check_folder(folder: Path) -> tuple[Any, bool]:
    """transformers' configuration, and whether it sees pictures, of a folder whose every file was found whole and
    fitting. No weights are kept. Raises CheckpointFilesError.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    read_json(folder / "config.json", f"'{folder.name}' has no config.json: copy or export it again.")
    for file in weight_files(folder):
        if file.suffix != ".safetensors":
            raise CheckpointFilesError(
                f"'{file.name}' is a pickle: save this model anew with transformers, as safetensors."
            )
        tensors(file)  # mapped, not read: finds truncated files
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except StrictDataclassError as error:
        raise CheckpointFilesError(
            f"The config.json of '{folder.name}' contradicts itself: copy or export it again."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise CheckpointFilesError(
            f"The model in '{folder.name}' is of a kind that transformers does not know: {_first_line(error)}"
        ) from error
    text = config.get_text_config()
    kind, sees = str(config.model_type), text is not config
    if sees and kind not in SEEING_FAMILIES:
        raise CheckpointFilesError(
            f"'{folder.name}' is of the family '{kind}'. Those that see and can be used: {', '.join(SEEING_FAMILIES)}."
        )
    if odd := set(getattr(text, "layer_types", None) or ()) - _REWINDABLE:
        raise CheckpointFilesError(
            f"'{folder.name}' has layers ({min(odd)}) that cannot be read back a step, which answering needs here."
        )
    header, state = read_head(folder)
    shape = tuple(state.get("layers.0.weight", torch.empty(0)).shape)
    if header.hidden != text.hidden_size or shape != (header.inner, header.hidden):
        raise CheckpointFilesError(
            f"The pose head in '{folder.name}' is made for a model {header.hidden} wide and this one is "
            f"{text.hidden_size} wide: the files of two models are mixed. Export it again."
        )
    return config, sees


class ChatModel(ChatWithPoses):
    """A loaded model; implements ``base.LanguageModel``. One thread at a time."""

    def __init__(
        self,
        name: str,
        model: Any,  # transformers' ...ForCausalLM or ...ForConditionalGeneration
        writer: Any,  # its processor, or the tokenizer of one without pictures
        head: PoseHead,
        pose_token: str,
        *,
        sees: bool,
        place: Device,
        quantize: Quantization,
        options: Options,
    ) -> None:
        self.accepts_images = sees
        self._writer, self._tokenizer = writer, writer.tokenizer if sees else writer
        self._pose_token = pose_token
        self._model, self._embed = model, model.get_input_embeddings()
        self._at = device_of(self._embed, place)
        self._image_id: int | None = model.config.image_token_id if sees else None
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        if pose_token not in vocabulary or vocabulary[pose_token] >= self._embed.weight.shape[0]:
            raise CheckpointFilesError(
                f"The vocabulary of '{name}' has no {pose_token} that the weights know: the files of two models are "
                "mixed. Export it again."
            )
        special = {*self._tokenizer.all_special_tokens, pose_token, talk.POSE_TOKEN}
        special |= {t.content for t in self._tokenizer.added_tokens_decoder.values() if t.special}
        longest_first = sorted((t for t in special if len(t) > 1), key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, longest_first)))
        stop_ids = _stop_ids(model, self._tokenizer)
        super().__init__(
            name, Decoder(model.get_decoder(), model.get_output_embeddings(), self._embed, self._at), head,
            place=place, quantize=quantize, options=options, licence=_LICENCE, pose_id=vocabulary[pose_token],
            stop_ids=stop_ids, answers=[self._answer_ids(answer, stop_ids) for answer in talk.ANSWERS],
        )  # fmt: skip

    def converse(self, request: LanguageRequest, question: str, progress: Progress) -> Conversation:
        """See ChatWithPoses. The picture stands in the first turn."""
        image = request.image if self.accepts_images else None
        turns = [turn_text(t) for t in request.messages if t.role != "system"]
        exchanges = [
            talk.Exchange(self._plain(e.question), e.answer and self._own(e.answer))
            for e in talk.pair_up(turns, question)
        ]
        pieces = self._pieces(exchanges, with_image=image is not None)
        if image is None:
            ids = [token for piece in pieces for token in self._encode(piece)]
            return Conversation(self._prompt(ids, "", {}, None, progress), "".join(pieces))
        taken = self._writer(text=[pieces[0]], images=[[image]], add_special_tokens=False, return_tensors="pt")
        first: list[int] = taken["input_ids"][0].tolist()
        ids = first + [token for piece in pieces[1:] for token in self._encode(piece)]
        seen = {name: value for name, value in taken.items() if name not in ("input_ids", "attention_mask")}
        return Conversation(self._prompt(ids, image_hash(image), seen, image, progress), "".join(pieces))

    def decode(self, ids: Sequence[int]) -> str:
        """Text without the end of the turn, ``[SEG]`` where poses are."""
        text, run = "", list[int]()
        for token in [*ids, None]:
            if token is not None and token != self.pose_id:
                run += [token] if token not in self._stop_ids else []
                continue
            text += self._tokenizer.decode(run, clean_up_tokenization_spaces=False)
            text += "" if token is None else talk.POSE_TOKEN
            run = []
        return text

    def warm(self) -> None:
        """Reads what every prompt begins with, so that no request has to."""
        one, other = (self._encode(self._pieces([talk.Exchange(q, None)])[0]) for q in ("Describe", "There"))
        shared = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        if shared:
            self._decoder.warm(self._prompt(one[:shared], "", {}, None, no_progress))

    def drop(self) -> None:
        """Lets go of the weights."""
        del self._model, self._embed, self._writer, self._tokenizer

    # -- inside --------------------------------------------------------------------------------------------------
    def _pieces(self, exchanges: Sequence[talk.Exchange], *, with_image: bool = False) -> list[str]:
        """Each turn's text by itself, as in training: a token never reaches over the end of a turn."""
        pieces, before = list[str](), ""
        for i, exchange in enumerate(exchanges):
            asked = [*exchanges[:i], talk.Exchange(exchange.question, None)]
            for so_far in (asked, exchanges[: i + 1]) if exchange.answer is not None else (asked,):
                text = chat_text(self._writer, so_far, with_image=with_image)
                if not text.startswith(before):  # a template that rewrites what was said: all of it is one piece
                    return [chat_text(self._writer, exchanges, with_image=with_image)]
                pieces.append(text[len(before) :])
                before = text
        return pieces

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]

    def _plain(self, words: str) -> str:
        """The same words, in which nothing is taken for a special token."""
        return self._spelled.sub(lambda found: found.group()[0] + _APART + found.group()[1:], words)

    def _own(self, answer: str) -> str:
        """An earlier answer with the token where its poses were."""
        return self._pose_token.join(self._plain(part) for part in answer.split(talk.POSE_MARK))

    def _answer_ids(self, answer: str, stop_ids: Sequence[int]) -> tuple[int, ...]:
        """A trained answer's tokens as they follow the opening, end of turn included."""
        told = answer.replace(talk.POSE_TOKEN, self._pose_token)
        *opened, piece = self._pieces([talk.Exchange("x", told)])
        ids = self._encode(piece if opened else told)
        ends = [i for i, token in enumerate(ids) if token in stop_ids]
        return tuple(ids[: ends[0] + 1] if ends else ids)

    def _prompt(
        self, ids: Sequence[int], digest: str, seen: dict[str, Tensor], image: Image | None, progress: Progress
    ) -> Prompt:
        """Ids with the picture's patches in their place; what looks at it runs only if those positions must be read."""
        keys, patch = list[Hashable](), 0
        for token in ids:
            keys.append((digest, patch) if image is not None and token == self._image_id else token)
            patch += image is not None and token == self._image_id
        every = torch.tensor([list(ids)], device=self._at)  # (1, N)
        spots = torch.tensor([i for i, key in enumerate(keys) if isinstance(key, tuple)], device=self._at)

        def embed(start: int) -> Tensor:
            embedded = self._embed(every[:, start:])  # (1, M, H)
            late = spots >= start
            if bool(late.any()):
                progress("Looking at the picture", 0.0)
                features = self.seen(digest, lambda: self._look(seen))
                if len(features) != len(spots):
                    raise CheckpointFilesError(
                        f"The processor leaves {len(spots)} places for a picture and the model fills {len(features)}: "
                        "the files of two models are mixed. Export it again."
                    )
                embedded = embedded.clone()
                embedded[0, spots[late] - start] = features[late].to(embedded)
            return embedded

        return Prompt(tuple(keys), embed, self._places(every, seen))

    @torch.inference_mode()
    def _places(self, ids: Tensor, seen: dict[str, Tensor]) -> Tensor | None:
        """(3, N): Qwen's rotary embedding in time, height and width; None where positions are a plain row."""
        if "image_grid_thw" not in seen:
            return None
        kinds = (ids == self._image_id).int()
        grid = seen["image_grid_thw"].to(ids.device)
        return self._model.base_model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)[0][:, 0]

    @torch.inference_mode()
    def _look(self, seen: dict[str, Tensor]) -> Tensor:
        known = inspect.signature(self._model.get_image_features).parameters
        given = {name: value.to(self._at) for name, value in seen.items() if name in known}
        found = self._model.get_image_features(**given).pooler_output
        tiles = found if isinstance(found, (tuple, list)) else [found]
        return torch.cat([tile.reshape(-1, tile.shape[-1]) for tile in tiles])


# -- loading ---------------------------------------------------------------------------------------------------------
def _load_weights(folder: Path, config: Any, sees: bool, place: Device, quantize: Quantization) -> Any:
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    loader: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    text = config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    with init_empty_weights(include_buffers=False):
        empty = loader.from_config(config)
    need = memory_needed(
        empty, place.dtype, quantize, kind=place.kind, keep=KEPT_WHOLE,
        cache_bytes=cache_bytes(text.num_hidden_layers, heads, size, _POSITIONS, place.dtype),
    )  # fmt: skip
    check_memory(need, place)
    whole = need.total <= place.free_bytes
    try:
        model, found = loader.from_pretrained(
            folder, dtype=place.dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True, quantization_config=quantization_config(quantize, place.dtype, [*KEPT_WHOLE]),
            device_map={"": place.torch_name} if whole else "auto",
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        if isinstance(error, (DeviceError, torch.OutOfMemoryError)):
            raise
        raise CheckpointFilesError(
            f"'{folder.name}' does not fit together: {_first_line(error)} Copy or export it again."
        ) from error
    if lacking := sorted(found["missing_keys"]):
        raise CheckpointFilesError(
            f"'{folder.name}' lacks the weights '{lacking[0]}' ({len(lacking)} in all): copy or export it again."
        )
    return model.eval()


def _writer(folder: Path, sees: bool) -> Any:
    """The processor, or the tokenizer of a model without pictures."""
    from transformers import AutoProcessor, AutoTokenizer

    made: Any = AutoProcessor if sees else AutoTokenizer
    try:
        return made.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if sees and importlib.util.find_spec("torchvision") is None and (folder / "tokenizer.json").is_file():
            raise CheckpointFilesError(
                f"The processor of '{folder.name}' cannot be made; that of Qwen-VL and SmolVLM2 needs a package that "
                "is not installed: pip install torchvision num2words"
            ) from error
        raise CheckpointFilesError(
            f"The vocabulary of '{folder.name}' is missing or damaged: copy or export it again."
        ) from error


def _stop_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """What ends an answer: what the model's generation settings and its vocabulary say."""
    ends = model.generation_config.eos_token_id
    several = [*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id]
    return tuple({one for one in several if isinstance(one, int)})


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:160]
