from contextlib import contextmanager

import numpy as np
import pytest

from softmax import solvers
from softmax.network import Network, Objective, Rows
from softmax.solvers import PATIENCE, Adam, Monitor, _lbfgs_unfinished, _Scaling, minimize_adam, minimize_lbfgs


def units(n_features):
    return np.logspace(-2, 3, n_features)


def problem(sizes=(5, 3), activation="tanh", n=40, weighted=True):
    rng = np.random.RandomState(0)
    X = (rng.randn(n, sizes[0]) + 5) * units(sizes[0])
    targets = rng.randint(0, max(2, sizes[-1]), n)
    rows = Rows(X, targets, rng.uniform(0.1, 3, n) if weighted else None).normalized()
    network = Network(sizes, activation)
    params = network.initial(rng, np.float64)
    coefs, intercepts = network.unpack(params)
    coefs[0][...] = rng.randn(*coefs[0].shape) / units(sizes[0])[:, None]
    intercepts[0][...] = -X.mean(axis=0) @ coefs[0]
    return network, rows, params


def monitor_of(network, tol=1e-4, validation=None, seen=None):
    return Monitor(network, tol, validation, lambda *line: None if seen is None else seen.append(line))


@pytest.mark.parametrize("sizes", [(5, 3), (5, 1), (5, 4, 3)])
def test_scaling_is_a_change_of_variables(sizes):
    network, rows, params = problem(sizes)
    objective = Objective(network, 0.01, len(rows.targets), np.float64)
    scaling = _Scaling(objective, params, rows)
    x = scaling.from_params(params)
    np.testing.assert_allclose(scaling.to_params(x), params, rtol=1e-9)

    gradient = scaling.gradient(objective(params, rows)[1]).copy()
    step = 1e-5
    for i, unit in enumerate(np.eye(len(x))):
        above, below = (objective(scaling.to_params(x + s * unit), rows)[0] for s in (step, -step))
        assert gradient[i] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("sizes", [(5, 3), (5, 1)])
def test_scaling_gives_the_linear_problem_a_hessian_of_unit_diagonal(sizes):
    network, rows, params = problem(sizes)
    objective = Objective(network, 0.01, len(rows.targets), np.float64)
    scaling = _Scaling(objective, params, rows)
    x = scaling.from_params(params)

    def gradient(x):
        return scaling.gradient(objective(scaling.to_params(x), rows)[1]).copy()

    step = 1e-5
    hessian = np.array(
        [(gradient(x + step * unit) - gradient(x - step * unit)) / (2 * step) for unit in np.eye(len(x))]
    )
    n_coefs, n_outputs = network.n_coefs, sizes[-1]
    np.testing.assert_allclose(np.diag(hessian), 1, rtol=2e-3)
    for output in range(n_outputs):
        np.testing.assert_allclose(hessian[output:n_coefs:n_outputs, n_coefs + output], 0, atol=2e-3)


def test_scaling_survives_constant_and_overflowing_columns():
    X = np.array([[1.0, 5e307, 3.0], [2.0, 5e307, 3.0], [4.0, -5e307, 3.0], [3.0, 9e307, 3.0]])
    network, rows = Network((3, 1), "relu"), Rows(X, np.array([0, 1, 0, 1]), None)
    with np.errstate(over="ignore", invalid="ignore"):
        scaling = _Scaling(Objective(network, 0.0, 4, np.float64), np.zeros(4), rows)
    assert np.isfinite(scaling.to_params(scaling.from_params(np.ones(4)))).all()


def test_lbfgs_reaches_a_zero_gradient_in_any_units():
    network, rows, params = problem(weighted=False)
    objective = Objective(network, 1e-6, len(rows.targets), np.float64)
    outcome = minimize_lbfgs(objective, params * 0, rows, tol=1e-8, max_iter=200, monitor=monitor_of(network))
    assert outcome.unfinished is None
    assert outcome.diverged is None
    gradient = objective(outcome.params, rows)[1]
    assert np.abs(gradient[: network.n_coefs].reshape(5, 3) / units(5)[:, None]).max() < 1e-7
    assert outcome.n_iter < 40


