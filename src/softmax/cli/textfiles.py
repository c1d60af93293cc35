"""Text files in pieces: CSV, JSON lines and fastText's lines, plain or packed by gzip or Zstandard.

A piece ends where a record ends, and knows the number of its first row and line, so that every problem is told by row
and line however long the file is.
"""

from __future__ import annotations

import csv
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl

from .console import Problem, is_number

CSV = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
LINES = (".txt", ".ft")
PACKED = (".gz", ".zst")
LABEL = "__label__"
JSON_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a text", list: "a list"}
JSON_KINDS |= {dict: "an object", type(None): ""}
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # what such a text begins with
PIECE = 16_000_000  # bytes of text that are read at a time


@dataclass(frozen=True)
class Piece:
    """A part of a text file that begins and ends with a record, and where it stands in the file."""

    name: str
    text: str
    separator: str = ","
    header: bool = False
    first_row: int = 0
    first_line: int = 0

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """The number in the file of the last line, and the fields, of each record; a blank line has no fields."""
        if not self.separator:  # a record is a line
            yield from ((self.first_line + i, [line] if line.strip() else []) for i, line in _numbered(self.text))
            return
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader((line + "\n" for line in self.text.split("\n")), delimiter=self.separator)
        for fields in reader:
            stripped = [field.strip() for field in fields]
            yield self.first_line + reader.line_num, [] if stripped == [""] else stripped

    def line(self, row: int) -> int | None:
        """The line in the file on which a row of this piece, counted from 0, ends."""
        records = (number for number, fields in self.records() if fields)
        return next((number for i, number in enumerate(records) if i == row + self.header), None)


def suffix(name: str) -> str:
    """The type of a file, in lower case and without .gz or .zst; stdin ("-") is CSV."""
    path = Path(name)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return ".csv" if name == "-" else path.suffix.lower()


def called(name: str) -> str:
    """What messages call a file."""
    return "stdin" if name == "-" else name


def open_file(name: str) -> BinaryIO:
    """A file, or stdin where `name` is "-", unpacked."""
    packed = Path(name).suffix.lower()
    try:
        if packed == ".gz":
            import gzip

            return gzip.open(name)  # type: ignore[return-value]
        if packed == ".zst":
            import zstandard

            decompressor = zstandard.ZstdDecompressor()
            return decompressor.stream_reader(open(name, "rb"), read_across_frames=True)
        return sys.stdin.buffer if name == "-" else open(name, "rb")
    except OSError as error:
        raise Problem(f"{name}: {(error.strerror or str(error)).lower()}") from error


def read_bytes(name: str) -> bytes:
    """The content of a file, or of stdin where `name` is "-", unpacked."""
    with open_file(name) as file:
        return _read(file, name, -1)


def starts_with(name: str, mark: str) -> bool:
    """Whether a text file begins with `mark`, blanks and a byte order mark aside."""
    with open_file(name) as file:
        head = _read(file, name, 4096)
    text = head.decode("utf-16" if head[:2] in UTF16 else "utf-8-sig", "replace")
    return text.lstrip().startswith(mark)


def csv_frames(
    name: str, numbers: bool = False, size: int | None = None, header: bool = True
) -> Iterator[tuple[pl.DataFrame, Piece]]:
    """The fields of a CSV text, all of them as texts; the first line is a header, but not one of `numbers` alone.

    `size` bytes are read at a time, everything at once where it is None.
    """
    columns: list[str] | None = None
    width, separator, row = 0, ",", 0
    head_alone: tuple[str, int] | None = None  # a first piece without a row
    for text, line in _pieces(name, size, quotes=True):
        if head_alone:
            text, line, head_alone = head_alone[0] + text, head_alone[1], None
        if columns is None:
            separator = _separator(text)
        if separator == " ":
            text = "\n".join(" ".join(part.split()) for part in text.split("\n"))
        piece = Piece(called(name), text, separator, False, row, line)
        if columns is None:
            head = next(fields for _, fields in piece.records() if fields)
            header, width = header and not (numbers and all(map(is_number, head))), len(head)
            twice = next((column for i, column in enumerate(head) if column in head[:i]), None)
            if header and twice is not None:
                raise Problem(f"{called(name)}: two columns are named {twice!r}")
            piece = Piece(called(name), text, separator, header, row, line)
        frame = _parse_csv(piece, width, header)
        if columns is None:
            if not len(frame):
                head_alone = text, line
                continue
            columns = [column.strip() for column in frame.columns]
        yield frame.rename(dict(zip(frame.columns, columns, strict=True))), piece
        row += len(frame)
    if columns is None:
        raise Problem(f"{called(name)}: has no rows below the header")


