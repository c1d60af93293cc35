"""`softmax apply` and `softmax explain`: softmax of numbers on the command line, in a file, or on stdin."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import explanation
from ..functions import log_softmax, softmax
from .console import Problem, check_writable, is_number, replacing

if TYPE_CHECKING:  # importing it costs more than the rest of the command
    import polars as pl

WRITABLE = (".csv", ".tsv", ".parquet", ".npy", ".npz")
PICTURES = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Numbers:
    """What to apply softmax to, and how to write down the result.

    Attributes:
        values: the numbers; a text of one number a line is one vector.
        columns: names of the columns, where there are any.
        separator: what separates the fields on stdout; None for numbers that came from the command line.
    """

    values: NDArray[Any]
    columns: list[str] | None = None
    separator: str | None = " "


def apply(words: Sequence[str], axis: int, temperature: float, log: bool, output: str | None) -> None:
    """Print, or write to `output`, the softmax of `words`: numbers, or the name of a file, "-" or nothing for stdin."""
    _check_temperature(temperature)
    if output is not None:
        check_writable(output, WRITABLE)
    numbers = _read(words)
    dimensions = numbers.values.ndim
    if not -dimensions <= axis < dimensions:
        raise Problem(f"--axis {axis}: the numbers have {dimensions} dimension{'s' * (dimensions > 1)}")
    result = (log_softmax if log else softmax)(numbers.values, axis=axis, temperature=temperature)
    if output is not None and Path(output).suffix.lower() in (".npy", ".npz"):
        with replacing(output) as file:
            if output.lower().endswith(".npy"):
                np.save(file, result)
            elif log:
                np.savez(file, log_probs=result)
            else:
                np.savez(file, probs=result)
    elif output is None and numbers.separator is None:
        print(np.array2string(result, max_line_width=sys.maxsize, threshold=sys.maxsize, precision=8).strip("[] "))
    else:
        from .tables import write_table

        write_table(_frame(numbers, result), output, separator=numbers.separator or ",", header=bool(numbers.columns))


def explain(words: Sequence[str], labels: Sequence[str], temperature: float, picture: str | None) -> None:
    """Print every step of the softmax of the numbers that `words` spell, and write it as a picture."""
    _check_temperature(temperature)
    if picture is not None:
        check_writable(picture, PICTURES)
    try:
        result = explanation.explain(_parse(words), labels or None, temperature=temperature)
    except ValueError as error:
        raise Problem(str(error)) from error
    if picture is not None:
        figure = result.plot()
        with replacing(picture) as file:
            figure.savefig(file, format=Path(picture).suffix[1:].lower(), facecolor="white", dpi=150)
    print(result)


def _check_temperature(temperature: float) -> None:
    """Raise Problem unless the temperature is at least 0."""
    if not temperature >= 0:
        raise Problem(f"--temperature {temperature:g}: must be at least 0")


def _parse(words: Sequence[str]) -> NDArray[np.float64]:
    """The numbers that `words` spell; a Problem names the first word that is none."""
    for word in words:
        if not is_number(word):
            raise Problem(f"no such option: {word}" if word.startswith("-") else f"{word!r} is neither number nor file")
    return np.array([float(word) for word in words])


def _read(words: Sequence[str]) -> Numbers:
    if not words:
        if sys.stdin.isatty():
            raise Problem("nothing to do: give numbers, a file, or - for stdin (softmax apply --help)")
        words = ["-"]
    if len(words) == 1 and (words[0] == "-" or _is_name(words[0])):
        return _read_file(words[0])
    return Numbers(_parse(words), separator=None)


def _is_name(word: str) -> bool:
    """Whether one word is the name of a file rather than a number or a mistyped option."""
    return not (is_number(word) or word.startswith("-")) and (bool(Path(word).suffix) or Path(word).exists())


def _read_file(name: str) -> Numbers:
    from .arrays import ARRAYS, read_arrays
    from .tables import read_table

    if Path(name).suffix.lower() in ARRAYS:
        arrays = read_arrays(name)
        if len(arrays) != 1:
            raise Problem(f"{name}: holds {len(arrays)} arrays ({', '.join(arrays)}), apply takes one: save it as .npy")
        (values,) = arrays.values()
        if values.dtype.kind == "U" or values.ndim == 0:
            raise Problem(f"{name}: expected an array of numbers, got dtype {values.dtype}, shape {values.shape}")
        return Numbers(values)
    table = read_table(name, only_numbers=True)
    columns = [table.numbers(column) for column in table.frame.columns]
    for column in columns:
        if column.null_count():
            row = int(column.is_null().arg_max() or 0)
            raise Problem(f"{table.place(row, column.name if table.header else None)}: the number is missing")
    values = np.stack([column.to_numpy() for column in columns], axis=1)
    return Numbers(
        values[:, 0] if values.shape[1] == 1 else values,
        table.frame.columns if table.header else None,
        table.separator,
    )


def _frame(numbers: Numbers, result: NDArray[Any]) -> pl.DataFrame:
    import polars as pl

    if result.ndim > 2:
        raise Problem(f"the result has {result.ndim} dimensions: write it with -o FILE.npy")
    if result.ndim == 1:
        # Numbers typed in a row stay a row; those that came one a line stay a column.
        result = result[np.newaxis] if numbers.separator is None else result[:, np.newaxis]
    if result.dtype == np.float16:
        result = result.astype(np.float32)
    return pl.DataFrame(result, schema=numbers.columns or [f"x{i}" for i in range(result.shape[1])], orient="row")
