"""What every call does first: dtype, axis, temperature, where and out, on the way to one native call."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Axis = int | tuple[int, ...] | None

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
_NATIVE = (_FLOAT32, _FLOAT64)


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """By its name, which NumPy takes microseconds to make: so only where its size fits."""
    return dtype.itemsize == 2 and dtype.name == "bfloat16"


def is_floating(dtype: np.dtype[Any]) -> bool:
    """Whether a result may have it: float16 to longdouble, or bfloat16. Of 8 bits, some are of kind 'f' too."""
    return (dtype.kind == "f" and dtype.itemsize >= 2) or is_bfloat16(dtype)


def compute_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """The dtype to compute in: float32, float64, or longdouble (by the reference). TypeError for what is not real."""
    if dtype.kind in "biu":
        return _FLOAT64
    if not is_floating(dtype):
        raise TypeError(f"{name} must hold real numbers, got dtype {dtype}")
    if dtype.itemsize <= 4:
        return _FLOAT32
    return _FLOAT64 if dtype.itemsize == 8 else np.dtype(np.longdouble)


def result_dtype(x: Array, dtype: DTypeLike | None, name: str = "x") -> tuple[np.dtype[Any], np.dtype[Any]]:
    """(dtype to compute in, dtype of the result): the wider of x's and the one asked for, rounded to it once."""
    compute = compute_dtype(x.dtype, name)
    if dtype is None:
        return compute, compute if x.dtype.kind in "biu" else x.dtype.newbyteorder("=")
    result = np.dtype(dtype)
    if not is_floating(result):
        raise TypeError(f"dtype must be a floating-point dtype, got {result}")
    return np.promote_types(compute, compute_dtype(result, "dtype")), result


def as_array(x: ArrayLike, where: ArrayLike | None, name: str = "x") -> tuple[Array, Array | None]:
    """x as an array, and where as a boolean array of its shape; a masked array's mask counts as `where`."""
    mask = ~np.ma.getmaskarray(x) if isinstance(x, np.ma.MaskedArray) else None
    x = np.asarray(x)
    if where is None:
        return x, mask
    where = np.asarray(where)
    if where.dtype != np.bool_:
        raise TypeError(f"where must be boolean, got dtype {where.dtype}")
    try:
        where = where if where.shape == x.shape else np.broadcast_to(where, x.shape)
    except ValueError:
        raise ValueError(f"where must broadcast to the shape of {name}, {x.shape}, got shape {where.shape}") from None
    return x, where if mask is None else where & mask


def negative_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes counted from the end, in increasing order; every axis where `axis` is None."""
    if type(axis) is int and -ndim <= axis < ndim:  # the usual case, without NumPy's microseconds
        return (axis if axis < 0 else axis - ndim,)
    if axis is None:
        return tuple(range(-ndim, 0))
    try:
        axes = (operator.index(axis),) if not isinstance(axis, tuple) else tuple(map(operator.index, axis))
    except TypeError:
        raise TypeError(f"axis must be an int, a tuple of ints or None, got {axis!r}") from None
    return tuple(sorted(a - ndim for a in normalize_axis_tuple(axes, ndim, "axis")))


def as_temperature(temperature: ArrayLike, axes: tuple[int, ...]) -> Array:
    """The temperature as float64 without the axes of the slice, along which its length must be 1."""
    return one_a_slice(temperature, "temperature", 0, axes)


def one_a_slice(value: ArrayLike, name: str, least: int, axes: tuple[int, ...]) -> Array:
    """A number a slice, at least `least`, as float64 without the axes of the slice, along which its length is 1."""
    t = np.asarray(value)
    if t.dtype.kind not in "biuf" and not is_bfloat16(t.dtype):
        raise TypeError(f"{name} must be a real number, got dtype {t.dtype}")
    wrong = ~(t >= least)
    if wrong.any():
        at = "" if t.ndim == 0 else f" at index {tuple(map(int, np.argwhere(wrong)[0]))}"
        raise ValueError(f"{name} must be >= {least}, got {t[wrong].ravel()[0]}{at}")
    inside = tuple(a for a in axes if t.ndim >= -a)
    if any(t.shape[a] != 1 for a in inside):
        raise ValueError(f"{name} must have length 1 along axis {', '.join(map(str, axes))}, got shape {t.shape}")
    return np.asarray(t.astype(_FLOAT64).squeeze(inside))


def merge(x: Array, axes: tuple[int, ...]) -> Array:
    """x with `axes` moved to the end and made one. A view where the memory allows it."""
    rest = tuple(a for a in range(-x.ndim, 0) if a not in axes)
    moved = x.transpose([a + x.ndim for a in rest + axes])
    length = math.prod(moved.shape[len(rest) :])
    return np.asarray(moved.reshape(*moved.shape[: len(rest)], length))


def split(y: Array, axes: tuple[int, ...], lengths: tuple[int, ...]) -> Array:
    """The inverse of `merge`: the last axis of y split into `lengths`, each moved to its place in `axes`."""
    y = y.reshape(y.shape[:-1] + lengths)
    return np.moveaxis(y, range(-len(axes), 0), axes)


def everywhere(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask that leaves out nothing: one True for all, in a third of the time of `numpy.broadcast_to`."""
    mask: NDArray[np.bool_] = np.ndarray(shape, np.bool_, b"\x01", strides=(0,) * len(shape))
    return mask


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, got {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"out must have the result's shape {shape}, got {out.shape}")
    if not is_floating(out.dtype):
        raise TypeError(f"out must have a floating-point dtype, got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out must be writeable, got a read-only array")


