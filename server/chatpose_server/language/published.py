"""The published ChatPose (LLaVA-1.5 with ``[SEG]`` as pose token), from its own files, made quick and whole.

Different from the released program on purpose, and only here: every ``[SEG]`` of a reply becomes a pose (also one that
opens the reply), history keeps the token itself, words alone run no CLIP, a pose can be had when the model only talks,
and nothing that was read before is read again. Tokens and poses are the same: ``tests/server/language`` has the proof.

Source: Feng et al., "ChatPose: Chatting about 3D Human Pose", CVPR 2024. Knows no HTTP and no refiner.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from torch import Tensor, nn

from ..models import store
from ..progress import Progress, no_progress
from . import conversation as talk
from . import llava_layout as layout
from .answering import ChatWithPoses, Conversation, Options, options_from_environment, turn_text
from .base import LanguageRequest
from .decoding import Decoder, Prompt
from .devices import (
    Device,
    DeviceError,
    MemoryNeed,
    Quantization,
    cache_bytes,
    check_memory,
    device_of,
    memory_needed,
    pick_device_and_bits,
    quantization_config,
)
from .head import PoseHead
from .llama_tokens import LlamaTokens
from .vision_inputs import clip_processor, image_hash, pixels

if TYPE_CHECKING:
    from PIL.Image import Image

LICENCE: Final = (
    "ChatPose weights: no licence published. They derive from LLaVA-1.5 and Vicuna (Llama 2 Community License) and "
    "from SMPL-X (non-commercial research)."
)
POSITIONS: Final = 1024  # of the key-value cache, for the memory estimate: a picture and a few turns
KEPT_WHOLE: Final = ("lm_head", "model.vision_tower", "model.multi_modal_projector")
"""Never quantised, by their full names, as transformers compares them: small, and precision tells."""
_ANSWERS_KEPT: Final = 256


def load_published(
    name_or_path: str,
    *,
    device: str = "auto",
    quantize: str = "none",
    dtype: str = "auto",
    clip: str | None = None,
    options: Options | None = None,
    progress: Progress = no_progress,
) -> PublishedChatPose:
    """Loads a checkpoint of the published layout, or one that ``models import`` made of it.

    ``name_or_path``: a folder, the name of an import, or a hub name such as ``YaoFeng/CHATPOSE-V0``. ``clip``: another
    place for CLIP. ``options``: how it is talked to; None reads the environment. Raises CheckpointFilesError,
    TokenizerError, DeviceError (each with what to do) and Cancelled.
    """
    options = options or options_from_environment()
    place, bits = pick_device_and_bits(device, dtype, quantize)
    progress("Looking at the files", 0.0)
    imported = store.cache_dir() / "models" / name_or_path
    folder = imported if (imported / layout.CONVERTED_FILE).is_file() else layout.fetch(name_or_path, progress)
    sources = layout.find_sources(layout.open_layout(folder), clip, progress)
    layout.check_head(sources)
    tokens = LlamaTokens(folder)
    with_memory = memory_of(sources, place.dtype, bits, kind=place.kind)
    model, head_state = load_weights(sources, place, bits, with_memory, progress)
    head = make_head(head_state)
    processor = clip_processor(sources.clip_folder, sources.model_config.vision_config.image_size)
    name = name_or_path if not Path(name_or_path).exists() else folder.name
    built = PublishedChatPose(
        name, model, head, tokens, processor=processor, place=place, quantize=bits, options=options,
        stop_ids=layout.stop_ids(folder),
    )  # fmt: skip
    built.warm()
    return built


def memory_of(
    sources: layout.Sources, dtype: torch.dtype, quantize: Quantization = "none", *, kind: str = "cuda"
) -> MemoryNeed:
    """What a checkpoint takes once loaded."""
    return _need(sources.empty_model(), sources.model_config, dtype, quantize, kind)


def memory_of_shape(
    size: Literal["7b", "13b"], dtype: torch.dtype, quantize: Quantization = "none", *, kind: str = "cuda"
) -> MemoryNeed:
    """The same for the published shapes, before anything is downloaded."""
    config = layout.llava_config(PUBLISHED_SHAPES[size], CLIP_SHAPE, 32003)
    return _need(layout.llava_model(config, "mlp2x_gelu"), config, dtype, quantize, kind)


PUBLISHED_SHAPES: Final[Mapping[str, Mapping[str, Any]]] = {
    "7b": {
        "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    },
    "13b": {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40, "num_attention_heads": 40,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    },
}  # fmt: skip
"""LLaVA-1.5's language models; CHATPOSE-V0 is the 13 B one."""
CLIP_SHAPE: Final[Mapping[str, Any]] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "image_size": 336, "patch_size": 14,
}  # fmt: skip


