"""SoftmaxClassifier.explain: parts that add up to the logits."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from softmax.learn import SoftmaxClassifier

DIGITS, IRIS = load_digits(return_X_y=True), load_iris(return_X_y=True)
BINARY = load_breast_cancer(return_X_y=True)
NETWORK = {"hidden_layer_sizes": (6,), "activation": "tanh", "random_state": 0, "learning_rate": 0.02}


def fitted(X, y, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SoftmaxClassifier(**options).fit(X, y)


@pytest.mark.parametrize("data", [IRIS, BINARY], ids=["three classes", "two classes"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_contributions_add_up_to_the_logits(data, hidden, activation):
    X, y = data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    classifier = fitted(X, y, hidden_layer_sizes=hidden, activation=activation, max_iter=30, random_state=0)
    for i in 0, 77, 149:
        why = classifier.explain(X[i])
        logits = classifier.decision_function(X[[i]])[0]
        expected = logits if np.ndim(logits) else [0, logits]
        np.testing.assert_allclose(why.logits, expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(why.probs, classifier.predict_proba(X[[i]])[0], rtol=1e-10)
        assert why.classes[why.decision] == classifier.predict(X[[i]])[0]
    at_zero = classifier.decision_function(np.zeros((1, X.shape[1])))[0]
    np.testing.assert_allclose(why.base, at_zero if np.ndim(at_zero) else [0, at_zero], rtol=1e-12)


def test_a_linear_contribution_is_the_feature_times_its_weight():
    X, y = IRIS
    classifier = fitted(X, y, alpha=1.0)
    why = classifier.explain(X[100])
    np.testing.assert_array_equal(why.contributions, X[100][:, None] * classifier.coefs_[0])


def test_a_feature_that_is_zero_contributes_nothing():
    X, y = IRIS
    x = X[0].copy()
    x[2] = 0
    assert (fitted(X, y, max_iter=30, **NETWORK).explain(x).contributions[2] == 0).all()


def test_the_text_names_features_and_sums():
    data = load_iris(as_frame=True)
    classifier = fitted(data.data, data.target_names[data.target], alpha=1.0)
    text = str(classifier.explain(data.data.iloc[[60]]))
    lines = text.splitlines()
    assert lines[0].startswith("versicolor, with 9")
    assert {line.rsplit("  ", 2)[0].strip() for line in lines[3:7]} >= {
        "petal length (cm)"
    } or "petal length (cm)" in text
    parts = [float(line.split()[-1]) for line in lines[3:]]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=5e-3)


def test_long_texts_sum_what_they_leave_out():
    text = str(fitted(*DIGITS, max_iter=20).explain(DIGITS[0][0]))
    assert "54 others" in text
    parts = [float(line.split()[-1]) for line in text.splitlines()[3:]]
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=1e-2)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, lambda x: x, list])
def test_explain_takes_one_row_in_any_form(form):
    X, y = IRIS
    classifier = fitted(X, y)
    np.testing.assert_array_equal(classifier.explain(form(X[:1])).values, X[0])


def test_explain_refuses_two_rows():
    X, y = IRIS
    with pytest.raises(ValueError, match="x must be one row of 4 features, got 2 rows"):
        fitted(X, y).explain(X[:2])


@pytest.mark.parametrize("pick", [lambda table: table.iloc[3], lambda table: table.iloc[[3]]], ids=["series", "table"])
def test_a_row_of_a_table_keeps_its_names(pick):
    data = load_iris(as_frame=True)
    why = fitted(data.data, data.target).explain(pick(data.data))
    assert why.features == tuple(data.feature_names)
    np.testing.assert_array_equal(why.values, data.data.iloc[3])
