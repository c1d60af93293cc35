"""From probabilities to a decision: the class to act on, or none where the model is too unsure. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._probabilities import probability_rows

__all__ = ["decide", "top_k"]


def decide(probs: ArrayLike, *, costs: ArrayLike | None = None, abstain_below: float | None = None) -> NDArray[np.intp]:
    """The class to decide for in each row, as an index (N,), or -1 where it abstains.

    Without `costs` this is the most probable class; with them, the one whose expected cost Σᵢ pᵢ·costs[i, j] is least.
    The first class wins a tie. Source: Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.

    Args:
        probs: (N, K) probabilities, rows summing to 1, or (N,) for the second of two classes.
        costs: (K, K), what it costs to decide for class j (column) where class i (row) is the truth.
        abstain_below: abstain in a row whose largest probability is below this, a number in [0, 1]; the costs play no
            part in that.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> decide([[0.6, 0.4], [0.1, 0.9]]).tolist()
    [0, 1]
    >>> decide([[0.6, 0.4], [0.1, 0.9]], costs=[[0, 1], [5, 0]]).tolist()  # overlooking class 1 costs 5
    [1, 1]
    >>> decide([[0.6, 0.4], [0.1, 0.9]], abstain_below=0.7).tolist()
    [-1, 1]
    """
    p = probability_rows(probs)
    decision: NDArray[np.intp] = p.argmax(axis=1)
    if costs is not None:
        decision = (p @ _cost_matrix(costs, p.shape[1])).argmin(axis=1)
    if abstain_below is not None:
        if not 0 <= abstain_below <= 1:
            raise ValueError(f"abstain_below must lie in [0, 1], got {abstain_below}")
        decision[p.max(axis=1) < abstain_below] = -1
    return decision


def top_k(probs: ArrayLike, k: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """The k most probable classes along the last axis, the most probable first: their indices, and their probabilities.

    The lower index comes first in a tie. Works on scores of any kind, logits included.

    Args:
        probs: (…, K) real numbers.
        k: how many, from 1 to K.

    Returns:
        indices (…, k) and probs (…, k), the latter with the dtype of the input.

    Raises:
        ValueError: k is out of range, or `probs` holds NaN.

    >>> indices, probs = top_k([[0.1, 0.6, 0.3]], 2)
    >>> indices.tolist(), probs.tolist()
    ([[1, 2]], [[0.6, 0.3]])
    """
    p = np.asarray(probs)
    if p.ndim == 0:
        raise ValueError("probs must have shape (…, K), got a single number")
    if not 1 <= k <= p.shape[-1]:
        raise ValueError(f"k must lie in [1, {p.shape[-1]}], the number of classes, got {k}")
    if np.isnan(p).any():
        raise ValueError(f"probs must not hold NaN, got one at position {tuple(np.argwhere(np.isnan(p))[0].tolist())}")
    if p.dtype.kind == "f" and p.shape[-1] >= 100 * k and not np.isneginf(p).any():
        indices = _maxima(p, k)
        return indices, np.take_along_axis(p, indices, axis=-1)
    # Sorting the reversed row and reversing again keeps ties in ascending order without negating, which unsigned
    # integers would not survive.
    order = p.shape[-1] - 1 - np.argsort(p[..., ::-1], axis=-1, kind="stable")
    indices = order[..., ::-1][..., :k]
    return indices, np.take_along_axis(p, indices, axis=-1)


def _maxima(p: NDArray[Any], k: int) -> NDArray[np.intp]:
    """The indices of the k largest entries of each row: with many classes, a pass for each takes less than sorting."""
    left, indices = p.copy(), np.empty((*p.shape[:-1], k), np.intp)
    for i in range(k):
        indices[..., i] = left.argmax(axis=-1)
        np.put_along_axis(left, indices[..., i : i + 1], -np.inf, axis=-1)
    return indices


def _cost_matrix(costs: ArrayLike, classes: int) -> NDArray[np.float64]:
    matrix = np.asarray(costs, np.float64)
    if matrix.shape != (classes, classes):
        raise ValueError(f"costs must have shape ({classes}, {classes}), truth by decision, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("costs must be finite")
    return matrix
