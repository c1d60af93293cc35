"""What needs PyTorch or optax runs where they are; where they are not, the end of the run says so."""

from importlib.util import find_spec

import pytest

MISSING = [package for package in ("torch", "expecttest") if find_spec(package) is None]

collect_ignore = ["test_torch.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.write_line(f"PyTorch: its samples did not run, without {' and '.join(MISSING)} installed")
    if find_spec("optax") is None:
        terminalreporter.write_line("optax: its losses were not compared, without optax installed")