class PublishedChatPose(ChatWithPoses):
    """A loaded model; implements ``base.LanguageModel``. One thread at a time."""

    def __init__(
        self,
        name: str,
        model: Any,  # transformers' LlavaForConditionalGeneration
        head: PoseHead,
        tokens: LlamaTokens,
        *,
        processor: Any,  # CLIP's image processor
        place: Device,
        quantize: Quantization,
        options: Options,
        stop_ids: Sequence[int] = (),
    ) -> None:
        """``stop_ids``: what ends an answer where the checkpoint says so; the vocabulary's own end otherwise."""
        pose_id = tokens.token_id(talk.POSE_TOKEN)
        rows = model.get_input_embeddings().weight.shape[0]
        if pose_id is None or tokens.size > rows:
            raise layout.CheckpointFilesError(
                f"The vocabulary does not belong to these weights: it has {tokens.size} tokens and the weights {rows}, "
                f"and {talk.POSE_TOKEN} must be one of them. Download the tokenizer files of the same checkpoint."
            )
        self.tokens = tokens
        self._model, self._processor = model, processor
        self._embed = model.get_input_embeddings()
        self._at = device_of(self._embed, place)
        self._patches: int = model.config.image_seq_length
        self._said: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        super().__init__(
            name, Decoder(model.model.language_model, model.lm_head, self._embed, self._at), head, place=place,
            quantize=quantize, options=options, licence=LICENCE, pose_id=pose_id,
            stop_ids=stop_ids or (tokens.eos_id,), answers=[self._answer_ids(answer) for answer in talk.ANSWERS],
        )  # fmt: skip

    # -- words to tokens -----------------------------------------------------------------------------------------
    def encode_prompt(
        self, exchanges: Sequence[talk.Exchange], *, with_image: bool = False, said: Mapping[str, Sequence[int]] = {}
    ) -> list[int | None]:
        """Token ids of a conversation up to the open answer; None stands for the picture.

        ``said``: the very tokens of earlier answers, by their text; answers that are not in it are encoded as text.
        """
        system = talk.SYSTEM_PROMPTS[self.options.system]
        if self.options.history == "text":
            told = [talk.Exchange(e.question, e.answer and talk.original_history(e.answer)) for e in exchanges]
            return self._encode_text(talk.prompt_text(system, told, with_image=with_image))
        text, ids = talk.opening(system), list[int | None]()
        for i, exchange in enumerate(exchanges):
            text += talk.user_turn(exchange.question, with_image=with_image and i == 0)
            answer = exchange.answer
            if answer is not None and answer in said:
                ids += self._continue(ids, text)
                ids += [token for token in said[answer] if token not in self._stop_ids]
                text = talk.END_OF_TURN
            elif answer is not None:
                text += talk.assistant_turn(answer.replace(talk.POSE_MARK, talk.POSE_TOKEN))
        return ids + self._continue(ids, text)

    def _continue(self, before: Sequence[int | None], text: str) -> list[int | None]:
        """The ids of ``text``; where something stands before it, it begins with the end of a turn and opens nothing."""
        ids = self._encode_text(text)
        return ids[1:] if before and self.tokens.adds_bos else ids

    def _encode_text(self, text: str) -> list[int | None]:
        """LLaVA's way with pictures: each stretch of text by itself, the opening token only once."""
        ids: list[int | None] = []
        for i, stretch in enumerate(text.split(talk.IMAGE)):
            of_stretch = self.tokens.encode(stretch)
            ids += [None, *of_stretch[int(self.tokens.adds_bos) :]] if i else of_stretch
        return ids

    def _answer_ids(self, answer: str) -> tuple[int, ...]:
        """A trained answer's tokens, end of turn included, as they follow ``ASSISTANT:``."""
        before = self.tokens.encode("ASSISTANT:")
        return tuple(self.tokens.encode(f"ASSISTANT:{talk.assistant_turn(answer)}")[len(before) :])

    # -- one conversation ----------------------------------------------------------------------------------------
    def converse(self, request: LanguageRequest, question: str, progress: Progress) -> Conversation:
        """See ChatWithPoses. The picture stands in the first turn, and CLIP runs only if it was not read before."""
        has_image = request.image is not None
        exchanges = talk.pair_up([turn_text(t) for t in request.messages if t.role != "system"], question)
        ids = self.encode_prompt(self._guarded(exchanges), with_image=has_image, said=self._said)
        text = talk.prompt_text(talk.SYSTEM_PROMPTS[self.options.system], exchanges, with_image=has_image)
        return Conversation(self._prompt(ids, request.image, progress), text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text as it was written, added tokens by their names."""
        return self.tokens.decode(ids)

    def said(self, text: str, ids: Sequence[int]) -> None:
        """Remembers the tokens of an answer, so that a later turn holds these and not their text encoded anew."""
        self._said[text] = tuple(ids)
        self._said.move_to_end(text)
        while len(self._said) > _ANSWERS_KEPT:
            self._said.popitem(last=False)

    def warm(self) -> None:
        """Reads what every prompt begins with, so that no request has to."""
        ids = self.tokens.encode(talk.opening(talk.SYSTEM_PROMPTS[self.options.system]) + "USER:")
        self._decoder.warm(self._prompt(list(ids), None, no_progress))

    def drop(self) -> None:
        """Lets go of the weights."""
        del self._model, self._embed, self._processor

    def _guarded(self, exchanges: Sequence[talk.Exchange]) -> list[talk.Exchange]:
        """The same talk, in which nobody's words can be taken for tokens or for the picture."""

        def plain(text: str) -> str:
            return self.tokens.guard(text).replace(talk.IMAGE, "<image >")

        return [talk.Exchange(plain(e.question), e.answer and plain(e.answer)) for e in exchanges]

    def _prompt(self, ids: Sequence[int | None], image: Image | None, progress: Progress) -> Prompt:
        """Ids with the picture's patches in their place. CLIP runs only if those positions must be read."""
        digest = "" if image is None else image_hash(image)
        keys: list[Any] = []
        for token in ids:
            keys += [token] if token is not None else [(digest, patch) for patch in range(self._patches)]

        def embed(start: int) -> Tensor:
            words = [key if isinstance(key, int) else 0 for key in keys]
            embedded = self._embed(torch.tensor([words[start:]], device=self._at))  # (1, M, H)
            spots = [i for i, key in enumerate(keys) if not isinstance(key, int) and i >= start]
            if spots and image is not None:
                progress("Looking at the picture", 0.0)
                features = self.seen(digest, lambda picture=image: self._look(picture))  # (patches, H)
                rows = torch.tensor([keys[i][1] for i in spots], device=features.device)
                at = torch.tensor(spots, device=self._at) - start
                embedded = embedded.clone()
                embedded[0, at] = features[rows].to(embedded)
            return embedded

        return Prompt(tuple(keys), embed)

    @torch.inference_mode()
    def _look(self, image: Image) -> Tensor:
        tower = self._model.model.vision_tower
        dtype = next(tower.parameters()).dtype
        seen = pixels(self._processor, image).to(device=device_of(tower, self._place), dtype=dtype)
        return self._model.get_image_features(pixel_values=seen).pooler_output[0]


# -- loading ---------------------------------------------------------------------------------------------------------
def _need(model: Any, config: Any, dtype: torch.dtype, quantize: Quantization, kind: str) -> MemoryNeed:
    text = config.text_config
    cache = cache_bytes(text.num_hidden_layers, text.num_key_value_heads, text.head_dim, POSITIONS, dtype)
    return memory_needed(model, dtype, quantize, kind=kind, keep=KEPT_WHOLE, cache_bytes=cache)


def load_weights(
    sources: layout.Sources, place: Device, quantize: Quantization, need: MemoryNeed, progress: Progress
) -> tuple[Any, dict[str, Tensor]]:
    """The model with its weights, and the head's tensors."""
    check_memory(need, place)
    if quantize != "none" or need.total > place.free_bytes:
        return _load_with_accelerate(sources, place, quantize, need, progress)
    model = sources.empty_model()
    parameters = dict(model.named_parameters())
    head: dict[str, Tensor] = {}
    for done, (name, tensor) in enumerate(sources.stream()):
        progress("Loading weights", done / (len(parameters) + 4))
        if name.startswith("head."):
            head[name.removeprefix("head.")] = tensor.float().clone()
            continue
        value = tensor.to(device=place.torch_name, dtype=place.dtype, copy=True)  # never a view of the mapped file
        parent = model.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], nn.Parameter(value, requires_grad=False))
    model.tie_weights()
    progress("Loading weights", 1.0)
    return model.to(place.torch_name), head


