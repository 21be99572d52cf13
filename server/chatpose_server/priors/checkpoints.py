"""Published prior weights: which family a file or folder is, and a prior from it. Knows no tasks.

| what lies there | family |
|---|---|
| ``V02_05/`` with ``snapshots/*.ckpt`` (the newest is taken), or the ``.ckpt``: keys ``vp_model.*`` | ``vposer-v2`` |
| ``vposer_v1_0/`` with ``snapshots/TR00_E096.pt``, or the ``.pt``: keys ``bodyprior_*`` | ``vposer-v1`` |
| ``version2/`` with ``checkpoint_epoch_best.tar``, ``config.yaml``: keys ``enc.net.*``, ``dfnet.*`` | ``posendf-*`` |
| one of the above as the zip it was downloaded as | the same |
| ``.safetensors`` that ``convert_prior`` or our training wrote | as its header says |

Pose-NDF's two published families have the same keys; see ``_posendf_family`` for how they are told apart. Layer sizes
are read from the tensors. Files are never unpickled: see ``torchfile``.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from .posendf import JOINT_COUNT, Activation, Family, PoseNDF
from .torchfile import CheckpointError, read_torch_file
from .vposer import V1_KEYS, V2_KEYS, VPoser

WEIGHTS: Final = Path(__file__).parent / "weights"
EMBEDDED: Final[Mapping[str, Path]] = {
    "vposer": WEIGHTS / "vposer.safetensors",
    "posendf": WEIGHTS / "posendf.safetensors",
}
"""Our own small weights, which ship with the package."""
CONSENSUS: Final = WEIGHTS / "consensus.safetensors"

AnyFamily = Literal["vposer-v2", "vposer-v1", "chatpose-vposer", "posendf-version2", "posendf-main", "chatpose-posendf"]
_ENDINGS: Final = (".ckpt", ".pt", ".pth", ".tar", ".safetensors")
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, IndexError, KeyError)
_MAX_SETTINGS_BYTES: Final = 1_000_000
_MAX_UNZIPPED: Final = 2**31
_BUFFERS: Final = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Checkpoint:
    """A recognised file: ``state`` under the family's published keys without their prefix, ``settings`` beside it."""

    family: AnyFamily
    state: Mapping[str, Tensor]
    settings: Mapping[str, str]


@functools.cache
def embedded_prior(name: Literal["vposer", "posendf"]) -> VPoser | PoseNDF:
    """Our own VPoser or Pose-NDF, loaded once."""
    return load_prior(EMBEDDED[name])


@functools.cache
def embedded_tables() -> Mapping[str, Tensor]:
    """What joins our two priors; see ``consensus.Tables``."""
    return load_file(CONSENSUS)


def load_prior(path: str | os.PathLike[str], family: AnyFamily | None = None) -> VPoser | PoseNDF:
    """A prior from published files, or from ours. On the CPU, float32, in evaluation mode.

    ``family`` overrules what the files seem to be: give ``posendf-main`` for weights of Pose-NDF's older branch.
    Raises CheckpointError.
    """
    checkpoint = read_checkpoint(path)
    if family is not None:
        if family.partition("-")[0] != checkpoint.family.partition("-")[0] and not family.startswith("chatpose"):
            raise CheckpointError(f"These weights are {checkpoint.family}, not {family}. Leave the family out.")
        checkpoint = replace(checkpoint, family=family)
    return make_prior(checkpoint)


def convert_prior(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Writes published weights once as safetensors, which loads faster and needs no trust. Returns ``target``."""
    checkpoint = read_checkpoint(path)
    state = {k: v.contiguous() for k, v in checkpoint.state.items()}
    save_file(state, target, {"family": checkpoint.family, **checkpoint.settings})
    return Path(target)


def make_prior(checkpoint: Checkpoint) -> VPoser | PoseNDF:
    """The network that a checkpoint's tensors describe. Raises CheckpointError where they describe none."""
    try:
        if checkpoint.family.endswith("vposer") or checkpoint.family.startswith("vposer"):
            return _make_vposer(checkpoint)
        return _make_posendf(checkpoint)
    except (KeyError, RuntimeError, IndexError, ValueError, TypeError, OverflowError, MemoryError) as error:
        if isinstance(error, CheckpointError):
            raise
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"These weights are not a whole {checkpoint.family} ({why}). Download them again."
        ) from error


