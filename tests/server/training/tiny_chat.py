"""Folders of tiny random models as transformers saves them: a language model, and one that sees pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

SPECIALS = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>", "<fake_token_around_image>", "<global-img>",
            "<end_of_utterance>"]  # fmt: skip
WORDS = "kneeling raised arms person image predict behavior Give pose? It is Sure. user assistant User: Assistant:"
SEEING = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ ' ' + c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
TALKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(template: str, eos: str) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [WORDS] * 4, trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIALS, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos, pad_token="<pad>", chat_template=template)


def language_model(folder: Path, *, tied: bool = True, seed: int = 0) -> Path:
    words = tokenizer(TALKING, "<|im_end|>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=tied, max_position_embeddings=256, eos_token_id=words.eos_token_id,
        pad_token_id=0, bos_token_id=None,
    )  # fmt: skip
    return _save(LlamaForCausalLM(config), words, folder)


def seeing_model(folder: Path, *, seed: int = 0) -> Path:
    """Idefics3, the family of SmolVLM: 4 places for a picture of 28 x 28."""
    words = tokenizer(SEEING, "<end_of_utterance>")
    image = Idefics3ImageProcessorPil(size={"longest_edge": 28}, max_image_size={"longest_edge": 28})
    processor = Idefics3Processor(image, words, image_seq_len=4, chat_template=SEEING)
    torch.manual_seed(seed)
    config = Idefics3Config(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 7,
        },
        text_config={
            "model_type": "llama", "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
            "pad_token_id": 0, "bos_token_id": None, "eos_token_id": words.eos_token_id,
        },
        image_token_id=words.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False,
        pad_token_id=0,
    )  # fmt: skip
    return _save(Idefics3ForConditionalGeneration(config), processor, folder)


def _save(model, writer, folder: Path) -> Path:
    with torch.no_grad():  # the usual start is so small that every answer is a near tie, and all states are alike
        for name, p in model.named_parameters():
            if p.dim() > 1 and "position" not in name:
                p.mul_(8.0 if ("layers" in name and "vision" not in name) or "connector" in name else 4.0)
        if model.lm_head.weight is not model.get_input_embeddings().weight:  # or no state could be sure of a token
            model.lm_head.weight.mul_(3.0)
    model.generation_config.eos_token_id = model.config.get_text_config().eos_token_id
    model.save_pretrained(folder)
    writer.save_pretrained(folder)
    return folder
