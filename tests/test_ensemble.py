"""Averages of several models' probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softmax import ensemble, sigmoid, softmax
from softmax.ensemble import average
from softmax.metrics import log_loss

SPACES = ["probability", "log", "logit"]


def models(count=3, rows=20, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return [softmax(rng.normal(size=(rows, classes)) * 2) for _ in range(count)]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0], [0, 1, 0]])
def test_agrees_with_the_formulas(space, weights):
    probs = np.array(models())
    shares = np.full(3, 1 / 3) if weights is None else np.divide(weights, np.sum(weights))
    if space == "probability":
        expected = np.tensordot(shares, probs, 1)
    elif space == "log":
        expected = np.prod(probs ** shares[:, None, None], axis=0)
    else:
        expected = sigmoid(np.tensordot(shares, np.log(probs / (1 - probs)), 1))
    expected /= expected.sum(axis=1, keepdims=True)
    got = average(list(probs), weights, space)
    assert got == pytest.approx(expected, rel=1e-12)
    assert got.dtype == np.float64
    assert got.sum(axis=1) == pytest.approx(1, abs=1e-14)


def test_the_spaces_differ_and_the_logarithms_are_the_mean_logits():
    probs = models()
    results = [average(probs, space=space) for space in SPACES]
    assert abs(results[0] - results[1]).max() > 0.01
    assert abs(results[1] - results[2]).max() > 0.01
    assert results[1] == pytest.approx(softmax(np.mean(np.log(probs), axis=0)))


@pytest.mark.parametrize("space", SPACES)
def test_one_model_and_equal_models_are_left_as_they_are(space):
    p = models(1)[0]
    if space == "logit":  # each class alone against the rest says the same again
        assert average([p], space=space) == pytest.approx(p, rel=1e-12)
    assert average([p, p, p], [1, 2, 3], space) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_one_column_is_the_second_of_two_classes(space):
    two = models(classes=2)
    got = average([p[:, 1] for p in two], [1, 2, 3], space)
    assert got.shape == (20,)
    assert got == pytest.approx(average(two, [1, 2, 3], space)[:, 1], rel=1e-12)


def test_for_two_classes_log_and_logit_are_the_same():
    probs = models(classes=2)
    assert average(probs, space="log") == pytest.approx(average(probs, space="logit"), rel=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_models_sure_of_different_classes_are_given_the_same_say(space):
    assert average([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]], space=space)[0, :2] == pytest.approx([0.5, 0.5])
    assert average([[1.0], [1.0]], space=space).tolist() == [1.0]


def test_certainty_counts_the_same_in_logits_as_in_logarithms():
    probs = [[[1.0, 0.0]], [[0.4, 0.6]], [[0.3, 0.7]]]
    log, logit = average(probs, space="log"), average(probs, space="logit")
    assert 0 < log[0, 1] < 1e-90
    assert logit == pytest.approx(log, rel=1e-10, abs=0)


def test_rows_that_were_rounded_sum_to_one_again():
    for space in SPACES:
        assert average([[[0.333, 0.333, 0.333]]], space=space)[0] == pytest.approx(1 / 3, rel=1e-14)


def test_a_veto_counts_in_logarithms_only():
    probs = [[[0.0, 0.5, 0.5]], [[0.98, 0.01, 0.01]], [[0.98, 0.01, 0.01]]]
    assert average(probs)[0].argmax() == 0
    assert average(probs, space="log")[0, 0] < 1e-90


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from(["probability", "log"]))
def test_the_log_loss_is_at_most_the_mean_of_the_models(seed, space):
    probs = models(seed=seed)
    targets = np.random.default_rng(seed).integers(0, 4, 20)
    losses = [log_loss(p, targets) for p in probs]
    assert log_loss(average(probs, [1, 2, 3], space), targets) <= np.average(losses, weights=[1, 2, 3]) + 1e-12


def test_the_average_of_calibrated_models_is_less_sure_than_they_are():
    probs = models(rows=500)
    sure = np.mean([p.max(axis=1).mean() for p in probs])
    assert average(probs).max(axis=1).mean() < sure


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes_and_read_only_input(dtype):
    probs = [p.astype(dtype) for p in models()]
    for p in probs:
        p.setflags(write=False)
    assert average(probs) == pytest.approx(average(models()), abs=1e-3)


@pytest.mark.parametrize(
    ("probs", "options", "message"),
    [
        ([], {}, "at least one model, got none"),
        ([[[0.5, 0.5]], [[0.5, 0.3, 0.2]]], {}, r"one shape, got \(1, 2\), and \(1, 3\) for model 1"),
        ([[[0.5, 0.5]]], {"space": "logits"}, "space must be .* got 'logits'"),
        ([[[0.5, 0.5]]], {"weights": [1, 2]}, r"weights must have shape \(1,\).*\(2,\)"),
        ([[[0.5, 0.5]]], {"weights": [0]}, r"not all 0, got \[0.0\]"),
        ([[[0.5, 0.5]]] * 2, {"weights": [2, -1]}, r"at least 0.*-1.0"),
        ([[[0.5, 0.5]]] * 2, {"weights": [2, np.nan]}, "finite"),
        ([[[3.0, -2.0]]], {}, "apply softmax to logits first"),
    ],
)
def test_wrong_input_is_named(probs, options, message):
    with pytest.raises(ValueError, match=message):
        average(probs, **options)


def test_all_names_what_is_public():
    assert ensemble.__all__ == ["average"]
