"""What probabilities and outcomes say of each other, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._text import percent

BAND = 0.05  # answers given "with 90 % confidence" have 85 to 95 %
ENOUGH = 30  # of them to speak of


def in_words(probs: NDArray[np.float64], targets: NDArray[np.intp]) -> str:
    """How far the confidence of answers can be believed, as a sentence without its stop.

    >>> in_words(np.full((100, 2), [0.1, 0.9]), np.arange(100) < 30)
    'of the answers given with about 90 % confidence, 30.00 % were right: over-confident'
    """
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == targets
    for stated in (0.9, 0.8, 0.7, 0.6):
        said = (confidence >= stated - BAND) & (confidence < stated + BAND)
        if said.sum() >= ENOUGH:
            share = percent(float(right[said].mean()))
            verdict = _judged(confidence[said], right[said])
            return f"of the answers given with about {100 * stated:.0f} % confidence, {share} were right: {verdict}"
    mean, share = percent(float(confidence.mean())), percent(float(right.mean()))
    return f"on average {mean} confident and {share} right: {_judged(confidence, right)}"


def _judged(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> str:
    """What the gap between both means; within 2 standard errors of a calibrated model's accuracy, it means nothing."""
    gap, rows = float(right.mean() - confidence.mean()), len(right)
    if abs(gap) <= 2 * np.sqrt((confidence * (1 - confidence)).sum()) / rows + 0.5 / rows:
        return "as good as its word, within chance"
    much = "slightly " if abs(gap) < 0.05 else ""
    return much + ("under-confident" if gap > 0 else "over-confident")
