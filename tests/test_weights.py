"""logsumexp with weights and signs: its error beside mpmath, terms that cancel, and what takes no part."""

import re

import ml_dtypes
import mpmath
import numpy as np
import pytest
from numerics import BITS, DTYPES, VOLUME, Tally, same_bits
from slices import INF, NAN, hard_slices

from softmax import logsumexp, reference

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65)
LONG = (4095, 4096, 4097, 8193, 17 * 4096 + 1)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0, 3, (4, 5, 6))


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(0, 1, (4, 5, 6))


def exact(x, weights):
    """log|s|, the unit of its error, the sign of s = sum(w e^x), and sum(|w| e^x) / |s|, of one slice."""
    spread = float(np.ptp(x[np.isfinite(x)])) + float(np.ptp(np.log(abs(weights[weights != 0]))))
    with mpmath.workprec(BITS + int(1.5 * min(spread, 2000))):  # what is left where the leaders cancel
        terms = [
            (mpmath.mpf(float(v)), mpmath.mpf(float(w))) for v, w in zip(x, weights, strict=True) if w != 0 and v > -INF
        ]
        top = max(v + mpmath.log(abs(w)) for v, w in terms)
        shares = [w * mpmath.exp(v - top) if v - top > -2000 else mpmath.mpf(0) for v, w in terms]
        total = mpmath.fsum(shares)
        if total == 0:
            return -INF, abs(top), 0, INF
        log_total = mpmath.log(abs(total))
        condition = mpmath.fsum(map(abs, shares)) / abs(total)
    with mpmath.workprec(BITS):
        result = top + log_total
        return result, max(abs(top), abs(log_total), abs(result)), int(mpmath.sign(total)), float(condition)


