"""The command line, in this process through `run`; in one of its own where imports or pipes are the point."""

import errno
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import skops.io
from commands import Result
from sklearn.linear_model import LogisticRegression

import softmax
from softmax.cli.console import Problem, Status, replacing
from softmax.cli.tables import read_table


def people(rows=120, seed=0):
    """Whom to serve beer: numbers, a boolean and a category, with missing values; the label depends on them."""
    rng = np.random.default_rng(seed)
    age = rng.integers(10, 60, rows)
    city = rng.choice(["Oslo", "Rome", "Lima"], rows)
    label = np.where(age + 10 * (city == "Rome") + rng.normal(0, 4, rows) > 35, "beer", "juice")
    ages = ["" if rng.random() < 0.1 else str(a) for a in age]
    cities = ["" if rng.random() < 0.05 else c for c in city]
    members = np.where(rng.random(rows) < 0.5, "true", "false")
    lines = zip(ages, rng.normal(size=rows).round(3).astype(str), cities, members, label, strict=True)
    return "age,score,city,member,drink\n" + "\n".join(map(",".join, lines)) + "\n"


@pytest.fixture
def model(run, tmp_path):
    """A model, people.skops, and its data, people.csv, in the current folder."""
    (tmp_path / "people.csv").write_text(people())
    assert run("train", "people.csv", "--target", "drink").status == 0
    return run


# apply


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("0.7 1.5 4.8", "0.01573172 0.03501159 0.94925668"),
        ("13 31 5", "1.52299795e-08 9.99999985e-01 5.10908895e-12"),
        ("0 100 0", "3.72007598e-44 1.00000000e+00 3.72007598e-44"),
        ("-1 2", "0.04742587 0.95257413"),
        ("-- -1 2", "0.04742587 0.95257413"),
        ("-.5 -1e2 -inf", "1.00000000e+00 6.13336839e-44 0.00000000e+00"),
        ("-1 2 --temperature 2", "0.18242552 0.81757448"),
        ("--temperature 2 -1 2", "0.18242552 0.81757448"),
        ("1 2 --temperature 0", "0. 1."),
        ("1 2 --temperature inf", "0.5 0.5"),
        ("0 0 --log", "-0.69314718 -0.69314718"),
        ("1 2 --axis 0", "0.26894142 0.73105858"),
    ],
)
def test_apply_to_numbers(run, words, expected):
    assert run("apply", *words.split()) == Result(0, expected + "\n", "")


def test_apply_prints_many_numbers_on_one_line(run):
    printed = run("apply", *range(2000)).out
    assert printed.count("\n") == 1
    np.testing.assert_allclose(np.array(printed.split(), float), softmax.softmax(np.arange(2000.0)), rtol=1e-7)


@pytest.mark.parametrize(
    ("text", "expected_separator"),
    [("1 2 4\n", " "), ("1,2,4\n", ","), ("1\t2\t4", "\t"), ("  1   2 4\n\n", " "), ("\ufeff1,2,4\r\n", ",")],
)
@pytest.mark.parametrize("words", [["apply"], ["apply", "-"]])
def test_apply_to_stdin_answers_in_its_format(run, words, text, expected_separator):
    printed = run(*words, stdin=text).out
    assert [float(x) for x in printed.split(expected_separator)] == softmax.softmax([1.0, 2, 4]).tolist()


def test_one_number_a_line_is_one_vector(run):
    printed = run("apply", stdin="1\n2\n4\n").out
    assert [float(x) for x in printed.split("\n")[:-1]] == softmax.softmax([1.0, 2, 4]).tolist()


X = np.array([[1.0, 2.0, 4.0], [0.5, -3.0, 0.25]])


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npy", "npz"])
@pytest.mark.parametrize("to", ["csv", "tsv", "parquet", "npy", "npz"])
def test_apply_from_file_to_file(run, suffix, to, axis):
    frame = pl.DataFrame(X, schema=["a", "b", "c"])
    write = {
        "csv": frame.write_csv,
        "tsv": lambda path: frame.write_csv(path, separator="\t"),
        "parquet": frame.write_parquet,
        "npy": lambda path: np.save(path, X),
        "npz": lambda path: np.savez(path, logits=X),
    }
    write[suffix](f"in.{suffix}")
    assert run("apply", f"in.{suffix}", "--axis", axis, "-o", f"out.{to}") == Result(0, "", "")
    expected = softmax.softmax(X, axis=axis)
    if to == "npy":
        assert (np.load("out.npy") == expected).all()
    elif to == "npz":
        assert (np.load("out.npz")["probs"] == expected).all()
    else:
        table = read_table(f"out.{to}", only_numbers=True)
        assert (table.frame.to_numpy() == expected).all()
        if suffix in ("csv", "tsv", "parquet"):
            assert table.frame.columns == ["a", "b", "c"]


def test_apply_prints_a_table_with_the_header_that_it_had(run, tmp_path):
    (tmp_path / "with.csv").write_text("a,b\n0,0\n1,1\n")
    (tmp_path / "without.csv").write_text("0,0\n1,1\n")
    assert run("apply", "with.csv").out == "a,b\n0.5,0.5\n0.5,0.5\n"
    assert run("apply", "without.csv").out == "0.5,0.5\n0.5,0.5\n"


