"""PoseLM: any causal language model of transformers, a pose token, and ChatPose's head on the state that predicts it.

Knows words, tokens and poses; knows nothing of HTTP, refiners or where files come from. The trained part is one
safetensors file: LoRA of every linear layer, the pose token's embedding, the heads, and a JSON header (PoseLMConfig).
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..pose import Pose
from ..progress import Progress, no_progress
from ..skeleton import BODY_JOINTS
from . import lora
from .base import ChatTurn, LanguageAnswer, LanguageRequest
from .decoding import Decoder, Generated, TemplateDraft, text_prompt
from .head import ClassHead, PoseHead
from .reader import Reader, ReaderShape

POSE_TOKEN: Final = "<POSE>"  # noqa: S105 - the word that stands for a pose, not a secret
HISTORY_TURNS: Final = 8  # older turns are dropped: a 135 M model gains nothing from them and every token costs
_METADATA_KEY: Final = "chatpose"
_NAMES_TOLD: Final = 5


class ModelFileError(ValueError):
    """Weights that cannot be used. The text says what is wrong and what to do."""


@dataclass(frozen=True)
class PoseLMConfig:
    """What the trained part needs to be read, and how it came to be."""

    base: str  # catalogue name of the backbone
    hidden: int
    inner: int  # width of the heads
    joints: int = len(BODY_JOINTS)
    hypotheses: int = 1
    reader: ReaderShape | None = None
    told: bool = False  # the pose head reads what the posecode head says
    codes: tuple[str, ...] = ()  # posecode names of the second head, in order
    names: tuple[str, ...] = ()  # lexicon names of the third head, in order; its class 0 is none of them
    turn: str = "<|im_start|>{role}\n{text}<|im_end|>\n"
    opening: str = "<|im_start|>assistant\n"
    stop: str = "<|im_end|>"
    answers: tuple[str, ...] = (POSE_TOKEN,)  # the answers it was trained to give, most usual first
    recipe: str = ""  # the command, data and seed that made the weights
    version: str = "0"

    def to_json(self) -> str:
        """For the file's header."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> PoseLMConfig:
        """Reads the header. Unknown keys of later versions are refused, not guessed at."""
        data = json.loads(text)
        known = {f.name for f in fields(PoseLMConfig)}
        if set(data) - known:
            raise ModelFileError(
                f"These weights were made by a newer ChatPose, which knows {', '.join(sorted(set(data) - known))}."
            )
        for key in ("codes", "names", "answers"):
            if key in data:
                data[key] = tuple(data[key])
        if data.get("reader"):
            data["reader"] = ReaderShape.from_lists(data["reader"])
        return PoseLMConfig(**data)