def add(tally, x, weights, case, cancelling=False):
    """The bound of 1 ulp where terms do not cancel; else what cancellation makes of 2^-55 of the terms is added."""
    got, sign = logsumexp(x, weights=weights, return_sign=True)
    true, unit, true_sign, condition = exact(x, weights)
    assert sign == true_sign, case
    if cancelling:
        unit += 2.0**-55 * condition / float(np.finfo(x.dtype).eps)
    name = "logsumexp, cancelling" if cancelling else "logsumexp, weighted"
    as_object = [np.array(value, object) for value in (true, unit)]
    tally.add(name, got, as_object[0], (1, 1), case, as_object[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_positive_weights(dtype, request):
    rng = np.random.default_rng(5)
    with Tally(request.node.user_properties) as tally:
        for size in SIZES:
            for scale, spread, offset in ((1, 1, 0), (30, 1, 1e4), (10, 30, -1e3), (200, 200, 0), (1e-3, 1e-3, 0)):
                for _ in range(int(3 * VOLUME) + 1):
                    x = rng.normal(offset, scale, size).astype(dtype)
                    add(tally, x, np.exp(rng.normal(0, spread, size)), f"K={size}, N({offset}, {scale}^2)")
        for name, entries in hard_slices(dtype).items():
            x = np.array(entries, dtype)
            add(tally, x, np.ones(len(x)), name)
            add(tally, x, np.full(len(x), -0.75), f"{name}, -3/4 each")
            add(tally, x, np.exp(rng.normal(0, 3, len(x))), f"{name}, log-normal")


HARD = {
    "one of weight 1": ([3.5], [1.0]),
    "one negative": ([3.5], [-2.5]),
    "sure": ([0, -46], [1, 1]),
    "surer": ([0, -700], [1, 1]),
    "sure, less": ([0, -46], [1, -1]),
    "sure, a little less": ([0, -18], [1, -1]),
    "sure, a very little less": ([0, -30, -25], [1, -1, -1]),
    "sure, much less": ([0, -700], [1, -1]),
    "a weight makes it sure": ([0, 0], [1, 1e-25]),
    "sum just below 1": ([0, -10], [1, -0.5]),
    "around one half": ([0, -np.log(2)], [1, -1]),
    "below one half": ([0, -np.log(2)], [1, -1.01]),
    "weights turn the order": ([0, -800], [1e-300, 1e300]),
    "weights turn the order, tiny": ([745, 0], [5e-324, 1]),
    "subnormal weights": ([1, 2, 3], [5e-324, 1e-310, -2e-320]),
    "largest weights": ([1, 2, 3], [1.7e308, 1.7e308, 1.7e308]),
    "largest weights cancel in part": ([1, 2, 3], [1.7e308, -1.7e308, 1.7e308]),
    "weights and scores in balance": ([700, -700, 0], [1e-300, 1e300, 1]),
    "huge scores": ([1e30, 1e30, 1e29], [1, 2, 3]),
    "huge negative scores": ([-1e30, -1e30, -2e30], [1, 2, 3]),
    "result near 0": ([np.log(0.5), np.log(0.5) - 1e-3], [1, 1]),
    "weights of log 2": ([-1000 * np.log(2), -3], [2.0**1000, 1e-3]),
    "at the range that is not shifted": ([2048, 2047.5, 2040], [1, -0.5, 3]),
    "far below the leader": ([0, -745, -790, -798, -1000], [1, 1, 1e10, 1e16, 1]),
    "-inf and 0": ([-INF, 1, 2, 5], [3, 1, 1, 0]),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_weights(dtype, name, request):
    entries, weights = HARD[name]
    with Tally(request.node.user_properties) as tally:
        x = np.array(entries, dtype)
        for order in (1, -1):
            add(tally, x[::order], np.array(weights, float)[::order], name)
            add(tally, x[::order], -np.array(weights, float)[::order], f"{name}, negated")


@pytest.mark.parametrize("dtype", DTYPES)
def test_terms_that_cancel(dtype, request):
    rng = np.random.default_rng(6)
    with Tally(request.node.user_properties) as tally:
        for size in SIZES[1:]:
            for _ in range(int(6 * VOLUME) + 2):
                x, weights = rng.normal(0, 1, size).astype(dtype), rng.normal(0, 1, size)
                add(tally, x, weights, f"K={size}, normal", cancelling=True)
                against = -(weights[:-1] * np.exp(x[:-1].astype(float) - float(x[-1]))).sum()
                weights[-1] = against * (1 + 10.0 ** -rng.uniform(0, 14))
                add(tally, x, weights, f"K={size}, nearly nothing left", cancelling=True)


@pytest.mark.parametrize("d", [1e-3, 1e-10, 1e-30, 1e-300])
def test_close_scores_cancel_to_the_precision_of_expm1(d):
    """No figure is lost: e^d - 1, where the terms agree in up to 300 digits."""
    for weight in (1.0, -3.0, 1e200):
        got, sign = logsumexp([d, 0.0], weights=[weight, -weight], return_sign=True)
        assert sign == np.sign(weight)
        np.testing.assert_allclose(got, np.log(np.expm1(d)) + np.log(abs(weight)), rtol=1e-15)


@pytest.mark.parametrize("offset", [0, 0.3, -17.7, 1e5, -1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_scores_cancel_exactly(dtype, offset):
    for weights in ([1, -1], [3, -1, -2], [0.5, 0.25, -0.75], [7, -1e-3, 1e-3, -7], [1e300, 5, -1e300, -5]):
        x = np.full(len(weights), offset, dtype)
        got, sign = logsumexp(x, weights=weights, return_sign=True)
        assert (got, sign) == (-INF, 0)
        assert got.dtype == sign.dtype == dtype
        assert logsumexp(x, weights=weights) == -INF
    left = logsumexp(np.array([offset] * 3, dtype), weights=[1, -1, 1])
    assert left == dtype(offset)


def test_what_cancellation_leaves_is_found_far_below():
    assert logsumexp([0.0, 0.0, -790.0], weights=[1, -1, 1]) == -790
    got, sign = logsumexp([0.0, -700.0, 0.0], weights=[5, -1, -5], return_sign=True)
    assert (got, sign) == (-700, -1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows(dtype):
    """Many blocks, with the leader in each of several places; the oracle sums in long double."""
    rng = np.random.default_rng(3)
    for size in LONG:
        weights = rng.normal(1, 1, size)
        x = rng.normal(0, 3, size).astype(dtype)
        for place in (0, size // 2, size - 1):
            leading = x.copy()
            leading[place] = 20
            terms = weights * np.exp(leading.astype(np.longdouble) - 20)
            got, sign = logsumexp(leading, weights=weights, return_sign=True)
            np.testing.assert_allclose(got, float(np.log(abs(terms.sum())) + 20), rtol=np.finfo(dtype).eps)
            assert sign == np.sign(terms.sum())


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_in_any_block_of_a_long_row(dtype):
    x, weights = np.zeros(3 * 4096 + 5, dtype), np.ones(3 * 4096 + 5)
    x[4096] = INF
    for leader in (0, 3 * 4096):
        x[leader] = 9
        assert logsumexp(x, weights=weights) == INF
        assert logsumexp(x, weights=-weights, return_sign=True) == (INF, -1)
        x[2 * 4096 + 7], weights[2 * 4096 + 7] = INF, -1
        assert np.isnan(logsumexp(x, weights=weights))
        x[2 * 4096 + 7] = 0
    x[-1] = NAN
    assert np.isnan(logsumexp(x, weights=weights))


# What takes part


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("hidden", [NAN, INF, -INF, 1e4])
def test_an_entry_of_weight_0_contributes_nothing(hidden, dtype):
    """Whatever it holds, and whatever its weight where it is masked."""
    x = np.array([1, hidden, 2], dtype)
    expected = logsumexp(np.array([1, 2], dtype), weights=[3, -0.5], return_sign=True)
    for weights, options in (
        ([3, 0, -0.5], {}),
        ([3, -0.0, -0.5], {}),
        *(([3, w, -0.5], {"where": [True, False, True]}) for w in (1, INF, -INF, NAN)),
        (np.ma.array([3, NAN, -0.5], mask=[False, True, False]), {}),
    ):
        assert same_bits(logsumexp(x, weights=weights, return_sign=True, **options), expected)
        masked = np.ma.array(x, mask=[False, True, False])
        assert same_bits(logsumexp(masked, weights=weights, return_sign=True, **options), expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("entries", "weights", "log", "sign"),
    [
        ([INF, 1], [2, -1], INF, 1),
        ([INF, 1], [-2, 1], INF, -1),
        ([INF, INF], [1, 1], INF, 1),
        ([INF, INF], [1, -1], NAN, NAN),
        ([INF, NAN], [1, 1], NAN, NAN),
        ([NAN, 1], [-1, 1], NAN, NAN),
        ([-INF, 1], [-5, 1], 1, 1),
        ([-INF, -INF], [1, -1], -INF, 0),
        ([1, 2], [0, 0], -INF, 0),
        ([1, 2], [INF, 1], INF, 1),
        ([1, 2], [1, -INF], INF, -1),
        ([1, 2], [INF, -INF], NAN, NAN),
        ([-1000, 2], [-INF, 1], INF, -1),
        ([1000, 2], [0, INF], INF, 1),
        ([-INF, 2], [INF, 1], NAN, NAN),
        ([1, 2], [NAN, 1], NAN, NAN),
        ([], [], -INF, 0),
    ],
)
def test_infinities_and_nothing(entries, weights, log, sign, dtype):
    """The limits, and NaN where there is none."""
    x = np.array(entries, dtype)
    with np.errstate(all="raise" if dtype in DTYPES else "ignore"):
        got = logsumexp(x, weights=weights, return_sign=True)
        alone = logsumexp(x, weights=weights)
    np.testing.assert_array_equal(np.array(got, float), [log, sign])
    np.testing.assert_array_equal(float(alone), NAN if sign == -1 else log)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_are_left_alone(dtype):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(0, 3, (5, 7)).astype(dtype), rng.normal(0, 1, (5, 7))
    alone = [logsumexp(row, weights=w, return_sign=True) for row, w in zip(x, weights, strict=True)]
    x[1, 2], x[3, 0], weights[3, 0] = NAN, INF, 1
    log, sign = logsumexp(x, weights=weights, return_sign=True)
    for i in (0, 2, 4):
        assert same_bits([log[i], sign[i]], alone[i])


# Shapes and dtypes


def test_a_negative_sum_is_nan_without_its_sign(x, weights):
    log, sign = logsumexp(x, weights=weights, return_sign=True)
    assert set(np.unique(sign)) == {-1, 1}
    np.testing.assert_array_equal(logsumexp(x, weights=weights), np.where(sign < 0, NAN, log))
    np.testing.assert_allclose(sign * np.exp(log), (weights * np.exp(x)).sum(axis=-1), rtol=1e-12)


def test_the_sign_of_what_has_no_weights():
    log, sign = logsumexp([[1.0, 2.0], [-INF, -INF], [NAN, 1.0], [INF, 1.0]], return_sign=True)
    np.testing.assert_array_equal(sign, [1, 0, NAN, 1])
    np.testing.assert_array_equal(log, logsumexp([[1.0, 2.0], [-INF, -INF], [NAN, 1.0], [INF, 1.0]]))
    assert logsumexp([1.0], return_sign=True) == (1.0, 1.0)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, None, (0, 2), (1, 0), ()])
@pytest.mark.parametrize("dtype", FLOATS)
def test_axes(axis, dtype, x, weights):
    """An axis is that axis moved to the end; keepdims puts it back with length 1."""
    x = x.astype(dtype)
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % 3 for a in axes))
    order = [a for a in range(3) if a not in axes] + list(axes)
    flat = [np.ascontiguousarray(a.transpose(order)).reshape(*[a.shape[i] for i in order[: 3 - len(axes)]], -1)
            for a in (x, weights, x > -2)]  # fmt: skip
    expected = logsumexp(flat[0], weights=flat[1], where=flat[2], return_sign=True)
    got = logsumexp(x, axis, weights=weights, where=x > -2, return_sign=True)
    kept = logsumexp(x, axis, weights=weights, where=x > -2, return_sign=True, keepdims=True)
    assert isinstance(got, tuple)
    for part, whole, want in zip(got, kept, expected, strict=True):
        assert part.dtype == dtype
        assert same_bits(part, want)
        assert same_bits(whole, np.expand_dims(part, axes))
        assert whole.shape == x.sum(axis=axes, keepdims=True).shape


def test_scalars():
    log, sign = logsumexp([1.0, 2.0], weights=-1, return_sign=True)
    assert type(log) is type(sign) is np.float64
    assert type(logsumexp([1.0, 2.0], weights=2)) is np.float64
    assert logsumexp(3.0, None, weights=1.0) == 3


def test_weights_broadcast_against_the_scores(x):
    """Both ways, as SciPy's b does."""
    for shape in ((), (1,), (6,), (5, 1), (4, 1, 6), (2, 4, 5, 6), (3, 1, 1, 1)):
        weights = np.random.default_rng(1).normal(0, 1, shape)
        full = np.broadcast_shapes(shape, x.shape)
        for axis in (-1, 0, None, (-2, -1)):
            got = logsumexp(x, axis, weights=weights, return_sign=True)
            expected = logsumexp(
                np.broadcast_to(x, full).copy(), axis, weights=np.broadcast_to(weights, full).copy(), return_sign=True
            )
            assert same_bits(got[0], expected[0])
            assert same_bits(got[1], expected[1])
    assert logsumexp(np.zeros((4, 1, 2, 1)), None, weights=np.ones((3, 1, 5))) == pytest.approx(np.log(120))
    masked = logsumexp(x[0, 0], weights=np.ones((2, 6)), where=[True, False] * 3)
    assert same_bits(masked, np.full(2, logsumexp(x[0, 0, ::2], weights=np.ones(3))))


@pytest.mark.parametrize("code", ["?", "i1", "u1", "i8", "u8", "f2", "f4", ">f4", ">f8", "bfloat16", "g"])
def test_weights_of_any_real_dtype(code, x):
    weights = np.arange(6).astype(ml_dtypes.bfloat16 if code == "bfloat16" else code)
    assert same_bits(logsumexp(x, weights=weights), logsumexp(x, weights=weights.astype(float)))
    assert logsumexp(x.astype(np.float32), weights=weights).dtype == np.float32
    assert same_bits(logsumexp(x, weights=weights.tolist()), logsumexp(x, weights=weights.astype(float)))


@pytest.mark.parametrize("code", ["?", "i1", "u8", "f2", ">f4", ">f8"])
def test_scores_of_any_real_dtype(code, weights):
    x = np.arange(6).astype(code)
    wide = x.astype(float if x.dtype.kind in "biu" else x.dtype.newbyteorder("="))
    assert same_bits(logsumexp(x, weights=weights), logsumexp(wide, weights=weights))
    if code == "f2":
        assert same_bits(
            logsumexp(x, weights=weights, return_sign=True)[0],
            logsumexp(x.astype(np.float32), weights=weights, return_sign=True)[0].astype(np.float16),
        )


def test_strides_do_not_matter(x, weights):
    expected = logsumexp(x, weights=weights, return_sign=True)[0]
    unaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(float).reshape(x.shape)
    unaligned[...] = weights
    for other in (unaligned, np.asfortranarray(weights), np.repeat(weights, 3, -1)[..., ::3]):
        other.flags.writeable = False
        assert same_bits(logsumexp(np.asfortranarray(x), weights=other, return_sign=True)[0], expected)
    backwards = logsumexp(x[..., ::-1], weights=weights[..., ::-1], return_sign=True)[0]
    np.testing.assert_allclose(backwards, expected, rtol=1e-13)


def test_it_agrees_with_the_reference(x, weights):
    for axis in (-1, 0, None):
        got = logsumexp(x, axis, weights=weights, where=x < 3, return_sign=True)
        expected = reference.logsumexp(x, axis, weights=weights, where=x < 3, return_sign=True)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-12)
        np.testing.assert_array_equal(got[1], expected[1])


def test_documented_values():
    """SciPy's example of b."""
    assert logsumexp(np.arange(10), weights=np.arange(10, 0, -1)) == pytest.approx(9.9170178533034665, rel=1e-15)


def test_what_does_not_fit_is_refused(x):
    for weights, dtype in (([1j], "complex128"), (["a"], "<U1"), ([None], "object")):
        message = rf"^weights must hold real numbers, got dtype {re.escape(dtype)}$"
        with pytest.raises(TypeError, match=message):
            logsumexp(x, weights=weights)
    with pytest.raises(ValueError, match=r"^weights must broadcast against x, shape \(4, 5, 6\), got shape \(5,\)$"):
        logsumexp(x, weights=np.ones(5))
    with pytest.raises(ValueError, match=r"^where must broadcast to the shape of x, \(4, 5, 6\), got shape \(2, "):
        logsumexp(x, weights=np.ones((2, 4, 5, 6)), where=np.ones((2, 4, 5, 6), bool))
