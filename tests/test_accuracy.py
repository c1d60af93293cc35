"""Errors against the exact value, in ulp of the result: volume against long double, hard cases against mpmath.

The worst of each function is printed at the end of the run. See numerics.py for the unit and the oracles.
"""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import (
    BITS,
    DTYPES,
    LONG_DOUBLE_IS_WIDE,
    VOLUME,
    WIDE,
    Tally,
    as_mpf,
    errors_in_ulp,
    exact,
    exact_by_mpmath,
)
from slices import hard_slices

from softmax import Partition, cross_entropy, log_softmax, logsumexp, softmax, value_and_grad

# Around the lanes of every instruction set, the four accumulators of each, the blocks, and the sixteen blocks whose
# partial results live on the stack.
LANES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)
BLOCKS = (1000, 4095, 4096, 4097, 8191, 8193, 16 * 4096, 16 * 4096 + 1)
MILLION = (1_000_000,)
SIZES = LANES + BLOCKS + MILLION if LONG_DOUBLE_IS_WIDE else LANES
ENTRIES = 5000 * VOLUME  # of a case, so that small sizes have many rows

# (ulp, subnormal steps below the normal range). For logsumexp ulp of max(|m|, |log s|, |result|).
BOUNDS = {
    "softmax": (2, 2),
    "log_softmax": (2, 1),
    "logsumexp": (1, 1),
    "Partition.softmax": (2, 2),
    "Partition.log_softmax": (2, 1),
    "Partition.logsumexp": (1, 1),
    "cross_entropy": (2, 1),
    "cross_entropy gradient": (2, 2),
}

TEMPERATURES = (1e-3, 0.05, 0.1, 0.3, 0.7, 0.999, 1.0, 1.5, 2.0, 3.0, 10.0, 77.7, 1e3)
EDGES_OF_SCALING = [t * f for t in (2.0**-60, 2.0**60) for f in (1 - 2.0**-53, 1.0, 1 + 2.0**-52)]
EXTREME_TEMPERATURES = (1e-30, 1e-40, 1e-160, 1e-300, 1e-310, 5e-324, 1e30, 1e40, 1e160, 1e300, 1.7e308)


def add(tally, function, got, true, case, unit=None):
    tally.add(function, got, true, BOUNDS[function], case, unit)


def add_softmax_and_log_softmax(tally, x, true, case, temperature=1.0):
    add(tally, "softmax", softmax(x, temperature=temperature), true.probs, case)
    add(tally, "log_softmax", log_softmax(x, temperature=temperature), true.log_probs, case)


def add_logsumexp(tally, x, true, case):
    add(tally, "logsumexp", logsumexp(x), true.logsumexp, case, true.logsumexp_unit)


def add_partition(tally, z, x, true, case):
    add(tally, "Partition.logsumexp", z.logsumexp, true.logsumexp, case, true.logsumexp_unit)
    add(tally, "Partition.softmax", z.softmax(x), true.probs, case)
    add(tally, "Partition.log_softmax", z.log_softmax(x), true.log_probs, case)


def add_cross_entropy(tally, x, true, case, targets):
    """Losses of single rows, and the gradient of their sum."""
    losses, slope = value_and_grad(cross_entropy)(x, targets, reduction="none")
    add(tally, "cross_entropy", losses, true.loss(targets), case)
    add(tally, "cross_entropy gradient", slope, true.gradient(targets), case)


def in_two_pieces(x):
    cut = x.shape[-1] // 3
    return Partition.of(x[..., :cut]) | Partition.of(x[..., cut:])


