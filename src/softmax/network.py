"""A feed-forward network as one flat vector of parameters, and its penalised cross-entropy with the gradient.

With rows i, weights wᵢ of mean 1, their losses ℓᵢ and weight matrices W the objective is

    f = 1/n Σ wᵢ ℓᵢ + penalty/2 Σ‖W‖²,    penalty = alpha / (sum of the weights as the user gave them).

Two classes need one output, z: their logits are [0, z], so that the penalty is that of binary logistic regression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import cross_entropy
from ._targets import Options
from .losses import rows_losses
from .products import Sparse, add_product, affine

__all__ = ["Network", "Objective", "Rows", "class_logits", "forward", "stratified_part"]

Array = NDArray[Any]

TILE = 2 << 20  # bytes of features and activations that are worked on at a time: the caches hold them
SHORTEST_TILE = 256  # rows, so that adding up the tiles' gradients costs little beside them


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

        Uniform on ±√(6/(n_in+n_out)) (Glorot & Bengio 2010), or on ±√(6/n_in) into a ReLU (He et al. 2015,
        doi:10.1109/ICCV.2015.123).
        """
        params = np.zeros(self.n_params, dtype)
        if self.is_linear:
            return params
        *hidden, last = self.unpack(params)[0]
        for coef in (*hidden, last):
            fan_in, fan_out = coef.shape
            into_relu = self.activation == "relu" and coef is not last
            bound = math.sqrt(6 / (fan_in if into_relu else fan_in + fan_out))
            coef[...] = rng.uniform(-bound, bound, coef.shape)
        return params

    def logits(self, params: Array, X: Array | Sparse) -> Array:
        return class_logits(forward(X, *self.unpack(params), self.activation))

    def mean_loss(self, params: Array, rows: Rows) -> float:
        """The weighted mean loss, without the penalty."""
        return float(cross_entropy(self.logits(params, rows.X), rows.targets, **self.loss_options(rows)))

    def loss_options(self, rows: Rows) -> dict[str, Any]:
        """What `softmax.cross_entropy` takes beside logits and targets."""
        return {"sample_weight": rows.weight, "label_smoothing": self.label_smoothing, "gamma": self.gamma}


def _tile_length(widths: Sequence[int], dtype: DTypeLike) -> int:
    """How many rows of arrays of these widths are worked on at a time."""
    return max(SHORTEST_TILE, TILE // (sum(widths) * np.dtype(dtype).itemsize))


class Objective:
    """The penalised mean loss and its gradient, with the buffers that up to `n_rows` rows at a time need.

    The rows are worked on tile by tile, so that no array of all logits is made. The gradient is one of the buffers: the
    next call overwrites it.
    """

    def __init__(self, network: Network, penalty: float, n_rows: int, dtype: DTypeLike) -> None:
        self.network = network
        self.penalty = penalty
        self._longest = min(n_rows, _tile_length(network.sizes[1:], dtype))
        self._layers = [np.empty((self._longest, width), dtype) for width in network.sizes[1:]]
        self._errors = [np.empty((self._longest, width), dtype) for width in network.sizes[1:-1]]
        self._gradient = np.empty(network.n_params, dtype)
        self._options = Options(network.label_smoothing, gamma=network.gamma)
        self._rows: Rows | None = None
        self._tiles: list[Rows] = []

    def __call__(self, params: Array, rows: Rows) -> tuple[float, Array]:
        """f and df/dparams, the latter in the dtype of X."""
        n, n_coefs = len(rows.targets), self.network.n_coefs
        coefs, intercepts = self.network.unpack(params)
        loss = 0.0
        self._gradient[...] = 0
        for tile in self.tiles(rows):
            loss += self._tile(tile, n, coefs, intercepts)
        weights = params[:n_coefs]
        self._gradient[:n_coefs] += self.penalty * weights
        return loss + self.penalty / 2 * float(weights @ weights), self._gradient

    def tiles(self, rows: Rows) -> list[Rows]:
        """The tiles of `rows`, kept until other rows come: sparse ones hold their columns too."""
        if rows is not self._rows:
            fitting = self._longest if isinstance(rows.X, Sparse) else _tile_length(self.network.sizes, rows.X.dtype)
            self._rows, self._tiles = rows, rows.tiles(min(self._longest, fitting))
        return self._tiles

    def _tile(self, tile: Rows, n: int, coefs: list[Array], intercepts: list[Array]) -> float:
        """What the tile adds to the mean loss of n rows; its part of the gradient is added."""
        layers = self._forward(tile.X, coefs, intercepts)
        logits = class_logits(layers[-1])
        factors = np.float64(1 / n) if tile.weight is None else tile.weight / n
        losses, error = rows_losses(logits, tile.targets, factors, None, -1, self._options, True, out=logits)
        assert error is not None
        self._backward(layers, error[:, -self.network.sizes[-1] :], coefs)
        return float(losses.sum())

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
            add_product(d_coefs[depth], layers[depth], error)
            d_intercepts[depth] += error.sum(axis=0)
            if depth:
                error = np.matmul(error, coefs[depth].T, out=self._errors[depth - 1][: len(error)])
                backward(layers[depth], error)
