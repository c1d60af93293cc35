"""The pictures: what they show, where they draw, and what they refuse. Colours and layout were looked at."""

import io
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from softmax import plot, sigmoid, softmax
from softmax.metrics import reliability_curve, risk_coverage_curve

LOGITS = [2.33, -1.46, 0.56]
LABELS = ["cat", "dog", "boat"]


def drawn(rows=400, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    probs = softmax(rng.normal(size=(rows, classes)) * 2)
    return probs, np.array([rng.choice(classes, p=row) for row in probs])


PROBS, TARGETS = drawn()
PICTURES = {
    "confidence_histogram": lambda **ax: plot.confidence_histogram(PROBS, TARGETS, **ax),
    "confusion": lambda **ax: plot.confusion(PROBS, TARGETS, **ax),
    "learning_curves": lambda **ax: plot.learning_curves([3.0, 2.0, 1.0], [3.0, 2.5, 2.75], **ax),
    "pixel_weights": lambda **ax: plot.pixel_weights([0.5, -2.0, 1.0, 0.0, 0.0, 3.0], (2, 3), **ax),
    "probabilities": lambda **ax: plot.probabilities(softmax(LOGITS), LABELS, **ax),
    "reliability": lambda **ax: plot.reliability(PROBS, TARGETS, **ax),
    "risk_coverage": lambda **ax: plot.risk_coverage(PROBS, TARGETS, **ax),
    "ReliabilityDisplay": lambda **ax: plot.ReliabilityDisplay.from_predictions(TARGETS, PROBS, **ax).ax_,
    "sigmoid_versus_softmax": lambda **ax: plot.sigmoid_versus_softmax(LOGITS, LABELS, **ax),
    "temperature": lambda **ax: plot.temperature(LOGITS, LABELS, **ax),
    "top_features": lambda **ax: plot.top_features([0.5, -2.0, 1.0], LABELS, **ax),
}


display = plot.ReliabilityDisplay.from_predictions


def texts(labels):
    return [label.get_text() for label in labels]


def bars(ax):
    """Rows of x, y, width, height."""
    return np.array([[*p.get_xy(), p.get_width(), p.get_height()] for p in ax.patches])


def test_every_function_is_tried():
    assert sorted(PICTURES) == plot.__all__


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_in_the_axes_given_or_in_a_figure_of_its_own(name):
    own = Figure().add_subplot()
    before = len(own.get_children())
    assert PICTURES[name](ax=own) is own
    assert len(own.get_children()) > before
    new = PICTURES[name]()
    assert new.figure is not own.figure
    assert len(new.figure.axes) == 1
    new.figure.savefig(io.BytesIO(), format="svg")


def test_pyplot_is_not_touched():
    code = "import sys, softmax.plot as p; p.probabilities([0.5, 0.5]); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_softmax_does_not_import_matplotlib():
    code = "import sys, softmax; assert 'matplotlib' not in sys.modules; assert 'softmax.plot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_one_sentence_says_what_to_install():
    code = "import sys; sys.modules['matplotlib'] = None; import softmax.plot"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    wanted = "softmax.plot needs matplotlib, which is not installed: pip install 'softmax[report]'"
    assert run.stderr.strip().splitlines()[-1] == f"ModuleNotFoundError: {wanted}"


def test_reliability_shows_the_accuracy_of_each_bin_and_its_interval():
    ax = plot.reliability(PROBS, TARGETS, n_bins=5)
    curve = reliability_curve(PROBS, TARGETS, n_bins=5)
    filled = curve.counts > 0
    np.testing.assert_allclose(ax.lines[1].get_xydata(), np.stack([curve.confidence, curve.accuracy], axis=1)[filled])
    band, lines, points = ax.collections
    np.testing.assert_allclose(points.get_offsets(), ax.lines[1].get_xydata())
    np.testing.assert_allclose(points.get_sizes(), 8 + 80 * curve.counts[filled] / len(TARGETS))
    intervals = [segment[:, 1] for segment in lines.get_segments()]
    for (low, high), share, rows in zip(intervals, curve.accuracy[filled], curve.counts[filled], strict=True):
        for end in low, high:  # where the share is just within 1.96 standard errors: what defines Wilson's interval
            assert abs(share - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / rows), rel=1e-3)
    corners = band.get_paths()[0].vertices[:, 1]
    assert {*np.ravel(intervals).round(12)} <= {*corners.round(12)}


def test_reliability_of_one_class_and_bins_of_equally_many_rows():
    ax = plot.reliability(PROBS, TARGETS, n_bins=4, of_class=2, strategy="quantile")
    curve = reliability_curve(PROBS, TARGETS, n_bins=4, of_class=2, strategy="quantile")
    assert curve.counts.tolist() == [100] * 4
    np.testing.assert_allclose(ax.lines[1].get_ydata(), curve.accuracy)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("probability of class 2", "share of class 2")