def random_targets(rng, x):
    """The maximum for half of the rows, any class for the others."""
    anywhere = rng.integers(0, x.shape[-1], x.shape[:-1])
    return np.where(rng.random(x.shape[:-1]) < 0.5, np.argmax(x, axis=-1), anywhere)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_error_is_counted_in_ulps_of_the_exact_value(dtype):
    """By hand: either side of a power of two, below the normal range, beyond the range."""
    info = np.finfo(dtype)
    one, tiny, step = dtype(1), info.tiny, info.smallest_subnormal
    up = np.nextafter(one, dtype(2))
    assert errors_in_ulp(up, one.astype(WIDE)) == 1
    assert errors_in_ulp(one, up.astype(WIDE)) == 1
    assert errors_in_ulp(one, np.nextafter(one, dtype(0)).astype(WIDE)) == 1
    assert errors_in_ulp(dtype(1 - 2 * info.eps), one.astype(WIDE)) == 2
    assert errors_in_ulp(one, one + 0.75 * WIDE(info.eps)) == 0.75
    assert errors_in_ulp(step, WIDE(0)) == 1
    assert errors_in_ulp(5 * step, 2.5 * WIDE(step)) == 2.5
    assert errors_in_ulp(tiny - step, tiny.astype(WIDE)) == 1
    assert errors_in_ulp(info.max, info.max.astype(WIDE)) == 0
    assert errors_in_ulp(dtype(-np.inf), -2 * WIDE(info.max)) == 0
    assert errors_in_ulp(info.max, 2 * WIDE(info.max)) == 1
    assert errors_in_ulp(dtype(np.inf), info.max.astype(WIDE)) == 1
    assert errors_in_ulp(dtype(np.nan), WIDE(1)) == np.inf
    assert errors_in_ulp(up, as_mpf(WIDE(1))) == 1
    assert errors_in_ulp(up, WIDE(1), unit=WIDE(8)) == 0.125


def test_a_result_three_ulps_off_fails():
    x = np.random.default_rng(0).normal(0, 10, (5, 9))
    true = exact(x)
    off = softmax(x)
    off[3, 4] += 3 * np.spacing(off[3, 4])
    with pytest.raises(AssertionError, match=r"softmax float64, x: .* at \(3, 4\)"), Tally() as tally:
        tally.add("softmax", off, true.probs, (2, 1), "x")
    with Tally() as tally:
        tally.add("softmax", softmax(x), true.probs, (2, 1), "x")


