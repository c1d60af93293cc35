"""A feed-forward network as one flat vector of parameters, and its penalised cross-entropy with the gradient.

With rows i, weights wᵢ of mean 1, their losses ℓᵢ and weight matrices W the objective is

    f = 1/n Σ wᵢ ℓᵢ + penalty/2 Σ‖W‖²,    penalty = alpha / (sum of the weights as the user gave them).

Two classes need one output, z: their logits are [0, z], so that the penalty is that of binary logistic regression.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import _native, cross_entropy
from ._targets import Options
from .losses import rows_losses
from .products import Sparse, affine, transposed_product

__all__ = [
    "LARGEST_PRODUCT",
    "Network",
    "Objective",
    "Rows",
    "class_logits",
    "forward",
    "largest_product",
    "stratified_part",
]

Array = NDArray[Any]

TILE = 2 << 20  # bytes of features and activations that are worked on at a time: the caches hold them
LARGEST_PRODUCT = 2**24  # multiplications in a matrix product of a tile: about half a millisecond
SHORTEST_TILE = 128  # rows, so that adding up the tiles' gradients costs little beside them


class Rows(NamedTuple):
    """Examples: X (n, n_features), dense or sparse, class indices (n,), and weights (n,), or None where all are 1."""

    X: Array | Sparse
    targets: Array
    weight: Array | None

    def take(self, index: Any) -> Rows:
        return Rows(self.X[index], self.targets[index], None if self.weight is None else self.weight[index])

    @property
    def total(self) -> float:
        return float(len(self.targets) if self.weight is None else self.weight.sum())

    def normalized(self) -> Rows:
        """The same with weights of mean 1."""
        return self if self.weight is None else self._replace(weight=self.weight / self.weight.mean())

    def tiles(self, length: int) -> list[Rows]:
        """The same in parts of up to `length` rows."""
        n = len(self.targets)
        return [self] if n <= length else [self.take(slice(i, i + length)) for i in range(0, n, length)]


def stratified_part(targets: Array, fraction: float, rng: np.random.RandomState) -> NDArray[np.bool_]:
    """A random mask (n,) of about that fraction of every class; a class of one row keeps it.

    Shuffled rows are sorted by class and taken at equal steps, so that it works for more classes than rows to take.
    """
    shuffled = rng.permutation(len(targets))
    by_class = shuffled[np.argsort(targets[shuffled], kind="stable")]
    by_class = by_class[np.bincount(targets)[targets[by_class]] > 1]
    n_taken = round(fraction * len(by_class))
    if n_taken == 0 or n_taken == len(by_class):
        raise ValueError(
            f"validation_fraction={fraction:g} of {len(targets)} rows leaves none to hold out or none to train on: "
            "change validation_fraction or set early_stopping=False."
        )
    steps = (np.arange(n_taken) + rng.uniform()) * (len(by_class) / n_taken)
    mask = np.zeros(len(targets), bool)
    mask[by_class[steps.astype(np.intp)]] = True
    return mask


def _tanh(z: Array) -> None:
    np.tanh(z, out=z)


def _tanh_backward(a: Array, error: Array) -> None:
    error *= 1 - a * a


def _relu(z: Array) -> None:
    np.maximum(z, 0, out=z)


def _relu_backward(a: Array, error: Array) -> None:
    error *= a > 0


# In place: an activation of its input; an error times the derivative, given the activation's values.
ACTIVATIONS: dict[str, tuple[Callable[[Array], None], Callable[[Array, Array], None]]] = {
    "tanh": (_tanh, _tanh_backward),
    "relu": (_relu, _relu_backward),
}


def class_logits(outputs: Array) -> Array:
    """Logits (n, K) of a network's outputs: the outputs themselves, or [0, z] where there is only one."""
    if outputs.shape[1] > 1:
        return outputs
    logits = np.zeros((len(outputs), 2), outputs.dtype)
    logits[:, 1:] = outputs
    return logits


def forward(X: Array | Sparse, coefs: Sequence[Array], intercepts: Sequence[Array], activation: str) -> Array:
    """The last layer's values (n, n_outputs) for X (n, n_features)."""
    apply, _ = ACTIVATIONS[activation]
    z = affine(X, coefs[0], intercepts[0])
    for coef, intercept in zip(coefs[1:], intercepts[1:], strict=True):
        apply(z)
        z = z @ coef + intercept
    return z


