"""The options of cross_entropy, alone and together, against the formula in mpmath and the differences of that."""

import itertools
import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerics import DTYPES, VOLUME, same_bits
from slices import INF, NAN

from softmax import cross_entropy, focal_loss, jacobian, reference, value_and_grad, vjp

NUMBERS = {
    "label_smoothing": (0.0, 0.1, 1.0),
    "gamma": (0.0, 2.0, 0.5, 1.0),
    "z_loss": (0.0, 1e-2),
    "softcap": (None, 20.0),
}
COMBINATIONS = [dict(zip(NUMBERS, values, strict=True)) for values in itertools.product(*NUMBERS.values())]
IDS = [",".join(f"{name}={value}" for name, value in options.items() if value) for options in COMBINATIONS]
HARD = {
    "plain": [0.3, -1.2, 2.5, 0.9],
    "sure": [40.0, 1.0, -3.0, 0.0],
    "surer": [1.0, 2.0, 90.0, -5.0],
    "far": [1e4, 1e4 + 1, 1e4 - 3, 9990.5],
    "one huge": [0.0, 5e4, 1.0, 2.0],
    "ties": [2.5, 2.5, 2.5, 2.5],
    "tiny tails": [0.0, -60.0, -80.0, -100.0],
    "impossible": [1.0, -INF, 2.0, -INF],
}
examples = settings(deadline=None, derandomize=True, database=None, max_examples=int(150 * VOLUME) + 10)


class Formula:
    """What the docstring says, one row, in `digits` digits; the terms too, which errors are measured in."""

    def __init__(self, logits, y, *, label_smoothing=0.0, gamma=0.0, z_loss=0.0, softcap=None, where=None):
        logits = [mpmath.mpf(float(x)) if not isinstance(x, mpmath.mpf) else x for x in logits]
        where = [True] * len(logits) if where is None else where
        z = logits if softcap is None else [softcap * mpmath.tanh(x / mpmath.mpf(softcap)) for x in logits]
        z = [x if kept else mpmath.mpf("-inf") for x, kept in zip(z, where, strict=True)]
        left = [x != mpmath.mpf("-inf") for x in z]
        total = mpmath.fsum(mpmath.exp(x) for x in z)
        self.log_total = mpmath.log(total)
        self.p = [mpmath.exp(x) / total for x in z]
        y = [mpmath.mpf(float(part)) * (1 - mpmath.mpf(label_smoothing)) for part in y]
        y = [
            part + mpmath.mpf(label_smoothing) / sum(left) if kept else part for part, kept in zip(y, left, strict=True)
        ]
        cost = [self.log_total - x if kept else mpmath.mpf("inf") for x, kept in zip(z, left, strict=True)]
        self.losses = [part * (1 - p) ** gamma * c if part else 0 for part, p, c in zip(y, self.p, cost, strict=True)]
        self.losses.append(z_loss * self.log_total**2)
        self.loss = mpmath.fsum(self.losses)
        slopes = [self._slope(p, c, gamma) for p, c in zip(self.p, cost, strict=True)]
        b = [part * slope for part, slope in zip(y, slopes, strict=True)]
        a = mpmath.fsum(b) + 2 * z_loss * self.log_total
        self.terms = [max(abs(a * p), abs(part)) for p, part in zip(self.p, b, strict=True)]
        cap = [1 - mpmath.tanh(x / mpmath.mpf(softcap)) ** 2 if softcap else 1 for x in logits]
        self.gradient = [(a * p - part) * c for p, part, c in zip(self.p, b, cap, strict=True)]

    @staticmethod
    def _slope(p, cost, gamma):
        if gamma == 0 or p == 0:
            return mpmath.mpf(1)
        return (1 - p) ** gamma + gamma * p * (1 - p) ** (gamma - 1) * cost if p != 1 else mpmath.mpf(0)


