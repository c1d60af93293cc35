"""sigmoid and log_sigmoid: errors over the whole range, what holds at its ends, dtypes, and memory of every kind."""

import re
import tracemalloc
import warnings

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import BITS, DTYPES, LONG_DOUBLE_IS_WIDE, VOLUME, WIDE, Tally, same_bits
from slices import INF, NAN

from softmax import _native, log_sigmoid, log_softmax, reference, sigmoid, softmax

BOTH = (sigmoid, log_sigmoid)
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
SIZES = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 4095, 4096, 4097)
MANY = int(100_000 * VOLUME)
LONG = 20 * 4096 + 7  # entries that threads share
BOUND = (2, 1)  # ulp; steps below the normal range
examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(200 * VOLUME) + 10)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0, 3, (4, 5, 6))


def by_mpmath(x):
    """Exact values of both for finite entries, as arrays of mpmath numbers."""
    values = np.empty((2, *x.shape), object)
    with mpmath.workprec(BITS):
        for at in np.ndindex(x.shape):
            v = mpmath.mpf(float(x[at]))
            small = mpmath.exp(-abs(v)) if abs(v) < 2**20 else mpmath.mpf(0)
            values[(0, *at)] = (small if v < 0 else 1) / (1 + small)
            values[(1, *at)] = min(v, mpmath.mpf(0)) - mpmath.log1p(small)
    return values


