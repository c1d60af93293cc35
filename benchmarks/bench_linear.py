"""linear_cross_entropy with its gradients beside PyTorch's two ways: with the logits held, and its chunked function.

    python benchmarks/bench_linear.py [--rounds N] [--quick]

Each library runs in a process of its own, a new one for each round, in turn. Memory is that of the first call, timed is
the second. Losses, and the gradients of some rows and classes, are compared with float64.
"""

from __future__ import annotations

import argparse
import json
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
Shape = tuple[int, int, int]  # rows, features, classes
SHAPES: list[Shape] = [(1024, 768, 32000), (512, 1024, 128256), (8192, 512, 32000)]
QUICK_SHAPE: Shape = (64, 16, 1000)
LIBRARIES = {"softmax": "ours", "torch": "PyTorch, logits held", "torch-chunked": "PyTorch, chunked"}
CHECKED = 5  # rows, and classes
TOLERANCE = 1e-3  # of the largest entry: matrix products of float32


def problem(shape: Shape) -> tuple[Any, Any, Any]:
    """Features, weight and targets, the same in every process; logits are about N(0, 1)."""
    rng = np.random.default_rng(0)
    rows, width, classes = shape
    features = rng.standard_normal((rows, width), dtype=np.float32)
    weight = rng.standard_normal((classes, width), dtype=np.float32) / np.float32(width**0.5)
    return features, weight, rng.integers(classes, size=rows)


def some(count: int) -> Any:
    return np.linspace(0, count - 1, CHECKED).astype(int)


def call_of(library: str, features: Any, weight: Any, targets: Any) -> Callable[[], tuple[float, Any, Any]]:
    """What is timed: a call that returns loss and both gradients."""
    if library == "softmax":
        from softmax import linear_cross_entropy, value_and_grad

        def ours() -> tuple[float, Any, Any]:
            loss, slope = value_and_grad(linear_cross_entropy)(features, weight, targets)
            return float(loss), slope.features, slope.weight

        return ours
    import torch

    torch.set_num_threads(processors())
    classes = torch.from_numpy(targets)
    functional = torch.nn.functional

    def theirs() -> tuple[float, Any, Any]:
        x, w = (torch.from_numpy(array).requires_grad_() for array in (features, weight))
        if library == "torch":
            loss = functional.cross_entropy(x @ w.T, classes)
        else:
            options = torch.nn.LinearCrossEntropyOptions()
            loss = functional.linear_cross_entropy(x, w, classes, options=options)
        loss.backward()
        return loss.item(), x.grad.numpy(), w.grad.numpy()

    return theirs


def child(library: str, shape: Shape) -> None:
    """One process: prints seconds, bytes above the inputs, and what is checked, as JSON."""
    arrays = problem(shape)
    small = problem(QUICK_SHAPE)
    call_of(library, *small)()  # what is loaded at the first call
    call = call_of(library, *arrays)
    held = held_by(call)
    start = time.perf_counter()
    loss, by_features, by_weight = call()
    seconds = time.perf_counter() - start
    checked = [by_features[some(shape[0])].tolist(), by_weight[some(shape[2])].tolist()]
    print(json.dumps({"seconds": seconds, "held": held, "loss": loss, "checked": checked}))


def exact(shape: Shape) -> tuple[float, Any, Any]:
    """The loss, and the checked rows of both gradients, in float64, some rows of logits at a time."""
    features, weight, targets = problem(shape)
    rows, classes = some(shape[0]), some(shape[2])
    weight, total = weight.astype(np.float64), 0.0
    by_features, by_weight = {}, np.zeros((CHECKED, shape[1]))
    for start in range(0, shape[0], 64):
        x, t = features[start : start + 64].astype(np.float64), targets[start : start + 64]
        logits = x @ weight.T
        logits -= logits.max(axis=-1, keepdims=True)
        probs = np.exp(logits)
        sums = probs.sum(axis=-1, keepdims=True)
        total += float((np.log(sums[:, 0]) - logits[np.arange(len(t)), t]).sum())
        probs /= sums
        probs[np.arange(len(t)), t] -= 1
        by_weight += probs[:, classes].T @ x
        for row in rows[(rows >= start) & (rows < start + 64)]:
            by_features[int(row)] = probs[row - start] @ weight
    found = np.array([by_features[int(row)] for row in rows])
    return total / shape[0], found / shape[0], by_weight / shape[0]


def wrong(answer: dict[str, Any], truth: tuple[float, Any, Any]) -> bool:
    pairs = [(answer["loss"], truth[0]), *zip(answer["checked"], truth[1:], strict=True)]
    return any(np.abs(np.asarray(a) - b).max() > TOLERANCE * np.abs(b).max() for a, b in pairs)


def measured(shape: Shape, rounds: int) -> dict[str, dict[str, Any]]:
    """Medians of each library, in turn, round by round."""
    truth = exact(shape)
    answers: dict[str, list[dict[str, Any]]] = {library: [] for library in LIBRARIES}
    for number_of_round in range(rounds):
        for library, all_answers in answers.items():
            print(f"{library} {'x'.join(map(str, shape))}, round {number_of_round + 1}", file=sys.stderr)
            answer = answer_of(__file__, library, *shape)
            if wrong(answer, truth):
                raise ValueError(f"{library} is wrong: a loss of {answer['loss']}, exactly {truth[0]}")
            all_answers.append(answer)
    gradients = 4 * (shape[0] + shape[2]) * shape[1]
    ours = [answer["seconds"] for answer in answers["softmax"]]
    return {
        library: {
            "seconds": statistics.median(answer["seconds"] for answer in found),
            "times_ours": statistics.median(a["seconds"] / b for a, b in zip(found, ours, strict=True)),
            "held_mb": max(answer["held"] for answer in found) / 1e6,
            "beyond_gradients_mb": (max(answer["held"] for answer in found) - gradients) / 1e6,
        }
        for library, found in answers.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each library (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one small shape, to see that it runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    parser.add_argument("--child", nargs=4, metavar=("LIBRARY", "N", "D", "K"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.child:
        library, *sizes = chosen.child
        child(library, tuple(map(int, sizes)))
        return 0
    rows = [["linear_cross_entropy float32", "", "seconds", "x ours", "MB held", "beyond the gradients"]]
    cases = []
    for shape in [QUICK_SHAPE] if chosen.quick else SHAPES:
        found = measured(shape, chosen.rounds)
        cases.append({"shape": shape, "libraries": found})
        for library, entry in found.items():
            rows.append(["x".join(map(str, shape)), LIBRARIES[library], *map(number, entry.values())])
    print(grid(rows))
    save_json(machine(processors()) | {"rounds": chosen.rounds, "cases": cases}, chosen.results / "linear.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
