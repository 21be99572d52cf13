"""Published weights: read safely, and the same numbers out of them as a straight-line reference."""

import io
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import make_published as published
import numpy as np
import pytest
import references as ref
import torch
from chatpose_server.priors import CheckpointError, PoseNDF, VPoser, convert_prior, load_prior
from chatpose_server.priors.checkpoints import read_checkpoint, vposer_state
from chatpose_server.priors.torchfile import Inert, read_torch_file

TOLERANCE = 1e-5


def poses(count=5, seed=3):
    """(count, 21, 4) unit quaternions in float64, some with w < 0."""
    q = np.random.default_rng(seed).normal(size=(count, 21, 4))
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


# -- containers ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("legacy", [False, True])
def test_every_dtype_shape_and_view_survives(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(24, dtype=torch.float32)
    saved = {
        "whole": base.view(4, 6), "transposed": base.view(4, 6).T, "part": base[5:9], "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3), "long": torch.tensor([1, -2]), "half": torch.tensor([0.5]).half(),
        "double": torch.tensor([1e-300], dtype=torch.float64), "bool": torch.tensor([True, False]),
        "bf16": torch.tensor([1.5]).bfloat16(), "nested": [torch.ones(2), {"deep": (1, "two", None, 2.5)}],
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }  # fmt: skip
    path = tmp_path / "a.pt"
    torch.save(saved, path, _use_new_zipfile_serialization=not legacy)
    read = read_torch_file(path)
    for key in ("whole", "transposed", "part", "scalar", "empty", "long", "half", "double", "bool", "bf16"):
        assert torch.equal(read[key], saved[key]) and read[key].dtype == saved[key].dtype, key
    assert torch.equal(read["nested"][0], torch.ones(2)) and read["nested"][1] == {"deep": (1, "two", None, 2.5)}
    assert torch.equal(read["parameter"], torch.ones(2))


class Bomb:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_nothing_in_a_file_is_run(tmp_path: Path, legacy: bool, protocol: int) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "bomb.pt"
    torch.save(
        {"weights": torch.ones(3), "evil": Bomb(str(marker))}, path,
        _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol,
    )  # fmt: skip
    read = read_torch_file(path)
    assert torch.equal(read["weights"], torch.ones(3)) and isinstance(read["evil"], Inert)
    assert not marker.exists()


def legacy_with(storage_count: int, size: tuple, stride: tuple, offset: int) -> bytes:
    """A legacy file whose one tensor lies about itself."""

    class Lie:
        def __reduce__(self):
            return (torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, {}))

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return (
                ("storage", torch.FloatStorage, "0", "cuda:0", storage_count, None)
                if isinstance(obj, Storage)
                else None
            )

    out = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, out, 2)
    Pickler(out, 2).dump({"x": Lie()})
    pickle.dump(["0"], out, 2)
    return out.getvalue() + (4).to_bytes(8, "little") + bytes(16)


