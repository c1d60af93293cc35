"""The temperature of a model, fitted on rows that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..calibration import TemperatureScaling
from ..learn import SoftmaxClassifier
from .models import Facts, Labels, Model, fit

FEWEST = 100  # rows to tell a temperature from: of fewer, chance alone may say that the model knows nothing
MANY = 5000  # rows from which a tenth of them is spared for the temperature
FOLDS = 5  # of fewer: each fifth is judged by a model of the others

Report = Callable[[int, float], None]


def fit_calibrated(
    frame: pl.DataFrame, labels: Labels, facts: Facts, make: Callable[[], SoftmaxClassifier], seed: int, report: Report
) -> Model:
    """Train on rows of `features`, and divide the last layer by the temperature that suits other rows best.

    Many rows: a tenth is held out for it. Fewer: all are trained on, and the temperature is that of five models, each
    of four fifths of the rows, on the fifth that they have not seen. It never makes their log-loss worse. Below FEWEST
    rows there is none.
    """
    if len(labels) < FEWEST:
        return fit(frame, labels, facts, make(), report)
    many = len(labels) >= MANY
    fold = folds(labels, 10 if many else FOLDS, seed)
    part = fold == 0 if many else np.zeros(len(labels), bool)
    model = fit(frame.filter(~part), labels[~part], facts, make(), report)
    if model.facts.interrupted:
        return model
    if many:
        logits, targets = model.logits(frame.filter(part)), np.searchsorted(model.classes, labels[part])
    else:
        # A network that was trained for longer would be surer than the one that the temperature is for.
        iterations = int(model.pipeline[-1].n_iter_)
        found = _of_other_rows(frame, labels, facts, lambda: make().set_params(max_iter=iterations), fold, report)
        if found is None:
            return model
        logits, targets = found
    if not len(targets):
        return model
    scaling = TemperatureScaling().fit(logits, targets)
    classifier = model.pipeline[-1]
    for last in (classifier.coefs_[-1], classifier.intercepts_[-1]):
        last /= scaling.temperature_  # all that uses the classifier is calibrated then
    return Model(model.pipeline, replace(model.facts, temperature=scaling.temperature_, calibration=scaling.message_))


def folds(labels: Labels, count: int, seed: int) -> NDArray[np.intp]:
    """A number in [0, count) for each row, at random, of every class as many with each; -1 for a class's only row."""
    order = np.random.default_rng([seed, 1]).permutation(len(labels))
    _, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = order[np.argsort(indices[order], kind="stable")]  # class by class, at random within each
    fold = np.empty(len(labels), np.intp)
    fold[order] = np.arange(len(labels)) % count
    fold[counts[indices] == 1] = -1
    return fold


def _of_other_rows(
    frame: pl.DataFrame,
    labels: Labels,
    facts: Facts,
    make: Callable[[], SoftmaxClassifier],
    fold: NDArray[np.intp],
    report: Report,
) -> tuple[NDArray[np.float64], NDArray[np.intp]] | None:
    """Logits of rows by models that have not seen them, and the rows' classes; None once Ctrl-C was pressed."""
    classes = np.unique(labels)
    logits, targets = [], []
    for number in range(FOLDS):
        part = fold == number
        if not part.any() or len(np.unique(labels[~part])) < 2:
            continue
        model = fit(frame.filter(~part), labels[~part], facts, make(), report)
        if model.facts.interrupted:
            return None
        part &= np.isin(labels, model.classes)
        of_part = np.full((part.sum(), len(classes)), -np.inf)  # a class that the model has not seen
        of_part[:, np.searchsorted(classes, model.classes)] = model.logits(frame.filter(part))
        logits.append(of_part)
        targets.append(np.searchsorted(classes, labels[part]))
    if not targets:
        return None
    return np.concatenate(logits), np.concatenate(targets)
