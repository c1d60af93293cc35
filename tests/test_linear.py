"""linear_cross_entropy is cross_entropy of the scores, tile by tile."""

import numpy as np
import pytest

from softmax import _native, cross_entropy, linear, linear_cross_entropy, value_and_grad, vjp

ROWS, WIDTH, CLASSES = 50, 7, 30


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Seven rows of float64, and four classes at a time."""
    monkeypatch.setattr(linear, "_TILE", 7 * CLASSES * 8)
    monkeypatch.setattr(linear, "_PART", 4 * WIDTH * 8)


def problem(dtype):
    rng = np.random.default_rng(0)
    features, weight = rng.normal(size=(ROWS, WIDTH)).astype(dtype), rng.normal(size=(CLASSES, WIDTH)).astype(dtype)
    return features, weight, rng.normal(size=CLASSES).astype(dtype), rng.integers(0, CLASSES, ROWS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.01, "softcap": 5.0}, {"gamma": 2.0}])
def test_loss_and_gradients_are_those_of_the_scores(options, soft, reduction, dtype):
    features, weight, bias, targets = problem(dtype)
    if soft:
        targets = np.random.default_rng(1).dirichlet(np.ones(CLASSES), ROWS).astype(dtype)
    where = np.ones((ROWS, CLASSES), bool)
    where[:, 3] = soft  # a class that is left out, unless it is a target
    targets = targets if soft else np.where(targets == 3, 4, targets)
    options = options | {"where": where, "reduction": reduction, "sample_weight": np.arange(ROWS) % 3}
    loss, slope = value_and_grad(linear_cross_entropy)(features, weight, targets, bias, **options)
    want, by_scores = value_and_grad(cross_entropy)(features @ weight.T + bias, targets, **options)
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, want, rtol=tolerance)
    expected = by_scores @ weight, by_scores.T @ features, by_scores.sum(axis=0)
    for got, true in zip(slope, expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, true, rtol=0, atol=tolerance * np.abs(true).max())
    again, pullback = vjp(linear_cross_entropy, features, weight, targets, bias, **options)
    np.testing.assert_array_equal(again, loss)
    np.testing.assert_array_equal(pullback(np.ones(np.shape(loss))).weight, slope.weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("width", [30, 41, 120])
@pytest.mark.parametrize("counting", ["all", "every other row", "few"])
def test_the_first_logits_lie_in_the_memory_of_the_gradient(counting, width, dtype):
    """Where half as many rows as there are features are more than a tile: 15, 20 and all of them; 4 are less."""
    rng = np.random.default_rng(width)
    features, weight = rng.normal(size=(ROWS, width)).astype(dtype), rng.normal(size=(CLASSES, width)).astype(dtype)
    bias, targets = rng.normal(size=CLASSES).astype(dtype), rng.integers(0, CLASSES, ROWS)
    counts = {"all": np.ones(ROWS), "every other row": np.arange(ROWS) % 2, "few": np.arange(ROWS) < 4}[counting]
    options = {"label_smoothing": 0.1, "sample_weight": counts}
    loss, slope = value_and_grad(linear_cross_entropy)(features, weight, targets, bias, **options)
    want, by_scores = value_and_grad(cross_entropy)(features @ weight.T + bias, targets, **options)
    tolerance = 20 * max(np.finfo(dtype).eps, np.finfo(np.float64).eps)  # the bias' gradient is a sum in float64
    np.testing.assert_allclose(loss, want, rtol=tolerance)
    for got, true in zip(slope, (by_scores @ weight, by_scores.T @ features, by_scores.sum(axis=0)), strict=True):
        np.testing.assert_allclose(got, true, rtol=0, atol=tolerance * np.abs(true).max())


def test_ignored_rows_may_hold_anything():
    features, weight, _, targets = problem(np.float64)
    keep = np.arange(ROWS) % 4 > 0
    targets = np.where(keep, targets, -1)
    loss, slope = value_and_grad(linear_cross_entropy)(
        np.where(keep[:, np.newaxis], features, np.nan), weight, targets, ignore_index=-1
    )
    want, true = value_and_grad(linear_cross_entropy)(features[keep], weight, targets[keep])
    np.testing.assert_allclose(loss, want, rtol=1e-14)
    np.testing.assert_allclose(slope.weight, true.weight, rtol=0, atol=1e-14)
    assert (slope.features[~keep] == 0).all()
    assert slope.bias is None


def test_batches_of_rows_and_no_row_that_counts():
    features, weight, bias, targets = problem(np.float64)
    flat = value_and_grad(linear_cross_entropy)(features, weight, targets, bias)
    loss, slope = value_and_grad(linear_cross_entropy)(
        features.reshape(5, 10, WIDTH), weight, targets.reshape(5, 10), bias
    )
    assert loss == flat[0]
    np.testing.assert_array_equal(slope.features.reshape(ROWS, WIDTH), flat[1].features)
    loss, slope = value_and_grad(linear_cross_entropy)(features, weight, np.full(ROWS, -1), ignore_index=-1)
    assert loss == 0
    assert not slope.weight.any()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((5, 4), (3, 7)), "features must have 7 columns as weight has, got 4"),
        (((5, 4), (3,)), r"features and weight must have shapes \(..., D\) and \(K, D\), got \(5, 4\) and \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        linear_cross_entropy(*map(np.zeros, shapes), np.zeros(5, int))
    with pytest.raises(ValueError, match=r"^bias must have shape \(3,\), got \(4,\)$"):
        linear_cross_entropy(np.zeros((5, 4)), np.zeros((3, 4)), np.zeros(5, int), np.zeros(4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_products_are_native_where_there_are_vectors(dtype):
    ones, out = np.ones((2, 2), dtype), np.zeros((2, 2), dtype)
    native = _native.isa() != "baseline" and dtype != np.longdouble
    assert _native.multiply(ones, ones, out, False) is native
    assert (out == 2 * native).all()
