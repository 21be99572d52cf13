"""Trains a LLaVA-type model to give poses: ChatPose's published recipe, for your own data. Resumable, merged, exported.

LoRA (rank 128, alpha 256, dropout 0.05) on q_proj and v_proj of the language model; the pose head and the rows of the
added tokens are trained whole; CLIP and projector stay. Loss = cross entropy of the answers + 0.1 (mean |R - R'| of the
body + mean |R - R'| of the root), L1 on rotation matrices. AdamW 3e-4 without decay. Source: ChatPose (CVPR 2024) and
the settings of its released scripts. Data: see ``llava_data``.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import rotations as rot
from ..language import conversation as talk
from ..language import llava_layout as layout
from ..language import lora
from ..language.devices import pick_device
from ..language.head import PoseHead
from ..language.llama_tokens import TOKENIZER_FILES, LlamaTokens
from ..language.published import CAMERA_FLIP, load_weights, make_head, memory_of
from ..language.vision_inputs import clip_processor, pixels
from ..progress import Progress, no_progress
from ..skeleton import BODY_JOINTS
from .llava_data import Example, LlavaData
from .pose_data import TrainingDataError

TARGETS: Final = ("q_proj", "v_proj")
ADDED_TOKENS: Final = (talk.POSE_TOKEN, "<im_start>", "<im_end>")
POSE_WEIGHT: Final = 0.1  # of the L1 terms beside the cross entropy
_PICTURES_KEPT: Final = 4096  # features of so many pictures stay in memory; CLIP is frozen, so they never change
_IGNORED: Final = -100


@dataclass(frozen=True)
class LlavaSettings:
    """One run; everything that decides the weights. The defaults are the published recipe's."""

    steps: int = 10_000
    batch: int = 16
    accumulate: int = 2
    rate: float = 3e-4
    head_rate: float = 3e-4
    rank: int = 128
    alpha: float = 256.0
    dropout: float = 0.05
    rates: tuple[float, float, float] = (1.0, 2.0, 1.0)  # text-pose, image-pose, plain talk
    longest: int = 1024  # positions; what is longer is cut at its end
    warmup: int = 100
    seed: int = 0


