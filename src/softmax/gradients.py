"""Derivatives: a table of rules, one for each function that has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["value_and_grad"]

Function = Callable[..., Any]
ValueAndGrad = Callable[..., tuple[Any, Any]]

_VALUE_AND_GRAD: dict[Function, ValueAndGrad] = {}


def value_and_grad_of(function: Function) -> Callable[[ValueAndGrad], ValueAndGrad]:
    """Decorates the rule that computes (value, gradient) of `function` in one pass."""

    def enter(rule: ValueAndGrad) -> ValueAndGrad:
        _VALUE_AND_GRAD[function] = rule
        return rule

    return enter


def value_and_grad(function: Function) -> ValueAndGrad:
    """The function that returns (loss, gradient by the logits), computed in one pass.

    Parameters
    ----------
    function : callable
        A loss of this package: `cross_entropy`.

    Returns
    -------
    callable
        Takes what `function` takes. The gradient has the logits' shape and dtype; for reduction "none" it is that of
        the sum. Where the target is the largest logit, its entry p - 1 keeps full relative precision.

    Raises
    ------
    TypeError
        For a function that has no rule.

    Examples
    --------
    >>> from softmax import cross_entropy
    >>> loss, dlogits = value_and_grad(cross_entropy)([2.0, 0.5, -1.0], 0)
    >>> print(loss)
    0.24131129665715706
    >>> dlogits
    array([-0.21440297,  0.17529039,  0.03911257])
    """
    try:
        return _VALUE_AND_GRAD[function]
    except (KeyError, TypeError):
        known = ", ".join(rule.__name__ for rule in _VALUE_AND_GRAD)
        name = getattr(function, "__name__", repr(function))
        raise TypeError(f"function must be a loss of softmax ({known}), got {name}") from None
