"""Trains a PoseLM: LoRA on every linear layer, the pose token, the pose and posecode heads. Resumable.

Loss (ChatPose's recipe, widened): cross entropy of the token that opens the answer, L1 on rotation matrices, L1 on
joint positions, binary cross entropy on posecodes. Of several hypotheses the best one learns (the others a little), so
that words which allow several poses get several poses and not their mean.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from .. import rotations as rot
from ..body import default_body
from ..language import lora
from ..language.head import ClassHead, HeadOutput, PoseHead
from ..language.loading import load_backbone
from ..language.poselm import DeepStates, PoseLM, PoseLMConfig, add_pose_token, save_trained
from ..language.reader import Reader, ReaderShape, pad_words
from ..models.catalogue import DEFAULT_LANGUAGE_MODEL
from ..posecodes.measure import measure
from ..posecodes.missed import UNIT, Terms, bounded
from ..posecodes.vocabulary import POSECODES, QUANTITIES
from ..skeleton import BODY_JOINTS
from .pairs import Batch, PairSource
from .team import Team

LORA_TARGETS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_WTA_LEAK: Final = 0.05  # share of the loss that every hypothesis gets, so that none starves
_POSITION_WEIGHT: Final = 2.0  # metres against matrix entries: 10 cm at a wrist weighs like 10 degrees
_ANGLE_WEIGHT: Final = 1.0
_TOKEN_WEIGHT: Final = 0.1
_CHOICE_WEIGHT: Final = 0.05
_CODE_WEIGHT: Final = 0.04
_NAME_WEIGHT: Final = 0.15
_ASKED_WEIGHT: Final = 0.1  # an asked statement missed by one unit weighs like 10 degrees of every joint
_INSIDE: Final = 0.3  # units inside its interval that a value is aimed
_UNNATURAL_WEIGHT: Final = 0.05  # joints out of range and limbs inside each other, in the same units
_HEADS_BATCH: Final = 64
_HEADS_POOL: Final = 16  # batches drawn at a time and sorted by length, so that little is spent on padding
_HEADS_DECAY: Final = 1e-2
_HEADS_NOISE: Final = 0.1  # of a state's own spread
_HEADS_DROPOUT: Final = 0.1
_SLICE: Final = 16  # rows in one forward; more only pads more on a CPU


@dataclass(frozen=True)
class Settings:
    """One run. Everything that decides the weights, so that the file can name how it was made."""

    base: str = DEFAULT_LANGUAGE_MODEL
    steps: int = 4000
    batch: int = 64
    rate: float = 6e-4
    head_rate: float = 1.5e-3
    rank: int = 16
    alpha: float = 32.0
    hypotheses: int = 6
    inner: int = 768
    seed: int = 0
    warmup: int = 60
    bfloat16: bool = True
    floor: float = 0.05  # the learning rate's last share
    reader: ReaderShape | None = field(default_factory=ReaderShape)
    told: bool = True  # the pose head reads what the posecode head says
    device: str = ""  # of the language model; empty: a CUDA card when there is one
    top_layers: int = 0  # train the adapters of this many last layers only (0: all); what is below costs no backward


class Trainer:
    """Holds the model, the optimiser and the step; ``run`` goes on until the steps or the seconds are used up."""

    def __init__(
        self,
        settings: Settings,
        source: PairSource,
        out: Path,
        recipe: str = "",
        backbone: tuple[Any, Any] | None = None,
        team: Team | None = None,
    ) -> None:
        """``backbone``: a transformers model and a ``tokenizers.Tokenizer``, default: the catalogue's
        ``settings.base``. ``team``: each of its processes takes ``settings.batch`` rows of its own to a step.
        """
        torch.manual_seed(settings.seed)
        self.settings, self.source, self.out, self.team = settings, source, out, team or Team()
        dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        model, tokenizer = backbone or load_backbone(settings.base, dtype)
        model.requires_grad_(False)
        hidden: int = model.config.hidden_size
        self.config = PoseLMConfig(
            base=settings.base, hidden=hidden, inner=settings.inner, hypotheses=settings.hypotheses,
            reader=settings.reader, told=settings.told,
            codes=tuple(source.code_names),
            names=tuple(source.pose_names), recipe=recipe,
        )  # fmt: skip
        add_pose_token(model, model.get_input_embeddings().weight.float().mean(0))
        lora.inject(model.get_decoder(), LORA_TARGETS, settings.rank, settings.alpha)
        if settings.top_layers:
            for layer in model.get_decoder().layers[: -settings.top_layers]:
                layer.requires_grad_(False)
        # Graphics cards take the language model; the heads and their kinematics are small and stay on the processor.
        cards = torch.cuda.device_count()
        own_card = f"cuda:{self.team.rank % cards}" if cards else "cpu"
        self.device = torch.device(settings.device or own_card)
        self.model = model.to(self.device)
        self.token = torch.nn.Parameter(model.get_input_embeddings().weight[-1].detach().float().clone())
        told = len(source.code_names) if settings.told else 0
        self.head = PoseHead(hidden, settings.inner, len(BODY_JOINTS), settings.hypotheses, told)
        self.codes = ClassHead(hidden, settings.inner, len(source.code_names)) if source.code_names else None
        self.names = ClassHead(hidden, settings.inner, len(source.pose_names) + 1) if source.pose_names else None
        self.reader = Reader(hidden, settings.reader) if settings.reader else None
        self.words = PoseLM(
            "training", model, tokenizer, self.head, self.codes, self.names, self.config
        )  # for its tokenising
        if self.reader:
            self._calibrate(self.reader)
        adapters = [p for p in model.parameters() if p.requires_grad]
        heads = [p for h in self._readers() for p in h.parameters()] + [self.token]
        self.optimiser = torch.optim.AdamW(
            [{"params": adapters, "lr": settings.rate}, {"params": heads, "lr": settings.head_rate}],
            weight_decay=0.0, betas=(0.9, 0.98),
        )  # fmt: skip
        self._rates = [g["lr"] for g in self.optimiser.param_groups]
        self._terms = AskedTerms(source.code_names) if set(source.code_names) & set(POSECODES) else None
        self.step = self.heads_step = 0
        self._start_heads()
        self._heads_optimiser = torch.optim.AdamW(
            [p for part in self._readers() for p in part.parameters()], lr=settings.head_rate,
            weight_decay=_HEADS_DECAY, betas=(0.9, 0.98),
        )  # fmt: skip

    def _start_heads(self) -> None:
        """The heads begin at real poses (one for each hypothesis) and at the codes' base rates."""
        batch = self.source.sample(256, torch.Generator().manual_seed(self.settings.seed))
        with torch.no_grad():
            shown = batch.matrot[~batch.matrot[:, 0, 0, 0].isnan()]
            mean, some = shown.mean(0), shown[: self.settings.hypotheses]
            start = rot.matrot_to_rot6d_columns(0.7 * mean + 0.3 * some)
            self.head.start_at(start)
            if self.codes:
                base = batch.codes.nan_to_num(0.0).mean(0).clamp(1e-3, 0.5)
                last = self.codes.layers[-1]
                assert isinstance(last, torch.nn.Linear)
                last.bias.copy_(torch.log(base / (1 - base)))

    def _readers(self) -> list[torch.nn.Module]:
        """What reads the language model's states: the heads, and the reader in front of them."""
        return [part for part in (self.head, self.codes, self.names, self.reader) if part]

    def _calibrate(self, reader: Reader) -> None:
        batch = self.source.sample(32, torch.Generator().manual_seed(self.settings.seed))
        with torch.no_grad():
            read = [self._states(self.words.encode_conversation((), text)) for text in batch.texts]
            reader.calibrate(torch.stack([state for state, _ in read]), torch.cat([words for _, words in read]))

    @property
    def _deep(self) -> DeepStates:
        """The language model, with the reader's depths behind every state."""
        return DeepStates(self.model.get_decoder(), self.reader.shape.depths if self.reader else ())

    def _states(self, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The last state (H,) of one prompt and its words' states (T, D, H), without gradients."""
        with torch.no_grad():
            given = torch.tensor([list(ids)], device=self.device)
            every = self._deep(input_ids=given, use_cache=False).last_hidden_state[0].cpu()
        return every[-1, : self.config.hidden], every[:, self.config.hidden :].unflatten(1, (-1, self.config.hidden))

    # -- one step ------------------------------------------------------------------------------------------------
    def backward(self, batch: Batch) -> dict[str, float]:
        """Gradients of a batch, in slices of like length so that little is spent on padding; gives the loss's parts."""
        order = sorted(range(len(batch.texts)), key=lambda i: len(batch.texts[i]) + 10 * len(batch.replies[i] or ""))
        parts: dict[str, float] = {}
        for at in range(0, len(order), _SLICE):
            index = order[at : at + _SLICE]
            slice_ = Batch(
                [batch.texts[i] for i in index], [batch.replies[i] for i in index], batch.matrot[index],
                batch.codes[index], batch.names[index],
            )  # fmt: skip
            share = len(index) / len(order)
            total, some = self.loss(slice_)
            (total * share).backward()
            for key, value in some.items():
                parts[key] = parts.get(key, 0.0) + value * share
        return parts

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch and its parts, for the log."""
        sequences, targets = self._tokens(batch)
        longest = max(len(s) for s in sequences)
        ids = torch.zeros(len(sequences), longest, dtype=torch.long)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        # Right padding and causal attention: what stands after a row's end is never seen by it.
        ids = ids.to(self.device)
        embeds = self.model.get_input_embeddings()(ids)
        is_pose = (ids == self.words.pose_id)[..., None]
        embeds = torch.where(is_pose, self.token.to(embeds), embeds)
        every = self._deep(inputs_embeds=embeds, use_cache=False).last_hidden_state
        rows = torch.cat([torch.full((len(t),), i) for i, t in enumerate(targets)])
        columns = torch.cat([torch.arange(len(s) - len(t), len(s)) for s, t in zip(sequences, targets, strict=True)])
        wanted = torch.tensor([token for t in targets for token in t])
        picked = every[rows.to(self.device), columns.to(self.device), : self.config.hidden]
        logits = self.model.lm_head(picked).float().cpu()
        picked, every = picked.float().cpu(), every.float().cpu()
        logits = torch.cat([logits[:, :-1], (picked @ self.token)[:, None]], 1)  # the pose token's own row
        token_loss = F.cross_entropy(logits, wanted)
        poses = wanted == self.words.pose_id
        state, owner = picked[poses], rows[poses]
        if not len(owner):  # a slice of plain chat
            return _TOKEN_WEIGHT * token_loss, {"token": float(token_loss.detach())}
        if self.reader:
            there = torch.arange(longest) <= columns[poses][:, None]  # (P, T) the words before each pose token
            words = every[owner, :, self.config.hidden :].unflatten(2, (-1, self.config.hidden))
            state = self.reader(state, words, there)
        total, parts = self._head_losses(state, batch.matrot[owner], batch.codes[owner], batch.names[owner])
        parts["token"] = float(token_loss.detach())
        return total + _TOKEN_WEIGHT * token_loss, parts

    def _head_losses(
        self, state: Tensor, matrot: Tensor, asked: Tensor, named: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Pose, posecodes and names from states (B, hidden): the loss and its parts."""
        understood = self.codes(state) if self.codes else None
        told = None
        if understood is not None and self.config.told:
            # Half of the rows are told what was really asked, without any words: what a statement means for a body.
            told = torch.sigmoid(understood.detach())
            taught = (torch.rand(len(state), 1) < 0.5) & (asked == 1).any(1, keepdim=True)
            sure = 1 - 0.6 * torch.rand_like(told)  # a head is rarely quite sure of new wordings
            told = torch.where(taught, asked.nan_to_num() * sure, told)
            out = self.head(torch.where(taught, 0.0, state), told)
        else:
            out = self.head(state)
        shown = ~matrot[:, 0, 0, 0].isnan()
        pose_loss, choice_loss, degrees = _pose_loss(HeadOutput(out.matrot[shown], out.logits[shown]), matrot[shown])
        total = pose_loss + _CHOICE_WEIGHT * choice_loss
        parts = {"pose": float(pose_loss.detach()), "degrees": degrees}
        if self._terms is not None:
            missed, held, unnatural = self._terms.missed(out, asked == 1)
            total = total + _ASKED_WEIGHT * missed + _UNNATURAL_WEIGHT * unnatural
            parts |= {"missed": float(missed.detach()), "held": held, "unnatural": float(unnatural.detach())}
        known = ~asked.isnan()
        if understood is not None and known.any():
            # Summed over codes: a caption asks for a handful of them, whatever the vocabulary's size is.
            each = F.binary_cross_entropy_with_logits(understood, asked.nan_to_num(), reduction="none")
            code_loss = (each * known).sum() / known.any(1).sum()
            total = total + _CODE_WEIGHT * code_loss
            parts["codes"] = float(code_loss.detach())
        if self.names and (named >= 0).any():
            name_loss = F.cross_entropy(self.names(state), named, ignore_index=-1)
            total = total + _NAME_WEIGHT * name_loss
            parts["names"] = float(name_loss.detach())
        return total, parts

    def _tokens(self, batch: Batch) -> tuple[list[list[int]], list[list[int]]]:
        """What goes in (prompt and all answer tokens but the last) and what must come out (the answer)."""
        sequences: list[list[int]] = []
        targets: list[list[int]] = []
        for text, reply in zip(batch.texts, batch.replies, strict=True):
            prompt = self.words.encode_conversation((), text)
            answer = [self.words.pose_id] if reply is None else self.words.encode_answer(reply)
            sequences.append(prompt + answer[:-1])
            targets.append(answer)
        return sequences, targets

    # -- the loop ------------------------------------------------------------------------------------------------
    def run(
        self, seconds: float = math.inf, steps: float = math.inf, log_every: int = 20, save_every: int = 100
    ) -> None:
        """Trains to the end of the schedule, or for so long or so many steps; saves now and then and at the end."""
        log = self.out / "log.jsonl"
        start, last = time.monotonic(), time.monotonic()
        sums: dict[str, float] = {}
        last_step = min(self.settings.steps, self.step + steps)
        trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        while self.step < last_step and not self.team.is_over(seconds - (time.monotonic() - start)):
            generator = torch.Generator().manual_seed(
                self.settings.seed * 1_000_003 + self.step + 1 + self.team.rank * 1_000_000_007
            )
            batch = self.source.sample(self.settings.batch, generator)
            self.optimiser.zero_grad()
            torch.manual_seed(self.settings.seed * 1_000_003 + self.step + 1)
            parts = self.backward(batch)
            self.team.average_gradients(trained)
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * self._schedule()
            self.optimiser.step()
            self.step += 1
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value
            if self.step % log_every == 0 and self.team.leads:
                line = {"step": self.step, "s": round((time.monotonic() - last) / log_every, 2)}
                line |= {k: round(v / log_every, 4) for k, v in sums.items()}
                with log.open("a", encoding="utf-8") as f:
                    f.write(json.dumps(line) + "\n")
                sums, last = {}, time.monotonic()
            if self.step % save_every == 0:
                self.save()
        self.save()

    def _schedule(self) -> float:
        s = self.settings
        if self.step < s.warmup:
            return (self.step + 1) / s.warmup
        done = min(1.0, (self.step - s.warmup) / max(1, s.steps - s.warmup))
        return s.floor + (1 - s.floor) * 0.5 * (1 + math.cos(math.pi * done))

    # -- heads alone -------------------------------------------------------------------------------------------------
    def train_heads(
        self, steps: int, states: int, seconds: float = math.inf, at_most: float = math.inf, log_every: int = 100
    ) -> None:
        """Trains the reader and the heads up to ``steps``, the language model standing still; now for so long, or
        ``at_most`` so many steps.

        ``states``: of so many prompts the language model's own state is computed once and mixed in, a quarter of
        every batch. The other rows are fresh pairs whose state is left out (zeros): a forward of the language model
        costs a hundred times what a reader of embeddings costs, and that reader is what needs the many pairs.
        """
        seed = self.settings.seed * 1_000_003
        fresh = self.reader is not None and self.reader.shape.depths == (0,)
        kept_state, kept_words, kept = self._all_states(states, torch.Generator().manual_seed(seed))
        mean, spread = kept_state.mean(0), kept_state.std(0) + 1e-3
        if self.reader is None:
            self._fold(mean, spread, into_normal=True)
        elif self.heads_step == 0:
            self.reader.calibrate(kept_state, torch.cat(kept_words))
        start, last, sums = time.monotonic(), self.heads_step, dict[str, float]()
        pool: list[Batch] = []
        last_step = min(steps, self.heads_step + at_most)
        while self.heads_step < last_step and time.monotonic() - start < seconds:
            step = self.heads_step
            generator = torch.Generator().manual_seed(seed + step + 1)
            torch.manual_seed(seed + step + 1)  # for dropout and noise: a run that was cut off goes on as it would have
            pick = torch.randint(len(kept_state), (_HEADS_BATCH // 4 if fresh else _HEADS_BATCH,), generator=generator)
            state, use = (kept_state[pick] - mean) / spread, kept.rows(pick.tolist())
            chosen = [kept_words[i] for i in pick.tolist()]
            if self.reader:
                state = self.reader.whiten(kept_state[pick])
            if fresh:
                if not pool or step % _HEADS_POOL == 0:
                    pool = self._pool(torch.Generator().manual_seed(seed - 1 - step // _HEADS_POOL))
                batch = pool[step % _HEADS_POOL % len(pool)]
                chosen += [self._embedded(text) for text in batch.texts]
                state = torch.cat([state, torch.zeros(len(batch.texts), self.config.hidden)])
                use = use.joined(batch)
            if self.reader:
                state = self.reader.join(state, *pad_words(chosen))
            noisy = F.dropout(state + _HEADS_NOISE * torch.randn_like(state), _HEADS_DROPOUT)
            total, parts = self._head_losses(noisy, use.matrot, use.codes, use.names)
            self._heads_optimiser.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_([p for part in self._readers() for p in part.parameters()], 1.0)
            warm = min(1.0, (step + 1) / 100)
            for group in self._heads_optimiser.param_groups:
                share = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps))
                group["lr"] = self.settings.head_rate * warm * share
            self._heads_optimiser.step()
            self.heads_step += 1
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + value
            if self.heads_step % log_every == 0:
                line = {"heads": self.heads_step, "of": steps, "s": round(time.monotonic() - start, 1)}
                line |= {k: round(v / (self.heads_step - last), 4) for k, v in sums.items()}
                with (self.out / "log.jsonl").open("a", encoding="utf-8") as f:
                    f.write(json.dumps(line) + "\n")
                sums, last = {}, self.heads_step
            if self.heads_step % 1000 == 0 and self.reader:
                self.save()
        if self.reader is None:
            self._fold(mean, spread, into_normal=False)
        self.save()

    def _pool(self, generator: torch.Generator) -> list[Batch]:
        """Fresh pairs that ask for a pose, in batches of like length, in random order."""
        size = _HEADS_BATCH - _HEADS_BATCH // 4
        batch = self.source.sample(size * _HEADS_POOL, generator)
        rows = sorted((i for i, r in enumerate(batch.replies) if r is None), key=lambda i: len(batch.texts[i]))
        made = [batch.rows(rows[at : at + size]) for at in range(0, len(rows), size)]
        return [made[i] for i in torch.randperm(len(made), generator=generator).tolist()]

    def _embedded(self, text: str) -> Tensor:
        """(T, 1, H): the embeddings of a turn's words."""
        with torch.no_grad():
            ids = torch.tensor(self.words.encode_conversation((), text), device=self.device)
            return self.model.get_input_embeddings()(ids)[:, None].float().cpu()

    def _all_states(self, pairs: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor], Batch]:
        """Last states (N, H) and words' states of fresh pairs that ask for a pose, and what they should give."""
        batch = self.source.sample(pairs, generator)
        use = [i for i, reply in enumerate(batch.replies) if reply is None]
        read = [self._states(self.words.encode_conversation((), batch.texts[i])) for i in use]
        return torch.stack([s for s, _ in read]).float(), [w.float() for _, w in read], batch.rows(use)

    def _fold(self, mean: Tensor, spread: Tensor, *, into_normal: bool) -> None:
        """Rewrites the heads' first layers for states with their mean and spread taken out, or back again."""
        with torch.no_grad():
            for head in (self.head, self.codes, self.names):
                if head is None:
                    continue
                first = head.layers[0]
                assert isinstance(first, torch.nn.Linear)
                of_state = first.weight[:, : len(mean)]  # what a head is told by another stays as it is
                if into_normal:
                    first.bias.add_(of_state @ mean)
                    of_state.mul_(spread)
                else:
                    of_state.div_(spread)
                    first.bias.sub_(of_state @ mean)

    # -- checkpoints ---------------------------------------------------------------------------------------------
    def save(self) -> None:
        """``trained.safetensors`` (what ships) and ``resume.pt`` (float32 and the optimiser)."""
        if not self.team.leads:
            return
        save_trained(
            self.out / "trained.safetensors", self.model, self.token, self.head, self.codes, self.names, self.config,
            self.reader,
        )  # fmt: skip
        state = {
            "step": self.step, "heads_step": self.heads_step, "settings": asdict(self.settings),
            "token": self.token.detach(),
            "lora": lora.adapter_state(self.model), "head": self.head.state_dict(),
            "codes": self.codes.state_dict() if self.codes else {}, "code_names": list(self.config.codes),
            "names": self.names.state_dict() if self.names else {},
            "reader": self.reader.state_dict() if self.reader else {},
            "pose_names": list(self.config.names),
            "optimiser": self.optimiser.state_dict(), "heads_optimiser": self._heads_optimiser.state_dict(),
        }  # fmt: skip
        part = self.out / "resume.part"
        torch.save(state, part)
        part.replace(self.out / "resume.pt")

    def start_from(self, path: Path) -> None:
        """Takes the language model's adapters and the pose token of finished weights; reader and heads start fresh."""
        state = load_file(path)
        prefix = "lora."
        lora.load_adapter(self.model, {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        with torch.no_grad():
            self.token.copy_(state["token.pose"])

    def resume(self, path: Path, *, keep_step: bool = True) -> None:
        """Goes on from ``resume.pt``. Posecodes and names that the file does not know start fresh."""
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        lora.load_adapter(self.model, state["lora"])
        self.head.load_state_dict(state["head"])
        with torch.no_grad():
            self.token.copy_(state["token"])
        same = state["code_names"] == list(self.config.codes) and state.get("pose_names") == list(self.config.names)
        if self.codes and state["codes"]:
            self.codes.take_rows(state["codes"], state["code_names"], self.config.codes)
        if self.names and state.get("names"):
            self.names.take_rows(state["names"], ["", *state["pose_names"]], ["", *self.config.names])
        if self.reader and state.get("reader"):
            self.reader.load_state_dict(state["reader"])
        if keep_step:
            self.step = state["step"]
        if (
            keep_step
            and same
            and bool(self.reader) == bool(state.get("reader"))
            and state["settings"].get("top_layers", 0) == self.settings.top_layers
        ):
            self.optimiser.load_state_dict(state["optimiser"])
            self.heads_step = state["heads_step"]
            self._heads_optimiser.load_state_dict(state["heads_optimiser"])


class AskedTerms:
    """How far poses are from the posecodes that their words ask for, differentiably, through forward kinematics."""

    def __init__(self, code_names: Sequence[str]) -> None:
        column = {name: i for i, name in enumerate(QUANTITIES)}
        self._limits, self._overlap = column["limits.violation"], column["penetration.depth"]
        self._terms = Terms(code_names, _INSIDE)

    def missed(self, out: HeadOutput, asked: Tensor) -> tuple[Tensor, float, Tensor]:
        """Of the hypotheses that would be chosen: the mean miss in units, the share of statements that hold, and how
        unnatural they are (joints out of range, limbs inside each other), in units too.

        ``asked`` (B, N) bool.
        """
        terms = self._terms
        every = measure(out.matrot[torch.arange(len(asked)), out.logits.argmax(1)])  # (B, Q)
        unnatural = torch.relu(every[:, self._limits]) / UNIT["deg"] + torch.relu(every[:, self._overlap]) / UNIT["m"]
        of = asked[:, terms.row]  # (B, T) the terms of what is asked
        units = torch.where(of, terms.units(every), 0.0)
        count = of.sum().clamp(min=1)
        values = every[:, terms.column]
        wrong = (values < terms.lo - terms.tolerance) | (values > terms.hi + terms.tolerance)
        held = 1 - float((wrong & of).sum() / count)
        return units.sum() / count, held, bounded(unnatural).mean()


def _pose_loss(out: HeadOutput, target: Tensor) -> tuple[Tensor, Tensor, float]:
    """Winner takes (nearly) all over hypotheses; the choice's cross entropy; mean joint error of the winner,
    degrees.
    """
    b, k = out.logits.shape
    if not b:
        return out.matrot.sum(), out.logits.sum(), 0.0
    body = default_body()
    made = body.forward_kinematics(out.matrot.flatten(0, 1)).joints.unflatten(0, (b, k))  # (B, K, 22, 3)
    with torch.no_grad():
        wanted = body.forward_kinematics(target).joints
    pelvis = made[:, :, :1] - wanted[:, None, :1]  # the pelvis is the root of both: only directions count
    position = (made - wanted[:, None] - pelvis).abs().mean((2, 3))  # (B, K)
    angle = (out.matrot - target[:, None]).abs().mean((2, 3, 4))
    each = _ANGLE_WEIGHT * angle + _POSITION_WEIGHT * position
    best = each.argmin(1)
    winner = each.gather(1, best[:, None])[:, 0]
    loss = ((1 - _WTA_LEAK) * winner + _WTA_LEAK * each.mean(1)).mean()
    choice = F.cross_entropy(out.logits, best)
    with torch.no_grad():
        chosen = out.matrot[torch.arange(b), best]
        degrees = math.degrees(float(rot.geodesic_angle(chosen, target).mean()))
    return loss, choice, degrees


def main(argv: Sequence[str] | None = None) -> int:
    """``chatpose-server train poselm``."""
    parser = argparse.ArgumentParser(prog="chatpose-server train poselm", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of pose files (our npz or AMASS)")
    parser.add_argument("--named", type=Path, help="solved lexicon (chatpose-server train named_poses)")
    parser.add_argument("--solved", type=Path, help="poses solved from posecodes (chatpose-server train solved_poses)")
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="files of prompts that no training text may come near"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and log")
    parser.add_argument("--base", default=DEFAULT_LANGUAGE_MODEL)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop (and save) after this long")
    parser.add_argument("--rate", type=float, default=Settings.rate)
    parser.add_argument("--head-rate", type=float, default=Settings.head_rate)
    parser.add_argument(
        "--top-layers", type=int, default=0, help="adapt the last N layers only; the rest stay as resumed"
    )
    parser.add_argument("--resume", type=Path, help="resume.pt of an earlier run")
    parser.add_argument("--restart-schedule", action="store_true", help="with --resume: weights only, a new schedule")
    parser.add_argument("--start", type=Path, help="finished weights whose adapters a new run begins with")
    parser.add_argument("--heads", type=int, default=0, metavar="STEPS", help="at the end, reader and heads alone")
    parser.add_argument(
        "--heads-states", type=int, default=4000, metavar="PAIRS", help="with --heads: prompts the model itself reads"
    )
    parser.add_argument("--device", default="", help="of the language model: cpu, cuda (the default if there), cuda:1")
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 instructions")
    args = parser.parse_args(argv)
    from .caption_pairs import CaptionPairs
    from .named_poses import judged_prompts

    args.out.mkdir(parents=True, exist_ok=True)
    settings = replace(
        Settings(), base=args.base, steps=args.steps, batch=args.batch, seed=args.seed, rate=args.rate,
        head_rate=args.head_rate, bfloat16=not args.float32, top_layers=args.top_layers, device=args.device,
    )  # fmt: skip
    recipe = (
        f"chatpose-server train poselm --steps {args.steps} --batch {args.batch} --seed {args.seed} --rate {args.rate}"
    )
    recipe += f" --head-rate {args.head_rate}"
    recipe += f" --top-layers {args.top_layers}" if args.top_layers else ""
    recipe += f" --heads {args.heads} --heads-states {args.heads_states}" if args.heads else ""
    source = CaptionPairs.from_folder(args.data, args.named, args.solved, judged_prompts(args.exclude))
    trainer = Trainer(settings, source, args.out, recipe, team=Team("cpu"))
    if args.start:
        trainer.start_from(args.start)
    if args.resume:
        trainer.resume(args.resume, keep_step=not args.restart_schedule)
    trainer.run(args.seconds)
    if args.heads and trainer.team.leads:
        trainer.train_heads(args.heads, args.heads_states, args.seconds)
    return 0
