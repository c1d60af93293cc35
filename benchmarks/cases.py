"""What is computed: the pieces of work that the libraries are compared on, their inputs, and the exact answers.

An operation is one function here, in `EXACT`, and one method of the same name for each library in `peers.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from softmax import reference

Array = NDArray[Any]
Shape = tuple[int, ...]
CHECKED_ELEMENTS = 2**22  # of a larger result only some rows, spread from the first to the last, are checked

SHAPES: list[Shape] = [
    (1, 10),
    (100, 10),
    (100_000, 10),
    (1000, 1000),
    (64, 32_000),
    (1, 128_256),
    (8, 128_256),
    (4096, 4096),
    (16, 4_194_304),
]
ONE_SHAPE: list[Shape] = [(1000, 1000)]
THREE_SHAPES: list[Shape] = [(1000, 1000), (64, 32_000), (100_000, 10)]
ONE_GIGABYTE: Shape = (16, 2**24)  # of float32
LOSS_SHAPES: list[Shape] = [(100_000, 10), (8192, 1000), (1024, 32_000), (512, 128_256)]


def shape_name(shape: Shape) -> str:
    return "x".join(map(str, shape))


class Missing(Exception):
    """A library has no such operation, which is no fault."""


@dataclass(frozen=True)
class Case:
    """One piece of work: an operation on logits of `shape` and `dtype`, drawn from N(0, scale²) or as in `DRAWS`.

    `out` asks for the result in an array that is passed in. The scale of 5 spreads a row as widely as the logits of a
    language model, and keeps every probability in the normal range: below it libraries differ in whether they flush to
    zero, which is another question than how fast and how exact they are.
    """

    op: str
    shape: Shape = ()
    dtype: str = "float32"
    axis: int = -1
    out: bool = False
    label_smoothing: float = 0.0
    gamma: float = 0.0
    soft: bool = False  # probabilities as targets
    temperature: float = 1.0
    draw: str = "normal"
    scale: float = 5.0
    seed: int = 0

    @property
    def shape_name(self) -> str:
        """The shape as it is written in tables and on the command line: "1000x1000"."""
        return shape_name(self.shape)

    @property
    def title(self) -> str:
        """What is computed, without the shape: cases of one title share a table."""
        words = [
            self.op,
            self.dtype,
            "with gradient" if self.op == "cross_entropy" else "",
            f"axis={self.axis}" if self.axis != -1 else "",
            f"label_smoothing={self.label_smoothing}" if self.label_smoothing else "",
            f"gamma={self.gamma:g}" if self.gamma else "",
            "of probabilities" if self.soft else "",
            f"temperature={self.temperature:g}" if self.temperature != 1 else "",
            "out=" if self.out else "",
        ]
        return " ".join(filter(None, words))


class Part(NamedTuple):
    """One array of an exact answer, and the magnitudes that its errors are compared with.

    Where a small result is the difference of large numbers (a log-probability near 0), the peers are off by millions of
    ULP. That is reported, but is not wrong as long as the error is small beside `magnitude`, the size of those numbers.
    Where cancellation is in the problem itself, errors are reported in ULP of the `terms` that cancel.
    """

    exact: Array
    magnitude: Array | float = 0.0
    terms: Array | float = 0.0


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a name, bfloat16 included, which is ml_dtypes'."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


def _normal(case: Case, rng: np.random.Generator) -> Array:
    logits = rng.standard_normal(case.shape, dtype=np.float64 if case.dtype == "float64" else np.float32)
    logits *= case.scale
    return logits


def _one_large(case: Case, rng: np.random.Generator) -> Array:
    logits = _normal(case, rng)
    logits[..., 0] = 60
    return logits


def _logsumexp_near_zero(case: Case, rng: np.random.Generator) -> Array:
    logits = _normal(case, rng)
    return logits - reference.logsumexp(logits, keepdims=True)


# What the logits of a case are. All but the first are hard to do exactly.
DRAWS: dict[str, Callable[[Case, np.random.Generator], Array]] = {
    "normal": _normal,
    "ties": lambda case, rng: _normal(case, rng).round(),
    "one large": _one_large,
    "offset": lambda case, rng: _normal(case, rng) + 10_000,
    "tails": lambda case, rng: rng.uniform(-100, 0, case.shape),
    "pair": lambda case, rng: np.full(case.shape, [20.0, 0.0]),
    "logsumexp near 0": _logsumexp_near_zero,
}


def inputs(case: Case) -> dict[str, Array]:
    """The arrays that the operation is given, the same in every process."""
    rng = np.random.default_rng(case.seed)
    logits = DRAWS[case.draw](case, rng)
    arrays: dict[str, Array] = {"logits": logits.astype(numpy_dtype(case.dtype), copy=False)}
    if case.op == "cross_entropy":
        arrays["targets"] = (
            _probabilities(case, rng) if case.soft else rng.integers(case.shape[-1], size=case.shape[:-1])
        )
    return arrays


def _probabilities(case: Case, rng: np.random.Generator) -> Array:
    shares = rng.standard_exponential(case.shape, dtype=np.float32)
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares.astype(numpy_dtype(case.dtype), copy=False)


def checked_rows(case: Case) -> Array:
    """Indices, along the first dimension, of the rows whose answers are checked: always the first and the last."""
    rows = case.shape[0]
    wanted = rows if case.axis != -1 else min(rows, max(2, CHECKED_ELEMENTS // math.prod(case.shape[1:])))
    return np.unique(np.linspace(0, rows - 1, wanted).round().astype(np.intp))


def select(case: Case, answer: tuple[Array, ...]) -> list[Array]:
    """Of a whole answer, what is checked: the checked rows of arrays, and scalars as they are."""
    rows = checked_rows(case)
    return [part[rows] if part.ndim and case.axis == -1 else part for part in answer]


def _wide(case: Case, x: Array) -> Array:
    """float64, which is exact enough to judge float32 by, or longdouble to judge float64 by."""
    return x.astype(np.longdouble if case.dtype == "float64" else np.float64)


def _softmax(case: Case, logits: Array) -> Iterator[Part]:
    x = _wide(case, logits[checked_rows(case)])
    probs = reference.softmax(x, axis=case.axis, temperature=case.temperature)
    yield Part(probs)


def _log_softmax(case: Case, logits: Array) -> Iterator[Part]:
    x = _wide(case, logits[checked_rows(case)])
    log_probs = reference.log_softmax(x, axis=case.axis, temperature=case.temperature)
    yield Part(log_probs, -log_probs.min(axis=case.axis, keepdims=True))


def _logsumexp(case: Case, logits: Array) -> Iterator[Part]:
    x = _wide(case, logits[checked_rows(case)])
    exact, top = reference.logsumexp(x, axis=case.axis), x.max(axis=case.axis)
    yield Part(exact, np.abs(x).max(axis=case.axis), np.maximum(np.abs(top), np.abs(exact - top)))


def _sigmoid(case: Case, logits: Array) -> Iterator[Part]:
    x = _wide(case, logits[checked_rows(case)])
    less = np.exp(-np.abs(x))
    yield Part(np.where(x < 0, less, 1) / (1 + less))


def _sparsemax(case: Case, logits: Array) -> Iterator[Part]:
    return _projection(case, logits, lambda count, sums, squares: (sums - 1) / count, power=1)


def _entmax15(case: Case, logits: Array) -> Iterator[Part]:
    def threshold(count: Array, sums: Array, squares: Array) -> Array:
        mean = sums / count
        return mean - np.sqrt(np.maximum(1 - (squares - mean * sums), 0) / count)

    return _projection(case, logits, threshold, power=2)


def _projection(case: Case, logits: Array, threshold: Callable[..., Array], power: int) -> Iterator[Part]:
    """max(z - tau, 0)**power for z = x / power, with the tau at which it sums to 1.

    tau is the threshold of the largest z, as many of them as lie above their own threshold. Source: Peters, Niculae &
    Martins, "Sparse sequence-to-sequence models", ACL 2019, doi:10.18653/v1/P19-1146.
    """
    x = logits[checked_rows(case)].astype(np.longdouble)
    z = (x - x.max(axis=-1, keepdims=True)) / power
    largest_first = -np.sort(-z, axis=-1)
    sums, squares = largest_first.cumsum(axis=-1), (largest_first**2).cumsum(axis=-1)
    thresholds = threshold(np.arange(1, z.shape[-1] + 1), sums, squares)
    support = (thresholds < largest_first).sum(axis=-1, keepdims=True)
    tau = np.take_along_axis(thresholds, support - 1, axis=-1)
    # The peers subtract in the logits' own precision, so that an entry close to tau is mostly rounding.
    yield Part(np.maximum(z - tau, 0) ** power, np.abs(x).max(axis=-1, keepdims=True))


def _cross_entropy(case: Case, logits: Array, targets: Array) -> Iterator[Part]:
    yield Part(np.asarray(_mean_loss(case, logits, targets)), magnitude=1.0)
    if case.gamma or case.soft:
        at = checked_rows(case)
        gradient = reference.cross_entropy_gradient(_wide(case, logits[at]), targets[at], gamma=case.gamma)
        yield Part(
            gradient / len(logits), 1.0 / len(logits), np.abs(gradient).max(axis=-1, keepdims=True) / len(logits)
        )
        return
    rows, (count, classes), alpha = checked_rows(case), case.shape, case.label_smoothing
    hit = np.zeros((len(rows), classes), bool)
    hit[np.arange(len(rows)), targets[rows]] = True
    gradient = reference.cross_entropy_gradient(_wide(case, logits[rows]), targets[rows])
    # With smoothing, it is the difference to a target of 1 - alpha + alpha/K, and of alpha/K elsewhere.
    shift = np.where(hit, alpha - alpha / classes, -alpha / classes)
    terms = np.maximum(np.abs(gradient), np.abs(shift)) if alpha else 0.0
    yield Part((gradient + shift) / count, np.where(hit, 1.0, terms) / count, terms / count)


def _mean_loss(case: Case, logits: Array, targets: Array) -> Any:
    """The loss of all rows, in blocks, as it is their mean that the libraries return."""
    total = _wide(case, np.zeros(()))
    step = max(1, CHECKED_ELEMENTS // case.shape[-1])
    for start in range(0, case.shape[0], step):
        if case.gamma or case.soft:
            part = slice(start, start + step)
            total += reference.cross_entropy(_wide(case, logits[part]), targets[part], gamma=case.gamma).sum()
            continue
        log_probs = reference.log_softmax(_wide(case, logits[start : start + step]))
        hits = np.take_along_axis(log_probs, targets[start : start + step, np.newaxis], axis=-1)
        total -= (1 - case.label_smoothing) * hits.sum() + case.label_smoothing * log_probs.mean(axis=-1).sum()
    return total / case.shape[0]


EXACT: dict[str, Callable[..., Iterator[Part]]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "sigmoid": _sigmoid,
    "sparsemax": _sparsemax,
    "entmax15": _entmax15,
    "cross_entropy": _cross_entropy,
}


def expected(case: Case) -> list[Part]:
    """The exact answer of a case, cut as `select` cuts the libraries' answers."""
    return list(EXACT[case.op](case, **inputs(case)))
