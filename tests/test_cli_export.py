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
    feed = {
        put.name: frame[put.name].fill_null("").to_numpy().astype(object)
        if put.type == "tensor(string)"
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


WORDS = ["parcel", "late", "rude", "broken", "GREAT", "fast", "Straße", "naïve", "café", "кот", "Ärger", "x_1", "n2"]
WORDS += ["İstanbul", "ΟΔΟΣ", "ΣΟΦΟΣ", "中文", "e\u0301te"]
PLEASANT = {"GREAT", "fast", "café", "İstanbul", "ΣΟΦΟΣ"}


def mails(rows=400, seed=0):
    """Two columns of texts, in small letters and capitals, with numbers and categories beside them."""
    rng = np.random.default_rng(seed)
    frame = visits(rows, seed).drop("label")
    said = [rng.choice(WORDS, 6) for _ in range(rows)]
    spelled = [" ".join(rng.choice([word, word.lower(), word.upper()]) for word in words) for words in said]
    title = [f"{' - '.join(rng.choice(WORDS[:6], 4))}, {i}! {'a' * (i % 40)}" for i in range(rows)]
    gaps = rng.random((2, rows)) < 0.05
    return frame.with_columns(
        pl.Series("body", [None if gap else text for gap, text in zip(gaps[0], spelled, strict=True)]),
        pl.Series("title", ["" if gap else text for gap, text in zip(gaps[1], title, strict=True)]),
        pl.Series("label", ["good" if len({*words} & PLEASANT) > 1 else "bad" for words in said]),
    )


@pytest.mark.parametrize("columns", [["body"], ["body", "title", "day", "size of it", "colour"]])
@pytest.mark.parametrize("hidden", [[], ["--hidden", "3"]])
def test_texts_are_exported_with_their_words_and_weights(run, hidden, columns):
    mails().select(*columns, "label").write_csv("mails.csv")
    status = run("train", "mails.csv", "--target", "label", "--alpha", "0.01", *hidden, "-o", "mails.skops").status
    assert status == Status.DONE
    new = mails(seed=1).select(*columns, "label")
    new.write_csv("new.csv")
    run("predict", "mails.skops", "new.csv", "-o", "out.csv")
    result = run("export", "mails.skops", "mails.onnx")
    assert result.status == Status.DONE, result.err
    assert f"{'3 columns' if len(columns) > 1 else '1 column'} of texts" in result.out
    prediction, probabilities = outputs("mails.onnx", new)
    ours = pl.read_csv("out.csv")
    assert ours["p_bad"].std() > 0.1
    np.testing.assert_allclose(probabilities, ours.select("p_bad", "p_good").to_numpy(), atol=5e-6)
    assert (prediction == ours["prediction"].to_numpy()).mean() > 0.99


LETTERS = [chr(i) for i in range(33, 0x110000) if not 0xD800 <= i < 0xE000]
CASED = [letter for letter in LETTERS if letter.lower() != letter]


def test_words_of_any_letters_are_cut_and_found_as_ours_are(run):
    rng = np.random.default_rng(0)
    letters = [*CASED, *(letter for letter in LETTERS[::97])]
    texts = [f"{letter}x{letter} y{letter}" for letter in letters]
    train = pl.DataFrame({"text": [*texts, *texts], "label": rng.choice(["a", "b"], 2 * len(texts))})
    train.write_parquet("letters.parquet")
    words = ["--text", "text", "--test", "letters.parquet", "--alpha", "1e-4", "--max-iter", "20"]
    run("train", "letters.parquet", "--target", "label", *words, "-o", "l.skops")
    assert run("export", "l.skops", "l.onnx").status == Status.DONE
    new = pl.DataFrame({"text": [f"{text.lower()}, {text}" for text in texts]})
    ours = export.load("l.skops").probabilities(new)
    assert np.ptp(ours) > 0.3
    np.testing.assert_allclose(outputs("l.onnx", new)[1], ours, atol=1e-5)


@pytest.mark.parametrize("texts", [["", ""], ["…", "-"], ["q"], [], ["café " * 50, "y" * 100_000]])
def test_texts_without_known_words(run, texts):
    mails().select("body", "label").write_csv("mails.csv")
    run("train", "mails.csv", "--target", "label", "-o", "mails.skops")
    run("export", "mails.skops", "mails.onnx")
    new = pl.DataFrame({"body": pl.Series(texts, dtype=pl.String)})
    probabilities = outputs("mails.onnx", new)[1]
    assert probabilities.shape == (len(texts), 2)
    if texts:
        np.testing.assert_allclose(probabilities, export.load("mails.skops").probabilities(new), atol=1e-6)


def test_a_word_that_the_file_lacks_is_a_difference(run):
    mails().select("body", "label").write_csv("mails.csv")
    run("train", "mails.csv", "--target", "label", "-o", "mails.skops")
    model = export.load("mails.skops")
    data = export.Graph(onnx, model).model().SerializeToString()
    words = model.preprocessing["text 0"]
    words.words_ = np.frombuffer(words.words_.tobytes().replace(b"rude", b"rudy"), np.uint8)
    assert export.difference(onnxruntime, data, model, export.examples(model)) > export.TOLERANCE


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
