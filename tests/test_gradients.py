"""Gradients against differences in high precision, and what a gradient must be: of the loss, then of the family."""

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import BITS, DTYPES, VOLUME, WIDE, errors_in_ulp, exact, same_bits
from slices import DEGENERATE, INF, NAN, hard_slices

from softmax import (
    _native,
    cross_entropy,
    entmax,
    hardmax,
    jacobian,
    log_sigmoid,
    log_softmax,
    logsumexp,
    reference,
    sigmoid,
    softmax,
    softmin,
    sparsemax,
    value_and_grad,
    vjp,
)

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


@pytest.mark.parametrize(("dtype", "weights"), [(np.float32, (1e-9, 1e25)), (np.float64, (1e-200, 1e280))])
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
    with pytest.raises(TypeError, match=r"^function must be a loss of softmax \(.*cross_entropy.*\), got "):
        value_and_grad(function)


def test_a_refusal_names_the_function():
    with pytest.raises(TypeError, match=r"got sin$"):
        value_and_grad(np.sin)
    with pytest.raises(TypeError, match=r"got \[1\]$"):
        value_and_grad([1])


# ------------------------------------------------------------------------------------------------- vjp and jacobian

OF_SLICES = (softmax, log_softmax, softmin)
OF_ENTRIES = (sigmoid, log_sigmoid)
FAMILY = (*OF_SLICES, logsumexp, *OF_ENTRIES, sparsemax, entmax)
FAMILY_IN_ORDER = (softmax, log_softmax, logsumexp, softmin, *OF_ENTRIES, sparsemax, entmax)
BOUND = (8, 8)  # ulp of the units that the documentation of vjp names
BOUND_OF_ENTRIES = (4, 4)  # ulp of the result
SIZES = (1, 2, 3, 5, 8, 16, 17, 31, 33, 64, 65, 100, 4097, 20000)


def by_definition(function, row, temperature=1, weights=None):
    """The results for one row of mpmath numbers, of which -inf (softmin: inf) takes no part, as a list."""
    if function in OF_ENTRIES:
        sigmoids = [1 / (1 + mpmath.exp(-v)) for v in row]
        return sigmoids if function is sigmoid else [mpmath.log(v) for v in sigmoids]
    scores = [(-v if function is softmin else v) / temperature for v in row]
    exps = [mpmath.exp(v) for v in scores]
    if function is logsumexp:
        return [mpmath.log(abs(mpmath.fsum(w * e for w, e in zip(weights, exps, strict=True))))]
    total = mpmath.fsum(exps)
    return [mpmath.log(e / total) if function is log_softmax else e / total for e in exps]


def slope_by_differences(function, row, dy, **options):
    """Central differences of sum(dy * function(row)), with a step of 2^-200: exact to 2^-400 or so."""
    with mpmath.workprec(3 * BITS):
        row, dy = ([mpmath.mpf(float(v)) for v in values] for values in (row, dy))
        options = {name: np.vectorize(mpmath.mpf, [object])(value) for name, value in options.items()}
        step = mpmath.mpf(2) ** -200
        slope = np.zeros(len(row), object)
        for i in np.flatnonzero(np.isfinite(np.array(row, np.float64))):
            sides = []
            for sign in (1, -1):
                moved = [v + sign * step if i == j else v for j, v in enumerate(row)]
                y = by_definition(function, moved, **options)
                # What takes no part has log-probability -inf, of which no gradient is taken.
                sides.append(mpmath.fsum(d * v for d, v in zip(dy, y, strict=True) if mpmath.isfinite(v)))
            difference = (sides[0] - sides[1]) / (2 * step)
            slope[i] = difference if abs(difference) > mpmath.mpf(2) ** -450 else mpmath.mpf(0)  # of an exact 0
        return slope


