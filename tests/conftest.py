"""What every test relies on: the installed package, repeatable examples, and a place for measured numbers."""

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

import softmax

PACKAGE = Path(softmax.__file__).parent
CHECKOUT = Path(__file__).parents[1]

if PACKAGE.is_relative_to(CHECKOUT / "src"):
    pytest.exit(f"the tests run against the installed wheel, not against {PACKAGE}: call `make test`", returncode=4)

# Examples depend on the test alone: what passes here passes everywhere, however slow the machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_configure(config: pytest.Config) -> None:
    from numerics import print_table_at_the_end

    print_table_at_the_end(config)  # here, so that the process that prints has it too when others run the tests


def pytest_report_header() -> str:
    return f"softmax {softmax.__version__} from {PACKAGE}"


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Shows a line such as "softmax float32: 1.7 ULP" at the end of the run, whether or not the test passes."""
    return lambda line: record_property("measured", line)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> object:
    """Counts errors in ULP against bounds; the table at the end of the run has the worst."""
    from numerics import Tally

    return Tally(request.node.user_properties)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """Runs the command line on the words that it is given, in an empty folder."""
    from commands import runner

    monkeypatch.chdir(tmp_path)
    return runner(capsys, monkeypatch)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for key in ("passed", "failed") for report in terminalreporter.getreports(key)]
    lines = sorted({str(value) for report in reports for key, value in report.user_properties if key == "measured"})
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.write_line(line)
