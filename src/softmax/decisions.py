"""From probabilities to a decision: the class to act on, none where the model is too unsure, or a set. NumPy only."""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._fitted import Fitted
from ._probabilities import class_indices, probability_rows

__all__ = ["ConformalSets", "decide", "top_k"]


class Uniform(Protocol):
    """What draws numbers for `ConformalSets`: a `numpy.random.Generator` or another object with such a method."""

    def random(self, size: Any) -> Any: ...


def decide(probs: ArrayLike, *, costs: ArrayLike | None = None, abstain_below: float | None = None) -> NDArray[np.intp]:
    """The class to decide for in each row, as an index (N,), or -1 where it abstains.

    Without `costs` this is the most probable class; with them, the one whose expected cost Σᵢ pᵢ·costs[i, j] is least.
    The first class wins a tie. Source: Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.

    Args:
        probs: (N, K) probabilities, rows summing to 1, or (N,) for the second of two classes.
        costs: (K, K), what it costs to decide for class j (column) where class i (row) is the truth.
        abstain_below: abstain in a row whose largest probability is below this, a number in [0, 1]; the costs play no
            part in that.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> decide([[0.6, 0.4], [0.1, 0.9]]).tolist()
    [0, 1]
    >>> decide([[0.6, 0.4], [0.1, 0.9]], costs=[[0, 1], [5, 0]]).tolist()  # overlooking class 1 costs 5
    [1, 1]
    >>> decide([[0.6, 0.4], [0.1, 0.9]], abstain_below=0.7).tolist()
    [-1, 1]
    """
    p = probability_rows(probs)
    decision: NDArray[np.intp] = p.argmax(axis=1)
    if costs is not None:
        decision = (p @ _cost_matrix(costs, p.shape[1])).argmin(axis=1)
    if abstain_below is not None:
        if not 0 <= abstain_below <= 1:
            raise ValueError(f"abstain_below must lie in [0, 1], got {abstain_below}")
        decision[p.max(axis=1) < abstain_below] = -1
    return decision


def top_k(probs: ArrayLike, k: int) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """The k most probable classes along the last axis, the most probable first: their indices, and their probabilities.

    The lower index comes first in a tie. Works on scores of any kind, logits included.

    Args:
        probs: (…, K) real numbers.
        k: how many, from 1 to K.

    Returns:
        indices (…, k) and probs (…, k), the latter with the dtype of the input.

    Raises:
        ValueError: k is out of range, or `probs` holds NaN.

    >>> indices, probs = top_k([[0.1, 0.6, 0.3]], 2)
    >>> indices.tolist(), probs.tolist()
    ([[1, 2]], [[0.6, 0.3]])
    """
    p = np.asarray(probs)
    if p.ndim == 0:
        raise ValueError("probs must have shape (…, K), got a single number")
    if not 1 <= k <= p.shape[-1]:
        raise ValueError(f"k must lie in [1, {p.shape[-1]}], the number of classes, got {k}")
    if np.isnan(p).any():
        raise ValueError(f"probs must not hold NaN, got one at position {tuple(np.argwhere(np.isnan(p))[0].tolist())}")
    if p.dtype.kind == "f" and p.shape[-1] >= 100 * k and not np.isneginf(p).any():
        indices = _maxima(p, k)
        return indices, np.take_along_axis(p, indices, axis=-1)
    # Sorting the reversed row and reversing again keeps ties in ascending order without negating, which unsigned
    # integers would not survive.
    order = p.shape[-1] - 1 - np.argsort(p[..., ::-1], axis=-1, kind="stable")
    indices = order[..., ::-1][..., :k]
    return indices, np.take_along_axis(p, indices, axis=-1)


def _maxima(p: NDArray[Any], k: int) -> NDArray[np.intp]:
    """The indices of the k largest entries of each row: with many classes, a pass for each takes less than sorting."""
    left, indices = p.copy(), np.empty((*p.shape[:-1], k), np.intp)
    for i in range(k):
        indices[..., i] = left.argmax(axis=-1)
        np.put_along_axis(left, indices[..., i : i + 1], -np.inf, axis=-1)
    return indices


