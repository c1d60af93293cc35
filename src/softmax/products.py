"""Matrix products of rows that are dense (NumPy's products) or sparse (native ones)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import DTypeLike, NDArray

from . import _native

__all__ = ["Sparse", "affine", "moments", "transposed_product"]

Array = NDArray[Any]


class Sparse:
    """A sparse matrix, float32 or float64, that keeps its entries sorted by rows and, once asked for, by columns too.

    Every row of a product is one sum in the order of the entries: the same bits whatever the number of threads.
    """

    def __init__(self, matrix: Any) -> None:
        self.rows = scipy.sparse.csr_array(matrix)
        self.shape, self.dtype = self.rows.shape, self.rows.dtype

    def __getitem__(self, index: Any) -> Sparse:
        return Sparse(self.rows[index])

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Sparse:
        """As NumPy's and SciPy's method of that name."""
        return Sparse(self.rows.astype(dtype, copy=copy))

    @cached_property
    def by_rows(self) -> tuple[Array, Array, Array, Array]:
        return _entries(self.rows)

    @cached_property
    def by_columns(self) -> tuple[Array, Array, Array, Array]:
        return _entries(self.rows.tocsc())


def _entries(matrix: Any) -> tuple[Array, Array, Array, Array]:
    """First and last position of each row (or column) in the arrays of indices and values, and these."""
    starts = matrix.indptr.astype(np.int64, copy=False)
    return starts[:-1], starts[1:], matrix.indices.astype(np.int32, copy=False), matrix.data


def affine(X: Array | Sparse, coef: Array, intercept: Array, out: Array | None = None) -> Array:
    """X @ coef + intercept."""
    if isinstance(X, Sparse):
        *where, values = X.by_rows
        dtype = np.result_type(values, coef, intercept)
        values, coef, intercept = (array.astype(dtype, copy=False) for array in (values, coef, intercept))
        return np.asarray(_native.sparse_product(*where, values, coef, intercept, out=out))
    out = np.matmul(X, coef, out=out)
    out += intercept
    return out


def transposed_product(X: Array | Sparse, error: Array, out: Array | None = None) -> Array:
    """X.T @ error."""
    if isinstance(X, Sparse):
        none = np.zeros(error.shape[1], error.dtype)
        return np.asarray(_native.sparse_product(*X.by_columns, error, none, out=out))
    return np.matmul(X.T, error, out=out)


def moments(X: Array | Sparse, shift: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted column sums of X - shift and of its square, (n_features, n_weights) each; sparse rows stay put."""
    if isinstance(X, Sparse):
        *where, values = X.by_columns
        none = np.zeros(weights.shape[1], X.dtype)
        first, second = (_native.sparse_product(*where, v, weights, none) for v in (values, values * values))
        return first, second
    centred = X - shift.astype(X.dtype)
    first = centred.T @ weights
    centred *= centred
    return first, centred.T @ weights
