"""What an answer costs, as ratios in one run: a pose against one bare forward, a verified draft against plain decoding.

    .venv/bin/python benchmarks/one_forward.py

What limits it: a forward of N tokens over P = 106 M weights is 2 N P floating point operations (6 GFLOP for a short
prompt) and reads 425 MB; up to some 30 tokens on two cores the reading is what counts, beyond it the arithmetic.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
from _results import write_section
from chatpose_server.language.base import LanguageRequest
from chatpose_server.language.decoding import Decoder, Generated, Prompt, TemplateDraft, text_prompt
from chatpose_server.language.loading import load_language_model
from chatpose_server.language.poselm import PoseLM
from chatpose_server.rotations import geodesic_angle

PROMPTS = (
    "a person kneeling with both arms raised",
    "she leans on the bar, tired, left hand under her chin",
    "There is a person: he has just lost the match. Please output this person's SMPL pose.",
)
ROUNDS = 9
ANSWER = 10  # tokens of a sentence such as "Sure, the SMPL pose is <POSE>."


def interleaved(*ways: Callable[[], object]) -> list[float]:
    """Median seconds of each way, run in turns so that other work on the machine hits all alike."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, spent in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            spent.append(time.perf_counter() - start)
    return [statistics.median(t) for t in times]


def fresh(model: PoseLM) -> Decoder:
    """A decoder that remembers nothing, so that no prompt is helped by the one before."""
    lm = model._model
    return Decoder(*model._backbone(lm), lm.get_input_embeddings(), lm.device)


def pose_of(model: PoseLM, made: Generated) -> torch.Tensor:
    """What the heads make of the state that predicts an answer's last token."""
    with torch.no_grad():
        state = model._read(made, [len(made.ids) - 1], len(made.prompt_states))
        told = torch.sigmoid(model._codes(state)) if model._codes and model.config.told else None
        return model._head(state, told).matrot


def main() -> None:
    model = load_language_model()
    assert isinstance(model, PoseLM)
    lm = model._model
    rows = [
        "| prompt tokens | bare forward ms | pose ms | ratio | plain decoding ms | verified draft ms | times faster "
        "| tokens equal | pose differs, degrees |"
    ]
    rows.append("|---|---|---|---|---|---|---|---|---|")
    for words in PROMPTS:
        ids = model.encode_conversation((), words)
        batch = torch.tensor([ids])

        def bare(batch: torch.Tensor = batch) -> object:
            with torch.inference_mode():
                return lm.get_decoder()(input_ids=batch, use_cache=True)

        def pose(words: str = words) -> object:
            model._decoder.forget()
            return model.answer(LanguageRequest(words))

        bare_s, pose_s = interleaved(bare, pose)
        prompt = text_prompt(ids, lm.get_input_embeddings(), lm.device)
        # A model that answers in sentences: the backbone's own greedy words stand for the trained sentence.
        sentence = list(
            fresh(model).generate(prompt, stop_ids={model._stop_id}, max_new_tokens=ANSWER, pick=_no_pose(model)).ids
        )
        draft = TemplateDraft([sentence])

        def plain(prompt: Prompt = prompt) -> Generated:
            return fresh(model).generate(prompt, stop_ids={model._stop_id}, max_new_tokens=ANSWER, pick=_no_pose(model))

        def verified(prompt: Prompt = prompt, draft: TemplateDraft = draft) -> Generated:
            return fresh(model).generate(
                prompt, stop_ids={model._stop_id}, max_new_tokens=ANSWER, pick=_no_pose(model), draft=draft
            )

        plain_s, verified_s = interleaved(plain, verified)
        a, b = plain(), verified()
        apart = geodesic_angle(pose_of(model, a), pose_of(model, b)).max()
        rows.append(
            f"| {len(ids)} | {1000 * bare_s:.0f} | {1000 * pose_s:.0f} | {pose_s / bare_s:.2f} "
            f"| {1000 * plain_s:.0f} | {1000 * verified_s:.0f} | {plain_s / verified_s:.1f} "
            f"| {a.ids == b.ids} | {math.degrees(float(apart)):.5f} |"
        )
    text = "\n".join(rows)
    text += f"\n\nMedians of {ROUNDS} interleaved rounds, {torch.get_num_threads()} threads, float32; nothing cached."
    print(text)
    write_section("One forward", "`.venv/bin/python benchmarks/one_forward.py`\n\n" + text)


def _no_pose(model: PoseLM) -> Callable[[torch.Tensor], list[int]]:
    def pick(logits: torch.Tensor) -> list[int]:
        logits = logits.clone()
        logits[:, model.pose_id] = -torch.inf
        logits[:, model._stop_id] = -torch.inf
        return logits.argmax(-1).tolist()

    return pick


if __name__ == "__main__":
    main()
