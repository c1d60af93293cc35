"""What the softmax family promises beyond its error: degenerate slices, masks, dtypes, axes, temperatures, out."""

import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import DTYPES, VOLUME, errors_in_ulp, exact, exact_by_mpmath, same_bits
from slices import INF, NAN

from softmax import log_softmax, logsumexp, reference, softmax

FAMILY = (softmax, log_softmax)
ALL = (softmax, log_softmax, logsumexp)
FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 4095, 4096, 4097)
examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(100 * VOLUME) + 10)


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0, 3, (4, 5, 6))


# Nothing to sum, and no exception


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (0, 0), (2, 0, 3)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_empty_arrays(shape, dtype):
    empty = np.empty(shape, dtype)
    for axis in (*range(len(shape)), -1, None, tuple(range(len(shape)))):
        for function in FAMILY:
            for options in ({}, {"where": np.ones(shape, bool)}, {"temperature": 2.0}, {"temperature": 0}):
                result = function(empty, axis, **options)
                assert result.shape == shape
                assert result.dtype == dtype
        total = logsumexp(empty, axis)
        assert total.dtype == dtype
        np.testing.assert_array_equal(total, np.full(empty.sum(axis=axis).shape, -INF, dtype))


def test_a_temperature_for_each_of_no_rows():
    assert softmax(np.empty((0, 3)), temperature=np.ones((0, 1))).shape == (0, 3)


@pytest.mark.parametrize("function", FAMILY)
def test_an_array_without_axes_is_one_entry(function):
    result = function(5.0, axis=None)
    assert result.shape == ()
    assert result == (1.0 if function is softmax else 0.0)
    assert logsumexp(5.0, axis=None) == 5.0
    assert function(-INF, axis=()) == (0.0 if function is softmax else -INF)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_floating_point_exception_reaches_numpy(dtype):
    """Underflow, overflow and division by zero inside a kernel are part of a right result."""
    info = np.finfo(dtype)
    hard = np.array([info.max, -info.max, info.tiny, info.smallest_subnormal, 0, -100, -INF, 1e3], dtype)
    with np.errstate(all="raise"):
        for temperature in (1.0, 1e-3, 1e3, 5e-324, 1e-300, 1e300, 0, INF):
            for function in FAMILY:
                function(hard, temperature=temperature)
                function(np.tile(hard, 10000), temperature=temperature)
                function(hard, temperature=temperature, where=hard < 1)
        logsumexp(hard)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, *DTYPES, np.longdouble])
def test_no_floating_point_exception_comes_of_rounding_a_result(dtype):
    """Of finite scores: neither a warning by default, nor an error where the caller asks for them."""
    scores = np.array([0, -15, -100, -1000, -60000], dtype)
    with np.errstate(all="raise"):
        for function in FAMILY:
            function(scores)
            function(-scores, temperature=0.5)
            function(np.array([0, -100, -12000.0]), dtype=dtype)
            function(np.array([0, -100, -12000.0]), out=np.empty(3, dtype))
        logsumexp(scores)


def test_a_result_beyond_the_range_of_a_narrow_dtype_is_infinite_without_a_warning():
    assert log_softmax(np.float16([6e4, -6e4])).tolist() == [0, -INF]
    assert log_softmax([1e300, 0], dtype=np.float32).tolist() == [0, -INF]


# Masks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_mask_leaves_the_subset(size, dtype):
    """The values of the subset alone; outside it exactly 0, whatever is there."""
    rng = np.random.default_rng(size)
    for share in (0.1, 0.5, 0.9):
        keep = rng.random(size) < share
        keep[rng.integers(size)] = True
        x = rng.normal(0, 10, size).astype(dtype)
        true = exact(x[keep])
        x[~keep] = rng.choice(np.array([NAN, INF, -INF, 1e30, 0], dtype), size)[~keep]
        probs, log_probs = softmax(x, where=keep), log_softmax(x, where=keep)
        assert (probs[~keep] == 0).all()
        assert (log_probs[~keep] == -INF).all()
        assert errors_in_ulp(probs[keep], true.probs).max() <= 2
        assert errors_in_ulp(log_probs[keep], true.log_probs).max() <= 2
        assert errors_in_ulp(logsumexp(x, where=keep), true.logsumexp, true.logsumexp_unit) <= 1


