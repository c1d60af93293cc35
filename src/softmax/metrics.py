"""How good predicted probabilities are: accuracy, log-loss, Brier score and calibration error.

Every function takes `probs`, shape (N, K), or (N,) for the probability of the second of two classes (the same as the
two columns 1 - p and p), and `targets`, integer class indices of shape (N,). Rows must sum to 1. NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._probabilities import class_indices, probability_rows

__all__ = [
    "Interval",
    "ReliabilityCurve",
    "accuracy",
    "bootstrap_intervals",
    "brier_score",
    "expected_calibration_error",
    "log_loss",
    "reliability_curve",
]

BLOCK = 1 << 20  # rows that a bootstrap draws at a time: a few arrays of 8 MB


class Interval(NamedTuple):
    """A score and the ends of its confidence interval.

    >>> Interval(0.9, 0.87, 0.93).low
    0.87
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """What `reliability_curve` returns: how sure the predictions of each bin are, and how often they are right.

    Attributes:
        edges: (n_bins + 1,) float64, ascending; bin i is (edges[i], edges[i + 1]].
        counts: (n_bins,) rows in each bin.
        confidence: (n_bins,) float64, mean confidence, NaN where a bin is empty.
        accuracy: (n_bins,) float64, share of right predictions, NaN where a bin is empty.

    >>> reliability_curve([0.9, 0.6], [1, 0], n_bins=5).edges
    array([0. , 0.2, 0.4, 0.6, 0.8, 1. ])
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.intp]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def accuracy(probs: ArrayLike, targets: ArrayLike) -> float:
    """Share of the rows, in [0, 1], whose most probable class is the target; the first class wins a tie.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> accuracy([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1])
    0.6666666666666666
    """
    p, y = _checked(probs, targets)
    return float((p.argmax(axis=1) == y).mean())


def log_loss(probs: ArrayLike, targets: ArrayLike) -> float:
    """Mean of -log(probability of the target), in nats: 0 is perfect, log(K) is what guessing evenly costs.

    Nothing is clipped: one target with probability 0 makes it infinite. From logits, `softmax.cross_entropy` is the
    more precise way to the same number.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> round(log_loss([[0.7, 0.3], [0.4, 0.6]], [0, 1]), 6)
    0.43375
    """
    return float(_losses(*_checked(probs, targets)).mean())


def brier_score(probs: ArrayLike, targets: ArrayLike) -> float:
    """Mean squared distance between the probabilities and the one-hot target: 0 is perfect.

    For K > 2 this is Brier's sum over the classes, in [0, 2]. For two classes it is half of that, (p - y)² of one
    class, in [0, 1], as is usual there and in scikit-learn. Source: Brier, "Verification of forecasts expressed in
    terms of probability", Monthly Weather Review 78 (1950).

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> round(brier_score([0.9, 0.2], [1, 0]), 6)
    0.025
    >>> round(brier_score([[0.8, 0.1, 0.1]], [0]), 6)
    0.06
    """
    return float(_distances(*_checked(probs, targets)).mean())


def expected_calibration_error(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
    norm: Literal["l1", "l2", "max"] = "l1",
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
    curve = reliability_curve(probs, targets, n_bins=n_bins, strategy=strategy)
    filled = curve.counts > 0
    weights = curve.counts[filled] / curve.counts.sum()
    gaps = abs(curve.confidence - curve.accuracy)[filled]
    if norm == "l1":
        return float(weights @ gaps)
    if norm == "l2":
        return float(np.sqrt(weights @ gaps**2))
    if norm == "max":
        return float(gaps.max())
    raise ValueError(f'norm must be "l1", "l2" or "max", got {norm!r}')


def reliability_curve(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 15,
    strategy: Literal["uniform", "quantile"] = "uniform",
) -> ReliabilityCurve:
    """Mean confidence and accuracy of the predictions in bins of their confidence, the largest probability of a row.

    The bins are those of `expected_calibration_error`, closed on the right. `softmax.plot.reliability` draws it.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        n_bins: number of bins, at least 1.
        strategy: "uniform" for bins of equal width, "quantile" for bins of equally many rows.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> curve = reliability_curve([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]], [0, 0, 0], n_bins=4)
    >>> curve.counts.tolist(), curve.confidence[2:].round(2).tolist(), curve.accuracy[2:].tolist()
    ([0, 0, 2, 1], [0.65, 0.9], [0.5, 1.0])
    """
    p, y = _checked(probs, targets)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == y
    inner = _inner_edges(confidence, n_bins, strategy)
    bins = np.searchsorted(inner, confidence, side="left")
    counts = np.bincount(bins, minlength=n_bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bins, values, n_bins) / counts for values in (confidence, right)]
    return ReliabilityCurve(np.concatenate([[0.0], inner, [1.0]]), counts, *means)


def bootstrap_intervals(
    probs: ArrayLike, targets: ArrayLike, *, level: float = 0.95, n_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Accuracy, log-loss, Brier score and calibration error, each with how far it could be off for want of rows.

    The rows are drawn anew with replacement; the interval holds the middle `level` of the scores of these samples
    (the percentile bootstrap). The calibration error (15 bins of equal width) is a sum of absolute gaps, which chance
    can only enlarge: the interval of a small one lies high, and may lie above the value itself.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.
        level: share of the samples inside the interval, in (0, 1).
        n_resamples: number of samples, at least 1.
        seed: the same seed gives the same intervals.

    Returns:
        By the names of the functions: "accuracy", "log_loss", "brier_score", "expected_calibration_error".

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> probs, targets = [0.9, 0.2, 0.7, 0.4] * 25, [1, 0, 1, 1] * 25
    >>> value, low, high = bootstrap_intervals(probs, targets)["accuracy"]
    >>> value, low, high
    (0.75, 0.66, 0.83)
    """
    p, y = _checked(probs, targets)
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be at least 1, got {n_resamples}")
    scores = {score.__name__: score(p, y) for score in (accuracy, log_loss, brier_score, expected_calibration_error)}
    samples = _resampled(p, y, n_resamples, np.random.default_rng(seed))
    # No interpolation: between two infinite losses there is none.
    ends = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=1, method="inverted_cdf")
    return {
        name: Interval(value, float(low), float(high))
        for (name, value), low, high in zip(scores.items(), *ends, strict=True)
    }


