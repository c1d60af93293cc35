import numpy as np
import pytest

from softmax.decisions import decide, top_k

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
