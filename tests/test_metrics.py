import itertools
import tracemalloc

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from softmax import _blocks, metrics, softmax
from softmax.metrics import (
    accuracy,
    all_scores,
    aurc,
    bootstrap_intervals,
    brier_score,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    log_loss,
    maximum_calibration_error,
    reliability_curve,
    risk_coverage_curve,
    smooth_calibration_error,
)

USUAL = [accuracy, log_loss, brier_score, expected_calibration_error]
BINNED = [
    expected_calibration_error,
    maximum_calibration_error,
    debiased_calibration_error,
    classwise_calibration_error,
]
METRICS = [*USUAL, *BINNED[1:], smooth_calibration_error, aurc]
PROBS = [[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]]
TARGETS = [0, 1, 2, 0]


def drawn(rows=500, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    probs = softmax(rng.normal(size=(rows, classes)) * 2)
    return probs, rng.integers(0, classes, rows)


def calibration_error_by_loops(probs, targets, edges, norm):
    gaps, weights = [], []
    for low, high in itertools.pairwise(edges):
        rows = [i for i, p in enumerate(probs) if low < max(p) <= high]
        if rows:
            confidence = sum(max(probs[i]) for i in rows) / len(rows)
            right = sum(int(np.argmax(probs[i])) == targets[i] for i in rows) / len(rows)
            gaps.append(abs(confidence - right))
            weights.append(len(rows) / len(probs))
    pairs = list(zip(gaps, weights, strict=True))
    return {
        "l1": sum(g * w for g, w in pairs),
        "l2": sum(g * g * w for g, w in pairs) ** 0.5,
        "max": max(gaps),
    }[norm]


def test_all_names_what_is_public():
    ours = {name for name, value in vars(metrics).items() if getattr(value, "__module__", "").startswith("softmax.")}
    assert set(metrics.__all__) == {name for name in ours if not name.startswith("_")}


@pytest.mark.parametrize(("norm", "expected"), [("l1", 0.2000), ("l2", 0.2082), ("max", 0.2333)])
def test_calibration_error_of_a_worked_example(norm, expected):
    assert round(expected_calibration_error(PROBS, TARGETS, n_bins=3, norm=norm), 4) == expected


@pytest.mark.parametrize("n_bins", [1, 2, 7, 15, 100])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_uniform_bins_agree_with_loops(n_bins, norm):
    probs, targets = drawn()
    expected = calibration_error_by_loops(probs.tolist(), targets, np.arange(n_bins + 1) / n_bins, norm)
    assert expected_calibration_error(probs, targets, n_bins=n_bins, norm=norm) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_quantile_bins_agree_with_loops(n_bins):
    probs, targets = drawn()
    edges = np.quantile(probs.max(axis=1), np.linspace(0, 1, n_bins + 1))
    edges[0] = 0
    expected = calibration_error_by_loops(probs.tolist(), targets, edges, "l2")
    error = expected_calibration_error(probs, targets, n_bins=n_bins, strategy="quantile", norm="l2")
    assert error == pytest.approx(expected, abs=1e-12)
    if n_bins > 1:
        assert error != expected_calibration_error(probs, targets, n_bins=n_bins, norm="l2")


def test_equal_confidences_share_a_bin_so_that_the_order_of_rows_plays_no_part():
    probs = [[0.8, 0.2]] * 10
    targets = np.array([0] * 8 + [1] * 2)
    for order in targets, targets[::-1]:
        assert expected_calibration_error(probs, order, strategy="quantile") == pytest.approx(0, abs=1e-12)


def test_confidence_one_belongs_to_the_last_bin():
    sure_and_wrong, nearly_sure_and_right = [1.0, 0.0], [0.95, 0.05]
    error = expected_calibration_error([sure_and_wrong, nearly_sure_and_right], [1, 0], n_bins=10)
    assert error == pytest.approx(abs((1 + 0.95) / 2 - 0.5))


def test_confidence_a_little_above_one_by_rounding_belongs_to_the_last_bin():
    assert expected_calibration_error(np.array([[1 + 1e-6, 0]], np.float32), [0]) == pytest.approx(0, abs=1e-6)


def test_bins_are_closed_on_the_right():
    on_the_edge_and_wrong, above_it_and_right = [0.5, 0.25, 0.25], [0.75, 0.125, 0.125]
    error = expected_calibration_error([on_the_edge_and_wrong, above_it_and_right], [1, 0], n_bins=2)
    assert error == pytest.approx((0.5 + 0.25) / 2)


@pytest.mark.parametrize("metric", METRICS)
def test_one_column_of_two_classes_says_the_same_as_both(metric):
    rng = np.random.default_rng(1)
    p, targets = rng.random(200), rng.integers(0, 2, 200)
    assert metric(p, targets) == pytest.approx(metric(np.stack([1 - p, p], axis=1), targets), abs=1e-15)


@pytest.mark.parametrize("classes", [2, 5])
def test_agrees_with_scikit_learn(classes):
    probs, targets = drawn(classes=classes)
    labels = list(range(classes))
    assert log_loss(probs, targets) == pytest.approx(sklearn.metrics.log_loss(targets, probs, labels=labels))
    assert accuracy(probs, targets) == sklearn.metrics.accuracy_score(targets, probs.argmax(axis=1))
    one_hot = np.eye(classes)[targets]
    squares = ((probs - one_hot) ** 2).sum(axis=1).mean()
    assert brier_score(probs, targets) == pytest.approx(squares / 2 if classes == 2 else squares)
    if classes == 2:
        assert brier_score(probs, targets) == pytest.approx(sklearn.metrics.brier_score_loss(targets, probs[:, 1]))


def test_perfect_predictions():
    probs, targets = np.eye(3), [0, 1, 2]
    assert [metric(probs, targets) for metric in METRICS] == [1.0] + [0.0] * 8
    assert str(log_loss(probs[:1], targets[:1])) == "0.0"


def test_guessing_evenly_costs_the_logarithm_of_the_number_of_classes():
    assert log_loss(np.full((3, 7), 1 / 7), [0, 3, 6]) == pytest.approx(np.log(7))


def test_a_target_held_impossible_costs_infinitely_much():
    assert log_loss([[1.0, 0.0]], [1]) == np.inf


def test_the_first_class_wins_a_tie():
    assert accuracy([[0.5, 0.5]], [0]) == 1
    assert accuracy([0.5], [0]) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("target_dtype", ["uint8", "int64"])
def test_dtypes_and_read_only_input(metric, dtype, target_dtype):
    probs, targets = drawn()
    probs, targets = probs.astype(dtype), targets.astype(target_dtype)
    before = probs.copy()
    probs.setflags(write=False)
    targets.setflags(write=False)
    assert metric(probs, targets) == pytest.approx(metric(probs.astype(float), targets), abs=1e-12)
    assert (probs == before).all()


def test_boolean_targets_are_the_two_classes():
    assert accuracy([0.9, 0.2], np.array([True, False])) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("probs", "targets", "error", "message"),
    [
        ([[0.5, 0.5]], [2], ValueError, r"targets must lie in \[0, 2\), got 2 at position 0"),
        ([[0.5, 0.5]], [-1], ValueError, r"got -1 at position 0"),
        ([[0.5, 0.5]], [0.0], TypeError, "targets must be integers.*float64"),
        ([[0.5, 0.5]], [0, 1], ValueError, r"targets must have shape \(1,\).*\(2,\)"),
        ([[0.5, 0.5], [2.0, -1.0]], [0, 1], ValueError, r"probs must lie in \[0, 1\], got 2.0 at position \(1, 0\)"),
        ([[0.5, 0.5], [0.5, np.nan]], [0, 1], ValueError, r"got nan at position \(1, 1\)"),
        ([[0.5, 0.5], [0.5, 0.3]], [0, 1], ValueError, "row 1 sums to 0.8"),
        ([[[0.5, 0.5]]], [0], ValueError, r"shape \(1, 1, 2\)"),
        (np.empty((0, 3)), np.empty(0, int), ValueError, "at least one row"),
        (np.empty(0), np.empty(0, int), ValueError, "not be empty"),
        ([["a", "b"]], [0], TypeError, "probs must be real numbers.*<U1"),
        ([[1j, 0]], [0], TypeError, "complex128"),
    ],
)
def test_wrong_input_is_named(metric, probs, targets, error, message):
    with pytest.raises(error, match=message):
        metric(probs, targets)


