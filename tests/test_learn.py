import copy
import doctest
import pickle
import re
import warnings

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info, threadpool_limits

import softmax.learn
import softmax.predictor
from softmax import _native
from softmax.learn import SoftmaxClassifier
from softmax.network import stratified_part

DATASETS = {"iris": load_iris, "wine": load_wine, "digits": load_digits, "breast_cancer": load_breast_cancer}


def load(name, *, scaled=False):
    X, y = DATASETS[name](return_X_y=True)
    return (StandardScaler().fit_transform(X) if scaled else X), y


def tutorial(n=300, dtype=np.float64, seed=0):
    """5 features, 3 classes that no straight line separates."""
    rng = np.random.RandomState(seed)
    X = rng.uniform(-1, 1, (n, 5)).astype(dtype)
    return X, (X[:, 0] * X[:, 1] > 0).astype(int) + (np.abs(X[:, 2]) > 0.6)


def network(hidden_layer_sizes=(4,), **options):
    """A small network whose training ends by itself."""
    defaults = {"activation": "tanh", "learning_rate": 0.02, "max_iter": 1000, "tol": 1e-3, "random_state": 0}
    return SoftmaxClassifier(hidden_layer_sizes, **(defaults | options))


def quietly(classifier, *data, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(*data, **more)


def same_weights(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


def finite(classifier):
    return all(np.isfinite(part).all() for part in classifier.coefs_ + classifier.intercepts_)


# ------------------------------------------------------------------------------------------------------ conventions


@parametrize_with_checks(
    [
        SoftmaxClassifier(),
        SoftmaxClassifier(class_weight="balanced", warm_start=True),
        SoftmaxClassifier(solver="adam", learning_rate=0.02, max_iter=2000, tol=1e-3),
        SoftmaxClassifier((5,), activation="tanh", learning_rate=0.05, max_iter=1000, tol=1e-3),
        # With a smaller alpha the random labels of the sparse checks take 800 to 2000 iterations, as rounding has it.
        SoftmaxClassifier((8, 4), activation="tanh", solver="lbfgs", alpha=1.0, max_iter=2000),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_doctests():
    for module, examples in (softmax.learn, 5), (softmax.predictor, 4):
        results = doctest.testmod(module)
        assert results.attempted >= examples
        assert results.failed == 0


# -------------------------------------------------------------------------------------------------------- the optimum


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.01])
@pytest.mark.parametrize("name", DATASETS)
def test_without_hidden_layers_the_optimum_is_that_of_logistic_regression(name, alpha, weighted):
    X, y = load(name)  # unscaled: the units of the features must not matter
    weight = np.random.RandomState(0).uniform(0.1, 3, len(y)) if weighted else None
    with threadpool_limits(1):  # its threads wait for each other on a busy machine
        expected = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(X, y, weight)
    classifier = SoftmaxClassifier(alpha=alpha, tol=1e-10, max_iter=2000).fit(X, y, weight)
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(classifier.decision_function(X), expected.decision_function(X), atol=1e-4)
    np.testing.assert_allclose(classifier.coefs_[0].T, expected.coef_, atol=1e-6 * np.abs(expected.coef_).max())
    np.testing.assert_allclose(classifier.intercepts_[0], expected.intercept_, atol=1e-4)


@pytest.mark.parametrize("alpha", [1.0, 0.01])
@pytest.mark.parametrize("name", DATASETS)
def test_the_default_options_reach_the_optimum_to_plotting_accuracy_without_a_warning(name, alpha):
    X, y = load(name)
    expected = SoftmaxClassifier(alpha=alpha, tol=1e-10, max_iter=2000).fit(X, y)
    classifier = SoftmaxClassifier(alpha=alpha).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=5e-4)
    in_single = SoftmaxClassifier(alpha=alpha).fit(X.astype(np.float32), y)
    # float32 gradients end the search some 1e-4 of the loss earlier or later: rounding alone moves p near 0.6 by 2e-3
    np.testing.assert_allclose(in_single.predict_proba(X), expected.predict_proba(X), atol=4e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_objective_with_hidden_layers_is_that_of_mlp_classifier(classes):
    X, y = tutorial()
    X, y = X[y < classes], y[y < classes]
    one_tiny_step = {"batch_size": 999, "learning_rate": 1e-12, "max_iter": 1}
    ours = quietly(network((6, 4), alpha=3.0, **one_tiny_step), X, y)
    theirs = MLPClassifier((6, 4), activation="tanh", solver="lbfgs", alpha=3.0, max_iter=1)
    quietly(theirs, X, y)
    theirs.coefs_, theirs.intercepts_ = ours.coefs_, ours.intercepts_
    penalty = 3.0 / 2 / len(y) * sum((coef**2).sum() for coef in ours.coefs_)
    log_probs = theirs.predict_log_proba(X)
    assert ours.loss_curve_[-1] == pytest.approx(penalty - log_probs[np.arange(len(y)), y].mean(), rel=1e-9)
    np.testing.assert_allclose(ours.predict_log_proba(X), log_probs, atol=1e-9)


@pytest.mark.parametrize("batch_size", ["auto", 10])
def test_adam_goes_to_the_same_optimum_as_lbfgs(batch_size):
    X, y = load("iris", scaled=True)
    expected = SoftmaxClassifier(alpha=5.0).fit(X, y)
    classifier = SoftmaxClassifier(
        alpha=5.0, solver="adam", batch_size=batch_size, learning_rate=5e-3, tol=1e-6, max_iter=1000, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=0.02)


def test_two_classes_share_one_logit():
    X, y = load("breast_cancer", scaled=True)
    classifier = SoftmaxClassifier().fit(X, np.array(["bad", "good"])[y])
    assert classifier.coefs_[0].shape == (30, 1)
    assert classifier.decision_function(X).shape == (len(X),)
    logits = np.stack([np.zeros(len(X)), classifier.decision_function(X)], axis=1)
    np.testing.assert_allclose(classifier.predict_proba(X), softmax.softmax(logits), rtol=1e-12)
    np.testing.assert_array_equal(classifier.predict(X) == "good", classifier.decision_function(X) > 0)


def test_probabilities_are_the_softmax_of_the_logits():
    X, y = load("iris")
    classifier = SoftmaxClassifier().fit(X, y)
    logits = X @ classifier.coefs_[0] + classifier.intercepts_[0]
    np.testing.assert_allclose(classifier.decision_function(X), logits, rtol=1e-12)
    np.testing.assert_allclose(classifier.predict_proba(X), softmax.softmax(logits), rtol=1e-12)
    np.testing.assert_allclose(classifier.predict_log_proba(X), softmax.log_softmax(logits), rtol=1e-12)


def test_log_probabilities_stay_exact_where_probabilities_round_to_1():
    X, y = load("breast_cancer", scaled=True)
    classifier = SoftmaxClassifier(alpha=0.01).fit(X, y)
    far = X[:1] * -1000
    probs, log_probs = classifier.predict_proba(far), classifier.predict_log_proba(far)
    assert probs.max() == 1
    assert np.isfinite(log_probs).all()
    assert log_probs.min() < -1000


# ----------------------------------------------------------------------------------------------------------- networks


def test_the_tutorial_network_has_5_4_and_3_neurons_and_learns():
    X, y = tutorial(600)
    classifier = SoftmaxClassifier((4,), activation="tanh", learning_rate=0.02, max_iter=500, random_state=2)
    quietly(classifier, X, y)
    assert [coef.shape for coef in classifier.coefs_] == [(5, 4), (4, 3)]
    assert [intercept.shape for intercept in classifier.intercepts_] == [(4,), (3,)]
    linear = SoftmaxClassifier().fit(X, y).score(X, y)
    assert linear < 0.6
    assert classifier.score(X, y) > 0.8
    hidden = np.tanh(X @ classifier.coefs_[0] + classifier.intercepts_[0])
    logits = hidden @ classifier.coefs_[1] + classifier.intercepts_[1]
    np.testing.assert_allclose(classifier.predict_proba(X), softmax.softmax(logits), rtol=1e-12)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 8), 8, [8, 6, 4], np.array([8])])
