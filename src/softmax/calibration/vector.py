"""A scale and a bias for each class: for a model that favours some classes over others."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import count
from ..functions import softmax
from ..losses import cross_entropy
from .files import Saved
from .rows import LARGEST, Block, Inputs, Rows, as_logits, as_rows, as_scores, by_blocks
from .temperature import TemperatureScaling

__all__ = ["VectorScaling"]

Vector = NDArray[np.float64]
STEPS = 200


class VectorScaling(Saved):
    """Replaces the logit x of each class k by scale[k] · x + bias[k], fitted to the least regularized log-loss.

    Corrects what one temperature cannot: a class that is favoured, or whose logits are spread more than others'. It
    has 2 K numbers to learn where a temperature has one, so it wants more rows, and the most probable class may change.
    What is minimized is mean log-loss + alpha / (2 n) · (Σ (scale - 1)² + Σ bias²), n being the number of rows whose
    weight is not 0: a prior that leaves things as they are, and that fades as rows are added. It makes the problem
    strictly convex, so that there is one solution, also with separable rows or a class missing from them, whose bias
    falls, but not without end. Newton's method with a line search finds it. The log-loss is never above that of
    scale 1 and bias 0.

    Time grows as n · K², memory as K²: for thousands of classes, prefer `TemperatureScaling`.

    Args:
        inputs: "logits", or "probabilities" for what a model without logits returns: their logarithms are scaled.
            A probability of 0 counts as the smallest normal number of its dtype.
        alpha: how strongly scales and biases are held back, above 0. The scales are taken to be 1 and the biases 0,
            with a standard deviation of 1 / √alpha, before any row is seen.

    Attributes:
        scale_: (K,) float64.
        bias_: (K,) float64. Two classes given as one column (N,) have the logits 0 and x, and bias and scale for both.
        log_loss_before_: mean log-loss of what `fit` was given, in nats.
        log_loss_after_: the same after scaling.
        message_: one sentence that says what was found.

    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017, section 4.2; for two
    classes, Platt, "Probabilistic outputs for support vector machines", 1999.

    >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]] * 50)
    >>> scaling = VectorScaling().fit(logits, [0, 0, 1, 0] * 50)  # class 1 is claimed too often
    >>> scaling.transform(logits)[1:3].round(2).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    >>> print(scaling.message_)
    2 scales and 2 biases lower the log-loss from 0.6269 to 0.3491 on 200 rows.
    """

    scale_: Vector
    bias_: Vector
    log_loss_before_: float
    log_loss_after_: float
    message_: str

    def __init__(self, inputs: Inputs = "logits", *, alpha: float = 1.0) -> None:
        self.inputs = inputs
        self.alpha = alpha

    def fit(self, logits: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> VectorScaling:
        """Find scales and biases; returns self.

        Args:
            logits: (N, K) finite real numbers, K at least 2, or (N,) for the second of two classes, the first having
                logit 0. Probabilities where `inputs` says so. Read in blocks: neither copied nor changed.
            y: (N,) integer class indices in [0, K). A class may be missing.
            sample_weight: (N,) numbers of at least 0; rows of weight 0 count for nothing, whatever they hold.

        Raises:
            TypeError, ValueError: a wrong dtype, shape, range or option, NaN or infinity.
        """
        if not 0 < self.alpha < np.inf:
            raise ValueError(f"alpha must be finite and above 0, got {self.alpha}")
        rows = as_rows(logits, y, sample_weight, self.inputs)
        rows.map(_check_finite, np.float64)
        classes = rows.classes
        strength = self.alpha / rows.counted
        identity = np.concatenate([np.ones(classes), np.zeros(classes)])
        scaled = identity.copy()
        temperature = TemperatureScaling(self.inputs).fit(logits, y, sample_weight).temperature_
        scaled[:classes] = min(1 / temperature, 1e100)
        start = min(identity, scaled, key=lambda values: _objective(rows, values, strength))
        values = _minimized(rows, start, strength)
        before, after = _loss(rows, identity), _loss(rows, values)
        if not after < before:
            values, after = identity, before
        self.scale_, self.bias_ = values[:classes].copy(), values[classes:].copy()
        self.log_loss_before_, self.log_loss_after_ = before, after
        self.message_ = _message(rows, before, after)
        return self

    def transform(self, logits: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Probabilities of the same shape and floating dtype, (N,) being that of the second class.

        Args:
            logits: as in `fit`, with as many classes.
            out: where to put them; may be `logits` itself, for no memory beside it.

        Raises:
            TypeError, ValueError: a wrong dtype or shape.
            AttributeError: `fit` was not called.
        """
        values = np.concatenate([self.scale_, self.bias_])
        scores = as_scores(logits, self.inputs, classes=len(self.scale_))

        def probabilities(block: NDArray[Any]) -> NDArray[Any]:
            x = as_logits(block, self.inputs, np.float64)
            return np.asarray(softmax(_scaled(x, values)))

        return by_blocks(scores, probabilities, out)


