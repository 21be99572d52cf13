"""A language model of a few thousand weights, for tests of everything around it."""

from __future__ import annotations

import torch
from chatpose_server.language import lora
from chatpose_server.language.head import ClassHead, PoseHead
from chatpose_server.language.poselm import PoseLMConfig, add_pose_token
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator(["she kneels with both arms raised", "Sure, it is the pose of a person."], trainer)
    return made


def backbone(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=tokenizer().get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=256,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # the usual start is so small that every answer is a near tie
        for p in model.parameters():
            p.mul_(4.0) if p.dim() > 1 else p
    return model


def config(**changes: object) -> PoseLMConfig:
    return PoseLMConfig(
        **{
            "base": "tiny",
            "hidden": 32,
            "inner": 16,
            "hypotheses": 3,
            "codes": ("a", "b"),
            "names": ("x", "y", "z"),
            **changes,
        }
    )


def trained_parts(seed: int = 1, **changes: object):
    """An adapter-injected backbone (as after training), the token, the heads and the header."""
    header = config(**changes)
    model = backbone()
    torch.manual_seed(seed)
    add_pose_token(model, torch.randn(32))
    lora.inject(
        model.get_decoder(), ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"), 4, 8.0
    )
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, lora.LoraLinear):
                module.up.normal_(std=0.05)
    head = PoseHead(32, 16, 22, header.hypotheses)
    codes = ClassHead(32, 16, len(header.codes)) if header.codes else None
    names = ClassHead(32, 16, len(header.names) + 1) if header.names else None
    return model, model.get_input_embeddings().weight[-1].detach().clone(), head, codes, names, header
