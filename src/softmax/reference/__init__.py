"""The softmax family in plain NumPy: the readable specification that the native kernels are tested against.

Everything is computed in float64, or in ``numpy.longdouble`` where the input is that. Clarity comes first: there are
temporaries of the input's size, and no care for speed. Source: Blanchard, Higham & Higham, "Accurately computing the
log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), doi:10.1093/imanum/draa038.
"""

from .family import entmax, hardmax, log_sigmoid, log_softmax, logsumexp, sigmoid, softmax, softmin, sparsemax
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_gradient,
    cross_entropy,
    cross_entropy_gradient,
    kl_divergence,
    kl_divergence_gradient,
)
from .rules import log_sigmoid_vjp, log_softmax_vjp, sigmoid_vjp, softmax_vjp

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_gradient",
    "cross_entropy",
    "cross_entropy_gradient",
    "entmax",
    "hardmax",
    "kl_divergence",
    "kl_divergence_gradient",
    "log_sigmoid",
    "log_sigmoid_vjp",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "sigmoid",
    "sigmoid_vjp",
    "softmax",
    "softmax_vjp",
    "softmin",
    "sparsemax",
]
