"""Binary cross-entropy, for several labels that may all be true at once. `value_and_grad` adds the gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, check_out, everywhere, is_bfloat16, result_dtype, rounded
from ._targets import Options, as_weights, check_options
from .gradients import Derivative, as_gradient, rule_of, value_and_grad_of

__all__ = ["binary_cross_entropy"]


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of targets under sigmoid, entry by entry: ``-log(p)`` where they are 1, ``-log(1 - p)`` where 0.

    With every option, the loss of an entry is ``pos_weight * y * (1 - p)**gamma * -log(p) + (1 - y) * p**gamma *
    -log(1 - p)``, where p = sigmoid(logits) and y is the target, smoothed.

    Parameters
    ----------
    logits : array_like of real numbers
        Scores, of any shape. A masked array's masked entries count for nothing.
    targets : array_like of bool, integers 0 and 1, or floats in [0, 1]
        What is true; same shape as `logits`.
    pos_weight : array_like that broadcasts to `logits`, finite and >= 0, optional
        What true entries count: above 1 it favours recall. The mean still divides by the number of entries.
    label_smoothing : float in [0, 1]
        Moves targets towards 1/2: y becomes ``y * (1 - label_smoothing) + label_smoothing / 2``.
    gamma : float >= 0
        The focal exponent: entries that the model already gives p count ``(1 - p)**gamma`` times.
    reduction : {"mean", "sum", "none"}
        Mean over all entries (0.0 where there is none), sum, or one loss an entry.

    Returns
    -------
    scalar, or ndarray of the logits' shape for reduction "none"
        In the logits' dtype (float64 for integers). An entry's loss is NaN for a NaN; terms of weight 0 are 0, also at
        infinite logits. Error of an entry: 4 ulp, ``4 + 3 * gamma`` in float64 with a gamma; sums add less than an ulp.

    Raises
    ------
    ValueError
        For a target outside [0, 1], naming the position; for shapes that do not fit and options out of range.
    TypeError
        For dtypes that are not real numbers.

    Notes
    -----
    The gradient, ``p - y`` where nothing else is asked for, has the error 4 ulp of the larger of its two terms
    (``8 + 3 * gamma`` with a gamma), and a subnormal step times the weight; a target of 0 or 1 without smoothing leaves
    one term. One native pass; targets and logits of other dtypes are converted first. Source of the focal loss: Lin et
    al., ICCV 2017, doi:10.1109/ICCV.2017.324.

    Examples
    --------
    >>> print(binary_cross_entropy([2.0, -1.0, 0.5], [True, False, True]))
    0.3047555609137673
    >>> binary_cross_entropy([[40.0, -3.0]], [[1, 1]], pos_weight=[1.0, 2.0], reduction="none")
    array([[4.24835426e-18, 6.09717470e+00]])
    >>> print(binary_cross_entropy([2.0, -1.0], [1, 0], gamma=2.0))
    0.012230810171853852
    """
    options = Options(label_smoothing=label_smoothing, gamma=gamma, reduction=reduction)
    return _loss_and_gradient(logits, targets, pos_weight, options, gradient=False)[0]


@value_and_grad_of(binary_cross_entropy)
def _binary_cross_entropy_value_and_grad(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
    reduction: str = "mean",
    out: Array | None = None,
) -> tuple[Any, Any]:
    """(loss, gradient by the logits) of `binary_cross_entropy` in one pass; "none" has the gradient of the sum."""
    options = Options(label_smoothing=label_smoothing, gamma=gamma, reduction=reduction)
    return _loss_and_gradient(logits, targets, pos_weight, options, gradient=True, out=out)


@rule_of(binary_cross_entropy)
def _rule(logits: ArrayLike, targets: ArrayLike, **options: Any) -> Derivative:
    """The pullback is the gradient, each entry's times its dy; an entry of gradient 0 stays 0, whatever dy holds."""
    value = binary_cross_entropy(logits, targets, **options)

    def jacobian() -> Any:
        return _binary_cross_entropy_value_and_grad(logits, targets, **options)[1]

    def pullback(dy: ArrayLike) -> Any:
        slope = np.asarray(jacobian())
        dy = as_gradient(dy, np.shape(value), np.dtype(np.float64))
        scaled = np.multiply(slope, dy, out=np.zeros(slope.shape), where=slope != 0)
        return rounded(scaled, slope.dtype)[()]

    return Derivative(value, pullback, jacobian)


