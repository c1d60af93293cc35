"""One temperature for all classes: the calibration to try first."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._text import count
from ..functions import softmax
from .files import Saved
from .rows import Block, Inputs, Rows, as_logits, as_rows, as_scores, by_blocks
from .search import Survey, best, evaluate, quick, survey

__all__ = ["TemperatureScaling"]


class TemperatureScaling(Saved):
    """Divides logits by one number T > 0, fitted so that the probabilities are as good as they can be.

    T > 1 makes a model less sure of itself, T < 1 surer; the most probable class stays the same. `fit` finds the T with
    the least log-loss on rows that the model was not trained on. That is a convex problem in 1/T, solved by Newton's
    method inside a bracket: it cannot diverge, and T is exact to 1e-8 of itself.

    Args:
        inputs: "logits", or "probabilities" for what a model without logits returns: their logarithms are divided by T.
            A probability of 0 counts as the smallest normal number of its dtype.

    Attributes:
        temperature_: T, a float above 0.
        log_loss_before_: mean log-loss at T = 1 of what `fit` was given, in nats.
        log_loss_after_: the same at `temperature_`, never above the former.
        message_: one sentence that says what was found.

    Sets of rows without a best T are told apart, and `message_` names them:

    - Every target has the largest logit of its row: the loss falls for ever as T falls. T becomes the one at which the
      mean probability of the targets is (n + 1) / (n + 2), as Laplace's rule of succession has it for n rows all of
      which were right; it stays 1 where that would raise it. Rows whose target ties with another class do not count.
      For weights w, n is (Σw)² / Σw².
    - The targets' logits are no better than the mean of their rows, as when all rows are wrong: the best T is infinite,
      even probabilities. T becomes 10,000 times the largest distance of a logit from its target's, at which
      probabilities are even to 1 part in 10,000. Nor does T fall below 1e-12 times the most by which a logit is above
      its target's, where differences would count that are as small as the rounding errors of the logits.
    - All logits of each row are equal, or no T lowers the log-loss: T stays 1.

    Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017.

    >>> logits = np.array([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]])
    >>> scaling = TemperatureScaling().fit(logits, [0, 1, 0, 0])
    >>> round(scaling.temperature_, 6), scaling.transform(logits)[0].round(2).tolist()  # right in 3 of 4 rows
    (3.640957, [0.75, 0.25])
    >>> print(scaling.message_)
    T = 3.641 lowers the log-loss from 1.018 to 0.5623 on 4 rows.
    """

    temperature_: float
    log_loss_before_: float
    log_loss_after_: float
    message_: str

    def __init__(self, inputs: Inputs = "logits") -> None:
        self.inputs = inputs

    def fit(self, logits: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> TemperatureScaling:
        """Find the temperature; returns self.

        Args:
            logits: (N, K) real numbers, K at least 2, or (N,) for the second of two classes, the first having logit 0.
                -inf stands for a class that is left out. Probabilities where `inputs` says so. Read in blocks: neither
                copied nor changed.
            y: (N,) integer class indices in [0, K). A class may be missing.
            sample_weight: (N,) numbers of at least 0; rows of weight 0 count for nothing, whatever they hold.

        Raises:
            TypeError, ValueError: a wrong dtype, shape or range, NaN, or a target with the logit -inf.
        """
        rows = as_rows(logits, y, sample_weight, self.inputs)
        first = survey(rows, dtype=quick(rows))
        if first.furthest == 0:
            return self._keep(first.loss, "T stays 1: all logits of each row are equal, and no T changes that.")
        if first.nearest <= 0:
            return self._separated(rows, first)
        beta, point, limit = best(rows, first)
        before, after = first.loss, point.loss_at(beta)
        if abs(before - after) < 1e-6 * before:  # the first pass may have been too coarse to tell
            before = survey(rows, dtype=np.float64).loss
        if not after < before:
            return self._keep(before, f"T stays 1: no other T lowers the log-loss of {before:.4g} on {_rows(rows)}.")
        message = f"lowers the log-loss from {before:.4g} to {after:.4g} on {_rows(rows)}"
        if limit and beta < 1:
            message += ", the upper limit: the logits tell the targets no better than chance"
        elif limit:
            message += ", the lower limit: the loss falls as far as the logits' digits reach"
        return self._set(1 / beta, before, after, message)

    def transform(self, logits: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Probabilities of the same shape and floating dtype, (N,) being that of the second class.

        Args:
            logits: as in `fit`.
            out: where to put them; may be `logits` itself, for no memory beside it.

        Raises:
            TypeError, ValueError: a wrong dtype or shape.
            AttributeError: `fit` was not called.
        """
        temperature = self.temperature_
        scores = as_scores(logits, self.inputs)
        if self.inputs == "logits" and scores.ndim == 2:
            return np.asarray(softmax(scores, temperature=temperature, out=out))

        def probabilities(block: NDArray[Any]) -> NDArray[Any]:
            x = as_logits(block, self.inputs, np.float64)
            return np.asarray(softmax(x, temperature=temperature, out=x))

        return by_blocks(scores, probabilities, out)

    def _separated(self, rows: Rows, first: Survey) -> TemperatureScaling:
        right = "every row's target has its largest logit, so that the log-loss falls for ever as T does"
        beta, size = _succession(rows)
        if beta <= 1:
            return self._keep(first.loss, f"T stays 1: {right}, but no more confidence is warranted by {_rows(rows)}.")
        after = evaluate(rows, beta, dtype=np.float64).loss
        known = (
            f"at this T the targets have {(size + 1) / (size + 2):.4g} on average, (n + 1) / (n + 2) for n = {size:.4g}"
        )
        message = f"lowers the log-loss from {first.loss:.4g} to {after:.4g} on {_rows(rows)}: {right}; {known}"
        return self._set(1 / beta, first.loss, after, message)

    def _keep(self, loss: float, message: str) -> TemperatureScaling:
        self.temperature_, self.log_loss_before_, self.log_loss_after_ = 1.0, loss, loss
        self.message_ = message
        return self

    def _set(self, temperature: float, before: float, after: float, message: str) -> TemperatureScaling:
        self.temperature_, self.log_loss_before_, self.log_loss_after_ = temperature, before, after
        self.message_ = f"T = {temperature:.4g} {message}."
        return self


