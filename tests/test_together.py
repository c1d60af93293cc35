"""Rows that are worked on together, in one loop with others, have the bits of each alone."""

import ml_dtypes
import numpy as np
import pytest
from numerics import DTYPES, same_bits

from softmax import Partition, cross_entropy, log_softmax, logsumexp, softmax, value_and_grad

BEYOND_CACHES = 2**25  # bytes of results, from which on they go past the caches


def scores(shape, dtype):
    return np.random.default_rng(0).normal(0, 10, shape).astype(dtype)


def with_other_kinds(x):
    """Every fifty-third row is one that the loop leaves to others."""
    size = x.shape[1]
    kinds = (-np.inf, np.nan, np.inf, 5000 - 32.0 * (np.arange(size) % 99))
    for i, row in enumerate(range(20, len(x), 53)):
        x[row, : np.size(kinds[i % 4])] = kinds[i % 4]
    x[7, 0], x[8, -1], x[9] = 60, 300, 1
    return x


def each_alone(function, x, temperature):
    temperature = np.broadcast_to(temperature, len(x))
    return np.stack([function(row, temperature=t) for row, t in zip(x, temperature, strict=True)])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 31, 128])
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_few_classes(function, dtype, size):
    """Tiles of rows: along memory, across it and in place, the last one partly filled."""
    rows = 301
    x = with_other_kinds(scores((rows, size), dtype))
    for temperature in (1.0, 0.7, np.where(np.arange(rows) % 3, 1.0, 0.7)):
        expected = each_alone(function, x, temperature)
        along = np.reshape(temperature, (-1, 1)) if np.ndim(temperature) else temperature
        assert same_bits(function(x, temperature=along), expected), temperature
        in_place = x.copy()
        assert same_bits(function(in_place, temperature=along, out=in_place), expected), temperature
        columns = x.T.copy()
        assert same_bits(function(columns, 0, temperature=temperature), expected.T), temperature
        assert same_bits(function(columns, 0, temperature=temperature, out=columns), expected.T), temperature
        with_gaps = np.zeros((rows, size + 3), dtype)[:, 1:-2]
        assert same_bits(function(x, temperature=along, out=with_gaps), expected), temperature
        with_gaps[:] = x
        assert same_bits(function(with_gaps, temperature=along), expected), temperature


@pytest.mark.parametrize("size", [2, 10, 128])
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
def test_few_classes_with_a_mask(dtype, size):
    """One of all entries, of all rows together, or a number a row; along memory, across it, with gaps."""
    x = with_other_kinds(scores((301, size), dtype))
    random = np.random.default_rng(1)
    for shape in ((301, size), (1, size), (301, 1)):
        keep = random.random(shape) < 0.7
        for function in (softmax, log_softmax):
            each = np.broadcast_to(keep, x.shape)
            alone = np.stack(
                [function(np.where(kept, row, -np.inf).astype(dtype)) for row, kept in zip(x, each, strict=True)]
            )
            assert same_bits(function(x, where=keep), alone)
            assert same_bits(function(x, where=np.repeat(keep, 2, axis=1)[:, ::2]), alone)
            assert same_bits(function(x, where=np.pad(each, ((0, 0), (1, 2)))[:, 1:-2]), alone)
            assert same_bits(function(x.T.copy(), 0, where=keep.T), alone.T)
            assert same_bits(function(x.T.copy(), 0, where=keep.T.copy()), alone.T)
    assert same_bits(logsumexp(x), np.stack([logsumexp(row) for row in x]))


