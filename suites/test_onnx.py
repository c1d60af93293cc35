"""ONNX's own test data for Softmax, LogSoftmax, ReduceLogSumExp, Sigmoid, Hardmax and two losses, run through ours.

From the installed onnx (1.22: later wheels lack them), every folder of `onnx/backend/test/data` whose model is one node
of these operators, with inputs and expected outputs. The folders named _expanded hold the same data again, with a model
that spells the operator out in several nodes.

Both losses have their classes along axis 1, (N, C, d1, ...); their mean divides by the summed weights, as ours does.
NegativeLogLikelihoodLoss takes log-probabilities, but its data are numbers in (0, 1), whose exponentials sum to more
than 1. Cross-entropy of x is logsumexp(x) - x[target]: what is compared is ours less logsumexp(x), under the same
weights and reduction.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import softmax as ours

DATA = Path(onnx.__file__).parent / "backend/test/data"


class Case(NamedTuple):
    name: str
    operator: str
    opset: int
    attributes: dict[str, Any]
    inputs: list[np.ndarray]
    expected: list[np.ndarray]

    @property
    def axis(self) -> int | tuple[int, ...]:
        """Before opset 13, 1 by default, and all axes from there on were flattened into one."""
        if self.opset >= 13:
            return self.attributes.get("axis", -1)
        ndim = self.inputs[0].ndim
        return tuple(range(self.attributes.get("axis", 1) % ndim, ndim))

    @property
    def axes(self) -> tuple[int, ...] | None:
        """Of a reduction: its second input, without which all axes go."""
        return tuple(map(int, self.inputs[1])) if len(self.inputs) > 1 and self.inputs[1].size else None

    @property
    def loss_options(self) -> dict[str, Any]:
        """Those of cross_entropy for a loss: inputs are logits, targets and perhaps weights."""
        return {
            "axis": 1,
            "class_weight": self.inputs[2] if len(self.inputs) > 2 else None,
            "ignore_index": self.attributes.get("ignore_index"),
            "reduction": self.attributes["reduction"].decode(),
        }


def softmax_cross_entropy_loss(case, x):
    """The loss and, where the model has that output too, log_softmax."""
    loss = ours.cross_entropy(x, case.inputs[1], **case.loss_options)
    return [loss, ours.log_softmax(x, 1)][: len(case.expected)]


def negative_log_likelihood_loss(case, x):
    """In float64, as the two parts cancel; rounded to what ONNX has."""
    targets, options, x = case.inputs[1], case.loss_options, x.astype(np.float64)
    counts = targets != options["ignore_index"]
    weight = np.ones(x.shape[1]) if options["class_weight"] is None else options["class_weight"]
    weights = counts * weight[np.where(counts, targets, 0)].astype(np.float64)
    taken = weights * ours.logsumexp(x, 1)
    if options["reduction"] != "none":
        taken = taken.sum() / (weights.sum() if options["reduction"] == "mean" else 1)
    loss = ours.cross_entropy(x, targets, **options) - taken
    return loss.astype(case.inputs[0].dtype)


OPERATORS = {
    "Softmax": lambda case, x: ours.softmax(x, case.axis),
    "LogSoftmax": lambda case, x: ours.log_softmax(x, case.axis),
    "Hardmax": lambda case, x: ours.hardmax(x, case.axis),
    "ReduceLogSumExp": lambda case, x: ours.logsumexp(x, case.axes, keepdims=bool(case.attributes["keepdims"])),
    "Sigmoid": lambda case, x: ours.sigmoid(x),
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy_loss,
    "NegativeLogLikelihoodLoss": negative_log_likelihood_loss,
}


def read_cases():
    for path in sorted(DATA.glob("*/test_*/model.onnx")):
        model = onnx.load(path)
        node = model.graph.node[0]
        if len(model.graph.node) == 1 and node.op_type in OPERATORS:
            attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            for data in sorted(path.parent.glob("test_data_set_*")):
                inputs, expected = (
                    [numpy_helper.to_array(onnx.load_tensor(file)) for file in sorted(data.glob(pattern))]
                    for pattern in ("input_*.pb", "output_*.pb")
                )
                opset = model.opset_import[0].version
                yield Case(path.parent.name, node.op_type, opset, attributes, inputs, expected)


CASES = list(read_cases())


def test_every_operator_has_its_cases():
    """What onnx 1.22 holds, counted: data that moved are not data that agree."""
    found = Counter(case.operator for case in CASES)
    assert found == {"Softmax": 10, "LogSoftmax": 10, "ReduceLogSumExp": 9, "Sigmoid": 3, "Hardmax": 7} | {
        "SoftmaxCrossEntropyLoss": 34,
        "NegativeLogLikelihoodLoss": 18,
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_onnx_expects(case):
    """Within 4 eps of the dtype, relatively: the rounding of ONNX's own values takes up to 2.3 of them."""
    results = OPERATORS[case.operator](case, case.inputs[0])
    for result, expected in zip(results if isinstance(results, list) else [results], case.expected, strict=True):
        assert result.dtype == expected.dtype
        assert result.shape == expected.shape
        np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(result.dtype).eps)
