"""A pytest plugin: SciPy's own tests of softmax, log_softmax and logsumexp, with ours in their place.

From the installed SciPy, `scipy/special/tests/test_logsumexp.py`, on its NumPy backend. The functions below adapt the
call and compute nothing: SciPy's axis is None by default; its weights are called b, against which a broadcasts; and its
result has the dtype of a and b together, where ours has that of x. Tests that need complex numbers, which are none of
ours, are left out and counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import softmax as ours

SUITE = "scipy.special.tests.test_logsumexp"
FEWEST = 50  # tests that must be left to run, or the file has moved, or too much of it was left out

# Complex numbers in the body of a test. Others are told by their parameters.
COMPLEX = {
    "test_wrap_radians",  # of the angle of a complex number, by a private function
    "test_logsumexp_complex_sign",
    "test_gh21709_small_imaginary",
}


def softmax(x: Any, axis: Any = None) -> Any:
    return ours.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    return ours.log_softmax(x, axis)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    if b is not None:
        a, b = np.broadcast_arrays(a, b)
        a = a.astype(np.result_type(a, b))
    return ours.logsumexp(a, axis, weights=b, keepdims=keepdims, return_sign=return_sign)


def needs_complex_numbers(test: pytest.Function) -> bool:
    parameters = test.callspec.params.values() if hasattr(test, "callspec") else ()
    return test.originalname in COMPLEX or any(
        isinstance(value, complex) or (isinstance(value, str) and value.startswith("complex")) for value in parameters
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "array_api_backends: registered by a file that SciPy's wheel does not hold")
    config.addinivalue_line("filterwarnings", "ignore:Passing a non-Collection iterable:pytest.PytestWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    theirs = [item for item in items if isinstance(item, pytest.Function) and item.module.__name__.endswith(SUITE)]
    for module in {item.module for item in theirs}:
        for function in (softmax, log_softmax, logsumexp):
            pytest.MonkeyPatch().setattr(module, function.__name__, function)  # which must be there
    left_out = [item for item in theirs if needs_complex_numbers(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    if len(theirs) - len(left_out) < FEWEST:
        raise pytest.UsageError(f"{SUITE}: of {len(theirs)} tests {len(left_out)} left out, {FEWEST} have to run")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = terminalreporter.stats.get("deselected", [])
    terminalreporter.write_line(f"SciPy: {len(left_out)} tests that need complex numbers left out")
