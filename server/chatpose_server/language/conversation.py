"""The words around the words: ChatPose's prompt (LLaVA-1.5's ``llava_v1``), its trained questions and answers.

Pure text; knows no tokeniser and no model. The forms are those the published weights were trained with; asked in
another form the model often talks instead of giving a pose.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

SystemPrompt: TypeAlias = Literal["llava_v1", "vicuna_v1"]

SYSTEM_PROMPTS: Final[dict[SystemPrompt, str]] = {
    "llava_v1": "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions.",
    "vicuna_v1": "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
}
"""Which of the two was trained is not published; the released program runs with the first."""

IMAGE: Final = "<image>"
IMAGE_PREFIX: Final = f"<im_start>{IMAGE}<im_end>\n"
"""Before the first user turn's words when there is a picture, also where the vocabulary lacks the two tokens."""
END_OF_TURN: Final = "</s>"
POSE_TOKEN: Final = "[SEG]"  # noqa: S105 - the token of the published vocabulary, not a secret
POSE_MARK: Final = "[POSE]"
"""What people see in the place of the token."""

TEXT_QUESTIONS: Final = (
    "There is a person: {words} Please output this person's SMPL pose.",
    "{words} Give the SMPL pose.",
    "What's the SMPL pose of this person? {words}",
    "Use SMPL pose to describe this person's behavior. {words}",
    "Human pose is described as words: {words} The SMPL pose is?",
)
IMAGE_QUESTIONS: Final = (
    "Can you predict the SMPL pose of the person in this image?",
    "There is a person in the middle of the image, please output this person's SMPL pose.",
    "What is the human pose in this image? Please respond with SMPL pose.",
    "What is the person doing in this image? Please output SMPL pose.",
    "There is a person in the middle of the image, use SMPL to describe the pose.",
)
ANSWERS: Final = (
    f"It is {POSE_TOKEN}.",
    f"Sure, {POSE_TOKEN}.",
    f"Sure, it is {POSE_TOKEN}.",
    f"Sure, the SMPL pose is {POSE_TOKEN}.",
    f"{POSE_TOKEN}.",
    f"The SMPL pose is {POSE_TOKEN}.",
    f"The SMPL pose of the person is {POSE_TOKEN}.",
    f"The SMPL format of this person's pose is {POSE_TOKEN}.",
)

_ASKS_ALREADY: Final = ("smpl", "pose")  # words of the trained questions; who uses them speaks to the model directly


@dataclass(frozen=True)
class Exchange:
    """One question and what was answered; ``answer`` is None where it is still awaited."""

    question: str
    answer: str | None


def wrap_question(prompt: str, *, has_image: bool, variant: int = 0, seed: int = 0) -> str:
    """The prompt as a trained question; unchanged where it already asks for a pose in its own words.

    ``variant`` 0 is the usual form, others are the rest in an order that ``seed`` decides, for several candidates.
    """
    words = " ".join(prompt.split())
    if words and any(word in words.lower() for word in _ASKS_ALREADY):
        return prompt.strip()
    forms = list(TEXT_QUESTIONS if words else IMAGE_QUESTIONS if has_image else TEXT_QUESTIONS[1:2])
    rest = forms[1:]
    random.Random(seed).shuffle(rest)
    form = [forms[0], *rest][variant % len(forms)]
    if words and has_image:
        return f"{words} {form.format(words='').replace('  ', ' ').strip()}"
    if words and words[-1] not in ".!?":
        words += "."
    return form.format(words=words)


def opening(system: str) -> str:
    """What stands before the first user turn."""
    return system + " "


def user_turn(question: str, *, with_image: bool = False) -> str:
    """A user turn and the assistant's opening; the answer follows directly."""
    return f"USER: {IMAGE_PREFIX if with_image else ''}{question} ASSISTANT:"


def assistant_turn(answer: str) -> str:
    """A finished answer, as it follows ``user_turn``. No blank after the separator: the next turn follows directly."""
    return f" {answer}{END_OF_TURN}"


def prompt_text(system: str, exchanges: Sequence[Exchange], *, with_image: bool = False) -> str:
    """The whole prompt; the last exchange's answer is None and left open (no trailing blank)."""
    text = opening(system)
    for i, exchange in enumerate(exchanges):
        text += user_turn(exchange.question, with_image=with_image and i == 0)
        text += "" if exchange.answer is None else assistant_turn(exchange.answer)
    return text


def pair_up(turns: Sequence[tuple[str, str]], prompt: str) -> list[Exchange]:
    """(role, content) turns and the new prompt as exchanges. Turns of one role in a row become one turn; an answer
    without a question before it has nothing it answers, and is left out.
    """
    exchanges: list[Exchange] = []
    for role, content in [*turns, ("user", prompt)]:
        if role == "user":
            if exchanges and exchanges[-1].answer is None:
                exchanges[-1] = Exchange(f"{exchanges[-1].question}\n{content}", None)
            else:
                exchanges.append(Exchange(content, None))
        elif role == "assistant" and exchanges:
            last = exchanges[-1]
            exchanges[-1] = Exchange(last.question, content if last.answer is None else f"{last.answer} {content}")
    return exchanges


def original_history(answer: str) -> str:
    """An earlier answer as the released program keeps it: decoded text, blanks around the mark and at the end."""
    parts = [part.strip() for part in answer.replace(POSE_TOKEN, POSE_MARK).split(POSE_MARK)]
    head, tail = parts[0], parts[1:]
    return head + "".join((f" {POSE_MARK} " if head else POSE_MARK) + part for part in tail) + " "


def readable(text: str) -> str:
    """An answer for people: the mark for the token, blanks as in ordinary writing."""
    text = text.removesuffix(END_OF_TURN).replace(POSE_TOKEN, f" {POSE_MARK} ")
    text = " ".join(text.split(" ")).replace("  ", " ")
    for mark in ".,!?:;":
        text = text.replace(f" {mark}", mark)
    return " ".join(part for part in text.split(" ") if part).strip()
