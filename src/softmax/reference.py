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
    "binary_cross_entropy",
    "binary_cross_entropy_gradient",
    "cross_entropy",
    "cross_entropy_gradient",
    "entmax",
    "hardmax",
    "kl_divergence",
    "kl_divergence_gradient",
    "log_sigmoid",
    "log_sigmoid_vjp",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "sigmoid",
    "sigmoid_vjp",
    "softmax",
    "softmax_vjp",
    "softmin",
    "sparsemax",
]

Axis = int | tuple[int, ...] | None


def _wide(x: ArrayLike) -> NDArray[Any]:
    x = np.asarray(x)
    return x.astype(np.longdouble if x.dtype.type is np.longdouble else np.float64)  # whatever its byte order


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


def softmin(
    x: ArrayLike, axis: Axis = -1, *, temperature: ArrayLike = 1.0, where: ArrayLike | None = None
) -> NDArray[Any]:
    """softmax(-x), the sign changed in floating point.

    >>> softmin(np.uint8([0, 1])).round(8).tolist()
    [0.73105858, 0.26894142]
    """
    return softmax(-_wide(x), axis, temperature=temperature, where=where)


def hardmax(x: ArrayLike, axis: int = -1) -> NDArray[Any]:
    """1 at the first maximum along `axis`, 0 elsewhere; 0 everywhere in a slice with nothing left.

    >>> hardmax([1.0, 3.0, 3.0]).tolist()
    [0.0, 1.0, 0.0]
    """
    x = _wide(x)
    top = x.max(axis=axis, keepdims=True, initial=-np.inf)
    wins = (x == top) & (x > -np.inf)
    first = wins & (wins.cumsum(axis=axis) == 1)
    return np.where(np.isnan(top), np.nan, first).astype(x.dtype)


def sigmoid(x: ArrayLike) -> NDArray[Any]:
    """1 / (1 + exp(-x)) for each entry.

    >>> print("{:.12g} {:.12g}".format(*sigmoid([20.0, -800.0])))
    0.999999997939 0
    """
    x = _wide(x)
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x < 0, small, 1) / (1 + small))


def log_sigmoid(x: ArrayLike) -> NDArray[Any]:
    """log(sigmoid(x)) without leaving the logarithm.

    >>> print("{:.12g} {:.12g}".format(*log_sigmoid([20.0, -800.0])))
    -2.06115362031e-09 -800
    """
    x = _wide(x)
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
    x = _wide(x)
    if where is not None:
        x = np.where(where, x, -np.inf)
    if weights is not None:
        result, sign = _weighted(x, _wide(weights if where is None else np.where(where, weights, 0)), axis)
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


def cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    where: ArrayLike | None = None,
) -> NDArray[Any]:
    """The loss of each row: logits (..., K); integer targets (...), or probabilities (..., K).

    ``-sum(y (1 - p)^gamma log(p)) + z_loss logsumexp^2`` of the capped logits. The smoothing goes to the classes that
    are left: neither masked nor -inf.

    >>> print("{:.12g}".format(*cross_entropy([[20.0, 0.0]], [0])))
    2.06115362031e-09
    """
    y, cost, _, rest, total = _classes(logits, targets, label_smoothing, softcap, where)
    with np.errstate(all="ignore"):
        terms = np.where((y == 0) | (cost == 0), 0 * y, y * rest**gamma * cost)
        return np.asarray(terms.sum(axis=-1) + (z_loss * total**2 if z_loss else 0))


def cross_entropy_gradient(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    where: ArrayLike | None = None,
) -> NDArray[Any]:
    """The derivative of each row's loss by its logits; softmax(logits) - onehot(targets) where nothing is asked for.

    >>> print("{:.12g} {:.12g}".format(*cross_entropy_gradient([20.0, 0.0], 0)))
    -2.06115361819e-09 2.06115361819e-09
    """
    y, cost, probs, rest, total = _classes(logits, targets, label_smoothing, softcap, where)
    with np.errstate(all="ignore"):
        slope = rest**gamma + gamma * probs * rest ** (gamma - 1) * cost if gamma else np.ones_like(cost)
        slope = np.where(probs == 0, 1, np.where((rest == 0) & (gamma > 0), 0, slope))
        by_class = np.where(y == 0, 0 * y, y * slope)
        others = _sum_of_others(by_class) + (2 * z_loss * total[..., np.newaxis] if z_loss else 0)
        result = np.where(probs == 0, -by_class, others * probs - by_class * rest)
        if softcap is not None:
            outside = False if where is None else ~np.asarray(where)
            result = np.where(outside, result, result / np.cosh(_wide(logits) / softcap) ** 2)
        return np.asarray(np.where(np.isnan(probs), np.nan, result))


