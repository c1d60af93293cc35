"""The two solvers that minimise a network's objective: L-BFGS over all rows, and Adam on mini-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from threadpoolctl import ThreadpoolController

from . import _native, softmax
from .lbfgs import History, Minimum, minimize
from .network import LARGEST_PRODUCT, Array, Network, Objective, Rows, largest_product
from .products import Sparse, moments

__all__ = ["Adam", "Monitor", "Outcome", "minimize_adam", "minimize_lbfgs"]

Report = Callable[[int, float, float | None], None]

PATIENCE = 10  # iterations without an improvement by `tol` before a run is given up
DIVERGED = 2.0  # a loss this many times that of a network which knows nothing has gone wrong
FIRST_ROUND = 10  # L-BFGS iterations before the curvature is measured again; every round is twice as long as the last
LONG_MEMORY = 400_000  # parameters up to which L-BFGS may remember 30 steps (0.2 GB); above, 10
ROUNDING = {"d": 1e-17, "f": 1e-9}  # a fall of the objective that is nothing but rounding, by the dtype of X


@contextmanager
def _arithmetic() -> Iterator[None]:
    """Overflow shows in the loss, so no warnings; and every matrix product keeps to its thread, see `Objective`."""
    with np.errstate(over="ignore", invalid="ignore"), _controller().limit(limits=1, user_api="blas"):
        yield


@cache
def _controller() -> Any:
    return ThreadpoolController()


class Monitor:
    """The curves, the best parameters so far, and for how many iterations they have not improved by `tol`.

    Best is by the validation loss where there are validation rows, else by the training loss. `report` may raise
    StopIteration to end the run with the best parameters so far.
    """

    def __init__(self, network: Network, tol: float, validation: Rows | None, report: Report) -> None:
        self.network, self.tol, self.validation, self.report = network, tol, validation, report
        self.loss_curve: list[float] = []
        self.validation_loss_curve: list[float] = []
        self.best: Array | None = None
        self.stopped = False
        self._best_loss = np.inf
        self._waited = 0

    def record(self, params: Array, loss: float) -> None:
        self.loss_curve.append(loss)
        watched = loss
        if self.validation is not None:
            watched = self.network.mean_loss(params, self.validation)
            self.validation_loss_curve.append(watched)
        self._waited = 0 if watched < self._best_loss - self.tol else self._waited + 1
        if watched < self._best_loss:
            self.best, self._best_loss = params.copy(), watched
        try:
            self.report(len(self.loss_curve), loss, None if self.validation is None else watched)
        except StopIteration:
            self.stopped = True

    @property
    def stalled(self) -> bool:
        return self.stopped or self._waited >= PATIENCE

    @property
    def validation_stalled(self) -> bool:
        return self.stopped or (self.validation is not None and self.stalled)

    def choose(self, params: Array) -> Array:
        """The best parameters where there is a validation loss to tell or the run was ended, else the last."""
        return self.best if self.best is not None and (self.stopped or self.validation is not None) else params


@dataclass(frozen=True)
class Outcome:
    """What a solver hands back; `unfinished` and `diverged` are sentences to warn with, or None."""

    params: Array
    n_iter: int
    unfinished: str | None = None
    diverged: str | None = None


# --------------------------------------------------------------------------------------------------------- L-BFGS


def minimize_lbfgs(
    objective: Objective, params: Array, rows: Rows, *, tol: float, max_iter: int, monitor: Monitor
) -> Outcome:
    """Minimise over all rows with L-BFGS, starting at `params`.

    Stops when no entry of the gradient, in the coordinates of `_Scaling`, exceeds tol/10, or when three falls of the
    objective in a row are below its rounding error. Without hidden layers the coordinates are renewed after 10, 30,
    70, … iterations, since the curvature near the optimum is not that of the start: the optimum stays, the way to it
    gets shorter.
    """
    with _arithmetic():
        minimum, params, n_iter = _lbfgs_rounds(objective, params, rows, tol, max_iter, monitor)
    if minimum.reason == "not finite":
        return Outcome(monitor.choose(params), max(1, n_iter), diverged=_LBFGS_DIVERGED)
    if not monitor.loss_curve:  # the start was the optimum
        monitor.record(params, minimum.value)
    params = monitor.choose(params)
    _centre_logits(objective.network, params)
    steepest = float(np.abs(minimum.gradient).max())
    return Outcome(params, max(1, n_iter), _lbfgs_unfinished(minimum.reason, steepest, tol, max_iter))


def _lbfgs_rounds(
    objective: Objective, params: Array, rows: Rows, tol: float, max_iter: int, monitor: Monitor
) -> tuple[Minimum, Array, int]:
    """Where the last round ended, the parameters, and the number of iterations of all rounds."""
    length = FIRST_ROUND if objective.network.is_linear else max_iter
    history = History(30 if len(params) <= LONG_MEMORY else 10, params)
    n_iter = 0
    while True:
        minimum, params = _lbfgs_round(objective, params, rows, min(length, max_iter - n_iter), tol, monitor, history)
        n_iter += minimum.n_iter
        if minimum.reason != "max_iter" or n_iter >= max_iter:
            return minimum, params, n_iter
        length *= 2


def _centre_logits(network: Network, params: Array) -> None:
    """Make the last layer sum to 0 over the classes: softmax ignores such a shift, and the penalty falls by it."""
    if network.sizes[-1] > 1:
        coefs, intercepts = network.unpack(params)
        coefs[-1] -= coefs[-1].mean(axis=1, keepdims=True)
        intercepts[-1] -= intercepts[-1].mean()


def _lbfgs_round(
    objective: Objective, params: Array, rows: Rows, max_iter: int, tol: float, monitor: Monitor, history: History
) -> tuple[Minimum, Array]:
    """Where L-BFGS came to in coordinates that suit `params`, and the parameters there."""
    scaling, last = _Scaling(objective, params, rows), params

    def value_and_gradient(x: Array) -> tuple[float, Array]:
        nonlocal last
        last = scaling.to_params(x)
        loss, gradient = objective(last, rows)
        return loss, scaling.gradient(gradient)

    def callback(value: float) -> bool:
        monitor.record(last, value)
        return monitor.validation_stalled

    minimum = minimize(
        value_and_gradient,
        scaling.from_params(params),
        history=history,
        gtol=tol / 10,
        ftol=ROUNDING[params.dtype.char],
        max_iter=max_iter,
        callback=callback,
    )
    return minimum, scaling.to_params(minimum.x)


_LBFGS_DIVERGED = (
    "L-BFGS met an objective that is not finite; the step was taken back and the best weights so far were kept: "
    "standardize the features or raise alpha."
)


def _lbfgs_unfinished(reason: str, steepest: float, tol: float, max_iter: int) -> str | None:
    if reason == "max_iter":
        return (
            f"L-BFGS stopped at max_iter={max_iter} with a scaled gradient of {steepest:.1g}, above tol/10: "
            "raise max_iter, alpha or tol."
        )
    if reason == "stuck" and steepest > max(100 * tol, 1e-8):
        return (
            f"L-BFGS found no lower objective although the scaled gradient is {steepest:.1g}, above tol/10: "
            "standardize the features, pass X as float64, or raise tol."
        )
    return None


class _Scaling:
    """Coordinates (V, c) of the first layer in which the Hessian's diagonal is 1 and the intercepts stand apart.

    W = V / scale and b = c / bias_scale - Σⱼ centreⱼ Wⱼ, from moments of X in which row i counts with its curvature:
    wᵢ pᵢₖ (1 - pᵢₖ) for output k without hidden layers (the exact diagonal), wᵢ with them (standardized features).
    So the features' units do not matter, and X is neither copied nor changed. x is the flat vector of (V, c) and of
    all other layers as they are.
    """

    def __init__(self, objective: Objective, params: Array, rows: Rows) -> None:
        self.network = objective.network
        n, D = len(rows.targets), self.network.sizes[0]
        shift = np.zeros(D) if isinstance(rows.X, Sparse) else rows.X.mean(axis=0, dtype=np.float64)
        total, first, second = np.zeros(1), np.zeros((D, 1)), np.zeros((D, 1))
        for tile in objective.tiles(rows):
            curvature = self._curvature(params, tile)
            total = total + curvature.sum(axis=0, dtype=np.float64)
            first, second = map(np.add, (first, second), moments(tile.X, shift, curvature))
        mean = first / total
        variance = np.maximum(second / n - mean * mean * (total / n), 0) + objective.penalty
        usable = np.isfinite(variance) & (variance > 0)  # not so: a constant column, or one that overflows
        self.scale = np.sqrt(np.where(usable, variance, 1)).astype(params.dtype)
        self.centre = np.where(usable, shift[:, None] + mean, 0).astype(params.dtype)
        self.bias_scale = np.sqrt(total / n)

    def _curvature(self, params: Array, rows: Rows) -> Array:
        weight = np.ones(len(rows.targets)) if rows.weight is None else rows.weight
        outputs, dtype = self.network.sizes[-1], rows.X.dtype
        if not self.network.is_linear:
            return weight[:, None].astype(dtype)
        if not params.any():  # every class is as likely as any other, and one column stands for all of them
            likely = 1 / max(2, outputs)
            return (likely * (1 - likely) * weight)[:, None].astype(dtype)
        probs = softmax(self.network.logits(params, rows.X))[:, -outputs:]
        # A certain row still counts a little: a class that is separated would have no curvature, hence infinite steps.
        curvature = probs * (1 - probs) + probs.dtype.type(1e-6)
        curvature *= weight[:, None]
        return np.asarray(curvature)

    def from_params(self, params: Array) -> Array:
        x: Array = params.copy()
        (W, *_), (b, *_) = self.network.unpack(x)
        b[:] = (b + self._shift(W)) * self.bias_scale
        W *= self.scale
        return x

    def to_params(self, x: Array) -> Array:
        params: Array = x.copy()
        (W, *_), (b, *_) = self.network.unpack(params)
        W /= self.scale
        b[:] = b / self.bias_scale - self._shift(W)
        return params

    def gradient(self, gradient: Array) -> Array:
        """df/dx from df/dparams, in place."""
        (dW, *_), (db, *_) = self.network.unpack(gradient)
        dW -= self.centre * db
        dW /= self.scale
        db /= self.bias_scale
        return gradient

    def _shift(self, W: Array) -> Array:
        # A product sums columns several times faster than `sum` does.
        return np.asarray(np.ones(len(W)) @ (self.centre * W).astype(np.float64))


# ----------------------------------------------------------------------------------------------------------- Adam


class Adam:
    """Steps by running means of the gradient and of its square. Source: Kingma & Ba (2015), arXiv:1412.6980."""

    beta1, beta2, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, n_params: int, learning_rate: float, dtype: DTypeLike) -> None:
        self.mean = np.zeros(n_params, dtype)
        self.square = np.zeros(n_params, dtype)
        self.restart(learning_rate)

    def restart(self, learning_rate: float) -> None:
        self.learning_rate, self.steps = learning_rate, 0
        self.mean[:] = 0
        self.square[:] = 0

    def step(self, params: Array, gradient: Array) -> None:
        """Move `params` in place; `gradient` is used up."""
        self.steps += 1
        correction = math.sqrt(1 - self.beta2**self.steps)
        self.mean *= self.beta1
        self.mean += (1 - self.beta1) * gradient
        gradient *= gradient
        gradient *= 1 - self.beta2
        self.square *= self.beta2
        self.square += gradient
        denominator = np.sqrt(self.square, out=gradient)
        denominator += self.epsilon * correction
        step = np.divide(self.mean, denominator, out=gradient)
        step *= self.learning_rate * correction / (1 - self.beta1**self.steps)
        params -= step


def minimize_adam(
    objective: Objective,
    params: Array,
    rows: Rows,
    *,
    adam: Adam,
    batch_size: int,
    max_iter: int,
    rng: np.random.RandomState,
    monitor: Monitor,
) -> Outcome:
    """Minimise with Adam on shuffled mini-batches, moving `params` in place.

    Stops when 10 epochs in a row have not improved the watched loss by tol. An epoch whose mean loss is not finite, or
    above twice that of a network which knows nothing (the larger of log K and the first batch's loss before any
    step), is taken back: the best parameters so far return, and the learning rate is halved.
    """
    start, first_rate, taken_back = params.copy(), adam.learning_rate, 0
    first = rows.take(slice(batch_size))
    with _arithmetic():
        limit = DIVERGED * max(math.log(max(2, objective.network.sizes[-1])), objective(params, first)[0])
        for _ in range(max_iter):
            loss = _epoch(objective, params, rows, adam, batch_size, rng)
            if loss <= limit:
                monitor.record(params, loss)
                if monitor.stalled:
                    break
            else:
                params[:] = start if monitor.best is None else monitor.best
                adam.restart(adam.learning_rate / 2)
                taken_back += 1
    n_iter = len(monitor.loss_curve) + taken_back
    diverged = unfinished = None
    if taken_back:
        diverged = (
            f"Training diverged in {taken_back} of {n_iter} epochs (loss above {limit:.3g} or not finite): they were "
            f"taken back and the learning rate fell from {first_rate:g} to {adam.learning_rate:g}; "
            f"set learning_rate below {adam.learning_rate:g}, or standardize the features."
        )
    elif not monitor.stalled:
        unfinished = (
            f"Adam stopped at max_iter={max_iter} epochs while the loss still improved by more than "
            f"tol={monitor.tol:g} in 10 epochs: raise max_iter, learning_rate or tol."
        )
    return Outcome(monitor.choose(params), n_iter, unfinished, diverged)


def _epoch(
    objective: Objective, params: Array, rows: Rows, adam: Adam, batch_size: int, rng: np.random.RandomState
) -> float:
    """One pass over the shuffled rows; the mean of the batches' losses, not finite if that or a parameter is not."""
    order = rng.permutation(len(rows.targets))
    small = batch_size * largest_product(objective.network) <= LARGEST_PRODUCT
    by_batches = _small_epoch if small and isinstance(rows.X, np.ndarray) else _large_epoch
    total = by_batches(objective, params, rows, adam, batch_size, order)
    return total / len(order) if np.isfinite(params).all() else math.nan


