"""softmax in the same process as an ONNX Runtime session, called in turn with it.

    python benchmarks/bench_neighbour.py [--shape 1000x1000] [--rounds N]

ONNX Runtime's threads keep spinning for a while after a call, on the processors that ours then wants. A round starts
three processes: ours alone on one processor, ours alone on all, and ours on all after each call of the session. The
ratio is that of the last to the first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cases
import numpy as np
from bench_softmax import shapes
from cases import ONE_SHAPE, Case
from harness import check, environment, machine, processors
from peers import OURS, OnnxRuntime
from report import grid, number, save_json
from worker import use_processors

RESULTS = Path(__file__).with_name("results")
SECONDS = 0.5  # that a process takes


def median_time(case: Case, threads: int, neighbour: bool) -> float:
    """Seconds of one of our calls, the answer checked; the session's call before each is not in it."""
    arrays = cases.inputs(case)
    before: Callable[[], object] = OnnxRuntime(threads).softmax(case, **arrays) if neighbour else lambda: None
    call = OURS(threads).softmax(case, **arrays)
    check(cases.select(case, (np.asarray(call()),)), cases.expected(case), case.dtype)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        before()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def in_a_process(case: Case, threads: int, neighbour: bool) -> float:
    command = [sys.executable, __file__, "--shape", case.shape_name, "--child", json.dumps([threads, neighbour])]
    return float(subprocess.check_output(command, env=environment(threads), text=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=shapes, default=ONE_SHAPE, help="of the logits (default: 1000x1000)")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is started (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    case = Case("softmax", chosen.shape[0], out=True)
    if chosen.child:
        threads, neighbour = chosen.child
        use_processors(threads)
        print(median_time(case, threads, neighbour))
        return 0
    if not OnnxRuntime.installed():
        print("Not installed: ONNX Runtime")
        return 0
    ways = {
        "alone, 1 thread": (1, False),
        f"alone, {processors()} threads": (processors(), False),
        f"beside onnxruntime, {processors()} threads": (processors(), True),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(chosen.rounds):
        for way, (threads, neighbour) in ways.items():
            times[way].append(in_a_process(case, threads, neighbour))
    one, _, beside = times.values()
    ratio = statistics.median(theirs / ours for theirs, ours in zip(beside, one, strict=True))
    rows = [["softmax float32 out=", f"{case.shape_name} µs"]]
    rows += [[way, number(1e6 * statistics.median(values))] for way, values in times.items()]
    print(f"{grid(rows)}\nBeside onnxruntime, it takes {number(ratio)} times as long as one thread alone.")
    data = machine(processors()) | {"shape": case.shape, "times": times, "ratio": ratio}
    save_json(data, chosen.results / "neighbour.json")
    print(f"Written: {chosen.results / 'neighbour.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
