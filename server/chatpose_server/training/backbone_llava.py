"""LLaVA-1.5 and ChatPose in their own layout, to be trained. CLIP and projector stand still, so what they see of a
picture is kept. Knows no training loop.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ..language import conversation as talk
from ..language import llava_layout as layout
from ..language.devices import Device, DeviceError, fit_sentence
from ..language.head import PoseHead
from ..language.llama_tokens import TOKENIZER_FILES, LlamaTokens
from ..language.published import load_weights, make_head, memory_of
from ..language.vision_inputs import clip_processor, pixels
from ..progress import Progress, no_progress
from .backbones import IGNORED, Adapting, Backbone, Encoded, merged, right_padded
from .examples import Example

ADDED_TOKENS: Final = (talk.POSE_TOKEN, "<im_start>", "<im_end>")
_PICTURES_KEPT: Final = 256  # a picture's patches at 13 B are 6 MB
_PICTURE: Final = -1  # the picture's place among the ids


class LlavaBackbone(Backbone):
    """A checkpoint of the published layout, or of our own; a plain LLaVA gets its tokens and a new head."""

    kind = "LLaVA"

    def __init__(
        self,
        base: Path,
        tokenizer_folder: Path,
        place: Device,
        how: Adapting,
        clip: str | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """``tokenizer_folder``: where the vocabulary with the added tokens is written."""
        self.sources = layout.find_sources(layout.open_layout(base), clip, progress)
        need = memory_of(self.sources, place.dtype, kind=place.kind)
        if need.total > place.free_bytes:  # to answer it may lie in parts, on card and computer; to learn it may not
            raise DeviceError(f"To be taught, the model must lie on one device: it {fit_sentence(need, place)}.")
        model, head = load_weights(self.sources, place, "none", need, progress)
        self.head: PoseHead | None = make_head(head) if head else None
        self.tokenizer_folder = _with_added_tokens(base, tokenizer_folder)
        self.tokens = LlamaTokens(tokenizer_folder)
        _grow(model, self.tokens.size)
        added = [i for name in ADDED_TOKENS if (i := self.tokens.token_id(name)) is not None]
        super().__init__(model, place, added, how)
        self.processor = clip_processor(self.sources.clip_folder, self.sources.model_config.vision_config.image_size)
        self._features: OrderedDict[tuple[Path | None, Any], Tensor] = OrderedDict()

    def encode(self, example: Example) -> Encoded:
        """Answers are found by encoding ever longer text: LLaMA's tokeniser looks across the turns' borders."""
        system, ids, labels = talk.SYSTEM_PROMPTS["llava_v1"], list[int](), list[int]()
        for i, exchange in enumerate(example.exchanges):
            done = [*example.exchanges[:i], talk.Exchange(exchange.question, None)]
            for exchanges, is_answer in ((done, False), (example.exchanges[: i + 1], True)):
                longer = self._ids(talk.prompt_text(system, exchanges, with_image=example.image is not None))
                new = longer[len(ids) :]
                labels += [token if is_answer and token != _PICTURE else IGNORED for token in new]
                ids = longer
        if _PICTURE not in ids:
            return Encoded(tuple(ids), tuple(labels), {})
        features = self._look(example)
        spot, gap = ids.index(_PICTURE), len(features)
        ids = [*ids[:spot], *[_PICTURE] * gap, *ids[spot + 1 :]]
        labels = [*labels[:spot], *[IGNORED] * gap, *labels[spot + 1 :]]
        return Encoded(tuple(ids), tuple(labels), {"features": features})

    def states(self, batch: Sequence[Encoded]) -> list[Tensor]:
        """See Backbone. Right padding and causal attention: what stands after a row's end is never seen by it."""
        ids = right_padded([torch.tensor(e.ids, device=self.at) for e in batch], max(len(e.ids) for e in batch))
        patches = ids == _PICTURE
        embedded = self.model.get_input_embeddings()(ids.clamp(min=0))
        features = [e.seen["features"][: e.ids.count(_PICTURE)] for e in batch if e.seen]
        if features:
            embedded = embedded.masked_scatter(patches[..., None], torch.cat(features).to(embedded))
        states = self.decoder(inputs_embeds=embedded, use_cache=False).last_hidden_state
        return [states[i, : len(e.ids)] for i, e in enumerate(batch)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        for i, stretch in enumerate(text.split(talk.IMAGE)):
            of_stretch = self.tokens.encode(stretch)
            ids += [_PICTURE, *of_stretch[int(self.tokens.adds_bos) :]] if i else of_stretch
        return ids

    @torch.no_grad()
    def _look(self, example: Example) -> Tensor:
        """(patches, H), in the computer's memory. Kept by picture, where the trainer keeps whole examples: a picture
        comes back with its question and answer in other words.
        """
        key = (example.image, example.box)
        if key not in self._features:
            image = example.picture()
            assert image is not None
            tower = next(self.model.model.vision_tower.parameters())
            seen = pixels(self.processor, image).to(device=tower.device, dtype=tower.dtype)
            self._features[key] = self.model.get_image_features(pixel_values=seen).pooler_output[0].cpu()
            while len(self._features) > _PICTURES_KEPT:
                self._features.popitem(last=False)
        return self._features[key]

    def export(self, out: Path, head: PoseHead, recipe: str, progress: Progress = no_progress) -> None:
        """See Backbone: our own layout, CLIP and head included."""
        needed = sum(p.numel() * p.element_size() for p in self.model.parameters())
        rows = self.model.get_input_embeddings().weight.shape[0]
        config = {**self.sources.layout.config, "vocab_size": rows, "out_dim": layout.POSE_NUMBERS}
        folders = self.tokenizer_folder, self.sources.clip_folder
        heads = {f"head.{name}": weight.detach().float() for name, weight in head.state_dict().items()}
        with merged(self) as model:
            weights = ((name, tensor.detach().cpu()) for name, tensor in [*model.named_parameters(), *heads.items()])
            layout.write_layout(out, weights, config, *folders, needed, progress, source=recipe)


@torch.no_grad()
def _grow(model: Any, size: int) -> None:
    """Adds rows, at the mean of the others, until the vocabulary fits."""
    for matrix in (model.get_input_embeddings(), model.lm_head):
        more = size - matrix.weight.shape[0]
        if more > 0:
            mean = matrix.weight.float().mean(0, keepdim=True).to(matrix.weight.dtype)
            grown = torch.cat([matrix.weight, mean.expand(more, -1)])
            matrix.weight = nn.Parameter(grown.contiguous(), requires_grad=False)


def _with_added_tokens(base: Path, folder: Path) -> Path:
    """A copy of the vocabulary that has the pose token (and, where it has none of them, the two picture tokens)."""
    tokens = LlamaTokens(base)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    if tokens.token_id(talk.POSE_TOKEN) is None:
        path = folder / "added_tokens.json"
        added: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name in ADDED_TOKENS:
            added.setdefault(name, tokens.size + len([n for n in ADDED_TOKENS if n in added]))
        path.write_text(json.dumps(added, indent=1), encoding="utf-8")
    return folder
