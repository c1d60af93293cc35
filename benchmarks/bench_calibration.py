"""Temperature scaling and every metric of a large set of logits, beside the same written plainly with NumPy and SciPy.

    python benchmarks/bench_calibration.py [--rounds N] [--quick]

Each way runs in a process of its own, a new one for each round, in turn. Timed are the fit of T, the probabilities at
T, written over a buffer that was there before, and the metrics; memory is what these hold beyond logits and buffer.
How far T is off is estimated in float64: by the Newton step that would still be taken.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness import answer_of, machine, processors
from report import grid, number, save_json
from worker import held_by

RESULTS = Path(__file__).with_name("results")
Shape = tuple[int, int]  # rows, classes
SHAPE: Shape = (1_000_000, 100)
QUICK_SHAPE: Shape = (20_000, 10)
WAYS = {"softmax": "ours", "plain": "NumPy and SciPy"}
PARTS = ("fit", "transform", "metrics")
BINS = 15
TOLERANCE = 1e-3  # by which the metrics of the two ways may differ: T of the plain one is found to some 1e-5


def problem(shape: Shape) -> tuple[Any, Any]:
    """float32 logits that are 1.76 times too large, and targets; the same in every process."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal(shape, dtype=np.float32)
    targets = np.empty(shape[0], np.intp)
    for start in range(0, shape[0], 10_000):
        block = 1.7 * logits[start : start + 10_000]
        targets[start : start + 10_000] = (block + rng.gumbel(size=block.shape)).argmax(axis=1)
    logits *= 3
    return logits, targets


def ours(logits: Any, targets: Any, probs: Any) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """What is timed, by its name: each part gets the results of those before it."""
    from softmax.calibration import TemperatureScaling
    from softmax.metrics import all_scores

    return {
        "fit": lambda _: TemperatureScaling().fit(logits, targets),
        "transform": lambda done: done["fit"].transform(logits, out=probs),
        "metrics": lambda _: all_scores(probs, targets),
    }


def plain(logits: Any, targets: Any, probs: Any) -> dict[str, Callable[[dict[str, Any]], Any]]:
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp
    from scipy.special import softmax as scipy_softmax

    each = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.float32(math.exp(log_temperature))
        return float(np.mean(logsumexp(scaled, axis=1) - scaled[each, targets], dtype=np.float64))

    def transform(done: dict[str, Any]) -> None:
        probs[:] = scipy_softmax(logits / np.float32(math.exp(done["fit"].x)), axis=1)

    return {
        "fit": lambda _: minimize_scalar(loss, bracket=(-0.5, 0.5)),
        "transform": transform,
        "metrics": lambda _: plain_metrics(probs, targets),
    }


def plain_metrics(probs: Any, targets: Any) -> dict[str, float]:
    """What everybody writes for the metrics of `all_scores`, but for the smooth error."""
    each = np.arange(len(targets))
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == targets
    one_hot = np.zeros(probs.shape, np.float32)
    one_hot[each, targets] = 1
    risks = np.cumsum(~right[np.argsort(-confidence)]) / (each + 1)
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(probs[each, targets], dtype=np.float64).mean()),
        "brier_score": float(((probs - one_hot) ** 2).sum(axis=1, dtype=np.float64).mean()),
        "expected_calibration_error": plain_error(confidence, right),
        "classwise_calibration_error": float(
            np.mean([plain_error(probs[:, k], targets == k) for k in range(probs.shape[1])])
        ),
        "aurc": float(risks.mean()),
    }


def plain_error(values: Any, outcomes: Any) -> float:
    error = 0.0
    for i in range(BINS):
        inside = (values > i / BINS) & (values <= (i + 1) / BINS)
        if inside.any():
            error += abs(values[inside].mean(dtype=np.float64) - outcomes[inside].mean()) * inside.mean()
    return error


def child(way: str, shape: Shape) -> None:
    """One process: prints seconds of each part, bytes held, T and the metrics, as JSON."""
    parts_of = ours if way == "softmax" else plain
    small = problem(QUICK_SHAPE)
    run(parts_of(*small, np.zeros_like(small[0])))  # what is loaded at the first call
    logits, targets = problem(shape)
    parts = parts_of(logits, targets, np.full_like(logits, 0))
    seconds: dict[str, float] = {}
    done: dict[str, Any] = {}
    held = held_by(lambda: done.update(run(parts, seconds)))
    fit = done["fit"]
    temperature = fit.temperature_ if way == "softmax" else math.exp(fit.x)
    print(json.dumps({"seconds": seconds, "held": held, "temperature": temperature, "metrics": done["metrics"]}))


def run(parts: dict[str, Callable[[dict[str, Any]], Any]], seconds: dict[str, float] | None = None) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name, part in parts.items():
        start = time.perf_counter()
        done[name] = part(done)
        if seconds is not None:
            seconds[name] = time.perf_counter() - start
    return done


def error_of(temperature: float, shape: Shape) -> float:
    """The relative error of a temperature: the Newton step in the inverse temperature, in float64, over it."""
    logits, targets = problem(shape)
    slope = curvature = 0.0
    for start in range(0, shape[0], 10_000):
        z = logits[start : start + 10_000].astype(np.float64)
        z -= z[np.arange(len(z)), targets[start : start + 10_000]][:, np.newaxis]
        p = np.exp((z - z.max(axis=1, keepdims=True)) / temperature)
        p /= p.sum(axis=1, keepdims=True)
        mean = (p * z).sum(axis=1)
        slope += float(mean.sum())
        curvature += float(((p * z * z).sum(axis=1) - mean**2).sum())
    return abs(slope / curvature) * temperature


def measured(shape: Shape, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each way, in turn, round by round."""
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number_of_round in range(rounds):
        for way, found in answers.items():
            print(f"{WAYS[way]} {'x'.join(map(str, shape))}, round {number_of_round + 1}", file=sys.stderr)
            found.append(answer_of(__file__, way, *shape))
    expected = answers["plain"][0]["metrics"]
    for name, value in expected.items():
        if abs(answers["softmax"][0]["metrics"][name] - value) > TOLERANCE:
            raise ValueError(f"{name} differs: {answers['softmax'][0]['metrics'][name]} and {value}")
    result = {}
    for way, found in answers.items():
        seconds = {part: statistics.median(answer["seconds"][part] for answer in found) for part in PARTS}
        total = statistics.median(sum(answer["seconds"].values()) for answer in found)
        held = max(answer["held"] for answer in found) / 1e6
        error = error_of(found[0]["temperature"], shape)
        result[way] = seconds | {"total": total, "held_mb": held, "error": error}
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small shape, to see that it runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    parser.add_argument("--child", nargs=3, metavar=("WAY", "N", "K"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.child:
        way, *sizes = chosen.child
        child(way, tuple(map(int, sizes)))
        return 0
    shape = QUICK_SHAPE if chosen.quick else SHAPE
    found = measured(shape, chosen.rounds)
    rows = [
        ["x".join(map(str, shape)) + " float32", *(f"{part}, s" for part in PARTS), "total, s", "MB held", "error of T"]
    ]
    for way, entry in found.items():
        *figures, error = entry.values()
        rows.append([WAYS[way], *map(number, figures), f"{error:.0e}"])
    print(grid(rows))
    document = machine(processors()) | {"rounds": chosen.rounds, "shape": shape, "ways": found}
    save_json(document, chosen.results / "calibration.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
