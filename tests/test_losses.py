"""cross_entropy: weights, reductions, ignored rows, targets of any kind, and every refusal."""

import re
import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numerics import DTYPES, VOLUME, errors_in_ulp, exact, same_bits
from slices import INF, NAN

from softmax import cross_entropy, log_softmax, reference, value_and_grad

FLOATS = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.longdouble)
INTEGERS = tuple(f"{kind}{width}" for kind in ("int", "uint") for width in (8, 16, 32, 64))
REDUCTIONS = ("mean", "sum", "none")
examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(100 * VOLUME) + 10)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (7, 5))


TARGETS = np.array([0, 4, 2, 2, 1, 3, 0])


def losses_of(logits, targets):
    return reference.cross_entropy(logits, targets)


# Reductions and weights


def test_the_loss_of_a_row_is_minus_its_log_probability(logits):
    rows = cross_entropy(logits, TARGETS, reduction="none")
    np.testing.assert_allclose(rows, -log_softmax(logits)[np.arange(7), TARGETS], rtol=1e-15)
    np.testing.assert_allclose(cross_entropy(np.zeros(10), 3), np.log(10), rtol=1e-16)


@pytest.mark.parametrize("class_weight", [None, [1, 2, 0, 0.5, 3]])
@pytest.mark.parametrize("sample_weight", [None, [1, 0, 2, 1, 0.25, 3, 1]])
@pytest.mark.parametrize("ignore_index", [None, 2])
def test_reductions_of_weighted_losses(class_weight, sample_weight, ignore_index, logits):
    """A weight multiplies its row's loss; the mean divides by the sum of the products of the rows that count."""
    weights = np.ones(7)
    if class_weight is not None:
        weights = weights * np.array(class_weight)[TARGETS]
    if sample_weight is not None:
        weights = weights * sample_weight
    if ignore_index is not None:
        weights = np.where(ignore_index == TARGETS, 0, weights)
    options = {"class_weight": class_weight, "sample_weight": sample_weight, "ignore_index": ignore_index}
    expected = weights * losses_of(logits, TARGETS)
    np.testing.assert_allclose(cross_entropy(logits, TARGETS, reduction="none", **options), expected, rtol=1e-14)
    np.testing.assert_allclose(cross_entropy(logits, TARGETS, reduction="sum", **options), expected.sum(), rtol=1e-14)
    mean = expected.sum() / weights.sum()
    np.testing.assert_allclose(cross_entropy(logits, TARGETS, reduction="mean", **options), mean, rtol=1e-14)
    np.testing.assert_allclose(cross_entropy(logits, TARGETS, **options), mean, rtol=1e-14)


def test_a_weight_is_a_repetition(logits):
    """Of the row, in sum and in mean."""
    times = np.array([1, 3, 2, 0, 1, 2, 4])
    repeated = np.repeat(logits, times, axis=0), np.repeat(TARGETS, times)
    for reduction in ("sum", "mean"):
        got = cross_entropy(logits, TARGETS, sample_weight=times, reduction=reduction)
        np.testing.assert_allclose(got, cross_entropy(*repeated, reduction=reduction), rtol=1e-14)


def test_all_weights_zero_is_a_mean_of_zero(logits):
    loss, slope = value_and_grad(cross_entropy)(logits, TARGETS, sample_weight=np.zeros(7))
    assert loss == 0
    assert same_bits(slope, np.zeros((7, 5)))
    assert cross_entropy(logits, TARGETS, class_weight=np.zeros(5)) == 0