class PoseLM:
    """A loaded model; implements ``base.LanguageModel``. One thread at a time."""

    accepts_images = False
    wants_one_person = False

    def __init__(
        self,
        name: str,
        model: Any,  # a transformers ...ForCausalLM whose vocabulary holds the pose token as its last row
        tokenizer: Any,  # tokenizers.Tokenizer
        head: PoseHead,
        codes: ClassHead | None,
        names: ClassHead | None,
        config: PoseLMConfig,
        *,
        reader: Reader | None = None,
        licence: str = "",
    ) -> None:
        """``judge``, once it is set, chooses among the head's hypotheses: poses (K, 22, 3, 3) and the chance (N,) of
        each posecode -> (K,), the smaller the better. Without one the head's own logits choose.
        """
        self.judge: Callable[[Tensor, Tensor], Tensor] | None = None
        self.name, self.licence, self.config = name, licence, config
        self.device, self.dtype = str(model.device), str(model.dtype).removeprefix("torch.")
        self._model, self._tokenizer = model, tokenizer
        self._head, self._codes, self._names = head.eval(), codes, names
        self._reader = reader
        self.pose_id: int = model.get_input_embeddings().weight.shape[0] - 1
        self._stop_id = int(tokenizer.token_to_id(config.stop))
        self._decoder = Decoder(*self._backbone(model), model.get_input_embeddings(), model.device)
        self._draft = TemplateDraft([self.encode_answer(a) for a in config.answers])

    # -- words to tokens -----------------------------------------------------------------------------------------
    def encode(self, text: str) -> list[int]:
        """Plain words; what looks like a special token in them is spelled out, so that nobody can inject one."""
        ids: list[int] = []
        for piece in _split_specials(text, self._specials):
            ids += self._tokenizer.encode(piece, add_special_tokens=False).ids
        return ids

    def encode_answer(self, text: str) -> list[int]:
        """One of the model's own answers: the pose token is a token, and the stop token follows."""
        ids: list[int] = []
        for i, piece in enumerate(text.split(POSE_TOKEN)):
            ids += ([self.pose_id] if i else []) + (self.encode(piece) if piece else [])
        # After its last pose the answer is over for us: nothing that follows changes the pose.
        return ids if ids and ids[-1] == self.pose_id else [*ids, self._stop_id]

    def encode_conversation(self, messages: tuple[ChatTurn, ...], prompt: str) -> list[int]:
        """Token ids up to and including the assistant's opening."""
        return self._encode_history(messages) + self.encode_turn(prompt)

    def encode_turn(self, prompt: str) -> list[int]:
        """The last turn alone: what the reader looks at."""
        before, after = self.config.turn.format(role="user", text="\0").split("\0")
        return self._special(before) + self.encode(prompt.strip()) + self._special(after + self.config.opening)

    def _encode_history(self, messages: tuple[ChatTurn, ...]) -> list[int]:
        ids: list[int] = []
        for turn in messages[-HISTORY_TURNS:]:
            before, after = self.config.turn.format(role=turn.role, text="\0").split("\0")
            body = [self.pose_id] if turn.poses and turn.role == "assistant" else self.encode(turn.content.strip())
            ids += self._special(before) + body + self._special(after)
        return ids

    # -- answering -----------------------------------------------------------------------------------------------
    def answer(
        self,
        request: LanguageRequest,
        progress: Progress = no_progress,
        on_text: Callable[[str], None] | None = None,
    ) -> LanguageAnswer:
        """See ``base.LanguageModel``. With ``want='pose'`` a pose comes back whatever the model would rather say."""
        start = time.perf_counter()
        turn = self.encode_turn(request.prompt)
        ids = self._encode_history(request.messages) + turn
        prompt = text_prompt(ids, self._model.get_input_embeddings(), self._model.device)
        # A pose that was asked for is read where the model would answer; words would only be thrown away.
        limit = 1 if request.want == "pose" and self.config.answers == (POSE_TOKEN,) else request.max_new_tokens
        made = self._decoder.generate(
            prompt,
            stop_ids={self._stop_id, self.pose_id} if self._stops_at_pose else {self._stop_id},
            max_new_tokens=limit,
            draft=self._draft,
            on_ids=None if on_text is None else lambda so_far: on_text(self._decode(so_far)),
            check=lambda n: progress("Reading the words" if n == 0 else "Answering", n / (n + 8)),
        )
        self._draft.learn(made.ids)
        decoded = time.perf_counter()
        rows = [i for i, token in enumerate(made.ids) if token == self.pose_id]
        if request.want == "pose" and not rows:
            rows = [0]
        with torch.inference_mode():
            states = self._read(made, rows, len(turn))
            chances = torch.sigmoid(self._codes(states)) if self._codes is not None and len(states) else None
            poses = self._read_poses(states, chances, request.candidates)
            codes, named = self._read_meaning(states, chances)
        text = self._decode(made.ids) if not rows else ""
        timings = {"language": decoded - start, "head": time.perf_counter() - decoded}
        debug = {
            "prompt_tokens": len(ids), "reused": made.reused, "forwards": made.forwards, "drafted": made.drafted,
            "accepted": made.accepted, "answer": self._decode(made.ids, keep_pose=True),
        }  # fmt: skip
        return LanguageAnswer(text, poses, codes, named, timings, debug)

    def unload(self) -> None:
        """Frees the weights."""
        del self._model, self._decoder, self._head, self._codes, self._names, self._reader

    # -- inside --------------------------------------------------------------------------------------------------
    def _backbone(self, model: Any) -> tuple[Callable[..., Any], Callable[[Tensor], Tensor]]:
        """The model and its vocabulary's matrix. For a reader the states of its depths ride behind the last state's
        numbers, (1, M, H + D H), so that they are remembered and reused together.
        """
        if self._reader is None:
            return model.get_decoder(), model.lm_head
        read, hidden = model.get_decoder(), self.config.hidden
        return DeepStates(read, self._reader.shape.depths), lambda states: model.lm_head(states[..., :hidden])

    @property
    def _stops_at_pose(self) -> bool:
        return all(a.endswith(POSE_TOKEN) for a in self.config.answers)

    @property
    def _specials(self) -> tuple[str, ...]:
        return tuple(t.content for t in self._tokenizer.get_added_tokens_decoder().values())

    def _special(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _decode(self, ids: Any, *, keep_pose: bool = False) -> str:
        text = ""
        run: list[int] = []
        for token in [*ids, None]:
            if token is not None and token not in (self.pose_id, self._stop_id):
                run.append(token)
                continue
            text += self._tokenizer.decode(run)
            run = []
            if token == self.pose_id and keep_pose:
                text += POSE_TOKEN
        return text.strip()

    def _read(self, made: Generated, rows: list[int], turn: int) -> Tensor:
        """What the heads see (R, hidden): the states that predict pose tokens, joined with the last turn's words."""
        hidden = self.config.hidden
        states = made.states[rows, :hidden].float().cpu()  # (R, H)
        if self._reader is None or not rows:
            return states
        words = made.prompt_states[-turn:, hidden:].float().cpu().unflatten(1, (-1, hidden))  # (T, D, H)
        words = words.expand(len(rows), -1, -1, -1)
        return self._reader(states, words, torch.ones(words.shape[:2], dtype=torch.bool))

    def _read_poses(self, states: Tensor, chances: Tensor | None, candidates: int) -> tuple[Pose, ...]:
        """``chances`` (R, N): that each posecode is asked, by the second head."""
        if not len(states):
            return ()
        out = self._head(states, chances if self.config.told else None)  # (R, K, J, 3, 3)
        weights = torch.softmax(out.logits, -1)
        poses: list[Pose] = []
        for row in range(len(states)):
            if self.judge is not None and chances is not None:
                rank = -self.judge(out.matrot[row, :, : len(BODY_JOINTS)], chances[row])
            else:
                rank = weights[row]
            order = rank.argsort(descending=True, stable=True).tolist()
            take = order if len(states) == 1 else order[:1]
            poses += [
                Pose.from_matrot(out.matrot[row, k, : len(BODY_JOINTS)], score=float(weights[row, k])) for k in take
            ]
        return tuple(poses[: max(candidates, len(states))])

    def _read_meaning(self, states: Tensor, chances: Tensor | None) -> tuple[dict[str, float], dict[str, float]]:
        """What the words ask for (posecodes) and which named pose they mean, with probabilities."""
        codes: dict[str, float] = {}
        named: dict[str, float] = {}
        if not len(states):
            return codes, named
        if chances is not None:
            codes = dict(zip(self.config.codes, chances[0].tolist(), strict=True))
        if self._names is not None:
            meant = torch.softmax(self._names(states[:1]), -1)[0, 1:]
            best = meant.topk(min(_NAMES_TOLD, len(meant)))
            named = {self.config.names[i]: p for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)}
        return codes, named