@examples
@given(st.data())
def test_a_mask_leaves_the_subset_at_any_temperature(data):
    anything = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-10, 10)
    x = data.draw(hnp.arrays(np.float64, st.integers(1, 12), elements=anything))
    keep = data.draw(hnp.arrays(bool, x.shape))
    x[keep & np.isnan(x)] = 1
    extreme = st.sampled_from([0.0, 1.0, INF, 5e-324, 1e-200, 2.0**-61, 2.0**61, 1e200])
    temperature = data.draw(st.floats(1e-3, 1e3) | extreme)
    for function, rest in ((softmax, 0), (log_softmax, -INF)):
        expected = np.full(x.shape, rest, np.float64)
        expected[keep] = function(x[keep], temperature=temperature)
        result = function(x, temperature=temperature, where=keep)
        np.testing.assert_allclose(result, expected, rtol=1e-15, atol=5e-324)
        np.testing.assert_array_equal(result[~keep], expected[~keep])
    np.testing.assert_allclose(logsumexp(x, where=keep), logsumexp(x[keep]), rtol=1e-15)


@pytest.mark.parametrize("function", ALL)
def test_a_mask_of_true_changes_no_bit(function, x):
    for where in (True, np.True_, np.ones(6, bool), np.ones((5, 1), bool), np.ones(x.shape, bool)):
        assert same_bits(function(x, where=where), function(x))


@pytest.mark.parametrize("function", ALL)
def test_a_mask_broadcasts_to_the_scores(function, x):
    for mask in (np.array(False), np.arange(6) % 2 == 0, (np.arange(5) % 2 == 0)[:, None], np.ones((4, 1, 1), bool)):
        assert same_bits(function(x, where=mask), function(x, where=np.broadcast_to(mask, x.shape).copy()))
        assert same_bits(function(x, where=mask.tolist()), function(x, where=mask))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, None, (0, 1), (0, 2), (-1, 1)])
def test_a_mask_works_along_every_axis(function, axis, x):
    keep = np.random.default_rng(2).random(x.shape) < 0.6
    hidden = np.where(keep, x, NAN)
    expected = function(np.where(keep, x, -INF), axis)
    np.testing.assert_array_equal(function(hidden, axis, where=keep), expected)


@pytest.mark.parametrize("function", ALL)
def test_the_mask_of_a_masked_array_counts(function, x):
    keep = np.random.default_rng(2).random(x.shape) < 0.6
    more = np.random.default_rng(3).random(x.shape) < 0.6
    masked = np.ma.array(np.where(keep, x, NAN), mask=~keep)
    result = function(masked)
    assert type(result) is np.ndarray
    assert same_bits(result, function(x, where=keep))
    assert same_bits(function(masked, where=more), function(x, where=keep & more))
    assert same_bits(function(np.ma.array(x)), function(x))


# dtypes


@pytest.mark.parametrize("function", ALL)
def test_longdouble_is_kept(function):
    x = np.random.default_rng(0).normal(0, 3, (3, 17)).astype(np.longdouble) / 3
    result = function(x)
    assert result.dtype == np.longdouble
    expected = {softmax: "probs", log_softmax: "log_probs", logsumexp: "logsumexp"}[function]
    expected = getattr(exact(x), expected).astype(np.longdouble)
    np.testing.assert_allclose(result, expected, rtol=20 * np.finfo(np.longdouble).eps)
    np.testing.assert_allclose(function(x, 0), np.moveaxis(function(x.T), -1, 0), rtol=1e-18)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
def test_dtype_longdouble_widens_the_computation(function, dtype, x):
    narrow = x.astype(dtype)
    assert same_bits(function(narrow, dtype=np.longdouble), function(narrow.astype(np.longdouble)))


