"""kl_divergence: errors however close the distributions are, both gradients, reductions, edges, and every refusal."""

import re
import warnings

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numerics import BITS, DTYPES, VOLUME, same_bits
from slices import INF, NAN

from softmax import _native, jacobian, kl_divergence, reference, softmax, value_and_grad, vjp

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
REDUCTIONS = ("mean", "sum", "none")
SIZES = (1, 2, 3, 5, 8, 9, 16, 17, 33, 100)
BOUNDS = {np.float32: (1, 1), np.float64: (16, 2)}  # ulp; steps below the normal range
both = value_and_grad(kl_divergence)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_mpmath(a, b, temperature=1.0):
    """Of one row: divergence, gradient by a, by b, and what the errors of the gradients are an ulp of."""
    with mpmath.workprec(4 * BITS):
        t = mpmath.mpf(temperature)
        p, q = ([mpmath.exp((mpmath.mpf(float(v)) - float(max(x))) / t) for v in x] for x in (a, b))
        p, q = ([v / mpmath.fsum(x) for v in x] for x in (p, q))
        d = [mpmath.log(v / w) for v, w in zip(p, q, strict=True)]
        total = mpmath.fsum(v * w for v, w in zip(p, d, strict=True))
        by_p = [v * (w - total) / t for v, w in zip(p, d, strict=True)]
        by_q = [(w - v) / t for v, w in zip(p, q, strict=True)]
        mean = mpmath.fsum(v * abs(w) for v, w in zip(p, d, strict=True))
        p_unit = [v * (abs(w) + mean) / t for v, w in zip(p, d, strict=True)]
        q_unit = [max(v, w) / t for v, w in zip(p, q, strict=True)]
        return total, by_p, by_q, p_unit, q_unit


