"""Damaged and hostile weights files through every loader: an error written for people, and no memory taken for it.

Each file of the corpus (see ``KINDS``) is damaged in ``EACH`` ways by chance, and then come the ones made by hand:
numbers that promise what the file does not hold, bombs, and other files under a weights file's name.
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import zipfile
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import torch
from chatpose_server.body.model import BodyFileError, load_body
from chatpose_server.language.llava_layout import CheckpointFilesError, read_json, tensors
from chatpose_server.language.poselm import ModelFileError, PoseLMConfig, read_trained
from chatpose_server.pose import Pose, PoseError, load_npz, save_npz
from chatpose_server.priors.checkpoints import load_prior
from chatpose_server.priors.torchfile import CheckpointError
from chatpose_server.skeleton import JOINTS, PARENTS
from safetensors.torch import save_file

from ..priors.make_published import posendf_state, vposer_v2_state

EACH = 45
MAX_GROWTH = 600_000_000  # bytes of resident memory over the whole corpus; the files have some 100 kB
CONFIG_YAML = b"experiment:\n  exp_name: test\nmodel:\n  DFNet:\n    dims: 8,8\n    act: softplus\n    beta: 100\n"


# -- whole files -------------------------------------------------------------------------------------------------------
def torch_file(state, zipped):
    out = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3}, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


def safetensors_file(folder, state, metadata):
    path = folder / "whole.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, path, metadata)
    return path.read_bytes()


def body_arrays(vertices=20):
    rng = np.random.default_rng(0)
    weights = rng.random((vertices, len(JOINTS)))
    return {
        "v_template": rng.random((vertices, 3)), "f": rng.integers(0, vertices, (8, 3)),
        "shapedirs": rng.random((vertices, 3, 10)), "J_regressor": rng.random((len(JOINTS), vertices)),
        "weights": weights / weights.sum(1, keepdims=True), "posedirs": rng.random((vertices, 3, 486)),
        "kintree_table": np.array([[-1, *PARENTS[1:]], range(len(JOINTS))]),
    }  # fmt: skip


def npz(arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def whole_files(folder):
    vposer = {f"vp_model.{k}": v for k, v in vposer_v2_state(hidden=12, latent=4).items()}
    ours = {k: v for k, v in vposer_v2_state(hidden=12, latent=4).items() if "num_batches" not in k}
    bent = Pose({"pelvis": (1.0, 0.0, 0.0, 0.0), "neck": (0.8, 0.6, 0.0, 0.0)}, (0.0, 1.0, 0.0))
    save_npz(folder / "poses.npz", [bent])
    config = PoseLMConfig(base="tiny", hidden=8, inner=8, joints=22, hypotheses=1)
    return {
        "torch zip": torch_file(vposer, zipped=True),
        "torch legacy": torch_file({f"module.{k}": v for k, v in posendf_state(sizes=(8, 8)).items()}, zipped=False),
        "safetensors": safetensors_file(folder, ours, {"family": "vposer-v2"}),
        "trained": safetensors_file(folder, {"token.pose": torch.zeros(8)}, {"chatpose": json.dumps(asdict(config))}),
        "body": npz(body_arrays()),
        "poses": (folder / "poses.npz").read_bytes(),
        "yaml": CONFIG_YAML,
        "json": json.dumps({"model_type": "llava", "hidden_size": 8, "text": {"deep": [1, 2, 3]}}).encode(),
    }


def _with_yaml(path):
    """Pose-NDF's weights are whole here; it is the settings beside them that are damaged."""
    weights = path.with_name("checkpoint_epoch_best.tar")
    if not weights.exists():
        weights.write_bytes(torch_file(posendf_state(sizes=(8, 8)), zipped=False))
    load_prior(weights)


KINDS = {
    # kind -> the file's name, who reads it, the errors that are written for people
    "torch zip": ("w.ckpt", (load_prior, tensors), (CheckpointError, CheckpointFilesError)),
    "torch legacy": ("w.tar", (load_prior, tensors), (CheckpointError, CheckpointFilesError)),
    "safetensors": ("w.safetensors", (load_prior, tensors), (CheckpointError, CheckpointFilesError)),
    "trained": ("w.safetensors", (read_trained,), (ModelFileError,)),
    "body": ("w.npz", (load_body,), (BodyFileError,)),
    "poses": ("w.npz", (load_npz,), (PoseError,)),
    "yaml": ("config.yaml", (_with_yaml,), (CheckpointError,)),
    "json": ("config.json", (lambda path: read_json(path, "There is none."),), (CheckpointFilesError,)),
}


