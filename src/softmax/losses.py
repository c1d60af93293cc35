"""Losses for training on scores. Each comes with its gradient in `softmax.value_and_grad`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, negative_axes, result_dtype, rounded
from .gradients import value_and_grad_of

__all__ = ["cross_entropy"]

_REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of integer targets under softmax: ``logsumexp(logits) - logits[target]``, weighted and reduced.

    Parameters
    ----------
    logits : array_like of real numbers, shape (..., K)
        Scores; the K classes lie along `axis`.
    targets : array_like of integers, shape of `logits` without `axis`
        The right class of each row, in [0, K).
    axis : int
        Where the classes lie.
    class_weight : array_like, shape (K,), optional
        Multiplies a row's loss by its target's weight.
    sample_weight : array_like, shape of `targets`, optional
        Multiplies each row's loss.
    ignore_index : int, optional
        Rows with this target count for nothing, whatever they hold.
    reduction : {"mean", "sum", "none"}
        Weighted mean over the rows that count (0.0 where none does), sum, or one loss a row.

    Returns
    -------
    scalar, or ndarray of the shape of `targets` for reduction "none"
        In the logits' dtype (float64 for integers); sums are accumulated in float64. Error of a row's loss: 2 ulp.

    Raises
    ------
    ValueError
        For a target outside [0, K) that is not `ignore_index`, naming its position, and for shapes that do not fit.
    TypeError
        For targets that are not integers.

    Examples
    --------
    >>> print(cross_entropy([[2.0, 0.5, -1.0], [0.1, 0.2, 3.0]], [0, 2]))
    0.1754563805893112
    >>> print(cross_entropy(np.float32([20, 0]), 0))
    2.0611537e-09
    """
    return _cross_entropy(logits, targets, axis, class_weight, sample_weight, ignore_index, reduction, False)[0]


@value_and_grad_of(cross_entropy)
def _cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> tuple[Any, Array]:
    """(loss, gradient by the logits) of `cross_entropy` in one pass; "none" has the gradient of the sum."""
    return _cross_entropy(logits, targets, axis, class_weight, sample_weight, ignore_index, reduction, True)


def _cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
    reduction: str,
    gradient: bool,
) -> tuple[Any, Any]:
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    logits, mask = as_array(logits, None)
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    compute, result = result_dtype(logits, None, "logits")
    axes = negative_axes(axis, logits.ndim)
    if len(axes) != 1:
        raise TypeError(f"axis must be one int for cross_entropy, got {axis!r}")
    classes = logits.shape[axes[0]]
    targets = np.asarray(targets)
    _check_targets(targets, logits.shape, axes[0], ignore_index)
    weights = _row_weights(targets, classes, class_weight, sample_weight, ignore_index)
    targets = np.where(weights == 0, 0, targets) if ignore_index is not None else targets
    if reduction == "mean":
        total = weights.sum() if weights.ndim else weights * targets.size
        weights = weights / total if total else np.zeros_like(weights)
    if classes == 0:
        losses, slope = np.zeros(targets.shape), np.zeros(logits.shape, result) if gradient else None
    else:
        losses, slope = _rows(logits.astype(compute, copy=False), targets, weights, axes[0], gradient)
    if slope is not None:
        slope = rounded(slope, result)
    if reduction == "none":
        return rounded(losses, result)[()], slope
    return rounded(losses.sum(), result), slope


def _rows(logits: Array, targets: Array, weights: Array, axis: int, gradient: bool) -> tuple[Array, Array | None]:
    """Weighted loss of each row, and its gradient where asked for."""
    if logits.dtype not in (np.float32, np.float64):
        weights = np.broadcast_to(weights, targets.shape)
        ignored = weights[..., np.newaxis] == 0  # whatever they hold
        logits = np.where(ignored, 0, np.moveaxis(logits, axis, -1))
        losses = reference.cross_entropy(logits, targets) * weights
        if not gradient:
            return losses, None
        slope = reference.cross_entropy_gradient(logits, targets) * weights[..., np.newaxis]
        return losses, np.moveaxis(slope, -1, axis)
    targets = targets.astype(np.int64, copy=False)
    if not gradient:
        return np.asarray(_native.cross_entropy(logits, targets, weights, axis=axis)), None
    losses, slope = _native.cross_entropy_gradient(logits, targets, weights, axes=[(axis,), (), (), (), (axis,)])
    return np.asarray(losses), slope


def _check_targets(targets: Array, shape: tuple[int, ...], axis: int, ignore_index: int | None) -> None:
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class indices), got dtype {targets.dtype}")
    rows = shape[: len(shape) + axis] + shape[len(shape) + axis + 1 :]
    if targets.shape != rows:
        raise ValueError(f"targets must have the logits' shape without axis {axis}, {rows}, got {targets.shape}")
    classes = shape[axis]
    if targets.size == 0 or (targets.min() >= 0 and targets.max() < classes):
        return
    wrong = (targets < 0) | (targets >= classes)
    if ignore_index is not None:
        wrong &= targets != ignore_index
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(f"targets must be in [0, {classes}), got {targets[at]} at index {at}")


def _row_weights(
    targets: Array,
    classes: int,
    class_weight: ArrayLike | None,
    sample_weight: ArrayLike | None,
    ignore_index: int | None,
) -> Array:
    """What each row's loss is multiplied by, float64: a 0-d 1 where nothing was asked for."""
    weights = np.ones(())
    if sample_weight is not None:
        weights = _as_weights(sample_weight, "sample_weight")
        if weights.shape != targets.shape:
            raise ValueError(f"sample_weight must have the targets' shape {targets.shape}, got {weights.shape}")
    if class_weight is not None:
        by_class = _as_weights(class_weight, "class_weight")
        if by_class.shape != (classes,):
            raise ValueError(f"class_weight must have shape ({classes},), got {by_class.shape}")
        weights = weights * by_class[np.where((targets >= 0) & (targets < classes), targets, 0)]
    if not (weights >= 0).all() or np.isinf(weights).any():
        raise ValueError("sample_weight and class_weight must be finite and >= 0, got a negative, infinite or NaN one")
    return weights if ignore_index is None else np.where(targets == ignore_index, 0.0, weights)


def _as_weights(weights: ArrayLike, name: str) -> Array:
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {weights.dtype}")
    return weights.astype(np.float64)