@pytest.mark.parametrize("function", ALL)
def test_lists_and_scalars_are_arrays(function):
    assert same_bits(function([[1, 2.5], [3, 4]]), function(np.array([[1, 2.5], [3, 4]])))
    assert same_bits(function((np.float32(1), np.float32(2))), function(np.float32([1, 2])))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    "x", [[1j, 2], [object(), 1], ["a", "b"], [b"a"], [None, 1.0], np.zeros(2, "M8[s]"), np.zeros(2, "m8[s]")]
)
def test_what_is_not_a_real_number_is_refused_by_its_dtype(function, x):
    dtype = np.asarray(x).dtype
    with pytest.raises(TypeError, match=rf"^x must hold real numbers, got dtype {re.escape(str(dtype))}$"):
        function(x)


@pytest.mark.parametrize("function", FAMILY)
def test_dtype_widens_the_computation(function, x):
    narrow = x.astype(np.float32)
    assert same_bits(function(narrow, dtype=np.float64), function(narrow.astype(np.float64)))
    assert not np.array_equal(function(narrow, dtype=np.float64), function(narrow))
    half = x.astype(np.float16)
    assert same_bits(function(half, dtype="float32"), function(half.astype(np.float32)))


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, ">f4", ">f8"])
def test_dtype_rounds_once_at_the_end(function, dtype, x):
    result = function(x, dtype=dtype)
    assert result.dtype == dtype
    assert same_bits(result, function(x).astype(dtype))
    integers = np.rint(x).astype(np.int16)
    assert same_bits(function(integers, dtype=dtype), function(integers).astype(dtype))


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", [int, bool, complex, object, "U3"])
def test_dtype_must_be_a_floating_point_dtype(function, dtype):
    with pytest.raises(TypeError, match=f"^dtype must be a floating-point dtype, got {np.dtype(dtype)}$"):
        function([1.0, 2.0], dtype=dtype)


# Axes

AXES = (0, 1, 2, -1, -2, -3, None, (0,), (1, 2), (0, 2), (2, 0), (-1, 0), (0, 1, 2))


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_an_axis_is_that_axis_moved_to_the_end(function, axis, dtype, x):
    x = x.astype(dtype)
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % 3 for a in axes))
    rest = [a for a in range(3) if a not in axes]
    slices = x.transpose(rest + list(axes))
    flat = np.ascontiguousarray(slices).reshape(*slices.shape[: len(rest)], -1)
    expected = function(flat)
    if function is not logsumexp:
        expected = expected.reshape(slices.shape).transpose(np.argsort(rest + list(axes)))
    assert same_bits(function(x, axis), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_any_axis_of_any_shape_is_that_axis_moved_to_the_end(dtype, data):
    x = data.draw(hnp.arrays(dtype, hnp.array_shapes(max_dims=4, max_side=5), elements=st.floats(-50, 50, width=32)))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    for function in FAMILY:
        assert same_bits(function(x, axis), np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis))
    assert same_bits(logsumexp(x, axis), logsumexp(np.moveaxis(x, axis, -1)))


@pytest.mark.parametrize("function", ALL)
def test_axis_takes_numpy_integers(function, x):
    assert same_bits(function(x, np.int8(1)), function(x, 1))
    assert same_bits(function(x, (np.int64(-1), np.uint8(0))), function(x, (0, 2)))


@pytest.mark.parametrize("function", FAMILY)
def test_no_axis_in_a_tuple_makes_every_entry_a_slice(function, x):
    assert same_bits(function(x, ()), function(x[..., np.newaxis])[..., 0])
    assert same_bits(logsumexp(x, ()), x)


