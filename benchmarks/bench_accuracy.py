"""The largest error of each library in ULP, in float32, on inputs that are hard to do exactly.

    python benchmarks/bench_accuracy.py [--peers scipy,torch]

Prints the table of docs/numerics.md. The exact answers come from `softmax.reference` in float64, whose own error is
below a millionth of a float32 ULP. The unit is that of the exact value, one subnormal step below the normal range; for
logsumexp, that of max(|m|, |log s|, |result|). Nothing is timed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cases
from bench_softmax import names
from cases import Case
from harness import Refused, Worker, errors, machine, processors
from peers import OURS, PEERS, Library
from report import DASH, OURS_NAME, number, save_json

RESULTS = Path(__file__).with_name("results")
RIVALS = ("scipy", "torch", "onnxruntime", "jax")

# What the logits are, in words, and an example of a case on them.
SCORES: dict[str, Case] = {
    "N(0, 1), K=10": Case("", (1000, 10), scale=1),
    "N(0, 10²), K=1000": Case("", (100, 1000), scale=10),
    "N(0, 1), K=1,000,000": Case("", (4, 1_000_000), scale=1),
    "whole numbers (ties)": Case("", (100, 1000), draw="ties", scale=3),
    "N(0, 1) and one of 60": Case("", (100, 1000), draw="one large", scale=1),
    "10,000 + N(0, 1)": Case("", (100, 1000), draw="offset", scale=1),
    "uniform on (-100, 0)": Case("", (100, 1000), draw="tails"),
}
TEMPERED: dict[str, Case] = {
    "N(0, 1), temperature 0.001": Case("", (100, 1000), scale=1, temperature=1e-3),
    "N(0, 10,000²), temperature 1000": Case("", (100, 1000), scale=1e4, temperature=1e3),
}
INPUTS: dict[str, dict[str, Case]] = {
    "softmax": SCORES | TEMPERED,
    "log_softmax": SCORES | TEMPERED | {"(20, 0)": Case("", (1, 2), draw="pair")},
    "logsumexp": SCORES | {"result near 0, K=10": Case("", (1000, 10), draw="logsumexp near 0", scale=1)},
    "sigmoid": {"N(0, 10²)": Case("", (1000, 1000), scale=10)},
}
CASES = {(op, words): replace(case, op=op) for op, inputs in INPUTS.items() for words, case in inputs.items()}


def largest_errors(library: type[Library]) -> list[float]:
    """For each of CASES."""
    with Worker(library, processors()) as worker:
        return [largest_error(worker, case) for case in CASES.values()]


def largest_error(worker: Worker, case: Case) -> float:
    """NaN where the library has no such operation, or failed."""
    try:
        (got,) = worker.ask("prepare", case)
    except Refused as refusal:
        print(f"{worker.library.label}, {case.title}: {refusal}", file=sys.stderr)
        return math.nan
    (part,) = cases.expected(case)
    return errors(got, part, case.dtype)[0]


def table(found: dict[str, list[float]]) -> str:
    """Markdown, a column for each library."""
    labels = [OURS.label, *(PEERS[name].label for name in found if name != OURS_NAME)]
    rows = [["", "logits", *labels], ["---"] * (len(labels) + 2)]
    for (op, words), *values in zip(CASES, *found.values(), strict=True):
        rows.append([op, words, *(DASH if math.isnan(value) else _rounded(value) for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rounded(ulp: float) -> str:
    return f"{ulp:,.0f}" if ulp >= 10 else number(ulp, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Compute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=names, default=list(RIVALS), help=f"of {','.join(RIVALS)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    libraries = {OURS_NAME: OURS} | {name: PEERS[name] for name in RIVALS if name in chosen.peers}
    found = {name: largest_errors(library) for name, library in libraries.items() if library.installed()}
    print(table(found))
    rows = [{"op": op, "logits": words} for op, words in CASES]
    for row, *values in zip(rows, *found.values(), strict=True):
        row["ulp"] = dict(zip(found, values, strict=True))
    save_json(machine(processors()) | {"cases": rows}, chosen.results / "accuracy.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