def test_lbfgs_counts_iterations_over_all_its_rounds():
    network, rows, params = problem(n=400)
    rows = rows._replace(targets=network.logits(params, rows.X).argmax(axis=1))
    objective = Objective(network, 1e-9, len(rows.targets), np.float64)
    for max_iter in (1, 19, 20, 21, 45):
        monitor = monitor_of(network)
        outcome = minimize_lbfgs(objective, params * 0, rows, tol=0, max_iter=max_iter, monitor=monitor)
        assert outcome.n_iter == len(monitor.loss_curve) == max_iter
        assert f"max_iter={max_iter}" in outcome.unfinished
    assert (np.diff(monitor.loss_curve) < 0).all()


def test_lbfgs_that_is_stuck_says_so_only_away_from_the_optimum():
    def verdict(steepest, tol=1e-4):
        return _lbfgs_unfinished("stuck", steepest, tol, 200)

    assert "standardize the features, pass X as float64, or raise tol" in verdict(0.5)
    assert verdict(1e-3) is None  # as near as float32 gets
    assert verdict(1e-9, tol=0) is None


def test_adam_is_the_algorithm_of_its_paper():
    rng = np.random.RandomState(0)
    params, expected = np.ones(3), np.ones(3)
    adam, mean, square = Adam(3, 0.1, np.float64), 0.0, 0.0
    for t in range(1, 6):
        gradient = rng.randn(3)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        expected -= 0.1 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        adam.step(params, gradient)
        np.testing.assert_allclose(params, expected, rtol=1e-12)


