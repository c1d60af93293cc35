"""`softmax calibrate`: any model's logits or probabilities, from any kind of file, with labels in it or beside it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from softmax import softmax
from softmax.calibration import TemperatureScaling
from softmax.metrics import expected_calibration_error

NAMES = ["cat", "dog", "boat"]


def drawn(n=500, k=3, sharpened=3.0):
    """Logits that are `sharpened` times too large, and classes."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, k))
    return sharpened * logits, (logits + rng.gumbel(size=(n, k))).argmax(axis=1)


LOGITS, TARGETS = drawn()
FITTED = TemperatureScaling().fit(LOGITS, TARGETS)
TEXTS = [NAMES[k] for k in TARGETS]


def frame(scores, labels=None, prefix=""):
    columns = {prefix + name: scores[:, k] for k, name in enumerate(NAMES)}
    return pl.DataFrame(columns | ({} if labels is None else {"truth": labels}))


FILES = {
    "npy beside npy": lambda: (np.save("z.npy", LOGITS), np.save("y.npy", TARGETS), ("z.npy", "y.npy"))[-1],
    "npy beside csv": lambda: (
        np.save("z.npy", LOGITS), Path("y.csv").write_text("\n".join(map(str, TARGETS))), ("z.npy", "y.csv")
    )[-1],
    "npz": lambda: (np.savez("z.npz", logits=LOGITS, truth=TARGETS), ("z.npz", "truth"))[-1],
    "csv of names": lambda: (frame(LOGITS, TEXTS).write_csv("z.csv"), ("z.csv", "truth"))[-1],
    "parquet of indices": lambda: (frame(LOGITS, TARGETS).write_parquet("z.parquet"), ("z.parquet", "truth"))[-1],
    "jsonl beside csv of names": lambda: (
        frame(LOGITS).write_ndjson("z.jsonl"), pl.DataFrame({"t": TEXTS}).write_csv("y.csv"), ("z.jsonl", "y.csv")
    )[-1],
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_the_temperature_is_that_of_the_library(run, kind):
    name, target = FILES[kind]()
    result = run("calibrate", name, "--target", target, "-o", "t.json")
    assert (result.status, result.err) == (0, "")
    first, heads, loss, error, before, after, saved, use = result.out.splitlines()
    assert first == f"500 rows of {name}, 3 classes: {FITTED.message_}"
    assert heads.split() == ["before", "after"]
    assert loss.split()[1:] == [f"{FITTED.log_loss_before_:.4f}", f"{FITTED.log_loss_after_:.4f}"]
    errors = [expected_calibration_error(p, TARGETS) for p in (softmax(LOGITS), FITTED.transform(LOGITS))]
    assert error.split() == ["calibration", "error", *(x for e in errors for x in (f"{100 * e:.2f}", "%"))]
    assert before.startswith("  before: of the answers given with about 90 % confidence")
    assert before.endswith("over-confident")
    assert after.endswith("as good as its word, within chance")
    assert TemperatureScaling.load("t.json").temperature_ == pytest.approx(FITTED.temperature_, rel=1e-8)
    assert use == f"To use it: softmax apply FILE --temperature {FITTED.temperature_:.6g}"
    assert "t.json" in saved


def test_probabilities_are_seen_to_be_such(run):
    frame(softmax(LOGITS), TEXTS, prefix="p_").write_csv("p.csv")
    result = run("calibrate", "p.csv", "--target", "truth", "-o", "t.json")
    assert "p.csv: the numbers are taken as probabilities, since each row sums to 1" in result.err
    assert "softmax apply" not in result.out
    loaded = TemperatureScaling.load("t.json")
    assert loaded.inputs == "probabilities"
    assert loaded.temperature_ == pytest.approx(FITTED.temperature_, rel=1e-6)
    np.testing.assert_allclose(loaded.transform(softmax(LOGITS)), FITTED.transform(LOGITS), rtol=1e-6)


def test_one_column_is_the_score_of_the_second_of_two_classes(run):
    z, y = LOGITS[:, 1] - LOGITS[:, 0], TARGETS % 2
    pl.DataFrame({"score": z, "y": y == 1}).write_csv("z.csv")
    result = run("calibrate", "z.csv", "--target", "y")
    assert result.out.startswith(f"500 rows of z.csv, 2 classes: {TemperatureScaling().fit(z, y).message_}")
    assert "softmax apply" not in result.out  # of a column, it would be one softmax


def test_no_temperature_to_use(run):
    np.savez("z.npz", z=np.ones((20, 2)), y=np.arange(20) % 2)
    result = run("calibrate", "z.npz", "--target", "y")
    assert "T stays 1" in result.out
    assert "softmax apply" not in result.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["z.npz", "--target", "nix"], "--target nix: is neither a file of labels nor an array (N,) of z.npz"),
        (["z.npy", "--target", "short.csv"], "short.csv: holds 3 labels for the 500 rows of z.npy"),
        (["two.npz", "--target", "y"], "two.npz: expected one array of scores, got a, b"),
        (["cube.npy", "--target", "y.npy"], "cube.npy: expected scores of shape (N, K) or (N,), got float64 of shape "),
        (["z.csv", "--target", "nix"], "--target nix: is neither a file of labels nor a column of z.csv; these are"),
        (["gap.csv", "--target", "truth"], "gap.csv, row 2 (line 3), column 'dog': the number is missing"),
        (["plain.csv", "--target", "high.npy"], "high.npy, row 500: expected a class from 0 to 2, or one of cat, dog"),
        (["z.npy", "--target", "high.npy"], "high.npy, row 500: expected a class from 0 to 2, got 3"),
        (["z.npy", "--target", "part.npy"], "part.npy, row 1: expected a class from 0 to 2, got 2.5"),
        (["nan.npy", "--target", "y.npy"], "nan.npy: logits must be finite"),
        (["z.npy", "--target", "y.npy", "-o", "t.npy"], "t.npy: cannot write this type of file, only .json"),
        (["z.npy"], "Missing option '--target'. Try: softmax calibrate --help"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(run, words, line):
    np.savez("z.npz", z=LOGITS, y=TARGETS)
    np.savez("two.npz", a=LOGITS, b=LOGITS, y=TARGETS)
    np.save("cube.npy", LOGITS[None])
    np.save("z.npy", LOGITS)
    np.save("y.npy", TARGETS)
    np.save("high.npy", np.where(np.arange(500) == 499, 3, TARGETS))
    np.save("part.npy", TARGETS + 0.5)
    np.save("nan.npy", np.where(np.arange(500)[:, None] == 7, np.nan, LOGITS))
    Path("short.csv").write_text("0\n1\n2\n")
    frame(LOGITS, TEXTS).write_csv("z.csv")
    frame(LOGITS).write_csv("plain.csv")
    Path("gap.csv").write_text("cat,dog,truth\n1,2,cat\n1,,dog\n")
    before = {path.name for path in Path().iterdir()}
    assert run("calibrate", *words).line.startswith(line)
    assert {path.name for path in Path().iterdir()} == before


def test_the_file_can_be_read_as_json(run):
    name, target = FILES["npz"]()
    run("calibrate", name, "--target", target, "-o", "t.json")
    assert json.loads(Path("t.json").read_text())["kind"] == "TemperatureScaling"