def add(tally, a, b, case, temperature=1.0):
    """Rows one by one."""
    divergences, slopes = both(a, b, temperature=temperature, reduction="none")
    exact = [by_mpmath(*rows, temperature) for rows in zip(a, b, strict=True)]
    true, by_p, by_q, p_unit, q_unit = (np.array(part, object) for part in zip(*exact, strict=True))
    bound = BOUNDS[a.dtype.type]
    tally.add("kl_divergence", divergences, true, bound, case)
    tally.add("kl gradient p", slopes.p_logits, by_p, bound, case, p_unit)
    tally.add("kl gradient q", slopes.q_logits, by_q, bound, case, q_unit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_distributions_at_any_distance(dtype, tally, rng):
    """Down to logits that differ in their last digits, where a plain sum says anything, also below 0."""
    with tally:
        for size in SIZES:
            a = rng.normal(0, 2, (int(4 * VOLUME) + 1, size)).astype(dtype)
            for distance in (10, 1, 0.1, 1e-3, 1e-6, 1e-10, 1e-15):
                b = (a + distance * rng.normal(0, 1, a.shape)).astype(dtype)
                add(tally, a, b, f"K={size}, {distance:g} apart")
                add(tally, a, b + dtype(0.5), f"K={size}, {distance:g} apart, and 1/2")
                add(tally, a, b, f"K={size}, {distance:g} apart, T=3", 3.0)
                add(tally, a, b, f"K={size}, {distance:g} apart, T=0.1", 0.1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_rows(dtype, tally):
    rows = {
        "certain and right": ([50, 0, 0], [60, 1, 0]),
        "certain and wrong": ([50, 0, -3], [0, 60, 0]),
        "tails": ([0, -80, -85], [0, -85, -80]),
        "far from 0": ([1e6, 1e6 - 1, 0], [-1e6, -1e6 + 0.5, -1e6]),
        "nearly the same tails": ([0, -30, -30.5], [0, -30.25, -30.25]),
        "one class moves": ([0] * 3, [0, 0, 2**-20]),
    }
    with tally:
        for case, (a, b) in rows.items():
            for temperature in (1.0, 0.7, 1e3):
                add(tally, np.array([a], dtype), np.array([b], dtype), f"{case}, T={temperature}", temperature)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("temperature", [1.0, 0.37, 1e-300, 1e300])
def test_equal_logits_are_exactly_0_apart(dtype, temperature, rng):
    a = rng.normal(0, 5, (6, 11)).astype(dtype)
    a[0, :2], a[1, 3], a[2] = -INF, INF, -INF
    divergences, slopes = both(a, a.copy(), temperature=temperature, reduction="none")
    assert (divergences == 0).all()
    assert (slopes.p_logits == 0).all()
    assert (slopes.q_logits == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_beside_the_logits_changes_nothing(dtype):
    a = np.arange(12, dtype=dtype)
    assert kl_divergence(a, a + 1024) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_never_negative(dtype, rng):
    a = rng.normal(0, 3, (2000, 7)).astype(dtype)
    b = a + (rng.normal(0, 1, a.shape) * 10.0 ** rng.uniform(-18, 2, (2000, 1))).astype(dtype)
    assert (kl_divergence(a, b, reduction="none") >= 0).all()


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_gradients_are_the_derivatives(temperature, rng):
    """Central differences in long double."""
    a, b = rng.normal(0, 2, (2, 3, 5)).astype(np.longdouble)
    slopes = both(a.astype(float), b.astype(float), temperature=temperature, reduction="sum")[1]
    step = np.longdouble(1e-6)
    for name, slope in slopes._asdict().items():
        for at in np.ndindex(a.shape):
            e = np.zeros_like(a)
            e[at] = step
            da, db = (e, 0) if name == "p_logits" else (0, e)
            up = kl_divergence(a + da, b + db, temperature=temperature, reduction="sum")
            down = kl_divergence(a - da, b - db, temperature=temperature, reduction="sum")
            assert float((up - down) / (2 * step)) == pytest.approx(slope[at], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_reductions_and_axes(dtype, axis, rng):
    a, b = rng.normal(0, 2, (2, 4, 6)).astype(dtype)
    eps = float(ml_dtypes.finfo(dtype).eps)
    moved = [np.moveaxis(v.astype(float), axis, -1) for v in (a, b)]
    rows = reference.kl_divergence(*moved, temperature=2.0)
    slopes = [np.moveaxis(s, -1, axis) for s in reference.kl_divergence_gradient(*moved, temperature=2.0)]
    for reduction, expected, divisor in (("none", rows, 1), ("sum", rows.sum(), 1), ("mean", rows.mean(), len(rows))):
        loss, got = both(a, b, axis, temperature=2.0, reduction=reduction)
        np.testing.assert_allclose(loss.astype(float), expected, rtol=4 * eps + 1e-13)
        assert same_bits(loss, kl_divergence(a, b, axis, temperature=2.0, reduction=reduction))
        for slope, want in zip(got, slopes, strict=True):
            assert slope.dtype == loss.dtype == dtype
            np.testing.assert_allclose(slope.astype(float), want / divisor, rtol=4 * eps + 1e-12, atol=4 * eps)


def test_the_mean_is_the_default(rng):
    a, b = rng.normal(0, 2, (2, 4, 6))
    assert kl_divergence(a, b) == kl_divergence(a, b, reduction="mean") != kl_divergence(a, b, temperature=2.0)


@pytest.mark.parametrize("dtype", FLOATS)
def test_infinities_and_nan(dtype):
    a = np.array([[0, -INF], [0, 0], [NAN, 0], [0, 0], [-INF, -INF], [0, 0], [INF, 0], [-INF, NAN], [0, 0]], dtype)
    b = np.array([[0, 0], [0, -INF], [0, 0], [0, NAN], [0, 0], [-INF, -INF], [INF, INF], [0, 0], [0, 0]], dtype)
    rows, slopes = both(a, b, reduction="none")
    half = np.log(2)
    np.testing.assert_allclose(rows.astype(float), [half, INF, NAN, NAN, 0, INF, half, NAN, 0], rtol=1e-2)
    np.testing.assert_allclose(slopes.p_logits[:4].astype(float), [[0, 0], [-INF, INF], [NAN, NAN], [NAN, NAN]])
    np.testing.assert_allclose(
        slopes.q_logits[:5].astype(float), [[-0.5, 0.5], [0.5, -0.5], [NAN, NAN], [NAN, NAN], [0.5, 0.5]]
    )
    assert np.isnan(slopes.p_logits[[2, 3, 7]].astype(float)).all()
    assert (slopes.p_logits[[4, 6, 8]] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_out_of_range_of_their_difference(dtype):
    huge = np.finfo(dtype).max
    assert kl_divergence(np.array([huge, -huge]), np.array([huge / 2, -huge])) == 0
    assert kl_divergence(np.array([huge, -huge]), np.array([-huge, huge])) == INF
    assert kl_divergence(np.zeros(2, dtype), np.array([0, -huge], dtype), temperature=1e-3) == INF


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_no_rows_or_classes(dtype, reduction, shape):
    loss, slopes = both(np.empty(shape, dtype), np.empty(shape, dtype), reduction=reduction)
    np.testing.assert_array_equal(loss, np.zeros(shape[0]) if reduction == "none" else 0)
    assert slopes.p_logits.shape == slopes.q_logits.shape == shape
    assert loss.dtype == dtype


def test_the_wider_dtype_is_the_result():
    a = np.arange(3)
    for p, q, wide in ((np.float32, np.float64, np.float64), (np.float16, np.float32, np.float32), (int, "f4", "f8")):
        loss, slopes = both(a.astype(p), a[::-1].astype(q))
        assert loss.dtype == wide
        assert slopes.p_logits.dtype == np.result_type(p, np.float64 if p is int else p)
        assert slopes.q_logits.dtype == q


def test_the_mask_of_masked_logits_counts(rng):
    a, b = rng.normal(0, 1, (2, 5))
    mask = np.array([0, 1, 0, 0, 0], bool)
    got = kl_divergence(np.ma.array(a, mask=mask), np.ma.array(b, mask=mask))
    assert got == pytest.approx(kl_divergence(a[~mask], b[~mask]), rel=1e-14)
    assert kl_divergence(a, np.ma.array(b, mask=mask)) == INF


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [3, 33, 4097, 20 * 4096 + 7])
def test_neighbours_memory_and_threads_change_no_bit(dtype, size, rng):
    a, b = rng.normal(0, 3, (2, 3, size)).astype(dtype)
    results = [*both(a, b, reduction="none")[1], kl_divergence(a, b, reduction="none")]
    alone = [*both(a[1], b[1], reduction="none")[1], kl_divergence(a[1], b[1])]
    across = both(a.T, b.T.copy(), 0, reduction="none")
    before = _native.num_threads()
    _native.set_num_threads(3)
    threaded = [*both(a, b, reduction="none")[1], kl_divergence(a, b, reduction="none")]
    _native.set_num_threads(before)
    for whole, row, other, shared in zip(
        results, alone, (across[1][0].T, across[1][1].T, across[0]), threaded, strict=True
    ):
        assert same_bits(whole[1], row)
        assert same_bits(whole, other)
        assert same_bits(whole, shared)


def test_long_rows_agree_with_the_reference(rng):
    a, b = rng.normal(0, 3, (2, 2, 100_003))
    for distance in (1, 1e-9):
        c = a + distance * (b - a)
        np.testing.assert_allclose(
            kl_divergence(a, c, reduction="none"),
            reference.kl_divergence(a.astype(np.longdouble), c.astype(np.longdouble)),
            rtol=1e-13 if distance == 1 else 1e-9,
        )


def test_it_is_what_its_definition_says(rng):
    a, b = rng.normal(0, 2, (2, 5, 4))
    p, q = softmax(a, temperature=1.5), softmax(b, temperature=1.5)
    np.testing.assert_allclose(
        kl_divergence(a, b, temperature=1.5, reduction="none"), (p * np.log(p / q)).sum(axis=-1), rtol=1e-12
    )


def test_no_warning_on_finite_logits():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for dtype in (np.float16, ml_dtypes.bfloat16, *DTYPES):
            both(np.array([1e4, -1e4, 90, -90, 0], dtype), np.array([-1e4, 1e4, 0, 3, 5], dtype))


def test_read_only_operands_are_left_alone(rng):
    a, b = rng.normal(0, 2, (2, 5, 4))
    copies = a.copy(), b.copy()
    a.flags.writeable = b.flags.writeable = False
    both(a, b)
    assert same_bits(a, copies[0])
    assert same_bits(b, copies[1])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1, 2], [1, 2, 3]), {}, ValueError, "p_logits and q_logits must have the same shape, got (2,) and (3,)"),
        (([1, 2], [[1, 2]]), {}, ValueError, "p_logits and q_logits must have the same shape, got (2,) and (1, 2)"),
        (([1j], [1]), {}, TypeError, "p_logits must hold real numbers, got dtype complex128"),
        (([1], ["a"]), {}, TypeError, "q_logits must hold real numbers, got dtype <U1"),
        (([[1]], [[1]], None), {}, TypeError, "axis must be one int for kl_divergence, got None"),
        (([[1]], [[1]], (0, 1)), {}, TypeError, "axis must be one int for kl_divergence, got (0, 1)"),
        (([1], [1]), {"temperature": 0}, ValueError, "temperature must be one number, finite and > 0, got 0"),
        (([1], [1]), {"temperature": -1}, ValueError, "temperature must be one number, finite and > 0, got -1"),
        (([1], [1]), {"temperature": INF}, ValueError, "temperature must be one number, finite and > 0, got inf"),
        (([1], [1]), {"temperature": NAN}, ValueError, "temperature must be one number, finite and > 0, got nan"),
        (([1], [1]), {"temperature": [1]}, ValueError, "temperature must be one number, finite and > 0, got [1]"),
        (([1], [1]), {"reduction": "avg"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'avg'"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, error, message):
    for function in (kl_divergence, both):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            function(*arguments, **options)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_pullback_and_the_jacobian(axis, reduction, rng):
    a, b = rng.normal(0, 2, (2, 3, 4, 5))
    loss, pullback = vjp(kl_divergence, a, b, axis, temperature=2.0, reduction=reduction)
    _, slopes = both(a, b, axis, temperature=2.0, reduction=reduction)
    assert same_bits(loss, kl_divergence(a, b, axis, temperature=2.0, reduction=reduction))
    dy = rng.normal(size=np.shape(loss))
    matrices = jacobian(kl_divergence)(a, b, axis, temperature=2.0, reduction=reduction)
    for got, slope, matrix in zip(pullback(dy), slopes, matrices, strict=True):
        rows = reduction == "none"
        np.testing.assert_allclose(got, slope * (np.expand_dims(dy, axis) if rows else dy), rtol=1e-15)
        np.testing.assert_array_equal(matrix, np.moveaxis(slope, axis, -1) if rows else slope)
