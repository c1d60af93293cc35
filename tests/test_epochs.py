"""An epoch of Adam in one native call against the same batch by batch with NumPy."""

import numpy as np
import pytest

from softmax import _native
from softmax.network import Network, Objective, Rows
from softmax.solvers import Adam, _large_epoch, _small_epoch

NETWORKS = [
    Network((5, 3), "relu"),
    Network((5, 1), "relu"),
    Network((3, 4, 3), "tanh"),
    Network((3, 4, 1), "tanh"),
    Network((7, 9, 17, 4), "relu"),
    Network((2, 33, 5, 8, 12), "tanh", label_smoothing=0.1),
    Network((4, 16, 2), "relu", gamma=2.0),
    Network((6, 8, 100), "relu", label_smoothing=0.2),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_small_epochs_are_those_of_the_large_ones(network, dtype, weighted):
    rng = np.random.RandomState(0)
    n, batch_size = 47, 10  # the last batch is shorter
    X = rng.randn(n, network.sizes[0]).astype(dtype)
    targets = rng.randint(0, max(2, network.sizes[-1]), n)
    rows = Rows(X, targets, rng.uniform(0.1, 3, n) if weighted else None).normalized()
    start = rng.uniform(-1, 1, network.n_params).astype(dtype)
    results = []
    for epoch in (_large_epoch, _small_epoch):
        params, adam = start.copy(), Adam(network.n_params, 0.01, dtype)
        order = np.random.RandomState(1)
        objective = Objective(network, 0.3, batch_size, dtype)
        totals = [epoch(objective, params, rows, adam, batch_size, order.permutation(n)) for _ in range(4)]
        results.append((totals, params, adam))
    (totals, params, adam), (found_totals, found, found_adam) = results
    assert found_adam.steps == adam.steps == 20
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(found_totals, totals, rtol=tolerance)
    np.testing.assert_allclose(found, params, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found_adam.mean, adam.mean, rtol=0, atol=tolerance)
    np.testing.assert_allclose(found_adam.square, adam.square, rtol=0, atol=tolerance)


def test_an_epoch_ends_where_the_loss_is_not_finite():
    network = Network((2, 4, 3), "relu")
    rows = Rows(np.full((30, 2), np.nan), np.zeros(30, int), None)
    params, adam = np.ones(network.n_params), Adam(network.n_params, 0.01, np.float64)
    total = _small_epoch(Objective(network, 0.0, 10, np.float64), params, rows, adam, 10, np.arange(30))
    assert not np.isfinite(total)
    assert adam.steps == 0
    np.testing.assert_array_equal(params, 1)


def arguments(**changes):
    given = {
        "X": np.zeros((6, 2)),
        "targets": np.zeros(6, np.int64),
        "weight": None,
        "order": np.arange(6),
        "sizes": np.array([2, 3]),
        "tanh": False,
        "options": (0.0, 0.0, 0.0, 0.0),
        "batch_size": 3,
        "penalty": 0.0,
        "rate": 0.1,
        "betas_and_epsilon": (0.9, 0.999, 1e-8),
        "params": np.zeros(9),
        "mean": np.zeros(9),
        "square": np.zeros(9),
        "steps": 0,
    }
    return list((given | changes).values())


def test_what_does_not_fit_is_an_error_and_not_a_crash():
    assert _native.adam_epoch(*arguments())[1] == 2
    for name, value in [
        ("X", np.zeros((6, 2), np.float32)),
        ("X", np.zeros((6, 1))),
        ("X", np.zeros((2, 6)).T),
        ("targets", np.zeros(6, np.int32)),
        ("weight", np.ones(5)),
        ("order", np.arange(6.0)),
        ("params", np.zeros(8)),
        ("mean", np.zeros(9, np.float32)),
        ("square", [0.0] * 9),
    ]:
        with pytest.raises(TypeError):
            _native.adam_epoch(*arguments(**{name: value}))
    for name, value in [
        ("order", np.array([0, 1, 2, 3, 4, 6])),
        ("order", np.array([-1, 1, 2, 3, 4, 5])),
        ("targets", np.full(6, 3)),
        ("targets", np.full(6, -1)),
        ("sizes", np.array([2, 0])),
    ]:
        with pytest.raises(ValueError, match="must"):
            _native.adam_epoch(*arguments(**{name: value}))
    for batch_size in (0, 7):
        with pytest.raises(ValueError, match="batch_size"):
            _native.adam_epoch(*arguments(batch_size=batch_size))
