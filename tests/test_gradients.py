"""The gradient of the cross-entropy against differences in high precision, and what a gradient must be."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import BITS, DTYPES, VOLUME, errors_in_ulp, same_bits
from slices import INF, NAN

from softmax import cross_entropy, softmax, value_and_grad

examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(40 * VOLUME) + 5)


def loss_by_mpmath(logits, targets, weights, mean):
    """The definition: sum of weights times log(sum(exp(x))) - x_target, divided by the weights' sum for the mean."""
    total = mpmath.mpf(0)
    for row, target, weight in zip(logits, targets, weights, strict=True):
        total += weight * (mpmath.log(mpmath.fsum(map(mpmath.exp, row))) - row[target])
    return total / mpmath.fsum(weights) if mean else total


def gradient_by_differences(logits, targets, weights, mean):
    """Central differences with a step of 2^-100: exact to 2^-200 or so."""
    with mpmath.workprec(3 * BITS):
        rows = [[mpmath.mpf(float(v)) for v in row] for row in logits]
        weights = [mpmath.mpf(float(w)) for w in weights]
        step = mpmath.mpf(2) ** -100
        slope = np.empty(logits.shape, object)
        for i, j in np.ndindex(logits.shape):
            sides = []
            for sign in (1, -1):
                moved = [list(row) for row in rows]
                moved[i][j] += sign * step
                sides.append(loss_by_mpmath(moved, targets, weights, mean))
            difference = (sides[0] - sides[1]) / (2 * step)
            slope[i, j] = difference if abs(difference) > step**6 else mpmath.mpf(0)  # what is left of an exact 0
        return slope


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_the_gradient_is_the_slope_of_the_loss(dtype, data):
    """Of the definition, not of the implementation: weights, mean and sum included."""
    rows, classes = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    x = data.draw(hnp.arrays(dtype, (rows, classes), elements=st.floats(-60, 60, width=32)))
    targets = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    weights = data.draw(st.none() | hnp.arrays(np.float64, rows, elements=st.sampled_from([0.25, 1.0, 3.0])))
    mean = data.draw(st.booleans())
    options = {"sample_weight": weights, "reduction": "mean" if mean else "sum"}
    slope = value_and_grad(cross_entropy)(x, targets, **options)[1]
    expected = gradient_by_differences(x, targets, np.ones(rows) if weights is None else weights, mean)
    assert slope.dtype == dtype
    assert errors_in_ulp(slope, expected).max() <= 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_is_probabilities_minus_the_target(dtype):
    x = np.random.default_rng(0).normal(0, 3, (20, 9)).astype(dtype)
    targets = np.arange(20) % 9
    slope = value_and_grad(cross_entropy)(x, targets, reduction="sum")[1]
    np.testing.assert_allclose(slope + np.eye(9)[targets], softmax(x), rtol=1e-5, atol=1e-7)
    assert (np.sign(slope) == 1 - 2 * np.eye(9)[targets]).all()


