"""`softmax predict` in parts: the same rows as at once, in flat memory, whole or not at all."""

import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from softmax.cli import predicting, tables, training
from softmax.cli.models import load

COMMAND = os.path.join(os.path.dirname(sys.executable), "softmax")


def numbers(rows, seed=0):
    X = np.random.default_rng(seed).normal(size=(rows, 4)).round(3)
    kind = np.where(X[:, 3] > 0, "a", "b")
    y = np.array(["low", "mid", "high"])[np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])]
    return pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "kind": kind, "y": y})


@pytest.fixture
def model(run):
    """A model, small.skops, in the current folder."""
    numbers(200).write_csv("small.csv")
    assert run("train", "small.csv", "--target", "y").status == 0
    return run


READ = {
    "csv": pl.read_csv,
    "tsv": lambda name: pl.read_csv(name, separator="\t"),
    "parquet": pl.read_parquet,
    "jsonl": pl.read_ndjson,
    "ndjson": pl.read_ndjson,
}


@pytest.mark.parametrize("to", READ)
@pytest.mark.parametrize("options", [[], ["--keep"], ["--top-k", "2", "--abstain-below", "0.6"]])
def test_parts_make_the_whole(model, monkeypatch, to, options):
    new = numbers(500, seed=1)
    new.write_csv("new.csv")
    new.write_parquet("new.parquet")
    whole = model("predict", "small.skops", "new.csv", *options, "-o", f"whole.{to}")
    monkeypatch.setattr(tables, "PIECE", 1000)
    monkeypatch.setattr(tables, "BATCH", 64)
    monkeypatch.setattr(predicting, "PROBABILITIES", 30)
    parts = model("predict", "small.skops", "new.csv", *options, "-o", f"parts.{to}")
    assert parts == whole
    assert whole.status == 0
    expected = READ[to](f"whole.{to}")
    assert len(expected) == 500
    assert Path(f"parts.{to}").read_bytes() == Path(f"whole.{to}").read_bytes() or to == "parquet"
    assert READ[to](f"parts.{to}").equals(expected)
    assert model("predict", "small.skops", "new.parquet", *options, "-o", f"parts.{to}").status == 0
    given = READ[to](f"parts.{to}").drop("a", "b", "c", strict=False)  # numbers there, texts here
    assert given.equals(expected.drop("a", "b", "c", strict=False))


@pytest.mark.parametrize("to", ["out.csv", "out.parquet", "out.jsonl"])
def test_a_mistake_far_down_leaves_no_file_and_is_told_by_its_place(model, monkeypatch, to):
    monkeypatch.setattr(tables, "PIECE", 1000)
    lines = numbers(300).write_csv().split("\n")
    lines[251] = "1,x,2,a,low"
    Path("new.csv").write_text("\n".join(lines))
    before = set(os.listdir())
    assert model("predict", "small.skops", "new.csv", "-o", to).line == (
        "new.csv, row 251 (line 252), column 'b': 'x' is not a number"
    )
    lines[251] = "1,2,3"
    Path("new.csv").write_text("\n".join(lines))
    assert model("predict", "small.skops", "new.csv", "-o", to).line == (
        "new.csv, row 251 (line 252): 3 fields where the header has 5"
    )
    Path("new.csv").write_bytes("\n".join(lines[:251]).encode() + b"\n1,2,3,\xff,low\n")
    assert model("predict", "small.skops", "new.csv", "-o", to).line == "new.csv, line 252: not UTF-8 text"
    assert set(os.listdir()) == before


def test_new_categories_are_counted_over_all_parts(model, monkeypatch):
    monkeypatch.setattr(tables, "PIECE", 1000)
    numbers(300).with_columns(pl.lit("new").alias("kind")).write_csv("new.csv")
    assert model("predict", "small.skops", "new.csv", "-o", "out.csv").err == (
        "softmax: note: new.csv, row 1 (line 2), column 'kind': "
        "'new' was not in the training data and is ignored (300 such rows)\n"
    )


