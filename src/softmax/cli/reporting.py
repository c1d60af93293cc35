"""What `--report` writes: a model and the rows that it was tested on as a `softmax.report`."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .._text import listing
from .console import check_writable, replacing
from .models import Labels, Model

REPORT_FILE = (".html", ".htm")
SHOWN = 100  # characters of a text value


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
) -> None:
    """Write the report on a model: `frame` and `labels` are those of the test, `rows` their numbers in the file from 1.

    Where the training data are not given, the columns are described as the test has them.
    """
    from ..report import Subject, render

    probs = model.probabilities(frame) if len(frame) else np.empty((0, len(model.classes)))
    classifier = model.pipeline[-1]
    coefs = getattr(classifier, "coefs_", [])
    linear = len(coefs) == 1
    train_counts = None
    if train_labels is not None:
        train_counts = np.bincount(np.searchsorted(model.classes, train_labels), minlength=len(model.classes))
    subject = Subject(
        title=f"Classifier of {model.facts.target}",
        target=model.facts.target,
        classes=[_text(label) for label in model.classes.tolist()],
        probs=probs,
        targets=np.searchsorted(model.classes, labels),
        rows=rows,
        values=lambda i: {name: _text(value) for name, value in frame.row(i, named=True).items()},
        tested=tested,
        facts=_facts(model),
        columns=_columns(frame if train is None else train),
        train_counts=train_counts,
        loss_curve=getattr(classifier, "loss_curve_", []),
        validation_loss_curve=getattr(classifier, "validation_loss_curve_", None),
        weights=_weights(coefs[0], len(model.classes)) if linear else None,
        features=_feature_names(model) if linear else (),
    )
    html = render(subject)
    with replacing(path) as file:
        file.write(html.encode())


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
        ("iterations", f"{classifier.n_iter_:,}" if hasattr(classifier, "n_iter_") else ""),
        *((name, _text(value)) for name, value in classifier.get_params(deep=False).items()),
        ("versions", f"softmax {facts.softmax}, scikit-learn {facts.sklearn}"),
    ]
    return [(name, text) for name, text in told if text]


def _columns(frame: pl.DataFrame) -> list[Any]:
    """What is to be said of each column."""
    from ..report import Column

    return [
        Column(
            series.name,
            "numeric" if series.dtype.is_numeric() else "text",
            series.null_count(),
            series.drop_nulls().n_unique(),
            _summary(series.drop_nulls()),
        )
        for series in frame
    ]


def _summary(values: pl.Series) -> str:
    if not len(values):
        return ""
    if values.dtype.is_numeric():
        quartiles = [_text(values.quantile(q)) for q in (0.0, 0.25, 0.5, 0.75, 1.0)]
        return "{} to {}, median {}, middle half {} to {}".format(*(quartiles[i] for i in (0, 4, 2, 1, 3)))
    counts = values.value_counts().sort("count", values.name, descending=[True, False])
    return listing(f"{_text(value)} {number:,}" for value, number in counts.iter_rows())


def _weights(coefs: NDArray[Any], classes: int) -> NDArray[Any]:
    """(D, K) weights; two classes share one column, which speaks for the second."""
    return np.hstack([-coefs, coefs]) if classes == 2 else coefs


def _feature_names(model: Model) -> list[str]:
    """The names of the columns, and of a category column_category, without the step that made them."""
    steps = model.pipeline[0].named_transformers_
    names = model.pipeline[:-1].get_feature_names_out()
    return [rest if step in steps else name for name in names for step, _, rest in [str(name).partition("__")]]


def _text(value: Any) -> str:
    """A value as the report spells it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
