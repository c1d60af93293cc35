"""The softmax family and cross-entropy beside NumPy, SciPy, PyTorch, ONNX Runtime, JAX and the package entmax.

    python benchmarks/bench_softmax.py [--only softmax,logsumexp] [--shapes 1000x1000] [--peers torch,scipy] [--quick]

Prints tables of how many times as long each peer takes, with the largest error in ULP beside it, and which goals are
reached (see goals.py); writes the same as JSON and as a picture. Libraries that are not installed are left out. All
libraries hold a case's arrays at the same time: the largest needs some 8 GB of memory.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import chart
import goals
import report
from cases import LOSS_SHAPES, ONE_SHAPE, SHAPES, THREE_SHAPES, Case, Shape
from harness import Refused, Worker, machine, measure, processors
from peers import OURS, PEERS
from report import OURS_NAME, TIMES, YARDSTICKS, Results

RESULTS = Path(__file__).with_name("results")
QUICK_SIZE = 2**21  # elements of the largest input of a quick run

GROUPS: dict[str, tuple[list[Case], list[Shape]]] = {
    "softmax": ([Case("softmax"), Case("softmax", out=True)], SHAPES),
    "log_softmax": ([Case("log_softmax")], THREE_SHAPES),
    "logsumexp": ([Case("logsumexp")], THREE_SHAPES),
    "axis0": ([Case("softmax", axis=0)], ONE_SHAPE),
    "float64": ([Case("softmax", dtype="float64")], ONE_SHAPE),
    "float16": ([Case("softmax", dtype="float16")], ONE_SHAPE),
    "bfloat16": ([Case("softmax", dtype="bfloat16")], ONE_SHAPE),
    "sigmoid": ([Case("sigmoid")], ONE_SHAPE),
    "sparsemax": ([Case("sparsemax")], THREE_SHAPES),
    "entmax15": ([Case("entmax15")], THREE_SHAPES),
    "cross_entropy": ([Case("cross_entropy")], LOSS_SHAPES),
    "label_smoothing": ([Case("cross_entropy", label_smoothing=0.1)], LOSS_SHAPES),
    "focal": ([Case("cross_entropy", gamma=2.0)], LOSS_SHAPES[:3]),
    "probabilities": ([Case("cross_entropy", soft=True)], LOSS_SHAPES[:3]),
}


def names(text: str) -> list[str]:
    return text.split(",")


def shapes(text: str) -> list[Shape]:
    return [tuple(map(int, name.split("x"))) for name in names(text)]


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=list(GROUPS), help=f"of {','.join(GROUPS)}")
    parser.add_argument("--shapes", type=shapes, help="such as 1000x1000,1x10, instead of each group's own")
    parser.add_argument("--peers", type=names, default=list(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--rounds", type=int, help="how often each library is timed (default: 11, quick: 3)")
    parser.add_argument("--threads", type=int, default=processors(), help="processors to use (default: all)")
    parser.add_argument(
        "--scale", type=float, default=Case.scale, help="deviation of the logits (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="under a minute: few rounds, no large inputs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    chosen.rounds = chosen.rounds or (3 if chosen.quick else 11)
    for option, known in [("only", list(GROUPS)), ("peers", list(PEERS))]:
        for name in getattr(chosen, option):
            if name not in known:
                parser.error(f"--{option}: {name!r} is not one of {','.join(known)}")
    if not 1 <= chosen.threads <= processors():
        parser.error(f"--threads: {chosen.threads} is not from 1 to {processors()}, the processors available")
    return chosen


def chosen_cases(chosen: argparse.Namespace) -> Iterator[Case]:
    """The cases that the command line asks for, table by table."""
    for templates, usual in map(GROUPS.__getitem__, chosen.only):
        for template in templates:
            for shape in chosen.shapes or usual:
                if not (chosen.quick and math.prod(shape) > QUICK_SIZE):
                    yield replace(template, shape=shape, scale=chosen.scale)


def measure_all(chosen: argparse.Namespace) -> tuple[Results, dict[str, Any]]:
    """Run everything; return the results, and what is to be known about each library."""
    libraries = {OURS_NAME: OURS} | {name: PEERS[name] for name in PEERS if name in chosen.peers}
    if missing := [library.label for library in libraries.values() if not library.installed()]:
        print(f"Not installed, left out: {', '.join(missing)}")
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(library, chosen.threads))
            for name, library in libraries.items()
            if library.installed()
        }
        about = {name: worker.ask("describe") for name, worker in workers.items()}
        results = []
        for case in chosen_cases(chosen):
            print(f"{case.title} {case.shape_name}", file=sys.stderr)
            results.append((case, measure(case, workers, chosen.rounds, 0.005 if chosen.quick else 0.02)))
        for name, worker in workers.items():
            about[name]["spins"] = worker.spin
    return results, about


def _was_busy(about: dict[str, Any]) -> bool:
    return about["load"] is not None and about["load"] > 0.5


def heading(about: dict[str, Any]) -> str:
    """The machine, the versions and what the figures mean, in a few lines."""
    libraries = {report.label(name): entry for name, entry in about["libraries"].items() if name not in YARDSTICKS}
    versions = [f"{label} {entry['version']}" for label, entry in libraries.items()]
    spins = [f"{label} {1000 * entry['spins']:.0f} ms" for label, entry in libraries.items() if entry["spins"] > 0.001]
    ours = report.label(OURS_NAME)
    return "\n".join(
        [
            f"{about['date']}  {about['processor']}, {about['threads']} threads, load average {about['load']}",
            f"{', '.join(versions)}, Python {about['python']}; {ours} uses "
            f"{libraries[ours].get('isa', 'no native kernels')}",
            f"Logits from N(0, {about['scale']:g}²); {about['rounds']} rounds. {TIMES} is how many times as long as "
            f"{ours} a library takes, ULP its largest error.",
            f"~ marks ratios whose quartiles over the rounds are more than a factor of {report.UNSTEADY} apart.",
            *(["The machine was busy when this began: do not rely on the figures."] if _was_busy(about) else []),
            f"Kept spinning after a call, and was waited for: {', '.join(spins) or 'none'}.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; exit status 1 if an answer of ours was refused as wrong."""
    chosen = options(argv)
    start = time.perf_counter()
    about = machine(chosen.threads) | {"rounds": chosen.rounds, "scale": chosen.scale}
    try:
        results, about["libraries"] = measure_all(chosen)
    except Refused as refusal:
        print(f"bench_softmax: {refusal}", file=sys.stderr)
        return 1
    print(f"{heading(about)}\n\n{report.text(results)}\n")
    written = [chosen.results / "softmax.json"]
    report.save_json(report.document(results, about), written[0])
    if chart.draw(results, chosen.results / "softmax.png", heading(about).splitlines()[0]):
        written.append(chosen.results / "softmax.png")
    print(f"{goals.text(goals.read(chosen.results))}\n")
    print(f"Took {time.perf_counter() - start:.0f} s. Written: {', '.join(map(str, written))}")
    return int(any(readings[OURS_NAME].refusal.startswith("wrong") for _, readings in results))


if __name__ == "__main__":
    sys.exit(main())