def json_frames(name: str, size: int | None = None) -> Iterator[tuple[pl.DataFrame, Piece]]:
    """JSON objects, one a line; a key that a line lacks is a missing value."""
    row = 0
    for text, line in _pieces(name, size):
        piece = Piece(called(name), text, separator="", first_row=row, first_line=line)
        try:
            frame = pl.read_ndjson(text.encode(), infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            _check_json(piece)
            raise Problem(f"{called(name)}: not JSON lines ({str(error).splitlines()[0]})") from error
        if not frame.width:
            raise Problem(f"{called(name)}, row {row + 1} (line {line + 1}): the JSON objects are empty")
        yield frame, piece
        row += len(frame)


def line_frames(name: str, size: int | None = None) -> Iterator[tuple[pl.DataFrame, Piece]]:
    """fastText's lines, "__label__class text": columns label (null where there is none) and text."""
    row = 0
    for text, line in _pieces(name, size):
        piece = Piece(called(name), text, separator="", first_row=row, first_line=line)
        lines = pl.Series("text", [part for _, part in _numbered(text) if part.strip()], dtype=pl.String)
        label = lines.str.extract(rf"^\s*{LABEL}(\S+)").alias("label")
        rest = lines.str.replace(rf"^\s*{LABEL}\S+\s*", "")
        twice = rest.str.starts_with(LABEL)
        if twice.any():
            place = f"row {row + int(twice.arg_max() or 0) + 1} (line {piece.line(int(twice.arg_max() or 0))})"
            raise Problem(f"{called(name)}, {place}: two labels, one is expected")
        yield pl.DataFrame([label, rest]), piece
        row += len(rest)


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    return enumerate(text.split("\n"), 1)


def _pieces(name: str, size: int | None, quotes: bool = False) -> Iterator[tuple[str, int]]:
    """The text of each piece of a file, and the number of lines before it."""
    label, line, rest, empty = called(name), 0, b"", True
    with open_file(name) as file:
        at_end = False
        while not at_end:
            block = _read(file, name, -1 if size is None else size)
            at_end = size is None or not block
            rest += block
            if not line and rest[:2] in UTF16:
                rest, at_end = _from_utf16(label, rest + _read(file, name, -1)), True
            cut = len(rest) if at_end else _last_record_end(rest, quotes)
            data, rest = rest[:cut], rest[cut:]
            text = _decoded(label, data, line)
            if text.strip():
                yield text, line
                empty = False
            line += text.count("\n")
    if empty:
        raise Problem(f"{label}: is empty")


def _last_record_end(data: bytes, quotes: bool) -> int:
    """Where the last record ends: a line end inside quotes, with an odd number of them before it, is none."""
    cut = data.rfind(b"\n") + 1
    inside = quotes and data.count(b'"', 0, cut) % 2
    while inside and cut:
        earlier = data.rfind(b"\n", 0, cut - 1) + 1
        inside ^= data.count(b'"', earlier, cut) % 2
        cut = earlier
    return cut


def _read(file: BinaryIO, name: str, size: int) -> bytes:
    try:
        return file.read(size)
    except MemoryError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        if Path(name).suffix.lower() == ".gz" and not getattr(error, "errno", None):
            raise Problem(f"{name}: not a gzip file, or a damaged one") from error
        raise Problem(f"{called(name)}: {(getattr(error, 'strerror', None) or str(error)).lower()}") from error
    except Exception as error:  # zstandard has its own
        raise Problem(f"{name}: not a Zstandard file, or a damaged one") from error


def _decoded(label: str, data: bytes, lines_before: int) -> str:
    try:
        text = data.decode("utf-8-sig" if not lines_before else "utf-8")
    except UnicodeDecodeError as error:
        line = lines_before + data.count(b"\n", 0, error.start) + 1
        raise Problem(f"{label}, line {line}: not UTF-8 text") from error
    if "\0" in text:
        raise Problem(f"{label}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _from_utf16(label: str, data: bytes) -> bytes:
    """What spreadsheets save as "Unicode text", in UTF-8."""
    try:
        return data.decode("utf-16").encode()
    except UnicodeDecodeError as error:
        raise Problem(f"{label}: begins like UTF-16 text, but is none") from error


def _parse_csv(piece: Piece, width: int, header: bool) -> pl.DataFrame:
    """The fields of a piece, all of them as texts, without its blank lines."""

    def parse(text: str) -> pl.DataFrame:
        return pl.read_csv(
            text.encode(),
            separator=piece.separator,
            has_header=piece.header,
            infer_schema_length=0,
            raise_if_empty=False,
        )

    try:
        frame = parse(piece.text)
    except pl.exceptions.PolarsError as error:
        _check_widths(piece, width, header)
        raise Problem(f"{piece.name}: not a CSV file ({str(error).splitlines()[0]})") from error
    if frame.width != width:
        _check_widths(piece, width, header)
    # A row with too few fields, and a blank line, end in a null.
    if frame.to_series(-1).null_count():
        _check_widths(piece, width, header)
        blank = {number - piece.first_line for number, fields in piece.records() if not fields}
        if blank:
            frame = parse("\n".join(line for i, line in _numbered(piece.text) if i not in blank))
    return frame


def _check_widths(piece: Piece, width: int, header: bool) -> None:
    """Raise Problem at the first row whose number of fields is not that of the first one."""
    row = piece.first_row - piece.header
    for line, fields in piece.records():
        row += bool(fields)
        if fields and len(fields) != width:
            expected = f"where the {'header' if header else 'first row'} has {width}"
            raise Problem(f"{piece.name}, row {row} (line {line}): {len(fields)} fields {expected}")


def _check_json(piece: Piece) -> None:
    """Raise Problem at the first line that is no JSON object, or where a column changes its type for good."""
    kinds: dict[str, str] = {}
    row = piece.first_row
    for line, fields in piece.records():
        if not fields:
            continue
        row += 1
        try:
            record = json.loads(fields[0])
        except ValueError as error:
            raise Problem(f"{piece.name}, row {row} (line {line}): not JSON ({error})") from error
        if not isinstance(record, dict):
            raise Problem(f'{piece.name}, row {row} (line {line}): not a JSON object such as {{"column": 1}}')
        for key, value in record.items():
            kind = JSON_KINDS[type(value)]
            before = kinds.setdefault(key, kind) if kind else kind
            if kind != before:
                raise Problem(
                    f"{piece.name}, row {row} (line {line}), column {key!r}: {kind} where {before} came before"
                )


def _separator(text: str) -> str:
    head = next(line for line in text.split("\n") if line.strip())
    best = max(",;\t|", key=head.count)
    if best in head:
        return best
    return " " if len(head.split()) > 1 and all(map(is_number, head.split())) else ","