def test_every_depth_activation_and_solver_learns(hidden, activation, solver):
    X, y = load("iris", scaled=True)
    classifier = SoftmaxClassifier(hidden, activation=activation, solver=solver, learning_rate=0.02, random_state=0)
    assert quietly(classifier, X, y).score(X, y) > 0.95
    assert classifier.loss_curve_[-1] < 0.2


@pytest.mark.parametrize("options", [{}, {"solver": "adam"}, {"hidden_layer_sizes": (4,)}])
def test_float32_stays_float32(options):
    X, y = tutorial(dtype=np.float32)
    classifier = quietly(SoftmaxClassifier(random_state=0, **options), X, y, sample_weight=np.arange(1.0, 301))
    assert {part.dtype for part in classifier.coefs_ + classifier.intercepts_} == {np.dtype(np.float32)}
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(classifier, method)(X).dtype == np.float32
    for other in (X.astype(np.float64), X.astype(np.float16), (100 * X).astype(int)):
        assert quietly(SoftmaxClassifier(random_state=0, **options), other, y).coefs_[0].dtype == np.float64


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}])
def test_the_same_seed_gives_the_same_weights(options):
    X, y = tutorial()
    first, second, other = (quietly(network(random_state=seed, max_iter=20, **options), X, y) for seed in (1, 1, 2))
    assert same_weights(first, second)
    assert first.loss_curve_ == second.loss_curve_
    assert not same_weights(first, other)


