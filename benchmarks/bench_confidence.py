"""Whether confidence can be believed on real data, before and after a temperature: the table of docs/calibration.md.

    python benchmarks/bench_confidence.py [--seeds N] [--data digits]

Digits and diamonds (cuts from nine columns) are divided at random into training, calibration and test rows, 7 : 1 : 2;
Reuters-8 has a test of its own, and a tenth of the rest is for calibration. Label smoothing and focal loss are options
of the training; the temperature is fitted on the calibration rows of each model. Means over the seeds of the division
and of the networks' weights. `make bench` does not run it: it compares no libraries, and nothing is timed.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import corpora
import numpy as np
import pandas as pd
from harness import machine, processors
from report import grid, number, save_json
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from softmax import softmax
from softmax.calibration import TemperatureScaling
from softmax.learn import SoftmaxClassifier
from softmax.metrics import accuracy, expected_calibration_error, log_loss
from softmax.words import WordWeights

RESULTS = Path(__file__).with_name("results")
SPLIT = (0.7, 0.8)  # ends of the training and of the calibration rows
MODELS: dict[str, dict[str, Any]] = {
    "linear": {},
    "network": {"hidden_layer_sizes": (64,)},
    "network, label smoothing 0.1": {"hidden_layer_sizes": (64,), "label_smoothing": 0.1},
    "network, focal gamma 2": {"hidden_layer_sizes": (64,), "gamma": 2.0},
}
Parts = list[tuple[Any, np.ndarray]]  # rows and classes to train on, to calibrate with, to test


def digits(seed: int) -> Parts:
    """1,797 images of 8 by 8 pixels, 10 classes."""
    X, y = load_digits(return_X_y=True)
    return [(X[rows] / 16, y[rows]) for rows in _divided(len(y), SPLIT, seed)]


def diamonds(seed: int) -> Parts:
    """53,940 diamonds: the quality of the cut, 5 classes, from weight, price, colour, clarity and measures."""
    with zipfile.ZipFile(corpora.wheel("plotnine==0.15.9")) as wheel:
        frame = pd.read_csv(io.BytesIO(wheel.read("plotnine/data/diamonds.csv")))
    y, X = np.unique(frame["cut"], return_inverse=True)[1], frame.drop(columns="cut")
    words = list(X.select_dtypes(exclude="number"))
    parts = [(X.iloc[rows], y[rows]) for rows in _divided(len(y), SPLIT, seed)]
    features = make_column_transformer((OneHotEncoder(sparse_output=False), words), remainder=StandardScaler())
    features.fit(parts[0][0])
    return [(features.transform(rows), classes) for rows, classes in parts]


def reuters(seed: int) -> Parts:
    """7,674 news wires of Reuters-8, 2,189 of which are the test: TF-IDF of their words, 8 classes."""
    labels, texts = zip(*corpora.rows("reuters-r8", "train"), strict=True)
    test_labels, test_texts = zip(*corpora.rows("reuters-r8", "test"), strict=True)
    names, y = np.unique(labels, return_inverse=True)
    divided = _divided(len(y), (0.9,), seed)
    weights = WordWeights().fit([texts[i] for i in divided[0]])
    parts = [(weights.transform([texts[i] for i in rows]), y[rows]) for rows in divided]
    return [*parts, (weights.transform(list(test_texts)), np.searchsorted(names, test_labels))]


# How to divide the rows, and what `softmax train` takes for alpha with such features.
DATA: dict[str, tuple[Callable[[int], Parts], float]] = {
    "digits": (digits, 0.01),
    "Reuters-8": (reuters, 0.1),
    "diamonds": (diamonds, 0.01),
}


def _divided(rows: int, ends: Sequence[float], seed: int) -> list[np.ndarray]:
    order = np.random.default_rng(seed).permutation(rows)
    return np.split(order, [round(end * rows) for end in ends])


def scores_of(options: dict[str, Any], alpha: float, parts: Parts, seed: int) -> dict[str, float]:
    """One model, trained, calibrated and tested."""
    (X, y), (X_calibration, y_calibration), (X_test, y_test) = parts
    model = SoftmaxClassifier(alpha=alpha, random_state=seed, **options).fit(X, y)
    logits = model.decision_function(X_test)
    scaling = TemperatureScaling().fit(model.decision_function(X_calibration), y_calibration)
    scores = {"accuracy": accuracy(softmax(logits), y_test), "temperature": scaling.temperature_}
    for when, probs in (("before", softmax(logits)), ("after", scaling.transform(logits))):
        scores[f"log_loss_{when}"] = log_loss(probs, y_test)
        scores[f"error_{when}"] = expected_calibration_error(probs, y_test)
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="divisions of each data set (default: %(default)s)")
    parser.add_argument("--data", choices=DATA, action="append", help="one of them; may be repeated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    head = ["data", "model", "accuracy %", "T", "log-loss before", "after", "calibration error % before", "after"]
    rows, cases = [head], []
    for name in chosen.data or DATA:
        divide, alpha = DATA[name]
        found: dict[str, list[dict[str, float]]] = {model: [] for model in MODELS}
        for seed in range(chosen.seeds):
            parts = divide(seed)
            for model, options in MODELS.items():
                print(f"{name} {model}, seed {seed}", file=sys.stderr)
                found[model].append(scores_of(options, alpha, parts, seed))
        for model, each in found.items():
            case = {key: float(np.mean([scores[key] for scores in each])) for key in each[0]}
            cases.append({"data": name, "model": model} | case)
            losses = [f"{case[f'log_loss_{when}']:.4f}" for when in ("before", "after")]
            errors = [f"{100 * case[f'error_{when}']:.2f}" for when in ("before", "after")]
            rows.append([name, model, number(100 * case["accuracy"]), number(case["temperature"]), *losses, *errors])
    print(grid(rows))
    save_json(machine(processors()) | {"seeds": chosen.seeds, "cases": cases}, chosen.results / "confidence.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
