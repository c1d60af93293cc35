"""Whether confidence can be believed, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ..metrics import ReliabilityCurve, reliability_curve, risk_coverage_curve
from ..metrics.bins import Strategy
from .style import BLUE, CYCLE, in_percent, ink_of, legend_above, new_axes, short, unhidden

__all__ = ["ReliabilityDisplay", "reliability", "risk_coverage"]

DIAGONAL = "perfectly calibrated"
POINTS = 400  # of a curve: more are not seen


def reliability(
    probs: ArrayLike,
    targets: ArrayLike,
    *,
    n_bins: int = 10,
    strategy: Strategy = "uniform",
    of_class: int | None = None,
    name: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Reliability diagram: how often the predictions are right, by how sure they are.

    A point is a bin of confidence, the larger the more rows it has; the band around the points is the 95 % interval
    that Wilson's score gives for so many rows. On the dashed diagonal, confidence and accuracy are the same: where the
    band holds it, chance explains the distance. Drawn into the axes of another one, the curve takes the next colour, to
    compare models or a model before and after its calibration.

    Parameters
    ----------
    probs : array-like of shape (N, K) or (N,)
        Probabilities; (N,) is the second of two classes.
    targets : array-like of shape (N,)
        Class indices, integers.
    n_bins : int, default=10
        Number of bins, at least 1.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equally many rows.
    of_class : int, default=None
        The index of a class: its probability is on the x-axis then, and how often it is the target on the y-axis.
    name : str, default=None
        What the legend calls the curve.
    ax : matplotlib Axes, default=None
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    TypeError, ValueError
        For a wrong dtype, shape, range or option, named with what came.

    Examples
    --------
    >>> from softmax import plot
    >>> ax = plot.reliability([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 1, 0])
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('confidence', 'accuracy')
    """
    curve = reliability_curve(probs, targets, n_bins=n_bins, strategy=strategy, of_class=of_class)
    about = None if of_class is None else f"class {of_class}"
    return ReliabilityDisplay(curve, name=name, about=about).plot(ax=ax).ax_


