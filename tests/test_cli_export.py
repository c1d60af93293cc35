"""`softmax export`: the ONNX file says what the model says, or is not written."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

from softmax.cli import export
from softmax.cli.console import Status


def visits(rows=300, seed=0):
    """Large numbers, texts and missing values of both; the label depends on all."""
    rng = np.random.default_rng(seed)
    day, size = 20_260_000 + rng.integers(0, 300, rows), rng.standard_normal(rows)
    colour = rng.choice(["red", "green", "blue"], rows)
    score = (day - 20_260_150) / 100 + size + (colour == "red")
    label = np.array(["none", "some", "many"])[np.digitize(score, [0, 1])]
    gaps = rng.random((2, rows)) < 0.1
    return pl.DataFrame(
        {
            "day": day,
            "size of it": pl.Series(np.where(gaps[0], np.nan, size)).fill_nan(None),
            "colour": [None if gap else str(text) for gap, text in zip(gaps[1], colour, strict=True)],
            "label": label,
        }
    )


def outputs(path, frame):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = {"colour"}
    feed = {
        put.name: frame[put.name].fill_null("").to_numpy().astype(object)
        if put.name in texts
        else frame[put.name].cast(pl.Float64).fill_null(np.nan).to_numpy()
        for put in session.get_inputs()
    }
    return session.run(["prediction", "probabilities"], feed)


@pytest.mark.parametrize("hidden", [[], ["--hidden", "5", "--activation", "tanh"], ["--hidden", "4,3"]])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_onnx_file_gives_what_predict_gives(run, hidden, classes):
    frame = visits()
    if classes == 2:
        frame = frame.with_columns(pl.col("label").replace("many", "some"))
    frame.write_csv("visits.csv")
    assert run("train", "visits.csv", "--target", "label", *hidden, "-o", "visits.skops")[0] == Status.DONE
    new = visits(seed=1).with_columns(pl.col("colour").replace("green", "unheard of"))
    new.write_csv("new.csv")
    assert run("predict", "visits.skops", "new.csv", "-o", "out.csv")[0] == Status.DONE
    status, out, _ = run("export", "visits.skops", "visits.onnx")
    assert status == Status.DONE
    assert "2 columns of numbers (float64) and 1 column of texts" in out
    ours = pl.read_csv("out.csv")
    prediction, probabilities = outputs("visits.onnx", new)
    properties = {entry.key: entry.value for entry in onnx.load("visits.onnx").metadata_props}
    names = json.loads(properties["classes"])
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, ours.select(f"p_{name}" for name in names).to_numpy(), atol=2e-6)
    assert (prediction == ours["prediction"].to_numpy()).mean() > 0.99  # ties within the rounding aside
    assert properties["target"] == "label"


def test_numbers_as_labels_are_texts_in_the_file(run):
    frame = visits().with_columns(pl.col("size of it").fill_null(0).gt(0).cast(pl.Int64).alias("label")).drop("colour")
    frame.write_csv("visits.csv")
    run("train", "visits.csv", "--target", "label", "-o", "visits.skops")
    status, out, _ = run("export", "visits.skops", "visits.onnx")
    assert status == Status.DONE
    assert "2 columns of numbers (float64), each" in out
    assert set(outputs("visits.onnx", frame)[0]) == {"0", "1"}


@pytest.fixture
def trained(run):
    visits().write_csv("visits.csv")
    run("train", "visits.csv", "--target", "label", "-o", "visits.skops")
    return "visits.skops"


def test_a_difference_is_not_written(run, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(export, "difference", lambda *_: 0.25)
    status, out, err = run("export", trained, "visits.onnx")
    assert (status, out) == (Status.FAILED, "")
    assert "onnxruntime's probabilities differ from the model's by 0.2, more than 1e-06" in err
    assert not (tmp_path / "visits.onnx").exists()


def test_a_wrong_class_is_infinitely_different(trained):
    model = export.load(trained)
    frame = export.examples(model)
    data = export.Graph(onnx, model).model().SerializeToString()
    assert export.difference(onnxruntime, data, model, frame) < export.TOLERANCE
    model.pipeline[-1].classes_ = model.pipeline[-1].classes_[::-1].copy()
    assert export.difference(onnxruntime, data, model, frame) == np.inf


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["visits.skops", "visits.txt"], "visits.txt: cannot write this type of file, only .onnx"),
        (["nothing.skops", "visits.onnx"], "nothing.skops: no such file or directory"),
    ],
)
def test_what_is_wrong_is_said(run, trained, words, sentence):
    assert run("export", *words) == (Status.WRONG_INPUT, "", f"softmax: {sentence}\n")


def test_a_column_with_the_name_of_an_output_is_refused(run):
    visits().rename({"day": "prediction"}).write_csv("visits.csv")
    run("train", "visits.csv", "--target", "label", "-o", "visits.skops")
    status, _, err = run("export", "visits.skops", "visits.onnx")
    assert status == Status.WRONG_INPUT
    assert "column 'prediction' has the name of an output of" in err


def test_missing_packages_are_named(run, trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, _, err = run("export", trained, "visits.onnx")
    assert status == Status.WRONG_INPUT
    assert "this needs onnxruntime, which is not installed: pip install 'softmax[onnx]'" in err
