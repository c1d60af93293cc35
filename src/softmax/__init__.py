"""From a model's scores to a decision: the softmax family, its losses and gradients."""

from .explanation import explain
from .functions import log_softmax, logsumexp, sigmoid, softmax
from .gradients import value_and_grad
from .losses import cross_entropy

__version__ = "0.1.0"
__all__ = ["cross_entropy", "explain", "log_softmax", "logsumexp", "sigmoid", "softmax", "value_and_grad"]