OPTIONS = [
    ({"n_bins": 0}, "n_bins must be at least 1, got 0"),
    ({"strategy": "even"}, "strategy must be .* got 'even'"),
    ({"norm": "l3"}, "norm must be .* got 'l3'"),
]


@pytest.mark.parametrize(
    ("metric", "option", "message"),
    [(metric, *case) for metric in (expected_calibration_error, classwise_calibration_error) for case in OPTIONS]
    + [
        (metric, *case)
        for metric in (maximum_calibration_error, debiased_calibration_error, reliability_curve)
        for case in OPTIONS[:2]
    ],
)
def test_wrong_options_are_named(metric, option, message):
    with pytest.raises(ValueError, match=message):
        metric(PROBS, TARGETS, **option)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_reliability_curve_agrees_with_loops(strategy):
    probs, targets = drawn()
    curve = reliability_curve(probs, targets, n_bins=8, strategy=strategy)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == targets
    assert len(curve.edges) == 9
    for i, (low, high) in enumerate(itertools.pairwise(curve.edges)):
        rows = (low < confidence) & (confidence <= high)
        assert curve.counts[i] == rows.sum()
        if rows.any():
            expected = (confidence[rows].mean(), right[rows].mean())
            assert (curve.confidence[i], curve.accuracy[i]) == pytest.approx(expected)
        else:
            assert np.isnan([curve.confidence[i], curve.accuracy[i]]).all()
    assert strategy == "uniform" or curve.counts.min() > 50


