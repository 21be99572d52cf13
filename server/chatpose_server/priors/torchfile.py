"""Reads tensors out of PyTorch's pickled files, zip and legacy alike, without running anything that is in them.

A pickle is a program. Here its opcodes are interpreted by a machine that can only build lists, dicts, tuples,
numbers, text and records of tensors: classes and functions become inert names, calls become inert notes of a call.
Nothing is imported, no object's method is run, and tensors are made afterwards from bounds-checked bytes, on the CPU.

Containers: the zip that ``torch.save`` has written since 1.6, and the stream of five pickles before that (files of
Pose-NDF and VPoser V1). Opcodes: Python's ``pickletools``. Knows nothing of priors.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import torch
from torch import Tensor

MAX_STORAGE_BYTES: Final = 2**31  # the published priors are 4-60 MB; more than this is not one of them
_MAX_PICKLE_BYTES: Final = 2**26  # the list alone, without the numbers: some 100 kB in the published files
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class CheckpointError(ValueError):
    """A weights file that cannot be used. The text says what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Inert:
    """Stands for a class, a function or an object of one. Hashable, because Lightning uses classes as dict keys."""

    name: str


@dataclass(frozen=True, eq=False)
class _Storage:
    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True, eq=False)
class _TensorRecord:
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """The object that ``torch.save`` wrote, with dicts, lists, numbers, text, CPU tensors and ``Inert`` stand-ins.

    Raises CheckpointError for anything that is not such a file, or is a damaged one.
    """
    name = Path(path).name
    try:
        with open(path, "rb") as f:
            return read_torch_stream(f, name)
    except OSError as error:
        raise CheckpointError(f"'{name}' cannot be opened ({error.strerror}). Check the path.") from error


def read_torch_stream(f: IO[bytes], name: str) -> Any:
    """As ``read_torch_file``, from an open seekable file; ``name`` is used in errors only."""
    try:
        head = f.read(4)
        f.seek(0)
        return _read_zip(f) if head == b"PK\x03\x04" else _read_legacy(f)
    except CheckpointError as error:
        raise CheckpointError(f"'{name}' cannot be read: {error}. Download it again.") from error
    # what pickletools, zipfile and the machine below raise on bytes that mean nothing
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error, EOFError, OverflowError,
            MemoryError, RuntimeError, UnicodeError, zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise CheckpointError(f"'{name}' is not a PyTorch weights file, or is damaged. Download it again.") from error


