"""Minimisation by L-BFGS without bounds, for objectives that are costly or have very many parameters.

Everything is computed in the dtype of the start; function values are Python floats. Sources: Byrd, Nocedal & Schnabel,
"Representations of quasi-Newton matrices" (1994), doi:10.1007/BF01582063, for the direction; Lewis & Overton (2013),
doi:10.1007/s10107-012-0514-2, for the search along it; Hager & Zhang (2005), doi:10.1137/030601880, for when to accept
a step whose fall of the function is lost in rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["History", "Minimum", "minimize"]

Array = NDArray[Any]
Function = Callable[[Array], tuple[float, Array]]

DESCENT = 1e-4  # the part of the promised fall that a step has to bring
CURVATURE = 0.9  # the part of the slope that it may leave
TRIALS = 40  # function calls of one search
IDLE = 3  # of one step, rounding may have hidden the fall


class Minimum(NamedTuple):
    """Where `minimize` ended, and why: "flat", "stalled", "stuck", "stopped", "max_iter" or "not finite"."""

    x: Array
    value: float
    gradient: Array
    n_iter: int
    reason: str


def minimize(
    function: Function,
    x: Array,
    *,
    history: History,
    gtol: float,
    ftol: float,
    max_iter: int,
    callback: Callable[[float], bool],
) -> Minimum:
    """Minimise a function that returns its value and its gradient; neither may keep the array it is given.

    Ends "flat" when no entry of the gradient exceeds gtol, "stalled" when IDLE steps in a row lower the value by no
    more than ftol (relative where the value is above 1), "stuck" when no step along the direction lowers it, "not
    finite" where that is because the value is not. `callback` has the value after each iteration, whose point is that
    of the last call of `function`; what it returns says whether to stop. What `history` holds is forgotten.
    """
    history.clear()
    value, gradient = function(x)
    gradient = gradient.copy()
    if not math.isfinite(value):
        return Minimum(x, value, gradient, 0, "not finite")
    idle = 0
    for n_iter in range(max_iter + 1):
        if np.abs(gradient).max() <= gtol:
            return Minimum(x, value, gradient, n_iter, "flat")
        if n_iter == max_iter:
            break
        found = _search(function, x, value, gradient, history.direction(gradient))
        if not isinstance(found, _Point) and len(history):
            history.clear()
            found = _search(function, x, value, gradient, -gradient)
        if not isinstance(found, _Point):
            return Minimum(x, value, gradient, n_iter, found)
        fall, scale = value - found.value, max(abs(value), abs(found.value), 1.0)
        history.add(found.x - x, found.gradient - gradient)
        x, value, gradient = found
        if callback(value):
            return Minimum(x, value, gradient, n_iter + 1, "stopped")
        idle = idle + 1 if fall <= ftol * scale else 0
        if idle == IDLE and np.abs(gradient).max() > gtol:
            return Minimum(x, value, gradient, n_iter + 1, "stalled")
    return Minimum(x, value, gradient, max_iter, "max_iter")


class _Point(NamedTuple):
    x: Array
    value: float
    gradient: Array


def _search(function: Function, x: Array, value: float, gradient: Array, direction: Array) -> _Point | str:
    """A point along the direction where the function is lower and flatter, or why there is none."""
    slope = _dot(gradient, direction)
    if not slope < 0:
        return "stuck"
    rounding = 8 * float(np.finfo(x.dtype).eps) * max(abs(value), 1e-300)
    low, low_slope, high, t = 0.0, slope, math.inf, 1.0
    finite = True
    for _ in range(TRIALS):
        trial = x + x.dtype.type(t) * direction
        trial_value, trial_gradient = function(trial)
        finite = math.isfinite(trial_value)
        trial_slope = _dot(trial_gradient, direction) if finite else math.inf
        enough = trial_value <= value + DESCENT * t * slope
        flat_enough = trial_value <= value + rounding and trial_slope <= (2 * DESCENT - 1) * slope
        if not finite or not (enough or flat_enough):
            high = t
            # the minimum of the parabola through both ends, well inside
            guess = _parabola(t - low, value - trial_value, slope) if finite and low == 0 else 0.5
            t = low + min(max(guess, 0.1), 0.5) * (high - low)
        elif trial_slope < CURVATURE * slope:
            # where the secant of both slopes is 0, at least as far again and not too far
            growth = trial_slope / (low_slope - trial_slope) if low_slope < trial_slope else math.inf
            further = t + min(max(growth, 1.0), 9.0) * (t - low)
            low, low_slope = t, trial_slope
            t = further if math.isinf(high) else 0.5 * (low + high)
        else:
            return _Point(trial, trial_value, trial_gradient.copy())
        if math.isfinite(high) and high - low <= 1e-14 * high:
            break
    return "stuck" if finite else "not finite"


def _parabola(width: float, fall: float, slope: float) -> float:
    """Where, as a part of the width, the parabola with that slope at 0 that rises by -fall at `width` is lowest."""
    bend = -fall - slope * width
    return -slope * width / (2 * bend) if bend > 0 else 0.5


def _dot(a: Array, b: Array) -> float:
    return float(np.dot(a, b))


class History:
    """The last steps and changes of the gradient, and the inverse Hessian that they tell of: memory for `minimize`."""

    def __init__(self, length: int, like: Array) -> None:
        self._steps = np.empty((length, like.size), like.dtype)  # pages that are not written take no memory
        self._changes = np.empty_like(self._steps)
        self._products = np.zeros((length, length))  # of steps (rows) and changes
        self._squares = np.zeros((length, length))  # of changes
        self.clear()

    def __len__(self) -> int:
        return len(self._order)

    def clear(self) -> None:
        """Forget everything."""
        self._order: list[int] = []  # the places of the pairs, the oldest first

    def add(self, step: Array, change: Array) -> None:
        """Remember a pair in place of the oldest, if it tells of a positive curvature."""
        curvature, square = _dot(step, change), _dot(change, change)
        if not curvature > np.finfo(step.dtype).eps * square:
            return
        place = self._order.pop(0) if len(self._order) == len(self._steps) else len(self._order)
        self._order.append(place)
        self._steps[place], self._changes[place] = step, change
        count = len(self._order)
        self._products[:count, place] = self._steps[:count] @ change
        self._squares[place, :count] = self._squares[:count, place] = self._changes[:count] @ change
        self._products[place, place], self._squares[place, place] = curvature, square

    def direction(self, gradient: Array) -> Array:
        """-H g, with H = γ I + [S γY] [[R⁻ᵀ (D + γ YᵀY) R⁻¹, -R⁻ᵀ], [-R⁻¹, 0]] [S γY]ᵀ.

        S, Y: steps and changes; R: the upper triangle of SᵀY, D its diagonal; γ: the last pair's sᵀy / yᵀy.
        """
        if not self._order:
            return -gradient
        order, count = self._order, len(self._order)
        steps, changes = self._steps[:count], self._changes[:count]
        R = np.triu(self._products[np.ix_(order, order)])
        squares = self._squares[np.ix_(order, order)]
        gamma = R[-1, -1] / squares[-1, -1]
        u = np.linalg.solve(R, (steps @ gradient)[order].astype(np.float64))
        w = R.diagonal() * u + gamma * (squares @ u - (changes @ gradient)[order])
        of_steps, of_changes = np.empty(count, gradient.dtype), np.empty(count, gradient.dtype)
        of_steps[order], of_changes[order] = np.linalg.solve(R.T, w), -gamma * u
        direction = of_steps @ steps
        direction += of_changes @ changes
        direction += gradient.dtype.type(gamma) * gradient
        return np.asarray(np.negative(direction, out=direction))