def as_parts(target, classes):
    return [float(k == target) for k in range(classes)] if np.ndim(target) == 0 else list(target)


def check_row(x, target, options, softcap=None, dtype=np.float64):
    """4 ulp of the row's largest term, and a subnormal step; a softcap in float64 moves a logit by 2^-52 of it."""
    with mpmath.workdps(60):
        formula = Formula(x, as_parts(target, len(x)), **options)
        loss, slope = value_and_grad(cross_entropy)(x, target, **options)
        ulp = mpmath.mpf(float(np.finfo(dtype).eps)) / 2 * 2
        step = mpmath.mpf(float(np.finfo(dtype).smallest_subnormal))
        allowed = 4 + (8 * softcap if softcap and dtype == np.float64 else 0)
        if mpmath.isinf(formula.loss):
            assert loss == INF
        else:
            largest = max(abs(term) for term in formula.losses)
            assert (
                abs(mpmath.mpf(float(loss)) - formula.loss)
                <= allowed * ulp * largest + 2 * step + mpmath.mpf(10) ** -50
            )
        largest = max(formula.terms)
        for got, true in zip(slope, formula.gradient, strict=True):
            assert abs(mpmath.mpf(float(got)) - true) <= allowed * ulp * largest + 4 * step
    assert same_bits(loss, cross_entropy(x, target, **options))


@pytest.mark.parametrize("options", COMBINATIONS, ids=IDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_rows_stay_within_four_ulp_of_their_largest_term(dtype, options):
    parts = np.array([0.5, 0.25, 0.25, 0]), np.array([0, 0, 1.0, 0])
    for name, row in HARD.items():
        x = np.array(row, dtype)
        for target in (*range(4), *parts):
            if name == "impossible" and np.ndim(target) and options["softcap"] is None and target[1]:
                continue  # infinite: below
            check_row(x, target if np.ndim(target) == 0 else target.astype(dtype), options, options["softcap"], dtype)


@examples
@given(
    x=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=6),
    options=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in NUMBERS.items()}),
    data=st.data(),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_row_any_options(dtype, x, options, data):
    """And any classes left out, so long as the target is not among them."""
    x = np.array(x, dtype)
    index = data.draw(st.integers(0, len(x) - 1))
    where = np.array(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x))))
    where[index] = True
    weights = np.array(data.draw(st.lists(st.integers(0, 8), min_size=len(x), max_size=len(x)))) * where
    target = index if data.draw(st.booleans()) or not weights.any() else (weights / weights.sum()).astype(dtype)
    check_row(x, target, options | {"where": where}, options["softcap"], dtype)


@pytest.mark.parametrize("options", COMBINATIONS, ids=IDS)
def test_the_gradient_is_that_of_high_precision_differences(options):
    """Of the formula; that ours is the formula's is tested above."""
    where = [True, True, False, True]
    with mpmath.workdps(80):
        step = mpmath.mpf(10) ** -25
        for target in (1, [0.5, 0.25, 0, 0.25]):
            x = [mpmath.mpf(v) for v in ("0.3", "-1.2", "2.5", "0.9")]

            def loss_at(k, change, x=x, target=target):
                moved = [v + (change if i == k else 0) for i, v in enumerate(x)]
                return Formula(moved, as_parts(target, 4), where=where, **options).loss

            slopes = Formula(x, as_parts(target, 4), where=where, **options).gradient
            for k in range(4):
                difference = (loss_at(k, step) - loss_at(k, -step)) / (2 * step)
                assert abs(slopes[k] - difference) < mpmath.mpf(10) ** -40


