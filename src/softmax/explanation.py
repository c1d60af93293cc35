"""Every step of one softmax, from the logits to the decision, as numbers, a table to read, HTML and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._text import bar, percent, table
from .elementwise import sigmoid
from .functions import log_softmax, softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explanation", "explain"]


@dataclass(frozen=True, eq=False)
class Explanation:
    """What `explain` returns: one entry a class in every array, all float64 of shape (K,).

    `str()` draws the table, a notebook shows it as HTML, and `plot()` makes a picture of it.

    Attributes:
        labels: the names of the classes.
        temperature: what the scores were divided by.
        logits: the scores as given.
        minus_maximum: logits - max(logits): 0 for the top class, negative for the others.
        exponentials: exp(minus_maximum / temperature), in [0, 1].
        shares: the probabilities, exponentials / sum(exponentials), computed by `softmax.softmax`.
        log_shares: their logarithms, computed by `softmax.log_softmax`.
        shares_before: the probabilities at temperature 1.
        sigmoids: sigmoid(logits / temperature): each score judged alone, as if the others were not there.
        decision: index of the most probable class, the first one in a tie.
    """

    labels: tuple[str, ...]
    temperature: float
    logits: NDArray[np.float64]
    minus_maximum: NDArray[np.float64]
    exponentials: NDArray[np.float64]
    shares: NDArray[np.float64]
    log_shares: NDArray[np.float64]
    shares_before: NDArray[np.float64]
    sigmoids: NDArray[np.float64]
    decision: int

    @property
    def label(self) -> str:
        """The name of the class decided for."""
        return self.labels[self.decision]

    def __str__(self) -> str:
        columns = _columns(self, bar)
        rows = zip(*([head, *cells] for head, cells in columns.values()), strict=True)
        return "\n".join([*table(rows, left=(0, list(columns).index("bar"))), "", *_conclusion(self)])

    def _repr_html_(self) -> str:
        return _html(self)

    def plot(self) -> Figure:
        """The steps as a picture, class by class: score, exponential, share, and sigmoid beside it.

        Of more than 20 classes, the 20 most probable ones. Needs matplotlib (`pip install 'softmax[report]'`); save it
        with ``figure.savefig("steps.svg")``.

        >>> figure = explain([2.33, -1.46, 0.56], ["cat", "dog", "boat"]).plot()
        >>> [ax.get_title() for ax in figure.axes]
        ['score', 'exp(score - max)', 'softmax', 'sigmoid']
        """
        from .plot.steps import explanation

        return explanation(self)


def explain(logits: ArrayLike, labels: Sequence[str] | None = None, *, temperature: float = 1.0) -> Explanation:
    """Every step of one softmax: minus the maximum, exponential, share, logarithm, decision, and sigmoid beside it.

    Args:
        logits: (K,) scores, K at least 1; -inf for a class that is ruled out.
        labels: K names; "0", "1", … where there are none.
        temperature: at least 0, inf included. Above 1 it evens the shares out, below 1 it sharpens them.

    Raises:
        TypeError, ValueError: a wrong dtype, shape or value, named with what came.

    >>> result = explain([-3.44, 1.16, -0.81, 3.91], ["dog", "cat", "boat", "airplane"])
    >>> result.label, round(float(result.shares[result.decision]), 4)
    ('airplane', 0.9315)
    >>> print(explain([2.0, 0.0], ["yes", "no"]))
    class  logit  - max     exp    share  log share                           sigmoid
    yes        2      0       1  88.08 %    -0.1269  █████████████████████▏   88.08 %
    no         0     -2  0.1353  11.92 %     -2.127  ██▉                      50.00 %
    sum                   1.135    100 %                                     138.08 %
    <BLANKLINE>
    Decision: yes, with 1 / 1.135 = 88.08 %.
    Of two classes, softmax is the sigmoid of their difference: sigmoid(2 - 0) = 88.08 %.
    """
    x = _checked_logits(logits)
    temperature = float(temperature)
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    with np.errstate(invalid="ignore"):
        minus_maximum = np.where(x == x.max(), 0.0, x - x.max())
    shares = np.asarray(softmax(x, temperature=temperature))
    return Explanation(
        labels=_checked_labels(labels, len(x)),
        temperature=temperature,
        logits=x,
        minus_maximum=minus_maximum,
        exponentials=np.exp(_divided(minus_maximum, temperature)),
        shares=shares,
        log_shares=np.asarray(log_softmax(x, temperature=temperature)),
        shares_before=np.asarray(softmax(x)),
        sigmoids=np.asarray(sigmoid(_divided(x, temperature))),
        decision=int(shares.argmax()),
    )


def _divided(x: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """x / temperature in the limit: at 0, a zero stays zero; at inf, only -inf and inf are left of the differences."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.where((x == 0) | np.isinf(x), x, x / temperature)


