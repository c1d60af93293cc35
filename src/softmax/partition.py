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

    Notes
    -----
    Error: in float32 that of `softmax`, `log_softmax` and `logsumexp`. In float64, 1 ulp more for one piece, since
    `others` is rounded; every combination of two rounds it again, by 2 ulp at most.

    Examples
    --------
    >>> z = Partition.of([1.0, 2.0]).update([3.0])
    >>> z.softmax([1.0, 2.0, 3.0])
    array([0.09003057, 0.24472847, 0.66524096])
    >>> print(z.logsumexp)
    3.40760596444438
    """

    __slots__ = ("axis", "maximum", "others")

    def __init__(self, maximum: ArrayLike, others: ArrayLike, axis: int = -1) -> None:
        self.maximum = np.asarray(maximum)
        self.others = np.asarray(others, np.float64)
        self.axis = axis

    @classmethod
    def of(cls, x: ArrayLike, axis: int = -1, *, where: ArrayLike | None = None) -> Partition:
        """The pair of each slice of x along `axis`; shapes of `maximum` and `others`: x's without `axis`."""
        x, where = as_array(x, where)
        compute, _ = result_dtype(x, None)
        if compute not in (np.float32, np.float64):
            raise TypeError(f"x must be float64 or narrower for a Partition, got dtype {x.dtype}")
        axes = negative_axes(axis, x.ndim)
        if len(axes) != 1:
            raise TypeError(f"axis must be one int for a Partition, got {axis!r}")
        x = x.astype(compute, copy=False)
        if where is None:
            maximum, others = _native.partition(x, axes=[axes, (), ()])
        else:
            maximum, others = _native.partition_where(x, where, axes=[axes, axes, (), ()])
        return cls(maximum, others, axis)

    @classmethod
    def empty(cls, shape: tuple[int, ...] = (), dtype: DTypeLike = np.float64, axis: int = -1) -> Partition:
        """The neutral element: `shape` slices with nothing in them."""
        return cls(np.full(shape, -np.inf, dtype), np.zeros(shape), axis)

    @property
    def sum(self) -> Array:
        """Sum of ``exp(x - maximum)``, float64; 0 for a slice with nothing in it."""
        return np.asarray(np.where(self.maximum == -np.inf, 0.0, 1 + self.others))

    @property
    def logsumexp(self) -> Any:
        """Logarithm of the sum of exponentials of everything seen, in the entries' dtype."""
        with np.errstate(all="ignore"):
            return (self.maximum + np.log1p(self.others)).astype(self.maximum.dtype)[()]

    def update(self, x: ArrayLike, *, where: ArrayLike | None = None) -> Partition:
        """The pair of what was seen and x together."""
        return self | Partition.of(x, self.axis, where=where)

    def __or__(self, other: Partition) -> Partition:
        if not isinstance(other, Partition):
            return NotImplemented
        top = np.maximum(self.maximum, other.maximum)
        mine, theirs = self._relative_to(top), other._relative_to(top)
        both = (self.maximum == top) & (other.maximum == top) & (top > -np.inf)
        return Partition(top, mine + theirs + both, self.axis)

    def _relative_to(self, top: Array) -> Array:
        """This part's share of `others` under the common maximum `top`."""
        mine, common = self.maximum.astype(np.float64), top.astype(np.float64)
        with np.errstate(all="ignore"):
            distance = mine - common
            back = distance + common
            dropped = (mine - back) - (common - (back - distance))  # what rounding the distance left
            scale = np.exp(distance)
            scale = np.where(scale > 0, scale + scale * dropped, 0.0)
            return np.asarray(np.where(self.maximum == top, self.others, (1 + self.others) * scale))

    def softmax(self, x: ArrayLike) -> Array:
        """Probabilities of entries x among everything seen: shape of x, along `axis`. Error: 2 ulp; float64: 3."""
        return self._apply(_native.partition_softmax, x)

    def log_softmax(self, x: ArrayLike) -> Array:
        """Log-probabilities of entries x among everything seen: shape of x, slices along `axis`. Error: 2 ulp."""
        return self._apply(_native.partition_log_softmax, x)

    def _apply(self, kernel: np.ufunc, x: ArrayLike) -> Array:
        x = np.asarray(x)
        compute, result = result_dtype(x, None)
        compute = np.promote_types(compute, self.maximum.dtype)
        y = kernel(x.astype(compute, copy=False), self.maximum.astype(compute), self.others, axis=self.axis)
        return np.asarray(rounded(np.asarray(y), result))

    def __repr__(self) -> str:
        return f"Partition(maximum={self.maximum!r}, others={self.others!r}, axis={self.axis})"
