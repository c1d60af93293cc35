"""The benchmarks' own arithmetic, that they refuse wrong answers, and that they run. Nothing here depends on a time."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import bench_import
import bench_softmax
import cases
import harness
import peers
import report
from cases import Case, Part
from harness import Reading, Refused

WRONG_LIBRARIES = '''
import os
from peers import NumPy


class Right(NumPy):
    pass


class Perturbed(NumPy):
    """A single small probability is off by a hundredth of itself."""

    def softmax(self, case, logits):
        def call():
            probs = super(Perturbed, self).softmax(case, logits)()
            probs[-1, probs[-1].argmin()] *= 1.01
            return probs

        return call


class OtherShape(NumPy):
    def softmax(self, case, logits):
        return lambda: logits[:, :-1]


class OtherType(NumPy):
    def softmax(self, case, logits):
        return super().softmax(case, logits.astype("float64"))


class Raising(NumPy):
    def softmax(self, case, logits):
        raise ValueError("no such thing")


class Ending(NumPy):
    def softmax(self, case, logits):
        os._exit(7)


class EndingLater(NumPy):
    """Prepares, calibrates and does the first round."""

    def softmax(self, case, logits):
        calls = iter([super().softmax(case, logits)] * 3)

        def call():
            return next(calls)()

        return call
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A function that gives a class of WRONG_LIBRARIES, importable in workers too."""
    (tmp_path / "wrong_libraries.py").write_text(WRONG_LIBRARIES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    namespace = {"__name__": "wrong_libraries"}
    exec(WRONG_LIBRARIES, namespace)
    return namespace.__getitem__


def reading_of(library, case, rounds=2):
    with harness.Worker(library, threads=1) as worker:
        return harness.measure(case, {"it": worker}, rounds, seconds=0)["it"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_in_the_last_place_is_numpys_spacing(dtype):
    tiny, large = np.finfo(dtype).tiny, np.finfo(dtype).max / 4
    values = np.array([0, 1, 1.5, 2, 3, 0.1, tiny, tiny / 2, tiny * 2, large], dtype)
    wide = values.astype(np.longdouble)
    assert (harness.unit_in_the_last_place(wide, np.dtype(dtype).name) == np.spacing(values)).all()


def test_unit_in_the_last_place_of_bfloat16():
    units = harness.unit_in_the_last_place(np.array([1.0, 2.0, 0.0]), "bfloat16")
    assert units.tolist() == [2.0**-7, 2.0**-6, 2.0**-133]


def test_error_of_known_answers():
    exact = np.array([1.0, 2.0**-149, 3.0])
    off = np.array([np.nextafter(np.float32(1), np.float32(2)), 0, 3], np.float32)
    assert harness.errors(off, Part(exact), "float32")[0] == 1.0
    assert harness.errors(exact.astype(np.float32), Part(exact), "float32") == (0, 0)
    assert harness.errors(np.array([1.5]), Part(np.array([1.0])), "float64")[0] == 2.0**51


@pytest.mark.parametrize(("got", "exact", "error"), [(np.nan, 1, np.inf), (1, np.nan, np.inf), (np.inf, 1, np.inf)])
def test_what_is_not_finite_on_one_side_is_infinitely_wrong(got, exact, error):
    assert harness.errors(np.array([got], np.float32), Part(np.array([exact], float)), "float32")[0] == error


def test_what_is_not_finite_on_both_sides_is_right():
    exact = np.array([np.nan, np.inf, -np.inf])
    assert harness.errors(exact.astype(np.float32), Part(exact), "float32") == (0, 0)


def test_magnitude_and_terms_soften_the_judgement_and_the_report():
    exact, got = np.array([1e-9]), np.array([2e-9], np.float32)
    unit_of_one = 2.0**-23
    reported, judged = harness.errors(got, Part(exact, magnitude=1.0), "float32")
    assert judged == pytest.approx(1e-9 / unit_of_one)
    assert reported > 1e6
    assert harness.errors(got, Part(exact, terms=1.0), "float32")[0] == pytest.approx(1e-9 / unit_of_one)


def test_results_flushed_to_zero_are_reported_but_not_wrong():
    reported, judged = harness.errors(np.zeros(1, np.float32), Part(np.array([2.0**-130])), "float32")
    assert (reported, judged) == (2.0**19, 0)
    assert harness.errors(np.zeros(1, np.float32), Part(np.array([2.0**-126])), "float32") == (2.0**23, 2.0**23)


def test_ratio_is_taken_round_by_round():
    peer, ours = Reading([1.0, 10.0, 100.0]), Reading([1.0, 1.0, 100.0])
    assert harness.ratio(peer, ours) == 1.0  # of [1, 10, 1], where the ratio of the medians is 10
    assert peer.time == 10.0


def test_spread_is_a_factor_between_quartiles():
    ours = Reading([2.0] * 5)
    assert harness.spread(Reading([2.0, 4.0, 6.0, 8.0, 10.0]), ours) == pytest.approx(8 / 4)
    assert harness.spread(ours, ours) == 1
    assert math.isnan(harness.spread(Reading([1.0]), Reading([1.0])))


def test_ratio_to_a_library_without_times_is_nan():
    assert math.isnan(harness.ratio(Reading(), Reading([1.0])))


def test_geometric_mean():
    assert harness.geometric_mean([1.0, 4.0, math.nan]) == pytest.approx(2.0)
    assert math.isnan(harness.geometric_mean([math.nan]))


def test_softmax_is_compared_like_with_like():
    new, out = (Case("softmax", (2, 3), out=out) for out in (False, True))
    results = [(case, {}) for case in (new, out, Case("softmax", (2, 3), "float64"))]
    assert [case for case, _ in report.like_with_like(results, "scipy")] == [new]
    assert [case for case, _ in report.like_with_like(results, "torch")] == [out]


def test_checked_rows_of_a_large_array_include_the_first_and_the_last():
    for shape in [(16, 4_194_304), (4096, 4096), (3, 5), (1, 10)]:
        rows = cases.checked_rows(Case("softmax", shape))
        assert (rows[0], rows[-1]) == (0, shape[0] - 1)
        assert len(rows) * shape[1] <= max(cases.CHECKED_ELEMENTS, 2 * shape[1])


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_exact_gradient_is_the_derivative_of_the_exact_loss(alpha):
    case = Case("cross_entropy", (3, 4), "float64", label_smoothing=alpha)
    logits, targets = cases.inputs(case).values()
    gradient = cases.expected(case)[1].exact
    step = 1e-5 * np.eye(logits.size).reshape(-1, *logits.shape)
    losses = [[cases._mean_loss(case, logits + sign * s, targets) for s in step] for sign in (1, -1)]
    np.testing.assert_allclose(np.subtract(*losses).reshape(logits.shape) / 2e-5, gradient, atol=1e-9)


def test_a_right_answer_is_timed_in_every_round(library):
    reading = reading_of(library("Right"), Case("softmax", (3, 5)), rounds=4)
    assert len(reading.times) == 4
    assert 0 < reading.ulp < 20


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Perturbed", "wrong answer: off by"),
        ("OtherShape", r"wrong answer: shape \(3, 4\) where \(3, 5\)"),
        ("OtherType", "TypeError: returns float64 for float32"),
        ("Raising", "ValueError: no such thing"),
        ("Ending", "its process ended with status 7"),
        ("EndingLater", "StopIteration"),
    ],
)
def test_a_wrong_answer_is_refused_and_not_timed(library, name, reason):
    reading = reading_of(library(name), Case("softmax", (3, 5)))
    assert not reading.times
    with pytest.raises(Refused, match=reason):
        raise Refused(reading.refusal)


