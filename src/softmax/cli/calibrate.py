"""`softmax calibrate`: the temperature of any model, from its logits or probabilities and the true classes in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .._probabilities import TOLERANCE
from .._text import count, listing, percent, table
from .._verdict import in_words
from ..calibration import TemperatureScaling
from ..metrics import expected_calibration_error
from .arrays import ARRAYS, read_arrays
from .console import Problem, check_writable, note, replacing
from .tables import READABLE, Table, first, read_labels_beside, read_table
from .textfiles import suffix


def calibrate(name: str, target: str, output: str | None) -> None:
    """Fit the temperature, say what it changes, and save it."""
    if output is not None:
        check_writable(output, (".json",))
    scores, labels = _read(name, target)
    likely = _are_probabilities(scores)
    if likely:
        note(f"{name}: the numbers are taken as probabilities, since each row sums to 1")
    scaling = TemperatureScaling("probabilities" if likely else "logits")
    try:
        scaling.fit(scores, labels)
    except (TypeError, ValueError) as error:
        raise Problem(f"{name}: {error}") from error
    print(f"{count(len(labels), 'row')} of {name}, {count(_classes(scores), 'class', 'classes')}: {scaling.message_}")
    print("\n".join(_comparison(scaling, scores, labels)))
    if output is not None:
        with replacing(output) as file:
            file.write(scaling.to_json().encode())
        print(f'Saved {output}. In Python: TemperatureScaling.load("{output}").transform(scores)')
    if not likely and scores.ndim == 2 and scaling.temperature_ != 1:
        print(f"To use it: softmax apply FILE --temperature {scaling.temperature_:.6g}")


def _comparison(scaling: TemperatureScaling, scores: NDArray[Any], labels: NDArray[np.intp]) -> list[str]:
    """What the temperature changes, a line for each score and one in words for each state."""
    as_given = TemperatureScaling(scaling.inputs)
    as_given.temperature_ = 1.0
    before, after = as_given.transform(scores), scaling.transform(scores)
    errors = [percent(expected_calibration_error(probs, labels)) for probs in (before, after)]
    rows = [
        ["", "before", "after"],
        ["  log-loss", f"{scaling.log_loss_before_:.4f}", f"{scaling.log_loss_after_:.4f}"],
        ["  calibration error", *errors],
    ]
    both = [probs if probs.ndim == 2 else np.stack([1 - probs, probs], axis=1) for probs in (before, after)]
    words = [in_words(probs.astype(np.float64), labels) for probs in both]
    return [*table(rows), f"  before: {words[0]}", f"  after: {words[1]}"]


def _read(name: str, target: str) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Scores, (N, K) or (N,) for the second of two classes, and the rows' class indices."""
    beside = suffix(target) in READABLE and Path(target).is_file()
    where = target if beside else f"{name}, {target}"
    read = _read_arrays if suffix(name) in ARRAYS else _read_columns
    scores, columns, labels = read(name, None if beside else target)
    if labels is None:
        of_labels = read_labels_beside(target, len(scores), name).frame
        labels = of_labels[of_labels.columns[0]]
    if len(labels) != len(scores):
        raise Problem(f"{where}: holds {len(labels):,} labels for the {len(scores):,} rows of {name}")
    return scores, _indices(labels, where, columns if scores.ndim == 2 else (), _classes(scores))


def _read_arrays(name: str, target: str | None) -> tuple[NDArray[Any], Sequence[str], pl.Series | None]:
    """Scores, no names of columns, and labels if they are an array of the same file."""
    arrays = read_arrays(name)
    labels = None if target is None else arrays.pop(target, None)
    if target is not None and (labels is None or labels.ndim != 1):
        raise Problem(f"--target {target}: is neither a file of labels nor an array (N,) of {name}")
    if len(arrays) != 1:
        raise Problem(f"{name}: expected one array of scores, got {listing(arrays) or 'none'}")
    (scores,) = arrays.values()
    if scores.ndim not in (1, 2) or scores.dtype.kind == "U" or not len(scores):
        raise Problem(f"{name}: expected scores of shape (N, K) or (N,), got {scores.dtype} of shape {scores.shape}")
    return scores, (), None if labels is None else pl.Series(labels)


def _read_columns(name: str, target: str | None) -> tuple[NDArray[Any], Sequence[str], pl.Series | None]:
    """Scores, the names of their columns, and labels if they are a column of the same table."""
    source = read_table(name)
    columns = [column for column in source.frame.columns if column != target]
    if target is not None and target not in source.frame.columns:
        these = listing(columns, 20)
        raise Problem(f"--target {target}: is neither a file of labels nor a column of {name}; these are {these}")
    return _numbers(source, columns), columns, None if target is None else source.frame[target]


def _numbers(source: Table, columns: Sequence[str]) -> NDArray[Any]:
    """Columns of a table as one array, (N,) where there is one."""
    series = [source.numbers(column) for column in columns]
    for column in series:
        row = first(column.is_null())
        if row is not None:
            raise Problem(f"{source.place(row, column.name)}: the number is missing")
    if not series:
        raise Problem(f"{source.name}: has no column of scores")
    return np.stack([column.to_numpy() for column in series], axis=1) if len(series) > 1 else series[0].to_numpy()


def _indices(labels: pl.Series, where: str, columns: Sequence[str], classes: int) -> NDArray[np.intp]:
    """Class indices from indices, or from names of columns, with or without the p_ that `softmax predict` writes."""
    row = first(labels.is_null())
    if row is not None:
        raise Problem(f"{where}, row {row + 1}: the label is missing")
    if labels.dtype == pl.Boolean:
        labels = labels.cast(pl.Int64)
    if labels.dtype.is_float() and (labels == labels.round()).all():
        labels = labels.cast(pl.Int64)
    names = [column.removeprefix("p_") for column in columns]
    texts = labels.cast(pl.String)
    if texts.is_in(names).all():
        return np.asarray(texts.replace_strict(names, list(range(len(names)))).to_numpy(), np.intp)
    indices = labels.is_between(0, classes - 1) if labels.dtype.is_integer() else labels.is_null()
    row = first(~indices)
    if row is not None:
        named = f", or one of {listing(names)}" if names else ""
        raise Problem(f"{where}, row {row + 1}: expected a class from 0 to {classes - 1}{named}, got {labels[row]!r}")
    return np.asarray(labels.to_numpy(), np.intp)


def _are_probabilities(scores: NDArray[Any]) -> bool:
    """Whether no logits look like this: in [0, 1], and of each row with the sum 1."""
    if not (scores.min() >= 0 and scores.max() <= 1):
        return False
    return scores.ndim == 1 or bool((abs(scores.sum(axis=1, dtype=np.float64) - 1) <= TOLERANCE).all())


def _classes(scores: NDArray[Any]) -> int:
    return scores.shape[1] if scores.ndim == 2 else 2