def _classes(
    logits: ArrayLike, targets: ArrayLike, label_smoothing: float, softcap: float | None, where: ArrayLike | None
) -> tuple[NDArray[Any], ...]:
    """Of each class: its part of the target, -log p, p and 1 - p; and the logsumexp of each row."""
    z = _wide(logits)
    if softcap is not None:
        z = softcap * np.tanh(z / softcap)
    if where is not None:
        z = np.where(where, z, -np.inf)
    given = np.asarray(targets)
    if given.dtype.kind in "iu":
        given = given[..., np.newaxis] == np.arange(z.shape[-1])
    y = given.astype(z.dtype) * (1 - label_smoothing)
    left = z > -np.inf
    y = y + np.where(left, label_smoothing / np.maximum(left.sum(axis=-1, keepdims=True), 1), 0)
    probs = softmax(z)
    top = probs >= 0.5
    rest = np.where(top, _sum_of_others(probs), 1 - probs)
    return y, -log_softmax(z), probs, rest, logsumexp(z, axis=-1)


def _sum_of_others(x: NDArray[Any]) -> NDArray[Any]:
    """For each class the sum over all others, without the class itself ever being in it."""
    none = np.zeros_like(x[..., :1])
    before = np.concatenate([none, x[..., :-1]], axis=-1).cumsum(axis=-1)
    after = np.flip(np.concatenate([none, np.flip(x, -1)[..., :-1]], axis=-1).cumsum(axis=-1), -1)
    return np.asarray(before + after)


def binary_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    pos_weight: ArrayLike = 1.0,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
) -> NDArray[Any]:
    """The loss of each entry: ``a (1 - p)^gamma (-log p) + b p^gamma (-log(1 - p))``, a = pos_weight y, b = 1 - y.

    >>> print("{:.12g} {:.12g}".format(*binary_cross_entropy([20.0, 20.0], [1, 0])))
    2.06115362031e-09 20.0000000021
    """
    x, a, b = _binary(logits, targets, pos_weight, label_smoothing)
    with np.errstate(all="ignore"):
        terms = [
            np.where((weight == 0) | (cost == 0), 0, weight * rest**gamma * cost)
            for weight, rest, cost in ((a, sigmoid(-x), -log_sigmoid(x)), (b, sigmoid(x), -log_sigmoid(-x)))
        ]
        return np.asarray(np.where(np.isnan(x), x, terms[0] + terms[1]))


def binary_cross_entropy_gradient(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    pos_weight: ArrayLike = 1.0,
    label_smoothing: float = 0.0,
    gamma: float = 0.0,
) -> NDArray[Any]:
    """The derivative of each entry's loss by its logit; sigmoid(logits) - targets where nothing is asked for.

    >>> print("{:.12g} {:.12g}".format(*binary_cross_entropy_gradient([20.0, 20.0], [1, 0])))
    -2.06115361819e-09 0.999999997939
    """
    x, a, b = _binary(logits, targets, pos_weight, label_smoothing)
    p, rest = sigmoid(x), sigmoid(-x)
    with np.errstate(all="ignore"):
        if_true = a * rest**gamma * (rest + np.where(p == 0, 0, gamma * p * -log_sigmoid(x)))
        if_false = b * p**gamma * (p + np.where(rest == 0, 0, gamma * rest * -log_sigmoid(-x)))
        return np.asarray(if_false - if_true)


