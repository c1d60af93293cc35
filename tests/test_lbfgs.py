"""L-BFGS on functions whose minimum is known."""

import itertools

import numpy as np
import pytest
import scipy.optimize

from softmax.lbfgs import History, minimize


def run(function, x, *, memory=10, gtol=1e-8, ftol=0.0, max_iter=5000, callback=lambda value: False):
    history = History(memory, x)
    return minimize(function, x, history=history, gtol=gtol, ftol=ftol, max_iter=max_iter, callback=callback)


def quadratic(condition, n=50, dtype=np.float64):
    scales = np.geomspace(1, condition, n).astype(dtype)
    return lambda x: (float(0.5 * np.sum(scales * (x - 1) ** 2, dtype=np.float64)), scales * (x - 1))


def rosenbrock(x):
    return float(scipy.optimize.rosen(x)), scipy.optimize.rosen_der(x)


@pytest.mark.parametrize("memory", [1, 3, 30])
@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
def test_quadratics(condition, memory):
    found = run(quadratic(condition), np.zeros(50), memory=memory)
    assert found.reason == "flat"
    np.testing.assert_allclose(found.x, 1, atol=1e-7)
    assert np.abs(found.gradient).max() <= 1e-8


@pytest.mark.parametrize("memory", [3, 8, 30])
@pytest.mark.parametrize("function", [quadratic(100.0), rosenbrock], ids=["quadratic", "rosenbrock"])
def test_as_few_calls_as_scipy(function, memory):
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return function(x)

    start = np.full(50, -1.2)
    assert run(counted, start, memory=memory).reason == "flat"
    ours, calls = calls, 0
    options = {"maxcor": memory, "gtol": 1e-8, "ftol": 0, "maxiter": 5000, "maxfun": 9999}
    assert scipy.optimize.minimize(counted, start, jac=True, method="L-BFGS-B", options=options).success
    assert ours <= 1.3 * calls


@pytest.mark.parametrize("n", [2, 10, 100])
def test_rosenbrock(n):
    found = run(rosenbrock, np.full(n, -1.2))
    assert found.reason == "flat"
    assert found.n_iter < 40 * n
    if n == 2:  # larger ones have a second minimum
        np.testing.assert_allclose(found.x, 1, atol=1e-6)


def test_each_iteration_is_lower_and_its_point_the_last_one_asked_for():
    values, last = [], []

    def function(x):
        last[:] = [x]
        return rosenbrock(x)

    def callback(value):
        values.append(value)
        assert rosenbrock(last[0])[0] == value
        return False

    run(function, np.full(10, -1.2), callback=callback)
    assert (np.diff(values) <= 0).all()


def test_float32_comes_as_near_as_its_rounding_allows():
    found = run(quadratic(100.0, dtype=np.float32), np.zeros(50, np.float32), gtol=1e-4)
    assert found.x.dtype == np.float32
    assert found.reason == "flat"
    np.testing.assert_allclose(found.x, 1, atol=1e-4)


def test_a_step_whose_fall_is_lost_in_rounding_is_taken_by_its_slope():
    """Near its minimum the value does not change any more, while the gradient still does."""
    function = quadratic(1.0)
    found = run(lambda x: (1e9 + function(x)[0], function(x)[1]), np.full(50, 1 + 1e-5), gtol=1e-9)
    assert found.reason == "flat"


def test_the_search_comes_back_from_where_the_function_is_not_finite():
    def barrier(x):
        inside = (x > 0).all()
        return (float((x - np.log(x)).sum()), 1 - 1 / x) if inside else (np.inf, np.zeros_like(x))

    found = run(barrier, np.full(3, 1e-3))
    np.testing.assert_allclose(found.x, 1, atol=1e-7)


def test_a_single_fall_that_rounding_hides_is_not_the_end():
    """The optimum of ill-conditioned functions lies far behind the first step of which the value says nothing."""
    values = []

    def coarse(x):
        value, gradient = quadratic(100.0)(x)
        values.append(2.0 ** np.ceil(np.log2(value + 1e-300)))
        return values[-1], gradient

    assert run(coarse, np.full(50, 0.5), ftol=1e-17).reason == "flat"
    assert any(before == value for before, value in itertools.pairwise(values))


def test_the_reasons():
    assert run(quadratic(1.0), np.ones(50)).reason == "flat"
    assert run(quadratic(1.0), np.ones(50)).n_iter == 0
    limited = run(rosenbrock, np.full(10, -1.2), max_iter=3)
    assert (limited.reason, limited.n_iter) == ("max_iter", 3)
    stopped = run(rosenbrock, np.full(10, -1.2), callback=lambda value: True)
    assert (stopped.reason, stopped.n_iter) == ("stopped", 1)
    assert run(rosenbrock, np.full(10, -1.2), ftol=0.5).reason == "stalled"
    assert run(lambda x: (np.nan, x), np.ones(2)).reason == "not finite"
    wrong_sign = run(lambda x: (float(x @ x), -2 * x), np.ones(2))
    assert (wrong_sign.reason, wrong_sign.n_iter) == ("stuck", 0)
    np.testing.assert_array_equal(wrong_sign.x, 1)
    steep = run(lambda x: (0.0 if (x == 1).all() else np.inf, np.ones(2)), np.ones(2))
    assert steep.reason == "not finite"
