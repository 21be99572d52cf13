"""Would it help to answer the pose jobs that wait in one padded forward? Seconds of CPU a prompt, and what changes.

    .venv/bin/python benchmarks/server_batching.py [--threads 1]

The same prompts one by one, and padded to the longest in batches; the state behind the last token is what the pose is
read from. Seconds are this process's own CPU time, so that other work on the machine does not count. Writes
'## Server: batching'.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "server"), str(ROOT / "benchmarks")]

import torch  # noqa: E402
from _results import write_section  # noqa: E402
from chatpose_server.language.loading import load_language_model  # noqa: E402

PROMPTS = (
    "a person kneeling", "left hand on the hip, weight on the right leg, looking over her shoulder", "warrior two",
    "he has just lost the match", "superhero landing", "she sits on the floor, legs crossed, hands on her knees",
    "waving with the right arm", "a long step forward, the torso bent, both arms stretched to the sides",
)  # fmt: skip


CONCLUSION = """
Jobs that wait are not answered together. Of a pose's 0.6 s the forward is a sixth (the rest is the solver, which makes
the words true for each pose by itself), so a full batch would save 30 ms of 600 while the first of its prompts waited
for the last; and a padded forward's state is not bit for bit the one that the same prompt has alone, so that an answer
would depend on who else was asking.
"""


def last_states(decoder, prompts):
    """(B, H): the states behind each prompt's last token, out of one forward padded on the right."""
    longest = max(map(len, prompts))
    ids = torch.tensor([p + [0] * (longest - len(p)) for p in prompts])
    mask = torch.tensor([[1] * len(p) + [0] * (longest - len(p)) for p in prompts])
    with torch.inference_mode():
        out = decoder(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return out[torch.arange(len(prompts)), mask.sum(1) - 1]


def cpu_seconds(work, rounds):
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = load_language_model(device="cpu")
    prompts = [model.encode_turn(prompt) for prompt in PROMPTS]
    decoder = model._model.get_decoder()
    alone = torch.cat([last_states(decoder, [p]) for p in prompts])
    rows, one_by_one = [], 0.0
    for size in (1, 2, 4, 8):
        batches = [prompts[i : i + size] for i in range(0, len(prompts), size)]
        seconds = cpu_seconds(lambda b=batches: [last_states(decoder, batch) for batch in b], options.rounds) / len(
            prompts
        )
        one_by_one = one_by_one or seconds
        states = torch.cat([last_states(decoder, batch) for batch in batches])
        apart = float((states - alone).abs().max() / alone.abs().max())
        rows.append(f"| {size} | {1e3 * seconds:.0f} | {one_by_one / seconds:.2f} | {apart:.1e} |")
    lengths = ", ".join(str(len(p)) for p in prompts)
    body = [
        f"`.venv/bin/python benchmarks/server_batching.py`: {len(prompts)} prompts of {lengths} tokens, float32,"
        f" {options.threads} thread; CPU time, the less of {options.rounds} rounds.",
        "",
        "| prompts in one forward | ms a prompt | times faster | state differs by, of its largest |",
        "|---|---|---|---|",
        *rows,
        CONCLUSION,
    ]
    print("\n".join(body))
    write_section("Server: batching", "\n".join(body))


if __name__ == "__main__":
    main()
