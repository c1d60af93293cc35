"""The same numbers through the losses of Keras, optax and scikit-learn, and through ours.

Keras runs on its NumPy backend, in float32 whatever it is given; the others in float64. optax brings JAX (some 400 MB),
which the extra `peers` leaves out: its tests run where it is installed, and are skipped where it is not. Where names
and conventions differ, docs/losses.md has the table.
"""

import os

import numpy as np
import pytest
from sklearn.metrics import log_loss

from softmax import (
    binary_cross_entropy,
    cross_entropy,
    focal_loss,
    kl_divergence,
    linear_cross_entropy,
    log_softmax,
    sigmoid,
    softmax,
    value_and_grad,
)

os.environ["KERAS_BACKEND"] = "numpy"  # before it is imported

import keras

N, K = 64, 7
RTOL = 1e-13
RTOL_F32 = 1e-6
CLIPPED = 5e-7  # what a loss moves when its probability is clipped to [1e-7, 1 - 1e-7]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def logits(rng):
    return rng.normal(0, 3, (N, K))


@pytest.fixture
def labels(rng):
    return rng.integers(0, K, N)


@pytest.fixture
def probs(rng):
    return rng.dirichlet(np.ones(K), N)


@pytest.fixture
def sample_weight(rng):
    return rng.uniform(0, 2, N)


@pytest.fixture
def flags(rng):
    """Several labels of a row may be true."""
    return rng.integers(0, 2, (N, K))


@pytest.fixture
def layer(rng):
    """Features, weight and bias of a last layer."""
    return rng.normal(0, 1, (N, 5)), rng.normal(0, 1, (K, 5)), rng.normal(0, 1, K)


def one_hot(labels):
    return np.eye(K)[labels]


class TestKeras:
    """Its loss classes; reductions in its words. "sum_over_batch_size" divides by the rows, whatever their weights."""

    REDUCTIONS = (("mean_with_sample_weight", "mean"), ("sum", "sum"), (None, "none"))

    @pytest.fixture
    def logits(self, logits):
        return logits.astype(np.float32)

    @pytest.mark.parametrize(("theirs", "reduction"), REDUCTIONS)
    def test_integer_targets(self, theirs, reduction, logits, labels, sample_weight):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=theirs)
        expected = loss(labels, logits, sample_weight=sample_weight)
        result = cross_entropy(logits, labels, sample_weight=sample_weight, reduction=reduction)
        np.testing.assert_allclose(result, expected, RTOL_F32)

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize(("theirs", "reduction"), REDUCTIONS)
    def test_probabilities_and_label_smoothing(self, theirs, reduction, label_smoothing, logits, probs, sample_weight):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing, reduction=theirs)
        expected = loss(probs, logits, sample_weight=sample_weight)
        result = cross_entropy(
            logits, probs, label_smoothing=label_smoothing, sample_weight=sample_weight, reduction=reduction
        )
        np.testing.assert_allclose(result, expected, RTOL_F32)

    def test_another_axis(self, logits, labels):
        logits, labels = logits.reshape(4, 16, K).swapaxes(1, 2), labels.reshape(4, 16)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, axis=1, reduction=None)
        expected = loss(one_hot(labels).swapaxes(1, 2), logits)
        np.testing.assert_allclose(cross_entropy(logits, labels, 1, reduction="none"), expected, RTOL_F32)

    def test_ignored_targets(self, logits, labels):
        """Both average over what is left."""
        labels[::3] = -1
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
        np.testing.assert_allclose(cross_entropy(logits, labels, ignore_index=-1), loss(labels, logits), RTOL_F32)

    def test_default_mean_divides_by_the_rows(self, logits, labels, sample_weight):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        expected = loss(labels, logits, sample_weight=sample_weight)
        total = cross_entropy(logits, labels, sample_weight=sample_weight, reduction="sum")
        np.testing.assert_allclose(total / N, expected, RTOL_F32)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
    @pytest.mark.parametrize("alpha", [0.25, np.linspace(0.1, 1, K)], ids=["a number", "by class"])
    def test_focal(self, alpha, gamma, logits, labels):
        loss = keras.losses.CategoricalFocalCrossentropy(alpha, gamma, from_logits=True, reduction=None)
        expected = loss(one_hot(labels), logits)
        result = focal_loss(logits, labels, gamma=gamma, alpha=alpha, reduction="none")
        np.testing.assert_allclose(result, expected, RTOL_F32, CLIPPED)

    @pytest.mark.parametrize("gamma", [0.5, 2.0])
    def test_focal_of_smoothed_probabilities(self, gamma, logits, probs):
        """A number as alpha: one for each class would weigh the parts of a target there, and the row here."""
        loss = keras.losses.CategoricalFocalCrossentropy(
            0.25, gamma, from_logits=True, label_smoothing=0.1, reduction=None
        )
        expected = loss(probs, logits)
        result = focal_loss(logits, probs, gamma=gamma, alpha=0.25, label_smoothing=0.1, reduction="none")
        np.testing.assert_allclose(result, expected, RTOL_F32, CLIPPED)

    @pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize(("theirs", "reduction"), REDUCTIONS)
    def test_binary(self, theirs, reduction, label_smoothing, logits, flags):
        """Theirs takes the mean of a row first, of the logarithms of a rounded sigmoid and of 1 less that."""
        logits = logits / 3
        loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=label_smoothing, reduction=theirs)
        result = binary_cross_entropy(logits, flags, label_smoothing=label_smoothing, reduction=reduction)
        means = {"none": lambda each: each.mean(axis=-1), "sum": lambda total: total / K, "mean": lambda mean: mean}
        np.testing.assert_allclose(means[reduction](result), loss(flags, logits), 10 * RTOL_F32)

    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_binary_focal(self, gamma, logits, flags):
        logits = logits / 3
        loss = keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True, reduction=None)
        result = binary_cross_entropy(logits, flags, gamma=gamma, reduction="none").mean(axis=-1)
        np.testing.assert_allclose(result, loss(flags, logits), 10 * RTOL_F32, CLIPPED)

    @pytest.mark.parametrize(("theirs", "reduction"), REDUCTIONS)
    def test_kl_divergence(self, theirs, reduction, logits, probs):
        """Of probabilities; its float32 loses what is left of log(p / q), of size 10, where p is near q."""
        loss = keras.losses.KLDivergence(reduction=theirs)
        result = kl_divergence(np.log(probs).astype(np.float32), logits, reduction=reduction)
        np.testing.assert_allclose(result, loss(probs, softmax(logits)), 10 * RTOL_F32, K * CLIPPED)

    def test_linear(self, layer, labels):
        features, weight, bias = (part.astype(np.float32) for part in layer)
        dense = keras.layers.Dense(K)
        dense.build(features.shape)
        dense.set_weights([weight.T, bias])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        result = linear_cross_entropy(features, weight, labels, bias)
        np.testing.assert_allclose(result, loss(labels, dense(features)), RTOL_F32)