class DeepStates:
    """A transformers decoder whose ``last_hidden_state`` holds behind each state those of ``depths`` below it."""

    def __init__(self, decoder: Any, depths: tuple[int, ...]) -> None:
        self._decoder, self._depths = decoder, depths

    def __call__(self, **given: Any) -> Any:
        """As the decoder's: (1, M, H + D H) instead of (1, M, H)."""
        out = self._decoder(output_hidden_states=True, **given)
        out.last_hidden_state = torch.cat([out.last_hidden_state, *(out.hidden_states[d] for d in self._depths)], -1)
        return out


def save_trained(
    path: Path, model: nn.Module, token: Tensor, head: PoseHead, codes: ClassHead | None, names: ClassHead | None,
    config: PoseLMConfig, reader: Reader | None = None,
) -> None:  # fmt: skip
    """Writes the trained part in float16: LoRA, the pose token's embedding (hidden,), the heads."""
    state = {f"lora.{k}": v for k, v in lora.adapter_state(model).items()}
    state["token.pose"] = token.detach()
    state |= {f"head.{k}": v for k, v in head.state_dict().items()}
    state |= {f"codes.{k}": v for k, v in codes.state_dict().items()} if codes else {}
    state |= {f"names.{k}": v for k, v in names.state_dict().items()} if names else {}
    state |= {f"reader.{k}": v for k, v in reader.state_dict().items()} if reader else {}
    half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in state.items()}
    part = path.with_suffix(".part")
    save_file(half, part, metadata={_METADATA_KEY: config.to_json()})
    part.replace(path)


