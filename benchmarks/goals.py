"""What the benchmarks are for: each goal, the figure that the results show for it, and whether that reaches it.

    python benchmarks/goals.py [--results FOLDER]

Reads the JSON that the benchmarks wrote. Ratios were taken round by round; each is the median over the rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import LOSS_SHAPES, ONE_GIGABYTE, ONE_SHAPE, SHAPES, THREE_SHAPES, Shape, shape_name
from harness import geometric_mean
from report import DASH, TIMES, YARDSTICKS, grid, label, like_with_like_title, number

Documents = Mapping[str, Mapping[str, Any]]  # by the name of their file
Row = tuple[float, Shape]

RESULTS = Path(__file__).with_name("results")
NEW, OUT = "softmax float32", "softmax float32 out="
LOSS = "cross_entropy float32 with gradient"
RIVALS = {"onnxruntime": 1.5, "torch": 3, "jax": 3, "scipy": 12}  # how many times as long as ours they are to take


@dataclass(frozen=True)
class Finding:
    """The figure of a goal, None where nothing was measured; `least` is the row that it is worst in."""

    value: float | None
    least: Row | None = None
    measured: int = 1
    wanted: int = 1


@dataclass(frozen=True)
class Ratio:
    """How many times as long as ours the `others` take: the geometric mean over `shapes`, at least `bound`.

    `others` are pairs of a table's title and a peer. Several count as one, the fastest of them for each shape.
    """

    work: str
    bound: float
    against: str
    others: Sequence[tuple[str, str]]
    shapes: Sequence[Shape]
    every: bool = False  # row has to reach the bound, not the mean

    @property
    def text(self) -> str:
        return f"{self.work} >= {self.bound:g} {TIMES} {self.against}{', every row' if self.every else ''}"

    def find(self, documents: Documents) -> Finding:
        rows = list(self._rows(documents.get("softmax", {}).get("cases", [])))
        if not rows:
            return Finding(None, None, 0, len(self.shapes))
        least = min(rows)
        value = least[0] if self.every else geometric_mean(ratio for ratio, _ in rows)
        return Finding(value, least, len(rows), len(self.shapes))

    def _rows(self, cases: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
        """The shapes in which every one of the others could be measured that can do the work at all."""
        entries = {
            (case["title"], tuple(case["shape"]), peer): entry
            for case in cases
            for peer, entry in case["libraries"].items()
        }
        for shape in self.shapes:
            found = [entries.get((title, shape, peer), {"refusal": ""}) for title, peer in self.others]
            ratios = [entry.get("ratio") for entry in found if not entry["refusal"].startswith("Missing")]
            if ratios and None not in ratios:
                yield min(ratios), shape

    def reached(self, value: float) -> bool:
        return value >= self.bound


@dataclass(frozen=True)
class Limit:
    """A figure of one of the documents, at most `bound`."""

    work: str
    bound: float
    unit: str
    document: str
    figure: Callable[[Mapping[str, Any]], float | None]

    @property
    def text(self) -> str:
        return f"{self.work} <= {self.bound:g} {self.unit}"

    def find(self, documents: Documents) -> Finding:
        value = self.figure(documents[self.document]) if self.document in documents else None
        return Finding(value, measured=int(value is not None))

    def reached(self, value: float) -> bool:
        return value <= self.bound


def beside(peer: str, bound: float, title: str, shapes: Sequence[Shape], **options: Any) -> Ratio:
    """One table beside one peer."""
    return Ratio(title, bound, label(peer), [(title, peer)], shapes, **options)


def like_with_like() -> Iterator[Ratio]:
    """softmax in float32 beside each rival, with `out=` where that has it, in the mean and in every row."""
    for peer, bound in RIVALS.items():
        # The IO binding of ONNX Runtime is its out=, but most call it without: both are shown.
        for title in dict.fromkeys([like_with_like_title(peer), *([NEW] if peer == "onnxruntime" else [])]):
            yield beside(peer, bound, title, SHAPES)
            yield beside(peer, 1, title, SHAPES, every=True)


def bandwidth(shape: Shape) -> Ratio:
    work = f"bandwidth of {OUT} {shape_name(shape)}"
    return Ratio(work, 0.9, "the fastest copy", [(OUT, name) for name in YARDSTICKS], [shape])


def sparse(op: str) -> Ratio:
    title = f"{op} float32"
    return Ratio(title, 5, "entmax at its faster", [(title, "entmax"), (title, "entmax-top")], THREE_SHAPES)


def of_shape(figure: str, shape: Shape) -> Callable[[Mapping[str, Any]], float | None]:
    """A figure that counts only if it was measured on a shape."""
    return lambda document: document[figure] if tuple(document["shape"]) == shape else None


def slowest_linear(document: Mapping[str, Any]) -> float:
    """Our time as a part of the faster peer's, where it is the largest."""
    return max(
        1 / min(entry["times_ours"] for name, entry in case["libraries"].items() if name != "softmax")
        for case in document["cases"]
    )