def test_a_row_of_weight_zero_may_hold_anything(logits):
    dirty = logits.copy()
    dirty[3] = [NAN, INF, -INF, NAN, 0]
    dirty[6] = -INF
    weight = np.array([1, 1, 1, 0, 1, 1, 0])
    for reduction in REDUCTIONS:
        got = value_and_grad(cross_entropy)(dirty, TARGETS, sample_weight=weight, reduction=reduction)
        want = value_and_grad(cross_entropy)(logits, TARGETS, sample_weight=weight, reduction=reduction)
        assert same_bits(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("weight", ["sample_weight", "class_weight"])
@pytest.mark.parametrize("dtype", [int, np.uint8, bool, np.float32, np.float16])
def test_weights_may_have_any_real_dtype(weight, dtype, logits):
    values = np.array([1, 0, 1, 1, 1] if weight == "class_weight" else [1, 0, 1, 1, 1, 0, 1])
    got = cross_entropy(logits, TARGETS, **{weight: values.astype(dtype)})
    assert same_bits(got, cross_entropy(logits, TARGETS, **{weight: values.astype(np.float64)}))


# Ignored rows


@pytest.mark.parametrize("ignore_index", [-1, -100, 2, 5, 255])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ignored_rows_count_for_nothing(dtype, ignore_index, logits):
    """As if they were not there, whatever they hold, whether or not the index is a class."""
    keep = np.array([True, False, True, False, True, True, False])
    x = logits.astype(dtype)
    targets = np.where(keep, np.array([0, 0, 1, 0, 1, 3, 0]), ignore_index)
    x[1], x[3], x[6] = NAN, INF, [NAN, -INF, 0, 1, INF]
    for reduction in REDUCTIONS:
        loss, slope = value_and_grad(cross_entropy)(x, targets, ignore_index=ignore_index, reduction=reduction)
        want_loss, want_slope = value_and_grad(cross_entropy)(x[keep], targets[keep], reduction=reduction)
        np.testing.assert_allclose(loss[keep] if reduction == "none" else loss, want_loss, rtol=1e-6)
        np.testing.assert_allclose(slope[keep], want_slope, rtol=1e-6)
        assert (slope[~keep] == 0).all()
        if reduction == "none":
            assert (loss[~keep] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_all_rows_ignored_is_zero_and_a_zero_gradient(reduction, dtype):
    x = np.full((3, 4), NAN, dtype)
    loss, slope = value_and_grad(cross_entropy)(x, [-1, -1, -1], ignore_index=-1, reduction=reduction)
    np.testing.assert_array_equal(loss, np.zeros(3) if reduction == "none" else 0)
    np.testing.assert_array_equal(slope, np.zeros((3, 4)))


def test_an_ignored_class_has_no_weight_of_its_own(logits):
    """class_weight is looked up for the rows that count alone."""
    targets = np.where(TARGETS == 2, -1, TARGETS)
    options = {"ignore_index": -1, "class_weight": [2.0, 1, 1, 1, 1]}
    keep = targets >= 0
    expected = cross_entropy(logits[keep], targets[keep], class_weight=options["class_weight"])
    np.testing.assert_allclose(cross_entropy(logits, targets, **options), expected, rtol=1e-14)


# Targets


@pytest.mark.parametrize("dtype", [*INTEGERS, ">i4", ">u8"])
def test_targets_may_have_any_integer_dtype(dtype, logits):
    assert same_bits(cross_entropy(logits, TARGETS.astype(dtype)), cross_entropy(logits, TARGETS))
    options = {"ignore_index": 2, "class_weight": np.arange(5.0), "reduction": "none"}
    got = value_and_grad(cross_entropy)(logits, TARGETS.astype(dtype), **options)
    want = value_and_grad(cross_entropy)(logits, TARGETS, **options)
    assert same_bits(got[0], want[0])
    assert same_bits(got[1], want[1])


def test_targets_of_one_byte_reach_all_of_many_classes():
    x = np.random.default_rng(1).normal(0, 1, (256, 300))
    assert same_bits(cross_entropy(x, np.arange(256, dtype=np.uint8)), cross_entropy(x, np.arange(256)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_classes_along_any_axis(axis, dtype, rng):
    x = rng.normal(0, 2, (3, 4, 5)).astype(dtype)
    moved = np.moveaxis(x, axis, -1)
    targets = rng.integers(0, x.shape[axis], moved.shape[:-1])
    weight = rng.random(x.shape[axis])
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "class_weight": weight}
        loss, slope = value_and_grad(cross_entropy)(x, targets, axis, **options)
        want_loss, want_slope = value_and_grad(cross_entropy)(moved, targets, **options)
        assert same_bits(loss, want_loss)
        assert same_bits(np.moveaxis(slope, axis, -1), want_slope)
        assert loss.dtype == slope.dtype == dtype
        assert loss.shape == (targets.shape if reduction == "none" else ())


def test_one_row_without_a_batch():
    assert cross_entropy([2.0, 0.5, -1.0], 0) == pytest.approx(0.24131129665715706, rel=1e-15)
    assert np.shape(cross_entropy([2.0, 0.5, -1.0], 0, reduction="none")) == ()
    assert same_bits(cross_entropy([2.0, 0.5], np.uint8(1)), cross_entropy([[2.0, 0.5]], [1]))


@pytest.mark.parametrize("dtype", ["bool", *INTEGERS])
def test_integer_logits_are_converted_to_float64(dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    loss, slope = value_and_grad(cross_entropy)(x, [0, 1])
    want_loss, want_slope = value_and_grad(cross_entropy)(x.astype(np.float64), [0, 1])
    assert same_bits(loss, want_loss)
    assert same_bits(slope, want_slope)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"gamma": 2.0}, {"softcap": 3.0}, {"where": True}])
@pytest.mark.parametrize("shape", [(50, 11), (9, 100), (7, 300), (2, 9000)])
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype, shape, options, rng):
    x, targets = rng.normal(0, 3, shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    if "where" in options:
        options = {"where": rng.random(shape) < 0.8}
        options["where"][np.arange(shape[0]), targets] = True
    for reduction in REDUCTIONS:
        want, wide = value_and_grad(cross_entropy)(x.astype("f4"), targets, reduction=reduction, **options)
        loss, slope = value_and_grad(cross_entropy)(x, targets, reduction=reduction, **options)
        assert same_bits(loss, want.astype(dtype))
        assert same_bits(slope, wide.astype(dtype))
        assert same_bits(cross_entropy(x, targets, reduction=reduction, **options), want.astype(dtype))
        if not options:
            turned = value_and_grad(cross_entropy)(np.asfortranarray(x.T), targets, axis=0, reduction=reduction)
            assert same_bits(turned[1].T, slope)
        into = x.copy()
        assert value_and_grad(cross_entropy)(into, targets, reduction=reduction, out=into, **options)[1] is into
        assert same_bits(into, slope)


# Edges


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_class_is_certain(dtype, reduction):
    loss, slope = value_and_grad(cross_entropy)(np.array([[3.3], [-1e3]], dtype), [0, 0], reduction=reduction)
    np.testing.assert_array_equal(loss, [0, 0] if reduction == "none" else 0)
    np.testing.assert_array_equal(slope, np.zeros((2, 1)))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_rows(dtype, reduction):
    loss, slope = value_and_grad(cross_entropy)(np.empty((0, 3), dtype), np.empty(0, int), reduction=reduction)
    np.testing.assert_array_equal(loss, np.zeros(0) if reduction == "none" else 0)
    assert slope.shape == (0, 3)
    assert loss.dtype == slope.dtype == dtype


def test_no_classes():
    loss, slope = value_and_grad(cross_entropy)(np.empty((2, 0)), [-1, -1], ignore_index=-1)
    assert loss == 0
    assert slope.shape == (2, 0)
    with pytest.raises(ValueError, match=r"^targets must be in \[0, 0\), got 0 at index \(0,\)$"):
        cross_entropy(np.empty((2, 0)), [0, 0])


@pytest.mark.parametrize(
    ("x", "target", "expected"),
    [
        ([20, 0], 0, 2.061153620314381e-09),
        ([40, 0], 0, 4.248354255291589e-18),
        ([80, 0, -3], 0, 1.8048513878454153e-35 * (1 + np.exp(-3))),
        ([0, 100], 0, 100),
        ([0, 0, 1e4], 1, 1e4),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_confident_rows_keep_their_loss(dtype, x, target, expected):
    """Right or wrong; the peers that take log(1 + tiny) say 0."""
    np.testing.assert_allclose(cross_entropy(np.array(x, dtype), target), expected, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_with_infinities_and_nan(dtype):
    """The limits: a certain row costs 0, an impossible target inf; NaN stays in its row."""
    x = np.array([[0, -INF], [-INF, 3], [-INF, -INF], [INF, 0], [INF, 0], [INF, INF], [NAN, 0], [0, 0]], dtype)
    targets = [0, 1, 0, 0, 1, 1, 1, 1]
    rows = cross_entropy(x, targets, reduction="none")
    np.testing.assert_allclose(rows, [0, 0, INF, 0, INF, np.log(2), NAN, np.log(2)], rtol=1e-7)


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_impossible_target_costs_infinity(dtype):
    """Beside finite logits too: the gradient is that of its probability, 0."""
    loss, slope = value_and_grad(cross_entropy)(np.array([0, -INF], dtype), 1)
    assert loss == INF
    assert slope.tolist() == [1, -1]
    assert cross_entropy(np.array([[0, -INF], [0, 0]], dtype), [1, 0]) == INF


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loss_out_of_range_is_infinite(dtype):
    """No warning, no NaN."""
    huge = np.finfo(dtype).max
    for reduction in REDUCTIONS:
        loss, slope = value_and_grad(cross_entropy)(np.array([[huge, -huge]]), [1], reduction=reduction)
        assert loss == INF
        assert slope.tolist() == [[1, -1]]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, *DTYPES])
def test_no_floating_point_exception_reaches_numpy(dtype):
    with np.errstate(all="raise"):
        for reduction in REDUCTIONS:
            value_and_grad(cross_entropy)(np.array([[0, -100], [20, -1000]], dtype), [0, 0], reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ignored_rows_of_longdouble_may_hold_anything(reduction):
    x = np.array([[NAN, 1], [1, 2], [INF, INF]], np.longdouble)
    loss, slope = value_and_grad(cross_entropy)(x, [9, 0, 9], ignore_index=9, reduction=reduction)
    np.testing.assert_allclose(np.sum(loss), np.log1p(np.e), rtol=1e-15)
    assert (slope[[0, 2]] == 0).all()


def test_the_mask_of_masked_logits_counts():
    """A masked class is left out, as in softmax."""
    logits = np.ma.array([[0.0, 5.0, 1.0]], mask=[[False, True, False]])
    loss, slope = value_and_grad(cross_entropy)(logits, [0])
    want_loss, want_slope = value_and_grad(cross_entropy)([[0.0, -INF, 1.0]], [0])
    assert same_bits(loss, want_loss)
    assert same_bits(slope, want_slope)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_mean_of_many_rows_is_summed_in_float64(dtype):
    """A float32 running sum would stop at 2^24 rows of 1; here it would lose digits."""
    x = np.random.default_rng(2).normal(0, 5, (100_000, 3)).astype(dtype)
    targets = np.arange(100_000) % 3
    true = exact(x).loss(targets)
    for reduction, expected in (("mean", true.mean()), ("sum", true.sum())):
        got = cross_entropy(x, targets, reduction=reduction)
        assert errors_in_ulp(got, expected) <= (0.51 if dtype == np.float32 else 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_read_only_operands_are_left_alone(dtype, logits):
    x, targets = logits.astype(dtype), TARGETS.copy()
    sample_weight, class_weight = np.ones(7), np.ones(5)
    copies = [a.copy() for a in (x, targets, sample_weight, class_weight)]
    for operand in (x, targets, sample_weight, class_weight):
        operand.flags.writeable = False
    options = {"sample_weight": sample_weight, "class_weight": class_weight, "ignore_index": 2}
    value_and_grad(cross_entropy)(x, targets, **options)
    for operand, before in zip((x, targets, sample_weight, class_weight), copies, strict=True):
        assert same_bits(operand, before)


def test_no_warning_on_finite_logits():
    info = np.finfo(np.float64)
    hard = np.array([[info.max / 4, -info.max / 4, 0], [info.tiny, 0, 1e3], [-1e3, 0, info.smallest_subnormal]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reduction in REDUCTIONS:
            value_and_grad(cross_entropy)(hard, [0, 1, 0], reduction=reduction)


finite_rows = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.floats(-50, 50))


@examples
@given(finite_rows, st.data())
def test_losses_agree_with_the_reference(x, data):
    targets = data.draw(hnp.arrays(np.int64, x.shape[:-1], elements=st.integers(0, x.shape[-1] - 1)))
    weight = data.draw(hnp.arrays(np.float64, x.shape[:-1], elements=st.floats(0, 10)))
    expected = losses_of(x, targets) * weight
    got = cross_entropy(x, targets, sample_weight=weight, reduction="none")
    np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-300)


# Refusals


FLOATS_ARE_PROBABILITIES = "class indices must be integers, got dtype float64"


@pytest.mark.parametrize("function", [cross_entropy, value_and_grad(cross_entropy)])
@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        ([0, 3], ValueError, "targets must be in [0, 3), got 3 at index (1,)"),
        ([-1, 0], ValueError, "targets must be in [0, 3), got -1 at index (0,)"),
        (
            np.array([0, 2**63], np.uint64),
            ValueError,
            "targets must be in [0, 3), got 9223372036854775808 at index (1,)",
        ),
        (np.array([0, -128], np.int8), ValueError, "targets must be in [0, 3), got -128 at index (1,)"),
        (
            [0.0, 1.0],
            ValueError,
            f"targets must have the logits' shape (2, 3) as probabilities, got (2,); {FLOATS_ARE_PROBABILITIES}",
        ),
        (
            [[0.5, 0.5, 0.0]] * 2 + [[1.0, 0.0, 0.0]],
            ValueError,
            f"targets must have the logits' shape (2, 3) as probabilities, got (3, 3); {FLOATS_ARE_PROBABILITIES}",
        ),
        ([[0.5, 0.5, 0.5], [0, 1, 0]], ValueError, "targets must sum to 1 over the classes, got 1.5 in row (0,)"),
        ([[0, 1.0, 0], [1.5, -0.5, 0]], ValueError, "targets must be probabilities, >= 0, got -0.5 in row (1,)"),
        ([[0, 1.0, 0], [NAN, 1, 0]], ValueError, "targets must be probabilities, >= 0, got nan in row (1,)"),
        (
            [True, False],
            TypeError,
            "targets must be integers (class indices) or floats (probabilities), got dtype bool",
        ),
        (["a", "b"], TypeError, "targets must be integers (class indices) or floats (probabilities), got dtype <U1"),
        ([None, 1], TypeError, "targets must be integers (class indices) or floats (probabilities), got dtype object"),
        ([0, 1, 2], ValueError, "targets must have the logits' shape without axis -1, (2,), got (3,)"),
        ([[0, 1, 2]] * 2, ValueError, "targets must have the logits' shape without axis -1, (2,), got (2, 3)"),
        (0, ValueError, "targets must have the logits' shape without axis -1, (2,), got ()"),
    ],
)
def test_targets_that_do_not_fit_are_refused(function, targets, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(np.zeros((2, 3)), targets)


def test_the_position_of_a_wrong_target_has_every_axis():
    with pytest.raises(ValueError, match=r"got 9 at index \(1, 2\)$"):
        cross_entropy(np.zeros((2, 4, 3)), [[0, 0, 0], [0, 0, 9]], 1)


def test_a_wrong_target_beside_ignored_ones_is_found():
    with pytest.raises(ValueError, match=r"^targets must be in \[0, 3\), got -2 at index \(1,\)$"):
        cross_entropy(np.zeros((2, 3)), [-1, -2], ignore_index=-1)
    with pytest.raises(ValueError, match=r"got 255 at index \(0,\)$"):
        cross_entropy(np.zeros((2, 3)), np.array([255, 0], np.uint8), ignore_index=-1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reduction": "avg"}, ValueError, "reduction must be 'mean', 'sum' or 'none', got 'avg'"),
        ({"reduction": None}, ValueError, "reduction must be 'mean', 'sum' or 'none', got None"),
        ({"class_weight": [1, 2]}, ValueError, "class_weight must have shape (3,), got (2,)"),
        ({"class_weight": 1.0}, ValueError, "class_weight must have shape (3,), got ()"),
        ({"sample_weight": [1, 2, 3]}, ValueError, "sample_weight must have one number a row, shape (2,), got (3,)"),
        ({"sample_weight": 2.0}, ValueError, "sample_weight must have one number a row, shape (2,), got ()"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing must be in [0, 1], got 1.5"),
        ({"label_smoothing": NAN}, ValueError, "label_smoothing must be in [0, 1], got nan"),
        ({"gamma": -1}, ValueError, "gamma must be finite and >= 0, got -1"),
        ({"z_loss": INF}, ValueError, "z_loss must be finite and >= 0, got inf"),
        ({"softcap": 0}, ValueError, "softcap must be finite and > 0, got 0"),
        ({"where": [1, 0, 1]}, TypeError, "where must be boolean, got dtype int64"),
        ({"where": [True] * 2}, ValueError, "where must broadcast to the shape of logits, (2, 3), got shape (2,)"),
        ({"axis": None}, TypeError, "axis must be one int for cross_entropy, got None"),
        ({"axis": (0, 1)}, TypeError, "axis must be one int for cross_entropy, got (0, 1)"),
        ({"axis": 1.0}, TypeError, "axis must be an int, a tuple of ints or None, got 1.0"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, error, message):
    for function in (cross_entropy, value_and_grad(cross_entropy)):
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            function(np.zeros((2, 3)), [0, 1], **options)


@pytest.mark.parametrize(("weight", "value"), [([1, -1], "-1"), ([NAN, 1], "nan"), ([1, INF], "inf")])
def test_weights_are_finite_and_not_negative(weight, value):
    """Those of classes that no row has, too."""
    for name in ("sample_weight", "class_weight"):
        with pytest.raises(ValueError, match=rf"^{name} must be finite and >= 0, got {value} at index \(.,\)$"):
            cross_entropy(np.zeros((2, 2)), [0, 0], **{name: weight})


@pytest.mark.parametrize("weight", ["sample_weight", "class_weight"])
def test_weights_that_are_not_numbers_are_refused_by_name(weight):
    with pytest.raises((TypeError, ValueError), match=f"^{weight} must "):
        cross_entropy(np.zeros((2, 2)), [0, 1], **{weight: ["a", "b"]})


@pytest.mark.parametrize("x", [[[1j, 2]], [["a", "b"]], [[None, 1.0]]])
def test_logits_that_are_not_real_numbers_are_refused(x):
    dtype = re.escape(str(np.asarray(x).dtype))
    with pytest.raises(TypeError, match=f"^logits must hold real numbers, got dtype {dtype}$"):
        cross_entropy(x, [0])


def test_an_axis_out_of_range_is_refused():
    with pytest.raises(np.exceptions.AxisError, match="axis 2 is out of bounds"):
        cross_entropy(np.zeros((2, 3)), [0, 0], 2)
    with pytest.raises(np.exceptions.AxisError, match="axis -1 is out of bounds"):
        cross_entropy(1.0, 0)
