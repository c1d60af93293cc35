"""Pictures of probabilities and of how good they are. Needs matplotlib (`pip install 'softmax[report]'`).

Every function draws into `ax`, a matplotlib Axes, or into a figure of its own, and returns the Axes. Such a figure is
not pyplot's: save it with ``ax.figure.savefig("picture.svg")``; a notebook shows ``ax.figure``. Colours are those of
Okabe and Ito, which colour-blind people can tell apart.
"""

from __future__ import annotations

try:
    from .calibration import ReliabilityDisplay, reliability, risk_coverage
    from .quality import confidence_histogram, confusion
    from .steps import probabilities, sigmoid_versus_softmax, temperature
    from .training import learning_curves, pixel_weights, top_features
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "softmax.plot needs matplotlib, which is not installed: pip install 'softmax[report]'", name=error.name
    ) from error

__all__ = [
    "ReliabilityDisplay",
    "confidence_histogram",
    "confusion",
    "learning_curves",
    "pixel_weights",
    "probabilities",
    "reliability",
    "risk_coverage",
    "sigmoid_versus_softmax",
    "temperature",
    "top_features",
]
