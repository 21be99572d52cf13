"""Small files of random weights in the published layouts, as the original programs write them: containers, keys, junk
beside the weights. ``python make_published.py FOLDER`` leaves them there to look at.
"""

import argparse
import itertools
import sys
import types
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

PUBLISHED_PARENTS = (-1, -1, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)


def linear(out, inp, g, gain=1.0):
    return torch.randn(out, inp, generator=g) * gain / inp**0.5, torch.randn(out, generator=g) * 0.1


def batch_norm(n, g):
    return {
        "weight": 1 + 0.2 * torch.randn(n, generator=g), "bias": 0.1 * torch.randn(n, generator=g),
        "running_mean": 0.1 * torch.randn(n, generator=g), "running_var": 0.5 + torch.rand(n, generator=g),
        "num_batches_tracked": torch.tensor(123),
    }  # fmt: skip


def vposer_v2_state(seed=0, hidden=512, latent=32):
    g = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, n in (("encoder_net.1", 63), ("encoder_net.4", hidden)):
        state |= {f"{name}.{k}": v for k, v in batch_norm(n, g).items()}
    sizes = {
        "encoder_net.2": (hidden, 63), "encoder_net.6": (hidden, hidden), "encoder_net.7": (hidden, hidden),
        "encoder_net.8.mu": (latent, hidden), "encoder_net.8.logvar": (latent, hidden),
        "decoder_net.0": (hidden, latent), "decoder_net.3": (hidden, hidden), "decoder_net.5": (126, hidden),
    }  # fmt: skip
    for name, (out, inp) in sizes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = linear(out, inp, g, 1.4)
    return state


def vposer_v1_state(seed=0, inputs=63, hidden=512, latent=32):
    g = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for name, n in (("bodyprior_enc_bn1", inputs), ("bodyprior_enc_bn2", hidden)):
        state |= {f"{name}.{k}": v for k, v in batch_norm(n, g).items()}
    sizes = {
        "bodyprior_enc_fc1": (hidden, inputs), "bodyprior_enc_fc2": (hidden, hidden),
        "bodyprior_enc_mu": (latent, hidden), "bodyprior_enc_logvar": (latent, hidden),
        "bodyprior_dec_fc1": (hidden, latent), "bodyprior_dec_fc2": (hidden, hidden),
        "bodyprior_dec_out": (126, hidden),
    }  # fmt: skip
    for name, (out, inp) in sizes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = linear(out, inp, g, 1.4)
    return state


def posendf_state(seed=0, sizes=(40, 32, 24)):
    g = torch.Generator().manual_seed(seed)
    state = OrderedDict()
    for i, parent in enumerate(PUBLISHED_PARENTS):
        inp = 4 if parent == -1 else 10
        state[f"enc.net.{i}.net.0.weight"], state[f"enc.net.{i}.net.0.bias"] = linear(10, inp, g, 1.5)
        state[f"enc.net.{i}.net.2.weight"], state[f"enc.net.{i}.net.2.bias"] = linear(6, 10, g, 1.5)
    widths = (126, *sizes, 1)
    for k, (a, b) in enumerate(itertools.pairwise(widths)):
        state[f"dfnet.lin{k}.weight"], state[f"dfnet.lin{k}.bias"] = linear(b, a, g, 1.4)
    state[f"dfnet.lin{len(sizes)}.bias"] += 0.3
    return state


def _foreign(module: str, name: str, base: type = object) -> type:
    """A class of a package that is not installed, so that pickle writes its name."""
    made = type(name, (base,), {"__module__": module})
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    setattr(sys.modules[module], name, made)
    return made


def forget_foreign() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] in ("pytorch_lightning", "dotmap")]:
        del sys.modules[name]


def write_vposer_v2(folder: Path, seed=0, name="V02_05_epoch=13_val_loss=0.03.ckpt", legacy=False) -> Path:
    stopping = _foreign("pytorch_lightning.callbacks.early_stopping", "EarlyStopping")
    dot_map = _foreign("dotmap", "DotMap", OrderedDict)
    parameters = dot_map(work_dir="somewhere", keep=True)
    parameters.extra = stopping()
    state = {f"vp_model.{k}": v for k, v in vposer_v2_state(seed).items()}
    state["bm_train.shapedirs"] = torch.zeros(7, 3, 2)
    saved = {
        "epoch": 13, "global_step": 9000, "pytorch-lightning_version": "1.1.8", "callbacks": {stopping: {"wait": 3}},
        "state_dict": state, "hparams_name": "hparams", "hyper_parameters": argparse.Namespace(vp_ps=parameters),
        "optimizer_states": [{"state": {0: {"step": 3}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}],
    }  # fmt: skip
    snapshots = folder / "V02_05" / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    torch.save(saved, snapshots / name, _use_new_zipfile_serialization=not legacy)
    forget_foreign()
    (folder / "V02_05" / "V02_05.yaml").write_text(
        "data_parms:\n  num_timeseq_frames: {}\nmodel_params:\n  latentD: 32\n  num_neurons: 512\n", encoding="utf-8"
    )
    return folder / "V02_05"


def write_vposer_v1(folder: Path, seed=0, inputs=63) -> Path:
    snapshots = folder / "vposer_v1_0" / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    torch.save(vposer_v1_state(seed, inputs), snapshots / "TR00_E096.pt", _use_new_zipfile_serialization=False)
    (folder / "vposer_v1_0" / "TR00_004_00_WO_accad.ini").write_text("[All]\nnum_neurons : 512\n", encoding="utf-8")
    (folder / "vposer_v1_0" / "vposer_smpl.py").write_text("raise SystemExit('never run')\n", encoding="utf-8")
    return folder / "vposer_v1_0"


def write_posendf(folder: Path, seed=0, name="version2", act="softplus", dims="40,32,24", config=True) -> Path:
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    sizes = tuple(int(n) for n in dims.replace(" ", "").strip("[]").split(","))
    parameter = nn.Parameter(torch.zeros(3))
    adam = torch.optim.Adam([parameter])
    saved = {
        "epoch": 7, "model_state_dict": posendf_state(seed, sizes), "optimizer_state_dict": adam.state_dict(),
    }  # fmt: skip
    torch.save(saved, folder / "checkpoint_epoch_best.tar", _use_new_zipfile_serialization=False)
    if config:
        (folder / "config.yaml").write_text(
            f"experiment:\n  exp_name: test\nmodel:\n  StrEnc:\n    use: true\n    act: {act}\n"
            f"  DFNet:\n    dims: {dims}\n    act: {act}\n    beta: 100\n",
            encoding="utf-8",
        )
    return folder


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(write_vposer_v2(target), write_vposer_v1(target), write_posendf(target))
