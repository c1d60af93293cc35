"""Cross-entropy for training on scores, with its options. `value_and_grad` adds the gradient in the same pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, check_out, everywhere, kernel_dtype, kernel_view, result_dtype, rounded
from ._targets import (
    Options,
    as_class_weight,
    as_options,
    as_weights,
    check_options,
    divisor,
    one_axis,
    targets_and_weights,
)
from .gradients import Derivative, as_gradient, rule_of, value_and_grad_of

__all__ = ["cross_entropy", "focal_loss"]


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
        if targets.dtype.kind == "i":
            compute = kernel_dtype(logits.dtype, compute, result)
        into = kernel_view(out) if out is not None and out.dtype == compute else None
        losses, slope = rows_losses(
            kernel_view(logits.astype(compute, copy=False)), targets, factors, where, axis, options, gradient, into
        )
        slope = out if into is not None else slope if slope is None else slope.view(compute)
    if slope is not None and slope is not out:
        slope = rounded(slope, result)
        if out is not None:
            out[...] = slope
            slope = out
    if options.reduction == "none":
        return rounded(losses, result)[()], slope
    return rounded(losses.sum(), result), slope


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
    if logits.dtype.char not in "eHfd":  # float16, the bits of bfloat16, float32, float64
        named = {name: getattr(options, name) for name in ("label_smoothing", "gamma", "z_loss", "softcap")}
        return _by_reference(logits, targets, weights, where, axis, named, gradient)
    mask = everywhere(logits.shape) if where is None else np.broadcast_to(where, logits.shape)
    numbers = np.array((options.label_smoothing, options.gamma, options.z_loss, options.softcap or 0.0), np.float64)
    operands = (logits, targets, weights, numbers, mask)
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