def test_a_second_curve_is_drawn_into_the_first_ones_axes_in_another_colour():
    ax = plot.reliability(PROBS, TARGETS, name="before")
    plot.reliability(softmax(np.log(PROBS), temperature=2), TARGETS, name="_after", ax=ax)
    assert texts(ax.get_legend().get_texts()) == ["perfectly calibrated", "before", "\u200b_after"]
    assert len({line.get_color() for line in ax.lines}) == 3
    ax = plot.risk_coverage(PROBS, TARGETS, name="one")
    plot.risk_coverage(PROBS, 3 - TARGETS, name="other", ax=ax)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert ax.get_ylim()[1] > ax.lines[1].get_ydata().max()


def test_risk_coverage_draws_the_curve_thinned_out():
    probs, targets = drawn(rows=5000)
    (line,) = plot.risk_coverage(probs, targets).lines
    curve = risk_coverage_curve(probs, targets)
    assert len(line.get_xdata()) == 400
    assert np.isin(line.get_ydata(), curve.risk).all()
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (curve.coverage[0], 1.0)


def test_a_display_from_an_estimator_is_that_of_its_predictions():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    estimator = LogisticRegression(max_iter=1000).fit(X, names[y])
    display = plot.ReliabilityDisplay.from_estimator(estimator, X, names[y], n_bins=6)
    expected = reliability_curve(estimator.predict_proba(X), y, n_bins=6)
    np.testing.assert_array_equal(display.curve.accuracy, expected.accuracy)
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_legend_handles_labels()[1][1] == "LogisticRegression"
    # The columns may come in any order, and two models fit into one picture.
    order = [2, 0, 1]
    other = plot.ReliabilityDisplay.from_predictions(
        names[y], estimator.predict_proba(X)[:, order], classes=names[order], n_bins=6, name="again", ax=display.ax_
    )
    np.testing.assert_allclose(other.curve.accuracy, expected.accuracy)
    assert len(display.ax_.lines) == 3


def test_a_display_of_two_classes_is_what_scikit_learn_draws():
    probs, targets = drawn(classes=2)
    display = plot.ReliabilityDisplay.from_predictions(targets, probs[:, 1], pos_label=1, n_bins=7)
    share, mean = calibration_curve(targets, probs[:, 1], n_bins=7)
    np.testing.assert_allclose(display.ax_.lines[1].get_xydata(), np.stack([mean, share], axis=1))
    assert display.ax_.get_xlabel() == "probability of 1"


def test_confidence_histogram_counts_right_and_wrong_rows():
    ax = plot.confidence_histogram(PROBS, TARGETS, n_bins=10)
    heights = bars(ax)[:, 3].reshape(2, 10)
    right = PROBS.argmax(axis=1) == TARGETS
    for mask, counted in zip([right, ~right], heights, strict=True):
        np.testing.assert_array_equal(counted, np.histogram(PROBS.max(axis=1)[mask], np.linspace(0, 1, 11))[0])
    assert texts(ax.get_legend().get_texts()) == [f"right ({right.sum()})", f"wrong ({(~right).sum()})"]


def test_confusion_counts_rows_by_true_and_predicted_class():
    ax = plot.confusion(PROBS, TARGETS, ["a", "b", "c", "d"])
    guesses = PROBS.argmax(axis=1)
    for text in ax.texts:
        column, row = text.get_position()
        assert int(text.get_text()) == ((row == TARGETS) & (column == guesses)).sum()
    assert len(ax.texts) == len(ax.patches) == len({*zip(TARGETS.tolist(), guesses.tolist(), strict=True)})
    assert texts(ax.get_yticklabels()) == texts(ax.get_xticklabels()) == ["a", "b", "c", "d"]
    shades = {tuple(text.get_position()): patch.get_alpha() for text, patch in zip(ax.texts, ax.patches, strict=True)}
    assert shades[0, 0] == pytest.approx(0.12 + 0.88 * (guesses[TARGETS == 0] == 0).mean())


def test_many_classes_are_drawn_without_numbers_and_names():
    ax = plot.confusion(*drawn(classes=21))
    assert len(ax.texts) == 0
    assert len(ax.patches) > 100


def test_learning_curves_count_iterations_from_one_and_mark_the_best():
    training, validation, best = plot.learning_curves([3.0, 2.0, 1.0], [3.0, 2.5, 2.75]).lines
    assert training.get_xydata().tolist() == [[1, 3], [2, 2], [3, 1]]
    assert validation.get_ydata().tolist() == [3, 2.5, 2.75]
    assert best.get_xydata().tolist() == [[2, 2.5]]
    assert len(plot.learning_curves([1.0]).lines) == 1


def test_top_features_are_those_of_the_largest_weights_of_either_sign():
    ax = plot.top_features([0.1, -2.0, 1.0, 0.0], ["a", "b", "c", "d"], k=3)
    assert texts(ax.get_yticklabels()) == ["b", "c", "a"]
    assert bars(ax)[:, 2].tolist() == [-2.0, 1.0, 0.1]
    colors = [patch.get_facecolor() for patch in ax.patches]
    assert colors[1] == colors[2] != colors[0]


