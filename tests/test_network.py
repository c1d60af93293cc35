import time

import numpy as np
import pytest

from softmax import _native, cross_entropy, softmax
from softmax.network import Network, Objective, Rows, _Worker, class_logits

SHAPES = [
    ((5, 3), "relu"),
    ((5, 1), "relu"),
    ((5, 4, 3), "tanh"),
    ((5, 4, 1), "tanh"),
    ((5, 6, 4, 3), "relu"),
    ((5, 6, 4, 2, 3), "tanh"),
]


def problem(sizes, activation, *, weighted=False, n=23, dtype=np.float64):
    rng = np.random.RandomState(0)
    network = Network(sizes, activation)
    rows = Rows(
        rng.randn(n, sizes[0]).astype(dtype),
        rng.randint(0, max(2, sizes[-1]), n),
        rng.uniform(0, 3, n).astype(dtype) if weighted else None,
    ).normalized()
    params = network.initial(rng, dtype) + rng.randn(network.n_params).astype(dtype) / 3
    return network, rows, params


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sizes", "activation"), SHAPES)
def test_gradient_of_the_objective_is_the_slope_of_its_value(sizes, activation, weighted):
    network, rows, params = problem(sizes, activation, weighted=weighted)
    objective = Objective(network, 0.3, len(rows.targets), np.float64)
    gradient = objective(params, rows)[1].copy()
    step = 1e-6
    slopes = [
        (objective(params + step * unit, rows)[0] - objective(params - step * unit, rows)[0]) / (2 * step)
        for unit in np.eye(network.n_params)
    ]
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("sizes", "activation"), SHAPES)
def test_objective_is_the_weighted_mean_loss_plus_the_penalty(sizes, activation, weighted):
    network, rows, params = problem(sizes, activation, weighted=weighted)
    value, _ = Objective(network, 0.3, 99, np.float64)(params, rows)
    coefs, _ = network.unpack(params)
    losses = cross_entropy(network.logits(params, rows.X), rows.targets, reduction="none")
    penalty = 0.3 / 2 * sum((coef**2).sum() for coef in coefs)
    assert value == pytest.approx(np.average(losses, weights=rows.weight) + penalty, rel=1e-12)
    assert network.mean_loss(params, rows) == pytest.approx(value - penalty, rel=1e-12)


def test_objective_keeps_float32():
    network, rows, params = problem((5, 4, 3), "tanh", weighted=True, dtype=np.float32)
    assert Objective(network, 0.3, 23, np.float32)(params, rows)[1].dtype == np.float32
    assert network.logits(params, rows.X).dtype == np.float32


def test_one_output_is_the_logit_of_the_second_class_against_0():
    outputs = np.array([[-3.0], [0.5]])
    np.testing.assert_array_equal(class_logits(outputs), [[0, -3], [0, 0.5]])
    np.testing.assert_allclose(softmax(class_logits(outputs))[:, 1], 1 / (1 + np.exp([3, -0.5])), rtol=1e-15)


def test_unpack_gives_views_and_pack_is_its_inverse():
    network = Network((5, 4, 3), "tanh")
    params = np.arange(network.n_params, dtype=float)
    coefs, intercepts = network.unpack(params)
    assert [coef.shape for coef in coefs] == [(5, 4), (4, 3)]
    assert [intercept.shape for intercept in intercepts] == [(4,), (3,)]
    np.testing.assert_array_equal(network.pack(coefs, intercepts, float), params)
    coefs[1][...] = -1
    assert (params == -1).sum() == 12


@pytest.mark.parametrize(
    ("activation", "bounds"),
    [("tanh", [np.sqrt(6 / 500), np.sqrt(6 / 500)]), ("relu", [np.sqrt(6 / 500), np.sqrt(6 / 500)])],
)
def test_initial_weights_are_uniform_within_the_bounds_of_glorot(activation, bounds):
    network = Network((300, 200, 300), activation)
    coefs, intercepts = network.unpack(network.initial(np.random.RandomState(0), np.float64))
    for coef, bound in zip(coefs, bounds, strict=True):
        assert 0.999 * bound < np.abs(coef).max() <= bound
        assert coef.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert not any(intercept.any() for intercept in intercepts)


def test_without_hidden_layers_training_starts_at_zero():
    assert not Network((5, 3), "relu").initial(np.random.RandomState(0), np.float64).any()


def test_normalized_rows_have_weights_of_mean_1():
    rows = Rows(np.zeros((4, 1), np.float32), np.zeros(4, int), np.array([1.0, 2, 3, 4]))
    assert rows.total == 10
    assert rows._replace(weight=None).total == 4
    np.testing.assert_array_equal(rows.normalized().weight, np.array([0.4, 0.8, 1.2, 1.6]))


def test_no_tile_goes_on_after_an_error(monkeypatch):
    """Its buffers are used again."""
    network, rows, params = problem((300, 3), "relu", n=20_000)
    objective = Objective(network, 0.3, len(rows.targets), np.float64)
    assert len(objective.tiles(rows)) > 4
    begun, ended = [], []

    def one(worker, params, tile, n):
        begun.append(worker)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.1)
        ended.append(worker)
        return 0.0, np.zeros(network.n_params)

    monkeypatch.setattr(_Worker, "__call__", one)
    threads = _native.num_threads()
    _native.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            objective(params, rows)
    finally:
        _native.set_num_threads(threads)
    assert len(begun) == 1 + len(ended) < 5