# -- recognising -----------------------------------------------------------------------------------------------------
def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """What lies at ``path``: a weights file, a published folder or its zip. Raises CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"There is nothing at '{path.name}'. Check the path.")
    if path.is_dir():
        return read_checkpoint(_newest(path))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if zipfile.is_zipfile(path) and not _is_torch_zip(path):
        return _read_download(path)
    state = _find_state(read_torch_file(path), path.name)
    if any(k.startswith("vp_model.") for k in state):
        # bm_train.* beside it are buffers of the licensed body the weights were trained with
        return Checkpoint("vposer-v2", _under(state, "vp_model."), {})
    if any(k.startswith("bodyprior_") for k in state):
        return Checkpoint("vposer-v1", dict(state), {})
    if "encoder_net.1.weight" in state:
        return Checkpoint("vposer-v2", dict(state), {})
    state = _under(state, "module.") or state
    if any(k.startswith("dfnet.") for k in state):
        config = _read_config(path.parent)
        return Checkpoint(_posendf_family(config, path), dict(state), _posendf_settings(config))
    raise CheckpointError(f"'{path.name}' holds weights, but neither VPoser's nor Pose-NDF's.")


def _newest(folder: Path) -> Path:
    """The weights of a published folder: the one called best, else the newest, as the original loaders choose."""
    files = [p for e in _ENDINGS for p in folder.rglob(f"*{e}") if p.is_file()]
    if not files:
        raise CheckpointError(f"The folder '{folder.name}' holds no weights ({', '.join(_ENDINGS)}).")
    best = [p for p in files if "best" in p.stem.lower()]
    return max(best or files, key=lambda p: (p.stat().st_mtime, p.name))


def _is_torch_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(n == "data.pkl" or n.endswith("/data.pkl") for n in archive.namelist())
    except _ZIP_ERRORS:
        return True  # damaged: whoever reads it says so


def _read_download(path: Path) -> Checkpoint:
    """A published zip: its weights and settings are put in a temporary folder, under flat names of our own."""
    try:
        return _unpacked(path)
    except _ZIP_ERRORS as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"'{path.name}' is a damaged zip, or has a password. Download it again.") from error


def _unpacked(path: Path) -> Checkpoint:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as temporary:
        wanted = [i for i in archive.infolist() if i.filename.lower().endswith((*_ENDINGS, ".yaml", ".yml"))]
        wanted = [i for i in wanted if "__MACOSX" not in i.filename]
        if sum(i.file_size for i in wanted) > _MAX_UNZIPPED:
            raise CheckpointError(f"'{path.name}' is far bigger than any published prior.")
        folder = Path(temporary) / path.stem
        for info in sorted(wanted, key=lambda i: (i.date_time, i.filename)):
            parts = [re.sub(r"[^\w.=-]", "_", p) for p in info.filename.split("/") if p not in ("", ".", "..")]
            out = folder.joinpath(*parts)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(archive.read(info))
            stamp = 1_000_000_000 + wanted.index(info) if len(wanted) < 2 else _stamp(info.date_time)
            os.utime(out, (stamp, stamp))
        return read_checkpoint(folder)


def _stamp(date_time: tuple[int, ...]) -> int:
    year, month, day, hour, minute, second = date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60 + second - 62_000_000_000


def _find_state(saved: Any, name: str) -> dict[str, Tensor]:
    """The state dict in what was saved: the dict itself, or one level in (``state_dict``, ``model_state_dict``)."""
    for key in ("state_dict", "model_state_dict", None):
        inner = saved if key is None else saved.get(key) if isinstance(saved, dict) else None
        if isinstance(inner, dict):
            state = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
            if state:
                return state
    raise CheckpointError(f"'{name}' holds no weights: it is neither a state dict nor has one inside.")


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def _read_safetensors(path: Path) -> Checkpoint:
    try:
        with safe_open(path, "pt") as f:
            header = dict(f.metadata() or {})
            state = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"'{path.name}' is not a safetensors file, or is damaged. Download it again.") from error
    family = header.pop("family", "")
    if family not in get_args(AnyFamily):
        raise CheckpointError(f"'{path.name}' does not say which prior it is. Convert the published file again.")
    return Checkpoint(family, state, header)


# -- VPoser ----------------------------------------------------------------------------------------------------------
def _make_vposer(checkpoint: Checkpoint) -> VPoser:
    state = checkpoint.state
    keys = V1_KEYS if checkpoint.family == "vposer-v1" else V2_KEYS
    hidden, inputs = state[f"{keys['enc_fc1']}.weight"].shape
    model = VPoser(
        family=checkpoint.family,
        hidden=hidden,
        inputs=inputs,
        latent=state[f"{keys['enc_mu']}.weight"].shape[0],
        slope=0.2 if checkpoint.family == "vposer-v1" else 0.01,
        third_layer=checkpoint.family != "vposer-v1",
    )
    if inputs not in (JOINT_COUNT * 3, JOINT_COUNT * 9):
        raise CheckpointError(f"This VPoser takes {inputs} numbers; only bodies of {JOINT_COUNT} joints are read.")
    _refuse_unknown(state, [f"{k}." for k in keys.values()])
    model.load_state_dict(
        {
            f"{ours}.{leaf}": state[f"{theirs}.{leaf}"].float()
            for ours, theirs in keys.items()
            for leaf in (_BUFFERS if "norm" in ours else _BUFFERS[:2])
        }
        | {f"{n}.num_batches_tracked": torch.tensor(0) for n in ("enc_norm1", "enc_norm2")}
    )
    return model.eval().requires_grad_(requires_grad=False)


def vposer_state(model: VPoser) -> dict[str, Tensor]:
    """A VPoser's weights under V2's keys, contiguous: how our own are written."""
    state = model.state_dict()
    keys = V1_KEYS if model.family == "vposer-v1" else V2_KEYS
    return {
        f"{theirs}.{leaf}": state[f"{ours}.{leaf}"].detach().clone()
        for ours, theirs in keys.items()
        for leaf in (_BUFFERS if "norm" in ours else _BUFFERS[:2])
    }


# -- Pose-NDF --------------------------------------------------------------------------------------------------------
def _make_posendf(checkpoint: Checkpoint) -> PoseNDF:
    state = checkpoint.state
    layers = sorted(int(k.split(".")[1][3:]) for k in state if re.fullmatch(r"dfnet\.lin\d+\.weight", k))
    if layers != list(range(len(layers))) or not layers:
        raise CheckpointError("These Pose-NDF weights lack layers of their distance network. Download them again.")
    _refuse_unknown(state, ["enc.net.", "dfnet.lin"])
    if state["dfnet.lin0.weight"].shape[1] != JOINT_COUNT * 6:
        raise CheckpointError("These Pose-NDF weights have another body encoder than the published one.")
    settings = checkpoint.settings
    activation: Activation = _activation(settings.get("activation", "softplus"))
    model = PoseNDF(
        _family(checkpoint.family),
        sizes=tuple(state[f"dfnet.lin{k}.weight"].shape[0] for k in layers[:-1]),
        activation=activation,
        encoder_activation=_activation(settings.get("encoder_activation", activation)),
        beta=float(settings.get("beta", 100.0)),
    )
    model.load_published_state({k: v.float() for k, v in state.items()})
    return model.eval().requires_grad_(requires_grad=False)


def _family(family: str) -> Family:
    for known in get_args(Family):
        if known == family:
            return known
    raise CheckpointError(f"'{family}' is not a family of Pose-NDF weights.")


def _activation(name: str) -> Activation:
    for known in get_args(Activation):
        if known == name:
            return known
    raise CheckpointError(f"This Pose-NDF uses '{name}' between its layers; softplus, lrelu and relu are read.")


def _refuse_unknown(state: Mapping[str, Tensor], prefixes: list[str]) -> None:
    unknown = [k for k in state if not k.startswith(tuple(prefixes))]
    if unknown:
        raise CheckpointError(
            f"These weights hold '{unknown[0]}', which the published network does not have: they are another model's."
        )


class _SettingsLoader(yaml.SafeLoader):
    """YAML that treats Python tags as nothing: settings files of the time carry some."""


def _nothing(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> None:
    """What a tag that is not YAML's own stands for."""