def test_json_lines_that_change_their_columns_on_the_way(model, monkeypatch):
    monkeypatch.setattr(tables, "PIECE", 1000)
    new = numbers(100)
    first, more = new.with_columns(n=pl.lit(1)), new.with_columns(more=pl.lit(True))
    Path("new.jsonl").write_text(first.write_ndjson() + more.write_ndjson())
    assert model("predict", "small.skops", "new.jsonl", "--keep", "-o", "out.parquet").status == 0
    assert pl.read_parquet("out.parquet")["n"].to_list() == [1] * 100 + [None] * 100
    Path("new.jsonl").write_text(first.write_ndjson() + new.with_columns(n=pl.lit(1.5)).write_ndjson())
    line = model("predict", "small.skops", "new.jsonl", "--keep", "-o", "more.parquet").line
    assert re.fullmatch(r"new.jsonl, rows \d+ on, column 'n': --keep expected Int64, got Float64", line)
    assert model("predict", "small.skops", "new.jsonl", "-o", "more.parquet").status == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no way to ask for the peak")
@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer's own memory counts")
def test_memory_does_not_grow_with_the_rows(model, measured):
    peaks = []
    for rows in 300_000, 1_500_000:
        pl.concat([numbers(50_000)] * (rows // 50_000)).write_parquet("new.parquet")
        command = "import sys; from softmax.cli import main; main(sys.argv[1:]); "
        command += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"  # in kB
        words = ["predict", "small.skops", "new.parquet", "-o", "out.parquet"]
        done = subprocess.run(
            [sys.executable, "-c", command, *words],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # or every thread keeps what it has freed
        )
        peaks.append(int(done.stdout) / 1000)
        assert len(pl.read_parquet("out.parquet")) == rows
    measured(f"softmax predict, 5 times the rows: {peaks[0]:.0f} MB, then {peaks[1]:.0f} MB")
    assert peaks[1] < peaks[0] + 90  # the table, its predictions and copies of them would be 200 MB more


# output that cannot be written


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize("words", [["predict", "small.skops", "small.csv"], ["apply", "1", "2"]])
def test_a_full_disk_on_stdout_is_one_line(model, words):
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "softmax: cannot write: no space left on device\n")


@pytest.fixture
def small_disk():
    """Writing more than 100 kB to a file fails as on a full disk."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("to", ["out.csv", "out.parquet", "out.jsonl"])
def test_a_full_disk_leaves_nothing(model, request, to):
    numbers(20_000).write_csv("new.csv")
    before = set(os.listdir())
    request.getfixturevalue("small_disk")
    result = model("predict", "small.skops", "new.csv", "-o", to)
    assert result == (1, "", f"softmax: {to}: cannot write: File too large\n")
    assert set(os.listdir()) == before


def test_an_output_that_cannot_be_written(model, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for output, line in [
        ("none/out.csv", f"none/out.csv: the folder {tmp_path}/none does not exist"),
        ("folder.csv", "folder.csv: is a directory"),
        ("out.txt", "out.txt: cannot write this type of file, only .csv, .tsv, .parquet, .jsonl, .ndjson"),
    ]:
        assert model("predict", "small.skops", "small.csv", "-o", output).line == line


# Ctrl-C


@contextmanager
def pressing_ctrl_c(title, total):
    """Instead of the progress bar: Ctrl-C in the third iteration."""

    def show(done, remark=""):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    yield show


@pytest.mark.parametrize("options", [[], ["--hidden", "4"]])
def test_ctrl_c_keeps_the_best_model_so_far(model, monkeypatch, options):
    monkeypatch.setattr(training, "progress", pressing_ctrl_c)
    before = signal.getsignal(signal.SIGINT)
    result = model("train", "small.csv", "--target", "y", *options, "-o", "early.skops", "--report", "early.html")
    assert signal.getsignal(signal.SIGINT) is before
    assert result.status == 0
    assert "softmax: note: stopping after this iteration; Ctrl-C once more gives up\n" in result.err
    assert "softmax: note: training was interrupted after 3 iterations: the model is the best so far\n" in result.err
    early = load("early.skops")
    assert early.facts.interrupted
    assert early.pipeline[-1].n_iter_ == len(early.pipeline[-1].loss_curve_) == 3
    assert not load("small.skops").facts.interrupted
    assert "3 (interrupted)" in Path("early.html").read_text()
    assert model("predict", "early.skops", "small.csv").status == 0


def test_ctrl_c_twice_gives_up(model, monkeypatch):
    @contextmanager
    def impatient(title, total):
        def show(done, remark=""):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        yield show

    monkeypatch.setattr(training, "progress", impatient)
    result = model("train", "small.csv", "--target", "y", "-o", "never.skops")
    assert result.status == 130
    assert result.err.endswith("softmax: interrupted\n")
    assert not os.path.exists("never.skops")


def test_long_predictions_show_what_is_left(model, monkeypatch):
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    assert model("predict", "small.skops", "small.csv", "-o", "out.csv").err == ""
    monkeypatch.setattr("softmax.cli.console.PATIENCE", 0)
    err = model("predict", "small.skops", "small.csv", "-o", "out.csv").err
    assert "Predicting" in err
    assert "left" in err
    assert "200 rows" in err


# several models


@pytest.fixture
def two(model):
    """Two models of the same classes, the second of fewer columns: small.skops and other.skops."""
    options = ["--drop", "kind", "--hidden", "4", "-o", "other.skops"]
    assert model("train", "small.csv", "--target", "y", *options).status == 0
    return model


def test_several_models_answer_with_the_mean_of_their_probabilities(two, monkeypatch):
    numbers(100, seed=1).write_csv("new.csv")
    tables_of = [pl.read_csv(two("predict", name, "new.csv").out.encode()) for name in ("small.skops", "other.skops")]
    expected = np.mean([table.drop("prediction", "confidence").to_numpy() for table in tables_of], axis=0)
    monkeypatch.setattr(predicting, "PROBABILITIES", 30)
    found = pl.read_csv(two("predict", "small.skops", "other.skops", "new.csv").out.encode())
    np.testing.assert_allclose(found.drop("prediction", "confidence").to_numpy(), expected, rtol=1e-12)
    assert found["prediction"].to_list() == [["high", "low", "mid"][k] for k in expected.argmax(axis=1)]
    result = two("evaluate", "small.skops", "other.skops", "new.csv")
    assert result.out.startswith("Tested the mean of small.skops, other.skops on 100 rows of new.csv")
    right = float((found["prediction"] == numbers(100, seed=1)["y"]).mean())
    assert f"{100 * right:.2f} %" in result.out


def test_what_one_of_the_models_has_not_seen_is_told_once(two):
    numbers(100, seed=1).with_columns(kind=pl.lit("new")).write_csv("new.csv")
    result = two("predict", "small.skops", "other.skops", "small.skops", "new.csv")
    assert result.err.count("was not in the training data") == 1
    assert "(100 such rows)" in result.err


def test_models_that_cannot_be_averaged_are_told(two):
    numbers(50).with_columns(y=pl.col("kind")).write_csv("kinds.csv")
    two("train", "kinds.csv", "--target", "kind", "-o", "kinds.skops")
    Path("lines.txt").write_text("__label__low a b\n__label__mid c\n__label__high d\n" * 30)
    two("train", "lines.txt", "-o", "lines.skops")
    assert two("predict", "small.skops", "kinds.skops", "small.csv").line == (
        "kinds.skops: has other classes than small.skops: a, b, not high, low, mid"
    )
    assert two("predict", "small.skops", "lines.skops", "small.csv").line == (
        "lines.skops: was trained on another kind of file than small.skops, or images of another size"
    )
    assert two("evaluate", "small.skops", "other.skops", "small.csv", "--report", "r.html").line == (
        "--report: is about one model, got 2"
    )
