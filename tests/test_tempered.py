"""The kernel under the fit of a temperature: loss, mean and variance of x - x[target] under softmax(x / T)."""

import numpy as np
import pytest

from softmax import _native

ROWS = {
    "ordinary": lambda rng, k: rng.normal(size=(40, k)) * 3,
    "large offset": lambda rng, k: rng.normal(size=(40, k)) + 3e4,
    "sure": lambda rng, k: np.where(np.arange(k) == 1, 30.0, 0.0) + rng.normal(size=(40, k)),
    "ties": lambda rng, k: rng.integers(0, 3, size=(40, k)).astype(float),
    "left out": lambda rng, k: np.where(np.arange(k) % 3 == 2, -np.inf, rng.normal(size=(40, k))),
    "huge": lambda rng, k: rng.normal(size=(40, k)) * 1e6,
    "tiny": lambda rng, k: rng.normal(size=(40, k)) * 1e-6,
}
ERROR = {np.float32: 2e-6, np.float64: 1e-14}


def exact(x, targets, temperature):
    """In longdouble: as the kernel has it, relative to the target."""
    x = x.astype(np.longdouble)
    d = x - x[np.arange(len(x)), targets][:, np.newaxis]
    top = d.max(axis=1, keepdims=True)
    e = np.exp((d - top) / temperature)
    others = np.where(np.cumsum(d == top, axis=1) * (d == top) == 1, 0, e).sum(axis=1)  # all but the first maximum
    loss = np.log1p(others) + top[:, 0] / temperature
    p, d = e / e.sum(axis=1, keepdims=True), np.where(e > 0, d, 0)
    # The maximum's own term, which is 0 where it is the target's, apart: the rest of a sure row is far smaller.
    mean = (p * np.where(e > 0, d - top, 0)).sum(axis=1) + top[:, 0]
    variance = (p * (d - mean[:, np.newaxis]) ** 2).sum(axis=1)
    return loss, mean, variance


@pytest.mark.parametrize("dtype", ERROR)
@pytest.mark.parametrize("k", [2, 7, 100, 5000])
@pytest.mark.parametrize("name", ROWS)
def test_it_agrees_with_extended_precision(name, k, dtype):
    rng = np.random.default_rng(k)
    x = ROWS[name](rng, k).astype(dtype)
    targets = np.where(np.arange(40) % 2, rng.integers(0, min(k, 2), size=40), x.argmax(axis=1))
    scale = np.abs(np.where(np.isfinite(x), x - x.max(axis=1, keepdims=True), 0)).max()
    for temperature in (1.0, 0.3, 7.0, 1e-3, 1e3, float(scale)):
        found = _native.tempered(x, targets, temperature)
        loss, mean, variance = exact(x, targets, temperature)
        above = (x.max(axis=1) - x[np.arange(40), targets]).astype(np.longdouble)
        error = ERROR[dtype]
        spread = np.abs(mean - above) + np.sqrt(variance)
        # Below: probabilities so small that T has no normal number for them.
        assert (abs(found[0] - loss) <= error * (loss + above / temperature) + 1e-37).all()
        assert (abs(found[1] - mean) <= error * (abs(mean - above) + above) + 1e-37 * scale).all()
        assert (abs(found[2] - variance) <= error * spread**2 + 1e-37 * scale**2).all()


def test_one_temperature_for_each_row():
    x = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    temperatures = np.array([0.5, 1.0, 2.0, 4.0, 1e-70])
    together = _native.tempered(x, np.arange(5), temperatures)
    for i, temperature in enumerate(temperatures):
        assert [part[i] for part in together] == list(_native.tempered(x[i], i, temperature))


def test_rows_that_have_no_answer_are_nan():
    x = np.array([[0.0, np.nan], [np.inf, 0.0], [-np.inf, -np.inf], [0.0, 1.0]])
    assert np.isnan(_native.tempered(x, 0, 1.0)).tolist() == [[True, True, True, False]] * 3


def test_strides_and_order_make_no_difference():
    x = np.random.default_rng(0).normal(size=(30, 64)).astype(np.float32)
    expected = _native.tempered(x, 3, 0.7)
    wide = np.empty((30, 128), np.float32)
    wide[:, ::2] = x
    for other in (np.asfortranarray(x), wide[:, ::2]):
        np.testing.assert_array_equal(_native.tempered(other, 3, 0.7), expected)