def test_weights_of_pixels_keep_their_place_sign_and_size():
    ((_, weak), (strong, _)) = plot.pixel_weights([0.0, 0.5, -2.0, 0.0], (2, 2)).images[0].get_array()
    assert weak.tolist() == [*to_rgb("#0072b2"), 0.25]
    assert strong.tolist() == [*to_rgb("#d55e00"), 1]
    coloured = plot.pixel_weights([1.0, 1.0, -1.5, 3.0, -2.0, -0.5], (1, 2, 3)).images[0].get_array()
    np.testing.assert_allclose(coloured[0, :, 3], [1, 1])
    assert (plot.pixel_weights(np.zeros(4), (2, 2)).images[0].get_array()[..., 3] == 0).all()


def test_temperature_sharpens_to_the_left_and_evens_out_to_the_right():
    *curves, one = plot.temperature(LOGITS, LABELS).lines
    for i, (curve, exact) in enumerate(zip(curves, softmax(LOGITS), strict=True)):
        t, shares = curve.get_data()
        np.testing.assert_allclose(shares, [softmax(LOGITS, temperature=x)[i] for x in t])
        assert np.interp(0, np.log(t), shares) == pytest.approx(exact)
    assert list(one.get_xdata()) == [1, 1]


def test_sigmoid_versus_softmax_moves_the_top_score_alone():
    ax = plot.sigmoid_versus_softmax(LOGITS, LABELS)
    *curves, here = ax.lines
    assert list(here.get_xdata()) == [2.33, 2.33]
    assert ax.get_xlabel() == "score of cat"
    x = curves[0].get_xdata()
    np.testing.assert_allclose(sum(curve.get_ydata() for curve in curves[0::2]), 1)
    np.testing.assert_allclose(curves[2].get_ydata(), [softmax([s, *LOGITS[1:]])[1] for s in x])
    np.testing.assert_allclose(curves[1].get_ydata(), sigmoid(x))
    np.testing.assert_allclose(curves[3].get_ydata(), sigmoid(-1.46))


def test_labels_are_text_and_no_formulas_and_none_is_lost():
    odd = ["$x^2$", "_hidden", "\x00\n<b>", "a" * 100]
    pictures = [
        plot.confusion(PROBS, TARGETS, odd),
        plot.probabilities(PROBS[0], odd),
        plot.top_features([3.0, 2.0, 1.0, 0.5], odd),
        plot.temperature([1.0, 2.0, 3.0, 4.0], odd),
        plot.sigmoid_versus_softmax([4.0, 2.0, 3.0, 1.0], odd),
    ]
    for ax in pictures:
        buffer = io.StringIO()
        with mpl.rc_context({"svg.fonttype": "none"}):
            ax.figure.savefig(buffer, format="svg")
        svg = re.sub("<!--.*?-->", "", buffer.getvalue(), flags=re.S)
        assert "$x^2$" in svg
        assert "_hidden" in svg
        assert "\ufffd &lt;b&gt;" in svg
        assert "\x00" not in svg
        assert "a…" in svg
        assert "a" * 30 not in svg


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot.reliability([[0.5, 0.6]], [0]), "each row of probs must sum to 1"),
        (lambda: plot.reliability(PROBS, TARGETS, n_bins=0), "n_bins must be at least 1, got 0"),
        (lambda: plot.reliability(PROBS, TARGETS, of_class=4), r"of_class must lie in \[0, 4\), got 4"),
        (lambda: display([0, 1], [[0.5, 0.3, 0.2]] * 2), "classes must name the 3 classes of y_prob, got 2, since"),
        (lambda: display(["a", "b"], [0.5, 0.2], classes=["a"]), "classes must name the 2 classes of y_prob, got 1$"),
        (lambda: display(["a", "x"], [0.5, 0.2], classes=["a", "b"]), r"y_true must hold classes of \['a', 'b'\]"),
        (lambda: display(["a", "b"], [0.5, 0.2], pos_label="x"), r"pos_label must be one of the classes \['a', 'b'\]"),
        (lambda: plot.confusion(PROBS, TARGETS, ["a"]), "labels must hold 4 names, got 1"),
        (lambda: plot.confidence_histogram(PROBS, TARGETS[:3]), r"targets must have shape \(400,\)"),
        (lambda: plot.probabilities([[0.5, 0.5]]), r"probs must be one-dimensional and not empty, got shape \(1, 2\)"),
        (lambda: plot.probabilities([0.5, 0.9]), "each row of probs must sum to 1"),
        (lambda: plot.temperature([1.0, np.inf]), "logits must be finite, got inf"),
        (lambda: plot.sigmoid_versus_softmax([]), "logits must be one-dimensional and not empty"),
        (lambda: plot.learning_curves([]), "training loss curve must be one-dimensional and not empty"),
        (lambda: plot.learning_curves([1.0], [[1.0]]), "validation loss curve must be one-dimensional"),
        (lambda: plot.top_features([1.0], ["a", "b"]), "names must hold 1 names, got 2"),
        (lambda: plot.pixel_weights([1.0] * 6, (2, 4)), r"shape must be that of an image of 6 numbers, got \(2, 4\)"),
        (lambda: plot.pixel_weights([1.0] * 6, (6,)), r"shape must be that of an image of 6 numbers, got \(6,\)"),
    ],
)
def test_what_is_wrong_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
