"""Tables: read from any kind of file, whole or in parts, and written; every problem told by file, row and column."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from .arrays import ARRAYS, array_frames
from .console import Problem, replacing
from .images import common_size, image_files, image_frames
from .textfiles import (
    CSV,
    JSON_LINES,
    LABEL,
    LINES,
    PIECE,
    Piece,
    csv_frames,
    json_frames,
    line_frames,
    starts_with,
    suffix,
)

READABLE = (*CSV, *JSON_LINES, ".parquet", *ARRAYS, ".ft")
WRITABLE = (".csv", ".tsv", ".parquet", *JSON_LINES)
MISSING = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "null", "NULL", "?")
BATCH = 50_000  # rows of a Parquet file that are read at a time


@dataclass(frozen=True)
class Table:
    """A table or a part of one, and what is needed to point into the file it came from.

    Attributes:
        name: how the user called the file.
        frame: the columns. Those of a text file are whole numbers, floats, booleans or texts, whichever fits them all;
            a missing value is null.
        raw: the columns as they were read.
        piece: the text, where it came from text.
        first_row: rows of the file before this part.
        image: width, height and channels of images, whose pixels the columns are.
        lines: whether each row is a line of text, as in fastText's files.
    """

    name: str
    frame: pl.DataFrame
    raw: pl.DataFrame
    piece: Piece | None = None
    first_row: int = 0
    image: list[int] | None = None
    lines: bool = False

    @property
    def separator(self) -> str:
        """What stands between the fields of a text."""
        return self.piece.separator if self.piece else ","

    @property
    def header(self) -> bool:
        """Whether the columns have names of their own."""
        return self.piece is None or self.piece.header

    def place(self, row: int, column: str | None = None) -> str:
        """`data.csv, row 3 (line 4), column 'age'`: rows count from 1 below the header, lines from the top."""
        line = self.piece.line(row) if self.piece else None
        where = f"{self.name}, row {self.first_row + row + 1}" + (f" (line {line})" if line else "")
        return where + (f", column {column!r}" if column is not None else "")

    def numbers(self, column: str) -> pl.Series:
        """A column as floating point numbers, null where a value is missing; a Problem where one is not a number."""
        values = self.frame[column]
        if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.String, pl.Null)):
            raise Problem(f"{self.name}, column {column!r}: expected numbers, got {values.dtype}")
        floats: pl.Series = values.cast(pl.Float32 if values.dtype == pl.Float32 else pl.Float64, strict=False)
        wrong = first(floats.is_null() & values.is_not_null())
        if wrong is not None:
            raise Problem(f"{self.place(wrong, column)}: {values[wrong]!r} is not a number")
        return floats

    def texts(self, column: str) -> pl.Series:
        """A column as texts, spelled as in the file, null where a value is missing."""
        raw = self.raw[column] if column in self.raw.columns else self.frame[column]
        return _texts(raw if raw.dtype == pl.String else self.frame[column].cast(pl.String), MISSING)


@dataclass(frozen=True)
class Layout:
    """How a model's data are laid out, where a file alone does not tell: see `Table`."""

    image: list[int] | None = None
    lines: bool = False


def first(mask: pl.Series) -> int | None:
    """Index of the first true entry, None where there is none."""
    return mask.arg_max() if mask.any() else None


def read_table(name: str, *, only_numbers: bool = False, layout: Layout | None = None) -> Table:
    """The table in a file, or on stdin where `name` is "-"; a Problem that says what is wrong with it otherwise.

    With `only_numbers`, a text file may lack the header and separate its fields by blanks, and nothing stands for
    missing values. A `layout` says that the table is for a model.
    """
    (table,) = _tables(name, only_numbers, layout, whole=True)
    return table


def read_parts(name: str, layout: Layout) -> Iterator[Table]:
    """The same table for a model in parts, so that a file may be larger than the memory."""
    return _tables(name, False, layout, whole=False)


def _tables(name: str, only_numbers: bool, layout: Layout | None, whole: bool) -> Iterator[Table]:
    kind = suffix(name)
    if Path(name).is_dir() and not only_numbers:
        yield from _image_tables(name, layout.image if layout else None, whole)
        return
    known = (*CSV, ".parquet", *ARRAYS) if only_numbers else READABLE
    if not Path(name).is_dir() and kind not in known:
        raise Problem(f"{name}: unknown type of file, expected one of {', '.join(known)}")
    size = None if whole else PIECE
    if _holds_lines(name, kind, only_numbers, layout):
        for frame, piece in line_frames(name, size):
            yield Table(piece.name, frame, frame, piece, piece.first_row, lines=True)
    elif kind in CSV + JSON_LINES:
        missing = () if only_numbers else MISSING
        frames = json_frames(name, size) if kind in JSON_LINES else csv_frames(name, only_numbers, size)
        for raw, piece in frames:
            yield Table(piece.name, _tidy(raw, missing), raw, piece, piece.first_row)
    else:
        frames_of = _parquet_frames if kind == ".parquet" else array_frames
        row = 0
        for raw in frames_of(name, whole):
            yield Table(name, _tidy(raw, () if only_numbers else MISSING), raw, first_row=row)
            row += len(raw)
        if not row:
            raise Problem(f"{name}: has no rows")


