"""Partition is a monoid: pieces of a slice, in any order and grouping, say of it what the whole slice says."""

import copy
import functools
import itertools
import operator
import pickle

import ml_dtypes
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import BITS, DTYPES, VOLUME, Tally, errors_in_ulp, exact, exact_by_mpmath, same_bits
from slices import INF, NAN

from softmax import Partition, log_softmax, logsumexp, softmax

examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(100 * VOLUME) + 10)
PIECES = ([1.0, 2.0], [-INF, -INF], [INF], [NAN], [-3.0, INF, 4.0], [INF, INF], [-1e4], [], [2.0, 2.0], [1e4, -INF])


def finite_slices(dtype, min_size=1, max_size=30):
    return hnp.arrays(dtype, st.integers(min_size, max_size), elements=st.floats(-1000, 1000, width=32))


def same_maximum(a, b):
    """But for the sign of a zero."""
    return a.maximum.dtype == b.maximum.dtype and np.array_equal(a.maximum, b.maximum, equal_nan=True)


def same_pair(a, b):
    others = same_bits(a.others, b.others) and same_bits(a.others_low, b.others_low)
    return same_maximum(a, b) and others and a.axis == b.axis


def close_pair(a, b):
    """Sums that differ by the rounding of their exponentials, a fraction of an ulp."""
    tolerance = np.finfo(a.maximum.dtype).eps / (4 if a.maximum.dtype == np.float32 else 1)
    return same_maximum(a, b) and np.allclose(a.sum, b.sum, rtol=tolerance, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_pieces_say_what_the_whole_says(dtype, data):
    """Cut anywhere, empty pieces included."""
    x = data.draw(finite_slices(dtype))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=5)))
    pieces = np.split(x, cuts)
    z = functools.reduce(operator.or_, map(Partition.of, pieces))
    assert close_pair(z, Partition.of(x))
    true = exact_by_mpmath(x)
    assert errors_in_ulp(z.softmax(x), true.probs).max() <= 2
    # Below the normal range every piece rounds its share to a step, and there are six of them.
    steps = 6 * float(np.finfo(dtype).smallest_subnormal)
    within = errors_in_ulp(z.logsumexp, true.logsumexp, true.logsumexp_unit) <= 1
    assert within or abs(float(z.logsumexp - true.logsumexp)) <= steps
    with mpmath.workprec(BITS):
        distance = abs(z.log_softmax(x) - true.log_probs)
    assert ((errors_in_ulp(z.log_softmax(x), true.log_probs) <= 2) | (distance <= steps)).all()
    assert same_bits(np.concatenate([z.softmax(piece) for piece in pieces]), z.softmax(x))
    assert same_bits(np.concatenate([z.log_softmax(piece) for piece in pieces]), z.log_softmax(x))


@pytest.mark.parametrize("dtype", DTYPES)
@examples
@given(data=st.data())
def test_grouping_and_order_do_not_matter(dtype, data):
    a, b, c = (Partition.of(data.draw(finite_slices(dtype, 0, 10))) for _ in range(3))
    assert close_pair((a | b) | c, a | (b | c))
    assert same_pair(a | b, b | a)


@functools.cache
def ten_thousand(dtype):
    """Four streams, of which a rising one moves the maximum, and with it the whole sum, each time. And the truth."""
    rng, count = np.random.default_rng(0), 10_000
    rising = np.sort(rng.normal(0, 2, count))
    x = np.stack([rising, -rising, rng.normal(0, 9, count), 1000 + np.arange(count) * 1e-3]).astype(dtype)
    with mpmath.workprec(BITS):
        tops = [mpmath.mpf(float(row.max())) for row in x]
        others = [
            mpmath.fsum(mpmath.exp(v - top) for v in map(mpmath.mpf, row.tolist())) - 1
            for row, top in zip(x, tops, strict=True)
        ]
    return x, others


def from_the_left(pieces):
    return functools.reduce(operator.or_, pieces)


def from_the_right(pieces):
    return functools.reduce(lambda z, piece: piece | z, reversed(pieces))


def by_halves(pieces):
    nothing = Partition.empty((4,), np.float32)
    while len(pieces) > 1:
        pieces = [a | b for a, b in itertools.zip_longest(pieces[::2], pieces[1::2], fillvalue=nothing)]
    return pieces[0]