class TestOptax:
    """In float64; each function returns one loss a row. Gradients are those of JAX."""

    @pytest.fixture(autouse=True)
    def _float64(self):
        self.optax = pytest.importorskip("optax", reason="optax is not installed")
        self.jax = pytest.importorskip("jax")
        with self.jax.enable_x64(True):
            yield

    def check(self, loss, logits, targets, axis=-1, **options):
        """`loss` of the logits against ours of the targets: each row's, and the gradient of the sum."""
        expected = loss(logits)
        gradient = self.jax.grad(lambda x: loss(x).sum())(logits)
        result, slope = value_and_grad(cross_entropy)(logits, targets, axis, reduction="none", **options)
        np.testing.assert_allclose(result, expected, RTOL)
        np.testing.assert_allclose(slope, gradient, RTOL, 1e-14)

    def test_integer_targets(self, logits, labels):
        theirs = self.optax.softmax_cross_entropy_with_integer_labels
        self.check(lambda x: theirs(x, labels), logits, labels)

    def test_another_axis(self, logits, labels):
        logits, labels = logits.reshape(4, 16, K).swapaxes(1, 2), labels.reshape(4, 16)
        theirs = self.optax.softmax_cross_entropy_with_integer_labels
        self.check(lambda x: theirs(x, labels, axis=1), logits, labels, 1)

    def test_probabilities(self, logits, probs):
        self.check(lambda x: self.optax.softmax_cross_entropy(x, probs), logits, probs)

    @pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0])
    def test_label_smoothing(self, alpha, logits, labels):
        smooth = self.optax.smooth_labels(one_hot(labels), alpha)
        self.check(lambda x: self.optax.softmax_cross_entropy(x, smooth), logits, labels, label_smoothing=alpha)

    def test_classes_left_out(self, logits, labels):
        where = np.arange(K) != labels[:, np.newaxis] - 1
        theirs = self.optax.softmax_cross_entropy_with_integer_labels
        self.check(lambda x: theirs(x, labels, where=where), logits, labels, where=where)

    def test_binary(self, logits, flags):
        theirs = self.optax.sigmoid_binary_cross_entropy
        result, slope = value_and_grad(binary_cross_entropy)(logits, flags, reduction="none")
        np.testing.assert_allclose(result, theirs(logits, flags), RTOL)
        gradient = self.jax.grad(lambda x: theirs(x, flags).sum())(logits)
        np.testing.assert_allclose(slope, gradient, RTOL, 1e-14)

    @pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
    def test_binary_focal(self, gamma, logits, flags):
        theirs = self.optax.sigmoid_focal_loss
        result, slope = value_and_grad(binary_cross_entropy)(logits, flags, gamma=gamma, reduction="none")
        np.testing.assert_allclose(result, theirs(logits, flags, gamma=gamma), 1e-12)
        gradient = self.jax.grad(lambda x: theirs(x, flags, gamma=gamma).sum())(logits)
        np.testing.assert_allclose(slope, gradient, 1e-12, 1e-14)

    def test_kl_divergence(self, rng, logits):
        """Theirs takes the model's log-probabilities first, then the truth's."""
        teacher = rng.normal(0, 3, (N, K))

        def theirs(p, q):
            log_p, log_q = map(self.jax.nn.log_softmax, (p, q))
            return self.optax.losses.kl_divergence_with_log_targets(log_q, log_p)

        result, slopes = value_and_grad(kl_divergence)(teacher, logits, reduction="none")
        np.testing.assert_allclose(result, theirs(teacher, logits), RTOL)
        gradients = self.jax.grad(lambda p, q: theirs(p, q).sum(), argnums=(0, 1))(teacher, logits)
        for slope, gradient in zip(slopes, gradients, strict=True):
            np.testing.assert_allclose(slope, gradient, 10 * RTOL, 1e-13)

    @pytest.mark.parametrize("alpha", [0.0, 0.1])
    def test_linear(self, alpha, layer, labels):
        smooth = self.optax.smooth_labels(one_hot(labels), alpha)

        def theirs(features, weight, bias):
            return self.optax.softmax_cross_entropy(features @ weight.T + bias, smooth).mean()

        features, weight, bias = layer
        result, slopes = value_and_grad(linear_cross_entropy)(features, weight, labels, bias, label_smoothing=alpha)
        np.testing.assert_allclose(result, theirs(*layer), RTOL)
        for slope, gradient in zip(slopes, self.jax.grad(theirs, argnums=(0, 1, 2))(*layer), strict=True):
            np.testing.assert_allclose(slope, gradient, RTOL, 1e-14)


