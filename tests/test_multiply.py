"""The native matrix product, and the same added to what is there, against NumPy's in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numerics import threads_limited_to

from softmax import _native

DTYPES = [np.float32, np.float64]
# Rows, columns and depth around the sizes of tiles, panels and blocks; several pieces; none.
SIZES = [
    (1, 1, 1),
    (5, 7, 3),
    (12, 32, 4),
    (13, 33, 257),
    (241, 95, 300),
    (3, 1000, 600),
    (1000, 3, 600),
    (250, 700, 513),
    (300, 200, 0),
    (0, 3, 5),
    (4, 0, 5),
]
LAYOUTS = ["rows", "columns", "every other", "backwards", "repeated"]


pytestmark = pytest.mark.skipif(_native.isa() == "baseline", reason="products there are NumPy's")


def matrix(shape, dtype, layout, seed):
    """Random numbers that lie as the name says."""
    entries = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    if layout == "columns":
        return np.asfortranarray(entries)
    if layout == "every other":
        return np.repeat(entries, 2, axis=1)[:, ::2]
    if layout == "backwards":
        return entries[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "repeated":
        return np.broadcast_to(entries[:1], shape)
    return entries


def check(left, right, start, *, add):
    """Within one rounding for each product and each sum of it, here and in NumPy."""
    out = start.copy()
    assert _native.multiply(left, right, out, add)
    a, b, c = (array.astype(np.float64) for array in (left, right, start * add))
    bound = (left.shape[1] + 3) * np.finfo(out.dtype).eps * (np.abs(a) @ np.abs(b) + np.abs(c))
    assert (np.abs(a @ b + c - out) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("left", "right"), [(a, b) for a in LAYOUTS for b in LAYOUTS if "rows" in (a, b) or a == b])
def test_products_of_any_size_and_layout(left, right, size, add, dtype):
    rows, columns, depth = size
    a, b = matrix((rows, depth), dtype, left, 1), matrix((depth, columns), dtype, right, 2)
    check(a, b, matrix((rows, columns), dtype, "rows", 0), add=add)


@given(st.tuples(*[st.integers(1, 70)] * 3), st.sampled_from(DTYPES), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_shape(size, dtype, add, seed):
    rows, columns, depth = size
    layouts = np.random.default_rng(seed).choice(LAYOUTS, 2)
    left, right = matrix((rows, depth), dtype, layouts[0], seed), matrix((depth, columns), dtype, layouts[1], seed + 1)
    check(left, right, matrix((rows, columns), dtype, "rows", seed + 2), add=add)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_the_result_held_counts_only_where_it_is_added_to(dtype):
    left, right = np.ones((30, 5), dtype), np.ones((5, 40), dtype)
    out = np.full((30, 40), np.nan, dtype)
    _native.multiply(left, right, out, False)
    assert (out == 5).all()
    _native.multiply(left[:, :0], right[:0], out, True)
    assert (out == 5).all()
    _native.multiply(left[:, :0], right[:0], out, False)
    assert (out == 0).all()


def test_a_sum_of_several_parts_of_the_depth():
    """Which begin where Ctrl-C would wait too long for the part before."""
    ones, out = np.broadcast_to(np.float32(1), (2000, 700)), np.full((700, 700), 5, np.float32)
    with threads_limited_to(1):
        _native.multiply(ones.T, ones, out, False)
        assert (out == 2000).all()
        _native.multiply(ones.T, ones, out, True)
        assert (out == 4000).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_a_wider_result_leave_what_is_beside_them(dtype):
    wide = np.full((50, 90), 7, dtype)
    _native.multiply(np.ones((50, 300), dtype), np.ones((300, 41), dtype), wide[:, 20:61], False)
    assert (wide[:, 20:61] == 300).all()
    assert (wide[:, :20] == 7).all()
    assert (wide[:, 61:] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_stays_in_its_row_and_column(dtype):
    left, right = np.ones((45, 20), dtype), np.ones((20, 70), dtype)
    left[3, 4], right[9, 66] = np.nan, np.inf
    out = np.empty((45, 70), dtype)
    _native.multiply(left, right, out, False)
    assert np.isnan(out[3]).all()
    assert (np.delete(out[:, 66], 3) == np.inf).all()
    assert (np.delete(np.delete(out, 3, axis=0), 66, axis=1) == 20).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(500, 700, 1100), (2000, 64, 900), (17, 3000, 600)])
def test_an_entry_has_the_same_bits_whatever_the_threads_and_what_is_beside_it(size, dtype):
    rows, columns, depth = size
    left, right = matrix((rows, depth), dtype, "rows", 1), matrix((depth, columns), dtype, "columns", 2)
    start = matrix((rows, columns), dtype, "rows", 3)
    results = []
    for count in (1, 2, 3, 16):
        with threads_limited_to(count):
            results.append(start.copy())
            _native.multiply(left, right, results[-1], True)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    part = start[5:9, 7:50].copy()
    _native.multiply(np.asfortranarray(left[5:9]), right[:, 7:50].copy(), part, True)
    np.testing.assert_array_equal(part, results[0][5:9, 7:50])


@pytest.mark.parametrize(
    ("left", "right", "out", "error", "message"),
    [
        (np.ones((2, 3)), np.ones((4, 5)), np.ones((2, 5)), ValueError, r"shapes must fit, got \(2, 3\), \(4, 5\) and"),
        (np.ones((2, 3)), np.ones((3, 5)), np.ones((2, 4)), ValueError, "shapes must fit"),
        (
            np.ones((2, 3)),
            np.ones((3, 5), np.float32),
            np.ones((2, 5)),
            TypeError,
            r"right .* of left, got dtype\('float32'\)",
        ),
        (np.ones((2, 3)), np.ones(3), np.ones((2, 5)), TypeError, "right must be an aligned matrix"),
        (np.ones((2, 3)), np.ones((3, 5)), np.ones((2, 5)).tolist(), TypeError, "out must .* got <class 'list'>"),
        (np.ones((2, 3)), np.ones((3, 5)), np.ones((5, 2)).T, ValueError, "rows without gaps, got strides of 1 and 2"),
        (np.ones((2, 3)), np.ones((3, 5)), np.broadcast_to(1.0, (2, 5)), ValueError, "out must be writeable"),
    ],
)
def test_what_is_no_product_is_refused(left, right, out, error, message):
    with pytest.raises(error, match=message):
        _native.multiply(left, right, out, False)