def test_adam_restarts_from_nothing():
    adam, fresh = Adam(3, 0.1, np.float64), Adam(3, 0.05, np.float64)
    adam.step(np.ones(3), np.array([5.0, -1.0, 2.0]))
    adam.restart(0.05)
    moved, expected = np.ones(3), np.ones(3)
    for _ in range(3):
        adam.step(moved, np.array([1.0, 2.0, 3.0]))
        fresh.step(expected, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(moved, expected)


class Scripted(Objective):
    """An objective whose values and gradients are given in advance; the first call is the look before any step."""

    def __init__(self, network, calls):
        super().__init__(network, 0.0, 10, np.float64)
        self.calls = iter(calls)
        self.n_calls = 0

    def __call__(self, params, rows):
        self.n_calls += 1
        loss, slope = next(self.calls)
        return loss, np.full(len(params), slope)


@contextmanager
def batch_by_batch():
    """No epochs in one native call, which know nothing of other objectives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "LARGEST_PRODUCT", 0)
        yield


def run_scripted(calls, *, max_iter, rate=0.1):
    network, rows, params = problem((5, 3), n=40)
    start, objective, adam = params.copy(), Scripted(network, calls), Adam(len(params), rate, np.float64)
    monitor = monitor_of(network)
    rng = np.random.RandomState(0)
    with batch_by_batch():
        outcome = minimize_adam(
            objective, params, rows, adam=adam, batch_size=10, max_iter=max_iter, rng=rng, monitor=monitor
        )
    return outcome, start, objective, adam, monitor


def test_an_epoch_is_taken_back_as_soon_as_its_loss_is_not_finite():
    calls = [(1.0, 0.0), (1.0, 1.0), (np.inf, 1.0)]
    outcome, start, objective, adam, monitor = run_scripted(calls, max_iter=1)
    assert objective.n_calls == 3
    np.testing.assert_array_equal(outcome.params, start)
    assert adam.learning_rate == 0.05
    assert monitor.loss_curve == []
    assert "diverged in 1 of 1 epochs" in outcome.diverged


def test_an_epoch_whose_last_step_is_not_finite_is_taken_back():
    calls = [(1.0, 0.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, np.nan)]
    outcome, start, *_ = run_scripted(calls, max_iter=1)
    np.testing.assert_array_equal(outcome.params, start)
    assert outcome.diverged


def test_a_diverging_epoch_goes_back_to_the_best_one():
    good, bad = [(0.5, 1.0)] * 4, [(9.0, 1.0)] * 4
    after_one, *_ = run_scripted([(1.0, 0.0), *good], max_iter=1)
    after_two, _, _, _, monitor = run_scripted([(1.0, 0.0), *good, *bad], max_iter=2)
    np.testing.assert_array_equal(after_two.params, after_one.params)
    assert after_two.n_iter == 2
    assert monitor.loss_curve == [0.5]
    assert after_one.diverged is None


def test_a_loss_below_that_of_a_guess_is_no_divergence():
    trained = [(0.001, 0.0), *[(0.05, 1.0)] * 4]  # a step out of a trained network's optimum
    assert run_scripted(trained, max_iter=1)[0].diverged is None
    untrained = [(50.0, 0.0), *[(60.0, 1.0)] * 4]  # nor is it one to be far off before the first step
    assert run_scripted(untrained, max_iter=1)[0].diverged is None


def test_adam_goes_over_every_row_once_an_epoch():
    network, rows, params = problem((5, 4, 3), n=23)
    seen = []

    class Spy(Objective):
        def __call__(self, params, rows):
            seen.append(rows.X[:, 0].copy())
            return super().__call__(params, rows)

    objective = Spy(network, 0.01, 5, np.float64)
    adam = Adam(len(params), 1e-9, np.float64)
    rng, monitor = np.random.RandomState(0), monitor_of(network)
    with batch_by_batch():
        minimize_adam(objective, params, rows, adam=adam, batch_size=5, max_iter=2, rng=rng, monitor=monitor)
    _, *batches = seen  # the first call finds the loss before any step
    assert [len(batch) for batch in batches] == 2 * [5, 5, 5, 5, 3]
    first, second = np.concatenate(batches[:5]), np.concatenate(batches[5:])
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(epoch), np.sort(rows.X[:, 0]))


def test_monitor_keeps_the_best_and_stalls_after_some_patience():
    network, _, params = problem()
    seen = []
    monitor = monitor_of(network, tol=0.1, seen=seen)
    for loss in (3.0, 2.0, 2.5):
        monitor.record(params * loss, loss)
    np.testing.assert_array_equal(monitor.best, params * 2)
    for i in range(PATIENCE - 2):
        monitor.record(params, 1.95 - i / 1000)  # better, but not by tol
        assert not monitor.stalled
    monitor.record(params * 9, 1.91)
    assert monitor.stalled
    assert not monitor.validation_stalled
    assert seen[1] == (2, 2.0, None)
    np.testing.assert_array_equal(monitor.choose(params), params)


def test_monitor_judges_by_the_validation_rows_where_there_are_any():
    network, rows, params = problem()
    monitor = monitor_of(network, validation=rows)
    monitor.record(params * 0, 5.0)
    monitor.record(params, 4.0)
    assert monitor.validation_loss_curve == [pytest.approx(np.log(3)), network.mean_loss(params, rows)]
    best = params * 0 if monitor.validation_loss_curve[1] > np.log(3) else params
    np.testing.assert_array_equal(monitor.choose(params), best)


def test_measuring_the_curvature_again_shortens_the_way(monkeypatch):
    rng = np.random.RandomState(0)
    X = rng.randn(2000, 20)
    targets = (X @ rng.randn(20, 20) + rng.gumbel(size=(2000, 20))).argmax(axis=1)
    network, rows = Network((20, 20), "tanh"), Rows(X, targets, None)

    def outcome():
        objective, monitor = Objective(network, 5e-4, 2000, np.float64), monitor_of(network)
        found = minimize_lbfgs(objective, np.zeros(network.n_params), rows, tol=1e-4, max_iter=200, monitor=monitor)
        return found.n_iter, monitor.loss_curve[-1]

    renewed, loss = outcome()
    monkeypatch.setattr(solvers, "FIRST_ROUND", 200)
    once, same_loss = outcome()
    assert renewed < 0.9 * once
    assert loss == pytest.approx(same_loss, rel=1e-7)