# ------------------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize(
    "options", [{}, {"hidden_layer_sizes": (4,), "max_iter": 30}, {"solver": "adam", "batch_size": 999}]
)
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 0.5, 2: 3.0}])
def test_a_whole_weight_is_a_row_that_often(options, class_weight):
    X, y = tutorial(60)
    times = np.random.RandomState(0).randint(0, 4, len(y))
    options = {
        "batch_size": 999,
        "random_state": 0,
        "activation": "tanh",
        "tol": 1e-8,
        "class_weight": class_weight,
    } | options
    weighted = quietly(SoftmaxClassifier(**options), X, y, sample_weight=times)
    repeated = quietly(SoftmaxClassifier(**options), X.repeat(times, axis=0), y.repeat(times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-6)
    plain = quietly(SoftmaxClassifier(**options), X, y)
    assert np.abs(weighted.predict_proba(X) - plain.predict_proba(X)).max() > 1e-3


def test_class_weight_multiplies_the_sample_weight():
    X, y = load("iris")
    names = np.array(["a", "b", "c"])[y]
    weight = np.random.RandomState(0).uniform(size=len(y))
    expected = SoftmaxClassifier(tol=1e-9).fit(X, y, weight * np.array([1, 5, 2])[y])
    classifier = SoftmaxClassifier(tol=1e-9, class_weight={"b": 5, "c": 2}).fit(X, names, weight)
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=1e-12)


def test_balanced_classes_have_the_same_total_weight():
    X, y = load("iris")
    X, y = X[20:], y[20:]
    weight = np.random.RandomState(0).uniform(size=len(y))
    totals = np.bincount(y, weights=weight)
    expected = SoftmaxClassifier(tol=1e-9).fit(X, y, weight * (weight.sum() / 3 / totals)[y])
    classifier = SoftmaxClassifier(tol=1e-9, class_weight="balanced").fit(X, y, weight)
    np.testing.assert_allclose(classifier.predict_proba(X), expected.predict_proba(X), atol=1e-9)


# ---------------------------------------------------------------------------------------------------- early stopping


