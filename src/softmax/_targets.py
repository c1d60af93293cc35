"""What the losses check before a pass: their options, the targets, and what each row counts."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _native
from ._arrays import Array, is_bfloat16, negative_axes, rounded

REDUCTIONS = ("mean", "sum", "none")
_ONE = np.ones(())


class Options(NamedTuple):
    """What `cross_entropy` takes beside the arrays that it reads class by class."""

    label_smoothing: float = 0.0
    class_weight: ArrayLike | None = None
    sample_weight: ArrayLike | None = None
    ignore_index: int | None = None
    gamma: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    where: ArrayLike | None = None
    reduction: str = "mean"


def as_options(options: dict[str, Any]) -> Options:
    """TypeError for a name that is no option."""
    for name in options:
        if name not in Options._fields:
            raise TypeError(f"options must be of {', '.join(Options._fields)}, got {name!r}")
    return Options(**options)


def one_axis(name: str, axis: int, ndim: int) -> int:
    """The axis of the classes, counted from the end."""
    axes = negative_axes(axis, ndim)
    if len(axes) != 1:
        raise TypeError(f"axis must be one int for {name}, got {axis!r}")
    return axes[0]


def check_options(options: Options) -> None:
    """ValueError for what no array is needed to refuse."""
    if options.reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {options.reduction!r}")
    for name in ("label_smoothing", "gamma", "z_loss", "softcap"):
        value = getattr(options, name)
        if not isinstance(value, (float, int, Real)) and not (name == "softcap" and value is None):
            raise TypeError(f"{name} must be a number, got {value!r}")
    if options.ignore_index is not None and not isinstance(options.ignore_index, Integral):
        raise TypeError(f"ignore_index must be an int, got {options.ignore_index!r}")
    if not 0 <= options.label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be in [0, 1], got {options.label_smoothing}")
    for name in ("gamma", "z_loss"):
        value = getattr(options, name)
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be finite and >= 0, got {value}")
    if options.softcap is not None and not 0 < options.softcap < np.inf:
        raise ValueError(f"softcap must be finite and > 0, got {options.softcap}")


def divisor(weights: Array, targets: Array, reduction: str, axis: int) -> Any:
    """What "mean" divides by: the sum of the rows' weights; 1 where there is none, all losses being 0 then."""
    if reduction != "mean":
        return 1
    rows = targets.size if targets.dtype.kind == "i" else targets.size // max(targets.shape[axis], 1)
    return (weights.sum() if weights.ndim else weights * rows) or 1


def targets_and_weights(
    targets: ArrayLike, shape: tuple[int, ...], axis: int, compute: np.dtype[Any], options: Options
) -> tuple[Array, Array]:
    """(targets as int64, or probabilities in the dtype to compute in; each row's weight, float64)."""
    targets = np.asarray(targets)
    rows = shape[: len(shape) + axis] + shape[len(shape) + axis + 1 :]
    if targets.dtype.kind in "iu":
        if targets.shape != rows:
            raise ValueError(f"targets must have the logits' shape without axis {axis}, {rows}, got {targets.shape}")
        _check_indices(targets, shape[axis], options.ignore_index)
        weights = _row_weights(targets, shape[axis], rows, axis, options)
        inside = np.where(weights == 0, 0, targets) if options.ignore_index is not None else targets
        return inside.astype(np.int64, copy=False), weights
    if targets.dtype.kind != "f" and not is_bfloat16(targets.dtype):
        raise TypeError(
            f"targets must be integers (class indices) or floats (probabilities), got dtype {targets.dtype}"
        )
    if targets.shape != shape:
        raise ValueError(
            f"targets must have the logits' shape {shape} as probabilities, got {targets.shape}; class indices must be "
            f"integers, got dtype {targets.dtype}"
        )
    if options.ignore_index is not None:
        raise TypeError("ignore_index needs integer targets, got probabilities: give the rows a sample_weight of 0")
    tolerance = 1e-2 if targets.dtype.itemsize == 2 else 1e-3
    probs: Array = rounded(targets, compute)
    weights = _row_weights(probs, shape[axis], rows, axis, options)
    _check_probabilities(probs, weights, axis, tolerance)
    return probs, weights


def _check_indices(targets: Array, classes: int, ignore_index: int | None) -> None:
    unsigned = targets.view(
        targets.dtype.str.replace("i", "u")
    )  # where what is negative is huge: one pass in place of two
    if targets.size == 0 or unsigned.max() < classes:
        return
    wrong = (targets < 0) | (targets >= classes)
    if ignore_index is not None:
        wrong &= targets != ignore_index
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(f"targets must be in [0, {classes}), got {targets[at]} at index {at}")


def _check_probabilities(targets: Array, weights: Array, axis: int, tolerance: float) -> None:
    """In every row that counts."""
    if targets.dtype in (np.float32, np.float64):
        sums = np.asarray(_native.probability_mass(targets, axes=[(axis,), ()]))
    else:
        sums = np.where(targets >= 0, targets, np.nan).sum(axis=axis).astype(np.float64)
    if sums.size == 0 or (abs(sums.min() - 1) <= tolerance and abs(sums.max() - 1) <= tolerance):  # without a temporary
        return
    wrong = ~(np.abs(sums - 1) <= tolerance) & (weights != 0)
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        row = np.moveaxis(targets, axis, -1)[at]
        if not (row >= 0).all():
            raise ValueError(f"targets must be probabilities, >= 0, got {row[~(row >= 0)][0]} in row {at}")
        raise ValueError(f"targets must sum to 1 over the classes, got {sums[at]:.6g} in row {at}")


def _row_weights(targets: Array, classes: int, rows: tuple[int, ...], axis: int, options: Options) -> Array:
    """What each row's loss is multiplied by, float64: a 0-d 1 where nothing was asked for."""
    weights = _ONE
    if options.sample_weight is not None:
        weights = as_weights(options.sample_weight, "sample_weight")
        if weights.shape != rows:
            raise ValueError(f"sample_weight must have one number a row, shape {rows}, got {weights.shape}")
    if options.class_weight is not None:
        by_class = as_class_weight(options.class_weight, classes)
        if targets.dtype.kind in "iu":
            of_target = by_class[np.where((targets >= 0) & (targets < classes), targets, 0)]
        else:
            of_target = np.einsum("...k,k->...", np.moveaxis(targets, axis, -1), by_class)
        weights = np.where(weights == 0, 0.0, weights * of_target)
    if options.ignore_index is None:
        return weights
    return np.where(targets == options.ignore_index, 0.0, weights)


def as_class_weight(weights: ArrayLike, classes: int) -> Array:
    by_class = as_weights(weights, "class_weight")
    if by_class.shape != (classes,):
        raise ValueError(f"class_weight must have shape ({classes},), got {by_class.shape}")
    return by_class


def as_weights(weights: ArrayLike, name: str) -> Array:
    weights = np.asarray(weights)
    if weights.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got dtype {weights.dtype}")
    wrong = ~((weights >= 0) & (weights < np.inf))
    if wrong.any():
        at = f" at index {tuple(map(int, np.argwhere(wrong)[0]))}" if weights.ndim else ""
        raise ValueError(f"{name} must be finite and >= 0, got {weights[wrong].ravel()[0]}{at}")
    return weights.astype(np.float64)
