"""SoftmaxClassifier beside scikit-learn's LogisticRegression and MLPClassifier.

    python benchmarks/bench_learn.py [--rounds N] [--quick]

Each library runs in a process of its own, a new one for each round, in turn; timed is `fit`, after one of a small
problem. Both stop where their default options say. Linear models are judged by their objective (mean loss + penalty,
times the rows), computed in float64 from the coefficients; networks, one for each of five seeds, by their mean log-loss
on held-out rows, and their seconds are added up. Ours counts only if what it is judged by is not above scikit-learn's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from harness import answer_of, machine, processors
from report import grid, number, save_json

RESULTS = Path(__file__).with_name("results")
TOLERANCE = 1e-7  # relative: how far above scikit-learn's ours may end
SEEDS = 5  # of networks
DTYPES = ("float64", "float32")


class Problem(NamedTuple):
    """What is fitted, and rows to judge a network by."""

    X: Any
    y: Any
    test_X: Any = None
    test_y: Any = None


# ------------------------------------------------------------------------------------------------------ the problems


def zipf(quick: bool) -> Problem:
    """TF-IDF rows of texts whose words follow Zipf's law: 11,000 x 42,000, 130 words a row, 20 classes."""
    import scipy.sparse
    from sklearn.feature_extraction.text import TfidfTransformer

    n, words, length, classes = (300, 500, 30, 4) if quick else (11_000, 42_000, 130, 20)
    rng = np.random.default_rng(0)
    y = rng.integers(classes, size=n)
    common = 1 / np.arange(1, words + 1)
    found = np.empty((n, length), np.int64)
    for k in range(classes):
        weights = np.cumsum(common * np.exp(rng.standard_normal(words)))
        of_class = np.flatnonzero(y == k)
        found[of_class] = np.searchsorted(weights, rng.random((len(of_class), length)) * weights[-1])
    ones = np.ones(found.size)
    counts = scipy.sparse.csr_array((ones, found.ravel(), np.arange(0, found.size + 1, length)), (n, words))
    counts.sum_duplicates()
    return Problem(TfidfTransformer(sublinear_tf=True).fit_transform(counts), y)


def reuters(quick: bool) -> Problem:
    """TF-IDF rows of Reuters-8: 5,485 x 10,000, 8 classes of very unlike size."""
    import corpora
    from sklearn.feature_extraction.text import TfidfVectorizer

    labels, texts = zip(*corpora.rows("reuters-r8", "train"), strict=True)
    _, y = np.unique(labels, return_inverse=True)
    return Problem(TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(texts), y)


def dense(quick: bool) -> Problem:
    """100,000 x 100 normal features, 100 classes drawn from a softmax of them."""
    n, features, classes = (2000, 10, 5) if quick else (100_000, 100, 100)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, features))
    logits = 0.4 * X @ rng.standard_normal((features, classes))
    return Problem(X, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1))


def held_out(name: str) -> Problem:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    train_X, test_X, train_y, test_y = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    return Problem(train_X, train_y, test_X, test_y)


def digits(quick: bool) -> Problem:
    """Digits, (100,) ReLU."""
    return held_out("digits")


def iris(quick: bool) -> Problem:
    """Iris, (4,) tanh."""
    return held_out("iris")


PROBLEMS: dict[str, Callable[[bool], Problem]] = {
    problem.__name__: problem for problem in (zipf, reuters, dense, digits, iris)
}
NETWORKS: dict[str, dict[str, Any]] = {
    "digits": {"hidden_layer_sizes": (100,), "activation": "relu"},
    "iris": {"hidden_layer_sizes": (4,), "activation": "tanh"},
}

# ------------------------------------------------------------------------------------------------------ one process


def model_of(library: str, name: str, seed: int = 0) -> Any:
    """What is timed. All options but the shape of a network and its seed are the defaults, where C = 1."""
    shape = NETWORKS.get(name)
    if library == "softmax":
        from softmax.learn import SoftmaxClassifier

        linear = {"alpha": 1.0, "max_iter": 1000}
        return SoftmaxClassifier(**linear) if shape is None else SoftmaxClassifier(**shape, random_state=seed)
    if shape is None:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000)
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(**shape, random_state=seed)