@pytest.mark.parametrize("axis", [0, -1, None, (0, 2), (-2,)])
def test_keepdims_keeps_the_axes_with_length_1(axis, x):
    kept, dropped = logsumexp(x, axis, keepdims=True), logsumexp(x, axis)
    assert kept.shape == x.sum(axis=axis, keepdims=True).shape
    assert dropped.shape == x.sum(axis=axis).shape
    np.testing.assert_array_equal(kept.ravel(), np.ravel(dropped))
    np.testing.assert_allclose(log_softmax(x, axis), x - kept, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("axis", [3, -4, (0, 3), (1, -4)])
def test_an_axis_out_of_range_is_an_axis_error(function, axis, x):
    wrong = axis if isinstance(axis, int) else axis[1]
    with pytest.raises(np.exceptions.AxisError, match=rf"axis {wrong} is out of bounds for array of dimension 3"):
        function(x, axis)
    with pytest.raises(np.exceptions.AxisError, match="axis -1 is out of bounds for array of dimension 0"):
        function(1.0)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("axis", [1.0, "0", [0, 1], (0, 1.5), (None,)])
def test_an_axis_of_another_type_is_a_type_error(function, axis, x):
    with pytest.raises(
        TypeError, match=rf"^axis must be an int, a tuple of ints or None, got {re.escape(repr(axis))}$"
    ):
        function(x, axis)


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("axis", [(0, 0), (1, -2)])
def test_an_axis_named_twice_is_a_value_error(function, axis, x):
    with pytest.raises(ValueError, match="repeated axis"):
        function(x, axis)


# Temperatures


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 2), None])
def test_every_slice_may_have_its_own_temperature(function, axis, x):
    """The shape of the result of a reduction with keepdims, so that it broadcasts; each slice as if alone."""
    shape = x.sum(axis=axis, keepdims=True).shape
    temperature = np.exp(np.random.default_rng(4).normal(0, 1, shape))
    result = function(x, axis, temperature=temperature)
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis % 3,)
    for index in np.ndindex(shape):
        place = tuple(slice(None) if a in axes else i for a, i in enumerate(index))
        assert same_bits(result[place], function(x[place], None, temperature=temperature[index]))


@pytest.mark.parametrize("function", FAMILY)
def test_temperatures_without_the_leading_axes_broadcast(function, x):
    column = np.array([[0.5], [1.0], [2.0], [0.0], [INF]])
    assert same_bits(function(x, temperature=column), function(x, temperature=np.broadcast_to(column, (4, 5, 1))))
    along_first = np.array([0.5, 1, 2, 3, 4, 5])
    expected = function(x, 0, temperature=np.broadcast_to(along_first, (1, 5, 6)))
    assert same_bits(function(x, 0, temperature=along_first), expected)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("axis", [-1, 0])
def test_many_temperatures_broadcast_one_slice(function, axis):
    """One row of scores seen at several temperatures: the result is larger than x."""
    scores = np.array([1.0, 2.0, 4.0])
    temperatures = np.array([0.5, 1.0, 2.0, 0.0, INF])
    result = function(scores, temperature=temperatures[:, np.newaxis])
    assert result.shape == (5, 3)
    for row, temperature in zip(result, temperatures, strict=True):
        assert same_bits(row, function(scores, temperature=temperature))
    table = np.tile(scores[:, np.newaxis], (1, 2))
    many = function(table, axis, temperature=temperatures.reshape(5, 1, 1))
    assert many.shape == (5, 3, 2)
    for part, temperature in zip(many, temperatures, strict=True):
        assert same_bits(part, function(table, axis, temperature=temperature))
    keep = np.array([True, False, True])
    masked = function(scores, temperature=temperatures[:, np.newaxis], where=keep)
    for row, temperature in zip(masked, temperatures, strict=True):
        assert same_bits(row, function(scores, temperature=temperature, where=keep))


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("kind", [int, np.float16, np.float32, np.longdouble, ml_dtypes.bfloat16, "u1", ">f8"])
def test_temperature_may_have_any_real_dtype(function, kind, x):
    assert same_bits(function(x, temperature=np.array(2, kind)), function(x, temperature=2.0))
    assert same_bits(function(x, temperature=True), function(x))


@pytest.mark.parametrize("function", FAMILY)
def test_temperature_keeps_the_dtype_of_the_scores(function, x):
    assert function(x.astype(np.float32), temperature=np.float64(0.5)).dtype == np.float32
    assert function(x.astype(np.float16), temperature=np.ones((4, 5, 1))).dtype == np.float16


