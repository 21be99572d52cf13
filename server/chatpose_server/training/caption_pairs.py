"""Text-pose pairs made on the fly: real poses and their measured posecodes, limbs put onto a standing body, clip
labels, named poses of the lexicon, and a few questions that want words and no pose.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from .. import rotations as rot
from ..pose import mirrored_matrot
from ..posecodes.lexicon.lookup import normal
from ..posecodes.measure import measure, posecodes_hold
from ..posecodes.vocabulary import POSECODES, mirror_code
from ..skeleton import BODY_JOINTS, INDEX
from . import captions
from .chat_pairs import CHAT
from .named_poses import NamedPose, near_any, read_named
from .pairs import Batch
from .pose_data import PART_INDEX, PoseSet, density_weights, read_folder
from .solved_poses import SolvedPoses, draw, read_solved

_SHARES: Final = {
    "whole": 0.08, "limbs": 0.08, "solved": 0.24, "asked": 0.28, "label": 0.02, "named": 0.27, "chat": 0.03,
}  # fmt: skip
_ASKED_SETS: Final = 12000
_TRANSPLANTS: Final = (
    ("left_arm",), ("right_arm",), ("left_arm", "right_arm"), ("head",), ("trunk",), ("legs",), ("left_leg",),
    ("right_leg",), ("legs", "left_arm"), ("legs", "right_arm"), ("legs", "left_arm", "right_arm"),
    ("head", "left_arm"), ("head", "right_arm"), ("trunk", "head"), ("legs", "trunk"),
)  # fmt: skip


def true_codes(matrot: Tensor) -> Tensor:
    """(B, 22, 3, 3) -> (B, N) bool: the posecodes that plainly hold, without tolerance."""
    with torch.no_grad():
        return posecodes_hold(measure(matrot), 0.0)


def standing(generator: torch.Generator, count: int) -> Tensor:
    """(count, 22, 3, 3): relaxed standing, arms down, each a little different."""
    vec = torch.randn(count, len(BODY_JOINTS), 3, generator=generator) * 0.035
    drop = 1.2 + 0.12 * torch.randn(count, generator=generator)
    vec[:, INDEX["left_shoulder"], 2] -= drop
    vec[:, INDEX["right_shoulder"], 2] += drop
    bend = 0.2 + 0.12 * torch.rand(count, generator=generator)
    vec[:, INDEX["left_elbow"], 1] -= bend
    vec[:, INDEX["right_elbow"], 1] += bend
    vec[:, INDEX["left_hip"], 2] += 0.05
    vec[:, INDEX["right_hip"], 2] -= 0.05
    return rot.rotvec_to_matrot(vec)


class CaptionPairs:
    """A PairSource over a folder of poses and solved named poses."""

    def __init__(
        self,
        poses: PoseSet,
        named: Sequence[NamedPose] = (),
        solved: SolvedPoses | None = None,
        judged: Sequence[str] = (),
    ) -> None:
        """``judged``: prompts that a benchmark will ask; no text that comes near one is ever given."""
        self._poses, self._named, self._solved = poses, tuple(named), solved
        self._judged = [set(normal(p).split()) for p in judged]
        self._weights = density_weights(poses.matrot)
        self.code_names = tuple(POSECODES)
        self.pose_names = tuple(n.name for n in self._named)
        self._sayable = torch.tensor([captions.is_said(n) for n in self.code_names])
        self._part = [captions.part_of(n) for n in self.code_names]
        probe = torch.multinomial(self._weights, 3000, generator=torch.Generator().manual_seed(7), replacement=True)
        share = true_codes(poses.matrot[probe]).float().mean(0)
        # Rare statements are worth more words; those that hold in most poses are hardly said.
        self._interest = torch.where(self._sayable, (1 / (share + 0.01)).clamp(max=40.0).sqrt(), torch.zeros(()))
        said_often = [captions.said_often(n) for n in self.code_names]
        self._interest = self._interest * torch.tensor(said_often)
        self._posture = [i for i, n in enumerate(self.code_names) if POSECODES[n].group == "posture"]
        self._interest = torch.where(share > 0.6, torch.zeros(()), self._interest)

    @staticmethod
    def from_folder(
        folder: Path, named: Path | None = None, solved: Path | None = None, judged: Sequence[str] = ()
    ) -> CaptionPairs:
        """Reads poses; named and solved ones where such files were made."""
        return CaptionPairs(
            read_folder(folder),
            read_named(named, tuple(POSECODES)) if named else (),
            read_solved(solved) if solved else None,
            judged,
        )

    def sample(self, count: int, generator: torch.Generator) -> Batch:
        """See PairSource."""
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        have = {"named": bool(self._named), "solved": self._solved is not None}
        shares = {k: v for k, v in _SHARES.items() if have.get(k, True)}
        kinds = rng.choices(list(shares), list(shares.values()), k=count)
        texts: list[str] = []
        replies: list[str | None] = []
        matrot = torch.eye(3).expand(count, len(BODY_JOINTS), 3, 3).clone()
        codes = torch.full((count, len(self.code_names)), torch.nan)
        names = torch.zeros(count, dtype=torch.long)
        real = self._draw(count, generator)
        base = standing(generator, count)
        limbs, parts = self._transplant(base, real, rng)
        whole_codes, base_codes, limb_codes = true_codes(torch.cat([real, base, limbs])).chunk(3)
        for i, kind in enumerate(kinds):
            reply = said = None
            text = ""
            if kind == "whole":
                said = self._choose(whole_codes[i], rng.choice((2, 3, 3, 4, 4, 5, 6)), rng)
                matrot[i] = real[i]
            elif kind == "limbs":
                about = limb_codes[i] & ~base_codes[i] & self._about(parts[i])
                said = self._choose(about, rng.randint(1, 3), rng)
                matrot[i] = limbs[i]
            elif kind == "solved" and self._solved is not None:
                at = rng.randrange(len(self._solved.matrot))
                said = [self.code_names[c] for c in self._solved.asked[at].tolist() if c >= 0]
                matrot[i] = self._solved.matrot[at]
                if rng.random() < 0.5:
                    said, matrot[i] = [mirror_code(c) for c in said], mirrored_matrot(matrot[i][None])[0]
            elif kind == "asked":  # no pose is known that does all this: geometry alone judges what is made of it
                said, matrot[i] = list(self._asked[rng.randrange(len(self._asked))]), torch.nan
                said = [mirror_code(c) for c in said] if rng.random() < 0.5 else said
            elif kind == "named":
                at = rng.randrange(len(self._named))
                pose, names[i] = self._named[at], at + 1
                text = self._unjudged(lambda p=pose: rng.choice(p.wordings), rng)
                matrot[i], codes[i] = pose.matrot[rng.randrange(len(pose.matrot))], pose.codes
            elif kind == "label":
                names[i] = -1
                at = self._labelled[rng.randrange(len(self._labelled))]
                text = self._unjudged(lambda a=at: _label(self._poses.text[a], rng), rng)
                matrot[i] = self._poses.matrot[at]
            if said is not None:
                codes[i] = 0.0
                if not said:  # nothing worth saying: an ordinary standing person
                    matrot[i] = base[i]
                    text = f"{rng.choice(captions.PEOPLE)} standing"
                else:
                    text = self._unjudged(functools.partial(captions.caption, said, rng), rng)
                for name in said:
                    codes[i, self._at[name]] = 1.0
            if not text:  # plain chat, or a pose of which nothing may be said
                question, reply = rng.choice(CHAT)
                text = captions.roughen(question, rng)
            texts.append(text)
            replies.append(reply)
        return Batch(texts, replies, matrot, codes, names)

    # -- inside --------------------------------------------------------------------------------------------------
    @functools.cached_property
    def _at(self) -> dict[str, int]:
        return {n: i for i, n in enumerate(self.code_names)}

    @functools.cached_property
    def _asked(self) -> list[list[str]]:
        return draw(_ASKED_SETS, random.Random(11))

    @functools.cached_property
    def _labelled(self) -> list[int]:
        w = self._weights.tolist()
        use = [i for i, t in enumerate(self._poses.text) if t]
        return random.Random(5).choices(use, [w[i] for i in use], k=20000)

    def _near(self, text: str) -> bool:
        return bool(self._judged) and near_any(set(normal(text).split()), self._judged)

    def _unjudged(self, make: Callable[[], str], rng: random.Random) -> str:
        """A text that is not near a judged prompt; "" where every wording is."""
        for _ in range(8):
            text = make()
            if not self._near(text):  # before it is framed: the question's words are nobody's
                return captions.roughen(captions.frame(text, rng), rng)
        return ""

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Real poses, evenly over pose space, half of them mirrored, some with the upper body of another."""
        pick = torch.multinomial(self._weights, 2 * count, generator=generator, replacement=True)
        poses = self._poses.matrot[pick]
        flip = torch.rand(2 * count, generator=generator) < 0.5
        poses = torch.where(flip[:, None, None, None], mirrored_matrot(poses), poses)
        a, b = poses[:count].clone(), poses[count:]
        swap = torch.rand(count, generator=generator) < 0.3
        upper = PART_INDEX["left_arm"] + PART_INDEX["right_arm"] + PART_INDEX["head"]
        mixed = a.clone()
        mixed[:, upper] = b[:, upper]
        return torch.where(swap[:, None, None, None], mixed, a)

    def _transplant(self, base: Tensor, real: Tensor, rng: random.Random) -> tuple[Tensor, list[tuple[str, ...]]]:
        """One or two parts of real poses on standing bodies; legs come with the pelvis that they belong to."""
        made = base.clone()
        chosen: list[tuple[str, ...]] = []
        for i in range(len(base)):
            parts = rng.choice(_TRANSPLANTS)
            for part in parts:
                index = PART_INDEX["left_leg"] + PART_INDEX["right_leg"] + [0] if part == "legs" else PART_INDEX[part]
                made[i, index] = real[i, index]
            chosen.append(parts)
        return made, chosen

    def _about(self, parts: Sequence[str]) -> Tensor:
        wide = set(parts) | ({"left_leg", "right_leg", "body"} if "legs" in parts else set())
        wide |= {"arms"} if {"left_arm", "right_arm"} <= wide else set()
        return torch.tensor([p in wide for p in self._part])

    def _choose(self, true: Tensor, count: int, rng: random.Random) -> list[str]:
        """Up to ``count`` true statements, interesting ones first, no two of one group."""
        weight = self._interest * true
        candidates = weight.nonzero()[:, 0].tolist()
        said: list[str] = []
        groups: set[str] = set()
        postures = [i for i in self._posture if i in candidates]
        if postures and count > 1 and rng.random() < 0.8:  # who is not simply standing is said to be so, first of all
            said.append(self.code_names[rng.choice(postures)])
            groups.add("posture")
        while candidates and len(said) < count:
            at = rng.choices(candidates, [float(weight[c]) for c in candidates])[0]
            candidates.remove(at)
            name = self.code_names[at]
            group = POSECODES[name].group
            key = group if group != name else name.partition("=")[0].partition("@")[0]
            if key in groups:
                continue
            groups.add(key)
            said.append(name)
        return said


def _label(text: str, rng: random.Random) -> str:
    """A clip's label as a prompt; long lists of actions are cut to one of them."""
    pieces = [p.strip() for p in re.split(r"[,;]| - ", text) if p.strip()]
    words = rng.choice(pieces) if pieces and rng.random() < 0.7 else text
    who = rng.choice(captions.PEOPLE)
    return rng.choice([words, words, f"{who}: {words}", f"{who} doing {words}", f"pose from {words}"])
