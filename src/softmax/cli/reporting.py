"""What `--report` writes: a model and the rows that it was tested on as a `softmax.report`."""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import softmax
from .._text import listing
from ..words import WORD
from .columns import PARTS
from .console import check_writable, replacing
from .images import image_shape
from .models import Facts, Labels, Model

REPORT_FILE = (".html", ".htm")
SHOWN = 100  # characters of a category
SHOWN_OF_TEXT = 400


def check_report(path: str | None) -> None:
    """Raise, before any work is done, where a report is wanted and could not be made or written."""
    if path is not None:
        check_writable(path, REPORT_FILE)
        from ..report import render  # noqa: F401


def write_report(
    path: str,
    model: Model,
    frame: pl.DataFrame,
    labels: Labels,
    rows: NDArray[np.intp],
    tested: str,
    *,
    train: pl.DataFrame | None = None,
    train_labels: Labels | None = None,
    files: pl.Series | None = None,
) -> None:
    """Write the report on a model: `frame` and `labels` are those of the test, `rows` their numbers in the file from 1.

    Where the training data are not given, the columns are described as the test has them. `files` are the images of the
    test, which say more than their pixels.
    """
    from ..report import Subject, render

    logits = model.logits(frame) if len(frame) else np.empty((0, len(model.classes)))
    classifier = model.pipeline[-1]
    coefs = getattr(classifier, "coefs_", [])
    linear = len(coefs) == 1
    train_counts = None
    if train_labels is not None:
        train_counts = np.bincount(np.searchsorted(model.classes, train_labels), minlength=len(model.classes))
    shape = _image_shape(model.facts)
    subject = Subject(
        title=f"Classifier of {model.facts.target}",
        target=model.facts.target,
        classes=[_text(label) for label in model.classes.tolist()],
        probs=softmax(logits),
        probs_before=model.uncalibrated(logits),
        targets=np.searchsorted(model.classes, labels),
        rows=rows,
        values=lambda i: _values(model.facts, frame, i) if files is None else {"image": str(files[i])},
        tested=tested,
        facts=_facts(model),
        columns=_columns(model.facts, frame if train is None else train),
        train_counts=train_counts,
        loss_curve=getattr(classifier, "loss_curve_", []),
        validation_loss_curve=getattr(classifier, "validation_loss_curve_", None),
        weights=_weights(coefs[0], len(model.classes)) if linear else None,
        features=_feature_names(model) if linear else (),
        image_shape=shape,
        pixels=(lambda i: np.reshape([frame[name][i] for name in model.facts.numeric], shape)) if shape else None,
    )
    html = render(subject)
    with replacing(path) as file:
        file.write(html.encode())


def _image_shape(facts: Facts) -> tuple[int, ...]:
    """(height, width), or (height, width, 3), of images all of whose pixels the model reads."""
    shape = image_shape(facts.image) if facts.image else ()
    return shape if math.prod(shape) == len(facts.numeric) else ()


def _facts(model: Model) -> list[tuple[str, str]]:
    """What was trained, and every option that it was trained with."""
    classifier, facts = model.pipeline[-1], model.facts
    coefs = getattr(classifier, "coefs_", [])
    layers = " and ".join(f"{coef.shape[1]:,}" for coef in coefs[:-1])
    parameters = sum(coef.size for coef in coefs) + sum(x.size for x in getattr(classifier, "intercepts_", []))
    told = [
        ("model", f"network with {layers} hidden neurons" if layers else "softmax regression (no hidden layer)"),
        ("features", f"{coefs[0].shape[0]:,}" if coefs else ""),
        ("parameters", f"{parameters:,}" if coefs else ""),
        ("iterations", f"{classifier.n_iter_:,}{' (interrupted)' * facts.interrupted}"),
        ("calibration", facts.calibration),
        *((name, _text(value)) for name, value in classifier.get_params(deep=False).items()),
        ("versions", f"softmax {facts.softmax}, scikit-learn {facts.sklearn}"),
    ]
    return [(name, text) for name, text in told if text]


def _columns(facts: Facts, frame: pl.DataFrame) -> list[Any]:
    """What is to be said of each column."""
    from ..report import Column

    if facts.image:
        width, height, channels = facts.image
        kind = "grey" if channels == 1 else "coloured"
        return [Column("image", "image", 0, len(frame), f"{width} by {height} {kind} pixels, from 0 (black) to 1")]
    days = [f"{name} {PARTS[-1]}" for name in facts.dates]
    dates = (
        frame.select(days).rename(lambda name: name.removesuffix(f" {PARTS[-1]}")) if facts.dates else pl.DataFrame()
    )
    kinds = {
        "numeric": (facts.numeric, _numbers),
        "date": (facts.dates, _dates),
        "categorical": (facts.categorical, _categories),
        "text": (facts.text, _words),
    }
    columns = []
    for kind, (names, summary) in kinds.items():
        for name in names:
            series = dates[name] if kind == "date" else frame[name]
            values = series.drop_nulls()
            columns.append(
                Column(name, kind, series.null_count(), values.n_unique(), summary(values) if len(values) else "")
            )
    return columns


def _numbers(values: pl.Series) -> str:
    quartiles = [_text(values.quantile(q)) for q in (0.0, 0.25, 0.5, 0.75, 1.0)]
    return "{} to {}, median {}, middle half {} to {}".format(*(quartiles[i] for i in (0, 4, 2, 1, 3)))


def _dates(days: pl.Series) -> str:
    return f"{_date(days.min())} to {_date(days.max())}"  # type: ignore[arg-type]


def _categories(values: pl.Series) -> str:
    counts = values.value_counts().sort("count", values.name, descending=[True, False])
    return listing(f"{_text(value)} {number:,}" for value, number in counts.iter_rows())


def _words(texts: pl.Series) -> str:
    words = texts.str.count_matches(WORD).to_numpy()
    return f"{words.mean():,.0f} words in the mean, {words.max():,} at most"


def _weights(coefs: NDArray[Any], classes: int) -> NDArray[Any]:
    """(D, K) weights; two classes share one column, which speaks for the second."""
    return np.hstack([-coefs, coefs]) if classes == 2 else coefs


def _feature_names(model: Model) -> list[str]:
    """The names of the columns, of a category column_category, and the words, without the step that made them."""
    steps = model.pipeline[0].named_transformers_
    names = model.pipeline[:-1].get_feature_names_out()
    texts = model.facts.text
    prefix = {f"text {i}": f"{column}: " if len(texts) > 1 else "" for i, column in enumerate(texts)}
    return [
        prefix.get(step, "") + rest if step in steps else name
        for name in names
        for step, _, rest in [str(name).partition("__")]
    ]


def _values(facts: Facts, frame: pl.DataFrame, i: int) -> dict[str, str]:
    """What the model read of a row, a date in one piece."""
    row = frame.row(i, named=True)
    shown = {name: _text(row[name]) for name in facts.numeric}
    shown |= {name: _text(_date(row[f"{name} {PARTS[-1]}"])) for name in facts.dates}
    shown |= {name: _text(row[name]) for name in facts.categorical}
    return shown | {name: _text(row[name], SHOWN_OF_TEXT) for name in facts.text}


def _date(days: float | None) -> date | None:
    return None if days is None else date(1970, 1, 1) + timedelta(days)


def _text(value: Any, most: int = SHOWN) -> str:
    """A value as the report spells it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}…"
