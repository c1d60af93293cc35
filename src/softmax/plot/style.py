"""What all pictures share: colours, the figure, legends, names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

INK, FAINT, PAPER = "#24292f", "#d0d7de", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=CYCLE),
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


def new_axes(width: float = 5.6, height: float = 3.6) -> Axes:
    """The axes of a new figure in our style, of a size in inches, outside pyplot."""
    with mpl.rc_context(STYLE):
        return Figure((width, height), layout="constrained").add_subplot()


def ink_of(ax: Axes) -> str:
    """The colour that the style of `ax` gives its texts."""
    return str(ax.xaxis.label.get_color())


def in_percent(axis: Axis) -> None:
    """Ticks as percentages of 1."""
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def legend_beside(ax: Axes) -> None:
    """A legend to the right, whose names hold no formulas."""
    legend = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10, labelcolor=ink_of(ax))
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_above(ax: Axes, columns: int = 2) -> None:
    """A legend that hides nothing of the picture."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=ink_of(ax),
        borderaxespad=0.2,
    )


def unhidden(label: str) -> str:
    """A label that begins with "_" would be left out of the legend."""
    return f"\u200b{label}" if label.startswith("_") else label


def named(
    labels: Sequence[object] | None, number: int, argument: str = "labels", *, chosen: Iterable[int] | None = None
) -> list[str]:
    """`labels`, or 0, 1, …, or the chosen ones of them, as texts that fit beside a picture."""
    names = range(number) if labels is None else labels
    if len(names) != number:
        raise ValueError(f"{argument} must hold {number} names, got {len(names)}")
    return [short(str(names[i])) for i in (range(number) if chosen is None else chosen)]


def short(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text, in characters that can be drawn."""
    text = "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def vector(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """`values` as float64 of shape (n,), n at least 1."""
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"{name} must be one-dimensional and not empty, got shape {x.shape}")
    return x