def _holds_lines(name: str, kind: str, only_numbers: bool, layout: Layout | None) -> bool:
    """Whether each row is a line of text: fastText's own files, and what looks like text to a model of such lines."""
    if only_numbers or kind not in (*LINES, ".csv"):
        return False
    if kind == ".ft" or (layout is not None and layout.lines and (name == "-" or kind == ".txt")):
        return True
    return kind == ".txt" and starts_with(name, LABEL)


def _image_tables(folder: str, size: list[int] | None, whole: bool) -> Iterator[Table]:
    files = image_files(folder)
    if not files:
        raise Problem(f"{folder}: is a directory without images, expected one subfolder of them a class")
    size = size or common_size(files)
    row, parts = 0, image_frames(folder, files, size)
    if whole:
        frames, abouts = zip(*parts, strict=True)
        parts = iter([(pl.concat(frames), pl.concat(abouts))])
    for frame, about in parts:
        yield Table(folder, frame.with_columns(about["label"]), about, first_row=row, image=size)
        row += len(frame)


def _parquet_frames(name: str, whole: bool) -> Iterator[pl.DataFrame]:
    try:
        with open(name, "rb") as file:
            if whole:
                yield pl.read_parquet(file)
                return
        yield from pl.scan_parquet(name, glob=False).collect_batches(chunk_size=BATCH)
    except OSError as error:
        raise Problem(f"{name}: {(error.strerror or str(error)).lower()}") from error
    except pl.exceptions.PolarsError as error:
        raise Problem(f"{name}: not a Parquet file, or a damaged one") from error


def read_labels_beside(name: str, rows: int, data: str) -> Table:
    """The labels of `rows` rows of `data` in a file of their own: one column, with or without a header."""
    if suffix(name) in CSV:
        with_header = read_table(name)
        table = with_header
        if len(with_header.frame) != rows:
            frames = [(frame, piece) for frame, piece in csv_frames(name, header=False)]
            ((raw, piece),) = frames
            table = Table(name, _tidy(raw, MISSING), raw, piece)
    else:
        table = read_table(name)
    if table.frame.width != 1:
        raise Problem(f"{name}: has {table.frame.width} columns, expected one of labels")
    if len(table.frame) != rows:
        raise Problem(f"{name}: holds {len(table.frame):,} labels for the {rows:,} rows of {data}")
    return table


def write_table(frame: pl.DataFrame, name: str | None, *, separator: str = ",", header: bool = True) -> None:
    """Write to a file whose type is one of WRITABLE, or as CSV to stdout where there is no name."""
    write_parts([frame], name, separator=separator, header=header)


def write_parts(frames: Iterable[pl.DataFrame], name: str | None, *, separator: str = ",", header: bool = True) -> None:
    """Write frames of the same columns below each other, each one as it comes."""
    frames = iter(frames)
    start = next(frames)  # what is wrong with the first part is told before a file is opened
    kind = "" if name is None else Path(name).suffix.lower()
    with _output(name) as file:
        if kind == ".parquet":
            _write_parquet(start, frames, file)
            return
        for part in _chain(start, frames):
            if kind in JSON_LINES:
                text = part.write_ndjson()
            else:
                text = part.write_csv(separator="\t" if kind == ".tsv" else separator, include_header=header)
            file.write(text.encode())  # not by polars, whose errors do not say that the reader has gone
            header = False


@contextmanager
def _output(name: str | None) -> Iterator[BinaryIO]:
    if name is not None:
        with replacing(name) as file:
            yield file
        return
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.flush()


def _chain(start: pl.DataFrame, rest: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    yield start
    yield from rest


def _write_parquet(start: pl.DataFrame, rest: Iterator[pl.DataFrame], file: BinaryIO) -> None:
    from polars.io.plugins import register_io_source

    def parts(*_: Any) -> Iterator[pl.DataFrame]:
        return _chain(start, rest)

    try:
        register_io_source(parts, schema=start.schema).sink_parquet(file)
    except pl.exceptions.ComputeError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


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
