"""What came of training: the loss, and the weights of a linear model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from .style import BLUE, CYCLE, FAINT, ORANGE, ink_of, legend_above, named, new_axes, vector

__all__ = ["learning_curves", "pixel_weights", "top_features"]


def learning_curves(
    loss_curve: ArrayLike, validation_loss_curve: ArrayLike | None = None, *, ax: Axes | None = None
) -> Axes:
    """Loss after each iteration; with validation, a mark where that was lowest.

    Parameters
    ----------
    loss_curve : array-like of shape (n,)
        `loss_curve_` of :class:`softmax.learn.SoftmaxClassifier`.
    validation_loss_curve : array-like of shape (n,), default=None
        `validation_loss_curve_`.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If a curve is not one-dimensional or is empty.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.learning_curves([1.1, 0.6, 0.4], [1.2, 0.7, 0.8])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['training', 'validation', 'lowest: 0.7000 after 2']
    """
    ax = ax or new_axes()
    curves = {"training": loss_curve, "validation": validation_loss_curve}
    for (name, values), color in zip(curves.items(), CYCLE, strict=False):
        if values is None:
            continue
        losses = vector(values, f"{name} loss curve")
        mark = "o" if len(losses) == 1 else ""
        ax.plot(np.arange(1, len(losses) + 1), losses, marker=mark, color=color, label=name)
    if validation_loss_curve is not None:
        best = int(np.argmin(losses))
        ax.plot(best + 1, losses[best], "o", color=ORANGE, label=f"lowest: {losses[best]:.4f} after {best + 1}")
        legend_above(ax, 3)
    ax.set(xlabel="iteration", ylabel="loss")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.grid(axis="y")
    return ax


def top_features(
    weights: ArrayLike, names: Sequence[object] | None = None, *, k: int = 10, ax: Axes | None = None
) -> Axes:
    """The features with the largest weights of one class: for it to the right, against it to the left.

    Parameters
    ----------
    weights : array-like of shape (D,)
        Weight of each feature, a column of `coefs_[0]` of a linear :class:`softmax.learn.SoftmaxClassifier`.
    names : sequence of D names, default=None
        Names of the features; 0, 1, … by default.
    k : int, default=10
        How many features to draw at most.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `weights` is not one-dimensional or is empty, or `names` does not fit it.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.top_features([0.1, -2.0, 1.0], ["a", "b", "c"], k=2)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['b', 'c']
    """
    w = vector(weights, "weights")
    largest = np.argsort(-abs(w), kind="stable")[:k]
    shown = named(names, len(w), "names", chosen=largest)
    ax = ax or new_axes(height=0.75 + 0.22 * len(largest))
    colors = [BLUE if value >= 0 else ORANGE for value in w[largest]]
    ax.barh(range(len(largest)), w[largest], 0.7, color=colors)
    ax.axvline(0, color=ink_of(ax), linewidth=1)
    ax.set_yticks(range(len(largest)), shown, parse_math=False)
    ax.invert_yaxis()
    ax.set_xlabel("weight")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    return ax


def pixel_weights(weights: ArrayLike, shape: Sequence[int], *, ax: Axes | None = None) -> Axes:
    """The weights of one class as the image that they belong to: blue where bright pixels speak for it, else orange.

    Parameters
    ----------
    weights : array-like of shape (D,)
        Weight of each pixel, a column of `coefs_[0]` of a linear :class:`softmax.learn.SoftmaxClassifier`.
    shape : (height, width) or (height, width, channels)
        Of the image; the product is D. The weights of the channels are added up.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If `weights` is not one-dimensional, is empty, or does not fit `shape`.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.pixel_weights([0.1, -2.0, 1.0, 0.0], (2, 2))
    >>> ax.images[0].get_array().shape  # red, green, blue and opacity
    (2, 2, 4)
    """
    w = vector(weights, "weights")
    if len(shape) not in (2, 3) or math.prod(shape) != len(w):
        raise ValueError(f"shape must be that of an image of {len(w)} numbers, got {tuple(shape)}")
    whole = w.reshape(*shape[:2], -1).sum(axis=2)
    shade = np.where(whole[..., np.newaxis] >= 0, to_rgba(BLUE), to_rgba(ORANGE))
    shade[..., 3] = abs(whole) / max(abs(whole).max(), np.finfo(whole.dtype).tiny)
    ax = ax or new_axes(2.6, 2.6 * shape[0] / shape[1])
    ax.imshow(shade, interpolation="none")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
    return ax
