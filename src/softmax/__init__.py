"""From a model's scores to a decision: the softmax family, losses, gradients, calibration, metrics and decisions.

All of it needs NumPy alone but `softmax.learn`, the classifier. Each part is imported when it is first used.
"""

import typing

if typing.TYPE_CHECKING:
    from . import calibration, decisions, ensemble, metrics, reference
    from . import learn as learn
    from .binary import binary_cross_entropy
    from .divergence import kl_divergence
    from .elementwise import log_sigmoid, sigmoid
    from .explanation import explain
    from .functions import hardmax, log_softmax, logsumexp, softmax, softmin
    from .gradients import jacobian, value_and_grad, vjp
    from .linear import linear_cross_entropy
    from .losses import cross_entropy, focal_loss
    from .partition import Partition
    from .sparse import entmax, sparsemax

ON_FIRST_USE = {
    "": ("calibration", "decisions", "ensemble", "learn", "metrics", "reference"),
    "binary": ("binary_cross_entropy",),
    "divergence": ("kl_divergence",),
    "elementwise": ("log_sigmoid", "sigmoid"),
    "explanation": ("explain",),
    "functions": ("hardmax", "log_softmax", "logsumexp", "softmax", "softmin"),
    "gradients": ("jacobian", "value_and_grad", "vjp"),
    "linear": ("linear_cross_entropy",),
    "losses": ("cross_entropy", "focal_loss"),
    "partition": ("Partition",),
    "sparse": ("entmax", "sparsemax"),
}

__version__ = "0.1.0"
__all__ = [
    "Partition",
    "binary_cross_entropy",
    "calibration",
    "cross_entropy",
    "decisions",
    "ensemble",
    "entmax",
    "explain",
    "focal_loss",
    "hardmax",
    "jacobian",
    "kl_divergence",
    "linear_cross_entropy",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "metrics",
    "reference",
    "sigmoid",
    "softmax",
    "softmin",
    "sparsemax",
    "value_and_grad",
    "vjp",
]


def __getattr__(name: str) -> typing.Any:
    for module, names in ON_FIRST_USE.items():
        if name in names:
            from importlib import import_module

            found = import_module(f"softmax.{module or name}")
            globals()[name] = value = getattr(found, name) if module else found
            return value
    raise AttributeError(f"module 'softmax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
