import dataclasses
import io
from xml.etree import ElementTree

import numpy as np
import pytest

from softmax import explain, log_softmax, sigmoid, softmax
from softmax._text import percent

LOGITS, LABELS = [-3.44, 1.16, -0.81, 3.91], ["dog", "cat", "boat", "airplane"]


def test_airplane():
    result = explain(LOGITS, LABELS)
    assert (result.label, result.decision) == ("airplane", 3)
    assert "Decision: airplane, with 1 / 1.073 = 93.15 %." in str(result)


@pytest.mark.parametrize("temperature", [0.5, 1, 3.0])
def test_each_step_follows_from_the_one_before(temperature):
    e = explain(LOGITS, temperature=temperature)
    assert e.temperature == temperature
    assert e.logits.tolist() == LOGITS
    np.testing.assert_allclose(e.minus_maximum, np.array(LOGITS) - 3.91)
    np.testing.assert_allclose(e.exponentials, np.exp(e.minus_maximum / temperature))
    np.testing.assert_allclose(e.shares, e.exponentials / e.exponentials.sum(), rtol=1e-14)
    np.testing.assert_allclose(e.log_shares, np.log(e.shares), rtol=1e-12)
    np.testing.assert_allclose(e.sigmoids, 1 / (1 + np.exp(-np.array(LOGITS) / temperature)), rtol=1e-14)


def test_the_shares_are_those_of_the_library_to_the_last_bit():
    e = explain(LOGITS, temperature=0.7)
    assert (e.shares == softmax(LOGITS, temperature=0.7)).all()
    assert (e.log_shares == log_softmax(LOGITS, temperature=0.7)).all()
    assert (explain(LOGITS).sigmoids == sigmoid(LOGITS)).all()


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        explain(LOGITS).decision = 0


def test_the_table_has_a_line_a_class_and_a_column_a_step():
    header, *lines = str(explain(LOGITS, LABELS)).split("\n")
    assert header.split() == ["class", "logit", "-", "max", "exp", "share", "log", "share", "sigmoid"]
    assert [line.split()[0] for line in lines[:5]] == [*LABELS, "sum"]
    assert lines[3].split()[:6] == ["airplane", "3.91", "0", "1", "93.15", "%"]
    assert "█" * 22 in lines[3]
    assert lines[4].split() == ["sum", "1.073", "100", "%", "208.06", "%"]


def test_a_temperature_other_than_one_is_a_step_of_its_own():
    assert "/ 2" in str(explain([1.0, 3.0], temperature=2)).split("\n")[0]
    assert "/ " not in str(explain([1.0, 3.0])).split("\n")[0]


def test_of_two_classes_softmax_is_sigmoid_of_the_difference():
    text = str(explain([2.0, -1.5], ["yes", "no"]))
    assert f"sigmoid(2 - -1.5) = {100 * float(sigmoid(3.5)):.2f} %" in text
    text = str(explain([2.0, -1.5], temperature=2))
    assert f"sigmoid((2 - -1.5) / 2) = {100 * float(sigmoid(1.75)):.2f} %" in text


def test_limits_of_the_temperature():
    assert explain(LOGITS, temperature=0).shares.tolist() == [0, 0, 0, 1]
    assert explain(LOGITS, temperature=0).exponentials.tolist() == [0, 0, 0, 1]
    assert explain([0.0, 1.0], temperature=0).sigmoids.tolist() == [0.5, 1]
    assert explain(LOGITS, temperature=np.inf).shares.tolist() == [0.25] * 4
    assert explain(LOGITS, temperature=np.inf).exponentials.tolist() == [1] * 4


@pytest.mark.parametrize("temperature", [0, 1, np.inf])
def test_infinite_logits_have_their_limits(temperature):
    ruled_out = explain([0.0, -np.inf], temperature=temperature)
    assert ruled_out.shares.tolist() == ruled_out.exponentials.tolist() == [1, 0]
    certain = explain([np.inf, 0.0], temperature=temperature)
    assert certain.shares.tolist() == certain.exponentials.tolist() == [1, 0]
    assert "nan" not in str(ruled_out) + str(certain)


def test_tiny_and_huge_shares_never_read_as_none_or_all():
    text = str(explain([0, 100, 0]))
    assert "3.7e-42 %" in text
    assert ">99.99 %" in str(explain([0.0, 12.0]))