@pytest.mark.parametrize("function", FAMILY)
def test_temperature_divides_the_scores(function, x):
    """Exactly so for a power of two; softer above 1, sharper below."""
    for temperature in (0.25, 0.5, 2.0, 1024.0):
        np.testing.assert_array_max_ulp(function(x, temperature=temperature), function(x / temperature), 3)
    peak = [softmax(x, temperature=t).max() for t in (0.1, 1, 10)]
    assert peak[0] > peak[1] > peak[2]


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (-1, "got -1$"),
        (-5e-324, "got -5e-324$"),
        (-INF, "got -inf$"),
        (NAN, "got nan$"),
        ([[1.0], [NAN]], r"got nan at index \(1, 0\)$"),
        (np.float32([[-0.5], [1]]), r"got -0.5 at index \(0, 0\)$"),
    ],
)
def test_negative_and_nan_temperatures_are_refused(function, temperature, message):
    with pytest.raises(ValueError, match=r"^temperature must be >= 0, " + message):
        function(np.zeros((2, 3)), temperature=temperature)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("temperature", [1j, "1", None, [object()]])
def test_temperatures_that_are_not_real_are_refused(function, temperature):
    dtype = np.asarray(temperature).dtype
    with pytest.raises(TypeError, match=rf"^temperature must be a real number, got dtype {re.escape(str(dtype))}$"):
        function(np.zeros((2, 3)), temperature=temperature)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (3,)), (-1, (2, 3)), (0, (2, 1)), (0, (2, 3)), (None, (1, 3)), ((0, 1), (2,))]
)
def test_a_temperature_has_length_1_along_the_axis(function, axis, shape):
    named = {-1: "-1", 0: "-2"}.get(axis, "-2, -1") if not isinstance(axis, tuple) else "-2, -1"
    message = rf"^temperature must have length 1 along axis {named}, got shape {re.escape(str(shape))}$"
    with pytest.raises(ValueError, match=message):
        function(np.zeros((2, 3)), axis, temperature=np.ones(shape))


# out


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("axis", [0, -1, None, (0, 2)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_out_may_be_the_input(function, axis, dtype, x):
    x = x.astype(dtype)
    for options in ({}, {"where": x > 0}, {"temperature": 2.0}):
        for view in (lambda a: a, lambda a: a[:, ::-1], lambda a: a.transpose(1, 0, 2)):
            mine = view(x.copy())
            some = {k: view(v) if k == "where" else v for k, v in options.items()}
            expected = function(mine.copy(), axis, **some)
            assert function(mine, axis, out=mine, **some) is mine
            assert same_bits(mine, expected)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_overlap_the_input(function, dtype):
    """As if the input had been copied first, in either direction."""
    for size in (5, 40, 5000):
        for shift in (1, -1, 3):
            memory = np.random.default_rng(size).normal(0, 3, size + 3).astype(dtype)
            low, high = memory[:size], memory[abs(shift) : abs(shift) + size]
            x, out = (low, high) if shift > 0 else (high, low)
            expected = function(x.copy())
            assert same_bits(function(x, out=out), expected)
        memory = np.random.default_rng(size).normal(0, 3, size).astype(dtype)
        expected = function(memory.copy())
        assert same_bits(function(memory, out=memory[::-1]), expected)


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_but_out_is_written(function, dtype):
    """Read-only operands, and guards on every side of out, lanes and blocks filled or not."""
    for size in SIZES:
        x = np.random.default_rng(size).normal(0, 3, (2, size)).astype(dtype)
        keep, temperature = x > -1, np.full((2, 1), 0.5)
        for operand in (x, keep, temperature):
            operand.flags.writeable = False
        for options in ({}, {"where": keep, "temperature": temperature}):
            memory = np.full((4, size + 40), 77, dtype)
            function(x, out=memory[1:3, 20:-20], **options)
            assert same_bits(memory[1:3, 20:-20], function(x, **options))
            memory[1:3, 20:-20] = 77
            assert (memory == 77).all()
            spread = np.full((2, 3 * size + 3), 77, dtype)
            function(x, out=spread[:, 1 : 3 * size : 3], **options)
            spread[:, 1 : 3 * size : 3] = 77
            assert (spread == 77).all()


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.longdouble])
def test_out_may_have_another_floating_dtype(function, dtype, x):
    out = np.empty(x.shape, dtype)
    function(x, out=out)
    assert same_bits(out, function(x).astype(dtype))
    function(x.astype(np.float32), out=out, dtype=np.float64)
    assert same_bits(out, function(x.astype(np.float32).astype(np.float64)).astype(dtype))


