import numpy as np
import pytest
import scipy.stats

from softmax import decisions, softmax
from softmax.decisions import ConformalSets, decide, top_k

PROBS = np.array([[0.6, 0.3, 0.1], [0.2, 0.35, 0.45], [0.05, 0.9, 0.05]])


def test_decides_for_the_most_probable_class():
    assert decide(PROBS).tolist() == [0, 2, 1]
    assert decide(PROBS).dtype == np.intp


def test_the_first_class_wins_a_tie():
    assert decide([[0.4, 0.4, 0.2]]).tolist() == [0]
    assert decide([0.5]).tolist() == [0]


def test_one_column_is_the_second_of_two_classes():
    assert decide([0.2, 0.8]).tolist() == [0, 1]


def test_costs_are_truth_by_decision():
    # Deciding for class 0 where 2 is the truth is the one error that matters: row 0 leaves class 0, nothing else moves.
    costs = 1.0 - np.eye(3)
    costs[2, 0] = 10
    assert decide(PROBS, costs=costs).tolist() == [1, 2, 1]
    assert decide(PROBS, costs=costs.T).tolist() == [0, 1, 1]


def test_the_decision_has_the_least_expected_cost():
    rng = np.random.default_rng(0)
    costs = rng.random((3, 3))
    probs = rng.dirichlet(np.ones(3), 50)
    for p, j in zip(probs, decide(probs, costs=costs), strict=True):
        expected = [sum(p[i] * costs[i, k] for i in range(3)) for k in range(3)]
        assert expected[j] == min(expected)


def test_even_costs_change_nothing():
    assert (decide(PROBS, costs=1 - np.eye(3)) == decide(PROBS)).all()


def test_abstains_below_and_not_at_the_threshold():
    assert decide(PROBS, abstain_below=0.6).tolist() == [0, -1, 1]
    assert decide(PROBS, abstain_below=0.0).tolist() == [0, 2, 1]
    assert decide(PROBS, abstain_below=1.0).tolist() == [-1, -1, -1]


def test_abstaining_looks_at_the_largest_probability_whatever_the_costs():
    costs = [[0, 9, 9], [0, 9, 9], [0, 9, 9]]
    assert decide(PROBS, costs=costs, abstain_below=0.5).tolist() == [0, -1, 0]