@pytest.mark.parametrize("combined", [from_the_left, from_the_right, by_halves])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ten_thousand_pieces_are_as_good_as_one(dtype, combined, request):
    """The sum stays far below an ulp, for the pieces of one entry each are exact; then so are all results."""
    x, others = ten_thousand(dtype)
    z = combined([Partition(x[:, i], np.zeros(4)) for i in range(x.shape[1])])
    some = x[:, ::97]
    with mpmath.workprec(BITS):
        off = [
            mpmath.mpf(h) + low - o for h, low, o in zip(z.others.tolist(), z.others_low.tolist(), others, strict=True)
        ]
        assert max(abs(d / o) for d, o in zip(off, others, strict=True)) < (1e-12 if dtype == np.float32 else 2.0**-75)
        log_sums = np.array([mpmath.log1p(o) for o in others])
        log_probs = (
            np.array([[mpmath.mpf(v) for v in row] for row in (some - 0.0).tolist()])
            - z.maximum.astype(object)[:, None]
        )
        log_probs = log_probs - log_sums[:, None]
        probs = np.vectorize(mpmath.exp, [object])(log_probs)
        total = log_sums + z.maximum.astype(object)
        unit = np.maximum(abs(z.maximum), abs(total))
    with Tally(request.node.user_properties) as tally:
        tally.add("Partition.softmax", z.softmax(some), probs, (2, 2), combined.__name__)
        tally.add("Partition.log_softmax", z.log_softmax(some), log_probs, (2, 1), combined.__name__)
        tally.add("Partition.logsumexp", z.logsumexp, total, (1, 1), combined.__name__, unit)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("piece", PIECES)
def test_the_empty_partition_changes_no_bit(piece, dtype):
    z = Partition.of(np.array(piece, dtype))
    assert same_pair(z | Partition.empty((), dtype), z)
    assert same_pair(Partition.empty((), dtype) | z, z)
    assert same_pair(z.update(np.array([], dtype)), z)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("right", PIECES)
@pytest.mark.parametrize("left", PIECES)
def test_pieces_with_infinities_and_nan(left, right, dtype):
    """Every pair of pieces is as the slice of both."""
    whole = np.array([*left, *right], dtype)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        z = Partition.of(np.array(left, dtype)) | Partition.of(np.array(right, dtype))
        total, probs, log_probs = z.logsumexp, z.softmax(whole), z.log_softmax(whole)
    assert close_pair(z, Partition.of(whole))
    np.testing.assert_allclose(total, logsumexp(whole), rtol=1e-6)
    np.testing.assert_allclose(probs, softmax(whole), rtol=1e-6)
    np.testing.assert_allclose(log_probs, log_softmax(whole), rtol=1e-6)
    assert total.dtype == probs.dtype == log_probs.dtype == dtype


def test_what_a_pair_holds():
    z = Partition.of([3.0, 1.0, 3.0, -INF])
    assert z.maximum == 3
    np.testing.assert_allclose(z.others, 1 + np.exp(-2), rtol=1e-15)
    np.testing.assert_allclose(z.sum, 2 + np.exp(-2), rtol=1e-15)
    assert z.others.dtype == z.sum.dtype == np.float64
    assert repr(z) == f"Partition(maximum={z.maximum!r}, others={z.others!r}, axis=-1)"


