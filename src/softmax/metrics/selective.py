"""What abstaining buys: the risk among the rows that a model answers, over how many it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .rows import Floats, Rows, checked, rows_of


@dataclass(frozen=True, eq=False)
class RiskCoverageCurve:
    """What `risk_coverage_curve` returns: one point for each confidence that occurs, the highest first.

    Attributes:
        thresholds: (M,) float64, descending: the rows of at least this confidence are answered.
        coverage: (M,) float64, their share of all rows, ascending to 1.
        risk: (M,) float64, the share of wrong answers among them.
        aurc: the area under risk over coverage: the mean risk when 1, 2, … N rows are answered.

    >>> risk_coverage_curve([0.9, 0.6], [1, 0]).aurc
    0.25
    """

    thresholds: Floats
    coverage: Floats
    risk: Floats
    aurc: float


def risk_coverage_curve(probs: ArrayLike, targets: ArrayLike) -> RiskCoverageCurve:
    """Share of wrong answers among the rows that are answered, as fewer and fewer are: those of high confidence.

    Shows where to put `abstain_below` of `softmax.decisions.decide`: take the largest coverage whose risk you can bear,
    and its threshold. Rows of equal confidence are answered together, so that their order plays no part; for the area,
    their errors are spread evenly among them. Source: Geifman & El-Yaniv, "Selective classification for deep neural
    networks", NeurIPS 2017; the area: Geifman, Uziel & El-Yaniv, ICLR 2019.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> curve = risk_coverage_curve([0.9, 0.2, 0.7, 0.6], [1, 0, 1, 0])  # sure of the first row, wrong in the last
    >>> curve.thresholds.tolist(), curve.coverage.tolist(), curve.risk.tolist(), curve.aurc
    ([0.9, 0.8, 0.7, 0.6], [0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25], 0.0625)
    """
    return risk_coverage_of(rows_of(*checked(probs, targets)))


def aurc(probs: ArrayLike, targets: ArrayLike) -> float:
    """The area under the risk-coverage curve, in [0, 1]: 0 is perfect; see `risk_coverage_curve`.

    It judges two things at once, the accuracy and how well confidence tells right from wrong. Temperature scaling
    changes neither for two classes, and the second one little for more.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> aurc([0.9, 0.2, 0.7, 0.6], [1, 0, 1, 0])
    0.0625
    """
    return aurc_of(rows_of(*checked(probs, targets)))


def risk_coverage_of(rows: Rows) -> RiskCoverageCurve:
    n = len(rows.right)
    confidence = np.sort(rows.confidence)[::-1]  # two sorts of numbers take a fifth of one of their places
    of_wrong = np.sort(rows.confidence[~rows.right])
    last = np.append(np.flatnonzero(np.diff(confidence)), n - 1)  # of each run of equal confidence
    thresholds, answered = confidence[last], last + 1
    wrong = len(of_wrong) - np.searchsorted(of_wrong, thresholds[::-1])[::-1]  # ascending: the cache is used
    # Inside a run the number of wrong rows is taken to grow evenly: a straight line between the ends of runs.
    each = np.arange(1, n + 1)
    wrong_by_row = wrong if len(last) == n else np.interp(each, np.append(0, answered), np.append(0, wrong))
    area = float((wrong_by_row / each).mean())
    return RiskCoverageCurve(thresholds, answered / n, wrong / answered, area)


def aurc_of(rows: Rows) -> float:
    return risk_coverage_of(rows).aurc