def test_input_is_left_alone():
    probs = PROBS.copy()
    probs.setflags(write=False)
    decide(probs, costs=np.ones((3, 3)), abstain_below=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"abstain_below": 1.5}, r"abstain_below must lie in \[0, 1\], got 1.5"),
        ({"abstain_below": float("nan")}, "got nan"),
        ({"costs": [[0, 1], [1, 0]]}, r"costs must have shape \(3, 3\).*\(2, 2\)"),
        ({"costs": np.full((3, 3), np.inf)}, "costs must be finite"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        decide(PROBS, **options)


def test_logits_are_not_taken_for_probabilities():
    with pytest.raises(ValueError, match="apply softmax to logits first"):
        decide([[3.0, -1.0]])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_k_in_descending_order(k):
    indices, probs = top_k(PROBS, k)
    assert indices.tolist() == [[0, 1, 2][:k], [2, 1, 0][:k], [1, 0, 2][:k]]
    assert (probs == np.take_along_axis(PROBS, indices, axis=1)).all()


def test_top_k_takes_the_lower_index_first_in_a_tie():
    assert top_k([0.2, 0.3, 0.2, 0.3], 4)[0].tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_top_k_of_many_classes_is_that_of_sorting(floor):
    scores = np.random.default_rng(0).integers(0, 300, (20, 500)) / 64  # ties
    scores[0] = floor
    scores[1, 7:] = floor
    indices, values = top_k(scores, 5)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    assert (indices == expected).all()
    assert (values == np.take_along_axis(scores, expected, axis=1)).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_top_k_keeps_the_dtype(dtype):
    indices, values = top_k(np.array([1, 3, 0, 2], dtype), 2)
    assert (indices.tolist(), values.tolist(), values.dtype) == ([1, 3], [3, 2], dtype)


def test_top_k_works_along_the_last_axis():
    x = np.random.default_rng(0).random((2, 3, 5))
    indices, values = top_k(x, 2)
    assert indices.shape == values.shape == (2, 3, 2)
    for i in np.ndindex(2, 3):
        assert values[i].tolist() == sorted(x[i], reverse=True)[:2]


@pytest.mark.parametrize(
    ("probs", "k", "message"),
    [
        (PROBS, 0, r"k must lie in \[1, 3\].*got 0"),
        (PROBS, 4, "got 4"),
        (0.5, 1, "single number"),
        ([0.5, np.nan], 1, r"NaN, got one at position \(1,\)"),
    ],
)
def test_wrong_top_k_is_named(probs, k, message):
    with pytest.raises(ValueError, match=message):
        top_k(probs, k)


# Conformal sets.

METHODS = ["lac", "aps", "raps"]
VARIANTS = [("lac", False), ("aps", False), ("aps", True), ("raps", False), ("raps", True)]
OPTIONS = {"penalty": 0.05, "k_reg": 2}


def drawn(rows, seed, classes=6):
    """Probabilities of a model that is too sure of itself, and targets."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, classes)) * 2
    targets = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return softmax(logits, temperature=0.6), targets


def test_all_names_what_is_public():
    ours = {name for name, value in vars(decisions).items() if getattr(value, "__module__", "") == decisions.__name__}
    assert set(decisions.__all__) == {name for name in ours if name[0] != "_"} - {"Uniform"}


@pytest.mark.parametrize(("method", "randomized"), VARIANTS)
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_coverage_over_200_seeds_is_what_theory_has_it(method, randomized, alpha):
    n, m, seeds, covered = 60, 40, 200, 0
    for seed in range(seeds):
        probs, targets = drawn(n + m, seed)
        sets = ConformalSets(method, alpha, randomized=randomized, never_empty=False, random_state=seed, **OPTIONS).fit(
            probs[:n], targets[:n]
        )
        covered += int(sets.predict(probs[n:])[np.arange(m), targets[n:]].sum())
    # Of n + 1 scores without ties, the target's is at most the k-th smallest with probability k / (n + 1). For a given
    # threshold, the share that is covered has a beta distribution, and the number a beta-binomial one.
    rank = int(np.ceil((n + 1) * (1 - alpha) - 1e-9))
    one = scipy.stats.betabinom(m, rank, n + 1 - rank)
    assert one.mean() / m == pytest.approx(rank / (n + 1))
    assert rank / (n + 1) >= 1 - alpha
    low, high = scipy.stats.norm(seeds * one.mean(), seeds**0.5 * one.std()).interval(0.999)
    assert low <= covered <= high


@pytest.mark.parametrize("method", METHODS)
def test_scores_and_threshold_by_loops(method):
    probs, targets = drawn(30, 1)
    sets = ConformalSets(method, 0.2, never_empty=False, **OPTIONS).fit(probs, targets)

    def score(p, k):
        if method == "lac":
            return 1 - p[k]
        order = sorted(range(len(p)), key=lambda j: -p[j])
        rank = order.index(k) + 1
        return sum(p[j] for j in order[: rank - 1]) + (0.05 * max(0, rank - 2) if method == "raps" else 0)

    scores = sorted(score(p, y) for p, y in zip(probs, targets, strict=True))
    threshold = scores[25 - 1]  # (30 + 1) * 0.8 = 24.8
    assert sets.threshold_ == pytest.approx(threshold, rel=1e-14)
    new = drawn(50, 2)[0]
    expected = [[score(p, k) <= threshold for k in range(6)] for p in new]
    assert sets.predict(new).tolist() == expected
    assert sets.predict(new).dtype == bool


@pytest.mark.parametrize(
    ("rows", "alpha", "rank"), [(9, 0.1, 9), (8, 0.1, None), (99, 0.05, 95), (19, 0.05, 19), (4, 0.5, 3), (9, 0.7, 3)]
)
def test_the_threshold_is_the_score_of_the_right_rank(rows, alpha, rank):
    probs = np.linspace(0.05, 0.95, rows)
    sets = ConformalSets("lac", alpha).fit(probs, np.ones(rows, int))
    if rank is None:
        assert sets.threshold_ == np.inf
        assert sets.predict([0.5, 1.0]).all()
    else:
        assert sets.threshold_ == pytest.approx(np.sort(1 - probs)[rank - 1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_sets_are_those_of_mapie(method, alpha):
    pytest.importorskip("mapie")
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(6)

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            return X

        def predict(self, X):
            return X.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    (probs, targets), (new, _) = drawn(123, 3), drawn(77, 4)
    theirs = SplitConformalClassifier(
        Given(), confidence_level=1 - alpha, conformity_score=method, prefit=True, random_state=5
    ).conformalize(probs, targets)
    options = {} if method == "lac" else {"conformity_score_params": {"include_last_label": "randomized"}}
    expected = theirs.predict_set(new, **options)[1][:, :, 0]
    sets = ConformalSets(method, alpha, randomized=method == "aps", never_empty=False)
    sets.random_state = np.random.RandomState(5)  # MAPIE begins anew for predictions
    sets.fit(probs, targets)
    sets.random_state = np.random.RandomState(5)
    assert (sets.predict(new) == expected).all()
    assert 0 < expected.mean() < 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_lac_is_the_conformal_classifier_of_crepes(alpha):
    crepes = pytest.importorskip("crepes")
    from crepes.extras import hinge

    (probs, targets), (new, _) = drawn(123, 3), drawn(77, 4)
    theirs = crepes.ConformalClassifier().fit(hinge(probs, np.arange(6), targets))
    expected = theirs.predict_set(hinge(new), confidence=1 - alpha, smoothing=False)
    sets = ConformalSets("lac", alpha, never_empty=False).fit(probs, targets)
    assert (sets.predict(new) == np.asarray(expected, bool)).all()


def test_raps_without_a_penalty_or_with_few_classes_is_aps():
    (probs, targets), (new, _) = drawn(100, 0), drawn(100, 1)
    aps = ConformalSets("aps").fit(probs, targets).predict(new)
    assert (ConformalSets("raps", penalty=0).fit(probs, targets).predict(new) == aps).all()
    assert (ConformalSets("raps", k_reg=6).fit(probs, targets).predict(new) == aps).all()
    assert (ConformalSets("raps", penalty=0.5, k_reg=1).fit(probs, targets).predict(new) != aps).any()


def test_raps_makes_the_largest_sets_smaller():
    (probs, targets), (new, _) = drawn(2000, 0, classes=50), drawn(500, 1, classes=50)
    sizes = {
        method: ConformalSets(method, 0.05).fit(probs, targets).predict(new).sum(axis=1).max()
        for method in ("aps", "raps")
    }
    assert sizes["raps"] < sizes["aps"]


@pytest.mark.parametrize(("method", "randomized"), VARIANTS)
def test_never_empty_adds_the_most_probable_class_and_nothing_else(method, randomized):
    (probs, targets), (new, _) = drawn(200, 0), drawn(200, 1)
    options = {"randomized": randomized, "random_state": 0}
    plain = ConformalSets(method, 0.6, never_empty=False, **options).fit(probs, targets).predict(new)
    filled = ConformalSets(method, 0.6, **options).fit(probs, targets).predict(new)
    empty = ~plain.any(axis=1)
    assert empty.any() == (method == "lac" or randomized)
    assert (filled[~empty] == plain[~empty]).all()
    assert (filled[empty] == np.eye(6, dtype=bool)[new[empty].argmax(axis=1)]).all()


def test_randomized_sets_are_larger_and_their_seed_is_kept():
    (probs, targets), (new, _) = drawn(2000, 0), drawn(2000, 1)
    plain = ConformalSets("aps").fit(probs, targets).predict(new)
    one = ConformalSets("aps", randomized=True, random_state=1).fit(probs, targets)
    assert one.predict(new).sum() > plain.sum()
    assert (one.predict(new) == one.predict(new)).all()
    other = ConformalSets("aps", randomized=True, random_state=2).fit(probs, targets)
    assert (one.predict(new) != other.predict(new)).any()
    for random_state in (None, np.random.default_rng(1)):
        drawing = ConformalSets("aps", randomized=True, random_state=random_state).fit(probs, targets)
        assert (drawing.predict(new) != drawing.predict(new)).any()


def test_one_seed_draws_other_numbers_for_predictions_than_for_the_threshold():
    probs, targets = drawn(99, 0)
    sets = ConformalSets("aps", randomized=True, never_empty=False, random_state=3).fit(probs, targets)
    covered = sets.predict(probs)[np.arange(99), targets].sum()
    assert covered != 90  # as it would be, to the row, with the numbers that the threshold was found with


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_calibration_rows_is_judged_as_the_others(method):
    probs, targets = drawn(500, 0)
    targets[targets == 3] = 0
    sets = ConformalSets(method).fit(probs, targets)
    assert sets.missing_classes_ == [3]
    sure_of_it = np.eye(6)[[3]] * 0.94 + 0.01
    assert sets.predict(sure_of_it)[0, 3]


def test_one_column_is_the_second_of_two_classes_in_sets():
    p, targets = np.linspace(0.01, 0.99, 50), np.arange(50) > 20
    columns = np.stack([1 - p, p], axis=1)
    for method in METHODS:
        sets = ConformalSets(method).fit(p, targets)
        assert (sets.predict(p) == ConformalSets(method).fit(columns, targets).predict(columns)).all()
        assert sets.predict(p).shape == (50, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "topk"}, "method must be .*got 'topk'"),
        ({"alpha": 0.0}, r"alpha must lie in \(0, 1\), got 0.0"),
        ({"alpha": 1.0}, "got 1.0"),
        ({"penalty": -1.0}, "penalty must be finite and at least 0, got -1.0"),
        ({"k_reg": -1}, "k_reg must be at least 0, got -1"),
    ],
)
def test_wrong_options_of_sets_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ConformalSets(**options).fit(PROBS, [0, 1, 2])


def test_sets_name_wrong_input():
    with pytest.raises(ValueError, match=r"targets must lie in \[0, 3\), got 3"):
        ConformalSets().fit(PROBS, [0, 1, 3])
    with pytest.raises(ValueError, match=r"probs must have 3 classes, as in fit, got shape \(1, 2\)"):
        ConformalSets().fit(PROBS, [0, 1, 2]).predict([[0.5, 0.5]])
    with pytest.raises(AttributeError, match=r"is not there before fit: call ConformalSets\.fit first"):
        ConformalSets().predict(PROBS)
