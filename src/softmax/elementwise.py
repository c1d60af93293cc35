"""Functions of every entry by itself: sigmoid, which is softmax beside a score of 0, and its logarithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, check_out, kernel_view, result_dtype

__all__ = ["log_sigmoid", "sigmoid"]


def sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """``1 / (1 + exp(-x))``, elementwise: the probability of the first of two classes with logits x and 0.

    Parameters
    ----------
    x : array_like of real numbers
        Any shape. bool and integers are converted to float64; float16 and bfloat16 are computed in float32; a masked
        array's masked entries count as -inf.
    out : ndarray, optional
        Where to put the result; may be x itself.

    Returns
    -------
    ndarray or scalar
        Shape of x, in [0, 1]: 0 for -inf, 1 for +inf, NaN for NaN.

    Raises
    ------
    TypeError
        For dtypes that are not real numbers.
    ValueError
        For an `out` that does not fit.

    Notes
    -----
    Error: at most 2 ulp in float32 and float64, one subnormal step below the normal range. Memory: none beside the
    result, whatever the dtypes.

    Examples
    --------
    >>> print(sigmoid(0.0))
    0.5
    >>> sigmoid([-1000.0, -2.0, 2.0])
    array([0.        , 0.11920292, 0.88079708])
    >>> from softmax import softmax
    >>> sigmoid([1.5]), softmax([1.5, 0.0])
    (array([0.81757448]), array([0.81757448, 0.18242552]))
    """
    return _apply(_native.sigmoid, reference.sigmoid, x, out)


def log_sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """Logarithm of `sigmoid`, computed without leaving the logarithm: ``-log1p(exp(-x))``; parameters as there.

    Returns
    -------
    ndarray or scalar
        Shape of x, entries <= 0: -inf for -inf, 0 for +inf, NaN for NaN.

    Notes
    -----
    Error: at most 2 ulp in float32 and float64, also where the result is close to 0.

    Examples
    --------
    >>> print(log_sigmoid(50.0))
    -1.9287498479639178e-22
    >>> log_sigmoid([-1000.0, 0.0])
    array([-1.00000000e+03, -6.93147181e-01])
    """
    return _apply(_native.log_sigmoid, reference.log_sigmoid, x, out)


def _apply(kernel: np.ufunc, specification: Callable[[Any], Any], x: ArrayLike, out: Array | None) -> Any:
    """An elementwise kernel; NumPy converts other dtypes and byte orders on the way, by blocks."""
    x, where = as_array(x, None)
    compute, result = result_dtype(x, None)
    if out is None:
        y = np.empty_like(x, result, subok=False)
    else:
        check_out(out, x.shape)
        y = out
    with np.errstate(all="ignore"):
        if compute == np.longdouble and compute != np.float64:
            y[...] = specification(x)
        else:
            narrow = x.dtype == y.dtype and x.dtype.itemsize == 2  # 16 bits the kernels widen and round themselves
            own = kernel_view(y).dtype if narrow else compute
            kernel(
                kernel_view(x) if narrow else x,
                out=kernel_view(y) if narrow else y,
                signature=(own, own),
                casting="unsafe",
            )
    if where is not None:
        np.copyto(y, specification(-np.inf), where=~where, casting="unsafe")
    return y if out is not None or y.ndim else y[()]