def _columns(e: Explanation, draw: Callable[[float], str]) -> dict[str, tuple[str, list[str]]]:
    """Head and cells of each column, the last cell being that of the sum; `draw` makes a share a bar."""
    columns = {
        "class": ("class", [*e.labels, "sum"]),
        "logit": ("logit", [*map(_number, e.logits), ""]),
        "minus": ("- max", [*map(_number, e.minus_maximum), ""]),
        "divided": (f"/ {e.temperature:g}", [*map(_number, _divided(e.minus_maximum, e.temperature)), ""]),
        "exp": ("exp", [*map(_number, e.exponentials), _number(e.exponentials.sum())]),
        "share": ("share", [*map(percent, e.shares), "100 %"]),
        "log": ("log share", [*map(_number, e.log_shares), ""]),
        "bar": ("", [*map(draw, e.shares), ""]),
        "before": ("at T = 1", [*map(percent, e.shares_before), "100 %"]),
        "sigmoid": ("sigmoid", [*map(percent, e.sigmoids), percent(e.sigmoids.sum())]),
    }
    if e.temperature == 1:
        del columns["divided"], columns["before"]
    return columns


def _html(e: Explanation) -> str:
    """The table as HTML for light and dark pages, whose colours it takes."""
    from html import escape

    def cell(tag: str, text: str, left: bool) -> str:
        return f'<{tag} style="text-align:{"left" if left else "right"};padding:.1em .6em">{text}</{tag}>'

    def draw(share: float) -> str:
        return f'<div style="width:{8 * share:.3f}em;height:.8em;background:#0072b2;border-radius:2px"></div>'

    columns = _columns(e, draw)
    left = [key in ("class", "bar") for key in columns]
    heads = [head for head, _ in columns.values()]
    rows = zip(*(map(escape, cells) if key != "bar" else cells for key, (_, cells) in columns.items()), strict=True)
    lines = ["<tr>" + "".join(map(partial(cell, "th"), heads, left)) + "</tr>"]
    lines += ["<tr>" + "".join(map(partial(cell, "td"), row, left)) + "</tr>" for row in rows]
    table = "\n".join(lines)
    return f"<table>\n{table}\n</table>\n" + "\n".join(f"<p>{escape(line)}</p>" for line in _conclusion(e))


def _conclusion(e: Explanation) -> list[str]:
    division = f"{_number(e.exponentials[e.decision])} / {_number(e.exponentials.sum())}"
    lines = [f"Decision: {e.label}, with {division} = {percent(e.shares[e.decision])}."]
    before, after = percent(e.shares_before[e.decision]), percent(e.shares[e.decision])
    if before != after:
        does = "evens the shares out" if e.temperature > 1 else "sharpens the shares"
        lines.append(f"Temperature {e.temperature:g} {does}: {e.label} has {before} at temperature 1.")
    if len(e.labels) == 2:
        difference = " - ".join(map(_number, e.logits))
        if e.temperature != 1:
            difference = f"({difference}) / {e.temperature:g}"
        share = percent(e.shares[0])
        lines.append(f"Of two classes, softmax is the sigmoid of their difference: sigmoid({difference}) = {share}.")
    else:
        lines.append("Softmax divides by the sum, so its shares sum to 1: a class gains what others lose.")
        lines.append(f"Sigmoid judges every score alone, here to {percent(e.sigmoids.sum())} in all.")
    return lines


def _number(x: float) -> str:
    return f"{x:.4g}"


def _checked_logits(logits: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(logits)
    if x.dtype.kind not in "biuf":
        raise TypeError(f"logits must be real numbers, got dtype {x.dtype}")
    if x.ndim != 1 or len(x) == 0:
        raise ValueError(f"logits must have shape (K,), one score a class, got shape {x.shape}")
    if np.isnan(x).any():
        raise ValueError(f"logits must not hold NaN, got one at position {np.flatnonzero(np.isnan(x))[0]}")
    if (x == -np.inf).all():
        raise ValueError("logits must leave a class to decide for, got -inf for all of them")
    return x.astype(np.float64)


def _checked_labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    names = range(classes) if labels is None else labels
    if len(names) != classes:
        raise ValueError(f"labels must name each of the {classes} classes, got {len(names)}")
    return tuple(map(str, names))