@pytest.mark.parametrize("classes", [2, 4])
def test_bootstrap_intervals_are_those_of_the_metrics_on_resampled_rows(classes):
    probs, targets = drawn(rows=60, classes=classes)
    random = np.random.default_rng(3)
    rows = [random.integers(60, size=(1, 60))[0] for _ in range(200)]
    intervals = bootstrap_intervals(probs, targets, n_resamples=200, seed=3, level=0.8)
    for metric in USUAL:
        samples = sorted(metric(probs[chosen], targets[chosen]) for chosen in rows)
        value, low, high = intervals[metric.__name__]
        assert value == metric(probs, targets)
        assert (low, high) == pytest.approx((samples[19], samples[179]), abs=1e-12)


def test_the_interval_of_the_accuracy_is_as_wide_as_theory_has_it():
    right = np.arange(2000) % 10 > 0
    value, low, high = bootstrap_intervals(np.full(2000, 0.9), right.astype(int))["accuracy"]
    assert value == 0.9
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.9 * 0.1 / 2000), rel=0.1)


def test_seeds():
    once = bootstrap_intervals(*drawn())
    assert bootstrap_intervals(*drawn()) == once
    assert bootstrap_intervals(*drawn(), seed=1) != once


def test_bootstrap_takes_any_metric():
    probs, targets = drawn(rows=40, classes=3)

    def in_five_bins(p, y):
        return expected_calibration_error(p, y, n_bins=5)

    intervals = bootstrap_intervals(probs, targets, metrics=[*METRICS, in_five_bins], n_resamples=30, level=0.8)
    assert list(intervals) == [*(metric.__name__ for metric in METRICS), "in_five_bins"]
    random = np.random.default_rng(0)
    rows = [random.integers(40, size=40) for _ in range(30)]
    for metric in [*METRICS, in_five_bins]:
        value, low, high = intervals[metric.__name__]
        samples = sorted(metric(probs[chosen], targets[chosen]) for chosen in rows)
        assert value == metric(probs, targets)
        assert (low, high) == pytest.approx((samples[2], samples[26]), abs=1e-12)


