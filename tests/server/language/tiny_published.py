"""Makes tiny random checkpoints in the published layout (a few hundred kB), and answers for them by hand.

``reference_reply`` is written out from the published facts alone: numpy-like torch in float64, no cache, the whole
sequence again for every token, CLIP and LLaMA spelled out. It shares no code with the server.
"""

import functools
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import sentencepiece as spm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
CORPUS = [
    SYSTEM, "USER: ASSISTANT: USER: ASSISTANT:",
    "There is a person: kneeling with arms raised Please output this person's SMPL pose. Give the SMPL pose.",
    "What's the SMPL pose of this person? Use SMPL pose to describe this person's behavior. The SMPL pose is?",
    "Can you predict the SMPL pose of the person in this image? It is Sure, it is The SMPL format of this",
]  # fmt: skip
PIECES = 480
HIDDEN, INNER, LAYERS, HEADS = 64, 128, 3, 4
CLIP_HIDDEN, CLIP_INNER, CLIP_LAYERS, CLIP_HEADS, IMAGE, PATCH = 32, 64, 3, 2, 42, 14
VOCABULARIES = {
    "with im_start": ("[SEG]", "<im_start>", "<im_end>"), "without im_start": ("[SEG]",),
    "plain": (),  # LLaVA before it is ChatPose: no pose token, no pose head
}  # fmt: skip
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Tiny:
    folder: Path
    state: dict[str, torch.Tensor]  # published names, float32
    clip: dict[str, torch.Tensor]  # CLIP's own names, float32
    added: tuple[str, ...]
    legacy: bool

    @functools.cached_property
    def exact(self) -> dict[str, torch.Tensor]:
        return {k: v.double() for k, v in self.state.items() if k.startswith(("model.layers", "model.norm"))}


_vocabulary: list[bytes] = []


def vocabulary_file() -> bytes:
    if not _vocabulary:
        out = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS * 3), model_writer=out, vocab_size=PIECES, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
            character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2, num_threads=1,
        )  # fmt: skip
        _vocabulary.append(out.getvalue())
    return _vocabulary[0]


def write_tokenizer(folder: Path, added: tuple[str, ...], legacy: bool | None) -> None:
    (folder / "tokenizer.model").write_bytes(vocabulary_file())
    (folder / "added_tokens.json").write_text(json.dumps({name: PIECES + i for i, name in enumerate(added)}))

    def token(content):
        return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    specials = {"bos_token": token("<s>"), "eos_token": token("</s>"), "unk_token": token("<unk>")}
    specials["pad_token"] = "<unk>"
    if len(added) > 1:
        specials["additional_special_tokens"] = list(added[1:])
    (folder / "special_tokens_map.json").write_text(json.dumps(specials))
    config = {
        "add_bos_token": True, "add_eos_token": False, "model_max_length": 512, "pad_token": None,
        "padding_side": "right", "sp_model_kwargs": {}, "tokenizer_class": "LlamaTokenizer",
        **{k: {"__type": "AddedToken", **v} for k, v in specials.items() if isinstance(v, dict)},
    }  # fmt: skip
    if legacy is not None:
        config["legacy"] = legacy
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def random_state(seed: int, rows: int, projector: str) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return torch.randn(*shape, generator=g) * scale / math.sqrt(shape[-1])

    state = {
        "model.embed_tokens.weight": torch.randn(rows, HIDDEN, generator=g),
        "model.norm.weight": 1 + 0.1 * torch.randn(HIDDEN, generator=g),
        "lm_head.weight": normal(rows, HIDDEN, scale=2.0),
        "model.text_hidden_fcs.0.0.weight": normal(HIDDEN, HIDDEN, scale=1.5),
        "model.text_hidden_fcs.0.0.bias": 0.1 * torch.randn(HIDDEN, generator=g),
        "model.text_hidden_fcs.0.2.weight": normal(144, HIDDEN, scale=1.5),
        "model.text_hidden_fcs.0.2.bias": 0.5 * torch.randn(144, generator=g),
    }
    depth = {"linear": 1, "mlp2x_gelu": 2, "mlp3x_gelu": 3}[projector]
    for i in range(depth):
        name = "model.mm_projector." + ("" if projector == "linear" else f"{2 * i}.")
        state[name + "weight"] = normal(HIDDEN, HIDDEN if i else CLIP_HIDDEN)
        state[name + "bias"] = 0.1 * torch.randn(HIDDEN, generator=g)
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        for name in "qkvo":
            state[f"{p}self_attn.{name}_proj.weight"] = normal(HIDDEN, HIDDEN, scale=1.3)
        state[f"{p}self_attn.rotary_emb.inv_freq"] = 1 / 10000 ** (torch.arange(0, 16, 2) / 16)
        state[f"{p}mlp.gate_proj.weight"] = normal(INNER, HIDDEN)
        state[f"{p}mlp.up_proj.weight"] = normal(INNER, HIDDEN)
        state[f"{p}mlp.down_proj.weight"] = normal(HIDDEN, INNER, scale=1.5)
        for name in ("input_layernorm", "post_attention_layernorm"):
            state[f"{p}{name}.weight"] = 1 + 0.1 * torch.randn(HIDDEN, generator=g)
    return state