@pytest.mark.parametrize("options", [{"solver": "adam", "learning_rate": 0.05}, {"solver": "lbfgs", "alpha": 0.0}])
def test_early_stopping_keeps_the_weights_of_the_best_validation_loss(options):
    X, y = load("digits", scaled=True)
    y = np.where(np.random.RandomState(0).uniform(size=len(y)) < 0.2, (y + 1) % 10, y)
    classifier = SoftmaxClassifier(
        early_stopping=True, validation_fraction=0.3, max_iter=500, random_state=0, **options
    )
    classifier.fit(X, y)
    curve = classifier.validation_loss_curve_
    assert len(curve) == len(classifier.loss_curve_) == classifier.n_iter_ < 500
    assert 3 < len(curve) - np.argmin(curve) <= 11
    held_out = stratified_part(y, 0.3, np.random.RandomState(0))
    loss = softmax.cross_entropy(classifier.predict_log_proba(X[held_out]), y[held_out])
    assert loss == pytest.approx(min(curve), rel=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_the_rows_held_out_are_not_trained_on(solver):
    X, y = load("iris", scaled=True)
    held_out = stratified_part(y, 0.2, np.random.RandomState(0))
    options = {"solver": solver, "max_iter": 3, "batch_size": 999, "random_state": 0}
    stopping = quietly(SoftmaxClassifier(early_stopping=True, validation_fraction=0.2, **options), X, y)
    alone = quietly(SoftmaxClassifier(**options), X[~held_out], y[~held_out])
    assert stopping.loss_curve_ == pytest.approx(alone.loss_curve_, rel=1e-12)


def test_without_early_stopping_there_is_no_validation_curve():
    X, y = load("iris")
    assert SoftmaxClassifier().fit(X, y).validation_loss_curve_ is None


def test_the_held_out_part_is_stratified_and_random():
    targets = np.repeat(np.arange(4), [1000, 100, 10, 1])
    mask = stratified_part(targets, 0.2, np.random.RandomState(0))
    assert np.bincount(targets[mask], minlength=4) == pytest.approx([200, 20, 2, 0], abs=1)
    assert mask.sum() == 222
    assert not np.array_equal(mask, stratified_part(targets, 0.2, np.random.RandomState(1)))
    rare = np.repeat(np.arange(40), [1] * 20 + [3] * 20)
    assert not any(stratified_part(rare, 0.3, np.random.RandomState(seed))[:20].any() for seed in range(20))
    many = stratified_part(np.arange(1000) // 2, 0.01, np.random.RandomState(0))  # more classes than rows to take
    assert many.sum() == 10


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_nothing_to_hold_out_is_an_error_that_says_so(fraction):
    X, y = load("iris")
    with pytest.raises(ValueError, match=rf"validation_fraction={fraction} of 20 rows leaves none"):
        SoftmaxClassifier(early_stopping=True, validation_fraction=fraction).fit(X[45:65], y[45:65])


# ---------------------------------------------------------------------------------------- warm_start and partial_fit


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_warm_start_goes_on_from_the_last_weights(hidden):
    X, y = tutorial()
    classifier = network(hidden, solver="lbfgs", warm_start=True, tol=1e-4, max_iter=2000).fit(X, y)
    first, before = classifier.n_iter_, classifier.predict_proba(X)
    classifier.fit(X, y)
    assert classifier.n_iter_ == len(classifier.loss_curve_) <= 3 < first
    np.testing.assert_allclose(classifier.predict_proba(X), before, atol=2e-3)
    assert classifier.set_params(warm_start=False).fit(X, y).n_iter_ == first


def test_warm_start_of_adam_begins_where_it_ended():
    X, y = tutorial()
    classifier = quietly(network(warm_start=True, max_iter=100), X, y)
    start, end = classifier.loss_curve_[0], classifier.loss_curve_[-1]
    quietly(classifier, X.astype(np.float32), y)
    assert classifier.loss_curve_[0] < (start + end) / 2
    assert classifier.coefs_[0].dtype == np.float32


def test_warm_start_refuses_another_problem():
    X, y = tutorial()
    classifier = quietly(network(warm_start=True, max_iter=2), X, y)
    with pytest.raises(ValueError, match=r"y must hold the classes \[0 1 2\], got \[0 1\]"):
        classifier.fit(X[y < 2], y[y < 2])
    with pytest.raises(ValueError, match=r"hidden_layer_sizes changed from \(4,\) to \(5,\)"):
        clone_with_weights(classifier, hidden_layer_sizes=5).fit(X, y)
    with pytest.raises(ValueError, match="features"):
        classifier.fit(X[:, :3], y)


def clone_with_weights(classifier, **options):
    return copy.deepcopy(classifier).set_params(**options)


@pytest.mark.parametrize("hidden", [(), (4,)])
def test_partial_fit_often_is_fit_with_as_many_epochs(hidden):
    X, y = tutorial()
    weight = np.random.RandomState(0).uniform(size=len(y))
    options = {"solver": "adam", "batch_size": 50, "max_iter": 7}
    whole = quietly(network(hidden, **options), X, y, sample_weight=weight)
    parts = network(hidden, **options)
    for _ in range(7):
        parts.partial_fit(X, y, classes=[0, 1, 2], sample_weight=weight)
    assert same_weights(whole, parts)
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.n_iter_ == 7


def test_partial_fit_learns_from_a_stream_of_parts_that_lack_classes():
    X, y = tutorial(3000)
    order = np.argsort(y, kind="stable").reshape(3, -1).T.reshape(-1, 50)
    classifier = network((16,), activation="relu", learning_rate=0.01)
    for _ in range(10):
        for rows in order:
            classifier.partial_fit(X[rows], y[rows], classes=[0, 1, 2])
    assert min(len(np.unique(y[rows])) for rows in order) < 3
    assert classifier.score(X, y) > 0.8
    before = classifier.coefs_[0].copy()
    classifier.partial_fit(X[:1].astype(np.float32), y[:1])
    assert classifier.coefs_[0].dtype == np.float64
    assert 0 < np.abs(classifier.coefs_[0] - before).max() < 0.1


def test_partial_fit_goes_on_after_fit():
    X, y = tutorial()
    classifier = SoftmaxClassifier().fit(X, y)
    loss = classifier.loss_curve_[-1]
    classifier.set_params(learning_rate=1e-6).partial_fit(X, y)
    assert classifier.loss_curve_[-1] == pytest.approx(loss, rel=1e-4)


def test_fit_forgets_what_partial_fit_remembers():
    X, y = tutorial()
    fresh = network(max_iter=5, warm_start=False)
    used = clone(fresh).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
    for classifier in (fresh, used):
        quietly(classifier, X, y).partial_fit(X, y)
    assert same_weights(fresh, used)
    assert fresh.loss_curve_ == used.loss_curve_


@pytest.mark.parametrize("option", [{"solver": "lbfgs"}, {"early_stopping": True}, {"class_weight": "balanced"}])
def test_partial_fit_is_absent_where_all_rows_are_needed(option):
    classifier = SoftmaxClassifier(**option)
    assert not hasattr(classifier, "partial_fit")
    with pytest.raises(AttributeError) as error:
        classifier.partial_fit([[0.0], [1.0]], [0, 1], classes=[0, 1])
    assert next(iter(option)) in str(error.value.__cause__)


def test_partial_fit_refuses_unknown_labels():
    X, y = tutorial()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        SoftmaxClassifier().partial_fit(X, y)
    with pytest.raises(ValueError, match="at least two classes"):
        SoftmaxClassifier().partial_fit(X, y, classes=[1])
    with pytest.raises(ValueError, match="unseen labels"):
        SoftmaxClassifier().partial_fit(X, y, classes=[0, 1])


# ----------------------------------------------------------------------------------------------- trouble, and saying it


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options", [{"solver": "adam"}, {"hidden_layer_sizes": (8,)}, {"hidden_layer_sizes": (8, 8, 8)}]
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_far_too_large_learning_rate_is_taken_back_and_reported(options, activation, dtype):
    X, y = tutorial(dtype=dtype)
    classifier = SoftmaxClassifier(activation=activation, learning_rate=1e6, max_iter=100, random_state=0, **options)
    with pytest.warns(
        ConvergenceWarning, match=r"diverged in \d+ of \d+ epochs .* set learning_rate below \S+,"
    ) as seen:
        classifier.fit(X, y)
    assert [warning.category for warning in seen] == [ConvergenceWarning]
    assert 0.01 < float(re.search(r"learning_rate below ([^,]+),", str(seen[0].message))[1]) < 100
    assert finite(classifier)
    probs = classifier.predict_proba(X)
    assert softmax.cross_entropy(np.log(np.maximum(probs, 1e-30)), y) < 2 * np.log(3)
    assert np.isfinite(classifier.loss_curve_).all()
    assert 0 < len(classifier.loss_curve_) < classifier.n_iter_


def test_where_every_epoch_diverges_the_first_weights_stay():
    X, y = tutorial()
    classifier = SoftmaxClassifier(solver="adam", learning_rate=1e6, max_iter=5)
    with pytest.warns(ConvergenceWarning, match="diverged in 5 of 5 epochs"):
        classifier.fit(X, y)
    assert not classifier.coefs_[0].any()
    assert classifier.loss_curve_ == []
    assert classifier.n_iter_ == 5


def test_a_diverging_partial_fit_is_taken_back():
    X, y = tutorial()
    classifier = network().partial_fit(X, y, classes=[0, 1, 2])
    before = copy.deepcopy(classifier)
    with pytest.warns(ConvergenceWarning, match="diverged in 1 of 1 epochs"):
        classifier.set_params(learning_rate=1e6).partial_fit(X, y)
    assert same_weights(classifier, before)
    classifier.set_params(learning_rate=0.01).partial_fit(X, y)
    assert finite(classifier)


@pytest.mark.parametrize("options", [{}, {"hidden_layer_sizes": (4, 4), "solver": "lbfgs"}, {"solver": "adam"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_too_large_for_the_arithmetic_never_leave_weights_that_are_not_finite(options, dtype):
    X, y = tutorial(dtype=dtype)
    X *= np.finfo(dtype).max / 1e4
    classifier = quietly(SoftmaxClassifier(random_state=0, **options), X, y)
    assert finite(classifier)


def test_lbfgs_reports_an_objective_that_is_not_finite():
    X, y = tutorial()
    classifier = SoftmaxClassifier((4, 4), solver="lbfgs", random_state=0)
    with pytest.warns(ConvergenceWarning, match="not finite; the step was taken back .* standardize the features"):
        classifier.fit(X * 1e304, y)


def test_the_convergence_warning_says_what_to_change():
    X, y = load("digits")
    with pytest.warns(ConvergenceWarning, match=r"L-BFGS stopped at max_iter=3 .*: raise max_iter, alpha or tol"):
        SoftmaxClassifier(max_iter=3).fit(X, y)
    with pytest.warns(
        ConvergenceWarning, match=r"Adam stopped at max_iter=3 epochs .*: raise max_iter, learning_rate or tol"
    ):
        SoftmaxClassifier((4,), max_iter=3).fit(X, y)


def test_a_warning_points_at_the_caller_and_as_an_error_comes_after_the_fit():
    X, y = load("digits")
    classifier = SoftmaxClassifier(max_iter=3)
    with pytest.warns(ConvergenceWarning) as seen:
        classifier.fit(X, y)
    assert seen[0].filename == __file__
    with pytest.raises(ConvergenceWarning):  # warnings are errors in these tests
        classifier.set_params(max_iter=4).fit(X, y)
    assert classifier.n_iter_ == 4
    with pytest.warns(ConvergenceWarning) as seen:
        classifier.set_params(learning_rate=1e9).partial_fit(X, y)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([[0.0], [1.0]], ["cat", "cat"]), "at least two classes with a weight above 0, got one class: cat"),
        (([[0.0], [1.0]], ["cat", "dog"], [1, 0]), "at least two classes with a weight above 0, got one class: cat"),
        (([[0.0], [1.0]], ["cat", "dog"], [0, 0]), "zero"),
        (([[0.0], [1.0]], ["cat", "dog"], [1, -1]), "sample_weight and class_weight must be at least 0"),
        (([[0.0], [1.0]], [0.5, 1.5]), "Unknown label type"),
        (([[0.0], [np.nan]], [0, 1]), "NaN"),
        (([[0.0], [np.inf]], [0, 1]), "infinity"),
        (([[0.0], [1.0]], [0, 1, 1]), "inconsistent numbers of samples"),
    ],
)
def test_bad_input_is_a_value_error_that_names_it(data, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier().fit(*data)


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_layer_sizes": 0},
        {"hidden_layer_sizes": (4, 0)},
        {"hidden_layer_sizes": (2.5,)},
        {"hidden_layer_sizes": ((2, 2), (2, 2))},
        {"hidden_layer_sizes": "4"},
        {"activation": "logistic"},
        {"solver": "sgd"},
        {"alpha": -1.0},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"max_iter": 0},
        {"tol": -1.0},
        {"class_weight": "even"},
        {"class_weight": {0: -1}},
        {"early_stopping": "yes"},
        {"validation_fraction": 0.0},
        {"validation_fraction": 1.0},
        {"warm_start": "yes"},
        {"random_state": -1},
    ],
)
def test_a_bad_option_is_an_error_that_names_it(option):
    X, y = load("iris")
    classifier = SoftmaxClassifier(**option)  # stores, and leaves it to fit
    with pytest.raises(ValueError, match=next(iter(option))):
        classifier.fit(X, y)


