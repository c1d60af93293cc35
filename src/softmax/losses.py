"""Cross-entropy for training on scores, with its options. `value_and_grad` adds the gradient in the same pass."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, check_out, negative_axes, result_dtype, rounded
from .gradients import Derivative, as_gradient, rule_of, value_and_grad_of

__all__ = ["cross_entropy", "focal_loss"]

REDUCTIONS = ("mean", "sum", "none")


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


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    label_smoothing: float = 0.0,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    where: ArrayLike | None = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of targets under softmax: ``logsumexp(logits) - logits[target]``, weighted and reduced.

    With every option, the loss of a row is ``w * (-sum(y * (1 - p)**gamma * log(p)) + z_loss * logsumexp**2)``, where
    p = softmax(logits) and y is the target as probabilities, smoothed.

    Parameters
    ----------
    logits : array_like of real numbers, shape (..., K)
        Scores; the K classes lie along `axis`.
    targets : array_like, integers of the shape of `logits` without `axis`, or floats of the shape of `logits`
        The right class of each row, in [0, K); or a probability for each class, of sum 1 (within 1e-3; 16 bits: 1e-2).
    axis : int
        Where the classes lie.
    label_smoothing : float in [0, 1]
        The part of the target that is spread evenly: y becomes ``y * (1 - label_smoothing) + label_smoothing / K``. Of
        classes that are left out by `where` or have the logit -inf, none gets a part, and K does not count them.
    class_weight : array_like, shape (K,), optional
        Multiplies a row's whole loss by its target's weight; by ``sum(targets * class_weight)`` for probabilities.
    sample_weight : array_like, one number a row, optional
        Multiplies each row's loss. Rows of weight 0 count for nothing, whatever they hold.
    ignore_index : int, optional
        Rows with this (integer) target count for nothing, whatever they hold.
    gamma : float >= 0
        The focal exponent: classes that the model already gives p count ``(1 - p)**gamma`` times.
    z_loss : float >= 0
        Adds ``z_loss * logsumexp(logits)**2``, which keeps logits from drifting.
    softcap : float > 0, optional
        Replaces logits by ``softcap * tanh(logits / softcap)``, before `where` is applied.
    where : array_like of bool that broadcasts to `logits`, optional
        Classes to leave out, where False: as if they were not there. A target among them costs infinity.
    reduction : {"mean", "sum", "none"}
        Weighted mean over the rows that count (0.0 where none does), sum, or one loss a row.

    Returns
    -------
    scalar, or ndarray with one loss a row for reduction "none"
        In the logits' dtype (float64 for integers); sums are accumulated in float64. Error of a row's loss: 4 ulp of
        its largest term; 2 ulp of the loss for integer targets without options. A softcap in float64 adds
        ``softcap * 2**-52`` to every logit.

    Raises
    ------
    ValueError
        For a target outside [0, K) that is not `ignore_index`, or probabilities that are negative or do not sum to 1,
        naming the position; for shapes that do not fit and options out of range.
    TypeError
        For targets that are neither integers nor floats, and `ignore_index` with probabilities.

    Notes
    -----
    One native pass; for float32 and float64 with no array of the logits' size beside the gradient.

    Sources: label smoothing, Szegedy et al., CVPR 2016, doi:10.1109/CVPR.2016.308; focal loss, Lin et al., ICCV 2017,
    doi:10.1109/ICCV.2017.324; z-loss, Chowdhery et al., "PaLM", JMLR 24 (2023).

    Examples
    --------
    >>> print(cross_entropy([[2.0, 0.5, -1.0], [0.1, 0.2, 3.0]], [0, 2]))
    0.1754563805893112
    >>> print(cross_entropy(np.float32([20, 0]), 0))
    2.0611537e-09
    >>> print(cross_entropy([[2.0, 0.5, -1.0]], [[0.9, 0.1, 0.0]], label_smoothing=0.1))
    0.526311296657157
    """
    options = Options(
        label_smoothing, class_weight, sample_weight, ignore_index, gamma, z_loss, softcap, where, reduction
    )
    return loss_and_gradient("cross_entropy", logits, targets, axis, options, gradient=False)[0]


@value_and_grad_of(cross_entropy)
def _cross_entropy_value_and_grad(
    logits: ArrayLike, targets: ArrayLike, axis: int = -1, *, out: Array | None = None, **options: Any
) -> tuple[Any, Array]:
    """(loss, gradient by the logits) of `cross_entropy` in one pass; "none" has the gradient of the sum."""
    return loss_and_gradient("cross_entropy", logits, targets, axis, as_options(options), gradient=True, out=out)


