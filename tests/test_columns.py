"""What a column is: detected, said by options, told on stderr, and made numbers of."""

import numpy as np
import polars as pl
import pytest

from softmax.cli.columns import PARTS, Said, choose_columns, date_numbers
from softmax.cli.console import Problem
from softmax.cli.tables import Table, read_table

ROWS = 60


def sentences(rows=ROWS, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(["red", "blue", "warm", "cold", "fast"], 6)) + f" item{i}" for i in range(rows)]


def table(**columns):
    frame = pl.DataFrame({**columns, "y": ["a", "b"] * (ROWS // 2)})
    return Table("t", frame, frame)


def kinds(chosen):
    """The kind of each column."""
    found = {}
    for kind in "numeric", "categorical", "dates", "text":
        found |= dict.fromkeys(getattr(chosen, kind), kind)
    return found | dict(chosen.left_out)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (list(range(ROWS)), "numeric"),
        ([True, False] * (ROWS // 2), "numeric"),
        (["red", "blue", "green"] * (ROWS // 3), "categorical"),
        (["a kind of long name", "and another long name"] * (ROWS // 2), "categorical"),
        ([f"2024-02-{1 + i % 28:02}" for i in range(ROWS)], "dates"),
        ([f"{1 + i % 28}.2.2024" for i in range(ROWS)], "dates"),
        (pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 2, 29), eager=True), "dates"),
        (sentences(), "text"),
        ([f"user{i}" for i in range(ROWS)], "60 different texts"),
        ([None] * ROWS, "empty"),
        ([7] * ROWS, "always 7"),
        (["x", None] * (ROWS // 2), "categorical"),
        (["2024-13-01", "2024-02-30"] * (ROWS // 2), "categorical"),
    ],
)
def test_the_kind_of_a_column_is_detected(values, kind):
    assert kinds(choose_columns(table(column=values, x=list(range(ROWS))), "y"))["column"] == kind


def test_a_few_different_sentences_are_texts():
    frame = pl.DataFrame({"note": sentences(8), "y": ["a", "b"] * 4})
    assert kinds(choose_columns(Table("t", frame, frame), "y")) == {"note": "text"}


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2024-02-29", "%Y-%m-%d", [2024, 2, 29, 4, 0, 19782]),
        ("2024-02-29T13:45:10", "%Y-%m-%dT%H:%M:%S", [2024, 2, 29, 4, 13, 19782]),
        ("29/02/2024", "%d/%m/%Y", [2024, 2, 29, 4, 0, 19782]),
        ("02/29/2024", "%m/%d/%Y", [2024, 2, 29, 4, 0, 19782]),
        ("1969-12-31 23:00", "%Y-%m-%d %H:%M", [1969, 12, 31, 3, 23, -1]),
    ],
)
def test_dates_become_numbers(text, form, expected):
    source = table(when=[*[text] * (ROWS - 1), None])
    assert choose_columns(source, "y").dates == {"when": form}
    numbers = date_numbers(source, "when", form)
    assert [series.name for series in numbers] == [f"when {part}" for part in PARTS]
    assert [series[0] for series in numbers] == expected
    assert [series[-1] for series in numbers] == [None] * len(PARTS)


def test_dates_whose_order_is_a_guess_are_noted(capsys):
    days = [f"0{1 + i % 9}/0{1 + i % 7}/2024" for i in range(ROWS)]
    assert choose_columns(table(when=days), "y").dates == {"when": "%d/%m/%Y"}
    assert "column 'when': '01/01/2024' is read as day/month/year" in capsys.readouterr().err
    days[0] = "01/31/2024"
    assert choose_columns(table(when=days), "y").dates == {"when": "%m/%d/%Y"}
    assert capsys.readouterr().err == ""


@pytest.fixture
def mixed(run, tmp_path):
    """A table of every kind of column, mixed.csv, in the current folder."""
    rng = np.random.default_rng(0)
    label = rng.choice(["low", "high"], 120)
    high = label == "high"
    pl.DataFrame(
        {
            "size": (high + rng.normal(0, 1, 120)).round(3),
            "kind": np.where(rng.random(120) < 0.5, "plain", "fancy"),
            "code": rng.integers(1, 4, 120),
            "when": [f"{2020 + 3 * h}-0{1 + i % 9}-1{i % 10}" for i, h in enumerate(high)],
            "note": [f"{'great fun' if h else 'poor thing'} number w{i} at all" for i, h in enumerate(high)],
            "label": label,
        }
    ).write_csv("mixed.csv")
    return run


def test_what_was_detected_is_said_on_stderr(mixed):
    lines = mixed("train", "mixed.csv", "--target", "label").err.split("\n")
    assert lines[2:6] == [
        "  numeric      2 columns: size, code",
        "  categorical  1 column: kind",
        "  date         1 column: when",
        "  text         1 column: note",
    ]


def test_options_override_what_was_detected(mixed):
    words = [
        "--text",
        "kind",
        "--categorical",
        "code,note",
        "--categorical",
        "when",
        "--numeric",
        "size",
        "--drop",
        "label",
    ]
    err = mixed("train", "mixed.csv", "--target", "label", *words).err
    assert "  numeric      1 column: size\n" in err
    assert "  categorical  3 columns: code, when, note\n" in err
    assert "  text         1 column: kind\n" in err
    assert "date" not in err
    err = mixed("train", "mixed.csv", "--target", "label", "--drop", "note", "--drop", "when,code").err
    assert "  numeric      1 column: size\n" in err
    assert "note" not in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--text nothing", "--text nothing: mixed.csv has no such column"),
        ("--drop nothing", "--drop nothing: mixed.csv has no such column"),
        ("--text note --drop kind,note", "--drop note: the column is in --text, too"),
        ("--numeric label", "--numeric label: is the target"),
        ("--numeric note", "mixed.csv, row 1 (line 2), column 'note': 'poor thing number w0 at all' is not a number"),
    ],
)
def test_options_that_fit_no_column_are_refused(mixed, words, expected):
    line = mixed("train", "mixed.csv", "--target", "label", *words.split()).line
    assert line.replace("great fun", "poor thing") == expected


def test_every_kind_of_column_counts_and_is_needed(mixed):
    assert mixed("train", "mixed.csv", "--target", "label").status == 0
    table = read_table("mixed.csv").frame
    plain = mixed("predict", "mixed.skops", "mixed.csv").out
    for name, value in [("size", 9.0), ("kind", "fancy"), ("when", "2023-01-11"), ("note", "great fun")]:
        changed = table.with_columns(pl.lit(value).alias(name))
        changed.write_csv("changed.csv")
        assert mixed("predict", "mixed.skops", "changed.csv").out != plain
        table.drop(name).write_csv("without.csv")
        assert mixed("predict", "mixed.skops", "without.csv").line.startswith(
            f"without.csv: column '{name}' is missing"
        )


def test_columns_may_come_in_another_order_with_others_between(mixed):
    mixed("train", "mixed.csv", "--target", "label")
    table = read_table("mixed.csv").raw
    table.select(reversed(table.columns)).with_columns(pl.lit("?").alias("more")).write_csv("other.csv")
    assert mixed("predict", "mixed.skops", "other.csv").out == mixed("predict", "mixed.skops", "mixed.csv").out


def test_a_wrong_date_is_told_by_its_place(mixed):
    mixed("train", "mixed.csv", "--target", "label")
    read_table("mixed.csv").frame.with_columns(pl.lit("01.02.2024").alias("when")).write_csv("new.csv")
    assert mixed("predict", "mixed.skops", "new.csv").line == (
        "new.csv, row 1 (line 2), column 'when': '01.02.2024' is not a date of the form %Y-%m-%d"
    )
    read_table("mixed.csv").frame.with_columns(pl.col("when").str.to_date()).write_parquet("new.parquet")
    assert mixed("predict", "mixed.skops", "new.parquet").out == mixed("predict", "mixed.skops", "mixed.csv").out


def test_texts_are_never_made_dense(mixed, monkeypatch):
    import scipy.sparse

    from softmax.learn import SoftmaxClassifier

    seen = []
    fit = SoftmaxClassifier.fit
    monkeypatch.setattr(SoftmaxClassifier, "fit", lambda self, X, y: seen.append(X) or fit(self, X, y))
    mixed("train", "mixed.csv", "--target", "label", "--drop", "size,kind,code,when")
    assert all(map(scipy.sparse.issparse, seen))
    assert seen[0].dtype == np.float32
    mixed("train", "mixed.csv", "--target", "label")
    assert all(map(scipy.sparse.issparse, seen))
    mixed("train", "mixed.csv", "--target", "label", "--drop", "note")
    assert isinstance(seen[-1], np.ndarray)


def test_the_report_tells_each_kind(mixed, tmp_path):
    mixed("train", "mixed.csv", "--target", "label", "--report", "r.html")
    html = (tmp_path / "r.html").read_text()
    for told in "words in the mean", "2020-01-10 to 2023-0", ">date<", ">text<", ">numeric<", ">categorical<":
        assert told in html
    assert ">great</" in html or ">poor</" in html  # a word among the weights


def test_export_takes_dates(mixed):
    mixed("train", "mixed.csv", "--target", "label", "--drop", "note", "-o", "dates.skops")
    exported = mixed("export", "dates.skops", "m.onnx")
    assert exported.status == 0
    assert "8 columns of numbers (float64) and 1 column of texts" in exported.out
    assert "of when: year, month, day, weekday, hour, day number, the days since 1970" in exported.out
    import onnxruntime

    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    source = read_table("mixed.csv")
    columns = {series.name: series for series in date_numbers(source, "when", "%Y-%m-%d")}
    columns |= {name: source.numbers(name) for name in ("size", "code")}
    feed = {name: series.to_numpy() for name, series in columns.items()}
    feed["kind"] = source.frame["kind"].to_numpy().astype(object)
    (probs,) = session.run(["probabilities"], feed)
    ours = pl.read_csv(mixed("predict", "dates.skops", "mixed.csv").out.encode())
    np.testing.assert_allclose(probs, ours.select("p_high", "p_low").to_numpy(), atol=2e-6)


def test_said_may_be_nothing():
    assert choose_columns(table(x=list(range(ROWS))), "y", Said()) == choose_columns(table(x=list(range(ROWS))), "y")
    with pytest.raises(Problem, match="no column to learn from"):
        choose_columns(table(x=list(range(ROWS))), "y", Said(drop=["x"]))