class ConformalSets(Fitted):
    """Sets of classes that hold the truth with a probability of at least 1 - alpha, whatever the model.

    `fit` measures on rows that the model was not trained on how large a set has to be, `predict` returns the sets of
    new ones: small where the model is sure, large where it is not. The promise holds on average over rows that are
    drawn as the calibration rows were, the model right or wrong, and for any number n of them: the threshold is the
    ⌈(n + 1)(1 - alpha)⌉-th smallest score of their targets. (With fewer than 1/alpha - 1 rows that is none, and every
    set holds all classes.) It is no promise for each class by itself, least for one that no calibration row has
    (`missing_classes_`): its scores are judged by those of the others.

    A class belongs to the set if its score is at most the threshold:

    - "lac": 1 - p. The smallest sets on average, but it is the hard rows that it misses, and a set may be empty.
    - "aps": the sum of the probabilities above its own. Larger sets, which adapt: harder rows have larger ones, and
      coverage is more even.
    - "raps": the same plus penalty · (rank - k_reg) for classes whose rank is above k_reg. For many classes, whose long
      tail makes the sets of "aps" large and noisy; with K <= k_reg classes it is "aps".

    Args:
        method: "lac", "aps" or "raps".
        alpha: how often the set may miss, in (0, 1).
        randomized: for "aps" and "raps", add (1 - u) · p to each score, u being drawn evenly from [0, 1) for each row,
            as the papers have it; without, u is 1. The promise is the same. Randomized sets differ from call to call,
            are somewhat larger on average, and may be empty.
        never_empty: put the most probable class into a set that would be empty, as those of "lac" and randomized ones
            may be. Coverage can only grow.
        penalty: for "raps", what each rank beyond k_reg adds to the score, at least 0.
        k_reg: for "raps", the number of ranks that are free, at least 0. 0.01 and 5 are what Angelopoulos et al. use
            for 1000 classes.
        random_state: for `randomized`, a seed, with which `fit` and `predict` return the same at each call, or a
            `numpy.random.Generator`. None draws anew.

    Attributes:
        threshold_: the largest score that belongs, infinite where there were too few rows.
        missing_classes_: indices of the classes that no calibration row had.

    Sources: "lac", Sadinle, Lei & Wasserman, "Least ambiguous set-valued classifiers with bounded error levels", JASA
    114 (2019); "aps", Romano, Sesia & Candès, "Classification with valid and adaptive coverage", NeurIPS 2020; "raps",
    Angelopoulos, Bates, Malik & Jordan, "Uncertainty sets for image classifiers using conformal prediction", ICLR 2021.

    >>> probs = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]] * 5)
    >>> sets = ConformalSets("lac", alpha=0.2).fit(probs, [0, 1, 1, 2] * 5)
    >>> sets.predict([[0.5, 0.45, 0.05], [0.05, 0.9, 0.05]]).tolist()
    [[True, True, False], [False, True, False]]
    """

    threshold_: float
    missing_classes_: list[int]

    def __init__(
        self,
        method: Literal["aps", "lac", "raps"] = "aps",
        alpha: float = 0.1,
        *,
        randomized: bool = False,
        never_empty: bool = True,
        penalty: float = 0.01,
        k_reg: int = 5,
        random_state: int | Uniform | None = None,
    ) -> None:
        self.method = method
        self.alpha = alpha
        self.randomized = randomized
        self.never_empty = never_empty
        self.penalty = penalty
        self.k_reg = k_reg
        self.random_state = random_state

    def fit(self, probs: ArrayLike, targets: ArrayLike) -> ConformalSets:
        """Find the threshold; returns self.

        Args:
            probs: (N, K) probabilities, or (N,) for the second of two classes, of rows the model was not trained on.
            targets: (N,) integer class indices.

        Raises:
            TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.
        """
        self._check()
        p = probability_rows(probs)
        y = class_indices(targets, *p.shape)
        scores = np.sort(self._scores(p, stream=0)[np.arange(len(y)), y])
        # 1e-9, because a product that should be a whole number may be rounded to just above it.
        rank = math.ceil((len(y) + 1) * (1 - self.alpha) - 1e-9)
        self.threshold_ = float(scores[rank - 1]) if rank <= len(y) else math.inf
        self.missing_classes_ = np.setdiff1d(np.arange(p.shape[1]), y).tolist()
        self._classes = p.shape[1]
        return self

    def predict(self, probs: ArrayLike) -> NDArray[np.bool_]:
        """(N, K) booleans: which classes belong to the set of each row.

        Args:
            probs: (N, K) probabilities with as many classes as in `fit`, or (N,) for the second of two classes.

        Raises:
            TypeError, ValueError: a wrong dtype, shape or range, named with what came.
            AttributeError: `fit` was not called.
        """
        threshold = self.threshold_
        p = probability_rows(probs)
        if p.shape[1] != self._classes:
            raise ValueError(f"probs must have {self._classes} classes, as in fit, got shape {p.shape}")
        members = np.asarray(self._scores(p, stream=1) <= threshold)
        if self.never_empty:
            empty = ~members.any(axis=1)
            members[empty, p[empty].argmax(axis=1)] = True
        return members

    def _scores(self, p: NDArray[np.float64], stream: int) -> NDArray[np.float64]:
        """(N, K): the scores of all classes; `stream` 0 and 1 draw different numbers from one seed."""
        if self.method == "lac":
            return 1 - p
        order = np.argsort(-p, axis=1, kind="stable")
        ordered = np.take_along_axis(p, order, axis=1)
        scores = np.cumsum(ordered, axis=1) - ordered
        if self.method == "raps":
            scores += self.penalty * np.maximum(np.arange(1, p.shape[1] + 1) - self.k_reg, 0)
        if self.randomized:
            scores += (1 - self._random(stream).random(len(p))[:, np.newaxis]) * ordered
        result = np.empty_like(scores)
        np.put_along_axis(result, order, scores, axis=1)
        return result

    def _random(self, stream: int) -> Uniform:
        if isinstance(self.random_state, int | np.integer):
            return np.random.default_rng([int(self.random_state), stream])
        return np.random.default_rng() if self.random_state is None else self.random_state

    def _check(self) -> None:
        if self.method not in ("aps", "lac", "raps"):
            raise ValueError(f'method must be "aps", "lac" or "raps", got {self.method!r}')
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha must lie in (0, 1), got {self.alpha}")
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"penalty must be finite and at least 0, got {self.penalty}")
        if not self.k_reg >= 0:
            raise ValueError(f"k_reg must be at least 0, got {self.k_reg}")


def _cost_matrix(costs: ArrayLike, classes: int) -> NDArray[np.float64]:
    matrix = np.asarray(costs, np.float64)
    if matrix.shape != (classes, classes):
        raise ValueError(f"costs must have shape ({classes}, {classes}), truth by decision, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("costs must be finite")
    return matrix
