"""Results as text, JSON and a picture: speed ratio and error beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from cases import Case
from harness import Reading, geometric_mean, ratio, spread
from peers import OURS, PEERS

Readings = Mapping[str, Reading]
Results = Sequence[tuple[Case, Readings]]
OURS_NAME = "softmax"
UNSTEADY = 1.25  # the spread of the rounds from which a ratio is marked
TIMES, DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
YARDSTICKS = [name for name, library in PEERS.items() if library.is_yardstick]


def label(name: str) -> str:
    return OURS.label if name == OURS_NAME else PEERS[name].label


def number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits, with an exponent if it is much longer than that; a dash for NaN."""
    if math.isnan(value):
        return DASH
    if abs(value) >= 10 ** (digits + 4):
        return f"{value:.{digits - 1}e}"
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def by_title(results: Results) -> Iterable[tuple[str, Results]]:
    """The results of each table, in order."""
    for title, group in groupby(results, key=lambda result: result[0].title):
        yield title, list(group)


def peers_with_times(results: Results) -> list[str]:
    """Names of the peers that have a time in any of the results."""
    return [name for name in PEERS if any(readings[name].times for _, readings in results if name in readings)]


def table(results: Results) -> str:
    """One table: our time and error for each shape, then how many times as long each peer takes, and its error."""
    peers = peers_with_times(results)
    rows = [["shape", f"{OURS.label} µs", "ULP"]]
    for name in peers:
        rows[0] += [f"{label(name)} {TIMES}"] + ([] if name in YARDSTICKS else ["ULP"])
    for case, readings in results:
        ours = readings[OURS_NAME]
        row = [case.shape_name, number(ours.time * 1e6), number(ours.ulp, 2)]
        for name in peers:
            mark = "~" if spread(readings[name], ours) > UNSTEADY else ""
            row += [mark + number(ratio(readings[name], ours))]
            row += [] if name in YARDSTICKS else [number(readings[name].ulp, 2)]
        rows.append(row)
    return grid(rows)


def like_with_like_title(peer: str) -> str:
    return "softmax float32" + (" out=" if PEERS[peer].has_out else "")


def like_with_like(results: Results, peer: str) -> Results:
    """The float32 softmax results to judge a peer by: those of `out=` if it has that, of new results otherwise."""
    return [result for result in results if result[0].title == like_with_like_title(peer)]


def means(results: Results) -> dict[str, dict[str, float]]:
    """The geometric mean of each peer's ratios, table by table, and over softmax float32 like with like."""
    groups: dict[str, dict[str, Results]] = {
        title: dict.fromkeys(peers_with_times(group), group) for title, group in by_title(results)
    }
    groups["softmax float32, out= where the peer has it"] = {
        name: chosen for name in peers_with_times(results) if (chosen := like_with_like(results, name))
    }
    return {
        title: {
            name: geometric_mean(ratio(readings[name], readings[OURS_NAME]) for _, readings in group)
            for name, group in members.items()
        }
        for title, members in groups.items()
        if members
    }


def text(results: Results) -> str:
    """All tables, the geometric means, and what could not be measured."""
    blocks = [f"{title}\n{table(group)}" for title, group in by_title(results)]
    peers = peers_with_times(results)
    rows = [[f"geometric mean {TIMES}", *map(label, peers)]]
    rows += [[title, *(number(row.get(name, math.nan)) for name in peers)] for title, row in means(results).items()]
    blocks.append(grid(rows))
    blocks.append("\n".join(not_measured(results)))
    return "\n\n".join(filter(None, blocks))


def not_measured(results: Results) -> list[str]:
    """What failed or was refused, and why; not what a library does not have at all."""
    return [
        f"Not measured: {label(name)}, {case.title} {case.shape_name}: {reading.refusal}"
        for case, readings in results
        for name, reading in readings.items()
        if reading.refusal and not reading.refusal.startswith("Missing")
    ]


def document(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as plain data for JSON, each round's time included."""
    rows = [
        asdict(case)
        | {
            "title": case.title,
            "libraries": {
                name: asdict(reading)
                | {
                    "time": reading.time,
                    "ratio": ratio(reading, readings[OURS_NAME]),
                    "spread": spread(reading, readings[OURS_NAME]),
                }
                for name, reading in readings.items()
            },
        }
        for case, readings in results
    ]
    return {**about, "geometric_means": means(results), "cases": rows}


def save_json(data: Any, path: Path) -> None:
    """Write JSON with null for what is not a finite number."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(entry) for entry in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain(data), indent=1, allow_nan=False) + "\n")
