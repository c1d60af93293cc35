"""PyTorch's own sample inputs for its softmax family and its losses of logits, run through ours.

From an installed PyTorch, `torch.testing._internal.common_methods_invocations.op_db`: shapes, strides, axes, dtypes and
masks. What is expected is what PyTorch makes of the same numbers in float64. A number without axes has an axis 0 there.
What a mask leaves out is not defined there, and is 0 or -inf here.

The samples of cross_entropy and nll_loss run as cross-entropy with and without label smoothing, the loss and its
gradient; the log-probabilities of nll_loss are taken as logits by both sides, through log_softmax in PyTorch. Where the
two differ by design, it is not PyTorch that is expected but what our documentation says, in PyTorch's float64:

- probabilities must sum to 1 here and weights must not be negative: those of the samples, which break both rules, are
  normalised and lose their sign, for both sides;
- weights multiply a whole row here, by the mean weight of its target, smoothed or not; in PyTorch they weigh the
  classes of a smoothed target and of probabilities one by one;
- the mean divides by the sum of the rows' weights here; in PyTorch by the number of rows for probabilities.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing._internal.common_methods_invocations import op_db

import softmax as ours


def masked(function):
    def call(x, dim, *, mask=None, dtype=None):
        return function(x, dim, where=mask, dtype=dtype)

    return call


def logsumexp(x, dim=None, keepdim=False, *, mask=None):
    return ours.logsumexp(x, dim, where=mask, keepdims=keepdim)


OPERATORS = {
    "softmax": masked(ours.softmax),
    "log_softmax": masked(ours.log_softmax),
    "logsumexp": logsumexp,
    "sigmoid": ours.sigmoid,
    "masked.softmax": masked(ours.softmax),
    "masked.log_softmax": masked(ours.log_softmax),
    "masked.logsumexp": logsumexp,
}
DTYPES = (torch.float16, torch.float32)
OPS = [op for op in op_db if op.name in OPERATORS]


def to_numpy(value):
    """Tensors and dtypes as NumPy's; strides stay."""
    if isinstance(value, torch.dtype):
        return torch.empty(0, dtype=value).numpy().dtype
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


