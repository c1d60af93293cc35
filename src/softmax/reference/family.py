"""softmax and its relatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Axis = int | tuple[int, ...] | None


def wide(x: ArrayLike) -> NDArray[Any]:
    """x in the dtype to compute in."""
    x = np.asarray(x)
    return x.astype(np.longdouble if x.dtype.type is np.longdouble else np.float64)  # whatever its byte order


def _scores(x: ArrayLike, axis: Axis, temperature: ArrayLike, where: ArrayLike | None) -> NDArray[Any]:
    """(x - max) / temperature: 0 at the maxima, -inf where nothing is left, NaN in a slice that holds one."""
    x = wide(x)
    if where is not None:
        x = np.where(where, x, -np.inf)
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    with np.errstate(all="ignore"):
        scores = (x - top) / np.abs(np.asarray(temperature, x.dtype))  # -0.0 is 0
    scores = np.where(x == top, 0.0, scores)  # inf - inf and 0 / 0
    scores = np.where((x == -np.inf) | ((top == np.inf) & (x < top)), -np.inf, scores)
    return np.where(np.isnan(top), np.nan, scores).astype(x.dtype)


def _log_total(scores: NDArray[Any], axis: Axis) -> NDArray[Any]:
    """log(sum(exp(scores))) by log1p of all but one maximum, so that it stays exact where the sum is close to 1."""
    tops = (scores == 0).sum(axis=axis, keepdims=True)
    with np.errstate(divide="ignore", under="ignore"):
        others = np.exp(np.where(scores == 0, -np.inf, scores)).sum(axis=axis, keepdims=True)
        return np.asarray(np.log1p(tops - 1 + others))


def softmax(
    x: ArrayLike, axis: Axis = -1, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> NDArray[Any]:
    """exp(x / temperature) / sum(exp(x / temperature)) along `axis`; 0 everywhere in a slice with nothing left.

    >>> softmax([0.7, 1.5, 4.8]).round(8).tolist()
    [0.01573172, 0.03501159, 0.94925668]
    """
    with np.errstate(under="ignore"):
        exps = np.exp(_scores(x, axis, temperature, where))
        total = exps.sum(axis=axis, keepdims=True)
        return np.asarray(exps / np.where(total == 0, 1, total))


def log_softmax(
    x: ArrayLike, axis: Axis = -1, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> NDArray[Any]:
    """log(softmax(x)) without leaving the logarithm; -inf everywhere in a slice with nothing left.

    >>> print("{:.12g} {:.12g}".format(*log_softmax([20.0, 0.0])))
    -2.06115362031e-09 -20.0000000021
    """
    scores = _scores(x, axis, temperature, where)
    log_total = _log_total(scores, axis)
    return np.asarray(scores - np.where(log_total == -np.inf, 0, log_total))


def softmin(
    x: ArrayLike, axis: Axis = -1, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> NDArray[Any]:
    """softmax(-x), the sign changed in floating point.

    >>> softmin(np.uint8([0, 1])).round(8).tolist()
    [0.73105858, 0.26894142]
    """
    return softmax(-wide(x), axis, temperature=temperature, where=where)


def hardmax(x: ArrayLike, axis: int = -1) -> NDArray[Any]:
    """1 at the first maximum along `axis`, 0 elsewhere; 0 everywhere in a slice with nothing left.

    >>> hardmax([1.0, 3.0, 3.0]).tolist()
    [0.0, 1.0, 0.0]
    """
    x = wide(x)
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    wins = (x == top) & (x > -np.inf)
    first = wins & (wins.cumsum(axis=axis) == 1)
    return np.where(np.isnan(top), np.nan, first).astype(x.dtype)


def sigmoid(x: ArrayLike) -> NDArray[Any]:
    """1 / (1 + exp(-x)) for each entry.

    >>> print("{:.12g} {:.12g}".format(*sigmoid([20.0, -800.0])))
    0.999999997939 0
    """
    x = wide(x)
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x < 0, small, 1) / (1 + small))


def log_sigmoid(x: ArrayLike) -> NDArray[Any]:
    """log(sigmoid(x)) without leaving the logarithm.

    >>> print("{:.12g} {:.12g}".format(*log_sigmoid([20.0, -800.0])))
    -2.06115362031e-09 -800
    """
    x = wide(x)
    with np.errstate(under="ignore"):
        return np.asarray(np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))))


def logsumexp(
    x: ArrayLike,
    axis: Axis = -1,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """log(abs(sum(weights * exp(x)))) along `axis` and, with `return_sign`, the sum's sign; -inf for a sum of nothing.

    >>> float(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    x = wide(x)
    if where is not None:
        x = np.where(where, x, -np.inf)
    if weights is not None:
        result, sign = _weighted(x, wide(weights if where is None else np.where(where, weights, 0)), axis)
    else:
        top = x.max(axis=axis, keepdims=True, initial=-np.inf)
        log_total = _log_total(_scores(x, axis, 1.0, None), axis)
        result = np.where(np.isfinite(top), top + log_total, top)
        sign = np.where(np.isnan(top), top, top > -np.inf)
    if not return_sign:
        result = np.where(sign < 0, np.nan, result)
    result, sign = (part if keepdims else part.squeeze(axis=axis) for part in (np.asarray(result), np.asarray(sign)))
    return (result, sign.astype(x.dtype)) if return_sign else result


def _weighted(x: NDArray[Any], weights: NDArray[Any], axis: Axis) -> tuple[NDArray[Any], NDArray[Any]]:
    """log(abs(s)) and the sign of s = sum(weights * exp(x)), each term as sign(weight) * exp(x + log(abs(weight)))."""
    with np.errstate(all="ignore"):
        scores = np.where(weights == 0, -np.inf, x + np.log(np.abs(weights)))
        top = scores.max(axis=axis, keepdims=True, initial=-np.inf)
        top = np.where(np.isfinite(top), top, 0)
        total = (np.sign(weights) * np.exp(scores - top)).sum(axis=axis, keepdims=True)
        return np.log(np.abs(total)) + top, np.sign(total)


def sparsemax(x: ArrayLike, axis: int = -1, *, where: ArrayLike | None = None) -> NDArray[Any]:
    """maximum(x - threshold, 0), which sums to 1 along `axis`; 0 everywhere in a slice with nothing left.

    The threshold is the largest (sum of the k largest entries - 1) / k over all k.

    >>> sparsemax([0.75, 0.5, -1.5]).tolist()
    [0.625, 0.375, 0.0]
    """
    scores = np.moveaxis(_scores(x, axis, 1.0, where), axis, -1)
    total = (-np.sort(-scores, axis=-1)).cumsum(axis=-1)
    threshold = ((total - 1) / np.arange(1, scores.shape[-1] + 1)).max(axis=-1, keepdims=True, initial=-np.inf)
    probs = np.where(scores == -np.inf, 0, np.maximum(scores - threshold, 0))
    return np.asarray(np.moveaxis(probs, -1, axis))


def entmax(x: ArrayLike, alpha: ArrayLike = 1.5, axis: Axis = -1, *, where: ArrayLike | None = None) -> NDArray[Any]:
    """maximum((alpha - 1) * x - threshold, 0) ** (1 / (alpha - 1)), which sums to 1 along `axis`.

    With b = alpha - 1, one probability determines all others and is found by bisection. For b <= 1 it is the largest:

        p / top = maximum(1 - b * (max(x) - x) / top**b, 0) ** (1 / b)

    For b > 1 it is the smallest that is not 0, as rounding is magnified near the threshold: x is left if the sum of
    (b * (larger - x)) ** (1 / b) over what is larger is below 1, and then

        p = (smallest**b + b * (x - min(left))) ** (1 / b)

    >>> entmax([1.0, 0.0, -1.5]).round(8).tolist()
    [0.83071891, 0.16928109, 0.0]
    """
    scores = _scores(x, axis, 1.0, where)
    nan, scores = np.isnan(scores), np.where(np.isnan(scores), 0, scores)
    b = np.asarray(alpha, scores.dtype) - 1
    with np.errstate(all="ignore"):
        probs = np.where((b > 1) & (b < np.inf), _from_smallest(scores, b, axis), _from_largest(scores, b, axis))
        total = probs.sum(axis=axis, keepdims=True)
        return np.where(nan, np.nan, probs / np.where(total == 0, 1, total)).astype(scores.dtype)


def _from_largest(scores: NDArray[Any], b: NDArray[Any], axis: Axis) -> NDArray[Any]:
    def relative(top: NDArray[Any]) -> NDArray[Any]:
        distance = np.where(scores == 0, 0, b * scores / top**b)
        power = np.where(distance > -1, np.exp(np.log1p(distance) / b), 0)
        return np.where(scores == 0, 1, np.where(b == 0, np.exp(scores), power))

    slices = (scores + b).sum(axis=axis, keepdims=True)
    return relative(
        _bisect(lambda top: top * relative(top).sum(axis=axis, keepdims=True) >= 1, 0 * slices, 0 * slices + 1)
    )


def _from_smallest(scores: NDArray[Any], b: NDArray[Any], axis: Axis) -> NDArray[Any]:
    b = np.where((b > 1) & (b < np.inf), b, 1)
    zero = np.zeros_like((scores + b).sum(axis=axis, keepdims=True))

    def larger(score: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((np.maximum(b * (scores - score), 0) ** (1 / b)).sum(axis=axis, keepdims=True))

    out, left_from = zero - 1 / b, zero
    while ((out < scores) & (scores < left_from)).any():
        middle = (out + left_from) / 2
        out, left_from = np.where(larger(middle) < 1, (out, middle), (middle, left_from))
    left = scores >= left_from
    above = b * (scores - np.where(left, scores, np.inf).min(axis=axis, keepdims=True, initial=np.inf))

    def probs(smallest: NDArray[Any]) -> NDArray[Any]:
        return np.where(left, np.where(above == 0, smallest, (smallest**b + above) ** (1 / b)), 0)

    return probs(_bisect(lambda smallest: probs(smallest).sum(axis=axis, keepdims=True) >= 1, zero, zero + 1))


def _bisect(enough: Callable[[NDArray[Any]], NDArray[Any]], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    """The least number above low that is enough, elementwise; high is."""
    while ((low < (middle := (low + high) / 2)) & (middle < high)).any():
        found = enough(middle)
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return high