def _small_epoch(objective: Objective, params: Array, rows: Rows, adam: Adam, batch_size: int, order: Array) -> float:
    """In one native call: for small layers the calls would take longer than the arithmetic."""
    network = objective.network
    total, adam.steps = _native.adam_epoch(
        np.ascontiguousarray(rows.X),
        rows.targets.astype(np.int64, copy=False),
        rows.weight,
        order.astype(np.int64, copy=False),
        np.array(network.sizes, np.int64),
        network.activation == "tanh",
        (network.label_smoothing, network.gamma, 0.0, 0.0),
        batch_size,
        objective.penalty,
        adam.learning_rate,
        (adam.beta1, adam.beta2, adam.epsilon),
        params,
        adam.mean,
        adam.square,
        adam.steps,
    )
    return float(total)


def _large_epoch(objective: Objective, params: Array, rows: Rows, adam: Adam, batch_size: int, order: Array) -> float:
    n_features, dtype = rows.X.shape[1], rows.X.dtype
    buffer = None if isinstance(rows.X, Sparse) else np.empty((batch_size, n_features), dtype)
    total = 0.0
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        loss, gradient = objective(params, _batch(rows, index, buffer))
        total += loss * len(index)
        if not math.isfinite(total):
            break
        adam.step(params, gradient)
    return total


def _batch(rows: Rows, index: Array, buffer: Array | None) -> Rows:
    """The same rows as `rows.take(index)`, dense ones in the buffer."""
    if buffer is None or isinstance(rows.X, Sparse):
        return rows.take(index)
    # mode="clip" lets take write straight into `out`; every index is in range.
    X = np.take(rows.X, index, axis=0, out=buffer[: len(index)], mode="clip")
    return Rows(X, rows.targets[index], None if rows.weight is None else rows.weight[index])