class Slopes(NamedTuple):
    """Gradient and Hessian of the mean log-loss by (scale, bias), 2 K numbers."""

    gradient: Vector
    hessian: Vector


def _minimized(rows: Rows, values: Vector, strength: float) -> Vector:
    """The only minimum of `_objective`, by Newton's method with a line search, which convexity makes converge."""
    half = rows.classes
    objective = _objective(rows, values, strength)
    for _ in range(STEPS):
        gradient, hessian = _slopes(rows, values)
        gradient = gradient + strength * (values - np.repeat([1.0, 0.0], half))
        hessian = hessian + strength * np.eye(2 * half)
        step = -np.linalg.solve(hessian, gradient)
        promised = -float(gradient @ step)  # twice what a quadratic would fall by
        if not promised > 1e-13 * objective:
            return values + step if promised >= 0 else values
        length = 1.0
        while not (lower := _objective(rows, values + length * step, strength)) <= objective - 1e-4 * length * promised:
            length /= 2
            if length < 1e-12:  # rounding errors are all that is left
                return values
        values, objective = values + length * step, lower
    return values


def _objective(rows: Rows, values: Vector, strength: float) -> float:
    scale, bias = values[: rows.classes], values[rows.classes :]
    return _loss(rows, values) + strength / 2 * float((scale - 1) @ (scale - 1) + bias @ bias)


def _loss(rows: Rows, values: Vector) -> float:
    return sum(rows.map(partial(_loss_of, values), np.float64)) / rows.weight


def _loss_of(values: Vector, block: Block) -> float:
    losses = cross_entropy(_scaled(block.scores, values), block.targets, reduction="none")
    return float(block.weights @ losses)


def _slopes(rows: Rows, values: Vector) -> Slopes:
    total = Slopes(np.zeros(2 * rows.classes), np.zeros((2 * rows.classes, 2 * rows.classes)))
    for gradient, hessian in rows.map(partial(_slopes_of, values), np.float64, threads=False):
        total.gradient[:] += gradient
        total.hessian[:] += hessian
    return Slopes(total.gradient / rows.weight, total.hessian / rows.weight)


def _slopes_of(values: Vector, block: Block) -> Slopes:
    """The logit of class k is scale x + bias, so that its derivatives are x and 1, and those of the loss of a row

    gradient = (p - y) [x, 1],      Hessian = [x, 1] (diag(p) - p pᵀ) [x, 1].
    """
    x, weights = block.scores, block.weights[:, np.newaxis]
    probs = softmax(_scaled(x, values))
    weighted = probs * weights
    first, second = weighted * x, weighted * x * x
    off = weighted.copy()
    off[np.arange(len(x)), block.targets] -= block.weights
    gradient = np.concatenate([(off * x).sum(axis=0), off.sum(axis=0)])
    outer = np.concatenate([probs * x, probs], axis=1) * np.sqrt(weights)
    hessian = -(outer.T @ outer)
    half = x.shape[1]
    diagonal = np.arange(half)
    hessian[diagonal, diagonal] += second.sum(axis=0)
    hessian[diagonal + half, diagonal + half] += weighted.sum(axis=0)
    hessian[diagonal, diagonal + half] += first.sum(axis=0)
    hessian[diagonal + half, diagonal] += first.sum(axis=0)
    return Slopes(gradient, hessian)


def _scaled(x: NDArray[Any], values: Vector) -> NDArray[Any]:
    half = x.shape[1]
    return np.asarray(x * values[:half] + values[half:])


def _check_finite(block: Block) -> None:
    largest, limit = float(abs(block.scores).max()), LARGEST[block.scores.dtype]
    if not largest < limit:
        raise ValueError(f"logits must be finite and below {limit:g} in magnitude, got a magnitude of {largest}")


def _message(rows: Rows, before: float, after: float) -> str:
    numbers = f"{count(rows.classes, 'scale')} and {count(rows.classes, 'bias', 'biases')}"
    where = f"on {count(rows.counted, 'row')}"
    if not after < before:
        return f"Scales stay 1 and biases 0: no others lower the log-loss of {before:.4g} {where}."
    missing = rows.classes - len(np.unique(rows.targets[rows.weights > 0]))
    without = f", of which none has one of {count(missing, 'class', 'classes')}" if missing else ""
    return f"{numbers} lower the log-loss from {before:.4g} to {after:.4g} {where}{without}."