@pytest.mark.parametrize("function", FAMILY)
def test_out_has_the_broadcast_shape(function):
    x, temperature = np.arange(3.0), np.array([[1.0], [2.0]])
    out = np.empty((2, 3))
    assert same_bits(function(x, temperature=temperature, out=out), function(x, temperature=temperature))
    with pytest.raises(ValueError, match=r"^out must have the result's shape \(2, 3\), got \(3,\)$"):
        function(x, temperature=temperature, out=np.empty(3))
    wide, column = np.zeros((3, 4)), np.ones((2, 1, 4))
    out = np.empty((2, 3, 4))
    assert same_bits(function(wide, 0, temperature=column, out=out), function(wide, 0, temperature=column))


@pytest.mark.parametrize("function", FAMILY)
@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (np.empty(3), ValueError, r"^out must have the result's shape \(2, 3\), got \(3,\)$"),
        (np.empty((3, 2)), ValueError, r"^out must have the result's shape \(2, 3\), got \(3, 2\)$"),
        (np.empty((1, 2, 3)), ValueError, r"^out must have the result's shape \(2, 3\), got \(1, 2, 3\)$"),
        (np.broadcast_to(0.0, (2, 3)), ValueError, "^out must be writeable, got a read-only array$"),
        ([[0.0] * 3] * 2, TypeError, "^out must be a numpy array, got list$"),
        ((np.empty((2, 3)),), TypeError, "^out must be a numpy array, got tuple$"),
        (np.empty((2, 3), int), TypeError, "^out must have a floating-point dtype, got int64$"),
        (np.empty((2, 3), bool), TypeError, "^out must have a floating-point dtype, got bool$"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(function, out, error, message):
    x = np.arange(6.0).reshape(2, 3)
    with pytest.raises(error, match=message):
        function(x, out=out)
    with pytest.raises(error, match=message):
        function(x.astype(np.longdouble), out=out)


@pytest.mark.parametrize("function", FAMILY)
def test_temperatures_that_do_not_broadcast_are_refused_by_name(function):
    for temperature in (np.ones((3, 1)), np.ones((2, 3, 1))):
        message = rf"^temperature must .*{re.escape(str(temperature.shape))}$"
        with pytest.raises(ValueError, match=message):
            function(np.zeros((4, 5)), temperature=temperature)
        with pytest.raises(ValueError, match=message):
            function(np.zeros((4, 5)), temperature=temperature, out=np.zeros((4, 5)))


# Masks that do not fit


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ([1, 0, 1], TypeError, "^where must be boolean, got dtype int64$"),
        ([0.0, 1.0, 1.0], TypeError, "^where must be boolean, got dtype float64$"),
        ([True] * 2, ValueError, r"^where must broadcast to the shape of x, \(2, 3\), got shape \(2,\)$"),
        ([[[True]]] * 2, ValueError, r"^where must broadcast to the shape of x, \(2, 3\), got shape \(2, 1, 1\)$"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(function, where, error, message):
    with pytest.raises(error, match=message):
        function(np.zeros((2, 3)), where=where)


# Identities


def test_documented_values():
    """Of issue trackers and tutorials."""
    np.testing.assert_allclose(softmax([0.7, 1.5, 4.8]), [0.01573172, 0.03501159, 0.94925668], atol=5e-9)
    np.testing.assert_allclose(softmax([13, 31, 5]), [1.52299795e-08, 9.99999985e-01, 5.10908895e-12], rtol=5e-9)
    np.testing.assert_allclose(softmax([0, 100, 0]), [3.72007598e-44, 1, 3.72007598e-44], rtol=5e-9)
    np.testing.assert_allclose(softmax([-3.44, 1.16, -0.81, 3.91])[3], 0.9315, atol=5e-5)
    assert softmax([2.33, -1.46, 0.56]).sum() == pytest.approx(1, rel=1e-15)
    assert softmax([2.33, -1.46, 0.56]).argmax() == 0
    np.testing.assert_allclose(logsumexp([1000.0, 1000.0]), 1000 + np.log(2), rtol=1e-16)


finite_slices = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-300, 300))


