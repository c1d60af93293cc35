"""How good predictions are: confidence and confusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from .._probabilities import class_indices, probability_rows
from ..metrics import reliability_curve
from .style import BLUE, FAINT, LONGEST, ORANGE, PAPER, in_percent, ink_of, legend_above, named, new_axes, short

__all__ = ["confidence_histogram", "confusion"]


def confidence_histogram(probs: ArrayLike, targets: ArrayLike, *, n_bins: int = 20, ax: Axes | None = None) -> Axes:
    """How many predictions are how sure, the right ones beside the wrong ones.

    Parameters
    ----------
    probs : array-like of shape (N, K) or (N,)
        Probabilities; (N,) is the second of two classes.
    targets : array-like of shape (N,)
        Class indices, integers.
    n_bins : int, default=20
        Number of bins of equal width, at least 1.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For a wrong dtype, shape or range, named with what came.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.confidence_histogram([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1])
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['right (2)', 'wrong (1)']
    """
    curve = reliability_curve(probs, targets, n_bins=n_bins)
    middles = (curve.edges[:-1] + curve.edges[1:]) / 2
    right = np.rint(np.nan_to_num(curve.accuracy) * curve.counts).astype(int)
    wrong = curve.counts - right
    ax = ax or new_axes()
    width = 0.44 / n_bins
    ax.bar(middles - width / 2, right, width, color=BLUE, label=f"right ({right.sum():,})")
    ax.bar(middles + width / 2, wrong, width, color=ORANGE, label=f"wrong ({wrong.sum():,})")
    ax.set_yscale("symlog", linthresh=1)
    ticks = [0, *10 ** np.arange(len(str(curve.counts.max())))]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set(xlabel="confidence", ylabel="rows (log scale)", xlim=(0, 1), ylim=(0, None))
    in_percent(ax.xaxis)
    ax.grid(axis="y")
    legend_above(ax)
    return ax


def confusion(
    probs: ArrayLike, targets: ArrayLike, labels: Sequence[object] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Confusion matrix: true classes down, predicted ones across, rows counted; the shade is the share of its row.

    Parameters
    ----------
    probs : array-like of shape (N, K) or (N,)
        Probabilities; (N,) is the second of two classes. The most probable class is the prediction.
    targets : array-like of shape (N,)
        Class indices, integers.
    labels : sequence of K names, default=None
        Names of the classes; 0, 1, … by default.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For a wrong dtype, shape or range, named with what came.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.confusion([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1], ["cat", "dog"])
    >>> [text.get_text() for text in ax.texts]
    ['1', '1', '1']
    """
    p = probability_rows(probs)
    k = p.shape[1]
    y = class_indices(targets, *p.shape)
    names = [short(name, LONGEST if k <= 10 else LONGEST // 2) for name in named(labels, k)]
    counts = np.bincount(y * k + p.argmax(axis=1), minlength=k * k).reshape(k, k)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = ax or new_axes(side := 3.2 + min(k, 20) * 0.16, side)
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        color = BLUE if row == column else ORANGE
        ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=0.12 + 0.88 * share))
        if k <= 20:
            ink = PAPER if share > 0.7 else ink_of(ax)
            ax.text(
                column,
                row,
                f"{counts[row, column]:,}",
                color=ink,
                ha="center",
                va="center",
                fontsize=11 if k <= 12 else 8,
            )
    ax.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="true")
    if k <= 20:
        ax.set_xticks(range(k), names, parse_math=False)
        if max(map(len, names)) * k > 24:
            ax.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
        ax.set_yticks(range(k), names, parse_math=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)
    return ax