class TestScikitLearn:
    """log_loss, of the probabilities that softmax makes of the logits."""

    @pytest.mark.parametrize("normalize", [True, False])
    def test_log_loss(self, normalize, logits, labels):
        expected = log_loss(labels, softmax(logits), normalize=normalize, labels=np.arange(K))
        result = cross_entropy(logits, labels, reduction="mean" if normalize else "sum")
        np.testing.assert_allclose(result, expected, RTOL)

    @pytest.mark.parametrize("normalize", [True, False])
    def test_sample_weight(self, normalize, logits, labels, sample_weight):
        """Its mean divides by the sum of the weights as well."""
        expected = log_loss(
            labels, softmax(logits), normalize=normalize, labels=np.arange(K), sample_weight=sample_weight
        )
        result = cross_entropy(logits, labels, sample_weight=sample_weight, reduction="mean" if normalize else "sum")
        np.testing.assert_allclose(result, expected, RTOL)

    @pytest.mark.parametrize("normalize", [True, False])
    def test_binary(self, normalize, logits, flags):
        """A column at a time."""
        for x, y in zip(logits.T, flags.T, strict=True):
            expected = log_loss(y, sigmoid(x), normalize=normalize)
            result = binary_cross_entropy(x, y, reduction="mean" if normalize else "sum")
            np.testing.assert_allclose(result, expected, RTOL)

    def test_linear(self, layer, labels):
        features, weight, bias = layer
        expected = log_loss(labels, softmax(features @ weight.T + bias), labels=np.arange(K))
        np.testing.assert_allclose(linear_cross_entropy(features, weight, labels, bias), expected, RTOL)

    def test_kl_divergence(self, logits, probs):
        """What log_loss of a distribution is above its entropy, a row at a time: each class weighed by its part."""
        classes = np.arange(K)
        for x, p in zip(logits, probs, strict=True):
            cross = log_loss(classes, np.tile(softmax(x), (K, 1)), sample_weight=p, labels=classes)
            result = kl_divergence(np.log(p), x)
            np.testing.assert_allclose(result, cross + (p * log_softmax(np.log(p))).sum(), RTOL, 1e-14)
