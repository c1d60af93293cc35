"""All metrics at once, and how far each could be off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bins import (
    ReliabilityCurve,
    classwise_calibration_error,
    classwise_error_of,
    debiased_calibration_error,
    debiased_error_of_curve,
    error_of_curve,
    expected_calibration_error,
    maximum_calibration_error,
    usual_curve,
)
from .rows import Rows, Targets, checked, rows_of
from .scores import accuracy, accuracy_of, brier_score, brier_score_of, log_loss, log_loss_of
from .selective import aurc, aurc_of
from .smooth import smooth_calibration_error, smooth_error_of

Metric = Callable[..., float]

# What a metric computes from the summaries of the rows, or from their bins; the classwise error alone needs all
# probabilities.
OF_ROWS: dict[Metric, Callable[[Rows], float]] = {
    accuracy: accuracy_of,
    log_loss: log_loss_of,
    brier_score: brier_score_of,
    smooth_calibration_error: smooth_error_of,
    aurc: aurc_of,
}
OF_CURVE: dict[Metric, Callable[[ReliabilityCurve], float]] = {
    expected_calibration_error: error_of_curve,
    maximum_calibration_error: lambda curve: error_of_curve(curve, "max"),
    debiased_calibration_error: debiased_error_of_curve,
}
USUAL = (accuracy, log_loss, brier_score, expected_calibration_error)
ALL = (*USUAL, *(metric for metric in (*OF_CURVE, *OF_ROWS) if metric not in USUAL))


class Interval(NamedTuple):
    """A score and the ends of its confidence interval.

    >>> Interval(0.9, 0.87, 0.93).low
    0.87
    """

    value: float
    low: float
    high: float


def all_scores(probs: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """Every metric of this module with its default options, by the name of its function.

    The probabilities are read twice, not once for each metric, in blocks and without a copy.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> for name, score in all_scores([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]).items():
    ...     print(f"{name:27} {score:.4f}")
    accuracy                    0.6667
    log_loss                    0.4149
    brier_score                 0.1367
    expected_calibration_error  0.3000
    maximum_calibration_error   0.6000
    debiased_calibration_error  0.0000
    smooth_calibration_error    0.2327
    aurc                        0.1111
    classwise_calibration_error 0.3000
    """
    p, y = checked(probs, targets)
    values = _scores_of(ALL, p, y, rows_of(p, y))
    scores = {metric.__name__: value for metric, value in zip(ALL, values, strict=True)}
    return scores | {classwise_calibration_error.__name__: classwise_error_of(p, y)}


def bootstrap_intervals(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    metrics: Sequence[Metric] = USUAL,
    level: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Metrics, each with how far it could be off for want of rows: accuracy, log-loss, Brier score, calibration error.

    The rows are drawn anew with replacement; the interval holds the middle `level` of the scores of these samples
    (the percentile bootstrap). A calibration error is a sum of absolute gaps, which chance can only enlarge: the
    interval of a small one lies high, and may lie above the value itself.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        metrics: any functions of this module that return a number, or others called with probs (n, K) and targets (n,);
            `functools.partial` with a `__name__` gives options. Those of this module need no probabilities but the
            largest and the target's, so that a sample takes milliseconds, the classwise error aside.
        level: share of the samples inside the interval, in (0, 1).
        n_resamples: number of samples, at least 1.
        seed: the same seed gives the same intervals.

    Returns:
        By the names of the functions, such as "accuracy".

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs, targets = [0.9, 0.2, 0.7, 0.4] * 25, [1, 0, 1, 1] * 25
    >>> value, low, high = bootstrap_intervals(probs, targets)["accuracy"]
    >>> value, low, high
    (0.75, 0.66, 0.83)
    >>> round(bootstrap_intervals(probs, targets, metrics=[aurc])["aurc"].value, 4)
    0.0355
    """
    p, y = checked(probs, targets)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    rows = rows_of(p, y)
    values = _scores_of(metrics, p, y, rows)
    random = np.random.default_rng(seed)
    samples = np.empty((n_resamples, len(metrics)))
    for i in range(n_resamples):
        chosen = random.integers(len(y), size=len(y))
        samples[i] = _scores_of(metrics, p, y, rows, chosen)
    # No interpolation: between two infinite losses there is none.
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf")
    return {
        metric.__name__: Interval(value, float(low), float(high))
        for metric, value, low, high in zip(metrics, values, *ends, strict=True)
    }


def _scores_of(
    metrics: Sequence[Metric], p: NDArray[Any], y: Targets, rows: Rows, chosen: NDArray[np.intp] | None = None
) -> list[float]:
    """The metrics of the chosen rows, or of all."""
    if chosen is not None:
        rows = rows.of(chosen)
        if not all(metric in OF_ROWS or metric in OF_CURVE for metric in metrics):
            p, y = p[chosen], y[chosen]
    curve = usual_curve(rows) if any(metric in OF_CURVE for metric in metrics) else None

    def score(metric: Metric) -> float:
        if curve is not None and metric in OF_CURVE:
            return OF_CURVE[metric](curve)
        return OF_ROWS[metric](rows) if metric in OF_ROWS else metric(p, y)

    return [score(metric) for metric in metrics]