class LlavaTrainer:
    """A checkpoint on the way to another. ``base``: a ChatPose or plain LLaVA folder; ``out``: all that is written."""

    def __init__(
        self,
        base: Path,
        data: LlavaData,
        out: Path,
        settings: LlavaSettings | None = None,
        *,
        clip: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress = no_progress,
    ) -> None:
        settings = settings or LlavaSettings()
        self.settings, self.data, self.out = settings, data, out
        torch.manual_seed(settings.seed)
        place = pick_device(device, dtype)
        self.sources = layout.find_sources(layout.open_layout(base), clip, progress)
        need = memory_of(self.sources, place.dtype, kind=place.kind)
        self.model, head = load_weights(self.sources, place, "none", need, progress)
        self.tokenizer_folder = _with_added_tokens(base, out / "tokenizer")
        self.tokens = LlamaTokens(self.tokenizer_folder)
        hidden = self.sources.model_config.text_config.hidden_size
        self.head = (make_head(head) if head else PoseHead(hidden, hidden, layout.JOINTS)).to(place.torch_name).train()
        if not head:
            self.head.start_at(rot.matrot_to_rot6d_columns(_mean_pose(data)[None]))
        self.at = place.torch_name
        self._prepare()
        self.processor = clip_processor(self.sources.clip_folder, self.sources.model_config.vision_config.image_size)
        self._features: OrderedDict[tuple[Path, Any], Tensor] = OrderedDict()
        self.step = 0

    def _prepare(self) -> None:
        """Adds rows for new tokens, adapters, and the optimiser."""
        model, settings = self.model, self.settings
        model.requires_grad_(False)
        embed, out = model.get_input_embeddings(), model.lm_head
        rows = embed.weight.shape[0]
        for matrix in (embed, out):
            if self.tokens.size > rows:
                mean = matrix.weight.float().mean(0, keepdim=True).to(matrix.weight.dtype)
                grown = torch.cat([matrix.weight, mean.expand(self.tokens.size - rows, -1)])
                matrix.weight = nn.Parameter(grown.contiguous(), requires_grad=False)
        ids = [i for name in ADDED_TOKENS if (i := self.tokens.token_id(name)) is not None]
        self.added = torch.tensor(ids, device=self.at)
        self.pose_id = ids[0]
        self.rows_in = nn.Parameter(embed.weight[self.added].float())
        self.rows_out = nn.Parameter(out.weight[self.added].float())
        lora.inject(model.model.language_model, TARGETS, settings.rank, settings.alpha, settings.dropout)
        model.model.language_model.to(self.at)
        self._adapters = [p for p in model.parameters() if p.requires_grad]
        if self.at.startswith("cuda"):
            model.model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
        whole = [*self.head.parameters(), self.rows_in, self.rows_out]
        self.optimiser = torch.optim.AdamW(
            [{"params": self._adapters, "lr": settings.rate}, {"params": whole, "lr": settings.head_rate}],
            weight_decay=0.0,
        )
        self._rates = [group["lr"] for group in self.optimiser.param_groups]

    # -- one batch -----------------------------------------------------------------------------------------------
    def loss(self, examples: Sequence[Example]) -> tuple[Tensor, dict[str, float]]:
        """The loss and its parts, for the log."""
        read = [self._read(example) for example in examples]
        longest = max(len(labels) for _, labels in read)
        width = read[0][0].shape[-1]
        embeds = torch.zeros(len(read), longest, width, dtype=read[0][0].dtype, device=self.at)
        labels = torch.full((len(read), longest), _IGNORED, device=self.at)
        for i, (row, wanted) in enumerate(read):
            embeds[i, : len(wanted)] = row
            labels[i, : len(wanted)] = wanted
        # Right padding and causal attention: what stands after a row's end is never seen by it.
        states = self.model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        said = wanted != _IGNORED
        logits = self.model.lm_head(states[said]).float()
        logits[:, self.added] = states[said].float() @ self.rows_out.T
        token_loss = F.cross_entropy(logits, wanted[said])
        owner, at = (wanted == self.pose_id).nonzero(as_tuple=True)
        parts = {"token": float(token_loss.detach())}
        known = [i for i in range(len(owner)) if examples[int(owner[i])].matrot is not None]
        if not known:
            return token_loss, parts
        matrot = self.head(states[owner[known], at[known]]).matrot[:, 0]  # (P, 24, 3, 3), the camera's frame
        target = torch.stack([_target(examples[int(owner[i])]) for i in known]).to(matrot)
        gap = (matrot[:, : len(BODY_JOINTS)] - target).abs()
        pose_loss = gap[:, 1:].mean() + gap[:, 0].mean()
        angle = rot.geodesic_angle(matrot[:, : len(BODY_JOINTS)].detach(), target)
        parts |= {"pose": float(pose_loss.detach()), "degrees": math.degrees(float(angle.mean()))}
        return token_loss + POSE_WEIGHT * pose_loss, parts

    def _read(self, example: Example) -> tuple[Tensor, Tensor]:
        """(M, H) embeddings of the whole talk, and (M,) labels: answers only."""
        ids, labels = self._tokens(example)
        words = torch.tensor([0 if i is None else i for i in ids], device=self.at)
        embedded = self.model.get_input_embeddings()(words)
        new = (words[:, None] == self.added).float()  # (M, added)
        rows = (new @ self.rows_in).to(embedded.dtype)
        embedded = torch.where(new.any(1, keepdim=True), rows, embedded)
        wanted = torch.tensor(labels, device=self.at)
        if None in ids:
            spot = ids.index(None)
            features = self._look(example).to(embedded)
            gap = torch.full((len(features),), _IGNORED, device=self.at)
            embedded = torch.cat([embedded[:spot], features, embedded[spot + 1 :]])
            wanted = torch.cat([wanted[:spot], gap, wanted[spot + 1 :]])
        return embedded[: self.settings.longest], wanted[: self.settings.longest]

    def _tokens(self, example: Example) -> tuple[list[int | None], list[int]]:
        """The whole talk's ids (None for the picture) and labels; answers are found by encoding ever longer text."""
        system, ids, labels = talk.SYSTEM_PROMPTS["llava_v1"], list[int | None](), list[int]()
        for i in range(len(example.exchanges)):
            done = [*example.exchanges[:i], talk.Exchange(example.exchanges[i].question, None)]
            for exchanges, is_answer in ((done, False), (example.exchanges[: i + 1], True)):
                longer = self._encode(talk.prompt_text(system, exchanges, with_image=example.image is not None))
                new = longer[len(ids) :]
                labels += [token if is_answer and token is not None else _IGNORED for token in new]
                ids = longer
        return ids, labels

    def _encode(self, text: str) -> list[int | None]:
        ids: list[int | None] = []
        for i, stretch in enumerate(text.split(talk.IMAGE)):
            of_stretch = self.tokens.encode(stretch)
            ids += [None, *of_stretch[int(self.tokens.adds_bos) :]] if i else of_stretch
        return ids

    @torch.no_grad()
    def _look(self, example: Example) -> Tensor:
        assert example.image is not None
        key = (example.image, example.box)
        if key not in self._features:
            image = example.picture()
            tower = next(self.model.model.vision_tower.parameters())
            seen = pixels(self.processor, image).to(device=tower.device, dtype=tower.dtype) if image else None
            self._features[key] = self.model.get_image_features(pixel_values=seen).pooler_output[0].cpu()
            while len(self._features) > _PICTURES_KEPT:
                self._features.popitem(last=False)
        return self._features[key]

    # -- the loop ------------------------------------------------------------------------------------------------
    def run(self, seconds: float = math.inf, log_every: int = 20, save_every: int = 500) -> dict[str, float]:
        """Trains to the last step or for so long; logs to ``log.jsonl`` and saves. Gives the last step's loss parts."""
        self.out.mkdir(parents=True, exist_ok=True)
        start, parts = time.monotonic(), dict[str, float]()
        while self.step < self.settings.steps and time.monotonic() - start < seconds:
            generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.step + 1)
            self.optimiser.zero_grad()
            for _ in range(self.settings.accumulate):
                total, parts = self.loss(self.data.sample(self.settings.batch, generator))
                (total / self.settings.accumulate).backward()
            nn.utils.clip_grad_norm_([p for g in self.optimiser.param_groups for p in g["params"]], 1.0)
            for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * self._schedule()
            self.optimiser.step()
            self.step += 1
            if self.step % log_every == 0:
                with (self.out / "log.jsonl").open("a", encoding="utf-8") as f:
                    f.write(json.dumps({"step": self.step, **{k: round(v, 4) for k, v in parts.items()}}) + "\n")
            if self.step % save_every == 0:
                self.save()
        self.save()
        return parts

    def _schedule(self) -> float:
        """Linear up, then linear down to nothing: DeepSpeed's WarmupDecayLR, which the recipe uses."""
        s = self.settings
        return min((self.step + 1) / max(1, s.warmup), (s.steps - self.step) / max(1, s.steps - s.warmup), 1.0)

    # -- what is written -----------------------------------------------------------------------------------------
    def save(self) -> None:
        """``resume.pt``: the trained parts and the optimiser; plain tensors and numbers only."""
        state = {
            "step": self.step, "settings": asdict(self.settings), "lora": lora.adapter_state(self.model),
            "head": self.head.state_dict(), "rows_in": self.rows_in.detach(), "rows_out": self.rows_out.detach(),
            "optimiser": self.optimiser.state_dict(),
        }  # fmt: skip
        part = self.out / "resume.part"
        torch.save(state, part)
        part.replace(self.out / "resume.pt")

    def resume(self, path: Path) -> None:
        """Goes on from ``resume.pt``. Raises TrainingDataError when it belongs to another base."""
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.at, weights_only=True)
            lora.load_adapter(self.model, state["lora"])
            self.head.load_state_dict(state["head"])
            with torch.no_grad():
                self.rows_in.copy_(state["rows_in"])
                self.rows_out.copy_(state["rows_out"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise TrainingDataError(f"'{path}' cannot be resumed from: it is damaged or of another base.") from error

    def export(self, out: Path, progress: Progress = no_progress) -> None:
        """Writes the merged checkpoint, CLIP and head included, as a folder that ``serve --model`` takes."""
        needed = sum(p.numel() * p.element_size() for p in self.model.parameters())
        rows = self.model.get_input_embeddings().weight.shape[0]
        config = {**self.sources.layout.config, "vocab_size": rows, "out_dim": layout.POSE_NUMBERS}
        folders = self.tokenizer_folder, self.sources.clip_folder
        source = f"chatpose-server train llava_poselm --base {self.sources.layout.folder.name}, step {self.step}"
        layout.write_layout(out, self._merged(), config, *folders, needed, progress, source=source)

    @torch.no_grad()
    def _merged(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight under its name in the plain model: adapters added in float32, new tokens' rows put in."""
        adapters = lora.adapter_state(self.model)
        for name, weight in self.model.named_parameters():
            if name.endswith((".down", ".up")):
                continue
            plain = name.replace(".linear.weight", ".weight").replace(".linear.bias", ".bias")
            value = weight.detach()
            layer = name.removesuffix(".linear.weight")
            if f"{layer}.down" in adapters:
                delta = adapters[f"{layer}.up"].float() @ adapters[f"{layer}.down"].float()
                value = (value.float() + delta).to(weight.dtype)
            if weight is self.model.get_input_embeddings().weight or weight is self.model.lm_head.weight:
                is_in = weight is self.model.get_input_embeddings().weight
                value = value.clone()
                value[self.added] = (self.rows_in if is_in else self.rows_out).detach().to(value.dtype)
            yield plain, value.cpu()
        for name, weight in self.head.state_dict().items():
            yield f"head.{name}", weight.detach().float().cpu()


def _target(example: Example) -> Tensor:
    """(22, 3, 3) in the camera's frame, as the head speaks."""
    assert example.matrot is not None
    return torch.cat([(torch.tensor(CAMERA_FLIP) @ example.matrot[0])[None], example.matrot[1:]])


def _mean_pose(data: LlavaData) -> Tensor:
    """(24, 3, 3): where a new head begins; the two joints that are never read stay at rest."""
    known = [_target(example) for example in data.every()[:256]]
    mean = torch.stack(known).mean(0) if known else torch.eye(3).expand(len(BODY_JOINTS), 3, 3)
    return torch.cat([mean, torch.eye(3).expand(layout.JOINTS - len(BODY_JOINTS), 3, 3)])


def _with_added_tokens(base: Path, folder: Path) -> Path:
    """A copy of the vocabulary that has the pose token (and, where it has none of them, the two picture tokens)."""
    tokens = LlamaTokens(base)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    if tokens.token_id(talk.POSE_TOKEN) is None:
        path = folder / "added_tokens.json"
        added: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name in ADDED_TOKENS:
            added.setdefault(name, tokens.size + len([n for n in ADDED_TOKENS if n in added]))
        path.write_text(json.dumps(added, indent=1), encoding="utf-8")
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """``chatpose-server train llava_poselm``."""
    parser = argparse.ArgumentParser(prog="chatpose-server train llava_poselm", description=__doc__)
    parser.add_argument("--base", required=True, help="folder or hub name of a LLaVA-1.5 or ChatPose checkpoint")
    parser.add_argument("--clip", help="folder or hub name of its CLIP, if not the one its config.json names")
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="JSON lines; see training/llava_data.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for resume.pt, the log and 'merged'")
    for name in ("steps", "batch", "accumulate", "rank", "seed", "longest"):
        parser.add_argument(f"--{name}", type=int, default=getattr(LlavaSettings, name))
    for name in ("rate", "alpha", "dropout"):
        parser.add_argument(f"--{name}", type=float, default=getattr(LlavaSettings, name))
    parser.add_argument("--rates", type=float, nargs=3, default=LlavaSettings.rates, metavar=("TEXT", "IMAGE", "TALK"))
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop, save and export after this long")
    parser.add_argument("--resume", type=Path, help="resume.pt of an earlier run")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    rates = (args.rates[0], args.rates[1], args.rates[2])
    settings = LlavaSettings(
        steps=args.steps, batch=args.batch, accumulate=args.accumulate, rate=args.rate, head_rate=args.rate,
        rank=args.rank, alpha=args.alpha, dropout=args.dropout, rates=rates, longest=args.longest, seed=args.seed,
    )  # fmt: skip
    data = LlavaData(args.data, rates)
    base = layout.fetch(args.base)
    trainer = LlavaTrainer(base, data, args.out, settings, clip=args.clip, device=args.device)
    if args.resume:
        trainer.resume(args.resume)
    trainer.run(args.seconds)
    trainer.export(args.out / "merged")
    return 0
