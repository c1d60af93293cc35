"""SoftmaxClassifier on sparse rows, and with a smoothed or focal objective."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from scipy.optimize import approx_fprime
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_sparse_rows_have_the_coefficients_of_logistic_regression(load, weighted):
    """Whatever the units of the features, which sparse rows keep; the judge takes Newton's steps."""
    X, y = load(return_X_y=True)
    X = X / np.abs(X).max(axis=0)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    judge = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-10, max_iter=20_000).fit(X, y, weight)
    ours = fitted(scipy.sparse.csr_array(X), y, weight, alpha=1.0, tol=1e-8, max_iter=5000)
    np.testing.assert_allclose(ours.coefs_[0].T, judge.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.intercepts_[0], judge.intercept_, atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(scipy.sparse.csr_array(X)), judge.predict_proba(X), atol=1e-6)


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


def test_sparse_rows_in_parts_are_learned_as_dense_ones():
    X, y = load_iris(return_X_y=True)
    fits = []
    for convert in (np.asarray, scipy.sparse.csr_array):
        classifier = SoftmaxClassifier(random_state=0)
        for start, dtype in ((0, np.float64), (1, np.float32), (0, np.float64)):
            part = slice(start, None, 2)
            classifier.partial_fit(convert(X[part].astype(dtype)), y[part], classes=[0, 1, 2])
        fits.append(classifier)
    np.testing.assert_allclose(fits[1].coefs_[0], fits[0].coefs_[0], rtol=1e-9)
