"""`softmax train` and `softmax predict`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .._text import count, listing, percent, table
from ..decisions import decide, top_k
from ..learn import SoftmaxClassifier
from .console import Problem, check_writable, note, progress
from .models import Facts, Labels, Model, Scores, features, fit, load
from .reporting import check_report, write_report
from .tables import WRITABLE, Table, first, read_table, write_table

HELD_OUT = 0.2
MODEL_FILE = (".skops",)


@dataclass(frozen=True)
class Training:
    """What the options of `softmax train` say of the classifier."""

    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    alpha: float = 1e-2
    max_iter: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < float("inf"):
            raise Problem(f"--alpha {self.alpha:g}: must be finite and at least 0")
        if self.max_iter < 1:
            raise Problem(f"--max-iter {self.max_iter}: must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise Problem(f"--seed {self.seed}: must lie between 0 and 2**32 - 1")

    def classifier(self) -> SoftmaxClassifier:
        """The estimator, not yet fitted."""
        return SoftmaxClassifier(
            self.hidden, activation=self.activation, alpha=self.alpha, max_iter=self.max_iter, random_state=self.seed
        )


def train(
    data: str,
    target: str,
    options: Training,
    drop: Sequence[str],
    test: str | None,
    output: str | None,
    report: str | None = None,
) -> None:
    """Train on one table, test on another or on held-out rows of the first, save the model and report on it."""
    output = output or f"{'model' if data == '-' else Path(data).stem}.skops"
    check_writable(output, MODEL_FILE)
    check_report(report)
    source = read_table(data)
    labels = read_labels(source, target)
    numeric, categorical, left_out = choose_columns(source, target, drop)
    facts = Facts(target, numeric, categorical)
    frame = features(source, numeric, categorical)
    if test is None:
        held_out = hold_out(labels, options.seed)
        test_labels, test_frame = labels[held_out], frame.filter(held_out)
    else:
        held_out = np.zeros(len(labels), bool)
        test_source = read_table(test)
        test_labels = read_labels(test_source, target, np.unique(labels))
        test_frame = features(test_source, numeric, categorical)

    print(f"Read {source.name}: {count(len(source.frame), 'row')}, {count(source.frame.width, 'column')}")
    print("\n".join(describe_columns(frame, labels, facts, left_out)), flush=True)
    model = train_and_tell(frame.filter(~held_out), labels[~held_out], facts, options)
    if test is not None:
        model.note_unseen(test_source, test_frame)
    where = f"of {test}" if test else "held out"
    print("\n".join(describe_test(model, test_frame, labels[~held_out], test_labels, where)))
    model.save(output)
    print(f"Saved {output}. To use it: softmax predict {output} FILE")
    if report is not None:
        rows = np.arange(len(test_labels)) if test else np.flatnonzero(held_out)
        tested = f"of {test}" if test else f"of {source.name} that were not trained on"
        train_frame, train_labels = frame.filter(~held_out), labels[~held_out]
        write_report(
            report, model, test_frame, test_labels, rows + 1, tested, train=train_frame, train_labels=train_labels
        )
        print(f"Wrote {report}")


def train_and_tell(frame: pl.DataFrame, labels: Labels, facts: Facts, options: Training) -> Model:
    """Fit a model, with a progress bar, and say what was fitted."""
    classifier = options.classifier()
    start = time.perf_counter()
    with progress("Training", options.max_iter) as report:
        model = fit(frame, labels, facts, classifier, report)
    took = time.perf_counter() - start
    layers = "softmax regression (no hidden layer)"
    if options.hidden:
        layers = f"a network with {' and '.join(map(str, options.hidden))} hidden {options.activation} neurons"
    steps = count(int(classifier.n_iter_), "iteration")
    losses = f"loss {classifier.loss_curve_[0]:.4f} to {classifier.loss_curve_[-1]:.4f}"
    print(f"Trained {layers} on {count(len(labels), 'row')}: {steps}, {losses}, {took:.2f} s")
    if classifier.n_iter_ >= options.max_iter:
        note(f"training stopped at the limit of {steps}: a higher --max-iter may fit better")
    return model


def predict(
    model_file: str, data: str, output: str | None, k: int | None, abstain_below: float | None, keep: bool
) -> None:
    """Write the prediction, its confidence and the probabilities for every row of a table."""
    if output is not None:
        check_writable(output, WRITABLE)
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise Problem(f"--abstain-below {abstain_below:g}: must lie between 0 and 1")
    model = load(model_file)
    if k is not None and not 1 <= k <= len(model.classes):
        raise Problem(f"--top-k {k}: must lie between 1 and {len(model.classes)}, the number of classes")
    source = read_table(data)
    predictions = prediction_table(model, model.probabilities(model.features(source)), k, abstain_below)
    abstained = predictions["prediction"].null_count()
    if abstained:
        rows = count(len(predictions), "row")
        note(f"abstained in {abstained:,} of {rows}, whose confidence is below {abstain_below:g}")
    if keep:
        twice = [column for column in predictions.columns if column in source.raw.columns]
        if twice:
            raise Problem(f"{source.name}: has a column {twice[0]!r} already, which --keep would double")
        predictions = pl.concat([source.raw, predictions], how="horizontal")
    write_table(predictions, output)


def prediction_table(
    model: Model, probs: NDArray[np.float64], k: int | None = None, abstain_below: float | None = None
) -> pl.DataFrame:
    """prediction (null where it abstains), confidence, and p_<class> for each class or top_<i>, p_top_<i> up to k."""
    classes = pl.Series(model.classes.tolist())
    decisions = pl.Series(decide(probs, abstain_below=abstain_below))
    columns = {
        "prediction": classes.gather(decisions.set(decisions < 0, None)),
        "confidence": pl.Series(probs.max(axis=1)),
    }
    if k is None:
        columns |= {f"p_{name}": pl.Series(probs[:, i]) for i, name in enumerate(map(class_text, model.classes))}
    else:
        indices, best = top_k(probs, k)
        for i in range(k):
            columns |= {f"top_{i + 1}": classes.gather(indices[:, i]), f"p_top_{i + 1}": pl.Series(best[:, i])}
    return pl.DataFrame(columns)


def class_text(label: Any) -> str:
    """A class as CSV files spell it."""
    return str(label).lower() if isinstance(label, (bool, np.bool_)) else str(label)


def read_labels(source: Table, target: str, classes: Labels | None = None) -> Labels:
    """The target column as an array (N,) of texts, integers or booleans; every label must be one of `classes`."""
    if target not in source.frame.columns:
        raise Problem(f"{source.name}: has no column {target!r}; the columns are {listing(source.frame.columns, 20)}")
    texts = classes is not None and classes.dtype.kind == "U"
    series = source.texts(target) if texts else source.frame[target]
    row = first(series.is_null())
    if row is not None:
        missing = count(series.null_count(), "label is", "labels are")
        raise Problem(f"{source.place(row, target)}: {missing} missing, this one first")
    if series.dtype.is_float():
        row = first(series != series.round())
        if row is not None:
            raise Problem(f"{source.place(row, target)}: {series[row]} cannot name a class, use texts or whole numbers")
        series = series.cast(pl.Int64)
    if not (series.dtype.is_integer() or series.dtype == pl.Boolean):
        series = series.cast(pl.String)
    labels = np.array(series.to_list())
    if classes is not None:
        row = first(pl.Series(~np.isin(labels, classes)))
        if row is not None:
            raise Problem(f"{source.place(row, target)}: class {class_text(labels[row])!r} is not in the training data")
        return labels
    different = len(np.unique(labels))
    if different == 1:
        raise Problem(f"{source.name}, column {target!r}: only one class, {class_text(labels[0])!r}; two are needed")
    if different > max(50, len(labels) / 2):
        rows = count(len(labels), "row")
        raise Problem(f"{source.name}, column {target!r}: {different:,} different values in {rows} are no classes")
    return labels


def choose_columns(
    source: Table, target: str, drop: Sequence[str] = ()
) -> tuple[list[str], list[str], list[tuple[str, str]]]:
    """The numeric columns, the categorical ones, and those left out with the reason why."""
    strangers = [column for column in drop if column not in source.frame.columns]
    if strangers:
        raise Problem(f"--drop {strangers[0]}: {source.name} has no such column")
    numeric, categorical, left_out = [], [], []
    for series in source.frame.drop(target, *drop):
        reason = _reason_to_leave_out(series)
        if reason:
            left_out.append((series.name, reason))
        elif series.dtype == pl.String:
            categorical.append(series.name)
            _note_nearly_numeric(source, series)
        else:
            numeric.append(series.name)
    if not numeric + categorical:
        reasons = "".join(f"; {name or 'one'} is left out ({reason})" for name, reason in left_out)
        raise Problem(f"{source.name}: no column to learn from beside the target{reasons}")
    return numeric, categorical, left_out


def _reason_to_leave_out(series: pl.Series) -> str | None:
    if not series.name:
        return "without a name"
    if series.null_count() == len(series):
        return "empty"
    if series.dtype == pl.String:
        different = series.n_unique()
        if different > 1000 or different > max(50, len(series) / 2):
            return f"{different:,} different texts"
    elif not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        return f"holds {series.dtype}"
    return None


def _note_nearly_numeric(source: Table, series: pl.Series) -> None:
    """One typing error makes a column of numbers a column of texts: that must not pass in silence."""
    wrong = series.cast(pl.Float64, strict=False).is_null() & series.is_not_null()
    row = first(wrong)
    if row is not None and wrong.sum() <= 0.1 * len(series):
        note(f"{source.place(row, series.name)}: {series[row]!r} is not a number, so the column is taken as categories")


def describe_columns(
    frame: pl.DataFrame, labels: Labels, facts: Facts, left_out: Sequence[tuple[str, str]]
) -> list[str]:
    """What was detected, a line for each kind of column."""
    classes, counts = np.unique(labels, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")
    shares = listing(f"{class_text(classes[i])} {counts[i]:,}" for i in frequent)
    rows = [["  target", f"{facts.target}, {count(len(classes), 'class', 'classes')}: {shares}"]]
    for kind, names in ("numeric", facts.numeric), ("categorical", facts.categorical):
        if names:
            rows.append([f"  {kind}", f"{count(len(names), 'column')}: {listing(names)}"])
    missing = [
        f"{name} {nulls:,}" for name, nulls in zip(frame.columns, frame.null_count().row(0), strict=True) if nulls
    ]
    if missing:
        rows.append(["  missing", f"{listing(missing)} (numbers: the median is taken instead; texts: a category)"])
    if left_out:
        rows.append(["  left out", listing(f"{name or 'a column'} ({reason})" for name, reason in left_out)])
    return table(rows, left=(0, 1))


def describe_test(model: Model, frame: pl.DataFrame, train_labels: Labels, test_labels: Labels, name: str) -> list[str]:
    """Accuracy, log-loss and calibration error beside what knowing only the shares of the classes would give."""
    if not len(test_labels):
        return ["Not tested: there are too few rows to hold any out (give some with --test FILE)"]
    scores = model.test(frame, test_labels)
    shares = np.array([(train_labels == label).mean() for label in model.classes])
    indices = np.searchsorted(model.classes, test_labels)
    commonest = class_text(model.classes[shares.argmax()])
    guessing = {
        "accuracy": f"(always saying {commonest}: {percent(float((indices == shares.argmax()).mean()))})",
        "log-loss": f"(knowing only how common each class is: {-np.log(shares[indices]).mean():.4f})",
    }
    return [f"Tested on {count(scores.rows, 'row')} {name}", *table(_score_rows(scores, guessing), left=(0, 2))]


def _score_rows(scores: Scores, remarks: dict[str, str]) -> list[list[str]]:
    rows = {
        "accuracy": percent(scores.accuracy),
        "log-loss": f"{scores.log_loss:.4f}",
        "calibration error": percent(scores.calibration_error),
    }
    return [[f"  {name}", value, remarks.get(name, "")] for name, value in rows.items()]


def hold_out(labels: Labels, seed: int) -> NDArray[np.bool_]:
    """A mask of a fifth of the rows of each class, drawn at random; none of a class with fewer than three rows."""
    random = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        held_out[rows[: round(HELD_OUT * len(rows))]] = True
    return held_out