def test_an_infinite_loss_has_an_interval_without_nan():
    value, low, high = bootstrap_intervals([[1.0, 0.0], [0.5, 0.5]] * 5, [1, 0] + [0, 0] * 4)["log_loss"]
    assert (value, high) == (np.inf, np.inf)
    assert low == pytest.approx(np.log(2) * 0.5, abs=0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"level": 1.0}, r"level must lie in \(0, 1\), got 1.0"), ({"n_resamples": 0}, "n_resamples must be at least 1")],
)
def test_bootstrap_names_a_wrong_option(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(PROBS, TARGETS, **options)


# The other calibration errors.


@pytest.mark.parametrize("n_bins", [1, 3, 15])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_maximum_is_that_of_the_norm(n_bins, strategy):
    options = {"n_bins": n_bins, "strategy": strategy}
    expected = expected_calibration_error(*drawn(), norm="max", **options)
    assert maximum_calibration_error(*drawn(), **options) == expected


@pytest.mark.parametrize("n_bins", [1, 2, 7, 15, 100])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_classwise_error_agrees_with_loops(n_bins, norm, strategy, dtype):
    probs, targets = drawn(rows=200)
    probs[:5] = np.eye(4)[[0, 1, 2, 3, 0]]  # probabilities of exactly 0 and 1
    probs[5:7] = [0.2, 0.2, 0.4, 0.2]  # and on edges
    probs = probs.astype(dtype).astype(float)
    gaps, weights = [], []
    for k in range(4):
        column = probs[:, k]
        edges = np.arange(n_bins + 1) / n_bins
        if strategy == "quantile":
            edges = np.quantile(column, edges)
        edges[0], edges[-1] = -1, 2
        for low, high in itertools.pairwise(edges):
            rows = (low < column) & (column <= high)
            if rows.any():
                gaps.append(abs(column[rows].mean() - (targets[rows] == k).mean()))
                weights.append(rows.sum() / 800)
    gaps, weights = np.array(gaps), np.array(weights)
    expected = {"l1": weights @ gaps, "l2": np.sqrt(weights @ gaps**2), "max": gaps.max()}[norm]
    error = classwise_calibration_error(probs.astype(dtype), targets, n_bins=n_bins, strategy=strategy, norm=norm)
    assert error == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_debiased_error_agrees_with_loops(strategy):
    probs, targets = drawn(rows=150)
    curve = reliability_curve(probs, targets, n_bins=10, strategy=strategy)
    total = 0
    for low, high in itertools.pairwise(curve.edges):
        rows = (low < probs.max(axis=1)) & (probs.max(axis=1) <= high)
        n = int(rows.sum())
        if n > 1:
            right = (probs.argmax(axis=1) == targets)[rows].mean()
            total += n / 150 * ((probs.max(axis=1)[rows].mean() - right) ** 2 - right * (1 - right) / (n - 1))
    error = debiased_calibration_error(probs, targets, n_bins=10, strategy=strategy)
    assert error == pytest.approx(np.sqrt(total), abs=1e-12)


def test_the_debiased_error_of_a_calibrated_model_is_about_zero_on_average_and_the_plain_one_is_not():
    plain, debiased = [], []
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0.5, 1, 100)
        targets = (rng.random(100) < p).astype(int)
        plain.append(expected_calibration_error(p, targets, norm="l2"))
        debiased.append(debiased_calibration_error(p, targets))
    assert np.mean(plain) > 0.1
    assert np.median(debiased) < 0.05


def test_the_debiased_error_of_rows_alone_in_their_bins_is_zero():
    assert debiased_calibration_error([0.55, 0.95], [0, 0]) == 0


def test_smooth_error_of_the_logistic_regression_of_the_paper_s_kind():
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, train_test_split

    X, y = make_classification(700, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=400, random_state=0)
    # What LogisticRegressionCV() does, whose options change from one version of scikit-learn to the next.
    search = GridSearchCV(LogisticRegression(), {"C": np.logspace(-4, 4, 10)}, cv=5, scoring="accuracy")
    probs = search.fit(X_train, y_train).predict_proba(X_test)
    assert smooth_calibration_error(probs, y_test) == pytest.approx(0.1337, abs=0.0005)
    assert smooth_calibration_error(probs[:, 1], y_test) == pytest.approx(0.1337, abs=0.0005)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("rows", "classes", "sharpness"), [(1, 3, 1), (50, 2, 30), (500, 5, 2), (5000, 2, 1), (20000, 9, 1)]
)
@pytest.mark.parametrize("calibrated", [False, True])
def test_smooth_error_is_that_of_relplot(rows, classes, sharpness, calibrated):
    relplot = pytest.importorskip("relplot")
    rng = np.random.default_rng(rows)
    probs = softmax(rng.normal(size=(rows, classes)) * sharpness)
    targets = rng.integers(0, classes, rows)
    if calibrated:
        targets = (probs.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)
    if classes == 2:
        pairs = probs[:, 1], (targets == 1) * 1.0
    else:
        pairs = probs.max(axis=1), (probs.argmax(axis=1) == targets) * 1.0
    assert smooth_calibration_error(probs, targets) == pytest.approx(relplot.smECE(*pairs), rel=1e-9)