def test_apply_keeps_float32_and_any_number_of_dimensions(run):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.save("x.npy", x)
    assert run("apply", "x.npy", "--axis", "1", "--log", "-o", "y.npy").status == 0
    y = np.load("y.npy")
    assert y.dtype == np.float32
    assert (y == softmax.log_softmax(x, axis=1)).all()
    assert run("apply", "x.npy").line == "the result has 3 dimensions: write it with -o FILE.npy"


def test_the_case_of_a_suffix_plays_no_part(run):
    with open("x.NPY", "wb") as file:
        np.save(file, X)
    assert run("apply", "x.NPY", "--log", "-o", "y.NPZ").status == 0
    assert run("apply", "x.NPY", "-o", "y.NPY").status == 0
    assert run("apply", "x.NPY", "-o", "y.TSV").status == 0
    assert (np.load("y.NPZ")["log_probs"] == softmax.log_softmax(X)).all()
    assert (np.load("y.NPY") == softmax.softmax(X)).all()
    assert "\t" in Path("y.TSV").read_text()


def test_apply_takes_nan_for_a_number(run):
    assert run("apply", stdin="a,b\n0,0\n1,nan\n").out == "a,b\n0.5,0.5\nNaN,NaN\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["1", "b"], "'b' is neither number nor file"),
        (["foo"], "'foo' is neither number nor file"),
        (["missing.csv"], "missing.csv: no such file or directory"),
        (["folder"], "folder: is a directory"),
        (["folder.npy"], "folder.npy: is a directory"),
        (["empty.csv"], "empty.csv: is empty"),
        (
            ["x.docx"],
            "x.docx: unknown type of file, expected one of .csv, .tsv, .txt, .parquet, .npy, .npz, .safetensors",
        ),
        (["ragged.csv"], "ragged.csv, row 2 (line 2): 3 fields where the first row has 2"),
        (["words.csv"], "words.csv, row 2 (line 3), column 'b': 'x' is not a number"),
        (["hole.csv"], "hole.csv, row 1 (line 2), column 'a': the number is missing"),
        (["garbage.npy"], "garbage.npy: not a NumPy file, or a damaged one, or one that needs pickle"),
        (["object.npy"], "object.npy: not a NumPy file, or a damaged one, or one that needs pickle"),
        (["garbage.parquet"], "garbage.parquet: not a Parquet file, or a damaged one"),
        (["two.npz"], "two.npz: holds 2 arrays (a, b), apply takes one: save it as .npy"),
        (["1", "2", "--axis", "1"], "--axis 1: the numbers have 1 dimension"),
        (["1", "2", "--temperature", "-1"], "--temperature -1: must be at least 0"),
        (["1", "2", "--temperature", "nan"], "--temperature nan: must be at least 0"),
        (["1", "2", "--tempreature", "3"], "no such option: --tempreature"),
        (["1", "-o", "out.txt"], "out.txt: cannot write this type of file, only .csv, .tsv, .parquet, .npy, .npz"),
        (["1", "-o", "folder.npy"], "folder.npy: is a directory"),
    ],
)
def test_apply_names_what_is_wrong(run, tmp_path, words, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.npy").mkdir()
    files = {
        "empty.csv": "",
        "x.docx": "",
        "ragged.csv": "1,2\n3,4,5\n",
        "words.csv": "a,b\n1,2\n3,x\n",
        "hole.csv": "a,b\n,2\n3,4\n",
        "garbage.npy": "garbage",
        "garbage.parquet": "garbage",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    np.save("object.npy", np.array([{}], dtype=object))
    np.savez("two.npz", a=[1.0], b=[2.0])
    before = set(os.listdir())
    assert run("apply", *words).line == expected
    assert set(os.listdir()) == before


def test_apply_without_numbers_on_a_terminal_says_what_to_give(run, monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    assert run("apply", stdin=Terminal(io.BytesIO())).line.startswith("nothing to do: give numbers, a file, or -")


# explain


@pytest.mark.parametrize("guard", [[], ["--"]])
def test_explain_negative_numbers(run, guard):
    words = [*guard, "-3.44", "1.16", "-0.81", "3.91", "--labels", "dog,cat,boat,airplane"]
    result = run("explain", *words)
    assert result.status == 0
    assert result.out == f"{softmax.explain([-3.44, 1.16, -0.81, 3.91], ['dog', 'cat', 'boat', 'airplane'])}\n"
    assert "Decision: airplane, with 1 / 1.073 = 93.15 %." in result.out


def test_explain_at_a_temperature(run):
    assert run("explain", "1", "2", "--temperature", "3").out == f"{softmax.explain([1, 2], temperature=3)}\n"


@pytest.mark.parametrize(("kind", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_explain_draws(run, tmp_path, kind, start):
    result = run("explain", "1", "2", "--plot", f"steps.{kind}")
    assert result == run("explain", "1", "2")
    assert (tmp_path / f"steps.{kind}").read_bytes().startswith(start)


def test_explain_draws_no_other_kind_of_file(run, tmp_path):
    line = run("explain", "1", "2", "--plot", "steps.txt").line
    assert line == "steps.txt: cannot write this type of file, only .svg, .png, .pdf"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("1 2 --labels a", "labels must name each of the 2 classes, got 1"),
        ("1 nan", "logits must not hold NaN, got one at position 1"),
        ("1 x", "'x' is neither number nor file"),
        ("1 2 --temperature -2", "--temperature -2: must be at least 0"),
        ("", "Missing argument 'NUMBERS'. Try: softmax explain --help"),
    ],
)
def test_explain_names_what_is_wrong(run, words, expected):
    assert run("explain", *words.split()).line == expected


# train and predict


def test_train_says_what_it_detected_trained_and_tested(run, tmp_path):
    (tmp_path / "people.csv").write_text(people())
    result = run("train", "people.csv", "--target", "drink")
    assert result.status == 0
    lines = result.err.split("\n")
    assert len(lines) == 6
    assert lines[0] == "Read people.csv: 120 rows, 5 columns"
    assert lines[1].split()[:5] == ["target", "drink,", "2", "classes:", "beer"]
    assert lines[2].split() == ["numeric", "3", "columns:", "age,", "score,", "member"]
    assert lines[3].split() == ["categorical", "1", "column:", "city"]
    assert lines[4].startswith("  missing      age 10, city 4")
    lines = result.out.split("\n")
    assert lines[0].startswith("Trained softmax regression (no hidden layer) on 96 rows: ")
    assert lines[1] == "Tested on 24 rows held out"  # 96 rows are too few to calibrate on
    assert [line.split("  ")[1] for line in lines[2:5]] == ["accuracy", "log-loss", "calibration error"]
    assert float(lines[2].split()[1]) > 75
    assert lines[5].startswith("  on average ")
    assert lines[6] == "Saved people.skops. To use it: softmax predict people.skops FILE"


def test_predict_writes_prediction_confidence_and_probabilities(model):
    result = model("predict", "people.skops", "people.csv")
    assert (result.status, result.err) == (0, "")
    frame = pl.read_csv(result.out.encode())
    assert frame.columns == ["prediction", "confidence", "p_beer", "p_juice"]
    probs = frame.select("p_beer", "p_juice").to_numpy()
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (frame["confidence"].to_numpy() == probs.max(axis=1)).all()
    assert (frame["prediction"].to_numpy() == np.array(["beer", "juice"])[probs.argmax(axis=1)]).all()
    truth = read_table("people.csv").frame["drink"]
    assert (frame["prediction"] == truth).mean() > 0.75


def test_predict_from_stdin_keeping_the_columns_as_they_were(model):
    rows = "drink,city,age,score,member,zip\nbeer, Rome ,030,1e0,TRUE,007\n?,NA,,2,false,1.50\n"
    result = model("predict", "people.skops", "-", "--keep", stdin=rows)
    lines = result.out.split("\n")
    assert result.status == 0
    assert lines[0] == "drink,city,age,score,member,zip,prediction,confidence,p_beer,p_juice"
    assert lines[1].startswith("beer, Rome ,030,1e0,TRUE,007,juice,0.")
    assert lines[2].startswith("?,NA,,2,false,1.50,")
    assert model(
        "predict", "people.skops", "-", "--keep", stdin="prediction," + rows.replace("\n", "\n1,", 2)
    ).line == ("stdin: has a column 'prediction' already, which --keep would double")


def test_predict_the_top_classes(model):
    everything = pl.read_csv(model("predict", "people.skops", "people.csv").out.encode())
    frame = pl.read_csv(model("predict", "people.skops", "people.csv", "--top-k", "2").out.encode())
    assert frame.columns == ["prediction", "confidence", "top_1", "p_top_1", "top_2", "p_top_2"]
    assert (frame["top_1"] == frame["prediction"]).all()
    assert (frame["top_2"] != frame["top_1"]).all()
    assert (frame["p_top_2"] == everything.select(pl.min_horizontal("p_beer", "p_juice")).to_series()).all()


def test_predict_abstains_where_it_is_unsure(model):
    result = model("predict", "people.skops", "people.csv", "--abstain-below", "0.7", "-o", "out.parquet")
    frame = pl.read_parquet("out.parquet")
    unsure = frame["confidence"] < 0.7
    assert 0 < unsure.sum() < len(frame)
    assert (frame["prediction"].is_null() == unsure).all()
    rows = f"abstained in {unsure.sum()} of 120 rows, whose confidence is below 0.7"
    assert result == Result(0, "", f"softmax: note: {rows}\n")


@pytest.mark.parametrize("to", ["csv", "tsv", "parquet"])
def test_predict_to_a_file(model, to):
    printed = pl.read_csv(model("predict", "people.skops", "people.csv").out.encode())
    assert model("predict", "people.skops", "people.csv", "-o", f"out.{to}") == Result(0, "", "")
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "tsv": lambda name: pl.read_csv(name, separator="\t")}
    assert read[to](f"out.{to}").equals(printed)


@pytest.mark.parametrize(
    ("labels", "dtype", "columns"),
    [
        (["no", "yes"], pl.String, ["p_no", "p_yes"]),
        ([-1, 7], pl.Int64, ["p_-1", "p_7"]),
        ([1.0, 2.0], pl.Int64, ["p_1", "p_2"]),
        ([False, True], pl.Boolean, ["p_false", "p_true"]),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_of_any_type_come_back_as_they_were(run, labels, dtype, columns, suffix):
    rng = np.random.default_rng(0)
    truth = pl.Series([labels[i] for i in rng.integers(0, 2, 60)])
    x = (truth == labels[1]).cast(pl.Float64) + pl.Series(rng.normal(0, 0.2, 60))
    frame = pl.DataFrame({"x": x, "label": truth})
    frame.write_csv("data.csv") if suffix == "csv" else frame.write_parquet("data.parquet")
    assert run("train", f"data.{suffix}", "--target", "label").status == 0
    assert run("predict", "data.skops", f"data.{suffix}", "-o", "out.parquet").status == 0
    out = pl.read_parquet("out.parquet")
    assert out.columns[2:] == columns
    assert out["prediction"].dtype == dtype
    assert (out["prediction"] == truth.cast(dtype)).mean() > 0.9


@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
def test_numpy_files_are_tables(run, name):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = np.eye(3)[y] + rng.normal(0, 0.3, (90, 3))
    np.save("data.npy", np.column_stack([x, y]))
    np.savez("data.npz", X=x, y=y)
    trained = run("train", name, "--target", "x3" if name == "data.npy" else "y", "-o", "m.skops")
    assert trained.status == 0
    assert "numeric  3 columns: x0, x1, x2" in trained.err
    np.save("new.npy", x)
    out = pl.read_csv(run("predict", "m.skops", "new.npy").out.encode())
    assert (out["prediction"].to_numpy() == y).mean() > 0.8


def test_every_training_option_changes_the_model(run, tmp_path):
    (tmp_path / "people.csv").write_text(people())
    (tmp_path / "other.csv").write_text(people(50, seed=1))

    def prediction(*words):
        assert run("train", "people.csv", "--target", "drink", *words, "-o", "m.skops").status == 0
        return run("predict", "m.skops", "people.csv").out

    plain, net = prediction(), prediction("--hidden", "6,5")
    assert plain == prediction()
    assert net == prediction("--hidden", "6,5", "--seed", "0")
    others = [
        ("--alpha", "10"),
        ("--max-iter", "2"),
        ("--drop", "city, score"),
        ("--test", "other.csv"),  # nothing is held out
        ("--hidden", "6"),
        ("--hidden", "6,5", "--activation", "tanh"),
        ("--hidden", "6,5", "--seed", "1"),
    ]
    assert len({plain, net, *(prediction(*words) for words in others)}) == len(others) + 2


def test_training_that_ran_out_of_iterations_says_so(run, tmp_path):
    (tmp_path / "people.csv").write_text(people())
    result = run("train", "people.csv", "--target", "drink", "--max-iter", "2")
    assert result.err.endswith(
        "\nsoftmax: note: training stopped at the limit of 2 iterations: a higher --max-iter may fit better\n"
    )


def test_a_table_to_test_on(run, tmp_path):
    (tmp_path / "people.csv").write_text(people())
    (tmp_path / "test.csv").write_text(people(40, seed=1) + "30,1,Bonn,true,beer\n")
    result = run("train", "people.csv", "--target", "drink", "--test", "test.csv")
    assert "no hidden layer) on 120 rows" in result.out
    assert "Tested on 41 rows of test.csv" in result.out
    assert "note: test.csv, row 41 (line 42), column 'city': 'Bonn' was not in the training data" in result.err
    (tmp_path / "test.csv").write_text("age,score,city,member,drink\n30,1,Rome,true,wine\n")
    assert run("train", "people.csv", "--target", "drink", "--test", "test.csv").line == (
        "test.csv, row 1 (line 2), column 'drink': class 'wine' is not in the training data"
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fifth_of_each_class_is_held_out(seed):
    from softmax.cli.training import hold_out

    labels = np.array(["a"] * 50 + ["b"] * 10 + ["c"] * 2)
    held_out = hold_out(labels, seed)
    assert [held_out[labels == label].sum() for label in "abc"] == [10, 2, 0]
    assert (held_out == hold_out(labels, seed)).all()
    assert (held_out != hold_out(labels, seed + 1)).any()


def test_the_scores_printed_are_those_of_the_predictions_of_the_saved_model(model):
    frame = read_table("people.csv").frame
    printed = model("train", "people.csv", "--target", "drink", "--test", "people.csv", "-o", "all.skops").out
    out = pl.read_csv(model("predict", "all.skops", "people.csv").out.encode())
    probs = out.select("p_beer", "p_juice").to_numpy()
    targets = (frame["drink"] == "juice").to_numpy().astype(int)
    assert f"{100 * softmax.metrics.accuracy(probs, targets):.2f} %" in printed
    assert f"{softmax.metrics.log_loss(probs, targets):.4f}" in printed
    assert f"{100 * softmax.metrics.expected_calibration_error(probs, targets):.2f} %" in printed


def test_columns_that_cannot_be_learned_from_are_left_out(run):
    rows = 80
    pl.DataFrame(
        {
            "": range(rows),
            "name": [f"person {i}" for i in range(rows)],
            "empty": pl.Series([None] * rows, dtype=pl.Float64),
            "always": ["a constant that goes on and on"] * rows,
            "list": [[1]] * rows,
            "x": np.arange(rows) % 7,
            "y": ["a", "b"] * (rows // 2),
        }
    ).write_parquet("data.parquet")
    assert (
        "  left out  a column (without a name), name (80 different texts), empty (empty), "
        "always (always a constant that goes…), list (holds List(Int64))\n"
        in run("train", "data.parquet", "--target", "y").err
    )
    assert run("train", "data.parquet", "--target", "y", "--drop", "x").line.startswith(
        "data.parquet: no column to learn from beside the target; one is left out (without a name); name is left"
    )


def test_a_typing_error_that_turns_numbers_into_categories_is_noted(run, tmp_path):
    (tmp_path / "people.csv").write_text(people() + "3o,1,Rome,true,beer\n")
    result = run("train", "people.csv", "--target", "drink")
    assert result.status == 0
    assert "people.csv, row 121 (line 122), column 'age': '3o' is not a number" in result.err


def test_categories_and_classes_are_told_apart_as_they_are_spelled(run, tmp_path):
    """TRUE alone reads as a boolean; where it was one of three texts in training, it still is that text."""
    (tmp_path / "three.csv").write_text("kind,y\n" + "TRUE,TRUE\nFALSE,FALSE\nMAYBE,MAYBE\n" * 10)
    (tmp_path / "one.csv").write_text("kind,y\nTRUE,TRUE\n")
    trained = run("train", "three.csv", "--target", "y", "--test", "one.csv")
    assert trained.status == 0
    assert "note" not in trained.err
    predicted = run("predict", "three.skops", "one.csv")
    assert predicted.err == ""
    assert predicted.out.split("\n")[1].startswith("TRUE,0.9")


def test_european_and_untidy_csv(run, tmp_path):
    text = people().replace(",", ";").replace("\n", "\r\n").replace("age;", "\ufeffage ;", 1)
    (tmp_path / "people.csv").write_bytes((text + "\r\n\r\n").encode())
    result = run("train", "people.csv", "--target", "drink")
    assert result.status == 0
    assert "people.csv: 120 rows, 5 columns" in result.err
    assert "numeric      3 columns: age, score, member" in result.err


def test_a_class_of_one_row_is_trained_on_and_tiny_tables_are_not_tested(run, tmp_path):
    (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n")
    result = run("train", "t.csv", "--target", "y")
    assert result.status == 0
    assert "Not tested: there are too few rows" in result.out


# wrong input to train and predict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "d.csv: is empty"),
        ("a,y\n", "d.csv: has no rows below the header"),
        ("a,b,y\n1,2,u\n3,4\n", "d.csv, row 2 (line 3): 2 fields where the header has 3"),
        ("a,b,y\n1,2,u\n\n3,4,5,v\n", "d.csv, row 2 (line 4): 4 fields where the header has 3"),
        ('a,b,y\n1,"x\n\ny",u\n3,4\n', "d.csv, row 2 (line 5): 2 fields where the header has 3"),
        ("a,b\n1,2\n", "d.csv: has no column 'y'; the columns are a, b"),
        ("a,y\n1,u\n2,u\n", "d.csv, column 'y': only one class, 'u'; two are needed"),
        (
            "a,y\n" + "".join(f"1,{i}\n" for i in range(60)),
            "d.csv, column 'y': 60 different values in 60 rows are no classes",
        ),
        ("a,y\n1,u\n2,\n3,NaN\n4,v\n", "d.csv, row 2 (line 3), column 'y': 2 labels are missing, this one first"),
        ("a,y\n1,0\n2,nan\n", "d.csv, row 2 (line 3), column 'y': 1 label is missing, this one first"),
        ("a,y\n1,0.5\n2,1\n", "d.csv, row 1 (line 2), column 'y': 0.5 cannot name a class, use texts or whole numbers"),
        ("a,y\n1,u\ninf,v\n", "d.csv, row 2 (line 3), column 'a': the number must be finite"),
        ("a,a,y\n1,2,u\n", "d.csv: two columns are named 'a'"),
        ("y\nu\nv\n", "d.csv: no column to learn from beside the target"),
        (b"a,y\n1,\xff\n", "d.csv, line 2: not UTF-8 text"),
        ("a,y\n1,u\n".encode("utf-16-le"), "d.csv: not a text file"),
    ],
)
def test_train_names_what_is_wrong_with_the_table(run, tmp_path, text, expected):
    (tmp_path / "d.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert run("train", "d.csv", "--target", "y").line == expected
    assert os.listdir() == ["d.csv"]


@pytest.mark.parametrize("words", ["predict", "predict m.skops", "evaluate m.skops"])
def test_what_takes_models_and_a_table_asks_for_both(run, words):
    command = words.split()[0]
    assert run(*words.split()).line == f"Missing argument: expected MODEL and DATA. Try: softmax {command} --help"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("missing.csv --target y", "missing.csv: no such file or directory"),
        (
            "folder --target y -o m.skops",
            "folder: is a directory without images, expected one subfolder of them a class",
        ),
        (
            "d.xlsx --target y",
            "d.xlsx: unknown type of file, expected one of .csv, .tsv, .txt, .jsonl, .ndjson, .parquet, .npy, .npz, "
            ".safetensors, .ft",
        ),
        ("cube.npy --target x0", "cube.npy: array 'x' has shape (2, 2, 2), expected one or two dimensions"),
        ("two.npz --target a", "two.npz: the arrays must have the same number of rows, got a (3,), b (4,)"),
        ("d.csv", "Missing option '--target'. Try: softmax train --help"),
        ("d.csv --target y --hidden 3,x", "--hidden: 'x' is not a number of neurons, write for example --hidden 64,32"),
        ("d.csv --target y --hidden 0", "--hidden: '0' is not a number of neurons, write for example --hidden 64,32"),
        ("d.csv --target y --alpha -1", "--alpha -1: must be finite and at least 0"),
        ("d.csv --target y --alpha nan", "--alpha nan: must be finite and at least 0"),
        ("d.csv --target y --max-iter 0", "--max-iter 0: must be at least 1"),
        ("d.csv --target y --seed -1", "--seed -1: must lie between 0 and 2**32 - 1"),
        ("d.csv --target y --drop z", "--drop z: d.csv has no such column"),
        ("d.csv --target y --test missing.csv", "missing.csv: no such file or directory"),
        ("d.csv --target y -o m.pkl", "m.pkl: cannot write this type of file, only .skops"),
        ("d.csv --target y -o folder.skops", "folder.skops: is a directory"),
    ],
)
def test_train_names_what_is_wrong_with_the_command_line(run, tmp_path, words, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.skops").mkdir()
    (tmp_path / "d.csv").write_text("a,y\n1,u\n2,v\n3,u\n")
    (tmp_path / "d.xlsx").write_text("a,y\n1,u\n2,v\n")
    np.save("cube.npy", np.zeros((2, 2, 2)))
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(4))
    before = set(os.listdir())
    assert run("train", *words.split()).line == expected
    assert set(os.listdir()) == before


def test_bad_choice_of_activation_is_one_line(run):
    assert "'--activation'" in run("train", "d.csv", "--target", "y", "--activation", "selu").line


@pytest.mark.parametrize(
    "command", [["train", "people.csv", "--target", "drink"], ["predict", "m.skops", "people.csv"]]
)
def test_a_folder_that_does_not_exist_is_named_before_any_work(run, tmp_path, command):
    suffix = {"train": "skops", "predict": "csv"}[command[0]]
    assert run(*command, "-o", f"none/out.{suffix}").line == (
        f"none/out.{suffix}: the folder {tmp_path.resolve() / 'none'} does not exist"
    )


HEAD = "age,score,city,member,drink\n"


@pytest.mark.parametrize(
    ("data", "words", "expected"),
    [
        (HEAD + "1,2,Rome,true,\nold,2,Rome,true,\n", "", "stdin, row 2 (line 3), column 'age': 'old' is not a number"),
        (
            HEAD + "1,2,Rome,true,\n1,2,Rome,maybe,\n",
            "",
            "stdin, row 1 (line 2), column 'member': 'true' is not a number",
        ),
        (HEAD + "1,inf,Rome,true,\n", "", "stdin, row 1 (line 2), column 'score': the number must be finite"),
        (HEAD + "1,2,Rome,true\n", "", "stdin, row 1 (line 2): 4 fields where the header has 5"),
        ("age,city\n1,Rome\n", "", "stdin: column 'score' is missing (and 1 other); the columns are age, city"),
        ("", "", "stdin: is empty"),
        (HEAD + "1,2,Rome,true,\n", "--top-k 3", "--top-k 3: must lie between 1 and 2, the number of classes"),
        (HEAD + "1,2,Rome,true,\n", "--abstain-below 1.5", "--abstain-below 1.5: must lie between 0 and 1"),
        (
            HEAD + "1,2,Rome,true,\n",
            "-o o.xls",
            "o.xls: cannot write this type of file, only .csv, .tsv, .parquet, .jsonl, .ndjson",
        ),
    ],
)
def test_predict_names_what_is_wrong(model, data, words, expected):
    before = set(os.listdir())
    assert model("predict", "people.skops", "-", *words.split(), stdin=data).line == expected
    assert model("predict", "people.skops", "-", "-o", "out.csv", *words.split(), stdin=data).line == expected
    assert set(os.listdir()) == before


def test_an_unseen_category_is_a_note_and_tells_the_model_nothing(model, tmp_path):
    rows = HEAD + "40,1,Bonn,true,beer\n40,1,Kiel,true,beer\n40,1,Rome,true,beer\n"
    result = model("predict", "people.skops", "-", stdin=rows)
    assert result.status == 0
    bonn, kiel, rome = result.out.split("\n")[1:4]
    assert bonn == kiel != rome
    assert result.err == (
        "softmax: note: stdin, row 1 (line 2), column 'city': "
        "'Bonn' was not in the training data and is ignored (2 such rows)\n"
    )
    assert model("predict", "people.skops", "-", stdin=HEAD + "40,1,,true,beer\n").err == ""  # seen: some are missing
    people_without = "\n".join(line for line in people().split("\n") if ",," not in line)
    (tmp_path / "whole.csv").write_text(people_without)
    assert model("train", "whole.csv", "--target", "drink").status == 0
    assert (
        "column 'city': a missing value was not in"
        in model("predict", "whole.skops", "-", stdin=HEAD + "40,1,,true,beer\n").err
    )


def test_a_column_not_used_in_training_may_hold_anything(model):
    assert (
        model("predict", "people.skops", "-", stdin=HEAD.replace("drink", "zzz") + "40,1,Rome,true,inf\n").status == 0
    )


# model files


def damaged(content, kind):
    return {
        "truncated": content[: len(content) // 2],
        "one byte short": content[:-1],
        "flipped byte": content[:100] + bytes([content[100] ^ 255]) + content[101:],
        "random bytes": np.random.default_rng(0).bytes(3000),
        "empty": b"",
        "text": b"age,score\n1,2\n",
        "pickle, protocol 0": pickle.dumps({"pipeline": 1}, protocol=0),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["truncated", "one byte short", "flipped byte", "random bytes", "empty", "text", "pickle, protocol 0"]
)
def test_a_damaged_model_is_refused(model, tmp_path, kind):
    file = tmp_path / "people.skops"
    file.write_bytes(damaged(file.read_bytes(), kind))
    assert model("predict", "people.skops", "people.csv", "-o", "out.csv").line == (
        "people.skops: not a model of softmax train, or a damaged one"
    )
    assert not (tmp_path / "out.csv").exists()


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_a_pickle_is_refused_and_not_run(model, tmp_path):
    (tmp_path / "people.skops").write_bytes(pickle.dumps(Bomb()))
    assert model("predict", "people.skops", "people.csv").line == (
        "people.skops: a pickle can run any code and is not opened; give a model of softmax train"
    )
    assert not (tmp_path / "exploded").exists()


def test_types_that_are_not_trusted_are_refused_and_named(model):
    skops.io.dump({"pipeline": os.mkdir, "facts": {}}, "people.skops")
    line = model("predict", "people.skops", "people.csv").line
    assert line == "people.skops: not loaded, it holds types that are not trusted: posix.mkdir"


def test_other_models_of_scikit_learn_are_refused(model):
    skops.io.dump(LogisticRegression().fit([[0], [1]], [0, 1]), "people.skops")
    assert "not a model of softmax train" in model("predict", "people.skops", "people.csv").line


def test_a_model_that_is_missing_or_a_folder(model, tmp_path):
    assert model("predict", "none.skops", "people.csv").line == "none.skops: no such file or directory"
    assert model("predict", tmp_path, "people.csv").line == f"{tmp_path}: is a directory"


def test_a_model_holds_nothing_but_scikit_learn_numpy_and_our_classifier(model, tmp_path):
    from softmax.cli.models import TRUSTED

    assert model("train", "people.csv", "--target", "drink", "--hidden", "3", "-o", "net.skops").status == 0
    for name in "people.skops", "net.skops":
        untrusted = set(skops.io.get_untrusted_types(file=tmp_path / name))
        assert "softmax.learn.SoftmaxClassifier" in untrusted <= set(TRUSTED)
    assert {name.partition(".")[0] for name in TRUSTED} == {"numpy", "sklearn", "softmax"}


def test_a_model_is_of_use_without_the_command_line(model):
    from softmax.cli.models import TRUSTED

    content = skops.io.load("people.skops", trusted=list(TRUSTED))
    frame = pl.read_csv("people.csv", schema_overrides={"age": pl.Float64, "member": pl.Float64}, ignore_errors=True)
    frame = frame.with_columns(read_table("people.csv").frame["member"].cast(pl.Float64))
    printed = pl.read_csv(model("predict", "people.skops", "people.csv").out.encode())
    np.testing.assert_allclose(content["pipeline"].predict_proba(frame)[:, 0], printed["p_beer"], rtol=1e-12)
    assert content["facts"]["softmax"] == softmax.__version__


# files that are whole or absent


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("old")

    def fail():
        with replacing(target) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_full_disk_is_a_failure_of_the_work(tmp_path):
    with (
        pytest.raises(Problem, match=r"out.csv: cannot write: No space left") as caught,
        replacing(tmp_path / "out.csv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.status == Status.FAILED
    assert os.listdir(tmp_path) == []


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """Devices are treated alike; but a test that could replace /dev/null would be a danger to the machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as file:
        file.write(b"x")
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert pipe.is_fifo()


def test_links_and_permissions_survive(tmp_path):
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_new_file_gets_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "new") as file:
        file.write(b"x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


# demo, info, help


def test_demo_then_what_it_suggests(run):
    result = run("demo", "-o", "d.skops")
    assert (result.status, result.err) == (0, "")
    assert "1,797 handwritten digits" in result.out
    accuracy = float(result.out.split("accuracy")[1].split()[0])
    assert accuracy > 95
    assert "██" in result.out
    assert "Decision: " in result.out
    assert "0.01573172 0.03501159 0.94925668" in result.out
    assert sorted(os.listdir()) == ["d-new.csv", "d.skops"]
    suggested = next(line.split() for line in result.out.split("\n") if line.startswith("  softmax predict"))
    assert suggested == ["softmax", "predict", "d.skops", "d-new.csv"]
    predicted = pl.read_csv(run(*suggested[1:]).out.encode())
    shown = [line.split() for line in result.out.split("truth\n")[1].split("\n")[:10]]
    assert [int(cells[1]) for cells in shown] == predicted["prediction"].to_list()
    assert [cells[2] for cells in shown] == [
        f"{100 * c:.2f}" if c < 0.99995 else ">99.99" for c in predicted["confidence"]
    ]


def test_info(run, monkeypatch):
    out = run("info").out
    assert f"softmax       {softmax.__version__}" in out
    assert f"NumPy {np.__version__}" in out
    assert f"polars {pl.__version__}" in out
    from softmax.cli import info

    monkeypatch.setattr(info, "EXTRAS", {"x": ("no-such-package",)})
    assert run("info").out.split()[-5:] == ["extra", "x", "no-such-package", "not", "found"]


def test_info_tells_the_instruction_set_and_threads(run, monkeypatch):
    native = sys.modules.get("softmax._native") or __import__("softmax._native", fromlist=["x"])
    monkeypatch.setattr(native, "isa", lambda: "avx2", raising=False)
    monkeypatch.setattr(native, "num_threads", lambda: 7, raising=False)
    lines = run("info").out.split("\n")
    assert any(line.split() == ["instructions", "avx2"] for line in lines)
    assert any(line.split() == ["threads", "7"] for line in lines)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(run, words):
    result = run(*words)
    assert result.status == 0
    for command in "apply", "explain", "train", "predict", "evaluate", "calibrate", "export", "demo", "info":
        assert f"\n  {command}  " in result.out
    assert "..." not in result.out.split("Commands:")[1]


@pytest.mark.parametrize(
    "command", ["apply", "explain", "train", "predict", "evaluate", "calibrate", "export", "demo", "info"]
)
def test_each_command_has_help(run, command):
    result = run(command, "--help")
    assert result.status == 0
    assert f"Usage: softmax {command}" in result.out


def test_version(run):
    assert run("--version") == Result(0, softmax.__version__ + "\n", "")


def test_a_mistyped_command(run):
    assert run("trian").line == "No such command 'trian'. Did you mean 'train'? Try: softmax --help"


@pytest.mark.parametrize("words", ["--traceback train x.csv --target y", "train x.csv --traceback --target y"])
def test_traceback_shows_the_rest(run, words):
    result = run(*words.split())
    assert result.status == Status.WRONG_INPUT
    assert result.err.startswith("Traceback")
    assert result.err.endswith("\nsoftmax: x.csv: no such file or directory\n")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (RuntimeError("boom\nbang"), 1, "unexpected RuntimeError: boom bang (--traceback shows where)"),
        (MemoryError(), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            ModuleNotFoundError("x", name="polars.io"),
            2,
            "this needs polars, which is not installed: pip install 'softmax[cli]'",
        ),
    ],
)
def test_whatever_happens_is_one_line(run, monkeypatch, error, status, line):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("softmax.cli.apply.apply", fail)
    assert run("apply", "1") == Result(status, "", f"softmax: {line}\n")


def test_bugs_in_imports_are_not_taken_for_missing_packages(run, monkeypatch):
    def fail(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'softmax.nonsense'", name="softmax.nonsense")

    monkeypatch.setattr("softmax.cli.apply.apply", fail)
    assert run("apply", "1").status == Status.FAILED


def test_progress_is_for_terminals_only(model, monkeypatch):
    words = ["train", "people.csv", "--target", "drink", "--hidden", "4", "--max-iter", "20"]
    assert "loss" not in model(*words).err
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    assert "loss" not in model(*words).err  # it is over within two seconds
    monkeypatch.setattr("softmax.cli.console.PATIENCE", 0)
    assert "loss" in model(*words).err


# in a process of its own


def python(code, *words, **options):
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, **options)


@pytest.mark.parametrize(
    ("package", "words"),
    [("typer", ["--help"]), ("polars", ["apply", "x.csv"]), ("sklearn", ["demo"]), ("skops", ["demo"])],
)
def test_a_missing_extra_is_one_line(tmp_path, package, words):
    code = f"import sys; sys.modules['{package}'] = None; from softmax.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python(code, *words, cwd=tmp_path)
    line = f"softmax: this needs {package}, which is not installed: pip install 'softmax[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_a_terminal_without_the_characters_shows_question_marks():
    done = python(
        "import sys; from softmax.cli import main; sys.exit(main(['explain', '1', '2']))",
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "????" in done.stdout


@pytest.mark.parametrize("rows", [1, 10_000])
def test_a_reader_that_has_gone_is_no_error(rows):
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from softmax.cli import main; sys.exit(main(['apply']))"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    _, complaints = process.communicate(b"1 2 3\n" * rows, timeout=60)
    assert (process.returncode, complaints) == (0, b"")


def test_the_command_is_installed():
    command = os.path.join(os.path.dirname(sys.executable), "softmax")
    done = subprocess.run([command, "apply", "0.7", "1.5", "4.8"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "0.01573172 0.03501159 0.94925668\n")