def random_clip(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    width, p = CLIP_HIDDEN, "vision_model."
    state = {
        f"{p}embeddings.class_embedding": torch.randn(width, generator=g),
        f"{p}embeddings.patch_embedding.weight": torch.randn(width, 3, PATCH, PATCH, generator=g) / (PATCH * 1.7),
        f"{p}embeddings.position_embedding.weight": torch.randn((IMAGE // PATCH) ** 2 + 1, width, generator=g) * 0.3,
        f"{p}embeddings.position_ids": torch.arange((IMAGE // PATCH) ** 2 + 1)[None],
    }

    def norm(name):
        state[f"{p}{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=g)
        state[f"{p}{name}.bias"] = 0.1 * torch.randn(width, generator=g)

    def linear(name, out, into):
        state[f"{p}{name}.weight"] = torch.randn(out, into, generator=g) / math.sqrt(into)
        state[f"{p}{name}.bias"] = 0.1 * torch.randn(out, generator=g)

    norm("pre_layrnorm")
    norm("post_layernorm")
    for i in range(CLIP_LAYERS):
        q = f"encoder.layers.{i}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{q}self_attn.{name}", width, width)
        linear(f"{q}mlp.fc1", CLIP_INNER, width)
        linear(f"{q}mlp.fc2", width, CLIP_INNER)
        norm(f"{q}layer_norm1")
        norm(f"{q}layer_norm2")
    return state


def make(
    folder: Path, *, vocabulary: str = "with im_start", files: str = "bin", legacy: bool | None = False,
    projector: str = "mlp2x_gelu", full_clip: bool = True, seed: int = 0, plans=None,
) -> Tiny:  # fmt: skip
    """``files``: bin or safetensors, two parts each. ``full_clip``: CLIP's folder holds its text tower too, as a .bin.
    ``plans``: tiny -> (prompt ids with None for the picture, picture, {step: token}, steps): what the model shall say.
    """
    added = VOCABULARIES[vocabulary]
    state, clip = random_state(seed, PIECES + len(added), projector), random_clip(seed + 1)
    if not added:
        state = {k: v for k, v in state.items() if "hidden_fcs" not in k}
    folder.mkdir(parents=True)
    write_tokenizer(folder, added, legacy)
    tiny = Tiny(folder, state, clip, added, bool(legacy if legacy is not None else True))
    if plans is not None:
        _bend(tiny, plans(tiny))
    config = {
        "architectures": ["HumanGPTForCausalLM"], "model_type": "llava", "hidden_size": HIDDEN, "hidden_act": "silu",
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0, "vocab_size": PIECES + len(added), "use_cache": False,
        "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.31.0",
        "mm_vision_tower": "clip-tiny", "vision_tower": "clip-tiny", "pretrain_mm_mlp_adapter": None,
        "mm_projector_type": projector, "mm_hidden_size": CLIP_HIDDEN, "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch", "mm_use_im_start_end": len(added) > 1, "mm_use_im_patch_token": False,
        "use_mm_proj": True, "out_dim": 144,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(state)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    where = {}
    for i, part in enumerate(parts, 1):
        some = {name: state[name].clone() for name in part}
        if files == "bin":
            file = f"pytorch_model-{i:05d}-of-00002.bin"
            torch.save(some, folder / file)
        else:
            file = f"model-{i:05d}-of-00002.safetensors"
            save_file(some, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    index = "pytorch_model.bin.index.json" if files == "bin" else "model.safetensors.index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    make_clip(folder.parent / "clip-tiny", clip, full=full_clip)
    return tiny


def make_clip(folder: Path, clip: dict[str, torch.Tensor], *, full: bool) -> None:
    folder.mkdir(exist_ok=True)
    vision = {
        "hidden_size": CLIP_HIDDEN, "intermediate_size": CLIP_INNER, "num_hidden_layers": CLIP_LAYERS,
        "num_attention_heads": CLIP_HEADS, "image_size": IMAGE, "patch_size": PATCH, "hidden_act": "quick_gelu",
    }  # fmt: skip
    if full:
        (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision}))
        text = {"text_model.embeddings.token_embedding.weight": torch.zeros(8, 4), "logit_scale": torch.ones(())}
        torch.save({**clip, **text}, folder / "pytorch_model.bin")
    else:
        (folder / "config.json").write_text(json.dumps({"model_type": "clip_vision_model", **vision}))
        save_file(clip, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "preprocessor_config.json").write_text(
        json.dumps({
            "crop_size": IMAGE, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3,
            "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD, "size": IMAGE,
        })
    )  # fmt: skip


def _bend(tiny: Tiny, plans) -> None:
    """Turns lm_head's rows of [SEG] and </s>: greedy decoding says them where the plans do, and nowhere else there."""
    head = tiny.state["lm_head.weight"]
    ends = [2, PIECES]
    states, wanted = [], []
    for ids, image, plan, steps in plans:
        read = embed(tiny, ids, image)
        for step in range(steps):
            states.append(states_of(tiny, read)[-1])
            logits = head.double() @ states[-1]
            logits[ends] = -math.inf
            wanted.append(plan.get(step, int(logits.argmax())))
            if wanted[-1] == 2:
                break
            read = torch.cat([read, embed(tiny, wanted[-1:], None)])
    states, wanted = torch.stack(states), torch.tensor(wanted)
    for row in ends:  # fewer lines than dimensions, so that a row that fits them all exists
        logits = states @ head.double().T
        others = logits.scatter(1, wanted[:, None], -math.inf).max(1).values
        said = logits.gather(1, wanted[:, None])[:, 0]
        target = torch.where(wanted == row, others + 2, torch.minimum(logits[:, row], said - 2))
        head[row] += torch.linalg.lstsq(states, target - logits[:, row], driver="gelsd").solution.float()


# -- the reference -----------------------------------------------------------------------------------------------------
def pixels_of(image) -> torch.Tensor:
    """Shortest side to IMAGE (Pillow's bicubic), the middle square, normalised: (3, IMAGE, IMAGE) float64."""
    from PIL import Image

    w, h = image.size
    if w <= h:
        size = (IMAGE, int(IMAGE * h / w))
    else:
        size = (int(IMAGE * w / h), IMAGE)
    small = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - IMAGE) // 2, (size[1] - IMAGE) // 2
    square = small.crop((left, top, left + IMAGE, top + IMAGE))
    data = torch.tensor(list(square.tobytes()), dtype=torch.float64).view(IMAGE, IMAGE, 3).permute(2, 0, 1) / 255
    return (data - torch.tensor(MEAN, dtype=torch.float64)[:, None, None]) / torch.tensor(STD)[:, None, None].double()


def image_features(tiny: Tiny, image) -> torch.Tensor:
    w = {k.removeprefix("vision_model."): v.double() for k, v in tiny.clip.items()}
    patches = F.conv2d(pixels_of(image)[None], w["embeddings.patch_embedding.weight"], stride=PATCH)[0].flatten(1).T
    x = torch.cat([w["embeddings.class_embedding"][None], patches]) + w["embeddings.position_embedding.weight"]

    def norm(x, name):
        return F.layer_norm(x, (CLIP_HIDDEN,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = norm(x, "pre_layrnorm")
    hidden = [x]
    for i in range(CLIP_LAYERS):
        p = f"encoder.layers.{i}."
        y = norm(x, p + "layer_norm1")
        q, k, v = (linear(y, f"{p}self_attn.{n}_proj").view(len(y), CLIP_HEADS, -1).transpose(0, 1) for n in "qkv")
        a = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + linear(a.transpose(0, 1).flatten(1), p + "self_attn.out_proj")
        y = linear(norm(x, p + "layer_norm2"), p + "mlp.fc1")
        x = x + linear(y * torch.sigmoid(1.702 * y), p + "mlp.fc2")
        hidden.append(x)
    x = hidden[-2][1:]
    layers = sorted(k for k in tiny.state if k.startswith("model.mm_projector") and k.endswith("weight"))
    for i, key in enumerate(layers):
        x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2))) if i else x
        x = x @ tiny.state[key].double().T + tiny.state[key.replace("weight", "bias")].double()
    return x


def embed(tiny: Tiny, ids, image) -> torch.Tensor:
    table = tiny.state["model.embed_tokens.weight"].double()
    return torch.cat([image_features(tiny, image) if i is None else table[i][None] for i in ids])


def states_of(tiny: Tiny, x: torch.Tensor) -> torch.Tensor:
    """LLaMA, spelled out: (N, H) -> (N, H) after the final norm."""
    w = tiny.exact
    n, size = len(x), HIDDEN // HEADS
    angle = torch.arange(n)[:, None].double() / 10000 ** (torch.arange(0, size, 2).double() / size)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    mask = torch.full((n, n), -math.inf, dtype=torch.float64).triu(1)

    def norm(x, name):
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-5) * w[name]

    def turn(x):
        return x * cos + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin

    for i in range(LAYERS):
        p = f"model.layers.{i}."
        y = norm(x, p + "input_layernorm.weight")
        q, k, v = ((y @ w[f"{p}self_attn.{c}_proj.weight"].T).view(n, HEADS, size).transpose(0, 1) for c in "qkv")
        a = torch.softmax(turn(q) @ turn(k).transpose(1, 2) / math.sqrt(size) + mask, -1) @ v
        x = x + a.transpose(0, 1).reshape(n, HIDDEN) @ w[f"{p}self_attn.o_proj.weight"].T
        y = norm(x, p + "post_attention_layernorm.weight")
        x = (
            x
            + (F.silu(y @ w[f"{p}mlp.gate_proj.weight"].T) * (y @ w[f"{p}mlp.up_proj.weight"].T))
            @ w[f"{p}mlp.down_proj.weight"].T
        )
    return norm(x, "model.norm.weight")


def reference_reply(tiny: Tiny, ids, image=None, limit: int = 24):
    """-> (token ids, list of (22, 3, 3) poses in our frame, one for each [SEG])."""
    said, poses, read = [], [], embed(tiny, ids, image)
    while len(said) < limit and (not said or said[-1] != 2):
        state = states_of(tiny, read)[-1]
        said.append(int((tiny.state["lm_head.weight"].double() @ state).argmax()))
        read = torch.cat([read, embed(tiny, said[-1:], None)])
        if said[-1] == PIECES:  # the state that predicts [SEG], not the state of [SEG]
            poses.append(pose_of(tiny, state))
    return said, poses


def pose_of(tiny: Tiny, state: torch.Tensor) -> torch.Tensor:
    w = {k.removeprefix("model.text_hidden_fcs.0."): v.double() for k, v in tiny.state.items() if "hidden_fcs" in k}
    numbers = w["2.weight"] @ torch.relu(w["0.weight"] @ state + w["0.bias"]) + w["2.bias"]
    matrices = []
    for six in numbers.view(24, 6)[:22]:
        a, b = six[:3], six[3:]  # column 0, column 1
        x = a / a.norm()
        y = b - (x @ b) * x
        y = y / y.norm()
        matrices.append(torch.stack([x, y, torch.linalg.cross(x, y)], 1))
    matrices[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]).double()) @ matrices[0]
    return torch.stack(matrices)


def reference_ids(tiny: Tiny, text: str) -> list:
    """The old slow tokeniser, for prompts whose added tokens are all [SEG], <im_start>, <im_end> and </s>."""
    pieces = spm.SentencePieceProcessor(model_proto=vocabulary_file())
    ids: list = [1]
    for i, stretch in enumerate(text.split("<image>")):
        ids += [None] if i else []
        left = ("" if tiny.legacy else "\u2581") + stretch
        while left:
            found = [(left.find(t), t) for t in (*tiny.added, "</s>") if t in left]
            at, token = min(found) if found else (len(left), None)
            words = left[:at].rstrip() if token in tiny.added else left[:at]
            if words and tiny.legacy:
                ids += pieces.encode(words)
            elif words.startswith("\u2581"):
                ids += pieces.encode(words[1:])
            elif words:
                names = pieces.encode(words, out_type=str)
                if not words.startswith(" ") and names[0].startswith("\u2581"):
                    names[0] = names[0][1:]
                ids += [pieces.piece_to_id(name) for name in names if name]
            if token is None:
                break
            ids.append(2 if token == "</s>" else PIECES + tiny.added.index(token))
            left = left[at + len(token) :]
            left = left.lstrip() if token in tiny.added else left
    return ids