def test_smooth_error_of_a_confident_model_that_is_always_wrong():
    assert smooth_calibration_error([[1.0, 0.0, 0.0]] * 5, [1] * 5) == pytest.approx(1, abs=0.01)


# Abstaining.


def test_risk_coverage_curve_agrees_with_loops():
    probs, targets = drawn(rows=80, classes=3)
    probs = probs.round(1)
    probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]  # many ties
    probs = np.clip(probs, 0, 1)
    curve = risk_coverage_curve(probs, targets)
    confidence, wrong = probs.max(axis=1), probs.argmax(axis=1) != targets
    assert curve.thresholds.tolist() == sorted(set(confidence.tolist()), reverse=True)
    assert len(curve.thresholds) < 30
    for threshold, coverage, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        answered = confidence >= threshold
        assert (coverage, risk) == pytest.approx((answered.mean(), wrong[answered].mean()))
    orders = []
    rng = np.random.default_rng(0)
    for _ in range(2000):  # the expected area over random orders within ties
        order = np.lexsort([rng.random(80), -confidence])
        orders.append((np.cumsum(wrong[order]) / np.arange(1, 81)).mean())
    assert curve.aurc == pytest.approx(np.mean(orders), abs=4 * np.std(orders) / 2000**0.5)


def test_without_ties_the_area_is_the_mean_risk():
    probs, targets = drawn()
    wrong = (probs.argmax(axis=1) != targets)[np.argsort(-probs.max(axis=1))]
    assert aurc(probs, targets) == pytest.approx((np.cumsum(wrong) / np.arange(1, 501)).mean())
    assert risk_coverage_curve(probs, targets).aurc == aurc(probs, targets)


@settings(max_examples=20)
@given(st.permutations(range(12)))
def test_the_order_of_rows_plays_no_part(order):
    probs = softmax(np.tile(np.random.default_rng(0).normal(size=(4, 3)), (3, 1)))
    targets = np.arange(12) % 3
    for metric in METRICS:
        assert metric(probs[order], targets[order]) == pytest.approx(metric(probs, targets), abs=1e-12)


# All at once, and in blocks.


def test_all_scores_are_those_of_the_functions():
    probs, targets = drawn()
    scores = all_scores(probs, targets)
    assert scores == {metric.__name__: metric(probs, targets) for metric in METRICS}
    classes = {"Interval", "ReliabilityCurve", "RiskCoverageCurve"}
    not_numbers = {"all_scores", "bootstrap_intervals", "reliability_curve", "risk_coverage_curve"}
    assert set(scores) == set(metrics.__all__) - classes - not_numbers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_and_threads_change_no_more_than_the_last_bits(dtype, monkeypatch):
    probs, targets = drawn(rows=1000)
    probs = probs.astype(dtype)
    once = all_scores(probs, targets)
    monkeypatch.setattr(_blocks, "BLOCK", 300)
    blocks = all_scores(probs, targets)
    monkeypatch.setattr(_blocks, "PARALLEL", 0)
    assert all_scores(probs, targets) == blocks
    assert blocks == pytest.approx(once, rel=1e-12)


def test_a_wrong_row_is_named_in_whatever_block_it_is(monkeypatch):
    monkeypatch.setattr(_blocks, "BLOCK", 20)
    monkeypatch.setattr(_blocks, "PARALLEL", 0)
    probs, targets = drawn(rows=100)
    for metric in METRICS:
        for wrong, message in ((7.0, r"got 7.0 at position \(57, 1\)"), (0.0, "row 57 sums to")):
            changed = probs.copy()
            changed[57, 1] = wrong
            with pytest.raises(ValueError, match=message):
                metric(changed, targets)


def test_probabilities_are_not_copied():
    probs = np.full((100_000, 50), 0.02, np.float32)
    targets = np.zeros(len(probs), int)
    all_scores(probs[:100], targets[:100])
    tracemalloc.start()
    try:
        all_scores(probs, targets)
        assert tracemalloc.get_traced_memory()[1] < probs.nbytes
    finally:
        tracemalloc.stop()