def along_axis(
    plain: Callable[..., Any],
    masked: Callable[..., Any],
    reference: Callable[..., Array],
    x: ArrayLike,
    axis: Axis,
    temperature: ArrayLike,
    where: ArrayLike | None,
    dtype: DTypeLike | None,
    out: Array | None,
) -> Array:
    """A function of the softmax family, one kernel call: `plain(x, temperature)` or `masked(x, temperature, where)`."""
    x, where = as_array(x, where)
    compute, result = result_dtype(x, dtype)
    axes = negative_axes(axis, x.ndim)
    t = as_temperature(temperature, axes)
    rest = tuple(n for a, n in enumerate(x.shape, -x.ndim) if a not in axes)
    try:
        rest = np.broadcast_shapes(rest, t.shape) if t.ndim else rest
    except ValueError:
        shape = np.shape(temperature)
        raise ValueError(f"temperature must broadcast against x, shape {x.shape}, got shape {shape}") from None
    if out is not None:
        check_out(out, _with_axes(rest, axes, x.shape))
        if dtype is None:
            result = out.dtype
    lengths = tuple(x.shape[a] for a in axes)
    if compute not in _NATIVE:  # slices made contiguous: NumPy's sums depend on the order in memory
        slices = np.ascontiguousarray(merge(x, axes).astype(compute, copy=False))
        y = reference(slices, temperature=t[..., np.newaxis], where=None if where is None else merge(where, axes))
        return _deliver(split(y, axes, lengths), result, out)
    compute = kernel_dtype(x.dtype, compute, result)
    x = kernel_view(x.astype(compute, copy=False))
    operands = (x, t) if where is None else (x, t, where)
    kernel = plain if where is None else masked
    if len(axes) == 1:
        if out is not None and out.dtype == compute:
            kernel(*operands, axis=axes[0], out=kernel_view(out))
            return out
        return _deliver(kernel(*operands, axis=axes[0]).view(compute), result, out)
    operands = (merge(x, axes), t) if where is None else (merge(x, axes), t, merge(where, axes))
    return _deliver(split(kernel(*operands).view(compute), axes, lengths), result, out)


def kernel_dtype(given: np.dtype[Any], compute: np.dtype[Any], result: np.dtype[Any]) -> np.dtype[Any]:
    """What the kernels are given: 16 bits that stay 16 bits as they are, for they widen and round those themselves."""
    native = given.newbyteorder("=")
    return native if native.itemsize == 2 and native == result.newbyteorder("=") else compute


def kernel_view(x: Array) -> Array:
    """x as the kernels take it: bfloat16, which NumPy has no loops for, as the uint16 of its bits."""
    return x.view(np.uint16) if is_bfloat16(x.dtype) else x


def _with_axes(rest: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape `rest` with the lengths of `axes` put back in their places."""
    left = iter(rest)
    ndim = len(rest) + len(axes)
    return tuple(shape[a] if a in axes else next(left) for a in range(-ndim, 0))


def rounded(y: Any, dtype: DTypeLike) -> Any:
    """y in a dtype that may be narrower: what it cannot hold becomes infinite or 0, without a warning."""
    if y.dtype == dtype:
        return y
    with np.errstate(all="ignore"):
        return y.astype(dtype, copy=False)


def _deliver(y: Array, dtype: np.dtype[Any], out: Array | None) -> Array:
    if out is None:
        result: Array = rounded(y, dtype)[()]  # a scalar where there are no axes, as NumPy's own functions give
        return result
    with np.errstate(all="ignore"):
        out[...] = y
    return out
