"""A pytest plugin: SciPy's own tests of softmax, log_softmax and logsumexp, with ours in their place.

From the installed SciPy's `scipy/special/tests/test_logsumexp.py`, on its NumPy backend. The adapters below change what
the call looks like, never what it computes: SciPy's axis is None by default, it says b for weights, broadcasts a against
b, and takes a number without axes at any axis. What needs complex numbers, which are none of ours, is left out.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

import softmax as ours

SUITE = "scipy.special.tests.test_logsumexp"
FEWEST = 50  # tests that have to run: a file that moved or a rule that leaves out too much is an error

# With complex numbers in their bodies; those with complex parameters are found by their parameters.
COMPLEX = ("test_logsumexp_complex_sign", "test_gh21709_small_imaginary")
PRIVATE = ("test_wrap_radians",)  # of a helper inside SciPy, for complex numbers
left_out: list[str] = []


def softmax(x: Any, axis: Any = None) -> Any:
    return ours.softmax(x, axis)


def log_softmax(x: Any, axis: Any = None) -> Any:
    return ours.log_softmax(x, axis)


def logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False) -> Any:
    if b is not None:
        a, b = np.broadcast_arrays(a, b)
    return ours.logsumexp(a, axis, weights=b, keepdims=keepdims, return_sign=return_sign)


def put_ours_in_place(module: ModuleType) -> None:
    for name, function in {"softmax": softmax, "log_softmax": log_softmax, "logsumexp": logsumexp}.items():
        assert hasattr(module, name), f"{SUITE} has no {name}"
        setattr(module, name, function)


def needs_complex_numbers(item: pytest.Function) -> bool:
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return item.originalname in COMPLEX + PRIVATE or any(
        isinstance(value, complex) or str(value).startswith("complex") for value in parameters
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "array_api_backends: SciPy's, registered by a file that its wheel lacks")
    config.addinivalue_line("filterwarnings", "ignore:Passing a non-Collection iterable:pytest.PytestWarning")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    theirs = [item for item in items if isinstance(item, pytest.Function) and item.module.__name__.endswith(SUITE)]
    for module in {item.module for item in theirs}:
        put_ours_in_place(module)
    gone = [item for item in theirs if needs_complex_numbers(item)]
    left_out.extend(item.name for item in gone)
    config.hook.pytest_deselected(items=gone)
    items[:] = [item for item in items if item not in gone]
    if len(theirs) - len(gone) < FEWEST:
        raise pytest.UsageError(f"{SUITE}: {len(theirs)} tests found, {len(gone)} left out, at least {FEWEST} must run")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"SciPy: {len(left_out)} tests left out, which need complex numbers")
