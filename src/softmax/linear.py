"""Cross-entropy of a linear layer's scores, which never are in memory together."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _native
from ._arrays import Array, as_array, compute_dtype, result_dtype, rounded
from ._targets import Options, as_options, check_options, divisor, targets_and_weights
from .gradients import Derivative, as_gradient, rule_of, value_and_grad_of
from .losses import rows_losses

__all__ = ["LinearGradient", "linear_cross_entropy"]

_TILE = 48 << 20  # bytes of logits
# Of NumPy's products:
_CLASSES = 4096  # rows of one: OpenBLAS copies up to 384 of its left side's columns, 6 MB
_PART = 4 << 20  # bytes of one that is added while the caches hold it


class LinearGradient(NamedTuple):
    """The gradients of `linear_cross_entropy`, of the shapes of what they belong to; bias None where there is none."""

    features: Array
    weight: Array
    bias: Array | None


def linear_cross_entropy(
    features: ArrayLike,
    weight: ArrayLike,
    targets: ArrayLike,
    bias: ArrayLike | None = None,
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
    """``cross_entropy(features @ weight.T + bias, targets)`` without the array of logits, for huge numbers of classes.

    Parameters
    ----------
    features : array_like of real numbers, shape (..., D)
        What the last layer sees of each row.
    weight : array_like of real numbers, shape (K, D)
        The layer's weight, a row for each class.
    targets : array_like, integers of shape (...), or floats of shape (..., K)
        As in `cross_entropy`.
    bias : array_like of real numbers, shape (K,), optional
        Added to the scores.
    **options
        As in `cross_entropy`; `where` broadcasts to (..., K).

    Returns
    -------
    scalar, or ndarray with one loss a row for reduction "none"
        In the wider floating-point dtype of features, weight and bias. `value_and_grad` gives the gradients by all
        three as a named tuple (features, weight, bias), the latter None where there is no bias.

    Raises
    ------
    ValueError, TypeError
        As `cross_entropy`; and for shapes that do not fit together.

    Notes
    -----
    The logits exist for some rows at a time, 48 MB of them, where the gradient takes their place; those of the first
    rows, half as many as there are features, in the memory of the weight's gradient. The matrix products sum in the
    dtype of the result, one product after the other: the same bits whatever the number of threads. Where the processor
    has neither AVX2 nor AVX-512 they are NumPy's. Memory beside the gradients: 51 MB, with NumPy's products 62. Rows
    that are ignored cost nothing.
    Source of the idea: Wijmans et al., "Cut your losses in large-vocabulary language models", ICLR 2025,
    arXiv:2411.09009.

    Examples
    --------
    >>> from softmax import value_and_grad
    >>> features, weight = np.float64([[1, 0], [0, 2]]), np.float64([[1, 0], [0, 1], [-1, 0]])
    >>> print(linear_cross_entropy(features, weight, [0, 1]))
    0.3235753653331324
    >>> loss, slope = value_and_grad(linear_cross_entropy)(features, weight, [0, 1])
    >>> slope.weight.shape, slope.features.shape, slope.bias
    ((3, 2), (2, 2), None)
    """
    options = Options(
        label_smoothing, class_weight, sample_weight, ignore_index, gamma, z_loss, softcap, where, reduction
    )
    return _Problem(features, weight, targets, bias, options).solve(gradient=False)[0]


@value_and_grad_of(linear_cross_entropy)
def _value_and_grad(
    features: ArrayLike, weight: ArrayLike, targets: ArrayLike, bias: ArrayLike | None = None, **options: Any
) -> tuple[Any, LinearGradient]:
    """(loss, gradients) in one pass over the tiles; "none" has the gradients of the sum."""
    return _Problem(features, weight, targets, bias, as_options(options)).solve(gradient=True)


@rule_of(linear_cross_entropy)
def _rule(
    features: ArrayLike, weight: ArrayLike, targets: ArrayLike, bias: ArrayLike | None = None, **options: Any
) -> Derivative:
    problem = _Problem(features, weight, targets, bias, as_options(options))
    value = problem.solve(gradient=False)[0]

    def pullback(dy: ArrayLike) -> LinearGradient:
        dy = as_gradient(dy, np.shape(value), np.dtype(np.float64))
        slope: LinearGradient = problem.solve(gradient=True, dy=dy)[1]
        return slope

    def jacobian() -> LinearGradient:
        if problem.options.reduction == "none":
            raise ValueError("reduction must be 'mean' or 'sum' for the jacobian of linear_cross_entropy, got 'none'")
        slope: LinearGradient = problem.solve(gradient=True)[1]
        return slope

    return Derivative(value, pullback, jacobian)


class _Problem:
    """The arguments, checked, in the dtype to compute in."""

    def __init__(
        self, features: ArrayLike, weight: ArrayLike, targets: ArrayLike, bias: ArrayLike | None, options: Options
    ) -> None:
        check_options(options)
        arrays = {"features": np.asarray(features), "weight": np.asarray(weight)}
        if bias is not None:
            arrays["bias"] = np.asarray(bias)
        if arrays["features"].ndim < 1 or arrays["weight"].ndim != 2:
            got = f"{arrays['features'].shape} and {arrays['weight'].shape}"
            raise ValueError(f"features and weight must have shapes (..., D) and (K, D), got {got}")
        classes, width = arrays["weight"].shape
        if arrays["features"].shape[-1] != width:
            raise ValueError(f"features must have {width} columns as weight has, got {arrays['features'].shape[-1]}")
        if bias is not None and arrays["bias"].shape != (classes,):
            raise ValueError(f"bias must have shape ({classes},), got {arrays['bias'].shape}")
        compute = np.result_type(*(compute_dtype(array.dtype, name) for name, array in arrays.items()))
        self.dtypes = {name: result_dtype(array, None, name)[1] for name, array in arrays.items()}
        self.result = max(self.dtypes.values(), key=lambda dtype: (compute_dtype(dtype, "x").itemsize, dtype.itemsize))
        self.options = options
        self.rows = arrays["features"].shape[:-1]
        shape = (*self.rows, classes)
        targets, weights = targets_and_weights(targets, shape, -1, compute, options)
        self.factors = np.broadcast_to(weights / divisor(weights, targets, options.reduction, -1), self.rows).reshape(
            -1
        )
        self.targets = targets.reshape(-1) if targets.dtype.kind == "i" else targets.reshape(-1, classes)
        self.features = np.require(arrays["features"], compute, "A").reshape(-1, width)
        self.weight = np.require(arrays["weight"], compute, "A")
        self.bias = None if bias is None else arrays["bias"].astype(compute, copy=False)
        self.where = None
        if options.where is not None:
            allowed = as_array(np.broadcast_to(np.zeros(()), shape), options.where, "the logits")[1]
            assert allowed is not None
            self.where = allowed.reshape(-1, classes) if len(self.rows) != 1 else allowed

    def solve(self, *, gradient: bool, dy: Array | float = 1.0) -> tuple[Any, Any]:
        factors = np.asarray(self.factors * np.reshape(dy, -1) if np.ndim(dy) else self.factors * dy)
        losses = np.zeros(len(factors))
        slope = self._no_slope() if gradient else None
        counting = np.flatnonzero(factors)
        classes, width = self.weight.shape
        bytes_a_row, inside = classes * self.weight.dtype.itemsize, min(len(counting), width // 2)
        if slope is None or inside * bytes_a_row <= _TILE or slope.weight.dtype not in (np.float32, np.float64):
            inside = 0
        tiles = _split(counting[inside:], bytes_a_row)
        room = _zeros((max(map(len, tiles), default=0), classes), self.weight.dtype)
        for rows in _as_slices([counting[:inside]]):
            assert slope is not None
            losses[rows] = self._tile_inside(rows, factors[rows], slope)
        for number, rows in enumerate(_as_slices(tiles)):
            losses[rows] = self._tile(rows, factors[rows], slope, room, add=number > 0 or inside > 0)
        value = losses.reshape(self.rows) if self.options.reduction == "none" else losses.sum()
        return rounded(value, self.result)[()], None if slope is None else self._delivered(slope)

    def _no_slope(self) -> LinearGradient:
        features, weight = (_zeros(array.shape, array.dtype) for array in (self.features, self.weight))
        return LinearGradient(features, weight, None if self.bias is None else np.zeros(len(self.weight)))

    def _tile(self, rows: slice | Array, factors: Array, slope: LinearGradient | None, room: Array, add: bool) -> Array:
        """The losses of some rows; their part of the gradients is added to `slope`."""
        losses, error = self._errors(rows, factors, slope, room[: len(factors)])
        if slope is not None and error is not None:
            _multiply(error.T, self.features[rows], slope.weight, add)
        return losses

    def _tile_inside(self, rows: slice | Array, factors: Array, slope: LinearGradient) -> Array:
        """The first tile, of up to half as many rows as there are features: its logits lie at the end of the memory of
        the weight's gradient.

        That is written from the first class on, as far as the errors begin behind it. What is left of them is moved to
        the end; so half of the classes are done at least, and then half of the others. The last go into a copy.
        """
        memory, features = slope.weight.reshape(-1), self.features[rows]
        (classes, width), count = self.weight.shape, len(features)
        losses, error = self._errors(rows, factors, slope, memory[-count * classes :].reshape(count, classes))
        assert error is not None
        done = 0
        while left := classes - done:
            ready = (memory.size - done * width - count * left) // width
            if error.nbytes <= _TILE:
                ready, error = left, error.copy()
            _multiply(error[:, :ready].T, features, slope.weight[done : done + ready])
            done += ready
            rest, moved = error[:, ready:], memory[memory.size - count * (classes - done) :].reshape(count, -1)
            for row in reversed(range(count)):  # none is moved to where one before it still is
                moved[row] = rest[row]
            error = moved
        return losses

    def _errors(
        self, rows: slice | Array, factors: Array, slope: LinearGradient | None, logits: Array
    ) -> tuple[Array, Array | None]:
        """Losses, and the derivative by the logits, in their place; it adds to the gradients but the weight's."""
        _multiply(self.features[rows], self.weight.T, logits)
        if self.bias is not None:
            logits += self.bias
        where = None if self.where is None else self.where[rows]
        losses, error = rows_losses(
            logits, self.targets[rows], factors, where, -1, self.options, slope is not None, logits
        )
        if slope is not None and error is not None:
            by_features = slope.features[rows]  # a copy where the rows are no neighbours
            _multiply(error, self.weight, by_features)
            slope.features[rows] = by_features
            if slope.bias is not None:
                slope.bias[...] += error.sum(axis=0, dtype=np.float64)
        return losses, error

    def _delivered(self, slope: LinearGradient) -> LinearGradient:
        features = rounded(slope.features, self.dtypes["features"]).reshape(*self.rows, -1)
        bias = None if slope.bias is None else rounded(slope.bias, self.dtypes["bias"])
        return LinearGradient(features, rounded(slope.weight, self.dtypes["weight"]), bias)


def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros from a cache line's begin on: rows that lie across lines cost `_multiply` a tenth of its time."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    zeros: Array = memory[start : start + size].view(dtype).reshape(shape)
    return zeros


def _split(rows: Array, bytes_a_row: int) -> list[Array]:
    """The rows in parts of like size whose logits are no more than a tile."""
    return np.array_split(rows, -(-len(rows) * bytes_a_row // _TILE) or 1) if len(rows) else []


def _as_slices(parts: list[Array]) -> list[slice | Array]:
    """Slices where the rows are neighbours."""
    return [slice(p[0], p[-1] + 1) if p[-1] - p[0] + 1 == len(p) else p for p in parts if len(p)]


def _multiply(left: Array, right: Array, out: Array, add: bool = False) -> None:
    """out = left @ right, or out += left @ right."""
    if _native.multiply(left, right, out, add):
        return
    if not add:
        for start in range(0, len(out), _CLASSES):
            part = slice(start, start + _CLASSES)
            np.matmul(left[part], right, out=out[part])
    else:
        step = max(1, _PART // (out.shape[1] * out.dtype.itemsize or 1))
        for start in range(0, len(out), step):
            out[start : start + step] += left[start : start + step] @ right