def test_an_unfitted_classifier_is_refused():
    X, _ = load("iris")
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().predict(X)


def test_products_keep_to_one_thread_and_fit_leaves_no_trace():
    def blas_threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    class Watched(SoftmaxClassifier):
        def _report(self, iteration, loss, validation_loss):
            seen.update(blas_threads())

    seen = set()
    X, y = np.random.RandomState(0).randn(300, 60), np.arange(300) % 3
    with threadpool_limits(2, user_api="blas"):
        quietly(Watched(max_iter=1), X, y)
        after = blas_threads()
    if after:  # Apple's BLAS has no such switch
        assert seen == {1}
        assert after == {2}


OPTIONS = [
    ({}, "dense"),
    ({}, "sparse"),
    ({"hidden_layer_sizes": (30,), "solver": "lbfgs"}, "dense"),
    ({"hidden_layer_sizes": (300,), "batch_size": 2000}, "dense"),
    ({"hidden_layer_sizes": (8,), "activation": "tanh"}, "dense"),
    ({"hidden_layer_sizes": (8,)}, "sparse"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("options", "kind"), OPTIONS)
def test_same_bits_for_any_number_of_threads(options, kind, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6000, 60)).astype(dtype)
    y = (X @ rng.standard_normal((60, 12)) + rng.gumbel(size=(6000, 12))).argmax(axis=1)
    if kind == "sparse":
        X = scipy.sparse.csr_array(np.where(np.abs(X) > 1, X, 0))
    fits, threads = [], _native.num_threads()
    try:
        for count in (1, 2, 3):
            _native.set_num_threads(count)
            with threadpool_limits(count):
                fits.append(quietly(SoftmaxClassifier(max_iter=3, random_state=0, **options), X, y))
    finally:
        _native.set_num_threads(threads)
    for other in fits[1:]:
        assert other.loss_curve_ == fits[0].loss_curve_
        for one, another in zip(fits[0].coefs_, other.coefs_, strict=True):
            np.testing.assert_array_equal(one, another)


