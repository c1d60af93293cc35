"""Data that people really have: each works as one would hope, or ends in one line that says what to mend."""

import os
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io

from softmax.cli import models

HEAD = "size,kind,label\n"
ROWS = "".join(f"{i % 7},{'ab'[i % 2]},{'uv'[i % 3 // 2]}\n" for i in range(60))


def write(name, content):
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())


def told(result):
    """What a command that has worked said on stderr, its notes alone."""
    assert result.status == 0, result
    return [line for line in result.err.split("\n") if line.startswith("softmax: ")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEAD + ROWS.replace("a", "ä", 9) + "1,\xe4,u\n", None),
        ((HEAD + ROWS).encode() + "1,ä,u\n".encode("latin-1"), "d.csv, line 62: not UTF-8 text"),
        (("size,size ,label\n" + ROWS), "d.csv: two columns are named 'size'"),
        (HEAD, "d.csv: has no rows below the header"),
        (HEAD + ROWS.replace("\n6,", "\ninf,", 1), "d.csv, row 7 (line 8), column 'size': the number must be finite"),
        (HEAD + ROWS.replace("\n6,", "\n1e999,", 1), "d.csv, row 7 (line 8), column 'size': the number must be finite"),
        (
            HEAD + "".join(f"{i},a,this is sentence number {i}\n" for i in range(60)),
            "d.csv, column 'label': 60 different values in 60 rows are no classes",
        ),
        (HEAD + "".join(f"{i},a,{i / 7}\n" for i in range(1, 60)), "d.csv, row 1 (line 2), column 'label': 0.1428"),
    ],
)
def test_a_table_is_taken_or_told_what_is_wrong(run, content, expected):
    write("d.csv", content)
    before = set(os.listdir())
    if expected is None:
        assert told(run("train", "d.csv", "--target", "label")) == []
    else:
        assert run("train", "d.csv", "--target", "label", "--report", "r.html").line.startswith(expected)
        assert set(os.listdir()) == before


def test_a_byte_order_mark_plays_no_part(run):
    outputs = set()
    for encoding in "utf-8", "utf-8-sig", "utf-16":
        write("d.csv", (HEAD + ROWS).encode(encoding))
        assert run("train", "d.csv", "--target", "label").status == 0
        outputs.add(run("predict", "d.skops", "d.csv").out)
    assert len(outputs) == 1


def test_a_label_seen_once_is_a_class(run):
    write("d.csv", HEAD + ROWS + "99,a,once\n")
    assert told(run("train", "d.csv", "--target", "label")) == []
    write("new.csv", HEAD + "99,a,once\n")
    assert run("predict", "d.skops", "new.csv").out.split("\n")[0].endswith(",p_once,p_u,p_v")
    assert run("evaluate", "d.skops", "new.csv").status == 0


def test_columns_that_say_nothing_are_left_out_and_need_not_come_again(run):
    lines = [line.split(",") for line in ROWS.split("\n")[:-1]]
    write("d.csv", "size,kind,none,same,label\n" + "".join(f"{s},{k},,5,{y}\n" for s, k, y in lines))
    trained = run("train", "d.csv", "--target", "label")
    assert told(trained) == []
    assert "  left out     none (empty), same (always 5)\n" in trained.err
    write("plain.csv", HEAD + ROWS)
    run("train", "plain.csv", "--target", "label")
    assert run("predict", "d.skops", "plain.csv").out == run("predict", "plain.skops", "plain.csv").out


def test_a_column_that_is_all_missing_at_prediction_is_filled_in(run):
    write("d.csv", HEAD + ROWS)
    run("train", "d.csv", "--target", "label")
    write("new.csv", "size,kind\n,a\n,b\n")
    write("median.csv", "size,kind\n3,a\n3,b\n")
    assert run("predict", "d.skops", "new.csv").out == run("predict", "d.skops", "median.csv").out
    pl.DataFrame({"size": [None, None], "kind": ["a", "b"]}).write_parquet("new.parquet")
    assert run("predict", "d.skops", "new.parquet").out == run("predict", "d.skops", "median.csv").out


def test_texts_without_words(run):
    write("d.csv", "note,label\n" + "?!,u\n...,v\n" * 30)
    line = run("train", "d.csv", "--target", "label", "--text", "note").line
    assert line == "d.csv, column 'note': the texts hold no words"


def test_ten_thousand_classes(run):
    names = np.arange(20_000) % 10_000
    pl.DataFrame({"a": names // 100, "b": names % 100, "y": [f"c{i}" for i in names]}).write_parquet("d.parquet")
    start = time.process_time()
    trained = run("train", "d.parquet", "--target", "y", "--max-iter", "1", "--test", "d.parquet")
    assert trained.status == 0
    assert "y, 10,000 classes: c0 2, c1 2, c10 2" in trained.err
    assert "note: the test takes 2,000 of 20,000 rows, since there are 10,000 classes\n" in trained.err
    assert "Tested on 2,000 rows of d.parquet" in trained.out
    pl.read_parquet("d.parquet").head(100).write_parquet("new.parquet")
    assert run("predict", "d.skops", "new.parquet", "--top-k", "2", "-o", "out.csv").status == 0
    assert pl.read_csv("out.csv").columns == ["prediction", "confidence", "top_1", "p_top_1", "top_2", "p_top_2"]
    assert time.process_time() - start < 100


def test_a_model_from_a_newer_version(run):
    write("d.csv", HEAD + ROWS)
    run("train", "d.csv", "--target", "label")
    content = skops.io.load("d.skops", trusted=list(models.TRUSTED))
    content["facts"] |= {"format": models.FORMAT + 1, "softmax": "9.8.7", "moods": ["of tomorrow"]}
    skops.io.dump(content, "d.skops")
    line = run("predict", "d.skops", "d.csv", "-o", "out.csv").line
    assert line.startswith("d.skops: was written by softmax 9.8.7, which is newer than this one (")
    assert not os.path.exists("out.csv")


def test_a_model_from_an_older_version(run):
    write("d.csv", HEAD + ROWS)
    run("train", "d.csv", "--target", "label")
    printed = run("predict", "d.skops", "d.csv").out
    content = skops.io.load("d.skops", trusted=list(models.TRUSTED))
    facts = content["facts"]
    content["facts"] = {name: facts[name] for name in ("target", "numeric", "categorical", "softmax", "sklearn")}
    content["facts"]["format"] = 1
    skops.io.dump(content, "d.skops")
    assert run("predict", "d.skops", "d.csv").out == printed