@pytest.mark.parametrize(
    ("count", "size", "stride", "offset", "good"),
    [
        (4, (2, 2), (2, 1), 0, True),  # also: cuda:0 comes to the CPU
        (4, (2, 3), (3, 1), 0, False),
        (4, (4,), (1,), 1, False),
        (4, (4,), (1,), -1, False),
        (4, (1 << 40,), (0,), 0, False),
        (4, (-1,), (1,), 0, False),
        (1 << 40, (2,), (1,), 0, False),
    ],
)
def test_a_tensor_cannot_reach_beyond_its_bytes(tmp_path: Path, count, size, stride, offset, good) -> None:
    path = tmp_path / "lie.pt"
    path.write_bytes(legacy_with(count, size, stride, offset))
    if good:
        assert torch.equal(read_torch_file(path)["x"], torch.zeros(2, 2))
    else:
        with pytest.raises(CheckpointError):
            read_torch_file(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x80\x02.", b"PK\x03\x04 broken", pickle.dumps({"a": 1}), pickle.dumps([b"x" * 100])[:40],
     b"\x80\x02r\xff\xff\xff\xff.", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", b"(" * 1000, b"cos\nsystem\n."],
)  # fmt: skip
def test_what_is_not_weights_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^'x\.ckpt' .*\.$"):
        load_prior(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    folder = published.write_vposer_v1(tmp_path)
    whole = (folder / "snapshots" / "TR00_E096.pt").read_bytes()
    for share in (0.02, 0.5, 0.999):
        cut = tmp_path / "cut.pt"
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError):
            load_prior(cut)


# -- VPoser ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("legacy", [False, True])
def test_vposer_v2_agrees_with_the_reference(tmp_path: Path, legacy: bool) -> None:
    model = load_prior(published.write_vposer_v2(tmp_path, seed=1, legacy=legacy))
    assert isinstance(model, VPoser) and model.family == "vposer-v2" and not model.training
    assert sum(p.numel() for p in model.parameters()) == 936_252
    assert not any(n.startswith("pytorch_lightning") for n in sys.modules)
    state = ref.doubles(published.vposer_v2_state(1))
    rng = np.random.default_rng(0)
    pose, code = rng.normal(size=(7, 63)) * 0.5, rng.normal(size=(7, 32))
    mean, std = ref.vposer_v2_encode(state, pose)
    got = model.encode(torch.tensor(pose).float())
    np.testing.assert_allclose(got.mean.numpy(), mean, atol=TOLERANCE)
    np.testing.assert_allclose(got.stddev.numpy(), std, atol=TOLERANCE)
    np.testing.assert_allclose(
        model.encode(torch.tensor(pose).float().view(7, 21, 3)).mean.numpy(), mean, atol=TOLERANCE
    )
    matrix = ref.vposer_v2_decode(state, code)
    decoded = model.decode(torch.tensor(code).float())
    # where a 6D pair is short or nearly parallel, float32 itself is no better than this
    np.testing.assert_allclose(decoded.matrot.numpy(), matrix, atol=3 * TOLERANCE)
    far_from_pi = np.trace(matrix, axis1=-2, axis2=-1) > -0.9
    np.testing.assert_allclose(
        decoded.rotvec.numpy()[far_from_pi], ref.matrix_to_rotvec(matrix)[far_from_pi], atol=2 * TOLERANCE
    )


@pytest.mark.parametrize("inputs", [63, 189])
def test_vposer_v1_agrees_with_the_reference(tmp_path: Path, inputs: int) -> None:
    model = load_prior(published.write_vposer_v1(tmp_path, 2, inputs))
    assert isinstance(model, VPoser) and model.family == "vposer-v1"
    if inputs == 63:
        assert sum(p.numel() for p in model.parameters()) == 673_596
    state = ref.doubles(published.vposer_v1_state(2, inputs))
    rng = np.random.default_rng(0)
    pose, code = rng.normal(size=(4, inputs)) * 0.5, rng.normal(size=(4, 32))
    mean, std = ref.vposer_v1_encode(state, pose)
    got = model.encode(torch.tensor(pose).float())
    np.testing.assert_allclose(got.mean.numpy(), mean, atol=TOLERANCE)
    np.testing.assert_allclose(got.stddev.numpy(), std, atol=TOLERANCE)
    matrix = ref.vposer_v1_decode(state, code)
    flat = model.decode_v1(torch.tensor(code).float())
    assert flat.shape == (4, 1, 21, 9)  # V1's decode gives matrices and an axis more
    np.testing.assert_allclose(flat.numpy().reshape(4, 21, 3, 3), matrix, atol=TOLERANCE)
    assert model.sample_v1(3, 0).shape == (3, 1, 21, 3)  # its sample gives axis-angle
    assert model.reconstruct(torch.zeros(2, 21, 3)).shape == (2, 21, 3, 3)


def test_vposer_samples_are_the_originals_for_a_seed(tmp_path: Path) -> None:
    model = load_prior(published.write_vposer_v2(tmp_path))
    np.random.seed(11)
    code = torch.tensor(np.random.normal(size=(6, 32))).float()
    before = np.random.get_state()[1].tolist()
    assert torch.equal(model.sample_code(6, 11), code)
    assert torch.equal(model.sample(6, 11).matrot, model.decode(code).matrot)
    assert np.random.get_state()[1].tolist() == before, "the caller's random numbers were disturbed"


def test_vposer_interpolates_in_the_code(tmp_path: Path) -> None:
    model = load_prior(published.write_vposer_v2(tmp_path))
    a, b = torch.randn(2, 63, generator=torch.Generator().manual_seed(0)) * 0.4
    path = model.interpolate(a, b, 5).matrot
    mean = model.encode(torch.stack([a, b])).mean
    assert torch.allclose(path[2:3], model.decode(mean.mean(0, keepdim=True)).matrot, atol=1e-5)
    assert torch.allclose(path[0], model.reconstruct(a.view(1, 21, 3))[0], atol=1e-5)


def test_the_newest_of_several_checkpoints_is_taken(tmp_path: Path) -> None:
    published.write_vposer_v2(tmp_path, seed=1, name="V02_05_epoch=08_val_loss=0.03.ckpt")
    folder = published.write_vposer_v2(tmp_path, seed=2, name="V02_05_epoch=03_val_loss=0.04.ckpt")
    os.utime(folder / "snapshots" / "V02_05_epoch=08_val_loss=0.03.ckpt", (1, 1))
    expected = published.vposer_v2_state(2)["decoder_net.5.bias"]
    assert torch.equal(read_checkpoint(folder).state["decoder_net.5.bias"], expected)


# -- Pose-NDF --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("act", "dims"), [("softplus", "40,32,24"), ("lrelu", "40, 32, 24"), ("softplus", "[16, 8]")])
def test_version2_agrees_with_the_reference(tmp_path: Path, act: str, dims: str) -> None:
    model = load_prior(published.write_posendf(tmp_path, 4, act=act, dims=dims))
    assert isinstance(model, PoseNDF) and model.family == "posendf-version2"
    state = ref.doubles(published.posendf_state(4, model.sizes))
    quat = poses()
    ready = ref.unit_positive(quat)
    np.testing.assert_allclose(model(torch.tensor(quat).float()).numpy(), ref.posendf(state, quat, act), atol=TOLERANCE)
    expected = ref.posendf(state, ready, act)
    np.testing.assert_allclose(model.distance(torch.tensor(quat).float()).numpy(), expected, atol=TOLERANCE)
    np.testing.assert_allclose(model.distance(torch.tensor(-quat).float()).numpy(), expected, atol=TOLERANCE)
    gradient = ref.numeric_gradient(lambda q: ref.posendf(state, q, act), ready)
    np.testing.assert_allclose(model.gradient(torch.tensor(quat).float()).gradient.numpy(), gradient, atol=2e-5)


def test_version2_projection_step_by_step(tmp_path: Path) -> None:
    model = load_prior(published.write_posendf(tmp_path, 4))
    state = ref.doubles(published.posendf_state(4))
    quat = ref.unit_positive(poses(3))
    got = torch.tensor(quat).float()
    for _ in range(3):
        d = ref.posendf(state, quat)
        gradient = ref.numeric_gradient(lambda q: ref.posendf(state, q), quat)
        gradient /= np.linalg.norm(gradient.reshape(3, -1), axis=1)[:, None, None]
        quat = ref.unit_positive(quat - d[:, None, None] * gradient)
        got = model.project(got, 1)
        np.testing.assert_allclose(got.numpy(), quat, atol=TOLERANCE)
    many = model.project(torch.tensor(poses(3)).float(), 3)
    assert torch.allclose(many, got, atol=1e-5) and (many[..., 0] >= 0).all()


def test_main_normalises_across_joints_and_never_makes_unit(tmp_path: Path) -> None:
    model = load_prior(published.write_posendf(tmp_path, 4, name="old", act="lrelu"), family="posendf-main")
    state = ref.doubles(published.posendf_state(4))

    def reference(q):
        return ref.posendf(state, q, "lrelu", normalise_across_joints=True)

    quat = poses(3)
    got = torch.tensor(quat).float()
    np.testing.assert_allclose(model.distance(got).numpy(), reference(quat), atol=TOLERANCE)
    for _ in range(2):
        quat = quat - reference(quat)[:, None, None] * ref.numeric_gradient(reference, quat)
        got = model.project(got, 1)
        np.testing.assert_allclose(got.numpy(), quat, atol=TOLERANCE)
    assert np.abs(np.linalg.norm(quat, axis=-1) - 1).max() > 1e-3


def test_the_parent_map_is_the_published_one(tmp_path: Path) -> None:
    """The left knee (3 of 21) listens to the right hip (1), not to the left one (0)."""
    model = load_prior(published.write_posendf(tmp_path, 4))
    quat = torch.tensor(ref.unit_positive(poses(1))).float().requires_grad_()
    knee = model._features(quat).view(1, 21, 6)[0, 3].sum()
    heard = torch.autograd.grad(knee, quat)[0][0].abs().sum(-1).nonzero().flatten().tolist()
    assert heard == [1, 3]


def test_a_w_of_zero_stays_as_it_is(tmp_path: Path) -> None:
    model = load_prior(published.write_posendf(tmp_path, 4))
    quat = torch.tensor(ref.unit_positive(poses(1))).float()
    quat[0, 5] = torch.tensor([0.0, -0.6, 0.8, 0.0])
    assert torch.equal(model.contract(quat)[0, 5], quat[0, 5])
    flipped = quat.clone()
    flipped[0, 5] *= -1
    assert torch.equal(model.contract(flipped)[0, 5], flipped[0, 5])
    assert model.distance(quat) != model.distance(flipped)


@pytest.mark.parametrize(
    ("name", "dims", "config", "family"),
    [
        ("version2", "40,32,24", True, "posendf-version2"),
        ("version2", "[40, 32, 24]", True, "posendf-version2"),
        ("flip_small_softplus_l1_1e-05", "[40, 32, 24]", True, "posendf-version2"),
        ("anything", "40,32,24", False, "posendf-version2"),
        ("older", "[40, 32, 24]", True, "posendf-main"),
    ],
)
def test_how_the_two_published_pose_ndfs_are_told_apart(tmp_path, name, dims, config, family) -> None:
    folder = published.write_posendf(tmp_path, name=name, dims=dims, config=config)
    assert load_prior(folder).family == family
    assert load_prior(folder, family="posendf-main").family == "posendf-main"


def test_weights_of_another_network_are_refused_in_clear_words(tmp_path: Path) -> None:
    state = published.posendf_state()
    cases = {
        "dfnet.conv0.weight": state | {"dfnet.conv0.weight": torch.ones(1)},
        "lack layers": {k: v for k, v in state.items() if "lin1" not in k},
        "neither VPoser's nor Pose-NDF's": {"some.weight": torch.ones(2)},
        "not a whole": {k: v for k, v in state.items() if "net.3." not in k},
    }
    for words, broken in cases.items():
        path = tmp_path / "checkpoint.tar"
        torch.save({"model_state_dict": broken}, path)
        with pytest.raises(CheckpointError, match=words):
            load_prior(path)
    vposer = published.write_vposer_v1(tmp_path)
    with pytest.raises(CheckpointError, match="vposer-v1"):
        load_prior(vposer, family="posendf-main")
    with pytest.raises(CheckpointError, match="Check the path"):
        load_prior(tmp_path / "nowhere.pt")


# -- converting, and zips as downloaded ------------------------------------------------------------------------------
@pytest.mark.parametrize("write", [published.write_vposer_v2, published.write_vposer_v1, published.write_posendf])
def test_converted_and_zipped_weights_are_the_same(tmp_path: Path, write) -> None:
    folder = write(tmp_path / "in", 5)
    original = load_prior(folder)
    converted = load_prior(convert_prior(folder, tmp_path / "prior.safetensors"))
    zipped = Path(shutil.make_archive(str(tmp_path / "download"), "zip", folder.parent, folder.name))
    assert zipfile.is_zipfile(zipped)
    for other in (converted, load_prior(zipped)):
        assert other.family == original.family
        for (name, a), b in zip(original.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def test_a_vposer_writes_back_the_keys_it_was_read_from(tmp_path: Path) -> None:
    for write, state in (
        (published.write_vposer_v2, published.vposer_v2_state(6)),
        (published.write_vposer_v1, published.vposer_v1_state(6)),
    ):
        written = vposer_state(load_prior(write(tmp_path, 6)))
        expected = {k: v for k, v in state.items() if "num_batches" not in k}
        assert written.keys() == expected.keys() and all(torch.equal(written[k], v) for k, v in expected.items())
