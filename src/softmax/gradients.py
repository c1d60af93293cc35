"""Derivatives: a table of rules, one for each function that has one.

A rule needs no more of the forward pass than its result y (`logsumexp` and the elementwise functions: x), so a pullback
holds no array of its own. Nothing that a probability of 0 multiplies reaches a gradient, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _native, reference
from ._arrays import (
    Array,
    Axis,
    as_array,
    as_temperature,
    compute_dtype,
    merge,
    negative_axes,
    result_dtype,
    rounded,
    split,
)
from .elementwise import log_sigmoid, sigmoid
from .functions import log_softmax, logsumexp, softmax, softmin
from .sparse import as_alpha, entmax, sparsemax

__all__ = ["jacobian", "value_and_grad", "vjp"]

Function = Callable[..., Any]
ValueAndGrad = Callable[..., tuple[Any, Any]]
Pullback = Callable[[ArrayLike], Any]


class Derivative(NamedTuple):
    """What a rule says of one call: its result, and the two things that can be asked of its derivative."""

    value: Any
    pullback: Pullback
    jacobian: Callable[[], Any]


Rule = Callable[..., Derivative]

_RULES: dict[Function, Rule] = {}
_VALUE_AND_GRAD: dict[Function, ValueAndGrad] = {}


def vjp(function: Function, x: ArrayLike, *args: Any, **options: Any) -> tuple[Any, Pullback]:
    """The result of a function of this package, and the function that takes gradients back through it.

    Parameters
    ----------
    function : callable
        softmax, log_softmax, logsumexp, softmin, sigmoid, log_sigmoid, sparsemax, entmax, or a loss.
    x : array_like of real numbers
        Scores.
    *args, **options
        What `function` takes beside x, but for `out`.

    Returns
    -------
    y : ndarray or scalar
        ``function(x, *args, **options)``, bit for bit.
    pullback : callable
        Takes dy, the gradient by y, of y's shape, and returns dx, the gradient by x: ``sum(dy * dy/dx)``, of x's shape
        and floating-point dtype (float64 for bool and integers). With `return_sign`, dy is that of the logarithm, for
        the sign has no gradient. May be called any number of times, as long as x and y are not written to.

    Raises
    ------
    TypeError
        For a function that has no rule, for `out`, and for dtypes that are not real numbers.
    ValueError
        For dy of another shape than y, and for what `function` refuses.

    Notes
    -----
    Entries that are masked, -inf (softmin: +inf) or of probability 0 get exactly 0, whatever dy holds there; so does a
    slice with nothing left. k entries +inf, which share the probability, count as k equal maxima. A NaN makes its own
    slice NaN. Where the temperature is 0 or inf nothing moves: 0.

    Error, beside that of dy: 8 ulp (3.5 measured) of ``p[i] * (abs(d[i]) + sum(p * abs(d))) / temperature`` for softmax
    and softmin, where d is dy less its value at the most probable entry: a near-certain slice keeps its digits.
    log_softmax: 8 ulp of ``((1 - p[i]) * abs(dy[i]) + p[i] * (1 + abs(log(p[i]))) * abs(s)) / temperature``, where s is
    the sum of the other entries of dy. sparsemax and entmax: as softmax, with the weights ``p ** (2 - alpha)`` of the
    support in the place of p; at alpha inf nothing moves. logsumexp, sigmoid and log_sigmoid: 4 ulp of the result; with
    weights, that times ``sum(abs(weights) * exp(x)) / abs(sum(weights * exp(x)))``. Below the normal range of p: a
    subnormal step of it. Source of entmax's: Peters, Niculae & Martins, ACL 2019, doi:10.18653/v1/P19-1146.
    Memory: none beside the result, but a float64 array for logsumexp with weights.

    Examples
    --------
    >>> from softmax import softmax
    >>> y, pullback = vjp(softmax, [1.0, 2.0, 3.0], temperature=2.0)
    >>> y
    array([0.18632372, 0.30719589, 0.50648039])
    >>> pullback([1.0, 0.0, 0.0])
    array([ 0.0758036 , -0.02861894, -0.04718466])
    """
    value, pullback, _ = _rule_of(function)(x, *args, **options)
    return value, pullback


def jacobian(function: Function) -> Callable[..., Any]:
    """The function that returns all derivatives of a slice's results by its entries.

    Parameters
    ----------
    function : callable
        As in `vjp`.

    Returns
    -------
    callable
        Takes what `function` takes and returns the derivatives: first the axes of x that `function` leaves alone (its
        batch), then the slice's entries of the result (i), then those of x (j). So J[..., i, j] = dy_i/dx_j, n by n
        numbers a slice, for softmax and all that give a slice; J[..., j] for logsumexp, whose result is one number a
        slice, and for a loss with reduction "none"; and x's shape for the elementwise sigmoid and log_sigmoid, and for
        a loss reduced to one number. Several axes count as one, in C order.

    Raises
    ------
    TypeError
        For a function that has no rule.

    Notes
    -----
    Values as of `vjp`, for each unit vector: p (1 - p) on softmax's diagonal is p times the sum of the others.

    Examples
    --------
    >>> from softmax import log_sigmoid, logsumexp, softmax
    >>> jacobian(softmax)([20.0, 0.0])
    array([[ 2.06115361e-09, -2.06115361e-09],
           [-2.06115361e-09,  2.06115361e-09]])
    >>> jacobian(softmax)(np.zeros((5, 3, 4)), axis=1).shape
    (5, 4, 3, 3)
    >>> jacobian(logsumexp)(np.zeros((5, 3, 4)), axis=1).shape
    (5, 4, 3)
    >>> jacobian(log_sigmoid)([0.0, 0.0])
    array([0.5, 0.5])
    """
    rule = _rule_of(function)

    def jacobian_of(x: ArrayLike, *args: Any, **options: Any) -> Any:
        return rule(x, *args, **options).jacobian()

    return jacobian_of


def _rule_of(function: Function) -> Rule:
    try:
        return _RULES[function]
    except (KeyError, TypeError):
        known = ", ".join(rule.__name__ for rule in _RULES)
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"function must have a gradient ({known}), got {name}") from None


def rule_of(function: Function) -> Callable[[Rule], Rule]:
    """Decorates the rule of `function` for `vjp` and `jacobian`."""

    def enter(rule: Rule) -> Rule:
        _RULES[function] = rule
        return rule

    return enter


def value_and_grad_of(function: Function) -> Callable[[ValueAndGrad], ValueAndGrad]:
    """Decorates the rule that computes (value, gradient) of `function` in one pass."""

    def enter(rule: ValueAndGrad) -> ValueAndGrad:
        _VALUE_AND_GRAD[function] = rule
        return rule

    return enter


def value_and_grad(function: Function) -> ValueAndGrad:
    """The function that returns (loss, gradient by the logits), computed in one pass.

    Parameters
    ----------
    function : callable
        A loss of this package.

    Returns
    -------
    callable
        Takes what `function` takes, and ``out=`` for the gradient (the logits themselves, if they may be overwritten).
        The gradient has the logits' shape and dtype; for reduction "none" it is that of the sum. Where the target is
        the largest logit, its entry p - 1 keeps full relative precision.

    Raises
    ------
    TypeError
        For a function that has no rule.

    Examples
    --------
    >>> from softmax import cross_entropy
    >>> loss, dlogits = value_and_grad(cross_entropy)([2.0, 0.5, -1.0], 0)
    >>> print(loss)
    0.24131129665715706
    >>> dlogits
    array([-0.21440297,  0.17529039,  0.03911257])
    """
    try:
        return _VALUE_AND_GRAD[function]
    except (KeyError, TypeError):
        known = ", ".join(rule.__name__ for rule in _VALUE_AND_GRAD)
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"function must be a loss of softmax ({known}), got {name}") from None


# -------------------------------------------------------------------------------------------------------------- rules


def _of_slices(function: Function, kernel: np.ufunc, specification: Callable[..., Array], sign: int = 1) -> Rule:
    """The rule of a function from slices to slices: `kernel(y, dy, ..., temperature)`, with softmin's sign."""

    def rule(
        x: ArrayLike,
        axis: Axis = -1,
        *,
        temperature: ArrayLike = 1.0,
        where: ArrayLike | None = None,
        dtype: DTypeLike | None = None,
    ) -> Derivative:
        x, where = as_array(x, where)
        compute, result = result_dtype(x, dtype)
        axes = negative_axes(axis, x.ndim)
        y = function(x.astype(compute, copy=False), axis, temperature=temperature, where=where)
        power = (np.ones(()),) if kernel is _native.softmax_vjp else ()
        scalars = (*power, sign * as_temperature(temperature, axes))
        return _slices(kernel, specification, y, x, axes, scalars, result)

    return rule


