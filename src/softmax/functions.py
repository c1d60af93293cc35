"""The softmax family: scores to probabilities, their logarithms and their normalizer.

Error bounds are against the exact value for the input as given, in units in the last place (ulp) of the result's
dtype (below the normal range: in subnormal steps): 2 ulp for softmax and log_softmax at any temperature; 1 ulp of
max(abs(maximum), abs(log(sum)), abs(result)) for logsumexp. float16 and bfloat16 are computed in float32 and rounded
once; softmax is then within 0.51 ulp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _native, reference
from ._arrays import (
    Array,
    Axis,
    along_axis,
    as_array,
    compute_dtype,
    kernel_dtype,
    kernel_view,
    merge,
    negative_axes,
    result_dtype,
    rounded,
    split,
)

__all__ = ["hardmax", "log_softmax", "logsumexp", "softmax", "softmin"]


def softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Turn scores into probabilities: ``exp(x / temperature)`` divided by its sum along `axis`.

    Parameters
    ----------
    x : array_like of real numbers
        Scores (logits), any shape. bool and integers are converted to float64; float16 and bfloat16 are computed in
        float32; a masked array's mask counts as `where`.
    axis : int, tuple of ints or None
        The axis or axes that sum to 1; None for all elements.
    temperature : float or array_like
        Divides x: below 1 sharpens, above 1 flattens. A scalar, or an array that broadcasts against x with length 1
        along `axis` (one temperature a row). 0 gives the maxima equal shares; inf gives all that is left equal shares.
    where : array_like of bool, optional
        What takes part; broadcasts to x's shape. An entry left out gets exactly 0, whatever it holds.
    dtype : dtype, optional
        Of the result. The computation runs in the wider of x's dtype and this one.
    out : ndarray, optional
        Where to put the result; may be x itself.

    Returns
    -------
    ndarray
        Shape of x (broadcast against `temperature`), floating point, each slice summing to 1. A slice with nothing left
        (all -inf or masked) is all 0; k entries +inf share 1/k each; a NaN makes its own slice NaN.

    Raises
    ------
    TypeError
        For dtypes that are not real numbers.
    ValueError
        For a temperature below 0 or NaN, or shapes that do not fit.

    Notes
    -----
    Error: at most 2 ulp in float32 and float64, 0.51 in float16 and bfloat16, whatever the scores and the temperature.
    Source of the function and its error analysis: Blanchard, Higham & Higham, IMA J. Numer. Anal. 41 (2021),
    doi:10.1093/imanum/draa038.

    Examples
    --------
    >>> softmax([0.7, 1.5, 4.8])
    array([0.01573172, 0.03501159, 0.94925668])
    >>> softmax([[1.0, 2.0], [30.0, 30.0]], temperature=[[0.5], [1.0]])
    array([[0.11920292, 0.88079708],
           [0.5       , 0.5       ]])
    >>> softmax([1.0, 2.0, float("nan")], where=[True, True, False])
    array([0.26894142, 0.73105858, 0.        ])
    """
    if where is None and dtype is None:
        y = _native.quick_softmax(x, axis, temperature, out)
        if y is not None:
            return y
    return along_axis(
        _native.softmax, _native.softmax_where, reference.softmax, x, axis, temperature, where, dtype, out
    )