# -- damage ------------------------------------------------------------------------------------------------------------
def damaged(data, seed, others):
    rng = random.Random(seed)
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 20))):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(8):
            case 0 | 1:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 2:  # in the head, where the sizes are
                at = rng.randrange(min(len(data), 120) or 1)
                data[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
            case 3:
                del data[at : at + rng.randrange(1, 200)]
            case 4:
                data[at:at] = data[at : at + rng.randrange(1, 400)]
            case 5:
                del data[at:]
            case 6:
                data[at : at + 8] = struct.pack("<Q", rng.choice((0, 1, 2**31 - 1, 2**32, 2**40, 2**63, 2**64 - 1)))
            case 7:
                other = rng.choice(others)
                data[at:] = other[min(at, len(other)) :]
    return bytes(data)


def resident():
    """Bytes of memory at the most so far."""
    if sys.platform == "win32":
        pytest.skip("Windows keeps no such count where Python can see it")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(kind, data, folder):
    """How many of this kind's readers took the file; the others must have said why not."""
    name, readers, errors = KINDS[kind]
    path = folder / name
    path.write_bytes(data)
    taken = 0
    for reader in readers:
        try:
            reader(path)
        except errors as error:
            said = str(error)
            assert said and said.splitlines() == [said] and said.endswith("."), (kind, said)
        else:
            taken += 1
    return taken


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_files(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_corpus_is_whole_before_it_is_damaged(kind, whole, tmp_path):
    taken = read(kind, whole[kind], tmp_path)
    assert taken >= 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_by_chance(kind, whole, tmp_path):
    before, taken = resident(), 0
    for seed in range(EACH):
        data = damaged(whole[kind], f"{kind}{seed}", list(whole.values()))
        try:
            taken += read(kind, data, tmp_path) > 0
        except Exception as error:
            raise AssertionError(f"{kind}, seed {seed}: {type(error).__name__}: {error}") from error
    assert taken < EACH or kind == "yaml"  # damage was seen
    assert resident() - before < MAX_GROWTH


# -- by hand -----------------------------------------------------------------------------------------------------------
def promise(shape, dtype="F32", offsets=(0, 4)):
    header = json.dumps({"token.pose": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 4


def npy(shape, descr="<f8", body=b"\0" * 64):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def zipped(files, compression=zipfile.ZIP_DEFLATED, **changes):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            archive.writestr(info, data)
    return out.getvalue()


def npz_with(changed, data):
    """A body whose arrays are whole but one."""
    files = {}
    for name, array in body_arrays().items():
        out = io.BytesIO()
        np.save(out, array)
        files[f"{name}.npy"] = data if name == changed else out.getvalue()
    return zipped(files)


def poses(count, joints, names, number=1.0):
    quat = np.full((count, joints, 4), number)
    return npz({"quat": quat, "joint_names": np.array(names), "transl": np.zeros((count, 3))})


def bomb(name, promised):
    """A zip whose one file is said to be ``promised`` bytes long, as a bomb's is: it is refused unopened."""
    size = 1_234_567
    return zipped({name: bytes(size)}).replace(struct.pack("<I", size), struct.pack("<I", promised))


LAUGHS = b"".join(
    b"l%d: &l%d {%s}\n" % (i, i, b", ".join(b"k%d: *l%d" % (j, i - 1) for j in range(9))) for i in range(1, 12)
)
BY_HAND = {
    "safetensors: a header longer than the file": ("safetensors", struct.pack("<Q", 2**40) + b"{}"),
    "safetensors: a header of 2^64": ("safetensors", struct.pack("<Q", 2**64 - 1) + b"{}"),
    "safetensors: a tensor of 4 TB": ("safetensors", promise([2**40])),
    "safetensors: sizes that overflow": ("safetensors", promise([2**32, 2**32, 2**32])),
    "safetensors: negative": ("trained", promise([-1])),
    "safetensors: offsets backwards": ("trained", promise([1], offsets=(4, 0))),
    "safetensors: no JSON": ("trained", struct.pack("<Q", 4) + b"\xff\xff\xff\xff"),
    "safetensors: deep JSON": ("trained", struct.pack("<Q", 200_000) + b"[" * 200_000),
    "safetensors: empty": ("safetensors", b""),
    "npz: an array of 4 TB": ("body", npz_with("v_template", npy((2**39, 1)))),
    "npz: sizes that overflow": ("body", npz_with("v_template", npy((2**62, 2**62)))),
    "npz: a negative size": ("body", npz_with("weights", npy((-5, 3)))),
    "npz: another number of axes": ("body", npz_with("weights", npy((8,)))),
    "npz: no axes": ("body", npz_with("kintree_table", npy((), body=b"\0" * 8))),
    "npz: another number of vertices": ("body", npz_with("shapedirs", npy((1, 1, 8)))),
    "npz: words for numbers": ("body", npz_with("v_template", npy((2, 3), "<U4", b"a\0\0\0" * 24))),
    "npz: objects (a pickle)": ("body", npz_with("f", npy((2,), "|O", b"cos\nsystem\n(S'true'\ntR."))),
    "npz: a header that is code": ("body", npz_with("f", npy((2,), "__import__('os').system('true')"))),
    "npz: no npy inside": ("body", npz_with("weights", b"nothing")),
    "npz: 2 GB of zeros": ("body", bomb("v_template.npy", 2**31)),
    "npz: stored with another method": ("body", zipped({"v_template.npy": npy((2, 3))}, zipfile.ZIP_BZIP2)),
    "npz: no zip": ("poses", b"PK\x03\x04" + b"\0" * 40),
    "npz: an array of 4 TB in poses": ("poses", zipped({"quat.npy": npy((2**37, 1, 4))})),
    "poses: as many joints as no body has": ("poses", poses(1, 70, ["neck"] * 70)),
    "poses: fewer names than rotations": ("poses", poses(2, 3, ["neck"])),
    "poses: numbers that are none": ("poses", poses(1, 1, ["neck"], np.nan)),
    "torch: a pickle that runs a program": ("torch legacy", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."),
    "torch: a string of 4 GB": ("torch legacy", b"\x80\x02X\xff\xff\xff\xff"),
    "torch: a long of 2 GB": ("torch legacy", b"\x80\x02\x8b\xff\xff\xff\x7f"),
    "torch: a memo of 4 billion": ("torch legacy", b"\x80\x02}r\xff\xff\xff\xff."),
    "torch: marks without end": ("torch legacy", b"\x80\x02" + b"(" * 100_000 + b"."),
    "torch: tuples in tuples": ("torch legacy", b"\x80\x02)" + b"\x85" * 100_000 + b"."),
    "torch: a zip of other things": ("torch zip", zipped({"readme.txt": b"x"})),
    "torch: two lists": ("torch zip", zipped({"a/data.pkl": b"\x80\x02}.", "b/data.pkl": b"\x80\x02}."})),
    "torch: a list of 2 GB of zeros": ("torch zip", bomb("w/data.pkl", 2**31)),
    "torch: a download of 3 GB": ("torch zip", bomb("w/w.ckpt", 3 * 2**30)),
    "yaml: a billion laughs": ("yaml", b"l0: &l0 {x: 1}\n" + LAUGHS),
    "yaml: deep": ("yaml", b"{a: " * 900 + b"}" * 900),
    "yaml: a tag that makes an object": ("yaml", b"dims: !!python/object/apply:os.system [true]\n"),
    "yaml: another encoding": ("yaml", CONFIG_YAML.decode().encode("utf-16")),
    "yaml: an endless number": ("yaml", b"dims: 8,8\nbeta: " + b"9" * 100_000 + b"\n"),
    "json: deep": ("json", b'{"a":' * 100_000),
    "json: an endless number": ("json", b'{"a":' + b"9" * 100_000 + b"}"),
    "json: a list": ("json", b"[]"),
    "json: another encoding": ("json", '{"a": 1}'.encode("utf-16")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", BY_HAND)
def test_made_by_hand(what, tmp_path):
    kind, data = BY_HAND[what]
    before = resident()
    read(kind, data, tmp_path)
    assert resident() - before < 300_000_000


def test_there_are_hundreds():
    assert EACH * len(KINDS) + len(BY_HAND) >= 400
    assert zlib.crc32(damaged(b"x" * 100, "a", [b"y"])) == zlib.crc32(damaged(b"x" * 100, "a", [b"y"]))
