"""binary_cross_entropy: errors of losses and gradients, every option, reductions, edges, and every refusal."""

import re
import warnings

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import BITS, DTYPES, VOLUME, Tally, same_bits
from slices import INF, NAN

from softmax import _native, binary_cross_entropy, jacobian, reference, value_and_grad, vjp

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
REDUCTIONS = ("mean", "sum", "none")
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097)
both = value_and_grad(binary_cross_entropy)
examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(100 * VOLUME) + 10)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.normal(0, 3, (4, 5))


@pytest.fixture
def y(rng):
    return rng.random((4, 5)).round(2)


def by_mpmath(x, y, weight=1.0, smoothing=0.0, gamma=0.0):
    """Loss, gradient, and the larger term of the gradient of each entry."""
    results = np.empty((3, *np.shape(x)), object)
    with mpmath.workprec(BITS):
        mpf = mpmath.mpf
        for at in np.ndindex(np.shape(x)):
            v, t = mpf(float(x[at])), mpf(float(y[at])) * (1 - mpf(smoothing)) + mpf(smoothing) / 2
            e = mpmath.exp(-abs(v)) if abs(v) < 2**20 else mpf(0)
            p, rest = (1 / (1 + e), e / (1 + e)) if v >= 0 else (e / (1 + e), 1 / (1 + e))
            terms, slopes = [], []
            for w, good, bad, cost in (
                (t * mpf(float(np.broadcast_to(weight, np.shape(x))[at])), p, rest, max(-v, 0) + mpmath.log1p(e)),
                (1 - t, rest, p, max(v, 0) + mpmath.log1p(e)),
            ):
                scale = bad ** mpf(gamma) if bad or not gamma else mpf(0)
                terms.append(w * scale * cost)
                slopes.append(w * scale * (bad + gamma * good * cost))
            results[(0, *at)], results[(1, *at)] = sum(terms), slopes[1] - slopes[0]
            results[(2, *at)] = max(slopes)
    return results


def add(tally, x, y, case, bound=(4, 2), **options):
    names = {"pos_weight": "weight", "label_smoothing": "smoothing", "gamma": "gamma"}
    loss, slope = both(x, y, reduction="none", **options)
    true_loss, true_slope, term = by_mpmath(x, y, **{names[k]: v for k, v in options.items()})
    tally.add("binary", loss, true_loss, bound, case)
    tally.add("binary gradient", slope, true_slope, (bound[0] + 4, 3) if "gamma" in options else bound, case, term)