@rule_of(cross_entropy)
def _cross_entropy_rule(logits: ArrayLike, targets: ArrayLike, axis: int = -1, **options: Any) -> Derivative:
    return _derivative("cross_entropy", logits, targets, axis, as_options(options))


def focal_loss(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    gamma: float = 2.0,
    alpha: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    z_loss: float = 0.0,
    softcap: float | None = None,
    where: ArrayLike | None = None,
    reduction: str = "mean",
) -> Any:
    """Focal loss, ``-(1 - p)**gamma * log(p)`` of the target's p: cross-entropy that leaves easy rows alone.

    Parameters
    ----------
    logits, targets, axis, **options
        As in `cross_entropy`, which this is with another default for gamma.
    gamma : float >= 0
        The focal exponent; 0 is cross-entropy.
    alpha : float or array_like of shape (K,), optional
        The focal class weight: multiplies `class_weight`. "mean" divides by the sum of the weights, so that one number
        for all changes "sum" and "none" alone.

    Returns
    -------
    scalar, or ndarray with one loss a row for reduction "none"
        As `cross_entropy`.

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy`.

    Notes
    -----
    Source: Lin, Goyal, Girshick, He & Dollár, "Focal loss for dense object detection", ICCV 2017,
    doi:10.1109/ICCV.2017.324.

    Examples
    --------
    >>> print(focal_loss([[2.0, 0.5, -1.0]], [0]), cross_entropy([[2.0, 0.5, -1.0]], [0], gamma=2.0))
    0.011092750091379812 0.011092750091379812
    """
    options = Options(
        label_smoothing, class_weight, sample_weight, ignore_index, gamma, z_loss, softcap, where, reduction
    )
    return loss_and_gradient(
        "focal_loss", logits, targets, axis, _with_alpha(options, alpha, logits, axis), gradient=False
    )[0]


@rule_of(focal_loss)
def _focal_loss_rule(
    logits: ArrayLike, targets: ArrayLike, axis: int = -1, *, alpha: ArrayLike | None = None, **options: Any
) -> Derivative:
    weighted = _with_alpha(as_options({"gamma": 2.0} | options), alpha, logits, axis)
    return _derivative("focal_loss", logits, targets, axis, weighted)


@value_and_grad_of(focal_loss)
def _focal_loss_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int = -1,
    *,
    alpha: ArrayLike | None = None,
    out: Array | None = None,
    **options: Any,
) -> tuple[Any, Array]:
    """(loss, gradient by the logits) of `focal_loss` in one pass; "none" has the gradient of the sum."""
    weighted = _with_alpha(as_options({"gamma": 2.0} | options), alpha, logits, axis)
    return loss_and_gradient("focal_loss", logits, targets, axis, weighted, gradient=True, out=out)


def _with_alpha(options: Options, alpha: ArrayLike | None, logits: ArrayLike, axis: int) -> Options:
    """alpha as part of the class weights."""
    if alpha is None:
        return options
    classes = np.shape(logits)[one_axis("focal_loss", axis, np.ndim(logits))]
    weight = as_weights(alpha, "alpha")
    if weight.shape not in ((), (classes,)):
        raise ValueError(f"alpha must be a number or have shape ({classes},), got shape {weight.shape}")
    by_class = np.ones(classes) if options.class_weight is None else as_class_weight(options.class_weight, classes)
    return options._replace(class_weight=np.broadcast_to(weight * by_class, (classes,)))


def _derivative(name: str, logits: ArrayLike, targets: ArrayLike, axis: int, options: Options) -> Derivative:
    """The pullback is the pass with the gradient, under the rows' weights times dy."""
    value = loss_and_gradient(name, logits, targets, axis, options, gradient=False)[0]

    def pullback(dy: ArrayLike) -> Array:
        dy = as_gradient(dy, np.shape(value), np.dtype(np.float64))
        slope: Array = loss_and_gradient(name, logits, targets, axis, options, gradient=True, dy=dy)[1]
        return slope

    def jacobian() -> Array:
        slope: Array = loss_and_gradient(name, logits, targets, axis, options, gradient=True)[1]
        return np.moveaxis(slope, axis, -1) if options.reduction == "none" else slope

    return Derivative(value, pullback, jacobian)


