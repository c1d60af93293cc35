"""Placeholder on the reference implementation, replaced by the native kernels."""
from __future__ import annotations

from typing import Any

import numpy as np

from . import reference


def _dtype(x: Any) -> Any:
    dtype = np.asarray(x).dtype
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def softmax(x: Any, axis: Any = -1, *, temperature: Any = 1.0, where: Any = None, dtype: Any = None, out: Any = None) -> Any:
    y = reference.softmax(x, axis, temperature=temperature, where=where).astype(dtype or _dtype(x))
    if out is not None:
        out[...] = y
        return out
    return y


def log_softmax(x: Any, axis: Any = -1, *, temperature: Any = 1.0, where: Any = None, dtype: Any = None, out: Any = None) -> Any:
    y = reference.log_softmax(x, axis, temperature=temperature, where=where).astype(dtype or _dtype(x))
    if out is not None:
        out[...] = y
        return out
    return y


def logsumexp(x: Any, axis: Any = -1, *, where: Any = None, keepdims: bool = False) -> Any:
    return reference.logsumexp(x, axis, where=where, keepdims=keepdims).astype(_dtype(x))


def sigmoid(x: Any, *, out: Any = None) -> Any:
    x = np.asarray(x)
    return softmax(np.stack([x, np.zeros_like(x)], -1))[..., 0]