def hard(dtype):
    """Every order of magnitude, and where a sigmoid or its logarithm leaves the normal range."""
    info = np.finfo(dtype)
    ends = [-np.log(float(info.tiny)), -np.log(float(info.smallest_subnormal)), info.nmant * np.log(2)]
    near = [s * (v + d) for s in (-1, 1) for v in ends for d in np.linspace(-1.5, 1.5, 9)]
    powers = [s * 2.0**n for s in (-1, 1) for n in range(-40, 8)]
    return np.array([0, -0.0, *near, *powers, 1e4, -1e4, info.max, -info.max, info.tiny], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_entries(dtype, tally):
    x = hard(dtype)
    with tally:
        for target in (0, 1):
            add(tally, x, np.full(len(x), target), f"target {target}")
            add(tally, x, np.full(len(x), target), f"target {target}, smoothed", label_smoothing=0.125)
        for target in (0.5, 0.1, 1e-10, 1 - 2**-20):
            add(tally, x, np.full(len(x), target, dtype), f"target {target}")
        add(tally, x[abs(x) < 80], np.ones((abs(x) < 80).sum()), "weight 3.7", pos_weight=3.7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_entries(dtype, tally, rng):
    with tally:
        for scale in (0.01, 1, 10):
            x = rng.normal(0, scale, int(500 * VOLUME) + 20).astype(dtype)
            y = rng.random(len(x)).astype(dtype)
            add(tally, x, y, f"N(0, {scale}^2)")
            add(tally, x, y, f"N(0, {scale}^2), weighted", pos_weight=rng.exponential(2, len(x)).astype(dtype))
            add(tally, x, y > 0.5, f"N(0, {scale}^2), labels", label_smoothing=0.25)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_focal_losses(dtype, gamma, tally, rng):
    x = np.append(rng.normal(0, 5, 200), [0, 30, -30, 12, -12]).astype(dtype)
    with tally:
        for y in (np.zeros(205), np.ones(205), rng.random(205).astype(dtype)):
            add(tally, x, y, f"gamma {gamma}", (4 + 3 * gamma if dtype == np.float64 else 1, 2), gamma=gamma)


def test_any_finite_entry():
    @examples
    @given(
        hnp.arrays(np.float64, 10, elements=st.floats(-800, 800)), hnp.arrays(np.float64, 10, elements=st.floats(0, 1))
    )
    def search(x, y):
        with Tally() as tally:
            add(tally, x, y, f"{x!r}, {y!r}")

    search()


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.2}, {"pos_weight": [0.5, 1, 2, 3, 0]}, {"gamma": 2.0}, {"gamma": 0.7}]
)
def test_the_gradient_is_the_derivative(options, x, y):
    """Central differences in long double; every option moves it."""
    step = np.longdouble(1e-6)
    wide = x.astype(np.longdouble)
    up, down = (binary_cross_entropy(wide + s, y, reduction="none", **options) for s in (step, -step))
    slope = both(x, y, reduction="none", **options)[1]
    np.testing.assert_allclose(slope, (up - down) / (2 * step), rtol=1e-7, atol=1e-10)
    if options:
        assert not np.allclose(slope, both(x, y, reduction="none")[1])
        assert not np.allclose(binary_cross_entropy(x, y, **options), binary_cross_entropy(x, y))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.3, "pos_weight": [[2.0], [1], [0], [3]], "gamma": 1.5}])
@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions(dtype, options, x, y):
    x = x.astype(dtype)
    eps = float(ml_dtypes.finfo(dtype).eps)
    weight = {"pos_weight": 1.0} | options
    losses = reference.binary_cross_entropy(x.astype(np.float64), y, **weight)
    slopes = reference.binary_cross_entropy_gradient(x.astype(np.float64), y, **weight)
    for reduction, loss, slope in (
        ("none", losses, slopes),
        ("sum", losses.sum(), slopes),
        ("mean", losses.mean(), slopes / 20),
    ):
        got_loss, got_slope = both(x, y, reduction=reduction, **options)
        assert got_loss.dtype == got_slope.dtype == dtype
        step = float(ml_dtypes.finfo(dtype).smallest_subnormal)
        np.testing.assert_allclose(got_loss.astype(float), loss, rtol=4 * eps + 1e-14, atol=step)
        np.testing.assert_allclose(got_slope.astype(float), slope, rtol=4 * eps + 1e-14, atol=4 * eps)
        assert same_bits(got_loss, binary_cross_entropy(x, y, reduction=reduction, **options))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint64, np.float16, ml_dtypes.bfloat16, np.float32, np.longdouble])