def objective(model: Any, problem: Problem) -> float:
    """Sum of the losses + half the sum of the squared weights, in float64."""
    from scipy.special import logsumexp

    coef, intercept = (
        (model.coefs_[0], model.intercepts_[0]) if hasattr(model, "coefs_") else (model.coef_.T, model.intercept_)
    )
    logits = problem.X @ coef.astype(np.float64) + intercept.astype(np.float64)
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(problem.y)), problem.y]
    return float(losses.sum() + 0.5 * np.square(coef, dtype=np.float64).sum())


def held_out_loss(model: Any, problem: Problem, dtype: str) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(problem.test_y, model.predict_proba(problem.test_X.astype(dtype))))


def child(library: str, name: str, dtype: str, quick: bool) -> None:
    """One process: prints seconds, iterations and what is judged by, as JSON."""
    warnings.simplefilter("ignore")
    problem = PROBLEMS[name](quick)
    X = problem.X.astype(dtype)
    model_of(library, name).fit(X[:200], problem.y[:200])  # what is loaded at the first call
    seconds, iterations, judged = 0.0, [], []
    for seed in range(SEEDS if name in NETWORKS else 1):
        model = model_of(library, name, seed)
        start = time.perf_counter()
        model.fit(X, problem.y)
        seconds += time.perf_counter() - start
        iterations.append(int(np.max(model.n_iter_)))
        judged.append(held_out_loss(model, problem, dtype) if name in NETWORKS else objective(model, problem))
    means = {"iterations": statistics.mean(iterations), "judged": statistics.mean(judged)}
    print(json.dumps({"seconds": seconds} | means))


# ------------------------------------------------------------------------------------------------------ all of them


def measured(name: str, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """Both libraries in both dtypes, in turn, round by round: the medians, and the ratio to the faster of theirs."""
    ways = [(library, dtype) for dtype in DTYPES for library in ("sklearn", "softmax")]
    answers: dict[tuple[str, str], list[dict[str, Any]]] = {way: [] for way in ways}
    for number_of_round in range(rounds):
        for way, found in answers.items():
            print(f"{name} {' '.join(way)}, round {number_of_round + 1}", file=sys.stderr)
            found.append(answer_of(__file__, way[0], name, way[1], "quick" if quick else "whole"))
    for dtype in DTYPES:
        ours, theirs = (answers[library, dtype][0]["judged"] for library in ("softmax", "sklearn"))
        if ours > theirs + TOLERANCE * abs(theirs):
            raise ValueError(f"{name} in {dtype}: ours ends at {ours:.10g}, above scikit-learn's {theirs:.10g}")
    better = [min(answers["sklearn", dtype][i]["seconds"] for dtype in DTYPES) for i in range(rounds)]
    return [
        {
            "problem": name,
            "library": library,
            "dtype": dtype,
            "seconds": statistics.median(a["seconds"] for a in found),
            "times_ours": statistics.median(b / a["seconds"] for a, b in zip(found, better, strict=True))
            if library == "softmax"
            else None,
            "iterations": found[0]["iterations"],
            "judged": found[0]["judged"],
        }
        for (library, dtype), found in answers.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each library (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small linear problems, to see that it runs")
    parser.add_argument("--only", choices=PROBLEMS, action="append", help="one of the problems; may be repeated")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    parser.add_argument("--child", nargs=4, metavar=("LIBRARY", "PROBLEM", "DTYPE", "SIZE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.child:
        library, name, dtype, size = chosen.child
        child(library, name, dtype, size == "quick")
        return 0
    cases = [case for name in chosen.only or PROBLEMS for case in measured(name, chosen.rounds, chosen.quick)]
    rows = [["problem", "library", "dtype", "seconds", "sklearn's better / ours", "iterations", "objective or loss"]]
    for case in cases:
        ratio = "" if case["times_ours"] is None else number(case["times_ours"])
        seconds, judged = number(case["seconds"]), f"{case['judged']:.9g}"
        iterations = f"{case['iterations']:g}"
        rows.append([case["problem"], case["library"], case["dtype"], seconds, ratio, iterations, judged])
    print(grid(rows))
    save_json(machine(processors()) | {"rounds": chosen.rounds, "cases": cases}, chosen.results / "learn.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
