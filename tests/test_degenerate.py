"""The table of degenerate slices (tests/slices.py): one meaning, whatever the function, the dtype and the memory."""

import ml_dtypes
import numpy as np
import pytest
from numerics import DTYPES, same_bits
from slices import DEGENERATE, INF, NAN

from softmax import Partition, hardmax, log_softmax, logsumexp, softmax, softmin

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
PROBS, LOG_PROBS, TOTAL = range(3)  # columns of the table


def softmin_of_minus_x(x, axis=-1, **options):
    return softmin(-x, axis, **options)


def hardmax_of_masked(x, axis=-1, where=True):
    return hardmax(np.ma.array(x, mask=~np.broadcast_to(where, x.shape)), axis)


def logsumexp_and_sign(x, axis=-1, where=None):
    total, sign = logsumexp(x, axis, where=where, return_sign=True)
    assert sign.dtype == total.dtype
    sign, wide = np.asarray(sign, np.float64), np.asarray(total, np.float64)
    np.testing.assert_array_equal(sign, np.where(np.isnan(wide), wide, wide > -INF))
    return total


def logsumexp_by_weights(x, axis=-1, where=True):
    """A mask is a weight of 1 or 0."""
    return logsumexp(x, axis, weights=np.broadcast_to(where, x.shape))


def of_partition(method):
    def function(x, axis=-1, where=True):
        z = Partition.of(x, axis, where=where)
        return z.logsumexp if method == "logsumexp" else getattr(z, method)(np.where(where, x, x.dtype.type(-INF)))

    return function


FUNCTIONS = {
    "softmax": (softmax, PROBS),
    "log_softmax": (log_softmax, LOG_PROBS),
    "logsumexp": (logsumexp, TOTAL),
    "softmin": (softmin_of_minus_x, PROBS),
    "hardmax": (hardmax_of_masked, PROBS),
    "logsumexp and sign": (logsumexp_and_sign, TOTAL),
    "logsumexp by weights": (logsumexp_by_weights, TOTAL),
    "Partition.softmax": (of_partition("softmax"), PROBS),
    "Partition.log_softmax": (of_partition("log_softmax"), LOG_PROBS),
    "Partition.logsumexp": (of_partition("logsumexp"), TOTAL),
}
TEMPERED = ("softmax", "log_softmax", "softmin")


def defined(name, case, dtype=np.float64):
    _, options, *columns = DEGENERATE[case]
    if "temperature" in options and name not in TEMPERED:
        return False
    if name.startswith("Partition") and dtype == np.longdouble:
        return False
    return columns[FUNCTIONS[name][1]] is not None


def degenerate(name, case, dtype, length=0):
    """(slice, options, expected), lengthened by entries of -inf, which take no part."""
    entries, options, *columns = DEGENERATE[case]
    more = max(0, length - len(entries))
    entries = np.array([*entries, *[-INF] * more], dtype)
    options = dict(options)
    if "where" in options:
        options["where"] = np.array([*options["where"], *[True] * more])
    column = FUNCTIONS[name][1]
    expected = np.array(columns[column], np.float64)
    if name == "hardmax" and not np.isnan(expected).any():
        expected = np.where(np.arange(len(expected)) == expected.argmax(), np.ceil(expected), 0)
    if column != TOTAL:
        rest = NAN if np.isnan(expected).any() else 0 if column == PROBS else -INF
        expected = np.array([*expected, *[rest] * more])
    return entries, options, expected


CASES = [(f, d, c) for f in FUNCTIONS for d in FLOATS for c in DEGENERATE if defined(f, c, d)]


@pytest.mark.parametrize(("name", "dtype", "case"), CASES)
def test_degenerate_slices_have_one_meaning(name, dtype, case):
    for length in (0, 33, 4099):
        entries, options, expected = degenerate(name, case, dtype, length)
        entries.flags.writeable = False
        with np.errstate(all="raise" if dtype in DTYPES else "warn"):
            result = FUNCTIONS[name][0](entries, **options)
        narrow = name == "Partition.logsumexp" and np.dtype(dtype).itemsize == 2  # kept wide: more may come
        assert result.dtype == (np.float32 if narrow else dtype)
        eps = float(ml_dtypes.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(result, np.float64), expected, rtol=2 * eps)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_slices_leave_their_neighbours_alone(case, dtype, axis):
    """In the middle of a batch, in every position of the axis, with the neighbours' bits untouched."""
    rng = np.random.default_rng(1)
    for name in FUNCTIONS:
        if not defined(name, case):
            continue
        function, column = FUNCTIONS[name]
        entries, options, expected = degenerate(name, case, dtype, 5)
        rows = rng.normal(0, 3, (9, len(entries))).astype(dtype)
        alone = [function(row) for row in rows]
        rows[4] = entries
        batch = {"temperature": np.ones((9, 1)), "where": np.ones(rows.shape, bool)}
        for option, value in options.items():
            batch[option][4] = value
        batch = {option: np.moveaxis(batch[option], -1, axis) for option in options}
        result = function(np.moveaxis(rows, -1, axis), axis, **batch)
        result = result if column == TOTAL else np.moveaxis(result, axis, -1)
        np.testing.assert_allclose(result[4], expected, rtol=2 * np.finfo(dtype).eps)
        for i in (0, 1, 2, 3, 5, 6, 7, 8):
            assert same_bits(result[i], alone[i])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_without_entries_have_no_shares_and_the_logarithm_of_nothing(name, dtype):
    function, column = FUNCTIONS[name]
    result = function(np.empty((3, 0), dtype))
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.full(3, -INF) if column == TOTAL else np.empty((3, 0)))
    assert function(np.empty((0, 3), dtype)).shape == ((0,) if column == TOTAL else (0, 3))
