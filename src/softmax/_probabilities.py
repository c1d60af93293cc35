"""What metrics and decisions ask of their input: rows of probabilities, and one class index a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import is_bfloat16

# Wide enough for float16, and for tables that were rounded to two decimals; logits still do not pass.
TOLERANCE = 0.01


def probability_rows(probs: ArrayLike) -> NDArray[np.float64]:
    """`probs` as a float64 array (N, K): (N,) holds the positive class of two and becomes the columns 1 - p and p.

    Raises ValueError where a row is no probability distribution.
    """
    p = probability_array(probs).astype(np.float64)
    check_rows(p)
    return p


def probability_array(probs: ArrayLike) -> NDArray[Any]:
    """`probs` as an array (N, K) of its own dtype, not copied, but for (N,), see `probability_rows`; unchecked within.

    Raises TypeError, ValueError for a wrong dtype or shape.
    """
    p = np.asarray(probs)
    if p.dtype.kind not in "biuf" and not is_bfloat16(p.dtype):
        raise TypeError(f"probs must be real numbers, got dtype {p.dtype}")
    if p.ndim not in (1, 2) or p.shape[-1] == 0:
        raise ValueError(f"probs must have shape (N, K) or (N,), and not be empty, got shape {p.shape}")
    if len(p) == 0:
        raise ValueError(f"probs must have at least one row, got shape {p.shape}")
    if p.ndim == 1:
        p = p.astype(np.float64)
        _check_range(p, 0)
        return np.stack([1 - p, p], axis=1)
    return p


def check_rows(p: NDArray[np.float64], first: int = 0) -> None:
    """Raises ValueError where a row of `p` (n, K) is no probability distribution; its first row is number `first`."""
    if not (p.min() >= -TOLERANCE and p.max() <= 1 + TOLERANCE):  # NaN is outside as well
        _check_range(p, first)
    sums = p.sum(axis=1)
    wrong = np.flatnonzero(abs(sums - 1) > TOLERANCE)
    if len(wrong):
        raise ValueError(f"each row of probs must sum to 1, row {first + wrong[0]} sums to {sums[wrong[0]]:.6g}")


def _check_range(p: NDArray[np.float64], first: int) -> None:
    outside = np.argwhere(~((p >= -TOLERANCE) & (p <= 1 + TOLERANCE)))
    if len(outside):
        row, *column = outside[0].tolist()
        value, position = p[tuple(outside[0])], (first + row, *column)
        raise ValueError(f"probs must lie in [0, 1], got {value} at position {position}; apply softmax to logits first")


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
