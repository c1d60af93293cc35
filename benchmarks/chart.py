"""The picture: a row for each case and a dot in it for each peer, speed on the left and error on the right."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import ratio
from report import DASH, OURS_NAME, TIMES, YARDSTICKS, Results, by_title, label, number, peers_with_times

# Colours that the colour-blind can tell apart (Okabe & Ito), with a shape each beside.
STYLES = {
    OURS_NAME: ("#000000", "D"),
    "numpy": ("#E69F00", "s"),
    "scipy": ("#56B4E9", "^"),
    "torch": ("#D55E00", "o"),
    "onnxruntime": ("#009E73", "v"),
    "jax": ("#CC79A7", "P"),
    "entmax": ("#0072B2", "X"),
    "entmax-top": ("#F0E442", "X"),
}
GREYS = ["#bbbbbb", "#999999", "#666666", "#333333"]
YARDSTICK_STYLES = {name: (grey, "|") for name, grey in zip(YARDSTICKS, GREYS, strict=True)}
SMALLEST_ULP = 0.1  # a logarithmic axis has no 0

Dots = dict[str, tuple[list[float], list[int]]]  # for each library: values and rows
Rows = list[tuple[str, bool]]  # for each row: its text, and whether it heads a group


def collect(results: Results) -> tuple[Rows, Dots, Dots]:
    """The rows from the top, and the dots of both panels."""
    rows: Rows = []
    speed: Dots = {name: ([], []) for name in [OURS_NAME, *peers_with_times(results)]}
    error: Dots = {name: ([], []) for name in speed if name not in YARDSTICKS}
    for title, group in by_title(results):
        rows.append((title, True))
        for case, readings in group:
            ours = readings[OURS_NAME]
            for name, dots, value in _values(speed, error, readings, ours):
                if not math.isnan(value):
                    dots[name][0].append(value)
                    dots[name][1].append(len(rows))
            rows.append((f"{case.shape_name.replace('x', f' {TIMES} ')}   {_time(ours.time)}", False))
    return rows, speed, error


def _values(speed: Dots, error: Dots, readings: Any, ours: Any) -> Iterator[tuple[str, Dots, float]]:
    for name in speed:
        if name in readings:
            yield name, speed, ratio(readings[name], ours)
    for name in error:
        if name in readings and readings[name].times:
            yield name, error, max(readings[name].ulp, SMALLEST_ULP)


def _time(seconds: float) -> str:
    """A time in the unit that suits it."""
    if math.isnan(seconds):
        return DASH
    factor, unit = next((f, u) for f, u in [(1e6, "µs"), (1e3, "ms"), (1, "s")] if seconds * f < 1000 or u == "s")
    return f"{number(seconds * factor)} {unit}"


def draw(results: Results, path: Path, caption: str) -> bool:
    """Draw to a file; False if matplotlib is not installed or there is nothing to draw."""
    rows, speed, error = collect(results)
    if not importlib.util.find_spec("matplotlib") or not any(values for values, _ in speed.values()):
        return False
    from matplotlib.figure import Figure

    height = 2.2 + 0.21 * len(rows)
    figure = Figure(figsize=(11, height), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    styles = STYLES | YARDSTICK_STYLES
    for axes, dots in [(left, speed), (right, error)]:
        for name, (values, places) in dots.items():
            colour, marker = styles[name]
            axes.plot(values, places, marker, color=colour, label=label(name), markersize=6, alpha=0.9, clip_on=False)
        axes.set_xscale("log")
        axes.grid(axis="x", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        for place, (_, heads) in enumerate(rows):
            if not heads:
                axes.axhline(place, color="#eeeeee", linewidth=0.8, zorder=0)
    left.axvline(1, color="black", linewidth=1)
    left.set_xlabel(f"time / time of {label(OURS_NAME)} (right of 1: {label(OURS_NAME)} is faster)")
    right.set_xlabel("largest error, ULP")
    left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    left.set_yticks(range(len(rows)), ["" if heads else text for text, heads in rows])
    for place, (text, heads) in enumerate(rows):
        if heads:  # in the panel, whose row is empty there
            left.text(
                0,
                place,
                text,
                transform=left.get_yaxis_transform(),
                va="center",
                weight="bold",
                backgroundcolor="white",
            )
    left.set_ylim(len(rows) - 0.3, -0.7)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    figure.text(0.99, 0.0, caption, ha="right", va="top", fontsize=7, color="#555555")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    return True
