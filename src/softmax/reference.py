"""The softmax family in plain NumPy: the readable specification that the native kernels are tested against.

Everything is computed in float64, or in ``numpy.longdouble`` where the input is that. Clarity comes first: there are
temporaries of the input's size, and no care for speed. Source: Blanchard, Higham & Higham, "Accurately computing the
log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), doi:10.1093/imanum/draa038.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cross_entropy",
    "cross_entropy_gradient",
    "entmax",
    "log_softmax",
    "logsumexp",
    "softmax",
    "sparsemax",
]

Axis = int | tuple[int, ...] | None


def _wide(x: ArrayLike) -> NDArray[Any]:
    x = np.asarray(x)
    return x.astype(np.longdouble if x.dtype == np.longdouble else np.float64)


def _scores(x: ArrayLike, axis: Axis, temperature: ArrayLike, where: ArrayLike | None) -> NDArray[Any]:
    """(x - max) / temperature: 0 at the maxima, -inf where nothing is left, NaN in a slice that holds one."""
    x = _wide(x)
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


def logsumexp(x: ArrayLike, axis: Axis = -1, *, where: ArrayLike | None = None, keepdims: bool = False) -> NDArray[Any]:
    """log(sum(exp(x))) along `axis`; -inf for a slice with nothing left.

    >>> float(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    x = _wide(x)
    if where is not None:
        x = np.where(where, x, -np.inf)
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    log_total = _log_total(_scores(x, axis, 1.0, None), axis)
    result = np.where(np.isfinite(top), top + log_total, top)
    return np.asarray(result if keepdims else result.squeeze(axis=axis))


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


def cross_entropy(logits: ArrayLike, targets: ArrayLike) -> NDArray[Any]:
    """-log_softmax(logits) at the target of each row: logits (..., K), integer targets (...).

    >>> print("{:.12g}".format(*cross_entropy([[20.0, 0.0]], [0])))
    2.06115362031e-09
    """
    index = np.asarray(targets, np.intp)[..., np.newaxis]
    return np.asarray(-np.take_along_axis(log_softmax(logits), index, axis=-1)[..., 0])


def cross_entropy_gradient(logits: ArrayLike, targets: ArrayLike) -> NDArray[Any]:
    """softmax(logits) - onehot(targets), the derivative of each row's loss: logits (..., K), integer targets (...).

    >>> print("{:.12g} {:.12g}".format(*cross_entropy_gradient([20.0, 0.0], 0)))
    -2.06115361819e-09 2.06115361819e-09
    """
    probs = softmax(logits)
    index = np.asarray(targets, np.intp)[..., np.newaxis]
    hit = np.zeros(probs.shape, bool)
    np.put_along_axis(hit, index, True, axis=-1)
    others = np.where(hit, 0, probs).sum(axis=-1, keepdims=True)
    return np.asarray(np.where(hit, -others, probs))
