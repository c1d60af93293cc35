"""TemperatureScaling and VectorScaling: exact where there is an exact answer, and sensible where there is none."""

import json
import tracemalloc

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softmax import _blocks, calibration, cross_entropy, sigmoid, softmax
from softmax.calibration import TemperatureScaling, VectorScaling, search
from softmax.metrics import log_loss

BOTH = [TemperatureScaling, VectorScaling]


def drawn(rows=300, classes=5, temperature=2.0, seed=0, dtype="float64"):
    """Logits, and targets of which softmax(logits / temperature) is the distribution."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(rows, classes)) * 3).astype(dtype)
    targets = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, targets


def exact_temperature(logits, targets, weights=None):
    """By bisection in 30 digits on the derivative of the loss by the inverse temperature."""
    weights = np.ones(len(targets)) if weights is None else weights
    with mpmath.workdps(30):
        rows = [
            ([mpmath.mpf(float(x)) - mpmath.mpf(float(row[y])) for x in row], mpmath.mpf(float(w)))
            for row, y, w in zip(logits, targets, weights, strict=True)
            if w
        ]

        def slope(beta):
            total = mpmath.mpf(0)
            for d, w in rows:
                top = max(d)
                e = [mpmath.exp(beta * (x - top)) for x in d]
                total += w * mpmath.fdot(e, d) / mpmath.fsum(e)
            return total

        furthest, nearest = (max(key(x) for d, _ in rows for x in d) for key in (abs, lambda x: x))
        low, high = 1 / (furthest * search.LIMITS[1]), 1 / (nearest * search.LIMITS[0])
        if slope(low) >= 0:
            return float(1 / low)
        while high / low > 1 + mpmath.mpf(10) ** -12:
            middle = mpmath.sqrt(low * high)
            low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        return float(1 / low)


HARD = {
    "ordinary": drawn(60),
    "two classes": drawn(60, classes=2),
    "sharp": drawn(60, temperature=0.2),
    "hardly better than chance": drawn(temperature=30.0, rows=60),
    "all wrong, second best": ([[3.0, 2.0, -5.0], [1.0, 4.0, 3.0]] * 3, [1, 2] * 3),
    "all wrong": ([[3.0, 1.0, 1.0], [0.0, 2.0, 3.0]], [1, 0]),
    "one row, wrong": ([[3.0, 2.0, -5.0]], [1]),
    "huge, random": (drawn(60)[0] * 1e4, drawn(60, seed=1)[1]),
    "huge, half right": ([[1e4, -1e4, 0.0], [1e4, 0.0, -1e4]], [0, 1]),
    "huge and tiny margins": ([[1e4, 1e4 - 1e-3, -1e4]] * 50 + [[1e4, 1e4 - 1e-3, -1e4]], [0] * 50 + [1]),
    "nearly separable": ([[5.0, 0.0, 0.0]] * 99 + [[0.0, 1e-9, -3.0]], [0] * 100),
    "one wrong by far": ([[5.0, 0.0, 0.0]] * 99 + [[-1e4, 1e4, 0.0]], [0] * 100),
    "large offset": (np.add(drawn(60)[0], 1e6), drawn(60)[1]),
    "tiny": (drawn(60)[0] * 1e-8, drawn(60)[1]),
    "constant rows among others": (
        np.concatenate([drawn(60)[0], np.full((9, 5), 7.0)]),
        np.append(drawn(60)[1], [3] * 9),
    ),
}


@pytest.mark.parametrize("case", HARD)
def test_temperature_is_the_exact_minimizer(case, measured):
    logits, targets = HARD[case]
    scaling = TemperatureScaling().fit(logits, targets)
    exact = exact_temperature(logits, targets)
    error = abs(scaling.temperature_ / exact - 1)
    measured(f"temperature, {case}: T = {exact:.6g}, relative error {error:.1e}")
    assert error < 1e-8
    assert scaling.log_loss_after_ < scaling.log_loss_before_
    assert scaling.message_.startswith(f"T = {exact:.4g} lowers the log-loss from")


def test_temperature_with_weights_some_of_them_zero():
    logits, targets = drawn(60)
    weights = np.random.default_rng(1).integers(0, 4, len(targets)) * 0.7
    logits[weights == 0] = np.nan
    scaling = TemperatureScaling().fit(logits, targets, sample_weight=weights)
    assert scaling.temperature_ == pytest.approx(exact_temperature(logits, targets, weights), rel=1e-8)
    assert scaling.temperature_ != pytest.approx(TemperatureScaling().fit(*drawn(60)).temperature_, rel=1e-3)


@pytest.mark.parametrize("calibration", BOTH)
def test_an_integer_weight_is_that_many_rows(calibration):
    logits, targets = drawn(rows=60)
    weights = np.arange(60) % 3
    weighted = calibration().fit(logits, targets, sample_weight=weights)
    repeated = calibration().fit(np.repeat(logits, weights, axis=0), np.repeat(targets, weights))
    assert weighted.log_loss_before_ == pytest.approx(repeated.log_loss_before_)
    if calibration is TemperatureScaling:
        assert weighted.temperature_ == pytest.approx(repeated.temperature_, rel=1e-10)
    else:  # whose prior counts rows
        assert weighted.log_loss_after_ == pytest.approx(repeated.log_loss_after_, rel=1e-2)


@pytest.mark.parametrize("calibration", BOTH)
def test_log_losses_are_those_of_the_probabilities(calibration):
    logits, targets = drawn()
    scaling = calibration().fit(logits, targets)
    assert scaling.log_loss_before_ == pytest.approx(log_loss(softmax(logits), targets), rel=1e-12)
    assert scaling.log_loss_after_ == pytest.approx(log_loss(scaling.transform(logits), targets), rel=1e-12)


def test_log_losses_where_a_probability_is_too_small_for_a_number():
    logits = np.array([[5.0, 0.0, 0.0]] * 99 + [[-1e4, 1e4, 0.0]])
    weights = np.r_[np.ones(99), 1e-7]
    scaling = TemperatureScaling().fit(logits, [0] * 100, weights)
    assert scaling.transform(logits)[-1, 0] == 0
    for temperature, loss in ((1.0, scaling.log_loss_before_), (scaling.temperature_, scaling.log_loss_after_)):
        losses = cross_entropy(logits / temperature, [0] * 100, reduction="none")
        assert loss == pytest.approx(np.average(losses, weights=weights), rel=1e-12)


# Sets without a best temperature.


def test_separable_rows_get_the_confidence_that_so_many_rows_warrant():
    logits = drawn()[0]
    targets = logits.argmax(axis=1)
    scaling = TemperatureScaling().fit(logits, targets)
    of_target = scaling.transform(logits)[np.arange(300), targets]
    assert of_target.mean() == pytest.approx(301 / 302, rel=1e-12)
    assert scaling.temperature_ < 1
    assert "every row's target has its largest logit" in scaling.message_
    assert scaling.message_.endswith("at this T the targets have 0.9967 on average, (n + 1) / (n + 2) for n = 300.")


def test_separable_rows_with_weights_count_as_their_effective_number():
    logits, weights = drawn()[0], np.r_[np.ones(100), np.full(100, 0.5), np.zeros(100)]
    targets = logits.argmax(axis=1)
    scaling = TemperatureScaling().fit(logits, targets, weights)
    size = 150**2 / 125
    of_target = scaling.transform(logits)[np.arange(300), targets]
    assert np.average(of_target, weights=weights) == pytest.approx((size + 1) / (size + 2), rel=1e-12)
    assert scaling.temperature_ == TemperatureScaling().fit(logits, targets, 8 * weights).temperature_


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        ([[9.0, 0.0, -1.0]], [0], "every row's target has its largest logit"),  # one row does not warrant 0.9998
        (np.eye(5) * 1e4, range(5), "every row's target has its largest logit"),
        ([[1.0, 1.0, 0.0]], [0], "every row's target has its largest logit"),  # a tie, which no T decides
        ([[4.0, 4.0], [-1.0, -1.0]], [0, 1], "all logits of each row are equal"),
        ([0.0, 0.0], [0, 1], "all logits of each row are equal"),
        ([[2.0, 0.0]] * 2 + [[0.0, 0.0]], [0, 1, 1], "T = "),
        (np.log([[0.75, 0.25]] * 4), [0, 0, 0, 1], "no other T lowers the log-loss of 0.5623 on 4 rows"),
    ],
)
def test_keeps_one_and_says_so(logits, targets, message):
    scaling = TemperatureScaling().fit(logits, targets)
    if message == "T = ":  # for contrast
        assert scaling.temperature_ != 1
        return
    assert scaling.temperature_ == 1
    assert scaling.message_.startswith("T stays 1: ")
    assert message in scaling.message_
    assert scaling.log_loss_after_ == scaling.log_loss_before_


def test_logits_no_better_than_chance_get_even_probabilities_and_a_finite_temperature():
    logits, targets = [[3.0, 1.0, 1.0], [0.0, 2.0, 3.0]], [1, 0]
    scaling = TemperatureScaling().fit(logits, targets)
    assert scaling.temperature_ == pytest.approx(3.0 * 1e4)
    assert scaling.transform(logits) == pytest.approx(np.full((2, 3), 1 / 3), rel=2e-4)
    assert scaling.message_.endswith("the upper limit: the logits tell the targets no better than chance.")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logit", [-np.inf, np.finfo(np.float32).min, -1e30, -1e9])
def test_a_left_out_class_counts_for_nothing(logit, dtype, large, monkeypatch):
    logits, targets = drawn(dtype=dtype)
    wider = np.column_stack([logits, np.full(len(logits), logit, dtype)])
    expected = TemperatureScaling().fit(logits, targets)
    if large:
        monkeypatch.setattr(search, "QUICK", 100)
    scaling = TemperatureScaling().fit(wider, targets)
    assert scaling.temperature_ == pytest.approx(expected.temperature_, rel=1e-10)
    assert (scaling.transform(wider)[:, -1] == 0).all()


@pytest.mark.parametrize("calibration", BOTH)
@settings(max_examples=60)
@given(data=st.data())
def test_no_set_makes_nan_a_runaway_or_a_worse_log_loss(calibration, data):
    rows, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 4))
    entries = st.sampled_from([0.0, 1.0, -1.0, 1e4, -1e4, 1e-300, 0.5, 3.0])
    logits = data.draw(hnp.arrays(np.float64, (rows, classes), elements=entries))
    targets = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    weights = data.draw(hnp.arrays(np.float64, rows, elements=st.sampled_from([0.0, 1.0, 2.5])))
    if not weights.any():
        weights[0] = 1
    scaling = calibration().fit(logits, targets, weights)
    probs = scaling.transform(logits)
    assert np.isfinite(probs).all()
    assert probs.sum(axis=1) == pytest.approx(1)
    assert scaling.log_loss_after_ <= scaling.log_loss_before_
    numbers = [scaling.temperature_] if calibration is TemperatureScaling else [*scaling.scale_, *scaling.bias_]
    assert np.isfinite(numbers).all()
    if calibration is TemperatureScaling:
        assert 0 < scaling.temperature_ <= 2e4 * 1e4


# Large sets, which are searched from a part of their rows on.


@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_many_rows_in_float32_are_as_exact_as_few(order, monkeypatch):
    logits, targets = drawn(rows=20_000, classes=4, dtype="float32")
    if order == "sorted":
        sequence = targets.argsort()
        logits, targets = logits[sequence], targets[sequence]
    expected = TemperatureScaling().fit(logits, targets)
    monkeypatch.setattr(search, "QUICK", 4_000)
    monkeypatch.setattr(_blocks, "PARALLEL", 0)
    monkeypatch.setattr(_blocks, "BLOCK", 4_096)
    passes = []
    evaluate = search.evaluate
    monkeypatch.setattr(search, "evaluate", lambda rows, beta, *, dtype: (
        passes.append((len(rows.targets), dtype)) or evaluate(rows, beta, dtype=dtype)
    ))  # fmt: skip
    scaling = TemperatureScaling().fit(logits, targets)
    assert scaling.temperature_ == pytest.approx(expected.temperature_, rel=1e-9)
    assert scaling.log_loss_before_ == pytest.approx(expected.log_loss_before_, rel=1e-6)
    assert scaling.log_loss_after_ == pytest.approx(expected.log_loss_after_, rel=1e-12)
    assert passes.count((20_000, np.float64)) <= 2
    assert passes.count((20_000, np.float32)) <= 2


@pytest.mark.parametrize("inputs", ["logits", "probabilities"])
def test_logits_are_not_copied(inputs):
    scores = np.full((200_000, 50), 0.02, np.float32)
    scores[:, 0] = 0.5
    targets = np.arange(len(scores)) % 3
    TemperatureScaling(inputs).fit(scores[:100], targets[:100])
    tracemalloc.start()
    try:
        scaling = TemperatureScaling(inputs).fit(scores, targets)
        scaling.transform(scores, out=scores)
        assert tracemalloc.get_traced_memory()[1] < scores.nbytes / 2
    finally:
        tracemalloc.stop()


def test_threads_and_blocks_change_no_more_than_the_last_bits(monkeypatch):
    logits, targets = drawn(rows=5_000)
    once = TemperatureScaling().fit(logits, targets)
    monkeypatch.setattr(_blocks, "BLOCK", 1_000)
    blocks = TemperatureScaling().fit(logits, targets)
    monkeypatch.setattr(_blocks, "PARALLEL", 0)
    threads = TemperatureScaling().fit(logits, targets)
    assert blocks.temperature_ == pytest.approx(once.temperature_, rel=1e-12)
    assert threads.temperature_ == blocks.temperature_


# Vector scaling.


def gradient(scaling, logits, targets, weights):
    """Of the objective that the docstring states, written plainly."""
    rows, classes = logits.shape
    off = softmax(logits * scaling.scale_ + scaling.bias_) - np.eye(classes)[targets]
    off *= weights[:, np.newaxis] / weights.sum()
    by_scale = (off * logits).sum(axis=0) + scaling.alpha / rows * (scaling.scale_ - 1)
    return np.concatenate([by_scale, off.sum(axis=0) + scaling.alpha / rows * scaling.bias_])


@pytest.mark.parametrize("alpha", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_vector_scaling_is_at_the_minimum_of_its_objective(alpha, factor):
    logits, targets = drawn()
    logits *= factor
    weights = np.random.default_rng(0).random(300) + 0.1
    scaling = VectorScaling(alpha=alpha).fit(logits, targets, weights)
    assert abs(gradient(scaling, logits, targets, weights)).max() < 1e-9 * max(1, factor)


def test_vector_scaling_converges_where_newton_s_steps_are_too_long():
    logits = np.array([[-32380.0, 411, 259, -107], [-35599, -685, 140, 815], [34023, -183, 364, -227]])
    targets = np.array([1, 3, 3])
    scaling = VectorScaling(alpha=29).fit(logits, targets)
    assert abs(gradient(scaling, logits, targets, np.ones(3))).max() < 1e-6
    assert scaling.log_loss_after_ < 1


@pytest.mark.parametrize("calibration", BOTH)
def test_differences_as_small_as_numbers_go(calibration):
    scaling = calibration().fit([[1e-300, 0.0]], [0])
    assert np.isfinite(scaling.transform([[1e-300, 0.0]])).all()


def test_vector_scaling_finds_scales_and_biases():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50_000, 3)) * 2
    scale, bias = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
    targets = (logits * scale + bias + rng.gumbel(size=logits.shape)).argmax(axis=1)
    scaling = VectorScaling().fit(logits, targets)
    assert scaling.scale_ == pytest.approx(scale, abs=0.05)
    assert scaling.bias_ - scaling.bias_.mean() == pytest.approx(bias, abs=0.05)
    assert scaling.log_loss_after_ < TemperatureScaling().fit(logits, targets).log_loss_after_ - 0.1


def test_alpha_holds_back():
    logits, targets = drawn()
    distances = [
        float(abs(np.r_[s.scale_ - 1, s.bias_]).sum())
        for s in (VectorScaling(alpha=alpha).fit(logits, targets) for alpha in (0.01, 1.0, 1e4, 1e8))
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 1e-3


def test_a_missing_class_becomes_unlikely_but_not_impossible():
    logits, targets = drawn(classes=3)
    targets[targets == 2] = 0
    scaling = VectorScaling().fit(logits, targets)
    assert "none has one of 1 class" in scaling.message_
    assert scaling.bias_[2] < scaling.bias_[:2].min()
    assert (scaling.transform(logits)[:, 2] > 0).all()
    assert TemperatureScaling().fit(logits, targets).temperature_ > 1


# What both take and return.


@pytest.mark.parametrize("calibration", BOTH)
def test_one_column_is_the_second_of_two_classes(calibration):
    z, targets = drawn(classes=1)[0][:, 0], np.random.default_rng(2).integers(0, 2, 300)
    targets |= z > 2
    one, two = calibration().fit(z, targets), calibration().fit(np.stack([np.zeros(300), z], axis=1), targets)
    assert one.log_loss_after_ == two.log_loss_after_ < one.log_loss_before_
    assert one.transform(z).shape == (300,)
    assert one.transform(z) == pytest.approx(two.transform(np.stack([np.zeros(300), z], axis=1))[:, 1], rel=1e-14)
    if calibration is TemperatureScaling:
        assert one.transform(z) == pytest.approx(sigmoid(z / one.temperature_), rel=1e-14)
        one.temperature_ = 1e-9  # which float16 does not reach
        assert one.transform(np.float16([2, 0, -2])).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("calibration", BOTH)
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_probabilities_are_taken_as_their_logarithms(calibration, columns):
    logits, targets = drawn(classes=max(columns, 2))
    probs = softmax(logits)
    given_, logs = (probs[:, 1], np.log(probs)) if columns == 1 else (probs, np.log(probs))
    scaling = calibration(inputs="probabilities").fit(given_, targets)
    expected = calibration().fit(logs, targets)
    assert scaling.log_loss_after_ == pytest.approx(expected.log_loss_after_, rel=1e-9)
    got = scaling.transform(given_)
    assert got.shape == given_.shape
    assert got == pytest.approx(expected.transform(logs)[:, 1] if columns == 1 else expected.transform(logs), rel=1e-6)


@pytest.mark.parametrize("calibration", BOTH)
def test_probabilities_of_zero_and_one_stay_finite(calibration):
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]] * 20)
    scaling = calibration(inputs="probabilities").fit(probs, [0, 0, 2] * 20)
    assert np.isfinite([scaling.log_loss_before_, scaling.log_loss_after_]).all()
    assert np.isfinite(scaling.transform(probs)).all()
    if calibration is TemperatureScaling:
        assert scaling.temperature_ > 100
        assert scaling.log_loss_before_ == pytest.approx((-np.log(np.finfo(float).tiny) - np.log(0.4)) / 3)


@pytest.mark.parametrize("calibration", BOTH)
@pytest.mark.parametrize("inputs", ["logits", "probabilities"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "longdouble", "int64"])
@pytest.mark.parametrize("columns", [1, 4])
def test_dtypes_layouts_and_read_only_input(calibration, inputs, dtype, columns):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    logits, targets = drawn(classes=max(2, columns), rows=50)
    scores = (softmax(logits) if inputs == "probabilities" else np.round(logits)).astype(dtype)
    if dtype == "int64" and inputs == "probabilities":
        scores = np.eye(max(2, columns), dtype=int)[logits.argmax(axis=1)]
    scores = np.asfortranarray(scores)[:, 1] if columns == 1 else np.asfortranarray(scores)
    before = scores.copy()
    scores.setflags(write=False)
    targets.setflags(write=False)
    scaling = calibration(inputs=inputs).fit(scores, targets)
    probs = scaling.transform(scores)
    assert (scores == before).all()
    assert probs.shape == scores.shape
    assert probs.dtype == ("float64" if dtype == "int64" else dtype)
    wide = calibration(inputs=inputs).fit(scores.astype(np.float64), targets)
    if dtype not in ("float16", "bfloat16", "float32") or inputs == "logits":  # zeros have another floor there
        assert scaling.log_loss_after_ == pytest.approx(wide.log_loss_after_, rel=1e-6)
    assert probs.astype(float) == pytest.approx(wide.transform(scores.astype(float)), abs=1e-2)


@pytest.mark.parametrize("calibration", BOTH)
@pytest.mark.parametrize("inputs", ["logits", "probabilities"])
@pytest.mark.parametrize("columns", [1, 3])
def test_out_may_be_the_input(calibration, inputs, columns):
    logits, targets = drawn(classes=3)
    scores = softmax(logits) if inputs == "probabilities" else logits
    scores, targets = (scores[:, 1].copy(), targets % 2) if columns == 1 else (scores, targets)
    scaling = calibration(inputs=inputs).fit(scores, targets)
    expected = scaling.transform(scores)
    assert scaling.transform(scores, out=scores) is scores
    assert (scores == expected).all()
    with pytest.raises(ValueError, match="out"):
        scaling.transform(scores, out=np.empty((2, 2)))


@pytest.mark.parametrize("calibration", BOTH)
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(calibration, tmp_path):
    logits, targets = drawn()
    for inputs, scores in (("logits", logits), ("probabilities", softmax(logits))):
        scaling = calibration(inputs).fit(scores, targets)
        scaling.save(tmp_path / "scaling.json")
        loaded = calibration.load(str(tmp_path / "scaling.json"))
        assert vars(loaded).keys() == vars(scaling).keys()
        assert all(np.array_equal(value, vars(scaling)[name]) for name, value in vars(loaded).items())
        assert (loaded.transform(scores) == scaling.transform(scores)).all()
        assert (tmp_path / "scaling.json").stat().st_size < 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"version 1 or older, '.*scaling.json' has version 2: a newer softmax wrote it"),
        ({"version": "x"}, "has version x"),
        ({"kind": "VectorScaling"}, "a saved TemperatureScaling, .* holds a VectorScaling"),
        ({"format": "other"}, "that a calibration's save wrote, .* is none"),
        ({"temperature_": None}, "lacks temperature_"),
    ],
)
def test_another_file_is_refused(change, message, tmp_path):
    path = tmp_path / "scaling.json"
    TemperatureScaling().fit(*drawn()).save(path)
    document = json.loads(path.read_text()) | change
    path.write_text(json.dumps({name: value for name, value in document.items() if value is not None}))
    with pytest.raises(ValueError, match=message):
        TemperatureScaling.load(path)


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\xfe\x00", b"a,b\n1,2\n"])
def test_a_file_that_is_no_calibration_is_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=r"path must name a file that a calibration's save wrote"):
        VectorScaling.load(tmp_path / "file")


@pytest.mark.parametrize("calibration", BOTH)
@pytest.mark.parametrize(
    ("logits", "targets", "options", "error", "message"),
    [
        ([[1.0, 2.0]], [2], {}, ValueError, r"y must lie in \[0, 2\), got 2 at position 0"),
        ([[1.0, 2.0]], [0.0], {}, TypeError, "y must be integers.*float64"),
        ([[1.0, 2.0]], [0, 1], {}, ValueError, r"y must have shape \(1,\), one class index a row of logits.*\(2,\)"),
        ([[1.0], [2.0]], [0, 0], {}, ValueError, r"K >= 2.*got shape \(2, 1\)"),
        ([], [], {}, ValueError, r"got shape \(0,\)"),
        ([[[1.0, 2.0]]], [0], {}, ValueError, r"got shape \(1, 1, 2\)"),
        ([["a", "b"]], [0], {}, TypeError, "logits must be real numbers, got dtype <U1"),
        ([[1.0, np.nan]], [0], {}, ValueError, "logits must be finite"),
        ([[1.0, np.inf]], [0], {}, ValueError, "logits must be finite"),
        ([[-np.inf, 1.0]], [0], {}, ValueError, "logits must be finite"),
        ([[1.0, 2.0]], [0], {"sample_weight": [-1.0]}, ValueError, "at least 0, got -1.0 at position 0"),
        ([[1.0, 2.0]], [0], {"sample_weight": [np.nan]}, ValueError, "got nan at position 0"),
        ([[1.0, 2.0]], [0], {"sample_weight": [0.0]}, ValueError, "got only zeros"),
        ([[1.0, 2.0]], [0], {"sample_weight": [[1.0]]}, ValueError, r"shape \(1,\), .*\(1, 1\)"),
    ],
)
def test_wrong_input_is_named(calibration, logits, targets, options, error, message):
    with pytest.raises(error, match=message):
        calibration().fit(logits, targets, **options)


@pytest.mark.parametrize(
    ("scaling", "message"),
    [
        (TemperatureScaling("scores"), "inputs must be .*got 'scores'"),
        (TemperatureScaling("probabilities"), r"must lie in \[0, 1\].*got 2.0"),
        (VectorScaling(alpha=0), "alpha must be finite and above 0, got 0"),
        (VectorScaling(alpha=np.nan), "got nan"),
    ],
)
def test_wrong_options_are_named(scaling, message):
    with pytest.raises(ValueError, match=message):
        scaling.fit([[2.0, 0.5]], [0])


def test_the_number_of_classes_is_that_of_fit():
    scaling = VectorScaling().fit(*drawn(classes=5))
    with pytest.raises(ValueError, match=r"logits must have 5 classes, as what was fitted had, got shape \(1, 2\)"):
        scaling.transform([[1.0, 2.0]])


@pytest.mark.parametrize("calibration", BOTH)
def test_transform_before_fit_is_an_error(calibration):
    with pytest.raises(AttributeError, match=r"is not there before fit: call \w+\.fit first"):
        calibration().transform([[1.0, 2.0]])


def test_all_names_what_is_public():
    assert calibration.__all__ == ["TemperatureScaling", "VectorScaling"]