@dataclass(frozen=True)
class Network:
    """The shape of a network and its loss. All parameters are one flat vector: weight matrices, then intercepts.

    sizes: features, each hidden layer, outputs (K, or 1 for two classes); activation: "tanh" or "relu"; label_smoothing
    and gamma: those of `softmax.cross_entropy`.
    """

    sizes: tuple[int, ...]
    activation: str
    label_smoothing: float = 0.0
    gamma: float = 0.0

    @property
    def is_linear(self) -> bool:
        return len(self.sizes) == 2

    @property
    def n_coefs(self) -> int:
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.sizes))

    @property
    def n_params(self) -> int:
        return self.n_coefs + sum(self.sizes[1:])

    def unpack(self, params: Array) -> tuple[list[Array], list[Array]]:
        """Views of the flat parameters: one (n_in, n_out) matrix and one (n_out,) vector a layer."""
        coefs, intercepts = [], []
        coef, intercept = 0, self.n_coefs
        for fan_in, fan_out in pairwise(self.sizes):
            coefs.append(params[coef : coef + fan_in * fan_out].reshape(fan_in, fan_out))
            intercepts.append(params[intercept : intercept + fan_out])
            coef, intercept = coef + fan_in * fan_out, intercept + fan_out
        return coefs, intercepts

    def pack(self, coefs: Sequence[Array], intercepts: Sequence[Array], dtype: DTypeLike) -> Array:
        """The inverse of `unpack`, in new memory."""
        return np.concatenate([part.ravel() for part in (*coefs, *intercepts)], dtype=dtype)

    def initial(self, rng: np.random.RandomState, dtype: DTypeLike) -> Array:
        """Random weights whose layers keep the variance of what passes; zeros where the problem is convex.

        Uniform on ±√(6/(n_in+n_out)), also into a ReLU, where twice the variance (He et al. 2015) was tried: it gave a
        higher loss on held-out digits, with one hidden layer and with ten. Source: Glorot & Bengio (2010).
        """
        params = np.zeros(self.n_params, dtype)
        if self.is_linear:
            return params
        for coef in self.unpack(params)[0]:
            bound = math.sqrt(6 / sum(coef.shape))
            coef[...] = rng.uniform(-bound, bound, coef.shape)
        return params

    def logits(self, params: Array, X: Array | Sparse) -> Array:
        return class_logits(forward(X, *self.unpack(params), self.activation))

    def mean_loss(self, params: Array, rows: Rows) -> float:
        """The weighted mean loss, without the penalty."""
        total = 0.0
        for tile in rows.tiles(tile_length(self, rows)):
            total += cross_entropy(
                self.logits(params, tile.X),
                tile.targets,
                label_smoothing=self.label_smoothing,
                sample_weight=tile.weight,
                gamma=self.gamma,
                reduction="sum",
            )
        return total / rows.total


def largest_product(network: Network) -> int:
    """Multiplications for a row in the largest of its matrix products."""
    return max(fan_in * fan_out for fan_in, fan_out in pairwise(network.sizes))


