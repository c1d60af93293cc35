"""Divergence of one softmax from another, for distillation. `value_and_grad` adds both gradients in the same pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import _native, reference
from ._arrays import Array, as_array, result_dtype, rounded
from ._targets import Options, check_options, one_axis
from .gradients import Derivative, as_gradient, rule_of, value_and_grad_of

__all__ = ["kl_divergence"]


class Gradients(NamedTuple):
    """By both arguments of `kl_divergence`, each of its logits' shape and dtype (float64 for integers)."""

    p_logits: Array
    q_logits: Array


def kl_divergence(
    p_logits: ArrayLike, q_logits: ArrayLike, axis: int = -1, *, temperature: float = 1.0, reduction: str = "mean"
) -> Any:
    """Kullback-Leibler divergence ``sum(p * log(p / q))`` of two softmaxes: what q costs where p is true.

    Parameters
    ----------
    p_logits, q_logits : array_like of real numbers, shape (..., K)
        Scores of the same shape; p = softmax(p_logits / temperature) is the truth (a teacher), q the model. Masked
        entries count as -inf.
    axis : int
        Where the classes lie.
    temperature : float > 0
        Divides both.
    reduction : {"mean", "sum", "none"}
        Mean over the rows (0.0 where there is none), sum, or one divergence a row.

    Returns
    -------
    scalar, or ndarray with one divergence a row for reduction "none"
        >= 0, and 0 for equal logits, also where they differ by a constant. In the wider of the two dtypes (float64 for
        integers). A class that p excludes adds nothing; one that q alone excludes makes its row infinite. A row with
        a NaN is NaN; one in which p has no class is 0. Error of a row: 16 ulp in float64, 1 ulp in float32, however
        close p and q are.

    Raises
    ------
    ValueError
        For two different shapes, and options out of range.
    TypeError
        For dtypes that are not real numbers, and more than one axis.

    Notes
    -----
    Each class adds ``q - p + p * log(p / q)``, which is never negative and has the same sum: no term cancels another.
    With d = log(p / q), the gradients of a row are ``p * (d - divergence) / temperature``, within 16 ulp of ``p *
    (abs(d) + sum(p * abs(d))) / temperature``, and ``(q - p) / temperature``, within 16 ulp of ``max(p, q) /
    temperature``: a named tuple (p_logits, q_logits). In a row that is infinite the first is +inf where q = 0 and -inf
    elsewhere. One native call with no array of the logits' size beside the gradients.

    Sources: Kullback & Leibler, "On information and sufficiency", Ann. Math. Statist. 22 (1951),
    doi:10.1214/aoms/1177729694; of the temperature: Hinton, Vinyals & Dean, "Distilling the knowledge in a neural
    network" (2015), arXiv:1503.02531.

    Examples
    --------
    >>> print(kl_divergence([2.0, 0.5, -1.0], [1.0, 1.0, -1.0]))
    0.21526421754161396
    >>> print(f"{kl_divergence([1.0, 0.0], [1.0, 1e-12]):.12g}")
    9.83059666208e-26
    >>> from softmax import value_and_grad
    >>> divergence, gradients = value_and_grad(kl_divergence)([[1.0, 0.0]], [[0.0, 0.0]], temperature=2.0)
    >>> gradients.q_logits
    array([[-0.06122967,  0.06122967]])
    """
    return _loss_and_gradients(p_logits, q_logits, axis, temperature, reduction, gradient=False)[0]


@value_and_grad_of(kl_divergence)
def _kl_divergence_value_and_grad(
    p_logits: ArrayLike, q_logits: ArrayLike, axis: int = -1, *, temperature: float = 1.0, reduction: str = "mean"
) -> tuple[Any, Any]:
    """(divergence, gradients by both logits) in one pass; "none" has the gradients of the sum."""
    return _loss_and_gradients(p_logits, q_logits, axis, temperature, reduction, gradient=True)


@rule_of(kl_divergence)
def _rule(p_logits: ArrayLike, q_logits: ArrayLike, axis: int = -1, **options: Any) -> Derivative:
    """By both logits, a named tuple: the gradients, each row's times its dy."""
    value = kl_divergence(p_logits, q_logits, axis, **options)
    rows = options.get("reduction", "mean") == "none"

    def slopes() -> Gradients:
        gradients: Gradients = _kl_divergence_value_and_grad(p_logits, q_logits, axis, **options)[1]
        return gradients

    def pullback(dy: ArrayLike) -> Gradients:
        dy = as_gradient(dy, np.shape(value), np.dtype(np.float64))
        dy = np.expand_dims(dy, axis) if rows else dy
        return Gradients(
            *(
                rounded(np.multiply(slope, dy, out=np.zeros(slope.shape), where=slope != 0), slope.dtype)
                for slope in slopes()
            )
        )

    def jacobian() -> Gradients:
        return Gradients(*(np.moveaxis(slope, axis, -1) if rows else slope for slope in slopes()))

    return Derivative(value, pullback, jacobian)


def _loss_and_gradients(
    p_logits: ArrayLike, q_logits: ArrayLike, axis: int, temperature: float, reduction: str, *, gradient: bool
) -> tuple[Any, Any]:
    check_options(Options(reduction=reduction))
    if np.ndim(temperature) != 0 or not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be one number, finite and > 0, got {temperature!r}")
    (p, p_where), (q, q_where) = as_array(p_logits, None), as_array(q_logits, None)
    (p_compute, p_result), (q_compute, q_result) = result_dtype(p, None, "p_logits"), result_dtype(q, None, "q_logits")
    if p.shape != q.shape:
        raise ValueError(f"p_logits and q_logits must have the same shape, got {p.shape} and {q.shape}")
    axis = one_axis("kl_divergence", axis, p.ndim)
    compute, result = np.promote_types(p_compute, q_compute), np.promote_types(p_result, q_result)
    p, q = (
        x.astype(compute, copy=False) if where is None else np.where(where, x, -np.inf).astype(compute)
        for x, where in ((p, p_where), (q, q_where))
    )
    rows = p.size // max(p.shape[axis], 1) if p.size else int(np.prod(np.delete(p.shape, axis)))
    divisor = max(rows, 1) if reduction == "mean" else 1
    function = _native_rows if compute in (np.float32, np.float64) else _by_reference
    losses, slopes = function(p, q, axis, float(temperature), 1 / divisor, gradient)
    loss = losses if reduction == "none" else losses.sum() / divisor
    if slopes is not None:
        slopes = Gradients(rounded(slopes[0], p_result), rounded(slopes[1], q_result))
    return rounded(loss, result)[()], slopes


def _native_rows(p: Array, q: Array, axis: int, temperature: float, factor: float, gradient: bool) -> tuple[Array, Any]:
    operands, axes = (p, q, temperature, factor), [(axis,), (axis,), (), (), ()]
    if not gradient:
        return np.asarray(_native.kl_divergence(*operands, axes=axes)), None
    losses, *slopes = _native.kl_divergence_gradient(*operands, axes=[*axes, (axis,), (axis,)])
    return np.asarray(losses), slopes


def _by_reference(
    p: Array, q: Array, axis: int, temperature: float, factor: float, gradient: bool
) -> tuple[Array, Any]:
    p, q = np.moveaxis(p, axis, -1), np.moveaxis(q, axis, -1)
    losses = reference.kl_divergence(p, q, temperature=temperature)
    if not gradient:
        return losses, None
    slopes = reference.kl_divergence_gradient(p, q, temperature=temperature)
    return losses, [np.moveaxis(slope * factor, -1, axis) for slope in slopes]