def _load_with_accelerate(
    sources: layout.Sources, place: Device, quantize: Quantization, need: MemoryNeed, progress: Progress
) -> tuple[Any, dict[str, Tensor]]:
    """Fewer bits, or layers that do not fit the card kept in the computer's memory; transformers does both."""
    from transformers import LlavaForConditionalGeneration

    if sources.projector != "mlp2x_gelu":
        raise DeviceError("Checkpoints with this projector can only be loaded whole and without quantisation.")
    head: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, tensor in sources.stream():
        progress("Opening the weights", 0.1)
        if name.startswith("head."):
            head[name.removeprefix("head.")] = tensor.float().clone()
        else:
            state[name] = tensor
    fits = need.total <= place.free_bytes
    progress("Loading weights", 0.2)
    model = LlavaForConditionalGeneration.from_pretrained(
        None,
        config=sources.model_config,
        state_dict=state,
        dtype=place.dtype,
        quantization_config=quantization_config(quantize, place.dtype, list(KEPT_WHOLE)),
        device_map={"": place.torch_name} if fits else "auto",
    )
    progress("Loading weights", 1.0)
    return model.eval(), head


def make_head(state: Mapping[str, Tensor]) -> PoseHead:
    """The published pose head from its tensors (``layers.0.weight`` and so on)."""
    first = state["layers.0.weight"]
    head = PoseHead(first.shape[1], first.shape[0], layout.JOINTS)
    head.load_state_dict(dict(state))
    return head.eval()