# -------------------------------------------------------------------------------------------- options, copies, reports


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_layer_sizes": (5,)},
        {"activation": "relu"},
        {"solver": "lbfgs"},
        {"alpha": 10.0},
        {"learning_rate": 0.03},
        {"batch_size": 10},
        {"max_iter": 7},
        {"tol": 0.3},
        {"class_weight": {0: 3.0}},
        {"class_weight": "balanced"},
        {"early_stopping": True},
        {"random_state": 1},
    ],
)
def test_every_option_changes_the_result(option):
    X, y = tutorial()
    base = {"max_iter": 20}
    expected = quietly(network(**base), X, y)
    changed = quietly(network(**(base | option)), X, y)
    assert np.abs(expected.predict_proba(X) - changed.predict_proba(X)).max() > 1e-3


def test_validation_fraction_changes_the_result():
    X, y = tutorial()
    a, b = (quietly(network(early_stopping=True, validation_fraction=part, max_iter=9), X, y) for part in (0.1, 0.2))
    assert not same_weights(a, b)


def test_auto_is_lbfgs_without_and_adam_with_hidden_layers():
    X, y = tutorial()
    for hidden, solver in [((), "lbfgs"), ((4,), "adam")]:
        auto, named = (quietly(network(hidden, solver=name, max_iter=20), X, y) for name in ("auto", solver))
        assert same_weights(auto, named)


