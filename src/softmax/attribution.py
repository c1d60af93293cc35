"""Which features a linear model or a network has drawn its logits from: shares that add up to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import softmax
from ._text import percent, table
from .network import ACTIVATIONS, class_logits

__all__ = ["Attribution", "attribute"]

SHOWN = 10  # features in the text


@dataclass(frozen=True, eq=False)
class Attribution:
    """What `SoftmaxClassifier.explain` returns; `str()` shows the largest contributions to the class decided for.

    Attributes:
        classes: the labels, (K,).
        features: the names of the features.
        values: the row that is explained, (n_features,).
        contributions: what each feature adds to each logit, (n_features, K), float64.
        base: the logits of a row of zeros, (K,), float64. base + contributions.sum(axis=0) are the logits.
        probs: the probabilities, (K,), float64.
    """

    classes: NDArray[Any]
    features: tuple[str, ...]
    values: NDArray[Any]
    contributions: NDArray[np.float64]
    base: NDArray[np.float64]
    probs: NDArray[np.float64]

    @property
    def logits(self) -> NDArray[np.float64]:
        """The logits that the parts add up to, (K,)."""
        return np.asarray(self.base + self.contributions.sum(axis=0))

    @property
    def decision(self) -> int:
        """Index of the most probable class."""
        return int(self.probs.argmax())

    def __str__(self) -> str:
        k = self.decision
        of_class = self.contributions[:, k]
        largest = np.argsort(-np.abs(of_class), kind="stable")[:SHOWN]
        rows = [["feature", "value", f"to {self.classes[k]}"]]
        rows += [[self.features[j], f"{self.values[j]:.4g}", f"{of_class[j]:+.4g}"] for j in largest if of_class[j]]
        rest = of_class.sum() - of_class[largest].sum()
        if len(of_class) > SHOWN:
            rows.append([f"{len(of_class) - SHOWN:,} others", "", f"{rest:+.4g}"])
        rows += [["without features", "", f"{self.base[k]:+.4g}"], ["logit", "", f"{self.logits[k]:+.4g}"]]
        return "\n".join([f"{self.classes[k]}, with {percent(float(self.probs[k]))}", "", *table(rows)])


def attribute(
    x: NDArray[Any],
    coefs: Sequence[NDArray[Any]],
    intercepts: Sequence[NDArray[Any]],
    activation: str,
    classes: NDArray[Any],
    features: Sequence[str],
) -> Attribution:
    """The contributions of the entries of x, (n_features,), to the logits of a network.

    Without hidden layers that of feature j is xⱼ Wⱼₖ. A hidden neuron h = f(z) passes on, to what came to z from each
    feature, the quotient (f(z) - f(z₀)) / (z - z₀), with z₀ its value for a row of zeros: so the parts always add up.
    Source: Shrikumar, Greenside & Kundaje, "Learning important features through propagating activation differences",
    ICML 2017, arXiv:1704.02685 (the rescale rule).
    """
    x = np.asarray(x, np.float64)
    parts = x[:, None] * coefs[0]  # of each feature in each neuron; their sum is z - z₀
    base = np.asarray(intercepts[0], np.float64)
    for coef, intercept in zip(coefs[1:], intercepts[1:], strict=True):
        at_base, at_x = base.copy(), base + parts.sum(axis=0)
        difference = at_x - at_base
        for z in (at_base, at_x):
            ACTIVATIONS[activation][0](z)
        moved = difference != 0  # else no feature has come to it, or they cancel
        slope = np.divide(at_x - at_base, difference, where=moved, out=np.zeros_like(base))
        parts, base = (parts * slope) @ coef, at_base @ coef + intercept
    contributions, base = class_logits(parts), class_logits(base[None])[0]
    probs = softmax(base + contributions.sum(axis=0))
    return Attribution(classes, tuple(features), x, contributions, base, probs)
