"""hardmax: 1 at the first maximum. Its degenerate slices are in test_degenerate.py."""

import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from slices import INF, NAN

from softmax import hardmax, reference, softmax

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
AXES = (0, 1, 2, -1, -2, -3, None, (0,), (1, 2), (2, 0), (-1, 0), (0, 1, 2))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_first_maximum_wins(dtype):
    x = np.array([[1, 3, 3], [-INF, -2, -INF], [INF, 1, INF], [0, -0.0, 0]], dtype)
    x.flags.writeable = False
    result = hardmax(x)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, [[0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]])


@given(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=3), elements=st.sampled_from([0, 1, 2, INF, -INF, NAN])), st.data()
)
def test_it_agrees_with_the_reference(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    np.testing.assert_array_equal(hardmax(x, axis), reference.hardmax(x, axis))
    np.testing.assert_array_equal(hardmax(x.astype(np.float32).T, -1 - axis), reference.hardmax(x, axis).T)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("masked", [False, True])
def test_an_axis_is_that_axis_moved_to_the_end(axis, masked):
    """Several axes in C order, which decides who is first."""
    x = np.random.default_rng(0).integers(0, 4, (3, 4, 5)).astype(float)
    x = np.ma.array(x, mask=x == 3) if masked else x
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % 3 for a in axes))
    order = [a for a in range(3) if a not in axes] + list(axes)
    slices = x.transpose(order)
    flat = hardmax(slices.reshape(*slices.shape[: 3 - len(axes)], -1))
    np.testing.assert_array_equal(hardmax(x, axis), flat.reshape(slices.shape).transpose(np.argsort(order)))
    assert (hardmax(x, axis).sum(axis=axes) == 1).all()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "uint64"])
def test_integers_give_float64(dtype):
    x = np.array([0, 1, 1], dtype)
    assert hardmax(x).dtype == np.float64
    np.testing.assert_array_equal(hardmax(x), [0, 1, 0])
    np.testing.assert_array_equal(hardmax(np.ma.array(x, mask=[False, True, True])), [1, 0, 0])
    np.testing.assert_array_equal(hardmax(np.ma.array(x, mask=True)), [0, 0, 0])


def test_masked_entries_take_no_part_whatever_they_hold():
    x = np.ma.array([[NAN, 1.0, 2.0], [INF, 5.0, 5.0]], mask=[[True, False, False], [True, False, False]])
    np.testing.assert_array_equal(hardmax(x), [[0, 0, 1], [0, 1, 0]])
    assert type(hardmax(x)) is np.ndarray


def test_memory_does_not_matter():
    x = np.random.default_rng(0).normal(0, 3, (8, 9))
    expected = hardmax(x)
    unaligned = np.empty(x.nbytes + 1, np.uint8)[1:].view(float).reshape(x.shape)
    unaligned[...] = x
    for other in (np.asfortranarray(x), x[::-1][::-1], x.astype(">f8"), unaligned, np.repeat(x, 2, 1)[:, ::2]):
        result = hardmax(other)
        np.testing.assert_array_equal(result, expected)
        assert result.dtype.isnative
    np.testing.assert_array_equal(hardmax(np.broadcast_to(x[0], (3, 9))), np.tile(expected[0], (3, 1)))
    np.testing.assert_array_equal(hardmax(x[:, ::-1])[:, ::-1], expected)


def test_without_ties_it_is_softmax_of_temperature_0():
    x = np.random.default_rng(0).normal(0, 3, (20, 33))
    np.testing.assert_array_equal(hardmax(x), softmax(x, temperature=0))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 0, 3)])
def test_empty_arrays(shape):
    for axis in (0, -1, None):
        assert hardmax(np.empty(shape, np.float32), axis).shape == shape
    assert hardmax(np.empty(shape, int)).dtype == np.float64


def test_an_array_without_axes_is_one_entry():
    assert hardmax(5.0, axis=None) == 1.0
    assert hardmax(-INF, axis=()) == 0.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"^x must hold real numbers, got dtype complex128$"):
        hardmax([1j])
    with pytest.raises(TypeError, match=re.escape("axis must be an int, a tuple of ints or None, got 1.0")):
        hardmax([1.0], 1.0)
    with pytest.raises(np.exceptions.AxisError):
        hardmax([1.0], 1)
