"""One self-contained HTML file about a classifier: data, training, test, mistakes. Needs jinja2 and matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._text import count
from .._text import percent as breakable_percent
from .._verdict import in_words
from ..metrics import bootstrap_intervals, expected_calibration_error, risk_coverage_curve
from .scores import class_scores, confused_pairs, worst_mistakes

try:
    import jinja2

    from . import pictures
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "softmax.report needs jinja2 and matplotlib, and not both are installed: pip install 'softmax[report]'",
        name=error.name,
    ) from error

__all__ = ["Column", "Subject", "render"]

MOST_CLASSES = 200  # rows of the table of classes
PICTURED_CLASSES = 20  # of the confusion matrix
FEATURED_CLASSES = 12  # pictures of weights, and of the reliability of each
ANSWERED = 0.9  # share of the rows that is answered in the example of abstaining
NAMES = {
    "accuracy": ("Accuracy", "share of right predictions"),
    "log_loss": ("Log-loss", "mean −log of the probability of the true class; 0 is perfect"),
    "brier_score": ("Brier score", "mean squared error of the probabilities; 0 is perfect"),
    "expected_calibration_error": ("Calibration error", "mean distance of confidence from accuracy, 15 bins"),
}


@dataclass(frozen=True)
class Column:
    """A column that the model reads: its kind, how many values are missing and different, and what they are like."""

    name: str
    kind: str
    missing: int
    different: int
    summary: str


@dataclass(frozen=True, eq=False)
class Subject:
    """What a report is about: K classes, tested on N rows; N may be 0.

    Attributes:
        title: the headline.
        target: name of the column that holds the class.
        classes: K names.
        probs: (N, K) probabilities of the test rows.
        targets: (N,) their classes as indices.
        probs_before: (N, K) probabilities before calibration, None where there was none.
        rows: (N,) their numbers in the file, from 1.
        values: from the index of a test row to what the model read of it, name and value.
        tested: which rows the test ones are, for example "of iris.csv that were not trained on".
        facts: pairs of name and text: what was trained, with which options.
        columns: what the model reads.
        train_counts: (K,) training rows of each class, None where they are not known.
        loss_curve: loss after each iteration.
        validation_loss_curve: the same of rows held out for early stopping, if any.
        weights: (D, K) weights of a linear model.
        features: D names for them.
        image_shape: of the images that the rows are, (height, width) or (height, width, 3); empty for other rows.
        pixels: from the index of a test row to its pixels, from 0 to 1, an array of that shape.
    """

    title: str
    target: str
    classes: Sequence[str]
    probs: NDArray[np.float64]
    targets: NDArray[np.intp]
    rows: NDArray[np.intp]
    values: Callable[[int], Mapping[str, str]]
    tested: str
    facts: Sequence[tuple[str, str]] = ()
    columns: Sequence[Column] = ()
    probs_before: NDArray[np.float64] | None = None
    train_counts: NDArray[np.intp] | None = None
    loss_curve: Sequence[float] = ()
    validation_loss_curve: Sequence[float] | None = None
    weights: NDArray[np.float64] | None = None
    features: Sequence[str] = ()
    image_shape: Sequence[int] = ()
    pixels: Callable[[int], NDArray[Any]] | None = None


def render(subject: Subject) -> str:
    """The report as the text of an HTML file, the same for the same subject."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": percent, "count": count, "share": lambda x: "–" if np.isnan(x) else f"{x:.3f}"}
    template = environment.from_string((files(__package__) / "template.html").read_text(encoding="utf-8"))
    return template.render(_content(subject)) + "\n"


def percent(share: float) -> str:
    """A percentage that no line break parts from its sign."""
    return breakable_percent(share).replace(" ", "\xa0")


def _content(subject: Subject) -> dict[str, Any]:
    """What the template shows; None stands for what there is nothing to say of."""
    s, tested = subject, len(subject.targets) > 0
    return {
        "subject": s,
        "data": _class_rows(s),
        "learning": pictures.learning(s.loss_curve, s.validation_loss_curve) if len(s.loss_curve) > 1 else None,
        "features": _feature_pictures(s),
        "test": _test_content(s) if tested else None,
    }