def test_others_keep_what_would_drown_beside_the_maximum():
    z = Partition.of(np.float32([60, 0])) | Partition.of(np.float32([1]))
    np.testing.assert_allclose(z.others, np.exp(-60) + np.exp(-59), rtol=1e-7)
    np.testing.assert_allclose(z.log_softmax(np.float32([60])), [-(np.exp(-60) + np.exp(-59))], rtol=1e-7)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_empty_partition_says_that_nothing_was_seen(shape, dtype):
    z = Partition.empty(shape, dtype)
    assert z.maximum.shape == z.others.shape == shape
    assert z.maximum.dtype == dtype
    assert (z.logsumexp == -INF).all()
    assert (z.sum == 0).all()
    assert (z.softmax(np.full((*shape, 2), -INF, dtype)) == 0).all()
    assert Partition.empty().maximum.dtype == np.float64


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16, ml_dtypes.bfloat16, np.int8, bool])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_batches_along_every_axis(axis, dtype):
    """Slices along one axis, cut in three along it; the others are the batch."""
    x = (10 * np.random.default_rng(0).normal(0, 1, (4, 5, 6))).astype(dtype)
    a, b, c = np.array_split(x, 3, axis=axis)
    z = Partition.of(a, axis).update(b).update(c)
    assert z.maximum.shape == x.sum(axis=axis).shape
    tolerance = {np.float16: 2e-3, ml_dtypes.bfloat16: 2e-2, np.float32: 1e-6}.get(dtype, 1e-13)
    wide = {"rtol": tolerance, "atol": 1e-7}
    np.testing.assert_allclose(np.float64(z.logsumexp), np.float64(logsumexp(x, axis)), **wide)
    assert same_bits(z.softmax(c), np.array_split(z.softmax(x), 3, axis=axis)[2])
    assert same_bits(z.log_softmax(b), np.array_split(z.log_softmax(x), 3, axis=axis)[1])
    np.testing.assert_allclose(np.float64(z.softmax(x)), np.float64(softmax(x, axis)), **wide)
    np.testing.assert_allclose(np.float64(z.log_softmax(x)), np.float64(log_softmax(x, axis)), **wide)
    assert z.softmax(x).dtype == softmax(x, axis).dtype
    assert same_pair(Partition.empty(z.maximum.shape, z.maximum.dtype, axis) | z, z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_piece_is_as_good_as_the_function(dtype):
    x = np.random.default_rng(0).normal(0, 10, (50, 4099)).astype(dtype)
    z, true = Partition.of(x), exact(x)
    assert same_bits(z.maximum, x.max(axis=-1))
    np.testing.assert_allclose(z.others, true.others.astype(np.float64), rtol=1e-8 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_leave_entries_out(dtype):
    x = np.random.default_rng(0).normal(0, 3, (4, 40)).astype(dtype)
    keep = np.random.default_rng(1).random(x.shape) < 0.5
    hidden = np.where(keep, x, dtype(NAN))
    expected = Partition.of(np.where(keep, x, dtype(-INF)))
    assert same_pair(Partition.of(hidden, where=keep), expected)
    assert same_pair(Partition.of(np.ma.array(hidden, mask=~keep)), expected)
    z = Partition.empty((4,), dtype).update(hidden, where=keep)
    assert same_pair(z, expected)
    assert same_pair(Partition.of(x, where=False), Partition.empty((4,), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_left_out_adds_nothing_to_others(dtype):
    """Exactly: one entry has no others, and neither -inf, nor a masked entry, nor a filled lane is one."""
    assert Partition.of(np.array([0.0], dtype)).others == 0
    assert Partition.of(np.array([0.0, -INF, -INF], dtype)).others == 0
    assert Partition.of(np.array([0.0, NAN], dtype), where=[True, False]).others == 0
    many = np.full(5000, -INF, dtype)
    many[4999] = 3
    assert Partition.of(many).others == 0


@pytest.mark.parametrize("code", [">f4", ">f8", ">f2", ">i4"])
def test_byte_order_does_not_matter(code):
    swapped = np.array([1, 2, 4], code)
    assert same_pair(Partition.of(swapped), Partition.of(swapped.astype(swapped.dtype.newbyteorder("="))))


def test_scores_narrower_than_the_partition_are_widened():
    """The maximum 10000.3 is not a float32: rounding it would shift every probability."""
    z, x = Partition.of([10000.1, 10000.3]), np.float32([10000.1])
    expected = np.exp(np.float64(x) - 10000.3) / (1 + np.exp(-0.2))
    np.testing.assert_allclose(z.softmax(x), expected, rtol=1e-6)
    np.testing.assert_allclose(z.log_softmax(x), np.log(expected), rtol=1e-6)


def test_merging_raises_no_floating_point_exception():
    tail = np.float32(np.exp(-100.0))  # subnormal
    with np.errstate(all="raise"):
        z = Partition.of([0.0]) | Partition.of([-1000.0])
        assert z.logsumexp == 0
        assert Partition.of(np.float32([0, -100])).logsumexp == tail


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_entry_above_the_maximum_gives_what_the_definition_says(dtype):
    """exp(x - logsumexp): more than 1, as far as the dtype reaches; NaN for a NaN."""
    far = np.array([2, 3, 5, 50, 80, 600, 1e30, INF, NAN, -INF, 1, -3], dtype)
    for count in (len(far), 5000):  # the second by blocks
        x = np.resize(far, count)
        z = Partition.of(np.array([1, -3], dtype))
        probs, log_probs = z.softmax(x), z.log_softmax(x)
        true = exact_by_mpmath(np.array([1, -3], dtype)).logsumexp
        with mpmath.workprec(BITS):
            expected = np.array([mpmath.exp(mpmath.mpf(float(v)) - true) if abs(v) < 1e3 else INF for v in far[:7]])
            expected_log = np.array([mpmath.mpf(float(v)) - true for v in far[:7]])
        assert errors_in_ulp(probs[:7], expected).max() <= 2
        assert errors_in_ulp(log_probs[:7], expected_log).max() <= 2
        np.testing.assert_array_equal(probs[7:10], [INF, NAN, 0])
        np.testing.assert_array_equal(log_probs[7:10], [INF, NAN, -INF])
        np.testing.assert_allclose(probs[10:12], softmax([1, -3]), rtol=1e-6)
        assert same_bits(probs, np.resize(probs[: len(far)], count))
        assert same_bits(log_probs, np.resize(log_probs[: len(far)], count))


@pytest.mark.parametrize("dtype", DTYPES)
def test_entries_under_a_maximum_that_is_not_finite(dtype):
    x = np.array([INF, 3, -INF, NAN], dtype)
    for piece, probs, log_probs in (
        ([], [INF, INF, 0, NAN], [INF, INF, -INF, NAN]),
        ([INF, INF], [0.5, 0, 0, NAN], [-np.log(2), -INF, -INF, NAN]),
        ([NAN], [NAN] * 4, [NAN] * 4),
    ):
        z = Partition.of(np.array(piece, dtype))
        np.testing.assert_allclose(z.softmax(x), probs, rtol=1e-6)
        np.testing.assert_allclose(z.log_softmax(x), log_probs, rtol=1e-6)


def test_masked_entries_have_no_probability():
    x = np.ma.array([1.0, NAN, 2.0], mask=[False, True, False])
    z = Partition.of(x)
    assert same_bits(z.softmax(x), softmax(x))
    assert same_bits(z.log_softmax(x), log_softmax(x))


@pytest.mark.parametrize("order", [1, -1])
def test_the_wider_dtype_wins(order):
    pieces = [Partition.of(np.float32([1, 2])), Partition.of([1e-3, 2.0])][::order]
    z = pieces[0] | pieces[1]
    assert z.maximum.dtype == z.logsumexp.dtype == np.float64
    true = exact_by_mpmath(np.array([1, 2, 1e-3, 2.0]))
    assert errors_in_ulp(z.logsumexp, true.logsumexp) <= 1e7  # as good as float32's exponentials at least
    assert Partition.empty((), np.float16).maximum.dtype == np.float32
    assert Partition.empty((), np.int8).maximum.dtype == np.float64


def test_shapes_broadcast_or_are_refused_in_one_sentence():
    rows = Partition.of(np.zeros((3, 4)))
    assert (rows | Partition.of(np.zeros(5))).sum.tolist() == [9, 9, 9]
    assert rows.softmax(np.zeros(2)).tolist() == [[0.25] * 2] * 3
    with pytest.raises(ValueError, match=r"^partitions must have shapes that broadcast, got \(3,\) and \(2,\)$"):
        rows | Partition.of(np.zeros((2, 4)))
    message = r"^x must broadcast against the partition's slices, shape \(3,\), along axis -1, got shape \(2, 4\)$"
    for method in (rows.softmax, rows.log_softmax):
        with pytest.raises(ValueError, match=message):
            method(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"^partitions must have shapes that broadcast, got \(3,\) and \(2,\)$"):
        rows.update(np.zeros((2, 4)))


@pytest.mark.parametrize("other", [3, [1.0], None])
def test_only_partitions_combine(other):
    with pytest.raises(TypeError):
        Partition.of([1.0]) | other


def test_update_makes_a_new_partition():
    z = Partition.of([1.0, 2.0])
    maximum, others = z.maximum.copy(), z.others.copy()
    more = z.update([5.0])
    assert more is not z
    assert (z.maximum, z.others) == (maximum, others)
    assert more.maximum == 5


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("axis", [-1, 0])
def test_a_partition_travels(protocol, axis):
    """By pickle, to other processes and machines; and by copy."""
    z = Partition.of(np.random.default_rng(0).normal(0, 3, (3, 3)).astype(np.float32), axis)
    assert same_pair(pickle.loads(pickle.dumps(z, protocol)), z)
    assert same_pair(copy.copy(z), z)
    assert same_pair(copy.deepcopy(z), z)


@pytest.mark.parametrize("axis", [None, (0, 1), ()])
def test_a_partition_has_one_axis(axis):
    with pytest.raises(TypeError, match=r"^axis must be one int for a Partition, got "):
        Partition.of(np.zeros((2, 2)), axis)


def test_what_is_not_a_real_number_is_refused():
    with pytest.raises(TypeError, match=r"^x must hold real numbers, got dtype complex128$"):
        Partition.of([1j])
    with pytest.raises(TypeError, match=r"^x must be float64 or narrower for a Partition, got dtype "):
        Partition.of(np.zeros(2, np.longdouble))
    with pytest.raises(TypeError, match=r"^x must hold real numbers, got dtype complex128$"):
        Partition.of([1.0]).softmax([1j])
    with pytest.raises(TypeError, match=r"^x must hold real numbers, got dtype "):
        Partition.empty((), np.complex64)
    with pytest.raises(np.exceptions.AxisError):
        Partition.of([1.0], 1)
    with pytest.raises(ValueError, match=r"^where must broadcast to the shape of x, \(2,\), got shape \(3,\)$"):
        Partition.of([1.0, 2.0], where=[True] * 3)