def test_an_operation_that_a_library_does_not_have_is_missing(library):
    assert reading_of(library("Right"), Case("softmax", (3, 5), out=True)).refusal == "Missing: softmax with out="
    assert reading_of(peers.SciPy, Case("cross_entropy", (3, 5))).refusal == "Missing: cross_entropy"


def test_exit_status_says_when_an_answer_of_ours_is_wrong(library, monkeypatch, tmp_path):
    monkeypatch.setattr(bench_softmax, "OURS", library("Perturbed"))
    arguments = ["--only=softmax", "--peers=numpy", "--shapes=3x5", "--rounds=1", "--quick", f"--results={tmp_path}"]
    assert bench_softmax.main(arguments) == 1


def test_workers_choose_their_own_blas_kernels(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    environment = harness.environment(2)
    assert "OPENBLAS_CORETYPE" not in environment
    assert environment["OMP_NUM_THREADS"] == "2"


def test_the_whole_run_on_small_shapes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers.Torch, "modules", ("not_installed",))
    arguments = ["--quick", "--peers=numpy,scipy,torch,copy", "--shapes=40x20", "--rounds=2", f"--results={tmp_path}"]
    assert bench_softmax.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "left out: PyTorch" in printed
    for words in ["softmax float32 out=", "logsumexp float32", "cross_entropy float32 with gradient", "geometric mean"]:
        assert words in printed
    document = json.loads((tmp_path / "softmax.json").read_text())
    row = document["cases"][0]
    assert (row["op"], row["shape"]) == ("softmax", [40, 20])
    assert set(row["libraries"]) == {"softmax", "numpy", "scipy", "copy"}
    assert len(row["libraries"]["scipy"]["times"]) == 2
    assert 0 < row["libraries"]["softmax"]["ulp"] <= 2
    assert not any("wrong" in entry["refusal"] for case in document["cases"] for entry in case["libraries"].values())
    assert (tmp_path / "softmax.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("argument", ["--only=sofmax", "--peers=numpie", "--threads=0", "--shapes=3by7"])
def test_a_wrong_option_is_refused(argument):
    with pytest.raises(SystemExit) as exit_:
        bench_softmax.options([argument])
    assert exit_.value.code == 2


def test_import_benchmark(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench_import, "PACKAGES", bench_import.PACKAGES[:1])
    assert bench_import.main(["--rounds=1", f"--results={tmp_path}"]) == 0
    assert "above NumPy" in capsys.readouterr().out
    assert json.loads((tmp_path / "import.json").read_text())["packages"]["softmax"]["installed"] > 0