def _slices(
    kernel: np.ufunc,
    specification: Callable[..., Array],
    y: Array,
    x: Array,
    axes: tuple[int, ...],
    scalars: tuple[Array, ...],
    result: np.dtype[Any],
) -> Derivative:
    """The derivative that `kernel(y, dy, *scalars)` says, of x along `axes`; the scalars one a slice."""
    native = y.dtype in (np.float32, np.float64)

    def of_merged(y: Array, dy: Array, *scalars: Array) -> Array:
        if native:
            return np.asarray(kernel(y, dy, *scalars))
        return specification(y, dy, *(s[..., np.newaxis] for s in scalars))

    def pullback(dy: ArrayLike) -> Array:
        dy = as_gradient(dy, y.shape, y.dtype)
        if native and len(axes) == 1:
            dx = kernel(y, dy, *scalars, axis=axes[0])
        else:
            lengths = tuple(y.shape[a] for a in axes)
            dx = split(of_merged(merge(y, axes), merge(dy, axes), *scalars), axes, lengths)
        return _like(dx, x)

    def jacobian() -> Array:
        slices = merge(y, axes)[..., np.newaxis, :]
        unit = np.eye(slices.shape[-1], dtype=y.dtype)
        return _rounded(of_merged(slices, unit, *(s[..., np.newaxis] for s in scalars)), x)

    return Derivative(rounded(y, result), pullback, jacobian)


