"""Real texts, from a file to a tested model: `softmax train` beside fastText and a script that uses scikit-learn.

    python benchmarks/bench_texts.py [--rounds N] [--corpus reuters-r8]

Timed is a whole process, its start included: it reads the training table, counts words, fits, saves a model, and
classifies the test table. The ways take turns. Accuracy, log-loss and expected calibration error of each are computed
here, from the probabilities that it gave for the test. scikit-learn's own temperature scaling is one of the ways, since
ours always has one.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import polars as pl
from harness import environment, machine, processors
from report import grid, number, save_json

from softmax.metrics import accuracy, expected_calibration_error, log_loss

RESULTS = Path(__file__).with_name("results")
SCRIPTS_AT = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("softmax")
SCRIPTS = {
    "C = 1": ("texts_script.py", "1"),
    "C = 10": ("texts_script.py", "10"),
    "C = 1, temperature": ("texts_script.py", "temperature"),
}
if find_spec("fasttext"):  # which has no wheels for the newest Python
    SCRIPTS |= {f"fastText, {epochs} epochs": ("texts_fasttext.py", epochs) for epochs in ("25", "100")}
OURS = {"softmax train": [], "softmax train --report": ["--report", "report.html"]}


def seconds_of(command: Sequence[str | Path], folder: Path) -> float:
    """How long a process takes."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment(processors()), capture_output=True, check=True)
    return time.perf_counter() - start


def run(way: str, folder: Path) -> tuple[float, np.ndarray]:
    """One process: its seconds, and the probabilities of the test, for classes in their order."""
    if way in SCRIPTS:
        script, option = SCRIPTS[way]
        return seconds_of([sys.executable, SCRIPTS_AT / script, option], folder), np.load(folder / "probs.npy")
    options = ["--target", "category", "--test", "test.csv", "-o", "model.skops", *OURS[way]]
    seconds = seconds_of([COMMAND, "train", "train.csv", *options], folder)
    seconds_of([COMMAND, "predict", "model.skops", "test.csv", "-o", "probs.csv"], folder)
    return seconds, pl.read_csv(folder / "probs.csv").select(pl.col("^p_.*$")).to_numpy()


def measured(corpus: str, rounds: int) -> list[dict[str, Any]]:
    """Every way in turn, round by round: median seconds, the ratio to the plain script, and scores on the test."""
    _, targets = np.unique([label for label, _ in corpora.rows(corpus, "test")], return_inverse=True)
    times: dict[str, list[float]] = {way: [] for way in (*SCRIPTS, *OURS)}
    probs = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "test"):
            corpora.write_csv(corpus, part, folder / f"{part}.csv")
        for number_of_round in range(rounds):
            for way, found in times.items():
                print(f"{corpus} {way}, round {number_of_round + 1}", file=sys.stderr)
                seconds, probs[way] = run(way, folder)
                found.append(seconds)
    plain = times["C = 1"]
    return [
        {
            "corpus": corpus,
            "way": way,
            "seconds": statistics.median(found),
            "of_plain_script": statistics.median(a / b for a, b in zip(found, plain, strict=True)),
            "accuracy": accuracy(probs[way], targets),
            "log_loss": log_loss(probs[way], targets),
            "calibration_error": expected_calibration_error(probs[way], targets),
        }
        for way, found in times.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way (default: %(default)s)")
    parser.add_argument("--corpus", choices=corpora.CORPORA, action="append", help="one of them; may be repeated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    cases = [case for corpus in chosen.corpus or corpora.CORPORA for case in measured(corpus, chosen.rounds)]
    rows = [["corpus", "way", "seconds", "/ that of C = 1", "accuracy %", "log-loss", "calibration error %"]]
    for case in cases:
        figures = [case["seconds"], case["of_plain_script"], 100 * case["accuracy"], case["log_loss"]]
        rows.append([case["corpus"], case["way"], *map(number, [*figures, 100 * case["calibration_error"]])])
    print(grid(rows))
    save_json(machine(processors()) | {"rounds": chosen.rounds, "cases": cases}, chosen.results / "texts.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