@pytest.mark.parametrize("size", [1, 2, 3, 16, 17, 100, 4097])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_sums_to_zero(size, dtype):
    """Up to the rounding of its entries: a shift of all logits changes no loss."""
    x = np.random.default_rng(size).normal(0, 4, (30, size)).astype(dtype)
    targets = np.random.default_rng(1).integers(0, size, 30)
    slope = value_and_grad(cross_entropy)(x, targets, reduction="sum")[1].astype(np.longdouble)
    assert (abs(slope.sum(axis=-1)) <= 2 * np.finfo(dtype).eps * abs(slope).sum(axis=-1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_confident_gradient_keeps_its_digits(dtype):
    """p - 1 at the target is minus the others' share, far below where 1 - p rounds to 0."""
    for gap in (20, 40, 80):
        slope = value_and_grad(cross_entropy)(np.array([gap, 0, -1], dtype), 0)[1]
        others = np.exp(-gap) + np.exp(-gap - 1)
        np.testing.assert_allclose(slope[0], -others / (1 + others), rtol=2 * np.finfo(dtype).eps)
        np.testing.assert_allclose(slope[1:].sum(), others / (1 + others), rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"reduction": "none"},
        {"ignore_index": 2},
        {"sample_weight": np.arange(7.0)},
        {"class_weight": np.arange(5.0)},
    ],
)
@pytest.mark.parametrize("dtype", [np.float16, *DTYPES, np.longdouble])
def test_the_value_is_the_loss(dtype, options):
    """To the bit; the gradient has the shape and dtype of the logits."""
    x = np.random.default_rng(0).normal(0, 3, (7, 5)).astype(dtype)
    targets = np.array([0, 4, 2, 2, 1, 3, 0])
    loss, slope = value_and_grad(cross_entropy)(x, targets, **options)
    assert same_bits(loss, cross_entropy(x, targets, **options))
    assert slope.dtype == dtype
    assert slope.shape == x.shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_scale_the_gradient(dtype):
    """Without a reduction it is that of the sum; for the mean, divided by the weights' sum."""
    x = np.random.default_rng(0).normal(0, 3, (8, 5)).astype(dtype)
    targets, weight = np.arange(8) % 5, np.linspace(0.5, 2.25, 8)
    gradient = {
        reduction: value_and_grad(cross_entropy)(x, targets, sample_weight=weight, reduction=reduction)[1]
        for reduction in ("none", "sum", "mean")
    }
    assert same_bits(gradient["none"], gradient["sum"])
    np.testing.assert_allclose(gradient["mean"], gradient["sum"] / weight.sum(), rtol=4 * np.finfo(dtype).eps)
    single = np.stack([value_and_grad(cross_entropy)(row, t)[1] for row, t in zip(x, targets, strict=True)])
    np.testing.assert_allclose(gradient["sum"], single * weight[:, None], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "weights"), [(np.float32, (1e-25, 1e-30, 1e25)), (np.float64, (1e-280, 1e280))])
def test_small_and_large_weights_keep_the_digits(dtype, weights):
    """A weight scales the gradient, as far as the dtype reaches."""
    x = np.array([[1, 2, 3]], dtype)
    slope = value_and_grad(cross_entropy)(x, [0], reduction="sum")[1].astype(np.longdouble)
    for weight in weights:
        scaled = value_and_grad(cross_entropy)(x, [0], sample_weight=[weight], reduction="sum")[1]
        np.testing.assert_allclose(scaled, slope * weight, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_weight_does_not_raise_what_is_zero(dtype):
    """e^-2000 is 0 in float64, and 0 times 1e30 too."""
    loss, slope = value_and_grad(cross_entropy)(
        np.array([[0, -2000]], dtype), [0], sample_weight=[1e30], reduction="sum"
    )
    assert loss == 0
    assert slope.tolist() == [[0, 0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_logits_have_a_gradient(dtype):
    """0 at -inf, whose probability does not move; a share of the winners at +inf; NaN in its own row alone."""
    x = np.array([[0, -INF, 1], [-INF, -INF, 3], [INF, 0, 1], [INF, INF, 1], [NAN, 0, 1], [0, 0, 0]], dtype)
    loss, slope = value_and_grad(cross_entropy)(x, [0, 2, 0, 1, 1, 0], reduction="none")
    p = 1 / (1 + np.exp(-1))
    expected = [[-p, 0, p], [0, 0, 0], [0, 0, 0], [0.5, -0.5, 0], [NAN] * 3, [-2 / 3, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(slope, expected, rtol=4 * np.finfo(dtype).eps)
    assert slope[0, 1] == 0
    np.testing.assert_allclose(loss, [np.log1p(np.e), 0, 0, np.log(2), NAN, np.log(3)], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_share_the_gradient(dtype):
    slope = value_and_grad(cross_entropy)(np.full((1, 4), 2.5, dtype), [1])[1]
    np.testing.assert_allclose(slope, [[0.25, -0.75, 0.25, 0.25]], rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("function", [np.sin, softmax, len, None, [], "cross_entropy"])
def test_a_function_without_a_rule_is_refused(function):
    with pytest.raises(TypeError, match=r"^function must be a loss of softmax \(cross_entropy\), got "):
        value_and_grad(function)


def test_a_refusal_names_the_function():
    with pytest.raises(TypeError, match=r"got sin$"):
        value_and_grad(np.sin)
    with pytest.raises(TypeError, match=r"got \[1\]$"):
        value_and_grad([1])
