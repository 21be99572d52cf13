"""The published ChatPose at its true size, with random weights: memory, load, milliseconds a pose, against the floor.

    .venv/bin/python benchmarks/published_shapes.py [--sizes 7b 13b] [--bits none 8bit 4bit] [--out FILE.json]
    .venv/bin/python benchmarks/published_shapes.py --rehearse    # every step at a tiny shape, on any computer

What limits it: every forward reads all weights once (13 B in bfloat16: 26 GB), so a pose in one forward costs at least
bytes / memory bandwidth, and a token at a time costs that for every token. A picture adds the arithmetic of 576 more
positions. Bandwidth is measured here, with a copy on the same card. Writes '## Published ChatPose'. Needs an NVIDIA
card; says so where there is none.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from _results import write_section
from chatpose_server.language import llava_layout as layout
from chatpose_server.language.decoding import Decoder, Prompt, TemplateDraft, text_prompt
from chatpose_server.language.devices import GIB, check_quantization, pick_device, quantization_config
from chatpose_server.language.head import PoseHead
from chatpose_server.language.published import CLIP_SHAPE, KEPT_WHOLE, PUBLISHED_SHAPES, memory_of_shape

TINY = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
}  # fmt: skip
TINY_CLIP = {**CLIP_SHAPE, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}

VOCABULARY = 32003
WORDS, PATCHES, ANSWER = 60, 576, 11  # tokens of a prompt, of a picture, of "Sure, it is [SEG].</s>"
ROUNDS = 10
HOW = "`.venv/bin/python benchmarks/published_shapes.py`: the true shapes with random weights."
BATCHING = """
Requests that wait are not answered together here either: answers come one at a time. For one pose the trained answers
are guessed and verified in the forward that reads the prompt, the system prompt is read once at load, and a picture
once for all questions about it. A batch would help a card that several artists share, whose forwards wait for memory
(the weights are read once for all rows); but a padded row's state is not bit for bit what the same request has alone
(see "Server: batching"), so that with half precision an answer could depend on who else asks, and no card was here to
weigh that against. With 8 bit no answer is guessed: LLM.int8() rounds activations by what else is in the forward.
"""


def random_model(size: str, bits: str, device: Any) -> Any:
    """transformers' LLaVA with random weights, made on the card where they are plain, on the computer where not."""
    from transformers import LlavaForConditionalGeneration

    shape, clip = (TINY, TINY_CLIP) if size == "tiny" else (PUBLISHED_SHAPES[size], CLIP_SHAPE)
    config = layout.llava_config(shape, clip, VOCABULARY)
    torch.manual_seed(0)
    empty = layout.llava_model(config, "mlp2x_gelu")
    state = {}
    place = device.torch_name if bits == "none" else "cpu"
    for name, parameter in empty.named_parameters():
        width = parameter.shape[-1] if parameter.dim() > 1 else 1
        one = torch.empty(parameter.shape, dtype=torch.bfloat16, device=place)
        state[name] = one.fill_(1.0) if parameter.dim() == 1 else one.normal_(0, width**-0.5)
    if bits == "none":
        empty.load_state_dict(state, assign=True, strict=False)
        return empty.to(device.torch_name).eval()
    model = LlavaForConditionalGeneration.from_pretrained(
        None, config=config, state_dict=state, dtype=torch.bfloat16, device_map={"": device.torch_name},
        quantization_config=quantization_config(bits, torch.bfloat16, [*KEPT_WHOLE]),
    )  # fmt: skip
    return model.eval()


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(act: Callable[[], object]) -> float:
    """Median milliseconds."""
    times = []
    for _ in range(ROUNDS + 2):
        synchronise()
        start = time.perf_counter()
        act()
        synchronise()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def bandwidth(device: Any) -> float:
    """Bytes a second that a copy reads and writes on this card."""
    a = torch.empty(2 * GIB if device.kind == "cuda" else GIB // 64, dtype=torch.uint8, device=device.torch_name)
    b = torch.empty_like(a)
    return 2 * a.numel() / (timed(lambda: b.copy_(a)) / 1000)


def measure(size: str, bits: str, device: Any, bytes_a_second: float) -> dict[str, Any]:
    on_card = device.kind == "cuda"
    if on_card:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if on_card else 0
    start = time.perf_counter()
    model = random_model(size, bits, device)
    synchronise()
    load = time.perf_counter() - start
    taken = sum(p.numel() * p.element_size() for p in model.parameters())
    weights = torch.cuda.memory_allocated() - before if on_card else taken
    width = model.config.text_config.hidden_size
    head = PoseHead(width, width, layout.JOINTS).to(device.torch_name)
    embed = model.get_input_embeddings()
    ids = torch.randint(3, VOCABULARY, (WORDS,)).tolist()
    seen = torch.randn(1, 3, 336, 336, dtype=torch.bfloat16, device=device.torch_name)

    def decoder() -> Decoder:
        return Decoder(model.model.language_model, model.lm_head, embed, device.torch_name)

    def with_picture(start: int) -> torch.Tensor:
        words = embed(torch.tensor([ids], device=device.torch_name))
        if start > 30 + PATCHES:
            return words[:, start - PATCHES :]
        patches = model.get_image_features(pixel_values=seen).pooler_output[0][None]
        return torch.cat([words[:, :30], patches.to(words), words[:, 30:]], 1)[:, start:]

    picture = Prompt((*ids[:30], *[("picture", i) for i in range(PATCHES)], *ids[30:]), with_picture)
    words = text_prompt(ids, embed, device.torch_name)

    def answer(prompt: Prompt, on: Decoder, draft: Any) -> Any:
        made = on.generate(prompt, stop_ids=(), max_new_tokens=ANSWER, **({"draft": draft} if draft else {}))
        head(made.states[-3:-2])
        return made

    plain = answer(words, decoder(), None)
    draft, draft_seen = TemplateDraft([plain.ids]), TemplateDraft([answer(picture, decoder(), None).ids])
    verified = answer(words, decoder(), draft)
    drift = (verified.states.float() - plain.states.float())[: verified.accepted].norm(dim=-1)
    warm = decoder()
    answer(picture, warm, draft_seen)
    need = memory_of_shape("7b" if size == "tiny" else size, torch.bfloat16, bits)
    read = sum(p.numel() * p.element_size() for p in model.model.language_model.layers.parameters())
    read += model.lm_head.weight.numel() * model.lm_head.weight.element_size()
    with torch.inference_mode():
        return {
            "model": size, "bits": bits, "load s": round(load, 1), "weights GB": round(weights / 1e9, 1),
            "estimated GB": None if size == "tiny" else round(need.weights / 1e9, 1),
            "peak GB": round(torch.cuda.max_memory_allocated() / 1e9, 1) if on_card else None,
            "text greedy ms": round(timed(lambda: answer(words, decoder(), None)), 1),
            "text one forward ms": round(timed(lambda: answer(words, decoder(), draft)), 1),
            "image greedy ms": round(timed(lambda: answer(picture, decoder(), None)), 1),
            "image one forward ms": round(timed(lambda: answer(picture, decoder(), draft_seen)), 1),
            "same picture again ms": round(timed(lambda: answer(picture, warm, draft_seen)), 1),
            "floor ms a forward": round(1000 * read / bytes_a_second, 1),
            "draft accepted": f"{verified.accepted}/{ANSWER - 1}",
            "state drift": round(float((drift / plain.states.float().norm(dim=-1)[: len(drift)]).max()), 5)
            if len(drift) else None,
        }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; a row that failed shows why in its last column."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return (
        "\n".join(lines + ["| " + " | ".join(str(row.get(name, "")) for name in names) + " |" for row in rows]) + "\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["7b", "13b"], choices=["7b", "13b"])
    parser.add_argument("--bits", nargs="+", default=["none", "8bit", "4bit"], choices=["none", "8bit", "4bit"])
    parser.add_argument("--out", help="also write the rows as JSON")
    parser.add_argument("--rehearse", action="store_true", help="a tiny shape on the processor: does the script run?")
    args = parser.parse_args()
    if args.rehearse:
        print("REHEARSAL: a tiny shape on the processor; its numbers say nothing about the published model.")
        device = pick_device("cpu", "bfloat16")
        print(json.dumps(measure("tiny", "none", device, bandwidth(device))))
        return 0
    if not torch.cuda.is_available():
        print("NOT MEASURED: PyTorch finds no NVIDIA card here. Estimated memory only:", file=sys.stderr)
        rows = []
        for size in args.sizes:
            for bits in args.bits:
                need = memory_of_shape(size, torch.bfloat16, bits)
                rows.append({
                    "model": size, "bits": bits, "weights GB": round(need.weights / 1e9, 1),
                    "in all GB": round(need.total / 1e9, 1),
                })  # fmt: skip
                print(f"{size:>4} {bits:<5} weights {need.weights / 1e9:5.1f} GB, in all {need.total / 1e9:5.1f} GB")
        what = "**Not measured: there was no NVIDIA card.** Memory as computed from the shapes, and nothing else:"
        write_section("Published ChatPose", f"{HOW}\n\n{what}\n\n{table(rows)}\n{BATCHING}")
        return 3
    device = pick_device("cuda")
    speed = bandwidth(device)
    print(f"{device.label}: {speed / 1e12:.2f} TB/s measured, torch {torch.__version__}")
    rows = []
    for size in args.sizes:
        for bits in args.bits:
            try:
                check_quantization(bits, device)
                rows.append(measure(size, bits, device, speed))
            except (RuntimeError, ImportError) as error:
                rows.append({"model": size, "bits": bits, "failed": str(error).splitlines()[0]})
            print(json.dumps(rows[-1]), flush=True)
    measured = f"{device.label}, {speed / 1e12:.2f} TB/s measured, torch {torch.__version__}:"
    write_section("Published ChatPose", f"{HOW}\n\n{measured}\n\n{table(rows)}\n{BATCHING}")
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            json.dump({"card": device.label, "TB/s": speed / 1e12, "rows": rows}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