@pytest.mark.parametrize("temperature", [1.0, 0.37, 1e-3, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_long_double_is_enough_for_an_oracle(dtype, temperature):
    """Within 0.01 float64 ulp of mpmath, tails as long as float64 holds among the entries."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(offset, 100 * temperature, (6, 20)) for offset in (0, 1e4, -1e-4)]).astype(dtype)
    targets = rng.integers(0, 20, 18)
    ours, true = exact(x, temperature), exact_by_mpmath(x, temperature)
    for name in ("probs", "log_probs", "log_sum", "others"):
        got, want = getattr(ours, name), getattr(true, name)
        with mpmath.workprec(BITS):
            relative = [abs(as_mpf(g) / w - 1) for g, w in zip(got.ravel(), want.ravel(), strict=True) if w > 1e-4000]
        assert max(relative, default=0) < 0.01 * 2.0**-53, name
    for name in ("loss", "gradient"):
        got, want = getattr(ours, name)(targets), getattr(true, name)(targets)
        assert errors_in_ulp(got.astype(np.float64), want).max() <= 0.51, name


@pytest.mark.parametrize("offset", [0, 1e4, -1e4])
@pytest.mark.parametrize("scale", [1, 10, 30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_scores_of_every_size(dtype, scale, offset, tally):
    rng = np.random.default_rng([scale, int(abs(offset)), offset < 0])
    with tally:
        for size in SIZES:
            x = (rng.normal(offset, scale, (max(1, int(ENTRIES / size)), size))).astype(dtype)
            true, case = exact(x), f"K={size}, N({offset:g}, {scale}^2)"
            add_softmax_and_log_softmax(tally, x, true, case)
            add_logsumexp(tally, x, true, case)
            if size not in MILLION:
                add_partition(tally, in_two_pieces(x), x, true, case)
                add_cross_entropy(tally, x, true, case, random_targets(rng, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_others_that_weigh_little(dtype, tally):
    """One large entry beside others all alike: what a sum of all rounds off would show in the others' logarithm."""
    rng = np.random.default_rng(17)
    with tally:
        for size in (129, 256, 1000, 2048, 4096, 8192):
            rows = max(40, int(3 * ENTRIES / size))
            weight = np.exp2(rng.uniform(-12, -1, (rows, 1)))
            x = np.where(np.arange(size) == rng.integers(size, size=(rows, 1)), 0, np.log(weight / (size - 1)))
            true, case = exact(x.astype(dtype)), f"K={size}, one large"
            add_softmax_and_log_softmax(tally, x.astype(dtype), true, case)
            add_logsumexp(tally, x.astype(dtype), true, case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_roundings_that_all_go_one_way(dtype, tally):
    """Some large entries, the others all alike: each term of a sum is rounded as the one before it."""
    rng = np.random.default_rng(13)
    with tally:
        for size in (2, 10, 64, 100, 128, 129, 200, 256, 512, 1000, 2048):
            rows = max(8, int(30 * ENTRIES / size))
            large = rng.choice([1, 8, 16, 64], (rows, 1)).clip(1, size - 1)
            others = np.exp(rng.uniform(np.log(0.01), np.log(50), (rows, 1)))  # their weight beside one of the large
            top = rng.uniform(-30, 30, (rows, 1))
            x = np.where(np.arange(size) < large, top, top + np.log(others / (size - large))).astype(dtype)
            true, case = exact(x), f"K={size}, entries alike"
            add_softmax_and_log_softmax(tally, x, true, case)
            add_logsumexp(tally, x, true, case)
            add_cross_entropy(tally, x, true, case, random_targets(rng, x))


@pytest.mark.parametrize("offset", [1e30, -1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_offsets(dtype, offset, tally):
    """Neighbouring numbers are 7e22 (float32) or 1e14 (float64) apart there: the temperature brings them together."""
    rng = np.random.default_rng(30)
    with tally:
        spacing = float(np.spacing(dtype(1e30)))
        for size in (2, 3, 17, 100, 4097):
            x = (offset + spacing * rng.integers(-40, 40, (max(1, int(ENTRIES / size)), size))).astype(dtype)
            for temperature in (1.0, spacing / 3, spacing, 5 * spacing, 100 * spacing):
                case = f"K={size}, offset {offset:g}, T={temperature:g}"
                add_softmax_and_log_softmax(tally, x, exact(x, temperature), case, temperature)
            true, case = exact(x), f"K={size}, offset {offset:g}"
            add_logsumexp(tally, x, true, case)
            add_partition(tally, in_two_pieces(x), x, true, case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_temperatures_from_a_thousandth_to_a_thousand(dtype, tally):
    rng = np.random.default_rng(7)
    with tally:
        for size in (2, 3, 10, 16, 33, 129, 1000, 4097):
            shape = (max(4, int(8 * ENTRIES / size)), 1)
            temperature = np.exp(rng.uniform(np.log(1e-3), np.log(1e3), shape))
            for offset, scale in ((0, 1), (0, 30), (1e4, 10), (0, temperature * 10), (100 * temperature, temperature)):
                x = (offset + scale * rng.normal(0, 1, (shape[0], size))).astype(dtype)
                add_softmax_and_log_softmax(tally, x, exact(x, temperature), f"K={size}, T in 1e-3..1e3", temperature)


@pytest.mark.parametrize("temperature", [*EXTREME_TEMPERATURES, *EDGES_OF_SCALING])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_temperatures(dtype, temperature, tally):
    """Scores of the temperature's own size where the dtype has them, and of size 1."""
    rng = np.random.default_rng(11)
    with tally:
        for size in (2, 5, 33, 4099) if LONG_DOUBLE_IS_WIDE else (2, 5, 33):
            x = rng.normal(0, 1, (3, size))
            for scale in (1.0, temperature, 20 * temperature):
                if scale < float(np.finfo(dtype).max) / 16:
                    scaled = (x * scale).astype(dtype)
                    oracle = exact if size > 33 else exact_by_mpmath
                    true, case = oracle(scaled, temperature), f"K={size}, N(0, {scale:g}^2), T={temperature!r}"
                    add_softmax_and_log_softmax(tally, scaled, true, case, temperature)


HARD_SLICES = tuple(hard_slices(np.float32))


@pytest.mark.parametrize("name", HARD_SLICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_slices(dtype, name, tally):
    with tally:
        x = np.array(hard_slices(dtype)[name], dtype)
        for temperature in (*TEMPERATURES, *EDGES_OF_SCALING):
            true = exact_by_mpmath(x, temperature)
            add_softmax_and_log_softmax(tally, x, true, f"{name}, T={temperature!r}", temperature)
        true = exact_by_mpmath(x)
        add_logsumexp(tally, x, true, name)
        add_partition(tally, in_two_pieces(x), x, true, name)
        finite = np.flatnonzero(np.isfinite(x))
        rows = np.tile(x, (len(finite), 1))
        add_cross_entropy(tally, rows, exact_by_mpmath(rows), name, finite)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_just_below_the_normal_range(dtype, tally):
    """Where a subnormal number has almost all its digits, an error of 1.2 ulp is one of 1.2 steps."""
    rng = np.random.default_rng(5)
    edge = -np.log(float(np.finfo(dtype).tiny))
    with tally:
        for maximum in (0, 1.5, -3.3, 10.25):
            x = np.stack([np.full(30000, maximum), maximum - edge - rng.uniform(0, 0.8, 30000)], -1).astype(dtype)
            true, case = exact(x), f"maximum {maximum}"
            add_softmax_and_log_softmax(tally, x, true, case)
            add_partition(tally, Partition.of(x), x, true, case)
            add_cross_entropy(tally, x, true, case, np.zeros(30000, int))


def test_a_sum_of_tails_is_within_one_ulp():
    """Where the others are a few per cent of the maximum, their sum's error is the result's."""
    x = np.array([[0.0, -3.884, -3.137], [0.001, -4.401, -3.012], [1.77628, -1.02661, -60], [-1.0285, 1.7342, -60]])
    true = exact_by_mpmath(x)
    assert errors_in_ulp(logsumexp(x), true.logsumexp, true.logsumexp_unit).max() <= 1
    targets = np.argmax(x, axis=-1)
    assert errors_in_ulp(cross_entropy(x, targets, reduction="none"), true.loss(targets)).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "x", "temperature"),
    [
        (np.float32, [3e38, -3e38], 1e10),  # x - max overflows, the quotient does not
        (np.float64, [1.7e308, -1.7e308], 1e10),
        (np.float32, [1e38, 0, -3e38], 2.0),
        (np.float64, [1e290, 0, 1, -1], 2.0**-60 * (1 - 2.0**-53)),  # x times the reciprocal's power of two does
        (np.float32, [0, -1e-38], 1e-75),  # the quotient of two tiny numbers is 1e37
        (np.float32, [0, -1e-45], 1e-80),
        (np.float32, [0, -1e-30], 1e-300),  # and here it is beyond the range
        (np.float64, [-4e307, 0], 0.5),  # products beyond 2^996
    ],
)
def test_log_softmax_of_scores_far_apart(dtype, x, temperature):
    """Infinite where the exact value is out of range, and only there."""
    x = np.array(x, dtype)
    true = exact_by_mpmath(x, temperature)
    assert errors_in_ulp(log_softmax(x, temperature=temperature), true.log_probs).max() <= 2
    assert errors_in_ulp(softmax(x, temperature=temperature), true.probs).max() <= 2


def test_log_softmax_keeps_values_near_zero():
    """PyTorch, JAX, SciPy and ONNX Runtime all return 0 for the first entry."""
    assert log_softmax(np.float32([20, 0])).tolist() == [np.float32(-2.0611537e-09), -20.0]
    assert log_softmax([1000.0, 0.0]).tolist() == [0.0, -1000.0]
    np.testing.assert_array_equal(log_softmax([800.0, 100.0, 0.0])[0], -np.exp(-700.0))


@pytest.mark.skipif(not LONG_DOUBLE_IS_WIDE, reason="needs a long double of 64 bits or more")
@pytest.mark.parametrize("n", [2, 3, 100, 129, 256, 257, 1000, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_share(dtype, n, tally):
    """From 2/5 of the weight to all: none is above 1, all is exactly 1, and so are two halves of shorter slices."""
    rng = np.random.default_rng(n)
    top = rng.normal(0, 30, (400, 1))
    rest = rng.permuted(np.linspace(2.0**-60, 1.5, 400))[:, np.newaxis]  # of the weight, relative to the maximum's
    rest[:20] = 2.0 ** -np.arange(2, 62, 3)[:, np.newaxis]
    x = np.broadcast_to(top + np.log(rest / (n - 1)), (400, n)).astype(dtype)
    x[:, n // 2] = top[:, 0]
    shares = softmax(x)
    with tally:
        add(tally, "softmax", shares, exact(x).probs, f"a large share among {n}")
    assert (shares <= 1).all()
    np.testing.assert_array_equal(softmax(np.ascontiguousarray(x.T), axis=0), shares.T)
    x[:, np.arange(n) != n // 2] = -np.inf
    assert (softmax(x)[:, n // 2] == 1).all()
    x[:, 0] = x[:, n // 2]
    if n <= 256:
        assert (softmax(x)[:, [0, n // 2]] == 0.5).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_partitions_that_grew_by_many_pieces(dtype, tally):
    """A stream of a thousand updates is as good as one piece."""
    rng = np.random.default_rng(8)
    with tally:
        for name, x in {
            "normal": rng.normal(0, 1, (20, 1000)),
            "rising": np.sort(rng.normal(0, 3, (20, 1000)), axis=-1),
            "falling": -np.sort(rng.normal(0, 3, (20, 1000)), axis=-1),
            "equal": np.full((20, 1000), 0.3),
        }.items():
            x = x.astype(dtype)
            z = Partition.empty((20,), dtype)
            for piece in np.split(x, 1000, axis=-1):
                z = z.update(piece)
            add_partition(tally, z, x, exact(x), f"{name}, 1000 pieces")


def finite_floats(dtype, limit):
    width = np.dtype(dtype).itemsize * 8
    limit = float(dtype(limit))
    return st.floats(-limit, limit, width=width) | st.floats(-100, 100, width=width) | st.sampled_from([0.0, 1.0, -1.0])


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 1e38), (np.float64, 1e308)])
def test_any_finite_slice_at_any_temperature(dtype, limit):
    """Hypothesis looks for the input that is worst."""

    @settings(deadline=None, derandomize=True, max_examples=int(400 * VOLUME) + 20, database=None)
    @given(
        hnp.arrays(dtype, st.integers(1, 20), elements=finite_floats(dtype, limit / 4)),
        st.floats(-3, 3).map(lambda power: 10.0**power) | st.sampled_from([1.0, 2.0**-60, 2.0**60]),
    )
    def search(x, temperature):
        with Tally() as tally:
            true, case = exact_by_mpmath(x, temperature), f"{x!r}, T={temperature!r}"
            add_softmax_and_log_softmax(tally, x, true, case, temperature)
            true = exact_by_mpmath(x)
            add_logsumexp(tally, x, true, f"{x!r}")
            add_partition(tally, in_two_pieces(x), x, true, f"{x!r}")

    search()