@pytest.mark.parametrize("classes", [1, 2, 7, 64, 65, 300, 5000, 20000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_length_agree_with_the_specification(dtype, classes):
    rng = np.random.default_rng(classes)
    x = rng.normal(0, 3, (5, classes)).astype(dtype)
    parts = rng.dirichlet(np.ones(classes), 5).astype(dtype)
    where = rng.random((5, classes)) < 0.7
    where[:, 0] = True
    inside = parts * where
    inside = (inside / inside.sum(axis=-1, keepdims=True, dtype=np.float64)).astype(dtype)
    tolerance = {"rtol": 8 * np.finfo(dtype).eps, "atol": 0}
    for options in COMBINATIONS if classes < 1000 else COMBINATIONS[::5]:
        slack = 1 + 20 * (options["softcap"] is not None and dtype == np.float64)
        for mask, targets in itertools.product((None, where), (np.zeros(5, int), inside)):
            numbers = options | {"where": mask}
            loss, slope = value_and_grad(cross_entropy)(x, targets, reduction="none", **numbers)
            wide = x.astype(np.longdouble)
            want = reference.cross_entropy(wide, targets, **numbers)
            np.testing.assert_allclose(loss, want, rtol=slack * tolerance["rtol"], atol=np.finfo(dtype).eps)
            want = reference.cross_entropy_gradient(wide, targets, **numbers)
            scale = np.finfo(dtype).eps * np.maximum(np.abs(want).max(axis=-1, keepdims=True), 0.1)
            assert (np.abs(slope - want) <= 8 * slack * scale).all()


@examples
@given(
    options=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in NUMBERS.items()}),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    data=st.data(),
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_masks_and_reductions_beside_any_options(dtype, options, reduction, data):
    """Each row's loss and gradient, times its weight and over the sum of weights, whatever else is asked for."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 9))
    x, targets = rng.normal(0, 5, (rows, classes)).astype(dtype), rng.integers(0, classes, rows)
    where = (rng.random((rows, classes)) < 0.7) | (np.arange(classes) == targets[:, np.newaxis])
    sample_weight, class_weight = rng.integers(0, 4, rows), rng.integers(0, 4, classes) / 2
    soft = data.draw(st.booleans())
    parts = rng.dirichlet(np.ones(classes), rows) * where
    parts = (parts / parts.sum(axis=-1, keepdims=True)).astype(dtype)
    ignored = None if soft else data.draw(st.sampled_from([None, 0, -1]))
    weights = sample_weight * (parts.astype(np.float64) @ class_weight if soft else class_weight[targets])
    if ignored is not None:
        weights = np.where(targets == ignored, 0, weights)
    target = parts if soft else targets
    loss, slope = value_and_grad(cross_entropy)(
        x,
        target,
        where=where,
        sample_weight=sample_weight,
        class_weight=class_weight,
        ignore_index=ignored,
        reduction=reduction,
        **options,
    )
    each, slopes = value_and_grad(cross_entropy)(x, target, where=where, reduction="none", **options)
    divisor = (weights.sum() or 1) if reduction == "mean" else 1
    each, slopes = each * weights / divisor, slopes * weights[:, np.newaxis] / divisor
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, each if reduction == "none" else each.sum(), rtol=16 * eps)
    np.testing.assert_allclose(slope, slopes, rtol=0, atol=16 * eps * max(np.abs(slopes).max(), 1e-30))


# What the options mean


@pytest.mark.parametrize("dtype", [*DTYPES, np.longdouble])
def test_one_hot_probabilities_are_their_index(dtype):
    x = np.random.default_rng(0).normal(0, 3, (6, 9)).astype(dtype)
    targets = np.arange(6)
    hot = np.eye(9, dtype=dtype)[targets]
    for options in COMBINATIONS:
        loss, slope = value_and_grad(cross_entropy)(x, hot, **options)
        want_loss, want_slope = value_and_grad(cross_entropy)(x, targets, **options)
        np.testing.assert_allclose(loss, want_loss, rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_allclose(slope, want_slope, atol=4 * np.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sure_one_hot_row_keeps_its_gradient(dtype):
    loss, slope = value_and_grad(cross_entropy)(np.array([40, 0], dtype), np.array([1, 0], dtype))
    np.testing.assert_allclose(loss, 4.248354255291589e-18, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_allclose(slope, [-4.248354255291589e-18, 4.248354255291589e-18], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label_smoothing", [0, 0.1])
def test_a_class_that_is_left_out_is_as_if_it_were_not_there(label_smoothing, dtype):
    """By the mask whatever it holds, or by -inf; its gradient is exactly 0."""
    small = np.array([[0.5, -1, 2]], dtype)
    want_loss, want_slope = value_and_grad(cross_entropy)(small, [2], label_smoothing=label_smoothing)
    for junk in (NAN, INF, -INF, 7):
        x = np.array([[0.5, junk, -1, 2]], dtype)
        loss, slope = value_and_grad(cross_entropy)(
            x, [3], label_smoothing=label_smoothing, where=[True, False, True, True]
        )
        assert same_bits(loss, want_loss)
        np.testing.assert_allclose(slope[:, [0, 2, 3]], want_slope, rtol=2 * np.finfo(dtype).eps)
        assert slope[0, 1] == 0
    x = np.array([[0.5, -INF, -1, 2]], dtype)
    loss, slope = value_and_grad(cross_entropy)(x, [3], label_smoothing=label_smoothing)
    assert same_bits(loss, want_loss)
    assert slope[0, 1] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_probability_of_zero_at_an_impossible_class_costs_nothing(dtype):
    x, y = np.array([1, -INF, 2], dtype), np.array([0.5, 0, 0.5], dtype)
    loss, slope = value_and_grad(cross_entropy)(x, y)
    np.testing.assert_allclose(loss, 0.5 * (np.log1p(np.exp(1)) + np.log1p(np.exp(-1))), rtol=1e-6)
    assert slope[1] == 0
    assert np.isfinite(slope).all()
    loss, slope = value_and_grad(cross_entropy)(x, np.array([0.5, 0.25, 0.25], dtype))
    assert loss == INF
    assert slope[1] == -0.25


def test_class_weights_do_not_bend_the_smoothed_target():
    """A weight multiplies the whole loss of its rows."""
    x, weight = np.random.default_rng(1).normal(0, 2, (4, 3)), np.array([1.0, 5, 0.25])
    targets = np.array([0, 1, 2, 1])
    rows = cross_entropy(x, targets, label_smoothing=0.2, reduction="none")
    got = cross_entropy(x, targets, label_smoothing=0.2, class_weight=weight, reduction="none")
    np.testing.assert_allclose(got, weight[targets] * rows, rtol=1e-15)
    mean = cross_entropy(x, targets, label_smoothing=0.2, class_weight=weight)
    np.testing.assert_allclose(mean, got.sum() / weight[targets].sum(), rtol=1e-15)


def test_the_class_weight_of_probabilities_is_the_mean_of_their_weights():
    x, y = np.random.default_rng(2).normal(0, 2, (2, 3)), np.array([[0.5, 0.5, 0], [0, 0.25, 0.75]])
    weight = np.array([1.0, 3, 5])
    got = cross_entropy(x, y, class_weight=weight, reduction="none")
    np.testing.assert_allclose(got, (y @ weight) * cross_entropy(x, y, reduction="none"), rtol=1e-15)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_rows_of_weight_zero_may_hold_anything_as_probabilities_too(reduction):
    x, y = np.array([[1.0, 2], [NAN, INF], [0, 1]]), np.array([[0.5, 0.5], [NAN, -3], [1, 0]])
    weight = [1, 0, 2]
    loss, slope = value_and_grad(cross_entropy)(x, y, sample_weight=weight, label_smoothing=0.1, reduction=reduction)
    want, _ = value_and_grad(cross_entropy)(
        x[[0, 2]], y[[0, 2]], sample_weight=[1, 2], label_smoothing=0.1, reduction=reduction
    )
    np.testing.assert_array_equal(loss[[0, 2]] if reduction == "none" else loss, want)
    assert (slope[1] == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_probabilities_and_masks_along_any_axis(axis):
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 2, (3, 4, 5)), rng.random((3, 4, 5))
    y /= y.sum(axis=axis, keepdims=True)
    where = (rng.random((3, 4, 5)) < 0.8) | (y == y.max(axis=axis, keepdims=True))
    y = np.where(where, y, 0) / np.where(where, y, 0).sum(axis=axis, keepdims=True)
    options = {"label_smoothing": 0.1, "z_loss": 0.01, "reduction": "none"}
    loss, slope = value_and_grad(cross_entropy)(x, y, axis, where=where, **options)
    moved = [np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (x, y, where)]
    want_loss, want_slope = value_and_grad(cross_entropy)(*moved[:2], where=moved[2], **options)
    assert same_bits(loss, want_loss)
    assert same_bits(np.ascontiguousarray(np.moveaxis(slope, axis, -1)), want_slope)


def test_focal_loss_is_cross_entropy_with_gamma():
    x, targets = np.random.default_rng(4).normal(0, 2, (5, 3)), np.array([0, 1, 2, 2, 1])
    alpha = np.array([0.25, 0.5, 1])
    for reduction in ("mean", "sum", "none"):
        got = value_and_grad(focal_loss)(x, targets, alpha=alpha, class_weight=[1, 2, 3], reduction=reduction)
        want = value_and_grad(cross_entropy)(x, targets, gamma=2.0, class_weight=alpha * [1, 2, 3], reduction=reduction)
        assert same_bits(got[0], want[0])
        assert same_bits(got[1], want[1])
        assert same_bits(got[0], focal_loss(x, targets, alpha=alpha, class_weight=[1, 2, 3], reduction=reduction))
    assert focal_loss(x, targets, alpha=0.25, reduction="sum") == 0.25 * focal_loss(x, targets, reduction="sum")
    with pytest.raises(TypeError, match=r"^alpha must hold real numbers, got dtype <U1$"):
        focal_loss(x, targets, alpha="a")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7), (5, 300), (3, 40000)])
def test_the_gradient_may_take_the_place_of_the_logits(shape, dtype):
    rng = np.random.default_rng(5)
    x, targets = rng.normal(0, 2, shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    parts = rng.dirichlet(np.ones(shape[1]), shape[0]).astype(dtype)
    for options, target in itertools.product(COMBINATIONS, (targets, parts)):
        want_loss, want_slope = value_and_grad(cross_entropy)(x, target, **options)
        logits = x.copy()
        loss, slope = value_and_grad(cross_entropy)(logits, target, out=logits, **options)
        assert slope is logits
        assert same_bits(loss, want_loss)
        assert same_bits(slope, want_slope)


@pytest.mark.parametrize("classes", [500, 20_000, 40_000])
def test_a_gradient_too_large_for_the_caches_has_the_bits_of_each_row_alone(classes):
    """It is written past them: from 32 MB on."""
    rng = np.random.default_rng(classes)
    rows = 2**25 // 4 // classes + 1
    x, targets = rng.normal(0, 2, (rows, classes)).astype(np.float32), rng.integers(0, classes, rows)
    x[-1, 3] = -INF
    parts = rng.dirichlet(np.ones(classes), 1).astype(np.float32).repeat(rows, axis=0)
    for options, target in itertools.product(({}, {"label_smoothing": 0.1}), (targets, parts)):
        losses, slopes = value_and_grad(cross_entropy)(x, target, reduction="none", **options)
        for row in (0, rows // 2, rows - 1):
            loss, slope = value_and_grad(cross_entropy)(x[row], target[row], reduction="none", **options)
            assert same_bits(losses[row], loss)
            assert same_bits(slopes[row], slope)


def test_out_of_another_dtype_is_rounded_to():
    x = np.random.default_rng(6).normal(0, 2, (4, 3))
    out = np.empty((4, 3), np.float32)
    _, slope = value_and_grad(cross_entropy)(x, [0, 1, 2, 0], out=out)
    assert slope is out
    np.testing.assert_array_equal(out, value_and_grad(cross_entropy)(x, [0, 1, 2, 0])[1].astype(np.float32))
    with pytest.raises(ValueError, match=r"^out must have the result's shape \(4, 3\), got \(3,\)$"):
        value_and_grad(cross_entropy)(x, [0, 1, 2, 0], out=np.empty(3))


# vjp and jacobian


@pytest.mark.parametrize("function", [cross_entropy, focal_loss])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_pullback_is_the_gradient_times_dy(reduction, function):
    x, targets = np.random.default_rng(7).normal(0, 2, (4, 5, 3)), np.random.default_rng(8).integers(0, 5, (4, 3))
    loss, pullback = vjp(function, x, targets, axis=1, reduction=reduction, label_smoothing=0.1)
    assert same_bits(loss, function(x, targets, 1, reduction=reduction, label_smoothing=0.1))
    _, slope = value_and_grad(function)(x, targets, 1, reduction=reduction, label_smoothing=0.1)
    dy = np.random.default_rng(9).normal(size=np.shape(loss))
    expected = slope * (dy[:, np.newaxis, :] if reduction == "none" else dy)
    np.testing.assert_allclose(pullback(dy), expected, rtol=1e-13, atol=1e-16)
    rows = jacobian(function)(x, targets, 1, reduction=reduction, label_smoothing=0.1)
    np.testing.assert_array_equal(rows, np.moveaxis(slope, 1, -1) if reduction == "none" else slope)
    with pytest.raises(ValueError, match=r"^dy must have the shape of the result, "):
        pullback(np.zeros((9, 9)))


@pytest.mark.parametrize("function", [cross_entropy, focal_loss])
def test_unknown_options_are_refused(function):
    for of in (function, value_and_grad(function)):
        with pytest.raises(TypeError, match="'smoothing'"):
            of(np.zeros((2, 3)), [0, 1], smoothing=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": [1, 2]}, r"alpha must be a number or have shape (3,), got shape (2,)"),
        ({"alpha": -1}, "alpha must be finite and >= 0, got -1"),
        ({"alpha": [1, 2, 3], "class_weight": [1, 2]}, "class_weight must have shape (3,), got (2,)"),
        ({"alpha": 0.5, "axis": (0, 1)}, "axis must be one int for focal_loss, got (0, 1)"),
        ({"gamma": None}, "gamma must be a number, got None"),
        ({"label_smoothing": [0.1]}, "label_smoothing must be a number, got [0.1]"),
        ({"ignore_index": 1.5}, "ignore_index must be an int, got 1.5"),
    ],
)
def test_options_of_focal_loss_are_refused_by_their_own_name(options, message):
    for of in (focal_loss, value_and_grad(focal_loss)):
        with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
            of(np.zeros((2, 3)), [0, 1], **options)


@pytest.mark.parametrize("options", [{}, {"gamma": 2.0}, {"gamma": 0.5}, {"label_smoothing": 0.1}], ids=str)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_weights_lose_no_digits_on_their_way(dtype, soft, options):
    """A power of two changes nothing but the exponent, so long as the results are normal numbers."""
    rng = np.random.default_rng(6)
    x, targets = rng.normal(0, 2, (19, 5)).astype(dtype), rng.integers(0, 5, 19)
    target = rng.dirichlet(np.ones(5), 19).astype(dtype) if soft else targets
    power, numbers = 2.0**-105 if dtype == np.float32 else 2.0**-900, options | {"reduction": "sum"}
    want, got = (
        value_and_grad(cross_entropy)(x, target, sample_weight=np.full(19, w), **numbers)[1] for w in (1, power)
    )
    np.testing.assert_allclose(got / dtype(power), want, rtol=4 * np.finfo(dtype).eps)
