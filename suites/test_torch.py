"""PyTorch's own sample inputs for its softmax family, run through ours.

From an installed PyTorch, `torch.testing._internal.common_methods_invocations.op_db`: shapes, strides, axes, dtypes and
masks. What is expected is what PyTorch makes of the same numbers in float64. A number without axes has an axis 0 there.
What a mask leaves out is not defined there, and is 0 or -inf here.
"""

import numpy as np
import pytest
import torch
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
