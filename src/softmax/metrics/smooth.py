"""Calibration error without bins: the gaps between confidence and outcome, smoothed by a kernel of fitting width."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import ArrayLike

from .rows import Floats, Rows, checked, rows_of

# The choices of the authors' package `relplot`, whose values these are to be.
LEAST_WIDTH = 0.001
HALVINGS = 10
LEAST_POINTS, POINTS_PER_WIDTH = 200, 10  # where the smoothed gaps are read
LEAST_GRID, GRID_PER_WIDTH = 2000, 20  # on which rows are laid, over twice the unit interval
EMPTY = 0.0001  # added to the density, against division by 0 where no row is near


def smooth_calibration_error(probs: ArrayLike, targets: ArrayLike) -> float:
    """Distance, in [0, 1], between probabilities and outcomes, without bins: the smooth calibration error.

    Of more than two classes, the confidence of each row is judged by whether the row is right; of two, the probability
    of the second one by whether that is the target. The gaps between these numbers in [0, 1] and their outcomes, 0 or
    1, are smoothed over the numbers by a Gaussian kernel that is reflected at 0 and 1; the mean absolute value of that
    curve is the error. The width of the kernel is the one at which the error is as large as the width. Hence no choice
    of bins, and a small change of a probability changes the error little. It bounds the distance from the nearest
    calibrated predictor within constant factors.

    Source: Błasiok & Nakkiran, "Smooth ECE: principled reliability diagrams via kernel smoothing", ICLR 2024,
    arXiv:2309.12236. The value is that of `smECE` of their package `relplot` for these numbers
    and outcomes.

    Args:
        probs: (N, K) probabilities, or (N,) for the second of two classes.
        targets: (N,) integer class indices.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or range, named with what came.

    >>> round(smooth_calibration_error([0.9] * 10, [1] * 7 + [0] * 3), 2)  # it is class 1 in 7 of 10 rows
    0.2
    """
    return smooth_error_of(rows_of(*checked(probs, targets)))


def smooth_error_of(rows: Rows) -> float:
    error = cache(partial(_error, cache(partial(_laid, rows))))
    low, high = 0.0, 1.0
    if error(1.0) >= 1:
        return error(1.0)
    for _ in range(HALVINGS):
        width = (low + high) / 2
        low, high = (width, high) if width < LEAST_WIDTH or width < error(width) else (low, width)
    return error(high)


def _error(laid: Callable[[int], Floats], width: float) -> float:
    """The error for one width of the kernel."""
    size = max(LEAST_GRID, round(GRID_PER_WIDTH / width)) // 2 + 1
    grid = np.linspace(0, 1, size)
    kernel = np.exp(-((grid - 0.5) ** 2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width)
    points = np.linspace(0, 1, max(round(POINTS_PER_WIDTH / width), LEAST_POINTS))
    gaps, density = (np.interp(points, grid, values) for values in _reflected(laid(size), kernel))
    density = density + EMPTY
    return float(abs(gaps / density) @ density / density.sum())


def _laid(rows: Rows, size: int) -> Floats:
    """(2, size): the gaps of the rows, and the rows, each divided between the two points of a grid beside it."""
    places = rows.probability * (size - 1)
    left = np.clip(places.astype(np.intp), 0, size - 2)
    share = places - left
    gaps = rows.probability - rows.outcome
    result = np.empty((2, size))
    for laid, whole, of_right in ((result[0], gaps, share * gaps), (result[1], None, share)):
        right = np.bincount(left, of_right, size)
        laid[:] = np.bincount(left, whole, size) - right
        laid[1:] += right[:-1]
    return result


def _reflected(values: Floats, kernel: Floats) -> Floats:
    """Each row of `values` (2, m) smoothed by `kernel` (m,), after a reflection at both ends."""
    size = len(kernel)
    wide = np.concatenate([values[:, :0:-1], values, values[:, -2::-1]], axis=1)
    length = 1 << (wide.shape[1] - 1).bit_length()
    product = np.fft.rfft(wide, length) * np.fft.rfft(kernel, length)
    start = size - 1 + size // 2  # where the kernel's middle lies on the first value
    return np.fft.irfft(product, length)[:, start : start + size]