def _loss_and_gradient(
    logits: ArrayLike,
    targets: ArrayLike,
    pos_weight: ArrayLike | None,
    options: Options,
    *,
    gradient: bool,
    out: Array | None = None,
) -> tuple[Any, Any]:
    check_options(options)
    logits, where = as_array(logits, None)
    compute, result = result_dtype(logits, None, "logits")
    if out is not None:
        check_out(out, logits.shape)
    targets = _targets(targets, logits.shape, where, compute)
    weight = _pos_weight(pos_weight, logits.shape)
    count = logits.size if where is None else int(where.sum())
    divisor = max(count, 1) if options.reduction == "mean" else 1
    entries = _Entries(logits.astype(compute, copy=False), targets, weight, where, options, divisor)
    loss, slope = (
        _native_loss(entries, gradient, out)
        if compute in (np.float32, np.float64)
        else _by_reference(entries, gradient)
    )
    if slope is not None and slope is not out:
        slope = rounded(slope, result)
        if out is not None:
            with np.errstate(all="ignore"):
                out[...] = slope
            slope = out
    return rounded(loss, result)[()], slope if slope is None or slope is out else slope[()]


class _Entries(NamedTuple):
    """What a pass is made of, all in the dtype to compute in; the weight as it was given."""

    x: Array
    targets: Array
    weight: Array
    where: Array | None
    options: Options
    divisor: int


def _native_loss(entries: _Entries, gradient: bool, out: Array | None) -> tuple[Array, Array | None]:
    """One row where the weight is one number, so that only the order of the entries decides on the bits of a sum."""
    x, targets, weight, where, options, divisor = entries
    numbers = np.array([1 / divisor, options.label_smoothing, options.gamma])
    flat = weight.size == 1 or x.ndim == 0
    shape = (x.size,) if flat else x.shape
    mask = everywhere(shape) if where is None else where.reshape(shape)
    weight = np.broadcast_to(weight.ravel() if flat else weight, shape)
    operands = (x.reshape(shape), targets.reshape(shape), weight, mask, numbers)
    each = options.reduction == "none"
    if not gradient:
        kernel = _native.binary_cross_entropies if each else _native.binary_cross_entropy
        losses, slope = np.asarray(kernel(*operands)), None
    else:
        kernel = _native.binary_cross_entropies_gradient if each else _native.binary_cross_entropy_gradient
        into = out if out is not None and out.dtype == x.dtype and out.flags.c_contiguous else None
        losses, slope = kernel(*operands, out=(None, None if into is None else into.reshape(shape)))
        losses, slope = np.asarray(losses), np.asarray(slope).reshape(x.shape) if into is None else out
    return losses.reshape(x.shape) if each else losses.sum() / divisor, slope


def _by_reference(entries: _Entries, gradient: bool) -> tuple[Array, Array | None]:
    x, targets, weight, where, options, divisor = entries
    numbers: dict[str, Any] = {"pos_weight": weight, "label_smoothing": options.label_smoothing, "gamma": options.gamma}
    kept = np.True_ if where is None else where
    losses = np.where(kept, reference.binary_cross_entropy(x, targets, **numbers), 0)
    slope = None
    if gradient:
        slope = np.where(kept, reference.binary_cross_entropy_gradient(x, targets, **numbers), 0) / divisor
    return losses if options.reduction == "none" else losses.sum() / divisor, slope


def _targets(targets: ArrayLike, shape: tuple[int, ...], where: Array | None, compute: np.dtype[Any]) -> Array:
    """Targets in the dtype to compute in, checked where they count."""
    targets = np.asarray(targets)
    if targets.dtype.kind not in "biuf" and not is_bfloat16(targets.dtype):
        raise TypeError(f"targets must be booleans, 0 and 1, or floats in [0, 1], got dtype {targets.dtype}")
    if targets.shape != shape:
        raise ValueError(f"targets must have the logits' shape {shape}, got {targets.shape}")
    if targets.size and targets.dtype.kind != "b" and not (targets.min() >= 0 and targets.max() <= 1):
        wrong = ~((targets >= 0) & (targets <= 1))
        if where is not None:
            wrong &= where
        if wrong.any():
            at = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(f"targets must be in [0, 1], got {targets[at]} at index {at}")
    return np.asarray(rounded(targets, compute))


def _pos_weight(pos_weight: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if pos_weight is None:
        return np.ones(())
    weight = as_weights(pos_weight, "pos_weight")
    try:
        fits = np.broadcast_shapes(weight.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"pos_weight must broadcast to the shape of logits, {shape}, got shape {weight.shape}")
    return weight
