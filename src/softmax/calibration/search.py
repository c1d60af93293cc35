"""The best temperature of a set of rows: a convex problem in the inverse temperature, solved by safeguarded Newton.

With d = x - x[target] for a row's logits x, its loss at the inverse temperature b is logsumexp(b d). The derivative by
b is the mean e of d under softmax(b d), the second one the variance v of d. The sum of e over the rows never falls as b
grows, and is 0 at the best b. Newton's method is applied to log(sum of the positive e) - log(-sum of the negative e),
which has the same zero and grows nearly linearly: the losses of rows that are right fall off as exponentials of b,
through which Newton on the sum itself would walk in steps of constant length. A bracket keeps every step in bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .._native import tempered
from .rows import LARGEST, Block, Rows

# The least temperature as a multiple of the largest d, the largest one as a multiple of the largest |d|. At the upper
# limit all classes are as likely as each other to one part in 10,000: beyond, nothing changes. At the lower one,
# differences count that are as small as the rounding errors of the logits.
LIMITS = (1e-12, 1e4)
QUICK = 1 << 21  # above so many logits, search on a part of the rows first
PART = 10  # rows to one of the next smaller part
NEAR = 0.01  # points so close that what lies between them says how the next step bends
GUESS = 100  # how far off the estimate of an error may be without such a point
STEPS = 200  # a bracket of 16 decades, halved in every fourth step, is closed to the last bit long before


class Point(NamedTuple):
    """What all rows say at one inverse temperature; sums are divided by the sum of the weights."""

    beta: float
    loss: float
    up: float  # the sum of the positive e
    down: float  # less the sum of the negative e
    curvature_up: float  # the sums of v over the same rows
    curvature_down: float

    @property
    def slope(self) -> float:
        return self.up - self.down

    @property
    def steepness(self) -> float:
        """The derivative of log(up / down)."""
        return self.curvature_up / self.up + self.curvature_down / self.down

    @property
    def newton(self) -> float:
        """Where Newton's step leads: 0 or infinity where there is no step to take."""
        if self.up == 0 or self.down == 0 or self.steepness == 0:
            return 0.0 if self.slope > 0 else math.inf
        return self.beta - math.log(self.up / self.down) / self.steepness

    def loss_at(self, beta: float) -> float:
        """The loss at another inverse temperature close by."""
        step = beta - self.beta
        return self.loss + step * (self.slope + step * (self.curvature_up + self.curvature_down) / 2)


class Survey(NamedTuple):
    """What has to be known of all rows before the search."""

    loss: float  # at the inverse temperature 1
    nearest: float  # the largest d: at most 0 where every target has its row's largest logit
    furthest: float  # the largest |d|


class Found(NamedTuple):
    beta: float
    point: Point  # the last one, at `beta` or so close that its Newton step leads there
    limit: bool = False  # the best is beyond


def survey(rows: Rows, *, dtype: Any) -> Survey:
    """One pass over the rows in blocks of `dtype`, in which what they hold is checked; float32 errs by some 1e-8."""
    losses, nearest, furthest = zip(*rows.map(_survey, dtype), strict=True)
    return Survey(sum(losses) / rows.weight, max(nearest), max(furthest))


def _survey(block: Block) -> Survey:
    limit, of_target = LARGEST[block.scores.dtype], block.of_target(block.scores)
    with np.errstate(invalid="ignore", over="ignore"):
        nearest = float((block.scores.max(axis=1) - of_target).max())
        least = float((block.scores.min(axis=1) - of_target).min())
    if not nearest < limit:
        raise ValueError(
            f"logits must be finite, but for -inf where it is not the target's, and differ by less than {limit:g} in a "
            f"row, got a difference of {nearest} from the target's"
        )
    if least <= -limit:
        d = block.differences
        least = float(d.min(where=d > -limit, initial=0))
    losses, _, _ = tempered(block.scores, block.targets, 1.0)
    return Survey(float(block.weights @ losses), nearest, max(nearest, -least))