@pytest.mark.parametrize(("n", "batch_size"), [(20, 20), (300, 32), (3000, 60), (20000, 200)])
def test_auto_batches_are_a_fiftieth_of_the_rows_within_bounds(n, batch_size):
    X, y = tutorial(n)
    auto, named = (quietly(network(batch_size=size, max_iter=1), X, y) for size in ("auto", batch_size))
    assert same_weights(auto, named)


@pytest.mark.parametrize("options", [{}, {"hidden_layer_sizes": (4,), "max_iter": 5}])
def test_pickles_and_clones(options):
    X, y = tutorial()
    classifier = quietly(SoftmaxClassifier(random_state=0, **options), X, y)
    thawed = pickle.loads(pickle.dumps(classifier))
    assert same_weights(thawed, classifier)
    np.testing.assert_array_equal(thawed.predict_proba(X), classifier.predict_proba(X))
    assert clone(classifier).get_params() == classifier.get_params()
    assert not hasattr(clone(classifier), "coefs_")


def test_a_pickle_between_two_partial_fits_changes_nothing():
    X, y = tutorial()
    classifier = network().partial_fit(X, y, classes=[0, 1, 2])
    thawed = pickle.loads(pickle.dumps(classifier))
    assert same_weights(classifier.partial_fit(X, y), thawed.partial_fit(X, y))


