"""Calibration error by bins: how far confidence is from accuracy among predictions of like confidence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .rows import Floats, Rows, Targets, checked, map_blocks, rows_of

Strategy = Literal["uniform", "quantile"]
Norm = Literal["l1", "l2", "max"]


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What `reliability_curve` returns: how sure the predictions of each bin are, and how often they are right.

    Attributes:
        edges: (n_bins + 1,) float64, ascending; bin i is (edges[i], edges[i + 1]].
        counts: (n_bins,) rows in each bin.
        confidence: (n_bins,) float64, mean confidence, or mean probability of the class; NaN where a bin is empty.
        accuracy: (n_bins,) float64, share of right predictions, or of rows of the class; NaN where a bin is empty.

    >>> reliability_curve([0.9, 0.6], [1, 0], n_bins=5).edges
    array([0. , 0.2, 0.4, 0.6, 0.8, 1. ])
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.intp]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def expected_calibration_error(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Strategy = "uniform",
    norm: Norm = "l1",
) -> float:
    """Distance, in [0, 1], between how sure the predictions are and how often they are right.

    The rows are put into bins by their confidence, the largest probability of the row. In each bin, the gap is
    |mean confidence - accuracy|. Bins are closed on the right, (0, 1/n], (1/n, 2/n], …, so a confidence of exactly 1
    belongs to the last one, and a confidence on an edge to the bin below.

    Source: Naeini, Cooper & Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015;
    Guo et al., "On calibration of modern neural networks", ICML 2017.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows (equal confidences stay
            together).
        norm: "l1", the mean gap over the rows; "l2", its root mean square; "max", the largest gap of any bin.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs = [[.25, .20, .55], [.55, .05, .40], [.10, .30, .60], [.90, .05, .05]]
    >>> [round(expected_calibration_error(probs, [0, 1, 2, 0], n_bins=3, norm=norm), 4) for norm in ("l1", "l2", "max")]
    [0.2, 0.2082, 0.2333]
    """
    return error_of_curve(reliability_curve(probs, targets, n_bins=n_bins, strategy=strategy), norm)


def maximum_calibration_error(
    probs: ArrayLike, targets: ArrayLike, *, n_bins: int = 15, strategy: Strategy = "uniform"
) -> float:
    """The largest gap, in [0, 1], between confidence and accuracy in any bin that holds a row.

    `expected_calibration_error` with norm "max", whose bins it shares. One bin with few rows decides it: look at
    `reliability_curve(...).counts` beside it. Source: Naeini, Cooper & Hauskrecht, AAAI 2015.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs = [[.25, .20, .55], [.55, .05, .40], [.10, .30, .60], [.90, .05, .05]]
    >>> round(maximum_calibration_error(probs, [0, 1, 2, 0], n_bins=3), 4)
    0.2333
    """
    return expected_calibration_error(probs, targets, n_bins=n_bins, strategy=strategy, norm="max")


def debiased_calibration_error(
    probs: ArrayLike, targets: ArrayLike, *, n_bins: int = 15, strategy: Strategy = "uniform"
) -> float:
    """The root mean square gap between confidence and accuracy, less what chance alone adds to it.

    In a bin of n rows of accuracy a, chance makes the squared gap a(1 - a)/(n - 1) too large on average, even if the
    model is calibrated: this is taken off. Bins of one row count as 0, as does a sum below 0. The plain error grows
    with the number of bins and with every row that is missing; this one does not, so it is the one to compare sets of
    different sizes by. Source: Kumar, Liang & Ma, "Verified uncertainty calibration", NeurIPS 2019.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs, targets = [0.7] * 10, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]  # 0.6 were right, which chance explains
    >>> round(expected_calibration_error(probs, targets, norm="l2"), 6), debiased_calibration_error(probs, targets)
    (0.1, 0.0)
    """
    return debiased_error_of_curve(reliability_curve(probs, targets, n_bins=n_bins, strategy=strategy))


def classwise_calibration_error(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Strategy = "uniform",
    norm: Norm = "l1",
) -> float:
    """Distance, in [0, 1], between the probabilities of each class and how often it is the target, over all classes.

    For each class the rows are put into bins by its probability, also where another class is the most probable one;
    the gap of a bin is |mean probability - share of the rows whose target it is|. Bins are closed on the right, the
    first one holds 0 as well. With many classes most probabilities are near 0 and so are most gaps: the number falls
    as K grows, and serves to compare models on the same classes.

    Source: Kull et al., "Beyond temperature scaling", NeurIPS 2019; Nixon et al., "Measuring calibration in deep
    learning", CVPR workshops 2019.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows, for each class its own.
        norm: "l1", the mean gap over rows and classes; "l2", its root mean square; "max", the largest gap of any bin.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs = [[.25, .20, .55], [.55, .05, .40], [.10, .30, .60], [.90, .05, .05]]
    >>> round(classwise_calibration_error(probs, [0, 1, 2, 0], n_bins=3), 4)
    0.1917
    """
    p, y = checked(probs, targets)
    rows_of(p, y)  # checks that rows sum to 1
    return classwise_error_of(p, y, n_bins, strategy, norm)


def reliability_curve(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Strategy = "uniform",
    of_class: int | None = None,
) -> ReliabilityCurve:
    """Mean confidence and accuracy of the predictions in bins of their confidence, the largest probability of a row.

    Or, of one class, its mean probability and the share of the rows that are of it, in bins of its probability: what
    scikit-learn's `calibration_curve` gives for the second of two classes.

    The bins are those of `expected_calibration_error`, closed on the right. `softmax.plot.reliability` draws it.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows.
        of_class: the index of a class, in [0, K).

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs, targets = [[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]], [0, 0, 0]
    >>> curve = reliability_curve(probs, targets, n_bins=4)
    >>> curve.counts.tolist(), curve.confidence[2:].round(2).tolist(), curve.accuracy[2:].tolist()
    ([0, 0, 2, 1], [0.65, 0.9], [0.5, 1.0])
    >>> reliability_curve(probs, targets, n_bins=4, of_class=0).counts.tolist()
    [0, 1, 1, 1]
    """
    p, y = checked(probs, targets)
    rows = rows_of(p, y)
    if of_class is None:
        return curve_of(rows.confidence, rows.right, n_bins, strategy)
    if not 0 <= of_class < p.shape[1]:
        raise ValueError(f"of_class must lie in [0, {p.shape[1]}), got {of_class}")
    return curve_of(p[:, of_class].astype(np.float64), y == of_class, n_bins, strategy)


def usual_curve(rows: Rows) -> ReliabilityCurve:
    """The bins of every metric's default options."""
    return curve_of(rows.confidence, rows.right, 15, "uniform")


