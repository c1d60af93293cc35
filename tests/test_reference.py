"""The readable specification against mpmath and against the table of degenerate slices."""

import numpy as np
import pytest
from numerics import DTYPES, exact_by_mpmath, same_bits
from slices import DEGENERATE, INF, hard_slices

from softmax import reference

WIDE = (np.float64, np.longdouble)


def as_float(array):
    return np.asarray(array).astype(np.float64)


@pytest.mark.parametrize("name", hard_slices(np.float64))
def test_hard_slices(name):
    """Within the rounding of (x - max) / T, which becomes a relative error of as many eps as its size."""
    x = np.array(hard_slices(np.float64)[name], np.float64)
    for temperature in (0.1, 0.7, 1.0, 3.0, 1e3):
        true = exact_by_mpmath(x, temperature)
        distance = min(float(np.ptp(x[np.isfinite(x)] / 1e3)) * (1e3 / temperature), 800)
        rtol = (8 + 2 * distance) * np.finfo(np.float64).eps
        probs = reference.softmax(x, temperature=temperature)
        np.testing.assert_allclose(probs, as_float(true.probs), rtol=rtol, atol=5e-323)
        log_probs = reference.log_softmax(x, temperature=temperature)
        np.testing.assert_allclose(log_probs, as_float(true.log_probs), rtol=rtol, atol=5e-323)
    total = reference.logsumexp(x)
    true = exact_by_mpmath(x)
    np.testing.assert_allclose(total, as_float(true.logsumexp), rtol=0, atol=4e-16 * float(true.logsumexp_unit))
    for target in np.flatnonzero(np.isfinite(x)):
        loss, slope = reference.cross_entropy(x, target), reference.cross_entropy_gradient(x, target)
        np.testing.assert_allclose(loss, as_float(true.loss(np.array(target))), rtol=rtol + 1e-12, atol=5e-323)
        np.testing.assert_allclose(slope, as_float(true.gradient(np.array(target))), rtol=2e-13, atol=5e-323)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_slices_have_one_meaning(name, dtype):
    entries, options, probs, log_probs, total = DEGENERATE[name]
    x = np.array(entries, dtype)
    for shaped in (x, np.stack([x, x])):
        np.testing.assert_allclose(reference.softmax(shaped, **options), np.broadcast_to(probs, shaped.shape))
        np.testing.assert_allclose(reference.log_softmax(shaped, **options), np.broadcast_to(log_probs, shaped.shape))
        if total is not None:
            np.testing.assert_array_equal(reference.logsumexp(shaped, **options), np.full(shaped.shape[:-1], total))


@pytest.mark.parametrize("function", [reference.softmax, reference.log_softmax, reference.logsumexp])
def test_everything_is_computed_in_float64_or_wider(function):
    x = np.array([1, 2, 5])
    for dtype in (bool, np.int8, np.float16, *DTYPES):
        assert function(x.astype(dtype)).dtype == np.float64
        assert same_bits(function(x.astype(dtype)), function(x.astype(dtype).astype(np.float64)))
    assert function(x.astype(np.longdouble)).dtype == np.longdouble


@pytest.mark.parametrize("axis", [0, 1, -1, None, (0, 1), (2, 0), ()])
def test_axes(axis):
    """A slice of several axes is that slice laid out along one."""
    x = np.random.default_rng(0).normal(0, 3, (2, 3, 4))
    axes = tuple(range(3)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % 3 for a in axes))
    rest = [a for a in range(3) if a not in axes]
    order = rest + list(axes)
    flat = x.transpose(order).reshape(*[x.shape[a] for a in rest], -1)
    for function in (reference.softmax, reference.log_softmax):
        expected = function(flat).reshape([x.shape[a] for a in order]).transpose(np.argsort(order))
        np.testing.assert_allclose(function(x, axis), expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(reference.logsumexp(x, axis), reference.logsumexp(flat), rtol=1e-14)
    kept = reference.logsumexp(x, axis, keepdims=True)
    assert kept.shape == x.sum(axis=axes, keepdims=True).shape


def test_masks_and_temperatures_per_slice():
    x = np.random.default_rng(0).normal(0, 3, (4, 6))
    keep = x > -1
    temperature = np.array([[0.5], [1.0], [2.0], [INF]])
    for function, rest in ((reference.softmax, 0), (reference.log_softmax, -INF)):
        result = function(x, where=keep, temperature=temperature)
        for i in range(4):
            alone = function(x[i][keep[i]], temperature=temperature[i, 0])
            np.testing.assert_allclose(result[i][keep[i]], alone, rtol=1e-14)
            assert (result[i][~keep[i]] == rest).all()


def test_losses_are_those_of_the_definition():
    x = np.random.default_rng(0).normal(0, 3, (4, 2, 6))
    targets = np.arange(8).reshape(4, 2) % 6
    losses, slope = reference.cross_entropy(x, targets), reference.cross_entropy_gradient(x, targets)
    for index in np.ndindex(4, 2):
        target, row = targets[index], x[index]
        np.testing.assert_allclose(losses[index], np.log(np.exp(row).sum()) - row[target], rtol=1e-12)
        probs = np.exp(row) / np.exp(row).sum()
        np.testing.assert_allclose(slope[index], probs - (np.arange(6) == target), rtol=1e-11)
    assert reference.cross_entropy([20.0, 0.0], 0) == pytest.approx(2.061153620314381e-09, rel=1e-15)


def test_sigmoids_are_those_of_the_definition():
    x = np.linspace(-30, 30, 301)
    np.testing.assert_allclose(reference.sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-15)
    np.testing.assert_allclose(reference.log_sigmoid(x), -np.log1p(np.exp(-x)), rtol=1e-15)
    np.testing.assert_array_equal(reference.sigmoid([-INF, INF, np.nan]), [0, 1, np.nan])
    np.testing.assert_array_equal(reference.log_sigmoid([-INF, INF, np.nan]), [-INF, 0, np.nan])


def test_weights_multiply_the_exponentials():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(0, 3, (4, 6)), rng.normal(0, 1, (4, 6))
    for axis in (0, -1, None):
        total = (weights * np.exp(x)).sum(axis=axis, where=x < 3)
        log, sign = reference.logsumexp(x, axis, weights=weights, where=x < 3, return_sign=True)
        np.testing.assert_allclose(log, np.log(np.abs(total)), rtol=1e-12)
        np.testing.assert_array_equal(sign, np.sign(total))
    np.testing.assert_array_equal(reference.logsumexp([1, np.nan], weights=[1, 0], return_sign=True), [1, 1])
    assert np.isnan(reference.logsumexp([1, 2], weights=[1, -1]))


def test_the_smallest_and_the_first_largest():
    np.testing.assert_allclose(reference.softmin(np.uint8([0, 255])), [1, np.exp(-255.0)])
    x = np.array([[1, 3, 3], [-INF, -INF, -INF], [np.nan, 1, 2], [INF, 1, INF]])
    np.testing.assert_array_equal(reference.hardmax(x), [[0, 1, 0], [0, 0, 0], [np.nan] * 3, [1, 0, 0]])
    np.testing.assert_array_equal(reference.hardmax(x.T, 0), reference.hardmax(x).T)
