"""Pictures of probabilities and of how good they are. Needs matplotlib (`pip install 'softmax[report]'`).

Every function draws into `ax`, a matplotlib Axes, or into a figure of its own, and returns the Axes. Such a figure is
not pyplot's: save it with ``ax.figure.savefig("picture.svg")``; a notebook shows ``ax.figure``. Colours are those of
Okabe and Ito, which colour-blind people can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import sigmoid, softmax
from ._probabilities import class_indices, probability_rows
from ._text import percent
from .metrics import reliability_curve

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "softmax.plot needs matplotlib, which is not installed: pip install 'softmax[report]'", name=error.name
    ) from error

__all__ = [
    "confidence_histogram",
    "confusion",
    "learning_curves",
    "probabilities",
    "reliability",
    "sigmoid_versus_softmax",
    "temperature",
    "top_features",
]

INK, FAINT, PAPER = "#24292f", "#d0d7de", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=CYCLE),
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": FAINT,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.8,
}
LONGEST = 24  # characters of a label


def reliability(probs: ArrayLike, targets: ArrayLike, *, n_bins: int = 10, ax: Axes | None = None) -> Axes:
    """Reliability diagram: how often the predictions are right, by how sure they are.

    Bars are the accuracy of the rows of each bin of confidence, with the 95 % interval that Wilson's score gives for
    so many rows; on the dashed diagonal, confidence and accuracy are the same.

    Parameters
    ----------
    probs : array-like of shape (N, K) or (N,)
        Probabilities; (N,) is the second of two classes.
    targets : array-like of shape (N,)
        Class indices, integers.
    n_bins : int, default=10
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
    >>> ax = plot.reliability([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 1, 0])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('confidence', 'accuracy')
    """
    curve = reliability_curve(probs, targets, n_bins=n_bins)
    filled = curve.counts > 0
    accuracy = curve.accuracy[filled]
    low, high = _wilson(accuracy, curve.counts[filled])
    middles = ((curve.edges[:-1] + curve.edges[1:]) / 2)[filled]
    ax = ax or _axes()
    ax.plot([0, 1], [0, 1], "--", color=_ink(ax), linewidth=1.2, label="perfectly calibrated")
    ax.bar(middles, accuracy, 0.94 / n_bins, color=BLUE, alpha=0.55, label="accuracy of the bin")
    ax.vlines(middles, low, high, color=_ink(ax), linewidth=1.4, label="95 % interval")
    ax.plot(curve.confidence[filled], accuracy, "o", color=BLUE, markersize=4.5, label="mean confidence of the bin")
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y")
    _legend_above(ax)
    return ax


def confidence_histogram(probs: ArrayLike, targets: ArrayLike, *, n_bins: int = 20, ax: Axes | None = None) -> Axes:
    """How many predictions are how sure, the right ones and, on top of them, the wrong ones.

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
    ax = ax or _axes()
    ax.bar(middles, right, 0.9 / n_bins, color=BLUE, label=f"right ({right.sum():,})")
    ax.bar(
        middles,
        wrong,
        0.9 / n_bins,
        right,
        color=ORANGE,
        hatch="///",
        edgecolor=PAPER,
        linewidth=0,
        label=f"wrong ({wrong.sum():,})",
    )
    ax.set(xlabel="confidence", ylabel="rows", xlim=(0, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(axis="y")
    _legend_above(ax)
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
    names = _names(labels, k)
    counts = np.bincount(y * k + p.argmax(axis=1), minlength=k * k).reshape(k, k)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = ax or _axes(side := 3.2 + min(k, 20) * 0.16, side)
    for row, column in np.argwhere(counts):
        share = shares[row, column]
        color = BLUE if row == column else ORANGE
        ax.add_patch(mpl.patches.Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=color, alpha=0.12 + 0.88 * share))
        if k <= 20:
            ink = PAPER if share > 0.7 else _ink(ax)
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
    ax = ax or _axes()
    curves = {"training": loss_curve, "validation": validation_loss_curve}
    for (name, values), color in zip(curves.items(), CYCLE, strict=False):
        if values is None:
            continue
        losses = _vector(values, f"{name} loss curve")
        mark = "o" if len(losses) == 1 else ""
        ax.plot(np.arange(1, len(losses) + 1), losses, marker=mark, color=color, label=name)
    if validation_loss_curve is not None:
        best = int(np.argmin(losses))
        ax.plot(best + 1, losses[best], "o", color=ORANGE, label=f"lowest: {losses[best]:.4f} after {best + 1}")
        _legend_above(ax, 3)
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
    w = _vector(weights, "weights")
    largest = np.argsort(-abs(w), kind="stable")[:k]
    shown = _names(names, len(w), "weights")
    ax = ax or _axes(height=0.75 + 0.22 * len(largest))
    colors = [BLUE if value >= 0 else ORANGE for value in w[largest]]
    ax.barh(range(len(largest)), w[largest], 0.7, color=colors)
    ax.axvline(0, color=_ink(ax), linewidth=1)
    ax.set_yticks(range(len(largest)), [shown[i] for i in largest], parse_math=False)
    ax.invert_yaxis()
    ax.set_xlabel("weight")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    return ax


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
    p = probability_rows(_vector(probs, "probs")[np.newaxis])[0]
    ax = ax or _axes(height=0.75 + 0.3 * len(p))
    colors = [BLUE if i == p.argmax() else SKY for i in range(len(p))]
    bars = ax.barh(range(len(p)), p, 0.7, color=colors)
    ax.bar_label(bars, [percent(float(share)) for share in p], padding=4)
    ax.set_yticks(range(len(p)), _names(labels, len(p)), parse_math=False)
    ax.invert_yaxis()
    ax.set(xlabel="probability", xlim=(0, 1))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
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
    names = _names(labels, len(z))
    ax = ax or _axes()
    temperatures = np.geomspace(1 / 20, 20, 121)
    shares = softmax(np.broadcast_to(z, (len(temperatures), len(z))), temperature=temperatures[:, np.newaxis])
    for i, name in enumerate(names):
        ax.plot(temperatures, shares[:, i], color=CYCLE[i % len(CYCLE)], linestyle=_dashes(i), label=_unhidden(name))
    ax.axvline(1, color=_ink(ax), linewidth=1, linestyle=":")
    ax.set_xscale("log")
    ax.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    ax.minorticks_off()
    ax.set(xlabel="temperature", ylabel="probability", ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y")
    _legend(ax)
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
    names = _names(labels, len(z))
    top = int(z.argmax())
    ax = ax or _axes()
    scores = np.tile(z, (121, 1))
    scores[:, top] = x = np.linspace(min(-6, z[top] - 2), max(6, z[top] + 2), 121)
    for i, (shares, alone) in enumerate(zip(softmax(scores).T, sigmoid(scores).T, strict=True)):
        color = CYCLE[i % len(CYCLE)]
        ax.plot(x, shares, color=color, label=_unhidden(f"{names[i]}: softmax"))
        ax.plot(x, alone, color=color, linestyle="--", label=_unhidden(f"{names[i]}: sigmoid"))
    ax.axvline(z[top], color=_ink(ax), linewidth=1, linestyle=":")
    ax.set_xlabel(f"score of {names[top]}", parse_math=False)
    ax.set(ylabel="probability", ylim=(0, 1.02))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.grid(axis="y")
    _legend(ax)
    return ax


def _axes(width: float = 5.6, height: float = 3.6) -> Axes:
    """The axes of a new figure in our style, of a size in inches, outside pyplot."""
    with mpl.rc_context(STYLE):
        return Figure((width, height), layout="constrained").add_subplot()


def _ink(ax: Axes) -> str:
    """The colour that the style of `ax` gives its texts."""
    return str(ax.xaxis.label.get_color())


def _legend(ax: Axes) -> None:
    legend = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10, labelcolor=_ink(ax))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _legend_above(ax: Axes, columns: int = 2) -> None:
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=_ink(ax),
        borderaxespad=0.2,
    )