class ReliabilityDisplay:
    """A reliability diagram as scikit-learn's displays are made, from an estimator or from predictions.

    `sklearn.calibration.CalibrationDisplay` is for two classes; this one is for any number, by the confidence of the
    predictions, or for one class by its probability. `softmax.plot.reliability` draws the same from class indices.

    Parameters
    ----------
    curve : ReliabilityCurve
        What `softmax.metrics.reliability_curve` returns.
    name : str, default=None
        What the legend calls the curve.
    about : str, default=None
        The class whose probability the curve is about; None where it is the confidence of the predictions.

    Attributes
    ----------
    curve : ReliabilityCurve
    ax_ : matplotlib Axes, once drawn
    figure_ : matplotlib Figure, once drawn

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softmax.learn import SoftmaxClassifier
    >>> from softmax.plot import ReliabilityDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> display = ReliabilityDisplay.from_estimator(SoftmaxClassifier().fit(X, y), X, y, n_bins=5)
    >>> display.ax_.get_legend_handles_labels()[1]
    ['perfectly calibrated', 'SoftmaxClassifier']
    >>> int(display.curve.counts.sum())
    150
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, curve: ReliabilityCurve, *, name: str | None = None, about: str | None = None) -> None:
        self.curve = curve
        self.name = name
        self.about = about

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        n_bins: int = 10,
        strategy: Strategy = "uniform",
        pos_label: object = None,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> ReliabilityDisplay:
        """Draw the diagram of a fitted classifier, which has `predict_proba` and `classes_`, on rows that it was not
        trained on.

        Parameters
        ----------
        estimator : classifier
        X : array-like of shape (N, n_features)
        y : array-like of shape (N,)
            The rows' classes.
        n_bins, strategy, ax
            As in `softmax.plot.reliability`.
        pos_label : label, default=None
            A class, for a diagram of its probability; by default the diagram is of the predictions' confidence.
        name : str, default=None
            What the legend calls it; the name of the estimator's type by default.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype, shape or option, or labels that the estimator does not know, named with what came.
        """
        return cls.from_predictions(
            y,
            estimator.predict_proba(X),
            classes=estimator.classes_,
            n_bins=n_bins,
            strategy=strategy,
            pos_label=pos_label,
            name=name or type(estimator).__name__,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_prob: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        n_bins: int = 10,
        strategy: Strategy = "uniform",
        pos_label: object = None,
        name: str | None = None,
        ax: Axes | None = None,
    ) -> ReliabilityDisplay:
        """Draw the diagram of probabilities.

        Parameters
        ----------
        y_true : array-like of shape (N,)
            The rows' classes.
        y_prob : array-like of shape (N, K) or (N,)
            Their probabilities; (N,) is the second of two classes.
        classes : array-like of shape (K,), default=None
            The class of each column of `y_prob`; by default those of `y_true` in ascending order.
        n_bins, strategy, name, ax
            As in `softmax.plot.reliability`.
        pos_label : label, default=None
            A class, for a diagram of its probability; by default the diagram is of the predictions' confidence.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype, shape or option, or labels that are not among `classes`, named with what came.

        Examples
        --------
        >>> display = ReliabilityDisplay.from_predictions(["no", "yes", "no"], [0.3, 0.6, 0.1], pos_label="yes")
        >>> display.ax_.get_xlabel()
        'probability of yes'
        """
        names, targets = _class_indices(y_true, np.shape(y_prob), classes)
        of_class = None
        if pos_label is not None:
            if pos_label not in names:
                raise ValueError(f"pos_label must be one of the classes {names}, got {pos_label!r}")
            of_class = names.index(pos_label)
        curve = reliability_curve(y_prob, targets, n_bins=n_bins, strategy=strategy, of_class=of_class)
        return cls(curve, name=name, about=None if of_class is None else str(pos_label)).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ReliabilityDisplay:
        """Draw into `ax`, or into a new figure; returns self."""
        ax = ax or new_axes()
        drawn = [line.get_label() for line in ax.lines]
        if DIAGONAL not in drawn:
            ax.plot([0, 1], [0, 1], "--", color=ink_of(ax), linewidth=1.2, label=DIAGONAL)
        color = CYCLE[sum(label != DIAGONAL for label in drawn) % len(CYCLE)]
        filled = self.curve.counts > 0
        confidence, accuracy = self.curve.confidence[filled], self.curve.accuracy[filled]
        counts = self.curve.counts[filled]
        low, high = _wilson(accuracy, counts)
        ax.fill_between(confidence, low, high, color=color, alpha=0.18, linewidth=0)
        ax.vlines(confidence, low, high, color=color, linewidth=1.2, alpha=0.6)
        label = self.name or ("accuracy" if self.about is None else "share")
        ax.plot(confidence, accuracy, color=color, linewidth=1.2, label=unhidden(short(label)))
        ax.scatter(confidence, accuracy, 8 + 80 * counts / counts.sum(), color=color, zorder=2.5)
        ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
        if self.about is not None:
            ax.set_xlabel(f"probability of {short(self.about)}", parse_math=False)
            ax.set_ylabel(f"share of {short(self.about)}", parse_math=False)
        in_percent(ax.xaxis)
        in_percent(ax.yaxis)
        ax.grid(axis="y")
        legend_above(ax)
        figure = ax.get_figure(root=True)
        assert figure is not None
        self.ax_, self.figure_ = ax, figure
        return self


def risk_coverage(probs: ArrayLike, targets: ArrayLike, *, name: str | None = None, ax: Axes | None = None) -> Axes:
    """Risk-coverage curve: the share of wrong answers as the model answers more and more rows, the surest ones first.

    Where to put `abstain_below` of `softmax.decisions.decide` can be read off: the share of the rows to answer is on
    the x-axis. At its right end every row is answered, and the risk is 1 - accuracy.

    Parameters
    ----------
    probs : array-like of shape (N, K) or (N,)
        Probabilities; (N,) is the second of two classes.
    targets : array-like of shape (N,)
        Class indices, integers.
    name : str, default=None
        What the legend calls the curve; no legend by default.
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
    >>> ax = plot.risk_coverage([[0.7, 0.3], [0.4, 0.6], [0.9, 0.1]], [0, 0, 0])
    >>> ax.lines[0].get_ydata().round(2).tolist()  # the surest row, two, all three of which one is wrong
    [0.0, 0.0, 0.33]
    """
    curve = risk_coverage_curve(probs, targets)
    ax = ax or new_axes()
    color = CYCLE[len(ax.lines) % len(CYCLE)] if ax.lines else BLUE
    shown = np.unique(np.linspace(0, len(curve.risk) - 1, POINTS).round().astype(int))
    label = None if name is None else unhidden(short(name))
    ax.plot(curve.coverage[shown], curve.risk[shown], color=color, label=label)
    top = max(line.get_ydata().max() for line in ax.lines)  # type: ignore[union-attr]
    ax.set(xlabel="rows answered", ylabel="wrong answers among them", xlim=(0, 1), ylim=(0, max(1.1 * top, 0.01)))
    in_percent(ax.xaxis)
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.3g} %")
    ax.grid(axis="y")
    if name is not None:
        legend_above(ax)
    return ax


def _class_indices(
    y_true: ArrayLike, shape: Sequence[int], classes: ArrayLike | None
) -> tuple[list[object], NDArray[np.intp]]:
    """The names of the classes, and the index of each row's."""
    labels = np.asarray(y_true)
    names = np.unique(labels) if classes is None else np.asarray(classes)
    columns = shape[1] if len(shape) == 2 else 2
    if len(names) != columns:
        hint = "" if classes is not None else ", since y_true lacks some: give classes"
        raise ValueError(f"classes must name the {columns} classes of y_prob, got {len(names)}{hint}")
    order = np.argsort(names)
    places = np.minimum(np.searchsorted(names, labels, sorter=order), len(names) - 1)
    targets = order[places]
    strange = np.flatnonzero(names[targets] != labels)
    if len(strange):
        raise ValueError(f"y_true must hold classes of {names.tolist()}, got {labels[strange[0]]!r}")
    return names.tolist(), targets


def _wilson(shares: NDArray[np.float64], rows: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the 95 % interval of a share of so many rows: Wilson, JASA 22 (1927)."""
    z = 1.959964
    middle = (shares + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(shares * (1 - shares) / rows + z**2 / (4 * rows**2))
    return middle - half, middle + half
