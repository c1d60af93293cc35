"""Read and write tables: CSV, Parquet and NumPy files, with every problem told by file, row and column."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .console import Problem, is_number, replacing

TEXT = (".csv", ".tsv", ".txt")
READABLE = (*TEXT, ".parquet", ".npy", ".npz")
WRITABLE = (".csv", ".tsv", ".parquet")
MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?")


@dataclass(frozen=True)
class Table:
    """A table, and what is needed to point into the file it came from.

    Attributes:
        name: how the user called the file.
        frame: the columns. Those of a text file are whole numbers, floats, booleans or texts, whichever fits them all;
            a missing value is null.
        raw: the columns as they were read.
        text: the file itself where that is text.
        separator: what stands between the fields there.
        header: whether the first line of the text holds names.
    """

    name: str
    frame: pl.DataFrame
    raw: pl.DataFrame
    text: str | None = None
    separator: str = ","
    header: bool = True

    def place(self, row: int, column: str | None = None) -> str:
        """`data.csv, row 3 (line 4), column 'age'`: rows count from 1 below the header, lines from the top."""
        line = ""
        if self.text is not None:
            records = (number for number, fields in _records(self.text, self.separator) if fields)
            wanted = row + self.header
            line = next((f" (line {number})" for i, number in enumerate(records) if i == wanted), "")
        return f"{self.name}, row {row + 1}{line}" + (f", column {column!r}" if column is not None else "")

    def numbers(self, column: str) -> pl.Series:
        """A column as floating point numbers, null where a value is missing; a Problem where one is not a number."""
        values = self.frame[column]
        if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String)):
            raise Problem(f"{self.name}, column {column!r}: expected numbers, got {values.dtype}")
        floats: pl.Series = values.cast(pl.Float32 if values.dtype == pl.Float32 else pl.Float64, strict=False)
        wrong = first(floats.is_null() & values.is_not_null())
        if wrong is not None:
            raise Problem(f"{self.place(wrong, column)}: {values[wrong]!r} is not a number")
        return floats

    def texts(self, column: str) -> pl.Series:
        """A column as texts, spelled as in the file, null where a value is missing."""
        raw = self.raw[column]
        return _texts(raw if raw.dtype == pl.String else self.frame[column].cast(pl.String), MISSING)


def first(mask: pl.Series) -> int | None:
    """Index of the first true entry, None where there is none."""
    return mask.arg_max() if mask.any() else None


def read_table(name: str, *, only_numbers: bool = False) -> Table:
    """The table in a file, or on stdin where `name` is "-"; a Problem that says what is wrong with it otherwise.

    With `only_numbers`, a text file may lack the header and separate its fields by blanks, and nothing stands for
    missing values.
    """
    suffix = ".csv" if name == "-" else Path(name).suffix.lower()
    if suffix not in READABLE and not Path(name).is_dir():
        raise Problem(f"{name}: unknown type of file, expected one of {', '.join(READABLE)}")
    data = read_bytes(name)
    label = "stdin" if name == "-" else name
    missing = () if only_numbers else MISSING
    if suffix in TEXT:
        return _read_text(label, data, missing, only_numbers)
    raw = _read_parquet(name, data) if suffix == ".parquet" else _stacked(label, read_arrays(name, data))
    if not len(raw):
        raise Problem(f"{name}: has no rows")
    return Table(label, _tidy(raw, missing), raw)


def read_bytes(name: str) -> bytes:
    """The content of a file, or of stdin where `name` is "-"."""
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Problem(f"{name}: {(error.strerror or str(error)).lower()}") from error


def read_arrays(name: str, data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a .npy file, under the name "x", or of a .npz file; never anything that needs pickle."""
    try:
        loaded = np.load(BytesIO(data), allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # zip, header and pickle errors are of many types
        raise Problem(f"{name}: not a NumPy file, or a damaged one, or one that needs pickle") from error
    for key, array in arrays.items():
        if array.dtype.kind not in "biufU":
            raise Problem(f"{name}: array {key!r} has dtype {array.dtype}, expected numbers or texts")
    return arrays


def write_table(frame: pl.DataFrame, name: str | None, *, separator: str = ",", header: bool = True) -> None:
    """Write to a .csv, .tsv or .parquet file, or as CSV to stdout where there is no name."""
    if name is None:
        sys.stdout.write(frame.write_csv(separator=separator, include_header=header))
        return
    with replacing(name) as file:
        if Path(name).suffix.lower() == ".parquet":
            frame.write_parquet(file)
        else:
            tab = Path(name).suffix.lower() == ".tsv"
            frame.write_csv(file, separator="\t" if tab else ",", include_header=header)


def _read_text(name: str, data: bytes, missing: tuple[str, ...], only_numbers: bool) -> Table:
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Problem(f"{name}, line {line}: not UTF-8 text") from error
    if not text.strip():
        raise Problem(f"{name}: is empty")
    if "\0" in text:
        raise Problem(f"{name}: not a text file")
    separator = _separator(text)
    if separator == " ":
        text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
    head = next(fields for _, fields in _records(text, separator) if fields)
    header = not (only_numbers and all(map(is_number, head)))
    twice = next((column for i, column in enumerate(head) if column in head[:i]), None)
    if header and twice is not None:
        raise Problem(f"{name}: two columns are named {twice!r}")
    raw = _parse(name, text, separator, header)
    if not len(raw):
        raise Problem(f"{name}: has no rows below the header")
    return Table(name, _tidy(raw, missing), raw, text, separator, header)


def _read_parquet(name: str, data: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise Problem(f"{name}: not a Parquet file, or a damaged one") from error


def _parse(name: str, text: str, separator: str, header: bool) -> pl.DataFrame:
    """The fields of a CSV text, all of them as texts, without its blank lines."""

    def parse(text: str) -> pl.DataFrame:
        return pl.read_csv(text.encode(), separator=separator, has_header=header, infer_schema_length=0)

    try:
        frame = parse(text)
    except pl.exceptions.PolarsError as error:
        _check_widths(name, text, separator, header)
        raise Problem(f"{name}: not a CSV file ({str(error).splitlines()[0]})") from error
    # A row with too few fields, and a blank line, end in a null.
    if frame.to_series(-1).null_count():
        _check_widths(name, text, separator, header)
        blank = {number for number, fields in _records(text, separator) if not fields}
        if blank:
            lines = text.split("\n")
            frame = parse("\n".join(line for i, line in enumerate(lines, 1) if i not in blank))
    return frame.rename(str.strip)


def _check_widths(name: str, text: str, separator: str, header: bool) -> None:
    """Raise Problem at the first row whose number of fields is not that of the first one."""
    width, row = 0, -int(header)
    for line, fields in _records(text, separator):
        width = width or len(fields)
        row += bool(fields)
        if fields and len(fields) != width:
            expected = f"where the {'header' if header else 'first row'} has {width}"
            raise Problem(f"{name}, row {row} (line {line}): {len(fields)} fields {expected}")


def _records(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line, and the fields, of each record of a CSV text; a blank line has no fields."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line + "\n" for line in text.split("\n")), delimiter=separator)
    for fields in reader:
        stripped = [field.strip() for field in fields]
        yield reader.line_num, [] if stripped == [""] else stripped


def _separator(text: str) -> str:
    head = next(line for line in text.split("\n") if line.strip())
    best = max(",;\t|", key=head.count)
    if best in head:
        return best
    return " " if len(head.split()) > 1 and all(map(is_number, head.split())) else ","


def _tidy(frame: pl.DataFrame, missing: tuple[str, ...]) -> pl.DataFrame:
    """Find the missing values, and what type a column of texts holds."""
    columns = {}
    for series in frame:
        if series.dtype in (pl.Categorical, pl.Enum, pl.String):
            series = _inferred(_texts(series.cast(pl.String), missing))
        elif series.dtype.is_decimal():
            series = series.cast(pl.Float64)
        elif series.dtype.is_float() and missing:
            series = series.fill_nan(None)
        columns[series.name] = series
    return pl.DataFrame(columns)


def _texts(series: pl.Series, missing: tuple[str, ...]) -> pl.Series:
    texts: pl.Series = series.str.strip_chars()
    return texts.set(texts.is_in([*missing, ""]), None)


def _inferred(texts: pl.Series) -> pl.Series:
    """The texts as booleans or numbers where all of them are; 007 is a text, or its zeros would be lost."""
    lower = texts.str.to_lowercase()
    if texts.null_count() < len(texts) and lower.is_in(["true", "false"]).all():
        return lower == "true"
    if not texts.str.contains(r"^[+-]?0\d").any():
        for dtype in (pl.Int64, pl.Float64):
            numbers: pl.Series = texts.cast(dtype, strict=False)
            if numbers.null_count() == texts.null_count():
                return numbers
    return texts


def _stacked(name: str, arrays: dict[str, NDArray[Any]]) -> pl.DataFrame:
    """One column for each 1-D array, under its name, and columns x0, x1, … for a 2-D one named x or X."""
    columns: dict[str, NDArray[Any]] = {}
    for key, array in arrays.items():
        if array.ndim == 1:
            columns[key] = array
        elif array.ndim == 2:
            columns |= {f"{key.lower()}{i}": array[:, i] for i in range(array.shape[1])}
        else:
            raise Problem(f"{name}: array {key!r} has shape {array.shape}, expected one or two dimensions")
    if len({len(column) for column in columns.values()}) != 1:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        raise Problem(f"{name}: the arrays must have the same number of rows, got {shapes}")
    return pl.DataFrame(columns)
