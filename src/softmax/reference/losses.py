"""The losses of rows or entries, and their derivatives by the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .family import log_sigmoid, log_softmax, logsumexp, sigmoid, softmax, wide


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
            result = np.where(outside, result, result / np.cosh(wide(logits) / softcap) ** 2)
        return np.asarray(np.where(np.isnan(probs), np.nan, result))


def _classes(
    logits: ArrayLike, targets: ArrayLike, label_smoothing: float, softcap: float | None, where: ArrayLike | None
) -> tuple[NDArray[Any], ...]:
    """Of each class: its part of the target, -log p, p and 1 - p; and the logsumexp of each row."""
    z = wide(logits)
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
    x = wide(logits)
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
    p_logits, q_logits = np.broadcast_arrays(wide(p_logits), wide(q_logits))
    log_p, log_q = (log_softmax(x, temperature=temperature) for x in (p_logits, q_logits))
    with np.errstate(all="ignore"):
        log_ratio = np.where(log_p == -np.inf, np.where(np.isnan(log_q), log_q, -np.inf), log_p - log_q)
    nothing = (log_p == -np.inf).all(axis=-1) & ~np.isnan(log_q).any(axis=-1)
    p, q = (softmax(x, temperature=temperature) for x in (p_logits, q_logits))
    return p, q, log_ratio, nothing