def test_every_operator_has_its_samples():
    assert {op.name for op in OPS} == set(OPERATORS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op", OPS, ids=lambda op: f"{op.name} {op.variant_test_name}".strip())
def test_what_pytorch_makes_of_its_samples(op, dtype):
    """To 3 eps of the result's dtype, for logsumexp of its terms, which reach 9. In float64 to PyTorch's own error."""
    samples = list(op.sample_inputs("cpu", dtype))
    assert samples
    for sample in samples:
        expected = to_numpy(op(sample.input.double(), *sample.args, **sample.kwargs))
        x = to_numpy(sample.input)
        args = [None if x.ndim == 0 else arg for arg in sample.args]
        options = {name: None if name == "dim" and x.ndim == 0 else to_numpy(v) for name, v in sample.kwargs.items()}
        result = OPERATORS[op.name](x, *args, **options)
        assert result.dtype == options.get("dtype", x.dtype)
        assert result.shape == expected.shape
        mask = options.get("mask")
        if mask is not None and result.shape == x.shape:
            left_out = ~np.broadcast_to(mask, x.shape)
            assert np.isin(result[left_out], [0, -np.inf]).all()
            result, expected = result[~left_out], expected[~left_out]
        info = np.finfo(result.dtype)
        rtol, atol = (1e-14, 1e-15) if result.dtype == np.float64 else (3 * info.eps, info.smallest_subnormal)
        np.testing.assert_allclose(result, expected, rtol, 9 * rtol if op.name.endswith("logsumexp") else atol)


LOSSES = [op for op in op_db if op.name in ("nn.functional.cross_entropy", "nn.functional.nll_loss")]


def as_documented(logits, targets, *, weight, label_smoothing, ignore_index=-100, reduction="mean"):
    """Of each row: its target's weight times the cross-entropy of the smoothed target."""
    axis = min(logits.ndim - 1, 1)
    classes = logits.shape[axis]
    if not targets.is_floating_point():
        counts = targets != ignore_index
        targets = (
            F.one_hot(torch.where(counts, targets, 0), classes).movedim(-1, axis) * counts.unsqueeze(axis).double()
        )
    weights = torch.tensordot(targets.movedim(axis, -1), weight, 1)
    smooth = targets * (1 - label_smoothing) + label_smoothing / classes
    losses = -(smooth * F.log_softmax(logits, axis)).sum(axis) * weights
    return losses if reduction == "none" else losses.sum() / (weights.sum() if reduction == "mean" else 1)


def cross_entropy_samples(op, dtype):
    """(logits, targets, options in PyTorch's words), the numbers as `dtype` holds them, in float64."""
    for sample in op.sample_inputs("cpu", dtype):
        logits, (targets,) = sample.input.double(), sample.args
        if targets.is_floating_point():
            targets = F.normalize(targets.double(), p=1, dim=1)
        options = {name: v.double().abs() if isinstance(v, torch.Tensor) else v for name, v in sample.kwargs.items()}
        yield logits, targets, options


def test_both_losses_have_their_samples():
    """PyTorch 2.13 has 21 of cross_entropy and 61 of nll_loss: with every reduction, weights, ignored targets."""
    assert len(LOSSES) == 2
    samples = [sample for op in LOSSES for sample in cross_entropy_samples(op, torch.float32)]
    assert len(samples) >= 80
    assert {name for *_, options in samples for name in options} == {"weight", "ignore_index", "reduction"}
    assert {options.get("reduction", "mean") for *_, options in samples} == {"mean", "sum", "none"}
    assert any(targets.is_floating_point() for _, targets, _ in samples)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("op", LOSSES, ids=lambda op: op.name)
def test_cross_entropy_and_its_gradient(op, dtype, label_smoothing):
    """Losses to 4 eps of the dtype, gradients to 4 eps of their largest entry."""
    for logits, targets, options in cross_entropy_samples(op, dtype):
        options["label_smoothing"] = label_smoothing
        by_design = "weight" in options and (label_smoothing > 0 or targets.is_floating_point())
        logits.requires_grad_()
        expected = (as_documented if by_design else F.cross_entropy)(logits, targets, **options)
        (gradient,) = map(to_numpy, torch.autograd.grad(expected.sum(), logits))
        x = logits.detach().to(dtype).numpy()
        options = {"class_weight" if name == "weight" else name: to_numpy(v) for name, v in options.items()}
        axis = min(logits.ndim - 1, 1)
        loss, slope = ours.value_and_grad(ours.cross_entropy)(x, to_numpy(targets), axis, **options)
        assert loss.dtype == slope.dtype == x.dtype
        assert loss.shape == expected.shape
        rtol = 4 * np.finfo(x.dtype).eps
        np.testing.assert_allclose(loss, to_numpy(expected), rtol)
        np.testing.assert_allclose(slope, gradient, rtol, rtol * np.abs(gradient).max())


def samples_of(name, dtype):
    """(input, other arguments, options), the numbers as `dtype` holds them, in float64."""
    (op,) = (op for op in op_db if op.name == f"nn.functional.{name}" and not op.variant_test_name)
    for sample in op.sample_inputs("cpu", dtype):
        yield tuple(
            torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, part)
            for part in (sample.input, sample.args, sample.kwargs)
        )


