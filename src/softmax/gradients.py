"""Placeholder on the reference implementation, replaced by the native kernels."""
from __future__ import annotations

from typing import Any

from .losses import cross_entropy, cross_entropy_value_and_grad


def value_and_grad(function: Any) -> Any:
    """loss, dlogits = value_and_grad(cross_entropy)(logits, targets, **options)"""
    assert function is cross_entropy
    return cross_entropy_value_and_grad
