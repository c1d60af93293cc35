"""The pair (maximum, sum) of a slice, which is all that softmax needs to know of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _native
from ._arrays import Array, as_array, negative_axes, result_dtype, rounded

__all__ = ["Partition"]


class Partition:
    """What softmax needs to know of a slice: its maximum, and the sum of ``exp(x - maximum)``.

    Two pairs combine into that of both slices together, in any order and grouping (a monoid), so a slice may come in
    pieces: from a stream, from threads, from machines.

    Parameters
    ----------
    maximum : array_like
        Largest entry of each slice; -inf for a slice with nothing in it.
    others : array_like of float64
        Sum of ``exp(x - maximum)`` over all entries but one maximum: apart, so that it does not drown in that one's 1.
    axis : int
        Where the slices lie in the arrays that `softmax` and `log_softmax` are given.
    others_low : array_like of float64
        What rounding `others` to float64 left, so that combining any number of pieces adds no error of its own.

    Raises
    ------
    ValueError
        Where the shapes of two partitions, or of one and the entries given, do not broadcast.
    TypeError
        For entries that are not real numbers or wider than float64, and for an `axis` that is not one int.

    Notes
    -----
    Error, in float32 and float64, however many pieces were combined and in whatever grouping: at most 2 ulp for
    `softmax` and `log_softmax` of entries that were seen, 1 ulp of max(abs(maximum), abs(log(sum)), abs(result)) for
    `logsumexp`. Where `others` itself is below 1e-300, each piece may add a subnormal step.

    Examples
    --------
    >>> z = Partition.of([1.0, 2.0]).update([3.0])
    >>> z.softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    >>> print(z.logsumexp)
    3.40760596444438
    """

    __slots__ = ("axis", "maximum", "others", "others_low")

    def __init__(self, maximum: ArrayLike, others: ArrayLike, axis: int = -1, *, others_low: ArrayLike = 0.0) -> None:
        self.maximum = np.asarray(maximum)
        self.others = np.asarray(others, np.float64)
        self.others_low = np.broadcast_to(np.asarray(others_low, np.float64), self.others.shape)
        self.axis = axis

    @classmethod
    def of(cls, x: ArrayLike, axis: int = -1, *, where: ArrayLike | None = None) -> Partition:
        """The pair of each slice of x along `axis`, without what `where` or a mask leaves out.

        Shapes of `maximum` and `others`: x's without `axis`. `maximum` is float32 for entries of that and narrower
        floating dtypes, else float64.
        """
        x, where = as_array(x, where)
        compute = _compute_dtype(x)
        axes = negative_axes(axis, x.ndim)
        if len(axes) != 1:
            raise TypeError(f"axis must be one int for a Partition, got {axis!r}")
        x = x.astype(compute, copy=False)
        if where is None:
            maximum, others, low = _native.partition(x, axes=[axes, (), (), ()])
        else:
            maximum, others, low = _native.partition_where(x, where, axes=[axes, axes, (), (), ()])
        return cls(maximum, others, axis, others_low=low)

    @classmethod
    def empty(cls, shape: tuple[int, ...] = (), dtype: DTypeLike = np.float64, axis: int = -1) -> Partition:
        """The neutral element: `shape` slices with nothing in them."""
        return cls(np.full(shape, -np.inf, _compute_dtype(np.empty(0, dtype))), np.zeros(shape), axis)

    @property
    def sum(self) -> Array:
        """Sum of ``exp(x - maximum)``, float64; 0 for a slice with nothing in it."""
        return np.asarray(np.where(self.maximum == -np.inf, 0.0, 1 + self.others))

    @property
    def logsumexp(self) -> Any:
        """Logarithm of the sum of exponentials of everything seen, in the entries' dtype."""
        return _native.partition_logsumexp(*self._operands)

    def update(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Partition:
        """The pair of what was seen and x together."""
        return self | Partition.of(x, self.axis, where=where)

    def __or__(self, other: Partition) -> Partition:
        if not isinstance(other, Partition):
            return NotImplemented
        try:
            maximum, others, low = _native.partition_merge(*self._operands, *other._operands)
        except ValueError:
            mine, theirs = self.maximum.shape, other.maximum.shape
            raise ValueError(f"partitions must have shapes that broadcast, got {mine} and {theirs}") from None
        return Partition(maximum, others, self.axis, others_low=low)

    def softmax(self, x: ArrayLike) -> Array:
        """Probabilities of entries x among everything seen, ``exp(x - logsumexp)``: shape of x, slices along `axis`.

        An entry above the maximum, which cannot have been seen, gives what this says: more than 1, inf where nothing
        was seen. A masked array's masked entries give 0.
        """
        return self._apply(_native.partition_softmax, x)

    def log_softmax(self, x: ArrayLike) -> Array:
        """Log-probabilities of entries x among everything seen, ``x - logsumexp``: shape of x, slices along `axis`."""
        return self._apply(_native.partition_log_softmax, x)

    @property
    def _operands(self) -> tuple[Array, Array, Array]:
        return self.maximum, self.others, self.others_low

    def _apply(self, kernel: np.ufunc, x: ArrayLike) -> Array:
        x, mask = as_array(x, None)
        compute = np.promote_types(_compute_dtype(x), self.maximum.dtype)
        _, result = result_dtype(x, None)
        if mask is not None:
            x = np.where(mask, x, -np.inf)
        try:
            y = kernel(x.astype(compute, copy=False), *self._operands, axis=self.axis)
        except ValueError:
            fits = f"broadcast against the partition's slices, shape {self.maximum.shape}, along axis {self.axis}"
            raise ValueError(f"x must {fits}, got shape {x.shape}") from None
        return np.asarray(rounded(np.asarray(y), result))

    def __repr__(self) -> str:
        return f"Partition(maximum={self.maximum!r}, others={self.others!r}, axis={self.axis})"


def _compute_dtype(x: Array) -> np.dtype[Any]:
    compute, _ = result_dtype(x, None)
    if compute not in (np.float32, np.float64):
        raise TypeError(f"x must be float64 or narrower for a Partition, got dtype {x.dtype}")
    return compute