def test_fit_does_not_touch_its_input():
    X, y = tutorial()
    weight = np.ones(len(y))
    before = X.copy(), y.copy(), weight.copy()
    quietly(network(max_iter=5, class_weight="balanced"), X, y, sample_weight=weight)
    for array, copied in zip((X, y, weight), before, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_verbose_prints_a_line_every_ten_iterations(capsys):
    X, y = tutorial()
    classifier = quietly(network(verbose=True, early_stopping=True, max_iter=25, learning_rate=1e-3), X, y)
    lines = capsys.readouterr().out.splitlines()
    loss, validation_loss = classifier.loss_curve_[9], classifier.validation_loss_curve_[9]
    assert [line.split(":")[0] for line in lines] == ["Iteration 1", "Iteration 10", "Iteration 20"]
    assert lines[1] == f"Iteration 10: loss {loss:.6f}, validation loss {validation_loss:.6f}"
    quietly(network(max_iter=25), X, y)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_subclass_can_show_progress_its_own_way(solver):
    class Watched(SoftmaxClassifier):
        def _report(self, iteration, loss, validation_loss):
            seen.append((iteration, loss, validation_loss))

    X, y = tutorial()
    seen = []
    classifier = quietly(Watched(solver=solver, max_iter=12), X, y)
    assert seen == [(i, loss, None) for i, loss in enumerate(classifier.loss_curve_, 1)]
    if solver == "adam":
        seen.clear()
        for _ in range(2):
            classifier.partial_fit(X, y)
        assert [line[0] for line in seen] == [13, 14]
