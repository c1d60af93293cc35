"""Placeholder on the reference implementation, replaced by the native kernels."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import reference


def _parts(logits: Any, targets: Any, class_weight: Any, sample_weight: Any, reduction: str) -> Any:
    logits = np.asarray(logits)
    targets = np.asarray(targets)
    w = np.ones(targets.shape) if sample_weight is None else np.asarray(sample_weight, float)
    if class_weight is not None:
        w = w * np.asarray(class_weight)[targets]
    if reduction == "mean":
        w = w / w.sum() if w.sum() else w * 0
    return logits, targets, w


def cross_entropy(logits: Any, targets: Any, axis: int = -1, *, class_weight: Any = None, sample_weight: Any = None, reduction: str = "mean") -> Any:
    logits, targets, w = _parts(logits, targets, class_weight, sample_weight, reduction)
    loss = reference.cross_entropy(logits, targets) * w
    return loss if reduction == "none" else loss.sum()


def cross_entropy_value_and_grad(logits: Any, targets: Any, axis: int = -1, *, class_weight: Any = None, sample_weight: Any = None, reduction: str = "mean") -> Any:
    logits, targets, w = _parts(logits, targets, class_weight, sample_weight, reduction)
    loss = reference.cross_entropy(logits, targets) * w
    grad = (reference.cross_entropy_gradient(logits, targets) * w[..., None]).astype(logits.dtype)
    return (loss if reduction == "none" else loss.sum()), grad
