"""PyTorch's suite runs where PyTorch is; where it is not, the end of the run says so."""

from importlib.util import find_spec

import pytest

MISSING = [package for package in ("torch", "expecttest") if find_spec(package) is None]

collect_ignore = ["test_torch.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.write_line(f"PyTorch: its samples did not run, without {' and '.join(MISSING)} installed")