def evaluate(rows: Rows, beta: float, *, dtype: Any) -> Point:
    """One pass over the rows in blocks of `dtype`; float32 errs by some 1e-7."""
    sums = np.sum(rows.map(partial(_sums, beta), dtype), axis=0) / rows.weight
    loss, up, down, curvature_up, curvature_down = sums.tolist()
    return Point(beta, loss, up, down, curvature_up, curvature_down)


def _sums(beta: float, block: Block) -> list[float]:
    """What a block adds to the five sums of `evaluate`."""
    weights = block.weights
    # The variance loses digits in rows alone that are surely wrong, where it is small beside the mean that `steepness`
    # divides it by.
    losses, mean, variance = tempered(block.scores, block.targets, 1 / beta)
    up = mean > 0
    positive, negative = np.where(up, weights, 0), np.where(up, 0, weights)
    return [weights @ losses, positive @ mean, -(negative @ mean), positive @ variance, negative @ variance]


def search(
    evaluated: Callable[[float], Point],
    start: float,
    limits: tuple[float, float],
    tolerance: float,
    last: Point | None = None,
) -> Found:
    """The inverse temperature inside `limits` at which the loss is least, to a relative error of `tolerance`.

    `last` is another point of the same rows, where one is known.
    """
    low, high = limits
    tried: set[float] = set()
    beta = min(max(start, low), high)
    for step in range(STEPS):
        point = evaluated(beta)
        tried.add(beta)
        if point.slope == 0 or (beta == limits[0] and point.slope > 0) or (beta == limits[1] and point.slope < 0):
            return Found(beta, point, point.slope != 0)
        low, high = (beta, high) if point.slope < 0 else (low, beta)
        target = point.newton
        near = last is not None and min(last.up, last.down) > 0 and abs(last.beta - beta) <= NEAR * beta
        allowed = tolerance * target / (1 if near else GUESS)
        if target == beta or (low < target < high and _error(point, last, target) <= allowed):
            return Found(target, point)
        last = point
        end = low if target <= low else high
        if low < target < high and step % 4 < 3:
            beta = target
        elif end not in tried:  # a limit that the minimum may be beyond
            beta = end
        else:
            beta = math.sqrt(low) * math.sqrt(high)
            if not low < beta < high:
                return Found(beta, point)
    return Found(beta, point)


def best(rows: Rows, known: Survey) -> Found:
    """The best inverse temperature of rows that were surveyed, and some target's logit is not its row's largest.

    Many rows are searched from their tenth part's answer on, in float32, and once more in float64: a Newton step
    squares the error, so that one or two passes over all rows suffice.
    """
    limits = 1 / (LIMITS[1] * known.furthest), 1 / (LIMITS[0] * known.nearest)
    start, last = 1.0, None
    if rows.size > QUICK:
        for power in (3, 2, 1, 0):
            part = rows.every(PART**power)
            if part.size > QUICK // PART and part.counted:
                found = search(partial(evaluate, part, dtype=quick(rows)), start, limits, 1e-2)
                start, last = (1.0, None) if found.limit else (found.beta, found.point)
    return search(partial(evaluate, rows, dtype=np.float64), start, limits, 1e-9, last)


def quick(rows: Rows) -> Any:
    """The dtype for a pass that may err in the seventh digit."""
    return np.float32 if rows.size > QUICK and rows.scores.dtype.itemsize <= 4 else np.float64


def _error(point: Point, last: Point | None, target: float) -> float:
    """About how far `target`, a Newton step from `point`, is from the zero: the step squared, times the relative
    change of the derivative a unit of beta, which the point before shows; without one, 1 / beta is assumed."""
    bend = 1 / target
    if last is not None and last.up and last.down and last.beta != point.beta:
        bend = max(abs((point.steepness - last.steepness) / (point.beta - last.beta)) / point.steepness, 1e-3 * bend)
    return bend * (target - point.beta) ** 2