def units(function, probs, log_probs, others, dy, temperature):
    """What the documentation of vjp counts its 4 ulp in, for slices along the last axis of long doubles."""
    top = np.argmax(probs, axis=-1)[..., np.newaxis]
    at_top = np.take_along_axis(dy, top, -1)
    if function is log_softmax:
        dy = np.where(probs == 0, 0, dy)
        rest = np.where(probs > 0.5, (others / (1 + others))[..., np.newaxis], 1 - probs)
        around = abs(dy.sum(axis=-1, keepdims=True) - dy)
        with np.errstate(invalid="ignore"):
            moved = np.where(probs == 0, 0, probs * (1 + abs(log_probs)) * around)
        return (rest * abs(dy) + moved) / temperature
    d = abs(dy - at_top)
    return probs * (d + (probs * d).sum(axis=-1, keepdims=True)) / temperature


def slope_by_formula(function, x, dy, temperature=1.0):
    """(slope, unit) in long double, without cancellation where one entry is near-certain."""
    true = exact(-x if function is softmin else x, temperature)
    probs, others = true.probs, true.others
    dy = dy.astype(WIDE)
    top = np.argmax(probs, axis=-1)[..., np.newaxis]
    unit = units(function, probs, true.log_probs, others, dy, temperature)
    if function is log_softmax:
        dy = np.where(probs == 0, 0, dy)
        hit = np.arange(x.shape[-1]) == top
        at_top = np.take_along_axis(dy, top, -1)
        rest = np.where(hit, 0, dy).sum(axis=-1, keepdims=True)
        share = (others / (1 + others))[..., np.newaxis]
        slope = np.where(hit, dy * share - probs * rest, dy - probs * (rest + at_top))
        return np.where(probs == 0, 0, slope) / temperature, unit
    d = dy - np.take_along_axis(dy, top, -1)
    sign = -1 if function is softmin else 1
    return sign * probs * (d - (probs * d).sum(axis=-1, keepdims=True)) / temperature, unit


@pytest.mark.parametrize("function", OF_SLICES)
@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_the_pullback_is_the_slope_of_the_definition(dtype, function, data):
    """With a mask, a temperature and entries of no probability, by differences in high precision."""
    n = data.draw(st.integers(1, 6))
    x = data.draw(hnp.arrays(dtype, n, elements=st.floats(-30, 30, width=32) | st.just(-INF)))
    x = -x if function is softmin else x
    dy = data.draw(hnp.arrays(dtype, n, elements=st.floats(-1000, 1000, width=32)))
    where = data.draw(hnp.arrays(bool, n, elements=st.sampled_from([True, True, True, False])))
    temperature = data.draw(st.sampled_from([0.7, 1.0, 3.0]))
    y, pullback = vjp(function, x, temperature=temperature, where=where)
    assert same_bits(y, function(x, temperature=temperature, where=where))
    left_out = INF if function is softmin else -INF
    row = np.where(where, x, left_out)
    dx = pullback(dy)
    assert dx.dtype == dtype
    assert (dx[np.isinf(row)] == 0).all()
    if np.isinf(row).all():
        return
    expected = slope_by_differences(function, row, dy, temperature=temperature)
    with np.errstate(invalid="ignore"):  # -inf
        true = exact(-row if function is softmin else row, temperature)
    unit = units(function, true.probs, true.log_probs, true.others, dy.astype(WIDE), temperature)
    assert errors_in_ulp(dx, expected, unit.astype(np.float64)).max() <= BOUND[0]


