"""One softmax: its probabilities, what temperature does to them, and sigmoid beside it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from .. import sigmoid, softmax
from .._probabilities import probability_rows
from .._text import percent
from ..explanation import Explanation
from .style import (
    BLUE,
    CYCLE,
    GREEN,
    INK,
    SKY,
    STYLE,
    in_percent,
    ink_of,
    legend_beside,
    named,
    new_axes,
    short,
    unhidden,
    vector,
)

__all__ = ["explanation", "probabilities", "sigmoid_versus_softmax", "temperature"]

MOST_CLASSES = 20  # whose steps are drawn


def probabilities(probs: ArrayLike, labels: Sequence[object] | None = None, *, ax: Axes | None = None) -> Axes:
    """The probabilities of one row as bars, the most probable class in a colour of its own.

    Parameters
    ----------
    probs : array-like of shape (K,)
        Probabilities that sum to 1.
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
    >>> from softmax import plot, softmax
    >>> ax = plot.probabilities(softmax([2.33, -1.46, 0.56]), ["cat", "dog", "boat"])
    >>> [text.get_text() for text in ax.texts]
    ['83.83 %', '1.89 %', '14.28 %']
    """
    p = probability_rows(vector(probs, "probs")[np.newaxis])[0]
    ax = ax or new_axes(height=0.75 + 0.3 * len(p))
    colors = [BLUE if i == p.argmax() else SKY for i in range(len(p))]
    bars = ax.barh(range(len(p)), p, 0.7, color=colors)
    ax.bar_label(bars, [percent(float(share)) for share in p], padding=4)
    ax.set_yticks(range(len(p)), named(labels, len(p)), parse_math=False)
    ax.invert_yaxis()
    ax.set(xlabel="probability", xlim=(0, 1))
    in_percent(ax.xaxis)
    ax.tick_params(axis="y", length=0)
    return ax


def temperature(logits: ArrayLike, labels: Sequence[object] | None = None, *, ax: Axes | None = None) -> Axes:
    """What temperature does to one softmax: the probabilities from sharp, T = 1/20, to even, T = 20.

    Parameters
    ----------
    logits : array-like of shape (K,)
        Finite scores, one a class.
    labels : sequence of K names, default=None
        Names of the classes; 0, 1, … by default.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For a wrong shape, or logits that are not finite.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.temperature([2.33, -1.46, 0.56], ["cat", "dog", "boat"])
    >>> len(ax.lines)  # a curve a class, and the line at T = 1
    4
    """
    z = _finite(logits)
    names = named(labels, len(z))
    ax = ax or new_axes()
    temperatures = np.geomspace(1 / 20, 20, 121)
    shares = softmax(np.broadcast_to(z, (len(temperatures), len(z))), temperature=temperatures[:, np.newaxis])
    for i, name in enumerate(names):
        ax.plot(temperatures, shares[:, i], color=CYCLE[i % len(CYCLE)], linestyle=_dashes(i), label=unhidden(name))
    ax.axvline(1, color=ink_of(ax), linewidth=1, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    ax.minorticks_off()
    ax.set(xlabel="temperature", ylabel="probability", ylim=(0, 1.02))
    in_percent(ax.yaxis)
    ax.grid(axis="y")
    legend_beside(ax)
    return ax


def sigmoid_versus_softmax(
    logits: ArrayLike, labels: Sequence[object] | None = None, *, ax: Axes | None = None
) -> Axes:
    """What one score changes: softmax (solid) shares 1 among all classes, sigmoid (dashed) judges the score alone.

    The score of the top class moves along the x-axis while the others stay; the dotted line is where it stands.

    Parameters
    ----------
    logits : array-like of shape (K,)
        Finite scores, one a class.
    labels : sequence of K names, default=None
        Names of the classes; 0, 1, … by default.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        For a wrong shape, or logits that are not finite.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.sigmoid_versus_softmax([2.33, -1.46, 0.56], ["cat", "dog", "boat"])
    >>> ax.get_xlabel()
    'score of cat'
    """
    z = _finite(logits)
    names = named(labels, len(z))
    top = int(z.argmax())
    ax = ax or new_axes()
    scores = np.tile(z, (121, 1))
    scores[:, top] = x = np.linspace(min(-6, z[top] - 2), max(6, z[top] + 2), 121)
    for i, (shares, alone) in enumerate(zip(softmax(scores).T, sigmoid(scores).T, strict=True)):
        color = CYCLE[i % len(CYCLE)]
        ax.plot(x, shares, color=color, label=unhidden(f"{names[i]}: softmax"))
        ax.plot(x, alone, color=color, linestyle="--", label=unhidden(f"{names[i]}: sigmoid"))
    ax.axvline(z[top], color=ink_of(ax), linewidth=1, linestyle=":")
    ax.set_xlabel(f"score of {names[top]}", parse_math=False)
    ax.set(ylabel="probability", ylim=(0, 1.02))
    in_percent(ax.yaxis)
    ax.grid(axis="y")
    legend_beside(ax)
    return ax


def explanation(e: Explanation) -> Figure:
    """The steps of one softmax side by side, a row a class: what `explain(...).plot()` returns."""
    shown = np.sort(np.argsort(-e.shares, kind="stable")[:MOST_CLASSES])
    names = [short(e.labels[i], 16) for i in shown]
    colors = [BLUE if i == e.decision else SKY for i in shown]
    with mpl.rc_context(STYLE):
        figure = Figure((10.5, 1.3 + 0.3 * len(shown)), layout="constrained")
        axes = figure.subplots(1, 4, sharey=True)
    divided = "" if e.temperature == 1 else f" / {e.temperature:g}"
    exponential = f"exp((score - max){divided})" if divided else "exp(score - max)"
    steps = [
        ("score", e.logits, _four_digits),
        (exponential, e.exponentials, _four_digits),
        ("softmax", e.shares, percent),
        (f"sigmoid of score{divided}" if divided else "sigmoid", e.sigmoids, percent),
    ]
    for ax, (title, values, spelled) in zip(axes, steps, strict=True):
        values = values[shown]
        widths = np.where(np.isfinite(values), values, 0)
        bars = ax.barh(range(len(shown)), widths, 0.7, color=GREEN if title.startswith("sigmoid") else colors)
        ax.bar_label(bars, [spelled(float(x)) for x in values], padding=4, fontsize=10)
        ax.set_title(title)
        ax.tick_params(length=0)
        ax.set_xticks([])
        ax.spines["bottom"].set_visible(False)
        low, high = min(widths.min(), 0.0), max(widths.max(), 0.0)
        room = (high - low) or 1.0
        ax.set_xlim(low - 0.35 * room * (low < 0), high + 0.55 * room)
    for ax in axes[2:]:  # to the same scale
        ax.set_xlim(0, 1.55)
    if divided:
        axes[2].barh(range(len(shown)), e.shares_before[shown], 0.7, fill=False, linestyle=":", edgecolor=INK)
    axes[0].set_yticks(range(len(shown)), names, parse_math=False)
    axes[0].invert_yaxis()
    axes[1].set_xlabel(f"sum: {_four_digits(float(e.exponentials.sum()))}")
    axes[2].set_xlabel("exp / sum" + "; dotted: at temperature 1" * bool(divided))
    axes[3].set_xlabel(f"each alone; sum: {percent(float(e.sigmoids.sum()))}")
    return figure


def _four_digits(x: float) -> str:
    return f"{x:.4g}"


def _dashes(i: int) -> str:
    return ("-", "--", "-.", ":")[i // len(CYCLE) % 4]


def _finite(logits: ArrayLike) -> NDArray[np.float64]:
    z = vector(logits, "logits")
    if not np.isfinite(z).all():
        raise ValueError(f"logits must be finite, got {z[~np.isfinite(z)][0]}")
    return z
