"""Sparse relatives of softmax: probabilities of which most are exactly 0.

Error bounds are against the exact value for the input as given, in units in the last place (ulp) of the result's dtype.
float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import (
    Array,
    Axis,
    as_array,
    kernel_dtype,
    kernel_view,
    merge,
    negative_axes,
    one_a_slice,
    result_dtype,
    rounded,
    split,
)

__all__ = ["entmax", "sparsemax"]


def sparsemax(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None) -> Array:
    """The point of the probability simplex that is nearest to x: ``maximum(x - threshold, 0)``, which sums to 1.

    Entries further below the maximum than 1 get exactly 0; differences between the others are kept as they are.

    Parameters
    ----------
    x : array_like of real numbers
        Scores, any shape. bool and integers are converted to float64; float16 and bfloat16 are computed in float32; a
        masked array's mask counts as `where`.
    axis : int, tuple of ints or None
        The axis or axes that sum to 1; None for all elements.
    where : array_like of bool, optional
        What takes part; broadcasts to x's shape. An entry left out gets exactly 0, whatever it holds.

    Returns
    -------
    ndarray
        Shape of x, floating point, each slice summing to 1. A slice with nothing left (all -inf or masked) is all 0; k
        entries +inf share 1/k each; a NaN makes its own slice NaN.

    Raises
    ------
    TypeError
        For dtypes that are not real numbers.
    ValueError
        For a `where` that does not broadcast to x.

    Notes
    -----
    Error: at most 1 ulp of each entry in float32 and float64. Source: Martins & Astudillo, "From softmax to sparsemax",
    ICML 2016, arXiv:1602.02068.

    Examples
    --------
    >>> sparsemax([0.75, 0.5, -1.5])
    array([0.625, 0.375, 0.   ])
    >>> sparsemax([[3.0, 1.0], [1.0, 1.0]])
    array([[1. , 0. ],
           [0.5, 0.5]])
    """
    return entmax(x, 2.0, axis, where=where)


def entmax(x: ArrayLike, alpha: ArrayLike = 1.5, axis: Axis = -1, *, where: ArrayLike | None = None) -> Array:
    """``maximum((alpha - 1) * x - threshold, 0) ** (1 / (alpha - 1))``, which sums to 1: between softmax and sparsemax.

    It maximizes ``sum(p * x) + H(p)``, H the entropy of Tsallis of order alpha. Entries further below the maximum than
    ``1 / (alpha - 1)`` get exactly 0.

    Parameters
    ----------
    x : array_like of real numbers
        Scores, any shape; as for `sparsemax`.
    alpha : float or array_like
        At least 1: 1 is `softmax`, 2 is `sparsemax`, and the larger it is the fewer entries are left; inf gives the
        maxima equal shares. A scalar, or an array that broadcasts against x with length 1 along `axis` (one a slice).
    axis : int, tuple of ints or None
        The axis or axes that sum to 1; None for all elements.
    where : array_like of bool, optional
        What takes part; broadcasts to x's shape. An entry left out gets exactly 0, whatever it holds.

    Returns
    -------
    ndarray
        Shape of x (broadcast against `alpha`), floating point, each slice summing to 1. A slice with nothing left (all
        -inf or masked) is all 0; k entries +inf share 1/k each; a NaN makes its own slice NaN.

    Raises
    ------
    TypeError
        For dtypes that are not real numbers.
    ValueError
        For an alpha below 1 or NaN, or shapes that do not fit.

    Notes
    -----
    Error: as `softmax` for alpha 1, at most 1 ulp of each entry for alpha 1.5 and 2; for any other, 8 ulp of 1 (tested,
    not proven). Source: Peters, Niculae & Martins,
    "Sparse sequence-to-sequence models", ACL 2019, doi:10.18653/v1/P19-1146.

    Examples
    --------
    >>> entmax([1.0, 0.0, -1.5])
    array([0.83071891, 0.16928109, 0.        ])
    >>> entmax([[1.0, 0.0], [1.0, 0.0]], alpha=[[1.0], [2.0]])
    array([[0.73105858, 0.26894142],
           [1.        , 0.        ]])
    """
    x, where = as_array(x, where)
    compute, result = result_dtype(x, None)
    axes = negative_axes(axis, x.ndim)
    alphas = as_alpha(alpha, axes, x.shape)
    single = len(axes) == 1
    lengths = tuple(x.shape[a] for a in axes)
    compute = kernel_dtype(x.dtype, compute, result)
    x = x.astype(compute, copy=False)
    if compute.itemsize > 8:  # slices made contiguous: NumPy's sums depend on the order in memory
        kept = None if where is None else merge(where, axes)
        y = reference.entmax(np.ascontiguousarray(merge(x, axes)), alphas[..., np.newaxis], where=kept)
        return np.asarray(rounded(split(y, axes, lengths), result))
    operands = tuple(a if single else merge(a, axes) for a in (x, where) if a is not None)
    kernel = _native.entmax if where is None else _native.entmax_where
    y = kernel(kernel_view(operands[0]), alphas, *operands[1:], axis=axes[0] if single else -1).view(compute)
    return np.asarray(rounded(y if single else split(y, axes, lengths), result))


def as_alpha(alpha: ArrayLike, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Alpha as float64 without the axes of the slice, along which its length must be 1."""
    alphas = one_a_slice(alpha, "alpha", 1, axes)
    try:
        np.broadcast_shapes(shape, np.shape(alpha))
    except ValueError:
        raise ValueError(f"alpha must broadcast against x, shape {shape}, got shape {np.shape(alpha)}") from None
    return alphas
