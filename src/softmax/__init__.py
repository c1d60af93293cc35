"""From a model's scores to a decision: the softmax family, its losses and gradients."""

from .functions import Partition, log_softmax, logsumexp, sigmoid, softmax
from .gradients import value_and_grad
from .losses import cross_entropy

__version__ = "0.1.0"
__all__ = ["Partition", "cross_entropy", "log_softmax", "logsumexp", "sigmoid", "softmax", "value_and_grad"]