def _unhidden(label: str) -> str:
    """A label that begins with "_" would be left out of the legend."""
    return f"\u200b{label}" if label.startswith("_") else label


def _dashes(i: int) -> str:
    return ("-", "--", "-.", ":")[i // len(CYCLE) % 4]


def _names(labels: Sequence[object] | None, number: int, of: str = "classes") -> list[str]:
    """`labels`, or 0, 1, …, as texts that fit beside a picture."""
    names = range(number) if labels is None else labels
    if len(names) != number:
        what = "classes" if of == "classes" else of
        raise ValueError(f"labels must name each of the {number} {what}, got {len(names)}")
    return [_short(str(name)) for name in names]


def _short(text: str) -> str:
    text = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"{name} must be one-dimensional and not empty, got shape {x.shape}")
    return x


def _finite(logits: ArrayLike) -> NDArray[np.float64]:
    z = _vector(logits, "logits")
    if not np.isfinite(z).all():
        raise ValueError(f"logits must be finite, got {z[~np.isfinite(z)][0]}")
    return z


def _wilson(shares: NDArray[np.float64], rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the 95 % interval of a share of so many rows: Wilson, JASA 22 (1927)."""
    z = 1.959964
    middle = (shares + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(shares * (1 - shares) / rows + z**2 / (4 * rows**2))
    return middle - half, middle + half