@pytest.mark.parametrize("rows", [24, 150])
@pytest.mark.parametrize("size", [129, 300])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_tiles_across_memory(function, dtype, size, rows):
    """Several on one thread, between which lie some that are left to others."""
    for others in (range(0), range(20, rows, 53), range(5, rows, 32)):
        x = scores((rows, size), dtype)
        for i, row in enumerate(others):
            x[row] = (-np.inf, np.nan, np.inf, 60000)[i % 4]
        for temperature in (1.0, 0.7):
            expected = each_alone(function, x, temperature)
            columns = x.T.copy()
            assert same_bits(function(columns, 0, temperature=temperature), expected.T)
            assert same_bits(function(columns, 0, temperature=temperature, out=columns), expected.T)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("size", [129, 1000, 9001, 20000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_results_past_the_caches(function, dtype, size, offset):
    """They begin where a vector of memory does, wherever the rows do."""
    rows = BEYOND_CACHES // (size * np.dtype(dtype).itemsize) + 1
    some = with_other_kinds(scores((71, size), dtype))
    x = np.tile(some, (rows // 71 + 1, 1))[:rows]
    out = np.zeros(rows * size + offset, dtype)[offset:].reshape(rows, size)
    function(x, out=out)
    expected = function(some)
    for first in range(0, rows, 71):
        assert same_bits(out[first : first + 71], expected[: rows - first]), first


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [None, -np.inf, np.nan, np.inf, 3000, -3000])
def test_a_row_beyond_the_caches(dtype, block):
    """Its blocks are read one after the other, each beside the next; with gaps, each by itself."""
    x = scores(2**19 + 4099, dtype)
    if block is not None:
        x[3 * 4096 : 4 * 4096] = block
    with_gaps = np.repeat(x, 2)[::2]
    for function in (softmax, log_softmax, logsumexp, lambda x: np.asarray(Partition.of(x).others)):
        assert same_bits(function(x), function(with_gaps))
    for function in (softmax, log_softmax):
        assert same_bits(function(x, temperature=0.7), function(with_gaps, temperature=0.7))


@pytest.mark.parametrize("size", [*range(1, 18), *range(129, 146)])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_16_bits_are_float32_rounded_once(dtype, size):
    """With every number of entries that fill no vector; softmax of more than 128 is in test_halves.py."""
    x = scores((40, size), dtype)
    for function in (softmax, log_softmax)[size > 128 :]:
        assert same_bits(function(x), function(x.astype(np.float32)).astype(dtype))
    assert same_bits(logsumexp(x), logsumexp(x.astype(np.float32)).astype(dtype))


LOSSES = (
    {},
    {"label_smoothing": 0.1},
    {"gamma": 2.0},
    {"gamma": 0.5, "z_loss": 1e-3},
    {"label_smoothing": 0.3, "z_loss": 0.1},
    {"label_smoothing": 0.1, "gamma": 2.0},
    {"label_smoothing": 1.0},
)


def losses_of(x, targets, **options):
    loss, slope = value_and_grad(cross_entropy)(x, targets, reduction="none", **options)
    return np.asarray(loss), slope


@pytest.mark.parametrize("options", LOSSES, ids=str)
@pytest.mark.parametrize("size", [129, 1000, 3001])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_losses(dtype, size, options):
    """Sure, wrong, ignored and impossible rows, and small weights, among others; along memory and with gaps."""
    rows = 120
    random = np.random.default_rng(size)
    x = with_other_kinds(scores((rows, size), dtype))
    x[::6, 3] = 70
    x[1::11, ::7] = -np.inf
    targets = random.integers(0, size, rows)
    targets[::3] = np.argmax(np.nan_to_num(x[::3].astype(np.float32), posinf=1e30), axis=1)
    targets[5:9] = 3
    targets[10] = -100
    weights = random.random(rows) * 10.0 ** random.integers(-30, 3, rows)
    weights[::5] = 0
    options = {"ignore_index": -100, **options}
    for weight in (None, weights):
        alone = [
            losses_of(row, t, **options, sample_weight=None if weight is None else w)
            for row, t, w in zip(x, targets, weights, strict=True)
        ]
        loss, slope = np.stack([each for each, _ in alone]), np.stack([each for _, each in alone])

        def check(x, loss=loss, slope=slope, weight=weight, **layout):
            got = losses_of(x, targets, **options, sample_weight=weight, **layout)
            assert same_bits(got[0], loss)
            assert same_bits(got[1], slope)

        check(x)
        with_gaps = np.zeros((rows, size + 3), dtype)[:, 1:-2]
        check(x, out=with_gaps)
        with_gaps[:] = x
        check(with_gaps)
        check(np.repeat(x, 2, axis=1)[:, ::2])
        in_place = x.copy()
        check(in_place, out=in_place)


@pytest.mark.parametrize("size", [200, 5000, 9001])
def test_losses_past_the_caches(size):
    """Results begin where a vector of memory does, and the target's own entry is written after them."""
    rows = BEYOND_CACHES // (size * 4) + 1
    some = with_other_kinds(scores((71, size), np.float32))
    targets = np.random.default_rng(1).integers(0, size, 71)
    expected = losses_of(some, targets, label_smoothing=0.1)
    x, of_all = np.tile(some, (rows // 71 + 1, 1))[:rows], np.tile(targets, rows // 71 + 1)[:rows]
    out = np.zeros(rows * size + 3, np.float32)[3:].reshape(rows, size)
    loss, slope = losses_of(x, of_all, label_smoothing=0.1, out=out)
    for first in range(0, rows, 71):
        assert same_bits(loss[first : first + 71], expected[0][: rows - first]), first
        assert same_bits(slope[first : first + 71], expected[1][: rows - first]), first