def test_targets_of_any_dtype(dtype, x):
    y = np.arange(20).reshape(4, 5) % 3 == 0
    assert same_bits(both(x, y.astype(dtype))[1], both(x, y.astype(float))[1])


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64])
def test_integer_logits_are_float64(dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    for got, want in zip(both(x, x > 0), both(x.astype(float), x > 0), strict=True):
        assert same_bits(got, want)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_infinite_and_nan_logits(dtype, gamma):
    """A term of weight 0 is 0 also there; a NaN stays in its entry."""
    x = np.array([INF, INF, -INF, -INF, NAN, 0], dtype)
    losses, slope = both(x, [1, 0, 1, 0, 1, 1], gamma=gamma, reduction="none")
    np.testing.assert_array_equal(losses[:5].astype(float), [0, INF, INF, 0, NAN])
    np.testing.assert_array_equal(slope[:5].astype(float), [0, 1, -1, 0, NAN])
    assert losses[5] > 0
    losses, slope = both(x[:4], [1, 1, 1, 1], pos_weight=0, gamma=gamma, reduction="none")
    assert losses.tolist() == slope.tolist() == [0, 0, 0, 0]
    assert binary_cross_entropy(x[:4], [1, 0, 1, 0], gamma=gamma) == INF
    assert np.isnan(binary_cross_entropy(x, [1, 0, 1, 0, 1, 1], gamma=gamma).astype(float))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_entries(dtype, reduction):
    loss, slope = both(np.empty((0, 3), dtype), np.empty((0, 3), int), reduction=reduction)
    np.testing.assert_array_equal(loss, np.empty((0, 3)) if reduction == "none" else 0)
    assert slope.shape == (0, 3)
    assert loss.dtype == slope.dtype == dtype


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_number(reduction):
    loss, slope = both(2.0, True, pos_weight=3.0, reduction=reduction)
    np.testing.assert_allclose([loss, slope], [3 * np.log1p(np.exp(-2)), -3 / (1 + np.exp(2))], rtol=1e-15)


@pytest.mark.parametrize("dtype", [*DTYPES, np.longdouble])
@pytest.mark.parametrize("weight", [None, [1, 2, 3, 4, 5]])
def test_masked_entries_count_for_nothing(dtype, weight, x, y):
    """Whatever they and their targets hold."""
    mask = np.zeros(x.shape, bool)
    mask[1, 2] = mask[3, 0] = True
    x = x.astype(dtype)
    kept = [a[~mask] for a in (x, y, np.broadcast_to(1 if weight is None else weight, x.shape))]
    x[1, 2], y[3, 0] = NAN, 7
    for reduction in REDUCTIONS:
        loss, slope = both(np.ma.array(x, mask=mask), y, pos_weight=weight, reduction=reduction)
        want, want_slope = both(kept[0], kept[1], pos_weight=kept[2], reduction=reduction)
        np.testing.assert_allclose(loss[~mask] if reduction == "none" else loss, want, rtol=1e-6)
        np.testing.assert_allclose(slope[~mask], want_slope, rtol=1e-6)
        assert (slope[mask] == 0).all()
        assert reduction != "none" or (loss[mask] == 0).all()
    assert binary_cross_entropy(np.ma.array(x, mask=True), y) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_memory_and_threads_change_no_bit(dtype, rng):
    for size in (*SIZES, 20 * 4096 + 7):
        x, y = rng.normal(0, 5, size).astype(dtype), rng.random(size).astype(dtype)
        results = {r: both(x, y, reduction=r) for r in REDUCTIONS}
        assert same_bits(both(x[:1], y[:1], reduction="none")[0], results["none"][0][:1])
        spread, shifted = np.empty((size, 3), dtype), np.empty(size + 1, dtype)
        spread[:, 1], shifted[1:] = x, x
        before = _native.num_threads()
        for reduction, (loss, slope) in results.items():
            for other in (spread[:, 1], shifted[1:]):
                got = both(other, y, reduction=reduction)
                assert same_bits(got[0], loss)
                assert same_bits(got[1], slope)
            _native.set_num_threads(3)
            got = both(x, y, reduction=reduction)
            _native.set_num_threads(before)
            assert same_bits(got[0], loss)
            assert same_bits(got[1], slope)
    x, y = rng.normal(0, 5, (90, 70)).astype(dtype), rng.random((90, 70)).astype(dtype)
    assert same_bits(binary_cross_entropy(x, y), binary_cross_entropy(np.asfortranarray(x), np.asfortranarray(y)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weight", [None, [1, 2, 3, 4, 5]])
def test_out_takes_the_gradient(dtype, weight, x, y):
    x = x.astype(dtype)
    want = both(x, y, pos_weight=weight)[1]
    for out in (np.empty_like(x), np.empty((5, 4), dtype).T, x.copy()):
        assert both(x, y, pos_weight=weight, out=out)[1] is out
        assert same_bits(out, want)
    place = x.copy()
    both(place, y, pos_weight=weight, out=place)
    assert same_bits(place, want)


def test_read_only_operands_are_left_alone(x, y):
    weight = np.ones(5)
    copies = [a.copy() for a in (x, y, weight)]
    for operand in (x, y, weight):
        operand.flags.writeable = False
    both(x, y, pos_weight=weight)
    for operand, before in zip((x, y, weight), copies, strict=True):
        assert same_bits(operand, before)


def test_no_warning_on_finite_logits():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for dtype in (np.float16, ml_dtypes.bfloat16, *DTYPES):
            for gamma in (0, 2):
                both(np.array([1e4, -1e4, 90, -90, 0], dtype), [1, 0, 0, 1, 1], gamma=gamma)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([[0, 2], [0, 1]], ValueError, "targets must be in [0, 1], got 2 at index (0, 1)"),
        ([[0, 1], [-1, 1]], ValueError, "targets must be in [0, 1], got -1 at index (1, 0)"),
        ([[0, 1], [0, 1.5]], ValueError, "targets must be in [0, 1], got 1.5 at index (1, 1)"),
        ([[0, NAN], [0, 1]], ValueError, "targets must be in [0, 1], got nan at index (0, 1)"),
        ([0, 1], ValueError, "targets must have the logits' shape (2, 2), got (2,)"),
        ([["a", "b"]] * 2, TypeError, "targets must be booleans, 0 and 1, or floats in [0, 1], got dtype <U1"),
        ([[1j, 0]] * 2, TypeError, "targets must be booleans, 0 and 1, or floats in [0, 1], got dtype complex128"),
    ],
)
def test_targets_that_do_not_fit_are_refused(targets, error, message):
    for function in (binary_cross_entropy, both):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            function(np.zeros((2, 2)), targets)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reduction": "avg"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'avg'"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be in [0, 1], got 1.5"),
        ({"gamma": -1}, ValueError, "gamma must be finite and >= 0, got -1"),
        ({"pos_weight": -1.0}, ValueError, "pos_weight must be finite and >= 0, got -1.0"),
        ({"pos_weight": [1, NAN]}, ValueError, "pos_weight must be finite and >= 0, got nan at index (1,)"),
        ({"pos_weight": [1, INF]}, ValueError, "pos_weight must be finite and >= 0, got inf at index (1,)"),
        (
            {"pos_weight": [1, 2, 3]},
            ValueError,
            "pos_weight must broadcast to the shape of logits, (2, 2), got shape (3,)",
        ),
        (
            {"pos_weight": np.ones((1, 2, 2))},
            ValueError,
            "pos_weight must broadcast to the shape of logits, (2, 2), got shape (1, 2, 2)",
        ),
        ({"pos_weight": ["a", "b"]}, TypeError, "pos_weight must hold real numbers, got dtype <U1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    for function in (binary_cross_entropy, both):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            function(np.zeros((2, 2)), np.zeros((2, 2)), **options)


def test_other_logits_and_outs_are_refused():
    with pytest.raises(TypeError, match=r"^logits must hold real numbers, got dtype complex128$"):
        binary_cross_entropy([1j], [1])
    with pytest.raises(ValueError, match=r"^out must have the result's shape \(2,\), got \(3,\)$"):
        both([1.0, 2.0], [1, 0], out=np.empty(3))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_pullback_and_the_jacobian(reduction, x, y):
    loss, pullback = vjp(binary_cross_entropy, x, y, gamma=2.0, reduction=reduction)
    _, slope = both(x, y, gamma=2.0, reduction=reduction)
    dy = np.random.default_rng(1).normal(size=np.shape(loss))
    assert same_bits(loss, binary_cross_entropy(x, y, gamma=2.0, reduction=reduction))
    np.testing.assert_allclose(pullback(dy), slope * dy, rtol=1e-15)
    np.testing.assert_array_equal(jacobian(binary_cross_entropy)(x, y, gamma=2.0, reduction=reduction), slope)


def test_an_entry_of_gradient_zero_stays_zero_whatever_dy_holds():
    _, pullback = vjp(binary_cross_entropy, [np.inf, 1.0], [1, 0], reduction="none")
    dx = pullback([np.nan, 1.0])
    assert dx[0] == 0
    assert dx[1] > 0
