"""How good predicted probabilities are: accuracy, log-loss, Brier score and calibration error.

Every function takes `probs`, shape (N, K), or (N,) for the probability of the second of two classes (the same as the
two columns 1 - p and p), and `targets`, integer class indices of shape (N,). Rows must sum to 1. NumPy only.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._probabilities import class_indices, probability_rows

__all__ = ["accuracy", "brier_score", "expected_calibration_error", "log_loss"]


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
    p, y = _checked(probs, targets)
    with np.errstate(divide="ignore"):
        losses = -np.log(np.clip(p[np.arange(len(y)), y], 0, 1))
    return float(losses.mean())


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
    p, y = _checked(probs, targets)
    p[np.arange(len(y)), y] -= 1
    score = float((p**2).sum(axis=1).mean())
    return score / 2 if p.shape[1] == 2 else score


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
    p, y = _checked(probs, targets)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    confidence = p.max(axis=1)
    right = p.argmax(axis=1) == y
    bins = np.searchsorted(_inner_edges(confidence, n_bins, strategy), confidence, side="left")
    counts = np.bincount(bins, minlength=n_bins)
    filled = counts > 0
    weights = counts[filled] / len(y)
    gaps = abs(np.bincount(bins, confidence, n_bins) - np.bincount(bins, right, n_bins))[filled] / counts[filled]
    if norm == "l1":
        return float(weights @ gaps)
    if norm == "l2":
        return float(np.sqrt(weights @ gaps**2))
    if norm == "max":
        return float(gaps.max())
    raise ValueError(f'norm must be "l1", "l2" or "max", got {norm!r}')


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