def _test_content(s: Subject) -> dict[str, Any]:
    scores = class_scores(s.probs, s.targets)
    shown = np.sort(np.argsort(-scores.support, kind="stable")[:MOST_CLASSES])
    intervals = bootstrap_intervals(s.probs, s.targets)
    few = len(s.classes) <= PICTURED_CLASSES
    wrong = int((s.probs.argmax(axis=1) != s.targets).sum())
    return {
        "metrics": [(*NAMES[key], *_spelled(key, interval)) for key, interval in intervals.items()],
        "rows": len(s.targets),
        "wrong": wrong,
        "classes": [
            (s.classes[i], scores.precision[i], scores.recall[i], scores.f1[i], int(scores.support[i])) for i in shown
        ],
        "macro": (np.nanmean(scores.precision), np.nanmean(scores.recall), np.nanmean(scores.f1)),
        "confusion": pictures.confusion(s.probs, s.targets, s.classes) if few else None,
        "pairs": [
            (s.classes[i], s.classes[j], rows, share) for i, j, rows, share in confused_pairs(s.probs, s.targets)
        ],
        "calibration": _calibration(s),
        "mistakes": [_mistake(s, i) for i in worst_mistakes(s.probs, s.targets)],
    }


def _mistake(s: Subject, i: int) -> dict[str, Any]:
    guess = int(s.probs[i].argmax())
    return {
        "row": int(s.rows[i]),
        "truth": s.classes[s.targets[i]],
        "guess": s.classes[guess],
        "confidence": float(s.probs[i, guess]),
        "probability": float(s.probs[i, s.targets[i]]),
        "read": list(s.values(i).items()),
        "image": None if s.pixels is None else pictures.thumbnail(s.pixels(i)),
    }


def _spelled(key: str, interval: Sequence[float]) -> list[str]:
    spell = percent if key in ("accuracy", "expected_calibration_error") else "{:.4f}".format
    return [spell(x) for x in interval]


def _calibration(s: Subject) -> dict[str, Any]:
    """Whether confidence can be believed: in words and pictures, before and after calibration, class by class."""
    answered = risk_coverage_curve(s.probs, s.targets)
    place = int(np.searchsorted(answered.coverage, ANSWERED))
    few = np.sort(np.argsort(-np.bincount(s.targets, minlength=len(s.classes)), kind="stable")[:FEATURED_CLASSES])
    return {
        "before": None if s.probs_before is None else _sentence(s.probs_before, s.targets),
        "after": _sentence(s.probs, s.targets),
        "errors": None
        if s.probs_before is None
        else [percent(expected_calibration_error(p, s.targets)) for p in (s.probs_before, s.probs)],
        "reliability": pictures.reliability(s.probs, s.targets, s.probs_before),
        "confidence": pictures.confidence(s.probs, s.targets),
        "risk": pictures.risk_coverage(s.probs, s.targets),
        "threshold": float(answered.thresholds[place]),
        "coverage": float(answered.coverage[place]),
        "right": 1 - float(answered.risk[place]),
        "classes": [(s.classes[i], pictures.class_reliability(s.probs, s.targets, int(i))) for i in few],
    }


def _sentence(probs: NDArray[np.float64], targets: NDArray[np.intp]) -> str:
    words = in_words(probs, targets).replace(" %", "\xa0%")
    return words[0].upper() + words[1:] + "."


def _class_rows(s: Subject) -> list[tuple[str, int | None, int, float]]:
    """Name, training rows, test rows, and all of them beside those of the largest class, of the commonest classes."""
    test = np.bincount(s.targets, minlength=len(s.classes))
    train = s.train_counts
    total = test if train is None else test + train
    shown = np.argsort(-total, kind="stable")[:MOST_CLASSES]
    return [
        (s.classes[i], None if train is None else int(train[i]), int(test[i]), total[i] / max(total.max(), 1))
        for i in shown
    ]


def _feature_pictures(s: Subject) -> list[tuple[str, str]]:
    """The weights of each class, or of the second of two, which share them: the picture and what it shows."""
    if s.weights is None:
        return []
    shown: Sequence[int] = range(len(s.classes))
    if len(s.classes) == 2:
        shown = [1]
    elif len(s.classes) > FEATURED_CLASSES:
        counts = np.bincount(s.targets, minlength=len(s.classes)) if s.train_counts is None else s.train_counts
        shown = np.sort(np.argsort(-counts, kind="stable")[:FEATURED_CLASSES]).tolist()
    if s.image_shape:
        return [(s.classes[i], pictures.pixel_weights(s.weights[:, i], s.image_shape, i, s.classes[i])) for i in shown]
    return [(s.classes[i], pictures.weights(s.weights[:, i], s.features, i, s.classes[i])) for i in shown]