def test_wide_characters_keep_the_columns_aligned():
    lines = str(explain([1, 2], ["汽车", "boat"])).split("\n")
    assert lines[1].startswith("汽车  ")
    assert lines[1].index("1") == lines[2].index("2") - 2  # two characters of two columns each


def test_what_temperature_changed_is_said():
    lines = str(explain(LOGITS, LABELS, temperature=2)).split("\n")
    assert "at T = 1" in lines[0]
    assert explain(LOGITS, temperature=2).shares_before.tolist() == softmax(LOGITS).tolist()
    assert "Temperature 2 evens the shares out: airplane has 93.15 % at temperature 1." in lines
    assert "Temperature 0.5 sharpens the shares: airplane has 93.15 %" in str(explain(LOGITS, LABELS, temperature=0.5))
    assert "T = 1" not in str(explain(LOGITS, LABELS))


def test_why_softmax_sums_to_one_and_sigmoid_does_not():
    assert str(explain(LOGITS, LABELS)).endswith(
        "Softmax divides by the sum, so its shares sum to 1: a class gains what others lose.\n"
        "Sigmoid judges every score alone, here to 208.06 % in all."
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_html_has_the_cells_of_the_text(temperature):
    e = explain([2.0, 1.0, -np.inf], ["<b>", "cat & dog", "c"], temperature=temperature)
    root = ElementTree.fromstring(f"<div>{e._repr_html_()}</div>")
    rows = ["".join(row.itertext()) for row in root.iter("tr")]
    table, _, conclusion = str(e).partition("\n\n")
    assert [row.replace(" ", "") for row in rows] == [
        "".join(c for c in line if c not in " █▏▎▍▌▋▊▉") for line in table.split("\n")
    ]
    assert [p.text for p in root.iter("p")] == conclusion.split("\n")
    widths = [float(div.get("style")[len("width:") :].split("em")[0]) for div in root.iter("div") if div.get("style")]
    np.testing.assert_allclose(widths, 8 * e.shares, atol=1e-3)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0, np.inf])
def test_the_picture_has_the_steps_side_by_side(temperature):
    e = explain([2.0, 1.0, -np.inf, -2.0], ["a", "b", "c", "d"], temperature=temperature)
    figure = e.plot()
    for ax, values in zip(figure.axes, [[2, 1, 0, -2], e.exponentials, e.shares, e.sigmoids], strict=True):
        np.testing.assert_allclose([bar.get_width() for bar in ax.patches[:4]], values)
    assert [text.get_text() for text in figure.axes[2].texts] == [percent(share) for share in e.shares]
    assert [text.get_text() for text in figure.axes[0].texts] == ["2", "1", "-inf", "-2"]
    if temperature != 1:
        np.testing.assert_allclose([bar.get_width() for bar in figure.axes[2].patches[4:]], e.shares_before)
    figure.savefig(io.BytesIO(), format="svg")


def test_the_picture_of_many_classes_has_the_most_probable_ones():
    logits = np.random.default_rng(0).normal(size=100)
    (ax, *_) = explain(logits).plot().axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == [str(i) for i in np.sort(np.argsort(-logits)[:20])]


def test_labels_default_to_the_indices():
    assert explain([1, 2]).labels == ("0", "1")


@pytest.mark.parametrize(
    ("args", "options", "error", "message"),
    [
        (([[1.0, 2.0]],), {}, ValueError, r"logits must have shape \(K,\).*\(1, 2\)"),
        (([],), {}, ValueError, r"shape \(0,\)"),
        (([1.0, np.nan],), {}, ValueError, "NaN, got one at position 1"),
        (([-np.inf, -np.inf],), {}, ValueError, "-inf for all"),
        ((["a"],), {}, TypeError, "dtype <U1"),
        (([1.0, 2.0], ["a"]), {}, ValueError, "labels must name each of the 2 classes, got 1"),
        (([1.0],), {"temperature": -1}, ValueError, "temperature must be at least 0, got -1"),
        (([1.0],), {"temperature": np.nan}, ValueError, "got nan"),
    ],
)
def test_wrong_input_is_named(args, options, error, message):
    with pytest.raises(error, match=message):
        explain(*args, **options)
