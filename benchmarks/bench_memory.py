"""What memory costs: a new result beside `out=`, and what a call holds beyond its arrays. Linux only.

    python benchmarks/bench_memory.py [--rounds N] [--quick]

The system maps a page of a new result when it is first written, and clears it: a page fault. The first table shows what
that costs, with the faults of a call counted. The second shows the most memory that a call on 1 GB of logits holds
beyond what the process held before, after two calls; a library without `out=` has to hold its result, too.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cases import ONE_GIGABYTE, Case, Shape
from harness import Refused, Worker, machine, measure, processors
from peers import OURS, PEERS, Exponentials, Library
from report import OURS_NAME, grid, number, save_json

RESULTS = Path(__file__).with_name("results")
SHAPES: list[Shape] = [(1024, 1024), (4096, 4096), (16, 4_194_304)]  # 4, 64 and 256 MB
QUICK_SHAPE: Shape = (64, 1024)
RESULT_LIBRARIES: dict[str, type[Library]] = {OURS_NAME: OURS, "torch": PEERS["torch"], "exp": Exponentials}
HELD_LIBRARIES: dict[str, type[Library]] = {OURS_NAME: OURS} | {
    name: PEERS[name] for name in ("torch", "onnxruntime", "jax", "scipy")
}


def installed(libraries: dict[str, type[Library]]) -> dict[str, type[Library]]:
    return {name: library for name, library in libraries.items() if library.installed()}


def new_results(shapes: Sequence[Shape], rounds: int, threads: int) -> list[dict[str, Any]]:
    """Seconds and page faults of a call, with a new result and with `out=`."""
    found = []
    with ExitStack() as stack:
        libraries = installed(RESULT_LIBRARIES)
        workers = {name: stack.enter_context(Worker(library, threads)) for name, library in libraries.items()}
        for case in (Case("softmax", shape, out=out) for shape in shapes for out in (False, True)):
            print(f"{case.title} {case.shape_name}", file=sys.stderr)
            for name, reading in measure(case, workers, rounds, seconds=0.02).items():
                entry = {"library": name, "shape": case.shape, "out": case.out, "time": reading.time}
                found.append(entry | {"refusal": reading.refusal, "faults": page_faults(workers[name], case)})
    return found


def page_faults(worker: Worker, case: Case) -> int:
    worker.ask("prepare", case)
    faults, _ = worker.ask("memory")
    worker.ask("forget")
    return int(faults)


def held_beyond(shape: Shape, threads: int) -> dict[str, int]:
    """The most bytes that a call of each library holds beyond what was held before; one library after the other."""
    held = {}
    for name, library in installed(HELD_LIBRARIES).items():
        print(f"memory of {library.label}", file=sys.stderr)
        with Worker(library, threads) as worker:
            worker.ask("prepare", Case("softmax", shape, out=library.has_out))
            _, held[name] = worker.ask("memory")
    return held


def new_results_table(found: Sequence[dict[str, Any]]) -> str:
    """A row for each library and size."""
    rows = [["softmax float32", "MB", "new ms", "out= ms", "new faults", "out= faults", "ns a fault"]]
    new_and_out = ([entry for entry in found if entry["out"] == out] for out in (False, True))
    for new, old in zip(*new_and_out, strict=True):
        megabytes = 4e-6 * new["shape"][0] * new["shape"][1]
        faults = new["faults"] - old["faults"]
        cost = 1e9 * (new["time"] - old["time"]) / faults if faults > 0 else math.nan
        figures = [megabytes, 1e3 * new["time"], 1e3 * old["time"], new["faults"], old["faults"], cost]
        rows.append([RESULT_LIBRARIES[new["library"]].label, *map(number, figures)])
    return grid(rows)


def held_table(held: dict[str, int], shape: Shape) -> str:
    rows = [[f"softmax float32 {4e-6 * shape[0] * shape[1]:.0f} MB", "result", "MB held beyond"]]
    for name, size in held.items():
        rows.append([HELD_LIBRARIES[name].label, "out=" if HELD_LIBRARIES[name].has_out else "new", number(size / 1e6)])
    return grid(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="how often each is timed (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small shape, to see that it runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    threads = processors()
    try:
        found = new_results([QUICK_SHAPE] if chosen.quick else SHAPES, chosen.rounds, threads)
        held = held_beyond(shape := QUICK_SHAPE if chosen.quick else ONE_GIGABYTE, threads)
    except Refused as refusal:
        print(f"bench_memory: {refusal}", file=sys.stderr)
        return 1
    print(f"{new_results_table(found)}\n\n{held_table(held, shape)}\n")
    data = machine(threads) | {"rounds": chosen.rounds, "new_results": found, "shape": shape}
    data |= {"beyond": held, "beyond_mb": held[OURS_NAME] / 1e6}
    save_json(data, chosen.results / "memory.json")
    print(f"Written: {chosen.results / 'memory.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
