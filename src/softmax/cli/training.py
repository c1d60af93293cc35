"""`softmax train`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import softmax
from .._text import count, listing, percent, table
from .._verdict import in_words
from ..learn import SoftmaxClassifier
from ..metrics import accuracy, expected_calibration_error, log_loss
from ..words import WORD
from .calibrating import fit_calibrated
from .columns import PARTS, Said, choose_columns
from .console import Problem, check_writable, note, progress
from .models import Facts, Labels, Model, features
from .reporting import check_report, write_report
from .tables import READABLE, Layout, Table, first, read_labels_beside, read_table
from .textfiles import PACKED, suffix

HELD_OUT = 0.2
TESTED = 20_000_000  # probabilities of a test: 160 MB, of which there are some copies
MODEL_FILE = (".skops",)


@dataclass(frozen=True)
class Training:
    """What the options of `softmax train` say of the classifier."""

    hidden: tuple[int, ...] = ()
    activation: str = "relu"
    alpha: float | None = None
    max_iter: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha < float("inf"):
            raise Problem(f"--alpha {self.alpha:g}: must be finite and at least 0")
        if self.max_iter < 1:
            raise Problem(f"--max-iter {self.max_iter}: must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise Problem(f"--seed {self.seed}: must lie between 0 and 2**32 - 1")

    def classifier(self, texts: bool) -> SoftmaxClassifier:
        """The estimator, not yet fitted; the penalty that suits words is larger, since there are many of them."""
        alpha = self.alpha if self.alpha is not None else 1e-1 if texts else 1e-2
        return SoftmaxClassifier(
            self.hidden, activation=self.activation, alpha=alpha, max_iter=self.max_iter, random_state=self.seed
        )


def train(
    data: str,
    target: str | None,
    options: Training,
    said: Said,
    test: str | None,
    test_target: str | None,
    output: str | None,
    report: str | None = None,
) -> None:
    """Train on one table, test on another or on held-out rows of the first, save the model and report on it."""
    output = output or f"{'model' if data == '-' else _stem(data)}.skops"
    check_writable(output, MODEL_FILE)
    check_report(report)
    if test_target is not None and test is None:
        raise Problem(f"--test-target {test_target}: says which labels --test FILE has, which is missing")
    source = read_table(data, layout=Layout())
    target, labels = find_labels(source, target)
    chosen = choose_columns(source, target, said)
    facts = Facts(
        target, chosen.numeric, chosen.categorical, chosen.dates, chosen.text, lines=source.lines, image=source.image
    )
    frame = features(source, facts)
    for column in facts.text:
        if not frame[column].str.contains(WORD).any():
            raise Problem(f"{source.name}, column {column!r}: the texts hold no words")
    classes = np.unique(labels)
    if test is None:
        held_out = hold_out(labels, options.seed)
        test_labels, test_frame, rows = labels[held_out], frame.filter(held_out), np.flatnonzero(held_out)
    else:
        held_out = np.zeros(len(labels), bool)
        test_source = read_table(test, layout=facts.layout)
        if test_target is None and target not in test_source.frame.columns:
            raise Problem(f"{test}: has no column {target!r}: say which labels it has with --test-target COLUMN|FILE")
        _, test_labels = find_labels(test_source, test_target or target, classes)
        test_frame, rows = features(test_source, facts), np.arange(len(test_labels))
    chosen_rows = rows_to_test(len(rows), len(classes))
    test_labels, test_frame, rows = test_labels[chosen_rows], test_frame[chosen_rows], rows[chosen_rows]

    print(f"Read {source.name}: {count(len(source.frame), 'row')}, {_width(source)}", file=sys.stderr)
    print("\n".join(describe_columns(frame, labels, facts, chosen.left_out)), file=sys.stderr, flush=True)
    model = train_and_tell(frame.filter(~held_out), labels[~held_out], facts, options)
    if test is not None:
        model.unseen(test_source, test_frame).tell()
    where = f"of {test}" if test else "held out"
    print("\n".join(describe_test(model, test_frame, labels[~held_out], test_labels, where)))
    model.save(output)
    print(f"Saved {output}. To use it: softmax predict {output} {'FOLDER' if facts.image else 'FILE'}")
    if report is not None:
        tested = f"of {test}" if test else f"of {source.name} that were not trained on"
        train_frame, train_labels = frame.filter(~held_out), labels[~held_out]
        write_report(
            report,
            model,
            test_frame,
            test_labels,
            rows + 1,
            tested,
            train=train_frame,
            train_labels=train_labels,
            files=image_files_of(test_source if test else source, rows),
        )
        print(f"Wrote {report}")


def rows_to_test(rows: int, classes: int) -> NDArray[np.intp]:
    """All rows, or where their probabilities would fill the memory, as many as do not, at equal distances."""
    most = max(1000, TESTED // classes)
    if rows <= most:
        return np.arange(rows)
    note(f"the test takes {most:,} of {rows:,} rows, since there are {classes:,} classes")
    return np.arange(most) * rows // most


def image_files_of(source: Table, rows: NDArray[np.intp]) -> pl.Series | None:
    """The files of some rows, where they are images."""
    return source.raw["file"].gather(rows) if source.image else None


def _stem(data: str) -> str:
    """The name of a file without any of its suffixes, .csv.gz for instance; that of a folder."""
    path = Path(data).resolve() if Path(data).is_dir() else Path(data)
    return path.name if path.is_dir() else path.with_suffix("").stem if path.suffix in PACKED else path.stem


def _width(source: Table) -> str:
    if source.image:
        width, height, channels = source.image
        return f"images as {width} by {height} {'grey' if channels == 1 else 'coloured'} pixels"
    return "lines of text" if source.lines else count(source.frame.width, "column")


def find_labels(source: Table, target: str | None, classes: Labels | None = None) -> tuple[str, Labels]:
    """The labels of the rows, and what they are called.

    `target` is a column, or a file of labels beside the data. Lines and images have their own, called "label".
    """
    if target is None and (source.lines or source.image):
        target = "label"
    if target is None:
        raise Problem("Missing option '--target'. Try: softmax train --help")
    if target in source.frame.columns or suffix(target) not in READABLE or not Path(target).is_file():
        return target, read_labels(source, target, classes)
    beside = read_labels_beside(target, len(source.frame), source.name)
    return Path(target).stem, read_labels(beside, beside.frame.columns[0], classes)


def train_and_tell(frame: pl.DataFrame, labels: Labels, facts: Facts, options: Training) -> Model:
    """Fit a model, with a progress bar, and say what was fitted."""
    start = time.perf_counter()
    with progress("Training", options.max_iter) as show:
        model = fit_calibrated(
            frame,
            labels,
            facts,
            lambda: options.classifier(texts=bool(facts.text)),
            options.seed,
            lambda iteration, loss: show(iteration, f"loss {loss:.4f}"),
        )
    took = time.perf_counter() - start
    classifier = model.pipeline[-1]
    layers = "softmax regression (no hidden layer)"
    if options.hidden:
        layers = f"a network with {' and '.join(map(str, options.hidden))} hidden {options.activation} neurons"
    steps = count(int(classifier.n_iter_), "iteration")
    losses = f"loss {classifier.loss_curve_[0]:.4f} to {classifier.loss_curve_[-1]:.4f}"
    print(f"Trained {layers} on {count(len(labels), 'row')}: {steps}, {losses}, {took:.2f} s in all")
    if model.facts.interrupted:
        note(f"training was interrupted after {steps}: the model is the best so far")
    elif classifier.n_iter_ >= options.max_iter:
        note(f"training stopped at the limit of {steps}: a higher --max-iter may fit better")
    if model.facts.calibration:
        print(f"Calibrated on rows that were not trained on: {model.facts.calibration}")
    return model


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


def describe_columns(
    frame: pl.DataFrame, labels: Labels, facts: Facts, left_out: Sequence[tuple[str, str]]
) -> list[str]:
    """What was detected, a line for each kind of column."""
    classes, counts = np.unique(labels, return_counts=True)
    frequent = np.argsort(-counts, kind="stable")
    shares = listing(f"{class_text(classes[i])} {counts[i]:,}" for i in frequent)
    rows = [["  target", f"{facts.target}, {count(len(classes), 'class', 'classes')}: {shares}"]]
    kinds = {"numeric": facts.numeric, "categorical": facts.categorical, "date": list(facts.dates), "text": facts.text}
    for kind, names in kinds.items():
        if names:
            rows.append([f"  {kind}", f"{count(len(names), 'column')}: {listing(names)}"])
    nulls = dict(zip(frame.columns, frame.null_count().row(0), strict=True))
    nulls |= {name: nulls[f"{name} {PARTS[0]}"] for name in facts.dates}
    missing = [f"{name} {nulls[name]:,}" for name in facts.columns if nulls[name]]
    if missing:
        remark = "numbers and dates: the median is taken instead; categories: one of their own; texts: no words"
        rows.append(["  missing", f"{listing(missing)} ({remark})"])
    if left_out:
        rows.append(["  left out", listing(f"{name or 'a column'} ({reason})" for name, reason in left_out)])
    return table(rows, left=(0, 1))


def describe_test(model: Model, frame: pl.DataFrame, train_labels: Labels, test_labels: Labels, name: str) -> list[str]:
    """Accuracy, log-loss and calibration error beside what knowing only the shares of the classes would give."""
    if not len(test_labels):
        return ["Not tested: there are too few rows to hold any out (give some with --test FILE)"]
    logits, targets = model.logits(frame), np.searchsorted(model.classes, test_labels)
    probs = softmax(logits)
    shares = np.bincount(np.searchsorted(model.classes, train_labels), minlength=len(model.classes)) / len(train_labels)
    commonest = class_text(model.classes[shares.argmax()])
    guess, blind = float((targets == shares.argmax()).mean()), float(-np.log(shares[targets]).mean())
    before = model.uncalibrated(logits)
    rows = [
        ["  accuracy", percent(accuracy(probs, targets)), f"(always saying {commonest}: {percent(guess)})"],
        ["  log-loss", f"{log_loss(probs, targets):.4f}", f"(knowing only how common each class is: {blind:.4f})"],
        [
            "  calibration error",
            percent(expected_calibration_error(probs, targets)),
            "" if before is None else f"(before calibration: {percent(expected_calibration_error(before, targets))})",
        ],
    ]
    words = in_words(probs, targets)
    words_before = words if before is None else in_words(before, targets)
    lines = [f"Tested on {count(len(targets), 'row')} {name}", *table(rows, left=(0, 2)), f"  {words}"]
    return lines if words_before == words else [*lines, f"  before calibration: {words_before}"]


def hold_out(labels: Labels, seed: int) -> NDArray[np.bool_]:
    """A mask of a fifth of the rows of each class, drawn at random; none of a class with fewer than three rows."""
    order = np.random.default_rng(seed).permutation(len(labels))
    _, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = order[np.argsort(indices[order], kind="stable")]  # class by class, at random within each
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held_out = np.zeros(len(labels), bool)
    held_out[order] = place < np.round(HELD_OUT * counts).repeat(counts)
    return held_out
