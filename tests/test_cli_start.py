"""What a command imports before it does anything: most of the time that it takes to start."""

import json
import subprocess
import sys

import pytest

TRAIN_MODULES = {"matplotlib", "polars", "rich", "scipy", "skops", "sklearn"}


def imported(*words, cwd=None):
    """Top-level names of all modules that a command has imported, in a process of its own, once it is done."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], capture_output=True, text=True, timeout=60, cwd=cwd, check=True
    )
    return set(json.loads(run.stderr))


IMPORTED = """
import json, sys
from softmax.cli import main
assert main(sys.argv[1:]) == 0
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"]])
def test_help_needs_no_numpy(words):
    assert not imported(*words) & {"numpy", *TRAIN_MODULES}


@pytest.mark.parametrize("words", [["apply", "1", "2"], ["explain", "1", "2"], ["info"]])
def test_small_commands_import_little(words):
    assert not imported(*words) & TRAIN_MODULES


def test_apply_to_a_table_needs_polars_and_no_scikit_learn(tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n")
    assert imported("apply", "x.csv", cwd=tmp_path) & TRAIN_MODULES == {"polars"}


def test_models_do_not_import_all_of_scikit_learn():
    code = "import sys, softmax.cli.models as m; print(*sys.modules, len(m.sklearn.utils.all_estimators()) > 99)"
    *modules, restored = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split()
    assert "skops.io" in modules
    assert "sklearn.cross_decomposition" not in modules
    assert restored == "True"