_SettingsLoader.add_multi_constructor("", _nothing)


def _read_config(folder: Path) -> dict[str, Any]:
    """Pose-NDF's config, beside the weights or one folder up; empty where there is none."""
    for place in (folder, folder.parent):
        files = [*place.glob("*.yaml"), *place.glob("*.yml")]
        for path in sorted(files, key=lambda p: ("config" not in p.name, p.name)):
            try:
                with path.open(encoding="utf-8") as f:
                    text = f.read(_MAX_SETTINGS_BYTES)
                config = yaml.load(text, Loader=_SettingsLoader)  # noqa: S506 - a SafeLoader
            except (yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                continue
            if isinstance(config, dict) and _find(config, "dims") is not None:
                return config
    return {}


def _find(tree: object, key: str, seen: set[int] | None = None) -> Any:
    """The first value under ``key`` (in any case) anywhere in nested dicts."""
    seen = set() if seen is None else seen  # YAML's aliases can make one dict be in a million places
    if not isinstance(tree, dict) or id(tree) in seen:
        return None
    seen.add(id(tree))
    for name, value in tree.items():
        if str(name).lower() == key.lower():
            return value
    for value in tree.values():
        found = _find(value, key, seen)
        if found is not None:
            return found
    return None


def _posendf_family(config: Mapping[str, Any], path: Path) -> AnyFamily:
    """``version2`` is what is published. The older branch is known by its settings: it has no hemisphere flip.

    A file without settings counts as ``version2``; ``load_prior``'s ``family`` overrules.
    """
    where = " ".join([*path.parts[-3:], str(_find(config, "exp_name") or "")]).lower()
    if "version2" in where or "flip" in where:
        return "posendf-version2"
    if _find(config, "flip") is False or re.search(r"\bmain\b", where) or isinstance(_find(config, "dims"), list):
        return "posendf-main"
    return "posendf-version2"


def _posendf_settings(config: Mapping[str, Any]) -> dict[str, str]:
    network, encoder = _find(config, "dfnet"), _find(config, "strenc")
    act = _find(network, "act") or _find(config, "act") or "softplus"
    settings = {"activation": str(act).strip(), "encoder_activation": str(_find(encoder, "act") or act).strip()}
    beta = _find(network, "beta") or _find(config, "beta")
    return settings | ({"beta": str(float(beta))} if isinstance(beta, int | float) and abs(beta) < 1e6 else {})
