"""How right and how sure: accuracy, log-loss and Brier score."""

from __future__ import annotations

from numpy.typing import ArrayLike

from .rows import Rows, checked, rows_of


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
    return accuracy_of(rows_of(*checked(probs, targets)))


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
    return log_loss_of(rows_of(*checked(probs, targets)))


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
    return brier_score_of(rows_of(*checked(probs, targets)))


def accuracy_of(rows: Rows) -> float:
    return float(rows.right.mean())


def log_loss_of(rows: Rows) -> float:
    return float(rows.loss.mean())


def brier_score_of(rows: Rows) -> float:
    return float(rows.distance.mean())
