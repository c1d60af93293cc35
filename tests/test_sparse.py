"""sparsemax and entmax against mpmath, against each other and their specification, and on every kind of slice."""

import mpmath
import numpy as np
import pytest
from numerics import BITS, DTYPES, Tally, same_bits

from softmax import _native, entmax, reference, softmax, sparsemax

INF, NAN = np.inf, np.nan
ALPHAS = (1 + 2.0**-40, 1.0001, 1.05, 1.3, 1.5, 1.75, 2.0, 2.5, 4.0, 10.0, 1e3)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 127, 129, 1000, 4095, 4096, 4097, 9000)
EVERY_ALPHA = pytest.mark.parametrize("alpha", (1.0, *ALPHAS, 1e300, INF))


def exact(row, alpha):
    """entmax of one slice of finite or -inf entries with a few hundred bits; its own way for alpha <= 2 and above."""
    with mpmath.workprec(BITS):
        b = mpmath.mpf(float(alpha)) - 1
        x = [mpmath.mpf(float(v)) for v in row]
        ordered = sorted(x, reverse=True)

        def power(w):
            return w if b == 1 else w * w if b == 0.5 else w ** (1 / b) if w > 0 else w

        left = 1  # how many are in the support
        while left < len(x) and ordered[left] >= ordered[0] - 1 / b:
            if mpmath.fsum(power(b * (v - ordered[left])) for v in ordered[:left]) >= 1:
                break
            left += 1
        above = [b * (v - ordered[left - 1]) for v in ordered[:left]]  # of the smallest of them
        if b == 1:
            lowest = (1 - mpmath.fsum(above)) / left
        elif b == 0.5:
            mean = mpmath.fsum(above) / left
            lowest = mpmath.sqrt((1 - mpmath.fsum((v - mean) ** 2 for v in above)) / left) - mean
        else:  # by bisection: in the smallest probability where b > 1, else in b (smallest - threshold)
            low, high = mpmath.mpf(0), mpmath.mpf(1)
            for _ in range(BITS - 100):
                middle = (low + high) / 2
                lowest = middle**b if b > 1 else middle
                enough = mpmath.fsum(power(lowest + v) for v in above) >= 1
                low, high = (low, middle) if enough else (middle, high)
        return [power(lowest + b * (v - ordered[left - 1])) if v >= ordered[left - 1] else mpmath.mpf(0) for v in x]