# -- containers ------------------------------------------------------------------------------------------------------
def _read_zip(f: IO[bytes]) -> Any:
    with zipfile.ZipFile(f) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        pickles = [n for n in infos if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise CheckpointError("it is a zip file, but not one that PyTorch wrote")
        if infos[pickles[0]].file_size > _MAX_PICKLE_BYTES:
            raise CheckpointError("its list of weights is far longer than any prior's")
        root = pickles[0][: -len("data.pkl")]
        if f"{root}byteorder" in infos and archive.read(f"{root}byteorder").strip() != b"little":
            raise CheckpointError("it was written on a big-endian machine")

        def load(storage: _Storage) -> Tensor:
            info = infos[f"{root}data/{storage.key}"]
            if info.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError("its tensors are compressed, which PyTorch never does")
            _check_size(storage, info.file_size)
            return _flat(archive.read(info), storage)

        tree = _run(io.BytesIO(archive.read(pickles[0])))
        return _materialise(tree, load, {})


def _read_legacy(f: IO[bytes]) -> Any:
    if _run(f) != _LEGACY_MAGIC or _run(f) != _LEGACY_PROTOCOL:
        raise CheckpointError("it is a pickle, but not one that PyTorch wrote")
    if not _run(f).get("little_endian", True):
        raise CheckpointError("it was written on a big-endian machine")
    storages: dict[str, _Storage] = {}
    tree = _run(f, storages)
    tensors: dict[str, Tensor] = {}
    for key in _run(f):
        storage = storages[key]
        (count,) = struct.unpack("<q", f.read(8))
        size = count * storage.dtype.itemsize
        _check_size(storage, size)
        tensors[key] = _flat(f.read(size), storage)
    return _materialise(tree, lambda storage: tensors[storage.key], {})


def _check_size(storage: _Storage, size: int) -> None:
    if size != storage.count * storage.dtype.itemsize or not 0 <= size <= MAX_STORAGE_BYTES:
        raise CheckpointError("the size of a tensor does not agree with its bytes")


def _flat(data: bytes, storage: _Storage) -> Tensor:
    if len(data) != storage.count * storage.dtype.itemsize:
        raise CheckpointError("it ends too early")
    return torch.frombuffer(bytearray(data), dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def _materialise(value: Any, load: Callable[[_Storage], Tensor], seen: dict[str, Tensor]) -> Any:
    if isinstance(value, _TensorRecord):
        key = value.storage.key
        if key not in seen:
            seen[key] = load(value.storage)
        flat, last = seen[key], value.offset
        if any(n < 0 or s < 0 for n, s in zip(value.size, value.stride, strict=True)) or value.offset < 0:
            raise CheckpointError("a tensor has a negative size")
        count = math.prod(value.size)
        last += sum((n - 1) * s for n, s in zip(value.size, value.stride, strict=True)) if count else -1
        if last >= flat.numel() or count > flat.numel():
            raise CheckpointError("a tensor reaches beyond its bytes")
        return torch.as_strided(flat, value.size, value.stride, value.offset).clone()
    if isinstance(value, dict):
        return {k: _materialise(v, load, seen) for k, v in value.items()}
    if isinstance(value, list):
        return [_materialise(v, load, seen) for v in value]
    if isinstance(value, tuple):
        return tuple(_materialise(v, load, seen) for v in value)
    return value


# -- the machine -----------------------------------------------------------------------------------------------------
_MARK: Final = Inert("mark")
_LITERALS: Final = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        "BINBYTES8",
    }
)  # fmt: skip
_CONSTANTS: Final[Mapping[str, Any]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLE_SIZES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED: Final = frozenset({"PROTO", "FRAME"})


def _run(f: IO[bytes], storages: dict[str, _Storage] | None = None) -> Any:
    """Interprets one pickle from ``f`` and leaves ``f`` behind it."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    names: dict[str, Inert] = {}

    def since_mark() -> list[Any]:
        at = max(i for i, v in enumerate(stack) if v is _MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    def named(name: str) -> Inert:
        return names.setdefault(name, Inert(name))

    for opcode, argument, _ in pickletools.genops(f):
        op, arg = opcode.name, cast(Any, argument)
        if op in _IGNORED:
            continue
        if op in _LITERALS:
            stack.append(arg)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op == "STOP":
            return stack.pop()
        elif op == "MARK":
            stack.append(_MARK)
        elif op in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"):
            stack.append({} if op == "EMPTY_DICT" else [])
        elif op in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo[int(arg)] = stack[-1]
        elif op == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[int(arg)])
        elif op == "TUPLE":
            stack.append(tuple(since_mark()))
        elif op in _TUPLE_SIZES:
            n = _TUPLE_SIZES[op]
            stack[-n:] = [tuple(stack[-n:])]
        elif op in ("LIST", "FROZENSET"):
            stack.append(since_mark())
        elif op == "DICT":
            items = since_mark()
            stack.append(dict(zip(items[::2], items[1::2], strict=True)))
        elif op in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if op == "APPEND" else since_mark()
            if isinstance(stack[-1], list):
                stack[-1].extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if op == "SETITEM" else since_mark()
            if isinstance(stack[-1], dict):
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif op == "GLOBAL":
            stack.append(named(str(arg).replace(" ", ".")))
        elif op == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(named(f"{module}.{attribute}"))
        elif op in ("REDUCE", "NEWOBJ"):
            args = stack.pop()
            stack.append(_call(stack.pop(), args))
        elif op == "NEWOBJ_EX":
            _, args = stack.pop(), stack.pop()
            stack.append(_call(stack.pop(), args))
        elif op == "OBJ":
            items = since_mark()
            stack.append(_call(items[0], tuple(items[1:])))
        elif op == "INST":
            stack.append(_call(named(str(arg).replace(" ", ".")), tuple(since_mark())))
        elif op == "BUILD":
            stack.pop()  # an object's state: for what is read here (OrderedDict's _metadata) it means nothing
        elif op == "BINPERSID":
            stack.append(_persistent(stack.pop(), storages))
        elif op == "POP":
            stack.pop()
        elif op == "POP_MARK":
            since_mark()
        elif op == "DUP":
            stack.append(stack[-1])
        else:  # EXT1-4, PERSID, out-of-band buffers: PyTorch writes none of them
            raise CheckpointError("it uses a part of the pickle format that PyTorch never writes")
    raise CheckpointError("it ends too early")


def _call(function: Any, args: Any) -> Any:
    """What a call in the pickle means: a dict, a tensor, a parameter's tensor; anything else stays an inert note."""
    if not isinstance(function, Inert) or not isinstance(args, tuple):
        return Inert("unknown")
    name = function.name
    if name == "collections.OrderedDict":
        return dict(args[0]) if args else {}
    if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v3"):
        storage, offset, size, stride = args[:4]
        if not isinstance(storage, _Storage):
            raise CheckpointError("a tensor has no bytes")
        if name.endswith("_v3"):  # untyped storage: the element type is the seventh argument
            raise CheckpointError("it holds tensors of a newer kind (save it with torch.save(model.state_dict()))")
        return _TensorRecord(storage, int(offset), tuple(int(n) for n in size), tuple(int(n) for n in stride))
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return args[0]
    if name == "torch._tensor._rebuild_from_type_v2":
        return _call(args[0], args[2])
    return Inert(f"{name}()")


def _persistent(saved_id: Any, storages: dict[str, _Storage] | None) -> Any:
    if not isinstance(saved_id, tuple) or not saved_id or saved_id[0] != "storage":
        return saved_id[1] if isinstance(saved_id, tuple) and len(saved_id) > 1 else Inert("unknown")
    kind, key, _, count = saved_id[1:5]  # the fourth is the device it was on ("cuda:0"): everything comes to the CPU
    dtype = _DTYPES.get(kind.name.rpartition(".")[2]) if isinstance(kind, Inert) else None
    if dtype is None:
        raise CheckpointError("it holds numbers of a kind that is not read here (quantised or untyped)")
    if len(saved_id) > 5 and saved_id[5] is not None:
        raise CheckpointError("it holds views of storages, which only very old PyTorch wrote")
    storage = _Storage(str(key), dtype, int(count))
    return storage if storages is None else storages.setdefault(storage.key, storage)
