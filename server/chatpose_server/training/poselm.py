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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from .. import rotations as rot
from ..body import default_body
from ..language import lora
from ..language.head import ClassHead, HeadOutput, PoseHead
from ..language.loading import load_backbone
from ..language.poselm import PoseLM, PoseLMConfig, add_pose_token, save_trained
from ..language.reader import Reader
from ..models.catalogue import DEFAULT_LANGUAGE_MODEL
from ..posecodes.measure import measure
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
_ASKED_WEIGHT: Final = 0.1  # an asked statement missed by one unit of _MISS weighs like 10 degrees of every joint
_MISS: Final = {"deg": 10.0, "m": 0.04, "ratio": 0.15}
_INSIDE: Final = 0.3  # units inside its interval that a value is aimed
_MOST_MISSED: Final = 4.0  # units that no miss ever reaches: one hopeless statement must not outweigh the others
_REFIT_BATCH: Final = 128
_REFIT_RATE: Final = 1e-3
_REFIT_DECAY: Final = 1e-3
_REFIT_NOISE: Final = 0.1  # of a state's own spread
_REFIT_DROPOUT: Final = 0.15
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
    inner: int = 576
    seed: int = 0
    warmup: int = 60
    bfloat16: bool = True
    floor: float = 0.05  # the learning rate's last share
    reader: tuple[int, int, int] = (12, 32, 2)  # attention heads, their width, looks; no heads: no reader
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
            reader=settings.reader,
            codes=tuple(source.code_names),
            names=tuple(source.pose_names), recipe=recipe,
        )  # fmt: skip
        add_pose_token(model, model.get_input_embeddings().weight.float().mean(0))
        lora.inject(model.get_decoder(), LORA_TARGETS, settings.rank, settings.alpha)
        if settings.top_layers:
            for layer in model.get_decoder().layers[: -settings.top_layers]:
                layer.requires_grad_(False)
        self.model = model
        self.token = torch.nn.Parameter(model.get_input_embeddings().weight[-1].detach().float().clone())
        self.head = PoseHead(hidden, settings.inner, len(BODY_JOINTS), settings.hypotheses)
        self.codes = ClassHead(hidden, settings.inner, len(source.code_names)) if source.code_names else None
        self.names = ClassHead(hidden, settings.inner, len(source.pose_names) + 1) if source.pose_names else None
        self.reader = Reader(hidden, *settings.reader) if settings.reader[0] else None
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
        self._terms = AskedTerms(source.code_names) if source.code_names else None
        self.step = 0
        self._start_heads()

    def _start_heads(self) -> None:
        """The heads begin at real poses (one for each hypothesis) and at the codes' base rates."""
        batch = self.source.sample(256, torch.Generator().manual_seed(self.settings.seed))
        with torch.no_grad():
            mean = batch.matrot.mean(0)
            some = batch.matrot[: self.settings.hypotheses]
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
            ids = [torch.tensor([self.words.encode_conversation((), text)]) for text in batch.texts]
            reader.calibrate(
                torch.cat([self.model.get_decoder()(input_ids=i, use_cache=False).last_hidden_state[0] for i in ids])
            )

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
        embeds = self.model.get_input_embeddings()(ids)
        is_pose = (ids == self.words.pose_id)[..., None]
        embeds = torch.where(is_pose, self.token.to(embeds.dtype), embeds)
        states = self.model.get_decoder()(inputs_embeds=embeds, use_cache=False).last_hidden_state
        rows = torch.cat([torch.full((len(t),), i) for i, t in enumerate(targets)])
        columns = torch.cat([torch.arange(len(s) - len(t), len(s)) for s, t in zip(sequences, targets, strict=True)])
        wanted = torch.tensor([token for t in targets for token in t])
        picked = states[rows, columns]
        logits = self.model.lm_head(picked).float()
        logits = torch.cat([logits[:, :-1], (picked.float() @ self.token)[:, None]], 1)  # the pose token's own row
        token_loss = F.cross_entropy(logits, wanted)
        poses = wanted == self.words.pose_id
        state, owner = picked[poses], rows[poses]
        if not len(owner):  # a slice of plain chat
            return _TOKEN_WEIGHT * token_loss, {"token": float(token_loss.detach())}
        if self.reader:
            there = torch.arange(longest) <= columns[poses][:, None]  # (P, T) the words before each pose token
            state = self.reader(state, states[owner], there)
        total, parts = self._head_losses(state, batch.matrot[owner], batch.codes[owner], batch.names[owner])
        parts["token"] = float(token_loss.detach())
        return total + _TOKEN_WEIGHT * token_loss, parts

    def _head_losses(
        self, state: Tensor, matrot: Tensor, asked: Tensor, named: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """Pose, posecodes and names from states (B, hidden): the loss and its parts."""
        out = self.head(state)
        pose_loss, choice_loss, degrees = _pose_loss(out, matrot)
        total = pose_loss + _CHOICE_WEIGHT * choice_loss
        parts = {"pose": float(pose_loss.detach()), "degrees": degrees}
        if self._terms is not None and (asked == 1).any():
            missed, held = self._terms.missed(out, asked == 1)
            total = total + _ASKED_WEIGHT * missed
            parts |= {"missed": float(missed.detach()), "held": held}
        known = ~asked.isnan()
        if self.codes and known.any():
            # Summed over codes: a caption asks for a handful of them, whatever the vocabulary's size is.
            each = F.binary_cross_entropy_with_logits(self.codes(state), asked.nan_to_num(), reduction="none")
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
    def refit_heads(self, pairs: int, epochs: int) -> None:
        """Trains the heads to convergence on states that are computed once, the language model standing still.

        A step of the whole model costs a second for each handful of words, a step of the heads milliseconds: after a
        short run the states are far better than what the heads have learnt to read from them. Saves at the end.
        """
        generator = torch.Generator().manual_seed(self.settings.seed + 77)
        words, batch = self._all_states(pairs, generator)
        last = torch.stack([w[-1] for w in words]).float()
        mean, spread = last.mean(0), last.std(0) + 1e-3
        if self.reader is None:
            self._fold(mean, spread, into_normal=True)
        optimiser = torch.optim.AdamW(
            [p for part in self._readers() for p in part.parameters()], lr=_REFIT_RATE, weight_decay=_REFIT_DECAY
        )
        steps = epochs * math.ceil(len(words) / _REFIT_BATCH)
        start = time.monotonic()
        for step in range(steps):
            pick = torch.randint(len(words), (_REFIT_BATCH,), generator=generator)
            if self.reader:
                chosen = [words[i] for i in pick.tolist()]
                there = torch.arange(max(map(len, chosen))) < torch.tensor([len(w) for w in chosen])[:, None]
                state = self.reader(last[pick], pad_sequence(chosen, batch_first=True), there)
            else:
                state = (last[pick] - mean) / spread
            noisy = state + _REFIT_NOISE * torch.randn(len(pick), state.shape[1], generator=generator)
            noisy = F.dropout(noisy, _REFIT_DROPOUT)
            total, parts = self._head_losses(noisy, batch.matrot[pick], batch.codes[pick], batch.names[pick])
            optimiser.zero_grad()
            total.backward()
            for group in optimiser.param_groups:
                group["lr"] = _REFIT_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            optimiser.step()
            if step % 200 == 0 or step == steps - 1:
                line = {"refit": step, "of": steps, "s": round(time.monotonic() - start, 1)}
                with (self.out / "log.jsonl").open("a", encoding="utf-8") as f:
                    f.write(json.dumps(line | {k: round(v, 4) for k, v in parts.items()}) + "\n")
        if self.reader is None:
            self._fold(mean, spread, into_normal=False)
        self.save()

    def _all_states(self, pairs: int, generator: torch.Generator) -> tuple[list[Tensor], Batch]:
        """States (T, hidden) of the words of fresh pairs and of every named wording, and what they should give."""
        batches = [self.source.sample(64, generator) for _ in range(pairs // 64)]
        batches += list(self.source.every_name(64, generator))
        kept: list[Tensor] = []
        matrot: list[Tensor] = []
        codes: list[Tensor] = []
        names: list[Tensor] = []
        with torch.no_grad():
            for batch in batches:
                use = [i for i, reply in enumerate(batch.replies) if reply is None]
                use.sort(key=lambda i, texts=batch.texts: len(texts[i]))
                for at in range(0, len(use), _SLICE):
                    part = use[at : at + _SLICE]
                    ids = [self.words.encode_conversation((), batch.texts[i]) for i in part]
                    longest = max(map(len, ids))
                    padded = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
                    hidden = self.model.get_decoder()(input_ids=padded, use_cache=False).last_hidden_state
                    kept += [hidden[row, : len(i)].clone() for row, i in enumerate(ids)]
                    matrot.append(batch.matrot[part])
                    codes.append(batch.codes[part])
                    names.append(batch.names[part])
        made = Batch([], [], torch.cat(matrot), torch.cat(codes), torch.cat(names))
        return kept, made

    def _fold(self, mean: Tensor, spread: Tensor, *, into_normal: bool) -> None:
        """Rewrites the heads' first layers for states with their mean and spread taken out, or back again."""
        with torch.no_grad():
            for head in (self.head, self.codes, self.names):
                if head is None:
                    continue
                first = head.layers[0]
                assert isinstance(first, torch.nn.Linear)
                if into_normal:
                    first.bias.add_(first.weight @ mean)
                    first.weight.mul_(spread)
                else:
                    first.weight.div_(spread)
                    first.bias.sub_(first.weight @ mean)

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
            "step": self.step, "settings": asdict(self.settings), "token": self.token.detach(),
            "lora": lora.adapter_state(self.model), "head": self.head.state_dict(),
            "codes": self.codes.state_dict() if self.codes else {}, "code_names": list(self.config.codes),
            "names": self.names.state_dict() if self.names else {},
            "reader": self.reader.state_dict() if self.reader else {},
            "pose_names": list(self.config.names),
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        part = self.out / "resume.part"
        torch.save(state, part)
        part.replace(self.out / "resume.pt")

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
        elif self.reader:  # the heads had read plain states
            self._calibrate(self.reader)
            self._fold(self.reader.mean, self.reader.spread, into_normal=True)
        if keep_step:
            self.step = state["step"]
        if (
            keep_step
            and same
            and bool(self.reader) == bool(state.get("reader"))
            and state["settings"].get("top_layers", 0) == self.settings.top_layers
        ):
            self.optimiser.load_state_dict(state["optimiser"])


class AskedTerms:
    """How far poses are from the posecodes that their words ask for, differentiably, through forward kinematics."""

    def __init__(self, code_names: Sequence[str]) -> None:
        column = {name: i for i, name in enumerate(QUANTITIES)}
        terms = [(row, t) for row, n in enumerate(code_names) for t in (POSECODES[n].terms if n in POSECODES else ())]
        unit = [QUANTITIES[t.quantity] for _, t in terms]
        self._row = torch.tensor([row for row, _ in terms], dtype=torch.long)
        self._column = torch.tensor([column[t.quantity] for _, t in terms], dtype=torch.long)
        self._lo = torch.tensor([t.lo for _, t in terms])
        self._hi = torch.tensor([t.hi for _, t in terms])
        self._tolerance = torch.tensor([q.tolerance for q in unit])
        self._scale = torch.tensor([_MISS[q.unit] for q in unit])
        room = (self._hi - self._lo).clamp(max=1e4) / 2
        self._inside = torch.minimum(_INSIDE * self._scale, room)

    def missed(self, out: HeadOutput, asked: Tensor) -> tuple[Tensor, float]:
        """Of the hypotheses that would be chosen: the mean miss in units, and the share of statements that hold.

        ``asked`` (B, N) bool.
        """
        chosen = out.matrot[torch.arange(len(asked)), out.logits.argmax(1)]  # (B, 22, 3, 3)
        values = measure(chosen)[:, self._column]  # (B, T)
        of = asked[:, self._row]  # (B, T) the terms of what is asked
        outside = torch.relu(self._lo + self._inside - values) + torch.relu(values - self._hi + self._inside)
        units = torch.where(of, outside / self._scale, 0.0)
        units = units * _MOST_MISSED / (_MOST_MISSED + units)
        count = of.sum().clamp(min=1)
        wrong = (values < self._lo - self._tolerance) | (values > self._hi + self._tolerance)
        held = 1 - float((wrong & of).sum() / count)
        return units.sum() / count, held


def _pose_loss(out: HeadOutput, target: Tensor) -> tuple[Tensor, Tensor, float]:
    """Winner takes (nearly) all over hypotheses; the choice's cross entropy; mean joint error of the winner,
    degrees.
    """
    b, k = out.logits.shape
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
    parser.add_argument(
        "--refit", type=int, default=0, metavar="PAIRS", help="at the end, train the heads on so many pairs"
    )
    parser.add_argument("--refit-epochs", type=int, default=24)
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 instructions")
    args = parser.parse_args(argv)
    from .caption_pairs import CaptionPairs
    from .named_poses import judged_prompts

    args.out.mkdir(parents=True, exist_ok=True)
    settings = replace(
        Settings(), base=args.base, steps=args.steps, batch=args.batch, seed=args.seed, rate=args.rate,
        head_rate=args.head_rate, bfloat16=not args.float32, top_layers=args.top_layers,
    )  # fmt: skip
    recipe = (
        f"chatpose-server train poselm --steps {args.steps} --batch {args.batch} --seed {args.seed} --rate {args.rate}"
    )
    recipe += f" --top-layers {args.top_layers}" if args.top_layers else ""
    recipe += f" --refit {args.refit} --refit-epochs {args.refit_epochs}" if args.refit else ""
    source = CaptionPairs.from_folder(args.data, args.named, args.solved, judged_prompts(args.exclude))
    trainer = Trainer(settings, source, args.out, recipe, team=Team("cpu"))
    if args.resume:
        trainer.resume(args.resume, keep_step=not args.restart_schedule)
    trainer.run(args.seconds)
    if args.refit and trainer.team.leads:
        trainer.refit_heads(args.refit, args.refit_epochs)
    return 0