@pytest.mark.parametrize("function", OF_SLICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pullbacks_of_every_size(dtype, function, tally):
    rng = np.random.default_rng(0)
    with tally:
        for size in SIZES:
            for scale in (0.1, 3):
                for temperature in (1.0, 0.3):
                    rows = max(1, int(2000 * VOLUME) // size)
                    x = rng.normal(0, scale, (rows, size)).astype(dtype)
                    dy = (rng.normal(0, 1, x.shape) * 10.0 ** rng.integers(-2, 2, x.shape)).astype(dtype)
                    dx = vjp(function, x, temperature=temperature)[1](dy)
                    slope, unit = slope_by_formula(function, x, dy, temperature)
                    case = f"{size} entries, N(0, {scale}^2), T={temperature}"
                    tally.add(f"vjp {function.__name__}", dx, slope, BOUND, case, unit)


@pytest.mark.parametrize("function", OF_SLICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_near_certain_slice_keeps_its_digits(dtype, function, tally):
    """However far the others are below: where dy is large at the top, small there, and the same everywhere but one."""
    sign = -1 if function is softmin else 1
    with tally:
        for gap in (0, 1, 17, 18, 40, 60, 80):
            x = sign * np.array([[gap, 0, -1, gap / 2, -3]], dtype)
            for dy in ([1e6, 1, 2, 3, 4], [1, 1e6, -1e6, 2, 3], [7, 7, 7, 7, 7], [7, 7, 8, 7, 7], [1, 0, 0, 0, 0]):
                dy = np.array([dy], dtype)
                slope, unit = slope_by_formula(function, x, dy)
                dx = vjp(function, x)[1](dy)
                tally.add(f"vjp {function.__name__}", dx, slope, BOUND, f"{x}, {dy}", unit)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_the_pullback_of_logsumexp(dtype, data):
    """With weights of either sign; where they cancel, the error grows with what is lost."""
    n = data.draw(st.integers(1, 6))
    x = data.draw(hnp.arrays(dtype, n, elements=st.floats(-30, 30, width=32) | st.just(-INF)))
    weights = data.draw(st.none() | hnp.arrays(np.float64, n, elements=st.sampled_from([1.0, 0.5, -2.0, 3.0, 0.0])))
    w = np.ones(n) if weights is None else weights
    dy = dtype(data.draw(st.floats(-1000, 1000, width=32)))
    y, pullback = vjp(logsumexp, x, weights=weights, return_sign=True)
    assert same_bits(y, logsumexp(x, weights=weights, return_sign=True))
    dx = pullback(dy)
    assert (dx[(w == 0) | np.isinf(x)] == 0).all()
    with np.errstate(under="ignore"):
        terms = w * np.exp(np.float64(x))
    if terms.sum() == 0:
        return
    expected = slope_by_differences(logsumexp, x, [dy], weights=w)
    lost = abs(terms).sum() / abs(terms.sum())
    assert errors_in_ulp(dx, expected).max() <= BOUND_OF_ENTRIES[0] * lost


@pytest.mark.parametrize("power", [0, 0.5, 1, 0.7, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_are_powers_of_the_probabilities(dtype, power):
    """As entmax has them: 2 - alpha. What is not in the support takes no part, whatever its dy."""
    for size in (1, 3, 9, 40, 5000):
        rng = np.random.default_rng(size)
        y = rng.uniform(0.05, 1, (3, size)).astype(dtype)
        y[:, 1::3] = 0
        dy = np.where(y == 0, dtype(NAN), rng.normal(0, 1, y.shape).astype(dtype))
        dx = _native.softmax_vjp(y, dy, power, 0.5)
        support = y[0] > 0
        w, d = y[0, support].astype(WIDE) ** power, dy[0, support].astype(WIDE)
        expected = w * (d - (w * d).sum() / w.sum()) / 0.5
        tolerance = 4 * float(np.finfo(dtype).eps) * float(w.max() * abs(d).max())
        np.testing.assert_allclose(dx[0, support].astype(float), expected.astype(float), atol=tolerance)
        assert (dx[y == 0] == 0).all()
        np.testing.assert_allclose(dx, reference.softmax_vjp(y, dy, power, 0.5), atol=tolerance * 10)


@pytest.mark.parametrize("function", OF_ENTRIES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_pullbacks_of_elementwise_functions(dtype, function, tally):
    x = np.array([0, 1e-30, 1, -1, 5, -5, 17, -17, 40, -40, 80, -80, 3.3], dtype)
    dy = np.linspace(-3, 7, len(x)).astype(dtype)
    y, pullback = vjp(function, x)
    assert same_bits(y, function(x))
    expected = np.concatenate([slope_by_differences(function, [v], [d]) for v, d in zip(x, dy, strict=True)])
    with tally:
        tally.add(f"vjp {function.__name__}", pullback(dy), expected, BOUND_OF_ENTRIES, "hard entries")
    ends = np.array([INF, -INF, NAN], dtype)
    np.testing.assert_array_equal(vjp(function, ends)[1](dy[:3]), [0, 0 if function is sigmoid else dy[1], NAN])
    assert vjp(function, dtype(1))[1](dtype(2)).shape == ()
    assert same_bits(vjp(function, np.ma.array(x[:2], mask=[True, False]))[1](dy[:2])[1], pullback(dy)[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_elementwise_pullbacks_are_entry_by_entry(dtype):
    x = np.random.default_rng(0).normal(0, 5, 100_001).astype(dtype)
    for function in OF_ENTRIES:
        whole = vjp(function, x)[1](x)
        assert same_bits(whole[::997], vjp(function, x[::997])[1](x[::997]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [INF, -INF, NAN, 1e30])
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_what_has_no_probability_has_no_gradient(function, bad, dtype):
    """Exactly 0, whatever dy holds there, and what dy holds there reaches no other entry."""
    for size in (5, 70, 9001):
        rng = np.random.default_rng(size)
        x, dy = rng.normal(0, 2, size).astype(dtype), rng.normal(0, 2, size).astype(dtype)
        none = np.arange(size) % 3 == 1
        hidden = np.where(none, dtype(NAN), x)
        for scores, options in ((np.where(none, dtype(-INF), x), {}), (hidden, {"where": ~none})):
            _, pullback = vjp(function, scores, **options)
            dx = pullback(np.where(none, dtype(bad), dy))
            assert (dx[none] == 0).all()
            assert same_bits(dx, pullback(np.where(none, dtype(0), dy)))
            left = vjp(function, x[~none])[1](dy[~none])
            np.testing.assert_allclose(dx[~none], left, rtol=1e-4, atol=1e-5)
    x = np.array([0, -20000, 1], dtype)  # a probability that rounds to 0
    if function is softmax:
        assert vjp(function, x)[1](np.array([1, bad, 2], dtype))[1] == 0


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_slices(name, dtype):
    """A NaN stays in its slice; an entry of probability 0 has gradient 0; at temperature 0 and inf all have."""
    entries, options, probs, _, total = DEGENERATE[name]
    temperature = options.get("temperature", 1)
    where = options.get("where", True)
    x = np.stack([np.array(entries, dtype), np.arange(len(entries)).astype(dtype)])
    options = {**options, "where": np.stack([np.broadcast_to(where, len(entries)), np.ones(len(entries), bool)])}
    dy = np.stack([np.arange(1, len(entries) + 1), np.ones(len(entries))]).astype(dtype)
    for function in (softmax, log_softmax):
        dx = vjp(function, x, **options)[1](dy)
        assert np.isfinite(dx[1]).all()
        if np.isnan(probs).any():
            assert np.isnan(dx[0]).all()
            continue
        assert (dx[0][np.equal(probs, 0)] == 0).all()
        p, d = np.array(probs, float), dy[0].astype(float)
        if temperature in (0, INF):
            expected = 0 * p
        elif function is softmax:
            expected = p * (d - (p * d).sum()) / temperature
        else:
            expected = np.where(p == 0, 0, d - p * d[p > 0].sum()) / temperature
        np.testing.assert_allclose(dx[0], expected, rtol=1e-6, atol=1e-7)
    if total is not None:
        shares = vjp(logsumexp, x, where=options["where"])[1](np.array([2, 1], dtype))[0]
        np.testing.assert_allclose(shares, 2 * np.array(probs, float), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_slices_have_finite_gradients(dtype):
    for name, entries in hard_slices(dtype).items():
        x = np.array(entries, dtype)
        for function in (softmax, log_softmax, logsumexp):
            y, pullback = vjp(function, x)
            dx = pullback(np.linspace(-2, 3, y.size).astype(dtype).reshape(y.shape))
            assert np.isfinite(dx).all(), (name, function)
            if function is not logsumexp:
                step = x.size * WIDE(np.finfo(dtype).smallest_subnormal)
                off = abs(dx.sum(dtype=WIDE))
                assert off <= 16 * np.finfo(dtype).eps * abs(dx).sum(dtype=WIDE) + step, (name, function)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, ml_dtypes.bfloat16, *DTYPES, np.longdouble])
@pytest.mark.parametrize("function", FAMILY)
def test_every_dtype(function, dtype):
    """dx has x's floating dtype; narrow ones are computed in float32 and rounded once."""
    x = np.array([[0, 1, 1], [3, 0, 2]]).astype(dtype)
    y, pullback = vjp(function, x)
    assert same_bits(y, function(x))
    dy = np.linspace(0.3, 1.7, y.size).reshape(y.shape)
    floating = np.dtype(np.float64) if x.dtype.kind in "biu" else x.dtype
    wide = np.dtype(np.float32) if floating.itemsize == 2 else floating
    dx = pullback(dy)
    assert dx.dtype == floating
    assert same_bits(dx, vjp(function, x.astype(wide))[1](dy).astype(floating))
    assert same_bits(dx, pullback(dy))
    assert jacobian(function)(x).dtype == floating
    reference = vjp(function, x.astype(np.longdouble))[1](dy)
    np.testing.assert_allclose(dx.astype(float), reference.astype(float), rtol=4 * float(ml_dtypes.finfo(floating).eps),
                               atol=2 * float(ml_dtypes.finfo(floating).eps))  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3, (0, 2), (1, 0), (-1, 0, 1), None, ()])
@pytest.mark.parametrize("function", [*OF_SLICES, logsumexp])
def test_every_axis(function, axis):
    """As the slices would be, moved to the end and made one; to the bit."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (3, 4, 5)).astype(np.float32)
    keep = rng.random(x.shape) < 0.8
    axes = tuple(range(3)) if axis is None else tuple(np.sort(np.atleast_1d(np.array(axis, int)) % 3))
    rest = [a for a in range(3) if a not in axes]

    def slices(a):
        return a.transpose([*rest, *axes]).reshape(*(a.shape[i] for i in rest), -1)

    y, pullback = vjp(function, x, axis, where=keep)
    assert same_bits(y, function(x, axis, where=keep))
    dy = rng.normal(0, 1, y.shape).astype(np.float32)
    expected = vjp(function, slices(x), where=slices(keep))[1](dy if function is logsumexp else slices(dy))
    dx = pullback(dy)
    assert dx.shape == x.shape
    assert same_bits(slices(dx), expected)
    assert same_bits(jacobian(function)(x, axis, where=keep), jacobian(function)(slices(x), where=slices(keep)))


@pytest.mark.parametrize("function", FAMILY)
def test_memory_layout_changes_no_bit(function):
    """Read-only, with negative strides, unaligned, byte-swapped, broadcast; neither x nor dy is written to."""
    for size in (7, 100):
        x = np.random.default_rng(0).normal(0, 2, (6, size)).astype(np.float32)
        y, pullback = vjp(function, x)
        dy = np.random.default_rng(1).normal(0, 2, y.shape).astype(np.float32)
        expected = pullback(dy)
        for name, view in {
            "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
            "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
            "columns": lambda a: np.asfortranarray(a),
            "unaligned": lambda a: np.frombuffer(b"1" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
            "swapped": lambda a: a.astype(">f4"),
        }.items():
            dx = vjp(function, view(x))[1](view(dy))
            assert same_bits(dx.astype(np.float32), expected), name
        assert same_bits(vjp(function, np.broadcast_to(x[0], x.shape))[1](dy)[0], vjp(function, x[0])[1](dy[0]))
        assert same_bits(pullback(dy), expected)


@pytest.mark.parametrize("function", FAMILY)
def test_nothing_to_differentiate(function):
    for shape in ((0,), (3, 0), (0, 3)):
        y, pullback = vjp(function, np.zeros(shape, np.float32))
        assert pullback(np.ones(y.shape)).shape == shape
    numbers = (0, 3) if function in (logsumexp, *OF_ENTRIES) else (0, 3, 3)
    assert jacobian(function)(np.zeros((0, 3))).shape == numbers


@pytest.mark.parametrize("function", OF_SLICES)
def test_a_temperature_a_row(function):
    x = np.random.default_rng(0).normal(0, 2, (4, 9))
    temperature = np.array([[0.5], [1], [INF], [0]])
    dx = vjp(function, x, temperature=temperature)[1](x)
    for row, slope, t in zip(x, dx, temperature[:, 0], strict=True):
        assert same_bits(slope, vjp(function, row, temperature=t)[1](row))
    assert (dx[2:] == 0).all()
    # One row at several temperatures: its gradient is the sum.
    y, pullback = vjp(function, x[0], temperature=temperature)
    assert y.shape == (4, 9)
    each = [vjp(function, x[0], temperature=t)[1](row) for row, t in zip(x, temperature[:, 0], strict=True)]
    np.testing.assert_allclose(pullback(x), np.sum(each, axis=0), rtol=1e-13, atol=1e-15)
    assert jacobian(function)(x[0], temperature=temperature).shape == (4, 9, 9)


def test_options_of_logsumexp():
    x, dy = np.random.default_rng(0).normal(0, 2, (2, 3, 4)), np.arange(6.0).reshape(2, 3)
    plain = vjp(logsumexp, x)[1](dy)
    assert same_bits(vjp(logsumexp, x, keepdims=True)[1](dy[..., None]), plain)
    assert same_bits(vjp(logsumexp, x, return_sign=True)[1](dy), plain)
    weights = np.array([[1.0], [2.0]])  # broadcasts x
    y, pullback = vjp(logsumexp, x[0, 0], 0, weights=np.ones((5, 1)))
    assert y.shape == (4,)
    np.testing.assert_allclose(pullback(np.ones(4)), np.ones(4))
    y, pullback = vjp(logsumexp, x[0, 0], weights=weights)
    assert y.shape == (2,)
    np.testing.assert_allclose(pullback([1.0, 1.0]), 2 * softmax(x[0, 0]), rtol=1e-14)
    np.testing.assert_allclose(vjp(logsumexp, [1000.0, 0.0], weights=[0, 1])[1](2.0), [0, 2])
    np.testing.assert_allclose(vjp(logsumexp, [800.0, 800.0], weights=[3, 1])[1](1.0), [0.75, 0.25], rtol=1e-15)
    assert np.isnan(vjp(logsumexp, [1.0, 0.0], weights=[-1, 1])[1](1.0)).all()
    assert not np.isnan(vjp(logsumexp, [1.0, 0.0], weights=[-1, 1], return_sign=True)[1](1.0)).any()
    assert vjp(logsumexp, [1.0, 0.0], weights=[0, 0])[1](NAN).tolist() == [0, 0]


def test_masked_arrays_are_masked():
    x = np.ma.array([1.0, NAN, 2.0], mask=[False, True, False])
    for function in (softmax, log_softmax, softmin, logsumexp):
        dx = vjp(function, x)[1](np.array([3.0, NAN, 1.0]) if function is not logsumexp else 2.0)
        assert dx[1] == 0
        assert np.isfinite(dx).all()


@pytest.mark.parametrize("function", OF_SLICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_jacobian_is_the_pullback_of_unit_vectors(dtype, function):
    x = np.random.default_rng(0).normal(0, 3, (2, 3, 5)).astype(dtype)
    options = {"temperature": 0.7, "where": np.arange(5) != 3}
    J, (_, pullback) = jacobian(function)(x, **options), vjp(function, x, **options)
    assert J.shape == (2, 3, 5, 5)
    for i in range(5):
        assert same_bits(J[..., i, :], pullback(np.broadcast_to(np.eye(5)[i], x.shape)))


@pytest.mark.parametrize("gap", [0, 5, 20, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_diagonal_of_the_jacobian_does_not_cancel(dtype, gap):
    x = np.array([gap, 0, -1, 2], dtype)
    true = exact(x)
    rest = np.where(true.probs > 0.5, true.others / (1 + true.others), 1 - true.probs)
    expected = -np.outer(true.probs, true.probs)
    expected[np.diag_indices(4)] = true.probs * rest
    assert errors_in_ulp(jacobian(softmax)(x), expected).max() <= 4
    J = jacobian(log_softmax)(x)
    np.testing.assert_allclose(J[np.diag_indices(4)], rest.astype(float), rtol=2e-6 if dtype == np.float32 else 4e-15)


def test_the_jacobian_of_numbers_and_entries():
    x = np.random.default_rng(0).normal(0, 3, (2, 5))
    assert same_bits(jacobian(logsumexp)(x), softmax(x))
    assert same_bits(jacobian(logsumexp)(x, 0), softmax(x, 0).T)
    np.testing.assert_allclose(
        jacobian(logsumexp)(x, weights=np.arange(5)), softmax(x + np.log([0.5, 1, 2, 3, 4]), where=np.arange(5) > 0)
    )
    np.testing.assert_allclose(jacobian(sigmoid)(x), sigmoid(x) * sigmoid(-x), rtol=1e-15)
    np.testing.assert_allclose(jacobian(log_sigmoid)(x), sigmoid(-x), rtol=1e-15)


@pytest.mark.parametrize("function", FAMILY)
def test_a_gradient_of_another_shape_is_refused(function):
    x = np.zeros((2, 3))
    y, pullback = vjp(function, x)
    for shape in ((), (3,), (2, 3, 1), (2, 2)):
        if shape == y.shape:
            continue
        with pytest.raises(ValueError) as error:  # noqa: PT011
            pullback(np.ones(shape))
        assert str(error.value) == f"dy must have the shape of the result, {y.shape}, got {shape}"
    with pytest.raises(TypeError, match=r"^dy must hold real numbers, got dtype complex128$"):
        pullback(np.ones(y.shape, complex))


@pytest.mark.parametrize("wanted", [vjp, jacobian])
@pytest.mark.parametrize("function", [np.sin, hardmax, None, [], "softmax"])
def test_a_function_without_a_derivative_is_refused(wanted, function):
    name = getattr(function, "__name__", repr(function))
    with pytest.raises(TypeError) as error:
        wanted(function, *([[1.0]] if wanted is vjp else []))
    known = ", ".join(f.__name__ for f in FAMILY_IN_ORDER)
    assert str(error.value).startswith(f"function must have a gradient ({known}, ")
    assert str(error.value).endswith(f"), got {name}")


def test_what_the_function_refuses_is_refused():
    with pytest.raises(ValueError, match=r"^temperature must be >= 0, got -1"):
        vjp(softmax, [1.0], temperature=-1)
    with pytest.raises(TypeError, match="out"):
        vjp(softmax, np.ones(2), out=np.ones(2))
    with pytest.raises(TypeError, match="temperature"):
        vjp(sigmoid, [1.0], temperature=2)
    with pytest.raises(np.exceptions.AxisError):
        jacobian(softmax)([1.0], 1)


def entmax_by_mpmath(row, alpha):
    """The definition for one row of mpmath numbers, its threshold by bisection."""
    scores = [(alpha - 1) * v for v in row]
    low, high = max(scores) - 1, max(scores)
    for _ in range(1500):
        middle = (low + high) / 2
        total = mpmath.fsum((v - middle) ** (1 / (alpha - 1)) for v in scores if v > middle)
        low, high = (middle, high) if total > 1 else (low, middle)
    return [(v - low) ** (1 / (alpha - 1)) if v > low else mpmath.mpf(0) for v in scores]


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_pullback_of_entmax_is_the_slope_of_the_definition(dtype, alpha, tally):
    """By differences; the error of y near the edge of the support is of its weight y^(2 - alpha) too."""
    rng = np.random.default_rng(0)
    step = mpmath.mpf(2) ** -200
    with tally, mpmath.workprec(3 * BITS):
        for n in (1, 2, 4, 6):
            x, dy = rng.normal(0, 0.7, n).astype(dtype), rng.normal(0, 1, n).astype(dtype)
            row, slope = [mpmath.mpf(float(v)) for v in x], []
            for i in range(n):
                sides = []
                for sign in (1, -1):
                    moved = entmax_by_mpmath([*row[:i], row[i] + sign * step, *row[i + 1 :]], alpha)
                    sides.append(mpmath.fsum(mpmath.mpf(float(d)) * v for d, v in zip(dy, moved, strict=True)))
                slope.append((sides[0] - sides[1]) / (2 * step))
            y, pullback = vjp(entmax, x, alpha)
            assert same_bits(y, entmax(x, alpha))
            dx, w = pullback(dy), np.where(y > 0, np.where(y > 0, y, 1).astype(float) ** (2 - alpha), 0)
            d = abs(dy.astype(float) - float(dy[y.argmax()]))
            unit = w * (d + (w * d).sum() / w.sum())
            assert (dx[y == 0] == 0).all()
            slope = np.array([v if abs(v) > mpmath.mpf(2) ** -400 else mpmath.mpf(0) for v in slope])
            tally.add(f"vjp entmax {alpha}", dx, slope, BOUND, f"{n} entries", np.where(unit == 0, 1, unit))


@pytest.mark.parametrize("dtype", DTYPES)
def test_entmax_between_its_ends(dtype):
    """alpha 1 is softmax, 2 sparsemax, to the bit; at inf nothing moves; one alpha a slice; masked entries get 0."""
    x = np.random.default_rng(0).normal(0, 0.5, (4, 7)).astype(dtype)
    dy = np.random.default_rng(1).normal(0, 1, x.shape).astype(dtype)
    alpha = np.array([[1.0], [2.0], [INF], [1.5]])
    dx = vjp(entmax, x, alpha)[1](dy)
    assert same_bits(dx[0], vjp(softmax, x[0])[1](dy[0]))
    assert same_bits(dx[1], vjp(sparsemax, x[1])[1](dy[1]))
    assert (dx[2] == 0).all()
    assert same_bits(dx[3], vjp(entmax, x[3])[1](dy[3]))
    assert same_bits(vjp(entmax, x.T, alpha.T, 0)[1](dy.T).T, dx)
    assert jacobian(entmax)(x, alpha).shape == (4, 7, 7)
    keep = np.arange(7) != 2
    for function in (sparsemax, entmax):
        masked = vjp(function, np.where(keep, x, dtype(NAN)), where=keep)[1](np.where(keep, dy, dtype(NAN)))
        assert (masked[:, 2] == 0).all()
        assert same_bits(masked[:, keep], vjp(function, x[:, keep])[1](dy[:, keep]))
    support = np.array([0.5, 0.3, -9], dtype)
    np.testing.assert_allclose(jacobian(sparsemax)(support), [[0.5, -0.5, 0], [-0.5, 0.5, 0], [0, 0, 0]], rtol=1e-6)