def _succession(rows: Rows) -> tuple[float, float]:
    """(inverse temperature, n) by the rule of succession, for rows that are all right; (1, 0) where all are ties.

    Newton's method on the logarithm of the mean probability that the targets miss: about linear in the inverse
    temperature, and convex or concave in turn, so that a bracket is kept here, too.
    """
    strict = np.concatenate(rows.map(lambda block: (block.differences == 0).sum(axis=1) == 1, np.float64))
    weights = np.zeros(len(rows.weights))
    weights[np.flatnonzero(rows.weights)] = rows.weights[rows.weights > 0] * strict
    if not strict.any():
        return 1.0, 0.0
    rows = Rows(rows.scores, rows.inputs, rows.targets, weights)
    size = rows.weight**2 / float(weights @ weights)
    wanted, beta, low, high = 1 / (size + 2), 1.0, 0.0, math.inf
    for _ in range(200):
        missing, slope = _missing(rows, beta)
        if beta == 1 and missing <= wanted:
            return 1.0, size
        low, high = (beta, high) if missing > wanted else (low, beta)
        step = math.log(missing / wanted) * missing / slope if missing and slope else -math.inf
        target = beta + step
        if not low < target < high:
            target = 2 * low if high == math.inf else (low + high) / 2
        if abs(target - beta) <= 1e-12 * beta or target in (low, high):
            return target, size
        beta = target
    return beta, size


def _missing(rows: Rows, beta: float) -> tuple[float, float]:
    """Mean of 1 - p of the targets, and less its derivative by beta."""
    sums = np.array(rows.map(partial(_missing_of, beta), np.float64)).sum(axis=0) / rows.weight
    return float(sums[0]), float(sums[1])


def _missing_of(beta: float, block: Block) -> list[float]:
    d = block.differences
    probs = softmax(d, temperature=1 / beta)
    of_target = block.of_target(probs)
    probs[np.arange(len(probs)), block.targets] = 0  # their sum is more precise than 1 - p
    slopes = of_target * np.einsum("nk,nk->n", probs, d)
    return [float(block.weights @ probs.sum(axis=1)), -float(block.weights @ slopes)]


def _rows(rows: Rows) -> str:
    return count(rows.counted, "row")
