"""Every instruction set that this processor runs: the kernel tests again, with each forced in a process of its own."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from numerics import TABLE

from softmax import _native

HERE = Path(__file__).parent
KERNEL_TESTS = (
    "accuracy",
    "arrays",
    "binary",
    "degenerate",
    "determinism",
    "divergence",
    "epochs",
    "functions",
    "gradients",
    "halves",
    "loss_options",
    "losses",
    "multiply",
    "partition",
    "products",
    "sigmoid",
    "softmin",
    "sparse",
    "tempered",
    "together",
    "weights",
)
ISAS = _native.supported_isas()
VOLUME = "0.1"  # of rows and hypothesis examples; the run around this one has them all, and those of threads


def python(*arguments, isa, **environment):
    environment = {**os.environ, "SOFTMAX_ISA": isa, **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800, cwd=HERE.parent)


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != _native.isa()])  # the run around this one has that
def test_the_kernel_tests_pass_on(isa, tmp_path, request):
    """Their worst errors join the table at the end."""
    report = tmp_path / "report.xml"
    files = [str(HERE / f"test_{name}.py") for name in KERNEL_TESTS]
    options = ("-q", "--tb=line", "-p", "no:cacheprovider", "-k", "not threads and not fork", f"--junitxml={report}")
    done = python("-m", "pytest", *options, *files, isa=isa, SOFTMAX_TEST_VOLUME=VOLUME)
    suite = ElementTree.parse(report).getroot()
    for item in suite.iter("property"):
        if item.get("name") == TABLE:
            request.node.user_properties.append((TABLE, item.get("value")))
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert done.returncode == 0, f"{len(failed)} on {isa}: {failed[:20]}\n{done.stdout[-3000:]}"
    assert len(list(suite.iter("testcase"))) > 1000
    assert f'["{isa}", ["softmax", "float32"' in "".join(item.get("value") for item in suite.iter("property"))


PRINT_RESULTS = """
import sys
import numpy as np
from softmax import _native, log_softmax, logsumexp, softmax
print(_native.isa())
x = np.load(sys.argv[1])
np.savez(sys.argv[2], softmax(x), log_softmax(x), softmax(x, temperature=0.7), logsumexp(x))
"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_instruction_sets_differ_by_a_few_ulp_at_most(dtype, tmp_path):
    """SOFTMAX_ISA chooses: each says its name, and no two give other answers."""
    scores = tmp_path / "scores.npy"
    np.save(scores, np.random.default_rng(0).normal(0, 10, (200, 301)).astype(dtype))
    results = []
    for isa in ISAS:
        done = python("-c", PRINT_RESULTS, str(scores), str(tmp_path / f"{isa}.npz"), isa=isa)
        assert done.stdout.split() == [isa], done.stderr
        with np.load(tmp_path / f"{isa}.npz") as arrays:
            results.append(list(arrays.values()))
    for other in results[1:]:
        for one, another in zip(results[0], other, strict=True):
            np.testing.assert_array_max_ulp(one, another, 4)


def test_the_baseline_is_always_supported():
    assert ISAS[0] == "baseline"
    assert len(set(ISAS)) == len(ISAS)
    assert _native.isa() in ISAS


@pytest.mark.parametrize("isa", ["sse9", "AVX2", "avx2 ", "baseline,avx2"])
def test_an_unknown_instruction_set_is_an_import_error_of_one_sentence(isa):
    done = python("-c", "from softmax import softmax", isa=isa)
    assert done.returncode == 1
    names = ", ".join(ISAS)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: SOFTMAX_ISA must name an instruction set of this processor ({names}), got '{isa}'"
    )


def test_without_a_name_the_last_is_chosen():
    """Slowest first, fastest last; an empty name is none."""
    done = python("-c", "from softmax import _native; print(_native.isa())", isa="")
    assert done.stdout.split() == [ISAS[-1]], done.stderr
