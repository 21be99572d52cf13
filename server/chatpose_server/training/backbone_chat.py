"""Any causal language model of transformers, and any that sees pictures, to be trained: through their own classes,
processors and chat templates. Knows no family by name and no training loop.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ..language import conversation as talk
from ..language.chat_layout import ChatHeader, chat_text, is_taught, read_head, write_head
from ..language.devices import Device
from ..language.head import PoseHead
from ..language.llava_layout import CheckpointFilesError
from ..progress import Progress, no_progress
from .backbones import IGNORED, Adapting, Backbone, Encoded, merged, right_padded
from .examples import Example
from .pose_data import TrainingDataError

CHATML: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""For vocabularies that have its tokens and came without a template."""
_OF_TOKENS: Final = ("mm_token_type_ids", "token_type_ids")  # one number for each token, not for each picture


class ChatBackbone(Backbone):
    """A folder that transformers' ``from_pretrained`` takes."""

    kind = "transformers"

    def __init__(self, base: Path, place: Device, how: Adapting, progress: Progress = no_progress) -> None:
        progress("Loading weights", 0.0)
        model, self.writer, self.sees = open_folder(base, place)
        self.head: PoseHead | None = None
        if is_taught(base):
            header, state = read_head(base)
            self.head = PoseHead(header.hidden, header.inner, header.joints)
            self.head.load_state_dict(state)
        self.tokenizer: Any = self.writer.tokenizer if self.sees else self.writer
        _add_pose_token(model, self.tokenizer)
        super().__init__(model, place, [self.tokenizer.convert_tokens_to_ids(talk.POSE_TOKEN)], how)
        progress("Loading weights", 1.0)

    def encode(self, example: Example) -> Encoded:
        """Each turn by itself, as they come when the model is asked; a picture stands in the first."""
        if example.image is not None and not self.sees:
            raise TrainingDataError("This model does not see pictures: leave them out, or take one that does.")
        ids, labels, seen, before = list[int](), list[int](), dict[str, Tensor](), ""
        for i, exchange in enumerate(example.exchanges):
            asked = (*example.exchanges[:i], talk.Exchange(exchange.question, None))
            for exchanges, is_answer in ((asked, False), (example.exchanges[: i + 1], True)):
                text = chat_text(self.writer, exchanges, with_image=example.image is not None)
                if not text.startswith(before):
                    raise TrainingDataError("This model's chat template rewrites earlier turns; it cannot be trained.")
                piece, before = text[len(before) :], text
                if i == 0 and not is_answer and example.image is not None:
                    taken = self.writer(
                        text=[piece], images=[[example.picture()]], add_special_tokens=False, return_tensors="pt"
                    )
                    new: list[int] = taken["input_ids"][0].tolist()
                    seen = {k: v for k, v in taken.items() if k not in ("input_ids", "attention_mask")}
                else:
                    new = self.tokenizer(piece, add_special_tokens=False)["input_ids"]
                ids += new
                labels += new if is_answer else [IGNORED] * len(new)
        return Encoded(tuple(ids), tuple(labels), seen)

    def states(self, batch: Sequence[Encoded]) -> list[Tensor]:
        """See Backbone; rows with pictures and rows without go through the model apart."""
        found: dict[int, Tensor] = {}
        for with_picture in (False, True):
            at = [i for i, e in enumerate(batch) if bool(e.seen) == with_picture]
            if not at:
                continue
            rows = [batch[i] for i in at]
            longest = max(len(e.ids) for e in rows)
            ids = right_padded([torch.tensor(e.ids) for e in rows], longest)
            there = right_padded([torch.ones(len(e.ids), dtype=torch.long) for e in rows], longest)
            more = {name: _together(name, [e.seen[name] for e in rows], longest) for name in rows[0].seen}
            given = {"input_ids": ids, "attention_mask": there, **more}
            states = self.model.base_model(
                **{name: tensor.to(self.at) for name, tensor in given.items()}, use_cache=False
            ).last_hidden_state
            found |= {i: states[row, : len(batch[i].ids)] for row, i in enumerate(at)}
        return [found[i] for i in range(len(batch))]

    def export(self, out: Path, head: PoseHead, recipe: str, progress: Progress = no_progress) -> None:
        """See Backbone: transformers' own files and the head, see ``language.chat_layout``."""
        progress("Writing", 0.0)
        out.parent.mkdir(parents=True, exist_ok=True)
        work = out.with_name(f".{out.name}.part")
        shutil.rmtree(work, ignore_errors=True)
        try:
            with merged(self) as model:
                model.save_pretrained(work)
            self.writer.save_pretrained(work)
            inner = int(head.layers[0].out_features)  # pyright: ignore[reportArgumentType]
            header = ChatHeader(self.hidden, inner, head.joints, sees=self.sees, recipe=recipe)
            write_head(work, head.state_dict(), header)
            shutil.rmtree(out, ignore_errors=True)
            work.replace(out)
        except OSError as error:
            raise CheckpointFilesError(f"'{out.name}' could not be written ({error.strerror or error}).") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress("Writing", 1.0)


def open_folder(folder: Path, place: Device) -> tuple[Any, Any, bool]:
    """The model, its processor (or tokenizer), and whether it sees pictures. Raises CheckpointFilesError."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        loader: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        writer: Any = AutoProcessor.from_pretrained(folder, local_files_only=True) if sees else _tokenizer(folder)
        model = loader.from_pretrained(folder, dtype=place.dtype, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise CheckpointFilesError(f"'{folder.name}' cannot be loaded by transformers: {reason}") from error
    if sees and hasattr(writer.image_processor, "do_image_splitting"):
        writer.image_processor.do_image_splitting = False  # a person who was cut out fills one tile
    return model.eval().to(place.torch_name), writer, sees


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer_config.json").is_file():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    else:  # the catalogue's backbones: the bare vocabulary
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        tokenizer.eos_token = "<|im_end|>" if "<|im_end|>" in tokenizer.get_vocab() else None
    if not tokenizer.chat_template and {"<|im_start|>", "<|im_end|>"} <= set(tokenizer.get_vocab()):
        tokenizer.chat_template = CHATML
    return tokenizer


def _add_pose_token(model: Any, tokenizer: Any) -> None:
    from transformers import AddedToken

    if talk.POSE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(talk.POSE_TOKEN, lstrip=True, normalized=False)])
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        new = range(rows, len(tokenizer))
    else:  # one of the spare rows that many vocabularies have
        new = [tokenizer.convert_tokens_to_ids(talk.POSE_TOKEN)]
    with torch.no_grad():
        for matrix in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            if float(matrix[new[0]].abs().max()) == 0 or len(tokenizer) > rows:
                matrix[list(new)] = matrix[:rows].float().mean(0).to(matrix.dtype)


def _together(name: str, pieces: Sequence[Tensor], longest: int) -> Tensor:
    """Pieces of several rows: zeros behind until all are of one size, then one after the other."""
    if name in _OF_TOKENS:
        return right_padded([piece[0] for piece in pieces], longest)
    sizes = [max(piece.shape[d] for piece in pieces) for d in range(1, pieces[0].dim())]
    return torch.cat([_grown(piece, sizes) for piece in pieces])


def _grown(piece: Tensor, sizes: Sequence[int]) -> Tensor:
    padding = [n for d, size in reversed(list(enumerate(sizes, 1))) for n in (0, size - piece.shape[d])]
    return torch.nn.functional.pad(piece, padding)
