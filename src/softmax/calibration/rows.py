"""What both calibrations ask of their input: rows of scores, read a block at a time, as differences from the target's.

A block fits the processor's cache, so that logits are read from memory once a pass and never copied as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import is_bfloat16
from .._blocks import over_blocks
from .._probabilities import TOLERANCE, class_indices

Inputs = Literal["logits", "probabilities"]
Floats = NDArray[Any]

Result = TypeVar("Result")

LARGEST = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e150}  # whose squares neither overflow nor make NaN


class Block(NamedTuple):
    """Some rows: `scores` (n, K), the targets (n,), and the weights (n,), all of them positive."""

    scores: Floats
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]

    @property
    def differences(self) -> Floats:
        """Each logit less its target's, as new memory: the loss of a row is logsumexp of that."""
        floor = -LARGEST[self.scores.dtype]
        with np.errstate(invalid="ignore", over="ignore"):
            d = np.subtract(self.scores, self.of_target(self.scores)[:, np.newaxis])
        if d.min() < floor:  # -inf has probability 0; a finite number spares us 0 * inf
            np.maximum(d, floor, out=d)
        return d

    def of_target(self, values: Floats) -> Floats:
        """The entry of the target in each row of `values`."""
        return np.asarray(values[np.arange(len(values)), self.targets])


class Rows(NamedTuple):
    """Scores (N, K) or (N,) of any floating dtype, targets (N,) and weights (N,), checked but for what they hold."""

    scores: Floats
    inputs: Inputs
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]

    @property
    def classes(self) -> int:
        return classes_of(self.scores)

    @property
    def weight(self) -> float:
        return float(self.weights.sum())

    @property
    def counted(self) -> int:
        """How many rows have a weight above 0."""
        return int(np.count_nonzero(self.weights))

    @property
    def size(self) -> int:
        return len(self.scores) * self.classes

    def every(self, step: int) -> Rows:
        """Each `step`-th row, without a copy of the scores."""
        chosen = slice(None, None, step)
        return self._replace(scores=self.scores[chosen], targets=self.targets[chosen], weights=self.weights[chosen])

    def map(self, function: Callable[[Block], Result], dtype: Any, *, threads: bool = True) -> list[Result]:
        """What `function` returns for each block of rows, in their order: the same whatever the number of threads.

        A block holds logits of `dtype`, and only rows whose weight is not 0.
        """

        def work(chosen: slice) -> Result | None:
            block = self._block(chosen, dtype)
            return function(block) if len(block.targets) else None

        results = over_blocks(work, len(self.scores), self.classes, threads=threads)
        return [result for result in results if result is not None]

    def _block(self, chosen: slice, dtype: Any) -> Block:
        scores, targets, weights = self.scores[chosen], self.targets[chosen], self.weights[chosen]
        if not weights.all():
            kept = weights > 0
            scores, targets, weights = scores[kept], targets[kept], weights[kept]
        return Block(as_logits(scores, self.inputs, dtype), targets, weights)


def as_rows(logits: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, inputs: Inputs) -> Rows:
    """The arguments of `fit`, checked in shape, dtype and range."""
    scores = as_scores(logits, inputs)
    targets = class_indices(y, len(scores), classes_of(scores), name="y", rows_of="logits")
    rows = Rows(scores, inputs, targets, _as_weights(sample_weight, len(scores)))
    if not rows.counted:
        raise ValueError("sample_weight must be above 0 in at least one row, got only zeros")
    return rows


def as_scores(logits: ArrayLike, inputs: Inputs, classes: int | None = None) -> Floats:
    """`logits` as an array of a floating dtype, not copied if it is one: (N, K), K at least 2 or `classes`, or (N,)."""
    if inputs not in ("logits", "probabilities"):
        raise ValueError(f'inputs must be "logits" or "probabilities", got {inputs!r}')
    scores = np.asarray(logits)
    if scores.dtype.kind in "biu":
        scores = scores.astype(np.float64)
    if scores.dtype.kind != "f" and not is_bfloat16(scores.dtype):
        raise TypeError(f"logits must be real numbers, got dtype {scores.dtype}")
    if scores.ndim not in (1, 2) or len(scores) == 0 or scores.shape[-1] < 2 <= scores.ndim:
        raise ValueError(f"logits must have shape (N, K) with K >= 2, or (N,), with N >= 1, got shape {scores.shape}")
    if classes is not None and classes_of(scores) != classes:
        raise ValueError(f"logits must have {classes} classes, as what was fitted had, got shape {scores.shape}")
    return scores


def classes_of(scores: Floats) -> int:
    return scores.shape[1] if scores.ndim == 2 else 2


def as_logits(scores: Floats, inputs: Inputs, dtype: Any) -> Floats:
    """A block of scores as logits (n, K) of `dtype`: (n,) becomes the columns 0 and z, probabilities their logarithms.

    A probability of 0 counts as the smallest normal number of its dtype: rounding made it from something below.
    """
    if inputs == "logits":
        if scores.ndim == 2:
            return scores.astype(dtype, order="C", copy=False)
        return np.stack([np.zeros(len(scores), dtype), scores.astype(dtype)], axis=1)
    wide = scores.dtype if scores.dtype.kind == "f" and scores.dtype.itemsize >= 4 else np.float32
    probs = scores.astype(wide)
    outside = ~((probs >= 0) & (probs <= 1 + TOLERANCE))  # NaN is outside as well
    if outside.any():
        raise ValueError(f"logits must lie in [0, 1], for inputs is 'probabilities', got {probs[outside][0]}")
    if probs.ndim == 1:
        probs = np.stack([1 - np.minimum(probs, 1), probs], axis=1)
    return np.asarray(np.log(np.maximum(probs, np.finfo(probs.dtype).tiny)), dtype)


def by_blocks(scores: Floats, function: Callable[[Floats], Floats], out: Floats | None) -> Floats:
    """Probabilities of the shape and dtype of `scores`, or in `out`: `function` gives (n, K) for each block of rows."""
    result = np.empty_like(scores) if out is None else out
    if result.shape != scores.shape:
        raise ValueError(f"out must have shape {scores.shape}, got shape {result.shape}")

    def work(block: slice) -> None:
        probs = function(scores[block])
        result[block] = probs if scores.ndim == 2 else probs[:, 1]

    over_blocks(work, len(scores), classes_of(scores))
    return result


def _as_weights(sample_weight: ArrayLike | None, rows: int) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(rows)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight must have shape ({rows},), one number a row, got shape {weights.shape}")
    wrong = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(wrong):
        raise ValueError(f"sample_weight must be finite and at least 0, got {weights[wrong[0]]} at position {wrong[0]}")
    return weights
