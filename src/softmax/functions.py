"""The softmax family: scores to probabilities, their logarithms and their normalizer.

Error bounds are against the exact value for the input as given, in units in the last place (ulp) of the result's
dtype (below the normal range: in subnormal steps): 2 ulp for softmax and log_softmax at any temperature; 1 ulp of
max(abs(maximum), abs(log(sum)), abs(result)) for logsumexp. float16 and bfloat16 are computed in float32 and rounded
once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _native, reference
from ._arrays import Array, Axis, along_axis, as_array, check_out, merge, negative_axes, result_dtype, rounded

__all__ = ["log_softmax", "logsumexp", "sigmoid", "softmax"]


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
    Error: at most 2 ulp in float32 and float64, whatever the scores and the temperature. Source of the function and its
    error analysis: Blanchard, Higham & Higham, IMA J. Numer. Anal. 41 (2021), doi:10.1093/imanum/draa038.

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
    return along_axis(
        _native.log_softmax, _native.log_softmax_where, reference.log_softmax, x, axis, temperature, where, dtype, out
    )


def logsumexp(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` along `axis`, without overflow or loss.

    Parameters
    ----------
    x : array_like of real numbers
        Any shape.
    axis : int, tuple of ints or None
        What to sum over; None for all elements.
    where : array_like of bool, optional
        What takes part; broadcasts to x's shape.
    keepdims : bool
        Leave the axes that were summed over in the result, with length 1.

    Returns
    -------
    ndarray or scalar
        Shape of x without `axis`. -inf where nothing is left, +inf where an entry is +inf, NaN where one is NaN.

    Notes
    -----
    Error: at most 1 ulp of the largest of abs(max(x)), abs(log(sum(exp(x - max(x))))) and abs(result).

    Examples
    --------
    >>> print(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    >>> logsumexp([[0.0, 0.0], [1.0, 1.0]], axis=-1, keepdims=True)
    array([[0.69314718],
           [1.69314718]])
    """
    x, where = as_array(x, where)
    compute, result = result_dtype(x, None)
    axes = negative_axes(axis, x.ndim)
    slices, keep = merge(x.astype(compute, copy=False), axes), where if where is None else merge(where, axes)
    if compute == np.longdouble and compute != np.float64:  # contiguous: NumPy's sums depend on the order in memory
        y: Any = reference.logsumexp(np.ascontiguousarray(slices), where=keep)
    else:
        y = _native.logsumexp(slices) if keep is None else _native.logsumexp_where(slices, keep)
    y = rounded(y, result)
    return np.expand_dims(y, axes) if keepdims else y[()]


def sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """``1 / (1 + exp(-x))``, elementwise: the probability of the first of two classes with logits x and 0.

    Parameters
    ----------
    x : array_like of real numbers
        Any shape.
    out : ndarray, optional
        Where to put the result; may be x itself.

    Returns
    -------
    ndarray or scalar
        Shape of x, in [0, 1]. Error: at most 2 ulp in float32 and float64.

    Examples
    --------
    >>> print(sigmoid(0.0))
    0.5
    >>> bool(sigmoid(1.5) == softmax([1.5, 0.0])[0])
    True
    """
    x = np.asarray(x)
    compute, result = result_dtype(x, None)
    x = x.astype(compute, copy=False)
    y = softmax(np.stack([x, np.zeros_like(x)], axis=-1))[..., 0]
    if out is None:
        return rounded(y, result)[()]
    check_out(out, x.shape)
    out[...] = rounded(y, out.dtype)
    return out
