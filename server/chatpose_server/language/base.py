"""What every language model with a pose head looks like from outside. Knows no model, no HTTP, no posecodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..pose import Pose
from ..progress import Progress, no_progress

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ChatTurn:
    """One earlier message of a conversation. ``poses``: those that the assistant gave in this turn."""

    role: Literal["user", "assistant", "system"]
    content: str
    poses: tuple[Pose, ...] = ()


@dataclass(frozen=True)
class LanguageRequest:
    """Words (and perhaps a picture) for a language model.

    ``want``: ``pose`` when the caller asked for a pose (the model is made to give one), ``auto`` when plain chat may
    be the right answer. ``current``: the pose the words refer to, if any. ``image``: RGB, already checked and upright.
    """

    prompt: str
    messages: tuple[ChatTurn, ...] = ()
    image: Image | None = None
    current: Pose | None = None
    candidates: int = 1
    seed: int = 0
    want: Literal["pose", "auto"] = "pose"
    max_new_tokens: int = 256


@dataclass(frozen=True)
class LanguageAnswer:
    """What the model said. ``poses``: best first; empty for plain chat. ``posecodes``: what the words ask for, by the
    model's second head: code name -> probability (empty where the model has no such head). ``named``: which named pose
    the words mean, by its third head: lexicon name -> probability, the likely ones only. ``timings``: seconds by
    stage. ``debug``: the wrapped prompt, accepted draft tokens and the like.
    """

    text: str
    poses: tuple[Pose, ...] = ()
    posecodes: Mapping[str, float] = field(default_factory=dict[str, float])
    named: Mapping[str, float] = field(default_factory=dict[str, float])
    timings: Mapping[str, float] = field(default_factory=dict[str, float])
    debug: Mapping[str, Any] = field(default_factory=dict[str, Any])


class LanguageModel(Protocol):
    """A loaded model. One thread at a time calls it. ``wants_one_person``: of a picture, the square around her."""

    name: str
    device: str
    dtype: str
    licence: str
    accepts_images: bool
    wants_one_person: bool

    def answer(
        self,
        request: LanguageRequest,
        progress: Progress = no_progress,
        on_text: Callable[[str], None] | None = None,
    ) -> LanguageAnswer:
        """Answers; ``on_text`` gets the text so far as it grows. Raises Cancelled through ``progress``."""
        ...

    def unload(self) -> None:
        """Frees the memory. The object cannot be used afterwards."""
        ...
