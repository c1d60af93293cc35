"""Several models' probabilities as one. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._probabilities import probability_rows
from .elementwise import log_sigmoid
from .functions import softmax

__all__ = ["average"]

Space = Literal["probability", "log", "logit"]
TINY = np.finfo(np.float64).tiny


def average(
    probs_list: Sequence[ArrayLike], weights: ArrayLike | None = None, space: Space = "probability"
) -> NDArray[np.float64]:
    """The weighted mean of several models' probabilities, of their logarithms, or of their logits.

    - "probability": Σ wₘ pₘ. Never surer than the surest model; models that disagree make it less sure, so that the
      average of calibrated models is under-confident. A class that one model holds likely stays possible.
    - "log": proportional to Π pₘ^wₘ, the softmax of the mean logits. Surer than the above; one model that holds a class
      impossible nearly rules it out.
    - "logit": each class by itself against all others: sigmoid(Σ wₘ log(pₘ / (1 - pₘ))), divided by the sum over the
      classes. For two classes the same as "log"; for more, what a class gets depends less on how the rest is divided.

    The log-loss of the first two is at most the weighted mean of the models' losses. Whatever the space, fit the
    temperature on the average, not on the models: averaging changes how sure it is.

    Source: Genest & Zidek, "Combining probability distributions", Statistical Science 1 (1986); calibration of
    averages: Rahaman & Thiery, "Uncertainty quantification and deep ensembles", NeurIPS 2021.

    Args:
        probs_list: M models' probabilities, each (N, K), or (N,) for the second of two classes. In the "log" and
            "logit" spaces 0 counts as the smallest normal number of float64.
        weights: (M,) numbers of at least 0, not all 0; only their ratios count. None: all the same.
        space: what is averaged.

    Returns:
        float64, shape (N, K) or (N,), as given; rows sum to 1.

    Raises:
        TypeError, ValueError: a wrong dtype, shape, range or option, named with what came.

    >>> models = [[[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]]]
    >>> average(models).round(3).tolist()
    [[0.75, 0.25], [0.3, 0.7]]
    >>> average(models, weights=[3, 1], space="log").round(3).tolist()
    [[0.852, 0.148], [0.242, 0.758]]
    """
    shapes = [np.shape(probs) for probs in probs_list]
    if not shapes:
        raise ValueError("probs_list must hold the probabilities of at least one model, got none")
    for model, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"probs_list must hold arrays of one shape, got {shapes[0]}, and {shape} for model {model}"
            )
    if space not in ("probability", "log", "logit"):
        raise ValueError(f'space must be "probability", "log" or "logit", got {space!r}')
    shares = _shares(weights, len(shapes))
    total = sum(share * _in_space(probability_rows(p), space) for share, p in zip(shares, probs_list, strict=True))
    result = _from_space(np.asarray(total), space)
    return np.asarray(result[:, 1]) if len(shapes[0]) == 1 else result


def _in_space(p: NDArray[np.float64], space: Space) -> NDArray[np.float64]:
    if space == "probability":
        return p
    logs = np.log(np.maximum(p, TINY))
    return np.asarray(logs if space == "log" else logs - np.log(np.maximum(1 - p, TINY)))


def _from_space(mean: NDArray[np.float64], space: Space) -> NDArray[np.float64]:
    if space == "probability":
        return np.asarray(mean / mean.sum(axis=1, keepdims=True))
    return np.asarray(softmax(mean if space == "log" else log_sigmoid(mean)))


def _shares(weights: ArrayLike | None, models: int) -> NDArray[np.float64]:
    if weights is None:
        return np.full((models,), 1 / models)
    w = np.asarray(weights, np.float64)
    if w.shape != (models,):
        raise ValueError(f"weights must have shape ({models},), one number a model, got shape {w.shape}")
    if not (np.isfinite(w).all() and w.min() >= 0 and w.max() > 0):
        raise ValueError(f"weights must be finite, at least 0 and not all 0, got {w.tolist()}")
    return np.asarray(w / w.sum())
