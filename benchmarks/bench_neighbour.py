"""What a neighbour whose threads spin costs: softmax in turn with an ONNX Runtime session, in one process.

    python benchmarks/bench_neighbour.py [--rounds N] [--shapes 1000x1000,64x32000]

After a call ONNX Runtime's threads spin for some 50 ms, on the processors that our workers need. A pool that waits for
every one of its threads then takes tens of times as long as a single thread; ours should never take over 1.5 times as
long. `alone`, `one thread` and `beside` are processes of their own, asked in turn; microseconds, medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
from harness import machine, processors
from report import grid, number, save_json

RESULTS = Path(__file__).with_name("results")
SHAPES = "1000x1000,64x32000,100x1000"
SETTINGS = {  # threads of ours, and whether the neighbour is there; None: all
    "alone": (None, False),
    "one thread": (1, False),
    "beside": (None, True),
    "one thread beside": (1, True),
}
CALLS = 60


def session(shape: tuple[int, int]) -> object:
    """ONNX Runtime's softmax, with its own choice of threads, which spin."""
    import onnx
    import onnxruntime

    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Softmax", ["x"], ["y"])], "softmax", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def times(shape: tuple[int, int], neighbour: bool) -> list[float]:
    """Microseconds of each of our calls, every one after a call of the neighbour."""
    from softmax import softmax

    x = np.random.default_rng(0).normal(0, 10, shape).astype(np.float32)
    out = np.empty_like(x)
    model = session(shape) if neighbour else None
    taken = []
    for _ in range(CALLS):
        if model is not None:
            theirs = model.run(["y"], {"x": x})[0]  # type: ignore[attr-defined]
        start = perf_counter()
        softmax(x, out=out)
        taken.append(1e6 * (perf_counter() - start))
    if model is not None:
        np.testing.assert_allclose(out, theirs, rtol=1e-4)
    return taken


def in_a_process(setting: str, shape: tuple[int, int]) -> list[float]:
    threads, neighbour = SETTINGS[setting]
    limit = {} if threads is None else {"SOFTMAX_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--worker", json.dumps([shape, neighbour])]
    done = subprocess.run(command, env=os.environ | limit, stdout=subprocess.PIPE, check=True)
    taken: list[float] = json.loads(done.stdout)
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(times(*options.worker)))
        return
    readings: dict[str, dict[str, list[float]]] = {}
    rows = []
    for text in options.shapes.split(","):
        shape = tuple(map(int, text.split("x")))
        readings[text] = {setting: [] for setting in SETTINGS}
        for _ in range(options.rounds):
            for setting, taken in readings[text].items():
                taken += in_a_process(setting, shape)
        medians = {setting: statistics.median(taken) for setting, taken in readings[text].items()}
        ninths = statistics.quantiles(readings[text]["beside"], n=10)
        ratio = medians["beside"] / medians["one thread"]
        rows.append([text, *(number(median) for median in medians.values()), number(ratio), number(ninths[-1])])
    print(grid([["shape", *SETTINGS, "beside / one thread", "beside, 90 %"], *rows]))
    save_json(machine(processors()) | {"microseconds": readings}, RESULTS / "neighbour.json")


if __name__ == "__main__":
    main()
