"""What every chat model with a pose token does alike: ask, read the states that predict the token, make poses of them.

A pose for each pose token of a reply; more candidates by asking, then by answering, in other trained words; a pose with
its probability where the model would rather talk. How words and pictures become a prompt is left to the models.
Knows no tokeniser, no files and no HTTP.
"""

from __future__ import annotations

import abc
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from ..pose import Pose
from ..progress import Progress, no_progress
from ..skeleton import BODY_JOINTS
from . import conversation as talk
from .base import ChatTurn, LanguageAnswer, LanguageRequest
from .decoding import Decoder, Generated, Prompt, TemplateDraft
from .devices import Device, Quantization, release_memory
from .head import PoseHead
from .llava_layout import CheckpointFilesError

_FEATURES_KEPT: Final = 8  # pictures whose patches are remembered; 6 MB each at 13 B
CAMERA_FLIP: Final = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
"""Half a turn about x: OpenCV's camera frame (y down, z forward), in which the weights speak, to ours (y up)."""


@dataclass(frozen=True)
class Options:
    """How the model is talked to. ``history``: earlier answers as the very tokens that were said, or as the released
    program's decoded text (for comparison). ``wrap``: put bare descriptions into a trained question. ``crop``: look at
    the square around a person, as in training, not at the picture's middle. ``speculate``: guess the trained answers;
    changes the speed only.
    """

    system: talk.SystemPrompt = "llava_v1"
    history: Literal["tokens", "text"] = "tokens"
    wrap: bool = True
    crop: bool = True
    speculate: bool = True


def options_from_environment() -> Options:
    """The options as CHATPOSE_SYSTEM (llava_v1, vicuna_v1), CHATPOSE_HISTORY (tokens, text), CHATPOSE_WRAP and
    CHATPOSE_CROP (yes, no) say. Raises CheckpointFilesError for a value that is not one of these.
    """

    def choice(name: str, known: Sequence[str]) -> str:
        value = os.environ.get(name) or known[0]
        if value not in known:
            raise CheckpointFilesError(f"{name} is '{value[:40]}'; choose one of: {', '.join(known)}.")
        return value

    system = choice("CHATPOSE_SYSTEM", tuple(talk.SYSTEM_PROMPTS))
    history = choice("CHATPOSE_HISTORY", ("tokens", "text"))
    return Options(
        system="vicuna_v1" if system == "vicuna_v1" else "llava_v1",
        history="text" if history == "text" else "tokens",
        wrap=choice("CHATPOSE_WRAP", ("yes", "no")) == "yes",
        crop=choice("CHATPOSE_CROP", ("yes", "no")) == "yes",
    )


@dataclass(frozen=True)
class Conversation:
    """A prompt, and the same as text for people who look at what was asked."""

    prompt: Prompt
    text: str


@dataclass(frozen=True)
class _Reply:
    """``states`` (P, H) predict the pose tokens, ``scores`` are those tokens' probabilities."""

    prompt: Prompt
    states: Tensor
    scores: list[float]
    text: str
    debug: Mapping[str, Any]