def exact_rows(x, alpha):
    result = np.empty(x.shape, object)
    for index in np.ndindex(x.shape[:-1]):
        result[index] = exact(x[index], alpha)
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_closed_forms_are_within_an_ulp_of_each_entry(alpha, dtype, request):
    rng = np.random.default_rng(0)
    with Tally(request.node.user_properties) as tally:
        for n in (1, 2, 3, 5, 10, 33, 64, 65, 200, 700):
            for scale in (1e-3, 0.1, 1, 5, 1e4):
                x = (rng.normal(0, scale, (max(2, 60 // n), n)) + rng.choice([0, 1, -30])).astype(dtype)
                tally.add(f"entmax {alpha}", entmax(x, alpha), exact_rows(x, alpha), (1, 1), (n, scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1.5, 2.0])
@pytest.mark.parametrize("fill", [0, 90])
def test_entries_beside_the_threshold_keep_their_digits(alpha, dtype, fill):
    """The second is a few units of rounding inside the support, or outside; alone in a lane, or in a longer row."""
    with Tally() as tally:
        edge = -1 / (alpha - 1)
        for steps in range(-3, 9):
            for shift in (0.0, 0.25, -3.0):
                second = edge * (1 - steps * float(np.finfo(dtype).eps))
                x = np.array([0, second, *[-9] * fill], dtype) + dtype(shift)
                tally.add("entmax", entmax(x, alpha), exact_rows(x, alpha), (1, 1), (steps, shift))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [a for a in ALPHAS if a not in (1.5, 2.0)])
def test_every_alpha_is_within_4_ulp_of_1(alpha, dtype):
    rng = np.random.default_rng(1)
    with Tally() as tally:
        for n in (1, 2, 3, 9, 20):
            for scale in (1e-3, 0.3, 3):
                x = rng.normal(0, scale, (2, n)).astype(dtype)
                tally.add("entmax", entmax(x, alpha), exact_rows(x, alpha), (4, 4), (n, scale), unit=np.ones(x.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@EVERY_ALPHA
def test_sizes_agree_with_the_specification_and_sum_to_1(alpha, dtype):
    rng = np.random.default_rng(2)
    for n in SIZES:
        for scale in (0, 1e-3, 1):
            x = rng.normal(0, scale, (3 if n < 100 else 1, n)).astype(dtype)
            y = entmax(x, alpha)
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(y, reference.entmax(x, alpha), rtol=0, atol=8 * eps)
            np.testing.assert_allclose(y.sum(-1, dtype=np.longdouble), 1, rtol=0, atol=(4 + np.sqrt(n)) * eps)


def test_the_specification_of_sparsemax_is_that_of_entmax():
    x = np.random.default_rng(0).normal(0, 1, (5, 40))
    np.testing.assert_allclose(reference.sparsemax(x), reference.entmax(x, 2), atol=1e-15)
    np.testing.assert_allclose(reference.sparsemax(x.T, 0).T, sparsemax(x), atol=1e-15)
    for alpha in ALPHAS:
        true = exact_rows(x[:1, :12], alpha).astype(float)
        np.testing.assert_allclose(reference.entmax(x[:1, :12], alpha), true, rtol=0, atol=2e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [5, 64, 65, 300])
def test_alpha_1_is_softmax_and_2_is_sparsemax(n, dtype):
    x = np.random.default_rng(0).normal(0, 2, (6, n)).astype(dtype)
    assert same_bits(entmax(x, 1), softmax(x))
    assert same_bits(entmax(x, 2), sparsemax(x))
    keep = x > -1
    assert same_bits(entmax(x, 1, where=keep), softmax(x, where=keep))


# Entries, whether they take part, result for every alpha.
DEGENERATE = {
    "all -inf": ([-INF, -INF], None, [0, 0]),
    "all masked": ([1, NAN, INF], [False] * 3, [0, 0, 0]),
    "one left by the mask": ([NAN, 3, INF], [False, True, False], [0, 1, 0]),
    "one left by -inf": ([-INF, 3, -INF], None, [0, 1, 0]),
    "one +inf": ([1, INF, -INF], None, [0, 1, 0]),
    "two +inf": ([INF, 3, INF], None, [0.5, 0, 0.5]),
    "two +inf, one masked": ([INF, 3, INF], [False, True, True], [0, 0, 1]),
    "NaN": ([1, NAN, 2], None, [NAN] * 3),
    "NaN and +inf": ([INF, NAN, INF], None, [NAN] * 3),
    "NaN under the mask": ([2, NAN, 2], [True, False, True], [0.5, 0, 0.5]),
    "one entry": ([-7], None, [1]),
    "one -inf": ([-INF], None, [0]),
    "equal": ([3, 3, 3, 3], None, [0.25] * 4),
    "equal and huge": ([3e38, -3e38, 3e38], None, [0.5, 0, 0.5]),
    "equal subnormals": ([1e-45, 1e-45], None, [0.5, 0.5]),
}


@pytest.mark.parametrize("dtype", [*DTYPES, np.float16, np.longdouble])
@pytest.mark.parametrize("name", DEGENERATE)
@EVERY_ALPHA
def test_degenerate_slices_have_one_meaning(alpha, name, dtype):
    entries, where, expected = DEGENERATE[name]
    for padding in (0, 70):  # also in a long row
        with np.errstate(over="ignore"):
            x = np.array(entries + [-INF] * padding).astype(dtype)
        if where is not None:
            where = where[: len(entries)] + [True] * padding
        full = np.array(expected + [expected[0] * 0] * padding, dtype)
        for result in (entmax(x, alpha, where=where), entmax(np.stack([x, x, x]), alpha, where=where)):
            np.testing.assert_allclose(result, np.broadcast_to(full, result.shape), rtol=1e-6)
            np.testing.assert_array_equal(result == 0, np.broadcast_to(full == 0, result.shape))


@EVERY_ALPHA
def test_a_slice_does_not_see_its_neighbours(alpha):
    rng = np.random.default_rng(3)
    for dtype in DTYPES:
        for n in (3, 10, 64, 65, 500):
            x = rng.normal(0, 2, (9, n)).astype(dtype)
            alone = np.stack([entmax(row, alpha) for row in x])
            assert same_bits(entmax(x, alpha), alone)
            x[4], x[7, 0], x[2] = NAN, INF, -INF
            keep = [0, 1, 3, 5, 6, 8]
            assert same_bits(entmax(x, alpha)[keep], alone[keep])


def test_one_alpha_for_each_slice():
    x = np.random.default_rng(4).normal(0, 1, (12, 8)).astype(np.float32)
    alpha = np.array([1, 1.5, 2, 1.2, 3, INF, 1.5, 1, 2, 2, 1.5, 1.9])
    for n in (8, 100):
        x = np.random.default_rng(n).normal(0, 1, (12, n)).astype(np.float32)
        alone = np.stack([entmax(row, a) for row, a in zip(x, alpha, strict=True)])
        assert same_bits(entmax(x, alpha[:, np.newaxis]), alone)
        assert same_bits(entmax(x.T, alpha, axis=0), alone.T)
        assert same_bits(entmax(x[0], alpha[:, np.newaxis]), np.stack([entmax(x[0], a) for a in alpha]))
    assert len({entmax(x[0], a).tobytes() for a in (1, 1.25, 1.5, 2, 3, INF)}) == 6


@EVERY_ALPHA
@pytest.mark.parametrize("n", [6, 90, 5000])
def test_masked_entries_are_as_if_left_out(n, alpha):
    rng = np.random.default_rng(n)
    x, keep = rng.normal(0, 0.3, n), rng.random(n) < 0.6
    x[~keep] = rng.choice([NAN, INF, 1e300, -INF], (~keep).sum())
    y = entmax(x, alpha, where=keep)
    assert (y[~keep] == 0).all()
    np.testing.assert_allclose(y[keep], entmax(x[keep], alpha), rtol=0, atol=2e-15)
    assert same_bits(entmax(np.ma.array(x, mask=~keep), alpha), y)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3, None, (0, 2), (-1, 0), ()])
@pytest.mark.parametrize("function", [sparsemax, entmax, lambda x, axis, where=None: entmax(x, 1.2, axis, where=where)])
def test_axes(function, axis):
    x = np.random.default_rng(5).normal(0, 1, (4, 5, 6))
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(a % 3 for a in axes)
    rest = [a for a in range(3) if a not in axes]
    order = [*rest, *sorted(axes)]

    def flat(a):
        return a.transpose(order).reshape(*[x.shape[r] for r in rest], -1)

    assert same_bits(flat(function(x, axis=axis)), function(flat(x), axis=-1))
    keep = x > -0.5
    assert same_bits(flat(function(x, axis=axis, where=keep)), function(flat(x), axis=-1, where=flat(keep)))


@EVERY_ALPHA
def test_layouts_give_the_same_bits(alpha):
    for n in (7, 200, 5000):
        x = np.random.default_rng(n).normal(0, 0.5, (3, n)).astype(np.float32)
        y = entmax(x, alpha)
        bytes_ = np.zeros(x.nbytes + 1, np.uint8)
        unaligned = bytes_[1:].view(np.float32).reshape(x.shape)
        unaligned[...] = x
        read_only = x.copy()
        read_only.flags.writeable = False
        for other in (
            x[:, ::-1].copy()[:, ::-1],
            np.asfortranarray(x),
            np.repeat(x, 2, 1)[:, ::2],
            unaligned,
            read_only,
            x.astype(x.dtype.newbyteorder()),
        ):
            assert same_bits(entmax(other, alpha).astype(np.float32), y)
        assert same_bits(entmax(np.broadcast_to(x[0], (4, n)), alpha), np.broadcast_to(y[0], (4, n)))
        out = np.empty((3, 2 * n), np.float32)[:, ::2]
        _native.entmax(x, float(alpha), out)
        assert same_bits(out, y)


@EVERY_ALPHA
def test_threads_do_not_change_the_bits(alpha):
    before = _native.num_threads()
    try:
        for shape in ((2000, 20), (40, 1000), (1, 50_000), (3, 20_000)):
            x = np.random.default_rng(6).normal(0, 0.1, shape).astype(np.float32)
            results = []
            for threads in (1, 2, 3):
                _native.set_num_threads(threads)
                results.append(entmax(x, alpha))
            assert same_bits(results[0], results[1])
            assert same_bits(results[0], results[2])
    finally:
        _native.set_num_threads(before)


def test_dtypes():
    x = np.array([[0, 1, 2], [3, 3, 0]])
    for dtype in (bool, np.int8, np.uint8, np.int16, np.uint32, np.int64):
        y = entmax(x.astype(dtype))
        assert y.dtype == np.float64
        assert same_bits(y, entmax(x.astype(dtype).astype(np.float64)))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (np.float16, ml_dtypes.bfloat16):
        low = (x / 4).astype(dtype)
        assert same_bits(sparsemax(low), sparsemax(low.astype(np.float32)).astype(dtype))
    wide = entmax(x.astype(np.longdouble) / 3)
    assert wide.dtype == np.longdouble
    np.testing.assert_allclose(wide, entmax(x / 3), atol=1e-15)
    assert same_bits(np.asarray(entmax(np.float32(3), axis=None)), np.ones((), np.float32))


def test_empty_slices_and_batches():
    for shape in ((0,), (3, 0), (0, 3)):
        for alpha in (1, 1.5, 2, 3, INF):
            assert entmax(np.zeros(shape), alpha).shape == shape
            assert entmax(np.zeros(shape, np.longdouble), alpha).shape == shape


def test_errors_say_what_came():
    x = np.zeros((2, 3))
    for alpha, came in ((0.5, "0.5"), (NAN, "nan"), (-INF, "-inf")):
        with pytest.raises(ValueError, match=f"alpha must be >= 1, got {came}"):
            entmax(x, alpha)
    with pytest.raises(ValueError, match=r"alpha must be >= 1, got 0.0 at index \(1, 0\)"):
        entmax(x, [[2.0], [0.0]])
    with pytest.raises(ValueError, match=r"alpha must have length 1 along axis -1, got shape \(3,\)"):
        entmax(x, [1.0, 2.0, 1.5])
    with pytest.raises(ValueError, match=r"alpha must broadcast against x, shape \(2, 3\), got shape \(5, 1\)"):
        entmax(x, np.ones((5, 1)))
    with pytest.raises(TypeError, match="alpha must be a real number, got dtype complex128"):
        entmax(x, 1j)
    with pytest.raises(TypeError, match="x must hold real numbers, got dtype complex128"):
        sparsemax(x * 1j)
    with pytest.raises(ValueError, match=r"where must broadcast to the shape of x, \(2, 3\), got shape \(2,\)"):
        sparsemax(x, where=[True, False])


def test_shifts_and_order_do_not_matter():
    """A shift is exact here; an order changes the sums' roundings at most."""
    rng = np.random.default_rng(7)
    for alpha in ALPHAS:
        x = rng.integers(-64, 64, (5, 200)) / 64
        np.testing.assert_array_equal(entmax(x + 1024, alpha), entmax(x, alpha))
        order = rng.permutation(200)
        np.testing.assert_allclose(entmax(x[:, order], alpha), entmax(x, alpha)[:, order], rtol=0, atol=2e-15)