def _resampled(
    p: NDArray[np.float64], y: NDArray[np.intp], n_resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """(4, n_resamples): the scores of `bootstrap_intervals` on rows drawn with replacement."""
    n, n_bins = len(y), 15
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.searchsorted(_inner_edges(confidence, n_bins, "uniform"), confidence, side="left")
    gaps = confidence - right
    means = np.stack([right, _losses(p, y), _distances(p, y)])
    blocks = []
    for start in range(0, n_resamples, block := max(1, BLOCK // n)):
        size = min(block, n_resamples - start)
        rows = random.integers(n, size=(size, n))
        places = bins[rows] + n_bins * np.arange(size)[:, np.newaxis]
        sums = np.bincount(places.ravel(), gaps[rows].ravel(), size * n_bins).reshape(size, n_bins)
        calibration_errors = abs(sums).sum(axis=1) / n
        blocks.append(np.vstack([*(values[rows].mean(axis=1) for values in means), calibration_errors]))
    return np.concatenate(blocks, axis=1)


def _losses(p: NDArray[np.float64], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N,): what each row adds to `log_loss`."""
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(np.clip(p[np.arange(len(y)), y], 0, 1)))


def _distances(p: NDArray[np.float64], y: NDArray[np.intp]) -> NDArray[np.float64]:
    """(N,): what each row adds to `brier_score`."""
    squares = np.einsum("nk,nk->n", p, p) + 1 - 2 * p[np.arange(len(y)), y]
    return np.asarray(np.maximum(squares, 0) / (2 if p.shape[1] == 2 else 1))


def _inner_edges(confidence: NDArray[np.float64], n_bins: int, strategy: str) -> NDArray[np.float64]:
    """The n_bins - 1 edges between the bins, in ascending order."""
    shares = np.arange(1, n_bins) / n_bins
    if strategy == "uniform":
        return shares
    if strategy == "quantile":
        return np.quantile(confidence, shares)
    raise ValueError(f'strategy must be "uniform" or "quantile", got {strategy!r}')


def _checked(probs: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    p = probability_rows(probs)
    return p, class_indices(targets, *p.shape)
