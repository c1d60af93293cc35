"""Probabilities that can be believed: corrections of a model's confidence, fitted on rows that it was not trained on.

`TemperatureScaling` divides all logits by one number and is the one to try first; `VectorScaling` has a scale and a
bias for each class. Both take logits, or probabilities where a model gives no more, and need NumPy alone.
"""

from .temperature import TemperatureScaling
from .vector import VectorScaling

__all__ = ["TemperatureScaling", "VectorScaling"]