def log_softmax(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """Logarithm of `softmax`, computed without leaving the logarithm; parameters as there.

    Returns
    -------
    ndarray
        Shape of x, entries <= 0. A slice with nothing left is all -inf; k entries +inf get -log(k); a NaN makes its own
        slice NaN.

    Notes
    -----
    Error: at most 2 ulp in float32 and float64, also where the result is close to 0.

    Examples
    --------
    >>> log_softmax([1.0, 2.0, 3.0])
    array([-2.40760596, -1.40760596, -0.40760596])
    >>> log_softmax([20.0, 0.0], dtype="float32")
    array([-2.0611537e-09, -2.0000000e+01], dtype=float32)
    """
    if where is None and dtype is None:
        y = _native.quick_log_softmax(x, axis, temperature, out)
        if y is not None:
            return y
    return along_axis(
        _native.log_softmax, _native.log_softmax_where, reference.log_softmax, x, axis, temperature, where, dtype, out
    )


def softmin(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
) -> Array:
    """`softmax` of -x: the smallest entries get the largest shares; parameters as there.

    Returns
    -------
    ndarray
        Shape of x, each slice summing to 1. A slice with nothing left (all +inf or masked) is all 0; k entries -inf
        share 1/k each; a NaN makes its own slice NaN.

    Notes
    -----
    Error: at most 2 ulp in float32 and float64. Integers are converted to float64 before their sign changes, so that no
    unsigned number and no smallest integer wraps around. Memory: -x is held in the result itself; with `out`, `dtype`
    or an array of temperatures it takes an array of its own.

    Examples
    --------
    >>> softmin([0.7, 1.5, 4.8])
    array([0.68217401, 0.30652054, 0.01130545])
    >>> softmin(np.array([-128, 127], np.int8), temperature=100)
    array([0.92757351, 0.07242649])
    """
    x, where = as_array(x, where)
    negated = np.asarray(np.negative(x, dtype=result_dtype(x, None)[1]))
    if out is None and dtype is None and np.ndim(temperature) == 0 and negated.ndim > 0:
        out = negated
    return softmax(negated, axis, temperature=temperature, where=where, dtype=dtype, out=out)


def hardmax(x: ArrayLike, axis: Axis = -1) -> Array:
    """1 at the first maximum along `axis` and 0 elsewhere: what `softmax` tends to as the temperature falls to 0.

    Parameters
    ----------
    x : array_like of real numbers
        Any shape; a masked array's masked entries take no part.
    axis : int, tuple of ints or None
        The axis or axes that hold a single 1; None for all elements.

    Returns
    -------
    ndarray
        Shape of x, x's floating-point dtype, float64 for bool and integers. A slice with nothing left (all -inf or
        masked) is all 0; a NaN makes its own slice NaN. Where several entries are largest, the first in C order wins.

    Notes
    -----
    The operator Hardmax of ONNX: https://onnx.ai/onnx/operators/onnx__Hardmax.html. `softmax` with temperature 0 shares
    the 1 among all maxima instead.

    Examples
    --------
    >>> hardmax([[1.0, 3.0, 3.0], [5.0, 2.0, 4.0]])
    array([[0., 1., 0.],
           [1., 0., 0.]])
    """
    x, where = as_array(x, None)
    _, result = result_dtype(x, None)
    axes = negative_axes(axis, x.ndim)
    slices = merge(x, axes)
    if where is not None:
        slices = np.where(merge(where, axes), slices, result.type(-np.inf))
    y = np.zeros(slices.shape, result)
    if y.size:
        first = slices.argmax(axis=-1, keepdims=True)  # of a slice with a NaN: the first NaN
        top = np.take_along_axis(slices, first, axis=-1).astype(result, copy=False)
        np.put_along_axis(y, first, top > -np.inf, axis=-1)
        np.copyto(y, top, where=np.isnan(top))
    hot: Array = split(y, axes, tuple(x.shape[a] for a in axes))[()]  # a scalar where there are no axes
    return hot


def logsumexp(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """``log(sum(weights * exp(x)))`` along `axis`, without overflow or loss.

    Parameters
    ----------
    x : array_like of real numbers
        Any shape.
    axis : int, tuple of ints or None
        What to sum over; None for all elements.
    weights : array_like of real numbers, optional
        Factor of each exponential, of any sign; broadcasts against x. An entry of weight 0 contributes nothing,
        whatever it holds.
    where : array_like of bool, optional
        What takes part; broadcasts to x's shape.
    keepdims : bool
        Leave the axes that were summed over in the result, with length 1.
    return_sign : bool
        Return the logarithm of the sum's magnitude and the sum's sign.

    Returns
    -------
    ndarray or scalar
        Shape of x (broadcast against `weights`) without `axis`, x's floating-point dtype. -inf where nothing is left or
        the sum is 0, +inf where an entry is +inf, NaN where one is NaN, and, unless `return_sign`, where the sum is
        negative.
    sign : ndarray or scalar, if `return_sign`
        1, 0, -1 or NaN, shape and dtype of the logarithm.

    Raises
    ------
    TypeError
        For dtypes that are not real numbers.
    ValueError
        For shapes that do not fit.

    Notes
    -----
    Error: at most 1 ulp of the largest of abs(m), abs(log(sum(weights * exp(x - m)))) and abs(result), where m is
    max(x), with weights max(x + log(abs(weights))). Where terms of different sign cancel, the sum has in addition a
    relative error of up to ``2**-55 * sum(abs(weights) * exp(x)) / abs(sum)``; equal entries cancel exactly.

    Examples
    --------
    >>> print(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> logsumexp([[0.0, 0.0], [1.0, 1.0]], axis=-1, keepdims=True)
    array([[0.69314718],
           [1.69314718]])
    >>> magnitude, sign = logsumexp([1.0, 2.0], weights=[1.0, -1.0], return_sign=True)
    >>> print(magnitude.round(6), sign)
    1.541325 -1.0
    """
    if weights is None and where is None and not return_sign and isinstance(axis, int):
        y = _native.quick_logsumexp(x, axis)
        if y is not None:
            return np.expand_dims(y, axis) if keepdims else y
    x, where = as_array(x, where)
    compute, result = result_dtype(x, None)
    if weights is None:
        compute = kernel_dtype(x.dtype, compute, result)
    x = x.astype(compute, copy=False)
    if weights is not None:
        x, weights, where = _broadcast(x, weights, where)
    axes = negative_axes(axis, x.ndim)
    slices, weights, where = (a if a is None else merge(a, axes) for a in (x, weights, where))
    sign = None
    if compute == np.longdouble and compute != np.float64:
        y, sign = reference.logsumexp(np.ascontiguousarray(slices), weights=weights, where=where, return_sign=True)
    elif weights is not None:
        y, sign = _native.logsumexp_signed(slices, weights, where)
    else:
        assert slices is not None
        operands = (kernel_view(slices),) if where is None else (kernel_view(slices), where)
        kernel = _native.logsumexp if where is None else _native.logsumexp_where
        y = kernel(*operands).view(compute)
    if return_sign and sign is None:
        sign = np.where(np.isnan(y), y, y > -np.inf)[()]
    elif sign is not None and not return_sign:
        y = np.where(sign < 0, np.nan, y)[()]
    results = [rounded(part, result) for part in (y, sign)[: 1 + return_sign]]
    if keepdims:
        results = [np.expand_dims(part, axes) for part in results]
    return tuple(results) if return_sign else results[0]


def _broadcast(x: Array, weights: ArrayLike, where: Array | None) -> tuple[Array, Array, Array]:
    """x, weights and where, of one shape; the masked entries of masked weights have weight 0."""
    w = np.ma.filled(weights, 0)
    compute_dtype(w.dtype, "weights")
    try:
        shape = np.broadcast_shapes(x.shape, w.shape)
    except ValueError:
        raise ValueError(f"weights must broadcast against x, shape {x.shape}, got shape {w.shape}") from None
    w = w.astype(np.promote_types(x.dtype, np.float64), copy=False)
    mask = np.asarray(True) if where is None else where
    return np.broadcast_to(x, shape), np.broadcast_to(w, shape), np.broadcast_to(mask, shape)
