"""Gradients taken back through the functions of the family."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .family import sigmoid, wide


def softmax_vjp(y: ArrayLike, dy: ArrayLike, power: ArrayLike = 1.0, temperature: ArrayLike = 1.0) -> NDArray[Any]:
    """w (dy - mean) / temperature along the last axis, where w = y^power and mean is dy's, weighted with w.

    The gradient of softmax for power 1, of entmax for 2 - alpha. Entries with y = 0 take no part.

    >>> softmax_vjp([0.25, 0.75], [1.0, 0.0]).tolist()
    [0.1875, -0.1875]
    """
    y, dy = np.broadcast_arrays(wide(y), wide(dy))
    if y.size == 0:
        return np.zeros(y.shape, y.dtype)
    temperature = np.asarray(temperature, y.dtype)
    with np.errstate(all="ignore"):
        weight = np.where(y > 0, y**power, y)
        centred = dy - np.take_along_axis(dy, y.argmax(axis=-1, keepdims=True), -1)
        mean = np.where(weight == 0, 0, weight * centred).sum(axis=-1, keepdims=True)
        mean = mean / weight.sum(axis=-1, keepdims=True)
        dx = np.where(_still(temperature), 0 * weight, weight * ((centred - mean) / temperature))
        return np.asarray(np.where(weight == 0, 0, dx))


def log_softmax_vjp(y: ArrayLike, dy: ArrayLike, temperature: ArrayLike = 1.0) -> NDArray[Any]:
    """(dy - exp(y) sum(dy)) / temperature along the last axis; entries with y = -inf take no part.

    >>> log_softmax_vjp(np.log([0.25, 0.75]), [1.0, 0.0]).round(8).tolist()
    [0.75, -0.75]
    """
    y, dy = np.broadcast_arrays(wide(y), wide(dy))
    out = y == -np.inf
    temperature = np.asarray(temperature, y.dtype)
    with np.errstate(all="ignore"):
        dy = np.where(out, 0, dy)
        first = np.cumsum(y == y.max(axis=-1, keepdims=True, initial=-np.inf), axis=-1) == 1
        top = first & (y == y.max(axis=-1, keepdims=True, initial=-np.inf))
        others = np.where(top, 0, dy).sum(axis=-1, keepdims=True)
        total = others + np.where(top, dy, 0).sum(axis=-1, keepdims=True)
        dx = np.where(top, -np.expm1(y) * dy - np.exp(y) * others, dy - np.exp(y) * total) / temperature
        dx = np.where(_still(temperature), np.where(np.isnan(y), y, 0), dx)
        return np.asarray(np.where(out, 0, dx))


def sigmoid_vjp(x: ArrayLike, dy: ArrayLike) -> NDArray[Any]:
    """sigmoid(x) sigmoid(-x) dy for each entry; 0 where that slope is 0.

    >>> sigmoid_vjp(0.0, 2.0).tolist()
    0.5
    """
    slope = sigmoid(x) * sigmoid(-wide(x))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(slope == 0, 0, slope * wide(dy)))


def log_sigmoid_vjp(x: ArrayLike, dy: ArrayLike) -> NDArray[Any]:
    """sigmoid(-x) dy for each entry; 0 where that slope is 0.

    >>> log_sigmoid_vjp(0.0, 2.0).tolist()
    1.0
    """
    slope = sigmoid(-wide(x))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(slope == 0, 0, slope * wide(dy)))


def _still(temperature: NDArray[Any]) -> NDArray[np.bool_]:
    """Where nothing moves the result: temperature 0 or infinity."""
    return np.asarray((temperature == 0) | np.isinf(temperature))