def loss_and_gradient(
    name: str,
    logits: ArrayLike,
    targets: ArrayLike,
    axis: int,
    options: Options,
    *,
    gradient: bool,
    out: Array | None = None,
    dy: Array | float = 1.0,
) -> tuple[Any, Any]:
    """The reduced loss, and its gradient (times dy) where asked for."""
    check_options(options)
    logits, where = as_array(logits, options.where, "logits")
    compute, result = result_dtype(logits, None, "logits")
    axis = one_axis(name, axis, logits.ndim)
    if out is not None:
        check_out(out, logits.shape)
    targets, weights = targets_and_weights(targets, logits.shape, axis, compute, options)
    factors = weights / divisor(weights, targets, options.reduction, axis) * dy
    if logits.size == 0:
        rows = targets.shape if targets.dtype.kind == "i" else np.delete(targets.shape, axis)
        losses, slope = np.zeros(tuple(rows)), np.zeros(logits.shape, result) if gradient else None
    else:
        into = out if out is not None and out.dtype == compute else None
        losses, slope = rows_losses(
            logits.astype(compute, copy=False), targets, factors, where, axis, options, gradient, into
        )
    if slope is not None and slope is not out:
        slope = rounded(slope, result)
        if out is not None:
            out[...] = slope
            slope = out
    if options.reduction == "none":
        return rounded(losses, result)[()], slope
    return rounded(losses.sum(), result), slope


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
        if not isinstance(value, Real) and not (name == "softcap" and value is None):
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


def rows_losses(
    logits: Array,
    targets: Array,
    weights: Array,
    where: Array | None,
    axis: int,
    options: Options,
    gradient: bool,
    out: Array | None = None,
) -> tuple[Array, Array | None]:
    """Weighted loss of each row, and its gradient where asked for."""
    by_index = targets.dtype.kind == "i"
    numbers = {name: getattr(options, name) for name in ("label_smoothing", "gamma", "z_loss", "softcap")}
    if logits.dtype not in (np.float32, np.float64):
        return _by_reference(logits, targets, weights, where, axis, numbers, gradient)
    mask = np.broadcast_to(np.True_ if where is None else where, logits.shape)
    operands = (logits, targets, weights, np.array([value or 0.0 for value in numbers.values()]), mask)
    axes: list[tuple[int, ...]] = [(axis,), () if by_index else (axis,), (), (-1,), (axis,), ()]
    if not gradient:
        kernel = _native.cross_entropy if by_index else _native.soft_cross_entropy
        return np.asarray(kernel(*operands, axes=axes)), None
    kernel = _native.cross_entropy_gradient if by_index else _native.soft_cross_entropy_gradient
    losses, slope = kernel(*operands, axes=[*axes, (axis,)], out=(None, out))
    return np.asarray(losses), slope


def _by_reference(
    logits: Array,
    targets: Array,
    weights: Array,
    where: Array | None,
    axis: int,
    numbers: dict[str, Any],
    gradient: bool,
) -> tuple[Array, Array | None]:
    logits = np.moveaxis(logits, axis, -1)
    if targets.dtype.kind != "i":
        targets = np.moveaxis(targets, axis, -1)
    ignored = np.broadcast_to(weights, logits.shape[:-1])[..., np.newaxis] == 0  # whatever they hold
    logits = np.where(ignored, 0, logits)
    if where is not None:
        numbers = numbers | {"where": np.moveaxis(where, axis, -1)}
    losses = reference.cross_entropy(logits, targets, **numbers) * weights
    if not gradient:
        return losses, None
    slope = reference.cross_entropy_gradient(logits, targets, **numbers) * weights[..., np.newaxis]
    return losses, np.moveaxis(slope, -1, axis)


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
    if targets.dtype.kind != "f" and targets.dtype.name != "bfloat16":
        raise TypeError(
            f"targets must be integers (class indices) or floats (probabilities), got dtype {targets.dtype}"
        )
    if targets.shape != shape:
        raise ValueError(f"targets must have the logits' shape {shape} as probabilities, got {targets.shape}")
    if options.ignore_index is not None:
        raise TypeError("ignore_index needs integer targets, got probabilities: give the rows a sample_weight of 0")
    tolerance = 1e-2 if targets.dtype.itemsize == 2 else 1e-3
    probs: Array = rounded(targets, compute)
    weights = _row_weights(probs, shape[axis], rows, axis, options)
    _check_probabilities(probs, weights, axis, tolerance)
    return probs, weights


def _check_indices(targets: Array, classes: int, ignore_index: int | None) -> None:
    if targets.size == 0 or (targets.min() >= 0 and targets.max() < classes):
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
    wrong = ~(np.abs(sums - 1) <= tolerance) & (weights != 0)
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        row = np.moveaxis(targets, axis, -1)[at]
        if not (row >= 0).all():
            raise ValueError(f"targets must be probabilities, >= 0, got {row[~(row >= 0)][0]} in row {at}")
        raise ValueError(f"targets must sum to 1 over the classes, got {sums[at]:.6g} in row {at}")


def _row_weights(targets: Array, classes: int, rows: tuple[int, ...], axis: int, options: Options) -> Array:
    """What each row's loss is multiplied by, float64: a 0-d 1 where nothing was asked for."""
    weights = np.ones(())
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
