"""SoftmaxClassifier on sparse rows, with a smoothed or focal objective, and what it has drawn its logits from."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import approx_fprime
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from softmax import cross_entropy
from softmax.learn import SoftmaxClassifier

DIGITS, IRIS = load_digits(return_X_y=True), load_iris(return_X_y=True)
BINARY = load_breast_cancer(return_X_y=True)
NETWORK = {"hidden_layer_sizes": (6,), "activation": "tanh", "random_state": 0, "learning_rate": 0.02}


def fitted(X, y, weight=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SoftmaxClassifier(**options).fit(X, y, weight)


def objective(classifier, X, y, alpha):
    """The documented objective, from what the classifier answers."""
    logits = classifier.decision_function(X)
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    options = {"label_smoothing": classifier.label_smoothing, "gamma": classifier.gamma}
    penalty = alpha / (2 * len(y)) * sum((coef**2).sum() for coef in classifier.coefs_)
    return cross_entropy(logits, np.searchsorted(classifier.classes_, y), **options) + penalty


# ------------------------------------------------------------------------------------------------------------ sparse


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csr_matrix, scipy.sparse.csc_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_rows_have_the_optimum_of_dense_ones(form, weighted):
    X, y = DIGITS[0] / 16, DIGITS[1]
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    options = {"alpha": 1.0, "tol": 1e-7, "max_iter": 2000}
    dense, sparse = fitted(X, y, weight, **options), fitted(form(X), y, weight, **options)
    np.testing.assert_allclose(sparse.coefs_[0], dense.coefs_[0], atol=1e-6)
    np.testing.assert_allclose(sparse.predict_proba(form(X)), dense.predict_proba(X), atol=1e-6)
    judge = LogisticRegression(C=1.0, tol=1e-10, max_iter=20_000).fit(X, y, weight)
    np.testing.assert_allclose(sparse.predict_proba(X), judge.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, NETWORK, NETWORK | {"early_stopping": True}])
def test_sparse_rows_give_the_steps_of_dense_ones(options, dtype):
    X, y = (DIGITS[0] / 16).astype(dtype), DIGITS[1]
    dense = fitted(X, y, max_iter=5, **options)
    sparse = fitted(scipy.sparse.csr_array(X), y, max_iter=5, **options)
    assert sparse.coefs_[0].dtype == dtype
    if options:  # without hidden layers L-BFGS goes another way, to the same optimum
        np.testing.assert_allclose(sparse.loss_curve_, dense.loss_curve_, rtol=1e-3)
    assert (sparse.predict(scipy.sparse.csr_array(X)) == sparse.predict(X)).all()


def test_sparse_rows_are_never_made_dense(monkeypatch):
    X = scipy.sparse.random(500, 300, 0.01, format="csr", random_state=0)
    y = np.arange(500) % 3

    def refuse(*_, **__):
        raise AssertionError("made dense")

    for name in "toarray", "todense":
        monkeypatch.setattr(scipy.sparse.csr_matrix, name, refuse)
        monkeypatch.setattr(scipy.sparse.csc_matrix, name, refuse)
        monkeypatch.setattr(scipy.sparse.coo_matrix, name, refuse)
    for options in {}, NETWORK, {"early_stopping": True}:
        fitted(X, y, max_iter=3, **options).predict_proba(X)
    SoftmaxClassifier().partial_fit(X, y, classes=[0, 1, 2])


# ------------------------------------------------------------------------------------------- the options of the loss


@pytest.mark.parametrize("data", [IRIS, BINARY], ids=["three classes", "two classes"])
@pytest.mark.parametrize("options", [{"label_smoothing": 0.1}, {"gamma": 1.5}, {"label_smoothing": 0.2, "gamma": 1.0}])
def test_the_documented_objective_is_at_a_stationary_point(data, options):
    X, y = data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    classifier = fitted(X, y, alpha=1.0, tol=1e-6, max_iter=5000, **options)
    assert classifier.loss_curve_[-1] == pytest.approx(objective(classifier, X, y, 1.0), rel=1e-9)
    coef, intercept = classifier.coefs_[0].copy(), classifier.intercepts_[0].copy()

    def at(params):
        classifier.coefs_[0] = params[: coef.size].reshape(coef.shape)
        classifier.intercepts_[0] = params[coef.size :]
        return objective(classifier, X, y, 1.0)

    slope = approx_fprime(np.concatenate([coef.ravel(), intercept]), at, 1e-6)
    assert np.abs(slope).max() < 2e-6


@pytest.mark.parametrize("option", [{"label_smoothing": 0.3}, {"gamma": 3.0}])
def test_networks_take_the_options_too(option):
    X, y = IRIS
    plain, other = (fitted(X, y, max_iter=300, **NETWORK, **more) for more in ({}, option))
    assert other.score(X, y) > 0.9
    assert other.predict_proba(X).max(axis=1).mean() < plain.predict_proba(X).max(axis=1).mean() - 0.05


@pytest.mark.parametrize("option", [{"label_smoothing": 1.5}, {"label_smoothing": -0.1}, {"gamma": -1.0}])
def test_options_out_of_range_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        SoftmaxClassifier(**option).fit(*IRIS)


# ------------------------------------------------------------------------------------------------------- explanation


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