def read_trained(path: Path) -> tuple[PoseLMConfig, dict[str, Tensor]]:
    """The header and the tensors of ``save_trained``. Raises ModelFileError."""
    try:
        with safe_open(path, framework="pt") as f:
            header = (f.metadata() or {}).get(_METADATA_KEY)
        if header is None:
            raise ModelFileError(f"'{path.name}' holds no ChatPose weights.")
        return PoseLMConfig.from_json(header), load_file(path)
    except (OSError, ValueError, TypeError, LookupError, RuntimeError, MemoryError, SafetensorError) as error:
        raise (
            error
            if isinstance(error, ModelFileError)
            else ModelFileError(f"'{path.name}' cannot be read as ChatPose weights: it is damaged or of another kind.")
        ) from error


def build(
    name: str, backbone: Any, tokenizer: Any, config: PoseLMConfig, state: Mapping[str, Tensor], licence: str = ""
) -> PoseLM:
    """Puts a trained part on its backbone: token row appended, LoRA merged, heads made. Raises ModelFileError."""
    if backbone.config.hidden_size != config.hidden:
        raise ModelFileError(
            f"These weights belong to a backbone {config.hidden} wide; this one is {backbone.config.hidden_size}."
        )
    try:
        add_pose_token(backbone, state["token.pose"])
        lora.merge(backbone, {k.removeprefix("lora."): v for k, v in state.items() if k.startswith("lora.")})
        told = len(config.codes) if config.told else 0
        head = PoseHead(config.hidden, config.inner, config.joints, config.hypotheses, told)
        head.load_state_dict({k.removeprefix("head."): v.float() for k, v in state.items() if k.startswith("head.")})
        codes = ClassHead(config.hidden, config.inner, len(config.codes)) if config.codes else None
        names = ClassHead(config.hidden, config.inner, len(config.names) + 1) if config.names else None
        reader = Reader(config.hidden, config.reader).eval() if config.reader else None
        for part, prefix in ((codes, "codes."), (names, "names."), (reader, "reader.")):
            if part:
                part.load_state_dict(
                    {k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)}
                )
    except (KeyError, RuntimeError, AttributeError) as error:
        raise ModelFileError("These ChatPose weights do not fit this backbone; they are of another version.") from error
    return PoseLM(name, backbone, tokenizer, head, codes, names, config, reader=reader, licence=licence)


def add_pose_token(model: Any, embedding: Tensor) -> None:
    """Appends one row to the vocabulary (and to its tied twin, the output matrix)."""
    rows = model.get_input_embeddings().weight.shape[0]
    model.resize_token_embeddings(rows + 1, mean_resizing=False)
    with torch.no_grad():
        for weight in {
            id(w): w for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        }.values():
            weight[rows] = embedding.to(device=weight.device, dtype=weight.dtype)


def _split_specials(text: str, specials: tuple[str, ...]) -> list[str]:
    """Cuts inside every special token, so that no piece holds a whole one."""
    cuts: set[int] = set()
    for special in specials:
        at = text.find(special)
        while at >= 0 and len(special) > 1:
            cuts.add(at + 1)
            at = text.find(special, at + 1)
    edges = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges) if b > a]
