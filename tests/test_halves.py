"""softmax of float16 and bfloat16: slices of more than 128 entries have kernels of their own."""

import ml_dtypes
import numpy as np
import pytest
from numerics import Tally, exact, same_bits, threads_limited_to

from softmax import entmax, softmax

HALVES = (np.float16, ml_dtypes.bfloat16)
INF = np.inf
BOUND = (0.51, 0.51)  # in ulp, and in steps below the normal range
SIZES = (*range(129, 146), 200, 1000, 4095, 4096, 4097, 9000)
LONG = (70001, 140000)  # kept while they are worked on, and not


def hard_rows(size, dtype):
    """Whose scales, ties, greatest entries and first ones, which all others are computed relative to, are all kinds."""
    random = np.random.default_rng(size)
    normal = random.normal(0, 1, size)
    first, last = np.zeros(size), np.zeros(size)
    first[0] = last[-1] = 1
    begin = np.arange(size) < 16
    rows = [scale * normal for scale in (0, 1e-3, 1, 10, 40)]
    rows += [normal + shift for shift in (-1000, 1000)] + [40000 + 1000 * normal]
    rows += [random.integers(-3, 3, size), np.arange(size) % 97, -(np.arange(size) % 140)]
    rows += [normal + 30 * first, normal + 30 * last, 12 * first, 12 * last, normal - 300 * (first + last)]
    rows += [normal + np.where(begin, shift, 0) for shift in (-INF, -90, -60, -30, 60, 110)]
    rows += [np.where(np.arange(size) < size // 2, -INF, normal), np.where(np.arange(size) % 3, -INF, normal)]
    return np.array(rows).astype(dtype)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("sizes", [SIZES, LONG], ids=["short", "long"])
def test_error(dtype, sizes, request):
    with Tally(request.node.user_properties) as tally:
        for size in sizes:
            x = hard_rows(size, dtype)
            for temperature in (1.0, 1e-3, 0.1, 0.7, 2.0, 1e3)[: 6 if size < 5000 else 1]:
                got = softmax(x, temperature=temperature)
                tally.add("softmax", got, exact(x, temperature).probs, BOUND, (size, temperature))


@pytest.mark.parametrize("dtype", HALVES)
def test_shares_are_exact_where_they_can_be(dtype):
    """Of no rivals, of alike ones, and of what is left out."""
    for size in (129, 256, 1024, 5000, 65536, 2**18):
        x = np.full((3, size), 7, dtype)
        x[1, size // 2] = 200
        x[2] = -INF
        x[2, -2:] = -3
        y = softmax(x)
        assert (y[0] == dtype(1 / size)).all()
        assert y[1, size // 2] == 1
        assert np.count_nonzero(y[1]) == 1
        assert y[2, -2:].tolist() == [0.5, 0.5]
        assert np.count_nonzero(y[2]) == 2


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [129, 1000, 4097, 140000])
def test_the_bits_do_not_tell_what_a_row_is_relative_to(dtype, size):
    """The first entries are 2^-30 to 2^-130 of the sum, so that they do not count in it, or nothing at all."""
    x = np.random.default_rng(0).normal(0, 1, size)
    x[:16] = -INF
    expected = softmax(x.astype(dtype))[16:]
    for below in (30, 45, 60, 80, 90):
        x[:16] = -below
        assert same_bits(softmax(x.astype(dtype))[16:], expected), below


SPECIAL = {"NaN": np.nan, "inf": INF, "-inf": -INF, "far apart": 2000}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [129, 1000, 4097, 140000])
@pytest.mark.parametrize("kind", SPECIAL)
def test_other_kinds_of_rows(dtype, size, kind):
    """They are left to the kernels of float32, among others that are not."""
    random = np.random.default_rng(0)
    for at in (0, 20, size // 2, size - 1, slice(None)):
        x = random.normal(0, 1, (5, size)).astype(dtype)
        x[2, at] = SPECIAL[kind]
        y = softmax(x)
        for i, row in enumerate(x):
            assert same_bits(y[i], softmax(row))
        if kind in ("NaN", "inf") or at == slice(None):
            assert same_bits(y[2], softmax(x[2].astype(np.float32)).astype(dtype)), at
        elif kind == "-inf":
            assert y[2, at] == 0
        else:
            assert y[2, at] == 1


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [129, 1000, 4096, 4097, 140000])
def test_any_layout_has_the_bits_of_a_row_alone(dtype, size):
    random = np.random.default_rng(0)
    x = random.normal(0, 5, (9, size)).astype(dtype)
    x[2], x[3, 5], x[5], x[7, :300] = -INF, np.nan, 3000, -INF
    temperature = np.where(np.arange(9) % 2, 1, 0.3)
    keep = random.random(x.shape) < 0.9
    for t in (1.0, 0.7, temperature):
        each = np.broadcast_to(t, 9)
        along = np.reshape(t, (-1, 1)) if np.ndim(t) else t
        expected = np.stack([softmax(row, temperature=u) for row, u in zip(x, each, strict=True)])
        with threads_limited_to(1):
            assert same_bits(softmax(x, temperature=along), expected)
        assert same_bits(softmax(x, temperature=along), expected)
        assert same_bits(
            softmax(x[::-1, ::-1], temperature=np.flip(along)),
            softmax(x[::-1, ::-1].copy(), temperature=np.flip(along)),
        )
        assert same_bits(softmax(np.repeat(x, 2, 1)[:, ::2], temperature=along), expected)
        assert same_bits(softmax(x.T.copy(), 0, temperature=t), expected.T)
        assert same_bits(softmax(x.astype(x.dtype.newbyteorder("S")), temperature=along), expected)
        for out in (x.copy(), np.zeros((9, 2 * size), dtype)[:, ::2], np.zeros((size, 9), dtype).T):
            out[...] = x
            assert same_bits(softmax(out, temperature=along, out=out), expected)
        left = np.where(keep, x, dtype(-INF))
        assert same_bits(softmax(x, temperature=along, where=keep), softmax(left, temperature=along))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [129, 1000, 4096, 4097])
@pytest.mark.parametrize("rows", [2, 31, 32, 33, 70])
def test_rows_across_memory(dtype, size, rows):
    """Cache lines of them are turned, the last one partly filled."""
    x = np.random.default_rng(0).normal(0, 5, (rows, size)).astype(dtype)
    x[1, 5], x[rows // 2], x[-1, :300] = np.nan, 3000, -INF
    for temperature in (1.0, np.where(np.arange(rows) % 3, 1, 0.3)):
        expected = np.stack(
            [softmax(row, temperature=t) for row, t in zip(x, np.broadcast_to(temperature, rows), strict=True)]
        )
        columns = x.T.copy()
        assert same_bits(softmax(columns, 0, temperature=temperature), expected.T)
        along = np.zeros_like(x)
        softmax(columns, 0, temperature=temperature, out=along.T)
        assert same_bits(along, expected)
        wide = np.ones((size, rows + 3), dtype)
        softmax(columns, 0, temperature=temperature, out=wide[:, 1:-2])
        assert same_bits(wide[:, 1:-2], expected.T)
        assert (wide[:, [0, -2, -1]] == 1).all()
        assert same_bits(softmax(columns, 0, temperature=temperature, out=columns), expected.T)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [129, 1000, 140000])
def test_entmax_of_alpha_1(dtype, size):
    x = np.random.default_rng(0).normal(0, 3, (4, size)).astype(dtype)
    expected = softmax(x)
    assert same_bits(entmax(x, alpha=1.0), expected)
    mixed = entmax(x, alpha=np.array([[1.0], [1.5], [1.0], [2.0]]))
    assert same_bits(mixed[::2], expected[::2])
