"""How good predicted probabilities are: accuracy, log-loss, Brier score, calibration error and the use of abstaining.

Every function takes `probs`, shape (N, K), or (N,) for the probability of the second of two classes (the same as the
two columns 1 - p and p), and `targets`, integer class indices of shape (N,). Rows must sum to 1. NumPy only; arrays of
floats are read in blocks and never copied. `all_scores` gives every number at once, `bootstrap_intervals` each with how
far it could be off.
"""

from .bins import (
    ReliabilityCurve,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    reliability_curve,
)
from .scores import accuracy, brier_score, log_loss
from .selective import RiskCoverageCurve, aurc, risk_coverage_curve
from .smooth import smooth_calibration_error
from .together import Interval, all_scores, bootstrap_intervals

__all__ = [
    "Interval",
    "ReliabilityCurve",
    "RiskCoverageCurve",
    "accuracy",
    "all_scores",
    "aurc",
    "bootstrap_intervals",
    "brier_score",
    "classwise_calibration_error",
    "debiased_calibration_error",
    "expected_calibration_error",
    "log_loss",
    "maximum_calibration_error",
    "reliability_curve",
    "risk_coverage_curve",
    "smooth_calibration_error",
]