def largest_linear(document: Mapping[str, Any]) -> float:
    return max(float(case["libraries"]["softmax"]["beyond_gradients_mb"]) for case in document["cases"])


GOALS: list[Ratio | Limit] = [
    *like_with_like(),
    Ratio(
        "softmax 100000x10",
        4,
        "the fastest peer",
        [(like_with_like_title(peer), peer) for peer in RIVALS],
        [(100_000, 10)],
    ),
    bandwidth((4096, 4096)),
    bandwidth((16, 4_194_304)),
    beside("torch", 3, "logsumexp float32", THREE_SHAPES),
    beside("scipy", 40, "logsumexp float32", THREE_SHAPES),
    beside("torch", 2, "log_softmax float32", THREE_SHAPES),
    *(
        beside("torch", 2, f"softmax {work}", ONE_SHAPE)
        for work in ("float64", "float16", "bfloat16", "float32 axis=0")
    ),
    *(Ratio(f"{title} 1x10", 1, "PyTorch", [(title, "torch")], [(1, 10)]) for title in (NEW, OUT)),
    sparse("sparsemax"),
    sparse("entmax15"),
    beside("torch", 4, LOSS, LOSS_SHAPES),
    beside("torch", 8, f"{LOSS} label_smoothing=0.1", LOSS_SHAPES),
    beside("torch", 4, LOSS, [(100_000, 10)]),
    beside("torch", 5, f"{LOSS} gamma=2", LOSS_SHAPES[:3]),
    beside("torch", 5, f"{LOSS} of probabilities", LOSS_SHAPES[:3]),
    Limit("linear_cross_entropy", 0.9, f"{TIMES} the faster of PyTorch's ways, every shape", "linear", slowest_linear),
    Limit("linear_cross_entropy beyond its gradients", 64, "MB, every shape", "linear", largest_linear),
    Limit("softmax beside onnxruntime", 1.5, f"{TIMES} one thread", "neighbour", of_shape("ratio", ONE_SHAPE[0])),
    Limit("wheel", 1.5, "MB", "import", lambda document: document["wheel_mb"]),
    Limit("memory held beyond 1 GB and out=", 1, "MB", "memory", of_shape("beyond_mb", ONE_GIGABYTE)),
]


def read(folder: Path) -> Documents:
    """What the benchmarks wrote to a folder."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def verdict(goal: Ratio | Limit, finding: Finding) -> str:
    if finding.value is None:
        return "not measured"
    if finding.measured < finding.wanted:
        return f"only {finding.measured} of {finding.wanted} rows measured"
    return "reached" if goal.reached(finding.value) else "not reached"


def text(documents: Documents) -> str:
    """One line for each goal."""
    dates = [f"{name} of {document['date']}" for name, document in documents.items() if "date" in document]
    rows = [["goal", "figure", "least", "in", ""]]
    for goal in GOALS:
        finding = goal.find(documents)
        least, shape = finding.least if finding.least and finding.wanted > 1 else (None, ())
        figures = [DASH if value is None else number(value) for value in (finding.value, least)]
        rows.append([goal.text, *figures, shape_name(shape), verdict(goal, finding)])
    return f"Goals, from {', '.join(dates) or 'nothing'}\n{grid(rows)}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to read (default: %(default)s)")
    print(text(read(parser.parse_args(argv).results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
