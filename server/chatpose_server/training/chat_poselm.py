"""Teaches any language model to give poses: ChatPose's published recipe on your own data. Resumable, merged, exported.

LoRA (rank 128, alpha 256, dropout 0.05) on q_proj and v_proj of the language model; the pose head and the rows of the
added tokens are trained whole; what sees pictures stays. Loss = cross entropy of the answers + 0.1 (mean |R - R'| of
the body + mean |R - R'| of the root), L1 on rotation matrices. AdamW 3e-4 without decay. Source: ChatPose (CVPR 2024)
and the settings of its released scripts. Data: see ``example_files``; models: see ``backbones``; several processes:
see ``team``. ``chatpose-server train poselm --base ...`` comes here with everything but our own small model.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import rotations as rot
from ..language import llava_layout as layout
from ..language import lora
from ..language.answering import CAMERA_FLIP
from ..language.devices import Device, pick_device
from ..language.head import PoseHead
from ..models.catalogue import CATALOGUE
from ..progress import Progress, no_progress
from ..skeleton import BODY_JOINTS
from .backbone_chat import ChatBackbone
from .backbone_llava import LlavaBackbone
from .backbones import Adapting, Backbone, Encoded
from .example_files import pose_folders, read_data
from .examples import RATES, Example, Examples
from .pose_data import TrainingDataError
from .team import Team

POSE_WEIGHT: Final = 0.1  # of the L1 terms beside the cross entropy
_KEPT: Final = 512  # encoded examples; one with a picture is a few megabytes
_START_POSES: Final = 256  # whose mean a new head begins at


@dataclass(frozen=True)
class ChatSettings:
    """One run; everything that decides the weights. The defaults are the published recipe's. Rows of a step: ``batch``
    x ``accumulate`` x processes.
    """

    steps: int = 10_000
    batch: int = 16
    accumulate: int = 2
    rate: float = 3e-4
    head_rate: float = 3e-4
    adapting: Adapting = field(default_factory=Adapting)
    longest: int = 1024  # positions; what is longer is cut at its end
    warmup: int = 100
    seed: int = 0


def open_backbone(
    base: Path, out: Path, place: Device, how: Adapting, clip: str | None = None, progress: Progress = no_progress
) -> Backbone:
    """What a folder holds, to be trained: LLaVA and ChatPose in their own layout, or anything of transformers.

    ``out``: a folder for what the run needs beside. Raises CheckpointFilesError, TrainingDataError and DeviceError.
    """
    config = layout.read_json(base / "config.json", f"'{base}' is not a model: it has no config.json.")
    if (base / layout.CONVERTED_FILE).is_file() or "mm_projector_type" in config or "mm_vision_tower" in config:
        return LlavaBackbone(base, out / "tokenizer", place, how, clip, progress)
    return ChatBackbone(base, place, how, progress)


class ChatTrainer:
    """A model on the way to another. ``out``: the folder for all that is written."""

    def __init__(
        self,
        backbone: Backbone,
        data: Examples,
        out: Path,
        settings: ChatSettings | None = None,
        *,
        team: Team | None = None,
        recipe: str = "",
    ) -> None:
        self.settings, self.data, self.out, self.recipe = settings or ChatSettings(), data, out, recipe
        self.backbone, self.team = backbone, team or Team()
        torch.manual_seed(self.settings.seed)
        found: PoseHead | None = getattr(backbone, "head", None)
        self.head = found or PoseHead(backbone.hidden, backbone.hidden, layout.JOINTS)
        if found is None:
            self.head.start_at(rot.matrot_to_rot6d_columns(_mean_pose(data)[None]))
        self.head.to(backbone.at).train().requires_grad_(True)
        for adapter in (m for m in backbone.decoder.modules() if isinstance(m, lora.LoraLinear)):
            adapter.train()
            nn.init.kaiming_uniform_(adapter.down, a=math.sqrt(5))  # again, after the seed: every process the same
        whole = [*self.head.parameters(), *backbone.rows.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": backbone.adapters, "lr": self.settings.rate},
                {"params": whole, "lr": self.settings.head_rate},
            ],
            weight_decay=0.0,
        )
        self._trained = [*backbone.adapters, *whole]
        self._rates = [group["lr"] for group in self.optimiser.param_groups]
        self._encoded: OrderedDict[Any, Encoded] = OrderedDict()
        self._is_half = next(backbone.model.parameters()).dtype == torch.bfloat16
        self.step = 0

    # -- one step ------------------------------------------------------------------------------------------------
    def backward(self, examples: Sequence[Example]) -> dict[str, float]:
        """Gradients of a step's rows (all processes' together, these rows are everybody's); the loss's parts.

        Sums over tokens and poses are divided by their counts in the whole step, so that neither the rows of a forward
        nor the number of processes changes what is learnt.
        """
        mine = [self._encode(example) for example in self.team.mine(examples)]
        poses = [_target(e) if e.matrot is not None else None for e in self.team.mine(examples)]
        counts = [float(sum(len(e.answer) for e in mine)), float(sum(p is not None for p in poses))]
        tokens, targets = (max(1.0, count) for count in self.team.sum(counts))
        sums = [0.0, 0.0, 0.0]
        for at in range(0, len(mine), self.settings.batch):
            some = slice(at, at + self.settings.batch)
            token_sum, pose_sum, degrees = self.sums(mine[some], poses[some])
            (token_sum / tokens + POSE_WEIGHT * pose_sum / targets).backward()
            for i, value in enumerate((token_sum, pose_sum, degrees)):
                sums[i] += float(value.detach())
        self.team.sum_gradients(self._trained)
        token, pose, degrees = self.team.sum(sums)
        return {"token": token / tokens, "pose": pose / targets, "degrees": degrees / targets}

    def sums(self, batch: Sequence[Encoded], poses: Sequence[Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
        """Summed over a batch: cross entropy of its answers' tokens, L1 of its poses, their mean errors in degrees."""
        with self._half():
            states = self.backbone.answer_states(batch)  # (K, H)
            logits = self.backbone.logits(states)
        said = [(token, row) for row, e in enumerate(batch) for token in e.answer]
        wanted = torch.tensor([token for token, _ in said], device=self.backbone.at)
        token_sum = F.cross_entropy(logits.float(), wanted, reduction="sum")
        at = [i for i, (token, row) in enumerate(said) if token == self.backbone.pose_id and poses[row] is not None]
        if not at:
            return token_sum, token_sum.new_zeros(()), token_sum.new_zeros(())
        matrot = self.head(states[at]).matrot[:, 0, : len(BODY_JOINTS)]  # (P, 22, 3, 3), the camera's frame
        target = torch.stack([pose for i in at if (pose := poses[said[i][1]]) is not None]).to(matrot)
        gap = (matrot - target).abs()
        pose_sum = gap[:, 1:].mean((1, 2, 3)).sum() + gap[:, 0].mean((1, 2)).sum()
        return token_sum, pose_sum, rot.geodesic_angle(matrot.detach(), target).mean(1).rad2deg().sum()

    def _half(self) -> AbstractContextManager[Any]:
        """Autocast to bfloat16 where the weights are: what must be exact (norms, losses) is done in float32."""
        kind = self.backbone.at.partition(":")[0]
        return torch.autocast(kind, torch.bfloat16) if self._is_half else nullcontext()

    def _encode(self, example: Example) -> Encoded:
        key = (example.exchanges, example.image, example.box)
        if key not in self._encoded:
            self._encoded[key] = _cut(self.backbone.encode(example), self.settings.longest)
            while len(self._encoded) > _KEPT:
                self._encoded.popitem(last=False)
        return self._encoded[key]

    # -- the loop ------------------------------------------------------------------------------------------------
    def run(
        self, seconds: float = math.inf, steps: float = math.inf, log_every: int = 20, save_every: int = 500
    ) -> dict[str, float]:
        """Trains to the last step, or for so long or so many; logs to ``log.jsonl`` and saves. Gives the last parts."""
        start, parts = time.monotonic(), dict[str, float]()
        last = min(self.settings.steps, self.step + steps)
        while self.step < last and not self.team.is_over(seconds - (time.monotonic() - start)):
            s = self.settings
            generator = torch.Generator().manual_seed(s.seed * 1_000_003 + self.step + 1)
            torch.manual_seed((s.seed * 1_000_003 + self.step + 1) * 64 + self.team.rank)  # dropout, resumed too
            self.optimiser.zero_grad()
            parts = self.backward(self.data.sample(s.batch * s.accumulate * self.team.size, generator))
            nn.utils.clip_grad_norm_(self._trained, 1.0)
            for group, rate in zip(self.optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * self._schedule()
            self.optimiser.step()
            self.step += 1
            if self.step % log_every == 0:
                self._log(parts)
            if self.step % save_every == 0:
                self.save()
        if parts and self.step % log_every:
            self._log(parts)
        self.save()
        return parts

    def _log(self, parts: Mapping[str, float]) -> None:
        if self.team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            with (self.out / "log.jsonl").open("a", encoding="utf-8") as f:
                f.write(json.dumps({"step": self.step, **{k: round(v, 4) for k, v in parts.items()}}) + "\n")

    def _schedule(self) -> float:
        """Linear up, then linear down to nothing: DeepSpeed's WarmupDecayLR, which the recipe uses."""
        s = self.settings
        return min((self.step + 1) / max(1, s.warmup), (s.steps - self.step) / max(1, s.steps - s.warmup), 1.0)

    # -- what is written -----------------------------------------------------------------------------------------
    def save(self) -> None:
        """``resume.pt``: the trained parts and the optimiser; plain tensors and numbers only."""
        if self.team.leads:
            self.out.mkdir(parents=True, exist_ok=True)
            state = {
                "step": self.step, "settings": asdict(self.settings), "lora": lora.adapter_state(self.backbone.model),
                "head": self.head.state_dict(), "rows": self.backbone.rows.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            }  # fmt: skip
            part = self.out / "resume.part"
            torch.save(state, part)
            part.replace(self.out / "resume.pt")
        self.team.wait()

    def resume(self, path: Path) -> None:
        """Goes on from ``resume.pt``. Raises TrainingDataError when it belongs to another base."""
        try:
            state: dict[str, Any] = torch.load(path, map_location=self.backbone.at, weights_only=True)
            lora.load_adapter(self.backbone.model, state["lora"])
            self.head.load_state_dict(state["head"])
            self.backbone.rows.load_state_dict(state["rows"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise TrainingDataError(f"'{path}' cannot be resumed from: it is damaged or of another base.") from error

    def export(self, out: Path, progress: Progress = no_progress) -> None:
        """Writes the merged model with its head, as a folder that ``serve --model`` takes."""
        if self.team.leads:
            self.backbone.export(out, self.head, f"{self.recipe}, step {self.step}".strip(", "), progress)
        self.team.wait()


def _cut(encoded: Encoded, longest: int) -> Encoded:
    if len(encoded.ids) <= longest:
        return encoded
    cut = Encoded(encoded.ids[:longest], encoded.labels[:longest], encoded.seen)
    if not cut.answer:
        raise TrainingDataError(f"A conversation has no answer within {longest} positions; raise --longest.")
    return cut


def _target(example: Example) -> Tensor:
    """(22, 3, 3) in the camera's frame, as the head speaks."""
    assert example.matrot is not None
    return torch.cat([(torch.tensor(CAMERA_FLIP) @ example.matrot[0])[None], example.matrot[1:]])


def _mean_pose(data: Examples) -> Tensor:
    """(24, 3, 3): where a new head begins; the two joints that are never read stay at rest."""
    known = data.some_poses(_START_POSES)
    mean = torch.stack(known).mean(0) if known else torch.eye(3).expand(len(BODY_JOINTS), 3, 3)
    mean = torch.cat([(torch.tensor(CAMERA_FLIP) @ mean[0])[None], mean[1:]])
    return torch.cat([mean, torch.eye(3).expand(layout.JOINTS - len(BODY_JOINTS), 3, 3)])


# -- the command -----------------------------------------------------------------------------------------------------
def base_folder(name_or_path: str, progress: Progress = no_progress) -> Path:
    """The folder of a catalogue name, a path or a hub name. Raises StoreError and CheckpointFilesError."""
    if name_or_path in CATALOGUE:
        from ..models import store

        return store.ensure(name_or_path, progress)
    folder = layout.fetch(name_or_path, progress)
    if not Path(name_or_path).expanduser().is_dir():  # a hub name: newer models keep their chat template in a file
        from huggingface_hub import snapshot_download

        with suppress(Exception):  # no network: what is on this computer must do, and what is missing is said later
            snapshot_download(name_or_path, allow_patterns=["*.jinja", "*.txt"])
    return folder


def read_examples(
    paths: Sequence[Path],
    rates: tuple[float, float, float] = RATES,
    amass: Path | None = None,
    posescript_ids: Path | None = None,
) -> Examples:
    """Everything that ``--data`` may name. Raises TrainingDataError."""
    motion = pose_folders(paths)
    lines = read_data([path for path in paths if path not in motion], amass, posescript_ids)
    if len(motion) > 1:
        raise TrainingDataError("Put folders of motion into one folder: only one can be described at a time.")
    captioned = None
    if motion:
        from .caption_pairs import CaptionPairs

        captioned = CaptionPairs.from_folder(motion[0])
    return Examples(lines, rates, captioned)


def place_for(device: str, dtype: str) -> Device:
    """Where a model is trained. Half precision means bfloat16: gradients do not fit into float16."""
    place = pick_device(device, dtype)
    if place.dtype == torch.float16:
        place = pick_device(device, "float32")
    return place


def main(argv: Sequence[str] | None = None) -> int:
    """``chatpose-server train poselm --base ...``."""
    parser = argparse.ArgumentParser(
        prog="chatpose-server train poselm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", required=True, help="catalogue name, folder or hub name of the model to teach")
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="files and folders; see docs/training.md")
    parser.add_argument("--amass", type=Path, help="folder of AMASS, for PoseScript's captions")
    parser.add_argument("--posescript-ids", type=Path, help="PoseScript's list of ids, sequences and frames")
    parser.add_argument("--clip", help="folder or hub name of a LLaVA's CLIP, if not the one its config.json names")
    parser.add_argument("--out", type=Path, required=True, help="folder for resume.pt, the log and 'merged'")
    for name in ("steps", "batch", "accumulate", "warmup", "seed", "longest"):
        parser.add_argument(f"--{name}", type=int, default=getattr(ChatSettings, name))
    parser.add_argument("--rate", type=float, default=ChatSettings.rate)
    parser.add_argument("--head-rate", type=float, help="of the pose head and the new tokens; default: as --rate")
    parser.add_argument("--rank", type=int, default=Adapting.rank)
    parser.add_argument("--alpha", type=float, default=Adapting.alpha)
    parser.add_argument("--dropout", type=float, default=Adapting.dropout)
    parser.add_argument("--targets", nargs="+", default=Adapting.targets, help="layers that get LoRA")
    parser.add_argument("--rates", type=float, nargs=3, default=RATES, metavar=("TEXT", "IMAGE", "TALK"))
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop, save and export after this long")
    parser.add_argument("--resume", type=Path, help="resume.pt of an earlier run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (with autocast)")
    args = parser.parse_args(argv)
    settings = ChatSettings(
        steps=args.steps, batch=args.batch, accumulate=args.accumulate, rate=args.rate,
        head_rate=args.rate if args.head_rate is None else args.head_rate, longest=args.longest, warmup=args.warmup,
        seed=args.seed, adapting=Adapting(args.rank, args.alpha, args.dropout, tuple(args.targets)),
    )  # fmt: skip
    data = read_examples(args.data, tuple(args.rates), args.amass, args.posescript_ids)
    team = Team(args.device)
    place = place_for(team.device, args.dtype)
    torch.manual_seed(settings.seed)
    folder = args.out if team.leads else args.out / f"process-{team.rank}"
    backbone = open_backbone(base_folder(args.base), folder, place, settings.adapting, args.clip)
    if place.kind == "cuda":
        backbone.save_memory()
    recipe = f"chatpose-server train poselm --base {args.base} --steps {args.steps} --seed {args.seed}"
    trainer = ChatTrainer(backbone, data, args.out, settings, team=team, recipe=recipe)
    if args.resume:
        trainer.resume(args.resume)
    trainer.run(args.seconds)
    trainer.export(args.out / "merged")
    return 0