def exact(x):
    """The same in long double, within a few of its roundings."""
    if not LONG_DOUBLE_IS_WIDE:
        return by_mpmath(x[:: len(x) // 1000 + 1])
    wide = x.astype(WIDE)
    small = np.exp(-abs(wide))
    return np.where(wide < 0, small, 1) / (1 + small), np.minimum(wide, 0) - np.log1p(small)


def add(tally, x, case, oracle=exact):
    x = x if oracle is by_mpmath or LONG_DOUBLE_IS_WIDE else x[:: len(x) // 1000 + 1]
    for function, true in zip(BOTH, oracle(x), strict=True):
        tally.add(function.__name__, function(x), true, BOUND, case)


def around(dtype, values, steps):
    """Each value with as many neighbours on either side."""
    values = np.array(values, dtype)[:, np.newaxis]
    return (values + np.spacing(abs(values)) * np.arange(-steps, steps + 1, dtype=dtype)).ravel()


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_over_the_whole_range(dtype, tally):
    info, rng = np.finfo(dtype), np.random.default_rng(3)
    normal, smallest = -np.log(float(info.tiny)), -np.log(float(info.smallest_subnormal))
    with tally:
        for scale in (1e-30, 1e-5, 0.1, 1, 10, 1e4, float(info.max) / 8):
            add(tally, rng.normal(0, scale, MANY).astype(dtype), f"N(0, {scale:g}^2)")
        for low, high, case in (
            (-smallest - 10, smallest + 10, "the whole range"),
            (-1, 1, "around 0"),
            (-normal - 2, -normal + 2, "around the smallest normal number"),
            (-smallest - 2, -normal, "subnormal probabilities"),
            (normal - 2, smallest + 2, "subnormal logarithms"),
            (-info.nmant * 0.7 - 5, -info.nmant * 0.7 + 5, "around eps"),
            (info.nmant * 0.7 - 5, info.nmant * 0.7 + 15, "around 1 - eps"),
        ):
            add(tally, np.linspace(low, high, MANY).astype(dtype), case)
        powers = np.exp2(rng.uniform(info.minexp - info.nmant, 10, MANY)) * rng.choice([-1, 1], MANY)
        add(tally, powers.astype(dtype), "every order of magnitude")


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_at_hard_places(dtype, tally):
    """Every number on either side of where the algorithm, or the result, changes."""
    info = np.finfo(dtype)
    octaves = int(-info.minexp + info.nmant) + 4
    places = {
        "multiples of log 2": np.arange(-octaves, octaves) * np.log(2),
        "half a logarithm of 2 either side": (np.arange(-octaves, octaves) + 0.5) * np.log(2),
        "where log1p(e) becomes e": [(info.nmant + 9) * np.log(2)],
        "ends of float32's range": [s * v for s in (-1, 1) for v in (87.34, 88.02, 88.72, 103.28, 103.98)],
        "ends of float64's range": [s * v for s in (-1, 1) for v in (708.4, 709.1, 709.78, 744.44, 745.13)],
        "ends of the range that is not shifted": [-2048, 2048],
        "powers of two": [s * 2.0**n for s in (-1, 1) for n in range(-30, 10)],
    }  # fmt: skip
    with tally:
        for case, values in places.items():
            add(tally, around(dtype, values, 30), case)
        step, tiny, huge = float(info.smallest_subnormal), float(info.tiny), float(info.max)
        ends = np.array([0, -0.0, step, -step, tiny, -tiny, info.eps, -info.eps, huge, -huge], dtype)
        add(tally, ends, "ends of the dtype", by_mpmath)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_finite_entry(dtype):
    """Hypothesis looks for the one that is worst."""
    width = np.dtype(dtype).itemsize * 8

    @examples
    @given(hnp.arrays(dtype, 20, elements=st.floats(-800, 800, width=width) | st.floats(width=width, allow_nan=False)))
    def search(x):
        x[np.isinf(x)] = 0
        with Tally() as tally:
            add(tally, x, f"{x!r}", by_mpmath)

    search()


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_ends_of_the_range(dtype):
    x = np.array([-INF, INF, NAN, 0, -0.0], dtype)
    probs, logs = sigmoid(x), log_sigmoid(x)
    assert probs.dtype == logs.dtype == dtype
    np.testing.assert_array_equal(probs.astype(float), [0, 1, NAN, 0.5, 0.5])
    half = np.array(-np.log(WIDE(2))).astype(dtype)
    assert same_bits(logs.astype(WIDE), np.array([-INF, 0, NAN, half, half], dtype).astype(WIDE))
    assert not np.signbit(logs[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_stays_where_it_is(dtype):
    x = np.zeros(100, dtype)
    for place in (0, 17, 99):
        x[:] = 1
        x[place] = NAN
        for function in BOTH:
            result = function(x)
            assert np.isnan(result[place])
            assert (np.delete(result, place) == function(dtype(1))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sigmoid_of_large_scores_keeps_its_figures(dtype):
    x = np.array([15, 20, 50, 80, 87], dtype)
    np.testing.assert_allclose(log_sigmoid(x), -np.log1p(np.exp(-x.astype(float))), rtol=np.finfo(dtype).eps)
    np.testing.assert_array_equal(log_sigmoid(-x * 10), -x * 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_softmax_beside_a_zero(dtype):
    """Each within 2 ulp of the same exact value."""
    x = np.concatenate([np.linspace(-50, 50, 1001), [0, INF, -INF, 1e4, -1e4]]).astype(dtype)
    pairs = np.stack([x, np.zeros_like(x)], axis=-1)
    np.testing.assert_array_max_ulp(sigmoid(x), softmax(pairs)[:, 0], 3)
    log_probs = log_softmax(pairs)[:, 0]
    finite = np.isfinite(log_probs)
    np.testing.assert_array_max_ulp(log_sigmoid(x)[finite], log_probs[finite], 3)
    np.testing.assert_array_equal(log_sigmoid(x)[~finite], log_probs[~finite])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_score_and_its_negative_share_1(dtype):
    x = np.random.default_rng(1).normal(0, 10, 10000).astype(dtype)
    assert abs(sigmoid(x).astype(WIDE) + sigmoid(-x) - 1).max() <= np.finfo(dtype).eps
    np.testing.assert_allclose(
        log_sigmoid(x) - log_sigmoid(-x), x, rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_probability_exceeds_one(dtype):
    """Nor does its logarithm exceed 0."""
    x = np.concatenate([np.linspace(-1, 60, 100_001), around(dtype, np.arange(60) * np.log(2), 100)]).astype(dtype)
    assert sigmoid(x).max() <= 1
    assert log_sigmoid(x).max() <= 0


# dtypes


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    "dtype", ["bool", *(f"{kind}{width}" for kind in ("int", "uint") for width in (8, 16, 32, 64))]
)
def test_integers_are_converted_to_float64_first(dtype, function):
    info = None if dtype == "bool" else np.iinfo(dtype)
    x = np.array([False, True] if info is None else [info.min, info.max, 0, 1], dtype)
    result = function(x)
    assert result.dtype == np.float64
    assert same_bits(result, function(x.astype(np.float64)))


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype, function):
    """All 65536 numbers."""
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    with np.errstate(all="ignore"):
        expected = function(x.astype(np.float32)).astype(dtype)
    with np.errstate(all="raise"):
        result = function(x)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("function", BOTH)
def test_longdouble_is_kept(function, x):
    x = x.astype(np.longdouble) / 3
    result = function(x)
    assert result.dtype == np.longdouble
    assert same_bits(result, getattr(reference, function.__name__)(x))
    out = np.empty(x.shape, np.float32)
    assert same_bits(function(x, out=out), result.astype(np.float32))


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("code", ["f2", "f4", "f8", "i2", "u4", "i8"])
def test_byte_order_does_not_matter(code, function, x):
    native = np.array(10 * x, code)
    swapped = native.astype(native.dtype.newbyteorder())
    assert same_bits(function(swapped), function(native))
    assert function(swapped).dtype.isnative
    out = np.empty(x.shape, ">f8")
    assert function(swapped, out=out) is out
    assert same_bits(out.astype(float), function(native, out=np.empty(x.shape)))


@pytest.mark.parametrize("function", BOTH)
def test_scalars_and_lists(function):
    for value in (1.5, 1, True, np.float32(1.5), np.int8(1), np.array(1.5)):
        result = function(value)
        assert isinstance(result, np.floating)
        assert result.dtype == (np.float32 if isinstance(value, np.float32) else np.float64)
        assert result == function(np.asarray(value)[np.newaxis])[0]
    assert same_bits(function([[1, 2.5], [3, 4]]), function(np.array([[1, 2.5], [3, 4]])))
    assert function(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 3)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_masked_entry_has_no_probability(dtype):
    """It counts as -inf, whatever it holds; what is under the mask stays as it was."""
    x = np.ma.array(np.array([1, NAN, INF, 2], dtype), mask=[False, True, True, False])
    before = x.data.copy()
    for function, nothing in ((sigmoid, 0), (log_sigmoid, -INF)):
        result = function(x)
        assert type(result) is np.ndarray
        assert result[1] == result[2] == nothing
        assert same_bits(result[::3].astype(WIDE), function(before[::3]).astype(WIDE))
        assert same_bits(function(x, out=np.empty(4, dtype)).astype(WIDE), result.astype(WIDE))
    assert same_bits(x.data.astype(WIDE), before.astype(WIDE))
    assert sigmoid(np.ma.array([1, 2], mask=[True, False]))[0] == 0


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("x", [[1j, 2], [object(), 1], ["a"], [b"a"], [None, 1.0], np.zeros(2, "M8[s]")])
def test_what_is_not_a_real_number_is_refused_by_its_dtype(x, function):
    message = rf"^x must hold real numbers, got dtype {re.escape(str(np.asarray(x).dtype))}$"
    with pytest.raises(TypeError, match=message):
        function(x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_floating_point_exception_comes_of_finite_scores(dtype):
    info = ml_dtypes.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, 0, 10, 60, 100, 1000, 60000]
    x = np.array([*ends, *(-np.array(ends, dtype))], dtype)
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for function in BOTH:
            function(x)
            function(np.tile(x, 5000))
            for out in (np.empty(x.shape, np.float16), np.empty(x.shape, np.float32), np.empty(x.shape, np.longdouble)):
                function(x, out=out)


# Memory


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_entry_gives_the_same_bits_wherever_it_lies(dtype, function):
    """Whatever is beside it, in vectors filled or not, spread, reversed, repeated, unaligned, by rows or by columns."""
    base = np.random.default_rng(5).normal(0, 20, LONG).astype(dtype)
    expected = function(base)
    for size in SIZES:
        assert same_bits(function(base[:size]), expected[:size])
        assert same_bits(function(base[3 : 3 + size]), expected[3 : 3 + size])
    assert same_bits(function(base[5]), expected[5])
    assert same_bits(function(base[::-1]), expected[::-1])
    assert same_bits(function(base[::7]), expected[::7])
    assert same_bits(function(base[: 80 * 1000].reshape(80, 1000).T), expected[: 80 * 1000].reshape(80, 1000).T)
    assert same_bits(function(np.broadcast_to(base[:9], (5000, 9))), np.broadcast_to(expected[:9], (5000, 9)))
    memory = np.empty(base.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(dtype)
    unaligned[:] = base
    assert same_bits(function(unaligned), expected)
    base.flags.writeable = False
    assert same_bits(function(base), expected)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(dtype, function):
    base = np.random.default_rng(5).normal(0, 20, (2, 50 * LONG))[:, ::3].astype(dtype)
    before, results = _native.num_threads(), []
    try:
        for threads in (1, 2, 3):
            _native.set_num_threads(threads)
            results.append(function(base))
    finally:
        _native.set_num_threads(before)
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", FLOATS)
def test_out_is_filled_and_returned(dtype, function, x):
    x = x.astype(dtype)
    expected = function(x)
    for out in (
        np.empty(x.shape, dtype),
        np.empty(x.shape, dtype, order="F"),
        np.empty(x.shape, dtype)[::-1, :, ::-1],
        np.empty((8, 10, 18), dtype)[::2, ::2, ::3],
        np.empty(x.nbytes + 1, np.uint8)[1:].view(dtype).reshape(x.shape),
    ):
        assert function(x, out=out) is out
        assert same_bits(out.astype(WIDE), expected.astype(WIDE))
    for other in (np.float16, np.float32, np.float64, np.longdouble, ">f4", ml_dtypes.bfloat16):
        out = np.empty(x.shape, other)
        assert function(x, out=out) is out
        computed = function(x.astype(np.float32)) if np.dtype(dtype).itemsize == 2 else function(x)
        np.testing.assert_array_equal(out.astype(WIDE), computed.astype(other).astype(WIDE))
    out = np.empty((), dtype)
    assert function(x[0, 0, 0], out=out) is out


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", FLOATS)
def test_out_may_be_the_input(dtype, function):
    for size in (5, 4097, LONG):
        for step in (1, -1, 3):
            mine = np.random.default_rng(size).normal(0, 3, 3 * size).astype(dtype)[: size * abs(step) : step]
            expected = function(mine.copy())
            assert function(mine, out=mine) is mine
            assert same_bits(mine.astype(WIDE), expected.astype(WIDE))


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_overlap_the_input(dtype, function):
    """As if the input had been copied first, in either direction, on any number of threads."""
    before = _native.num_threads()
    try:
        for threads in (1, 3):
            _native.set_num_threads(threads)
            for size in (5, 40, 5000, LONG):
                for shift in (1, -1, 3, -3, 4096):
                    memory = np.random.default_rng(size).normal(0, 3, size + abs(shift)).astype(dtype)
                    low, high = memory[:size], memory[abs(shift) : abs(shift) + size]
                    x, out = (low, high) if shift > 0 else (high, low)
                    expected = function(x.copy())
                    assert same_bits(function(x, out=out), expected)
                memory = np.random.default_rng(size).normal(0, 3, 2 * size).astype(dtype)
                for x, out in (
                    (memory[:size], memory[:size][::-1]),
                    (memory[::2], memory[:size]),
                    (memory[:size], memory[::2]),
                    (memory[::-2], memory[:size]),
                ):
                    expected = function(x.copy())
                    assert same_bits(function(x, out=out), expected)
    finally:
        _native.set_num_threads(before)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_but_out_is_written(dtype, function):
    for size in SIZES:
        x = np.random.default_rng(size).normal(0, 3, size).astype(dtype)
        x.flags.writeable = False
        memory = np.full(size + 40, 77, dtype)
        function(x, out=memory[20 : 20 + size])
        assert same_bits(memory[20 : 20 + size], function(x))
        memory[20 : 20 + size] = 77
        assert (memory == 77).all()
        spread = np.full(3 * size + 3, 77, dtype)
        function(x, out=spread[1 : 3 * size + 1 : 3])
        spread[1 : 3 * size + 1 : 3] = 77
        assert (spread == 77).all()


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", [np.int8, np.float16, ml_dtypes.bfloat16, np.float32, np.float64, ">f8"])
def test_a_call_holds_nothing_beside_its_result(dtype, function):
    """Conversions run by blocks."""
    x = np.zeros(1_000_000, dtype)
    out = np.empty(x.shape, np.float16 if x.dtype.kind == "f" else np.float64)
    tracemalloc.start()
    try:
        function(x, out=out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(6), ValueError, r"^out must have the result's shape \(4, 5, 6\), got \(6,\)$"),
        (np.empty((1, 4, 5, 6)), ValueError, r"^out must have the result's shape \(4, 5, 6\), got \(1, 4, 5, 6\)$"),
        (np.broadcast_to(0.0, (4, 5, 6)), ValueError, "^out must be writeable, got a read-only array$"),
        ([0.0], TypeError, "^out must be a numpy array, got list$"),
        (np.empty((4, 5, 6), int), TypeError, "^out must have a floating-point dtype, got int64$"),
        (np.empty((4, 5, 6), complex), TypeError, "^out must have a floating-point dtype, got complex128$"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(function, out, error, message, x):
    with pytest.raises(error, match=message):
        function(x, out=out)
