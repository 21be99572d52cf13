"""Reads .npz files that anybody may have made: plain arrays only, and never more memory than was agreed to.

``numpy.load`` allocates what a header promises before it looks whether the file holds it, and unpacks without end.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.lib import format as npy


class NpzError(ValueError):
    """What was given is no whole .npz file of plain arrays."""


def read_npz(path: str | os.PathLike[str], names: Collection[str], max_bytes: int) -> dict[str, np.ndarray[Any, Any]]:
    """Those arrays of the file that have one of these names; the others are not touched. Raises NpzError, and OSError
    where the file cannot be opened.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.removesuffix(".npy") in names]
            if sum(info.file_size for info in members) > max_bytes:
                raise NpzError(f"more than {max_bytes // 1_000_000} MB when unpacked")
            return {info.filename.removesuffix(".npy"): _array(archive.read(info)) for info in members}
    except (NpzError, OSError):
        raise
    # what zipfile, zlib and numpy raise on bytes that mean nothing
    except (ValueError, TypeError, LookupError, EOFError, RuntimeError, MemoryError, OverflowError, SyntaxError,
            zipfile.BadZipFile, zlib.error) as error:  # fmt: skip
        raise NpzError("damaged, or not an .npz file") from error


def _array(data: bytes) -> np.ndarray[Any, Any]:
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, columns_first, dtype = read_header(file)
    body = data[file.tell() :]
    if dtype.hasobject:
        raise NpzError("a pickle, which could run code")
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(body):
        raise NpzError("damaged: an array is not as large as it says")
    array = np.frombuffer(body, dtype)
    return array.reshape(shape[::-1]).T if columns_first else array.reshape(shape)