def _entmax(x: ArrayLike, alpha: ArrayLike = 1.5, axis: Axis = -1, *, where: ArrayLike | None = None) -> Derivative:
    """softmax's rule with the weights y^(2 - alpha), which are 1 on the support of sparsemax."""
    x, where = as_array(x, where)
    compute, result = result_dtype(x, None)
    axes = negative_axes(axis, x.ndim)
    y = entmax(x.astype(compute, copy=False), alpha, axis, where=where)
    alphas = as_alpha(alpha, axes, x.shape)
    still = np.isinf(alphas)
    scalars = (np.where(still, 1, 2 - alphas), np.where(still, 0.0, 1.0))
    return _slices(_native.softmax_vjp, reference.softmax_vjp, y, x, axes, scalars, result)


def _sparsemax(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None) -> Derivative:
    return _entmax(x, 2.0, axis, where=where)


def _logsumexp(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Derivative:
    """dx = dy softmax(x); with weights, dx = dy w softmax(x) / sum(w softmax(x)), computed in float64."""
    value = logsumexp(x, axis, weights=weights, where=where, keepdims=keepdims, return_sign=return_sign)
    y = value[0] if return_sign else value
    x, where = as_array(x, where)
    axes = negative_axes(axis, x.ndim if weights is None else max(x.ndim, np.ndim(weights)))
    compute, _ = result_dtype(x, None)

    def slope() -> Array:
        if weights is None:
            return softmax(x.astype(compute, copy=False), axis, where=where)
        return _weighted_shares(x, axes, weights, where, return_sign)

    def pullback(dy: ArrayLike) -> Array:
        dx = slope()
        dy = as_gradient(dy, y.shape, dx.dtype)
        if not keepdims:
            dy = np.expand_dims(dy, axes)
        with np.errstate(all="ignore"):
            np.multiply(dx, dy, out=dx, where=True if np.isfinite(dy).all() else dx != 0)
        return _like(dx, x)

    return Derivative(value, pullback, lambda: _rounded(merge(slope(), axes), x))


def _weighted_shares(x: Array, axes: tuple[int, ...], weights: ArrayLike, where: Array | None, signed: bool) -> Array:
    """What each entry adds to sum(w e^x), as a share of the sum; NaN where that is negative, unless `signed`."""
    w = np.ma.filled(weights, 0)
    takes_part = w != 0 if where is None else (w != 0) & where
    wide = np.promote_types(result_dtype(x, None)[0], np.float64)
    x, w, takes_part = np.broadcast_arrays(x, w.astype(wide), takes_part)
    shares = softmax(x.astype(wide, copy=False), axes, where=takes_part)
    with np.errstate(all="ignore"):
        np.multiply(shares, w, out=shares, where=takes_part)
        total = shares.sum(axis=axes, keepdims=True)
        total = total if signed else np.where(total < 0, np.nan, total)
        return np.divide(shares, total, out=shares, where=shares != 0)


def _of_entries(function: Function, kernel: np.ufunc, specification: Callable[..., Array]) -> Rule:
    """The rule of an elementwise function: `kernel(x, dy)`."""

    def rule(x: ArrayLike) -> Derivative:
        value = function(x)
        x, where = as_array(x, None)
        compute, _ = result_dtype(x, None)
        wide = x.astype(compute, copy=False)
        if where is not None:
            wide = np.where(where, wide, compute.type(-np.inf))

        def pullback(dy: ArrayLike) -> Any:
            dy = as_gradient(dy, wide.shape, compute)
            native = compute in (np.float32, np.float64)
            return _rounded((kernel if native else specification)(wide, dy), x)[()]

        return Derivative(value, pullback, lambda: pullback(np.ones(x.shape)))

    return rule


def as_gradient(dy: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """dy, which must have the result's shape, in the dtype to compute in."""
    dy = np.asarray(dy)
    compute_dtype(dy.dtype, "dy")
    if dy.shape != shape:
        raise ValueError(f"dy must have the shape of the result, {shape}, got {dy.shape}")
    return np.asarray(rounded(dy, dtype))


def _like(dx: Array, x: Array) -> Array:
    """dx in x's shape, summed over what x was broadcast along, and in x's dtype."""
    if dx.shape != x.shape:
        new = dx.ndim - x.ndim
        stretched = tuple(a for a in range(dx.ndim) if a < new or x.shape[a - new] != dx.shape[a])
        dx = dx.sum(axis=stretched, keepdims=True, dtype=np.promote_types(dx.dtype, np.float64)).reshape(x.shape)
    return _rounded(dx, x)


def _rounded(dx: Any, x: Array) -> Array:
    return np.asarray(rounded(dx, result_dtype(x, None)[1]))


_RULES[softmax] = _of_slices(softmax, _native.softmax_vjp, reference.softmax_vjp)
_RULES[log_softmax] = _of_slices(log_softmax, _native.log_softmax_vjp, reference.log_softmax_vjp)
_RULES[logsumexp] = _logsumexp
_RULES[softmin] = _of_slices(softmin, _native.softmax_vjp, reference.softmax_vjp, sign=-1)
_RULES[sigmoid] = _of_entries(sigmoid, _native.sigmoid_vjp, reference.sigmoid_vjp)
_RULES[log_sigmoid] = _of_entries(log_sigmoid, _native.log_sigmoid_vjp, reference.log_sigmoid_vjp)
_RULES[sparsemax] = _sparsemax
_RULES[entmax] = _entmax
