"""Measuring: each library in a process of its own, in turn, on the same input, its answer checked before it is timed.

Inside one process, thread pools that spin take the processors from each other, and the figures are worthless. Here one
process works while the others are blocked on their pipes (see `worker.py`). A round times every library once, so that
what drifts (clock rate, neighbours) touches all alike; ratios are taken round by round, and then their median.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cases
import numpy as np
from cases import Case, Part
from numpy.typing import NDArray
from peers import Library

Array = NDArray[Any]
WORKER = Path(__file__).with_name("worker.py")

# Bits of the significand, and the exponent e of the smallest normal number, 2**(e-1) (as `frexp` writes it).
FORMATS = {"float16": (11, -13), "bfloat16": (8, -125), "float32": (24, -125), "float64": (53, -1021)}

# Errors from which an answer is wrong, in ULP: above what the peers lose by rounding x - max (80, in 16 bits 45) and by
# adding up four million terms one by one (3000).
WRONG = {"float16": 64, "bfloat16": 64, "float32": 2**14, "float64": 2**14}


def answer_of(script: str, *words: object) -> Any:
    """What a benchmark prints as JSON in a process of its own, called as `script --child words...`."""
    command = [sys.executable, script, "--child", *map(str, words)]
    surroundings = os.environ | environment(processors())
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class Refused(Exception):
    """A library could not do a piece of work, or did it wrongly."""


def unit_in_the_last_place(values: Array, dtype: str) -> Array:
    """The distance between neighbouring numbers of `dtype` at the magnitude of each of `values` (float64 or wider).

    >>> unit_in_the_last_place(np.array([1.0, 0.0]), "float32").tolist() == [2.0**-23, 2.0**-149]
    True
    """
    precision, smallest = FORMATS[dtype]
    exponent = np.where(values == 0, smallest, np.frexp(values)[1])
    return np.asarray(np.ldexp(values.dtype.type(1), np.maximum(exponent, smallest) - precision))


def errors(got: Array, part: Part, dtype: str) -> tuple[float, float]:
    """The largest error of an answer in ULP: the one to report, and the one that makes it wrong (see `Part`).

    Infinite where `got` is not finite and should be.
    """
    exact, magnitude, terms = part
    if got.shape != exact.shape:
        raise Refused(f"wrong answer: shape {got.shape} where {exact.shape} was expected")
    with np.errstate(invalid="ignore"):
        error = np.abs(got.astype(exact.dtype) - exact)
    same = (got == exact) | (np.isnan(got) & np.isnan(exact))
    error = np.where(same, 0, np.where(np.isnan(error), np.inf, error))
    smallest_normal = 2.0 ** (FORMATS[dtype][1] - 1)
    judged = np.where(error < smallest_normal, 0, error)  # results below it may be flushed to 0

    def largest(error: Array, magnitude: Array | float) -> float:
        return float((error / unit_in_the_last_place(np.maximum(np.abs(exact), magnitude), dtype)).max(initial=0))

    return largest(error, terms), largest(judged, magnitude)


def check(answer: list[Array], parts: list[Part], dtype: str) -> float:
    """The largest error of a library's answer in ULP; Refused if the answer is wrong."""
    if len(answer) != len(parts):
        raise Refused(f"wrong answer: {len(answer)} arrays where {len(parts)} were expected")
    pairs = [errors(got, part, dtype) for got, part in zip(answer, parts, strict=True)]
    if (worst := max(judged for _, judged in pairs)) > WRONG[dtype]:
        raise Refused(f"wrong answer: off by {worst:.3g} ULP")
    return max(reported for reported, _ in pairs)


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that is timed on `threads` processors."""
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return os.environ | dict.fromkeys(pools, str(threads))


class Worker:
    """A library in a process of its own, blocked on a pipe while it is not asked."""

    def __init__(self, library: type[Library], threads: int) -> None:
        self.library = library
        self.spin = 0.0  # the longest time, in seconds, for which the process kept spinning after a sample
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), f"{library.__module__}:{library.__qualname__}", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(threads) | library.environment,
        )

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the worker's `Session`; Refused with its reason if it fails there."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            pickle.dump((method, arguments), self._process.stdin)
            self._process.stdin.flush()
            worked, value, spin = pickle.load(self._process.stdout)
        except (EOFError, OSError):
            raise Refused(f"its process ended with status {self._process.wait()}") from None
        if method == "sample":
            self.spin = max(self.spin, spin)
        if not worked:
            raise Refused(value)
        return value

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError), self._process:  # closes its pipes, at which it ends, and waits for that
            pass


@dataclass
class Reading:
    """One library on one case: seconds for a call in each round, the largest error in ULP, or why there are none."""

    times: list[float] = field(default_factory=list)
    ulp: float = math.nan
    refusal: str = ""

    @property
    def time(self) -> float:
        return statistics.median(self.times) if self.times else math.nan


def ratios(peer: Reading, ours: Reading) -> list[float]:
    """How many times as long as ours the peer takes, round by round; empty if one has no times."""
    return [theirs / our for theirs, our in zip(peer.times, ours.times, strict=False)]


def ratio(peer: Reading, ours: Reading) -> float:
    """The median of `ratios`; NaN if there are none."""
    return statistics.median(ratios(peer, ours) or [math.nan])


def spread(peer: Reading, ours: Reading) -> float:
    """The upper quartile of `ratios` above the lower one, as a factor; NaN if there are fewer than two."""
    rounds = ratios(peer, ours)
    if len(rounds) < 2:
        return math.nan
    lower, _, upper = statistics.quantiles(rounds, n=4, method="inclusive")
    return upper / lower


def geometric_mean(values: Iterable[float]) -> float:
    """The geometric mean of those that are not NaN; NaN if none is left."""
    logs = [math.log(value) for value in values if not math.isnan(value)]
    return math.exp(statistics.fmean(logs)) if logs else math.nan


@contextmanager
def refusals_to(reading: Reading) -> Iterator[None]:
    """A refusal inside ends the library's part in a case: it becomes the reading."""
    try:
        yield
    except Refused as refusal:
        reading.times.clear()
        reading.refusal = str(refusal)


def measure(case: Case, workers: Mapping[str, Worker], rounds: int, seconds: float) -> dict[str, Reading]:
    """Check every worker's answer to a case, then time those that are right in turn, each for `seconds` or one call."""
    parts = cases.expected(case)
    readings = {name: Reading() for name in workers}
    calls = {}
    for name, worker in workers.items():
        with refusals_to(readings[name]):
            answer = worker.ask("prepare", case)
            if not worker.library.is_yardstick:
                readings[name].ulp = check(answer, parts, case.dtype)
            calls[name] = worker.ask("calibrate", seconds)
    for _ in range(rounds):
        for name in calls:
            if not readings[name].refusal:
                with refusals_to(readings[name]):
                    readings[name].times.append(workers[name].ask("sample", calls[name]))
    for worker in workers.values():
        with suppress(Refused):
            worker.ask("forget")
    return readings


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(threads: int) -> dict[str, Any]:
    """What a reader needs to know about the machine and the moment."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "processors": processors(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