def check(got, expected, rtol, atol=0.0):
    """To that part of the loss (atol: of 1), and of the largest entry of a gradient."""
    loss, *slopes = (np.asarray(part) for part in got)
    true_loss, *true_slopes = map(to_numpy, expected)
    np.testing.assert_allclose(loss, true_loss, rtol, atol)
    for slope, gradient in zip(slopes, true_slopes, strict=True):
        assert slope.shape == gradient.shape
        np.testing.assert_allclose(slope, gradient, rtol, rtol * np.abs(gradient).max(initial=0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_binary_cross_entropy_and_its_gradient(dtype):
    """A weight of each entry, which is no option here, multiplies each of ours before the reduction."""
    seen = set()
    for x, (targets,), options in samples_of("binary_cross_entropy_with_logits", dtype):
        seen |= set(options)
        x.requires_grad_()
        expected = F.binary_cross_entropy_with_logits(x, targets, **options)
        expected = expected, *torch.autograd.grad(expected.sum(), x)
        weight, reduction = to_numpy(options.pop("weight", None)), options.pop("reduction", "mean")
        logits, y = (to_numpy(t.to(dtype)) for t in (x, targets))
        numbers = {name: to_numpy(t) for name, t in options.items()}
        function = ours.value_and_grad(ours.binary_cross_entropy)
        if weight is None:
            loss, slope = function(logits, y, **numbers, reduction=reduction)
            assert np.asarray(loss).dtype == np.asarray(slope).dtype == logits.dtype
        else:
            each, slope = (part * weight for part in function(logits, y, **numbers, reduction="none"))
            divisor = each.size if reduction == "mean" else 1
            loss, slope = each if reduction == "none" else each.sum() / divisor, slope / divisor
        check((loss, slope), expected, 4 * torch.finfo(dtype).eps)
    assert seen == {"weight", "pos_weight", "reduction"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kl_divergence_and_its_gradients(dtype):
    """kl_div takes log-probabilities and, with log_target, such a target; those of the samples have no sum of 1, so
    they are taken as logits by both sides. Ours is one number a row, and its mean theirs named "batchmean"."""
    seen = set()
    for q, (target,), options in samples_of("kl_div", dtype):
        seen.add(options["reduction"])
        p = target if options.pop("log_target") else target.log().to(dtype).double()
        p, q = p.detach().requires_grad_(), q.detach().requires_grad_()
        each = F.kl_div(F.log_softmax(q, -1), F.log_softmax(p, -1), reduction="none", log_target=True).sum(-1)
        reduction = {"batchmean": "mean"}.get(options["reduction"], options["reduction"])
        expected = {"none": each, "sum": each.sum(), "mean": each.mean()}[reduction]
        gradients = torch.autograd.grad(expected.sum(), (p, q))
        p_logits, q_logits = (to_numpy(t.to(dtype)) for t in (p, q))
        loss, slopes = ours.value_and_grad(ours.kl_divergence)(p_logits, q_logits, reduction=reduction)
        assert loss.dtype == slopes.p_logits.dtype == p_logits.dtype
        check((loss, *slopes), (expected, *gradients), 4 * torch.finfo(dtype).eps)
    assert seen == {"none", "mean", "batchmean", "sum"}


def test_linear_cross_entropy_and_its_gradients():
    """Those samples that have one class a score: with a weight of shape (C, features), and a target a row. As above,
    probabilities are normalised for both sides, and weights lose their sign. In float64, to PyTorch's own error."""
    count = 0
    for x, (weight, targets), options in samples_of("linear_cross_entropy", torch.float32):
        if weight.ndim != 2 or x.ndim > 2 or targets.ndim > x.ndim:
            continue
        count += 1
        if targets.is_floating_point():
            targets = F.normalize(targets.abs(), p=1, dim=-1)
        words = {name: t.abs() if isinstance(t, torch.Tensor) else t for name, t in options.items()}
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        bias = words.pop("linear_bias", None)
        numbers = {"weight": None, "label_smoothing": 0.0} | words
        by_design = numbers["weight"] is not None and (numbers["label_smoothing"] > 0 or targets.is_floating_point())
        scores = F.linear(x, weight, bias)
        expected = (as_documented if by_design else F.cross_entropy)(scores, targets, **numbers)
        gradients = torch.autograd.grad(expected.sum(), (x, weight))
        named = {"class_weight" if name == "weight" else name: to_numpy(v) for name, v in numbers.items()}
        loss, slopes = ours.value_and_grad(ours.linear_cross_entropy)(
            *map(to_numpy, (x, weight, targets, bias)), **named
        )
        check((loss, slopes.features, slopes.weight), (expected, *gradients), 1e-14, 1e-14)
    assert count >= 20
