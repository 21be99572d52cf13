"""GGUF -> safetensors plus a fast tokenizer, once. Needs transformers, gguf and accelerate; knows nothing of the
cache.
"""

from __future__ import annotations

from pathlib import Path

from ..progress import Progress, no_progress


def gguf_to_safetensors(gguf: Path, out: Path, progress: Progress = no_progress) -> None:
    """Writes ``model.safetensors`` (bfloat16), ``config.json`` and ``tokenizer.json`` into ``out``.

    bfloat16 because the source has 4 bits a weight: its rounding is far below theirs, and the file is half as big.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    progress("Converting weights", 0.05)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    progress("Converting weights", 0.6)
    tied = bool(model.config.tie_word_embeddings)
    state = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        config.pop(key, None)
    type(model.config).from_dict(config).save_pretrained(out)
    progress("Converting the tokenizer", 0.8)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.backend_tokenizer.save(str(out / "tokenizer.json"))
    progress("Converting the tokenizer", 1.0)