@examples
@given(finite_slices, st.data())
def test_the_kernels_agree_with_the_reference(x, data):
    """At any axis, temperature and mask; the reference itself rounds x - max, which costs it up to 300 ulp here."""
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1) | st.none())
    temperature = data.draw(st.floats(0.5, 100) | st.sampled_from([0.0, 1.0, INF]))
    where = data.draw(st.none() | hnp.arrays(bool, x.shape))
    for function in FAMILY:
        got = function(x, axis, temperature=temperature, where=where)
        expected = getattr(reference, function.__name__)(x, axis, temperature=temperature, where=where)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-300)
    got, expected = logsumexp(x, axis, where=where), reference.logsumexp(x, axis, where=where)
    np.testing.assert_allclose(got, expected, rtol=1e-14, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_a_shift_of_all_scores_changes_nothing(dtype, data):
    """By multiples of 1/8, so that no score is rounded: within the bound of the same exact values."""
    eighths = data.draw(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(-800, 800)))
    shift = data.draw(st.integers(-(2**20), 2**20))
    shifted = ((eighths + shift) / 8).astype(dtype)
    true = exact_by_mpmath(eighths / 8)
    assert errors_in_ulp(softmax(shifted), true.probs).max() <= 2
    assert errors_in_ulp(log_softmax(shifted), true.log_probs).max() <= 2
    true = exact_by_mpmath(shifted)
    assert errors_in_ulp(logsumexp(shifted), true.logsumexp, true.logsumexp_unit) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_a_permutation_of_the_scores_permutes_the_probabilities(dtype, data):
    x = data.draw(hnp.arrays(dtype, st.integers(1, 40), elements=st.floats(-100, 100, width=32)))
    order = np.array(data.draw(st.permutations(range(len(x)))))
    true = exact_by_mpmath(x)
    assert errors_in_ulp(softmax(x[order]), true.probs[order]).max() <= 2
    assert errors_in_ulp(log_softmax(x[order]), true.log_probs[order]).max() <= 2
    assert errors_in_ulp(logsumexp(x[order]), true.logsumexp, true.logsumexp_unit) <= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_probabilities_sum_to_one(size, dtype):
    """Their errors average out: far within 2 ulp of each."""
    x = np.random.default_rng(size).normal(0, 5, (20, size)).astype(dtype)
    for temperature in (1.0, 0.3, 20.0):
        total = softmax(x, temperature=temperature).sum(axis=-1, dtype=np.longdouble)
        assert abs(total - 1).max() < 2 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_probability_exceeds_one(dtype):
    """Nor does its logarithm exceed 0, however sure the row."""
    x = np.random.default_rng(9).normal(0, 30, (20000, 1)).astype(dtype)
    for rows in (x, np.concatenate([x, -x], axis=1), np.concatenate([x, x - 100, x - 20], axis=1)):
        for temperature in (1.0, 0.7):
            assert softmax(rows, temperature=temperature).max() <= 1
            assert log_softmax(rows, temperature=temperature).max() <= 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_scores_have_equal_probabilities(dtype):
    """Bit for bit, wherever they stand: 1/K, and what stands beside them does not matter."""
    for size in SIZES:
        probs = softmax(np.full(size, 0.3, dtype))
        assert (probs == probs[0]).all()
        x = np.resize(np.array([1.7, -2.3, 0.4], dtype), size)
        probs = softmax(x)
        assert all((probs[i::3] == probs[i]).all() for i in range(min(3, size)))
