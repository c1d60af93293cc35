"""The temperature that `softmax train` fits, and its words."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io

from softmax import softmax
from softmax._verdict import in_words
from softmax.cli import calibrating, models
from softmax.metrics import log_loss


def rows_of(n, seed=0, noise=1.0):
    """A table of two numbers whose classes are drawn from a softmax of them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    logits = noise * X @ np.array([[2.0, -1.0, 0.0], [0.0, 1.0, -2.0]])
    return X, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def table_of(n, **options):
    X, y = rows_of(n, **options)
    return pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": [f"k{k}" for k in y]})


@pytest.mark.parametrize(("n", "hidden"), [(300, "128,128,128"), (6000, "128,128")])
def test_train_calibrates_a_network_that_is_too_sure(run, n, hidden):
    """One that has learned its few rows by heart, with cross-fits, and one with a part held out."""
    assert 300 < calibrating.MANY < 6000
    table_of(n).write_csv("d.csv")
    table_of(2000, seed=1).write_csv("test.csv")
    result = run("train", "d.csv", "--target", "kind", "--test", "test.csv", "--hidden", hidden, "--alpha", "0")
    assert "Calibrated on rows that were not trained on: T = " in result.out
    assert "lowers the log-loss from" in result.out
    assert "(before calibration: " in result.out
    assert run("evaluate", "d.skops", "test.csv", "--report", "r.html").status == 0
    assert "lowers the log-loss from" in Path("r.html").read_text()
    content = skops.io.load("d.skops", trusted=list(models.TRUSTED))
    temperature = content["facts"]["temperature"]
    assert temperature > 1.02
    X, y = rows_of(2000, seed=1)
    logits = content["pipeline"].decision_function(pl.DataFrame({"a": X[:, 0], "b": X[:, 1]}))
    assert log_loss(softmax(logits), y) < log_loss(softmax(logits * temperature), y)


def test_a_few_rows_say_nothing_of_a_temperature(run):
    """By chance their best one may be so high that every answer becomes even."""
    table_of(99).write_csv("d.csv")
    assert "Calibrated" not in run("train", "d.csv", "--target", "kind").out
    facts = skops.io.load("d.skops", trusted=list(models.TRUSTED))["facts"]
    assert (facts["temperature"], facts["calibration"]) == (1.0, "")


def test_every_row_is_judged_by_a_model_that_has_not_seen_it():
    labels = np.array(["a"] * 50 + ["b"] * 23 + ["c"] * 2 + ["d"])
    fold = calibrating.folds(labels, 5, 0)
    assert fold[-1] == -1  # the only one of its class must be trained on
    assert set(fold[:-1]) == set(range(5))
    for label, fewest in (("a", 10), ("b", 4)):
        counts = np.bincount(fold[labels == label])
        assert fewest <= counts.min() <= counts.max() <= fewest + 1
    assert (calibrating.folds(labels, 5, 0) == fold).all()
    assert (calibrating.folds(labels, 5, 1) != fold).any()


def test_a_class_that_a_fold_lacks_does_not_stop_it(run):
    Path("d.csv").write_text("x,kind\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(140)) + "150,c\n151,d\n152,d\n")
    assert run("train", "d.csv", "--target", "kind").status == 0


@pytest.mark.parametrize(
    ("confidence", "share", "n", "words"),
    [
        (0.9, 0.93, 10_000, "of the answers given with about 90 % confidence, 93.00 % were right: slightly under-conf"),
        (0.9, 0.60, 10_000, "with about 90 % confidence, 60.00 % were right: over-confident"),
        (0.9, 0.90, 100, "90.00 % were right: as good as its word, within chance"),
        (0.99, 0.75, 10_000, "on average 99.00 % confident and 75.00 % right: over-confident"),
    ],
)
def test_in_words(confidence, share, n, words):
    probs = np.tile([confidence, 1 - confidence], (n, 1))
    targets = (np.arange(n) >= share * n).astype(int)
    assert words in in_words(probs, targets)
