"""Scores of single classes, pairs of classes and rows, as the report's tables show them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


class ClassScores(NamedTuple):
    """(K,) each: NaN where there is nothing to divide by, that is no prediction of the class, or no row of it."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Indices


def class_scores(probs: Floats, targets: Indices) -> ClassScores:
    """Precision, recall, F1 and rows of each class.

    >>> class_scores(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), np.array([0, 1, 1])).recall.tolist()
    [1.0, 0.5]
    """
    classes, guesses = probs.shape[1], probs.argmax(axis=1)
    right = np.bincount(targets[guesses == targets], minlength=classes)
    guessed, support = np.bincount(guesses, minlength=classes), np.bincount(targets, minlength=classes)
    with np.errstate(invalid="ignore"):
        return ClassScores(right / guessed, right / support, 2 * right / (guessed + support), support)


def confused_pairs(probs: Floats, targets: Indices, most: int = 10) -> list[tuple[int, int, int, float]]:
    """True class, predicted class, rows, and their share of the true class, of the pairs that are confused most.

    >>> confused_pairs(np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), np.array([0, 1, 1]))
    [(1, 0, 1, 0.5)]
    """
    classes, guesses = probs.shape[1], probs.argmax(axis=1)
    wrong = guesses != targets
    pairs, counts = np.unique(targets[wrong] * classes + guesses[wrong], return_counts=True)
    support = np.bincount(targets, minlength=classes)
    found = []
    for i in np.argsort(-counts, kind="stable")[:most]:
        true, guess = divmod(int(pairs[i]), classes)
        found.append((true, guess, int(counts[i]), float(counts[i] / support[true])))
    return found


def worst_mistakes(probs: Floats, targets: Indices, most: int = 10) -> list[int]:
    """The wrongly predicted rows of the highest confidence, the most confident one first.

    >>> worst_mistakes(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 0]))
    [2, 1]
    """
    confidence = np.where(probs.argmax(axis=1) == targets, -1, probs.max(axis=1))
    order = np.argsort(-confidence, kind="stable")[:most]
    return [int(i) for i in order if confidence[i] >= 0]