def tile_length(network: Network, rows: Rows) -> int:
    """How many rows make a tile; all are of like length."""
    n, sparse = len(rows.targets), isinstance(rows.X, Sparse)
    longest = TILE // (sum(network.sizes[1:] if sparse else network.sizes) * rows.X.dtype.itemsize)
    if not sparse:
        longest = min(longest, LARGEST_PRODUCT // largest_product(network))
    return -(-n // -(-n // max(SHORTEST_TILE, longest)))


class Objective:
    """The penalised mean loss and its gradient of up to `n_rows` rows at a time.

    The rows are worked on in tiles, so that no array of all logits is made, and on as many threads as the kernels may
    use. The tiles and the order in which their gradients are added do not depend on the threads: the sum has the same
    bits for any number of them, as long as each matrix product keeps to one. The next call overwrites the gradient.
    """

    def __init__(self, network: Network, penalty: float, n_rows: int, dtype: DTypeLike) -> None:
        self.network = network
        self.penalty = penalty
        self._n_rows, self._dtype = n_rows, np.dtype(dtype)
        self._gradient = np.empty(network.n_params, dtype)
        self._workers: list[_Worker] = []
        self._pool: ThreadPoolExecutor | None = None
        self._rows: Rows | None = None
        self._tiles: list[Rows] = []

    def __call__(self, params: Array, rows: Rows) -> tuple[float, Array]:
        """f and df/dparams, the latter in the dtype of X."""
        n, n_coefs = len(rows.targets), self.network.n_coefs
        loss = 0.0
        self._gradient[...] = 0
        for part, gradient in self._parts(params, self.tiles(rows), n):
            loss += part
            self._gradient += gradient
        weights = params[:n_coefs]
        self._gradient[:n_coefs] += self.penalty * weights
        return loss + self.penalty / 2 * float(weights @ weights), self._gradient

    def tiles(self, rows: Rows) -> list[Rows]:
        """The tiles of `rows`, kept until other rows come: sparse ones hold their columns too."""
        if rows is not self._rows:
            self._rows, self._tiles = rows, rows.tiles(tile_length(self.network, rows))
        return self._tiles

    def _parts(self, params: Array, tiles: list[Rows], n: int) -> Iterator[tuple[float, Array]]:
        """Each tile's loss and gradient, in their order; the next one's may overwrite the gradient."""
        threads = min(len(tiles), _native.num_threads())
        wanted = threads + (threads > 1)  # one more: no thread waits until the gradient before is added
        longest = max(len(tile.targets) for tile in tiles)
        if len(self._workers) < wanted or self._workers[0].n_rows < longest:
            self._workers = [_Worker(self.network, longest, self._dtype) for _ in range(wanted)]
            self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        if self._pool is None:
            for tile in tiles:
                yield self._workers[0](params, tile, n)
            return
        running: deque[Future[tuple[float, Array]]] = deque()
        try:
            for tile, worker in zip(tiles, cycle(self._workers[:wanted]), strict=False):
                if len(running) == wanted:
                    yield running.popleft().result()
                running.append(self._pool.submit(worker, params, tile, n))
            while running:
                yield running.popleft().result()
        finally:
            for left in running:  # after an error or Ctrl-C: none may go on in buffers that are used again
                left.cancel()
            wait(running)


class _Worker:
    """One thread's buffers for the values, errors and gradient of up to `n_rows` rows."""

    def __init__(self, network: Network, n_rows: int, dtype: DTypeLike) -> None:
        self.network, self.n_rows = network, n_rows
        self._layers = [np.empty((n_rows, width), dtype) for width in network.sizes[1:]]
        self._errors = [np.empty((n_rows, width), dtype) for width in network.sizes[1:-1]]
        self._gradient = np.empty(network.n_params, dtype)
        self._options = Options(network.label_smoothing, gamma=network.gamma)

    def __call__(self, params: Array, tile: Rows, n: int) -> tuple[float, Array]:
        """What the tile adds to the mean loss of n rows, and to its gradient."""
        with np.errstate(over="ignore", invalid="ignore"):  # shows in the loss; the setting is each thread's own
            coefs, intercepts = self.network.unpack(params)
            layers = self._forward(tile.X, coefs, intercepts)
            logits = class_logits(layers[-1])
            factors = np.float64(1 / n) if tile.weight is None else tile.weight / n
            losses, error = rows_losses(logits, tile.targets, factors, None, -1, self._options, True, out=logits)
            assert error is not None
            self._backward(layers, error[:, -self.network.sizes[-1] :], coefs)
            return float(losses.sum()), self._gradient

    def _forward(self, X: Array | Sparse, coefs: list[Array], intercepts: list[Array]) -> list[Any]:
        apply, _ = ACTIVATIONS[self.network.activation]
        layers: list[Any] = [X]
        for coef, intercept, buffer in zip(coefs, intercepts, self._layers, strict=True):
            if len(layers) > 1:
                apply(layers[-1])
            layers.append(affine(layers[-1], coef, intercept, out=buffer[: X.shape[0]]))
        return layers

    def _backward(self, layers: list[Any], error: Array, coefs: list[Array]) -> None:
        _, backward = ACTIVATIONS[self.network.activation]
        d_coefs, d_intercepts = self.network.unpack(self._gradient)
        for depth in reversed(range(len(coefs))):
            transposed_product(layers[depth], error, out=d_coefs[depth])
            error.sum(axis=0, out=d_intercepts[depth])
            if depth:
                error = np.matmul(error, coefs[depth].T, out=self._errors[depth - 1][: len(error)])
                backward(layers[depth], error)
