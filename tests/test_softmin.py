"""softmin is softmax of -x: what changes sign on the way, and what must not."""

import inspect
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from numerics import DTYPES, Tally, exact, exact_by_mpmath, same_bits
from slices import INF, NAN, hard_slices

from softmax import softmax, softmin

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
INTEGERS = tuple(f"{kind}{width}" for kind in ("int", "uint") for width in (8, 16, 32, 64))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(0, 3, (4, 5, 6))


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors(dtype, request):
    rng = np.random.default_rng(2)
    with Tally(request.node.user_properties) as tally:
        for size in (1, 2, 7, 33, 1000, 4097):
            x = rng.normal(0, 10, (20, size)).astype(dtype)
            for temperature in (1.0, 0.3):
                true = exact(-x, temperature).probs
                tally.add("softmin", softmin(x, temperature=temperature), true, (2, 2), f"K={size}, T={temperature}")
        for name, entries in hard_slices(dtype).items():
            x = -np.array(entries, dtype)
            tally.add("softmin", softmin(x), exact_by_mpmath(-x).probs, (2, 2), name)


def test_the_options_are_those_of_softmax():
    assert inspect.signature(softmin) == inspect.signature(softmax)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1, -1, -3, None, (0, 2)])
def test_it_is_softmax_of_minus_x_bit_for_bit(axis, dtype, x):
    x = x.astype(dtype)
    before = x.copy()
    x.flags.writeable = False
    length_1 = np.exp(x.astype(float).sum(axis=axis, keepdims=True) / 30)
    for options in ({}, {"temperature": 0.5}, {"where": x > -1}, {"dtype": np.float32}, {"temperature": length_1}):
        assert same_bits(softmin(x, axis, **options), softmax(-x, axis, **options))
        for out in (np.empty_like(x), np.empty(x.shape, np.float64)[:, ::-1], np.empty(x.shape, ">f4")):
            assert softmin(x, axis, out=out, **options) is out
            assert same_bits(out, softmax(-x, axis, out=np.empty_like(out), **options))
    assert same_bits(x, before)


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_integers_do_not_wrap_around(dtype):
    info = None if dtype == "bool" else np.iinfo(dtype)
    x = np.array([False, True] if info is None else [info.min, info.max, 0, 1, info.min + 1], dtype)
    assert same_bits(softmin(x), softmax(-x.astype(np.float64)))


def test_documented_integers():
    np.testing.assert_array_equal(softmin(np.int8([127, -128])), [np.exp(-255.0), 1])
    np.testing.assert_allclose(softmin(np.uint8([0, 255])), [1, np.exp(-255.0)], rtol=1e-15)


@pytest.mark.parametrize("dtype", FLOATS)
def test_out_may_be_the_input(dtype, x):
    x = x.astype(dtype)
    for options in ({}, {"where": x > 0}, {"temperature": 2.0}, {"axis": (0, 2)}):
        mine = x.copy()
        assert softmin(mine, out=mine, **options) is mine
        assert same_bits(mine, softmin(x, **options))


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"axis": 3}, {"where": [0.5]}, {"temperature": np.ones(2)}])
def test_a_call_that_is_refused_changes_nothing(wrong, x):
    mine = x.copy()
    with pytest.raises((ValueError, TypeError)):
        softmin(mine, out=mine, **wrong)
    assert same_bits(mine, x)


def test_many_temperatures_broadcast_one_slice():
    temperature = np.array([[0.5], [0.0], [INF]])
    np.testing.assert_array_equal(
        softmin([1.0, 2.0, 1.0], temperature=temperature), softmax([-1.0, -2.0, -1.0], temperature=temperature)
    )


def test_masks_and_masked_arrays_count():
    x, keep = np.array([1.0, NAN, 3.0, INF]), np.array([True, False, True, False])
    expected = softmax([-1.0, 0.0, -3.0, 0.0], where=keep)
    assert same_bits(softmin(x, where=keep), expected)
    assert same_bits(softmin(np.ma.array(x, mask=~keep)), expected)
    assert type(softmin(np.ma.array(x, mask=~keep))) is np.ndarray


def test_an_array_without_axes_is_one_entry():
    assert softmin(5.0, axis=None) == 1.0
    assert softmin(INF, axis=()) == 0.0


def test_what_is_not_a_real_number_is_refused_by_its_dtype():
    for x in ([1j], ["a"], [None], np.zeros(2, "M8[s]")):
        with pytest.raises(TypeError, match=r"^x must hold real numbers, got dtype "):
            softmin(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_call_holds_nothing_beside_its_result(dtype):
    x = np.zeros((1000, 1000), dtype)
    tracemalloc.start()
    try:
        y = softmin(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < y.nbytes + 100_000