def error_of_curve(curve: ReliabilityCurve, norm: Norm = "l1") -> float:
    return _norm_of(curve.counts / curve.counts.sum(), curve.confidence - curve.accuracy, norm)


def debiased_error_of_curve(curve: ReliabilityCurve) -> float:
    counts, confidence, right = (
        values[curve.counts > 1] for values in (curve.counts, curve.confidence, curve.accuracy)
    )
    squares = (confidence - right) ** 2 - right * (1 - right) / (counts - 1)
    return float(np.sqrt(np.maximum(counts @ squares / curve.counts.sum(), 0)))


def classwise_error_of(
    p: NDArray[Any], y: Targets, n_bins: int = 15, strategy: Strategy = "uniform", norm: Norm = "l1"
) -> float:
    counts, sums, hits = _class_sums(p, y, n_bins, strategy)
    with np.errstate(divide="ignore", invalid="ignore"):  # an empty bin
        gaps = (sums - hits) / counts
    return _norm_of(counts / p.size, gaps, norm)


def curve_of(confidence: Floats, right: NDArray[np.bool_], n_bins: int, strategy: Strategy) -> ReliabilityCurve:
    inner = _inner_edges(confidence, n_bins, strategy)
    bins = np.searchsorted(inner, confidence, side="left")
    counts = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, values, n_bins) / counts for values in (confidence, right)]
    return ReliabilityCurve(np.concatenate([[0.0], inner, [1.0]]), counts, *means)


def _norm_of(weights: Floats, gaps: Floats, norm: Norm) -> float:
    """Gaps of the bins that hold a row, as one number; `weights` are shares of the rows and sum to 1."""
    gaps, weights = abs(gaps[weights > 0]), weights[weights > 0]
    if norm == "l1":
        return float(weights @ gaps)
    if norm == "l2":
        return float(np.sqrt(weights @ gaps**2))
    if norm == "max":
        return float(gaps.max())
    raise ValueError(f'norm must be "l1", "l2" or "max", got {norm!r}')


def _inner_edges(values: Floats, n_bins: int, strategy: Strategy) -> Floats:
    """The n_bins - 1 edges between the bins, in ascending order."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    shares = np.arange(1, n_bins) / n_bins
    if strategy == "uniform":
        return shares
    if strategy == "quantile":
        return np.quantile(values, shares)
    raise ValueError(f'strategy must be "uniform" or "quantile", got {strategy!r}')


def _class_sums(p: NDArray[Any], y: Targets, n_bins: int, strategy: Strategy) -> tuple[Floats, Floats, Floats]:
    """For each class and bin, (K, n_bins): rows, sum of the probabilities, and rows whose target is the class."""
    if strategy == "uniform":
        inner = _inner_edges(np.empty(0), n_bins, strategy)
        parts = map_blocks(partial(_uniform_sums, inner), p, y)
        counts, sums, hits = (np.sum(values, axis=0) for values in zip(*parts, strict=True))
        # Nearly all probabilities lie in the first bin, which is what the others leave.
        counts[:, 0] = len(p) - counts[:, 1:].sum(axis=1)
        sums[:, 0] -= sums[:, 1:].sum(axis=1)
        return counts, sums, hits
    result = np.empty((3, p.shape[1], n_bins))
    for k in range(p.shape[1]):
        column = p[:, k].astype(np.float64)
        bins = np.searchsorted(_inner_edges(column, n_bins, strategy), column, side="left")
        for i, values in enumerate((None, column, y == k)):
            result[i, k] = np.bincount(bins, values, n_bins)
    return result[0], result[1], result[2]


def _uniform_sums(inner: Floats, p: Floats, y: Targets, _: int) -> tuple[Floats, Floats, Floats]:
    """What a block adds to `_class_sums`; in its first column, no counts and the sums of all bins."""
    classes, n_bins = p.shape[1], len(inner) + 1
    size = classes * n_bins
    places = np.flatnonzero(p > (inner[0] if n_bins > 1 else np.inf))
    values = p.ravel()[places]
    cells = places % classes * n_bins + np.searchsorted(inner, values, side="left")
    targets = y * n_bins + np.searchsorted(inner, p[np.arange(len(p)), y], side="left")
    counts, sums, hits = (
        np.bincount(indices, weights, size).reshape(classes, n_bins).astype(np.float64)
        for indices, weights in ((cells, None), (cells, values), (targets, None))
    )
    sums[:, 0] = p.sum(axis=0)
    return counts, sums, hits