class ChatWithPoses(abc.ABC):
    """A loaded model; implements ``base.LanguageModel``. One thread at a time. Subclasses say how words and pictures
    become a prompt, and tokens words.
    """

    accepts_images = True
    camera_frame = True  # the root is told in OpenCV's camera frame, as the published weights do

    def __init__(
        self,
        name: str,
        decoder: Decoder,
        head: PoseHead,
        *,
        place: Device,
        quantize: Quantization,
        options: Options,
        licence: str,
        pose_id: int,
        stop_ids: Collection[int],
        answers: Sequence[tuple[int, ...]],
    ) -> None:
        self.name, self.options, self.licence = name, options, licence
        self.wants_one_person = options.crop
        self.device = place.torch_name
        self.dtype = str(place.dtype).removeprefix("torch.") if quantize == "none" else quantize
        self.pose_id, self._stop_ids = pose_id, frozenset(stop_ids)
        self._decoder, self._head, self._place = decoder, head.eval(), place
        self._answers = list(answers)
        self._features: OrderedDict[str, Tensor] = OrderedDict()
        # 8 bit weights come with 8 bit activations, whose rounding depends on what else is in a forward: no guessing.
        self._draft = TemplateDraft(self._answers if options.speculate and quantize != "8bit" else [])

    # -- what a model must say -----------------------------------------------------------------------------------
    @abc.abstractmethod
    def converse(self, request: LanguageRequest, question: str, progress: Progress) -> Conversation:
        """The whole talk so far with ``question`` at its end, up to where the answer opens."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Tokens -> text with ``[SEG]``, or the model's own token, where poses are."""

    def said(self, text: str, ids: Sequence[int]) -> None:
        """Called after each reply with its text for people and its tokens."""
        del text, ids

    @abc.abstractmethod
    def drop(self) -> None:
        """Lets go of the weights."""

    def seen(self, digest: str, look: Callable[[], Tensor]) -> Tensor:
        """A picture's patches as the language model reads them, (patches, H): ``look`` runs when they are not
        remembered by the picture's hash.
        """
        if digest not in self._features:
            self._features[digest] = look()
            while len(self._features) > _FEATURES_KEPT:
                self._features.popitem(last=False)
        self._features.move_to_end(digest)
        return self._features[digest]

    # -- answering -----------------------------------------------------------------------------------------------
    def answer(
        self,
        request: LanguageRequest,
        progress: Progress = no_progress,
        on_text: Callable[[str], None] | None = None,
    ) -> LanguageAnswer:
        """See ``base.LanguageModel``. A pose's ``score`` is the probability that the model gave its pose token; with
        ``want='pose'`` one comes back, with that probability, even where the model would rather talk.
        ``request.current`` is not used: these weights were not trained to change a pose.
        """
        start = time.perf_counter()
        questions = self._questions(request)
        first = self._reply(request, questions[0], progress, on_text)
        decoded = time.perf_counter()
        states, scores = [first.states], list(first.scores)
        if request.want == "pose":
            for i in range(1, request.candidates):
                progress("Trying other words", i / request.candidates)
                if i < len(questions):
                    other = self._reply(request, questions[i], progress, None)
                    state, score = other.states, other.scores
                else:  # no more ways to ask: other ways to answer
                    read = self._read(first.prompt, self._answers[(i - len(questions)) % len(self._answers)])
                    state, score = read.states[-1:], [read.probabilities[-1]]
                states.append(state)
                scores += score
        poses = self._poses(torch.cat(states), scores)
        keep = max(request.candidates, len(first.scores))
        timings = {"language": decoded - start, "candidates": time.perf_counter() - decoded}
        return LanguageAnswer(first.text, tuple(poses[:keep]), timings=timings, debug=first.debug)

    def unload(self) -> None:
        """Frees the memory."""
        self._decoder.forget()
        self._features.clear()
        self.drop()
        place = self._place
        del self._decoder, self._head
        release_memory(place)

    # -- inside --------------------------------------------------------------------------------------------------
    def _questions(self, request: LanguageRequest) -> list[str]:
        """Ways to ask what was asked, the usual one first."""
        plain = request.prompt.strip()
        if not self.options.wrap or request.want != "pose":
            return [plain]
        forms = [
            talk.wrap_question(plain, has_image=request.image is not None, variant=i, seed=request.seed)
            for i in range(max(1, request.candidates))
        ]
        return list(dict.fromkeys(forms))

    def _reply(
        self,
        request: LanguageRequest,
        question: str,
        progress: Progress,
        on_text: Callable[[str], None] | None,
    ) -> _Reply:
        conversation = self.converse(request, question, progress)
        prompt = conversation.prompt
        made = self._decoder.generate(
            prompt,
            stop_ids=self._stop_ids,
            max_new_tokens=request.max_new_tokens,
            draft=self._draft,
            on_ids=None if on_text is None else lambda so_far: on_text(talk.readable(self.decode(so_far))),
            check=lambda n: progress("Reading the words" if n == 0 else "Answering", n / (n + 12)),
        )
        self._draft.learn(made.ids)
        text = talk.readable(self.decode(made.ids))
        self.said(text, made.ids)
        rows = [i for i, token in enumerate(made.ids) if token == self.pose_id]
        states, scores, forced = made.states[rows], [made.probabilities[i] for i in rows], ""
        if not rows and request.want == "pose":
            progress("Asking for a pose", 0.9)
            states, scores, forced = self._force(prompt)
        debug = {
            "prompt": conversation.text, "prompt_tokens": len(prompt.keys), "reused": made.reused,
            "forwards": made.forwards, "drafted": made.drafted, "accepted": made.accepted,
            "completion_tokens": len(made.ids), "answer": self.decode(made.ids), "answer_ids": list(made.ids),
            "forced": forced, "ended": made.stopped,
        }  # fmt: skip
        return _Reply(prompt, states, scores, text, debug)

    def _force(self, prompt: Prompt) -> tuple[Tensor, list[float], str]:
        """The state that would predict the pose token in the trained answer that the model finds likeliest."""
        best = max(
            (self._read(prompt, answer) for answer in self._answers), key=lambda read: math.prod(read.probabilities)
        )
        return best.states[-1:], [best.probabilities[-1]], self.decode(best.ids)

    def _read(self, prompt: Prompt, answer: Sequence[int]) -> Generated:
        """A given answer up to its pose token, as the model finds it."""
        return self._decoder.read(prompt, answer[: answer.index(self.pose_id) + 1])

    @torch.inference_mode()
    def _poses(self, states: Tensor, scores: Sequence[float]) -> list[Pose]:
        """(P, H) -> poses. Joints 22 and 23 are dropped: their two kinds of training data contradict each other."""
        if not len(states):
            return []
        matrot = self._head(states.to(next(self._head.parameters()).device)).matrot[:, 0].cpu()  # (P, J, 3, 3)
        body = matrot[:, : len(BODY_JOINTS)].clone()
        if self.camera_frame:
            body[:, 0] = torch.tensor(CAMERA_FLIP) @ body[:, 0]
        return [Pose.from_matrot(one, score=score) for one, score in zip(body, scores, strict=True)]


def turn_text(turn: ChatTurn) -> tuple[str, str]:
    """(role, words) of an earlier message, with ``[POSE]`` where poses were given."""
    content = turn.content.strip().replace("<POSE>", talk.POSE_MARK)
    if turn.role == "assistant" and turn.poses and talk.POSE_MARK not in content:
        content = f"{content} {talk.POSE_MARK}.".strip() if content else f"It is {talk.POSE_MARK}."
    return turn.role, content
