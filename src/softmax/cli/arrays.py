"""Arrays in .npy, .npz and .safetensors files, read without running anything that a file holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .console import Problem
from .textfiles import read_bytes

ARRAYS = (".npy", ".npz", ".safetensors")
SAFETENSORS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"} | {
    f"{letter.upper()}{8 * size}": f"<{letter}{size}" for letter in "iu" for size in (1, 2, 4, 8)
}
VALUES = 4_000_000  # in the rows that are made a table at a time


def read_arrays(name: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file: a .npy file holds one, here named "x"."""
    kind = Path(name).suffix.lower()
    if kind == ".safetensors":
        arrays = _read_safetensors(name, read_bytes(name))
    else:
        try:
            with open(name, "rb"):
                loaded = np.load(name, allow_pickle=False, mmap_mode="r" if kind == ".npy" else None)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
        except OSError as error:
            if error.errno is not None:
                raise Problem(f"{name}: {(error.strerror or str(error)).lower()}") from error
            raise Problem(f"{name}: not a NumPy file, or a damaged one, or one that needs pickle") from error
        except Exception as error:  # zip, header and pickle errors are of many types
            raise Problem(f"{name}: not a NumPy file, or a damaged one, or one that needs pickle") from error
    for key, array in arrays.items():
        if array.dtype.kind not in "biufU":
            raise Problem(f"{name}: array {key!r} has dtype {array.dtype}, expected numbers or texts")
    return arrays


def array_frames(name: str, whole: bool = True) -> Iterator[pl.DataFrame]:
    """One column for each 1-D array, under its name, and columns x0, x1, … for a 2-D one named x or X."""
    arrays = read_arrays(name)
    lengths = {len(array) if array.ndim else 1 for array in arrays.values()}
    for key, array in arrays.items():
        if array.ndim not in (1, 2):
            raise Problem(f"{name}: array {key!r} has shape {array.shape}, expected one or two dimensions")
    if len(lengths) != 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise Problem(f"{name}: the arrays must have the same number of rows, got {shapes}")
    (rows,) = lengths
    width = sum(array[0].size for array in arrays.values()) if rows else 1
    step = rows if whole else max(1, VALUES // max(width, 1))
    for start in range(0, rows, max(step, 1)):
        yield pl.DataFrame(_columns({key: array[start : start + step] for key, array in arrays.items()}))


def _columns(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for key, array in arrays.items():
        array = np.asarray(array, np.float32 if array.dtype == np.float16 else None)
        if array.ndim == 1:
            columns[key] = array
        else:  # columns first: a column of a row-wise array would be copied value by value
            columns |= {f"{key.lower()}{i}": column for i, column in enumerate(np.ascontiguousarray(array.T))}
    return columns


def _read_safetensors(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a .safetensors file; bfloat16 as float32.

    The format is 8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, and the data, all little
    endian. Source: https://github.com/huggingface/safetensors#format
    """
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        header.pop("__metadata__", None)
        return {key: _tensor(entry, memoryview(data)[start:]) for key, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Problem(f"{name}: not a safetensors file, or a damaged one") from error


def _tensor(entry: dict[str, Any], data: memoryview) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    values = np.frombuffer(data[begin:end], SAFETENSORS[entry["dtype"]]).reshape(entry["shape"])
    return np.asarray((values.astype(np.uint32) << 16).view(np.float32) if entry["dtype"] == "BF16" else values)
