"""What metrics and decisions ask of their input: rows of probabilities, and one class index a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Wide enough for float16, and for tables that were rounded to two decimals; logits still do not pass.
TOLERANCE = 0.01


def probability_rows(probs: ArrayLike) -> NDArray[np.float64]:
    """`probs` as a float64 array (N, K): (N,) holds the positive class of two and becomes the columns 1 - p and p.

    Raises ValueError where a row is no probability distribution.
    """
    p = np.asarray(probs)
    if p.dtype.kind not in "biuf" and p.dtype.name != "bfloat16":
        raise TypeError(f"probs must be real numbers, got dtype {p.dtype}")
    p = p.astype(np.float64)
    if p.ndim not in (1, 2) or p.shape[-1] == 0:
        raise ValueError(f"probs must have shape (N, K) or (N,), and not be empty, got shape {p.shape}")
    outside = ~((p >= -TOLERANCE) & (p <= 1 + TOLERANCE))  # NaN is outside as well
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"probs must lie in [0, 1], got {p[where]} at position {where}; apply softmax to logits first")
    if p.ndim == 1:
        return np.stack([1 - p, p], axis=1)
    if len(p) == 0:
        raise ValueError(f"probs must have at least one row, got shape {p.shape}")
    wrong = np.flatnonzero(abs(p.sum(axis=1) - 1) > TOLERANCE)
    if len(wrong):
        raise ValueError(f"each row of probs must sum to 1, row {wrong[0]} sums to {p[wrong[0]].sum():.6g}")
    return p


def class_indices(
    targets: ArrayLike, rows: int, classes: int, name: str = "targets", rows_of: str = "probs"
) -> NDArray[np.intp]:
    """`targets` as an array (N,) of class indices in [0, K); `name` and `rows_of` are what messages call them.

    Raises TypeError for anything but integers and booleans, ValueError for a wrong shape or an index out of range.
    """
    y: NDArray[Any] = np.asarray(targets)
    if y.dtype.kind not in "biu":
        raise TypeError(f"{name} must be integers (class indices), got dtype {y.dtype}")
    if y.shape != (rows,):
        raise ValueError(f"{name} must have shape ({rows},), one class index a row of {rows_of}, got shape {y.shape}")
    outside = np.flatnonzero((y < 0) | (y >= classes))
    if len(outside):
        raise ValueError(f"{name} must lie in [0, {classes}), got {y[outside[0]]} at position {outside[0]}")
    return y.astype(np.intp)