def _binary(
    logits: ArrayLike, targets: ArrayLike, pos_weight: ArrayLike, label_smoothing: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The logits, and the weights of both terms: of -log p and of -log(1 - p)."""
    x = _wide(logits)
    y = np.asarray(targets, x.dtype)
    keep, half = 1 - label_smoothing, label_smoothing / 2
    return x, np.asarray(pos_weight, x.dtype) * (y * keep + half), (1 - y) * keep + half


def kl_divergence(p_logits: ArrayLike, q_logits: ArrayLike, *, temperature: float = 1.0) -> NDArray[Any]:
    """The sum of p log(p / q) of each row (the last axis), p and q the two softmaxes; as terms q - p + p log(p / q).

    >>> print("{:.12g}".format(*kl_divergence([[2.0, 0.5, -1.0]], [[1.0, 1.0, -1.0]])))
    0.215264217542
    """
    p, q, log_ratio, nothing = _two_softmaxes(p_logits, q_logits, temperature)
    with np.errstate(all="ignore"):
        terms = np.where(np.abs(log_ratio) < 1, p * (np.expm1(-log_ratio) + log_ratio), q - p + p * log_ratio)
        terms = np.where(p == 0, np.where(log_ratio == np.inf, np.inf, q), terms)
        return np.asarray(np.where(nothing, 0, np.maximum(terms, 0).sum(axis=-1)))


def kl_divergence_gradient(
    p_logits: ArrayLike, q_logits: ArrayLike, *, temperature: float = 1.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The derivatives of each row's divergence by both logits: p (log(p / q) - divergence) / T and (q - p) / T.

    >>> [slope.round(8).tolist() for slope in kl_divergence_gradient([1.0, 0.0], [0.0, 0.0])]
    [[0.19661193, -0.19661193], [-0.23105858, 0.23105858]]
    """
    p, q, log_ratio, _ = _two_softmaxes(p_logits, q_logits, temperature)
    total = kl_divergence(p_logits, q_logits, temperature=temperature)[..., np.newaxis]
    with np.errstate(all="ignore"):
        centred = np.where(total == np.inf, np.where(log_ratio == np.inf, np.inf, -np.inf), log_ratio - total)
        by_p = np.where(p == 0, 0, p * centred) / temperature
        by_q = np.where(np.abs(log_ratio) < 1, p * np.expm1(-log_ratio), q - p) / temperature
        return np.where(np.isnan(total), np.nan, by_p), np.where(np.isnan(total), np.nan, by_q)


def _two_softmaxes(
    p_logits: ArrayLike, q_logits: ArrayLike, temperature: float
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Of each entry p, q and log(p / q), which is -inf where p excludes it, inf where q alone does; and of each row
    whether p has nothing in it (and q no NaN)."""
    p_logits, q_logits = np.broadcast_arrays(_wide(p_logits), _wide(q_logits))
    log_p, log_q = (log_softmax(x, temperature=temperature) for x in (p_logits, q_logits))
    with np.errstate(all="ignore"):
        log_ratio = np.where(log_p == -np.inf, np.where(np.isnan(log_q), log_q, -np.inf), log_p - log_q)
    nothing = (log_p == -np.inf).all(axis=-1) & ~np.isnan(log_q).any(axis=-1)
    p, q = (softmax(x, temperature=temperature) for x in (p_logits, q_logits))
    return p, q, log_ratio, nothing


def softmax_vjp(y: ArrayLike, dy: ArrayLike, power: ArrayLike = 1.0, temperature: ArrayLike = 1.0) -> NDArray[Any]:
    """w (dy - mean) / temperature along the last axis, where w = y^power and mean is dy's, weighted with w.

    The gradient of softmax for power 1, of entmax for 2 - alpha. Entries with y = 0 take no part.

    >>> softmax_vjp([0.25, 0.75], [1.0, 0.0]).tolist()
    [0.1875, -0.1875]
    """
    y, dy = np.broadcast_arrays(_wide(y), _wide(dy))
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
    y, dy = np.broadcast_arrays(_wide(y), _wide(dy))
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
    slope = sigmoid(x) * sigmoid(-_wide(x))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(slope == 0, 0, slope * _wide(dy)))


def log_sigmoid_vjp(x: ArrayLike, dy: ArrayLike) -> NDArray[Any]:
    """sigmoid(-x) dy for each entry; 0 where that slope is 0.

    >>> log_sigmoid_vjp(0.0, 2.0).tolist()
    1.0
    """
    slope = sigmoid(-_wide(x))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(slope == 0, 0, slope * _wide(dy)))


def _still(temperature: NDArray[Any]) -> NDArray[np.bool_]:
    """Where nothing moves the result: temperature 0 or infinity."""
    return np.asarray((temperature == 0) | np.isinf(temperature))
