"""What the metrics need of each row: how sure it is, whether it is right, and what it costs.

Probabilities are read in blocks that fit the cache, and never copied as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._blocks import over_blocks
from .._probabilities import check_rows, class_indices, probability_array

Floats = NDArray[np.float64]
Targets = NDArray[np.intp]
Result = TypeVar("Result")


class Rows(NamedTuple):
    """Arrays (N,) with an entry a row."""

    confidence: Floats  # the largest probability
    right: NDArray[np.bool_]  # whether its class, the first in a tie, is the target
    loss: Floats  # -log of the target's probability
    distance: Floats  # from the one-hot target, squared; half of that for two classes
    probability: Floats  # of two classes, that of the second one; of more, the confidence
    outcome: NDArray[np.bool_]  # whether what has this probability is the case

    def of(self, chosen: NDArray[np.intp]) -> Rows:
        """Only those at the chosen positions."""
        return Rows._make(values[chosen] for values in self)


def checked(probs: ArrayLike, targets: ArrayLike) -> tuple[NDArray[Any], Targets]:
    """Probabilities (N, K) in their own dtype, and class indices (N,); that rows sum to 1 is seen in `rows_of`."""
    p = probability_array(probs)
    return p, class_indices(targets, *p.shape)


def rows_of(p: NDArray[Any], y: Targets) -> Rows:
    """The summary of each row, and the check that it is a probability distribution."""
    parts = map_blocks(_block_rows, p, y)
    return Rows._make(np.concatenate(values) for values in zip(*parts, strict=True))


def map_blocks(function: Callable[[Floats, Targets, int], Result], p: NDArray[Any], y: Targets) -> list[Result]:
    """What `function` returns for each block of rows in float64, their targets, and the number of the first row."""

    def work(block: slice) -> Result:
        return function(p[block].astype(np.float64, order="C", copy=False), y[block], block.start)

    return over_blocks(work, *p.shape)


def _block_rows(p: Floats, y: Targets, first: int) -> Rows:
    check_rows(p, first)
    each = np.arange(len(p))
    best, of_target = p.argmax(axis=1), p[each, y]
    with np.errstate(divide="ignore"):
        losses = -np.log(np.clip(of_target, 0, 1))
    distances = np.maximum(np.einsum("nk,nk->n", p, p) + 1 - 2 * of_target, 0)
    confidence, right = p[each, best], best == y
    if p.shape[1] == 2:
        return Rows(confidence, right, losses, distances / 2, p[:, 1].copy(), y == 1)
    return Rows(confidence, right, losses, distances, confidence, right)
